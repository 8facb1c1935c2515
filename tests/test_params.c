/* Options: what is the engine's, what is the provider's, how one lies over the other, what is refused. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/provider/provider.h"

Suite *params_suite(void);

static ag_arena arena;
static agent_error err;
static struct ag_params p;

static void setup(void)
{
    arena = AG_ARENA_INIT;
    err = (agent_error)AGENT_ERROR_INIT;
}

static void teardown(void)
{
    ag_arena_drop(&arena);
}

static agent_status parse(const char *provider, const char *base, const char *over)
{
    return ag_params_parse(ag_str_of(provider), ag_str_of(base), ag_str_of(over), &arena, &p, &err);
}

static void passes(const char *expected)
{
    ck_assert_msg(ag_str_is(p.passthrough, expected), "\n  got  " AG_STR_FMT "\n  want %s", AG_STR_ARG(p.passthrough),
                  expected);
}

START_TEST(without_options_everything_is_the_default_and_nothing_is_allocated)
{
    static const char *const none[] = {NULL, "", "{}", " {\n} "};
    size_t used = arena.used_bytes;

    ck_assert_int_eq(parse("openai", none[_i], none[_i]), AGENT_OK);
    ck_assert_int_eq(p.history_messages, -1);
    ck_assert_int_eq(p.history_bytes, -1);
    ck_assert_int_eq(p.timeout_ms, -1);
    ck_assert_int_eq(p.connect_ms, -1);
    ck_assert_int_eq(p.first_byte_ms, -1);
    ck_assert_int_eq(p.idle_ms, -1);
    ck_assert_int_eq(p.total_ms, -1);
    ck_assert_int_eq(p.retries, -1);
    ck_assert_int_eq(p.latency_ms, 0);
    ck_assert_int_eq(p.chunks, 0);
    ck_assert_uint_eq(p.fallback_count, 0);
    ck_assert(p.key_env.p == NULL && p.answer.p == NULL && p.fail.p == NULL);
    ck_assert(!p.has_max_tokens && !p.echo_reasoning);
    passes("");
    if (_i < 3)
        ck_assert_uint_eq(arena.used_bytes, used);
}
END_TEST

START_TEST(keys_of_the_engine_are_read_and_not_passed_on)
{
    ck_assert_msg(parse("openai",
                        "{\"history_messages\":10,\"history_bytes\":2000,\"timeout_ms\":1,\"connect_ms\":2,"
                        "\"first_byte_ms\":3,\"idle_ms\":4,\"total_ms\":5,\"retries\":6,"
                        "\"fallback\":[\"openai:a\",\"offline:demo\"],\"key_env\":\"MY_KEY\",\"echo_reasoning\":true,"
                        "\"latency_ms\":7,\"chunk_ms\":8,\"chunks\":9,\"answer\":\"a \\\"b\\\"\",\"fail\":\"cut\"}",
                        NULL) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(p.history_messages, 10);
    ck_assert_int_eq(p.history_bytes, 2000);
    ck_assert_int_eq(p.timeout_ms, 1);
    ck_assert_int_eq(p.connect_ms, 2);
    ck_assert_int_eq(p.first_byte_ms, 3);
    ck_assert_int_eq(p.idle_ms, 4);
    ck_assert_int_eq(p.total_ms, 5);
    ck_assert_int_eq(p.retries, 6);
    ck_assert_uint_eq(p.fallback_count, 2);
    ck_assert(ag_str_is(p.fallback[0], "openai:a") && ag_str_is(p.fallback[1], "offline:demo"));
    ck_assert(ag_str_is(p.key_env, "MY_KEY"));
    ck_assert(p.echo_reasoning);
    ck_assert_int_eq(p.latency_ms, 7);
    ck_assert_int_eq(p.chunk_ms, 8);
    ck_assert_int_eq(p.chunks, 9);
    ck_assert(ag_str_is(p.answer, "a \"b\""));
    ck_assert(ag_str_is(p.fail, "cut"));
    passes("");
}
END_TEST

/* It is a part of the cache key: the same options, the same bytes. */
START_TEST(what_is_passed_on_is_canonical)
{
    static const char want[] = "\"a\":[1,{\"b\":null,\"z\":true}],\"seed\":7,\"stop\":\"\\n\",\"temperature\":0.2,\"top_p\":1.0";

    ck_assert_int_eq(parse("openai", "{\"temperature\": 0.2, \"top_p\": 1.0, \"a\": [1, {\"z\": true, \"b\": null}],"
                                     " \"stop\": \"\\u000a\", \"seed\": 7}", NULL), AGENT_OK);
    passes(want);
    ck_assert_int_eq(parse("openai", "{\"seed\":7,\"stop\":\"\\n\",\"top_p\":1.0}",
                           "{\"a\":[1,{\"b\":null,\"z\":true}],\"temperature\":2e-1}"), AGENT_OK);
    passes(want);
}
END_TEST

