/*
 * More than one process on one file: who is alive, whose runs are whose, what a killed process left
 * behind, and that nothing that was acknowledged is lost.
 */
#include <signal.h>

#include "sqlite_kit.h"
#include "storage/sqlite/impl.h"

/* --- another process ------------------------------------------------------------------------------------ */

struct other {
    pid_t pid;
    int to[2], from[2]; /* it waits for a byte, it tells a byte */
};

static void tell(int fd)
{
    child_check(write(fd, "x", 1) == 1);
}

static bool hear(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 1;
}

/* Runs `fn` with a store of its own. No store of ours is open meanwhile. */
static struct other start(void (*fn)(struct other *me))
{
    struct other o = {.pid = 0};

    ck_assert_ptr_null(store);
    ck_assert_int_eq(pipe(o.to), 0);
    ck_assert_int_eq(pipe(o.from), 0);
    ck_assert_int_ge(o.pid = fork(), 0);
    if (o.pid == 0) {
        (void)close(o.to[1]);
        (void)close(o.from[0]);
        open_store();
        fn(&o);
        _exit(0);
    }
    (void)close(o.to[0]);
    (void)close(o.from[1]);
    return o;
}

static void end(struct other *o, int signal)
{
    int status;

    if (signal != 0)
        ck_assert_int_eq(kill(o->pid, signal), 0);
    (void)close(o->to[1]);
    ck_assert_int_eq(waitpid(o->pid, &status, 0), o->pid);
    (void)close(o->from[0]);
    if (signal == 0)
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process failed");
}

static struct ag_op_run_claim *claim_run(int64_t run_id, bool force)
{
    struct waiting *w = new_unit(NOW + 60000);
    struct ag_op_run_claim *c = &add_op(w, AG_OP_RUN_CLAIM)->run_claim;

    c->run_id = run_id;
    c->force = force;
    commit_ok(w);
    return c;
}

/* --- what is left behind ----------------------------------------------------------------------------------- */

static void die_in_an_answer(struct other *me)
{
    struct ag_op_run_create *run;
    struct waiting *w = new_unit(NOW);

    make_agent("demo");
    run = make_run("s", "hi", true);
    add_op(w, AG_OP_JOURNAL)->journal = (struct ag_op_journal){.run_id = run->out_run_id, .number = 1, .text = S("Hel")};
    commit_ok(w);
    tell(me->from[1]);
    (void)hear(me->to[0]);
}

