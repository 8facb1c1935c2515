/* A trace through the front cache, as a host asks for it. */
#include <agent/replay.h>

#include "engine/cache/replay.h"

agent_status agent_cache_replay(const agent_replay_options *o, agent_replay_result *out, agent_error *err)
{
    struct ag_replay_result r;
    struct ag_trace trace;
    agent_status rc;

    if (o == NULL || o->size < sizeof(*o) || o->trace == NULL || out == NULL || out->size < sizeof(*out))
        return ag_fail(err, AGENT_EINVAL, 0, "replay: a trace, and options and out with their sizes, are needed");
    if (o->bytes < 0)
        return ag_fail(err, AGENT_EINVAL, 0, "replay: a cache of %lld bytes", (long long)o->bytes);
    if ((rc = ag_trace_load(o->trace, &trace, err)) != AGENT_OK)
        return rc;
    rc = ag_cache_replay(&trace, o->policy, o->bytes, o->k, 0, true, &r, err);
    ag_trace_drop(&trace);
    if (rc != AGENT_OK)
        return rc;
    out->policy = r.policy;
    out->bytes = r.bytes;
    out->requests = (int64_t)r.requests;
    out->hits = (int64_t)r.hits;
    out->evictions = (int64_t)r.evictions;
    out->entries = (int64_t)r.entries;
    out->hit_ratio = r.hit_ratio;
    out->byte_hit_ratio = r.byte_hit_ratio;
    out->cost_hit_ratio = r.cost_hit_ratio;
    out->belady_hit_ratio = r.belady_hit_ratio;
    out->metadata_bytes_per_entry = r.metadata_bytes_per_entry;
    out->ns_per_request = r.ns_per_request;
    return AGENT_OK;
}
