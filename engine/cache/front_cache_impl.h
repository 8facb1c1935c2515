/*
 * The inside of the front cache, for the files it is made of: front_cache.c (get, put, changes,
 * budget), load.c (loads that are made once), shadows.c (what is learned from a sample of the
 * requests), inspect.c (statistics, checks).
 */
#ifndef AG_CACHE_FRONT_CACHE_IMPL_H
#define AG_CACHE_FRONT_CACHE_IMPL_H

#include <pthread.h>
#include <string.h>

#include "engine/cache/curve.h"
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
    atomic_uint_least64_t sample_mask; /* a request is for the shadows where hash >> 20 & this is 0 */
    atomic_bool times_next;            /* the next get is timed */
    bool has_tuner;
    bool has_plain_hits; /* policy.h */
    bool object_bytes_only;
    unsigned second_request;
    ag_clock clock;
    int64_t start_ns;
    int64_t ttl_ms[AG_CACHE_KIND_LIMIT], negative_ttl_ms;
    atomic_int_least64_t bytes;
    const struct ag_policy_vt *policy;
    struct ag_lock tuner_lock; /* of tuner and curve */
    struct ag_tuner tuner;
    bool has_curve;
    struct ag_curve curve;
    atomic_bool curve_rests;
    atomic_uint timed;             /* gets that were, since the curve went to rest */
    atomic_uint_least64_t fills;   /* calls of ag_cache_keep */
    atomic_uint load_times[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES], hit_times[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES];
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

static inline void ag_cache_tell_watcher(ag_cache *c, uint64_t hash, uint32_t bytes, bool is_hit)
{
    const struct watch *w = atomic_load_explicit(&c->watch, memory_order_acquire);

    if (w != NULL && w->fn != NULL)
        w->fn(w->ctx, hash, bytes, is_hit);
}

/* --- shadows.c: the tuner, the curve, and times ------------------------------------------------------ */

#define AG_TIMED_EVERY 64 /* gets of a shard */

bool ag_cache_shadows_init(ag_cache *c, const struct ag_policy_options *o, int64_t bytes);
void ag_cache_shadows_drop(ag_cache *c);
void ag_cache_shadows_resize(ag_cache *c, int64_t bytes);
int64_t ag_cache_shadows_most(const ag_cache *c, int64_t bytes); /* what they may hold of a budget */
/* A sampled request, hit or fill. */
void ag_cache_shadows_tell(ag_cache *c, const struct ag_probe *p, uint32_t bytes, uint8_t rank);
void ag_cache_shadows_remove(ag_cache *c, uint64_t hash);
void ag_cache_shadows_clear(ag_cache *c, unsigned kind);
/* Takes the turn to be timed: when it began, or 0. */
int64_t ag_cache_time_begin(ag_cache *c);
void ag_cache_time_hit(ag_cache *c, unsigned kind, int64_t begun_ns);
void ag_cache_time_load(ag_cache *c, unsigned kind, int64_t ns);
/* Requests so far that found something. Takes the shards' locks. */
uint64_t ag_cache_found(ag_cache *c);

static inline bool ag_cache_samples(ag_cache *c, uint64_t hash)
{
    return (hash >> 20 & atomic_load_explicit(&c->sample_mask, memory_order_relaxed)) == 0;
}

/* The value of a key, counted; NULL: a miss. `is_counted` false: the policy does not learn of it. A
 * negative entry's value is one of load.c's. */
struct ag_value *ag_cache_find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative);
/* Keeps a value if its lease still holds; takes a reference of its own. */
bool ag_cache_keep(ag_cache *c, const struct ag_probe *p, struct ag_value *value, uint64_t lease, bool is_negative,
                   int64_t ttl_ms, uint64_t cost_ns);

#endif
