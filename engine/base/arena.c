#include "engine/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

#define CHUNK_FIRST_BYTES 1000 /* with the header of a charged block it is within what malloc keeps at hand (1032) */
#define CHUNK_MOST_BYTES  65536

struct ag_arena_chunk {
    struct ag_arena_chunk *older;
    size_t bytes; /* of the whole chunk, this header included */
};

static bool grow(ag_arena *a, size_t bytes)
{
    size_t want = bytes + sizeof(struct ag_arena_chunk);
    struct ag_arena_chunk *chunk;

    if (a->next_bytes < CHUNK_FIRST_BYTES)
        a->next_bytes = CHUNK_FIRST_BYTES;
    if (want < a->next_bytes)
        want = a->next_bytes;
    if ((chunk = ag_malloc(want)) == NULL)
        return false;
    chunk->older = a->head;
    chunk->bytes = want;
    a->head = chunk;
    a->at = (char *)(chunk + 1);
    a->end = (char *)chunk + want;
    a->held_bytes += want;
    if (a->next_bytes < CHUNK_MOST_BYTES)
        a->next_bytes *= 2;
    return true;
}

void *ag_arena_alloc(ag_arena *a, size_t bytes)
{
    void *p;

    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + 7) & ~(size_t)7;
    if ((size_t)(a->end - a->at) < bytes && !grow(a, bytes))
        return NULL;
    p = a->at;
    a->at += bytes;
    a->used_bytes += bytes;
    return p;
}

void *ag_arena_zalloc(ag_arena *a, size_t bytes)
{
    void *p = ag_arena_alloc(a, bytes);

    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

struct ag_str ag_arena_str(ag_arena *a, struct ag_str s)
{
    char *p;

    if (s.p == NULL || (p = ag_arena_alloc(a, s.n + 1)) == NULL)
        return AG_STR_NONE;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct ag_str){p, s.n};
}

char *ag_arena_z(ag_arena *a, struct ag_str s)
{
    char *p = ag_arena_alloc(a, s.n + 1);

    if (p == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

char *ag_arena_printf(ag_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *p = NULL;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && (p = ag_arena_alloc(a, (size_t)n + 1)) != NULL)
        (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void ag_arena_reset(ag_arena *a)
{
    struct ag_arena_chunk *keep = NULL;

    while (a->head != NULL) {
        struct ag_arena_chunk *older = a->head->older;

        if (older == NULL && a->head->bytes <= 2 * (size_t)CHUNK_FIRST_BYTES)
            keep = a->head;
        else
            ag_free(a->head);
        a->head = older;
    }
    *a = AG_ARENA_INIT;
    if (keep != NULL) {
        a->head = keep;
        a->at = (char *)(keep + 1);
        a->end = (char *)keep + keep->bytes;
        a->held_bytes = keep->bytes;
    }
}

void ag_arena_drop(ag_arena *a)
{
    while (a->head != NULL) {
        struct ag_arena_chunk *older = a->head->older;

        ag_free(a->head);
        a->head = older;
    }
    *a = AG_ARENA_INIT;
}
