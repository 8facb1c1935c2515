/*
 * Readings of RSS: the series and its peaks, who shared a stage with whom, rows of stages, the memory
 * limit, and the row that other processes see. A folder of our own stands in for /proc/self where a
 * figure is to be known beforehand.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/engine.h"
#include "engine/io/process_rss.h"
#include "tests/account_kit.h"

static int64_t page_bytes;

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static int64_t now_ns(void)
{
    return ag_mono_ns(&ag_clock_system);
}

/* --- a /proc of our own ------------------------------------------------------------------------------ */

static int statm_fd = -1, status_fd = -1;

static int proc_file(const char *name)
{
    char file[160];
    int fd;

    (void)snprintf(file, sizeof(file), "%s/%s", dir, name);
    fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void proc_pages(long pages)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "999999 %9ld 1 1 0 1 0\n", pages); /* of one length: never seen half written */

    ck_assert_int_eq(pwrite(statm_fd, text, (size_t)n, 0), n);
}

static void proc_peak(long kb)
{
    char text[128];
    int n = snprintf(text, sizeof(text), "Name:\tx\nVmHWM:\t%9ld kB\nVmRSS:\t%9ld kB\n", kb, kb / 2);

    ck_assert_int_eq(pwrite(status_fd, text, (size_t)n, 0), n);
}

static void proc_make(void)
{
    folder_make();
    page_bytes = sysconf(_SC_PAGESIZE);
    statm_fd = proc_file("statm");
    status_fd = proc_file("status");
    (void)close(proc_file("clear_refs"));
    proc_pages(100);
    proc_peak(100);
}

static void proc_remove(void)
{
    (void)close(statm_fd);
    (void)close(status_fd);
    folder_remove();
}

static void sampler_open(ag_sampler *s, struct ag_sampler_options o)
{
    o.proc = dir;
    o.clock = &ag_clock_system;
    ag_sampler_open(s, &o);
}

/* Until the thread has read `n` times more. */
static void wait_samples(ag_sampler *s, uint64_t n)
{
    uint64_t until = ag_sampler_mark(s) + n;

    for (int i = 0; i < 10000 && ag_sampler_mark(s) < until; i++)
        pause_ms(1);
    ck_assert_uint_ge(ag_sampler_mark(s), until);
}

START_TEST(the_peak_of_a_stage_is_among_the_samples_between_its_borders)
{
    ag_sampler s;
    struct ag_together t;
    uint64_t mark;
    int count = 0;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1, .thread = true});
    t = ag_sampler_stage_begins(&s);
    wait_samples(&s, 2);
    mark = ag_sampler_mark(&s);
    ck_assert_int_eq(ag_sampler_peak(&s, mark, &count), -1);
    ck_assert_int_eq(count, 0);
    proc_pages(5000);
    wait_samples(&s, 2);
    proc_pages(100);
    wait_samples(&s, 2);
    ck_assert_int_eq(ag_sampler_peak(&s, mark, &count), 5000 * page_bytes);
    ck_assert_int_ge(count, 4);
    wait_samples(&s, 1);
    mark = ag_sampler_mark(&s);
    wait_samples(&s, 2);
    ck_assert_int_eq(ag_sampler_peak(&s, mark, &count), 100 * page_bytes);
    ck_assert(!ag_sampler_stage_ends(&s, t));
    ag_sampler_close(&s);
}
END_TEST

START_TEST(the_thread_begins_with_the_first_stage_and_never_wakes_up_while_there_is_none)
{
    ag_sampler s;
    uint64_t wakeups;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1, .thread = true});
    pause_ms(20);
    ck_assert(!s.started);
    for (int round = 0; round < 3; round++) {
        struct ag_together t = ag_sampler_stage_begins(&s);

        wait_samples(&s, 3);
        (void)ag_sampler_stage_ends(&s, t);
        for (int i = 0; i < 10000 && !atomic_load(&s.parked); i++)
            pause_ms(1);
        ck_assert(atomic_load(&s.parked));
        wakeups = atomic_load(&s.wakeups);
        pause_ms(30);
        ck_assert_uint_eq(atomic_load(&s.wakeups), wakeups);
    }
    ag_sampler_close(&s);
}
END_TEST

