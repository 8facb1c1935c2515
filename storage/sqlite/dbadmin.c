/* The file as a whole: a copy of it, and what `doctor` tells of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

/* --- backup -------------------------------------------------------------------------------------- */

/* Made empty first: SQLite fills an empty file, and so its mode is 0600 whatever the umask. */
static agent_status make_target(const char *to, agent_error *err)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), why = errno;

    if (fd >= 0) {
        (void)close(fd);
        return AGENT_OK;
    }
    (void)ag_fail(err, why == EEXIST ? AGENT_EEXISTS : AGENT_ESTORAGE, why, "backup to '%s': %s", to, strerror(why));
    if (why == EEXIST)
        ag_hint(err, "a backup writes over nothing: name another file");
    return why == EEXIST ? AGENT_EEXISTS : AGENT_ESTORAGE;
}

static agent_status copy_into(struct ag_db *db, const char *to, agent_error *err)
{
    const char *prefix = to[0] == '/' ? "" : "./"; /* never a URI */
    size_t bytes = strlen(to) + 3;
    char *name = ag_malloc(bytes);
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;

    if (name == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "backup to '%s'", to);
    (void)snprintf(name, bytes, "%s%s", prefix, to);
    if (sqlite3_prepare_v2(db->db, "VACUUM INTO ?1", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(st) != SQLITE_DONE)
        rc = ag_wrap(err, ag_db_fail(db, err), "backup to '%s'", to);
    (void)sqlite3_finalize(st);
    ag_free(name);
    return rc;
}

/* On a connection of its own: runs go on meanwhile, and the copy shows one moment. */
agent_status ag_sq_backup(ag_store *base, const char *to, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(base);
    struct ag_db db;
    agent_status rc = make_target(to, err);

    if (rc != AGENT_OK)
        return rc;
    if ((rc = ag_db_open(s, AG_DB_READER, &db, err)) == AGENT_OK)
        rc = copy_into(&db, to, err);
    ag_db_close(&db);
    if (rc != AGENT_OK)
        (void)unlink(to);
    return rc;
}

/* --- facts ---------------------------------------------------------------------------------------- */

struct facts {
    void (*fact)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static void tell(const struct facts *f, const char *name, const char *fmt, ...) AGENT_PRINTF(3, 4);

static void tell(const struct facts *f, const char *name, const char *fmt, ...)
{
    char value[4600];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    f->fact(f->ctx, name, value);
}

static void tell_file(const struct facts *f, const char *name, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0)
        tell(f, name, "%lld", (long long)st.st_size);
    else
        tell(f, name, "0");
}

/* Versions that lose commits when a checkpoint races a commit: all up to 3.51.2, but for the lines
 * that got the repair. We never let it come to that; a shell with write access does. */
static bool loses_commits(int version)
{
    return version < 3051003 && !(version >= 3050007 && version < 3051000) && !(version >= 3044006 && version < 3045000);
}

static void tell_sql(struct ag_db *db, const struct facts *f, const char *name, const char *sql)
{
    char value[256];

    if (ag_db_text(db, sql, value, sizeof(value), NULL) == AGENT_OK)
        tell(f, name, "%s", value);
}

static void tell_owners(struct ag_sq_store *s, struct ag_db *db, const struct facts *f)
{
    sqlite3_stmt *st = NULL;
    int alive = 0, all = 0;

    if (sqlite3_prepare_v2(db->db, "SELECT id FROM owner", -1, &st, NULL) != SQLITE_OK)
        return;
    while (sqlite3_step(st) == SQLITE_ROW) {
        all++;
        alive += ag_owner_alive(s, sqlite3_column_int64(st, 0));
    }
    (void)sqlite3_finalize(st);
    tell(f, "owners_alive", "%d", alive);
    tell(f, "owners_dead", "%d", all - alive);
}

agent_status ag_sq_facts(ag_store *base, void (*fact)(void *, const char *, const char *), void *ctx, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(base);
    struct facts f = {fact, ctx};
    struct stat st;
    struct statfs fs;
    struct ag_db db;
    char who[128];
    agent_status rc;

    if ((rc = ag_db_open(s, AG_DB_READER, &db, err)) != AGENT_OK) {
        ag_db_close(&db);
        return rc;
    }
    tell(&f, "path", "%s", s->file);
    if (stat(s->file, &st) == 0)
        tell(&f, "file_mode", "%04o", (unsigned)(st.st_mode & 07777));
    tell_file(&f, "file_bytes", s->file);
    tell_file(&f, "wal_bytes", s->wal);
    if (statfs(s->file, &fs) == 0) {
        const char *network = ag_network_fs_name((long)fs.f_type);

        tell(&f, "file_system", "%s", network != NULL ? network : "local");
        tell(&f, "file_system_free_bytes", "%lld", (long long)fs.f_bavail * (long long)fs.f_bsize);
    }
    tell_sql(&db, &f, "schema_version", "PRAGMA user_version");
    tell(&f, "schema_version_of_library", "%d", ag_migration_count);
    tell_sql(&db, &f, "journal_mode", "PRAGMA journal_mode");
    tell(&f, "durability", "%s", s->o.durability == AGENT_DURABILITY_PROCESS
                                     ? "process (synchronous=NORMAL: survives kill -9, not a power cut)"
                                     : "power (synchronous=FULL)");
    tell_sql(&db, &f, "page_bytes", "PRAGMA page_size");
    tell_sql(&db, &f, "pages", "PRAGMA page_count");
    tell_sql(&db, &f, "pages_free", "PRAGMA freelist_count");
    tell(&f, "sqlite_version", "%s", sqlite3_libversion());
    tell(&f, "sqlite_wal_reset_bug", "%s",
         loses_commits(sqlite3_libversion_number())
             ? "present, avoided here; look into the file with `sqlite3 -readonly` or `agentctl sql`"
             : "repaired in this version");
    tell(&f, "change_token", "%s", s->inspect ? "none (opened for reading)"
                                   : s->token.header != NULL && !atomic_load(&s->token.broken) ? "wal-index"
                                                                                              : "data_version");
    if (s->file_version == 0) {
        tell_owners(s, &db, &f);
        tell_sql(&db, &f, "runs_open", "SELECT count(*) FROM run WHERE ended_at_ms IS NULL");
        tell_sql(&db, &f, "runs_waiting", "SELECT count(*) FROM run WHERE ended_at_ms IS NULL AND status = 'waiting'");
    }
    tell(&f, "write_lock", "%s", ag_lock_holder(s, who, sizeof(who)) ? who : "free");
    ag_db_close(&db);
    return AGENT_OK;
}
