/*
 * What stands in the file, and what a person finds there with sqlite3: texts kept once, ids, the
 * views by name and order, hand edits, the check, the copy, SQL that only reads.
 */
#include "sqlite_kit.h"

static void call(struct waiting *w, const struct ag_op_run_create *run, int number, int64_t seq, struct ag_str result)
{
    struct ag_str id = ag_str_of(ag_arena_printf(&arena, "c%d", number));

    add_op(w, AG_OP_MESSAGE)->message = (struct ag_op_message){
        .session_id = run->out_session_id, .run_id = run->out_run_id, .seq = seq, .role = AG_ROLE_ASSISTANT,
        .text = S(""),
        .calls = ag_str_of(ag_arena_printf(&arena, "[{\"id\":\"c%d\",\"name\":\"t\",\"arguments\":\"{}\"}]", number))};
    add_op(w, AG_OP_CALL_INTENT)->call_intent = (struct ag_op_call_intent){
        .run_id = run->out_run_id, .number = number, .model_step = 1, .call_id = id, .tool = S("t"),
        .effect_id = S("e"), .arguments = S("{}"), .effect = AGENT_EFFECT_PURE, .started_at_ms = NOW};
    add_op(w, AG_OP_CALL_END)->call_end = (struct ag_op_call_end){
        .run_id = run->out_run_id, .number = number, .status = AG_CALL_SUCCEEDED, .result = result, .wall_us = 5,
        .child_rss_peak_bytes = -1};
    add_op(w, AG_OP_MESSAGE)->message = (struct ag_op_message){
        .session_id = run->out_session_id, .run_id = run->out_run_id, .seq = seq + 1, .role = AG_ROLE_TOOL,
        .text = result, .call_number = number};
}

static struct ag_str long_text(char c, size_t n)
{
    char *p = ag_arena_alloc(&arena, n + 1);

    memset(p, c, n);
    p[n] = '\0';
    return (struct ag_str){p, n};
}

static void end_by_cancel(const struct ag_op_run_create *run)
{
    struct waiting *w = new_unit(NOW + 9);

    w->unit.fence_run_id = run->out_run_id;
    w->unit.fence_attempt = run->out_attempt;
    add_op(w, AG_OP_RUN_FINISH)->run_finish = (struct ag_op_run_finish){
        .run_id = run->out_run_id, .session_id = run->out_session_id, .status = AG_RUN_CANCELLED,
        .error_status = AGENT_ECANCELLED, .error = S("cancelled"), .ended_at_ms = NOW + 9, .queue_us = -1, .wall_us = -1,
        .rss_peak_bytes = -1, .input_tokens = -1, .output_tokens = -1};
    commit_ok(w);
}

/* --- texts and ids -------------------------------------------------------------------------------------- */

