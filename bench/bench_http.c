/*
 * Runs over HTTP against a server of ours on loopback, which has a process and, where there are
 * cores, a core of its own.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/load.h"
#include "bench/server.h"

#define QUESTION "What is the capital of France, and since when?"

static bool drive_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct load warm = *l;
    struct load_result *r = out, ignored = {0};
    struct rlimit files;
    agent_engine *engine;
    int64_t runs;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* a connection for each run in flight */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    warm.in_flight = 1; /* libcurl is loaded, the connection to the first run's host is there */
    warm.runs = 1;
    if (!load_open(l, &engine, why) || !load_drive(engine, &warm, &ignored, why) || !load_drive(engine, l, r, why) ||
        !load_runs(engine, &runs, why))
        return false;
    if (runs != l->runs + 1) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld runs of %ld are counted", (long long)runs, l->runs + 1);
        return false;
    }
    agent_close(engine);
    return true;
}

/* --- concurrency ----------------------------------------------------------------------------------------- */

static bool sockets_work(void *arg, void *out, char *why)
{
    return sockets_drive(arg, out, why);
}

/* wrk's own figure; 0: it is not there, or something went wrong. */
static double wrk_rate(int port, const char *duration)
{
    char url[80], text[4096], *rate, *odd;

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/json/chat/completions", port);
    if (bench_program((const char *const[]){"wrk", "-t1", "-c100", "-d", duration, url, NULL}, text, sizeof(text)) != 0)
        return 0;
    odd = strstr(text, "Non-2xx");
    rate = strstr(text, "Requests/sec:");
    return rate != NULL && odd == NULL ? strtod(rate + 13, NULL) : 0;
}

enum way { MEMORY_1, MEMORY_2, FILE_1, FILE_2, WAYS };

static const struct {
    const char *name;
    bool durable;
    int workers;
} ways[WAYS] = {
    [MEMORY_1] = {"in memory, 1 worker", false, 1},
    [MEMORY_2] = {"in memory, 2 workers", false, 2},
    [FILE_1] = {"in a file, FULL, 1 worker", true, 1},
    [FILE_2] = {"in a file, FULL, 2 workers", true, 2},
};

static bool measure_way(struct bench_run *b, struct load l, enum way way, struct load_result *out)
{
    char folder[400], path[450];
    bool ok;

    l.workers = ways[way].workers;
    if (!ways[way].durable)
        return bench_child(b, drive_work, &l, out, sizeof(*out));
    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
    l.path = path;
    ok = bench_child(b, drive_work, &l, out, sizeof(*out));
    bench_folder_remove(folder);
    return ok;
}

void bench_concurrency(struct bench_run *b)
{
    struct bench_series *rate[WAYS], *cpu[WAYS], *bare, *wrk;
    char base_url[80];
    struct load l = {
        .model = "openai:bench-1", .base_url = base_url, .no_stream = true, .input = QUESTION,
        .expect = SERVER_ANSWER, .in_flight = 100, .runs = bench_size(b, 20000, 300),
    };
    struct sockets sockets = {.connections = 100, .requests = bench_size(b, 100000, 2000)};
    struct server server;
    bool has_wrk = true;

    bare = bench_series(b, BENCH_MORE, "req/s", "bare sockets, one thread");
    wrk = bench_series(b, BENCH_MORE, "req/s", "wrk -t1 -c100");
    for (int w = 0; w < WAYS; w++) {
        rate[w] = bench_series(b, BENCH_MORE, "runs/s", "%s", ways[w].name);
        cpu[w] = bench_series(b, BENCH_LESS, "us", "%s, CPU time per run", ways[w].name);
        bench_ratio(rate[w], bare, 0);
        bench_ratio(rate[w], wrk, ways[w].durable ? 0 : 0.25);
        if (ways[w].durable) {
            bench_goal(rate[w], 8000, 12000);
            bench_goal(cpu[w], 100, 0);
        }
    }
    if (!server_start(b, &server))
        return;
    sockets.port = server.port;
    (void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d/json", server.port);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        struct sockets_result s;
        int order[WAYS];
        double r;

        if (!bench_child(b, sockets_work, &sockets, &s, sizeof(s)))
            break;
        bench_add(bare, (double)s.answers / s.wall_s);
        if (has_wrk && (r = wrk_rate(server.port, bench_opts(b)->quick ? "1s" : "2s")) > 0)
            bench_add(wrk, r);
        else
            has_wrk = false;
        bench_shuffle(b, order, WAYS);
        for (int i = 0; i < WAYS; i++) {
            struct load_result out;

            if (!measure_way(b, l, (enum way)order[i], &out)) {
                server_stop(&server);
                return;
            }
            bench_add(rate[order[i]], (double)out.succeeded / out.wall_s);
            bench_add(cpu[order[i]], out.cpu_s * 1e6 / (double)out.succeeded);
        }
    }
    server_stop(&server);
    if (!has_wrk)
        bench_note(b, "wrk is not installed: bare sockets alone are the baseline");
    bench_note(b, "one-step runs, each on a session of its own; the server's CPU is not in the CPU time");
}

/* --- delayed ----------------------------------------------------------------------------------------------- */

