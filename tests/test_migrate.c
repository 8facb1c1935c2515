/*
 * The schema's history: a fresh file, an old one, a newer one, one of another build, one that is
 * not ours, and what an upgrade leaves when it is cut short. Upgrades are tried with steps made
 * here, on top of the real first one.
 */
#include "migrations/migrate.h"
#include "sqlite_kit.h"

static sqlite3 *db;

static void open_db(void)
{
    begin_folder();
    ck_assert_int_eq(sqlite3_open(db_path, &db), SQLITE_OK);
}

static void close_db(void)
{
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    end_folder();
}

static struct ag_migration steps[3];

/* The real first step, and two that follow it here only. */
static const struct ag_migration *with(const char *second, const char *third)
{
    steps[0] = ag_migrations[0];
    steps[1] = (struct ag_migration){2, "0002_second.sql", "bb", second};
    steps[2] = (struct ag_migration){3, "0003_third.sql", "cc", third};
    return steps;
}

static agent_status upgrade(const char *second, const char *third)
{
    return ag_migrate_steps(db, db_path, NOW, with(second, third), third == NULL ? 2 : 3, &err);
}

START_TEST(the_embedded_steps_are_numbered_from_one_and_have_checksums)
{
    ck_assert_int_ge(ag_migration_count, 1);
    for (int i = 0; i < ag_migration_count; i++) {
        ck_assert_int_eq(ag_migrations[i].number, i + 1);
        ck_assert_uint_eq(strlen(ag_migrations[i].sha256), 64);
        ck_assert_int_eq(atoi(ag_migrations[i].name), i + 1);
        ck_assert_uint_gt(strlen(ag_migrations[i].sql), 100);
    }
}
END_TEST

