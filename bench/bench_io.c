/*
 * Bursts of runs that wait for a server: how far from the ideal, in which they wait all at once.
 *
 *     alone       one run at a time         its time is the delay and one service time: the ideal
 *     burst of N  N runs start at once      sojourn: start to end of each; total: until the last has ended
 *
 *  (1) The ideal is measured on the same engine, between the bursts of the same round.
 *  (2) Whoever starts the runs counts: the last of them is started when the first has waited already,
 *      and its time counts from the burst.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/arrivals.h"
#include "bench/server.h"

enum { DELAYS = 3, SIZES = 3, MOST = 100 };

static const int delays_ms[DELAYS] = {100, 300, 500};
static const int sizes[SIZES] = {10, 50, MOST};

struct io {
    const char *path;
    int port, delay_ms;
    int bursts, alone; /* alone: runs one at a time before each burst */
};

struct io_result {
    double alone_ms; /* median */
    double total_ms[SIZES]; /* median of the bursts */
    double p50_ms[SIZES], p99_ms[SIZES], most_ms[SIZES];
};

static const char *secret(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return "sk-bench";
}

static bool open_engine(const struct io *w, agent_engine **out, char *why)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char url[80];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/delay/%d", w->port, w->delay_ms);
    o.path = w->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = 2;
    o.secret = secret;
    c.model = "openai:bench-1";
    c.base_url = url;
    c.tools = (const char *const[]){NULL};
    if (agent_open(&o, out, &err) == AGENT_OK &&
        agent_create(*out, "bench", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK)
        return true;
    (void)snprintf(why, BENCH_WHY_MAX, "open the engine: %.400s", err.text);
    return false;
}

static bool io_work(void *arg, void *out, char *why)
{
    static const int64_t at_once[MOST];
    const struct io *w = arg;
    struct io_result *r = out;
    struct arrivals a = {
        .agent = "bench", .input = "What is the capital of France?", .expect = SERVER_ANSWER, .no_stream = true,
        .at_ns = at_once, .patience_ns = INT64_C(30000000000),
    };
    struct arrivals_result burst;
    double alone_ms[256], total_ms[SIZES][64], *ms[SIZES];
    int alone = 0;

    if (!open_engine(w, &a.engine, why))
        return false;
    a.count = MOST; /* connections are open, agent and libcurl loaded */
    for (int s = 0; s < SIZES; s++)
        if ((ms[s] = calloc((size_t)w->bursts * (size_t)sizes[s], sizeof(double))) == NULL)
            return false;
    if (!arrivals_drive(&a, (double[MOST]){0}, &burst, why))
        return false;
    for (int i = 0; i < w->bursts; i++)
        for (int s = 0; s < SIZES; s++) {
            a.count = 1;
            for (int k = 0; k < w->alone && alone < 256; k++)
                if (!arrivals_drive(&a, &alone_ms[alone++], &burst, why))
                    return false;
            a.count = sizes[s];
            if (!arrivals_drive(&a, ms[s] + i * sizes[s], &burst, why))
                return false;
            total_ms[s][i] = burst.total_ms;
        }
    r->alone_ms = bench_quantile(alone_ms, (size_t)alone, 0.5);
    for (int s = 0; s < SIZES; s++) {
        size_t n = (size_t)w->bursts * (size_t)sizes[s];

        r->total_ms[s] = bench_quantile(total_ms[s], (size_t)w->bursts, 0.5);
        r->p50_ms[s] = bench_quantile(ms[s], n, 0.5);
        r->p99_ms[s] = bench_quantile(ms[s], n, 0.99);
        r->most_ms[s] = ms[s][n - 1];
        free(ms[s]);
    }
    agent_close(a.engine);
    return true;
}

void bench_io(struct bench_run *b)
{
    struct bench_series *ideal[DELAYS], *total[DELAYS][SIZES], *p50[DELAYS][SIZES], *p99[DELAYS][SIZES], *most[DELAYS][SIZES];
    struct io w = {.bursts = (int)bench_size(b, 5, 1), .alone = (int)bench_size(b, 2, 1)};
    struct server server;

    for (int d = 0; d < DELAYS; d++) {
        ideal[d] = bench_series(b, BENCH_NEITHER, "ms", "%d ms: one run alone, the ideal", delays_ms[d]);
        for (int s = 0; s < SIZES; s++) {
            total[d][s] = bench_series(b, BENCH_LESS, "ms", "%d ms x %d: total", delays_ms[d], sizes[s]);
            p50[d][s] = bench_series(b, BENCH_LESS, "ms", "%d ms x %d: sojourn p50", delays_ms[d], sizes[s]);
            p99[d][s] = bench_series(b, BENCH_LESS, "ms", "%d ms x %d: sojourn p99", delays_ms[d], sizes[s]);
            most[d][s] = bench_series(b, BENCH_LESS, "ms", "%d ms x %d: sojourn, the longest", delays_ms[d], sizes[s]);
            bench_ratio(total[d][s], ideal[d], 0);
            bench_ratio(p50[d][s], ideal[d], 0);
            bench_ratio(p99[d][s], ideal[d], 0);
        }
    }
    if (!server_start(b, &server))
        return;
    w.port = server.port;
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        int order[DELAYS];

        bench_shuffle(b, order, DELAYS);
        for (int i = 0; i < DELAYS; i++) {
            char folder[400], path[450];
            struct io_result r;
            int d = order[i];
            bool ok;

            if (!bench_folder(b, folder, sizeof(folder)))
                break;
            (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
            w.path = path;
            w.delay_ms = delays_ms[d];
            ok = bench_child(b, io_work, &w, &r, sizeof(r));
            bench_folder_remove(folder);
            if (!ok) {
                server_stop(&server);
                return;
            }
            bench_add(ideal[d], r.alone_ms);
            for (int s = 0; s < SIZES; s++) {
                bench_add(total[d][s], r.total_ms[s]);
                bench_add(p50[d][s], r.p50_ms[s]);
                bench_add(p99[d][s], r.p99_ms[s]);
                bench_add(most[d][s], r.most_ms[s]);
            }
        }
    }
    server_stop(&server);
    bench_note(b, "in a file, FULL, 2 workers; %d bursts of each size a round, each run on a session of its own; no target: "
                  "the ratio is to the ideal", w.bursts);
}
