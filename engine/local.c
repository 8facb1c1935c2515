/*
 * An attempt on the offline model: its plan is made at once and played by the run's timer.
 * Without waits it is over before the step that started it returns.
 */
#include <stdlib.h>

#include "engine/infer.h"

struct local {
    struct ag_infer base;
    struct ag_plan plan;
    size_t said; /* chunks so far */
    int64_t next_ns;
};

static struct local *local_of(struct agent_run *run)
{
    return (struct local *)run->infer;
}

static void fail(struct agent_run *run)
{
    struct local *l = local_of(run);
    agent_error e = AGENT_ERROR_INIT;
    struct ag_verdict verdict = {.retry = true, .after_ms = -1};

    if (l->plan.cut)
        (void)ag_fail(&e, AGENT_ENETWORK, 0, "offline: the stream was cut before the answer was complete (fail=cut)");
    else
        (void)run->vt->refused(run->vt, l->plan.fail_status, AG_STR(""), NULL, &verdict, &e);
    ag_infer_failed(run, &e, verdict.retry, verdict.after_ms);
}

static void finish(struct agent_run *run)
{
    struct local *l = local_of(run);
    struct ag_reply *r = &run->reply;

    for (size_t i = 0; i < l->plan.call_count; i++) {
        struct ag_reply_call *c = ag_reply_add_call(r, (int)i);

        if (c == NULL)
            break; /* seal() tells: over the cap or out of memory */
        ag_buf_str(&c->name, l->plan.calls[i].name);
        ag_buf_str(&c->arguments, l->plan.calls[i].arguments);
    }
    r->input_tokens = l->plan.input_tokens;
    r->output_tokens = l->plan.output_tokens;
    r->cached_tokens = 0;
    r->stop = l->plan.call_count > 0 ? AG_STOP_CALLS : AG_STOP_DONE;
    r->complete = true;
    ag_infer_done(run);
}

/* The end of chunk i: equal pieces, moved on to the end of a character. */
static size_t cut_at(const struct ag_plan *p, size_t i)
{
    size_t at = i >= p->chunks ? p->text.n : p->text.n / p->chunks * i + p->text.n % p->chunks * i / p->chunks;

    while (at < p->text.n && ((unsigned char)p->text.p[at] & 0xc0) == 0x80)
        at++;
    return at;
}

static void poll(struct agent_run *run)
{
    struct local *l = local_of(run);
    struct ag_plan *p = &l->plan;
    int64_t now;

    if (l->base.done || l->base.failed)
        return;
    if (l->next_ns != 0) {
        now = ag_mono_ns(&run->engine->clock);
        if (now < l->next_ns) {
            run->retry_at_ns = l->next_ns;
            return;
        }
    }
    run->retry_at_ns = 0;
    if (p->fail_status != 0) {
        fail(run);
        return;
    }
    l->base.first_byte = true;
    while (l->said < p->chunks) {
        size_t from = cut_at(p, l->said), to = cut_at(p, ++l->said);

        ag_buf_append(&run->reply.text, p->text.p + from, to - from);
        ag_infer_text(run);
        if (p->cut && l->said * 2 >= p->chunks)
            break;
        if (p->chunk_ms > 0 && l->said < p->chunks) {
            run->retry_at_ns = l->next_ns = ag_mono_ns(&run->engine->clock) + p->chunk_ms * 1000000;
            return;
        }
    }
    if (p->cut)
        fail(run);
    else
        finish(run);
}

static void stop(struct agent_run *run)
{
    run->retry_at_ns = 0; /* the rest is in the run's arena */
}

agent_status ag_local_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err)
{
    struct local *l = ag_arena_zalloc(&run->arena, sizeof(*l));
    agent_status rc;

    if (l == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "offline: out of memory");
    if ((rc = run->vt->plan(q, &run->arena, &l->plan, err)) != AGENT_OK)
        return rc;
    if (l->plan.text.p == NULL)
        l->plan.chunks = 0;
    else if (l->plan.chunks == 0 || !q->stream)
        l->plan.chunks = 1;
    if (l->plan.latency_ms > 0)
        l->next_ns = ag_mono_ns(&run->engine->clock) + l->plan.latency_ms * 1000000;
    l->base.poll = poll;
    l->base.stop = stop;
    run->infer = &l->base;
    return AGENT_OK;
}