START_TEST(samples_carry_the_time_at_which_they_were_taken)
{
    ag_sampler s;
    int64_t at = 0, before = now_ns(), rss;
    struct ag_together t;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1, .thread = true});
    t = ag_sampler_stage_begins(&s);
    wait_samples(&s, 20);
    (void)ag_sampler_stage_ends(&s, t);
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert(ag_sampler_at(&s, i, &at, &rss));
        ck_assert_int_gt(at, before);
        ck_assert_int_eq(rss, 100 * page_bytes);
        before = at;
    }
    ck_assert_int_le(at, now_ns());
    ck_assert(!ag_sampler_at(&s, UINT64_MAX - 1, &at, &rss));
    ag_sampler_close(&s);
}
END_TEST

/* In hwm every reading of a border is a sample: so a long series is made at once. */
START_TEST(peaks_of_long_stages_are_those_of_all_their_samples)
{
    enum { COUNT = 70000 };
    static int64_t series[COUNT];
    ag_sampler s;
    uint64_t seed = 7;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1000, .hwm = true});
    ck_assert(s.hwm);
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        series[i] = (int64_t)(seed >> 40) % 1000000 + 1;
        proc_peak((long)series[i]);
        series[i] *= 1024;
        ck_assert_int_ge(ag_sampler_read(&s, i + 1).rss_bytes, 0);
        if (i % 997 != 0 && i != COUNT - 1)
            continue;
        for (int k = 0; k < 40; k++) {
            uint64_t mark, from;
            int64_t peak = 0, got;
            int count = 0;

            seed = seed * 6364136223846793005u + 1442695040888963407u;
            mark = (seed >> 33) % (uint64_t)(i + 1);
            if (k % 2 == 0 && i > 200)
                mark = (uint64_t)i - mark % 200;
            got = ag_sampler_peak(&s, mark, &count);
            ck_assert_int_eq(count, i + 1 - (int)mark);
            for (from = mark; from <= (uint64_t)i; from++)
                if (series[from] > peak)
                    peak = series[from];
            ck_assert_int_ge(got, peak);
            if (count < 4000) {
                ck_assert_int_eq(got, peak);
            } else { /* by at most the block, or field of blocks, that it begins in */
                uint64_t block = count < 60000 ? 64 : 4096;

                for (from = mark / block * block; from < mark; from++)
                    if (series[from] > peak)
                        peak = series[from];
                ck_assert_int_le(got, peak);
            }
        }
    }
    ag_sampler_close(&s);
}
END_TEST

START_TEST(a_young_reading_is_taken_over_and_marked)
{
    ag_sampler s;
    int64_t at = now_ns();
    struct ag_reading r;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = 100});
    r = ag_sampler_read(&s, at);
    ck_assert(r.rss_bytes == 100 * page_bytes && !r.is_shared);
    proc_pages(200);
    r = ag_sampler_read(&s, at); /* the end of one stage is the beginning of the next: one instant */
    ck_assert(r.rss_bytes == 100 * page_bytes && !r.is_shared);
    r = ag_sampler_read(&s, at + 99999);
    ck_assert(r.rss_bytes == 100 * page_bytes && r.is_shared);
    r = ag_sampler_read(&s, at + 100000);
    ck_assert(r.rss_bytes == 200 * page_bytes && !r.is_shared);
    ag_sampler_close(&s);
}
END_TEST

START_TEST(without_proc_there_are_no_figures)
{
    static const char *const contents[] = {"", "12", "a b c", "5 x"};
    ag_sampler s;

    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(ftruncate(statm_fd, 0), 0);
        ck_assert_int_eq(pwrite(statm_fd, contents[i], strlen(contents[i]), 0), (ssize_t)strlen(contents[i]));
        sampler_open(&s, (struct ag_sampler_options){.interval_ms = 1, .thread = true});
        ck_assert_int_eq(ag_sampler_read(&s, now_ns()).rss_bytes, -1);
        ag_sampler_close(&s);
    }
    ag_sampler_open(&s, &(struct ag_sampler_options){.proc = "/nowhere", .thread = true, .hwm = true,
                                                     .clock = &ag_clock_system});
    ck_assert(!s.figures && !s.hwm);
    (void)ag_sampler_stage_ends(&s, ag_sampler_stage_begins(&s));
    ck_assert(!s.started);
    ck_assert_int_eq(ag_sampler_read(&s, now_ns()).rss_bytes, -1);
    ck_assert_int_eq(ag_sampler_rss(&s, now_ns()), -1);
    ag_sampler_close(&s);
}
END_TEST

