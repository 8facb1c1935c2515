/*
 * The front cache: shards by the key's hash, loads that are made once, and the change token.
 *
 *    get ─► token moved? ─► explain, or drop everything          (sync_lock; others wait)
 *        └► shard's lock ─► index ─► entry: policy's hit, pin, out
 *    load ─► as get; a miss ─► somebody loads it? ─► wait for that one (shard's wait_lock)
 *                              └► load without any lock ─► fill by the lease taken before
 *
 * Locks, each taken alone but for the last two under sync_lock: sync_lock, tuner_lock, a shard's
 * lock, a shard's wait_lock. Loaders, drops, explain and watchers are called without a shard's lock.
 *
 * Invariants:
 *  (1) Whatever invalidates a key counts in its bucket before it removes the entry, under one hold of
 *      the shard's lock; a fill whose lease is older is refused.
 *  (2) c->token is stored after what it stands for was invalidated: who reads the new one finds no
 *      old entry.
 *  (3) The sum of the shards' budgets, the tuner's most and the cache's own structures is at most bytes.
 */
#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"

#define SHARD_BYTES     (INT64_C(8) << 20)
#define ONE_SHARD_BELOW (INT64_C(32) << 20)
#define SHARDS_MAX      64
#define HISTORY_PERCENT_MAX 1000 /* a history without limit could not keep to the budget */
#define EXPIRY_UNIT_NS  INT64_C(100000000)
/* What an entry has besides its charge; the tuner's shadows count it as the budget does. */
#define ENTRY_OVERHEAD  96

static unsigned shards_for(int64_t bytes)
{
    unsigned n = 1;

    while (bytes >= ONE_SHARD_BELOW && n < 16 && bytes / (2 * n) >= SHARD_BYTES)
        n *= 2;
    return n;
}

/* Where metadata is not counted the tuner's is not either. */
static uint64_t tuner_budget(const ag_cache *c, int64_t bytes)
{
    return c->object_bytes_only && bytes > 0 ? (uint64_t)bytes + (UINT64_C(1) << 20) : (uint64_t)bytes;
}

/* (3) */
static int64_t shard_budget(const ag_cache *c, int64_t bytes)
{
    int64_t own = c->object_bytes_only ? 0 : (int64_t)(sizeof(*c) + (c->has_tuner ? ag_tuner_most_bytes((uint64_t)bytes) : 0));

    return bytes > own ? (bytes - own) / c->shard_count : 0;
}

static agent_status check_options(const struct ag_cache_options *o, const struct ag_policy_vt *policy, agent_error *err)
{
    agent_status rc;

    if (policy == NULL) {
        rc = ag_fail(err, AGENT_EINVAL, 0, "front cache: no policy \"%s\"", o->policy);
        ag_hint(err, "policies are lruk-adaptive, lruk, lru, fifo, s3fifo, gdsf, none");
        return rc;
    }
    if (o->bytes < 0)
        return ag_fail(err, AGENT_EINVAL, 0, "front cache: a budget of %lld bytes", (long long)o->bytes);
    if (o->k < 0 || o->k > AG_LRUK_MAX)
        return ag_fail(err, AGENT_EINVAL, 0, "front cache: K = %d is not in 1..%d", o->k, AG_LRUK_MAX);
    if (o->shards > SHARDS_MAX || (o->shards & (o->shards - 1)) != 0)
        return ag_fail(err, AGENT_EINVAL, 0, "front cache: %u shards: not a power of two up to %d", o->shards, SHARDS_MAX);
    if (o->history_percent > HISTORY_PERCENT_MAX)
        return ag_fail(err, AGENT_EINVAL, 0, "front cache: a history of %u percent is over %d", o->history_percent,
                       HISTORY_PERCENT_MAX);
    return AGENT_OK;
}

