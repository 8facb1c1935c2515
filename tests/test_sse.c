/* The SSE parser: every vector is fed whole, byte by byte, and cut in two at every offset. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/io/sse.h"

#define CAP 4096

static agent_error err;

struct log {
    ag_buf text;
    int stop_after; /* events; 0: never */
    int events;
};

/* "event|data;" for each event. */
static bool take(void *ctx, struct ag_str event, struct ag_str data)
{
    struct log *log = ctx;

    ag_buf_str(&log->text, event);
    ag_buf_char(&log->text, '|');
    ag_buf_str(&log->text, data);
    ag_buf_char(&log->text, ';');
    return ++log->events != log->stop_after;
}

static const struct vector {
    const char *what, *stream, *events;
} vectors[] = {
    {"one event", "data: a\n\n", "|a;"},
    {"no blank after the colon", "data:a\n\n", "|a;"},
    {"only one blank is dropped", "data:  a\n\n", "| a;"},
    {"CRLF", "event: e\r\ndata: a\r\n\r\ndata: b\r\n\r\n", "e|a;|b;"},
    {"CR alone", "event: e\rdata: a\r\rdata: b\r\r", "e|a;|b;"},
    {"mixed line ends", "data: a\r\ndata: b\rdata: c\n\r\n", "|a\nb\nc;"},
    {"LF then CR are two line ends", "data: a\n\rdata: b\n\n", "|a;|b;"},
    {"two data lines", "data: a\ndata: b\n\n", "|a\nb;"},
    {"an empty data line in the middle", "data: a\ndata:\ndata: b\n\n", "|a\n\nb;"},
    {"data without a colon is empty data", "data\n\n", "|;"},
    {"data with a colon and nothing", "data:\n\n", "|;"},
    {"two empty data lines are one line end", "data\ndata\n\n", "|\n;"},
    {"a comment is no event", ": keep-alive\n\n: OPENROUTER PROCESSING\n\ndata: a\n\n", "|a;"},
    {"a comment inside an event", "data: a\n:x\ndata: b\n\n", "|a\nb;"},
    {"a colon alone", ":\n\n:\n\ndata: a\n\n", "|a;"},
    {"an event without data is none, and its name does not stick", "event: e\n\ndata: a\n\n", "|a;"},
    {"the name is the last one given", "event: x\nevent: y\ndata: a\n\n", "y|a;"},
    {"the name holds for one event", "event: x\ndata: a\n\ndata: b\n\n", "x|a;|b;"},
    {"the name may come after the data", "data: a\nevent: x\n\n", "x|a;"},
    {"id, retry and the unknown are passed over", "id: 1\nretry: 10\nfoo: bar\nbaz\ndata: a\n\n", "|a;"},
    {"field names are exact", "Data: a\n data: b\ndata : c\ndatax: d\n\n", ""},
    {"a BOM at the start", "\xEF\xBB\xBF" "data: a\n\n", "|a;"},
    {"a BOM before a comment", "\xEF\xBB\xBF: hi\ndata: a\n\n", "|a;"},
    {"a BOM and nothing else in its line", "\xEF\xBB\xBF\ndata: a\n\n", "|a;"},
    {"only one BOM is dropped", "\xEF\xBB\xBF\xEF\xBB\xBF" "data: a\n\ndata: b\n\n", "|b;"},
    {"a BOM later is data", "data: a\n\n\xEF\xBB\xBF" "data: b\n\ndata: c\n\n", "|a;|c;"},
    {"no final blank line", "data: a\n\ndata: b\n", "|a;|b;"},
    {"no final line end", "data: a\n\ndata: [DONE]", "|a;|[DONE];"},
    {"a name without data at the end", "data: a\n\nevent: x", "|a;"},
    {"blank lines only", "\n\r\n\r\n\n\r", ""},
    {"many blank lines between", "\n\n\ndata: a\n\n\n\ndata: b\n\n\n", "|a;|b;"},
    {"characters of several bytes", "data: \xF0\x9F\x98\x80\xC3\xA9\n\n", "|\xF0\x9F\x98\x80\xC3\xA9;"},
    {"bytes that are no UTF-8 pass through", "data: \xFF\xC3\n\n", "|\xFF\xC3;"},
    {"a colon in the value", "data: {\"a\":1}\n\n", "|{\"a\":1};"},
    {"a tab is not a blank", "data:\ta\n\n", "|\ta;"},
    {"nothing", "", ""},
    {"Anthropic", "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {}\n\n",
     "ping|{\"type\":\"ping\"};message_stop|{};"},
};