/* --- who shared with whom --------------------------------------------------------------------------------- */

/* Three stages, their beginnings and ends in every order there is. */
START_TEST(two_stages_that_overlap_are_both_shared_in_every_order)
{
    ag_sampler s;
    int orders = 0;

    sampler_open(&s, (struct ag_sampler_options){.interval_ms = -1});
    for (int code = 0; code < 6 * 6 * 6 * 6 * 6 * 6; code++) {
        int at[6], begin[3] = {-1, -1, -1}, end[3] = {-1, -1, -1}, rest = code;
        struct ag_together t[3];
        bool shared[3], valid = true;

        for (int i = 0; i < 6; i++, rest /= 6)
            at[i] = rest % 6; /* 0..2: stage begins, 3..5: it ends */
        for (int i = 0; i < 6 && valid; i++) {
            int *slot = at[i] < 3 ? &begin[at[i]] : &end[at[i] - 3];

            valid = *slot < 0 && (at[i] < 3 || begin[at[i] - 3] >= 0);
            *slot = i;
        }
        if (!valid)
            continue;
        orders++;
        for (int i = 0; i < 6; i++) {
            if (at[i] < 3)
                t[at[i]] = ag_sampler_stage_begins(&s);
            else
                shared[at[i] - 3] = ag_sampler_stage_ends(&s, t[at[i] - 3]);
        }
        for (int a = 0; a < 3; a++) {
            bool truth = false;

            for (int b = 0; b < 3; b++)
                truth |= a != b && begin[a] < end[b] && begin[b] < end[a];
            ck_assert_msg(shared[a] == truth, "order %d, stage %d", code, a);
        }
    }
    ck_assert_int_eq(orders, 90);
    ag_sampler_close(&s);
}
END_TEST

static agent_status run_another(void *ctx, agent_tool_call *call, agent_error *e)
{
    (void)call;
    (void)e;
    (void)ctx;
    pause_ms(20);
    return AGENT_OK;
}

START_TEST(a_run_that_idles_through_another_makes_both_shared)
{
    agent_options o = AGENT_OPTIONS_INIT;
    const agent_run_result *r = NULL;
    agent_run *idle;
    struct stages all;

    o.workers = _i;
    engine_open(o);
    tool_make("other", run_another, NULL);
    agent_make("idle", "{\"latency_ms\":100000}", NULL);
    agent_make("busy", NULL, "other");
    all = stages_of(run_end(run_start("busy", "/tool other {}"))); /* alone */
    for (int i = 0; i < all.count; i++)
        ck_assert_str_eq(all.at[i].attribution, "exclusive");
    idle = run_start("idle", "hello");
    all = stages_of(run_end(run_start("busy", "/tool other {}")));
    for (int i = 0; i < all.count; i++)
        if (strcmp(all.at[i].name, "queue") != 0) /* with workers = 0 it may be over before the other begins */
            ck_assert_str_eq(all.at[i].attribution, "shared");
    agent_run_cancel(idle);
    ck_assert_int_eq(agent_run_wait(idle, -1, &r, &err), AGENT_OK);
    all = stages_of(r->run.id);
    ck_assert_str_eq(stage_in(&all, "infer")->attribution, "shared");
    agent_run_free(idle);
}
END_TEST

/* --- rows ---------------------------------------------------------------------------------------------------- */

struct times {
    double queue_ms, wall_ms;
};

static bool take_times(void *ctx, const agent_row *row)
{
    struct times *t = ctx;

    t->queue_ms = agent_row_real(row, agent_row_find(row, "queue_ms"));
    t->wall_ms = agent_row_real(row, agent_row_find(row, "wall_ms"));
    return true;
}

static int64_t ms_of_day(const char *iso)
{
    int h, m, s, ms;

    ck_assert_int_eq(sscanf(iso, "%*d-%*d-%*dT%d:%d:%d.%d", &h, &m, &s, &ms), 4);
    return ((h * 60 + m) * 60 + s) * INT64_C(1000) + ms;
}

