/*
 * What is asked of the file after a crash, and of those who watched from outside.
 *
 * (1) agent_db_check: pages, indexes, foreign keys, and the invariants between rows.
 * (2) What was acknowledged is there, once: each key is the run that was told, each end is the end
 *     that was told.
 * (3) An effect happened once, or a second time after somebody approved it; its intent stood in the
 *     file before it happened.
 * (4) A session's turns are one after the other in the order of their runs, and each answer was
 *     made from the turn before it.
 * (5) The model never saw a history that an API would refuse.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash_kit.h"

enum { MOST = 8192 };

struct run_row {
    char key[48], status[16];
    char *output;
};

struct check {
    const struct crash_place *place;
    agent_engine *engine;
    struct run_row runs[MOST];
    int64_t last_run;
    struct effect {
        char id[64], status[16];
        int64_t run;
        bool is_effect;
    } effects[MOST];
    int effect_count;
    int approved[MOST]; /* of a run */
    /* the messages, as they are walked through */
    int64_t session, seq, run;
    char input[256], before[256];
    int found;
};

static void __attribute__((format(printf, 2, 3))) bad(struct check *c, const char *format, ...)
{
    va_list args;

    if (c->found++ > 20)
        return;
    (void)fputs("    ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

static const char *text_of(const agent_row *row, const char *column)
{
    const char *text = agent_row_text(row, agent_row_find(row, column), NULL);

    return text == NULL ? "" : text;
}

static int64_t number_of(const agent_row *row, const char *column)
{
    return agent_row_int(row, agent_row_find(row, column));
}

/* --- what the file says ----------------------------------------------------------------------------- */

static void on_finding(void *ctx, const char *text)
{
    bad(ctx, "db check: %s", text);
}

static bool on_run(void *ctx, const agent_row *row)
{
    struct check *c = ctx;
    int64_t id = number_of(row, "id");

    if (id <= 0 || id >= MOST) {
        bad(c, "a run has the id %lld", (long long)id);
        return true;
    }
    (void)snprintf(c->runs[id].key, sizeof(c->runs[id].key), "%s", text_of(row, "key"));
    (void)snprintf(c->runs[id].status, sizeof(c->runs[id].status), "%s", text_of(row, "status"));
    c->runs[id].output = strdup(text_of(row, "output"));
    c->last_run = id > c->last_run ? id : c->last_run;
    return true;
}

static bool on_call(void *ctx, const agent_row *row)
{
    struct check *c = ctx;
    struct effect *e = &c->effects[c->effect_count];

    if (c->effect_count >= MOST - 1 || *text_of(row, "effect_id") == '\0')
        return true;
    c->effect_count++;
    (void)snprintf(e->id, sizeof(e->id), "%s", text_of(row, "effect_id"));
    (void)snprintf(e->status, sizeof(e->status), "%s", text_of(row, "status"));
    e->run = number_of(row, "run_id");
    e->is_effect = strcmp(text_of(row, "effect"), "effect") == 0;
    return true;
}

static bool is_open(const char *status)
{
    return strcmp(status, "queued") == 0 || strcmp(status, "running") == 0 || strcmp(status, "waiting") == 0;
}

/* Session by session, in the order of their numbers. */
static bool on_message(void *ctx, const agent_row *row)
{
    struct check *c = ctx;
    int64_t session = number_of(row, "session_id"), seq = number_of(row, "seq"), run = number_of(row, "run_id");
    const char *role = text_of(row, "role");

    if (session != c->session) {
        c->session = session;
        c->seq = c->run = 0;
        c->input[0] = c->before[0] = '\0';
    }
    if (seq != c->seq + 1)
        bad(c, "session %lld: message %lld comes after %lld", (long long)session, (long long)seq, (long long)c->seq);
    c->seq = seq;
    if (run < c->run || (run == c->run) != (strcmp(role, "user") != 0))
        bad(c, "session %lld, message %lld: a %s of run %lld comes after one of run %lld", (long long)session,
            (long long)seq, role, (long long)run, (long long)c->run);
    c->run = run;
    if (strcmp(role, "user") == 0) {
        memcpy(c->before, c->input, sizeof(c->before));
        (void)snprintf(c->input, sizeof(c->input), "%s", text_of(row, "text"));
        if (run > 0 && run < MOST && strcmp(c->runs[run].status, "succeeded") == 0) {
            char start[600];

            (void)snprintf(start, sizeof(start), "to <%.200s> after <%.200s>", c->input, c->before);
            if (c->runs[run].output == NULL || strncmp(c->runs[run].output, start, strlen(start)) != 0)
                bad(c, "run %lld: the answer is '%.120s', not '%.120s'", (long long)run, c->runs[run].output, start);
        }
    }
    return true;
}

/* --- what those outside say ------------------------------------------------------------------------------ */

static void each_line(struct check *c, const char *file, void (*fn)(struct check *c, char *line))
{
    char path[256], line[512];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", c->place->dir, file);
    if ((f = fopen(path, "re")) == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        fn(c, line);
    }
    (void)fclose(f);
}

/* Whether a line of acks is true of the file. */
static bool holds(struct check *c, const char *what, const char *key, long long run, const char *status)
{
    const struct run_row *r = run > 0 && run < MOST ? &c->runs[run] : NULL;

    if (r == NULL || r->status[0] == '\0')
        return false;
    if (strcmp(key, "-") != 0 && strcmp(r->key, key) != 0)
        return false;
    return strcmp(what, "end") != 0 || strcmp(r->status, status) == 0;
}

/* Of each_ack's walk: may it end early, has it. */
static bool is_prefix, prefix_ended;

static void each_ack(struct check *c, char *line)
{
    char what[16] = "", key[48] = "", status[16] = "";
    long long run = 0;

    if (sscanf(line, "%15s %47s %lld %15s", what, key, &run, status) < 3) {
        bad(c, "acks: '%s'", line);
    } else if (strcmp(what, "approve") == 0) {
        if (run > 0 && run < MOST)
            c->approved[run]++;
    } else if (!holds(c, what, key, run, status)) {
        if (!is_prefix)
            bad(c, "acknowledged '%s', but run %lld is '%s' with key '%s'", line, run,
                run > 0 && run < MOST ? c->runs[run].status : "?", run > 0 && run < MOST ? c->runs[run].key : "?");
        prefix_ended = true;
    } else if (is_prefix && prefix_ended) {
        bad(c, "'%s' is there, though what was acknowledged before it is not", line);
    }
}

static struct effect *effect_of(struct check *c, const char *id)
{
    for (int i = 0; i < c->effect_count; i++)
        if (strcmp(c->effects[i].id, id) == 0)
            return &c->effects[i];
    return NULL;
}

static void each_intended(struct check *c, char *id)
{
    if (effect_of(c, id) == NULL)
        bad(c, "effect %s happened, and its call is not in the file", id);
}

static void each_bricked(struct check *c, char *line)
{
    bad(c, "the model was sent %s", line);
}

static int times[MOST];

static void count_effect(struct check *c, char *id)
{
    struct effect *e = effect_of(c, id);

    if (e != NULL)
        times[e - c->effects]++;
}

static void check_effects(struct check *c)
{
    memset(times, 0, sizeof(times));
    each_line(c, "acted", count_effect);
    for (int i = 0; i < c->effect_count; i++) {
        const struct effect *e = &c->effects[i];
        int most = 1 + (e->run > 0 && e->run < MOST ? c->approved[e->run] : 0);

        if (e->is_effect && times[i] > most)
            bad(c, "effect %s of run %lld happened %d times, approved %d times", e->id, (long long)e->run, times[i], most - 1);
        if (e->is_effect && strcmp(e->status, "succeeded") == 0 && times[i] == 0)
            bad(c, "effect %s of run %lld is told to have happened, and did not", e->id, (long long)e->run);
    }
}

static const char all_runs[] = "SELECT r.id, r.idempotency_key AS key, r.status, v.output"
                               "  FROM run r JOIN v_runs v ON v.id = r.id";

static int done(struct check *c)
{
    int found = c->found;

    agent_close(c->engine);
    for (int64_t i = 0; i <= c->last_run; i++)
        free(c->runs[i].output);
    free(c);
    return found;
}

static agent_engine *inspect(const struct crash_place *p, agent_error *err)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_engine *e = NULL;

    o.path = p->path;
    o.workers = 0;
    o.flags = AGENT_OPEN_INSPECT;
    return agent_open(&o, &e, err) == AGENT_OK ? e : NULL;
}

static bool on_number(void *ctx, const agent_row *row)
{
    *(long *)ctx = (long)agent_row_int(row, 0);
    return false;
}

long crash_ask(const struct crash_place *p, const char *sql)
{
    agent_engine *e = inspect(p, NULL);
    long number = -1;

    if (e != NULL)
        (void)agent_sql(e, sql, on_number, &number, NULL);
    agent_close(e);
    return number;
}

static bool on_line(void *ctx, const agent_row *row)
{
    const char *text = agent_row_text(row, 0, NULL);

    bad(ctx, "%s", text == NULL ? "?" : text);
    return true;
}

int crash_list(const struct crash_place *p, const char *sql)
{
    struct check *c = calloc(1, sizeof(*c));
    agent_error err = AGENT_ERROR_INIT;

    if (c == NULL)
        return 1;
    if ((c->engine = inspect(p, &err)) == NULL || agent_sql(c->engine, sql, on_line, c, &err) != AGENT_OK)
        bad(c, "%s", err.text);
    return done(c);
}

bool crash_lost(const struct crash_place *p)
{
    struct check *c = calloc(1, sizeof(*c));
    bool lost = true;

    if (c != NULL)
        c->place = p;
    if (c != NULL && (c->engine = inspect(p, NULL)) != NULL &&
        agent_sql(c->engine, all_runs, on_run, c, NULL) == AGENT_OK) {
        is_prefix = true;
        prefix_ended = false;
        each_line(c, "acks", each_ack);
        lost = prefix_ended;
    }
    if (c != NULL)
        done(c);
    return lost;
}

int crash_findings(const struct crash_place *p, enum crash_strictness how)
{
    struct check *c = calloc(1, sizeof(*c));
    agent_error err = AGENT_ERROR_INIT;

    if (c == NULL)
        return 1;
    c->place = p;
    if ((c->engine = inspect(p, &err)) == NULL) {
        if (how != CRASH_SOUND || strstr(err.text, "is empty") == NULL) /* not even its schema: the shortest beginning */
            bad(c, "open: %s", err.text);
    } else if (agent_db_check(c->engine, on_finding, c, &err) != AGENT_OK && c->found == 0) {
        bad(c, "db check: %s", err.text);
    } else if (agent_sql(c->engine, all_runs, on_run, c, &err) != AGENT_OK ||
               agent_scan(c->engine, AGENT_VIEW_TOOL_CALLS, NULL, on_call, c, &err) != AGENT_OK ||
               agent_scan(c->engine, AGENT_VIEW_MESSAGES, NULL, on_message, c, &err) != AGENT_OK) {
        bad(c, "read: %s", err.text);
    } else {
        is_prefix = how == CRASH_SOUND;
        prefix_ended = false;
        each_line(c, "acks", each_ack);
        each_line(c, "bricked", each_bricked);
        if (how != CRASH_SOUND && how != CRASH_ENDED_ANEW) {
            each_line(c, "acted", each_intended);
            each_line(c, "idem", each_intended);
            check_effects(c);
        }
        for (int64_t i = 1; i <= c->last_run && how >= CRASH_ENDED; i++)
            if (is_open(c->runs[i].status))
                bad(c, "run %lld is still %s", (long long)i, c->runs[i].status);
    }
    return done(c);
}
