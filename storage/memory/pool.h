/*
 * Where the small things of the memory store live: blocks of a known size, taken and given back
 * under the store's mutex. No header per block: who gives one back says how big it was.
 *
 *     sizes to 512 ── classes of 16 ──┐
 *     sizes to 8192 ─ 4 per doubling ─┼─► free list of the class, else the newest chunk's free end
 *     larger ──────── the heap ───────┘   (chunks: 16 KB growing to 1 MB, all freed by drop)
 */
#ifndef AG_STORAGE_MEMORY_POOL_H
#define AG_STORAGE_MEMORY_POOL_H

#include <stddef.h>

#define AG_RAM_CLASSES 48

struct ag_ram_pool {
    void *free[AG_RAM_CLASSES + 1];
    char *at, *end;        /* free part of the newest chunk */
    struct ag_ram_chunk *chunks;
    struct ag_ram_big *bigs; /* blocks of the heap, so that drop finds them */
    size_t next_bytes;
    size_t held_bytes; /* all that the heap gave */
};

void *ag_ram_pool_get(struct ag_ram_pool *pool, size_t bytes); /* 16-aligned, not zeroed; NULL: out of memory */
void ag_ram_pool_put(struct ag_ram_pool *pool, void *p, size_t bytes);
void ag_ram_pool_drop(struct ag_ram_pool *pool);

#endif
