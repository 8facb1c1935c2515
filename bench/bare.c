/*
 * Reading the rows of a file, and writing them again.
 *
 *  (1) All rows are in memory before the clock starts; texts are bound where they lie.
 *  (2) The pragmas are the engine's; checkpoints are SQLite's own, at 1000 pages, in the COMMIT.
 */
#include "bench/bare.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct cell {
    int type;
    int bytes;
    union {
        int64_t i;
        double r;
        char *text;
    };
};

/* Rows of a table in id order; column 0 is the id. */
struct rows {
    int columns;
    size_t count, room, next;
    struct cell *cells;
};

enum table { RUN, SESSION, MESSAGE, STEP, CALL, STAGE, TABLES };

/* The columns that are written, the id first. */
static const struct {
    const char *name, *columns;
} tables[TABLES] = {
    [RUN] = {"run", "id, agent_id, agent_version_id, session_id, priority, owner_id, attempt, input, options, "
                    "input_seq, trace_id, idempotency_key, queued_at_ms, started_at_ms, deadline_at_ms, status, "
                    "output_seq, ended_at_ms, queue_us, wall_us, input_tokens, output_tokens, cache_hit, "
                    "rss_peak_bytes, cancel_requested, error_status, error, hint"},
    [SESSION] = {"session", "id, agent_id, name, created_at_ms, last_at_ms, turns, messages, input_tokens, "
                            "output_tokens"},
    [MESSAGE] = {"message", "id, run_id, role, body, calls, extra, call_id, created_at_ms"},
    [STEP] = {"step", "id, attempt, started_at_ms, status, wall_us, input_tokens, output_tokens, cached_tokens, error, "
                      "cached"},
    [CALL] = {"tool_call", "id, model_step, call_id, tool, effect, effect_id, arguments, started_at_ms, status, "
                           "result, result_text_id, wall_us, child_rss_peak_bytes, decision"},
    [STAGE] = {"stage", "id, rows"},
};

enum { RUN_SESSION = 3, RUN_OWNER = 5, RUN_QUEUED = 12, RUN_STATUS = 15, RUN_ENDED = 17, RUN_IN_TOKENS = 20, RUN_OUT_TOKENS = 21 };
enum { MESSAGE_RUN = 1, MESSAGE_ROLE = 2 };

enum statement {
    BEGIN, COMMIT, RUN_INSERT, RUN_UPDATE, SESSION_INSERT, SESSION_UPDATE, AGENT_UPDATE, MESSAGE_INSERT, STEP_INSERT,
    STEP_UPDATE, CALL_INSERT, CALL_UPDATE, STAGE_INSERT, RUN_ENQUEUE, RUN_CLAIM, STATEMENTS
};

static const char *const statements[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [RUN_INSERT] = "INSERT INTO run (id, agent_id, agent_version_id, session_id, priority, owner_id, attempt, input, "
                   "options, input_seq, trace_id, idempotency_key, queued_at_ms, started_at_ms, deadline_at_ms, status) "
                   "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,'running')",
    [RUN_UPDATE] = "UPDATE run SET status=?2, output_seq=?3, ended_at_ms=?4, queue_us=?5, wall_us=?6, input_tokens=?7, "
                   "output_tokens=?8, cache_hit=?9, rss_peak_bytes=?10, owner_id=?11 WHERE id=?1",
    [SESSION_INSERT] = "INSERT INTO session (id, agent_id, name, created_at_ms, last_at_ms) VALUES (?1,?2,?3,?4,?4)",
    [SESSION_UPDATE] = "UPDATE session SET turns=turns+1, messages=messages+?2, input_tokens=input_tokens+?3, "
                       "output_tokens=output_tokens+?4, last_at_ms=?5 WHERE id=?1",
    [AGENT_UPDATE] = "UPDATE agent SET sessions=sessions+?2, runs=runs+1, last_run_at_ms=?3, last_session_id=?4 "
                     "WHERE id=?1",
    [MESSAGE_INSERT] = "INSERT INTO message (id, run_id, role, body, calls, extra, call_id, created_at_ms) "
                       "VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
    [STEP_INSERT] = "INSERT INTO step (id, attempt, started_at_ms, status) VALUES (?1,?2,?3,'running')",
    [STEP_UPDATE] = "UPDATE step SET status=?2, wall_us=?3, input_tokens=?4, output_tokens=?5, cached_tokens=?6, "
                    "error=?7, cached=?8 WHERE id=?1",
    [CALL_INSERT] = "INSERT INTO tool_call (id, model_step, call_id, tool, effect, effect_id, arguments, "
                    "started_at_ms, status) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,'intended')",
    [CALL_UPDATE] = "UPDATE tool_call SET status=?2, result=?3, result_text_id=?4, wall_us=?5, "
                    "child_rss_peak_bytes=?6 WHERE id=?1",
    [STAGE_INSERT] = "INSERT INTO stage (id, rows) VALUES (?1,?2)",
    [RUN_ENQUEUE] = "INSERT INTO run (id, agent_id, agent_version_id, session_id, priority, attempt, input, options, "
                    "trace_id, idempotency_key, queued_at_ms, status, ready) VALUES (?1,?2,?3,?4,?5,0,?8,?9,?11,?12,?13,"
                    "'queued',1)",
    [RUN_CLAIM] = "UPDATE run SET status='running', ready=0, owner_id=?6, attempt=?7, input_seq=?10, started_at_ms=?14, "
                  "deadline_at_ms=?15 WHERE id=?1",
};

