/*
 * Chat Completions: bodies against what the API documents, recorded streams of many servers against
 * what they mean, and refusals against what to do about them.
 */
#include <jansson.h>

#include "engine/base/mem.h"
#include "tests/provider_replay.h"

Suite *openai_suite(void);

static const struct ag_provider_vt *const openai = &ag_provider_openai;
static ag_arena arena;
static agent_error err;
static ag_buf body;
static struct ag_header_list headers;
static const char *url;
static struct ag_params params;
static struct ag_model_request q;

static void setup(void)
{
    arena = AG_ARENA_INIT;
    body = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
    err = (agent_error)AGENT_ERROR_INIT;
    headers = (struct ag_header_list){.count = 0};
    url = NULL;
    ck_assert_int_eq(ag_params_parse(AG_STR("openai"), AG_STR_NONE, AG_STR_NONE, &arena, &params, &err), AGENT_OK);
    q = (struct ag_model_request){.model = AG_STR("m-1"), .params = &params, .stream = true, .run_id = 7, .step = 1};
}

static void teardown(void)
{
    ag_buf_drop(&body);
    ag_arena_drop(&arena);
}

/* The body, read as its server would. */
static json_t *built(const char *key)
{
    json_error_t where;
    json_t *doc;

    ck_assert_msg(openai->build(&q, key, &arena, &url, &headers, &body, &err) == AGENT_OK, "%s", err.text);
    doc = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &where);
    ck_assert_msg(doc != NULL, "%s: %s", where.text, body.p);
    return doc;
}

static void same(json_t *got, const char *expected)
{
    json_t *want = json_loads(expected, JSON_DECODE_ANY, NULL);
    char *text = json_dumps(got, JSON_ENCODE_ANY);

    ck_assert_ptr_nonnull(want);
    ck_assert_msg(json_equal(got, want), "\n  got  %s\n  want %s", text, expected);
    free(text);
    json_decref(want);
}

static bool has_header(const char *line)
{
    for (size_t i = 0; i < headers.count; i++)
        if (strcmp(headers.at[i], line) == 0)
            return true;
    return false;
}

/* --- requests ------------------------------------------------------------------------------------ */

START_TEST(a_request_holds_system_messages_tools_and_options)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("What is \"17*23\"?")},
        {.role = AG_MSG_ASSISTANT,
         .text = {"", 0},
         .calls = AG_STR("[{\"id\":\"call_1\",\"name\":\"calc\",\"arguments\":\"{\\\"expression\\\":\\\"17*23\\\"}\"},"
                         "{\"id\":\"call_2\",\"name\":\"now\",\"arguments\":\"{}\"}]")},
        {.role = AG_MSG_TOOL, .text = AG_STR("391"), .call_id = AG_STR("call_1"), .tool_name = AG_STR("calc")},
        {.role = AG_MSG_TOOL, .text = AG_STR("no clock"), .call_id = AG_STR("call_2"), .tool_failed = true},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("391.")},
        {.role = AG_MSG_USER, .text = AG_STR("Thanks")},
    };
    const struct ag_tool_def tools[] = {
        {AG_STR("calc"), AG_STR("Calculates"), AG_STR("{\"type\":\"object\",\"properties\":{}}")},
        {AG_STR("now"), AG_STR_NONE, AG_STR("{\"type\":\"object\"}")},
    };
    json_t *doc;

    q.system = AG_STR("Be brief.\nAlways.");
    q.messages = messages;
    q.message_count = 6;
    q.tools = tools;
    q.tool_count = 2;
    params.passthrough = AG_STR("\"max_tokens\":100,\"temperature\":0.2");
    doc = built("sk-test");
    same(doc,
         "{\"model\":\"m-1\",\"messages\":["
         "{\"role\":\"system\",\"content\":\"Be brief.\\nAlways.\"},"
         "{\"role\":\"user\",\"content\":\"What is \\\"17*23\\\"?\"},"
         "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
         "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"calc\","
         "\"arguments\":\"{\\\"expression\\\":\\\"17*23\\\"}\"}},"
         "{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"391\"},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call_2\",\"content\":\"no clock\"},"
         "{\"role\":\"assistant\",\"content\":\"391.\"},"
         "{\"role\":\"user\",\"content\":\"Thanks\"}],"
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"calc\",\"description\":\"Calculates\","
         "\"parameters\":{\"type\":\"object\",\"properties\":{}}}},"
         "{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\"}}}],"
         "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":100,\"temperature\":0.2}");
    json_decref(doc);
    ck_assert_str_eq(url, "https://api.openai.com/v1/chat/completions");
    ck_assert(has_header("Authorization: Bearer sk-test"));
    ck_assert(has_header("Content-Type: application/json"));
    ck_assert_ptr_null(headers.at[headers.count]);
}
END_TEST

