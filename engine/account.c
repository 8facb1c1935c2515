/*
 * The hooks belong to the process, as the libraries' own tables do that they change; so does the one
 * word that remembers them. They are set by the host alone, once, before any engine is open, and are
 * constant afterwards.
 */
#include "engine/account.h"

#include <agent/engine.h>
#include <jansson.h>
#include <stdatomic.h>

#include "engine/base/err.h"
#include "engine/io/curl_api.h"
#include "storage/store.h"

/* --- a callback's memory ------------------------------------------------------------------------------ */

/* In front of what the callback gets: 32 bytes, so that it is aligned as malloc would align it. */
struct ag_tool_block {
    struct ag_tool_block *prev, *next;
    size_t bytes;
    size_t unused;
};

_Static_assert(sizeof(struct ag_tool_block) % 16 == 0, "blocks behind it are aligned as malloc's are");

static struct ag_tool_block *block_of(void *p)
{
    return (struct ag_tool_block *)p - 1;
}

static int64_t weight(size_t bytes)
{
    return (int64_t)((bytes + 7) & ~(size_t)7);
}

static void link_block(struct ag_tool_heap *h, struct ag_tool_block *b, size_t bytes)
{
    b->bytes = bytes;
    b->prev = NULL;
    b->next = h->first;
    if (h->first != NULL)
        h->first->prev = b;
    h->first = b;
}

static void unlink_block(struct ag_tool_heap *h, struct ag_tool_block *b)
{
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        h->first = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
}

/* Charged by hand: blocks with a header of base/mem would not be aligned for everything. */
void *ag_tool_heap_alloc(struct ag_tool_heap *h, size_t bytes)
{
    struct ag_mem_charge was = ag_mem_charge(NULL);
    struct ag_tool_block *b = bytes > PTRDIFF_MAX - sizeof(*b) ? NULL : ag_malloc(sizeof(*b) + bytes);

    ag_mem_charge_back(was);
    if (b == NULL)
        return NULL;
    link_block(h, b, bytes);
    ag_account_add(h->account, weight(bytes), true);
    return b + 1;
}

void *ag_tool_heap_realloc(struct ag_tool_heap *h, void *p, size_t bytes)
{
    struct ag_tool_block *b, *grown;
    size_t had;

    if (p == NULL)
        return ag_tool_heap_alloc(h, bytes);
    b = block_of(p);
    had = b->bytes;
    unlink_block(h, b);
    grown = bytes > PTRDIFF_MAX - sizeof(*b) ? NULL : ag_realloc(b, sizeof(*b) + bytes);
    if (grown == NULL) {
        link_block(h, b, had);
        return NULL;
    }
    link_block(h, grown, bytes);
    ag_account_add(h->account, weight(bytes) - weight(had), true);
    return grown + 1;
}

void ag_tool_heap_free(struct ag_tool_heap *h, void *p)
{
    struct ag_tool_block *b;
    int64_t bytes;

    if (p == NULL)
        return;
    b = block_of(p);
    bytes = weight(b->bytes);
    unlink_block(h, b);
    ag_free(b);
    ag_account_add(h->account, -bytes, true);
}

void ag_tool_heap_drop(struct ag_tool_heap *h)
{
    while (h->first != NULL)
        ag_tool_heap_free(h, h->first + 1);
}

/* --- the libraries below --------------------------------------------------------------------------------- */

static atomic_uint hooked;

unsigned ag_memory_hooked(void)
{
    return atomic_load_explicit(&hooked, memory_order_relaxed);
}

agent_status agent_memory_hooks(unsigned which, agent_error *err)
{
    agent_status rc;

    if ((which & ~(unsigned)(AGENT_MEMORY_JSON | AGENT_MEMORY_SQLITE | AGENT_MEMORY_CURL)) != 0)
        return ag_fail(err, AGENT_EINVAL, 0, "memory hooks: %#x is no set of agent_memory_hook", which);
    if ((which & AGENT_MEMORY_SQLITE) != 0) {
        if ((rc = ag_store_sqlite_memory(err)) != AGENT_OK)
            return rc;
        (void)atomic_fetch_or(&hooked, AGENT_MEMORY_SQLITE);
    }
    if ((which & AGENT_MEMORY_CURL) != 0) {
        if ((rc = ag_curl_memory(err)) != AGENT_OK)
            return rc;
        (void)atomic_fetch_or(&hooked, AGENT_MEMORY_CURL);
    }
    if ((which & AGENT_MEMORY_JSON) != 0) { /* the host gives what json_dumps() made to free() */
        if (!ag_mem_is_plain())
            return ag_fail(err, AGENT_EINVAL, 0, "memory hooks: not for jansson on this platform");
        json_set_alloc_funcs(ag_malloc, ag_free);
        (void)atomic_fetch_or(&hooked, AGENT_MEMORY_JSON);
    }
    return AGENT_OK;
}
