#include "engine/live.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache_api.h"
#include "engine/run.h"

#define SECOND_NS INT64_C(1000000000)

struct ag_live {
    agent_engine *engine;
    _Atomic int64_t due_ns; /* 0: no runs were seen */
    atomic_bool out;        /* (2); whoever sets it has the rest, until the unit is done */
    bool written;
    ag_unit unit;
    struct ag_op op;
    char stages[640], cache[10240]; /* (4) */
};

struct ag_live *ag_live_new(agent_engine *e)
{
    struct ag_live *l = ag_calloc(1, sizeof(*l));

    if (l != NULL)
        l->engine = e;
    return l;
}

void ag_live_free(struct ag_live *l)
{
    ag_free(l);
}

static void count_own(struct ag_worker *w)
{
    int64_t runs[AG_STAGE_LIMIT] = {0}, heap[AG_STAGE_LIMIT] = {0};

    runs[AG_STAGE_QUEUE] = w->ticket_count;
    for (const struct agent_run *run = w->runs; run != NULL; run = run->next) {
        if (!run->in_stage)
            continue;
        runs[run->stage]++;
        heap[run->stage] += ag_account_bytes(run->account);
    }
    for (int i = 0; i < AG_STAGE_LIMIT; i++) {
        atomic_store_explicit(&w->live_runs[i], runs[i], memory_order_relaxed);
        atomic_store_explicit(&w->live_heap[i], heap[i], memory_order_relaxed);
    }
}

/* `any`: there are runs. What the workers counted last may say so when there are none any more. */
static void write_stages(struct ag_live *l, bool any)
{
    agent_engine *e = l->engine;
    size_t n = 1;

    l->op.live.runs = 0;
    l->op.live.heap_bytes = e->heap_accounts ? 0 : -1;
    l->stages[0] = '{';
    for (int s = 0; any && s < AG_STAGE_LIMIT; s++) {
        int64_t runs = 0, heap = 0;

        for (int i = 0; i < e->worker_count; i++) {
            runs += atomic_load_explicit(&e->workers[i]->live_runs[s], memory_order_relaxed);
            heap += atomic_load_explicit(&e->workers[i]->live_heap[s], memory_order_relaxed);
        }
        if (runs == 0)
            continue;
        l->op.live.runs += runs;
        n += (size_t)snprintf(l->stages + n, sizeof(l->stages) - n, "%s\"%s\":{\"runs\":%lld", n > 1 ? "," : "",
                              ag_stage_name((enum ag_stage)s), (long long)runs);
        if (e->heap_accounts) {
            l->op.live.heap_bytes += heap;
            n += (size_t)snprintf(l->stages + n, sizeof(l->stages) - n, ",\"heap_bytes\":%lld", (long long)heap);
        }
        l->stages[n++] = '}';
    }
    l->stages[n++] = '}';
    l->op.live.stages = (struct ag_str){l->stages, n};
}

