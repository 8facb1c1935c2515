/*
 * A run begins: it is created, and claimed by the owner who drives it. The write lock makes both
 * race-free: nobody else finds or makes the session, takes the number or the run meanwhile.
 *
 *       create ──► queued ──claim──► running ──finish──► succeeded, failed, cancelled
 *            └─────────claim at once────▲ │ owner dead, an effect call was open: claim
 *                                       │ ▼
 *                          decide ◄─ waiting
 *
 * Order in a session: a run is claimed only when no earlier run of it is open. One that waits for
 * a decision does not hold the next one up: it is closed as failed.
 */
#include "storage/sqlite/impl.h"

/* --- the session's other runs ---------------------------------------------------------------------- */

struct ahead { /* what is before a run in its session */
    enum ag_blocked blocked;
    int64_t blocked_by;
    int64_t waiting; /* run that waits for a decision; 0: none */
    bool is_ours;    /* blocked_by is held by our owner */
    bool is_aside;   /* blocked_by came with a copy of the file: what is behind it waits for resume too */
};

static agent_status look_ahead(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t before_run,
                               struct ahead *out)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_OPEN);
    bool row;
    agent_status rc;

    *out = (struct ahead){.blocked = AG_BLOCKED_NOT};
    ag_query_int(&q, session_id);
    while ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row) {
        int64_t id = ag_col_int(&q, 0);
        int status = ag_run_status_parse(ag_col_str(&q, 1));

        if (before_run != 0 && id >= before_run)
            break;
        if (status == AG_RUN_WAITING) {
            if (out->waiting == 0)
                out->waiting = id;
            continue;
        }
        /* A queued run may have an owner too: somebody waits with it in hand for its turn. */
        out->blocked = ag_col_int(&q, 2) != 0 && ag_owner_alive(s, ag_col_int(&q, 2)) ? AG_BLOCKED_LIVE
                                                                                     : AG_BLOCKED_CLAIMABLE;
        out->blocked_by = id;
        out->is_ours = out->blocked == AG_BLOCKED_LIVE && ag_col_int(&q, 2) == atomic_load(&s->owners.id);
        out->is_aside = ag_col_int(&q, 3) == 2;
        break;
    }
    return rc;
}

/* As look_ahead, with runs that wait out of the way. */
static agent_status clear_ahead(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t before_run,
                                struct ahead *out)
{
    agent_status rc;

    while ((rc = look_ahead(s, u, session_id, before_run, out)) == AGENT_OK && out->waiting != 0) {
        struct ag_run_row waiting;

        if ((rc = ag_run_row(s, u, out->waiting, &waiting)) != AGENT_OK ||
            (rc = ag_run_close(s, u, &waiting, AG_RUN_FAILED, AGENT_EAPPROVAL,
                               "closed by the session's next turn before its call was decided")) != AGENT_OK)
            break;
    }
    return rc;
}

/* --- create ------------------------------------------------------------------------------------------- */

static agent_status find_existing(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_create *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_BY_KEY);
    bool row;
    agent_status rc;

    ag_query_str(&q, op->idempotency_key);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK || !row)
        return rc;
    op->out_existing = true;
    op->out_run_id = ag_col_int(&q, 0);
    op->out_session_id = ag_col_int(&q, 1);
    op->out_agent_id = ag_col_int(&q, 2);
    op->out_version_id = ag_col_int(&q, 3);
    op->out_input_seq = ag_col_int(&q, 4);
    op->out_attempt = (int)ag_col_int(&q, 5);
    return AGENT_OK;
}

