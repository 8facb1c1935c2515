/* Texts: counted copies, and those that repeat (configurations, instructions, tool names) kept once. */
#include <stdint.h>

#include "storage/memory/ram.h"

#define HEAD_BYTES offsetof(struct ag_ram_text, p)

static size_t text_bytes(const struct ag_ram_text *t)
{
    return HEAD_BYTES + t->n + 1;
}

bool ag_ram_text(struct ag_ram *m, struct ag_str s, struct ag_ram_text **out)
{
    struct ag_ram_text *t;

    if (s.p == NULL) {
        *out = NULL;
        return true;
    }
    if (s.n >= UINT32_MAX || (t = ag_ram_new(m, HEAD_BYTES + s.n + 1)) == NULL)
        return false;
    t->refs = 1;
    t->n = (uint32_t)s.n;
    memcpy(t->p, s.p, s.n);
    t->p[s.n] = '\0';
    *out = t;
    return true;
}

struct ag_ram_text *ag_ram_text_ref(struct ag_ram *m, struct ag_ram_text *t)
{
    if (t != NULL) {
        ag_ram_save(m, t, HEAD_BYTES);
        t->refs++;
    }
    return t;
}

void ag_ram_text_unref(struct ag_ram *m, struct ag_ram_text *t)
{
    if (t == NULL)
        return;
    ag_ram_save(m, t, HEAD_BYTES);
    if (--t->refs == 0)
        ag_ram_dead(m, t, text_bytes(t));
}

bool ag_ram_intern(struct ag_ram *m, struct ag_str s, struct ag_ram_text **out)
{
    struct ag_ram_text *t;
    struct ag_ram_at at;
    uint32_t hash;

    if (s.p == NULL) {
        *out = NULL;
        return true;
    }
    if (m->last_instructions != NULL && ag_str_eq(ag_ram_str(m->last_instructions), s)) {
        *out = ag_ram_text_ref(m, m->last_instructions);
        return true;
    }
    hash = ag_ram_name_hash(m, NULL, s);
    for (t = ag_ram_map_first(&m->texts, hash, &at); t != NULL; t = ag_ram_map_next(&m->texts, hash, &at))
        if (ag_str_eq(ag_ram_str(t), s)) {
            *out = ag_ram_text_ref(m, t);
            return true;
        }
    return ag_ram_text(m, s, out) && ag_ram_put(m, &m->texts, hash, *out);
}

void ag_ram_intern_unref(struct ag_ram *m, struct ag_ram_text *t)
{
    if (t != NULL && t == m->last_instructions)
        ag_ram_forget_last(m);
    if (t != NULL && t->refs == 1)
        ag_ram_del(m, &m->texts, ag_ram_name_hash(m, NULL, ag_ram_str(t)), t);
    ag_ram_text_unref(m, t);
}

#define CONFIG_TEXTS 6

static void config_texts(const struct ag_agent_spec *spec, struct ag_str out[CONFIG_TEXTS])
{
    out[0] = spec->provider;
    out[1] = spec->model;
    out[2] = spec->tools;
    out[3] = spec->options;
    out[4] = spec->base_url;
    out[5] = spec->key_env;
}

static bool same(struct ag_str a, struct ag_str b)
{
    return (a.p == NULL) == (b.p == NULL) && ag_str_eq(a, b);
}

static bool says(const struct ag_ram_config *c, const struct ag_agent_spec *spec)
{
    return same(c->provider, spec->provider) && same(c->model, spec->model) && same(c->tools, spec->tools) &&
           same(c->options, spec->options) && same(c->base_url, spec->base_url) && same(c->key_env, spec->key_env);
}

struct ag_ram_config *ag_ram_config(struct ag_ram *m, const struct ag_agent_spec *spec)
{
    struct ag_str texts[CONFIG_TEXTS];
    struct ag_ram_config *c;
    struct ag_ram_at at;
    size_t bytes = sizeof(*c);
    uint64_t wide = m->seed;
    uint32_t hash;
    char *p;

    if (m->last_config != NULL && says(m->last_config, spec)) {
        c = m->last_config;
        ag_ram_save(m, c, 8);
        c->refs++;
        return c;
    }
    config_texts(spec, texts);
    for (int i = 0; i < CONFIG_TEXTS; i++) {
        if (texts[i].p != NULL)
            wide = ag_ram_hash(wide + (uint64_t)i, texts[i]);
        bytes += texts[i].n + 1;
    }
    hash = ag_ram_hash32(wide);
    for (c = ag_ram_map_first(&m->configs, hash, &at); c != NULL; c = ag_ram_map_next(&m->configs, hash, &at))
        if (says(c, spec)) {
            ag_ram_save(m, c, 8);
            c->refs++;
            return c;
        }
    if (bytes >= UINT32_MAX || (c = ag_ram_new(m, bytes)) == NULL)
        return NULL;
    p = (char *)(c + 1);
    for (int i = 0; i < CONFIG_TEXTS; i++)
        if (texts[i].p != NULL) {
            memcpy(p, texts[i].p, texts[i].n);
            p[texts[i].n] = '\0';
            texts[i].p = p;
            p += texts[i].n + 1;
        }
    *c = (struct ag_ram_config){1, hash, (uint32_t)bytes, texts[0], texts[1], texts[2], texts[3], texts[4], texts[5]};
    return ag_ram_put(m, &m->configs, hash, c) ? c : NULL;
}

void ag_ram_config_unref(struct ag_ram *m, struct ag_ram_config *c)
{
    ag_ram_save(m, c, 8);
    if (--c->refs > 0)
        return;
    ag_ram_forget_last(m);
    ag_ram_del(m, &m->configs, c->hash, c);
    ag_ram_dead(m, c, c->bytes);
}
