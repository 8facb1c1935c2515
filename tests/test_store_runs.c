/* What every store does with runs: who may drive which, how they end, what a conversation looks like. */
#include "tests/store_kit.h"

Suite *store_runs_suite(void);

static const enum agent_effect one_effect[] = {AGENT_EFFECT_EFFECT};
static const enum agent_effect one_pure[] = {AGENT_EFFECT_PURE};
static const enum agent_effect mixed[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_PURE, AGENT_EFFECT_IDEMPOTENT};

#define UNKNOWN "the outcome of this call is unknown: it was begun before a crash and may have happened"

static struct ag_op_run_claim *claim(int64_t run_id, bool force)
{
    struct ag_op_run_claim *op = &kit_add(AG_OP_RUN_CLAIM)->run_claim;

    op->run_id = run_id;
    op->force = force;
    kit_ok();
    return op;
}

static struct ag_op_run_cancel *cancel(int64_t run_id)
{
    struct ag_op_run_cancel *op = &kit_add(AG_OP_RUN_CANCEL)->run_cancel;

    op->run_id = run_id;
    kit_ok();
    return op;
}

static struct ag_op_run_decide *decide(int64_t run_id, const char *call_id, bool approve)
{
    struct ag_op_run_decide *op = &kit_add(AG_OP_RUN_DECIDE)->run_decide;

    op->run_id = run_id;
    op->call_id = ag_str_of(call_id);
    op->approve = approve;
    return op;
}

/* A run that waits for a decision on its calls. */
static struct ag_op_run_create *waiting_run(const char *agent, const char *session, int count,
                                            const enum agent_effect *effects)
{
    struct ag_op_run_create *run = kit_calling(agent, session, count, effects);
    struct ag_op_run_claim *taken = claim(run->out_run_id, true);

    ck_assert_int_eq(taken->out_status, AG_RUN_WAITING);
    ck_assert(!taken->out_claimed);
    return run;
}

/* --- create ---------------------------------------------------------------------------------------------- */

START_TEST(a_run_that_is_claimed_at_once_has_its_message_and_its_first_step)
{
    struct ag_op_run_create *run;
    int64_t agent;

    kit_open(_i);
    agent = kit_agent("bob");
    run = kit_create("bob", NULL, "hi");
    run->priority = 1;
    run->options = S("{\"a\":1}");
    run->deadline_at_ms = kit.now + 5000;
    for (int i = 0; i < 16; i++)
        run->trace_id[i] = (unsigned char)(i * 17);
    kit_ok();
    ck_assert(run->out_claimed && !run->out_existing);
    ck_assert_int_eq(run->out_blocked, AG_BLOCKED_NOT);
    ck_assert_int_gt(run->out_run_id, 0);
    ck_assert_int_gt(run->out_session_id, 0);
    ck_assert_int_eq(run->out_agent_id, agent);
    ck_assert_int_gt(run->out_version_id, 0);
    ck_assert_int_eq(run->out_attempt, 1);
    ck_assert_int_eq(run->out_input_seq, 1);
    kit_is(RUNS, "trace_id agent agent_version status priority input output error attempts queued_at started_at ended_at "
                 "queue_ms wall_ms input_tokens output_tokens cache_hit rss_peak_bytes",
           "00112233445566778899aabbccddeeff|bob|1|running|1|hi|-|-|1|2023-11-14T22:13:21.000Z|"
           "2023-11-14T22:13:21.000Z|-|-|-|-|-|-|-\n");
    kit_is(MESSAGES, "seq role text tool_name tool_call_id created_at",
           "1|user|hi|-|-|2023-11-14T22:13:21.000Z\n");
    kit_is(STEPS, "step kind status attempt started_at ended_at wall_ms input_tokens output_tokens tool error",
           "1|model|running|1|2023-11-14T22:13:21.000Z|-|-|-|-|-|-\n");
    kit_is(SESSIONS, "agent name created_at last_at turns messages",
           "bob|-|2023-11-14T22:13:21.000Z|2023-11-14T22:13:21.000Z|0|0\n");
    kit_is(AGENTS, "sessions runs last_run_at", "1|1|2023-11-14T22:13:21.000Z\n");
    kit_close();
}
END_TEST

START_TEST(a_run_that_is_only_queued_has_neither)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", NULL, "hi");
    run->claim = false;
    kit_ok();
    ck_assert(!run->out_claimed);
    ck_assert_int_eq(run->out_attempt, 0);
    ck_assert_int_eq(run->out_blocked, AG_BLOCKED_NOT);
    kit_is(RUNS, "trace_id status attempts started_at", "-|queued|0|-\n");
    kit_is(MESSAGES, "text", "");
    kit_is(STEPS, "step", "");
    kit_close();
}
END_TEST

START_TEST(a_run_of_a_missing_agent_or_session_is_refused_and_nothing_is_written)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_create("no", "s", "hi");
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "agent 'no'"));
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    run = kit_create("bob", NULL, "hi");
    run->session_by = AG_SESSION_ID;
    run->session_id = 12;
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "12"));
    kit_is(RUNS, "id", "");
    kit_is(SESSIONS, "id", "");
    kit_is(AGENTS, "name sessions runs", "bob|0|0\neve|0|0\n");
    kit_close();
}
END_TEST

START_TEST(a_session_of_another_agent_is_no_session)
{
    struct ag_op_run_create *hers, *run;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    hers = kit_run("eve", "s", "hers");
    run = kit_create("bob", NULL, "into hers");
    run->session_by = AG_SESSION_ID;
    run->session_id = hers->out_session_id;
    kit_fails(AGENT_ENOTFOUND);
    run = kit_run("bob", "s", "into his own of that name");
    ck_assert_int_ne(run->out_session_id, hers->out_session_id);
    kit_is(SESSIONS, "agent name", "eve|s\nbob|s\n");
    kit_close();
}
END_TEST

START_TEST(a_named_session_is_made_once_and_then_used)
{
    struct ag_op_run_create *first, *second, *third;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_run("bob", "s", "one");
    (void)kit_answer(first, "1");
    second = kit_run("bob", "s", "two");
    ck_assert_int_eq(second->out_session_id, first->out_session_id);
    ck_assert_int_eq(second->out_input_seq, 3);
    (void)kit_answer(second, "2");
    third = kit_create("bob", NULL, "three");
    third->session_by = AG_SESSION_ID;
    third->session_id = first->out_session_id;
    kit_ok();
    ck_assert_int_eq(third->out_input_seq, 5);
    kit_is(MESSAGES, "seq text", "1|one\n2|1\n3|two\n4|2\n5|three\n");
    kit_is(AGENTS, "sessions runs", "1|3\n");
    kit_close();
}
END_TEST

START_TEST(two_runs_in_one_unit_share_the_session_they_name)
{
    struct ag_op_run_create *first, *second;

    kit_open(_i);
    (void)kit_agent_in(&kit, "bob");
    first = kit_create("bob", "s", "one");
    second = kit_create("bob", "s", "two");
    kit_ok();
    ck_assert_int_eq(second->out_session_id, first->out_session_id);
    ck_assert(first->out_claimed && !second->out_claimed);
    ck_assert_int_eq(second->out_blocked_by, first->out_run_id);
    kit_close();
}
END_TEST

static struct ag_op_run_create *latest(const char *input)
{
    struct ag_op_run_create *run = kit_create("bob", NULL, input);

    run->session_by = AG_SESSION_LATEST;
    kit_ok();
    return run;
}

START_TEST(the_latest_session_is_the_one_last_used)
{
    struct ag_op_run_create *first, *a, *b;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    first = latest("makes one");
    ck_assert(first->out_claimed);
    (void)kit_answer(first, "1");
    a = kit_run("bob", "a", "a");
    (void)kit_answer(a, "1");
    b = kit_run("bob", "b", "b");
    (void)kit_answer(b, "1");
    (void)kit_answer(kit_run("eve", NULL, "not his"), "1");
    ck_assert_int_eq(latest("to b")->out_session_id, b->out_session_id);
    (void)kit_run("bob", "a", "back to a");
    ck_assert_int_eq(latest("to a")->out_session_id, a->out_session_id);
    kit_close();
}
END_TEST

