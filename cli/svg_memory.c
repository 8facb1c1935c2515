/*
 * The memory of a run drawn: panels with a scale each, for the process (resident set), for tools'
 * processes (with it, where they are of its size) and for what the run itself held.
 *
 *   (1) A line breaks where nothing was measured, and at pauses.
 *   (2) The scale of the process begins at 0 unless the readings are close together; it then says so.
 */
#include <math.h>
#include <string.h>

#include "cli/svg.h"

struct scale { /* of one panel */
    int top, high;
    double low, most; /* bytes at the lower and the upper edge */
    struct marks marks;
};

static double y_of(const struct scale *sc, int64_t bytes)
{
    return sc->top + sc->high - ((double)bytes - sc->low) * sc->high / (sc->most - sc->low);
}

static struct scale scale_of(int top, int high, int64_t least, int64_t most, bool from_zero, int marks)
{
    struct scale sc = {.top = top, .high = high};
    double step;

    if (from_zero || most - least > most / 3)
        least = 0;
    if (most == least)
        most = least + (least > 4096 ? least / 8 : 512);
    sc.marks = marks_bytes(most - least, most, marks);
    step = sc.marks.step * sc.marks.unit;
    sc.low = floor((double)least / step) * step;
    sc.most = ceil((double)most / step) * step;
    return sc;
}

static void memory_axis(const struct drawing *d, const struct scale *sc, const char *name)
{
    struct out *out = d->out;

    const double step = sc->marks.step * sc->marks.unit;

    for (double v = sc->low; v < sc->most + step / 2; v += step) {
        double y = sc->top + sc->high - (v - sc->low) * sc->high / (sc->most - sc->low);

        out_fmt(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.2f\" x2=\"%d\" y2=\"%.2f\"/>", SVG_LEFT, y, SVG_WIDTH - SVG_RIGHT, y);
        out_fmt(out, "<text class=\"end\" x=\"%d\" y=\"%.2f\">%s</text>\n", SVG_LEFT - 8, y + 4,
                marks_text(&sc->marks, v).text);
    }
    out_fmt(out, "<line class=\"edge\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", SVG_LEFT, sc->top, SVG_LEFT, sc->top + sc->high);
    out_fmt(out, "<text class=\"mid dim\" transform=\"translate(16 %d) rotate(-90)\">%s</text>\n", sc->top + sc->high / 2, name);
}

struct pen { /* a line that breaks where nothing was measured */
    struct out *out;
    const char *class;
    bool is_down;
    double x, y;
};

static void pen_up(struct pen *p)
{
    if (p->is_down)
        out_text(p->out, "\"/>\n");
    p->is_down = false;
}

static void pen_to(struct pen *p, const char *class, double x, double y)
{
    if (p->is_down && strcmp(p->class, class) != 0) { /* the style changes at a point that both have */
        double from_x = p->x, from_y = p->y;

        pen_up(p);
        out_fmt(p->out, "<path class=\"%s\" d=\"M%.2f %.2f", class, from_x, from_y);
    } else if (!p->is_down) {
        out_fmt(p->out, "<path class=\"%s\" d=\"M%.2f %.2f", class, x, y);
    }
    p->class = class;
    if (!p->is_down || fabs(x - p->x) > 0.4 || fabs(y - p->y) > 0.4) { /* less is not seen */
        if (p->is_down)
            out_fmt(p->out, "L%.2f %.2f", x, y);
        p->x = x;
        p->y = y;
    }
    p->is_down = true;
}

static void rss_line(const struct drawing *d, const struct scale *sc)
{
    struct pen pen = {.out = d->out};
    double last = -10;

    for (size_t i = 0; i < d->s->stage_count; i++) {
        const struct stats_stage *st = &d->s->stages[i];
        const char *class = st->is_shared ? "rss shared" : "rss";

        if (st->pause_us > 0 || st->rss_before == UNKNOWN)
            pen_up(&pen);
        if (st->rss_before != UNKNOWN)
            pen_to(&pen, class, svg_x(d, i, st->from_us), y_of(sc, st->rss_before));
        for (size_t k = 0; k < st->sample_count; k++) {
            const struct stats_sample *sample = &d->s->samples[st->first_sample + k];

            pen_to(&pen, class, svg_x(d, i, sample->at_us), y_of(sc, sample->rss));
        }
        if (st->rss_after != UNKNOWN && !st->is_cut)
            pen_to(&pen, class, svg_x(d, i, st->from_us + st->wall_us), y_of(sc, st->rss_after));
        else
            pen_up(&pen);
    }
    pen_up(&pen);
    for (size_t i = 0; i < d->s->stage_count; i++) {
        const struct stats_stage *st = &d->s->stages[i];
        double from = svg_x(d, i, st->from_us), to = svg_x(d, i, st->from_us + svg_wall(st));

        if (st->rss_before != UNKNOWN && from - last > 1.5) {
            out_fmt(d->out, "<circle class=\"dot\" cx=\"%.2f\" cy=\"%.2f\" r=\"2\"/>\n", from, y_of(sc, st->rss_before));
            last = from;
        }
        if (st->rss_after != UNKNOWN && !st->is_cut && to - last > 1.5) {
            out_fmt(d->out, "<circle class=\"dot\" cx=\"%.2f\" cy=\"%.2f\" r=\"2\"/>\n", to, y_of(sc, st->rss_after));
            last = to;
        }
        if (stats_has_hidden_peak(st))
            out_fmt(d->out, "<line class=\"peak\" x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\"/>\n", from,
                    y_of(sc, st->rss_peak), to - from < 3 ? from + 3 : to, y_of(sc, st->rss_peak));
    }
}

