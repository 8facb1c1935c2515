/*
 * What is kept of the readings with a run: the series between its borders, the parts of the resident
 * set where it began and ended, and what the engine did about memory by itself. A folder of our own
 * stands in for /proc/self where a figure is to be known beforehand.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/engine.h"
#include "tests/account_kit.h"

#define SECOND INT64_C(1000000000)

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

/* --- a /proc of our own ------------------------------------------------------------------------------ */

static void proc_write(const char *name, const char *text)
{
    char file[160];
    int fd;

    (void)snprintf(file, sizeof(file), "%s/%s", dir, name);
    fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    (void)close(fd);
}

static void proc_pages(long pages)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "999999 %9ld 1 1 0 1 0\n", pages); /* of one length: never seen half written */
    proc_write("statm", text);
}

static void proc_peak(long kb)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "Name:\tx\nVmHWM:\t%9ld kB\nVmRSS:\t%9ld kB\n", kb, kb);
    proc_write("status", text);
}

static void proc_make(void)
{
    folder_make();
    proc_write("clear_refs", "");
    proc_write("smaps_rollup", "0-1 ---p 0 00:00 0 [rollup]\nRss:   700 kB\nPss:   300 kB\nPss_Anon: 9 kB\nAnonymous:   100 kB\n");
    proc_pages(100);
    proc_peak(1);
}

static void sampler_open(ag_sampler *s, struct ag_sampler_options o)
{
    o.proc = dir;
    o.clock = &ag_clock_system;
    ag_sampler_open(s, &o);
}

/* --- the series --------------------------------------------------------------------------------------- */

/* With hwm every reading of a border is a sample, so a long series is made at once. Sample i is of time i + 1. */
static void sample(ag_sampler *s, int64_t i, long kb)
{
    proc_peak(kb);
    (void)ag_sampler_read(s, i + 1);
}

START_TEST(a_series_is_short_in_order_and_has_the_lowest_and_the_highest)
{
    enum { COUNT = 70000 };
    static const int marks[] = {0, 1, 3000, COUNT - 4000, COUNT - 257, COUNT - 256, COUNT - 100, COUNT - 2, COUNT - 1};
    static int64_t series[COUNT];
    ag_sampler s;
    uint64_t seed = 11;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1000, .hwm = true});
    ck_assert(s.hwm);
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        series[i] = (int64_t)(seed >> 40) % 1000000 + 1;
        sample(&s, i, (long)series[i]);
        series[i] *= 1024;
    }
    for (size_t m = 0; m < sizeof(marks) / sizeof(marks[0]); m++) {
        struct ag_point points[AG_SERIES_MOST];
        size_t count = ag_sampler_series(&s, (uint64_t)marks[m], points);
        int64_t least = INT64_MAX, most = 0, low = INT64_MAX, high = 0;
        int from = marks[m];

        ck_assert_uint_ge(count, COUNT - from >= AG_SERIES_MOST ? AG_SERIES_MOST / 3 : (size_t)(COUNT - from));
        ck_assert_uint_le(count, AG_SERIES_MOST);
        if (COUNT - from > 4000)
            from = from / 64 * 64; /* by blocks: the first may begin before it */
        for (int i = from; i < COUNT; i++) {
            least = series[i] < least ? series[i] : least;
            most = series[i] > most ? series[i] : most;
        }
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_gt(points[i].at_ns, from);
            ck_assert_int_le(points[i].at_ns, COUNT);
            ck_assert(i == 0 || points[i].at_ns >= points[i - 1].at_ns);
            if (COUNT - marks[m] <= 4000)
                ck_assert_int_eq(points[i].rss_bytes, series[points[i].at_ns - 1]);
            low = points[i].rss_bytes < low ? points[i].rss_bytes : low;
            high = points[i].rss_bytes > high ? points[i].rss_bytes : high;
        }
        ck_assert_int_eq(low, least);
        ck_assert_int_eq(high, most);
    }
    ag_sampler_close(&s);
}
END_TEST