START_TEST(when_the_latest_session_is_removed_the_one_before_it_is_the_latest)
{
    struct ag_op_run_create *a, *b;

    kit_open(_i);
    (void)kit_agent("bob");
    a = kit_run("bob", "a", "a");
    (void)kit_answer(a, "1");
    (void)kit_answer(kit_run("bob", "c", "c"), "1");
    (void)kit_answer(kit_run("bob", "a", "a"), "1");
    b = kit_run("bob", "b", "b");
    (void)kit_answer(b, "1");
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = b->out_session_id;
    kit_ok();
    ck_assert_int_eq(latest("to a")->out_session_id, a->out_session_id);
    kit_close();
}
END_TEST

START_TEST(an_idempotency_key_gives_the_first_run_and_writes_nothing)
{
    struct ag_op_run_create *first, *second;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_create("bob", "s", "one");
    first->idempotency_key = S("key");
    kit_ok();
    ck_assert(!first->out_existing);
    second = kit_create("bob", "other", "two");
    second->idempotency_key = S("key");
    kit_ok();
    ck_assert(second->out_existing && !second->out_claimed);
    ck_assert_int_eq(second->out_run_id, first->out_run_id);
    ck_assert_int_eq(second->out_session_id, first->out_session_id);
    ck_assert_int_eq(second->out_agent_id, first->out_agent_id);
    kit_is(RUNS, "input", "one\n");
    kit_is(SESSIONS, "name", "s\n");
    second = kit_create("bob", "s", "three");
    second->idempotency_key = S("KEY");
    kit_ok();
    ck_assert(!second->out_existing);
    (void)kit_answer(first, "1");
    second = kit_create("bob", "s", "four"); /* also when it has ended */
    second->idempotency_key = S("key");
    kit_ok();
    ck_assert(second->out_existing);
    ck_assert_int_eq(second->out_run_id, first->out_run_id);
    kit_close();
}
END_TEST

START_TEST(a_run_behind_a_live_one_is_queued_and_says_who_blocks)
{
    struct ag_op_run_create *first, *second, *third;
    struct ag_op_run_finish *finish;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_run("bob", "s", "one");
    second = kit_run("bob", "s", "two");
    third = kit_run("bob", "s", "three");
    ck_assert(first->out_claimed && !second->out_claimed && !third->out_claimed);
    ck_assert_int_eq(second->out_blocked, AG_BLOCKED_LIVE);
    ck_assert_int_eq(second->out_blocked_by, first->out_run_id);
    ck_assert_int_eq(third->out_blocked, AG_BLOCKED_LIVE);
    kit_is(RUNS, "input status", "one|running\ntwo|queued\nthree|queued\n");
    finish = kit_answer(first, "1");
    ck_assert_int_eq(finish->out_next_run_id, second->out_run_id);
    ck_assert(claim(second->out_run_id, false)->out_claimed);
    second->out_input_seq = 3;
    second->out_attempt = 1;
    ck_assert_int_eq(kit_answer(second, "2")->out_next_run_id, third->out_run_id);
    ck_assert(claim(third->out_run_id, false)->out_claimed);
    third->out_input_seq = 5;
    third->out_attempt = 1;
    ck_assert_int_eq(kit_answer(third, "3")->out_next_run_id, 0);
    kit_is(MESSAGES, "seq text", "1|one\n2|1\n3|two\n4|2\n5|three\n6|3\n");
    kit_close();
}
END_TEST

START_TEST(a_queued_run_stays_with_whoever_waits_for_it)
{
    struct ag_op_run_create *first, *second, *third;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_run("bob", "s", "one");
    second = kit_run("bob", "s", "two"); /* to be claimed: held while it waits */
    (void)kit_answer(first, "1");
    third = kit_run("bob", "s", "three");
    ck_assert(!third->out_claimed);
    ck_assert_int_eq(third->out_blocked, AG_BLOCKED_LIVE);
    ck_assert_int_eq(third->out_blocked_by, second->out_run_id);
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = first->out_session_id;
    kit_fails(AGENT_EBUSY);
    ck_assert(claim(second->out_run_id, false)->out_claimed); /* by its holder */
    kit_close();
}
END_TEST

START_TEST(a_run_behind_a_queued_one_says_that_it_may_be_claimed)
{
    struct ag_op_run_create *first, *second;
    struct ag_op_run_claim *taken;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_create("bob", "s", "one");
    first->claim = false;
    kit_ok();
    second = kit_run("bob", "s", "two");
    ck_assert(!second->out_claimed);
    ck_assert_int_eq(second->out_blocked, AG_BLOCKED_CLAIMABLE);
    ck_assert_int_eq(second->out_blocked_by, first->out_run_id);
    taken = claim(second->out_run_id, false);
    ck_assert(!taken->out_claimed);
    ck_assert_int_eq(taken->out_status, AG_RUN_QUEUED);
    ck_assert_int_eq(taken->out_blocked, AG_BLOCKED_CLAIMABLE);
    ck_assert_int_eq(taken->out_blocked_by, first->out_run_id);
    ck_assert(cancel(first->out_run_id)->out_ended);
    ck_assert(claim(second->out_run_id, false)->out_claimed);
    kit_close();
}
END_TEST

/* --- claim --------------------------------------------------------------------------------------------------- */

START_TEST(claiming_a_queued_run_begins_it)
{
    struct ag_op_run_create *run;
    struct ag_op_run_claim *taken;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", "s", "hi");
    run->claim = false;
    run->deadline_at_ms = 77;
    kit_ok();
    taken = claim(run->out_run_id, false);
    ck_assert(taken->out_claimed && taken->out_fresh);
    ck_assert_int_eq(taken->out_status, AG_RUN_RUNNING);
    ck_assert_int_eq(taken->out_attempt, 1);
    ck_assert_int_eq(taken->out_blocked, AG_BLOCKED_NOT);
    ck_assert_int_eq(taken->out_session_id, run->out_session_id);
    ck_assert_int_eq(taken->out_agent_id, run->out_agent_id);
    ck_assert_int_eq(taken->out_version_id, run->out_version_id);
    ck_assert_int_eq(taken->out_input_seq, 1);
    ck_assert_int_eq(taken->out_queued_at_ms, run->queued_at_ms);
    ck_assert_int_eq(taken->out_deadline_at_ms, 77);
    kit_is(RUNS, "status attempts started_at", "running|1|2023-11-14T22:13:22.000Z\n");
    kit_is(MESSAGES, "seq role text", "1|user|hi\n");
    kit_is(STEPS, "step status attempt", "1|running|1\n");
    kit_close();
}
END_TEST

START_TEST(a_run_keeps_the_version_it_was_queued_with)
{
    struct ag_op_run_create *run;
    struct ag_op_agent_put *put;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", "s", "hi");
    run->claim = false;
    kit_ok();
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_REPLACE;
    put->spec.model = S("new");
    kit_ok();
    ck_assert_int_eq(claim(run->out_run_id, false)->out_version_id, run->out_version_id);
    kit_is(RUNS, "agent_version", "1\n");
    kit_close();
}
END_TEST

START_TEST(a_run_that_is_live_waits_or_has_ended_is_not_claimed)
{
    struct ag_op_run_create *live, *ended, *waiting;
    struct ag_op_run_claim *taken;

    kit_open(_i);
    (void)kit_agent("bob");
    live = kit_run("bob", NULL, "live");
    taken = claim(live->out_run_id, false);
    ck_assert(!taken->out_claimed);
    ck_assert_int_eq(taken->out_blocked, AG_BLOCKED_LIVE);
    ck_assert_int_eq(taken->out_attempt, 1);
    ended = kit_run("bob", NULL, "ended");
    (void)kit_answer(ended, "1");
    taken = claim(ended->out_run_id, true);
    ck_assert(!taken->out_claimed);
    ck_assert_int_eq(taken->out_status, AG_RUN_SUCCEEDED);
    waiting = waiting_run("bob", NULL, 1, one_effect);
    taken = claim(waiting->out_run_id, true);
    ck_assert(!taken->out_claimed);
    ck_assert_int_eq(taken->out_status, AG_RUN_WAITING);
    kit_add(AG_OP_RUN_CLAIM)->run_claim.run_id = 999;
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "999"));
    kit_is(RUNS, "input status attempts", "live|running|1\nended|succeeded|1\ncall|waiting|2\n");
    kit_close();
}
END_TEST

