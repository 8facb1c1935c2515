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
 *      The series of samples rides on the last one alone.
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

/* Begins at run->now_ns: the stage before ended there, so that stages leave no gap. `heap`: what the run
 * holds now; its account begins a new peak with it. */
static void stage_begin(struct agent_run *run, enum ag_stage stage, int64_t heap)
{
    struct ag_stage_clock *c = &run->clock;
    agent_engine *e = run->engine;
    struct ag_reading rss;

    run->stage = stage;
    run->phase = 0;
    run->in_stage = true;
    memset(c, 0, sizeof(*c));
    c->begun_ns = run->now_ns;
    c->begun_ms = ag_run_unix_ms(run);
    c->child_rss_peak = -1;
    c->together = ag_sampler_stage_begins(&e->sampler);
    rss = ag_sampler_read(&e->sampler, c->begun_ns);
    c->rss_before = rss.rss_bytes;
    c->shared_sample = rss.is_shared;
    c->mark = ag_sampler_mark(&e->sampler);
    c->heap_before = heap;
}

/* The stage's figures; what it leaves is what the next one begins with, so the account is asked once. */
static void measure_heap(struct agent_run *run, struct ag_stage_row *row)
{
    int64_t before = run->clock.heap_before;

    if (run->account == NULL) {
        row->heap_peak_bytes = row->heap_net_bytes = -1;
        return;
    }
    row->heap_peak_bytes = ag_account_peak(run->account);
    run->clock.heap_before = ag_account_mark(run->account);
    row->heap_net_bytes = run->clock.heap_before - before;
    row->heap_includes = (uint8_t)ag_memory_hooked();
}

/* PSS and its parts, where a run begins (the end of its first stage) and ends. What the reading costs is
 * in the time of the stage that ends. */
static void measure_smaps(struct agent_run *run, struct ag_smaps *out, bool *out_read)
{
    agent_engine *e = run->engine;
    bool begins = run->stage == AG_STAGE_QUEUE;

    *out_read = (begins || run->stage == AG_STAGE_RECLAIM) &&
                ag_sampler_smaps(&e->sampler, begins ? AG_BORDER_BEGIN : AG_BORDER_END, run->now_ns, out);
    if (!*out_read)
        return;
    if (out->is_over && !out->was_over)
        ag_notice(&e->notices, "smaps", -1, (out->anon_kb + out->file_kb) * 1024, -1,
                  "reading PSS took %lld us, the budget is %lld (smaps_budget_us): it is tried again at most once a minute",
                  (long long)out->us, (long long)e->sampler.smaps_budget_us);
    else if (!out->is_over && out->was_over)
        ag_notice(&e->notices, "smaps", -1, (out->anon_kb + out->file_kb) * 1024, -1,
                  "reading PSS took %lld us, within the budget of %lld again", (long long)out->us,
                  (long long)e->sampler.smaps_budget_us);
}

/* RSS from the stage's borders and from what the sampler read between them. */
static void measure_rss(struct agent_run *run, struct ag_stage_row *row, int64_t now)
{
    struct ag_stage_clock *c = &run->clock;
    ag_sampler *s = &run->engine->sampler;
    struct ag_reading after = ag_sampler_read(s, now);
    int64_t borders = after.rss_bytes > c->rss_before ? after.rss_bytes : c->rss_before;
    int between = 0;
    int64_t peak = s->figures ? ag_sampler_peak(s, c->mark, &between) : -1;

    row->rss_before_bytes = c->rss_before;
    row->rss_after_bytes = after.rss_bytes;
    row->rss_peak_bytes = peak > borders ? peak : borders;
    row->samples = (c->rss_before >= 0) + (after.rss_bytes >= 0) + between;
    row->shared_sample = c->shared_sample || after.is_shared;
    row->peak_source = row->rss_peak_bytes < 0 ? AG_PEAK_NONE
                     : between == 0            ? AG_PEAK_BORDERS
                     : s->hwm                  ? AG_PEAK_HWM
                                               : AG_PEAK_SAMPLES;
    if (row->rss_peak_bytes > run->rss_peak)
        run->rss_peak = row->rss_peak_bytes;
}

void ag_stage_end(struct agent_run *run)
{
    struct ag_stage_clock *c = &run->clock;
    struct ag_stage_row *row;
    struct ag_smaps smaps;
    int64_t now;
    bool shared, has_smaps;

    if (!run->in_stage)
        return;
    run->in_stage = false;
    shared = ag_sampler_stage_ends(&run->engine->sampler, c->together);
    measure_smaps(run, &smaps, &has_smaps);
    now = ag_run_now(run);
    if (run->row_count == run->row_room) {
        size_t room = run->row_room == 0 ? 6 : run->row_room * 2; /* 6: a run without tools */
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
        .shared = shared,
        .started_at_ms = c->begun_ms,
        .wall_us = (now - c->begun_ns) / 1000,
        .commit_us = c->commit_ns / 1000,
        .child_rss_peak_bytes = c->child_rss_peak,
    };
    if ((row->has_smaps = has_smaps)) {
        row->smaps_us = (uint32_t)smaps.us;
        row->pss_kb = (uint32_t)smaps.pss_kb;
        row->anon_kb = (uint32_t)smaps.anon_kb;
        row->file_kb = (uint32_t)smaps.file_kb;
    }
    measure_heap(run, row);
    measure_rss(run, row, now);
    if (run->stage == AG_STAGE_QUEUE)
        run->queue_us = row->wall_us;
    else
        run->wall_us += row->wall_us;
}

/* Only of a run that was longer than the interval: a shorter one has its borders. The series is made on
 * the stack; what is left of it, often a few points, goes to the arena. */
void ag_run_take_samples(struct agent_run *run)
{
    ag_sampler *s = &run->engine->sampler;
    struct ag_point points[AG_SERIES_MOST];
    struct ag_sample *to;
    int64_t before = run->queued_ns;
    size_t count, kept = 0;

    if (!s->figures || run->now_ns - run->queued_ns <= s->interval_ns ||
        (count = ag_sampler_series(s, run->sampled_from, points)) < 2 ||
        (to = ag_arena_alloc(&run->arena, count * sizeof(*to))) == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        if (points[i].at_ns < before || points[i].at_ns > run->now_ns || points[i].rss_bytes < 0)
            continue; /* of a block that began before the run, or of a reader that was overtaken */
        before = points[i].at_ns;
        to[kept++] = (struct ag_sample){(points[i].at_ns + run->unix_less_mono_ns) / 1000000, points[i].rss_bytes};
    }
    run->samples = to;
    run->sample_count = kept;
}

void ag_run_move(struct agent_run *run, enum ag_stage stage)
{
    assert((stage_defs[run->stage].next & (UINT32_C(1) << stage)) != 0);
    ag_stage_end(run);
    stage_begin(run, stage, run->clock.heap_before);
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
    struct ag_mem_charge was;

    if (run->gone) {
        ag_run_settle(run);
        return;
    }
    was = ag_mem_charge(run->account);
    if (run->stage == AG_STAGE_QUEUE && !run->in_stage) {
        run->now_ns = run->queued_ns; /* from the host's call on */
        stage_begin(run, AG_STAGE_QUEUE, ag_account_mark(run->account));
        run->sampled_from = run->clock.mark;
    }
    (void)ag_run_now(run);
    run->stepping = true;
    while (next == AG_NEXT_AGAIN) {
        check_outside(run);
        if (run->gone) /* it was never created: it has ended already */
            break;
        next = stage_defs[run->stage].step(run);
    }
    run->stepping = false;
    ag_mem_charge_back(was); /* before it may be freed */
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
