/*
 * The durable queue with 1, 2 and 4 processes on one file, beside as many that write the same rows bare.
 *
 *     each process    threads that queue its share, one commit acknowledged for each run,
 *                     and agent_work, which claims and drives whatever is there, whoever queued it
 *     bare SQLite     each process writes its share of the rows that the engines left: queued, claimed,
 *                     finished, in batches as large as the engines' commits were on average
 *
 *  (1) The clock starts when all processes are ready and stops when the last run has ended.
 *  (2) Every run is in the file once, has succeeded in its first attempt, and its end was told once.
 *  (3) The bare processes know their rows and look nothing up: no queue can cost less.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bare.h"
#include "bench/load.h"

enum { COUNTS = 3, MOST = 4, THREADS = 16, JOBS = 64 };

static const int counts[COUNTS] = {1, 2, MOST};

/* What the processes of one measurement share. */
struct shared {
    atomic_int ready, done;
    atomic_bool go, failed;
    atomic_long ended;
    _Atomic int64_t over_ns; /* when the last run ended */
    double cpu_s[MOST];
    char why[BENCH_WHY_MAX]; /* of whoever failed first */
    double ack_us[];         /* of each run: how long agent_run_enqueue() took */
};

struct queue {
    const char *path, *bare_path;
    int processes;
    long runs;
    bool bare;
    double batch;
    struct shared *shared;
};

struct queue_result {
    double wall_s, cpu_s, commits;
    double p50_us, p99_us, p999_us; /* of an acknowledgement */
};

static void give_up(struct shared *s, const char *why)
{
    if (!atomic_exchange(&s->failed, true))
        (void)snprintf(s->why, sizeof(s->why), "%s", why);
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&t, NULL);
}

/* --- one process of the engine's -------------------------------------------------------------------------- */

struct process {
    const struct queue *work;
    agent_engine *engine;
    int number;
};

struct pusher {
    struct process *process;
    long first, end;
};

static void on_event(void *ctx, const agent_event *e)
{
    const struct queue *w = ctx;
    struct shared *s = w->shared;
    char why[BENCH_WHY_MAX];

    if (e->type != AGENT_EVENT_RUN_END)
        return;
    if (strcmp(e->result->status, "succeeded") != 0 || strstr(e->result->output, "job ") == NULL) {
        (void)snprintf(why, sizeof(why), "run %lld %s with '%.100s' (%.200s)", (long long)e->run.id, e->result->status,
                       e->result->output, e->result->error.text);
        give_up(s, why);
    }
    if (atomic_fetch_add(&s->ended, 1) + 1 == w->runs)
        atomic_store(&s->over_ns, bench_now_ns());
}

static void *push(void *arg)
{
    struct pusher *p = arg;
    struct shared *s = p->process->work->shared;
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_run_id id;
    char input[40];

    q.agent = "bench";
    q.input = input;
    for (long i = p->first; i < p->end && !atomic_load(&s->failed); i++) {
        int64_t began_ns = bench_now_ns();

        q.input_bytes = (size_t)snprintf(input, sizeof(input), "job %ld", i);
        if (agent_run_enqueue(p->process->engine, &q, &id, &err) != AGENT_OK)
            give_up(s, err.text);
        s->ack_us[i] = (double)(bench_now_ns() - began_ns) / 1e3;
    }
    return NULL;
}

static void *work_thread(void *arg)
{
    struct process *p = arg;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.concurrency = JOBS;
    o.on_event = on_event;
    o.ctx = (void *)(uintptr_t)p->work;
    if (agent_work(p->engine, &o, &err) != AGENT_OK)
        give_up(p->work->shared, err.text);
    return NULL;
}

static void engine_process(const struct queue *w, int number)
{
    struct shared *s = w->shared;
    struct load l = {.path = w->path, .workers = 1};
    struct process me = {.work = w, .number = number};
    struct pusher pushers[THREADS];
    pthread_t threads[THREADS], worker;
    long first = w->runs * number / w->processes, end = w->runs * (number + 1) / w->processes;
    char why[BENCH_WHY_MAX];
    double cpu;
    int started = 0;

    if (!load_open(&l, &me.engine, why)) {
        give_up(s, why);
        return;
    }
    (void)atomic_fetch_add(&s->ready, 1);
    while (!atomic_load(&s->go))
        sleep_ms(1);
    cpu = bench_cpu_s();
    if (pthread_create(&worker, NULL, work_thread, &me) != 0) {
        give_up(s, "no thread can be started");
        return;
    }
    for (int i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){&me, first + (end - first) * i / THREADS, first + (end - first) * (i + 1) / THREADS};
        if (pthread_create(&threads[i], NULL, push, &pushers[i]) != 0) {
            give_up(s, "no thread can be started");
            break;
        }
        started++;
    }
    for (int i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    while (atomic_load(&s->ended) < w->runs && !atomic_load(&s->failed))
        sleep_ms(1);
    s->cpu_s[number] = bench_cpu_s() - cpu;
    agent_work_stop(me.engine, false);
    (void)pthread_join(worker, NULL);
    agent_close(me.engine);
    (void)atomic_fetch_add(&s->done, 1);
}

