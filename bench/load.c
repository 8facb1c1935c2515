/*
 * Two ways to keep runs in flight.
 *
 *     workers = 0    start a batch, wait for each, again: all on this thread
 *     workers > 0    the end of a run starts the next one, on the worker that ended it, so that
 *                    exactly in_flight runs are under way until the last ones
 */
#include "bench/load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool fail(char *why, const char *what, const agent_error *err)
{
    (void)snprintf(why, BENCH_WHY_MAX, "%s: %.400s", what, err->text);
    return false;
}

static const char *secret(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return "sk-bench";
}

bool load_open(const struct load *l, agent_engine **out, char *why)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *engine;

    o.path = l->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = l->workers;
    o.durability = l->durability;
    o.sample_interval_ms = l->sample_ms > 0 ? l->sample_ms : l->sample_ms == 0 ? -1 : 0;
    o.no_heap_accounts = l->no_accounts;
    o.secret = secret;
    o.ca_file = l->ca_file;
    if (agent_open(&o, &engine, &err) != AGENT_OK)
        return fail(why, "open the engine", &err);
    c.instructions = "You are a bench.";
    c.options = l->options;
    c.model = l->model;
    c.base_url = l->base_url;
    c.tools = l->tools ? NULL : (const char *const[]){NULL};
    if (agent_create(engine, "bench", &c, AGENT_CREATE_IF_NOT_EXISTS, NULL, &err) != AGENT_OK) {
        agent_close(engine);
        return fail(why, "create the agent", &err);
    }
    *out = engine;
    return true;
}

static bool right(const struct load *l, const agent_run_result *r, char *why)
{
    if (strcmp(r->status, "succeeded") == 0 && r->output_bytes > 0 && strstr(r->output, l->expect) != NULL)
        return true;
    (void)snprintf(why, BENCH_WHY_MAX, "run %lld %s with '%.100s' (%.200s); '%.60s' was expected",
                   (long long)r->run.id, r->status, r->output, r->error.text, l->expect);
    return false;
}

static void fill_request(const struct load *l, agent_run_request *q)
{
    *q = (agent_run_request)AGENT_RUN_REQUEST_INIT;
    q->agent = "bench";
    q->session_name = l->session;
    q->input = l->input;
    q->input_bytes = strlen(l->input);
    q->no_stream = l->no_stream;
}

static bool finish(const struct load *l, agent_run *run, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    const agent_run_result *result;
    bool ok;

    if (agent_run_wait(run, -1, &result, &err) != AGENT_OK)
        return fail(why, "wait for a run", &err);
    ok = right(l, result, why);
    agent_run_free(run);
    return ok;
}

bool load_turn(agent_engine *engine, const struct load *l, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_run_request q;
    agent_run *run;

    fill_request(l, &q);
    if (agent_run_start(engine, &q, &run, &err) != AGENT_OK)
        return fail(why, "start a run", &err);
    return finish(l, run, why);
}

/* --- workers = 0 ------------------------------------------------------------------------------------- */

static bool drive_here(agent_engine *engine, const struct load *l, struct load_result *out, char *why)
{
    agent_run **runs = calloc((size_t)l->in_flight, sizeof(agent_run *));
    agent_error err = AGENT_ERROR_INIT;
    agent_run_request q;
    bool ok = runs != NULL;

    fill_request(l, &q);
    for (long done = 0; done < l->runs && ok;) {
        int n = l->runs - done < l->in_flight ? (int)(l->runs - done) : l->in_flight;

        for (int i = 0; i < n && ok; i++)
            ok = agent_run_start(engine, &q, &runs[i], &err) == AGENT_OK || fail(why, "start a run", &err);
        for (int i = 0; i < n && ok; i++) {
            ok = finish(l, runs[i], why);
            out->succeeded += ok;
        }
        done += n;
    }
    free(runs);
    return ok;
}

/* --- workers > 0 -------------------------------------------------------------------------------------- */