static void parse(const struct vector *v, size_t first, size_t step)
{
    struct log log = {.text = AG_BUF_INIT(1 << 20)};
    size_t n = strlen(v->stream);
    ag_sse sse;

    ag_sse_init(&sse, CAP, take, &log);
    for (size_t at = 0; at < n;) {
        size_t now = at == 0 ? first : step;
        if (now > n - at)
            now = n - at;
        char *exact = ag_memdup0(v->stream + at, now); /* its own memory: a look past the read is seen */
        ck_assert_int_eq(ag_sse_feed(&sse, exact, now, &err), AGENT_OK);
        ag_free(exact);
        at += now;
    }
    ck_assert_int_eq(ag_sse_end(&sse, &err), AGENT_OK);
    ck_assert_msg(ag_str_is(ag_buf_view(&log.text), v->events), "%s, first read %zu: got '%s', want '%s'", v->what,
                  first, log.text.n > 0 ? log.text.p : "", v->events);
    ag_sse_drop(&sse);
    ag_buf_drop(&log.text);
}

START_TEST(a_stream_means_the_same_however_it_is_cut)
{
    const struct vector *v = &vectors[_i];
    size_t n = strlen(v->stream);

    parse(v, n + 1, 1);
    parse(v, 1, 1);
    parse(v, 1, 3);
    for (size_t cut = 1; cut < n; cut++)
        parse(v, cut, n);
}
END_TEST

START_TEST(an_event_is_told_with_its_blank_line_and_not_later)
{
    struct log log = {.text = AG_BUF_INIT(1000)};
    ag_sse sse;

    ag_sse_init(&sse, CAP, take, &log);
    ck_assert_int_eq(ag_sse_feed(&sse, "data: a\r\n\r", 10, &err), AGENT_OK);
    ck_assert_int_eq(log.events, 1); /* the LF that may follow is not waited for */
    ck_assert_int_eq(ag_sse_feed(&sse, "\ndata: b\n", 9, &err), AGENT_OK);
    ck_assert_int_eq(log.events, 1);
    ck_assert_int_eq(ag_sse_feed(&sse, "\n", 1, &err), AGENT_OK);
    ck_assert_int_eq(log.events, 2);
    ag_sse_drop(&sse);
    ag_buf_drop(&log.text);
}
END_TEST

START_TEST(a_listener_that_has_enough_hears_no_more)
{
    struct log log = {.text = AG_BUF_INIT(1000), .stop_after = 2};
    const char *stream = "data: a\n\ndata: b\n\ndata: c\n\ndata: d\n\n";
    ag_sse sse;

    ag_sse_init(&sse, CAP, take, &log);
    ck_assert_int_eq(ag_sse_feed(&sse, stream, strlen(stream), &err), AGENT_OK);
    ck_assert_int_eq(ag_sse_feed(&sse, stream, strlen(stream), &err), AGENT_OK);
    ck_assert_int_eq(ag_sse_end(&sse, &err), AGENT_OK);
    ck_assert_str_eq(log.text.p, "|a;|b;");
    ag_sse_drop(&sse);
    ag_buf_drop(&log.text);
}
END_TEST

/* `head`, `fill` times 'x', `tail`, in reads of `step` bytes; the status. */
static agent_status feed_long(const char *head, size_t fill, const char *tail, size_t step, struct log *log)
{
    AG_AUTO(ag_buf) stream = AG_BUF_INIT(1 << 20);
    agent_status rc = AGENT_OK;
    ag_sse sse;

    ag_buf_z(&stream, head);
    while (fill-- > 0)
        ag_buf_char(&stream, 'x');
    ag_buf_z(&stream, tail);
    ag_sse_init(&sse, 100, take, log);
    for (size_t at = 0; at < stream.n && rc == AGENT_OK; at += step)
        rc = ag_sse_feed(&sse, stream.p + at, stream.n - at < step ? stream.n - at : step, &err);
    if (rc != AGENT_OK) { /* a parser that failed stays silent */
        ck_assert_int_eq(ag_sse_feed(&sse, "\n\ndata: late\n\n", 14, NULL), AGENT_OK);
        ck_assert_int_eq(ag_sse_end(&sse, NULL), AGENT_OK);
    } else {
        rc = ag_sse_end(&sse, &err);
    }
    ag_sse_drop(&sse);
    return rc;
}