void bench_delayed(struct bench_run *b)
{
    struct bench_series *rate, *p50, *p99, *first, *cpu, *rss;
    char base_url[80];
    struct load l = {
        .model = "openai:bench-1", .base_url = base_url, .no_stream = true, .input = QUESTION,
        .expect = SERVER_ANSWER, .in_flight = (int)bench_size(b, 9600, 100), .ramp_ms = (int)bench_size(b, 1200, 50),
        .runs = bench_size(b, 57600, 300),
    };
    struct server server;

    rate = bench_series(b, BENCH_MORE, "runs/s", "in a file, FULL, %d in flight, 2 workers", l.in_flight);
    p50 = bench_series(b, BENCH_LESS, "ms", "start to end p50");
    p99 = bench_series(b, BENCH_LESS, "ms", "start to end p99");
    first = bench_series(b, BENCH_LESS, "ms", "the first %d, each with a new connection: p99", l.in_flight);
    cpu = bench_series(b, BENCH_LESS, "us", "CPU time per run");
    rss = bench_series(b, BENCH_LESS, "bytes", "resident per run in flight");
    if (!bench_opts(b)->quick) {
        bench_goal(rate, 8000, 0);
        bench_goal(p99, 800, 0);
        bench_goal(rss, 24 * 1024, 0);
    }
    if (!server_start(b, &server))
        return;
    (void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d/delay/500", server.port);
    for (int round = bench_rounds(b, 2); round > 0; round--) {
        struct load_result out;

        if (!measure_way(b, l, FILE_2, &out))
            break;
        bench_add(rate, out.steady_per_s);
        bench_add(p50, out.p50_us / 1e3);
        bench_add(p99, out.p99_us / 1e3);
        bench_add(first, out.first_p99_us / 1e3);
        bench_add(cpu, out.cpu_s * 1e6 / (double)out.succeeded);
        bench_add(rss, (double)out.rss_half_bytes / l.in_flight);
    }
    server_stop(&server);
    bench_note(b, "%ld runs, the first %d begin spread over %d ms and are told apart; then each end begins the next; "
                  "RSS is read when half of them have ended", l.runs, l.in_flight, l.ramp_ms);
}

/* --- streams ------------------------------------------------------------------------------------------------- */

#define CHUNK_GAP_MS 50

struct late {
    pthread_mutex_t lock;
    double *us; /* lock */
    size_t count, room;
};

struct streams {
    struct load load;
    size_t chunks; /* of all streams */
};

struct streams_result {
    struct load_result load;
    double p50_us, p99_us;
};

/* "@NANOSECONDS " once or more: how long ago each was sent. */
static void on_text(void *ctx, const char *text, size_t bytes)
{
    struct late *late = ctx;
    int64_t now = bench_now_ns(), sent = -1;

    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '@') {
            sent = 0;
        } else if (sent >= 0 && text[i] >= '0' && text[i] <= '9') {
            sent = sent * 10 + (text[i] - '0');
        } else if (sent > 0) {
            (void)pthread_mutex_lock(&late->lock);
            if (late->count < late->room)
                late->us[late->count++] = (double)(now - sent) / 1e3;
            (void)pthread_mutex_unlock(&late->lock);
            sent = -1;
        }
    }
}

static bool streams_work(void *arg, void *out, char *why)
{
    struct streams *s = arg;
    struct streams_result *r = out;
    struct late late = {.lock = PTHREAD_MUTEX_INITIALIZER, .room = s->chunks};
    agent_engine *engine;
    bool ok;

    if ((late.us = calloc(late.room, sizeof(double))) == NULL) {
        (void)snprintf(why, BENCH_WHY_MAX, "out of memory");
        return false;
    }
    s->load.on_text = on_text;
    s->load.ctx = &late;
    if (!load_open(&s->load, &engine, why))
        return false;
    ok = load_drive(engine, &s->load, &r->load, why);
    if (ok && late.count != s->chunks) {
        (void)snprintf(why, BENCH_WHY_MAX, "%zu chunks of %zu have come", late.count, s->chunks);
        ok = false;
    }
    r->p50_us = bench_quantile(late.us, late.count, 0.5);
    r->p99_us = bench_quantile(late.us, late.count, 0.99);
    if (ok) {
        agent_close(engine);
        free(late.us);
    }
    return ok;
}

void bench_streams(struct bench_run *b)
{
    const int streams[] = {1, (int)bench_size(b, 1000, 20)};
    const long chunks = bench_size(b, 60, 10);
    struct bench_series *p50[2], *p99[2], *core[2];
    char base_url[80];
    struct server server;

    for (int i = 0; i < 2; i++) {
        p50[i] = bench_series(b, BENCH_LESS, "ms", "%d streams, added p50", streams[i]);
        p99[i] = bench_series(b, BENCH_LESS, "ms", "%d streams, added p99", streams[i]);
        core[i] = bench_series(b, BENCH_LESS, "%", "%d streams, of one core", streams[i]);
    }
    bench_goal(p50[0], 0.1, 0);
    if (!bench_opts(b)->quick) {
        bench_goal(p50[1], 0.4, 0);
        bench_goal(p99[1], 8, 0);
        bench_goal(core[1], 40, 0);
    }
    if (!server_start(b, &server))
        return;
    (void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d/sse/%ld/%d", server.port, chunks, CHUNK_GAP_MS);
    for (int round = bench_rounds(b, 2); round > 0; round--) {
        for (int i = 0; i < 2; i++) {
            struct streams s = {
                .load = {.model = "openai:bench-1", .base_url = base_url, .input = QUESTION, .expect = "@", .workers = 1,
                         .in_flight = streams[i], .runs = streams[i]},
                .chunks = (size_t)(chunks * streams[i]),
            };
            struct streams_result out;

            if (!bench_child(b, streams_work, &s, &out, sizeof(out))) {
                server_stop(&server);
                return;
            }
            bench_add(p50[i], out.p50_us / 1e3);
            bench_add(p99[i], out.p99_us / 1e3);
            bench_add(core[i], 100 * out.load.cpu_s / out.load.wall_s);
        }
    }
    server_stop(&server);
    bench_note(b, "%d ms between chunks; added: from the server's send() to the caller's event, both on this machine's "
                  "monotonic clock; 1 worker, in memory", CHUNK_GAP_MS);
}