START_TEST(a_fresh_file_gets_all_steps_and_says_so)
{
    int version = -1;

    ck_assert_int_eq(ag_migrate_look(db, &version, &err), AGENT_OK);
    ck_assert_int_eq(version, 0);
    ck_assert_msg(ag_migrate(db, db_path, NOW, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(ag_migrate_look(db, &version, &err), AGENT_OK);
    ck_assert_int_eq(version, ag_migration_count);
    ck_assert_str_eq(ask_on(db, "SELECT version, name, sha256, applied_at_ms FROM migration WHERE version = 1"),
                     ag_arena_printf(&arena, "1 0001_init.sql %s %lld", ag_migrations[0].sha256, (long long)NOW));
    ck_assert_str_eq(ask_on(db, "PRAGMA application_id"), "1095192148");
    ck_assert(!exists(in_folder("a.db.v0.bak"))); /* there was nothing to keep */
}
END_TEST

START_TEST(migrating_again_changes_nothing)
{
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    ck_assert_int_eq(ag_migrate(db, db_path, NOW + 1, &err), AGENT_OK);
    ck_assert_str_eq(ask_on(db, "SELECT count(*), max(applied_at_ms) FROM migration"),
                     ag_arena_printf(&arena, "%d %lld", ag_migration_count, (long long)NOW));
}
END_TEST

START_TEST(an_upgrade_keeps_a_private_copy_of_the_old_file)
{
    sqlite3 *copy = NULL;
    const char *path = in_folder("a.db.v1.bak");
    mode_t before = umask(0);

    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    run_sql(db, "INSERT INTO meta VALUES ('kept', 'yes')");
    ck_assert_msg(upgrade("CREATE TABLE second (x INTEGER) STRICT", "ALTER TABLE second ADD COLUMN y TEXT") == AGENT_OK,
                  "%s", err.text);
    (void)umask(before);
    ck_assert_str_eq(ask_on(db, "PRAGMA user_version"), "3");
    ck_assert_str_eq(ask_on(db, "SELECT group_concat(version) FROM migration"), "1,2,3");
    (void)ask_on(db, "SELECT x, y FROM second");
    ck_assert_uint_eq(mode_of(path), 0600);
    ck_assert_int_eq(sqlite3_open_v2(path, &copy, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    ck_assert_str_eq(ask_on(copy, "PRAGMA user_version"), "1");
    ck_assert_str_eq(ask_on(copy, "SELECT value FROM meta WHERE key = 'kept'"), "yes");
    (void)sqlite3_close(copy);
}
END_TEST

START_TEST(a_step_that_fails_leaves_the_version_before_it)
{
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    ck_assert_int_eq(upgrade("CREATE TABLE second (x)", "CREATE TABLE third (x); INSERT INTO nowhere VALUES (1)"),
                     AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.text, "0003_third.sql") != NULL && strstr(err.text, "nowhere") != NULL, "%s", err.text);
    ck_assert_str_eq(ask_on(db, "PRAGMA user_version"), "2");
    ck_assert_str_eq(ask_on(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'third'"), "0");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
    ck_assert_int_eq(upgrade("CREATE TABLE second (x)", "CREATE TABLE third (x)"), AGENT_OK); /* and goes on from there */
    ck_assert(exists(in_folder("a.db.v2.bak")));
}
END_TEST

START_TEST(a_copy_left_by_an_earlier_upgrade_is_not_written_over)
{
    FILE *f;

    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    ck_assert_ptr_nonnull(f = fopen(in_folder("a.db.v1.bak"), "w"));
    (void)fputs("precious", f);
    (void)fclose(f);
    ck_assert_int_eq(upgrade("CREATE TABLE second (x)", NULL), AGENT_OK);
    ck_assert(exists(in_folder("a.db.v1.1.bak")));
    ck_assert_ptr_nonnull(f = fopen(in_folder("a.db.v1.bak"), "r"));
    ck_assert_int_eq(fgetc(f), 'p');
    (void)fclose(f);
}
END_TEST

START_TEST(a_file_of_a_newer_release_is_refused_by_both_versions_and_left_alone)
{
    int version = -1;

    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    run_sql(db, "PRAGMA user_version = 42");
    ck_assert_int_eq(ag_migrate_look(db, &version, &err), AGENT_ESCHEMA);
    ck_assert_int_eq(version, -1);
    ck_assert_msg(strstr(err.text, "42") != NULL && strstr(err.text, "up to 1") != NULL, "%s", err.text);
    ck_assert_str_ne(err.hint, "");
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_ESCHEMA);
    ck_assert_str_eq(ask_on(db, "PRAGMA user_version"), "42");
}
END_TEST

START_TEST(a_file_whose_step_was_another_is_refused)
{
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    run_sql(db, "UPDATE migration SET sha256 = 'other', library = '9.9.9'");
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_ESCHEMA);
    ck_assert_msg(strstr(err.text, "0001_init.sql") != NULL && strstr(err.text, "9.9.9") != NULL, "%s", err.text);
}
END_TEST

static const char *const others[] = {
    "CREATE TABLE bookmarks (url TEXT)",
    "PRAGMA application_id = 252006673; CREATE TABLE fossil (x)",
    "PRAGMA application_id = 252006673",
    "PRAGMA user_version = 1",
};

START_TEST(a_database_of_somebody_else_is_refused_and_left_alone)
{
    int version = -1;
    const char *before, *after;

    run_sql(db, others[_i]);
    before = ask_on(db, "SELECT (SELECT count(*) FROM sqlite_schema), * FROM pragma_user_version, pragma_application_id");
    ck_assert_int_eq(ag_migrate_look(db, &version, &err), AGENT_ESTORAGE);
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.text, "not one of this library's") != NULL, "%s", err.text);
    after = ask_on(db, "SELECT (SELECT count(*) FROM sqlite_schema), * FROM pragma_user_version, pragma_application_id");
    ck_assert_str_eq(before, after);
}
END_TEST

START_TEST(of_two_that_upgrade_at_once_one_does_it_and_both_are_content)
{
    sqlite3 *second = NULL;
    int status;
    pid_t pid;

    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
    run_sql(db, "PRAGMA journal_mode = WAL");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_int_ge(pid = fork(), 0);
    ck_assert_int_eq(sqlite3_open(db_path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 10000);
    if (pid == 0) {
        child_check(upgrade("CREATE TABLE second (x)", "CREATE TABLE third (x)") == AGENT_OK);
        _exit(0);
    }
    ck_assert_msg(upgrade("CREATE TABLE second (x)", "CREATE TABLE third (x)") == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(sqlite3_open(db_path, &second), SQLITE_OK);
    ck_assert_str_eq(ask_on(second, "SELECT count(*) FROM migration"), "3");
    (void)sqlite3_close(second);
}
END_TEST

/* Before its k-th statement another connection makes the schema. */
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

START_TEST(a_file_that_is_made_while_it_is_looked_at_is_not_taken_for_somebody_elses)
{
    int version = -1;

    run_sql(db, "PRAGMA journal_mode = WAL");
    statements_left = _i;
    (void)sqlite3_trace_v2(db, SQLITE_TRACE_STMT, make_it_now, NULL);
    ck_assert_msg(ag_migrate_look(db, &version, &err) == AGENT_OK, "made before statement %d: %s", _i, err.text);
    (void)sqlite3_trace_v2(db, 0, NULL, NULL);
    ck_assert(version == 0 || version == ag_migration_count);
    ck_assert_int_ne(sqlite3_get_autocommit(db), 0);
    ck_assert_int_eq(ag_migrate(db, db_path, NOW, &err), AGENT_OK);
}
END_TEST

Suite *migrate_suite(void);
Suite *migrate_suite(void)
{
    Suite *suite = suite_create("migrate");
    TCase *all = tcase_create("migrate");

    tcase_add_checked_fixture(all, open_db, close_db);
    tcase_set_timeout(all, 60);
    tcase_add_test(all, the_embedded_steps_are_numbered_from_one_and_have_checksums);
    tcase_add_test(all, a_fresh_file_gets_all_steps_and_says_so);
    tcase_add_test(all, migrating_again_changes_nothing);
    tcase_add_test(all, an_upgrade_keeps_a_private_copy_of_the_old_file);
    tcase_add_test(all, a_step_that_fails_leaves_the_version_before_it);
    tcase_add_test(all, a_copy_left_by_an_earlier_upgrade_is_not_written_over);
    tcase_add_test(all, a_file_of_a_newer_release_is_refused_by_both_versions_and_left_alone);
    tcase_add_test(all, a_file_whose_step_was_another_is_refused);
    tcase_add_loop_test(all, a_database_of_somebody_else_is_refused_and_left_alone, 0,
                        (int)(sizeof(others) / sizeof(others[0])));
    tcase_add_test(all, of_two_that_upgrade_at_once_one_does_it_and_both_are_content);
    tcase_add_loop_test(all, a_file_that_is_made_while_it_is_looked_at_is_not_taken_for_somebody_elses, 1, 7);
    suite_add_tcase(suite, all);
    return suite;
}
