/* The model that is built in: its rules, and that it tells what it was sent. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/provider/provider.h"

Suite *offline_suite(void);

static ag_arena arena;
static agent_error err;
static struct ag_params params;
static struct ag_model_request q;
static struct ag_plan plan;

static void options(const char *json)
{
    ck_assert_msg(ag_params_parse(AG_STR("offline"), ag_str_of(json), AG_STR_NONE, &arena, &params, &err) == AGENT_OK,
                  "%s", err.text);
}

static void setup(void)
{
    arena = AG_ARENA_INIT;
    err = (agent_error)AGENT_ERROR_INIT;
    plan = (struct ag_plan){.cut = true, .fail_status = 1};
    options("{}");
    q = (struct ag_model_request){.model = AG_STR("demo"), .params = &params, .stream = true, .run_id = 1, .step = 1};
}

static void teardown(void)
{
    ag_arena_drop(&arena);
}

static void make(const struct ag_msg *messages, size_t n)
{
    q.messages = messages;
    q.message_count = n;
    ck_assert_msg(ag_provider_offline.plan(&q, &arena, &plan, &err) == AGENT_OK, "%s", err.text);
}

static void says(const char *expected)
{
    ck_assert_msg(ag_str_is(plan.text, expected), "\n  got  " AG_STR_FMT "\n  want %s", AG_STR_ARG(plan.text), expected);
    ck_assert_uint_eq(plan.call_count, 0);
}

START_TEST(an_input_is_told_with_its_turn)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("  hello\n")};

    make(&hello, 1);
    says("[offline:demo] turn 1. You said: hello.");
    ck_assert_uint_eq(plan.chunks, 1);
    ck_assert_int_eq(plan.latency_ms, 0);
    ck_assert_int_eq(plan.fail_status, 0);
    ck_assert(!plan.cut);
}
END_TEST

START_TEST(history_and_memory_are_seen_to_arrive)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("one")},   {.role = AG_MSG_ASSISTANT, .text = AG_STR("x")},
        {.role = AG_MSG_USER, .text = AG_STR("two")},   {.role = AG_MSG_ASSISTANT, .text = AG_STR("y")},
        {.role = AG_MSG_USER, .text = AG_STR("three")}, {.role = AG_MSG_ASSISTANT, .text = AG_STR("y")},
        {.role = AG_MSG_USER, .text = AG_STR("four")},  {.role = AG_MSG_ASSISTANT, .text = AG_STR("y")},
        {.role = AG_MSG_USER, .text = AG_STR("five!")},
    };

    q.memories = AG_STR("# Memory\nWhat you know:\n- color=blue\n\n- pet: a cat\n");
    make(messages, 9);
    says("[offline:demo] turn 5. You said: five! Before that: four | three | two. Memory: color=blue; pet: a cat");
}
END_TEST

START_TEST(tool_lines_become_calls_in_their_order)
{
    const struct ag_msg ask = {
        .role = AG_MSG_USER,
        .text = AG_STR("Please:\n/tool calc {\"expression\": \"17*23\"}\r\n  /tool now\n/tool calc{}\n/toolbox x\n/tool \n")};

    make(&ask, 1);
    ck_assert_uint_eq(plan.call_count, 3);
    ck_assert(plan.text.p == NULL);
    ck_assert(ag_str_is(plan.calls[0].name, "calc"));
    ck_assert(ag_str_is(plan.calls[0].arguments, "{\"expression\": \"17*23\"}"));
    ck_assert(ag_str_is(plan.calls[1].name, "now"));
    ck_assert(ag_str_is(plan.calls[1].arguments, "{}"));
    ck_assert(ag_str_is(plan.calls[2].name, "calc"));
    ck_assert(ag_str_is(plan.calls[2].arguments, "{}"));
}
END_TEST

START_TEST(results_are_told_back_and_ask_for_nothing_more)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("/tool calc {}\n/tool now")},
        {.role = AG_MSG_ASSISTANT, .calls = AG_STR("[]")},
        {.role = AG_MSG_TOOL, .text = AG_STR("391\n"), .tool_name = AG_STR("calc")},
        {.role = AG_MSG_TOOL, .text = AG_STR("no clock"), .tool_name = AG_STR("now"), .tool_failed = true},
    };

    make(messages, 3);
    says("[offline:demo] calc returned: 391");
    make(messages, 4);
    says("[offline:demo] calc returned: 391\nnow failed: no clock");
}
END_TEST

START_TEST(a_tool_line_of_an_earlier_turn_asks_for_nothing)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("/tool calc {}")},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("done")},
        {.role = AG_MSG_USER, .text = AG_STR("Thanks.")},
    };

    make(messages, 3);
    says("[offline:demo] turn 2. You said: Thanks. Before that: /tool calc {}.");
}
END_TEST

START_TEST(an_answer_that_is_given_is_said_in_every_case_but_a_call)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("/tool now")},
        {.role = AG_MSG_TOOL, .text = AG_STR("1"), .tool_name = AG_STR("now")},
    };

    options("{\"answer\":\"Yes {turn}.\"}");
    make(messages, 1);
    ck_assert_uint_eq(plan.call_count, 1);
    make(messages, 2);
    says("Yes {turn}.");
}
END_TEST

START_TEST(an_empty_answer_is_an_answer)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello")};

    options("{\"answer\":\"\"}");
    make(&hello, 1);
    says("");
    ck_assert_uint_eq(plan.chunks, 1);
    ck_assert_int_eq(plan.output_tokens, 1);
}
END_TEST

START_TEST(waits_chunks_and_failures_come_from_the_options)
{
    const struct ag_msg hello = {.role = AG_MSG_USER, .text = AG_STR("hello")};

    options("{\"latency_ms\":20,\"chunk_ms\":5,\"fail\":503}");
    make(&hello, 1);
    ck_assert_int_eq(plan.latency_ms, 20);
    ck_assert_int_eq(plan.chunk_ms, 5);
    ck_assert_uint_eq(plan.chunks, 8);
    ck_assert_int_eq(plan.fail_status, 503);
    ck_assert(!plan.cut);

    options("{\"fail\":\"cut\",\"chunks\":1000,\"answer\":\"abc\"}");
    make(&hello, 1);
    ck_assert(plan.cut);
    ck_assert_int_eq(plan.fail_status, 0);
    ck_assert_uint_eq(plan.chunks, 3); /* never more than there are bytes */
}
END_TEST

