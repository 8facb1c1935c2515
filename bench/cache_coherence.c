/*
 * What a commit of another process costs those who read through the cache, and that none of them
 * ever reads what it replaced.
 *
 *     another process: UPDATE agent_version … COMMIT ──► committed[i] = n, in memory both map
 *     each reader:     c = committed[i] ──► get of agent i ──► its instructions say n ≥ c, or it was stale
 *
 * The reader looks at committed[i] before it asks, so whatever stands there was acknowledged before
 * the get began. The writer is plain SQLite, as a person with a shell is.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/traces.h"
#include "engine/catalog.h"
#include "engine/coherence.h"

#define AGENTS  200
#define READERS 2

struct shared { /* mapped by both processes */
    atomic_int ready; /* 1: the file is there; 2: and the other process has it open */
    atomic_int go, stop, failed;
    _Atomic int64_t committed[AGENTS];
    int64_t ids[AGENTS]; /* of versions; written before ready is 2 */
    _Atomic int64_t commits;
};

struct coherence {
    char path[600];
    bool is_written; /* by the other process, each millisecond */
    long gets;
    uint64_t seed;
};

struct coherent {
    double wall_s;
    double token_ns;
    int64_t false_alarms; /* the token moved, and nobody had committed */
    int64_t stale, commits, seen, explained, loads, hits, gets;
};

/* --- the other process ------------------------------------------------------------------------------ */

static void nap(long ns)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static bool read_ids(sqlite3 *db, struct shared *s)
{
    sqlite3_stmt *st;
    int n = 0;

    if (sqlite3_prepare_v2(db, "SELECT id FROM agent_version ORDER BY id DESC LIMIT ?1", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_bind_int(st, 1, AGENTS) != SQLITE_OK)
        return false;
    while (n < AGENTS && sqlite3_step(st) == SQLITE_ROW)
        s->ids[n++] = sqlite3_column_int64(st, 0);
    return sqlite3_finalize(st) == SQLITE_OK && n == AGENTS;
}

static bool write_some(const struct coherence *w, struct shared *s, pid_t parent)
{
    struct bench_random r;
    sqlite3_stmt *st;
    sqlite3 *db;

    bench_random_seed(&r, w->seed + 1);
    if (sqlite3_open_v2(w->path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA busy_timeout = 10000; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL",
                     NULL, NULL, NULL) != SQLITE_OK ||
        !read_ids(db, s) ||
        sqlite3_prepare_v2(db, "UPDATE agent_version SET instructions = ?2 WHERE id = ?1", -1, &st, NULL) != SQLITE_OK)
        return false;
    atomic_store(&s->ready, 2);
    while (atomic_load(&s->stop) == 0 && getppid() == parent) {
        size_t i = (size_t)bench_random_below(&r, AGENTS);
        char text[24];

        nap(1000000);
        if (atomic_load(&s->go) == 0 || !w->is_written)
            continue;
        (void)snprintf(text, sizeof(text), "%lld", (long long)atomic_load(&s->committed[i]) + 1);
        (void)sqlite3_bind_int64(st, 1, s->ids[i]);
        (void)sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
        if (sqlite3_step(st) != SQLITE_DONE || sqlite3_reset(st) != SQLITE_OK)
            return false;
        atomic_fetch_add(&s->committed[i], 1);
        atomic_fetch_add(&s->commits, 1);
    }
    return sqlite3_finalize(st) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK;
}

/* Forked before this process has opened anything. */
static pid_t start_writer(const struct coherence *w, struct shared *s)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        while (atomic_load(&s->ready) == 0 && getppid() == parent)
            nap(1000000);
        if (getppid() == parent && !write_some(w, s, parent))
            atomic_store(&s->failed, 1);
        _exit(0);
    }
    return pid;
}

/* --- the readers --------------------------------------------------------------------------------------- */

