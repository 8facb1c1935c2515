/*
 * Loads that are made once, however many threads ask.
 *
 *    miss ─► a flight of this key and lease? ─► wait for it (shard's wait_lock) ─► its value or error
 *            └► none: enter one ─► loader, no lock held ─► keep by the lease ─► leave the list ─► tell
 *
 * Invariants:
 *  (1) A load that begins after a change was acknowledged joins no load that began before it: a
 *      flight can be joined while its lease is the counter of its bucket, and no longer.
 *  (2) Who joined is always told, with the value or with the loader's own error.
 */
#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"

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

static agent_status join(ag_cache *c, struct ag_shard *s, struct ag_flight *f, struct ag_value **out, agent_error *err)
{
    agent_status rc;

    pthread_mutex_lock(&s->wait_lock);
    while (!f->has_landed)
        pthread_cond_wait(&s->landed, &s->wait_lock);
    pthread_mutex_unlock(&s->wait_lock);
    rc = told(f->rc, f->value, f->err, out, err);
    if (rc == AGENT_OK)
        ag_cache_tell_watcher(c, f->hash, f->value->bytes < UINT32_MAX ? (uint32_t)f->value->bytes : UINT32_MAX, false);
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

/* How much slower (or faster) loads of this kind are than the default says. It moves by a sixteenth of
 * what is at most four times off: one load that the disk or the scheduler held up says little. */
static void learn_cost(struct ag_shard *s, uint8_t kind, int64_t ns, uint64_t bytes)
{
    float ratio = (float)(ns > 0 ? ns : 1) / (float)ag_cost_default(bytes), *known = &s->cost_ratio[kind];

    s->counts[kind].loads++;
    s->counts[kind].load_ns += (uint64_t)(ns > 0 ? ns : 0);
    s->counts[kind].miss_bytes += bytes;
    if (*known <= 0)
        *known = ratio;
    ratio = ratio > *known * 4 ? *known * 4 : ratio < *known / 4 ? *known / 4 : ratio;
    *known += (ratio - *known) / 16;
}

static agent_status load(ag_cache *c, const struct ag_probe *p, struct ag_flight *f, uint64_t lease,
                         ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_shard *s = ag_cache_shard(c, p->hash);
    agent_error why = AGENT_ERROR_INIT;
    struct ag_value *v = NULL, *negative;
    int64_t begun = ag_mono_ns(&c->clock), ns;
    agent_status rc = loader(ctx, &v, &why);

    ns = ag_mono_ns(&c->clock) - begun;
    if (rc == AGENT_OK) {
        ag_lock_take(&s->lock);
        learn_cost(s, p->kind, ns, v->bytes);
        ag_lock_give(&s->lock);
        ag_cache_time_load(c, p->kind, ns);
        (void)ag_cache_keep(c, p, v, lease, false, c->ttl_ms[p->kind], 0);
    } else if (rc == AGENT_ENOTFOUND && c->negative_ttl_ms > 0 && (negative = negative_new(&why)) != NULL) {
        (void)ag_cache_keep(c, p, negative, lease, true, c->negative_ttl_ms, 0);
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
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    struct ag_shard *s = ag_cache_shard(c, p.hash);
    bool is_negative;
    struct ag_value *v = ag_cache_find(c, &p, true, &is_negative);
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
        return join(c, s, other, out, err);
    }
    return load(c, &p, mine, lease, loader, ctx, out, err);
}

agent_status ag_cache_read_through(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                                   ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_probe p = ag_cache_probe(kind, key, key_bytes);
    bool is_negative;
    struct ag_value *v = ag_cache_find(c, &p, false, &is_negative);

    if (is_negative)
        return negative_told(v, err);
    if (v == NULL)
        return loader(ctx, out, err);
    *out = v;
    return AGENT_OK;
}
