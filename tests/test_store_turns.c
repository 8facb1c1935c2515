/* What every store keeps of a run, and how a conversation is read. */
#include "tests/store_runs_kit.h"

Suite *store_turns_suite(void);

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

Suite *store_turns_suite(void)
{
    Suite *suite = suite_create("store turns");
    TCase *tests = tcase_create("writing and reading");

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
