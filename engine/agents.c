/*
 * Agents, sessions, memory: what a host writes besides runs. Each call checks, builds one unit and
 * commits it.
 */
#include <jansson.h>
#include <string.h>

#include "engine/agent_spec.h"
#include "engine/base/mem.h"
#include "engine/catalog.h"

/* --- create ----------------------------------------------------------------------------------------- */

static agent_status put_agent(agent_engine *e, const char *name, const agent_config *c, enum agent_create_mode mode,
                              int64_t *out_version, agent_error *err)
{
    AG_AUTO(ag_arena) a = AG_ARENA_INIT;
    struct ag_op op;
    struct ag_agent_rec old;
    ag_unit unit;
    agent_status rc;

    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_AGENT_PUT;
    op.agent_put.mode = mode;
    if (mode == AGENT_CREATE_EDIT) {
        ag_reader *r;

        if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
            return rc;
        rc = ag_reader_agent(r, ag_str_of(name), 0, &a, &old, err);
        ag_engine_reader_put(e);
        if (rc != AGENT_OK)
            return rc;
        op.agent_put.expect_version = old.version;
    }
    if ((rc = ag_agent_spec_fill(e, c, mode == AGENT_CREATE_EDIT ? &old : NULL, &a, &op.agent_put.spec, err)) !=
        AGENT_OK)
        return rc;
    op.agent_put.spec.name = ag_str_of(name);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    if ((rc = ag_engine_apply(e, &unit, err)) != AGENT_OK)
        return rc;
    if (out_version != NULL)
        *out_version = op.agent_put.out_version;
    return AGENT_OK;
}

agent_status agent_create(agent_engine *e, const char *name, const agent_config *c, enum agent_create_mode mode,
                          int64_t *out_version, agent_error *err)
{
    agent_status rc;

    if (e == NULL || name == NULL || c == NULL || c->size < sizeof(*c))
        return ag_fail(err, AGENT_EINVAL, 0, "create: engine, name and config (with its size) are needed");
    if ((rc = ag_engine_writable(e, "create", err)) != AGENT_OK ||
        (rc = ag_name_check("agent name", name, AGENT_NAME_MAX, err)) != AGENT_OK)
        return rc;
    /* Thousands of one configuration: where the clock itself would cost as much as all the rest. */
    if (mode != AGENT_CREATE_EDIT &&
        ag_store_agent_again(e->store, ag_spec_memo_tag(&e->spec_memo, c), ag_str_of(name),
                             ag_unix_tick_ms(&e->clock))) {
        if (out_version != NULL)
            *out_version = 1;
        return AGENT_OK;
    }
    /* Two who edit at once: the second begins again on what the first wrote. */
    for (int tries = 0; tries < 5; tries++)
        if ((rc = put_agent(e, name, c, mode, out_version, err)) != AGENT_EBUSY || mode != AGENT_CREATE_EDIT)
            break;
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "agent '%s'", name);
}

agent_status agent_remove(agent_engine *e, const char *name, agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || name == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "remove: engine and name are needed");
    if ((rc = ag_engine_writable(e, "remove", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_AGENT_RM;
    op.name.name = ag_str_of(name);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "remove agent");
}

/* --- agent files ---------------------------------------------------------------------------------------- */

struct agent_config_file {
    ag_arena arena;
    agent_config config;
    const char *name;
};

static agent_status text_field(json_t *root, const char *key, ag_arena *a, const char **out, agent_error *err)
{
    json_t *v = json_object_get(root, key);

    if (v == NULL || json_is_null(v))
        return AGENT_OK;
    if (!json_is_string(v))
        return ag_fail(err, AGENT_EINVAL, 0, "agent file: \"%s\" must be a string", key);
    *out = ag_arena_z(a, (struct ag_str){json_string_value(v), json_string_length(v)});
    return *out != NULL ? AGENT_OK : ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
}

static agent_status tools_field(json_t *root, ag_arena *a, agent_config *c, agent_error *err)
{
    json_t *v = json_object_get(root, "tools");
    const char **names;

    if (v == NULL || json_is_null(v))
        return AGENT_OK;
    if (!json_is_array(v))
        return ag_fail(err, AGENT_EINVAL, 0, "agent file: \"tools\" must be an array of names");
    names = ag_arena_zalloc(a, (json_array_size(v) + 1) * sizeof(*names));
    if (names == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));

        if (name == NULL)
            return ag_fail(err, AGENT_EINVAL, 0, "agent file: \"tools\"[%zu] must be a string", i);
        if ((names[i] = ag_arena_z(a, ag_str_of(name))) == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    }
    c->tools = names;
    c->tool_count = json_array_size(v);
    return AGENT_OK;
}

