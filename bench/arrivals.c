#include "bench/arrivals.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

struct arrival {
    struct drive *drive;
    agent_run *run; /* of the starting thread */
    int64_t due_ns, ended_ns;
};

struct drive {
    const struct arrivals *arrivals;
    struct arrival *items;
    pthread_mutex_t lock;
    pthread_cond_t over;
    long ended;              /* lock, as those below */
    char why[BENCH_WHY_MAX]; /* "": no run was wrong */
};

static void on_event(void *ctx, const agent_event *e)
{
    struct arrival *item = ctx;
    struct drive *d = item->drive;
    const agent_run_result *r = e->result;
    bool right;

    if (e->type != AGENT_EVENT_RUN_END)
        return;
    item->ended_ns = bench_now_ns();
    right = strcmp(r->status, "succeeded") == 0 && r->output_bytes > 0 && strstr(r->output, d->arrivals->expect) != NULL;
    (void)pthread_mutex_lock(&d->lock);
    if (!right && d->why[0] == '\0')
        (void)snprintf(d->why, sizeof(d->why), "run %lld %s with '%.100s' (%.200s); '%.60s' was expected",
                       (long long)r->run.id, r->status, r->output, r->error.text, d->arrivals->expect);
    d->ended++;
    (void)pthread_cond_signal(&d->over);
    (void)pthread_mutex_unlock(&d->lock);
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static bool start_all(struct drive *d, double *late_ms, char *why)
{
    const struct arrivals *a = d->arrivals;
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;
    int64_t begin_ns;

    q.agent = a->agent;
    q.input = a->input;
    q.input_bytes = strlen(a->input);
    q.priority = a->priority;
    q.no_stream = a->no_stream;
    q.on_event = on_event;
    (void)prctl(PR_SET_TIMERSLACK, 1000UL); /* wakes when it should, not 50 us later */
    begin_ns = bench_now_ns();
    for (long i = 0; i < a->count; i++) {
        struct arrival *item = &d->items[i];

        item->drive = d;
        item->due_ns = begin_ns + a->at_ns[i];
        sleep_until(item->due_ns);
        late_ms[i] = (double)(bench_now_ns() - item->due_ns) / 1e6;
        q.ctx = item;
        if (agent_run_start(a->engine, &q, &item->run, &err) != AGENT_OK) {
            (void)snprintf(why, BENCH_WHY_MAX, "start a run: %.400s", err.text);
            return false;
        }
    }
    return true;
}

static bool wait_all(struct drive *d, char *why)
{
    int64_t until_ns = bench_now_ns() + d->arrivals->patience_ns;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int rc = 0;
    bool ok;

    (void)pthread_mutex_lock(&d->lock);
    while (d->ended < d->arrivals->count && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&d->over, &d->lock, &until);
    ok = d->ended == d->arrivals->count && d->why[0] == '\0';
    if (d->why[0] != '\0')
        (void)snprintf(why, BENCH_WHY_MAX, "%s", d->why);
    else if (!ok)
        (void)snprintf(why, BENCH_WHY_MAX, "%ld runs of %ld have ended after all this time", d->ended,
                       d->arrivals->count);
    (void)pthread_mutex_unlock(&d->lock);
    return ok;
}

bool arrivals_drive(const struct arrivals *a, double *ms, struct arrivals_result *out, char *why)
{
    struct drive *d = calloc(1, sizeof(*d));
    struct arrival *items = calloc((size_t)a->count, sizeof(*items));
    double *late_ms = calloc((size_t)a->count, sizeof(*late_ms));
    pthread_condattr_t monotonic;
    int64_t last_ns = 0;

    if (d == NULL || items == NULL || late_ms == NULL) {
        free(d);
        free(items);
        free(late_ms);
        (void)snprintf(why, BENCH_WHY_MAX, "out of memory");
        return false;
    }
    d->arrivals = a;
    d->items = items;
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&d->over, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (!start_all(d, late_ms, why) || !wait_all(d, why))
        return false;
    for (long i = 0; i < a->count; i++) {
        const agent_run_result *r;

        ms[i] = (double)(items[i].ended_ns - items[i].due_ns) / 1e6;
        last_ns = items[i].ended_ns > last_ns ? items[i].ended_ns : last_ns;
        (void)agent_run_wait(items[i].run, -1, &r, NULL); /* its handle may still be on its way out of the worker */
        agent_run_free(items[i].run);
    }
    out->total_ms = (double)(last_ns - items[0].due_ns) / 1e6;
    out->late_ms = bench_quantile(late_ms, (size_t)a->count, 0.99);
    (void)pthread_cond_destroy(&d->over);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
    free(items);
    free(late_ms);
    return true;
}

void arrivals_poisson(int64_t *at_ns, long count, double rate, uint64_t seed)
{
    double at = 0;

    for (long i = 0; i < count; i++) {
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        at += -log(((double)(z >> 11) + 1) / 9007199254740993.0) / rate;
        at_ns[i] = (int64_t)(at * 1e9);
    }
}