START_TEST(the_stages_of_a_run_leave_no_gap_and_add_up_to_its_time)
{
    static const char *const shape[] = {"queue", "load", "prepare", "infer", "respond", "tool",
                                        "prepare", "infer", "respond", "reclaim"};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_filter f = AGENT_FILTER_INIT;
    struct times times = {0, 0};
    struct stages all;
    int64_t sum_us = 0;

    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    engine_open(o);
    tool_make("other", run_another, NULL);
    agent_make("a", "{\"latency_ms\":30,\"chunks\":3,\"chunk_ms\":10}", "other");
    f.run_id = run_end(run_start("a", "/tool other {}"));
    all = stages_of(f.run_id);
    ck_assert_int_eq(all.count, 10);
    for (int i = 0; i < all.count; i++) {
        const struct stage *s = &all.at[i];

        ck_assert_str_eq(s->name, shape[i]);
        ck_assert_int_ge(s->wall_us, 0);
        ck_assert_int_le(s->commit_us, s->wall_us);
        sum_us += s->wall_us;
        if (i + 1 < all.count) { /* begun times are whole milliseconds */
            int64_t gap = ms_of_day(all.at[i + 1].started_at) - ms_of_day(s->started_at) - s->wall_us / 1000;

            ck_assert_msg(gap >= -1 && gap <= 2, "%s to %s: %lld ms", s->name, all.at[i + 1].name, (long long)gap);
        }
    }
    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_RUNS, &f, take_times, &times, &err), AGENT_OK);
    ck_assert_double_eq_tol((times.queue_ms + times.wall_ms) * 1000, (double)sum_us, 1);
    /* Time was spent where the shape of the run has it. */
    ck_assert_int_ge(all.at[3].wall_us + all.at[7].wall_us, 60000 - 2000);
    ck_assert_int_ge(all.at[8].wall_us, 20000 - 2000);
    ck_assert_int_ge(all.at[5].wall_us, 20000);
}
END_TEST

START_TEST(a_short_run_has_its_borders_and_says_so)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    o.workers = 0;
    engine_open(o);
    agent_make("a", NULL, NULL);
    all = stages_of(run_end(run_start("a", "hello")));
    ck_assert_int_eq(all.count, 6);
    ck_assert(!engine->sampler.started);
    for (int i = 0; i < all.count; i++) {
        const struct stage *s = &all.at[i];

        ck_assert_int_eq(s->samples, 2);
        ck_assert_str_eq(s->peak_source, "borders");
        ck_assert(s->shared_sample == 0 || s->shared_sample == 1);
        ck_assert_int_ge(s->rss_peak, s->rss_before);
        ck_assert_int_ge(s->rss_peak, s->rss_after);
        ck_assert_int_gt(s->rss_before, 0);
        if (i > 0)
            ck_assert_int_eq(s->rss_before, all.at[i - 1].rss_after);
    }
}
END_TEST

START_TEST(an_engine_without_workers_samples_only_where_an_interval_is_asked_for)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    o.workers = 0;
    o.sample_interval_ms = 1;
    engine_open(o);
    agent_make("a", "{\"latency_ms\":50}", NULL);
    for (int i = 0; i < 100; i++) { /* on a busy machine the thread may not get its turn in the first one */
        all = stages_of(run_end(run_start("a", "hello")));
        ck_assert(engine->sampler.started);
        if (stage_in(&all, "infer")->samples > 2)
            break;
    }
    ck_assert_int_gt(stage_in(&all, "infer")->samples, 2);
    ck_assert_str_eq(stage_in(&all, "infer")->peak_source, "samples");
}
END_TEST

START_TEST(an_interval_that_cannot_be_is_refused)
{
    static const int bad[] = {-2, 1001, 1 << 30};
    agent_options o = AGENT_OPTIONS_INIT;

    for (int i = 0; i < 3; i++) {
        o.sample_interval_ms = bad[i];
        ck_assert_int_eq(agent_open(&o, &engine, &err), AGENT_EINVAL);
        ck_assert_ptr_nonnull(strstr(err.hint, "1000"));
    }
}
END_TEST

static void take_fact(void *ctx, const char *name, const char *value)
{
    if (strcmp(name, "memory readings") == 0)
        (void)snprintf(ctx, 128, "%s", value);
}

START_TEST(facts_say_why_there_are_no_readings)
{
    agent_options o = AGENT_OPTIONS_INIT;
    char text[128] = "";

    for (int i = 0; i < 2; i++) {
        o.path = path;
        o.proc_path = i == 1 ? "/nowhere" : NULL;
        o.flags = i == 1 ? AGENT_OPEN_INSPECT : 0; /* as doctor does */
        engine_open(o);
        ck_assert_int_eq(agent_db_facts(engine, take_fact, text, &err), AGENT_OK);
        ck_assert_int_eq(strncmp(text, i == 1 ? "none: " : "from ", 6 - (i == 0)), 0);
        agent_close(engine);
        engine = NULL;
    }
}
END_TEST

