#include "engine/catalog.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

/* --- an agent ------------------------------------------------------------------------------------- */

static void agent_drop(struct ag_value *v)
{
    struct ag_agent_obj *obj = (struct ag_agent_obj *)v;

    for (size_t i = 0; i < obj->tool_count; i++)
        ag_schema_free(obj->tools[i].schema);
    ag_arena_drop(&obj->arena);
    ag_free(obj);
}

struct agent_load {
    agent_engine *engine;
    ag_reader *reader;
    int64_t id;
};

static agent_status provider_of(agent_engine *e, struct ag_str name, const struct ag_provider_vt **vt,
                                const struct ag_host_provider **host, agent_error *err)
{
    *host = ag_engine_provider(e, name);
    *vt = *host == NULL ? ag_provider_find(name) : NULL;
    if (*host != NULL || *vt != NULL)
        return AGENT_OK;
    ag_fail(err, AGENT_EINVAL, 0, "no provider '" AG_STR_FMT "'", AG_STR_ARG(name));
    ag_hint(err, "providers are %s; a model is named provider:model", ag_provider_names());
    return AGENT_EINVAL;
}

agent_status ag_model_split(agent_engine *e, struct ag_str model, struct ag_str *out_provider,
                            struct ag_str *out_model, agent_error *err)
{
    const char *colon = model.n > 0 ? memchr(model.p, ':', model.n) : NULL;
    const struct ag_provider_vt *vt;
    const struct ag_host_provider *host;
    struct ag_str provider, name;
    agent_status rc;

    if (colon == NULL || colon == model.p || colon + 1 == model.p + model.n || model.n > 256) {
        ag_fail(err, AGENT_EINVAL, 0, "model '" AG_STR_FMT "' is not of the form provider:model",
                (int)(model.n > 80 ? 80 : model.n), model.p);
        ag_hint(err, "for example offline:demo, openai:gpt-4o-mini, anthropic:claude-sonnet-4-5; providers are %s",
                ag_provider_names());
        return AGENT_EINVAL;
    }
    provider = (struct ag_str){model.p, (size_t)(colon - model.p)};
    name = (struct ag_str){colon + 1, model.n - provider.n - 1};
    if ((rc = provider_of(e, provider, &vt, &host, err)) != AGENT_OK)
        return rc;
    *out_provider = provider;
    *out_model = name;
    return AGENT_OK;
}

static agent_status use_builtin(struct ag_agent_obj *obj, const struct ag_builtin *b, agent_error *err)
{
    struct ag_agent_tool *t = &obj->tools[obj->tool_count];

    *t = (struct ag_agent_tool){
        .kind = AG_KIND_BUILTIN, .effect = b->effect, .name = ag_str_of(b->name), .builtin = b,
    };
    if ((t->schema = ag_schema_compile(ag_str_of(b->schema), err)) == NULL)
        return err != NULL && err->status != AGENT_OK ? err->status : AGENT_ENOMEM;
    obj->defs[obj->tool_count++] = (struct ag_tool_def){t->name, ag_str_of(b->description), ag_str_of(b->schema)};
    return AGENT_OK;
}

static agent_status use_host(const struct ag_limits *l, struct ag_agent_obj *obj, const struct ag_host_tool *h,
                             agent_error *err)
{
    struct ag_agent_tool *t = &obj->tools[obj->tool_count];
    struct ag_str schema = h->tool.schema != NULL ? ag_str_of(h->tool.schema) : AG_STR("{\"type\":\"object\"}");

    *t = (struct ag_agent_tool){
        .kind = AG_KIND_HOST, .effect = (enum agent_effect)h->tool.effect, .name = ag_str_of(h->tool.name), .host = h,
        .timeout_ms = h->tool.timeout_ms > 0 ? h->tool.timeout_ms : ag_limit(l, AG_LIMIT_TOOL_TIMEOUT_MS),
        .max_output_bytes = h->tool.max_output_bytes > 0 ? (size_t)h->tool.max_output_bytes
                                                         : (size_t)ag_limit(l, AG_LIMIT_TOOL_OUTPUT_BYTES),
    };
    if ((t->schema = ag_schema_compile(schema, err)) == NULL)
        return err != NULL && err->status != AGENT_OK ? err->status : AGENT_ENOMEM;
    obj->defs[obj->tool_count++] = (struct ag_tool_def){t->name, ag_str_of(h->tool.description), schema};
    return AGENT_OK;
}

