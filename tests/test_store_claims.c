/* What every store does about who drives a run: claims, take-overs, decisions, cancelling. */
#include "tests/store_runs_kit.h"

Suite *store_claims_suite(void);

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

Suite *store_claims_suite(void)
{
    Suite *suite = suite_create("store claims");
    TCase *tests = tcase_create("claim and decide");

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
    return suite;
}
