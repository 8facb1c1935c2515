/*
 * Reading the process's own memory, at the borders of stages and on an interval between them.
 *
 *      stage begins ──► reading          samples of the thread          stage ends ──► reading
 *                          │     ·   ·   ·   ·   ·   ·   ·   ·   ·          │
 *                          └── mark ──────────────── ring ──────────────────┴─► peak, count
 *
 * One kept-open descriptor of /proc/self/statm, read with pread (about 1 µs at any size). The thread
 * is started when the first stage begins and asked for by the engine: one that works on its host's
 * thread alone (workers = 0) has none unless an interval was set. It samples where its loop wakes up by
 * itself, every 100 ms while a run waits for something outside.
 *
 *  (1) The thread sleeps without waking up while no stage is active, and it wakes on a fixed grid:
 *      reading late does not make the next reading later.
 *  (2) Nobody waits for the thread: borders read by themselves, and look into the ring without a lock.
 *  (3) A border reading younger than 100 µs is another's, taken over and marked so.
 *  (4) With `hwm` each reading is the kernel's own peak since the reading before, which is then reset
 *      for the whole process: short spikes are caught, and every other peak (time -v) is spoiled.
 *  (5) No /proc, no figures: -1, never 0.
 *  (6) smaps_rollup is read where a run begins and ends, as long as a reading costs its thread no more
 *      than the budget, and so seldom that all of them stay under 0.2 % of a core. After one that cost
 *      more there is none for a minute, then for two, four … up to an hour.
 */
#ifndef AG_ENGINE_SAMPLER_H
#define AG_ENGINE_SAMPLER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/clock.h"

#define AG_SAMPLE_MS_DEFAULT 100
#define AG_SAMPLE_MS_MOST    1000
#define AG_SMAPS_BUDGET_US   1000
#define AG_SERIES_MOST       256 /* points of one run that are kept */

struct ag_ring;

struct ag_sampler_options {
    const char *proc;    /* of this process; NULL: /proc/self */
    int interval_ms;     /* 0: the default; -1: no figures for stages */
    bool thread;         /* samples between the borders too */
    bool hwm;            /* (4) */
    const ag_clock *clock;
};

typedef struct ag_sampler {
    int statm, status, clear_refs, smaps; /* -1: not open */
    bool figures, hwm;
    int64_t smaps_budget_us;              /* 0: never */
    _Atomic int64_t smaps_next_ns[2];     /* by border; not before that time */
    _Atomic int smaps_over;               /* readings in a row that cost more than the budget */
    int64_t page_bytes, interval_ns;
    const ag_clock *clock;
    void (*see)(void *ctx, int64_t rss_bytes);
    void *ctx;
    _Atomic int64_t at_ns, rss_bytes; /* the newest reading */
    _Atomic uint64_t stages;          /* begun so far << 24 | active now */
    atomic_bool parked;               /* it wants to be woken by the next stage that begins */
    struct ag_ring *_Atomic ring;     /* NULL until the first sample */
    pthread_mutex_t lock;             /* of what is below, and of writing to the ring; a leaf */
    pthread_cond_t wake;
    pthread_t thread;
    bool wants_thread, started, stopping;
    _Atomic uint64_t wakeups;
    int64_t ticked_ns; /* the loop's last sample */
} ag_sampler;

enum ag_border { AG_BORDER_BEGIN, AG_BORDER_END }; /* of a run */

struct ag_smaps {
    int64_t us; /* of the thread's CPU time: what this reading cost */
    int64_t pss_kb, anon_kb, file_kb;
    bool is_over;    /* it cost more than the budget */
    bool was_over;   /* the one before did */
    int64_t pause_s; /* is_over: none is made for so long */
};

struct ag_point {
    int64_t at_ns, rss_bytes;
};

struct ag_reading {
    int64_t rss_bytes; /* -1: unknown */
    bool is_shared;    /* (3) */
};

/* Never fails: without /proc or threads it reads less. */
void ag_sampler_open(ag_sampler *s, const struct ag_sampler_options *o);
void ag_sampler_close(ag_sampler *s); /* joins the thread */
/* Before the first stage: another interval, and somebody who is told each fresh reading on whichever
 * thread made it, with no lock held. */
void ag_sampler_interval(ag_sampler *s, int interval_ms);
/* The same of (6), 0: never; and of (4), where clear_refs can be written. */
void ag_sampler_smaps_budget(ag_sampler *s, int64_t budget_us);
void ag_sampler_hwm(ag_sampler *s, const char *proc);
void ag_sampler_watch(ag_sampler *s, void (*see)(void *ctx, int64_t rss_bytes), void *ctx);

/* Now, for a border; any thread. Figures are off: -1. */
struct ag_reading ag_sampler_read(ag_sampler *s, int64_t now_ns);
/* Resident bytes now, also where figures are off; at most 100 µs old. -1: unknown. */
int64_t ag_sampler_rss(ag_sampler *s, int64_t now_ns);

/* The number of samples so far: what a stage that begins now remembers. */
uint64_t ag_sampler_mark(ag_sampler *s);
/* A sample from a loop, where there is no thread and the interval is over. */
void ag_sampler_tick(ag_sampler *s);
/* The largest sample since then; *out_count how many. -1: none. A stage of more than 4096 samples is
 * looked up in blocks of 64, so its first block may begin up to 63 samples before it. */
int64_t ag_sampler_peak(ag_sampler *s, uint64_t mark, int *out_count);
/* Sample i, i < mark; false: it is not kept any more. */
bool ag_sampler_at(ag_sampler *s, uint64_t i, int64_t *out_at_ns, int64_t *out_rss_bytes);

/* The samples since `mark`, oldest first, at most AG_SERIES_MOST of them: of more, the lowest and the
 * highest of each of 128 stretches. Points on a level with both their neighbours are left out. */
size_t ag_sampler_series(ag_sampler *s, uint64_t mark, struct ag_point *out);
/* (6). False: not now, or it cannot be read. Any thread. */
bool ag_sampler_smaps(ag_sampler *s, enum ag_border border, int64_t now_ns, struct ag_smaps *out);
/* The same without a look at the budget or the time, also where figures are off. */
bool ag_sampler_smaps_now(ag_sampler *s, struct ag_smaps *out);

void ag_sampler_wake(ag_sampler *s);

/*
 * Who shares the process with whom. One atomic word says how many stages ever began and how many are
 * active: of two that overlap, the later one saw the other active, and the earlier one sees at its
 * end that another began.
 */
#define AG_STAGES_ACTIVE ((UINT64_C(1) << 24) - 1)

struct ag_together {
    uint64_t seq;
    bool is_shared;
};

static inline struct ag_together ag_sampler_stage_begins(ag_sampler *s)
{
    uint64_t was = atomic_fetch_add(&s->stages, AG_STAGES_ACTIVE + 2);

    if ((was & AG_STAGES_ACTIVE) == 0 && atomic_load(&s->parked))
        ag_sampler_wake(s);
    return (struct ag_together){(was >> 24) + 1, (was & AG_STAGES_ACTIVE) != 0};
}

/* Whether another stage was active at any time of this one. */
static inline bool ag_sampler_stage_ends(ag_sampler *s, struct ag_together t)
{
    return (atomic_fetch_sub(&s->stages, 1) >> 24 != (t.seq & (UINT64_MAX >> 24))) || t.is_shared;
}

#endif
