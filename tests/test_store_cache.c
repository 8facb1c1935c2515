/* The rows of the response cache, the same on every store: kept, replaced, counted, evicted, limited. */
#include "tests/store_kit.h"

static void key_of(unsigned char *key, unsigned n)
{
    memset(key, 0, AG_CACHE_KEY_BYTES);
    key[0] = (unsigned char)n;
    key[AG_CACHE_KEY_BYTES - 1] = (unsigned char)(n >> 8);
}

static struct ag_op_cache_put *put(unsigned n, struct ag_str body, int64_t tokens)
{
    struct ag_op_cache_put *op = &kit_add(AG_OP_CACHE_PUT)->cache_put;

    key_of(op->key, n);
    op->model = S("demo");
    op->request = S("parts");
    op->body = body;
    op->tokens = tokens;
    return op;
}

static void hit(unsigned n)
{
    struct ag_op_cache_hits *op = &kit_add(AG_OP_CACHE_HITS)->cache_hits;
    unsigned char(*key)[AG_CACHE_KEY_BYTES] = ag_arena_zalloc(&kit.arena, sizeof(*key));

    key_of(*key, n);
    op->keys = (const unsigned char(*)[AG_CACHE_KEY_BYTES])key;
    op->count = 1;
}

static agent_status get(unsigned n, struct ag_cache_row *row)
{
    unsigned char key[AG_CACHE_KEY_BYTES];

    key_of(key, n);
    return ag_reader_cache_get(kit.reader, key, &kit.arena, row, &err);
}

static bool is_there(unsigned n)
{
    struct ag_cache_row row;
    agent_status rc = get(n, &row);

    ck_assert(rc == AGENT_OK || rc == AGENT_ENOTFOUND);
    return rc == AGENT_OK;
}

static struct ag_cache_totals totals(void)
{
    struct ag_cache_totals t;

    ck_assert_int_eq(ag_reader_cache_totals(kit.reader, &t, &err), AGENT_OK);
    return t;
}

static int64_t resize(int64_t bytes)
{
    struct ag_op_cache_resize *op = &kit_add(AG_OP_CACHE_RESIZE)->cache_resize;

    op->bytes = bytes;
    kit_ok();
    return op->out_evicted;
}

START_TEST(an_answer_is_read_back_as_it_was_put)
{
    struct ag_op_cache_put *op;
    struct ag_cache_row row;
    int64_t agent;

    kit_open(_i);
    agent = kit_agent("bob");
    op = put(1, S("{\"text\":\"hi\"}"), 12);
    op->agent_id = agent;
    op->request = (struct ag_str){"\0\1\2parts", 8};
    op->expires_at_ms = KIT_EPOCH_MS + 5000;
    kit_ok();
    ck_assert(op->out_kept);
    ck_assert_int_eq(get(1, &row), AGENT_OK);
    ck_assert_int_eq(row.agent_id, agent);
    ck_assert_int_eq(row.tokens, 12);
    ck_assert_int_eq(row.hits, 0);
    ck_assert_int_eq(row.created_at_ms, KIT_EPOCH_MS + 1000);
    ck_assert_int_eq(row.expires_at_ms, KIT_EPOCH_MS + 5000);
    ck_assert(ag_str_eq(row.request, (struct ag_str){"\0\1\2parts", 8}));
    ck_assert(ag_str_is(row.body, "{\"text\":\"hi\"}"));
    ck_assert_int_eq(get(2, &row), AGENT_ENOTFOUND);
    kit_is(CACHE, "key kind agent model bytes hits created_at last_hit_at expires_at tokens body",
           "0100000000000000000000000000000000000000000000000000000000000000|response|bob|demo|153|0|"
           "2023-11-14T22:13:21.000Z|-|2023-11-14T22:13:25.000Z|12|{\"text\":\"hi\"}\n");
    kit_close();
}
END_TEST