struct reader {
    agent_engine *engine;
    struct shared *shared;
    struct bench_random random;
    long gets;
    int64_t stale;
    bool failed;
    char why[200];
};

static int64_t number_of(struct ag_str s)
{
    int64_t v = 0;

    for (size_t i = 0; i < s.n; i++)
        v = v * 10 + (s.p[i] - '0');
    return v;
}

static void *read_some(void *arg)
{
    struct reader *r = arg;
    agent_error err = AGENT_ERROR_INIT;
    ag_reader *rows;

    if (ag_store_reader_open(r->engine->store, &rows, &err) != AGENT_OK) {
        r->failed = true;
        (void)snprintf(r->why, sizeof(r->why), "%.190s", err.text);
        return NULL;
    }
    while (atomic_load(&r->shared->go) == 0)
        (void)sched_yield();
    for (long i = 0; i < r->gets && !r->failed; i++) {
        size_t at = (size_t)bench_random_below(&r->random, AGENTS);
        int64_t committed = atomic_load(&r->shared->committed[at]);
        struct ag_agent_obj *agent;

        if (ag_catalog_agent(r->engine, rows, r->shared->ids[at], &agent, &err) != AGENT_OK) {
            r->failed = true;
            (void)snprintf(r->why, sizeof(r->why), "%.190s", err.text);
        } else {
            r->stale += number_of(agent->rec.spec.instructions) < committed;
            ag_value_put(&agent->head);
        }
    }
    ag_reader_close(rows);
    return NULL;
}

static bool make_agents(agent_engine *engine, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_config c = AGENT_CONFIG_INIT;

    c.instructions = "0";
    for (int i = 0; i < AGENTS; i++) {
        char name[24];

        (void)snprintf(name, sizeof(name), "agent%d", i);
        if (agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) != AGENT_OK) {
            (void)snprintf(why, BENCH_WHY_MAX, "agent '%s': %.400s", name, err.text);
            return false;
        }
    }
    return true;
}

static void ask_token(agent_engine *engine, struct coherent *out)
{
    const long times = 5000000;
    uint64_t first = ag_engine_change_token(engine);
    int64_t begun = bench_now_ns();

    for (long i = 0; i < times; i++)
        out->false_alarms += ag_engine_change_token(engine) != first;
    out->token_ns = (double)(bench_now_ns() - begun) / (double)times;
}

static bool read_all(const struct coherence *w, agent_engine *engine, struct shared *s, struct coherent *out, char *why)
{
    struct reader readers[READERS];
    struct ag_cache_stats stats;
    pthread_t threads[READERS];
    int64_t begun;
    bool ok = true;

    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.engine = engine, .shared = s, .gets = w->gets / READERS};
        bench_random_seed(&readers[i].random, w->seed + 2 + (uint64_t)i);
        if (pthread_create(&threads[i], NULL, read_some, &readers[i]) != 0) {
            (void)snprintf(why, BENCH_WHY_MAX, "no thread");
            return false; /* the child ends, and the threads with it */
        }
    }
    begun = bench_now_ns();
    atomic_store(&s->go, 1);
    for (int i = 0; i < READERS; i++) {
        (void)pthread_join(threads[i], NULL);
        out->stale += readers[i].stale;
        if (readers[i].failed) {
            (void)snprintf(why, BENCH_WHY_MAX, "get: %s", readers[i].why);
            ok = false;
        }
    }
    out->wall_s = (double)(bench_now_ns() - begun) / 1e9;
    ag_cache_stats(engine->cache, &stats);
    out->gets = (int64_t)stats.total.gets;
    out->hits = (int64_t)stats.total.hits;
    out->loads = (int64_t)stats.total.loads;
    out->seen = (int64_t)stats.changes_seen;
    out->explained = (int64_t)stats.changes_explained;
    out->commits = atomic_load(&s->commits);
    return ok;
}

