/*
 * Runs: made, claimed, ended, cancelled, decided.
 *
 *     create ─► queued ─claim─► running ─finish─► succeeded failed cancelled
 *                 ▲                │ │
 *                 │                │ └─ claim by force (an orphan elsewhere): again running, or
 *                 └── decide ── waiting ◄── an effect call whose outcome is unknown
 *
 * The owner of every running run is this store, which lives as long as its runs: a run is taken
 * from it by force only. A session's runs are driven in the order of their ids.
 */
#include <inttypes.h>
#include <stdio.h>

#include "storage/memory/ram.h"

#define UNKNOWN_TEXT \
    "the outcome of this call is unknown: it was begun before a crash and may have happened"

static agent_status no_run(agent_error *err, int64_t id)
{
    return ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 ": no such run", id);
}

/* --- sessions ---------------------------------------------------------------------------------- */

void ag_ram_session_first(struct ag_ram *m, struct ag_ram_session *s)
{
    struct ag_ram_agent *a = s->agent;

    if (a->latest == s)
        return;
    AG_RAM_TOUCH(m, s->newer); /* there is one: s is not the first */
    s->newer->older = s->older;
    if (s->older != NULL) {
        AG_RAM_TOUCH(m, s->older);
        s->older->newer = s->newer;
    }
    AG_RAM_TOUCH(m, a->latest);
    AG_RAM_TOUCH(m, a);
    a->latest->newer = s;
    s->older = a->latest;
    s->newer = NULL;
    a->latest = s;
}

static agent_status session_make(struct ag_ram *m, struct ag_ram_agent *a, struct ag_str name, int64_t now_ms,
                                 struct ag_ram_session **out, agent_error *err)
{
    struct ag_ram_session *s;
    int64_t id;

    if ((s = ag_ram_row_new(m, &m->sessions, &id)) == NULL || !ag_ram_text(m, name, &s->name) ||
        (name.p != NULL && !ag_ram_put(m, &m->session_names, ag_ram_name_hash(m, a, name), s)))
        return ag_ram_nomem(err);
    s->unit = m->unit;
    s->agent = a;
    s->id = id;
    s->created_at_ms = s->last_at_ms = now_ms;
    s->older = a->latest;
    if (s->older != NULL) {
        AG_RAM_TOUCH(m, s->older);
        s->older->newer = s;
    }
    a->latest = s; /* the caller saved the agent */
    a->sessions++;
    *out = s;
    return AGENT_OK;
}

static agent_status session_of(struct ag_ram *m, struct ag_ram_agent *a, const struct ag_op_run_create *create,
                               int64_t now_ms, struct ag_ram_session **out, agent_error *err)
{
    struct ag_ram_session *s = NULL;
    struct ag_str name = AG_STR_NONE;

    switch (create->session_by) {
    case AG_SESSION_NEW:
        break;
    case AG_SESSION_NAME:
        name = create->session_name;
        s = ag_ram_session_named(m, a, name);
        break;
    case AG_SESSION_ID:
        s = ag_ram_table_at(&m->sessions, create->session_id);
        if (s == NULL || s->agent != a)
            return ag_fail(err, AGENT_ENOTFOUND, 0, "session #%" PRId64 " of agent '" AG_STR_FMT "': no such session",
                           create->session_id, AG_STR_ARG(ag_ram_agent_name(a)));
        break;
    case AG_SESSION_LATEST:
        s = a->latest;
        break;
    }
    if (s == NULL)
        return session_make(m, a, name, now_ms, out, err);
    AG_RAM_TOUCH(m, s);
    *out = s;
    return AGENT_OK;
}

/* --- ending -------------------------------------------------------------------------------------- */

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

/* Answers what is open: a call that may have happened says so, any other was not made. Every call
 * gets its message. */
