/* Tools and providers that a host brings, command tools kept in the file, and trying one by hand. */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/catalog.h"
#include "engine/worker.h"

/* --- the host's own ---------------------------------------------------------------------------------- */

const struct ag_host_tool *ag_engine_tool(agent_engine *e, struct ag_str name)
{
    const struct ag_host_tool *t;

    (void)pthread_mutex_lock(&e->admin_lock);
    for (t = e->tools; t != NULL && !ag_str_is(name, t->tool.name); t = t->next)
        ;
    (void)pthread_mutex_unlock(&e->admin_lock);
    return t;
}

const struct ag_host_provider *ag_engine_provider(agent_engine *e, struct ag_str name)
{
    const struct ag_host_provider *p;

    if (e->providers == NULL) /* set before the first run that uses it */
        return NULL;
    (void)pthread_mutex_lock(&e->admin_lock);
    for (p = e->providers; p != NULL && !ag_str_is(name, p->provider.name); p = p->next)
        ;
    (void)pthread_mutex_unlock(&e->admin_lock);
    return p;
}

static agent_status check_tool(const char *name, const char *description, const char *schema, int effect,
                               int64_t timeout_ms, int64_t max_output, agent_error *err)
{
    agent_status rc;

    if ((rc = ag_name_check("tool name", name, AG_TOOL_NAME_MAX, err)) != AGENT_OK)
        return rc;
    if (strchr(name, '.') != NULL) { /* providers take letters, digits, _ and - */
        ag_fail(err, AGENT_EINVAL, 0, "tool name '%s': character %zu is not allowed", name,
                (size_t)(strchr(name, '.') - name) + 1);
        ag_hint(err, "use letters, digits and _ -");
        return AGENT_EINVAL;
    }
    if (effect < AGENT_EFFECT_PURE || effect > AGENT_EFFECT_EFFECT)
        return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': effect is pure, idempotent or effect", name);
    if (timeout_ms < 0 || timeout_ms > INT64_C(86400000))
        return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': timeout %lld ms is not within 1 ms and 24 h", name,
                       (long long)timeout_ms);
    if (max_output < 0 || max_output > (16 << 20))
        return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': max_output_bytes %lld is over 16 MB", name,
                       (long long)max_output);
    if (description != NULL && (strlen(description) > 4096 || !ag_utf8_valid(ag_str_of(description), NULL)))
        return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': its description is not UTF-8 or over 4096 bytes", name);
    if (schema != NULL && (rc = ag_schema_valid(ag_str_of(schema), err)) != AGENT_OK)
        return ag_wrap(err, rc, "tool '%s': schema", name);
    return AGENT_OK;
}