START_TEST(a_run_taken_over_in_a_model_step_fails_the_step_and_goes_on)
{
    struct ag_op_run_create *run;
    struct ag_op_run_claim *taken;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", NULL, "hi");
    taken = claim(run->out_run_id, true);
    ck_assert(taken->out_claimed && !taken->out_fresh);
    ck_assert_int_eq(taken->out_status, AG_RUN_RUNNING);
    ck_assert_int_eq(taken->out_attempt, 2);
    ck_assert_int_eq(taken->out_input_seq, 1);
    kit_is(STEPS, "step status wall_ms error", "1|failed|-|interrupted: process died\n");
    kit_is(STAGE_MEMORY, "step stage started_at wall_us rss_before_bytes rss_peak_bytes rss_after_bytes heap_peak_bytes "
                         "heap_net_bytes child_rss_peak_bytes commit_us samples attribution peak_source heap_includes "
                         "shared_sample",
           "1|infer|-|-|-|-|-|-|-|-|-|-|-|-|-|-\n");
    kit_is(MESSAGES, "seq role text", "1|user|hi\n");
    kit_add(AG_OP_STEP_BEGIN)->step_begin =
        (struct ag_op_step_begin){.run_id = run->out_run_id, .number = 2, .attempt = 1, .started_at_ms = kit.now};
    kit_add(AG_OP_JOURNAL)->journal = (struct ag_op_journal){run->out_run_id, 2, S("half an ans")};
    kit.unit.lazy = false;
    kit_ok();
    (void)claim(run->out_run_id, true);
    kit_is(STAGE_MEMORY, "step stage", "1|infer\n2|respond\n");
    kit_is(RUNS, "status attempts", "running|3\n");
    kit_close();
}
END_TEST

START_TEST(a_stage_row_keeps_what_was_measured_and_how)
{
    static const struct ag_stage_row rows[] = {
        {.step = 1, .stage = AG_STAGE_LOAD, .samples = 7, .started_at_ms = KIT_EPOCH_MS, .wall_us = 5, .commit_us = 1,
         .rss_before_bytes = 100, .rss_peak_bytes = 300, .rss_after_bytes = 200, .heap_peak_bytes = 64,
         .heap_net_bytes = -32, .child_rss_peak_bytes = -1, .peak_source = AG_PEAK_SAMPLES, .heap_includes = 7,
         .shared_sample = true, .shared = true},
        {.step = 2, .stage = AG_STAGE_TOOL, .samples = 2, .started_at_ms = KIT_EPOCH_MS, .wall_us = 0, .commit_us = 0,
         .rss_before_bytes = 1, .rss_peak_bytes = 1, .rss_after_bytes = 1, .heap_peak_bytes = 0, .heap_net_bytes = 0,
         .child_rss_peak_bytes = 9, .peak_source = AG_PEAK_HWM},
        {.step = 3, .stage = AG_STAGE_INFER, .samples = 0, .started_at_ms = KIT_EPOCH_MS, .wall_us = 1, .commit_us = 0,
         .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1, .heap_peak_bytes = -1,
         .heap_net_bytes = -1, .child_rss_peak_bytes = -1, .heap_includes = AGENT_MEMORY_JSON},
        {.step = 4, .stage = AG_STAGE_RECLAIM, .samples = 0, .started_at_ms = KIT_EPOCH_MS, .wall_us = 1, .commit_us = 0,
         .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1, .heap_peak_bytes = 5,
         .heap_net_bytes = -1, .child_rss_peak_bytes = -1, .has_smaps = true, .pss_kb = 5000000, .anon_kb = 3, .file_kb = 0,
         .smaps_us = 140},
    };
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", NULL, "hi");
    kit_add(AG_OP_STAGES)->stages = (struct ag_op_stages){.run_id = run->out_run_id, .rows = rows, .count = 4};
    kit_ok();
    kit_is(STAGE_MEMORY, "stage rss_before_bytes rss_peak_bytes rss_after_bytes heap_peak_bytes heap_net_bytes "
                         "child_rss_peak_bytes samples attribution peak_source heap_includes shared_sample",
           "load|100|300|200|64|-32|-|7|shared|samples|own+json+sqlite+curl|1\n"
           "tool|1|1|1|0|0|9|2|exclusive|hwm|own|0\n"
           "infer|-|-|-|-|-|-|0|exclusive|-|-|-\n"
           "reclaim|-|-|-|5|-1|-|0|exclusive|-|own|-\n"); /* a byte less than before is no unknown figure */
    kit_is(STAGE_MEMORY, "stage pss_bytes anon_bytes file_bytes smaps_us",
           "load|-|-|-|-\ntool|-|-|-|-\ninfer|-|-|-|-\nreclaim|5120000000|3072|0|140\n");
    kit_close();
}
END_TEST

START_TEST(samples_of_a_run_are_kept_with_it_and_go_with_it)
{
    static const struct ag_stage_row row = {.stage = AG_STAGE_RECLAIM, .started_at_ms = KIT_EPOCH_MS, .wall_us = 5};
    static const struct ag_sample first[] = {{KIT_EPOCH_MS, 4096}, {KIT_EPOCH_MS + 100, 8192000}, {KIT_EPOCH_MS + 90000, 0}};
    static const struct ag_sample second[] = {{KIT_EPOCH_MS + 200000, INT64_C(5) << 30}};
    agent_filter filter = AGENT_FILTER_INIT;
    struct ag_op_run_create *run, *other;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    other = kit_run("bob", "t", "hi");
    kit_add(AG_OP_STAGES)->stages = (struct ag_op_stages){run->out_run_id, &row, 1, first, 3};
    kit_add(AG_OP_STAGES)->stages = (struct ag_op_stages){.run_id = run->out_run_id, .rows = &row, .count = 1};
    kit_add(AG_OP_STAGES)->stages = (struct ag_op_stages){run->out_run_id, &row, 1, second, 1};
    kit_add(AG_OP_STAGES)->stages = (struct ag_op_stages){other->out_run_id, &row, 1, second, 1};
    kit_ok();
    kit_is(SAMPLES, "run_id at rss_bytes id",
           "1|2023-11-14T22:13:20.000Z|4096|4097\n1|2023-11-14T22:13:20.100Z|8192000|4097\n"
           "1|2023-11-14T22:14:50.000Z|0|4097\n1|2023-11-14T22:16:40.000Z|5368709120|4098\n"
           "2|2023-11-14T22:16:40.000Z|5368709120|8193\n");
    kit_is(STAGE_MEMORY, "run_id stage", "1|reclaim\n1|reclaim\n1|reclaim\n2|reclaim\n");
    filter.run_id = run->out_run_id;
    filter.since_ms = KIT_EPOCH_MS + 90000;
    ck_assert_str_eq(kit_rows(AGENT_VIEW_SAMPLES, &filter, "rss_bytes"), "0\n5368709120\n");
    (void)kit_answer(run, "1");
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = run->out_session_id;
    kit_ok();
    kit_is(SAMPLES, "run_id", "2\n");
    kit_close();
}
END_TEST

START_TEST(notices_are_kept_in_order_and_the_oldest_go)
{
    enum { TOLD = 1000 };
    int64_t rows = 0;

    kit_open(_i);
    for (int i = 1; i <= TOLD; i++) {
        kit_add(AG_OP_NOTICE)->notice = (struct ag_op_notice){
            .at_ms = KIT_EPOCH_MS + i, .rss_bytes = i, .limit_bytes = i == TOLD ? -1 : 7, .level = i == TOLD ? -1 : 2,
            .kind = i % 100 == 0 ? S("smaps") : S("pressure"), .text = S("it was so")};
        if (i % 10 == 0)
            kit_ok();
    }
    for (const char *at = kit_rows(AGENT_VIEW_NOTICES, NULL, "id"); *at != '\0'; at++)
        rows += *at == '\n';
    ck_assert_int_ge(rows, AG_NOTICES_KEPT);
    ck_assert_int_lt(rows, AG_NOTICES_KEPT + 64);
    ck_assert_str_eq(kit_rows(AGENT_VIEW_NOTICES, KIT_FILTER(.newest_first = true, .limit = 2),
                              "id at kind level rss_bytes limit_bytes text owner_id"),
                     "1000|2023-11-14T22:13:21.000Z|smaps|-|1000|-|it was so|-\n"
                     "999|2023-11-14T22:13:20.999Z|pressure|2|999|7|it was so|-\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_NOTICES, KIT_FILTER(.name = "smaps", .since_ms = KIT_EPOCH_MS + 900), "id"),
                     "900\n1000\n");
    kit_close();
}
END_TEST

