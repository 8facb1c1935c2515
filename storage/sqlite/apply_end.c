/*
 * A run ends, or is decided about. However it ends, no conversation is left that a model would
 * refuse (promise 11): every call an assistant message asks for has its result and its message.
 *
 *     assistant: calls a, b, c      a succeeded, message there        nothing to do
 *                                   b was begun, nobody knows         unknown (effect) or cancelled, message
 *                                   c was asked for, never begun      cancelled, message
 */
#include <stdio.h>

#include "engine/base/utf8.h"
#include "storage/sqlite/impl.h"

#define DECISION_BYTES 400 /* of a reason that are kept */

/* --- answering what is open ------------------------------------------------------------------------ */

static agent_status close_steps(struct ag_sq_store *s, ag_unit *u, int64_t low, enum ag_step_status status,
                                struct ag_str why)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_STEP_CUT);

    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_STEP_LAST);
    ag_query_word(&q, ag_step_status_name(status));
    ag_query_str(&q, why);
    return ag_query_run(&q, &u->error);
}

static agent_status close_calls(struct ag_sq_store *s, ag_unit *u, int64_t low, struct ag_str why)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_CLOSE);

    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_STEP_LAST);
    ag_query_str(&q, why);
    return ag_query_run(&q, &u->error);
}

static agent_status tool_message(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t seq, int64_t call_row)
{
    return ag_message_insert(s, u, session_id, seq, call_row >> AG_STEP_BITS, AG_ROLE_TOOL, AG_STR_NONE, AG_STR_NONE,
                             AG_STR_NONE, call_row);
}

/* Calls with a row and no message. */
static agent_status answer_begun(struct ag_sq_store *s, ag_unit *u, int64_t low, int64_t session_id, int64_t input_seq,
                                 int64_t *seq)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_UNANSWERED);
    bool row;
    agent_status rc;

    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_STEP_LAST);
    ag_query_int(&q, session_id << AG_SEQ_BITS | input_seq);
    ag_query_int(&q, session_id << AG_SEQ_BITS | AG_SEQ_MAX);
    while ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row)
        if ((rc = tool_message(s, u, session_id, ++*seq, ag_col_int(&q, 0))) != AGENT_OK)
            break;
    return rc;
}

static agent_status add_never_begun(struct ag_sq_store *s, ag_unit *u, int64_t id, int model_step, struct ag_str call,
                                    struct ag_str why)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_NEVER_BEGUN);

    ag_query_int(&q, id);
    ag_query_int(&q, model_step);
    ag_query_str(&q, call);
    ag_query_str(&q, why);
    ag_query_int(&q, u->now_ms);
    return ag_query_run(&q, &u->error);
}

/* Calls that stand in the newest assistant message only. */
static agent_status answer_never_begun(struct ag_sq_store *s, ag_unit *u, int64_t low, int64_t session_id,
                                       int64_t input_seq, struct ag_str why, int64_t *seq)
{
    int64_t last = low;
    bool row;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_LAST);

        ag_query_int(&q, low);
        ag_query_int(&q, low | AG_STEP_LAST);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        last = ag_col_int(&q, 0);
    }
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MESSAGE_NEWEST_CALLS);
    int model_step = (int)(last & AG_STEP_LAST);

    ag_query_int(&q, session_id << AG_SEQ_BITS | input_seq);
    ag_query_int(&q, session_id << AG_SEQ_BITS | AG_SEQ_MAX);
    ag_query_int(&q, low >> AG_STEP_BITS);
    while ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row) {
        if ((++last & AG_STEP_LAST) == 0)
            return ag_fail(&u->error, AGENT_ETOOBIG, 0, "run %lld has too many steps",
                           (long long)(low >> AG_STEP_BITS));
        if ((rc = add_never_begun(s, u, last, model_step, ag_col_str(&q, 0), why)) != AGENT_OK ||
            (rc = tool_message(s, u, session_id, ++*seq, last)) != AGENT_OK)
            break;
    }
    return rc;
}

agent_status ag_run_answer(struct ag_sq_store *s, ag_unit *u, int64_t run_id, int64_t session_id, int64_t input_seq,
                           enum ag_step_status steps, struct ag_str why)
{
    int64_t low = run_id << AG_STEP_BITS, high = low | AG_STEP_LAST, seq = 0;
    agent_status rc;

