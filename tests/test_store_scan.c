/* The views, through scan(): columns, order, limits, and what each may be filtered by. */
#include "tests/store_kit.h"

Suite *store_scan_suite(void);

static const enum agent_effect mixed[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_PURE};

/* Two agents, four runs, calls, stages, memories and tools: something in every view but the cache. */
static void fill(void)
{
    static const struct ag_stage_row stages[] = {
        {.step = 1, .stage = AG_STAGE_LOAD, .samples = 0, .started_at_ms = KIT_EPOCH_MS, .wall_us = 10, .commit_us = 0,
         .rss_before_bytes = 100, .rss_peak_bytes = 200, .rss_after_bytes = 150, .heap_peak_bytes = 50,
         .heap_net_bytes = -20, .child_rss_peak_bytes = -1, .peak_source = AG_PEAK_BORDERS},
        {.step = 1, .stage = AG_STAGE_INFER, .shared = true, .samples = 3, .started_at_ms = KIT_EPOCH_MS + 5000,
         .wall_us = -1, .commit_us = -1, .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1,
         .heap_peak_bytes = -1, .heap_net_bytes = 0, .child_rss_peak_bytes = 7, .peak_source = AG_PEAK_SAMPLES},
    };
    struct ag_op_run_create *run;
    struct ag_op *op;

    (void)kit_agent("bob");                                      /* :20 */
    (void)kit_agent("eve");                                      /* :21 */
    (void)kit_answer(kit_run("bob", "s", "one"), "first");       /* :22 :23, run 1 */
    run = kit_calling("bob", "s", 2, mixed);                     /* :24 :25, run 2 */
    op = kit_add(AG_OP_STAGES);
    op->stages = (struct ag_op_stages){.run_id = run->out_run_id, .rows = stages, .count = 2};
    kit_ok();                                                    /* :26 */
    op = kit_add(AG_OP_STAGES);
    op->stages = (struct ag_op_stages){.run_id = run->out_run_id, .rows = stages, .count = 1};
    (void)kit_call_end(run->out_run_id, 2, AG_CALL_SUCCEEDED, "4");
    (void)kit_call_end(run->out_run_id, 3, AG_CALL_FAILED, "no");
    kit_message(run, 5, AG_ROLE_TOOL, NULL)->call_number = 2;
    kit_message(run, 6, AG_ROLE_TOOL, NULL)->call_number = 3;
    (void)kit_finish(run, AG_RUN_FAILED);
    kit_ok();                                                    /* :27 */
    (void)kit_run("eve", NULL, "two");                           /* :28, run 3 */
    kit_create("eve", "q", "three")->claim = false;
    kit_ok();                                                    /* :29, run 4 */
    op = kit_add(AG_OP_MEMORY_PUT);
    op->memory_put = (struct ag_op_memory_put){.agent_name = S("bob"), .key = S("k"), .text = S("warm milk"),
                                               .source_run_id = 2};
    op = kit_add(AG_OP_MEMORY_PUT);
    op->memory_put = (struct ag_op_memory_put){.agent_name = S("bob"), .scope = S("user"), .key = S("l"),
                                               .text = S("cold milk")};
    kit_ok();                                                    /* :30 */
    op = kit_add(AG_OP_MEMORY_PUT);
    op->memory_put = (struct ag_op_memory_put){.agent_name = S("eve"), .key = S("k"), .text = S("tea")};
    op = kit_add(AG_OP_TOOL_PUT);
    op->tool_put.tool = (struct ag_tool_rec){.name = S("t"), .description = S("d"), .argv = S("[]")};
    kit_ok();                                                    /* :31 */
    op = kit_add(AG_OP_TOOL_PUT);
    op->tool_put.tool = (struct ag_tool_rec){.name = S("u"), .description = S("d"), .argv = S("[]")};
    kit_ok();                                                    /* :32 */
}

#define AT(second)     (KIT_EPOCH_MS + 1000 * ((second) - 20))
#define NARROW(...)    KIT_FILTER(__VA_ARGS__)

