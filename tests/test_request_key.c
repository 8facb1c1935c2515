/*
 * The hunt for a wrong answer: requests that differ in one thing must never have the same key, and
 * those that differ in what makes no difference always must. The seed is printed on failure.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/request_key.h"

#define MESSAGES 6
#define TOOLS    3
#define ROUNDS   400

static ag_arena arena;
static uint64_t state;

static unsigned random_below(unsigned n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % n;
}

struct sample {
    struct ag_str provider, base_url, key_env;
    struct ag_msg messages[MESSAGES];
    struct ag_tool_def tools[TOOLS];
    struct ag_params params;
    struct ag_model_request q;
};

static struct ag_str words(unsigned n)
{
    static const char letters[] = "abcdefghij klmnop\"\\{}[]:,0123456789";
    char *p = ag_arena_alloc(&arena, n + 1);

    for (unsigned i = 0; i < n; i++)
        p[i] = letters[random_below(sizeof(letters) - 1)];
    p[n] = '\0';
    return (struct ag_str){p, n};
}

#define format(...) ag_str_of(ag_arena_printf(&arena, __VA_ARGS__))

/* A request of a user, an answer with two calls, their results, an answer, a user. */
static struct sample make(void)
{
    struct sample s = {
        .provider = AG_STR("openai"), .base_url = AG_STR("https://api.example/v1"), .key_env = AG_STR_NONE,
        .params = {.history_messages = -1, .history_bytes = -1, .timeout_ms = -1, .connect_ms = -1,
                   .first_byte_ms = -1, .idle_ms = -1, .total_ms = -1, .retries = -1},
    };
    int a = (int)random_below(1000), b = (int)random_below(1000);

    s.messages[0] = (struct ag_msg){.role = AG_MSG_USER, .text = words(1 + random_below(40))};
    s.messages[1] = (struct ag_msg){
        .role = AG_MSG_ASSISTANT, .text = words(random_below(10)),
        .calls = format("[{\"id\":\"call_%d\",\"name\":\"calc\",\"arguments\":\"{\\\"x\\\":1.50,\\\"deep\\\":{\\\"a\\\":[1,2],\\\"b\\\":null}}\"},"
                        "{\"id\":\"call_x%d\",\"name\":\"now\",\"arguments\":\"{}\"}]", a, b),
        .extra = format("{\"reasoning\":\"thought %d\",\"n\":%d}", a, b),
    };
    s.messages[2] = (struct ag_msg){.role = AG_MSG_TOOL, .text = words(5), .call_id = format("call_%d", a),
                                    .tool_name = AG_STR("calc")};
    s.messages[3] = (struct ag_msg){.role = AG_MSG_TOOL, .text = words(5), .call_id = format("call_x%d", b),
                                    .tool_name = AG_STR("now"), .tool_failed = true};
    s.messages[4] = (struct ag_msg){.role = AG_MSG_ASSISTANT, .text = words(1 + random_below(60))};
    s.messages[5] = (struct ag_msg){.role = AG_MSG_USER, .text = words(1 + random_below(60))};
    for (int i = 0; i < TOOLS; i++)
        s.tools[i] = (struct ag_tool_def){
            format("tool_%d", i), words(8),
            format("{\"type\":\"object\",\"properties\":{\"p%d\":{\"type\":\"string\",\"minLength\":%d},\"q\":{}}}", i, b)};
    s.params.passthrough = format("\"temperature\":0.%d,\"top_p\":0.%d", a, b);
    s.q = (struct ag_model_request){
        .model = AG_STR("gpt"), .system = words(30), .memories = words(4), .message_count = MESSAGES,
        .tool_count = TOOLS, .run_id = 1, .step = 1,
    };
    return s;
}

static struct ag_request_key key_of(struct sample *s)
{
    struct ag_request_key key;
    agent_error err = AGENT_ERROR_INIT;

    s->q.messages = s->messages;
    s->q.tools = s->tools;
    s->q.params = &s->params;
    ck_assert_msg(ag_request_key(s->provider, s->base_url, s->key_env, &s->q, &arena, &key, &err) == AGENT_OK, "%s",
                  err.text);
    return key;
}

static bool same(const struct ag_request_key *a, const struct ag_request_key *b)
{
    bool keys = memcmp(a->key, b->key, sizeof(a->key)) == 0;

    ck_assert_msg(keys == ag_str_eq(a->parts, b->parts), "key and parts do not agree");
    return keys;
}

/* One character is another, or one is there more or less. */
static struct ag_str altered(struct ag_str s)
{
    char *p = ag_arena_alloc(&arena, s.n + 2);
    unsigned at = s.n == 0 ? 0 : random_below((unsigned)s.n);

