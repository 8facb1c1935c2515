/*
 * The file of the SQLite store: how it is made, what it refuses to open and how it says so, and that
 * every statement fits. What every store does is in the other test_store*.c.
 */
#include <fcntl.h>

#include "migrations/migrate.h"
#include "sqlite_kit.h"
#include "storage/sqlite/impl.h"

static struct ag_sq_store *inner(void)
{
    return (struct ag_sq_store *)store;
}

static void write_file(const char *path, const char *bytes, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    (void)close(fd);
}

static char *read_file(const char *path, size_t *out_n)
{
    FILE *f = fopen(path, "rb");
    char *p = ag_arena_alloc(&arena, 8 << 20);

    ck_assert_ptr_nonnull(f);
    *out_n = fread(p, 1, 8 << 20, f);
    (void)fclose(f);
    return p;
}

/* --- the file --------------------------------------------------------------------------------------- */

START_TEST(a_new_file_is_private_whatever_the_umask)
{
    mode_t before = umask(0);

    open_store();
    (void)umask(before);
    make_agent("demo");
    (void)make_run(NULL, "hi", true);
    ck_assert_uint_eq(mode_of(db_path), 0600);
    ck_assert_uint_eq(mode_of(in_folder("a.db-wal")), 0600);
    ck_assert_uint_eq(mode_of(in_folder("a.db-shm")), 0600);
    ck_assert_uint_eq(mode_of(in_folder("a.db-owners")), 0600);
}
END_TEST

START_TEST(a_new_file_says_what_it_is)
{
    open_store();
    ask_is("PRAGMA application_id", "1095192148");
    ask_is("PRAGMA user_version", "1");
    ask_is("PRAGMA auto_vacuum", "2");
    ask_is("PRAGMA journal_mode", "wal");
    ask_is("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"
           " AND sql NOT LIKE '%STRICT%' AND name NOT LIKE 'memory_fts%' AND name NOT LIKE 'sqlite_%'", "0");
}
END_TEST

START_TEST(the_last_close_leaves_one_complete_file)
{
    const char *copy = in_folder("copy.db");
    size_t n;
    char *bytes;

    open_store();
    make_agent("demo");
    finish_run(make_run("s", "hi", true), "hello");
    close_store();
    ck_assert(!exists(in_folder("a.db-wal")));
    ck_assert(!exists(in_folder("a.db-shm")));
    bytes = read_file(db_path, &n);
    write_file(copy, bytes, n, 0600);
    (void)snprintf(db_path, sizeof(db_path), "%s", copy);
    ask_is("SELECT output FROM v_runs", "hello");
}
END_TEST

START_TEST(names_that_sqlite_reads_otherwise_are_just_files)
{
    static const char *const names[] = {":memory:", "file:x.db?mode=memory", "a b%20c#d?.db"};
    char before[512];

    ck_assert_ptr_nonnull(getcwd(before, sizeof(before)));
    ck_assert_int_eq(chdir(folder), 0);
    for (size_t i = 0; i < 3; i++) {
        struct ag_store_options o = options_of(names[i]);

        open_store_with(&o);
        make_agent("demo");
        close_store();
        ck_assert_msg(exists(in_folder(names[i])), "'%s' was not made", names[i]);
    }
    ck_assert_int_eq(chdir(before), 0);
}
END_TEST

START_TEST(a_store_opens_the_file_behind_a_symbolic_link)
{
    struct ag_store_options o = options_of(in_folder("link.db"));

    open_store();
    make_agent("demo");
    close_store();
    ck_assert_int_eq(symlink("a.db", o.path), 0);
    open_store_with(&o);
    (void)make_run(NULL, "hi", true);
    ck_assert(exists(in_folder("a.db-owners")));
    ck_assert(!exists(in_folder("link.db-owners"))); /* else two owners would not see each other */
}
END_TEST

static void make_nothing(void)
{
}

static void make_folder(void)
{
    ck_assert_int_eq(mkdir(db_path, 0700), 0);
}

static void make_text(void)
{
    static const char text[] = "this is a note of somebody's, and not a database: do not write over it\n";
    char big[4096];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = text[i % (sizeof(text) - 1)];
    write_file(db_path, big, sizeof(big), 0600);
}

static void make_other(void)
{
    sqlite3 *db = NULL;

    ck_assert_int_eq(sqlite3_open(db_path, &db), SQLITE_OK);
    run_sql(db, "CREATE TABLE bookmarks (url TEXT)");
    (void)sqlite3_close(db);
}

