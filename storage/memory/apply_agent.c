/* Agents and their versions, command tools, and the removal of sessions. */
#include <inttypes.h>
#include <stdint.h>

#include "storage/memory/ram.h"

static agent_status no_agent(agent_error *err, struct ag_str name)
{
    return ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent", AG_STR_ARG(name));
}

/* What a version says: one reference on each. */
struct saying {
    struct ag_ram_config *config;
    struct ag_ram_text *instructions;
};

static agent_status version_make(struct ag_ram *m, struct ag_ram_agent *a, struct saying what,
                                 const struct ag_agent_spec *spec, uint32_t number, int64_t now_ms, agent_error *err)
{
    struct ag_ram_version *v;
    int64_t id;

    if ((v = ag_ram_row_new(m, &m->versions, &id)) == NULL)
        return ag_ram_nomem(err);
    *v = (struct ag_ram_version){.config = what.config, .instructions = what.instructions, .id = id,
                                 .created_at_ms = now_ms, .older_id = a->newest_version_id, .agent_id = a->id,
                                 .number = number, .max_steps = spec->max_steps};
    a->newest_version_id = id; /* the row is saved, or new */
    m->last_config = what.config;
    m->last_instructions = what.instructions;
    m->last_max_steps = spec->max_steps;
    m->last_tag = spec->tag;
    return AGENT_OK;
}

static agent_status agent_make(struct ag_ram *m, struct ag_str name, uint32_t hash, int64_t now_ms,
                               struct ag_ram_agent **out, agent_error *err)
{
    struct ag_ram_agent *a;
    char *copy;
    int64_t id;

    if (m->agents.next_id > UINT32_MAX || name.n >= UINT32_MAX)
        return ag_fail(err, AGENT_ETOOBIG, 0, "memory store: as many agents as it can number");
    if ((copy = ag_ram_new(m, name.n + 1)) == NULL || (a = ag_ram_row_new(m, &m->agents, &id)) == NULL)
        return ag_ram_nomem(err);
    memcpy(copy, name.p, name.n);
    copy[name.n] = '\0';
    a->name = copy;
    a->name_bytes = (uint32_t)name.n;
    a->unit = m->unit;
    a->id = (uint32_t)id;
    a->created_at_ms = now_ms;
    if (!ag_ram_put(m, &m->agent_names, hash, a))
        return ag_ram_nomem(err);
    *out = a;
    return AGENT_OK;
}

static agent_status refuse_mode(const struct ag_op_agent_put *put, const struct ag_ram_version *newest,
                                agent_error *err)
{
    agent_status rc;

    if (newest == NULL)
        return put->mode == AGENT_CREATE_EDIT ? no_agent(err, put->spec.name) : AGENT_OK;
    if (put->mode == AGENT_CREATE_NEW) {
        rc = ag_fail(err, AGENT_EEXISTS, 0, "agent '" AG_STR_FMT "' exists already", AG_STR_ARG(put->spec.name));
        ag_hint(err, "--replace writes a new version of it, --if-not-exists leaves it alone");
        return rc;
    }
    if (put->mode == AGENT_CREATE_EDIT && put->expect_version != 0 && put->expect_version != newest->number)
        return ag_fail(err, AGENT_EBUSY, 0,
                       "agent '" AG_STR_FMT "' is at version %" PRIu32 " now, not at %" PRId64 " any more",
                       AG_STR_ARG(put->spec.name), newest->number, put->expect_version);
    return AGENT_OK;
}