    if (input_seq == 0)
        return AGENT_OK; /* never begun: nothing is open */
    if ((rc = ag_session_last_seq(s, u, session_id, &seq)) != AGENT_OK ||
        (rc = ag_delete_range(s, u, AG_STMT_JOURNAL_DELETE_RANGE, low << AG_JOURNAL_BITS,
                              high << AG_JOURNAL_BITS | AG_JOURNAL_LAST)) != AGENT_OK ||
        (rc = close_steps(s, u, low, steps, why)) != AGENT_OK || (rc = close_calls(s, u, low, why)) != AGENT_OK ||
        (rc = answer_begun(s, u, low, session_id, input_seq, &seq)) != AGENT_OK)
        return rc;
    return answer_never_begun(s, u, low, session_id, input_seq, why, &seq);
}

/* --- ends -------------------------------------------------------------------------------------------- */

/* newest_seq: of the session's messages; 0: not known. */
static agent_status count_turn(struct ag_sq_store *s, ag_unit *u, int64_t session_id, bool turn, int64_t input_tokens,
                               int64_t output_tokens, int64_t at_ms, int64_t newest_seq)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, newest_seq != 0 ? AG_STMT_SESSION_FINISH_AT : AG_STMT_SESSION_FINISH);

    ag_query_int(&q, session_id);
    ag_query_int(&q, turn);
    ag_query_int(&q, input_tokens > 0 ? input_tokens : 0);
    ag_query_int(&q, output_tokens > 0 ? output_tokens : 0);
    ag_query_int(&q, at_ms);
    ag_query_int(&q, newest_seq != 0 ? newest_seq : session_id << AG_SEQ_BITS);
    return ag_query_run(&q, &u->error);
}

agent_status ag_run_close(struct ag_sq_store *s, ag_unit *u, const struct ag_run_row *run, enum ag_run_status status,
                          agent_status error_status, const char *why)
{
    int64_t low = run->id << AG_STEP_BITS, input_tokens, output_tokens;
    bool row;
    agent_status rc;

    ag_known_let_go(s, run->id);
    if ((rc = ag_run_answer(s, u, run->id, run->session_id, run->input_seq,
                            status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED, ag_str_of(why))) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_CLOSE);

        ag_query_int(&q, run->id);
        ag_query_word(&q, ag_run_status_name(status));
        ag_query_id(&q, error_status);
        ag_query_word(&q, why);
        ag_query_int(&q, u->now_ms);
        ag_query_int(&q, low);
        ag_query_int(&q, low | AG_STEP_LAST);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        input_tokens = ag_col_int(&q, 0);
        output_tokens = ag_col_int(&q, 1);
    }
    if ((rc = count_turn(s, u, run->session_id, run->input_seq != 0, input_tokens, output_tokens, u->now_ms,
                         0)) != AGENT_OK)
        return rc;
    return ag_session_ready(s, u, run->session_id, NULL);
}

agent_status ag_apply_run_finish(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_finish *op)
{
    bool ends = op->status != AG_RUN_WAITING;
    agent_status rc;

    ag_known_let_go(s, op->run_id);

    if (ends && op->status != AG_RUN_SUCCEEDED) {
        struct ag_run_row run;

        if ((rc = ag_run_row(s, u, op->run_id, &run)) != AGENT_OK ||
            (rc = ag_run_answer(s, u, run.id, run.session_id, run.input_seq,
                                op->status == AG_RUN_CANCELLED ? AG_STEP_CANCELLED : AG_STEP_FAILED,
                                op->error.p != NULL ? op->error : AG_STR("the run was cancelled"))) != AGENT_OK)
            return rc;
    }
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_FINISH);

        ag_query_int(&q, op->run_id);
        ag_query_word(&q, ag_run_status_name(op->status));
        ag_query_id(&q, op->error_status);
        ag_query_str(&q, op->error);
        ag_query_str(&q, op->hint);
        ag_query_id(&q, op->output_seq);
        ag_query_id(&q, ends ? op->ended_at_ms : 0);
        ag_query_known(&q, op->queue_us);
        ag_query_known(&q, op->wall_us);
        ag_query_known(&q, op->rss_peak_bytes);
        ag_query_known(&q, op->input_tokens);
        ag_query_known(&q, op->output_tokens);
        ag_query_int(&q, op->cache_hit);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (sqlite3_changes64(s->a.db) == 0)
        return ag_fail(&u->error, AGENT_ELOST, 0, "run %lld has ended already", (long long)op->run_id);
    if ((rc = count_turn(s, u, op->session_id, ends, ends ? op->input_tokens : 0, ends ? op->output_tokens : 0,
                         op->ended_at_ms != 0 ? op->ended_at_ms : u->now_ms,
                         op->status == AG_RUN_SUCCEEDED ? op->output_seq : 0)) != AGENT_OK)
        return rc;
    return ag_session_ready(s, u, op->session_id, &op->out_next_run_id);
}

