/* Rows by what people call them. */
#include <stdint.h>

#include "storage/memory/ram.h"

struct ag_ram_agent *ag_ram_agent_find(struct ag_ram *m, struct ag_str name)
{
    return ag_ram_agent_hashed(m, ag_ram_name_hash(m, NULL, name), name);
}

struct ag_ram_agent *ag_ram_agent_hashed(struct ag_ram *m, uint32_t hash, struct ag_str name)
{
    struct ag_ram_at at;
    struct ag_ram_agent *a = ag_ram_map_first(&m->agent_names, hash, &at);

    while (a != NULL && !ag_str_eq(ag_ram_agent_name(a), name))
        a = ag_ram_map_next(&m->agent_names, hash, &at);
    return a;
}

struct ag_ram_session *ag_ram_session_named(struct ag_ram *m, const struct ag_ram_agent *a, struct ag_str name)
{
    uint32_t hash = ag_ram_name_hash(m, a, name);
    struct ag_ram_at at;
    struct ag_ram_session *s = ag_ram_map_first(&m->session_names, hash, &at);

    while (s != NULL && (s->agent != a || !ag_str_eq(ag_ram_str(s->name), name)))
        s = ag_ram_map_next(&m->session_names, hash, &at);
    return s;
}

struct ag_ram_run *ag_ram_run_keyed(struct ag_ram *m, struct ag_str key)
{
    uint32_t hash = ag_ram_name_hash(m, NULL, key);
    struct ag_ram_at at;
    struct ag_ram_run *run = ag_ram_map_first(&m->run_keys, hash, &at);

    while (run != NULL && !ag_str_eq(ag_ram_str(run->key), key))
        run = ag_ram_map_next(&m->run_keys, hash, &at);
    return run;
}

struct ag_ram_memory *ag_ram_memory_find(struct ag_ram *m, const struct ag_ram_agent *a, struct ag_str scope,
                                         struct ag_str key)
{
    uint32_t hash = ag_ram_name_hash(m, a, key);
    struct ag_ram_at at;
    struct ag_ram_memory *row = ag_ram_map_first(&m->memory_keys, hash, &at);

    while (row != NULL && (row->agent != a || !ag_str_eq(ag_ram_str(row->key), key) ||
                           !ag_str_eq(ag_ram_str(row->scope), scope)))
        row = ag_ram_map_next(&m->memory_keys, hash, &at);
    return row;
}

struct ag_ram_tool *ag_ram_tool_find(struct ag_ram *m, struct ag_str name)
{
    uint32_t hash = ag_ram_name_hash(m, NULL, name);
    struct ag_ram_at at;
    struct ag_ram_tool *tool = ag_ram_map_first(&m->tool_names, hash, &at);

    while (tool != NULL && !ag_str_eq(ag_ram_str(tool->name), name))
        tool = ag_ram_map_next(&m->tool_names, hash, &at);
    return tool;
}

struct ag_ram_item *ag_ram_item_find(const struct ag_ram_run *run, int number, enum ag_ram_item_kind kind)
{
    for (struct ag_ram_item *item = run->first; item != NULL && item->number <= number; item = item->next)
        if (item->number == number && item->kind == kind)
            return item;
    return NULL;
}

agent_status ag_ram_nomem(agent_error *err)
{
    return ag_fail(err, AGENT_ENOMEM, 0, "memory store: out of memory");
}