START_TEST(readings_that_cannot_be_had_are_null_and_the_run_goes_on)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    o.workers = _i & 1;
    o.path = _i > 1 ? path : NULL;
    o.proc_path = "/nowhere";
    engine_open(o);
    agent_make("a", NULL, NULL);
    all = stages_of(run_end(run_start("a", "hello")));
    ck_assert_int_eq(all.count, 6);
    for (int i = 0; i < all.count; i++) {
        const struct stage *s = &all.at[i];

        ck_assert_int_eq(s->rss_before, UNKNOWN);
        ck_assert_int_eq(s->rss_peak, UNKNOWN);
        ck_assert_int_eq(s->rss_after, UNKNOWN);
        ck_assert_int_eq(s->shared_sample, UNKNOWN);
        ck_assert_int_eq(s->samples, 0);
        ck_assert_str_eq(s->peak_source, "NULL");
        ck_assert_int_ge(s->wall_us, 0);
        ck_assert_int_gt(s->heap_peak, 0); /* which is our own count */
    }
}
END_TEST

#define TAKEN (64 * MB)

/* malloc that the library knows nothing of. ctx: how long it is held. */
static agent_status take_and_touch(void *ctx, agent_tool_call *call, agent_error *e)
{
    volatile char *p = malloc((size_t)TAKEN);

    (void)call;
    (void)e;
    ck_assert_ptr_nonnull((void *)(uintptr_t)p);
    for (size_t i = 0; i < (size_t)TAKEN; i += 512)
        p[i] = 1;
    if (*(const long *)ctx > 0)
        wait_samples(&engine->sampler, 3);
    pause_ms(*(const long *)ctx);
    free((void *)(uintptr_t)p);
    return AGENT_OK;
}

START_TEST(plain_malloc_of_a_callback_is_seen_in_its_exclusive_rss_alone)
{
    static const long ms = 300;
    agent_options o = AGENT_OPTIONS_INIT;
    const struct stage *s;
    struct stages all;

    o.workers = 1;
    o.sample_interval_ms = 10;
    engine_open(o);
    tool_make("take", take_and_touch, (void *)(uintptr_t)&ms);
    agent_make("a", NULL, "take");
    all = stages_of(run_end(run_start("a", "/tool take {}")));
    s = stage_in(&all, "tool");
    ck_assert_str_eq(s->attribution, "exclusive");
    ck_assert_int_gt(s->samples, 2);
    ck_assert_int_lt(s->heap_peak, MB);
    if (!SANITIZED) {
        ck_assert_int_ge(s->rss_peak - s->rss_before, TAKEN * 97 / 100);
        ck_assert_int_le(s->rss_peak - s->rss_before, TAKEN * 103 / 100 + 2 * MB);
    }
}
END_TEST

START_TEST(a_spike_between_two_readings_is_caught_by_the_kernels_own_peak)
{
    static const long ms = 0;
    agent_options o = AGENT_OPTIONS_INIT;
    const struct stage *s;
    struct stages all;

    if (SANITIZED) /* freed memory stays in a sanitizer's quarantine: there is no spike */
        return;
    o.workers = 1;
    o.sample_interval_ms = 1000;
    o.sample_hwm = _i == 1;
    engine_open(o);
    if (_i == 1 && !engine->sampler.hwm) /* no clear_refs on this kernel */
        return;
    tool_make("take", take_and_touch, (void *)(uintptr_t)&ms);
    agent_make("a", NULL, "take");
    all = stages_of(run_end(run_start("a", "/tool take {}")));
    for (int i = 0; i < all.count; i++) {
        s = &all.at[i];
        if (_i == 0 || strcmp(s->name, "tool") != 0) /* what one stage took is not in the next one's peak */
            ck_assert_int_lt(s->rss_peak - s->rss_before, TAKEN / 2);
        else
            ck_assert_int_ge(s->rss_peak - s->rss_before, TAKEN * 97 / 100);
        ck_assert_str_eq(s->peak_source, _i == 1 ? "hwm" : "borders");
    }
}
END_TEST