static size_t add(struct ag_live *l, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* (4) */
static size_t add(struct ag_live *l, size_t n, const char *fmt, ...)
{
    va_list args;
    int more;

    va_start(args, fmt);
    more = vsnprintf(l->cache + n, sizeof(l->cache) - n, fmt, args);
    va_end(args);
    return more < 0 || (size_t)more >= sizeof(l->cache) - n ? sizeof(l->cache) - 1 : n + (size_t)more;
}

/* The buckets that are not empty: [[12,5],[13,1]]. */
static size_t add_times(struct ag_live *l, size_t n, const char *name, const uint32_t times[AG_CACHE_TIMES])
{
    const char *comma = "";

    n = add(l, n, ",\"%s\":[", name);
    for (int i = 0; i < AG_CACHE_TIMES; i++)
        if (times[i] > 0) {
            n = add(l, n, "%s[%d,%" PRIu32 "]", comma, i, times[i]);
            comma = ",";
        }
    return add(l, n, "]");
}

static size_t add_counts(struct ag_live *l, size_t n, const struct ag_cache_counts *c)
{
    return add(l, n,
               "\"entries\":%" PRIu64 ",\"gets\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"loads\":%" PRIu64 ",\"load_ns\":%" PRIu64
               ",\"invalidated\":%" PRIu64 ",\"evictions\":%" PRIu64 ",\"bytes\":%" PRIu64,
               c->entries, c->gets, c->hits, c->loads, c->load_ns, c->invalidated, c->evictions, c->entry_bytes);
}

static void write_cache(struct ag_live *l)
{
    const char *comma = "";
    struct ag_cache_stats c;
    size_t n;

    ag_cache_stats(l->engine->cache, &c);
    n = add(l, 0, "{");
    n = add_counts(l, n, &c.total);
    n = add(l, n, ",\"held_bytes\":%" PRIu64 ",\"budget_bytes\":%" PRId64 ",\"policy\":\"%s\"", c.held_bytes, c.bytes, c.policy);
    if (c.estimate_one >= 0)
        n = add(l, n, ",\"estimate\":{\"half\":%.4f,\"one\":%.4f,\"twice\":%.4f}", c.estimate_half, c.estimate_one,
                c.estimate_twice);
    n = add(l, n, ",\"kinds\":{");
    for (int i = 0; i < AG_CACHE_KIND_LIMIT; i++) {
        if (c.kinds[i].gets == 0)
            continue;
        n = add(l, n, "%s\"%s\":{", comma, ag_cache_kind_names[i]);
        n = add_counts(l, n, &c.kinds[i]);
        n = add_times(l, n, "load_times", c.load_times[i]);
        n = add_times(l, n, "hit_times", c.hit_times[i]);
        n = add(l, n, "}");
        comma = ",";
    }
    n = add(l, n, "}}");
    l->op.live.cache = (struct ag_str){l->cache, n};
}

/* On the store's thread. A row that failed is not missed: the next one comes. */
static void on_done(ag_unit *unit)
{
    struct ag_live *l = unit->ctx;

    atomic_store(&l->out, false);
}

static void write_row(struct ag_live *l, int64_t now_ns, bool any)
{
    agent_engine *e = l->engine;

    memset(&l->op, 0, sizeof(l->op));
    l->op.kind = AG_OP_LIVE;
    l->op.live.at_ms = ag_unix_ms(&e->clock);
    l->op.live.rss_bytes = ag_sampler_rss(&e->sampler, now_ns);
    write_stages(l, any);
    write_cache(l);
    ag_unit_init(&l->unit, l->op.live.at_ms);
    ag_unit_add(&l->unit, &l->op);
    l->unit.lazy = true;
    l->unit.done = on_done;
    l->unit.ctx = l;
    l->written = l->op.live.runs > 0;
    if (ag_store_submit(e->store, &l->unit))
        atomic_store(&l->out, false);
}

/* (3). Not while a row is out: it says what is true no more. */
static bool tell_the_end(struct ag_live *l, int64_t now_ns)
{
    if (atomic_exchange(&l->out, true))
        return true;
    atomic_store(&l->due_ns, 0);
    if (l->written)
        write_row(l, now_ns, false);
    else
        atomic_store(&l->out, false);
    return false;
}

bool ag_live_tick(struct ag_worker *w, bool waiting)
{
    struct ag_live *l = w->engine->live;
    int64_t now, due;

    ag_notices_flush(&w->engine->notices);
    ag_sampler_tick(&w->engine->sampler);
    if (l == NULL)
        return false;
    now = ag_mono_ns(&w->engine->clock);
    due = atomic_load(&l->due_ns);
    if (due == 0) { /* (1) */
        if (waiting)
            (void)atomic_compare_exchange_strong(&l->due_ns, &due, now + SECOND_NS);
        return false;
    }
    if (!waiting || now - w->live_at_ns >= SECOND_NS - AG_POLL_MS * INT64_C(500000)) {
        count_own(w);
        w->live_at_ns = now;
    }
    if (!waiting && atomic_load(&w->engine->active_runs) == 0)
        return tell_the_end(l, now);
    if (now >= due && atomic_compare_exchange_strong(&l->due_ns, &due, now + SECOND_NS) &&
        !atomic_exchange(&l->out, true))
        write_row(l, now, true);
    return true;
}
