/*
 * What is inside an agent_engine. Host-visible behaviour stands in include/agent/; this is for the
 * files of this folder only.
 *
 *      host ──► engine.c (open, close) · agents.c · tools_api.c · inspect.c      any thread
 *      host ──► run_api.c ──inbox──► worker.c ──► run_stage.c ──► run_*.c        the run's worker
 *
 * Locks, in the order they may be taken (none is held across a call-out):
 *   admin_lock   the reader used by host threads, and the tables of host tools and providers
 *   flights.lock a leaf: which requests are being asked
 *   ended_lock   with ended_cond: wakes agent_run_wait() and ag_engine_apply()
 */
#ifndef AG_ENGINE_H
#define AG_ENGINE_H

#include <agent/agent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/agent_spec.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/cache/front_cache.h"
#include "engine/flights.h"
#include "engine/limits.h"
#include "engine/pressure.h"
#include "engine/sampler.h"
#include "engine/schedule.h"
#include "engine/tool/tool.h"
#include "storage/store.h"

struct ag_worker;

/* Defaults and bounds; what a host may set stands in agent_options. */
#define AG_MAX_ACTIVE_RUNS   100000
#define AG_MAX_STEPS         25
#define AG_MAX_STEPS_LIMIT   1000
#define AG_RUN_TIMEOUT_MS    (INT64_C(30) * 60 * 1000)
#define AG_CONNECT_MS        10000
#define AG_FIRST_BYTE_MS     120000
#define AG_IDLE_MS           60000
#define AG_TOTAL_MS          (INT64_C(30) * 60 * 1000)
#define AG_RETRIES           2
#define AG_HISTORY_MESSAGES  40
#define AG_HISTORY_BYTES     65536
#define AG_MEMORY_COUNT      64
#define AG_MEMORY_BYTES      16384
#define AG_PARALLEL_CALLS    16 /* calls of one run that are out at once */
#define AG_POOL_THREADS      1024 /* of callbacks that block: begun when needed; what limits them are the gates */
#define AG_POOL_QUEUED       10000
#define AG_CACHE_BYTES       (INT64_C(64) << 20)
#define AG_INSTRUCTIONS_MAX  (1u << 20)
#define AG_MEMORY_TEXT_MAX   (64u << 10)
#define AG_OPTIONS_TEXT_MAX  (64u << 10)
#define AG_JOURNAL_BYTES     4096
#define AG_JOURNAL_NS        INT64_C(250000000)
#define AG_WORK_JOBS         64
#define AG_QUEUE_AGING_MS    30000
#define AG_QUEUED_RUNS       1000000
#define AG_POLL_MS           100 /* a run that waits for another process looks again */

struct ag_host_tool {
    struct ag_host_tool *next;
    agent_tool tool; /* texts are ours */
};

struct ag_host_provider {
    struct ag_host_provider *next;
    agent_provider provider; /* name is ours */
};

struct agent_engine {
    ag_clock clock;
    ag_log log;
    ag_store *store;
    ag_cache *cache;
    ag_sampler sampler;
    ag_pressure pressure;
    struct ag_notices notices;
    struct ag_live *live; /* live.h; NULL: nobody else reads the store */
    struct ag_recorder *recorder; /* of the cache's requests; NULL: it only inspects */
    ag_schedule *schedule;
    struct ag_limits limits; /* set at open */
    bool inspect, inline_mode, durable, heap_accounts;
    int64_t max_active_runs;
    const char *(*secret)(void *ctx, const char *name);
    void *secret_ctx;
    char **tool_env;
    char *ca_file, *proxy, *tool_path;

    struct ag_worker **workers;
    int worker_count;
    pthread_t owner; /* inline_mode: the only thread that may call in */

    atomic_long active_runs;
    atomic_ulong next_worker;
    atomic_ulong random_state;
    ag_pool *_Atomic pool;
    void (*take_job)(void *ctx, struct ag_job *job); /* instead of the pool: callbacks in a simulation. NULL: the pool */
    void *take_job_ctx;

    /* agent_work(): work.c */
    atomic_bool is_working, work_hint; /* work_hint: a commit of ours may have made a run ready */
    atomic_int work_stop;
    atomic_long work_active; /* runs it took that have not left */
    _Atomic uint64_t seen_version; /* of agent_wait_change() */

    struct ag_spec_memo spec_memo;
    pthread_mutex_t admin_lock;
    ag_reader *admin_reader;             /* guarded by admin_lock; opened when first wanted */
    ag_reader *change_reader;            /* of ag_engine_explain(), which the front cache calls one at a time */
    atomic_uint_least64_t tail_epoch;    /* session_tail.h: commits of others, as far as the front cache follows */
    struct ag_flights flights;
    struct ag_host_tool *tools;          /* guarded by admin_lock; never removed */
    struct ag_host_provider *providers;  /* guarded by admin_lock; never removed */

    pthread_mutex_t ended_lock;
    pthread_cond_t ended_cond;
};

/* Applies a unit and waits for its commit (with workers = 0: commits it here). Any thread. */
agent_status ag_engine_apply(agent_engine *e, ag_unit *unit, agent_error *err);
/* After a commit of ours: what it changed is not current in the cache any more. */
void ag_engine_committed(agent_engine *e, const ag_unit *unit);
/* Borrow the host threads' reader; ag_engine_reader_put() gives it back. */
agent_status ag_engine_reader(agent_engine *e, ag_reader **out, agent_error *err);
void ag_engine_reader_put(agent_engine *e);
/* The limits that are kept in the file, over the defaults. An engine that only inspects does it when asked. */
agent_status ag_engine_read_settings(agent_engine *e, agent_error *err);
/* Where a recording of the cache's requests would stand. Given: ag_free(). NULL: nowhere, or out of memory. */
char *ag_engine_trace_path(const agent_engine *e);
/* Of ag_pressure_level, by a fresh reading where there is a limit; any thread. */
int ag_pressure_level(agent_engine *e);
/* 64 random bits; any thread. Not for secrets. */
uint64_t ag_engine_random(agent_engine *e);
ag_pool *ag_engine_pool(agent_engine *e); /* NULL: out of memory */
const struct ag_host_tool *ag_engine_tool(agent_engine *e, struct ag_str name);         /* NULL: none */
const struct ag_host_provider *ag_engine_provider(agent_engine *e, struct ag_str name); /* NULL: none */
/* AGENT_EINVAL unless `name` is 1..AGENT_NAME_MAX of letters, digits and . _ - ("what" names it). */
agent_status ag_name_check(const char *what, const char *name, size_t max, agent_error *err);
/* Whether an engine that only inspects may do this: AGENT_EINVAL. */
agent_status ag_engine_writable(const agent_engine *e, const char *what, agent_error *err);

#endif
