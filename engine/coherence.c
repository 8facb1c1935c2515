/*
 * A commit by another process or by a person with sqlite3, and what becomes of the front cache.
 *
 *     get ─► token moved ─► explain ─► the log of changes says which rows ─► those are dropped
 *                              └──► it does not say all ─────────────────► the cache drops everything
 *
 * The cache calls it on the thread of the get that noticed, one at a time; so the reader kept for it
 * belongs to one thread at a time. It is opened at the first change: most engines never see one.
 */
#include "engine/coherence.h"

#include "engine/session_tail.h"

uint64_t ag_engine_change_token(void *engine)
{
    return ag_store_change_token(((agent_engine *)engine)->store);
}

static void drop(void *ctx, const struct ag_change *change)
{
    ag_cache *cache = ctx;

    switch (change->kind) {
    case AG_CHANGE_VERSION:
        ag_cache_invalidate(cache, AG_CACHE_AGENT, &change->id, sizeof(change->id));
        break;
    case AG_CHANGE_AGENTS:
    case AG_CHANGE_TOOL: /* a command tool stands inside every agent that lists it */
        ag_cache_invalidate_kind(cache, AG_CACHE_AGENT);
        break;
    case AG_CHANGE_MEMORY:
        ag_cache_invalidate(cache, AG_CACHE_MEMORY, &change->id, sizeof(change->id));
        break;
    case AG_CHANGE_RESPONSE:
        ag_cache_invalidate(cache, AG_CACHE_RESPONSE, change->key.p, change->key.n);
        break;
    }
}

bool ag_engine_explain(void *engine, uint64_t from, uint64_t to, ag_cache *cache)
{
    agent_engine *e = engine;
    bool explained = false;

    (void)from;
    (void)to;
    ag_tail_forget(e); /* messages are not in the log */
    if (e->change_reader == NULL && ag_store_reader_open(e->store, &e->change_reader, NULL) != AGENT_OK)
        return false;
    if (ag_reader_changes(e->change_reader, drop, cache, &explained, NULL) != AGENT_OK || !explained)
        return false;
    return true;
}
