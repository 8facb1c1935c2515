#include "engine/ticket.h"

#include <string.h>

#include "engine/base/mem.h"

#define TRY_AGAIN_NS INT64_C(100000000) /* when there was no memory to make a run of it */

struct ag_ticket *ag_ticket_of(struct agent_run *run)
{
    struct ag_ticket *t = ag_calloc(1, offsetof(struct ag_ticket, worker));

    if (t == NULL)
        return NULL;
    atomic_init(&t->refs, 1);
    atomic_init(&t->cancel, 0);
    t->engine = run->engine;
    atomic_init(&t->run, run);
    return t;
}

/* --- the request in one block ---------------------------------------------------------------------- */

struct ag_ticket *ag_ticket_new(agent_engine *e, struct ag_worker *w, const agent_run_request *q,
                                const struct ag_op_run_create *create)
{
    const struct ag_str texts[5] = {create->agent_name, create->input, create->options, create->idempotency_key,
                                    create->session_name};
    size_t bytes = 0;
    struct ag_ticket *t;
    char *at;

    for (int i = 0; i < 5; i++)
        bytes += texts[i].p == NULL ? 0 : texts[i].n;
    if (bytes > UINT32_MAX / 2 || (t = ag_malloc(sizeof(*t) + bytes)) == NULL)
        return NULL;
    memset(t, 0, sizeof(*t));
    atomic_init(&t->refs, 2); /* the host's and the worker's */
    atomic_init(&t->cancel, 0);
    atomic_init(&t->run, NULL);
    t->engine = e;
    t->worker = w;
    t->timer.is_ticket = true;
    t->on_event = q->on_event;
    t->event_ctx = q->ctx;
    t->queued_ns = ag_mono_ns(&e->clock);
    t->timeout_ms = q->timeout_ms;
    t->no_stream = q->no_stream;
    t->session_id = create->session_id;
    t->session_by = (unsigned char)create->session_by;
    t->priority = (signed char)create->priority;
    memcpy(t->trace_id, create->trace_id, sizeof(t->trace_id));
    at = t->texts;
    for (int i = 0; i < 5; i++) {
        if (texts[i].p == NULL)
            continue;
        memcpy(at, texts[i].p, texts[i].n);
        at += texts[i].n;
        t->n[i] = (uint32_t)texts[i].n + 1;
    }
    return t;
}

/* As the operation that creates its run; texts are borrowed. */
static void read_request(const struct ag_ticket *t, struct ag_op_run_create *create)
{
    struct ag_str *const texts[5] = {&create->agent_name, &create->input, &create->options, &create->idempotency_key,
                                     &create->session_name};
    const char *at = t->texts;

    memset(create, 0, sizeof(*create));
    for (int i = 0; i < 5; i++) {
        if (t->n[i] == 0)
            continue;
        *texts[i] = (struct ag_str){at, t->n[i] - 1};
        at += t->n[i] - 1;
    }
    create->session_by = (enum ag_session_by)t->session_by;
    create->session_id = t->session_id;
    create->priority = t->priority;
    memcpy(create->trace_id, t->trace_id, sizeof(create->trace_id));
}

/* --- it becomes a run ------------------------------------------------------------------------------- */

static void take_out(struct ag_ticket *t)
{
    struct ag_worker *w = t->worker;

    ag_worker_timer_at(w, &t->timer, 0);
    if (!t->in_list)
        return;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        w->tickets = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    t->in_list = false;
    w->ticket_count--;
}

static void leave_gate(struct ag_ticket *t, bool inside)
{
    if (inside)
        ag_worker_gates_at(t->worker, ag_gate_leave(t->gate, t->waiter.class, ag_mono_ns(&t->engine->clock)));
    t->gate = NULL;
}

/* `inside`: with the permit of its gate. */
static void become_run(struct ag_ticket *t, bool inside)
{
    struct ag_op_run_create create;
    struct agent_run *run;

    read_request(t, &create);
    run = ag_run_of_request(t->engine, t->worker, &create, t->timeout_ms, t->queued_ns);
    if (run == NULL) {
        leave_gate(t, inside);
        ag_worker_timer_at(t->worker, &t->timer, ag_mono_ns(&t->engine->clock) + TRY_AGAIN_NS);
        return;
    }
    run->on_event = t->on_event;
    run->event_ctx = t->event_ctx;
    run->no_stream = t->no_stream;
    run->gate = inside ? t->gate : NULL;
    run->inside = inside;
    run->waiter.class = t->waiter.class; /* the permit is of this class */
    (void)atomic_fetch_add(&run->refs, 1); /* the ticket's */
    take_out(t);
    atomic_store(&t->run, run);
    if (atomic_load(&t->cancel) != 0) /* (3) */
        atomic_store(&run->cancel, 1);
    ag_ticket_unref(t); /* the worker's */
    ag_worker_add(run->worker, run);
    /* At once, where no caller of the host's is below us: so the first run of an agent tells the next
     * ones before which gate they stand. */
    if (run->engine->inline_mode || run->worker->stopping)
        ag_worker_ready(run->worker, run);
    else
        ag_run_drive(run);
}

