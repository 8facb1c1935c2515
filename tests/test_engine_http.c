/*
 * The engine and a provider over real HTTP on loopback: bursts, errors, limits, and that the key
 * stays where it belongs.
 */
#include <agent/agent.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/scripted_server.h"

#define KEY "sk-canary-5f3a91c2d4"

#define CHUNK(delta, finish) "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"
static const char answer_hello[] =
    CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null")
    CHUNK("{\"content\":\"hel\"}", "null")
    CHUNK("{\"content\":\"lo\"}", "null")
    CHUNK("{}", "\"stop\"")
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n"
    "data: [DONE]\n\n";
static const char answer_call[] =
    CHUNK("{\"role\":\"assistant\",\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":\"function\","
          "\"function\":{\"name\":\"calc\",\"arguments\":\"\"}}]}", "null")
    CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"expression\\\":\"}}]}", "null")
    CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"6*7\\\"}\"}}]}", "null")
    CHUNK("{}", "\"tool_calls\"") "data: [DONE]\n\n";
static const char answer_half[] = CHUNK("{\"role\":\"assistant\",\"content\":\"hal\"}", "null");

static const struct setup {
    bool file;
    int workers;
} setups[] = {{false, 0}, {false, 2}, {true, 0}, {true, 2}};
#define SETUPS ((int)(sizeof(setups) / sizeof(setups[0])))

static agent_engine *engine;
static struct scripted *server;
static agent_error err;
static char dir[64], path[96], all_logged[65536];

static const char *secret(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "OPENAI_API_KEY") == 0 ? KEY : NULL;
}

static void log_line(void *ctx, int level, const char *module, const char *text)
{
    (void)ctx;
    (void)level;
    (void)module;
    if (strlen(all_logged) + strlen(text) + 2 < sizeof(all_logged))
        strcat(all_logged, text);
}

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/agent-http.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = NULL;
    server = NULL;
}

