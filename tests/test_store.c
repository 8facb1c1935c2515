/* What every store does with agents, tools, memory, and with units as such. Runs: test_store_runs.c, _claims.c, _turns.c. */
#include "tests/store_kit.h"

Suite *store_suite(void);

/* --- agents ------------------------------------------------------------------------------------------ */

START_TEST(creating_an_agent_makes_version_one_of_it)
{
    struct ag_op_agent_put *put;

    kit_open(_i);
    put = kit_agent_in(&kit, "bob");
    kit_ok();
    ck_assert_int_gt(put->out_agent_id, 0);
    ck_assert_int_gt(put->out_version_id, 0);
    ck_assert_int_eq(put->out_version, 1);
    ck_assert(put->out_created && put->out_changed);
    kit_is(AGENTS, "name version provider model instructions tools created_at updated_at sessions runs last_run_at",
           "bob|1|offline|demo|-|-|2023-11-14T22:13:20.000Z|2023-11-14T22:13:20.000Z|0|0|-\n");
    kit_close();
}
END_TEST

START_TEST(creating_an_agent_that_exists_fails_and_changes_nothing)
{
    struct ag_op_agent_put *put;

    kit_open(_i);
    (void)kit_agent("bob");
    put = kit_agent_in(&kit, "bob");
    put->spec.model = S("other");
    put->mode = AGENT_CREATE_NEW;
    kit_fails(AGENT_EEXISTS);
    ck_assert_ptr_nonnull(strstr(err.text, "'bob'"));
    kit_is(VERSIONS, "agent version model", "bob|1|demo\n");
    kit_close();
}
END_TEST

START_TEST(if_not_exists_leaves_an_agent_alone_and_makes_a_missing_one)
{
    struct ag_op_agent_put *first, *second;

    kit_open(_i);
    first = kit_agent_in(&kit, "bob");
    first->mode = AGENT_CREATE_IF_NOT_EXISTS;
    kit_ok();
    ck_assert(first->out_created);
    second = kit_agent_in(&kit, "bob");
    second->mode = AGENT_CREATE_IF_NOT_EXISTS;
    second->spec.model = S("other");
    kit_ok();
    ck_assert(!second->out_created && !second->out_changed);
    ck_assert_int_eq(second->out_agent_id, first->out_agent_id);
    ck_assert_int_eq(second->out_version_id, first->out_version_id);
    ck_assert_int_eq(second->out_version, 1);
    kit_is(VERSIONS, "agent version model", "bob|1|demo\n");
    kit_close();
}
END_TEST

