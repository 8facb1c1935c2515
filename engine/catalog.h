/*
 * An agent version made ready to run: its provider found, options parsed, tools resolved and their
 * schemas compiled. Immutable, shared by all runs of that version through the front cache.
 */
#ifndef AG_ENGINE_CATALOG_H
#define AG_ENGINE_CATALOG_H

#include "engine/engine.h"
#include "engine/schedule.h"
#include "engine/provider/provider.h"

enum ag_tool_kind { AG_KIND_BUILTIN, AG_KIND_COMMAND, AG_KIND_HOST };

struct ag_agent_tool {
    enum ag_tool_kind kind;
    enum agent_effect effect;
    struct ag_str name;
    const struct ag_builtin *builtin;
    const struct ag_host_tool *host;
    struct ag_tool_rec command;
    const char *const *argv;
    ag_schema *schema;
    struct ag_gate *gate; /* how many calls of it may be out; the engine's; NULL: no limit */
    int64_t timeout_ms;
    size_t max_output_bytes;
};

struct ag_agent_obj {
    struct ag_value head;
    ag_arena arena;
    struct ag_agent_rec rec;
    struct ag_params params;
    const struct ag_provider_vt *vt;      /* NULL: a host's provider */
    const struct ag_host_provider *host;
    struct ag_gate *gate; /* of its model's endpoint; the engine's; NULL: no limit */
    struct ag_agent_tool *tools;
    struct ag_tool_def *defs; /* what the model is offered, in the same order */
    size_t tool_count;
};

/* The agent of a version, through the cache. Given: ag_value_put(&obj->head). */
agent_status ag_catalog_agent(agent_engine *e, ag_reader *r, int64_t version_id, struct ag_agent_obj **out,
                              agent_error *err);
const struct ag_agent_tool *ag_catalog_tool(const struct ag_agent_obj *agent, struct ag_str name); /* NULL: none */

struct ag_memories_obj {
    struct ag_value head;
    ag_arena arena;
    struct ag_str section; /* "Memory:\n- key: text\n…"; absent: the agent has none */
};

/* The agent's memory section, through the cache. Given: ag_value_put(). */
agent_status ag_catalog_memories(agent_engine *e, ag_reader *r, int64_t agent_id, struct ag_memories_obj **out,
                                 agent_error *err);

/* Splits "provider:model"; AGENT_EINVAL where it is not of that form or the provider is unknown. */
agent_status ag_model_split(agent_engine *e, struct ag_str model, struct ag_str *out_provider,
                            struct ag_str *out_model, agent_error *err);

#endif