START_TEST(an_owner_may_tell_how_it_is_as_often_as_it_likes)
{
    kit_open(_i);
    (void)kit_agent("bob");
    for (int i = 0; i < 3; i++) {
        kit_add(AG_OP_LIVE)->live = (struct ag_op_live){
            .at_ms = kit.now, .rss_bytes = -1, .heap_bytes = 5, .runs = i, .stages = S("{}"), .cache = S("{}")};
        kit_ok();
        if (i == 0) /* it is an owner from its first run on; before that it has nothing to tell */
            (void)kit_run("bob", NULL, "hi");
    }
    kit_is(RUNS, "status", "running\n");
    kit_close();
}
END_TEST

START_TEST(a_run_taken_over_in_its_tools_repeats_what_is_safe_and_waits_for_the_rest)
{
    struct ag_op_run_create *run;
    struct ag_op_run_claim *taken;
    struct ag_run_rec rec;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 1, one_pure);
    taken = claim(run->out_run_id, true);
    ck_assert(taken->out_claimed);
    kit_is(TOOL_CALLS, "call_id status effect_id", "c1|intended|fx\n");
    kit_is(STAGE_MEMORY, "stage wall_us", "tool|-\n");
    run = kit_calling("bob", "t", 3, mixed);
    (void)kit_call_end(run->out_run_id, 4, AG_CALL_SUCCEEDED, "done");
    kit_ok();
    taken = claim(run->out_run_id, true);
    ck_assert(!taken->out_claimed);
    ck_assert_int_eq(taken->out_status, AG_RUN_WAITING);
    ck_assert_int_eq(taken->out_attempt, 2);
    ck_assert_str_eq(kit_rows(AGENT_VIEW_TOOL_CALLS, KIT_RUN(run->out_run_id), "call_id effect status result"),
                     "c1|effect|unknown|-\nc2|pure|intended|-\nc3|idempotent|succeeded|done\n");
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.status, AG_RUN_WAITING);
    ck_assert_uint_eq(rec.call_count, 3);
    ck_assert_int_eq(rec.calls[0].status, AG_CALL_UNKNOWN);
    ck_assert_int_eq(rec.calls[1].status, AG_CALL_INTENDED);
    ck_assert_int_eq(rec.calls[2].status, AG_CALL_SUCCEEDED);
    kit_close();
}
END_TEST

/* --- decide ----------------------------------------------------------------------------------------------------- */

START_TEST(an_approved_call_is_called_again_with_the_same_effect_id)
{
    struct ag_op_run_create *run;
    struct ag_op_run_claim *taken;
    struct ag_op_run_decide *op;

    kit_open(_i);
    (void)kit_agent("bob");
    run = waiting_run("bob", "s", 1, one_effect);
    op = decide(run->out_run_id, NULL, true);
    kit_ok();
    ck_assert_int_eq(op->out_open, 0);
    kit_is(RUNS, "status attempts", "queued|2\n");
    kit_is(TOOL_CALLS, "status effect_id result decision", "intended|fx|-|approved\n");
    taken = claim(run->out_run_id, false);
    ck_assert(taken->out_claimed && !taken->out_fresh);
    ck_assert_int_eq(taken->out_attempt, 3);
    ck_assert_int_eq(taken->out_input_seq, 1);
    kit_is(MESSAGES, "seq role", "1|user\n2|assistant\n"); /* not begun a second time */
    kit_is(RUNS, "status started_at", "running|2023-11-14T22:13:21.000Z\n");
    kit_close();
}
END_TEST

START_TEST(a_denied_call_tells_the_model_so)
{
    struct ag_op_run_create *run;
    struct ag_op_run_decide *op;
    const char *text;

    kit_open(_i);
    (void)kit_agent("bob");
    run = waiting_run("bob", "s", 1, one_effect);
    op = decide(run->out_run_id, "c1", false);
    op->reason = S("too dear");
    kit_ok();
    ck_assert_int_eq(op->out_open, 0);
    text = kit_rows(AGENT_VIEW_TOOL_CALLS, NULL, "status decision result");
    ck_assert_ptr_eq(strstr(text, "denied|denied: too dear|"), text);
    ck_assert_ptr_nonnull(strstr(text, "denied: too dear: the outcome of this call is unknown"));
    kit_is(RUNS, "status", "queued\n");
    kit_close();
}
END_TEST

START_TEST(a_run_waits_until_every_unknown_call_is_decided)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *run;
    struct ag_op_run_decide *op;

    kit_open(_i);
    (void)kit_agent("bob");
    run = waiting_run("bob", "s", 2, effects);
    op = decide(run->out_run_id, "c2", true);
    kit_ok();
    ck_assert_int_eq(op->out_open, 1);
    kit_is(RUNS, "status", "waiting\n");
    (void)decide(run->out_run_id, "c2", true);
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "c2"));
    (void)decide(run->out_run_id, "zz", true);
    kit_fails(AGENT_ENOTFOUND);
    op = decide(run->out_run_id, "c1", false);
    kit_ok();
    ck_assert_int_eq(op->out_open, 0);
    kit_is(RUNS, "status", "queued\n");
    kit_is(TOOL_CALLS, "call_id status", "c1|denied\nc2|intended\n");
    kit_close();
}
END_TEST

START_TEST(only_a_run_that_waits_is_decided)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    (void)decide(run->out_run_id, NULL, true);
    kit_fails(AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "running"));
    (void)decide(999, NULL, true);
    kit_fails(AGENT_ENOTFOUND);
    kit_close();
}
END_TEST

START_TEST(a_new_turn_closes_the_run_that_waits_and_answers_its_calls)
{
    struct ag_op_run_create *waits, *next;

    kit_open(_i);
    (void)kit_agent("bob");
    waits = waiting_run("bob", "s", 2, mixed);
    next = kit_run("bob", "s", "go on");
    ck_assert(next->out_claimed);
    ck_assert_int_eq(next->out_blocked, AG_BLOCKED_NOT);
    ck_assert_int_eq(next->out_input_seq, 5);
    kit_is(MESSAGES, "seq run_id role tool_name tool_call_id",
           "1|1|user|-|-\n2|1|assistant|-|-\n3|1|tool|calc|c1\n4|1|tool|calc|c2\n5|2|user|-|-\n");
    ck_assert_ptr_nonnull(strstr(kit_rows(AGENT_VIEW_MESSAGES, NULL, "seq text"), "3|" UNKNOWN "\n"));
    kit_is(TOOL_CALLS, "call_id status", "c1|unknown\nc2|cancelled\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_RUNS, KIT_RUN(waits->out_run_id), "status ended_at wall_ms"),
                     "failed|2023-11-14T22:13:24.000Z|3000.000\n");
    ck_assert_str_ne(kit_rows(AGENT_VIEW_RUNS, KIT_RUN(waits->out_run_id), "error"), "-\n");
    kit_is(SESSIONS, "turns messages", "1|4\n");
    (void)decide(waits->out_run_id, NULL, true);
    kit_fails(AGENT_EINVAL);
    kit_close();
}
END_TEST

START_TEST(a_queued_turn_closes_the_run_that_waits_when_it_is_claimed)
{
    struct ag_op_run_create *first, *second;

    kit_open(_i);
    (void)kit_agent("bob");
    first = kit_calling("bob", "s", 1, one_effect);
    second = kit_run("bob", "s", "behind it");
    ck_assert(!second->out_claimed);
    ck_assert_int_eq(claim(first->out_run_id, true)->out_status, AG_RUN_WAITING);
    ck_assert(claim(second->out_run_id, false)->out_claimed);
    kit_is(RUNS, "input status", "call|failed\nbehind it|running\n");
    kit_is(MESSAGES, "seq role", "1|user\n2|assistant\n3|tool\n4|user\n");
    kit_close();
}
END_TEST

