/*
 * What the tests of the store share: each test runs once per implementation (the loop's number),
 * through the interface of storage/store.h alone.
 *
 *     kit_open(_i) ─► kit_add(kind)->field = … ─► kit_commit() ─► kit_rows(view, …) ─► kit_close()
 *
 * Time is `kit_now`, which moves one second with every commit, so that no two things are as old.
 * Compiled with STORE_ONLY_MEMORY, only the memory store is run.
 */
#ifndef AG_TESTS_STORE_KIT_H
#define AG_TESTS_STORE_KIT_H

#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "storage/store.h"

enum kit_impl { KIT_MEMORY, KIT_SQLITE, KIT_SQLITE_THREADED, KIT_IMPLS };

#ifdef STORE_ONLY_MEMORY
#define KIT_LAST 1
#else
#define KIT_LAST KIT_IMPLS
#endif

#define KIT_EPOCH_MS INT64_C(1700000000000) /* 2023-11-14T22:13:20.000Z */

struct kit {
    ag_store *store;
    ag_reader *reader;
    ag_arena arena; /* ops, texts and what readers give */
    ag_unit unit;   /* being built */
    int64_t now;
    char dir[64];
    ag_buf text; /* what kit_rows() answers */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int done;
};

static void kit_done(ag_unit *unit)
{
    struct kit *k = unit->ctx;

    (void)pthread_mutex_lock(&k->lock);
    k->done++;
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->lock);
}

static inline void kit_next(struct kit *k)
{
    k->now += 1000;
    ag_unit_init(&k->unit, k->now);
    k->unit.done = kit_done;
    k->unit.ctx = k;
}

static inline agent_status kit_make(enum kit_impl impl, const struct ag_store_options *o, ag_store **out,
                                    agent_error *err)
{
#ifndef STORE_ONLY_MEMORY
    if (impl != KIT_MEMORY)
        return ag_store_sqlite_open(o, out, err);
#endif
    (void)impl;
    return ag_store_memory_open(o, out, err);
}

static inline void kit_open_in(struct kit *k, enum kit_impl impl)
{
    const char *tmp = getenv("TMPDIR");
    struct ag_store_options o = {.flags = AGENT_OPEN_CREATE, .busy_timeout_ms = 5000,
                                 .threaded = impl == KIT_SQLITE_THREADED, .clock = &ag_clock_system};
    agent_error err = AGENT_ERROR_INIT;
    char path[96];

    *k = (struct kit){.arena = AG_ARENA_INIT, .text = AG_BUF_INIT(64 << 20), .now = KIT_EPOCH_MS - 1000,
                      .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    if (impl != KIT_MEMORY) {
        (void)snprintf(k->dir, sizeof(k->dir), "%.40s/store-XXXXXX", tmp == NULL ? "/tmp" : tmp);
        ck_assert_ptr_nonnull(mkdtemp(k->dir));
        (void)snprintf(path, sizeof(path), "%s/t.db", k->dir);
        o.path = path;
    }
    ck_assert_msg(kit_make(impl, &o, &k->store, &err) == AGENT_OK, "open: %s", err.text);
    ck_assert_msg(ag_store_reader_open(k->store, &k->reader, &err) == AGENT_OK, "reader: %s", err.text);
    kit_next(k);
}

static inline void kit_close_in(struct kit *k)
{
    static const char *const files[] = {"t.db", "t.db-wal", "t.db-shm", "t.db-owners", "t.db-journal"};
    char path[96];

    ag_reader_close(k->reader);
    ag_store_close(k->store);
    ag_arena_drop(&k->arena);
    ag_buf_drop(&k->text);
    if (k->dir[0] == '\0')
        return;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", k->dir, files[i]);
        (void)unlink(path);
    }
    ck_assert_int_eq(rmdir(k->dir), 0);
}

static inline struct ag_op *kit_op_in(struct kit *k, enum ag_op_kind kind)
{
    struct ag_op *op = ag_arena_zalloc(&k->arena, sizeof(*op));

    ck_assert_ptr_nonnull(op);
    op->kind = kind;
    ag_unit_add(&k->unit, op);
    return op;
}

/* Submits the unit that was built and waits for it; a new one is begun. The error stays in *err. */
static inline agent_status kit_commit_in(struct kit *k, agent_error *err)
{
    agent_status rc;

    k->done = 0;
    k->unit.status = AGENT_EIO; /* must be set by the store */
    if (!ag_store_submit(k->store, &k->unit)) {
        ag_store_flush(k->store);
        (void)pthread_mutex_lock(&k->lock);
        while (k->done == 0)
            (void)pthread_cond_wait(&k->wake, &k->lock);
        (void)pthread_mutex_unlock(&k->lock);
        ck_assert_int_eq(k->done, 1);
    } else {
        ck_assert_int_eq(k->done, 0); /* complete: done() is not called */
    }
    rc = k->unit.status;
    if (rc == AGENT_OK && k->unit.fence_run_id != 0)
        ck_assert_msg(k->unit.commit_ns > 0, "commit time is not set");
    if (rc != AGENT_OK)
        ck_assert_int_eq(k->unit.error.status, rc);
    if (err != NULL && rc != AGENT_OK)
        *err = k->unit.error;
    kit_next(k);
    return rc;
}

