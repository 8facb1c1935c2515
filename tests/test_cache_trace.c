/*
 * Recordings of the front cache: first a cache, its tap and the file between them, then engines
 * through <agent/agent.h>. Processes are in tests/cli/cache_trace.sh.
 */
#include <agent/agent.h>
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"
#include "engine/cache/raw.h"
#include "engine/cache/recorder.h"

#define MANY (INT64_C(1) << 30)

static agent_error err;
static char dir[128], db[160], raw_path[192], file[160];
static ag_cache *cache;
static struct ag_recorder *tap;
static int64_t looked_ns;

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");
    struct ag_cache_options o = {.bytes = 4 << 20};

    (void)snprintf(dir, sizeof(dir), "%.80s/agent-trace.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(db, sizeof(db), "%s/agent.db", dir);
    (void)snprintf(raw_path, sizeof(raw_path), "%s-trace", db);
    (void)snprintf(file, sizeof(file), "%s/t.bin", dir);
    err = (agent_error)AGENT_ERROR_INIT;
    looked_ns = 0;
    ck_assert_int_eq(ag_cache_new(&o, &cache, &err), AGENT_OK);
}

static void tear_down(void)
{
    char command[256];

    ag_recorder_close(tap);
    ag_cache_free(cache);
    ag_recorder_free(tap);
    tap = NULL;
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void drop(struct ag_value *v)
{
    ag_free(v);
}

static agent_status loader(void *ctx, struct ag_value **out, agent_error *why)
{
    struct ag_value *v = ag_malloc(sizeof(*v));

    if (v == NULL)
        return ag_fail(why, AGENT_ENOMEM, 0, "out of memory");
    *v = (struct ag_value){.bytes = 100 + *(const uint64_t *)ctx, .drop = drop};
    atomic_init(&v->refs, 1);
    *out = v;
    return AGENT_OK;
}

static void request(uint64_t key)
{
    struct ag_value *v = NULL;

    if (ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader, &key, &v, &err) != AGENT_OK)
        ck_abort_msg("%s", err.text);
    ag_value_put(v);
}

static void look(void)
{
    ag_recorder_look(tap, looked_ns += 2000000000);
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static bool is_watched(void)
{
    return atomic_load(&cache->watch) != NULL;
}

/* A thread that has just closed the tap is joined by a look, and another one opens it. */
static void look_until_watched(void)
{
    for (int i = 0; i < 5000 && (look(), !is_watched()); i++)
        nap();
    ck_assert(is_watched());
}

static int record(int64_t max_bytes)
{
    int fd = -1;

    ck_assert_msg(ag_raw_create(raw_path, false, ag_raw_now_ns() + 60 * INT64_C(1000000000), max_bytes, &fd, &err) == AGENT_OK,
                  "%s", err.text);
    return fd;
}

static struct ag_raw_sum finish(int fd, struct ag_trace *out)
{
    struct ag_raw_sum sum = {0};
    struct ag_trace trace = {0};

    for (int i = 0; i < 500 && !ag_raw_finish(fd, 5); i++)
        look(); /* without a thread the tap closes when it is looked at */
    ck_assert_msg(ag_raw_read(fd, &sum, &trace, &err) == AGENT_OK, "%s", err.text);
    (void)unlink(raw_path);
    (void)close(fd);
    if (out != NULL)
        *out = trace;
    else
        ag_trace_drop(&trace);
    return sum;
}

/* --- a tap and its file: with a thread (1), without (0) --------------------------------------------------- */

START_TEST(every_request_is_recorded_in_its_order)
{
    struct ag_raw_sum sum;
    struct ag_trace t;
    int fd;

    tap = ag_recorder_new(cache, raw_path, _i == 1);
    look();
    ck_assert(!is_watched());
    fd = record(MANY);
    look();
    ck_assert(is_watched());
    for (uint64_t i = 0; i < 1000; i++)
        request(i * i % 50);
    sum = finish(fd, &t);
    ck_assert(!is_watched());
    ck_assert_uint_eq(sum.requests, 1000);
    ck_assert_uint_eq(sum.dropped, 0);
    ck_assert_uint_eq(sum.processes, 1);
    ck_assert_uint_eq(t.count, 1000);
    ck_assert_uint_eq(t.objects, 1000 - sum.hits);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(t.requests[i].bytes, 100 + i * i % 50);
    ag_trace_drop(&t);
    request(1); /* into a tap that is closed */
}
END_TEST

START_TEST(a_second_recording_begins_when_the_first_is_over)
{
    tap = ag_recorder_new(cache, raw_path, _i == 1);
    for (int round = 1; round <= 3; round++) {
        int fd = record(MANY);

        look_until_watched();
        for (int i = 0; i < 10 * round; i++)
            request(1);
        ck_assert_uint_eq(finish(fd, NULL).requests, 10 * round);
    }
}
END_TEST

START_TEST(a_recorder_that_died_leaves_no_tap_open)
{
    int fd = record(MANY);

    tap = ag_recorder_new(cache, raw_path, _i == 1);
    look();
    request(1);
    (void)close(fd); /* and with it its lock, as the kernel does after a kill */
    for (int i = 0; i < 5000 && is_watched(); i++) {
        nap();
        look();
    }
    ck_assert(!is_watched());
    look(); /* a dead one's file is no recording */
    ck_assert(!is_watched());
    fd = record(MANY); /* and is in nobody's way */
    look_until_watched();
    request(2);
    ck_assert_uint_eq(finish(fd, NULL).requests, 1);
}
END_TEST

START_TEST(a_recording_has_a_cap)
{
    const int64_t most = (int64_t)sizeof(struct ag_raw_header) + 100 * (int64_t)sizeof(struct ag_raw_record);
    int fd = record(most);
    struct ag_raw_sum sum;
    struct stat st;

    tap = ag_recorder_new(cache, raw_path, _i == 1);
    look();
    for (uint64_t i = 0; i < 1000; i++)
        request(i);
    for (int i = 0; i < 5000 && is_watched(); i++) {
        nap();
        look();
    }
    ck_assert(!is_watched());
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_le(st.st_size, most + (int64_t)sizeof(struct ag_raw_record));
    sum = finish(fd, NULL);
    ck_assert(sum.is_full);
    ck_assert_uint_eq(sum.requests, 100);
    ck_assert_uint_le(sum.dropped, 900); /* what came when the tap had closed is nobody's */
    if (_i == 0)
        ck_assert_uint_eq(sum.dropped, 900);
}
END_TEST

START_TEST(what_cannot_be_written_in_time_is_dropped_and_told)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = AG_RAW_APPEND, .l_len = 1};
    int fd = record(MANY), other = open(raw_path, O_RDWR | O_CLOEXEC);
    struct ag_raw_sum sum;

    tap = ag_recorder_new(cache, raw_path, true);
    look();
    ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &lock), 0); /* somebody hangs in the middle of a write */
    for (int i = 0; i < 100000; i++)
        request(1);
    (void)close(other);
    sum = finish(fd, NULL);
    ck_assert_uint_gt(sum.dropped, 0);
    ck_assert_uint_eq(sum.requests + sum.dropped, 100000);
}
END_TEST

