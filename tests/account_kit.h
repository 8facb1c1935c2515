/*
 * For the suites that measure runs: an engine on a temporary folder, runs of an offline agent, and
 * their stage rows as numbers.
 */
#ifndef ACCOUNT_KIT_H
#define ACCOUNT_KIT_H

#include <agent/agent.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define SANITIZED 1 /* RSS is the sanitizer's, and everything is slow */
#else
#define SANITIZED 0
#endif

#define MB ((int64_t)1 << 20)
#define UNKNOWN INT64_MIN /* NULL */

static agent_engine *engine;
static agent_error err;
static char dir[96], path[128];

static void folder_make(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%.60s/agent-measure.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/agent.db", dir);
    engine = NULL;
}

static void folder_remove(void)
{
    char command[160];

    agent_close(engine);
    engine = NULL;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static inline void engine_open(agent_options o)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

    o.flags |= AGENT_OPEN_CREATE;
    o.tool_env = env;
    ck_assert_msg(agent_open(&o, &engine, &err) == AGENT_OK, "%s", err.text);
}

static inline void agent_make(const char *name, const char *options, const char *tool)
{
    const char *tools[] = {tool};
    agent_config c = AGENT_CONFIG_INIT;

    c.options = options;
    c.tools = tools;
    c.tool_count = tool != NULL ? 1 : 0;
    ck_assert_msg(agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
}

static inline void tool_make(const char *name, agent_status (*call)(void *, agent_tool_call *, agent_error *), void *ctx)
{
    agent_tool tool = AGENT_TOOL_INIT;

    tool.name = name;
    tool.call = call;
    tool.ctx = ctx;
    ck_assert_msg(agent_tool_register(engine, &tool, &err) == AGENT_OK, "%s", err.text);
}

static inline agent_run *run_start(const char *agent, const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_run *run = NULL;

    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    ck_assert_msg(agent_run_start(engine, &q, &run, &err) == AGENT_OK, "%s", err.text);
    return run;
}

/* Waits for a run that succeeds; its id. */
static inline int64_t run_end(agent_run *run)
{
    const agent_run_result *r = NULL;
    int64_t id;

    ck_assert_msg(agent_run_wait(run, 120000, &r, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(strcmp(r->status, "succeeded") == 0, "%s: %s", r->status, r->error.text);
    id = r->run.id;
    agent_run_free(run);
    return id;
}

struct stage {
    char name[16], attribution[16], peak_source[16], includes[32], started_at[32];
    int64_t step, wall_us, rss_before, rss_peak, rss_after, heap_peak, heap_net, child, commit_us, samples,
        shared_sample;
};

struct stages {
    struct stage at[64];
    int count;
};

static inline void cell_text(const agent_row *row, const char *name, char *to, size_t room)
{
    size_t n = 0;
    const char *text = agent_row_text(row, agent_row_find(row, name), &n);

    (void)snprintf(to, room, "%.*s", text != NULL ? (int)n : 4, text != NULL ? text : "NULL");
}

static inline int64_t cell_int(const agent_row *row, const char *name)
{
    int i = agent_row_find(row, name);

    ck_assert_msg(i >= 0, "no column %s", name);
    return agent_row_type(row, i) == AGENT_VALUE_NULL ? UNKNOWN : agent_row_int(row, i);
}

static inline bool gather_stage(void *ctx, const agent_row *row)
{
    struct stages *all = ctx;
    struct stage *s = &all->at[all->count];

    if (all->count == 64)
        return false;
    all->count++;
    cell_text(row, "stage", s->name, sizeof(s->name));
    cell_text(row, "attribution", s->attribution, sizeof(s->attribution));
    cell_text(row, "peak_source", s->peak_source, sizeof(s->peak_source));
    cell_text(row, "heap_includes", s->includes, sizeof(s->includes));
    cell_text(row, "started_at", s->started_at, sizeof(s->started_at));
    s->step = cell_int(row, "step");
    s->wall_us = cell_int(row, "wall_us");
    s->rss_before = cell_int(row, "rss_before_bytes");
    s->rss_peak = cell_int(row, "rss_peak_bytes");
    s->rss_after = cell_int(row, "rss_after_bytes");
    s->heap_peak = cell_int(row, "heap_peak_bytes");
    s->heap_net = cell_int(row, "heap_net_bytes");
    s->child = cell_int(row, "child_rss_peak_bytes");
    s->commit_us = cell_int(row, "commit_us");
    s->samples = cell_int(row, "samples");
    s->shared_sample = cell_int(row, "shared_sample");
    return true;
}

static inline struct stages stages_of(int64_t run_id)
{
    struct stages all = {.count = 0};
    agent_filter f = AGENT_FILTER_INIT;

    f.run_id = run_id;
    ck_assert_msg(agent_scan(engine, AGENT_VIEW_STAGE_MEMORY, &f, gather_stage, &all, &err) == AGENT_OK, "%s",
                  err.text);
    return all;
}

static inline const struct stage *stage_in(const struct stages *all, const char *name)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->at[i].name, name) == 0)
            return &all->at[i];
    ck_abort_msg("no stage %s", name);
    return NULL;
}

#endif
