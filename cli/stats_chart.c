/*
 * A run on a terminal: a line for each stage over time, and memory below it.
 *
 *     queue    █▏                                                     9.1 ms   2%
 *     infer    ▕██████████████       ▐█████████████                   241 ms  55%
 *     tool                    ▏                                       881 µs   0%
 *              ├────────────┬────────────┬────────────┬───────────
 *              0            100 ms       200 ms       300 ms
 *     rss      ▁▁▂▃▃▃▄▄▄▄▄▄▄▄▄▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅   4.4 MB..5.1 MB
 *
 * A cell is as full as the part of its time that the stage had. The lowest block of a memory line is
 * the first of the two figures at its right, the full one the second; where nothing was measured the
 * cell is empty. Pauses stand as a break of PAUSE_CELLS in all lines.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/stats.h"

#define LABEL       9
#define FIGURES     20 /* what stands at the right */
#define PAUSE_CELLS 3
#define CELLS_MIN   20
#define CELLS_MAX   200

struct chart {
    struct out *out;
    const struct stats *s;
    bool is_ascii;
    int cells;       /* for time and pauses */
    double us_cells; /* cells per microsecond */
};

static const char *const colours[STAGE_COUNT] = { /* as in svg.c, as near as sixteen colours come */
    [STAGE_QUEUE] = "90", [STAGE_LOAD] = "96", [STAGE_PREPARE] = "33", [STAGE_INFER] = "34",
    [STAGE_RESPOND] = "32", [STAGE_TOOL] = "93", [STAGE_RECLAIM] = "35", [STAGE_OTHER] = "37",
};

static void blanks(struct out *out, int n)
{
    for (; n > 0; n--)
        out_bytes(out, " ", 1);
}

static void colour(const struct chart *c, const char *code)
{
    if (c->out->has_colour)
        out_fmt(c->out, "\033[%sm", code);
}

static void label(const struct chart *c, const char *word)
{
    out_text(c->out, word);
    blanks(c->out, LABEL - (int)strlen(word));
}

/* The cell in which a stage begins; `before` is the time that stages before it had. */
static double cell_of(const struct chart *c, size_t stage)
{
    int pauses = 0;

    for (size_t i = 0; i <= stage && i < c->s->stage_count; i++)
        pauses += c->s->stages[i].pause_us > 0;
    return (double)c->s->stages[stage].from_us * c->us_cells + pauses * PAUSE_CELLS;
}

/* --- stages --------------------------------------------------------------------------------------------------- */

static void fill(double *cells, int count, double from, double to)
{
    for (int i = from < 0 ? 0 : (int)from; i < count && i < to; i++) {
        double low = from > i ? from : i, high = to < i + 1 ? to : i + 1;

        if (high > low)
            cells[i] += high - low;
    }
}

