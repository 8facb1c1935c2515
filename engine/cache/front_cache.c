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
 *  (1) A load that begins after a change was acknowledged joins no load that began before it: a
 *      flight can be joined while its lease is the counter of its bucket, and no longer.
 *  (2) c->token is stored after what it stands for was invalidated: who reads the new one finds no
 *      old entry.
 *  (3) The sum of the shards' budgets, the tuner's most and the cache's own structures is at most bytes.
 */
#include "engine/cache/front_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/hash.h"
#include "engine/cache/shard.h"

#define SHARD_BYTES     (INT64_C(8) << 20)
#define ONE_SHARD_BELOW (INT64_C(32) << 20)
#define SHARDS_MAX      64
#define TUNER_SHARE     8 /* the tuner may be this part of the budget, else there is none */
#define EXPIRY_UNIT_NS  INT64_C(100000000)
/* What an entry has besides its charge; the tuner's shadows count it as the budget does. */
#define ENTRY_OVERHEAD  96

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

/* One load under way. Whoever waits for it holds a reference. */
struct ag_flight {
    struct ag_flight *next;  /* guarded by the shard's lock */
    uint64_t hash, lease;
    struct ag_value *value;  /* these three are written before `landed`, which publishes them */
    agent_error *err;
    agent_status rc;
    bool has_landed;         /* guarded by the shard's wait_lock */
    bool has_waiters;        /* guarded by the shard's lock */
    atomic_int refs;
    uint8_t kind;
    size_t n;
    unsigned char key[];
};

/* A key that is not there: the loader's story, told again. */
struct negative {
    struct ag_value head;
    agent_error err;
};

static void negative_drop(struct ag_value *v)
{
    ag_free(v);
}

static struct ag_value *negative_new(const agent_error *err)
{
    struct negative *n = ag_malloc(sizeof(*n));

    if (n == NULL)
        return NULL;
    n->head = (struct ag_value){.bytes = sizeof(*n), .drop = negative_drop};
    atomic_init(&n->head.refs, 1);
    n->err = *err;
    return &n->head;
}

static agent_status negative_told(struct ag_value *v, agent_error *err)
{
    agent_status rc = ((struct negative *)v)->err.status;

    if (err != NULL)
        *err = ((struct negative *)v)->err;
    ag_value_put(v);
    return rc;
}

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
    int64_t own = c->object_bytes_only ? 0 : (int64_t)(sizeof(*c) + (c->has_tuner ? ag_tuner_most_bytes((uint64_t)bytes) : 0));

    return bytes > own ? (bytes - own) / c->shard_count : 0;
}

static bool tuner_fits(const struct ag_cache_options *o)
{
    return o->object_bytes_only ? o->bytes > 0
                                : (int64_t)ag_tuner_most_bytes((uint64_t)o->bytes) <= o->bytes / TUNER_SHARE;
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
    c->has_tuner = policy->set_mode != NULL && o->k == 0 && tuner_fits(o);
    if (c->has_tuner && !ag_tuner_init(&c->tuner, &po, (uint64_t)o->bytes, (uint64_t)o->bytes))
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

static inline struct ag_probe probe_of(enum ag_cache_kind kind, const void *key, size_t n)
{
    return (struct ag_probe){.key = key, .n = n, .hash = ag_hash_bytes(key, n, (uint64_t)kind), .kind = (uint8_t)kind};
}

static inline struct ag_shard *shard_of(ag_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 58 & (c->shard_count - 1)];
}

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

