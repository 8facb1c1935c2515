/*
 * The engine from outside: through <agent/agent.h> alone, on each store and with and without
 * threads. Every test runs on all of them.
 */
#include <agent/agent.h>
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
static char dir[64], path[96];

static void engine_open(int i)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "CANARY=tool-env", NULL};
    agent_options o = AGENT_OPTIONS_INIT;

    o.workers = setups[i].workers;
    o.path = setups[i].file ? path : NULL;
    o.flags = AGENT_OPEN_CREATE;
    o.tool_env = env;
    ck_assert_msg(agent_open(&o, &engine, &err) == AGENT_OK, "%s: %s", setups[i].name, err.text);
}

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/agent-engine.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = NULL;
}

static void teardown(void)
{
    char command[128];

    agent_close(engine);
    engine = NULL;
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* What a listener was told, as one line of words. */
struct told {
    char text[8192];
    char streamed[4096];
    char answer[4096];
    _Atomic(agent_run *) cancel_on_text;
    atomic_int texts;
};

static void note(struct told *t, const char *word)
{
    strncat(t->text, word, sizeof(t->text) - strlen(t->text) - 2);
    strcat(t->text, " ");
}

static void listen(void *ctx, const agent_event *e)
{
    struct told *t = ctx;

    if (e->type == AGENT_EVENT_TEXT) {
        strncat(t->streamed, e->text, e->text_bytes < 1000 ? e->text_bytes : 1000);
        if (atomic_fetch_add(&t->texts, 1) == 0)
            note(t, "text");
        return;
    }
    note(t, agent_event_name(e->type));
    if (e->tool != NULL && e->type == AGENT_EVENT_TOOL_END) {
        note(t, e->tool);
        note(t, e->status);
    }
}

static agent_config config(void)
{
    agent_config c = AGENT_CONFIG_INIT;

    return c;
}

static void make(const char *name, const agent_config *c)
{
    ck_assert_msg(agent_create(engine, name, c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static agent_run_request ask(const char *agent, const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
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

    ck_assert_msg(agent_run_wait(run, 30000, &r, &err) == AGENT_OK, "%s", err.text);
    return r;
}

/* Runs one turn; the answer is copied. */
static const char *turn(const agent_run_request *q)
{
    static char answer[4096];
    agent_run *run = start(q);
    const agent_run_result *r = wait_for(run);

    ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
    (void)snprintf(answer, sizeof(answer), "%s", r->output);
    agent_run_free(run);
    return answer;
}

/* --- rows ------------------------------------------------------------------------------------------ */

struct column {
    const char *name;
    char text[8192]; /* values, each followed by a space */
    int64_t sum;
    int rows;
};

static bool gather(void *ctx, const agent_row *row)
{
    struct column *c = ctx;
    int i = agent_row_find(row, c->name);
    size_t n = 0;
    const char *text;

    ck_assert_msg(i >= 0, "no column %s", c->name);
    text = agent_row_text(row, i, &n);
    c->rows++;
    c->sum += agent_row_int(row, i);
    if (text != NULL)
        strncat(c->text, text, n < 200 ? n : 200);
    else if (agent_row_type(row, i) == AGENT_VALUE_INT)
        (void)snprintf(c->text + strlen(c->text), 24, "%lld", (long long)agent_row_int(row, i));
    else
        strcat(c->text, "NULL");
    strcat(c->text, " ");
    return true;
}

static struct column column(enum agent_view view, int64_t run_id, const char *name)
{
    agent_filter f = AGENT_FILTER_INIT;
    struct column c = {.name = name};

    f.run_id = run_id;
    ck_assert_msg(agent_scan(engine, view, &f, gather, &c, &err) == AGENT_OK, "%s", err.text);
    return c;
}

static void expect_column(enum agent_view view, int64_t run_id, const char *name, const char *values)
{
    struct column c = column(view, run_id, name);

    ck_assert_str_eq(c.text, values);
}

/* --- the plain way ------------------------------------------------------------------------------------ */

START_TEST(a_run_answers_and_tells_its_story_in_order)
{
    agent_config c = config();
    struct told t = {0};
    agent_run_request q = ask("demo", "hello");
    agent_run *run;
    const agent_run_result *r;

    engine_open(_i);
    make("demo", &c);
    q.on_event = listen;
    q.ctx = &t;
    run = start(&q);
    r = wait_for(run);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_ptr_nonnull(strstr(r->output, "hello"));
    ck_assert_str_eq(t.streamed, r->output);
    ck_assert_str_eq(t.text, "run.start text message.end run.end ");
    ck_assert_int_eq(r->steps, 1);
    ck_assert_int_eq(r->attempts, 1);
    ck_assert_int_gt(r->input_tokens, 0);
    ck_assert_int_gt(r->output_tokens, 0);
    expect_column(AGENT_VIEW_RUNS, r->run.id, "status", "succeeded ");
    expect_column(AGENT_VIEW_MESSAGES, r->run.id, "role", "user assistant ");
    expect_column(AGENT_VIEW_STEPS, r->run.id, "kind", "model ");
    expect_column(AGENT_VIEW_STAGE_MEMORY, r->run.id, "stage", "queue load prepare infer respond reclaim ");
    agent_run_free(run);
}
END_TEST

START_TEST(a_session_hears_what_was_said_before)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "my name is Ada");

    engine_open(_i);
    make("demo", &c);
    q.session_name = "chat";
    (void)turn(&q);
    q.input = "who am I";
    q.input_bytes = strlen(q.input);
    ck_assert_ptr_nonnull(strstr(turn(&q), "my name is Ada"));
    q = ask("demo", "who am I"); /* a new session does not know */
    ck_assert_ptr_null(strstr(turn(&q), "Ada"));
    q.latest_session = true;
    ck_assert_ptr_nonnull(strstr(turn(&q), "turn 2"));
}
END_TEST

START_TEST(tools_run_and_their_results_keep_the_order_of_the_calls)
{
    agent_config c = config();
    struct told t = {0};
    agent_run_request q = ask("demo", "/tool calc {\"expression\":\"6*7\"}\n/tool nosuch {}\n"
                                      "/tool calc {\"nothing\":1}\n/tool remember {\"key\":\"sky\",\"text\":\"blue\"}");
    agent_run *run;
    const agent_run_result *r;

    engine_open(_i);
    make("demo", &c);
    q.on_event = listen;
    q.ctx = &t;
    run = start(&q);
    r = wait_for(run);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_ptr_nonnull(strstr(r->output, "calc returned: 42"));
    ck_assert_ptr_nonnull(strstr(r->output, "unknown tool 'nosuch'"));
    expect_column(AGENT_VIEW_TOOL_CALLS, r->run.id, "status", "succeeded failed failed succeeded ");
    expect_column(AGENT_VIEW_MESSAGES, r->run.id, "role", "user assistant tool tool tool tool assistant ");
    expect_column(AGENT_VIEW_MESSAGES, r->run.id, "tool_name", "NULL NULL calc nosuch calc remember NULL ");
    expect_column(AGENT_VIEW_MEMORY, 0, "text", "blue ");
    expect_column(AGENT_VIEW_STEPS, r->run.id, "step", "1 2 3 4 5 6 ");
    expect_column(AGENT_VIEW_STAGE_MEMORY, r->run.id, "stage",
                  "queue load prepare infer respond tool prepare infer respond reclaim ");
    agent_run_free(run);
    q = ask("demo", "what do you know");
    ck_assert_ptr_nonnull(strstr(turn(&q), "sky"));
    q = ask("demo", "/tool recall {\"query\":\"blue\"}");
    ck_assert_ptr_nonnull(strstr(turn(&q), "sky: blue"));
    q = ask("demo", "/tool forget {\"key\":\"sky\"}");
    ck_assert_ptr_nonnull(strstr(turn(&q), "forgot 'sky'"));
    ck_assert_int_eq(column(AGENT_VIEW_MEMORY, 0, "id").rows, 0);
    q = ask("demo", "what do you know");
    ck_assert_ptr_null(strstr(turn(&q), "sky"));
}
END_TEST

START_TEST(the_stages_of_a_run_add_up_to_its_queue_and_wall_time)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "/tool calc {\"expression\":\"1\"}");
    agent_run *run;
    int64_t id, stages, total;

    engine_open(_i);
    c.options = "{\"latency_ms\": 60, \"chunk_ms\": 20, \"chunks\": 3}";
    make("demo", &c);
    run = start(&q);
    id = wait_for(run)->run.id;
    agent_run_free(run);
    stages = column(AGENT_VIEW_STAGE_MEMORY, id, "wall_us").sum;
    total = (column(AGENT_VIEW_RUNS, id, "queue_ms").sum + column(AGENT_VIEW_RUNS, id, "wall_ms").sum) * 1000;
    ck_assert_int_ge(stages, total - 2000);
    ck_assert_int_le(stages, total + 2000 + total / 100);
}
END_TEST