START_TEST(of_a_level_stretch_its_ends_are_kept)
{
    struct ag_point points[AG_SERIES_MOST];
    ag_sampler s;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1000, .hwm = true});
    ck_assert_uint_eq(ag_sampler_series(&s, 0, points), 0);
    for (int i = 0; i < 100; i++)
        sample(&s, i, i < 40 ? 8 : i == 40 ? 16 : 12);
    ck_assert_uint_eq(ag_sampler_series(&s, 0, points), 5);
    for (int i = 0; i < 5; i++) {
        static const int64_t at[] = {1, 40, 41, 42, 100}, kb[] = {8, 8, 16, 12, 12};

        ck_assert_int_eq(points[i].at_ns, at[i]);
        ck_assert_int_eq(points[i].rss_bytes, kb[i] * 1024);
    }
    ck_assert_uint_eq(ag_sampler_series(&s, 100, points), 0);
    ag_sampler_close(&s);
}
END_TEST

/* --- smaps_rollup ------------------------------------------------------------------------------------- */

START_TEST(the_parts_of_the_resident_set_are_read_where_a_run_begins_and_ends_and_not_more_often)
{
    struct ag_smaps got = {0};
    ag_sampler s;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 100});
    ck_assert(!ag_sampler_smaps(&s, AG_BORDER_BEGIN, SECOND, &got)); /* without a budget never */
    ag_sampler_smaps_budget(&s, 1000000);
    ck_assert(ag_sampler_smaps(&s, AG_BORDER_BEGIN, SECOND, &got));
    ck_assert_int_eq(got.pss_kb, 300);
    ck_assert_int_eq(got.anon_kb, 100);
    ck_assert_int_eq(got.file_kb, 600);
    ck_assert_int_gt(got.us, 0);
    ck_assert(!got.is_over && !got.was_over);
    ck_assert(!ag_sampler_smaps(&s, AG_BORDER_BEGIN, SECOND + 1, &got));
    ck_assert(ag_sampler_smaps(&s, AG_BORDER_END, SECOND + 1, &got)); /* each border has its share of the time */
    ck_assert(!ag_sampler_smaps(&s, AG_BORDER_END, SECOND + got.us * 1000 * 1000, &got));
    ck_assert(ag_sampler_smaps(&s, AG_BORDER_END, SECOND + got.us * 1000 * 1000 + 1, &got));
    ag_sampler_close(&s);
}
END_TEST

START_TEST(a_reading_over_the_budget_is_the_last_one_for_a_minute_then_two)
{
    struct ag_smaps got = {0};
    int64_t now = SECOND;
    ag_sampler s;

    ag_sampler_open(&s, &(struct ag_sampler_options){.interval_ms = 100, .clock = &ag_clock_system});
    ck_assert_int_ge(s.smaps, 0);
    ag_sampler_smaps_budget(&s, 1); /* no process is so small */
    for (int i = 0; i < 10; i++) {
        int64_t pause = INT64_C(60) << (i < 6 ? i : 6);

        ck_assert(ag_sampler_smaps(&s, i % 2 == 0 ? AG_BORDER_BEGIN : AG_BORDER_END, now, &got));
        ck_assert(got.is_over && got.was_over == (i > 0));
        ck_assert_int_gt(got.us, 1);
        ck_assert_int_gt(got.pss_kb, 0); /* it was read all the same */
        ck_assert_int_eq(got.pause_s, pause);
        ck_assert(!ag_sampler_smaps(&s, AG_BORDER_BEGIN, now + pause * SECOND - 1, &got));
        ck_assert(!ag_sampler_smaps(&s, AG_BORDER_END, now + pause * SECOND - 1, &got));
        now += pause * SECOND;
    }
    ag_sampler_smaps_budget(&s, INT64_C(60000000));
    ck_assert(ag_sampler_smaps(&s, AG_BORDER_END, now, &got));
    ck_assert(!got.is_over && got.was_over);
    ck_assert(ag_sampler_smaps(&s, AG_BORDER_BEGIN, now, &got));
    ck_assert(!got.is_over && !got.was_over);
    ag_sampler_close(&s);
}
END_TEST

