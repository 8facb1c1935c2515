/*
 * Messages: how a history becomes blocks that the API accepts, recorded streams against what they
 * mean, and that what was signed goes back unchanged.
 */
#include <jansson.h>

#include "tests/provider_replay.h"

Suite *anthropic_suite(void);

static const struct ag_provider_vt *const anthropic = &ag_provider_anthropic;
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
    ck_assert_int_eq(ag_params_parse(AG_STR("anthropic"), AG_STR_NONE, AG_STR_NONE, &arena, &params, &err), AGENT_OK);
    q = (struct ag_model_request){.model = AG_STR("m-1"), .params = &params, .stream = true, .run_id = 7, .step = 1};
}

static void teardown(void)
{
    ag_buf_drop(&body);
    ag_arena_drop(&arena);
}

static json_t *built(const char *key)
{
    json_error_t where;
    json_t *doc;

    ck_assert_msg(anthropic->build(&q, key, &arena, &url, &headers, &body, &err) == AGENT_OK, "%s", err.text);
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

static void messages_are(const struct ag_msg *messages, size_t n, const char *expected)
{
    json_t *doc;

    q.messages = messages;
    q.message_count = n;
    ag_buf_clear(&body);
    doc = built(NULL);
    same(json_object_get(doc, "messages"), expected);
    json_decref(doc);
}

/* --- requests ------------------------------------------------------------------------------------ */

START_TEST(a_request_holds_system_messages_tools_and_options)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello")};
    const struct ag_tool_def tools[] = {
        {AG_STR("calc"), AG_STR("Calculates"), AG_STR("{\"type\":\"object\",\"properties\":{}}")},
        {AG_STR("now"), AG_STR_NONE, AG_STR("{\"type\":\"object\"}")},
    };
    json_t *doc;

    q.system = AG_STR("Be brief.");
    q.messages = &hello;
    q.message_count = 1;
    q.tools = tools;
    q.tool_count = 2;
    params.passthrough = AG_STR("\"thinking\":{\"type\":\"adaptive\"}");
    doc = built("key-1");
    same(doc, "{\"model\":\"m-1\",\"max_tokens\":4096,\"system\":\"Be brief.\","
              "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}],"
              "\"tools\":[{\"name\":\"calc\",\"description\":\"Calculates\","
              "\"input_schema\":{\"type\":\"object\",\"properties\":{}}},"
              "{\"name\":\"now\",\"input_schema\":{\"type\":\"object\"}}],"
              "\"stream\":true,\"thinking\":{\"type\":\"adaptive\"}}");
    json_decref(doc);
    ck_assert_str_eq(url, "https://api.anthropic.com/v1/messages");
    ck_assert(has_header("x-api-key: key-1"));
    ck_assert(has_header("anthropic-version: 2023-06-01"));
    ck_assert_ptr_null(headers.at[headers.count]);
}
END_TEST

START_TEST(max_tokens_of_the_options_is_the_only_one)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello")};
    json_t *doc;

    ck_assert_int_eq(ag_params_parse(AG_STR("anthropic"), AG_STR("{\"max_completion_tokens\":7}"), AG_STR_NONE, &arena,
                                     &params, &err), AGENT_OK);
    q.messages = &hello;
    q.message_count = 1;
    q.stream = false;
    doc = built(NULL);
    same(doc, "{\"model\":\"m-1\",\"max_tokens\":7,"
              "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}]}");
    json_decref(doc);
}
END_TEST

