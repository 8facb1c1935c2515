/*
 * Every statement the store runs, by name; their texts stand in stmt.c. A handle belongs to one
 * connection (struct ag_db) and is prepared at its first use, then kept.
 *
 *     AG_AUTO(ag_query) q = ag_query(db, AG_STMT_STEP_BEGIN);
 *     ag_query_int(&q, id);
 *     ag_query_word(&q, "running");
 *     return ag_query_run(&q, err);
 *
 * A cursor remembers its first failure (prepare or bind) and the step reports it; so nothing is
 * stored as NULL because a bind was refused. Leaving the scope resets the statement: no read
 * transaction outlives its function.
 */
#ifndef AG_STORAGE_SQLITE_STMT_H
#define AG_STORAGE_SQLITE_STMT_H

#include <sqlite3.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/base/str.h"

enum ag_stmt {
    AG_STMT_BEGIN_WRITE, AG_STMT_BEGIN_READ, AG_STMT_COMMIT, AG_STMT_ROLLBACK,
    AG_STMT_SAVEPOINT, AG_STMT_SAVEPOINT_UNDO, AG_STMT_SAVEPOINT_END,
    AG_STMT_FLOORS, AG_STMT_FLOOR_PUT,
    AG_STMT_OWNER_INSERT, AG_STMT_OWNER_NEXT, AG_STMT_OWNER_LIST, AG_STMT_OWNER_END, AG_STMT_OWNER_FORGET,
    AG_STMT_TEXT_INSERT, AG_STMT_TEXT_FIND, AG_STMT_TEXT_DELETE_OF_CALLS, AG_STMT_TEXT_DELETE_OF_AGENT,
    AG_STMT_AGENT_FIND, AG_STMT_AGENT_BY_ID, AG_STMT_AGENT_INSERT, AG_STMT_AGENT_NEWEST, AG_STMT_AGENT_SET_VERSION,
    AG_STMT_AGENT_COUNT_RUN, AG_STMT_AGENT_DELETE, AG_STMT_AGENT_UNCOUNT,
    AG_STMT_VERSION_INSERT, AG_STMT_VERSION_READ, AG_STMT_VERSION_DELETE_OF_AGENT,
    AG_STMT_SESSION_INSERT, AG_STMT_SESSION_BY_NAME, AG_STMT_SESSION_BY_ID, AG_STMT_SESSION_LATEST,
    AG_STMT_SESSION_FINISH, AG_STMT_SESSION_FINISH_AT, AG_STMT_SESSION_DELETE, AG_STMT_SESSION_DELETE_OF_AGENT,
    AG_STMT_SESSION_LAST_SEQ,
    AG_STMT_MESSAGE_INSERT, AG_STMT_MESSAGE_WALK, AG_STMT_MESSAGE_LIST, AG_STMT_MESSAGE_DELETE_RANGE,
    AG_STMT_MESSAGE_NEWEST_CALLS, AG_STMT_MESSAGE_DELETE_OF_AGENT,
    AG_STMT_RUN_INSERT, AG_STMT_RUN_BY_KEY, AG_STMT_RUN_OPEN, AG_STMT_RUN_READ, AG_STMT_RUN_CLAIM, AG_STMT_RUN_FENCE,
    AG_STMT_RUN_FINISH, AG_STMT_RUN_CLOSE, AG_STMT_RUN_ASK_CANCEL,
    AG_STMT_QUEUE_CLASS, AG_STMT_QUEUE_ANY, AG_STMT_QUEUE_UNHELD, AG_STMT_QUEUED, AG_STMT_QUEUED_ONE, AG_STMT_QUEUE_MANY, AG_STMT_QUEUE_HELD,
    AG_STMT_RUN_READY, AG_STMT_RUN_UNREADY, AG_STMT_RUN_ORPHANED, AG_STMT_CLAIM_SAVE, AG_STMT_CLAIM_UNDO, AG_STMT_CLAIM_KEEP,
    AG_STMT_DATA_VERSION, AG_STMT_HOME, AG_STMT_HOME_PUT, AG_STMT_RUN_PUT_ASIDE,
    AG_STMT_RUN_REQUEUE, AG_STMT_RUN_CANCELS, AG_STMT_RUN_LIVE_OF_AGENT, AG_STMT_RUN_OF_AGENT, AG_STMT_RUN_OF_SESSION,
    AG_STMT_QUEUE_ANY_STATUS, AG_STMT_RUN_DELETE, AG_STMT_RUN_DELETE_OF_AGENT, AG_STMT_RUN_FULL, AG_STMT_MAX_IDS,
    AG_STMT_STEP_BEGIN, AG_STMT_STEP_END, AG_STMT_STEP_OPEN, AG_STMT_STEP_CUT, AG_STMT_STEP_TOKENS, AG_STMT_STEP_DELETE_RANGE,
    AG_STMT_CALL_INTENT, AG_STMT_CALL_END, AG_STMT_CALL_SET_RESULT, AG_STMT_CALL_ORPHANED, AG_STMT_CALL_REOPENED,
    AG_STMT_CALL_UNKNOWN, AG_STMT_CALL_DECIDE, AG_STMT_CALL_UNANSWERED, AG_STMT_CALL_CLOSE, AG_STMT_CALL_OF_STEP,
    AG_STMT_CALL_NEVER_BEGUN, AG_STMT_CALL_OPEN, AG_STMT_CALL_DELETE_RANGE, AG_STMT_CALL_LAST,
    AG_STMT_STAGE_APPEND, AG_STMT_STAGE_INSERT, AG_STMT_STAGE_DELETE_RANGE, AG_STMT_SAMPLE_APPEND, AG_STMT_SAMPLE_DELETE_RANGE,
    AG_STMT_JOURNAL_APPEND, AG_STMT_JOURNAL_DELETE_RANGE, AG_STMT_JOURNAL_ANY,
    AG_STMT_MEMORY_PUT, AG_STMT_MEMORY_NEXT, AG_STMT_MEMORY_KEY_TAKEN, AG_STMT_MEMORY_DELETE,
    AG_STMT_MEMORY_DELETE_OF_AGENT, AG_STMT_MEMORY_NEWEST, AG_STMT_MEMORY_SEARCH,
    AG_STMT_TOOL_INSERT, AG_STMT_TOOL_PUT, AG_STMT_TOOL_DELETE, AG_STMT_TOOL_READ,
    AG_STMT_CACHE_DELETE_OF_AGENT,
    AG_STMT_LIVE_PUT, AG_STMT_NOTICE_PUT,
    AG_STMT_SETTING_PUT, AG_STMT_SETTING_DELETE, AG_STMT_SETTING_ALL,
    AG_STMT_CACHE_META, AG_STMT_CACHE_META_PUT, AG_STMT_CACHE_SUM, AG_STMT_CACHE_INSERT, AG_STMT_CACHE_DELETE,
    AG_STMT_CACHE_DELETE_RANGE,
    AG_STMT_CACHE_DELETE_ID, AG_STMT_CACHE_CLEAR, AG_STMT_CACHE_EXPIRED, AG_STMT_CACHE_LOWEST, AG_STMT_CACHE_HIT,
    AG_STMT_CACHE_READ, AG_STMT_CACHE_TOTALS,
    AG_STMT_LEASE_READ, AG_STMT_LEASE_PUT, AG_STMT_LEASE_DELETE, AG_STMT_LEASE_FORGET,
    AG_STMT_CHANGE_MARK, AG_STMT_CHANGE_LIST, AG_STMT_CHANGE_LAST, AG_STMT_SCHEMA_VERSION,
    AG_STMT_COUNT
};

