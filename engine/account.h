/*
 * Heap accounts above the blocks: what a host's callback allocates for a run, and which of the
 * libraries below us allocate through our door.
 *
 *     run's account ──◄── arena, buffers, jobs      engine/base/mem.h
 *                   ──◄── agent_tool_alloc()        here: freed at the latest when the callback returns
 *                   ──◄── jansson, SQLite, libcurl  where agent_memory_hooks() was called: process-wide
 */
#ifndef AG_ENGINE_ACCOUNT_H
#define AG_ENGINE_ACCOUNT_H

#include "engine/base/mem.h"

struct ag_tool_block;

/* Of one call; used on the thread of its callback alone. */
struct ag_tool_heap {
    ag_account *account; /* borrowed; NULL: nothing is counted */
    struct ag_tool_block *first;
};

void *ag_tool_heap_alloc(struct ag_tool_heap *h, size_t bytes);
void *ag_tool_heap_realloc(struct ag_tool_heap *h, void *p, size_t bytes);
void ag_tool_heap_free(struct ag_tool_heap *h, void *p);
void ag_tool_heap_drop(struct ag_tool_heap *h); /* what is left */

/* Set of agent_memory_hook: whose allocations are in the accounts besides our own. */
unsigned ag_memory_hooked(void);

#endif
