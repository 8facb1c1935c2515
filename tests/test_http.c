/* Requests over real sockets to a server that misbehaves on purpose. */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/io/http.h"
#include "tests/scripted_server.h"

static uv_loop_t loop;
static ag_http *http;
static agent_error err;
static struct scripted *server;

/* --- a resolver that can be held up ---------------------------------------------------------------- */

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static atomic_int lookups; /* of names that end in ".test" */
static sem_t may_resolve;  /* "slow….test" waits for it */
static sem_t resolving;    /* posted when one has begun */

/* libcurl is loaded after us and so finds this one: good.test and slow.test are 127.0.0.1. */
__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **out)
{
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    size_t n = name == NULL ? 0 : strlen(name);
    getaddrinfo_fn *real;

    memcpy(&real, &symbol, sizeof(real));
    if (n < 5 || strcmp(name + n - 5, ".test") != 0)
        return real(name, service, hints, out);
    atomic_fetch_add(&lookups, 1);
    if (strncmp(name, "slow", 4) == 0 || strncmp(name, "none", 4) == 0) {
        sem_post(&resolving);
        while (sem_wait(&may_resolve) != 0)
            ;
    }
    if (strncmp(name, "none", 4) == 0)
        return EAI_NONAME;
    return real("127.0.0.1", service, hints, out);
}

/* --- one call, watched -------------------------------------------------------------------------------- */

struct watch {
    int heads, dones, bytes_after_done;
    struct ag_http_head head;
    char content_type[100], request_id[100];
    ag_buf data;
    agent_status status;
    agent_error error;
    bool got_bytes;
    ag_http_call *call;
    /* what to do in a callback */
    size_t enough;             /* data() says false from this many bytes on; 0: never */
    bool cancel_in_head, cancel_in_data, cancel_in_done, close_in_data, close_in_done;
    struct watch *cancel_other; /* in data() */
    struct watch *start_in_data, *start_in_done;
    const struct ag_http_request *request; /* for those started so */
};

static const struct ag_http_events events;

static void start_again(struct watch *w)
{
    ck_assert_msg(ag_http_start(http, w->request, &events, w, &w->call, &err) == AGENT_OK, "%s", err.text);
}

static void close_client(void)
{
    ag_http_close(http);
    http = NULL;
}

static void on_head(void *ctx, const struct ag_http_head *head)
{
    struct watch *w = ctx;

    w->heads++;
    w->head = *head;
    snprintf(w->content_type, sizeof(w->content_type), "%s", head->content_type);
    snprintf(w->request_id, sizeof(w->request_id), "%s", head->request_id);
    ck_assert_uint_eq(w->data.n, 0);
    if (w->cancel_in_head)
        ag_http_cancel(w->call);
}

static bool on_data(void *ctx, const char *bytes, size_t n)
{
    struct watch *w = ctx, *other = w->start_in_data;

    ck_assert_int_eq(w->dones, 0);
    ck_assert_int_eq(w->heads, 1);
    ck_assert_uint_gt(n, 0);
    ag_buf_append(&w->data, bytes, n);
    w->start_in_data = NULL;
    if (other != NULL)
        start_again(other);
    if (w->cancel_other != NULL) {
        ag_http_cancel(w->cancel_other->call);
        w->cancel_other = NULL;
    }
    if (w->close_in_data)
        close_client();
    else if (w->cancel_in_data)
        ag_http_cancel(w->call);
    return w->enough == 0 || w->data.n < w->enough;
}

static void on_done(void *ctx, const struct ag_http_end *end)
{
    struct watch *w = ctx;

    w->dones++;
    w->status = end->status;
    w->got_bytes = end->got_bytes;
    ck_assert_int_eq(end->error == NULL, end->status == AGENT_OK);
    if (end->error != NULL) {
        w->error = *end->error;
        ck_assert_int_eq(end->error->status, end->status);
    }
    if (w->cancel_in_done)
        ag_http_cancel(w->call);
    if (w->start_in_done != NULL)
        start_again(w->start_in_done);
    if (w->close_in_done)
        close_client();
}

static const struct ag_http_events events = {on_head, on_data, on_done};

static struct watch watch_new(void)
{
    return (struct watch){.data = AG_BUF_INIT(256u << 20)};
}

static const char *const plain_headers[] = {"Authorization: Bearer canary", "Content-Type: application/json", NULL};

static struct ag_http_request request_to(const char *url)
{
    return (struct ag_http_request){.url = url, .headers = plain_headers, .body = AG_STR("{\"a\":1}")};
}

