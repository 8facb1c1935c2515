/*
 * A trace through the front cache, by the public API: what is told of a trace of ten requests that a
 * hand can follow, and what is refused. Figures by policy and the command are in cli/bench_cache.sh.
 */
#include <agent/agent.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"

Suite *replay_suite(void);

static char folder[200], csv[260];

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(folder, sizeof(folder), "%s/agent-replay.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(csv, sizeof(csv), "%s/ten.csv", folder);
    write_text(csv, "1,1,100\n2,2,100\n3,1,100\n4,3,100\n5,1,100\n6,2,100\n7,4,100\n8,1,100\n9,2,100\n10,1,100\n");
}

static void teardown(void)
{
    (void)unlink(csv);
    ck_assert_int_eq(rmdir(folder), 0);
}

static agent_replay_options lru_of_two(void)
{
    agent_replay_options o = AGENT_REPLAY_OPTIONS_INIT;

    o.trace = csv;
    o.policy = "lru";
    o.bytes = 200;
    return o;
}

START_TEST(room_for_two_objects_under_lru_hits_three_times_in_ten)
{
    agent_replay_options o = lru_of_two();
    agent_replay_result r = AGENT_REPLAY_RESULT_INIT;
    agent_error err = AGENT_ERROR_INIT;

    ck_assert_msg(agent_cache_replay(&o, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert_str_eq(r.policy, "lru");
    ck_assert_int_eq(r.bytes, 200);
    ck_assert_int_eq(r.requests, 10);
    ck_assert_int_eq(r.hits, 3);
    ck_assert_int_eq(r.evictions, 5);
    ck_assert_int_eq(r.entries, 2);
    ck_assert_double_eq_tol(r.hit_ratio, .3, 1e-12);
    ck_assert_double_eq_tol(r.byte_hit_ratio, .3, 1e-12);
    ck_assert_double_eq_tol(r.belady_hit_ratio, .6, 1e-12);
    ck_assert_double_gt(r.metadata_bytes_per_entry, 0);
}
END_TEST

static const struct refusal {
    const char *policy;
    int64_t bytes;
    int k;
    agent_status status;
} refusals[] = {
    {"best", 200, 0, AGENT_EINVAL},
    {"lru", -1, 0, AGENT_EINVAL},
    {"lruk", 200, 5, AGENT_EINVAL},
};

START_TEST(what_is_refused_leaves_the_result_alone)
{
    const struct refusal *c = &refusals[_i];
    agent_replay_options o = lru_of_two();
    agent_replay_result r = AGENT_REPLAY_RESULT_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.policy = c->policy;
    o.bytes = c->bytes;
    o.k = c->k;
    r.hits = 77;
    ck_assert_int_eq(agent_cache_replay(&o, &r, &err), c->status);
    ck_assert_int_eq(err.status, c->status);
    ck_assert_int_eq(r.hits, 77);
    ck_assert_ptr_null(r.policy);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
    agent_replay_options o = lru_of_two();
    agent_replay_result r = AGENT_REPLAY_RESULT_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.trace = "nowhere.bin";
    ck_assert_int_eq(agent_cache_replay(&o, &r, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "nowhere.bin"));
}
END_TEST

START_TEST(structs_of_another_size_are_refused)
{
    agent_replay_options o = lru_of_two();
    agent_replay_result r = AGENT_REPLAY_RESULT_INIT;

    o.size = 1;
    ck_assert_int_eq(agent_cache_replay(&o, &r, NULL), AGENT_EINVAL);
    o.size = sizeof(o);
    r.size = 0;
    ck_assert_int_eq(agent_cache_replay(&o, &r, NULL), AGENT_EINVAL);
    ck_assert_int_eq(agent_cache_replay(NULL, NULL, NULL), AGENT_EINVAL);
}
END_TEST

/* Whichever allocation fails: the whole answer or AGENT_ENOMEM, or a cache that kept less. */
START_TEST(memory_that_runs_out_is_told_or_costs_hits_only)
{
    bool ended = false;
    int refused = 0;

    for (unsigned long n = 1; n < 1000 && !ended; n++) {
        agent_replay_options o = lru_of_two();
        agent_replay_result r = AGENT_REPLAY_RESULT_INIT;
        agent_status rc;

        (void)ag_mem_fail_at(n);
        rc = agent_cache_replay(&o, &r, NULL);
        ended = ag_mem_fail_at(0) < n; /* it needs fewer than n */
        if (rc == AGENT_OK) {
            ck_assert_int_eq(r.requests, 10);
            ck_assert_int_le(r.hits, 3);
            ck_assert(!ended || r.hits == 3);
        } else {
            ck_assert_int_eq(rc, AGENT_ENOMEM);
            ck_assert_int_eq(r.requests, 0);
            refused++;
        }
    }
    ck_assert(ended);
    ck_assert_int_gt(refused, 0);
}
END_TEST

Suite *replay_suite(void)
{
    Suite *s = suite_create("replay");
    TCase *t = tcase_create("replay");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, room_for_two_objects_under_lru_hits_three_times_in_ten);
    tcase_add_loop_test(t, what_is_refused_leaves_the_result_alone, 0, sizeof(refusals) / sizeof(refusals[0]));
    tcase_add_test(t, a_file_that_is_not_there_is_named);
    tcase_add_test(t, structs_of_another_size_are_refused);
    tcase_add_test(t, memory_that_runs_out_is_told_or_costs_hits_only);
    suite_add_tcase(s, t);
    return s;
}
