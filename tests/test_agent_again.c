/*
 * Agents of one configuration, made one after the other in memory: the short way they take leaves
 * what the long way does, and refuses what it refuses.
 */
#include <agent/agent.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

Suite *agent_again_suite(void);

static agent_engine *engine;
static agent_error err;

static void engine_open(void)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.workers = 0;
    o.sample_interval_ms = -1;
    memset(&err, 0, sizeof(err));
    ck_assert_int_eq(agent_open(&o, &engine, &err), AGENT_OK);
}

static void engine_close(void)
{
    agent_close(engine);
}

static agent_status create(const char *name, const agent_config *c, enum agent_create_mode mode, int64_t *version)
{
    memset(&err, 0, sizeof(err));
    return agent_create(engine, name, c, mode, version, &err);
}

static void made(const char *name, const agent_config *c)
{
    int64_t version = -1;

    ck_assert_msg(create(name, c, AGENT_CREATE_NEW, &version) == AGENT_OK, "%s: %s", name, err.text);
    ck_assert_int_eq(version, 1);
}

struct listed {
    int count;
    int64_t last_id;
    char line[600]; /* of the last row: all but id, name and times */
};

static bool on_row(void *ctx, const agent_row *row)
{
    static const char *const columns[] = {"version", "provider", "model", "instructions", "tools", "sessions", "runs"};
    struct listed *l = ctx;
    int64_t id = agent_row_int(row, agent_row_find(row, "id"));
    size_t at = 0;

    ck_assert_int_eq(id, l->last_id + 1);
    l->last_id = id;
    l->count++;
    ck_assert_ptr_nonnull(agent_row_text(row, agent_row_find(row, "name"), NULL));
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        int c = agent_row_find(row, columns[i]);
        const char *text = agent_row_text(row, c, NULL);

        at += (size_t)snprintf(l->line + at, sizeof(l->line) - at, "%s=%s,%lld;", columns[i], text == NULL ? "" : text,
                               text == NULL ? (long long)agent_row_int(row, c) : 0);
    }
    ck_assert_ptr_nonnull(agent_row_text(row, agent_row_find(row, "created_at"), NULL));
    return true;
}

static struct listed list(void)
{
    agent_filter f = AGENT_FILTER_INIT;
    struct listed l = {0};

    ck_assert_int_eq(agent_scan(engine, AGENT_VIEW_AGENTS, &f, on_row, &l, &err), AGENT_OK);
    return l;
}

static agent_config plain(void)
{
    static const char *const tools[] = {"calc", "now"};
    agent_config c = AGENT_CONFIG_INIT;

    c.model = "offline:demo";
    c.instructions = "Be short.";
    c.options = "{\"answer\":\"yes\"}";
    c.tools = tools;
    c.tool_count = 2;
    c.max_steps = 7;
    return c;
}

START_TEST(an_agent_made_again_says_what_the_first_one_says)
{
    agent_config c = plain();
    char first[600];

    made("a", &c);
    (void)snprintf(first, sizeof(first), "%s", list().line);
    made("b", &c);
    made("c", &c);
    ck_assert_str_eq(list().line, first);
    ck_assert_ptr_nonnull(strstr(first, "model=demo"));
    ck_assert_ptr_nonnull(strstr(first, "instructions=Be short."));
    ck_assert_int_eq(list().count, 3);
}
END_TEST

