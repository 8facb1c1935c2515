/*
 * What the tests of storage/sqlite share: a folder of their own, stores on files in it, units that
 * are waited for, and a plain SQLite connection, which is "somebody else" to the store.
 */
#ifndef AG_TESTS_SQLITE_KIT_H
#define AG_TESTS_SQLITE_KIT_H

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "storage/store.h"

#define S(literal) AG_STR(literal)
#define NOW        INT64_C(1700000000000)

static char folder[256], db_path[300];
static ag_store *store;
static ag_reader *reader;
static agent_error err; /* of the last failure */
static ag_arena arena;  /* ops, and what readers give */

static inline void begin_folder(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(folder, sizeof(folder), "%.200s/sqlite-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(db_path, sizeof(db_path), "%s/a.db", folder);
    arena = AG_ARENA_INIT;
    memset(&err, 0, sizeof(err));
}

static inline void close_store(void)
{
    ag_reader_close(reader);
    reader = NULL;
    ag_store_close(store);
    store = NULL;
}

static inline void end_folder(void)
{
    DIR *dir;
    struct dirent *e;

    close_store();
    ag_arena_drop(&arena);
    ck_assert_ptr_nonnull(dir = opendir(folder));
    while ((e = readdir(dir)) != NULL) {
        char path[600];

        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && unlink(path) != 0)
            (void)rmdir(path);
    }
    (void)closedir(dir);
    ck_assert_int_eq(rmdir(folder), 0);
}

static inline const char *in_folder(const char *name)
{
    return ag_arena_printf(&arena, "%s/%s", folder, name);
}

static inline bool exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

static inline unsigned mode_of(const char *path)
{
    struct stat st;

    ck_assert_msg(stat(path, &st) == 0, "%s is not there", path);
    return st.st_mode & 07777;
}

static inline struct ag_store_options options_of(const char *path)
{
    return (struct ag_store_options){.path = path, .flags = AGENT_OPEN_CREATE, .busy_timeout_ms = 5000,
                                     .clock = &ag_clock_system};
}

static inline agent_status try_open(const char *path, unsigned flags, ag_store **out)
{
    struct ag_store_options o = options_of(path);

    o.flags = flags;
    memset(&err, 0, sizeof(err));
    return ag_store_sqlite_open(&o, out, &err);
}

static inline void open_store_with(const struct ag_store_options *o)
{
    ck_assert_msg(ag_store_sqlite_open(o, &store, &err) == AGENT_OK, "open: %s", err.text);
    ck_assert_msg(ag_store_reader_open(store, &reader, &err) == AGENT_OK, "reader: %s", err.text);
}

static inline void open_store(void)
{
    struct ag_store_options o = options_of(db_path);

    open_store_with(&o);
}

static inline void open_threaded(void)
{
    struct ag_store_options o = options_of(db_path);

    o.threaded = true;
    open_store_with(&o);
}

/* Instead of ck_assert in a child: says why, and the parent's test fails by the exit code. */
#define child_check(condition)                                                  \
    do                                                                          \
        if (!(condition)) {                                                     \
            (void)fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition); \
            _exit(1);                                                           \
        }                                                                       \
    while (0)

/* --- units ------------------------------------------------------------------------------------------ */

struct waiting {
    ag_unit unit;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static inline void on_done(ag_unit *unit)
{
    struct waiting *w = (struct waiting *)unit->ctx;

    (void)pthread_mutex_lock(&w->lock);
    w->done = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
}

static inline struct waiting *new_unit(int64_t now_ms)
{
    struct waiting *w = ag_arena_zalloc(&arena, sizeof(*w));

    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->wake, NULL);
    ag_unit_init(&w->unit, now_ms);
    w->unit.done = on_done;
    w->unit.ctx = w;
    return w;
}

static inline struct ag_op *add_op(struct waiting *w, enum ag_op_kind kind)
{
    struct ag_op *op = ag_arena_zalloc(&arena, sizeof(*op));

    op->kind = kind;
    ag_unit_add(&w->unit, op);
    return op;
}

static inline agent_status wait_for(struct waiting *w)
{
    (void)pthread_mutex_lock(&w->lock);
    while (!w->done)
        (void)pthread_cond_wait(&w->wake, &w->lock);
    (void)pthread_mutex_unlock(&w->lock);
    if (w->unit.status != AGENT_OK)
        err = w->unit.error;
    return w->unit.status;
}

static inline agent_status commit(struct waiting *w)
{
    if (ag_store_submit(store, &w->unit)) {
        err = w->unit.error;
        return w->unit.status;
    }
    ag_store_flush(store);
    return wait_for(w);
}

#define commit_ok(w) ck_assert_msg(commit(w) == AGENT_OK, "%s", err.text)

static inline struct waiting *agent_unit(const char *name)
{
    struct waiting *w = new_unit(NOW);

    add_op(w, AG_OP_AGENT_PUT)->agent_put = (struct ag_op_agent_put){
        .spec = {.name = ag_str_of(name), .provider = S("offline"), .model = S("demo")},
        .mode = AGENT_CREATE_IF_NOT_EXISTS};
    return w;
}

static inline void make_agent(const char *name)
{
    commit_ok(agent_unit(name));
}

