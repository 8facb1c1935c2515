#include "tests/http_kit.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

uv_loop_t loop;
ag_http *http;
agent_error err;
struct scripted *server;

const char *const plain_headers[] = {"Authorization: Bearer canary", "Content-Type: application/json", NULL};

/* --- a resolver that can be held up ---------------------------------------------------------------- */

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

atomic_int lookups;
sem_t may_resolve, resolving;

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

static void start_again(struct watch *w)
{
    ck_assert_msg(ag_http_start(http, w->request, &events, w, &w->call, &err) == AGENT_OK, "%s", err.text);
}

void close_client(void)
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

const struct ag_http_events events = {on_head, on_data, on_done};

struct watch watch_new(void)
{
    return (struct watch){.data = AG_BUF_INIT(256u << 20)};
}

struct ag_http_request request_to(const char *url)
{
    return (struct ag_http_request){.url = url, .headers = plain_headers, .body = AG_STR("{\"a\":1}")};
}

void start(struct watch *w, const struct ag_http_request *q)
{
    ck_assert_msg(ag_http_start(http, q, &events, w, &w->call, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(w->dones, 0); /* never from inside start */
}

void run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* One request to `server`, run to its end. */
struct watch fetch_with(const struct ag_http_request *q)
{
    struct watch w = watch_new();

    start(&w, q);
    run();
    ck_assert_int_eq(w.dones, 1);
    ck_assert_uint_eq(http == NULL ? 0 : ag_http_active(http), 0);
    return w;
}

struct watch fetch(void)
{
    struct ag_http_request q = request_to(scripted_url(server));
    return fetch_with(&q);
}

void serve(const struct scripted_answer *answers, size_t n)
{
    ck_assert_ptr_null(server);
    server = scripted_start(answers, n);
    ck_assert_ptr_nonnull(server);
}

/* Before what it serves is freed. */
void stop_server(void)
{
    scripted_stop(server);
    server = NULL;
}

void new_client(const struct ag_http_options *o)
{
    ck_assert_int_eq(ag_http_new(&loop, o, &http, &err), AGENT_OK);
}

void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    sem_init(&may_resolve, 0, 0);
    sem_init(&resolving, 0, 0);
    atomic_store(&lookups, 0);
    new_client(NULL);
}

void tear_down(void)
{
    ag_http_close(http);
    http = NULL;
    run();
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* every handle is closed */
    stop_server();
}

/* --- odds and ends ---------------------------------------------------------------------------------- */

struct ag_str big(size_t n)
{
    char *p = malloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i * 31 % 26);
    return (struct ag_str){p, n};
}

/* A port nobody listens on: bound, never listened. */
int dead_port(int *out_fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);

    *out_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(*out_fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(getsockname(*out_fd, (struct sockaddr *)&at, &size), 0);
    return ntohs(at.sin_port);
}

int silent_socket(char *url, size_t room, const char *scheme)
{
    int fd, port = dead_port(&fd);

    ck_assert_int_eq(listen(fd, 8), 0);
    snprintf(url, room, "%s://127.0.0.1:%d/", scheme, port);
    return fd;
}

void *must(void *p)
{
    ck_assert_ptr_nonnull(p);
    return p;
}

TCase *part(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return tc;
}