START_TEST(a_plain_request_has_no_tools_no_system_and_no_stream)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello")};
    json_t *doc;

    q.messages = &hello;
    q.message_count = 1;
    q.stream = false;
    doc = built(NULL);
    same(doc, "{\"model\":\"m-1\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}");
    json_decref(doc);
    for (size_t i = 0; i < headers.count; i++)
        ck_assert_ptr_null(strstr(headers.at[i], "Authorization"));
}
END_TEST

START_TEST(user_messages_that_follow_each_other_stay_apart)
{
    const struct ag_msg two[] = {
        {.role = AG_MSG_USER, .text = AG_STR("first")},
        {.role = AG_MSG_USER, .text = AG_STR("second")},
    };
    json_t *doc;

    q.messages = two;
    q.message_count = 2;
    doc = built(NULL);
    same(json_object_get(doc, "messages"),
         "[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"user\",\"content\":\"second\"}]");
    json_decref(doc);
}
END_TEST

/* Without it one bad call of a model would make every later request of the session fail. */
START_TEST(arguments_that_are_no_json_object_are_sent_as_one)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_ASSISTANT,
         .text = AG_STR("Well"),
         .calls = AG_STR("[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\": tru\"},"
                         "{\"id\":\"b\",\"name\":\"f\",\"arguments\":\"[1]\"},"
                         "{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"\"}]")},
    };
    json_t *doc, *calls;

    q.messages = messages;
    q.message_count = 1;
    doc = built(NULL);
    calls = json_object_get(json_array_get(json_object_get(doc, "messages"), 0), "tool_calls");
    ck_assert_uint_eq(json_array_size(calls), 3);
    for (size_t i = 0; i < 3; i++) {
        static const char *const want[] = {"{\"INVALID_JSON\":\"{\\\"x\\\": tru\"}", "{\"INVALID_JSON\":\"[1]\"}", "{}"};
        json_t *function = json_object_get(json_array_get(calls, i), "function");

        ck_assert_str_eq(json_string_value(json_object_get(function, "arguments")), want[i]);
    }
    json_decref(doc);
}
END_TEST

START_TEST(calls_that_are_no_array_fail_and_name_the_message)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("x")},
        {.role = AG_MSG_ASSISTANT, .calls = AG_STR("[{\"id\":\"a\"}]")},
    };

    q.messages = messages;
    q.message_count = 2;
    ck_assert_int_eq(openai->build(&q, NULL, &arena, &url, &headers, &body, &err), AGENT_EPROTOCOL);
    ck_assert_str_eq(err.text, "openai: message 2 of the request: its stored tool calls cannot be read");
    ck_assert_ptr_null(url); /* out parameters untouched */
    ck_assert_uint_eq(headers.count, 0);
}
END_TEST

