/*
 * Providers: our request into a body, their stream into our reply. A provider owns no socket and
 * no thread; the engine (engine/infer.c) moves the bytes.
 *
 *      ag_model_request ──build()──► url, headers, body ──HTTP──► head, bytes
 *                                                                    │
 *        ag_reply ◄── finish() ◄── event()/whole() ◄── SSE or JSON ◄─┘
 *
 * `offline` has no HTTP: it makes a plan (what to say, in which chunks, after which waits) and the
 * engine plays it.
 */
#ifndef AG_PROVIDER_PROVIDER_H
#define AG_PROVIDER_PROVIDER_H

#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/io/http.h"
#include "engine/io/sse.h"

#define AG_CAP_RESPONSE_BYTES (16u << 20) /* one answer: text, one SSE line, one JSON body */
#define AG_CAP_REQUEST_BYTES  (64u << 20) /* one request body */
#define AG_CAP_ARGUMENTS_BYTES (1u << 20) /* arguments of one tool call */
#define AG_CAP_CALLS 128                  /* tool calls in one answer */

/* What the response cache is to a run: option "cache". */
enum ag_reuse { AG_REUSE_OFF, AG_REUSE_ON, AG_REUSE_READ_ONLY, AG_REUSE_REFRESH };

/* Model and engine options of an agent, with a run's own laid over. */
struct ag_params {
    int64_t history_messages, history_bytes; /* -1: default */
    int64_t timeout_ms;                      /* of a run; -1: default */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* of a request; -1: default */
    int retries;                             /* -1: default */
    int64_t max_concurrency, requests_per_minute; /* of the model's endpoint, for all runs of an engine; 0: default */
    enum ag_reuse cache;                     /* "off", "on", "read-only", "refresh" */
    int64_t cache_ttl_ms;                    /* how long an answer may be used again; 0: for ever */
    const struct ag_str *fallback;           /* "provider:model" to try when retries are used up */
    size_t fallback_count;
    struct ag_str key_env;                   /* absent: the agent's or provider's */
    /* What goes into the body as it is: `"temperature":0.2,"max_tokens":100`; "" none. */
    struct ag_str passthrough;
    bool has_max_tokens; /* one of max_tokens, max_completion_tokens, max_output_tokens is in it */
    bool echo_reasoning; /* send stored reasoning_content back (DeepSeek, Kimi) */
    /* offline */
    int64_t latency_ms, chunk_ms, chunks; /* 0 where not given */
    struct ag_str answer;                 /* absent: by rule */
    struct ag_str fail;                   /* "" or absent: no; "cut", or an HTTP status */
};

/* Parses options: `base` (JSON object or absent) with `over` (the same) laid over it, key by key;
 * null removes. AGENT_EINVAL names the key, what is wrong and what is wanted. Engine keys are
 * those of struct ag_params (history_messages … retries, fallback, key_env, echo_reasoning,
 * latency_ms … fail); all others go to the provider unchanged, except that `offline` refuses keys
 * it does not know. The result lives in the arena. */
agent_status ag_params_parse(struct ag_str provider, struct ag_str base, struct ag_str over, ag_arena *a,
                             struct ag_params *out, agent_error *err);
/* `old` with `over` laid over it as canonical JSON text (sorted keys), for `edit`. */
agent_status ag_params_merge(struct ag_str old, struct ag_str over, ag_arena *a, struct ag_str *out, agent_error *err);

enum ag_msg_role { AG_MSG_USER, AG_MSG_ASSISTANT, AG_MSG_TOOL };

struct ag_msg { /* as storage's message, without its ids: provider does not know storage */
    enum ag_msg_role role;
    struct ag_str text;
    struct ag_str calls; /* assistant: JSON array of {"id","name","arguments"} (arguments: JSON text as a string) */
    struct ag_str extra; /* assistant: what this provider stored with it, JSON object; absent: nothing */
    struct ag_str call_id, tool_name; /* tool */
    bool tool_failed;
};

struct ag_tool_def {
    struct ag_str name, description, schema; /* schema: JSON object text, never absent */
};

struct ag_model_request {
    struct ag_str model;    /* without the provider */
    struct ag_str base_url; /* absent: the provider's own */
    struct ag_str system;   /* instructions and memory section; absent: none */
    struct ag_str memories; /* the memory section alone, for offline; absent: none */
    const struct ag_msg *messages;
    size_t message_count;
    const struct ag_tool_def *tools;
    size_t tool_count;
    const struct ag_params *params;
    bool stream;
    int64_t run_id;
    int step; /* model step, for ids that a server did not give */
};

enum ag_stop {
    AG_STOP_NONE, AG_STOP_DONE, AG_STOP_CALLS, AG_STOP_LENGTH, AG_STOP_REFUSAL, AG_STOP_OTHER,
};