/* The text of a statement and what it says about itself; tests prepare each and compare. */
struct ag_stmt_def {
    const char *sql;
    int binds;
    bool readonly;
};
extern const struct ag_stmt_def ag_stmt_defs[AG_STMT_COUNT];

struct ag_db; /* a connection: storage/sqlite/impl.h */

typedef struct ag_query {
    struct ag_db *db;
    sqlite3_stmt *st; /* NULL: it could not be prepared */
    enum ag_stmt id;
    int bound;
    int rc; /* first failure of SQLite's */
} ag_query;

#define AG_QUERY_INIT ((ag_query){.st = NULL})

ag_query ag_query_of(struct ag_db *db, enum ag_stmt id);
#define ag_query(db, id) ag_query_of(db, id)
void ag_query_drop(ag_query *q);

/* Parameters in order. Texts are borrowed until the cursor is dropped. */
void ag_query_int(ag_query *q, int64_t value);
void ag_query_id(ag_query *q, int64_t value);      /* 0 is NULL */
void ag_query_known(ag_query *q, int64_t value);   /* -1 is NULL */
void ag_query_str(ag_query *q, struct ag_str s);   /* absent is NULL */
void ag_query_word(ag_query *q, const char *word); /* NULL is NULL; must outlive the cursor */
void ag_query_blob(ag_query *q, const void *p, size_t n);

/* To the next row; *out_row tells whether there is one. */
agent_status ag_query_row(ag_query *q, bool *out_row, agent_error *err);
/* To the end; rows are passed over. */
agent_status ag_query_run(ag_query *q, agent_error *err);

/* Columns of the row; texts are valid until the next row. */
static inline int64_t ag_col_int(const ag_query *q, int i)
{
    return sqlite3_column_int64(q->st, i);
}

struct ag_str ag_col_str(const ag_query *q, int i); /* NULL is absent */
int64_t ag_col_known(const ag_query *q, int i);     /* NULL is -1 */

#endif
