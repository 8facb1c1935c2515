/*
 * A run drawn: time to the right, memory upward.
 *
 *      title
 *      stages │▒▒▒│░░░░░░░░░░░░░░░░│▓▓▓▓▓▓▓▓▓▓▓▓▓▓│   a ribbon in colours, with names where there is room
 *      tools  │       ▬▬▬▬ fetch                     one lane for each call at a time
 *      memory │   ___________┌─────────────          resident set of the process, and of tools' processes,
 *             │__/                                   which have a panel of their own where they are much larger
 *      heap   │      ┌───────┐_____                  what the run's own memory came to, on a scale of its own
 *             └─┴─────┴─────┴─────┴──  time in stages
 *      legend
 *
 *   (1) Nothing is referred to outside of the document; there is no script. The colours are those of
 *       Okabe and Ito, told apart by colour-blind people too; lines differ by shape as well.
 *   (2) A level is drawn only where it was measured. Where samples of the run are kept, the line goes
 *       through them; else the instant of a stage's highest reading is not known, and it stands as a dotted
 *       level over the whole stage.
 *   (3) Elements that would be under half a pixel beside another are left out: a run of thousands of
 *       stages stays a file of some hundred kilobytes.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/svg.h"

#define PAUSE_WIDE 26
#define RIBBON     22
#define LANE       15
#define APART_TIMES 3
#define LANES_MAX  12 /* more calls at a time are counted, not drawn */
#define CHAR_WIDE  6.4 /* of 11 px text, rather too much than too little */
#define LEGEND_COLUMNS 4

static const char *const classes[STAGE_COUNT] = {
    [STAGE_QUEUE] = "q", [STAGE_LOAD] = "l", [STAGE_PREPARE] = "p", [STAGE_INFER] = "i",
    [STAGE_RESPOND] = "r", [STAGE_TOOL] = "t", [STAGE_RECLAIM] = "c", [STAGE_OTHER] = "o",
};

void svg_style(struct out *out)
{
    out_text(out,
             "<style>\n"
             ".ag text{font:11px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#222}\n"
             ".ag .title{font-size:16px;font-weight:bold}.ag .dim{fill:#595959}.ag .end{text-anchor:end}\n"
             ".ag .mid{text-anchor:middle}.ag .bg{fill:#fff}.ag .grid{stroke:#ddd;stroke-width:1}\n"
             ".ag .edge{stroke:#777;stroke-width:1;fill:none}\n"
             ".ag .band{fill-opacity:.15}.ag .pause{fill:#888;fill-opacity:.25}\n"
             ".ag .q{fill:#999}.ag .l{fill:#56b4e9}.ag .p{fill:#f0e442}.ag .i{fill:#0072b2}.ag .r{fill:#009e73}\n"
             ".ag .t{fill:#e69f00}.ag .c{fill:#cc79a7}.ag .o{fill:#666}\n"
             ".ag text.on{fill:#000}.ag text.on-i,.ag text.on-r,.ag text.on-o{fill:#fff}\n"
             ".ag .rss{stroke:#111;stroke-width:1.8;fill:none}.ag .dot{fill:#111}\n"
             ".ag .peak{stroke:#111;stroke-width:1.2;stroke-dasharray:1.5 2.5;fill:none}\n"
             ".ag .shared{stroke-dasharray:6 3}\n"
             ".ag .heap{stroke:#d55e00;stroke-width:1.6;fill:none}.ag .under{fill:#d55e00;fill-opacity:.18}\n"
             ".ag .child{stroke:#a66f00;stroke-width:2.4;fill:none}.ag .cut{stroke:#c00;stroke-width:1.4;stroke-dasharray:4 2}\n"
             "@media (prefers-color-scheme:dark){\n"
             ".ag text{fill:#e6e6e6}.ag .dim{fill:#a8a8a8}.ag .bg{fill:#17191c}.ag .grid{stroke:#34383d}\n"
             ".ag .edge{stroke:#8a8a8a}.ag .band{fill-opacity:.22}.ag .rss,.ag .peak{stroke:#f2f2f2}.ag .dot{fill:#f2f2f2}\n"
             ".ag .heap{stroke:#ff8b3d}.ag .under{fill:#ff8b3d}.ag .child{stroke:#ffc04d}.ag .cut{stroke:#ff6b6b}\n"
             "}\n"
             "</style>\n");
}

