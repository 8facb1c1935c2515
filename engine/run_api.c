/*
 * The host's side of runs: check the request, copy it, hand it to a worker. Nothing else happens
 * on the host's thread, but with workers = 0, where waiting drives.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/base/utf8.h"
#include "engine/run.h"
#include "engine/ticket.h"

struct agent_run *ag_run_new(agent_engine *e, struct ag_worker *w)
{
    ag_account *account = e->heap_accounts ? ag_account_open() : NULL;
    struct ag_mem_charge was = ag_mem_charge(account);
    struct agent_run *run = e->heap_accounts && account == NULL ? NULL : ag_calloc(1, sizeof(*run));

    ag_mem_charge_back(was);
    if (run == NULL) {
        ag_account_close(account);
        return NULL;
    }
    run->account = account;
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
    ag_account *account;
    struct ag_mem_charge was;

    if (run == NULL || atomic_fetch_sub(&run->refs, 1) != 1)
        return;
    account = run->account;
    was = ag_mem_charge(account); /* nobody else has it: this thread is its last home */
    ag_arena_drop(&run->arena);
    ag_buf_drop(&run->answer);
    ag_outcome_free(run->outcome);
    ag_free(run);
    ag_mem_charge_back(was);
    ag_account_close(account);
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

/* A place among the runs this engine holds. */
static agent_status admit(agent_engine *e, agent_error *err)
{
    if (ag_pressure_level(e) >= AG_PRESSURE_FULL) {
        ag_notices_flush(&e->notices);
        ag_fail(err, AGENT_EBUDGET, 0, "start run: the process holds %lld bytes, the limit is %lld (memory_limit)",
                (long long)atomic_load(&e->sampler.rss_bytes), (long long)e->pressure.limit_bytes);
        ag_hint(err, "wait for runs to end, or give a larger memory limit");
        return AGENT_EBUDGET;
    }
    if (atomic_fetch_add(&e->active_runs, 1) >= e->max_active_runs) {
        (void)atomic_fetch_sub(&e->active_runs, 1);
        ag_fail(err, AGENT_EBUSY, 0, "start run: %lld runs are active, the most this engine holds",
                (long long)e->max_active_runs);
        ag_hint(err, "wait for runs to end, or open the engine with a larger max_active_runs");
        return AGENT_EBUSY;
    }
    return AGENT_OK;
}

/* run may be NULL. */
static agent_status no_memory(agent_engine *e, struct agent_run *run, const char *what, agent_error *err)
{
    (void)atomic_fetch_sub(&e->active_runs, 1);
    ag_run_unref(run);
    return ag_fail(err, AGENT_ENOMEM, 0, "%s: out of memory", what);
}

/* A handle is a ticket, whatever it is called outside. */
static struct ag_ticket *ticket_of(agent_run *handle)
{
    return (struct ag_ticket *)(void *)handle;
}

static agent_run *handle_of(struct ag_ticket *t)
{
    return (agent_run *)(void *)t;
}

static agent_status check_text(const char *what, struct ag_str text, agent_error *err)
{
    size_t at = 0;

    if (!ag_utf8_valid(text, &at))
        return ag_fail(err, AGENT_EINVAL, 0, "%s: the prompt is not UTF-8 (byte %zu)", what, at);
    return AGENT_OK;
}