START_TEST(numbers_keep_their_value_in_their_shortest_form)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"0.1", "\"x\":0.1"}, {"1e300", "\"x\":1e300"}, {"0.30000000000000004", "\"x\":0.30000000000000004"},
        {"9223372036854775807", "\"x\":9223372036854775807"}, {"-0.5", "\"x\":-0.5"}, {"0.7071067811865476", "\"x\":0.7071067811865476"},
    };
    char json[64];

    (void)snprintf(json, sizeof(json), "{\"x\":%s}", rows[_i].in);
    ck_assert_int_eq(parse("openai", json, NULL), AGENT_OK);
    passes(rows[_i].out);
}
END_TEST

START_TEST(a_run_lies_over_its_agent_key_by_key)
{
    ck_assert_int_eq(parse("openai", "{\"temperature\":1,\"top_p\":0.5,\"retries\":5}", "{\"temperature\":0,\"retries\":0}"),
                     AGENT_OK);
    passes("\"temperature\":0,\"top_p\":0.5");
    ck_assert_int_eq(p.retries, 0);
}
END_TEST

START_TEST(null_removes)
{
    ck_assert_int_eq(parse("openai", "{\"temperature\":1,\"retries\":5,\"user\":null}", "{\"temperature\":null,\"retries\":null}"),
                     AGENT_OK);
    passes("");
    ck_assert_int_eq(p.retries, -1);
}
END_TEST

START_TEST(an_object_is_replaced_not_merged)
{
    ck_assert_int_eq(parse("openai", "{\"x\":{\"a\":1,\"b\":2}}", "{\"x\":{\"c\":3}}"), AGENT_OK);
    passes("\"x\":{\"c\":3}");
}
END_TEST

START_TEST(a_limit_of_tokens_is_noticed_under_each_name)
{
    ck_assert_int_eq(parse("openai", "{\"max_tokens\":1}", NULL), AGENT_OK);
    ck_assert(p.has_max_tokens);
    ck_assert_int_eq(parse("openai", "{\"max_completion_tokens\":1}", NULL), AGENT_OK);
    ck_assert(p.has_max_tokens);
    passes("\"max_completion_tokens\":1");
    ck_assert_int_eq(parse("anthropic", "{\"max_output_tokens\":1}", NULL), AGENT_OK);
    ck_assert(p.has_max_tokens);
    passes("\"max_tokens\":1"); /* its only name there */
    ck_assert_int_eq(parse("anthropic", "{\"max_output_tokens\":1,\"max_completion_tokens\":2,\"max_tokens\":3}", NULL), AGENT_OK);
    passes("\"max_tokens\":3");
}
END_TEST

START_TEST(fail_is_a_status_or_cut)
{
    ck_assert_int_eq(parse("offline", "{\"fail\":503}", NULL), AGENT_OK);
    ck_assert(ag_str_is(p.fail, "503"));
    ck_assert_int_eq(parse("offline", "{\"fail\":\"429\"}", NULL), AGENT_OK);
    ck_assert(ag_str_is(p.fail, "429"));
    ck_assert_int_eq(parse("offline", "{\"fail\":\"\"}", NULL), AGENT_OK);
    ck_assert_uint_eq(p.fail.n, 0);
}
END_TEST

START_TEST(one_fallback_needs_no_array)
{
    ck_assert_int_eq(parse("openai", "{\"fallback\":\"offline:demo\"}", NULL), AGENT_OK);
    ck_assert_uint_eq(p.fallback_count, 1);
    ck_assert(ag_str_is(p.fallback[0], "offline:demo"));
    ck_assert_int_eq(parse("openai", "{\"fallback\":[]}", NULL), AGENT_OK);
    ck_assert_uint_eq(p.fallback_count, 0);
}
END_TEST