/* What may not stand in XML (control characters, bytes that are no UTF-8) becomes U+FFFD. */
void svg_text(struct out *out, const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0, len; i < n; i += len == 0 ? 1 : len) {
        uint32_t code = 0;

        len = text_utf8(s + i, n - i, &code);
        if (len == 0 || (code < 0x20 && code != '\t' && code != '\n') || code == 0x7F || code == 0xFFFE || code == 0xFFFF)
            out_text(out, "\xEF\xBF\xBD");
        else if (code == '<')
            out_text(out, "&lt;");
        else if (code == '>')
            out_text(out, "&gt;");
        else if (code == '&')
            out_text(out, "&amp;");
        else if (code == '"')
            out_text(out, "&quot;");
        else
            out_bytes(out, s + i, len);
    }
}

/* --- where things lie -------------------------------------------------------------------------------------------- */

double svg_x(const struct drawing *d, size_t stage, int64_t us)
{
    int pauses = 0;

    for (size_t i = 0; i <= stage && pauses < d->pauses; i++)
        pauses += d->s->stages[i].pause_us > 0;
    return SVG_LEFT + (double)us * d->us_px + pauses * PAUSE_WIDE;
}

int64_t svg_wall(const struct stats_stage *st)
{
    return st->is_cut ? 0 : st->wall_us;
}

int64_t svg_highest(int64_t a, int64_t b)
{
    return a > b ? a : b; /* UNKNOWN is the least there is */
}

static void lay(struct drawing *d)
{
    const struct stats *s = d->s;
    int64_t rss = 0, child = 0;
    int pauses = 0, lanes = s->lanes < LANES_MAX ? s->lanes : LANES_MAX;

    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];

        pauses += st->pause_us > 0;
        d->has_rss |= st->rss_before != UNKNOWN || st->rss_after != UNKNOWN || st->rss_peak != UNKNOWN;
        d->has_heap |= st->heap_peak != UNKNOWN;
        d->has_child |= st->child_peak != UNKNOWN;
        rss = svg_highest(rss, svg_highest(st->rss_peak, st->sampled_most));
        child = svg_highest(child, st->child_peak);
    }
    d->pauses = pauses;
    d->is_apart = d->has_rss && child / APART_TIMES > rss;
    d->us_px = s->total_us == 0 ? 0 : (double)(SVG_WIDTH - SVG_LEFT - SVG_RIGHT - pauses * PAUSE_WIDE) / (double)s->total_us;
    if (d->us_px < 0)
        d->us_px = 0; /* more pauses than there is room for: they run over the edge */
    d->ribbon = 70;
    d->lanes = d->ribbon + RIBBON + 4;
    d->rss = d->lanes + lanes * LANE + (s->lanes > LANES_MAX ? LANE : 0) + 14;
    d->axis = d->child = d->heap = d->rss;
    if (d->has_rss || d->has_child)
        d->child = d->heap = (d->axis = d->rss + (d->is_apart ? SVG_RSS_HIGH - 60 : SVG_RSS_HIGH)) + SVG_PANEL_GAP;
    if (d->is_apart)
        d->heap = (d->axis = d->child + SVG_CHILD_HIGH) + SVG_PANEL_GAP;
    if (d->has_heap)
        d->axis = d->heap + SVG_HEAP_HIGH;
    d->legend = d->axis + 58;
    d->height = d->legend; /* grows as the legend is written */
}

/* --- time -------------------------------------------------------------------------------------------------------------- */

