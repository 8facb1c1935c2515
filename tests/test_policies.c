/* What all policies have in common, what the adaptive one is for, and the parts they are made of. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cache/ghost.h"
#include "engine/cache/hash.h"
#include "engine/cache/history.h"
#include "engine/cache/replay.h"
#include "engine/cache/tuner.h"

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) * n >> 31);
}

static double random_unit(void)
{
    return ((double)random_below(1u << 30) + 0.5) / (double)(1u << 30);
}

static uint64_t skewed_key(void)
{
    return (uint64_t)(3000 * pow(random_unit(), 3));
}

static const struct ag_policy_vt *policy_at(int i)
{
    return ag_policy_all()[i];
}

static int policy_count(void)
{
    int n = 0;

    while (policy_at(n) != NULL)
        n++;
    return n;
}

START_TEST(every_policy_is_found_by_its_name_and_no_other_is)
{
    for (int i = 0; i < policy_count(); i++)
        ck_assert_ptr_eq(ag_policy_find(policy_at(i)->name), policy_at(i));
    ck_assert_str_eq(ag_policy_find(NULL)->name, AG_POLICY_DEFAULT);
    ck_assert_ptr_null(ag_policy_find("clairvoyant"));
}
END_TEST

START_TEST(every_policy_keeps_its_invariants_whatever_comes)
{
    const struct ag_policy_vt *vt = policy_at(_i);
    const struct ag_policy_options o = {.is_sized = true};
    struct ag_sim s;

    random_state = 17;
    ck_assert(ag_sim_init(&s, vt, &o, 300000));
    for (int i = 0; i < 60000; i++) {
        uint64_t hash = ag_hash_u64(skewed_key());
        uint32_t bytes = 20 + (uint32_t)(hash % 61) * (hash % 40 == 0 ? 100 : 10);

        if (i == 30000)
            s.now = AG_TICK_LIMIT - 1000; /* time runs out on the way */
        (void)ag_sim_reference(&s, hash, bytes, ag_rank_of(bytes, ag_cost_default(bytes)));
        ck_assert_uint_le(s.bytes, s.capacity);
        if (random_below(20) == 0)
            ag_sim_remove(&s, ag_hash_u64(skewed_key()));
        if (random_below(10000) == 0)
            ag_sim_resize(&s, 100000 + random_below(400000));
        if (vt->set_mode != NULL && random_below(2000) == 0)
            vt->set_mode(s.policy, ag_tuner_modes[random_below(AG_TUNER_CANDIDATES)]);
        if (i % 500 == 0)
            ck_assert_msg(vt->check(s.policy) == NULL, "%s at %d: %s", vt->name, i, vt->check(s.policy));
    }
    if (!vt->keeps_nothing)
        ck_assert_uint_gt(s.evictions, 1000);
    ag_sim_drop(&s);
}
END_TEST

/* need() is what room is made for before prepare(): an underestimate would break the budget. */
START_TEST(no_policy_takes_more_memory_than_it_said_it_needs_and_a_hit_takes_none)
{
    const struct ag_policy_vt *vt = policy_at(_i);
    const struct ag_policy_options o = {.is_sized = true};
    struct ag_slab slab;
    struct ag_policy *p;

    ag_slab_init(&slab);
    p = vt->create(&o, &slab);
    ck_assert_ptr_nonnull(p);
    for (uint32_t i = 1; i < 3000 && !vt->keeps_nothing; i++) {
        uint8_t rank = (uint8_t)(i * 7 % 5 + 40);
        size_t held = p->held_bytes, need = vt->need(p, rank);
        uint32_t id = ag_slab_take(&slab);

        ag_node_at(&slab, id)->bytes = 100;
        ag_node_at(&slab, id)->rank = rank;
        ck_assert(vt->prepare(p, ag_hash_u64(i), rank, 3 * i));
        ck_assert_uint_le(p->held_bytes, held + need);
        vt->insert(p, id, 3 * i);
        held = p->held_bytes;
        vt->hit(p, id, 3 * i + 1);
        if (i % 3 == 0) {
            uint32_t victim = vt->victim(p, 3 * i + 2);

            vt->remove(p, victim, ag_hash_u64(victim + 100000), 3 * i + 2, AG_GONE_EVICTED);
            ag_slab_give(&slab, victim);
        }
        ck_assert_uint_eq(p->held_bytes, held);
    }
    vt->destroy(p);
    ag_slab_drop(&slab);
}
END_TEST