/* What a resident is worth to the policy, in one look-up under the lock. NULL: a miss. */
static inline struct ag_value *hit(ag_cache *c, struct ag_shard *s, const struct ag_probe *p, bool is_counted,
                                   bool *is_negative, uint32_t *bytes, uint8_t *rank, struct ag_value **grave)
{
    struct ag_cache_counts *counts = &s->counts[p->kind];
    uint32_t id = ag_shard_find(s, p), now = is_counted ? ag_shard_tick(s) : s->tick;
    struct ag_entry *e;

    counts->gets++;
    if (id == AG_NO_ENTRY) {
        counts->misses++;
        return NULL;
    }
    e = ag_slab_at(&s->slab, id);
    if (e->expires != 0 && e->expires <= expiry_now(c)) {
        counts->misses++;
        counts->expired++;
        *grave = ag_shard_take(s, id, p->hash, AG_GONE_EVICTED);
        return NULL;
    }
    if (is_counted) {
        if (e->node.state == AG_NODE_DOOMED)
            ag_shard_revive(s, id, p->hash);
        else
            s->policy->vt->hit(s->policy, id, now);
    }
    *bytes = e->node.bytes;
    *rank = e->node.rank;
    *is_negative = (e->kind & AG_ENTRY_NEGATIVE) != 0;
    if (*is_negative)
        counts->negative_hits++;
    else
        counts->hits++;
    counts->hit_bytes += e->node.bytes;
    return ag_value_ref(e->value);
}

static struct ag_value *get(ag_cache *c, const struct ag_probe *p, bool is_counted, bool *is_negative)
{
    struct ag_shard *s = shard_of(c, p->hash);
    struct ag_value *v, *grave = NULL;
    uint32_t bytes = 0;
    uint8_t rank = 0;

    *is_negative = false;
    follow_changes(c);
    ag_lock_take(&s->lock);
    v = hit(c, s, p, is_counted, is_negative, &bytes, &rank, &grave);
    ag_lock_give(&s->lock);
    ag_value_put(grave);
    if (v != NULL && is_counted && c->has_tuner && ag_tuner_samples(&c->tuner, p->hash))
        tell_tuner(c, p->hash, bytes, rank);
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL && v != NULL)
        tell_watcher(c, p->hash, bytes, true);
    return v;
}

struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    bool is_negative;
    struct ag_value *v = get(c, &p, true, &is_negative);

    if (!is_negative)
        return v;
    ag_value_put(v);
    return NULL;
}

/* --- fill ---------------------------------------------------------------------------------------- */

static bool fill(ag_cache *c, const struct ag_probe *p, struct ag_value *value, uint64_t lease, bool is_negative,
                 int64_t ttl_ms, uint64_t cost_ns)
{
    struct ag_shard *s = shard_of(c, p->hash);
    struct ag_shard_fill f = {
        .value = value, .lease = lease, .is_negative = is_negative, .cost_ns = cost_ns,
        .is_second_only = (c->second_request >> p->kind & 1) != 0, .expires = expiry_of(c, ttl_ms, p->hash),
    };
    uint32_t bytes = value->bytes < UINT32_MAX ? (uint32_t)value->bytes : UINT32_MAX;

    if (c->has_tuner && ag_tuner_samples(&c->tuner, p->hash))
        tell_tuner(c, p->hash, bytes, ag_rank_of(bytes, cost_ns > 0 ? cost_ns : ag_cost_default(bytes)));
    if (atomic_load_explicit(&c->watch, memory_order_relaxed) != NULL)
        tell_watcher(c, p->hash, bytes, false);
    return ag_shard_fill(s, p, &f, s->expiry.count > 0 || f.expires != 0 ? expiry_now(c) : 0,
                         c->has_tuner ? ag_tuner_choice(&c->tuner) : 0);
}

ag_cache_lease ag_cache_lease_take(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    struct ag_shard *s = shard_of(c, p.hash);
    ag_cache_lease lease;

    follow_changes(c);
    ag_lock_take(&s->lock);
    lease.writes = *ag_shard_writes(s, p.hash);
    ag_lock_give(&s->lock);
    return lease;
}

bool ag_cache_put(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes, struct ag_value *value,
                  const struct ag_cache_fill *opts)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    struct ag_shard *s = shard_of(c, p.hash);
    uint64_t lease;

    if (opts != NULL && opts->lease != NULL) {
        lease = opts->lease->writes;
    } else {
        ag_lock_take(&s->lock);
        lease = ++*ag_shard_writes(s, p.hash); /* loads under way have read what this replaces */
        ag_lock_give(&s->lock);
    }
    return fill(c, &p, value, lease, false, opts != NULL && opts->ttl_ms > 0 ? opts->ttl_ms : c->ttl_ms[kind],
                opts != NULL && opts->cost_ns > 0 ? (uint64_t)opts->cost_ns : 0);
}

