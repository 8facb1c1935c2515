/* A trace through the real cache; see replay.h. */
#include "engine/cache/replay.h"

#include "engine/cache/front_cache_impl.h"

/* One value stands for all: an entry takes its size when it is made and never looks again. */
static void keep_value(struct ag_value *v)
{
    (void)v;
}

static void run(ag_cache *c, const struct ag_trace *t, struct ag_value *value, struct ag_replay_result *r)
{
    uint64_t bytes = 0, hit_bytes = 0;
    double cost = 0, hit_cost = 0;
    int64_t begun;

    begun = ag_mono_ns(&ag_clock_system);
    for (size_t i = 0; i < t->count; i++) {
        const struct ag_trace_request *q = &t->requests[i];
        struct ag_probe p = ag_cache_probe(AG_CACHE_RESPONSE, &q->key, sizeof(q->key));
        uint64_t reload = ag_cost_default(q->bytes);
        bool is_negative;
        struct ag_value *v = ag_cache_find(c, &p, true, &is_negative);

        bytes += q->bytes;
        cost += (double)reload;
        if (v != NULL) {
            ag_value_put(v);
            r->hits++;
            hit_bytes += q->bytes;
            hit_cost += (double)reload;
        } else {
            value->bytes = q->bytes;
            (void)ag_cache_keep(c, &p, value, *ag_shard_writes(ag_cache_shard(c, p.hash), p.hash), false, 0, reload);
        }
    }
    r->ns_per_request = t->count > 0 ? (double)(ag_mono_ns(&ag_clock_system) - begun) / (double)t->count : 0;
    r->hit_ratio = t->count > 0 ? (double)r->hits / (double)t->count : 0;
    r->byte_hit_ratio = bytes > 0 ? (double)hit_bytes / (double)bytes : 0;
    r->cost_hit_ratio = cost > 0 ? hit_cost / cost : 0;
}

agent_status ag_cache_replay(const struct ag_trace *trace, const char *policy, int64_t bytes, int k,
                             uint32_t history_percent, bool with_belady, struct ag_replay_result *out, agent_error *err)
{
    struct ag_cache_options o = {.bytes = bytes, .policy = policy, .k = k, .history_percent = history_percent,
                                 .object_bytes_only = true};
    struct ag_replay_result r = {.bytes = bytes, .requests = trace->count, .belady_hit_ratio = -1};
    struct ag_value value = {.drop = keep_value}; /* outlives the cache */
    struct ag_cache_stats stats;
    uint64_t best = 0;
    ag_cache *c;
    agent_status rc;

    if ((rc = ag_cache_new(&o, &c, err)) != AGENT_OK)
        return ag_wrap(err, rc, "replay");
    atomic_init(&value.refs, 1);
    run(c, trace, &value, &r);
    ag_cache_stats(c, &stats);
    ag_cache_free(c);
    r.policy = stats.policy;
    r.evictions = stats.total.evictions;
    r.entries = stats.total.entries;
    if (r.entries > 0)
        r.metadata_bytes_per_entry = (double)(stats.held_bytes - stats.entry_bytes) / (double)r.entries;
    if (with_belady) {
        if ((rc = ag_trace_belady(trace, (uint64_t)bytes, &best, err)) != AGENT_OK)
            return ag_wrap(err, rc, "replay");
        r.belady_hit_ratio = trace->count > 0 ? (double)best / (double)trace->count : 0;
    }
    *out = r;
    return AGENT_OK;
}
