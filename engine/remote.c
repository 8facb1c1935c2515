/*
 * An attempt over HTTP: the provider makes the request and reads the answer, io/http moves bytes.
 *
 *   head ──► 2xx and text/event-stream: bytes ──► sse ──► vt->event() ──► reply
 *       └──► 2xx otherwise: bytes gather ──► vt->whole() at the end
 *       └──► else: the first 64 KB gather ──► vt->refused() at the end
 *
 * (1) Whether an answer is complete is said by the protocol, not by the end of the transfer.
 * (2) The key passes through as one header line and is wiped; it is in no buffer of the run.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/infer.h"

#define REFUSAL_BYTES 65536

struct remote {
    struct ag_infer base;
    ag_http_call *call; /* NULL: over */
    struct ag_stream stream;
    ag_buf body;    /* of the request: borrowed by the call */
    ag_buf gather;  /* of an answer that is no stream */
    ag_sse sse;
    bool is_sse, sse_live, refused;
    int status;
    struct ag_http_head head; /* content_type and request_id are not kept */
};

static struct remote *remote_of(struct agent_run *run)
{
    return (struct remote *)run->infer;
}

static const char *key_of(struct agent_run *run, const char **out_name);

/* Some servers put the key they were given into the error they answer with: (2) holds there too. */
static void mask_key(struct agent_run *run, agent_error *e)
{
    const char *name, *key = key_of(run, &name);
    size_t n = key != NULL ? strlen(key) : 0;

    for (char *at = e->text; n >= 8 && (at = strstr(at, key)) != NULL; at += n)
        memset(at, '*', n);
}

static void fail(struct agent_run *run, agent_error *e, bool retry, int64_t after_ms)
{
    if (run->infer->failed || run->infer->done)
        return;
    mask_key(run, e);
    ag_infer_failed(run, e, retry, after_ms);
}

static bool on_event(void *ctx, struct ag_str event, struct ag_str data)
{
    struct agent_run *run = ctx;
    struct remote *m = remote_of(run);
    agent_error e = AGENT_ERROR_INIT;
    bool done = false;
    agent_status rc = run->vt->event(&m->stream, event, data, &done, &e);

    if (rc != AGENT_OK) {
        fail(run, &e, m->stream.verdict.retry, m->stream.verdict.after_ms);
        return false;
    }
    ag_infer_text(run);
    return !done;
}

static void take_head(void *ctx, const struct ag_http_head *head)
{
    struct agent_run *run = ctx;
    struct remote *m = remote_of(run);

    m->status = head->status;
    m->head = *head;
    m->head.content_type = m->head.request_id = "";
    m->refused = head->status < 200 || head->status > 299;
    m->is_sse = !m->refused && strncmp(head->content_type, "text/event-stream", 17) == 0;
    if (m->is_sse) {
        ag_sse_init(&m->sse, AG_CAP_RESPONSE_BYTES, on_event, run);
        m->sse_live = true;
    } else if (m->refused) {
        m->gather = AG_BUF_INIT(REFUSAL_BYTES);
    }
}

static bool take_data(void *ctx, const char *bytes, size_t n)
{
    struct agent_run *run = ctx;
    struct remote *m = remote_of(run);
    agent_error e = AGENT_ERROR_INIT;

    ag_infer_first_byte(run);
    if (m->is_sse) {
        if (ag_sse_feed(&m->sse, bytes, n, &e) != AGENT_OK) {
            fail(run, &e, false, -1);
            return false;
        }
        if (run->reply.text.failed == AGENT_ETOOBIG || run->reply.reasoning.failed == AGENT_ETOOBIG) {
            (void)ag_fail(&e, AGENT_ETOOBIG, 0, AG_STR_FMT ": the answer is over the limit of %u bytes (response_bytes)",
                          AG_STR_ARG(run->agent->rec.spec.provider), AG_CAP_RESPONSE_BYTES);
            fail(run, &e, false, -1);
            return false;
        }
        return !m->sse.stopped;
    }
    if (m->refused && m->gather.n + n > REFUSAL_BYTES)
        n = REFUSAL_BYTES - m->gather.n; /* an error's words are in its beginning */
    ag_buf_append(&m->gather, bytes, n);
    if (m->gather.failed != AGENT_OK) {
        (void)ag_buf_status(&m->gather, "the answer", &e);
        fail(run, &e, false, -1);
        return false;
    }
    return true;
}

static void incomplete(struct agent_run *run)
{
    agent_error e = AGENT_ERROR_INIT;

    (void)ag_fail(&e, AGENT_ENETWORK, 0, "%s: the answer ended before it was complete", run->vt->name);
    fail(run, &e, true, -1);
}

static void take_end(void *ctx, const struct ag_http_end *end)
{
    struct agent_run *run = ctx;
    struct remote *m = remote_of(run);
    agent_error e = AGENT_ERROR_INIT;

    m->call = NULL;
    if (run->infer->failed || run->infer->done)
        return;
    if (end->status != AGENT_OK && !run->reply.complete) {
        e = *end->error;
        (void)ag_wrap(&e, e.status, "%s", run->vt->name);
        fail(run, &e, true, -1);
        return;
    }
    if (m->refused) {
        struct ag_verdict verdict = {false, -1};

        (void)run->vt->refused(run->vt, m->status, ag_buf_view(&m->gather), &m->head, &verdict, &e);
        fail(run, &e, verdict.retry, verdict.after_ms);
        return;
    }
    if (m->is_sse) {
        if (ag_sse_end(&m->sse, &e) != AGENT_OK) {
            fail(run, &e, false, -1);
            return;
        }
    } else if (run->vt->whole(&m->stream, ag_buf_view(&m->gather), &e) != AGENT_OK) {
        fail(run, &e, m->stream.verdict.retry, m->stream.verdict.after_ms);
        return;
    } else {
        ag_infer_text(run);
    }
    if (run->infer->failed)
        return;
    if (!run->reply.complete)
        incomplete(run);
    else
        ag_infer_done(run);
}