START_TEST(where_memory_is_out_a_policy_keeps_less_and_breaks_nothing)
{
    const struct ag_policy_vt *vt = policy_at(_i);
    const struct ag_policy_options o = {.is_sized = true};
    struct ag_sim s;

    random_state = 23;
    ck_assert(ag_sim_init(&s, vt, &o, 100000));
    for (int i = 0; i < 20000; i++) {
        if (random_below(3) == 0)
            (void)ag_mem_fail_at(1 + random_below(3));
        (void)ag_sim_reference(&s, ag_hash_u64(skewed_key()), 100, (uint8_t)(30 + random_below(8)));
        (void)ag_mem_fail_at(0);
    }
    ck_assert_ptr_null(vt->check(s.policy));
    ag_sim_drop(&s);
}
END_TEST

/* --- what the adaptive one is for ------------------------------------------------------------- */

/* 60 conversations at a time; each step reads the last 8 turns and adds 2; after 12 or so it is dead. */
static double conversations(const struct ag_policy_vt *vt, const struct ag_policy_options *o, uint64_t capacity)
{
    struct { uint64_t id; uint32_t turns; } live[60];
    uint64_t next = 60, hits = 0, requests = 0;
    struct ag_sim s;

    random_state = 31;
    for (uint64_t i = 0; i < 60; i++) {
        live[i].id = i;
        live[i].turns = 0;
    }
    ck_assert(ag_sim_init(&s, vt, o, capacity));
    for (int step = 0; step < 20000; step++) {
        uint32_t at = random_below(60), turns = live[at].turns;

        for (uint32_t t = turns > 8 ? turns - 8 : 0; t < turns + 2; t++, requests++)
            hits += ag_sim_reference(&s, ag_hash_u64(live[at].id << 16 | t), 1, 0);
        live[at].turns += 2;
        if (random_below(12) == 0) {
            live[at].id = next++;
            live[at].turns = 0;
        }
    }
    ag_sim_drop(&s);
    return (double)hits / (double)requests;
}

START_TEST(on_conversations_it_is_as_good_as_lru_where_the_textbook_form_is_hopeless)
{
    const struct ag_policy_options o = {0}, textbook = {.k = 2, .history_percent = 1};
    double lru = conversations(&ag_policy_lru, &o, 600), adaptive = conversations(&ag_policy_adaptive, &o, 600);
    double without_history = conversations(&ag_policy_lruk, &textbook, 600);

    ck_assert_msg(adaptive > lru - .02, "adaptive %.3f, lru %.3f", adaptive, lru);
    ck_assert_msg(without_history < lru - .2, "without history %.3f, lru %.3f", without_history, lru);
}
END_TEST

static double skewed_with_scans(const struct ag_policy_vt *vt)
{
    const struct ag_policy_options o = {0};
    uint64_t hits = 0;
    struct ag_sim s;

    random_state = 37;
    ck_assert(ag_sim_init(&s, vt, &o, 150));
    for (int i = 0; i < 60000; i++) {
        hits += ag_sim_reference(&s, ag_hash_u64(skewed_key()), 1, 0);
        if (i % 10000 == 9999)
            for (uint64_t key = 0; key < 3000; key++)
                (void)ag_sim_reference(&s, ag_hash_u64(key), 1, 0);
    }
    ag_sim_drop(&s);
    return (double)hits / 60000;
}