START_TEST(tokens_are_a_quarter_of_the_bytes_and_at_least_one)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("12345")},
        {.role = AG_MSG_ASSISTANT, .text = AG_STR("1234"), .calls = AG_STR("12")},
    };

    options("{\"answer\":\"123456789\"}");
    q.system = AG_STR("12");
    make(messages, 2); /* 2 + 5 + 4 + 2 = 13 */
    ck_assert_int_eq(plan.input_tokens, 4);
    ck_assert_int_eq(plan.output_tokens, 3);
    q.system = AG_STR_NONE;
    make(NULL, 0);
    ck_assert_int_eq(plan.input_tokens, 1);
}
END_TEST

START_TEST(the_same_request_gives_the_same_plan)
{
    const struct ag_msg messages[] = {
        {.role = AG_MSG_USER, .text = AG_STR("one")},
        {.role = AG_MSG_USER, .text = AG_STR("two")},
    };
    struct ag_str first;

    make(messages, 2);
    first = plan.text;
    make(messages, 2);
    ck_assert(ag_str_eq(first, plan.text));
    ck_assert(first.p != plan.text.p);
}
END_TEST

START_TEST(long_texts_are_cut_at_a_character_and_cost_no_more)
{
    size_t n = 1u << 20;
    char *text = malloc(n);
    struct ag_msg messages[2] = {{.role = AG_MSG_USER}, {.role = AG_MSG_USER}};

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i + 1 < n; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    messages[0].text = messages[1].text = (struct ag_str){text + 1, n - 2}; /* begins with half a character */
    q.memories = messages[0].text;
    make(messages, 2);
    ck_assert_uint_lt(plan.text.n, 5000);
    ck_assert_int_eq(memcmp(plan.text.p + plan.text.n - 3, "\xe2\x80\xa6", 3), 0);
    free(text);
}
END_TEST

