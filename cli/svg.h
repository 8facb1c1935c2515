/*
 * The parts of a drawing among themselves: svg.c lays it out and draws time, svg_memory.c memory.
 */
#ifndef AG_CLI_SVG_H
#define AG_CLI_SVG_H

#include "cli/stats.h"

#define SVG_WIDTH      1000
#define SVG_LEFT       86
#define SVG_RIGHT      26
#define SVG_RSS_HIGH   210
#define SVG_HEAP_HIGH  96
#define SVG_CHILD_HIGH 96
#define SVG_PANEL_GAP  26

struct drawing {
    struct out *out;
    const struct stats *s;
    double us_px;
    int pauses; /* between stages; where there are none, no one looks for them */
    int ribbon, lanes, rss, child, heap, axis, legend, height; /* y of each part */
    bool has_rss, has_heap, has_child;
    bool is_apart; /* tools' processes have a panel of their own: beside them the engine's line would lie flat */
};

/* Where a moment of a stage's time lies: pauses up to that stage are in it. */
double svg_x(const struct drawing *d, size_t stage, int64_t us);
int64_t svg_wall(const struct stats_stage *st); /* 0 where it was cut off */
int64_t svg_highest(int64_t a, int64_t b);      /* UNKNOWN counts as lowest */

void svg_process_panel(const struct drawing *d);
void svg_child_panel(const struct drawing *d);
void svg_heap_panel(const struct drawing *d);

#endif