START_TEST(a_run_is_pinned_to_the_version_it_began_with)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "hi");
    int64_t version = 0;

    engine_open(_i);
    c.options = "{\"answer\": \"one\"}";
    make("demo", &c);
    ck_assert_str_eq(turn(&q), "one");
    c.options = "{\"answer\": \"two\"}";
    ck_assert_int_eq(agent_create(engine, "demo", &c, AGENT_CREATE_EDIT, &version, &err), AGENT_OK);
    ck_assert_int_eq(version, 2);
    ck_assert_str_eq(turn(&q), "two");
    expect_column(AGENT_VIEW_RUNS, 0, "agent_version", "1 2 ");
    q.options = "{\"answer\": \"for this run\"}";
    ck_assert_str_eq(turn(&q), "for this run");
    q.options = NULL;
    ck_assert_str_eq(turn(&q), "two");
}
END_TEST

/* --- what goes wrong ----------------------------------------------------------------------------------- */

static void expect_failure(const agent_run_request *q, const char *status, agent_status code, const char *text)
{
    agent_run *run = start(q);
    const agent_run_result *r = wait_for(run);

    ck_assert_str_eq(r->status, status);
    ck_assert_msg(r->error.status == code, "%s: %s", agent_status_name(r->error.status), r->error.text);
    ck_assert_msg(strstr(r->error.text, text) != NULL, "%s", r->error.text);
    agent_run_free(run);
}

