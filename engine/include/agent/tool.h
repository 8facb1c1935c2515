/*
 * Tools: builtin (calc, now, remember, recall, forget), commands kept as rows of the file, and
 * callbacks of the host.
 */
#ifndef AGENT_TOOL_H
#define AGENT_TOOL_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

enum agent_effect {
    AGENT_EFFECT_PURE,       /* no effect: may be called again at any time */
    AGENT_EFFECT_IDEMPOTENT, /* called twice with one effect_id it acts once */
    AGENT_EFFECT_EFFECT,     /* acts each time: never called again silently */
};

typedef struct agent_tool_call agent_tool_call; /* what a callback is handed */

/* All borrowed, valid during the callback. */
AGENT_API const char *agent_tool_call_arguments(const agent_tool_call *call); /* JSON object, checked against the schema */
AGENT_API const char *agent_tool_call_effect_id(const agent_tool_call *call);
AGENT_API const char *agent_tool_call_id(const agent_tool_call *call);
AGENT_API agent_run_id agent_tool_call_run(const agent_tool_call *call);
/** Whether the run was cancelled or its time is up: return soon. */
AGENT_API bool agent_tool_call_cancelled(const agent_tool_call *call);
/** Appends to the result that the model will read; over the cap the rest is cut and marked. */
AGENT_API void agent_tool_call_write(agent_tool_call *call, const char *text, size_t bytes);

/** malloc, realloc and free that count for the run's stage `tool` (heap_peak_bytes in v_stage_memory):
 *  what a callback takes from elsewhere is seen in the process's RSS alone. On the callback's own
 *  thread; aligned as malloc's; NULL: out of memory. What is not freed when the callback returns is
 *  freed then. */
AGENT_API void *agent_tool_alloc(agent_tool_call *call, size_t bytes);
AGENT_API void *agent_tool_realloc(agent_tool_call *call, void *p, size_t bytes);
AGENT_API void agent_tool_free(agent_tool_call *call, void *p);

typedef struct agent_tool {
    size_t size;
    const char *name;        /* 1 to 64 of letters, digits, _ - ; copied */
    const char *description; /* for the model; copied */
    const char *schema;      /* JSON Schema of the arguments, an object; NULL: any object; copied */
    int effect;              /* of agent_effect */
    int64_t timeout_ms;      /* 0: default (60 s). A callback is not killed: its late result is dropped */
    int64_t max_output_bytes; /* 0: default (256 KB) */
    /** Runs on a thread of the tool pool, never on a worker. A status other than AGENT_OK becomes a
     *  failed call whose text (err->text) the model reads. */
    agent_status (*call)(void *ctx, agent_tool_call *call, agent_error *err);
    void *ctx;
} agent_tool;

#define AGENT_TOOL_INIT { .size = sizeof(agent_tool) }

/** Makes a callback known under its name, in front of a command tool of the same name. Before the
 *  first run that uses it. */
AGENT_API agent_status agent_tool_register(agent_engine *engine, const agent_tool *tool, agent_error *err);

typedef struct agent_command {
    size_t size;
    const char *name;
    const char *description;
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH of tool_env */
    const char *schema;      /* JSON Schema, an object; NULL: any object */
    int effect;
    int64_t timeout_ms;       /* 0: default */
    int64_t max_output_bytes; /* 0: default */
} agent_command;

#define AGENT_COMMAND_INIT { .size = sizeof(agent_command) }

/** Writes a command tool into the file. AGENT_EEXISTS unless `replace`. Commits. */
AGENT_API agent_status agent_command_put(agent_engine *engine, const agent_command *command, bool replace,
                                         agent_error *err);
AGENT_API agent_status agent_command_remove(agent_engine *engine, const char *name, agent_error *err);

typedef struct agent_tool_result {
    size_t size;
    const char *status; /* succeeded failed timeout cancelled denied */
    const char *text;
    size_t text_bytes;
    int64_t wall_ms;
} agent_tool_result;

/** Calls a tool by hand, outside of any run; nothing is recorded. `fn` gets the result before this
 *  returns. Memory tools need a run and are refused. */
AGENT_API agent_status agent_tool_try(agent_engine *engine, const char *name, const char *arguments,
                                      void (*fn)(void *ctx, const agent_tool_result *result), void *ctx,
                                      agent_error *err);

AGENT_END_DECLS
#endif
