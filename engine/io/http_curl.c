/*
 * curl's multi interface on a libuv loop.
 *
 *    uv_poll ──readable──► socket_action ──► callbacks of curl ──► notes (todo, waiting)
 *    uv_timer ──due─────►       │                                        │
 *         ▲                     ▼                                        ▼
 *         └── socket and timer callbacks of curl              ag_http_settle() afterwards
 *
 *  (1) Transfers fill the first shard that has room: connections to reuse gather there.
 *      A shard that had nothing to do for a while is given back with its connections.
 *  (2) The shards share addresses and TLS sessions, never connections (curl does not support that).
 *  (3) From 7.88 to 8.14 curl leaves the reset of an HTTP/2 stream in a buffer until something else
 *      goes over that connection, so the server would go on answering. A pause that is taken back at
 *      once, of another stream there, sends it; where there is none, the connection is closed.
 */
#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/io/http_impl.h"

/* Over plain HTTP/1.1 curl copies a body under 64 KB beside the header and sends both with one call. */
#define COPIED_BODY_MAX (60u << 10)
#define DAY_MS 86400000L

/* --- the loop's side --------------------------------------------------------------------------- */

void ag_http_shard_run(struct http_shard *shard, curl_socket_t fd, int events)
{
    ag_http *http = shard->http;
    CURLMcode rc;
    int running;

    http->in_curl++;
    rc = http->curl->multi_socket_action(shard->multi, fd, events, &running);
    http->in_curl--;
    if (!shard->dirty) {
        shard->dirty = true;
        shard->dirty_next = http->dirty;
        http->dirty = shard;
    }
    if (rc != CURLM_OK && !shard->broken) {
        shard->broken = true;
        for (ag_http_call *call = http->all; call != NULL; call = call->all_next)
            if (call->shard == shard) {
                call->failed = AGENT_ENETWORK;
                ag_http_deadline_soon(call);
            }
    }
    ag_http_settle(http);
}

