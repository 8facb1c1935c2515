/*
 * What SQLite said, told as our story: the thing, the reason, the remedy. And who holds the write
 * lock, which SQLite does not know: the kernel does.
 *
 *     /proc/locks:  7: POSIX  ADVISORY  WRITE 4711 08:01:131090 120 120
 *                                             PID  dev   inode  bytes of the -shm; 120 is WAL's writer
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "storage/sqlite/impl.h"

#define WAL_WRITE_BYTE      120        /* of the -shm (SQLite's walformat) */
#define ROLLBACK_LOCK_FIRST 0x40000000 /* pending, reserved, shared bytes of the database file */
#define ROLLBACK_LOCK_LAST  0x400001ff

/* Reads all of a small file of /proc. */
static bool slurp(const char *path, ag_buf *to)
{
    FILE *f = fopen(path, "re");
    char part[4096];
    size_t n;

    if (f == NULL)
        return false;
    while ((n = fread(part, 1, sizeof(part), f)) > 0)
        ag_buf_append(to, part, n);
    (void)fclose(f);
    return to->failed == AGENT_OK && to->n > 0;
}

static void name_of(long pid, char *text, size_t bytes)
{
    AG_AUTO(ag_buf) comm = AG_BUF_INIT(256);
    char path[64];

    if (pid == (long)getpid()) {
        (void)snprintf(text, bytes, "this process, PID %ld", pid);
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    if (!slurp(path, &comm)) {
        (void)snprintf(text, bytes, "PID %ld", pid);
        return;
    }
    if (comm.p[comm.n - 1] == '\n')
        comm.p[comm.n - 1] = '\0';
    (void)snprintf(text, bytes, "PID %ld (%.60s)", pid, comm.p);
}

static bool holder_of(const char *path, long first, long last, char *text, size_t bytes)
{
    AG_AUTO(ag_buf) locks = AG_BUF_INIT(4 * 1024 * 1024);
    struct stat st;

    if (path == NULL || stat(path, &st) != 0 || !slurp("/proc/locks", &locks))
        return false;
    for (char *line = locks.p; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n'), mode[16], to[32];
        unsigned dev_major, dev_minor;
        unsigned long long inode;
        long pid, from;

        if (end != NULL)
            *end = '\0';
        /* A waiting lock has "->" after its number and does not match. Some file systems show
         * another device number in stat() than in /proc/locks, so the inode decides. */
        if (sscanf(line, "%*s POSIX %*s %15s %ld %x:%x:%llu %ld %31s", mode, &pid, &dev_major, &dev_minor, &inode,
                   &from, to) == 7 &&
            inode == (unsigned long long)st.st_ino && strcmp(mode, "WRITE") == 0 && pid > 0) {
            long until = 0;

            if (strcmp(to, "EOF") == 0)
                until = last;
            else if (sscanf(to, "%ld", &until) != 1)
                until = from;
            if (from <= last && until >= first) {
                name_of(pid, text, bytes);
                return true;
            }
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

bool ag_lock_holder(const struct ag_sq_store *s, char *text, size_t bytes)
{
    return holder_of(s->shm, WAL_WRITE_BYTE, WAL_WRITE_BYTE, text, bytes) ||
           holder_of(s->file, ROLLBACK_LOCK_FIRST, ROLLBACK_LOCK_LAST, text, bytes);
}

static agent_status fail_busy(struct ag_db *db, int code, agent_error *err)
{
    const struct ag_sq_store *s = db->store;
    char who[128];

    if (!ag_lock_holder(s, who, sizeof(who)))
        (void)snprintf(who, sizeof(who), "another process");
    (void)ag_fail(err, AGENT_EBUSY, code, "database '%s' is locked by %s, waited %lld ms", s->path, who,
                  (long long)s->o.busy_timeout_ms);
    ag_hint(err, "let it end its transaction, or end it, and try again");
    return AGENT_EBUSY;
}

static agent_status fail_storage(agent_error *err, int code, const char *path, const char *what, const char *message,
                                 const char *hint)
{
    (void)ag_fail(err, AGENT_ESTORAGE, code, "database '%s': %s: %s", path, what, message);
    if (hint != NULL)
        ag_hint(err, "%s", hint);
    return AGENT_ESTORAGE;
}

agent_status ag_db_fail_code(struct ag_db *db, int code, const char *message, agent_error *err)
{
    const char *path = db->store->path;
    int system = db->db == NULL ? 0 : sqlite3_system_errno(db->db);
    char text[256];

    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return ag_fail(err, AGENT_ENOMEM, code, "database '%s': out of memory", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fail_busy(db, code, err);
    case SQLITE_TOOBIG:
        return ag_fail(err, AGENT_ETOOBIG, code, "database '%s': a value is over SQLite's limit of 1 GB", path);
    case SQLITE_INTERRUPT:
        return ag_fail(err, AGENT_ECANCELLED, code, "database '%s': interrupted", path);
    case SQLITE_FULL:
        return fail_storage(err, code, path, "no space left", message,
                            "free space on its file system (deleting rows frees none); nothing of this was written");
    case SQLITE_CORRUPT:
        return fail_storage(err, code, path, "the file is damaged", message,
                            "look with `agentctl db check`, then restore a backup");
    case SQLITE_NOTADB:
        return fail_storage(err, code, path, "not a database", message,
                            "name another file with --db; this one is left as it is");
    case SQLITE_READONLY:
        return fail_storage(err, code, path, "not writable", message,
                            "check the permissions of the file and of its folder");
    case SQLITE_CANTOPEN:
        (void)snprintf(text, sizeof(text), "%s", system != 0 ? strerror(system) : message);
        return fail_storage(err, code, path, "cannot be opened", text,
                            "check the permissions of the file and of its folder");
    case SQLITE_IOERR:
        (void)snprintf(text, sizeof(text), "%s%s%s", message, system != 0 ? ": " : "",
                       system != 0 ? strerror(system) : "");
        return fail_storage(err, code, path, "input/output failed", text,
                            system == EFBIG || system == ENOSPC || system == EDQUOT
                                ? "free space, or raise the limit on file size or quota"
                                : "look at the disk and the system log, then open the file again");
    default:
        return fail_storage(err, code, path, sqlite3_errstr(code), message, NULL);
    }
}

agent_status ag_db_fail(struct ag_db *db, agent_error *err)
{
    return ag_db_fail_code(db, sqlite3_extended_errcode(db->db), sqlite3_errmsg(db->db), err);
}
