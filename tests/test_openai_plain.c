/*
 * The short way through an ordinary answer comes to what the tree comes to, and leaves alone what is
 * not ordinary. A document is sent down the long way by a member that says nothing there.
 */
#include <check.h>
#include <stdlib.h>

#include "engine/provider/openai.h"
#include "engine/provider/wire.h"

Suite *openai_plain_suite(void);

static const char *const contents[] = {
    "\"Paris\"", "\"\"", "null", "\"a\\nb \\u00e9 \\ud83d\\ude00 \\\\ \\\"q\\\" \\/\"", "\"nul \\u0000 inside\"", "\"caf\xc3\xa9\"",
};
static const char *const reasons[] = {"\"stop\"", "\"length\"", "\"content_filter\"", "\"\"", "null", "\"what is this, a reason?\"",
                                      "\"tool_calls\"", "\"a reason that is longer than any reason has ever been\""};
static const char *const usages[] = {
    "null",
    "{}",
    "{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15}",
    "{\"prompt_tokens\":12,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":7,\"audio_tokens\":0}}",
    "{\"prompt_tokens\":1,\"prompt_cache_hit_tokens\":9}",
    "{\"prompt_tokens\":1,\"prompt_cache_hit_tokens\":9,\"prompt_tokens_details\":{\"audio_tokens\":1}}",
    "{\"prompt_tokens\":1,\"prompt_tokens\":2}",
    "{ \"prompt_tokens\" : 5 , \"completion_tokens_details\" : {\"reasoning_tokens\" : 4} }",
};

static char *document(const char *what, const char *content, const char *reason, const char *usage, const char *more)
{
    char *text;

    ck_assert_int_gt(asprintf(&text,
                              "{\"id\":\"x\",\"object\":\"chat.completion\",\"choices\":[ {\"index\":0,\"%s\":{\"role\":\"assistant\","
                              "\"content\":%s%s},\"logprobs\":null,\"finish_reason\":%s} ],\"usage\":%s}\n",
                              what, content, more, reason, usage), 0);
    return text;
}

static agent_status read_one(bool whole, const char *text, struct ag_reply *r)
{
    struct ag_stream s = {.vt = &ag_provider_openai, .reply = r};
    agent_error err = AGENT_ERROR_INIT;
    bool done = false;

    ag_reply_init(r);
    return whole ? ag_openai_whole(&s, ag_str_of(text), &err) : ag_openai_event(&s, AG_STR(""), ag_str_of(text), &done, &err);
}

static bool is_plain(const char *text, const char *what)
{
    struct ag_openai_plain p;

    return ag_openai_plain(ag_str_of(text), what, &p);
}

START_TEST(both_ways_come_to_the_same)
{
    for (int whole = 0; whole < 2; whole++)
        for (size_t c = 0; c < sizeof(contents) / sizeof(contents[0]); c++)
            for (size_t f = 0; f < sizeof(reasons) / sizeof(reasons[0]); f++)
                for (size_t u = 0; u < sizeof(usages) / sizeof(usages[0]); u++) {
                    const char *what = whole ? "message" : "delta";
                    char *text = document(what, contents[c], reasons[f], usages[u], "");
                    char *tree = document(what, contents[c], reasons[f], usages[u], ",\"function_call\":5");
                    struct ag_reply a, b;

                    ck_assert_msg(is_plain(text, what), "%s", text);
                    ck_assert_msg(!is_plain(tree, what), "%s", tree);
                    ck_assert_int_eq(read_one(whole, text, &a), AGENT_OK);
                    ck_assert_int_eq(read_one(whole, tree, &b), AGENT_OK);
                    ck_assert_msg(ag_str_eq(ag_buf_view(&a.text), ag_buf_view(&b.text)), "%s", text);
                    ck_assert_msg(a.complete == b.complete && a.stop == b.stop, "%s", text);
                    ck_assert_msg(a.input_tokens == b.input_tokens && a.output_tokens == b.output_tokens &&
                                      a.cached_tokens == b.cached_tokens, "%s", text);
                    ag_reply_drop(&a);
                    ag_reply_drop(&b);
                    free(text);
                    free(tree);
                }
}
END_TEST

START_TEST(what_is_out_of_the_ordinary_is_left_to_the_tree)
{
    static const char *const odd[] = {
        "", "{", "[]", "5", "{\"choices\":[{\"index\":0,\"delta\":{}}]} x", "{\"choices\":[{\"index\":0,\"delta\":{}}",
        "{\"error\":{\"message\":\"m\"},\"choices\":[]}", "{\"error\":\"m\"}", "{\"object\":\"error\"}", "{\"choices\":null}",
        "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}},{\"index\":1,\"delta\":{\"content\":\"y\"}}]}",
        "{\"choices\":[5]}", "{\"choices\":[{\"index\":0}]}", "{\"choices\":[{\"delta\":null}]}",
        "{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"x\"}]}}]}", "{\"choices\":[{\"delta\":{\"content\":5}}]}",
        "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\"}}]}}]}",
        "{\"choices\":[{\"delta\":{\"function_call\":{\"name\":\"f\"}}}]}", "{\"choices\":[{\"delta\":{\"refusal\":\"no\"}}]}",
        "{\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}", "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}",
        "{\"choices\":[{\"delta\":{\"reasoning_details\":[{\"text\":\"hm\"}]}}]}",
        "{\"choices\":[{\"delta\":{\"c\\u006fntent\":\"x\"}}]}", "{\"ch\\u006fices\":[]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}", "{\"choices\":[{\"delta\":{},\"finish_reason\":5}]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":\"st\\u006fp\"}]}", "{\"choices\":[{\"delta\":{},\"usage\":{\"prompt_tokens\":1}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}", "{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}",
        "{\"choices\":[],\"usage\":5}", "{\"choices\":[],\"usage\":{\"prompt_tokens\":1.5}}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}", "{\"choices\":[],\"usage\":{\"prompt_tokens\":1234567890123456}}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":null}}", "{\"choices\":[],\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":null}}}",
    };

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        ck_assert_msg(!is_plain(odd[i], "delta"), "%s", odd[i]);
    ck_assert(is_plain("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}", "delta")); /* what they are odd variants of */
    ck_assert(is_plain("{\"choices\":[ ],\"usage\":{\"prompt_tokens\":1}}", "delta"));
    ck_assert(!is_plain("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}", "message"));
}
END_TEST

START_TEST(every_prefix_of_a_document_is_left_to_the_tree)
{
    char *text = document("delta", contents[3], reasons[0], usages[3], ",\"tool_calls\":null,\"refusal\":null");
    size_t n = strlen(text) - 1; /* the line's end is not part of it */

    ck_assert(is_plain(text, "delta"));
    for (size_t i = 0; i < n; i++) {
        char *copy = malloc(i + 1); /* exactly as long: a reader that goes beyond it is seen by ASan */
        struct ag_openai_plain p;

        memcpy(copy, text, i);
        ck_assert_msg(!ag_openai_plain((struct ag_str){copy, i}, "delta", &p), "%zu bytes", i);
        free(copy);
    }
    free(text);
}
END_TEST

Suite *openai_plain_suite(void)
{
    Suite *s = suite_create("openai_plain");
    TCase *t = tcase_create("core");

    tcase_add_test(t, both_ways_come_to_the_same);
    tcase_add_test(t, what_is_out_of_the_ordinary_is_left_to_the_tree);
    tcase_add_test(t, every_prefix_of_a_document_is_left_to_the_tree);
    suite_add_tcase(s, t);
    return s;
}