START_TEST(replacing_makes_the_next_version_and_keeps_the_old_one)
{
    struct ag_op_agent_put *first, *second;
    struct ag_agent_rec rec;

    kit_open(_i);
    first = kit_agent_in(&kit, "bob");
    kit_ok();
    second = kit_agent_in(&kit, "bob");
    second->mode = AGENT_CREATE_REPLACE;
    second->spec.model = S("other");
    kit_ok();
    ck_assert(!second->out_created && second->out_changed);
    ck_assert_int_eq(second->out_agent_id, first->out_agent_id);
    ck_assert_int_ne(second->out_version_id, first->out_version_id);
    ck_assert_int_eq(second->out_version, 2);
    kit_is(VERSIONS, "agent version model created_at",
           "bob|1|demo|2023-11-14T22:13:20.000Z\nbob|2|other|2023-11-14T22:13:21.000Z\n");
    kit_is(AGENTS, "version model created_at updated_at",
           "2|other|2023-11-14T22:13:20.000Z|2023-11-14T22:13:21.000Z\n");

    ck_assert_int_eq(ag_reader_agent(kit.reader, S("bob"), 0, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.version_id, second->out_version_id);
    ck_assert_int_eq(ag_reader_agent(kit.reader, S("bob"), first->out_version_id, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.version, 1);
    ck_assert(ag_str_is(rec.spec.model, "demo"));
    kit_close();
}
END_TEST

START_TEST(replacing_by_the_same_makes_no_version)
{
    struct ag_op_agent_put *put;

    kit_open(_i);
    (void)kit_agent("bob");
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_REPLACE;
    kit_ok();
    ck_assert(!put->out_created && !put->out_changed);
    ck_assert_int_eq(put->out_version, 1);
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_REPLACE;
    put->spec.options = S(""); /* empty is not absent */
    kit_ok();
    ck_assert(put->out_changed);
    kit_close();
}
END_TEST

START_TEST(editing_needs_the_agent_and_the_version_that_was_read)
{
    struct ag_op_agent_put *put;

    kit_open(_i);
    kit_agent_in(&kit, "bob")->mode = AGENT_CREATE_EDIT;
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'bob'"));
    (void)kit_agent("bob");
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_EDIT;
    put->expect_version = 1;
    put->spec.model = S("two");
    kit_ok();
    ck_assert_int_eq(put->out_version, 2);
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_EDIT;
    put->expect_version = 1;
    put->spec.model = S("three");
    kit_fails(AGENT_EBUSY);
    put = kit_agent_in(&kit, "bob");
    put->mode = AGENT_CREATE_EDIT;
    put->spec.model = S("three"); /* any version */
    kit_ok();
    kit_is(VERSIONS, "version model", "1|demo\n2|two\n3|three\n");
    kit_close();
}
END_TEST

static void same_text(struct ag_str a, struct ag_str b)
{
    ck_assert((a.p == NULL) == (b.p == NULL));
    ck_assert(ag_str_eq(a, b));
}

START_TEST(an_agent_is_read_as_it_was_written)
{
    struct ag_op_agent_put *put;
    struct ag_agent_rec rec;

    kit_open(_i);
    put = kit_agent_in(&kit, "bob");
    put->spec.instructions = kit_long(5000, 1); /* long texts are kept apart in the file */
    put->spec.tools = S("[\"calc\"]");
    put->spec.options = S("{\"a\":\"\xc3\xa9\"}");
    put->spec.base_url = S("http://127.0.0.1:1/");
    put->spec.key_env = S("MY_KEY");
    put->spec.max_steps = 7;
    kit_ok();
    ck_assert_int_eq(ag_reader_agent(kit.reader, S("bob"), 0, &kit.arena, &rec, &err), AGENT_OK);
    ck_assert_int_eq(rec.agent_id, put->out_agent_id);
    ck_assert_int_eq(rec.version_id, put->out_version_id);
    ck_assert_int_eq(rec.version, 1);
    same_text(rec.spec.name, S("bob"));
    same_text(rec.spec.provider, S("offline"));
    same_text(rec.spec.model, S("demo"));
    same_text(rec.spec.instructions, put->spec.instructions);
    same_text(rec.spec.tools, put->spec.tools);
    same_text(rec.spec.options, put->spec.options);
    same_text(rec.spec.base_url, put->spec.base_url);
    same_text(rec.spec.key_env, put->spec.key_env);
    ck_assert_int_eq(rec.spec.max_steps, 7);
    kit_is(VERSIONS, "tools options base_url max_steps key_env",
           "[\"calc\"]|{\"a\":\"\xc3\xa9\"}|http://127.0.0.1:1/|7|MY_KEY\n");

    (void)kit_agent("eve");
    ck_assert_int_eq(ag_reader_agent(kit.reader, S("eve"), 0, &kit.arena, &rec, &err), AGENT_OK);
    same_text(rec.spec.instructions, AG_STR_NONE);
    same_text(rec.spec.tools, AG_STR_NONE);
    same_text(rec.spec.options, AG_STR_NONE);
    same_text(rec.spec.base_url, AG_STR_NONE);
    same_text(rec.spec.key_env, AG_STR_NONE);
    kit_close();
}
END_TEST

START_TEST(reading_what_is_not_there_leaves_the_out_parameter_alone)
{
    struct ag_agent_rec rec = {.agent_id = -5};
    struct ag_tool_rec tool = {.timeout_ms = -5};
    struct ag_run_rec run = {.run_id = -5};
    int64_t session = -5;

    kit_open(_i);
    ck_assert_int_eq(ag_reader_agent(kit.reader, S("no"), 0, &kit.arena, &rec, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'no'"));
    ck_assert_int_eq(ag_reader_agent(kit.reader, S("no"), 99, &kit.arena, &rec, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_tool(kit.reader, S("no"), &kit.arena, &tool, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'no'"));
    ck_assert_int_eq(ag_reader_run(kit.reader, 99, &kit.arena, &run, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "99"));
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("no"), S("s"), &session, &err), AGENT_ENOTFOUND);
    (void)kit_agent("bob");
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), S("s"), &session, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), S("#7"), &session, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(ag_reader_session_find(kit.reader, S("bob"), S("#x"), &session, &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(rec.agent_id, -5);
    ck_assert_int_eq(tool.timeout_ms, -5);
    ck_assert_int_eq(run.run_id, -5);
    ck_assert_int_eq(session, -5);
    kit_close();
}
END_TEST

START_TEST(removing_an_agent_takes_all_that_is_its_own)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_PURE};
    struct ag_op_run_create *run;
    struct ag_op *op;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    run = kit_run("eve", "hers", "hi");
    (void)kit_answer(run, "hello");
    run = kit_calling("bob", "his", 1, effects);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "4");
    kit_message(run, run->out_input_seq + 2, AG_ROLE_TOOL, "4")->call_number = 2;
    (void)kit_finish(run, AG_RUN_FAILED);
    kit_ok();
    (void)kit_create("bob", "his", "live");
    op = kit_add(AG_OP_MEMORY_PUT);
    op->memory_put.agent_name = S("bob");
    op->memory_put.text = S("remember");
    kit_ok();
    op = kit_add(AG_OP_RUN_CANCEL); /* of a live one: it is only asked */
    op->run_cancel.run_id = run->out_run_id + 1;
    kit_ok();
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_fails(AGENT_EBUSY);
    kit_is(AGENTS, "name", "bob\neve\n");
    (void)kit_finish(&(struct ag_op_run_create){.out_run_id = run->out_run_id + 1,
                                                .out_session_id = run->out_session_id}, AG_RUN_CANCELLED);
    kit_ok();

    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_ok();
    kit_is(AGENTS, "name", "eve\n");
    kit_is(VERSIONS, "agent", "eve\n");
    kit_is(SESSIONS, "agent name", "eve|hers\n");
    kit_is(RUNS, "agent input", "eve|hi\n");
    kit_is(MESSAGES, "text", "hi\nhello\n");
    kit_is(STEPS, "kind", "model\n");
    kit_is(TOOL_CALLS, "tool", "");
    kit_is(MEMORY, "text", "");
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_fails(AGENT_ENOTFOUND);
    (void)kit_agent("bob"); /* the name is free again */
    kit_is(SESSIONS, "agent name", "eve|hers\n");
    kit_close();
}
END_TEST

START_TEST(thousands_of_agents_are_all_found_by_name)
{
    enum { AGENTS = 3000 };
    struct ag_agent_rec rec;
    char name[32];

    kit_open(_i);
    for (int i = 0; i < AGENTS; i++) {
        (void)snprintf(name, sizeof(name), "agent-%d", i);
        kit_agent_in(&kit, ag_arena_z(&kit.arena, ag_str_of(name)))->spec.instructions =
            kit_long(20, (unsigned)i % 7);
        if (i % 100 == 99)
            kit_ok();
    }
    for (int i = 0; i < AGENTS; i += 3) {
        (void)snprintf(name, sizeof(name), "agent-%d", i);
        kit_add(AG_OP_AGENT_RM)->name.name = ag_arena_str(&kit.arena, ag_str_of(name));
        if (i % 100 == 99)
            kit_ok();
    }
    kit_ok();
    for (int i = 0; i < AGENTS; i++) {
        (void)snprintf(name, sizeof(name), "agent-%d", i);
        ck_assert_int_eq(ag_reader_agent(kit.reader, ag_str_of(name), 0, &kit.arena, &rec, &err),
                         i % 3 == 0 ? AGENT_ENOTFOUND : AGENT_OK);
        if (i % 3 != 0) {
            same_text(rec.spec.name, ag_str_of(name));
            same_text(rec.spec.instructions, kit_long(20, (unsigned)i % 7));
        }
    }
    kit_close();
}
END_TEST

/* --- tools --------------------------------------------------------------------------------------------- */

static struct ag_op_tool_put *tool_put(const char *name, const char *description)
{
    struct ag_op_tool_put *put = &kit_add(AG_OP_TOOL_PUT)->tool_put;

    put->tool = (struct ag_tool_rec){.name = ag_str_of(name), .description = ag_str_of(description),
                                     .argv = S("[\"true\"]"), .schema = S("{}"), .effect = AGENT_EFFECT_EFFECT,
                                     .timeout_ms = 5000, .max_output_bytes = 100};
    return put;
}

START_TEST(a_tool_is_read_as_it_was_written)
{
    struct ag_op_tool_put *put;
    struct ag_tool_rec rec;

    kit_open(_i);
    put = tool_put("t", "does it");
    kit_ok();
    ck_assert_int_eq(ag_reader_tool(kit.reader, S("t"), &kit.arena, &rec, &err), AGENT_OK);
    same_text(rec.name, put->tool.name);
    same_text(rec.description, put->tool.description);
    same_text(rec.argv, put->tool.argv);
    same_text(rec.schema, put->tool.schema);
    ck_assert_int_eq(rec.effect, AGENT_EFFECT_EFFECT);
    ck_assert_int_eq(rec.timeout_ms, 5000);
    ck_assert_int_eq(rec.max_output_bytes, 100);
    kit_is(TOOLS, "name kind description effect timeout_ms argv schema created_at max_output_bytes",
           "t|command|does it|effect|5000|[\"true\"]|{}|2023-11-14T22:13:20.000Z|100\n");
    kit_close();
}
END_TEST

START_TEST(a_tool_is_replaced_only_when_asked)
{
    struct ag_op_tool_put *put;
    struct ag_tool_rec rec;

    kit_open(_i);
    (void)tool_put("t", "one");
    kit_ok();
    (void)tool_put("t", "two");
    kit_fails(AGENT_EEXISTS);
    ck_assert_ptr_nonnull(strstr(err.text, "'t'"));
    ck_assert_int_ne(err.hint[0], '\0');
    kit_is(TOOLS, "name description", "t|one\n");
    put = tool_put("t", "two");
    put->replace = true;
    put->tool.schema = AG_STR_NONE;
    put->tool.effect = AGENT_EFFECT_PURE;
    kit_ok();
    kit_is(TOOLS, "name description effect schema created_at", "t|two|pure|-|2023-11-14T22:13:20.000Z\n");
    ck_assert_int_eq(ag_reader_tool(kit.reader, S("t"), &kit.arena, &rec, &err), AGENT_OK);
    same_text(rec.schema, AG_STR_NONE);
    tool_put("u", "new")->replace = true;
    kit_ok();
    kit_is(TOOLS, "name", "t\nu\n");
    kit_add(AG_OP_TOOL_RM)->name.name = S("t");
    kit_ok();
    kit_is(TOOLS, "name", "u\n");
    kit_add(AG_OP_TOOL_RM)->name.name = S("t");
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'t'"));
    kit_close();
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct ag_op_memory_put *memory_put(const char *agent, const char *key, const char *text)
{
    struct ag_op_memory_put *put = &kit_add(AG_OP_MEMORY_PUT)->memory_put;

    put->agent_name = ag_str_of(agent);
    put->key = ag_str_of(key);
    put->text = ag_str_of(text);
    return put;
}

static struct ag_op_memory_rm *memory_rm(const char *agent, const char *key)
{
    struct ag_op_memory_rm *rm = &kit_add(AG_OP_MEMORY_RM)->memory_rm;

    rm->agent_name = ag_str_of(agent);
    rm->key = ag_str_of(key);
    return rm;
}

START_TEST(a_second_memory_with_the_same_key_replaces_the_text)
{
    struct ag_op_memory_put *first, *second;

    kit_open(_i);
    (void)kit_agent("bob");
    first = memory_put("bob", "k", "one");
    kit_ok();
    second = memory_put("bob", "k", "two");
    second->source_run_id = 5;
    kit_ok();
    ck_assert_int_eq(second->out_id, first->out_id);
    kit_is(MEMORY, "agent scope key text created_at updated_at source_run_id",
           "bob|agent|k|two|2023-11-14T22:13:21.000Z|2023-11-14T22:13:22.000Z|5\n");
    memory_put("bob", "k", "other")->scope = S("user");
    kit_ok();
    kit_is(MEMORY, "scope key text source_run_id", "agent|k|two|5\nuser|k|other|-\n");
    kit_close();
}
END_TEST

START_TEST(a_memory_without_a_key_gets_one_from_its_id)
{
    struct ag_op_memory_put *put;
    char line[64];

    kit_open(_i);
    (void)kit_agent("bob");
    put = memory_put("bob", NULL, "text");
    kit_ok();
    (void)snprintf(line, sizeof(line), "%" PRId64 "|m%" PRId64 "|text\n", put->out_id, put->out_id);
    kit_is(MEMORY, "id key text", line);
    kit_close();
}
END_TEST

START_TEST(a_made_key_never_hits_one_that_is_taken)
{
    struct ag_op_memory_put *put, *made;
    char key[32], line[96];

    kit_open(_i);
    (void)kit_agent("bob");
    put = memory_put("bob", "first", "1");
    kit_ok();
    (void)snprintf(key, sizeof(key), "m%" PRId64, put->out_id + 2); /* what the next but one would be called */
    (void)memory_put("bob", key, "taken");
    kit_ok();
    made = memory_put("bob", NULL, "made");
    kit_ok();
    (void)snprintf(line, sizeof(line), "first|1\n%s|taken\nm%" PRId64 "|made\n", key, made->out_id);
    kit_is(MEMORY, "key text", line);
    kit_close();
}
END_TEST

START_TEST(memory_of_a_missing_agent_is_refused)
{
    struct ag_op_memory_put *put;

    kit_open(_i);
    (void)memory_put("no", "k", "v");
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'no'"));
    put = memory_put(NULL, "k", "v");
    put->agent_id = 77;
    kit_fails(AGENT_ENOTFOUND);
    (void)memory_rm("no", "k");
    kit_fails(AGENT_ENOTFOUND);
    kit_is(MEMORY, "id", "");
    kit_close();
}
END_TEST

START_TEST(memory_is_written_by_agent_id_too)
{
    struct ag_op_memory_put *put;
    int64_t id;

    kit_open(_i);
    id = kit_agent("bob");
    put = memory_put(NULL, "k", "v");
    put->agent_id = id;
    kit_ok();
    kit_is(MEMORY, "agent key text", "bob|k|v\n");
    kit_close();
}
END_TEST

START_TEST(removing_a_memory_says_whether_there_was_one)
{
    struct ag_op_memory_rm *rm;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)memory_put("bob", "k", "v");
    (void)memory_put("bob", "l", "w");
    kit_ok();
    rm = memory_rm("bob", "k");
    kit_ok();
    ck_assert(rm->out_removed);
    kit_is(MEMORY, "key", "l\n");
    rm = memory_rm("bob", "k");
    rm->missing_is_fine = true;
    kit_ok();
    ck_assert(!rm->out_removed);
    (void)memory_rm("bob", "k");
    kit_fails(AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "k"));
    memory_rm("bob", "l")->scope = S("user");
    kit_fails(AGENT_ENOTFOUND);
    kit_is(MEMORY, "key", "l\n");
    kit_close();
}
END_TEST

/* "key=text key=text" */
static const char *told(const struct ag_memory_list *list)
{
    ag_buf_clear(&kit.text);
    ag_buf_z(&kit.text, "");
    for (size_t i = 0; i < list->count; i++)
        ag_buf_printf(&kit.text, "%s" AG_STR_FMT "=" AG_STR_FMT, i > 0 ? " " : "", AG_STR_ARG(list->at[i].key),
                      AG_STR_ARG(list->at[i].text));
    return ag_buf_view(&kit.text).p;
}

static const char *memories(int64_t agent_id, size_t max_count, size_t max_bytes)
{
    struct ag_memory_list list;

    ck_assert_int_eq(ag_reader_memories(kit.reader, agent_id, max_count, max_bytes, &kit.arena, &list, &err), AGENT_OK);
    return told(&list);
}

START_TEST(memories_are_the_newest_of_the_agent_newest_last)
{
    int64_t bob;

    kit_open(_i);
    bob = kit_agent("bob");
    (void)kit_agent("eve");
    (void)memory_put("bob", "a", "1");
    (void)memory_put("eve", "x", "9");
    (void)memory_put("bob", "b", "2");
    memory_put("bob", "u", "user's")->scope = S("user");
    (void)memory_put("bob", "c", "3");
    kit_ok();
    ck_assert_str_eq(memories(bob, 100, 1000), "a=1 b=2 c=3");
    ck_assert_str_eq(memories(bob, 2, 1000), "b=2 c=3");
    ck_assert_str_eq(memories(bob, 0, 1000), "");
    ck_assert_str_eq(memories(bob + 100, 10, 1000), "");
    kit_close();
}
END_TEST

START_TEST(memories_keep_to_their_bytes)
{
    int64_t bob;
    size_t n;

    kit_open(_i);
    bob = kit_agent("bob");
    for (int i = 0; i < 4; i++)
        memory_put("bob", i == 0 ? "a" : i == 1 ? "b" : i == 2 ? "c" : "d", NULL)->text = kit_long(100, 3);
    kit_ok();
    n = strlen(memories(bob, 100, 250));
    ck_assert_uint_eq(n, 2 * 102 + 1);
    ck_assert_int_eq(kit.text.p[0], 'c'); /* the newest two */
    ck_assert_str_eq(memories(bob, 100, 50), "");
    kit_close();
}
END_TEST

static const char *found(int64_t agent_id, const char *query, size_t max_count)
{
    struct ag_memory_list list;

    ck_assert_msg(ag_reader_memory_search(kit.reader, agent_id, ag_str_of(query), max_count, &kit.arena, &list,
                                          &err) == AGENT_OK, "%s: %s", query, err.text);
    return told(&list);
}

START_TEST(searching_memory_wants_all_words_then_any)
{
    int64_t bob;

    kit_open(_i);
    bob = kit_agent("bob");
    (void)kit_agent("eve");
    (void)memory_put("bob", "a", "the cat likes warm milk");
    (void)memory_put("bob", "b", "the dog likes bones");
    (void)memory_put("bob", "c", "taxes are due in May");
    (void)memory_put("eve", "x", "the cat of eve");
    kit_ok();
    ck_assert_str_eq(found(bob, "cat milk", 10), "a=the cat likes warm milk");
    ck_assert_str_eq(found(bob, "MILK", 10), "a=the cat likes warm milk");
    ck_assert_str_eq(found(bob, "due zebra", 10), "c=taxes are due in May"); /* none has both */
    ck_assert_str_eq(found(bob, "zebra", 10), "");
    ck_assert_str_eq(found(bob, "ca", 10), ""); /* words, not parts of them */
    ck_assert_uint_eq(strlen(found(bob, "likes", 1)) > 0, 1);
    ck_assert_ptr_null(strchr(found(bob, "likes", 1), '\n'));
    (void)memory_rm("bob", "a");
    kit_ok();
    ck_assert_str_eq(found(bob, "cat", 10), "");
    (void)memory_put("bob", "b", "now about fish");
    kit_ok();
    ck_assert_str_eq(found(bob, "bones", 10), "");
    ck_assert_str_eq(found(bob, "fish", 10), "b=now about fish");
    kit_close();
}
END_TEST

START_TEST(any_text_is_a_query)
{
    static const char *const queries[] = {"", " ", "\"", "*", "AND", "OR NOT", "a\"b", "(", "NEAR(", "key:", "-x", "^", "'",
                                          "milk*", "text:milk", "{}", "\xc3\xa9t\xc3\xa9"};
    int64_t bob;

    kit_open(_i);
    bob = kit_agent("bob");
    (void)memory_put("bob", "a", "warm milk and \xc3\xa9t\xc3\xa9");
    kit_ok();
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
        (void)found(bob, queries[i], 10);
    ck_assert_str_ne(found(bob, "\xc3\xa9t\xc3\xa9", 10), "");
    ck_assert_str_ne(found(bob, "(milk)", 10), "");
    ck_assert_str_eq(found(bob, "", 10), "");
    kit_close();
}
END_TEST

/* --- units ---------------------------------------------------------------------------------------------------- */

START_TEST(a_unit_that_fails_in_the_middle_leaves_nothing)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *open, *waiting;
    struct ag_stage_row stage = {.stage = AG_STAGE_LOAD, .started_at_ms = KIT_EPOCH_MS, .wall_us = 5};
    struct ag_op *op;
    char *before[AGENT_VIEW_LIMIT];

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_agent("eve");
    (void)memory_put("bob", "k", "old");
    (void)memory_put("bob", "l", "stays");
    (void)tool_put("t", "old");
    kit_ok();
    open = kit_run("bob", "s", "open");
    waiting = kit_calling("eve", "w", 1, effects);
    (void)kit_finish(waiting, AG_RUN_WAITING);
    kit_ok();
    (void)kit_answer(kit_run("eve", NULL, "done"), "answered");
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        before[v] = ag_arena_z(&kit.arena, ag_str_of(kit_rows((enum agent_view)v, NULL, NULL)));

    kit_agent_in(&kit, "carl")->spec.instructions = S("new");
    kit_agent_in(&kit, "bob")->mode = AGENT_CREATE_REPLACE;
    (void)memory_put("bob", "k", "new");
    (void)memory_put("bob", NULL, "made");
    (void)memory_rm("bob", "l");
    tool_put("t", "new")->replace = true;
    (void)tool_put("u", "new");
    kit_add(AG_OP_TOOL_RM)->name.name = S("t");
    (void)kit_create("bob", "s", "behind");
    kit_create("carl", "fresh", "claimed")->idempotency_key = S("key");
    (void)kit_create("eve", "w", "closes the waiting one");
    (void)kit_step_end(open->out_run_id, 1, AG_STEP_SUCCEEDED);
    kit_message(open, 2, AG_ROLE_ASSISTANT, "answer")->calls = S("[]");
    (void)kit_intent(open->out_run_id, 2, 1, "c1", AGENT_EFFECT_PURE);
    (void)kit_call_end(open->out_run_id, 2, AG_CALL_SUCCEEDED, "4");
    kit_message(open, 3, AG_ROLE_TOOL, "4")->call_number = 2;
    op = kit_add(AG_OP_STAGES);
    op->stages = (struct ag_op_stages){.run_id = open->out_run_id, .rows = &stage, .count = 1};
    (void)kit_finish(open, AG_RUN_SUCCEEDED);
    kit_add(AG_OP_AGENT_RM)->name.name = S("eve"); /* its new run is live */
    kit_fails(AGENT_EBUSY);
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        ck_assert_str_eq(kit_rows((enum agent_view)v, NULL, NULL), before[v]);

    /* and what was there goes on */
    (void)kit_answer(open, "answer");
    kit_is(RUNS, "input status output", "open|succeeded|answer\ncall|waiting|-\ndone|succeeded|answered\n");
    (void)kit_agent("carl");
    kit_is(MEMORY, "key text", "k|old\nl|stays\n");
    kit_close();
}
END_TEST

