/*
 * Answers used again, and what is cached kept in step with the file: an engine from outside, with a
 * model that counts how often it is asked. Each store, with and without threads.
 */
#include <agent/agent.h>
#include <check.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
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

/* --- a model that counts --------------------------------------------------------------------------------- */

static atomic_int asked, fail_first, ms;
static pthread_mutex_t system_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_system[1024]; /* what the last request began with; guarded by system_lock, read when no run is out */

static agent_status counting(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    const struct timespec pause = {0, atomic_load(&ms) * 1000000L};
    const agent_message *last = &q->messages[q->message_count - 1];
    int n = atomic_fetch_add(&asked, 1) + 1;
    char text[64];

    (void)ctx;
    (void)nanosleep(&pause, NULL);
    (void)pthread_mutex_lock(&system_lock);
    if (strcmp(q->messages[0].role, "system") == 0)
        (void)snprintf(last_system, sizeof(last_system), "%s", q->messages[0].text);
    (void)pthread_mutex_unlock(&system_lock);
    if (n <= atomic_load(&fail_first)) {
        e->status = AGENT_EPROVIDER;
        (void)snprintf(e->text, sizeof(e->text), "not today");
        return AGENT_EPROVIDER;
    }
    if (strcmp(last->role, "user") == 0 && strncmp(last->text, "call", 4) == 0) {
        agent_reply_tool_call(reply, "id7", "calc", "{ \"expression\" : \"20+3\" }");
        agent_reply_text(reply, "let me see", 10);
    } else {
        (void)snprintf(text, sizeof(text), "answer %d", n);
        agent_reply_text(reply, text, strlen(text));
    }
    agent_reply_usage(reply, 100, 20);
    return AGENT_OK;
}

static agent_engine *open_engine(int i)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_provider p = {.size = sizeof(p), .name = "count", .complete = counting};
    agent_engine *e;

    o.workers = setups[i].workers;
    o.path = setups[i].file ? path : NULL;
    o.flags = AGENT_OPEN_CREATE;
    ck_assert_msg(agent_open(&o, &e, &err) == AGENT_OK, "%s: %s", setups[i].name, err.text);
    ck_assert_int_eq(agent_provider_register(e, &p, &err), AGENT_OK);
    return e;
}

