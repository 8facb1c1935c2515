/*
 * The life of a call.
 *
 *    start ─► HELD (another call resolves the name) ─► WAITING ─► RUNNING ─► ENDING ─► gone
 *                                                        ▲            │
 *                  (started inside one of curl's callbacks)           ├─ curl is done with it
 *                                                                     ├─ a limit is over
 *                                                                     └─ stopped: told at once, lingers
 *
 *  (1) One allocation per call holds its url and headers; it is wiped whole before it is freed,
 *      because headers hold keys.
 *  (2) done() is the last thing a call does to its owner: it is off every list by then, except a
 *      stopped one, which has `done_sent` and owes nobody anything.
 *  (3) After done() or cancel the body is not read any more: the read callback and the callback
 *      before the request refuse, and what curl sends from its own copy is its own.
 */
#include "engine/io/http_impl.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "engine/base/mem.h"

#define USER_AGENT "User-Agent: libagent"

/* --- queues ------------------------------------------------------------------------------------ */

void ag_http_enqueue(struct http_queue *queue, ag_http_call *call)
{
    assert(call->queue == NULL);
    call->queue = queue;
    call->next = NULL;
    call->prev = queue->last;
    if (queue->last == NULL)
        queue->first = call;
    else
        queue->last->next = call;
    queue->last = call;
}

void ag_http_dequeue(ag_http_call *call)
{
    struct http_queue *queue = call->queue;

    if (queue == NULL)
        return;
    if (call->prev == NULL)
        queue->first = call->next;
    else
        call->prev->next = call->next;
    if (call->next == NULL)
        queue->last = call->prev;
    else
        call->next->prev = call->prev;
    call->queue = NULL;
}

ag_http_call *ag_http_pop(struct http_queue *queue)
{
    ag_http_call *call = queue->first;

    if (call != NULL)
        ag_http_dequeue(call);
    return call;
}

void ag_http_note(ag_http_call *call)
{
    if (call->queue == NULL)
        ag_http_enqueue(&call->http->todo, call);
}

/* --- the end of a call ------------------------------------------------------------------------- */

static void release(ag_http_call *call)
{
    ag_http *http = call->http;
    size_t bytes = call->block_bytes;

    if (call->all_prev == NULL)
        http->all = call->all_next;
    else
        call->all_prev->all_next = call->all_next;
    if (call->all_next != NULL)
        call->all_next->all_prev = call->all_prev;
    http->calls--;
    explicit_bzero(call, bytes); /* (1) */
    ag_free(call);
}

/* Off curl, off every list. */
static void detach(ag_http_call *call, const agent_error *unresolved)
{
    if (call->state == HTTP_RUNNING)
        ag_http_shard_remove(call);
    call->state = HTTP_ENDING;
    ag_http_dequeue(call);
    ag_http_deadline_remove(call);
    ag_http_host_leave(call, unresolved);
}

static void end(ag_http_call *call, const agent_error *why, const agent_error *unresolved)
{
    struct ag_http_end told = {.status = why->status, .error = why, .got_bytes = call->got_bytes};
    struct http_events_copy to = call->to;
    bool tell = !call->cancelled && !call->done_sent;

    if (why->status == AGENT_OK)
        told.error = NULL;
    detach(call, unresolved);
    if (tell) {
        call->cancelled = true; /* a cancel from inside done() finds nothing to do */
        call->http->active--;
        to.events.done(to.ctx, &told); /* (2) */
    }
    release(call);
}

void ag_http_fail(ag_http_call *call, const agent_error *why)
{
    end(call, why, NULL);
}

void ag_http_finish(ag_http_call *call, CURLcode code)
{
    agent_error why = AGENT_ERROR_INIT;
    bool unresolved = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY;

    call->finished = true;
    if (!call->stopped)
        (void)ag_http_explain(call, code, &why);
    end(call, &why, unresolved ? &why : NULL);
}

/* data() said that it has enough: tell the end now, let the transfer end by itself for a moment. */
static void end_early(ag_http_call *call)
{
    struct ag_http_end told = {.status = AGENT_OK, .got_bytes = true};
    struct http_events_copy to = call->to;

    call->done_sent = true;
    call->linger_until_ms = (int64_t)uv_now(call->http->loop) + HTTP_LINGER_MS;
    ag_http_deadline_update(call);
    call->http->active--;
    to.events.done(to.ctx, &told);
}

static void drop(ag_http_call *call)
{
    detach(call, NULL);
    release(call);
}

