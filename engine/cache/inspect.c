/* Statistics of the front cache, its invariants, and what is worth having again after a restart. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"

static void add_counts(struct ag_cache_counts *to, const struct ag_cache_counts *from)
{
    /* All fields are uint64_t. */
    uint64_t *t = (uint64_t *)to;
    const uint64_t *f = (const uint64_t *)from;

    for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++)
        t[i] += f[i];
}

static void read_times(atomic_uint times[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES],
                       uint32_t out[AG_CACHE_KIND_LIMIT][AG_CACHE_TIMES])
{
    for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++)
        for (unsigned i = 0; i < AG_CACHE_TIMES; i++)
            out[kind][i] = atomic_load_explicit(&times[kind][i], memory_order_relaxed);
}

/* Of all gets, as the hit ratio is: what finds nothing is a miss at any size. */
static double estimate(const struct ag_cache_stats *s, uint64_t found, double miss_share)
{
    return s->total.gets > 0 ? (1 - miss_share) * (double)found / (double)s->total.gets : 0;
}

static void read_shadows(ag_cache *c, struct ag_cache_stats *out)
{
    uint64_t found = out->total.hits + atomic_load_explicit(&c->fills, memory_order_relaxed);
    double misses[AG_CURVE_POINTS];

    read_times(c->load_times, out->load_times);
    read_times(c->hit_times, out->hit_times);
    out->estimate_half = out->estimate_one = out->estimate_twice = -1;
    ag_lock_take(&c->tuner_lock);
    if (c->has_curve) {
        if (!c->curve.rests)
            ag_curve_settle(&c->curve, found, false);
        out->curve_bytes = ag_curve_held_bytes(&c->curve);
        if (ag_curve_read(&c->curve, misses)) {
            out->estimate_half = estimate(out, found, misses[0]);
            out->estimate_one = estimate(out, found, misses[1]);
            out->estimate_twice = estimate(out, found, misses[2]);
        }
    }
    ag_lock_give(&c->tuner_lock);
}

void ag_cache_stats(ag_cache *c, struct ag_cache_stats *out)
{
    *out = (struct ag_cache_stats){.policy = c->policy->name, .bytes = atomic_load(&c->bytes), .shards = c->shard_count};
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct ag_shard *s = &c->shards[i];

        ag_lock_take(&s->lock);
        for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++) {
            struct ag_cache_counts counts = s->counts[kind];

            counts.gets = counts.hits + counts.misses;
            counts.hits -= counts.negative_hits;
            add_counts(&out->kinds[kind], &counts);
        }
        out->entry_bytes += s->entry_bytes;
        out->index_bytes += s->index.held_bytes + s->expiry_bytes;
        out->slab_bytes += s->slab.held_bytes;
        out->policy_bytes += s->policy->held_bytes;
        out->fixed_bytes += s->fixed_bytes;
        out->loss_bytes += ag_shard_loss(s);
        out->handicap += (double)s->policy->stats.handicap / c->shard_count;
        out->ghost_hits_cold += s->policy->stats.ghost_hits_cold;
        out->ghost_hits_hot += s->policy->stats.ghost_hits_hot;
        out->contended += s->lock.contended;
        ag_lock_give(&s->lock);
    }
    for (unsigned kind = 0; kind < AG_CACHE_KIND_LIMIT; kind++)
        add_counts(&out->total, &out->kinds[kind]);
    out->fixed_bytes += sizeof(*c);
    read_shadows(c, out);
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
                      out->loss_bytes + out->tuner_bytes + out->curve_bytes;
}

const char *ag_cache_check(ag_cache *c)
{
    const char *broken = NULL;

    for (unsigned i = 0; i < c->shard_count && broken == NULL; i++) {
        ag_lock_take(&c->shards[i].lock);
        broken = ag_shard_check(&c->shards[i]);
        ag_lock_give(&c->shards[i].lock);
    }
    if (broken == NULL && c->has_curve) {
        ag_lock_take(&c->tuner_lock);
        if (ag_curve_held_bytes(&c->curve) > ag_curve_most_bytes((uint64_t)atomic_load(&c->bytes)))
            broken = "(3) the curve holds more than its most";
        ag_lock_give(&c->tuner_lock);
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