/* *out_id is 0 where a session of this name, or any, is to be made. */
static agent_status find_session(struct ag_sq_store *s, ag_unit *u, const struct ag_op_run_create *op, int64_t *out_id)
{
    enum ag_stmt stmt;
    bool row;
    agent_status rc;

    *out_id = 0;
    switch (op->session_by) {
    case AG_SESSION_NAME: stmt = AG_STMT_SESSION_BY_NAME; break;
    case AG_SESSION_ID: stmt = AG_STMT_SESSION_BY_ID; break;
    case AG_SESSION_LATEST:
        stmt = AG_STMT_SESSION_LATEST;
        if ((rc = ag_known_write_counts(s, &u->error)) != AGENT_OK)
            return rc;
        break;
    case AG_SESSION_NEW:
    default: return AGENT_OK;
    }
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);

    ag_query_int(&q, op->session_by == AG_SESSION_ID ? op->session_id : op->out_agent_id);
    if (op->session_by == AG_SESSION_NAME)
        ag_query_str(&q, op->session_name);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
        return rc;
    if (op->session_by == AG_SESSION_ID) {
        if (!row || ag_col_int(&q, 0) != op->out_agent_id)
            return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "session #%lld of agent '" AG_STR_FMT "'",
                           (long long)op->session_id, AG_STR_ARG(op->agent_name));
        *out_id = op->session_id;
    } else if (row) {
        *out_id = ag_col_int(&q, 0); /* the latest may be NULL, 0 */
    }
    return AGENT_OK;
}

static agent_status make_session(struct ag_sq_store *s, ag_unit *u, const struct ag_op_run_create *op, int64_t *out_id)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_SESSION_INSERT);
    agent_status rc;

    ag_query_int(&q, s->session_floor + 1);
    ag_query_int(&q, op->out_agent_id);
    ag_query_str(&q, op->session_by == AG_SESSION_NAME ? op->session_name : AG_STR_NONE);
    ag_query_int(&q, u->now_ms);
    if ((rc = ag_query_run(&q, &u->error)) == AGENT_OK)
        *out_id = ++s->session_floor;
    return rc;
}

static agent_status insert_run(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_create *op, int64_t owner_id,
                               bool is_aside)
{
    static const unsigned char no_trace[16];
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_INSERT);
    bool claimed = op->out_claimed;
    agent_status rc;

    ag_query_int(&q, s->run_floor + 1);
    ag_query_int(&q, op->out_agent_id);
    ag_query_int(&q, op->out_version_id);
    ag_query_int(&q, op->out_session_id);
    ag_query_word(&q, claimed ? "running" : "queued");
    ag_query_int(&q, op->priority > 0 ? 1 : op->priority < 0 ? -1 : 0);
    ag_query_id(&q, owner_id);
    ag_query_int(&q, claimed ? 1 : 0);
    ag_query_str(&q, op->input.p == NULL ? AG_STR("") : op->input);
    ag_query_str(&q, op->options);
    ag_query_id(&q, claimed ? op->out_input_seq : 0);
    if (memcmp(op->trace_id, no_trace, sizeof(no_trace)) == 0)
        ag_query_str(&q, AG_STR_NONE);
    else
        ag_query_blob(&q, op->trace_id, sizeof(op->trace_id));
    ag_query_str(&q, op->idempotency_key);
    ag_query_int(&q, op->queued_at_ms != 0 ? op->queued_at_ms : u->now_ms);
    ag_query_id(&q, claimed ? u->now_ms : 0);
    ag_query_id(&q, op->deadline_at_ms);
    ag_query_int(&q, claimed || owner_id != 0 ? 0 : is_aside ? 2 : op->out_blocked == AG_BLOCKED_NOT);
    if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
        return rc;
    op->out_run_id = ++s->run_floor;
    if (claimed)
        ag_known_hold(s, op->out_run_id, 1, 0);
    else
        s->known.queue = AG_QUEUE_SOME;
    return AGENT_OK;
}

/* Its user message, whose text is the run's input, and its first step. */
static agent_status begin_run(struct ag_sq_store *s, ag_unit *u, int64_t run_id, int64_t session_id, int64_t seq)
{
    struct ag_op_step_begin first = {.run_id = run_id, .number = 1, .attempt = 1, .started_at_ms = u->now_ms};
    agent_status rc = ag_message_insert(s, u, session_id, seq, run_id, AG_ROLE_USER, AG_STR_NONE, AG_STR_NONE,
                                        AG_STR_NONE, 0);

    return rc == AGENT_OK ? ag_apply_step_begin(s, u, &first) : rc;
}

static agent_status refuse_behind(ag_unit *u, int64_t session_id, int64_t run_id)
{
    (void)ag_fail(&u->error, AGENT_EBUSY, 0, "session #%lld is busy: its run %lld has not ended", (long long)session_id,
                  (long long)run_id);
    ag_hint(&u->error, "wait for it (agentctl wait %lld), or let this one wait in line (--on-busy queue)",
            (long long)run_id);
    return AGENT_EBUSY;
}

