/*
 * What the files of storage/sqlite share: the store, its connections, the unit being applied.
 *
 *     submit ─► queue ─► writer: BEGIN IMMEDIATE, apply_*.c per op, COMMIT ─► done() ─► checkpoint
 *                        connection a (read-write)                            connection b (helper)
 *     readers: a connection each (unthreaded: the first one shares a)
 *
 * Invariants, cited by number:
 *  (1) Connection a is used by one thread only: the writer's, or, unthreaded, the caller's.
 *  (2) Nothing here ever opens the database, its -wal or its -shm but SQLite: closing any
 *      descriptor of them would drop SQLite's POSIX locks. stat() is fine.
 *  (3) No checkpoint runs but under the write lock, or under SQLite's exclusive lock at the last
 *      close: versions before 3.51.3 can otherwise lose commits.
 *  (4) An owner's byte is locked before the row that names the owner is committed.
 *  (5) done() of a unit is called after its COMMIT returned and the -wal was seen to be the same.
 */
#ifndef AG_STORAGE_SQLITE_IMPL_H
#define AG_STORAGE_SQLITE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "migrations/migrate.h"
#include "storage/sqlite/stmt.h"
#include "storage/store.h"

#define AG_SEQ_MAX        (((int64_t)1 << AG_SEQ_BITS) - 1)
#define AG_STEP_LAST      (((int64_t)1 << AG_STEP_BITS) - 1)
#define AG_JOURNAL_BITS   9 /* chunks of one answer; the last one takes what comes after */
#define AG_JOURNAL_LAST   (((int64_t)1 << AG_JOURNAL_BITS) - 1)
#define AG_BIG_TEXT_BYTES 1024 /* from here on instructions and results are stored by content */

/* --- one connection (connection.c) -------------------------------------------------------------- */

struct ag_db {
    sqlite3 *db;
    struct ag_sq_store *store;
    int64_t busy_since_ns; /* of the wait that is on, or the last one */
    sqlite3_stmt *stmts[AG_STMT_COUNT];
};

enum ag_db_role { AG_DB_MAKER /* a writer that creates the file */, AG_DB_WRITER, AG_DB_CHECKPOINTER, AG_DB_READER };

agent_status ag_db_open(struct ag_sq_store *s, enum ag_db_role role, struct ag_db *db, agent_error *err);
void ag_db_close(struct ag_db *db); /* an unopened one is fine */
void ag_db_moved(struct ag_db *db); /* its struct lies elsewhere now */
/* One or more statements without rows. */
agent_status ag_db_exec(struct ag_db *db, const char *sql, agent_error *err);
/* The first column of the first row of a statement that is run once. */
agent_status ag_db_int(struct ag_db *db, const char *sql, int64_t *out, agent_error *err);
agent_status ag_db_text(struct ag_db *db, const char *sql, char *text, size_t bytes, agent_error *err);

/* The story of what just failed on this connection (fault.c). */
agent_status ag_db_fail(struct ag_db *db, agent_error *err);
agent_status ag_db_fail_code(struct ag_db *db, int code, const char *message, agent_error *err);
/* Who holds the write lock: "PID 12 (sqlite3)"; false where /proc does not tell. */
bool ag_lock_holder(const struct ag_sq_store *s, char *text, size_t bytes);

/* --- change token (token.c) ---------------------------------------------------------------------- */

struct ag_token {
    const volatile uint32_t *header; /* of the wal-index, mapped by connection a; NULL: not usable */
    _Atomic uint64_t state;          /* known counter, foreign commits before it, commit window */
    _Atomic bool broken;             /* the self-test failed: ask PRAGMA data_version */
    pthread_mutex_t lock;            /* of what follows: the fallback */
    struct ag_db *fallback;
    uint64_t fallback_value;
    int64_t fallback_at_ns;
};