/* What a request may be, before anything is made of it. */
static agent_status check_request(agent_engine *e, const agent_run_request *q, const char *what, agent_error *err)
{
    struct ag_str input;
    agent_status rc;

    if ((rc = ag_engine_writable(e, what, err)) != AGENT_OK)
        return rc;
    if (q->agent == NULL || q->agent[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "%s: no agent is named", what);
    if (q->input == NULL || q->input_bytes == 0) {
        ag_fail(err, AGENT_EINVAL, 0, "%s: the prompt is empty", what);
        ag_hint(err, "give some text as the prompt");
        return AGENT_EINVAL;
    }
    if (q->input_bytes > AGENT_INPUT_MAX)
        return ag_fail(err, AGENT_ETOOBIG, 0, "%s: the prompt has %zu bytes, the limit is %d (input_max)", what,
                       q->input_bytes, AGENT_INPUT_MAX);
    input = (struct ag_str){q->input, q->input_bytes};
    if ((rc = check_text(what, input, err)) != AGENT_OK)
        return rc;
    if (memchr(q->input, '\0', q->input_bytes) != NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "%s: the prompt holds a NUL byte", what);
    if (q->on_busy != AGENT_ON_BUSY_QUEUE && q->on_busy != AGENT_ON_BUSY_FAIL)
        return ag_fail(err, AGENT_EINVAL, 0, "%s: on_busy is %d, not one of agent_on_busy", what, q->on_busy);
    if (q->session_name != NULL &&
        (rc = ag_name_check("session name", q->session_name, AGENT_NAME_MAX, err)) != AGENT_OK)
        return rc;
    if (q->options != NULL) { /* its form now; its keys when the provider is known */
        AG_AUTO(ag_arena) a = AG_ARENA_INIT;
        struct ag_str merged;

        if ((rc = ag_params_merge(AG_STR_NONE, ag_str_of(q->options), &a, &merged, err)) != AGENT_OK)
            return ag_wrap(err, rc, "%s: options", what);
    }
    return AGENT_OK;
}

/* The request as an operation; its texts are borrowed. */
static void fill_create(agent_engine *e, const agent_run_request *q, int64_t now_ms, struct ag_op_run_create *c)
{
    c->agent_name = ag_str_of(q->agent);
    c->input = (struct ag_str){q->input, q->input_bytes};
    c->options = ag_str_of(q->options);
    c->idempotency_key = ag_str_of(q->idempotency_key);
    c->session_name = ag_str_of(q->session_name);
    c->session_id = q->session.id;
    c->session_by = q->session.id != 0 ? AG_SESSION_ID : q->session_name != NULL ? AG_SESSION_NAME
                  : q->latest_session ? AG_SESSION_LATEST : AG_SESSION_NEW;
    for (int i = 0; i < 16; i += 8) {
        uint64_t bits = ag_engine_random(e);

        memcpy(c->trace_id + i, &bits, 8);
    }
    c->priority = q->priority > 0 ? 1 : q->priority < 0 ? -1 : 0;
    c->queued_at_ms = now_ms;
    c->deadline_at_ms = q->timeout_ms > 0 ? now_ms + q->timeout_ms : 0;
    c->not_behind = q->on_busy == AGENT_ON_BUSY_FAIL;
    c->most_queued = ag_limit(&e->limits, AG_LIMIT_QUEUED_RUNS);
}

/* Makes *s a copy in the run's arena; false: out of memory. */
static bool keep(struct agent_run *run, struct ag_str *s)
{
    bool absent = s->p == NULL;

    *s = ag_arena_str(&run->arena, *s);
    return absent || s->p != NULL;
}

struct agent_run *ag_run_of_request(agent_engine *e, struct ag_worker *w, const struct ag_op_run_create *create,
                                    int64_t timeout_ms, int64_t queued_ns)
{
    struct agent_run *run = ag_run_new(e, w);
    struct ag_op_run_create *c;
    struct ag_mem_charge was;
    bool kept;

    if (run == NULL)
        return NULL;
    run->queued_ns = queued_ns;
    was = ag_mem_charge(run->account);
    run->create = ag_arena_zalloc(&run->arena, sizeof(*run->create));
    if ((kept = run->create != NULL)) {
        run->create->kind = AG_OP_RUN_CREATE;
        c = &run->create->run_create;
        *c = *create;
        kept = keep(run, &c->agent_name) && keep(run, &c->input) && keep(run, &c->options) &&
               keep(run, &c->idempotency_key) && keep(run, &c->session_name);
        run->input = c->input;
        run->options = c->options;
        run->priority = c->priority;
        c->claim = true;
        c->queued_at_ms = (queued_ns + run->unix_less_mono_ns) / 1000000;
        c->deadline_at_ms = timeout_ms > 0 ? c->queued_at_ms + timeout_ms : 0;
        run->deadline_ns = timeout_ms > 0 ? queued_ns + timeout_ms * 1000000 : 0;
    }
    ag_mem_charge_back(was);
    if (!kept) {
        ag_run_unref(run);
        return NULL;
    }
    return run;
}

/* Whether it may have to stand in line before anything else; then it is small until it need not. */
static bool may_wait(agent_engine *e, const struct ag_op_run_create *create)
{
    bool known;
    const ag_gate *gate;

    if (create->not_behind) /* it hears at once whether it may go */
        return false;
    gate = ag_schedule_hint(e->schedule, create->agent_name, &known);
    return gate != NULL || !known;
}

agent_status agent_run_start(agent_engine *e, const agent_run_request *q, agent_run **out, agent_error *err)
{
    struct ag_op_run_create create = {.claim = true};
    struct agent_run *run;
    struct ag_ticket *t;
    agent_status rc;

    if (e == NULL || q == NULL || q->size < sizeof(*q) || out == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "start run: engine, request (with its size) and out are needed");
    if ((rc = check_request(e, q, "start run", err)) != AGENT_OK || (rc = admit(e, err)) != AGENT_OK)
        return rc;
    fill_create(e, q, 0, &create);
    if (may_wait(e, &create)) {
        if ((t = ag_ticket_new(e, pick_worker(e), q, &create)) == NULL)
            return no_memory(e, NULL, "start run", err);
        *out = handle_of(t);
        ag_ticket_start(t);
        return AGENT_OK;
    }
    run = ag_run_of_request(e, pick_worker(e), &create, q->timeout_ms, ag_mono_ns(&e->clock));
    if (run == NULL || (t = ag_ticket_of(run)) == NULL)
        return no_memory(e, run, "start run", err);
    run->on_event = q->on_event;
    run->event_ctx = q->ctx;
    run->no_stream = q->no_stream;
    (void)atomic_fetch_add(&run->refs, 1);
    *out = handle_of(t);
    start(run);
    return AGENT_OK;
}

agent_status agent_run_enqueue(agent_engine *e, const agent_run_request *q, agent_run_id *out_run, agent_error *err)
{
    struct ag_op op = {.kind = AG_OP_RUN_CREATE};
    int64_t now_ms;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || q == NULL || q->size < sizeof(*q) || out_run == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "queue run: engine, request (with its size) and out are needed");
    if ((rc = check_request(e, q, "queue run", err)) != AGENT_OK)
        return rc;
    now_ms = ag_unix_ms(&e->clock);
    fill_create(e, q, now_ms, &op.run_create);
    ag_unit_init(&unit, now_ms);
    ag_unit_add(&unit, &op);
    if ((rc = ag_engine_apply(e, &unit, err)) != AGENT_OK)
        return ag_wrap(err, rc, "queue run");
    out_run->id = op.run_create.out_run_id;
    return AGENT_OK;
}