static void stage_title(const struct drawing *d, const struct stats_stage *st)
{
    struct out *out = d->out;
    const char *mark = st->is_shared ? "~" : "";

    out_fmt(out, "<title>%s, step %lld: ", stage_word(st->stage), (long long)st->step);
    out_fmt(out, "%s", st->is_cut ? "cut off by a crash" : amount_us(st->wall_us, false).text);
    if (st->commit_us != UNKNOWN && st->commit_us > 0)
        out_fmt(out, " (%s of it waiting for a commit)", amount_us(st->commit_us, false).text);
    out_fmt(out, "; RSS %s%s before, ", mark, amount_bytes(st->rss_before).text);
    out_fmt(out, "%s%s highest, ", mark, amount_bytes(st->rss_peak).text);
    out_fmt(out, "%s%s after; ", mark, amount_bytes(st->rss_after).text);
    out_fmt(out, "heap peak %s, ", amount_bytes(st->heap_peak).text);
    out_fmt(out, "net %s; tools %s; ", amount_bytes(st->heap_net).text, amount_bytes(st->child_peak).text);
    if (st->pss != UNKNOWN) {
        out_fmt(out, "PSS %s (", amount_bytes(st->pss).text);
        out_fmt(out, "%s anonymous, ", amount_bytes(st->anon).text);
        out_fmt(out, "%s of files); ", amount_bytes(st->file).text);
    }
    out_fmt(out, "%s samples</title>", amount_int(st->samples).text);
}

static void pause_break(const struct drawing *d, size_t i)
{
    const struct stats_stage *st = &d->s->stages[i];
    double x = svg_x(d, i, st->from_us) - PAUSE_WIDE;
    int middle = (d->ribbon + d->axis) / 2;

    out_fmt(d->out, "<rect class=\"pause\" x=\"%.2f\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", x, d->ribbon, PAUSE_WIDE,
            d->axis - d->ribbon);
    out_fmt(d->out, "<text class=\"mid\" transform=\"translate(%.2f %d) rotate(-90)\">%s %s, not to scale</text>\n",
            x + PAUSE_WIDE / 2.0 + 4, middle, i > 0 && d->s->stages[i - 1].is_cut ? "crash and pause:" : "pause:",
            amount_us(st->pause_us, false).text);
}

static void stages(const struct drawing *d)
{
    struct out *out = d->out;
    double last = -1;

    for (size_t i = 0; i < d->s->stage_count; i++) {
        const struct stats_stage *st = &d->s->stages[i];
        const char *word = stage_word(st->stage), *class = classes[st->stage];
        double x = svg_x(d, i, st->from_us), wide = (double)svg_wall(st) * d->us_px;

        if (st->pause_us > 0)
            pause_break(d, i);
        if (st->is_cut) {
            out_fmt(out, "<g><line class=\"cut\" x1=\"%.2f\" y1=\"%d\" x2=\"%.2f\" y2=\"%d\"/>", x, d->ribbon, x, d->axis);
            stage_title(d, st);
            out_text(out, "</g>\n");
        }
        if (x + wide < last + 0.5)
            continue; /* (3) */
        last = x + wide;
        out_fmt(out, "<g class=\"%s\"><rect x=\"%.2f\" y=\"%d\" ", class, x, d->ribbon);
        out_fmt(out, "width=\"%.2f\" height=\"%d\"/>", wide < 0.75 ? 0.75 : wide, RIBBON);
        if (d->axis > d->rss)
            out_fmt(out, "<rect class=\"band\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/>", x, d->rss - 6,
                    wide < 0.75 ? 0.75 : wide, d->axis - d->rss + 6);
        stage_title(d, st);
        out_text(out, "</g>\n");
        if ((double)strlen(word) * CHAR_WIDE + 6 < wide)
            out_fmt(out, "<text class=\"mid on on-%s\" x=\"%.2f\" y=\"%d\">%s</text>\n", class, x + wide / 2, d->ribbon + 15, word);
    }
    out_fmt(out, "<text class=\"end dim\" x=\"%d\" y=\"%d\">stages</text>\n", SVG_LEFT - 8, d->ribbon + 15);
}