static const char *block(const struct chart *c, double part)
{
    static const char *const blocks[] = {"▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    int eighths = (int)(part * 8 + 0.5) - 1;

    if (c->is_ascii)
        return part >= 0.5 ? "#" : "|";
    return blocks[eighths < 0 ? 0 : eighths > 7 ? 7 : eighths];
}

static void figures(const struct chart *c, const char *text)
{
    blanks(c->out, 2);
    blanks(c->out, FIGURES - 2 - (int)text_width(text, strlen(text)));
    out_text(c->out, text);
    out_text(c->out, "\n");
}

static void stage_line(const struct chart *c, enum stage stage, double *cells)
{
    const struct stats *s = c->s;
    struct amount time = amount_us(s->sum_us[stage], c->is_ascii);
    char *text;
    bool is_cut = false;

    memset(cells, 0, (size_t)c->cells * sizeof(*cells));
    for (size_t i = 0; i < s->stage_count; i++)
        if (s->stages[i].stage == stage) {
            double from = cell_of(c, i);
            double to = from + (s->stages[i].is_cut ? 0 : (double)s->stages[i].wall_us * c->us_cells);

            is_cut |= s->stages[i].is_cut;
            if (to - from < 1e-3) /* it was there: a trace of it is shown */
                to = from + 1e-3;
            if (to > c->cells) {
                from -= to - c->cells;
                to = c->cells;
            }
            fill(cells, c->cells, from, to);
        }
    label(c, stage_word(stage));
    colour(c, colours[stage]);
    for (int i = 0; i < c->cells; i++)
        out_text(c->out, cells[i] > 0 ? block(c, cells[i]) : " ");
    colour(c, "0");
    text = cli_format("%s%s %3d%%", is_cut ? "cut + " : "", time.text,
                      s->total_us == 0 ? 0 : (int)((double)s->sum_us[stage] * 100 / (double)s->total_us + 0.5));
    figures(c, text);
    free(text);
}

/* --- the axis --------------------------------------------------------------------------------------------------------- */

/* The cell of a moment of stage time: what pauses before it take is added. */
static int cell_at(const struct chart *c, int64_t us)
{
    int pauses = 0;

    for (size_t i = 0; i < c->s->stage_count; i++)
        pauses += c->s->stages[i].pause_us > 0 && c->s->stages[i].from_us <= us;
    return (int)((double)us * c->us_cells) + pauses * PAUSE_CELLS;
}

static void axis(const struct chart *c)
{
    const char **line = cli_alloc((size_t)c->cells * sizeof(*line));
    int64_t step = marks_us(c->s->total_us, c->cells / 9);
    int at = 0;

    for (int i = 0; i < c->cells; i++)
        line[i] = c->is_ascii ? "-" : "─";
    for (size_t i = 0; i < c->s->stage_count; i++)
        for (int k = 0; c->s->stages[i].pause_us > 0 && k < PAUSE_CELLS; k++) {
            int cell = (int)cell_of(c, i) - PAUSE_CELLS + k;

            if (cell >= 0 && cell < c->cells)
                line[cell] = c->is_ascii ? "~" : "╌";
        }
    for (int64_t us = 0; step > 0 && us <= c->s->total_us; us += step)
        if (cell_at(c, us) < c->cells)
            line[cell_at(c, us)] = c->is_ascii ? "+" : us == 0 ? "├" : "┬";
    label(c, "");
    colour(c, "2");
    for (int i = 0; i < c->cells; i++)
        out_text(c->out, line[i]);
    out_text(c->out, "\n");
    label(c, "");
    for (int64_t us = 0; step > 0 && us <= c->s->total_us; us += step) {
        struct amount mark = amount_us(us, c->is_ascii);
        const char *text = us == 0 ? "0" : mark.text;
        int cell = cell_at(c, us), width = (int)text_width(text, strlen(text));

        if (cell < at || (at > 0 && cell == at) || cell + width > c->cells + FIGURES)
            continue;
        blanks(c->out, cell - at);
        out_text(c->out, text);
        at = cell + width;
    }
    colour(c, "0");
    out_text(c->out, "\n");
    free(line);
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

struct line { /* a figure by cell; UNKNOWN: not measured there */
    int64_t *at;
    int64_t low, high;
};

static void line_put(const struct chart *c, struct line *l, double from, double to, int64_t begin, int64_t end)
{
    int first = (int)from, last = (int)to;

    if (begin == UNKNOWN || end == UNKNOWN)
        return;
    for (int i = first < 0 ? 0 : first; i <= last && i < c->cells; i++) {
        double part = to > from ? (i + 0.5 - from) / (to - from) : 1;
        int64_t v = begin + (int64_t)((double)(end - begin) * (part < 0 ? 0 : part > 1 ? 1 : part));

        if (i == last && i != first && to - last < 1e-9)
            break;
        if (l->at[i] == UNKNOWN || v > l->at[i])
            l->at[i] = v;
    }
}

static void line_range(struct line *l, int64_t v)
{
    if (v == UNKNOWN)
        return;
    if (l->low == UNKNOWN || v < l->low)
        l->low = v;
    if (l->high == UNKNOWN || v > l->high)
        l->high = v;
}

static void line_print(const struct chart *c, const char *name, struct line *l, const char *code)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    struct amount low, high;
    char *text;

    if (l->high == UNKNOWN)
        return;
    label(c, name);
    colour(c, code);
    for (int i = 0; i < c->cells; i++) {
        int level = l->at[i] == UNKNOWN  ? 0
                    : l->high == l->low ? 3
                                        : (int)((double)(l->at[i] - l->low) * 7 / (double)(l->high - l->low) + 0.5);

        out_text(c->out, l->at[i] == UNKNOWN ? " " : (c->is_ascii ? letters : blocks)[level]);
    }
    colour(c, "0");
    low = amount_bytes(l->low);
    high = amount_bytes(l->high);
    text = l->low == l->high ? cli_format("%s", high.text) : cli_format("%s..%s", low.text, high.text);
    figures(c, text);
    free(text);
}

static void line_clear(const struct chart *c, struct line *l)
{
    for (int i = 0; i < c->cells; i++)
        l->at[i] = UNKNOWN;
    l->low = l->high = UNKNOWN;
}

/* From its beginning through its samples to its end. */
static void rss_of_stage(const struct chart *c, struct line *l, const struct stats_stage *st, double from, double to)
{
    double x = from;
    int64_t v = st->rss_before;

    for (size_t i = 0; i < st->sample_count; i++) {
        const struct stats_sample *sample = &c->s->samples[st->first_sample + i];
        double next = from + (double)(sample->at_us - st->from_us) * c->us_cells;

        line_put(c, l, x, next, v, sample->rss);
        x = next;
        v = sample->rss;
    }
    line_put(c, l, x, to, v, st->rss_after);
}

static void memory(const struct chart *c)
{
    const struct stats *s = c->s;
    struct line rss, heap, child;

    rss.at = cli_alloc((size_t)c->cells * sizeof(*rss.at));
    heap.at = cli_alloc((size_t)c->cells * sizeof(*heap.at));
    child.at = cli_alloc((size_t)c->cells * sizeof(*child.at));
    line_clear(c, &rss);
    line_clear(c, &heap);
    line_clear(c, &child);
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];
        double from = cell_of(c, i), to = from + (st->is_cut ? 0 : (double)st->wall_us * c->us_cells);

        if (stats_has_hidden_peak(st))
            line_put(c, &rss, from, to, st->rss_peak, st->rss_peak); /* when in the stage is not kept */
        else
            rss_of_stage(c, &rss, st, from, to);
        line_range(&rss, st->rss_before);
        line_range(&rss, st->rss_peak);
        line_range(&rss, st->rss_after);
        line_put(c, &heap, from, to, st->heap_peak, st->heap_peak);
        line_range(&heap, st->heap_peak);
        line_put(c, &child, from, to, st->child_peak, st->child_peak);
        line_range(&child, st->child_peak);
    }
    if (heap.high != UNKNOWN)
        heap.low = 0;
    if (child.high != UNKNOWN)
        child.low = 0;
    line_print(c, s->has_shared ? "rss ~" : "rss", &rss, "0");
    line_print(c, "heap", &heap, "31");
    line_print(c, "tools", &child, "93");
    free(rss.at);
    free(heap.at);
    free(child.at);
}