    if (s.n > 0)
        memcpy(p, s.p, s.n);
    if (s.n == 0 || random_below(3) == 0) {
        memmove(p + at + 1, p + at, s.n - at);
        p[at] = 'Z';
        return (struct ag_str){p, s.n + 1};
    }
    if (random_below(3) == 0 && s.n > 1) {
        memmove(p + at, p + at + 1, s.n - at - 1);
        return (struct ag_str){p, s.n - 1};
    }
    p[at] = p[at] == 'Z' ? 'Y' : 'Z';
    return (struct ag_str){p, s.n};
}

static struct ag_str replaced(struct ag_str s, const char *what, const char *by)
{
    const char *at = memmem(s.p, s.n, what, strlen(what));
    char *p = ag_arena_alloc(&arena, s.n + strlen(by) + 1);
    size_t before;

    ck_assert_msg(at != NULL, "'%s' is not in '%.*s'", what, (int)s.n, s.p);
    before = (size_t)(at - s.p);
    memcpy(p, s.p, before);
    memcpy(p + before, by, strlen(by));
    memcpy(p + before + strlen(by), at + strlen(what), s.n - before - strlen(what));
    return (struct ag_str){p, s.n - strlen(what) + strlen(by)};
}

/* Each changes one thing that a model would be sent. */
static void d_provider(struct sample *s) { s->provider = AG_STR("anthropic"); }
static void d_base_url(struct sample *s) { s->base_url = AG_STR("https://api.example/v2"); }
static void d_account(struct sample *s) { s->key_env = AG_STR("OTHER_KEY"); }
static void d_model(struct sample *s) { s->q.model = AG_STR("gpt2"); }
static void d_system(struct sample *s) { s->q.system = altered(s->q.system); }
static void d_system_absent(struct sample *s) { s->q.system = AG_STR_NONE; }
static void d_memories(struct sample *s) { s->q.memories = altered(s->q.memories); }
static void d_text(struct sample *s)
{
    unsigned i = random_below(MESSAGES);

    s->messages[i].text = altered(s->messages[i].text);
}
static void d_text_moves(struct sample *s) /* the last character of one is the first of the next */
{
    struct ag_str a = s->messages[4].text, b = s->messages[5].text;
    char *p = ag_arena_alloc(&arena, b.n + 1);

    p[0] = a.p[a.n - 1];
    memcpy(p + 1, b.p, b.n);
    s->messages[4].text.n--;
    s->messages[5].text = (struct ag_str){p, b.n + 1};
}
static void d_text_absent(struct sample *s) { s->messages[random_below(2) * 4].text = AG_STR_NONE; }
static void d_role(struct sample *s) { s->messages[0].role = AG_MSG_ASSISTANT; }
static void d_call_id(struct sample *s) { s->messages[1].calls = replaced(s->messages[1].calls, "call_x", "call_y"); }
static void d_call_name(struct sample *s) { s->messages[1].calls = replaced(s->messages[1].calls, "now", "nov"); }
static void d_call_argument(struct sample *s) { s->messages[1].calls = replaced(s->messages[1].calls, "1.50", "1.51"); }
static void d_call_argument_digits(struct sample *s) /* the same double */
{
    s->messages[1].calls = replaced(s->messages[1].calls, "1.50", "1.50000000000000000001");
}
static void d_call_argument_type(struct sample *s) { s->messages[1].calls = replaced(s->messages[1].calls, "1.50", "true"); }
static void d_call_argument_order(struct sample *s) /* of an array */
{
    s->messages[1].calls = replaced(s->messages[1].calls, "[1,2]", "[2,1]");
}
static void d_call_fewer(struct sample *s) { s->messages[1].calls = AG_STR_NONE; }
static void d_call_order(struct sample *s)
{
    struct ag_str c = s->messages[1].calls;
    const char *second = memmem(c.p, c.n, ",{\"id\":\"call_x", 14);

    s->messages[1].calls = format("[%.*s,%.*s]", (int)(c.n - (size_t)(second - c.p) - 2), second + 1, (int)(second - c.p - 1), c.p + 1);
}
static void d_extra(struct sample *s) { s->messages[1].extra = replaced(s->messages[1].extra, "thought", "thoughT"); }
static void d_extra_absent(struct sample *s) { s->messages[1].extra = AG_STR_NONE; }
static void d_result_id(struct sample *s) { s->messages[2].call_id = altered(s->messages[2].call_id); }
static void d_result_tool(struct sample *s) { s->messages[2].tool_name = AG_STR("calk"); }
static void d_result_failed(struct sample *s) { s->messages[2].tool_failed = true; }
static void d_fewer_messages(struct sample *s) { s->q.message_count--; }
static void d_message_order(struct sample *s)
{
    struct ag_msg m = s->messages[2];

    s->messages[2] = s->messages[3];
    s->messages[3] = m;
}
static void d_tool_name(struct sample *s) { s->tools[1].name = AG_STR("other"); }
static void d_tool_description(struct sample *s)
{
    unsigned i = random_below(TOOLS);

    s->tools[i].description = altered(s->tools[i].description);
}
static void d_tool_schema(struct sample *s) { s->tools[2].schema = replaced(s->tools[2].schema, "string", "number"); }
static void d_tool_order(struct sample *s)
{
    struct ag_tool_def t = s->tools[0];

    s->tools[0] = s->tools[1];
    s->tools[1] = t;
}
static void d_fewer_tools(struct sample *s) { s->q.tool_count--; }
static void d_temperature(struct sample *s) { s->params.passthrough = replaced(s->params.passthrough, ":0.", ":1."); }
static void d_parameter(struct sample *s) { s->params.passthrough = AG_STR("\"seed\":1"); }
static void d_echo(struct sample *s) { s->params.echo_reasoning = true; }
static void d_offline_answer(struct sample *s) { s->params.answer = AG_STR("x"); }
static void d_offline_chunks(struct sample *s) { s->params.chunks = 3; }