static const struct {
    enum agent_view view;
    agent_filter filter;
    const char *columns, *rows;
} cases[] = {
    {AGENT_VIEW_AGENTS, {.agent = "eve"}, "name", "eve\n"},
    {AGENT_VIEW_AGENTS, {.name = "bob"}, "name", "bob\n"},
    {AGENT_VIEW_AGENTS, {.name = "no"}, "name", ""},
    {AGENT_VIEW_AGENTS, {.since_ms = AT(21)}, "name", "eve\n"},
    {AGENT_VIEW_AGENTS, {.newest_first = true}, "name runs sessions", "eve|2|2\nbob|2|1\n"},
    {AGENT_VIEW_VERSIONS, {.agent = "bob"}, "agent version", "bob|1\n"},
    {AGENT_VIEW_VERSIONS, {.since_ms = AT(21)}, "agent", "eve\n"},
    {AGENT_VIEW_SESSIONS, {.agent = "eve"}, "agent name", "eve|-\neve|q\n"},
    {AGENT_VIEW_SESSIONS, {.name = "s"}, "agent name", "bob|s\n"},
    {AGENT_VIEW_SESSIONS, {.session_id = 2}, "agent name", "eve|-\n"},
    {AGENT_VIEW_SESSIONS, {.session_id = 9}, "agent name", ""},
    {AGENT_VIEW_SESSIONS, {.since_ms = AT(28)}, "id", "2\n3\n"},
    {AGENT_VIEW_MESSAGES, {.session_id = 1}, "seq role", "1|user\n2|assistant\n3|user\n4|assistant\n5|tool\n6|tool\n"},
    {AGENT_VIEW_MESSAGES, {.run_id = 1}, "seq text", "1|one\n2|first\n"},
    {AGENT_VIEW_MESSAGES, {.run_id = 3}, "session_id seq text", "2|1|two\n"},
    {AGENT_VIEW_MESSAGES, {.run_id = 3, .session_id = 1}, "seq", ""},
    {AGENT_VIEW_MESSAGES, {.name = "calc"}, "seq text", "5|4\n6|no\n"},
    {AGENT_VIEW_MESSAGES, {.since_ms = AT(27)}, "session_id seq", "1|5\n1|6\n2|1\n"},
    {AGENT_VIEW_MESSAGES, {.session_id = 1, .newest_first = true, .limit = 2}, "seq", "6\n5\n"},
    {AGENT_VIEW_RUNS, {.agent = "bob"}, "id input", "1|one\n2|call\n"},
    {AGENT_VIEW_RUNS, {.session_id = 3}, "id", "4\n"},
    {AGENT_VIEW_RUNS, {.session_id = 1}, "id", "1\n2\n"},
    {AGENT_VIEW_RUNS, {.run_id = 3}, "id status", "3|running\n"},
    {AGENT_VIEW_RUNS, {.run_id = 99}, "id", ""},
    {AGENT_VIEW_RUNS, {.status = "queued"}, "id", "4\n"},
    {AGENT_VIEW_RUNS, {.status = "running"}, "id", "3\n"},
    {AGENT_VIEW_RUNS, {.status = "failed"}, "id", "2\n"},
    {AGENT_VIEW_RUNS, {.status = "none of them"}, "id", ""},
    {AGENT_VIEW_RUNS, {.agent = "eve", .status = "succeeded"}, "id", ""},
    {AGENT_VIEW_RUNS, {.since_ms = AT(28)}, "id", "3\n4\n"},
    {AGENT_VIEW_RUNS, {.newest_first = true}, "id", "4\n3\n2\n1\n"},
    {AGENT_VIEW_RUNS, {.newest_first = true, .limit = 3}, "id", "4\n3\n2\n"},
    {AGENT_VIEW_RUNS, {.newest_first = true, .limit = 100}, "id", "4\n3\n2\n1\n"},
    {AGENT_VIEW_RUNS, {.limit = 2}, "id", "1\n2\n"},
    {AGENT_VIEW_RUNS, {.agent = "bob", .newest_first = true, .limit = 1}, "id", "2\n"},
    {AGENT_VIEW_STEPS, {.run_id = 2}, "step kind status tool error", "1|model|succeeded|-|-\n2|tool|succeeded|calc|-\n3|tool|failed|calc|no\n"},
    {AGENT_VIEW_STEPS, {.status = "running"}, "run_id step", "3|1\n"},
    {AGENT_VIEW_STEPS, {.name = "calc"}, "run_id step", "2|2\n2|3\n"},
    {AGENT_VIEW_STEPS, {.since_ms = AT(25)}, "run_id step", "2|2\n2|3\n3|1\n"},
    {AGENT_VIEW_STEPS, {.newest_first = true, .limit = 3}, "run_id step", "3|1\n2|3\n2|2\n"},
    {AGENT_VIEW_TOOL_CALLS, {.run_id = 2}, "run_id step call_id tool effect effect_id status arguments result wall_ms "
                                           "child_rss_peak_bytes model_step",
     "2|2|c1|calc|effect|fx|succeeded|{}|4|-|-|1\n2|3|c2|calc|pure|fx|failed|{}|no|-|-|1\n"},
    {AGENT_VIEW_TOOL_CALLS, {.status = "failed"}, "call_id", "c2\n"},
    {AGENT_VIEW_TOOL_CALLS, {.name = "calc", .newest_first = true}, "call_id", "c2\nc1\n"},
    {AGENT_VIEW_TOOL_CALLS, {.name = "other"}, "call_id", ""},
    {AGENT_VIEW_STAGE_MEMORY, {.run_id = 2},
     "run_id step stage started_at wall_us rss_before_bytes rss_peak_bytes rss_after_bytes heap_peak_bytes heap_net_bytes "
     "child_rss_peak_bytes commit_us samples attribution peak_source id",
     "2|1|load|2023-11-14T22:13:20.000Z|10|100|200|150|50|-20|-|0|0|exclusive|borders|8193\n"
     "2|1|infer|2023-11-14T22:13:25.000Z|-|-|-|-|-|-|7|-|3|shared|samples|8193\n"
     "2|1|load|2023-11-14T22:13:20.000Z|10|100|200|150|50|-20|-|0|0|exclusive|borders|8194\n"},
    {AGENT_VIEW_STAGE_MEMORY, {.name = "infer"}, "stage", "infer\n"},
    {AGENT_VIEW_STAGE_MEMORY, {.since_ms = AT(25)}, "stage", "infer\n"},
    {AGENT_VIEW_STAGE_MEMORY, {.run_id = 1}, "stage", ""},
    {AGENT_VIEW_MEMORY, {.agent = "bob"}, "scope key text source_run_id", "agent|k|warm milk|2\nuser|l|cold milk|-\n"},
    {AGENT_VIEW_MEMORY, {.scope = "user"}, "key", "l\n"},
    {AGENT_VIEW_MEMORY, {.name = "k"}, "agent text", "bob|warm milk\neve|tea\n"},
    {AGENT_VIEW_MEMORY, {.run_id = 2}, "text", "warm milk\n"},
    {AGENT_VIEW_MEMORY, {.since_ms = AT(31)}, "text", "tea\n"},
    {AGENT_VIEW_MEMORY, {.search = "milk cold"}, "text", "cold milk\n"},
    {AGENT_VIEW_MEMORY, {.search = "tea sugar"}, "text", "tea\n"},
    {AGENT_VIEW_MEMORY, {.search = "milk", .scope = "agent"}, "text", "warm milk\n"},
    {AGENT_VIEW_MEMORY, {.search = "milk", .agent = "eve"}, "text", ""},
    {AGENT_VIEW_MEMORY, {.search = "\"("}, "text", ""},
    {AGENT_VIEW_CACHE, {.agent = "bob"}, NULL, ""},
    {AGENT_VIEW_CACHE, {.since_ms = AT(20)}, NULL, ""},
    {AGENT_VIEW_TOOLS, {.name = "u"}, "name kind", "u|command\n"},
    {AGENT_VIEW_TOOLS, {.since_ms = AT(32)}, "name", "u\n"},
    {AGENT_VIEW_TOOLS, {.newest_first = true}, "name", "u\nt\n"},
    {AGENT_VIEW_LOG, {.run_id = 4}, "run_id at kind text", "4|2023-11-14T22:13:29.000Z|queued|queued, normal priority\n"},
    {AGENT_VIEW_LOG, {.run_id = 2}, "at kind text",
     "2023-11-14T22:13:24.000Z|queued|queued, normal priority\n2023-11-14T22:13:24.000Z|started|started\n"
     "2023-11-14T22:13:24.000Z|step|step 1 attempt 1 started\n2023-11-14T22:13:24.000Z|step|step 1 attempt 1 succeeded\n"
     "2023-11-14T22:13:25.000Z|tool|tool calc c1 started\n2023-11-14T22:13:25.000Z|tool|tool calc c1 succeeded\n"
     "2023-11-14T22:13:25.000Z|tool|tool calc c2 started\n2023-11-14T22:13:25.000Z|tool|tool calc c2 failed\n"
     "2023-11-14T22:13:27.000Z|ended|failed\n"},
    {AGENT_VIEW_LOG, {.since_ms = AT(28)}, "run_id kind", "3|queued\n3|started\n3|step\n4|queued\n"},
};

