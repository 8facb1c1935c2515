/*
 * Reading what is kept: rows of the views of the file (v_agents, v_runs …), the same in C as in
 * sqlite3. Columns are found by name; a value that is unknown is AGENT_VALUE_NULL.
 */
#ifndef AGENT_ROW_H
#define AGENT_ROW_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

typedef struct agent_row agent_row;

enum agent_value_type { AGENT_VALUE_NULL, AGENT_VALUE_INT, AGENT_VALUE_REAL, AGENT_VALUE_TEXT, AGENT_VALUE_BLOB };

/* All borrow from the row, which lives as long as the callback that got it. */
AGENT_API int agent_row_count(const agent_row *row);
AGENT_API const char *agent_row_name(const agent_row *row, int column);
AGENT_API enum agent_value_type agent_row_type(const agent_row *row, int column);
AGENT_API int64_t agent_row_int(const agent_row *row, int column);            /* 0 where it is no number */
AGENT_API double agent_row_real(const agent_row *row, int column);
AGENT_API const char *agent_row_text(const agent_row *row, int column, size_t *out_bytes); /* NULL where no text or blob */
AGENT_API int agent_row_find(const agent_row *row, const char *name);         /* -1: no such column */

/** Gets one row; returns false to stop. Must not call the engine. */
typedef bool (*agent_row_fn)(void *ctx, const agent_row *row);

enum agent_view {
    AGENT_VIEW_AGENTS,
    AGENT_VIEW_SESSIONS,
    AGENT_VIEW_MESSAGES,
    AGENT_VIEW_RUNS,
    AGENT_VIEW_STEPS,
    AGENT_VIEW_TOOL_CALLS,
    AGENT_VIEW_STAGE_MEMORY,
    AGENT_VIEW_MEMORY,
    AGENT_VIEW_CACHE,
    AGENT_VIEW_TOOLS,    /* v_tools: builtin and command tools */
    AGENT_VIEW_LOG,      /* v_log: the story of a run, line by line: run_id, at, kind, text */
    AGENT_VIEW_VERSIONS, /* v_agent_versions: every version of an agent */
    AGENT_VIEW_SAMPLES,  /* v_samples: RSS in the course of a run */
    AGENT_VIEW_NOTICES,  /* v_notices: what engines did about memory by themselves */
    AGENT_VIEW_LIMIT
};

typedef struct agent_filter {
    size_t size;
    const char *agent;  /* by name; NULL: any */
    int64_t session_id; /* 0: any */
    int64_t run_id;     /* 0: any */
    const char *status; /* NULL: any */
    const char *name;   /* tool name, memory key, session name …; NULL: any */
    const char *scope;  /* of memory; NULL: any */
    const char *search; /* full text, for AGENT_VIEW_MEMORY; best first */
    int64_t since_ms;   /* unix ms; 0: any */
    int64_t limit;      /* most rows; 0: all */
    bool newest_first;  /* default: id order, oldest first; with a limit: the newest `limit` rows */
} agent_filter;

#define AGENT_FILTER_INIT { .size = sizeof(agent_filter) }

/**
 * Calls `fn` for every row of a view that the filter lets through. filter may be NULL.
 * A filter field that the view has no column for is AGENT_EINVAL.
 * Thread-safe (with workers). Blocks for reading; writers are not held up.
 */
AGENT_API agent_status agent_scan(agent_engine *engine, enum agent_view view, const agent_filter *filter,
                                  agent_row_fn fn, void *ctx, agent_error *err);

/**
 * Runs SQL that only reads, one or more statements. AGENT_EINVAL where a statement would write or
 * the store has no SQL.
 */
AGENT_API agent_status agent_sql(agent_engine *engine, const char *sql, agent_row_fn fn, void *ctx,
                                 agent_error *err);

AGENT_END_DECLS
#endif