/* --- one bare process ----------------------------------------------------------------------------------------- */

static void bare_ready(void *ctx)
{
    struct shared *s = ctx;

    (void)atomic_fetch_add(&s->ready, 1);
    while (!atomic_load(&s->go))
        sleep_ms(1);
}

static void bare_process(const struct queue *w, int number)
{
    struct shared *s = w->shared;
    struct bare b = {
        .from = w->path, .to = w->bare_path, .batch = w->batch, .in_flight = JOBS * w->processes, .queued = true,
        .part = number, .parts = w->processes, .ready = bare_ready, .ctx = s,
    };
    struct bare_result r = {0};
    char why[BENCH_WHY_MAX];

    if (!bare_write(&b, &r, why)) {
        give_up(s, why);
        return;
    }
    s->cpu_s[number] = r.cpu_s;
    if (atomic_fetch_add(&s->ended, r.runs) + r.runs == w->runs)
        atomic_store(&s->over_ns, bench_now_ns());
    (void)atomic_fetch_add(&s->done, 1);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static bool wait_for(struct shared *s, atomic_int *what, int value, const pid_t *pids, char *why)
{
    while (atomic_load(what) < value) {
        if (atomic_load(&s->failed)) {
            (void)snprintf(why, BENCH_WHY_MAX, "%s", s->why);
            return false;
        }
        for (int i = 0; i < value; i++) {
            int status = 0;

            if (atomic_load(what) < value && waitpid(pids[i], &status, WNOHANG) == pids[i] &&
                (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
                (void)snprintf(why, BENCH_WHY_MAX, "a process died (status %d)", status);
                return false;
            }
        }
        sleep_ms(1);
    }
    return true;
}

struct census {
    int64_t runs, inputs, succeeded, attempts;
};

static bool census_row(void *ctx, const agent_row *row)
{
    *(struct census *)ctx = (struct census){agent_row_int(row, 0), agent_row_int(row, 1), agent_row_int(row, 2),
                                            agent_row_int(row, 3)};
    return false;
}

/* (2) */
static bool count_all(const struct queue *w, char *why)
{
    struct load l = {.path = w->path};
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *engine;
    struct census c = {0};
    bool ok;

    if (!load_open(&l, &engine, why))
        return false;
    ok = agent_sql(engine, "SELECT count(*), count(DISTINCT input), sum(status = 'succeeded'), max(attempt) FROM run",
                   census_row, &c, &err) == AGENT_OK;
    if (!ok)
        (void)snprintf(why, BENCH_WHY_MAX, "count: %.400s", err.text);
    agent_close(engine);
    if (ok && (c.runs != w->runs || c.inputs != w->runs || c.succeeded != w->runs || c.attempts != 1 ||
               atomic_load(&w->shared->ended) != w->runs)) {
        (void)snprintf(why, BENCH_WHY_MAX,
                       "of %ld runs %lld are in the file, %lld different ones, %lld succeeded, %lld attempts at most, %ld ends told",
                       w->runs, (long long)c.runs, (long long)c.inputs, (long long)c.succeeded, (long long)c.attempts,
                       atomic_load(&w->shared->ended));
        ok = false;
    }
    return ok;
}

/* Processes are forked before this one has an engine or a connection, and end before it opens one. */
static bool queue_work(void *arg, void *out, char *why)
{
    struct queue *w = arg;
    struct queue_result *r = out;
    size_t bytes = sizeof(struct shared) + (size_t)w->runs * sizeof(double);
    struct load l = {.path = w->bare ? w->bare_path : w->path};
    pid_t pids[MOST], parent = getpid();
    struct watch watch = {0};
    agent_engine *engine;
    int64_t began_ns;
    bool ok;

    w->shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w->shared == MAP_FAILED) {
        (void)snprintf(why, BENCH_WHY_MAX, "mmap: %s", strerror(errno));
        return false;
    }
    if (!load_open(&l, &engine, why)) /* the file and its agent; nothing of it is left when it is closed */
        return false;
    agent_close(engine);
    for (int i = 0; i < w->processes; i++) {
        if ((pids[i] = fork()) == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent) {
                if (w->bare)
                    bare_process(w, i);
                else
                    engine_process(w, i);
            }
            _exit(0);
        }
        if (pids[i] < 0) {
            (void)snprintf(why, BENCH_WHY_MAX, "fork: %s", strerror(errno));
            return false;
        }
    }
    if (!wait_for(w->shared, &w->shared->ready, w->processes, pids, why) || !watch_open(&watch, l.path, why))
        return false;
    began_ns = bench_now_ns();
    atomic_store(&w->shared->go, true);
    ok = wait_for(w->shared, &w->shared->done, w->processes, pids, why);
    r->commits = watch_commits(&watch);
    watch_close(&watch);
    if (!ok)
        return false;
    for (int i = 0; i < w->processes; i++)
        r->cpu_s += w->shared->cpu_s[i];
    r->wall_s = (double)(atomic_load(&w->shared->over_ns) - began_ns) / 1e9;
    r->p50_us = bench_quantile(w->shared->ack_us, (size_t)w->runs, 0.5);
    r->p99_us = bench_quantile(w->shared->ack_us, (size_t)w->runs, 0.99);
    r->p999_us = bench_quantile(w->shared->ack_us, (size_t)w->runs, 0.999);
    return w->bare ? bare_compare(w->path, w->bare_path, why) : count_all(w, why);
}

