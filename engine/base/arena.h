/*
 * A bump arena: everything in it dies at once. One per run, one per store unit. Not thread-safe;
 * its owner is the owner of the object it hangs off.
 *
 *    head ─► [chunk 4 KB | used ....... free] ─► [older chunk] ─► …
 *
 * `used_bytes` is exactly what was asked for (rounded to 8), `held_bytes` what the chunks take
 * from the heap; the stage accounts read both.
 */
#ifndef AG_BASE_ARENA_H
#define AG_BASE_ARENA_H

#include <stddef.h>

#include "engine/base/str.h"

struct ag_arena_chunk;

typedef struct ag_arena {
    struct ag_arena_chunk *head;
    char *at, *end;      /* free part of the newest chunk */
    size_t next_bytes;   /* size of the next chunk; grows geometrically up to 64 KB */
    size_t used_bytes;
    size_t held_bytes;
} ag_arena;

#define AG_ARENA_INIT ((ag_arena){.next_bytes = 1000})

void *ag_arena_alloc(ag_arena *a, size_t bytes);  /* 8-aligned, not zeroed; NULL: out of memory */
void *ag_arena_zalloc(ag_arena *a, size_t bytes); /* zeroed */
/* Copies with a NUL behind; an absent string stays absent. On failure p is NULL and n is 0. */
struct ag_str ag_arena_str(ag_arena *a, struct ag_str s);
char *ag_arena_z(ag_arena *a, struct ag_str s);
char *ag_arena_printf(ag_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ag_arena_reset(ag_arena *a); /* forgets everything, keeps one small chunk for reuse */
void ag_arena_drop(ag_arena *a);  /* frees everything; usable again */

#endif