struct item {
    struct drive *drive;
    agent_run *run;
    atomic_int seen; /* of RETURNED and ENDED; with both the handle may be given back */
    int64_t began_ns, ended_ns;
};

enum { RETURNED = 1, ENDED = 2, FREED = 4 };

struct drive {
    agent_engine *engine;
    const struct load *load;
    struct item *items;
    atomic_long next, ended, returned; /* returned: agent_run_start() came back */
    atomic_bool failed;
    pthread_mutex_t lock;
    pthread_cond_t over;
    char why[BENCH_WHY_MAX]; /* lock */
    int64_t rss_half_bytes;  /* written by the run that is the half */
};

static void give_up(struct drive *d, const char *why)
{
    (void)pthread_mutex_lock(&d->lock);
    if (!atomic_exchange(&d->failed, true))
        (void)snprintf(d->why, sizeof(d->why), "%s", why);
    (void)pthread_cond_signal(&d->over);
    (void)pthread_mutex_unlock(&d->lock);
}

/* A handle is given back a while after its last event, so that no more than some are held. */
static void free_old(struct drive *d, long i)
{
    if (i >= 0 && atomic_load(&d->items[i].seen) == (RETURNED | ENDED)) {
        atomic_store(&d->items[i].seen, FREED);
        agent_run_free(d->items[i].run);
    }
}

static void count(struct drive *d, atomic_long *what)
{
    if (atomic_fetch_add(what, 1) + 1 < d->load->runs)
        return;
    (void)pthread_mutex_lock(&d->lock);
    (void)pthread_cond_signal(&d->over);
    (void)pthread_mutex_unlock(&d->lock);
}

static void on_event(void *ctx, const agent_event *e);

static void start_next(struct drive *d)
{
    long i = atomic_fetch_add(&d->next, 1);
    agent_error err = AGENT_ERROR_INIT;
    agent_run_request q;
    char why[BENCH_WHY_MAX];

    if (i >= d->load->runs || atomic_load(&d->failed))
        return;
    fill_request(d->load, &q);
    q.on_event = on_event;
    q.ctx = &d->items[i];
    d->items[i].drive = d;
    d->items[i].began_ns = bench_now_ns();
    if (agent_run_start(d->engine, &q, &d->items[i].run, &err) != AGENT_OK) {
        (void)fail(why, "start a run", &err);
        give_up(d, why);
        return;
    }
    (void)atomic_fetch_or(&d->items[i].seen, RETURNED);
    free_old(d, i - (long)d->load->in_flight - 64);
    count(d, &d->returned);
}

static void on_event(void *ctx, const agent_event *e)
{
    struct item *item = ctx;
    struct drive *d = item->drive;
    char why[BENCH_WHY_MAX];

    if (e->type == AGENT_EVENT_TEXT && d->load->on_text != NULL)
        d->load->on_text(d->load->ctx, e->text, e->text_bytes);
    if (e->type != AGENT_EVENT_RUN_END)
        return;
    item->ended_ns = bench_now_ns();
    if (item == &d->items[d->load->runs / 2])
        d->rss_half_bytes = bench_rss_bytes();
    if (!right(d->load, e->result, why))
        give_up(d, why);
    (void)atomic_fetch_or(&item->seen, ENDED);
    start_next(d);
    count(d, &d->ended);
}

