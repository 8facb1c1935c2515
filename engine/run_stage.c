/*
 * The life of a run.
 *
 *      QUEUE ──► LOAD ──► PREPARE ──► INFER ──► RESPOND ──► RECLAIM ──► ended
 *        │        │          ▲                     │            ▲
 *        │        └─► TOOL ◄─┼─────────────────────┤            │
 *        │             │     │                     ▼            │
 *        │             └─────┴─────────────────── TOOL          │
 *        └───────────────── every stage, on failure or cancel ──┘
 *
 * This table is the only place that knows the order. Nothing assigns run->stage but
 * ag_run_move(), which checks the table and closes the account of the stage that is left.
 *
 * Invariants, cited by number:
 *  (1) A step that answers AG_NEXT_WAIT has something out that will make the run ready again: a
 *      unit, a request, a call, or a time in the timer heap.
 *  (2) A stage's row is made when the stage is left and rides on the next transaction of the run;
 *      no row causes a commit of its own.
 *  (3) A crash in INFER or RESPOND asks again: half an answer is never a message. A crash in TOOL
 *      keeps the results already stored; promise 4 says what becomes of the rest.
 */
#include <assert.h>
#include <string.h>

#include "engine/run.h"

#define TO(stage) (UINT32_C(1) << AG_STAGE_##stage)

static const struct stage_def {
    uint32_t next; /* set of stages this one may move to */
    enum ag_next (*step)(struct agent_run *run);
} stage_defs[AG_STAGE_LIMIT] = {
    /* stage               may move to                                        step */
    [AG_STAGE_QUEUE]   = {TO(LOAD) | TO(RECLAIM),                             ag_step_queue},
    [AG_STAGE_LOAD]    = {TO(PREPARE) | TO(TOOL) | TO(RECLAIM),               ag_step_load},
    [AG_STAGE_PREPARE] = {TO(INFER) | TO(RECLAIM),                            ag_step_prepare},
    [AG_STAGE_INFER]   = {TO(RESPOND) | TO(PREPARE) | TO(RECLAIM),            ag_step_infer},
    [AG_STAGE_RESPOND] = {TO(TOOL) | TO(PREPARE) | TO(INFER) | TO(RECLAIM),   ag_step_respond},
    [AG_STAGE_TOOL]    = {TO(PREPARE) | TO(RECLAIM),                          ag_step_tool},
    [AG_STAGE_RECLAIM] = {0,                                                  ag_step_reclaim},
};

static_assert(AG_STAGE_LIMIT <= 32, "stage_def.next is a 32-bit set");

int64_t ag_run_now(struct agent_run *run)
{
    return run->now_ns = ag_mono_ns(&run->engine->clock);
}

/* One reading of each clock at the run's start relates them: stages then need only one. */
int64_t ag_run_unix_ms(const struct agent_run *run)
{
    return (run->now_ns + run->unix_less_mono_ns) / 1000000;
}

/* Begins at run->now_ns: the stage before ended there, so that stages leave no gap. */
static void stage_begin(struct agent_run *run, enum ag_stage stage)
{
    struct ag_stage_clock *c = &run->clock;
    agent_engine *e = run->engine;

    run->stage = stage;
    run->phase = 0;
    run->in_stage = true;
    memset(c, 0, sizeof(*c));
    c->begun_ns = run->now_ns;
    c->begun_ms = ag_run_unix_ms(run);
    c->rss_before = c->rss_peak = ag_probe_rss(&e->probe, c->begun_ns);
    c->samples = c->rss_before >= 0 ? 1 : 0;
    c->child_rss_peak = -1;
    c->heap_before = ag_run_heap(run);
    run->arena.peak_bytes = run->arena.held_bytes;
    c->seq = atomic_fetch_add_explicit(&e->stage_seq, 1, memory_order_relaxed) + 1;
    c->shared = atomic_fetch_add_explicit(&e->in_stage, 1, memory_order_relaxed) > 0;
}