static agent_status use_command(const struct ag_limits *l, struct ag_agent_obj *obj, const struct ag_tool_rec *rec,
                                agent_error *err)
{
    struct ag_agent_tool *t = &obj->tools[obj->tool_count];
    struct ag_str schema = rec->schema.p != NULL ? rec->schema : AG_STR("{\"type\":\"object\"}");
    agent_status rc;

    *t = (struct ag_agent_tool){
        .kind = AG_KIND_COMMAND, .effect = rec->effect, .name = rec->name, .command = *rec,
        .timeout_ms = rec->timeout_ms > 0 ? rec->timeout_ms : ag_limit(l, AG_LIMIT_TOOL_TIMEOUT_MS),
        .max_output_bytes = rec->max_output_bytes > 0 ? (size_t)rec->max_output_bytes
                                                      : (size_t)ag_limit(l, AG_LIMIT_TOOL_OUTPUT_BYTES),
    };
    if ((rc = ag_argv_parse(rec->argv, &obj->arena, &t->argv, err)) != AGENT_OK)
        return rc;
    if ((t->schema = ag_schema_compile(schema, err)) == NULL)
        return err != NULL && err->status != AGENT_OK ? err->status : AGENT_ENOMEM;
    obj->defs[obj->tool_count++] = (struct ag_tool_def){t->name, rec->description, schema};
    return AGENT_OK;
}

/* Commands and callbacks are limited by name, for all runs of the engine. */
static ag_gate *tool_gate(agent_engine *e, struct ag_str name)
{
    char text[AG_TOOL_NAME_MAX + 8];
    int n = snprintf(text, sizeof(text), "tool:" AG_STR_FMT, AG_STR_ARG(name));

    return ag_schedule_gate(e->schedule, (struct ag_str){text, (size_t)n},
                            ag_limit(&e->limits, AG_LIMIT_TOOL_CONCURRENCY), 0);
}

/* One gate for all agents that talk to the same model in the same place. Offline has none. */
static ag_gate *endpoint_gate(agent_engine *e, const struct ag_agent_obj *obj)
{
    const struct ag_agent_spec *s = &obj->rec.spec;
    const struct ag_params *p = &obj->params;
    AG_AUTO(ag_buf) name = AG_BUF_INIT(8192);
    int64_t capacity = ag_limit(&e->limits, AG_LIMIT_ENDPOINT_CONCURRENCY);

    if (obj->vt == NULL && capacity > AG_HOSTED_CONCURRENCY) /* providers that hang must leave threads to tools */
        capacity = AG_HOSTED_CONCURRENCY;
    if (obj->vt != NULL && obj->vt->plan != NULL && p->max_concurrency == 0 && p->requests_per_minute == 0)
        return NULL;
    ag_buf_str(&name, s->provider);
    ag_buf_char(&name, ' ');
    ag_buf_str(&name, s->base_url);
    ag_buf_char(&name, ' ');
    ag_buf_str(&name, s->model);
    return ag_schedule_gate(e->schedule, ag_buf_view(&name),
                            p->max_concurrency > 0 ? p->max_concurrency : capacity,
                            p->requests_per_minute > 0 ? p->requests_per_minute
                                                       : ag_limit(&e->limits, AG_LIMIT_ENDPOINT_PER_MINUTE));
}

