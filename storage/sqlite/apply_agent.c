/*
 * Agents and sessions: an agent is a name with immutable versions; removing either takes everything
 * with it that nobody else uses.
 *
 * Ids of removed runs and sessions are not given again (meta: run_floor, session_floor), for they
 * live on outside: in a tool's effect_id, in a script.
 */
#include "storage/sqlite/impl.h"

/* --- put ----------------------------------------------------------------------------------------- */

static bool same_spec(const ag_query *q, const struct ag_agent_spec *spec)
{
    const struct ag_str want[] = {spec->provider, spec->model, spec->instructions, spec->tools,
                                  spec->options,  spec->base_url, spec->key_env};

    for (int i = 0; i < 7; i++) {
        struct ag_str has = ag_col_str(q, 3 + i);

        if ((has.p == NULL) != (want[i].p == NULL) || !ag_str_eq(has, want[i]))
            return false;
    }
    return ag_col_int(q, 10) == spec->max_steps;
}

static agent_status insert_version(struct ag_sq_store *s, ag_unit *u, int64_t agent_id, int64_t version,
                                   const struct ag_agent_spec *spec, int64_t *out_id)
{
    struct ag_str instructions = AG_STR_NONE;
    int64_t text_id = 0;
    agent_status rc = ag_text_put(s, spec->instructions, &instructions, &text_id, &u->error);

    if (rc != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_VERSION_INSERT);

        ag_query_int(&q, agent_id);
        ag_query_int(&q, version);
        ag_query_str(&q, spec->provider);
        ag_query_str(&q, spec->model);
        ag_query_str(&q, instructions);
        ag_query_id(&q, text_id);
        ag_query_str(&q, spec->tools);
        ag_query_str(&q, spec->options);
        ag_query_str(&q, spec->base_url);
        ag_query_str(&q, spec->key_env);
        ag_query_int(&q, spec->max_steps);
        ag_query_int(&q, u->now_ms);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    *out_id = sqlite3_last_insert_rowid(s->a.db);
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_SET_VERSION);

        ag_query_int(&q, agent_id);
        ag_query_int(&q, *out_id);
        ag_query_int(&q, u->now_ms);
        return ag_query_run(&q, &u->error);
    }
}

static agent_status insert_agent(struct ag_sq_store *s, ag_unit *u, struct ag_str name, int64_t *out_id)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_INSERT);
    agent_status rc;

    ag_query_str(&q, name);
    ag_query_int(&q, u->now_ms);
    if ((rc = ag_query_run(&q, &u->error)) == AGENT_OK)
        *out_id = sqlite3_last_insert_rowid(s->a.db);
    return rc;
}

agent_status ag_apply_agent_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_agent_put *op)
{
    const struct ag_str name = op->spec.name;
    int64_t version = 0;
    bool exists;
    agent_status rc;

    op->out_created = op->out_changed = false;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_NEWEST);

        ag_query_str(&q, name);
        if ((rc = ag_query_row(&q, &exists, &u->error)) != AGENT_OK)
            return rc;
        if (exists) {
            op->out_agent_id = ag_col_int(&q, 0);
            op->out_version_id = ag_col_int(&q, 1);
            op->out_version = version = ag_col_int(&q, 2);
            if (op->mode == AGENT_CREATE_NEW) {
                (void)ag_fail(&u->error, AGENT_EEXISTS, 0, "agent '" AG_STR_FMT "' exists already", AG_STR_ARG(name));
                ag_hint(&u->error, "--replace writes a new version of it, --if-not-exists leaves it alone");
                return AGENT_EEXISTS;
            }
            if (op->mode == AGENT_CREATE_EDIT && op->expect_version != 0 && op->expect_version != version)
                return ag_fail(&u->error, AGENT_EBUSY, 0,
                               "agent '" AG_STR_FMT "' is at version %lld now, not at %lld any more", AG_STR_ARG(name),
                               (long long)version, (long long)op->expect_version);
            if (op->mode == AGENT_CREATE_IF_NOT_EXISTS || same_spec(&q, &op->spec))
                return AGENT_OK;
        } else if (op->mode == AGENT_CREATE_EDIT) {
            (void)ag_fail(&u->error, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "'", AG_STR_ARG(name));
            ag_hint(&u->error, "see which there are: agentctl list agents");
            return AGENT_ENOTFOUND;
        }
    }
    if (!exists && (rc = insert_agent(s, u, name, &op->out_agent_id)) != AGENT_OK)
        return rc;
    if ((rc = insert_version(s, u, op->out_agent_id, version + 1, &op->spec, &op->out_version_id)) != AGENT_OK)
        return rc;
    op->out_version = version + 1;
    op->out_created = !exists;
    op->out_changed = true;
    return AGENT_OK;
}

/* --- remove ----------------------------------------------------------------------------------------- */

static agent_status run_with_id(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t id)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);

    ag_query_int(&q, id);
    return ag_query_run(&q, &u->error);
}

/* What hangs off a run, besides its row and its messages. */
static agent_status remove_run_parts(struct ag_sq_store *s, ag_unit *u, int64_t run_id)
{
    static const enum ag_stmt parts[] = {AG_STMT_TEXT_DELETE_OF_CALLS, AG_STMT_CALL_DELETE_RANGE,
                                         AG_STMT_STEP_DELETE_RANGE, AG_STMT_STAGE_DELETE_RANGE,
                                         AG_STMT_SAMPLE_DELETE_RANGE};
    int64_t low = run_id << AG_STEP_BITS, high = low | AG_STEP_LAST;
    agent_status rc = AGENT_OK;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && rc == AGENT_OK; i++)
        rc = ag_delete_range(s, u, parts[i], low, high);
    if (rc != AGENT_OK)
        return rc;
    return ag_delete_range(s, u, AG_STMT_JOURNAL_DELETE_RANGE, low << AG_JOURNAL_BITS,
                           high << AG_JOURNAL_BITS | AG_JOURNAL_LAST);
}

