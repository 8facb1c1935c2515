/*
 * What a run costs while it waits for its answer: memory, all of it counted, and CPU; and how long
 * after a cancel its socket, or its HTTP/2 stream, is closed.
 *
 *     start N ──all N are at the server──► read RSS ──► idle, read CPU ──► cancel some, one by one
 *             ──the server saw each close──► release the rest ──► check every answer
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/server.h"

#define PATIENCE_NS INT64_C(60000000000)

struct inflight {
    struct load load;
    struct server_board *board;
    int runs, cancels;
    int idle_ms;
};

struct inflight_result {
    double bytes, idle_core, p50_us, p99_us;
};

static void nap(long us)
{
    (void)usleep((useconds_t)us);
}

/* True once so many requests lie at the server. */
static bool wait_for(const struct inflight *f, long waiting, char *why)
{
    int64_t until = bench_now_ns() + PATIENCE_NS;

    while (atomic_load(&f->board->waiting) != waiting) {
        if (bench_now_ns() > until) {
            (void)snprintf(why, BENCH_WHY_MAX, "%ld requests wait at the server instead of %ld",
                           atomic_load(&f->board->waiting), waiting);
            return false;
        }
        nap(1000);
    }
    return true;
}

static bool start_all(agent_engine *engine, agent_run **runs, int n, char *why)
{
    for (int i = 0; i < n; i++) {
        agent_run_request q = AGENT_RUN_REQUEST_INIT;
        agent_error err = AGENT_ERROR_INIT;
        char input[64];

        q.agent = "bench";
        q.input = input;
        q.input_bytes = (size_t)snprintf(input, sizeof(input), "What is the capital of France? mark=%d", i);
        q.no_stream = true;
        if (agent_run_start(engine, &q, &runs[i], &err) != AGENT_OK) {
            (void)snprintf(why, BENCH_WHY_MAX, "start run %d: %.400s", i, err.text);
            return false;
        }
    }
    return true;
}

static bool cancel_some(const struct inflight *f, agent_run **runs, struct inflight_result *r, char *why)
{
    int64_t *at = calloc((size_t)f->cancels, sizeof(*at));
    double *us = calloc((size_t)f->cancels, sizeof(*us));
    bool ok = at != NULL && us != NULL;

    for (int i = 0; i < f->cancels && ok; i++) {
        at[i] = bench_now_ns();
        agent_run_cancel(runs[i]);
        nap(1000);
    }
    ok = ok && wait_for(f, f->runs - f->cancels, why);
    for (int i = 0; i < f->cancels && ok; i++)
        us[i] = (double)(atomic_load(&f->board->closed_ns[i]) - at[i]) / 1e3;
    if (ok) {
        r->p50_us = bench_quantile(us, (size_t)f->cancels, 0.5);
        r->p99_us = bench_quantile(us, (size_t)f->cancels, 0.99);
    }
    free(at);
    free(us);
    return ok;
}

/* The cancelled ones are cancelled, the others have their answer. */
static bool end_all(const struct inflight *f, agent_run **runs, char *why)
{
    atomic_store(&f->board->released, true);
    for (int i = 0; i < f->runs; i++) {
        const char *want = i < f->cancels ? "cancelled" : "succeeded";
        const agent_run_result *result;
        agent_error err = AGENT_ERROR_INIT;

        if (agent_run_wait(runs[i], -1, &result, &err) != AGENT_OK || strcmp(result->status, want) != 0 ||
            (i >= f->cancels && strstr(result->output, f->load.expect) == NULL)) {
            (void)snprintf(why, BENCH_WHY_MAX, "run %d has not %s as it should: %.200s", i, want,
                           err.status != AGENT_OK ? err.text : result->error.text);
            return false;
        }
        agent_run_free(runs[i]);
    }
    return true;
}