/* A tool that is listed but not there any more is left out: the model is not offered it. */
static agent_status use_named(struct agent_load *load, struct ag_agent_obj *obj, struct ag_str name, agent_error *err)
{
    const struct ag_host_tool *host = ag_engine_tool(load->engine, name);
    const struct ag_builtin *builtin = host == NULL ? ag_builtin_find(name) : NULL;
    struct ag_tool_rec rec;
    agent_status rc;

    if (host != NULL) {
        if ((rc = use_host(&load->engine->limits, obj, host, err)) == AGENT_OK)
            obj->tools[obj->tool_count - 1].gate = tool_gate(load->engine, name);
        return rc;
    }
    if (builtin != NULL)
        return use_builtin(obj, builtin, err);
    if ((rc = ag_reader_tool(load->reader, name, &obj->arena, &rec, err)) == AGENT_OK) {
        if ((rc = use_command(&load->engine->limits, obj, &rec, err)) == AGENT_OK)
            obj->tools[obj->tool_count - 1].gate = tool_gate(load->engine, name);
        return rc;
    }
    if (rc != AGENT_ENOTFOUND)
        return rc;
    ag_log_line(&load->engine->log, AG_LOG_WARN, "catalog", "agent=%lld tool=" AG_STR_FMT " is not there",
                (long long)obj->rec.agent_id, AG_STR_ARG(name));
    return AGENT_OK;
}

static agent_status resolve_tools(struct agent_load *load, struct ag_agent_obj *obj, agent_error *err)
{
    struct ag_str text = obj->rec.spec.tools;
    size_t count = ag_builtin_count;
    json_auto_t *list = NULL;
    agent_status rc = AGENT_OK;

    if (text.p != NULL) {
        list = json_loadb(text.p, text.n, 0, NULL);
        if (!json_is_array(list))
            return ag_fail(err, AGENT_ESTORAGE, 0, "load agent: its list of tools is damaged");
        count = json_array_size(list);
    }
    if (count == 0)
        return AGENT_OK;
    obj->tools = ag_arena_zalloc(&obj->arena, count * sizeof(*obj->tools));
    obj->defs = ag_arena_zalloc(&obj->arena, count * sizeof(*obj->defs));
    if (obj->tools == NULL || obj->defs == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "load agent: out of memory");
    for (size_t i = 0; i < count && rc == AGENT_OK; i++) {
        if (list == NULL) {
            rc = use_builtin(obj, &ag_builtins[i], err);
        } else {
            struct ag_str name = ag_arena_str(&obj->arena, ag_str_of(json_string_value(json_array_get(list, i))));

            if (name.p != NULL)
                rc = use_named(load, obj, name, err);
        }
    }
    return rc;
}

static agent_status load_agent(void *ctx, struct ag_value **out, agent_error *err)
{
    struct agent_load *load = ctx;
    struct ag_agent_obj *obj = ag_calloc(1, sizeof(*obj));
    agent_status rc;

    if (obj == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "load agent: out of memory");
    obj->arena = AG_ARENA_INIT;
    atomic_init(&obj->head.refs, 1);
    obj->head.drop = agent_drop;
    if ((rc = ag_reader_agent(load->reader, AG_STR_NONE, load->id, &obj->arena, &obj->rec, err)) != AGENT_OK ||
        (rc = provider_of(load->engine, obj->rec.spec.provider, &obj->vt, &obj->host, err)) != AGENT_OK ||
        (rc = ag_params_parse(obj->rec.spec.provider, obj->rec.spec.options, AG_STR_NONE, &obj->arena, &obj->params,
                              err)) != AGENT_OK ||
        (rc = resolve_tools(load, obj, err)) != AGENT_OK) {
        agent_drop(&obj->head);
        return ag_wrap(err, rc, "load agent");
    }
    obj->gate = endpoint_gate(load->engine, obj);
    ag_schedule_learn(load->engine->schedule, obj->rec.spec.name, obj->gate);
    obj->head.bytes = sizeof(*obj) + obj->arena.held_bytes;
    *out = &obj->head;
    return AGENT_OK;
}