static agent_status run_answer(struct ag_ram *m, struct ag_ram_run *run, enum ag_step_status steps, const char *why,
                               int64_t now_ms, agent_error *err)
{
    agent_status rc;

    for (struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        struct ag_ram_step *step = (struct ag_ram_step *)item;
        struct ag_ram_call *call = (struct ag_ram_call *)item;
        char text[160];

        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        if (item->kind == AG_RAM_STEP) {
            if (item->status != AG_STEP_RUNNING)
                continue;
            AG_RAM_SAVE(m, step);
            item->status = (uint8_t)steps;
            if (!ag_ram_text(m, ag_str_of(why), &step->error))
                return ag_ram_nomem(err);
            continue;
        }
        if (is_open(item)) {
            AG_RAM_SAVE(m, call);
            item->status = call->effect == AGENT_EFFECT_EFFECT ? AG_CALL_UNKNOWN : AG_CALL_CANCELLED;
            (void)snprintf(text, sizeof(text), "this call was not made: %s", why);
            if (call->result == NULL &&
                !ag_ram_text(m, item->status == AG_CALL_UNKNOWN ? AG_STR(UNKNOWN_TEXT) : ag_str_of(text),
                             &call->result))
                return ag_ram_nomem(err);
        }
        if (call->message == NULL &&
            (rc = ag_ram_result_add(m, run, call, run->session->last_seq + 1, now_ms, err)) != AGENT_OK)
            return rc;
    }
    return AGENT_OK;
}

/* Ends a run that nobody drives. The row and its session are saved. */
static agent_status run_close(struct ag_ram *m, struct ag_ram_run *run, enum ag_run_status status,
                              agent_status error_status, const char *why, int64_t now_ms, agent_error *err)
{
    agent_status rc = run_answer(m, run, status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED, why, now_ms,
                                 err);

    if (rc != AGENT_OK)
        return rc;
    if (!ag_ram_reserve(m, AG_RAM_OP_LOG) || !ag_ram_text(m, ag_str_of(why), &run->error))
        return ag_ram_nomem(err);
    run->error_status = error_status;
    if (run->queue_us < 0)
        run->queue_us = ((run->started_at_ms == 0 ? now_ms : run->started_at_ms) - run->queued_at_ms) * 1000;
    if (run->started_at_ms != 0)
        run->wall_us = (now_ms - run->started_at_ms) * 1000;
    run->session->messages = run->session->last_seq;
    ag_ram_run_end(m, run, status, now_ms);
    return AGENT_OK;
}

/* --- claiming ---------------------------------------------------------------------------------------- */

/* Makes it running under us, with its user message and step 1. The row and its session are saved. */
static agent_status run_begin(struct ag_ram *m, struct ag_ram_run *run, int64_t now_ms, agent_error *err)
{
    struct ag_ram_session *s = run->session;
    struct ag_ram_step *step = ag_ram_new(m, sizeof(*step));
    struct ag_ram_message user = {.run_id = run->id, .created_at_ms = now_ms, .role = AG_ROLE_USER,
                                  .seq = s->last_seq + 1};
    struct ag_ram_message *added;
    agent_status rc;

    if (step == NULL)
        return ag_ram_nomem(err);
    user.text = ag_ram_text_ref(m, run->input);
    if ((rc = ag_ram_message_add(m, s, &user, &added, err)) != AGENT_OK)
        return rc;
    *step = (struct ag_ram_step){.item = {.number = 1, .kind = AG_RAM_STEP, .started_at_ms = now_ms, .wall_us = -1,
                                          .status = AG_STEP_RUNNING},
                                 .attempt = 1, .input_tokens = -1, .output_tokens = -1, .cached_tokens = -1};
    run->first = run->last = &step->item;
    run->status = AG_RUN_RUNNING;
    run->attempt = 1;
    run->started_at_ms = now_ms;
    run->input_seq = user.seq;
    return AGENT_OK;
}

/* What stands before a run of its session, if anything. */
static enum ag_blocked blocked_by(const struct ag_ram_run *run, int64_t *out_by)
{
    const struct ag_ram_run *first = run->session->open_first;