static void make(const char *name, const char *options)
{
    agent_config c = AGENT_CONFIG_INIT;

    c.model = "count:m";
    c.instructions = "be brief";
    c.options = options;
    ck_assert_msg(agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static void start_with(int i)
{
    engine = open_engine(i);
    make("demo", "{\"cache\": \"on\"}");
}

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/agent-cache.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = second = NULL;
    atomic_store(&asked, 0);
    atomic_store(&fail_first, 0);
    atomic_store(&ms, 0);
    last_system[0] = '\0';
}

static void teardown(void)
{
    char command[128];

    agent_close(second);
    agent_close(engine);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* --- turns ------------------------------------------------------------------------------------------------ */

struct told {
    char streamed[512];
    char answer[512];
    char tools[128];
};

static void hear(void *ctx, const agent_event *e)
{
    struct told *t = ctx;

    if (e->type == AGENT_EVENT_TEXT)
        (void)snprintf(t->streamed + strlen(t->streamed), sizeof(t->streamed) - strlen(t->streamed), "%.*s",
                       (int)e->text_bytes, e->text);
    if (e->type == AGENT_EVENT_TOOL_END)
        (void)snprintf(t->tools, sizeof(t->tools), "%s %s %.*s", e->call_id, e->status, (int)e->text_bytes, e->text);
}

static agent_run *start(agent_engine *e, const char *agent, const char *input, const char *options, struct told *t)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    q.options = options;
    if (t != NULL) {
        memset(t, 0, sizeof(*t));
        q.on_event = hear;
        q.ctx = t;
    }
    ck_assert_msg(agent_run_start(e, &q, &run, &err) == AGENT_OK, "%s", err.text);
    return run;
}

static agent_run_result end(agent_run *run, struct told *t)
{
    const agent_run_result *r = NULL;
    agent_run_result copy;

    ck_assert_msg(agent_run_wait(run, 30000, &r, &err) == AGENT_OK, "%s", err.text);
    copy = *r;
    if (t != NULL)
        (void)snprintf(t->answer, sizeof(t->answer), "%s", r->output);
    copy.output = "";
    agent_run_free(run);
    return copy;
}

/* One turn on a new session; true: from the cache. */
static bool turn(agent_engine *e, const char *input, const char *options, const char *want)
{
    struct told t;
    agent_run_result r = end(start(e, "demo", input, options, &t), &t);

    ck_assert_msg(strcmp(r.status, "succeeded") == 0, "%s: %s", r.status, r.error.text);
    if (want != NULL)
        ck_assert_str_eq(t.answer, want);
    return r.cache_hit;
}

#define ASKED(n) ck_assert_int_eq(atomic_load(&asked), n)

/* One value of SQL. */
struct cell {
    char text[256];
};

static bool take(void *ctx, const agent_row *row)
{
    struct cell *c = ctx;
    const char *text = agent_row_text(row, 0, NULL);

    if (agent_row_type(row, 0) == AGENT_VALUE_NULL)
        (void)snprintf(c->text, sizeof(c->text), "-");
    else if (text != NULL)
        (void)snprintf(c->text, sizeof(c->text), "%s", text);
    else
        (void)snprintf(c->text, sizeof(c->text), "%lld", (long long)agent_row_int(row, 0));
    return true;
}

static const char *sql(const char *text)
{
    static struct cell c;

    c.text[0] = '\0';
    ck_assert_msg(agent_sql(engine, text, take, &c, &err) == AGENT_OK, "%s", err.text);
    return c.text;
}

/* --- hits ---------------------------------------------------------------------------------------------------- */

START_TEST(the_same_request_is_asked_once_and_then_answered_from_the_cache)
{
    struct told t;
    agent_run_result r;

    start_with(_i);
    ck_assert(!turn(engine, "hello", NULL, "answer 1"));
    r = end(start(engine, "demo", "hello", NULL, &t), &t);
    ck_assert(r.cache_hit);
    ck_assert_str_eq(t.answer, "answer 1");
    ck_assert_str_eq(t.streamed, "answer 1");
    ck_assert_int_eq(r.steps, 1);
    ck_assert_int_eq(r.input_tokens, 0); /* nobody was asked */
    ASKED(1);
    ck_assert(!turn(engine, "hello!", NULL, "answer 2"));
    ASKED(2);
    ck_assert(turn(engine, "hello", NULL, "answer 1")); /* now from memory */
    ck_assert(turn(engine, "hello", NULL, "answer 1"));
    ASKED(2);
}
END_TEST

START_TEST(a_hit_is_a_step_marked_as_cached_and_counted)
{
    start_with(_i);
    (void)turn(engine, "hello", NULL, NULL);
    (void)turn(engine, "hello", NULL, NULL);
    (void)turn(engine, "hello", NULL, NULL);
    ck_assert_str_eq(sql("SELECT group_concat(status || cached || (wall_ms IS NOT NULL)) FROM v_steps"),
                     "succeeded01,succeeded11,succeeded11");
    ck_assert_str_eq(sql("SELECT group_concat(cache_hit) FROM v_runs"), "0,1,1");
    ck_assert_str_eq(sql("SELECT group_concat(hits || ' ' || tokens) FROM v_cache"), "2 120");
    ck_assert_str_eq(sql("SELECT count(*) FROM cache_lease"), "0");
    ck_assert_str_eq(sql("SELECT group_concat(text, '|') FROM v_messages WHERE role = 'assistant'"),
                     "answer 1|answer 1|answer 1");
    ck_assert_str_eq(sql("SELECT length(request) FROM cache"), "64"); /* hashes of head and message */
    ck_assert_str_eq(sql("SELECT count(*) FROM cache WHERE body LIKE '%hello%'"), "0");
}
END_TEST

START_TEST(without_the_option_nothing_is_kept_and_nothing_looked_up)
{
    agent_cache_stats s = AGENT_CACHE_STATS_INIT;

    start_with(_i);
    ck_assert(!turn(engine, "hello", "{\"cache\": \"off\"}", "answer 1"));
    ck_assert_int_eq(agent_cache_sums(engine, &s, &err), AGENT_OK);
    ck_assert_int_eq(s.entries, 0);
    ck_assert(!turn(engine, "hello", NULL, "answer 2"));
    ck_assert(!turn(engine, "hello", "{\"cache\": \"off\"}", "answer 3"));
    make("plain", NULL);
    ck_assert(!end(start(engine, "plain", "hello", NULL, NULL), NULL).cache_hit);
    ASKED(4);
    ck_assert_int_eq(agent_cache_sums(engine, &s, &err), AGENT_OK);
    ck_assert_int_eq(s.entries, 1);
}
END_TEST

START_TEST(read_only_uses_what_is_there_and_keeps_nothing)
{
    start_with(_i);
    ck_assert(!turn(engine, "hello", "{\"cache\": \"read-only\"}", "answer 1"));
    ck_assert(!turn(engine, "hello", "{\"cache\": \"read-only\"}", "answer 2"));
    ck_assert(!turn(engine, "hello", NULL, "answer 3"));
    ck_assert(turn(engine, "hello", "{\"cache\": \"read-only\"}", "answer 3"));
    ASKED(3);
}
END_TEST

START_TEST(refresh_asks_anew_and_keeps_the_new_answer)
{
    start_with(_i);
    ck_assert(!turn(engine, "hello", NULL, "answer 1"));
    ck_assert(turn(engine, "hello", NULL, "answer 1"));
    ck_assert(!turn(engine, "hello", "{\"cache\": \"refresh\"}", "answer 2"));
    ck_assert(turn(engine, "hello", NULL, "answer 2"));
    ASKED(2);
}
END_TEST

START_TEST(an_answer_is_used_as_long_as_it_may_live)
{
    const struct timespec pause = {0, 60000000};

    start_with(_i);
    ck_assert(!turn(engine, "hello", "{\"cache_ttl_ms\": 20}", "answer 1"));
    (void)nanosleep(&pause, NULL);
    ck_assert(!turn(engine, "hello", NULL, "answer 2")); /* that one had expired; this one lives for ever */
    ck_assert(turn(engine, "hello", NULL, "answer 2"));
    (void)nanosleep(&pause, NULL);
    ck_assert(turn(engine, "hello", NULL, "answer 2"));
    ck_assert(!turn(engine, "hello", "{\"cache_ttl_ms\": 20}", "answer 3")); /* too old for who asks so */
}
END_TEST

START_TEST(calls_are_replayed_with_their_ids_and_made_again)
{
    struct told t;
    agent_run_result r;

    start_with(_i);
    ck_assert(!turn(engine, "call it", NULL, "answer 2"));
    ASKED(2);
    r = end(start(engine, "demo", "call it", NULL, &t), &t);
    ck_assert_str_eq(t.answer, "answer 2");
    ck_assert_str_eq(t.tools, "id7 succeeded 23");
    ck_assert(r.cache_hit);
    ck_assert_int_eq(r.steps, 2);
    ASKED(2);
    if (setups[_i].file) {
        ck_assert_str_eq(sql("SELECT group_concat(call_id || status || (effect_id IS NOT NULL)) FROM v_tool_calls"),
                         "id7succeeded1,id7succeeded1");
        ck_assert_str_eq(sql("SELECT count(DISTINCT effect_id) FROM v_tool_calls"), "2");
        ck_assert_str_eq(sql("SELECT count(DISTINCT calls) FROM v_messages WHERE calls IS NOT NULL"), "1");
    }
}
END_TEST

START_TEST(a_conversation_hits_as_far_as_it_is_the_same)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    static const struct {
        const char *session, *input;
        bool hits;
    } turns[] = {
        {"a", "one", false}, {"a", "two", false},  {"b", "one", true}, {"b", "two", true},
        {"b", "three", false}, {"c", "two", false}, {"c", "one", false}, {"d", "two", true}, {"d", "two", false},
    };

    start_with(_i);
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        agent_run *run;

        q.agent = "demo";
        q.session_name = turns[i].session;
        q.input = turns[i].input;
        q.input_bytes = strlen(q.input);
        ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
        ck_assert_msg(end(run, NULL).cache_hit == turns[i].hits, "turn %zu", i);
    }
}
END_TEST

