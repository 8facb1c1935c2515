/*
 * Runs in a file. Each round: the engine makes a file; bare SQLite then writes the rows of that
 * very file into an empty one, in batches of the size that the engine's commits had on average, and
 * once more with one commit for each run and one for each unit.
 */
#include <pthread.h>

#include "bench/bare.h"
#include "bench/load.h"

/* --- create_durable -------------------------------------------------------------------------------------- */

#define THREADS 64

struct create {
    const char *path;
    long agents;
    int threads;
};

struct created {
    double wall_s, commits;
};

struct creator {
    agent_engine *engine;
    long first, count;
    agent_error err;
};

static void *create_some(void *arg)
{
    struct creator *c = arg;
    agent_config config = AGENT_CONFIG_INIT;
    char name[32];

    config.instructions = "You answer in one short sentence.";
    for (long i = c->first; i < c->first + c->count && c->err.status == AGENT_OK; i++) {
        (void)snprintf(name, sizeof(name), "agent%ld", i);
        (void)agent_create(c->engine, name, &config, AGENT_CREATE_NEW, NULL, &c->err);
    }
    return NULL;
}

static bool create_work(void *arg, void *out, char *why)
{
    const struct create *w = arg;
    struct created *made = out;
    struct load l = {.path = w->path, .workers = 1};
    struct creator creators[THREADS] = {{NULL, 0, 0, AGENT_ERROR_INIT}};
    pthread_t threads[THREADS];
    agent_engine *engine;
    struct watch watch;
    int64_t began_ns, count;
    int started = 0;
    bool ok = true;

    if (!load_open(&l, &engine, why) || !watch_open(&watch, w->path, why))
        return false;
    began_ns = bench_now_ns();
    for (int i = 0; i < w->threads; i++) {
        creators[i] = (struct creator){engine, w->agents * i / w->threads, w->agents * (i + 1) / w->threads, AGENT_ERROR_INIT};
        creators[i].count -= creators[i].first;
        if (w->threads > 1)
            started += pthread_create(&threads[i], NULL, create_some, &creators[i]) == 0;
        else
            (void)create_some(&creators[i]);
    }
    for (int i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    made->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    made->commits = watch_commits(&watch);
    watch_close(&watch);
    for (int i = 0; i < w->threads && ok; i++)
        if (creators[i].err.status != AGENT_OK) {
            (void)snprintf(why, BENCH_WHY_MAX, "%.500s", creators[i].err.text);
            ok = false;
        }
    if (ok && !load_count(engine, AGENT_VIEW_AGENTS, NULL, &count, why))
        ok = false;
    if (ok && count != w->agents + 1) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld agents of %ld are there", (long long)count, w->agents + 1);
        ok = false;
    }
    agent_close(engine);
    return ok;
}

void bench_create_durable(struct bench_run *b)
{
    struct create one = {.agents = bench_size(b, 2000, 50), .threads = 1},
                  many = {.agents = bench_size(b, 10000, 640), .threads = THREADS};
    struct bench_series *rate[2], *batch;
    char folder[400], path[450];

    rate[0] = bench_series(b, BENCH_MORE, "agents/s", "FULL, one thread");
    rate[1] = bench_series(b, BENCH_MORE, "agents/s", "FULL, %d threads", THREADS);
    batch = bench_series(b, BENCH_NEITHER, "agents", "in one commit, %d threads", THREADS);
    bench_ratio(rate[1], rate[0], 0);
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        int order[2];

        bench_shuffle(b, order, 2);
        for (int i = 0; i < 2; i++) {
            struct create *w = order[i] == 0 ? &one : &many;
            struct created made;
            bool ok;

            if (!bench_folder(b, folder, sizeof(folder)))
                return;
            (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
            w->path = path;
            ok = bench_child(b, create_work, w, &made, sizeof(made));
            bench_folder_remove(folder);
            if (!ok)
                return;
            bench_add(rate[order[i]], (double)w->agents / made.wall_s);
            if (order[i] == 1)
                bench_add(batch, (double)w->agents / made.commits);
        }
    }
}

/* --- durable ------------------------------------------------------------------------------------------------ */

struct durable_result {
    struct load_result load;
    double commits, units;
};

