/*
 * agentctl stats: where a run's time and memory went, by stage; and what many runs took.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/rows.h"
#include "cli/stats.h"

#define CHART_COLUMNS 80 /* in a pipe */
#define NOTICES_MOST  10

/* --- a table that fits ---------------------------------------------------------------------------------------------- */

/* On a terminal, columns are left out until what is left fits, the least important first; in a pipe
 * all are there, with plain numbers. */
struct column {
    const char *people, *program; /* heading on a terminal (NULL: not there), and in a pipe */
    int keep;                     /* the lowest is left out first; 9: always there */
    bool is_text;
};

static const struct column stage_columns[] = {
    {"step", "step", 9, false},
    {"stage", "stage", 9, true},
    {"time", "wall_us", 9, false},
    {"commit", "commit_us", 4, false},
    {"rss", "rss_before_bytes", 5, false},
    {"rss peak", "rss_peak_bytes", 8, false},
    {"after", "rss_after_bytes", 6, false},
    {"heap peak", "heap_peak_bytes", 8, false},
    {"net", "heap_net_bytes", 7, false},
    {"tools", "child_rss_peak_bytes", 7, false},
    {"samples", "samples", 3, false},
    {"attribution", "attribution", 1, true},
    {"source", "peak_source", 2, true},
    {"heap of", "heap_includes", 0, true},
    {NULL, "pss_bytes", 0, false}, /* people get a line of their own */
    {NULL, "anon_bytes", 0, false},
    {NULL, "file_bytes", 0, false},
    {NULL, "smaps_us", 0, false},
};
#define STAGE_COLUMNS ((int)(sizeof(stage_columns) / sizeof(stage_columns[0])))

struct cells { /* rows of `columns` texts */
    char **at;
    int columns, rows;
};

static void set_cell(struct cells *cells, int row, int column, const char *mark, const char *text)
{
    cells->at[row * cells->columns + column] = cli_format("%s%s", strcmp(text, "-") == 0 ? "" : mark, text);
}

static void drop_cells(struct cells *cells)
{
    for (int i = 0; i < cells->rows * cells->columns; i++)
        free(cells->at[i]);
    free(cells->at);
}

static int width_of(const struct cells *cells, const struct column *columns, int column)
{
    int width = (int)strlen(columns[column].people);

    for (int r = 0; r < cells->rows; r++) {
        const char *text = cells->at[r * cells->columns + column];
        int w = (int)text_width(text, strlen(text));

        if (w > width)
            width = w;
    }
    return width + 2;
}

static bool is_empty(const struct cells *cells, int column)
{
    for (int r = 0; r < cells->rows; r++)
        if (strcmp(cells->at[r * cells->columns + column], "-") != 0)
            return false;
    return true;
}

static void print_cells(struct out *out, const struct cells *cells, const struct column *columns)
{
    bool *is_out = cli_alloc((size_t)cells->columns * sizeof(*is_out));
    int screen = out_columns(out), total = -2, shown = cells->columns;
    struct table table;

    for (int c = 0; c < cells->columns; c++) {
        is_out[c] = out->is_tty && (columns[c].people == NULL || (columns[c].keep < 9 && is_empty(cells, c)));
        if (is_out[c])
            shown--;
        else if (columns[c].people != NULL)
            total += width_of(cells, columns, c);
    }
    while (screen > 0 && total > screen) {
        int least = -1;

        for (int c = 0; c < cells->columns; c++)
            if (!is_out[c] && columns[c].keep < 9 && (least < 0 || columns[c].keep < columns[least].keep))
                least = c;
        if (least < 0)
            break;
        is_out[least] = true;
        total -= width_of(cells, columns, least);
        shown--;
    }
    table_init(&table, shown);
    for (int r = -1; r < cells->rows; r++)
        for (int c = 0; c < cells->columns; c++) {
            const char *text = r >= 0         ? cells->at[r * cells->columns + c]
                               : out->is_tty ? columns[c].people
                                             : columns[c].program;

            if (is_out[c])
                continue;
            table_text(&table, text, strlen(text));
            table.cells[table.count - 1].is_number = !columns[c].is_text;
        }
    table_print(&table, out, true);
    free(is_out);
}

/* --- one run ------------------------------------------------------------------------------------------------------------ */

