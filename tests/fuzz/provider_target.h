/*
 * What must hold of any bytes a server sends:
 *
 *  1. A failure says something, and never retries what a limit refused.
 *  2. The outcome does not depend on how the bytes were cut.
 *  3. A complete answer that seals has calls that are JSON with unique ids, an `extra` that is JSON
 *     or empty, and text that is UTF-8 without NUL.
 *  4. What was sealed can be sent: the next request of the session is valid JSON.
 */
#ifndef AG_TESTS_FUZZ_PROVIDER_TARGET_H
#define AG_TESTS_FUZZ_PROVIDER_TARGET_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/io/sse.h"
#include "engine/provider/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

struct target {
    const struct ag_provider_vt *vt;
    struct ag_reply reply;
    struct ag_stream stream;
    bool done;
    agent_status rc;
    agent_error err;
};

static inline void must(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static inline bool target_event(void *ctx, struct ag_str event, struct ag_str data)
{
    struct target *t = ctx;

    t->rc = t->vt->event(&t->stream, event, data, &t->done, &t->err);
    return t->rc == AGENT_OK && !t->done;
}

static inline void target_open(struct target *t, const struct ag_provider_vt *vt)
{
    *t = (struct target){.vt = vt};
    ag_reply_init(&t->reply);
    t->stream = (struct ag_stream){.vt = vt, .reply = &t->reply, .run_id = 1, .step = 1};
}

static inline void target_stream(struct target *t, const char *p, size_t n, size_t step)
{
    ag_sse sse;
    agent_status rc = AGENT_OK;

    ag_sse_init(&sse, AG_CAP_RESPONSE_BYTES, target_event, t);
    for (size_t at = 0; at < n && rc == AGENT_OK; at += step)
        rc = ag_sse_feed(&sse, p + at, n - at < step ? n - at : step, NULL);
    if (rc == AGENT_OK)
        (void)ag_sse_end(&sse, NULL);
    ag_sse_drop(&sse);
}

static inline bool is_text(const ag_buf *b)
{
    return ag_utf8_valid(ag_buf_view(b), NULL) && (b->n == 0 || memchr(b->p, '\0', b->n) == NULL);
}

static inline void check_calls(const ag_buf *calls, size_t count)
{
    json_t *list = calls->n == 0 ? json_array() : json_loadb(calls->p, calls->n, 0, NULL);

    must(list != NULL && json_array_size(list) == count, "calls are an array (3)");
    for (size_t i = 0; i < count; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(list, i), "id"));

        must(id != NULL && id[0] != '\0', "a call has an id (3)");
        for (size_t k = 0; k < i; k++)
            must(strcmp(id, json_string_value(json_object_get(json_array_get(list, k), "id"))) != 0,
                 "ids are unique (3)");
    }
    json_decref(list);
}

static inline void check_next_request(const struct target *t, const ag_buf *calls)
{
    struct ag_params params = {.passthrough = {"", 0}, .echo_reasoning = true};
    struct ag_msg message = {.role = AG_MSG_ASSISTANT, .text = ag_buf_view(&t->reply.text), .calls = ag_buf_view(calls)};
    struct ag_model_request q = {.model = AG_STR("m"), .messages = &message, .message_count = 1, .params = &params};
    static const struct ag_provider_vt *const all[] = {&ag_provider_openai, &ag_provider_anthropic};

    if (t->reply.extra.n > 0)
        message.extra = ag_buf_view(&t->reply.extra);
    for (size_t i = 0; i < 2; i++) {
        ag_arena arena = AG_ARENA_INIT;
        ag_buf body = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
        struct ag_header_list headers = {.count = 0};
        const char *url = NULL;
        json_t *doc;

        must(all[i]->build(&q, NULL, &arena, &url, &headers, &body, NULL) == AGENT_OK, "it can be sent (4)");
        doc = json_loadb(body.p, body.n, JSON_ALLOW_NUL, NULL);
        if (doc == NULL) /* a number that jansson cannot hold is still JSON */
            doc = json_loadb(body.p, body.n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        if (doc == NULL && memchr(body.p, 'e', body.n) == NULL && memchr(body.p, 'E', body.n) == NULL)
            must(false, "the next request is JSON (4)");
        json_decref(doc);
        ag_buf_drop(&body);
        ag_arena_drop(&arena);
    }
}

/* Checks an outcome and tells it as text. */
static inline ag_buf target_close(struct target *t)
{
    ag_buf told = AG_BUF_INIT(64u << 20), calls = AG_BUF_INIT(64u << 20);
    struct ag_reply *r = &t->reply;

    must(t->rc == AGENT_OK || t->err.text[0] != '\0', "a failure says something (1)");
    must(t->rc != AGENT_ETOOBIG || !t->stream.verdict.retry, "a limit is not retried (1)");
    must(is_text(&r->text) && is_text(&r->reasoning), "text is text (3)");
    if (t->rc == AGENT_OK && r->complete)
        t->rc = ag_reply_seal(r, 1, 1, &calls, &t->err);
    if (t->rc == AGENT_OK && r->complete) {
        json_t *extra = r->extra.n == 0 ? json_object() : json_loadb(r->extra.p, r->extra.n, 0, NULL);

        check_calls(&calls, r->call_count);
        if (extra != NULL) /* numbers may be beyond jansson */
            must(json_is_object(extra), "extra is an object (3)");
        json_decref(extra);
        check_next_request(t, &calls);
    }
    ag_buf_printf(&told, "%d %d %d %d %lld/%lld/%lld ", (int)t->rc, r->complete, t->done, (int)r->stop,
                  (long long)r->input_tokens, (long long)r->cached_tokens, (long long)r->output_tokens);
    ag_buf_str(&told, ag_buf_view(&r->text));
    ag_buf_str(&told, ag_buf_view(&r->reasoning));
    ag_buf_str(&told, ag_buf_view(&calls));
    ag_buf_str(&told, ag_buf_view(&r->extra));
    ag_buf_drop(&calls);
    ag_reply_drop(r);
    return told;
}

static inline int provider_target(const struct ag_provider_vt *vt, const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes;
    struct ag_verdict verdict;
    struct target t;
    agent_error err = AGENT_ERROR_INIT;
    ag_buf whole, split;

    target_open(&t, vt);
    target_stream(&t, p, n, n == 0 ? 1 : n);
    whole = target_close(&t);
    target_open(&t, vt);
    target_stream(&t, p, n, 7);
    split = target_close(&t);
    must(ag_str_eq(ag_buf_view(&whole), ag_buf_view(&split)), "cuts do not matter (2)");
    ag_buf_drop(&whole);
    ag_buf_drop(&split);

    target_open(&t, vt);
    t.rc = vt->whole(&t.stream, (struct ag_str){p, n}, &t.err);
    split = target_close(&t);
    ag_buf_drop(&split);

    must(vt->refused(vt, 500, (struct ag_str){p, n}, NULL, &verdict, &err) != AGENT_OK, "a refusal is an error (1)");
    must(ag_utf8_valid(ag_str_of(err.text), NULL) && strchr(err.text, '\n') == NULL, "an error is one line (1)");
    return 0;
}

#endif