START_TEST(any_other_word_of_the_configuration_is_another_agent)
{
    static const char *const other_tools[] = {"now", "calc"};
    agent_config base = plain(), c;
    char lines[8][600];
    int n = 0;

    for (int i = 0; i < 6; i++) {
        char name[8];

        made((snprintf(name, sizeof(name), "base%d", i), name), &base);
        c = base;
        if (i == 0)
            c.model = "offline:other";
        if (i == 1)
            c.instructions = "Be long.";
        if (i == 2)
            c.tool_count = 1;
        if (i == 3)
            c.tools = other_tools;
        if (i == 4)
            c.instructions = NULL;
        if (i == 5)
            c.tools = NULL;
        made((snprintf(name, sizeof(name), "other%d", i), name), &c);
        (void)snprintf(lines[n++], sizeof(lines[0]), "%s", list().line);
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(lines[i], lines[k]);
}
END_TEST

START_TEST(a_name_that_is_taken_is_refused_and_costs_no_id)
{
    agent_config c = plain();
    int64_t version = 0;

    made("a", &c);
    made("b", &c);
    ck_assert_int_eq(create("b", &c, AGENT_CREATE_NEW, NULL), AGENT_EEXISTS);
    ck_assert_ptr_nonnull(strstr(err.text, "'b' exists already"));
    ck_assert_int_eq(create("a", &c, AGENT_CREATE_NEW, NULL), AGENT_EEXISTS);
    made("c", &c); /* list() asserts that no id is left out */
    ck_assert_int_eq(list().count, 3);
    ck_assert_int_eq(create("c", &c, AGENT_CREATE_IF_NOT_EXISTS, &version), AGENT_OK);
    ck_assert_int_eq(version, 1);
    ck_assert_int_eq(create("c", &c, AGENT_CREATE_REPLACE, &version), AGENT_OK);
    ck_assert_int_eq(version, 1); /* it says the same */
    c.instructions = "Be kind.";
    ck_assert_int_eq(create("c", &c, AGENT_CREATE_REPLACE, &version), AGENT_OK);
    ck_assert_int_eq(version, 2);
    made("d", &c);
    ck_assert_ptr_nonnull(strstr(list().line, "version=,1;"));
    ck_assert_ptr_nonnull(strstr(list().line, "Be kind."));
}
END_TEST

START_TEST(a_name_that_is_none_is_refused_though_the_rest_was_seen_before)
{
    static const char *const bad[] = {"", ".a", "-a", "a b", "a/b", "\xc3\xa4",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    agent_config c = plain();

    made("a", &c);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(create(bad[i], &c, AGENT_CREATE_NEW, NULL) == AGENT_EINVAL, "'%s'", bad[i]);
    made("a.b-c_D9", &c);
    ck_assert_int_eq(list().count, 2);
}
END_TEST

START_TEST(a_command_that_was_removed_is_missed_by_the_next_agent)
{
    static const char *const argv[] = {"true", NULL}, *const tools[] = {"mine"};
    agent_command command = AGENT_COMMAND_INIT;
    agent_config c = AGENT_CONFIG_INIT;

    command.name = "mine";
    command.description = "does nothing";
    command.argv = argv;
    ck_assert_int_eq(agent_command_put(engine, &command, false, &err), AGENT_OK);
    c.tools = tools;
    c.tool_count = 1;
    made("a", &c);
    made("b", &c);
    ck_assert_int_eq(agent_command_remove(engine, "mine", &err), AGENT_OK);
    ck_assert_int_eq(create("c", &c, AGENT_CREATE_NEW, NULL), AGENT_ENOTFOUND);
}
END_TEST

START_TEST(after_all_are_removed_the_next_is_whole)
{
    agent_config c = plain();
    char first[600];

    made("a", &c);
    made("b", &c);
    (void)snprintf(first, sizeof(first), "%s", list().line);
    ck_assert_int_eq(agent_remove(engine, "a", &err), AGENT_OK);
    ck_assert_int_eq(agent_remove(engine, "b", &err), AGENT_OK);
    made("c", &c); /* id 3 */
    made("d", &c);
    ck_assert_int_eq(agent_remove(engine, "c", &err), AGENT_OK);
    ck_assert_int_eq(agent_remove(engine, "d", &err), AGENT_OK);
    ck_assert_int_eq(list().count, 0);
    ck_assert_int_eq(create("d", &c, AGENT_CREATE_EDIT, NULL), AGENT_ENOTFOUND);
}
END_TEST

START_TEST(twenty_thousand_are_all_there_and_each_can_run)
{
    enum { MANY = 20000 };
    agent_config c = plain();
    char name[24];

    for (int i = 0; i < MANY; i++)
        made((snprintf(name, sizeof(name), "agent%d", i), name), &c);
    ck_assert_int_eq(list().count, MANY);
    for (int i = 0; i < MANY; i += 997) {
        agent_run_request q = AGENT_RUN_REQUEST_INIT;
        const agent_run_result *result = NULL;
        agent_run *run = NULL;

        (void)snprintf(name, sizeof(name), "agent%d", i);
        ck_assert_int_eq(create(name, &c, AGENT_CREATE_NEW, NULL), AGENT_EEXISTS);
        q.agent = name;
        q.input = "well?";
        q.input_bytes = 5;
        ck_assert_msg(agent_run_start(engine, &q, &run, &err) == AGENT_OK, "%s: %s", name, err.text);
        ck_assert_int_eq(agent_run_wait(run, -1, &result, &err), AGENT_OK);
        ck_assert_str_eq(result->output, "yes");
        agent_run_free(run);
    }
}
END_TEST

Suite *agent_again_suite(void)
{
    Suite *suite = suite_create("agent again");
    TCase *memory = tcase_create("memory");

    tcase_add_checked_fixture(memory, engine_open, engine_close);
    tcase_add_test(memory, an_agent_made_again_says_what_the_first_one_says);
    tcase_add_test(memory, any_other_word_of_the_configuration_is_another_agent);
    tcase_add_test(memory, a_name_that_is_taken_is_refused_and_costs_no_id);
    tcase_add_test(memory, a_name_that_is_none_is_refused_though_the_rest_was_seen_before);
    tcase_add_test(memory, a_command_that_was_removed_is_missed_by_the_next_agent);
    tcase_add_test(memory, after_all_are_removed_the_next_is_whole);
    tcase_add_test(memory, twenty_thousand_are_all_there_and_each_can_run);
    suite_add_tcase(suite, memory);
    return suite;
}
