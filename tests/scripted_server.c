/*
 * One thread accepts, one thread serves each connection: blocking code that reads like the protocol.
 * One mutex guards everything shared; one condition tells every change.
 */
#include "tests/scripted_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER_MAX (1u << 20)

struct connection {
    struct connection *next;
    struct scripted *server;
    pthread_t thread;
    int fd, number;
    char *in; /* bytes read and not yet used */
    size_t in_bytes, in_room;
};

struct scripted {
    int listener, port;
    char url[64];
    pthread_t acceptor;
    scripted_fn fn;
    void *ctx;
    struct scripted_answer *answers;
    size_t answer_count;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;                      /* guarded by lock, as all below */
    struct connection *connections;     /* open or ended; joined by stop */
    int accepted, open;
    struct scripted_request **requests; /* each stays where it is */
    size_t request_count, request_room;
    size_t in_order;                    /* answers given by order so far */
};

static void *must(void *p)
{
    if (p == NULL)
        abort(); /* a test without memory says nothing */
    return p;
}

static struct timespec in_ms(int ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

/* False: the server is being stopped. */
static bool nap(struct scripted *s, int ms)
{
    struct timespec until = in_ms(ms);
    bool stopping;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping && ms > 0 && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT)
        ;
    stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return !stopping;
}

/* --- reading ------------------------------------------------------------------------------------- */

static bool fill(struct connection *c)
{
    ssize_t n;

    if (c->in_room - c->in_bytes < 65536) {
        c->in_room = c->in_room * 2 + 65536;
        c->in = must(realloc(c->in, c->in_room));
    }
    do
        n = recv(c->fd, c->in + c->in_bytes, c->in_room - c->in_bytes - 1, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    c->in_bytes += (size_t)n;
    c->in[c->in_bytes] = '\0';
    return true;
}

static void eat(struct connection *c, size_t n)
{
    memmove(c->in, c->in + n, c->in_bytes - n);
    c->in_bytes -= n;
    c->in[c->in_bytes] = '\0';
}

bool scripted_header(const struct scripted_request *r, const char *name, char *to, size_t room)
{
    size_t n = strlen(name);

    for (const char *line = r->headers; *line != '\0';) {
        const char *end = strstr(line, "\r\n");
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *value = line + n + 1;
            while (*value == ' ')
                value++;
            snprintf(to, room, "%.*s", (int)(end - value), value);
            return true;
        }
        line = end + 2;
    }
    return false;
}

static char *copy(const char *p, size_t n)
{
    char *to = must(malloc(n + 1));

    memcpy(to, p, n);
    to[n] = '\0';
    return to;
}

/* A body of known length or of chunks, moved from the connection into the request. */
static bool read_body(struct connection *c, struct scripted_request *r)
{
    char value[64];

    if (scripted_header(r, "transfer-encoding", value, sizeof(value))) {
        r->body = must(calloc(1, 1));
        for (;;) {
            const char *line;
            size_t n;

            while (c->in_bytes == 0 || (line = strstr(c->in, "\r\n")) == NULL)
                if (!fill(c))
                    return false;
            n = strtoul(c->in, NULL, 16);
            eat(c, (size_t)(line - c->in) + 2);
            while (c->in_bytes < n + 2)
                if (!fill(c))
                    return false;
            r->body = must(realloc(r->body, r->body_bytes + n + 1));
            memcpy(r->body + r->body_bytes, c->in, n);
            r->body_bytes += n;
            r->body[r->body_bytes] = '\0';
            eat(c, n + 2);
            if (n == 0)
                return true;
        }
    }
    r->body_bytes = scripted_header(r, "content-length", value, sizeof(value)) ? strtoul(value, NULL, 10) : 0;
    while (c->in_bytes < r->body_bytes)
        if (!fill(c))
            return false;
    r->body = copy(r->body_bytes > 0 ? c->in : "", r->body_bytes);
    if (r->body_bytes > 0)
        eat(c, r->body_bytes);
    return true;
}

static void free_request(struct scripted_request *r)
{
    free(r->method);
    free(r->path);
    free(r->headers);
    free(r->body);
    free(r);
}

static struct scripted_request *read_request(struct connection *c)
{
    struct scripted_request *r;
    char *end, *line_end, *space, *space2;