/* One beside another at the same level would hide it: they lie a line's width apart by their lanes. */
static void child_level(const struct drawing *d, const struct scale *sc, double from, double to, int64_t bytes,
                        const char *tool, int lane)
{
    double y = y_of(sc, bytes) + (lane < 4 ? lane : 0) * 3;

    out_fmt(d->out, "<path class=\"child\" d=\"M%.2f %.2fL%.2f %.2f\"><title>", from, y, to - from < 2 ? from + 2 : to, y);
    svg_text(d->out, tool);
    out_fmt(d->out, ": %s</title></path>\n", amount_bytes(bytes).text);
}

/* A line for each call that was measured; where no call says, the stage's own figure. */
static void child_lines(const struct drawing *d, const struct scale *sc)
{
    const struct stats *s = d->s;

    for (size_t i = 0; i < s->call_count; i++)
        if (s->calls[i].from_us != UNKNOWN && s->calls[i].child_peak != UNKNOWN)
            child_level(d, sc, svg_x(d, s->calls[i].stage, s->calls[i].from_us),
                        svg_x(d, s->calls[i].stage, s->calls[i].to_us), s->calls[i].child_peak, s->calls[i].tool,
                        s->calls[i].lane);
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];
        bool is_told = false;

        for (size_t c = 0; c < s->call_count; c++)
            is_told |= s->calls[c].stage == i && s->calls[c].from_us != UNKNOWN && s->calls[c].child_peak != UNKNOWN;
        if (!is_told && st->child_peak != UNKNOWN)
            child_level(d, sc, svg_x(d, i, st->from_us), svg_x(d, i, st->from_us + svg_wall(st)), st->child_peak,
                        "all tools of the stage", 0);
    }
}

void svg_process_panel(const struct drawing *d)
{
    const struct stats *s = d->s;
    int64_t least = INT64_MAX, most = 0;
    struct scale sc;

    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];

        most = svg_highest(most, svg_highest(svg_highest(st->rss_before, st->rss_after), st->rss_peak));
        if (!d->is_apart)
            most = svg_highest(most, st->child_peak);
        if (st->rss_before != UNKNOWN && st->rss_before < least)
            least = st->rss_before;
        if (st->rss_after != UNKNOWN && st->rss_after < least)
            least = st->rss_after;
        for (size_t k = 0; k < st->sample_count; k++)
            if (s->samples[st->first_sample + k].rss < least)
                least = s->samples[st->first_sample + k].rss;
        most = svg_highest(most, st->sampled_most);
    }
    for (size_t i = 0; i < s->call_count && !d->is_apart; i++)
        most = svg_highest(most, s->calls[i].child_peak);
    sc = scale_of(d->rss, d->is_apart ? SVG_RSS_HIGH - 60 : SVG_RSS_HIGH, least == INT64_MAX ? 0 : least, most,
                  d->has_child && !d->is_apart, 6);
    memory_axis(d, &sc, sc.low <= 0 ? "process memory (RSS)" : "process RSS, not from 0");
    rss_line(d, &sc);
    if (!d->is_apart)
        child_lines(d, &sc);
}

void svg_child_panel(const struct drawing *d)
{
    const struct stats *s = d->s;
    int64_t most = 0;
    struct scale sc;

    for (size_t i = 0; i < s->stage_count; i++)
        most = svg_highest(most, s->stages[i].child_peak);
    for (size_t i = 0; i < s->call_count; i++)
        most = svg_highest(most, s->calls[i].child_peak);
    sc = scale_of(d->child, SVG_CHILD_HIGH, 0, most, true, 4);
    memory_axis(d, &sc, "tools (RSS)");
    child_lines(d, &sc);
}

void svg_heap_panel(const struct drawing *d)
{
    const struct stats *s = d->s;
    struct pen pen = {.out = d->out};
    int64_t most = 0;
    struct scale sc;
    double base, last = -10;

    for (size_t i = 0; i < s->stage_count; i++)
        most = svg_highest(most, s->stages[i].heap_peak);
    sc = scale_of(d->heap, SVG_HEAP_HIGH, 0, most, true, 4);
    base = y_of(&sc, 0);
    memory_axis(d, &sc, "heap of the run");
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];
        double from = svg_x(d, i, st->from_us), to = svg_x(d, i, st->from_us + svg_wall(st)), y;

        if (st->heap_peak == UNKNOWN || st->is_cut || st->pause_us > 0)
            pen_up(&pen);
        if (st->heap_peak == UNKNOWN || st->is_cut)
            continue;
        y = y_of(&sc, st->heap_peak);
        pen_to(&pen, "heap", from, y);
        pen_to(&pen, "heap", to, y);
    }
    pen_up(&pen);
    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];
        double from = svg_x(d, i, st->from_us), to = svg_x(d, i, st->from_us + svg_wall(st));

        if (st->heap_peak == UNKNOWN || to < last + 0.5)
            continue;
        last = to;
        out_fmt(d->out, "<rect class=\"under\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>\n", from,
                y_of(&sc, st->heap_peak), to - from, base - y_of(&sc, st->heap_peak));
    }
}
