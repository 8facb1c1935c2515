/*
 * A session's next turn is sent what it would be sent if its history were read from the file: whatever
 * the turns were, whatever window is asked for, and whoever changed the file in between.
 */
#include <agent/agent.h>
#include <check.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session_tail.h"
#include "tests/scripted_server.h"

static const struct setup {
    const char *name;
    bool file;
    int workers;
} setups[] = {
    {"memory, host's thread", false, 0},
    {"memory, 2 workers", false, 2},
    {"file, host's thread", true, 0},
    {"file, 2 workers", true, 2},
};
#define SETUPS ((int)(sizeof(setups) / sizeof(setups[0])))
#define FILES  2 /* the first setup with a file */

static agent_engine *engine, *second;
static agent_error err;
static char dir[64], path[96];

static agent_engine *open_engine(int i, int64_t cache_bytes)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_engine *e;

    o.workers = setups[i].workers;
    o.path = setups[i].file ? path : NULL;
    o.flags = AGENT_OPEN_CREATE;
    o.cache_bytes = cache_bytes;
    o.durability = AGENT_DURABILITY_PROCESS; /* a power cut is not what is tested */
    ck_assert_msg(agent_open(&o, &e, &err) == AGENT_OK, "%s: %s", setups[i].name, err.text);
    return e;
}

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/agent-tail.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = second = NULL;
}

