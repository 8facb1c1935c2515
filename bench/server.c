/*
 * HTTP/1.1 of the bench server: one thread, one epoll, one heap of what is due.
 *
 *     READ the head ──► SKIP the body ──► at once: answer ──► READ
 *                                    └──► later: in the heap until due ──► answer, or a chunk and again
 *
 *                                    └──► /hold: in a list until released ──► answer
 *
 * A connection of HTTP/1.1 has one request under way; what arrives before its answer stays in the
 * socket. Under TLS (server_tls.c) it may be HTTP/2 instead: then each request is a `struct conn` of
 * its own, without a socket (server_h2.c).
 */
#include "bench/server_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS       256
#define HELD_LOOK_MS 10

const char server_body[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench-1\",\"choices\":[{"
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"" SERVER_ANSWER "\"},\"logprobs\":null,"
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8,\"total_tokens\":32}}";

size_t server_body_bytes(void)
{
    return sizeof(server_body) - 1;
}

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

static void queue_up(struct loop *l, struct conn *c, int64_t due_ns)
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

/* --- held requests ------------------------------------------------------------------------------------- */

static void hold(struct loop *l, struct conn *c)
{
    c->held = true;
    c->held_prev = NULL;
    c->held_next = l->held;
    if (l->held != NULL)
        l->held->held_prev = c;
    l->held = c;
    (void)atomic_fetch_add(&l->board->waiting, 1);
}

static void unhold(struct loop *l, struct conn *c)
{
    if (!c->held)
        return;
    c->held = false;
    if (c->held_prev == NULL)
        l->held = c->held_next;
    else
        c->held_prev->held_next = c->held_next;
    if (c->held_next != NULL)
        c->held_next->held_prev = c->held_prev;
    (void)atomic_fetch_sub(&l->board->waiting, 1);
}

/* "mark=N" in a request's body: where its connection or stream ends before the answer, the board tells when. */
void server_mark(struct conn *c, const char *text, size_t bytes)
{
    const char *at = memmem(text, bytes, "mark=", 5);

    if (at != NULL)
        c->mark = strtol(at + 5, NULL, 10);
}

/* The request is gone: nothing is owed to it. */
void server_gone(struct loop *l, struct conn *c)
{
    if (c->held && c->mark >= 0 && c->mark < SERVER_MARKS)
        atomic_store(&l->board->closed_ns[c->mark], bench_now_ns());
    unhold(l, c);
    unqueue(l, c);
}

/* --- connections --------------------------------------------------------------------------------------- */

void server_drop(struct loop *l, struct conn *c)
{
    server_gone(l, c);
    server_h2_free(l, c);
    server_tls_free(c);
    (void)close(c->fd);
    free(c->out);
    free(c->head);
    free(c);
}

static void want(struct loop *l, struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};

    (void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static ssize_t put_some(struct conn *c, const char *text, size_t bytes)
{
    return c->tls != NULL ? server_tls_send(c, text, bytes) : send(c->fd, text, bytes, MSG_NOSIGNAL);
}

/* False: the connection is gone. */
bool server_put(struct loop *l, struct conn *c, const char *text, size_t bytes)
{
    ssize_t n = c->out_bytes > 0 ? 0 : put_some(c, text, bytes);
    char *more;

    if (n < 0 && errno != EAGAIN) {
        server_drop(l, c);
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
    ssize_t n = put_some(c, c->out, c->out_bytes);

    if (n < 0 && errno != EAGAIN) {
        server_drop(l, c);
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
    static char whole[sizeof(server_body) + 200];
    int n;

    unhold(l, c);
    c->mark = -1;
    if (c->of != NULL)
        return server_h2_answer(l, c);
    n = snprintf(whole, sizeof(whole),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                 c->last ? "Connection: close\r\n" : "", sizeof(server_body) - 1, server_body);
    if (!server_put(l, c, whole, (size_t)n))
        return false;
    if (c->last) {
        server_drop(l, c);
        return false;
    }
    return true;
}

static bool refuse(struct loop *l, struct conn *c, long status)
{
    static const char said[] = "{\"error\":{\"message\":\"The bench refuses.\",\"type\":\"server_error\"}}";
    char text[300];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %ld Refused\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                     sizeof(said) - 1, said);

    return server_put(l, c, text, (size_t)n);
}

static bool put_chunk(struct loop *l, struct conn *c, const char *data)
{
    char text[600];
    int n = snprintf(text, sizeof(text), "%zx\r\n%s\r\n", strlen(data), data);

    return server_put(l, c, text, (size_t)n);
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
        queue_up(l, c, c->due_ns + c->gap_ns);
        return true;
    }
    c->chunks = -1;
    return put_chunk(l, c,
                     "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                     "\"model\":\"bench-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n") &&
           put_chunk(l, c, "data: [DONE]\n\n") && server_put(l, c, "0\r\n\r\n", 5);
}

/* The request is whole: does what its path asks for. False: the connection is gone. */
bool server_begin(struct loop *l, struct conn *c, const char *path)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    long a = 0, b = 0;

    c->last = strncmp(path, "/close/", 7) == 0;
    if (strncmp(path, "/hold/", 6) == 0 && !atomic_load(&l->board->released)) {
        hold(l, c);
        return true;
    }
    if (c->of == NULL && sscanf(path, "/fail/%ld/", &a) == 1)
        return refuse(l, c, a);
    if (sscanf(path, "/delay/%ld/", &a) == 1) {
        c->chunks = -1;
        queue_up(l, c, bench_now_ns() + a * 1000000);
        return true;
    }
    if (c->of == NULL && sscanf(path, "/sse/%ld/%ld/", &a, &b) == 2) {
        c->chunks = a;
        c->gap_ns = b * 1000000;
        if (!server_put(l, c, head, sizeof(head) - 1))
            return false;
        queue_up(l, c, bench_now_ns() + c->gap_ns);
        return true;
    }
    return answer(l, c);
}

/* In its head, or in its key. */
static const char *path_of(const struct conn *c)
{
    const char *path = strchr(c->head, ' '), *key;

    if (path != NULL && strncmp(path, " /key/", 6) == 0 &&
        (key = strcasestr(c->head, "\r\nAuthorization: Bearer ")) != NULL)
        path = key + 23;
    return path != NULL ? path + 1 : "";
}

static bool eat(struct loop *l, struct conn *c, const char *in, size_t bytes)
{
    while (bytes > 0) {
        if (c->in_body) {
            size_t n = bytes < c->body_left ? bytes : c->body_left;

            c->body_left -= n;
            server_mark(c, in, n);
            in += n;
            bytes -= n;
        } else {
            size_t room = SERVER_HEAD_MAX - 1 - c->head_bytes, n = bytes < room ? bytes : room, before = c->head_bytes;
            char *end, *length;

            memcpy(c->head + before, in, n);
            c->head[before + n] = '\0';
            if ((end = strstr(c->head, "\r\n\r\n")) == NULL) {
                c->head_bytes += n;
                if (n == room) { /* a head that long is none of ours */
                    server_drop(l, c);
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
            c->head_bytes = 0;
            if (!server_begin(l, c, path_of(c)))
                return false;
        }
    }
    return true;
}

static void readable(struct loop *l, struct conn *c)
{
    static char in[65536];

    for (bool again = true; again;) {
        ssize_t n = c->tls != NULL ? server_tls_recv(c, in, sizeof(in)) : recv(c->fd, in, sizeof(in), 0);

        again = c->tls != NULL; /* of what a record holds beyond `in` no event tells */
        if (n == 0 || (n < 0 && errno != EAGAIN))
            server_drop(l, c);
        if (n <= 0)
            return;
        if (c->tls != NULL && server_h2_chosen(l, c)) {
            if (!server_h2_eat(l, c, in, (size_t)n))
                return;
        } else if (!eat(l, c, in, (size_t)n)) {
            return;
        }
    }
}

struct conn *server_conn_new(void)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (c == NULL || (c->head = malloc(SERVER_HEAD_MAX)) == NULL)
        _exit(1);
    c->fd = -1;
    c->chunks = -1;
    c->mark = -1;
    c->place = NOT_QUEUED;
    return c;
}

static void accept_all(struct loop *l)
{
    int fd, on = 1;

    while ((fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = server_conn_new();
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

        c->fd = fd;
        (void)atomic_fetch_add(&l->board->accepted, 1);
        if (l->tls != NULL)
            server_tls_accept(l, c);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

static void serve(int listener, struct server_board *board, struct server_tls *tls)
{
    struct loop l = {.epoll = epoll_create1(EPOLL_CLOEXEC), .listener = listener, .board = board, .tls = tls};
    struct epoll_event e = {.events = EPOLLIN}, events[EVENTS];

    (void)epoll_ctl(l.epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int64_t wait_ns = l.count > 0 ? l.heap[0]->due_ns - bench_now_ns() : -1;
        int wait_ms = l.count == 0 ? -1 : wait_ns <= 0 ? 0 : (int)((wait_ns + 999999) / 1000000);
        int n;

        if (l.held != NULL && (wait_ms < 0 || wait_ms > HELD_LOOK_MS))
            wait_ms = HELD_LOOK_MS;
        n = epoll_wait(l.epoll, events, EVENTS, wait_ms);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;

            if (c == NULL)
                accept_all(&l);
            else if ((events[i].events & EPOLLOUT) != 0)
                flush_out(&l, c);
            else
                readable(&l, c);
        }
        while (l.held != NULL && atomic_load(&board->released))
            (void)answer(&l, l.held);
        for (int64_t now = bench_now_ns(); l.count > 0 && l.heap[0]->due_ns <= now;) {
            struct conn *c = l.heap[0];

            unqueue(&l, c);
            (void)(c->chunks >= 0 ? stream(&l, c) : answer(&l, c));
        }
    }
}

bool server_start(struct bench_run *b, struct server *s)
{
    return server_start_tls(b, s, SERVER_PLAIN, NULL);
}

bool server_start_tls(struct bench_run *b, struct server *s, enum server_kind kind, const char *ca_file)
{
    struct server_tls *tls = NULL;
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
    s->board = mmap(NULL, sizeof(*s->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!bench_expect(b, s->board != MAP_FAILED, "mmap: %s", strerror(errno)) ||
        (kind != SERVER_PLAIN && !bench_expect(b, (tls = server_tls_new(kind, ca_file)) != NULL,
                                               "no TLS server: a key, a certificate or %s could not be made", ca_file))) {
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
        serve(fd, s->board, tls);
    }
    (void)close(fd);
    server_tls_drop(tls);
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
    (void)munmap(s->board, sizeof(*s->board));
}
