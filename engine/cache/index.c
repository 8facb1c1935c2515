/* From a hash to an entry; see index.h. */
#include "engine/cache/index.h"

#include <assert.h>

#include "engine/base/mem.h"

#define FIRST_SLOTS 64u

bool ag_index_init(struct ag_index *x)
{
    *x = (struct ag_index){.mask = FIRST_SLOTS - 1};
    x->slots = ag_calloc(FIRST_SLOTS, sizeof(*x->slots));
    if (x->slots == NULL)
        return false;
    x->held_bytes = FIRST_SLOTS * sizeof(*x->slots);
    return true;
}

void ag_index_drop(struct ag_index *x)
{
    ag_free(x->slots);
    *x = (struct ag_index){0};
}

static bool is_full(const struct ag_index *x)
{
    uint32_t slots = x->mask + 1;

    return x->count + 1 > slots - slots / 8;
}

size_t ag_index_need(const struct ag_index *x)
{
    return is_full(x) ? 2 * ((size_t)x->mask + 1) * sizeof(*x->slots) : 0;
}

void ag_index_add(struct ag_index *x, uint64_t hash, uint32_t id)
{
    uint32_t at = (uint32_t)hash & x->mask;

    assert(!is_full(x));
    while (x->slots[at].id_plus_1 != 0)
        at = (at + 1) & x->mask;
    x->slots[at] = (struct ag_slot){(uint32_t)hash, id + 1};
    x->count++;
}

bool ag_index_reserve(struct ag_index *x)
{
    struct ag_index more;

    if (!is_full(x))
        return true;
    more = (struct ag_index){.mask = x->mask * 2 + 1};
    more.held_bytes = ((size_t)more.mask + 1) * sizeof(*more.slots);
    more.slots = ag_calloc((size_t)more.mask + 1, sizeof(*more.slots));
    if (more.slots == NULL)
        return false;
    for (uint32_t i = 0; i <= x->mask; i++)
        if (x->slots[i].id_plus_1 != 0)
            ag_index_add(&more, x->slots[i].hash, x->slots[i].id_plus_1 - 1);
    ag_free(x->slots);
    *x = more;
    return true;
}

void ag_index_remove(struct ag_index *x, uint64_t hash, uint32_t id)
{
    uint32_t at = (uint32_t)hash & x->mask, hole;

    while (x->slots[at].id_plus_1 != id + 1) {
        assert(x->slots[at].id_plus_1 != 0);
        at = (at + 1) & x->mask;
    }
    /* Whoever stands behind the hole and would be found from before it moves into it. */
    for (hole = at;;) {
        at = (at + 1) & x->mask;
        if (x->slots[at].id_plus_1 == 0)
            break;
        if (((at - x->slots[at].hash) & x->mask) >= ((at - hole) & x->mask)) {
            x->slots[hole] = x->slots[at];
            hole = at;
        }
    }
    x->slots[hole] = (struct ag_slot){0, 0};
    x->count--;
}