static const struct {
    const char *provider, *base, *over, *text;
    bool hinted;
} wrong[] = {
    {"openai", "{\"retries\":1.5}", NULL, "option \"retries\": 1.5 is not a whole number from 0 to 100", false},
    {"openai", "{\"retries\":101}", NULL, "option \"retries\": 101 is not a whole number from 0 to 100", false},
    {"openai", "{\"retries\":-1}", NULL, "option \"retries\": -1 is not a whole number from 0 to 100", false},
    {"openai", NULL, "{\"timeout_ms\":\"30s\"}", "option \"timeout_ms\": \"30s\" is not a whole number from 1 to 2592000000", false},
    {"openai", "{\"timeout_ms\":0}", NULL, "option \"timeout_ms\": 0 is not a whole number from 1 to 2592000000", false},
    {"openai", "{\"chunks\":true}", NULL, "option \"chunks\": true is not a whole number from 1 to 100000", false},
    {"openai", "{\"echo_reasoning\":\"yes\"}", NULL, "option \"echo_reasoning\": \"yes\" is not true or false", false},
    {"openai", "{\"answer\":{\"a\":\"long long long long long long long long\"}}", NULL,
     "option \"answer\": {\"a\":\"long long long long long long long… is not a text", false},
    {"openai", "{\"fail\":200}", NULL, "option \"fail\": 200 is not an HTTP status from 400 to 599 or \"cut\"", false},
    {"openai", "{\"fail\":\"5x3\"}", NULL, "option \"fail\": \"5x3\" is not an HTTP status from 400 to 599 or \"cut\"", false},
    {"openai", "{\"fallback\":[\"openai:a\",\"gpt\"]}", NULL, "option \"fallback\": \"gpt\" is not a \"provider:model\"", false},
    {"openai", "{\"fallback\":7}", NULL, "option \"fallback\": 7 is not a \"provider:model\"", false},
    {"openai", "{\"fallback\":[1,2,3,4,5,6,7,8,9]}", NULL, "option \"fallback\": 9 models; at most 8", false},
    {"openai", "{\"key_env\":\"sk-abcdefgh\"}", NULL,
     "option \"key_env\": the value is not the name of an environment variable", true},
    {"openai", "{\"api_key\":\"sk-abcdefgh\"}", NULL, "option \"api_key\": options are stored, and keys are not", true},
    {"openai", "{\"model\":\"x\"}", NULL, "option \"model\": not to be set here: the agent's model says it", false},
    {"openai", "{\"n\":2}", NULL, "option \"n\": not to be set here: a run has one answer", false},
    {"anthropic", "{\"system\":\"x\"}", NULL, "option \"system\": not to be set here: the agent's instructions say it", false},
    {"offline", "{\"temperature\":1}", NULL, "option \"temperature\": the model offline has no such option", true},
    {"openai", "{\"a\":1,}", NULL, "options: line 1, column 8: string or '}' expected near '}'", true},
    {"openai", "{}", "{\n\"a\":1\n\"b\":2}", "options: line 3, column 3: '}' expected near '\"b\"'", true},
    {"openai", "[1]", NULL, "options: a JSON array where an object is wanted", true},
    {"openai", "7", NULL, "options: line 1, column 1: '[' or '{' expected near '7'", true},
    {"openai", "{\"a\":1,\"a\":2}", NULL, "options: line 1, column 10: duplicate object key near '\"a\"'", true},
};

START_TEST(a_wrong_option_is_named_with_what_is_wanted)
{
    struct ag_params was;

    memset(&p, 0x5a, sizeof(p));
    memcpy(&was, &p, sizeof(p));
    ck_assert_int_eq(parse(wrong[_i].provider, wrong[_i].base, wrong[_i].over), AGENT_EINVAL);
    ck_assert_str_eq(err.text, wrong[_i].text);
    ck_assert_int_eq(err.hint[0] != '\0', wrong[_i].hinted);
    ck_assert_int_eq(memcmp(&was, &p, sizeof(p)), 0); /* untouched */
    ck_assert_ptr_null(strstr(err.text, "sk-"));
    ck_assert_ptr_null(strstr(err.hint, "sk-"));
}
END_TEST