/* A model that repeats its ids: what it said in a conversation where an id is taken is not said again. */
START_TEST(an_answer_whose_call_ids_are_in_the_conversation_is_not_used)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;

    start_with(_i);
    for (int i = 0; i < 4; i++) {
        agent_run *run;

        q.agent = "demo";
        q.session_name = i < 2 ? "first" : "second";
        q.input = "call it";
        q.input_bytes = strlen(q.input);
        ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
        ck_assert(end(run, NULL).cache_hit == (i >= 2));
        ASKED(i == 0 ? 2 : i < 3 ? 4 : 5); /* the second call of the second conversation is asked for */
    }
}
END_TEST

/* --- what is not kept -------------------------------------------------------------------------------------- */

START_TEST(an_error_is_not_kept)
{
    struct told t;

    start_with(_i);
    atomic_store(&fail_first, 1);
    ck_assert_str_eq(end(start(engine, "demo", "hello", "{\"retries\": 0}", &t), &t).status, "failed");
    ck_assert(!turn(engine, "hello", NULL, "answer 2"));
    ck_assert(turn(engine, "hello", NULL, "answer 2"));
    ASKED(2);
}
END_TEST

static const struct {
    const char *name, *finish;
    bool kept;
} finishes[] = {
    {"a complete answer", "stop", true},
    {"one cut at the token limit", "length", false},
    {"a refusal", "content_filter", false},
    {"an end of a kind nobody knows", "asteroid", false},
};

