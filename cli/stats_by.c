/*
 * Many runs in figures: p50, p95 and max of time and memory, by stage, agent, model or tool.
 *
 *     rows, newest first ──► what one of them counts as ──► group by name ──► series of values
 *
 * A value is of one stage (by stage), of one run (by agent, by model) or of one call (by tool). The
 * figures are exact: the percentile is a value that occurred (nearest rank).
 *
 *   (1) At most ROWS_MAX rows are taken, so memory is bounded (8 bytes a value, four values a row at
 *       most); they are the newest ones, and who asks is told that there were more.
 *   (2) What is NULL in the file is in no series. Nor is the RSS growth of what other runs had a part
 *       in: it says nothing about the one.
 *   (3) Text that people chose (names) never becomes SQL: only numbers do.
 *
 * Stages are read from their table and not through v_stage_memory: the view finds each of its columns by
 * a query of its own, which is 3 s for 600,000 stages here and 11 s there. The places in the array are the
 * view's; tests/cli/stats.sh compares the two.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/rows.h"
#include "cli/stats.h"

#define ROWS_MAX  1000000
#define STEP_BITS 12 /* ids of stages, steps and calls are run << 12 | number: said in the schema */

/* --- groups ----------------------------------------------------------------------------------------------------- */

static void add(struct series *s, int64_t v)
{
    if (v == UNKNOWN)
        return;
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 16 : s->cap + s->cap / 2;
        s->at = cli_realloc(s->at, s->cap * sizeof(*s->at));
    }
    s->at[s->count++] = v;
}

static uint64_t hash_of(const char *name, size_t n)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
    return h;
}

static void rehash(struct groups *g)
{
    free(g->slots);
    g->slot_count = g->slot_count == 0 ? 64 : 2 * g->slot_count;
    g->slots = cli_alloc(g->slot_count * sizeof(*g->slots));
    memset(g->slots, 0, g->slot_count * sizeof(*g->slots));
    for (size_t i = 0; i < g->count; i++) {
        size_t at = hash_of(g->at[i].name, strlen(g->at[i].name)) & (g->slot_count - 1);

        while (g->slots[at] != 0)
            at = (at + 1) & (g->slot_count - 1);
        g->slots[at] = (uint32_t)i + 1;
    }
}

static struct group *group_of(struct groups *g, const char *name, size_t n)
{
    size_t at;

    if (2 * g->count >= g->slot_count)
        rehash(g);
    for (at = hash_of(name, n) & (g->slot_count - 1); g->slots[at] != 0; at = (at + 1) & (g->slot_count - 1)) {
        struct group *group = &g->at[g->slots[at] - 1];

        if (strncmp(group->name, name, n) == 0 && group->name[n] == '\0')
            return group;
    }
    if (g->count == g->cap) {
        g->cap = g->cap == 0 ? 8 : 2 * g->cap;
        g->at = cli_realloc(g->at, g->cap * sizeof(*g->at));
    }
    g->slots[at] = (uint32_t)g->count + 1;
    g->at[g->count] = (struct group){.name = cli_alloc(n + 1)};
    memcpy(g->at[g->count].name, name, n);
    g->at[g->count].name[n] = '\0';
    return &g->at[g->count++];
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t rank(const struct series *s, size_t percent)
{
    return s->at[(s->count * percent + 99) / 100 - 1];
}

struct summary groups_summary(struct group *group)
{
    struct summary sum = {.count = group->count};