static bool measure(const struct coherence *w, struct shared *s, struct coherent *out, char *why)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *engine;
    bool ok;

    o.path = w->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = 1;
    o.durability = AGENT_DURABILITY_PROCESS;
    o.sample_interval_ms = -1;
    if (agent_open(&o, &engine, &err) != AGENT_OK) {
        (void)snprintf(why, BENCH_WHY_MAX, "open: %.400s", err.text);
        return false;
    }
    ok = make_agents(engine, why);
    if (ok) {
        atomic_store(&s->ready, 1);
        while (atomic_load(&s->ready) != 2 && atomic_load(&s->failed) == 0)
            nap(1000000);
        ask_token(engine, out);
        ok = atomic_load(&s->failed) == 0 && read_all(w, engine, s, out, why);
    }
    atomic_store(&s->stop, 1);
    agent_close(engine);
    return ok;
}

static bool coherence_work(void *arg, void *out, char *why)
{
    const struct coherence *w = arg;
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t writer;
    bool ok;

    if (s == MAP_FAILED || (writer = start_writer(w, s)) < 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "no memory, or no second process");
        return false;
    }
    ok = measure(w, s, out, why);
    if (!ok)
        (void)kill(writer, SIGKILL);
    (void)waitpid(writer, NULL, 0);
    if (ok && atomic_load(&s->failed) != 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "the other process could not write");
        ok = false;
    }
    (void)munmap(s, sizeof(*s));
    return ok;
}

/* --- the bench -------------------------------------------------------------------------------------------- */

static bool one_round(struct bench_run *b, struct coherence *w, struct coherent *out)
{
    char folder[512];
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(w->path, sizeof(w->path), "%s/agent.db", folder);
    ok = bench_child(b, coherence_work, w, out, sizeof(*out));
    bench_folder_remove(folder);
    return ok && bench_expect(b, out->stale == 0, "%lld gets of %ld were stale", (long long)out->stale, w->gets) &&
           bench_expect(b, out->false_alarms == 0, "the token moved, and nobody had committed") &&
           bench_expect(b, !w->is_written || (out->commits > 0 && out->seen > 0),
                        "%lld commits were made and %lld seen", (long long)out->commits, (long long)out->seen);
}

void bench_cache_coherence(struct bench_run *b)
{
    struct bench_series *token = bench_series(b, BENCH_LESS, "ns", "asking whether anybody committed");
    struct bench_series *quiet = bench_series(b, BENCH_LESS, "ns", "get, nobody else writes");
    struct bench_series *busy = bench_series(b, BENCH_LESS, "ns", "get, another process commits each ms");
    struct bench_series *load = bench_series(b, BENCH_NEITHER, "loads", "busy: loads for each commit of the other");
    struct coherence w = {.gets = bench_size(b, 10000000, 400000), .seed = bench_opts(b)->seed};
    int64_t commits = 0, seen = 0, explained = 0, gets = 0;

    bench_goal(token, 5, 0);
    bench_ratio(busy, quiet, 0);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        int order[2];

        bench_shuffle(b, order, 2);
        for (int i = 0; i < 2; i++) {
            struct coherent c;

            w.is_written = order[i] == 1;
            w.seed++;
            if (!one_round(b, &w, &c))
                return;
            bench_add(w.is_written ? busy : quiet, c.wall_s * 1e9 / (double)w.gets);
            if (!w.is_written) {
                bench_add(token, c.token_ns);
                continue;
            }
            bench_add(load, c.commits > 0 ? (double)c.loads / (double)c.commits : 0);
            commits += c.commits;
            seen += c.seen;
            explained += c.explained;
            gets += c.gets;
        }
    }
    bench_note(b, "0 stale of %lld gets by %d threads over %d agents, beside %lld commits; %lld changes seen, %lld explained",
               (long long)gets, READERS, AGENTS, (long long)commits, (long long)seen, (long long)explained);
    bench_note(b, "ns: wall time by gets of both threads; busy includes loading again what was changed");
}
