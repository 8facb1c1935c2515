/*
 * An answer of Messages: blocks, one after the other.
 *
 *      message_start ── usage
 *        content_block_start  0 thinking │ text │ tool_use │ redacted_thinking │ something newer
 *        content_block_delta  0 …
 *        content_block_stop   0
 *        …
 *      message_delta ── stop_reason, usage (cumulative: replaces)
 *      message_stop  ── complete
 *
 * The blocks are noted as they come, as places in what the reply holds anyway:
 *
 *      parts   [thinking 0..40 sign 0..88] [text 0..12] [tool_use call 0]
 *                 of reasoning   of opaque     of text       of calls
 *
 * and written out at the end as {"content":[…]} into `extra`, only where one of them must go back
 * verbatim: thinking with its signature, redacted thinking, a block that we do not know.
 *
 *  1. The type inside the data counts, the event's name only where that is missing: some servers
 *     send no names.
 *  2. Only message_stop completes an answer.
 *  3. Unknown events and deltas are ignored; unknown blocks are kept and sent back.
 *  4. `extra` is valid JSON or empty: what a server sent in fragments is checked before it is kept.
 */
#include "engine/provider/anthropic.h"
#include "engine/provider/wire.h"

enum part_kind { PART_TEXT, PART_THINKING, PART_REDACTED, PART_CALL, PART_OTHER };

struct part {
    enum part_kind kind;
    int64_t index;         /* the server's */
    size_t from, to;       /* of text, of reasoning */
    size_t mark, mark_end; /* of opaque: signature, redacted data, or the block itself */
    size_t call;           /* of calls */
    bool given;            /* call, other: its input came with the block's start, in one piece */
};

static size_t part_count(const struct ag_reply *r)
{
    return r->wire.parts.n / sizeof(struct part);
}

static struct part *parts(struct ag_reply *r)
{
    return (struct part *)(void *)r->wire.parts.p; /* malloc's alignment */
}

/* Blocks come one after the other: what belongs to `index` belongs to the last of that index. */
static struct part *part_at(struct ag_reply *r, int64_t index)
{
    for (size_t i = part_count(r); i-- > 0;)
        if (index < 0 || parts(r)[i].index == index)
            return &parts(r)[i];
    return NULL;
}

/* --- one block ----------------------------------------------------------------------------------- */

static agent_status open_call(struct ag_reply *r, const json_t *block, struct part *p, agent_error *err)
{
    const json_t *input = json_object_get(block, "input");
    struct ag_reply_call *c = ag_reply_add_call(r, -1);

    if (c == NULL)
        return r->call_count >= AG_CAP_CALLS
                   ? ag_fail(err, AGENT_ETOOBIG, 0, "anthropic: over %d tool calls in one answer", AG_CAP_CALLS)
                   : ag_fail(err, AGENT_ENOMEM, 0, "anthropic: tool call: out of memory");
    p->call = r->call_count - 1;
    ag_wire_text(&c->id, json_object_get(block, "id"));
    ag_wire_text(&c->name, json_object_get(block, "name"));
    if (json_object_size(input) > 0) { /* a whole answer, or a server that does not stream it */
        ag_wire_dump(&c->arguments, input);
        p->given = true;
    }
    return AGENT_OK;
}

/* A block of a kind that is not ours: its text up to where its input, if it has one, is to come. */
static void open_other(struct ag_reply *r, json_t *block, struct part *p)
{
    const json_t *input = json_object_get(block, "input");
    json_auto_t *head = NULL;
    ag_buf *o = &r->wire.opaque;

    if (!json_is_object(input)) {
        ag_wire_dump(o, block);
        p->to = 0;
        return;
    }
    if ((head = json_copy(block)) == NULL || json_object_del(head, "input") != 0) {
        o->failed = AGENT_ENOMEM;
        return;
    }
    ag_wire_dump(o, head);
    if (o->failed != AGENT_OK || o->n == p->mark)
        return;
    o->n--; /* its closing brace */
    ag_buf_z(o, json_object_size(head) > 0 ? ",\"input\":" : "\"input\":");
    p->from = p->to = o->n - p->mark; /* where the input begins */
    p->given = true;
    ag_wire_dump(o, input);
}