struct ag_reply_call {
    ag_buf id, name, arguments;
    int index; /* the provider's own, -1 none */
};

/* The answer as it grows. */
struct ag_reply {
    ag_buf text;
    ag_buf reasoning;
    struct ag_reply_call *calls;
    size_t call_count, call_room;
    ag_buf extra; /* JSON object to store beside the message; empty: none */
    int64_t input_tokens, cached_tokens, output_tokens; /* -1 unknown; input includes cached */
    enum ag_stop stop;
    bool complete; /* by the protocol, not the transport */
    size_t text_shown; /* bytes of text already passed to the listener: the engine's */
    struct {           /* the provider's own while the answer streams */
        ag_buf parts, opaque; /* anthropic: the blocks of the answer, and what must go back verbatim */
        int64_t fresh, cache_read, cache_write; /* anthropic: input tokens come in three figures */
        bool refused;         /* openai: the text is a refusal */
    } wire;
};

void ag_reply_init(struct ag_reply *r);
void ag_reply_drop(struct ag_reply *r);
/* A new call slot; NULL over AG_CAP_CALLS or out of memory. */
struct ag_reply_call *ag_reply_add_call(struct ag_reply *r, int index);
/* Ends an answer: gives missing and repeated ids ("call_<run>_<step>_<n>"), empty arguments become
 * {}, `extra` gets the reasoning where the provider wrote nothing else into it, and the calls as
 * JSON array text for storage go to `out` ("" where there are none). Read `extra` after it.
 * AGENT_EPROTOCOL: a call without a name. */
agent_status ag_reply_seal(struct ag_reply *r, int64_t run_id, int step, ag_buf *out_calls, agent_error *err);

/* What a failed request means. */
struct ag_verdict {
    bool retry;
    int64_t after_ms; /* -1: own backoff */
};

struct ag_stream {
    const struct ag_provider_vt *vt;
    struct ag_reply *reply;
    int64_t run_id;
    int step;
    void *state; /* the provider's */
    /* Set where event() or whole() fails: an error that the provider sent inside its answer
     * (overloaded, rate limit), or bytes that are no answer. */
    struct ag_verdict verdict;
};

struct ag_header_list { /* complete lines; memory in the arena, wiped by the http layer's copy only */
    const char *at[16];
    size_t count; /* at[count] is NULL */
};

/* What offline will say. */
struct ag_plan {
    int64_t latency_ms, chunk_ms;
    size_t chunks;      /* pieces that `text` is cut into, at least 1 where there is text */
    struct ag_str text; /* absent where it asks for tools */
    const struct ag_plan_call {
        struct ag_str name, arguments;
    } *calls;
    size_t call_count;
    int64_t input_tokens, output_tokens;
    int fail_status; /* 0: none; HTTP status */
    bool cut;        /* break the stream half way */
};

struct ag_provider_vt {
    const char *name;
    const char *base_url; /* default; NULL: no HTTP */
    const char *key_env;  /* default variable of the key */
    bool key_needed;      /* with the default base_url; with another one a key is optional */
    /* Headers and body; key may be NULL (none). */
    agent_status (*build)(const struct ag_model_request *q, const char *key, ag_arena *a, const char **out_url,
                          struct ag_header_list *headers, ag_buf *body, agent_error *err);
    /* One server-sent event. *done: the protocol says the answer is complete. */
    agent_status (*event)(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done, agent_error *err);
    /* A whole JSON answer. */
    agent_status (*whole)(struct ag_stream *s, struct ag_str body, agent_error *err);
    /* An HTTP status other than 2xx: makes the error (with the provider's own message and status
     * code) and says whether to try again. `head` may be NULL. Never AGENT_OK. */
    agent_status (*refused)(const struct ag_provider_vt *vt, int http_status, struct ag_str body,
                            const struct ag_http_head *head, struct ag_verdict *out, agent_error *err);
    /* offline only */
    agent_status (*plan)(const struct ag_model_request *q, ag_arena *a, struct ag_plan *out, agent_error *err);
};

extern const struct ag_provider_vt ag_provider_openai, ag_provider_anthropic, ag_provider_offline;

/* NULL: no builtin provider of that name. */
const struct ag_provider_vt *ag_provider_find(struct ag_str name);
/* "offline, openai, anthropic", for errors. */
const char *ag_provider_names(void);

/* A provider's own message found in an error body (JSON of any of the known shapes, else the first
 * line of text without tags), one line, at most 300 bytes; "" where there is none. */
void ag_provider_message(struct ag_str body, char *out, size_t out_bytes, char *code, size_t code_bytes);

#endif
