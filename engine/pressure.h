/*
 * The engine's memory limit: what happens as the process's RSS comes near it.
 *
 *      80 %  the front cache shrinks to a quarter, and what is free goes back to the system
 *      90 %  runs of class low are not admitted
 *     100 %  no new run is: AGENT_EBUDGET
 *
 * Each step is undone when RSS is 5 % of the limit below where it was taken; each is logged, and told in
 * the file (notice.h), once when it is taken and once when it is undone. It is RSS of the whole process, the host's memory included:
 * that is what a small machine runs out of.
 *
 * Invariants: (1) one thread at a time changes the level, others go on with the old one; (2) without a
 * limit nothing here is called; (3) a limit needs /proc: without, agent_open() refuses it.
 */
#ifndef AG_ENGINE_PRESSURE_H
#define AG_ENGINE_PRESSURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/base/log.h"
#include "engine/cache/front_cache.h"
#include "engine/notice.h"

enum ag_pressure_level { AG_PRESSURE_NONE, AG_PRESSURE_CACHE, AG_PRESSURE_LOW, AG_PRESSURE_FULL };

typedef struct ag_pressure {
    int64_t limit_bytes; /* 0: none */
    int64_t cache_bytes; /* what the cache had before it shrank; guarded by lock */
    ag_cache *cache;     /* NULL until there is one */
    const ag_log *log;
    struct ag_notices *notices; /* NULL: nobody is told but the log */
    atomic_int level;    /* of ag_pressure_level */
    atomic_ulong steps;  /* levels taken and left */
    pthread_mutex_t lock; /* (1); held while the cache shrinks: taken before its shards */
} ag_pressure;

void ag_pressure_open(ag_pressure *p, const ag_log *log); /* without a limit and a cache: set them before the first run */
void ag_pressure_close(ag_pressure *p);
/* A reading of RSS; any thread. */
void ag_pressure_see(ag_pressure *p, int64_t rss_bytes);

#endif