static void teardown(void)
{
    char command[128];

    agent_close(engine);
    scripted_stop(server);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void open_with(int i, const struct scripted_answer *answers, size_t n, const char *options)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    char url[128];

    server = scripted_start(answers, n);
    ck_assert_ptr_nonnull(server);
    o.workers = setups[i].workers;
    o.path = setups[i].file ? path : NULL;
    o.flags = AGENT_OPEN_CREATE;
    o.secret = secret;
    o.log = setups[i].workers == 0 ? log_line : NULL;
    o.log_level = 3;
    ck_assert_msg(agent_open(&o, &engine, &err) == AGENT_OK, "%s", err.text);
    (void)snprintf(url, sizeof(url), "%s/v1", scripted_url(server));
    c.model = "openai:scripted";
    c.base_url = url;
    c.options = options;
    ck_assert_msg(agent_create(engine, "demo", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static agent_run *start(const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL;

    q.agent = "demo";
    q.input = input;
    q.input_bytes = strlen(input);
    ck_assert_msg(agent_run_start(engine, &q, &run, &err) == AGENT_OK, "%s", err.text);
    return run;
}

static void expect(const char *input, const char *status, agent_status code, const char *text)
{
    agent_run *run = start(input);
    const agent_run_result *r = NULL;

    ck_assert_msg(agent_run_wait(run, 30000, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(strcmp(r->status, status) == 0, "%s: %s", r->status, r->error.text);
    ck_assert_msg(r->error.status == code, "%s: %s", agent_status_name(r->error.status), r->error.text);
    ck_assert_msg(strstr(code == AGENT_OK ? r->output : r->error.text, text) != NULL, "%s%s", r->output, r->error.text);
    agent_run_free(run);
}

#define SSE(text) {.type = "text/event-stream", .body = text, .split = 11, .framing = SCRIPTED_CHUNKED}

START_TEST(a_burst_of_runs_over_http_all_end_without_a_stall)
{
    enum { N = 100, BURSTS = 3 };
    static const struct scripted_answer answers[] = {SSE(answer_hello)};
    agent_run *runs[N];

    open_with(_i, answers, 1, NULL);
    for (int burst = 0; burst < BURSTS; burst++) {
        for (int i = 0; i < N; i++)
            runs[i] = start("hi");
        for (int i = 0; i < N; i++) {
            const agent_run_result *r = NULL;

            /* A lost wake-up showed as a wait for the next timer, 15 seconds away. */
            ck_assert_msg(agent_run_wait(runs[i], 12000, &r, &err) == AGENT_OK, "burst %d run %d: %s", burst, i, err.text);
            ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s", r->error.text);
            ck_assert_str_eq(r->output, "hello");
            ck_assert_int_eq(r->input_tokens, 9);
            agent_run_free(runs[i]);
        }
    }
}
END_TEST

START_TEST(a_call_in_a_stream_is_made_and_its_result_is_sent_back)
{
    static const struct scripted_answer answers[] = {SSE(answer_call), SSE(answer_hello)};

    open_with(_i, answers, 2, NULL);
    expect("how much", "succeeded", AGENT_OK, "hello");
    ck_assert_ptr_nonnull(strstr(scripted_request(server, 1)->body, "\"tool_call_id\":\"call_a\""));
    ck_assert_ptr_nonnull(strstr(scripted_request(server, 1)->body, "42"));
}
END_TEST

START_TEST(what_may_pass_is_tried_again_and_what_may_not_is_told_with_the_providers_words)
{
    static const struct scripted_answer answers[] = {
        {.status = 500, .body = "{\"error\":{\"message\":\"on fire\"}}", .headers = "retry-after-ms: 5\r\n"},
        {.type = "text/event-stream", .body = answer_half, .framing = SCRIPTED_CHUNKED, .cut = true},
        SSE(answer_hello),
        {.status = 400, .body = "{\"error\":{\"message\":\"max_tokens is too large\",\"type\":\"invalid_request_error\"}}"},
        {.status = 401, .body = "{\"error\":{\"message\":\"Incorrect API key provided: " KEY "\"}}"},
        {.body = "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"as one body\"},"
                 "\"finish_reason\":\"stop\"}]}"},
        {.type = "text/html", .body = "<html>what</html>"},
    };

    open_with(_i, answers, 7, NULL);
    expect("one", "succeeded", AGENT_OK, "hello");
    expect("two", "failed", AGENT_EPROVIDER, "max_tokens is too large");
    expect("three", "failed", AGENT_EPROVIDER, "Incorrect API key");
    expect("four", "succeeded", AGENT_OK, "as one body");
    expect("five", "failed", AGENT_EPROTOCOL, "openai");
}
END_TEST

START_TEST(a_server_that_is_slow_or_endless_meets_the_limit_that_is_named)
{
    static const struct scripted_answer answers[] = {
        {.type = "text/event-stream", .body = answer_half, .framing = SCRIPTED_CHUNKED, .hang = true},
        {.type = "text/event-stream", .body = answer_half, .framing = SCRIPTED_CHUNKED, .endless = true, .piece_ms = 5},
        {.hang = true, .delay_ms = 60000},
    };

    open_with(_i, answers, 3, "{\"retries\":0,\"idle_ms\":150,\"total_ms\":600,\"first_byte_ms\":200}");
    expect("one", "failed", AGENT_ETIMEDOUT, "idle_ms");
    expect("two", "failed", AGENT_ETIMEDOUT, "total_ms");
    expect("three", "failed", AGENT_ETIMEDOUT, "first_byte_ms");
}
END_TEST

START_TEST(retry_after_holds_every_run_of_that_endpoint)
{
    static const struct scripted_answer answers[] = {
        {.status = 429, .body = "{\"error\":{\"message\":\"slow down\"}}", .headers = "retry-after-ms: 2500\r\n"},
        SSE(answer_hello),
    };
    agent_run *first, *second;
    const agent_run_result *r = NULL;

    open_with(_i, answers, 2, NULL);
    first = start("one");
    while (scripted_requests(server) == 0)
        (void)agent_run_wait(first, 10, &r, NULL);
    (void)agent_run_wait(first, 300, &r, NULL); /* the refusal arrives, on a busy machine too */
    second = start("two"); /* comes while the endpoint is held: it must not be asked */
    (void)agent_run_wait(second, 100, &r, NULL);
    ck_assert_int_eq((int)scripted_requests(server), 1);
    ck_assert_int_eq(agent_run_wait(first, 20000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    ck_assert_int_eq(agent_run_wait(second, 20000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    agent_run_free(first);
    agent_run_free(second);
}
END_TEST

static bool file_holds(const char *name, const char *text)
{
    char file[160];
    char *bytes = calloc(1, 4 << 20);
    size_t n;
    bool found;
    FILE *f;

    (void)snprintf(file, sizeof(file), "%s%s", path, name);
    f = fopen(file, "rb");
    n = f != NULL ? fread(bytes, 1, 4 << 20, f) : 0;
    found = memmem(bytes, n, text, strlen(text)) != NULL;
    if (f != NULL)
        (void)fclose(f);
    free(bytes);
    return found;
}

START_TEST(the_key_is_sent_and_stands_nowhere_else)
{
    static const struct scripted_answer answers[] = {
        SSE(answer_hello), {.status = 401, .body = "{\"error\":{\"message\":\"wrong key " KEY " indeed\"}}"}};
    agent_run *run;
    const agent_run_result *r = NULL;

    open_with(2, answers, 2, NULL);
    expect("hi", "succeeded", AGENT_OK, "hello");
    ck_assert_ptr_nonnull(strstr(scripted_request(server, 0)->headers, "Bearer " KEY));
    run = start("hi");
    ck_assert_int_eq(agent_run_wait(run, 20000, &r, &err), AGENT_OK);
    ck_assert_ptr_null(strstr(r->error.text, KEY));
    agent_run_free(run);
    agent_close(engine);
    engine = NULL;
    ck_assert(file_holds("", "hello"));
    ck_assert(!file_holds("", KEY));
    ck_assert(!file_holds("-wal", KEY));
    ck_assert_ptr_null(strstr(all_logged, KEY));
}
END_TEST

Suite *engine_http_suite(void);

Suite *engine_http_suite(void)
{
    Suite *suite = suite_create("engine_http");
    TCase *t = tcase_create("engine_http");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_burst_of_runs_over_http_all_end_without_a_stall, 0, SETUPS);
    tcase_add_loop_test(t, a_call_in_a_stream_is_made_and_its_result_is_sent_back, 0, SETUPS);
    tcase_add_loop_test(t, what_may_pass_is_tried_again_and_what_may_not_is_told_with_the_providers_words, 0, SETUPS);
    tcase_add_loop_test(t, a_server_that_is_slow_or_endless_meets_the_limit_that_is_named, 0, SETUPS);
    tcase_add_loop_test(t, retry_after_holds_every_run_of_that_endpoint, 0, SETUPS);
    tcase_add_test(t, the_key_is_sent_and_stands_nowhere_else);
    suite_add_tcase(suite, t);
    return suite;
}
