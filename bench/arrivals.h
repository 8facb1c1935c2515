/*
 * Runs that arrive when they arrive, whether earlier ones have ended or not: a load of the open kind.
 *
 *  (1) A run's time counts from when it should have been started, not from when this thread came to
 *      do it: who is late is late for the run too.
 *  (2) Every answer is checked, and nothing is said before the last one is there.
 */
#ifndef BENCH_ARRIVALS_H
#define BENCH_ARRIVALS_H

#include <agent/agent.h>

#include "bench/bench.h"

struct arrivals {
    agent_engine *engine;
    const char *agent;
    const char *input;
    const char *expect; /* stands in every answer */
    int priority;
    bool no_stream;
    const int64_t *at_ns; /* when each one comes, from the start on, in order */
    long count;
    int64_t patience_ns; /* after the last arrival; then it has failed */
};

struct arrivals_result {
    double total_ms;   /* from the first arrival to the last end */
    double late_ms;    /* p99 of how late this thread started a run */
};

/* ms[count]: each run's time, in order of arrival. Blocks. After a failure runs may still be under way, and what they
 * use is kept: the process is to end. */
bool arrivals_drive(const struct arrivals *a, double *ms, struct arrivals_result *out, char *why);

/* `count` times with exponential distances of 1/rate s on average: the same ones for the same seed. */
void arrivals_poisson(int64_t *at_ns, long count, double rate, uint64_t seed);

#endif
