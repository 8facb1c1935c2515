/*
 * Rows of the views. One row of the table below is one view: which filter field is which of its
 * columns, and by what it is ordered. The SQL is put together of these constant pieces; values are
 * bound. Order is the primary key's wherever a view has one, forwards or backwards, so a limit
 * stops the walk: a listing costs what it shows, whatever the file holds.
 */
#include <stdio.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

/* Terms of a run, or a session, that the primary key can answer: ?N is the id. */
#define RUN_RANGE "id BETWEEN %s << 12 AND (%s << 12 | 4095)"

static const struct view_def {
    const char *name;
    const char *id;          /* what it is ordered by */
    const char *agent;       /* columns, NULL: the view has none */
    const char *session_id;
    const char *run_id;      /* a term with %s where the value goes, or a column */
    const char *status;
    const char *tool_or_key; /* agent_filter.name */
    const char *scope;
    const char *since;       /* a time */
    const char *search;      /* a term */
} views[AGENT_VIEW_LIMIT] = {
    [AGENT_VIEW_AGENTS] = {.name = "v_agents", .id = "id", .agent = "name", .tool_or_key = "name",
                           .since = "created_at"},
    [AGENT_VIEW_SESSIONS] = {.name = "v_sessions", .id = "id", .agent = "agent", .session_id = "id = %s",
                             .tool_or_key = "name", .since = "last_at"},
    [AGENT_VIEW_MESSAGES] = {.name = "v_messages", .id = "id",
                             .session_id = "id BETWEEN %s << 24 AND (%s << 24 | 16777215)",
                             .run_id = "run_id = %s AND id BETWEEN (SELECT r.session_id << 24 FROM run r WHERE r.id = %s)"
                                       " AND (SELECT r.session_id << 24 | 16777215 FROM run r WHERE r.id = %s)",
                             .tool_or_key = "tool_name", .since = "created_at"},
    [AGENT_VIEW_RUNS] = {.name = "v_runs", .id = "id", .agent = "agent",
                         .session_id = "id IN (SELECT m.run_id FROM message m"
                                       " WHERE m.id BETWEEN %s << 24 AND (%s << 24 | 16777215)"
                                       " UNION SELECT r.id FROM run r WHERE r.session_id = %s AND r.input_seq IS NULL)",
                         .run_id = "id = %s", .status = "status", .since = "queued_at"},
    [AGENT_VIEW_STEPS] = {.name = "v_steps", .id = "id", .run_id = RUN_RANGE, .status = "status",
                          .tool_or_key = "tool", .since = "started_at"},
    [AGENT_VIEW_TOOL_CALLS] = {.name = "v_tool_calls", .id = "id", .run_id = RUN_RANGE, .status = "status",
                               .tool_or_key = "tool"},
    [AGENT_VIEW_STAGE_MEMORY] = {.name = "v_stage_memory", .id = "id", .run_id = RUN_RANGE, .tool_or_key = "stage",
                                 .since = "started_at"},
    [AGENT_VIEW_MEMORY] = {.name = "v_memory", .id = "id", .agent = "agent", .run_id = "source_run_id = %s",
                           .tool_or_key = "key", .scope = "scope", .since = "updated_at",
                           .search = "id IN (SELECT rowid FROM memory_fts WHERE memory_fts MATCH %s)"},
    [AGENT_VIEW_CACHE] = {.name = "v_cache", .id = "id", .agent = "agent", .tool_or_key = "key",
                          .since = "created_at"},
    [AGENT_VIEW_TOOLS] = {.name = "v_tools", .id = "id", .tool_or_key = "name", .since = "created_at"},
    [AGENT_VIEW_LOG] = {.name = "v_log", .run_id = "run_id = %s AND " RUN_RANGE, .since = "at"},
    [AGENT_VIEW_VERSIONS] = {.name = "v_agent_versions", .id = "id", .agent = "agent", .since = "created_at"},
    [AGENT_VIEW_SAMPLES] = {.name = "v_samples", .id = "id", .run_id = RUN_RANGE, .since = "at"},
    [AGENT_VIEW_NOTICES] = {.name = "v_notices", .id = "id", .tool_or_key = "kind", .since = "at"},
};

