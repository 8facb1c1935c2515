/*
 * Everything at once, for long: does anything grow that should not?
 *
 *     CLIENTS threads, each: pick an errand by lot ─► run it ─► check its end ─► pause ─► again
 *         sessions that go on · tools of three kinds · streams · cached answers · the queue
 *         refusals · time limits · cancels · three priorities
 *     a meter, each few seconds: RSS, PSS, heap, file, descriptors, threads, turns
 *
 *  (1) Every end is foreseen: an errand that is to fail must fail, with its own error, and what the
 *      clients counted must be what the file says at the end. Anything else is an error.
 *  (2) Slopes are least squares over what was measured after the first quarter.
 *  (3) The front cache is small, so that it is full before the measuring begins.
 *  (4) When the engine is closed its threads and descriptors are gone.
 */
#include <agent/agent.h>
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"
#include "bench/server.h"

enum { CLIENTS = 16, POINTS_MOST = 4000 };

#define PAUSE_MS 60 /* of a client, half to one and a half of it */
#define MB       (1024.0 * 1024)

/* Points of a series over time. */
struct point {
    double at_s, rss, pss, heap, file, turns;
    int files, threads;
};

struct soak {
    const char *path;
    int port;
    double seconds, step_s;
    uint64_t seed;
};

enum errand { TALK, ECHO, CALC, CALLBACK, COMMAND, STREAM, CACHED, QUEUED, REFUSED, LATE, CANCELLED, ERRANDS };

/* What an errand's run is, and how it is to end. */
static const struct {
    const char *name, *agent, *input, *expect, *status;
    int error; /* 0: none */
    int share; /* of 100 */
    bool goes_on; /* in the client's own session */
    bool no_stream;
    int64_t timeout_ms;
} errands[ERRANDS] = {
    [TALK] = {"talk", "talk", "What is the capital of France, and since when?", SERVER_ANSWER, "succeeded", 0, 22, true, true, 0},
    [ECHO] = {"echo", "echo", NULL, NULL, "succeeded", 0, 20, true, false, 0}, /* its words are its own */
    [CALC] = {"builtin", "echo", "/tool calc {\"expression\":\"17*23\"}", "391", "succeeded", 0, 10, true, false, 0},
    [CALLBACK] = {"callback", "echo", "/tool nap {}", "rested", "succeeded", 0, 6, false, false, 0},
    [COMMAND] = {"command", "echo", "/tool say {}", "said", "succeeded", 0, 3, false, false, 0},
    [STREAM] = {"stream", "stream", "Talk.", "@", "succeeded", 0, 10, false, false, 0},
    [CACHED] = {"cached", "cached", NULL, SERVER_ANSWER, "succeeded", 0, 10, false, true, 0},
    [QUEUED] = {"queued", "echo", "job", "job", "succeeded", 0, 8, false, false, 0},
    [REFUSED] = {"refused", "refused", "Please.", NULL, "failed", AGENT_EPROVIDER, 4, false, true, 0},
    [LATE] = {"late", "hang", "Are you there?", NULL, "failed", AGENT_ETIMEDOUT, 3, false, true, 150},
    [CANCELLED] = {"cancelled", "hang", "Are you there?", NULL, "cancelled", AGENT_ECANCELLED, 4, false, true, 0},
};

struct soak_result {
    long ended[ERRANDS];
    double wall_s, cpu_s;
    double heap_left; /* grown by over the engine's whole life */
    int points;
    struct point point[POINTS_MOST];
};

struct town {
    const struct soak *work;
    agent_engine *engine;
    int64_t until_ns;
    atomic_bool stopping;
    atomic_long ended[ERRANDS], queued;
    atomic_long unborn; /* cancelled before they were begun: nothing is written of them */
    pthread_mutex_t lock;
    char why[BENCH_WHY_MAX]; /* lock; "": nothing was wrong */
};

