/* A cache of nothing; see sim.h. */
#include "engine/cache/sim.h"

bool ag_sim_init(struct ag_sim *s, const struct ag_policy_vt *vt, const struct ag_policy_options *o, uint64_t capacity)
{
    *s = (struct ag_sim){.capacity = capacity};
    ag_slab_init(&s->slab);
    if (!ag_index_init(&s->index))
        return false;
    s->policy = vt->create(o, &s->slab);
    if (s->policy == NULL) {
        ag_index_drop(&s->index);
        return false;
    }
    return true;
}

void ag_sim_drop(struct ag_sim *s)
{
    if (s->policy != NULL)
        s->policy->vt->destroy(s->policy);
    ag_index_drop(&s->index);
    ag_slab_drop(&s->slab);
    *s = (struct ag_sim){0};
}

uint32_t ag_sim_find(const struct ag_sim *s, uint64_t hash)
{
    uint32_t at = ag_index_first(&s->index, hash), id;

    while ((id = ag_index_next(&s->index, hash, &at)) != AG_NO_ENTRY)
        if (ag_slab_at(&s->slab, id)->hash == hash)
            break;
    return id;
}

static void remove_entry(struct ag_sim *s, uint32_t id, enum ag_gone why)
{
    struct ag_entry *e = ag_slab_at(&s->slab, id);

    s->policy->vt->remove(s->policy, id, e->hash, s->now, why);
    ag_index_remove(&s->index, e->hash, id);
    s->bytes -= e->node.bytes;
    ag_slab_give(&s->slab, id);
}

static void make_room(struct ag_sim *s, uint64_t bytes)
{
    while (s->bytes + bytes > s->capacity && s->slab.used > 0) {
        remove_entry(s, s->policy->vt->victim(s->policy, s->now), AG_GONE_EVICTED);
        s->evictions++;
    }
}

bool ag_sim_reference(struct ag_sim *s, uint64_t hash, uint32_t bytes, uint8_t rank)
{
    uint32_t id = ag_sim_find(s, hash);
    struct ag_entry *e;

    if (++s->now == AG_TICK_LIMIT) {
        s->policy->vt->rebase(s->policy, AG_TICK_LIMIT / 2);
        s->now -= AG_TICK_LIMIT / 2;
    }
    if (id != AG_NO_ENTRY) {
        s->policy->vt->hit(s->policy, id, s->now);
        return true;
    }
    if (bytes > s->capacity || s->policy->vt->keeps_nothing || !ag_index_reserve(&s->index))
        return false;
    make_room(s, bytes);
    if (!s->policy->vt->prepare(s->policy, hash, rank, s->now) || (id = ag_slab_take(&s->slab)) == AG_NO_ENTRY)
        return false;
    e = ag_slab_at(&s->slab, id);
    e->hash = hash;
    e->node.bytes = bytes;
    e->node.rank = rank;
    ag_index_add(&s->index, hash, id);
    s->bytes += bytes;
    s->policy->vt->insert(s->policy, id, s->now);
    return false;
}

void ag_sim_remove(struct ag_sim *s, uint64_t hash)
{
    uint32_t id = ag_sim_find(s, hash);

    if (id != AG_NO_ENTRY)
        remove_entry(s, id, AG_GONE_DROPPED);
}

void ag_sim_resize(struct ag_sim *s, uint64_t capacity)
{
    s->capacity = capacity;
    make_room(s, 0);
}

size_t ag_sim_held_bytes(const struct ag_sim *s)
{
    return s->slab.held_bytes + s->index.held_bytes + (s->policy == NULL ? 0 : s->policy->held_bytes);
}