START_TEST(an_unknown_agent_or_session_ends_the_run_and_writes_nothing)
{
    agent_config c = config();
    agent_run_request q = ask("nobody", "hi");

    engine_open(_i);
    make("demo", &c);
    expect_failure(&q, "failed", AGENT_ENOTFOUND, "nobody");
    q = ask("demo", "hi");
    q.session.id = 999;
    expect_failure(&q, "failed", AGENT_ENOTFOUND, "999");
    ck_assert_int_eq(column(AGENT_VIEW_RUNS, 0, "id").rows, 0);
    ck_assert_int_eq(column(AGENT_VIEW_SESSIONS, 0, "id").rows, 0);
}
END_TEST

START_TEST(bad_requests_are_refused_at_once)
{
    agent_run *run = NULL;
    agent_run_request q;
    char *big = calloc(1, AGENT_INPUT_MAX + 2);

    engine_open(_i);
    q = ask("demo", "");
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EINVAL);
    q = ask("demo", "\xff\xfe");
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "UTF-8"));
    memset(big, 'x', AGENT_INPUT_MAX + 1);
    q = ask("demo", big);
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_ETOOBIG);
    q = ask("demo", "hi");
    q.options = "{broken";
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EINVAL);
    q.options = NULL;
    q.session_name = "no spaces please";
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_EINVAL);
    ck_assert_ptr_null(run);
    free(big);
}
END_TEST

START_TEST(a_failing_provider_is_tried_again_and_every_attempt_is_a_step)
{
    agent_config c = config();
    struct told t = {0};
    agent_run_request q = ask("demo", "hi");

    engine_open(_i);
    c.options = "{\"fail\": \"500\", \"retries\": 1}";
    make("demo", &c);
    q.on_event = listen;
    q.ctx = &t;
    expect_failure(&q, "failed", AGENT_EPROVIDER, "500");
    ck_assert_str_eq(t.text, "run.start retry run.end ");
    expect_column(AGENT_VIEW_STEPS, 1, "status", "failed failed ");
    expect_column(AGENT_VIEW_STEPS, 1, "attempt", "1 2 ");
    q.options = "{\"fail\": \"401\"}";
    expect_failure(&q, "failed", AGENT_EPROVIDER, "401");
    q.options = "{\"fail\": \"cut\", \"retries\": 0, \"chunks\": 4}";
    expect_failure(&q, "failed", AGENT_ENETWORK, "cut");
    q.options = "{\"fail\": \"\"}"; /* the session is none the worse */
    q.latest_session = true;
    ck_assert_ptr_nonnull(strstr(turn(&q), "hi"));
}
END_TEST