static void on_timer(uv_timer_t *timer)
{
    ag_http_shard_run(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* --- curl's side: time --------------------------------------------------------------------------- */

static int curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_shard *shard = ctx;

    (void)multi;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&shard->timer);
    else
        (void)uv_timer_start(&shard->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* --- curl's side: one transfer ------------------------------------------------------------------ */

static bool unwanted(const ag_http_call *call)
{
    return call->cancelled || call->done_sent;
}

static void alive(ag_http_call *call)
{
    call->last_byte_at_ms = (int64_t)uv_now(call->http->loop);
    if (!call->got_bytes) {
        call->got_bytes = true;
        ag_http_deadline_update(call);
    }
}

static size_t curl_header(char *bytes, size_t one, size_t n, void *ctx)
{
    ag_http_call *call = ctx;
    struct ag_str line = {bytes, n * one};

    if (unwanted(call))
        return call->cancelled ? 0 : line.n;
    alive(call);
    call->header_bytes += line.n;
    if (call->header_bytes > HTTP_HEADER_MAX) {
        call->header_too_big = true;
        return 0;
    }
    if (call->head_sent)
        return line.n; /* a trailer */
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (line.n > 0) {
        ag_http_header_take(call, line);
    } else if (call->head.status >= 200) { /* 1xx: another header follows */
        call->head_sent = true;
        call->head.content_type = call->content_type;
        call->head.request_id = call->request_id;
        call->head.retry_after_ms = ag_http_retry_after(call);
        if (call->to.events.head != NULL)
            call->to.events.head(call->to.ctx, &call->head);
        if (call->cancelled)
            return 0;
    }
    return n * one;
}

static size_t curl_write(char *bytes, size_t one, size_t n, void *ctx)
{
    ag_http_call *call = ctx;

    n *= one;
    if (call->cancelled)
        return CURL_WRITEFUNC_ERROR;
    alive(call);
    if (call->stopped) {
        call->lingered_bytes += n;
        return call->lingered_bytes > HTTP_LINGER_BYTES ? CURL_WRITEFUNC_ERROR : n;
    }
    if (n > 0 && !call->to.events.data(call->to.ctx, bytes, n) && !call->cancelled) {
        call->stopped = true;
        ag_http_note(call);
    }
    return call->cancelled ? CURL_WRITEFUNC_ERROR : n;
}

static size_t curl_read(char *to, size_t one, size_t n, void *ctx)
{
    ag_http_call *call = ctx;
    size_t left = call->body.n - call->body_sent;

    if (unwanted(call))
        return CURL_READFUNC_ABORT;
    n *= one;
    if (n > left)
        n = left;
    memcpy(to, call->body.p + call->body_sent, n);
    call->body_sent += n;
    return n;
}

/* For the second try on a fresh connection, when a kept one turned out dead. */
static int curl_seek(void *ctx, curl_off_t offset, int origin)
{
    ag_http_call *call = ctx;

    if (unwanted(call) || origin != SEEK_SET || offset < 0 || (size_t)offset > call->body.n)
        return CURL_SEEKFUNC_FAIL;
    call->body_sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* A socket is being opened: the name has its address. */
static int curl_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    ag_http_call *call = ctx;

    (void)purpose;
    ag_http_sock_forget(call->http, fd); /* none, where curl kept its word: see http_sock.c (2) */
    call->sockets++;
    ag_http_host_known(call);
    return CURL_SOCKOPT_OK;
}

/* Connected, TLS and all; the request is next. */
static int curl_prereq(void *ctx, char *ip, char *local_ip, int port, int local_port)
{
    ag_http_call *call = ctx;

    (void)ip;
    (void)local_ip;
    (void)port;
    if (unwanted(call))
        return CURL_PREREQFUNC_ABORT;
    ag_http_host_skip(call);
    call->connected = true;
    call->local_port = local_port;
    call->connected_at_ms = (int64_t)uv_now(call->http->loop);
    ag_http_deadline_update(call);
    return CURL_PREREQFUNC_OK;
}

/* --- options ------------------------------------------------------------------------------------ */

#define SET(option, value) (rc = rc != CURLE_OK ? rc : c->easy_setopt(easy, option, value))
#define TRY(option, value) ((void)c->easy_setopt(easy, option, value)) /* newer than the oldest libcurl we take */

/* What is the same for every transfer of this client. */
static CURLcode set_constants(ag_http *http, CURL *easy)
{
    const struct ag_curl *c = http->curl;
    CURLcode rc = CURLE_OK;

    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_SHARE, http->share);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, http->proxy == NULL ? "" : http->proxy); /* "": nor from the environment */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_BUFFERSIZE, HTTP_RECEIVE_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, HTTP_RECEIVE_BYTES);
    SET(CURLOPT_DNS_CACHE_TIMEOUT, HTTP_DNS_SECONDS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_PIPEWAIT, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* With a CA path set, as distributions do, curl reads all certificates again for each connection:
     * 24 ms of CPU instead of 0.6. */
    SET(CURLOPT_CAPATH, (char *)NULL);
    TRY(CURLOPT_PROXY_CAPATH, (char *)NULL);
    if (http->ca_file != NULL) {
        SET(CURLOPT_CAINFO, http->ca_file);
        TRY(CURLOPT_PROXY_CAINFO, http->ca_file);
    }
    TRY(CURLOPT_PROTOCOLS_STR, "http,https"); /* our own look at the url says the same */
    /* Else removing a transfer whose name is being resolved waits for the resolver's thread. */
    TRY(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_HEADERFUNCTION, curl_header);
    SET(CURLOPT_WRITEFUNCTION, curl_write);
    SET(CURLOPT_SOCKOPTFUNCTION, curl_sockopt);
    SET(CURLOPT_PREREQFUNCTION, curl_prereq);
    SET(CURLOPT_SEEKFUNCTION, curl_seek);
    SET(CURLOPT_CLOSESOCKETFUNCTION, ag_http_sock_close);
    SET(CURLOPT_CLOSESOCKETDATA, http);
    SET(CURLOPT_POST, 1L);
    return rc;
}

