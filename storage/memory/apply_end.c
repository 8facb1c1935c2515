/*
 * A run ends, or is decided about. However it ends, every call that an assistant message asks for
 * has its result and its message afterwards.
 *
 *     assistant: calls a, b, c      a succeeded, message there        nothing to do
 *                                   b was begun, nobody knows         unknown (effect) or cancelled, message
 *                                   c was asked for, never begun      cancelled, message
 */
#include <inttypes.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"
#include "storage/memory/calls.h"
#include "storage/memory/ram.h"

#define UNKNOWN_TEXT       "the outcome of this call is unknown: it was begun before a crash and may have happened"
#define NOT_MADE_CAP_BYTES 65536 /* of a result that tells why */
#define REASON_MOST_BYTES  400   /* of a decision's reason that is kept */

agent_status ag_ram_no_run(agent_error *err, int64_t id)
{
    return ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 ": no such run", id);
}

/* --- ending ---------------------------------------------------------------------------------------- */

void ag_ram_run_end(struct ag_ram *m, struct ag_ram_run *run, enum ag_run_status status, int64_t ended_at_ms)
{
    struct ag_ram_session *s = run->session;

    if (run->prev != NULL) {
        AG_RAM_TOUCH(m, run->prev);
        run->prev->next = run->next;
    } else {
        s->open_first = run->next;
    }
    if (run->next != NULL) {
        AG_RAM_TOUCH(m, run->next);
        run->next->prev = run->prev;
    } else {
        s->open_last = run->prev;
    }
    run->next = NULL;
    run->prev = s->ended_last;
    if (run->prev != NULL) {
        AG_RAM_TOUCH(m, run->prev);
        run->prev->next = run;
    } else {
        s->ended_first = run;
    }
    s->ended_last = run;

    ag_ram_save(m, &m->ended_first, offsetof(struct ag_ram, log) - offsetof(struct ag_ram, ended_first));
    run->ended_next = NULL;
    run->ended_prev = m->ended_last;
    if (run->ended_prev != NULL) {
        AG_RAM_TOUCH(m, run->ended_prev);
        run->ended_prev->ended_next = run;
    } else {
        m->ended_first = run;
    }
    m->ended_last = run;
    m->ended_count++;
    if (run->cancel_requested)
        m->cancel_count--;
    run->cancel_requested = false;
    run->status = (uint8_t)status;
    run->ended_at_ms = ended_at_ms;
}

static bool is_open(const struct ag_ram_item *item)
{
    return item->kind == AG_RAM_CALL && (item->status == AG_CALL_INTENDED || item->status == AG_CALL_RUNNING ||
                                         item->status == AG_CALL_UNKNOWN);
}

static agent_status step_cut(struct ag_ram *m, struct ag_ram_step *step, enum ag_step_status status,
                             struct ag_str why, agent_error *err)
{
    if (step->item.status != AG_STEP_RUNNING)
        return AGENT_OK;
    AG_RAM_SAVE(m, step);
    step->item.status = (uint8_t)status;
    return ag_ram_text(m, why, &step->error) ? AGENT_OK : ag_ram_nomem(err);
}

static bool not_made(struct ag_ram *m, struct ag_str why, struct ag_ram_text **out)
{
    AG_AUTO(ag_buf) text = AG_BUF_INIT(NOT_MADE_CAP_BYTES);

    ag_buf_z(&text, "this call was not made: ");
    ag_buf_str(&text, why);
    return text.failed == AGENT_OK && ag_ram_text(m, ag_buf_view(&text), out);
}