START_TEST(a_removal_that_is_taken_back_leaves_all_as_it_was)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_PURE, AGENT_EFFECT_PURE};
    struct ag_op_run_create *run;
    char *before[AGENT_VIEW_LIMIT];

    kit_open(_i);
    (void)kit_agent("bob");
    (void)memory_put("bob", "k", "milk");
    run = kit_create("bob", "s", "one");
    run->idempotency_key = S("key");
    kit_ok();
    (void)kit_answer(run, "1");
    run = kit_calling("bob", "s", 2, effects);
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "4");
    kit_message(run, run->out_input_seq + 2, AG_ROLE_TOOL, "4")->call_number = 2;
    (void)kit_call_end(run->out_run_id, 3, AG_CALL_FAILED, "no");
    kit_message(run, run->out_input_seq + 3, AG_ROLE_TOOL, "no")->call_number = 3;
    (void)kit_finish(run, AG_RUN_FAILED);
    kit_ok();
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        before[v] = ag_arena_z(&kit.arena, ag_str_of(kit_rows((enum agent_view)v, NULL, NULL)));

    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    (void)kit_agent_in(&kit, "bob"); /* its name is free within the unit */
    (void)kit_create("bob", "s", "new");
    kit_add(AG_OP_TOOL_RM)->name.name = S("missing");
    kit_fails(AGENT_ENOTFOUND);
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = run->out_session_id;
    kit_add(AG_OP_TOOL_RM)->name.name = S("missing");
    kit_fails(AGENT_ENOTFOUND);
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        ck_assert_str_eq(kit_rows((enum agent_view)v, NULL, NULL), before[v]);
    (void)kit_answer(kit_run("bob", "s", "two"), "2");
    kit_is(SESSIONS, "name turns messages", "s|3|8\n");
    kit_close();
}
END_TEST