START_TEST(a_view_shows_the_rows_that_the_filter_asks_for)
{
    enum { CASES = (int)(sizeof(cases) / sizeof(cases[0])) };
    agent_filter filter = cases[_i % CASES].filter;

    kit_open(_i / CASES);
    fill();
    filter.size = sizeof(filter);
    ck_assert_str_eq(kit_rows(cases[_i % CASES].view, &filter, cases[_i % CASES].columns), cases[_i % CASES].rows);
    kit_close();
}
END_TEST

static const char *const columns[AGENT_VIEW_LIMIT] = {
    [AGENT_VIEW_AGENTS] = "id name version provider model instructions tools created_at updated_at sessions runs last_run_at",
    [AGENT_VIEW_SESSIONS] = "id agent name created_at last_at turns messages input_tokens output_tokens",
    [AGENT_VIEW_MESSAGES] = "session_id seq run_id role text tool_name tool_call_id created_at",
    [AGENT_VIEW_RUNS] = "id trace_id agent agent_version session_id status priority input output error attempts queued_at "
                        "started_at ended_at queue_ms wall_ms input_tokens output_tokens cache_hit rss_peak_bytes",
    [AGENT_VIEW_STEPS] = "run_id step kind status attempt started_at ended_at wall_ms input_tokens output_tokens tool error",
    [AGENT_VIEW_TOOL_CALLS] = "run_id step call_id tool effect effect_id status arguments result wall_ms child_rss_peak_bytes",
    [AGENT_VIEW_STAGE_MEMORY] = "run_id step stage started_at wall_us rss_before_bytes rss_peak_bytes rss_after_bytes "
                                "heap_peak_bytes heap_net_bytes child_rss_peak_bytes commit_us samples attribution peak_source",
    [AGENT_VIEW_MEMORY] = "id agent scope key text created_at updated_at source_run_id",
    [AGENT_VIEW_CACHE] = "key kind agent model bytes hits created_at last_hit_at expires_at",
    [AGENT_VIEW_TOOLS] = "name kind description effect timeout_ms argv schema created_at",
    [AGENT_VIEW_LOG] = "run_id at kind text",
    [AGENT_VIEW_VERSIONS] = "agent version provider model instructions tools options base_url max_steps created_at",
    [AGENT_VIEW_SAMPLES] = "run_id at rss_bytes",
    [AGENT_VIEW_NOTICES] = "id at kind level rss_bytes limit_bytes text",
};