START_TEST(a_run_of_a_killed_process_is_taken_up_where_it_was)
{
    struct other o = start(die_in_an_answer);
    struct ag_op_run_claim *claim;
    struct ag_run_rec rec;

    ck_assert(hear(o.from[0]));
    end(&o, SIGKILL);
    open_store();
    claim = claim_run(1, false);
    ck_assert(claim->out_claimed);
    ck_assert(!claim->out_fresh);
    ck_assert_int_eq(claim->out_status, AG_RUN_RUNNING);
    ck_assert_int_eq(claim->out_attempt, 2);
    ck_assert_int_eq(claim->out_input_seq, 1);
    ask_is("SELECT step, status, error, wall_ms FROM v_steps", "1 failed interrupted: process died -");
    ask_is("SELECT step, stage, wall_us, rss_peak_bytes, samples FROM v_stage_memory", "1 respond - - -");
    ask_is("SELECT count(*) FROM journal", "0");
    ask_is("SELECT count(*) FROM owner", "1"); /* the dead one is forgotten */
    ck_assert_int_eq(ag_reader_run(reader, 1, &arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.last_step, 1);
    ck_assert_int_eq(rec.last_seq, 1);
    ck_assert_int_eq(rec.attempt, 2);
    ck_assert(ag_str_is(rec.input, "hi"));
}
END_TEST

static void begin_calls(const struct ag_op_run_create *run)
{
    static const struct {
        const char *id;
        enum agent_effect effect;
    } calls[] = {{"p", AGENT_EFFECT_PURE}, {"i", AGENT_EFFECT_IDEMPOTENT}, {"e", AGENT_EFFECT_EFFECT},
                 {"d", AGENT_EFFECT_EFFECT}};
    struct waiting *w = new_unit(NOW);

    w->unit.fence_run_id = run->out_run_id;
    w->unit.fence_attempt = run->out_attempt;
    add_op(w, AG_OP_STEP_END)->step_end = (struct ag_op_step_end){
        .run_id = run->out_run_id, .number = 1, .status = AG_STEP_SUCCEEDED, .wall_us = 10, .input_tokens = 11,
        .output_tokens = 7, .cached_tokens = -1};
    add_op(w, AG_OP_MESSAGE)->message = (struct ag_op_message){
        .session_id = run->out_session_id, .run_id = run->out_run_id, .seq = run->out_input_seq + 1,
        .role = AG_ROLE_ASSISTANT, .text = S(""),
        .calls = S("[{\"id\":\"p\",\"name\":\"t\",\"arguments\":\"{}\"},{\"id\":\"i\",\"name\":\"t\",\"arguments\":\"{}\"},"
                   "{\"id\":\"e\",\"name\":\"t\",\"arguments\":\"{}\"},{\"id\":\"d\",\"name\":\"t\",\"arguments\":\"{}\"},"
                   "{\"id\":\"n\",\"name\":\"never\",\"arguments\":\"{\\\"a\\\":1}\"}]")};
    for (int i = 0; i < 4; i++)
        add_op(w, AG_OP_CALL_INTENT)->call_intent = (struct ag_op_call_intent){
            .run_id = run->out_run_id, .number = 2 + i, .model_step = 1, .call_id = ag_str_of(calls[i].id),
            .tool = S("t"), .effect_id = S("x"), .arguments = S("{}"), .effect = calls[i].effect, .started_at_ms = NOW};
    add_op(w, AG_OP_CALL_END)->call_end = (struct ag_op_call_end){
        .run_id = run->out_run_id, .number = 5, .status = AG_CALL_SUCCEEDED, .result = S("done"), .wall_us = 1,
        .child_rss_peak_bytes = -1};
    commit_ok(w);
}

static void die_in_tools(struct other *me)
{
    make_agent("demo");
    begin_calls(make_run("s", "hi", true));
    (void)make_run("s", "next", true);
    tell(me->from[1]);
    (void)hear(me->to[0]);
}

static void begin_after_a_crash_in_tools(void)
{
    struct other o = start(die_in_tools);

    ck_assert(hear(o.from[0]));
    end(&o, SIGKILL);
    open_store();
}

START_TEST(an_effect_that_may_have_happened_waits_for_a_decision)
{
    struct ag_op_run_claim *claim;

    begin_after_a_crash_in_tools();
    claim = claim_run(1, false);
    ck_assert(!claim->out_claimed);
    ck_assert_int_eq(claim->out_status, AG_RUN_WAITING);
    ask_is("SELECT call_id, status FROM v_tool_calls", "p intended\ni intended\ne unknown\nd succeeded");
    ask_is("SELECT stage FROM v_stage_memory", "tool");
    claim = claim_run(1, false); /* again: it still waits */
    ck_assert_int_eq(claim->out_status, AG_RUN_WAITING);
    ck_assert_int_eq(claim->out_attempt, 2);
    ask_is("SELECT count(*) FROM v_stage_memory", "1");
}
END_TEST

static struct ag_op_run_decide *decide(bool approve, agent_status expected)
{
    struct waiting *w = new_unit(NOW + 61000);
    struct ag_op_run_decide *d = &add_op(w, AG_OP_RUN_DECIDE)->run_decide;

    *d = (struct ag_op_run_decide){.run_id = 1, .call_id = S("e"), .approve = approve, .reason = S("looked into it")};
    ck_assert_msg(commit(w) == expected, "%s", err.text);
    return d;
}

START_TEST(an_approved_call_is_called_again_and_a_crash_makes_it_unknown_again)
{
    struct ag_op_run_claim *claim;

    begin_after_a_crash_in_tools();
    (void)decide(true, AGENT_EINVAL); /* nothing waits yet */
    (void)claim_run(1, false);
    ck_assert_int_eq(decide(true, AGENT_OK)->out_open, 0);
    ask_is("SELECT status FROM v_runs WHERE id = 1", "queued");
    ask_is("SELECT status, effect_id, decision FROM v_tool_calls WHERE call_id = 'e'",
           "intended x approved: looked into it");
    claim = claim_run(1, false);
    ck_assert(claim->out_claimed && !claim->out_fresh);
    ck_assert_int_eq(claim->out_attempt, 3);
    ask_is("SELECT status FROM v_tool_calls WHERE call_id = 'e'", "intended"); /* approved: not unknown by the claim */
    claim = claim_run(1, true); /* as after another crash */
    ck_assert_int_eq(claim->out_status, AG_RUN_WAITING);
    ask_is("SELECT status FROM v_tool_calls WHERE call_id = 'e'", "unknown");
}
END_TEST

START_TEST(a_denied_call_has_a_result_that_says_so)
{
    begin_after_a_crash_in_tools();
    (void)claim_run(1, false);
    ck_assert_int_eq(decide(false, AGENT_OK)->out_open, 0);
    ask_is("SELECT status, result LIKE 'denied: looked into it: the outcome of this call is unknown%' FROM v_tool_calls"
           " WHERE call_id = 'e'", "denied 1");
    (void)decide(false, AGENT_EINVAL);
    ck_assert(claim_run(1, false)->out_claimed);
}
END_TEST

static const char all_answered[] = "user hi -\n"
                                   "assistant  -\n"
                                   "tool this call was not made: WHY p\n"
                                   "tool this call was not made: WHY i\n"
                                   "tool the outcome of this call is unknown: it was begun before a crash and may have"
                                   " happened e\n"
                                   "tool done d\n"
                                   "tool this call was not made: WHY n";

static const char *answered(const char *why)
{
    const char *at = all_answered, *hit;
    ag_buf b = AG_BUF_INIT(8192);
    const char *text;

    while ((hit = strstr(at, "WHY")) != NULL) {
        ag_buf_append(&b, at, (size_t)(hit - at));
        ag_buf_z(&b, why);
        at = hit + 3;
    }
    ag_buf_z(&b, at);
    text = ag_arena_str(&arena, ag_buf_view(&b)).p;
    ag_buf_drop(&b);
    return text;
}

#define FIRST_RUN "SELECT role, text, tool_call_id FROM v_messages WHERE run_id = 1"

START_TEST(a_new_turn_closes_the_run_that_waits_and_answers_its_calls)
{
    struct ag_op_run_create *run;

    begin_after_a_crash_in_tools();
    (void)claim_run(1, false);
    run = make_run("s", "go on", true);
    ck_assert_int_eq(run->out_blocked, AG_BLOCKED_CLAIMABLE); /* by the turn that was queued before the crash */
    ck_assert_int_eq(run->out_blocked_by, 2);
    ask_is("SELECT status, input_tokens, ended_at IS NULL FROM v_runs WHERE id = 1", "failed 11 0");
    ask_is(FIRST_RUN, answered("closed by the session's next turn before its call was decided"));
    ck_assert_str_eq(findings(store), "");
    ck_assert(claim_run(2, false)->out_fresh);
    ask_is("SELECT seq, text FROM v_messages WHERE run_id = 2", "8 next");
}
END_TEST

START_TEST(a_queued_turn_is_not_held_up_by_one_that_waits)
{
    struct ag_op_run_claim *claim;

    begin_after_a_crash_in_tools();
    claim = claim_run(2, false);
    ck_assert(!claim->out_claimed); /* the dead one is before it */
    ck_assert_int_eq(claim->out_blocked, AG_BLOCKED_CLAIMABLE);
    ck_assert_int_eq(claim->out_blocked_by, 1);
    (void)claim_run(1, false);
    claim = claim_run(2, false);
    ck_assert(claim->out_claimed && claim->out_fresh);
    ask_is("SELECT status FROM v_runs", "failed\nrunning");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

static void cancel_run(int64_t run_id, bool ended)
{
    struct waiting *w = new_unit(NOW + 62000);
    struct ag_op_run_cancel *c = &add_op(w, AG_OP_RUN_CANCEL)->run_cancel;

    c->run_id = run_id;
    commit_ok(w);
    ck_assert_int_eq(c->out_ended, ended);
}

START_TEST(an_orphan_is_cancelled_at_once_with_its_calls_answered)
{
    begin_after_a_crash_in_tools();
    cancel_run(1, true);
    ask_is("SELECT status, error, attempts FROM v_runs WHERE id = 1", "cancelled cancelled 1");
    ask_is(FIRST_RUN, answered("cancelled"));
    cancel_run(2, true);
    ask_is("SELECT status, input FROM v_runs WHERE id = 2", "cancelled next");
    ask_is("SELECT turns, messages FROM v_sessions", "1 7"); /* the second was never begun */
    ck_assert_str_eq(findings(store), "");
}
END_TEST

START_TEST(a_run_that_fails_leaves_no_call_without_its_message)
{
    struct ag_op_run_create *run;
    struct waiting *w = new_unit(NOW + 9);

    open_store();
    make_agent("demo");
    run = make_run("s", "hi", true);
    begin_calls(run);
    w->unit.fence_run_id = run->out_run_id;
    w->unit.fence_attempt = 1;
    add_op(w, AG_OP_RUN_FINISH)->run_finish = (struct ag_op_run_finish){
        .run_id = 1, .session_id = 1, .status = AG_RUN_FAILED, .error_status = AGENT_EBUDGET, .error = S("over budget"),
        .hint = S("more steps"), .ended_at_ms = NOW + 9, .queue_us = -1, .wall_us = -1, .rss_peak_bytes = -1,
        .input_tokens = 11, .output_tokens = 7};
    commit_ok(w);
    ask_is(FIRST_RUN, answered("over budget"));
    ask_is("SELECT status, error, hint, queue_ms IS NULL FROM v_runs", "failed over budget more steps 1");
    ask_is("SELECT turns, messages, input_tokens FROM v_sessions", "1 7 11");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

/* --- the living ---------------------------------------------------------------------------------------------- */

static int cancels_seen;

static void on_cancel(void *ctx, int64_t run_id)
{
    (void)ctx;
    cancels_seen += run_id == 1;
}

static void hold_a_run(struct other *me)
{
    struct ag_op_run_create *run;

    make_agent("demo");
    run = make_run("s", "hi", true);
    tell(me->from[1]);
    child_check(hear(me->to[0]));
    child_check(ag_reader_cancels(reader, on_cancel, NULL, &err) == AGENT_OK && cancels_seen == 1);
    tell(me->from[1]);
    child_check(hear(me->to[0]));
    child_check(commit(end_unit(run, "too late")) == AGENT_ELOST); /* the parent took it by force */
    child_check(strstr(err.text, "not ours any more") != NULL);
    close_store();
}

START_TEST(a_living_process_keeps_its_run_until_it_is_taken_by_force)
{
    struct other o = start(hold_a_run);
    struct ag_op_run_claim *claim;
    struct ag_op_run_create *behind;
    struct waiting *w = new_unit(NOW);

    ck_assert(hear(o.from[0]));
    open_store();
    claim = claim_run(1, false);
    ck_assert(!claim->out_claimed);
    ck_assert_int_eq(claim->out_blocked, AG_BLOCKED_LIVE);
    behind = make_run("s", "behind it", true);
    ck_assert(!behind->out_claimed);
    ck_assert_int_eq(behind->out_blocked, AG_BLOCKED_LIVE);
    ck_assert_int_eq(behind->out_blocked_by, 1);
    add_op(w, AG_OP_SESSION_RM)->session_rm.session_id = 1;
    ck_assert_int_eq(commit(w), AGENT_EBUSY);
    w = new_unit(NOW);
    add_op(w, AG_OP_AGENT_RM)->name.name = S("demo");
    ck_assert_int_eq(commit(w), AGENT_EBUSY);
    ck_assert_msg(strstr(err.text, "run 1") != NULL && strstr(err.hint, "cancel 1") != NULL, "%s", err.text);
    cancel_run(1, false);
    ask_is("SELECT status FROM v_runs WHERE id = 1", "running");
    ck_assert_int_eq(write(o.to[1], "x", 1), 1);
    ck_assert(hear(o.from[0]));
    claim = claim_run(1, true);
    ck_assert(claim->out_claimed);
    ck_assert_int_eq(claim->out_attempt, 2);
    ck_assert_int_eq(write(o.to[1], "x", 1), 1);
    end(&o, 0);
    ask_is("SELECT status, output IS NULL FROM v_runs WHERE id = 1", "running 1");
}
END_TEST

static void sit(struct other *me)
{
    make_agent("demo");
    (void)make_run(NULL, "mine", true);
    tell(me->from[1]);
    child_check(hear(me->to[0]));
    close_store();
}

START_TEST(the_last_owner_to_leave_folds_the_wal_in)
{
    struct other o = start(sit);

    ck_assert(hear(o.from[0]));
    open_store();
    (void)make_run(NULL, "ours", true);
    close_store();
    ck_assert(exists(in_folder("a.db-wal"))); /* the other one lives */
    ck_assert_int_eq(write(o.to[1], "x", 1), 1);
    end(&o, 0);
    ck_assert(!exists(in_folder("a.db-wal")));
    ask_is("SELECT input FROM v_runs", "mine\nours");
}
END_TEST

START_TEST(with_a_shell_on_the_file_the_last_owner_still_folds_the_wal_in)
{
    sqlite3 *shell;
    FILE *f;
    char *bytes = ag_arena_alloc(&arena, 4 << 20);
    size_t n;

    open_store();
    make_agent("demo");
    shell = stranger();
    ck_assert_str_eq(ask_on(shell, "SELECT count(*) FROM agent"), "1");
    finish_run(make_run("s", "hi", true), "in the file");
    close_store();
    /* Only the bytes of the file itself, read as a backup program would, in another process's place. */
    (void)sqlite3_close(shell);
    ck_assert_ptr_nonnull(f = fopen(db_path, "rb"));
    n = fread(bytes, 1, 4 << 20, f);
    (void)fclose(f);
    ck_assert_ptr_nonnull(memmem(bytes, n, "in the file", 11));
}
END_TEST

START_TEST(two_stores_of_one_process_know_nothing_of_each_other)
{
    ag_store *first, *second = NULL;
    ag_reader *first_reader;
    struct ag_op_run_claim *claim;

    open_store();
    make_agent("demo");
    (void)make_run("s", "of the first", true);
    first = store;
    first_reader = reader;
    ck_assert_int_eq(try_open(db_path, 0, &second), AGENT_OK);
    store = second;
    ck_assert_int_eq(ag_store_reader_open(store, &reader, &err), AGENT_OK);
    claim = claim_run(1, false);
    ck_assert_int_eq(claim->out_blocked, AG_BLOCKED_LIVE); /* alive, though in this process */
    (void)make_run(NULL, "of the second", true);
    ask_is("SELECT count(DISTINCT owner_id) FROM run", "2");
    close_store();
    store = first;
    reader = first_reader;
    (void)make_run(NULL, "and on", true); /* the other's close took nothing from us */
    ask_is("SELECT count(*) FROM run", "3");
    ck_assert(exists(in_folder("a.db-wal")));
}
END_TEST

/* --- at the same time ------------------------------------------------------------------------------------------ */

enum { EACH = 60 };

static void write_turns(struct other *me)
{
    tell(me->from[1]);
    child_check(hear(me->to[0]));
    for (int i = 0; i < EACH; i++) {
        struct ag_op_run_create *run = make_run("shared", "hi", true);

        if (run->out_claimed)
            finish_run(run, "x");
        finish_run(make_run(NULL, "own", true), "y");
    }
    close_store();
}

START_TEST(processes_that_write_at_once_lose_nothing)
{
    struct other o[3];
    int rows;

    open_store();
    make_agent("demo");
    close_store();
    for (int i = 0; i < 3; i++)
        o[i] = start(write_turns);
    for (int i = 0; i < 3; i++)
        ck_assert(hear(o[i].from[0]));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(write(o[i].to[1], "x", 1), 1);
    for (int i = 0; i < 3; i++)
        end(&o[i], 0);
    open_store();
    rows = atoi(ask("SELECT count(*) FROM run"));
    ck_assert_int_eq(rows, 3 * EACH * 2);
    ask_is("SELECT count(*) FROM session WHERE name = 'shared'", "1");
    for (int left = 1; left > 0;) { /* what was queued behind the others is still there, in order */
        const char *next = ask("SELECT coalesce(min(id), 0) FROM run WHERE status = 'queued'");
        struct ag_op_run_claim *claim;

        if ((left = atoi(next)) == 0)
            break;
        claim = claim_run(left, false);
        ck_assert(claim->out_claimed);
        finish_run(&(struct ag_op_run_create){.out_run_id = left, .out_session_id = claim->out_session_id,
                                              .out_attempt = claim->out_attempt,
                                              .out_input_seq = claim->out_input_seq}, "z");
    }
    ask_is("SELECT status, count(*) FROM run GROUP BY status",
           ag_arena_printf(&arena, "succeeded %d", 3 * EACH * 2));
    ck_assert_str_eq(findings(store), "");
}
END_TEST

static void just_open(struct other *me)
{
    tell(me->from[1]);
    make_agent("demo");
    close_store();
}

START_TEST(processes_that_make_the_file_at_once_make_one)
{
    struct other o[6];

    for (int i = 0; i < 6; i++)
        o[i] = start(just_open);
    for (int i = 0; i < 6; i++)
        end(&o[i], 0);
    ask_is("SELECT count(*) FROM migration", "1");
    ask_is("SELECT name, version FROM v_agents", "demo 1");
}
END_TEST

/* --- killed at any instant --------------------------------------------------------------------------------------- */

static int ack_pipe;

static void write_until_killed(struct other *me)
{
    (void)me;
    for (;;) {
        struct ag_op_run_create *run = make_run(NULL, "hi", true);
        int64_t id = run->out_run_id;

        child_check(write(ack_pipe, &id, sizeof(id)) == sizeof(id));
        finish_run(run, "done");
        id = -id;
        child_check(write(ack_pipe, &id, sizeof(id)) == sizeof(id));
        ag_arena_reset(&arena);
    }
}

START_TEST(what_was_acknowledged_is_there_after_a_kill_at_any_instant)
{
    open_store();
    make_agent("demo");
    close_store();
    for (int round = 0; round < 15; round++) {
        int acks[2];
        int64_t id;
        struct other o;
        char *begun = ag_arena_zalloc(&arena, 100000), *ended = ag_arena_zalloc(&arena, 100000);
        sqlite3 *db;

        ck_assert_int_eq(pipe(acks), 0);
        ack_pipe = acks[1];
        o = start(write_until_killed);
        (void)close(acks[1]);
        (void)usleep((useconds_t)(2000 + (round * 7919) % 40000));
        ck_assert_int_eq(kill(o.pid, SIGKILL), 0);
        while (read(acks[0], &id, sizeof(id)) == sizeof(id)) {
            ck_assert_int_lt(id > 0 ? id : -id, 100000);
            (id > 0 ? begun : ended)[id > 0 ? id : -id] = 1;
        }
        (void)close(acks[0]);
        end(&o, SIGKILL);
        open_store();
        ck_assert_str_eq(findings(store), "");
        db = stranger();
        for (int64_t i = 0; i < 100000; i++) {
            const char *status;

            if (!begun[i])
                continue;
            status = ask_on(db, ag_arena_printf(&arena, "SELECT status FROM run WHERE id = %lld", (long long)i));
            ck_assert_msg(status[0] != '\0', "run %lld was acknowledged and is gone", (long long)i);
            ck_assert_msg(!ended[i] || strcmp(status, "succeeded") == 0, "the end of run %lld is gone", (long long)i);
        }
        (void)sqlite3_close(db);
        close_store();
    }
}
END_TEST

Suite *sqlite_owner_suite(void);
Suite *sqlite_owner_suite(void)
{
    Suite *suite = suite_create("sqlite_owner");
    TCase *left = tcase_create("left behind"), *living = tcase_create("living"), *at_once = tcase_create("at once");

    tcase_add_checked_fixture(left, begin_folder, end_folder);
    tcase_add_test(left, a_run_of_a_killed_process_is_taken_up_where_it_was);
    tcase_add_test(left, an_effect_that_may_have_happened_waits_for_a_decision);
    tcase_add_test(left, an_approved_call_is_called_again_and_a_crash_makes_it_unknown_again);
    tcase_add_test(left, a_denied_call_has_a_result_that_says_so);
    tcase_add_test(left, a_new_turn_closes_the_run_that_waits_and_answers_its_calls);
    tcase_add_test(left, a_queued_turn_is_not_held_up_by_one_that_waits);
    tcase_add_test(left, an_orphan_is_cancelled_at_once_with_its_calls_answered);
    tcase_add_test(left, a_run_that_fails_leaves_no_call_without_its_message);
    suite_add_tcase(suite, left);

    tcase_add_checked_fixture(living, begin_folder, end_folder);
    tcase_add_test(living, a_living_process_keeps_its_run_until_it_is_taken_by_force);
    tcase_add_test(living, the_last_owner_to_leave_folds_the_wal_in);
    tcase_add_test(living, with_a_shell_on_the_file_the_last_owner_still_folds_the_wal_in);
    tcase_add_test(living, two_stores_of_one_process_know_nothing_of_each_other);
    suite_add_tcase(suite, living);

    tcase_add_checked_fixture(at_once, begin_folder, end_folder);
    tcase_set_timeout(at_once, 180);
    tcase_add_test(at_once, processes_that_write_at_once_lose_nothing);
    tcase_add_test(at_once, processes_that_make_the_file_at_once_make_one);
    tcase_add_test(at_once, what_was_acknowledged_is_there_after_a_kill_at_any_instant);
    suite_add_tcase(suite, at_once);
    return suite;
}
