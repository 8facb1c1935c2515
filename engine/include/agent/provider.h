/*
 * A model of the host's own: instead of HTTP, the engine calls this to get an answer.
 */
#ifndef AGENT_PROVIDER_H
#define AGENT_PROVIDER_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

typedef struct agent_reply agent_reply; /* where the answer goes */

typedef struct agent_message {
    const char *role; /* "system", "user", "assistant" or "tool" */
    const char *text; /* NUL-terminated */
    size_t text_bytes;
    const char *tool_calls;   /* assistant: JSON array of {id, name, arguments}; else NULL */
    const char *tool_call_id; /* tool: the call it answers; else NULL */
    const char *tool_name;    /* tool; else NULL */
} agent_message;

typedef struct agent_model_request {
    size_t size;
    const char *model;   /* without the provider */
    const agent_message *messages;
    size_t message_count;
    const char *tools;   /* JSON array of {name, description, parameters}; "[]": none */
    const char *options; /* JSON object */
} agent_model_request;

/* Thread of the call only. */
AGENT_API void agent_reply_text(agent_reply *reply, const char *text, size_t bytes);
AGENT_API void agent_reply_tool_call(agent_reply *reply, const char *id, const char *name, const char *arguments);
AGENT_API void agent_reply_usage(agent_reply *reply, int64_t input_tokens, int64_t output_tokens);
/** Where the call fails with a status that may be retried: not before so many milliseconds, by no run of this model. */
AGENT_API void agent_reply_retry_after(agent_reply *reply, int64_t ms);
AGENT_API bool agent_reply_cancelled(const agent_reply *reply);

typedef struct agent_provider {
    size_t size;
    const char *name; /* the part of "provider:model" before the colon; copied */
    /** Answers one request. Runs on a thread of the tool pool and may block; the request is
     *  borrowed. A status that may be retried is retried as HTTP failures are. */
    agent_status (*complete)(void *ctx, const agent_model_request *request, agent_reply *reply,
                             agent_error *err);
    void *ctx;
} agent_provider;

/** Makes a provider known. AGENT_EEXISTS where the name is taken. Before the first run that uses it. */
AGENT_API agent_status agent_provider_register(agent_engine *engine, const agent_provider *provider,
                                               agent_error *err);

AGENT_END_DECLS
#endif