static agent_status read_file(json_t *root, struct agent_config_file *f, agent_error *err)
{
    static const char *const known[] = {"name", "model", "instructions", "tools", "options", "base_url", "key_env",
                                        "max_steps"};
    agent_config *c = &f->config;
    json_t *options = json_object_get(root, "options"), *steps = json_object_get(root, "max_steps"), *v;
    const char *key;
    agent_status rc;

    json_object_foreach(root, key, v) {
        bool found = false;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            found |= strcmp(key, known[i]) == 0;
        if (!found) {
            ag_fail(err, AGENT_EINVAL, 0, "agent file: unknown key \"%.60s\"", key);
            ag_hint(err, "keys are name, model, instructions, tools, options, base_url, key_env, max_steps");
            return AGENT_EINVAL;
        }
    }
    if ((rc = text_field(root, "name", &f->arena, &f->name, err)) != AGENT_OK ||
        (rc = text_field(root, "model", &f->arena, &c->model, err)) != AGENT_OK ||
        (rc = text_field(root, "instructions", &f->arena, &c->instructions, err)) != AGENT_OK ||
        (rc = text_field(root, "base_url", &f->arena, &c->base_url, err)) != AGENT_OK ||
        (rc = text_field(root, "key_env", &f->arena, &c->key_env, err)) != AGENT_OK ||
        (rc = tools_field(root, &f->arena, c, err)) != AGENT_OK)
        return rc;
    if (steps != NULL && !json_is_null(steps)) {
        if (!json_is_integer(steps) || json_integer_value(steps) < 1 || json_integer_value(steps) > AG_MAX_STEPS_LIMIT)
            return ag_fail(err, AGENT_EINVAL, 0, "agent file: \"max_steps\" must be an integer from 1 to %d",
                           AG_MAX_STEPS_LIMIT);
        c->max_steps = (int)json_integer_value(steps);
    }
    if (options != NULL && !json_is_null(options)) {
        size_t bytes;
        char *text;

        if (!json_is_object(options))
            return ag_fail(err, AGENT_EINVAL, 0, "agent file: \"options\" must be an object");
        bytes = json_dumpb(options, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
        text = bytes > 0 ? ag_arena_alloc(&f->arena, bytes + 1) : NULL;
        if (text == NULL || json_dumpb(options, text, bytes, JSON_COMPACT | JSON_SORT_KEYS) != bytes)
            return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
        text[bytes] = '\0';
        c->options = text;
    }
    return AGENT_OK;
}

agent_status agent_config_parse(const char *json, size_t bytes, agent_config_file **out, agent_error *err)
{
    json_error_t where;
    json_auto_t *root = NULL;
    struct agent_config_file *f;
    agent_status rc;

    if (json == NULL || out == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "agent file: json and out are needed");
    root = json_loadb(json, bytes, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        ag_fail(err, AGENT_EINVAL, 0, "agent file: line %d, column %d: %s", where.line, where.column, where.text);
        ag_hint(err, "the file is one JSON object, as in {\"name\": \"demo\", \"model\": \"offline:demo\"}");
        return AGENT_EINVAL;
    }
    if (!json_is_object(root))
        return ag_fail(err, AGENT_EINVAL, 0, "agent file: line 1, column 1: it must be one JSON object");
    if ((f = ag_calloc(1, sizeof(*f))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    f->arena = AG_ARENA_INIT;
    f->config.size = sizeof(f->config);
    if ((rc = read_file(root, f, err)) != AGENT_OK) {
        agent_config_file_free(f);
        return rc;
    }
    *out = f;
    return AGENT_OK;
}

const agent_config *agent_config_file_config(const agent_config_file *f)
{
    return &f->config;
}

const char *agent_config_file_name(const agent_config_file *f)
{
    return f->name;
}

void agent_config_file_free(agent_config_file *f)
{
    if (f == NULL)
        return;
    ag_arena_drop(&f->arena);
    ag_free(f);
}

/* --- sessions and memory -------------------------------------------------------------------------------------- */

agent_status agent_session_find(agent_engine *e, const char *agent, const char *spec, agent_session_id *out,
                                agent_error *err)
{
    ag_reader *r;
    agent_status rc;

    if (e == NULL || spec == NULL || out == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "find session: engine, spec and out are needed");
    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    rc = ag_reader_session_find(r, ag_str_of(agent), ag_str_of(spec), &out->id, err);
    ag_engine_reader_put(e);
    return rc;
}

agent_status agent_session_remove(agent_engine *e, agent_session_id session, agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || session.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "remove session: no such session");
    if ((rc = ag_engine_writable(e, "remove session", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_SESSION_RM;
    op.session_rm.session_id = session.id;
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "remove session");
}

static agent_status memory_key(const char *key, agent_error *err)
{
    struct ag_str k = ag_str_of(key);
    agent_status rc;

    if (k.n == 0)
        return ag_fail(err, AGENT_EINVAL, 0, "the key is empty");
    if ((rc = ag_text_check("key", k, 256, err)) != AGENT_OK)
        return rc;
    for (size_t i = 0; i < k.n; i++)
        if ((unsigned char)k.p[i] < 0x20)
            return ag_fail(err, AGENT_EINVAL, 0, "the key holds a control character (byte %zu)", i);
    return AGENT_OK;
}

agent_status agent_memory_set(agent_engine *e, const char *agent, const char *scope, const char *key, const char *text,
                              int64_t *out_id, agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || agent == NULL || text == NULL || text[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "memory: engine, agent and a text that is not empty are needed");
    if ((rc = ag_engine_writable(e, "memory", err)) != AGENT_OK ||
        (key != NULL && (rc = memory_key(key, err)) != AGENT_OK) ||
        (scope != NULL && (rc = ag_name_check("scope", scope, AGENT_NAME_MAX, err)) != AGENT_OK) ||
        (rc = ag_text_check("text", ag_str_of(text), AG_MEMORY_TEXT_MAX, err)) != AGENT_OK)
        return ag_wrap(err, rc, "memory");
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_MEMORY_PUT;
    op.memory_put.agent_name = ag_str_of(agent);
    op.memory_put.scope = ag_str_of(scope);
    op.memory_put.key = ag_str_of(key);
    op.memory_put.text = ag_str_of(text);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    if ((rc = ag_engine_apply(e, &unit, err)) != AGENT_OK)
        return ag_wrap(err, rc, "memory");
    if (out_id != NULL)
        *out_id = op.memory_put.out_id;
    return AGENT_OK;
}

agent_status agent_memory_remove(agent_engine *e, const char *agent, const char *scope, const char *key,
                                 agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || agent == NULL || key == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "memory: engine, agent and key are needed");
    if ((rc = ag_engine_writable(e, "memory", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_MEMORY_RM;
    op.memory_rm.agent_name = ag_str_of(agent);
    op.memory_rm.scope = ag_str_of(scope);
    op.memory_rm.key = ag_str_of(key);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "memory");
}
