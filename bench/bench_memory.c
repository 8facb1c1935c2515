/*
 * store=memory: what the engine itself costs, with no disk below it.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/load.h"

/* --- create_memory ------------------------------------------------------------------------------------ */

enum kind { ALONE, WITH_TOOLS, WITH_MEMORY, BARE, KINDS };

static const char *const kind_names[KINDS] = {"alone", "with tools", "with its own memory",
                                              "a bare hash table of the names"};

struct create {
    enum kind kind;
    long agents;
};

struct created {
    double wall_s, cpu_s;
    int64_t rss_bytes, heap_bytes;
};

#define NAME_BYTES 32

/* The floor: a name is looked for, copied and put into a table that doubles when it is half full. No
 * checks, no rows, no clock, no lock. */
static bool bare_work(const struct create *w, const char *names, struct created *made, char *why)
{
    struct slot {
        uint64_t hash;
        const char *name;
    } *slots = calloc(16, sizeof(*slots));
    char *copies = malloc((size_t)w->agents * 16), *at = copies;
    uint64_t mask = 15;
    int64_t began_ns = bench_now_ns(), rss = bench_rss_bytes(), heap = bench_heap_bytes();
    double cpu = bench_cpu_s();

    for (long i = 0; i < w->agents && slots != NULL && copies != NULL; i++) {
        const char *name = names + i * NAME_BYTES;
        size_t bytes = strlen(name) + 1;
        uint64_t hash = 0x9e3779b97f4a7c15u, k;

        for (size_t b = 0; b < bytes; b++)
            hash = (hash ^ (unsigned char)name[b]) * 0x100000001b3u;
        hash ^= hash >> 29;
        if ((uint64_t)i * 2 > mask) {
            struct slot *more = calloc(2 * (mask + 1), sizeof(*more));

            for (uint64_t s = 0; more != NULL && s <= mask; s++)
                if (slots[s].name != NULL) {
                    for (k = slots[s].hash & (2 * mask + 1); more[k].name != NULL; k = (k + 1) & (2 * mask + 1)) {
                    }
                    more[k] = slots[s];
                }
            free(slots);
            slots = more;
            mask = 2 * mask + 1;
            if (more == NULL)
                break;
        }
        for (k = hash & mask; slots[k].name != NULL; k = (k + 1) & mask)
            if (slots[k].hash == hash && strcmp(slots[k].name, name) == 0)
                break;
        slots[k] = (struct slot){hash, memcpy(at, name, bytes)};
        at += bytes;
    }
    made->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    made->cpu_s = bench_cpu_s() - cpu;
    made->rss_bytes = bench_rss_bytes() - rss;
    made->heap_bytes = bench_heap_bytes() - heap;
    if (slots == NULL || copies == NULL)
        (void)snprintf(why, BENCH_WHY_MAX, "out of memory");
    free(copies);
    free(slots);
    return slots != NULL && copies != NULL;
}

static bool create_work(void *arg, void *out, char *why)
{
    static const char *const tools[] = {"calc", "now"};
    const struct create *w = arg;
    struct created *made = out;
    struct load l = {.workers = 0};
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *engine;
    int64_t began_ns, rss, heap, count;
    char *names = malloc((size_t)w->agents * NAME_BYTES);
    double cpu;

    if (names == NULL)
        return false;
    for (long i = 0; i < w->agents; i++)
        (void)snprintf(names + i * NAME_BYTES, NAME_BYTES, "agent%ld", i);
    if (w->kind == BARE) {
        bool ok = bare_work(w, names, made, why);

        free(names);
        return ok;
    }
    if (!load_open(&l, &engine, why))
        return false;
    c.instructions = "You answer in one short sentence.";
    if (w->kind == WITH_TOOLS) {
        c.tools = tools;
        c.tool_count = 2;
    }
    rss = bench_rss_bytes();
    heap = bench_heap_bytes();
    cpu = bench_cpu_s();
    began_ns = bench_now_ns();
    for (long i = 0; i < w->agents; i++) {
        const char *name = names + i * NAME_BYTES;

        if (agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) != AGENT_OK ||
            (w->kind == WITH_MEMORY &&
             agent_memory_set(engine, name, NULL, "likes", "tea with milk", NULL, &err) != AGENT_OK)) {
            (void)snprintf(why, BENCH_WHY_MAX, "agent '%s': %.400s", name, err.text);
            return false;
        }
    }
    made->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    made->cpu_s = bench_cpu_s() - cpu;
    made->rss_bytes = bench_rss_bytes() - rss;
    made->heap_bytes = bench_heap_bytes() - heap;
    if (!load_count(engine, w->kind == WITH_MEMORY ? AGENT_VIEW_MEMORY : AGENT_VIEW_AGENTS, NULL, &count, why))
        return false;
    if (count != w->agents + (w->kind != WITH_MEMORY)) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld rows of %ld are there", (long long)count, w->agents);
        return false;
    }
    agent_close(engine);
    free(names);
    return true;
}

