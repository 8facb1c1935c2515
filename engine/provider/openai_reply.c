/*
 * An answer of Chat Completions, as OpenAI sends it and as the others do.
 *
 *      data: {"choices":[{"delta":{"content":"Hel"}}]}                        text
 *      data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id","function":{"name","arguments":""}}]}}]}
 *      data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}}]}
 *      data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}          complete
 *      data: {"choices":[],"usage":{…}}                                       the last usage counts
 *      data: [DONE]                                                           nothing after it is read
 *
 *  1. `error` is looked at before `choices`: servers send both in one chunk.
 *  2. A delta is applied before its finish_reason: vLLM sends text and reason together.
 *  3. An answer is complete when a finish_reason was seen, or [DONE] came after content; the end of
 *     the transport says nothing.
 *  4. Which call a fragment belongs to is decided by slot_for(); a call begins only with a fragment
 *     that has a name, and only such a fragment may give it its id.
 */
#include "engine/provider/openai.h"
#include "engine/provider/wire.h"

static struct ag_reply_call *last_with_index(struct ag_reply *r, int index)
{
    for (size_t i = r->call_count; i-- > 0;)
        if (index < 0 || r->calls[i].index == index)
            return &r->calls[i];
    return NULL;
}

/* Whether a named fragment is the beginning of another call than the one at `c`. */
static bool begins_another(const struct ag_reply_call *c, struct ag_str id, bool has_index)
{
    if (c->name.n == 0)
        return false; /* it was opened without a name: this is its name */
    if (id.n > 0 && c->id.n > 0)
        return !ag_str_eq(ag_buf_view(&c->id), id); /* gateways give all parallel calls index 0 */
    /* No id tells them apart. Without an index each name is a call; with one, a name repeated on
     * every fragment is the same call until its arguments are whole. */
    return !has_index || ag_scan_is_object(ag_buf_view(&c->arguments));
}

/* (4). NULL: too many calls, or out of memory. */
static struct ag_reply_call *slot_for(struct ag_reply *r, const json_t *fragment, struct ag_str id, struct ag_str name)
{
    int64_t index = ag_wire_count(json_object_get(fragment, "index"), -1);
    int at = index < 0 || index > 1 << 20 ? -1 : (int)index;
    struct ag_reply_call *c = last_with_index(r, at), *last = last_with_index(r, -1);

    if (c == NULL && name.n == 0 && last != NULL && last->index < 0)
        c = last; /* an index that only comes with the later fragments */
    if (c == NULL || (name.n > 0 && begins_another(c, id, at >= 0)))
        c = ag_reply_add_call(r, at);
    return c;
}

/* One element of tool_calls, whole or a fragment; also the legacy function_call. */
static agent_status take_call(struct ag_reply *r, const json_t *fragment, agent_error *err)
{
    const json_t *function = json_object_get(fragment, "function");
    const json_t *f = json_is_object(function) ? function : fragment;
    const json_t *arguments = json_object_get(f, "arguments");
    struct ag_str id = ag_wire_view(json_object_get(fragment, "id")), name = ag_wire_view(json_object_get(f, "name"));
    struct ag_reply_call *c;

    if (id.n == 0 && name.n == 0 && (arguments == NULL || json_is_null(arguments)))
        return AGENT_OK;
    if ((c = slot_for(r, fragment, id, name)) == NULL)
        return r->call_count >= AG_CAP_CALLS
                   ? ag_fail(err, AGENT_ETOOBIG, 0, "openai: over %d tool calls in one answer", AG_CAP_CALLS)
                   : ag_fail(err, AGENT_ENOMEM, 0, "openai: tool call: out of memory");
    if (c->name.n == 0) {
        if (id.n > 0 && (name.n > 0 || c->id.n == 0)) {
            ag_buf_clear(&c->id);
            ag_wire_text(&c->id, json_object_get(fragment, "id"));
        }
        ag_wire_text(&c->name, json_object_get(f, "name"));
    }
    if (json_is_string(arguments))
        ag_wire_text(&c->arguments, arguments);
    else if (json_is_object(arguments) || json_is_array(arguments))
        ag_wire_dump(&c->arguments, arguments);
    return AGENT_OK;
}

static agent_status take_calls(struct ag_reply *r, const json_t *message, agent_error *err)
{
    const json_t *calls = json_object_get(message, "tool_calls"), *legacy = json_object_get(message, "function_call");
    agent_status rc;

    for (size_t i = 0; i < json_array_size(calls); i++)
        if ((rc = take_call(r, json_array_get(calls, i), err)) != AGENT_OK)
            return rc;
    return json_is_object(legacy) ? take_call(r, legacy, err) : AGENT_OK;
}