static void fill_cells(const struct stats *s, struct cells *cells, bool is_human, bool is_ascii)
{
    *cells = (struct cells){.columns = STAGE_COLUMNS, .rows = (int)s->stage_count};
    cells->at = cli_alloc(s->stage_count * STAGE_COLUMNS * sizeof(*cells->at));
    for (int r = 0; r < cells->rows; r++) {
        const struct stats_stage *st = &s->stages[r];
        const char *mark = is_human && st->is_shared ? "~" : "";
        const int64_t bytes[] = {st->rss_before, st->rss_peak, st->rss_after, st->heap_peak, st->heap_net, st->child_peak};

        set_cell(cells, r, 0, "", amount_int(st->step).text);
        set_cell(cells, r, 1, "", stage_word(st->stage));
        set_cell(cells, r, 2, "", (is_human ? amount_us(st->wall_us, is_ascii) : amount_int(st->wall_us)).text);
        set_cell(cells, r, 3, "", (is_human ? amount_us(st->commit_us, is_ascii) : amount_int(st->commit_us)).text);
        for (int i = 0; i < 6; i++)
            set_cell(cells, r, 4 + i, i < 3 ? mark : "", (is_human ? amount_bytes(bytes[i]) : amount_int(bytes[i])).text);
        set_cell(cells, r, 10, "", amount_int(st->samples).text);
        set_cell(cells, r, 11, "", st->is_cut ? "-" : st->is_shared ? "shared" : "exclusive");
        set_cell(cells, r, 12, "", st->source[0] == '\0' ? "-" : st->source);
        set_cell(cells, r, 13, "", st->includes[0] == '\0' ? "-" : st->includes);
        set_cell(cells, r, 14, "", amount_int(st->pss).text);
        set_cell(cells, r, 15, "", amount_int(st->anon).text);
        set_cell(cells, r, 16, "", amount_int(st->file).text);
        set_cell(cells, r, 17, "", amount_int(st->smaps_us).text);
    }
}

static void print_title(struct out *out, const struct stats *s, bool is_ascii)
{
    out_fmt(out, "run %lld", (long long)s->run);
    out_text(out, "  ");
    out_foreign(out, s->agent, strlen(s->agent));
    out_fmt(out, "  %s", s->status);
    if (s->wall_us != UNKNOWN)
        out_fmt(out, "  %s after %s in the queue", amount_us(s->wall_us, is_ascii).text,
                amount_us(s->queue_us, is_ascii).text);
    if (s->model != NULL) {
        out_text(out, "  ");
        out_foreign(out, s->model, strlen(s->model));
    }
    out_text(out, "\n\n");
}

/* What the process held at the last border where that was read. */
static void print_parts(struct out *out, const struct stats *s, bool is_ascii)
{
    for (size_t i = s->stage_count; i-- > 0;) {
        const struct stats_stage *st = &s->stages[i];

        if (st->pss == UNKNOWN)
            continue;
        out_fmt(out, "\nPSS %s: %s anonymous", amount_bytes(st->pss).text, amount_bytes(st->anon).text);
        out_fmt(out, " and %s of files are resident", amount_bytes(st->file).text);
        out_fmt(out, "%s after %s; it took %s to read\n", st->is_shared ? " (~)" : "", stage_word(st->stage),
                amount_us(st->smaps_us, is_ascii).text);
        return;
    }
}

static void print_run(struct cli *cli, const struct stats *s, bool wants_chart)
{
    struct out *out = &cli->out;
    const bool is_ascii = out->is_tty && !units_has_utf8();
    struct cells cells;

    if (s->stage_count == 0) {
        cli_note(cli, "run %lld is %s: no stage of it has ended", (long long)s->run, s->status);
        return;
    }
    if (out->is_tty)
        print_title(out, s, is_ascii);
    fill_cells(s, &cells, out->is_tty, is_ascii);
    print_cells(out, &cells, stage_columns);
    drop_cells(&cells);
    if (wants_chart) {
        out_text(out, "\n");
        stats_chart(out, s, out->is_tty ? out_columns(out) : CHART_COLUMNS, !units_has_utf8());
    }
    if (out->is_tty)
        print_parts(out, s, is_ascii);
    if (out->is_tty && (s->has_shared || s->has_cut)) {
        out_text(out, "\n");
        if (s->has_shared)
            out_text(out, "~ shared: other runs were in a stage meanwhile and have a part in it\n");
        if (s->has_cut)
            out_text(out, "a stage without a time was cut off by a crash\n");
    }
}