START_TEST(a_fallback_model_answers_where_the_first_does_not)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "hi");

    engine_open(_i);
    c.model = "openai:nothing-there";
    c.base_url = "http://127.0.0.1:1/v1"; /* nobody listens on port 1 */
    c.options = "{\"retries\": 0, \"fallback\": [\"offline:second\"]}";
    make("demo", &c);
    ck_assert_ptr_nonnull(strstr(turn(&q), "offline:second"));
    expect_column(AGENT_VIEW_STEPS, 1, "status", "failed succeeded ");
}
END_TEST

START_TEST(no_key_says_which_variable_to_set)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "hi");
    agent_run *run;
    const agent_run_result *r;

    engine_open(_i);
    c.model = "openai:some-model";
    make("demo", &c);
    run = start(&q);
    r = wait_for(run);
    ck_assert_int_eq(r->error.status, AGENT_EKEY);
    ck_assert_ptr_nonnull(strstr(r->error.text, "OPENAI_API_KEY"));
    ck_assert_ptr_nonnull(strstr(r->error.hint, "export OPENAI_API_KEY"));
    agent_run_free(run);
}
END_TEST

START_TEST(a_run_stops_at_its_most_model_steps)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "/tool calc {\"expression\":\"1\"}");

    engine_open(_i);
    c.max_steps = 1;
    make("demo", &c);
    expect_failure(&q, "failed", AGENT_EBUDGET, "max_steps");
    expect_column(AGENT_VIEW_MESSAGES, 1, "role", "user assistant tool ");
}
END_TEST

static void cancel_on_text(void *ctx, const agent_event *e)
{
    struct told *t = ctx;

    listen(ctx, e);
    if (e->type == AGENT_EVENT_TEXT && t->cancel_on_text != NULL)
        agent_run_cancel(t->cancel_on_text);
}

START_TEST(a_cancel_in_mid_stream_ends_the_run_and_leaves_the_session_usable)
{
    agent_config c = config();
    struct told t = {0};
    agent_run_request q = ask("demo", "hi");
    agent_run *run;
    const agent_run_result *r;

    engine_open(_i);
    c.options = "{\"chunk_ms\": 30, \"chunks\": 100, \"latency_ms\": 300}";
    make("demo", &c);
    q.session_name = "s";
    q.on_event = cancel_on_text;
    q.ctx = &t;
    run = start(&q);
    t.cancel_on_text = run;
    r = wait_for(run);
    ck_assert_str_eq(r->status, "cancelled");
    ck_assert_int_eq(r->error.status, AGENT_ECANCELLED);
    expect_column(AGENT_VIEW_RUNS, 0, "status", "cancelled ");
    expect_column(AGENT_VIEW_STEPS, 0, "status", "cancelled ");
    expect_column(AGENT_VIEW_MESSAGES, 0, "role", "user ");
    agent_run_free(run);
    q = ask("demo", "again");
    q.session_name = "s";
    q.options = "{\"chunks\": 1, \"latency_ms\": 0}";
    ck_assert_ptr_nonnull(strstr(turn(&q), "again"));
}
END_TEST

START_TEST(a_run_over_its_time_fails_and_says_which_limit)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "hi");

    engine_open(_i);
    c.options = "{\"latency_ms\": 60000}";
    make("demo", &c);
    q.timeout_ms = 80;
    expect_failure(&q, "failed", AGENT_ETIMEDOUT, "80 ms");
}
END_TEST

/* --- tools of the host and of the shell ------------------------------------------------------------------ */

static agent_status slow_tool(void *ctx, agent_tool_call *call, agent_error *e)
{
    struct timespec ms = {0, 1000000};

    (void)ctx;
    (void)e;
    for (int i = 0; i < 5000 && !agent_tool_call_cancelled(call); i++)
        (void)nanosleep(&ms, NULL);
    return AGENT_OK;
}

static agent_status echo_tool(void *ctx, agent_tool_call *call, agent_error *e)
{
    const char *args = agent_tool_call_arguments(call);

    (void)ctx;
    if (strstr(args, "fail") != NULL) {
        e->status = AGENT_ETOOL;
        (void)snprintf(e->text, sizeof(e->text), "it did not want to");
        return AGENT_ETOOL;
    }
    agent_tool_call_write(call, args, strlen(args));
    return AGENT_OK;
}