/* --- load ---------------------------------------------------------------------------------------- */

static void flight_put(struct ag_flight *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    ag_value_put(f->value);
    ag_free(f->err);
    ag_free(f);
}

static struct ag_flight *flight_new(const struct ag_probe *p)
{
    struct ag_flight *f = ag_malloc(sizeof(*f) + p->n);

    if (f == NULL)
        return NULL;
    *f = (struct ag_flight){.hash = p->hash, .kind = p->kind, .n = p->n};
    atomic_init(&f->refs, 2); /* the loading thread's and the shard's list */
    if (p->n > 0)
        memcpy(f->key, p->key, p->n);
    return f;
}

/* (1) */
static struct ag_flight *flight_to_join(struct ag_shard *s, const struct ag_probe *p, uint64_t lease)
{
    struct ag_flight *f = s->flights;

    while (f != NULL && (f->hash != p->hash || f->kind != p->kind || f->lease != lease || f->n != p->n ||
                         memcmp(f->key, p->key, p->n) != 0))
        f = f->next;
    return f;
}

static agent_status told(agent_status rc, struct ag_value *value, const agent_error *why, struct ag_value **out,
                         agent_error *err)
{
    if (rc == AGENT_OK)
        *out = ag_value_ref(value);
    else if (err != NULL && why != NULL)
        *err = *why;
    else if (err != NULL)
        (void)ag_fail(err, rc, 0, "%s", agent_status_text(rc));
    return rc;
}

static agent_status join(struct ag_shard *s, struct ag_flight *f, struct ag_value **out, agent_error *err)
{
    agent_status rc;

    pthread_mutex_lock(&s->wait_lock);
    while (!f->has_landed)
        pthread_cond_wait(&s->landed, &s->wait_lock);
    pthread_mutex_unlock(&s->wait_lock);
    rc = told(f->rc, f->value, f->err, out, err);
    flight_put(f);
    return rc;
}