START_TEST(a_second_put_replaces_the_first)
{
    struct ag_cache_row row;

    kit_open(_i);
    (void)put(1, S("old"), 12);
    kit_ok();
    hit(1);
    kit_ok();
    (void)put(1, S("newer"), -1);
    kit_ok();
    ck_assert_int_eq(get(1, &row), AGENT_OK);
    ck_assert(ag_str_is(row.body, "newer"));
    ck_assert_int_eq(row.tokens, -1);
    ck_assert_int_eq(row.hits, 0);
    ck_assert_int_eq(totals().entries, 1);
    ck_assert_int_eq(totals().bytes, AG_CACHE_ENTRY_BYTES + 5 + 5 + 4);
    kit_close();
}
END_TEST

START_TEST(hits_are_counted_and_those_of_what_is_gone_passed_over)
{
    struct ag_op_cache_hits *op;
    unsigned char keys[3][AG_CACHE_KEY_BYTES];

    kit_open(_i);
    (void)put(1, S("a"), 10);
    (void)put(2, S("b"), 20);
    kit_ok();
    op = &kit_add(AG_OP_CACHE_HITS)->cache_hits;
    key_of(keys[0], 1);
    key_of(keys[1], 9);
    key_of(keys[2], 2);
    op->keys = (const unsigned char(*)[AG_CACHE_KEY_BYTES])keys;
    op->count = 3;
    kit_ok();
    hit(2);
    kit_ok();
    kit_is(CACHE, "hits last_hit_at", "1|2023-11-14T22:13:21.000Z\n2|2023-11-14T22:13:22.000Z\n");
    ck_assert_int_eq(totals().hits, 3);
    ck_assert_int_eq(totals().tokens_saved, 10 + 2 * 20);
    kit_close();
}
END_TEST

START_TEST(one_answer_is_removed_or_all_of_them)
{
    struct ag_op_cache_rm *op;

    kit_open(_i);
    for (unsigned n = 1; n <= 3; n++)
        (void)put(n, S("x"), 1);
    kit_ok();
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    key_of(op->key, 2);
    kit_ok();
    ck_assert_int_eq(op->out_count, 1);
    ck_assert(is_there(1) && !is_there(2) && is_there(3));
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    key_of(op->key, 2);
    kit_fails(AGENT_ENOTFOUND);
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    op->all = true;
    kit_ok();
    ck_assert_int_eq(op->out_count, 2);
    ck_assert_int_eq(totals().entries, 0);
    ck_assert_int_eq(totals().bytes, 0);
    kit_close();
}
END_TEST

START_TEST(answers_of_a_range_of_keys_are_removed_and_counted)
{
    struct ag_op_cache_rm *op;
    int64_t all_bytes, left_bytes;

    kit_open(_i);
    for (unsigned n = 1; n <= 5; n++)
        (void)put(n, S("x"), 1);
    kit_ok();
    all_bytes = totals().bytes;
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    op->range = true;
    key_of(op->key, 2);
    memset(op->last, 0, sizeof(op->last)); /* before the first: there is none, and that is no error */
    kit_ok();
    ck_assert_int_eq(op->out_count, 0);
    ck_assert_int_eq(totals().entries, 5);
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    op->range = true;
    key_of(op->key, 3);
    key_of(op->last, 3);
    kit_ok();
    ck_assert_int_eq(op->out_count, 1);
    ck_assert(!is_there(3) && is_there(2) && is_there(4));
    left_bytes = totals().bytes;
    ck_assert_int_lt(left_bytes, all_bytes);
    op = &kit_add(AG_OP_CACHE_RM)->cache_rm;
    op->range = true;
    memset(op->last, 0xff, sizeof(op->last));
    kit_ok();
    ck_assert_int_eq(op->out_count, 4);
    ck_assert_int_eq(totals().bytes, 0);
    kit_close();
}
END_TEST

START_TEST(the_entries_are_never_more_than_the_limit)
{
    struct ag_str body;
    int64_t limit = 20000;

    kit_open(_i);
    body = kit_long(1000, 1);
    (void)resize(limit);
    for (unsigned n = 1; n <= 100; n++) {
        (void)put(n, (struct ag_str){body.p, 100 + n * 9 % 900}, n % 7);
        kit_ok();
        ck_assert_int_le(totals().bytes, limit);
        ck_assert_msg(is_there(n), "%u was not kept", n);
    }
    ck_assert_int_gt(totals().bytes, limit / 2);
    ck_assert_int_eq(totals().limit_bytes, limit);
    kit_close();
}
END_TEST