START_TEST(calls_that_were_asked_for_and_never_begun_are_answered_too)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    kit_message(run, 2, AG_ROLE_ASSISTANT, "let me see")->calls =
        S("[{\"id\":\"a\",\"name\":\"one\",\"arguments\":\"{\\\"k\\\":\\\"\\u00e9\\ud83d\\ude00\\\\n\\\"}\"},"
          " {\"name\":\"two\", \"id\":\"b\\\"\", \"arguments\":\"{}\", \"more\":{\"x\":[1,\"]\"]}}]");
    (void)kit_finish(run, AG_RUN_CANCELLED);
    kit_ok();
    kit_is(TOOL_CALLS, "step call_id tool status arguments model_step",
           "2|a|one|cancelled|{\"k\":\"\xc3\xa9\xf0\x9f\x98\x80\\n\"}|1\n3|b\"|two|cancelled|{}|1\n");
    kit_is(MESSAGES, "seq role tool_name tool_call_id", "1|user|-|-\n2|assistant|-|-\n3|tool|one|a\n4|tool|two|b\"\n");
    kit_is(SESSIONS, "turns messages", "1|4\n");
    kit_close();
}
END_TEST

/* --- cancel ------------------------------------------------------------------------------------------------------- */

static void remember(void *ctx, int64_t run_id)
{
    int64_t *last = ctx;

    last[0]++;
    last[1] = run_id;
}

static int64_t asked_to_cancel(int64_t *out_run)
{
    int64_t seen[2] = {0, 0};

    ck_assert_int_eq(ag_reader_cancels(kit.reader, remember, seen, &err), AGENT_OK);
    *out_run = seen[1];
    return seen[0];
}

START_TEST(cancelling_a_queued_run_ends_it)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", "s", "hi");
    run->claim = false;
    kit_ok();
    ck_assert(cancel(run->out_run_id)->out_ended);
    kit_is(RUNS, "status started_at ended_at", "cancelled|-|2023-11-14T22:13:22.000Z\n");
    kit_is(MESSAGES, "seq", "");
    kit_is(SESSIONS, "turns messages", "0|0\n");
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = run->out_run_id;
    kit_fails(AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "cancelled"));
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = 999;
    kit_fails(AGENT_ENOTFOUND);
    kit_close();
}
END_TEST

START_TEST(cancelling_a_live_run_asks_its_owner)
{
    struct ag_op_run_create *run, *other;
    int64_t id;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    other = kit_run("bob", "t", "hi");
    ck_assert_int_eq(asked_to_cancel(&id), 0);
    ck_assert(!cancel(run->out_run_id)->out_ended);
    ck_assert(!cancel(run->out_run_id)->out_ended); /* twice is once */
    ck_assert_int_eq(asked_to_cancel(&id), 1);
    ck_assert_int_eq(id, run->out_run_id);
    kit_is(RUNS, "status", "running\nrunning\n");
    (void)kit_finish(run, AG_RUN_CANCELLED);
    kit_ok();
    ck_assert_int_eq(asked_to_cancel(&id), 0);
    (void)cancel(other->out_run_id);
    (void)claim(other->out_run_id, true); /* whoever takes it up was not asked */
    ck_assert_int_eq(asked_to_cancel(&id), 0);
    kit_close();
}
END_TEST

START_TEST(cancelling_a_run_that_waits_answers_its_calls)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = waiting_run("bob", "s", 2, mixed);
    ck_assert(cancel(run->out_run_id)->out_ended);
    kit_is(RUNS, "status", "cancelled\n");
    kit_is(TOOL_CALLS, "call_id status", "c1|unknown\nc2|cancelled\n");
    kit_is(MESSAGES, "seq role", "1|user\n2|assistant\n3|tool\n4|tool\n");
    kit_is(SESSIONS, "turns messages", "1|4\n");
    ck_assert(kit_run("bob", "s", "next")->out_claimed);
    kit_close();
}
END_TEST

/* --- a run's own writing --------------------------------------------------------------------------------------------- */

START_TEST(a_finished_run_tells_what_it_cost)
{
    struct ag_op_run_create *run;
    struct ag_op_run_finish *finish;
    struct ag_op_step_end *end;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    end = kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    end->wall_us = 1500;
    end->input_tokens = 10;
    end->output_tokens = 4;
    end->cached_tokens = 3;
    end->cached = true;
    (void)kit_message(run, 2, AG_ROLE_ASSISTANT, "ho");
    finish = kit_finish(run, AG_RUN_SUCCEEDED);
    finish->output_seq = 2;
    finish->queue_us = 250;
    finish->wall_us = 2500;
    finish->rss_peak_bytes = 4096;
    finish->input_tokens = 10;
    finish->output_tokens = 4;
    finish->cache_hit = true;
    finish->messages = 2;
    kit_ok();
    kit_is(RUNS, "status output error ended_at queue_ms wall_ms input_tokens output_tokens cache_hit rss_peak_bytes hint",
           "succeeded|ho|-|2023-11-14T22:13:22.000Z|0.250|2.500|10|4|1|4096|-\n");
    kit_is(STEPS, "status ended_at wall_ms input_tokens output_tokens cached_tokens cached",
           "succeeded|2023-11-14T22:13:21.001Z|1.500|10|4|3|1\n");
    kit_is(SESSIONS, "last_at turns messages input_tokens output_tokens", "2023-11-14T22:13:22.000Z|1|2|10|4\n");

    run = kit_run("bob", "s", "again");
    kit_step_end(run->out_run_id, 1, AG_STEP_FAILED)->error = S("boom");
    finish = kit_finish(run, AG_RUN_FAILED);
    finish->error_status = AGENT_EPROVIDER;
    finish->error = S("provider: boom");
    finish->hint = S("try again");
    kit_ok();
    ck_assert_str_eq(kit_rows(AGENT_VIEW_RUNS, KIT_RUN(run->out_run_id),
                              "status output error hint input_tokens cache_hit"),
                     "failed|-|provider: boom|try again|-|0\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_STEPS, KIT_RUN(run->out_run_id), "status error"), "failed|boom\n");
    kit_is(SESSIONS, "turns messages input_tokens output_tokens", "2|3|10|4\n");
    (void)kit_finish(run, AG_RUN_SUCCEEDED);
    kit_fails(AGENT_ELOST);
    kit_close();
}
END_TEST

START_TEST(a_run_that_fails_or_is_cancelled_leaves_no_step_and_no_call_open)
{
    struct ag_op_run_create *run;
    struct ag_op_run_finish *finish;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "a", "hi");
    finish = kit_finish(run, AG_RUN_FAILED);
    finish->error = S("out of time");
    kit_ok();
    kit_is(STEPS, "status error", "failed|out of time\n");
    run = kit_calling("bob", "b", 3, mixed);
    (void)kit_call_end(run->out_run_id, 4, AG_CALL_SUCCEEDED, "done");
    (void)kit_finish(run, AG_RUN_CANCELLED);
    kit_ok();
    kit_is(TOOL_CALLS, "call_id status result",
           "c1|unknown|" UNKNOWN "\nc2|cancelled|this call was not made: the run was cancelled\nc3|succeeded|done\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_MESSAGES, KIT_RUN(run->out_run_id), "seq tool_call_id"),
                     "1|-\n2|-\n3|c1\n4|c2\n5|c3\n");
    kit_close();
}
END_TEST

START_TEST(a_run_that_waits_stays_open)
{
    struct ag_op_run_create *run;
    struct ag_op_run_finish *finish;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 1, one_effect);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_UNKNOWN, NULL);
    finish = kit_finish(run, AG_RUN_WAITING);
    finish->ended_at_ms = 0;
    kit_ok();
    kit_is(RUNS, "status ended_at", "waiting|-\n");
    kit_is(SESSIONS, "turns messages", "0|2\n");
    (void)decide(run->out_run_id, NULL, true);
    kit_ok();
    kit_is(RUNS, "status", "queued\n");
    kit_close();
}
END_TEST