START_TEST(too_many_tool_lines_are_refused)
{
    ag_buf text = AG_BUF_INIT(1u << 20);
    struct ag_msg ask = {.role = AG_MSG_USER};

    for (int i = 0; i < AG_CAP_CALLS; i++)
        ag_buf_z(&text, "/tool now\n");
    ask.text = ag_buf_view(&text);
    make(&ask, 1);
    ck_assert_uint_eq(plan.call_count, AG_CAP_CALLS);
    ag_buf_z(&text, "/tool now");
    ask.text = ag_buf_view(&text);
    ck_assert_int_eq(ag_provider_offline.plan(&q, &arena, &plan, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "offline: 129 /tool lines in one input; at most 128");
    ag_buf_drop(&text);
}
END_TEST

START_TEST(a_failure_that_was_asked_for_is_judged_like_any_other)
{
    struct ag_verdict v = {.retry = false};

    ck_assert_int_eq(ag_provider_offline.refused(&ag_provider_offline, 503, AG_STR_NONE, NULL, &v, &err), AGENT_EPROVIDER);
    ck_assert_str_eq(err.text, "offline: HTTP 503: asked for by the option fail");
    ck_assert(v.retry);
    ck_assert_int_eq(ag_provider_offline.refused(&ag_provider_offline, 401, AG_STR_NONE, NULL, &v, &err), AGENT_EPROVIDER);
    ck_assert(!v.retry);
    ck_assert_int_eq(ag_provider_offline.refused(&ag_provider_offline, 429, AG_STR_NONE, NULL, &v, &err), AGENT_ERATELIMIT);
}
END_TEST

START_TEST(providers_are_found_by_name)
{
    ck_assert_ptr_eq(ag_provider_find(AG_STR("openai")), &ag_provider_openai);
    ck_assert_ptr_eq(ag_provider_find(AG_STR("anthropic")), &ag_provider_anthropic);
    ck_assert_ptr_eq(ag_provider_find(AG_STR("offline")), &ag_provider_offline);
    ck_assert_ptr_null(ag_provider_find(AG_STR("open")));
    ck_assert_ptr_null(ag_provider_find(AG_STR_NONE));
    ck_assert_ptr_nonnull(strstr(ag_provider_names(), "anthropic"));
}
END_TEST

Suite *offline_suite(void)
{
    Suite *suite = suite_create("offline");
    TCase *rules = tcase_create("rules");

    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_add_test(rules, an_input_is_told_with_its_turn);
    tcase_add_test(rules, history_and_memory_are_seen_to_arrive);
    tcase_add_test(rules, tool_lines_become_calls_in_their_order);
    tcase_add_test(rules, results_are_told_back_and_ask_for_nothing_more);
    tcase_add_test(rules, a_tool_line_of_an_earlier_turn_asks_for_nothing);
    tcase_add_test(rules, an_answer_that_is_given_is_said_in_every_case_but_a_call);
    tcase_add_test(rules, an_empty_answer_is_an_answer);
    tcase_add_test(rules, waits_chunks_and_failures_come_from_the_options);
    tcase_add_test(rules, tokens_are_a_quarter_of_the_bytes_and_at_least_one);
    tcase_add_test(rules, the_same_request_gives_the_same_plan);
    tcase_add_test(rules, long_texts_are_cut_at_a_character_and_cost_no_more);
    tcase_add_test(rules, too_many_tool_lines_are_refused);
    tcase_add_test(rules, a_failure_that_was_asked_for_is_judged_like_any_other);
    tcase_add_test(rules, providers_are_found_by_name);
    suite_add_tcase(suite, rules);
    return suite;
}
