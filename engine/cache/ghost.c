/* What is remembered of evicted keys; see ghost.h. */
#include "engine/cache/ghost.h"

#include <string.h>

#include "engine/base/mem.h"

#define WAYS 4u

static uint32_t fingerprint_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) ^ (uint32_t)hash * UINT32_C(0x9E3779B1);
}

static struct ag_ghost_slot *set_of(const struct ag_ghost *g, uint32_t fingerprint)
{
    return &g->slots[(size_t)((uint64_t)fingerprint * g->sets >> 32) * WAYS];
}

void ag_ghost_drop(struct ag_ghost *g)
{
    ag_free(g->slots);
    *g = (struct ag_ghost){0};
}

/* An eighth more than asked for, so that a growing cache does not copy it all the time. */
static uint32_t sets_for(uint32_t slots)
{
    return (slots + slots / 8 + WAYS - 1) / WAYS;
}

size_t ag_ghost_need(const struct ag_ghost *g, uint32_t slots)
{
    return slots <= g->sets * WAYS ? 0 : (size_t)sets_for(slots) * WAYS * sizeof(*g->slots);
}

static uint32_t *count_of(struct ag_ghost *g, const struct ag_ghost_slot *s)
{
    return ag_ghost_was_hot(s) ? &g->hot : &g->cold;
}

static void put(struct ag_ghost *g, const struct ag_ghost_slot *slot)
{
    struct ag_ghost_slot *set = set_of(g, slot->fingerprint), *at = &set[0];

    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].hist[0] == 0 || set[i].fingerprint == slot->fingerprint) {
            at = &set[i];
            break;
        }
        if (set[i].left < at->left)
            at = &set[i];
    }
    if (at->hist[0] != 0)
        --*count_of(g, at);
    *at = *slot;
    ++*count_of(g, at);
}

void ag_ghost_grow(struct ag_ghost *g, uint32_t slots)
{
    struct ag_ghost more = {.sets = sets_for(slots)};

    if (ag_ghost_need(g, slots) == 0)
        return;
    more.held_bytes = (size_t)more.sets * WAYS * sizeof(*more.slots);
    more.slots = ag_calloc(more.sets, WAYS * sizeof(*more.slots));
    if (more.slots == NULL)
        return;
    for (size_t i = 0; i < (size_t)g->sets * WAYS; i++)
        if (g->slots[i].hist[0] != 0)
            put(&more, &g->slots[i]);
    ag_free(g->slots);
    *g = more;
}

void ag_ghost_add(struct ag_ghost *g, uint64_t hash, const uint32_t hist[2], uint32_t now, bool was_hot)
{
    struct ag_ghost_slot slot = {fingerprint_of(hash), {hist[0], hist[1]}, (now << 1) | was_hot};

    if (g->sets > 0 && hist[0] != 0)
        put(g, &slot);
}

static struct ag_ghost_slot *find(const struct ag_ghost *g, uint64_t hash)
{
    uint32_t fingerprint = fingerprint_of(hash);
    struct ag_ghost_slot *set;

    if (g->sets == 0)
        return NULL;
    set = set_of(g, fingerprint);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].fingerprint == fingerprint && set[i].hist[0] != 0)
            return &set[i];
    return NULL;
}

bool ag_ghost_has(const struct ag_ghost *g, uint64_t hash)
{
    return find(g, hash) != NULL;
}

bool ag_ghost_take(struct ag_ghost *g, uint64_t hash, struct ag_ghost_slot *out)
{
    struct ag_ghost_slot *at = find(g, hash);

    if (at == NULL)
        return false;
    *out = *at;
    --*count_of(g, at);
    memset(at, 0, sizeof(*at));
    return true;
}

static uint32_t less(uint32_t t, uint32_t delta)
{
    return t == 0 ? 0 : t > delta ? t - delta : 1;
}

void ag_ghost_rebase(struct ag_ghost *g, uint32_t delta)
{
    for (size_t i = 0; i < (size_t)g->sets * WAYS; i++) {
        struct ag_ghost_slot *s = &g->slots[i];

        s->hist[0] = less(s->hist[0], delta);
        s->hist[1] = less(s->hist[1], delta);
        s->left = (less(s->left >> 1, delta) << 1) | (s->left & 1);
    }
}