START_TEST(results_come_first_and_together_in_the_user_message_after_their_calls)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("a")},
        {.role = AG_MSG_ASSISTANT,
         .text = AG_STR("b"),
         .calls = AG_STR("[{\"id\":\"x\",\"name\":\"f\",\"arguments\":\"{\\\"k\\\":[1]}\"},"
                         "{\"id\":\"y\",\"name\":\"g\",\"arguments\":\"nonsense\"}]")},
        {.role = AG_MSG_TOOL, .text = AG_STR("1"), .call_id = AG_STR("x")},
        {.role = AG_MSG_TOOL, .text = AG_STR("bad"), .call_id = AG_STR("y"), .tool_failed = true},
        {.role = AG_MSG_USER, .text = AG_STR("c")},
    };

    messages_are(messages, 5,
                 "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
                 "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
                 "{\"type\":\"tool_use\",\"id\":\"x\",\"name\":\"f\",\"input\":{\"k\":[1]}},"
                 "{\"type\":\"tool_use\",\"id\":\"y\",\"name\":\"g\",\"input\":{\"INVALID_JSON\":\"nonsense\"}}]},"
                 "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"x\",\"content\":\"1\"},"
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"y\",\"content\":\"bad\",\"is_error\":true},"
                 "{\"type\":\"text\",\"text\":\"c\"}]}]");
}
END_TEST

START_TEST(messages_of_one_role_become_one_message)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("a")},
        {.role = AG_MSG_USER, .text = AG_STR("b")},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("c")},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("d")},
        {.role = AG_MSG_USER, .text = AG_STR("e")},
    };

    messages_are(messages, 5,
                 "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
                 "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]},"
                 "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"e\"}]}]");
}
END_TEST

START_TEST(no_block_is_blank)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR(" \n")},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("")},
        {.role = AG_MSG_USER, .text = AG_STR("b")},
    };

    q.system = AG_STR("  ");
    messages_are(messages, 3,
                 "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"(empty)\"},"
                 "{\"type\":\"text\",\"text\":\"b\"}]}]");
    ck_assert_ptr_null(strstr(body.p, "system"));
}
END_TEST

/* A session may have begun with another provider, whose ids are freer. */
START_TEST(ids_are_mapped_alike_in_call_and_result)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_ASSISTANT, .calls = AG_STR("[{\"id\":\"functions.f:0\",\"name\":\"f\",\"arguments\":\"{}\"}]")},
        {.role = AG_MSG_TOOL, .text = AG_STR("1"), .call_id = AG_STR("functions.f:0")},
    };

    messages_are(messages, 2,
                 "[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"functions_f_0\",\"name\":\"f\",\"input\":{}}]},"
                 "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"functions_f_0\",\"content\":\"1\"}]}]");
}
END_TEST

START_TEST(reasoning_of_another_provider_is_not_sent)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("a"), .extra = AG_STR("{\"reasoning_content\":\"hm\"}")},
    };

    messages_are(messages, 1, "[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]");
}
END_TEST

/* The whole way: what a stream said, sealed, stored, and built into the next request of the turn. */
START_TEST(signed_thinking_goes_back_byte_for_byte)
{
    static const char blocks[] =
        "[{\"type\":\"thinking\",\"thinking\":\"First\\n\\\"a\\\", then b.\",\"signature\":\"EqQBCgIYAhIM+/=sig\"},"
        "{\"type\":\"redacted_thinking\",\"data\":\"RED/+==\"},{\"type\":\"text\",\"text\":\"I look.\"},"
        "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"calc\",\"input\":{\"a\":1}}]";
    struct ag_str bytes;
    char *held = replay_load("anthropic/thinking.sse", &bytes);
    ag_buf calls = AG_BUF_INIT(1u << 20);
    struct replay p;
    struct ag_msg messages[3] = {
        {.role = AG_MSG_USER, .text = AG_STR("a?")},
        {.role = AG_MSG_ASSISTANT},
        {.role = AG_MSG_TOOL, .text = AG_STR("1"), .call_id = AG_STR("toolu_1")},
    };

    replay_open(&p, anthropic);
    replay_bytes(&p, bytes, 0, false);
    ck_assert_int_eq(p.rc, AGENT_OK);
    ck_assert_int_eq(ag_reply_seal(&p.reply, 7, 1, &calls, &err), AGENT_OK);
    messages[1].text = ag_buf_view(&p.reply.text);
    messages[1].calls = ag_buf_view(&calls);
    messages[1].extra = ag_buf_view(&p.reply.extra);
    q.messages = messages;
    q.message_count = 3;
    json_decref(built(NULL));
    ck_assert_msg(strstr(body.p, blocks) != NULL, "%s", body.p);
    ck_assert_ptr_nonnull(strstr(body.p, "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\""));
    ag_reply_drop(&p.reply);
    ag_buf_drop(&calls);
    free(held);
}
END_TEST