/* The number is kept in the file, in the same transactions: here, and by triggers of the schema. */
static agent_status check_room(struct ag_sq_store *s, ag_unit *u, int64_t most)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUED);
    bool row;
    agent_status rc = ag_query_row(&q, &row, &u->error);

    if (rc != AGENT_OK || !row || ag_col_int(&q, 0) < most)
        return rc;
    (void)ag_fail(&u->error, AGENT_EBUSY, 0, "the queue is full: %lld runs are in it, the limit is %lld (queued_runs)",
                  (long long)ag_col_int(&q, 0), (long long)most);
    ag_hint(&u->error, "let them run (agentctl work), or allow more: agentctl limits set queued_runs N");
    return AGENT_EBUSY;
}

static agent_status count_queued(struct ag_sq_store *s, ag_unit *u)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUED_ONE);

    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_run_create(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_create *op)
{
    struct ahead ahead = {.blocked = AG_BLOCKED_NOT};
    int64_t owner_id = 0, last_seq = 0;
    bool new_session;
    agent_status rc;

    if ((rc = ag_home_settle(s, u)) != AGENT_OK)
        return rc;
    op->out_existing = op->out_claimed = false;
    op->out_input_seq = op->out_attempt = 0;
    op->out_blocked = AG_BLOCKED_NOT;
    op->out_blocked_by = 0;
    op->out_blocked_by_us = false;
    if (op->idempotency_key.p != NULL && ((rc = find_existing(s, u, op)) != AGENT_OK || op->out_existing))
        return rc;
    if ((rc = ag_agent_id(s, u, op->agent_name, &op->out_agent_id, &op->out_version_id)) != AGENT_OK ||
        (rc = find_session(s, u, op, &op->out_session_id)) != AGENT_OK)
        return rc;
    new_session = op->out_session_id == 0;
    if (new_session)
        rc = make_session(s, u, op, &op->out_session_id);
    else if ((rc = clear_ahead(s, u, op->out_session_id, 0, &ahead)) == AGENT_OK)
        rc = ag_session_last_seq(s, u, op->out_session_id, &last_seq);
    if (rc != AGENT_OK)
        return rc;
    op->out_blocked = ahead.blocked;
    op->out_blocked_by = ahead.blocked_by;
    op->out_blocked_by_us = ahead.is_ours;
    if (op->not_behind && ahead.blocked != AG_BLOCKED_NOT)
        return refuse_behind(u, op->out_session_id, ahead.blocked_by);
    if (!op->claim && op->most_queued > 0 && (rc = check_room(s, u, op->most_queued)) != AGENT_OK)
        return rc;
    if (op->claim && (rc = ag_owner_need(s, u, &owner_id)) != AGENT_OK)
        return rc;
    if (op->claim && ahead.blocked == AG_BLOCKED_NOT) {
        op->out_claimed = true;
        op->out_attempt = 1;
        op->out_input_seq = last_seq + 1;
    }
    if ((rc = insert_run(s, u, op, owner_id, ahead.is_aside)) != AGENT_OK ||
        (!op->claim && (rc = count_queued(s, u)) != AGENT_OK) ||
        (op->out_claimed &&
         (rc = begin_run(s, u, op->out_run_id, op->out_session_id, op->out_input_seq)) != AGENT_OK))
        return rc;
    return ag_known_count_run(s, u, op->out_agent_id, new_session, op->out_session_id, &u->error);
}

/* --- claim ---------------------------------------------------------------------------------------------- */