START_TEST(reasoning_goes_back_with_calls_only_where_it_is_asked_for)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("a"), .extra = AG_STR("{\"reasoning_content\":\"plain\"}")},
        {.role = AG_MSG_ASSISTANT,
         .calls = AG_STR("[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}]"),
         .extra = AG_STR("{\"reasoning_content\":\"I \\\"think\\\"\"}")},
        {.role = AG_MSG_TOOL, .text = AG_STR("1"), .call_id = AG_STR("a")},
        {.role = AG_MSG_ASSISTANT, .calls = AG_STR("[{\"id\":\"b\",\"name\":\"f\",\"arguments\":\"{}\"}]")},
    };
    json_t *doc, *list;

    q.messages = messages;
    q.message_count = 4;
    doc = built(NULL);
    ck_assert_ptr_null(strstr(body.p, "reasoning_content"));
    json_decref(doc);

    ag_buf_clear(&body);
    params.echo_reasoning = true;
    doc = built(NULL);
    list = json_object_get(doc, "messages");
    ck_assert_ptr_null(json_object_get(json_array_get(list, 0), "reasoning_content"));
    same(json_object_get(json_array_get(list, 1), "reasoning_content"), "\"I \\\"think\\\"\"");
    same(json_object_get(json_array_get(list, 3), "reasoning_content"), "\"\"");
    json_decref(doc);
}
END_TEST

START_TEST(the_base_url_may_end_in_slashes_and_must_be_a_url)
{
    q.base_url = AG_STR("http://127.0.0.1:11434/v1//");
    json_decref(built(NULL));
    ck_assert_str_eq(url, "http://127.0.0.1:11434/v1/chat/completions");

    q.base_url = AG_STR("localhost:11434");
    ck_assert_int_eq(openai->build(&q, NULL, &arena, &url, &headers, &body, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "openai: base URL 'localhost:11434' is no http:// or https:// URL");
    ck_assert_str_ne(err.hint, "");
    q.base_url = AG_STR("http://host\r\nX: y/v1");
    ck_assert_int_eq(openai->build(&q, NULL, &arena, &url, &headers, &body, &err), AGENT_EINVAL);
}
END_TEST

START_TEST(a_key_with_a_line_break_is_refused_and_not_told)
{
    ck_assert_int_eq(openai->build(&q, "sk-abcdef\n", &arena, &url, &headers, &body, &err), AGENT_EKEY);
    ck_assert_ptr_null(strstr(err.text, "sk-"));
}
END_TEST

START_TEST(text_that_is_no_utf8_still_makes_a_body)
{
    const struct ag_msg bad = {.role = AG_MSG_USER, .text = AG_STR("a\xff" "b")};
    json_t *doc;

    q.messages = &bad;
    q.message_count = 1;
    doc = built(NULL);
    same(json_object_get(json_array_get(json_object_get(doc, "messages"), 0), "content"), "\"a\\ufffdb\"");
    json_decref(doc);
}
END_TEST

START_TEST(a_body_over_its_cap_fails)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello hello hello hello hello")};

    body = AG_BUF_INIT(40);
    q.messages = &hello;
    q.message_count = 1;
    ck_assert_int_eq(openai->build(&q, NULL, &arena, &url, &headers, &body, &err), AGENT_ETOOBIG);
    ck_assert_ptr_nonnull(strstr(err.text, "40 bytes"));
}
END_TEST

/* --- answers ---------------------------------------------------------------------------------------- */

