/*
 * The inside of the front cache, for the files it is made of: front_cache.c (get, put, changes,
 * budget), load.c (loads that are made once), inspect.c (statistics, checks).
 */
#ifndef AG_CACHE_FRONT_CACHE_IMPL_H
#define AG_CACHE_FRONT_CACHE_IMPL_H

#include <pthread.h>
#include <string.h>

#include "engine/cache/front_cache.h"
#include "engine/cache/hash.h"
#include "engine/cache/shard.h"

struct watch {
    ag_cache_watcher fn;
    void *ctx;
    struct watch *older; /* those before it stay until the cache goes: a call may still be under way */
};

struct ag_cache {
    struct ag_shard *shards;
    unsigned shard_count;
    uint64_t (*change_token)(void *ctx);
    void *ctx;
    bool (*explain)(void *ctx, uint64_t from, uint64_t to, ag_cache *cache);
    atomic_uint_least64_t token;
    _Atomic(struct watch *) watch;
    bool has_tuner;
    bool object_bytes_only;
    unsigned second_request;
    ag_clock clock;
    int64_t start_ns;
    int64_t ttl_ms[AG_CACHE_KIND_LIMIT], negative_ttl_ms;
    atomic_int_least64_t bytes;
    const struct ag_policy_vt *policy;
    struct ag_lock tuner_lock;
    struct ag_tuner tuner;
    pthread_mutex_t sync_lock;
    uint64_t changes_seen, changes_explained; /* guarded by sync_lock */
    struct watch *watches;                    /* guarded by sync_lock */
};

static inline struct ag_probe ag_cache_probe(enum ag_cache_kind kind, const void *key, size_t n)
{
    return (struct ag_probe){.key = key, .n = n, .hash = ag_hash_bytes(key, n, (uint64_t)kind), .kind = (uint8_t)kind};
}

static inline struct ag_shard *ag_cache_shard(ag_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 58 & (c->shard_count - 1)];
}

/* The value of a key, counted; NULL: a miss. `is_counted` false: the policy does not learn of it. A
 * negative entry's value is one of load.c's. */
struct ag_value *ag_cache_find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative);
/* Keeps a value if its lease still holds; takes a reference of its own. */
bool ag_cache_keep(ag_cache *c, const struct ag_probe *p, struct ag_value *value, uint64_t lease, bool is_negative,
                   int64_t ttl_ms, uint64_t cost_ns);

#endif
