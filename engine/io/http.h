/*
 * HTTP requests on a libuv loop, through curl's multi interface. libcurl is loaded (dlopen) at the
 * first request of the process and not before: a process that needs no network does not pay for it.
 *
 * One ag_http belongs to one loop and its thread; so do its calls and their callbacks. TLS is
 * verified always. No redirects, no cookies, no environment (proxy only as given). HTTP/2 where TLS
 * negotiates it, else HTTP/1.1 with connections kept alive.
 *
 * Signals are the host's: plain sockets never raise SIGPIPE, a TLS library may, so a worker that
 * serves https has SIGPIPE blocked on its thread.
 */
#ifndef AG_IO_HTTP_H
#define AG_IO_HTTP_H

#include <stdint.h>
#include <uv.h>

#include "engine/base/buf.h"

typedef struct ag_http ag_http;
typedef struct ag_http_call ag_http_call;

struct ag_http_options {
    const char *ca_file; /* NULL: the system's bundle; copied */
    const char *proxy;   /* NULL: none; copied */
    int64_t keep_ms;     /* unused connections and their buffers are given back after it; 0: 30000 */
};

/* A timeout of 0 is none. All in ms, measured by the loop. */
struct ag_http_request {
    const char *url;
    const char *const *headers; /* complete lines "Name: value", NULL-terminated; copied, wiped after use */
    struct ag_str body;         /* borrowed until done() or ag_http_cancel() returns */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
};

struct ag_http_head {
    int status;
    const char *content_type;  /* "" where there is none; borrowed */
    int64_t retry_after_ms;    /* from retry-after-ms or retry-after (seconds or HTTP date); -1: none */
    int should_retry;          /* x-should-retry: 1, 0, -1 not given */
    const char *request_id;    /* x-request-id or request-id; "" */
};

/* How a call ended. status AGENT_OK: the transfer is complete (whatever its HTTP status).
 * AGENT_ENETWORK: not connected, broken, TLS. AGENT_ETIMEDOUT: error says which limit.
 * AGENT_EPROTOCOL: what came is not HTTP, or its header is over 64 KB. AGENT_ENOMEM. */
struct ag_http_end {
    agent_status status;
    const agent_error *error; /* names host and cause; set where status is not AGENT_OK */
    bool got_bytes;           /* any byte of an answer arrived */
};

struct ag_http_events {
    void (*head)(void *ctx, const struct ag_http_head *head); /* once, before data; may be NULL */
    /* False: enough; done() follows at once with AGENT_OK. The transfer is given a moment to end by
     * itself, so that its connection can be used again; nothing of it is told any more. */
    bool (*data)(void *ctx, const char *bytes, size_t n);
    /* Exactly once unless cancelled; the call is gone after it. */
    void (*done)(void *ctx, const struct ag_http_end *end);
};

/* Cheap: opens nothing. Close handles with ag_http_close() and run the loop until closed. */
agent_status ag_http_new(uv_loop_t *loop, const struct ag_http_options *o, ag_http **out, agent_error *err);
/* Cancels what is in flight and closes its handles; memory goes once the loop has run them. NULL is fine. */
void ag_http_close(ag_http *http);

/* Starts a POST. On failure nothing was started and no callback will come: AGENT_EINVAL (URL,
 * header; a line break in a header is refused), AGENT_ENETWORK (no libcurl; the hint names the
 * package), AGENT_ENOMEM. No callback comes before the loop runs. May be called from callbacks. */
agent_status ag_http_start(ag_http *http, const struct ag_http_request *request, const struct ag_http_events *events,
                           void *ctx, ag_http_call **out, agent_error *err);
/* No callback after this; may be called from inside the call's own callbacks. The socket is closed
 * (HTTP/1.1) or the stream reset (HTTP/2) before the loop waits again. */
void ag_http_cancel(ag_http_call *call);
/* Calls in flight. */
size_t ag_http_active(const ag_http *http);

#endif