static const struct replay_row streams[] = {
    {"text", "text is put together, also where a character was cut; the last usage counts"},
    {"crlf", "a BOM, CRLF, comments and data: without a space are the same stream"},
    {"cr", "lines may end in CR alone"},
    {"two_data_lines", "two data lines are one chunk"},
    {"calls", "fragments of a call are put together by index"},
    {"calls_interleaved", "fragments of parallel calls may take turns"},
    {"calls_no_index", "without an index a name begins a call, and the rest belongs to the last one"},
    {"calls_same_index", "another id with a name is another call, although the index is the same"},
    {"calls_new_ids", "an id without a name is not a call: it belongs to the index"},
    {"calls_no_id", "missing ids are made, arguments may be an object, empty or null"},
    {"calls_no_id_same_index", "without ids a name after whole arguments is another call"},
    {"calls_name_repeated", "a name that is repeated with its id is the same call"},
    {"calls_same_id", "an id that is used twice is changed, so that results find their call"},
    {"calls_id_before_name", "an id may come before the name"},
    {"calls_ghost", "a slot that stays empty is no call"},
    {"calls_nameless", "a call without a name is refused"},
    {"function_call", "the form before tool_calls is understood"},
    {"calls_length", "an answer that was too long says so, calls or not"},
    {"reasoning_content", "reasoning_content is kept apart from the text, and beside the message"},
    {"reasoning", "reasoning that is said under two names is taken once"},
    {"reasoning_details", "reasoning may come in parts"},
    {"vllm", "text that comes with the reason is kept; usage of each chunk replaces"},
    {"azure", "a chunk without choices is fine anywhere"},
    {"llama_cpp", "what is extra is ignored"},
    {"deepseek_usage", "cached tokens have two names"},
    {"kimi_usage", "usage may stand in the choice"},
    {"no_index_no_role", "a choice needs neither index nor role"},
    {"second_choice", "a second choice is not ours"},
    {"no_done", "a reason completes an answer without [DONE], and without the last blank line"},
    {"cut", "an end without a reason is no answer"},
    {"cut_in_a_chunk", "an end in the middle of a chunk may be tried again"},
    {"done_without_finish", "[DONE] after content completes it"},
    {"only_done", "[DONE] alone is no answer"},
    {"after_done", "nothing is read after [DONE]"},
    {"half_emoji", "half a surrogate pair costs that character, not the answer"},
    {"nul", "a NUL is not let into a text, and a huge integer is no reason to fail"},
    {"bad_utf8", "a byte that is no UTF-8 costs that character, not the answer"},
    {"refusal", "a refusal is a text that says so"},
    {"content_filter", "a filtered answer is a refusal"},
    {"length", "a cut answer says so"},
    {"parts", "content may come in parts"},
    {"error_openrouter", "an error is looked at before choices; its numeric code is the status"},
    {"error_vllm", "an error object of its own kind is an error; a request that is too long is not repeated"},
    {"error_rate", "a rate limit inside an answer may be tried again"},
    {"error_quota", "a quota that is used up is not tried again"},
    {"error_text", "an error may be a text"},
    {"error_finish", "a reason may be an error"},
    {"not_json", "a chunk that is no JSON may be tried again"},
};

START_TEST(a_recorded_stream_has_its_outcome_however_it_is_cut)
{
    replay_check(openai, "openai", &streams[_i]);
}
END_TEST

START_TEST(an_answer_may_be_one_document_although_a_stream_was_asked_for)
{
    struct ag_str bytes;
    char *held = replay_load("openai/whole.json", &bytes), *got = replay_whole(openai, bytes);

    ck_assert_str_eq(got, "complete calls 42/32/17 calls[{\"id\":\"call_a1\",\"name\":\"get_weather\","
                          "\"arguments\":\"{\\\"city\\\":\\\"Oslo\\\"}\"}]");
    free(got);
    free(held);
    held = replay_load("openai/whole_blank_lines.json", &bytes); /* a server that was waiting */
    got = replay_whole(openai, bytes);
    ck_assert_str_eq(got, "complete done -1/-1/-1 text<Hello> reasoning<Hm> extra{\"reasoning_content\":\"Hm\"}");
    free(got);
    free(held);
}
END_TEST

static const struct {
    const char *body, *want;
} documents[] = {
    {"<html>hello</html>", "EPROTOCOL 0: openai: the answer is not JSON: line 1, column 1: '[' or '{' expected near '<'"},
    {"", "EPROTOCOL 0: openai: the answer is empty"},
    {"{}", "EPROTOCOL 0: openai: the answer has no choices[0].message"},
    {"{\"choices\":[]}", "EPROTOCOL 0: openai: the answer has no choices[0].message"},
    {"[1]", "EPROTOCOL 0: openai: the answer has no choices[0].message"},
    {"{\"choices\":[{\"message\":7}]}", "EPROTOCOL 0: openai: the answer has no choices[0].message"},
    {"{\"error\":{\"message\":\"busy\",\"code\":503}}", "EPROVIDER 503 again: openai: error inside the answer (503): busy"},
    {"{\"error\":null,\"choices\":[{\"message\":{\"content\":\"ok\"},\"finish_reason\":\"eos\"}]}",
     "complete other -1/-1/-1 text<ok>"},
};

