/*
 * The writer: takes what is queued, commits it together, tells who waits, then checkpoints.
 *
 *        take ──► BEGIN IMMEDIATE ──► apply each unit ──► COMMIT ──► done() of each ──► checkpoint
 *         ▲            │                   │ a unit fails after it wrote
 *         │            │                   ▼
 *         │            │              ROLLBACK, then again with a SAVEPOINT per unit:
 *         │            │              the guilty is undone alone, the others commit
 *         │            │                   │ the transaction itself fails (disk full, I/O)
 *         │            ▼                   ▼
 *         │        EBUSY for all      one transaction per unit: each gets its own answer
 *         └───────────────────────────────────────────────────────────────────────────────────
 *
 * There is no timer: what arrives while a commit runs is the next batch. A batch of one gains
 * nothing and waits for nothing; at load a commit carries hundreds. Only a lazy unit (a piece of the
 * journal) waits, at most 250 ms, for one that is not.
 *
 * Unthreaded, the same batches run inside flush(), in the caller.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine/base/thread.h"
#include "storage/sqlite/impl.h"

#define BATCH_UNITS   512
#define BATCH_BYTES   (1024 * 1024)
#define LAZY_LIMIT_NS 250000000

static int64_t mono_ns(const struct ag_sq_store *s)
{
    return ag_mono_ns(s->o.clock);
}

/* --- the queue ------------------------------------------------------------------------------------ */

static size_t weight(const ag_unit *u)
{
    size_t bytes = u->bytes;

    for (const struct ag_op *op = u->first; op != NULL; op = op->next)
        if (op->kind == AG_OP_MESSAGE)
            bytes += op->message.text.n + op->message.calls.n;
        else if (op->kind == AG_OP_CALL_END)
            bytes += op->call_end.result.n;
        else if (op->kind == AG_OP_RUN_CREATE)
            bytes += op->run_create.input.n;
        else if (op->kind == AG_OP_JOURNAL)
            bytes += op->journal.text.n;
    return bytes;
}

bool ag_sq_submit(ag_store *base, ag_unit *u)
{
    struct ag_sq_store *s = ag_sq(base);
    bool first;

    if (s->inspect) {
        u->status = ag_fail(&u->error, AGENT_ESTORAGE, SQLITE_READONLY, "database '%s' was opened for reading only",
                            s->path);
        return true;
    }
    u->next = NULL;
    u->status = AGENT_OK;
    (void)pthread_mutex_lock(&s->lock);
    first = s->queued == 0 || (s->urgent == 0 && !u->lazy);
    if (u->lazy && s->queued == s->urgent)
        s->lazy_since_ns = mono_ns(s);
    *s->tail = u;
    s->tail = &u->next;
    s->queued++;
    s->urgent += !u->lazy;
    (void)pthread_mutex_unlock(&s->lock);
    if (s->has_thread && first)
        (void)pthread_cond_signal(&s->wake);
    return false;
}

/* What one transaction carries, or NULL where nothing is due; *out_wait_ns: how long not. */
static ag_unit *take(struct ag_sq_store *s, int64_t *out_wait_ns)
{
    ag_unit *first = s->head, *last = NULL;
    size_t count = 0, bytes = 0;

    *out_wait_ns = -1;
    if (first == NULL)
        return NULL;
    if (s->urgent == 0 && !s->stopping) {
        int64_t waited = mono_ns(s) - s->lazy_since_ns;

        if (waited < LAZY_LIMIT_NS) {
            *out_wait_ns = LAZY_LIMIT_NS - waited;
            return NULL;
        }
    }
    for (ag_unit *u = first; u != NULL && count < BATCH_UNITS && bytes < BATCH_BYTES; u = u->next) {
        bytes += weight(u);
        s->urgent -= !u->lazy;
        count++;
        last = u;
    }
    s->head = last->next;
    if (s->head == NULL)
        s->tail = &s->head;
    last->next = NULL;
    s->queued -= count;
    return first;
}

/* --- one transaction --------------------------------------------------------------------------------- */

static agent_status run_stmt(struct ag_sq_store *s, enum ag_stmt id, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, id);

    return ag_query_run(&q, err);
}

