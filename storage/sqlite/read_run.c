/* Reading a run as a resume needs it, and the cancellations asked for. */
#include "storage/sqlite/impl.h"

static struct ag_str keep(ag_arena *a, const ag_query *q, int i, bool *ok)
{
    struct ag_str s = ag_col_str(q, i), copy = ag_arena_str(a, s);

    if (s.p != NULL && copy.p == NULL)
        *ok = false;
    return copy;
}

static agent_status read_row(struct ag_db *db, int64_t run_id, ag_arena *a, struct ag_run_rec *rec, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_RUN_FULL);
    int status;
    bool row, ok = true;
    agent_status rc;

    ag_query_int(&q, run_id);
    if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
        return rc;
    if (!row) {
        (void)ag_fail(err, AGENT_ENOTFOUND, 0, "run %lld", (long long)run_id);
        ag_hint(err, "see which there are: agentctl list runs");
        return AGENT_ENOTFOUND;
    }
    if ((status = ag_run_status_parse(ag_col_str(&q, 5))) < 0)
        return ag_fail(err, AGENT_ESTORAGE, 0, "run %lld has a status that is none", (long long)run_id);
    *rec = (struct ag_run_rec){
        .run_id = run_id,
        .session_id = ag_col_int(&q, 0),
        .agent_id = ag_col_int(&q, 1),
        .version_id = ag_col_int(&q, 2),
        .input_seq = ag_col_int(&q, 3),
        .output_seq = ag_col_int(&q, 4),
        .status = (enum ag_run_status)status,
        .attempt = (int)ag_col_int(&q, 6),
        .priority = (int)ag_col_int(&q, 7),
        .queued_at_ms = ag_col_int(&q, 8),
        .started_at_ms = ag_col_int(&q, 9),
        .deadline_at_ms = ag_col_int(&q, 10),
        .input = keep(a, &q, 11, &ok),
        .options = keep(a, &q, 12, &ok),
        .output = keep(a, &q, 13, &ok),
        .input_tokens = ag_col_known(&q, 14),
        .output_tokens = ag_col_known(&q, 15),
        .error_status = (int)ag_col_int(&q, 16),
        .error = keep(a, &q, 17, &ok),
        .queue_us = ag_col_known(&q, 18),
        .wall_us = ag_col_known(&q, 19),
        .cache_hit = ag_col_int(&q, 20) == 1,
    };
    return ok ? AGENT_OK : ag_fail(err, AGENT_ENOMEM, 0, "read run %lld", (long long)run_id);
}

static agent_status read_ints(struct ag_db *db, enum ag_stmt stmt, int64_t low, int64_t high, int64_t *out,
                              agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, stmt);
    bool row;
    agent_status rc;

    ag_query_int(&q, low);
    ag_query_int(&q, high);
    if ((rc = ag_query_row(&q, &row, err)) == AGENT_OK)
        *out = ag_col_int(&q, 0);
    return rc;
}

/* While a run is open its tokens stand in its steps; the row has them from its end on. */
static agent_status read_tokens(struct ag_db *db, struct ag_run_rec *rec, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_STEP_TOKENS);
    bool row;
    agent_status rc;

    ag_query_int(&q, rec->run_id << AG_STEP_BITS);
    ag_query_int(&q, rec->run_id << AG_STEP_BITS | AG_STEP_LAST);
    if ((rc = ag_query_row(&q, &row, err)) == AGENT_OK) {
        rec->input_tokens = ag_col_known(&q, 0);
        rec->output_tokens = ag_col_known(&q, 1);
    }
    return rc;
}

static agent_status read_calls(struct ag_db *db, ag_arena *a, struct ag_run_rec *rec, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_CALL_OF_STEP);
    int64_t low = rec->run_id << AG_STEP_BITS;
    size_t room = 0;
    bool row, ok = true;
    agent_status rc;

    ag_query_int(&q, low);
    ag_query_int(&q, low | AG_STEP_LAST);
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row) {
        int effect = ag_effect_parse(ag_col_str(&q, 7)), status = ag_call_status_parse(ag_col_str(&q, 8));

        if (effect < 0 || status < 0)
            return ag_fail(err, AGENT_ESTORAGE, 0, "run %lld has a call whose effect or status is none",
                           (long long)rec->run_id);
        if (rec->call_count == room) {
            size_t wider = room == 0 ? 8 : room * 2;
            struct ag_call_rec *at = ag_arena_alloc(a, wider * sizeof(*at));

            if (at == NULL)
                return ag_fail(err, AGENT_ENOMEM, 0, "read run %lld", (long long)rec->run_id);
            if (rec->call_count > 0)
                memcpy(at, rec->calls, rec->call_count * sizeof(*at));
            rec->calls = at;
            room = wider;
        }
        rec->calls[rec->call_count++] = (struct ag_call_rec){
            .number = (int)(ag_col_int(&q, 0) & AG_STEP_LAST),
            .model_step = (int)ag_col_int(&q, 1),
            .call_id = keep(a, &q, 2, &ok),
            .tool = keep(a, &q, 3, &ok),
            .effect_id = keep(a, &q, 4, &ok),
            .arguments = keep(a, &q, 5, &ok),
            .result = keep(a, &q, 6, &ok),
            .effect = (enum agent_effect)effect,
            .status = (enum ag_call_status)status,
        };
    }
    if (rc == AGENT_OK && !ok)
        return ag_fail(err, AGENT_ENOMEM, 0, "read run %lld", (long long)rec->run_id);
    return rc;
}

agent_status ag_sq_run(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out, agent_error *err)
{
    struct ag_db *db = ag_reader_db(r);
    struct ag_run_rec rec = {.run_id = 0};
    int64_t low = run_id << AG_STEP_BITS, last_step = 0, last_message = 0;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    { /* five statements, one moment */
        AG_AUTO(ag_query) begin = ag_query(db, AG_STMT_BEGIN_READ);

        if ((rc = ag_query_run(&begin, err)) != AGENT_OK)
            return rc;
    }
    if ((rc = read_row(db, run_id, a, &rec, err)) == AGENT_OK &&
        (rc = read_ints(db, AG_STMT_CALL_LAST, low, low | AG_STEP_LAST, &last_step, err)) == AGENT_OK &&
        (rc = read_ints(db, AG_STMT_SESSION_LAST_SEQ, rec.session_id << AG_SEQ_BITS,
                        rec.session_id << AG_SEQ_BITS | AG_SEQ_MAX, &last_message, err)) == AGENT_OK &&
        (rc = read_calls(db, a, &rec, err)) == AGENT_OK && rec.status < AG_RUN_SUCCEEDED)
        rc = read_tokens(db, &rec, err);
    {
        AG_AUTO(ag_query) end = ag_query(db, AG_STMT_COMMIT);

        (void)ag_query_run(&end, NULL);
    }
    if (rc != AGENT_OK)
        return rc;
    rec.last_step = (int)(last_step & AG_STEP_LAST);
    rec.last_seq = last_message & AG_SEQ_MAX;
    *out = rec;
    return AGENT_OK;
}

agent_status ag_sq_cancels(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx, agent_error *err)
{
    int64_t owner_id = atomic_load(&ag_sq(r->store)->owners.id);
    bool row;
    agent_status rc;

    if (owner_id == 0)
        return AGENT_OK; /* drives no run yet */
    AG_AUTO(ag_query) q = ag_query(ag_reader_db(r), AG_STMT_RUN_CANCELS);

    ag_query_int(&q, owner_id);
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row)
        fn(ctx, ag_col_int(&q, 0));
    return rc;
}