START_TEST(a_document_that_is_no_answer_says_why)
{
    char *got = replay_whole(openai, ag_str_of(documents[_i].body));

    ck_assert_str_eq(got, documents[_i].want);
    free(got);
}
END_TEST

/* --- limits ------------------------------------------------------------------------------------------ */

static agent_status feed(struct replay *p, const char *data)
{
    return openai->event(&p->stream, AG_STR(""), ag_str_of(data), &p->done, &p->err);
}

START_TEST(more_calls_than_the_limit_end_the_answer)
{
    struct replay p;
    char data[160];
    agent_status rc = AGENT_OK;
    int i;

    replay_open(&p, openai);
    for (i = 0; rc == AGENT_OK && i < 2 * AG_CAP_CALLS; i++) {
        (void)snprintf(data, sizeof(data),
                       "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":%d,\"function\":{\"name\":\"f\"}}]}}]}", i);
        rc = feed(&p, data);
    }
    ck_assert_int_eq(rc, AGENT_ETOOBIG);
    ck_assert_int_eq(i, AG_CAP_CALLS + 1);
    ck_assert_str_eq(p.err.text, "openai: over 128 tool calls in one answer");
    ck_assert(!p.stream.verdict.retry);
    ag_reply_drop(&p.reply);
}
END_TEST

START_TEST(arguments_over_the_limit_end_the_answer)
{
    struct replay p;
    size_t n = AG_CAP_ARGUMENTS_BYTES / 2, at;
    char *data = malloc(n + 200);
    agent_status rc = AGENT_OK;

    ck_assert_ptr_nonnull(data);
    at = (size_t)snprintf(data, 200, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"");
    memset(data + at, 'x', n);
    memcpy(data + at + n, "\"}}]}}]}", 9);
    replay_open(&p, openai);
    ck_assert_int_eq(feed(&p, data), AGENT_OK);
    ck_assert_int_eq(feed(&p, data), AGENT_OK);
    rc = feed(&p, data);
    ck_assert_int_eq(rc, AGENT_ETOOBIG);
    ck_assert_str_eq(p.err.text, "openai: arguments of a tool call: over the limit of 1048576 bytes");
    ag_reply_drop(&p.reply);
    free(data);
}
END_TEST

/* Fails each allocation in turn: an answer is then whole or an error, and nothing leaks. */
START_TEST(an_answer_without_memory_is_an_error_and_no_leak)
{
    struct ag_str bytes;
    char *held = replay_load("openai/calls.sse", &bytes), *whole = replay(openai, bytes, 0, false);
    unsigned failures = 0;

    for (unsigned long nth = 1; nth < 200; nth++) {
        ag_buf calls = AG_BUF_INIT(1u << 20);
        struct replay p;
        agent_status rc;

        replay_open(&p, openai);
        (void)ag_mem_fail_at(nth);
        {
            const char *at = bytes.p, *end = bytes.p + bytes.n;

            while (p.rc == AGENT_OK && !p.done && at < end) { /* its own reader: this is not about SSE */
                const char *nl = memchr(at, '\n', (size_t)(end - at));

                if (nl - at > 6)
                    p.rc = openai->event(&p.stream, AG_STR(""), (struct ag_str){at + 6, (size_t)(nl - at - 6)}, &p.done,
                                         &p.err);
                at = nl + 1;
            }
        }
        rc = p.rc == AGENT_OK ? ag_reply_seal(&p.reply, 7, 2, &calls, &p.err) : p.rc;
        (void)ag_mem_fail_at(0);
        if (rc != AGENT_OK) {
            ck_assert_int_eq(rc, AGENT_ENOMEM);
            failures++;
        } else {
            ck_assert_ptr_nonnull(strstr(whole, calls.p));
        }
        ag_buf_drop(&calls);
        ag_reply_drop(&p.reply);
    }
    ck_assert_uint_gt(failures, 5);
    free(whole);
    free(held);
}
END_TEST