static CURLcode set_call(ag_http_call *call, CURL *easy)
{
    const struct ag_curl *c = call->http->curl;
    /* curl reads such a body again only for a second try, which a call that is over does not get. */
    bool copied = !call->parts.tls && call->body.n <= COPIED_BODY_MAX;
    CURLcode rc = CURLE_OK;

    SET(CURLOPT_URL, call->url);
    SET(CURLOPT_HTTPHEADER, call->headers);
    SET(CURLOPT_HTTP_VERSION, call->parts.tls ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.n);
    SET(CURLOPT_POSTFIELDS, copied ? (call->body.p == NULL ? "" : call->body.p) : (char *)NULL);
    SET(CURLOPT_READFUNCTION, copied ? NULL : curl_read);
    /* curl divides it among the addresses of a name; the limit itself is kept by http_deadline.c.
     * Its own default would be 300 s. */
    SET(CURLOPT_CONNECTTIMEOUT_MS, call->connect_ms > 0 && call->connect_ms < DAY_MS ? (long)call->connect_ms : DAY_MS);
    SET(CURLOPT_ERRORBUFFER, call->curl_error);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEDATA, call);
    SET(CURLOPT_READDATA, call);
    SET(CURLOPT_SEEKDATA, call);
    SET(CURLOPT_SOCKOPTDATA, call);
    SET(CURLOPT_PREREQDATA, call);
    SET(CURLOPT_PRIVATE, call);
    return rc != CURLE_OK || !call->parts.tls ? rc : ag_http_store_use(call->http, easy);
}

static CURL *get_easy(ag_http *http)
{
    CURL *easy;

    if (http->spare_count > 0)
        return http->spare[--http->spare_count];
    if ((easy = http->curl->easy_init()) != NULL && set_constants(http, easy) != CURLE_OK) {
        http->curl->easy_cleanup(easy);
        easy = NULL;
    }
    return easy;
}

/* Takes everything of the call out of the handle before it is kept. */
static void put_easy(ag_http *http, CURL *easy)
{
    const struct ag_curl *c = http->curl;

    if (http->spare_count == HTTP_SPARE_MAX || http->closing) {
        c->easy_cleanup(easy);
        return;
    }
    TRY(CURLOPT_HTTPHEADER, (struct curl_slist *)NULL);
    TRY(CURLOPT_POSTFIELDS, (char *)NULL);
    TRY(CURLOPT_ERRORBUFFER, (char *)NULL);
    TRY(CURLOPT_FORBID_REUSE, 0L);
    http->spare[http->spare_count++] = easy;
}

/* --- shards ------------------------------------------------------------------------------------- */

static struct http_shard *new_shard(ag_http *http)
{
    const struct ag_curl *c = http->curl;
    struct http_shard *shard = ag_calloc(1, sizeof(*shard)), **last = &http->shards;

    if (shard == NULL)
        return NULL;
    shard->http = http;
    shard->idle_at_ms = (int64_t)uv_now(http->loop);
    if ((shard->multi = c->multi_init()) == NULL ||
        c->multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, ag_http_sock_changed) != CURLM_OK ||
        c->multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard) != CURLM_OK ||
        c->multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, curl_timer) != CURLM_OK ||
        c->multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard) != CURLM_OK ||
        /* its default shrinks with the transfers in flight and closes connections after a burst */
        c->multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_SHARD_MAX + 16) != CURLM_OK) {
        if (shard->multi != NULL)
            (void)c->multi_cleanup(shard->multi);
        ag_free(shard);
        return NULL;
    }
    (void)uv_timer_init(http->loop, &shard->timer);
    shard->timer.data = shard;
    http->handles++;
    while (*last != NULL)
        last = &(*last)->next;
    *last = shard;
    if (!uv_is_active((uv_handle_t *)&http->tidy)) {
        uint64_t every = (uint64_t)(http->keep_ms + 1) / 2;
        (void)uv_timer_start(&http->tidy, ag_http_tidy, every, every);
    }
    return shard;
}