START_TEST(on_skewed_requests_with_scans_it_is_better_than_lru)
{
    double lru = skewed_with_scans(&ag_policy_lru), adaptive = skewed_with_scans(&ag_policy_adaptive);

    ck_assert_msg(adaptive > lru + .02, "adaptive %.3f, lru %.3f", adaptive, lru);
}
END_TEST

START_TEST(with_sizes_many_small_objects_are_worth_more_than_a_few_large_ones)
{
    const struct ag_policy_options o = {.is_sized = true};
    uint64_t hits[2] = {0};

    for (int sized = 0; sized < 2; sized++) {
        struct ag_sim s;

        random_state = 41;
        ck_assert(ag_sim_init(&s, &ag_policy_adaptive, &o, 400000));
        for (int i = 0; i < 60000; i++) {
            uint64_t hash = ag_hash_u64(skewed_key());
            uint32_t bytes = hash % 10 == 0 ? 20000 : 300;

            hits[sized] += ag_sim_reference(&s, hash, bytes, sized ? ag_rank_of(bytes, ag_cost_default(bytes)) : 10);
        }
        ag_sim_drop(&s);
    }
    ck_assert_msg(hits[1] > hits[0] + 6000, "%llu sized, %llu not", (unsigned long long)hits[1], (unsigned long long)hits[0]);
}
END_TEST

static const struct ag_policy_mode *tuned_by(uint64_t (*key)(uint64_t at), struct ag_tuner *t)
{
    const struct ag_policy_options o = {0};

    random_state = 43;
    ck_assert(ag_tuner_init(t, &o, 1000, 64 << 20));
    for (uint64_t i = 0; i < 300000; i++) {
        uint64_t hash = ag_hash_u64(key(i));

        if (ag_tuner_samples(t, hash))
            ag_tuner_reference(t, hash, 1, 0, AG_COST_BASE_NS);
    }
    ck_assert_uint_le(ag_tuner_held_bytes(t), ag_tuner_most_bytes(64 << 20));
    return &ag_tuner_modes[ag_tuner_choice(t)];
}

static uint64_t loop_of_1500(uint64_t at)
{
    return at % 1500;
}

/* Everything is read again soon, once, and never later. */
static uint64_t twice_soon(uint64_t at)
{
    return at / 900 * 450 + at % 450;
}

START_TEST(the_tuner_becomes_strict_on_a_loop_that_is_larger_than_the_cache)
{
    struct ag_tuner t;

    ck_assert(tuned_by(loop_of_1500, &t)->strict);
    ag_tuner_drop(&t);
}
END_TEST

START_TEST(the_tuner_does_not_become_strict_where_what_is_new_is_read_again_soon)
{
    struct ag_tuner t;

    ck_assert(!tuned_by(twice_soon, &t)->strict);
    ag_tuner_drop(&t);
}
END_TEST

START_TEST(in_the_strict_mode_a_loop_keeps_most_of_what_fits)
{
    const struct ag_policy_options o = {0};

    for (int i = 0; i < AG_TUNER_CANDIDATES; i++) {
        struct ag_sim s;
        uint64_t hits = 0;

        if (!ag_tuner_modes[i].strict)
            continue;
        ck_assert(ag_sim_init(&s, &ag_policy_adaptive, &o, 800));
        ag_policy_adaptive.set_mode(s.policy, ag_tuner_modes[i]);
        for (uint64_t at = 0; at < 50000; at++)
            hits += ag_sim_reference(&s, ag_hash_u64(at % 1000), 1, 0) && at >= 10000;
        /* The optimum is 799 of 999. */
        ck_assert_msg(hits > 40000 * 77 / 100, "mode %d: %llu", i, (unsigned long long)hits);
        ag_sim_drop(&s);
    }
}
END_TEST

/* --- parts ---------------------------------------------------------------------------------------- */