    while (c->in_bytes == 0 || (end = strstr(c->in, "\r\n\r\n")) == NULL)
        if (c->in_bytes > HEADER_MAX || !fill(c))
            return NULL;
    line_end = strstr(c->in, "\r\n");
    space = strchr(c->in, ' ');
    space2 = space == NULL ? NULL : strchr(space + 1, ' ');
    if (space2 == NULL || space2 > line_end)
        return NULL;
    r = must(calloc(1, sizeof(*r)));
    r->connection = c->number;
    r->method = copy(c->in, (size_t)(space - c->in));
    r->path = copy(space + 1, (size_t)(space2 - space) - 1);
    r->headers = copy(line_end + 2, (size_t)(end - line_end));
    eat(c, (size_t)(end - c->in) + 4);
    if (!read_body(c, r)) {
        free_request(r);
        return NULL;
    }
    return r;
}

/* --- answering ------------------------------------------------------------------------------------ */

static bool send_all(struct connection *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t wrote = send(c->fd, p, n, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        p += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

static bool send_piece(struct connection *c, const struct scripted_answer *a, const char *p, size_t n)
{
    char size[32];

    if (a->framing != SCRIPTED_CHUNKED)
        return send_all(c, p, n);
    snprintf(size, sizeof(size), "%zx\r\n", n);
    return send_all(c, size, strlen(size)) && send_all(c, p, n) && send_all(c, "\r\n", 2);
}

static bool send_head(struct connection *c, const struct scripted_answer *a, size_t body_bytes)
{
    int status = a->status == 0 ? 200 : a->status;
    char head[512], framing[64] = "";

    if (a->framing == SCRIPTED_RAW)
        return true;
    if (a->framing == SCRIPTED_LENGTH)
        snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n", body_bytes + (a->cut || a->reset ? 1 : 0));
    else if (a->framing == SCRIPTED_CHUNKED)
        snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n");
    snprintf(head, sizeof(head), "HTTP/1.1 %d Scripted\r\nContent-Type: %s\r\n%s%s", status,
             a->type == NULL ? "application/json" : a->type, framing,
             a->framing == SCRIPTED_CLOSE || a->last ? "Connection: close\r\n" : "");
    return send_all(c, head, strlen(head)) &&
           (a->headers == NULL || send_all(c, a->headers, strlen(a->headers))) && send_all(c, "\r\n", 2);
}

/* Until the client closes, or we are stopped. */
static void wait_for_goodbye(struct connection *c)
{
    while (fill(c))
        ;
}

static bool gone(struct connection *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0;
}

/* False: the connection is to be closed. */
static bool answer(struct connection *c, const struct scripted_answer *a)
{
    struct scripted *s = c->server;
    const char *body = a->body == NULL ? "" : a->body;
    size_t n = a->body_bytes > 0 ? a->body_bytes : strlen(body), step = a->split > 0 ? a->split : n;
    bool more = false;

    if (!nap(s, a->delay_ms) || !send_head(c, a, n))
        return false;
    do {
        for (size_t at = 0; at < n; at += step) {
            if ((at > 0 || more) && a->piece_ms > 0 && !nap(s, a->piece_ms))
                return false;
            if (!send_piece(c, a, body + at, n - at < step ? n - at : step))
                return false;
            if (a->endless && gone(c))
                return false;
        }
        more = true;
    } while (a->endless && nap(s, 0));
    if (a->hang)
        wait_for_goodbye(c);
    if (a->reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    if (a->hang || a->cut || a->reset || a->last || a->framing == SCRIPTED_CLOSE)
        return false;
    return a->framing != SCRIPTED_CHUNKED || send_all(c, "0\r\n\r\n", 5);
}

static bool fits(const struct scripted_answer *a, const struct scripted_request *r)
{
    return (a->when_path == NULL || strstr(r->path, a->when_path) != NULL) &&
           (a->when_body == NULL || strstr(r->body, a->when_body) != NULL);
}

void scripted_choose(const struct scripted_answer *answers, size_t n, size_t *given,
                     const struct scripted_request *request, struct scripted_answer *out)
{
    const struct scripted_answer *last = NULL;
    size_t turn = 0;

    for (size_t i = 0; i < n; i++)
        if ((answers[i].when_path != NULL || answers[i].when_body != NULL) && fits(&answers[i], request)) {
            *out = answers[i];
            return;
        }
    for (size_t i = 0; i < n && turn <= *given; i++)
        if (answers[i].when_path == NULL && answers[i].when_body == NULL) {
            last = &answers[i];
            turn++;
        }
    (*given)++;
    *out = last != NULL ? *last : (struct scripted_answer){.status = 404, .body = "{\"error\":{\"message\":\"no answer\"}}"};
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    struct scripted *s = c->server;
    struct scripted_request *r;
    bool keep = true;

    while (keep && (r = read_request(c)) != NULL) {
        struct scripted_answer a = {0};
        size_t index;

        pthread_mutex_lock(&s->lock);
        if (s->request_count == s->request_room) {
            s->request_room = s->request_room * 2 + 16;
            s->requests = must(realloc(s->requests, s->request_room * sizeof(*s->requests)));
        }
        index = s->request_count;
        s->requests[s->request_count++] = r;
        if (s->fn == NULL)
            scripted_choose(s->answers, s->answer_count, &s->in_order, r, &a);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        if (s->fn != NULL)
            s->fn(s->ctx, r, index, &a);
        keep = answer(c, &a);
        free(a.owned);
    }
    pthread_mutex_lock(&s->lock);
    close(c->fd);
    c->fd = -1;
    s->open--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    free(c->in);
    c->in = NULL;
    return NULL;
}

static void *accept_all(void *arg)
{
    struct scripted *s = arg;
    int fd, on = 1;

    while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR || errno == ECONNABORTED) {
        struct connection *c;
        bool started;

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c = must(calloc(1, sizeof(*c)));
        c->server = s;
        c->fd = fd;
        pthread_mutex_lock(&s->lock);
        c->number = ++s->accepted;
        s->open++;
        started = !s->stopping && pthread_create(&c->thread, NULL, serve, c) == 0;
        if (started) {
            c->next = s->connections;
            s->connections = c;
        } else {
            s->open--;
            close(fd);
            free(c);
        }
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

/* --- starting and stopping -------------------------------------------------------------------------- */

static bool listen_anywhere(struct scripted *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);

    if ((s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
        bind(s->listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(s->listener, 4096) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&at, &size) != 0)
        return false;
    s->port = ntohs(at.sin_port);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", s->port);
    return true;
}

static struct scripted *start(struct scripted *s)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!listen_anywhere(s) || pthread_create(&s->acceptor, NULL, accept_all, s) != 0) {
        if (s->listener >= 0)
            close(s->listener);
        free(s->answers);
        free(s);
        return NULL;
    }
    return s;
}

struct scripted *scripted_start(const struct scripted_answer *answers, size_t n)
{
    struct scripted *s = must(calloc(1, sizeof(*s)));

    s->answers = must(calloc(n + 1, sizeof(*answers)));
    if (n > 0)
        memcpy(s->answers, answers, n * sizeof(*answers));
    s->answer_count = n;
    return start(s);
}

struct scripted *scripted_start_fn(scripted_fn fn, void *ctx)
{
    struct scripted *s = must(calloc(1, sizeof(*s)));

    s->fn = fn;
    s->ctx = ctx;
    return start(s);
}

void scripted_stop(struct scripted *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    shutdown(s->listener, SHUT_RDWR); /* wakes accept */
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        if (c->fd >= 0)
            shutdown(c->fd, SHUT_RDWR);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->acceptor, NULL);
    while (s->connections != NULL) {
        struct connection *c = s->connections;
        s->connections = c->next;
        pthread_join(c->thread, NULL);
        free(c);
    }
    close(s->listener);
    for (size_t i = 0; i < s->request_count; i++)
        free_request(s->requests[i]);
    free(s->requests);
    free(s->answers);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* --- asking ------------------------------------------------------------------------------------------ */

const char *scripted_url(const struct scripted *s)
{
    return s->url;
}

int scripted_port(const struct scripted *s)
{
    return s->port;
}

const struct scripted_request *scripted_request(struct scripted *s, size_t i)
{
    const struct scripted_request *r;

    pthread_mutex_lock(&s->lock);
    r = i < s->request_count ? s->requests[i] : NULL;
    pthread_mutex_unlock(&s->lock);
    return r;
}

size_t scripted_requests(struct scripted *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->request_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool scripted_wait(struct scripted *s, size_t n, int ms)
{
    struct timespec until = in_ms(ms);
    bool enough;

    pthread_mutex_lock(&s->lock);
    while (s->request_count < n && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT)
        ;
    enough = s->request_count >= n;
    pthread_mutex_unlock(&s->lock);
    return enough;
}

int scripted_connections(struct scripted *s)
{
    int n;

    pthread_mutex_lock(&s->lock);
    n = s->accepted;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int scripted_open_connections(struct scripted *s)
{
    int n;

    pthread_mutex_lock(&s->lock);
    n = s->open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool scripted_wait_closed(struct scripted *s, int n, int ms)
{
    struct timespec until = in_ms(ms);
    bool closed;

    pthread_mutex_lock(&s->lock);
    while (s->open > n && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT)
        ;
    closed = s->open <= n;
    pthread_mutex_unlock(&s->lock);
    return closed;
}