void ag_token_init(struct ag_sq_store *s);
void ag_token_drop(struct ag_sq_store *s);
/* Under the write lock. Returns whether anybody else committed since the last time. */
bool ag_token_begin(struct ag_sq_store *s);
void ag_token_window(struct ag_sq_store *s, bool open); /* own COMMIT is about to run, or did not */
void ag_token_committed(struct ag_sq_store *s);
uint64_t ag_token_value(struct ag_sq_store *s);

/* --- owners (owners.c) ----------------------------------------------------------------------------- */

struct ag_owners {
    int fd;              /* of <db>-owners; -1: not open */
    _Atomic int64_t id;  /* ours; 0: none yet */
    bool committed;      /* its row is */
};

/* Ours, made if need be: byte locked, row inserted in the transaction that is on. */
agent_status ag_owner_need(struct ag_sq_store *s, ag_unit *u, int64_t *out_id);
bool ag_owner_alive(struct ag_sq_store *s, int64_t id); /* 0 and NULL are not */
/* Dead owners' rows, oldest first, at most `most`; those whose runs were given back are not among them. */
agent_status ag_owners_dead(struct ag_sq_store *s, struct ag_db *db, int64_t *ids, int most, int *out_count,
                            agent_error *err);
/* Before the first run is made or taken: whether the file is a copy, and what becomes of its open runs (home.c). */
agent_status ag_home_settle(struct ag_sq_store *s, ag_unit *u);
void ag_owner_settle(struct ag_sq_store *s, bool committed); /* the transaction ended */
bool ag_owner_any_other(struct ag_sq_store *s);
void ag_owner_drop(struct ag_sq_store *s);
/* Opens <db>-owners, mode 0600, making it if need be. */
agent_status ag_owners_open(struct ag_sq_store *s, agent_error *err);

/* --- what the writer knows without asking (known.c) ------------------------------------------------ */

enum { AG_KNOWN_AGENTS = 16, AG_KNOWN_RUNS = 2048, AG_KNOWN_COUNTS = 8 };
enum ag_queue_known { AG_QUEUE_UNKNOWN = 0, AG_QUEUE_EMPTY, AG_QUEUE_SOME };

struct ag_known {
    struct ag_known_agent {
        char name[72];
        size_t name_bytes; /* 0: none */
        int64_t id, version_id;
    } agents[AG_KNOWN_AGENTS];
    struct ag_known_run { /* running, ours */
        int64_t run_id;
        uint32_t age; /* other than the known's: forgotten */
        int attempt;
        int stages; /* rows of table stage; -1: not known */
    } runs[AG_KNOWN_RUNS];
    uint32_t age;
    struct ag_known_count { /* of runs that were made in this transaction */
        int64_t agent_id, runs, sessions, last_run_at_ms, last_session_id;
    } counts[AG_KNOWN_COUNTS];
    int count_count;
    enum ag_queue_known queue; /* of this transaction: whether any run is queued, held or not */
};

void ag_known_forget(struct ag_sq_store *s);
bool ag_known_agent(struct ag_sq_store *s, struct ag_str name, int64_t *out_id, int64_t *out_version_id);
void ag_known_agent_put(struct ag_sq_store *s, struct ag_str name, int64_t id, int64_t version_id);
void ag_known_forget_rows(struct ag_sq_store *s); /* all but the counts that wait, and the ids that were given */
bool ag_known_held(struct ag_sq_store *s, int64_t run_id, int attempt);
void ag_known_hold(struct ag_sq_store *s, int64_t run_id, int attempt, int stages);
void ag_known_let_go(struct ag_sq_store *s, int64_t run_id);
int ag_known_next_stage(struct ag_sq_store *s, int64_t run_id); /* the number of its next row; 0: not known */
agent_status ag_known_count_run(struct ag_sq_store *s, const ag_unit *u, int64_t agent_id, bool new_session,
                                int64_t session_id, agent_error *err);
agent_status ag_known_write_counts(struct ag_sq_store *s, agent_error *err);
agent_status ag_known_queue(struct ag_sq_store *s, bool *out_any, agent_error *err);