START_TEST(a_tool_message_tells_its_call_s_result)
{
    struct ag_op_run_create *run;
    struct ag_message_list list;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 3, mixed);
    kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, NULL)->result = kit_long(3000, 5);
    (void)kit_call_end(run->out_run_id, 3, AG_CALL_TIMEOUT, "too late");
    kit_message(run, 3, AG_ROLE_TOOL, NULL)->call_number = 2;
    kit_message(run, 4, AG_ROLE_TOOL, NULL)->call_number = 3;
    kit_message(run, 5, AG_ROLE_TOOL, "stored with the call")->call_number = 4;
    (void)kit_call_end(run->out_run_id, 4, AG_CALL_FAILED, "stored with the call");
    kit_ok();
    ck_assert_int_eq(ag_reader_messages(kit.reader, run->out_session_id, 1, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 5);
    ck_assert_int_eq(list.at[1].role, AG_ROLE_ASSISTANT);
    ck_assert(list.at[1].calls.n > 0 && list.at[1].call_id.p == NULL);
    ck_assert_int_eq(list.at[2].role, AG_ROLE_TOOL);
    ck_assert(ag_str_eq(list.at[2].text, kit_long(3000, 5)));
    ck_assert(ag_str_is(list.at[2].tool_name, "calc") && ag_str_is(list.at[2].call_id, "c1"));
    ck_assert(!list.at[2].tool_failed && list.at[3].tool_failed && list.at[4].tool_failed);
    ck_assert(ag_str_is(list.at[3].text, "too late"));
    ck_assert(ag_str_is(list.at[4].text, "stored with the call"));
    kit_is(TOOL_CALLS, "call_id status", "c1|succeeded\nc2|timeout\nc3|failed\n");
    ck_assert_str_eq(kit_rows(AGENT_VIEW_STEPS, NULL, "step kind status attempt tool"),
                     "1|model|succeeded|1|-\n2|tool|succeeded|-|calc\n3|tool|failed|-|calc\n4|tool|failed|-|calc\n");
    kit_close();
}
END_TEST

START_TEST(a_message_keeps_what_the_provider_wants_back)
{
    struct ag_op_run_create *run;
    struct ag_op_message *message;
    struct ag_message_list list;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    message = kit_message(run, 2, AG_ROLE_ASSISTANT, NULL);
    message->extra = S("{\"signature\":\"x\"}");
    kit_ok();
    ck_assert_int_eq(ag_reader_messages(kit.reader, run->out_session_id, 2, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 1);
    ck_assert(ag_str_is(list.at[0].extra, "{\"signature\":\"x\"}"));
    ck_assert_ptr_null(list.at[0].calls.p);
    ck_assert_ptr_nonnull(list.at[0].text.p);
    ck_assert_uint_eq(list.at[0].text.n, 0);
    kit_close();
}
END_TEST

START_TEST(a_number_that_is_used_or_out_of_range_is_refused)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    kit_add(AG_OP_STEP_BEGIN)->step_begin = (struct ag_op_step_begin){.run_id = run->out_run_id, .number = 1};
    ck_assert_int_ne(kit_commit(), AGENT_OK);
    kit_add(AG_OP_STEP_BEGIN)->step_begin = (struct ag_op_step_begin){.run_id = run->out_run_id, .number = 0};
    kit_fails(AGENT_EINVAL);
    kit_add(AG_OP_STEP_BEGIN)->step_begin =
        (struct ag_op_step_begin){.run_id = run->out_run_id, .number = 1 << AG_STEP_BITS};
    kit_fails(AGENT_EINVAL);
    (void)kit_intent(run->out_run_id, 1 << AG_STEP_BITS, 1, "c", AGENT_EFFECT_PURE);
    kit_fails(AGENT_EINVAL);
    (void)kit_message(run, 1, AG_ROLE_ASSISTANT, "twice");
    ck_assert_int_ne(kit_commit(), AGENT_OK);
    (void)kit_message(run, 0, AG_ROLE_ASSISTANT, "zero");
    kit_fails(AGENT_EINVAL);
    (void)kit_message(run, 1 << AG_SEQ_BITS, AG_ROLE_ASSISTANT, "over");
    kit_fails(AGENT_EINVAL);
    (void)kit_step_end(run->out_run_id, 7, AG_STEP_SUCCEEDED);
    kit_fails(AGENT_EINVAL);
    (void)kit_call_end(run->out_run_id, 7, AG_CALL_SUCCEEDED, "x");
    kit_fails(AGENT_EINVAL);
    kit_is(STEPS, "step", "1\n");
    kit_is(MESSAGES, "text", "hi\n");
    kit_close();
}
END_TEST

START_TEST(a_step_ends_once)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    kit_step_end(run->out_run_id, 1, AG_STEP_FAILED)->error = S("first");
    kit_ok();
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    kit_fails(AGENT_EINVAL);
    kit_is(STEPS, "status error", "failed|first\n");
    kit_close();
}
END_TEST

/* --- reading ----------------------------------------------------------------------------------------------------------- */

START_TEST(a_run_is_read_as_a_resume_needs_it)
{
    struct ag_op_run_create *run;
    struct ag_op_step_end *end;
    struct ag_run_rec rec;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", "s", "hi");
    run->options = S("{}");
    run->priority = -1;
    run->deadline_at_ms = 99;
    kit_ok();
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.run_id, run->out_run_id);
    ck_assert_int_eq(rec.session_id, run->out_session_id);
    ck_assert_int_eq(rec.agent_id, run->out_agent_id);
    ck_assert_int_eq(rec.version_id, run->out_version_id);
    ck_assert_int_eq(rec.input_seq, 1);
    ck_assert_int_eq(rec.output_seq, 0);
    ck_assert_int_eq(rec.status, AG_RUN_RUNNING);
    ck_assert_int_eq(rec.attempt, 1);
    ck_assert_int_eq(rec.priority, -1);
    ck_assert_int_eq(rec.queued_at_ms, run->queued_at_ms);
    ck_assert_int_eq(rec.started_at_ms, run->queued_at_ms);
    ck_assert_int_eq(rec.deadline_at_ms, 99);
    ck_assert(ag_str_is(rec.input, "hi") && ag_str_is(rec.options, "{}") && rec.output.p == NULL);
    ck_assert_int_eq(rec.last_seq, 1);
    ck_assert_int_eq(rec.last_step, 1);
    ck_assert_uint_eq(rec.call_count, 0);
    ck_assert_int_eq(rec.input_tokens, -1);
    ck_assert_int_eq(rec.queue_us, -1);

    end = kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    end->input_tokens = 7;
    end->output_tokens = 2;
    (void)kit_message(run, 2, AG_ROLE_ASSISTANT, "calls");
    (void)kit_intent(run->out_run_id, 2, 1, "c1", AGENT_EFFECT_PURE);
    (void)kit_intent(run->out_run_id, 3, 1, "c2", AGENT_EFFECT_EFFECT);
    kit_ok();
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "4");
    kit_ok();
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.last_seq, 2);
    ck_assert_int_eq(rec.last_step, 3);
    ck_assert_int_eq(rec.input_tokens, 7);
    ck_assert_int_eq(rec.output_tokens, 2);
    ck_assert_uint_eq(rec.call_count, 2);
    ck_assert_int_eq(rec.calls[0].number, 2);
    ck_assert_int_eq(rec.calls[0].model_step, 1);
    ck_assert_int_eq(rec.calls[0].status, AG_CALL_SUCCEEDED);
    ck_assert(ag_str_is(rec.calls[0].call_id, "c1") && ag_str_is(rec.calls[0].tool, "calc") &&
              ag_str_is(rec.calls[0].effect_id, "fx") && ag_str_is(rec.calls[0].arguments, "{}") &&
              ag_str_is(rec.calls[0].result, "4"));
    ck_assert_int_eq(rec.calls[1].status, AG_CALL_INTENDED);
    ck_assert_int_eq(rec.calls[1].effect, AGENT_EFFECT_EFFECT);
    ck_assert_ptr_null(rec.calls[1].result.p);
    kit_close();
}
END_TEST