agent_status ag_run_row(struct ag_sq_store *s, ag_unit *u, int64_t run_id, struct ag_run_row *out)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_READ);
    bool row;
    agent_status rc;

    ag_query_int(&q, run_id);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
        return rc;
    if (!row) {
        (void)ag_fail(&u->error, AGENT_ENOTFOUND, 0, "run %lld", (long long)run_id);
        ag_hint(&u->error, "see which there are: agentctl list runs");
        return AGENT_ENOTFOUND;
    }
    *out = (struct ag_run_row){
        .id = run_id,
        .agent_id = ag_col_int(&q, 0),
        .version_id = ag_col_int(&q, 1),
        .session_id = ag_col_int(&q, 2),
        .owner_id = ag_col_int(&q, 4),
        .attempt = (int)ag_col_int(&q, 5),
        .priority = (int)ag_col_int(&q, 6),
        .input_seq = ag_col_int(&q, 7),
        .queued_at_ms = ag_col_int(&q, 8),
        .started_at_ms = ag_col_int(&q, 9),
        .deadline_at_ms = ag_col_int(&q, 10),
        .ended = ag_col_known(&q, 11) != -1,
    };
    if ((int)(out->status = (enum ag_run_status)ag_run_status_parse(ag_col_str(&q, 3))) < 0)
        return ag_fail(&u->error, AGENT_ESTORAGE, 0, "run %lld has a status that is none", (long long)run_id);
    return AGENT_OK;
}

static agent_status write_claim(struct ag_sq_store *s, ag_unit *u, const struct ag_run_row *run, enum ag_run_status status,
                                int64_t owner_id, int64_t input_seq)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_CLAIM);

    ag_known_let_go(s, run->id);
    ag_query_int(&q, run->id);
    ag_query_word(&q, ag_run_status_name(status));
    ag_query_id(&q, owner_id);
    ag_query_int(&q, run->attempt + 1);
    ag_query_int(&q, input_seq);
    ag_query_int(&q, u->now_ms);
    return ag_query_run(&q, &u->error);
}

/* The stage its owner died in, as far as the rows tell, with figures that nobody knows. */
static agent_status write_cut_stage(struct ag_sq_store *s, ag_unit *u, int64_t run_id, int step, enum ag_stage stage)
{
    struct ag_stage_row row = {
        .step = step, .stage = stage, .samples = -1, .started_at_ms = -1, .wall_us = -1, .commit_us = -1,
        .rss_before_bytes = -1, .rss_peak_bytes = -1, .rss_after_bytes = -1,
        .heap_peak_bytes = -1, .heap_net_bytes = -1, .child_rss_peak_bytes = -1,
    };

    return ag_stage_write(s, u, run_id, &row, 1);
}

static agent_status count_in_range(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t low, int64_t high,
                                   bool *out_any, int64_t *out_first)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);
    agent_status rc;

    ag_query_int(&q, low);
    ag_query_int(&q, high);
    if ((rc = ag_query_row(&q, out_any, &u->error)) == AGENT_OK && *out_any)
        *out_first = ag_col_int(&q, 0);
    return rc;
}

/* What a dead owner left in the middle: see ag_op_run_claim in store.h. */
static agent_status pick_up(struct ag_sq_store *s, ag_unit *u, const struct ag_run_row *run, int64_t *out_unknown)
{
    int64_t low = run->id << AG_STEP_BITS, high = low | AG_STEP_LAST, open_step = 0, last = low, ignored;
    bool in_step = false, in_answer = false, in_calls, any;
    agent_status rc;

    if ((rc = count_in_range(s, u, AG_STMT_STEP_OPEN, low, high, &in_step, &open_step)) != AGENT_OK ||
        (rc = count_in_range(s, u, AG_STMT_CALL_LAST, low, high, &any, &last)) != AGENT_OK ||
        (rc = count_in_range(s, u, AG_STMT_JOURNAL_ANY, low << AG_JOURNAL_BITS,
                             high << AG_JOURNAL_BITS | AG_JOURNAL_LAST, &in_answer, &ignored)) != AGENT_OK ||
        (rc = ag_delete_range(s, u, AG_STMT_JOURNAL_DELETE_RANGE, low << AG_JOURNAL_BITS,
                              high << AG_JOURNAL_BITS | AG_JOURNAL_LAST)) != AGENT_OK)
        return rc;
    if (in_step) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_STEP_CUT);

        ag_query_int(&q, low);
        ag_query_int(&q, high);
        ag_query_word(&q, "failed");
        ag_query_word(&q, "interrupted: process died");
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if ((rc = count_in_range(s, u, AG_STMT_CALL_OPEN, low, high, &in_calls, &ignored)) != AGENT_OK ||
        (rc = write_cut_stage(s, u, run->id, (int)((in_step ? open_step : last) & AG_STEP_LAST),
                              in_answer  ? AG_STAGE_RESPOND
                              : in_step  ? AG_STAGE_INFER
                              : in_calls ? AG_STAGE_TOOL
                                         : AG_STAGE_PREPARE)) != AGENT_OK ||
        (rc = ag_delete_range(s, u, AG_STMT_CALL_ORPHANED, low, high)) != AGENT_OK ||
        (rc = ag_delete_range(s, u, AG_STMT_CALL_REOPENED, low, high)) != AGENT_OK)
        return rc;
    return count_in_range(s, u, AG_STMT_CALL_UNKNOWN, low, high, &any, out_unknown);
}

