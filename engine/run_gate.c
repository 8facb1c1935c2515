/*
 * Permits: a run enters the gate of its model's endpoint before it is loaded and keeps it until the
 * answer is complete; each later request of it enters anew. A call enters the gate of its tool.
 *
 * A permit may be granted by whichever thread makes room; the news comes to the run's worker by its
 * inbox. Until that message is back the run is not freed. Who waits has no timer: the worker that
 * touched the gate last looks at it again when it is time (gate.h (6)).
 */
#include "engine/run.h"

static int class_of(const struct agent_run *run)
{
    return run->priority > 0 ? 0 : run->priority == 0 ? 1 : 2;
}

/* --- the endpoint ------------------------------------------------------------------------------------ */

static void run_news(struct ag_post *post)
{
    struct agent_run *run = (struct agent_run *)((char *)post - offsetof(struct agent_run, gate_post));

    run->gate_out = false;
    run->inside = true;
    if (run->gone)
        ag_run_leave(run);
    ag_worker_ready(run->worker, run);
}

static void run_granted(struct ag_waiter *w)
{
    struct agent_run *run = (struct agent_run *)((char *)w - offsetof(struct agent_run, waiter));

    run->gate_post.fn = run_news;
    ag_worker_post(run->worker, &run->gate_post);
}

bool ag_run_enter(struct agent_run *run, ag_gate *gate)
{
    int64_t at;

    if (run->gate == gate && (run->inside || gate == NULL))
        return true;
    if (run->gate_out)
        return false;
    if (run->inside) /* of another one: the agent's model is not what it was */
        ag_run_leave(run);
    run->gate = gate;
    if (gate == NULL)
        return true;
    run->waiter.class = class_of(run);
    run->waiter.granted = run_granted;
    run->gate_out = true; /* before: the grant may come at once, from another thread */
    if (ag_gate_enter(gate, &run->waiter, run->now_ns, &at)) {
        run->gate_out = false;
        run->inside = true;
    }
    ag_worker_gates_at(run->worker, at);
    return run->inside;
}

void ag_run_leave(struct agent_run *run)
{
    if (run->inside)
        ag_worker_gates_at(run->worker, ag_gate_leave(run->gate, run->waiter.class, ag_mono_ns(&run->engine->clock)));
    else if (run->gate_out && ag_gate_cancel(run->gate, &run->waiter))
        run->gate_out = false;
    else if (run->gate_out)
        return; /* granted already: run_news() gives it back, or the run uses it */
    run->inside = false;
    run->gate = NULL;
}

void ag_run_hold(struct agent_run *run, int64_t until_ns)
{
    if (run->gate != NULL)
        ag_worker_gates_at(run->worker, ag_gate_hold(run->gate, until_ns, run->now_ns));
}

/* --- a tool --------------------------------------------------------------------------------------------- */

static void call_news(struct ag_post *post)
{
    struct ag_run_call *c = (struct ag_run_call *)((char *)post - offsetof(struct ag_run_call, gate_post));
    struct agent_run *run = c->run;

    run->calls_out--;
    c->inside = true;
    if (c->state == AG_CALL_LINE)
        c->state = AG_CALL_NEW;
    if (run->ending) /* it will not be made */
        ag_call_leave(c);
    ag_worker_ready(run->worker, run);
}

static void call_granted(struct ag_waiter *w)
{
    struct ag_run_call *c = (struct ag_run_call *)((char *)w - offsetof(struct ag_run_call, waiter));

    c->gate_post.fn = call_news;
    ag_worker_post(c->run->worker, &c->gate_post);
}

bool ag_call_enter(struct ag_run_call *c)
{
    struct agent_run *run = c->run;
    int64_t at;
    bool in;

    if (c->inside || c->tool->gate == NULL)
        return true;
    c->waiter.class = class_of(run);
    c->waiter.granted = call_granted;
    c->state = AG_CALL_LINE;
    run->calls_out++; /* the news of it is out */
    in = ag_gate_enter(c->tool->gate, &c->waiter, ag_mono_ns(&run->engine->clock), &at);
    ag_worker_gates_at(run->worker, at);
    if (!in)
        return false;
    run->calls_out--;
    c->state = AG_CALL_NEW;
    c->inside = true;
    return true;
}

void ag_call_leave(struct ag_run_call *c)
{
    if (c->inside) {
        c->inside = false;
        ag_worker_gates_at(c->run->worker,
                           ag_gate_leave(c->tool->gate, c->waiter.class, ag_mono_ns(&c->run->engine->clock)));
    } else if (c->state == AG_CALL_LINE && ag_gate_cancel(c->tool->gate, &c->waiter)) {
        c->run->calls_out--;
        c->state = AG_CALL_NEW;
    }
}
