#include "tests/scripted_chat.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 32

struct call {
    char id[48], name[128];
    char *arguments;
};

/* What the history says, whichever wire it came on. */
struct turn {
    const char *wrong;    /* why it is refused; NULL: it is fine */
    char *last_user;      /* text of the last user message */
    char *results;        /* joined, where the history ends with results; else NULL */
    int users;
};

struct reply {
    char *text; /* NULL: calls */
    struct call calls[CALLS_MAX];
    size_t call_count;
    size_t index;
    const char *model;
    int input_tokens, output_tokens;
};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* --- reading the history ------------------------------------------------------------------------- */

/* A content: a string, or parts with a text each. */
static char *text_of(const json_t *content)
{
    size_t size, i;
    char *text = NULL;
    FILE *f = must(open_memstream(&text, &size));
    const json_t *part;

    if (json_is_string(content))
        fputs(json_string_value(content), f);
    json_array_foreach(content, i, part)
        if (json_is_string(json_object_get(part, "text")))
            fputs(json_string_value(json_object_get(part, "text")), f);
    fclose(f);
    return text;
}

static void keep_text(char **to, char *text)
{
    free(*to);
    *to = text;
}

static void add_result(struct turn *t, char *text)
{
    char *joined = NULL;

    if (asprintf(&joined, "%s%s%s", t->results == NULL ? "" : t->results, t->results == NULL ? "" : "; ", text) < 0)
        abort();
    free(text);
    keep_text(&t->results, joined);
}

/* Takes an id out of the open ones; false: it was not open. */
static bool close_call(json_t *open, const json_t *id)
{
    return json_is_string(id) && json_object_del(open, json_string_value(id)) == 0;
}

static void read_openai(const json_t *messages, struct turn *t)
{
    json_t *open = json_object();
    const json_t *m, *call;
    size_t i, k;

    json_array_foreach(messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));

        if (role == NULL) {
            t->wrong = "a message has no role";
            break;
        }
        if (strcmp(role, "tool") == 0) {
            if (!close_call(open, json_object_get(m, "tool_call_id")))
                t->wrong = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'";
            add_result(t, text_of(json_object_get(m, "content")));
            continue;
        }
        if (json_object_size(open) > 0)
            t->wrong = "an assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'";
        keep_text(&t->results, NULL);
        if (strcmp(role, "user") == 0) {
            keep_text(&t->last_user, text_of(json_object_get(m, "content")));
            t->users++;
        }
        json_array_foreach(json_object_get(m, "tool_calls"), k, call)
            if (json_is_string(json_object_get(call, "id")))
                json_object_set_new(open, json_string_value(json_object_get(call, "id")), json_true());
    }
    if (json_object_size(open) > 0)
        t->wrong = "an assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'";
    json_decref(open);
}

static bool is_type(const json_t *block, const char *type)
{
    const char *is = json_string_value(json_object_get(block, "type"));

    return is != NULL && strcmp(is, type) == 0;
}

static void read_anthropic_user(const json_t *content, json_t *open, struct turn *t)
{
    bool had_other = false, had_result = false;
    const json_t *block;
    size_t k;

    json_array_foreach(content, k, block) {
        if (!is_type(block, "tool_result")) {
            had_other = true;
            continue;
        }
        if (had_other)
            t->wrong = "tool_result blocks must come first in the message";
        if (!close_call(open, json_object_get(block, "tool_use_id")))
            t->wrong = "unexpected tool_use_id found in tool_result blocks";
        if (!had_result)
            keep_text(&t->results, NULL);
        had_result = true;
        add_result(t, text_of(json_object_get(block, "content")));
    }
    if (json_object_size(open) > 0)
        t->wrong = "tool_use ids were found without tool_result blocks immediately after";
    if (json_is_string(content) || had_other || !had_result) {
        keep_text(&t->results, NULL);
        keep_text(&t->last_user, text_of(content));
        t->users++;
    }
}

static void read_anthropic(const json_t *messages, struct turn *t)
{
    json_t *open = json_object();
    const json_t *m, *block;
    size_t i, k;

    json_array_foreach(messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        const json_t *content = json_object_get(m, "content");

        if (role != NULL && strcmp(role, "user") == 0) {
            read_anthropic_user(content, open, t);
            continue;
        }
        if (role == NULL || strcmp(role, "assistant") != 0)
            t->wrong = "a message's role must be user or assistant";
        if (json_object_size(open) > 0)
            t->wrong = "tool_use ids were found without tool_result blocks immediately after";
        json_array_foreach(content, k, block)
            if (is_type(block, "tool_use") && json_is_string(json_object_get(block, "id")))
                json_object_set_new(open, json_string_value(json_object_get(block, "id")), json_true());
    }
    if (json_object_size(open) > 0)
        t->wrong = "tool_use ids were found without tool_result blocks immediately after";
    json_decref(open);
}

