/*
 * Works off the durable queue: takes what is ready in the file, at most `concurrency` runs at once,
 * and spreads it over the workers.
 *
 *      home, each turn:   stop? ─► room? ─► anything new? ──reader──► ready ──► CLAIM_NEXT ──► runs
 *                                               ▲                                              │
 *      a commit of others: inotify on the -wal, then the change token      (any worker) ◄──────┘
 *      a commit of ours: ag_work_hint()                                        │ ends
 *      each second: owners that died                                           ▼
 *                                                                         ag_work_left()
 *
 * Invariants, cited by number:
 *  (1) What is asked of the file is asked after the token was read that says it changed: what
 *      changes meanwhile changes the token too, and is looked at in the next turn.
 *  (2) One CLAIM_NEXT at a time; what it returns is driven, whatever was asked meanwhile, for it is
 *      ours in the file.
 *  (3) Idle, it wakes FALLBACK_MS times at most: five a second. While the watch has told of a write
 *      it is not listened to; it is looked some times at growing distances instead, so that our
 *      own commits wake us no oftener than that.
 *  (4) The work is over when nothing of it is out; with stop `now`, its runs stay behind with the
 *      engine, and in the file.
 */
#include "engine/work.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/run.h"
#include "engine/watch.h"

#define BATCH        256 /* runs taken in one transaction */
#define FALLBACK_MS  200
#define DEATHS_NS    INT64_C(1000000000)
#define RETRY_NS     INT64_C(1000000000)

enum { GO_ON, DRAIN, NOW }; /* engine->work_stop */

struct ag_work {
    agent_engine *engine;
    struct ag_worker *home;
    agent_work_options o;
    struct ag_post post; /* start, then each claim */

    /* home's thread */
    ag_unit unit;
    struct ag_op op;
    struct ag_op_run_claim claims[BATCH];
    bool claim_out, must_look, is_over;
    uint64_t token;
    int64_t deaths_at_ns, retry_at_ns;
    unsigned next_worker;
    uv_timer_t fallback, echo;
    uv_poll_t poll;
    struct ag_watch watch;
    bool is_listening;
    int echo_ms, open_handles;
    agent_status status;
    agent_error error;

    atomic_bool done;
};

/* --- waking up ------------------------------------------------------------------------------------ */

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* the turn after it looks */
}

static void on_written(uv_poll_t *poll, int status, int events);

static void listen_again(struct ag_work *work)
{
    if (work->watch.fd < 0 || work->is_listening || work->is_over)
        return;
    work->is_listening = uv_poll_start(&work->poll, UV_READABLE, on_written) == 0;
}

static void on_echo(uv_timer_t *timer)
{
    struct ag_work *work = timer->data;

    work->echo_ms = ag_store_change_token(work->engine->store) == work->token ? ag_echo(work->echo_ms) : 0;
    if (work->echo_ms != 0)
        (void)uv_timer_start(timer, on_echo, (uint64_t)work->echo_ms, 0);
    else
        listen_again(work);
}

static void on_written(uv_poll_t *poll, int status, int events)
{
    struct ag_work *work = poll->data;

    (void)status;
    (void)events;
    (void)uv_poll_stop(poll);
    work->is_listening = false;
    if (!ag_watch_drain(&work->watch)) /* the -wal is gone: the fallback timer stays */
        return;
    work->echo_ms = ag_echo(0);
    (void)uv_timer_start(&work->echo, on_echo, (uint64_t)work->echo_ms, 0);
}

void ag_work_hint(agent_engine *e, bool at_home)
{
    if (!atomic_load_explicit(&e->is_working, memory_order_acquire))
        return;
    atomic_store_explicit(&e->work_hint, true, memory_order_release);
    if (!at_home)
        ag_worker_wake(e->workers[0]);
}

void ag_work_left(agent_engine *e, bool at_home)
{
    (void)atomic_fetch_sub(&e->work_active, 1);
    ag_work_hint(e, at_home);
}