/* A call that may have happened says so, any other was not made. Each gets its message. */
static agent_status call_answer(struct ag_ram *m, struct ag_ram_run *run, struct ag_ram_call *call, struct ag_str why,
                                int64_t now_ms, agent_error *err)
{
    if (is_open(&call->item)) {
        bool may_have_been = call->effect == AGENT_EFFECT_EFFECT;

        AG_RAM_SAVE(m, call);
        call->item.status = may_have_been ? AG_CALL_UNKNOWN : AG_CALL_CANCELLED;
        if (call->result == NULL && !(may_have_been ? ag_ram_text(m, AG_STR(UNKNOWN_TEXT), &call->result)
                                                    : not_made(m, why, &call->result)))
            return ag_ram_nomem(err);
    }
    if (call->message != NULL)
        return AGENT_OK;
    return ag_ram_result_add(m, run, call, run->session->last_seq + 1, now_ms, err);
}

/* A call that stands in the assistant message only: it gets its row, as cancelled, and its message. */
static agent_status call_never_begun(struct ag_ram *m, struct ag_ram_run *run, const struct ag_ram_asked *asked,
                                     struct ag_str why, int64_t now_ms, agent_error *err)
{
    struct ag_op_call_intent in = {.run_id = run->id, .number = run->last->number + 1, .model_step = run->last->number,
                                   .call_id = ag_buf_view(&asked->id), .tool = ag_buf_view(&asked->name),
                                   .arguments = asked->arguments.n == 0 ? AG_STR_NONE : ag_buf_view(&asked->arguments),
                                   .effect = AGENT_EFFECT_PURE, .started_at_ms = now_ms};
    struct ag_ram_call *call;
    agent_status rc;

    if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
        return ag_ram_nomem(err);
    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next)
        if (item->kind == AG_RAM_STEP)
            in.model_step = item->number;
    if ((rc = ag_ram_call_add(m, run, &in, &call, err)) != AGENT_OK)
        return rc;
    return call_answer(m, run, call, why, now_ms, err);
}

/* Whether a call of this name was answered after the message that asks for it. */
static bool is_answered(const struct ag_ram_message *asking, struct ag_str call_id)
{
    for (const struct ag_ram_message *msg = asking->newer; msg != NULL; msg = msg->newer)
        if (msg->call != NULL && ag_str_eq(ag_ram_str(msg->call->call_id), call_id))
            return true;
    return false;
}

static agent_status answer_never_begun(struct ag_ram *m, struct ag_ram_run *run, struct ag_str why, int64_t now_ms,
                                       agent_error *err)
{
    struct ag_ram_asked asked = AG_RAM_ASKED_INIT;
    const struct ag_ram_message *msg = run->session->newest_message;
    agent_status rc = AGENT_OK;
    struct ag_str json;

    while (msg != NULL && msg->seq >= run->input_seq &&
           (msg->run_id != run->id || msg->role == AG_ROLE_TOOL || msg->calls == NULL))
        msg = msg->older;
    if (msg == NULL || msg->seq < run->input_seq)
        return AGENT_OK;
    json = ag_ram_str(msg->calls);
    while (rc == AGENT_OK && ag_ram_asked_next(&json, &asked))
        if (asked.id.n > 0 && !is_answered(msg, ag_buf_view(&asked.id)))
            rc = call_never_begun(m, run, &asked, why, now_ms, err);
    ag_ram_asked_drop(&asked);
    return rc;
}

/* No conversation is left that a model would refuse. The run and its session are saved. */
static agent_status run_answer(struct ag_ram *m, struct ag_ram_run *run, enum ag_step_status steps, struct ag_str why,
                               int64_t now_ms, agent_error *err)
{
    agent_status rc = AGENT_OK;

    if (run->input_seq == 0)
        return AGENT_OK; /* never begun: nothing is open */
    run->journal_step = 0;
    for (struct ag_ram_item *item = run->first; item != NULL && rc == AGENT_OK; item = item->next) {
        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        rc = item->kind == AG_RAM_STEP
                 ? step_cut(m, (struct ag_ram_step *)item, steps, why, err)
                 : call_answer(m, run, (struct ag_ram_call *)item, why, now_ms, err);
    }
    if (rc == AGENT_OK)
        rc = answer_never_begun(m, run, why, now_ms, err);
    return rc == AGENT_OK && !ag_ram_reserve(m, AG_RAM_OP_LOG) ? ag_ram_nomem(err) : rc;
}

