/*
 * Runs that wait: for a permit, for their session's turn, or not at all because they were told not
 * to. Through <agent/agent.h> alone, on each store, with and without threads.
 */
#include <agent/agent.h>
#include <check.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0 /* clang's; gcc has macros of its own */
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define HEAP_IS_OURS 0 /* the sanitizer's heap says nothing by mallinfo2() */
#else
#define HEAP_IS_OURS 1
#endif

static const struct setup {
    bool file;
    int workers;
} setups[] = {{false, 0}, {false, 2}, {true, 0}, {true, 2}};
#define SETUPS ((int)(sizeof(setups) / sizeof(setups[0])))

static agent_engine *engine;
static agent_error err;
static char dir[128], path[160];
static bool is_inline; /* the engine is driven by go_on() */

/* A model that answers when it is let. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static bool is_open; /* guarded by lock */
static atomic_int asked, ended;

static agent_status answer(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    (void)ctx;
    (void)e;
    atomic_fetch_add(&asked, 1);
    (void)pthread_mutex_lock(&lock);
    while (!is_open && !agent_reply_cancelled(reply))
        (void)pthread_cond_wait(&wake, &lock);
    (void)pthread_mutex_unlock(&lock);
    agent_reply_text(reply, q->messages[q->message_count - 1].text, q->messages[q->message_count - 1].text_bytes);
    return AGENT_OK;
}

static void open_gate(bool open)
{
    (void)pthread_mutex_lock(&lock);
    is_open = open;
    (void)pthread_cond_broadcast(&wake);
    (void)pthread_mutex_unlock(&lock);
}

