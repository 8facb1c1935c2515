/*
 * The host's side of runs: check the request, copy it, hand it to a worker. Nothing else happens
 * on the host's thread, but with workers = 0, where waiting drives.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/run.h"

struct agent_run *ag_run_new(agent_engine *e, struct ag_worker *w)
{
    struct agent_run *run = ag_calloc(1, sizeof(*run));

    if (run == NULL)
        return NULL;
    atomic_init(&run->refs, 1);
    run->engine = e;
    run->worker = w;
    run->arena = AG_ARENA_INIT;
    run->input_tokens = run->output_tokens = -1;
    run->answer = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
    run->rss_peak = -1;
    run->queued_ns = run->now_ns = ag_mono_ns(&e->clock);
    run->unix_less_mono_ns = ag_unix_ms(&e->clock) * 1000000 - run->queued_ns;
    return run;
}

void ag_run_unref(struct agent_run *run)
{
    if (run == NULL || atomic_fetch_sub(&run->refs, 1) != 1)
        return;
    ag_arena_drop(&run->arena);
    ag_buf_drop(&run->answer);
    ag_outcome_free(run->outcome);
    ag_free(run);
}

bool ag_run_append_message(struct agent_run *run, const struct ag_msg *m)
{
    if (run->message_count == run->message_room) {
        size_t room = run->message_room == 0 ? 8 : run->message_room * 2;
        struct ag_msg *at = ag_arena_alloc(&run->arena, room * sizeof(*at));

        if (at == NULL)
            return false;
        if (run->message_count > 0)
            memcpy(at, run->messages, run->message_count * sizeof(*at));
        run->messages = at;
        run->message_room = room;
    }
    run->messages[run->message_count++] = *m;
    return true;
}

static struct ag_worker *pick_worker(agent_engine *e)
{
    unsigned long n = e->worker_count == 1 ? 0 : atomic_fetch_add(&e->next_worker, 1);

    return e->workers[n % (unsigned long)e->worker_count];
}

static void on_start(struct ag_post *post)
{
    struct agent_run *run = (struct agent_run *)((char *)post - offsetof(struct agent_run, post));

    ag_worker_add(run->worker, run);
    ag_run_drive(run);
}

static void start(struct agent_run *run)
{
    if (run->engine->inline_mode) {
        ag_worker_add(run->worker, run);
        ag_worker_ready(run->worker, run);
        return;
    }
    run->post.fn = on_start;
    ag_worker_post(run->worker, &run->post);
}

static agent_status admit(agent_engine *e, agent_event_fn on_event, void *ctx, struct agent_run **out,
                          agent_error *err)
{
    struct agent_run *run;

    if (atomic_fetch_add(&e->active_runs, 1) >= e->max_active_runs) {
        (void)atomic_fetch_sub(&e->active_runs, 1);
        ag_fail(err, AGENT_EBUSY, 0, "start run: %lld runs are active, the most this engine holds",
                (long long)e->max_active_runs);
        ag_hint(err, "wait for runs to end, or open the engine with a larger max_active_runs");
        return AGENT_EBUSY;
    }
    if ((run = ag_run_new(e, pick_worker(e))) == NULL) {
        (void)atomic_fetch_sub(&e->active_runs, 1);
        return ag_fail(err, AGENT_ENOMEM, 0, "start run: out of memory");
    }
    run->on_event = on_event;
    run->event_ctx = ctx;
    *out = run;
    return AGENT_OK;
}

static agent_status refuse(struct agent_run *run, agent_status rc)
{
    (void)atomic_fetch_sub(&run->engine->active_runs, 1);
    ag_run_unref(run);
    return rc;
}

static agent_status check_text(const char *what, struct ag_str text, agent_error *err)
{
    size_t at = 0;

    if (!ag_utf8_valid(text, &at))
        return ag_fail(err, AGENT_EINVAL, 0, "%s is not UTF-8 (byte %zu)", what, at);
    return AGENT_OK;
}

agent_status agent_run_start(agent_engine *e, const agent_run_request *q, agent_run **out, agent_error *err)
{
    struct ag_op_run_create *c;
    struct agent_run *run = NULL;
    struct ag_str input;
    int64_t now_ms;
    agent_status rc;

    if (e == NULL || q == NULL || q->size < sizeof(*q) || out == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "start run: engine, request (with its size) and out are needed");
    if ((rc = ag_engine_writable(e, "start run", err)) != AGENT_OK)
        return rc;
    if (q->agent == NULL || q->agent[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "start run: no agent is named");
    if (q->input == NULL || q->input_bytes == 0) {
        ag_fail(err, AGENT_EINVAL, 0, "start run: the prompt is empty");
        ag_hint(err, "give some text as the prompt");
        return AGENT_EINVAL;
    }
    if (q->input_bytes > AGENT_INPUT_MAX)
        return ag_fail(err, AGENT_ETOOBIG, 0, "start run: the prompt has %zu bytes, the limit is %d (input_max)",
                       q->input_bytes, AGENT_INPUT_MAX);
    input = (struct ag_str){q->input, q->input_bytes};
    if ((rc = check_text("start run: the prompt", input, err)) != AGENT_OK)
        return rc;
    if (memchr(q->input, '\0', q->input_bytes) != NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "start run: the prompt holds a NUL byte");
    if (q->session_name != NULL &&
        (rc = ag_name_check("session name", q->session_name, AGENT_NAME_MAX, err)) != AGENT_OK)
        return rc;
    if (q->options != NULL) { /* its form now; its keys when the provider is known */
        AG_AUTO(ag_arena) a = AG_ARENA_INIT;
        struct ag_str merged;

        if ((rc = ag_params_merge(AG_STR_NONE, ag_str_of(q->options), &a, &merged, err)) != AGENT_OK)
            return ag_wrap(err, rc, "start run: options");
    }
    if ((rc = admit(e, q->on_event, q->ctx, &run, err)) != AGENT_OK)
        return rc;
    run->create = ag_arena_zalloc(&run->arena, sizeof(*run->create));
    if (run->create == NULL)
        goto no_memory;
    run->create->kind = AG_OP_RUN_CREATE;
    c = &run->create->run_create;
    now_ms = ag_run_unix_ms(run);
    c->agent_name = ag_arena_str(&run->arena, ag_str_of(q->agent));
    c->input = run->input = ag_arena_str(&run->arena, input);
    c->options = run->options = ag_arena_str(&run->arena, ag_str_of(q->options));
    c->idempotency_key = ag_arena_str(&run->arena, ag_str_of(q->idempotency_key));
    c->session_name = ag_arena_str(&run->arena, ag_str_of(q->session_name));
    if (c->agent_name.p == NULL || c->input.p == NULL || (q->options != NULL && c->options.p == NULL) ||
        (q->idempotency_key != NULL && c->idempotency_key.p == NULL) ||
        (q->session_name != NULL && c->session_name.p == NULL))
        goto no_memory;
    c->session_id = q->session.id;
    c->session_by = q->session.id != 0 ? AG_SESSION_ID : q->session_name != NULL ? AG_SESSION_NAME
                  : q->latest_session ? AG_SESSION_LATEST : AG_SESSION_NEW;
    for (int i = 0; i < 16; i += 8) {
        uint64_t bits = ag_engine_random(e);

        memcpy(c->trace_id + i, &bits, 8);
    }
    c->priority = run->priority = q->priority > 0 ? 1 : q->priority < 0 ? -1 : 0;
    c->queued_at_ms = now_ms;
    c->deadline_at_ms = q->timeout_ms > 0 ? now_ms + q->timeout_ms : 0;
    if (q->timeout_ms > 0)
        run->deadline_ns = run->queued_ns + q->timeout_ms * 1000000;
    c->claim = true;
    run->no_stream = q->no_stream;
    (void)atomic_fetch_add(&run->refs, 1);
    *out = run;
    start(run);
    return AGENT_OK;