static agent_status open_block(struct ag_reply *r, int64_t index, json_t *block, agent_error *err)
{
    const char *type = ag_wire_string(json_object_get(block, "type"));
    struct part p = {.kind = PART_OTHER, .index = index, .mark = r->wire.opaque.n};
    agent_status rc;

    if (!json_is_object(block))
        return AGENT_OK;
    if (strcmp(type, "text") == 0) {
        p.kind = PART_TEXT;
        p.from = r->text.n;
        ag_wire_text(&r->text, json_object_get(block, "text"));
        p.to = r->text.n;
    } else if (strcmp(type, "thinking") == 0) {
        p.kind = PART_THINKING;
        p.from = r->reasoning.n;
        ag_wire_text(&r->reasoning, json_object_get(block, "thinking"));
        ag_wire_text(&r->wire.opaque, json_object_get(block, "signature"));
        p.to = r->reasoning.n;
    } else if (strcmp(type, "redacted_thinking") == 0) {
        p.kind = PART_REDACTED;
        ag_wire_text(&r->wire.opaque, json_object_get(block, "data"));
    } else if (strcmp(type, "tool_use") == 0) {
        p.kind = PART_CALL;
        if ((rc = open_call(r, block, &p, err)) != AGENT_OK)
            return rc;
    } else {
        open_other(r, block, &p);
    }
    p.mark_end = r->wire.opaque.n;
    ag_buf_append(&r->wire.parts, &p, sizeof(p));
    return ag_wire_check("anthropic", r, err);
}

/* A fragment of a call's input, or of an unknown block's. The first one replaces what stood in the
 * block's start: that is {} by the rules, and a whole copy by some servers. */
static void take_input(struct ag_reply *r, struct part *p, const json_t *fragment)
{
    ag_buf *o = &r->wire.opaque;

    if (json_string_length(fragment) == 0)
        return;
    if (p->kind == PART_CALL) {
        ag_buf *arguments = &r->calls[p->call].arguments;

        if (p->given)
            ag_buf_clear(arguments);
        ag_wire_text(arguments, fragment);
    } else if (p->kind == PART_OTHER && p->to > 0 && p->mark_end == o->n) {
        if (p->given)
            o->n = p->mark + p->from;
        ag_wire_text(o, fragment);
        p->mark_end = o->n;
    }
    p->given = false;
}

static void take_delta(struct ag_reply *r, int64_t index, const json_t *delta)
{
    const char *type = ag_wire_string(json_object_get(delta, "type"));
    struct part *p = part_at(r, index);

    if (strcmp(type, "text_delta") == 0) {
        ag_wire_text(&r->text, json_object_get(delta, "text"));
        if (p != NULL && p->kind == PART_TEXT)
            p->to = r->text.n;
    } else if (strcmp(type, "thinking_delta") == 0) {
        ag_wire_text(&r->reasoning, json_object_get(delta, "thinking"));
        if (p != NULL && p->kind == PART_THINKING)
            p->to = r->reasoning.n;
    } else if (p == NULL) {
        return;
    } else if (strcmp(type, "signature_delta") == 0) {
        if (p->kind == PART_THINKING && p->mark_end == r->wire.opaque.n) {
            r->wire.opaque.n = p->mark; /* the last one counts */
            ag_wire_text(&r->wire.opaque, json_object_get(delta, "signature"));
            p->mark_end = r->wire.opaque.n;
        }
    } else if (strcmp(type, "input_json_delta") == 0) {
        take_input(r, p, json_object_get(delta, "partial_json"));
    }
}

/* --- the answer ------------------------------------------------------------------------------------ */

static struct ag_str slice(const ag_buf *b, size_t from, size_t to)
{
    return from < to ? (struct ag_str){b->p + from, to - from} : AG_STR("");
}