static const struct {
    const char *base, *url;
} bases[] = {
    {"http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/messages"},
    {"http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/messages"},
    {"http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/messages"},
    {"http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/messages"},
    {"https://host/anthropic", "https://host/anthropic/v1/messages"},
};

START_TEST(the_base_url_may_hold_v1_or_not)
{
    q.base_url = ag_str_of(bases[_i].base);
    json_decref(built(NULL));
    ck_assert_str_eq(url, bases[_i].url);
}
END_TEST

/* --- answers ---------------------------------------------------------------------------------------- */

static const struct replay_row streams[] = {
    {"text", "text is put together; all three input figures are added"},
    {"no_names", "events need no name"},
    {"crlf", "lines may end in CRLF"},
    {"calls", "fragments of input are put together; none at all is an empty object"},
    {"call_whole_at_start", "input may come whole with the start of its block"},
    {"call_twice", "input that comes with the start and in fragments is taken once"},
    {"thinking", "what is signed goes back block for block"},
    {"thinking_unsigned", "thinking without a signature is for the reader only"},
    {"thinking_bad_input", "input that is no JSON does not spoil the blocks"},
    {"server_tool", "blocks that we do not know are kept as they are"},
    {"server_tool_cut_input", "blocks that were cut are not kept"},
    {"usage_replaces", "later usage replaces"},
    {"no_usage", "usage that is not told is unknown, not zero"},
    {"unknown", "unknown events and deltas are ignored"},
    {"cut", "an end in the middle is no answer"},
    {"no_stop", "an answer without message_stop is not complete"},
    {"after_stop", "nothing is read after message_stop"},
    {"refusal", "a refusal without text tells its explanation"},
    {"length", "a cut answer says so"},
    {"window", "a full context window is a cut answer"},
    {"stop_sequence", "a stop sequence ends an answer"},
    {"stopless_call", "calls are told by their presence"},
    {"error_overloaded", "an overloaded server may be tried again"},
    {"error_invalid", "a request that is too long is not repeated"},
    {"error_rate", "a rate limit inside an answer may be tried again"},
    {"not_json", "an event that is no JSON may be tried again"},
};

START_TEST(a_recorded_stream_has_its_outcome_however_it_is_cut)
{
    replay_check(anthropic, "anthropic", &streams[_i]);
}
END_TEST

START_TEST(an_answer_may_be_one_document)
{
    struct ag_str bytes;
    char *held = replay_load("anthropic/whole.json", &bytes), *got = replay_whole(anthropic, bytes);

    ck_assert_str_eq(got, "complete calls 15/5/7 text<I look.> reasoning<Hm> "
                          "calls[{\"id\":\"toolu_1\",\"name\":\"calc\",\"arguments\":\"{\\\"a\\\":[1,2]}\"}] "
                          "extra{\"content\":[{\"type\":\"thinking\",\"thinking\":\"Hm\",\"signature\":\"EqQBCgIYAhIM+/=sig\"},"
                          "{\"type\":\"text\",\"text\":\"I look.\"},"
                          "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"calc\",\"input\":{\"a\":[1,2]}}]}");
    free(got);
    free(held);
}
END_TEST

static const struct {
    const char *body, *want;
} documents[] = {
    {"hello", "EPROTOCOL 0: anthropic: the answer is not JSON: line 1, column 5: '[' or '{' expected near 'hello'"},
    {"{}", "EPROTOCOL 0: anthropic: the answer has no content"},
    {"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
     "EPROVIDER 529 again: anthropic: error inside the answer (overloaded_error): Overloaded"},
    {"{\"content\":[],\"stop_reason\":\"end_turn\"}", "complete done -1/-1/-1"},
    {"{\"content\":[null,7,{\"type\":\"text\",\"text\":\"a\"}]}", "complete other -1/-1/-1 text<a>"},
};