/* A queued run: begun for the first time, or again after a decision. */
static agent_status claim_queued(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_claim *op,
                                 const struct ag_run_row *run, int64_t owner_id)
{
    int64_t seq = run->input_seq;
    agent_status rc;

    op->out_fresh = seq == 0;
    if (op->out_fresh) {
        if ((rc = ag_session_last_seq(s, u, run->session_id, &seq)) != AGENT_OK ||
            (rc = begin_run(s, u, run->id, run->session_id, ++seq)) != AGENT_OK)
            return rc;
    }
    op->out_input_seq = seq;
    return write_claim(s, u, run, AG_RUN_RUNNING, owner_id, seq);
}

agent_status ag_apply_run_claim(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_claim *op)
{
    struct ag_run_row run;
    struct ahead ahead;
    int64_t owner_id = 0, unknown = 0;
    agent_status rc;

    op->out_claimed = op->out_fresh = false;
    op->out_blocked = AG_BLOCKED_NOT;
    op->out_blocked_by = 0;
    op->out_blocked_by_us = false;
    if ((rc = ag_run_row(s, u, op->run_id, &run)) != AGENT_OK)
        return rc;
    op->out_status = run.status;
    op->out_attempt = run.attempt;
    op->out_session_id = run.session_id;
    op->out_agent_id = run.agent_id;
    op->out_version_id = run.version_id;
    op->out_input_seq = run.input_seq;
    op->out_queued_at_ms = run.queued_at_ms;
    op->out_deadline_at_ms = run.deadline_at_ms;
    op->out_priority = run.priority;
    if (run.ended || run.status == AG_RUN_WAITING)
        return AGENT_OK;
    if ((run.status == AG_RUN_RUNNING || run.owner_id != atomic_load(&s->owners.id)) && !op->force &&
        run.owner_id != 0 && ag_owner_alive(s, run.owner_id)) {
        op->out_blocked = AG_BLOCKED_LIVE;
        op->out_blocked_by = run.id;
        op->out_blocked_by_us = run.owner_id == atomic_load(&s->owners.id);
        return AGENT_OK;
    }
    if (run.status == AG_RUN_QUEUED) {
        if ((rc = clear_ahead(s, u, run.session_id, run.id, &ahead)) != AGENT_OK)
            return rc;
        op->out_blocked = ahead.blocked;
        op->out_blocked_by = ahead.blocked_by;
        op->out_blocked_by_us = ahead.is_ours;
        if (ahead.blocked != AG_BLOCKED_NOT)
            return AGENT_OK;
    }
    if ((rc = ag_owner_need(s, u, &owner_id)) != AGENT_OK)
        return rc;
    if (run.status == AG_RUN_QUEUED)
        rc = claim_queued(s, u, op, &run, owner_id);
    else if ((rc = pick_up(s, u, &run, &unknown)) == AGENT_OK)
        rc = write_claim(s, u, &run, unknown > 0 ? AG_RUN_WAITING : AG_RUN_RUNNING, unknown > 0 ? 0 : owner_id,
                         run.input_seq);
    if (rc == AGENT_OK && unknown > 0) /* it holds its session up no more */
        rc = ag_session_ready(s, u, run.session_id, NULL);
    if (rc != AGENT_OK)
        return rc;
    op->out_attempt = run.attempt + 1;
    op->out_status = unknown > 0 ? AG_RUN_WAITING : AG_RUN_RUNNING;
    op->out_claimed = unknown == 0;
    return AGENT_OK;
}
