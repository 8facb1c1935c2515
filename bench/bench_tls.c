/*
 * The cost of reaching a host: new TLS connections, and threads that look up its name.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/server.h"

#define QUESTION "What is the capital of France, and since when?"

/* --- new connections ------------------------------------------------------------------------------------- */

static bool connect_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct load_result *r = out;
    agent_engine *engine;

    if (!load_open(l, &engine, why) || !load_turn(engine, l, why) || !load_drive(engine, l, r, why))
        return false;
    agent_close(engine);
    return true;
}

static size_t drop(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

/* The same connections by libcurl alone, one after the other. It keeps the certificates it has read as
 * long as no folder of them is named. */
static bool bare_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct load_result *r = out;
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    CURL *(*init)(void);
    CURLcode (*set)(CURL *, CURLoption, ...), (*perform)(CURL *);
    void (*cleanup)(CURL *);
    void *symbols[4] = {NULL};
    const char *names[4] = {"curl_easy_init", "curl_easy_setopt", "curl_easy_perform", "curl_easy_cleanup"};
    double began = 0;
    CURL *easy;

    for (int i = 0; i < 4; i++)
        if (library == NULL || (symbols[i] = dlsym(library, names[i])) == NULL)
            return (void)snprintf(why, BENCH_WHY_MAX, "libcurl: no %s", names[i]), false;
    memcpy(&init, &symbols[0], sizeof(init));
    memcpy(&set, &symbols[1], sizeof(set));
    memcpy(&perform, &symbols[2], sizeof(perform));
    memcpy(&cleanup, &symbols[3], sizeof(cleanup));
    easy = init();
    (void)set(easy, CURLOPT_URL, l->base_url);
    (void)set(easy, CURLOPT_CAINFO, l->ca_file);
    (void)set(easy, CURLOPT_CAPATH, NULL);
    (void)set(easy, CURLOPT_PROXY, "");
    (void)set(easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)set(easy, CURLOPT_FORBID_REUSE, 1L);
    (void)set(easy, CURLOPT_POSTFIELDS, "{}");
    (void)set(easy, CURLOPT_WRITEFUNCTION, drop);
    for (long i = -1; i < l->runs; i++) {
        CURLcode rc;

        if (i == 0)
            began = bench_cpu_s();
        if ((rc = perform(easy)) != CURLE_OK)
            return (void)snprintf(why, BENCH_WHY_MAX, "libcurl: error %d", (int)rc), false;
    }
    r->cpu_s = bench_cpu_s() - began;
    r->succeeded = l->runs;
    cleanup(easy);
    return true;
}

enum way { FRESH, RESUMED, PLAIN, BARE, WAYS };

static const struct {
    const char *name;
    enum server_kind server;
} ways[WAYS] = {
    [FRESH] = {"full handshakes", SERVER_TLS_FRESH},
    [RESUMED] = {"resumed sessions", SERVER_TLS},
    [PLAIN] = {"without TLS", SERVER_PLAIN},
    [BARE] = {"bare libcurl, full handshakes", SERVER_TLS_FRESH},
};

