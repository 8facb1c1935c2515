/* What every store hands out of the queue of all sessions, and in which order. */
#include "tests/store_kit.h"

Suite *store_queue_suite(void);

enum { ROOM = 8 };

static struct ag_op_run_claim claims[ROOM];

static struct ag_op_run_create *queued(const char *session, const char *input, int priority)
{
    struct ag_op_run_create *create = kit_create("bob", session, input);

    create->claim = false;
    create->priority = priority;
    return create;
}

/* Takes from the queue, and tells what was taken: "one two". */
static const char *taken(int most, int64_t aging_ms)
{
    struct ag_op_claim_next *next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;

    next->claims = claims;
    next->most = most;
    next->aging_ms = aging_ms;
    next->reap = true;
    kit_ok();
    ck_assert_int_eq(next->out_more, most > 0 && next->out_count == most);
    ag_buf_clear(&kit.text);
    ag_buf_z(&kit.text, "");
    for (int i = 0; i < next->out_count; i++) {
        struct ag_run_rec rec;

        ck_assert(claims[i].out_claimed && claims[i].out_fresh);
        ck_assert_int_eq(claims[i].out_status, AG_RUN_RUNNING);
        ck_assert_int_eq(claims[i].out_attempt, 1);
        ck_assert_int_eq(ag_reader_run(kit.reader, claims[i].run_id, &kit.arena, &rec, &err), AGENT_OK);
        ck_assert_int_eq(rec.status, AG_RUN_RUNNING);
        ck_assert_int_eq(rec.input_seq, claims[i].out_input_seq);
        ck_assert_int_eq(rec.priority, claims[i].out_priority);
        ag_buf_printf(&kit.text, "%s" AG_STR_FMT, i > 0 ? " " : "", AG_STR_ARG(rec.input));
    }
    return ag_buf_view(&kit.text).p;
}

static struct ag_queue_look look(void)
{
    struct ag_queue_look seen;

    ck_assert_int_eq(ag_reader_queue(kit.reader, true, &seen, &err), AGENT_OK);
    ck_assert(!seen.has_dead);
    return seen;
}

START_TEST(an_empty_queue_gives_nothing)
{
    kit_open(_i);
    (void)kit_agent("bob");
    ck_assert_str_eq(taken(ROOM, 0), "");
    ck_assert(!look().is_ready && !look().has_waiting);
    (void)kit_run("bob", "s", "live");
    (void)kit_run("bob", "s", "held");
    ck_assert_str_eq(taken(ROOM, 0), ""); /* somebody waits with it in hand */
    ck_assert(!look().is_ready && !look().has_waiting);
    kit_close();
}
END_TEST

START_TEST(runs_are_taken_by_class_and_within_a_class_by_age)
{
    kit_open(_i);
    (void)kit_agent("bob");
    (void)queued(NULL, "low1", -1);
    (void)queued(NULL, "normal1", 0);
    (void)queued(NULL, "high1", 1);
    (void)queued(NULL, "normal2", 0);
    (void)queued(NULL, "high2", 1);
    kit_ok();
    ck_assert(look().is_ready && look().has_waiting);
    ck_assert_str_eq(taken(0, 0), "");
    ck_assert_str_eq(taken(3, 0), "high1 high2 normal1");
    ck_assert_str_eq(taken(ROOM, 0), "normal2 low1");
    ck_assert(!look().is_ready && !look().has_waiting);
    kit_close();
}
END_TEST

START_TEST(a_run_that_waited_long_counts_a_class_higher)
{
    kit_open(_i);
    (void)kit_agent("bob");
    (void)queued(NULL, "low", -1);
    kit_ok();
    kit.now += 10000;
    kit_next(&kit);
    (void)queued(NULL, "normal", 0);
    (void)queued(NULL, "high", 1);
    kit_ok();
    ck_assert_str_eq(taken(1, 5000), "low"); /* waited twice as long as makes it high, and is the oldest */
    ck_assert_str_eq(taken(ROOM, 0), "high normal");
    kit_close();
}
END_TEST

START_TEST(of_a_session_one_run_is_taken_and_its_end_makes_room_for_the_next)
{
    struct ag_op_run_create *first, *second;

    kit_open(_i);
    (void)kit_agent("bob");
    first = queued("s", "s1", 0);
    second = queued("s", "s2", 1); /* its class does not bring it in front of its own session */
    (void)queued("t", "t1", 0);
    kit_ok();
    ck_assert_str_eq(taken(ROOM, 0), "s1 t1");
    ck_assert(!look().is_ready && look().has_waiting);
    ck_assert_str_eq(taken(ROOM, 0), "");
    first->out_input_seq = 1;
    first->out_attempt = 1;
    ck_assert_int_eq(kit_answer(first, "1")->out_next_run_id, second->out_run_id);
    ck_assert(look().is_ready);
    ck_assert_str_eq(taken(ROOM, 0), "s2");
    kit_close();
}
END_TEST

START_TEST(a_run_behind_one_that_waits_is_taken_and_closes_it)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *first;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_calling("bob", "s", 1, effects);
    (void)queued("s", "next", 0);
    kit_ok();
    ck_assert(!look().is_ready);
    (void)kit_call_end(first->out_run_id, 2, AG_CALL_UNKNOWN, NULL);
    (void)kit_finish(first, AG_RUN_WAITING);
    kit_ok();
    ck_assert(look().is_ready);
    ck_assert_str_eq(taken(ROOM, 0), "next");
    kit_is(RUNS, "input status", "call|failed\nnext|running\n");
    kit_close();
}
END_TEST

