/*
 * An agent's last runs on one page: what they took in all, a table of them, and each one drawn. The
 * page needs nothing but itself, and reads on a light and on a dark screen.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/rows.h"
#include "cli/stats.h"

static const char page_style[] =
    "<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:14px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;margin:2em auto;max-width:1040px;padding:0 1em;"
    "background:#fff;color:#222}\n"
    "h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.15em;margin:2em 0 .5em}\n"
    "p.dim,td.dim{color:#595959}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
    "th,td{text-align:right;padding:.25em .6em;border-bottom:1px solid #ddd;white-space:nowrap}\n"
    "th{font-weight:600}th[colspan]{text-align:center}th.l,td.l{text-align:left}td.w{white-space:normal;word-break:break-word}\n"
    ".scroll{overflow-x:auto}section{margin-top:1.5em}\n"
    "svg.ag{width:100%;height:auto;border:1px solid #ddd;border-radius:6px}\n"
    "a{color:#0072b2}.bad{color:#b00020;font-weight:600}summary{cursor:pointer}\n"
    "@media (prefers-color-scheme:dark){body{background:#101214;color:#e6e6e6}p.dim,td.dim{color:#a8a8a8}\n"
    "th,td{border-color:#34383d}svg.ag{border-color:#34383d}a{color:#6cc0ff}.bad{color:#ff8a8a}}\n"
    "</style>\n";

struct runs {
    int64_t *ids;
    size_t count, cap;
    size_t succeeded, failed; /* others are open or cancelled */
    bool has_shared;
};

static bool take_id(void *ctx, const agent_row *row)
{
    struct runs *runs = ctx;
    const char *status;
    size_t n;

    if (runs->count == runs->cap) {
        runs->cap = runs->cap == 0 ? 32 : 2 * runs->cap;
        runs->ids = cli_realloc(runs->ids, runs->cap * sizeof(*runs->ids));
    }
    runs->ids[runs->count++] = row_int(row, "id");
    status = row_text(row, "status", &n);
    runs->succeeded += n == 9 && memcmp(status, "succeeded", n) == 0;
    runs->failed += n == 6 && memcmp(status, "failed", n) == 0;
    return true;
}

static void cell(struct out *out, const char *text)
{
    out_text(out, "<td>");
    svg_text(out, text);
    out_text(out, "</td>");
}

/* --- in all ------------------------------------------------------------------------------------------------------- */

static void summary_row(struct out *out, struct group *group)
{
    struct summary sum = groups_summary(group);

    out_text(out, "<tr><td class=\"l\">");
    svg_text(out, group->name);
    out_fmt(out, "</td><td>%lld</td>", (long long)sum.count);
    for (int f = 0; f < FIGURE_COUNT; f++) {
        const int64_t values[] = {sum.figures[f].p50, sum.figures[f].p95, sum.figures[f].max};

        for (int i = 0; i < 3; i++)
            cell(out, f == FIGURE_TIME ? amount_us(values[i], false).text : amount_bytes(values[i]).text);
    }
    out_text(out, "</tr>\n");
}

static void summary(struct out *out, struct groups *g)
{
    out_text(out, "<h2>All its stages</h2>\n<div class=\"scroll\"><table>\n"
                  "<tr><th class=\"l\" rowspan=\"2\">stage</th><th rowspan=\"2\">count</th><th colspan=\"3\">time</th>"
                  "<th colspan=\"3\">heap peak</th><th colspan=\"3\">RSS growth</th>"
                  "<th colspan=\"3\">tool processes</th></tr>\n<tr>");
    for (int f = 0; f < FIGURE_COUNT; f++)
        out_text(out, "<th>p50</th><th>p95</th><th>max</th>");
    out_text(out, "</tr>\n");
    for (size_t i = 0; i < g->count; i++)
        summary_row(out, &g->at[i]);
    out_text(out, "</table></div>\n<p class=\"dim\">- is unknown.");
    if (g->shared > 0)
        out_fmt(out, " RSS growth is of stages that had the process for themselves: %lld of %lld were shared.",
                (long long)g->shared, (long long)g->seen);
    if (g->is_cut)
        out_fmt(out, " Only the newest %lld stages are counted.", (long long)g->seen);
    out_text(out, "</p>\n");
}

/* --- the runs --------------------------------------------------------------------------------------------------------- */

static void list_row(struct out *out, const struct stats *s)
{
    const bool is_bad = strcmp(s->status, "failed") == 0;
    int64_t heap = UNKNOWN, child = UNKNOWN;

    for (size_t i = 0; i < s->stage_count; i++) {
        heap = s->stages[i].heap_peak > heap ? s->stages[i].heap_peak : heap;
        child = s->stages[i].child_peak > child ? s->stages[i].child_peak : child;
    }
    out_fmt(out, "<tr><td><a href=\"#run%lld\">%lld</a></td>", (long long)s->run, (long long)s->run);
    out_fmt(out, "<td class=\"l\">%s</td><td class=\"l%s\">%s</td>", s->queued_at, is_bad ? " bad" : "", s->status);
    cell(out, amount_us(s->queue_us, false).text);
    cell(out, amount_us(s->wall_us, false).text);
    out_fmt(out, "<td>%s%s</td>", s->has_shared && s->rss_peak != UNKNOWN ? "~" : "", amount_bytes(s->rss_peak).text);
    cell(out, amount_bytes(heap).text);
    cell(out, amount_bytes(child).text);
    out_text(out, "<td class=\"l w\">");
    svg_text(out, s->error);
    out_text(out, "</td></tr>\n");
}