void bench_create_memory(struct bench_run *b)
{
    struct bench_series *wall[KINDS], *cpu[KINDS], *rss[KINDS], *heap[KINDS];
    struct create w = {.agents = bench_size(b, 200000, 20000)};
    int order[KINDS];

    for (int k = 0; k < KINDS; k++) {
        wall[k] = bench_series(b, BENCH_LESS, "ns", "%s", kind_names[k]);
        cpu[k] = bench_series(b, BENCH_LESS, "ns", "%s, CPU time", kind_names[k]);
        rss[k] = bench_series(b, BENCH_LESS, "bytes", "%s, resident", kind_names[k]);
        heap[k] = bench_series(b, BENCH_LESS, "bytes", "%s, heap", kind_names[k]);
        if (k == WITH_TOOLS || k == WITH_MEMORY) {
            bench_ratio(wall[k], wall[ALONE], 0);
            bench_ratio(rss[k], rss[ALONE], 0);
        }
    }
    bench_ratio(wall[ALONE], wall[BARE], 0);
    bench_goal(wall[ALONE], 100, 60);
    bench_goal(rss[ALONE], 400, 256);
    for (int round = bench_rounds(b, 5); round > 0; round--) {
        bench_shuffle(b, order, KINDS);
        for (int i = 0; i < KINDS; i++) {
            struct created made;
            int k = order[i];
            double n = (double)w.agents;

            w.kind = (enum kind)k;
            if (!bench_child(b, create_work, &w, &made, sizeof(made)))
                return;
            bench_add(wall[k], made.wall_s * 1e9 / n);
            bench_add(cpu[k], made.cpu_s * 1e9 / n);
            bench_add(rss[k], (double)made.rss_bytes / n);
            bench_add(heap[k], (double)made.heap_bytes / n);
        }
    }
    bench_note(b, "%ld agents a round; resident: growth of RSS over all of them, divided", w.agents);
}

/* --- run_memory and run_tool_memory ---------------------------------------------------------------------- */

static bool run_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    agent_engine *engine;
    struct load warm = *l;
    struct load_result ignored = {0};
    int64_t count;

    warm.runs = l->runs / 20 + 1;
    if (!load_open(l, &engine, why) || !load_drive(engine, &warm, &ignored, why) || !load_drive(engine, l, out, why) ||
        !load_runs(engine, &count, why))
        return false;
    if (count != l->runs + warm.runs) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld runs of %ld are counted", (long long)count, l->runs + warm.runs);
        return false;
    }
    agent_close(engine);
    return true;
}

static void measure_runs(struct bench_run *b, struct load l, double target, double aim)
{
    static const int in_flight[] = {1, 1000};
    struct bench_series *rate[2], *cpu_rate[2], *bytes[2];
    int order[2];

    for (int i = 1; i >= 0; i--) {
        rate[i] = bench_series(b, BENCH_MORE, "runs/s", "%d in flight", in_flight[i]);
        cpu_rate[i] = bench_series(b, BENCH_MORE, "runs/cpu-s", "%d in flight, per second of CPU", in_flight[i]);
        bytes[i] = bench_series(b, BENCH_LESS, "bytes", "%d in flight, kept per run", in_flight[i]);
    }
    bench_goal(rate[1], target, aim);
    bench_goal(cpu_rate[1], target, aim);
    for (int round = bench_rounds(b, 5); round > 0; round--) {
        bench_shuffle(b, order, 2);
        for (int i = 0; i < 2; i++) {
            struct load_result r;

            l.in_flight = in_flight[order[i]];
            if (!bench_child(b, run_work, &l, &r, sizeof(r)))
                return;
            bench_add(rate[order[i]], (double)r.succeeded / r.wall_s);
            bench_add(cpu_rate[order[i]], (double)r.succeeded / r.cpu_s);
            bench_add(bytes[order[i]], (double)r.rss_bytes / (double)r.succeeded);
        }
    }
    bench_note(b, "%ld runs a round, each on a session of its own; workers = 0: one thread does everything", l.runs);
}

void bench_run_memory(struct bench_run *b)
{
    measure_runs(b, (struct load){.input = "hello", .expect = "hello", .runs = bench_size(b, 100000, 5000)}, 200000,
                 1000000);
}

void bench_run_tool_memory(struct bench_run *b)
{
    measure_runs(b,
                 (struct load){.input = "/tool calc {\"expression\":\"17*23\"}", .expect = "391", .tools = true,
                               .runs = bench_size(b, 50000, 2000)},
                 60000, 300000);
}
