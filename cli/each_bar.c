/*
 * The progress of --each on a terminal's stderr: one line that is written over itself, ten times a
 * second at most.
 *
 *     [#########-----------] 46%  4,612 done, 3 failed  812/s  6s left
 *
 * The share is of the bytes of the input: its lines are not counted in advance.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/each.h"
#include "cli/units.h"

#define DRAW_EVERY_NS INT64_C(100000000)
#define CELLS 20

static int64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static size_t columns(void)
{
    struct winsize size = {0};

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

void each_bar_begin(struct each_bar *bar, bool is_on, int64_t all_bytes)
{
    *bar = (struct each_bar){.is_on = is_on, .began_ns = now_ns(), .all_bytes = all_bytes};
}

double each_bar_seconds(const struct each_bar *bar)
{
    return (double)(now_ns() - bar->began_ns) / 1e9;
}

void each_bar_draw(struct each_bar *bar, bool at_once)
{
    char line[256], head[64] = "", tail[48] = "";
    double seconds, share;
    int64_t now;
    size_t n;

    if (!bar->is_on || ((now = now_ns()) - bar->shown_ns < DRAW_EVERY_NS && !at_once))
        return;
    bar->shown_ns = now;
    seconds = each_bar_seconds(bar);
    if (bar->all_bytes > 0) {
        int64_t left = bar->all_bytes - bar->skipped_bytes - bar->done_bytes;
        char cells[CELLS + 1];

        share = (double)(bar->done_bytes + bar->skipped_bytes) / (double)bar->all_bytes;
        share = share > 1 ? 1 : share;
        memset(cells, '-', CELLS);
        memset(cells, '#', (size_t)(share * CELLS));
        cells[CELLS] = '\0';
        (void)snprintf(head, sizeof(head), "[%s] %3.0f%%  ", cells, share * 100);
        if (bar->done_bytes > 0 && left > 0 && seconds > 0.5)
            (void)snprintf(tail, sizeof(tail), "  %s left",
                           amount_us((int64_t)(seconds * 1e6 * (double)left / (double)bar->done_bytes), true).text);
    }
    (void)snprintf(line, sizeof(line), "%s%s done, %s failed  %.*f/s%s", head, amount_int(bar->done + bar->skipped).text,
                   amount_int(bar->failed).text, bar->done < (int64_t)(10 * seconds) ? 1 : 0,
                   seconds > 0 ? (double)bar->done / seconds : 0, tail);
    n = text_head(line, strlen(line), columns());
    (void)fprintf(stderr, "\r%.*s\033[K", (int)n, line);
    bar->is_shown = true;
}

void each_bar_clear(struct each_bar *bar)
{
    if (bar->is_shown)
        (void)fputs("\r\033[K", stderr);
    bar->is_shown = false;
}