static void session_count(struct ag_ram_session *s, bool turn, int64_t input_tokens, int64_t output_tokens,
                          int64_t at_ms)
{
    s->turns += turn;
    s->messages = s->last_seq; /* its numbers have no gap */
    s->input_tokens += input_tokens > 0 ? input_tokens : 0;
    s->output_tokens += output_tokens > 0 ? output_tokens : 0;
    if (at_ms > s->last_at_ms)
        s->last_at_ms = at_ms;
}

agent_status ag_ram_run_close(struct ag_ram *m, struct ag_ram_run *run, enum ag_run_status status,
                              agent_status error_status, struct ag_str why, int64_t now_ms, agent_error *err)
{
    agent_status rc = run_answer(m, run, status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED, why, now_ms,
                                 err);

    if (rc != AGENT_OK)
        return rc;
    ag_ram_text_unref(m, run->error);
    if (!ag_ram_text(m, why, &run->error))
        return ag_ram_nomem(err);
    run->error_status = error_status;
    if (run->queue_us < 0)
        run->queue_us = ((run->started_at_ms == 0 ? now_ms : run->started_at_ms) - run->queued_at_ms) * 1000;
    run->wall_us = run->started_at_ms == 0 ? -1 : (now_ms - run->started_at_ms) * 1000;
    ag_ram_run_tokens(run, &run->input_tokens, &run->output_tokens);
    session_count(run->session, run->input_seq != 0, run->input_tokens, run->output_tokens, now_ms);
    if (!ag_ram_queue_leave(m, run))
        return ag_ram_nomem(err);
    ag_ram_run_end(m, run, status, now_ms);
    return ag_ram_session_ready(m, run->session, NULL) ? AGENT_OK : ag_ram_nomem(err);
}

/* --- cancelling, deciding, finishing --------------------------------------------------------------------- */

agent_status ag_ram_run_cancel(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_cancel *cancel = &op->run_cancel;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, cancel->run_id);

    if (run == NULL)
        return ag_ram_no_run(err, cancel->run_id);
    if (ag_ram_has_ended(run))
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " has ended: %s", run->id,
                       ag_run_status_name((enum ag_run_status)run->status));
    AG_RAM_TOUCH(m, run);
    cancel->out_ended = run->status != AG_RUN_RUNNING;
    cancel->out_next_run_id = 0;
    if (cancel->out_ended) {
        agent_status rc;

        AG_RAM_TOUCH(m, run->session);
        rc = ag_ram_run_close(m, run, AG_RUN_CANCELLED, AGENT_ECANCELLED, AG_STR("cancelled"), unit->now_ms, err);
        if (rc == AGENT_OK && !ag_ram_session_ready(m, run->session, &cancel->out_next_run_id))
            rc = ag_ram_nomem(err);
        return rc;
    }
    if (!run->cancel_requested) {
        ag_ram_save(m, &m->cancel_count, sizeof(m->cancel_count));
        m->cancel_count++;
        run->cancel_requested = true;
    }
    return AGENT_OK;
}

static agent_status call_decide(struct ag_ram *m, struct ag_ram_call *call, bool approve, struct ag_str decision,
                                agent_error *err)
{
    AG_AUTO(ag_buf) result = AG_BUF_INIT(1024);

    if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
        return ag_ram_nomem(err);
    AG_RAM_SAVE(m, call);
    ag_ram_text_unref(m, call->result);
    ag_ram_text_unref(m, call->decision);
    call->result = NULL;
    call->item.status = approve ? AG_CALL_INTENDED : AG_CALL_DENIED;
    ag_buf_str(&result, decision);
    ag_buf_z(&result, ": " UNKNOWN_TEXT "; it will not be called again");
    if (!ag_ram_text(m, decision, &call->decision) ||
        (!approve && (result.failed != AGENT_OK || !ag_ram_text(m, ag_buf_view(&result), &call->result))))
        return ag_ram_nomem(err);
    return AGENT_OK;
}