static void add_host_tool(const char *name, agent_status (*call)(void *, agent_tool_call *, agent_error *),
                          int64_t timeout_ms)
{
    agent_tool tool = AGENT_TOOL_INIT;

    tool.name = name;
    tool.call = call;
    tool.timeout_ms = timeout_ms;
    ck_assert_msg(agent_tool_register(engine, &tool, &err) == AGENT_OK, "%s", err.text);
}

START_TEST(callbacks_of_the_host_are_tools_and_their_failures_are_results)
{
    static const char *const tools[] = {"echo", "slow"};
    agent_config c = config();
    agent_run_request q = ask("demo", "/tool echo {\"a\":1}\n/tool echo {\"fail\":1}\n/tool slow {}");

    engine_open(_i);
    add_host_tool("echo", echo_tool, 0);
    add_host_tool("slow", slow_tool, 60);
    c.tools = tools;
    c.tool_count = 2;
    make("demo", &c);
    (void)turn(&q);
    expect_column(AGENT_VIEW_TOOL_CALLS, 1, "status", "succeeded failed timeout ");
    expect_column(AGENT_VIEW_TOOL_CALLS, 1, "result",
                  "{\"a\":1} tool failed: it did not want to tool timed out after 60 ms ");
}
END_TEST

static void add_command(const char *name, const char *script, enum agent_effect effect, int64_t timeout_ms)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    agent_command c = AGENT_COMMAND_INIT;

    c.name = name;
    c.argv = argv;
    c.effect = effect;
    c.timeout_ms = timeout_ms;
    ck_assert_msg(agent_command_put(engine, &c, true, &err) == AGENT_OK, "%s", err.text);
}

START_TEST(commands_are_tools_and_however_they_end_the_model_reads_it)
{
    static const char *const tools[] = {"good", "bad", "hang"};
    agent_config c = config();
    struct column results;
    agent_run_request q = ask("demo", "/tool good {\"x\":\"y\"}\n/tool bad {}\n/tool hang {}");

    engine_open(_i);
    add_command("good", "cat; echo \" $CANARY ${OPENAI_API_KEY-none} $AGENT_RUN_ID\"", AGENT_EFFECT_PURE, 0);
    add_command("bad", "echo oops >&2; exit 3", AGENT_EFFECT_EFFECT, 0);
    add_command("hang", "sleep 30", AGENT_EFFECT_IDEMPOTENT, 150);
    c.tools = tools;
    c.tool_count = 3;
    make("demo", &c);
    (void)turn(&q);
    expect_column(AGENT_VIEW_TOOL_CALLS, 1, "status", "succeeded failed timeout ");
    results = column(AGENT_VIEW_TOOL_CALLS, 1, "result");
    ck_assert_ptr_nonnull(strstr(results.text, "{\"x\":\"y\"} tool-env none 1"));
    ck_assert_ptr_nonnull(strstr(results.text, "exit code 3"));
    ck_assert_ptr_nonnull(strstr(results.text, "oops"));
    ck_assert_ptr_nonnull(strstr(results.text, "timed out after 150 ms"));
}
END_TEST

START_TEST(a_cancel_during_tools_answers_every_call)
{
    static const char *const tools[] = {"hang", "slow", "calc"};
    agent_config c = config();
    agent_run_request q = ask("demo", "/tool calc {\"expression\":\"2\"}\n/tool hang {}\n/tool slow {}");
    agent_run *run;
    const agent_run_result *r = NULL;

    engine_open(_i);
    add_command("hang", "sleep 30", AGENT_EFFECT_EFFECT, 0);
    add_host_tool("slow", slow_tool, 0);
    c.tools = tools;
    c.tool_count = 3;
    make("demo", &c);
    q.session_name = "s";
    run = start(&q);
    (void)agent_run_wait(run, 200, &r, NULL);
    agent_run_cancel(run);
    r = wait_for(run);
    ck_assert_str_eq(r->status, "cancelled");
    expect_column(AGENT_VIEW_TOOL_CALLS, 1, "status", "succeeded cancelled cancelled ");
    expect_column(AGENT_VIEW_MESSAGES, 1, "role", "user assistant tool tool tool ");
    agent_run_free(run);
    q = ask("demo", "and now");
    q.session_name = "s";
    ck_assert_ptr_nonnull(strstr(turn(&q), "and now"));
}
END_TEST