struct writer {
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
    struct rows rows[TABLES];
    struct span {
        size_t at[TABLES], end[TABLES]; /* the rows of one run, of tables whose ids begin with it */
        size_t message, message_end;    /* its messages lie together in its session */
        bool first;                     /* of its session */
        int units;
    } *runs;
    bool queued;
    char *why;
};

static bool fail(char *why, const char *what, const char *reason)
{
    (void)snprintf(why, BENCH_WHY_MAX, "bare SQLite: %.200s: %.200s", what, reason);
    return false;
}

/* --- reading ------------------------------------------------------------------------------------------ */

static bool read_cell(sqlite3_stmt *st, int column, struct cell *c)
{
    const void *from;

    c->type = sqlite3_column_type(st, column);
    c->bytes = 0;
    c->i = 0;
    switch (c->type) {
    case SQLITE_INTEGER:
        c->i = sqlite3_column_int64(st, column);
        return true;
    case SQLITE_FLOAT:
        c->r = sqlite3_column_double(st, column);
        return true;
    case SQLITE_NULL:
        return true;
    default:
        from = c->type == SQLITE_BLOB ? sqlite3_column_blob(st, column) : (const void *)sqlite3_column_text(st, column);
        c->bytes = sqlite3_column_bytes(st, column);
        if ((c->text = malloc((size_t)c->bytes + 1)) == NULL)
            return false;
        if (c->bytes > 0)
            memcpy(c->text, from, (size_t)c->bytes);
        return true;
    }
}

static bool read_table(sqlite3 *db, enum table t, struct rows *r, char *why)
{
    char sql[800];
    sqlite3_stmt *st = NULL;
    bool ok = true;

    (void)snprintf(sql, sizeof(sql), "SELECT %s FROM %s ORDER BY id", tables[t].columns, tables[t].name);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        return fail(why, sql, sqlite3_errmsg(db));
    r->columns = sqlite3_column_count(st);
    while (ok && sqlite3_step(st) == SQLITE_ROW) {
        if (r->count == r->room) {
            struct cell *more;

            r->room = r->room != 0 ? r->room * 2 : 256;
            more = realloc(r->cells, r->room * (size_t)r->columns * sizeof(*more));
            if (more == NULL) {
                ok = false;
                break;
            }
            r->cells = more;
        }
        for (int i = 0; i < r->columns && ok; i++)
            ok = read_cell(st, i, &r->cells[r->count * (size_t)r->columns + (size_t)i]);
        r->count += ok;
    }
    ok = sqlite3_finalize(st) == SQLITE_OK && ok;
    return ok || fail(why, tables[t].name, sqlite3_errmsg(db));
}

static struct cell *row_at(struct rows *r, size_t i)
{
    return &r->cells[i * (size_t)r->columns];
}

static int64_t id_at(struct rows *r, size_t i)
{
    return r->cells[i * (size_t)r->columns].i;
}

static void free_rows(struct rows *r)
{
    for (size_t i = 0; i < r->count * (size_t)r->columns; i++)
        if (r->cells[i].type == SQLITE_TEXT || r->cells[i].type == SQLITE_BLOB)
            free(r->cells[i].text);
    free(r->cells);
}