/* --- the store ---------------------------------------------------------------------------------------- */

/* Up to where the log of changes was told (read_cache.c); one caller at a time. */
struct ag_changes {
    int64_t id, mark, schema_version;
};

struct ag_sq_store {
    ag_store base;
    struct ag_store_options o;
    char *path;        /* as given, for messages */
    char *open_path;   /* the same, never taken for a URI or ":memory:" */
    char *file;        /* resolved, as SQLite names it */
    char *wal, *shm, *owners_path;
    bool inspect, network, immutable;
    int file_version;  /* user_version where it is newer than ours; else 0 */
    struct ag_db a, b;
    struct ag_db *spare; /* opened by open() for the first reader */
    struct ag_token token;
    struct ag_owners owners;
    bool is_ours; /* opened for writing, its header and schema are ours */
    struct ag_changes changes;

    pthread_mutex_t lock; /* of the queue */
    pthread_cond_t wake;
    ag_unit *head, **tail;         /* guarded by lock */
    size_t queued;                 /* guarded by lock */
    size_t urgent;                 /* guarded by lock; queued units that are not lazy */
    int64_t lazy_since_ns;         /* guarded by lock */
    bool stopping;                 /* guarded by lock */
    bool has_thread;
    pthread_t thread;

    /* The writer's alone. */
    _Atomic bool poisoned;
    agent_error poison;            /* set before poisoned, never changed */
    bool floors_known;
    int64_t run_floor, session_floor; /* ids up to here were given out; the next is the next */
    struct ag_known known;
    bool home_known;               /* the file says that it lives where it is */
    bool journalled;               /* a chunk was written by us: steps have something to drop */
    int wal_pages;                 /* after the last commit, by the WAL hook */
    int checkpoint_at_pages;       /* not before so many */
    dev_t wal_dev;
    ino_t wal_ino;                 /* 0: not looked at yet */
    dev_t file_dev;                /* of the file as it was opened */
    ino_t file_ino;                /* 0: not looked at */
};

struct ag_sq_reader {
    ag_reader base;
    struct ag_db own, *db; /* own, or the store's a */
};

static inline struct ag_sq_store *ag_sq(ag_store *s)
{
    return (struct ag_sq_store *)s;
}

static inline struct ag_db *ag_reader_db(ag_reader *r)
{
    return ((struct ag_sq_reader *)r)->db;
}

/* --- writer (writer.c), checkpoint (checkpoint.c) -------------------------------------------------------- */

void ag_writer_init(struct ag_sq_store *s);
agent_status ag_writer_start(struct ag_sq_store *s, agent_error *err);
void ag_writer_stop(struct ag_sq_store *s); /* commits what is queued */
void ag_writer_drop(struct ag_sq_store *s);
bool ag_sq_submit(ag_store *s, ag_unit *unit);
void ag_sq_flush(ag_store *s);

/* After the acks of a batch. */
void ag_checkpoint_due(struct ag_sq_store *s, bool idle);
/* Before connection a closes: the last owner leaves a file that is complete without its -wal. */
void ag_checkpoint_at_close(struct ag_sq_store *s);
/* Everything into the database file, as far as readers let it. */
agent_status ag_checkpoint(struct ag_sq_store *s, bool *out_complete, agent_error *err);
/* The -wal is the one we write to; else nothing may be acknowledged any more. */
agent_status ag_wal_same(struct ag_sq_store *s, agent_error *err);
/* From here on every unit fails with this, until the file is opened again. */
void ag_sq_poison(struct ag_sq_store *s, const agent_error *why);
/* Whether after this extended code nothing that was written can be trusted to be there. */
bool ag_is_fatal(int code);

/* --- operations (apply_*.c): inside the write transaction; the story goes to u->error ------------------ */

agent_status ag_apply_unit(struct ag_sq_store *s, ag_unit *u);

