/*
 * Runs begin: made, and claimed. How they end is in apply_end.c.
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

#include "storage/memory/ram.h"

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
    run->is_held = false;
    run->attempt++;
    run->started_at_ms = now_ms;
    run->input_seq = user.seq;
    return AGENT_OK;
}

/* What stands before a run of its session, if anything; a run that waits does not: it is closed. */
static agent_status clear_ahead(struct ag_ram *m, struct ag_ram_run *run, int64_t now_ms, enum ag_blocked *out,
                                int64_t *out_by, agent_error *err)
{
    struct ag_ram_run *first;
    agent_status rc;

    while ((first = run->session->open_first) != run && first->status == AG_RUN_WAITING) {
        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        AG_RAM_TOUCH(m, first);
        AG_RAM_TOUCH(m, run->session);
        rc = ag_ram_run_close(m, first, AG_RUN_FAILED, AGENT_EAPPROVAL,
                              AG_STR("closed by the session's next turn before its call was decided"), now_ms, err);
        if (rc != AGENT_OK)
            return rc;
    }
    *out = first == run                                         ? AG_BLOCKED_NOT
           : first->status == AG_RUN_RUNNING || first->is_held ? AG_BLOCKED_LIVE
                                                                : AG_BLOCKED_CLAIMABLE;
    *out_by = first == run ? 0 : first->id;
    return ag_ram_reserve(m, AG_RAM_OP_LOG) ? AGENT_OK : ag_ram_nomem(err);
}

static void tell_existing(const struct ag_ram_run *run, struct ag_op_run_create *create)
{
    create->out_existing = true;
    create->out_run_id = run->id;
    create->out_session_id = run->session->id;
    create->out_agent_id = run->session->agent->id;
    create->out_version_id = run->version_id;
    create->out_input_seq = run->input_seq;
    create->out_attempt = run->attempt;
}

/* A queued run, the last of its session. */
static agent_status run_make(struct ag_ram *m, struct ag_ram_session *s, const struct ag_op_run_create *create,
                             int64_t now_ms, struct ag_ram_run **out, agent_error *err)
{
    struct ag_ram_agent *a = s->agent;
    struct ag_ram_run *run;
    int64_t id;

    if ((run = ag_ram_row_new(m, &m->runs, &id)) == NULL ||
        !ag_ram_text(m, create->input.p == NULL ? AG_STR("") : create->input, &run->input) ||
        !ag_ram_text(m, create->options, &run->options) || !ag_ram_text(m, create->idempotency_key, &run->key))
        return ag_ram_nomem(err);
    if (run->key != NULL &&
        !ag_ram_put(m, &m->run_keys, ag_ram_name_hash(m, NULL, create->idempotency_key), run))
        return ag_ram_nomem(err);
    run->id = id;
    run->unit = m->unit;
    run->session = s;
    run->version_id = a->newest_version_id;
    run->version = ag_ram_table_at(&m->versions, run->version_id);
    run->priority = create->priority > 0 ? 1 : create->priority < 0 ? -1 : 0;
    run->queued_at_ms = create->queued_at_ms != 0 ? create->queued_at_ms : now_ms;
    run->deadline_at_ms = create->deadline_at_ms;
    run->queue_us = run->wall_us = run->rss_peak_bytes = run->input_tokens = run->output_tokens = -1;
    run->cache_hit = -1;
    memcpy(run->trace_id, create->trace_id, sizeof(run->trace_id));
    run->is_held = create->claim; /* from the start: what makes room for it must not put it in the queue */
    run->prev = s->open_last;
    if (run->prev != NULL) {
        AG_RAM_TOUCH(m, run->prev);
        run->prev->next = run;
    } else {
        s->open_first = run;
    }
    s->open_last = run;
    a->runs++;
    a->last_run_at_ms = now_ms;
    ag_ram_session_first(m, s);
    *out = run;
    return AGENT_OK;
}

static agent_status refuse_behind(int64_t session_id, int64_t run_id, agent_error *err)
{
    (void)ag_fail(err, AGENT_EBUSY, 0, "session #%" PRId64 " is busy: its run %" PRId64 " has not ended", session_id,
                  run_id);
    ag_hint(err, "wait for it (agentctl wait %" PRId64 "), or let this one wait in line (--on-busy queue)", run_id);
    return AGENT_EBUSY;
}

static agent_status refuse_full(int64_t queued, int64_t most, agent_error *err)
{
    (void)ag_fail(err, AGENT_EBUSY, 0, "the queue is full: %" PRId64 " runs are in it, the limit is %" PRId64
                  " (queued_runs)", queued, most);
    ag_hint(err, "let them run (agentctl work), or allow more: agentctl limits set queued_runs N");
    return AGENT_EBUSY;
}

