/*
 * OpenAI's Chat Completions, and everybody who speaks it: Ollama, llama.cpp, vLLM, OpenRouter …
 *
 *      {"model":…,"messages":[system, …, assistant+tool_calls, tool, …],"tools":[…],
 *       "stream":true,"stream_options":{"include_usage":true}, <the agent's own options>}
 *
 *  1. The body is text put behind text. Messages are never a tree: their calls are copied literal
 *     by literal, and only their arguments are looked at.
 *  2. What the agent's options hold goes last and unchanged; the keys that are ours were refused
 *     when the options were parsed (params.c), so no key stands twice.
 */
#include "engine/provider/openai.h"
#include "engine/provider/wire.h"

#define BASE_URL "https://api.openai.com/v1"
#define PATH     "/chat/completions"

static agent_status put_calls(ag_buf *b, struct ag_str calls, agent_error *err)
{
    AG_AUTO(ag_buf) arguments = AG_BUF_INIT(8 * (size_t)AG_CAP_ARGUMENTS_BYTES);
    struct ag_scan_call call;
    size_t at = 0;
    agent_status rc;
    int more;

    ag_buf_z(b, ",\"tool_calls\":[");
    for (bool first = true; (more = ag_scan_call(calls, &at, &call)) > 0; first = false) {
        ag_buf_clear(&arguments);
        ag_scan_arguments(call.arguments, &arguments);
        if ((rc = ag_buf_status(&arguments, "arguments of a tool call", err)) != AGENT_OK)
            return rc;
        ag_buf_z(b, first ? "{\"id\":" : ",{\"id\":");
        ag_buf_str(b, call.id);
        ag_buf_z(b, ",\"type\":\"function\",\"function\":{\"name\":");
        ag_buf_str(b, call.name);
        ag_buf_z(b, ",\"arguments\":");
        ag_buf_json_str(b, ag_buf_view(&arguments));
        ag_buf_z(b, "}}");
    }
    ag_buf_char(b, ']');
    return more == 0 ? AGENT_OK : ag_fail(err, AGENT_EPROTOCOL, 0, "its stored tool calls cannot be read");
}

static agent_status put_assistant(ag_buf *b, const struct ag_msg *m, bool echo_reasoning, agent_error *err)
{
    struct ag_str reasoning = AG_STR("\"\"");
    agent_status rc;

    ag_buf_z(b, "{\"role\":\"assistant\",\"content\":");
    if (m->calls.n == 0) {
        ag_buf_json_str(b, m->text);
        ag_buf_char(b, '}');
        return AGENT_OK;
    }
    if (m->text.n == 0)
        ag_buf_z(b, "null");
    else
        ag_buf_json_str(b, m->text);
    if ((rc = put_calls(b, m->calls, err)) != AGENT_OK)
        return rc;
    if (echo_reasoning) { /* also empty: servers that want it back want the field itself */
        (void)ag_scan_member(m->extra, "reasoning_content", &reasoning);
        ag_buf_z(b, ",\"reasoning_content\":");
        ag_buf_str(b, reasoning);
    }
    ag_buf_char(b, '}');
    return AGENT_OK;
}

static agent_status put_messages(ag_buf *b, const struct ag_model_request *q, agent_error *err)
{
    agent_status rc;
    bool first = true;

    ag_buf_z(b, ",\"messages\":[");
    if (q->system.n > 0) {
        ag_buf_z(b, "{\"role\":\"system\",\"content\":");
        ag_buf_json_str(b, q->system);
        ag_buf_char(b, '}');
        first = false;
    }
    for (size_t i = 0; i < q->message_count; i++) {
        const struct ag_msg *m = &q->messages[i];

        if (!first)
            ag_buf_char(b, ',');
        first = false;
        switch (m->role) {
        case AG_MSG_USER:
            ag_buf_z(b, "{\"role\":\"user\",\"content\":");
            ag_buf_json_str(b, m->text);
            ag_buf_char(b, '}');
            break;
        case AG_MSG_TOOL:
            ag_buf_z(b, "{\"role\":\"tool\",\"tool_call_id\":");
            ag_buf_json_str(b, m->call_id);
            ag_buf_z(b, ",\"content\":");
            ag_buf_json_str(b, m->text);
            ag_buf_char(b, '}');
            break;
        case AG_MSG_ASSISTANT:
            if ((rc = put_assistant(b, m, q->params->echo_reasoning, err)) != AGENT_OK)
                return ag_wrap(err, rc, "openai: message %zu of the request", i + 1);
            break;
        }
    }
    ag_buf_char(b, ']');
    return AGENT_OK;
}

static void put_tools(ag_buf *b, const struct ag_model_request *q)
{
    for (size_t i = 0; i < q->tool_count; i++) {
        const struct ag_tool_def *t = &q->tools[i];

        ag_buf_z(b, i == 0 ? ",\"tools\":[" : ",");
        ag_buf_z(b, "{\"type\":\"function\",\"function\":{\"name\":");
        ag_buf_json_str(b, t->name);
        if (t->description.n > 0) {
            ag_buf_z(b, ",\"description\":");
            ag_buf_json_str(b, t->description);
        }
        ag_buf_z(b, ",\"parameters\":");
        ag_buf_str(b, t->schema);
        ag_buf_z(b, "}}");
    }
    if (q->tool_count > 0)
        ag_buf_char(b, ']');
}

static agent_status build(const struct ag_model_request *q, const char *key, ag_arena *a, const char **out_url,
                          struct ag_header_list *headers, ag_buf *body, agent_error *err)
{
    struct ag_str base = q->base_url.n > 0 ? q->base_url : AG_STR(BASE_URL);
    struct ag_header_list h = {.count = 0};
    const char *url;
    agent_status rc;

    if ((rc = ag_wire_url("openai", base, PATH, a, &url, err)) != AGENT_OK ||
        (rc = ag_wire_json_headers("openai", &h, a, q->stream, err)) != AGENT_OK ||
        (key != NULL && key[0] != '\0' &&
         (rc = ag_wire_header("openai", &h, a, "Authorization: Bearer ", key, err)) != AGENT_OK))
        return rc;

    ag_wire_reserve(body, q);
    ag_buf_z(body, "{\"model\":");
    ag_buf_json_str(body, q->model);
    if ((rc = put_messages(body, q, err)) != AGENT_OK)
        return rc;
    put_tools(body, q);
    if (q->stream)
        ag_buf_z(body, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if ((rc = ag_wire_end("openai", body, q->params->passthrough, err)) != AGENT_OK) /* (2) */
        return rc;
    *headers = h;
    *out_url = url;
    return AGENT_OK;
}

const struct ag_provider_vt ag_provider_openai = {
    .name = "openai",
    .base_url = BASE_URL,
    .key_env = "OPENAI_API_KEY",
    .key_needed = true,
    .build = build,
    .event = ag_openai_event,
    .whole = ag_openai_whole,
    .refused = ag_trouble_refused,
};
