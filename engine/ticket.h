/*
 * A ticket: what the host holds of a run, and all there is of one that waits for its first permit.
 *
 *   host thread             worker
 *   agent_run_start ──────► in its gate's line ──permit──────────────────► struct agent_run, driven
 *        │                        └────── cancel, deadline, close ───────► it, to its end
 *        └──── its agent's runs stand before no gate ────────────────────► struct agent_run, driven
 *
 * A run has some thousand bytes before it has done anything; a hundred thousand of them that wait for
 * one endpoint should not. So one that would wait is its request as it was given, in one block; it
 * becomes a run when it may go in, or when there is an end to tell. Nothing of it is in the file until
 * then, and nothing was acknowledged.
 *
 * Invariants, cited by number:
 *  (1) `run` is set once, by the worker or before the ticket is handed out, and the ticket has a
 *      reference of it until the ticket is gone.
 *  (2) Between start and `run` it is the worker's: in its list, perhaps in a gate's line and in the
 *      timer heap. Only `cancel` and `refs` are touched by others.
 *  (3) A cancel reaches the run however it falls: who sets it looks for the run afterwards, who makes
 *      the run looks for a cancel afterwards.
 */
#ifndef AG_ENGINE_TICKET_H
#define AG_ENGINE_TICKET_H

#include "engine/run.h"

struct ag_ticket {
    atomic_int refs; /* the host's; the worker's while it waits */
    atomic_int cancel;
    agent_engine *engine;
    struct agent_run *_Atomic run;
    /* from here on only of one that waits: not allocated else */
    struct ag_worker *worker;
    struct ag_ticket *prev, *next;
    struct ag_timer timer; /* its deadline, or when to try again */
    struct ag_post post;   /* its start, then the news of its permit */
    ag_gate *gate;         /* where it stands; NULL: nowhere */
    struct ag_waiter waiter;
    bool in_list, is_out; /* is_out: in line, or the news is under way */
    agent_event_fn on_event;
    void *event_ctx;
    int64_t queued_ns, timeout_ms, session_id;
    unsigned char trace_id[16];
    signed char priority;
    unsigned char session_by;
    bool no_stream;
    uint32_t n[5]; /* bytes of agent, input, options, key, session name, + 1; 0: absent */
    char texts[];
};

/* The handle of a run that is there already; takes over a reference. NULL: out of memory. */
struct ag_ticket *ag_ticket_of(struct agent_run *run);
/* A request that waits, its texts copied; `create` is as agent_run_start() filled it. NULL: out of memory. */
struct ag_ticket *ag_ticket_new(agent_engine *e, struct ag_worker *w, const agent_run_request *q,
                                const struct ag_op_run_create *create);
void ag_ticket_start(struct ag_ticket *t); /* hands it to its worker */
void ag_ticket_unref(struct ag_ticket *t);

/* On the worker's thread: a cancel was asked for somewhere; its time has come; the worker stops. */
void ag_tickets_cancelled(struct ag_worker *w);
void ag_ticket_due(struct ag_timer *timer);
void ag_tickets_end(struct ag_worker *w);

#endif