/* --- the rule ------------------------------------------------------------------------------------- */

static void decide(const struct turn *t, const char *id_prefix, struct reply *r)
{
    const char *line = t->last_user == NULL ? "" : t->last_user;

    if (t->results != NULL) {
        if (asprintf(&r->text, "results: %s", t->results) < 0)
            abort();
        return;
    }
    while (line != NULL && *line != '\0') {
        size_t n = strcspn(line, "\n");

        if (strncmp(line, "/tool ", 6) == 0 && r->call_count < CALLS_MAX) {
            struct call *c = &r->calls[r->call_count++];
            size_t name = strcspn(line + 6, " \n"), rest = 6 + name;

            while (rest < n && line[rest] == ' ')
                rest++;
            snprintf(c->id, sizeof(c->id), "%s%zu_%zu", id_prefix, r->index + 1, r->call_count);
            snprintf(c->name, sizeof(c->name), "%.*s", (int)(name < 127 ? name : 127), line + 6);
            c->arguments = must(rest < n ? strndup(line + rest, n - rest) : strdup("{}"));
        }
        line = line[n] == '\0' ? NULL : line + n + 1;
    }
    if (r->call_count == 0 &&
        asprintf(&r->text, "echo: %s | turn %d", t->last_user == NULL ? "" : t->last_user, t->users) < 0)
        abort();
}

/* --- writing -------------------------------------------------------------------------------------- */

static void put_json(FILE *f, json_t *value)
{
    json_dumpf(must(value), f, JSON_COMPACT);
    json_decref(value);
}

static void put_data(FILE *f, const char *event, json_t *value)
{
    if (event != NULL)
        fprintf(f, "event: %s\n", event);
    fputs("data: ", f);
    put_json(f, value);
    fputs("\n\n", f);
}

