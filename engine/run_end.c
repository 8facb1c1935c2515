/*
 * RECLAIM and the end. Whatever a run ends with, it ends here, in one transaction that closes its
 * step, answers its calls, and says how it ended; then the listener is told, then it lets go.
 *
 *   RECLAIM: stop what is out ──► give back ──► last unit submitted ──► (commit) ──► told ──► gone
 *
 * A run that is gone is freed when nothing of it is out any more (ag_run_settle).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/response_cache.h"
#include "engine/session_tail.h"
#include "engine/work.h"

enum { PHASE_STOP, PHASE_OUT, PHASE_COMMIT };

/* --- how it comes to an end ------------------------------------------------------------------------ */

void ag_run_fail(struct agent_run *run, enum ag_run_status status, const agent_error *e)
{
    if (run->ending)
        return;
    run->ending = true;
    run->final_status = status;
    run->error = ag_arena_alloc(&run->arena, sizeof(*run->error));
    if (run->error != NULL)
        *run->error = *e;
    run->retry_at_ns = 0;
    if (!run->created || e->status == AGENT_ELOST) {
        ag_run_drop(run, run->created ? AG_RUN_RUNNING : status, e);
        return;
    }
    if (run->stage != AG_STAGE_RECLAIM)
        ag_run_move(run, AG_STAGE_RECLAIM);
    run->phase = PHASE_STOP;
}

void ag_run_failf(struct agent_run *run, agent_status status, const char *fmt, ...)
{
    agent_error e = AGENT_ERROR_INIT;
    char text[AGENT_ERROR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)ag_fail(&e, status, 0, "%s", text);
    ag_run_fail(run, AG_RUN_FAILED, &e);
}

/* --- the last transaction --------------------------------------------------------------------------- */

static bool add_answer(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_op *op = ag_run_op(run, u, AG_OP_MESSAGE);

    if (op == NULL)
        return false;
    op->message = (struct ag_op_message){
        .session_id = run->session_id, .run_id = run->run_id, .seq = run->output_seq = ++run->last_seq,
        .role = AG_ROLE_ASSISTANT, .text = ag_buf_view(&run->answer), .extra = run->answer_extra,
    };
    u->unit.bytes += run->answer.n;
    run->appended++;
    return true;
}

static bool add_step_end(struct agent_run *run, struct ag_run_unit *u)
{
    bool good = run->final_status == AG_RUN_SUCCEEDED;
    struct ag_op *op;

    if (!run->step_open)
        return true;
    if ((op = ag_run_op(run, u, AG_OP_STEP_END)) == NULL)
        return false;
    op->step_end = (struct ag_op_step_end){
        .run_id = run->run_id, .number = run->step_number,
        .status = good ? AG_STEP_SUCCEEDED : run->final_status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED,
        .wall_us = good ? run->step_wall_us
                 : run->step_begun_ns != 0 ? (ag_mono_ns(&run->engine->clock) - run->step_begun_ns) / 1000 : -1,
        .input_tokens = good ? run->step_in : -1, .output_tokens = good ? run->step_out : -1,
        .cached_tokens = good ? run->step_cached : -1, .error = run->step_note,
        .cached = good && run->from_cache,
    };
    if (!good && run->step_note.p == NULL && run->error != NULL)
        op->step_end.error = ag_str_of(run->error->text);
    run->step_open = false;
    return true;
}

static void give_back(struct agent_run *run)
{
    ag_infer_stop(run);
    ag_run_leave(run);
    if (run->reply_live)
        ag_reply_drop(&run->reply);
    run->reply_live = false;
    memset(&run->reply, 0, sizeof(run->reply));
    ag_value_put(run->memories != NULL ? &run->memories->head : NULL);
    run->memories = NULL;
}

/* A run that is still queued has no steps to close: the store ends it. */
static bool add_cancel(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_op *op = ag_run_op(run, u, AG_OP_RUN_CANCEL);

    if (op == NULL)
        return false;
    op->run_cancel.run_id = run->run_id;
    return true;
}

static bool add_finish(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_op *op;

    if (run->call_count > 0 && run->intents_stored &&
        !ag_calls_store(run, u, AG_CALL_CANCELLED,
                        run->final_status == AG_RUN_CANCELLED ? "the run was cancelled before this call ended"
                                                              : "the run ended before this call did"))
        return false;
    if (!add_step_end(run, u) || (run->final_status == AG_RUN_SUCCEEDED && !add_answer(run, u)))
        return false;
    ag_stage_end(run);
    ag_run_take_samples(run);
    ag_run_add_stages(run, u);
    ag_response_ride(run, u);
    if ((op = ag_run_op(run, u, AG_OP_RUN_FINISH)) == NULL)
        return false;
    op->run_finish = (struct ag_op_run_finish){
        .run_id = run->run_id, .session_id = run->session_id, .status = run->final_status,
        .output_seq = run->output_seq, .ended_at_ms = u->unit.now_ms, .queue_us = run->queue_us,
        .wall_us = run->wall_us, .rss_peak_bytes = run->rss_peak, .input_tokens = run->input_tokens,
        .output_tokens = run->output_tokens, .messages = run->appended,
        .cache_hit = run->cache_hit,
    };
    if (run->error != NULL) {
        op->run_finish.error_status = run->error->status;
        op->run_finish.error = ag_str_of(run->error->text);
        if (run->error->hint[0] != '\0')
            op->run_finish.hint = ag_str_of(run->error->hint);
    }
    return true;
}