/* Out of the list first: from here on nobody joins, then those who did are told. */
static void land(struct ag_shard *s, struct ag_flight *f)
{
    bool has_waiters;

    ag_lock_take(&s->lock);
    for (struct ag_flight **at = &s->flights; *at != NULL; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    has_waiters = f->has_waiters;
    ag_lock_give(&s->lock);
    if (has_waiters) {
        pthread_mutex_lock(&s->wait_lock);
        f->has_landed = true;
        pthread_cond_broadcast(&s->landed);
        pthread_mutex_unlock(&s->wait_lock);
    }
    flight_put(f);
}

/* How much slower (or faster) loads of this kind are than the default says; moves by a sixteenth. */
static void learn_cost(struct ag_shard *s, uint8_t kind, int64_t ns, uint64_t bytes)
{
    float ratio = (float)(ns > 0 ? ns : 1) / (float)ag_cost_default(bytes), *known = &s->cost_ratio[kind];

    s->counts[kind].loads++;
    s->counts[kind].load_ns += (uint64_t)(ns > 0 ? ns : 0);
    s->counts[kind].miss_bytes += bytes;
    *known = *known <= 0 ? ratio : *known + (ratio - *known) / 16;
}

static agent_status load(ag_cache *c, const struct ag_probe *p, struct ag_flight *f, uint64_t lease,
                         ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_shard *s = shard_of(c, p->hash);
    agent_error why = AGENT_ERROR_INIT;
    struct ag_value *v = NULL, *negative;
    int64_t begun = ag_mono_ns(&c->clock), ns;
    agent_status rc = loader(ctx, &v, &why);

    ns = ag_mono_ns(&c->clock) - begun;
    if (rc == AGENT_OK) {
        ag_lock_take(&s->lock);
        learn_cost(s, p->kind, ns, v->bytes);
        ag_lock_give(&s->lock);
        (void)fill(c, p, v, lease, false, c->ttl_ms[p->kind], 0);
    } else if (rc == AGENT_ENOTFOUND && c->negative_ttl_ms > 0 && (negative = negative_new(&why)) != NULL) {
        (void)fill(c, p, negative, lease, true, c->negative_ttl_ms, 0);
        ag_value_put(negative);
    }
    if (rc != AGENT_OK)
        why.status = rc;
    (void)told(rc, v, &why, out, err);
    if (f != NULL) {
        f->rc = rc;
        f->value = v;
        if (rc != AGENT_OK && (f->err = ag_malloc(sizeof(why))) != NULL)
            *f->err = why;
        land(s, f);
        flight_put(f);
    } else {
        ag_value_put(v);
    }
    return rc;
}

agent_status ag_cache_load(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                           ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    struct ag_shard *s = shard_of(c, p.hash);
    bool is_negative;
    struct ag_value *v = get(c, &p, true, &is_negative);
    struct ag_flight *mine, *other;
    uint64_t lease;

    if (is_negative)
        return negative_told(v, err);
    if (v != NULL) {
        *out = v;
        return AGENT_OK;
    }
    mine = flight_new(&p); /* without the memory for it the load is made alone */
    ag_lock_take(&s->lock);
    lease = *ag_shard_writes(s, p.hash);
    other = flight_to_join(s, &p, lease);
    if (other != NULL) {
        atomic_fetch_add_explicit(&other->refs, 1, memory_order_relaxed);
        other->has_waiters = true;
        s->counts[kind].joined++;
    } else if (mine != NULL) {
        mine->lease = lease;
        mine->next = s->flights;
        s->flights = mine;
    }
    ag_lock_give(&s->lock);
    if (other != NULL) {
        ag_free(mine);
        return join(s, other, out, err);
    }
    return load(c, &p, mine, lease, loader, ctx, out, err);
}

agent_status ag_cache_read_through(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                                   ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    bool is_negative;
    struct ag_value *v = get(c, &p, false, &is_negative);

    if (is_negative)
        return negative_told(v, err);
    if (v == NULL)
        return loader(ctx, out, err);
    *out = v;
    return AGENT_OK;
}

/* --- changes of our own, hints, budget ----------------------------------------------------------- */

void ag_cache_invalidate(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_probe p = probe_of(kind, key, key_bytes);
    struct ag_shard *s = shard_of(c, p.hash);
    struct ag_value *v = NULL;
    uint32_t id;

    ag_lock_take(&s->lock);
    ++*ag_shard_writes(s, p.hash);
    id = ag_shard_find(s, &p);
    if (id != AG_NO_ENTRY) {
        s->counts[kind].invalidated++;
        /* It is as likely to be asked for as before: what is known of it stays known. */
        v = ag_shard_take(s, id, p.hash, AG_GONE_EVICTED);
    }
    ag_lock_give(&s->lock);
    ag_value_put(v);
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
    struct ag_probe p = probe_of(kind, key, key_bytes);
    struct ag_shard *s = shard_of(c, p.hash);
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
        ag_tuner_resize(&c->tuner, (uint64_t)bytes);
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

/* --- what there is ------------------------------------------------------------------------------- */

static void add_counts(struct ag_cache_counts *to, const struct ag_cache_counts *from)
{
    /* All fields are uint64_t. */
    uint64_t *t = (uint64_t *)to;
    const uint64_t *f = (const uint64_t *)from;

    for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++)
        t[i] += f[i];
}

void ag_cache_stats(ag_cache *c, struct ag_cache_stats *out)
{
    *out = (struct ag_cache_stats){.policy = c->policy->name, .bytes = atomic_load(&c->bytes), .shards = c->shard_count};
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct ag_shard *s = &c->shards[i];

        ag_lock_take(&s->lock);
        for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++)
            add_counts(&out->kinds[kind], &s->counts[kind]);
        out->entry_bytes += s->entry_bytes;
        out->index_bytes += s->index.held_bytes + s->expiry_bytes;
        out->slab_bytes += s->slab.held_bytes;
        out->policy_bytes += s->policy->held_bytes;
        out->fixed_bytes += s->fixed_bytes;
        out->handicap += (double)s->policy->stats.handicap / c->shard_count;
        out->ghost_hits_cold += s->policy->stats.ghost_hits_cold;
        out->ghost_hits_hot += s->policy->stats.ghost_hits_hot;
        out->contended += s->lock.contended;
        ag_lock_give(&s->lock);
    }
    for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++)
        add_counts(&out->total, &out->kinds[kind]);
    out->fixed_bytes += sizeof(*c);
    if (c->has_tuner) {
        ag_lock_take(&c->tuner_lock);
        out->tuner_bytes = ag_tuner_held_bytes(&c->tuner);
        out->mode_switches = c->tuner.switches;
        out->mode_k = ag_tuner_modes[c->tuner.chosen].k;
        out->mode_strict = ag_tuner_modes[c->tuner.chosen].strict;
        ag_lock_give(&c->tuner_lock);
    }
    pthread_mutex_lock(&c->sync_lock);
    out->changes_seen = c->changes_seen;
    out->changes_explained = c->changes_explained;
    pthread_mutex_unlock(&c->sync_lock);
    out->held_bytes = out->entry_bytes + out->index_bytes + out->slab_bytes + out->policy_bytes + out->fixed_bytes +
                      out->tuner_bytes;
}