/* --- cancel, decide ------------------------------------------------------------------------------------ */

static agent_status run_with_id(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t id)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);

    ag_query_int(&q, id);
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_run_cancel(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_cancel *op)
{
    struct ag_run_row run;
    agent_status rc;

    op->out_ended = false;
    op->out_next_run_id = 0;
    if ((rc = ag_run_row(s, u, op->run_id, &run)) != AGENT_OK)
        return rc;
    if (run.ended)
        return ag_fail(&u->error, AGENT_EINVAL, 0, "run %lld has ended already: %s", (long long)run.id,
                       ag_run_status_name(run.status));
    if (run.status == AG_RUN_RUNNING && ag_owner_alive(s, run.owner_id))
        return run_with_id(s, u, AG_STMT_RUN_ASK_CANCEL, run.id);
    op->out_ended = true;
    if ((rc = ag_run_close(s, u, &run, AG_RUN_CANCELLED, AGENT_ECANCELLED, "cancelled")) != AGENT_OK)
        return rc;
    return ag_session_ready(s, u, run.session_id, &op->out_next_run_id);
}

agent_status ag_apply_run_decide(struct ag_sq_store *s, ag_unit *u, struct ag_op_run_decide *op)
{
    int64_t low = op->run_id << AG_STEP_BITS;
    char result[1024], decision[512];
    struct ag_run_row run;
    bool row;
    agent_status rc;

    if ((rc = ag_run_row(s, u, op->run_id, &run)) != AGENT_OK)
        return rc;
    if (run.status != AG_RUN_WAITING) {
        (void)ag_fail(&u->error, AGENT_EINVAL, 0, "run %lld does not wait for a decision: it is %s",
                      (long long)op->run_id, ag_run_status_name(run.status));
        ag_hint(&u->error, "see which do: agentctl list runs --status waiting");
        return AGENT_EINVAL;
    }
    (void)snprintf(decision, sizeof(decision), "%s%s" AG_STR_FMT, op->approve ? "approved" : "denied",
                   op->reason.n > 0 ? ": " : "", (int)ag_utf8_cut(op->reason, DECISION_BYTES),
                   op->reason.p == NULL ? "" : op->reason.p);
    (void)snprintf(result, sizeof(result), "%s: the outcome of this call is unknown: it was begun before a crash and "
                                           "may have happened; it will not be called again", decision);
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_DECIDE);

        ag_query_int(&q, low);
        ag_query_int(&q, low | AG_STEP_LAST);
        ag_query_str(&q, op->call_id);
        ag_query_word(&q, op->approve ? "intended" : "denied");
        ag_query_word(&q, op->approve ? NULL : result);
        ag_query_word(&q, decision);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (op->call_id.p != NULL && sqlite3_changes64(s->a.db) == 0)
        return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "run %lld has no call '" AG_STR_FMT "' that waits",
                       (long long)op->run_id, AG_STR_ARG(op->call_id));
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_UNKNOWN);

        ag_query_int(&q, low);
        ag_query_int(&q, low | AG_STEP_LAST);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        op->out_open = (int)ag_col_int(&q, 0);
    }
    if (op->out_open > 0)
        return AGENT_OK;
    s->known.queue = AG_QUEUE_SOME;
    rc = run_with_id(s, u, AG_STMT_RUN_REQUEUE, op->run_id);
    return rc == AGENT_OK ? ag_session_ready(s, u, run.session_id, NULL) : rc;
}