START_TEST(a_long_result_is_stored_once_and_goes_with_its_last_user)
{
    struct ag_str text = long_text('r', 5000);
    struct ag_op_run_create *one, *two;
    struct ag_message_list list;
    struct waiting *w;

    open_store();
    make_agent("demo");
    one = make_run("one", "hi", true);
    two = make_run("two", "hi", true);
    w = new_unit(NOW);
    call(w, one, 2, 2, text);
    call(w, one, 3, 4, text);
    call(w, two, 2, 2, text);
    call(w, two, 3, 4, S("short"));
    commit_ok(w);
    ask_is("SELECT count(*), length(body), length(hash) FROM text", "1 5000 32");
    ask_is("SELECT count(*), count(result), count(result_text_id) FROM tool_call", "4 1 3");
    ask_is("SELECT sum(length(text)) FROM v_messages WHERE role = 'tool'", "15005");
    ck_assert_int_eq(ag_reader_messages(reader, one->out_session_id, 1, &arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 5);
    ck_assert_uint_eq(list.at[2].text.n, 5000);
    ck_assert_mem_eq(list.at[2].text.p, text.p, 5000);
    ck_assert(ag_str_is(list.at[2].tool_name, "t"));
    end_by_cancel(one);
    end_by_cancel(two);
    ck_assert_str_eq(findings(store), "");
    w = new_unit(NOW);
    add_op(w, AG_OP_SESSION_RM)->session_rm.session_id = one->out_session_id;
    commit_ok(w);
    ask_is("SELECT count(*) FROM text", "1"); /* the other session has it */
    w = new_unit(NOW);
    add_op(w, AG_OP_SESSION_RM)->session_rm.session_id = two->out_session_id;
    commit_ok(w);
    ask_is("SELECT count(*) FROM text", "0");
    ask_is("SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM step), (SELECT count(*) FROM tool_call),"
           " (SELECT count(*) FROM message), (SELECT count(*) FROM session)", "0 0 0 0 0");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

START_TEST(long_instructions_are_shared_by_agents_and_read_whole)
{
    struct ag_agent_rec rec;
    struct waiting *w = new_unit(NOW);

    open_store();
    for (int i = 0; i < 2; i++)
        add_op(w, AG_OP_AGENT_PUT)->agent_put = (struct ag_op_agent_put){
            .spec = {.name = i == 0 ? S("a") : S("b"), .provider = S("offline"), .model = S("demo"),
                     .instructions = long_text('i', 1024)}};
    add_op(w, AG_OP_AGENT_PUT)->agent_put = (struct ag_op_agent_put){
        .spec = {.name = S("c"), .provider = S("offline"), .model = S("demo"), .instructions = long_text('i', 1023)}};
    commit_ok(w);
    ask_is("SELECT count(*) FROM text", "1");
    ask_is("SELECT name, length(instructions) FROM v_agents", "a 1024\nb 1024\nc 1023");
    ck_assert_int_eq(ag_reader_agent(reader, S("b"), 0, &arena, &rec, &err), AGENT_OK);
    ck_assert_uint_eq(rec.spec.instructions.n, 1024);
    w = new_unit(NOW);
    add_op(w, AG_OP_AGENT_RM)->name.name = S("a");
    commit_ok(w);
    ask_is("SELECT count(*) FROM text", "1");
    w = new_unit(NOW);
    add_op(w, AG_OP_AGENT_RM)->name.name = S("b");
    commit_ok(w);
    ask_is("SELECT count(*) FROM text", "0");
}
END_TEST

START_TEST(ids_of_what_was_removed_are_never_given_again)
{
    struct ag_op_run_create *first, *second;
    struct waiting *w = new_unit(NOW);

    open_store();
    make_agent("demo");
    first = make_run(NULL, "hi", true);
    finish_run(first, "x");
    add_op(w, AG_OP_SESSION_RM)->session_rm.session_id = first->out_session_id;
    commit_ok(w);
    second = make_run(NULL, "hi", true);
    ck_assert_int_gt(second->out_run_id, first->out_run_id);
    ck_assert_int_gt(second->out_session_id, first->out_session_id);
    finish_run(second, "x");
    w = new_unit(NOW);
    add_op(w, AG_OP_AGENT_RM)->name.name = S("demo");
    commit_ok(w);
    close_store();
    open_store(); /* also for a process that never saw them */
    make_agent("demo");
    first = make_run(NULL, "hi", true);
    ck_assert_int_gt(first->out_run_id, second->out_run_id);
    ck_assert_int_gt(first->out_session_id, second->out_session_id);
}
END_TEST

START_TEST(a_users_text_and_a_tools_result_are_written_once)
{
    struct ag_op_run_create *run;
    struct waiting *w = new_unit(NOW);

    open_store();
    make_agent("demo");
    run = make_run("s", "the input", true);
    call(w, run, 2, 2, S("the result"));
    commit_ok(w);
    ask_is("SELECT role, body IS NULL FROM message", "user 1\nassistant 0\ntool 1");
    ask_is("SELECT role, text, tool_name, tool_call_id FROM v_messages",
           "user the input - -\nassistant  - -\ntool the result t c2");
}
END_TEST

/* --- views --------------------------------------------------------------------------------------------------- */

/* DESIGN §4: these names, in this order, first; what is added stands behind them. */
static const struct {
    const char *view, *columns;
} contract[] = {
    {"v_agents", "id name version provider model instructions tools created_at updated_at sessions runs last_run_at"},
    {"v_sessions", "id agent name created_at last_at turns messages input_tokens output_tokens"},
    {"v_messages", "session_id seq run_id role text tool_name tool_call_id created_at"},
    {"v_runs", "id trace_id agent agent_version session_id status priority input output error attempts queued_at "
               "started_at ended_at queue_ms wall_ms input_tokens output_tokens cache_hit rss_peak_bytes"},
    {"v_steps", "run_id step kind status attempt started_at ended_at wall_ms input_tokens output_tokens tool error"},
    {"v_tool_calls", "run_id step call_id tool effect effect_id status arguments result wall_ms child_rss_peak_bytes"},
    {"v_stage_memory", "run_id step stage started_at wall_us rss_before_bytes rss_peak_bytes rss_after_bytes "
                       "heap_peak_bytes heap_net_bytes child_rss_peak_bytes commit_us samples attribution peak_source"},
    {"v_memory", "id agent scope key text created_at updated_at source_run_id"},
    {"v_cache", "key kind agent model bytes hits created_at last_hit_at expires_at"},
    {"v_tools", "name kind description effect timeout_ms argv schema created_at"},
    {"v_log", "run_id at kind text"},
    {"v_agent_versions", "agent version provider model instructions tools options base_url max_steps created_at"},
    {"v_samples", "run_id at rss_bytes"},
    {"v_notices", "id at kind level rss_bytes limit_bytes text"},
};

START_TEST(a_view_has_the_columns_that_were_promised)
{
    const char *has;
    size_t n = strlen(contract[_i].columns);

    open_store();
    has = ask(ag_arena_printf(&arena, "SELECT group_concat(name, ' ') FROM pragma_table_info('%s')", contract[_i].view));
    ck_assert_msg(strncmp(has, contract[_i].columns, n) == 0 && (has[n] == ' ' || has[n] == '\0'), "%s: %s",
                  contract[_i].view, has);
}
END_TEST

START_TEST(every_view_is_read_where_schemas_are_not_trusted)
{
    sqlite3 *db;

    open_store();
    make_agent("demo");
    finish_run(make_run("s", "hi", true), "hello");
    db = stranger();
    run_sql(db, "PRAGMA trusted_schema=OFF");
    for (size_t i = 0; i < sizeof(contract) / sizeof(contract[0]); i++)
        (void)ask_on(db, ag_arena_printf(&arena, "SELECT * FROM %s", contract[i].view));
    (void)sqlite3_close(db);
}
END_TEST

START_TEST(stages_are_rows_of_their_view_and_unknown_is_null)
{
    open_store();
    make_agent("demo");
    finish_run(make_run("s", "hi", true), "hello");
    ask_is("SELECT run_id, step, stage, started_at, wall_us, rss_peak_bytes, commit_us, attribution, peak_source"
           " FROM v_stage_memory",
           "1 1 load 2023-11-14T22:13:20.000Z 10 0 - exclusive -\n"
           "1 1 infer 2023-11-14T22:13:20.000Z 20 - 0 exclusive -");
    ask_is("SELECT typeof(wall_us), typeof(stage), typeof(commit_us) FROM v_stage_memory WHERE stage = 'load'",
           "integer text null");
}
END_TEST

START_TEST(times_are_iso_with_milliseconds_and_durations_add_up)
{
    open_store();
    make_agent("demo");
    finish_run(make_run("s", "hi", true), "hello");
    ask_is("SELECT queued_at, started_at, ended_at, queue_ms, wall_ms FROM v_runs",
           "2023-11-14T22:13:20.000Z 2023-11-14T22:13:20.000Z 2023-11-14T22:13:20.005Z 0.007 5.0");
    ask_is("SELECT trace_id IS NULL, rss_peak_bytes IS NULL, cache_hit FROM v_runs", "1 1 0");
}
END_TEST

START_TEST(the_log_tells_a_run_in_order)
{
    open_store();
    make_agent("demo");
    finish_run(make_run("s", "hi", true), "hello");
    ask_is("SELECT kind, text FROM v_log WHERE run_id = 1",
           "queued queued, normal priority\nstarted started\nstep step 1 attempt 1 started\n"
           "step step 1 attempt 1 succeeded after 4.0 ms\nended succeeded after 5.0 ms");
}
END_TEST

/* A listing with a limit must not read the whole file: its rows come by the primary key. */
START_TEST(the_newest_rows_are_found_from_the_end)
{
    static const char *const queries[] = {
        "SELECT * FROM v_runs ORDER BY id DESC LIMIT 5",
        "SELECT * FROM v_runs WHERE agent = 'demo' ORDER BY id DESC LIMIT 5",
        "SELECT * FROM v_sessions WHERE agent = 'demo' ORDER BY id DESC LIMIT 5",
        "SELECT * FROM v_messages WHERE id BETWEEN 5 << 24 AND (5 << 24 | 16777215) ORDER BY id DESC",
        "SELECT * FROM v_steps WHERE id BETWEEN 5 << 12 AND (5 << 12 | 4095) ORDER BY id",
        "SELECT * FROM v_stage_memory WHERE id BETWEEN 5 << 12 AND (5 << 12 | 4095) ORDER BY id",
        "SELECT * FROM v_log WHERE run_id = 5 AND id BETWEEN 5 << 12 AND (5 << 12 | 4095)",
    };
    sqlite3 *db;
    sqlite3_stmt *st = NULL;

    open_store();
    make_agent("demo");
    for (int i = 0; i < 400; i++)
        finish_run(make_run(NULL, "hi", true), "x");
    db = stranger();
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        ck_assert_int_eq(sqlite3_prepare_v2(db, queries[i], -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW)
            ;
        ck_assert_msg(sqlite3_stmt_status(st, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0) < 60, "%s: %d rows were walked",
                      queries[i], sqlite3_stmt_status(st, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0));
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
}
END_TEST

/* --- by hand --------------------------------------------------------------------------------------------------- */

START_TEST(a_memory_written_in_the_shell_is_found)
{
    struct ag_memory_list list;

    open_store();
    make_agent("demo");
    change_by_hand("INSERT INTO memory (agent_id, scope, key, text, created_at_ms, updated_at_ms)"
                   " VALUES (1, 'agent', 'tea', 'she drinks Lapsang Souchong', 1, 1)");
    ck_assert_int_eq(ag_reader_memory_search(reader, 1, S("lapsang?"), 5, &arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 1);
    change_by_hand("UPDATE memory SET text = 'she drinks coffee'");
    ck_assert_int_eq(ag_reader_memory_search(reader, 1, S("lapsang"), 5, &arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 0);
    change_by_hand("DELETE FROM memory");
    ck_assert_int_eq(ag_reader_memory_search(reader, 1, S("coffee"), 5, &arena, &list, &err), AGENT_OK);
    ck_assert_uint_eq(list.count, 0);
    ck_assert_str_eq(findings(store), "");
}
END_TEST

static const struct {
    const char *damage, *finding;
} damages[] = {
    {"DELETE FROM message WHERE id & 16777215 = 1", "not numbered"},
    {"DELETE FROM message WHERE role = 'tool'", "has no tool message: run 1, session 1, call c2"},
    {"UPDATE session SET messages = 99", "session's counters are off: session 1: 99 messages"},
    {"UPDATE agent SET runs = 7", "agent's counters are off"},
    {"UPDATE step SET status = 'running'", "step or call of an ended run is open"},
    {"UPDATE run SET status = 'running'", "run's status and end do not agree"},
    {"UPDATE run SET session_id = 5", "run without its session"},
    {"DELETE FROM tool_call", "tool message without its call"},
    {"DELETE FROM text", "long text is not there"},
    {"PRAGMA foreign_keys=OFF; DELETE FROM agent_version", "agent without its version"},
    {"INSERT INTO journal VALUES ((1 << 21) | (1 << 9), 'x')", "journal of a step that does not run: run 1, step 1"},
    {"PRAGMA foreign_keys=OFF; UPDATE session SET agent_id = 77", "foreign key: session row 1 points to no row of agent"},
    {"INSERT INTO memory_fts (memory_fts, rowid, key, text) VALUES ('delete', 1, 'k', 'words')", NULL},
};

START_TEST(the_check_finds_what_was_done_by_hand)
{
    struct ag_op_run_create *run;
    struct waiting *w = new_unit(NOW);
    const char *found;

    open_store();
    make_agent("demo");
    run = make_run("s", "hi", true);
    call(w, run, 2, 2, long_text('r', 2000));
    add_op(w, AG_OP_MEMORY_PUT)->memory_put = (struct ag_op_memory_put){.agent_name = S("demo"), .key = S("k"),
                                                                        .text = S("words")};
    commit_ok(w);
    end_by_cancel(run);
    ck_assert_str_eq(findings(store), "");
    change_by_hand(damages[_i].damage);
    found = findings(store);
    if (damages[_i].finding == NULL) /* the index of the texts is not compared: nothing lies in it alone */
        ck_assert_str_eq(found, "");
    else
        ck_assert_msg(strstr(found, damages[_i].finding) != NULL, "%s: found: %s", damages[_i].damage, found);
}
END_TEST

START_TEST(a_damaged_page_is_reported_as_damage)
{
    FILE *f;
    const char *found;
    char name[64] = "";
    int rows = 0;

    open_store();
    make_agent("demo");
    for (int i = 0; i < 100; i++)
        finish_run(make_run(NULL, "some words to fill a page with", true), "x");
    (void)snprintf(name, sizeof(name), "%s", ask("SELECT rootpage FROM sqlite_schema WHERE name = 'run'"));
    close_store();
    ck_assert_ptr_nonnull(f = fopen(db_path, "r+b"));
    ck_assert_int_eq(fseek(f, (atol(name) - 1) * 4096, SEEK_SET), 0);
    for (int i = 0; i < 4096; i++)
        (void)fputc(0xa5, f);
    (void)fclose(f);
    open_store();
    ck_assert_int_eq(ag_reader_scan(reader, AGENT_VIEW_RUNS, NULL, count_rows, &rows, &err), AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.text, "damaged") != NULL && strstr(err.hint, "backup") != NULL, "%s (%s)", err.text, err.hint);
    found = findings(store);
    ck_assert_msg(strstr(found, "damaged: ") != NULL, "%s", found);
}
END_TEST

/* --- SQL, copy, facts -------------------------------------------------------------------------------------------- */

static const char *const writing[] = {
    "DELETE FROM run", "UPDATE agent SET name = 'x'", "INSERT INTO meta VALUES ('a', 1)", "CREATE TABLE t (x)",
    "CREATE TEMP TABLE t (x)", "DROP VIEW v_runs", "ATTACH '/tmp/other.db' AS o", "PRAGMA user_version = 5",
    "PRAGMA journal_mode = DELETE", "PRAGMA wal_checkpoint", "BEGIN", "COMMIT", "VACUUM", "VACUUM INTO '/tmp/x.db'",
    "SAVEPOINT s", "REINDEX", "ANALYZE", "SELECT load_extension('x')", "PRAGMA writable_schema = 1",
    "PRAGMA query_only = 0", "SELECT 1; DELETE FROM run", "WITH x AS (SELECT 1) DELETE FROM run",
    "INSERT INTO memory_fts (memory_fts) VALUES ('rebuild')",
};

START_TEST(sql_that_does_more_than_read_is_refused)
{
    int rows = 0;

    open_store();
    make_agent("demo");
    (void)make_run("s", "hi", false);
    ck_assert_msg(ag_reader_sql(reader, writing[_i], count_rows, &rows, &err) == AGENT_EINVAL, "%s", writing[_i]);
    ck_assert_str_ne(err.text, "");
    ask_is("SELECT count(*) FROM run", "1");
    ask_is("PRAGMA user_version", "1");
    make_agent("still there"); /* the refusal ends with its call */
}
END_TEST

START_TEST(sql_runs_all_statements_of_a_text_and_stops_when_told)
{
    int rows = 0;

    open_store();
    make_agent("demo");
    ck_assert_int_eq(ag_reader_sql(reader, "-- a comment\nSELECT 1; SELECT 2 UNION ALL SELECT 3;;\n ; ", count_rows,
                                   &rows, &err), AGENT_OK);
    ck_assert_int_eq(rows, 3);
    ck_assert_int_eq(ag_reader_sql(reader, "PRAGMA table_info(run); PRAGMA user_version; EXPLAIN QUERY PLAN"
                                           " SELECT * FROM v_runs; SELECT * FROM memory_fts WHERE memory_fts MATCH 'x'",
                                   count_rows, &rows, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_sql(reader, "SELEC 1", count_rows, &rows, &err), AGENT_EINVAL);
    ck_assert_msg(strstr(err.text, "syntax error") != NULL, "%s", err.text);
    ck_assert_int_eq(ag_reader_sql(reader, "SELECT * FROM no_table", count_rows, &rows, &err), AGENT_EINVAL);
    ck_assert_msg(strstr(err.text, "no such table") != NULL, "%s", err.text);
}
END_TEST

START_TEST(a_copy_taken_while_a_run_is_on_is_a_working_file)
{
    const char *copy = in_folder("copy.db");
    struct ag_op_run_create *run;
    struct waiting *w = new_unit(NOW + 1);
    struct ag_op_run_claim *claim;
    mode_t before = umask(0);

    open_threaded();
    make_agent("demo");
    run = make_run("s", "hi", true);
    ck_assert_msg(store->vt->backup(store, copy, &err) == AGENT_OK, "%s", err.text);
    (void)umask(before);
    ck_assert_uint_eq(mode_of(copy), 0600);
    ck_assert_int_eq(store->vt->backup(store, copy, &err), AGENT_EEXISTS);
    finish_run(run, "here");
    close_store();
    (void)snprintf(db_path, sizeof(db_path), "%s", copy);
    open_store();
    ck_assert_str_eq(findings(store), "");
    ask_is("PRAGMA auto_vacuum", "2");
    claim = &add_op(w, AG_OP_RUN_CLAIM)->run_claim; /* its owner is not here */
    claim->run_id = run->out_run_id;
    commit_ok(w);
    ck_assert(claim->out_claimed);
    ck_assert_int_eq(claim->out_attempt, 2);
}
END_TEST

START_TEST(a_copy_that_cannot_be_made_leaves_no_file)
{
    open_store();
    ck_assert_int_eq(store->vt->backup(store, in_folder("none/copy.db"), &err), AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.text, "none/copy.db") != NULL, "%s", err.text);
}
END_TEST

static void keep_fact(void *ctx, const char *name, const char *value)
{
    ag_buf_printf(ctx, "%s=%s\n", name, value);
}

START_TEST(the_facts_name_what_a_doctor_asks_for)
{
    static const char *const wanted[] = {"path=", "journal_mode=wal\n", "schema_version=1\n", "sqlite_version=",
                                         "owners_alive=1\n", "owners_dead=0\n", "runs_open=1\n", "durability=power",
                                         "file_mode=0600\n", "change_token=wal-index\n", "write_lock=free\n"};
    ag_buf b = AG_BUF_INIT(65536);

    open_store();
    make_agent("demo");
    (void)make_run("s", "hi", true);
    ck_assert_int_eq(store->vt->facts(store, keep_fact, &b, &err), AGENT_OK);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        ck_assert_msg(strstr(b.p, wanted[i]) != NULL, "no '%s' in: %s", wanted[i], b.p);
    ag_buf_drop(&b);
}
END_TEST

Suite *sqlite_rows_suite(void);
Suite *sqlite_rows_suite(void)
{
    Suite *suite = suite_create("sqlite_rows");
    TCase *kept = tcase_create("kept"), *views = tcase_create("views"), *hand = tcase_create("by hand");
    TCase *sql = tcase_create("sql");

    tcase_add_checked_fixture(kept, begin_folder, end_folder);
    tcase_add_test(kept, a_long_result_is_stored_once_and_goes_with_its_last_user);
    tcase_add_test(kept, long_instructions_are_shared_by_agents_and_read_whole);
    tcase_add_test(kept, ids_of_what_was_removed_are_never_given_again);
    tcase_add_test(kept, a_users_text_and_a_tools_result_are_written_once);
    suite_add_tcase(suite, kept);

    tcase_add_checked_fixture(views, begin_folder, end_folder);
    tcase_set_timeout(views, 60);
    tcase_add_loop_test(views, a_view_has_the_columns_that_were_promised, 0,
                        (int)(sizeof(contract) / sizeof(contract[0])));
    tcase_add_test(views, every_view_is_read_where_schemas_are_not_trusted);
    tcase_add_test(views, stages_are_rows_of_their_view_and_unknown_is_null);
    tcase_add_test(views, times_are_iso_with_milliseconds_and_durations_add_up);
    tcase_add_test(views, the_log_tells_a_run_in_order);
    tcase_add_test(views, the_newest_rows_are_found_from_the_end);
    suite_add_tcase(suite, views);

    tcase_add_checked_fixture(hand, begin_folder, end_folder);
    tcase_set_timeout(hand, 60);
    tcase_add_test(hand, a_memory_written_in_the_shell_is_found);
    tcase_add_loop_test(hand, the_check_finds_what_was_done_by_hand, 0, (int)(sizeof(damages) / sizeof(damages[0])));
    tcase_add_test(hand, a_damaged_page_is_reported_as_damage);
    suite_add_tcase(suite, hand);

    tcase_add_checked_fixture(sql, begin_folder, end_folder);
    tcase_add_loop_test(sql, sql_that_does_more_than_read_is_refused, 0, (int)(sizeof(writing) / sizeof(writing[0])));
    tcase_add_test(sql, sql_runs_all_statements_of_a_text_and_stops_when_told);
    tcase_add_test(sql, a_copy_taken_while_a_run_is_on_is_a_working_file);
    tcase_add_test(sql, a_copy_that_cannot_be_made_leaves_no_file);
    tcase_add_test(sql, the_facts_name_what_a_doctor_asks_for);
    suite_add_tcase(suite, sql);
    return suite;
}