START_TEST(what_is_no_smaps_rollup_is_not_read)
{
    static const char *const texts[] = {"", "Rss: 1 kB\n", "x\nRss: 1 kB\nPss: 1 kB\n"};
    struct ag_smaps got;
    char file[160];
    ag_sampler s;

    (void)snprintf(file, sizeof(file), "%s/smaps_rollup", dir);
    for (size_t i = 0; i <= sizeof(texts) / sizeof(texts[0]); i++) {
        (void)unlink(file);
        if (i < sizeof(texts) / sizeof(texts[0]))
            proc_write("smaps_rollup", texts[i]);
        sampler_open(&s, (struct ag_sampler_options){.interval_ms = 100});
        ag_sampler_smaps_budget(&s, 1000000);
        ck_assert(!ag_sampler_smaps(&s, AG_BORDER_BEGIN, SECOND, &got));
        ck_assert(!ag_sampler_smaps_now(&s, &got));
        ag_sampler_close(&s);
    }
}
END_TEST

/* --- runs ----------------------------------------------------------------------------------------------- */

struct samples {
    int count, rising;
    int64_t least, most;
    char first[32], last[32];
};

static bool take_sample(void *ctx, const agent_row *row)
{
    struct samples *all = ctx;
    int64_t rss = cell_int(row, "rss_bytes");
    char at[32];

    cell_text(row, "at", at, sizeof(at));
    if (all->count == 0)
        (void)snprintf(all->first, sizeof(all->first), "%s", at);
    all->rising += all->count == 0 || strcmp(at, all->last) >= 0;
    (void)snprintf(all->last, sizeof(all->last), "%s", at);
    all->least = all->count == 0 || rss < all->least ? rss : all->least;
    all->most = rss > all->most ? rss : all->most;
    all->count++;
    return true;
}

static struct samples samples_of(int64_t run_id)
{
    struct samples all = {0};
    agent_filter f = AGENT_FILTER_INIT;

    f.run_id = run_id;
    ck_assert_msg(agent_scan(engine, AGENT_VIEW_SAMPLES, &f, take_sample, &all, &err) == AGENT_OK, "%s", err.text);
    return all;
}

/* malloc that the library knows nothing of, held until some samples were taken of it. */
static agent_status take_and_touch(void *ctx, agent_tool_call *call, agent_error *e)
{
    enum { TAKEN = 16 << 20 };
    volatile char *p = malloc(TAKEN);
    uint64_t until;

    (void)ctx;
    (void)call;
    (void)e;
    ck_assert_ptr_nonnull((void *)(uintptr_t)p);
    for (size_t i = 0; i < TAKEN; i += 512)
        p[i] = 1;
    until = ag_sampler_mark(&engine->sampler) + 3;
    for (int i = 0; i < 10000 && ag_sampler_mark(&engine->sampler) < until; i++)
        pause_ms(1);
    free((void *)(uintptr_t)p);
    return AGENT_OK;
}