static void put_part(struct ag_reply *r, const struct part *p, ag_buf *out)
{
    struct ag_str opaque = slice(&r->wire.opaque, p->mark, p->mark_end), text;

    switch (p->kind) {
    case PART_TEXT:
        text = slice(&r->text, p->from, p->to);
        if (ag_wire_blank(text))
            return; /* refused when it is sent */
        ag_buf_z(out, ",{\"type\":\"text\",\"text\":");
        ag_buf_json_str(out, text);
        break;
    case PART_THINKING:
        if (opaque.n == 0)
            return; /* without a signature it is of no use to anybody but the reader */
        ag_buf_z(out, ",{\"type\":\"thinking\",\"thinking\":");
        ag_buf_json_str(out, slice(&r->reasoning, p->from, p->to));
        ag_buf_z(out, ",\"signature\":");
        ag_buf_json_str(out, opaque);
        break;
    case PART_REDACTED:
        ag_buf_z(out, ",{\"type\":\"redacted_thinking\",\"data\":");
        ag_buf_json_str(out, opaque);
        break;
    case PART_CALL:
        ag_buf_z(out, ",{\"type\":\"tool_use\",\"id\":");
        ag_buf_json_str(out, ag_buf_view(&r->calls[p->call].id));
        ag_buf_z(out, ",\"name\":");
        ag_buf_json_str(out, ag_buf_view(&r->calls[p->call].name));
        ag_buf_z(out, ",\"input\":");
        ag_scan_put_object(ag_buf_view(&r->calls[p->call].arguments), out);
        break;
    case PART_OTHER:
        ag_buf_char(out, ',');
        ag_buf_str(out, opaque);
        if (p->to == 0)
            return; /* it was whole at its start */
        break;
    }
    ag_buf_char(out, '}');
}

static agent_status write_extra(struct ag_reply *r, agent_error *err)
{
    size_t from;
    bool verbatim = false;

    for (size_t i = 0; i < part_count(r); i++) {
        const struct part *p = &parts(r)[i];

        verbatim |= p->kind == PART_REDACTED || p->kind == PART_OTHER ||
                    (p->kind == PART_THINKING && p->mark_end > p->mark);
    }
    if (!verbatim)
        return AGENT_OK;
    ag_buf_z(&r->extra, "{\"content\":[");
    from = r->extra.n;
    for (size_t i = 0; i < part_count(r); i++)
        put_part(r, &parts(r)[i], &r->extra);
    if (r->extra.failed == AGENT_OK && r->extra.n > from) {
        memmove(r->extra.p + from, r->extra.p + from + 1, r->extra.n - from); /* the first comma */
        r->extra.n--;
    }
    ag_buf_z(&r->extra, "]}");
    if (r->extra.failed == AGENT_OK && !ag_scan_is_object(ag_buf_view(&r->extra))) /* (4) */
        ag_buf_clear(&r->extra);
    return ag_wire_check("anthropic", r, err);
}

/* Total input = what was read afresh + from the cache + into the cache. A later figure replaces. */
static void take_usage(struct ag_reply *r, const json_t *usage)
{
    if (!json_is_object(usage))
        return;
    r->wire.fresh = ag_wire_count(json_object_get(usage, "input_tokens"), r->wire.fresh);
    r->wire.cache_read = ag_wire_count(json_object_get(usage, "cache_read_input_tokens"), r->wire.cache_read);
    r->wire.cache_write = ag_wire_count(json_object_get(usage, "cache_creation_input_tokens"), r->wire.cache_write);
    r->output_tokens = ag_wire_count(json_object_get(usage, "output_tokens"), r->output_tokens);
    r->cached_tokens = r->wire.cache_read;
    if (r->wire.fresh >= 0)
        r->input_tokens = r->wire.fresh + (r->wire.cache_read > 0 ? r->wire.cache_read : 0) +
                          (r->wire.cache_write > 0 ? r->wire.cache_write : 0);
}

static void take_stop(struct ag_reply *r, const json_t *from)
{
    static const struct {
        const char *reason;
        enum ag_stop stop;
    } stops[] = {
        {"end_turn", AG_STOP_DONE},
        {"stop_sequence", AG_STOP_DONE},
        {"tool_use", AG_STOP_CALLS},
        {"max_tokens", AG_STOP_LENGTH},
        {"model_context_window_exceeded", AG_STOP_LENGTH},
        {"refusal", AG_STOP_REFUSAL},
    }; /* pause_turn and what is newer: other */
    const json_t *reason = json_object_get(from, "stop_reason"), *details = json_object_get(from, "stop_details");

    if (!json_is_string(reason))
        return;
    r->stop = AG_STOP_OTHER;
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
        if (strcmp(json_string_value(reason), stops[i].reason) == 0)
            r->stop = stops[i].stop;
    if (r->stop == AG_STOP_REFUSAL && r->text.n == 0) /* else the person would read nothing at all */
        ag_wire_text(&r->text, json_object_get(details, "explanation"));
}

