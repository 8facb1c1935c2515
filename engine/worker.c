#include "engine/worker.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/cache/recorder.h"
#include "engine/live.h"
#include "engine/run.h"
#include "engine/ticket.h"
#include "engine/work.h"

/* --- the timer heap ----------------------------------------------------------------------------- */

static struct agent_run *run_of(struct ag_timer *timer)
{
    return (struct agent_run *)((char *)timer - offsetof(struct agent_run, timer));
}

static void heap_put(struct ag_worker *w, size_t i, struct ag_timer *timer)
{
    w->heap[i] = timer;
    timer->place = i + 1;
}

static void heap_up(struct ag_worker *w, size_t i)
{
    struct ag_timer *timer = w->heap[i];

    while (i > 0 && w->heap[(i - 1) / 2]->at_ns > timer->at_ns) {
        heap_put(w, i, w->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(w, i, timer);
}

static void heap_down(struct ag_worker *w, size_t i)
{
    struct ag_timer *timer = w->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && w->heap[child + 1]->at_ns < w->heap[child]->at_ns)
            child++;
        if (w->heap[child]->at_ns >= timer->at_ns)
            break;
        heap_put(w, i, w->heap[child]);
        i = child;
    }
    heap_put(w, i, timer);
}

static void heap_remove(struct ag_worker *w, struct ag_timer *timer)
{
    size_t i = timer->place - 1;
    struct ag_timer *last = w->heap[--w->heap_count];

    timer->place = 0;
    if (last == timer)
        return;
    heap_put(w, i, last);
    heap_up(w, i);
    heap_down(w, last->place - 1);
}

/* Its time has come. */
static void wake(struct ag_worker *w, struct ag_timer *timer)
{
    if (timer->is_ticket)
        ag_ticket_due(timer);
    else
        ag_worker_ready(w, run_of(timer));
}

void ag_worker_timer_at(struct ag_worker *w, struct ag_timer *timer, int64_t at_ns)
{
    if (at_ns == 0) {
        if (timer->place != 0)
            heap_remove(w, timer);
        return;
    }
    timer->at_ns = at_ns;
    if (timer->place != 0) {
        heap_up(w, timer->place - 1);
        heap_down(w, timer->place - 1);
        return;
    }
    if (w->heap_count == w->heap_room) {
        size_t room = w->heap_room == 0 ? 64 : w->heap_room * 2;
        struct ag_mem_charge was = ag_mem_charge(NULL);
        struct ag_timer **heap = ag_realloc(w->heap, room * sizeof(struct ag_timer *));

        ag_mem_charge_back(was);
        if (heap == NULL) { /* no timer can be kept: it is looked at again at once; a ticket goes without */
            if (!timer->is_ticket)
                wake(w, timer);
            return;
        }
        w->heap = heap;
        w->heap_room = room;
    }
    heap_put(w, w->heap_count++, timer);
    heap_up(w, w->heap_count - 1);
}

void ag_worker_wake_at(struct ag_worker *w, struct agent_run *run, int64_t at_ns)
{
    ag_worker_timer_at(w, &run->timer, at_ns);
}

void ag_worker_gates_at(struct ag_worker *w, int64_t at_ns)
{
    if (at_ns != 0 && (w->gates_at_ns == 0 || at_ns < w->gates_at_ns))
        w->gates_at_ns = at_ns;
}

/* When the worker is to be woken by time; 0: not. */
static int64_t next_time(const struct ag_worker *w)
{
    int64_t top = w->heap_count > 0 ? w->heap[0]->at_ns : 0;

    return w->gates_at_ns != 0 && (top == 0 || w->gates_at_ns < top) ? w->gates_at_ns : top;
}

/* --- runs ------------------------------------------------------------------------------------------ */

void ag_worker_ready(struct ag_worker *w, struct agent_run *run)
{
    if (run->in_ready)
        return;
    run->in_ready = true;
    run->ready_next = NULL;
    {
        struct ag_ready *r = &w->ready[run->priority > 0 ? 0 : run->priority == 0 ? 1 : 2];

        *r->last = run;
        r->last = &run->ready_next;
    }
}

void ag_worker_add(struct ag_worker *w, struct agent_run *run)
{
    run->prev = NULL;
    run->next = w->runs;
    if (w->runs != NULL)
        w->runs->prev = run;
    w->runs = run;
    run->in_runs = true;
    ag_recorder_look(w->engine->recorder, run->now_ns);
}