agent_status ag_ram_run_create(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_create *create = &op->run_create;
    struct ag_ram_session *s = NULL;
    struct ag_ram_run *run;
    struct ag_ram_agent *a;
    agent_status rc;

    create->out_existing = create->out_claimed = false;
    create->out_blocked = AG_BLOCKED_NOT;
    create->out_blocked_by = 0;
    create->out_blocked_by_us = false;
    if (create->idempotency_key.p != NULL && (run = ag_ram_run_keyed(m, create->idempotency_key)) != NULL) {
        tell_existing(run, create);
        return AGENT_OK;
    }
    if ((a = ag_ram_agent_find(m, create->agent_name)) == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent",
                       AG_STR_ARG(create->agent_name));
    AG_RAM_TOUCH(m, a);
    if (!create->claim && create->most_queued > 0 && m->queue.unheld >= create->most_queued)
        return refuse_full(m->queue.unheld, create->most_queued, err);
    if ((rc = session_of(m, a, create, unit->now_ms, &s, err)) != AGENT_OK ||
        (rc = run_make(m, s, create, unit->now_ms, &run, err)) != AGENT_OK ||
        (rc = clear_ahead(m, run, unit->now_ms, &create->out_blocked, &create->out_blocked_by, err)) != AGENT_OK)
        return rc;
    create->out_blocked_by_us = create->out_blocked == AG_BLOCKED_LIVE;
    if (create->not_behind && create->out_blocked != AG_BLOCKED_NOT)
        return refuse_behind(s->id, create->out_blocked_by, err);
    if (create->claim && create->out_blocked == AG_BLOCKED_NOT) {
        if ((rc = run_begin(m, run, unit->now_ms, err)) != AGENT_OK)
            return rc;
        create->out_claimed = true;
    }
    if (!ag_ram_queue_enter(m, run) || !ag_ram_session_ready(m, s, NULL))
        return ag_ram_nomem(err);
    create->out_run_id = run->id;
    create->out_session_id = s->id;
    create->out_agent_id = a->id;
    create->out_version_id = run->version_id;
    create->out_input_seq = run->input_seq;
    create->out_attempt = run->attempt;
    return AGENT_OK;
}

/* Takes over a run that was begun: what was in the middle is failed or unknown, and the stage it was
 * cut off in, as far as the rows tell, gets its row with figures that nobody knows. */
static agent_status run_take_over(struct ag_ram *m, struct ag_ram_run *run, agent_error *err)
{
    struct ag_stage_row cut = {.stage = AG_STAGE_PREPARE, .samples = -1, .started_at_ms = -1, .wall_us = -1,
                               .commit_us = -1, .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1,
                               .heap_peak_bytes = -1, .heap_net_bytes = -1, .child_rss_peak_bytes = -1};
    struct ag_op stages = {.kind = AG_OP_STAGES, .stages = {.run_id = run->id, .rows = &cut, .count = 1}};
    bool in_step = false, in_calls = false, waits = false;
    agent_status rc;

    cut.step = run->last == NULL ? 0 : run->last->number;
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
            if (!in_step)
                cut.step = item->number;
            in_step = true;
        } else if (item->kind == AG_RAM_CALL &&
                   (item->status == AG_CALL_INTENDED || item->status == AG_CALL_RUNNING)) {
            AG_RAM_SAVE(m, call);
            in_calls = true;
            waits |= call->effect == AGENT_EFFECT_EFFECT;
            item->status = call->effect == AGENT_EFFECT_EFFECT ? AG_CALL_UNKNOWN : AG_CALL_INTENDED;
        } else if (item->kind == AG_RAM_CALL && item->status == AG_CALL_UNKNOWN) {
            waits = true;
        }
    }
    cut.stage = run->journal_step != 0 ? AG_STAGE_RESPOND
                : in_step              ? AG_STAGE_INFER
                : in_calls             ? AG_STAGE_TOOL
                                       : AG_STAGE_PREPARE;
    if ((rc = ag_ram_stages(m, NULL, &stages, err)) != AGENT_OK)
        return rc;
    run->journal_step = 0;
    run->status = waits ? AG_RUN_WAITING : AG_RUN_RUNNING;
    return AGENT_OK;
}

/* A new attempt: nobody has asked this one to end. */
static void run_attempt(struct ag_ram *m, struct ag_ram_run *run)
{
    run->attempt++;
    if (!run->cancel_requested)
        return;
    ag_ram_save(m, &m->cancel_count, sizeof(m->cancel_count));
    m->cancel_count--;
    run->cancel_requested = false;
}

agent_status ag_ram_run_claim(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_run_claim *claim = &op->run_claim;
    struct ag_ram_run *run = ag_ram_table_at(&m->runs, claim->run_id);
    agent_status rc = AGENT_OK;

    if (run == NULL)
        return ag_ram_no_run(err, claim->run_id);
    claim->out_claimed = claim->out_fresh = false;
    claim->out_blocked = AG_BLOCKED_NOT;
    claim->out_blocked_by = 0;
    claim->out_blocked_by_us = false;
    AG_RAM_TOUCH(m, run);
    AG_RAM_TOUCH(m, run->session);
    if (run->status == AG_RUN_QUEUED) {
        rc = clear_ahead(m, run, unit->now_ms, &claim->out_blocked, &claim->out_blocked_by, err);
        claim->out_blocked_by_us = claim->out_blocked == AG_BLOCKED_LIVE;
        if (rc == AGENT_OK && claim->out_blocked == AG_BLOCKED_NOT) {
            if (!ag_ram_queue_leave(m, run))
                return ag_ram_nomem(err);
            claim->out_claimed = true;
            claim->out_fresh = run->input_seq == 0;
            if (claim->out_fresh) {
                rc = run_begin(m, run, unit->now_ms, err);
            } else { /* decided: goes on where it was */
                run->status = AG_RUN_RUNNING;
                run_attempt(m, run);
            }
        }
    } else if (run->status == AG_RUN_RUNNING && claim->force) {
        if ((rc = run_take_over(m, run, err)) == AGENT_OK)
            run_attempt(m, run);
        if (rc == AGENT_OK && !ag_ram_session_ready(m, run->session, NULL)) /* one that waits holds nobody up */
            return ag_ram_nomem(err);
        claim->out_claimed = run->status == AG_RUN_RUNNING;
    } else if (run->status == AG_RUN_RUNNING) {
        claim->out_blocked = AG_BLOCKED_LIVE;
        claim->out_blocked_by = run->id;
        claim->out_blocked_by_us = true;
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
    claim->out_priority = run->priority;
    return AGENT_OK;
}