static bool drive_threads(agent_engine *engine, const struct load *l, struct load_result *out, char *why)
{
    struct drive *d = calloc(1, sizeof(*d));
    struct item *items = calloc((size_t)l->runs, sizeof(*items));
    double *us = calloc((size_t)l->runs, sizeof(*us));
    long first, steady = 0;

    if (d == NULL || items == NULL || us == NULL) {
        free(d);
        free(items);
        free(us);
        (void)snprintf(why, BENCH_WHY_MAX, "out of memory");
        return false;
    }
    d->engine = engine;
    d->load = l;
    d->items = items;
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_cond_init(&d->over, NULL);
    for (int64_t began_ns = bench_now_ns(), i = 0; i < l->in_flight; i++) {
        int64_t wait_ns = began_ns + i * l->ramp_ms * 1000000 / l->in_flight - bench_now_ns();

        if (wait_ns > 50000)
            (void)usleep((useconds_t)(wait_ns / 1000));
        start_next(d);
    }
    (void)pthread_mutex_lock(&d->lock);
    while (!atomic_load(&d->failed) && (atomic_load(&d->ended) < l->runs || atomic_load(&d->returned) < l->runs))
        (void)pthread_cond_wait(&d->over, &d->lock);
    (void)snprintf(why, BENCH_WHY_MAX, "%s", d->why);
    (void)pthread_mutex_unlock(&d->lock);
    if (atomic_load(&d->failed)) /* runs are under way still: what they use stays until this child ends */
        return false;
    for (long i = 0; i < l->runs; i++) {
        const agent_run_result *result;

        us[i] = (double)(items[i].ended_ns - items[i].began_ns) / 1e3;
        if (atomic_load(&items[i].seen) == FREED)
            continue;
        /* its last event has been delivered; the handle may still be on its way out of the worker */
        (void)agent_run_wait(items[i].run, -1, &result, NULL);
        agent_run_free(items[i].run);
    }
    first = l->ramp_ms > 0 && l->runs > l->in_flight ? l->in_flight : 0;
    if (first > 0) {
        int64_t from = items[first].began_ns, to = items[l->runs - 1].began_ns;

        for (long i = 0; i < l->runs; i++)
            steady += items[i].ended_ns > from && items[i].ended_ns <= to;
        out->steady_per_s = to > from ? (double)steady / ((double)(to - from) / 1e9) : 0;
        out->first_p99_us = bench_quantile(us, (size_t)first, 0.99);
    }
    out->p50_us = bench_quantile(us + first, (size_t)(l->runs - first), 0.5);
    out->p99_us = bench_quantile(us + first, (size_t)(l->runs - first), 0.99);
    out->succeeded = l->runs;
    out->rss_half_bytes = d->rss_half_bytes;
    (void)pthread_cond_destroy(&d->over);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
    free(items);
    free(us);
    return true;
}

bool load_drive(agent_engine *engine, const struct load *l, struct load_result *out, char *why)
{
    int64_t began_ns, rss = bench_rss_bytes();
    double cpu = bench_cpu_s();
    bool ok;

    began_ns = bench_now_ns();
    ok = l->workers == 0 ? drive_here(engine, l, out, why) : drive_threads(engine, l, out, why);
    out->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    out->cpu_s = bench_cpu_s() - cpu;
    out->rss_bytes = bench_rss_bytes() - rss;
    out->rss_half_bytes -= rss;
    return ok;
}

/* --- counting -------------------------------------------------------------------------------------------- */

struct tally {
    int64_t count;
    const char *status;
};

static bool tally_row(void *ctx, const agent_row *row)
{
    struct tally *t = ctx;
    int at = t->status != NULL ? agent_row_find(row, "status") : -1;
    const char *status;

    if (t->status == NULL)
        t->count++;
    else if (at >= 0 && (status = agent_row_text(row, at, NULL)) != NULL && strcmp(status, t->status) == 0)
        t->count++;
    return true;
}

bool load_count(agent_engine *engine, enum agent_view view, const char *status, int64_t *out, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    struct tally t = {.status = status};

    if (agent_scan(engine, view, NULL, tally_row, &t, &err) != AGENT_OK)
        return fail(why, "count rows", &err);
    *out = t.count;
    return true;
}

static bool runs_row(void *ctx, const agent_row *row)
{
    int at = agent_row_find(row, "runs");

    *(int64_t *)ctx += at >= 0 ? agent_row_int(row, at) : 0;
    return true;
}

bool load_runs(agent_engine *engine, int64_t *out, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    int64_t runs = 0;

    if (agent_scan(engine, AGENT_VIEW_AGENTS, NULL, runs_row, &runs, &err) != AGENT_OK)
        return fail(why, "count runs", &err);
    *out = runs;
    return true;
}
