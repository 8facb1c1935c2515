/*
 * From the -wal into the file, and only under the write lock.
 *
 *     a: BEGIN IMMEDIATE ──────────────────────────────► ROLLBACK
 *                          b: wal_checkpoint(PASSIVE)
 *
 * SQLite before 3.51.3 can lose commits when a checkpoint races another connection's commit that
 * starts the -wal anew. While a holds the write lock nobody commits, so there is no race; the next
 * commit then starts the -wal at its beginning again. No connection checkpoints by itself.
 *
 * When: after the acks of a batch, at 1000 pages, or at 250 when nothing is queued. A reader that
 * stands on an old page stops the copying; then we ask again only after as many pages more.
 *
 * At the last close SQLite itself checkpoints and deletes the -wal, under an exclusive lock; it is
 * allowed to when no other owner lives. Where somebody else (a shell) still has the file open, we
 * do it ourselves, so that a plain copy of the file is complete.
 */
#include <string.h>
#include <sys/stat.h>

#include "storage/sqlite/impl.h"

#define PAGES_BUSY 1000
#define PAGES_IDLE 250

/* A file of the same name that is another one: restored, renamed over. */
static bool same_file(struct ag_sq_store *s)
{
    struct stat st;

    if (stat(s->file, &st) != 0)
        return false;
    if (s->file_ino == 0) {
        s->file_ino = st.st_ino;
        s->file_dev = st.st_dev;
    }
    return st.st_ino == s->file_ino && st.st_dev == s->file_dev;
}

/* The tripwire: should any other code of this process close a descriptor of the file, SQLite's locks
 * are gone, a shell may delete the -wal under us, and commits go to a file without a name. One
 * stat() after each commit, a microsecond beside its fsync. */
agent_status ag_wal_same(struct ag_sq_store *s, agent_error *err)
{
    agent_error local = AGENT_ERROR_INIT;
    struct stat st;

    if (s->network)
        return AGENT_OK;
    if (!same_file(s)) {
        if (err == NULL)
            err = &local;
        (void)ag_fail(err, AGENT_ESTORAGE, 0, "database '%s': the file was replaced while it was open", s->path);
        ag_hint(err, "what is written would go to the old file, which has no name any more; open it again");
        ag_sq_poison(s, err);
        return AGENT_ESTORAGE;
    }
    if (stat(s->wal, &st) == 0 && (s->wal_ino == 0 || (st.st_ino == s->wal_ino && st.st_dev == s->wal_dev))) {
        s->wal_ino = st.st_ino;
        s->wal_dev = st.st_dev;
        return AGENT_OK;
    }
    if (err == NULL)
        err = &local;
    (void)ag_fail(err, AGENT_ESTORAGE, 0, "database '%s': its -wal was deleted or replaced while it was open", s->path);
    ag_hint(err, "something in this process opened and closed the file, or it was deleted by hand; open it again");
    ag_sq_poison(s, err);
    return AGENT_ESTORAGE;
}

static agent_status copy_pages(struct ag_sq_store *s, bool *out_complete, agent_error *err)
{
    int in_wal = 0, copied = 0;

    if (sqlite3_wal_checkpoint_v2(s->b.db, "main", SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied) != SQLITE_OK)
        return ag_db_fail(&s->b, err);
    *out_complete = copied >= in_wal;
    return AGENT_OK;
}

agent_status ag_checkpoint(struct ag_sq_store *s, bool *out_complete, agent_error *err)
{
    int64_t ignored;
    agent_status rc;

    *out_complete = false;
    if (s->b.db == NULL && ((rc = ag_db_open(s, AG_DB_CHECKPOINTER, &s->b, err)) != AGENT_OK ||
                            (rc = ag_db_int(&s->b, "PRAGMA user_version", &ignored, err)) != AGENT_OK ||
                            /* opens the -wal: without it there is nothing to checkpoint */
                            (s->o.durability == AGENT_DURABILITY_PROCESS &&
                             (rc = ag_db_exec(&s->b, "PRAGMA synchronous=NORMAL", err)) != AGENT_OK))) {
        ag_db_close(&s->b);
        return rc;
    }
    {
        AG_AUTO(ag_query) begin = ag_query(&s->a, AG_STMT_BEGIN_WRITE);

        if ((rc = ag_query_run(&begin, err)) != AGENT_OK)
            return rc;
    }
    if (ag_token_begin(s))
        s->floors_known = false;
    rc = copy_pages(s, out_complete, err);
    {
        AG_AUTO(ag_query) end = ag_query(&s->a, AG_STMT_ROLLBACK);

        (void)ag_query_run(&end, NULL);
    }
    return rc;
}

void ag_checkpoint_due(struct ag_sq_store *s, bool idle)
{
    agent_error err = AGENT_ERROR_INIT;
    bool complete;

    if (s->wal_pages < PAGES_IDLE) { /* the -wal began anew */
        s->checkpoint_at_pages = 0;
        return;
    }
    if (s->network || atomic_load(&s->poisoned) || s->wal_pages < s->checkpoint_at_pages ||
        (s->wal_pages < PAGES_BUSY && !idle))
        return;
    if (ag_wal_same(s, &err) != AGENT_OK)
        return;
    if (ag_checkpoint(s, &complete, &err) != AGENT_OK) {
        /* Nothing is lost, the -wal only grows; a full disk or a busy lock may pass. */
        if (ag_is_fatal(err.detail))
            ag_sq_poison(s, &err);
        ag_log_line(&s->o.log, AG_LOG_WARN, "store", "checkpoint: %s", err.text);
        complete = false;
    }
    s->checkpoint_at_pages = complete ? 0 : s->wal_pages + PAGES_BUSY;
    if (complete)
        s->wal_pages = 0;
}

void ag_checkpoint_at_close(struct ag_sq_store *s)
{
    struct stat st;
    bool complete, opened = s->b.db != NULL;

    if (s->network || atomic_load(&s->poisoned) || !s->is_ours)
        return;
    if (ag_owner_any_other(s))
        return; /* theirs to do */
    if (opened && ag_checkpoint(s, &complete, NULL) != AGENT_OK)
        return;
    ag_db_close(&s->b);
    (void)sqlite3_db_config(s->a.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    ag_db_close(&s->a);
    /* Still there, with something in it: another program has the file open. */
    if (opened || stat(s->wal, &st) != 0 || st.st_size == 0)
        return;
    if (ag_db_open(s, AG_DB_WRITER, &s->a, NULL) == AGENT_OK)
        (void)ag_checkpoint(s, &complete, NULL);
}