/* These come from the loop: what they allocate is for the run. */
static void on_head(void *ctx, const struct ag_http_head *head)
{
    struct ag_mem_charge was = ag_mem_charge(((struct agent_run *)ctx)->account);

    take_head(ctx, head);
    ag_mem_charge_back(was);
}

static bool on_data(void *ctx, const char *bytes, size_t n)
{
    struct ag_mem_charge was = ag_mem_charge(((struct agent_run *)ctx)->account);
    bool more = take_data(ctx, bytes, n);

    ag_mem_charge_back(was);
    return more;
}

static void on_end(void *ctx, const struct ag_http_end *end)
{
    struct ag_mem_charge was = ag_mem_charge(((struct agent_run *)ctx)->account);

    take_end(ctx, end);
    ag_mem_charge_back(was);
}

static void stop(struct agent_run *run)
{
    struct remote *m = remote_of(run);

    if (m->call != NULL)
        ag_http_cancel(m->call);
    ag_buf_drop(&m->body);
    ag_buf_drop(&m->gather);
    if (m->sse_live)
        ag_sse_drop(&m->sse);
    ag_free(m->stream.state);
    ag_free(m);
    run->infer = NULL;
}

/* NULL: there is none; *out_name is the variable it would be in, NULL: none is known. */
static const char *key_of(struct agent_run *run, const char **out_name)
{
    agent_engine *e = run->engine;
    struct ag_str own = run->params.key_env.n > 0 ? run->params.key_env
                      : run->fallback_at == 0 ? run->agent->rec.spec.key_env /* of the agent's own provider */
                                              : AG_STR_NONE;
    const char *key;

    *out_name = own.n > 0 ? ag_arena_z(&run->arena, own) : run->vt->key_env;
    if (*out_name == NULL || e->secret == NULL)
        return NULL;
    key = e->secret(e->secret_ctx, *out_name);
    return key != NULL && key[0] != '\0' ? key : NULL;
}

/* The key of the provider, or NULL where none is needed. */
static agent_status find_key(struct agent_run *run, const char **out, agent_error *err)
{
    bool named = run->params.key_env.n > 0 || (run->fallback_at == 0 && run->agent->rec.spec.key_env.n > 0);
    const char *name, *key = key_of(run, &name);

    if (key == NULL && (named || (run->vt->key_needed && run->base_url.p == NULL))) {
        name = name != NULL ? name : "its variable";
        ag_fail(err, AGENT_EKEY, 0, "no key for %s: %s is not set", run->vt->name, name);
        ag_hint(err, "export %s=… (or name another variable with -o key_env=NAME)", name);
        return AGENT_EKEY;
    }
    *out = key;
    return AGENT_OK;
}

static int64_t or_limit(const struct agent_run *run, int64_t value, enum ag_limit_id id)
{
    return value >= 0 ? value : ag_limit(&run->engine->limits, id);
}

agent_status ag_remote_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err)
{
    static const struct ag_http_events events = {on_head, on_data, on_end};
    struct ag_header_list headers = {{NULL}, 0};
    struct ag_http_request request = {0};
    struct remote *m;
    ag_http *http;
    const char *key = NULL, *url = NULL;
    agent_status rc;

    if ((rc = find_key(run, &key, err)) != AGENT_OK)
        return rc;
    if ((m = ag_calloc(1, sizeof(*m))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    m->body = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
    m->gather = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
    m->base.stop = stop;
    m->stream = (struct ag_stream){.vt = run->vt, .reply = &run->reply, .run_id = run->run_id,
                                   .step = run->step_number};
    run->infer = &m->base;
    if ((rc = run->vt->build(q, key, &run->arena, &url, &headers, &m->body, err)) == AGENT_OK &&
        (rc = ag_buf_status(&m->body, "request", err)) == AGENT_OK &&
        (rc = ag_worker_http(run->worker, &http, err)) == AGENT_OK) {
        request.url = url;
        request.headers = headers.at;
        request.body = ag_buf_view(&m->body);
        request.connect_ms = or_limit(run, run->params.connect_ms, AG_LIMIT_CONNECT_MS);
        request.first_byte_ms = or_limit(run, run->params.first_byte_ms, AG_LIMIT_FIRST_BYTE_MS);
        request.idle_ms = or_limit(run, run->params.idle_ms, AG_LIMIT_IDLE_MS);
        request.total_ms = or_limit(run, run->params.total_ms, AG_LIMIT_TOTAL_MS);
        rc = ag_http_start(http, &request, &events, run, &m->call, err);
    }
    for (size_t i = 0; i < headers.count; i++) /* (2) */
        explicit_bzero((void *)(uintptr_t)headers.at[i], strlen(headers.at[i]));
    if (rc != AGENT_OK) {
        m->call = NULL;
        stop(run);
    }
    return rc;
}
