/*
 * What the engine does about memory by itself, told in the file: `agentctl stats` and `top` of another
 * process show it, and an investigator a day later.
 *
 *     pressure.c, run_stage.c ── ag_notice() ──► a few that wait ── ag_notices_flush() ──► one lazy unit
 *     (any thread, no I/O)                                          (workers' polls, a refused start, close)
 *
 *  (1) Who tells something never waits for the disk; one unit is out at a time.
 *  (2) Where more happens than is written, the oldest that wait are dropped: the newest says how it stands.
 */
#ifndef AG_ENGINE_NOTICE_H
#define AG_ENGINE_NOTICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/clock.h"
#include "storage/store.h"

#define AG_NOTICES_WAITING 16

struct ag_notice {
    int64_t at_ms, rss_bytes, limit_bytes; /* bytes -1: unknown */
    int level;                             /* of pressure; -1: it is of something else */
    const char *kind;                      /* a constant */
    char text[160];
};

struct ag_notices {
    const ag_clock *clock;
    ag_store *store; /* NULL until it is open, and in an engine that only looks: nothing is written */
    pthread_mutex_t lock; /* of what waits; a leaf */
    struct ag_notice waiting[AG_NOTICES_WAITING];
    int count;
    atomic_bool any; /* some wait */
    atomic_bool out; /* (1); whoever sets it has the rest, until the unit is done */
    ag_unit unit;
    struct ag_notice going[AG_NOTICES_WAITING];
    struct ag_op ops[AG_NOTICES_WAITING];
};

void ag_notices_open(struct ag_notices *n, const ag_clock *clock);
void ag_notices_close(struct ag_notices *n); /* after the store is closed */
void ag_notice(struct ag_notices *n, const char *kind, int level, int64_t rss_bytes, int64_t limit_bytes, const char *fmt,
               ...) __attribute__((format(printf, 6, 7)));
void ag_notices_submit(struct ag_notices *n); /* where some wait and none is out */

static inline void ag_notices_flush(struct ag_notices *n)
{
    if (atomic_load_explicit(&n->any, memory_order_relaxed))
        ag_notices_submit(n);
}

#endif