static agent_status end_answer(struct ag_reply *r, agent_error *err)
{
    if (r->call_count > 0 && (r->stop == AG_STOP_NONE || r->stop == AG_STOP_DONE))
        r->stop = AG_STOP_CALLS;
    if (r->stop == AG_STOP_NONE)
        r->stop = AG_STOP_OTHER;
    r->complete = true;
    return write_extra(r, err);
}

static agent_status take_trouble(struct ag_stream *s, const json_t *doc, agent_error *err)
{
    struct ag_trouble t;

    ag_trouble_read(doc, &t);
    return ag_trouble_judge(&ag_provider_anthropic, 0, &t, NULL, &s->verdict, err);
}

agent_status ag_anthropic_event(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done,
                                agent_error *err)
{
    struct ag_reply *r = s->reply;
    json_auto_t *doc = NULL;
    const json_t *named, *message;
    struct ag_str type;
    int64_t index;
    agent_status rc;

    if (ag_wire_blank(data))
        return AGENT_OK;
    s->verdict = (struct ag_verdict){.retry = true, .after_ms = -1}; /* of broken bytes */
    if ((doc = ag_wire_parse(data, "anthropic", "an event of the answer", err)) == NULL)
        return AGENT_EPROTOCOL;
    named = json_object_get(doc, "type");
    type = json_is_string(named) ? ag_str_of(json_string_value(named)) : event; /* (1) */
    if (ag_str_is(type, "error") || ag_str_is(event, "error"))
        return take_trouble(s, doc, err);

    s->verdict.retry = false; /* of limits: the same answer would pass them again */
    index = ag_wire_count(json_object_get(doc, "index"), -1);
    if (ag_str_is(type, "content_block_delta")) {
        take_delta(r, index, json_object_get(doc, "delta"));
    } else if (ag_str_is(type, "content_block_start")) {
        if ((rc = open_block(r, index, json_object_get(doc, "content_block"), err)) != AGENT_OK)
            return rc;
    } else if (ag_str_is(type, "message_start")) {
        message = json_object_get(doc, "message");
        take_usage(r, json_object_get(message, "usage"));
    } else if (ag_str_is(type, "message_delta")) {
        take_usage(r, json_object_get(doc, "usage"));
        take_stop(r, json_object_get(doc, "delta"));
    } else if (ag_str_is(type, "message_stop")) { /* (2) */
        if ((rc = end_answer(r, err)) != AGENT_OK)
            return rc;
        *done = true;
    }
    return ag_wire_check("anthropic", r, err);
}

agent_status ag_anthropic_whole(struct ag_stream *s, struct ag_str body, agent_error *err)
{
    struct ag_reply *r = s->reply;
    json_auto_t *doc = NULL;
    const json_t *content;
    agent_status rc;

    s->verdict = (struct ag_verdict){.retry = false, .after_ms = -1};
    if ((doc = ag_wire_parse(body, "anthropic", "the answer", err)) == NULL) {
        ag_hint(err, "check the base URL: something else than the API may have answered");
        return AGENT_EPROTOCOL;
    }
    if (strcmp(ag_wire_string(json_object_get(doc, "type")), "error") == 0 ||
        json_is_object(json_object_get(doc, "error")))
        return take_trouble(s, doc, err);
    content = json_object_get(doc, "content");
    if (!json_is_array(content))
        return ag_fail(err, AGENT_EPROTOCOL, 0, "anthropic: the answer has no content");
    for (size_t i = 0; i < json_array_size(content); i++)
        if ((rc = open_block(r, (int64_t)i, json_array_get(content, i), err)) != AGENT_OK)
            return rc;
    take_usage(r, json_object_get(doc, "usage"));
    take_stop(r, doc);
    return end_answer(r, err);
}