START_TEST(only_a_complete_answer_is_kept)
{
    char body[512], url[128];
    struct scripted_answer answers[1] = {{.body = body}};
    struct scripted *server;
    agent_config c = AGENT_CONFIG_INIT;

    (void)snprintf(body, sizeof(body),
                   "{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
                   "{\"role\":\"assistant\",\"content\":\"some words\"},\"finish_reason\":\"%s\"}],"
                   "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}", finishes[_i].finish);
    ck_assert_ptr_nonnull(server = scripted_start(answers, 1));
    (void)snprintf(url, sizeof(url), "%s/v1", scripted_url(server));
    engine = open_engine(3);
    c.model = "openai:m";
    c.base_url = url;
    c.options = "{\"cache\": \"on\", \"retries\": 0}";
    ck_assert_int_eq(agent_create(engine, "demo", &c, AGENT_CREATE_NEW, NULL, &err), AGENT_OK);
    for (int i = 0; i < 2; i++) {
        agent_run_request q = AGENT_RUN_REQUEST_INIT;
        agent_run *run;

        q.agent = "demo";
        q.input = "x";
        q.input_bytes = 1;
        q.no_stream = true;
        ck_assert_int_eq(agent_run_start(engine, &q, &run, &err), AGENT_OK);
        ck_assert_msg(end(run, NULL).cache_hit == (i == 1 && finishes[_i].kept), "%s", finishes[_i].name);
    }
    ck_assert_uint_eq(scripted_requests(server), finishes[_i].kept ? 1 : 2);
    scripted_stop(server);
}
END_TEST

/* --- one question at a time -------------------------------------------------------------------------------- */

#define MANY 24