static int64_t vm_hwm(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long long kb = -1;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "VmHWM: %lld", &kb) == 1)
            break;
    if (f != NULL)
        (void)fclose(f);
    return kb * 1024;
}

START_TEST(the_largest_sample_is_the_kernels_peak)
{
    static const long ms = 100;
    agent_options o = AGENT_OPTIONS_INIT;
    int64_t largest = 0, at, rss, reset = vm_hwm();

    if (SANITIZED)
        return;
    o.workers = 1;
    o.sample_interval_ms = 1;
    engine_open(o);
    tool_make("take", take_and_touch, (void *)(uintptr_t)&ms);
    agent_make("a", NULL, "take");
    (void)run_end(run_start("a", "/tool take {}"));
    for (uint64_t i = 0; ag_sampler_at(&engine->sampler, i, &at, &rss); i++)
        if (rss > largest)
            largest = rss;
    ck_assert_int_gt(vm_hwm(), reset + TAKEN / 2); /* else it says nothing */
    ck_assert_int_ge(largest, vm_hwm() - MB);
    ck_assert_int_le(largest, vm_hwm() + MB); /* the kernel's is late by some pages of each thread */
}
END_TEST

START_TEST(a_hundred_thousand_runs_leave_the_process_as_large_as_it_was)
{
    enum { RUNS = SANITIZED ? 5000 : 100000 };
    agent_options o = AGENT_OPTIONS_INIT;
    int64_t began = 0, ended;

    o.workers = 0;
    engine_open(o);
    agent_make("a", NULL, NULL);
    for (int i = 0; i < RUNS + RUNS / 10; i++) {
        (void)run_end(run_start("a", "hello"));
        if (i == RUNS / 10)
            began = ag_sampler_rss(&engine->sampler, now_ns());
    }
    ended = ag_sampler_rss(&engine->sampler, now_ns());
    if (!SANITIZED)
        ck_assert_int_le(ended, began + began / 20);
}
END_TEST

/* --- processes -------------------------------------------------------------------------------------------------- */