static bool same_names(void *ctx, const agent_row *row)
{
    const char *want = ctx;

    for (int i = 0; *want != '\0'; i++) {
        size_t n = strcspn(want, " ");

        ck_assert_int_lt(i, row->count);
        ck_assert_msg(strlen(row->names[i]) == n && memcmp(row->names[i], want, n) == 0, "column %d is %s, not %.*s", i,
                      row->names[i], (int)n, want);
        want += n + (want[n] == ' ');
    }
    return true;
}

START_TEST(columns_come_in_the_order_of_the_contract_and_new_ones_last)
{
    kit_open(_i);
    fill();
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        ck_assert_int_eq(ag_reader_scan(kit.reader, (enum agent_view)v, NULL, same_names,
                                        (void *)(uintptr_t)columns[v], &err), AGENT_OK);
    kit_close();
}
END_TEST

static bool stop_at_two(void *ctx, const agent_row *row)
{
    (void)row;
    return ++*(int *)ctx < 2;
}

START_TEST(a_callback_that_says_stop_gets_no_more_rows)
{
    static const bool newest_first[] = {false, true};
    int rows;

    kit_open(_i);
    fill();
    for (int i = 0; i < 2; i++) {
        rows = 0;
        ck_assert_int_eq(ag_reader_scan(kit.reader, AGENT_VIEW_RUNS, NARROW(.newest_first = newest_first[i]),
                                        stop_at_two, &rows, &err), AGENT_OK);
        ck_assert_int_eq(rows, 2);
        rows = 0;
        ck_assert_int_eq(ag_reader_scan(kit.reader, AGENT_VIEW_MESSAGES,
                                        NARROW(.newest_first = newest_first[i], .limit = 5), stop_at_two, &rows, &err),
                         AGENT_OK);
        ck_assert_int_eq(rows, 2);
    }
    rows = 0;
    ck_assert_int_eq(ag_reader_scan(kit.reader, AGENT_VIEW_MEMORY, NARROW(.search = "milk"), stop_at_two, &rows, &err),
                     AGENT_OK);
    ck_assert_int_eq(rows, 2);
    kit_close();
}
END_TEST