void ag_stage_end(struct agent_run *run)
{
    struct ag_stage_clock *c = &run->clock;
    agent_engine *e = run->engine;
    struct ag_stage_row *row;
    int64_t now, rss, heap;

    if (!run->in_stage)
        return;
    run->in_stage = false;
    (void)atomic_fetch_sub_explicit(&e->in_stage, 1, memory_order_relaxed);
    now = ag_run_now(run);
    rss = ag_probe_rss(&e->probe, now);
    heap = ag_run_heap(run);
    if (rss > c->rss_peak)
        c->rss_peak = rss;
    if (c->rss_peak > run->rss_peak)
        run->rss_peak = c->rss_peak;
    if (run->row_count == run->row_room) {
        size_t room = run->row_room == 0 ? 8 : run->row_room * 2;
        struct ag_stage_row *rows = ag_arena_alloc(&run->arena, room * sizeof(*rows));

        if (rows == NULL)
            return; /* the row is lost, not the run */
        if (run->row_count > 0)
            memcpy(rows, run->rows, run->row_count * sizeof(*rows));
        run->rows = rows;
        run->row_room = room;
    }
    row = &run->rows[run->row_count++];
    *row = (struct ag_stage_row){
        .step = run->stage == AG_STAGE_TOOL && run->calls != NULL ? run->calls[0].number
              : run->step_number > 0 ? run->step_number : 1,
        .stage = run->stage,
        .shared = c->shared || atomic_load_explicit(&e->stage_seq, memory_order_relaxed) != c->seq,
        .peak_source = rss >= 0 ? AG_PEAK_BORDERS : AG_PEAK_NONE,
        .samples = rss >= 0 ? c->samples + 1 : 0,
        .started_at_ms = c->begun_ms,
        .wall_us = (now - c->begun_ns) / 1000,
        .commit_us = c->commit_ns / 1000,
        .rss_before_bytes = c->rss_before,
        .rss_peak_bytes = c->rss_peak,
        .rss_after_bytes = rss,
        .heap_peak_bytes = heap > c->heap_before ? heap : c->heap_before,
        .heap_net_bytes = heap - c->heap_before,
        .child_rss_peak_bytes = c->child_rss_peak,
    };
    if (run->stage == AG_STAGE_QUEUE)
        run->queue_us = row->wall_us;
    else
        run->wall_us += row->wall_us;
}

void ag_run_move(struct agent_run *run, enum ag_stage stage)
{
    assert((stage_defs[run->stage].next & (UINT32_C(1) << stage)) != 0);
    ag_stage_end(run);
    stage_begin(run, stage);
}

/* What ends a run from outside: cancel and deadline. Looked at before each step, never while a
 * commit that we wait for is out: what it says comes first. */
static void check_outside(struct agent_run *run)
{
    if (run->ending || run->waiting_unit != NULL)
        return;
    if (run->unit_failed != AGENT_OK) {
        if (run->unit_failed == AGENT_ELOST)
            ag_run_failf(run, AGENT_ELOST, "the run was taken over by another process");
        else
            ag_run_failf(run, run->unit_failed, "a commit of this run failed");
    } else if (atomic_load_explicit(&run->cancel, memory_order_relaxed) != 0) {
        agent_error e = AGENT_ERROR_INIT;

        (void)ag_fail(&e, AGENT_ECANCELLED, 0, "cancelled");
        ag_run_fail(run, AG_RUN_CANCELLED, &e);
    } else if (run->deadline_ns != 0 && run->now_ns >= run->deadline_ns) {
        ag_run_failf(run, AGENT_ETIMEDOUT, "the run's time limit of %lld ms is over (timeout_ms)",
                     (long long)((run->deadline_ns - run->queued_ns) / 1000000));
    }
}

void ag_run_drive(struct agent_run *run)
{
    enum ag_next next = AG_NEXT_AGAIN;

    if (run->gone) {
        ag_run_settle(run);
        return;
    }
    if (run->stage == AG_STAGE_QUEUE && !run->in_stage) {
        run->now_ns = run->queued_ns; /* from the host's call on */
        stage_begin(run, AG_STAGE_QUEUE);
    } else {
        (void)ag_run_now(run);
    }
    run->stepping = true;
    while (next == AG_NEXT_AGAIN) {
        check_outside(run);
        if (run->gone) /* it was never created: it has ended already */
            break;
        next = stage_defs[run->stage].step(run);
    }
    run->stepping = false;
    if (run->gone) {
        ag_run_settle(run);
        return;
    }
    if (run->waiting_unit == NULL) {
        int64_t at = run->retry_at_ns;

        if (run->deadline_ns != 0 && !run->ending && (at == 0 || run->deadline_ns < at))
            at = run->deadline_ns;
        ag_worker_wake_at(run->worker, run, at);
        run->waits_outside = !run->ending;
        ag_worker_poll_start(run->worker);
    }
}