void stats_chart(struct out *out, const struct stats *s, int columns, bool is_ascii)
{
    struct chart c = {.out = out, .s = s, .is_ascii = is_ascii, .cells = columns - LABEL - FIGURES};
    int pauses = 0;
    double *cells;

    if (s->stage_count == 0)
        return;
    for (size_t i = 0; i < s->stage_count; i++)
        pauses += s->stages[i].pause_us > 0;
    if (c.cells > CELLS_MAX)
        c.cells = CELLS_MAX;
    if (c.cells < CELLS_MIN)
        c.cells = CELLS_MIN;
    if (c.cells < CELLS_MIN + pauses * PAUSE_CELLS) /* many pauses: the chart grows wider than the screen */
        c.cells = CELLS_MIN + pauses * PAUSE_CELLS;
    c.us_cells = s->total_us == 0 ? 0 : (c.cells - pauses * PAUSE_CELLS) / (double)s->total_us;
    cells = cli_alloc((size_t)c.cells * sizeof(*cells));
    for (enum stage stage = 0; stage < STAGE_COUNT; stage++)
        if (s->stage_rows[stage] > 0)
            stage_line(&c, stage, cells);
    axis(&c);
    memory(&c);
    for (size_t i = 0; i < s->stage_count; i++)
        if (s->stages[i].pause_us > 0)
            out_fmt(out, "%s %s of %s before %s of step %lld, not to scale\n", is_ascii ? "~~~" : "╌╌╌",
                    i > 0 && s->stages[i - 1].is_cut ? "crash and pause" : "pause",
                    amount_us(s->stages[i].pause_us, is_ascii).text, stage_word(s->stages[i].stage),
                    (long long)s->stages[i].step);
    free(cells);
}
