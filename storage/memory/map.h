/*
 * A hash table from a text's hash to a pointer; who asks compares the text itself.
 *
 *     slots: linear probing, at most 3/4 full, power of two         [hash|ref] [hash|ref] [    ] …
 *     old:   while it grows, the table of half the size, moved over a few slots with each insert,
 *            so that no insert pays for all (below `moved` its slots are void)
 *
 * Removal shifts the followers back: there are no tombstones but in `old`, which is soon gone.
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

struct ag_ram_map {
    struct ag_ram_slot *slots, *old;
    uint32_t mask, old_mask;
    uint32_t moved;  /* slots of old that were moved */
    size_t count;    /* entries in slots and in what is left of old */
    size_t held_bytes;
};

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
    uint32_t slot;
    bool in_old;
};
void *ag_ram_map_first(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at);
void *ag_ram_map_next(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at);

static inline void ag_ram_map_prefetch(const struct ag_ram_map *map, uint32_t hash)
{
    if (map->slots != NULL)
        __builtin_prefetch(&map->slots[hash & map->mask], 1);
}

/* Of a text, begun from a seed or another hash. */
uint64_t ag_ram_hash(uint64_t seed, struct ag_str s);

static inline uint32_t ag_ram_hash32(uint64_t h)
{
    return (uint32_t)(h ^ h >> 32);
}

#endif