static void *request_many(void *ctx)
{
    for (uint64_t i = 0; i < 20000; i++) {
        request(i % 100);
        if (i % 1000 == 0)
            ag_recorder_look(tap, ag_raw_now_ns());
    }
    return ctx;
}

START_TEST(of_many_threads_each_request_is_recorded_or_counted_while_recordings_come_and_go)
{
    uint64_t told = 0, requests;
    pthread_t threads[4];
    struct ag_cache_stats s;
    int fd = record(MANY);

    tap = ag_recorder_new(cache, raw_path, true);
    looked_ns = ag_raw_now_ns();
    look();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, request_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    {
        struct ag_raw_sum sum = finish(fd, NULL);

        told = sum.requests + sum.dropped;
    }
    ag_cache_stats(cache, &s);
    requests = s.total.gets;
    ck_assert_uint_eq(requests, 80000);
    ck_assert_uint_eq(told, requests);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, request_many, NULL), 0);
    for (int round = 0; round < 5; round++) {
        fd = record(MANY);
        look();
        nap();
        (void)finish(fd, NULL);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    ck_assert_ptr_null(ag_cache_check(cache));
}
END_TEST

START_TEST(a_record_torn_by_a_kill_is_cut_off)
{
    struct ag_raw_record r = {.at_ns = 5, .key = 7, .bytes = 9, .what = 1u << 2 | AG_RAW_HIT};
    struct ag_raw_sum sum;
    struct ag_trace t;
    int fd = record(MANY);

    ck_assert_uint_eq(ag_raw_append(fd, &r, 1), 1);
    ck_assert_int_eq(pwrite(fd, "torn", 4, sizeof(struct ag_raw_header) + sizeof(r)), 4);
    r.at_ns = 3; /* of another process, and earlier */
    r.what = 2u << 2;
    r.key = 8;
    ck_assert_uint_eq(ag_raw_append(fd, &r, 1), 1);
    sum = finish(fd, &t);
    ck_assert_uint_eq(sum.requests, 2);
    ck_assert_uint_eq(sum.hits, 1);
    ck_assert_uint_eq(sum.processes, 2);
    ck_assert_uint_eq(t.requests[0].key, 8);
    ck_assert_uint_eq(t.requests[1].key, 7);
    ag_trace_drop(&t);
}
END_TEST