static void complain(struct town *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void complain(struct town *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)pthread_mutex_lock(&t->lock);
    if (t->why[0] == '\0')
        (void)vsnprintf(t->why, sizeof(t->why), format, args);
    (void)pthread_mutex_unlock(&t->lock);
    va_end(args);
    atomic_store(&t->stopping, true);
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static uint64_t draw(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- the engine ---------------------------------------------------------------------------------------------- */

static const char *secret(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return "sk-bench";
}

static agent_status nap(void *ctx, agent_tool_call *call, agent_error *err)
{
    void *some = agent_tool_alloc(call, 10000);

    (void)ctx, (void)err;
    if (some != NULL)
        memset(some, 1, 10000);
    sleep_ms(5);
    agent_tool_call_write(call, "rested", 6);
    return AGENT_OK; /* what it took is given back with it */
}

static bool fail(char *why, const char *what, const agent_error *err)
{
    (void)snprintf(why, BENCH_WHY_MAX, "%s: %.400s", what, err->text);
    return false;
}

static bool make_town(const struct soak *w, agent_engine **out, char *why)
{
    static const struct {
        const char *name, *path, *options;
    } agents[] = {
        {"echo", NULL, NULL},
        {"talk", "/json", NULL},
        {"stream", "/sse/10/10", NULL},
        {"cached", "/json", "{\"cache\":\"on\",\"cache_ttl_ms\":20000}"},
        {"refused", "/fail/503", "{\"retries\":1}"},
        {"hang", "/delay/86400000", "{\"retries\":0}"},
    };
    static const char *const tools[] = {"calc", "nap", "say"};
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_tool tool = AGENT_TOOL_INIT;
    agent_command command = AGENT_COMMAND_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.path = w->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = 2;
    o.cache_bytes = 2 << 20; /* (3) */
    o.secret = secret;
    o.tool_env = env;
    if (agent_open(&o, out, &err) != AGENT_OK)
        return fail(why, "open the engine", &err);
    tool.name = "nap";
    tool.call = nap;
    tool.effect = AGENT_EFFECT_PURE;
    command.name = "say";
    command.argv = (const char *const[]){"echo", "said", NULL};
    command.effect = AGENT_EFFECT_EFFECT;
    if (agent_tool_register(*out, &tool, &err) != AGENT_OK || agent_command_put(*out, &command, false, &err) != AGENT_OK)
        return fail(why, "make tools", &err);
    for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++) {
        agent_config c = AGENT_CONFIG_INIT;
        char url[80];

        c.instructions = "You are a bench.";
        c.options = agents[i].options;
        if (agents[i].path != NULL) {
            (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", w->port, agents[i].path);
            c.model = "openai:bench-1";
            c.base_url = url;
        } else {
            c.tool_count = 3;
        }
        c.tools = tools;
        if (agent_create(*out, agents[i].name, &c, AGENT_CREATE_NEW, NULL, &err) != AGENT_OK)
            return fail(why, agents[i].name, &err);
    }
    return true;
}

/* --- the clients ------------------------------------------------------------------------------------------------- */

struct client {
    struct town *town;
    int number;
    uint64_t seed;
    long count;
};

static void check_end(struct town *t, enum errand e, const char *expect, const agent_run_result *r)
{
    if (strcmp(r->status, errands[e].status) != 0 || (int)r->error.status != errands[e].error ||
        (expect != NULL && (r->output == NULL || strstr(r->output, expect) == NULL)))
        complain(t, "errand '%s': run %lld %s with '%.80s' (%.200s); %s was expected, with '%.60s'", errands[e].name,
                 (long long)r->run.id, r->status, r->output, r->error.text, errands[e].status,
                 expect != NULL ? expect : "");
    if (e == CANCELLED && r->run.id == 0)
        (void)atomic_fetch_add(&t->unborn, 1);
    (void)atomic_fetch_add(&t->ended[e], 1);
}

/* Of runs from the queue. */
static void on_work(void *ctx, const agent_event *e)
{
    if (e->type == AGENT_EVENT_RUN_END)
        check_end(ctx, QUEUED, errands[QUEUED].expect, e->result);
}

static enum errand lot(uint64_t *seed)
{
    int at = (int)(draw(seed) % 100);

    for (int e = 0; e < ERRANDS; e++)
        if ((at -= errands[e].share) < 0)
            return (enum errand)e;
    return TALK;
}

static void run_errand(struct client *c, enum errand e)
{
    struct town *t = c->town;
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;
    const agent_run_result *r;
    char input[80], session[32];
    const char *expect = errands[e].expect;
    agent_run *run;

    q.agent = errands[e].agent;
    q.input = errands[e].input != NULL ? errands[e].input : input;
    if (e == ECHO) {
        (void)snprintf(input, sizeof(input), "word %ld of client %d", c->count, c->number);
        expect = input;
    } else if (e == CACHED) {
        (void)snprintf(input, sizeof(input), "question %d", (int)(draw(&c->seed) % 16));
    }
    q.input_bytes = strlen(q.input);
    if (errands[e].goes_on) {
        (void)snprintf(session, sizeof(session), "client-%d-%ld", c->number, c->count / 500); /* of some 260 turns */
        q.session_name = session;
    }
    q.priority = (int)(draw(&c->seed) % 3) - 1;
    q.no_stream = errands[e].no_stream;
    q.timeout_ms = errands[e].timeout_ms;
    if (e == QUEUED) {
        agent_run_id id;

        if (agent_run_enqueue(t->engine, &q, &id, &err) != AGENT_OK)
            complain(t, "queue a run: %.400s", err.text);
        else
            (void)atomic_fetch_add(&t->queued, 1);
        return;
    }
    if (agent_run_start(t->engine, &q, &run, &err) != AGENT_OK) {
        complain(t, "start a run: %.400s", err.text);
        return;
    }
    if (e == CANCELLED) {
        sleep_ms((long)(draw(&c->seed) % 40));
        agent_run_cancel(run);
    }
    if (agent_run_wait(run, 60000, &r, &err) != AGENT_OK) /* its handle stays: it may still end */
        complain(t, "errand '%s': %.300s after a minute", errands[e].name, err.text);
    else {
        check_end(t, e, expect, r);
        agent_run_free(run);
    }
}

static void *client_thread(void *arg)
{
    struct client *c = arg;

    while (!atomic_load(&c->town->stopping) && bench_now_ns() < c->town->until_ns) {
        run_errand(c, lot(&c->seed));
        c->count++;
        sleep_ms(PAUSE_MS / 2 + (long)(draw(&c->seed) % PAUSE_MS));
    }
    return NULL;
}

static void *work_thread(void *arg)
{
    struct town *t = arg;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.on_event = on_work;
    o.ctx = t;
    if (agent_work(t->engine, &o, &err) != AGENT_OK)
        complain(t, "work: %.400s", err.text);
    return NULL;
}

/* --- the meter ------------------------------------------------------------------------------------------------------ */

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int n = 0;

    while (dir != NULL && (e = readdir(dir)) != NULL)
        n += e->d_name[0] != '.';
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

static double pss_bytes(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    char line[200];
    long long kb = -1;

    while (f != NULL && kb < 0 && fgets(line, sizeof(line), f) != NULL)
        (void)sscanf(line, "Pss: %lld kB", &kb);
    if (f != NULL)
        (void)fclose(f);
    return (double)kb * 1024;
}

static long sum_ended(struct town *t)
{
    long n = 0;

    for (int e = 0; e < ERRANDS; e++)
        n += atomic_load(&t->ended[e]);
    return n;
}

static void measure_point(struct town *t, int64_t began_ns, struct point *p)
{
    char wal[500];

    (void)snprintf(wal, sizeof(wal), "%s-wal", t->work->path);
    p->turns = (double)sum_ended(t);
    p->at_s = (double)(bench_now_ns() - began_ns) / 1e9;
    p->rss = (double)bench_rss_bytes();
    p->pss = pss_bytes();
    p->heap = (double)bench_heap_bytes();
    p->file = (double)(bench_file_bytes(t->work->path) + bench_file_bytes(wal));
    p->files = entries("/proc/self/fd");
    p->threads = entries("/proc/self/task");
}

/* --- all of it ------------------------------------------------------------------------------------------------------- */

struct census {
    long long succeeded, failed, cancelled, open;
};

static bool census_row(void *ctx, const agent_row *row)
{
    *(struct census *)ctx = (struct census){agent_row_int(row, 0), agent_row_int(row, 1), agent_row_int(row, 2),
                                            agent_row_int(row, 3)};
    return false;
}

static void one_problem(void *ctx, const char *text)
{
    char *why = ctx;

    if (why[0] == '\0')
        (void)snprintf(why, BENCH_WHY_MAX, "db check: %.400s", text);
}

/* (1) */
static bool count_all(struct town *t, char *why)
{
    struct census c = {-1, -1, -1, -1}, told = {0};
    agent_error err = AGENT_ERROR_INIT;
    char problem[BENCH_WHY_MAX] = "";

    for (int e = 0; e < ERRANDS; e++)
        *(strcmp(errands[e].status, "succeeded") == 0 ? &told.succeeded
          : strcmp(errands[e].status, "failed") == 0  ? &told.failed
                                                      : &told.cancelled) += atomic_load(&t->ended[e]);
    told.cancelled -= atomic_load(&t->unborn);
    if (agent_sql(t->engine,
                  "SELECT sum(status = 'succeeded'), sum(status = 'failed'), sum(status = 'cancelled'),"
                  " sum(ended_at_ms IS NULL) FROM run", census_row, &c, &err) != AGENT_OK)
        return fail(why, "count", &err);
    if (c.succeeded != told.succeeded || c.failed != told.failed || c.cancelled != told.cancelled || c.open != 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "the file has %lld runs that succeeded, %lld failed, %lld cancelled, %lld open; "
                       "%lld, %lld, %lld and none were told", c.succeeded, c.failed, c.cancelled, c.open, told.succeeded,
                       told.failed, told.cancelled);
        return false;
    }
    if (agent_db_check(t->engine, one_problem, problem, &err) == AGENT_OK)
        return true;
    (void)snprintf(why, BENCH_WHY_MAX, "%s", problem[0] != '\0' ? problem : err.text);
    return false;
}

static bool soak_work(void *arg, void *out, char *why)
{
    const struct soak *w = arg;
    struct soak_result *r = out;
    struct town t = {.work = w, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS], worker;
    agent_options warm = AGENT_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;
    int64_t began_ns, heap;
    int files, tasks;
    double cpu;

    if (agent_open(&warm, &t.engine, &err) != AGENT_OK) /* libraries keep what their first user makes them open */
        return fail(why, "open an engine", &err);
    agent_close(t.engine);
    files = entries("/proc/self/fd");
    tasks = entries("/proc/self/task");
    heap = bench_heap_bytes();
    cpu = bench_cpu_s();
    if (!make_town(w, &t.engine, why))
        return false;
    began_ns = bench_now_ns();
    t.until_ns = began_ns + (int64_t)(w->seconds * 1e9);
    if (pthread_create(&worker, NULL, work_thread, &t) != 0)
        return fail(why, "no thread can be started", &err);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.town = &t, .number = i, .seed = w->seed * 100 + (uint64_t)i};
        if (pthread_create(&threads[i], NULL, client_thread, &clients[i]) != 0)
            return fail(why, "no thread can be started", &err);
    }
    while (!atomic_load(&t.stopping) && r->points < POINTS_MOST && bench_now_ns() < t.until_ns) {
        int64_t next_ns = began_ns + (int64_t)((r->points + 1) * w->step_s * 1e9);

        while (bench_now_ns() < next_ns && !atomic_load(&t.stopping))
            sleep_ms(50);
        measure_point(&t, began_ns, &r->point[r->points++]);
    }
    for (int i = 0; i < CLIENTS; i++)
        (void)pthread_join(threads[i], NULL);
    while (!atomic_load(&t.stopping) && atomic_load(&t.ended[QUEUED]) < atomic_load(&t.queued))
        sleep_ms(20);
    agent_work_stop(t.engine, false);
    (void)pthread_join(worker, NULL);
    r->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    r->cpu_s = bench_cpu_s() - cpu;
    for (int e = 0; e < ERRANDS; e++)
        r->ended[e] = atomic_load(&t.ended[e]);
    if (t.why[0] != '\0') {
        (void)snprintf(why, BENCH_WHY_MAX, "%s", t.why);
        return false;
    }
    if (!count_all(&t, why))
        return false;
    agent_close(t.engine);
    r->heap_left = (double)(bench_heap_bytes() - heap);
    if (entries("/proc/self/fd") > files || entries("/proc/self/task") > tasks) { /* (4) */
        (void)snprintf(why, BENCH_WHY_MAX, "after agent_close() %d descriptors of %d and %d threads of %d are there",
                       entries("/proc/self/fd"), files, entries("/proc/self/task"), tasks);
        return false;
    }
    return true;
}

