/*
 * What a run writes while it is driven: steps, messages, tool calls, stages, journal. All of it is
 * fenced by the unit; ids are made of the run's (or the session's) id and a number, so nothing is
 * looked up to write a row.
 */
#include "engine/base/buf.h"
#include "storage/sqlite/impl.h"

static int64_t step_id(int64_t run_id, int number)
{
    return run_id << AG_STEP_BITS | number;
}

/* A number that is not in its range would write into another run's rows. */
static agent_status check_number(ag_unit *u, const char *what, int64_t number, int64_t most)
{
    if (number >= 1 && number <= most)
        return AGENT_OK;
    return ag_fail(&u->error, AGENT_EINVAL, 0, "%s %lld is not 1 to %lld", what, (long long)number, (long long)most);
}

agent_status ag_apply_step_begin(struct ag_sq_store *s, ag_unit *u, struct ag_op_step_begin *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_STEP_BEGIN);
    agent_status rc = check_number(u, "step", op->number, AG_STEP_LAST);

    if (rc != AGENT_OK)
        return rc;
    ag_query_int(&q, step_id(op->run_id, op->number));
    ag_query_int(&q, op->attempt);
    ag_query_int(&q, op->started_at_ms);
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_step_end(struct ag_sq_store *s, ag_unit *u, struct ag_op_step_end *op)
{
    int64_t id = step_id(op->run_id, op->number);
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_STEP_END);

        ag_query_int(&q, id);
        ag_query_word(&q, ag_step_status_name(op->status));
        ag_query_known(&q, op->wall_us);
        ag_query_known(&q, op->input_tokens);
        ag_query_known(&q, op->output_tokens);
        ag_query_known(&q, op->cached_tokens);
        ag_query_str(&q, op->error);
        ag_query_int(&q, op->cached);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (sqlite3_changes64(s->a.db) == 0)
        return ag_fail(&u->error, AGENT_EINVAL, 0, "run %lld has no running step %d", (long long)op->run_id, op->number);
    if (!s->journalled) /* whoever wrote one before us, the claim dropped it */
        return AGENT_OK;
    return ag_delete_range(s, u, AG_STMT_JOURNAL_DELETE_RANGE, id << AG_JOURNAL_BITS,
                           id << AG_JOURNAL_BITS | AG_JOURNAL_LAST);
}

agent_status ag_message_insert(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t seq, int64_t run_id,
                               enum ag_role role, struct ag_str body, struct ag_str calls, struct ag_str extra,
                               int64_t call_row)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MESSAGE_INSERT);
    agent_status rc = check_number(u, "message number", seq, AG_SEQ_MAX);

    if (rc != AGENT_OK)
        return rc;
    ag_query_int(&q, session_id << AG_SEQ_BITS | seq);
    ag_query_int(&q, run_id);
    ag_query_word(&q, ag_role_name(role));
    ag_query_str(&q, body);
    ag_query_str(&q, calls);
    ag_query_str(&q, extra);
    ag_query_id(&q, call_row);
    ag_query_int(&q, u->now_ms);
    return ag_query_run(&q, &u->error);
}

/* A tool's text is written once, with its call; the message only points there. */
static agent_status set_result(struct ag_sq_store *s, ag_unit *u, int64_t call_row, struct ag_str text)
{
    struct ag_str result;
    int64_t text_id;
    agent_status rc = ag_text_put(s, text, &result, &text_id, &u->error);

    if (rc != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_SET_RESULT);

        ag_query_int(&q, call_row);
        ag_query_str(&q, result);
        ag_query_id(&q, text_id);
        return ag_query_run(&q, &u->error);
    }
}

agent_status ag_apply_message(struct ag_sq_store *s, ag_unit *u, struct ag_op_message *op)
{
    int64_t call_row = 0;
    struct ag_str body = op->text;
    agent_status rc;

    if (op->role == AG_ROLE_TOOL && op->call_number > 0) {
        call_row = step_id(op->run_id, op->call_number);
        body = AG_STR_NONE;
        if ((rc = set_result(s, u, call_row, op->text)) != AGENT_OK)
            return rc;
    } else if (body.p == NULL) {
        body = AG_STR(""); /* NULL would mean: it stands elsewhere */
    }
    return ag_message_insert(s, u, op->session_id, op->seq, op->run_id, op->role, body, op->calls, op->extra, call_row);
}

