/*
 * One thread, one epoll, one heap of what is due.
 *
 *     READ the head ──► SKIP the body ──► at once: answer ──► READ
 *                                    └──► later: in the heap until due ──► answer, or a chunk and again
 *
 * A connection has one request under way; what arrives before its answer stays in the socket.
 */
#include "bench/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX  4096
#define EVENTS    256
#define NOT_QUEUED SIZE_MAX

static const char body[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench-1\",\"choices\":[{"
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"" SERVER_ANSWER "\"},\"logprobs\":null,"
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8,\"total_tokens\":32}}";

struct conn {
    int fd;
    size_t head_bytes, body_left;
    bool in_body;
    long chunks;     /* of a stream still to come; -1: one answer */
    int64_t gap_ns;
    int64_t due_ns;
    size_t place;    /* in the heap; NOT_QUEUED */
    char *out;       /* what the socket did not take yet */
    size_t out_bytes;
    char head[HEAD_MAX];
};

struct loop {
    int epoll, listener;
    struct conn **heap;
    size_t count, room;
};

/* --- the heap ---------------------------------------------------------------------------------------- */

static void put_at(struct loop *l, size_t i, struct conn *c)
{
    l->heap[i] = c;
    c->place = i;
}

static void sift(struct loop *l, size_t i)
{
    struct conn *c = l->heap[i];

    while (i > 0 && l->heap[(i - 1) / 2]->due_ns > c->due_ns) {
        put_at(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (size_t k; (k = 2 * i + 1) < l->count; i = k) {
        if (k + 1 < l->count && l->heap[k + 1]->due_ns < l->heap[k]->due_ns)
            k++;
        if (l->heap[k]->due_ns >= c->due_ns)
            break;
        put_at(l, i, l->heap[k]);
    }
    put_at(l, i, c);
}

static void queue(struct loop *l, struct conn *c, int64_t due_ns)
{
    c->due_ns = due_ns;
    if (l->count == l->room) {
        l->room = l->room != 0 ? 2 * l->room : 1024;
        if ((l->heap = realloc(l->heap, l->room * sizeof(struct conn *))) == NULL)
            _exit(1);
    }
    put_at(l, l->count++, c);
    sift(l, c->place);
}

static void unqueue(struct loop *l, struct conn *c)
{
    size_t i = c->place;

    if (i == NOT_QUEUED)
        return;
    c->place = NOT_QUEUED;
    if (--l->count > i) {
        put_at(l, i, l->heap[l->count]);
        sift(l, i);
    }
}

/* --- connections --------------------------------------------------------------------------------------- */

static void drop(struct loop *l, struct conn *c)
{
    unqueue(l, c);
    (void)close(c->fd);
    free(c->out);
    free(c);
}

static void want(struct loop *l, struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};

    (void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* False: the connection is gone. */
static bool put(struct loop *l, struct conn *c, const char *text, size_t bytes)
{
    ssize_t n = c->out_bytes > 0 ? 0 : send(c->fd, text, bytes, MSG_NOSIGNAL);
    char *more;

    if (n < 0 && errno != EAGAIN) {
        drop(l, c);
        return false;
    }
    if (n < 0)
        n = 0;
    if ((size_t)n == bytes)
        return true;
    if ((more = realloc(c->out, c->out_bytes + bytes - (size_t)n)) == NULL)
        _exit(1);
    c->out = more;
    memcpy(c->out + c->out_bytes, text + n, bytes - (size_t)n);
    c->out_bytes += bytes - (size_t)n;
    want(l, c, EPOLLIN | EPOLLOUT);
    return true;
}

static void flush_out(struct loop *l, struct conn *c)
{
    ssize_t n = send(c->fd, c->out, c->out_bytes, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN) {
        drop(l, c);
        return;
    }
    if (n > 0) {
        c->out_bytes -= (size_t)n;
        memmove(c->out, c->out + n, c->out_bytes);
    }
    if (c->out_bytes == 0)
        want(l, c, EPOLLIN);
}

static bool answer(struct loop *l, struct conn *c)
{
    static char whole[sizeof(body) + 200];
    static size_t bytes;

    if (bytes == 0)
        bytes = (size_t)snprintf(whole, sizeof(whole),
                                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                 sizeof(body) - 1, body);
    return put(l, c, whole, bytes);
}

static bool put_chunk(struct loop *l, struct conn *c, const char *data)
{
    char text[600];
    int n = snprintf(text, sizeof(text), "%zx\r\n%s\r\n", strlen(data), data);

    return put(l, c, text, (size_t)n);
}

static bool stream(struct loop *l, struct conn *c)
{
    char data[400];

    if (c->chunks > 0) {
        c->chunks--;
        (void)snprintf(data, sizeof(data),
                       "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                       "\"model\":\"bench-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@%lld \"},"
                       "\"finish_reason\":null}]}\n\n", (long long)bench_now_ns());
        if (!put_chunk(l, c, data))
            return false;
        queue(l, c, c->due_ns + c->gap_ns);
        return true;
    }
    c->chunks = -1;
    return put_chunk(l, c,
                     "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                     "\"model\":\"bench-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n") &&
           put_chunk(l, c, "data: [DONE]\n\n") && put(l, c, "0\r\n\r\n", 5);
}

/* The head is whole and the body skipped. */
static bool begin(struct loop *l, struct conn *c)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const char *path = strchr(c->head, ' ');
    long a = 0, b = 0;

    c->head_bytes = 0;
    if (path != NULL && sscanf(path, " /delay/%ld/", &a) == 1) {
        c->chunks = -1;
        queue(l, c, bench_now_ns() + a * 1000000);
        return true;
    }
    if (path != NULL && sscanf(path, " /sse/%ld/%ld/", &a, &b) == 2) {
        c->chunks = a;
        c->gap_ns = b * 1000000;
        if (!put(l, c, head, sizeof(head) - 1))
            return false;
        queue(l, c, bench_now_ns() + c->gap_ns);
        return true;
    }
    return answer(l, c);
}

static bool eat(struct loop *l, struct conn *c, const char *in, size_t bytes)
{
    while (bytes > 0) {
        if (c->in_body) {
            size_t n = bytes < c->body_left ? bytes : c->body_left;

            c->body_left -= n;
            in += n;
            bytes -= n;
        } else {
            size_t room = HEAD_MAX - 1 - c->head_bytes, n = bytes < room ? bytes : room, before = c->head_bytes;
            char *end, *length;

            memcpy(c->head + before, in, n);
            c->head[before + n] = '\0';
            if ((end = strstr(c->head, "\r\n\r\n")) == NULL) {
                c->head_bytes += n;
                if (n == room) { /* a head that long is none of ours */
                    drop(l, c);
                    return false;
                }
                return true;
            }
            n = (size_t)(end + 4 - c->head) - before;
            in += n;
            bytes -= n;
            *end = '\0';
            c->body_left = (length = strcasestr(c->head, "\r\nContent-Length:")) != NULL
                               ? strtoul(length + 17, NULL, 10) : 0;
            c->in_body = true;
        }
        if (c->in_body && c->body_left == 0) {
            c->in_body = false;
            if (!begin(l, c))
                return false;
        }
    }
    return true;
}

static void readable(struct loop *l, struct conn *c)
{
    static char in[65536];
    ssize_t n = recv(c->fd, in, sizeof(in), 0);

    if (n > 0)
        (void)eat(l, c, in, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        drop(l, c);
}

static void accept_all(struct loop *l)
{
    int fd, on = 1;

    while ((fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

        if (c == NULL)
            _exit(1);
        c->fd = fd;
        c->chunks = -1;
        c->place = NOT_QUEUED;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

static void serve(int listener)
{
    struct loop l = {.epoll = epoll_create1(EPOLL_CLOEXEC), .listener = listener};
    struct epoll_event e = {.events = EPOLLIN}, events[EVENTS];

    (void)epoll_ctl(l.epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int64_t wait_ns = l.count > 0 ? l.heap[0]->due_ns - bench_now_ns() : -1;
        int wait_ms = l.count == 0 ? -1 : wait_ns <= 0 ? 0 : (int)((wait_ns + 999999) / 1000000);
        int n = epoll_wait(l.epoll, events, EVENTS, wait_ms);

        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;

            if (c == NULL)
                accept_all(&l);
            else if ((events[i].events & EPOLLOUT) != 0)
                flush_out(&l, c);
            else
                readable(&l, c);
        }
        for (int64_t now = bench_now_ns(); l.count > 0 && l.heap[0]->due_ns <= now;) {
            struct conn *c = l.heap[0];

            unqueue(&l, c);
            (void)(c->chunks >= 0 ? stream(&l, c) : answer(&l, c));
        }
    }
}

bool server_start(struct bench_run *b, struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    pid_t parent = getpid();

    if (!bench_expect(b, fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 4096) == 0 &&
                             getsockname(fd, (struct sockaddr *)&at, &bytes) == 0, "listen on 127.0.0.1: %s",
                      strerror(errno))) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    (void)fflush(NULL);
    if ((s->pid = fork()) == 0) {
        struct rlimit files;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
            files.rlim_cur = files.rlim_max;
            (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        serve(fd);
    }
    (void)close(fd);
    s->port = ntohs(at.sin_port);
    return bench_expect(b, s->pid > 0, "fork: %s", strerror(errno));
}

void server_stop(struct server *s)
{
    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    s->pid = 0;
}