START_TEST(there_is_one_recording_at_a_time_and_nothing_else_is_overwritten)
{
    int fd = record(MANY), second = -1, other;

    ck_assert_int_eq(ag_raw_create(raw_path, false, MANY, MANY, &second, &err), AGENT_EBUSY);
    ck_assert_ptr_nonnull(strstr(err.text, "records already"));
    (void)close(fd);
    (void)unlink(raw_path);
    other = open(raw_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(write(other, "a text of somebody's\n", 21), 21);
    (void)close(other);
    ck_assert_int_eq(ag_raw_create(raw_path, false, MANY, MANY, &second, &err), AGENT_EEXISTS);
    ck_assert_int_eq(ag_raw_attach(raw_path), -1);
    ck_assert_int_eq(second, -1);
}
END_TEST

/* --- engines ------------------------------------------------------------------------------------------------- */

static agent_engine *open_engine(int workers, unsigned flags)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_engine *e = NULL;

    o.path = db;
    o.workers = workers;
    o.flags = flags;
    ck_assert_msg(agent_open(&o, &e, &err) == AGENT_OK, "%s", err.text);
    return e;
}

static void make_agent(void)
{
    agent_engine *e = open_engine(0, AGENT_OPEN_CREATE);
    agent_config c = AGENT_CONFIG_INIT;

    ck_assert_msg(agent_create(e, "demo", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
    agent_close(e);
}

static void run_some(agent_engine *e, int count)
{
    for (int i = 0; i < count; i++) {
        agent_run_request request_of = AGENT_RUN_REQUEST_INIT;
        const agent_run_result *result = NULL;
        agent_run *run = NULL;
        char input[32];

        (void)snprintf(input, sizeof(input), "question %d", i % 5);
        request_of.agent = "demo";
        request_of.input = input;
        request_of.input_bytes = strlen(input);
        request_of.options = "{\"cache\":\"on\"}";
        ck_assert_msg(agent_run_start(e, &request_of, &run, &err) == AGENT_OK, "%s", err.text);
        ck_assert_msg(agent_run_wait(run, -1, &result, &err) == AGENT_OK, "%s", err.text);
        ck_assert_str_eq(result->status, "succeeded");
        agent_run_free(run);
    }
}

static agent_cache_trace *start(agent_engine *e, bool own_only)
{
    agent_cache_trace_options o = AGENT_CACHE_TRACE_OPTIONS_INIT;
    agent_cache_trace *t = NULL;

    o.path = file;
    o.own_only = own_only;
    ck_assert_msg(agent_cache_trace_start(e, &o, &t, &err) == AGENT_OK, "%s", err.text);
    return t;
}

/* What the trace says of a cache that is large enough is what the cache itself says. */
static void assert_agrees(const agent_cache_trace_result *r, const agent_front_stats *s)
{
    agent_replay_options o = AGENT_REPLAY_OPTIONS_INIT;
    agent_replay_result replayed = AGENT_REPLAY_RESULT_INIT;

    ck_assert_int_eq(r->requests, s->hits + s->loads);
    ck_assert_int_eq(r->hits, s->hits);
    o.trace = file;
    o.bytes = 64 << 20;
    ck_assert_msg(agent_cache_replay(&o, &replayed, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(replayed.requests, r->requests);
    ck_assert_int_eq(replayed.hits, r->hits);
}

START_TEST(an_engine_records_itself)
{
    agent_cache_trace_result r = AGENT_CACHE_TRACE_RESULT_INIT;
    agent_front_stats s = AGENT_FRONT_STATS_INIT;
    agent_cache_trace *t;
    agent_engine *e;

    make_agent();
    e = open_engine(_i == 0 ? 0 : 2, 0);
    t = start(e, true);
    run_some(e, 40);
    ck_assert_int_eq(agent_cache_trace_stop(t, &r, &err), AGENT_OK);
    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_OK);
    ck_assert_int_gt(s.hits, 80);
    ck_assert_int_eq(s.changes_seen, 0); /* on a file that was closed cleanly, too */
    assert_agrees(&r, &s);
    agent_close(e);
}
END_TEST

START_TEST(an_engine_that_inspects_records_the_others)
{
    agent_cache_trace_result r = AGENT_CACHE_TRACE_RESULT_INIT;
    agent_front_stats s = AGENT_FRONT_STATS_INIT;
    agent_engine *e, *watching;
    agent_cache_trace *t, *second = NULL;
    agent_cache_trace_options o = AGENT_CACHE_TRACE_OPTIONS_INIT;

    make_agent();
    watching = open_engine(0, AGENT_OPEN_INSPECT);
    t = start(watching, false);
    o.path = "other.csv";
    ck_assert_int_eq(agent_cache_trace_start(watching, &o, &second, &err), AGENT_EBUSY);
    ck_assert_int_ne(access("other.csv", F_OK), 0);
    e = open_engine(_i == 0 ? 0 : 2, 0); /* it looks when it is opened */
    run_some(e, 40);
    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_OK);
    agent_close(e); /* everything it had is written */
    ck_assert_int_eq(agent_cache_trace_look(t, &r, &err), AGENT_OK);
    ck_assert_int_eq(r.requests, s.hits + s.loads);
    ck_assert_msg(agent_cache_trace_stop(t, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert(!r.is_late);
    assert_agrees(&r, &s);
    ck_assert_int_ne(access(raw_path, F_OK), 0);
    agent_close(watching);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_said_and_leaves_no_file)
{
    agent_cache_trace_options o = AGENT_CACHE_TRACE_OPTIONS_INIT;
    agent_cache_trace *t = NULL;
    agent_front_stats s = AGENT_FRONT_STATS_INIT;
    agent_engine *e;

    make_agent();
    e = open_engine(0, AGENT_OPEN_INSPECT);
    o.path = file;
    o.own_only = true;
    ck_assert_int_eq(agent_cache_trace_start(e, &o, &t, &err), AGENT_EINVAL);
    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_EINVAL);
    o.own_only = false;
    o.path = db;
    ck_assert_int_eq(agent_cache_trace_start(e, &o, &t, &err), AGENT_EINVAL); /* neither .csv nor .bin */
    o.path = file;
    ck_assert_int_eq(agent_cache_trace_start(e, &o, &t, &err), AGENT_OK);
    ck_assert_int_eq(agent_cache_trace_stop(t, NULL, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "no request"));
    ck_assert_int_ne(access(file, F_OK), 0);
    (void)close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ck_assert_int_eq(agent_cache_trace_start(e, &o, &t, &err), AGENT_EEXISTS);
    ck_assert_int_eq(access(file, F_OK), 0);
    agent_close(e);
}
END_TEST

START_TEST(the_policy_is_the_host_s_else_the_file_s_else_the_default)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_front_stats s = AGENT_FRONT_STATS_INIT;
    agent_engine *e = open_engine(0, AGENT_OPEN_CREATE);
    int64_t fifo = 3;

    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_OK);
    ck_assert_str_eq(s.policy, "lruk-adaptive");
    ck_assert_int_eq(agent_limit_set(e, "cache_policy", &fifo, &err), AGENT_OK);
    agent_close(e);
    e = open_engine(0, 0);
    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_OK);
    ck_assert_str_eq(s.policy, "fifo");
    agent_close(e);
    o.path = db;
    o.workers = 0;
    o.cache_policy = "gdsf";
    ck_assert_int_eq(agent_open(&o, &e, &err), AGENT_OK);
    ck_assert_int_eq(agent_cache_front(e, &s, &err), AGENT_OK);
    ck_assert_str_eq(s.policy, "gdsf");
    agent_close(e);
    o.cache_policy = "best";
    ck_assert_int_eq(agent_open(&o, &e, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "best"));
    ck_assert_ptr_nonnull(strstr(err.hint, "s3fifo"));
}
END_TEST