/* A string, or parts with a text each. */
static void take_text(ag_buf *to, const json_t *content)
{
    ag_wire_text(to, content);
    for (size_t i = 0; i < json_array_size(content); i++)
        ag_wire_text(to, json_object_get(json_array_get(content, i), "text"));
}

/* One of three names; a server that fills two of them says the same in both. */
static void take_reasoning(ag_buf *to, const json_t *message)
{
    static const char *const names[] = {"reasoning_content", "reasoning", "reasoning_details"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t was = to->n;

        take_text(to, json_object_get(message, names[i]));
        if (to->n > was)
            return;
    }
}

static void take_usage(struct ag_reply *r, const json_t *usage)
{
    const json_t *cached = json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");

    if (!json_is_object(usage))
        return;
    r->input_tokens = ag_wire_count(json_object_get(usage, "prompt_tokens"), r->input_tokens);
    r->output_tokens = ag_wire_count(json_object_get(usage, "completion_tokens"), r->output_tokens);
    r->cached_tokens = ag_wire_count(cached, r->cached_tokens);
    if (cached == NULL) /* DeepSeek's name for it */
        r->cached_tokens = ag_wire_count(json_object_get(usage, "prompt_cache_hit_tokens"), r->cached_tokens);
}

static enum ag_stop stop_of(const struct ag_reply *r, const char *reason)
{
    static const struct {
        const char *reason;
        enum ag_stop stop;
    } stops[] = {
        {"stop", AG_STOP_DONE},        {"length", AG_STOP_LENGTH},          {"tool_calls", AG_STOP_CALLS},
        {"tool_call", AG_STOP_CALLS},  {"content_filter", AG_STOP_REFUSAL}, {"function_call", AG_STOP_CALLS},
    };
    enum ag_stop stop = AG_STOP_OTHER;

    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
        if (strcmp(reason, stops[i].reason) == 0)
            stop = stops[i].stop;
    if (r->call_count > 0 && stop != AG_STOP_LENGTH && stop != AG_STOP_REFUSAL)
        return AG_STOP_CALLS;
    return r->wire.refused && stop == AG_STOP_DONE ? AG_STOP_REFUSAL : stop;
}

/* A message, or what a delta adds to it. */
static agent_status take_message(struct ag_reply *r, const json_t *message, agent_error *err)
{
    const json_t *refusal = json_object_get(message, "refusal");

    take_text(&r->text, json_object_get(message, "content"));
    if (json_is_string(refusal) && json_string_length(refusal) > 0) {
        ag_wire_text(&r->text, refusal);
        r->wire.refused = true;
    }
    take_reasoning(&r->reasoning, message);
    return take_calls(r, message, err);
}

static bool is_trouble(const json_t *doc)
{
    const json_t *error = json_object_get(doc, "error");

    return (error != NULL && !json_is_null(error) && !json_is_false(error)) ||
           strcmp(ag_wire_string(json_object_get(doc, "object")), "error") == 0;
}

static agent_status take_trouble(struct ag_stream *s, const json_t *doc, agent_error *err)
{
    struct ag_trouble t;

    ag_trouble_read(doc, &t);
    return ag_trouble_judge(&ag_provider_openai, 0, &t, NULL, &s->verdict, err);
}

/* The choice that is ours: index 0, which some do not write; NULL where there is none. */
static const json_t *our_choice(const json_t *doc)
{
    const json_t *choices = json_object_get(doc, "choices");

    for (size_t i = 0; i < json_array_size(choices); i++)
        if (ag_wire_count(json_object_get(json_array_get(choices, i), "index"), 0) == 0)
            return json_array_get(choices, i);
    return NULL;
}

static agent_status take_choice(struct ag_stream *s, const json_t *choice, const char *what, agent_error *err)
{
    static const struct ag_trouble unnamed = {.message = "the server ended it with finish_reason error"};
    const json_t *reason = json_object_get(choice, "finish_reason");
    struct ag_reply *r = s->reply;
    agent_status rc;

    if (strcmp(ag_wire_string(reason), "error") == 0)
        return ag_trouble_judge(&ag_provider_openai, 0, &unnamed, NULL, &s->verdict, err);
    if ((rc = take_message(r, json_object_get(choice, what), err)) != AGENT_OK)
        return rc;
    take_usage(r, json_object_get(choice, "usage"));
    if (json_is_string(reason) && json_string_length(reason) > 0) { /* (2) */
        r->stop = stop_of(r, json_string_value(reason));
        r->complete = true; /* (3) */
    }
    return AGENT_OK;
}

