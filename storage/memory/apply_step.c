/* What a run leaves as it goes: steps, messages, tool calls, stages. */
#include <inttypes.h>

#include "storage/memory/ram.h"

static agent_status run_of(struct ag_ram *m, int64_t id, struct ag_ram_run **out, agent_error *err)
{
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, id);

    if (run == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 ": no such run", id);
    *out = run;
    return AGENT_OK;
}

agent_status ag_ram_item_add(struct ag_ram *m, struct ag_ram_run *run, struct ag_ram_item *item, agent_error *err)
{
    struct ag_ram_item *before = run->last;

    if (item->number < 1 || item->number >= 1 << AG_STEP_BITS)
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 ": step %d is not 1 to %d", run->id, (int)item->number,
                       (1 << AG_STEP_BITS) - 1);
    if (before != NULL && before->number >= item->number) {
        before = NULL;
        for (struct ag_ram_item *i = run->first; i->number < item->number; i = i->next)
            before = i;
    }
    item->next = before == NULL ? run->first : before->next;
    if (item->next != NULL && item->next->number == item->number)
        return ag_fail(err, AGENT_EEXISTS, 0, "run %" PRId64 ": step %d is there already", run->id,
                       (int)item->number);
    AG_RAM_TOUCH(m, run);
    if (before == NULL) {
        run->first = item;
    } else {
        ag_ram_save(m, &before->next, sizeof(before->next));
        before->next = item;
    }
    if (item->next == NULL)
        run->last = item;
    return AGENT_OK;
}

agent_status ag_ram_step_begin(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_step_begin *begin = &op->step_begin;
    struct ag_ram_step *step;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, begin->run_id, &run, err)) != AGENT_OK)
        return rc;
    if ((step = ag_ram_new(m, sizeof(*step))) == NULL)
        return ag_ram_nomem(err);
    *step = (struct ag_ram_step){.item = {.number = begin->number, .kind = AG_RAM_STEP,
                                          .started_at_ms = begin->started_at_ms, .wall_us = -1,
                                          .status = AG_STEP_RUNNING},
                                 .attempt = begin->attempt, .input_tokens = -1, .output_tokens = -1,
                                 .cached_tokens = -1};
    return ag_ram_item_add(m, run, &step->item, err);
}

agent_status ag_ram_step_end(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_step_end *end = &op->step_end;
    struct ag_ram_step *step;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, end->run_id, &run, err)) != AGENT_OK)
        return rc;
    step = (struct ag_ram_step *)ag_ram_item_find(run, end->number, AG_RAM_STEP);
    if (step == NULL || step->item.status != AG_STEP_RUNNING)
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " has no running step %d", run->id, end->number);
    AG_RAM_SAVE(m, step);
    ag_ram_text_unref(m, step->error);
    if (!ag_ram_text(m, end->error, &step->error))
        return ag_ram_nomem(err);
    if (run->journal_step == end->number) {
        AG_RAM_TOUCH(m, run);
        run->journal_step = 0;
    }
    step->item.status = (uint8_t)end->status;
    step->item.wall_us = end->wall_us;
    step->item.cached = end->cached;
    step->input_tokens = end->input_tokens;
    step->output_tokens = end->output_tokens;
    step->cached_tokens = end->cached_tokens;
    return AGENT_OK;
}

/* Its text is for whoever opens a dead process's file. What dies with us needs none; that there was
 * one tells a claim by force how far the step had come. */
agent_status ag_ram_journal(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, op->journal.run_id, &run, err)) != AGENT_OK)
        return rc;
    AG_RAM_TOUCH(m, run);
    run->journal_step = op->journal.number;
    return AGENT_OK;
}

void ag_ram_run_tokens(const struct ag_ram_run *run, int64_t *out_input, int64_t *out_output)
{
    int64_t input = -1, output = -1;

    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        const struct ag_ram_step *step = (const struct ag_ram_step *)item;

        if (item->kind != AG_RAM_STEP)
            continue;
        if (step->input_tokens != -1)
            input = (input == -1 ? 0 : input) + step->input_tokens;
        if (step->output_tokens != -1)
            output = (output == -1 ? 0 : output) + step->output_tokens;
    }
    *out_input = input;
    *out_output = output;
}