/* Not committed; session NULL: a new one. */
static inline struct ag_op_run_create *create_in(struct waiting *w, const char *session, const char *input, bool claim)
{
    struct ag_op_run_create *c = &add_op(w, AG_OP_RUN_CREATE)->run_create;

    *c = (struct ag_op_run_create){.agent_name = S("demo"), .input = ag_str_of(input), .claim = claim,
                                   .session_by = session == NULL ? AG_SESSION_NEW : AG_SESSION_NAME,
                                   .session_name = ag_str_of(session), .queued_at_ms = NOW};
    return c;
}

static inline struct ag_op_run_create *make_run(const char *session, const char *input, bool claim)
{
    struct waiting *w = new_unit(NOW);
    struct ag_op_run_create *c = create_in(w, session, input, claim);

    commit_ok(w);
    return c;
}

/* The second commit of a turn: step, answer, stages, end. */
static inline struct waiting *end_unit(const struct ag_op_run_create *run, const char *answer)
{
    static const struct ag_stage_row stages[] = {
        {.step = 1, .stage = AG_STAGE_LOAD, .started_at_ms = NOW, .wall_us = 10, .commit_us = -1},
        {.step = 1, .stage = AG_STAGE_INFER, .started_at_ms = NOW, .wall_us = 20, .rss_peak_bytes = -1},
    };
    struct waiting *w = new_unit(NOW + 5);
    int64_t seq = run->out_input_seq + 1;

    w->unit.fence_run_id = run->out_run_id;
    w->unit.fence_attempt = run->out_attempt;
    add_op(w, AG_OP_STEP_END)->step_end = (struct ag_op_step_end){
        .run_id = run->out_run_id, .number = 1, .status = AG_STEP_SUCCEEDED, .wall_us = 4000, .input_tokens = 3,
        .output_tokens = 5, .cached_tokens = -1};
    add_op(w, AG_OP_MESSAGE)->message = (struct ag_op_message){
        .session_id = run->out_session_id, .run_id = run->out_run_id, .seq = seq, .role = AG_ROLE_ASSISTANT,
        .text = ag_str_of(answer)};
    add_op(w, AG_OP_STAGES)->stages = (struct ag_op_stages){.run_id = run->out_run_id, .rows = stages, .count = 2};
    add_op(w, AG_OP_RUN_FINISH)->run_finish = (struct ag_op_run_finish){
        .run_id = run->out_run_id, .session_id = run->out_session_id, .status = AG_RUN_SUCCEEDED, .output_seq = seq,
        .ended_at_ms = NOW + 5, .queue_us = 7, .wall_us = 5000, .rss_peak_bytes = -1, .input_tokens = 3,
        .output_tokens = 5, .messages = 2};
    return w;
}

static inline void finish_run(const struct ag_op_run_create *run, const char *answer)
{
    commit_ok(end_unit(run, answer));
}

/* --- looking in from outside --------------------------------------------------------------------------- */

static inline sqlite3 *stranger(void)
{
    sqlite3 *db = NULL;

    ck_assert_int_eq(sqlite3_open_v2(db_path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_wal_autocheckpoint(db, 0);
    return db;
}

static inline void run_sql(sqlite3 *db, const char *sql)
{
    char *message = NULL;

    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s: %s", sql, message);
}

static inline void change_by_hand(const char *sql)
{
    sqlite3 *db = stranger();

    run_sql(db, sql);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* All cells of all rows, blanks between, newlines behind; in the arena. */
static inline const char *ask_on(sqlite3 *db, const char *sql)
{
    ag_buf b = AG_BUF_INIT(1 << 20);
    sqlite3_stmt *st = NULL;
    const char *answer;
    int rc;

    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(st); i++) {
            const char *text = (const char *)sqlite3_column_text(st, i);

            ag_buf_z(&b, i > 0 ? " " : b.n > 0 ? "\n" : "");
            ag_buf_z(&b, text == NULL ? "-" : text);
        }
    }
    ck_assert_msg(rc == SQLITE_DONE, "%s: %s", sql, sqlite3_errmsg(db));
    (void)sqlite3_finalize(st);
    answer = ag_arena_str(&arena, ag_buf_view(&b)).p;
    ag_buf_drop(&b);
    return answer;
}

static inline const char *ask(const char *sql)
{
    sqlite3 *db = stranger();
    const char *answer = ask_on(db, sql);

    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    return answer;
}

#define ask_is(sql, answer) ck_assert_str_eq(ask(sql), answer)

static inline void keep_line(void *ctx, const char *line)
{
    ag_buf_z(ctx, line);
    ag_buf_char(ctx, '\n');
}

/* What the check finds, a line each; "" where all is well. In the arena. */
static inline const char *findings(ag_store *s)
{
    ag_buf b = AG_BUF_INIT(1 << 20);
    agent_error e = AGENT_ERROR_INIT;
    agent_status rc = s->vt->check(s, keep_line, &b, &e);
    const char *text;

    ck_assert_msg(rc == AGENT_OK || rc == AGENT_ESTORAGE, "check: %s", e.text);
    ck_assert_int_eq(rc == AGENT_OK, b.n == 0);
    text = ag_arena_str(&arena, ag_buf_view(&b)).p;
    ag_buf_drop(&b);
    return text;
}

static inline bool count_rows(void *ctx, const agent_row *row)
{
    (void)row;
    ++*(int *)ctx;
    return true;
}

#endif