#define STEP_BITS 12
#define SEQ_BITS  24

/* Which rows are whose: steps, calls and stages by run, messages by session. */
static bool deal(struct writer *w)
{
    struct rows *runs = &w->rows[RUN];
    int64_t *next_message; /* by session: where its unread messages begin */
    size_t sessions = w->rows[SESSION].count, m = 0;
    static const enum table by_run[] = {STEP, CALL, STAGE};

    w->runs = calloc(runs->count + 1, sizeof(*w->runs));
    next_message = calloc(sessions + 1, sizeof(*next_message));
    if (w->runs == NULL || next_message == NULL) {
        free(next_message);
        return fail(w->why, "rows", "out of memory");
    }
    for (size_t s = 0; s < sessions; s++) {
        next_message[s] = (int64_t)m;
        while (m < w->rows[MESSAGE].count && id_at(&w->rows[MESSAGE], m) >> SEQ_BITS == id_at(&w->rows[SESSION], s))
            m++;
    }
    next_message[sessions] = (int64_t)m;
    for (size_t i = 0; i < runs->count; i++) {
        struct span *x = &w->runs[i];
        int64_t run = id_at(runs, i), session = row_at(runs, i)[RUN_SESSION].i;
        size_t low = 0, high = sessions;

        for (size_t k = 0; k < 3; k++) {
            struct rows *r = &w->rows[by_run[k]];

            x->at[by_run[k]] = r->next;
            while (r->next < r->count && id_at(r, r->next) >> STEP_BITS == run)
                r->next++;
            x->end[by_run[k]] = r->next;
        }
        while (low + 1 < high) {
            size_t middle = (low + high) / 2;

            if (id_at(&w->rows[SESSION], middle) <= session)
                low = middle;
            else
                high = middle;
        }
        x->first = next_message[low] == 0 || id_at(&w->rows[MESSAGE], (size_t)next_message[low] - 1) >> SEQ_BITS != session;
        x->message = (size_t)next_message[low];
        while ((size_t)next_message[low] < w->rows[MESSAGE].count &&
               row_at(&w->rows[MESSAGE], (size_t)next_message[low])[MESSAGE_RUN].i == run)
            next_message[low]++;
        x->message_end = (size_t)next_message[low];
        x->units = w->queued ? 3 : x->at[CALL] < x->end[CALL] ? 4 : 2;
        x->at[SESSION] = low;
    }
    free(next_message);
    return true;
}

/* --- writing --------------------------------------------------------------------------------------------- */

static void bind(sqlite3_stmt *st, int place, const struct cell *c)
{
    switch (c->type) {
    case SQLITE_INTEGER:
        (void)sqlite3_bind_int64(st, place, c->i);
        break;
    case SQLITE_FLOAT:
        (void)sqlite3_bind_double(st, place, c->r);
        break;
    case SQLITE_TEXT:
        (void)sqlite3_bind_text(st, place, c->text, c->bytes, SQLITE_STATIC);
        break;
    case SQLITE_BLOB:
        (void)sqlite3_bind_blob(st, place, c->text, c->bytes, SQLITE_STATIC);
        break;
    default:
        (void)sqlite3_bind_null(st, place);
        break;
    }
}

static bool step(struct writer *w, enum statement s)
{
    int rc = sqlite3_step(w->st[s]);

    (void)sqlite3_reset(w->st[s]);
    return rc == SQLITE_DONE || fail(w->why, statements[s], sqlite3_errmsg(w->db));
}

/* Columns `from` to `from + n` of a row as ?place … */
static void bind_some(sqlite3_stmt *st, int place, const struct cell *row, int from, int n)
{
    for (int i = 0; i < n; i++)
        bind(st, place + i, &row[from + i]);
}

static bool insert(struct writer *w, enum statement s, enum table t, size_t i, int columns)
{
    bind_some(w->st[s], 1, row_at(&w->rows[t], i), 0, columns);
    return step(w, s);
}

static bool insert_stage(struct writer *w, struct span *x, bool all)
{
    while (x->at[STAGE] < x->end[STAGE]) {
        if (!insert(w, STAGE_INSERT, STAGE, x->at[STAGE]++, 2))
            return false;
        if (!all)
            break;
    }
    return true;
}