agent_status ag_ram_run_decide(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_decide *decide = &op->run_decide;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, decide->run_id);
    AG_AUTO(ag_buf) decision = AG_BUF_INIT(512);
    struct ag_str reason = decide->reason;
    bool found = false;
    int open = 0;
    agent_status rc;

    (void)unit;
    if (run == NULL)
        return ag_ram_no_run(err, decide->run_id);
    if (run->status != AG_RUN_WAITING)
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " does not wait for a decision: it is %s", run->id,
                       ag_run_status_name((enum ag_run_status)run->status));
    AG_RAM_TOUCH(m, run);
    reason.n = ag_utf8_cut(reason, REASON_MOST_BYTES);
    ag_buf_z(&decision, decide->approve ? "approved" : "denied");
    ag_buf_z(&decision, reason.n > 0 ? ": " : "");
    ag_buf_append(&decision, reason.p, reason.n);
    if (decision.failed != AGENT_OK)
        return ag_ram_nomem(err);
    for (struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        struct ag_ram_call *call = (struct ag_ram_call *)item;

        if (item->kind != AG_RAM_CALL || item->status != AG_CALL_UNKNOWN)
            continue;
        if (decide->call_id.p != NULL && !ag_str_eq(decide->call_id, ag_ram_str(call->call_id))) {
            open++;
            continue;
        }
        found = true;
        if ((rc = call_decide(m, call, decide->approve, ag_buf_view(&decision), err)) != AGENT_OK)
            return rc;
    }
    if (!found && decide->call_id.p != NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 " has no call '" AG_STR_FMT "' that waits", run->id,
                       AG_STR_ARG(decide->call_id));
    if (open == 0) {
        run->status = AG_RUN_QUEUED;
        if (!ag_ram_queue_enter(m, run) || !ag_ram_session_ready(m, run->session, NULL))
            return ag_ram_nomem(err);
    }
    decide->out_open = open;
    return AGENT_OK;
}

agent_status ag_ram_run_finish(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_finish *finish = &op->run_finish;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, finish->run_id);
    bool ends = finish->status != AG_RUN_WAITING;
    int64_t ended_at_ms = finish->ended_at_ms != 0 ? finish->ended_at_ms : unit->now_ms;
    struct ag_ram_session *s;
    agent_status rc;

    if (run == NULL)
        return ag_ram_no_run(err, finish->run_id);
    if (ag_ram_has_ended(run))
        return ag_fail(err, AGENT_ELOST, 0, "run %" PRId64 " has ended already", run->id);
    s = run->session;
    AG_RAM_TOUCH(m, run);
    AG_RAM_TOUCH(m, s);
    if (ends && finish->status != AG_RUN_SUCCEEDED) {
        rc = run_answer(m, run, finish->status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED,
                        finish->error.p != NULL ? finish->error : AG_STR("the run was cancelled"), unit->now_ms, err);
        if (rc != AGENT_OK)
            return rc;
    }
    ag_ram_text_unref(m, run->error);
    ag_ram_text_unref(m, run->hint);
    if (!ag_ram_text(m, finish->error, &run->error) || !ag_ram_text(m, finish->hint, &run->hint))
        return ag_ram_nomem(err);
    run->error_status = finish->error_status;
    run->output_seq = (uint32_t)finish->output_seq;
    run->queue_us = finish->queue_us;
    run->wall_us = finish->wall_us;
    run->rss_peak_bytes = finish->rss_peak_bytes;
    run->input_tokens = finish->input_tokens;
    run->output_tokens = finish->output_tokens;
    run->cache_hit = finish->cache_hit;
    session_count(s, ends, ends ? finish->input_tokens : 0, ends ? finish->output_tokens : 0, ended_at_ms);
    if (ends)
        ag_ram_run_end(m, run, finish->status, ended_at_ms);
    else
        run->status = AG_RUN_WAITING;
    return ag_ram_session_ready(m, s, &finish->out_next_run_id) ? AGENT_OK : ag_ram_nomem(err);
}
