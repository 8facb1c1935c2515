#include "engine/agent_spec.h"

#include <string.h>

#include "engine/base/utf8.h"
#include "engine/catalog.h"

agent_status ag_text_check(const char *what, struct ag_str s, size_t most, agent_error *err)
{
    size_t at = 0;

    if (s.n > most)
        return ag_fail(err, AGENT_ETOOBIG, 0, "%s: %zu bytes, the limit is %zu", what, s.n, most);
    if (!ag_utf8_valid(s, &at))
        return ag_fail(err, AGENT_EINVAL, 0, "%s is not UTF-8 (byte %zu)", what, at);
    return AGENT_OK;
}

static agent_status tool_exists(agent_engine *e, struct ag_str name, agent_error *err)
{
    AG_AUTO(ag_arena) a = AG_ARENA_INIT;
    struct ag_tool_rec rec;
    ag_reader *r;
    agent_status rc;

    if (ag_builtin_find(name) != NULL || ag_engine_tool(e, name) != NULL)
        return AGENT_OK;
    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    rc = ag_reader_tool(r, name, &a, &rec, err);
    ag_engine_reader_put(e);
    if (rc == AGENT_ENOTFOUND) {
        ag_fail(err, AGENT_ENOTFOUND, 0, "no tool '" AG_STR_FMT "'", AG_STR_ARG(name));
        ag_hint(err, "agentctl tool ls shows what there is; agentctl tool add adds a command");
    }
    return rc;
}

static agent_status tools_json(agent_engine *e, const agent_config *c, ag_arena *a, struct ag_str *out,
                               agent_error *err)
{
    AG_AUTO(ag_buf) b = AG_BUF_INIT(64u << 10);
    agent_status rc;

    if (c->tools == NULL)
        return AGENT_OK;
    ag_buf_char(&b, '[');
    for (size_t i = 0; i < c->tool_count; i++) {
        struct ag_str name = ag_str_of(c->tools[i]);

        for (size_t k = 0; k < i; k++)
            if (ag_str_is(name, c->tools[k]))
                return ag_fail(err, AGENT_EINVAL, 0, "tool '%s' is listed twice", c->tools[i]);
        if ((rc = ag_name_check("tool name", c->tools[i], AG_TOOL_NAME_MAX, err)) != AGENT_OK ||
            (rc = tool_exists(e, name, err)) != AGENT_OK)
            return rc;
        if (i > 0)
            ag_buf_char(&b, ',');
        ag_buf_json_str(&b, name);
    }
    ag_buf_char(&b, ']');
    if ((rc = ag_buf_status(&b, "tools", err)) != AGENT_OK)
        return rc;
    *out = ag_arena_str(a, ag_buf_view(&b));
    return out->p != NULL ? AGENT_OK : ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
}

static agent_status check_options(agent_engine *e, const struct ag_agent_spec *s, ag_arena *a, agent_error *err)
{
    struct ag_params params;
    struct ag_str provider, model;
    agent_status rc;

    if (s->options.p == NULL)
        return AGENT_OK;
    if ((rc = ag_params_parse(s->provider, s->options, AG_STR_NONE, a, &params, err)) != AGENT_OK)
        return ag_wrap(err, rc, "options");
    for (size_t i = 0; i < params.fallback_count; i++)
        if ((rc = ag_model_split(e, params.fallback[i], &provider, &model, err)) != AGENT_OK)
            return ag_wrap(err, rc, "options: fallback");
    return AGENT_OK;
}

static agent_status check_base_url(struct ag_str url, agent_error *err)
{
    if (url.n == 0 || (url.n > 7 && memcmp(url.p, "http://", 7) == 0) || (url.n > 8 && memcmp(url.p, "https://", 8) == 0))
        return AGENT_OK;
    ag_fail(err, AGENT_EINVAL, 0, "base URL '%.100s' does not begin with http:// or https://", url.p);
    ag_hint(err, "for Ollama: --base-url http://127.0.0.1:11434/v1");
    return AGENT_EINVAL;
}

static agent_status fill(agent_engine *e, const agent_config *c, const struct ag_agent_rec *old, ag_arena *a,
                         struct ag_agent_spec *s, agent_error *err)
{
    struct ag_str model = c->model != NULL ? ag_str_of(c->model) : AG_STR("offline:demo");
    agent_status rc;