/* --- one store at a time, for all tests but those that compare two ------------------------------------- */

static struct kit kit;
static agent_error err; /* of the last failure */

static inline void kit_open(int impl)
{
    kit_open_in(&kit, (enum kit_impl)impl);
}

static inline void kit_close(void)
{
    kit_close_in(&kit);
}

static inline struct ag_op *kit_add(enum ag_op_kind kind)
{
    return kit_op_in(&kit, kind);
}

static inline agent_status kit_commit(void)
{
    return kit_commit_in(&kit, &err);
}

#define kit_ok()        ck_assert_msg(kit_commit() == AGENT_OK, "%s", err.text)
#define kit_fails(code) ck_assert_int_eq(kit_commit(), code)
#define S(literal)      AG_STR(literal)

/* A text of `n` bytes that differs by `seed`. */
static inline struct ag_str kit_long(size_t n, unsigned seed)
{
    char *p = ag_arena_alloc(&kit.arena, n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (i * 7 + seed) % 26);
    p[n] = '\0';
    return (struct ag_str){p, n};
}

/* --- rows as lines --------------------------------------------------------------------------------------- */

struct kit_lines {
    ag_buf *text;
    const char *columns; /* names with blanks between; NULL: all */
    int count, stop_after;
};

static inline void kit_cell(ag_buf *text, const struct ag_cell *cell)
{
    switch (cell->type) {
    case AGENT_VALUE_NULL:
        ag_buf_char(text, '-');
        break;
    case AGENT_VALUE_INT:
        ag_buf_int(text, cell->i);
        break;
    case AGENT_VALUE_REAL:
        ag_buf_printf(text, "%.3f", cell->r);
        break;
    case AGENT_VALUE_TEXT:
    case AGENT_VALUE_BLOB:
        ck_assert_ptr_nonnull(cell->text.p);
        ck_assert_msg(cell->text.p[cell->text.n] == '\0', "a text has no NUL behind it");
        ag_buf_str(text, cell->text);
        break;
    }
}

static inline bool kit_line(void *ctx, const agent_row *row)
{
    struct kit_lines *lines = ctx;
    const char *at = lines->columns;
    bool first = true;

    for (int i = 0; at == NULL && i < row->count; i++) {
        if (i > 0)
            ag_buf_char(lines->text, '|');
        kit_cell(lines->text, &row->values[i]);
    }
    while (at != NULL && *at != '\0') {
        size_t n = strcspn(at, " ");
        int found = -1;

        for (int i = 0; i < row->count; i++)
            if (strlen(row->names[i]) == n && memcmp(row->names[i], at, n) == 0)
                found = i;
        ck_assert_msg(found >= 0, "no column '%.*s' (first is %s)", (int)n, at, row->names[0]);
        if (!first)
            ag_buf_char(lines->text, '|');
        kit_cell(lines->text, &row->values[found]);
        first = false;
        at += n + (at[n] == ' ');
    }
    ag_buf_char(lines->text, '\n');
    return ++lines->count != lines->stop_after;
}

/* The asked columns of the rows that the filter lets through: "1|queued|-\n…"; borrowed until the next. */
static inline const char *kit_rows_in(struct kit *k, enum agent_view view, const agent_filter *f, const char *columns)
{
    struct kit_lines lines = {&k->text, columns, 0, 0};
    agent_error e = AGENT_ERROR_INIT;

    ag_buf_clear(&k->text);
    ck_assert_msg(ag_reader_scan(k->reader, view, f, kit_line, &lines, &e) == AGENT_OK, "scan: %s", e.text);
    return ag_buf_view(&k->text).p;
}

static inline const char *kit_rows(enum agent_view view, const agent_filter *f, const char *columns)
{
    return kit_rows_in(&kit, view, f, columns);
}

#define kit_is(view, columns, lines) ck_assert_str_eq(kit_rows(AGENT_VIEW_##view, NULL, columns), lines)

/* --- common units ------------------------------------------------------------------------------------------- */

static inline struct ag_op_agent_put *kit_agent_in(struct kit *k, const char *name)
{
    struct ag_op_agent_put *put = &kit_op_in(k, AG_OP_AGENT_PUT)->agent_put;

    put->spec = (struct ag_agent_spec){.name = ag_str_of(name), .provider = S("offline"), .model = S("demo")};
    return put;
}

/* Creates an agent; its id. */
static inline int64_t kit_agent(const char *name)
{
    struct ag_op_agent_put *put = kit_agent_in(&kit, name);

    kit_ok();
    return put->out_agent_id;
}

/* A run on a new session, or on one with a name; not committed. */
static inline struct ag_op_run_create *kit_create(const char *agent, const char *session, const char *input)
{
    struct ag_op_run_create *create = &kit_add(AG_OP_RUN_CREATE)->run_create;

    create->agent_name = ag_str_of(agent);
    create->session_by = session == NULL ? AG_SESSION_NEW : AG_SESSION_NAME;
    create->session_name = ag_str_of(session);
    create->input = ag_str_of(input);
    create->queued_at_ms = kit.now;
    create->claim = true;
    return create;
}