START_TEST(a_rank_is_half_an_octave_of_bytes_by_cost_in_their_order)
{
    uint8_t before = 0;

    for (uint64_t bytes = 1; bytes < UINT64_C(1) << 33; bytes += 1 + bytes / 7) {
        uint8_t rank = ag_rank_of(bytes, 4000);

        ck_assert_uint_ge(rank, before);
        ck_assert_uint_lt(rank, AG_RANKS);
        before = rank;
    }
    ck_assert_uint_gt(ag_rank_of(2000, 4000), ag_rank_of(1000, 4000));
    ck_assert_uint_eq(ag_rank_of(2000, 4000), ag_rank_of(1000, 2000));
    ck_assert_uint_eq(ag_rank_of(0, 0), 0);
    for (int i = 1; i < AG_RANKS; i++)
        ck_assert(ag_rank_weight[i] > ag_rank_weight[i - 1]);
}
END_TEST

START_TEST(the_index_finds_what_is_in_it_and_nothing_else_as_it_grows_and_shrinks)
{
    static uint32_t is_in[5000];
    struct ag_index x;

    random_state = 3;
    memset(is_in, 0, sizeof(is_in));
    ck_assert(ag_index_init(&x));
    for (int i = 0; i < 60000; i++) {
        uint32_t id = random_below(5000), at;
        uint64_t hash = ag_hash_u64(id);

        if (is_in[id]) {
            ag_index_remove(&x, hash, id);
        } else {
            ck_assert(ag_index_reserve(&x));
            ag_index_add(&x, hash, id);
        }
        is_in[id] = !is_in[id];
        id = random_below(5000);
        hash = ag_hash_u64(id);
        at = ag_index_first(&x, hash);
        for (uint32_t found; (found = ag_index_next(&x, hash, &at)) != id;)
            if (found == AG_NO_ENTRY) {
                ck_assert(!is_in[id]);
                id = AG_NO_ENTRY;
                break;
            }
        if (id != AG_NO_ENTRY)
            ck_assert(is_in[id]);
    }
    ag_index_drop(&x);
}
END_TEST

START_TEST(the_ghost_remembers_the_latest_evictions_and_gives_each_out_once)
{
    struct ag_ghost g = {0};
    struct ag_ghost_slot slot;
    int known = 0;

    ag_ghost_grow(&g, 400);
    for (uint32_t i = 1; i <= 2000; i++)
        ag_ghost_add(&g, ag_hash_u64(i), (uint32_t[2]){i, i - 1}, i, i % 3 == 0);
    ck_assert_uint_le(g.cold + g.hot, g.sets * 4);
    ag_ghost_grow(&g, 4000); /* what is known stays known */
    for (uint32_t i = 1901; i <= 2000; i++)
        if (ag_ghost_take(&g, ag_hash_u64(i), &slot)) {
            known++;
            ck_assert_uint_eq(slot.hist[0], i);
            ck_assert_int_eq(ag_ghost_was_hot(&slot), i % 3 == 0);
            ck_assert(!ag_ghost_take(&g, ag_hash_u64(i), &slot));
        }
    ck_assert_int_gt(known, 90);
    ag_ghost_drop(&g);
}
END_TEST

START_TEST(history_blocks_are_found_by_the_whole_hash_and_purged_by_age)
{
    struct ag_history h;
    uint32_t hist[AG_LRUK_MAX], last;

    ag_history_init(&h, 3, true);
    for (uint32_t i = 1; i <= 3000; i++)
        ag_history_add(&h, UINT64_C(77) << 32 | 5 | (uint64_t)i << 40, (uint32_t[4]){i, i + 1, 0, 0}, i + 2); /* one home */
    ck_assert(ag_history_take(&h, UINT64_C(77) << 32 | 5 | UINT64_C(2222) << 40, hist, &last));
    ck_assert_uint_eq(hist[0], 2222);
    ck_assert_uint_eq(hist[1], 2223);
    ck_assert_uint_eq(last, 2224);
    ag_history_purge(&h, 1002);
    ck_assert_uint_eq(h.count, 2000);
    ck_assert(!ag_history_has(&h, UINT64_C(77) << 32 | 5 | UINT64_C(999) << 40));
    ck_assert(ag_history_has(&h, UINT64_C(77) << 32 | 5 | UINT64_C(1000) << 40));
    ag_history_drop(&h);
}
END_TEST

