/* What half and twice the memory would make of it; see curve.h. */
#include "engine/cache/curve.h"

#include <string.h>

#define LEVEL            8192 /* sampled requests before the sample halves */
#define SHIFT_CHEAP      6    /* one key in 64: a few ns of a get in the mean */
#define SHIFT_MAX        20
#define FEW              64   /* entries of the middle shadow below which half of them says nothing */
#define BUDGET_PER_ENTRY 16384
#define ENTRIES_MIN      64
#define ENTRIES_MAX      2048
#define BUDGET_SHARE     32

static uint32_t entries_for(uint64_t budget)
{
    uint64_t n = budget / BUDGET_PER_ENTRY;

    return n < ENTRIES_MIN ? ENTRIES_MIN : n > ENTRIES_MAX ? ENTRIES_MAX : (uint32_t)n;
}

/* As the tuner's shadows: 128 bytes an entry, and what even an empty one has. */
size_t ag_curve_most_bytes(uint64_t budget)
{
    size_t most = AG_CURVE_POINTS * ((size_t)entries_for(budget) * 128 + 8192);

    return most <= budget / BUDGET_SHARE ? most : 0;
}

static uint64_t capacity_of(const struct ag_curve *c, int point)
{
    return (point == 0 ? c->capacity / 2 : point == 1 ? c->capacity : c->capacity * 2) >> c->shift;
}

static void set_mask(struct ag_curve *c)
{
    c->mask = c->is_idle || c->rests ? UINT64_MAX : (UINT64_C(1) << c->shift) - 1;
}

void ag_curve_drop(struct ag_curve *c)
{
    for (int i = 0; i < AG_CURVE_POINTS; i++)
        ag_sim_drop(&c->shadows[i]);
}

static bool begin(struct ag_curve *c, uint64_t capacity, uint64_t budget)
{
    bool made = true;

    c->capacity = capacity;
    c->most_entries = entries_for(budget);
    c->shift = 0;
    c->seen = 0;
    c->rests = false;
    c->found = 0;
    memset(c->misses, 0, sizeof(c->misses));
    c->is_idle = c->policy->keeps_nothing || ag_curve_most_bytes(budget) == 0;
    for (int i = 0; i < AG_CURVE_POINTS && !c->is_idle && made; i++) {
        made = ag_sim_init(&c->shadows[i], c->policy, &c->options, capacity_of(c, i));
        if (made && c->has_mode)
            c->policy->set_mode(c->shadows[i].policy, c->mode);
    }
    if (!made) {
        ag_curve_drop(c);
        c->is_idle = true;
    }
    set_mask(c);
    return made;
}

bool ag_curve_init(struct ag_curve *c, const struct ag_policy_vt *policy, const struct ag_policy_options *o,
                   uint64_t capacity, uint64_t budget)
{
    *c = (struct ag_curve){.policy = policy, .options = *o};
    return begin(c, capacity, budget);
}

void ag_curve_resize(struct ag_curve *c, uint64_t capacity, uint64_t budget, uint64_t found)
{
    ag_curve_drop(c);
    (void)begin(c, capacity, budget);
    c->found_at = found;
}

void ag_curve_set_mode(struct ag_curve *c, struct ag_policy_mode mode)
{
    if (c->has_mode && c->mode.k == mode.k && c->mode.strict == mode.strict)
        return;
    c->has_mode = true;
    c->mode = mode;
    for (int i = 0; i < AG_CURVE_POINTS && !c->is_idle; i++)
        c->policy->set_mode(c->shadows[i].policy, mode);
}

static bool is_sampled(const struct ag_curve *c, uint64_t hash)
{
    return (hash >> 20 & c->mask) == 0;
}

static void halve(struct ag_curve *c)
{
    c->shift++;
    set_mask(c);
    for (int i = 0; i < AG_CURVE_POINTS; i++) {
        struct ag_sim *s = &c->shadows[i];

        for (uint32_t id = 0; id < ag_slab_limit(&s->slab); id++)
            if (ag_slab_at(&s->slab, id)->node.state != AG_NODE_FREE && !is_sampled(c, ag_slab_at(&s->slab, id)->hash))
                ag_sim_remove(s, ag_slab_at(&s->slab, id)->hash);
        ag_sim_resize(s, capacity_of(c, i));
    }
}

bool ag_curve_reference(struct ag_curve *c, uint64_t hash, uint8_t kind, uint32_t bytes, uint8_t rank)
{
    const struct ag_sim *largest = &c->shadows[AG_CURVE_POINTS - 1];
    bool is_due = false;

    if (c->is_idle || c->rests || !is_sampled(c, hash))
        return false;
    for (int i = 0; i < AG_CURVE_POINTS; i++) {
        struct ag_sim *s = &c->shadows[i];
        uint32_t id;

        if (ag_sim_reference(s, hash, bytes, rank))
            continue;
        c->misses[i] += UINT64_C(1) << c->shift;
        if ((id = ag_sim_find(s, hash)) != AG_NO_ENTRY)
            ag_slab_at(&s->slab, id)->kind = kind;
    }
    if (++c->seen >= LEVEL && c->shift < SHIFT_CHEAP) {
        c->seen = 0;
        is_due = true;
        if (c->shadows[1].slab.used < FEW) { /* (3) */
            c->rests = true;
            set_mask(c);
        } else {
            halve(c);
        }
    }
    for (; largest->slab.used > c->most_entries && c->shift < SHIFT_MAX; is_due = true)
        halve(c);
    return is_due;
}

void ag_curve_settle(struct ag_curve *c, uint64_t found, bool resume)
{
    if (!resume && found > c->found_at)
        c->found += found - c->found_at;
    c->found_at = found;
    if (resume) {
        c->rests = false;
        set_mask(c);
    }
}

void ag_curve_remove(struct ag_curve *c, uint64_t hash)
{
    for (int i = 0; i < AG_CURVE_POINTS && !c->is_idle; i++)
        ag_sim_remove(&c->shadows[i], hash);
}

void ag_curve_clear(struct ag_curve *c, unsigned kind, unsigned any)
{
    for (int i = 0; i < AG_CURVE_POINTS && !c->is_idle; i++) {
        struct ag_sim *s = &c->shadows[i];

        for (uint32_t id = 0; id < ag_slab_limit(&s->slab); id++) {
            const struct ag_entry *e = ag_slab_at(&s->slab, id);

            if (e->node.state != AG_NODE_FREE && (kind == any || e->kind == kind))
                ag_sim_remove(s, e->hash);
        }
    }
}

bool ag_curve_read(const struct ag_curve *c, double out_misses[AG_CURVE_POINTS])
{
    if (c->is_idle || c->found == 0)
        return false;
    for (int i = 0; i < AG_CURVE_POINTS; i++) {
        double share = (double)c->misses[i] / (double)c->found;

        out_misses[i] = share > 1 ? 1 : share;
    }
    return true;
}

size_t ag_curve_held_bytes(const struct ag_curve *c)
{
    size_t bytes = 0;

    for (int i = 0; i < AG_CURVE_POINTS && !c->is_idle; i++)
        bytes += ag_sim_held_bytes(&c->shadows[i]);
    return bytes;
}
