/*
 * HTTP/2 of the bench server: one nghttp2 session for a connection; each of its requests is a
 * `struct conn` without a socket, so that waiting for its time, or to be released, is the same code
 * as elsewhere. Without libnghttp2 at build time no connection is ever HTTP/2.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/server_impl.h"

#ifdef BENCH_H2
#include <nghttp2/nghttp2.h>

#define STREAMS 100

struct server_h2 {
    struct loop *loop;
    struct conn *conn;
    nghttp2_session *session;
    struct conn *requests;
    bool eating; /* nghttp2 is on the stack: what is to be sent goes afterwards */
};

bool server_has_h2(void)
{
    return true;
}

static void free_request(struct loop *l, struct conn *r)
{
    struct server_h2 *h = r->of->h2;

    server_gone(l, r);
    if (r->stream_prev == NULL)
        h->requests = r->stream_next;
    else
        r->stream_prev->stream_next = r->stream_next;
    if (r->stream_next != NULL)
        r->stream_next->stream_prev = r->stream_prev;
    free(r->head);
    free(r);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct server_h2 *h = ctx;
    struct conn *r;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    r = server_conn_new();
    r->of = h->conn;
    r->stream = frame->hd.stream_id;
    r->head[0] = '\0';
    r->stream_next = h->requests;
    if (h->requests != NULL)
        h->requests->stream_prev = r;
    h->requests = r;
    return nghttp2_session_set_stream_user_data(session, r->stream, r);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *ctx)
{
    struct conn *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags, (void)ctx;
    if (r != NULL && name_bytes == 5 && memcmp(name, ":path", 5) == 0 && value_bytes < SERVER_HEAD_MAX) {
        memcpy(r->head, value, value_bytes);
        r->head[value_bytes] = '\0';
    }
    return 0;
}

static int on_body(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t n, void *ctx)
{
    struct conn *r = nghttp2_session_get_stream_user_data(session, stream);

    (void)flags, (void)ctx;
    if (r != NULL)
        server_mark(r, (const char *)bytes, n);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct server_h2 *h = ctx;
    struct conn *r;

    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    if ((r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)) != NULL)
        (void)server_begin(h->loop, r, r->head);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *ctx)
{
    struct server_h2 *h = ctx;
    struct conn *r = nghttp2_session_get_stream_user_data(session, stream);

    (void)code;
    if (r != NULL)
        free_request(h->loop, r);
    return 0;
}

static bool pump(struct server_h2 *h)
{
    const uint8_t *bytes;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(h->session, &bytes)) > 0)
        if (!server_put(h->loop, h->conn, (const char *)bytes, (size_t)n))
            return false;
    if (n < 0)
        _Exit(1);
    return true;
}

static bool open_session(struct loop *l, struct conn *c)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS}};
    nghttp2_session_callbacks *calls;
    struct server_h2 *h = calloc(1, sizeof(*h));

    if (h == NULL || nghttp2_session_callbacks_new(&calls) != 0)
        _Exit(1);
    h->loop = l;
    h->conn = c;
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_body);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_close);
    if (nghttp2_session_server_new(&h->session, calls, h) != 0 ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 1) != 0)
        _Exit(1);
    nghttp2_session_callbacks_del(calls);
    c->h2 = h;
    return true;
}

bool server_h2_chosen(struct loop *l, struct conn *c)
{
    if (c->asked_h2)
        return c->h2 != NULL;
    c->asked_h2 = true;
    return server_tls_chose_h2(c) && open_session(l, c);
}

bool server_h2_eat(struct loop *l, struct conn *c, const char *in, size_t bytes)
{
    ssize_t n;

    c->h2->eating = true;
    n = nghttp2_session_mem_recv(c->h2->session, (const uint8_t *)in, bytes);
    c->h2->eating = false;
    if (n == (ssize_t)bytes)
        return pump(c->h2);
    server_drop(l, c);
    return false;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *ctx)
{
    (void)session, (void)stream, (void)source, (void)ctx;
    if (room < server_body_bytes()) /* 16 KB at least */
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(to, server_body, server_body_bytes());
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)server_body_bytes();
}

bool server_h2_answer(struct loop *l, struct conn *r)
{
    static uint8_t status[] = ":status", ok[] = "200", type[] = "content-type", json[] = "application/json";
    const nghttp2_nv head[] = {{status, ok, sizeof(status) - 1, sizeof(ok) - 1, NGHTTP2_NV_FLAG_NONE},
                               {type, json, sizeof(type) - 1, sizeof(json) - 1, NGHTTP2_NV_FLAG_NONE}};
    const nghttp2_data_provider body = {.read_callback = read_body};
    struct server_h2 *h = r->of->h2;

    (void)l;
    if (nghttp2_submit_response(h->session, r->stream, head, 2, &body) != 0)
        _Exit(1);
    return h->eating || pump(h);
}

void server_h2_free(struct loop *l, struct conn *c)
{
    if (c->h2 == NULL)
        return;
    while (c->h2->requests != NULL)
        free_request(l, c->h2->requests);
    nghttp2_session_del(c->h2->session);
    free(c->h2);
    c->h2 = NULL;
}

#else

bool server_has_h2(void)
{
    return false;
}

bool server_h2_chosen(struct loop *l, struct conn *c)
{
    (void)l, (void)c;
    return false;
}

bool server_h2_eat(struct loop *l, struct conn *c, const char *in, size_t bytes)
{
    (void)l, (void)c, (void)in, (void)bytes;
    return false;
}

bool server_h2_answer(struct loop *l, struct conn *r)
{
    (void)l, (void)r;
    return false;
}

void server_h2_free(struct loop *l, struct conn *c)
{
    (void)l, (void)c;
}
#endif