static const struct {
    const char *name;
    void (*change)(struct sample *s);
} differences[] = {
#define D(name) {#name, d_##name}
    D(provider), D(base_url), D(account), D(model), D(system), D(system_absent), D(memories), D(text), D(text_moves),
    D(text_absent), D(role), D(call_id), D(call_name), D(call_argument), D(call_argument_digits),
    D(call_argument_type), D(call_argument_order), D(call_fewer), D(call_order), D(extra), D(extra_absent),
    D(result_id), D(result_tool), D(result_failed), D(fewer_messages), D(message_order), D(tool_name),
    D(tool_description), D(tool_schema), D(tool_order), D(fewer_tools), D(temperature), D(parameter), D(echo),
    D(offline_answer), D(offline_chunks),
#undef D
};

/* Each changes what makes no difference. */
static void s_stream(struct sample *s) { s->q.stream = !s->q.stream; }
static void s_run(struct sample *s) { s->q.run_id = 77; s->q.step = 9; }
static void s_limits(struct sample *s) { s->params.timeout_ms = 5; s->params.retries = 9; s->params.cache_ttl_ms = 1; }
static void s_call_keys(struct sample *s)
{
    s->messages[1].calls = replaced(s->messages[1].calls, "\"name\":\"now\",\"arguments\":\"{}\"",
                                    "\"arguments\" : \"{ }\",\n\"name\":\"now\"");
}
static void s_argument_keys(struct sample *s)
{
    s->messages[1].calls = replaced(s->messages[1].calls, "\\\"x\\\":1.50,\\\"deep\\\":{\\\"a\\\":[1,2],\\\"b\\\":null}",
                                    "\\\"deep\\\": { \\\"b\\\":null,\\t\\\"a\\\":[1 , 2] }, \\\"x\\\" : 1.50 ");
}
static void s_extra(struct sample *s)
{
    struct ag_str e = s->messages[1].extra;
    const char *comma = memchr(e.p, ',', e.n);

    s->messages[1].extra = ag_str_of(ag_arena_printf(&arena, "{ %.*s , %.*s }", (int)(e.n - (size_t)(comma - e.p) - 2),
                                                     comma + 1, (int)(comma - e.p - 1), e.p + 1));
}
static void s_schema(struct sample *s)
{
    struct ag_str x = replaced(s->tools[0].schema, "\"type\":\"object\",\"properties\":{", "\"properties\":\n{ \"q\" : {} ,");

    s->tools[0].schema = replaced(x, ",\"q\":{}}}", "} , \"type\" : \"object\" }");
}

static const struct {
    const char *name;
    void (*change)(struct sample *s);
} samenesses[] = {
#define D(name) {#name, s_##name}
    D(stream), D(run), D(limits), D(call_keys), D(argument_keys), D(extra), D(schema),
#undef D
};

START_TEST(requests_that_differ_in_one_thing_never_have_the_same_key)
{
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t seed = state = round * 7919 + (uint64_t)_i;
        struct sample a = make(), b = a;
        struct ag_request_key x, y;

        differences[_i].change(&b);
        x = key_of(&a);
        y = key_of(&b);
        ck_assert_msg(!same(&x, &y), "%s, seed %llu: the same key", differences[_i].name, (unsigned long long)seed);
        ag_arena_reset(&arena);
    }
}
END_TEST