START_TEST(a_run_longer_than_the_interval_keeps_its_series_and_the_peak_is_in_it)
{
    agent_options o = AGENT_OPTIONS_INIT;
    const struct stage *tool, *last;
    struct samples all;
    struct stages stages;
    int64_t id, most = 0;

    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    o.sample_interval_ms = 5;
    engine_open(o);
    tool_make("take", take_and_touch, NULL);
    agent_make("a", "{\"latency_ms\":60}", "take");
    id = run_end(run_start("a", "/tool take {}"));
    all = samples_of(id);
    stages = stages_of(id);
    tool = stage_in(&stages, "tool");
    last = &stages.at[stages.count - 1];
    ck_assert_int_ge(all.count, 2);
    ck_assert_int_le(all.count, AG_SERIES_MOST);
    ck_assert_int_eq(all.rising, all.count);
    ck_assert_int_gt(all.least, 0);
    for (int i = 0; i < stages.count; i++)
        most = stages.at[i].rss_peak > most ? stages.at[i].rss_peak : most;
    ck_assert_int_le(all.most, most);
    ck_assert_int_ge(all.most, tool->rss_peak); /* equal, where no later stage had more, as one under ASan may */
    ck_assert_str_eq(tool->peak_source, "samples");
    ck_assert_int_ge(strcmp(all.first, stages.at[0].started_at), 0);
    ck_assert_int_le(strncmp(all.last, last->started_at, 19), 0);
    if (!SANITIZED)
        ck_assert_int_gt(all.most - stages.at[0].rss_before, 15 * MB);
}
END_TEST

START_TEST(a_short_run_keeps_its_borders_alone)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.workers = _i;
    o.path = path;
    o.sample_interval_ms = 1000;
    engine_open(o);
    agent_make("a", NULL, NULL);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(samples_of(run_end(run_start("a", "hello"))).count, 0);
}
END_TEST

START_TEST(without_figures_there_is_no_series)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.workers = 1;
    o.path = path;
    o.sample_interval_ms = _i == 0 ? -1 : 1;
    o.proc_path = _i == 0 ? NULL : "/nowhere";
    engine_open(o);
    agent_make("a", "{\"latency_ms\":50}", NULL);
    ck_assert_int_eq(samples_of(run_end(run_start("a", "hello"))).count, 0);
}
END_TEST

START_TEST(a_loop_without_threads_samples_where_it_wakes_up)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.workers = 0;
    o.path = path;
    engine_open(o);
    agent_make("a", "{\"latency_ms\":1000}", NULL);
    ck_assert_int_ge(samples_of(run_end(run_start("a", "hello"))).count, 2);
    ck_assert(!engine->sampler.started);
}
END_TEST

/* --- runs that end otherwise ------------------------------------------------------------------------------- */

struct run_row {
    char status[16];
    double queue_ms, wall_ms;
};

static bool take_run(void *ctx, const agent_row *row)
{
    struct run_row *r = ctx;

    cell_text(row, "status", r->status, sizeof(r->status));
    r->queue_ms = agent_row_real(row, agent_row_find(row, "queue_ms"));
    r->wall_ms = agent_row_real(row, agent_row_find(row, "wall_ms"));
    return true;
}

START_TEST(a_run_that_fails_or_is_cancelled_has_its_rows_too_and_they_add_up)
{
    static const char *const ends[] = {"failed", "cancelled", "failed"};
    static const char *const options[] = {"{\"fail\":500,\"retries\":0,\"latency_ms\":30}", "{\"latency_ms\":60000}",
                                          "{\"latency_ms\":60000,\"timeout_ms\":80}"};
    int how = _i % 3;
    agent_options o = AGENT_OPTIONS_INIT;
    agent_filter f = AGENT_FILTER_INIT;
    const agent_run_result *result = NULL;
    struct run_row row = {.status = ""};
    struct stages stages;
    int64_t sum_us = 0;
    agent_run *run;

    o.workers = _i / 3 % 2;
    o.path = _i / 6 == 0 ? path : NULL;
    o.sample_interval_ms = 2;
    engine_open(o);
    agent_make("a", options[how], NULL);
    run = run_start("a", "hello");
    if (how == 1) { /* not before there is a series of it */
        for (int i = 0; i < 2000 && ag_sampler_mark(&engine->sampler) < 5; i++)
            (void)agent_run_wait(run, 5, &result, &err);
        agent_run_cancel(run);
    }
    ck_assert_int_eq(agent_run_wait(run, 60000, &result, &err), AGENT_OK);
    ck_assert_str_eq(result->status, ends[how]);
    f.run_id = result->run.id;
    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_RUNS, &f, take_run, &row, &err), AGENT_OK);
    ck_assert_str_eq(row.status, ends[how]);
    stages = stages_of(result->run.id);
    ck_assert_int_ge(stages.count, 3); /* queue, reclaim, and what came between */
    ck_assert_str_eq(stages.at[0].name, "queue");
    ck_assert_str_eq(stages.at[stages.count - 1].name, "reclaim");
    for (int i = 0; i < stages.count; i++) {
        ck_assert_int_ge(stages.at[i].wall_us, 0);
        ck_assert_int_gt(stages.at[i].rss_peak, 0);
        ck_assert_int_ge(stages.at[i].heap_peak, 0);
        sum_us += stages.at[i].wall_us;
    }
    ck_assert_int_le(llabs(sum_us - (int64_t)((row.queue_ms + row.wall_ms) * 1000 + 0.5)), 1);
    if (how == 1)
        ck_assert_int_ge(samples_of(result->run.id).count, 2);
    agent_run_free(run);
}
END_TEST