agent_status ag_catalog_agent(agent_engine *e, ag_reader *r, int64_t version_id, struct ag_agent_obj **out,
                              agent_error *err)
{
    struct agent_load load = {e, r, version_id};
    struct ag_value *v = NULL;
    struct ag_mem_charge was = ag_mem_charge(NULL); /* what the cache keeps is no run's */
    agent_status rc = ag_cache_load(e->cache, AG_CACHE_AGENT, &version_id, sizeof(version_id), load_agent, &load, &v,
                                    err);

    ag_mem_charge_back(was);
    if (rc == AGENT_OK)
        *out = (struct ag_agent_obj *)v;
    return rc;
}

const struct ag_agent_tool *ag_catalog_tool(const struct ag_agent_obj *agent, struct ag_str name)
{
    for (size_t i = 0; i < agent->tool_count; i++)
        if (ag_str_eq(agent->tools[i].name, name))
            return &agent->tools[i];
    return NULL;
}

/* --- its memories ------------------------------------------------------------------------------------ */

static void memories_drop(struct ag_value *v)
{
    struct ag_memories_obj *obj = (struct ag_memories_obj *)v;

    ag_arena_drop(&obj->arena);
    ag_free(obj);
}

static agent_status load_memories(void *ctx, struct ag_value **out, agent_error *err)
{
    struct agent_load *load = ctx;
    struct ag_memories_obj *obj = ag_calloc(1, sizeof(*obj));
    AG_AUTO(ag_arena) rows = AG_ARENA_INIT;
    AG_AUTO(ag_buf) text = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
    struct ag_memory_list list = {NULL, 0};
    agent_status rc;

    if (obj == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "load memories: out of memory");
    obj->arena = AG_ARENA_INIT;
    atomic_init(&obj->head.refs, 1);
    obj->head.drop = memories_drop;
    rc = ag_reader_memories(load->reader, load->id, (size_t)ag_limit(&load->engine->limits, AG_LIMIT_MEMORY_COUNT),
                            (size_t)ag_limit(&load->engine->limits, AG_LIMIT_MEMORY_BYTES), &rows, &list, err);
    if (rc == AGENT_OK && list.count > 0) {
        ag_buf_z(&text, "Memory (kept from before):");
        for (size_t i = 0; i < list.count; i++) {
            ag_buf_z(&text, "\n- ");
            ag_buf_str(&text, list.at[i].key);
            ag_buf_z(&text, ": ");
            ag_buf_str(&text, list.at[i].text);
        }
        if ((rc = ag_buf_status(&text, "load memories", err)) == AGENT_OK) {
            obj->section = ag_arena_str(&obj->arena, ag_buf_view(&text));
            if (obj->section.p == NULL)
                rc = ag_fail(err, AGENT_ENOMEM, 0, "load memories: out of memory");
        }
    }
    if (rc != AGENT_OK) {
        memories_drop(&obj->head);
        return ag_wrap(err, rc, "load memories");
    }
    obj->head.bytes = sizeof(*obj) + obj->arena.held_bytes;
    *out = &obj->head;
    return AGENT_OK;
}

agent_status ag_catalog_memories(agent_engine *e, ag_reader *r, int64_t agent_id, struct ag_memories_obj **out,
                                 agent_error *err)
{
    struct agent_load load = {e, r, agent_id};
    struct ag_value *v = NULL;
    struct ag_mem_charge was = ag_mem_charge(NULL);
    agent_status rc = ag_cache_load(e->cache, AG_CACHE_MEMORY, &agent_id, sizeof(agent_id), load_memories, &load, &v,
                                    err);

    ag_mem_charge_back(was);
    if (rc == AGENT_OK)
        *out = (struct ag_memories_obj *)v;
    return rc;
}