static enum ag_next submit_last(struct agent_run *run)
{
    struct ag_run_unit *u;
    static const agent_error no_memory = {AGENT_ENOMEM, 0, "out of memory", ""};

    give_back(run);
    ag_notices_flush(&run->engine->notices);
    u = ag_run_unit_new(run);
    if (u == NULL || !(run->claimed ? add_finish(run, u) : add_cancel(run, u))) {
        ag_run_unit_free(u);
        ag_run_drop(run, AG_RUN_RUNNING, &no_memory);
        return AG_NEXT_DONE;
    }
    run->phase = PHASE_COMMIT;
    return ag_run_submit_wait(run, u) ? AG_NEXT_AGAIN : AG_NEXT_WAIT;
}

enum ag_next ag_step_reclaim(struct agent_run *run)
{
    struct ag_run_unit *u;
    agent_error e;
    agent_status rc;

    switch (run->phase) {
    case PHASE_STOP:
        run->ending = true; /* from here on nothing from outside changes how it ends */
        ag_infer_stop(run);
        ag_run_leave(run);
        ag_calls_stop(run);
        run->phase = PHASE_OUT;
        return AG_NEXT_AGAIN;
    case PHASE_OUT:
        return run->calls_out > 0 ? AG_NEXT_WAIT : submit_last(run);
    default:
        break;
    }
    if ((u = ag_run_unit_take(run)) == NULL)
        return AG_NEXT_WAIT;
    rc = u->unit.status;
    if (rc == AGENT_OK) {
        int64_t next = 0;

        for (const struct ag_op *op = u->unit.first; op != NULL; op = op->next)
            if (op->kind == AG_OP_RUN_FINISH)
                next = op->run_finish.out_next_run_id;
            else if (op->kind == AG_OP_RUN_CANCEL)
                next = op->run_cancel.out_next_run_id;
        ag_run_unit_free(u);
        if (!run->claimed)
            run->final_status = AG_RUN_CANCELLED;
        ag_tail_keep(run); /* before anybody is told: the next turn may begin at once */
        ag_run_finish(run);
        if (next != 0) {
            ag_worker_wake_run(run->engine, next);
            ag_work_hint(run->engine, run->worker->index == 0);
        }
        return AG_NEXT_DONE;
    }
    e = u->unit.error;
    ag_run_unit_free(u);
    if (rc == AGENT_ELOST)
        (void)ag_fail(&e, AGENT_ELOST, 0, "the run was taken over by another process");
    else
        (void)ag_wrap(&e, rc, "commit the end of run %lld", (long long)run->run_id);
    ag_run_drop(run, AG_RUN_RUNNING, &e); /* the file has it as running: it is resumed later */
    return AG_NEXT_DONE;
}

/* --- told, and gone ------------------------------------------------------------------------------------ */

static void leave(struct agent_run *run)
{
    agent_engine *e = run->engine;
    struct agent_run *then = run->then;

    run->gone = true;
    ag_response_let_go(run);
    run->worker->lingering++;
    if (run->is_of_work)
        ag_work_left(e, run->worker->index == 0);
    ag_worker_remove(run->worker, run);
    (void)atomic_fetch_sub(&e->active_runs, 1);
    if (e->inline_mode) {
        atomic_store_explicit(&run->ended, true, memory_order_release);
    } else {
        (void)pthread_mutex_lock(&e->ended_lock);
        atomic_store_explicit(&run->ended, true, memory_order_release);
        (void)pthread_cond_broadcast(&e->ended_cond);
        (void)pthread_mutex_unlock(&e->ended_lock);
    }
    if (then != NULL) {
        then->before = NULL;
        run->then = NULL;
        ag_worker_ready(then->worker, then);
    }
    if (run->before != NULL) { /* it goes on by itself */
        run->before->then = NULL;
        run->before = NULL;
    }
}

void ag_run_finish(struct agent_run *run)
{
    ag_outcome_make(run, run->final_status);
    if (run->final_status == AG_RUN_SUCCEEDED) {
        agent_event e = {.type = AGENT_EVENT_MESSAGE_END, .text = run->answer.p != NULL ? run->answer.p : "",
                         .text_bytes = run->answer.n};

        ag_tell(run, &e);
    }
    ag_tell_end(run, run->final_status == AG_RUN_WAITING ? AGENT_EVENT_RUN_WAITING : AGENT_EVENT_RUN_END);
    leave(run);
}

void ag_run_drop(struct agent_run *run, enum ag_run_status status, const agent_error *e)
{
    if (run->gone)
        return;
    run->ending = true;
    ag_calls_stop(run);
    give_back(run);
    ag_stage_end(run);
    if (e != NULL && run->error == NULL && (run->error = ag_arena_alloc(&run->arena, sizeof(*e))) != NULL)
        *run->error = *e;
    ag_outcome_make(run, status);
    ag_tell_end(run, status == AG_RUN_WAITING ? AGENT_EVENT_RUN_WAITING : AGENT_EVENT_RUN_END);
    leave(run);
}

void ag_run_settle(struct agent_run *run)
{
    struct ag_run_unit *u;

    if (run->calls_out > 0 || run->in_ready || run->gate_out)
        return;
    if ((u = ag_run_unit_take(run)) != NULL)
        ag_run_unit_free(u);
    if (run->units_out > 0 || run->waiting_unit != NULL)
        return;
    ag_run_leave(run);
    ag_value_put(run->agent != NULL ? &run->agent->head : NULL);
    run->agent = NULL;
    ag_value_put(run->tail);
    run->tail = NULL;
    run->worker->lingering--;
    ag_run_unref(run);
}