/* --- settling ---------------------------------------------------------------------------------- */

/* Gives shards what waits for one. Calls nobody: a failure is told by the deadline timer. */
static void flush_waiting(ag_http *http)
{
    ag_http_call *call;

    while (http->in_curl == 0 && (call = ag_http_pop(&http->waiting)) != NULL) {
        agent_error why = AGENT_ERROR_INIT;
        if ((call->failed = ag_http_launch(call, &why)) != AGENT_OK)
            ag_http_deadline_soon(call);
    }
}

static void tear_down(ag_http *http)
{
    while (http->all != NULL) {
        http->all->cancelled = true;
        drop(http->all);
    }
    ag_http_shards_close(http);
    ag_http_hosts_drop(http);
    uv_close((uv_handle_t *)&http->deadline, ag_http_handle_closed);
    uv_close((uv_handle_t *)&http->tidy, ag_http_handle_closed);
}

void ag_http_settle(ag_http *http)
{
    bool more = true;

    if (http->settling || http->in_curl > 0)
        return;
    http->settling = true;
    while (more && !http->closing) {
        ag_http_call *call;

        more = ag_http_shard_drain(http);
        while (!http->closing && (call = ag_http_pop(&http->todo)) != NULL) {
            more = true;
            if (call->cancelled)
                drop(call);
            else if (call->stopped && !call->done_sent)
                end_early(call);
        }
        flush_waiting(http);
    }
    http->settling = false;
    if (http->closing)
        tear_down(http);
}

agent_status ag_http_launch(ag_http_call *call, agent_error *err)
{
    agent_status rc;

    if (call->http->in_curl > 0) {
        call->state = HTTP_WAITING;
        ag_http_enqueue(&call->http->waiting, call);
        return AGENT_OK;
    }
    if ((rc = ag_http_shard_add(call, err)) != AGENT_OK) {
        call->state = HTTP_ENDING;
        return rc;
    }
    call->state = HTTP_RUNNING;
    return AGENT_OK;
}

/* --- starting ---------------------------------------------------------------------------------- */

/* One block: the call, the list nodes, then the texts. */
static ag_http_call *new_call(const struct ag_http_request *q, agent_error *err)
{
    size_t nodes = 0, texts, room, url_bytes = strlen(q->url) + 1;
    bool has_agent = false;
    ag_http_call *call;
    char *to;

    texts = url_bytes + sizeof(USER_AGENT);
    for (const char *const *h = q->headers; h != NULL && *h != NULL; h++) {
        if (ag_http_header_check(*h, err) != AGENT_OK)
            return NULL;
        has_agent = has_agent || strncasecmp(*h, "user-agent:", 11) == 0;
        texts += strlen(*h) + 1;
        nodes++;
    }
    nodes += has_agent ? 1 : 2;
    texts += sizeof("Expect:");
    room = sizeof(*call) + nodes * sizeof(struct curl_slist) + texts;
    if ((call = ag_calloc(1, room)) == NULL) {
        (void)ag_fail(err, AGENT_ENOMEM, 0, "http request: out of memory");
        return NULL;
    }
    call->block_bytes = room;
    call->headers = (struct curl_slist *)(call + 1);
    to = (char *)(call->headers + nodes);
    for (size_t i = 0; i < nodes; i++) {
        /* Ours: no waiting for "100 Continue", which costs a second where a server does not know it. */
        const char *line = i == 0 ? "Expect:" : !has_agent && i == 1 ? USER_AGENT : q->headers[i - (has_agent ? 1 : 2)];
        size_t n = strlen(line) + 1;

        call->headers[i].data = memcpy(to, line, n);
        call->headers[i].next = i + 1 < nodes ? &call->headers[i + 1] : NULL;
        to += n;
    }
    call->url = memcpy(to, q->url, url_bytes);
    call->heap_index = SIZE_MAX;
    call->connect_ms = q->connect_ms;
    call->first_byte_ms = q->first_byte_ms;
    call->idle_ms = q->idle_ms;
    call->total_ms = q->total_ms;
    call->body = q->body;
    call->head.retry_after_ms = -1;
    call->head.should_retry = -1;
    return call;
}

static agent_status need_curl(ag_http *http, agent_error *err)
{
    const struct ag_curl *curl;
    agent_status rc;

    if (http->curl != NULL)
        return AGENT_OK;
    if ((rc = ag_curl_load(&curl, err)) != AGENT_OK)
        return rc;
    if ((http->share = curl->share_init()) == NULL ||
        curl->share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK)
        return ag_fail(err, AGENT_ENOMEM, 0, "http client: out of memory");
    /* Without it TLS costs a full handshake more often, no more than that. */
    (void)curl->share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    http->curl = curl;
    return AGENT_OK;
}