/* The same, committed. */
static inline struct ag_op_run_create *kit_run(const char *agent, const char *session, const char *input)
{
    struct ag_op_run_create *create = kit_create(agent, session, input);

    kit_ok();
    return create;
}

static inline struct ag_op_run_finish *kit_finish(const struct ag_op_run_create *run, enum ag_run_status status)
{
    struct ag_op_run_finish *finish = &kit_add(AG_OP_RUN_FINISH)->run_finish;

    finish->run_id = run->out_run_id;
    finish->session_id = run->out_session_id;
    finish->status = status;
    finish->ended_at_ms = kit.now;
    finish->queue_us = finish->wall_us = finish->rss_peak_bytes = -1;
    finish->input_tokens = finish->output_tokens = -1;
    return finish;
}

static inline struct ag_op_step_end *kit_step_end(int64_t run_id, int number, enum ag_step_status status)
{
    struct ag_op_step_end *end = &kit_add(AG_OP_STEP_END)->step_end;

    *end = (struct ag_op_step_end){.run_id = run_id, .number = number, .status = status, .wall_us = -1,
                                   .input_tokens = -1, .output_tokens = -1, .cached_tokens = -1};
    return end;
}

static inline struct ag_op_message *kit_message(const struct ag_op_run_create *run, int64_t seq, enum ag_role role,
                                                const char *text)
{
    struct ag_op_message *message = &kit_add(AG_OP_MESSAGE)->message;

    *message = (struct ag_op_message){.session_id = run->out_session_id, .run_id = run->out_run_id, .seq = seq,
                                      .role = role, .text = ag_str_of(text)};
    return message;
}

static inline struct ag_op_call_intent *kit_intent(int64_t run_id, int number, int model_step, const char *call_id,
                                                   enum agent_effect effect)
{
    struct ag_op_call_intent *intent = &kit_add(AG_OP_CALL_INTENT)->call_intent;

    *intent = (struct ag_op_call_intent){.run_id = run_id, .number = number, .model_step = model_step,
                                         .call_id = ag_str_of(call_id), .tool = S("calc"), .effect_id = S("fx"),
                                         .arguments = S("{}"), .effect = effect, .started_at_ms = kit.now};
    return intent;
}

static inline struct ag_op_call_end *kit_call_end(int64_t run_id, int number, enum ag_call_status status,
                                                  const char *result)
{
    struct ag_op_call_end *end = &kit_add(AG_OP_CALL_END)->call_end;

    *end = (struct ag_op_call_end){.run_id = run_id, .number = number, .status = status,
                                   .result = ag_str_of(result), .wall_us = -1, .child_rss_peak_bytes = -1};
    return end;
}

/* Answers and ends a run of one step, in one unit: as the engine does. */
static inline struct ag_op_run_finish *kit_answer(const struct ag_op_run_create *run, const char *text)
{
    struct ag_op_run_finish *finish;

    kit.unit.fence_run_id = run->out_run_id;
    kit.unit.fence_attempt = run->out_attempt;
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    (void)kit_message(run, run->out_input_seq + 1, AG_ROLE_ASSISTANT, text);
    finish = kit_finish(run, AG_RUN_SUCCEEDED);
    finish->output_seq = run->out_input_seq + 1;
    finish->messages = 2;
    kit_ok();
    return finish;
}

/* A run whose first step asks for calls, committed: "c1" number 2, "c2" number 3 … of these effects. */
static inline struct ag_op_run_create *kit_calling(const char *agent, const char *session, int count,
                                                   const enum agent_effect *effects)
{
    static const char *const names[] = {"c1", "c2", "c3", "c4"};
    struct ag_op_run_create *run = kit_run(agent, session, "call");
    AG_AUTO(ag_buf) calls = AG_BUF_INIT(4096);

    ag_buf_char(&calls, '[');
    for (int i = 0; i < count; i++)
        ag_buf_printf(&calls, "%s{\"id\":\"%s\",\"name\":\"calc\",\"arguments\":\"{}\"}", i > 0 ? "," : "", names[i]);
    ag_buf_char(&calls, ']');
    (void)kit_step_end(run->out_run_id, 1, AG_STEP_SUCCEEDED);
    kit_message(run, run->out_input_seq + 1, AG_ROLE_ASSISTANT, "")->calls =
        ag_arena_str(&kit.arena, ag_buf_view(&calls));
    for (int i = 0; i < count; i++)
        (void)kit_intent(run->out_run_id, 2 + i, 1, names[i], effects[i]);
    kit_ok();
    return run;
}

#define KIT_RUN(id)     (&(agent_filter){.size = sizeof(agent_filter), .run_id = (id)})
#define KIT_FILTER(...) (&(agent_filter){.size = sizeof(agent_filter), __VA_ARGS__})

#endif
