/*
 * What the files of the HTTP client share. Who does what:
 *
 *    http.c           a call's life: start, cancel, end; settling what curl's callbacks noted down
 *    http_curl.c      shards: multi handles on the loop, curl's callbacks, options of a transfer
 *    http_sock.c      sockets on the loop: watched, kept between transfers, closed
 *    http_store.c     one set of trusted certificates for all connections
 *    http_host.c      names that are being resolved for the first time: one asks, the others wait
 *    http_deadline.c  which limit is due when; a heap of calls and one timer
 *    http_text.c      pure text: URL, header lines, Retry-After
 *    http_error.c     how a transfer ended, in words
 *
 * Rules for all of them:
 *  (1) Inside curl (http->in_curl) no multi function may be called: what has to be done is put on
 *      `todo` or `waiting` and done by ag_http_settle().
 *  (2) done() is called by ag_http_settle() and the deadline timer only, so never inside curl.
 *  (3) A call is in exactly one state; `queue` says in which list its links are.
 */
#ifndef AG_IO_HTTP_IMPL_H
#define AG_IO_HTTP_IMPL_H

#include <stdint.h>
#include <uv.h>

#include "engine/io/curl_api.h"
#include "engine/io/http.h"

#define HTTP_SHARD_MAX       128 /* transfers per multi: it walks all connections to find an idle one */
#define HTTP_SHARD_TLS       100 /* of them over TLS: the streams that one HTTP/2 connection usually takes */
#define HTTP_HEADER_MAX      (64u << 10)
#define HTTP_RECEIVE_BYTES   (4L << 10) /* buffer of a transfer: memory per run in flight */
#define HTTP_SPARE_MAX       32          /* idle easy handles kept, 6 KB each */
#define HTTP_DNS_SECONDS     600L        /* how long curl keeps an address */
#define HTTP_DNS_KNOWN_MS    540000      /* how long we lean on that: less */
#define HTTP_LINGER_MS       50          /* for a stopped answer to end by itself, so its connection lives */
#define HTTP_LINGER_BYTES    (16u << 10)
#define HTTP_KEEP_MS         30000

struct http_shard;
struct http_host;
struct http_sock;
struct http_store;

struct http_queue {
    ag_http_call *first, *last;
};

enum http_state {
    HTTP_HELD,    /* in host->held: the name is being resolved by another call */
    HTTP_WAITING, /* in http->waiting: to be given to a shard */
    HTTP_RUNNING, /* with a shard */
    HTTP_ENDING,  /* done() is running, or it is being released */
};

struct http_url {
    struct ag_str host; /* without brackets; in the url's text */
    int port;
    bool tls;
};

struct ag_http_call {
    ag_http *http;
    enum http_state state;
    bool cancelled;  /* no callback any more */
    bool stopped;    /* data() said: enough */
    bool done_sent;  /* stopped and told; lingers for its connection's sake */
    bool head_sent, got_bytes, connected;
    bool finished;   /* curl said that it has ended */
    bool looked;     /* its limit was seen as over once; the next time counts */
    struct http_queue *queue;
    ag_http_call *prev, *next; /* in *queue */
    ag_http_call *all_prev, *all_next;

    struct http_shard *shard; /* RUNNING: not NULL */
    CURL *easy;               /* RUNNING: not NULL */
    struct http_host *host;   /* NULL: nothing to resolve */
    struct http_events_copy {
        struct ag_http_events events;
        void *ctx;
    } to;
    struct ag_str body;
    size_t body_sent;         /* by the read callback */
    const char *url;
    struct http_url parts;
    struct curl_slist *headers;

    int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* limits; 0: none */
    int64_t started_at_ms, connected_at_ms, last_byte_at_ms, linger_until_ms; /* loop time */
    int64_t due_ms;    /* its key in the heap */
    size_t heap_index; /* SIZE_MAX: not in it */

    struct ag_http_head head;
    int64_t date_s;    /* the server's clock, from Date; 0: not told */
    char retry_after[64];
    char content_type[96], request_id[96];
    size_t header_bytes, lingered_bytes;
    int local_port;    /* of its connection; connected */
    int sockets;       /* opened for it; 0: it got a connection that was there */
    bool header_too_big;
    agent_status failed; /* it could not be given to curl */
    char curl_error[CURL_ERROR_SIZE];
    size_t block_bytes;  /* of this allocation: all of it is wiped */
};

struct http_shard {
    ag_http *http;
    struct http_shard *next;
    CURLM *multi;
    uv_timer_t timer; /* curl's */
    size_t active, active_tls;
    bool dirty;       /* curl ran since the last look at its messages: it is in http->dirty */
    struct http_shard *dirty_next;
    bool broken;      /* a multi function failed: no new transfers */
    int64_t idle_at_ms; /* when its last transfer ended */
};