/* --- the end --------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct ag_work *work = handle->data;
    agent_engine *e = work->engine;

    if (--work->open_handles > 0)
        return;
    ag_watch_close(&work->watch);
    work->home->work = NULL;
    if (e->inline_mode) {
        atomic_store(&work->done, true);
        return;
    }
    (void)pthread_mutex_lock(&e->ended_lock);
    atomic_store(&work->done, true);
    (void)pthread_cond_broadcast(&e->ended_cond);
    (void)pthread_mutex_unlock(&e->ended_lock); /* from here on the work may be gone */
}

static void end(struct ag_work *work)
{
    work->is_over = true;
    uv_close((uv_handle_t *)&work->fallback, on_closed);
    uv_close((uv_handle_t *)&work->echo, on_closed);
    if (work->watch.fd >= 0)
        uv_close((uv_handle_t *)&work->poll, on_closed);
}

static void fail(struct ag_work *work, const agent_error *why)
{
    if (work->status != AGENT_OK)
        return;
    work->status = why->status;
    work->error = *why;
    ag_log_line(&work->engine->log, AG_LOG_ERROR, "work", "takes nothing more: %s", why->text);
}

/* --- taking ------------------------------------------------------------------------------------------ */

static void on_taken(struct ag_post *post)
{
    struct agent_run *run = (struct agent_run *)((char *)post - offsetof(struct agent_run, post));

    ag_worker_add(run->worker, run);
    ag_run_drive(run);
}

/* A claimed run begins where one that claims by itself is when its claim was committed. */
static bool drive(struct ag_work *work, const struct ag_op_run_claim *claim)
{
    agent_engine *e = work->engine;
    struct agent_run *run = ag_run_new(e, e->workers[work->next_worker++ % (unsigned)e->worker_count]);
    struct ag_mem_charge was;
    int64_t waited_ms;

    if (run == NULL)
        return false;
    was = ag_mem_charge(run->account);
    run->create = ag_arena_zalloc(&run->arena, sizeof(*run->create));
    ag_mem_charge_back(was);
    if (run->create == NULL) {
        ag_run_unref(run);
        return false;
    }
    (void)atomic_fetch_add(&e->active_runs, 1);
    (void)atomic_fetch_add(&e->work_active, 1);
    run->create->kind = AG_OP_RUN_CLAIM;
    run->create->run_claim = *claim;
    run->run_id = claim->run_id;
    run->priority = claim->out_priority;
    run->resume = run->created = run->is_taken = run->is_of_work = true;
    run->on_event = work->o.on_event;
    run->event_ctx = work->o.ctx;
    waited_ms = ag_run_unix_ms(run) - claim->out_queued_at_ms;
    if (claim->out_fresh && waited_ms > 0) /* its queue stage began when it was queued */
        run->queued_ns -= waited_ms * 1000000;
    run->post.fn = on_taken;
    if (run->worker == work->home) {
        ag_worker_add(run->worker, run);
        ag_worker_ready(run->worker, run);
    } else {
        ag_worker_post(run->worker, &run->post);
    }
    return true;
}

static void on_claimed(struct ag_work *work)
{
    const struct ag_op_claim_next *got = &work->op.claim_next;

    work->claim_out = false;
    if (work->unit.status == AGENT_EBUSY) { /* somebody keeps the file locked: he will not for ever */
        ag_log_line(&work->engine->log, AG_LOG_WARN, "work", "tries again in a second: %s", work->unit.error.text);
        work->retry_at_ns = ag_mono_ns(&work->engine->clock) + RETRY_NS;
        work->must_look = true;
        return;
    }
    if (work->unit.status != AGENT_OK) {
        fail(work, &work->unit.error);
        return;
    }
    /* Whether or not the dead left anything, that was asked for: it is looked again, not in a second. */
    work->must_look |= got->out_count > 0 || got->out_more || got->reap;
    for (int i = 0; i < got->out_count; i++)
        if (!drive(work, &got->claims[i])) {
            agent_error why = AGENT_ERROR_INIT;

            (void)ag_fail(&why, AGENT_ENOMEM, 0, "work: out of memory; run %lld is taken up when this engine is closed",
                          (long long)got->claims[i].run_id);
            fail(work, &why);
        }
}