/* The rows as the views have them. `file`: of the drawing that was written too; NULL: none. */
static int print_run_json(struct cli *cli, int64_t run, const char *kind, const char *file)
{
    static const struct {
        const char *key;
        enum agent_view view;
    } parts[] = {
        {"stages", AGENT_VIEW_STAGE_MEMORY}, {"tool_calls", AGENT_VIEW_TOOL_CALLS}, {"samples", AGENT_VIEW_SAMPLES}};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    filter.run_id = run;
    put_open(&cli->out, '{');
    rc = rows_json(cli, "run", AGENT_VIEW_RUNS, &filter, &err);
    for (size_t i = 0; rc == AGENT_OK && i < sizeof(parts) / sizeof(parts[0]); i++)
        rc = rows_json(cli, parts[i].key, parts[i].view, &filter, &err);
    if (rc != AGENT_OK) {
        cli->out.bytes = 0;
        return cli_fail(cli, &err);
    }
    if (file != NULL) {
        put_key(&cli->out, kind);
        put_str(&cli->out, file);
    }
    put_close(&cli->out, '{');
    put_line(&cli->out);
    return EXIT_OK;
}

/* --- a file ---------------------------------------------------------------------------------------------------------------- */

/* What is drawn is complete before the file is touched: a failure leaves the one that was there. */
static int write_file(struct cli *cli, const char *path, struct out *drawing)
{
    agent_error err;
    int why = 0, fd;

    if (strcmp(path, "-") == 0) {
        out_bytes(&cli->out, drawing->at, drawing->bytes);
        return EXIT_OK;
    }
    if ((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0) {
        why = errno;
    } else {
        drawing->fd = fd;
        out_flush(drawing);
        why = drawing->is_closed ? EPIPE : drawing->error;
        if (close(fd) != 0 && why == 0)
            why = errno;
    }
    if (why != 0) {
        cli_err(&err, AGENT_EIO, why, "write '%s': %s", path, strerror(why));
        return cli_fail(cli, &err);
    }
    if (!cli->json)
        cli_note(cli, "wrote '%s'", path);
    return EXIT_OK;
}

static int one_run(struct cli *cli, const struct args *args, int64_t run)
{
    const char *svg = args_value(args, "svg");
    struct stats s;
    struct out drawing = {.fd = -1, .is_held = true};
    agent_error err = AGENT_ERROR_INIT;
    agent_status status;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    if ((status = stats_load(cli, run, &s, &err)) != AGENT_OK)
        return status == AGENT_ENOTFOUND ? cli_no_run(cli, run) : cli_fail(cli, &err);
    if (svg != NULL) {
        svg_run(&drawing, &s, true);
        rc = write_file(cli, svg, &drawing);
        out_drop(&drawing);
    }
    if (rc == EXIT_OK && cli->json)
        rc = print_run_json(cli, run, "svg", svg);
    else if (rc == EXIT_OK && svg == NULL)
        print_run(cli, &s, args_has(args, "chart") || cli->out.is_tty);
    stats_drop(&s);
    return rc;
}

/* --- many runs -------------------------------------------------------------------------------------------------------------- */

static const char *const by_words[] = {[BY_STAGE] = "stage", [BY_AGENT] = "agent", [BY_MODEL] = "model", [BY_TOOL] = "tool"};
static const char *const figure_words[FIGURE_COUNT] = {
    [FIGURE_TIME] = "wall_us", [FIGURE_HEAP] = "heap_peak_bytes", [FIGURE_GROWTH] = "rss_growth_bytes",
    [FIGURE_CHILD] = "child_rss_peak_bytes",
};
static const char *const figure_titles[FIGURE_COUNT] = {
    [FIGURE_TIME] = "time", [FIGURE_HEAP] = "heap peak", [FIGURE_GROWTH] = "RSS growth", [FIGURE_CHILD] = "tool processes",
};

static void put_figure(struct out *out, int64_t v)
{
    if (v == UNKNOWN)
        put_null(out);
    else
        put_int(out, v);
}

static agent_filter notices_filter(int64_t since_ms)
{
    agent_filter filter = AGENT_FILTER_INIT;

    filter.since_ms = since_ms;
    filter.newest_first = true;
    filter.limit = NOTICES_MOST;
    return filter;
}

static int print_groups_json(struct cli *cli, struct groups *g, int64_t since_ms)
{
    struct out *out = &cli->out;
    const agent_filter filter = notices_filter(since_ms);
    agent_error err = AGENT_ERROR_INIT;

    put_open(out, '{');
    put_key(out, "by");
    put_str(out, by_words[g->by]);
    put_key(out, "groups");
    put_open(out, '[');
    for (size_t i = 0; i < g->count; i++) {
        struct summary sum = groups_summary(&g->at[i]);

        put_open(out, '{');
        put_key(out, by_words[g->by]);
        put_str(out, g->at[i].name);
        put_key(out, "count");
        put_int(out, sum.count);
        for (int f = 0; f < FIGURE_COUNT; f++) {
            put_key(out, figure_words[f]);
            put_open(out, '{');
            put_key(out, "count");
            put_int(out, sum.figures[f].count);
            put_key(out, "p50");
            put_figure(out, sum.figures[f].p50);
            put_key(out, "p95");
            put_figure(out, sum.figures[f].p95);
            put_key(out, "max");
            put_figure(out, sum.figures[f].max);
            put_close(out, '{');
        }
        put_close(out, '{');
    }
    put_close(out, '[');
    put_key(out, "rows");
    put_int(out, g->seen);
    put_key(out, "shared_rows");
    put_int(out, g->shared);
    put_key(out, "is_cut");
    put_bool(out, g->is_cut);
    if (rows_json(cli, "notices", AGENT_VIEW_NOTICES, &filter, &err) != AGENT_OK) {
        out->bytes = 0;
        return cli_fail(cli, &err);
    }
    put_close(out, '{');
    put_line(out);
    return EXIT_OK;
}

/* --- what engines did about memory by themselves: on a terminal below the figures, else on stderr --- */

struct notices {
    struct cli *cli;
    int count;
};

static bool tell_notice(void *ctx, const agent_row *row)
{
    struct notices *n = ctx;
    struct out *out = &n->cli->out;
    size_t at_bytes, kind_bytes, bytes;
    const char *at = row_text(row, "at", &at_bytes), *kind = row_text(row, "kind", &kind_bytes);
    const char *text = row_text(row, "text", &bytes);
    int rss_at = agent_row_find(row, "rss_bytes"), limit_at = agent_row_find(row, "limit_bytes");
    char *line = cli_format("%.*sZ  %.*s: %.*s", (int)(at_bytes < 19 ? at_bytes : 19), at, (int)kind_bytes, kind, (int)bytes, text);
    char *of = NULL;

    if (agent_row_type(row, rss_at) != AGENT_VALUE_NULL && agent_row_type(row, limit_at) != AGENT_VALUE_NULL) {
        struct amount rss = amount_bytes(agent_row_int(row, rss_at)), limit = amount_bytes(agent_row_int(row, limit_at));

        of = cli_format(" (RSS %s of %s)", rss.text, limit.text);
    }
    if (!out->is_tty) {
        cli_note(n->cli, "%s%s", line, of == NULL ? "" : of);
    } else {
        if (n->count == 0)
            out_text(out, "\nmemory, the newest first\n");
        out_foreign(out, line, strlen(line));
        out_fmt(out, "%s\n", of == NULL ? "" : of);
    }
    n->count++;
    free(line);
    free(of);
    return true;
}

static int tell_notices(struct cli *cli, int64_t since_ms)
{
    const agent_filter filter = notices_filter(since_ms);
    struct notices n = {.cli = cli};
    agent_error err = AGENT_ERROR_INIT;

    return agent_scan(cli->engine, AGENT_VIEW_NOTICES, &filter, tell_notice, &n, &err) == AGENT_OK ? EXIT_OK
                                                                                                 : cli_fail(cli, &err);
}

static void add_figure(struct table *t, int64_t v, enum figure f, bool is_human, bool is_ascii)
{
    struct amount a = !is_human ? amount_int(v) : f == FIGURE_TIME ? amount_us(v, is_ascii) : amount_bytes(v);

    table_text(t, a.text, strlen(a.text));
    t->cells[t->count - 1].is_number = true;
}

/* In a pipe one table with all; on a terminal one for each figure, for twelve columns fit no screen. */
static void print_groups(struct cli *cli, struct groups *g)
{
    struct out *out = &cli->out;
    const bool is_human = out->is_tty, is_ascii = is_human && !units_has_utf8();
    struct summary *sums = cli_alloc(g->count * sizeof(*sums));
    struct table table;

    for (size_t i = 0; i < g->count; i++)
        sums[i] = groups_summary(&g->at[i]);
    for (int from = 0, to; from < FIGURE_COUNT; from = to) {
        bool is_any = !is_human;

        to = is_human ? from + 1 : FIGURE_COUNT;
        for (size_t i = 0; i < g->count; i++)
            is_any |= sums[i].figures[from].count > 0;
        if (!is_any)
            continue;
        table_init(&table, 2 + 3 * (to - from));
        table_text(&table, by_words[g->by], strlen(by_words[g->by]));
        table_text(&table, "count", 5);
        for (int f = from; f < to; f++) {
            static const char *const percents[] = {"p50", "p95", "max"};

            for (int p = 0; p < 3; p++) {
                char *text = is_human ? cli_format(p == 0 ? "%s p50" : "%.0s%s", figure_titles[f], percents[p])
                                      : cli_format("%s_%s", figure_words[f], percents[p]);

                table_text(&table, text, strlen(text));
                free(text);
            }
        }
        for (size_t i = 0; i < g->count; i++) {
            if (is_human && sums[i].figures[from].count == 0)
                continue;
            table_text(&table, g->at[i].name, strlen(g->at[i].name));
            table_int(&table, is_human ? sums[i].figures[from].count : sums[i].count);
            for (int f = from; f < to; f++) {
                add_figure(&table, sums[i].figures[f].p50, (enum figure)f, is_human, is_ascii);
                add_figure(&table, sums[i].figures[f].p95, (enum figure)f, is_human, is_ascii);
                add_figure(&table, sums[i].figures[f].max, (enum figure)f, is_human, is_ascii);
            }
        }
        if (from > 0)
            out_text(out, "\n");
        table_print(&table, out, true);
    }
    free(sums);
}

static bool take_id(void *ctx, const agent_row *row)
{
    *(int64_t *)ctx = row_int(row, "id");
    return false;
}

static int agent_id_of(struct cli *cli, const char *agent, int64_t *out_id)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    int64_t id = 0;

    filter.agent = agent;
    if (agent_scan(cli->engine, AGENT_VIEW_AGENTS, &filter, take_id, &id, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (id == 0)
        return cli_check_agent(cli, agent);
    *out_id = id;
    return EXIT_OK;
}

/* "2h" back from now, or a time. */
static int since_of(struct cli *cli, const char *value, int64_t *out_ms)
{
    int64_t ms;

    if (units_time(value, out_ms))
        return EXIT_OK;
    if (!text_duration(value, &ms))
        return cli_usage(cli, "for example 30m, 2h, 1d, 2026-01-31 or 2026-01-31T12:30Z (UTC)",
                         "--since: '%s' is neither a duration nor a time", value);
    *out_ms = (int64_t)time(NULL) * 1000 - ms;
    return EXIT_OK;
}

static int many_runs(struct cli *cli, const struct args *args, const char *agent)
{
    const char *by = args_value(args, "by"), *since = args_value(args, "since");
    agent_error err = AGENT_ERROR_INIT;
    struct span span = {0};
    struct groups groups;
    size_t word = BY_STAGE;
    int rc;

    if (by != NULL)
        (void)text_is_word(by, "stage|agent|model|tool", &word);
    if ((since != NULL && (rc = since_of(cli, since, &span.since_ms)) != EXIT_OK) ||
        (rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK ||
        (agent != NULL && (rc = agent_id_of(cli, agent, &span.agent_id)) != EXIT_OK))
        return rc;
    if (groups_read(cli, (enum by)word, &span, &groups, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    rc = EXIT_OK;
    if (cli->json) {
        rc = print_groups_json(cli, &groups, span.since_ms);
    } else if (groups.count > 0) {
        print_groups(cli, &groups);
        if (groups.shared > 0)
            cli_note(cli, "RSS growth is of what had the process for itself: %lld of %lld were shared with other runs",
                     (long long)groups.shared, (long long)groups.seen);
    } else {
        cli_note(cli, "nothing was measured%s", since == NULL && agent == NULL ? " yet" : " of what was asked for");
    }
    if (rc == EXIT_OK && !cli->json)
        rc = tell_notices(cli, span.since_ms);
    if (groups.is_cut)
        cli_note(cli, "only the newest %lld are counted; --since and --agent choose others", (long long)groups.seen);
    groups_drop(&groups);
    return rc;
}

/* --- a page of an agent ------------------------------------------------------------------------------------------------------- */

static int page(struct cli *cli, const struct args *args, const char *agent)
{
    const char *path = args_value(args, "html");
    int64_t limit = 20, id;
    struct out drawing = {.fd = -1, .is_held = true};
    int rc;

    if ((rc = cli_number(cli, args, "limit", 1, 1000, &limit)) != EXIT_OK ||
        (rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK || (rc = agent_id_of(cli, agent, &id)) != EXIT_OK)
        return rc;
    if ((rc = html_page(cli, &drawing, id, agent, limit)) == EXIT_OK)
        rc = write_file(cli, path, &drawing);
    out_drop(&drawing);
    if (rc == EXIT_OK && cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "agent");
        put_str(&cli->out, agent);
        put_key(&cli->out, "html");
        put_str(&cli->out, path);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return rc;
}

static int stats(struct cli *cli, const struct args *args)
{
    const char *name = args->count > 0 ? args->at[0] : NULL, *agent = args_value(args, "agent");
    const bool has_svg = args_has(args, "svg"), has_html = args_has(args, "html");
    int64_t run;

    if (cli->json && ((has_svg && strcmp(args_value(args, "svg"), "-") == 0) ||
                      (has_html && strcmp(args_value(args, "html"), "-") == 0)))
        return cli_usage(cli, NULL, "stats: --json and a drawing cannot both go to standard output");
    if (has_svg && has_html)
        return cli_usage(cli, NULL, "stats: --svg draws a run, --html an agent's runs: one at a time");
    if (has_html) {
        if (name != NULL && agent != NULL && strcmp(name, agent) != 0)
            return cli_usage(cli, NULL, "stats: --html is of one agent: '%s' or '%s'", name, agent);
        if (name == NULL && agent == NULL)
            return cli_usage(cli, "agentctl stats AGENT --html FILE", "stats: --html wants the name of an agent");
        return page(cli, args, name != NULL ? name : agent);
    }
    if (name != NULL && cli_run_number(name, &run)) {
        if (args_has(args, "by") || agent != NULL || args_has(args, "since"))
            return cli_usage(cli, "leave out the run, or --by, --agent and --since", "stats: these options are of many runs");
        return one_run(cli, args, run);
    }
    if (has_svg || args_has(args, "chart"))
        return cli_usage(cli, "agentctl list runs -n 10 shows the newest", "stats: --%s wants the number of a run",
                         has_svg ? "svg" : "chart");
    if (name != NULL && agent != NULL)
        return cli_usage(cli, NULL, "stats: '%s' and --agent %s: one is enough", name, agent);
    return many_runs(cli, args, name != NULL ? name : agent);
}

static const struct option options[] = {
    {"by", 0, "stage|agent|model|tool", "p50, p95 and max over many runs (stage)"},
    {"since", 0, "DUR|TIME", "of runs not older: 2h, 1d, 2026-01-31"},
    {"agent", 0, "AGENT", "of this agent's runs"},
    {"chart", 0, NULL, "the timeline also in a pipe"},
    {"svg", 0, "FILE", "draw the run; - is stdout"},
    {"html", 0, "FILE", "a page of an agent's last runs; - is stdout"},
    {"limit", 'n', "N", "how many runs on the page (20)"},
    {0},
};

static const char *const examples[] = {
    "stats 12",
    "stats 12 --svg run12.svg",
    "stats --by model --since 1d",
    "stats demo --html demo.html",
    NULL,
};

const struct command cmd_stats = {
    .name = "stats",
    .synopsis = "[RUN | AGENT]",
    .summary = "time and memory of a run by stage, or of many runs",
    .text = "RUN: its stages in a table and on a line of time. Else p50, p95 and max, by\n"
            "stage or by what --by says, of at most the newest million rows. - is unknown;\n"
            "~ is shared: other runs were in a stage too. In a pipe: plain numbers, us and\n"
            "bytes. Of many runs also what engines did about memory: --memory-limit came\n"
            "near, or reading PSS cost too much.",
    .options = options,
    .examples = examples,
    .complete = "run",
    .max_args = 1,
    .run = stats,
};
