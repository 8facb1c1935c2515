/*
 * The front cache: agent versions with their tools, session tails, memories and responses in memory, in
 * front of the file. The engine loads through it and tells it what a commit changed.
 *
 * Values are immutable objects with a reference count; a reference pins the memory, not the entry:
 * an entry may be evicted or invalidated while somebody still reads its value.
 *
 * Whoever begins a get after a commit was acknowledged (after ag_cache_invalidate() returned, or
 * after change_token moved) never sees what the commit replaced.
 */
#ifndef AG_CACHE_FRONT_CACHE_H
#define AG_CACHE_FRONT_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/str.h"

enum ag_cache_kind {
    AG_CACHE_AGENT, AG_CACHE_TAIL, AG_CACHE_MEMORY, AG_CACHE_RESPONSE, AG_CACHE_KIND_LIMIT
};

/* First member of every cached object. */
struct ag_value {
    atomic_int refs;               /* begins at 1: the maker's */
    size_t bytes;                  /* everything it holds on the heap */
    void (*drop)(struct ag_value *v); /* called by the last put, on whichever thread that is */
};

static inline struct ag_value *ag_value_ref(struct ag_value *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

static inline void ag_value_put(struct ag_value *v) /* NULL is fine */
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        v->drop(v);
}

typedef struct ag_cache ag_cache;

/* Zero means the default everywhere but in `bytes`. */
struct ag_cache_options {
    int64_t bytes;      /* budget of everything; 0 (and up to some 20 KB): nothing is kept, loads pass through */
    const char *policy; /* NULL: the default */
    uint64_t (*change_token)(void *ctx); /* differs after any commit that is not ours; NULL: never changes */
    void *ctx;

    /* The token moved: invalidate (ag_cache_invalidate, _kind) exactly what the commits since then
     * changed and say true; false: everything is dropped. Called by the get that noticed, others
     * wait meanwhile; it must not get or load. NULL: everything is dropped. */
    bool (*explain)(void *ctx, uint64_t from, uint64_t to, ag_cache *cache);
    const ag_clock *clock;      /* of lifetimes and load times; NULL: the system's */
    int64_t ttl_ms[AG_CACHE_KIND_LIMIT]; /* how long what is loaded may be used; 0: for ever */
    int64_t negative_ttl_ms;    /* how long AGENT_ENOTFOUND of a loader is kept; 0: not at all */
    unsigned second_request;    /* set of 1 << kind: once the budget is used, kept at the second request only */
    unsigned shards;            /* power of two; 0: one for each 8 MB, at most 16, one below 32 MB */
    int k;                      /* 1..4: of the policies lruk (0: 2) and lruk-adaptive (0: chosen as it runs, 1..3) */
    uint32_t crp, rip;          /* in requests of a shard: correlated reference period, retained information */
    uint32_t history_percent;   /* history blocks for 100 entries, at most 1000; 0: the policy's own */
    bool object_bytes_only;     /* the budget counts values alone, as published results do */
};

/* Makes the value of a key: *out has one reference, which the cache takes over. */
typedef agent_status (*ag_cache_loader)(void *ctx, struct ag_value **out, agent_error *err);

/* AGENT_EINVAL: no such policy, or a limit is broken. */
agent_status ag_cache_new(const struct ag_cache_options *o, ag_cache **out, agent_error *err);
void ag_cache_free(ag_cache *c); /* NULL is fine; values still referenced live on */

/* The value of a key, from memory or by the loader; N threads that miss at once load once. Given:
 * ag_value_put(). A loader's error is passed on and not kept (but see negative_ttl_ms). A loader
 * may load other keys, but no two may wait for one another. Thread-safe. */
agent_status ag_cache_load(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                           ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err);
/* The same for lists and exports: what is there is used, what is not is loaded and not kept, and
 * the history does not learn of it. */
agent_status ag_cache_read_through(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                                   ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err);
/* Only what is there: NULL where it is not. */
struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);

/* After a commit: the key's value is not current any more. Also stops loads begun before from
 * being kept. Thread-safe. */
void ag_cache_invalidate(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);
/* Every key of a kind that begins with these bytes (n 0: any); returns how many entries were removed. Looks
 * at every entry. Thread-safe. */
uint64_t ag_cache_invalidate_prefix(ag_cache *c, enum ag_cache_kind kind, const void *prefix, size_t n);
/* Everything of a kind. */
void ag_cache_invalidate_kind(ag_cache *c, enum ag_cache_kind kind);

