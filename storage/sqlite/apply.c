/*
 * A unit inside its transaction: the fence first, then its operations in order. The first failure
 * ends it; the writer undoes what it wrote. What several operations share stands here too.
 */
#include "storage/sqlite/impl.h"

/* The run is running under us with this attempt, or its unit writes nothing: promise 5. */
static agent_status check_fence(struct ag_sq_store *s, ag_unit *u)
{
    bool row;
    agent_status rc;

    if (ag_known_held(s, u->fence_run_id, u->fence_attempt))
        return AGENT_OK;
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_FENCE);

    ag_query_int(&q, u->fence_run_id);
    ag_query_int(&q, atomic_load(&s->owners.id));
    ag_query_int(&q, u->fence_attempt);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
        return rc;
    if (row) {
        ag_known_hold(s, u->fence_run_id, u->fence_attempt, -1);
        return AGENT_OK;
    }
    return ag_fail(&u->error, AGENT_ELOST, 0, "run %lld, attempt %d: not ours any more", (long long)u->fence_run_id,
                   u->fence_attempt);
}

static agent_status apply_op(struct ag_sq_store *s, ag_unit *u, struct ag_op *op)
{
    switch (op->kind) {
    case AG_OP_AGENT_PUT: return ag_apply_agent_put(s, u, &op->agent_put);
    case AG_OP_AGENT_RM: return ag_apply_agent_rm(s, u, &op->name);
    case AG_OP_SESSION_RM: return ag_apply_session_rm(s, u, &op->session_rm);
    case AG_OP_MEMORY_PUT: return ag_apply_memory_put(s, u, &op->memory_put);
    case AG_OP_MEMORY_RM: return ag_apply_memory_rm(s, u, &op->memory_rm);
    case AG_OP_TOOL_PUT: return ag_apply_tool_put(s, u, &op->tool_put);
    case AG_OP_TOOL_RM: return ag_apply_tool_rm(s, u, &op->name);
    case AG_OP_RUN_CREATE: return ag_apply_run_create(s, u, &op->run_create);
    case AG_OP_RUN_CLAIM: return ag_apply_run_claim(s, u, &op->run_claim);
    case AG_OP_RUN_CANCEL: return ag_apply_run_cancel(s, u, &op->run_cancel);
    case AG_OP_RUN_DECIDE: return ag_apply_run_decide(s, u, &op->run_decide);
    case AG_OP_STEP_BEGIN: return ag_apply_step_begin(s, u, &op->step_begin);
    case AG_OP_STEP_END: return ag_apply_step_end(s, u, &op->step_end);
    case AG_OP_MESSAGE: return ag_apply_message(s, u, &op->message);
    case AG_OP_CALL_INTENT: return ag_apply_call_intent(s, u, &op->call_intent);
    case AG_OP_CALL_END: return ag_apply_call_end(s, u, &op->call_end);
    case AG_OP_STAGES: return ag_apply_stages(s, u, &op->stages);
    case AG_OP_JOURNAL: return ag_apply_journal(s, u, &op->journal);
    case AG_OP_RUN_FINISH: return ag_apply_run_finish(s, u, &op->run_finish);
    case AG_OP_CLAIM_NEXT: return ag_apply_claim_next(s, u, &op->claim_next);
    case AG_OP_CACHE_PUT: return ag_apply_cache_put(s, u, &op->cache_put);
    case AG_OP_CACHE_HITS: return ag_apply_cache_hits(s, u, &op->cache_hits);
    case AG_OP_CACHE_RM: return ag_apply_cache_rm(s, u, &op->cache_rm);
    case AG_OP_CACHE_LEASE: return ag_apply_cache_lease(s, u, &op->cache_lease);
    case AG_OP_CACHE_RESIZE: return ag_apply_cache_resize(s, u, &op->cache_resize);
    case AG_OP_LIVE: return ag_apply_live(s, u, &op->live);
    case AG_OP_NOTICE: return ag_apply_notice(s, u, &op->notice);
    case AG_OP_SETTING: return ag_apply_setting(s, u, &op->setting);
    case AG_OP_LIMIT: break;
    }
    return ag_fail(&u->error, AGENT_EINVAL, 0, "operation %d is none", (int)op->kind);
}

/* AGENT_PUT, AGENT_RM, SESSION_RM: what is known of agents, and of the runs that go with them, holds no
 * more; ids that were given stay given. */
static agent_status change_agents(struct ag_sq_store *s, ag_unit *u, struct ag_op *op)
{
    agent_status rc = ag_known_write_counts(s, &u->error);

    if (rc == AGENT_OK)
        rc = apply_op(s, u, op);
    ag_known_forget_rows(s);
    return rc;
}

agent_status ag_apply_unit(struct ag_sq_store *s, ag_unit *u)
{
    agent_status rc = AGENT_OK;

    if (u->fence_run_id != 0 && (rc = check_fence(s, u)) != AGENT_OK)
        return rc;
    for (struct ag_op *op = u->first; op != NULL && rc == AGENT_OK; op = op->next)
        rc = op->kind <= AG_OP_SESSION_RM ? change_agents(s, u, op) : apply_op(s, u, op);
    return rc;
}

agent_status ag_delete_range(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t low, int64_t high)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);

    ag_query_int(&q, low);
    ag_query_int(&q, high);
    return ag_query_run(&q, &u->error);
}

agent_status ag_session_last_seq(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t *out)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_SESSION_LAST_SEQ);
    bool row;
    agent_status rc;

    ag_query_int(&q, session_id << AG_SEQ_BITS);
    ag_query_int(&q, session_id << AG_SEQ_BITS | AG_SEQ_MAX);
    if ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK)
        *out = ag_col_int(&q, 0) & AG_SEQ_MAX; /* NULL, no message: 0 */
    return rc;
}

agent_status ag_agent_id(struct ag_sq_store *s, ag_unit *u, struct ag_str name, int64_t *out_id,
                         int64_t *out_version_id)
{
    bool row;
    agent_status rc;

    if (ag_known_agent(s, name, out_id, out_version_id))
        return AGENT_OK;
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_FIND);

    ag_query_str(&q, name);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
        return rc;
    if (!row) {
        (void)ag_fail(&u->error, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "'", AG_STR_ARG(name));
        ag_hint(&u->error, "see which there are: agentctl list agents");
        return AGENT_ENOTFOUND;
    }
    *out_id = ag_col_int(&q, 0);
    *out_version_id = ag_col_int(&q, 1);
    ag_known_agent_put(s, name, *out_id, *out_version_id);
    return AGENT_OK;
}