START_TEST(what_saves_the_fewest_tokens_by_byte_goes_first)
{
    struct ag_str body;

    kit_open(_i);
    body = kit_long(1000, 1);
    (void)put(1, body, 5000);
    (void)put(2, body, 10);
    (void)put(3, body, 900);
    kit_ok();
    ck_assert_int_eq(resize(2 * (1000 + 4 + 5 + AG_CACHE_ENTRY_BYTES)), 1);
    ck_assert(is_there(1) && !is_there(2) && is_there(3));
    ck_assert_int_eq(resize(1000 + 4 + 5 + AG_CACHE_ENTRY_BYTES), 1);
    ck_assert(is_there(1) && !is_there(3));
    kit_close();
}
END_TEST

START_TEST(of_answers_of_one_worth_the_one_not_asked_for_goes_first)
{
    struct ag_str body;

    kit_open(_i);
    body = kit_long(1000, 1);
    for (unsigned n = 1; n <= 3; n++) {
        (void)put(n, body, 500);
        kit_ok();
    }
    hit(1);
    hit(3);
    kit_ok();
    ck_assert_int_eq(resize(2 * (1000 + 4 + 5 + AG_CACHE_ENTRY_BYTES)), 1);
    ck_assert(is_there(1) && !is_there(2) && is_there(3));
    kit_close();
}
END_TEST

/* However much it once saved: what is not asked for any more makes room in the end. */
START_TEST(what_was_worth_much_and_is_not_asked_for_goes_in_the_end)
{
    struct ag_str body;
    unsigned n = 1;

    kit_open(_i);
    body = kit_long(1000, 1);
    (void)resize(20000);
    (void)put(1, body, 5000);
    kit_ok();
    while (is_there(1) && n < 2000) {
        (void)put(1000 + n++, body, 500);
        kit_ok();
    }
    ck_assert_msg(!is_there(1), "it outlived %u others", n);
    ck_assert_int_gt(n, 20);
    kit_close();
}
END_TEST

START_TEST(what_has_expired_goes_before_anything_else)
{
    struct ag_str body;

    kit_open(_i);
    body = kit_long(1000, 1);
    put(1, body, 100000)->expires_at_ms = kit.now + 1;
    (void)put(2, body, 1);
    kit_ok();
    ck_assert_int_eq(resize(1000 + 4 + 5 + AG_CACHE_ENTRY_BYTES), 1);
    ck_assert(!is_there(1) && is_there(2));
    kit_close();
}
END_TEST

START_TEST(an_answer_that_is_too_large_is_not_kept_and_what_was_there_is_gone)
{
    struct ag_op_cache_put *op;

    kit_open(_i);
    (void)resize(8 * 1000);
    (void)put(1, S("small"), 1);
    (void)put(2, S("small"), 1);
    kit_ok();
    op = put(1, kit_long(1000, 1), 1);
    kit_ok();
    ck_assert(!op->out_kept);
    ck_assert(!is_there(1) && is_there(2));
    kit_close();
}
END_TEST

START_TEST(a_limit_of_nothing_keeps_nothing)
{
    struct ag_op_cache_put *op;

    kit_open(_i);
    (void)put(1, S("small"), 1);
    kit_ok();
    ck_assert_int_eq(resize(0), 1);
    op = put(2, S("small"), 1);
    kit_ok();
    ck_assert(!op->out_kept);
    ck_assert_int_eq(totals().entries, 0);
    kit_add(AG_OP_CACHE_RESIZE)->cache_resize.bytes = -1;
    kit_fails(AGENT_EINVAL);
    ck_assert_int_eq(totals().limit_bytes, 0);
    kit_close();
}
END_TEST

START_TEST(a_unit_that_fails_keeps_nothing_and_evicts_nothing)
{
    struct ag_str body;
    struct ag_cache_totals before;

    kit_open(_i);
    body = kit_long(1000, 1);
    (void)resize(12000);
    for (unsigned n = 1; n <= 10; n++)
        (void)put(n, body, 1);
    kit_ok();
    before = totals();
    for (unsigned n = 11; n <= 14; n++)
        (void)put(n, body, 1);
    kit_add(AG_OP_TOOL_RM)->name.name = S("nobody");
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_int_eq(totals().entries, before.entries);
    ck_assert_int_eq(totals().bytes, before.bytes);
    ck_assert(is_there(10) && !is_there(11));
    (void)put(11, body, 1);
    kit_ok();
    ck_assert_int_le(totals().bytes, 12000);
    kit_close();
}
END_TEST

