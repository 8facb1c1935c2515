/*
 * The baseline of everything over HTTP: sockets, epoll, one thread, no parsing beyond the length.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/server.h"

#define EVENTS 256

/* As long as what the engine sends for the same question. */
static const char request[] =
    "POST /json/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAuthorization: Bearer sk-bench\r\n"
    "Content-Type: application/json\r\nContent-Length: 176\r\n\r\n"
    "{\"model\":\"bench-1\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a bench.\"},{\"role\":\"user\","
    "\"content\":\"What is the capital of France, and since when?\"}],\"stream\":false}       ";

struct line {
    int fd;
    size_t got, whole; /* bytes of the answer that are here; of all of it, 0: not known yet */
};

static bool fail(char *why, const char *what)
{
    (void)snprintf(why, BENCH_WHY_MAX, "bare sockets: %s: %s", what, strerror(errno));
    return false;
}

static bool ask(const struct line *x)
{
    return send(x->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1;
}

/* 1: an answer is whole; 0: not yet; -1: it broke. */
static int hear(struct line *x)
{
    char in[8192];
    ssize_t n = recv(x->fd, in, sizeof(in) - 1, 0);
    char *end, *length;

    if (n <= 0)
        return n < 0 && errno == EAGAIN ? 0 : -1;
    in[n] = '\0';
    if (x->whole == 0) { /* on loopback the head comes in one piece */
        if ((end = strstr(in, "\r\n\r\n")) == NULL || (length = strcasestr(in, "Content-Length:")) == NULL ||
            strncmp(in, "HTTP/1.1 200", 12) != 0)
            return -1;
        x->whole = (size_t)(end + 4 - in) + strtoul(length + 15, NULL, 10);
    }
    if ((x->got += (size_t)n) < x->whole)
        return 0;
    x->got = x->whole = 0;
    return strstr(in, SERVER_ANSWER) != NULL ? 1 : -1;
}

bool sockets_drive(const struct sockets *w, struct sockets_result *out, char *why)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct line *lines = calloc((size_t)w->connections, sizeof(*lines));
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC), on = 1;
    long asked = 0;
    int64_t began_ns;
    double cpu;
    bool ok = lines != NULL && epoll >= 0;

    for (int i = 0; i < w->connections && ok; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &lines[i]};

        lines[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ok = lines[i].fd >= 0 && connect(lines[i].fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
             setsockopt(lines[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
             epoll_ctl(epoll, EPOLL_CTL_ADD, lines[i].fd, &e) == 0;
    }
    if (!ok)
        return fail(why, "connect");
    cpu = bench_cpu_s();
    began_ns = bench_now_ns();
    for (int i = 0; i < w->connections && ok; i++, asked++)
        ok = ask(&lines[i]);
    while (ok && out->answers < w->requests) {
        int n = epoll_wait(epoll, events, EVENTS, 10000);

        ok = n > 0;
        for (int i = 0; i < n && ok; i++) {
            struct line *x = events[i].data.ptr;
            int heard = hear(x);

            ok = heard >= 0;
            out->answers += heard > 0;
            if (heard > 0 && asked < w->requests) {
                ok = ask(x);
                asked++;
            }
        }
    }
    out->wall_s = (double)(bench_now_ns() - began_ns) / 1e9;
    out->cpu_s = bench_cpu_s() - cpu;
    for (int i = 0; i < w->connections; i++)
        (void)close(lines[i].fd);
    (void)close(epoll);
    free(lines);
    return ok || fail(why, "the server's answer");
}
