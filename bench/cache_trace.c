/*
 * Policies over made traces, through the real cache: hit ratio by Belady's hit ratio for each trace
 * and size, and the mean.
 *
 *    cache_trace [-n REQUESTS] [-s SEED] [-u | -z] [-p POLICY]... [TRACE]...
 *
 * -u: all objects of 4096 bytes (default), -z: with their own sizes. Without names: the traces that
 * the targets speak of. One JSON object a line for each cell, and one for each policy's mean.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/traces.h"
#include "engine/cache/policy.h"
#include "engine/cache/replay.h"

static const double shares[] = {.01, .05, .10, .20};
#define SHARES (sizeof(shares) / sizeof(shares[0]))

static const char *const unit_traces[] = {"zipf", "zipfscan", "sessions", "loopmix", "heavy", "agentmix", NULL};
static const char *const sized_traces[] = {"heavy", "agentmix", NULL};

#define POLICIES_MAX 16

struct sums {
    double ratio, worst;
    int cells;
};

static bool run_cell(const char *trace_name, const struct ag_trace *t, double share, const char *policy, double best,
                     struct sums *sums, double *out_hit)
{
    struct ag_replay_result r;
    agent_error err = AGENT_ERROR_INIT;
    double ratio;

    if (ag_cache_replay(t, policy, (int64_t)((double)t->footprint_bytes * share), 0, 0, false, &r, &err) != AGENT_OK) {
        fprintf(stderr, "cache_trace: %s\n", err.text);
        return false;
    }
    ratio = best > 0 ? r.hit_ratio / best : 0;
    sums->ratio += ratio;
    sums->cells++;
    *out_hit = r.hit_ratio;
    printf("{\"trace\":\"%s\",\"share\":%.2f,\"policy\":\"%s\",\"bytes\":%lld,\"requests\":%llu,\"hit_ratio\":%.4f,"
           "\"byte_hit_ratio\":%.4f,\"cost_hit_ratio\":%.4f,\"belady_hit_ratio\":%.4f,\"of_belady\":%.4f,"
           "\"evictions\":%llu,\"metadata_bytes_per_entry\":%.1f,\"ns_per_request\":%.0f}\n",
           trace_name, share, r.policy, (long long)r.bytes, (unsigned long long)r.requests, r.hit_ratio,
           r.byte_hit_ratio, r.cost_hit_ratio, best, ratio, (unsigned long long)r.evictions,
           r.metadata_bytes_per_entry, r.ns_per_request);
    fflush(stdout);
    return true;
}

static bool run_trace(const char *name, uint64_t seed, size_t requests, bool sized, const char *const *policies,
                      size_t policy_count, struct sums *sums)
{
    struct ag_trace t;
    bool ok = true;

    if (!bench_trace_make(name, seed, requests, sized ? 0 : 4096, &t)) {
        fprintf(stderr, "cache_trace: no trace \"%s\", or no memory for it\n", name);
        return false;
    }
    for (size_t s = 0; ok && s < SHARES; s++) {
        double hits[POLICIES_MAX];
        uint64_t best = 0;

        ok = ag_trace_belady(&t, (uint64_t)((double)t.footprint_bytes * shares[s]), &best, NULL) == AGENT_OK;
        for (size_t p = 0; ok && p < policy_count; p++)
            ok = run_cell(name, &t, shares[s], policies[p], (double)best / (double)t.count, &sums[p], &hits[p]);
        /* How far the first policy is behind the best of the others here. */
        for (size_t p = 1; ok && p < policy_count; p++)
            if (hits[p] - hits[0] > sums[0].worst)
                sums[0].worst = hits[p] - hits[0];
    }
    ag_trace_drop(&t);
    return ok;
}

int main(int argc, char **argv)
{
    const char *policies[POLICIES_MAX] = {NULL};
    size_t policy_count = 0, requests = 2000000;
    struct sums sums[POLICIES_MAX] = {{0}};
    const char *const *names;
    uint64_t seed = 42;
    bool sized = false;
    int opt;

    while ((opt = getopt(argc, argv, "n:s:uzp:")) != -1)
        switch (opt) {
        case 'n': requests = strtoull(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 'u': sized = false; break;
        case 'z': sized = true; break;
        case 'p':
            if (policy_count < POLICIES_MAX)
                policies[policy_count++] = optarg;
            break;
        default: return 2;
        }
    if (policy_count == 0)
        for (const struct ag_policy_vt *const *p = ag_policy_all(); *p != NULL; p++)
            if (!(*p)->keeps_nothing)
                policies[policy_count++] = (*p)->name;
    names = optind < argc ? (const char *const *)&argv[optind] : sized ? sized_traces : unit_traces;
    for (; *names != NULL; names++)
        if (!run_trace(*names, seed, requests, sized, policies, policy_count, sums))
            return 1;
    for (size_t p = 0; p < policy_count; p++)
        printf("{\"policy\":\"%s\",\"sizes\":\"%s\",\"seed\":%llu,\"cells\":%d,\"mean_of_belady\":%.4f}\n", policies[p],
               sized ? "own" : "equal", (unsigned long long)seed, sums[p].cells, sums[p].ratio / sums[p].cells);
    printf("{\"policy\":\"%s\",\"most_behind_any_other\":%.4f}\n", policies[0], sums[0].worst);
    return 0;
}