static bool end_step(struct writer *w, struct span *x)
{
    const struct cell *row = row_at(&w->rows[STEP], x->at[STEP]++);

    bind(w->st[STEP_UPDATE], 1, &row[0]);
    bind_some(w->st[STEP_UPDATE], 2, row, 3, 7);
    return step(w, STEP_UPDATE);
}

/* A run with its session, as it came. */
static bool arrive(struct writer *w, size_t i, enum statement insert_run)
{
    struct span *x = &w->runs[i];
    const struct cell *run = row_at(&w->rows[RUN], i), *session = row_at(&w->rows[SESSION], x->at[SESSION]);
    sqlite3_stmt *st;

    if (x->first && !(bind_some(w->st[SESSION_INSERT], 1, session, 0, 4), step(w, SESSION_INSERT)))
        return false;
    st = w->st[AGENT_UPDATE];
    bind(st, 1, &run[1]);
    (void)sqlite3_bind_int(st, 2, x->first);
    bind(st, 3, &run[RUN_QUEUED]);
    bind(st, 4, &run[RUN_SESSION]);
    return step(w, AGENT_UPDATE) && insert(w, insert_run, RUN, i, insert_run == RUN_ENQUEUE ? 13 : 15);
}

static bool begin_run(struct writer *w, size_t i)
{
    struct span *x = &w->runs[i];

    return insert(w, MESSAGE_INSERT, MESSAGE, x->message++, 8) && insert(w, STEP_INSERT, STEP, x->at[STEP], 3);
}

static bool create_unit(struct writer *w, size_t i)
{
    return arrive(w, i, RUN_INSERT) && begin_run(w, i);
}

static bool claim_unit(struct writer *w, size_t i)
{
    return insert(w, RUN_CLAIM, RUN, i, 15) && begin_run(w, i);
}

/* The answer that asks for tools, and the intents. */
static bool intent_unit(struct writer *w, size_t i)
{
    struct span *x = &w->runs[i];

    if (!end_step(w, x) || !insert(w, MESSAGE_INSERT, MESSAGE, x->message++, 8))
        return false;
    for (size_t c = x->at[CALL]; c < x->end[CALL]; c++)
        if (!insert(w, CALL_INSERT, CALL, c, 8))
            return false;
    return insert_stage(w, x, false);
}

static bool results_unit(struct writer *w, size_t i)
{
    struct span *x = &w->runs[i];

    for (; x->at[CALL] < x->end[CALL]; x->at[CALL]++) {
        const struct cell *row = row_at(&w->rows[CALL], x->at[CALL]);

        bind(w->st[CALL_UPDATE], 1, &row[0]);
        bind_some(w->st[CALL_UPDATE], 2, row, 8, 5);
        if (!step(w, CALL_UPDATE) || !insert(w, MESSAGE_INSERT, MESSAGE, x->message++, 8))
            return false;
    }
    return insert(w, STEP_INSERT, STEP, x->at[STEP], 3) && insert_stage(w, x, false);
}

static bool finish_unit(struct writer *w, size_t i, int messages)
{
    struct span *x = &w->runs[i];
    const struct cell *run = row_at(&w->rows[RUN], i);
    sqlite3_stmt *st = w->st[RUN_UPDATE];

    while (x->at[STEP] < x->end[STEP])
        if (!end_step(w, x))
            return false;
    while (x->message < x->message_end)
        if (!insert(w, MESSAGE_INSERT, MESSAGE, x->message++, 8))
            return false;
    bind(st, 1, &run[0]);
    bind_some(st, 2, run, RUN_STATUS, 9);
    bind(st, 11, &run[RUN_OWNER]);
    if (!insert_stage(w, x, true) || !step(w, RUN_UPDATE))
        return false;
    st = w->st[SESSION_UPDATE];
    bind(st, 1, &run[RUN_SESSION]);
    (void)sqlite3_bind_int(st, 2, messages);
    bind(st, 3, &run[RUN_IN_TOKENS]);
    bind(st, 4, &run[RUN_OUT_TOKENS]);
    bind(st, 5, &run[RUN_ENDED]);
    return step(w, SESSION_UPDATE);
}

