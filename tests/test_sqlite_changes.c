/*
 * What the log of changes tells a running engine: the row that somebody else edited, and not the
 * world; and that it does not know where it does not.
 */
#include "tests/sqlite_kit.h"

static sqlite3 *shell; /* somebody else */
static ag_buf told;

static void sh(const char *sql)
{
    char *why = NULL;

    ck_assert_msg(sqlite3_exec(shell, sql, NULL, NULL, &why) == SQLITE_OK, "%s: %s", sql, why);
}

static void note(void *ctx, const struct ag_change *change)
{
    static const char *const names[] = {"version", "agents", "memory", "tool", "response"};

    (void)ctx;
    ag_buf_printf(&told, "%s%s", told.n > 0 ? " " : "", names[change->kind]);
    if (change->kind == AG_CHANGE_VERSION || change->kind == AG_CHANGE_MEMORY)
        ag_buf_printf(&told, ":%lld", (long long)change->id);
    if (change->kind == AG_CHANGE_RESPONSE)
        ag_buf_printf(&told, ":%02x/%zu", (unsigned char)change->key.p[0], change->key.n);
}

/* What is told since the last time; "?" behind it: not all is known. */
static const char *changes(void)
{
    bool explained = false;

    ag_buf_clear(&told);
    ck_assert_msg(ag_reader_changes(reader, note, NULL, &explained, &err) == AGENT_OK, "%s", err.text);
    if (!explained)
        ag_buf_z(&told, "?");
    return told.n == 0 ? "" : told.p;
}

static void setup(void)
{
    begin_folder();
    told = AG_BUF_INIT(1 << 20);
    open_threaded();
    make_agent("demo");
    make_agent("other");
    ck_assert_int_eq(sqlite3_open(db_path, &shell), SQLITE_OK);
    (void)sqlite3_busy_timeout(shell, 5000);
    sh("INSERT INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
       " VALUES (1, 1, 'agent', 'a', 'x', 0, 0), (2, 2, 'agent', 'b', 'y', 0, 0);"
       "INSERT INTO tool (id, name, description, argv, effect, timeout_ms, max_output_bytes, created_at_ms, updated_at_ms)"
       " VALUES (1, 'date', '', '[\"date\"]', 'pure', 0, 0, 0, 0);"
       "INSERT INTO cache (id, key, kind, bytes, rank, created_at_ms, request, body)"
       " VALUES (1, x'aa01', 'response', 10, 1, 0, x'', '{}'), (2, x'bb02', 'response', 20, 1, 0, x'', '{}')");
    (void)changes();
}

static void teardown(void)
{
    (void)sqlite3_close(shell);
    ag_buf_drop(&told);
    end_folder();
}