START_TEST(many_runs_that_ask_the_same_at_once_ask_once)
{
    agent_run *runs[MANY];
    int hits = 0;

    start_with(_i);
    atomic_store(&ms, 50);
    for (int i = 0; i < MANY; i++)
        runs[i] = start(engine, "demo", "all together", NULL, NULL);
    for (int i = 0; i < MANY; i++) {
        agent_run_result r = end(runs[i], NULL);

        ck_assert_str_eq(r.status, "succeeded");
        hits += r.cache_hit;
    }
    ASKED(1);
    ck_assert_int_eq(hits, MANY - 1);
}
END_TEST

START_TEST(where_the_one_that_asks_fails_the_next_asks_itself)
{
    agent_run *runs[MANY];
    int failed = 0, hits = 0;

    start_with(_i);
    atomic_store(&ms, 20);
    atomic_store(&fail_first, 2);
    for (int i = 0; i < MANY; i++)
        runs[i] = start(engine, "demo", "all together", "{\"retries\": 0}", NULL);
    for (int i = 0; i < MANY; i++) {
        agent_run_result r = end(runs[i], NULL);

        failed += strcmp(r.status, "failed") == 0;
        hits += r.cache_hit;
    }
    ASKED(3);
    ck_assert_int_eq(failed, 2);
    ck_assert_int_eq(hits, MANY - 3);
}
END_TEST

START_TEST(who_waits_can_be_cancelled_and_who_asks_too)
{
    agent_run *asks, *waits, *waits_too;

    start_with(_i);
    atomic_store(&ms, 300);
    asks = start(engine, "demo", "slow", NULL, NULL);
    if (setups[_i].workers == 0)
        for (int i = 0; i < 50 && atomic_load(&asked) == 0; i++)
            ck_assert_int_eq(agent_drive(engine, 10, &err), AGENT_OK);
    while (atomic_load(&asked) == 0)
        (void)usleep(1000);
    waits = start(engine, "demo", "slow", NULL, NULL);
    waits_too = start(engine, "demo", "slow", NULL, NULL);
    (void)usleep(50000);
    agent_run_cancel(waits);
    ck_assert_str_eq(end(waits, NULL).status, "cancelled");
    agent_run_cancel(asks);
    ck_assert_str_eq(end(asks, NULL).status, "cancelled");
    ck_assert_str_eq(end(waits_too, NULL).status, "succeeded");
    ASKED(2);
}
END_TEST

START_TEST(an_engine_that_closes_while_runs_wait_lets_go_of_them)
{
    start_with(_i);
    atomic_store(&ms, 50);
    for (int i = 0; i < 4; i++)
        agent_run_free(start(engine, "demo", "slow", NULL, NULL));
    if (setups[_i].workers == 0)
        (void)agent_drive(engine, 10, &err);
    agent_close(engine); /* the sanitizers say whether anything is left */
    engine = NULL;
}
END_TEST

static void *run_second(void *arg)
{
    struct told *t = arg;
    agent_run_result r = end(start(second, "demo", "both", NULL, t), t);

    return r.cache_hit ? t : NULL;
}

/* Two engines on one file know as little of each other as two processes. */
START_TEST(two_processes_that_ask_the_same_at_once_ask_once)
{
    struct told a, b;
    pthread_t thread;
    void *hit = NULL;
    agent_run *run;
    bool first_hit;

    start_with(FILES + 1);
    second = open_engine(FILES + 1);
    atomic_store(&ms, 200);
    run = start(engine, "demo", "both", NULL, &a);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_second, &b), 0);
    first_hit = end(run, &a).cache_hit;
    (void)pthread_join(thread, &hit);
    ASKED(1);
    ck_assert(first_hit != (hit != NULL));
    ck_assert_str_eq(a.answer, "answer 1");
    ck_assert_str_eq(b.answer, "answer 1");
    ck_assert_str_eq(sql("SELECT count(*) FROM cache_lease"), "0");
}
END_TEST