/* --- refusals ---------------------------------------------------------------------------------------- */

static const struct refusal {
    int status;
    const char *body;
    int should_retry;
    int64_t after_ms;
    /* outcome */
    agent_status rc;
    bool retry;
    int64_t wait_ms;
    const char *text, *hint; /* hint: a part of it */
} refusals[] = {
    {401, "{\"error\":{\"message\":\"Incorrect API key provided: sk-abcdefghijk.\",\"code\":\"invalid_api_key\"}}", -1, -1,
     AGENT_EPROVIDER, false, -1, "openai: HTTP 401: Incorrect API key provided: ***", "OPENAI_API_KEY"},
    {403, "{\"error\":\"no access\"}", -1, -1, AGENT_EPROVIDER, false, -1, "openai: HTTP 403: no access", "OPENAI_API_KEY"},
    {429, "{\"error\":{\"message\":\"Rate limit reached\",\"code\":\"rate_limit_exceeded\"}}", -1, 1500,
     AGENT_ERATELIMIT, true, 1500, "openai: HTTP 429: Rate limit reached", ""},
    {429, "{\"error\":{\"message\":\"You exceeded your current quota\",\"code\":\"insufficient_quota\"}}", 1, 1500,
     AGENT_EPROVIDER, false, -1, "openai: HTTP 429: You exceeded your current quota", "billing"},
    {429, "{\"message\":\"slow\"}", -1, 600000, AGENT_ERATELIMIT, true, 600000, "openai: HTTP 429: slow", ""},
    {429, "{\"message\":\"slow\"}", -1, 3600000, AGENT_ERATELIMIT, false, -1, "openai: HTTP 429: slow", "3600 s"},
    {408, "", -1, -1, AGENT_EPROVIDER, true, -1, "openai: HTTP 408: no message", ""},
    {409, "", -1, -1, AGENT_EPROVIDER, true, -1, "openai: HTTP 409: no message", ""},
    {500, "{\"error\":{\"message\":null,\"type\":\"server_error\"}}", -1, -1, AGENT_EPROVIDER, true, -1,
     "openai: HTTP 500: server_error", ""},
    {502, "<html><head><style>b{}</style>\n<title>502 Bad Gateway</title></head><body><h1>x</h1>", -1, -1, AGENT_EPROVIDER,
     true, -1, "openai: HTTP 502: 502 Bad Gateway", ""},
    {503, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", -1, 0,
     AGENT_EPROVIDER, true, 0, "openai: HTTP 503: Loading model", ""},
    {529, "overloaded", -1, -1, AGENT_EPROVIDER, true, -1, "openai: HTTP 529: overloaded", ""},
    {500, "{\"error\":\"no\"}", 0, 10, AGENT_EPROVIDER, false, -1, "openai: HTTP 500: no", ""},
    {400, "{\"error\":\"once more\"}", 1, 10, AGENT_EPROVIDER, true, 10, "openai: HTTP 400: once more", ""},
    {404, "{\"error\":{\"message\":\"model 'x' not found\",\"code\":\"model_not_found\"}}", -1, -1, AGENT_EPROVIDER, false,
     -1, "openai: HTTP 404: model 'x' not found", "model's name"},
    {400, "{\"error\":{\"message\":\"too many\",\"code\":\"context_length_exceeded\"}}", -1, -1, AGENT_EPROVIDER, false,
     -1, "openai: HTTP 400: too many", "history_messages"},
    {422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}", -1, -1, AGENT_EPROVIDER, false, -1,
     "openai: HTTP 422: field required", ""},
    {400, "[{\"error\":{\"code\":400,\"message\":\"in\\nlines\\t\\u0007here\"}}]", -1, -1, AGENT_EPROVIDER, false, -1,
     "openai: HTTP 400: in lines here", ""},
    {400, "{\"error\":{\"message\":\"this was cut he", -1, -1, AGENT_EPROVIDER, false, -1,
     "openai: HTTP 400: this was cut he", ""},
};