agent_status ag_ram_message_add(struct ag_ram *m, struct ag_ram_session *s, const struct ag_ram_message *row,
                                struct ag_ram_message **out, agent_error *err)
{
    struct ag_ram_message *msg, *before = s->newest_message;

    if (row->seq == 0 || row->seq >= 1u << AG_SEQ_BITS)
        return ag_fail(err, AGENT_EINVAL, 0, "session #%" PRId64 ": message number %" PRIu32 " is not 1 to %d", s->id,
                       row->seq, (1 << AG_SEQ_BITS) - 1);
    while (before != NULL && before->seq > row->seq)
        before = before->older;
    if (before != NULL && before->seq == row->seq)
        return ag_fail(err, AGENT_EEXISTS, 0, "session #%" PRId64 ": message %" PRIu32 " is there already", s->id,
                       row->seq);
    if ((msg = ag_ram_new(m, sizeof(*msg))) == NULL)
        return ag_ram_nomem(err);
    *msg = *row;
    msg->older = before;
    msg->newer = before == NULL ? s->oldest_message : before->newer;
    if (before == NULL) {
        s->oldest_message = msg; /* the caller saved the session */
    } else {
        AG_RAM_SAVE(m, before);
        before->newer = msg;
    }
    if (msg->newer == NULL) {
        s->newest_message = msg;
    } else {
        AG_RAM_SAVE(m, msg->newer);
        msg->newer->older = msg;
    }
    if (msg->seq > s->last_seq)
        s->last_seq = msg->seq;
    s->message_count++;
    ag_ram_save(m, &m->message_count, sizeof(m->message_count));
    m->message_count++;
    *out = msg;
    return AGENT_OK;
}

agent_status ag_ram_result_add(struct ag_ram *m, struct ag_ram_run *run, struct ag_ram_call *call, uint32_t seq,
                               int64_t now_ms, agent_error *err)
{
    struct ag_ram_message row = {.run_id = run->id, .created_at_ms = now_ms, .role = AG_ROLE_TOOL, .seq = seq,
                                 .call = call};
    struct ag_ram_message *msg;
    agent_status rc;

    if (call->message != NULL)
        return ag_fail(err, AGENT_EEXISTS, 0, "run %" PRId64 ": call %d has its message already", run->id,
                       (int)call->item.number);
    if ((rc = ag_ram_message_add(m, run->session, &row, &msg, err)) != AGENT_OK)
        return rc;
    ag_ram_save(m, &call->message, sizeof(struct ag_ram_message *));
    call->message = msg;
    return AGENT_OK;
}

agent_status ag_ram_message(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_message *in = &op->message;
    struct ag_ram_session *s = ag_ram_table_at(&m->sessions, in->session_id);
    struct ag_ram_message row = {.run_id = in->run_id, .created_at_ms = unit->now_ms, .role = (uint8_t)in->role,
                                 .seq = (uint32_t)in->seq};
    struct ag_ram_message *msg;
    struct ag_ram_call *call;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    if (s == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "session #%" PRId64 ": no such session", in->session_id);
    if ((rc = run_of(m, in->run_id, &run, err)) != AGENT_OK)
        return rc;
    AG_RAM_TOUCH(m, s);
    if (in->role == AG_ROLE_TOOL && in->call_number > 0) {
        if ((call = (struct ag_ram_call *)ag_ram_item_find(run, in->call_number, AG_RAM_CALL)) == NULL)
            return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " has no call %d", run->id, in->call_number);
        if (call->result == NULL && in->text.p != NULL) {
            AG_RAM_SAVE(m, call);
            if (!ag_ram_text(m, in->text, &call->result))
                return ag_ram_nomem(err);
        }
        return ag_ram_result_add(m, run, call, row.seq, unit->now_ms, err);
    }
    if (!ag_ram_text(m, in->text.p == NULL ? AG_STR("") : in->text, &row.text))
        return ag_ram_nomem(err);
    if (in->role == AG_ROLE_TOOL) /* of no call: it has a text and nothing else */
        return ag_ram_message_add(m, s, &row, &msg, err);
    if (!ag_ram_text(m, in->calls, &row.calls) || !ag_ram_text(m, in->extra, &row.extra))
        return ag_ram_nomem(err);
    return ag_ram_message_add(m, s, &row, &msg, err);
}