START_TEST(a_fence_lets_only_the_holder_write)
{
    struct ag_op_run_create *run;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", NULL, "hi");
    kit.unit.fence_run_id = run->out_run_id;
    kit.unit.fence_attempt = run->out_attempt + 1;
    (void)kit_message(run, 2, AG_ROLE_ASSISTANT, "stale");
    kit_fails(AGENT_ELOST);
    kit.unit.fence_run_id = run->out_run_id + 50;
    kit.unit.fence_attempt = 1;
    (void)kit_message(run, 2, AG_ROLE_ASSISTANT, "of nothing");
    kit_fails(AGENT_ELOST);
    kit_is(MESSAGES, "text", "hi\n");
    (void)kit_answer(run, "fine"); /* fenced by what it holds */
    kit.unit.fence_run_id = run->out_run_id;
    kit.unit.fence_attempt = run->out_attempt;
    (void)kit_message(run, 3, AG_ROLE_ASSISTANT, "after the end");
    kit_fails(AGENT_ELOST);
    kit_is(MESSAGES, "text", "hi\nfine\n");
    kit_close();
}
END_TEST

START_TEST(a_claim_by_force_fences_the_former_holder_off)
{
    struct ag_op_run_create *run;
    struct ag_op *op;

    kit_open(_i);
    (void)kit_agent("bob");
    run = kit_run("bob", NULL, "hi");
    op = kit_add(AG_OP_RUN_CLAIM);
    op->run_claim.run_id = run->out_run_id;
    op->run_claim.force = true;
    kit_ok();
    ck_assert_int_gt(op->run_claim.out_attempt, run->out_attempt);
    kit.unit.fence_run_id = run->out_run_id;
    kit.unit.fence_attempt = run->out_attempt;
    (void)kit_finish(run, AG_RUN_SUCCEEDED);
    kit_fails(AGENT_ELOST);
    kit_is(RUNS, "status attempts", "running|2\n");
    kit_close();
}
END_TEST

