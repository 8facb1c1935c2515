/*
 * Two clocks. Real time (unix, milliseconds) is stored and shown; monotonic time (nanoseconds)
 * measures and schedules. A host or a test may replace both; they must be callable from any thread.
 */
#ifndef AG_BASE_CLOCK_H
#define AG_BASE_CLOCK_H

#include <stdint.h>

typedef struct ag_clock {
    int64_t (*unix_ms)(void *ctx);
    int64_t (*mono_ns)(void *ctx);
    void *ctx;
} ag_clock;

extern const ag_clock ag_clock_system;

static inline int64_t ag_unix_ms(const ag_clock *c)
{
    return c->unix_ms(c->ctx);
}

static inline int64_t ag_mono_ns(const ag_clock *c)
{
    return c->mono_ns(c->ctx);
}

/* Real time as of the kernel's last tick, up to 10 ms ago: for a sixth of the price. */
int64_t ag_unix_tick_ms(const ag_clock *c);

/* "2026-01-02T03:04:05.678Z"; text must hold 32 bytes. */
void ag_iso8601(int64_t unix_ms, char *text);

#endif
