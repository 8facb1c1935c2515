/* What agents remember: one text per agent, scope and key. */
#include <inttypes.h>
#include <stdio.h>

#include "storage/memory/ram.h"

/* By id, or by name where that is 0. */
static agent_status agent_of(struct ag_ram *m, int64_t id, struct ag_str name, struct ag_ram_agent **out,
                             agent_error *err)
{
    struct ag_ram_agent *a = id != 0 ? ag_ram_table_at(&m->agents, id) : ag_ram_agent_find(m, name);

    if (a == NULL && id != 0)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "agent #%" PRId64 ": no such agent", id);
    if (a == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent", AG_STR_ARG(name));
    *out = a;
    return AGENT_OK;
}

static struct ag_str scope_or_default(struct ag_str scope)
{
    return scope.p == NULL ? AG_STR("agent") : scope;
}

static agent_status memory_make(struct ag_ram *m, struct ag_ram_agent *a, struct ag_str scope, struct ag_str key,
                                int64_t now_ms, struct ag_ram_memory **out, agent_error *err)
{
    struct ag_ram_memory *row;
    char made[24];
    int64_t id;

    if ((row = ag_ram_row_new(m, &m->memories, &id)) == NULL)
        return ag_ram_nomem(err);
    while (key.p == NULL) {
        (void)snprintf(made, sizeof(made), "m%" PRId64, id);
        if (ag_ram_memory_find(m, a, scope, ag_str_of(made)) == NULL) {
            key = ag_str_of(made);
            break;
        }
        ag_ram_row_dead(m, &m->memories, id); /* somebody called another memory so: the next id is tried */
        if (!ag_ram_reserve(m, AG_RAM_OP_LOG) || (row = ag_ram_row_new(m, &m->memories, &id)) == NULL)
            return ag_ram_nomem(err);
    }
    *row = (struct ag_ram_memory){.agent = a, .id = id, .created_at_ms = now_ms, .older = a->newest_memory};
    if (!ag_ram_intern(m, scope, &row->scope) || !ag_ram_text(m, key, &row->key) ||
        !ag_ram_put(m, &m->memory_keys, ag_ram_name_hash(m, a, key), row))
        return ag_ram_nomem(err);
    if (row->older != NULL) {
        AG_RAM_SAVE(m, row->older);
        row->older->newer = row;
    }
    AG_RAM_TOUCH(m, a);
    a->newest_memory = row;
    *out = row;
    return AGENT_OK;
}

agent_status ag_ram_memory_put(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_memory_put *put = &op->memory_put;
    struct ag_str scope = scope_or_default(put->scope);
    struct ag_ram_memory *row;
    struct ag_ram_agent *a;
    agent_status rc;

    if ((rc = agent_of(m, put->agent_id, put->agent_name, &a, err)) != AGENT_OK)
        return rc;
    row = put->key.p == NULL ? NULL : ag_ram_memory_find(m, a, scope, put->key);
    if (row == NULL) {
        if ((rc = memory_make(m, a, scope, put->key, unit->now_ms, &row, err)) != AGENT_OK)
            return rc;
    } else {
        AG_RAM_SAVE(m, row);
        ag_ram_text_unref(m, row->text);
    }
    if (!ag_ram_text(m, put->text.p == NULL ? AG_STR("") : put->text, &row->text))
        return ag_ram_nomem(err);
    row->updated_at_ms = unit->now_ms;
    row->source_run_id = put->source_run_id;
    put->out_id = row->id;
    return AGENT_OK;
}

agent_status ag_ram_memory_rm_op(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_memory_rm *rm = &op->memory_rm;
    struct ag_ram_memory *row;
    struct ag_ram_agent *a;
    agent_status rc;

    (void)unit;
    if ((rc = agent_of(m, rm->agent_id, rm->agent_name, &a, err)) != AGENT_OK)
        return rc;
    row = ag_ram_memory_find(m, a, scope_or_default(rm->scope), rm->key);
    if (row == NULL && !rm->missing_is_fine)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "memory '" AG_STR_FMT "' of agent '" AG_STR_FMT "': no such memory",
                       AG_STR_ARG(rm->key), AG_STR_ARG(ag_ram_agent_name(a)));
    rm->out_removed = row != NULL;
    return row == NULL || ag_ram_memory_rm(m, row) ? AGENT_OK : ag_ram_nomem(err);
}
