/*
 * Opening and closing: which checks, in which order, and what each refuses. The file is looked at
 * before anything is set on it, so that what is not ours, or newer, is left as it is.
 *
 *     path: there? a file? writable? local?      files.c
 *     SQLite opens it                            connection.c
 *     ours? how old?                             migrations/migrate.c
 *     WAL, pragmas, migration                    here
 *     wal-index peek, writer thread              token.c, writer.c
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "migrations/migrate.h"
#include "storage/sqlite/impl.h"

#define BUSY_TIMEOUT_DEFAULT_MS 5000

static char *joined(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    char *p = ag_malloc(n + m + 1);

    if (p != NULL) {
        memcpy(p, path, n);
        memcpy(p + n, suffix, m + 1);
    }
    return p;
}

/* The names of everything beside the file, as SQLite resolved it (symbolic links, "..") */
static agent_status name_files(struct ag_sq_store *s, const char *file, agent_error *err)
{
    if ((s->file = ag_strdup(file)) == NULL || (s->wal = joined(file, "-wal")) == NULL ||
        (s->shm = joined(file, "-shm")) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", s->path);
    if (s->owners_path != NULL && s->owners.fd >= 0)
        return AGENT_OK; /* a new file: named before SQLite saw it */
    ag_free(s->owners_path);
    if ((s->owners_path = joined(file, "-owners")) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", s->path);
    return AGENT_OK;
}

/* Another process may be switching the same file to WAL; SQLite answers that without its handler. */
static agent_status set_journal_mode(struct ag_sq_store *s, agent_error *err)
{
    const char *mode = s->network ? "delete" : "wal";
    char sql[64], is[32];
    int64_t until = ag_mono_ns(&ag_clock_system) + s->o.busy_timeout_ms * 1000000;
    agent_status rc;

    (void)snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", mode);
    while ((rc = ag_db_text(&s->a, sql, is, sizeof(is), err)) == AGENT_EBUSY &&
           ag_mono_ns(&ag_clock_system) < until) {
        struct timespec nap = {0, 1000000};

        (void)nanosleep(&nap, NULL);
    }
    if (rc == AGENT_OK && strcmp(is, mode) != 0) {
        rc = ag_fail(err, AGENT_ESTORAGE, 0, "database '%s': journal_mode is %s where %s was asked for", s->path, is,
                     mode);
        ag_hint(err, "its file system has no shared memory for files: keep the file on a local disk");
    }
    return rc;
}

/* Migrations do not know who holds the lock; we do. */
static agent_status locked_or(struct ag_sq_store *s, agent_status rc, agent_error *err)
{
    if (rc == AGENT_EBUSY)
        return ag_db_fail_code(&s->a, SQLITE_BUSY, "", err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "database '%s'", s->path);
}

static agent_status prepare_file(struct ag_sq_store *s, agent_error *err)
{
    int version = 0;
    agent_status rc;

    if ((rc = ag_migrate_look(s->a.db, &version, err)) != AGENT_OK)
        return locked_or(s, rc, err);
    if (version < ag_migration_count && version > 0 && (s->o.flags & AGENT_OPEN_NO_MIGRATE) != 0) {
        rc = ag_fail(err, AGENT_ESCHEMA, 0, "database '%s' has schema %d, this library writes %d", s->path, version,
                     ag_migration_count);
        ag_hint(err, "open it without the flag that forbids migration; a copy is kept beside it");
        return rc;
    }
    if (version == 0 && (rc = ag_db_exec(&s->a, "PRAGMA auto_vacuum=INCREMENTAL", err)) != AGENT_OK)
        return rc; /* only before the first table */
    if ((rc = set_journal_mode(s, err)) != AGENT_OK)
        return rc;
    rc = ag_db_exec(&s->a,
                    s->o.durability == AGENT_DURABILITY_PROCESS
                        ? "PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-8000;"
                          "PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF; PRAGMA cell_size_check=ON"
                        : "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-8000;"
                          "PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF; PRAGMA cell_size_check=ON",
                    err);
    if (rc == AGENT_OK && version < ag_migration_count)
        rc = locked_or(s, ag_migrate(s->a.db, s->file, ag_unix_ms(s->o.clock), err), err);
    return rc;
}

static agent_status open_writer(struct ag_sq_store *s, bool exists, agent_error *err)
{
    agent_status rc;

    if (!exists) { /* its mode is copied from the side file, so that one comes first */
        if ((s->owners_path = joined(s->open_path, "-owners")) == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", s->path);
        if ((rc = ag_owners_open(s, err)) != AGENT_OK)
            return rc;
    }
    if ((rc = ag_db_open(s, exists ? AG_DB_WRITER : AG_DB_MAKER, &s->a, err)) != AGENT_OK ||
        (rc = name_files(s, sqlite3_db_filename(s->a.db, "main"), err)) != AGENT_OK ||
        (rc = prepare_file(s, err)) != AGENT_OK)
        return rc;
    s->is_ours = true; /* a file that is refused gets nothing beside it */
    ag_token_init(s);
    if ((rc = ag_changes_begin(s, err)) != AGENT_OK)
        return rc;
    return s->o.threaded ? ag_writer_start(s, err) : AGENT_OK;
}

static agent_status open_inspector(struct ag_sq_store *s, agent_error *err)
{
    int64_t id = 0, version = 0, tables = 0;
    agent_status rc;

    if ((s->spare = ag_calloc(1, sizeof(*s->spare))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", s->path);
    if ((rc = ag_db_open(s, AG_DB_READER, s->spare, err)) != AGENT_OK ||
        (rc = ag_db_exec(s->spare, "BEGIN", err)) != AGENT_OK || /* somebody may be making it just now */
        (rc = ag_db_int(s->spare, "PRAGMA application_id", &id, err)) != AGENT_OK ||
        (rc = ag_db_int(s->spare, "PRAGMA user_version", &version, err)) != AGENT_OK)
        return rc;
    if (id != AG_APPLICATION_ID) {
        if ((rc = ag_db_int(s->spare, "SELECT count(*) FROM sqlite_schema", &tables, err)) != AGENT_OK)
            return rc;
        (void)ag_fail(err, AGENT_ESTORAGE, 0, "database '%s' %s", s->path,
                      tables > 0 ? "was not made by this library: its application_id is another" : "is empty");
        ag_hint(err, "name another file with --db");
        return AGENT_ESTORAGE;
    }
    if ((rc = ag_db_exec(s->spare, "COMMIT", err)) != AGENT_OK)
        return rc;
    s->file_version = version > ag_migration_count ? (int)version : 0;
    return name_files(s, sqlite3_db_filename(s->spare->db, "main"), err);
}

static void sq_close(ag_store *base)
{
    struct ag_sq_store *s = ag_sq(base);

    ag_writer_stop(s);
    ag_token_drop(s);
    if (s->spare != NULL)
        ag_db_close(s->spare);
    ag_free(s->spare);
    if (s->a.db != NULL)
        ag_checkpoint_at_close(s);
    ag_db_close(&s->b);
    ag_db_close(&s->a);
    ag_owner_drop(s);
    ag_writer_drop(s);
    ag_free(s->path);
    ag_free(s->open_path);
    ag_free(s->file);
    ag_free(s->wal);
    ag_free(s->shm);
    ag_free(s->owners_path);
    ag_free(s);
}

static agent_status sq_reader_open(ag_store *base, ag_reader **out, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(base);
    struct ag_sq_reader *r = ag_calloc(1, sizeof(*r));
    agent_status rc;

    if (r == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open reader");
    r->base.store = base;
    r->db = &r->own;
    if (s->spare != NULL) {
        r->own = *s->spare;
        ag_db_moved(&r->own);
        ag_free(s->spare);
        s->spare = NULL;
    } else if (!s->o.threaded && !s->inspect) {
        r->db = &s->a; /* one thread, one connection: saves opening and parsing the schema again */
    } else if ((rc = ag_db_open(s, AG_DB_READER, &r->own, err)) != AGENT_OK) {
        ag_db_close(&r->own);
        ag_free(r);
        return ag_wrap(err, rc, "open reader");
    }
    *out = &r->base;
    return AGENT_OK;
}

static void sq_reader_close(ag_reader *base)
{
    struct ag_sq_reader *r = (struct ag_sq_reader *)base;

    ag_db_close(&r->own);
    ag_free(r);
}

static uint64_t sq_change_token(ag_store *base)
{
    return ag_token_value(ag_sq(base));
}

static const char *sq_watch_path(ag_store *base)
{
    return ag_sq(base)->wal;
}

static const struct ag_store_vt sqlite_vt = {
    .name = "sqlite",
    .caps = AG_STORE_SQL | AG_STORE_DURABLE | AG_STORE_SHARED,
    .close = sq_close,
    .submit = ag_sq_submit,
    .flush = ag_sq_flush,
    .change_token = sq_change_token,
    .backup = ag_sq_backup,
    .check = ag_sq_check,
    .facts = ag_sq_facts,
    .reader_open = sq_reader_open,
    .reader_close = sq_reader_close,
    .agent = ag_sq_agent,
    .tail = ag_sq_tail,
    .messages = ag_sq_messages,
    .memories = ag_sq_memories,
    .memory_search = ag_sq_memory_search,
    .tool = ag_sq_tool,
    .run = ag_sq_run,
    .session_find = ag_sq_session_find,
    .cancels = ag_sq_cancels,
    .settings = ag_sq_settings,
    .cache_get = ag_sq_cache_get,
    .cache_totals = ag_sq_cache_totals,
    .changes = ag_sq_changes,
    .queue = ag_sq_queue,
    .version = ag_sq_version,
    .watch_path = sq_watch_path,
    .scan = ag_sq_scan,
    .sql = ag_sq_sql,
};

agent_status ag_store_sqlite_open(const struct ag_store_options *o, ag_store **out, agent_error *err)
{
    struct ag_sq_store *s = ag_calloc(1, sizeof(*s));
    bool exists = true;
    agent_status rc;

    if (s == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", o->path);
    s->base.vt = &sqlite_vt;
    s->o = *o;
    if (s->o.busy_timeout_ms <= 0)
        s->o.busy_timeout_ms = BUSY_TIMEOUT_DEFAULT_MS;
    if (s->o.clock == NULL)
        s->o.clock = &ag_clock_system;
    s->inspect = (o->flags & AGENT_OPEN_INSPECT) != 0;
    s->owners.fd = -1;
    ag_writer_init(s);
    /* "./" in front: SQLite takes "file:…", ":memory:" and "" for something else than files. */
    s->path = ag_strdup(o->path);
    s->open_path = o->path[0] == '/' ? ag_strdup(o->path) : joined("./", o->path);
    if (s->path == NULL || s->open_path == NULL)
        rc = ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", o->path);
    else if ((rc = ag_file_look(s, &exists, err)) == AGENT_OK)
        rc = s->inspect ? open_inspector(s, err) : open_writer(s, exists, err);
    s->o.path = s->path;
    if (rc != AGENT_OK) {
        sq_close(&s->base);
        return rc;
    }
    *out = &s->base;
    return AGENT_OK;
}