static agent_status put_floor(struct ag_sq_store *s, ag_unit *u, const char *key, int64_t value)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_FLOOR_PUT);

    s->floors_known = false;
    ag_query_word(&q, key);
    ag_query_int(&q, value);
    return ag_query_run(&q, &u->error);
}

static agent_status keep_floors(struct ag_sq_store *s, ag_unit *u)
{
    int64_t run = 0, session = 0;
    bool row;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MAX_IDS);

        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        run = ag_col_int(&q, 0);
        session = ag_col_int(&q, 1);
    }
    if ((rc = put_floor(s, u, "run_floor", run)) != AGENT_OK)
        return rc;
    return put_floor(s, u, "session_floor", session);
}

/* The runs of a session (by its messages) or of an agent, each with its parts. *out_runs: how many. */
static agent_status remove_runs(struct ag_sq_store *s, ag_unit *u, ag_query *list, bool rows_too, int64_t *out_runs)
{
    bool row;
    agent_status rc;

    *out_runs = 0;
    while ((rc = ag_query_row(list, &row, &u->error)) == AGENT_OK && row) {
        int64_t run_id = ag_col_int(list, 0);

        ++*out_runs;
        if ((rc = remove_run_parts(s, u, run_id)) != AGENT_OK ||
            (rows_too && (rc = run_with_id(s, u, AG_STMT_RUN_DELETE, run_id)) != AGENT_OK))
            return rc;
    }
    return rc;
}

static agent_status refuse_live(struct ag_sq_store *s, ag_unit *u, ag_query *runs, int owner_column)
{
    bool row;
    agent_status rc;

    while ((rc = ag_query_row(runs, &row, &u->error)) == AGENT_OK && row)
        if (ag_owner_alive(s, ag_col_int(runs, owner_column))) {
            long long id = (long long)ag_col_int(runs, 0);

            (void)ag_fail(&u->error, AGENT_EBUSY, 0, "run %lld is being driven by a living process", id);
            ag_hint(&u->error, "wait for it, or cancel it: agentctl cancel %lld", id);
            return AGENT_EBUSY;
        }
    return rc;
}

agent_status ag_apply_session_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_session_rm *op)
{
    int64_t low = op->session_id << AG_SEQ_BITS, high = low | AG_SEQ_MAX, agent_id, runs;
    bool row;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_SESSION_BY_ID);

        ag_query_int(&q, op->session_id);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        if (!row)
            return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "session #%lld", (long long)op->session_id);
        agent_id = ag_col_int(&q, 0);
    }
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_OPEN);

        ag_query_int(&q, op->session_id);
        if ((rc = refuse_live(s, u, &q, 2)) != AGENT_OK)
            return ag_wrap(&u->error, rc, "remove session #%lld", (long long)op->session_id);
    }
    if ((rc = keep_floors(s, u)) != AGENT_OK)
        return rc;
    {
        /* UNION collects all ids before the first is handed out, so deleting meanwhile is safe. */
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_OF_SESSION);

        ag_query_int(&q, low);
        ag_query_int(&q, high);
        ag_query_int(&q, op->session_id);
        if ((rc = remove_runs(s, u, &q, true, &runs)) != AGENT_OK)
            return rc;
    }
    if ((rc = ag_delete_range(s, u, AG_STMT_MESSAGE_DELETE_RANGE, low, high)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_UNCOUNT);

        ag_query_int(&q, agent_id);
        ag_query_int(&q, runs);
        ag_query_int(&q, op->session_id);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    return run_with_id(s, u, AG_STMT_SESSION_DELETE, op->session_id);
}

agent_status ag_apply_agent_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_name *op)
{
    static const enum ag_stmt rest[] = {
        AG_STMT_RUN_DELETE_OF_AGENT,    AG_STMT_MESSAGE_DELETE_OF_AGENT, AG_STMT_SESSION_DELETE_OF_AGENT,
        AG_STMT_MEMORY_DELETE_OF_AGENT, AG_STMT_CACHE_DELETE_OF_AGENT,   AG_STMT_TEXT_DELETE_OF_AGENT,
        AG_STMT_VERSION_DELETE_OF_AGENT, AG_STMT_AGENT_DELETE,
    };
    int64_t agent_id, version_id, runs;
    agent_status rc;

    if ((rc = ag_agent_id(s, u, op->name, &agent_id, &version_id)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_LIVE_OF_AGENT);

        ag_query_int(&q, agent_id);
        if ((rc = refuse_live(s, u, &q, 1)) != AGENT_OK)
            return ag_wrap(&u->error, rc, "remove agent '" AG_STR_FMT "'", AG_STR_ARG(op->name));
    }
    if ((rc = keep_floors(s, u)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_OF_AGENT);

        ag_query_int(&q, agent_id);
        if ((rc = remove_runs(s, u, &q, false, &runs)) != AGENT_OK)
            return rc;
    }
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]) && rc == AGENT_OK; i++)
        rc = run_with_id(s, u, rest[i], agent_id);
    return rc;
}