    for (int f = 0; f < FIGURE_COUNT; f++) {
        struct series *s = &group->series[f];

        sum.figures[f].count = (int64_t)s->count;
        sum.figures[f].p50 = sum.figures[f].p95 = sum.figures[f].max = UNKNOWN;
        if (s->count == 0)
            continue;
        qsort(s->at, s->count, sizeof(*s->at), by_value);
        sum.figures[f].p50 = rank(s, 50);
        sum.figures[f].p95 = rank(s, 95);
        sum.figures[f].max = s->at[s->count - 1];
    }
    return sum;
}

/* Stages in the order of a run's life, else what took the most time first. */
static int by_stage(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    return (int)stage_of(x->name, strlen(x->name)) - (int)stage_of(y->name, strlen(y->name));
}

static int by_time(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    if (x->total_us != y->total_us)
        return x->total_us < y->total_us ? 1 : -1;
    return strcmp(x->name, y->name);
}

void groups_drop(struct groups *g)
{
    for (size_t i = 0; i < g->count; i++) {
        free(g->at[i].name);
        for (int f = 0; f < FIGURE_COUNT; f++)
            free(g->at[i].series[f].at);
    }
    free(g->at);
    free(g->slots);
    *g = (struct groups){0};
}

/* --- one row counts as ---------------------------------------------------------------------------------------------- */

static int64_t known(const agent_row *row, int column)
{
    return agent_row_type(row, column) == AGENT_VALUE_NULL ? UNKNOWN : agent_row_int(row, column);
}

static bool is_full(struct groups *g)
{
    g->is_cut |= g->seen == ROWS_MAX;
    return g->is_cut;
}

static void count_in(struct groups *g, const char *name, size_t n, int64_t us, int64_t heap, int64_t growth, int64_t child,
                     bool is_shared)
{
    struct group *group = group_of(g, name, n);

    group->count++;
    group->total_us += us == UNKNOWN ? 0 : us;
    add(&group->series[FIGURE_TIME], us);
    add(&group->series[FIGURE_HEAP], heap);
    add(&group->series[FIGURE_GROWTH], is_shared ? UNKNOWN : growth);
    add(&group->series[FIGURE_CHILD], child);
    g->seen++;
    g->shared += is_shared;
}

static int64_t less(int64_t a, int64_t b)
{
    return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : a - b;
}

static bool take_stage(void *ctx, const agent_row *row)
{
    enum { NAME, WALL, BEFORE, AFTER, HEAP, CHILD, SHARED };
    struct groups *g = ctx;
    size_t n;
    const char *name = agent_row_text(row, NAME, &n);

    if (is_full(g))
        return false;
    if (name != NULL)
        count_in(g, name, n, known(row, WALL), known(row, HEAP), less(known(row, AFTER), known(row, BEFORE)),
                 known(row, CHILD), agent_row_int(row, SHARED) != 0);
    return true;
}

/* The stages of a run come together: the newest transaction first, in order within one. */
struct run_sum {
    struct groups *g;
    int64_t run, row; /* ids of what is being summed; 0: nothing yet */
    int64_t first_row;
    int64_t us, heap, child, before, after;
    bool is_shared;
    char name[512];
    size_t name_bytes;
};

static void end_run(struct run_sum *r)
{
    if (r->run != 0)
        count_in(r->g, r->name, r->name_bytes, r->us, r->heap, less(r->after, r->before), r->child, r->is_shared);
    r->run = 0;
}

static bool take_run_stage(void *ctx, const agent_row *row)
{
    enum { ID, NAME, RUN_US, BEFORE, AFTER, HEAP, CHILD, SHARED };
    struct run_sum *r = ctx;
    int64_t id = agent_row_int(row, ID), heap = known(row, HEAP), child = known(row, CHILD);

    if (id >> STEP_BITS != r->run) {
        size_t n;
        const char *name = agent_row_text(row, NAME, &n);

        end_run(r);
        if (is_full(r->g))
            return false;
        if (name == NULL)
            return true; /* the agent is gone, and its name with it */
        r->run = id >> STEP_BITS;
        r->first_row = id;
        r->row = 0;
        r->us = known(row, RUN_US);
        r->heap = r->child = UNKNOWN;
        r->is_shared = false;
        r->name_bytes = n < sizeof(r->name) ? n : sizeof(r->name);
        memcpy(r->name, name, r->name_bytes);
    }
    if (id != r->row)
        r->before = known(row, BEFORE); /* of the oldest transaction, in the end */
    r->row = id;
    if (id == r->first_row)
        r->after = known(row, AFTER); /* of the last stage in the newest one */
    if (heap != UNKNOWN && heap > r->heap)
        r->heap = heap;
    if (child != UNKNOWN && child > r->child)
        r->child = child;
    r->is_shared |= agent_row_int(row, SHARED) != 0;
    return true;
}

static bool take_call(void *ctx, const agent_row *row)
{
    enum { NAME, WALL, CHILD };
    struct groups *g = ctx;
    size_t n;
    const char *name = agent_row_text(row, NAME, &n);

    if (is_full(g))
        return false;
    if (name != NULL)
        count_in(g, name, n, known(row, WALL), UNKNOWN, UNKNOWN, known(row, CHILD), false);
    return true;
}

/* Heap and RSS are of a stage; they are a tool's own where the stage had one call only. */
static bool take_lone_call(void *ctx, const agent_row *row)
{
    enum { NAME, BEFORE, AFTER, HEAP, SHARED };
    struct groups *g = ctx;
    struct group *group;
    size_t n;
    const char *name = agent_row_text(row, NAME, &n);

    if (name == NULL)
        return true;
    group = group_of(g, name, n);
    add(&group->series[FIGURE_HEAP], known(row, HEAP));
    if (agent_row_int(row, SHARED) == 0)
        add(&group->series[FIGURE_GROWTH], less(known(row, AFTER), known(row, BEFORE)));
    g->shared += agent_row_int(row, SHARED) != 0;
    return group->series[FIGURE_HEAP].count < ROWS_MAX;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static bool take_id(void *ctx, const agent_row *row)
{
    *(int64_t *)ctx = agent_row_int(row, 0);
    return false;
}

/* Runs are numbered as they are queued, so those since a time are those after the newest older one:
 * only the ones that are wanted are looked at. */
static agent_status first_run(struct cli *cli, int64_t since_ms, int64_t *out, agent_error *err)
{
    char *sql = cli_format("SELECT id FROM run WHERE queued_at_ms < %lld ORDER BY id DESC LIMIT 1", (long long)since_ms);
    agent_status rc;

    *out = 0;
    rc = since_ms == 0 ? AGENT_OK : agent_sql(cli->engine, sql, take_id, out, err);
    free(sql);
    return rc;
}

/* While the user's SQL is compiled, nothing may be created, and that holds for json_each too where a
 * connection meets it first; of a view SQLite looks it up beforehand. */
#define FIRST    "SELECT 1 FROM v_stage_memory LIMIT 0; "
#define PLACE(n) "json_extract(j.value, '$[" #n "]')" /* a column of v_stage_memory */
#define STAGES   " FROM stage s CROSS JOIN json_each(s.rows) j"
#define SHARED   PLACE(12) " IS 'shared'"

static char *where(const char *id, const char *run, int64_t first, int64_t agent_id)
{
    if (agent_id == 0)
        return cli_format(" WHERE %s >= %lld", id, (long long)(first << STEP_BITS));
    return cli_format(" WHERE %s >= %lld AND %s = %lld", id, (long long)(first << STEP_BITS), run, (long long)agent_id);
}

static agent_status read_sql(struct cli *cli, char *sql, agent_row_fn fn, void *ctx, agent_error *err)
{
    agent_status rc = agent_sql(cli->engine, sql, fn, ctx, err);

    free(sql);
    return rc;
}

agent_status groups_read(struct cli *cli, enum by by, const struct span *span, struct groups *out, agent_error *err)
{
    struct groups g = {.by = by};
    struct run_sum sum = {.g = &g};
    char *of_stages, *of_calls;
    int64_t first;
    agent_status rc;

    if ((rc = first_run(cli, span->since_ms, &first, err)) != AGENT_OK)
        return rc;
    first = span->since_ms == 0 ? 0 : first + 1;
    of_stages = where("s.id", "(SELECT r.agent_id FROM run r WHERE r.id = s.id >> 12)", first, span->agent_id);
    of_calls = where("c.id", "(SELECT r.agent_id FROM run r WHERE r.id = c.id >> 12)", first, span->agent_id);
    switch (by) {
    case BY_STAGE:
        rc = read_sql(cli,
                      cli_format(FIRST "SELECT " PLACE(1) ", " PLACE(3) ", " PLACE(4) ", " PLACE(6) ", " PLACE(7) ", " PLACE(9)
                                      ", " SHARED STAGES "%s ORDER BY s.id DESC", of_stages), take_stage, &g, err);
        break;
    case BY_AGENT:
    case BY_MODEL:
        rc = read_sql(cli,
                      cli_format(FIRST "SELECT s.id, %s, r.wall_us, " PLACE(4) ", " PLACE(6) ", " PLACE(7) ", " PLACE(9) ", " SHARED
                                      " FROM stage s CROSS JOIN json_each(s.rows) j CROSS JOIN run r ON r.id = s.id >> 12"
                                      "%s ORDER BY s.id DESC",
                                      by == BY_AGENT ? "(SELECT a.name FROM agent a WHERE a.id = r.agent_id)"
                                                     : "(SELECT v.provider || ':' || v.model FROM agent_version v"
                                                       " WHERE v.id = r.agent_version_id)", of_stages),
                      take_run_stage, &sum, err);
        if (rc == AGENT_OK)
            end_run(&sum);
        break;
    case BY_TOOL:
        rc = read_sql(cli,
                      cli_format("SELECT c.tool, c.wall_us, c.child_rss_peak_bytes FROM tool_call c%s ORDER BY c.id DESC",
                                 of_calls), take_call, &g, err);
        if (rc == AGENT_OK)
            rc = read_sql(cli, cli_format(FIRST "SELECT c.tool, " PLACE(4) ", " PLACE(6) ", " PLACE(7) ", " SHARED STAGES
                                          " CROSS JOIN tool_call c ON c.id = (s.id >> 12 << 12) + " PLACE(0)
                                          "%s AND " PLACE(1) " = 'tool' AND NOT EXISTS (SELECT 1 FROM tool_call d"
                                          " WHERE d.id = c.id + 1 AND d.model_step = c.model_step) ORDER BY s.id DESC",
                                          of_stages), take_lone_call, &g, err);
        break;
    }
    free(of_stages);
    free(of_calls);
    if (rc != AGENT_OK) {
        groups_drop(&g);
        return rc;
    }
    if (g.count > 1)
        qsort(g.at, g.count, sizeof(*g.at), by == BY_STAGE ? by_stage : by_time);
    *out = g;
    return AGENT_OK;
}
