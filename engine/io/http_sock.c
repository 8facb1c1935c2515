/*
 * curl's sockets on the loop.
 *
 *      curl wants IN or OUT ──► watched ──event──► the shard runs
 *      curl wants nothing   ──► kept, watched for what comes unasked ──► wanted again, or closed
 *
 *  (1) One uv_poll for each, found by its descriptor, in memory of its own that lives until libuv has
 *      closed it; it is gone before curl closes the descriptor, so a number that is used again meets
 *      no old watcher.
 *  (2) A connection that is kept after a transfer stays watched (`wanted` is 0 then): the next
 *      transfer on it costs the kernel nothing, instead of half a dozen epoll_ctl. That is right
 *      only where we hear of its close. curl tells it of connections, not of attempts to connect (a
 *      name with several addresses), so the sockets of a transfer that opened several are not kept.
 */
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/io/http_impl.h"

struct http_sock {
    uv_poll_t poll;
    struct http_shard *shard;
    curl_socket_t fd;
    int watched, wanted; /* events: by the loop, by curl */
};

static void watch(struct http_sock *sock, int events);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct http_sock *sock = poll->data;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);

    if (status < 0)
        sock->watched = 0; /* libuv has stopped it */
    if (sock->wanted == 0) { /* (2): the server closed it, or spoke unasked; curl looks before it uses it again */
        watch(sock, 0);
        return;
    }
    ag_http_shard_run(sock->shard, sock->fd, status < 0 ? CURL_CSELECT_ERR : flags);
}

static void on_sock_closed(uv_handle_t *handle)
{
    ag_free(handle->data);
}

static struct http_sock *find_sock(const ag_http *http, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < http->sock_room ? http->socks[fd] : NULL;
}

static void watch(struct http_sock *sock, int events)
{
    if (sock->watched == events)
        return;
    sock->watched = events;
    if (events == 0)
        (void)uv_poll_stop(&sock->poll);
    else if (uv_poll_start(&sock->poll, events, on_poll) != 0)
        sock->watched = -1;
}

void ag_http_sock_forget(ag_http *http, curl_socket_t fd)
{
    struct http_sock *sock = find_sock(http, fd);

    if (sock == NULL)
        return;
    http->socks[fd] = NULL;
    watch(sock, 0);
    uv_close((uv_handle_t *)&sock->poll, on_sock_closed); /* (1) */
}

static struct http_sock *new_sock(struct http_shard *shard, curl_socket_t fd)
{
    ag_http *http = shard->http;
    struct http_sock *sock;

    if ((size_t)fd >= http->sock_room) {
        size_t room = ((size_t)fd + 64) / 64 * 128;
        struct http_sock **socks = ag_realloc(http->socks, room * sizeof(struct http_sock *));

        if (socks == NULL)
            return NULL;
        memset(socks + http->sock_room, 0, (room - http->sock_room) * sizeof(struct http_sock *));
        http->socks = socks;
        http->sock_room = room;
    }
    if ((sock = ag_calloc(1, sizeof(*sock))) == NULL)
        return NULL;
    if (uv_poll_init_socket(http->loop, &sock->poll, fd) != 0) {
        ag_free(sock);
        return NULL;
    }
    sock->poll.data = sock;
    sock->shard = shard;
    sock->fd = fd;
    return http->socks[fd] = sock;
}

/* (2) */
static bool may_keep(const ag_http *http, CURL *easy)
{
    char *p = NULL;
    const ag_http_call *call;

    if (http->closing || http->curl->easy_getinfo(easy, CURLINFO_PRIVATE, &p) != CURLE_OK || p == NULL)
        return false; /* one of curl's own handles */
    call = (const ag_http_call *)(const void *)p;
    return call->connected && call->sockets <= 1;
}

int ag_http_sock_changed(CURL *easy, curl_socket_t fd, int what, void *ctx, void *of_socket)
{
    struct http_shard *shard = ctx;
    struct http_sock *sock = find_sock(shard->http, fd);
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

    (void)of_socket;
    if (what == CURL_POLL_REMOVE) {
        if (sock == NULL)
            return 0;
        if (!may_keep(shard->http, easy)) {
            ag_http_sock_forget(shard->http, fd);
        } else {
            sock->wanted = 0;
            watch(sock, UV_READABLE);
            uv_unref((uv_handle_t *)&sock->poll); /* an idle client does not keep its loop alive */
        }
        return 0;
    }
    if (sock == NULL && (sock = new_sock(shard, fd)) == NULL)
        return -1; /* curl gives the shard up; run() tells its calls */
    sock->wanted = events;
    uv_ref((uv_handle_t *)&sock->poll);
    watch(sock, events);
    return sock->watched == events ? 0 : -1;
}

/* A connection ends. */
int ag_http_sock_close(void *ctx, curl_socket_t fd)
{
    ag_http_sock_forget(ctx, fd);
    return close(fd);
}
