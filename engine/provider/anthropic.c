/*
 * Anthropic's Messages.
 *
 *      ours                                      theirs
 *      user "a"                                  user      [text a]
 *      assistant "b" + calls x, y                assistant [text b, tool_use x, tool_use y]
 *      tool x, tool y (failed)                   user      [tool_result x, tool_result y is_error,
 *      user "c"                                             text c]
 *
 *  1. Roles alternate: messages of one role that follow each other become blocks of one message.
 *     Results stand before text in it because a history never has a user's text between a call and
 *     its result.
 *  2. An answer that held thinking is sent back as it came, block for block (`extra`, written by
 *     anthropic_reply.c): signatures cover the bytes. Any other answer is built from text and calls.
 *  3. No block is empty: the API refuses blank text.
 *  4. Ids may come from another provider's answer earlier in the session; here they may hold letters,
 *     digits, '_' and '-' only, so others are mapped, the same way in a call and in its result.
 */
#include "engine/provider/anthropic.h"
#include "engine/provider/wire.h"

#define BASE_URL   "https://api.anthropic.com"
#define VERSION    "2023-06-01"
#define MAX_TOKENS "4096"

struct body {
    ag_buf *b;
    const char *role; /* of the message that is open; NULL: none */
};

/* Begins a block of `role`'s message. (1) */
static ag_buf *block(struct body *to, const char *role)
{
    if (to->role == role) {
        ag_buf_char(to->b, ',');
    } else {
        ag_buf_z(to->b, to->role == NULL ? "{\"role\":\"" : "]},{\"role\":\"");
        ag_buf_z(to->b, role);
        ag_buf_z(to->b, "\",\"content\":[");
        to->role = role;
    }
    return to->b;
}

static const char user[] = "user", assistant[] = "assistant"; /* compared by address */

static void put_text(struct body *to, const char *role, struct ag_str text)
{
    ag_buf *b = block(to, role);

    ag_buf_z(b, "{\"type\":\"text\",\"text\":");
    ag_buf_json_str(b, text);
    ag_buf_char(b, '}');
}

/* (4) */
static void put_id(ag_buf *b, struct ag_str id)
{
    ag_buf_char(b, '"');
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';

        ag_buf_char(b, fine ? c : '_');
    }
    ag_buf_char(b, '"');
}

static agent_status put_calls(struct body *to, struct ag_str calls, agent_error *err)
{
    AG_AUTO(ag_buf) arguments = AG_BUF_INIT(8 * (size_t)AG_CAP_ARGUMENTS_BYTES);
    AG_AUTO(ag_buf) id = AG_BUF_INIT(4096);
    struct ag_scan_call call;
    size_t at = 0;
    agent_status rc;
    int more;

    while ((more = ag_scan_call(calls, &at, &call)) > 0) {
        ag_buf *b = block(to, assistant);

        ag_buf_clear(&id);
        ag_scan_unescape(call.id, &id);
        ag_buf_clear(&arguments);
        ag_scan_arguments(call.arguments, &arguments);
        if ((rc = ag_buf_status(&id, "id of a tool call", err)) != AGENT_OK ||
            (rc = ag_buf_status(&arguments, "arguments of a tool call", err)) != AGENT_OK)
            return rc;
        ag_buf_z(b, "{\"type\":\"tool_use\",\"id\":");
        put_id(b, ag_buf_view(&id));
        ag_buf_z(b, ",\"name\":");
        ag_buf_str(b, call.name);
        ag_buf_z(b, ",\"input\":");
        ag_buf_str(b, ag_buf_view(&arguments));
        ag_buf_char(b, '}');
    }
    return more == 0 ? AGENT_OK : ag_fail(err, AGENT_EPROTOCOL, 0, "its stored tool calls cannot be read");
}

static agent_status put_assistant(struct body *to, const struct ag_msg *m, agent_error *err)
{
    struct ag_str content;

    /* (2); "content" is our own key, nobody else's extra has it */
    if (ag_scan_member(m->extra, "content", &content) && content.n > 2 && content.p[0] == '[') {
        ag_buf_append(block(to, assistant), content.p + 1, content.n - 2);
        return AGENT_OK;
    }
    if (!ag_wire_blank(m->text)) /* (3) */
        put_text(to, assistant, m->text);
    return put_calls(to, m->calls, err);
}