agent_status ag_ram_agent_put(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_agent_put *put = &op->agent_put;
    uint32_t hash = ag_ram_name_hash(m, NULL, put->spec.name);
    const struct ag_ram_version *newest = NULL;
    struct ag_ram_agent *a;
    struct saying what;
    bool created, same;
    agent_status rc;

    ag_ram_map_prefetch(&m->agent_names, hash); /* of a large table: comes while the texts are looked at */
    if ((what.config = ag_ram_config(m, &put->spec)) == NULL ||
        !ag_ram_intern(m, put->spec.instructions, &what.instructions))
        return ag_ram_nomem(err);
    a = ag_ram_agent_hashed(m, hash, put->spec.name);
    created = a == NULL;
    if (!created) {
        newest = ag_ram_table_at(&m->versions, a->newest_version_id);
        AG_RAM_TOUCH(m, a);
    }
    if ((rc = refuse_mode(put, newest, err)) != AGENT_OK)
        return rc;
    same = !created && (put->mode == AGENT_CREATE_IF_NOT_EXISTS ||
                        (newest->config == what.config && newest->instructions == what.instructions &&
                         newest->max_steps == put->spec.max_steps));
    if (same) {
        ag_ram_config_unref(m, what.config);
        ag_ram_intern_unref(m, what.instructions);
    } else if ((created && (rc = agent_make(m, put->spec.name, hash, unit->now_ms, &a, err)) != AGENT_OK) ||
               (rc = version_make(m, a, what, &put->spec, created ? 1 : newest->number + 1, unit->now_ms,
                                  err)) != AGENT_OK) {
        return rc;
    }
    put->out_agent_id = a->id;
    put->out_version_id = a->newest_version_id;
    put->out_version = created ? 1 : newest->number + !same;
    put->out_created = created;
    put->out_changed = !same;
    return AGENT_OK;
}

/* What fails is tried before anything is seen, so that there is nothing to log and nothing to take back
 * but the rows themselves. */
static bool make_again(struct ag_ram *m, struct ag_str name, int64_t now_ms)
{
    uint32_t hash = ag_ram_name_hash(m, NULL, name);
    struct ag_ram_agent *a = NULL;
    struct ag_ram_version *v = NULL;
    int64_t id, version_id;
    char *copy;

    if (m->agents.next_id > UINT32_MAX || name.n >= UINT32_MAX || !ag_ram_map_reserve(&m->agent_names))
        return false;
    /* In a large table the name's place is far from the processor: it comes while the rows are made. */
    ag_ram_map_prefetch(&m->agent_names, hash);
    if ((copy = ag_ram_pool_get(&m->pool, name.n + 1)) == NULL)
        return false;
    memcpy(copy, name.p, name.n);
    copy[name.n] = '\0';
    if ((a = ag_ram_table_raw(&m->agents, &id)) == NULL || (v = ag_ram_table_raw(&m->versions, &version_id)) == NULL ||
        ag_ram_agent_hashed(m, hash, name) != NULL) {
        if (v != NULL)
            ag_ram_table_unmake(&m->versions, version_id);
        if (a != NULL)
            ag_ram_table_unmake(&m->agents, id);
        ag_ram_pool_put(&m->pool, copy, name.n + 1);
        return false;
    }
    *a = (struct ag_ram_agent){.name = copy, .name_bytes = (uint32_t)name.n, .id = (uint32_t)id,
                               .created_at_ms = now_ms, .newest_version_id = version_id};
    *v = (struct ag_ram_version){.config = m->last_config, .instructions = m->last_instructions, .id = version_id,
                                 .created_at_ms = now_ms, .agent_id = (uint32_t)id, .number = 1,
                                 .max_steps = m->last_max_steps};
    m->last_config->refs++;
    if (m->last_instructions != NULL)
        m->last_instructions->refs++;
    ag_ram_map_put(&m->agent_names, hash, a);
    return true;
}

bool ag_ram_agent_again(ag_store *s, uint64_t tag, struct ag_str name, int64_t now_ms)
{
    struct ag_ram *m = (struct ag_ram *)s;
    bool made;

    (void)pthread_mutex_lock(&m->lock);
    made = tag == m->last_tag && make_again(m, name, now_ms);
    (void)pthread_mutex_unlock(&m->lock);
    return made;
}

/* A run of the session that is being driven, or waited with; NULL: none. */
static const struct ag_ram_run *live_run(const struct ag_ram_session *s)
{
    const struct ag_ram_run *run = s->open_first;

    while (run != NULL && run->status != AG_RUN_RUNNING && !run->is_held)
        run = run->next;
    return run;
}

agent_status ag_ram_agent_rm_op(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_ram_agent *a = ag_ram_agent_find(m, op->name.name);
    const struct ag_ram_run *live = NULL;
    agent_status rc;

    (void)unit;
    if (a == NULL)
        return no_agent(err, op->name.name);
    for (const struct ag_ram_session *s = a->latest; s != NULL && live == NULL; s = s->older)
        live = live_run(s);
    if (live != NULL) {
        rc = ag_fail(err, AGENT_EBUSY, 0, "agent '" AG_STR_FMT "': its run %" PRId64 " is live",
                     AG_STR_ARG(op->name.name), live->id);
        ag_hint(err, "wait for the run, or cancel it: agentctl cancel %" PRId64, live->id);
        return rc;
    }
    return ag_ram_agent_rm(m, a) ? AGENT_OK : ag_ram_nomem(err);
}