void ag_worker_remove(struct ag_worker *w, struct agent_run *run)
{
    if (!run->in_runs)
        return;
    ag_worker_wake_at(w, run, 0);
    if (run->prev != NULL)
        run->prev->next = run->next;
    else
        w->runs = run->next;
    if (run->next != NULL)
        run->next->prev = run->prev;
    run->in_runs = false;
}

struct agent_run *ag_worker_find(struct ag_worker *w, int64_t run_id)
{
    for (struct agent_run *run = w->runs; run != NULL; run = run->next)
        if (run->run_id == run_id)
            return run;
    return NULL;
}

agent_status ag_worker_http(struct ag_worker *w, ag_http **out, agent_error *err)
{
    struct ag_http_options o = {.ca_file = w->engine->ca_file, .proxy = w->engine->proxy};
    agent_status rc = AGENT_OK;

    if (w->http == NULL) {
        struct ag_mem_charge was = ag_mem_charge(NULL); /* it outlives the run that needs it first */

        rc = ag_http_new(&w->loop, &o, &w->http, err);
        ag_mem_charge_back(was);
    }
    if (rc == AGENT_OK)
        *out = w->http;
    return rc;
}

/* --- messages ---------------------------------------------------------------------------------------- */

void ag_worker_post(struct ag_worker *w, struct ag_post *post)
{
    if (ag_inbox_put(&w->inbox, post))
        ag_worker_wake(w);
}

void ag_worker_wake(struct ag_worker *w)
{
    (void)uv_async_send(&w->wake);
}

static bool take_messages(struct ag_worker *w)
{
    struct ag_post *post = ag_inbox_take(&w->inbox);
    bool any = post != NULL;

    while (post != NULL) {
        struct ag_post *next = post->next; /* the message may be gone after fn */

        post->fn(post);
        post = next;
    }
    if (atomic_exchange(&w->cancel_asked, false)) {
        any = true;
        for (struct agent_run *run = w->runs; run != NULL; run = run->next)
            if (atomic_load(&run->cancel) != 0)
                ag_worker_ready(w, run);
        ag_tickets_cancelled(w);
    }
    return any;
}

/* The highest class first; every eighth turn goes to the lowest that has somebody, so that steps of
 * low runs are taken however many high ones are ready. */
static struct agent_run *next_ready(struct ag_worker *w)
{
    bool low_first = ++w->turns % 8 == 0;

    for (int i = 0; i < 3; i++) {
        struct ag_ready *r = &w->ready[low_first ? 2 - i : i];
        struct agent_run *run = r->first;

        if (run == NULL)
            continue;
        r->first = run->ready_next;
        if (r->first == NULL)
            r->last = &r->first;
        run->in_ready = false;
        return run;
    }
    return NULL;
}

static bool drive_ready(struct ag_worker *w)
{
    struct agent_run *run;
    bool any = false;

    while ((run = next_ready(w)) != NULL) {
        any = true;
        ag_run_drive(run);
    }
    return any;
}