static void put_result(struct body *to, const struct ag_msg *m)
{
    ag_buf *b = block(to, user);

    ag_buf_z(b, "{\"type\":\"tool_result\",\"tool_use_id\":");
    put_id(b, m->call_id);
    ag_buf_z(b, ",\"content\":");
    ag_buf_json_str(b, m->text);
    ag_buf_z(b, m->tool_failed ? ",\"is_error\":true}" : "}");
}

static agent_status put_messages(ag_buf *b, const struct ag_model_request *q, agent_error *err)
{
    struct body to = {.b = b, .role = NULL};
    agent_status rc;

    ag_buf_z(b, ",\"messages\":[");
    for (size_t i = 0; i < q->message_count; i++) {
        const struct ag_msg *m = &q->messages[i];

        switch (m->role) {
        case AG_MSG_USER:
            put_text(&to, user, ag_wire_blank(m->text) ? AG_STR("(empty)") : m->text); /* (3) */
            break;
        case AG_MSG_TOOL:
            put_result(&to, m);
            break;
        case AG_MSG_ASSISTANT:
            if ((rc = put_assistant(&to, m, err)) != AGENT_OK)
                return ag_wrap(err, rc, "anthropic: message %zu of the request", i + 1);
            break;
        }
    }
    ag_buf_z(b, to.role == NULL ? "]" : "]}]");
    return AGENT_OK;
}

static void put_tools(ag_buf *b, const struct ag_model_request *q)
{
    for (size_t i = 0; i < q->tool_count; i++) {
        const struct ag_tool_def *t = &q->tools[i];

        ag_buf_z(b, i == 0 ? ",\"tools\":[{\"name\":" : ",{\"name\":");
        ag_buf_json_str(b, t->name);
        if (t->description.n > 0) {
            ag_buf_z(b, ",\"description\":");
            ag_buf_json_str(b, t->description);
        }
        ag_buf_z(b, ",\"input_schema\":");
        ag_buf_str(b, t->schema);
        ag_buf_char(b, '}');
    }
    if (q->tool_count > 0)
        ag_buf_char(b, ']');
}

/* People give the base with and without /v1: both are meant. */
static const char *path_for(struct ag_str base)
{
    while (base.n > 0 && base.p[base.n - 1] == '/')
        base.n--;
    return base.n >= 3 && memcmp(base.p + base.n - 3, "/v1", 3) == 0 ? "/messages" : "/v1/messages";
}

static agent_status build(const struct ag_model_request *q, const char *key, ag_arena *a, const char **out_url,
                          struct ag_header_list *headers, ag_buf *body, agent_error *err)
{
    struct ag_str base = q->base_url.n > 0 ? q->base_url : AG_STR(BASE_URL);
    struct ag_header_list h = {.count = 0};
    const char *url;
    agent_status rc;

    if ((rc = ag_wire_url("anthropic", base, path_for(base), a, &url, err)) != AGENT_OK ||
        (rc = ag_wire_json_headers("anthropic", &h, a, q->stream, err)) != AGENT_OK ||
        (rc = ag_wire_header("anthropic", &h, a, "anthropic-version: ", VERSION, err)) != AGENT_OK ||
        (key != NULL && key[0] != '\0' &&
         (rc = ag_wire_header("anthropic", &h, a, "x-api-key: ", key, err)) != AGENT_OK))
        return rc;

    ag_wire_reserve(body, q);
    ag_buf_z(body, "{\"model\":");
    ag_buf_json_str(body, q->model);
    if (!q->params->has_max_tokens) /* required here, and a model's own most is not to be asked for */
        ag_buf_z(body, ",\"max_tokens\":" MAX_TOKENS);
    if (!ag_wire_blank(q->system)) { /* (3) */
        ag_buf_z(body, ",\"system\":");
        ag_buf_json_str(body, q->system);
    }
    if ((rc = put_messages(body, q, err)) != AGENT_OK)
        return rc;
    put_tools(body, q);
    if (q->stream)
        ag_buf_z(body, ",\"stream\":true");
    if ((rc = ag_wire_end("anthropic", body, q->params->passthrough, err)) != AGENT_OK)
        return rc;
    *headers = h;
    *out_url = url;
    return AGENT_OK;
}

const struct ag_provider_vt ag_provider_anthropic = {
    .name = "anthropic",
    .base_url = BASE_URL,
    .key_env = "ANTHROPIC_API_KEY",
    .key_needed = true,
    .build = build,
    .event = ag_anthropic_event,
    .whole = ag_anthropic_whole,
    .refused = ag_trouble_refused,
};