struct order {
    struct ag_unit units[40];
    struct ag_op ops[40];
    char keys[40][8];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int done, out_of_order;
    struct ag_unit *last;
};

static void in_order(ag_unit *unit)
{
    struct order *o = unit->ctx;

    (void)pthread_mutex_lock(&o->lock);
    if (o->last != NULL && unit != o->last + 1)
        o->out_of_order++;
    o->last = unit;
    o->done++;
    (void)pthread_cond_signal(&o->wake);
    (void)pthread_mutex_unlock(&o->lock);
}

/* Many units at once, every fifth of them guilty: the others are applied, each done once, in order. */
START_TEST(a_failing_unit_touches_no_other_and_order_is_kept)
{
    enum { UNITS = 40 };
    static struct order o;
    int complete = 0;

    kit_open(_i);
    (void)kit_agent("bob");
    o = (struct order){.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    for (int i = 0; i < UNITS; i++) {
        struct ag_op_memory_put *put = &o.ops[i].memory_put;

        ag_unit_init(&o.units[i], kit.now);
        o.units[i].done = in_order;
        o.units[i].ctx = &o;
        (void)snprintf(o.keys[i], sizeof(o.keys[i]), "k%02d", i);
        o.ops[i].kind = AG_OP_MEMORY_PUT;
        put->agent_name = i % 5 == 4 ? S("no") : S("bob");
        put->key = ag_str_of(o.keys[i]);
        put->text = S("x");
        ag_unit_add(&o.units[i], &o.ops[i]);
        if (ag_store_submit(kit.store, &o.units[i]))
            complete++;
    }
    ag_store_flush(kit.store);
    (void)pthread_mutex_lock(&o.lock);
    while (complete + o.done < UNITS)
        (void)pthread_cond_wait(&o.wake, &o.lock);
    (void)pthread_mutex_unlock(&o.lock);
    ck_assert_int_eq(complete + o.done, UNITS);
    ck_assert_int_eq(o.out_of_order, 0);
    for (int i = 0; i < UNITS; i++) {
        ck_assert_int_eq(o.units[i].status, i % 5 == 4 ? AGENT_ENOTFOUND : AGENT_OK);
        if (i > 0 && i % 5 != 4 && (i - 1) % 5 != 4)
            ck_assert_int_eq(o.ops[i].memory_put.out_id, o.ops[i - 1].memory_put.out_id + 1);
    }
    ck_assert_uint_eq(strlen(kit_rows(AGENT_VIEW_MEMORY, NULL, "key")), 32 * 4);
    kit_close();
}
END_TEST

START_TEST(a_unit_without_operations_is_fine)
{
    kit_open(_i);
    kit_ok();
    kit_close();
}
END_TEST

START_TEST(closing_the_store_waits_for_what_was_submitted)
{
    struct ag_op_agent_put *put;
    bool complete;

    kit_open(_i);
    put = kit_agent_in(&kit, "bob");
    complete = ag_store_submit(kit.store, &kit.unit);
    ag_reader_close(kit.reader);
    ag_store_close(kit.store);
    kit.reader = NULL;
    kit.store = NULL;
    ck_assert_int_eq(kit.done, complete ? 0 : 1);
    ck_assert_int_eq(kit.unit.status, AGENT_OK);
    ck_assert_int_eq(put->out_version, 1);
    kit_close();
}
END_TEST

START_TEST(the_change_token_stays_while_only_this_store_writes)
{
    uint64_t token;

    kit_open(_i);
    (void)kit_agent("bob");
    token = ag_store_change_token(kit.store);
    for (int i = 0; i < 5; i++)
        (void)kit_answer(kit_run("bob", NULL, "hi"), "ho");
    ck_assert_uint_eq(ag_store_change_token(kit.store), token);
    kit_close();
}
END_TEST

static void count_line(void *ctx, const char *text)
{
    (void)text;
    ++*(int *)ctx;
}

static void count_fact(void *ctx, const char *name, const char *value)
{
    ck_assert_ptr_nonnull(name);
    ck_assert_ptr_nonnull(value);
    ++*(int *)ctx;
}

START_TEST(a_store_that_was_used_checks_out_and_tells_facts)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_PURE};
    struct ag_op_run_create *run;
    int lines = 0, facts = 0;

    kit_open(_i);
    (void)kit_agent("bob");
    (void)kit_answer(kit_run("bob", "s", "hi"), "ho");
    run = kit_calling("bob", "s", 2, effects);
    (void)kit_finish(run, AG_RUN_WAITING);
    kit_ok();
    (void)kit_answer(kit_run("bob", "s", "closes it"), "ho");
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = kit_run("bob", "s", "live")->out_run_id;
    kit_ok();
    ck_assert_msg(kit.store->vt->check(kit.store, count_line, &lines, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(lines, 0);
    ck_assert_int_eq(kit.store->vt->facts(kit.store, count_fact, &facts, &err), AGENT_OK);
    ck_assert_int_gt(facts, 2);
    kit_close();
}
END_TEST

static bool no_row(void *ctx, const agent_row *row)
{
    (void)ctx;
    (void)row;
    return true;
}

START_TEST(the_memory_store_refuses_sql_and_backup_by_name)
{
    kit_open(KIT_MEMORY);
    ck_assert_int_eq(ag_reader_sql(kit.reader, "select 1", no_row, NULL, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "store=memory has no"));
    ck_assert_int_eq(kit.store->vt->backup(kit.store, "/nowhere", &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "store=memory has no"));
    ck_assert_uint_eq(kit.store->vt->caps, 0);
    kit_close();
}
END_TEST

#define EACH(test) tcase_add_loop_test(tests, test, 0, KIT_LAST)

Suite *store_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *tests = tcase_create("agents");

    tcase_set_timeout(tests, 60);
    EACH(creating_an_agent_makes_version_one_of_it);
    EACH(creating_an_agent_that_exists_fails_and_changes_nothing);
    EACH(if_not_exists_leaves_an_agent_alone_and_makes_a_missing_one);
    EACH(replacing_makes_the_next_version_and_keeps_the_old_one);
    EACH(replacing_by_the_same_makes_no_version);
    EACH(editing_needs_the_agent_and_the_version_that_was_read);
    EACH(an_agent_is_read_as_it_was_written);
    EACH(reading_what_is_not_there_leaves_the_out_parameter_alone);
    EACH(removing_an_agent_takes_all_that_is_its_own);
    EACH(thousands_of_agents_are_all_found_by_name);
    suite_add_tcase(suite, tests);

    tests = tcase_create("tools and memory");
    EACH(a_tool_is_read_as_it_was_written);
    EACH(a_tool_is_replaced_only_when_asked);
    EACH(a_second_memory_with_the_same_key_replaces_the_text);
    EACH(a_memory_without_a_key_gets_one_from_its_id);
    EACH(a_made_key_never_hits_one_that_is_taken);
    EACH(memory_of_a_missing_agent_is_refused);
    EACH(memory_is_written_by_agent_id_too);
    EACH(removing_a_memory_says_whether_there_was_one);
    EACH(memories_are_the_newest_of_the_agent_newest_last);
    EACH(memories_keep_to_their_bytes);
    EACH(searching_memory_wants_all_words_then_any);
    EACH(any_text_is_a_query);
    suite_add_tcase(suite, tests);

    tests = tcase_create("units");
    EACH(a_unit_that_fails_in_the_middle_leaves_nothing);
    EACH(a_removal_that_is_taken_back_leaves_all_as_it_was);
    EACH(a_fence_lets_only_the_holder_write);
    EACH(a_claim_by_force_fences_the_former_holder_off);
    EACH(a_failing_unit_touches_no_other_and_order_is_kept);
    EACH(a_unit_without_operations_is_fine);
    EACH(closing_the_store_waits_for_what_was_submitted);
    EACH(the_change_token_stays_while_only_this_store_writes);
    EACH(a_store_that_was_used_checks_out_and_tells_facts);
    tcase_add_test(tests, the_memory_store_refuses_sql_and_backup_by_name);
    suite_add_tcase(suite, tests);
    return suite;
}
