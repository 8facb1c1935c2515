/*
 * The durable queue from outside: through <agent/agent.h> alone. First within one engine, on each
 * store, with and without threads; then with real processes on one file, some of which are killed
 * or suspended.
 */
#include <agent/agent.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALE 4 /* a sanitizer is slow, and what is looked for is found with fewer */
#else
#define SCALE 1
#endif

static const struct setup {
    const char *name;
    bool file;
    int workers;
} setups[] = {
    {"memory, host's thread", false, 0},
    {"memory, 2 workers", false, 2},
    {"file, host's thread", true, 0},
    {"file, 2 workers", true, 2},
};
#define SETUPS ((int)(sizeof(setups) / sizeof(setups[0])))

static agent_engine *engine;
static agent_error err;
static char dir[128], path[160];

static agent_engine *open_as(const char *file, int workers)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_engine *e = NULL;

    o.path = file;
    o.workers = workers;
    o.flags = AGENT_OPEN_CREATE;
    o.tool_env = env;
    ck_assert_msg(agent_open(&o, &e, &err) == AGENT_OK, "%s", err.text);
    return e;
}

static void engine_open(int i)
{
    engine = open_as(setups[i].file ? path : NULL, setups[i].workers);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%.80s/agent-work.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = NULL;
}

static void teardown(void)
{
    char command[256];

    agent_close(engine);
    engine = NULL;
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void make(agent_engine *e, const char *name, const char *options)
{
    agent_config c = AGENT_CONFIG_INIT;

    c.options = options;
    ck_assert_msg(agent_create(e, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static agent_run_request ask(const char *agent, const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    return q;
}

static int64_t enqueue_as(agent_engine *e, const agent_run_request *q)
{
    agent_run_id id = {0};

    ck_assert_msg(agent_run_enqueue(e, q, &id, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_gt(id.id, 0);
    return id.id;
}

static int64_t enqueue(const char *agent, const char *session, int priority)
{
    agent_run_request q = ask(agent, "hi");

    q.session_name = session;
    q.priority = priority;
    return enqueue_as(engine, &q);
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

/* --- what a run came to, from the file ---------------------------------------------------------------- */

static agent_run_result *read_run(agent_engine *e, int64_t id)
{
    agent_run_result *r = NULL;

    ck_assert_msg(agent_run_read(e, (agent_run_id){id}, &r, &err) == AGENT_OK, "%s", err.text);
    return r;
}

static void status_is(int64_t id, const char *status)
{
    agent_run_result *r = read_run(engine, id);

    ck_assert_msg(strcmp(r->status, status) == 0, "run %lld is %s, not %s: %s", (long long)id, r->status, status,
                  r->error.text);
    agent_run_result_free(r);
}

static bool count_row(void *ctx, const agent_row *row)
{
    (void)row;
    (*(int *)ctx)++;
    return true;
}

static int count_runs(agent_engine *e, const char *status)
{
    agent_filter f = AGENT_FILTER_INIT;
    int count = 0;

    f.status = status;
    ck_assert_msg(agent_scan(e, AGENT_VIEW_RUNS, &f, count_row, &count, &err) == AGENT_OK, "%s", err.text);
    return count;
}

static void check_line(void *ctx, const char *text)
{
    (void)ctx;
    ck_abort_msg("db check: %s", text);
}

static void check_file(agent_engine *e)
{
    ck_assert_msg(agent_db_check(e, check_line, NULL, &err) == AGENT_OK, "%s", err.text);
}

/* --- a listener that notes the ends in their order ------------------------------------------------------ */

struct ends {
    pthread_mutex_t lock;
    char order[1024]; /* "3 1 2 " */
    int count;
    agent_engine *stop_at_start; /* asked to stop when the first run starts */
    bool stop_now;
    atomic_int started, refused;
};

#define ENDS_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

static void listen(void *ctx, const agent_event *ev)
{
    struct ends *ends = ctx;

    if (ev->type == AGENT_EVENT_RUN_START && atomic_fetch_add(&ends->started, 1) == 0 && ends->stop_at_start != NULL)
        agent_work_stop(ends->stop_at_start, ends->stop_now);
    if (ev->result == NULL)
        return;
    (void)pthread_mutex_lock(&ends->lock);
    ends->count++;
    if (strlen(ends->order) < sizeof(ends->order) - 24)
        (void)snprintf(ends->order + strlen(ends->order), 24, "%lld ", (long long)ev->run.id);
    (void)pthread_mutex_unlock(&ends->lock);
}

static void work_off(int concurrency, int64_t aging_ms, struct ends *ends)
{
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    o.concurrency = concurrency;
    o.aging_ms = aging_ms;
    o.until_idle = true;
    o.on_event = ends == NULL ? NULL : listen;
    o.ctx = ends;
    ck_assert_msg(agent_work(engine, &o, &err) == AGENT_OK, "%s", err.text);
}

/* --- one engine -------------------------------------------------------------------------------------------- */

START_TEST(a_queued_run_is_committed_and_nobody_drives_it_before_work)
{
    struct ends ends = ENDS_INIT;
    int64_t id;

    engine_open(_i);
    make(engine, "bob", NULL);
    id = enqueue("bob", NULL, 0);
    sleep_ms(20);
    status_is(id, "queued");
    work_off(0, 0, &ends);
    status_is(id, "succeeded");
    ck_assert_int_eq(ends.count, 1);
    ck_assert_int_eq(atomic_load(&ends.started), 1);
}
END_TEST

START_TEST(a_request_that_cannot_be_is_refused_and_queues_nothing)
{
    agent_run_request q;
    agent_run_id id = {77};

    engine_open(_i);
    make(engine, "bob", NULL);
    q = ask("nobody", "hi");
    ck_assert_int_eq(agent_run_enqueue(engine, &q, &id, &err), AGENT_ENOTFOUND);
    q = ask("bob", "");
    ck_assert_int_eq(agent_run_enqueue(engine, &q, &id, &err), AGENT_EINVAL);
    q = ask("bob", "\xff");
    ck_assert_int_eq(agent_run_enqueue(engine, &q, &id, &err), AGENT_EINVAL);
    ck_assert_int_eq(id.id, 77);
    ck_assert_int_eq(count_runs(engine, NULL), 0);
}
END_TEST

START_TEST(runs_are_taken_by_class_and_within_a_class_in_order)
{
    static const int priorities[] = {AGENT_PRIORITY_LOW, AGENT_PRIORITY_NORMAL, AGENT_PRIORITY_HIGH,
                                     AGENT_PRIORITY_NORMAL, AGENT_PRIORITY_HIGH, AGENT_PRIORITY_LOW};
    struct ends ends = ENDS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    for (size_t i = 0; i < sizeof(priorities) / sizeof(priorities[0]); i++)
        (void)enqueue("bob", NULL, priorities[i]);
    work_off(1, 0, &ends);
    ck_assert_str_eq(ends.order, "3 5 2 4 1 6 ");
}
END_TEST

START_TEST(who_has_waited_long_enough_is_not_overtaken)
{
    struct ends ends = ENDS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    (void)enqueue("bob", NULL, AGENT_PRIORITY_LOW);
    (void)enqueue("bob", NULL, AGENT_PRIORITY_NORMAL);
    sleep_ms(30);
    (void)enqueue("bob", NULL, AGENT_PRIORITY_HIGH);
    work_off(1, 10, &ends);
    ck_assert_str_eq(ends.order, "1 2 3 ");
}
END_TEST

START_TEST(turns_of_a_session_are_driven_one_by_one_in_order)
{
    struct ends ends = ENDS_INIT;
    agent_run_result *r;

    engine_open(_i);
    make(engine, "bob", NULL);
    for (int i = 0; i < 5; i++)
        (void)enqueue("bob", "s", i % 2 == 0 ? AGENT_PRIORITY_LOW : AGENT_PRIORITY_HIGH);
    work_off(8, 0, &ends);
    ck_assert_str_eq(ends.order, "1 2 3 4 5 ");
    r = read_run(engine, 5);
    ck_assert_msg(strstr(r->output, "turn 5") != NULL, "%s", r->output);
    agent_run_result_free(r);
}
END_TEST

START_TEST(many_runs_are_driven_at_once_and_each_ends)
{
    struct ends ends = ENDS_INIT;

    engine_open(_i);
    make(engine, "bob", "{\"latency_ms\":5}");
    for (int i = 0; i < 300; i++)
        (void)enqueue("bob", NULL, 0);
    work_off(100, 0, &ends);
    ck_assert_int_eq(ends.count, 300);
    ck_assert_int_eq(count_runs(engine, "succeeded"), 300);
    check_file(engine);
}
END_TEST

START_TEST(a_run_that_fails_does_not_end_the_work)
{
    struct ends ends = ENDS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    make(engine, "bad", "{\"fail\":400}");
    (void)enqueue("bad", "s", 0);
    (void)enqueue("bad", "s", 0);
    (void)enqueue("bob", NULL, 0);
    work_off(0, 0, &ends);
    ck_assert_int_eq(ends.count, 3);
    status_is(1, "failed");
    status_is(2, "failed");
    status_is(3, "succeeded");
}
END_TEST

START_TEST(runs_of_an_agent_that_was_removed_are_gone)
{
    struct ends ends = ENDS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    make(engine, "eve", NULL);
    (void)enqueue("bob", "s", 0);
    (void)enqueue("bob", "s", 0);
    (void)enqueue("eve", NULL, 0);
    ck_assert_int_eq(agent_remove(engine, "bob", &err), AGENT_OK);
    work_off(0, 0, &ends);
    ck_assert_str_eq(ends.order, "3 ");
}
END_TEST

START_TEST(one_key_is_one_run)
{
    agent_run_request q = ask("bob", "first");
    const agent_run_result *r = NULL;
    agent_run *run = NULL;
    int64_t id;

    engine_open(_i);
    make(engine, "bob", NULL);
    q.idempotency_key = "k";
    id = enqueue_as(engine, &q);
    q.input = "another";
    q.input_bytes = 7;
    ck_assert_int_eq(enqueue_as(engine, &q), id);
    /* One who waits for it drives it where nobody does, with what was asked first. */
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_int_eq(r->run.id, id);
    ck_assert_msg(strstr(r->output, "first") != NULL, "%s", r->output);
    agent_run_free(run);
    ck_assert_int_eq(enqueue_as(engine, &q), id);
    ck_assert_int_eq(count_runs(engine, NULL), 1);
    check_file(engine);
}
END_TEST

START_TEST(to_give_up_waiting_for_a_run_of_another_request_does_not_cancel_it)
{
    agent_run_request q = ask("slow", "first");
    const agent_run_result *r = NULL;
    agent_run *run = NULL, *second = NULL;

    engine_open(_i);
    make(engine, "slow", "{\"latency_ms\":500}");
    q.idempotency_key = "k";
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
    while (count_runs(engine, "running") == 0)
        ck_assert_int_eq(agent_run_wait(run, 10, NULL, &err), AGENT_ETIMEDOUT);
    ck_assert_int_eq(agent_run_start(engine, &q, &second, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(second, 50, NULL, &err), AGENT_ETIMEDOUT);
    agent_run_cancel(second);
    ck_assert_int_eq(agent_run_wait(second, 30000, &r, &err), AGENT_OK);
    ck_assert_int_eq(r->error.status, AGENT_ECANCELLED);
    ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    agent_run_free(run);
    agent_run_free(second);
}
END_TEST

START_TEST(asked_to_stop_it_takes_nothing_new_and_ends_what_runs)
{
    struct ends ends = ENDS_INIT;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    engine_open(_i);
    make(engine, "slow", "{\"latency_ms\":50}");
    for (int i = 0; i < 10; i++)
        (void)enqueue("slow", NULL, 0);
    ends.stop_at_start = engine;
    o.concurrency = 3;
    o.on_event = listen;
    o.ctx = &ends;
    ck_assert_msg(agent_work(engine, &o, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(ends.count, atomic_load(&ends.started));
    ck_assert_int_eq(count_runs(engine, "succeeded"), ends.count);
    ck_assert_int_eq(count_runs(engine, "queued"), 10 - ends.count);
    ck_assert_int_eq(count_runs(engine, "running"), 0);
    ck_assert_int_gt(count_runs(engine, "queued"), 0);
    work_off(0, 0, NULL);
    ck_assert_int_eq(count_runs(engine, "succeeded"), 10);
}
END_TEST

START_TEST(asked_to_stop_before_it_began_it_returns_at_once_and_only_then)
{
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    (void)enqueue("bob", NULL, 0);
    agent_work_stop(engine, false);
    ck_assert_int_eq(agent_work(engine, &o, &err), AGENT_OK);
    status_is(1, "queued");
    work_off(0, 0, NULL);
    status_is(1, "succeeded");
}
END_TEST

static void work_within(void *ctx, const agent_event *ev)
{
    struct ends *ends = ctx;
    agent_error e = AGENT_ERROR_INIT;

    if (ev->type == AGENT_EVENT_RUN_START && agent_work(ends->stop_at_start, NULL, &e) == AGENT_EBUSY)
        (void)atomic_fetch_add(&ends->refused, 1);
}

START_TEST(an_engine_works_once_at_a_time)
{
    struct ends ends = ENDS_INIT;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    engine_open(_i);
    make(engine, "bob", NULL);
    (void)enqueue("bob", NULL, 0);
    ends.stop_at_start = engine;
    o.until_idle = true;
    o.on_event = work_within;
    o.ctx = &ends;
    ck_assert_int_eq(agent_work(engine, &o, &err), AGENT_OK);
    ck_assert_int_eq(atomic_load(&ends.refused), 1);
    o.concurrency = -1;
    ck_assert_int_eq(agent_work(engine, &o, &err), AGENT_EINVAL);
}
END_TEST

static void *enqueue_later(void *arg)
{
    agent_engine *e = arg;
    agent_run_request q = ask("bob", "hi");
    agent_run_id id;
    agent_error e2 = AGENT_ERROR_INIT;

    for (int i = 0; i < 5; i++) {
        sleep_ms(10);
        if (agent_run_enqueue(e, &q, &id, &e2) != AGENT_OK)
            return e;
    }
    return NULL;
}

static void stop_at_five(void *ctx, const agent_event *ev)
{
    struct ends *ends = ctx;

    listen(ctx, ev);
    if (ev->result != NULL && ends->count == 5)
        agent_work_stop(ends->stop_at_start, false);
}

START_TEST(what_another_thread_queues_wakes_it)
{
    struct ends ends = ENDS_INIT;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;
    pthread_t thread;
    void *failed = NULL;

    if (setups[_i].workers == 0)
        return; /* one thread only may call such an engine */
    engine_open(_i);
    make(engine, "bob", NULL);
    o.on_event = stop_at_five;
    o.ctx = &ends;
    ends.stop_at_start = engine;
    atomic_store(&ends.started, 1); /* not at the first start, but at the fifth end */
    ck_assert_int_eq(pthread_create(&thread, NULL, enqueue_later, engine), 0);
    ck_assert_int_eq(agent_work(engine, &o, &err), AGENT_OK);
    (void)pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    ck_assert_int_eq(count_runs(engine, "succeeded"), 5);
}
END_TEST

START_TEST(a_run_can_be_read_however_it_stands)
{
    agent_run_result *r = NULL;
    int64_t id;

    engine_open(_i);
    make(engine, "bob", NULL);
    ck_assert_int_eq(agent_run_read(engine, (agent_run_id){9}, &r, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_null(r);
    id = enqueue("bob", NULL, 0);
    r = read_run(engine, id);
    ck_assert_str_eq(r->status, "queued");
    ck_assert_str_eq(r->agent, "bob");
    ck_assert_str_eq(r->output, "");
    ck_assert_int_eq(r->wall_ms, -1);
    ck_assert_int_eq(r->error.status, AGENT_OK);
    agent_run_result_free(r);
    work_off(0, 0, NULL);
    r = read_run(engine, id);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_msg(strstr(r->output, "hi") != NULL, "%s", r->output);
    ck_assert_int_eq((int)strlen(r->output), (int)r->output_bytes);
    ck_assert_int_ge(r->wall_ms, 0);
    agent_run_result_free(r);
}
END_TEST

/* --- engines on one file ---------------------------------------------------------------------------------- */

START_TEST(stopped_at_once_its_runs_stay_for_the_next)
{
    struct ends ends = ENDS_INIT;
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    engine = open_as(path, _i);
    make(engine, "slow", "{\"latency_ms\":200}");
    for (int i = 0; i < 4; i++)
        (void)enqueue("slow", "s", 0);
    ends.stop_at_start = engine;
    ends.stop_now = true;
    o.on_event = listen;
    o.ctx = &ends;
    ck_assert_int_eq(agent_work(engine, &o, &err), AGENT_OK);
    agent_close(engine);
    engine = open_as(path, 0);
    ck_assert_int_lt(count_runs(engine, "succeeded"), 4);
    work_off(0, 0, NULL);
    ck_assert_int_eq(count_runs(engine, "succeeded"), 4);
    check_file(engine);
}
END_TEST

START_TEST(a_run_taken_by_force_is_dropped_by_who_had_it)
{
    agent_run_request q = ask("slow", "hi");
    const agent_run_result *r = NULL, *taken_r = NULL;
    agent_run *had = NULL, *taken = NULL;
    agent_engine *other = open_as(path, _i);
    int messages = 0;

    engine = open_as(path, 2);
    make(engine, "slow", "{\"latency_ms\":1500}");
    ck_assert_int_eq(agent_run_start(engine, &q, &had, &err), AGENT_OK);
    while (count_runs(engine, "running") == 0)
        sleep_ms(5);
    ck_assert_int_eq(agent_run_resume(other, (agent_run_id){1}, NULL, NULL, &taken, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(taken, 30000, &taken_r, &err), AGENT_OK);
    ck_assert_int_eq(taken_r->error.status, AGENT_EBUSY);
    agent_run_free(taken);
    ck_assert_int_eq(agent_run_resume_force(other, (agent_run_id){1}, NULL, NULL, &taken, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(taken, 30000, &taken_r, &err), AGENT_OK);
    ck_assert_str_eq(taken_r->status, "succeeded");
    ck_assert_int_eq(taken_r->attempts, 2);
    ck_assert_int_eq(agent_run_wait(had, 30000, &r, &err), AGENT_OK);
    ck_assert_int_eq(r->error.status, AGENT_ELOST);
    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_MESSAGES, NULL, count_row, &messages, &err), AGENT_OK);
    ck_assert_int_eq(messages, 2);
    agent_run_free(had);
    agent_run_free(taken);
    agent_close(other);
    check_file(engine);
}
END_TEST

START_TEST(a_commit_of_somebody_else_is_waited_for)
{
    agent_options inspect = AGENT_OPTIONS_INIT;
    agent_engine *reader = NULL;

    engine = open_as(path, 0);
    make(engine, "bob", NULL);
    inspect.path = path;
    inspect.flags = AGENT_OPEN_INSPECT;
    ck_assert_msg(agent_open(&inspect, &reader, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(agent_wait_change(reader, 0, &err), AGENT_OK); /* the first call */
    ck_assert_int_eq(agent_wait_change(reader, 50, &err), AGENT_ETIMEDOUT);
    (void)enqueue("bob", NULL, 0);
    ck_assert_int_eq(agent_wait_change(reader, 30000, &err), AGENT_OK);
    ck_assert_int_eq(count_runs(reader, "queued"), 1);
    ck_assert_int_eq(agent_wait_change(reader, 0, &err), AGENT_ETIMEDOUT);
    agent_close(reader);
}
END_TEST

/* --- processes --------------------------------------------------------------------------------------------------- */

static agent_engine *child_open(void)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_engine *e = NULL;
    agent_error e2 = AGENT_ERROR_INIT;

    o.path = path;
    o.workers = 0;
    o.tool_env = env;
    o.busy_timeout_ms = 60000;
    if (agent_open(&o, &e, &e2) != AGENT_OK) {
        fprintf(stderr, "child: open: %s\n", e2.text);
        _exit(3);
    }
    return e;
}

/* Runs `body` in a process of its own, which ends with what it returns. */
static pid_t spawn(int (*body)(int number), int number)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(body(number));
    return pid;
}

static void ends_well(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "process %d: %s %d", (int)pid,
                  WIFEXITED(status) ? "exit" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static int work_until_idle(int concurrency)
{
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;
    agent_engine *e = child_open();
    agent_error e2 = AGENT_ERROR_INIT;
    agent_status rc;

    o.concurrency = concurrency;
    o.until_idle = true;
    rc = agent_work(e, &o, &e2);
    if (rc != AGENT_OK)
        fprintf(stderr, "child: work: %s\n", e2.text);
    agent_close(e);
    return rc == AGENT_OK ? 0 : 4;
}

static int work_for_ever(int concurrency)
{
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;

    o.concurrency = concurrency;
    (void)agent_work(child_open(), &o, NULL);
    return 5; /* it is killed before */
}

static void wait_until(const char *status, int count)
{
    for (int i = 0; i < 6000 && count_runs(engine, status) < count; i++)
        sleep_ms(10);
    ck_assert_int_ge(count_runs(engine, status), count);
}

static int lines_of(const char *file)
{
    char at[200];
    FILE *f;
    int c, lines = 0;

    (void)snprintf(at, sizeof(at), "%s/%s", dir, file);
    if ((f = fopen(at, "r")) == NULL)
        return 0;
    while ((c = fgetc(f)) != EOF)
        lines += c == '\n';
    (void)fclose(f);
    return lines;
}

/* An effect tool that writes a line down when it is called, then takes its time. */
static void make_acting_agent(void)
{
    static const char *const tools[] = {"act"};
    static char script[256];
    const char *argv[] = {"sh", "-c", script, NULL};
    agent_config c = AGENT_CONFIG_INIT;
    agent_command tool = AGENT_COMMAND_INIT;

    (void)snprintf(script, sizeof(script), "echo $AGENT_RUN_ID >>%s/acted; sleep 1", dir);
    tool.name = "act";
    tool.description = "acts";
    tool.argv = argv;
    tool.effect = AGENT_EFFECT_EFFECT;
    ck_assert_msg(agent_command_put(engine, &tool, false, &err) == AGENT_OK, "%s", err.text);
    c.tools = tools;
    c.tool_count = 1;
    ck_assert_msg(agent_create(engine, "actor", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

START_TEST(runs_of_a_killed_process_are_finished_by_another_exactly_once)
{
    enum { PLAIN = 15, ACTING = 5 };
    agent_run_request act;
    pid_t victim, heir;

    engine = open_as(path, 0);
    make(engine, "slow", "{\"latency_ms\":600}");
    make_acting_agent();
    act = ask("actor", "/tool act");
    for (int i = 0; i < PLAIN; i++)
        (void)enqueue("slow", i % 3 == 0 ? "s" : NULL, 0); /* five of them are turns of one session */
    for (int i = 0; i < ACTING; i++)
        (void)enqueue_as(engine, &act);
    victim = spawn(work_for_ever, 64);
    heir = 0;
    for (int i = 0; i < 3000 && lines_of("acted") < ACTING; i++)
        sleep_ms(10);
    ck_assert_int_eq(lines_of("acted"), ACTING);
    heir = spawn(work_until_idle, 64); /* there before the death, and idle */
    sleep_ms(50);
    ck_assert_int_eq(kill(victim, SIGKILL), 0);
    ck_assert_int_eq(waitpid(victim, NULL, 0), victim);
    wait_until("succeeded", PLAIN);
    wait_until("waiting", ACTING);
    ends_well(heir);
    ends_well(spawn(work_until_idle, 64)); /* finds nothing more to do */
    ck_assert_int_eq(count_runs(engine, "succeeded"), PLAIN);
    ck_assert_int_eq(count_runs(engine, "waiting"), ACTING);
    ck_assert_int_eq(lines_of("acted"), ACTING); /* no effect was repeated */
    check_file(engine);
}
END_TEST

START_TEST(a_suspended_process_keeps_its_run_until_it_is_taken_by_force)
{
    const agent_run_result *r = NULL;
    agent_run *run = NULL;
    int messages = 0;
    pid_t pid;

    engine = open_as(path, 0);
    make(engine, "slow", "{\"latency_ms\":1500}");
    (void)enqueue("slow", NULL, 0);
    pid = spawn(work_until_idle, 1);
    wait_until("running", 1);
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    work_off(0, 0, NULL); /* nobody is dead: there is nothing to do */
    status_is(1, "running");
    ck_assert_int_eq(agent_run_resume_force(engine, (agent_run_id){1}, NULL, NULL, &run, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_int_eq(r->attempts, 2);
    agent_run_free(run);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ends_well(pid); /* it dropped the run, and its work went on */
    status_is(1, "succeeded");
    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_MESSAGES, NULL, count_row, &messages, &err), AGENT_OK);
    ck_assert_int_eq(messages, 2);
    check_file(engine);
}
END_TEST

/* 64 runs of one process, on the four sessions in turn; half are queued, half are driven by their maker. */
enum { PUSHERS = 8, SESSIONS = 4, PUSHED = 64 / SCALE };

static int push(int number)
{
    static const char *const sessions[SESSIONS] = {"a", "b", "c", "d"};
    agent_engine *e = child_open();
    agent_run *runs[PUSHED] = {NULL};
    agent_error e2 = AGENT_ERROR_INIT;
    int bad = 0;

    for (int i = 0; i < PUSHED; i++) {
        agent_run_request q = ask("bob", "hi");
        agent_run_id id;
        agent_status rc;

        q.session_name = sessions[i % SESSIONS];
        rc = number % 2 == 0 ? agent_run_start(e, &q, &runs[i], &e2) : agent_run_enqueue(e, &q, &id, &e2);
        if (rc != AGENT_OK)
            bad++;
    }
    for (int i = 0; i < PUSHED; i++) {
        const agent_run_result *r = NULL;

        if (runs[i] == NULL)
            continue;
        if (agent_run_wait(runs[i], -1, &r, &e2) != AGENT_OK || strcmp(r->status, "succeeded") != 0) {
            fprintf(stderr, "child %d: run %lld %s: %s\n", number, (long long)r->run.id, r->status, r->error.text);
            bad++;
        }
        agent_run_free(runs[i]);
    }
    agent_close(e);
    return bad == 0 ? 0 : 6;
}

struct order {
    int64_t run[SESSIONS + 1], seq[SESSIONS + 1];
    int messages;
};

static bool in_order(void *ctx, const agent_row *row)
{
    struct order *order = ctx;
    int64_t session = agent_row_int(row, agent_row_find(row, "session_id"));
    int64_t run = agent_row_int(row, agent_row_find(row, "run_id"));
    int64_t seq = agent_row_int(row, agent_row_find(row, "seq"));
    const char *role = agent_row_text(row, agent_row_find(row, "role"), NULL);

    ck_assert_int_le(session, SESSIONS);
    ck_assert_int_eq(seq, order->seq[session] + 1);
    ck_assert_str_eq(role, seq % 2 == 1 ? "user" : "assistant"); /* turns are not interleaved */
    if (seq % 2 == 1)
        ck_assert_int_gt(run, order->run[session]); /* and come in the order they were queued */
    else
        ck_assert_int_eq(run, order->run[session]);
    order->run[session] = run;
    order->seq[session] = seq;
    order->messages++;
    return true;
}

START_TEST(many_processes_on_the_same_sessions_lose_nothing_and_keep_the_order)
{
    pid_t pushers[PUSHERS], workers[2];
    struct order order = {.messages = 0};

    engine = open_as(path, 0);
    make(engine, "bob", NULL);
    for (int i = 0; i < 2; i++)
        workers[i] = spawn(work_for_ever, 16);
    for (int i = 0; i < PUSHERS; i++)
        pushers[i] = spawn(push, i);
    for (int i = 0; i < PUSHERS; i++)
        ends_well(pushers[i]);
    wait_until("succeeded", PUSHERS * PUSHED);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(kill(workers[i], SIGKILL), 0);
        ck_assert_int_eq(waitpid(workers[i], NULL, 0), workers[i]);
    }
    ck_assert_int_eq(count_runs(engine, NULL), PUSHERS * PUSHED);
    ck_assert_int_eq(count_runs(engine, "succeeded"), PUSHERS * PUSHED);
    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_MESSAGES, NULL, in_order, &order, &err), AGENT_OK);
    ck_assert_int_eq(order.messages, 2 * PUSHERS * PUSHED);
    check_file(engine);
}
END_TEST

static int push_one_key(int number)
{
    agent_run_request q = ask("bob", "hi");
    const agent_run_result *r = NULL;
    agent_engine *e = child_open();
    agent_error e2 = AGENT_ERROR_INIT;
    agent_run_id id = {0};
    agent_run *run = NULL;
    bool is_good;

    q.idempotency_key = "the one";
    if (number % 2 == 0) {
        is_good = agent_run_enqueue(e, &q, &id, &e2) == AGENT_OK && id.id == 1;
    } else {
        is_good = agent_run_start(e, &q, &run, &e2) == AGENT_OK && agent_run_wait(run, -1, &r, &e2) == AGENT_OK &&
                  r->run.id == 1 && strcmp(r->status, "succeeded") == 0;
        agent_run_free(run);
    }
    agent_close(e);
    return is_good ? 0 : 7;
}

START_TEST(twenty_processes_with_one_key_make_one_run)
{
    enum { COUNT = 20 };
    pid_t pids[COUNT];

    engine = open_as(path, 0);
    make(engine, "bob", NULL);
    for (int i = 0; i < COUNT; i++)
        pids[i] = spawn(push_one_key, i);
    for (int i = 0; i < COUNT; i++)
        ends_well(pids[i]);
    ck_assert_int_eq(count_runs(engine, NULL), 1);
    status_is(1, "succeeded");
    check_file(engine);
}
END_TEST

Suite *work_suite(void);
Suite *work_suite(void)
{
    Suite *suite = suite_create("work");
    TCase *one = tcase_create("one engine"), *file = tcase_create("engines on a file");
    TCase *processes = tcase_create("processes");

    tcase_add_checked_fixture(one, setup, teardown);
    tcase_set_timeout(one, 120);
    tcase_add_loop_test(one, a_queued_run_is_committed_and_nobody_drives_it_before_work, 0, SETUPS);
    tcase_add_loop_test(one, a_request_that_cannot_be_is_refused_and_queues_nothing, 0, SETUPS);
    tcase_add_loop_test(one, runs_are_taken_by_class_and_within_a_class_in_order, 0, SETUPS);
    tcase_add_loop_test(one, who_has_waited_long_enough_is_not_overtaken, 0, SETUPS);
    tcase_add_loop_test(one, turns_of_a_session_are_driven_one_by_one_in_order, 0, SETUPS);
    tcase_add_loop_test(one, many_runs_are_driven_at_once_and_each_ends, 0, SETUPS);
    tcase_add_loop_test(one, a_run_that_fails_does_not_end_the_work, 0, SETUPS);
    tcase_add_loop_test(one, runs_of_an_agent_that_was_removed_are_gone, 0, SETUPS);
    tcase_add_loop_test(one, one_key_is_one_run, 0, SETUPS);
    tcase_add_loop_test(one, to_give_up_waiting_for_a_run_of_another_request_does_not_cancel_it, 0, SETUPS);
    tcase_add_loop_test(one, asked_to_stop_it_takes_nothing_new_and_ends_what_runs, 0, SETUPS);
    tcase_add_loop_test(one, asked_to_stop_before_it_began_it_returns_at_once_and_only_then, 0, SETUPS);
    tcase_add_loop_test(one, an_engine_works_once_at_a_time, 0, SETUPS);
    tcase_add_loop_test(one, what_another_thread_queues_wakes_it, 0, SETUPS);
    tcase_add_loop_test(one, a_run_can_be_read_however_it_stands, 0, SETUPS);
    suite_add_tcase(suite, one);

    tcase_add_checked_fixture(file, setup, teardown);
    tcase_set_timeout(file, 120);
    tcase_add_loop_test(file, stopped_at_once_its_runs_stay_for_the_next, 0, 3);
    tcase_add_loop_test(file, a_run_taken_by_force_is_dropped_by_who_had_it, 0, 2);
    tcase_add_test(file, a_commit_of_somebody_else_is_waited_for);
    suite_add_tcase(suite, file);

    tcase_add_checked_fixture(processes, setup, teardown);
    tcase_set_timeout(processes, 300);
    tcase_add_test(processes, runs_of_a_killed_process_are_finished_by_another_exactly_once);
    tcase_add_test(processes, a_suspended_process_keeps_its_run_until_it_is_taken_by_force);
    tcase_add_test(processes, many_processes_on_the_same_sessions_lose_nothing_and_keep_the_order);
    tcase_add_test(processes, twenty_processes_with_one_key_make_one_run);
    suite_add_tcase(suite, processes);
    return suite;
}