static void make_newer(void)
{
    open_store();
    make_agent("demo");
    close_store();
    change_by_hand("PRAGMA journal_mode=DELETE; PRAGMA user_version=99");
}

static void lose_folder(void)
{
    (void)snprintf(db_path, sizeof(db_path), "%s/none/a.db", folder);
}

static const struct refusal {
    const char *what;
    void (*make)(void);
    unsigned flags;
    agent_status status;
    const char *text; /* part of it */
} refusals[] = {
    {"missing", make_nothing, 0, AGENT_ENOTFOUND, "No such file"},
    {"missing, inspected", make_nothing, AGENT_OPEN_INSPECT | AGENT_OPEN_CREATE, AGENT_ENOTFOUND, "No such file"},
    {"missing folder", lose_folder, AGENT_OPEN_CREATE, AGENT_ENOTFOUND, "folder"},
    {"a folder", make_folder, AGENT_OPEN_CREATE, AGENT_ESTORAGE, "is a folder"},
    {"not a database", make_text, AGENT_OPEN_CREATE, AGENT_ESTORAGE, "not a database"},
    {"not a database, inspected", make_text, AGENT_OPEN_INSPECT, AGENT_ESTORAGE, "not a database"},
    {"not ours", make_other, AGENT_OPEN_CREATE, AGENT_ESTORAGE, "not one of this library's"},
    {"not ours, inspected", make_other, AGENT_OPEN_INSPECT, AGENT_ESTORAGE, "not made by this library"},
    {"newer", make_newer, AGENT_OPEN_CREATE, AGENT_ESCHEMA, "schema is 99"},
};

START_TEST(what_cannot_be_opened_is_named_with_a_remedy_and_left_alone)
{
    const struct refusal *r = &refusals[_i];
    ag_store *none = (ag_store *)&err;
    char *before = NULL, *after;
    size_t n = 0, m;

    r->make();
    if (_i >= 4)
        before = read_file(db_path, &n);
    ck_assert_msg(try_open(db_path, r->flags, &none) == r->status, "%s: %s: %s", r->what,
                  agent_status_name(err.status), err.text);
    ck_assert_ptr_eq(none, (ag_store *)&err);
    ck_assert_msg(strstr(err.text, r->text) != NULL, "%s: %s", r->what, err.text);
    ck_assert_msg(strstr(err.text, db_path) != NULL, "%s: the file is not named: %s", r->what, err.text);
    ck_assert_msg(err.hint[0] != '\0', "%s: no hint", r->what);
    if (before != NULL) {
        after = read_file(db_path, &m);
        ck_assert_msg(n == m && memcmp(before, after, n) == 0, "%s: it was changed", r->what);
        ck_assert(!exists(in_folder("a.db-wal")));
    }
    if (_i < 3)
        ck_assert(!exists(db_path));
}
END_TEST

