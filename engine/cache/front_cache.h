/*
 * The front cache: agent versions, session tails, memories, tools and responses in memory, in
 * front of the file. The engine loads through it and tells it what a commit changed.
 *
 * Values are immutable objects with a reference count; a reference pins the memory, not the entry:
 * an entry may be evicted or invalidated while somebody still reads its value.
 */
#ifndef AG_CACHE_FRONT_CACHE_H
#define AG_CACHE_FRONT_CACHE_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/base/str.h"

enum ag_cache_kind {
    AG_CACHE_AGENT, AG_CACHE_TAIL, AG_CACHE_MEMORY, AG_CACHE_TOOL, AG_CACHE_RESPONSE, AG_CACHE_KIND_LIMIT
};

/* First member of every cached object. */
struct ag_value {
    atomic_int refs;               /* begins at 1: the maker's */
    size_t bytes;                  /* everything it holds on the heap */
    void (*drop)(struct ag_value *v); /* called by the last put, on whichever thread that is */
};

static inline struct ag_value *ag_value_ref(struct ag_value *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

static inline void ag_value_put(struct ag_value *v) /* NULL is fine */
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        v->drop(v);
}

typedef struct ag_cache ag_cache;

struct ag_cache_options {
    int64_t bytes;      /* budget of everything; 0: nothing is kept, loads pass through */
    const char *policy; /* NULL: the default */
    uint64_t (*change_token)(void *ctx); /* differs after any commit that is not ours; NULL: never changes */
    void *ctx;
};

/* Makes the value of a key: *out has one reference, which the cache takes over. */
typedef agent_status (*ag_cache_loader)(void *ctx, struct ag_value **out, agent_error *err);

agent_status ag_cache_new(const struct ag_cache_options *o, ag_cache **out, agent_error *err);
void ag_cache_free(ag_cache *c); /* NULL is fine; values still referenced live on */

/* The value of a key, from memory or by the loader; N threads that miss at once load once. Given:
 * ag_value_put(). A loader's error is passed on and not kept. Thread-safe. */
agent_status ag_cache_load(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                           ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err);
/* Only what is there: NULL where it is not. */
struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);
/* After a commit: the key's value is not current any more. Also stops loads begun before from
 * being kept. Thread-safe. */
void ag_cache_invalidate(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes);
/* Everything of a kind. */
void ag_cache_invalidate_kind(ag_cache *c, enum ag_cache_kind kind);

#endif