static agent_status read_floors(struct ag_sq_store *s, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_FLOORS);
    bool row;
    agent_status rc;

    s->run_floor = s->session_floor = 0;
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row)
        *(ag_str_is(ag_col_str(&q, 0), "run_floor") ? &s->run_floor : &s->session_floor) = ag_col_int(&q, 1);
    if (rc == AGENT_OK) {
        AG_AUTO(ag_query) newest = ag_query(&s->a, AG_STMT_MAX_IDS);

        if ((rc = ag_query_row(&newest, &row, err)) == AGENT_OK) {
            s->run_floor = ag_col_int(&newest, 0) > s->run_floor ? ag_col_int(&newest, 0) : s->run_floor;
            s->session_floor = ag_col_int(&newest, 1) > s->session_floor ? ag_col_int(&newest, 1) : s->session_floor;
        }
    }
    s->floors_known = rc == AGENT_OK;
    return rc;
}

static void roll_back(struct ag_sq_store *s)
{
    if (sqlite3_get_autocommit(s->a.db) == 0)
        (void)run_stmt(s, AG_STMT_ROLLBACK, NULL);
    ag_owner_settle(s, false);
    ag_known_forget(s);
}

static agent_status begin(struct ag_sq_store *s, agent_error *err)
{
    agent_status rc = run_stmt(s, AG_STMT_BEGIN_WRITE, err);

    if (rc != AGENT_OK)
        return rc;
    if (ag_token_begin(s))
        ag_known_forget(s);
    s->known.queue = AG_QUEUE_UNKNOWN;
    if (!s->floors_known && (rc = read_floors(s, err)) != AGENT_OK)
        roll_back(s);
    return rc;
}

/* An fsync that failed may have dropped what was to be written: nothing after it can be trusted. */
bool ag_is_fatal(int code)
{
    return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC || code == SQLITE_IOERR_SHMMAP ||
           code == SQLITE_READONLY_DBMOVED;
}

void ag_sq_poison(struct ag_sq_store *s, const agent_error *why)
{
    if (atomic_load(&s->poisoned))
        return;
    s->poison = *why;
    ag_hint(&s->poison, "close the engine and open the file again");
    atomic_store(&s->poisoned, true);
    ag_log_line(&s->o.log, AG_LOG_ERROR, "store", "no more commits: %s", s->poison.text);
}

static agent_status commit(struct ag_sq_store *s, int64_t wrote_before, agent_error *err)
{
    agent_status rc;

    if (sqlite3_total_changes64(s->a.db) == wrote_before) {
        roll_back(s); /* nothing to commit: no frame, no fsync, no count */
        return AGENT_OK;
    }
    if ((rc = ag_known_write_counts(s, err)) != AGENT_OK) {
        roll_back(s);
        return rc;
    }
    ag_token_window(s, true);
    if ((rc = run_stmt(s, AG_STMT_COMMIT, err)) == AGENT_OK) {
        ag_token_committed(s);
        ag_owner_settle(s, true);
        return ag_wal_same(s, err);
    }
    ag_token_window(s, false);
    if (ag_is_fatal(err->detail))
        ag_sq_poison(s, err);
    roll_back(s);
    return rc;
}

enum outcome { COMMITTED, GUILTY /* one unit failed after it wrote */, BROKEN /* the transaction did */ };

/* All units in one transaction. Those that fail before they wrote anything are told so and left out. */
static enum outcome all_at_once(struct ag_sq_store *s, ag_unit *first, bool alone, agent_error *err)
{
    int64_t at_start = sqlite3_total_changes64(s->a.db);

    for (ag_unit *u = first; u != NULL; u = u->next) {
        int64_t before = sqlite3_total_changes64(s->a.db);

        u->status = ag_apply_unit(s, u);
        if (u->status == AGENT_OK)
            continue;
        if (sqlite3_get_autocommit(s->a.db) != 0 || ag_is_fatal(u->error.detail)) {
            *err = u->error; /* SQLite gave up the whole transaction, or we do */
            if (ag_is_fatal(err->detail))
                ag_sq_poison(s, err);
            roll_back(s);
            return BROKEN;
        }
        if (sqlite3_total_changes64(s->a.db) != before) {
            roll_back(s);
            return alone ? COMMITTED : GUILTY;
        }
    }
    return commit(s, at_start, err) == AGENT_OK ? COMMITTED : BROKEN;
}

/* Again, each unit within its own savepoint. */
static enum outcome one_by_one(struct ag_sq_store *s, ag_unit *first, agent_error *err)
{
    int64_t at_start = sqlite3_total_changes64(s->a.db);
    agent_status rc = begin(s, err);