static void wake_due(struct ag_worker *w)
{
    int64_t now;

    if (w->heap_count == 0 && w->gates_at_ns == 0)
        return;
    now = ag_mono_ns(&w->engine->clock);
    if (w->gates_at_ns != 0 && w->gates_at_ns <= now) {
        w->gates_at_ns = 0;
        ag_worker_gates_at(w, ag_schedule_tick(w->engine->schedule, now));
    }
    while (w->heap_count > 0 && w->heap[0]->at_ns <= now) {
        struct ag_timer *timer = w->heap[0];

        heap_remove(w, timer);
        wake(w, timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct ag_worker *w = timer->data;

    w->timer_armed_ns = 0;
    uv_stop(&w->loop); /* somebody's time has come: the turn ends here */
}

/*
 * libuv calls timers, then waits for sockets, in one turn: what a timer made ready (ours, or one of
 * the http layer) would wait for the next socket. So, just before it waits: if there is something
 * to do, do not.
 */
static void on_before_wait(uv_prepare_t *handle)
{
    struct ag_worker *w = handle->data;

    if (w->ready[0].first != NULL || w->ready[1].first != NULL || w->ready[2].first != NULL ||
        atomic_load_explicit(&w->inbox.top, memory_order_relaxed) != NULL)
        uv_stop(&w->loop);
}

/* One libuv timer stands for the whole heap; it is moved only when the top comes earlier. */
static void arm_timer(struct ag_worker *w)
{
    int64_t top = next_time(w), in_ms;

    if (top == 0) {
        if (w->timer_armed_ns != 0)
            (void)uv_timer_stop(&w->timer);
        w->timer_armed_ns = 0;
        return;
    }
    if (w->timer_armed_ns == top)
        return;
    in_ms = (top - ag_mono_ns(&w->engine->clock) + 999999) / 1000000;
    uv_update_time(&w->loop);
    (void)uv_timer_start(&w->timer, on_timer, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
    w->timer_armed_ns = top;
}

/* --- the poll: what other processes did ------------------------------------------------------------------ */

static void cancel_one(void *ctx, int64_t run_id)
{
    struct ag_worker *w = ctx;
    struct agent_run *run = ag_worker_find(w, run_id);

    if (run != NULL && atomic_exchange(&run->cancel, 1) == 0)
        ag_worker_ready(w, run);
}

static void on_poll(uv_timer_t *timer)
{
    struct ag_worker *w = timer->data;
    bool any = false, more;
    uint64_t token;

    for (struct agent_run *run = w->runs; run != NULL && !any; run = run->next)
        any = run->waits_outside;
    more = ag_live_tick(w, any);
    ag_recorder_look(w->engine->recorder, ag_mono_ns(&w->engine->clock));
    if (!any && !more) {
        (void)uv_timer_stop(&w->poll);
        w->poll_on = false;
    }
    if (!any)
        return;
    token = ag_store_change_token(w->engine->store);
    if (token == w->seen_token)
        return;
    w->seen_token = token;
    (void)ag_reader_cancels(w->reader, cancel_one, w, NULL); /* a failure shows in the runs' own reads */
    for (struct agent_run *run = w->runs; run != NULL; run = run->next)
        if (run->stage == AG_STAGE_QUEUE)
            ag_worker_ready(w, run);
}

void ag_worker_poll_start(struct ag_worker *w)
{
    if (w->poll_on || (w->engine->store->vt->caps & AG_STORE_SHARED) == 0)
        return;
    w->poll_on = true;
    (void)uv_timer_start(&w->poll, on_poll, AG_POLL_MS, AG_POLL_MS);
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void on_wake(uv_async_t *wake)
{
    (void)wake; /* the turn after it takes the messages */
}

/* Everything that can be done without waiting. */
static bool work(struct ag_worker *w)
{
    bool any = false, more;

    do {
        more = take_messages(w);
        wake_due(w);
        more |= drive_ready(w);
        more |= w->work != NULL && ag_work_look(w->work);
        if (!w->threaded) {
            ag_store_flush(w->engine->store);
            more |= atomic_load_explicit(&w->inbox.top, memory_order_relaxed) != NULL;
        }
        any |= more;
    } while (more);
    return any;
}

/*
 * With workers = 0 the thread is the host's and so is its signal mask: while sockets may be written
 * to, SIGPIPE is held back here, and one that we caused is taken away again (promise 12).
 */
struct hold {
    sigset_t pipe, before;
    bool on, was_pending;
};

static void hold_sigpipe(struct hold *h)
{
    sigset_t pending;

    (void)sigemptyset(&h->pipe);
    (void)sigaddset(&h->pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &h->pipe, &h->before);
    (void)sigpending(&pending);
    h->was_pending = sigismember(&pending, SIGPIPE) == 1;
    h->on = true;
}

static void let_sigpipe(struct hold *h)
{
    const struct timespec now = {0, 0};

    if (!h->on)
        return;
    if (!h->was_pending)
        while (sigtimedwait(&h->pipe, NULL, &now) == SIGPIPE)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &h->before, NULL);
}

bool ag_worker_turn(struct ag_worker *w, int64_t timeout_ms)
{
    struct hold hold = {.on = false};
    bool any;

    if (!w->threaded && w->http != NULL)
        hold_sigpipe(&hold);
    any = work(w);

    if (any)
        timeout_ms = 0;
    arm_timer(w);
    if (timeout_ms == 0) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    } else {
        uv_timer_t *limit = &w->timer;
        int64_t due = timeout_ms < 0 ? INT64_MAX : ag_mono_ns(&w->engine->clock) + timeout_ms * 1000000;

        if (due < INT64_MAX && (next_time(w) == 0 || due < next_time(w))) {
            uv_update_time(&w->loop);
            (void)uv_timer_start(limit, on_timer, (uint64_t)timeout_ms, 0);
            w->timer_armed_ns = due;
        }
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    any = work(w) || any;
    let_sigpipe(&hold);
    return any;
}

static void *worker_main(void *arg)
{
    struct ag_worker *w = arg;

    while (!w->stopping)
        (void)ag_worker_turn(w, -1);
    return NULL;
}

struct wake_post {
    struct ag_post post;
    struct ag_worker *worker;
    int64_t run_id;
};

static void on_wake_run(struct ag_post *post)
{
    struct wake_post *wake = (struct wake_post *)post;
    struct agent_run *run = ag_worker_find(wake->worker, wake->run_id);

    if (run != NULL)
        ag_worker_ready(wake->worker, run);
    ag_free(wake);
}

void ag_worker_wake_run(agent_engine *e, int64_t run_id)
{
    for (int i = 0; i < e->worker_count; i++) {
        struct wake_post *wake = ag_malloc(sizeof(*wake));

        if (wake == NULL)
            return; /* it looks again by itself within a second */
        *wake = (struct wake_post){{NULL, on_wake_run}, e->workers[i], run_id};
        ag_worker_post(e->workers[i], &wake->post);
    }
}

struct stop_post {
    struct ag_post post;
    struct ag_worker *worker;
};

static void on_stop(struct ag_post *post)
{
    ((struct stop_post *)post)->worker->stopping = true;
}

/* --- open, close ------------------------------------------------------------------------------------------ */

agent_status ag_worker_open(agent_engine *e, int index, bool threaded, struct ag_worker **out, agent_error *err)
{
    struct ag_worker *w = ag_calloc(1, sizeof(*w));
    agent_status rc;
    int uv;

    if (w == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "start worker: out of memory");
    w->engine = e;
    w->index = index;
    for (int i = 0; i < 3; i++)
        w->ready[i].last = &w->ready[i].first;
    if ((uv = uv_loop_init(&w->loop)) != 0) {
        ag_free(w);
        return ag_fail(err, AGENT_EIO, -uv, "start worker: event loop: %s", uv_strerror(uv));
    }
    (void)uv_timer_init(&w->loop, &w->timer);
    (void)uv_timer_init(&w->loop, &w->poll);
    (void)uv_prepare_init(&w->loop, &w->before_wait);
    w->timer.data = w->poll.data = w->before_wait.data = w;
    (void)uv_prepare_start(&w->before_wait, on_before_wait);
    if ((uv = uv_async_init(&w->loop, &w->wake, on_wake)) != 0) {
        rc = ag_fail(err, AGENT_EIO, -uv, "start worker: event loop: %s", uv_strerror(uv));
        goto fail;
    }
    if ((rc = ag_store_reader_open(e->store, &w->reader, err)) != AGENT_OK)
        goto fail;
    w->threaded = threaded; /* before the thread: it reads it */
    if (threaded && ag_thread_start(&w->thread, worker_main, w) != 0) { /* there a broken pipe is an error code */
        w->threaded = false;
        rc = ag_fail(err, AGENT_EIO, 0, "start worker: no thread could be started");
        goto fail;
    }
    *out = w;
    return AGENT_OK;

fail:
    ag_worker_free(w);
    return rc;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void ag_worker_stop(struct ag_worker *w)
{
    struct stop_post stop = {{NULL, on_stop}, w};

    if (w->threaded) {
        ag_worker_post(w, &stop.post);
        (void)pthread_join(w->thread, NULL);
    }
    w->stopping = true;
    w->threaded = false;
    /* Runs that have not ended stay in the file as they are; here they only let go. What they have
     * out (commits, tools, sockets) comes back before they are freed. */
    while (w->tickets != NULL) {
        ag_tickets_end(w);
        if (w->tickets != NULL)
            (void)take_messages(w); /* the news of a permit is there, or about to be */
    }
    while (w->runs != NULL) {
        struct agent_run *run = w->runs;
        agent_error why = AGENT_ERROR_INIT;

        (void)ag_fail(&why, AGENT_ECANCELLED, 0, "the engine was closed; the run can be resumed");
        ag_run_drop(run, run->created ? AG_RUN_RUNNING : AG_RUN_CANCELLED, &why);
        ag_run_settle(run);
    }
    while (w->lingering > 0)
        (void)ag_worker_turn(w, 20);
}

void ag_worker_free(struct ag_worker *w)
{
    (void)take_messages(w);
    ag_http_close(w->http);
    uv_walk(&w->loop, close_handle, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&w->loop);
    ag_reader_close(w->reader);
    while (w->free_units != NULL) {
        struct ag_run_unit *u = w->free_units;

        w->free_units = u->free_next;
        ag_free(u);
    }
    ag_free(w->heap);
    ag_free(w);
}