/* Root may write everything, so this is somebody else's process. */
static int as_nobody(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (geteuid() == 0)
            child_check(setgid(65534) == 0 && setuid(65534) == 0);
        fn();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void open_read_only_file(void)
{
    ag_store *s = NULL;

    child_check(try_open(db_path, 0, &s) == AGENT_ESTORAGE);
    child_check(strstr(err.text, "is not writable") != NULL && strstr(err.hint, "chmod") != NULL);
    child_check(try_open(db_path, AGENT_OPEN_INSPECT, &s) == AGENT_OK);
    child_check(ag_store_reader_open(s, &reader, &err) == AGENT_OK);
    child_check(ag_reader_sql(reader, "SELECT name FROM v_agents", count_rows, &(int){0}, &err) == AGENT_OK);
    ag_reader_close(reader);
    ag_store_close(s);
}

START_TEST(a_read_only_file_or_folder_is_told_and_can_be_inspected)
{
    open_store();
    make_agent("demo");
    close_store();
    ck_assert_int_eq(chmod(db_path, 0444), 0);
    ck_assert_int_eq(chmod(folder, 0555), 0);
    ck_assert_int_eq(as_nobody(open_read_only_file), 0);
    ck_assert_int_eq(chmod(folder, 0700), 0);
}
END_TEST

static void open_in_read_only_folder(void)
{
    ag_store *s = NULL;

    child_check(try_open(db_path, AGENT_OPEN_CREATE, &s) == AGENT_ESTORAGE);
    child_check(strstr(err.text, folder) != NULL && err.hint[0] != '\0');
}

START_TEST(a_file_cannot_be_made_where_the_folder_is_not_writable)
{
    ck_assert_int_eq(chmod(folder, 0555), 0);
    ck_assert_int_eq(as_nobody(open_in_read_only_folder), 0);
    ck_assert_int_eq(chmod(folder, 0700), 0);
    ck_assert(!exists(db_path));
}
END_TEST

START_TEST(a_newer_file_is_inspected_by_sql_alone)
{
    ag_store *s = NULL;
    int rows = 0;

    make_newer();
    ck_assert_int_eq(try_open(db_path, AGENT_OPEN_INSPECT, &s), AGENT_OK);
    store = s;
    ck_assert_int_eq(ag_store_reader_open(store, &reader, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_scan(reader, AGENT_VIEW_AGENTS, NULL, count_rows, &rows, &err), AGENT_ESCHEMA);
    ck_assert_msg(strstr(err.text, "99") != NULL && strstr(err.text, "up to 1") != NULL, "%s", err.text);
    ck_assert_int_eq(ag_reader_sql(reader, "SELECT name FROM agent", count_rows, &rows, &err), AGENT_OK);
    ck_assert_int_eq(rows, 1);
}
END_TEST

START_TEST(an_inspector_reads_beside_a_writer_and_changes_nothing)
{
    ag_store *s = NULL;
    ag_reader *r = NULL;
    struct waiting *w = agent_unit("late");
    int rows = 0;

    open_store();
    make_agent("demo");
    ck_assert_int_eq(try_open(db_path, AGENT_OPEN_INSPECT, &s), AGENT_OK);
    ck_assert_int_eq(ag_store_reader_open(s, &r, &err), AGENT_OK);
    make_agent("other"); /* after the inspector came */
    ck_assert_int_eq(ag_reader_scan(r, AGENT_VIEW_AGENTS, NULL, count_rows, &rows, &err), AGENT_OK);
    ck_assert_int_eq(rows, 2);
    ck_assert(ag_store_submit(s, &w->unit)); /* refused at once */
    ck_assert_int_eq(w->unit.status, AGENT_ESTORAGE);
    ck_assert(strstr(w->unit.error.text, "reading only") != NULL);
    ag_reader_close(r);
    ag_store_close(s);
    make_agent("still writing");
}
END_TEST

/* Before the k-th statement of the connection that is opened, another one makes the schema. */
static int statements_left;

static int make_it_now(unsigned what, void *ctx, void *statement, void *sql)
{
    sqlite3 *second = NULL;

    (void)what;
    (void)ctx;
    (void)statement;
    (void)sql;
    if (--statements_left != 0)
        return 0;
    ck_assert_int_eq(sqlite3_open(db_path, &second), SQLITE_OK);
    ck_assert_msg(ag_migrate(second, db_path, NOW, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(sqlite3_close(second), SQLITE_OK);
    return 0;
}

static int trace_it(sqlite3 *db, char **why, const struct sqlite3_api_routines *api)
{
    (void)why;
    (void)api;
    return statements_left > 0 ? sqlite3_trace_v2(db, SQLITE_TRACE_STMT, make_it_now, NULL) : SQLITE_OK;
}

START_TEST(a_file_that_is_made_while_it_is_inspected_is_empty_or_ours)
{
    sqlite3 *first = NULL;
    ag_store *s = NULL;
    agent_status rc;

    ck_assert_int_eq(sqlite3_open(db_path, &first), SQLITE_OK);
    run_sql(first, "PRAGMA journal_mode = WAL");
    ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))trace_it), SQLITE_OK);
    statements_left = _i;
    rc = try_open(db_path, AGENT_OPEN_INSPECT, &s);
    (void)sqlite3_cancel_auto_extension((void (*)(void))trace_it);
    ck_assert_msg(rc == AGENT_OK || strstr(err.text, "is empty") != NULL, "made before statement %d: %s", _i, err.text);
    statements_left = 0;
    store = s;
    (void)sqlite3_close(first);
}
END_TEST

START_TEST(an_empty_file_becomes_ours)
{
    write_file(db_path, "", 0, 0600);
    open_store();
    make_agent("demo");
    ask_is("PRAGMA user_version", "1");
}
END_TEST