    if (first == run)
        return AG_BLOCKED_NOT;
    *out_by = first->id;
    return first->status == AG_RUN_RUNNING ? AG_BLOCKED_LIVE : AG_BLOCKED_CLAIMABLE;
}

agent_status ag_ram_run_create(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_create *create = &op->run_create;
    struct ag_ram_agent *a = ag_ram_agent_find(m, create->agent_name);
    struct ag_ram_session *s = NULL;
    struct ag_ram_run *run;
    int64_t id;
    agent_status rc;

    if (a == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent",
                       AG_STR_ARG(create->agent_name));
    create->out_existing = create->out_claimed = false;
    create->out_blocked = AG_BLOCKED_NOT;
    create->out_blocked_by = 0;
    if (create->idempotency_key.p != NULL && (run = ag_ram_run_keyed(m, create->idempotency_key)) != NULL) {
        create->out_existing = true;
        create->out_run_id = run->id;
        create->out_session_id = run->session->id;
        create->out_agent_id = run->session->agent->id;
        create->out_version_id = run->version_id;
        create->out_input_seq = run->input_seq;
        create->out_attempt = run->attempt;
        return AGENT_OK;
    }

    AG_RAM_TOUCH(m, a);
    if ((rc = session_of(m, a, create, unit->now_ms, &s, err)) != AGENT_OK)
        return rc;
    for (struct ag_ram_run *open = s->open_first, *next; open != NULL; open = next) {
        next = open->next;
        if (open->status != AG_RUN_WAITING)
            continue;
        AG_RAM_TOUCH(m, open);
        rc = run_close(m, open, AG_RUN_FAILED, AGENT_EAPPROVAL, "closed by a new turn while it waited for a decision",
                       unit->now_ms, err);
        if (rc != AGENT_OK)
            return rc;
    }
    if (!ag_ram_reserve(m, AG_RAM_OP_LOG) || (run = ag_ram_row_new(m, &m->runs, &id)) == NULL ||
        !ag_ram_text(m, create->input, &run->input) || !ag_ram_text(m, create->options, &run->options) ||
        !ag_ram_text(m, create->idempotency_key, &run->key))
        return ag_ram_nomem(err);
    if (run->key != NULL &&
        !ag_ram_put(m, &m->run_keys, ag_ram_name_hash(m, NULL, create->idempotency_key), run))
        return ag_ram_nomem(err);
    run->id = id;
    run->unit = m->unit;
    run->session = s;
    run->version_id = a->newest_version_id;
    run->version = ag_ram_table_at(&m->versions, run->version_id);
    run->priority = create->priority;
    run->queued_at_ms = create->queued_at_ms;
    run->deadline_at_ms = create->deadline_at_ms;
    run->queue_us = run->wall_us = run->rss_peak_bytes = run->input_tokens = run->output_tokens = -1;
    memcpy(run->trace_id, create->trace_id, sizeof(run->trace_id));
    run->prev = s->open_last;
    if (run->prev != NULL) {
        AG_RAM_TOUCH(m, run->prev);
        run->prev->next = run;
    } else {
        s->open_first = run;
    }
    s->open_last = run;
    a->runs++;
    a->last_run_at_ms = unit->now_ms;
    ag_ram_session_first(m, s);

    create->out_blocked = blocked_by(run, &create->out_blocked_by);
    if (create->claim && create->out_blocked == AG_BLOCKED_NOT) {
        if ((rc = run_begin(m, run, unit->now_ms, err)) != AGENT_OK)
            return rc;
        create->out_claimed = true;
    }
    create->out_run_id = id;
    create->out_session_id = s->id;
    create->out_agent_id = a->id;
    create->out_version_id = run->version_id;
    create->out_input_seq = run->input_seq;
    create->out_attempt = run->attempt;
    return AGENT_OK;
}

