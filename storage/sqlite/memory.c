/*
 * SQLite's memory through our door, so that what it takes on behalf of a run is on that run's account.
 * It is the process's SQLite that is changed, the host's connections included: only the host asks
 * for it (agent_memory_hooks), and before SQLite has been used.
 */
#include <sqlite3.h>

#include "engine/base/mem.h"
#include "storage/store.h"

static void *take(int bytes) { return ag_malloc((size_t)bytes); }
static void *resize(void *p, int bytes) { return ag_realloc(p, (size_t)bytes); }
static int size_of(void *p) { return (int)ag_mem_size(p); }
static int round_up(int bytes) { return (bytes + 7) & ~7; }

static int init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void shutdown(void *ctx)
{
    (void)ctx;
}

agent_status ag_store_sqlite_memory(agent_error *err)
{
    static const sqlite3_mem_methods methods = {take, ag_free, resize, size_of, round_up, init, shutdown, NULL};
    int rc = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);

    if (rc == SQLITE_OK)
        return AGENT_OK;
    (void)ag_fail(err, AGENT_EBUSY, rc, "memory hooks: SQLite is in use already");
    ag_hint(err, "call agent_memory_hooks() before the first engine is opened and before SQLite is used");
    return AGENT_EBUSY;
}