START_TEST(answers_go_with_their_agent)
{
    int64_t bob, eve;

    kit_open(_i);
    bob = kit_agent("bob");
    eve = kit_agent("eve");
    put(1, S("x"), 1)->agent_id = bob;
    put(2, S("x"), 1)->agent_id = eve;
    kit_ok();
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_ok();
    ck_assert(!is_there(1) && is_there(2));
    ck_assert_int_eq(totals().bytes, AG_CACHE_ENTRY_BYTES + 1 + 5 + 4);
    kit_close();
}
END_TEST

START_TEST(our_own_lease_is_taken_again_and_given_back)
{
    struct ag_op_cache_lease *op;

    kit_open(_i);
    for (int i = 0; i < 3; i++) {
        op = &kit_add(AG_OP_CACHE_LEASE)->cache_lease;
        key_of(op->key, 1);
        op->until_ms = kit.now + 1000;
        op->release = i == 1;
        kit_ok();
        ck_assert_int_eq(op->out_taken, i != 1);
    }
    kit_close();
}
END_TEST

START_TEST(the_rows_can_be_filtered_by_agent_and_key)
{
    int64_t bob;

    kit_open(_i);
    bob = kit_agent("bob");
    put(1, S("x"), 1)->agent_id = bob;
    (void)put(2, S("x"), 1);
    kit_ok();
    ck_assert_str_eq(kit_rows(AGENT_VIEW_CACHE, KIT_FILTER(.agent = "bob"), "agent id"), "bob|1\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_CACHE,
                              KIT_FILTER(.name = "0200000000000000000000000000000000000000000000000000000000000000"),
                              "agent id"), "-|2\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_CACHE, KIT_FILTER(.limit = 1, .newest_first = true), "id"), "2\n");
    kit_close();
}
END_TEST

Suite *store_cache_suite(void);

Suite *store_cache_suite(void)
{
    Suite *suite = suite_create("store_cache");
    TCase *t = tcase_create("all");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, an_answer_is_read_back_as_it_was_put, 0, KIT_LAST);
    tcase_add_loop_test(t, a_second_put_replaces_the_first, 0, KIT_LAST);
    tcase_add_loop_test(t, hits_are_counted_and_those_of_what_is_gone_passed_over, 0, KIT_LAST);
    tcase_add_loop_test(t, one_answer_is_removed_or_all_of_them, 0, KIT_LAST);
    tcase_add_loop_test(t, answers_of_a_range_of_keys_are_removed_and_counted, 0, KIT_LAST);
    tcase_add_loop_test(t, the_entries_are_never_more_than_the_limit, 0, KIT_LAST);
    tcase_add_loop_test(t, what_saves_the_fewest_tokens_by_byte_goes_first, 0, KIT_LAST);
    tcase_add_loop_test(t, of_answers_of_one_worth_the_one_not_asked_for_goes_first, 0, KIT_LAST);
    tcase_add_loop_test(t, what_was_worth_much_and_is_not_asked_for_goes_in_the_end, 0, KIT_LAST);
    tcase_add_loop_test(t, what_has_expired_goes_before_anything_else, 0, KIT_LAST);
    tcase_add_loop_test(t, an_answer_that_is_too_large_is_not_kept_and_what_was_there_is_gone, 0, KIT_LAST);
    tcase_add_loop_test(t, a_limit_of_nothing_keeps_nothing, 0, KIT_LAST);
    tcase_add_loop_test(t, a_unit_that_fails_keeps_nothing_and_evicts_nothing, 0, KIT_LAST);
    tcase_add_loop_test(t, answers_go_with_their_agent, 0, KIT_LAST);
    tcase_add_loop_test(t, our_own_lease_is_taken_again_and_given_back, 0, KIT_LAST);
    tcase_add_loop_test(t, the_rows_can_be_filtered_by_agent_and_key, 0, KIT_LAST);
    suite_add_tcase(suite, t);
    return suite;
}