static bool drive_work(void *arg, void *out, char *why)
{
    const struct load *l = arg;
    struct durable_result *r = out;
    agent_engine *engine;
    struct watch watch;
    int64_t runs;
    bool ok;

    if (!load_open(l, &engine, why) || !watch_open(&watch, l->path, why))
        return false;
    ok = load_drive(engine, l, &r->load, why);
    r->commits = watch_commits(&watch);
    watch_close(&watch);
    ok = ok && load_count(engine, AGENT_VIEW_RUNS, "succeeded", &runs, why);
    if (ok && runs != l->runs) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld runs of %ld have succeeded", (long long)runs, l->runs);
        ok = false;
    }
    if (ok) /* a failed one may have runs under way, whose handles are out */
        agent_close(engine);
    return ok;
}

static bool empty_work(void *arg, void *out, char *why)
{
    struct load l = {.path = arg};
    agent_engine *engine;

    (void)out;
    if (!load_open(&l, &engine, why))
        return false;
    agent_close(engine);
    return true;
}

static bool bare_work(void *arg, void *out, char *why)
{
    return bare_write(arg, out, why);
}

/* Writes the rows of `from` once more, bare: all of them, or those of the first `most` runs. */
static bool measure_bare(struct bench_run *b, const char *folder, const char *from, double batch, int in_flight,
                         long most, struct bare_result *out)
{
    char to[450];
    char nothing;
    struct bare w = {.from = from, .to = to, .batch = batch, .in_flight = in_flight, .most = most};
    bool ok;

    (void)snprintf(to, sizeof(to), "%s/bare.db", folder);
    ok = bench_child(b, empty_work, to, &nothing, 1) && bench_child(b, bare_work, &w, out, sizeof(*out));
    for (const char *const *end = (const char *const[]){"", "-wal", "-shm", "-owners", NULL}; *end != NULL; end++) {
        char name[480];

        (void)snprintf(name, sizeof(name), "%s%s", to, *end);
        (void)remove(name);
    }
    return ok;
}

#define SINGLE_RUNS 1000 /* as many as one commit each need to be measured */

enum way { FULL_1, FULL_2, NORMAL_1, WAYS };

static const struct {
    const char *name;
    int workers, durability;
} ways[WAYS] = {
    [FULL_1] = {"FULL", 1, AGENT_DURABILITY_POWER},
    [FULL_2] = {"FULL, 2 workers", 2, AGENT_DURABILITY_POWER},
    [NORMAL_1] = {"NORMAL", 1, AGENT_DURABILITY_PROCESS},
};

#define LOADS_MAX 4

struct grid {
    struct load load;
    int count;
    int in_flight[LOADS_MAX];
    long runs[LOADS_MAX];
    int units; /* of a run */
};

struct grid_series {
    struct bench_series *rate[WAYS], *flush, *p50, *p99, *batch, *cpu, *bare, *bare_run, *bare_unit;
};

static bool measure_way(struct bench_run *b, const struct grid *g, int load, enum way way, struct grid_series *s)
{
    char folder[400], path[450];
    struct load l = g->load;
    struct durable_result r;
    double batch;
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/engine.db", folder);
    l.path = path;
    l.workers = ways[way].workers;
    l.durability = ways[way].durability;
    l.in_flight = g->in_flight[load];
    l.runs = g->runs[load];
    ok = bench_child(b, drive_work, &l, &r, sizeof(r));
    if (ok) {
        bench_add(s->rate[way], (double)l.runs / r.load.wall_s);
        batch = (double)l.runs * g->units / r.commits;
        if (way == FULL_1) {
            struct bare_result bare, by_run, by_unit;

            bench_add(s->flush, bench_flush_us(folder));
            bench_add(s->p50, r.load.p50_us / 1e3);
            bench_add(s->p99, r.load.p99_us / 1e3);
            bench_add(s->batch, batch);
            bench_add(s->cpu, r.load.cpu_s * 1e6 / (double)l.runs);
            ok = measure_bare(b, folder, path, batch < 1 ? 1 : batch, l.in_flight, 0, &bare) &&
                 measure_bare(b, folder, path, 0, 1, SINGLE_RUNS, &by_run) &&
                 measure_bare(b, folder, path, 1, 1, SINGLE_RUNS, &by_unit);
            if (ok) {
                bench_add(s->bare, (double)bare.runs / bare.wall_s);
                bench_add(s->bare_run, (double)by_run.runs / by_run.wall_s);
                bench_add(s->bare_unit, (double)by_unit.runs / by_unit.wall_s);
            }
        }
    }
    bench_folder_remove(folder);
    return ok;
}

