/*
 * A recording of what is asked of the front caches, as a host or a person begins and ends it. The
 * caches' side is engine/cache/recorder.h, the file between them engine/cache/raw.h.
 *
 *     start ─► <db>-trace is made ─► engines see it and append ─► stop ─► it is read, put in order,
 *                                                                         written as a trace, removed
 *
 * The trace is made at the start, empty, so that a place where it cannot be is told at once.
 */
#include <agent/cache.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cache/raw.h"
#include "engine/cache/recorder.h"
#include "engine/engine.h"

#define DEFAULT_BYTES (INT64_C(64) << 20)
#define FOR_EVER_NS   INT64_MAX
#define WAIT_MS       1500

struct agent_cache_trace {
    agent_engine *engine;
    char *path, *raw_path;
    FILE *file;
    int raw;
    bool own_only, is_csv;
};

static void drop(struct agent_cache_trace *t, bool keeps_file)
{
    if (t->file != NULL)
        (void)fclose(t->file);
    if (t->file != NULL && !keeps_file)
        (void)unlink(t->path);
    if (t->raw >= 0) {
        if (!t->own_only)
            (void)unlink(t->raw_path);
        (void)close(t->raw);
    }
    ag_free(t->path);
    ag_free(t->raw_path);
    ag_free(t);
}

static agent_status make_file(struct agent_cache_trace *t, agent_error *err)
{
    int fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return ag_fail(err, errno == EEXIST ? AGENT_EEXISTS : AGENT_EIO, errno, "trace '%s': %s", t->path, strerror(errno));
    if ((t->file = fdopen(fd, "w")) == NULL) {
        (void)close(fd);
        (void)unlink(t->path);
        return ag_fail(err, AGENT_ENOMEM, 0, "trace '%s': out of memory", t->path);
    }
    return AGENT_OK;
}

static char *joined(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *p = ag_malloc(n + m + 1);

    if (p != NULL) {
        memcpy(p, a, n);
        memcpy(p + n, b, m + 1);
    }
    return p;
}

static agent_status make_raw(struct agent_cache_trace *t, const agent_cache_trace_options *o, agent_error *err)
{
    int64_t most = (o->max_bytes > 0 ? o->max_bytes : DEFAULT_BYTES) + (int64_t)sizeof(struct ag_raw_header);
    int64_t until = o->for_ms > 0 ? ag_raw_now_ns() + o->for_ms * 1000000 : FOR_EVER_NS;

    t->raw_path = t->own_only ? joined(t->path, ".raw") : ag_engine_trace_path(t->engine);
    if (t->raw_path == NULL)
        return t->own_only || ag_store_watch_path(t->engine->store) != NULL
                   ? ag_fail(err, AGENT_ENOMEM, 0, "trace '%s': out of memory", t->path)
                   : ag_fail(err, AGENT_EINVAL, 0, "trace '%s': a store in memory has no other engines", t->path);
    return ag_raw_create(t->raw_path, t->own_only, until, most, &t->raw, err);
}

agent_status agent_cache_trace_start(agent_engine *e, const agent_cache_trace_options *o, agent_cache_trace **out,
                                     agent_error *err)
{
    struct agent_cache_trace *t;
    agent_status rc;

    if (e == NULL || out == NULL || o == NULL || o->size < sizeof(*o) || o->path == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "cache trace: engine, options (with their size and a path) and out are needed");
    if (o->max_bytes < 0 || o->for_ms < 0 || o->for_ms > INT64_MAX / 4000000)
        return ag_fail(err, AGENT_EINVAL, 0, "cache trace: max_bytes or for_ms is out of range");
    if (o->own_only && (rc = ag_engine_writable(e, "cache trace", err)) != AGENT_OK)
        return rc;
    if ((t = ag_calloc(1, sizeof(*t))) == NULL || (t->path = ag_strdup(o->path)) == NULL) {
        ag_free(t);
        return ag_fail(err, AGENT_ENOMEM, 0, "cache trace: out of memory");
    }
    t->engine = e;
    t->raw = -1;
    t->own_only = o->own_only;
    if ((rc = ag_trace_format(t->path, &t->is_csv, err)) != AGENT_OK || (rc = make_file(t, err)) != AGENT_OK ||
        (rc = make_raw(t, o, err)) != AGENT_OK || (t->own_only && (rc = ag_recorder_own(e->recorder, t->raw, err)) != AGENT_OK)) {
        drop(t, false);
        return ag_wrap(err, rc, "cache trace");
    }
    *out = t;
    return AGENT_OK;
}

agent_status agent_cache_trace_look(agent_cache_trace *t, agent_cache_trace_result *out, agent_error *err)
{
    bool is_full = false;
    int64_t count;

    if (t == NULL || out == NULL || out->size < sizeof(*out))
        return ag_fail(err, AGENT_EINVAL, 0, "cache trace: trace and out (with its size) are needed");
    if ((count = ag_raw_count(t->raw, t->own_only, &is_full)) < 0)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "cache trace: somebody removed '%s'", t->raw_path);
    out->requests = count;
    out->is_full = is_full;
    return AGENT_OK;
}

agent_status agent_cache_trace_stop(agent_cache_trace *t, agent_cache_trace_result *out, agent_error *err)
{
    struct ag_raw_sum sum = {0};
    struct ag_trace trace = {0};
    bool is_late = false;
    agent_status rc;

    if (t == NULL || (out != NULL && out->size < sizeof(*out)))
        return ag_fail(err, AGENT_EINVAL, 0, "cache trace: trace and out (with its size) are needed");
    if (t->own_only)
        ag_recorder_release(t->engine->recorder);
    else
        is_late = !ag_raw_finish(t->raw, WAIT_MS);
    rc = ag_raw_read(t->raw, &sum, &trace, err);
    if (rc == AGENT_OK && sum.requests == 0) {
        rc = ag_fail(err, AGENT_ENOTFOUND, 0, "no request came");
        ag_hint(err, "it records what engines at work ask of their caches: agentctl work, agentctl run --each");
    }
    if (rc == AGENT_OK)
        rc = ag_trace_write(&trace, t->file, t->is_csv, err);
    ag_trace_drop(&trace);
    if (rc == AGENT_OK && fclose(t->file) != 0) {
        t->file = NULL;
        rc = ag_fail(err, AGENT_EIO, errno, "trace '%s': %s", t->path, strerror(errno));
        (void)unlink(t->path);
    } else if (rc == AGENT_OK) {
        t->file = NULL;
    }
    drop(t, rc == AGENT_OK);
    if (rc != AGENT_OK)
        return ag_wrap(err, rc, "cache trace");
    if (out != NULL) {
        out->requests = (int64_t)sum.requests;
        out->hits = (int64_t)sum.hits;
        out->dropped = (int64_t)sum.dropped;
        out->processes = sum.processes;
        out->is_full = sum.is_full;
        out->is_late = is_late;
    }
    return AGENT_OK;
}