static void teardown(void)
{
    char command[128];

    agent_close(second);
    agent_close(engine);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void make(const char *name, const char *options)
{
    agent_config c = AGENT_CONFIG_INIT;

    c.options = options;
    ck_assert_msg(agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

/* One turn; its session. */
static int64_t turn(agent_engine *e, const char *session, const char *input, const char *options)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    const agent_run_result *r = NULL;
    agent_run *run = NULL;
    int64_t id;

    q.agent = "demo";
    q.session_name = session;
    q.input = input;
    q.input_bytes = strlen(input);
    q.options = options;
    ck_assert_msg(agent_run_start(e, &q, &run, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(agent_run_wait(run, 30000, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
    id = r->session.id;
    agent_run_free(run);
    return id;
}

static uint64_t hits(void)
{
    struct ag_cache_stats s;

    ag_cache_stats(engine->cache, &s);
    return s.kinds[AG_CACHE_TAIL].hits;
}

/* --- what memory has beside what the file has ------------------------------------------------------------- */

static void same_text(const char *what, size_t i, struct ag_str kept, struct ag_str read)
{
    ck_assert_msg((kept.p == NULL) == (read.p == NULL) && ag_str_eq(kept, read), "message %zu: %s is '%.*s', the file has '%.*s'",
                  i, what, (int)kept.n, kept.p != NULL ? kept.p : "", (int)read.n, read.p != NULL ? read.p : "");
    ck_assert_msg(kept.p == NULL || kept.p[kept.n] == '\0', "message %zu: no NUL behind its %s", i, what);
}

/* As a run that begins now would: whether its history is in memory. Then it is what the file has. */
static bool is_kept(int64_t session_id, size_t messages, size_t bytes)
{
    struct agent_run run = {.engine = engine, .session_id = session_id, .arena = AG_ARENA_INIT};
    struct ag_message_list all, read;
    AG_AUTO(ag_arena) arena = AG_ARENA_INIT;
    ag_reader *reader;
    bool is_used = false;

    ck_assert_int_eq(ag_store_reader_open(engine->store, &reader, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_messages(reader, session_id, 1, &arena, &all, &err), AGENT_OK);
    run.input_seq = all.at[all.count - 1].seq + 1;
    ck_assert_int_eq(ag_tail_use(&run, (struct ag_tail_limits){messages, bytes}, &is_used, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_tail(reader, session_id, run.input_seq, messages, bytes, &arena, &read, &err), AGENT_OK);
    if (is_used) {
        ck_assert_uint_eq(run.message_count, read.count);
        for (size_t i = 0; i < read.count; i++) {
            const struct ag_msg *m = &run.messages[i];
            const struct ag_message *r = &read.at[i];

            ck_assert_int_eq(m->role, r->role == AG_ROLE_USER ? AG_MSG_USER : r->role == AG_ROLE_TOOL ? AG_MSG_TOOL : AG_MSG_ASSISTANT);
            same_text("text", i, m->text, r->text);
            same_text("calls", i, m->calls, r->calls);
            same_text("extra", i, m->extra, r->extra);
            same_text("call id", i, m->call_id, r->call_id);
            same_text("tool", i, m->tool_name, r->tool_name);
            ck_assert_int_eq(m->tool_failed, r->tool_failed);
        }
    }
    ag_value_put(run.tail);
    ag_arena_drop(&run.arena);
    ag_reader_close(reader);
    return is_used;
}

START_TEST(the_third_turn_of_a_session_reads_nothing_of_it)
{
    int64_t id;

    engine = open_engine(_i, -1);
    make("demo", NULL);
    id = turn(engine, "s", "one", NULL);
    ck_assert(!is_kept(id, 40, 65536)); /* most sessions have no second turn */
    (void)turn(engine, "s", "two", NULL);
    ck_assert(is_kept(id, 40, 65536));
    (void)turn(engine, "s", "three", NULL);
    ck_assert(is_kept(id, 40, 65536));
    ck_assert_uint_eq(hits(), 3); /* the third turn's, and those two of ours that found one */
}
END_TEST

START_TEST(turns_with_calls_that_succeed_and_fail_are_kept_as_they_are_in_the_file)
{
    char text[6000];
    int64_t id = 0;

    engine = open_engine(_i, -1);
    make("demo", NULL);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)turn(engine, "s", "hello", NULL);
    (void)turn(engine, "s", "/tool calc {\"expression\": \"6*7\"}\n/tool calc {\"expression\": \"1/0\"}", NULL);
    id = turn(engine, "s", "/tool nosuch {\"a\": [1, 2]}", NULL);
    ck_assert(is_kept(id, 40, 65536));
    (void)turn(engine, "s", text, NULL);
    ck_assert(is_kept(id, 40, 65536));
    (void)turn(engine, "s", "/tool calc {}", NULL);
    ck_assert(is_kept(id, 40, 65536));
}
END_TEST

START_TEST(what_a_provider_wants_back_is_kept_too)
{
    static const struct scripted_answer answer = {
        .body = "{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":["
                "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"c2ln\"},{\"type\":\"text\",\"text\":\"so\"}],"
                "\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}"};
    struct scripted *server = scripted_start(&answer, 1);
    agent_config c = AGENT_CONFIG_INIT;
    struct ag_message_list all;
    AG_AUTO(ag_arena) arena = AG_ARENA_INIT;
    ag_reader *reader;
    int64_t id = 0;

    ck_assert_ptr_nonnull(server);
    engine = open_engine(_i, -1);
    c.model = "anthropic:m";
    c.base_url = scripted_url(server);
    c.options = "{\"retries\": 0}";
    ck_assert_msg(agent_create(engine, "demo", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
    for (int i = 0; i < 3; i++) {
        agent_run_request q = AGENT_RUN_REQUEST_INIT;
        const agent_run_result *r;
        agent_run *run;

        q.agent = "demo";
        q.session_name = "s";
        q.input = "x";
        q.input_bytes = 1;
        q.no_stream = true;
        ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
        ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
        ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s", r->error.text);
        id = r->session.id;
        agent_run_free(run);
    }
    ck_assert(is_kept(id, 40, 65536));
    ck_assert_int_eq(ag_store_reader_open(engine->store, &reader, &err), AGENT_OK);
    ck_assert_int_eq(ag_reader_messages(reader, id, 1, &arena, &all, &err), AGENT_OK);
    ck_assert_uint_gt(all.at[all.count - 1].extra.n, 0); /* or nothing was shown */
    ag_reader_close(reader);
    scripted_stop(server);
}
END_TEST

/* --- windows ------------------------------------------------------------------------------------------------ */

/* Turns of all kinds and sizes, with windows of all sizes: every one that memory answers, as the file does. */
START_TEST(any_window_that_is_answered_from_memory_is_the_files)
{
    unsigned state = 12345 + (unsigned)_i, used = 0, asked = 0;
    char text[3000], options[96];
    int64_t id = 0;

    engine = open_engine(_i, -1);
    make("demo", NULL);
    for (int t = 0; t < 40; t++) {
        size_t n;

        state = state * 1103515245 + 12345;
        n = (state >> 16) % 5 == 0 ? 2500 : (state >> 16) % 60 + 1;
        memset(text, 'a' + t % 26, n);
        text[n] = '\0';
        (void)snprintf(options, sizeof(options), "{\"history_messages\": %d, \"history_bytes\": %d}", t < 20 ? 7 : 12,
                       t % 20 < 10 ? 4000 : 100000);
        id = turn(engine, "s", (state >> 20) % 4 == 0 ? "/tool calc {\"expression\": \"2+2\"}" : text, options);
        for (int w = 0; w < 12; w++) {
            size_t messages = 1 + (size_t)w * (size_t)w % 13, bytes = w % 3 == 0 ? 300 : w % 3 == 1 ? 3500 : 90000;

            used += is_kept(id, messages, bytes);
            asked++;
        }
    }
    ck_assert_msg(used > asked / 3 && used < asked, "%u of %u", used, asked);
}
END_TEST

START_TEST(a_larger_window_than_was_kept_is_read_from_the_file)
{
    int64_t id;

    engine = open_engine(_i, -1);
    make("demo", NULL);
    for (int i = 0; i < 8; i++)
        (void)turn(engine, "s", "x", "{\"history_messages\": 4}");
    id = turn(engine, "s", "x", "{\"history_messages\": 4}");
    ck_assert(is_kept(id, 4, 65536));
    ck_assert(is_kept(id, 2, 100));
    ck_assert(!is_kept(id, 5, 65536));
    ck_assert(!is_kept(id, 4, 65537));
    (void)turn(engine, "s", "x", "{\"history_messages\": 0}"); /* asks for none, and keeps none */
    ck_assert(!is_kept(id, 4, 65536));
    (void)turn(engine, "s", "x", NULL);
    ck_assert(is_kept(id, 40, 65536));
}
END_TEST

START_TEST(turns_that_left_the_window_do_not_stay_in_memory)
{
    struct ag_cache_stats s;
    char text[2001];

    engine = open_engine(_i, -1);
    make("demo", NULL);
    memset(text, 'x', 2000);
    text[2000] = '\0';
    for (int i = 0; i < 30; i++)
        (void)turn(engine, "s", text, "{\"history_messages\": 6}");
    ag_cache_stats(engine->cache, &s);
    ck_assert_uint_eq(s.kinds[AG_CACHE_TAIL].entries, 1);
    ck_assert_uint_gt(s.kinds[AG_CACHE_TAIL].entry_bytes, 3 * 2000);
    ck_assert_uint_lt(s.kinds[AG_CACHE_TAIL].entry_bytes, 8 * 2000 + 2048);
}
END_TEST

/* --- who else changes the file -------------------------------------------------------------------------------- */

static void shell(const char *text)
{
    sqlite3 *db;
    char *why = NULL;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK, "%s: %s", text, why);
    (void)sqlite3_close(db);
}

/* The session is 1: "one", a call and its result, "three". */
static const char *const edits[] = {
    "UPDATE run SET input = 'edited' WHERE id = 1",
    "UPDATE message SET body = 'edited' WHERE role = 'assistant'",
    "REPLACE INTO message (id, run_id, role, body, created_at_ms) VALUES ((1 << 24) + 2, 1, 'assistant', 'edited', 0)",
    "DELETE FROM message WHERE id = (1 << 24) + 2",
    "DELETE FROM message WHERE id = (SELECT max(id) FROM message)",
    "UPDATE tool_call SET result = 'edited'",
    "UPDATE tool_call SET status = 'failed'",
    "UPDATE tool_call SET call_id = 'edited', tool = 'edited'",
    "DELETE FROM tool_call",
    "INSERT INTO message (id, run_id, role, body, created_at_ms) SELECT max(id) + 1, 1, 'assistant', 'added', 0 FROM message",
    "PRAGMA recursive_triggers = ON; REPLACE INTO run SELECT * FROM run WHERE id = 1",
    "DROP TRIGGER change_version_update; UPDATE run SET input = 'edited' WHERE id = 1",
    "UPDATE tool_call SET status = 'running', result = NULL",
};

START_TEST(what_was_edited_by_hand_between_two_turns_is_what_the_next_one_is_sent)
{
    int64_t id;

    for (int with_another = 0; with_another < 2; with_another++) {
        engine = open_engine(FILES + 1, -1);
        make("demo", NULL);
        if (with_another == 1)
            second = open_engine(FILES, -1); /* then commits that tell nothing are explained */
        (void)turn(engine, "s", "one", NULL);
        (void)turn(engine, "s", "/tool calc {\"expression\": \"6*7\"}", NULL);
        id = turn(engine, "s", "three", NULL);
        ck_assert(is_kept(id, 40, 65536));
        shell(edits[_i]);
        ck_assert_msg(!is_kept(id, 40, 65536), "%s", edits[_i]);
        if (strstr(edits[_i], "'running'") == NULL) {
            (void)turn(engine, "s", "four", NULL);
            ck_assert_msg(is_kept(id, 40, 65536), "%s", edits[_i]);
        }
        teardown();
        setup();
    }
}
END_TEST

/* What is read and then edited while its turn is under way is not kept. */
START_TEST(an_edit_during_a_turn_is_seen_by_the_next_one)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    const agent_run_result *r = NULL;
    agent_run *run;
    int64_t id;

    engine = open_engine(FILES + 1, -1);
    make("demo", NULL);
    (void)turn(engine, "s", "one", NULL);
    id = turn(engine, "s", "two", NULL);
    q.agent = "demo";
    q.session_name = "s";
    q.input = "three";
    q.input_bytes = 5;
    q.options = "{\"latency_ms\": 300}";
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(run, 100, &r, &err), AGENT_ETIMEDOUT);
    shell("UPDATE run SET input = 'edited' WHERE id = 1");
    ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "succeeded");
    agent_run_free(run);
    ck_assert(!is_kept(id, 40, 65536));
}
END_TEST

START_TEST(a_turn_by_another_process_is_part_of_the_next_one_here)
{
    int64_t id;

    engine = open_engine(FILES + 1, -1);
    second = open_engine(FILES + 1, -1);
    make("demo", NULL);
    (void)turn(engine, "s", "one", NULL);
    id = turn(engine, "s", "two", NULL);
    ck_assert(is_kept(id, 40, 65536));
    (void)turn(second, "s", "there", NULL);
    ck_assert(!is_kept(id, 40, 65536));
    (void)turn(engine, "s", "three", NULL);
    ck_assert(is_kept(id, 40, 65536));
    (void)turn(second, "other", "elsewhere", NULL); /* it cannot be told from an edit by hand */
    ck_assert(!is_kept(id, 40, 65536));
}
END_TEST

START_TEST(a_removed_session_leaves_nothing_in_memory)
{
    struct ag_cache_stats s;
    agent_session_id id = {0};

    engine = open_engine(_i, -1);
    make("demo", NULL);
    for (int i = 0; i < 3; i++) {
        id.id = turn(engine, "s", "x", NULL);
        (void)turn(engine, "t", "x", NULL);
    }
    ck_assert_int_eq(agent_session_remove(engine, id, &err), AGENT_OK);
    ag_cache_stats(engine->cache, &s);
    ck_assert_uint_eq(s.kinds[AG_CACHE_TAIL].entries, 1);
    ck_assert_int_eq(agent_remove(engine, "demo", &err), AGENT_OK);
    ag_cache_stats(engine->cache, &s);
    ck_assert_uint_eq(s.kinds[AG_CACHE_TAIL].entries, 0);
}
END_TEST

/* A failed turn is in the file, not in memory: its messages are read by the next one. */
START_TEST(after_a_failed_turn_the_next_one_reads_the_file)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    const agent_run_result *r = NULL;
    agent_run *run;
    int64_t id;

    engine = open_engine(_i, -1);
    make("demo", NULL);
    (void)turn(engine, "s", "one", NULL);
    id = turn(engine, "s", "two", NULL);
    q.agent = "demo";
    q.session_name = "s";
    q.input = "three";
    q.input_bytes = 5;
    q.options = "{\"fail\": 400, \"retries\": 0}";
    ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
    ck_assert_int_eq(agent_run_wait(run, 30000, &r, &err), AGENT_OK);
    ck_assert_str_eq(r->status, "failed");
    agent_run_free(run);
    ck_assert(!is_kept(id, 40, 65536));
    (void)turn(engine, "s", "four", NULL);
    ck_assert(is_kept(id, 40, 65536));
}
END_TEST

START_TEST(a_cache_without_room_changes_nothing)
{
    int64_t id = 0;

    engine = open_engine(_i, 0);
    make("demo", NULL);
    for (int i = 0; i < 4; i++)
        id = turn(engine, "s", "x", NULL);
    ck_assert(!is_kept(id, 40, 65536));
    ck_assert_uint_eq(hits(), 0);
}
END_TEST

/* --- many at once ------------------------------------------------------------------------------------------------ */

static void *talk(void *session)
{
    for (int i = 0; i < 30; i++)
        (void)turn(engine, session, i % 5 == 3 ? "/tool calc {\"expression\": \"1+1\"}" : "on and on", NULL);
    return NULL;
}

START_TEST(sessions_that_go_on_side_by_side_keep_apart)
{
    static const char *const names[] = {"a", "b", "c", "c"}; /* two talk into one */
    pthread_t threads[4];

    engine = open_engine(FILES + 1, -1);
    make("demo", NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, talk, (void *)(uintptr_t)names[i]), 0);
    for (int i = 0; i < 20; i++) {
        shell("UPDATE run SET input = 'edited' WHERE id = (SELECT max(id) - 9 FROM run) AND ended_at_ms IS NOT NULL");
        (void)usleep(2000);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        int64_t id = turn(engine, names[i], "last", NULL);

        ck_assert(is_kept(id, 40, 65536));
    }
}
END_TEST

Suite *session_tail_suite(void);

Suite *session_tail_suite(void)
{
    Suite *suite = suite_create("session_tail");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, the_third_turn_of_a_session_reads_nothing_of_it, 0, SETUPS);
    tcase_add_loop_test(t, turns_with_calls_that_succeed_and_fail_are_kept_as_they_are_in_the_file, 0, SETUPS);
    tcase_add_loop_test(t, what_a_provider_wants_back_is_kept_too, 0, SETUPS);
    tcase_add_loop_test(t, any_window_that_is_answered_from_memory_is_the_files, 0, SETUPS);
    tcase_add_loop_test(t, a_larger_window_than_was_kept_is_read_from_the_file, 0, SETUPS);
    tcase_add_loop_test(t, turns_that_left_the_window_do_not_stay_in_memory, 0, SETUPS);
    tcase_add_loop_test(t, what_was_edited_by_hand_between_two_turns_is_what_the_next_one_is_sent, 0,
                        (int)(sizeof(edits) / sizeof(edits[0])));
    tcase_add_test(t, an_edit_during_a_turn_is_seen_by_the_next_one);
    tcase_add_test(t, a_turn_by_another_process_is_part_of_the_next_one_here);
    tcase_add_loop_test(t, a_removed_session_leaves_nothing_in_memory, 0, SETUPS);
    tcase_add_loop_test(t, after_a_failed_turn_the_next_one_reads_the_file, 0, SETUPS);
    tcase_add_loop_test(t, a_cache_without_room_changes_nothing, 0, SETUPS);
    tcase_add_test(t, sessions_that_go_on_side_by_side_keep_apart);
    suite_add_tcase(suite, t);
    return suite;
}