START_TEST(a_tree_of_three_generations_is_summed)
{
    const int each = 32;
    char tool[300], generations[] = "3", mb[] = "32", ms[] = "1200";
    const char *argv[] = {tool, generations, mb, ms, NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_command c = AGENT_COMMAND_INIT;
    const struct stage *s;
    struct stages all;

    (void)snprintf(tool, sizeof(tool), "%s/tests/touch_tree", TEST_BUILD);
    o.workers = 1;
    engine_open(o);
    c.name = "tree";
    c.argv = argv;
    ck_assert_msg(agent_command_put(engine, &c, false, &err) == AGENT_OK, "%s", err.text);
    agent_make("a", NULL, "tree");
    all = stages_of(run_end(run_start("a", "/tool tree {}")));
    for (int i = 0; i < all.count; i++) {
        s = &all.at[i];
        if (strcmp(s->name, "tool") != 0) {
            ck_assert_int_eq(s->child, UNKNOWN);
            continue;
        }
        ck_assert_int_ge(s->child, 3 * each * MB);
        ck_assert_int_le(s->child, 3 * (each + 3) * MB); /* and what each has besides */
        if (!SANITIZED)
            ck_assert_int_lt(s->rss_peak - s->rss_before, each * MB); /* theirs is not ours */
    }
}
END_TEST

START_TEST(a_group_that_cannot_be_looked_at_has_no_size)
{
    ck_assert_int_eq(ag_group_rss_peak(0x7ffffff0), -1);
}
END_TEST

/* --- the memory limit ----------------------------------------------------------------------------------------------- */

static char logged[4096];

static void log_line(void *ctx, int level, const char *module, const char *text)
{
    (void)ctx;
    if (level == 1 && strcmp(module, "pressure") == 0) {
        strncat(logged, strrchr(text, ':') + 2, sizeof(logged) - strlen(logged) - 2);
        strcat(logged, "\n");
    }
}

START_TEST(each_step_of_pressure_is_taken_once_undone_once_and_told)
{
    static const struct {
        int percent, level;
    } walk[] = {{79, 0}, {80, 1}, {84, 1}, {76, 1}, {74, 0}, {79, 0}, {95, 2}, {86, 2}, {84, 1}, {100, 3},
                {96, 3}, {94, 2}, {120, 3}, {10, 0}};
    struct ag_cache_options cache = {.bytes = 8 * MB};
    ag_log log = {log_line, NULL, 1};
    struct ag_cache_stats stats;
    ag_pressure p;

    logged[0] = '\0';
    ag_pressure_open(&p, &log);
    p.limit_bytes = 1000 * MB;
    ck_assert_int_eq(ag_cache_new(&cache, &p.cache, &err), AGENT_OK);
    for (size_t i = 0; i < sizeof(walk) / sizeof(walk[0]); i++) {
        for (int again = 0; again < 3; again++)
            ag_pressure_see(&p, walk[i].percent * 10 * MB);
        ck_assert_msg(atomic_load(&p.level) == walk[i].level, "at %d %%", walk[i].percent);
        ag_cache_stats(p.cache, &stats);
        ck_assert_int_eq(stats.bytes, walk[i].level > 0 ? 2 * MB : 8 * MB);
    }
    ck_assert_uint_eq(atomic_load(&p.steps), 12);
    ck_assert_str_eq(logged,
                     "the front cache shrinks\n"
                     "the front cache has its size again\n"
                     "the front cache shrinks\n"
                     "runs of class low are not admitted\n"
                     "runs of class low are admitted again\n"
                     "runs of class low are not admitted\n"
                     "new runs are refused\n"
                     "new runs are admitted again\n"
                     "new runs are refused\n"
                     "new runs are admitted again\n"
                     "runs of class low are admitted again\n"
                     "the front cache has its size again\n");
    ag_cache_free(p.cache);
    ag_pressure_close(&p);
}
END_TEST

START_TEST(at_its_limit_an_engine_refuses_runs_and_takes_them_again_below)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL, *under_way;

    q.agent = "a";
    q.input = "hello";
    q.input_bytes = 5;
    o.workers = _i;
    o.proc_path = dir;
    o.memory_limit_bytes = 1000 * page_bytes;
    o.sample_interval_ms = _i == 0 ? -1 : 1; /* it is watched also where stages are not measured */
    engine_open(o);
    agent_make("a", "{\"latency_ms\":30}", NULL);
    under_way = run_start("a", "hello");
    proc_pages(1000);
    pause_ms(1);
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EBUDGET);
    ck_assert_ptr_null(run);
    ck_assert_ptr_nonnull(strstr(err.text, "memory_limit"));
    ck_assert(err.hint[0] != '\0');
    ck_assert_int_eq(ag_pressure_level(engine), AG_PRESSURE_FULL);
    (void)run_end(under_way); /* what is under way goes on */
    proc_pages(960);
    pause_ms(1);
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EBUDGET);
    proc_pages(940);
    pause_ms(1);
    ck_assert_int_eq(ag_pressure_level(engine), AG_PRESSURE_LOW);
    (void)run_end(run_start("a", "hello"));
    proc_pages(100);
    pause_ms(1);
    ck_assert_int_eq(ag_pressure_level(engine), AG_PRESSURE_NONE);
}
END_TEST

START_TEST(a_memory_limit_needs_something_to_measure_with)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.memory_limit_bytes = 1 << 30;
    o.proc_path = "/nowhere";
    ck_assert_int_eq(agent_open(&o, &engine, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "/proc"));
    ck_assert_ptr_null(engine);
}
END_TEST

/* --- what others see ---------------------------------------------------------------------------------------------------- */

struct live {
    int rows;
    int64_t runs, rss, heap;
    char stages[256], cache[256];
};

static bool take_live(void *ctx, const agent_row *row)
{
    struct live *l = ctx;

    l->rows++;
    l->runs = cell_int(row, "runs");
    l->rss = cell_int(row, "rss_bytes");
    l->heap = cell_int(row, "heap_bytes");
    cell_text(row, "stages", l->stages, sizeof(l->stages));
    cell_text(row, "cache", l->cache, sizeof(l->cache));
    return true;
}

static struct live live_now(void)
{
    struct live l = {0};

    ck_assert_msg(agent_sql(engine, "SELECT * FROM live", take_live, &l, &err) == AGENT_OK, "%s", err.text);
    return l;
}

