/*
 * What measuring costs.
 *
 *     sampler       runs over HTTP with sampling off, at the borders of stages, and every 100, 10, 1 ms
 *                   between them; what the thread burns while one run waits
 *     accounts      runs in memory with and without heap accounts, and with readings at the borders
 *     steady        RSS along 100,000 runs
 *     peaks         what the rows miss of a spike of known size, of VmHWM, and of /usr/bin/time -v
 *
 * An interval of 1 s stands for the borders alone: no round is long enough for more than some samples.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/server.h"

static bool drive_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct load warm = *l;
    struct load_result ignored = {0};
    agent_engine *engine;

    warm.runs = l->runs / 20 + 1;
    if (!load_open(l, &engine, why) || !load_drive(engine, &warm, &ignored, why) || !load_drive(engine, l, out, why))
        return false;
    agent_close(engine);
    return true;
}

/* --- sampler ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int sample_ms;
} ways[] = {
    {"off", 0}, {"borders", 1000}, {"every 100 ms", 100}, {"every 10 ms", 10}, {"every 1 ms", 1},
};
enum { OFF, BORDERS, MS_100, MS_10, MS_1, WAYS };

/* CPU of everything while nothing happens but the sampler: one run waits for its answer. */
static bool idle_work(void *arg, void *out, char *why)
{
    struct load l = *(const struct load *)arg;
    struct load_result r = {0};
    agent_engine *engine;

    l.runs = l.in_flight = 1;
    if (!load_open(&l, &engine, why) || !load_drive(engine, &l, &r, why))
        return false;
    agent_close(engine);
    *(double *)out = r.cpu_s * 100 / r.wall_s;
    return true;
}

void bench_sampler(struct bench_run *b)
{
    struct bench_series *rate[WAYS], *cpu[WAYS], *thread[WAYS], *borders;
    char base_url[80], options[64];
    struct load l = {
        .model = "openai:bench-1", .base_url = base_url, .no_stream = true, .input = "What is the capital of France?",
        .expect = SERVER_ANSWER, .in_flight = 100, .workers = 1, .runs = bench_size(b, 20000, 300),
    };
    struct load idle = {.options = options, .input = "wait", .expect = "done", .workers = 1};
    struct server server;

    (void)snprintf(options, sizeof(options), "{\"answer\":\"done\",\"latency_ms\":%ld}", bench_size(b, 3000, 300));
    for (int w = 0; w < WAYS; w++) {
        rate[w] = bench_series(b, BENCH_MORE, "runs/s", "%s, over HTTP", ways[w].name);
        cpu[w] = bench_series(b, BENCH_LESS, "us", "%s, CPU time per run", ways[w].name);
    }
    for (int w = MS_100; w < WAYS; w++)
        bench_ratio(rate[w], rate[BORDERS], w == MS_1 ? 0 : 0.99);
    bench_ratio(rate[BORDERS], rate[OFF], 0);
    borders = bench_series(b, BENCH_LESS, "us", "readings at the borders, CPU time per run");
    bench_goal(borders, 8, 0);
    for (int w = OFF; w < WAYS; w++)
        thread[w] = bench_series(b, BENCH_LESS, "% of a core", "%s, while one run waits", ways[w].name);
    if (!server_start(b, &server))
        return;
    (void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d/json", server.port);
    for (int round = bench_rounds(b, 7); round > 0; round--) {
        struct load_result out[WAYS];
        int order[WAYS];

        bench_shuffle(b, order, WAYS);
        for (int i = 0; i < WAYS; i++) {
            int w = order[i];
            double percent;

            l.sample_ms = idle.sample_ms = ways[w].sample_ms;
            if (!bench_child(b, drive_work, &l, &out[w], sizeof(out[w])) ||
                !bench_child(b, idle_work, &idle, &percent, sizeof(percent))) {
                server_stop(&server);
                return;
            }
            bench_add(rate[w], (double)out[w].succeeded / out[w].wall_s);
            bench_add(cpu[w], out[w].cpu_s * 1e6 / (double)out[w].succeeded);
            bench_add(thread[w], percent);
        }
        bench_add(borders, (out[BORDERS].cpu_s - out[OFF].cpu_s) * 1e6 / (double)l.runs);
    }
    server_stop(&server);
    bench_note(b, "one worker, 100 runs in flight; borders: an interval of 1 s, so next to no samples between them");
}

/* --- accounts ------------------------------------------------------------------------------------------------ */

void bench_accounts(struct bench_run *b)
{
    enum { NONE, HEAP, BOTH, KINDS };
    static const char *const names[KINDS] = {"neither", "heap accounts", "heap accounts and readings at borders"};
    struct bench_series *rate[KINDS];
    struct load l = {.input = "hello", .expect = "hello", .in_flight = 100, .runs = bench_size(b, 100000, 5000)};

    for (int k = 0; k < KINDS; k++) {
        rate[k] = bench_series(b, BENCH_MORE, "runs/cpu-s", "%s", names[k]);
        if (k != NONE)
            bench_ratio(rate[k], rate[NONE], k == HEAP ? 0.97 : 0);
    }
    for (int round = bench_rounds(b, 9); round > 0; round--) {
        int order[KINDS];

        bench_shuffle(b, order, KINDS);
        for (int i = 0; i < KINDS; i++) {
            struct load_result out;

            l.no_accounts = order[i] == NONE;
            l.sample_ms = order[i] == BOTH ? -1 : 0;
            if (!bench_child(b, drive_work, &l, &out, sizeof(out)))
                return;
            bench_add(rate[order[i]], (double)out.succeeded / out.cpu_s);
        }
    }
    bench_note(b, "store=memory, workers = 0: runs at their fastest, where measuring weighs most");
}

/* --- steady --------------------------------------------------------------------------------------------------- */

enum { POINTS = 21 };

static bool steady_work(void *arg, void *out, char *why)
{
    struct load l = *(const struct load *)arg;
    double *rss = out;
    agent_engine *engine;

    l.runs /= POINTS - 1;
    if (!load_open(&l, &engine, why))
        return false;
    for (int i = 0; i < POINTS; i++) { /* the first stretch warms up */
        struct load_result r = {0};

        if (!load_drive(engine, &l, &r, why))
            return false;
        rss[i] = (double)bench_rss_bytes();
    }
    agent_close(engine);
    return true;
}

void bench_steady(struct bench_run *b)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    struct bench_series *began = bench_series(b, BENCH_NEITHER, "MB", "RSS after the first runs");
    struct bench_series *ended = bench_series(b, BENCH_LESS, "MB", "RSS after all runs");
    struct load l = {.input = "hello", .expect = "hello", .in_flight = 10, .runs = bench_size(b, 100000, 5000),
                     .sample_ms = -1};

    bench_ratio(ended, began, 1.05);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        double rss[POINTS], least = INFINITY, most = 0;
        char drawn[4 * POINTS + 1] = "";

        if (!bench_child(b, steady_work, &l, rss, sizeof(rss)))
            return;
        for (int i = 0; i < POINTS; i++) {
            least = fmin(least, rss[i]);
            most = fmax(most, rss[i]);
        }
        for (int i = 0; i < POINTS; i++)
            strcat(drawn, bars[most > least ? (int)((rss[i] - least) / (most - least) * 7) : 0]);
        bench_add(began, rss[0] / 1e6);
        bench_add(ended, rss[POINTS - 1] / 1e6);
        bench_note(b, "RSS along %ld runs: %s from %.2f to %.2f MB", l.runs, drawn, least / 1e6, most / 1e6);
    }
}