/* Each edit, and what is told of it. */
static const struct edit {
    const char *sql, *told;
} edits[] = {
    {"UPDATE agent_version SET instructions = 'else' WHERE id = 1", "version:1"},
    {"UPDATE agent_version SET model = 'else'", "version:1 version:2"},
    {"DELETE FROM agent_version WHERE id = 2", "version:2"},
    {"UPDATE agent SET name = 'renamed' WHERE id = 1", "agents"},
    {"DELETE FROM agent WHERE id = 2", "agents"},
    {"UPDATE memory SET text = 'z' WHERE id = 2", "memory:2"},
    {"UPDATE memory SET agent_id = 2 WHERE id = 1", "memory:2 memory:1"},
    {"DELETE FROM memory WHERE id = 1", "memory:1"},
    {"INSERT INTO memory (agent_id, scope, key, text, created_at_ms, updated_at_ms)"
     " VALUES (2, 'agent', 'new', 'x', 0, 0)", "memory:2"},
    {"UPDATE tool SET argv = '[]' WHERE id = 1", "tool"},
    {"DELETE FROM tool", "tool"},
    {"DELETE FROM cache WHERE id = 1", "response:aa/2"},
    {"UPDATE cache SET body = '[]' WHERE id = 2", "response:bb/2"},
    {"UPDATE cache SET hits = hits + 1, last_hit_at_ms = 1, rank = 3", "?"}, /* nothing that is cached */
    {"INSERT INTO text (hash, body) VALUES (x'01', 'long')", "?"},
    /* REPLACE pushes a row out, and no delete trigger hears of it. */
    {"REPLACE INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
     " VALUES (1, 2, 'agent', 'c', 'x', 0, 0)", "memory:1 memory:2"},
    {"REPLACE INTO memory (agent_id, scope, key, text, created_at_ms, updated_at_ms)"
     " VALUES (1, 'agent', 'a', 'new', 0, 0)", "memory:1"},
    {"UPDATE OR REPLACE memory SET id = 1 WHERE id = 2", "memory:2 memory:1 memory:2"},
    {"REPLACE INTO agent_version (agent_id, version, provider, model, max_steps, created_at_ms)"
     " VALUES (1, 1, 'offline', 'm', 0, 0)", "version:1"},
    {"REPLACE INTO agent_version (id, agent_id, version, provider, model, max_steps, created_at_ms)"
     " VALUES (2, 1, 1, 'offline', 'm', 0, 0)", "version:2 version:1"},
    {"REPLACE INTO agent (name, created_at_ms, updated_at_ms) VALUES ('demo', 0, 0)", "agents"},
    {"REPLACE INTO tool (name, description, argv, effect, timeout_ms, max_output_bytes, created_at_ms, updated_at_ms)"
     " VALUES ('date', '', '[]', 'pure', 0, 0, 0, 0)", "tool"},
    {"REPLACE INTO cache (key, kind, bytes, rank, created_at_ms, request, body)"
     " VALUES (x'aa01', 'response', 7, 1, 0, x'', '[]')", "response:aa/2"},
    {"REPLACE INTO cache (id, key, kind, bytes, rank, created_at_ms, request, body)"
     " VALUES (2, x'cc03', 'response', 7, 1, 0, x'', '[]')", "response:bb/2"},
    {"PRAGMA recursive_triggers = ON; REPLACE INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
     " VALUES (1, 2, 'agent', 'c', 'x', 0, 0)", "memory:1 memory:1 memory:2"},
};

START_TEST(an_edit_by_hand_is_told_by_its_row_and_no_other)
{
    sh(edits[_i].sql);
    ck_assert_msg(strcmp(changes(), edits[_i].told) == 0, "%s: told '%s', not '%s'", edits[_i].sql, told.p, edits[_i].told);
    /* Nothing since: nobody else drives runs here, so silence explains nothing. */
    ck_assert_str_eq(changes(), "?");
}
END_TEST

START_TEST(a_long_text_of_an_agent_that_is_edited_is_told)
{
    struct waiting *w = agent_unit("long");
    char *text = ag_arena_zalloc(&arena, 5001);

    memset(text, 'x', 5000);
    w->unit.first->agent_put.spec.instructions = ag_str_of(text);
    commit_ok(w);
    (void)changes();
    sh("UPDATE text SET body = 'short'");
    ck_assert_str_eq(changes(), "agents");
    sh("REPLACE INTO text (hash, body) SELECT hash, 'other' FROM text");
    ck_assert_str_eq(changes(), "agents");
}
END_TEST

START_TEST(an_edit_that_was_rolled_back_is_not_told)
{
    sh("BEGIN; UPDATE memory SET text = 'z'; ROLLBACK; UPDATE memory SET text = 'w' WHERE id = 2");
    ck_assert_str_eq(changes(), "memory:2");
}
END_TEST

START_TEST(many_edits_are_all_told_up_to_the_length_of_the_log)
{
    sh("WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 4009)"
       " INSERT INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
       " SELECT i, 1, 'agent', 'k' || i, '', 0, 0 FROM n");
    ck_assert_ptr_null(strchr(changes(), '?'));
    ck_assert_uint_eq(told.n, 4000 * strlen("memory:1 ") - 1);
    sh("UPDATE memory SET text = 'a'; UPDATE memory SET text = 'b'");
    ck_assert_str_eq(changes(), "?"); /* some are gone: then all may have changed */
    sh("UPDATE memory SET text = 'c' WHERE id = 10");
    ck_assert_str_eq(changes(), "memory:1");
}
END_TEST

