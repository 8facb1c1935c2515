/*
 * One connection: how it is opened, what is set on it, how it waits, how it is closed.
 *
 * Waiting: SQLite's own handler sleeps up to 100 ms a time, and starves one of several writers;
 * ours sleeps 50 to 300 us until the deadline, so that the lock changes hands fairly.
 *
 * Closing: SQLite checkpoints and deletes the -wal when the last connection to a file closes. Only
 * the writer of the last owner is allowed to (checkpoint.c); every other connection is told not to.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

#define BUSY_SHORTEST_US 50
#define BUSY_LONGEST_US  300

static int64_t mono_ns(void)
{
    return ag_mono_ns(&ag_clock_system); /* waiting is real, whatever clock the host plays */
}

static int on_busy(void *ctx, int count)
{
    struct ag_db *db = ctx;
    int64_t now = mono_ns();
    struct timespec nap = {0, 0};

    if (count == 0)
        db->busy_since_ns = now;
    if (now - db->busy_since_ns >= db->store->o.busy_timeout_ms * 1000000)
        return 0;
    /* The clock's low digits are as good as dice here: two waiters should not wake in step. */
    nap.tv_nsec = (BUSY_SHORTEST_US + now % (BUSY_LONGEST_US - BUSY_SHORTEST_US)) * 1000;
    (void)nanosleep(&nap, NULL);
    return 1;
}

agent_status ag_db_exec(struct ag_db *db, const char *sql, agent_error *err)
{
    if (sqlite3_exec(db->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return ag_db_fail(db, err);
    return AGENT_OK;
}

agent_status ag_db_text(struct ag_db *db, const char *sql, char *text, size_t bytes, agent_error *err)
{
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;

    if (sqlite3_prepare_v2(db->db, sql, -1, &st, NULL) != SQLITE_OK)
        return ag_db_fail(db, err);
    switch (sqlite3_step(st)) {
    case SQLITE_ROW: {
        const unsigned char *p = sqlite3_column_text(st, 0);

        (void)snprintf(text, bytes, "%s", p == NULL ? "" : (const char *)p);
        break;
    }
    case SQLITE_DONE:
        text[0] = '\0';
        break;
    default:
        rc = ag_db_fail(db, err);
    }
    (void)sqlite3_finalize(st);
    return rc;
}

agent_status ag_db_int(struct ag_db *db, const char *sql, int64_t *out, agent_error *err)
{
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;

    if (sqlite3_prepare_v2(db->db, sql, -1, &st, NULL) != SQLITE_OK)
        return ag_db_fail(db, err);
    if (sqlite3_step(st) == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    else
        rc = ag_db_fail(db, err);
    (void)sqlite3_finalize(st);
    return rc;
}

static int on_wal(void *ctx, sqlite3 *db, const char *schema, int pages)
{
    (void)db;
    (void)schema;
    ((struct ag_db *)ctx)->store->wal_pages = pages;
    return SQLITE_OK;
}

/* The name SQLite is given, and its flags. A new file takes its mode, 0600, from <db>-owners, which
 * was made so: neither the umask nor a descriptor of ours has a say. */
static int open_handle(struct ag_sq_store *s, enum ag_db_role role, sqlite3 **db)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (role == AG_DB_READER ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
    char *uri = NULL;
    int rc;

    if (role == AG_DB_MAKER) {
        uri = ag_file_uri(s->open_path, "modeof", s->owners_path);
        flags |= SQLITE_OPEN_CREATE;
    } else if (s->immutable) {
        uri = ag_file_uri(s->open_path, "immutable", "1");
    } else {
        return sqlite3_open_v2(s->open_path, db, flags, NULL);
    }
    if (uri == NULL)
        return SQLITE_NOMEM;
    rc = sqlite3_open_v2(uri, db, flags | SQLITE_OPEN_URI, NULL);
    ag_free(uri);
    return rc;
}

agent_status ag_db_open(struct ag_sq_store *s, enum ag_db_role role, struct ag_db *db, agent_error *err)
{
    agent_status rc;

    memset(db, 0, sizeof(*db));
    db->store = s;
    if (open_handle(s, role, &db->db) != SQLITE_OK) {
        rc = db->db == NULL ? ag_fail(err, AGENT_ENOMEM, 0, "open database '%s'", s->path) : ag_db_fail(db, err);
        ag_db_close(db);
        return rc;
    }
    (void)sqlite3_busy_handler(db->db, on_busy, db);
    (void)sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_wal_hook(db->db, role == AG_DB_WRITER || role == AG_DB_MAKER ? on_wal : NULL, db); /* and no automatic checkpoint */
    if (role == AG_DB_READER) {
        /* The triggers of memory_fts need trust to write (FTS5 is not "innocuous" before 3.41);
         * readers need none. */
        (void)sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        return ag_db_exec(db, "PRAGMA temp_store=MEMORY", err);
    }
    return AGENT_OK;
}

void ag_db_moved(struct ag_db *db)
{
    (void)sqlite3_busy_handler(db->db, on_busy, db);
}

void ag_db_close(struct ag_db *db)
{
    for (int i = 0; i < AG_STMT_COUNT; i++) {
        (void)sqlite3_finalize(db->stmts[i]);
        db->stmts[i] = NULL;
    }
    (void)sqlite3_close_v2(db->db);
    db->db = NULL;
}