const char *ag_cache_check(ag_cache *c)
{
    const char *broken = NULL;

    for (unsigned i = 0; i < c->shard_count && broken == NULL; i++) {
        ag_lock_take(&c->shards[i].lock);
        broken = ag_shard_check(&c->shards[i]);
        ag_lock_give(&c->shards[i].lock);
    }
    if (broken == NULL && c->has_tuner && !c->object_bytes_only) {
        ag_lock_take(&c->tuner_lock);
        if (ag_tuner_held_bytes(&c->tuner) > ag_tuner_most_bytes((uint64_t)atomic_load(&c->bytes)))
            broken = "(3) the tuner holds more than its most";
        ag_lock_give(&c->tuner_lock);
    }
    return broken;
}

struct ranked {
    uint32_t hist, id;
};

static int later_first(const void *a, const void *b)
{
    uint32_t x = ((const struct ranked *)a)->hist, y = ((const struct ranked *)b)->hist;

    return x < y ? 1 : x > y ? -1 : 0;
}

static size_t hottest_of(struct ag_shard *s, struct ag_cache_hot *out, size_t room)
{
    struct ranked *all = ag_malloc((s->slab.used + 1) * sizeof(*all));
    size_t n = 0, given = 0;

    if (all == NULL)
        return 0;
    for (uint32_t id = 0; id < ag_slab_limit(&s->slab); id++)
        if (ag_node_at(&s->slab, id)->state != AG_NODE_FREE && ag_node_at(&s->slab, id)->state != AG_NODE_DOOMED &&
            (ag_slab_at(&s->slab, id)->kind & AG_ENTRY_NEGATIVE) == 0)
            all[n++] = (struct ranked){ag_node_at(&s->slab, id)->last, id};
    qsort(all, n, sizeof(*all), later_first);
    for (size_t i = 0; i < n && given < room; i++)
        given += ag_shard_key(s, all[i].id, &out[given]);
    ag_free(all);
    return given;
}

/* An equal share of each shard. */
size_t ag_cache_hottest(ag_cache *c, struct ag_cache_hot *out, size_t room)
{
    size_t given = 0;

    for (unsigned i = 0; i < c->shard_count; i++) {
        struct ag_shard *s = &c->shards[i];

        ag_lock_take(&s->lock);
        given += hottest_of(s, out + given, (room - given) / (c->shard_count - i));
        ag_lock_give(&s->lock);
    }
    return given;
}