static agent_status resume(agent_engine *e, agent_run_id id, bool force, agent_event_fn on_event, void *ctx,
                           agent_run **out, agent_error *err)
{
    struct agent_run *run;
    struct ag_ticket *t;
    struct ag_mem_charge was;
    agent_status rc;

    if (e == NULL || out == NULL || id.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "resume: engine, run and out are needed");
    if ((rc = ag_engine_writable(e, "resume", err)) != AGENT_OK || (rc = admit(e, err)) != AGENT_OK)
        return rc;
    if ((run = ag_run_new(e, pick_worker(e))) == NULL)
        return no_memory(e, NULL, "resume", err);
    was = ag_mem_charge(run->account);
    run->create = ag_arena_zalloc(&run->arena, sizeof(*run->create));
    ag_mem_charge_back(was);
    if (run->create == NULL || (t = ag_ticket_of(run)) == NULL)
        return no_memory(e, run, "resume", err);
    run->on_event = on_event;
    run->event_ctx = ctx;
    run->create->kind = AG_OP_RUN_CLAIM;
    run->create->run_claim.run_id = id.id;
    run->create->run_claim.force = run->force = force;
    run->run_id = id.id;
    run->resume = run->created = true;
    (void)atomic_fetch_add(&run->refs, 1);
    *out = handle_of(t);
    start(run);
    return AGENT_OK;
}

