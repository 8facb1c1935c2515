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

static unsigned shards_for(int64_t bytes)
{
    unsigned n = 1;

    while (bytes >= ONE_SHARD_BELOW && n < 16 && bytes / (2 * n) >= SHARD_BYTES)
        n *= 2;
    return n;
}

/* (3) */
static int64_t shard_budget(const ag_cache *c, int64_t bytes)
{
    int64_t own = c->object_bytes_only ? 0 : (int64_t)sizeof(*c) + ag_cache_shadows_most(c, bytes);

    return bytes > own ? (bytes - own) / c->shard_count : 0;
}

static agent_status check_options(const struct ag_cache_options *o, const struct ag_policy_vt *policy, agent_error *err)
{
    agent_status rc;

    if (policy == NULL) {
        rc = ag_fail(err, AGENT_EINVAL, 0, "front cache: no policy \"%s\"", o->policy);
        ag_hint(err, AG_POLICY_HINT);
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
    c->has_plain_hits = policy->has_plain_hits && o->crp == 0;
    atomic_init(&c->bytes, o->bytes);
    atomic_init(&c->watch, NULL);
    if (!ag_cache_shadows_init(c, &po, o->bytes))
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
    if (c != NULL)
        ag_cache_shadows_drop(c);
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
    ag_cache_shadows_drop(c);
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
        (void)ag_shard_clear(&c->shards[i], kind, NULL, 0);
    ag_cache_shadows_clear(c, kind);
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

/* Its lifetime is over: under the lock. */
static struct ag_value *expire(struct ag_shard *s, uint32_t id, uint64_t hash)
{
    s->counts[AG_ENTRY_KIND(ag_slab_at(&s->slab, id))].expired++;
    return ag_shard_take(s, id, hash, AG_GONE_EVICTED);
}

/* Every request; those of find_plain() too where they turn out to be something else. */
static inline struct ag_value *find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative)
{
    struct ag_shard *s = ag_cache_shard(c, p->hash);
    struct ag_cache_counts *counts = &s->counts[p->kind];
    struct ag_value *v = NULL, *grave = NULL;
    uint32_t bytes = 0, id, now;
    int64_t begun = 0;
    uint8_t rank = 0, kind = 0;
    struct ag_entry *e;

    follow_changes(c);
    if (is_counted && atomic_load_explicit(&c->times_next, memory_order_relaxed))
        begun = ag_cache_time_begin(c);
    ag_lock_take(&s->lock);
    now = is_counted ? ag_shard_tick(s) : s->tick;
    if (now % AG_TIMED_EVERY == 0)
        atomic_store_explicit(&c->times_next, true, memory_order_relaxed);
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
    if (is_counted && ag_cache_samples(c, p->hash))
        ag_cache_shadows_tell(c, p, bytes, rank);
    if (begun != 0)
        ag_cache_time_hit(c, p->kind, begun);
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        ag_cache_tell_watcher(c, p->hash, bytes, true);
    return v;
}

struct ag_value *ag_cache_find(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative)
{
    return find(c, p, is_counted, is_negative);
}

/* After a plain hit: who learns of it besides the policy. */
static __attribute__((noinline)) void tell_hit(ag_cache *c, enum ag_cache_kind kind, uint64_t key, uint32_t bytes, uint8_t rank)
{
    struct ag_probe p = ag_cache_probe(kind, &key, sizeof(key));

    if (ag_cache_samples(c, p.hash))
        ag_cache_shadows_tell(c, &p, bytes, rank);
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        ag_cache_tell_watcher(c, p.hash, bytes, true);
}

/*
 * The path of most hits: of an id, on a hot entry that does not expire, not timed. What makes a hit
 * dear is not the lock but its length: the processor looks some two hundred instructions ahead, and
 * where the next request fits in, both wait for memory together. So this one is finished here, without
 * a call. NULL: it is none, and nothing was done.
 */
static inline struct ag_value *find_plain(ag_cache *c, enum ag_cache_kind kind, uint64_t key)
{
    uint64_t hash = ag_hash_bytes(&key, sizeof(key), (uint64_t)kind);
    struct ag_shard *s = ag_cache_shard(c, hash);
    struct ag_cache_counts *counts = &s->counts[kind];
    struct ag_entry *e;
    struct ag_value *v;
    uint32_t bytes;
    uint8_t rank;

    follow_changes(c);
    if (atomic_load_explicit(&c->times_next, memory_order_relaxed))
        return NULL;
    ag_lock_take(&s->lock);
    e = ag_shard_find_id(s, hash, key, (uint8_t)kind);
    if (e == NULL || !ag_shard_is_plain(s, e) || (s->tick + 1) % AG_TIMED_EVERY == 0) {
        ag_lock_give(&s->lock);
        return NULL;
    }
    ag_pnode_refer(&e->node, ++s->tick);
    e->credit--;
    v = e->value;
    bytes = e->node.bytes;
    rank = e->node.rank;
    counts->hits++;
    counts->hit_bytes += bytes;
    ag_lock_give(&s->lock);
    if (ag_cache_samples(c, hash) || atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        tell_hit(c, kind, key, bytes, rank);
    return v;
}

static __attribute__((noinline)) struct ag_value *get_rest(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t n)
{
    struct ag_probe p = ag_cache_probe(kind, key, n);
    bool is_negative;
    struct ag_value *v = find(c, &p, true, &is_negative);

    if (!is_negative)
        return v;
    ag_value_put(v);
    return NULL;
}

struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_value *v;
    uint64_t id;

    if (key_bytes == sizeof(id) && c->has_plain_hits) {
        memcpy(&id, key, sizeof(id));
        if ((v = find_plain(c, kind, id)) != NULL)
            return v;
    }
    return get_rest(c, kind, key, key_bytes);
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

    atomic_fetch_add_explicit(&c->fills, 1, memory_order_relaxed);
    if (ag_cache_samples(c, p->hash))
        ag_cache_shadows_tell(c, p, bytes, ag_rank_of(bytes, cost_ns > 0 ? cost_ns : ag_cost_default(bytes)));
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        ag_cache_tell_watcher(c, p->hash, bytes, false);
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
    if (ag_cache_samples(c, p->hash))
        ag_cache_shadows_remove(c, p->hash);
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

uint64_t ag_cache_invalidate_prefix(ag_cache *c, enum ag_cache_kind kind, const void *prefix, size_t n)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < c->shard_count; i++)
        count += ag_shard_clear(&c->shards[i], kind, prefix, n);
    return count;
}

void ag_cache_invalidate_kind(ag_cache *c, enum ag_cache_kind kind)
{
    clear_all(c, kind);
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
    ag_cache_shadows_resize(c, bytes);
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