static void calls(const struct drawing *d)
{
    struct out *out = d->out;
    const struct stats *s = d->s;
    double *free_from = cli_alloc((LANES_MAX + 1) * sizeof(*free_from));
    size_t hidden = 0;

    for (int i = 0; i <= LANES_MAX; i++)
        free_from[i] = SVG_LEFT;
    for (size_t i = 0; i < s->call_count; i++) {
        const struct stats_call *call = &s->calls[i];
        double x, wide;
        int y;
        char *text;

        if (call->from_us == UNKNOWN)
            continue;
        if (call->lane >= LANES_MAX) {
            hidden++;
            continue;
        }
        x = svg_x(d, call->stage, call->from_us);
        wide = (double)(call->to_us - call->from_us) * d->us_px;
        y = d->lanes + call->lane * LANE;
        text = cli_format("%s %s%s%s", call->tool,
                          call->wall_us == UNKNOWN ? call->status : amount_us(call->wall_us, false).text,
                          call->child_peak == UNKNOWN ? "" : ", ",
                          call->child_peak == UNKNOWN ? "" : amount_bytes(call->child_peak).text);
        out_fmt(out, "<g><rect class=\"t\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/><title>step %lld: ", x, y + 2,
                wide < 0.75 ? 0.75 : wide, LANE - 4, (long long)call->step);
        svg_text(out, text);
        out_fmt(out, ", %s</title></g>\n", call->status);
        /* The name stands beside the bar: to its right, or to its left near the edge. */
        {
            double width = (double)text_width(text, strlen(text)) * CHAR_WIDE, right = x + wide + 5, left = x - 5 - width;

            if (right + width < SVG_WIDTH && right > free_from[call->lane]) {
                out_fmt(out, "<text x=\"%.2f\" y=\"%d\">", right, y + 11);
                svg_text(out, text);
                out_text(out, "</text>\n");
                free_from[call->lane] = right + width;
            } else if (left > free_from[call->lane]) {
                out_fmt(out, "<text class=\"end\" x=\"%.2f\" y=\"%d\">", x - 5, y + 11);
                svg_text(out, text);
                out_text(out, "</text>\n");
                free_from[call->lane] = x + wide;
            }
        }
        free(text);
    }
    if (s->lanes > 0)
        out_fmt(out, "<text class=\"end dim\" x=\"%d\" y=\"%d\">tools</text>\n", SVG_LEFT - 8, d->lanes + 11);
    if (hidden > 0)
        out_fmt(out, "<text class=\"dim\" x=\"%d\" y=\"%d\">and %zu more at the same time</text>\n", SVG_LEFT,
                d->lanes + LANES_MAX * LANE + 11, hidden);
    free(free_from);
}

static void time_axis(const struct drawing *d)
{
    struct out *out = d->out;
    const struct stats *s = d->s;
    int64_t step = marks_us(s->total_us, 9);

    for (int64_t us = 0; step > 0 && us <= s->total_us; us += step) {
        struct amount mark = amount_us(us, false);
        size_t stage = 0;
        double x;

        while (stage + 1 < s->stage_count && s->stages[stage + 1].from_us <= us)
            stage++;
        x = svg_x(d, stage, us);
        if (d->axis > d->rss)
            out_fmt(out, "<line class=\"grid\" x1=\"%.2f\" y1=\"%d\" x2=\"%.2f\" y2=\"%d\"/>\n", x, d->rss - 6, x, d->axis);
        out_fmt(out, "<line class=\"edge\" x1=\"%.2f\" y1=\"%d\" x2=\"%.2f\" y2=\"%d\"/>", x, d->axis, x, d->axis + 5);
        out_fmt(out, "<text class=\"mid\" x=\"%.2f\" y=\"%d\">%s</text>\n", x, d->axis + 18, us == 0 ? "0" : mark.text);
    }
    out_fmt(out, "<text class=\"mid dim\" x=\"%d\" y=\"%d\">time in stages%s</text>\n", SVG_LEFT + (SVG_WIDTH - SVG_LEFT - SVG_RIGHT) / 2,
            d->axis + 36, s->has_pause ? ", without the pauses" : "");
}

/* --- words ---------------------------------------------------------------------------------------------------------------- */

static void head(const struct drawing *d)
{
    struct out *out = d->out;
    const struct stats *s = d->s;

    out_fmt(out, "<text class=\"title\" x=\"16\" y=\"28\">run %lld of ", (long long)s->run);
    svg_text(out, s->agent);
    out_fmt(out, ": %s</text>\n<text class=\"dim\" x=\"16\" y=\"48\">%s", s->status, s->queued_at);
    if (s->model != NULL) {
        out_text(out, ", ");
        svg_text(out, s->model);
    }
    if (s->wall_us != UNKNOWN)
        out_fmt(out, ": %s", amount_us(s->wall_us, false).text);
    if (s->wall_us != UNKNOWN && s->queue_us != UNKNOWN)
        out_fmt(out, " after %s in the queue", amount_us(s->queue_us, false).text);
    if (s->rss_peak != UNKNOWN)
        out_fmt(out, "; the process came to %s", amount_bytes(s->rss_peak).text);
    out_text(out, "</text>\n");
}