START_TEST(an_ended_run_is_read_with_its_end)
{
    struct ag_op_run_create *run;
    struct ag_op_run_finish *finish;
    struct ag_run_rec rec;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", "s", "hi");
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    (void)kit_message(run, 2, AG_ROLE_ASSISTANT, "ho");
    finish = kit_finish(run, AG_RUN_FAILED);
    finish->output_seq = 2;
    finish->error_status = AGENT_EBUDGET;
    finish->error = S("too many steps");
    finish->queue_us = 1;
    finish->wall_us = 2;
    finish->input_tokens = 3;
    finish->output_tokens = 4;
    kit_ok();
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.status, AG_RUN_FAILED);
    ck_assert_int_eq(rec.output_seq, 2);
    ck_assert(ag_str_is(rec.output, "ho"));
    ck_assert_int_eq(rec.error_status, AGENT_EBUDGET);
    ck_assert(ag_str_is(rec.error, "too many steps"));
    ck_assert_int_eq(rec.queue_us, 1);
    ck_assert_int_eq(rec.wall_us, 2);
    ck_assert_int_eq(rec.input_tokens, 3);
    ck_assert_int_eq(rec.output_tokens, 4);
    kit_close();
}
END_TEST

START_TEST(calls_are_those_of_the_newest_step_that_asked)
{
    struct ag_op_run_create *run;
    struct ag_run_rec rec;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 2, mixed);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "1");
    (void)kit_call_end(run->out_run_id, 3, AG_CALL_SUCCEEDED, "2");
    kit_message(run, 3, AG_ROLE_TOOL, NULL)->call_number = 2;
    kit_message(run, 4, AG_ROLE_TOOL, NULL)->call_number = 3;
    kit_add(AG_OP_STEP_BEGIN)->step_begin = (struct ag_op_step_begin){run->out_run_id, 4, 1, kit.now};
    kit_ok();
    (void)kit_step_end(run->out_run_id, 4, AG_STEP_SUCCEEDED);
    kit_message(run, 5, AG_ROLE_ASSISTANT, "")->calls = S("[{\"id\":\"d1\",\"name\":\"calc\",\"arguments\":\"{}\"}]");
    (void)kit_intent(run->out_run_id, 5, 4, "d1", AGENT_EFFECT_PURE);
    kit_ok();
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_uint_eq(rec.call_count, 1);
    ck_assert(ag_str_is(rec.calls[0].call_id, "d1"));
    ck_assert_int_eq(rec.calls[0].model_step, 4);
    ck_assert_int_eq(rec.last_step, 5);
    kit_close();
}
END_TEST

/* "1 2 3" of the tail's messages. */
static const char *tail(int64_t session_id, int64_t before_seq, size_t max_messages, size_t max_bytes)
{
    struct ag_message_list list;

    ck_assert_int_eq(ag_reader_tail(kit.reader, session_id, before_seq, max_messages, max_bytes, &kit.arena, &list,
                                    &err), AGENT_OK);
    ag_buf_clear(&kit.text);
    ag_buf_z(&kit.text, "");
    for (size_t i = 0; i < list.count; i++)
        ag_buf_printf(&kit.text, "%s%" PRId64, i > 0 ? " " : "", list.at[i].seq);
    return ag_buf_view(&kit.text).p;
}

/* 1 user 2 assistant | 3 user 4 assistant 5 tool 6 tool 7 assistant | 8 user 9 assistant; texts of 10 bytes. */
static int64_t conversation(void)
{
    struct ag_op_run_create *run;
    struct ag_op_run_finish *finish;

    (void)kit_agent("bob");
    (void)kit_answer(kit_run("bob", "s", "0123456789"), "0123456789");
    run = kit_run("bob", "s", "0123456789");
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    (void)kit_message(run, 4, AG_ROLE_ASSISTANT, "0123456789");
    (void)kit_intent(run->out_run_id, 2, 1, "c1", AGENT_EFFECT_PURE);
    (void)kit_intent(run->out_run_id, 3, 1, "c2", AGENT_EFFECT_PURE);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "0123456789");
    (void)kit_call_end(run->out_run_id, 3, AG_CALL_SUCCEEDED, "0123456789");
    kit_message(run, 5, AG_ROLE_TOOL, NULL)->call_number = 2;
    kit_message(run, 6, AG_ROLE_TOOL, NULL)->call_number = 3;
    (void)kit_message(run, 7, AG_ROLE_ASSISTANT, "0123456789");
    finish = kit_finish(run, AG_RUN_SUCCEEDED);
    finish->output_seq = 7;
    finish->messages = 5;
    kit_ok();
    (void)kit_answer(kit_run("bob", "s", "0123456789"), "0123456789");
    return run->out_session_id;
}

START_TEST(the_tail_begins_at_a_user_message_and_keeps_to_both_limits)
{
    int64_t session;

    kit_open(_i);
    session = conversation();
    ck_assert_str_eq(tail(session, INT64_MAX, 100, 10000), "1 2 3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 9, 10000), "1 2 3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 8, 10000), "3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 7, 10000), "3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 6, 10000), "8 9"); /* never between a call and its result */
    ck_assert_str_eq(tail(session, INT64_MAX, 2, 10000), "8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 100, 90), "1 2 3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 100, 89), "3 4 5 6 7 8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 100, 69), "8 9");
    ck_assert_str_eq(tail(session, 8, 100, 10000), "1 2 3 4 5 6 7");
    ck_assert_str_eq(tail(session, 8, 6, 10000), "3 4 5 6 7");
    ck_assert_str_eq(tail(session, 3, 100, 10000), "1 2");
    ck_assert_str_eq(tail(session, 1, 100, 10000), "");
    ck_assert_str_eq(tail(session + 100, INT64_MAX, 100, 10000), "");
    kit_close();
}
END_TEST

START_TEST(the_newest_turn_is_whole_even_over_the_limits)
{
    int64_t session;

    kit_open(_i);
    session = conversation();
    ck_assert_str_eq(tail(session, INT64_MAX, 1, 10000), "8 9");
    ck_assert_str_eq(tail(session, INT64_MAX, 100, 1), "8 9");
    ck_assert_str_eq(tail(session, 8, 2, 10000), "3 4 5 6 7");
    ck_assert_str_eq(tail(session, 8, 100, 1), "3 4 5 6 7");
    kit_close();
}
END_TEST

START_TEST(messages_are_all_from_a_number_on)
{
    struct ag_message_list list;
    int64_t session;

    kit_open(_i);
    session = conversation();
    ck_assert_int_eq(ag_reader_messages(kit.reader, session, 7, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 3);
    ck_assert_int_eq(list.at[0].seq, 7);
    ck_assert_int_eq(list.at[2].seq, 9);
    ck_assert_int_eq(list.at[2].role, AG_ROLE_ASSISTANT);
    ck_assert_int_gt(list.at[2].run_id, list.at[0].run_id);
    ck_assert_int_eq(ag_reader_messages(kit.reader, session, 10, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 0);
    ck_assert_int_eq(ag_reader_messages(kit.reader, session + 100, 1, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 0);
    kit_close();
}
END_TEST

START_TEST(a_session_is_found_by_name_or_number)
{
    struct ag_op_run_create *his, *hers;
    char spec[32];
    int64_t id = 0;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    his = kit_run("bob", "s", "hi");
    hers = kit_run("eve", "s", "hi");
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), S("s"), &id, &err), AGENT_OK);
    ck_assert_int_eq(id, his->out_session_id);
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("eve"), S("s"), &id, &err), AGENT_OK);
    ck_assert_int_eq(id, hers->out_session_id);
    (void)snprintf(spec, sizeof(spec), "#%" PRId64, his->out_session_id);
    id = 0;
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), ag_str_of(spec), &id, &err), AGENT_OK);
    ck_assert_int_eq(id, his->out_session_id);
    id = 0;
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("eve"), ag_str_of(spec), &id, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_session_find(kit.reader, AG_STR_NONE, ag_str_of(spec), &id, &err), AGENT_OK);
    ck_assert_int_eq(id, his->out_session_id);
    kit_close();
}
END_TEST