/* For each field of a filter, the views that have a column for it. */
#define V(view) (1u << AGENT_VIEW_##view)
static const struct {
    agent_filter filter;
    unsigned views;
} fields[] = {
    {{.agent = "x"}, V(AGENTS) | V(SESSIONS) | V(RUNS) | V(MEMORY) | V(CACHE) | V(VERSIONS)},
    {{.session_id = 1}, V(SESSIONS) | V(MESSAGES) | V(RUNS)},
    {{.run_id = 1}, V(MESSAGES) | V(RUNS) | V(STEPS) | V(TOOL_CALLS) | V(STAGE_MEMORY) | V(MEMORY) | V(LOG) |
                        V(SAMPLES)},
    {{.status = "x"}, V(RUNS) | V(STEPS) | V(TOOL_CALLS)},
    {{.name = "x"}, V(AGENTS) | V(SESSIONS) | V(MESSAGES) | V(STEPS) | V(TOOL_CALLS) | V(STAGE_MEMORY) | V(MEMORY) |
                        V(CACHE) | V(TOOLS) | V(NOTICES)},
    {{.scope = "x"}, V(MEMORY)},
    {{.search = "x"}, V(MEMORY)},
    {{.since_ms = 1}, ~V(TOOL_CALLS)},
};

static bool any_row(void *ctx, const agent_row *row)
{
    (void)ctx;
    (void)row;
    return true;
}

START_TEST(a_filter_that_a_view_has_no_column_for_is_refused)
{
    kit_open(_i);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        for (int v = 0; v < AGENT_VIEW_LIMIT; v++) {
            agent_filter filter = fields[i].filter;
            agent_status rc;

            filter.size = sizeof(filter);
            err = (agent_error)AGENT_ERROR_INIT;
            rc = ag_reader_scan(kit.reader, (enum agent_view)v, &filter, any_row, NULL, &err);
            ck_assert_msg(rc == ((fields[i].views >> v & 1) != 0 ? AGENT_OK : AGENT_EINVAL),
                          "field %zu, view %d: %d %s", i, v, rc, err.text);
            ck_assert_int_eq(err.status, rc);
        }
    ck_assert_int_eq(ag_reader_scan(kit.reader, AGENT_VIEW_LIMIT, NULL, any_row, NULL, &err), AGENT_EINVAL);
    kit_close();
}
END_TEST