void bench_tls(struct bench_run *b)
{
    struct bench_series *rate[WAYS], *cpu[WAYS];
    int order[WAYS];

    for (int w = 0; w < WAYS; w++) {
        rate[w] = bench_series(b, BENCH_MORE, "runs/cpu-s", "%s", ways[w].name);
        cpu[w] = bench_series(b, BENCH_LESS, "us", "%s, CPU time per run", ways[w].name);
        if (w == FRESH && !bench_opts(b)->quick)
            bench_goal(rate[w], 1200, 0);
    }
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        bench_shuffle(b, order, WAYS);
        for (int i = 0; i < WAYS; i++) {
            char folder[400], ca[450], url[80];
            struct load l = {.workers = 1, .model = "openai:bench-1", .base_url = url, .ca_file = ca, .no_stream = true,
                             .input = QUESTION, .expect = SERVER_ANSWER, .in_flight = 50,
                             .runs = bench_size(b, 3000, 100)};
            struct load_result r = {0};
            struct server server;
            int w = order[i];
            bool ok;

            if (!bench_folder(b, folder, sizeof(folder)))
                return;
            (void)snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
            if ((ok = server_start_tls(b, &server, ways[w].server, ca))) {
                (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%d/close", w == PLAIN ? "http" : "https", server.port);
                if (w == PLAIN)
                    l.ca_file = NULL;
                ok = bench_child(b, w == BARE ? bare_work : connect_work, &l, &r, sizeof(r)) &&
                     bench_expect(b, atomic_load(&server.board->accepted) == l.runs + 1,
                                  "%ld connections for %ld runs", atomic_load(&server.board->accepted), l.runs + 1);
                server_stop(&server);
            }
            bench_folder_remove(folder);
            if (!ok)
                return;
            bench_add(rate[w], (double)r.succeeded / r.cpu_s);
            bench_add(cpu[w], r.cpu_s * 1e6 / (double)r.succeeded);
        }
    }
    bench_ratio(rate[FRESH], rate[BARE], 0);
    bench_note(b, "whole runs in memory, 1 worker, a verified connection for each; the file of certificates is the "
                  "system's and the server's own (P-256)");
}

/* --- a cold name ------------------------------------------------------------------------------------------- */

#define COLD_HOST "cold.bench"
#define COLD_MS   300

/* libcurl's resolver finds this one first: that name takes its time, as far ones do. */
__attribute__((visibility("default")))
int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    memcpy(&real, &symbol, sizeof(real));
    if (node == NULL || strcmp(node, COLD_HOST) != 0)
        return real(node, service, hints, out);
    (void)usleep(COLD_MS * 1000);
    return real("127.0.0.1", service, hints, out);
}

static long threads_now(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[200];
    long n = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "Threads:", 8) == 0)
            n = strtol(line + 8, NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return n;
}

struct watch {
    atomic_bool stop;
    long most;
};

static void *watch_threads(void *arg)
{
    struct watch *w = arg;

    while (!atomic_load(&w->stop)) {
        long n = threads_now();

        if (n > w->most)
            w->most = n;
        (void)usleep(2000);
    }
    return NULL;
}

struct cold_result {
    struct load_result load;
    long threads;
};

static bool cold_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct cold_result *r = out;
    struct watch w = {0};
    agent_engine *engine;
    pthread_t watcher;
    long before;
    bool ok;

    if (!load_open(l, &engine, why))
        return false;
    before = threads_now();
    if (pthread_create(&watcher, NULL, watch_threads, &w) != 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "no thread");
        return false;
    }
    ok = load_drive(engine, l, &r->load, why);
    atomic_store(&w.stop, true);
    (void)pthread_join(watcher, NULL);
    r->threads = w.most - before - 1; /* the watcher */
    if (ok)
        agent_close(engine);
    return ok;
}

void bench_cold_host(struct bench_run *b)
{
    char url[80];
    struct load l = {.workers = 2, .model = "openai:bench-1", .base_url = url, .no_stream = true, .input = QUESTION,
                     .expect = SERVER_ANSWER, .in_flight = 1000, .runs = 1000};
    struct bench_series *threads = bench_series(b, BENCH_LESS, "", "threads started by %ld runs at once", l.runs);
    struct bench_series *p99 = bench_series(b, BENCH_LESS, "ms", "start to end p99");
    struct server server;

    bench_goal(threads, 8, 0);
    if (!server_start(b, &server))
        return;
    (void)snprintf(url, sizeof(url), "http://" COLD_HOST ":%d/json", server.port);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        struct cold_result r;

        if (!bench_child(b, cold_work, &l, &r, sizeof(r)))
            break;
        bench_add(threads, (double)r.threads);
        bench_add(p99, r.load.p99_us / 1e3);
    }
    server_stop(&server);
    bench_note(b, "2 workers, in memory; the name takes %d ms to resolve", COLD_MS);
}
