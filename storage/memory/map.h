/*
 * A hash table from a text's hash to a pointer; who asks compares the text itself.
 *
 *     now:  linear probing, at most half full, power of two         [hash|ref] [hash|ref] [    ] …
 *     old:  while it grows, the table of half the size. It is moved over in its order, which is the
 *           new one's too, a few slots with each insert, so that no insert pays for all:
 *
 *               [ moved ........ | not yet ............... ]    cyclic, from `start`, a free slot's neighbour
 *                  these are in now   these are in old, and what belongs here is put there
 *
 * So a hash is looked for in one half only. Removal shifts the followers back: no tombstones.
 */
#ifndef AG_STORAGE_MEMORY_MAP_H
#define AG_STORAGE_MEMORY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/str.h"

struct ag_ram_slot { /* 12 bytes: the pointer in two halves, so that nothing is padded */
    uint32_t hash;
    uint32_t low, high; /* 0, 0: free */
};

struct ag_ram_half {
    struct ag_ram_slot *slots; /* NULL: none */
    uint32_t mask, shift;      /* a hash's home is its upper bits */
};

struct ag_ram_map {
    struct ag_ram_half now, old;
    uint32_t start;  /* of old: where the move began */
    uint64_t moved;  /* slots of old, counted from start */
    size_t count;    /* entries of both */
    size_t held_bytes;
};

/* Whether a hash is found in what is left of the old half. */
static inline bool ag_ram_map_in_old(const struct ag_ram_map *map, uint32_t hash)
{
    const struct ag_ram_half *old = &map->old;

    return old->slots != NULL && (((uint32_t)((uint64_t)hash >> old->shift) - map->start) & old->mask) >= map->moved;
}

/* Room for one more. False: out of memory, nothing changed. */
bool ag_ram_map_reserve(struct ag_ram_map *map);
/* After reserve; the pair must not be there. */
void ag_ram_map_put(struct ag_ram_map *map, uint32_t hash, void *ref);
/* The pair must be there. */
void ag_ram_map_del(struct ag_ram_map *map, uint32_t hash, const void *ref);
void ag_ram_map_drop(struct ag_ram_map *map);

/* Walks the entries of one hash:
 *     for (void *r = ag_ram_map_first(map, hash, &at); r != NULL; r = ag_ram_map_next(map, hash, &at)) */
struct ag_ram_at {
    const struct ag_ram_half *half;
    uint32_t slot;
};
void *ag_ram_map_first(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at);
void *ag_ram_map_next(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at);

static inline void ag_ram_map_prefetch(const struct ag_ram_map *map, uint32_t hash)
{
    const struct ag_ram_half *t = ag_ram_map_in_old(map, hash) ? &map->old : &map->now;

    if (t->slots != NULL)
        __builtin_prefetch(&t->slots[(uint64_t)hash >> t->shift], 1);
}

/* Of a text, begun from a seed or another hash. */
uint64_t ag_ram_hash(uint64_t seed, struct ag_str s);

static inline uint32_t ag_ram_hash32(uint64_t h)
{
    return (uint32_t)(h ^ h >> 32);
}

#endif