/* Takes over a run that was begun: what was in the middle is failed or unknown. */
static agent_status run_take_over(struct ag_ram *m, struct ag_ram_run *run, int64_t now_ms, agent_error *err)
{
    struct ag_stage_row cut = {.stage = AG_STAGE_LIMIT, .started_at_ms = now_ms, .wall_us = -1, .commit_us = -1,
                               .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1,
                               .heap_peak_bytes = -1, .heap_net_bytes = -1, .child_rss_peak_bytes = -1};
    bool waits = false;

    for (struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        struct ag_ram_step *step = (struct ag_ram_step *)item;
        struct ag_ram_call *call = (struct ag_ram_call *)item;

        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        if (item->kind == AG_RAM_STEP && item->status == AG_STEP_RUNNING) {
            AG_RAM_SAVE(m, step);
            item->status = AG_STEP_FAILED;
            if (!ag_ram_text(m, AG_STR("interrupted: process died"), &step->error))
                return ag_ram_nomem(err);
            cut.stage = AG_STAGE_RESPOND;
            cut.step = item->number;
            cut.started_at_ms = item->started_at_ms;
        } else if (is_open(item)) {
            AG_RAM_SAVE(m, call);
            if (call->effect == AGENT_EFFECT_EFFECT) {
                item->status = AG_CALL_UNKNOWN;
                waits = true;
            } else {
                item->status = AG_CALL_INTENDED;
            }
            if (cut.stage == AG_STAGE_LIMIT) {
                cut.stage = AG_STAGE_TOOL;
                cut.step = call->model_step;
                cut.started_at_ms = item->started_at_ms;
            }
        }
    }
    if (cut.stage != AG_STAGE_LIMIT) {
        struct ag_op stages = {.kind = AG_OP_STAGES, .stages = {run->id, &cut, 1}};
        agent_status rc = ag_ram_stages(m, NULL, &stages, err);

        if (rc != AGENT_OK)
            return rc;
    }
    run->status = waits ? AG_RUN_WAITING : AG_RUN_RUNNING;
    run->attempt++;
    return AGENT_OK;
}

agent_status ag_ram_run_claim(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_claim *claim = &op->run_claim;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, claim->run_id);
    agent_status rc = AGENT_OK;

    if (run == NULL)
        return no_run(err, claim->run_id);
    claim->out_claimed = claim->out_fresh = false;
    claim->out_blocked = AG_BLOCKED_NOT;
    claim->out_blocked_by = 0;
    AG_RAM_TOUCH(m, run);
    AG_RAM_TOUCH(m, run->session);
    if (run->status == AG_RUN_QUEUED) {
        claim->out_blocked = blocked_by(run, &claim->out_blocked_by);
        if (claim->out_blocked == AG_BLOCKED_NOT && run->attempt == 0) {
            claim->out_fresh = true;
            rc = run_begin(m, run, unit->now_ms, err);
        } else if (claim->out_blocked == AG_BLOCKED_NOT) { /* decided: goes on where it was */
            run->status = AG_RUN_RUNNING;
            run->attempt++;
        }
        claim->out_claimed = claim->out_blocked == AG_BLOCKED_NOT;
    } else if (run->status == AG_RUN_RUNNING && claim->force) {
        rc = run_take_over(m, run, unit->now_ms, err);
        claim->out_claimed = run->status == AG_RUN_RUNNING;
    } else if (run->status == AG_RUN_RUNNING) {
        claim->out_blocked = AG_BLOCKED_LIVE;
        claim->out_blocked_by = run->id;
    }
    if (rc != AGENT_OK)
        return rc;
    claim->out_status = (enum ag_run_status)run->status;
    claim->out_attempt = run->attempt;
    claim->out_session_id = run->session->id;
    claim->out_agent_id = run->session->agent->id;
    claim->out_version_id = run->version_id;
    claim->out_input_seq = run->input_seq;
    claim->out_queued_at_ms = run->queued_at_ms;
    claim->out_deadline_at_ms = run->deadline_at_ms;
    return AGENT_OK;
}

/* --- cancelling, deciding, finishing --------------------------------------------------------------------- */

