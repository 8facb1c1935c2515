/*
 * Bringing a file to the newest schema, and telling what it is before anything is changed.
 *
 *     look: header only ──► not ours, newer ──► refused, untouched
 *                       └─► older ──► copy kept ──► step N+1: BEGIN IMMEDIATE, look again, SQL,
 *                                                   row of `migration`, user_version, COMMIT
 *
 * Invariants: (1) the version is read again inside each transaction, so of two processes that open
 * an old file one waits and finds the work done; (2) user_version, application_id and the row of
 * `migration` move with the step or not at all; (3) the step is left as it was released: its
 * checksum is recorded, and compared at every open.
 */
#include "migrations/migrate.h"

#include <agent/agent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"

static agent_status fail_db(sqlite3 *db, agent_error *err, const char *doing)
{
    int code = sqlite3_extended_errcode(db);
    agent_status status = AGENT_ESTORAGE;

    if ((code & 0xff) == SQLITE_BUSY)
        status = AGENT_EBUSY;
    else if ((code & 0xff) == SQLITE_NOMEM)
        status = AGENT_ENOMEM;
    (void)ag_fail(err, status, code, "%s: %s", doing, sqlite3_errmsg(db));
    if ((code & 0xff) == SQLITE_NOTADB)
        ag_hint(err, "this is not a database: name another file with --db; this one is left as it is");
    else if ((code & 0xff) == SQLITE_CORRUPT)
        ag_hint(err, "the file is damaged: look with `agentctl db check`, then restore a backup");
    else if (status == AGENT_EBUSY)
        ag_hint(err, "another process holds it: try again");
    return status;
}

static agent_status read_int(sqlite3 *db, const char *sql, int64_t *out, agent_error *err)
{
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        return fail_db(db, err, "read the header");
    if (sqlite3_step(st) == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    else
        rc = fail_db(db, err, "read the header");
    (void)sqlite3_finalize(st);
    return rc;
}

/* What is recorded must be what we have: a file written by a build whose step N was another. */
static agent_status compare_checksums(sqlite3 *db, const struct ag_migration *steps, int count, agent_error *err)
{
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;
    int step;

    if (sqlite3_prepare_v2(db, "SELECT version, sha256, library FROM migration ORDER BY version", -1, &st, NULL) !=
        SQLITE_OK)
        return fail_db(db, err, "read its migrations");
    while (rc == AGENT_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
        int version = sqlite3_column_int(st, 0);
        const char *sha = (const char *)sqlite3_column_text(st, 1);

        if (step != SQLITE_ROW) {
            rc = fail_db(db, err, "read its migrations");
        } else if (version >= 1 && version <= count && (sha == NULL || strcmp(sha, steps[version - 1].sha256) != 0)) {
            const char *library = (const char *)sqlite3_column_text(st, 2);

            rc = ag_fail(err, AGENT_ESCHEMA, 0, "schema %d was written by another build (libagent %s): its %s differs",
                         version, library == NULL ? "?" : library, steps[version - 1].name);
            ag_hint(err, "open it with the release that wrote it; the file is left as it is");
        }
    }
    (void)sqlite3_finalize(st);
    return rc;
}

static agent_status look_in(sqlite3 *db, const struct ag_migration *steps, int count, int *out_version, agent_error *err)
{
    int64_t id = 0, version = 0, tables = 0;
    agent_status rc;

    if ((rc = read_int(db, "PRAGMA application_id", &id, err)) != AGENT_OK ||
        (rc = read_int(db, "PRAGMA user_version", &version, err)) != AGENT_OK)
        return rc;
    if (id != AG_APPLICATION_ID) {
        if ((rc = read_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err)) != AGENT_OK)
            return rc;
        if (tables == 0 && id == 0 && version == 0) {
            *out_version = 0;
            return AGENT_OK;
        }
        (void)ag_fail(err, AGENT_ESTORAGE, 0, "a database, but not one of this library's: application_id is %lld",
                      (long long)id);
        ag_hint(err, "name another file with --db; this one is left as it is");
        return AGENT_ESTORAGE;
    }
    if (version > count) {
        (void)ag_fail(err, AGENT_ESCHEMA, 0, "its schema is %lld, this library (%s) knows up to %d", (long long)version,
                      AGENT_VERSION, count);
        ag_hint(err, "use a newer release; the file is left as it is (agentctl sql can still read it)");
        return AGENT_ESCHEMA;
    }
    if ((rc = compare_checksums(db, steps, count, err)) != AGENT_OK)
        return rc;
    *out_version = (int)version;
    return AGENT_OK;
}

