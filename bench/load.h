/*
 * An engine and a load for it, through the public API alone: what an embedder would write.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <agent/agent.h>

#include "bench/bench.h"

struct load {
    const char *path; /* NULL: store=memory */
    int workers;      /* 0: this thread drives */
    int durability;
    const char *model;    /* NULL: offline:demo */
    const char *base_url; /* NULL: the provider's own */
    const char *ca_file;  /* NULL: the system's */
    bool no_stream;
    void (*on_text)(void *ctx, const char *text, size_t bytes); /* NULL: none; on the worker */
    void *ctx;
    int sample_ms;        /* between two readings of memory; 0: none, -1: the engine's default */
    bool no_accounts;     /* of heap */
    const char *options; /* of the agent */
    bool tools;          /* all builtins; else none */
    const char *session; /* NULL: each run has its own */
    const char *input;
    const char *expect;  /* stands in every answer */
    int in_flight;
    int ramp_ms;         /* workers > 0: the first in_flight runs begin spread over it */
    long runs;
};

struct load_result {
    double wall_s, cpu_s;
    double p50_us, p99_us; /* a run's start to its end as its caller sees it */
    double steady_per_s;   /* ends a second from the first run after the first in_flight to the last start */
    double first_p99_us;   /* of the first in_flight; with a ramp p50 and p99 are of the others */
    long succeeded;
    int64_t rss_bytes; /* grown by, while the runs ran */
    int64_t rss_half_bytes; /* workers > 0: grown by, when half of the runs had ended */
};

/* Opens the engine and creates the agent "bench"; why where it cannot. */
bool load_open(const struct load *l, agent_engine **out, char *why);
/* One turn, start to end; the answer is checked. */
bool load_turn(agent_engine *engine, const struct load *l, char *why);
/* l->runs runs, l->in_flight at a time; every answer is checked. */
bool load_drive(agent_engine *engine, const struct load *l, struct load_result *out, char *why);

/* Rows of a view; `status`: those with this word in their column of that name; NULL: all. */
bool load_count(agent_engine *engine, enum agent_view view, const char *status, int64_t *out, char *why);
/* How many runs the agent "bench" has had: its own count, for store=memory forgets old runs. */
bool load_runs(agent_engine *engine, int64_t *out, char *why);

#endif
