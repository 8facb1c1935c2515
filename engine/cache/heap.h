/*
 * A lazy min-heap of (key, entry).
 *
 * The keys of entries only grow while they are in it, so nobody tells the heap: an item's key is a
 * lower bound of what it is now, and is put right only where it comes up as the smallest. A hit
 * costs nothing here, and the root, once put right, is exactly the minimum.
 *
 * An entry that leaves does not take its item along: the item is recognised as dead when it comes
 * up (the owner says so), and a full heap is swept before it is grown.
 */
#ifndef AG_CACHE_HEAP_H
#define AG_CACHE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ag_heap_item {
    uint32_t key, id;
};

struct ag_heap {
    struct ag_heap_item *items;
    uint32_t count, room;
};

/* The room that `entries` live ones ask for: some more, so that sweeps are rare. */
static inline uint32_t ag_heap_room_for(uint32_t entries)
{
    return entries + entries / 8 + 8;
}

/* Bytes that a reserve for so many allocates; 0 where there is room. */
size_t ag_heap_need(const struct ag_heap *h, uint32_t entries);
/* Room for so many entries; adds what it took to *held. False: out of memory. */
bool ag_heap_reserve(struct ag_heap *h, uint32_t entries, size_t *held);
void ag_heap_push(struct ag_heap *h, uint32_t key, uint32_t id); /* there must be room */
void ag_heap_raise_root(struct ag_heap *h, uint32_t key);        /* the root's key is larger now */
void ag_heap_pop(struct ag_heap *h);
void ag_heap_order(struct ag_heap *h); /* after items were removed or changed at will */
void ag_heap_rebase(struct ag_heap *h, uint32_t delta);
bool ag_heap_is_ordered(const struct ag_heap *h);

#endif