static void measure_grid(struct bench_run *b, const struct grid *g, int rounds)
{
    struct grid_series s[LOADS_MAX];

    for (int i = 0; i < g->count; i++) {
        int m = g->in_flight[i];
        bool many = m >= 64;

        for (int way = 0; way < WAYS; way++)
            s[i].rate[way] = bench_series(b, BENCH_MORE, "runs/s", "%s, %d in flight", ways[way].name, m);
        s[i].bare = bench_series(b, BENCH_MORE, "runs/s", "bare SQLite, the same batches (%d)", m);
        s[i].bare_run = bench_series(b, BENCH_MORE, "runs/s", "bare SQLite, a commit per run (%d)", m);
        s[i].bare_unit = bench_series(b, BENCH_MORE, "runs/s", "bare SQLite, a commit per unit (%d)", m);
        s[i].batch = bench_series(b, BENCH_NEITHER, "units", "FULL, in one commit (%d)", m);
        s[i].flush = bench_series(b, BENCH_NEITHER, "us", "the disk: 4 KB and fdatasync (%d)", m);
        s[i].cpu = bench_series(b, BENCH_LESS, "us", "FULL, CPU time per run (%d)", m);
        s[i].p50 = bench_series(b, BENCH_LESS, "ms", "FULL, start to end p50 (%d)", m);
        s[i].p99 = bench_series(b, BENCH_LESS, "ms", "FULL, start to end p99 (%d)", m);
        for (int way = FULL_1; way <= FULL_2; way++) {
            bench_ratio(s[i].rate[way], s[i].bare, many ? 0.7 : 0);
            bench_ratio(s[i].rate[way], s[i].bare_run, many ? 5 : 0);
            bench_ratio(s[i].rate[way], s[i].bare_unit, 0);
            bench_ratio(s[i].rate[way], s[i].rate[NORMAL_1], many ? 0.85 : 0);
        }
    }
    while (rounds-- > 0) {
        int loads[LOADS_MAX], order[WAYS];

        bench_shuffle(b, loads, g->count);
        for (int i = 0; i < g->count; i++) {
            bench_shuffle(b, order, WAYS);
            for (int k = 0; k < WAYS; k++)
                if (!measure_way(b, g, loads[i], (enum way)order[k], &s[loads[i]]))
                    return;
        }
    }
    bench_note(b, "each run has a session of its own; %d units of rows a run; bare SQLite writes the rows of the engine's "
                  "FULL file again, and both files are compared", g->units);
}

void bench_durable(struct bench_run *b)
{
    struct grid g = {
        .load = {.input = "What is the capital of France, and since when?", .expect = "capital of France"},
        .count = 4,
        .in_flight = {1, 8, 64, 128},
        .runs = {bench_size(b, 300, 20), bench_size(b, 1500, 80), bench_size(b, 6000, 320), bench_size(b, 6000, 640)},
        .units = 2,
    };

    measure_grid(b, &g, bench_rounds(b, 5));
}

void bench_run_tool_durable(struct bench_run *b)
{
    struct grid g = {
        .load = {.input = "/tool calc {\"expression\":\"17*23\"}", .expect = "391", .tools = true},
        .count = 2,
        .in_flight = {1, 64},
        .runs = {bench_size(b, 300, 20), bench_size(b, 4000, 320)},
        .units = 4,
    };

    measure_grid(b, &g, bench_rounds(b, 3));
}

/* --- durable25 ------------------------------------------------------------------------------------------------ */

#define TURNS 25

struct turns_result {
    double open_ms, wall_ms, cpu_ms, commits;
};

