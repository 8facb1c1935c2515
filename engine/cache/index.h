/*
 * From a hash to an entry: open addressing, linear probing, 8 bytes a slot, no tombstones (a
 * removal shifts the run back).
 *
 *    slot = { low half of the hash | id + 1 },  empty = id 0
 *
 * The half hash in the slot keeps a probe from touching an entry that is another one; the caller
 * compares the key. At most 7/8 full.
 */
#ifndef AG_CACHE_INDEX_H
#define AG_CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/cache/slab.h"

struct ag_slot {
    uint32_t hash;
    uint32_t id_plus_1;
};

struct ag_index {
    struct ag_slot *slots;
    uint32_t mask; /* slots - 1; slots are a power of two */
    uint32_t count;
    size_t held_bytes;
};

bool ag_index_init(struct ag_index *x);
void ag_index_drop(struct ag_index *x);
/* Bytes that the next add allocates at its peak; 0 nearly always. */
size_t ag_index_need(const struct ag_index *x);
bool ag_index_reserve(struct ag_index *x); /* room for one more; false: out of memory */
void ag_index_add(struct ag_index *x, uint64_t hash, uint32_t id); /* after a reserve */
void ag_index_remove(struct ag_index *x, uint64_t hash, uint32_t id);

/* Walks the candidates of a hash: for (p = first; (id = next(&p)) != none;). */
static inline uint32_t ag_index_first(const struct ag_index *x, uint64_t hash)
{
    return (uint32_t)hash & x->mask;
}

static inline uint32_t ag_index_next(const struct ag_index *x, uint64_t hash, uint32_t *at)
{
    for (;; *at = (*at + 1) & x->mask) {
        const struct ag_slot *s = &x->slots[*at];

        if (s->id_plus_1 == 0)
            return AG_NO_ENTRY;
        if (s->hash == (uint32_t)hash) {
            *at = (*at + 1) & x->mask;
            return s->id_plus_1 - 1;
        }
    }
}

#endif
