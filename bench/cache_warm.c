/*
 * Would a warm start pay? The keys of the hottest entries, kept at close and loaded again at open.
 *
 *     short run     one turn of a new process: how many loads, and what part of its time they are
 *     service       a restart with many agents, asked for by Zipf: its requests cold, beside the same
 *                   requests after the hottest keys of the life before were loaded
 *
 * The keys come from memory here, so a warm start looks better than it can be: in truth they are
 * written at close and read at open too.
 *
 * Measured (2 busy cores, SQLite 3.40.1, one round): 10,000 agents and 50,000 requests by Zipf took
 * 269.8 ms cold, with 6,899 loads of 37 us; loading those keys first took 254.0 ms and left 10.9 ms to
 * the same requests: 264.9 ms, .98 of it. It saves no load, it only moves them in front of the first
 * request. A short run makes 2 loads, 142 us of 6.7 ms, and needs them with a warm start too. So there
 * is none.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load.h"
#include "bench/traces.h"
#include "engine/catalog.h"

struct warm_work {
    char path[600];
    long agents, requests;
    uint64_t seed;
};

struct warm_result {
    int64_t short_wall_ns, short_load_ns, short_loads;
    int64_t cold_ns, cold_loads;          /* all requests */
    int64_t warm_ns, warm_loads;          /* the same, after */
    int64_t fill_ns, fill_keys;           /* this */
};

static bool told(char *why, const char *what, const agent_error *err)
{
    (void)snprintf(why, BENCH_WHY_MAX, "%s: %.400s", what, err->text);
    return false;
}

static bool open_engine(const struct warm_work *w, int workers, agent_engine **out, char *why)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.path = w->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = workers;
    o.durability = AGENT_DURABILITY_PROCESS;
    o.sample_interval_ms = -1;
    return agent_open(&o, out, &err) == AGENT_OK || told(why, "open", &err);
}

static bool make_agents(const struct warm_work *w, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    char instructions[1200], name[32];
    agent_engine *engine;

    if (!open_engine(w, 0, &engine, why))
        return false;
    memset(instructions, 'x', sizeof(instructions) - 1);
    instructions[sizeof(instructions) - 1] = '\0';
    c.instructions = instructions;
    for (long i = 0; i < w->agents; i++) {
        (void)snprintf(name, sizeof(name), "agent%ld", i);
        if (agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) != AGENT_OK)
            return told(why, name, &err);
    }
    agent_close(engine);
    return true;
}

static bool short_run(const struct warm_work *w, struct warm_result *r, char *why)
{
    struct load l = {.path = w->path, .input = "hello", .expect = "hello"};
    struct ag_cache_stats stats;
    agent_engine *engine;
    int64_t begun;

    if (!load_open(&l, &engine, why)) /* makes its agent: not what is measured */
        return false;
    agent_close(engine);
    begun = bench_now_ns();
    if (!open_engine(w, 0, &engine, why) || !load_turn(engine, &l, why))
        return false;
    ag_cache_stats(engine->cache, &stats);
    agent_close(engine);
    r->short_wall_ns = bench_now_ns() - begun;
    r->short_loads = (int64_t)stats.total.loads;
    r->short_load_ns = (int64_t)stats.total.load_ns;
    return true;
}

static bool get(agent_engine *engine, ag_reader *rows, int64_t version, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    struct ag_agent_obj *agent;
    bool ok;

    if (ag_catalog_agent(engine, rows, version, &agent, &err) != AGENT_OK)
        return told(why, "get", &err);
    ok = agent->rec.version_id == version;
    if (!ok)
        (void)snprintf(why, BENCH_WHY_MAX, "version %lld was asked for", (long long)version);
    ag_value_put(&agent->head);
    return ok;
}