/* --- a provider of the host -------------------------------------------------------------------------------- */

static agent_status parrot(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    const agent_message *last = &q->messages[q->message_count - 1];

    (void)ctx;
    if (strcmp(last->text, "fail") == 0) {
        (void)snprintf(e->text, sizeof(e->text), "parrot: no");
        e->status = AGENT_EPROVIDER;
        return AGENT_EPROVIDER;
    }
    if (strcmp(last->role, "user") == 0 && strcmp(last->text, "count") == 0) {
        agent_reply_tool_call(reply, NULL, "calc", "{\"expression\":\"40+2\"}");
        return AGENT_OK;
    }
    agent_reply_text(reply, "parrot says ", 12);
    agent_reply_text(reply, last->text, last->text_bytes);
    agent_reply_usage(reply, 7, 5);
    return AGENT_OK;
}

START_TEST(a_provider_of_the_host_streams_calls_tools_and_fails)
{
    agent_config c = config();
    agent_provider p = {.size = sizeof(p), .name = "bird", .complete = parrot};
    agent_run_request q = ask("demo", "hello");

    engine_open(_i);
    ck_assert_int_eq(agent_provider_register(engine, &p, &err), AGENT_OK);
    ck_assert_int_eq(agent_provider_register(engine, &p, &err), AGENT_EEXISTS);
    c.model = "bird:grey";
    make("demo", &c);
    ck_assert_str_eq(turn(&q), "parrot says hello");
    expect_column(AGENT_VIEW_RUNS, 1, "input_tokens", "7 ");
    q = ask("demo", "count");
    ck_assert_str_eq(turn(&q), "parrot says 42");
    q = ask("demo", "fail");
    expect_failure(&q, "failed", AGENT_EPROVIDER, "parrot: no");
}
END_TEST

/* --- permits ----------------------------------------------------------------------------------------------- */

static atomic_int inside, most_inside, served;
static char served_order[64];

static agent_status counting(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    struct timespec ms = {0, 4000000};
    int now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside), n;

    (void)ctx;
    (void)e;
    while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
        ;
    (void)nanosleep(&ms, NULL);
    n = atomic_fetch_add(&served, 1);
    if (n < 60)
        served_order[n] = q->messages[q->message_count - 1].text[0];
    agent_reply_text(reply, "ok", 2);
    (void)atomic_fetch_sub(&inside, 1);
    return AGENT_OK;
}

static void open_counting(int i, const char *options)
{
    agent_config c = config();
    agent_provider p = {.size = sizeof(p), .name = "counting", .complete = counting};

    engine_open(i);
    ck_assert_int_eq(agent_provider_register(engine, &p, &err), AGENT_OK);
    atomic_store(&inside, 0);
    atomic_store(&most_inside, 0);
    atomic_store(&served, 0);
    memset(served_order, 0, sizeof(served_order));
    c.model = "counting:one";
    c.options = options;
    make("demo", &c);
}

START_TEST(no_more_requests_are_out_than_the_endpoint_allows)
{
    enum { N = 40 };
    agent_run *runs[N];

    open_counting(_i, "{\"max_concurrency\": 3}");
    for (int i = 0; i < N; i++) {
        agent_run_request q = ask("demo", "x");

        runs[i] = start(&q);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_str_eq(wait_for(runs[i])->status, "succeeded");
        agent_run_free(runs[i]);
    }
    ck_assert_int_le(atomic_load(&most_inside), 3);
    ck_assert_int_eq(atomic_load(&served), N);
}
END_TEST

START_TEST(high_runs_go_before_low_ones_that_wait)
{
    agent_run *runs[9];
    agent_run_request q = ask("demo", "first");
    char *first_low, *last_high;

    open_counting(_i, "{\"max_concurrency\": 1}");
    (void)turn(&q); /* from here on the engine knows the gate before it loads a run */
    for (int i = 0; i < 9; i++) {
        q = ask("demo", i == 0 ? "0" : i < 5 ? "low" : "high");
        q.priority = i == 0 ? AGENT_PRIORITY_NORMAL : i < 5 ? AGENT_PRIORITY_LOW : AGENT_PRIORITY_HIGH;
        runs[i] = start(&q);
    }
    for (int i = 0; i < 9; i++) {
        ck_assert_str_eq(wait_for(runs[i])->status, "succeeded");
        agent_run_free(runs[i]);
    }
    first_low = strchr(served_order, 'l');
    last_high = strrchr(served_order, 'h');
    ck_assert_ptr_nonnull(first_low);
    ck_assert_ptr_nonnull(last_high);
    /* One low one may be inside already when the high ones come. */
    ck_assert_msg(strchr(first_low + 1, 'l') > last_high, "%s", served_order);
}
END_TEST