/* --- peaks ----------------------------------------------------------------------------------------------------- */

enum { SPIKE_BYTES = 32 << 20, SPIKES = 10, SPIKE_MS = 20 };

struct peaks {
    double missed[SPIKES]; /* MB of each spike that its run's row does not show; negative: too much */
    double below_kernel;   /* MB, of all rows below VmHWM */
};

static void hold_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

/* Memory that the library knows nothing of, held for a while and given back. */
static agent_status spike(void *ctx, agent_tool_call *call, agent_error *err)
{
    volatile char *p = malloc(SPIKE_BYTES);

    (void)ctx, (void)call, (void)err;
    for (size_t i = 0; p != NULL && i < SPIKE_BYTES; i += 4096)
        p[i] = 1;
    hold_ms(SPIKE_MS);
    free((void *)(uintptr_t)p);
    return AGENT_OK;
}

struct spiked {
    int64_t before, peak;
};

static bool take_spiked(void *ctx, const agent_row *row)
{
    struct spiked *s = ctx;

    s->before = agent_row_int(row, agent_row_find(row, "rss_before_bytes"));
    s->peak = agent_row_int(row, agent_row_find(row, "rss_peak_bytes"));
    return true;
}

static bool peaks_work(void *arg, void *out, char *why)
{
    int interval_ms = *(const int *)arg;
    struct peaks *peaks = out;
    agent_options o = AGENT_OPTIONS_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    agent_tool tool = AGENT_TOOL_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *engine = NULL;
    const char *tool_name = "spike";
    int64_t most = 0;

    o.workers = 1;
    o.sample_interval_ms = interval_ms > 0 ? interval_ms : 1000;
    o.sample_hwm = interval_ms == 0;
    c.model = "offline:demo";
    c.tools = &tool_name;
    c.tool_count = 1;
    tool.name = tool_name;
    tool.call = spike;
    if (agent_open(&o, &engine, &err) != AGENT_OK || agent_tool_register(engine, &tool, &err) != AGENT_OK ||
        agent_create(engine, "bench", &c, AGENT_CREATE_NEW, NULL, &err) != AGENT_OK) {
        (void)snprintf(why, BENCH_WHY_MAX, "%.200s", err.text);
        return false;
    }
    for (int i = 0; i < SPIKES; i++) {
        agent_run_request q = AGENT_RUN_REQUEST_INIT;
        agent_filter f = AGENT_FILTER_INIT;
        const agent_run_result *r = NULL;
        struct spiked s = {0};
        agent_run *run = NULL;

        q.agent = "bench";
        q.input = "/tool spike {}";
        q.input_bytes = strlen(q.input);
        f.name = "tool";
        if (agent_run_start(engine, &q, &run, &err) != AGENT_OK || agent_run_wait(run, 60000, &r, &err) != AGENT_OK ||
            (f.run_id = r->run.id) == 0 ||
            agent_scan(engine, AGENT_VIEW_STAGE_MEMORY, &f, take_spiked, &s, &err) != AGENT_OK || s.peak == 0) {
            (void)snprintf(why, BENCH_WHY_MAX, "spike %d: %.200s", i, err.text);
            return false;
        }
        agent_run_free(run);
        peaks->missed[i] = (double)(s.before + SPIKE_BYTES - s.peak) / 1e6;
        most = s.peak > most ? s.peak : most;
    }
    peaks->below_kernel = (double)(bench_peak_bytes() - most) / 1e6;
    agent_close(engine);
    return true;
}