START_TEST(removing_a_session_takes_its_runs_and_messages)
{
    struct ag_op_run_create *run, *other;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_create("bob", "s", "one");
    run->idempotency_key = S("key");
    kit_ok();
    other = kit_run("bob", "t", "other");
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = run->out_session_id;
    kit_fails(AGENT_EBUSY);
    ck_assert_int_ne(err.hint[0], '\0');
    (void)kit_answer(run, "1");
    (void)waiting_run("bob", "s", 2, mixed); /* waits, nobody drives it */
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = run->out_session_id;
    kit_ok();
    kit_is(SESSIONS, "name", "t\n");
    kit_is(RUNS, "input", "other\n");
    kit_is(MESSAGES, "text", "other\n");
    kit_is(TOOL_CALLS, "call_id", "");
    kit_is(STAGE_MEMORY, "stage", "");
    kit_is(AGENTS, "sessions runs", "1|1\n");
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = run->out_session_id;
    kit_fails(AGENT_ENOTFOUND);
    run = kit_create("bob", "s", "new");
    run->idempotency_key = S("key");
    kit_ok();
    ck_assert(!run->out_existing);
    ck_assert_int_eq(run->out_input_seq, 1);
    ck_assert_int_gt(run->out_run_id, other->out_run_id); /* ids are never given twice */
    kit_close();
}
END_TEST

/* --- the memory store's own bound ------------------------------------------------------------------------------------------ */

START_TEST(the_memory_store_forgets_old_runs_and_keeps_named_sessions)
{
    enum { KEPT = 4096, MORE = 300 };
    struct ag_op_run_create *first, *named, *run = NULL;
    struct ag_run_rec rec;
    struct ag_message_list list;
    int64_t id;

    kit_open(KIT_MEMORY);
    (void)kit_agent("bob");
    first = kit_create("bob", NULL, "first");
    first->idempotency_key = S("key");
    kit_ok();
    (void)kit_answer(first, "1");
    named = kit_run("bob", "s", "named");
    (void)kit_answer(named, "kept");
    run = kit_calling("bob", "s", 1, one_pure);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_FAILED, "no");
    kit_message(run, run->out_input_seq + 2, AG_ROLE_TOOL, NULL)->call_number = 2;
    (void)kit_finish(run, AG_RUN_FAILED);
    kit_ok();
    for (int i = 0; i < KEPT + MORE; i++) {
        run = kit_run("bob", NULL, "bulk");
        (void)kit_answer(run, "1");
    }
    ck_assert_int_eq(ag_reader_run(kit.reader, first->out_run_id, &kit.arena, &rec, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_run(kit.reader, named->out_run_id, &kit.arena, &rec, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id - KEPT + 1, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_run(kit.reader, run->out_run_id - KEPT, &kit.arena, &rec, &err), AGENT_ENOTFOUND);
    kit_is(AGENTS, "runs sessions", "4399|4398\n"); /* counters count the forgotten */
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), S("s"), &id, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_messages(kit.reader, id, 1, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 5);
    ck_assert(ag_str_is(list.at[1].text, "kept"));
    ck_assert(ag_str_is(list.at[4].text, "no") && ag_str_is(list.at[4].tool_name, "calc") &&
              ag_str_is(list.at[4].call_id, "c1") && list.at[4].tool_failed);
    ck_assert_str_eq(kit_rows(AGENT_VIEW_MESSAGES, KIT_FILTER(.session_id = id), "seq text tool_call_id"),
                     "1|named|-\n2|kept|-\n3|call|-\n4||-\n5|no|c1\n");
    run = kit_run("bob", "s", "goes on");
    ck_assert_int_eq(run->out_input_seq, 6);
    run = kit_create("bob", NULL, "again");
    run->idempotency_key = S("key");
    kit_ok();
    ck_assert(!run->out_existing);
    ck_assert_int_eq(kit.store->vt->check(kit.store, NULL, NULL, &err), AGENT_OK);
    kit_close();
}
END_TEST

START_TEST(the_memory_store_bounds_the_history_of_a_long_session)
{
    struct ag_op_run_create *run;
    struct ag_message_list list;
    int64_t session = 0;

    kit_open(KIT_MEMORY);
    (void)kit_agent("bob");
    for (int i = 0; i < 4096 + 500; i++) {
        run = kit_run("bob", "s", "bulk");
        session = run->out_session_id;
        (void)kit_answer(run, "1");
    }
    ck_assert_int_eq(ag_reader_messages(kit.reader, session, 1, &kit.arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 2 * 4096); /* those of the runs that are kept */
    ck_assert_int_eq(list.at[0].role, AG_ROLE_USER);
    kit_is(SESSIONS, "turns messages", "4596|9192\n");
    ck_assert_int_eq(kit.store->vt->check(kit.store, NULL, NULL, &err), AGENT_OK);
    kit_close();
}
END_TEST

#define EACH(test) tcase_add_loop_test(tests, test, 0, KIT_LAST)

Suite *store_runs_suite(void)
{
    Suite *suite = suite_create("store runs");
    TCase *tests = tcase_create("create");

    EACH(a_run_that_is_claimed_at_once_has_its_message_and_its_first_step);
    EACH(a_run_that_is_only_queued_has_neither);
    EACH(a_run_of_a_missing_agent_or_session_is_refused_and_nothing_is_written);
    EACH(a_session_of_another_agent_is_no_session);
    EACH(a_named_session_is_made_once_and_then_used);
    EACH(two_runs_in_one_unit_share_the_session_they_name);
    EACH(the_latest_session_is_the_one_last_used);
    EACH(when_the_latest_session_is_removed_the_one_before_it_is_the_latest);
    EACH(an_idempotency_key_gives_the_first_run_and_writes_nothing);
    EACH(a_run_behind_a_live_one_is_queued_and_says_who_blocks);
    EACH(a_queued_run_stays_with_whoever_waits_for_it);
    EACH(a_run_behind_a_queued_one_says_that_it_may_be_claimed);
    suite_add_tcase(suite, tests);

    tests = tcase_create("claim and decide");
    EACH(claiming_a_queued_run_begins_it);
    EACH(a_run_keeps_the_version_it_was_queued_with);
    EACH(a_run_that_is_live_waits_or_has_ended_is_not_claimed);
    EACH(a_run_taken_over_in_a_model_step_fails_the_step_and_goes_on);
    EACH(a_stage_row_keeps_what_was_measured_and_how);
    EACH(samples_of_a_run_are_kept_with_it_and_go_with_it);
    EACH(notices_are_kept_in_order_and_the_oldest_go);
    EACH(an_owner_may_tell_how_it_is_as_often_as_it_likes);
    EACH(a_run_taken_over_in_its_tools_repeats_what_is_safe_and_waits_for_the_rest);
    EACH(an_approved_call_is_called_again_with_the_same_effect_id);
    EACH(a_denied_call_tells_the_model_so);
    EACH(a_run_waits_until_every_unknown_call_is_decided);
    EACH(only_a_run_that_waits_is_decided);
    EACH(a_new_turn_closes_the_run_that_waits_and_answers_its_calls);
    EACH(a_queued_turn_closes_the_run_that_waits_when_it_is_claimed);
    EACH(calls_that_were_asked_for_and_never_begun_are_answered_too);
    EACH(cancelling_a_queued_run_ends_it);
    EACH(cancelling_a_live_run_asks_its_owner);
    EACH(cancelling_a_run_that_waits_answers_its_calls);
    suite_add_tcase(suite, tests);

    tests = tcase_create("writing and reading");
    tcase_set_timeout(tests, 60);
    EACH(a_finished_run_tells_what_it_cost);
    EACH(a_run_that_fails_or_is_cancelled_leaves_no_step_and_no_call_open);
    EACH(a_run_that_waits_stays_open);
    EACH(a_tool_message_tells_its_call_s_result);
    EACH(a_message_keeps_what_the_provider_wants_back);
    EACH(a_number_that_is_used_or_out_of_range_is_refused);
    EACH(a_step_ends_once);
    EACH(a_run_is_read_as_a_resume_needs_it);
    EACH(an_ended_run_is_read_with_its_end);
    EACH(calls_are_those_of_the_newest_step_that_asked);
    EACH(the_tail_begins_at_a_user_message_and_keeps_to_both_limits);
    EACH(the_newest_turn_is_whole_even_over_the_limits);
    EACH(messages_are_all_from_a_number_on);
    EACH(a_session_is_found_by_name_or_number);
    EACH(removing_a_session_takes_its_runs_and_messages);
    tcase_add_test(tests, the_memory_store_forgets_old_runs_and_keeps_named_sessions);
    tcase_add_test(tests, the_memory_store_bounds_the_history_of_a_long_session);
    suite_add_tcase(suite, tests);
    return suite;
}