agent_status ag_ram_run_cancel(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_cancel *cancel = &op->run_cancel;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, cancel->run_id);

    if (run == NULL)
        return no_run(err, cancel->run_id);
    if (ag_ram_has_ended(run))
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " has ended: %s", run->id,
                       ag_run_status_name((enum ag_run_status)run->status));
    AG_RAM_TOUCH(m, run);
    cancel->out_ended = run->status != AG_RUN_RUNNING;
    if (cancel->out_ended) {
        AG_RAM_TOUCH(m, run->session);
        return run_close(m, run, AG_RUN_CANCELLED, AGENT_ECANCELLED, "cancelled", unit->now_ms, err);
    }
    if (!run->cancel_requested) {
        ag_ram_save(m, &m->cancel_count, sizeof(m->cancel_count));
        m->cancel_count++;
        run->cancel_requested = true;
    }
    return AGENT_OK;
}

agent_status ag_ram_run_decide(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_decide *decide = &op->run_decide;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, decide->run_id);
    bool found = false;
    int open = 0;

    (void)unit;
    if (run == NULL)
        return no_run(err, decide->run_id);
    if (run->status != AG_RUN_WAITING)
        return ag_fail(err, AGENT_EINVAL, 0, "run %" PRId64 " waits for no decision: it is %s", run->id,
                       ag_run_status_name((enum ag_run_status)run->status));
    AG_RAM_TOUCH(m, run);
    for (struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        struct ag_ram_call *call = (struct ag_ram_call *)item;
        struct ag_str reason = decide->reason;

        if (item->kind != AG_RAM_CALL || item->status != AG_CALL_UNKNOWN)
            continue;
        if (decide->call_id.p != NULL && !ag_str_eq(decide->call_id, ag_ram_str(call->call_id))) {
            open++;
            continue;
        }
        found = true;
        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        AG_RAM_SAVE(m, call);
        ag_ram_text_unref(m, call->result);
        call->result = NULL;
        item->status = decide->approve ? AG_CALL_INTENDED : AG_CALL_DENIED;
        if (decide->approve)
            continue;
        if (!ag_ram_text(m, reason.n > 0 ? reason : AG_STR(UNKNOWN_TEXT), &call->result))
            return ag_ram_nomem(err);
    }
    if (!found && decide->call_id.p != NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 ": no call '" AG_STR_FMT "' waits for a decision",
                       run->id, AG_STR_ARG(decide->call_id));
    if (open == 0)
        run->status = AG_RUN_QUEUED;
    decide->out_open = open;
    return AGENT_OK;
}

agent_status ag_ram_run_finish(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_finish *finish = &op->run_finish;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, finish->run_id);
    struct ag_ram_session *s;

    (void)unit;
    if (run == NULL)
        return no_run(err, finish->run_id);
    if (ag_ram_has_ended(run))
        return ag_fail(err, AGENT_ELOST, 0, "run %" PRId64 " has ended already: %s", run->id,
                       ag_run_status_name((enum ag_run_status)run->status));
    s = run->session;
    AG_RAM_TOUCH(m, run);
    AG_RAM_TOUCH(m, s);
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
    finish->out_next_run_id = 0;
    if (finish->status == AG_RUN_WAITING) {
        run->status = AG_RUN_WAITING;
        return AGENT_OK;
    }
    s->turns++;
    if (finish->input_tokens > 0)
        s->input_tokens += finish->input_tokens;
    if (finish->output_tokens > 0)
        s->output_tokens += finish->output_tokens;
    s->messages = s->last_seq; /* its numbers have no gap */
    if (finish->ended_at_ms > s->last_at_ms)
        s->last_at_ms = finish->ended_at_ms;
    ag_ram_run_end(m, run, finish->status, finish->ended_at_ms);
    for (const struct ag_ram_run *next = s->open_first; next != NULL && finish->out_next_run_id == 0;
         next = next->next)
        if (next->status == AG_RUN_QUEUED)
            finish->out_next_run_id = next->id;
    return AGENT_OK;
}