START_TEST(network_file_systems_are_known_by_their_magic)
{
    ck_assert_str_eq(ag_network_fs_name(0x6969), "NFS");
    ck_assert_str_eq(ag_network_fs_name(0x01021997), "9p");
    ck_assert_ptr_null(ag_network_fs_name(0xef53)); /* ext4 */
    ck_assert_ptr_null(ag_network_fs_name(0x01021994)); /* tmpfs */
}
END_TEST

/* As on a network file system where it was allowed: no shared memory, no wal-index. */
START_TEST(without_wal_the_same_store_works_in_a_rollback_journal)
{
    open_store();
    make_agent("demo");
    inner()->network = true;
    ag_token_drop(inner());
    ck_assert_int_eq(ag_db_exec(&inner()->a, "PRAGMA journal_mode=DELETE", &err), AGENT_OK);
    finish_run(make_run("s", "hi", true), "hello");
    ask_is("SELECT status FROM v_runs", "succeeded");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

START_TEST(an_open_that_runs_out_of_memory_leaves_nothing_behind)
{
    bool opened = false;

    open_store();
    make_agent("demo");
    close_store();
    for (unsigned long n = 1; !opened && n < 200; n++) {
        ag_store *s = NULL;
        ag_reader *r = NULL;

        (void)ag_mem_fail_at(n);
        if (try_open(db_path, 0, &s) == AGENT_OK)
            opened = ag_store_reader_open(s, &r, &err) == AGENT_OK;
        (void)ag_mem_fail_at(0);
        if (!opened)
            ck_assert_int_eq(err.status, AGENT_ENOMEM);
        ag_reader_close(r);
        ag_store_close(s);
    }
    ck_assert(opened);
}
END_TEST

/* --- statements ---------------------------------------------------------------------------------------- */

START_TEST(every_statement_fits_the_newest_schema)
{
    const struct ag_stmt_def *def = &ag_stmt_defs[_i];
    sqlite3_stmt *st = NULL;

    ck_assert_msg(def->sql != NULL, "statement %d has no text", _i);
    open_store();
    ck_assert_msg(sqlite3_prepare_v2(inner()->a.db, def->sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", def->sql,
                  sqlite3_errmsg(inner()->a.db));
    ck_assert_msg(sqlite3_bind_parameter_count(st) == def->binds, "binds: %s", def->sql);
    ck_assert_msg((sqlite3_stmt_readonly(st) != 0) == def->readonly, "readonly: %s", def->sql);
    (void)sqlite3_finalize(st);
}
END_TEST

Suite *store_sqlite_suite(void);
Suite *store_sqlite_suite(void)
{
    Suite *suite = suite_create("store_sqlite");
    TCase *file = tcase_create("file"), *statements = tcase_create("statements");

    tcase_add_checked_fixture(file, begin_folder, end_folder);
    tcase_set_timeout(file, 60);
    tcase_add_test(file, a_new_file_is_private_whatever_the_umask);
    tcase_add_test(file, a_new_file_says_what_it_is);
    tcase_add_test(file, the_last_close_leaves_one_complete_file);
    tcase_add_test(file, names_that_sqlite_reads_otherwise_are_just_files);
    tcase_add_test(file, a_store_opens_the_file_behind_a_symbolic_link);
    tcase_add_loop_test(file, what_cannot_be_opened_is_named_with_a_remedy_and_left_alone, 0,
                        (int)(sizeof(refusals) / sizeof(refusals[0])));
    tcase_add_test(file, a_read_only_file_or_folder_is_told_and_can_be_inspected);
    tcase_add_test(file, a_file_cannot_be_made_where_the_folder_is_not_writable);
    tcase_add_test(file, a_newer_file_is_inspected_by_sql_alone);
    tcase_add_test(file, an_inspector_reads_beside_a_writer_and_changes_nothing);
    tcase_add_loop_test(file, a_file_that_is_made_while_it_is_inspected_is_empty_or_ours, 1, 8);
    tcase_add_test(file, an_empty_file_becomes_ours);
    tcase_add_test(file, network_file_systems_are_known_by_their_magic);
    tcase_add_test(file, without_wal_the_same_store_works_in_a_rollback_journal);
    tcase_add_test(file, an_open_that_runs_out_of_memory_leaves_nothing_behind);
    suite_add_tcase(suite, file);

    tcase_add_checked_fixture(statements, begin_folder, end_folder);
    tcase_add_loop_test(statements, every_statement_fits_the_newest_schema, 0, AG_STMT_COUNT);
    suite_add_tcase(suite, statements);

    return suite;
}
