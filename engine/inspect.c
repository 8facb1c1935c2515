/* Reading what is kept, and looking after the file. */
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"

/* --- rows --------------------------------------------------------------------------------------------- */

static bool in_row(const agent_row *row, int column)
{
    return row != NULL && column >= 0 && column < row->count;
}

int agent_row_count(const agent_row *row)
{
    return row->count;
}

const char *agent_row_name(const agent_row *row, int column)
{
    return in_row(row, column) ? row->names[column] : NULL;
}

enum agent_value_type agent_row_type(const agent_row *row, int column)
{
    return in_row(row, column) ? row->values[column].type : AGENT_VALUE_NULL;
}

int64_t agent_row_int(const agent_row *row, int column)
{
    if (!in_row(row, column))
        return 0;
    if (row->values[column].type == AGENT_VALUE_REAL)
        return (int64_t)row->values[column].r;
    return row->values[column].type == AGENT_VALUE_INT ? row->values[column].i : 0;
}

double agent_row_real(const agent_row *row, int column)
{
    if (!in_row(row, column))
        return 0;
    if (row->values[column].type == AGENT_VALUE_INT)
        return (double)row->values[column].i;
    return row->values[column].type == AGENT_VALUE_REAL ? row->values[column].r : 0;
}

const char *agent_row_text(const agent_row *row, int column, size_t *out_bytes)
{
    enum agent_value_type type = agent_row_type(row, column);

    if (type != AGENT_VALUE_TEXT && type != AGENT_VALUE_BLOB)
        return NULL;
    if (out_bytes != NULL)
        *out_bytes = row->values[column].text.n;
    return row->values[column].text.p;
}

int agent_row_find(const agent_row *row, const char *name)
{
    for (int i = 0; i < row->count; i++)
        if (strcmp(row->names[i], name) == 0)
            return i;
    return -1;
}

/* --- scans ---------------------------------------------------------------------------------------------- */

static struct ag_cell text_cell(const char *text)
{
    struct ag_cell cell = {.type = text != NULL ? AGENT_VALUE_TEXT : AGENT_VALUE_NULL, .text = ag_str_of(text)};

    return cell;
}

/* Builtin tools and the host's are no rows of the file; they come before those that are. */
static bool scan_own_tools(agent_engine *e, const agent_filter *f, agent_row_fn fn, void *ctx)
{
    static const char *const names[] = {"name", "kind", "description", "effect", "timeout_ms", "argv", "schema",
                                        "created_at"};
    bool go_on = true;

    for (size_t i = 0; i < ag_builtin_count && go_on; i++) {
        const struct ag_builtin *b = &ag_builtins[i];
        struct ag_cell cells[8] = {text_cell(b->name), text_cell("builtin"), text_cell(b->description),
                                   text_cell(ag_effect_name(b->effect)), {.type = AGENT_VALUE_NULL}, text_cell(NULL),
                                   text_cell(b->schema), text_cell(NULL)};
        agent_row row = {8, names, cells};

        if (f == NULL || f->name == NULL || strcmp(f->name, b->name) == 0)
            go_on = fn(ctx, &row);
    }
    for (const struct ag_host_tool *t = e->tools; t != NULL && go_on; t = t->next) {
        struct ag_cell cells[8] = {text_cell(t->tool.name), text_cell("host"), text_cell(t->tool.description),
                                   text_cell(ag_effect_name((enum agent_effect)t->tool.effect)),
                                   {.type = AGENT_VALUE_INT,
                                    .i = t->tool.timeout_ms > 0 ? t->tool.timeout_ms : AG_TOOL_TIMEOUT_MS},
                                   text_cell(NULL), text_cell(t->tool.schema), text_cell(NULL)};
        agent_row row = {8, names, cells};

        if (f == NULL || f->name == NULL || strcmp(f->name, t->tool.name) == 0)
            go_on = fn(ctx, &row);
    }
    return go_on;
}

agent_status agent_scan(agent_engine *e, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx,
                        agent_error *err)
{
    ag_reader *r;
    agent_status rc;

    if (e == NULL || fn == NULL || (unsigned)view >= AGENT_VIEW_LIMIT || (f != NULL && f->size < sizeof(*f)))
        return ag_fail(err, AGENT_EINVAL, 0, "scan: engine, a view, fn and a filter with its size are needed");
    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    if (view != AGENT_VIEW_TOOLS || scan_own_tools(e, f, fn, ctx))
        rc = ag_reader_scan(r, view, f, fn, ctx, err);
    ag_engine_reader_put(e);
    return rc;
}

agent_status agent_sql(agent_engine *e, const char *sql, agent_row_fn fn, void *ctx, agent_error *err)
{
    ag_reader *r;
    agent_status rc;

    if (e == NULL || sql == NULL || fn == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "sql: engine, text and fn are needed");
    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    rc = ag_reader_sql(r, sql, fn, ctx, err);
    ag_engine_reader_put(e);
    return rc;
}

/* --- the file --------------------------------------------------------------------------------------------- */

agent_status agent_db_backup(agent_engine *e, const char *to, agent_error *err)
{
    agent_status rc;

    if (e == NULL || to == NULL || to[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "backup: engine and a path are needed");
    rc = e->store->vt->backup(e->store, to, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "backup");
}

agent_status agent_db_check(agent_engine *e, void (*line)(void *ctx, const char *text), void *ctx, agent_error *err)
{
    if (e == NULL || line == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "check: engine and line are needed");
    return e->store->vt->check(e->store, line, ctx, err);
}

/* Here and now, in this process: what a larger one pays is in the rows of its runs. */
static void fact_smaps(agent_engine *e, void (*fact)(void *ctx, const char *name, const char *value), void *ctx)
{
    int64_t budget;
    struct ag_smaps smaps;
    char text[160];
    bool is_there;

    if (e->inspect)
        (void)ag_engine_read_settings(e, NULL);
    budget = ag_limit(&e->limits, AG_LIMIT_SMAPS_BUDGET_US);
    is_there = ag_sampler_smaps_now(&e->sampler, &smaps);
    if (!is_there)
        (void)snprintf(text, sizeof(text), "none: /proc/self/smaps_rollup cannot be read, so PSS figures are NULL");
    else if (budget == 0)
        (void)snprintf(text, sizeof(text), "off: smaps_budget_us is 0");
    else
        (void)snprintf(text, sizeof(text), "%s, it takes %lld us of at most %lld (smaps_budget_us)",
                       smaps.us <= budget ? "where a run begins and ends" : "seldom", (long long)smaps.us, (long long)budget);
    fact(ctx, "PSS readings", text);
}

agent_status agent_db_facts(agent_engine *e, void (*fact)(void *ctx, const char *name, const char *value), void *ctx,
                            agent_error *err)
{
    if (e == NULL || fact == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "facts: engine and fact are needed");
    fact(ctx, "memory readings", ag_sampler_rss(&e->sampler, ag_mono_ns(&e->clock)) >= 0
                                     ? "from /proc/self/statm"
                                     : "none: /proc/self/statm cannot be read, so RSS figures are NULL");
    fact_smaps(e, fact, ctx);
    return e->store->vt->facts(e->store, fact, ctx, err);
}
