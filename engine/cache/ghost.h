/*
 * The ghost: what is remembered of keys that were evicted. Fixed slots in sets of four, no pointers,
 * no allocation but when it grows with the cache.
 *
 *    set = fingerprint * sets / 2^32
 *    slot = { fingerprint, two reference times, time of eviction and whether it was hot }
 *
 * A full set forgets its oldest eviction. Two keys with one fingerprint (4 in 2^32 per look-up) are
 * taken for one another, which costs a little precision and no answer.
 */
#ifndef AG_CACHE_GHOST_H
#define AG_CACHE_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ag_ghost_slot {
    uint32_t fingerprint;
    uint32_t hist[2];  /* newest first; hist[0] == 0: the slot is empty */
    uint32_t left;     /* when it was evicted, in halves of ticks: lowest bit = it was hot */
};

struct ag_ghost {
    struct ag_ghost_slot *slots;
    uint32_t sets;
    uint32_t cold, hot; /* slots in use by what they were */
    size_t held_bytes;
};

void ag_ghost_drop(struct ag_ghost *g);
/* Bytes that growing to `slots` takes at its peak; 0: it is large enough. */
size_t ag_ghost_need(const struct ag_ghost *g, uint32_t slots);
void ag_ghost_grow(struct ag_ghost *g, uint32_t slots); /* stays as it is where memory is out */
void ag_ghost_add(struct ag_ghost *g, uint64_t hash, const uint32_t hist[2], uint32_t now, bool was_hot);
/* Removes and returns what is known of a key. */
bool ag_ghost_take(struct ag_ghost *g, uint64_t hash, struct ag_ghost_slot *out);
bool ag_ghost_has(const struct ag_ghost *g, uint64_t hash);
void ag_ghost_rebase(struct ag_ghost *g, uint32_t delta);

static inline bool ag_ghost_was_hot(const struct ag_ghost_slot *s)
{
    return (s->left & 1) != 0;
}

#endif