agent_status ag_cache_new(const struct ag_cache_options *o, ag_cache **out, agent_error *err)
{
    const struct ag_policy_vt *policy = ag_policy_find(o->policy);
    struct ag_policy_options po = {.k = o->k, .crp = o->crp, .rip = o->rip, .history_percent = o->history_percent,
                                   .is_sized = true};
    unsigned made = 0, shards;
    void *memory;
    ag_cache *c;
    agent_status rc;

    if ((rc = check_options(o, policy, err)) != AGENT_OK)
        return rc;
    c = ag_calloc(1, sizeof(*c));
    shards = o->shards > 0 ? o->shards : shards_for(o->bytes);
    memory = ag_malloc(shards * sizeof(struct ag_shard) + 64);
    if (c == NULL || memory == NULL)
        goto fail;
    c->shards = (struct ag_shard *)(((uintptr_t)memory + sizeof(void *) + 63) & ~(uintptr_t)63);
    ((void **)c->shards)[-1] = memory;
    c->shard_count = shards;
    c->change_token = o->change_token;
    c->ctx = o->ctx;
    c->explain = o->explain;
    c->object_bytes_only = o->object_bytes_only;
    c->second_request = o->second_request;
    c->clock = o->clock != NULL ? *o->clock : ag_clock_system;
    c->start_ns = ag_mono_ns(&c->clock);
    memcpy(c->ttl_ms, o->ttl_ms, sizeof(c->ttl_ms));
    c->negative_ttl_ms = o->negative_ttl_ms;
    c->policy = policy;
    atomic_init(&c->bytes, o->bytes);
    atomic_init(&c->watch, NULL);
    c->has_tuner = policy->set_mode != NULL && o->k == 0;
    if (c->has_tuner && !ag_tuner_init(&c->tuner, &po, (uint64_t)o->bytes, tuner_budget(c, o->bytes)))
        goto fail;
    for (; made < shards; made++)
        if (!ag_shard_init(&c->shards[made], policy, &po, shard_budget(c, o->bytes), o->object_bytes_only))
            goto fail;
    pthread_mutex_init(&c->sync_lock, NULL);
    atomic_init(&c->token, c->change_token == NULL ? 0 : c->change_token(c->ctx));
    *out = c;
    return AGENT_OK;

fail:
    while (made > 0)
        ag_shard_drop(&c->shards[--made]);
    if (c != NULL && c->has_tuner)
        ag_tuner_drop(&c->tuner);
    ag_free(memory);
    ag_free(c);
    return ag_fail(err, AGENT_ENOMEM, 0, "front cache of %lld bytes: out of memory", (long long)o->bytes);
}

void ag_cache_free(ag_cache *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->shard_count; i++)
        ag_shard_drop(&c->shards[i]);
    if (c->has_tuner)
        ag_tuner_drop(&c->tuner);
    while (c->watches != NULL) {
        struct watch *w = c->watches;

        c->watches = w->older;
        ag_free(w);
    }
    pthread_mutex_destroy(&c->sync_lock);
    ag_free(((void **)c->shards)[-1]);
    ag_free(c);
}

/* --- changes by others ------------------------------------------------------------------------- */

static void clear_all(ag_cache *c, unsigned kind)
{
    for (unsigned i = 0; i < c->shard_count; i++)
        ag_shard_clear(&c->shards[i], kind);
}

static void follow_change(ag_cache *c)
{
    uint64_t from, to;

    pthread_mutex_lock(&c->sync_lock);
    from = atomic_load_explicit(&c->token, memory_order_relaxed);
    /* Read before explain looks: what it sees is at least as new. */
    to = c->change_token(c->ctx);
    if (to != from) {
        c->changes_seen++;
        if (c->explain != NULL && c->explain(c->ctx, from, to, c))
            c->changes_explained++;
        else
            clear_all(c, AG_CACHE_KIND_LIMIT);
        atomic_store_explicit(&c->token, to, memory_order_release); /* (2) */
    }
    pthread_mutex_unlock(&c->sync_lock);
}

static inline void follow_changes(ag_cache *c)
{
    if (c->change_token != NULL &&
        c->change_token(c->ctx) != atomic_load_explicit(&c->token, memory_order_acquire))
        follow_change(c);
}

/* --- get ----------------------------------------------------------------------------------------- */

static uint32_t expiry_now(const ag_cache *c)
{
    return (uint32_t)((ag_mono_ns(&c->clock) - c->start_ns) / EXPIRY_UNIT_NS);
}

/* Spread over the last tenth, so that what was loaded together does not expire together; never longer
 * than asked for. 0: for ever. */
