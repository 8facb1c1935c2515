/*
 * Request traces that are made, not recorded: the same seed gives the same trace everywhere.
 *
 *    zipf      Zipf(1.0) over 100,000 agents
 *    zipfscan  the same, and a pass over all of them after every 200,000 requests
 *    sessions  400 live conversations: the agent, the last 8 turns, 2 new ones; then dead, 3 % reopened
 *    loop      10,000 keys in a circle
 *    loopmix   half Zipf(1.0) over 20,000, half a circle 1.1 times a tenth of the footprint
 *    heavy     Zipf(0.9) over 100,000; sizes bounded Pareto(0.9), 200 B to 200 KB
 *    agentmix  the engine: agents, memories, turns, responses, re-reads, drift, list passes
 * and, not used while anything was tuned:
 *    shift     Zipf(0.8) over 50,000 whose popular keys change every 100,000 requests
 *    tenants   three loads in one cache: conversations, a batch that goes round and round, look-ups
 *    bursts    keys that are read 2 to 6 times in a short while and then hardly ever; few that last
 */
#ifndef BENCH_TRACES_H
#define BENCH_TRACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/cache/trace.h"

struct bench_random {
    uint64_t s[4];
};

/* splitmix64-seeded xoshiro256**. */
void bench_random_seed(struct bench_random *r, uint64_t seed);
uint64_t bench_random_next(struct bench_random *r);
double bench_random_unit(struct bench_random *r); /* [0, 1) */
uint64_t bench_random_below(struct bench_random *r, uint64_t n);

/* Names of the kinds above; NULL ends. */
extern const char *const bench_trace_names[];
/* False: no such kind, or out of memory. `equal_bytes` > 0: every object has this size. */
bool bench_trace_make(const char *name, uint64_t seed, size_t count, uint32_t equal_bytes, struct ag_trace *out);

#endif