agent_status ag_apply_agent_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_agent_put *op);
agent_status ag_apply_agent_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_name *op);
agent_status ag_apply_session_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_session_rm *op);
agent_status ag_apply_memory_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_memory_put *op);
agent_status ag_apply_memory_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_memory_rm *op);
agent_status ag_apply_tool_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_tool_put *op);
agent_status ag_apply_tool_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_name *op);
agent_status ag_apply_run_create(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_create *op);
agent_status ag_apply_run_claim(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_claim *op);
agent_status ag_apply_run_cancel(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_cancel *op);
agent_status ag_apply_run_decide(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_decide *op);
agent_status ag_apply_run_finish(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_finish *op);
agent_status ag_apply_step_begin(struct ag_sq_store *s, ag_unit *u, struct ag_op_step_begin *op);
agent_status ag_apply_step_end(struct ag_sq_store *s, ag_unit *u, struct ag_op_step_end *op);
agent_status ag_apply_message(struct ag_sq_store *s, ag_unit *u, struct ag_op_message *op);
agent_status ag_apply_call_intent(struct ag_sq_store *s, ag_unit *u, struct ag_op_call_intent *op);
agent_status ag_apply_call_end(struct ag_sq_store *s, ag_unit *u, struct ag_op_call_end *op);
agent_status ag_apply_live(struct ag_sq_store *s, ag_unit *u, const struct ag_op_live *op);
agent_status ag_apply_notice(struct ag_sq_store *s, ag_unit *u, const struct ag_op_notice *op);
agent_status ag_apply_stages(struct ag_sq_store *s, ag_unit *u, struct ag_op_stages *op);
agent_status ag_apply_journal(struct ag_sq_store *s, ag_unit *u, struct ag_op_journal *op);
agent_status ag_apply_cache_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_put *op);
agent_status ag_apply_cache_hits(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_hits *op);
agent_status ag_apply_cache_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_rm *op);
agent_status ag_apply_cache_lease(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_lease *op);
agent_status ag_apply_setting(struct ag_sq_store *s, ag_unit *u, const struct ag_op_setting *op);
agent_status ag_apply_cache_resize(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_resize *op);

/* A run as the operations see it. */
struct ag_run_row {
    int64_t id, agent_id, version_id, session_id, owner_id;
    enum ag_run_status status;
    bool ended;
    int attempt, priority;
    int64_t input_seq, queued_at_ms, started_at_ms, deadline_at_ms;
};
/* AGENT_ENOTFOUND: "run 7" */
agent_status ag_run_row(struct ag_sq_store *s, ag_unit *u, int64_t run_id, struct ag_run_row *out);
/* Ends a run from outside: open steps and calls are closed, each call gets its message. */
agent_status ag_run_close(struct ag_sq_store *s, ag_unit *u, const struct ag_run_row *run, enum ag_run_status status,
                          agent_status error_status, const char *why);
/* Closes the open steps, drops their journal, and answers the open calls, appending their messages. */
agent_status ag_run_answer(struct ag_sq_store *s, ag_unit *u, int64_t run_id, int64_t session_id, int64_t input_seq,
                           enum ag_step_status steps, struct ag_str why);
/* The queue (apply_queue.c): the session's first open run, where it is queued and nobody holds it, may be
 * taken from now on. *out_next, which may be NULL: that run, held or not; 0: it is not queued. */
agent_status ag_session_ready(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t *out_next);
/* What dead owners had may be taken; only those of `ids`. */
agent_status ag_owners_reap(struct ag_sq_store *s, ag_unit *u, const int64_t *ids, int count);
agent_status ag_apply_claim_next(struct ag_sq_store *s, ag_unit *u, struct ag_op_claim_next *op);
agent_status ag_session_last_seq(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t *out);
agent_status ag_agent_id(struct ag_sq_store *s, ag_unit *u, struct ag_str name, int64_t *out_id,
                         int64_t *out_version_id);