static bool work(void *arg, void *out, char *why)
{
    const struct inflight *f = arg;
    struct inflight_result *r = out;
    agent_run **runs = calloc((size_t)f->runs, sizeof(agent_run *));
    struct rlimit files;
    agent_engine *engine;
    int64_t rss, began_ns;
    double cpu;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    atomic_store(&f->board->released, true);
    if (runs == NULL || !load_open(&f->load, &engine, why) || !load_turn(engine, &f->load, why))
        return false;
    atomic_store(&f->board->released, false);
    rss = bench_rss_bytes();
    if (!start_all(engine, runs, f->runs, why) || !wait_for(f, f->runs, why))
        return false;
    nap(100000); /* the last commits */
    r->bytes = (double)(bench_rss_bytes() - rss) / f->runs;
    cpu = bench_cpu_s();
    began_ns = bench_now_ns();
    nap(f->idle_ms * 1000L);
    r->idle_core = 100 * (bench_cpu_s() - cpu) / ((double)(bench_now_ns() - began_ns) / 1e9);
    if (!cancel_some(f, runs, r, why) || !end_all(f, runs, why))
        return false;
    agent_close(engine);
    free(runs);
    return true;
}

enum kind { PLAIN, TLS, TLS_H2, KINDS };

static const struct {
    const char *name;
    enum server_kind server;
    long runs, most_bytes;
} kinds[KINDS] = {
    [PLAIN] = {"plain HTTP/1.1", SERVER_PLAIN, 5000, 24 << 10},
    [TLS] = {"TLS, HTTP/1.1", SERVER_TLS, 2000, 80 << 10},
    [TLS_H2] = {"TLS, HTTP/2", SERVER_TLS_H2, 2000, 34 << 10},
};

static bool measure(struct bench_run *b, enum kind k, int runs, struct inflight_result *out)
{
    char folder[400], path[450], ca[450], url[80];
    struct inflight f = {
        .load = {.path = path, .workers = 2, .model = "openai:bench-1", .base_url = url, .no_stream = true,
                 .input = "What is the capital of France?", .expect = SERVER_ANSWER},
        .runs = runs, .cancels = runs / 5, .idle_ms = (int)bench_size(b, 3000, 300),
    };
    struct server server;
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
    if ((ok = server_start_tls(b, &server, kinds[k].server, ca))) {
        (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%d/hold", k == PLAIN ? "http" : "https", server.port);
        f.load.ca_file = k == PLAIN ? NULL : ca;
        f.board = server.board;
        ok = bench_child(b, work, &f, out, sizeof(*out));
        ok = ok && bench_expect(b, k != TLS_H2 || atomic_load(&server.board->accepted) * 10 < runs,
                                "HTTP/2: %ld connections for %d runs", atomic_load(&server.board->accepted), runs);
        server_stop(&server);
    }
    bench_folder_remove(folder);
    return ok;
}

void bench_inflight(struct bench_run *b)
{
    struct bench_series *bytes[KINDS], *idle[KINDS], *p50[KINDS], *p99[KINDS];
    int runs[KINDS], order[KINDS];

    for (int k = 0; k < KINDS; k++) {
        if (k == TLS_H2 && !server_has_h2()) {
            bench_note(b, "HTTP/2 was not measured: this agent-bench was built without libnghttp2");
            continue;
        }
        runs[k] = (int)bench_size(b, kinds[k].runs, k == TLS_H2 ? 50 : 20);
        bytes[k] = bench_series(b, BENCH_LESS, "bytes", "%s, resident per run of %d", kinds[k].name, runs[k]);
        idle[k] = bench_series(b, BENCH_LESS, "%", "%s, %d idle runs, of one core", kinds[k].name, runs[k]);
        p50[k] = bench_series(b, BENCH_LESS, "ms", "%s, cancel to closed p50", kinds[k].name);
        p99[k] = bench_series(b, BENCH_LESS, "ms", "%s, cancel to closed p99", kinds[k].name);
        if (!bench_opts(b)->quick) {
            bench_goal(bytes[k], (double)kinds[k].most_bytes, 0);
            bench_goal(idle[k], 2, 0);
            bench_goal(p99[k], 50, 0);
        }
    }
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        bench_shuffle(b, order, KINDS);
        for (int i = 0; i < KINDS; i++) {
            enum kind k = (enum kind)order[i];
            struct inflight_result r;

            if (k == TLS_H2 && !server_has_h2())
                continue;
            if (!measure(b, k, runs[k], &r))
                return;
            bench_add(bytes[k], r.bytes);
            bench_add(idle[k], r.idle_core);
            bench_add(p50[k], r.p50_us / 1e3);
            bench_add(p99[k], r.p99_us / 1e3);
        }
    }
    bench_note(b, "in a file, FULL, 2 workers; a fifth of the runs is cancelled, one each ms, and every other "
                  "answer checked; closed: as the server sees it");
}