/* A status in the text, not bound: only so may SQLite use the indexes of runs that are queued,
 * open, or did not go well. */
static const struct {
    const char *word, *term;
} run_status_terms[] = {
    {"queued", "id IN (SELECT r.id FROM run r WHERE r.status = 'queued')"},
    {"running", "id IN (SELECT r.id FROM run r WHERE r.ended_at_ms IS NULL AND r.status = 'running')"},
    {"waiting", "id IN (SELECT r.id FROM run r WHERE r.ended_at_ms IS NULL AND r.status = 'waiting')"},
    {"failed", "id IN (SELECT r.id FROM run r WHERE r.status = 'failed')"},
    {"cancelled", "id IN (SELECT r.id FROM run r WHERE r.status = 'cancelled')"},
};

enum { VALUES_MOST = 10 };

struct building {
    ag_buf sql;
    int count;
    struct {
        const char *text; /* NULL: the number */
        int64_t number;
    } values[VALUES_MOST];
};

/* Adds a term in which every "%s" is the parameter that the next value is bound to. */
static void add_term(struct building *b, const char *term)
{
    char name[16];

    ag_buf_z(&b->sql, b->count == 0 ? " WHERE " : " AND ");
    (void)snprintf(name, sizeof(name), "?%d", ++b->count);
    for (const char *at = term; *at != '\0'; at++)
        if (at[0] == '%' && at[1] == 's') {
            ag_buf_z(&b->sql, name);
            at++;
        } else {
            ag_buf_char(&b->sql, *at);
        }
}

static void add_number(struct building *b, const char *term, int64_t value)
{
    add_term(b, term);
    b->values[b->count - 1].number = value;
}

static void add_text(struct building *b, const char *term, const char *value)
{
    add_term(b, term);
    b->values[b->count - 1].text = value;
}

static void add_column(struct building *b, const char *column, const char *comparison, const char *value)
{
    char term[64];

    (void)snprintf(term, sizeof(term), "%s %s %%s", column, comparison);
    add_text(b, term, value);
}

static agent_status no_such(const struct view_def *v, const char *field, agent_error *err)
{
    return ag_fail(err, AGENT_EINVAL, 0, "%s cannot be filtered by %s", v->name + 2, field);
}

static void add_run_status(struct building *b, const char *status)
{
    for (size_t i = 0; i < sizeof(run_status_terms) / sizeof(run_status_terms[0]); i++)
        if (strcmp(status, run_status_terms[i].word) == 0) {
            char term[160];

            (void)snprintf(term, sizeof(term), "status = %%s AND %s", run_status_terms[i].term);
            add_text(b, term, status);
            return;
        }
    add_column(b, "status", "=", status);
}

static agent_status add_filters(struct building *b, const struct view_def *v, const agent_filter *f, const char *match,
                                const char *since, agent_error *err)
{
    if (f->run_id != 0) {
        if (v->run_id == NULL)
            return no_such(v, "run", err);
        add_number(b, v->run_id, f->run_id);
    }
    if (f->session_id != 0) {
        if (v->session_id == NULL)
            return no_such(v, "session", err);
        add_number(b, v->session_id, f->session_id);
    }
    if (f->agent != NULL) {
        if (v->agent == NULL)
            return no_such(v, "agent", err);
        add_column(b, v->agent, "=", f->agent);
    }
    if (f->status != NULL) {
        if (v->status == NULL)
            return no_such(v, "status", err);
        if (v == &views[AGENT_VIEW_RUNS])
            add_run_status(b, f->status);
        else
            add_column(b, v->status, "=", f->status);
    }
    if (f->name != NULL) {
        if (v->tool_or_key == NULL)
            return no_such(v, "name", err);
        add_column(b, v->tool_or_key, "=", f->name);
    }
    if (f->scope != NULL) {
        if (v->scope == NULL)
            return no_such(v, "scope", err);
        add_column(b, v->scope, "=", f->scope);
    }
    if (f->since_ms != 0) {
        if (v->since == NULL)
            return no_such(v, "time", err);
        add_column(b, v->since, ">=", since);
    }
    if (f->search != NULL) {
        if (v->search == NULL)
            return no_such(v, "search", err);
        add_text(b, v->search, match);
    }
    return AGENT_OK;
}