static void on_news(struct ag_post *post)
{
    struct ag_ticket *t = (struct ag_ticket *)((char *)post - offsetof(struct ag_ticket, post));

    t->is_out = false;
    become_run(t, true);
}

static void on_granted(struct ag_waiter *waiter)
{
    struct ag_ticket *t = (struct ag_ticket *)((char *)waiter - offsetof(struct ag_ticket, waiter));

    t->post.fn = on_news;
    ag_worker_post(t->worker, &t->post);
}

/* There is an end to tell, or to make: out of the line, unless the permit is under way already. */
static void give_up_waiting(struct ag_ticket *t)
{
    if (t->is_out && !ag_gate_cancel(t->gate, &t->waiter))
        return;
    t->is_out = false;
    t->gate = NULL;
    become_run(t, false);
}

/* --- waiting ---------------------------------------------------------------------------------------- */

/* Before which gate its agent's runs stand. An agent nobody has asked yet is read once, which tells the
 * schedule; one that is not there is for the run to find out. */
static ag_gate *find_gate(const struct ag_ticket *t)
{
    const struct ag_str name = {t->texts, t->n[0] - 1};
    AG_AUTO(ag_arena) a = AG_ARENA_INIT;
    struct ag_agent_obj *obj;
    struct ag_agent_rec rec;
    bool known;
    ag_gate *gate = ag_schedule_hint(t->engine->schedule, name, &known);

    if (known || ag_reader_agent(t->worker->reader, name, 0, &a, &rec, NULL) != AGENT_OK ||
        ag_catalog_agent(t->engine, t->worker->reader, rec.version_id, &obj, NULL) != AGENT_OK)
        return gate;
    gate = obj->gate;
    ag_value_put(&obj->head);
    return gate;
}

static void get_in_line(struct ag_ticket *t)
{
    struct ag_worker *w = t->worker;
    ag_gate *gate = find_gate(t);
    int64_t at;

    if (gate == NULL) {
        become_run(t, false);
        return;
    }
    t->gate = gate;
    t->is_out = true;
    t->waiter.class = t->priority > 0 ? 0 : t->priority == 0 ? 1 : 2;
    t->waiter.granted = on_granted;
    if (ag_gate_enter(gate, &t->waiter, ag_mono_ns(&t->engine->clock), &at)) {
        t->is_out = false;
        become_run(t, true);
    } else if (t->timeout_ms > 0) {
        ag_worker_timer_at(w, &t->timer, t->queued_ns + t->timeout_ms * 1000000);
    }
    ag_worker_gates_at(w, at);
}

static void on_start(struct ag_post *post)
{
    struct ag_ticket *t = (struct ag_ticket *)((char *)post - offsetof(struct ag_ticket, post));
    struct ag_worker *w = t->worker;

    t->next = w->tickets;
    if (t->next != NULL)
        t->next->prev = t;
    w->tickets = t;
    t->in_list = true;
    w->ticket_count++;
    if (atomic_load(&t->cancel) != 0)
        become_run(t, false);
    else
        get_in_line(t);
}

void ag_ticket_start(struct ag_ticket *t)
{
    t->post.fn = on_start;
    if (t->engine->inline_mode)
        on_start(&t->post);
    else
        ag_worker_post(t->worker, &t->post);
}

void ag_ticket_unref(struct ag_ticket *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    ag_run_unref(atomic_load(&t->run));
    ag_free(t);
}

/* --- what the worker does with them ------------------------------------------------------------------ */

void ag_tickets_cancelled(struct ag_worker *w)
{
    struct ag_ticket *next;

    for (struct ag_ticket *t = w->tickets; t != NULL; t = next) {
        next = t->next;
        if (atomic_load(&t->cancel) != 0)
            give_up_waiting(t);
    }
}

void ag_ticket_due(struct ag_timer *timer)
{
    struct ag_ticket *t = (struct ag_ticket *)((char *)timer - offsetof(struct ag_ticket, timer));

    if (t->gate == NULL && atomic_load(&t->cancel) == 0) /* there was no memory */
        get_in_line(t);
    else
        give_up_waiting(t);
}

/* The worker stops: they become runs, which are then let go of as any other. One whose permit is under
 * way does when that comes. */
void ag_tickets_end(struct ag_worker *w)
{
    struct ag_ticket *next;

    for (struct ag_ticket *t = w->tickets; t != NULL; t = next) {
        next = t->next;
        give_up_waiting(t);
    }
}