START_TEST(a_lease_of_a_process_that_is_dead_holds_nobody_up)
{
    sqlite3 *db;
    agent_run *run;

    start_with(FILES + 1);
    atomic_store(&fail_first, 1);
    run = start(engine, "demo", "both", "{\"retries\": 0}", NULL);
    ck_assert_str_eq(end(run, NULL).status, "failed");
    ck_assert_str_eq(sql("SELECT count(*) FROM cache_lease"), "0"); /* given back by who failed */
    ck_assert(!turn(engine, "both", NULL, "answer 2"));
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO cache_lease SELECT key, 4711, 9999999999999 FROM cache; DELETE FROM cache",
                                  NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    ck_assert(!turn(engine, "both", NULL, "answer 3"));
}
END_TEST

/* --- the rows, by the API ------------------------------------------------------------------------------------ */

START_TEST(what_is_removed_is_asked_for_anew_at_once)
{
    agent_cache_stats s = AGENT_CACHE_STATS_INIT;
    int64_t n = 0;

    start_with(_i);
    for (int i = 0; i < 3; i++)
        (void)turn(engine, "hello", NULL, "answer 1");
    ck_assert_int_eq(agent_cache_remove(engine, NULL, &n, &err), AGENT_OK);
    ck_assert_int_eq(n, 1);
    ck_assert(!turn(engine, "hello", NULL, "answer 2"));
    ck_assert(turn(engine, "hello", NULL, "answer 2"));
    ck_assert_int_eq(agent_cache_resize(engine, 0, &n, &err), AGENT_OK);
    ck_assert_int_eq(n, 1);
    ck_assert(!turn(engine, "hello", NULL, "answer 3"));
    ck_assert(!turn(engine, "hello", NULL, "answer 4"));
    ck_assert_int_eq(agent_cache_sums(engine, &s, &err), AGENT_OK);
    ck_assert_int_eq(s.entries, 0);
    ck_assert_int_eq(s.limit_bytes, 0);
    ck_assert_int_eq(agent_cache_remove(engine, "beef", &n, &err), AGENT_EINVAL);
    ck_assert_int_eq(agent_cache_remove(engine, "0000000000000000000000000000000000000000000000000000000000000000", &n,
                                        &err), AGENT_ENOTFOUND);
    ck_assert_int_eq(agent_cache_resize(engine, -1, NULL, &err), AGENT_EINVAL);
}
END_TEST

START_TEST(an_option_that_is_no_policy_is_refused)
{
    agent_config c = AGENT_CONFIG_INIT;

    start_with(_i);
    c.options = "{\"cache\": \"maybe\"}";
    ck_assert_int_eq(agent_create(engine, "other", &c, AGENT_CREATE_NEW, NULL, &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "read-only"));
}
END_TEST

/* --- in step with the file ------------------------------------------------------------------------------------ */

static void shell(const char *text)
{
    sqlite3 *db;
    char *why = NULL;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK, "%s: %s", text, why);
    (void)sqlite3_close(db);
}

static const char *system_now(void)
{
    (void)turn(engine, "x", "{\"cache\": \"off\"}", NULL);
    return last_system;
}

START_TEST(the_next_run_sees_what_was_edited_by_hand)
{
    start_with(_i + FILES);
    ck_assert_str_eq(system_now(), "be brief");
    shell("UPDATE agent_version SET instructions = 'be long'");
    ck_assert_str_eq(system_now(), "be long");
    shell("INSERT INTO memory (agent_id, scope, key, text, created_at_ms, updated_at_ms)"
          " VALUES (1, 'agent', 'colour', 'blue', 0, 0)");
    ck_assert_ptr_nonnull(strstr(system_now(), "colour: blue"));
    shell("REPLACE INTO memory (agent_id, scope, key, text, created_at_ms, updated_at_ms)"
          " VALUES (1, 'agent', 'colour', 'red', 0, 0)");
    ck_assert_ptr_nonnull(strstr(system_now(), "colour: red"));
    ck_assert_ptr_null(strstr(last_system, "blue"));
    shell("VACUUM");
    ck_assert_ptr_nonnull(strstr(system_now(), "colour: red"));
    shell("DELETE FROM memory");
    ck_assert_str_eq(system_now(), "be long");
    shell("DROP TRIGGER change_version_update; UPDATE agent_version SET instructions = 'in secret'");
    ck_assert_str_eq(system_now(), "in secret");
}
END_TEST