agent_status ag_http_shard_add(ag_http_call *call, agent_error *err)
{
    ag_http *http = call->http;
    struct http_shard *shard = http->shards;
    CURLMcode rc;

    while (shard != NULL && (shard->active >= HTTP_SHARD_MAX || shard->broken ||
                             (call->parts.tls && shard->active_tls >= HTTP_SHARD_TLS))) /* (1) */
        shard = shard->next;
    if ((shard == NULL && (shard = new_shard(http)) == NULL) || (call->easy = get_easy(http)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "http request: out of memory");
    if (set_call(call, call->easy) != CURLE_OK ||
        (rc = http->curl->multi_add_handle(shard->multi, call->easy)) != CURLM_OK) {
        http->curl->easy_cleanup(call->easy);
        call->easy = NULL;
        return ag_fail(err, AGENT_ENOMEM, 0, "http request: libcurl does not take it");
    }
    call->shard = shard;
    shard->active++;
    shard->active_tls += call->parts.tls;
    return AGENT_OK;
}

/* Another transfer on the same connection, which is HTTP/2 then; NULL: none. */
static ag_http_call *sharer(const ag_http_call *call)
{
    ag_http_call *other = call->http->all;

    while (other != NULL && (other == call || other->shard != call->shard || !other->connected ||
                             other->local_port != call->local_port))
        other = other->all_next;
    return other;
}

void ag_http_shard_remove(ag_http_call *call)
{
    ag_http *http = call->http;
    const struct ag_curl *c = http->curl;
    bool early = call->parts.tls && call->connected && !call->finished && !http->closing;
    ag_http_call *other = early ? sharer(call) : NULL;
    CURL *easy = call->easy;

    assert(http->in_curl == 0);
    if (early && other == NULL)
        TRY(CURLOPT_FORBID_REUSE, 1L); /* (3) */
    (void)c->multi_remove_handle(call->shard->multi, easy);
    if (other != NULL) { /* (3) */
        http->in_curl++;
        (void)c->easy_pause(other->easy, CURLPAUSE_RECV);
        (void)c->easy_pause(other->easy, CURLPAUSE_CONT);
        http->in_curl--;
    }
    put_easy(http, easy);
    call->shard->active_tls -= call->parts.tls;
    if (--call->shard->active == 0)
        call->shard->idle_at_ms = (int64_t)uv_now(call->http->loop);
    call->shard = NULL;
    call->easy = NULL;
}

bool ag_http_shard_drain(ag_http *http)
{
    struct http_shard *shard;
    bool any = false;

    while ((shard = http->dirty) != NULL) {
        CURLMsg *msg;
        int left;

        http->dirty = shard->dirty_next;
        shard->dirty = false;
        while (!http->closing && (msg = http->curl->multi_info_read(shard->multi, &left)) != NULL) {
            CURLcode code = msg->data.result;
            char *call = NULL;

            if (msg->msg != CURLMSG_DONE ||
                http->curl->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call) != CURLE_OK)
                continue;
            any = true;
            ag_http_finish((ag_http_call *)(void *)call, code);
        }
    }
    return any;
}

static void on_shard_closed(uv_handle_t *handle)
{
    struct http_shard *shard = handle->data;

    handle->data = shard->http;
    ag_http_handle_closed(handle);
    ag_free(shard);
}

static void close_shard(struct http_shard *shard)
{
    assert(shard->active == 0);
    (void)shard->http->curl->multi_cleanup(shard->multi);
    uv_close((uv_handle_t *)&shard->timer, on_shard_closed);
}

static void drop_spares(ag_http *http)
{
    while (http->spare_count > 0)
        http->curl->easy_cleanup(http->spare[--http->spare_count]);
}

void ag_http_tidy(uv_timer_t *timer)
{
    ag_http *http = timer->data;
    int64_t now = (int64_t)uv_now(http->loop);

    for (struct http_shard **at = &http->shards; *at != NULL;) {
        struct http_shard *shard = *at;

        if (shard->active == 0 && now - shard->idle_at_ms >= http->keep_ms) {
            *at = shard->next;
            close_shard(shard);
        } else {
            at = &shard->next;
        }
    }
    if (http->shards == NULL) {
        drop_spares(http);
        (void)uv_timer_stop(timer);
    }
}

void ag_http_shards_close(ag_http *http)
{
    drop_spares(http);
    while (http->shards != NULL) {
        struct http_shard *shard = http->shards;

        http->shards = shard->next;
        close_shard(shard);
    }
    if (http->share != NULL)
        (void)http->curl->share_cleanup(http->share);
    http->share = NULL;
    ag_http_store_drop(http);
}