/* `DELETE … WHERE id BETWEEN low AND high` */
agent_status ag_delete_range(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t low, int64_t high);
agent_status ag_stage_write(struct ag_sq_store *s, ag_unit *u, int64_t run_id, const struct ag_stage_row *rows,
                            size_t count);
agent_status ag_message_insert(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t seq, int64_t run_id,
                               enum ag_role role, struct ag_str body, struct ag_str calls, struct ag_str extra,
                               int64_t call_row);

/* Long texts (text.c): one of the two outs is set, the text itself or its row. */
agent_status ag_text_put(struct ag_sq_store *s, struct ag_str text, struct ag_str *out_inline, int64_t *out_id,
                         agent_error *err);

/* --- reading (read_*.c, scan.c, sql.c) --------------------------------------------------------------------- */

agent_status ag_sq_agent(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a, struct ag_agent_rec *out,
                         agent_error *err);
agent_status ag_sq_tail(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages, size_t max_bytes,
                        ag_arena *a, struct ag_message_list *out, agent_error *err);
agent_status ag_sq_messages(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a,
                            struct ag_message_list *out, agent_error *err);
agent_status ag_sq_memories(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes, ag_arena *a,
                            struct ag_memory_list *out, agent_error *err);
agent_status ag_sq_memory_search(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count, ag_arena *a,
                                 struct ag_memory_list *out, agent_error *err);
agent_status ag_sq_tool(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out, agent_error *err);
agent_status ag_sq_run(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out, agent_error *err);
agent_status ag_sq_session_find(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id,
                                agent_error *err);
agent_status ag_sq_cache_get(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a,
                             struct ag_cache_row *out, agent_error *err);
agent_status ag_sq_cache_totals(ag_reader *r, struct ag_cache_totals *out, agent_error *err);
agent_status ag_sq_changes(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained, agent_error *err);
/* Before connection a has a thread: from here on ag_sq_changes() tells what changes. */
agent_status ag_changes_begin(struct ag_sq_store *s, agent_error *err);
agent_status ag_sq_settings(ag_reader *r, void (*fn)(void *ctx, struct ag_str name, int64_t value), void *ctx,
                            agent_error *err);
agent_status ag_sq_cancels(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx, agent_error *err);
agent_status ag_sq_queue(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err);
uint64_t ag_sq_version(ag_reader *r);
agent_status ag_sq_scan(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx,
                        agent_error *err);
agent_status ag_sq_sql(ag_reader *r, const char *sql, agent_row_fn fn, void *ctx, agent_error *err);

/* Hands the rows of a statement to `fn`, until it says stop (row.c). */
agent_status ag_rows(struct ag_db *db, sqlite3_stmt *st, agent_row_fn fn, void *ctx, bool *out_stopped,
                     agent_error *err);
/* A full-text query of the words of a text, joined by " AND " or " OR "; NULL: it has no words. */
char *ag_fts_query(struct ag_str text, const char *joint, ag_arena *a);
/* Only agent_sql() works on a file of a newer schema. */
agent_status ag_reader_schema(ag_reader *r, agent_error *err);

/* --- the file (files.c, dbadmin.c, check.c) --------------------------------------------------------------- */

/* Whether the path can be opened as asked, with the story of why not. Sets network, immutable. */
agent_status ag_file_look(struct ag_sq_store *s, bool *out_exists, agent_error *err);
const char *ag_network_fs_name(long magic); /* NULL: not one of them */
/* "file:/escaped/path?parameter=value"; given, free with ag_free(); NULL: out of memory. */
char *ag_file_uri(const char *path, const char *parameter, const char *value);

agent_status ag_sq_backup(ag_store *s, const char *to, agent_error *err);
agent_status ag_sq_check(ag_store *s, void (*line)(void *, const char *), void *ctx, agent_error *err);
agent_status ag_sq_facts(ag_store *s, void (*fact)(void *, const char *, const char *), void *ctx, agent_error *err);

#endif