START_TEST(the_next_run_sees_what_another_process_did)
{
    agent_config c = AGENT_CONFIG_INIT;

    start_with(_i + FILES);
    second = open_engine(FILES);
    ck_assert_str_eq(system_now(), "be brief");
    ck_assert_int_eq(agent_memory_set(second, "demo", NULL, "k", "from there", NULL, &err), AGENT_OK);
    ck_assert_ptr_nonnull(strstr(system_now(), "from there"));
    c.instructions = "the second";
    ck_assert_int_eq(agent_create(second, "demo", &c, AGENT_CREATE_EDIT, NULL, &err), AGENT_OK);
    ck_assert_ptr_nonnull(strstr(system_now(), "the second"));
    ck_assert_int_eq(agent_memory_remove(second, "demo", NULL, "k", &err), AGENT_OK);
    ck_assert_str_eq(system_now(), "the second");
}
END_TEST

START_TEST(a_command_tool_that_was_edited_by_hand_is_called_as_edited)
{
    agent_config c = AGENT_CONFIG_INIT;
    const char *tools[] = {"say"};
    const char *argv[] = {"/bin/echo", "before", NULL};
    agent_command tool = AGENT_COMMAND_INIT;
    struct told t;

    engine = open_engine(_i + FILES);
    tool.name = "say";
    tool.description = "says";
    tool.argv = argv;
    ck_assert_msg(agent_command_put(engine, &tool, false, &err) == AGENT_OK, "%s", err.text);
    c.tools = tools;
    c.tool_count = 1;
    ck_assert_int_eq(agent_create(engine, "demo", &c, AGENT_CREATE_NEW, NULL, &err), AGENT_OK);
    (void)end(start(engine, "demo", "/tool say {}", NULL, &t), &t);
    ck_assert_ptr_nonnull(strstr(t.tools, "before"));
    shell("UPDATE tool SET argv = '[\"/bin/echo\", \"after\"]'");
    (void)end(start(engine, "demo", "/tool say {}", NULL, &t), &t);
    ck_assert_ptr_nonnull(strstr(t.tools, "after"));
}
END_TEST

START_TEST(an_answer_that_was_edited_or_removed_by_hand_is_used_as_it_is_now)
{
    start_with(_i + FILES);
    for (int i = 0; i < 3; i++) /* the third comes from memory */
        (void)turn(engine, "hello", NULL, "answer 1");
    shell("UPDATE cache SET body = replace(body, 'answer 1', 'by hand')");
    ck_assert(turn(engine, "hello", NULL, "by hand"));
    shell("UPDATE cache SET request = x'00'"); /* of another request, as far as one can tell */
    ck_assert(!turn(engine, "hello", NULL, "answer 2"));
    (void)turn(engine, "hello", NULL, "answer 2");
    shell("UPDATE cache SET body = 'no json'");
    ck_assert(!turn(engine, "hello", NULL, "answer 3"));
    shell("DELETE FROM cache");
    ck_assert(!turn(engine, "hello", NULL, "answer 4"));
}
END_TEST

/* A hand edit drops the row that was edited and leaves the others in memory. */
START_TEST(an_edit_by_hand_costs_the_others_nothing)
{
    struct ag_cache_stats before, after;

    start_with(_i + FILES);
    make("other", NULL);
    (void)end(start(engine, "other", "x", NULL, NULL), NULL);
    (void)turn(engine, "x", NULL, NULL);
    ag_cache_stats(engine->cache, &before);
    shell("UPDATE agent_version SET instructions = 'new' WHERE id = 1");
    (void)end(start(engine, "other", "y", NULL, NULL), NULL);
    ag_cache_stats(engine->cache, &after);
    ck_assert_uint_eq(after.changes_explained, before.changes_explained + 1);
    ck_assert_uint_eq(after.kinds[AG_CACHE_AGENT].loads, before.kinds[AG_CACHE_AGENT].loads);
    ck_assert_uint_eq(after.kinds[AG_CACHE_AGENT].invalidated, before.kinds[AG_CACHE_AGENT].invalidated + 1);
    ck_assert_str_eq(system_now(), "new");
}
END_TEST