/* What a person would do: time -v around agentctl run, and the run's own row. */
static bool beside_time(struct bench_run *b, struct bench_series *kb)
{
    static const char told[] = "Maximum resident set size (kbytes): ", printed[] = "\"rss_peak_bytes\":";
    const char *agentctl = bench_opts(b)->agentctl, *at;
    char folder[512], db[544], text[16384];
    const char *make[] = {agentctl, "--db", db, "create", "bench", "-o", "latency_ms=30", "--json", NULL};
    const char *run[] = {"/bin/sh", "-c", "exec /usr/bin/time -v \"$0\" \"$@\" 2>&1", agentctl, "--db", db,
                         "run", "bench", "hello", "--sample-interval", "1ms", NULL};
    const char *ask[] = {agentctl, "--db", db, "list", "runs", "--json", NULL};
    double seen = 0, row = 0;
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(db, sizeof(db), "%s/t.db", folder);
    ok = bench_program(make, text, sizeof(text)) == 0 && bench_program(run, text, sizeof(text)) == 0;
    if (ok && (at = strstr(text, told)) != NULL)
        seen = strtod(at + sizeof(told) - 1, NULL) * 1024;
    ok = ok && bench_program(ask, text, sizeof(text)) == 0;
    if (ok && (at = strstr(text, printed)) != NULL)
        row = strtod(at + sizeof(printed) - 1, NULL);
    bench_folder_remove(folder);
    if (!bench_expect(b, ok && row > 0 && seen > 0, "agentctl under /usr/bin/time -v told nothing: %.100s", text))
        return false;
    bench_add(kb, (seen - row) / 1e3);
    return true;
}

void bench_peaks(struct bench_run *b)
{
    static const int intervals[] = {1, 10, 100, 0};
    enum { HOW = 4 };
    struct bench_series *missed[HOW], *below[HOW], *timed;
    const bool has_time = bench_opts(b)->agentctl[0] != '\0' && access("/usr/bin/time", X_OK) == 0;

    for (int i = 0; i < HOW; i++)
        missed[i] = intervals[i] > 0
                        ? bench_series(b, BENCH_LESS, "MB", "every %d ms: missed of 32 MiB held %d ms", intervals[i], SPIKE_MS)
                        : bench_series(b, BENCH_LESS, "MB", "sample_hwm: missed of 32 MiB held %d ms", SPIKE_MS);
    for (int i = 0; i < HOW - 1; i++)
        below[i] = bench_series(b, BENCH_LESS, "MB", "every %d ms: the highest row below VmHWM", intervals[i]);
    timed = has_time ? bench_series(b, BENCH_LESS, "kB", "agentctl run: its row below /usr/bin/time -v") : NULL;
    bench_goal(missed[0], 1, 0);
    bench_goal(missed[HOW - 1], 1, 0);
    for (int round = bench_rounds(b, 5); round > 0; round--) {
        for (int i = 0; i < HOW; i++) {
            int interval = intervals[i];
            struct peaks p;

            if (!bench_child(b, peaks_work, &interval, &p, sizeof(p)))
                return;
            for (int k = 0; k < SPIKES; k++)
                bench_add(missed[i], p.missed[k]);
            if (i < HOW - 1)
                bench_add(below[i], p.below_kernel);
        }
        if (has_time && !beside_time(b, timed))
            return;
    }
    bench_note(b, "a spike shorter than the interval is seen by chance, or with sample_hwm, which spoils VmHWM for others");
    if (!has_time)
        bench_note(b, "there is no /usr/bin/time or no agentctl: not compared");
}
