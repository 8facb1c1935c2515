/*
 * What the front cache learns from a sample of its requests: which mode suits the load (the tuner),
 * what another budget would bring (the curve), and how long gets and loads take.
 *
 *    get, fill ─ hash in the sample? ─► tuner_lock ─► tuner's shadows ─► curve's shadows
 *    get ─ one in 64 ─► clock ─► get ─► clock ─► histogram of its kind
 *
 * One mask says what is sampled by either; both look again. tuner_lock is taken after sync_lock and
 * with no shard's lock.
 */
#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"

/* What an entry has besides its charge; shadows count it as the budget does. */
#define ENTRY_OVERHEAD 96
/* Timed gets for which the curve rests: 8192 sampled requests then cost as little as one in 64. */
#define REST 8192

/* Where metadata is not counted the tuner's is not either. */
static uint64_t tuner_budget(const ag_cache *c, int64_t bytes)
{
    return c->object_bytes_only && bytes > 0 ? (uint64_t)bytes + (UINT64_C(1) << 20) : (uint64_t)bytes;
}

static void set_mask(ag_cache *c)
{
    uint64_t tuner = c->has_tuner ? atomic_load_explicit(&c->tuner.mask, memory_order_relaxed) : UINT64_MAX;
    uint64_t curve = c->has_curve ? c->curve.mask : UINT64_MAX, mask = tuner & curve;

    if (atomic_load_explicit(&c->sample_mask, memory_order_relaxed) != mask)
        atomic_store_explicit(&c->sample_mask, mask, memory_order_relaxed);
}

bool ag_cache_shadows_init(ag_cache *c, const struct ag_policy_options *o, int64_t bytes)
{
    atomic_init(&c->sample_mask, UINT64_MAX);
    c->has_tuner = c->policy->set_mode != NULL && o->k == 0;
    c->has_curve = !c->object_bytes_only;
    if (c->has_tuner && !ag_tuner_init(&c->tuner, o, (uint64_t)bytes, tuner_budget(c, bytes))) {
        c->has_tuner = c->has_curve = false;
        return false;
    }
    if (c->has_curve && !ag_curve_init(&c->curve, c->policy, o, (uint64_t)bytes, (uint64_t)bytes)) {
        c->has_curve = false;
        return false;
    }
    if (c->has_curve && c->has_tuner)
        ag_curve_set_mode(&c->curve, ag_tuner_modes[c->tuner.chosen]);
    set_mask(c);
    return true;
}

void ag_cache_shadows_drop(ag_cache *c)
{
    if (c->has_tuner)
        ag_tuner_drop(&c->tuner);
    if (c->has_curve)
        ag_curve_drop(&c->curve);
}

int64_t ag_cache_shadows_most(const ag_cache *c, int64_t bytes)
{
    return (int64_t)((c->has_tuner ? ag_tuner_most_bytes((uint64_t)bytes) : 0) +
                     (c->has_curve && !c->policy->keeps_nothing ? ag_curve_most_bytes((uint64_t)bytes) : 0));
}

void ag_cache_shadows_resize(ag_cache *c, int64_t bytes)
{
    uint64_t found = ag_cache_found(c);

    ag_lock_take(&c->tuner_lock);
    if (c->has_tuner)
        ag_tuner_resize(&c->tuner, (uint64_t)bytes, tuner_budget(c, bytes));
    if (c->has_curve) {
        ag_curve_resize(&c->curve, (uint64_t)bytes, (uint64_t)bytes, found);
        atomic_store(&c->curve_rests, false);
    }
    set_mask(c);
    ag_lock_give(&c->tuner_lock);
}

uint64_t ag_cache_found(ag_cache *c)
{
    uint64_t found = atomic_load_explicit(&c->fills, memory_order_relaxed);

    for (unsigned i = 0; i < c->shard_count; i++) {
        ag_lock_take(&c->shards[i].lock);
        for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++)
            found += c->shards[i].counts[kind].hits - c->shards[i].counts[kind].negative_hits;
        ag_lock_give(&c->shards[i].lock);
    }
    return found;
}

static void settle(ag_cache *c, bool resume)
{
    uint64_t found = ag_cache_found(c);

    ag_lock_take(&c->tuner_lock);
    ag_curve_settle(&c->curve, found, resume);
    atomic_store_explicit(&c->timed, 0, memory_order_relaxed);
    atomic_store_explicit(&c->curve_rests, c->curve.rests, memory_order_relaxed);
    set_mask(c);
    ag_lock_give(&c->tuner_lock);
}

void ag_cache_shadows_tell(ag_cache *c, const struct ag_probe *p, uint32_t bytes, uint8_t rank)
{
    uint32_t size = c->object_bytes_only ? bytes : bytes < UINT32_MAX - ENTRY_OVERHEAD ? bytes + ENTRY_OVERHEAD : bytes;
    bool is_due = false;

    ag_lock_take(&c->tuner_lock);
    if (c->has_tuner)
        ag_tuner_reference(&c->tuner, p->hash, size, rank, ag_cost_default(bytes));
    if (c->has_curve) {
        if (c->has_tuner)
            ag_curve_set_mode(&c->curve, ag_tuner_modes[c->tuner.chosen]);
        is_due = ag_curve_reference(&c->curve, p->hash, p->kind, size, rank);
    }
    set_mask(c);
    ag_lock_give(&c->tuner_lock);
    if (is_due)
        settle(c, false);
}

void ag_cache_shadows_remove(ag_cache *c, uint64_t hash)
{
    ag_lock_take(&c->tuner_lock);
    if (c->has_curve)
        ag_curve_remove(&c->curve, hash);
    ag_lock_give(&c->tuner_lock);
}

void ag_cache_shadows_clear(ag_cache *c, unsigned kind)
{
    ag_lock_take(&c->tuner_lock);
    if (c->has_curve)
        ag_curve_clear(&c->curve, kind, AG_CACHE_KIND_LIMIT);
    ag_lock_give(&c->tuner_lock);
}

/* --- times --------------------------------------------------------------------------------------------- */

int64_t ag_cache_time_begin(ag_cache *c)
{
    if (!atomic_exchange_explicit(&c->times_next, false, memory_order_relaxed))
        return 0;
    if (atomic_load_explicit(&c->curve_rests, memory_order_relaxed) &&
        atomic_fetch_add_explicit(&c->timed, 1, memory_order_relaxed) == REST)
        settle(c, true);
    return ag_mono_ns(&c->clock);
}

static void count_time(atomic_uint times[AG_CACHE_TIMES], int64_t ns)
{
    unsigned at = ns < 2 ? 0 : 63u - (unsigned)__builtin_clzll((unsigned long long)ns);

    atomic_fetch_add_explicit(&times[at < AG_CACHE_TIMES ? at : AG_CACHE_TIMES - 1], 1, memory_order_relaxed);
}

void ag_cache_time_hit(ag_cache *c, unsigned kind, int64_t begun_ns)
{
    count_time(c->hit_times[kind], ag_mono_ns(&c->clock) - begun_ns);
}

void ag_cache_time_load(ag_cache *c, unsigned kind, int64_t ns)
{
    count_time(c->load_times[kind], ns);
}