static void legend_place(struct drawing *d, int *count, int *x, int *y)
{
    *x = 16 + *count % LEGEND_COLUMNS * ((SVG_WIDTH - 32) / LEGEND_COLUMNS);
    *y = d->legend + *count / LEGEND_COLUMNS * 20;
    if (*y + 26 > d->height)
        d->height = *y + 26;
    ++*count;
}

static void legend_line(struct drawing *d, int *count, const char *class, const char *text)
{
    int x, y;

    legend_place(d, count, &x, &y);
    out_fmt(d->out, "<line class=\"%s\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>", class, x, y + 5, x + 22, y + 5);
    out_fmt(d->out, "<text x=\"%d\" y=\"%d\">%s</text>\n", x + 28, y + 9, text);
}

static void legend(struct drawing *d)
{
    const struct stats *s = d->s;
    bool has_peaks = false;
    int count = 0;

    for (enum stage stage = 0; stage < STAGE_COUNT; stage++) {
        int x, y;

        if (s->stage_rows[stage] == 0)
            continue;
        legend_place(d, &count, &x, &y);
        out_fmt(d->out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"22\" height=\"11\"/><text x=\"%d\" y=\"%d\">",
                classes[stage], x, y - 1, x + 28, y + 9);
        out_fmt(d->out, "%s %s", stage_word(stage), amount_us(s->sum_us[stage], false).text);
        if (s->total_us > 0)
            out_fmt(d->out, ", %.0f %%", (double)s->sum_us[stage] * 100 / (double)s->total_us);
        if (s->stage_rows[stage] > 1)
            out_fmt(d->out, " (%zu times)", s->stage_rows[stage]);
        out_text(d->out, "</text>\n");
    }
    count = (count + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS * LEGEND_COLUMNS; /* lines begin a row of their own */
    for (size_t i = 0; i < s->stage_count; i++)
        has_peaks |= stats_has_hidden_peak(&s->stages[i]);
    if (d->has_rss)
        legend_line(d, &count, "rss", s->sample_count > 0 ? "RSS: ● at borders, sampled between" : "RSS of the process, read at ●");
    if (s->has_shared)
        legend_line(d, &count, "rss shared", "shared: other runs were in a stage");
    if (has_peaks)
        legend_line(d, &count, "peak", "highest RSS in the stage");
    if (d->has_child)
        legend_line(d, &count, "child", "peak RSS of a tool's processes");
    if (d->has_heap)
        legend_line(d, &count, "heap", "heap, highest in each stage");
    if (s->has_cut)
        legend_line(d, &count, "cut", "cut off by a crash: time unknown");
}

/* The height is known once the legend is: it is written apart, and the document around it. */
void svg_run(struct out *out, const struct stats *s, bool is_alone)
{
    struct out body = {.fd = -1, .is_held = true};
    struct drawing d = {.out = &body, .s = s};

    lay(&d);
    head(&d);
    if (s->stage_count == 0) {
        out_fmt(&body, "<text x=\"16\" y=\"80\">no stage of it has ended</text>\n");
        d.height = 100;
    } else {
        stages(&d);
        time_axis(&d);
        calls(&d);
        if (d.has_rss || d.has_child)
            svg_process_panel(&d);
        if (d.is_apart)
            svg_child_panel(&d);
        if (d.has_heap)
            svg_heap_panel(&d);
        out_fmt(&body, "<line class=\"edge\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", SVG_LEFT, d.axis, SVG_WIDTH - SVG_RIGHT, d.axis);
        legend(&d);
    }
    if (is_alone)
        out_text(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out_fmt(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ag\" viewBox=\"0 0 %d %d\" ", SVG_WIDTH, d.height);
    if (is_alone)
        out_fmt(out, "width=\"%d\" height=\"%d\" ", SVG_WIDTH, d.height);
    out_fmt(out, "role=\"img\" aria-label=\"run %lld: memory and time by stage\">\n", (long long)s->run);
    if (is_alone)
        svg_style(out);
    out_fmt(out, "<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", SVG_WIDTH, d.height);
    out_bytes(out, body.at, body.bytes);
    out_text(out, "</svg>\n");
    out_drop(&body);
}
