/* Memories of agents, and command tools: small rows put and removed by name. */
#include <stdio.h>

#include "storage/sqlite/impl.h"

/* Which agent: by id, else by name. */
static agent_status agent_of(struct ag_sq_store *s, ag_unit *u, int64_t id, struct ag_str name, int64_t *out)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_BY_ID);
    int64_t version_id;
    bool row;
    agent_status rc;

    if (id == 0)
        return ag_agent_id(s, u, name, out, &version_id);
    ag_query_int(&q, id);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
        return rc;
    if (!row)
        return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "agent #%lld", (long long)id);
    *out = id;
    return AGENT_OK;
}

static agent_status key_taken(struct ag_sq_store *s, ag_unit *u, int64_t agent_id, struct ag_str scope,
                              struct ag_str key, bool *out)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MEMORY_KEY_TAKEN);

    ag_query_int(&q, agent_id);
    ag_query_str(&q, scope);
    ag_query_str(&q, key);
    return ag_query_row(&q, out, &u->error);
}

agent_status ag_apply_memory_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_memory_put *op)
{
    struct ag_str scope = op->scope.p == NULL ? AG_STR("agent") : op->scope, key = op->key;
    int64_t agent_id, id = 0;
    char made[32];
    bool row = false;
    agent_status rc;

    if ((rc = agent_of(s, u, op->agent_id, op->agent_name, &agent_id)) != AGENT_OK)
        return rc;
    if (key.p == NULL) {
        AG_AUTO(ag_query) next = ag_query(&s->a, AG_STMT_MEMORY_NEXT);

        if ((rc = ag_query_row(&next, &row, &u->error)) != AGENT_OK)
            return rc;
        id = ag_col_int(&next, 0) - 1;
        do { /* a person may have named one "m7" */
            id++;
            (void)snprintf(made, sizeof(made), "m%lld", (long long)id);
            key = ag_str_of(made);
            if ((rc = key_taken(s, u, agent_id, scope, key, &row)) != AGENT_OK)
                return rc;
        } while (row);
    }
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MEMORY_PUT);

        ag_query_id(&q, id);
        ag_query_int(&q, agent_id);
        ag_query_str(&q, scope);
        ag_query_str(&q, key);
        ag_query_str(&q, op->text.p == NULL ? AG_STR("") : op->text);
        ag_query_int(&q, u->now_ms);
        ag_query_id(&q, op->source_run_id);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        op->out_id = ag_col_int(&q, 0);
        return ag_query_run(&q, &u->error);
    }
}

agent_status ag_apply_memory_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_memory_rm *op)
{
    struct ag_str scope = op->scope.p == NULL ? AG_STR("agent") : op->scope;
    int64_t agent_id;
    agent_status rc;

    op->out_removed = false;
    if ((rc = agent_of(s, u, op->agent_id, op->agent_name, &agent_id)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_MEMORY_DELETE);

        ag_query_int(&q, agent_id);
        ag_query_str(&q, scope);
        ag_query_str(&q, op->key.p == NULL ? AG_STR("") : op->key);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    op->out_removed = sqlite3_changes64(s->a.db) > 0;
    if (!op->out_removed && !op->missing_is_fine)
        return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "memory '" AG_STR_FMT "' in scope '" AG_STR_FMT "'",
                       AG_STR_ARG(op->key), AG_STR_ARG(scope));
    return AGENT_OK;
}

agent_status ag_apply_tool_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_tool_put *op)
{
    const struct ag_tool_rec *t = &op->tool;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, op->replace ? AG_STMT_TOOL_PUT : AG_STMT_TOOL_INSERT);

        ag_query_str(&q, t->name);
        ag_query_str(&q, t->description.p == NULL ? AG_STR("") : t->description);
        ag_query_str(&q, t->argv.p == NULL ? AG_STR("[]") : t->argv);
        ag_query_str(&q, t->schema);
        ag_query_word(&q, ag_effect_name(t->effect));
        ag_query_int(&q, t->timeout_ms);
        ag_query_int(&q, t->max_output_bytes);
        ag_query_int(&q, u->now_ms);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (sqlite3_changes64(s->a.db) > 0)
        return AGENT_OK;
    (void)ag_fail(&u->error, AGENT_EEXISTS, 0, "tool '" AG_STR_FMT "' exists already", AG_STR_ARG(t->name));
    ag_hint(&u->error, "--replace writes over it");
    return AGENT_EEXISTS;
}

agent_status ag_apply_tool_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_name *op)
{
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_TOOL_DELETE);

        ag_query_str(&q, op->name);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if (sqlite3_changes64(s->a.db) > 0)
        return AGENT_OK;
    return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "tool '" AG_STR_FMT "'", AG_STR_ARG(op->name));
}
