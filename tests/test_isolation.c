/*
 * What blocks keeps nobody else waiting: the host's callbacks, its providers, and a crowd that holds
 * all that it may. Nothing here asks how long something took: what is to go on does so while the rest
 * is held fast, or the test hangs.
 */
#include <agent/agent.h>
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

Suite *isolation_suite(void);

enum { CROWD = 100 };

static agent_engine *engine;
static agent_error err;

/* The door behind which blocked calls wait. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    int begun, ended;
} door = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void wait_behind_the_door(void)
{
    (void)pthread_mutex_lock(&door.lock);
    door.begun++;
    (void)pthread_cond_broadcast(&door.changed);
    while (!door.open)
        (void)pthread_cond_wait(&door.changed, &door.lock);
    door.ended++;
    (void)pthread_mutex_unlock(&door.lock);
}

static void wait_until_begun(int count)
{
    (void)pthread_mutex_lock(&door.lock);
    while (door.begun < count)
        (void)pthread_cond_wait(&door.changed, &door.lock);
    (void)pthread_mutex_unlock(&door.lock);
}

static int open_door(void)
{
    int ended;

    (void)pthread_mutex_lock(&door.lock);
    ended = door.ended;
    door.open = true;
    (void)pthread_cond_broadcast(&door.changed);
    (void)pthread_mutex_unlock(&door.lock);
    return ended;
}

static agent_status block(void *ctx, agent_tool_call *call, agent_error *e)
{
    (void)ctx, (void)e;
    wait_behind_the_door();
    agent_tool_call_write(call, "released", 8);
    return AGENT_OK;
}

static agent_status quick(void *ctx, agent_tool_call *call, agent_error *e)
{
    (void)ctx, (void)e;
    agent_tool_call_write(call, "done", 4);
    return AGENT_OK;
}

/* Hangs where it is told to. */
static agent_status moody(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    (void)ctx, (void)e;
    if (strcmp(q->messages[q->message_count - 1].text, "hang") == 0)
        wait_behind_the_door();
    agent_reply_text(reply, "said", 4);
    return AGENT_OK;
}

static void make(const char *name, const char *model, const char *options)
{
    static const char *const tools[] = {"block", "quick"};
    agent_config c = AGENT_CONFIG_INIT;

    c.model = model;
    c.options = options;
    c.tools = tools;
    c.tool_count = model == NULL ? 2 : 0;
    ck_assert_msg(agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static void setup(void)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_tool t = AGENT_TOOL_INIT;
    agent_provider p = {.size = sizeof(p), .name = "moody", .complete = moody};

    door.open = false;
    door.begun = door.ended = 0;
    o.workers = 1; /* one, so that there is no other to go on */
    ck_assert_msg(agent_open(&o, &engine, &err) == AGENT_OK, "%s", err.text);
    t.name = "block";
    t.call = block;
    ck_assert_msg(agent_tool_register(engine, &t, &err) == AGENT_OK, "%s", err.text);
    t.name = "quick";
    t.call = quick;
    ck_assert_msg(agent_tool_register(engine, &t, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(agent_provider_register(engine, &p, &err) == AGENT_OK, "%s", err.text);
    make("tools", NULL, NULL);
    make("hosted", "moody:any", NULL);
    make("narrow", "moody:narrow", "{\"max_concurrency\":20}");
}

static void teardown(void)
{
    agent_close(engine);
    engine = NULL;
}

static agent_run *start(const char *agent, const char *input, int priority)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    q.priority = priority;
    ck_assert_msg(agent_run_start(engine, &q, &run, &err) == AGENT_OK, "%s", err.text);
    return run;
}

static void ends_with(agent_run *run, const char *expected)
{
    const agent_run_result *r;

    ck_assert_msg(agent_run_wait(run, -1, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
    ck_assert_msg(strstr(r->output, expected) != NULL, "'%s'", r->output);
    agent_run_free(run);
}

static void start_crowd(agent_run **crowd, const char *agent, const char *input)
{
    for (int i = 0; i < CROWD; i++)
        crowd[i] = start(agent, input, i % 2 == 0 ? AGENT_PRIORITY_NORMAL : AGENT_PRIORITY_LOW);
}

/* None of the crowd had ended before; all do now. */
static void release(agent_run **crowd, const char *expected)
{
    ck_assert_int_eq(open_door(), 0);
    for (int i = 0; i < CROWD; i++)
        ends_with(crowd[i], expected);
}

START_TEST(callbacks_that_block_keep_no_other_tool_waiting)
{
    agent_run *crowd[CROWD];

    start_crowd(crowd, "tools", "/tool block {}");
    wait_until_begun(58); /* nine tenths of the places of a tool and no more, for none is of class high */
    ends_with(start("tools", "/tool quick {}", AGENT_PRIORITY_NORMAL), "done");
    ends_with(start("tools", "hello", AGENT_PRIORITY_LOW), "hello");
    release(crowd, "released");
}
END_TEST

START_TEST(providers_of_the_host_that_hang_keep_no_tool_and_no_other_model_waiting)
{
    agent_run *crowd[CROWD];

    start_crowd(crowd, "hosted", "hang");
    wait_until_begun(58);
    ends_with(start("tools", "/tool quick {}", AGENT_PRIORITY_NORMAL), "done");
    ends_with(start("narrow", "talk", AGENT_PRIORITY_LOW), "said");
    release(crowd, "said");
}
END_TEST

START_TEST(a_crowd_that_holds_all_that_it_may_leaves_a_place_to_high_runs_of_the_same_model)
{
    agent_run *crowd[CROWD];

    start_crowd(crowd, "narrow", "hang");
    wait_until_begun(18);
    for (int i = 0; i < 5; i++)
        ends_with(start("narrow", "talk", AGENT_PRIORITY_HIGH), "said");
    release(crowd, "said");
}
END_TEST

Suite *isolation_suite(void)
{
    Suite *suite = suite_create("isolation");
    TCase *t = tcase_create("isolation");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, callbacks_that_block_keep_no_other_tool_waiting);
    tcase_add_test(t, providers_of_the_host_that_hang_keep_no_tool_and_no_other_model_waiting);
    tcase_add_test(t, a_crowd_that_holds_all_that_it_may_leaves_a_place_to_high_runs_of_the_same_model);
    suite_add_tcase(suite, t);
    return suite;
}