static void engine_open(int i)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_provider p = {.size = sizeof(p), .name = "slow", .complete = answer};
    agent_config c = AGENT_CONFIG_INIT;

    o.path = setups[i].file ? path : NULL;
    o.durability = AGENT_DURABILITY_PROCESS;
    o.workers = setups[i].workers;
    is_inline = o.workers == 0;
    o.flags = AGENT_OPEN_CREATE;
    ck_assert_msg(agent_open(&o, &engine, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(agent_provider_register(engine, &p, &err), AGENT_OK);
    c.model = "slow:m";
    c.options = "{\"max_concurrency\":1}";
    ck_assert_msg(agent_create(engine, "slow", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
    c.model = "offline:demo";
    c.options = "{\"cache\":\"on\"}";
    ck_assert_msg(agent_create(engine, "demo", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%.80s/agent-waiting.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = NULL;
    open_gate(false);
    atomic_store(&asked, 0);
    atomic_store(&ended, 0);
}

static void teardown(void)
{
    char command[256];

    open_gate(true);
    agent_close(engine);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void on_event(void *ctx, const agent_event *e)
{
    (void)ctx;
    if (e->result != NULL)
        atomic_fetch_add(&ended, 1);
}

static agent_run_request ask(const char *agent, const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    q.on_event = on_event;
    return q;
}

static agent_run *start(const agent_run_request *q)
{
    agent_run *run = NULL;

    ck_assert_msg(agent_run_start(engine, q, &run, &err) == AGENT_OK, "%s", err.text);
    return run;
}

static const agent_run_result *wait_for(agent_run *run)
{
    const agent_run_result *r = NULL;

    ck_assert_msg(agent_run_wait(run, 60000, &r, &err) == AGENT_OK, "%s", err.text);
    return r;
}

/* Lets the engine do what it can without an answer. */
static void go_on(int turns)
{
    for (int i = 0; i < turns; i++) {
        if (is_inline)
            ck_assert_int_eq(agent_drive(engine, 5, &err), AGENT_OK);
        else
            (void)usleep(5000);
    }
}

/* The first run is at the model and keeps the only permit. */
static agent_run *hold_permit(void)
{
    agent_run_request q = ask("slow", "the first");
    agent_run *run = start(&q);

    for (int i = 0; i < 2000 && atomic_load(&asked) == 0; i++)
        go_on(1);
    ck_assert_int_eq(atomic_load(&asked), 1);
    return run;
}

START_TEST(a_run_that_waits_for_a_permit_takes_less_than_a_kilobyte)
{
    enum { N = 1000 };
    static agent_run *runs[N];
    agent_run *first;
    agent_run_request q;
    struct mallinfo2 before, after;
    char input[64];

    engine_open(_i);
    first = hold_permit();
    before = mallinfo2();
    for (int i = 0; i < N; i++) {
        (void)snprintf(input, sizeof(input), "what is the answer to question %d, please?", i);
        q = ask("slow", input);
        runs[i] = start(&q);
    }
    go_on(40);
    after = mallinfo2();
    ck_assert_int_eq(atomic_load(&asked), 1);
    if (HEAP_IS_OURS)
        ck_assert_uint_le((after.uordblks - before.uordblks) / N, 1024);
    open_gate(true);
    for (int i = 0; i < N; i++) {
        const agent_run_result *r = wait_for(runs[i]);

        (void)snprintf(input, sizeof(input), "what is the answer to question %d, please?", i);
        ck_assert_str_eq(r->output, input); /* nothing was mixed up on the way */
        agent_run_free(runs[i]);
    }
    (void)wait_for(first);
    agent_run_free(first);
    ck_assert_int_eq(atomic_load(&ended), N + 1);
}
END_TEST

START_TEST(a_run_in_line_is_cancelled_at_once_and_nothing_of_it_is_in_the_file)
{
    agent_run_request q;
    agent_run *first, *second;
    const agent_run_result *r;

    engine_open(_i);
    first = hold_permit();
    q = ask("slow", "never mind");
    second = start(&q);
    go_on(4);
    ck_assert_int_eq(agent_run_wait(second, 0, NULL, &err), AGENT_ETIMEDOUT);
    agent_run_cancel(second);
    r = wait_for(second);
    ck_assert_str_eq(r->status, "cancelled");
    ck_assert_int_eq(r->error.status, AGENT_ECANCELLED);
    ck_assert_int_eq(r->run.id, 0);
    agent_run_free(second);
    open_gate(true);
    ck_assert_str_eq(wait_for(first)->status, "succeeded");
    agent_run_free(first);
    ck_assert_int_eq(atomic_load(&asked), 1);
}
END_TEST

START_TEST(a_run_whose_time_is_over_in_line_fails_there)
{
    agent_run_request q;
    agent_run *first, *second;
    const agent_run_result *r;

    engine_open(_i);
    first = hold_permit();
    q = ask("slow", "quick!");
    q.timeout_ms = 30;
    second = start(&q);
    r = wait_for(second);
    ck_assert_int_eq(r->error.status, AGENT_ETIMEDOUT);
    ck_assert_int_eq(atomic_load(&asked), 1);
    agent_run_free(second);
    open_gate(true);
    (void)wait_for(first);
    agent_run_free(first);
}
END_TEST

START_TEST(an_engine_that_is_closed_tells_those_in_line)
{
    enum { N = 50 };
    agent_run *runs[N], *first;
    agent_run_request q;

    engine_open(_i);
    first = hold_permit();
    q = ask("slow", "wait");
    for (int i = 0; i < N; i++)
        runs[i] = start(&q);
    go_on(2);
    agent_run_free(first);
    for (int i = 0; i < N; i++)
        agent_run_free(runs[i]); /* nobody listens any more but on_event */
    open_gate(true);
    agent_close(engine);
    engine = NULL;
    ck_assert_int_eq(atomic_load(&ended), N + 1);
}
END_TEST

START_TEST(a_busy_session_refuses_a_turn_that_will_not_wait)
{
    agent_run_request q;
    agent_run *first, *second;
    const agent_run_result *r;
    agent_run_id id = {0};

    engine_open(_i);
    q = ask("slow", "one");
    q.session_name = "s";
    first = start(&q);
    for (int i = 0; i < 2000 && atomic_load(&asked) == 0; i++)
        go_on(1);
    q.input = "two";
    q.on_busy = AGENT_ON_BUSY_FAIL;
    second = start(&q); /* it is told, though no permit is free */
    r = wait_for(second);
    ck_assert_int_eq(r->error.status, AGENT_EBUSY);
    ck_assert_int_eq(r->run.id, 0);
    ck_assert_ptr_nonnull(strstr(r->error.text, "run 1 "));
    ck_assert_str_ne(r->error.hint, "");
    agent_run_free(second);
    if (setups[_i].workers > 0) { /* else it would be driven meanwhile */
        ck_assert_int_eq(agent_run_enqueue(engine, &q, &id, &err), AGENT_EBUSY);
        ck_assert_int_eq(id.id, 0);
    }
    open_gate(true);
    ck_assert_str_eq(wait_for(first)->status, "succeeded");
    agent_run_free(first);
    second = start(&q);
    ck_assert_str_eq(wait_for(second)->status, "succeeded");
    ck_assert_int_eq(wait_for(second)->run.id, 2);
    agent_run_free(second);
}
END_TEST

START_TEST(on_busy_is_one_of_its_words)
{
    agent_run_request q = ask("demo", "x");
    agent_run *run = NULL;

    engine_open(_i);
    q.on_busy = 7;
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "on_busy"));
}
END_TEST

START_TEST(a_run_that_is_asked_for_again_says_whether_it_came_from_the_cache)
{
    agent_run_request q = ask("demo", "hello");
    agent_run_result *read;
    agent_run *run;

    engine_open(_i);
    for (int i = 0; i < 2; i++) { /* the second one's answer is the first one's */
        q.idempotency_key = i == 0 ? "a" : "b";
        run = start(&q);
        ck_assert_int_eq(wait_for(run)->cache_hit, i == 1);
        agent_run_free(run);
        run = start(&q);
        ck_assert_int_eq(wait_for(run)->run.id, i + 1);
        ck_assert_int_eq(wait_for(run)->cache_hit, i == 1);
        agent_run_free(run);
        ck_assert_int_eq(agent_run_read(engine, (agent_run_id){i + 1}, &read, &err), AGENT_OK);
        ck_assert_int_eq(read->cache_hit, i == 1);
        agent_run_result_free(read);
    }
}
END_TEST

Suite *waiting_suite(void);

Suite *waiting_suite(void)
{
    Suite *suite = suite_create("waiting");
    TCase *t = tcase_create("waiting");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_run_that_waits_for_a_permit_takes_less_than_a_kilobyte, 0, SETUPS);
    tcase_add_loop_test(t, a_run_in_line_is_cancelled_at_once_and_nothing_of_it_is_in_the_file, 0, SETUPS);
    tcase_add_loop_test(t, a_run_whose_time_is_over_in_line_fails_there, 0, SETUPS);
    tcase_add_loop_test(t, an_engine_that_is_closed_tells_those_in_line, 0, SETUPS);
    tcase_add_loop_test(t, a_busy_session_refuses_a_turn_that_will_not_wait, 0, SETUPS);
    tcase_add_loop_test(t, on_busy_is_one_of_its_words, 0, SETUPS);
    tcase_add_loop_test(t, a_run_that_is_asked_for_again_says_whether_it_came_from_the_cache, 0, SETUPS);
    suite_add_tcase(suite, t);
    return suite;
}