static void stage_rows(struct out *out, const struct stats *s)
{
    out_text(out, "<details><summary>stages in figures</summary><div class=\"scroll\"><table>\n"
                  "<tr><th>step</th><th class=\"l\">stage</th><th>time</th><th>commit</th><th>RSS before</th><th>peak</th>"
                  "<th>after</th><th>heap peak</th><th>net</th><th>tools</th><th>samples</th><th class=\"l\">source</th></tr>\n");
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];
        const int64_t rss[] = {st->rss_before, st->rss_peak, st->rss_after};

        out_fmt(out, "<tr><td>%lld</td><td class=\"l\">%s</td>", (long long)st->step, stage_word(st->stage));
        cell(out, amount_us(st->wall_us, false).text);
        cell(out, amount_us(st->commit_us, false).text);
        for (int k = 0; k < 3; k++)
            out_fmt(out, "<td>%s%s</td>", st->is_shared && rss[k] != UNKNOWN ? "~" : "", amount_bytes(rss[k]).text);
        cell(out, amount_bytes(st->heap_peak).text);
        cell(out, amount_bytes(st->heap_net).text);
        cell(out, amount_bytes(st->child_peak).text);
        cell(out, amount_int(st->samples).text);
        out_text(out, "<td class=\"l\">");
        svg_text(out, st->source[0] == '\0' ? "-" : st->source);
        out_text(out, "</td></tr>\n");
    }
    out_text(out, "</table></div></details>\n");
}

/* The table is written as the runs are read; the drawings, which come after it, are held until then. */
static int write_runs(struct cli *cli, struct out *out, struct runs *runs)
{
    struct out drawings = {.fd = -1, .is_held = true};
    agent_error err = AGENT_ERROR_INIT;
    int rc = EXIT_OK;

    out_fmt(out, "<h2>The last %zu runs</h2>\n<p class=\"dim\">%zu succeeded, %zu failed.</p>\n", runs->count,
            runs->succeeded, runs->failed);
    out_text(out, "<div class=\"scroll\"><table>\n"
                  "<tr><th>run</th><th class=\"l\">queued at (UTC)</th><th class=\"l\">status</th>"
                  "<th>queue</th><th>time</th><th>RSS peak</th><th>heap peak</th><th>tools</th><th class=\"l\">error</th></tr>\n");
    for (size_t i = 0; rc == EXIT_OK && i < runs->count; i++) {
        struct stats s;
        agent_status status = stats_load(cli, runs->ids[i], &s, &err);

        if (status == AGENT_ENOTFOUND)
            continue; /* removed since */
        if (status != AGENT_OK) {
            rc = cli_fail(cli, &err);
            break;
        }
        list_row(out, &s);
        runs->has_shared |= s.has_shared;
        out_fmt(&drawings, "<section id=\"run%lld\">\n", (long long)s.run);
        svg_run(&drawings, &s, false);
        stage_rows(&drawings, &s);
        out_text(&drawings, "</section>\n");
        stats_drop(&s);
    }
    out_text(out, "</table></div>\n");
    if (runs->has_shared)
        out_text(out, "<p class=\"dim\">~ is shared: other runs were in a stage of the same process meanwhile.</p>\n");
    out_bytes(out, drawings.at, drawings.bytes);
    out_drop(&drawings);
    return rc;
}

int html_page(struct cli *cli, struct out *out, int64_t agent_id, const char *agent, int64_t limit)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct span span = {.agent_id = agent_id};
    struct runs runs = {0};
    struct groups groups;
    int rc;

    filter.agent = agent;
    filter.limit = limit;
    filter.newest_first = true;
    if (agent_scan(cli->engine, AGENT_VIEW_RUNS, &filter, take_id, &runs, &err) != AGENT_OK ||
        groups_read(cli, BY_STAGE, &span, &groups, &err) != AGENT_OK) {
        free(runs.ids);
        return cli_fail(cli, &err);
    }
    out_text(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width\">\n<title>runs of ");
    svg_text(out, agent);
    out_text(out, "</title>\n");
    out_text(out, page_style);
    svg_style(out);
    out_text(out, "</head>\n<body>\n<h1>Runs of ");
    svg_text(out, agent);
    out_fmt(out, "</h1>\n<p class=\"dim\">Where time and memory went, by stage. Read at %s; KB and MB are of 1024.</p>\n",
            amount_time((int64_t)time(NULL) * 1000).text);
    summary(out, &groups);
    rc = write_runs(cli, out, &runs);
    out_text(out, "</body>\n</html>\n");
    groups_drop(&groups);
    free(runs.ids);
    return rc;
}