static agent_status take_plain(struct ag_reply *r, const struct ag_openai_plain *p, agent_error *err)
{
    char reason[32];

    if (p->input_tokens >= 0)
        r->input_tokens = p->input_tokens;
    if (p->output_tokens >= 0)
        r->output_tokens = p->output_tokens;
    if (p->cached_tokens >= 0)
        r->cached_tokens = p->cached_tokens;
    if (p->content.n > 0 && p->content.p[0] == '"')
        ag_scan_unescape(p->content, &r->text);
    if (p->reason.n > 2) { /* (2) */
        size_t n = p->reason.n - 2 < sizeof(reason) - 1 ? p->reason.n - 2 : sizeof(reason) - 1;

        memcpy(reason, p->reason.p + 1, n);
        reason[n] = '\0';
        r->stop = stop_of(r, reason);
        r->complete = true; /* (3) */
    }
    return ag_wire_check("openai", r, err);
}

agent_status ag_openai_event(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done,
                             agent_error *err)
{
    struct ag_reply *r = s->reply;
    struct ag_openai_plain plain;
    json_auto_t *doc = NULL;
    const json_t *choice;
    agent_status rc;

    if (ag_wire_blank(data))
        return AGENT_OK;
    if (data.n >= 6 && memcmp(data.p, "[DONE]", 6) == 0) {
        if (!r->complete && (r->text.n > 0 || r->call_count > 0)) { /* (3) */
            r->complete = true;
            r->stop = r->call_count > 0 ? AG_STOP_CALLS : AG_STOP_DONE;
        }
        *done = true;
        return AGENT_OK;
    }
    if (!ag_str_is(event, "error") && ag_openai_plain(data, "delta", &plain)) {
        s->verdict = (struct ag_verdict){.retry = false, .after_ms = -1};
        return take_plain(r, &plain, err);
    }
    s->verdict = (struct ag_verdict){.retry = true, .after_ms = -1}; /* of broken bytes */
    if ((doc = ag_wire_parse(data, "openai", "a chunk of the answer", err)) == NULL)
        return AGENT_EPROTOCOL;
    if (is_trouble(doc) || ag_str_is(event, "error")) /* (1) */
        return take_trouble(s, doc, err);

    s->verdict.retry = false; /* of limits: the same answer would pass them again */
    take_usage(r, json_object_get(doc, "usage"));
    choice = our_choice(doc);
    if (choice != NULL && (rc = take_choice(s, choice, "delta", err)) != AGENT_OK)
        return rc;
    return ag_wire_check("openai", r, err);
}

/* One document cannot be cut: without a reason it is still all of the answer. */
static void end_whole(struct ag_reply *r)
{
    if (r->complete)
        return;
    r->complete = true;
    r->stop = r->call_count > 0 ? AG_STOP_CALLS : AG_STOP_DONE;
}

agent_status ag_openai_whole(struct ag_stream *s, struct ag_str body, agent_error *err)
{
    struct ag_reply *r = s->reply;
    struct ag_openai_plain plain;
    json_auto_t *doc = NULL;
    const json_t *choice;
    agent_status rc;

    s->verdict = (struct ag_verdict){.retry = false, .after_ms = -1};
    if (ag_openai_plain(body, "message", &plain) && plain.has_choice) {
        if ((rc = take_plain(r, &plain, err)) != AGENT_OK)
            return rc;
        end_whole(r);
        return AGENT_OK;
    }
    if ((doc = ag_wire_parse(body, "openai", "the answer", err)) == NULL) {
        ag_hint(err, "check the base URL: something else than the API may have answered");
        return AGENT_EPROTOCOL;
    }
    if (is_trouble(doc))
        return take_trouble(s, doc, err);
    if ((choice = our_choice(doc)) == NULL || !json_is_object(json_object_get(choice, "message")))
        return ag_fail(err, AGENT_EPROTOCOL, 0, "openai: the answer has no choices[0].message");
    take_usage(r, json_object_get(doc, "usage"));
    if ((rc = take_choice(s, choice, "message", err)) != AGENT_OK)
        return rc;
    end_whole(r);
    return ag_wire_check("openai", r, err);
}