static void on_claimed_here(struct ag_post *post)
{
    on_claimed((struct ag_work *)((char *)post - offsetof(struct ag_work, post)));
}

/* On the store's thread. */
static void on_claim_done(ag_unit *unit)
{
    struct ag_work *work = unit->ctx;

    ag_worker_post(work->home, &work->post);
}

static void claim(struct ag_work *work, int64_t most, bool reap)
{
    agent_engine *e = work->engine;

    ag_unit_init(&work->unit, ag_unix_ms(&e->clock));
    memset(&work->op, 0, sizeof(work->op));
    work->op.kind = AG_OP_CLAIM_NEXT;
    work->op.claim_next = (struct ag_op_claim_next){
        .claims = work->claims, .most = (int)most, .aging_ms = work->o.aging_ms, .reap = reap,
    };
    ag_unit_add(&work->unit, &work->op);
    work->unit.done = on_claim_done;
    work->unit.ctx = work;
    work->post.fn = on_claimed_here;
    work->claim_out = true;
    if (ag_store_submit(e->store, &work->unit))
        on_claimed(work);
}

static int64_t room(const struct ag_work *work)
{
    const agent_engine *e = work->engine;
    int64_t own = work->o.concurrency - atomic_load(&e->work_active);
    int64_t all = e->max_active_runs - atomic_load(&e->active_runs);

    own = own < all ? own : all;
    if (own < work->o.concurrency && own > 0 && ag_pressure_level(work->engine) >= AG_PRESSURE_FULL)
        return 0; /* memory is short: what runs ends first; one at a time always may */
    return own < BATCH ? own : BATCH;
}

/* Asks the file; true: something is under way. */
static bool look(struct ag_work *work, int64_t most, bool deaths_too)
{
    struct ag_queue_look queue;
    agent_error why = AGENT_ERROR_INIT;

    work->must_look = work->must_look && most <= 0;
    if (ag_reader_queue(work->home->reader, deaths_too, &queue, &why) != AGENT_OK) {
        fail(work, &why);
        return true;
    }
    if (queue.has_dead || (queue.is_ready && most > 0)) {
        claim(work, most > 0 ? most : 0, queue.has_dead);
        return true;
    }
    if (work->o.until_idle && !queue.is_ready && !queue.has_waiting && atomic_load(&work->engine->work_active) == 0)
        end(work);
    return work->is_over;
}

bool ag_work_look(struct ag_work *work)
{
    agent_engine *e = work->engine;
    int stop = atomic_load(&e->work_stop);
    int64_t now, most;
    uint64_t token;
    bool deaths_too;

    if (work->is_over || work->claim_out)
        return false;
    if (stop != GO_ON || work->status != AGENT_OK) {
        if (stop == NOW || atomic_load(&e->work_active) == 0) /* (4) */
            end(work);
        return work->is_over;
    }
    token = ag_store_change_token(e->store);
    if (token != work->token || atomic_exchange(&e->work_hint, false))
        work->must_look = true;
    work->token = token; /* (1) */
    now = ag_mono_ns(&e->clock);
    if (now < work->retry_at_ns)
        return false;
    deaths_too = now >= work->deaths_at_ns;
    if (deaths_too)
        work->deaths_at_ns = now + DEATHS_NS;
    most = room(work);
    if (most > 0)
        listen_again(work);
    return (deaths_too || (work->must_look && most > 0)) && look(work, most, deaths_too);
}

/* --- the host's side ------------------------------------------------------------------------------------- */