no_memory:
    return refuse(run, ag_fail(err, AGENT_ENOMEM, 0, "start run: out of memory"));
}

agent_status agent_run_resume(agent_engine *e, agent_run_id id, agent_event_fn on_event, void *ctx, agent_run **out,
                              agent_error *err)
{
    struct agent_run *run = NULL;
    agent_status rc;

    if (e == NULL || out == NULL || id.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "resume: engine, run and out are needed");
    if ((rc = ag_engine_writable(e, "resume", err)) != AGENT_OK ||
        (rc = admit(e, on_event, ctx, &run, err)) != AGENT_OK)
        return rc;
    run->create = ag_arena_zalloc(&run->arena, sizeof(*run->create));
    if (run->create == NULL)
        return refuse(run, ag_fail(err, AGENT_ENOMEM, 0, "resume: out of memory"));
    run->create->kind = AG_OP_RUN_CLAIM;
    run->create->run_claim.run_id = id.id;
    run->run_id = id.id;
    run->resume = run->created = true;
    (void)atomic_fetch_add(&run->refs, 1);
    *out = run;
    start(run);
    return AGENT_OK;
}

static agent_status ended(agent_run *run, const agent_run_result **out)
{
    if (out != NULL)
        *out = &run->outcome->result;
    return AGENT_OK;
}