static bool write_unit(struct writer *w, size_t i, int unit, int messages)
{
    if (unit == 0)
        return w->queued ? arrive(w, i, RUN_ENQUEUE) : create_unit(w, i);
    if (unit == 1 && w->queued)
        return claim_unit(w, i);
    if (unit == w->runs[i].units - 1)
        return finish_unit(w, i, messages);
    return unit == 1 ? intent_unit(w, i) : results_unit(w, i);
}

static bool write_all(struct writer *w, const struct bare *b, struct bare_result *out)
{
    size_t runs = b->most > 0 && (size_t)b->most < w->rows[RUN].count ? (size_t)b->most : w->rows[RUN].count, group = b->in_flight > 0 ? (size_t)b->in_flight : 1;
    double owed = 0; /* units that the open transaction may still take */
    bool open = false;

    if (b->batch == 0)
        group = 1;
    for (size_t first = 0; first < runs; first += group) {
        size_t end = first + group < runs ? first + group : runs;

        for (int unit = 0, more = 1; more; unit++) {
            more = 0;
            for (size_t i = first; i < end; i++) {
                int units = w->runs[i].units;

                if (unit >= units || (b->parts > 0 && (int)(i % (size_t)b->parts) != b->part))
                    continue;
                more |= unit + 1 < units;
                if (!open) {
                    if (!step(w, BEGIN))
                        return false;
                    open = true;
                    owed += b->batch == 0 ? (double)units : b->batch;
                }
                if (!write_unit(w, i, unit,
                                (int)(w->runs[i].end[MESSAGE] - w->runs[i].at[MESSAGE])))
                    return false;
                out->units++;
                out->runs += unit == 0;
                owed -= 1;
                if (owed < 1) {
                    if (!step(w, COMMIT))
                        return false;
                    out->commits++;
                    open = false;
                }
            }
        }
    }
    if (open && !step(w, COMMIT))
        return false;
    out->commits += open;
    return true;
}

/* --- comparing --------------------------------------------------------------------------------------------- */

static bool one_figure(sqlite3 *db, const char *sql, int64_t *out, char *why)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;

    if (ok)
        *out = sqlite3_column_int64(st, 0);
    else
        (void)fail(why, sql, sqlite3_errmsg(db));
    (void)sqlite3_finalize(st);
    return ok;
}

/* Rows and bytes of a table: the sum of the lengths of all that is written. */
static bool weigh(sqlite3 *db, enum table t, int64_t *count, int64_t *bytes, char *why)
{
    char sql[2000], columns[800], *save = NULL;
    size_t n;

    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", tables[t].name);
    if (!one_figure(db, sql, count, why))
        return false;
    n = (size_t)snprintf(sql, sizeof(sql), "SELECT total(0");
    (void)snprintf(columns, sizeof(columns), "%s", tables[t].columns);
    for (char *c = strtok_r(columns, ", ", &save); c != NULL && n < sizeof(sql); c = strtok_r(NULL, ", ", &save))
        n += (size_t)snprintf(sql + n, sizeof(sql) - n, " + ifnull(length(%s), 0)", c);
    if (n >= sizeof(sql))
        return fail(why, tables[t].name, "too many columns");
    (void)snprintf(sql + n, sizeof(sql) - n, ") FROM %s", tables[t].name);
    return one_figure(db, sql, bytes, why);
}

static bool compare(sqlite3 *from, sqlite3 *to, char *why)
{
    for (int t = 0; t < TABLES; t++) {
        int64_t rows[2], bytes[2];

        if (!weigh(from, (enum table)t, &rows[0], &bytes[0], why) || !weigh(to, (enum table)t, &rows[1], &bytes[1], why))
            return false;
        if (rows[0] != rows[1] || bytes[0] != bytes[1]) {
            (void)snprintf(why, BENCH_WHY_MAX, "table %s: the engine wrote %lld rows of %lld bytes, bare SQLite %lld of %lld",
                           tables[t].name, (long long)rows[0], (long long)bytes[0], (long long)rows[1],
                           (long long)bytes[1]);
            return false;
        }
    }
    return true;
}

/* --- all of it ----------------------------------------------------------------------------------------------- */