agent_status ag_http_start(ag_http *http, const struct ag_http_request *request, const struct ag_http_events *events,
                           void *ctx, ag_http_call **out, agent_error *err)
{
    agent_error why = AGENT_ERROR_INIT;
    struct http_url parts;
    ag_http_call *call;
    agent_status rc;

    if (http->closing)
        return ag_fail(err, AGENT_EINVAL, 0, "http request: the client is closed");
    if ((rc = ag_http_url_parse(request->url, &parts, err)) != AGENT_OK ||
        (rc = need_curl(http, err)) != AGENT_OK ||
        (rc = ag_http_deadline_reserve(http, err)) != AGENT_OK)
        return rc;
    if ((call = new_call(request, &why)) == NULL) {
        if (err != NULL)
            *err = why;
        return why.status;
    }
    if (http->in_curl == 0)
        uv_update_time(http->loop); /* limits count from here, whatever the caller did before */
    call->http = http;
    call->parts = parts;
    call->parts.host.p = call->url + (parts.host.p - request->url);
    call->to = (struct http_events_copy){*events, ctx};
    call->started_at_ms = (int64_t)uv_now(http->loop);
    call->all_next = http->all;
    if (http->all != NULL)
        http->all->all_prev = call;
    http->all = call;
    http->calls++;

    if ((rc = ag_http_host_enter(call, &why)) != AGENT_OK ||
        (ag_http_host_pass(call) && (rc = ag_http_launch(call, &why)) != AGENT_OK)) {
        call->cancelled = true;
        drop(call);
        flush_waiting(http);
        if (err != NULL)
            *err = why;
        return rc;
    }
    http->active++;
    ag_http_deadline_update(call);
    *out = call;
    return AGENT_OK;
}

void ag_http_cancel(ag_http_call *call)
{
    ag_http *http = call->http;

    if (call->cancelled || call->done_sent)
        return;
    call->cancelled = true;
    http->active--;
    if (http->in_curl > 0 && call->state == HTTP_RUNNING) {
        ag_http_note(call); /* curl must not lose a handle while it walks them */
        return;
    }
    drop(call);
    flush_waiting(http); /* it may have been the one that the others of its host wait for */
}

size_t ag_http_active(const ag_http *http)
{
    return http->active;
}

/* --- the client -------------------------------------------------------------------------------- */

agent_status ag_http_new(uv_loop_t *loop, const struct ag_http_options *o, ag_http **out, agent_error *err)
{
    ag_http *http = ag_calloc(1, sizeof(*http));

    if (http == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "http client: out of memory");
    if (o != NULL && ((o->ca_file != NULL && (http->ca_file = ag_strdup(o->ca_file)) == NULL) ||
                      (o->proxy != NULL && (http->proxy = ag_strdup(o->proxy)) == NULL))) {
        ag_free(http->ca_file);
        ag_free(http);
        return ag_fail(err, AGENT_ENOMEM, 0, "http client: out of memory");
    }
    http->loop = loop;
    http->armed_ms = INT64_MAX;
    (void)uv_timer_init(loop, &http->deadline);
    http->deadline.data = http;
    (void)uv_timer_init(loop, &http->tidy);
    http->tidy.data = http;
    uv_unref((uv_handle_t *)&http->tidy);
    http->keep_ms = o != NULL && o->keep_ms > 0 ? o->keep_ms : HTTP_KEEP_MS;
    http->handles = 2;
    *out = http;
    return AGENT_OK;
}

void ag_http_close(ag_http *http)
{
    if (http == NULL || http->closing)
        return;
    http->closing = true;
    for (ag_http_call *call = http->all; call != NULL; call = call->all_next)
        call->cancelled = true;
    http->active = 0;
    if (http->in_curl == 0 && !http->settling)
        tear_down(http); /* else whoever is at work does it when it is done */
}

void ag_http_handle_closed(uv_handle_t *handle)
{
    ag_http *http = handle->data;

    if (--http->handles > 0)
        return;
    if (http->proxy != NULL)
        explicit_bzero(http->proxy, strlen(http->proxy)); /* may hold a password */
    ag_free(http->proxy);
    ag_free(http->ca_file);
    ag_free(http->heap);
    ag_free(http->socks);
    ag_free(http);
}