struct queue_series {
    struct bench_series *rate, *cpu, *batch, *p50, *p99, *p999, *bare, *unit;
};

static void remove_bare(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-owners"};
    char name[480];

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)remove(name);
    }
}

static bool measure(struct bench_run *b, int processes, struct queue_series *s)
{
    char folder[400], path[450], bare[450];
    struct queue w = {.path = path, .bare_path = bare, .processes = processes, .runs = bench_size(b, 8000, 300)};
    struct queue_result engine, same, unit;
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/engine.db", folder);
    (void)snprintf(bare, sizeof(bare), "%s/bare.db", folder);
    if ((ok = bench_child(b, queue_work, &w, &engine, sizeof(engine)))) {
        w.bare = true;
        w.batch = 3.0 * (double)w.runs / engine.commits;
        if (w.batch < 1)
            w.batch = 1;
        bench_add(s->rate, (double)w.runs / engine.wall_s);
        bench_add(s->cpu, engine.cpu_s * 1e6 / (double)w.runs);
        bench_add(s->batch, w.batch);
        bench_add(s->p50, engine.p50_us / 1e3);
        bench_add(s->p99, engine.p99_us / 1e3);
        bench_add(s->p999, engine.p999_us / 1e3);
        ok = bench_child(b, queue_work, &w, &same, sizeof(same));
        remove_bare(bare);
        w.batch = 1;
        ok = ok && bench_child(b, queue_work, &w, &unit, sizeof(unit));
        if (ok) {
            bench_add(s->bare, (double)w.runs / same.wall_s);
            bench_add(s->unit, (double)w.runs / unit.wall_s);
        }
    }
    bench_folder_remove(folder);
    return ok;
}

void bench_queue(struct bench_run *b)
{
    struct queue_series s[COUNTS];

    for (int i = 0; i < COUNTS; i++) {
        char of[32];

        (void)snprintf(of, sizeof(of), "%d process%s", counts[i], counts[i] > 1 ? "es" : "");
        s[i].rate = bench_series(b, BENCH_MORE, "runs/s", "queued, claimed and finished, %s", of);
        s[i].bare = bench_series(b, BENCH_MORE, "runs/s", "bare SQLite, the same batches, %s", of);
        s[i].unit = bench_series(b, BENCH_MORE, "runs/s", "bare SQLite, a commit per unit, %s", of);
        s[i].batch = bench_series(b, BENCH_NEITHER, "units", "in one commit, %s", of);
        s[i].cpu = bench_series(b, BENCH_LESS, "us", "CPU time per run, %s", of);
        s[i].p50 = bench_series(b, BENCH_LESS, "ms", "acknowledged p50, %s", of);
        s[i].p99 = bench_series(b, BENCH_LESS, "ms", "acknowledged p99, %s", of);
        s[i].p999 = bench_series(b, BENCH_LESS, "ms", "acknowledged p99.9, %s", of);
        bench_ratio(s[i].rate, s[i].bare, 0);
        bench_ratio(s[i].rate, s[i].unit, 0);
        if (i > 0)
            bench_ratio(s[i].rate, s[0].rate, 0);
    }
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        int order[COUNTS];

        bench_shuffle(b, order, COUNTS);
        for (int i = 0; i < COUNTS; i++)
            if (!measure(b, counts[order[i]], &s[order[i]]))
                return;
    }
    bench_note(b, "FULL; each process queues its share from %d threads and works with -j %d and 1 worker; answers of "
                  "offline:demo; 3 units of rows a run; bare SQLite waits with busy_timeout", THREADS, JOBS);
}