/* --- settings -------------------------------------------------------------------------------------------------- */

struct parts {
    int rows, read;
    int64_t pss, anon, file, us;
    char stages[256];
};

static bool take_parts(void *ctx, const agent_row *row)
{
    struct parts *p = ctx;
    char stage[16];

    p->rows++;
    if (cell_int(row, "pss_bytes") == UNKNOWN)
        return true;
    p->read++;
    p->pss = cell_int(row, "pss_bytes");
    p->anon = cell_int(row, "anon_bytes");
    p->file = cell_int(row, "file_bytes");
    p->us = cell_int(row, "smaps_us");
    cell_text(row, "stage", stage, sizeof(stage));
    strcat(strcat(p->stages, stage), " ");
    return true;
}

static struct parts parts_of(int64_t run_id)
{
    struct parts p = {0};
    agent_filter f = AGENT_FILTER_INIT;

    f.run_id = run_id;
    ck_assert_msg(agent_scan(engine, AGENT_VIEW_STAGE_MEMORY, &f, take_parts, &p, &err) == AGENT_OK, "%s", err.text);
    return p;
}

struct notices {
    int count;
    char lines[1024];
};

static bool take_notice(void *ctx, const agent_row *row)
{
    struct notices *n = ctx;
    char kind[16], text[160];

    n->count++;
    cell_text(row, "kind", kind, sizeof(kind));
    cell_text(row, "text", text, sizeof(text));
    if (strcmp(kind, "pressure") == 0)
        (void)snprintf(n->lines + strlen(n->lines), sizeof(n->lines) - strlen(n->lines), "%lld %s\n",
                       (long long)cell_int(row, "level"), text);
    else
        (void)snprintf(n->lines + strlen(n->lines), sizeof(n->lines) - strlen(n->lines), "%s\n", kind);
    ck_assert_int_gt(cell_int(row, "rss_bytes"), 0);
    return true;
}

static struct notices notices_now(void)
{
    struct notices n = {0};

    ck_assert_msg(agent_scan(engine, AGENT_VIEW_NOTICES, NULL, take_notice, &n, &err) == AGENT_OK, "%s", err.text);
    return n;
}

START_TEST(the_parts_are_in_the_rows_of_the_first_stage_and_the_last)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct parts p;

    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    o.smaps_budget_us = INT64_C(60000000); /* a sanitizer's process is large */
    engine_open(o);
    agent_make("a", NULL, NULL);
    p = parts_of(run_end(run_start("a", "hello")));
    ck_assert_int_eq(p.rows, 6);
    ck_assert_str_eq(p.stages, "queue reclaim ");
    ck_assert_int_gt(p.pss, 0);
    ck_assert_int_le(p.pss, p.anon + p.file);
    ck_assert_int_gt(p.us, 0);
    ck_assert_int_eq(notices_now().count, 0);
}
END_TEST