static bool open_to(struct writer *w, const struct bare *b)
{
    char pragmas[200];

    (void)snprintf(pragmas, sizeof(pragmas),
                   "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA foreign_keys=ON; PRAGMA cache_size=-8000;"
                   "PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF", b->normal ? "NORMAL" : "FULL");
    if (sqlite3_open_v2(b->to, &w->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(w->db, b->parts > 1 ? 60000 : 0) != SQLITE_OK ||
        sqlite3_exec(w->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return fail(w->why, b->to, w->db != NULL ? sqlite3_errmsg(w->db) : "out of memory");
    for (int s = 0; s < STATEMENTS; s++)
        if (sqlite3_prepare_v3(w->db, statements[s], -1, SQLITE_PREPARE_PERSISTENT, &w->st[s], NULL) != SQLITE_OK)
            return fail(w->why, statements[s], sqlite3_errmsg(w->db));
    return true;
}

bool bare_write(const struct bare *b, struct bare_result *out, char *why)
{
    struct writer w = {.queued = b->queued, .why = why};
    sqlite3 *from = NULL;
    int64_t began_ns = 0;
    double cpu = 0;
    bool ok = true;

    if (sqlite3_open_v2(b->from, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        ok = fail(why, b->from, "cannot be opened");
    (void)sqlite3_busy_timeout(from, b->parts > 1 ? 60000 : 0); /* the others open and close it too */
    for (int t = 0; t < TABLES && ok; t++)
        ok = read_table(from, (enum table)t, &w.rows[t], why);
    ok = ok && deal(&w) && open_to(&w, b);
    for (size_t i = 0; ok && i < w.rows[RUN].count; i++) { /* remembered, for the places move on */
        w.runs[i].at[MESSAGE] = w.runs[i].message;
        w.runs[i].end[MESSAGE] = w.runs[i].message_end;
    }
    if (ok) {
        if (b->ready != NULL)
            b->ready(b->ctx);
        cpu = bench_cpu_s();
        began_ns = bench_now_ns();
        ok = write_all(&w, b, out);
        out->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
        out->cpu_s = bench_cpu_s() - cpu;
    }
    ok = ok && (b->parts > 0 || out->runs < (long)w.rows[RUN].count || compare(from, w.db, why));
    for (int s = 0; s < STATEMENTS; s++)
        (void)sqlite3_finalize(w.st[s]);
    (void)sqlite3_close(w.db);
    (void)sqlite3_close(from);
    for (int t = 0; t < TABLES; t++)
        free_rows(&w.rows[t]);
    free(w.runs);
    return ok;
}

bool bare_compare(const char *from, const char *to, char *why)
{
    sqlite3 *db[2] = {NULL, NULL};
    bool ok = true;

    for (int i = 0; i < 2 && ok; i++)
        ok = sqlite3_open_v2(i == 0 ? from : to, &db[i], SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK ||
             fail(why, i == 0 ? from : to, "cannot be opened");
    ok = ok && compare(db[0], db[1], why);
    (void)sqlite3_close(db[0]);
    (void)sqlite3_close(db[1]);
    return ok;
}

/* --- watching the wal-index ------------------------------------------------------------------------------------ */

enum { CHANGE_AT = 8, FRAMES_AT = 16 }; /* of struct WalIndexHdr (walformat.html), native byte order */

static uint32_t header_word(const struct watch *w, int at)
{
    return *(volatile const uint32_t *)(volatile const void *)(w->header + at);
}

bool watch_open(struct watch *w, const char *path, char *why)
{
    sqlite3_file *file = NULL;
    volatile void *page = NULL;

    *w = (struct watch){0};
    if (sqlite3_open_v2(path, &w->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK ||
        sqlite3_exec(w->db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_file_control(w->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file->pMethods->iVersion < 2 || file->pMethods->xShmMap(file, 0, 32768, 0, &page) != SQLITE_OK || page == NULL) {
        (void)sqlite3_close(w->db);
        w->db = NULL;
        return fail(why, path, "its wal-index cannot be watched");
    }
    w->header = page;
    w->commits = header_word(w, CHANGE_AT);
    w->frames = header_word(w, FRAMES_AT);
    return true;
}

void watch_close(struct watch *w)
{
    (void)sqlite3_close(w->db);
    w->db = NULL;
}

uint32_t watch_commits(struct watch *w)
{
    uint32_t now = header_word(w, CHANGE_AT), since = now - w->commits;

    w->commits = now;
    return since;
}

uint32_t watch_frames(struct watch *w)
{
    uint32_t now = header_word(w, FRAMES_AT), since = now >= w->frames ? now - w->frames : now;

    w->frames = now;
    return since;
}