START_TEST(a_decided_run_goes_back_into_the_queue)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *run;
    struct ag_op_claim_next *next;
    struct ag_op *op;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 1, effects);
    op = kit_add(AG_OP_RUN_CLAIM);
    op->run_claim = (struct ag_op_run_claim){.run_id = run->out_run_id, .force = true};
    kit_ok();
    ck_assert_int_eq(op->run_claim.out_status, AG_RUN_WAITING);
    ck_assert(!look().is_ready);
    kit_add(AG_OP_RUN_DECIDE)->run_decide = (struct ag_op_run_decide){.run_id = run->out_run_id, .approve = true};
    kit_ok();
    ck_assert(look().is_ready);
    next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;
    next->claims = claims;
    next->most = ROOM;
    kit_ok();
    ck_assert_int_eq(next->out_count, 1);
    ck_assert(claims[0].out_claimed && !claims[0].out_fresh);
    ck_assert_int_eq(claims[0].run_id, run->out_run_id);
    ck_assert_int_eq(claims[0].out_attempt, 3);
    kit_close();
}
END_TEST

START_TEST(what_is_cancelled_or_removed_is_not_taken)
{
    struct ag_op_run_create *cancelled, *removed;

    kit_open(_i);
    (void)kit_agent("bob");
    cancelled = queued("s", "s1", 0);
    (void)queued("s", "s2", 0);
    removed = queued("t", "t1", 0);
    kit_ok();
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = cancelled->out_run_id;
    kit_ok();
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = removed->out_session_id;
    kit_ok();
    ck_assert_str_eq(taken(ROOM, 0), "s2");
    ck_assert(!look().is_ready && !look().has_waiting);
    kit_close();
}
END_TEST

START_TEST(a_taking_that_is_taken_back_leaves_the_queue_as_it_was)
{
    struct ag_op_claim_next *next;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)queued(NULL, "one", 0);
    (void)queued("s", "two", 0);
    (void)queued("s", "three", 0);
    kit_ok();
    next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;
    next->claims = claims;
    next->most = ROOM;
    kit_add(AG_OP_TOOL_RM)->name.name = S("missing");
    kit_fails(AGENT_ENOTFOUND);
    kit_is(RUNS, "status", "queued\nqueued\nqueued\n");
    ck_assert(look().is_ready && look().has_waiting);
    ck_assert_str_eq(taken(ROOM, 0), "one two");
    ck_assert_msg(kit.store->vt->check(kit.store, NULL, NULL, &err) == AGENT_OK || _i != KIT_MEMORY, "%s", err.text);
    kit_close();
}
END_TEST

/* The session has used all its message numbers: its next run could be tried for ever. */
START_TEST(a_run_that_can_never_be_claimed_fails_and_the_rest_goes_on)
{
    struct ag_op_run_create *full;
    int rounds = 0;

    kit_open(_i);
    (void)kit_agent("bob");
    full = kit_run("bob", "full", "fills it");
    (void)kit_message(full, (1 << AG_SEQ_BITS) - 1, AG_ROLE_ASSISTANT, "the last number");
    (void)kit_step_end(full->out_run_id, 1, AG_STEP_SUCCEEDED);
    (void)kit_finish(full, AG_RUN_SUCCEEDED);
    kit_ok();
    (void)queued("full", "never", -1);
    (void)queued(NULL, "before", -_i % 2); /* taken first, of its class or of another */
    (void)queued("full", "never too", 0);
    (void)queued(NULL, "after", -1);
    kit_ok();
    while (look().is_ready) { /* the second of its session may come in the same round or in the next */
        struct ag_op_claim_next *next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;

        ck_assert_int_lt(rounds++, 3);
        next->claims = claims;
        next->most = ROOM;
        kit_ok();
        ck_assert_int_eq(next->out_count, rounds == 1 ? 2 : 0);
    }
    kit_is(RUNS, "input status",
           "fills it|succeeded\nnever|failed\nbefore|running\nnever too|failed\nafter|running\n");
    ck_assert(!look().has_waiting);
    ck_assert_str_ne(kit_rows(AGENT_VIEW_RUNS, KIT_RUN(full->out_run_id + 1), "error"), "-\n");
    kit_close();
}
END_TEST

#define EACH(test) tcase_add_loop_test(tests, test, 0, KIT_LAST)

Suite *store_queue_suite(void)
{
    Suite *suite = suite_create("store queue");
    TCase *tests = tcase_create("queue");

    EACH(an_empty_queue_gives_nothing);
    EACH(runs_are_taken_by_class_and_within_a_class_by_age);
    EACH(a_run_that_waited_long_counts_a_class_higher);
    EACH(of_a_session_one_run_is_taken_and_its_end_makes_room_for_the_next);
    EACH(a_run_behind_one_that_waits_is_taken_and_closes_it);
    EACH(a_decided_run_goes_back_into_the_queue);
    EACH(what_is_cancelled_or_removed_is_not_taken);
    EACH(a_taking_that_is_taken_back_leaves_the_queue_as_it_was);
    EACH(a_run_that_can_never_be_claimed_fails_and_the_rest_goes_on);
    suite_add_tcase(suite, tests);
    return suite;
}