/* All of it at one moment: a file that another process makes meanwhile has either nothing or all. */
static agent_status look(sqlite3 *db, const struct ag_migration *steps, int count, int *out_version, agent_error *err)
{
    agent_status rc;

    if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(db, err, "read the header");
    rc = look_in(db, steps, count, out_version, err);
    (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

agent_status ag_migrate_look(sqlite3 *db, int *out_version, agent_error *err)
{
    return look(db, ag_migrations, ag_migration_count, out_version, err);
}

static agent_status record(sqlite3 *db, const struct ag_migration *step, int64_t now_ms, agent_error *err)
{
    static const char sql[] = "INSERT INTO migration (version, name, sha256, applied_at_ms, library)"
                              " VALUES (?1, ?2, ?3, ?4, ?5)";
    char header[128];
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        return fail_db(db, err, step->name);
    if (sqlite3_bind_int(st, 1, step->number) != SQLITE_OK ||
        sqlite3_bind_text(st, 2, step->name, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(st, 3, step->sha256, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_int64(st, 4, now_ms) != SQLITE_OK ||
        sqlite3_bind_text(st, 5, AGENT_VERSION, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(st) != SQLITE_DONE)
        rc = fail_db(db, err, step->name);
    (void)sqlite3_finalize(st);
    (void)snprintf(header, sizeof(header), "PRAGMA application_id=%d; PRAGMA user_version=%d", AG_APPLICATION_ID,
                   step->number);
    if (rc == AGENT_OK && sqlite3_exec(db, header, NULL, NULL, NULL) != SQLITE_OK)
        rc = fail_db(db, err, step->name);
    return rc;
}

static agent_status apply(sqlite3 *db, const struct ag_migration *step, int64_t now_ms, agent_error *err)
{
    int64_t version = 0;
    agent_status rc;

    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(db, err, "begin the migration");
    rc = read_int(db, "PRAGMA user_version", &version, err);
    if (rc == AGENT_OK && version < step->number) { /* (1) */
        if (sqlite3_exec(db, step->sql, NULL, NULL, NULL) != SQLITE_OK)
            rc = fail_db(db, err, step->name);
        else
            rc = record(db, step, now_ms, err);
    }
    if (rc == AGENT_OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        rc = fail_db(db, err, step->name);
    if (rc != AGENT_OK && sqlite3_get_autocommit(db) == 0)
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* An empty file of mode 0600, whatever the umask, under the first free name: a copy that an upgrade
 * cut short left behind is kept too. */
static agent_status make_copy_file(const char *path, int version, char *copy, size_t bytes, agent_error *err)
{
    int fd, why;

    for (int i = 0; i < 10; i++) {
        (void)(i == 0 ? snprintf(copy, bytes, "%s.v%d.bak", path, version)
                      : snprintf(copy, bytes, "%s.v%d.%d.bak", path, version, i));
        if ((fd = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) >= 0) {
            (void)close(fd);
            return AGENT_OK;
        }
        if (errno != EEXIST)
            break;
    }
    why = errno;
    (void)ag_fail(err, AGENT_ESTORAGE, why, "keep a copy before the upgrade: '%s': %s", copy, strerror(why));
    ag_hint(err, why == EEXIST ? "move the copies of earlier upgrades away" : "the upgrade needs a folder it may write to");
    return AGENT_ESTORAGE;
}

static agent_status check_copy(const char *copy, agent_error *err)
{
    char answer[128] = "it cannot be read";
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;

    if (sqlite3_open_v2(copy, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW && sqlite3_column_text(st, 0) != NULL)
        (void)snprintf(answer, sizeof(answer), "%s", (const char *)sqlite3_column_text(st, 0));
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
    if (strcmp(answer, "ok") == 0)
        return AGENT_OK;
    return ag_fail(err, AGENT_ESTORAGE, 0, "the copy kept before the upgrade is not sound: %s", answer);
}

static agent_status keep_copy(sqlite3 *db, const char *path, int version, agent_error *err)
{
    size_t bytes = strlen(path) + 32;
    char *copy = ag_malloc(bytes);
    sqlite3_stmt *st = NULL;
    agent_status rc;

    if (copy == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "keep a copy before the upgrade");
    if ((rc = make_copy_file(path, version, copy, bytes, err)) != AGENT_OK) {
        ag_free(copy);
        return rc;
    }
    if (sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_bind_text(st, 1, copy, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(st) != SQLITE_DONE)
        rc = fail_db(db, err, "keep a copy before the upgrade");
    (void)sqlite3_finalize(st);
    if (rc == AGENT_OK)
        rc = check_copy(copy, err);
    if (rc != AGENT_OK)
        (void)unlink(copy); /* whole, or none */
    ag_free(copy);
    return rc;
}

agent_status ag_migrate_steps(sqlite3 *db, const char *path, int64_t now_ms, const struct ag_migration *steps, int count,
                              agent_error *err)
{
    int version = 0;
    agent_status rc = look(db, steps, count, &version, err);

    if (rc == AGENT_OK && version > 0 && version < count)
        rc = keep_copy(db, path, version, err);
    for (int i = version; i < count && rc == AGENT_OK; i++)
        rc = apply(db, &steps[i], now_ms, err);
    return rc;
}

agent_status ag_migrate(sqlite3 *db, const char *path, int64_t now_ms, agent_error *err)
{
    return ag_migrate_steps(db, path, now_ms, ag_migrations, ag_migration_count, err);
}