START_TEST(a_reader_sees_what_was_acknowledged_before_it_read)
{
    ag_reader *second;

    kit_open(_i);
    ck_assert_int_eq(ag_store_reader_open(kit.store, &second, &err), AGENT_OK);
    for (int i = 0; i < 20; i++) {
        struct ag_agent_rec rec;
        char name[16];

        (void)snprintf(name, sizeof(name), "a%d", i);
        (void)kit_agent(ag_arena_z(&kit.arena, ag_str_of(name)));
        ck_assert_int_eq(ag_reader_agent(second, ag_str_of(name), 0, &kit.arena, &rec, &err), AGENT_OK);
        ck_assert_int_eq(ag_reader_agent(kit.reader, ag_str_of(name), 0, &kit.arena, &rec, &err), AGENT_OK);
    }
    ag_reader_close(second);
    kit_close();
}
END_TEST

struct writer {
    pthread_t thread;
    int number, failed;
};

/* One unit at a time: a run on a session of its own, answered. */
static void *write_runs(void *arg)
{
    struct writer *w = arg;
    struct kit k = {.store = kit.store, .arena = AG_ARENA_INIT, .now = KIT_EPOCH_MS + 1000000 * (w->number + 1),
                    .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    char session[16];

    (void)snprintf(session, sizeof(session), "s%d", w->number % 2);
    for (int i = 0; i < 50; i++) {
        struct ag_op_run_create *create;
        struct ag_op_run_finish *finish;

        kit_next(&k);
        create = &kit_op_in(&k, AG_OP_RUN_CREATE)->run_create;
        *create = (struct ag_op_run_create){.agent_name = S("bob"), .session_by = AG_SESSION_NAME, .claim = true,
                                            .session_name = ag_str_of(session), .input = S("x"),
                                            .queued_at_ms = k.now};
        w->failed += kit_commit_in(&k, NULL) != AGENT_OK;
        if (!create->out_claimed) /* its session is busy: whoever is first ends it */
            continue;
        k.unit.fence_run_id = create->out_run_id;
        k.unit.fence_attempt = create->out_attempt;
        finish = &kit_op_in(&k, AG_OP_RUN_FINISH)->run_finish;
        *finish = (struct ag_op_run_finish){.run_id = create->out_run_id, .session_id = create->out_session_id,
                                            .status = AG_RUN_CANCELLED, .ended_at_ms = k.now};
        w->failed += kit_commit_in(&k, NULL) != AGENT_OK;
    }
    ag_arena_drop(&k.arena);
    return NULL;
}

START_TEST(many_threads_may_submit_and_read_at_once)
{
    enum { WRITERS = 4 };
    struct writer writers[WRITERS];
    int impl = _i == KIT_SQLITE ? KIT_SQLITE_THREADED : _i; /* unthreaded, it belongs to one thread */

    kit_open(impl);
    (void)kit_agent("bob");
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.number = i};
        ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, write_runs, &writers[i]), 0);
    }
    for (int i = 0; i < 50; i++)
        (void)kit_rows(AGENT_VIEW_RUNS, NARROW(.limit = 10, .newest_first = true), "id status");
    for (int i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(pthread_join(writers[i].thread, NULL), 0);
        ck_assert_int_eq(writers[i].failed, 0);
    }
    kit_is(AGENTS, "runs sessions", "200|2\n");
    ck_assert_msg(kit.store->vt->check(kit.store, NULL, NULL, &err) == AGENT_OK || impl != KIT_MEMORY, "%s", err.text);
    kit_close();
}
END_TEST

Suite *store_scan_suite(void)
{
    Suite *suite = suite_create("store scan");
    TCase *tests = tcase_create("views");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_view_shows_the_rows_that_the_filter_asks_for, 0,
                        KIT_LAST * (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_loop_test(tests, columns_come_in_the_order_of_the_contract_and_new_ones_last, 0, KIT_LAST);
    tcase_add_loop_test(tests, a_callback_that_says_stop_gets_no_more_rows, 0, KIT_LAST);
    tcase_add_loop_test(tests, a_filter_that_a_view_has_no_column_for_is_refused, 0, KIT_LAST);
    tcase_add_loop_test(tests, a_reader_sees_what_was_acknowledged_before_it_read, 0, KIT_LAST);
    tcase_add_loop_test(tests, many_threads_may_submit_and_read_at_once, 0, KIT_LAST);
    suite_add_tcase(suite, tests);
    return suite;
}