START_TEST(a_document_that_is_no_answer_says_why)
{
    char *got = replay_whole(anthropic, ag_str_of(documents[_i].body));

    ck_assert_str_eq(got, documents[_i].want);
    free(got);
}
END_TEST

/* --- refusals ---------------------------------------------------------------------------------------- */

static const struct {
    int status;
    const char *body;
    agent_status rc;
    bool retry;
    const char *text, *hint;
} refusals[] = {
    {401, "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}",
     AGENT_EPROVIDER, false, "anthropic: HTTP 401: invalid x-api-key", "ANTHROPIC_API_KEY"},
    {402, "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":\"no credit\"}}",
     AGENT_EPROVIDER, false, "anthropic: HTTP 402: no credit", "billing"},
    {413, "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"large\"}}",
     AGENT_EPROVIDER, false, "anthropic: HTTP 413: large", "history_bytes"},
    {429, "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow\"}}",
     AGENT_ERATELIMIT, true, "anthropic: HTTP 429: slow", ""},
    {504, "", AGENT_EPROVIDER, true, "anthropic: HTTP 504: no message", ""},
    {529, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
     AGENT_EPROVIDER, true, "anthropic: HTTP 529: Overloaded", ""},
};

START_TEST(a_refusal_says_what_to_do)
{
    struct ag_verdict v = {.retry = !refusals[_i].retry};

    ck_assert_int_eq(anthropic->refused(anthropic, refusals[_i].status, ag_str_of(refusals[_i].body), NULL, &v, &err),
                     refusals[_i].rc);
    ck_assert_str_eq(err.text, refusals[_i].text);
    ck_assert_int_eq(err.detail, refusals[_i].status);
    ck_assert_int_eq(v.retry, refusals[_i].retry);
    ck_assert_int_eq(v.after_ms, -1);
    ck_assert_msg(strstr(err.hint, refusals[_i].hint) != NULL, "%s", err.hint);
}
END_TEST

Suite *anthropic_suite(void)
{
    Suite *suite = suite_create("anthropic");
    TCase *requests = tcase_create("requests"), *answers = tcase_create("answers"), *refuse = tcase_create("refusals");

    tcase_add_checked_fixture(requests, setup, teardown);
    tcase_add_test(requests, a_request_holds_system_messages_tools_and_options);
    tcase_add_test(requests, max_tokens_of_the_options_is_the_only_one);
    tcase_add_test(requests, results_come_first_and_together_in_the_user_message_after_their_calls);
    tcase_add_test(requests, messages_of_one_role_become_one_message);
    tcase_add_test(requests, no_block_is_blank);
    tcase_add_test(requests, ids_are_mapped_alike_in_call_and_result);
    tcase_add_test(requests, reasoning_of_another_provider_is_not_sent);
    tcase_add_test(requests, signed_thinking_goes_back_byte_for_byte);
    tcase_add_loop_test(requests, the_base_url_may_hold_v1_or_not, 0, (int)(sizeof(bases) / sizeof(bases[0])));
    suite_add_tcase(suite, requests);

    tcase_set_timeout(answers, 60);
    tcase_add_loop_test(answers, a_recorded_stream_has_its_outcome_however_it_is_cut, 0,
                        (int)(sizeof(streams) / sizeof(streams[0])));
    tcase_add_test(answers, an_answer_may_be_one_document);
    tcase_add_loop_test(answers, a_document_that_is_no_answer_says_why, 0,
                        (int)(sizeof(documents) / sizeof(documents[0])));
    suite_add_tcase(suite, answers);

    tcase_add_loop_test(refuse, a_refusal_says_what_to_do, 0, (int)(sizeof(refusals) / sizeof(refusals[0])));
    suite_add_tcase(suite, refuse);
    return suite;
}