START_TEST(a_refusal_says_what_to_do)
{
    const struct refusal *r = &refusals[_i];
    struct ag_http_head head = {.status = r->status, .content_type = "", .retry_after_ms = r->after_ms,
                                .should_retry = r->should_retry, .request_id = ""};
    struct ag_verdict v = {.retry = !r->retry, .after_ms = -7};

    ck_assert_int_eq(openai->refused(openai, r->status, ag_str_of(r->body), &head, &v, &err), r->rc);
    ck_assert_str_eq(err.text, r->text);
    ck_assert_int_eq(err.detail, r->status);
    ck_assert_int_eq(v.retry, r->retry);
    ck_assert_int_eq(v.after_ms, r->wait_ms);
    if (r->hint[0] == '\0')
        ck_assert_str_eq(err.hint, "");
    else
        ck_assert_msg(strstr(err.hint, r->hint) != NULL, "%s", err.hint);
}
END_TEST

START_TEST(a_message_of_any_length_is_one_line_that_fits)
{
    char text[2000], out[304], code[8];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text + 298, "\xf0\x9f\x98\x80", 4); /* a character that lies across the limit */
    ag_provider_message(ag_str_of(text), out, sizeof(out), code, sizeof(code));
    ck_assert_uint_eq(strlen(out), 298);
    ck_assert_str_eq(code, "");
    ag_provider_message(AG_STR("{\"error\":{\"message\":\"m\",\"code\":\"longer_than_this\"}}"), out, 2, code, sizeof(code));
    ck_assert_str_eq(out, "m");
    ck_assert_str_eq(code, "longer_");
}
END_TEST

Suite *openai_suite(void)
{
    Suite *suite = suite_create("openai");
    TCase *requests = tcase_create("requests"), *answers = tcase_create("answers");
    TCase *limits = tcase_create("limits"), *refuse = tcase_create("refusals");

    tcase_add_checked_fixture(requests, setup, teardown);
    tcase_add_test(requests, a_request_holds_system_messages_tools_and_options);
    tcase_add_test(requests, a_plain_request_has_no_tools_no_system_and_no_stream);
    tcase_add_test(requests, user_messages_that_follow_each_other_stay_apart);
    tcase_add_test(requests, arguments_that_are_no_json_object_are_sent_as_one);
    tcase_add_test(requests, calls_that_are_no_array_fail_and_name_the_message);
    tcase_add_test(requests, reasoning_goes_back_with_calls_only_where_it_is_asked_for);
    tcase_add_test(requests, the_base_url_may_end_in_slashes_and_must_be_a_url);
    tcase_add_test(requests, a_key_with_a_line_break_is_refused_and_not_told);
    tcase_add_test(requests, text_that_is_no_utf8_still_makes_a_body);
    tcase_add_test(requests, a_body_over_its_cap_fails);
    suite_add_tcase(suite, requests);

    tcase_set_timeout(answers, 60);
    tcase_add_loop_test(answers, a_recorded_stream_has_its_outcome_however_it_is_cut, 0,
                        (int)(sizeof(streams) / sizeof(streams[0])));
    tcase_add_test(answers, an_answer_may_be_one_document_although_a_stream_was_asked_for);
    tcase_add_loop_test(answers, a_document_that_is_no_answer_says_why, 0,
                        (int)(sizeof(documents) / sizeof(documents[0])));
    suite_add_tcase(suite, answers);

    tcase_set_timeout(limits, 60);
    tcase_add_test(limits, more_calls_than_the_limit_end_the_answer);
    tcase_add_test(limits, arguments_over_the_limit_end_the_answer);
    tcase_add_test(limits, an_answer_without_memory_is_an_error_and_no_leak);
    suite_add_tcase(suite, limits);

    tcase_add_loop_test(refuse, a_refusal_says_what_to_do, 0, (int)(sizeof(refusals) / sizeof(refusals[0])));
    tcase_add_test(refuse, a_message_of_any_length_is_one_line_that_fits);
    suite_add_tcase(suite, refuse);
    return suite;
}