static void begin(struct ag_work *work)
{
    uv_loop_t *loop = &work->home->loop;
    agent_engine *e = work->engine;

    (void)uv_timer_init(loop, &work->fallback);
    (void)uv_timer_init(loop, &work->echo);
    work->fallback.data = work->echo.data = work->poll.data = work;
    work->open_handles = 2;
    if (ag_watch_open(&work->watch, ag_store_watch_path(e->store))) {
        if (uv_poll_init(loop, &work->poll, work->watch.fd) == 0)
            work->open_handles++;
        else
            ag_watch_close(&work->watch);
    }
    if ((e->store->vt->caps & AG_STORE_SHARED) != 0)
        (void)uv_timer_start(&work->fallback, on_tick, FALLBACK_MS, FALLBACK_MS);
    work->token = ag_store_change_token(e->store);
    work->must_look = true;
    work->home->work = work;
}

static void on_begin(struct ag_post *post)
{
    begin((struct ag_work *)((char *)post - offsetof(struct ag_work, post)));
}

static void wait_for_it(struct ag_work *work)
{
    agent_engine *e = work->engine;

    if (e->inline_mode) {
        begin(work);
        while (!atomic_load(&work->done))
            (void)ag_worker_turn(work->home, -1);
        return;
    }
    work->post.fn = on_begin;
    ag_worker_post(work->home, &work->post);
    (void)pthread_mutex_lock(&e->ended_lock);
    while (!atomic_load(&work->done))
        (void)pthread_cond_wait(&e->ended_cond, &e->ended_lock);
    (void)pthread_mutex_unlock(&e->ended_lock);
}

agent_status agent_work(agent_engine *e, const agent_work_options *o, agent_error *err)
{
    static const agent_work_options defaults = AGENT_WORK_OPTIONS_INIT;
    struct ag_work *work;
    agent_status rc;

    if (e == NULL || (o != NULL && o->size < sizeof(*o)))
        return ag_fail(err, AGENT_EINVAL, 0, "work: an engine, and options with their size, are needed");
    if ((rc = ag_engine_writable(e, "work", err)) != AGENT_OK)
        return rc;
    if (o != NULL && (o->concurrency < 0 || o->aging_ms < 0))
        return ag_fail(err, AGENT_EINVAL, 0, "work: concurrency or aging_ms is less than 0");
    if (atomic_exchange(&e->is_working, true)) {
        ag_fail(err, AGENT_EBUSY, 0, "work: this engine is at work already");
        ag_hint(err, "one call of agent_work() serves an engine; open another engine for a second one");
        return AGENT_EBUSY;
    }
    if ((work = ag_calloc(1, sizeof(*work))) == NULL) {
        atomic_store(&e->is_working, false);
        return ag_fail(err, AGENT_ENOMEM, 0, "work: out of memory");
    }
    work->engine = e;
    work->home = e->workers[0];
    work->o = o != NULL ? *o : defaults;
    if (work->o.concurrency == 0)
        work->o.concurrency = (int)ag_limit(&e->limits, AG_LIMIT_WORK_JOBS);
    if (work->o.aging_ms == 0)
        work->o.aging_ms = ag_limit(&e->limits, AG_LIMIT_QUEUE_AGING_MS);
    work->watch = AG_WATCH_INIT;
    atomic_store(&e->work_hint, false);
    wait_for_it(work);
    rc = work->status;
    if (rc != AGENT_OK && err != NULL)
        *err = work->error;
    ag_free(work);
    atomic_store(&e->work_stop, GO_ON);
    atomic_store(&e->is_working, false);
    return rc;
}

void agent_work_stop(agent_engine *e, bool now)
{
    if (e == NULL || e->inspect)
        return;
    if (now || atomic_load(&e->work_stop) == GO_ON)
        atomic_store(&e->work_stop, now ? NOW : DRAIN);
    ag_worker_wake(e->workers[0]);
}