START_TEST(a_reading_that_costs_too_much_stops_itself_and_says_so_once)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct parts p;

    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    o.smaps_budget_us = 1;
    engine_open(o);
    agent_make("a", NULL, NULL);
    p = parts_of(run_end(run_start("a", "hello")));
    ck_assert_str_eq(p.stages, "queue ");
    ck_assert_int_gt(p.us, 1);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(parts_of(run_end(run_start("a", "hello"))).read, 0);
    agent_close(engine); /* whatever was not written yet is written */
    if (o.path == NULL) {
        engine = NULL;
        return;
    }
    engine_open(o);
    ck_assert_str_eq(notices_now().lines, "smaps\n");
}
END_TEST

START_TEST(what_is_set_in_the_file_is_what_the_next_engine_does)
{
    static const int64_t off = 0, on = 1;
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;
    int64_t id;

    o.workers = 1;
    o.path = path;
    engine_open(o);
    ck_assert(!engine->sampler.hwm); /* off unless somebody asks for it: it spoils the peak of everybody else */
    ck_assert_int_eq(engine->sampler.smaps_budget_us, AG_SMAPS_BUDGET_US);
    ck_assert_int_eq(agent_limit_set(engine, "smaps_budget_us", &off, &err), AGENT_OK);
    ck_assert_int_eq(agent_limit_set(engine, "sample_hwm", &on, &err), AGENT_OK);
    agent_close(engine);
    engine_open(o);
    agent_make("a", NULL, NULL);
    id = run_end(run_start("a", "hello"));
    ck_assert_int_eq(parts_of(id).read, 0);
    all = stages_of(id);
    if (!engine->sampler.hwm) /* no clear_refs on this kernel */
        return;
    for (int i = 0; i < all.count; i++)
        ck_assert_str_eq(all.at[i].peak_source, "hwm");
}
END_TEST

static void take_fact(void *ctx, const char *name, const char *value)
{
    if (strcmp(name, "PSS readings") == 0)
        (void)snprintf(ctx, 160, "%s", value);
}

START_TEST(facts_say_what_a_reading_of_the_parts_costs_or_why_there_is_none)
{
    static const char *const want[] = {"where a run begins", "off: ", "none: ", "seldom, it takes "};
    static const int64_t budgets[] = {1000000, 0, 1000, 1};
    agent_options o = AGENT_OPTIONS_INIT;
    char text[160] = "";

    o.path = path;
    engine_open(o);
    ck_assert_int_eq(agent_limit_set(engine, "smaps_budget_us", &budgets[_i], &err), AGENT_OK);
    agent_close(engine);
    o.flags = AGENT_OPEN_INSPECT; /* as doctor does */
    o.proc_path = _i == 2 ? "/nowhere" : NULL;
    engine_open(o);
    ck_assert_int_eq(agent_db_facts(engine, take_fact, text, &err), AGENT_OK);
    ck_assert_msg(strncmp(text, want[_i], strlen(want[_i])) == 0, "%s", text);
}
END_TEST

/* --- pressure ---------------------------------------------------------------------------------------------------- */

START_TEST(steps_of_pressure_are_told_in_the_file_in_their_order)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL;

    q.agent = "a";
    q.input = "hello";
    q.input_bytes = 5;
    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    o.proc_path = dir;
    o.memory_limit_bytes = 1000 * sysconf(_SC_PAGESIZE);
    o.sample_interval_ms = _i == 0 || _i == 2 ? -1 : 1;
    engine_open(o);
    agent_make("a", NULL, NULL);
    (void)run_end(run_start("a", "hello"));
    proc_pages(850);
    pause_ms(1);
    (void)run_end(run_start("a", "hello"));
    proc_pages(1000);
    pause_ms(1);
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EBUDGET);
    proc_pages(100);
    pause_ms(1);
    (void)run_end(run_start("a", "hello"));
    if (_i > 1) { /* whatever was not written yet is written */
        agent_close(engine);
        o.memory_limit_bytes = 0;
        engine_open(o);
    } else {
        (void)run_end(run_start("a", "hello"));
    }
    ck_assert_str_eq(notices_now().lines,
                     "1 the front cache shrinks\n"
                     "2 runs of class low are not admitted\n"
                     "3 new runs are refused\n"
                     "2 new runs are admitted again\n"
                     "1 runs of class low are admitted again\n"
                     "0 the front cache has its size again\n");
}
END_TEST

