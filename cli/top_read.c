/*
 * Reading what goes on. Each query is cheap by an index that it names in its comment. (top.h (1))
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/owners.h"
#include "cli/rows.h"
#include "cli/top.h"

static int64_t known(const agent_row *row, int column)
{
    return agent_row_type(row, column) == AGENT_VALUE_NULL ? UNKNOWN : agent_row_int(row, column);
}

static char *copy_of(const agent_row *row, int column)
{
    size_t n = 0;
    const char *text = agent_row_text(row, column, &n);
    char *copy = cli_alloc(n + 1);

    if (text != NULL)
        memcpy(copy, text, n);
    copy[text == NULL ? 0 : n] = '\0';
    return copy;
}

static void copy_into(char *to, size_t cap, const agent_row *row, int column)
{
    size_t n = 0;
    const char *text = agent_row_text(row, column, &n);

    n = text == NULL ? 0 : n < cap ? n : cap - 1;
    if (n > 0)
        memcpy(to, text, n);
    to[n] = '\0';
}

/* --- runs ------------------------------------------------------------------------------------------------------- */

static bool take_queue(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    int64_t priority = agent_row_int(row, 1), count = agent_row_int(row, 2);

    t->queued[priority > 0 ? 0 : priority == 0 ? 1 : 2] += count;
    if (agent_row_int(row, 0) != 0)
        t->ready += count;
    return true;
}

static bool take_open(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    size_t n;
    const char *status = agent_row_text(row, 0, &n);

    if (status != NULL && strcmp(status, "running") == 0)
        t->running = agent_row_int(row, 1);
    else if (status != NULL && strcmp(status, "waiting") == 0)
        t->waiting = agent_row_int(row, 1);
    return true;
}

static bool take_newest(void *ctx, const agent_row *row)
{
    struct top *t = ctx;

    t->newest_run = agent_row_int(row, 0);
    for (int i = 0; i < 3; i++)
        t->of_newest[i] = agent_row_int(row, 1 + i);
    t->last_minute = agent_row_int(row, 4);
    return false;
}

static bool take_run(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { ID, OWNER, STARTED, AGENT, INPUT };
    struct top_run *run = &t->runs[t->run_count++];

    *run = (struct top_run){
        .id = agent_row_int(row, ID), .owner_id = known(row, OWNER), .started_at_ms = known(row, STARTED), .stage = STAGE_OTHER,
    };
    run->agent = copy_of(row, AGENT);
    run->input = copy_of(row, INPUT);
    return t->run_count < TOP_RUNS;
}

/* The file knows of a stage only what was committed: an open call, a chunk of an answer, an open step. */
static bool take_stage(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { ID, CALL, CHUNK, STEP };
    enum stage stage = agent_row_int(row, CALL) != 0    ? STAGE_TOOL
                       : agent_row_int(row, CHUNK) != 0 ? STAGE_RESPOND
                       : agent_row_int(row, STEP) != 0  ? STAGE_INFER
                                                        : STAGE_OTHER;

    t->stage_runs[stage]++;
    for (int i = 0; i < t->run_count; i++)
        if (t->runs[i].id == agent_row_int(row, ID))
            t->runs[i].stage = stage;
    return true;
}

static bool take_error(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { ID, ENDED, AGENT, ERROR };
    struct top_error *error = &t->errors[t->error_count++];

    *error = (struct top_error){.id = agent_row_int(row, ID), .ended_at_ms = known(row, ENDED)};
    error->agent = copy_of(row, AGENT);
    error->error = copy_of(row, ERROR);
    return t->error_count < TOP_ERRORS;
}

static bool take_responses(void *ctx, const agent_row *row)
{
    ((struct top *)ctx)->responses = agent_row_int(row, 0);
    return false;
}

