/* How calls end before their answer does: limits, enough, cancel, close; and waiting for a name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/http_kit.h"

/* --- limits -------------------------------------------------------------------------------------------------- */

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

Suite *http_ends_suite(void);
Suite *http_ends_suite(void)
{
    Suite *suite = suite_create("http_ends");
    TCase *tc;

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
    return suite;
}
