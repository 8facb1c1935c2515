/* What every store does when a run comes: whose session, which key, who is before it. */
#include "tests/store_runs_kit.h"

Suite *store_runs_suite(void);

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
    return suite;
}