/* By id, the newest first: what an owner said before counts no more. */
static bool take_notice(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { OWNER, AT, LEVEL, RSS, LIMIT, TEXT };
    struct top_notice *notice = &t->notices[t->notice_count];

    for (int i = 0; i < t->notice_count; i++)
        if (t->notices[i].owner_id == agent_row_int(row, OWNER))
            return true;
    *notice = (struct top_notice){
        .owner_id = agent_row_int(row, OWNER), .at_ms = known(row, AT), .level = agent_row_int(row, LEVEL),
        .rss_bytes = known(row, RSS), .limit_bytes = known(row, LIMIT),
    };
    notice->text = copy_of(row, TEXT);
    return ++t->notice_count < TOP_NOTICES;
}

/* --- owners ---------------------------------------------------------------------------------------------------------- */

static bool take_owner(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { ID, HOST, BOOT, PID, PID_START, STARTED };
    struct top_owner *owner;

    if (t->owner_count == TOP_OWNERS) {
        t->more_owners++;
        return true;
    }
    owner = &t->owners[t->owner_count++];
    *owner = (struct top_owner){
        .id = agent_row_int(row, ID), .pid = agent_row_int(row, PID), .pid_start = agent_row_int(row, PID_START),
        .started_at_ms = known(row, STARTED), .rss_bytes = UNKNOWN, .heap_bytes = UNKNOWN, .live_at_ms = UNKNOWN,
    };
    copy_into(owner->host, sizeof(owner->host), row, HOST);
    copy_into(owner->boot_id, sizeof(owner->boot_id), row, BOOT);
    return true;
}

static struct top_owner *owner_of(struct top *t, int64_t id)
{
    for (int i = 0; i < t->owner_count; i++)
        if (t->owners[i].id == id)
            return &t->owners[i];
    return NULL;
}

static bool take_owned(void *ctx, const agent_row *row)
{
    struct top_owner *owner = owner_of(ctx, agent_row_int(row, 0));

    if (owner != NULL)
        owner->runs = agent_row_int(row, 1);
    return true;
}

static void ask_alive(struct top *t, const char *db_path)
{
    int fd = owners_open(db_path);

    for (int i = 0; i < t->owner_count; i++)
        t->owners[i].is_known = owners_ask(fd, t->owners[i].id, &t->owners[i].is_alive);
    if (fd >= 0)
        (void)close(fd);
}