struct http_host {
    struct http_host *next;
    ag_http_call *leader;  /* the one that resolves; NULL: nobody */
    struct http_queue held;
    int64_t known_until_ms; /* 0: not known */
    size_t calls;
    char name[];           /* "host:port" */
};

struct ag_http {
    uv_loop_t *loop;
    const struct ag_curl *curl; /* NULL until the first start */
    CURLSH *share;              /* DNS and TLS sessions, for all shards */
    char *ca_file, *proxy;
    struct http_store *store; /* NULL until the first https */
    struct http_shard *shards, *dirty;
    struct http_sock **socks; /* by descriptor */
    size_t sock_room;
    struct http_host *hosts;
    ag_http_call *all;
    struct http_queue waiting, todo;
    CURL *spare[HTTP_SPARE_MAX];
    size_t spare_count, active, calls;
    ag_http_call **heap;
    size_t heap_count, heap_room;
    uv_timer_t deadline;
    int64_t armed_ms; /* when `deadline` fires; INT64_MAX: it does not */
    uv_timer_t tidy;  /* runs while there are shards; does not keep the loop alive */
    int64_t keep_ms;
    int handles;      /* open: the two timers and the shards' */
    int in_curl;
    bool settling, closing;
};

/* http.c */
void ag_http_settle(ag_http *http);
/* Ends a call and tells it, then releases it. status AGENT_OK: as curl's code says. */
void ag_http_finish(ag_http_call *call, CURLcode code);
void ag_http_fail(ag_http_call *call, const agent_error *why);
void ag_http_enqueue(struct http_queue *queue, ag_http_call *call);
void ag_http_dequeue(ag_http_call *call);
ag_http_call *ag_http_pop(struct http_queue *queue);
/* Wants attention once curl has returned. */
void ag_http_note(ag_http_call *call);
/* Gives it to a shard now. On failure it is in none. */
agent_status ag_http_launch(ag_http_call *call, agent_error *err);

/* http_curl.c */
agent_status ag_http_shard_add(ag_http_call *call, agent_error *err);
void ag_http_shard_remove(ag_http_call *call);
/* Looks through the messages of shards that ran; ends what has ended. True: something had. */
bool ag_http_shard_drain(ag_http *http);
void ag_http_shards_close(ag_http *http);
/* The tidy timer: gives back shards that had nothing to do for keep_ms. */
void ag_http_tidy(uv_timer_t *timer);
void ag_http_handle_closed(uv_handle_t *handle);

/* curl has something to do there, or its time has come. */
void ag_http_shard_run(struct http_shard *shard, curl_socket_t fd, int events);

/* http_sock.c: curl's callbacks, and what is left of a descriptor that is no longer that socket */
int ag_http_sock_changed(CURL *easy, curl_socket_t fd, int what, void *ctx, void *of_socket);
int ag_http_sock_close(void *ctx, curl_socket_t fd);
void ag_http_sock_forget(ag_http *http, curl_socket_t fd);

/* http_store.c */
/* Tells a transfer over TLS to use the shared certificates, where that can be. */
CURLcode ag_http_store_use(ag_http *http, CURL *easy);
void ag_http_store_drop(ag_http *http);

/* http_host.c */
/* Finds the entry for the call's host; AGENT_ENOMEM. */
agent_status ag_http_host_enter(ag_http_call *call, agent_error *err);
/* Whether the call may go now; false: it has been put among the held. */
bool ag_http_host_pass(ag_http_call *call);
/* An address was found. */
void ag_http_host_known(ag_http_call *call);
/* The leader went on without resolving (it reused a connection). */
void ag_http_host_skip(ag_http_call *call);
/* The call leaves; `why` is set where the name could not be resolved: then it holds for all that waited. */
void ag_http_host_leave(ag_http_call *call, const agent_error *why);
void ag_http_hosts_drop(ag_http *http);

/* http_deadline.c */
agent_status ag_http_deadline_reserve(ag_http *http, agent_error *err);
void ag_http_deadline_update(ag_http_call *call);        /* after start and changes of phase */
void ag_http_deadline_soon(ag_http_call *call);          /* attention at the loop's next turn */
void ag_http_deadline_remove(ag_http_call *call);

/* http_text.c */
agent_status ag_http_url_parse(const char *url, struct http_url *out, agent_error *err);
agent_status ag_http_header_check(const char *line, agent_error *err);
void ag_http_header_take(ag_http_call *call, struct ag_str line);
/* AGENT_OK and -1 where there is none. */
int64_t ag_http_retry_after(const ag_http_call *call);

/* http_error.c */
agent_status ag_http_explain(const ag_http_call *call, CURLcode code, agent_error *err);

#endif
