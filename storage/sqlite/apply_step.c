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

/* Written with a bare pointer into room that was made for the longest row: a run has a hundred of
 * these numbers. */
#define ROW_MOST_BYTES 480 /* 16 numbers of at most 20 digits, 3 words, what stands between */
#define SAMPLE_MOST_BYTES 48

static char *put_int(char *to, int64_t value)
{
    char digits[20];
    int n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    if (value < 0)
        *to++ = '-';
    do
        digits[n++] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

static char *put_text(char *to, const char *text)
{
    size_t n = strlen(text);

    memcpy(to, text, n);
    return to + n;
}

static char *put_known(char *to, int64_t value)
{
    *to++ = ',';
    return value == -1 ? put_text(to, "null") : put_int(to, value);
}

static char *put_word(char *to, const char *word)
{
    if (word == NULL)
        return put_text(to, ",null");
    to = put_text(put_text(to, ",\""), word);
    *to++ = '"';
    return to;
}

static char *put_row(char *to, const struct ag_stage_row *row)
{
    const int64_t before[] = {row->started_at_ms,  row->wall_us,         row->rss_before_bytes,
                              row->rss_peak_bytes, row->rss_after_bytes, row->heap_peak_bytes};
    const int64_t after[] = {row->child_rss_peak_bytes, row->commit_us, row->samples};

    *to++ = '[';
    to = put_word(put_int(to, row->step), ag_stage_name(row->stage));
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
        to = put_known(to, before[i]);
    if (row->heap_peak_bytes < 0) { /* -1 is a figure here: a byte less than before */
        to = put_text(to, ",null");
    } else {
        *to++ = ',';
        to = put_int(to, row->heap_net_bytes);
    }
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++)
        to = put_known(to, after[i]);
    to = put_word(to, row->samples < 0 ? NULL : row->shared ? "shared" : "exclusive");
    to = put_word(to, ag_peak_source_name((enum ag_peak_source)row->peak_source));
    to = put_known(to, row->heap_peak_bytes < 0 ? -1 : row->heap_includes);
    to = put_known(to, row->rss_before_bytes < 0 && row->rss_after_bytes < 0 ? -1 : row->shared_sample);
    if (row->has_smaps) {
        const int64_t smaps[] = {row->pss_kb * INT64_C(1024), row->anon_kb * INT64_C(1024), row->file_kb * INT64_C(1024),
                                 row->smaps_us};

        for (size_t i = 0; i < sizeof(smaps) / sizeof(smaps[0]); i++)
            to = put_known(to, smaps[i]);
    }
    *to++ = ']';
    return to;
}

agent_status ag_stage_write(struct ag_sq_store *s, ag_unit *u, int64_t run_id, const struct ag_stage_row *rows,
                            size_t count)
{
    AG_AUTO(ag_buf) json = AG_BUF_INIT(16 * 1024 * 1024);
    int64_t low = run_id << AG_STEP_BITS;
    char *begin, *to;

    if (count == 0)
        return AGENT_OK;
    if ((begin = to = ag_buf_reserve(&json, count * ROW_MOST_BYTES + 2)) == NULL)
        return ag_buf_status(&json, "stages", &u->error);
    for (size_t i = 0; i < count; i++) {
        *to++ = i == 0 ? '[' : ',';
        to = put_row(to, &rows[i]);
    }
    *to++ = ']';
    {
        int number = ag_known_next_stage(s, run_id);
        AG_AUTO(ag_query) q = ag_query(&s->a, number != 0 ? AG_STMT_STAGE_INSERT : AG_STMT_STAGE_APPEND);

        ag_query_int(&q, low | number);
        if (number == 0)
            ag_query_int(&q, low | AG_STEP_LAST);
        ag_query_str(&q, (struct ag_str){begin, (size_t)(to - begin)});
        return ag_query_run(&q, &u->error);
    }
}

static agent_status write_samples(struct ag_sq_store *s, ag_unit *u, const struct ag_op_stages *op)
{
    AG_AUTO(ag_buf) json = AG_BUF_INIT(16 * 1024 * 1024);
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_SAMPLE_APPEND);
    int64_t low = op->run_id << AG_STEP_BITS;
    char *begin, *to;

    if ((begin = to = ag_buf_reserve(&json, op->sample_count * SAMPLE_MOST_BYTES + 2)) == NULL)
        return ag_buf_status(&json, "samples", &u->error);
    for (size_t i = 0; i < op->sample_count; i++) {
        *to++ = i == 0 ? '[' : ',';
        *to++ = '[';
        to = put_int(to, op->samples[i].at_ms - op->samples[0].at_ms);
        *to++ = ',';
        to = put_int(to, op->samples[i].rss_bytes / 1024); /* whole pages: nothing is lost */
        *to++ = ']';
    }
    *to++ = ']';
    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_STEP_LAST);
    ag_query_int(&q, op->samples[0].at_ms);
    ag_query_str(&q, (struct ag_str){begin, (size_t)(to - begin)});
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_stages(struct ag_sq_store *s, ag_unit *u, struct ag_op_stages *op)
{
    agent_status rc = ag_stage_write(s, u, op->run_id, op->rows, op->count);

    return rc != AGENT_OK || op->sample_count == 0 ? rc : write_samples(s, u, op);
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