agent_status ag_ram_session_rm_op(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_ram_session *s = ag_ram_table_at(&m->sessions, op->session_rm.session_id);
    const struct ag_ram_run *live;
    struct ag_ram_agent *a;
    bool was_latest;
    agent_status rc;

    (void)unit;
    if (s == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "session #%" PRId64 ": no such session", op->session_rm.session_id);
    if ((live = live_run(s)) != NULL) {
        rc = ag_fail(err, AGENT_EBUSY, 0, "session #%" PRId64 ": its run %" PRId64 " is live", s->id, live->id);
        ag_hint(err, "wait for the run, or cancel it: agentctl cancel %" PRId64, live->id);
        return rc;
    }
    a = s->agent;
    was_latest = a->latest == s;
    AG_RAM_TOUCH(m, a);
    a->sessions--;
    for (const struct ag_ram_run *run = s->open_first; run != NULL; run = run->next)
        a->runs--;
    for (const struct ag_ram_run *run = s->ended_first; run != NULL; run = run->next)
        a->runs--;
    if (!ag_ram_session_rm(m, s) || !ag_ram_reserve(m, AG_RAM_OP_LOG))
        return ag_ram_nomem(err);
    for (struct ag_ram_session *other = s = a->latest; other != NULL; other = other->older)
        if (other->last_at_ms > s->last_at_ms || (other->last_at_ms == s->last_at_ms && other->id > s->id))
            s = other;
    if (was_latest && s != NULL)
        ag_ram_session_first(m, s);
    return AGENT_OK;
}

agent_status ag_ram_tool_put(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_tool_rec *rec = &op->tool_put.tool;
    struct ag_ram_tool *tool = ag_ram_tool_find(m, rec->name);
    agent_status rc;

    if (tool != NULL && !op->tool_put.replace) {
        rc = ag_fail(err, AGENT_EEXISTS, 0, "tool '" AG_STR_FMT "' exists already", AG_STR_ARG(rec->name));
        ag_hint(err, "replace it with --replace, or remove it first");
        return rc;
    }
    if (tool == NULL) {
        int64_t id;

        if ((tool = ag_ram_row_new(m, &m->tools, &id)) == NULL || !ag_ram_text(m, rec->name, &tool->name) ||
            !ag_ram_put(m, &m->tool_names, ag_ram_name_hash(m, NULL, rec->name), tool))
            return ag_ram_nomem(err);
        tool->id = id;
        tool->created_at_ms = unit->now_ms;
    } else {
        AG_RAM_SAVE(m, tool);
        ag_ram_text_unref(m, tool->description);
        ag_ram_text_unref(m, tool->argv);
        ag_ram_text_unref(m, tool->schema);
    }
    tool->effect = rec->effect;
    tool->timeout_ms = rec->timeout_ms;
    tool->max_output_bytes = rec->max_output_bytes;
    if (!ag_ram_text(m, rec->description.p == NULL ? AG_STR("") : rec->description, &tool->description) ||
        !ag_ram_text(m, rec->argv.p == NULL ? AG_STR("[]") : rec->argv, &tool->argv) ||
        !ag_ram_text(m, rec->schema, &tool->schema))
        return ag_ram_nomem(err);
    return AGENT_OK;
}

agent_status ag_ram_tool_rm(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_ram_tool *tool = ag_ram_tool_find(m, op->name.name);

    (void)unit;
    if (tool == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "tool '" AG_STR_FMT "': no such tool", AG_STR_ARG(op->name.name));
    ag_ram_del(m, &m->tool_names, ag_ram_name_hash(m, NULL, op->name.name), tool);
    ag_ram_text_unref(m, tool->name);
    ag_ram_text_unref(m, tool->description);
    ag_ram_text_unref(m, tool->argv);
    ag_ram_text_unref(m, tool->schema);
    ag_ram_row_dead(m, &m->tools, tool->id);
    return AGENT_OK;
}