START_TEST(the_log_is_bounded)
{
    sqlite3_stmt *st;

    for (int i = 0; i < 3; i++)
        sh("WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 4009)"
           " REPLACE INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
           " SELECT i, 1, 'agent', 'k' || i, '', 0, 0 FROM n");
    ck_assert_int_eq(sqlite3_prepare_v2(shell, "SELECT count(*) FROM change", -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_int_ge(sqlite3_column_int(st, 0), 4096);
    ck_assert_int_lt(sqlite3_column_int(st, 0), 4096 + 64);
    (void)sqlite3_finalize(st);
}
END_TEST

static const char *const unknown[] = {
    "DELETE FROM change",
    "UPDATE memory SET text = 'p'; DELETE FROM change WHERE id = (SELECT max(id) - 1 FROM change)",
    "UPDATE change SET mark = mark + 1",
    "INSERT INTO change (kind) VALUES ('something else')",
    "DROP TRIGGER change_memory_update; UPDATE memory SET text = 'secretly'",
    "CREATE TABLE mine (x)",
    "VACUUM",
};

START_TEST(where_the_log_is_not_whole_everything_may_have_changed)
{
    sh(unknown[_i]);
    ck_assert_msg(strchr(changes(), '?') != NULL, "%s: told '%s' as if it were all", unknown[_i], told.p);
}
END_TEST

START_TEST(own_commits_are_in_the_log_too_and_need_no_looking_after)
{
    struct waiting *w = new_unit(NOW);

    add_op(w, AG_OP_MEMORY_PUT)->memory_put = (struct ag_op_memory_put){.agent_id = 1, .key = S("a"), .text = S("n")};
    commit_ok(w);
    sh("UPDATE memory SET text = 'z' WHERE id = 2");
    ck_assert_ptr_nonnull(strstr(changes(), "memory:2"));
    ck_assert_ptr_null(strchr(told.p, '?'));
}
END_TEST

/* Another engine's runs change nothing that is cached, and say so by saying nothing. */
START_TEST(commits_of_another_engine_that_tell_nothing_changed_nothing)
{
    struct ag_store_options o = options_of(db_path);
    ag_store *mine = store;

    (void)make_run(NULL, "ours", true); /* an owner: it knows who else is one */
    ck_assert_int_eq(ag_store_sqlite_open(&o, &store, &err), AGENT_OK);
    (void)make_run(NULL, "theirs", true);
    ck_assert_str_eq(changes(), "");
    ag_store_close(store);
    store = mine;
    ck_assert_str_eq(changes(), "?"); /* it is gone: who commits now is a stranger */
}
END_TEST

START_TEST(a_run_writes_nothing_into_the_log)
{
    sqlite3_stmt *st;
    struct ag_op_run_create *run;
    struct waiting *w;

    ck_assert_int_eq(sqlite3_prepare_v2(shell, "SELECT max(id) FROM change", -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    int64_t before = sqlite3_column_int64(st, 0);

    (void)sqlite3_reset(st);
    run = make_run(NULL, "x", true);
    w = new_unit(NOW);
    add_op(w, AG_OP_RUN_FINISH)->run_finish = (struct ag_op_run_finish){
        .run_id = run->out_run_id, .session_id = run->out_session_id, .status = AG_RUN_FAILED};
    commit_ok(w);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int64(st, 0), before);
    (void)sqlite3_finalize(st);
}
END_TEST

START_TEST(the_sum_of_the_answers_bytes_is_right_after_edits_by_hand)
{
    struct waiting *w = new_unit(NOW);
    struct ag_cache_totals totals;
    sqlite3_stmt *st;

    add_op(w, AG_OP_CACHE_RESIZE)->cache_resize.bytes = 1 << 20;
    commit_ok(w);
    sh("DELETE FROM cache WHERE id = 1;"
       "REPLACE INTO cache (key, kind, bytes, rank, created_at_ms, request, body) VALUES (x'bb02', 'response', 777, 1, 0, x'', '[]');"
       "UPDATE cache SET bytes = bytes + 1");
    w = new_unit(NOW);
    add_op(w, AG_OP_CACHE_PUT)->cache_put =
        (struct ag_op_cache_put){.body = S("{}"), .request = S("p"), .model = S("m"), .tokens = 1};
    commit_ok(w);
    ck_assert_int_eq(ag_reader_cache_totals(reader, &totals, &err), AGENT_OK);
    ck_assert_int_eq(totals.bytes, 778 + AG_CACHE_ENTRY_BYTES + 4);
    ck_assert_int_eq(sqlite3_prepare_v2(shell, "SELECT value FROM meta WHERE key = 'cache_bytes'", -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int64(st, 0), totals.bytes);
    (void)sqlite3_finalize(st);
}
END_TEST

/* --- leases ------------------------------------------------------------------------------------------ */

static struct ag_op_cache_lease *lease(int64_t now_ms, bool release)
{
    struct waiting *w = new_unit(now_ms);
    struct ag_op_cache_lease *op = &add_op(w, AG_OP_CACHE_LEASE)->cache_lease;

    op->until_ms = now_ms + 1000;
    op->release = release;
    commit_ok(w);
    return op;
}

START_TEST(a_lease_is_another_owners_until_it_is_given_back_or_time_or_life_is_over)
{
    struct ag_store_options o = options_of(db_path);
    ag_store *mine = store, *other;
    struct waiting *w;

    ck_assert_int_eq(ag_store_sqlite_open(&o, &other, &err), AGENT_OK);
    ck_assert(lease(NOW, false)->out_taken);
    store = other;
    ck_assert(!lease(NOW, false)->out_taken);
    ck_assert_int_eq(lease(NOW + 999, false)->out_until_ms, NOW + 1000);
    ck_assert(lease(NOW + 1000, false)->out_taken); /* time is over */
    store = mine;
    ck_assert(!lease(NOW + 1000, false)->out_taken);
    (void)lease(NOW + 1000, true); /* not ours to give back */
    ck_assert(!lease(NOW + 1000, false)->out_taken);
    store = other;
    (void)lease(NOW + 1000, true);
    store = mine;
    ck_assert(lease(NOW + 1000, false)->out_taken);
    w = new_unit(NOW + 1000); /* and with the answer */
    add_op(w, AG_OP_CACHE_PUT)->cache_put =
        (struct ag_op_cache_put){.body = S("{}"), .request = S("p"), .model = S("m"), .tokens = 1};
    commit_ok(w);
    store = other;
    ck_assert(lease(NOW + 1000, false)->out_taken);
    ag_store_close(other); /* dead, as far as anybody can see */
    store = mine;
    ck_assert(lease(NOW + 1001, false)->out_taken);
}
END_TEST

/* --- a file that is another one --------------------------------------------------------------------------- */

START_TEST(a_file_that_was_replaced_takes_no_more_commits)
{
    const char *copy = in_folder("copy.db");

    ag_store *other;

    ck_assert_int_eq(try_open(copy, AGENT_OPEN_CREATE, &other), AGENT_OK);
    ag_store_close(other);
    (void)sqlite3_close(shell);
    shell = NULL;
    make_agent("before");
    ck_assert_int_eq(rename(copy, db_path), 0);
    ck_assert_int_eq(commit(agent_unit("after")), AGENT_ESTORAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "replaced"));
    ck_assert_ptr_nonnull(strstr(err.hint, "open"));
}
END_TEST

/* --- words of memories ---------------------------------------------------------------------------------- */

static sqlite3_int64 number(const char *sql)
{
    sqlite3_stmt *st;
    sqlite3_int64 n;

    ck_assert_msg(sqlite3_prepare_v2(shell, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(shell));
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    n = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    return n;
}

static void index_agrees(const char *after)
{
    static const char *const words[] = {"red", "green", "blue", "grey"};
    char sql[400];

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        (void)snprintf(sql, sizeof(sql),
                       "SELECT (SELECT coalesce(group_concat(rowid), '') FROM (SELECT rowid FROM memory_fts WHERE memory_fts MATCH '%s' ORDER BY 1))"
                       " = (SELECT coalesce(group_concat(id), '') FROM (SELECT id FROM memory WHERE instr(text, '%s') ORDER BY 1))",
                       words[i], words[i]);
        ck_assert_msg(number(sql) == 1, "'%s' is not found where it is, after %s", words[i], after);
    }
    sh("INSERT INTO memory_fts (memory_fts, rank) VALUES ('integrity-check', 1)");
}

/* Whatever a hand does to memories, with all that SQL has for conflicts: each word is found where it is. */
START_TEST(memories_are_found_by_their_words_after_any_edit_by_hand)
{
    static const char *const inserts[] = {"INSERT", "REPLACE", "INSERT OR IGNORE", "INSERT"};
    static const char *const conflicts[] = {"REPLACE", "IGNORE", "ABORT"};
    static const char *const texts[] = {"red green", "blue", "grey red blue", "green green grey"};
    unsigned state = 99;
    int refused = 0;

    sh("DELETE FROM memory");
    sh(_i == 0 ? "PRAGMA recursive_triggers = OFF" : "PRAGMA recursive_triggers = ON");
    sh("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF");
    for (int i = 0; i < 300; i++) {
        unsigned r[8];
        char sql[400], id[16];

        for (int k = 0; k < 8; k++) {
            state = state * 1103515245 + 12345;
            r[k] = state >> 16;
        }
        (void)snprintf(id, sizeof(id), r[1] % 3 == 0 ? "NULL" : "%u", r[2] % 8 + 1);
        switch (r[0] % 7) {
        case 0: case 1: case 2:
            (void)snprintf(sql, sizeof(sql),
                           "%s INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms)"
                           " VALUES (%s, %u, 'agent', 'k%u', '%s', 0, 0)%s", inserts[r[3] % 4], id, r[4] % 2 + 1, r[5] % 4,
                           texts[r[6] % 4],
                           r[3] % 4 == 3 ? " ON CONFLICT (agent_id, scope, key) DO UPDATE SET text = excluded.text" : "");
            break;
        case 3:
            (void)snprintf(sql, sizeof(sql), "UPDATE OR REPLACE memory SET id = %u WHERE id = %u", r[3] % 8 + 1, r[2] % 8 + 1);
            break;
        case 4:
            (void)snprintf(sql, sizeof(sql), "UPDATE OR %s memory SET key = 'k%u' WHERE id = %u", conflicts[r[3] % 3], r[4] % 4,
                           r[2] % 8 + 1);
            break;
        case 5:
            (void)snprintf(sql, sizeof(sql), "UPDATE memory SET text = '%s' WHERE id = %u", texts[r[3] % 4], r[2] % 8 + 1);
            break;
        default: (void)snprintf(sql, sizeof(sql), "DELETE FROM memory WHERE id = %u", r[2] % 8 + 1); break;
        }
        refused += sqlite3_exec(shell, sql, NULL, NULL, NULL) == SQLITE_CONSTRAINT;
        index_agrees(sql);
    }
    ck_assert_int_gt(refused, 0); /* or plain inserts met nothing */
}
END_TEST

Suite *sqlite_changes_suite(void);

Suite *sqlite_changes_suite(void)
{
    Suite *suite = suite_create("sqlite_changes");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, an_edit_by_hand_is_told_by_its_row_and_no_other, 0, (int)(sizeof(edits) / sizeof(edits[0])));
    tcase_add_test(t, a_long_text_of_an_agent_that_is_edited_is_told);
    tcase_add_test(t, an_edit_that_was_rolled_back_is_not_told);
    tcase_add_test(t, many_edits_are_all_told_up_to_the_length_of_the_log);
    tcase_add_test(t, the_log_is_bounded);
    tcase_add_loop_test(t, where_the_log_is_not_whole_everything_may_have_changed, 0,
                        (int)(sizeof(unknown) / sizeof(unknown[0])));
    tcase_add_test(t, own_commits_are_in_the_log_too_and_need_no_looking_after);
    tcase_add_test(t, commits_of_another_engine_that_tell_nothing_changed_nothing);
    tcase_add_test(t, a_run_writes_nothing_into_the_log);
    tcase_add_test(t, the_sum_of_the_answers_bytes_is_right_after_edits_by_hand);
    tcase_add_test(t, a_lease_is_another_owners_until_it_is_given_back_or_time_or_life_is_over);
    tcase_add_test(t, a_file_that_was_replaced_takes_no_more_commits);
    tcase_add_loop_test(t, memories_are_found_by_their_words_after_any_edit_by_hand, 0, 2);
    suite_add_tcase(suite, t);
    return suite;
}