/* --- traces ------------------------------------------------------------------------------------------ */

static char folder[64], path[128];

static void write_file(const char *name, const void *text, size_t n)
{
    FILE *f;

    snprintf(folder, sizeof(folder), "%s/agent-trace-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

static void remove_file(void)
{
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

START_TEST(both_formats_of_a_trace_say_the_same)
{
    static const char csv[] = "time,key,bytes\n1,10,100\n2,agent:x,50\r\n3.5,10,100\n\n";
    static const unsigned char bin[] = {1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 2,    0,    0,    0,    0,    0,    0,    0,
                                        2, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 50,  0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                        3, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

    for (int is_bin = 0; is_bin < 2; is_bin++) {
        agent_error err = AGENT_ERROR_INIT;
        struct ag_trace t;

        write_file(is_bin ? "t.bin" : "t.csv", is_bin ? (const void *)bin : csv, is_bin ? sizeof(bin) : sizeof(csv) - 1);
        ck_assert_msg(ag_trace_load(path, &t, &err) == AGENT_OK, "%s", err.text);
        ck_assert_uint_eq(t.count, 3);
        ck_assert_uint_eq(t.objects, 2);
        ck_assert_uint_eq(t.footprint_bytes, 150);
        ck_assert_int_eq(t.requests[0].next, 2);
        ck_assert_int_eq(t.requests[1].next, -1);
        ck_assert_uint_eq(t.requests[2].time, 3);
        ck_assert_uint_eq(t.requests[0].key, 10);
        ag_trace_drop(&t);
        remove_file();
    }
}
END_TEST

START_TEST(a_broken_trace_is_refused_and_the_place_is_named)
{
    static const struct { const char *name, *text, *part; agent_status rc; } cases[] = {
        {"a.csv", "time,key,bytes\n1,2,3\n1,2\n", "line 3 is not time,key,bytes: \"1,2\"", AGENT_EINVAL},
        {"b.csv", "1,2,99999999999\n1,x,1\n2,2,-4\n", "line 3", AGENT_EINVAL},
        {"c.bin", "twenty-five bytes of text", "record 2 has 1 bytes, not 24", AGENT_EINVAL},
        {"d.csv", "", "no request", AGENT_EINVAL},
        {"e.txt", "1,2,3\n", "its format is told by its name", AGENT_EINVAL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        agent_error err = AGENT_ERROR_INIT;
        struct ag_trace t = {0};

        write_file(cases[i].name, cases[i].text, strlen(cases[i].text));
        ck_assert_int_eq(ag_trace_load(path, &t, &err), cases[i].rc);
        ck_assert_msg(strstr(err.text, cases[i].part) != NULL, "%s", err.text);
        ck_assert_ptr_null(t.requests);
        remove_file();
    }
    {
        agent_error err = AGENT_ERROR_INIT;
        struct ag_trace t;

        ck_assert_int_eq(ag_trace_load("/nowhere/t.csv", &t, &err), AGENT_ENOTFOUND);
    }
}
END_TEST

/* a b c a b c with room for two: LRU never hits; the best keeps a, or b, over c. */
START_TEST(a_replay_tells_what_a_policy_and_what_the_best_one_would_have_got)
{
    struct ag_trace t = {0};
    struct ag_replay_result r;
    agent_error err = AGENT_ERROR_INIT;

    for (uint32_t i = 0; i < 300; i++)
        ck_assert_int_eq(ag_trace_add(&t, i % 3, 100, i, &err), AGENT_OK);
    ck_assert_int_eq(ag_trace_link(&t, &err), AGENT_OK);
    ck_assert_int_eq(ag_cache_replay(&t, "lru", 200, 0, 0, true, &r, &err), AGENT_OK);
    ck_assert_uint_eq(r.hits, 0);
    ck_assert_uint_eq(r.evictions, 298);
    ck_assert_str_eq(r.policy, "lru");
    /* Two of three keys stay, one after the other is given up: every second request is a hit. */
    ck_assert_msg(fabs(r.belady_hit_ratio - .5) < .02, "%.3f", r.belady_hit_ratio);
    ck_assert_int_eq(ag_cache_replay(&t, "lru", 300, 0, 0, true, &r, &err), AGENT_OK);
    ck_assert_uint_eq(r.hits, 297);
    ck_assert_msg(fabs(r.belady_hit_ratio - .99) < .001, "%.3f", r.belady_hit_ratio);
    ck_assert_int_eq(ag_cache_replay(&t, "none", 300, 0, 0, false, &r, &err), AGENT_OK);
    ck_assert_uint_eq(r.hits, 0);
    ck_assert(r.belady_hit_ratio < 0);
    ck_assert_int_eq(ag_cache_replay(&t, "best", 300, 0, 0, false, &r, &err), AGENT_EINVAL);
    ag_trace_drop(&t);
}
END_TEST

Suite *policies_suite(void);

Suite *policies_suite(void)
{
    Suite *suite = suite_create("policies");
    TCase *all = tcase_create("all"), *adaptive = tcase_create("adaptive"), *parts = tcase_create("parts"),
          *traces = tcase_create("traces");

    tcase_set_timeout(all, 120);
    tcase_add_test(all, every_policy_is_found_by_its_name_and_no_other_is);
    tcase_add_loop_test(all, every_policy_keeps_its_invariants_whatever_comes, 0, policy_count());
    tcase_add_loop_test(all, no_policy_takes_more_memory_than_it_said_it_needs_and_a_hit_takes_none, 0, policy_count());
    tcase_add_loop_test(all, where_memory_is_out_a_policy_keeps_less_and_breaks_nothing, 0, policy_count());
    suite_add_tcase(suite, all);

    tcase_set_timeout(adaptive, 120);
    tcase_add_test(adaptive, on_conversations_it_is_as_good_as_lru_where_the_textbook_form_is_hopeless);
    tcase_add_test(adaptive, on_skewed_requests_with_scans_it_is_better_than_lru);
    tcase_add_test(adaptive, with_sizes_many_small_objects_are_worth_more_than_a_few_large_ones);
    tcase_add_test(adaptive, in_the_strict_mode_a_loop_keeps_most_of_what_fits);
    tcase_add_test(adaptive, the_tuner_becomes_strict_on_a_loop_that_is_larger_than_the_cache);
    tcase_add_test(adaptive, the_tuner_does_not_become_strict_where_what_is_new_is_read_again_soon);
    suite_add_tcase(suite, adaptive);

    tcase_add_test(parts, a_rank_is_half_an_octave_of_bytes_by_cost_in_their_order);
    tcase_add_test(parts, the_index_finds_what_is_in_it_and_nothing_else_as_it_grows_and_shrinks);
    tcase_add_test(parts, the_ghost_remembers_the_latest_evictions_and_gives_each_out_once);
    tcase_add_test(parts, history_blocks_are_found_by_the_whole_hash_and_purged_by_age);
    suite_add_tcase(suite, parts);

    tcase_add_test(traces, both_formats_of_a_trace_say_the_same);
    tcase_add_test(traces, a_broken_trace_is_refused_and_the_place_is_named);
    tcase_add_test(traces, a_replay_tells_what_a_policy_and_what_the_best_one_would_have_got);
    suite_add_tcase(suite, traces);
    return suite;
}
