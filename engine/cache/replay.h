/*
 * A trace through the real cache: what a budget and a policy would have made of it. Sizes are
 * accounted, values are not stored; the budget counts bytes of objects alone, so that results
 * compare with published ones, and metadata is told beside.
 */
#ifndef AG_CACHE_REPLAY_H
#define AG_CACHE_REPLAY_H

#include "engine/cache/front_cache.h"
#include "engine/cache/trace.h"

struct ag_replay_result {
    const char *policy;      /* static */
    int64_t bytes;
    uint64_t requests, hits;
    double hit_ratio;
    double byte_hit_ratio;
    double cost_hit_ratio;   /* of the time that reloading everything would take, by the default cost */
    double belady_hit_ratio; /* -1: not asked for */
    uint64_t evictions;
    uint64_t entries;        /* at the end */
    double metadata_bytes_per_entry; /* everything but values, at the end; 0 with no entries */
    double ns_per_request;
};

/* policy NULL: the default. `k`, `history_percent`: as in ag_cache_options. Blocks for as long as it
 * takes: some 100 ns a request, and as much again for Belady. */
agent_status ag_cache_replay(const struct ag_trace *trace, const char *policy, int64_t bytes, int k,
                             uint32_t history_percent, bool with_belady, struct ag_replay_result *out, agent_error *err);

#endif