/* Bytes of the next piece of text: some, but whole characters. */
static size_t piece(const char *text)
{
    size_t n = strlen(text) < 8 ? strlen(text) : 8;

    while (text[n] != '\0' && ((unsigned char)text[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static json_t *openai_usage(const struct reply *r)
{
    return json_pack("{s:i,s:i,s:i}", "prompt_tokens", r->input_tokens, "completion_tokens", r->output_tokens,
                     "total_tokens", r->input_tokens + r->output_tokens);
}

static void openai_chunk(FILE *f, const struct reply *r, json_t *delta, const char *finish)
{
    put_data(f, NULL, json_pack("{s:s,s:s,s:i,s:s,s:[{s:i,s:o,s:s?}]}", "id", "chatcmpl-scripted", "object",
                                "chat.completion.chunk", "created", 1790000000, "model", r->model, "choices", "index",
                                0, "delta", must(delta), "finish_reason", finish));
}

static void openai_stream(FILE *f, const struct reply *r, bool usage)
{
    openai_chunk(f, r, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL);
    for (const char *at = r->text; at != NULL && *at != '\0'; at += piece(at))
        openai_chunk(f, r, json_pack("{s:s%}", "content", at, piece(at)), NULL);
    for (size_t i = 0; i < r->call_count; i++) {
        const struct call *c = &r->calls[i];

        openai_chunk(f, r, json_pack("{s:[{s:i,s:s,s:s,s:{s:s,s:s}}]}", "tool_calls", "index", (int)i, "id", c->id,
                                     "type", "function", "function", "name", c->name, "arguments", ""), NULL);
        for (const char *at = c->arguments; *at != '\0'; at += piece(at))
            openai_chunk(f, r, json_pack("{s:[{s:i,s:{s:s%}}]}", "tool_calls", "index", (int)i, "function",
                                         "arguments", at, piece(at)), NULL);
    }
    openai_chunk(f, r, json_object(), r->call_count > 0 ? "tool_calls" : "stop");
    if (usage)
        put_data(f, NULL, json_pack("{s:s,s:s,s:i,s:s,s:[],s:o}", "id", "chatcmpl-scripted", "object",
                                    "chat.completion.chunk", "created", 1790000000, "model", r->model, "choices",
                                    "usage", openai_usage(r)));
    fputs("data: [DONE]\n\n", f);
}

static void openai_whole(FILE *f, const struct reply *r)
{
    json_t *message = json_pack("{s:s,s:s?}", "role", "assistant", "content", r->text), *calls = json_array();

    for (size_t i = 0; i < r->call_count; i++)
        json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", r->calls[i].id, "type", "function",
                                               "function", "name", r->calls[i].name, "arguments",
                                               r->calls[i].arguments));
    if (r->call_count > 0)
        json_object_set(message, "tool_calls", calls);
    json_decref(calls);
    put_json(f, json_pack("{s:s,s:s,s:i,s:s,s:[{s:i,s:o,s:s}],s:o}", "id", "chatcmpl-scripted", "object",
                          "chat.completion", "created", 1790000000, "model", r->model, "choices", "index", 0,
                          "message", message, "finish_reason", r->call_count > 0 ? "tool_calls" : "stop", "usage",
                          openai_usage(r)));
}

static json_t *anthropic_block(const struct call *c, bool with_input)
{
    json_t *input = with_input ? json_loads(c->arguments, 0, NULL) : json_object();

    return json_pack("{s:s,s:s,s:s,s:o}", "type", "tool_use", "id", c->id, "name", c->name, "input",
                     input == NULL ? json_object() : input);
}

static void anthropic_delta(FILE *f, int index, const char *type, const char *field, const char *text, size_t n)
{
    put_data(f, "content_block_delta", json_pack("{s:s,s:i,s:{s:s,s:s%}}", "type", "content_block_delta", "index",
                                                 index, "delta", "type", type, field, text, n));
}

static void anthropic_stream(FILE *f, const struct reply *r)
{
    int blocks = 0;

    put_data(f, "message_start",
             json_pack("{s:s,s:{s:s,s:s,s:s,s:[],s:s,s:n,s:n,s:{s:i,s:i}}}", "type", "message_start", "message", "id",
                       "msg_scripted", "type", "message", "role", "assistant", "content", "model", r->model,
                       "stop_reason", "stop_sequence", "usage", "input_tokens", r->input_tokens, "output_tokens", 1));
    put_data(f, "ping", json_pack("{s:s}", "type", "ping"));
    if (r->text != NULL) {
        put_data(f, "content_block_start", json_pack("{s:s,s:i,s:{s:s,s:s}}", "type", "content_block_start", "index",
                                                     blocks, "content_block", "type", "text", "text", ""));
        for (const char *at = r->text; *at != '\0'; at += piece(at))
            anthropic_delta(f, blocks, "text_delta", "text", at, piece(at));
        put_data(f, "content_block_stop", json_pack("{s:s,s:i}", "type", "content_block_stop", "index", blocks++));
    }
    for (size_t i = 0; i < r->call_count; i++) {
        const struct call *c = &r->calls[i];

        put_data(f, "content_block_start", json_pack("{s:s,s:i,s:o}", "type", "content_block_start", "index", blocks,
                                                     "content_block", anthropic_block(c, false)));
        anthropic_delta(f, blocks, "input_json_delta", "partial_json", "", 0);
        for (const char *at = c->arguments; *at != '\0'; at += piece(at))
            anthropic_delta(f, blocks, "input_json_delta", "partial_json", at, piece(at));
        put_data(f, "content_block_stop", json_pack("{s:s,s:i}", "type", "content_block_stop", "index", blocks++));
    }
    put_data(f, "message_delta", json_pack("{s:s,s:{s:s,s:n},s:{s:i}}", "type", "message_delta", "delta",
                                           "stop_reason", r->call_count > 0 ? "tool_use" : "end_turn",
                                           "stop_sequence", "usage", "output_tokens", r->output_tokens));
    put_data(f, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void anthropic_whole(FILE *f, const struct reply *r)
{
    json_t *content = json_array();

    if (r->text != NULL)
        json_array_append_new(content, json_pack("{s:s,s:s}", "type", "text", "text", r->text));
    for (size_t i = 0; i < r->call_count; i++)
        json_array_append_new(content, anthropic_block(&r->calls[i], true));
    put_json(f, json_pack("{s:s,s:s,s:s,s:s,s:o,s:s,s:n,s:{s:i,s:i}}", "id", "msg_scripted", "type", "message",
                          "role", "assistant", "model", r->model, "content", content, "stop_reason",
                          r->call_count > 0 ? "tool_use" : "end_turn", "stop_sequence", "usage", "input_tokens",
                          r->input_tokens, "output_tokens", r->output_tokens));
}

/* --- answering ------------------------------------------------------------------------------------- */

static void refuse(struct scripted_answer *out, bool anthropic, int status, const char *type, const char *message)
{
    json_t *body = anthropic ? json_pack("{s:s,s:{s:s,s:s}}", "type", "error", "error", "type", type, "message", message)
                             : json_pack("{s:{s:s,s:s,s:n,s:n}}", "error", "message", message, "type", type, "param", "code");

    out->status = status;
    out->owned = must(json_dumps(must(body), JSON_COMPACT));
    out->body = out->owned;
    json_decref(body);
}

static bool key_fits(const struct scripted_chat *chat, const struct scripted_request *request)
{
    char value[512], want[512];

    if (chat->key == NULL)
        return true;
    snprintf(want, sizeof(want), "Bearer %s", chat->key);
    return (scripted_header(request, "authorization", value, sizeof(value)) && strcmp(value, want) == 0) ||
           (scripted_header(request, "x-api-key", value, sizeof(value)) && strcmp(value, chat->key) == 0);
}

static void answer_json(const struct scripted_chat *chat, const struct scripted_request *request, bool anthropic,
                        const json_t *q, size_t index, struct scripted_answer *out)
{
    const json_t *messages = json_object_get(q, "messages");
    bool stream = json_is_true(json_object_get(q, "stream"));
    struct reply r = {.index = index, .model = json_string_value(json_object_get(q, "model"))};
    struct turn t = {0};
    char version[64];
    size_t size;
    FILE *f;

    if (r.model == NULL || !json_is_array(messages) || json_array_size(messages) == 0) {
        refuse(out, anthropic, 400, "invalid_request_error", "model and messages are required");
        return;
    }
    if (anthropic) {
        read_anthropic(messages, &t);
        if (!json_is_integer(json_object_get(q, "max_tokens")))
            t.wrong = "max_tokens: field required";
        else if (!scripted_header(request, "anthropic-version", version, sizeof(version)))
            t.wrong = "anthropic-version: header is required";
    } else {
        read_openai(messages, &t);
    }
    if (t.wrong != NULL) {
        refuse(out, anthropic, 400, "invalid_request_error", t.wrong);
    } else {
        decide(&t, anthropic ? "toolu_" : "call_", &r);
        r.input_tokens = (int)(request->body_bytes / 4);
        r.output_tokens = (int)(r.text == NULL ? r.call_count * 10 : strlen(r.text) / 4 + 1);
        f = must(open_memstream(&out->owned, &size));
        if (stream && anthropic)
            anthropic_stream(f, &r);
        else if (stream)
            openai_stream(f, &r, json_is_true(json_object_get(json_object_get(q, "stream_options"), "include_usage")));
        else if (anthropic)
            anthropic_whole(f, &r);
        else
            openai_whole(f, &r);
        fclose(f);
        out->body = out->owned;
        out->body_bytes = size;
        out->type = stream ? "text/event-stream" : NULL;
        out->framing = stream ? SCRIPTED_CHUNKED : SCRIPTED_LENGTH;
        out->split = chat->split;
        out->piece_ms = chat->piece_ms;
        if (index >= chat->fail_first && index < chat->fail_first + chat->cut_first) {
            out->body_bytes = size / 2;
            out->cut = true;
        }
    }
    for (size_t i = 0; i < r.call_count; i++)
        free(r.calls[i].arguments);
    free(r.text);
    free(t.last_user);
    free(t.results);
}

void scripted_chat_answer(void *ctx, const struct scripted_request *request, size_t index,
                          struct scripted_answer *out)
{
    const struct scripted_chat *chat = ctx;
    bool anthropic = strstr(request->path, "/messages") != NULL;
    json_t *q;

    out->delay_ms = chat->delay_ms;
    out->headers = "x-request-id: req-scripted\r\n";
    if (!anthropic && strstr(request->path, "/chat/completions") == NULL) {
        refuse(out, false, 404, "invalid_request_error", "no such path: it ends in /chat/completions or /messages");
    } else if (!key_fits(chat, request)) {
        refuse(out, anthropic, 401, anthropic ? "authentication_error" : "invalid_request_error", "wrong key");
    } else if (index < chat->fail_first) {
        refuse(out, anthropic, chat->fail_status == 0 ? 503 : chat->fail_status, "server_error", "told to fail");
        if (chat->retry_after != NULL)
            out->headers = chat->retry_after;
    } else if ((q = json_loadb(request->body, request->body_bytes, JSON_REJECT_DUPLICATES, NULL)) == NULL) {
        refuse(out, anthropic, 400, "invalid_request_error", "the body is not JSON");
    } else {
        answer_json(chat, request, anthropic, q, index, out);
        json_decref(q);
    }
}
