/*
 * The response cache: answers kept in the file and used again for exactly the same request. What of
 * it a run uses says its option "cache": "off" (the default), "on", "read-only" (nothing is kept) or
 * "refresh" (asked anew, and kept), and "cache_ttl_ms". Its entries are the rows of AGENT_VIEW_CACHE.
 */
#ifndef AGENT_CACHE_H
#define AGENT_CACHE_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

typedef struct agent_cache_stats {
    size_t size;
    int64_t entries, bytes;
    int64_t limit_bytes;  /* entries beyond it go: first those that save the fewest tokens by byte */
    int64_t hits;         /* of the entries that are there */
    int64_t tokens_saved; /* by those hits, as far as providers told their tokens */
} agent_cache_stats;

#define AGENT_CACHE_STATS_INIT { .size = sizeof(agent_cache_stats) }

/** Sums over the entries. Thread-safe (with workers). Blocks for reading. */
AGENT_API agent_status agent_cache_sums(agent_engine *engine, agent_cache_stats *out, agent_error *err);

/**
 * Removes one entry, some, or all of them.
 *
 * @param key        64 hexadecimal digits as in the view; or 1 to 64 and a `*`: all that begin with
 *                   them, be there any or none; NULL: all entries.
 * @param out_count  How many were removed; may be NULL.
 * @retval AGENT_EINVAL    key is no key
 * @retval AGENT_ENOTFOUND there is no such entry
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_cache_remove(agent_engine *engine, const char *key, int64_t *out_count,
                                          agent_error *err);

/**
 * Sets the limit of all entries (256 MB until then), for this file and whoever opens it, and removes
 * what is too much. 0: nothing is kept any more.
 *
 * @param out_removed  May be NULL.
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_cache_resize(agent_engine *engine, int64_t bytes, int64_t *out_removed,
                                          agent_error *err);

/* --- the front cache ---------------------------------------------------------------------------------- */

#define AGENT_CACHE_KINDS 4  /* agent, tail, memory, response */
#define AGENT_CACHE_TIMES 36 /* [i] counts from 2^i ns to twice as long; the last also what took longer */

typedef struct agent_front_kind {
    const char *name; /* static */
    int64_t gets, hits, loads, load_ns, invalidated, evictions;
    int64_t entries, bytes; /* now */
    uint32_t load_times[AGENT_CACHE_TIMES]; /* of every load */
    uint32_t hit_times[AGENT_CACHE_TIMES];  /* of about one get in 64, where it was a hit */
} agent_front_kind;

/* What this engine keeps in memory before the file, and how it went since it was opened. */
typedef struct agent_front_stats {
    size_t size;
    const char *policy; /* static */
    int64_t budget_bytes, held_bytes, entries;
    int64_t gets, hits, loads, load_ns, invalidated, evictions;
    int64_t changes_seen;      /* commits of others that were noticed … */
    int64_t changes_explained; /* … and of which it was known what they changed: else everything is dropped */
    double estimate_half, estimate_one, estimate_twice; /* the hit ratio with half, all, twice the budget, by a
                                                           sample of the keys; -1: not known (yet, or too small) */
    agent_front_kind kinds[AGENT_CACHE_KINDS];
} agent_front_stats;

#define AGENT_FRONT_STATS_INIT { .size = sizeof(agent_front_stats) }

/** Thread-safe (with workers). An engine that only inspects has no front cache: AGENT_EINVAL. The figures
 *  of engines in other processes are in the table `live`: agentctl cache stats. */
AGENT_API agent_status agent_cache_front(agent_engine *engine, agent_front_stats *out, agent_error *err);

/* --- a trace of the front cache's requests -------------------------------------------------------- */

/**
 * A recording of what is asked of the front cache: of this engine's, or of those of every engine on the
 * file, in whichever process, for choosing a size and a policy (agent/replay.h). Engines notice it
 * when they are opened, else within a second of work; meanwhile a request costs some 50 ns more.
 * What they cannot write in time is dropped and counted, no request waits. When the process that
 * records dies they stop by themselves. `<db>-trace` stands beside the database meanwhile.
 */
typedef struct agent_cache_trace agent_cache_trace;

typedef struct agent_cache_trace_options {
    size_t size;
    const char *path;  /* of the trace to be written: .csv or .bin; must not be there; copied */
    int64_t max_bytes; /* of 24 a request, more are not recorded; 0: 64 MB */
    int64_t for_ms;    /* nothing is recorded after so long; 0: until it is stopped */
    bool own_only;     /* this engine's requests; the engine must not be one that only inspects */
} agent_cache_trace_options;

typedef struct agent_cache_trace_result {
    size_t size;
    int64_t requests;  /* recorded: those that found a value, in the cache or by a load */
    int64_t hits;      /* of them, as it was; the figures from here on are known at the end only */
    int64_t dropped;   /* requests that came too fast to be written */
    int64_t processes; /* that requests came from */
    bool is_full;      /* max_bytes was reached */
    bool is_late;      /* an engine did not answer at the end: its last requests may be missing */
} agent_cache_trace_result;

#define AGENT_CACHE_TRACE_OPTIONS_INIT { .size = sizeof(agent_cache_trace_options) }
#define AGENT_CACHE_TRACE_RESULT_INIT { .size = sizeof(agent_cache_trace_result) }

/**
 * Begins to record.
 *
 * @param out  Given: agent_cache_trace_stop(), before the engine is closed.
 * @retval AGENT_EINVAL  the name tells no format; own_only of an engine that only inspects; store=memory
 * @retval AGENT_EEXISTS the file is there
 * @retval AGENT_EBUSY   somebody records already
 * @retval AGENT_EIO     no file could be made
 * Thread-safe (with workers).
 */
AGENT_API agent_status agent_cache_trace_start(agent_engine *engine, const agent_cache_trace_options *options,
                                               agent_cache_trace **out, agent_error *err);
/** How far it is: requests and is_full. AGENT_ENOTFOUND: the recording was removed by somebody. */
AGENT_API agent_status agent_cache_trace_look(agent_cache_trace *trace, agent_cache_trace_result *out,
                                              agent_error *err);
/**
 * Ends it and writes the trace, in the order of time. The handle is gone in any case, and on failure
 * there is no file.
 *
 * @param out  May be NULL.
 * @retval AGENT_ENOTFOUND  no request came
 * @retval AGENT_EIO        the trace could not be written
 * Blocks until the engines that record have answered (some 0.1 s; 1.5 s at most), and for the file.
 */
AGENT_API agent_status agent_cache_trace_stop(agent_cache_trace *trace, agent_cache_trace_result *out,
                                              agent_error *err);

AGENT_END_DECLS
#endif