static uint32_t expiry_of(const ag_cache *c, int64_t ttl_ms, uint64_t hash)
{
    int64_t units;

    if (ttl_ms <= 0)
        return 0;
    units = ttl_ms / (EXPIRY_UNIT_NS / 1000000);
    units -= (int64_t)((uint64_t)(units / 10) * (hash >> 48) >> 16);
    units += expiry_now(c);
    return units <= 0 ? 1 : units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

static void tell_tuner(ag_cache *c, uint64_t hash, uint32_t bytes, uint8_t rank)
{
    uint32_t size = c->object_bytes_only ? bytes : bytes < UINT32_MAX - ENTRY_OVERHEAD ? bytes + ENTRY_OVERHEAD : bytes;

    ag_lock_take(&c->tuner_lock);
    ag_tuner_reference(&c->tuner, hash, size, rank, ag_cost_default(bytes));
    ag_lock_give(&c->tuner_lock);
}

static void tell_watcher(ag_cache *c, uint64_t hash, uint32_t bytes, bool is_hit)
{
    const struct watch *w = atomic_load_explicit(&c->watch, memory_order_acquire);

    if (w != NULL && w->fn != NULL)
        w->fn(w->ctx, hash, bytes, is_hit);
}

/* Its lifetime is over: under the lock. */
static struct ag_value *expire(struct ag_shard *s, uint32_t id, uint64_t hash)
{
    s->counts[AG_ENTRY_KIND(ag_slab_at(&s->slab, id))].expired++;
    return ag_shard_take(s, id, hash, AG_GONE_EVICTED);
}

/* The path of every hit. All that is rare is a call. */
static inline struct ag_value *find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative)
{
    struct ag_shard *s = ag_cache_shard(c, p->hash);
    struct ag_cache_counts *counts = &s->counts[p->kind];
    struct ag_value *v = NULL, *grave = NULL;
    uint32_t bytes = 0, id, now;
    uint8_t rank = 0, kind = 0;
    struct ag_entry *e;

    follow_changes(c);
    ag_lock_take(&s->lock);
    now = is_counted ? ag_shard_tick(s) : s->tick;
    id = ag_shard_find(s, p);
    if (id == AG_NO_ENTRY) {
        counts->misses++;
    } else if ((e = ag_slab_at(&s->slab, id))->expires != 0 && e->expires <= expiry_now(c)) {
        counts->misses++;
        grave = expire(s, id, p->hash);
    } else {
        if (is_counted && e->node.state != AG_NODE_DOOMED)
            s->hit(s->policy, id, now);
        else if (is_counted)
            ag_shard_revive(s, id, p->hash);
        bytes = e->node.bytes;
        rank = e->node.rank;
        kind = e->kind;
        v = ag_shard_pin(e);
        counts->hits++; /* the negative ones too; inspect.c tells them apart */
        counts->hit_bytes += bytes;
    }
    if ((kind & AG_ENTRY_NEGATIVE) != 0)
        counts->negative_hits++;
    ag_lock_give(&s->lock);
    *is_negative = (kind & AG_ENTRY_NEGATIVE) != 0;
    if (v == NULL) {
        ag_value_put(grave);
        return NULL;
    }
    if (is_counted && c->has_tuner && ag_tuner_samples(&c->tuner, p->hash))
        tell_tuner(c, p->hash, bytes, rank);
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        tell_watcher(c, p->hash, bytes, true);
    return v;
}

struct ag_value *ag_cache_find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative)
{
    return find(c, p, is_counted, is_negative);
}

struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    bool is_negative;
    struct ag_value *v = find(c, &p, true, &is_negative);

    if (!is_negative)
        return v;
    ag_value_put(v);
    return NULL;
}

/* --- fill ---------------------------------------------------------------------------------------- */

bool ag_cache_keep(ag_cache *c, const struct ag_probe *p, struct ag_value *value, uint64_t lease, bool is_negative,
                   int64_t ttl_ms, uint64_t cost_ns)
{
    struct ag_shard *s = ag_cache_shard(c, p->hash);
    struct ag_shard_fill f = {
        .value = value, .lease = lease, .is_negative = is_negative, .cost_ns = cost_ns,
        .is_second_only = (c->second_request >> p->kind & 1) != 0, .expires = expiry_of(c, ttl_ms, p->hash),
    };
    uint32_t bytes = value->bytes < UINT32_MAX ? (uint32_t)value->bytes : UINT32_MAX;

    if (c->has_tuner && ag_tuner_samples(&c->tuner, p->hash))
        tell_tuner(c, p->hash, bytes, ag_rank_of(bytes, cost_ns > 0 ? cost_ns : ag_cost_default(bytes)));
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        tell_watcher(c, p->hash, bytes, false);
    return ag_shard_fill(s, p, &f, expiry_now(c), c->has_tuner ? ag_tuner_choice(&c->tuner) : 0);
}

