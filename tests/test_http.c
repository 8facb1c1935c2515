/* Requests over real sockets: what is sent, what comes back, and how it fails. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "tests/http_kit.h"

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

Suite *http_suite(void);
Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc;

    tc = part(suite, "loading");
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

    tc = part(suite, "resources");
    tcase_add_test(tc, a_closed_client_leaves_no_descriptor);
    tcase_add_test(tc, without_memory_a_call_fails_and_leaks_nothing);
    return suite;
}