agent_status agent_tool_register(agent_engine *e, const agent_tool *tool, agent_error *err)
{
    struct ag_host_tool *t;
    agent_status rc;

    if (e == NULL || tool == NULL || tool->size < sizeof(*tool) || tool->call == NULL || tool->name == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "register tool: engine, tool (with its size), name and call are needed");
    if ((rc = check_tool(tool->name, tool->description, tool->schema, tool->effect, tool->timeout_ms,
                         tool->max_output_bytes, err)) != AGENT_OK)
        return ag_wrap(err, rc, "register tool");
    if (ag_engine_tool(e, ag_str_of(tool->name)) != NULL || ag_builtin_find(ag_str_of(tool->name)) != NULL)
        return ag_fail(err, AGENT_EEXISTS, 0, "register tool: '%s' is there already", tool->name);
    if ((t = ag_calloc(1, sizeof(*t))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "register tool: out of memory");
    t->tool = *tool;
    t->tool.name = ag_strdup(tool->name);
    t->tool.description = ag_strdup(tool->description != NULL ? tool->description : "");
    t->tool.schema = ag_strdup(tool->schema);
    if (t->tool.name == NULL || t->tool.description == NULL || (tool->schema != NULL && t->tool.schema == NULL)) {
        ag_free((void *)(uintptr_t)t->tool.name);
        ag_free((void *)(uintptr_t)t->tool.description);
        ag_free((void *)(uintptr_t)t->tool.schema);
        ag_free(t);
        return ag_fail(err, AGENT_ENOMEM, 0, "register tool: out of memory");
    }
    (void)pthread_mutex_lock(&e->admin_lock);
    t->next = e->tools;
    e->tools = t;
    (void)pthread_mutex_unlock(&e->admin_lock);
    if (e->cache != NULL)
        ag_cache_invalidate_kind(e->cache, AG_CACHE_AGENT);
    return AGENT_OK;
}

agent_status agent_provider_register(agent_engine *e, const agent_provider *provider, agent_error *err)
{
    struct ag_host_provider *p;
    agent_status rc;

    if (e == NULL || provider == NULL || provider->size < sizeof(*provider) || provider->complete == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "register provider: engine, provider (with its size) and complete are needed");
    if ((rc = ag_name_check("provider name", provider->name, 32, err)) != AGENT_OK)
        return ag_wrap(err, rc, "register provider");
    if (ag_provider_find(ag_str_of(provider->name)) != NULL || ag_engine_provider(e, ag_str_of(provider->name)) != NULL)
        return ag_fail(err, AGENT_EEXISTS, 0, "register provider: '%s' is there already", provider->name);
    if ((p = ag_calloc(1, sizeof(*p))) == NULL || (p->provider.name = ag_strdup(provider->name)) == NULL) {
        ag_free(p);
        return ag_fail(err, AGENT_ENOMEM, 0, "register provider: out of memory");
    }
    p->provider.size = sizeof(p->provider);
    p->provider.complete = provider->complete;
    p->provider.ctx = provider->ctx;
    (void)pthread_mutex_lock(&e->admin_lock);
    p->next = e->providers;
    e->providers = p;
    (void)pthread_mutex_unlock(&e->admin_lock);
    return AGENT_OK;
}

/* --- command tools --------------------------------------------------------------------------------------- */

agent_status agent_command_put(agent_engine *e, const agent_command *c, bool replace, agent_error *err)
{
    AG_AUTO(ag_buf) argv = AG_BUF_INIT(128u << 10);
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || c == NULL || c->size < sizeof(*c) || c->name == NULL || c->argv == NULL || c->argv[0] == NULL ||
        c->argv[0][0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "add tool: engine, command (with its size), name and a program are needed");
    if ((rc = ag_engine_writable(e, "add tool", err)) != AGENT_OK ||
        (rc = check_tool(c->name, c->description, c->schema, c->effect, c->timeout_ms, c->max_output_bytes, err)) !=
            AGENT_OK)
        return ag_wrap(err, rc, "add tool");
    if (ag_builtin_find(ag_str_of(c->name)) != NULL)
        return ag_fail(err, AGENT_EEXISTS, 0, "add tool: '%s' is a builtin tool", c->name);
    ag_buf_char(&argv, '[');
    for (size_t i = 0; c->argv[i] != NULL; i++) {
        if (!ag_utf8_valid(ag_str_of(c->argv[i]), NULL))
            return ag_fail(err, AGENT_EINVAL, 0, "add tool: word %zu of the command is not UTF-8", i + 1);
        if (i > 0)
            ag_buf_char(&argv, ',');
        ag_buf_json_str(&argv, ag_str_of(c->argv[i]));
    }
    ag_buf_char(&argv, ']');
    if ((rc = ag_buf_status(&argv, "add tool: the command", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_TOOL_PUT;
    op.tool_put.replace = replace;
    op.tool_put.tool = (struct ag_tool_rec){
        .name = ag_str_of(c->name), .description = ag_str_of(c->description != NULL ? c->description : ""),
        .argv = ag_buf_view(&argv), .schema = ag_str_of(c->schema), .effect = (enum agent_effect)c->effect,
        .timeout_ms = c->timeout_ms, .max_output_bytes = c->max_output_bytes,
    };
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "add tool");
}

agent_status agent_command_remove(agent_engine *e, const char *name, agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    agent_status rc;

    if (e == NULL || name == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "remove tool: engine and name are needed");
    if ((rc = ag_engine_writable(e, "remove tool", err)) != AGENT_OK)
        return rc;
    if (ag_builtin_find(ag_str_of(name)) != NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "remove tool: '%s' is builtin", name);
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_TOOL_RM;
    op.name.name = ag_str_of(name);
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "remove tool");
}

/* --- trying one -------------------------------------------------------------------------------------------- */

struct trial {
    void (*fn)(void *ctx, const agent_tool_result *result);
    void *ctx;
    bool done;
};

static void give_result(struct trial *t, const char *status, struct ag_str text, int64_t wall_us)
{
    agent_tool_result r = {.size = sizeof(r), .status = status, .text = text.p, .text_bytes = text.n,
                           .wall_ms = wall_us / 1000};

    t->fn(t->ctx, &r);
    t->done = true;
}

static void on_end(void *ctx, const struct ag_tool_end *end)
{
    static const char *const statuses[] = {[AG_TOOL_OK] = "succeeded", [AG_TOOL_FAILED] = "failed",
                                           [AG_TOOL_TIMEOUT] = "timeout", [AG_TOOL_CANCELLED] = "cancelled"};

    give_result(ctx, statuses[end->outcome], end->text, end->wall_us);
}

static agent_status try_builtin(agent_engine *e, const struct ag_builtin *b, struct ag_str args, struct trial *t,
                                agent_error *err)
{
    AG_AUTO(ag_buf) out = AG_BUF_INIT(AG_TOOL_OUTPUT_BYTES);
    agent_error why = AGENT_ERROR_INIT;
    agent_status rc;

    if (b->kind != AG_BUILTIN_CALC && b->kind != AG_BUILTIN_NOW)
        return ag_fail(err, AGENT_EINVAL, 0, "try tool: '%s' works on an agent's memory and needs a run", b->name);
    if ((rc = ag_schema_check(ag_str_of(b->schema), args, err)) != AGENT_OK)
        return rc;
    if (ag_builtin_call(b, args, &e->clock, &out, &why) == AGENT_OK)
        give_result(t, "succeeded", ag_buf_view(&out), 0);
    else
        give_result(t, "failed", ag_str_of(why.text), 0);
    return AGENT_OK;
}

/* A loop of its own: the engine's workers have better to do. */
static agent_status try_command(agent_engine *e, const struct ag_tool_rec *rec, ag_arena *a, struct ag_str args,
                                struct trial *t, agent_error *err)
{
    struct ag_command c = {
        .name = rec->name.p, .timeout_ms = rec->timeout_ms > 0 ? rec->timeout_ms : AG_TOOL_TIMEOUT_MS,
        .max_output_bytes = rec->max_output_bytes > 0 ? (size_t)rec->max_output_bytes : AG_TOOL_OUTPUT_BYTES,
        .arguments = args, .effect_id = "try", .call_id = "try", .env = (const char *const *)e->tool_env,
    };
    ag_command_call *call;
    uv_loop_t loop;
    agent_status rc;
    int uv;

    if (rec->schema.p != NULL && (rc = ag_schema_check(rec->schema, args, err)) != AGENT_OK)
        return rc;
    if ((rc = ag_argv_parse(rec->argv, a, &c.argv, err)) != AGENT_OK)
        return rc;
    if ((uv = uv_loop_init(&loop)) != 0)
        return ag_fail(err, AGENT_EIO, -uv, "try tool: event loop: %s", uv_strerror(uv));
    rc = ag_command_start(&loop, &c, on_end, t, &call, err);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return rc;
}

agent_status agent_tool_try(agent_engine *e, const char *name, const char *arguments,
                            void (*fn)(void *ctx, const agent_tool_result *result), void *ctx, agent_error *err)
{
    AG_AUTO(ag_arena) a = AG_ARENA_INIT;
    struct trial t = {fn, ctx, false};
    struct ag_str args = arguments != NULL ? ag_str_of(arguments) : AG_STR("{}");
    const struct ag_builtin *b;
    struct ag_tool_rec rec;
    ag_reader *r;
    agent_status rc;

    if (e == NULL || name == NULL || fn == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "try tool: engine, name and fn are needed");
    if ((b = ag_builtin_find(ag_str_of(name))) != NULL) {
        rc = try_builtin(e, b, args, &t, err);
    } else {
        if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
            return rc;
        rc = ag_reader_tool(r, ag_str_of(name), &a, &rec, err);
        ag_engine_reader_put(e);
        if (rc == AGENT_OK)
            rc = try_command(e, &rec, &a, args, &t, err);
        else if (rc == AGENT_ENOTFOUND) {
            ag_fail(err, rc, 0, "no tool '%.80s'", name);
            ag_hint(err, "agentctl tool ls shows what there is");
        }
    }
    return rc;
}