    if (old != NULL)
        *s = old->spec;
    if (c->model != NULL || old == NULL)
        if ((rc = ag_model_split(e, model, &s->provider, &s->model, err)) != AGENT_OK)
            return rc;
    if (c->instructions != NULL)
        s->instructions = ag_str_of(c->instructions);
    if (c->base_url != NULL) /* "" takes it away */
        s->base_url = c->base_url[0] != '\0' ? ag_str_of(c->base_url) : AG_STR_NONE;
    if (c->key_env != NULL)
        s->key_env = c->key_env[0] != '\0' ? ag_str_of(c->key_env) : AG_STR_NONE;
    if (c->max_steps != 0)
        s->max_steps = c->max_steps;
    if ((rc = tools_json(e, c, a, &s->tools, err)) != AGENT_OK)
        return rc;
    if (c->options != NULL &&
        (rc = ag_params_merge(s->options, ag_str_of(c->options), a, &s->options, err)) != AGENT_OK)
        return ag_wrap(err, rc, "options");
    if (s->options.n == 2) /* "{}" */
        s->options = AG_STR_NONE;
    if (s->max_steps < 0 || s->max_steps > AG_MAX_STEPS_LIMIT)
        return ag_fail(err, AGENT_EINVAL, 0, "max_steps %d is not within 1 and %d", s->max_steps, AG_MAX_STEPS_LIMIT);
    if ((rc = ag_text_check("instructions", s->instructions, AG_INSTRUCTIONS_MAX, err)) != AGENT_OK ||
        (rc = ag_text_check("model", s->model, 256, err)) != AGENT_OK ||
        (rc = ag_text_check("base URL", s->base_url, 2048, err)) != AGENT_OK ||
        (rc = ag_text_check("options", s->options, AG_OPTIONS_TEXT_MAX, err)) != AGENT_OK ||
        (rc = check_base_url(s->base_url, err)) != AGENT_OK)
        return rc;
    if (s->key_env.n > 0 && (rc = ag_name_check("key variable", s->key_env.p, 128, err)) != AGENT_OK)
        return rc;
    return check_options(e, s, a, err);
}

/* --- said again ------------------------------------------------------------------------------------- */

#define MEMO_BYTES 65536 /* of texts; what is longer is checked each time */

/* A command may be removed: that it was there once says nothing. Builtins and the host's tools, its
 * providers too, stay as long as the engine. */
static bool holds_for_good(agent_engine *e, const agent_config *c)
{
    for (size_t i = 0; c->tools != NULL && i < c->tool_count; i++)
        if (ag_builtin_find(ag_str_of(c->tools[i])) == NULL && ag_engine_tool(e, ag_str_of(c->tools[i])) == NULL)
            return false;
    return true;
}

static bool keep_text(ag_arena *a, const char *text, const char **out)
{
    *out = text == NULL ? NULL : ag_arena_z(a, ag_str_of(text));
    return text == NULL || *out != NULL;
}

static bool keep_tools(ag_arena *a, const agent_config *c, agent_config *kept)
{
    const char **names;

    if (c->tools == NULL)
        return true;
    if ((names = ag_arena_zalloc(a, (c->tool_count + 1) * sizeof(*names))) == NULL)
        return false;
    kept->tools = names;
    kept->tool_count = c->tool_count;
    for (size_t i = 0; i < c->tool_count; i++)
        if (!keep_text(a, c->tools[i], &names[i]))
            return false;
    return true;
}

/* The tag of what was kept; 0: it was not. */
static uint64_t memo_keep(struct ag_spec_memo *m, const agent_config *c)
{
    agent_config *k = &m->config;
    uint64_t tag = 0;

    if (atomic_exchange_explicit(&m->busy, true, memory_order_acquire))
        return 0;
    if (m->arena.next_bytes == 0)
        m->arena = AG_ARENA_INIT;
    ag_arena_reset(&m->arena);
    *k = (agent_config)AGENT_CONFIG_INIT;
    k->max_steps = c->max_steps;
    m->is_set = keep_text(&m->arena, c->model, &k->model) && keep_text(&m->arena, c->instructions, &k->instructions) &&
                keep_text(&m->arena, c->options, &k->options) && keep_text(&m->arena, c->base_url, &k->base_url) &&
                keep_text(&m->arena, c->key_env, &k->key_env) && keep_tools(&m->arena, c, k);
    if (m->is_set)
        tag = ++m->tag;
    atomic_store_explicit(&m->busy, false, memory_order_release);
    return tag;
}

agent_status ag_agent_spec_fill(agent_engine *e, const agent_config *c, const struct ag_agent_rec *old, ag_arena *a,
                                struct ag_agent_spec *out, agent_error *err)
{
    agent_status rc = fill(e, c, old, a, out, err);

    out->tag = 0;
    if (rc == AGENT_OK && old == NULL && e->store->vt->agent_again != NULL && holds_for_good(e, c) &&
        out->instructions.n + out->options.n + out->tools.n + out->base_url.n <= MEMO_BYTES)
        out->tag = memo_keep(&e->spec_memo, c);
    return rc;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool says_same(const agent_config *a, const agent_config *b)
{
    if (a->max_steps != b->max_steps || (a->tools == NULL) != (b->tools == NULL) ||
        (a->tools != NULL && a->tool_count != b->tool_count))
        return false;
    for (size_t i = 0; a->tools != NULL && i < a->tool_count; i++)
        if (!same_text(a->tools[i], b->tools[i]))
            return false;
    return same_text(a->instructions, b->instructions) && same_text(a->model, b->model) &&
           same_text(a->options, b->options) && same_text(a->base_url, b->base_url) &&
           same_text(a->key_env, b->key_env);
}

uint64_t ag_spec_memo_tag(struct ag_spec_memo *m, const agent_config *c)
{
    uint64_t tag = 0;

    if (atomic_exchange_explicit(&m->busy, true, memory_order_acquire))
        return 0;
    if (m->is_set && says_same(&m->config, c))
        tag = m->tag;
    atomic_store_explicit(&m->busy, false, memory_order_release);
    return tag;
}

void ag_spec_memo_drop(struct ag_spec_memo *m)
{
    ag_arena_drop(&m->arena);
}