/*
 * A fill from outside of a load. Take the lease before the value is read, hand it in with the value:
 * where anything of its bucket was invalidated in between, the fill is refused. Leases cost nothing
 * and need not be given back.
 */
typedef struct ag_cache_lease { uint64_t writes; } ag_cache_lease;

struct ag_cache_fill {
    const ag_cache_lease *lease; /* NULL: the value is that of a commit just made: what was there is replaced */
    int64_t ttl_ms;              /* 0: the kind's */
    int64_t cost_ns;             /* what loading it again would cost; 0: as such loads have cost */
};

ag_cache_lease ag_cache_lease_take(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);
/* The value is borrowed: the cache takes its own reference. False: it was not kept (too large, stale,
 * first request, no memory). fill may be NULL. */
bool ag_cache_put(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes, struct ag_value *value,
                  const struct ag_cache_fill *fill);

/* It will hardly be needed again (a turn left the context window): the first to go. */
void ag_cache_drop_hint(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);

/* Another budget, while it runs; what is too much is gone when this returns. The number of shards
 * stays. AGENT_EINVAL: negative. */
agent_status ag_cache_resize(ag_cache *c, int64_t bytes, agent_error *err);

/* Called with every request that has a value while it is set, on the thread of the request, for recording:
 * a hash of kind and key, the value's bytes. A miss is told when it is loaded. NULL: off. Calls may still
 * come for a moment after. */
typedef void (*ag_cache_watcher)(void *ctx, uint64_t key, uint32_t bytes, bool is_hit);
agent_status ag_cache_watch(ag_cache *c, ag_cache_watcher fn, void *ctx, agent_error *err);

struct ag_cache_counts {
    uint64_t gets, hits, misses;   /* gets = hits + misses + negative_hits */
    uint64_t negative_hits;
    uint64_t expired;              /* misses for the lifetime */
    uint64_t puts;                 /* values kept */
    uint64_t evictions, evictions_hinted, evictions_expired; /* the first counts all three */
    uint64_t invalidated;          /* entries that a change removed */
    uint64_t bypassed;             /* values not kept: too large, or a first request */
    uint64_t refused;              /* fills refused by their lease */
    uint64_t joined;               /* loads that waited for another thread's */
    uint64_t loads, load_ns;       /* loaders called, their time */
    uint64_t hit_bytes, miss_bytes; /* of values served from memory; of values loaded or put */
    uint64_t entries, entry_bytes; /* now; bytes of values and long keys */
};

#define AG_CACHE_TIMES 36 /* [i]: from 2^i ns to twice as long; the last: longer too */

struct ag_cache_stats {
    struct ag_cache_counts total, kinds[AG_CACHE_KIND_LIMIT];
    uint32_t load_times[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES]; /* of every load that went well */
    uint32_t hit_times[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES];  /* of one get in 64, where it was a hit; with the clock's own */
    /* What the hit ratio would have been with half, all and twice the budget, by a sample of the keys
     * (curve.h); how well the second agrees with what it was tells how good they are. -1: not known. */
    double estimate_half, estimate_one, estimate_twice;
    const char *policy;
    int64_t bytes;        /* the budget */
    uint64_t held_bytes;  /* of it, everything */
    uint64_t loss_bytes;  /* of held_bytes: what malloc takes around values (shard.h) */
    uint64_t entry_bytes, index_bytes, slab_bytes, policy_bytes, tuner_bytes, curve_bytes, fixed_bytes;
    unsigned shards;
    unsigned mode_k;      /* lruk-adaptive: what is in force */
    bool mode_strict;
    double handicap;      /* lruk-adaptive: the mean of the shards */
    uint64_t mode_switches;
    uint64_t ghost_hits_cold, ghost_hits_hot;
    uint64_t changes_seen, changes_explained; /* by the token */
    uint64_t contended;   /* times a thread found a shard's lock taken */
};

void ag_cache_stats(ag_cache *c, struct ag_cache_stats *out);

/* One of the entries most worth having again after a restart. */
struct ag_cache_hot {
    enum ag_cache_kind kind;
    size_t key_bytes;
    unsigned char key[64]; /* longer keys are left out */
    uint64_t bytes;
};

/* Up to `room` of them, latest references first; returns how many. */
size_t ag_cache_hottest(ag_cache *c, struct ag_cache_hot *out, size_t room);

/* NULL, or which invariant is broken (shard.h). Slow: for tests. */
const char *ag_cache_check(ag_cache *c);

#endif