agent_status agent_run_wait(agent_run *run, int64_t timeout_ms, const agent_run_result **out, agent_error *err)
{
    agent_engine *e;
    int64_t until;

    if (run == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "wait: no run");
    e = run->engine;
    if (atomic_load_explicit(&run->ended, memory_order_acquire))
        return ended(run, out);
    until = timeout_ms < 0 ? INT64_MAX : ag_mono_ns(&e->clock) + timeout_ms * 1000000;
    if (e->inline_mode) {
        while (!atomic_load_explicit(&run->ended, memory_order_acquire)) {
            int64_t left = until == INT64_MAX ? -1 : (until - ag_mono_ns(&e->clock)) / 1000000;

            (void)ag_worker_turn(run->worker, until == INT64_MAX ? -1 : left > 0 ? left : 0);
            if (until != INT64_MAX && ag_mono_ns(&e->clock) >= until)
                break;
        }
    } else {
        struct timespec at;

        (void)clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_sec += timeout_ms / 1000;
        at.tv_nsec += (timeout_ms % 1000) * 1000000;
        if (at.tv_nsec >= 1000000000) {
            at.tv_sec++;
            at.tv_nsec -= 1000000000;
        }
        (void)pthread_mutex_lock(&e->ended_lock);
        while (!atomic_load_explicit(&run->ended, memory_order_acquire)) {
            if (timeout_ms < 0)
                (void)pthread_cond_wait(&e->ended_cond, &e->ended_lock);
            else if (pthread_cond_timedwait(&e->ended_cond, &e->ended_lock, &at) == ETIMEDOUT)
                break;
        }
        (void)pthread_mutex_unlock(&e->ended_lock);
    }
    if (atomic_load_explicit(&run->ended, memory_order_acquire))
        return ended(run, out);
    return ag_fail(err, AGENT_ETIMEDOUT, 0, "wait: the run has not ended within %lld ms", (long long)timeout_ms);
}

void agent_run_cancel(agent_run *run)
{
    if (run == NULL)
        return;
    atomic_store(&run->cancel, 1);
    if (atomic_load(&run->ended))
        return; /* the worker may be gone */
    atomic_store(&run->worker->cancel_asked, true);
    ag_worker_wake(run->worker);
}

void agent_run_free(agent_run *run)
{
    ag_run_unref(run);
}

agent_status agent_drive(agent_engine *e, int64_t timeout_ms, agent_error *err)
{
    if (e == NULL || !e->inline_mode || e->inspect)
        return ag_fail(err, AGENT_EINVAL, 0, "drive: this engine has workers of its own, or only inspects");
    (void)ag_worker_turn(e->workers[0], timeout_ms);
    return AGENT_OK;
}

/* --- runs by id ---------------------------------------------------------------------------------------- */

agent_status agent_cancel(agent_engine *e, agent_run_id id, agent_error *err)
{
    struct ag_op op = {.kind = AG_OP_RUN_CANCEL};
    ag_unit unit;
    agent_status rc;

    if (e == NULL || id.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "cancel: no such run");
    if ((rc = ag_engine_writable(e, "cancel", err)) != AGENT_OK)
        return rc;
    op.run_cancel.run_id = id.id;
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    if ((rc = ag_engine_apply(e, &unit, err)) != AGENT_OK)
        return ag_wrap(err, rc, "cancel");
    for (int i = 0; i < e->worker_count; i++) /* where it is ours, its flag is looked up at once */
        ag_worker_wake(e->workers[i]);
    return AGENT_OK;
}

agent_status agent_run_decide(agent_engine *e, agent_run_id id, const char *call_id, bool approve, const char *reason,
                              agent_error *err)
{
    struct ag_op op = {.kind = AG_OP_RUN_DECIDE};
    ag_unit unit;
    agent_status rc;

    if (e == NULL || id.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "decide: no such run");
    if ((rc = ag_engine_writable(e, "decide", err)) != AGENT_OK)
        return rc;
    op.run_decide.run_id = id.id;
    op.run_decide.call_id = ag_str_of(call_id);
    op.run_decide.approve = approve;
    op.run_decide.reason = ag_str_of(reason);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, approve ? "approve" : "deny");
}
