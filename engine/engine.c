/*
 * Opening and closing. An engine is made from the bottom up (store, cache, workers) and undone
 * from the top down; a half-made one is closed by the same function.
 */
#include "engine/engine.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/live.h"
#include "engine/cache/policy.h"
#include "engine/cache/recorder.h"
#include "engine/coherence.h"
#include "engine/provider/provider.h"
#include "engine/run.h"
#include "engine/work.h"

static char **copy_list(const char *const *list)
{
    size_t n = 0;
    char **copy;

    while (list != NULL && list[n] != NULL)
        n++;
    if ((copy = ag_calloc(n + 1, sizeof(*copy))) == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        copy[i] = ag_strdup(list[i]);
    return copy;
}

static void free_list(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        ag_free(list[i]);
    ag_free(list);
}

static agent_status open_store(agent_engine *e, const agent_options *o, agent_error *err)
{
    struct ag_store_options s = {
        .path = o->path, .flags = o->flags, .durability = o->durability,
        .busy_timeout_ms = o->busy_timeout_ms > 0 ? o->busy_timeout_ms : 5000,
        .threaded = !e->inline_mode, .clock = &e->clock, .log = e->log,
    };

    return o->path == NULL ? ag_store_memory_open(&s, &e->store, err) : ag_store_sqlite_open(&s, &e->store, err);
}

static void take_setting(void *ctx, struct ag_str name, int64_t value)
{
    agent_engine *e = ctx;
    int i = ag_limit_find(name);

    /* A name or a value of another version of the library is not for us. */
    if (i >= 0 && value >= ag_limit_defs[i].least && value <= ag_limit_defs[i].most)
        e->limits.value[i] = value;
}

agent_status ag_engine_read_settings(agent_engine *e, agent_error *err)
{
    ag_reader *r;
    agent_status rc;

    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    rc = ag_reader_settings(r, take_setting, e, err);
    ag_engine_reader_put(e);
    return rc;
}

static void see_rss(void *ctx, int64_t rss_bytes)
{
    ag_pressure_see(ctx, rss_bytes);
}

/* The file's settings, and over them what the host says itself. */
static agent_status read_settings(agent_engine *e, const agent_options *o, agent_error *err)
{
    agent_status rc = ag_engine_read_settings(e, err);

    if (o->max_active_runs > 0)
        e->limits.value[AG_LIMIT_ACTIVE_RUNS] = o->max_active_runs;
    if (o->busy_timeout_ms > 0)
        e->limits.value[AG_LIMIT_BUSY_TIMEOUT_MS] = o->busy_timeout_ms;
    if (o->cache_bytes >= 0)
        e->limits.value[AG_LIMIT_CACHE_BYTES] = o->cache_bytes;
    if (o->memory_limit_bytes > 0)
        e->limits.value[AG_LIMIT_RSS_BYTES] = o->memory_limit_bytes;
    if (o->sample_interval_ms > 0)
        e->limits.value[AG_LIMIT_SAMPLE_INTERVAL_MS] = o->sample_interval_ms;
    for (int i = 0; o->cache_policy != NULL && i < AG_POLICIES; i++)
        if (strcmp(o->cache_policy, ag_policy_names[i]) == 0)
            e->limits.value[AG_LIMIT_CACHE_POLICY] = i;
    e->max_active_runs = ag_limit(&e->limits, AG_LIMIT_ACTIVE_RUNS);
    ag_sampler_interval(&e->sampler, (int)ag_limit(&e->limits, AG_LIMIT_SAMPLE_INTERVAL_MS));
    if (o->smaps_budget_us != 0)
        e->limits.value[AG_LIMIT_SMAPS_BUDGET_US] = o->smaps_budget_us > 0 ? o->smaps_budget_us : 0;
    ag_sampler_smaps_budget(&e->sampler, ag_limit(&e->limits, AG_LIMIT_SMAPS_BUDGET_US));
    if (o->sample_hwm)
        e->limits.value[AG_LIMIT_SAMPLE_HWM] = 1;
    if (ag_limit(&e->limits, AG_LIMIT_SAMPLE_HWM) != 0)
        ag_sampler_hwm(&e->sampler, o->proc_path);
    if ((e->pressure.limit_bytes = ag_limit(&e->limits, AG_LIMIT_RSS_BYTES)) > 0)
        ag_sampler_watch(&e->sampler, see_rss, &e->pressure);
    return rc;
}

int ag_pressure_level(agent_engine *e)
{
    if (e->pressure.limit_bytes == 0)
        return AG_PRESSURE_NONE;
    (void)ag_sampler_rss(&e->sampler, ag_mono_ns(&e->clock)); /* what it reads is seen by the pressure */
    return atomic_load_explicit(&e->pressure.level, memory_order_relaxed);
}

static agent_status open_workers(agent_engine *e, int count, agent_error *err)
{
    agent_status rc = AGENT_OK;

    e->workers = ag_calloc((size_t)count, sizeof(*e->workers));
    if (e->workers == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    for (int i = 0; i < count && rc == AGENT_OK; i++)
        if ((rc = ag_worker_open(e, i, !e->inline_mode, &e->workers[i], err)) == AGENT_OK)
            e->worker_count++;
    return rc;
}

char *ag_engine_trace_path(const agent_engine *e)
{
    const char *wal = ag_store_watch_path(e->store);
    size_t n = wal == NULL ? 0 : strlen(wal), base = n > 4 ? n - 4 : 0; /* "-wal" */
    char *path = base == 0 ? NULL : ag_malloc(base + sizeof("-trace"));

    if (path != NULL) {
        memcpy(path, wal, base);
        memcpy(path + base, "-trace", sizeof("-trace"));
    }
    return path;
}

/* Somebody may be recording already: what runs from here on is his. */
static agent_status open_recorder(agent_engine *e, agent_error *err)
{
    char *path = ag_engine_trace_path(e);

    e->recorder = ag_recorder_new(e->cache, path, !e->inline_mode);
    ag_free(path);
    if (e->recorder == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open: out of memory");
    ag_recorder_look(e->recorder, ag_mono_ns(&e->clock));
    return AGENT_OK;
}

agent_status agent_open(const agent_options *given, agent_engine **out, agent_error *err)
{
    agent_options full = AGENT_OPTIONS_INIT;
    const agent_options *o = &full;
    struct ag_cache_options cache = {0};
    struct ag_sampler_options sampler = {0};
    agent_engine *e;
    uint64_t seed = 0;
    int workers;
    agent_status rc;

    /* A caller built against an older header knows fewer fields: the rest have their defaults. */
    if (given == NULL || given->size < offsetof(agent_options, proxy) + sizeof(given->proxy) || out == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "open: options (with their size) and out are needed");
    memcpy(&full, given, given->size < sizeof(full) ? given->size : sizeof(full));
    if (o->workers > 256 || o->durability < 0 || o->durability > AGENT_DURABILITY_PROCESS)
        return ag_fail(err, AGENT_EINVAL, 0, "open: workers (-1 to 256) or durability is out of range");
    if (o->sample_interval_ms < -1 || o->sample_interval_ms > AG_SAMPLE_MS_MOST) {
        ag_fail(err, AGENT_EINVAL, 0, "open: a sample interval of %d ms is out of range", o->sample_interval_ms);
        ag_hint(err, "1 to %d ms; 0 for the default, -1 for none", AG_SAMPLE_MS_MOST);
        return AGENT_EINVAL;
    }
    if (ag_policy_find(o->cache_policy) == NULL) {
        ag_fail(err, AGENT_EINVAL, 0, "open: the front cache has no policy '%.40s'", o->cache_policy);
        ag_hint(err, AG_POLICY_HINT);
        return AGENT_EINVAL;
    }
    if ((e = ag_calloc(1, sizeof(*e))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open: out of memory");
    e->clock = ag_clock_system;
    e->log = (ag_log){o->log, o->log_ctx, o->log_level};
    e->inspect = (o->flags & AGENT_OPEN_INSPECT) != 0;
    workers = o->workers >= 0 ? o->workers : (int)sysconf(_SC_NPROCESSORS_ONLN);
    e->inline_mode = workers == 0 || e->inspect;
    e->durable = o->path != NULL;
    e->owner = pthread_self();
    ag_limits_init(&e->limits);
    e->secret = o->secret;
    e->secret_ctx = o->secret_ctx;
    (void)getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    atomic_init(&e->random_state, seed ^ (uint64_t)ag_mono_ns(&e->clock) ^ (uint64_t)(uintptr_t)e);
    (void)pthread_mutex_init(&e->admin_lock, NULL);
    (void)pthread_mutex_init(&e->ended_lock, NULL);
    ag_flights_init(&e->flights);
    ag_cond_init(&e->ended_cond);
    e->heap_accounts = !o->no_heap_accounts;
    sampler.proc = o->proc_path;
    sampler.interval_ms = e->inspect ? -1 : o->sample_interval_ms;
    sampler.thread = !e->inspect && o->sample_interval_ms >= 0 && (!e->inline_mode || o->sample_interval_ms > 0);
    sampler.clock = &e->clock;
    ag_sampler_open(&e->sampler, &sampler);
    ag_pressure_open(&e->pressure, &e->log);
    ag_notices_open(&e->notices, &e->clock);
    e->pressure.notices = &e->notices;

    e->tool_env = copy_list(o->tool_env);
    e->ca_file = ag_strdup(o->ca_file);
    e->proxy = ag_strdup(o->proxy);
    if (e->tool_env == NULL || (o->ca_file != NULL && e->ca_file == NULL) || (o->proxy != NULL && e->proxy == NULL)) {
        rc = ag_fail(err, AGENT_ENOMEM, 0, "open: out of memory");
        goto fail;
    }
    if (!e->inspect && (e->schedule = ag_schedule_new()) == NULL) {
        rc = ag_fail(err, AGENT_ENOMEM, 0, "open: out of memory");
        goto fail;
    }
    if ((rc = open_store(e, o, err)) != AGENT_OK)
        goto fail;
    if (!e->inspect) {
        e->notices.store = e->store;
        if ((rc = read_settings(e, o, err)) != AGENT_OK)
            goto fail;
        if (e->pressure.limit_bytes > 0 && e->sampler.statm < 0) {
            rc = ag_fail(err, AGENT_EINVAL, 0, "open: a memory limit needs /proc, and it is not there");
            ag_hint(err, "mount /proc, or set no memory limit");
            goto fail;
        }
        if ((e->store->vt->caps & AG_STORE_SHARED) != 0 && (e->live = ag_live_new(e)) == NULL) {
            rc = ag_fail(err, AGENT_ENOMEM, 0, "open: out of memory");
            goto fail;
        }
        cache.bytes = ag_limit(&e->limits, AG_LIMIT_CACHE_BYTES);
        cache.policy = ag_policy_names[ag_limit(&e->limits, AG_LIMIT_CACHE_POLICY)];
        cache.change_token = (e->store->vt->caps & AG_STORE_SHARED) != 0 ? ag_engine_change_token : NULL;
        cache.explain = ag_engine_explain;
        cache.ctx = e;
        cache.second_request = 1u << AG_CACHE_RESPONSE; /* most answers are never asked for again */
        if ((rc = ag_cache_new(&cache, &e->cache, err)) == AGENT_OK)
            e->pressure.cache = e->cache;
        if (rc == AGENT_OK)
            rc = open_recorder(e, err);
        if (rc != AGENT_OK || (rc = open_workers(e, e->inline_mode ? 1 : workers, err)) != AGENT_OK)
            goto fail;
    }
    *out = e;
    return AGENT_OK;

fail:
    agent_close(e);
    return rc;
}

void agent_close(agent_engine *e)
{
    if (e == NULL)
        return;
    for (int i = 0; i < e->worker_count; i++)
        ag_worker_stop(e->workers[i]);
    ag_pool_free(atomic_load(&e->pool));
    for (int i = 0; i < e->worker_count; i++)
        ag_worker_free(e->workers[i]);
    ag_free(e->workers);
    ag_sampler_close(&e->sampler); /* its thread may shrink the cache */
    ag_pressure_close(&e->pressure);
    ag_notices_flush(&e->notices);
    ag_recorder_close(e->recorder);
    ag_cache_free(e->cache);
    ag_recorder_free(e->recorder);
    ag_schedule_free(e->schedule);
    ag_reader_close(e->admin_reader);
    ag_reader_close(e->change_reader);
    ag_store_close(e->store);
    ag_notices_close(&e->notices);
    while (e->tools != NULL) {
        struct ag_host_tool *t = e->tools;

        e->tools = t->next;
        ag_free((void *)(uintptr_t)t->tool.name);
        ag_free((void *)(uintptr_t)t->tool.description);
        ag_free((void *)(uintptr_t)t->tool.schema);
        ag_free(t);
    }
    while (e->providers != NULL) {
        struct ag_host_provider *p = e->providers;

        e->providers = p->next;
        ag_free((void *)(uintptr_t)p->provider.name);
        ag_free(p);
    }
    ag_live_free(e->live);
    free_list(e->tool_env);
    ag_free(e->ca_file);
    ag_free(e->proxy);
    (void)pthread_cond_destroy(&e->ended_cond);
    (void)pthread_mutex_destroy(&e->ended_lock);
    ag_flights_drop(&e->flights);
    ag_spec_memo_drop(&e->spec_memo);
    (void)pthread_mutex_destroy(&e->admin_lock);
    ag_free(e);
}

/* --- what the other files use ------------------------------------------------------------------------- */

uint64_t ag_engine_random(agent_engine *e)
{
    /* splitmix64: one atomic add, and the sum well stirred. */
    uint64_t z = atomic_fetch_add_explicit(&e->random_state, UINT64_C(0x9e3779b97f4a7c15), memory_order_relaxed);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

ag_pool *ag_engine_pool(agent_engine *e)
{
    ag_pool *pool = atomic_load(&e->pool), *fresh;

    if (pool != NULL)
        return pool;
    if ((fresh = ag_pool_new(AG_POOL_THREADS, AG_POOL_QUEUED)) == NULL)
        return NULL;
    if (atomic_compare_exchange_strong(&e->pool, &pool, fresh))
        return fresh;
    ag_pool_free(fresh);
    return pool;
}

struct waiter {
    agent_engine *engine;
    atomic_bool done;
};

/* On the store's thread. */
static void on_done(ag_unit *unit)
{
    struct waiter *w = unit->ctx;
    agent_engine *e = w->engine;

    if (e->inline_mode) {
        atomic_store_explicit(&w->done, true, memory_order_release);
        return;
    }
    (void)pthread_mutex_lock(&e->ended_lock);
    atomic_store_explicit(&w->done, true, memory_order_release);
    (void)pthread_cond_broadcast(&e->ended_cond);
    (void)pthread_mutex_unlock(&e->ended_lock);
}

agent_status ag_engine_apply(agent_engine *e, ag_unit *unit, agent_error *err)
{
    struct waiter w = {.engine = e};

    atomic_init(&w.done, false);
    unit->done = on_done;
    unit->ctx = &w;
    if (!ag_store_submit(e->store, unit)) {
        if (e->inline_mode) {
            while (!atomic_load_explicit(&w.done, memory_order_acquire))
                ag_store_flush(e->store);
        } else {
            (void)pthread_mutex_lock(&e->ended_lock);
            while (!atomic_load_explicit(&w.done, memory_order_acquire))
                (void)pthread_cond_wait(&e->ended_cond, &e->ended_lock);
            (void)pthread_mutex_unlock(&e->ended_lock);
        }
    }
    if (unit->status == AGENT_OK) {
        ag_engine_committed(e, unit);
        ag_work_hint(e, false);
    } else if (err != NULL) {
        *err = unit->error;
    }
    return unit->status;
}

void ag_engine_committed(agent_engine *e, const ag_unit *unit)
{
    for (const struct ag_op *op = unit->first; op != NULL; op = op->next) {
        switch ((int)op->kind) { /* most kinds change nothing that is cached */
        case AG_OP_MEMORY_PUT:
            if (op->memory_put.agent_id != 0)
                ag_cache_invalidate(e->cache, AG_CACHE_MEMORY, &op->memory_put.agent_id, sizeof(int64_t));
            else
                ag_cache_invalidate_kind(e->cache, AG_CACHE_MEMORY);
            break;
        case AG_OP_MEMORY_RM:
            if (op->memory_rm.agent_id != 0)
                ag_cache_invalidate(e->cache, AG_CACHE_MEMORY, &op->memory_rm.agent_id, sizeof(int64_t));
            else
                ag_cache_invalidate_kind(e->cache, AG_CACHE_MEMORY);
            break;
        case AG_OP_SESSION_RM:
            ag_cache_invalidate(e->cache, AG_CACHE_TAIL, &op->session_rm.session_id, sizeof(int64_t));
            break;
        case AG_OP_AGENT_RM:
            ag_cache_invalidate_kind(e->cache, AG_CACHE_TAIL);
            ag_cache_invalidate_kind(e->cache, AG_CACHE_MEMORY);
            ag_cache_invalidate_kind(e->cache, AG_CACHE_AGENT);
            ag_cache_invalidate_kind(e->cache, AG_CACHE_RESPONSE);
            break;
        case AG_OP_CACHE_PUT:
            ag_cache_invalidate(e->cache, AG_CACHE_RESPONSE, op->cache_put.key, sizeof(op->cache_put.key));
            break;
        case AG_OP_CACHE_RM:
            if (op->cache_rm.range) { /* what the bounds have in common; it may be a little more than went */
                size_t n = 0;

                while (n < AG_CACHE_KEY_BYTES && op->cache_rm.key[n] == op->cache_rm.last[n])
                    n++;
                (void)ag_cache_invalidate_prefix(e->cache, AG_CACHE_RESPONSE, op->cache_rm.key, n);
                break;
            }
            if (!op->cache_rm.all) {
                ag_cache_invalidate(e->cache, AG_CACHE_RESPONSE, op->cache_rm.key, sizeof(op->cache_rm.key));
                break;
            }
            ag_cache_invalidate_kind(e->cache, AG_CACHE_RESPONSE);
            break;
        case AG_OP_CACHE_RESIZE:
            ag_cache_invalidate_kind(e->cache, AG_CACHE_RESPONSE);
            break;
        case AG_OP_TOOL_PUT:
        case AG_OP_TOOL_RM: /* a command tool stands inside every agent that lists it */
            ag_cache_invalidate_kind(e->cache, AG_CACHE_AGENT);
            break;
        default:
            break;
        }
    }
}

agent_status ag_engine_reader(agent_engine *e, ag_reader **out, agent_error *err)
{
    agent_status rc = AGENT_OK;

    (void)pthread_mutex_lock(&e->admin_lock);
    if (e->admin_reader == NULL)
        rc = ag_store_reader_open(e->store, &e->admin_reader, err);
    if (rc != AGENT_OK) {
        (void)pthread_mutex_unlock(&e->admin_lock);
        return rc;
    }
    *out = e->admin_reader;
    return AGENT_OK;
}

void ag_engine_reader_put(agent_engine *e)
{
    (void)pthread_mutex_unlock(&e->admin_lock);
}

agent_status ag_engine_writable(const agent_engine *e, const char *what, agent_error *err)
{
    if (!e->inspect)
        return AGENT_OK;
    return ag_fail(err, AGENT_EINVAL, 0, "%s: this engine only inspects (AGENT_OPEN_INSPECT)", what);
}

/* What a name may hold: 2 anywhere, 1 but not first. */
static const unsigned char name_bytes[256] = {
    [32] = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, /* space to / */
    [48] = 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, /* 0 to ? */
    [64] = 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* @ to O */
    [80] = 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 2, /* P to _ */
    [96] = 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* ` to o */
    [112] = 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, /* p to DEL */
};

agent_status ag_name_check(const char *what, const char *name, size_t max, agent_error *err)
{
    size_t n = 0;

    if (name == NULL || name[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "%s: it is empty", what);
    if (name_bytes[(unsigned char)name[0]] == 2)
        while (name_bytes[(unsigned char)name[n]] != 0)
            n++;
    if (name[n] != '\0') {
        ag_fail(err, AGENT_EINVAL, 0, "%s '%.80s': character %zu is not allowed", what, name, n + 1);
        ag_hint(err, "use letters, digits and . _ - (not . or - first)");
        return AGENT_EINVAL;
    }
    if (n > max)
        return ag_fail(err, AGENT_EINVAL, 0, "%s '%.20s…' has %zu characters, the limit is %zu", what, name, n, max);
    return AGENT_OK;
}