START_TEST(a_file_that_was_replaced_ends_the_run_with_the_reason)
{
    char command[256];
    struct told t;
    agent_run_result r;

    start_with(_i + FILES);
    (void)turn(engine, "x", NULL, NULL);
    (void)snprintf(command, sizeof(command), "cd %s && cp agent.db copy.db && mv copy.db agent.db", dir);
    ck_assert_int_eq(system(command), 0);
    r = end(start(engine, "demo", "y", NULL, &t), &t);
    ck_assert_str_ne(r.status, "succeeded");
    ck_assert_ptr_nonnull(strstr(r.error.text, "replaced"));
}
END_TEST

Suite *response_cache_suite(void);

Suite *response_cache_suite(void)
{
    Suite *suite = suite_create("response_cache");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, the_same_request_is_asked_once_and_then_answered_from_the_cache, 0, SETUPS);
    tcase_add_loop_test(t, a_hit_is_a_step_marked_as_cached_and_counted, FILES, SETUPS);
    tcase_add_loop_test(t, without_the_option_nothing_is_kept_and_nothing_looked_up, 0, SETUPS);
    tcase_add_loop_test(t, read_only_uses_what_is_there_and_keeps_nothing, 0, SETUPS);
    tcase_add_loop_test(t, refresh_asks_anew_and_keeps_the_new_answer, 0, SETUPS);
    tcase_add_loop_test(t, an_answer_is_used_as_long_as_it_may_live, 0, SETUPS);
    tcase_add_loop_test(t, calls_are_replayed_with_their_ids_and_made_again, 0, SETUPS);
    tcase_add_loop_test(t, a_conversation_hits_as_far_as_it_is_the_same, 0, SETUPS);
    tcase_add_loop_test(t, an_answer_whose_call_ids_are_in_the_conversation_is_not_used, 0, SETUPS);
    tcase_add_loop_test(t, an_error_is_not_kept, 0, SETUPS);
    tcase_add_loop_test(t, only_a_complete_answer_is_kept, 0, (int)(sizeof(finishes) / sizeof(finishes[0])));
    tcase_add_loop_test(t, many_runs_that_ask_the_same_at_once_ask_once, 0, SETUPS);
    tcase_add_loop_test(t, where_the_one_that_asks_fails_the_next_asks_itself, 0, SETUPS);
    tcase_add_loop_test(t, who_waits_can_be_cancelled_and_who_asks_too, 0, SETUPS);
    tcase_add_loop_test(t, an_engine_that_closes_while_runs_wait_lets_go_of_them, 0, SETUPS);
    tcase_add_test(t, two_processes_that_ask_the_same_at_once_ask_once);
    tcase_add_test(t, a_lease_of_a_process_that_is_dead_holds_nobody_up);
    tcase_add_loop_test(t, what_is_removed_is_asked_for_anew_at_once, 0, SETUPS);
    tcase_add_loop_test(t, an_option_that_is_no_policy_is_refused, 0, SETUPS);
    tcase_add_loop_test(t, the_next_run_sees_what_was_edited_by_hand, 0, 2);
    tcase_add_loop_test(t, the_next_run_sees_what_another_process_did, 0, 2);
    tcase_add_loop_test(t, a_command_tool_that_was_edited_by_hand_is_called_as_edited, 0, 2);
    tcase_add_loop_test(t, an_answer_that_was_edited_or_removed_by_hand_is_used_as_it_is_now, 0, 2);
    tcase_add_loop_test(t, an_edit_by_hand_costs_the_others_nothing, 0, 2);
    tcase_add_loop_test(t, a_file_that_was_replaced_ends_the_run_with_the_reason, 0, 2);
    suite_add_tcase(suite, t);
    return suite;
}