    for (ag_unit *u = first; u != NULL && rc == AGENT_OK; u = u->next) {
        int64_t owner = atomic_load(&s->owners.id);

        if ((rc = run_stmt(s, AG_STMT_SAVEPOINT, err)) != AGENT_OK)
            break;
        if ((u->status = ag_apply_unit(s, u)) == AGENT_OK)
            u->status = ag_known_write_counts(s, &u->error);
        if (sqlite3_get_autocommit(s->a.db) != 0) {
            *err = u->error;
            rc = u->status;
            break;
        }
        if (u->status != AGENT_OK) {
            if ((rc = run_stmt(s, AG_STMT_SAVEPOINT_UNDO, err)) != AGENT_OK)
                break;
            if (owner == 0)
                ag_owner_settle(s, false); /* its row was this unit's */
            ag_known_forget(s);
            if ((rc = read_floors(s, err)) != AGENT_OK)
                break;
        }
        rc = run_stmt(s, AG_STMT_SAVEPOINT_END, err);
    }
    if (rc != AGENT_OK) {
        roll_back(s);
        return BROKEN;
    }
    return commit(s, at_start, err) == AGENT_OK ? COMMITTED : BROKEN;
}

static void fail_all(ag_unit *first, const agent_error *err)
{
    for (ag_unit *u = first; u != NULL; u = u->next) {
        u->status = err->status;
        u->error = *err;
    }
}

/* Sets status and error of every unit of the batch. */
static void commit_batch(struct ag_sq_store *s, ag_unit *first)
{
    agent_error err = AGENT_ERROR_INIT;
    enum outcome how;

    if (atomic_load(&s->poisoned)) {
        fail_all(first, &s->poison);
        return;
    }
    if (begin(s, &err) != AGENT_OK) {
        fail_all(first, &err);
        return;
    }
    how = all_at_once(s, first, first->next == NULL, &err);
    if (how == GUILTY)
        how = one_by_one(s, first, &err);
    if (how == COMMITTED)
        return;
    if (first->next == NULL || atomic_load(&s->poisoned) || err.status == AGENT_EBUSY) {
        fail_all(first, &err);
        return;
    }
    for (ag_unit *u = first; u != NULL; u = u->next) { /* the disk is full for some, not for all */
        ag_unit *next = u->next;

        u->next = NULL;
        commit_batch(s, u);
        u->next = next;
    }
}

static void process(struct ag_sq_store *s, ag_unit *first, bool idle)
{
    int64_t now;

    commit_batch(s, first);
    now = mono_ns(s);
    while (first != NULL) {
        ag_unit *u = first;

        first = u->next; /* done() gives the unit back */
        u->next = NULL;
        u->commit_ns = now;
        u->done(u);
    }
    ag_checkpoint_due(s, idle);
}

/* --- the two ways to run it ---------------------------------------------------------------------------- */

void ag_sq_flush(ag_store *base)
{
    struct ag_sq_store *s = ag_sq(base);
    int64_t wait_ns;
    ag_unit *batch;

    if (s->has_thread || s->inspect)
        return;
    while ((batch = take(s, &wait_ns)) != NULL)
        process(s, batch, false); /* the caller is never idle: a checkpoint is time of its own */
}

static void *writer_main(void *arg)
{
    struct ag_sq_store *s = arg;
    int64_t wait_ns;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        ag_unit *batch = take(s, &wait_ns);

        if (batch != NULL) {
            bool idle = s->head == NULL;

            (void)pthread_mutex_unlock(&s->lock);
            process(s, batch, idle);
            (void)pthread_mutex_lock(&s->lock);
        } else if (s->stopping) {
            break;
        } else if (wait_ns < 0) {
            (void)pthread_cond_wait(&s->wake, &s->lock);
        } else {
            (void)ag_cond_wait_until(&s->wake, &s->lock, ag_mono_ns(&ag_clock_system) + wait_ns);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

void ag_writer_init(struct ag_sq_store *s)
{
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->token.lock, NULL);
    ag_cond_init(&s->wake);
    s->tail = &s->head;
}

agent_status ag_writer_start(struct ag_sq_store *s, agent_error *err)
{
    int why = ag_thread_start(&s->thread, writer_main, s);

    if (why != 0)
        return ag_fail(err, AGENT_ENOMEM, why, "open '%s': writer thread: %s", s->path, strerror(why));
    s->has_thread = true;
    return AGENT_OK;
}

void ag_writer_stop(struct ag_sq_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->stopping = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
    if (s->has_thread) {
        (void)pthread_join(s->thread, NULL);
        s->has_thread = false;
    } else if (s->a.db != NULL) {
        ag_sq_flush(&s->base);
    }
}

void ag_writer_drop(struct ag_sq_store *s)
{
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->token.lock);
    (void)pthread_mutex_destroy(&s->lock);
}