START_TEST(a_line_up_to_the_cap_passes_and_one_byte_more_is_refused)
{
    for (size_t step = 1; step < 300; step += 7) {
        struct log log = {.text = AG_BUF_INIT(1 << 20)};

        ck_assert_int_eq(feed_long("data:", 95, "\n\n", step, &log), AGENT_OK);
        ck_assert_int_eq(log.events, 1);
        ck_assert_int_eq(feed_long("data:", 96, "\n\n", step, &log), AGENT_ETOOBIG);
        ck_assert_str_eq(err.text, "event stream: line: over the limit of 100 bytes");
        ck_assert_int_eq(feed_long(":", 100, "\n\n", step, &log), AGENT_ETOOBIG); /* a comment as well */
        ck_assert_int_eq(feed_long("", 5000, "", step, &log), AGENT_ETOOBIG);     /* also without an end */
        ck_assert_int_eq(log.events, 1);
        ag_buf_drop(&log.text);
    }
}
END_TEST

START_TEST(the_data_of_one_event_is_capped_over_its_lines)
{
    struct log log = {.text = AG_BUF_INIT(1 << 20)};

    ck_assert_int_eq(feed_long("data: 4567890123456789012345678901234567890123456789\ndata:", 53, "\n\n", 1000, &log),
                     AGENT_OK); /* 46 + 1 + 53 */
    ck_assert_int_eq(log.events, 1);
    ck_assert_int_eq(feed_long("data: 4567890123456789012345678901234567890123456789\ndata:", 54, "\n\n", 1000, &log),
                     AGENT_ETOOBIG);
    ck_assert_str_eq(err.text, "event stream: data of one event: over the limit of 100 bytes");
    ck_assert_int_eq(log.events, 1);
    ag_buf_drop(&log.text);
}
END_TEST

START_TEST(without_memory_it_fails_and_leaks_nothing)
{
    const char *stream = "event: e\ndata: a\ndata: b\n\n";
    bool passed = false;

    for (unsigned long nth = 1; !passed; nth++) {
        struct log log = {.text = AG_BUF_INIT(1000)};
        agent_status rc = AGENT_OK;
        ag_sse sse;

        ag_buf_z(&log.text, "..........................................................................");
        ag_sse_init(&sse, CAP, take, &log);
        (void)ag_mem_fail_at(nth);
        for (size_t at = 0; at < strlen(stream) && rc == AGENT_OK; at++)
            rc = ag_sse_feed(&sse, stream + at, 1, &err);
        (void)ag_mem_fail_at(0);
        passed = rc == AGENT_OK;
        ck_assert(passed || rc == AGENT_ENOMEM);
        ck_assert_int_eq(log.events, passed ? 1 : 0);
        ag_sse_drop(&sse);
        ag_buf_drop(&log.text);
        ck_assert_uint_lt(nth, 50);
    }
}
END_TEST

Suite *sse_suite(void);
Suite *sse_suite(void)
{
    Suite *suite = suite_create("sse");
    TCase *meaning = tcase_create("meaning");
    TCase *limits = tcase_create("limits");

    tcase_add_loop_test(meaning, a_stream_means_the_same_however_it_is_cut, 0,
                        (int)(sizeof(vectors) / sizeof(vectors[0])));
    tcase_add_test(meaning, an_event_is_told_with_its_blank_line_and_not_later);
    tcase_add_test(meaning, a_listener_that_has_enough_hears_no_more);
    suite_add_tcase(suite, meaning);
    tcase_add_test(limits, a_line_up_to_the_cap_passes_and_one_byte_more_is_refused);
    tcase_add_test(limits, the_data_of_one_event_is_capped_over_its_lines);
    tcase_add_test(limits, without_memory_it_fails_and_leaks_nothing);
    suite_add_tcase(suite, limits);
    return suite;
}