START_TEST(a_run_cancelled_in_line_gives_its_place_up)
{
    agent_run *runs[6];
    agent_run_request q = ask("demo", "x");

    open_counting(_i, "{\"max_concurrency\": 1}");
    (void)turn(&q);
    for (int i = 0; i < 6; i++)
        runs[i] = start(&q);
    for (int i = 3; i < 6; i++)
        agent_run_cancel(runs[i]);
    for (int i = 0; i < 6; i++) {
        const char *status = wait_for(runs[i])->status;

        ck_assert_msg(strcmp(status, "succeeded") == 0 || (i >= 3 && strcmp(status, "cancelled") == 0), "%d %s", i,
                      status);
        agent_run_free(runs[i]);
    }
    ck_assert_str_eq(turn(&q), "ok"); /* no permit was lost */
}
END_TEST

/* --- many at once -------------------------------------------------------------------------------------------- */

START_TEST(turns_of_one_session_started_together_run_one_after_the_other)
{
    enum { N = 12 };
    agent_config c = config();
    agent_run *runs[N];
    struct column roles;

    engine_open(_i);
    make("demo", &c);
    for (int i = 0; i < N; i++) {
        agent_run_request q = ask("demo", "go");

        q.session_name = "one";
        runs[i] = start(&q);
    }
    for (int i = 0; i < N; i++) {
        const agent_run_result *r = wait_for(runs[i]);

        ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
        agent_run_free(runs[i]);
    }
    roles = column(AGENT_VIEW_MESSAGES, 0, "role");
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(strncmp(roles.text + (size_t)i * 15, "user assistant ", 15), 0);
    ck_assert_int_eq(roles.rows, 2 * N);
}
END_TEST

START_TEST(hundreds_of_runs_at_once_all_end)
{
    enum { N = 300 };
    agent_config c = config();
    agent_run *runs[N];

    engine_open(_i);
    c.options = "{\"latency_ms\": 5, \"chunks\": 3, \"chunk_ms\": 2}";
    make("demo", &c);
    for (int i = 0; i < N; i++) {
        agent_run_request q = ask("demo", i % 3 == 0 ? "/tool calc {\"expression\":\"1+1\"}" : "hello");

        runs[i] = start(&q);
    }
    for (int i = 0; i < N; i++) {
        const agent_run_result *r = wait_for(runs[i]);

        ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
        agent_run_free(runs[i]);
    }
    ck_assert_int_eq(column(AGENT_VIEW_RUNS, 0, "id").rows, N);
}
END_TEST

START_TEST(an_engine_closed_with_runs_under_way_lets_go_of_them)
{
    static const char *const tools[] = {"hang", "slow"};
    agent_config c = config();
    agent_run *runs[3];
    const agent_run_result *r = NULL;

    engine_open(_i);
    add_command("hang", "sleep 30", AGENT_EFFECT_PURE, 0);
    add_host_tool("slow", slow_tool, 0);
    c.tools = tools;
    c.tool_count = 2;
    make("demo", &c);
    for (int i = 0; i < 3; i++) {
        agent_run_request q = ask("demo", i == 0 ? "/tool hang {}" : i == 1 ? "/tool slow {}" : "hello");

        q.options = i == 2 ? "{\"latency_ms\": 60000}" : NULL;
        runs[i] = start(&q);
    }
    (void)agent_run_wait(runs[2], 150, &r, NULL);
    agent_close(engine);
    engine = NULL;
    for (int i = 0; i < 3; i++)
        agent_run_free(runs[i]);
}
END_TEST