static size_t read_small(const char *path, char *text, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, cap - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* Field 22 of /proc/PID/stat tells this process from a later one with its number. */
static bool is_same_process(int64_t pid, int64_t start)
{
    char path[64], text[1024], *p;
    long long ticks;

    (void)snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
    if (read_small(path, text, sizeof(text)) == 0 || (p = strrchr(text, ')')) == NULL)
        return false;
    for (int field = 2; field < 22 && p != NULL; field++)
        p = strchr(p + 1, ' ');
    return p != NULL && sscanf(p, "%lld", &ticks) == 1 && ticks == start;
}

static void ask_memory(struct top *t)
{
    char host[65] = "", boot[40], path[64], text[256];
    long long size, resident;

    (void)gethostname(host, sizeof(host) - 1);
    (void)read_small("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    boot[strcspn(boot, "\n")] = '\0';
    for (int i = 0; i < t->owner_count; i++) {
        struct top_owner *owner = &t->owners[i];

        owner->is_here = boot[0] != '\0' && strcmp(boot, owner->boot_id) == 0 && strcmp(host, owner->host) == 0;
        if (!owner->is_alive || !owner->is_here || !is_same_process(owner->pid, owner->pid_start))
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%lld/statm", (long long)owner->pid);
        if (read_small(path, text, sizeof(text)) > 0 && sscanf(text, "%lld %lld", &size, &resident) == 2)
            owner->rss_bytes = resident * sysconf(_SC_PAGESIZE);
    }
}

/* A dead process without runs is only a row that nobody has cleared yet. */
static void forget_idle_dead(struct top *t)
{
    int kept = 0;

    for (int i = 0; i < t->owner_count; i++)
        if (t->owners[i].is_alive || !t->owners[i].is_known || t->owners[i].runs > 0)
            t->owners[kept++] = t->owners[i];
    t->owner_count = kept;
}

/* What the dead did about memory is of no use now. */
static void forget_notices(struct top *t)
{
    int kept = 0;

    for (int i = 0; i < t->notice_count; i++) {
        const struct top_owner *owner = owner_of(t, t->notices[i].owner_id);

        if (owner != NULL && owner->is_alive && t->notices[i].level > 0)
            t->notices[kept++] = t->notices[i];
        else
            free(t->notices[i].text);
    }
    t->notice_count = kept;
}

/* --- what owners tell once a second ----------------------------------------------------------------------------------- */

static int64_t number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : UNKNOWN;
}

static void add_known(int64_t *sum, int64_t v)
{
    if (v != UNKNOWN)
        *sum = *sum == UNKNOWN ? v : *sum + v;
}

static void read_stages(struct top *t, const char *text)
{
    json_t *stages = json_loads(text, 0, NULL);
    const char *word;
    json_t *value;

    json_object_foreach(stages, word, value) {
        enum stage stage = stage_of(word, strlen(word));

        add_known(&t->stage_runs[stage], number_in(value, "runs"));
        add_known(&t->stage_heap[stage], number_in(value, "heap_bytes"));
    }
    json_decref(stages);
}

static void read_cache(struct top *t, const char *text)
{
    json_t *cache = json_loads(text, 0, NULL);

    add_known(&t->cache_entries, number_in(cache, "entries"));
    add_known(&t->cache_bytes, number_in(cache, "held_bytes"));
    add_known(&t->cache_budget, number_in(cache, "budget_bytes"));
    add_known(&t->cache_gets, number_in(cache, "gets"));
    add_known(&t->cache_hits, number_in(cache, "hits"));
    json_decref(cache);
}

/* The row of a dead owner says what was: it is left out. */
static bool take_live(void *ctx, const agent_row *row)
{
    struct top *t = ctx;
    enum { OWNER, AT, RSS, HEAP, STAGES, CACHE };
    struct top_owner *owner = owner_of(t, agent_row_int(row, OWNER));
    char *text;

    if (owner == NULL || !owner->is_alive)
        return true;
    owner->live_at_ms = known(row, AT);
    owner->heap_bytes = known(row, HEAP);
    if (owner->rss_bytes == UNKNOWN)
        owner->rss_bytes = known(row, RSS);
    text = copy_of(row, STAGES);
    read_stages(t, text);
    free(text);
    text = copy_of(row, CACHE);
    read_cache(t, text);
    free(text);
    return true;
}

/* --- all of it ------------------------------------------------------------------------------------------------------------ */

#define SPAN(r) r ".id << 12 AND " r ".id << 12 | 4095"

static const struct query {
    const char *sql;
    agent_row_fn take;
} queries[] = {
    /* run_queue covers it */
    {"SELECT ready, priority, count(*) FROM run WHERE status = 'queued' OR ready = 1 GROUP BY 1, 2", take_queue},
    /* run_open; a row is looked at for each open run */
    {"SELECT status, count(*) FROM run WHERE ended_at_ms IS NULL AND status <> 'queued' GROUP BY 1", take_open},
    /* run_open covers it */
    {"SELECT owner_id, count(*) FROM run WHERE ended_at_ms IS NULL AND owner_id IS NOT NULL GROUP BY 1", take_owned},
    {"SELECT r.id, r.owner_id, r.started_at_ms, (SELECT a.name FROM agent a WHERE a.id = r.agent_id),"
     " substr(r.input, 1, 200)"
     " FROM run r WHERE r.ended_at_ms IS NULL AND r.owner_id IS NOT NULL AND r.status = 'running'"
     " ORDER BY r.started_at_ms LIMIT 20", take_run},
    /* from the newest backward, by the primary key */
    {"SELECT max(id), total(status = 'succeeded'), total(status = 'failed'), total(status = 'cancelled'),"
     " total(ended_at_ms > unixepoch() * 1000 - 60000)"
     " FROM (SELECT id, status, ended_at_ms FROM run ORDER BY id DESC LIMIT 1000)", take_newest},
    {"SELECT r.id, r.ended_at_ms, (SELECT a.name FROM agent a WHERE a.id = r.agent_id), substr(r.error, 1, 300)"
     " FROM (SELECT * FROM run ORDER BY id DESC LIMIT 1000) r WHERE r.status = 'failed' ORDER BY r.id DESC LIMIT 5",
     take_error},
    {"SELECT count(*) FROM (SELECT 1 FROM cache LIMIT 100000)", take_responses},
    /* by the primary key; there are at most some hundred */
    {"SELECT owner_id, at_ms, level, rss_bytes, limit_bytes, text FROM notice"
     " WHERE kind = 'pressure' AND owner_id IS NOT NULL ORDER BY id DESC", take_notice},
};

static const char live_sql[] = "SELECT owner_id, at_ms, rss_bytes, heap_bytes, stages, cache FROM live";

/* By ranges of the primary keys of tool_call, journal and step. */
static const char stages_sql[] =
    "SELECT r.id, EXISTS (SELECT 1 FROM tool_call c WHERE c.id BETWEEN " SPAN("r")
    " AND (c.status = 'intended' OR c.status = 'running')),"
    " EXISTS (SELECT 1 FROM journal j WHERE j.id BETWEEN r.id << 21 AND r.id << 21 | 2097151),"
    " EXISTS (SELECT 1 FROM step s WHERE s.id BETWEEN " SPAN("r") " AND s.status = 'running')"
    " FROM (SELECT id FROM run WHERE ended_at_ms IS NULL AND owner_id IS NOT NULL AND status = 'running' LIMIT 2000) r";

static const char owners_sql[] =
    "SELECT id, host, boot_id, pid, pid_start, started_at_ms FROM owner ORDER BY id DESC";

agent_status top_read(struct cli *cli, struct top *out, agent_error *err)
{
    struct timespec now;
    struct top t = {0};
    int64_t told = 0;
    agent_status rc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    t.at_ms = now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
    t.cache_entries = t.cache_bytes = t.cache_budget = t.cache_gets = t.cache_hits = UNKNOWN;
    for (int s = 0; s < STAGE_COUNT; s++)
        t.stage_heap[s] = UNKNOWN;
    rc = agent_sql(cli->engine, owners_sql, take_owner, &t, err);
    for (size_t i = 0; rc == AGENT_OK && i < sizeof(queries) / sizeof(queries[0]); i++)
        rc = agent_sql(cli->engine, queries[i].sql, queries[i].take, &t, err);
    if (rc == AGENT_OK) {
        ask_alive(&t, cli->db_path);
        forget_idle_dead(&t);
        forget_notices(&t);
        ask_memory(&t);
        rc = agent_sql(cli->engine, live_sql, take_live, &t, err);
    }
    for (int i = 0; i < STAGE_COUNT; i++)
        told += t.stage_runs[i];
    if (rc == AGENT_OK && t.running > 0) {
        struct top looked = {.run_count = t.run_count};

        memcpy(looked.runs, t.runs, sizeof(t.runs));
        rc = agent_sql(cli->engine, stages_sql, take_stage, &looked, err);
        memcpy(t.runs, looked.runs, sizeof(t.runs));
        if (told < t.running) { /* what owners tell has more stages; but some have not told yet */
            memcpy(t.stage_runs, looked.stage_runs, sizeof(t.stage_runs));
            t.stage_runs[STAGE_OTHER] += t.running > TOP_STAGED ? t.running - TOP_STAGED : 0;
        }
    }
    if (rc != AGENT_OK) {
        top_drop(&t);
        return rc;
    }
    *out = t;
    return AGENT_OK;
}

void top_drop(struct top *t)
{
    for (int i = 0; i < t->run_count; i++) {
        free(t->runs[i].agent);
        free(t->runs[i].input);
    }
    for (int i = 0; i < t->error_count; i++) {
        free(t->errors[i].agent);
        free(t->errors[i].error);
    }
    for (int i = 0; i < t->notice_count; i++)
        free(t->notices[i].text);
    *t = (struct top){0};
}