START_TEST(requests_that_differ_in_nothing_that_counts_always_have_the_same_key)
{
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t seed = state = round * 104729 + (uint64_t)_i;
        struct sample a = make(), b = a;
        struct ag_request_key x, y;

        samenesses[_i].change(&b);
        x = key_of(&a);
        y = key_of(&b);
        ck_assert_msg(same(&x, &y), "%s, seed %llu: another key", samenesses[_i].name, (unsigned long long)seed);
        ag_arena_reset(&arena);
    }
}
END_TEST

START_TEST(no_two_of_many_requests_have_the_same_key)
{
    enum { MANY = 300 };
    struct ag_request_key *keys = ag_calloc(MANY, sizeof(*keys));

    state = 42;
    for (int i = 0; i < MANY; i++) {
        struct sample s = make();

        keys[i] = key_of(&s);
        for (int j = 0; j < i; j++)
            ck_assert_msg(!same(&keys[i], &keys[j]), "%d and %d", i, j);
    }
    ag_free(keys);
}
END_TEST

/* --- canonical JSON ---------------------------------------------------------------------------------- */

static const char *canonical(const char *text)
{
    static char out[256];
    AG_AUTO(ag_buf) b = AG_BUF_INIT(4096);

    if (!ag_json_canonical(ag_str_of(text), &b)) {
        ck_assert_uint_eq(b.n, 0);
        return NULL;
    }
    (void)snprintf(out, sizeof(out), "%.*s", (int)b.n, b.p);
    return out;
}

START_TEST(canonical_json_has_sorted_keys_and_no_white_space_and_its_numbers_as_spelled)
{
    ck_assert_str_eq(canonical(" { \"b\" : 1.0 , \"a\" : [ true ,null, \"x y\" ] } "), "{\"a\":[true,null,\"x y\"],\"b\":1.0}");
    ck_assert_str_eq(canonical("{\"b\":{\"d\":1,\"c\":2},\"a\":{}}"), "{\"a\":{},\"b\":{\"c\":2,\"d\":1}}");
    ck_assert_str_eq(canonical("{\"ab\":1,\"a\":2,\"\":3}"), "{\"\":3,\"a\":2,\"ab\":1}");
    ck_assert_str_eq(canonical("{\"a\\\"\":1,\"a\":\"\\\\\"}"), "{\"a\":\"\\\\\",\"a\\\"\":1}");
    ck_assert_str_eq(canonical("[[],[[]],[{}]]"), "[[],[[]],[{}]]");
    ck_assert_str_eq(canonical("12345678901234567890.10"), "12345678901234567890.10");
}
END_TEST

START_TEST(keys_that_are_twice_there_stay_in_their_order)
{
    ck_assert_str_eq(canonical("{\"b\":0,\"a\":2,\"a\":1}"), "{\"a\":2,\"a\":1,\"b\":0}");
}
END_TEST

START_TEST(what_is_no_json_has_no_canonical_form)
{
    static const char *const bad[] = {"", " ", "{", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "\"open", "{a:1}", "[1],", "\"\\\"", "{\"a\":}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(canonical(bad[i]) == NULL, "'%s' became '%s'", bad[i], canonical(bad[i]));
}
END_TEST

START_TEST(json_that_is_too_deep_counts_byte_by_byte)
{
    char deep[402];

    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = '\0';
    ck_assert_ptr_null(canonical(deep));
}
END_TEST

static void setup(void)
{
    arena = AG_ARENA_INIT;
}

static void teardown(void)
{
    ag_arena_drop(&arena);
}

Suite *request_key_suite(void);

Suite *request_key_suite(void)
{
    Suite *suite = suite_create("request_key");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, requests_that_differ_in_one_thing_never_have_the_same_key, 0,
                        (int)(sizeof(differences) / sizeof(differences[0])));
    tcase_add_loop_test(t, requests_that_differ_in_nothing_that_counts_always_have_the_same_key, 0,
                        (int)(sizeof(samenesses) / sizeof(samenesses[0])));
    tcase_add_test(t, no_two_of_many_requests_have_the_same_key);
    tcase_add_test(t, canonical_json_has_sorted_keys_and_no_white_space_and_its_numbers_as_spelled);
    tcase_add_test(t, keys_that_are_twice_there_stay_in_their_order);
    tcase_add_test(t, what_is_no_json_has_no_canonical_form);
    tcase_add_test(t, json_that_is_too_deep_counts_byte_by_byte);
    suite_add_tcase(suite, t);
    return suite;
}