/* One life: what is hot is loaded, requests are made, and what is hot then is told. */
static bool life(const struct warm_work *w, struct ag_cache_hot *hot, size_t fill, size_t *out_hot, int64_t *fill_ns,
                 int64_t *ns, int64_t *loads, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    struct ag_cache_stats stats;
    struct bench_random random;
    agent_engine *engine;
    ag_reader *rows;
    int64_t begun, version;

    bench_random_seed(&random, w->seed);
    if (!open_engine(w, 1, &engine, why))
        return false;
    if (ag_store_reader_open(engine->store, &rows, &err) != AGENT_OK)
        return told(why, "reader", &err);
    begun = bench_now_ns();
    for (size_t i = 0; i < fill; i++) {
        memcpy(&version, hot[i].key, sizeof(version));
        if (!get(engine, rows, version, why))
            return false;
    }
    *fill_ns = bench_now_ns() - begun;
    begun = bench_now_ns();
    for (long i = 0; i < w->requests; i++) /* Zipf of exponent 1: rank is N to the power of u */
        if (!get(engine, rows, (int64_t)pow((double)w->agents, bench_random_unit(&random)), why))
            return false;
    *ns = bench_now_ns() - begun;
    ag_cache_stats(engine->cache, &stats);
    *loads = (int64_t)stats.total.loads - (int64_t)fill;
    if (out_hot != NULL)
        *out_hot = ag_cache_hottest(engine->cache, hot, (size_t)w->agents);
    ag_reader_close(rows);
    agent_close(engine);
    return true;
}

static bool warm_work(void *arg, void *out, char *why)
{
    const struct warm_work *w = arg;
    struct warm_result *r = out;
    struct ag_cache_hot *hot = calloc((size_t)w->agents, sizeof(*hot));
    size_t n = 0, keep = 0;
    int64_t ignored;
    bool ok;

    ok = hot != NULL && make_agents(w, why) && life(w, hot, 0, &n, &ignored, &r->cold_ns, &r->cold_loads, why);
    for (size_t i = 0; i < n; i++)
        if (hot[i].kind == AG_CACHE_AGENT && hot[i].key_bytes == sizeof(int64_t))
            hot[keep++] = hot[i];
    r->fill_keys = (int64_t)keep;
    ok = ok && life(w, hot, 0, NULL, &ignored, &r->cold_ns, &r->cold_loads, why) && /* the kernel has the file by now */
         life(w, hot, keep, NULL, &r->fill_ns, &r->warm_ns, &r->warm_loads, why) && short_run(w, r, why);
    free(hot);
    return ok;
}

void bench_cache_warm(struct bench_run *b)
{
    struct bench_series *cold = bench_series(b, BENCH_LESS, "ms", "service: requests after a cold start");
    struct bench_series *warm = bench_series(b, BENCH_LESS, "ms", "service: warm start and the same requests");
    struct bench_series *fill = bench_series(b, BENCH_LESS, "ms", "service: of it the warm start");
    struct bench_series *load = bench_series(b, BENCH_LESS, "us", "service: a load");
    struct bench_series *whole = bench_series(b, BENCH_LESS, "us", "short run: open, one turn, close");
    struct bench_series *part = bench_series(b, BENCH_LESS, "us", "short run: of it its loads");
    struct warm_work w = {.agents = bench_size(b, 10000, 500), .requests = bench_size(b, 50000, 2500),
                          .seed = bench_opts(b)->seed};
    struct warm_result r = {0};

    bench_ratio(warm, cold, 0);
    bench_ratio(part, whole, 0);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        char folder[512];
        bool ok;

        if (!bench_folder(b, folder, sizeof(folder)))
            return;
        (void)snprintf(w.path, sizeof(w.path), "%s/agent.db", folder);
        ok = bench_child(b, warm_work, &w, &r, sizeof(r));
        bench_folder_remove(folder);
        if (!ok || !bench_expect(b, r.cold_loads > 0 && r.warm_loads < r.cold_loads && r.fill_keys > 0,
                                 "%lld loads cold, %lld warm, %lld keys", (long long)r.cold_loads,
                                 (long long)r.warm_loads, (long long)r.fill_keys))
            return;
        bench_add(cold, (double)r.cold_ns / 1e6);
        bench_add(fill, (double)r.fill_ns / 1e6);
        bench_add(warm, (double)(r.fill_ns + r.warm_ns) / 1e6);
        bench_add(load, (double)r.fill_ns / 1e3 / (double)r.fill_keys);
        bench_add(whole, (double)r.short_wall_ns / 1e3);
        bench_add(part, (double)r.short_load_ns / 1e3);
    }
    bench_note(b, "%ld agents, %ld requests by Zipf: %lld loads cold, %lld after %lld keys were loaded", w.agents, w.requests,
               (long long)r.cold_loads, (long long)r.warm_loads, (long long)r.fill_keys);
    bench_note(b, "a short run makes %lld loads", (long long)r.short_loads);
}