agent_status ag_ram_call_add(struct ag_ram *m, struct ag_ram_run *run, const struct ag_op_call_intent *in,
                             struct ag_ram_call **out, agent_error *err)
{
    struct ag_ram_call *call;

    if ((call = ag_ram_new(m, sizeof(*call))) == NULL)
        return ag_ram_nomem(err);
    *call = (struct ag_ram_call){.item = {.number = in->number, .kind = AG_RAM_CALL,
                                          .started_at_ms = in->started_at_ms, .wall_us = -1,
                                          .status = AG_CALL_INTENDED},
                                 .model_step = in->model_step, .effect = in->effect, .child_rss_peak_bytes = -1};
    if (!ag_ram_text(m, in->call_id, &call->call_id) || !ag_ram_intern(m, in->tool, &call->tool) ||
        !ag_ram_text(m, in->effect_id, &call->effect_id) || !ag_ram_text(m, in->arguments, &call->arguments))
        return ag_ram_nomem(err);
    *out = call;
    return ag_ram_item_add(m, run, &call->item, err);
}

agent_status ag_ram_call_intent(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_ram_call *call;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, op->call_intent.run_id, &run, err)) != AGENT_OK)
        return rc;
    return ag_ram_call_add(m, run, &op->call_intent, &call, err);
}

agent_status ag_ram_call_end(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_call_end *end = &op->call_end;
    struct ag_ram_call *call;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, end->run_id, &run, err)) != AGENT_OK)
        return rc;
    if ((call = (struct ag_ram_call *)ag_ram_item_find(run, end->number, AG_RAM_CALL)) == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " has no call %d", run->id, end->number);
    AG_RAM_SAVE(m, call);
    ag_ram_text_unref(m, call->result);
    if (!ag_ram_text(m, end->result, &call->result))
        return ag_ram_nomem(err);
    call->item.status = (uint8_t)end->status;
    call->item.wall_us = end->wall_us;
    call->child_rss_peak_bytes = end->child_rss_peak_bytes;
    return AGENT_OK;
}

agent_status ag_ram_stages(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_stages *in = &op->stages;
    struct ag_ram_stages *block;
    struct ag_ram_run *run = NULL;
    agent_status rc;

    (void)unit;
    if ((rc = run_of(m, in->run_id, &run, err)) != AGENT_OK)
        return rc;
    if (in->count == 0 && in->sample_count == 0)
        return AGENT_OK;
    if ((block = ag_ram_new(m, sizeof(*block) + in->count * sizeof(block->rows[0]))) == NULL)
        return ag_ram_nomem(err);
    block->next = NULL;
    block->count = in->count;
    block->samples = NULL;
    block->sample_count = in->sample_count;
    if (in->count > 0)
        memcpy(block->rows, in->rows, in->count * sizeof(block->rows[0]));
    if (in->sample_count > 0) {
        if ((block->samples = ag_ram_new(m, in->sample_count * sizeof(in->samples[0]))) == NULL)
            return ag_ram_nomem(err);
        memcpy(block->samples, in->samples, in->sample_count * sizeof(in->samples[0]));
    }
    AG_RAM_TOUCH(m, run);
    if (run->last_stages != NULL) {
        ag_ram_save(m, &run->last_stages->next, sizeof(block->next));
        run->last_stages->next = block;
    } else {
        run->first_stages = block;
    }
    run->last_stages = block;
    return AGENT_OK;
}