static void start(struct watch *w, const struct ag_http_request *q)
{
    ck_assert_msg(ag_http_start(http, q, &events, w, &w->call, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(w->dones, 0); /* never from inside start */
}

static void run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* One request to `server`, run to its end. */
static struct watch fetch_with(const struct ag_http_request *q)
{
    struct watch w = watch_new();

    start(&w, q);
    run();
    ck_assert_int_eq(w.dones, 1);
    ck_assert_uint_eq(http == NULL ? 0 : ag_http_active(http), 0);
    return w;
}

static struct watch fetch(void)
{
    struct ag_http_request q = request_to(scripted_url(server));
    return fetch_with(&q);
}

static void serve(const struct scripted_answer *answers, size_t n)
{
    ck_assert_ptr_null(server);
    server = scripted_start(answers, n);
    ck_assert_ptr_nonnull(server);
}

#define SERVE(...) \
    serve((const struct scripted_answer[]){__VA_ARGS__}, \
          sizeof((const struct scripted_answer[]){__VA_ARGS__}) / sizeof(struct scripted_answer))

/* Before what it serves is freed. */
static void stop_server(void)
{
    scripted_stop(server);
    server = NULL;
}

static void new_client(const struct ag_http_options *o)
{
    ck_assert_int_eq(ag_http_new(&loop, o, &http, &err), AGENT_OK);
}

static void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    sem_init(&may_resolve, 0, 0);
    sem_init(&resolving, 0, 0);
    atomic_store(&lookups, 0);
    new_client(NULL);
}

static void tear_down(void)
{
    ag_http_close(http);
    http = NULL;
    run();
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* every handle is closed */
    stop_server();
}

/* --- loading ------------------------------------------------------------------------------------------- */

static bool libcurl_is_mapped(void)
{
    char line[1024];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        found = found || strstr(line, "libcurl") != NULL;
    fclose(maps);
    return found;
}

/* The first test of the suite: without forks, any later one would find it loaded. */
START_TEST(libcurl_is_loaded_by_the_first_request_and_not_before)
{
    struct ag_http_request q = request_to("ftp://127.0.0.1/");
    struct watch w = watch_new();

    ck_assert(!libcurl_is_mapped());
    ck_assert_int_eq(ag_http_start(http, &q, &events, &w, &w.call, &err), AGENT_EINVAL);
    ck_assert(!libcurl_is_mapped());
    SERVE({.body = "x"});
    w = fetch();
    ck_assert(libcurl_is_mapped());
    ag_buf_drop(&w.data);
}
END_TEST

/* --- what is sent and what comes back -------------------------------------------------------------------- */

START_TEST(a_request_is_sent_as_given_and_its_answer_comes_back)
{
    const struct scripted_request *r;
    struct watch w;
    char value[100];

    SERVE({.status = 201, .type = "application/json; charset=utf-8", .headers = "x-request-id: req-1\r\n",
           .body = "{\"ok\":true}"});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_int_eq(w.heads, 1);
    ck_assert_int_eq(w.head.status, 201);
    ck_assert_str_eq(w.content_type, "application/json; charset=utf-8");
    ck_assert_str_eq(w.request_id, "req-1");
    ck_assert_int_eq(w.head.retry_after_ms, -1);
    ck_assert_int_eq(w.head.should_retry, -1);
    ck_assert_str_eq(w.data.p, "{\"ok\":true}");
    ck_assert(w.got_bytes);

    r = scripted_request(server, 0);
    ck_assert_str_eq(r->method, "POST");
    ck_assert_str_eq(r->path, "/");
    ck_assert_str_eq(r->body, "{\"a\":1}");
    ck_assert(scripted_header(r, "authorization", value, sizeof(value)));
    ck_assert_str_eq(value, "Bearer canary");
    ck_assert(scripted_header(r, "content-type", value, sizeof(value)));
    ck_assert_str_eq(value, "application/json");
    ck_assert(!scripted_header(r, "expect", value, sizeof(value)));
    ck_assert(!scripted_header(r, "cookie", value, sizeof(value)));
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(an_answer_without_a_body_is_complete)
{
    struct watch w;

    SERVE({.status = 204});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_int_eq(w.head.status, 204);
    ck_assert_uint_eq(w.data.n, 0);
}
END_TEST

START_TEST(an_answer_in_pieces_is_whole)
{
    static const enum scripted_framing framings[] = {SCRIPTED_LENGTH, SCRIPTED_CHUNKED, SCRIPTED_CLOSE};
    static const size_t splits[] = {0, 1, 2, 7};
    struct watch w;

    SERVE({.type = "text/event-stream", .body = "data: \xF0\x9F\x98\x80 one\n\ndata: two\n\ndata: [DONE]\n\n",
           .split = splits[_i % 4], .piece_ms = _i % 2, .framing = framings[_i / 4]});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_str_eq(w.data.p, "data: \xF0\x9F\x98\x80 one\n\ndata: two\n\ndata: [DONE]\n\n");
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(a_header_in_single_bytes_an_interim_answer_and_trailers_are_understood)
{
    struct watch w;

    SERVE({.framing = SCRIPTED_RAW, .split = 1, .last = true,
           .body = "HTTP/1.1 100 Continue\r\nx-request-id: wrong\r\n\r\nHTTP/1.1 200 OK\r\nRequest-Id:   r9  \r\n"
                   "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-request-id: late\r\n\r\n"});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_int_eq(w.heads, 1);
    ck_assert_int_eq(w.head.status, 200);
    ck_assert_str_eq(w.request_id, "r9");
    ck_assert_str_eq(w.data.p, "abc");
    ag_buf_drop(&w.data);
}
END_TEST

static struct ag_str big(size_t n)
{
    char *p = malloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i * 31 % 26);
    return (struct ag_str){p, n};
}

START_TEST(a_body_of_any_size_arrives_whole)
{
    static const size_t sizes[] = {0, 1, 16384, 60 << 10, (60 << 10) + 1, 64 << 10, 3 << 20};
    struct ag_str body = big(sizes[_i]);
    struct ag_http_request q;
    struct watch w;

    SERVE({.body = "ok"});
    q = request_to(scripted_url(server));
    q.body = body;
    w = fetch_with(&q);
    ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
    ck_assert_uint_eq(scripted_request(server, 0)->body_bytes, body.n);
    ck_assert(memcmp(scripted_request(server, 0)->body, body.p, body.n) == 0);
    free((char *)(uintptr_t)body.p);
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(a_large_answer_comes_whole)
{
    struct ag_str body = big(5 << 20);
    struct watch w;

    SERVE({.body = body.p, .body_bytes = body.n, .framing = SCRIPTED_CHUNKED, .split = 100000});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert(ag_str_eq(ag_buf_view(&w.data), body));
    stop_server();
    free((char *)(uintptr_t)body.p);
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(a_redirect_is_told_and_not_followed)
{
    struct watch w;

    SERVE({.status = 302, .headers = "Location: /elsewhere\r\n"});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_int_eq(w.head.status, 302);
    ck_assert_uint_eq(scripted_requests(server), 1);
}
END_TEST

START_TEST(the_environment_names_no_proxy_for_us)
{
    struct watch w;

    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    SERVE({.body = "direct"});
    w = fetch();
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(a_proxy_that_is_given_is_used)
{
    struct ag_http_request q = request_to("http://model.invalid:8080/v1");
    struct ag_http_options o = {0};
    struct watch w;

    SERVE({.body = "by proxy"});
    o.proxy = scripted_url(server);
    close_client();
    new_client(&o);
    w = fetch_with(&q);
    ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
    ck_assert_str_eq(scripted_request(server, 0)->path, "http://model.invalid:8080/v1");
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(the_server_says_when_to_come_back)
{
    static const struct {
        const char *headers;
        int64_t ms;
        int should_retry;
    } rows[] = {
        {"Retry-After: 3\r\n", 3000, -1},
        {"retry-after: 0.25\r\n", 250, -1},
        {"retry-after-ms: 1500\r\nretry-after: 9\r\n", 1500, -1},
        {"retry-after: 9\r\nRetry-After-Ms: 12.5\r\n", 13, -1},
        {"Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\n", 30000, -1},
        {"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0, -1},
        {"Retry-After: soon\r\n", -1, -1},
        {"Retry-After: -5\r\n", -1, -1},
        {"Retry-After:\r\n", -1, -1},
        {"Retry-After: 99999999999999999999\r\n", INT64_C(7) * 24 * 3600 * 1000, -1},
        {"x-should-retry: true\r\n", -1, 1},
        {"X-Should-Retry: False\r\n", -1, 0},
        {"x-should-retry: maybe\r\n", -1, -1},
    };
    struct watch w;

    ck_assert_int_lt(_i, (int)(sizeof(rows) / sizeof(rows[0])));
    SERVE({.status = 429, .headers = rows[_i].headers});
    w = fetch();
    ck_assert_int_eq(w.head.status, 429);
    ck_assert_msg(w.head.retry_after_ms == rows[_i].ms, "%s: %lld", rows[_i].headers, (long long)w.head.retry_after_ms);
    ck_assert_int_eq(w.head.should_retry, rows[_i].should_retry);
}
END_TEST

/* --- connections ------------------------------------------------------------------------------------------ */

START_TEST(one_connection_serves_request_after_request)
{
    SERVE({.body = "one"}, {.body = "two", .framing = SCRIPTED_CHUNKED, .split = 1});
    for (int i = 0; i < 5; i++) {
        struct watch w = fetch();
        ck_assert_int_eq(w.status, AGENT_OK);
        ag_buf_drop(&w.data);
    }
    ck_assert_uint_eq(scripted_requests(server), 5);
    ck_assert_int_eq(scripted_connections(server), 1);
}
END_TEST

START_TEST(a_kept_connection_that_died_is_replaced_unseen)
{
    struct ag_str body = big(100 << 10); /* more than curl keeps a copy of: it is rewound */

    SERVE({.framing = SCRIPTED_RAW, .cut = true, .body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
    for (int i = 0; i < 3; i++) {
        struct ag_http_request q = request_to(scripted_url(server));
        struct watch w;

        q.body = body;
        w = fetch_with(&q);
        ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
        ck_assert_uint_eq(scripted_request(server, (size_t)i)->body_bytes, body.n);
        ck_assert(memcmp(scripted_request(server, (size_t)i)->body, body.p, body.n) == 0);
        ag_buf_drop(&w.data);
        ck_assert(scripted_wait_closed(server, 0, 10000));
    }
    free((char *)(uintptr_t)body.p);
}
END_TEST

static void stop_when_closed(uv_timer_t *timer)
{
    if (scripted_open_connections(server) == 0)
        uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(an_unused_connection_is_given_back_and_the_next_request_opens_another)
{
    struct ag_http_options o = {.keep_ms = 20};

    close_client();
    new_client(&o);
    SERVE({.body = "x"});
    for (int i = 1; i <= 2; i++) {
        struct watch w = fetch();
        uv_timer_t timer;

        ck_assert_int_eq(w.status, AGENT_OK);
        ck_assert_int_eq(scripted_connections(server), i);
        uv_timer_init(&loop, &timer);
        uv_timer_start(&timer, stop_when_closed, 5, 5);
        run();
        ag_buf_drop(&w.data);
    }
}
END_TEST

START_TEST(ten_at_once_do_not_wait_for_each_other)
{
    struct watch w[10];
    struct ag_http_request q;

    SERVE({.body = "slow", .delay_ms = 100});
    q = request_to(scripted_url(server));
    for (int i = 0; i < 10; i++) {
        w[i] = watch_new();
        start(&w[i], &q);
    }
    ck_assert_uint_eq(ag_http_active(http), 10);
    run();
    ck_assert_uint_eq(ag_http_active(http), 0);
    ck_assert_int_eq(scripted_connections(server), 10);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(w[i].status, AGENT_OK);
        ck_assert_str_eq(w[i].data.p, "slow");
        ag_buf_drop(&w[i].data);
    }
}
END_TEST

/* More than one multi handle takes. */
START_TEST(seven_hundred_at_once_all_end)
{
    enum { N = 700 };
    struct watch *w = calloc(N, sizeof(*w));
    struct ag_http_request q;

    SERVE({.body = "x", .delay_ms = 50});
    q = request_to(scripted_url(server));
    q.first_byte_ms = 60000;
    q.total_ms = 120000;
    for (int i = 0; i < N; i++) {
        w[i] = watch_new();
        start(&w[i], &q);
    }
    run();
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(w[i].dones, 1);
        ck_assert_msg(w[i].status == AGENT_OK, "%d: %s", i, w[i].error.text);
        ag_buf_drop(&w[i].data);
    }
    free(w);
}
END_TEST

/* --- failures ---------------------------------------------------------------------------------------------- */

/* A port nobody listens on: bound, never listened. */
static int dead_port(int *out_fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);

    *out_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(*out_fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(getsockname(*out_fd, (struct sockaddr *)&at, &size), 0);
    return ntohs(at.sin_port);
}

START_TEST(a_refused_connection_names_host_port_and_reason)
{
    char url[100], want[100];
    struct ag_http_request q;
    int fd, port = dead_port(&fd);
    struct watch w;

    snprintf(url, sizeof(url), "http://user:canary@127.0.0.1:%d/v1?key=canary", port);
    snprintf(want, sizeof(want), "connect to 127.0.0.1:%d: Connection refused", port);
    q = request_to(url);
    w = fetch_with(&q);
    close(fd);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_str_eq(w.error.text, want);
    ck_assert_str_ne(w.error.hint, "");
    ck_assert(!w.got_bytes);
    ck_assert_int_eq(w.heads, 0);
}
END_TEST

START_TEST(a_broken_answer_is_a_network_failure)
{
    static const struct scripted_answer rows[] = {
        {.body = "0123456789", .cut = true},
        {.body = "0123456789", .cut = true, .framing = SCRIPTED_CHUNKED, .split = 3},
        {.body = "0123456789", .reset = true, .piece_ms = 1, .split = 5},
        {.body = "0123456789", .reset = true, .framing = SCRIPTED_CHUNKED, .split = 5, .piece_ms = 1},
        {.body = "HTTP/1.1 200 OK\r\nContent-Le", .framing = SCRIPTED_RAW, .cut = true},
        {.framing = SCRIPTED_RAW, .cut = true},
    };
    struct watch w;

    serve(&rows[_i], 1);
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strncmp(w.error.text, "127.0.0.1: the connection broke ", 32) == 0, "%s", w.error.text);
    ck_assert(agent_status_may_retry(w.status));
    if (!rows[_i].reset) /* a reset may overtake the bytes before it */
        ck_assert_int_eq(w.got_bytes, rows[_i].body != NULL);
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(what_is_not_http_says_so)
{
    static const char *const bodies[] = {"SSH-2.0-OpenSSH_9.2\r\n", "\x15\x03\x01", "HTTP/9.9 hello\r\n\r\n"};
    struct watch w;

    SERVE({.framing = SCRIPTED_RAW, .body = bodies[_i], .cut = true});
    w = fetch();
    ck_assert_msg(w.status == AGENT_EPROTOCOL, "%d %s", w.status, w.error.text);
    ck_assert_int_eq(w.heads, 0);
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(a_header_without_end_is_refused)
{
    size_t n = 200 << 10;
    char *headers = malloc(n + 1);
    struct watch w;

    for (size_t i = 0; i < n; i += 100) {
        memset(headers + i, 'x', 100);
        memcpy(headers + i, "x-a: ", 5);
        memcpy(headers + i + 98, "\r\n", 2);
    }
    headers[n] = '\0';
    SERVE({.headers = headers, .body = "x"});
    w = fetch();
    ck_assert_int_eq(w.status, AGENT_EPROTOCOL);
    ck_assert_str_eq(w.error.text, "127.0.0.1: the header of the answer is over 65536 bytes");
    stop_server();
    free(headers);
}
END_TEST

START_TEST(a_bad_request_is_refused_at_once)
{
    static const char *const smuggled[] = {"Authorization: Bearer canary\nX: y", NULL};
    static const char *const nameless[] = {"canary", NULL};
    static const char *const blank[] = {"a b: c", NULL};
    static const struct {
        const char *url;
        const char *const *headers;
    } rows[] = {
        {"", plain_headers},
        {"127.0.0.1:80", plain_headers},
        {"file:///etc/passwd", plain_headers},
        {"http://", plain_headers},
        {"http://:80/", plain_headers},
        {"http://a:99999/", plain_headers},
        {"http://a:0/", plain_headers},
        {"http://a:8x/", plain_headers},
        {"http://[::1/", plain_headers},
        {"http://[::1]x/", plain_headers},
        {"http://a/ b", plain_headers},
        {"http://a/\r\nX: y", plain_headers},
        {"http://127.0.0.1:1/", smuggled},
        {"http://127.0.0.1:1/", nameless},
        {"http://127.0.0.1:1/", blank},
    };
    struct ag_http_request q = request_to(rows[_i].url);
    struct watch w = watch_new();

    ck_assert_int_lt(_i, (int)(sizeof(rows) / sizeof(rows[0])));
    q.headers = rows[_i].headers;
    ck_assert_int_eq(ag_http_start(http, &q, &events, &w, &w.call, &err), AGENT_EINVAL);
    ck_assert_ptr_null(w.call);
    ck_assert_ptr_null(strstr(err.text, "canary"));
    run();
    ck_assert_int_eq(w.dones, 0);
}
END_TEST

/* --- limits -------------------------------------------------------------------------------------------------- */

static int silent_socket(char *url, size_t room, const char *scheme)
{
    int fd, port = dead_port(&fd);

    ck_assert_int_eq(listen(fd, 8), 0);
    snprintf(url, room, "%s://127.0.0.1:%d/", scheme, port);
    return fd;
}

START_TEST(who_does_not_take_the_connection_up_is_given_up)
{
    struct ag_http_request q;
    char url[100];
    int fd = silent_socket(url, sizeof(url), "https"); /* TCP connects, TLS does not */
    struct watch w;

    q = request_to(url);
    q.connect_ms = 50;
    q.first_byte_ms = q.idle_ms = q.total_ms = 60000;
    w = fetch_with(&q);
    ck_assert_int_eq(w.status, AGENT_ETIMEDOUT);
    ck_assert_msg(strstr(w.error.text, "not connected within 50 ms (connect_ms)") != NULL, "%s", w.error.text);
    ck_assert(!w.got_bytes);
    close(fd);
}
END_TEST

START_TEST(who_does_not_answer_is_given_up)
{
    struct ag_http_request q;
    struct watch w;

    SERVE({.framing = SCRIPTED_RAW, .hang = true});
    q = request_to(scripted_url(server));
    q.first_byte_ms = 60;
    q.connect_ms = q.idle_ms = q.total_ms = 60000;
    w = fetch_with(&q);
    ck_assert_int_eq(w.status, AGENT_ETIMEDOUT);
    ck_assert_str_eq(w.error.text, "127.0.0.1: no answer within 60 ms (first_byte_ms)");
    ck_assert(!w.got_bytes);
    ck_assert(scripted_wait_closed(server, 0, 10000));
}
END_TEST

START_TEST(an_answer_that_stands_still_is_given_up)
{
    struct ag_http_request q;
    struct watch w;

    SERVE({.body = "data: a\n\n", .hang = true, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    q.idle_ms = 60;
    q.connect_ms = q.first_byte_ms = q.total_ms = 60000;
    w = fetch_with(&q);
    ck_assert_int_eq(w.status, AGENT_ETIMEDOUT);
    ck_assert_str_eq(w.error.text, "127.0.0.1: the answer stood still for 60 ms (idle_ms)");
    ck_assert(w.got_bytes);
    ck_assert_str_eq(w.data.p, "data: a\n\n");
    ck_assert(scripted_wait_closed(server, 0, 10000));
    ag_buf_drop(&w.data);
}
END_TEST

START_TEST(an_answer_that_never_ends_is_given_up)
{
    struct ag_http_request q;
    struct watch w;

    SERVE({.body = ": ping\n\n", .endless = true, .piece_ms = 5, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    q.total_ms = 200;
    q.connect_ms = q.first_byte_ms = q.idle_ms = 60000;
    w = fetch_with(&q);
    ck_assert_int_eq(w.status, AGENT_ETIMEDOUT);
    ck_assert_str_eq(w.error.text, "127.0.0.1: the answer was not complete within 200 ms (total_ms)");
    ck_assert(scripted_wait_closed(server, 0, 10000));
    ag_buf_drop(&w.data);
}
END_TEST

/* Longer than the idle limit in all, never between two bytes. */
START_TEST(an_answer_that_keeps_coming_is_not_idle)
{
    struct ag_http_request q;
    struct watch w;

    SERVE({.body = "0123456789012345678901234567890123456789", .split = 1, .piece_ms = 25, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    q.idle_ms = 700;
    w = fetch_with(&q);
    ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
    ag_buf_drop(&w.data);
}
END_TEST

static void burn(uv_timer_t *timer)
{
    ck_assert(scripted_wait(server, 1, 60000)); /* the answer is on its way */
    usleep(400000);
    uv_close((uv_handle_t *)timer, NULL);
}

/* Timers run before sockets: what lies in the socket must count all the same. */
START_TEST(a_busy_loop_does_not_time_an_answer_out)
{
    struct ag_http_request q;
    struct watch w = watch_new();
    uv_timer_t timer;

    SERVE({.body = "was there in time"});
    q = request_to(scripted_url(server));
    q.first_byte_ms = q.idle_ms = 200;
    start(&w, &q);
    while (scripted_requests(server) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, burn, 0, 0);
    run();
    ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
    ag_buf_drop(&w.data);
}
END_TEST

/* --- ending early ---------------------------------------------------------------------------------------------- */

START_TEST(enough_is_told_at_once_and_is_no_failure)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.body = "data: a\n\n", .endless = true, .piece_ms = 1, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    w.enough = 5;
    start(&w, &q);
    while (w.dones == 0)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(w.status, AGENT_OK);
    ck_assert_uint_eq(ag_http_active(http), 0);
    run();
    ck_assert_int_eq(w.dones, 1);
    ck_assert(scripted_wait_closed(server, 0, 10000)); /* such a stream is cut off */
    ag_buf_drop(&w.data);
}
END_TEST

/* [DONE] is the last event, not the last byte: the connection is worth keeping. */
START_TEST(after_enough_the_connection_is_kept_where_the_answer_ends_soon)
{
    SERVE({.body = "data: a\n\ndata: [DONE]\n\n", .framing = SCRIPTED_CHUNKED, .split = 9, .piece_ms = 2});
    for (int i = 0; i < 4; i++) {
        struct ag_http_request q = request_to(scripted_url(server));
        struct watch w = watch_new();

        w.enough = 23;
        start(&w, &q);
        run();
        ck_assert_int_eq(w.dones, 1);
        ck_assert_int_eq(w.status, AGENT_OK);
        ag_buf_drop(&w.data);
    }
    ck_assert_int_eq(scripted_connections(server), 1);
}
END_TEST

static void expect_silence(struct watch *w)
{
    run();
    ck_assert_int_eq(w->dones, 0);
    ck_assert_uint_eq(ag_http_active(http), 0);
    if (server != NULL)
        ck_assert(scripted_wait_closed(server, 0, 10000));
    ag_buf_drop(&w->data);
}

START_TEST(cancel_in_the_data_callback_ends_everything)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.body = "data: a\n\n", .endless = true, .piece_ms = 1, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    w.cancel_in_data = true;
    start(&w, &q);
    run();
    ck_assert_str_eq(w.data.p, "data: a\n\n"); /* nothing after it */
    expect_silence(&w);
}
END_TEST

START_TEST(cancel_in_the_head_callback_ends_everything)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.body = "data: a\n\n", .endless = true, .piece_ms = 1, .framing = SCRIPTED_CHUNKED});
    q = request_to(scripted_url(server));
    w.cancel_in_head = true;
    start(&w, &q);
    run();
    ck_assert_int_eq(w.heads, 1);
    ck_assert_uint_eq(w.data.n, 0);
    expect_silence(&w);
}
END_TEST

START_TEST(cancel_before_it_is_connected_leaves_nothing)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.body = "x"});
    q = request_to(scripted_url(server));
    start(&w, &q);
    ag_http_cancel(w.call);
    expect_silence(&w);
    ck_assert_uint_eq(scripted_requests(server), 0);
}
END_TEST

START_TEST(cancel_while_the_answer_is_awaited_closes_the_connection)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.framing = SCRIPTED_RAW, .hang = true});
    q = request_to(scripted_url(server));
    start(&w, &q);
    while (scripted_requests(server) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    ag_http_cancel(w.call);
    expect_silence(&w);
}
END_TEST

START_TEST(cancel_in_done_does_nothing)
{
    struct ag_http_request q;
    struct watch w = watch_new();

    SERVE({.body = "x"});
    q = request_to(scripted_url(server));
    for (int i = 0; i < 2; i++) { /* ended by the server, ended by us */
        w.cancel_in_done = true;
        w.enough = (size_t)i;
        start(&w, &q);
        run();
        ck_assert_int_eq(w.dones, 1);
        ck_assert_uint_eq(ag_http_active(http), 0);
        ag_buf_drop(&w.data);
        w = watch_new();
    }
}
END_TEST

/* The other is in the middle of sending a body, which its owner frees as soon as cancel returns. */
START_TEST(cancel_of_another_call_in_a_callback_frees_its_body)
{
    struct ag_str body = big(8 << 20);
    struct watch a = watch_new(), b = watch_new();
    struct ag_http_request qa, qb;
    char url[100];
    int fd = silent_socket(url, sizeof(url), "http");

    SERVE({.body = "data: a\n\n", .endless = true, .piece_ms = 1, .framing = SCRIPTED_CHUNKED});
    qa = request_to(scripted_url(server));
    qb = request_to(url);
    qb.body = body;
    a.enough = 1000;
    start(&b, &qb);
    start(&a, &qa);
    while (a.data.n < 100)
        uv_run(&loop, UV_RUN_ONCE);
    a.cancel_other = &b;
    while (a.cancel_other != NULL)
        uv_run(&loop, UV_RUN_ONCE);
    memset((char *)(uintptr_t)body.p, 0, body.n);
    free((char *)(uintptr_t)body.p);
    run();
    ck_assert_int_eq(b.dones, 0);
    ck_assert_int_eq(a.dones, 1);
    close(fd);
    ag_buf_drop(&a.data);
}
END_TEST

START_TEST(calls_may_be_started_from_callbacks)
{
    struct ag_http_request q;
    struct watch a = watch_new(), b = watch_new(), c = watch_new();

    SERVE({.body = "x"});
    q = request_to(scripted_url(server));
    a.start_in_data = &b;
    a.start_in_done = &c;
    b.request = c.request = &q;
    start(&a, &q);
    run();
    ck_assert_int_eq(a.dones + b.dones + c.dones, 3);
    ck_assert_int_eq(b.status, AGENT_OK);
    ck_assert_int_eq(c.status, AGENT_OK);
    ck_assert_uint_eq(scripted_requests(server), 3);
    ag_buf_drop(&a.data);
    ag_buf_drop(&b.data);
    ag_buf_drop(&c.data);
}
END_TEST

START_TEST(the_client_may_be_closed_anywhere)
{
    struct ag_http_request q;
    struct watch a = watch_new(), b = watch_new();

    SERVE({.body = "x", .when_body = "a"}, {.framing = SCRIPTED_RAW, .hang = true, .when_body = "b"});
    q = request_to(scripted_url(server));
    a.close_in_data = _i == 0;
    a.close_in_done = _i >= 1;
    a.enough = _i == 2 ? 1 : 0;
    q.body = AG_STR("b");
    start(&b, &q);
    q.body = AG_STR("a");
    start(&a, &q);
    if (_i == 3)
        close_client();
    run();
    ck_assert_int_eq(a.dones, _i == 1 || _i == 2 ? 1 : 0);
    ck_assert_int_eq(b.dones, 0);
    ck_assert(scripted_wait_closed(server, 0, 10000));
    ag_buf_drop(&a.data);
}
END_TEST

/* --- names -------------------------------------------------------------------------------------------------- */

enum { MANY = 40 };

static void start_many(struct watch *w, const char *host, char *url, size_t room)
{
    struct ag_http_request q;

    snprintf(url, room, "http://%s:%d/", host, scripted_port(server));
    q = request_to(url);
    for (int i = 0; i < MANY; i++) {
        w[i] = watch_new();
        start(&w[i], &q);
    }
}

static void wait_until_resolving(void)
{
    while (sem_trywait(&resolving) != 0)
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* Each look-up is a thread of libcurl: a thousand runs must not be a thousand threads. */
START_TEST(a_new_name_is_looked_up_once_for_all_who_wait)
{
    static struct watch w[MANY];
    char url[100];

    SERVE({.body = "x"});
    start_many(w, "slow.test", url, sizeof(url));
    wait_until_resolving();
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(atomic_load(&lookups), 1);
    sem_post(&may_resolve);
    run();
    for (int i = 0; i < MANY; i++) {
        ck_assert_msg(w[i].status == AGENT_OK && w[i].dones == 1, "%s", w[i].error.text);
        ag_buf_drop(&w[i].data);
    }
    start_many(w, "slow.test", url, sizeof(url)); /* and it is known now */
    run();
    for (int i = 0; i < MANY; i++)
        ag_buf_drop(&w[i].data);
    ck_assert_int_eq(atomic_load(&lookups), 1);
}
END_TEST

START_TEST(a_name_that_is_none_fails_all_who_wait_with_one_look_up)
{
    static struct watch w[MANY];
    char url[100];

    SERVE({.body = "x"});
    start_many(w, "none.test", url, sizeof(url));
    wait_until_resolving();
    sem_post(&may_resolve);
    run();
    ck_assert_int_eq(atomic_load(&lookups), 1);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(w[i].dones, 1);
        ck_assert_int_eq(w[i].status, AGENT_ENETWORK);
        ck_assert_msg(strncmp(w[i].error.text, "resolve none.test: ", 19) == 0, "%s", w[i].error.text);
    }
}
END_TEST

/* Would hang here for ever if cancelling waited for the resolver. */
START_TEST(cancel_does_not_wait_for_the_resolver_and_the_next_one_asks)
{
    static struct watch w[MANY];
    char url[100];

    SERVE({.body = "x"});
    start_many(w, "slow.test", url, sizeof(url));
    wait_until_resolving();
    ag_http_cancel(w[0].call);
    wait_until_resolving();
    ck_assert_int_eq(atomic_load(&lookups), 2);
    sem_post(&may_resolve);
    sem_post(&may_resolve);
    run();
    ck_assert_int_eq(w[0].dones, 0);
    for (int i = 1; i < MANY; i++) {
        ck_assert_msg(w[i].status == AGENT_OK && w[i].dones == 1, "%s", w[i].error.text);
        ag_buf_drop(&w[i].data);
    }
}
END_TEST

START_TEST(closing_does_not_wait_for_the_resolver)
{
    static struct watch w[MANY];
    char url[100];

    SERVE({.body = "x"});
    start_many(w, "slow.test", url, sizeof(url));
    wait_until_resolving();
    close_client();
    run();
    sem_post(&may_resolve);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(w[i].dones, 0);
}
END_TEST

START_TEST(who_waits_for_a_name_has_its_limit_too)
{
    struct watch a = watch_new(), b = watch_new();
    struct ag_http_request q;
    char url[100];

    SERVE({.body = "x"});
    snprintf(url, sizeof(url), "http://slow.test:%d/", scripted_port(server));
    q = request_to(url);
    start(&a, &q);
    q.connect_ms = 50;
    start(&b, &q);
    while (b.dones == 0)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(b.status, AGENT_ETIMEDOUT);
    ck_assert_int_eq(a.dones, 0);
    sem_post(&may_resolve);
    run();
    ck_assert_int_eq(a.status, AGENT_OK);
    ag_buf_drop(&a.data);
}
END_TEST

/* --- TLS ------------------------------------------------------------------------------------------------------ */

struct tls_server {
    SSL_CTX *ctx;
    int listener, port;
    pthread_t thread;
    char ca_file[300], dir[256];
    atomic_size_t body_bytes; /* of the last request */
    atomic_int requests;
};

static void *must(void *p)
{
    ck_assert_ptr_nonnull(p);
    return p;
}

static X509 *self_signed(EVP_PKEY *key, const char *alt_name)
{
    X509 *cert = must(X509_new());
    X509_NAME *name = X509_get_subject_name(cert);
    X509_EXTENSION *alt = must(X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt_name));

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"agent test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_add_ext(cert, alt, -1);
    X509_EXTENSION_free(alt);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    return cert;
}

/* Reads one request (header and Content-Length), answers it, until the client goes. */
static void *serve_tls(void *arg)
{
    struct tls_server *t = arg;
    int fd;

    while ((fd = accept(t->listener, NULL, NULL)) >= 0) {
        SSL *ssl = SSL_new(t->ctx);
        size_t room = 8 << 20, have = 0;
        char *in = malloc(room + 1);

        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
            for (;;) {
                char *end, *length;
                size_t want;
                int n = SSL_read(ssl, in + have, (int)(room - have));

                if (n <= 0)
                    break;
                have += (size_t)n;
                in[have] = '\0';
                if ((end = strstr(in, "\r\n\r\n")) == NULL || (length = strstr(in, "Content-Length: ")) == NULL)
                    continue;
                want = (size_t)(end - in) + 4 + strtoul(length + 16, NULL, 10);
                if (have < want)
                    continue;
                atomic_store(&t->body_bytes, want - (size_t)(end - in) - 4);
                atomic_fetch_add(&t->requests, 1);
                have = 0;
                SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", 45);
            }
        }
        SSL_free(ssl);
        close(fd);
        free(in);
    }
    return NULL;
}

static void start_tls(struct tls_server *t, const char *alt_name)
{
    const char *tmp = getenv("TMPDIR");
    EVP_PKEY *key = must(EVP_EC_gen("P-256"));
    X509 *cert = self_signed(key, alt_name);
    FILE *f;

    memset(t, 0, sizeof(*t));
    snprintf(t->dir, sizeof(t->dir), "%s/agent-http-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    must(mkdtemp(t->dir));
    snprintf(t->ca_file, sizeof(t->ca_file), "%s/ca.pem", t->dir);
    f = must(fopen(t->ca_file, "w"));
    PEM_write_X509(f, cert);
    fclose(f);
    t->ctx = must(SSL_CTX_new(TLS_server_method()));
    ck_assert_int_eq(SSL_CTX_use_certificate(t->ctx, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(t->ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    signal(SIGPIPE, SIG_IGN); /* this server's writes, not the client's */
    t->port = dead_port(&t->listener);
    ck_assert_int_eq(listen(t->listener, 16), 0);
    ck_assert_int_eq(pthread_create(&t->thread, NULL, serve_tls, t), 0);
}

static void stop_tls(struct tls_server *t)
{
    shutdown(t->listener, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->listener);
    SSL_CTX_free(t->ctx);
    unlink(t->ca_file);
    rmdir(t->dir);
}

static struct watch fetch_tls(struct tls_server *t, const char *ca_file, size_t body_bytes)
{
    struct ag_http_options o = {.ca_file = ca_file};
    struct ag_str body = big(body_bytes);
    struct ag_http_request q;
    char url[100];
    struct watch w;

    close_client();
    new_client(&o);
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/v1", t->port);
    q = request_to(url);
    q.body = body;
    w = fetch_with(&q);
    close_client(); /* the server's thread waits for this client to go */
    run();
    new_client(NULL);
    free((char *)(uintptr_t)body.p);
    return w;
}

START_TEST(a_self_signed_certificate_is_refused)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "IP:127.0.0.1");
    w = fetch_tls(&t, NULL, 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strncmp(w.error.text, "TLS: certificate of 127.0.0.1: self", 35) == 0, "%s", w.error.text);
    ck_assert_str_ne(w.error.hint, "");
    ck_assert_int_eq(atomic_load(&t.requests), 0); /* no byte of the request, no key, has left */
    stop_tls(&t);
}
END_TEST

START_TEST(a_certificate_given_as_ca_file_is_trusted)
{
    static const size_t sizes[] = {10, 100 << 10, 3 << 20};
    struct tls_server t;

    start_tls(&t, "IP:127.0.0.1");
    for (size_t i = 0; i < 3; i++) {
        struct watch w = fetch_tls(&t, t.ca_file, sizes[i]);

        ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
        ck_assert_str_eq(w.data.p, "secret");
        ck_assert_uint_eq(atomic_load(&t.body_bytes), sizes[i]);
        ag_buf_drop(&w.data);
    }
    stop_tls(&t);
}
END_TEST

START_TEST(a_certificate_for_another_host_is_refused)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "DNS:elsewhere.example");
    w = fetch_tls(&t, t.ca_file, 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strncmp(w.error.text, "TLS: certificate of 127.0.0.1: ", 31) == 0, "%s", w.error.text);
    ck_assert_int_eq(atomic_load(&t.requests), 0);
    stop_tls(&t);
}
END_TEST

START_TEST(a_ca_file_that_is_not_there_is_named_as_the_cause)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "IP:127.0.0.1");
    w = fetch_tls(&t, "/nowhere/ca.pem", 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strstr(w.error.text, "/nowhere/ca.pem") != NULL, "%s", w.error.text);
    ck_assert_str_eq(w.error.hint, "check the path given as ca_file");
    stop_tls(&t);
}
END_TEST

/* --- memory and descriptors ----------------------------------------------------------------------------------- */

static int open_fds(void)
{
    DIR *d = must(opendir("/proc/self/fd"));
    int n = 0;

    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

START_TEST(a_closed_client_leaves_no_descriptor)
{
    int before;

    SERVE({.body = "x"});
    for (int i = 0; i < 3; i++) {
        struct watch w = fetch();
        ag_buf_drop(&w.data);
        close_client();
        run();
        ck_assert(scripted_wait_closed(server, 0, 10000));
        if (i == 0)
            before = open_fds(); /* the loop's own are open by now */
        else
            ck_assert_int_eq(open_fds(), before);
        new_client(NULL);
    }
}
END_TEST

/* Each allocation of ours fails once: the start fails, or the call ends with an error, or it works. */
START_TEST(without_memory_a_call_fails_and_leaks_nothing)
{
    bool passed = false;

    SERVE({.body = "x"});
    for (unsigned long nth = 1; !passed; nth++) {
        struct ag_http_request q;
        struct watch w = watch_new();
        agent_status rc;
        char url[100];

        close_client();
        run();
        new_client(NULL);
        snprintf(url, sizeof(url), "http://good.test:%d/", scripted_port(server));
        q = request_to(url);
        ag_buf_z(&w.data, "room for what comes");
        ag_buf_clear(&w.data);
        (void)ag_mem_fail_at(nth);
        rc = ag_http_start(http, &q, &events, &w, &w.call, &err);
        run();
        passed = ag_mem_fail_at(0) < nth;
        if (passed)
            ck_assert_int_eq(w.status, AGENT_OK);
        if (rc == AGENT_OK)
            ck_assert_int_eq(w.dones, 1);
        else
            ck_assert_int_eq(rc, AGENT_ENOMEM);
        ck_assert_uint_eq(ag_http_active(http), 0);
        ag_buf_drop(&w.data);
        ck_assert_uint_lt(nth, 50);
    }
}
END_TEST

static TCase *part(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return tc;
}

Suite *http_suite(void);
Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc = part(suite, "loading");

    tcase_add_test(tc, libcurl_is_loaded_by_the_first_request_and_not_before);

    tc = part(suite, "answers");
    tcase_add_test(tc, a_request_is_sent_as_given_and_its_answer_comes_back);
    tcase_add_test(tc, an_answer_without_a_body_is_complete);
    tcase_add_loop_test(tc, an_answer_in_pieces_is_whole, 0, 12);
    tcase_add_test(tc, a_header_in_single_bytes_an_interim_answer_and_trailers_are_understood);
    tcase_add_loop_test(tc, a_body_of_any_size_arrives_whole, 0, 7);
    tcase_add_test(tc, a_large_answer_comes_whole);
    tcase_add_test(tc, a_redirect_is_told_and_not_followed);
    tcase_add_test(tc, the_environment_names_no_proxy_for_us);
    tcase_add_test(tc, a_proxy_that_is_given_is_used);
    tcase_add_loop_test(tc, the_server_says_when_to_come_back, 0, 13);

    tc = part(suite, "connections");
    tcase_add_test(tc, one_connection_serves_request_after_request);
    tcase_add_test(tc, a_kept_connection_that_died_is_replaced_unseen);
    tcase_add_test(tc, an_unused_connection_is_given_back_and_the_next_request_opens_another);
    tcase_add_test(tc, ten_at_once_do_not_wait_for_each_other);
    tcase_add_test(tc, seven_hundred_at_once_all_end);

    tc = part(suite, "failures");
    tcase_add_test(tc, a_refused_connection_names_host_port_and_reason);
    tcase_add_loop_test(tc, a_broken_answer_is_a_network_failure, 0, 6);
    tcase_add_loop_test(tc, what_is_not_http_says_so, 0, 3);
    tcase_add_test(tc, a_header_without_end_is_refused);
    tcase_add_loop_test(tc, a_bad_request_is_refused_at_once, 0, 15);

    tc = part(suite, "limits");
    tcase_add_test(tc, who_does_not_take_the_connection_up_is_given_up);
    tcase_add_test(tc, who_does_not_answer_is_given_up);
    tcase_add_test(tc, an_answer_that_stands_still_is_given_up);
    tcase_add_test(tc, an_answer_that_never_ends_is_given_up);
    tcase_add_test(tc, an_answer_that_keeps_coming_is_not_idle);
    tcase_add_test(tc, a_busy_loop_does_not_time_an_answer_out);

    tc = part(suite, "ending early");
    tcase_add_test(tc, enough_is_told_at_once_and_is_no_failure);
    tcase_add_test(tc, after_enough_the_connection_is_kept_where_the_answer_ends_soon);
    tcase_add_test(tc, cancel_in_the_data_callback_ends_everything);
    tcase_add_test(tc, cancel_in_the_head_callback_ends_everything);
    tcase_add_test(tc, cancel_before_it_is_connected_leaves_nothing);
    tcase_add_test(tc, cancel_while_the_answer_is_awaited_closes_the_connection);
    tcase_add_test(tc, cancel_in_done_does_nothing);
    tcase_add_test(tc, cancel_of_another_call_in_a_callback_frees_its_body);
    tcase_add_test(tc, calls_may_be_started_from_callbacks);
    tcase_add_loop_test(tc, the_client_may_be_closed_anywhere, 0, 4);

    tc = part(suite, "names");
    tcase_add_test(tc, a_new_name_is_looked_up_once_for_all_who_wait);
    tcase_add_test(tc, a_name_that_is_none_fails_all_who_wait_with_one_look_up);
    tcase_add_test(tc, cancel_does_not_wait_for_the_resolver_and_the_next_one_asks);
    tcase_add_test(tc, closing_does_not_wait_for_the_resolver);
    tcase_add_test(tc, who_waits_for_a_name_has_its_limit_too);

    tc = part(suite, "tls");
    tcase_add_test(tc, a_self_signed_certificate_is_refused);
    tcase_add_test(tc, a_certificate_given_as_ca_file_is_trusted);
    tcase_add_test(tc, a_certificate_for_another_host_is_refused);
    tcase_add_test(tc, a_ca_file_that_is_not_there_is_named_as_the_cause);

    tc = part(suite, "resources");
    tcase_add_test(tc, a_closed_client_leaves_no_descriptor);
    tcase_add_test(tc, without_memory_a_call_fails_and_leaks_nothing);
    return suite;
}