START_TEST(a_limit_of_active_runs_refuses_the_next_one)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_config c = config();
    agent_run_request q = ask("demo", "hello");
    agent_run *first, *second = NULL;

    o.workers = setups[_i].workers;
    o.path = setups[_i].file ? path : NULL;
    o.flags = AGENT_OPEN_CREATE;
    o.max_active_runs = 1;
    ck_assert_int_eq(agent_open(&o, &engine, &err), AGENT_OK);
    c.options = "{\"latency_ms\": 100}";
    make("demo", &c);
    first = start(&q);
    ck_assert_int_eq(agent_run_start(engine, &q, &second, &err), AGENT_EBUSY);
    (void)wait_for(first);
    agent_run_free(first);
    (void)turn(&q);
}
END_TEST

START_TEST(an_idempotency_key_gets_the_first_runs_answer)
{
    agent_config c = config();
    agent_run_request q = ask("demo", "hello");
    agent_run *run;
    const agent_run_result *r;

    engine_open(_i);
    make("demo", &c);
    q.idempotency_key = "once";
    run = start(&q);
    (void)wait_for(run);
    agent_run_free(run);
    q.input = "something else";
    q.input_bytes = strlen(q.input);
    run = start(&q);
    r = wait_for(run);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_int_eq(r->run.id, 1);
    ck_assert_ptr_nonnull(strstr(r->output, "hello"));
    agent_run_free(run);
    ck_assert_int_eq(column(AGENT_VIEW_RUNS, 0, "id").rows, 1);
}
END_TEST

Suite *engine_suite(void);

Suite *engine_suite(void)
{
    Suite *suite = suite_create("engine");
    TCase *t = tcase_create("engine");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_run_answers_and_tells_its_story_in_order, 0, SETUPS);
    tcase_add_loop_test(t, a_session_hears_what_was_said_before, 0, SETUPS);
    tcase_add_loop_test(t, tools_run_and_their_results_keep_the_order_of_the_calls, 0, SETUPS);
    tcase_add_loop_test(t, the_stages_of_a_run_add_up_to_its_queue_and_wall_time, 0, SETUPS);
    tcase_add_loop_test(t, a_run_is_pinned_to_the_version_it_began_with, 0, SETUPS);
    tcase_add_loop_test(t, an_unknown_agent_or_session_ends_the_run_and_writes_nothing, 0, SETUPS);
    tcase_add_loop_test(t, bad_requests_are_refused_at_once, 0, SETUPS);
    tcase_add_loop_test(t, a_failing_provider_is_tried_again_and_every_attempt_is_a_step, 0, SETUPS);
    tcase_add_loop_test(t, a_fallback_model_answers_where_the_first_does_not, 0, SETUPS);
    tcase_add_loop_test(t, no_key_says_which_variable_to_set, 0, SETUPS);
    tcase_add_loop_test(t, a_run_stops_at_its_most_model_steps, 0, SETUPS);
    tcase_add_loop_test(t, a_cancel_in_mid_stream_ends_the_run_and_leaves_the_session_usable, 0, SETUPS);
    tcase_add_loop_test(t, a_run_over_its_time_fails_and_says_which_limit, 0, SETUPS);
    tcase_add_loop_test(t, callbacks_of_the_host_are_tools_and_their_failures_are_results, 0, SETUPS);
    tcase_add_loop_test(t, commands_are_tools_and_however_they_end_the_model_reads_it, 0, SETUPS);
    tcase_add_loop_test(t, a_cancel_during_tools_answers_every_call, 0, SETUPS);
    tcase_add_loop_test(t, a_provider_of_the_host_streams_calls_tools_and_fails, 0, SETUPS);
    tcase_add_loop_test(t, no_more_requests_are_out_than_the_endpoint_allows, 0, SETUPS);
    tcase_add_loop_test(t, high_runs_go_before_low_ones_that_wait, 0, SETUPS);
    tcase_add_loop_test(t, a_run_cancelled_in_line_gives_its_place_up, 0, SETUPS);
    tcase_add_loop_test(t, turns_of_one_session_started_together_run_one_after_the_other, 0, SETUPS);
    tcase_add_loop_test(t, hundreds_of_runs_at_once_all_end, 0, SETUPS);
    tcase_add_loop_test(t, an_engine_closed_with_runs_under_way_lets_go_of_them, 0, SETUPS);
    tcase_add_loop_test(t, a_limit_of_active_runs_refuses_the_next_one, 0, SETUPS);
    tcase_add_loop_test(t, an_idempotency_key_gets_the_first_runs_answer, 0, SETUPS);
    suite_add_tcase(suite, t);
    return suite;
}