agent_status ag_apply_call_intent(struct ag_sq_store *s, ag_unit *u, struct ag_op_call_intent *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_INTENT);
    agent_status rc = check_number(u, "step", op->number, AG_STEP_LAST);

    if (rc != AGENT_OK)
        return rc;
    ag_query_int(&q, step_id(op->run_id, op->number));
    ag_query_int(&q, op->model_step);
    ag_query_str(&q, op->call_id);
    ag_query_str(&q, op->tool);
    ag_query_word(&q, ag_effect_name(op->effect));
    ag_query_str(&q, op->effect_id);
    ag_query_str(&q, op->arguments);
    ag_query_int(&q, op->started_at_ms);
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_call_end(struct ag_sq_store *s, ag_unit *u, struct ag_op_call_end *op)
{
    struct ag_str result;
    int64_t text_id;
    agent_status rc = ag_text_put(s, op->result, &result, &text_id, &u->error);

    if (rc != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CALL_END);

        ag_query_int(&q, step_id(op->run_id, op->number));
        ag_query_word(&q, ag_call_status_name(op->status));
        ag_query_str(&q, result);
        ag_query_id(&q, text_id);
        ag_query_known(&q, op->wall_us);
        ag_query_known(&q, op->child_rss_peak_bytes);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (sqlite3_changes64(s->a.db) == 0)
        return ag_fail(&u->error, AGENT_EINVAL, 0, "run %lld has no call %d", (long long)op->run_id, op->number);
    return AGENT_OK;
}

/* --- stages: one row of JSON per commit; the places are those of v_stage_memory -------------------- */

static void put_known(ag_buf *b, int64_t value)
{
    ag_buf_char(b, ',');
    if (value == -1)
        ag_buf_append(b, "null", 4);
    else
        ag_buf_int(b, value);
}

static void put_word(ag_buf *b, const char *word)
{
    if (word == NULL) {
        ag_buf_append(b, ",null", 5);
        return;
    }
    ag_buf_append(b, ",\"", 2);
    ag_buf_z(b, word);
    ag_buf_char(b, '"');
}

static void put_row(ag_buf *b, const struct ag_stage_row *row)
{
    ag_buf_char(b, '[');
    ag_buf_int(b, row->step);
    put_word(b, ag_stage_name(row->stage));
    put_known(b, row->started_at_ms);
    put_known(b, row->wall_us);
    put_known(b, row->rss_before_bytes);
    put_known(b, row->rss_peak_bytes);
    put_known(b, row->rss_after_bytes);
    put_known(b, row->heap_peak_bytes);
    put_known(b, row->heap_net_bytes);
    put_known(b, row->child_rss_peak_bytes);
    put_known(b, row->commit_us);
    put_known(b, row->samples);
    put_word(b, row->shared ? "shared" : "exclusive");
    put_word(b, ag_peak_source_name((enum ag_peak_source)row->peak_source));
    ag_buf_char(b, ']');
}

agent_status ag_stage_write(struct ag_sq_store *s, ag_unit *u, int64_t run_id, const struct ag_stage_row *rows,
                            size_t count)
{
    AG_AUTO(ag_buf) json = AG_BUF_INIT(16 * 1024 * 1024);
    int64_t low = run_id << AG_STEP_BITS;
    agent_status rc;

    if (count == 0)
        return AGENT_OK;
    (void)ag_buf_reserve(&json, 32 + count * 128);
    for (size_t i = 0; i < count; i++) {
        ag_buf_char(&json, i == 0 ? '[' : ',');
        put_row(&json, &rows[i]);
    }
    ag_buf_char(&json, ']');
    if ((rc = ag_buf_status(&json, "stages", &u->error)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_STAGE_APPEND);

        ag_query_int(&q, low);
        ag_query_int(&q, low | AG_STEP_LAST);
        ag_query_str(&q, ag_buf_view(&json));
        return ag_query_run(&q, &u->error);
    }
}

agent_status ag_apply_stages(struct ag_sq_store *s, ag_unit *u, struct ag_op_stages *op)
{
    return ag_stage_write(s, u, op->run_id, op->rows, op->count);
}

agent_status ag_apply_journal(struct ag_sq_store *s, ag_unit *u, struct ag_op_journal *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_JOURNAL_APPEND);
    int64_t low = step_id(op->run_id, op->number) << AG_JOURNAL_BITS;

    s->journalled = true;
    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_JOURNAL_LAST);
    ag_query_str(&q, op->text.p == NULL ? AG_STR("") : op->text);
    return ag_query_run(&q, &u->error);
}