static bool turns_work(void *arg, void *out, char *why)
{
    struct load *l = arg;
    struct turns_result *r = out;
    agent_engine *engine;
    struct watch watch;
    int64_t began_ns = bench_now_ns(), messages;
    char input[64];
    double cpu;
    bool ok = true;

    if (!load_open(l, &engine, why))
        return false;
    r->open_ms = (double)(bench_now_ns() - began_ns) / 1e6;
    if (!watch_open(&watch, l->path, why))
        return false;
    l->input = l->expect = input;
    cpu = bench_cpu_s();
    began_ns = bench_now_ns();
    for (int i = 0; i < TURNS && ok; i++) {
        (void)snprintf(input, sizeof(input), "and what comes after %d?", i);
        ok = load_turn(engine, l, why);
    }
    r->wall_ms = (double)(bench_now_ns() - began_ns) / 1e6;
    r->cpu_ms = (bench_cpu_s() - cpu) * 1e3;
    r->commits = watch_commits(&watch);
    watch_close(&watch);
    ok = ok && load_count(engine, AGENT_VIEW_MESSAGES, NULL, &messages, why);
    if (ok && messages != 2 * TURNS) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld messages where %d turns leave %d", (long long)messages, TURNS, 2 * TURNS);
        ok = false;
    }
    agent_close(engine);
    return ok;
}

void bench_durable25(struct bench_run *b)
{
    static const char *const names[2] = {"a turn, workers = 0", "a turn, 1 worker"};
    struct bench_series *turn[2], *cpu[2], *commits[2], *open_ms, *bare, *bare_turn;
    char folder[400], path[450];

    for (int i = 0; i < 2; i++) {
        turn[i] = bench_series(b, BENCH_LESS, "ms", "%s", names[i]);
        cpu[i] = bench_series(b, BENCH_LESS, "ms", "%s, CPU time", names[i]);
        commits[i] = bench_series(b, BENCH_LESS, "commits", "%s", names[i]);
        bench_goal(commits[i], 2, 0);
    }
    open_ms = bench_series(b, BENCH_LESS, "ms", "open a new file, create the agent");
    bare = bench_series(b, BENCH_LESS, "ms", "bare SQLite, the same rows, 2 commits");
    bare_turn = bench_series(b, BENCH_LESS, "ms", "bare SQLite, the same rows, 1 commit");
    for (int i = 0; i < 2; i++) {
        bench_ratio(turn[i], bare, 3);
        bench_ratio(turn[i], bare_turn, 0);
    }
    for (int round = bench_rounds(b, 9); round > 0; round--) {
        int order[2];
        bool ok = true;

        bench_shuffle(b, order, 2);
        for (int i = 0; i < 2 && ok; i++) {
            struct load l = {.workers = order[i], .session = "s"};
            struct turns_result r;
            struct bare_result by_unit, by_run;

            if (!bench_folder(b, folder, sizeof(folder)))
                return;
            (void)snprintf(path, sizeof(path), "%s/engine.db", folder);
            l.path = path;
            ok = bench_child(b, turns_work, &l, &r, sizeof(r));
            if (ok) {
                bench_add(turn[order[i]], r.wall_ms / TURNS);
                bench_add(cpu[order[i]], r.cpu_ms / TURNS);
                bench_add(commits[order[i]], r.commits / TURNS);
            }
            if (ok && order[i] == 0) {
                bench_add(open_ms, r.open_ms);
                ok = measure_bare(b, folder, path, 1, 1, 0, &by_unit) &&
                     measure_bare(b, folder, path, 0, 1, 0, &by_run);
                if (ok) {
                    bench_add(bare, by_unit.wall_s * 1e3 / TURNS);
                    bench_add(bare_turn, by_run.wall_s * 1e3 / TURNS);
                }
            }
            bench_folder_remove(folder);
        }
        if (!ok)
            return;
    }
    bench_note(b, "%d turns of one session with its history, FULL; commits are counted in the wal-index", TURNS);
}

/* --- flat ------------------------------------------------------------------------------------------------------ */

enum { POINTS = 3 };

struct flat {
    struct load load;
    long at[POINTS]; /* turns */
    long near, wide; /* turns that are measured there: frames, and bytes with the checkpoints among them */
};

struct flat_result {
    struct flat_point {
        double wal_bytes, wchar, write_bytes, cpu_us, file_bytes;
    } point[POINTS];
};