/* Counts as a write of the key and takes its entry out. The counter after it is a lease. */
static uint64_t take_out(ag_cache *c, const struct ag_probe *p)
{
    struct ag_shard *s = ag_cache_shard(c, p->hash);
    struct ag_value *v = NULL;
    uint64_t lease;
    uint32_t id;

    ag_lock_take(&s->lock);
    lease = ++*ag_shard_writes(s, p->hash);
    id = ag_shard_find(s, p);
    if (id != AG_NO_ENTRY) {
        s->counts[p->kind].invalidated++;
        /* It is as likely to be asked for as before: what is known of it stays known. */
        v = ag_shard_take(s, id, p->hash, AG_GONE_EVICTED);
    }
    ag_lock_give(&s->lock);
    ag_value_put(v);
    return lease;
}

ag_cache_lease ag_cache_lease_take(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    struct ag_shard *s = ag_cache_shard(c, p.hash);
    ag_cache_lease lease;

    follow_changes(c);
    ag_lock_take(&s->lock);
    lease.writes = *ag_shard_writes(s, p.hash);
    ag_lock_give(&s->lock);
    return lease;
}

bool ag_cache_put(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes, struct ag_value *value,
                  const struct ag_cache_fill *fill)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    /* Without a lease: loads under way have read what this replaces. */
    uint64_t lease = fill != NULL && fill->lease != NULL ? fill->lease->writes : take_out(c, &p);

    return ag_cache_keep(c, &p, value, lease, false, fill != NULL && fill->ttl_ms > 0 ? fill->ttl_ms : c->ttl_ms[kind],
                         fill != NULL && fill->cost_ns > 0 ? (uint64_t)fill->cost_ns : 0);
}

/* --- changes of our own, hints, budget ----------------------------------------------------------- */

void ag_cache_invalidate(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);

    (void)take_out(c, &p);
}

void ag_cache_invalidate_kind(ag_cache *c, enum ag_cache_kind kind)
{
    clear_all(c, kind);
}

void ag_cache_clear(ag_cache *c)
{
    clear_all(c, AG_CACHE_KIND_LIMIT);
}

void ag_cache_drop_hint(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    struct ag_shard *s = ag_cache_shard(c, p.hash);
    uint32_t id;

    ag_lock_take(&s->lock);
    id = ag_shard_find(s, &p);
    if (id != AG_NO_ENTRY)
        ag_shard_doom(s, id, p.hash);
    ag_lock_give(&s->lock);
}

agent_status ag_cache_resize(ag_cache *c, int64_t bytes, agent_error *err)
{
    if (bytes < 0)
        return ag_fail(err, AGENT_EINVAL, 0, "front cache: a budget of %lld bytes", (long long)bytes);
    pthread_mutex_lock(&c->sync_lock);
    for (unsigned i = 0; i < c->shard_count; i++)
        ag_shard_resize(&c->shards[i], shard_budget(c, bytes), expiry_now(c));
    if (c->has_tuner) {
        ag_lock_take(&c->tuner_lock);
        ag_tuner_resize(&c->tuner, (uint64_t)bytes, tuner_budget(c, bytes));
        ag_lock_give(&c->tuner_lock);
    }
    atomic_store(&c->bytes, bytes);
    pthread_mutex_unlock(&c->sync_lock);
    return AGENT_OK;
}

agent_status ag_cache_watch(ag_cache *c, ag_cache_watcher fn, void *ctx, agent_error *err)
{
    struct watch *w = ag_malloc(sizeof(*w));

    if (w == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "front cache: watch: out of memory");
    *w = (struct watch){.fn = fn, .ctx = ctx};
    pthread_mutex_lock(&c->sync_lock);
    w->older = c->watches;
    c->watches = w;
    atomic_store_explicit(&c->watch, fn == NULL ? NULL : w, memory_order_release);
    pthread_mutex_unlock(&c->sync_lock);
    return AGENT_OK;
}