agent_status agent_run_resume(agent_engine *e, agent_run_id id, agent_event_fn on_event, void *ctx, agent_run **out,
                              agent_error *err)
{
    return resume(e, id, false, on_event, ctx, out, err);
}

agent_status agent_run_resume_force(agent_engine *e, agent_run_id id, agent_event_fn on_event, void *ctx,
                                    agent_run **out, agent_error *err)
{
    return resume(e, id, true, on_event, ctx, out, err);
}

/* Its run, where that has ended; else NULL. */
static const struct agent_run *ended_run(struct ag_ticket *t)
{
    const struct agent_run *run = atomic_load_explicit(&t->run, memory_order_acquire);

    return run != NULL && atomic_load_explicit(&run->ended, memory_order_acquire) ? run : NULL;
}

static agent_status ended(const struct agent_run *run, const agent_run_result **out)
{
    if (out != NULL)
        *out = &run->outcome->result;
    return AGENT_OK;
}

agent_status agent_run_wait(agent_run *handle, int64_t timeout_ms, const agent_run_result **out, agent_error *err)
{
    struct ag_ticket *t = ticket_of(handle);
    const struct agent_run *run;
    agent_engine *e;
    int64_t until;

    if (t == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "wait: no run");
    e = t->engine;
    if ((run = ended_run(t)) != NULL)
        return ended(run, out);
    if (timeout_ms > INT64_MAX / 4000000)
        timeout_ms = -1; /* centuries */
    until = timeout_ms < 0 ? INT64_MAX : ag_mono_ns(&e->clock) + timeout_ms * 1000000;
    if (e->inline_mode) {
        while (ended_run(t) == NULL) {
            int64_t left = until == INT64_MAX ? -1 : (until - ag_mono_ns(&e->clock)) / 1000000;

            (void)ag_worker_turn(e->workers[0], until == INT64_MAX ? -1 : left > 0 ? left : 0);
            if (until != INT64_MAX && ag_mono_ns(&e->clock) >= until)
                break;
        }
    } else {
        int64_t at = timeout_ms < 0 ? 0 : ag_mono_ns(&ag_clock_system) + timeout_ms * 1000000;

        (void)pthread_mutex_lock(&e->ended_lock);
        while (ended_run(t) == NULL) {
            if (timeout_ms < 0)
                (void)pthread_cond_wait(&e->ended_cond, &e->ended_lock);
            else if (ag_cond_wait_until(&e->ended_cond, &e->ended_lock, at) == ETIMEDOUT)
                break;
        }
        (void)pthread_mutex_unlock(&e->ended_lock);
    }
    if ((run = ended_run(t)) != NULL)
        return ended(run, out);
    return ag_fail(err, AGENT_ETIMEDOUT, 0, "wait: the run has not ended within %lld ms", (long long)timeout_ms);
}

void agent_run_cancel(agent_run *handle)
{
    struct ag_ticket *t = ticket_of(handle);
    struct agent_run *run;
    struct ag_worker *w;

    if (t == NULL)
        return;
    atomic_store(&t->cancel, 1);
    if ((run = atomic_load(&t->run)) != NULL) { /* after: ticket.h (3) */
        atomic_store(&run->cancel, 1);
        if (atomic_load(&run->ended))
            return; /* the worker may be gone */
    }
    w = run != NULL ? run->worker : t->worker;
    atomic_store(&w->cancel_asked, true);
    ag_worker_wake(w);
}

void agent_run_free(agent_run *handle)
{
    ag_ticket_unref(ticket_of(handle));
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
    ag_worker_wake_run(e, id.id); /* or, while it waits for its turn, its row */
    if (op.run_cancel.out_next_run_id != 0)
        ag_worker_wake_run(e, op.run_cancel.out_next_run_id);
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