static void add_order(struct building *b, const struct view_def *v, const agent_filter *f, const char *match)
{
    const char *direction = f->newest_first ? " DESC" : "";

    if (match != NULL) /* best first; the match is the value bound last */
        ag_buf_printf(&b->sql, " ORDER BY (SELECT rank FROM memory_fts WHERE memory_fts MATCH ?%d AND rowid = id), id DESC",
                      b->count);
    else if (v->id != NULL)
        ag_buf_printf(&b->sql, " ORDER BY %s%s", v->id, direction);
    else
        ag_buf_printf(&b->sql, " ORDER BY run_id%s, at%s, id%s", direction, direction, direction);
    if (f->limit > 0)
        ag_buf_printf(&b->sql, " LIMIT %lld", (long long)f->limit);
}

static agent_status run_scan(ag_reader *r, const struct view_def *v, const agent_filter *f, const char *match,
                             agent_row_fn fn, void *ctx, int64_t *out_rows, agent_error *err);

struct counting {
    agent_row_fn fn;
    void *ctx;
    int64_t rows;
};

static bool count_row(void *ctx, const agent_row *row)
{
    struct counting *c = ctx;

    c->rows++;
    return c->fn(c->ctx, row);
}

static agent_status run_scan(ag_reader *r, const struct view_def *v, const agent_filter *f, const char *match,
                             agent_row_fn fn, void *ctx, int64_t *out_rows, agent_error *err)
{
    struct ag_db *db = ag_reader_db(r);
    struct building b = {.sql = AG_BUF_INIT(8192)};
    struct counting counting = {fn, ctx, 0};
    sqlite3_stmt *st = NULL;
    char since[32];
    bool stopped;
    agent_status rc;

    ag_iso8601(f->since_ms, since);
    ag_buf_printf(&b.sql, "SELECT * FROM %s", v->name);
    if ((rc = add_filters(&b, v, f, match, since, err)) == AGENT_OK) {
        add_order(&b, v, f, match);
        rc = ag_buf_status(&b.sql, "scan", err);
    }
    if (rc == AGENT_OK && sqlite3_prepare_v2(db->db, b.sql.p, -1, &st, NULL) != SQLITE_OK)
        rc = ag_wrap(err, ag_db_fail(db, err), "list %s", v->name + 2);
    for (int i = 0; i < b.count && rc == AGENT_OK; i++)
        if ((b.values[i].text != NULL ? sqlite3_bind_text(st, i + 1, b.values[i].text, -1, SQLITE_STATIC)
                                      : sqlite3_bind_int64(st, i + 1, b.values[i].number)) != SQLITE_OK)
            rc = ag_db_fail(db, err);
    if (rc == AGENT_OK)
        rc = ag_rows(db, st, count_row, &counting, &stopped, err);
    (void)sqlite3_finalize(st);
    ag_buf_drop(&b.sql);
    *out_rows = counting.rows;
    return rc;
}

agent_status ag_sq_scan(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx,
                        agent_error *err)
{
    static const agent_filter any = AGENT_FILTER_INIT;
    static const char *const joints[] = {" ", " OR "};
    ag_arena a = AG_ARENA_INIT;
    int64_t rows = 0;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    if (view < 0 || view >= AGENT_VIEW_LIMIT)
        return ag_fail(err, AGENT_EINVAL, 0, "view %d is none", (int)view);
    if (f == NULL)
        f = &any;
    if (f->search == NULL || views[view].search == NULL)
        return run_scan(r, &views[view], f, NULL, fn, ctx, &rows, err);
    for (int i = 0; i < 2 && rc == AGENT_OK && rows == 0; i++) { /* all words; else some */
        const char *match = ag_fts_query(ag_str_of(f->search), joints[i], &a);

        if (match == NULL)
            rc = ag_fail(err, AGENT_ENOMEM, 0, "search memories");
        else if (match[0] != '\0')
            rc = run_scan(r, &views[view], f, match, fn, ctx, &rows, err);
        else
            break;
    }
    ag_arena_drop(&a);
    return rc;
}
