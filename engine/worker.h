/*
 * A worker: one event loop, one reader, one HTTP client, and the runs it owns. Either a thread of
 * its own runs it, or (workers = 0) the host's thread does inside agent_drive().
 *
 * Rules, cited by number:
 *  (1) Everything here but ag_worker_post() and ag_worker_wake() belongs to the worker's thread.
 *  (2) A run is in `runs` from its start to its end; it is in the timer heap while it has a time
 *      to be woken at; it is in `ready` while its next step may be taken.
 *  (3) Nothing here blocks but the loop itself: commits, tools and sockets come back as messages
 *      or events.
 */
#ifndef AG_ENGINE_WORKER_H
#define AG_ENGINE_WORKER_H

#include <uv.h>

#include "engine/engine.h"
#include "engine/inbox.h"
#include "engine/io/http.h"

struct agent_run;
struct ag_ticket;
struct ag_run_unit;
struct ag_work;

/* Part of a run, or of a ticket that waits to become one. */
struct ag_timer {
    int64_t at_ns;
    size_t place; /* in the heap + 1; 0: not in it */
    bool is_ticket;
};

struct ag_worker {
    agent_engine *engine;
    int index;
    bool threaded, stopping, closed;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer; /* at the top of the heap */
    uv_prepare_t before_wait; /* looks whether there is something to do instead */
    uv_timer_t poll;  /* every AG_POLL_MS while a run waits for something outside */
    bool poll_on;
    ag_inbox inbox;
    atomic_bool cancel_asked; /* some run's cancel flag was set */
    ag_reader *reader;
    ag_http *http; /* NULL until the first request */
    struct ag_work *work; /* agent_work() has its home here; NULL: nobody works */
    struct agent_run *runs;
    struct ag_ticket *tickets; /* ticket.h: what waits for a first permit */
    int64_t ticket_count;
    int lingering; /* runs that have ended and wait for what they still have out */
    struct ag_ready { /* high, normal, low: see next_ready() */
        struct agent_run *first, **last;
    } ready[3];
    unsigned turns;
    struct ag_timer **heap; /* by at_ns */
    size_t heap_count, heap_room;
    int64_t timer_armed_ns; /* 0: not armed */
    int64_t gates_at_ns;    /* when the gates are looked at again; 0: not */
    uint64_t seen_token;    /* of the store, at the last poll */
    int64_t live_at_ns; /* live.h: when it counted its runs by stage, and what it counted */
    _Atomic int64_t live_runs[AG_STAGE_LIMIT], live_heap[AG_STAGE_LIMIT];
    struct ag_run_unit *free_units;
    int free_unit_count;
};

agent_status ag_worker_open(agent_engine *e, int index, bool threaded, struct ag_worker **out, agent_error *err);
/* Stops the thread and drops the runs where they stand: the file has them. */
void ag_worker_stop(struct ag_worker *w);
/* After the tool pool is gone: takes what is still in the inbox, closes the loop, frees. */
void ag_worker_free(struct ag_worker *w);

/* Any thread. */
void ag_worker_post(struct ag_worker *w, struct ag_post *post);
void ag_worker_wake(struct ag_worker *w); /* async-signal-safe */

/* A run of that id, on whichever worker, may go on: its session is free. Any thread. */
void ag_worker_wake_run(agent_engine *e, int64_t run_id);

/* workers = 0: one turn; waits up to timeout_ms for something to do (-1: no limit). True: it did something. */
bool ag_worker_turn(struct ag_worker *w, int64_t timeout_ms);

agent_status ag_worker_http(struct ag_worker *w, ag_http **out, agent_error *err);
/* Puts the run where its step is taken next. */
void ag_worker_ready(struct ag_worker *w, struct agent_run *run);
/* Wakes the run at a monotonic time (0: not at all): replaces what was set before. */
void ag_worker_wake_at(struct ag_worker *w, struct agent_run *run, int64_t at_ns);
void ag_worker_timer_at(struct ag_worker *w, struct ag_timer *timer, int64_t at_ns); /* the same for either */
/* Looks at the gates at that time too (gate.h (6)); 0: nothing. */
void ag_worker_gates_at(struct ag_worker *w, int64_t at_ns);
void ag_worker_add(struct ag_worker *w, struct agent_run *run);
void ag_worker_remove(struct ag_worker *w, struct agent_run *run);
struct agent_run *ag_worker_find(struct ag_worker *w, int64_t run_id);
/* Keeps the poll timer going while somebody needs it. */
void ag_worker_poll_start(struct ag_worker *w);

#endif