/* Only the provider that has such a key keeps it from being set. */
START_TEST(a_key_that_is_reserved_by_one_provider_is_free_at_another)
{
    ck_assert_int_eq(parse("openai", "{\"system\":\"x\"}", NULL), AGENT_OK);
    ck_assert_int_eq(parse("anthropic", "{\"n\":1}", NULL), AGENT_OK);
    ck_assert_int_eq(parse("mine", "{\"temperature\":1}", NULL), AGENT_OK);
    passes("\"temperature\":1");
}
END_TEST

static void merges(const char *old, const char *over, const char *expected)
{
    struct ag_str out = AG_STR_NONE;

    ck_assert_msg(ag_params_merge(ag_str_of(old), ag_str_of(over), &arena, &out, &err) == AGENT_OK, "%s", err.text);
    ck_assert_str_eq(out.p, expected);
}

START_TEST(merging_makes_sorted_text)
{
    merges(NULL, NULL, "{}");
    merges("{\"b\":1,\"a\":{\"y\":1,\"x\":0.1}}", NULL, "{\"a\":{\"x\":0.1,\"y\":1},\"b\":1}");
    merges("{\"b\":1,\"c\":2}", "{\"b\":null,\"a\":\"\xc3\xa9\"}", "{\"a\":\"\xc3\xa9\",\"c\":2}");
    merges("{\"a\":1}", "{\"a\":null}", "{}");
}
END_TEST

START_TEST(merging_bad_text_fails_and_leaves_the_output)
{
    struct ag_str out = AG_STR("was");

    ck_assert_int_eq(ag_params_merge(AG_STR("{}"), AG_STR("{"), &arena, &out, &err), AGENT_EINVAL);
    ck_assert(ag_str_is(out, "was"));
    ck_assert_ptr_nonnull(strstr(err.text, "options: line 1, column 1"));
}
END_TEST

START_TEST(without_memory_parsing_fails_and_leaks_nothing)
{
    static const char json[] = "{\"fallback\":[\"a:b\",\"c:d\"],\"answer\":\"x\",\"z\":{\"b\":[1,2.5]},\"a\":\"y\"}";
    unsigned failures = 0;

    for (unsigned long nth = 1; nth < 40; nth++) {
        ag_arena a = AG_ARENA_INIT;
        agent_status rc;

        (void)ag_mem_fail_at(nth);
        rc = ag_params_parse(AG_STR("openai"), ag_str_of(json), AG_STR_NONE, &a, &p, &err);
        (void)ag_mem_fail_at(0);
        if (rc != AGENT_OK) {
            ck_assert_int_eq(rc, AGENT_ENOMEM);
            failures++;
        } else {
            passes("\"a\":\"y\",\"z\":{\"b\":[1,2.5]}");
        }
        ag_arena_drop(&a);
    }
    ck_assert_uint_ge(failures, 2);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *params_suite(void)
{
    Suite *suite = suite_create("params");
    TCase *reading = tcase_create("reading"), *refusing = tcase_create("refusing"), *merging = tcase_create("merging");

    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, without_options_everything_is_the_default_and_nothing_is_allocated, 0, 4);
    tcase_add_test(reading, keys_of_the_engine_are_read_and_not_passed_on);
    tcase_add_test(reading, what_is_passed_on_is_canonical);
    tcase_add_loop_test(reading, numbers_keep_their_value_in_their_shortest_form, 0, 6);
    tcase_add_test(reading, a_run_lies_over_its_agent_key_by_key);
    tcase_add_test(reading, null_removes);
    tcase_add_test(reading, an_object_is_replaced_not_merged);
    tcase_add_test(reading, a_limit_of_tokens_is_noticed_under_each_name);
    tcase_add_test(reading, fail_is_a_status_or_cut);
    tcase_add_test(reading, one_fallback_needs_no_array);
    tcase_add_test(reading, without_memory_parsing_fails_and_leaks_nothing);
    suite_add_tcase(suite, reading);

    tcase_add_checked_fixture(refusing, setup, teardown);
    tcase_add_loop_test(refusing, a_wrong_option_is_named_with_what_is_wanted, 0, COUNT(wrong));
    tcase_add_test(refusing, a_key_that_is_reserved_by_one_provider_is_free_at_another);
    suite_add_tcase(suite, refusing);

    tcase_add_checked_fixture(merging, setup, teardown);
    tcase_add_test(merging, merging_makes_sorted_text);
    tcase_add_test(merging, merging_bad_text_fails_and_leaves_the_output);
    suite_add_tcase(suite, merging);
    return suite;
}