START_TEST(where_more_happens_than_is_written_the_newest_is_kept)
{
    struct ag_notices n;

    ag_notices_open(&n, &ag_clock_system);
    for (int i = 0; i < 100; i++)
        ag_notice(&n, "pressure", i % 4, i, 100, "step %d", i);
    ag_notices_flush(&n); /* there is no store: they wait */
    ck_assert_int_eq(n.count, AG_NOTICES_WAITING);
    ck_assert_str_eq(n.waiting[0].text, "step 84");
    ck_assert_str_eq(n.waiting[AG_NOTICES_WAITING - 1].text, "step 99");
    ck_assert_int_eq(n.waiting[AG_NOTICES_WAITING - 1].level, 3);
    ag_notices_close(&n);
}
END_TEST

Suite *samples_suite(void);

Suite *samples_suite(void)
{
    Suite *suite = suite_create("samples");
    TCase *series = tcase_create("series"), *runs = tcase_create("runs"), *pressure = tcase_create("pressure");

    tcase_add_checked_fixture(series, proc_make, folder_remove);
    tcase_set_timeout(series, 60);
    tcase_add_test(series, a_series_is_short_in_order_and_has_the_lowest_and_the_highest);
    tcase_add_test(series, of_a_level_stretch_its_ends_are_kept);
    tcase_add_test(series, the_parts_of_the_resident_set_are_read_where_a_run_begins_and_ends_and_not_more_often);
    tcase_add_test(series, a_reading_over_the_budget_is_the_last_one_for_a_minute_then_two);
    tcase_add_test(series, what_is_no_smaps_rollup_is_not_read);
    suite_add_tcase(suite, series);

    tcase_add_checked_fixture(runs, folder_make, folder_remove);
    tcase_set_timeout(runs, 120);
    tcase_add_loop_test(runs, a_run_longer_than_the_interval_keeps_its_series_and_the_peak_is_in_it, 0, 4);
    tcase_add_loop_test(runs, a_short_run_keeps_its_borders_alone, 0, 2);
    tcase_add_loop_test(runs, without_figures_there_is_no_series, 0, 2);
    tcase_add_test(runs, a_loop_without_threads_samples_where_it_wakes_up);
    tcase_add_loop_test(runs, a_run_that_fails_or_is_cancelled_has_its_rows_too_and_they_add_up, 0, 12);
    tcase_add_loop_test(runs, the_parts_are_in_the_rows_of_the_first_stage_and_the_last, 0, 4);
    tcase_add_loop_test(runs, a_reading_that_costs_too_much_stops_itself_and_says_so_once, 0, 4);
    tcase_add_test(runs, what_is_set_in_the_file_is_what_the_next_engine_does);
    tcase_add_loop_test(runs, facts_say_what_a_reading_of_the_parts_costs_or_why_there_is_none, 0, 4);
    suite_add_tcase(suite, runs);

    tcase_add_checked_fixture(pressure, proc_make, folder_remove);
    tcase_add_loop_test(pressure, steps_of_pressure_are_told_in_the_file_in_their_order, 0, 4);
    tcase_add_test(pressure, where_more_happens_than_is_written_the_newest_is_kept);
    suite_add_tcase(suite, pressure);
    return suite;
}