Suite *cache_trace_suite(void);
Suite *cache_trace_suite(void)
{
    Suite *suite = suite_create("cache_trace");
    TCase *taps = tcase_create("tap"), *engines = tcase_create("engine");

    tcase_add_checked_fixture(taps, set_up, tear_down);
    tcase_add_loop_test(taps, every_request_is_recorded_in_its_order, 0, 2);
    tcase_add_loop_test(taps, a_second_recording_begins_when_the_first_is_over, 0, 2);
    tcase_add_loop_test(taps, a_recorder_that_died_leaves_no_tap_open, 0, 2);
    tcase_add_loop_test(taps, a_recording_has_a_cap, 0, 2);
    tcase_add_test(taps, what_cannot_be_written_in_time_is_dropped_and_told);
    tcase_add_test(taps, of_many_threads_each_request_is_recorded_or_counted_while_recordings_come_and_go);
    tcase_add_test(taps, a_record_torn_by_a_kill_is_cut_off);
    tcase_add_test(taps, there_is_one_recording_at_a_time_and_nothing_else_is_overwritten);
    suite_add_tcase(suite, taps);

    tcase_add_checked_fixture(engines, set_up, tear_down);
    tcase_add_loop_test(engines, an_engine_records_itself, 0, 2);
    tcase_add_loop_test(engines, an_engine_that_inspects_records_the_others, 0, 2);
    tcase_add_test(engines, what_cannot_be_recorded_is_said_and_leaves_no_file);
    tcase_add_test(engines, the_policy_is_the_host_s_else_the_file_s_else_the_default);
    suite_add_tcase(suite, engines);
    return suite;
}