START_TEST(an_owner_with_runs_tells_how_it_is_and_that_it_has_none_any_more)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_run *runs[3];
    struct live l;

    o.path = path;
    o.workers = 2;
    engine_open(o);
    agent_make("short", "{\"latency_ms\":300}", NULL);
    agent_make("long", "{\"latency_ms\":5000}", NULL);
    (void)run_end(run_start("short", "hello"));
    ck_assert_int_eq(live_now().rows, 0); /* less than a second: not told */
    for (int i = 0; i < 3; i++)
        runs[i] = run_start("long", "hello");
    for (int i = 0; i < 10000 && strstr((l = live_now()).stages, "{\"infer\":{\"runs\":3,") == NULL; i++)
        pause_ms(1);
    ck_assert_int_eq(l.rows, 1);
    ck_assert_int_eq(l.runs, 3);
    ck_assert_int_gt(l.rss, 0);
    ck_assert_int_gt(l.heap, 3000);
    ck_assert_ptr_eq(strstr(l.stages, "{\"infer\":{\"runs\":3,\"heap_bytes\":"), l.stages);
    ck_assert_ptr_nonnull(strstr(l.cache, "\"budget_bytes\":67108864"));
    for (int i = 0; i < 3; i++)
        (void)run_end(runs[i]);
    for (int i = 0; i < 10000 && (l = live_now()).runs != 0; i++)
        pause_ms(1);
    ck_assert_int_eq(l.rows, 1);
    ck_assert_int_eq(l.runs, 0);
    ck_assert_str_eq(l.stages, "{}");
}
END_TEST

Suite *sampler_suite(void);

Suite *sampler_suite(void)
{
    Suite *suite = suite_create("sampler");
    TCase *series = tcase_create("series"), *rows = tcase_create("rows"), *limit = tcase_create("limit");

    tcase_add_checked_fixture(series, proc_make, proc_remove);
    tcase_set_timeout(series, 60);
    tcase_add_test(series, the_peak_of_a_stage_is_among_the_samples_between_its_borders);
    tcase_add_test(series, the_thread_begins_with_the_first_stage_and_never_wakes_up_while_there_is_none);
    tcase_add_test(series, samples_carry_the_time_at_which_they_were_taken);
    tcase_add_test(series, peaks_of_long_stages_are_those_of_all_their_samples);
    tcase_add_test(series, a_young_reading_is_taken_over_and_marked);
    tcase_add_test(series, without_proc_there_are_no_figures);
    tcase_add_test(series, two_stages_that_overlap_are_both_shared_in_every_order);
    suite_add_tcase(suite, series);

    tcase_add_checked_fixture(rows, folder_make, folder_remove);
    tcase_set_timeout(rows, 120);
    tcase_add_loop_test(rows, a_run_that_idles_through_another_makes_both_shared, 0, 2);
    tcase_add_loop_test(rows, the_stages_of_a_run_leave_no_gap_and_add_up_to_its_time, 0, 4);
    tcase_add_test(rows, a_short_run_has_its_borders_and_says_so);
    tcase_add_test(rows, an_engine_without_workers_samples_only_where_an_interval_is_asked_for);
    tcase_add_test(rows, an_interval_that_cannot_be_is_refused);
    tcase_add_test(rows, facts_say_why_there_are_no_readings);
    tcase_add_loop_test(rows, readings_that_cannot_be_had_are_null_and_the_run_goes_on, 0, 4);
    tcase_add_test(rows, plain_malloc_of_a_callback_is_seen_in_its_exclusive_rss_alone);
    tcase_add_loop_test(rows, a_spike_between_two_readings_is_caught_by_the_kernels_own_peak, 0, 2);
    tcase_add_test(rows, the_largest_sample_is_the_kernels_peak);
    tcase_add_test(rows, a_hundred_thousand_runs_leave_the_process_as_large_as_it_was);
    tcase_add_test(rows, a_tree_of_three_generations_is_summed);
    tcase_add_test(rows, a_group_that_cannot_be_looked_at_has_no_size);
    tcase_add_test(rows, an_owner_with_runs_tells_how_it_is_and_that_it_has_none_any_more);
    suite_add_tcase(suite, rows);

    tcase_add_checked_fixture(limit, proc_make, proc_remove);
    tcase_add_test(limit, each_step_of_pressure_is_taken_once_undone_once_and_told);
    tcase_add_loop_test(limit, at_its_limit_an_engine_refuses_runs_and_takes_them_again_below, 0, 2);
    tcase_add_test(limit, a_memory_limit_needs_something_to_measure_with);
    suite_add_tcase(suite, limit);
    return suite;
}
