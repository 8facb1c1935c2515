/*
 * One engine, and 1 to 16 threads of the host that all want something of it at once.
 *
 *     create   each thread creates agents, each one committed when the call returns
 *     runs     each thread starts a one-step run, waits for its end, and starts the next
 *
 *  (1) Throughput and speed-up over one thread, nothing else: what one call takes is the other
 *      benches' matter.
 *  (2) As much is done in all, whatever the number of threads.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load.h"

enum { COUNTS = 5, THREADS_MOST = 16 };

static const int counts[COUNTS] = {1, 2, 4, 8, THREADS_MOST};

enum what { CREATE_MEMORY, CREATE_FILE, RUN_MEMORY, RUN_FILE, WHATS };

static const struct {
    const char *name, *unit;
    bool runs, file;
    long full, quick;
} whats[WHATS] = {
    [CREATE_MEMORY] = {"agents in memory", "agents/s", false, false, 60000, 3200},
    [CREATE_FILE] = {"agents in a file, FULL", "agents/s", false, true, 4000, 160},
    [RUN_MEMORY] = {"runs in memory", "runs/s", true, false, 40000, 1600},
    [RUN_FILE] = {"runs in a file, FULL", "runs/s", true, true, 3000, 160},
};

struct scaling {
    enum what what;
    const char *path;
    int threads;
    long count; /* in all */
};

struct scaling_result {
    double wall_s, cpu_s;
};

struct hand {
    const struct scaling *work;
    const struct load *load;
    agent_engine *engine;
    pthread_barrier_t *start;
    long first, end;
    char why[BENCH_WHY_MAX]; /* "": all was right */
};

static bool create_one(struct hand *h, long i)
{
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char name[32];

    c.instructions = "You answer in one short sentence.";
    (void)snprintf(name, sizeof(name), "agent%ld", i);
    if (agent_create(h->engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK)
        return true;
    (void)snprintf(h->why, sizeof(h->why), "create: %.400s", err.text);
    return false;
}

static void *hand_thread(void *arg)
{
    struct hand *h = arg;

    (void)pthread_barrier_wait(h->start);
    for (long i = h->first; i < h->end; i++)
        if (!(whats[h->work->what].runs ? load_turn(h->engine, h->load, h->why) : create_one(h, i)))
            break;
    return NULL;
}

static bool scaling_work(void *arg, void *out, char *why)
{
    const struct scaling *w = arg;
    struct scaling_result *r = out;
    struct load l = {.path = w->path, .workers = 2, .input = "hello", .expect = "hello"};
    struct hand hands[THREADS_MOST];
    pthread_t threads[THREADS_MOST];
    pthread_barrier_t start;
    int64_t began_ns, found;
    double cpu;
    bool ok;

    if (!load_open(&l, &hands[0].engine, why) || !load_turn(hands[0].engine, &l, why))
        return false;
    (void)pthread_barrier_init(&start, NULL, (unsigned)w->threads + 1);
    for (int i = 0; i < w->threads; i++) {
        hands[i] = (struct hand){.work = w, .load = &l, .engine = hands[0].engine, .start = &start,
                                 .first = w->count * i / w->threads, .end = w->count * (i + 1) / w->threads};
        if (pthread_create(&threads[i], NULL, hand_thread, &hands[i]) != 0) {
            (void)snprintf(why, BENCH_WHY_MAX, "no thread can be started");
            return false;
        }
    }
    cpu = bench_cpu_s();
    (void)pthread_barrier_wait(&start);
    began_ns = bench_now_ns();
    for (int i = 0; i < w->threads; i++)
        (void)pthread_join(threads[i], NULL);
    r->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    r->cpu_s = bench_cpu_s() - cpu;
    for (int i = 0; i < w->threads; i++)
        if (hands[i].why[0] != '\0') {
            (void)snprintf(why, BENCH_WHY_MAX, "%s", hands[i].why);
            return false;
        }
    ok = whats[w->what].runs ? load_runs(hands[0].engine, &found, why)
                             : load_count(hands[0].engine, AGENT_VIEW_AGENTS, NULL, &found, why);
    if (ok && found != w->count + 1) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld of %ld %s are there", (long long)found, w->count + 1, whats[w->what].name);
        ok = false;
    }
    agent_close(hands[0].engine);
    (void)pthread_barrier_destroy(&start);
    return ok;
}

static bool measure(struct bench_run *b, enum what what, int threads, struct scaling_result *out)
{
    struct scaling w = {.what = what, .threads = threads, .count = bench_size(b, whats[what].full, whats[what].quick)};
    char folder[400], path[450];
    bool ok;

    if (!whats[what].file)
        return bench_child(b, scaling_work, &w, out, sizeof(*out));
    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
    w.path = path;
    ok = bench_child(b, scaling_work, &w, out, sizeof(*out));
    bench_folder_remove(folder);
    return ok;
}

void bench_scaling(struct bench_run *b)
{
    struct bench_series *rate[WHATS][COUNTS];

    for (int k = 0; k < WHATS; k++)
        for (int t = 0; t < COUNTS; t++) {
            rate[k][t] = bench_series(b, BENCH_MORE, whats[k].unit, "%s, %d thread%s", whats[k].name, counts[t],
                                      counts[t] > 1 ? "s" : "");
            if (t > 0)
                bench_ratio(rate[k][t], rate[k][0], 0);
        }
    for (int round = bench_rounds(b, 3); round > 0; round--)
        for (int k = 0; k < WHATS; k++) {
            int order[COUNTS];

            bench_shuffle(b, order, COUNTS);
            for (int i = 0; i < COUNTS; i++) {
                struct scaling_result r;
                int t = order[i];

                if (!measure(b, (enum what)k, counts[t], &r))
                    return;
                bench_add(rate[k][t], (double)bench_size(b, whats[k].full, whats[k].quick) / r.wall_s);
            }
        }
    bench_note(b, "2 workers; a thread has one call or one run out at a time; a ratio is the speed-up over one thread");
}
