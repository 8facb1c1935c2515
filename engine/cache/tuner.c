/* The tuner; see tuner.h. */
#include "engine/cache/tuner.h"

#include <string.h>

#include "engine/base/mem.h"

/* The first is in force until there is evidence. */
const struct ag_policy_mode ag_tuner_modes[AG_TUNER_CANDIDATES] = {
    {.k = 2},
    {.k = 1}, /* LRU by size class: everything new is soon read again */
    {.k = 3, .strict = true},
    {.k = 2, .strict = true},
};

/* Another candidate must have saved this much more than the one in force, and a few requests'
 * worth on top, so that noise does not make it swing. */
#define ADOPT_RATIO 1.01
#define ADOPT_COUNT 3
#define DECAY       0.9 /* of all scores, each epoch */
#define EPOCH_MIN   500
#define SHIFT_MAX   20

/* Shadows of 128, 256 and 1024 entries chose equally well; small ones sample 1 request in 64 of a
 * cache of 10,000 entries, which costs a hit 3 ns in the mean. */
#define BUDGET_PER_ENTRY 16384
#define ENTRIES_MIN      64
#define ENTRIES_MAX      192
#define BUDGET_SHARE     8 /* all shadows may have this part of the budget, else there are none */

static uint32_t entries_for(uint64_t budget)
{
    uint64_t n = budget / BUDGET_PER_ENTRY;

    return n < ENTRIES_MIN ? ENTRIES_MIN : n > ENTRIES_MAX ? ENTRIES_MAX : (uint32_t)n;
}

/* An entry of a shadow: 64 bytes, index 16, heap 8 to 12, ghost 10 to 13; and what even an empty one has. */
size_t ag_tuner_most_bytes(uint64_t budget)
{
    size_t most = AG_TUNER_CANDIDATES * ((size_t)entries_for(budget) * 128 + 8192);

    return most <= budget / BUDGET_SHARE ? most : 0;
}

static void set_idle(struct ag_tuner *t, bool is_idle)
{
    t->is_idle = is_idle;
    atomic_store_explicit(&t->mask, is_idle ? UINT64_MAX : 0, memory_order_relaxed);
}

static void drop_shadows(struct ag_tuner *t)
{
    for (int i = 0; i < AG_TUNER_CANDIDATES; i++)
        ag_sim_drop(&t->shadows[i]);
}

static bool make_shadows(struct ag_tuner *t, uint64_t capacity, uint64_t budget)
{
    t->capacity = capacity;
    t->most_entries = entries_for(budget);
    t->epoch = EPOCH_MIN;
    t->seen = 0;
    t->shift = 0;
    set_idle(t, true);
    if (ag_tuner_most_bytes(budget) == 0)
        return true;
    for (int i = 0; i < AG_TUNER_CANDIDATES; i++) {
        t->scores[i] = 0;
        if (!ag_sim_init(&t->shadows[i], &ag_policy_adaptive, &t->options, capacity)) {
            drop_shadows(t);
            return false;
        }
        ag_policy_adaptive.set_mode(t->shadows[i].policy, ag_tuner_modes[i]);
    }
    set_idle(t, false);
    return true;
}

bool ag_tuner_init(struct ag_tuner *t, const struct ag_policy_options *o, uint64_t capacity, uint64_t budget)
{
    *t = (struct ag_tuner){.options = *o};
    atomic_init(&t->mask, UINT64_MAX);
    atomic_init(&t->mode, 0);
    return make_shadows(t, capacity, budget);
}

void ag_tuner_drop(struct ag_tuner *t)
{
    drop_shadows(t);
}

size_t ag_tuner_held_bytes(const struct ag_tuner *t)
{
    size_t bytes = 0;

    for (int i = 0; i < AG_TUNER_CANDIDATES; i++)
        bytes += ag_sim_held_bytes(&t->shadows[i]);
    return bytes; /* an idle one's shadows are empty */
}

static bool is_sampled(uint64_t hash, unsigned shift)
{
    return (hash >> 20 & ((UINT64_C(1) << shift) - 1)) == 0;
}

static void set_capacity(struct ag_tuner *t, uint64_t capacity)
{
    t->capacity = capacity;
    for (int i = 0; i < AG_TUNER_CANDIDATES; i++)
        ag_sim_resize(&t->shadows[i], capacity >> t->shift);
}

void ag_tuner_resize(struct ag_tuner *t, uint64_t capacity, uint64_t budget)
{
    if (!t->is_idle && ag_tuner_most_bytes(budget) > 0 && entries_for(budget) == t->most_entries) {
        set_capacity(t, capacity);
        return;
    }
    drop_shadows(t);
    (void)make_shadows(t, capacity, budget);
}

/* Keys that are not in the smaller sample leave, then the capacity halves: what stays is what half
 * as many keys would have left there. */
static void halve_sample(struct ag_tuner *t)
{
    t->shift++;
    for (int i = 0; i < AG_TUNER_CANDIDATES; i++) {
        struct ag_sim *s = &t->shadows[i];

        for (uint32_t id = 0; id < ag_slab_limit(&s->slab); id++)
            if (ag_slab_at(&s->slab, id)->node.state != AG_NODE_FREE &&
                !is_sampled(ag_slab_at(&s->slab, id)->hash, t->shift))
                ag_sim_remove(s, ag_slab_at(&s->slab, id)->hash);
    }
    set_capacity(t, t->capacity);
    atomic_store_explicit(&t->mask, (UINT64_C(1) << t->shift) - 1, memory_order_relaxed);
}

static void end_epoch(struct ag_tuner *t)
{
    unsigned best = t->chosen;
    uint32_t residents = t->shadows[t->chosen].slab.used;

    for (unsigned i = 0; i < AG_TUNER_CANDIDATES; i++)
        if (t->scores[i] > t->scores[best])
            best = i;
    if (best != t->chosen && t->scores[best] > ADOPT_RATIO * t->scores[t->chosen] + ADOPT_COUNT) {
        t->chosen = best;
        t->switches++;
        atomic_store_explicit(&t->mode, best, memory_order_relaxed);
    }
    for (unsigned i = 0; i < AG_TUNER_CANDIDATES; i++)
        t->scores[i] *= DECAY;
    t->seen = 0;
    t->epoch = 2 * residents > EPOCH_MIN ? 2 * residents : EPOCH_MIN;
}

void ag_tuner_reference(struct ag_tuner *t, uint64_t hash, uint32_t bytes, uint8_t rank, uint64_t cost_ns)
{
    /* In units of the cheapest reload, so that ADOPT_COUNT is a number of requests. */
    double worth = (double)cost_ns / AG_COST_BASE_NS;
    bool is_large = false;

    if (t->is_idle || !is_sampled(hash, t->shift))
        return; /* it was resized, or halved its sample, meanwhile */
    for (int i = 0; i < AG_TUNER_CANDIDATES; i++) {
        if (ag_sim_reference(&t->shadows[i], hash, bytes, rank))
            t->scores[i] += worth;
        is_large |= t->shadows[i].slab.used > t->most_entries;
    }
    if (++t->seen >= t->epoch)
        end_epoch(t);
    while (is_large && t->shift < SHIFT_MAX) {
        is_large = false;
        halve_sample(t);
        for (int i = 0; i < AG_TUNER_CANDIDATES; i++)
            is_large |= t->shadows[i].slab.used > t->most_entries;
    }
}
