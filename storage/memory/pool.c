#include "storage/memory/pool.h"

#include <stdint.h>

#include "engine/base/mem.h"
#include "storage/memory/pages.h"

#define STEP_BYTES        16
#define SMALL_BYTES       512  /* 32 classes of 16 */
#define CLASSED_BYTES     8192 /* 16 more, four per doubling */
#define CHUNK_FIRST_BYTES 16384
#define CHUNK_MOST_BYTES  1048576 /* beyond it chunks are huge pages */
#define CHUNK_HUGE_BYTES  (2 * AG_PAGES_UNIT)

struct ag_ram_chunk {
    struct ag_ram_chunk *older;
    size_t bytes; /* CHUNK_HUGE_BYTES: from pages.c */
};

struct ag_ram_big {
    struct ag_ram_big *prev, *next;
    size_t bytes; /* with this header; from AG_PAGES_UNIT on from pages.c */
    size_t unused; /* what follows is aligned to 16 */
};

static void *get(size_t bytes)
{
    return bytes >= AG_PAGES_UNIT ? ag_pages_get(bytes) : ag_malloc(bytes);
}

static void put(void *p, size_t bytes)
{
    if (bytes >= AG_PAGES_UNIT)
        ag_pages_put(p, bytes);
    else
        ag_free(p);
}

/* The class of a size and the size of the class. */
static unsigned class_of(size_t bytes, size_t *out_bytes)
{
    unsigned shift, quarter;

    if (bytes <= SMALL_BYTES) {
        unsigned c = bytes == 0 ? 1 : (unsigned)((bytes + STEP_BYTES - 1) / STEP_BYTES);

        *out_bytes = (size_t)c * STEP_BYTES;
        return c;
    }
    shift = 63U - (unsigned)__builtin_clzll((unsigned long long)bytes - 1); /* 9 .. 12: bytes is over 2^shift */
    quarter = (unsigned)((bytes - 1 - ((size_t)1 << shift)) >> (shift - 2)) + 1;
    *out_bytes = ((size_t)1 << shift) + ((size_t)quarter << (shift - 2));
    return SMALL_BYTES / STEP_BYTES + (shift - 9) * 4 + quarter;
}

static void *from_heap(struct ag_ram_pool *pool, size_t bytes)
{
    struct ag_ram_big *big;

    if (bytes > SIZE_MAX / 2 || (big = get(bytes + sizeof(*big))) == NULL)
        return NULL;
    *big = (struct ag_ram_big){NULL, pool->bigs, bytes + sizeof(*big), 0};
    if (pool->bigs != NULL)
        pool->bigs->prev = big;
    pool->bigs = big;
    pool->held_bytes += bytes + sizeof(*big);
    return big + 1;
}

static void *from_new_chunk(struct ag_ram_pool *pool, size_t bytes)
{
    struct ag_ram_chunk *chunk;
    size_t want = pool->next_bytes < CHUNK_FIRST_BYTES ? CHUNK_FIRST_BYTES : pool->next_bytes;

    if ((chunk = get(want)) == NULL)
        return NULL;
    *chunk = (struct ag_ram_chunk){pool->chunks, want};
    pool->chunks = chunk;
    pool->held_bytes += want;
    pool->next_bytes = want < CHUNK_MOST_BYTES ? want * 2 : CHUNK_HUGE_BYTES;
    pool->at = (char *)(chunk + 1) + bytes;
    pool->end = (char *)chunk + want;
    return chunk + 1;
}

void *ag_ram_pool_get(struct ag_ram_pool *pool, size_t bytes)
{
    unsigned c;
    void *p;

    if (bytes > CLASSED_BYTES)
        return from_heap(pool, bytes);
    c = class_of(bytes, &bytes);
    if ((p = pool->free[c]) != NULL) {
        pool->free[c] = *(void **)p;
        return p;
    }
    if ((size_t)(pool->end - pool->at) < bytes)
        return from_new_chunk(pool, bytes);
    p = pool->at;
    pool->at += bytes;
    return p;
}

void ag_ram_pool_put(struct ag_ram_pool *pool, void *p, size_t bytes)
{
    unsigned c;

    if (bytes > CLASSED_BYTES) {
        struct ag_ram_big *big = (struct ag_ram_big *)p - 1;

        if (big->prev != NULL)
            big->prev->next = big->next;
        else
            pool->bigs = big->next;
        if (big->next != NULL)
            big->next->prev = big->prev;
        pool->held_bytes -= bytes + sizeof(*big);
        put(big, big->bytes);
        return;
    }
    c = class_of(bytes, &bytes);
    *(void **)p = pool->free[c];
    pool->free[c] = p;
}

void ag_ram_pool_drop(struct ag_ram_pool *pool)
{
    while (pool->chunks != NULL) {
        struct ag_ram_chunk *older = pool->chunks->older;

        put(pool->chunks, pool->chunks->bytes);
        pool->chunks = older;
    }
    while (pool->bigs != NULL) {
        struct ag_ram_big *next = pool->bigs->next;

        put(pool->bigs, pool->bigs->bytes);
        pool->bigs = next;
    }
    *pool = (struct ag_ram_pool){0};
}