/* A frame is a page and its header of 24 bytes. */
#define FRAME_BYTES (4096.0 + 24.0)

static bool flat_work(void *arg, void *out, char *why)
{
    struct flat *f = arg;
    struct flat_result *r = out;
    agent_engine *engine;
    struct watch watch;
    char input[64];
    long turn = 1;
    bool ok = true;

    if (!load_open(&f->load, &engine, why) || !watch_open(&watch, f->load.path, why))
        return false;
    f->load.input = f->load.expect = input;
    for (int p = 0; p < POINTS && ok; p++) {
        struct flat_point *point = &r->point[p];
        struct bench_io io = {0}, after;
        double cpu = 0, frames = 0;
        int64_t file = 0;

        for (long end = f->at[p] + f->wide; turn < end && ok; turn++) {
            if (turn == f->at[p]) {
                io = bench_io_now();
                file = bench_file_bytes(f->load.path);
                cpu = bench_cpu_s();
                (void)watch_frames(&watch);
            }
            (void)snprintf(input, sizeof(input), "and what comes after %06ld?", turn);
            ok = load_turn(engine, &f->load, why);
            if (turn >= f->at[p] && turn < f->at[p] + f->near)
                frames += watch_frames(&watch);
        }
        after = bench_io_now();
        point->wal_bytes = frames * FRAME_BYTES / (double)f->near;
        point->wchar = (double)(after.wchar - io.wchar) / (double)f->wide;
        point->write_bytes = (double)(after.write_bytes - io.write_bytes) / (double)f->wide;
        point->cpu_us = (bench_cpu_s() - cpu) * 1e6 / (double)f->wide;
        point->file_bytes = (double)(bench_file_bytes(f->load.path) - file) / (double)f->wide;
    }
    watch_close(&watch);
    if (ok)
        agent_close(engine);
    return ok;
}

void bench_flat(struct bench_run *b)
{
    struct flat f = {
        .load = {.workers = 0, .session = "s", .options = "{\"history_messages\":8}"},
        .at = {10, bench_size(b, 1000, 50), bench_size(b, 10000, 200)},
        .near = 20,
        .wide = bench_size(b, 400, 30),
    };
    struct bench_series *wal[POINTS], *handed[POINTS], *disk[POINTS], *cpu[POINTS];
    char folder[400], path[450];

    for (int p = 0; p < POINTS; p++) {
        wal[p] = bench_series(b, BENCH_LESS, "bytes", "WAL, turn %ld", f.at[p]);
        handed[p] = bench_series(b, BENCH_LESS, "bytes", "written (wchar), turn %ld", f.at[p]);
        disk[p] = bench_series(b, BENCH_LESS, "bytes", "to the disk (write_bytes), turn %ld", f.at[p]);
        cpu[p] = bench_series(b, BENCH_LESS, "us", "CPU time, turn %ld", f.at[p]);
        if (p > 0) {
            bench_ratio(wal[p], wal[0], 1.25);
            bench_ratio(handed[p], handed[0], 1.25);
            bench_ratio(disk[p], disk[0], 0);
            bench_ratio(cpu[p], cpu[0], 0);
        }
    }
    for (int round = bench_rounds(b, 2); round > 0; round--) {
        struct flat_result r;
        bool ok;

        if (!bench_folder(b, folder, sizeof(folder)))
            return;
        (void)snprintf(path, sizeof(path), "%s/engine.db", folder);
        f.load.path = path;
        ok = bench_child(b, flat_work, &f, &r, sizeof(r));
        bench_folder_remove(folder);
        if (!ok)
            return;
        for (int p = 0; p < POINTS; p++) {
            bench_add(wal[p], r.point[p].wal_bytes);
            bench_add(handed[p], r.point[p].wchar);
            bench_add(disk[p], r.point[p].write_bytes);
            bench_add(cpu[p], r.point[p].cpu_us);
        }
    }
    bench_note(b, "a turn: the mean of the %ld turns from there on (WAL: frames of the wal-index), of %ld with the "
                  "checkpoints among them (written, CPU); the window is 8 messages, so it is full at turn 10",
               f.near, f.wide);
}
