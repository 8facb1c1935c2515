/*
 * Plays a recorded stream to a provider, as the engine would: through the SSE parser, cut at any
 * offset, and tells in one text what came of it. Two ways of cutting are the same when their texts
 * are.
 */
#ifndef AG_TESTS_PROVIDER_REPLAY_H
#define AG_TESTS_PROVIDER_REPLAY_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/io/sse.h"
#include "engine/provider/provider.h"

#define REPLAY_RUN  7
#define REPLAY_STEP 2

struct replay {
    const struct ag_provider_vt *vt;
    struct ag_reply reply;
    struct ag_stream stream;
    bool done;
    agent_status rc;
    agent_error err;
};

static inline bool replay_event(void *ctx, struct ag_str event, struct ag_str data)
{
    struct replay *p = ctx;

    p->rc = p->vt->event(&p->stream, event, data, &p->done, &p->err);
    return p->rc == AGENT_OK && !p->done;
}

static inline void replay_open(struct replay *p, const struct ag_provider_vt *vt)
{
    *p = (struct replay){.vt = vt};
    ag_reply_init(&p->reply);
    p->stream = (struct ag_stream){.vt = vt, .reply = &p->reply, .run_id = REPLAY_RUN, .step = REPLAY_STEP};
}

static inline void replay_bytes(struct replay *p, struct ag_str bytes, size_t cut, bool each_byte)
{
    agent_error err = AGENT_ERROR_INIT;
    ag_sse sse;

    ag_sse_init(&sse, AG_CAP_RESPONSE_BYTES, replay_event, p);
    if (each_byte) {
        for (size_t i = 0; i < bytes.n; i++)
            ck_assert_int_eq(ag_sse_feed(&sse, bytes.p + i, 1, &err), AGENT_OK);
    } else {
        ck_assert_int_eq(ag_sse_feed(&sse, bytes.p, cut, &err), AGENT_OK);
        ck_assert_int_eq(ag_sse_feed(&sse, bytes.p + cut, bytes.n - cut, &err), AGENT_OK);
    }
    if (p->rc == AGENT_OK && !p->done)
        ck_assert_int_eq(ag_sse_end(&sse, &err), AGENT_OK);
    ag_sse_drop(&sse);
}

/* The outcome as text, and the end of the replay. Freed by the caller. */
static inline char *replay_close(struct replay *p)
{
    static const char *const stops[] = {
        [AG_STOP_NONE] = "none",     [AG_STOP_DONE] = "done",       [AG_STOP_CALLS] = "calls",
        [AG_STOP_LENGTH] = "length", [AG_STOP_REFUSAL] = "refusal", [AG_STOP_OTHER] = "other",
    };
    ag_buf out = AG_BUF_INIT(1u << 20), calls = AG_BUF_INIT(1u << 20);
    struct ag_reply *r = &p->reply;
    char *text;

    if (p->rc == AGENT_OK && r->complete)
        p->rc = ag_reply_seal(r, REPLAY_RUN, REPLAY_STEP, &calls, &p->err);
    if (p->rc != AGENT_OK) {
        ag_buf_printf(&out, "%s %d%s: %s", agent_status_name(p->rc), p->err.detail,
                      p->stream.verdict.retry ? " again" : "", p->err.text);
    } else {
        ag_buf_printf(&out, "%s%s %s", r->complete ? "complete" : "incomplete", p->done ? " done" : "",
                      stops[r->stop]);
        ag_buf_printf(&out, " %d/%d/%d", (int)r->input_tokens, (int)r->cached_tokens, (int)r->output_tokens);
        if (r->text.n > 0)
            ag_buf_printf(&out, " text<%s>", r->text.p);
        if (r->reasoning.n > 0)
            ag_buf_printf(&out, " reasoning<%s>", r->reasoning.p);
        if (calls.n > 0)
            ag_buf_printf(&out, " calls%s", calls.p);
        if (r->extra.n > 0)
            ag_buf_printf(&out, " extra%s", r->extra.p);
    }
    ag_buf_drop(&calls);
    ag_reply_drop(r);
    ck_assert_int_eq(out.failed, AGENT_OK);
    text = strdup(out.p);
    ag_buf_drop(&out);
    return text;
}

static inline char *replay(const struct ag_provider_vt *vt, struct ag_str bytes, size_t cut, bool each_byte)
{
    struct replay p;

    replay_open(&p, vt);
    replay_bytes(&p, bytes, cut, each_byte);
    return replay_close(&p);
}

static inline char *replay_whole(const struct ag_provider_vt *vt, struct ag_str body)
{
    struct replay p;

    replay_open(&p, vt);
    p.rc = vt->whole(&p.stream, body, &p.err);
    return replay_close(&p);
}

/* A file of TEST_DATA, with a NUL behind it. Freed by the caller. */
static inline char *replay_load(const char *name, struct ag_str *out)
{
    char path[512];
    size_t room = 1u << 20;
    char *bytes = malloc(room);
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", TEST_DATA, name);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_msg((f = fopen(path, "rb")) != NULL, "%s", path);
    out->n = fread(bytes, 1, room - 1, f);
    bytes[out->n] = '\0';
    out->p = bytes;
    (void)fclose(f);
    ck_assert_uint_gt(out->n, 0);
    return bytes;
}

struct replay_row {
    const char *name, *rule;
};

/* The whole rule for one recorded stream FOLDER/NAME.sse: the outcome of NAME.want, however its
 * bytes arrive. */
static inline void replay_check(const struct ag_provider_vt *vt, const char *folder, const struct replay_row *row)
{
    struct ag_str bytes, want;
    char name[128], *held, *expected, *got;

    (void)snprintf(name, sizeof(name), "%s/%s.sse", folder, row->name);
    held = replay_load(name, &bytes);
    (void)snprintf(name, sizeof(name), "%s/%s.want", folder, row->name);
    expected = replay_load(name, &want);
    expected[want.n - 1] = '\0'; /* its last line feed */

    for (size_t cut = 0; cut <= bytes.n; cut++) {
        got = replay(vt, bytes, cut, false);
        ck_assert_msg(strcmp(got, expected) == 0, "%s: %s (cut at %zu)\n  got  %s\n  want %s", row->name, row->rule,
                      cut, got, expected);
        free(got);
    }
    got = replay(vt, bytes, 0, true);
    ck_assert_msg(strcmp(got, expected) == 0, "%s: %s (byte by byte)\n  got  %s\n  want %s", row->name, row->rule,
                  got, expected);
    free(got);
    free(expected);
    free(held);
}

#endif