/* What y grows by for each x, by least squares over points [from, n); the fields are given by their offset. */
static double slope(const struct point *p, int from, int n, size_t x, size_t y)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0, count = n - from;

    for (int i = from; i < n; i++) {
        double vx = *(const double *)(const void *)((const char *)&p[i] + x);
        double vy = *(const double *)(const void *)((const char *)&p[i] + y);

        sx += vx;
        sy += vy;
        sxx += vx * vx;
        sxy += vx * vy;
    }
    return (count * sxy - sx * sy) / (count * sxx - sx * sx);
}

static void report(struct bench_run *b, const struct soak_result *r)
{
    const bool judged = !bench_opts(b)->quick && r->wall_s >= 600;
    const int from = r->points / 4; /* (2) */
    const size_t at = offsetof(struct point, at_s);
    struct bench_series *s, *rss, *pss, *heap, *file, *turns, *files, *threads;
    long all = 0;

    s = bench_series(b, BENCH_LESS, "MB/h", "RSS, slope after the first quarter");
    bench_add(s, slope(r->point, from, r->points, at, offsetof(struct point, rss)) * 3600 / MB);
    if (judged)
        bench_goal(s, 2, 0);
    s = bench_series(b, BENCH_LESS, "MB/h", "PSS, slope");
    bench_add(s, slope(r->point, from, r->points, at, offsetof(struct point, pss)) * 3600 / MB);
    s = bench_series(b, BENCH_LESS, "MB/h", "heap, slope");
    bench_add(s, slope(r->point, from, r->points, at, offsetof(struct point, heap)) * 3600 / MB);
    s = bench_series(b, BENCH_LESS, "MB", "the file, growth per 1,000 turns");
    bench_add(s, slope(r->point, from, r->points, offsetof(struct point, turns), offsetof(struct point, file)) * 1000 / MB);
    s = bench_series(b, BENCH_LESS, "bytes", "heap that is left when the engine is closed");
    bench_add(s, r->heap_left);
    for (int e = 0; e < ERRANDS; e++) {
        s = bench_series(b, BENCH_NEITHER, "turns", "%s: ended as foreseen", errands[e].name);
        bench_add(s, (double)r->ended[e]);
        all += r->ended[e];
    }
    s = bench_series(b, BENCH_NEITHER, "turns/s", "all turns");
    bench_add(s, (double)all / r->wall_s);
    s = bench_series(b, BENCH_LESS, "%", "of one core");
    bench_add(s, 100 * r->cpu_s / r->wall_s);
    s = bench_series(b, BENCH_NEITHER, "s", "over time: seconds");
    rss = bench_series(b, BENCH_LESS, "MB", "over time: RSS");
    pss = bench_series(b, BENCH_LESS, "MB", "over time: PSS");
    heap = bench_series(b, BENCH_LESS, "MB", "over time: heap");
    file = bench_series(b, BENCH_NEITHER, "MB", "over time: the file and its log");
    turns = bench_series(b, BENCH_NEITHER, "turns", "over time: turns");
    files = bench_series(b, BENCH_LESS, "", "over time: open descriptors");
    threads = bench_series(b, BENCH_LESS, "", "over time: threads");
    for (int i = 0; i < r->points; i++) {
        const struct point *p = &r->point[i];

        bench_add(s, p->at_s);
        bench_add(rss, p->rss / MB);
        bench_add(pss, p->pss / MB);
        bench_add(heap, p->heap / MB);
        bench_add(file, p->file / MB);
        bench_add(turns, p->turns);
        bench_add(files, p->files);
        bench_add(threads, p->threads);
    }
    bench_note(b, "%.0f s, %ld turns, every one ended as foreseen, and the file says the same; db check is clean, and no "
                  "descriptor and no thread is left", r->wall_s, all);
}

void bench_soak(struct bench_run *b)
{
    static struct soak_result r;
    char folder[400], path[450];
    struct soak w = {.seed = bench_opts(b)->seed};
    struct server server;

    w.seconds = bench_opts(b)->minutes > 0 ? bench_opts(b)->minutes * 60.0 : (double)bench_size(b, 1800, 20);
    w.step_s = w.seconds / 400 > 0.25 ? w.seconds / 400 : 0.25;
    if (!server_start(b, &server))
        return;
    if (bench_folder(b, folder, sizeof(folder))) {
        (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
        w.path = path;
        w.port = server.port;
        if (bench_child(b, soak_work, &w, &r, sizeof(r)))
            report(b, &r);
        bench_folder_remove(folder);
    }
    server_stop(&server);
}
