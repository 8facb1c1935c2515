/*
 * The answer as it grows, and its end.
 *
 *  1. Every call that leaves here has a name, arguments that are not empty, and an id that no other
 *     call of this answer has: results are matched by id.
 *  2. Whether the answer asks for tools is decided by the presence of calls, never by the reason a
 *     server gives for stopping: many say "stop" and mean calls.
 */
#include <assert.h>

#include "engine/base/mem.h"
#include "engine/provider/provider.h"

#define NAME_BYTES 256

void ag_reply_init(struct ag_reply *r)
{
    *r = (struct ag_reply){
        .text = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES),
        .reasoning = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES),
        .extra = AG_BUF_INIT(2 * (size_t)AG_CAP_RESPONSE_BYTES), /* escaped text is longer */
        .input_tokens = -1,
        .cached_tokens = -1,
        .output_tokens = -1,
    };
    r->wire.parts = AG_BUF_INIT(AG_CAP_ARGUMENTS_BYTES);
    r->wire.opaque = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
    r->wire.fresh = r->wire.cache_read = r->wire.cache_write = -1;
}

static void drop_call(struct ag_reply_call *c)
{
    ag_buf_drop(&c->id);
    ag_buf_drop(&c->name);
    ag_buf_drop(&c->arguments);
}

void ag_reply_drop(struct ag_reply *r)
{
    for (size_t i = 0; i < r->call_count; i++)
        drop_call(&r->calls[i]);
    ag_free(r->calls);
    ag_buf_drop(&r->text);
    ag_buf_drop(&r->reasoning);
    ag_buf_drop(&r->extra);
    ag_buf_drop(&r->wire.parts);
    ag_buf_drop(&r->wire.opaque);
    ag_reply_init(r);
}

struct ag_reply_call *ag_reply_add_call(struct ag_reply *r, int index)
{
    struct ag_reply_call *c;

    if (r->call_count >= AG_CAP_CALLS)
        return NULL;
    if (r->call_count == r->call_room) {
        size_t room = r->call_room == 0 ? 2 : 2 * r->call_room;

        if ((c = ag_realloc(r->calls, room * sizeof(*c))) == NULL)
            return NULL;
        r->calls = c;
        r->call_room = room;
    }
    c = &r->calls[r->call_count++];
    *c = (struct ag_reply_call){
        .id = AG_BUF_INIT(NAME_BYTES),
        .name = AG_BUF_INIT(NAME_BYTES),
        .arguments = AG_BUF_INIT(AG_CAP_ARGUMENTS_BYTES),
        .index = index,
    };
    return c;
}

/* A slot that a server opened and never filled. */
static void drop_ghosts(struct ag_reply *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->call_count; i++) {
        if (r->calls[i].name.n == 0 && r->calls[i].arguments.n == 0)
            drop_call(&r->calls[i]);
        else
            r->calls[kept++] = r->calls[i];
    }
    r->call_count = kept;
}

static bool id_taken(const struct ag_reply *r, size_t before, struct ag_str id)
{
    for (size_t i = 0; i < before; i++)
        if (ag_str_eq(ag_buf_view(&r->calls[i].id), id))
            return true;
    return false;
}

static void put_id(ag_buf *id, int64_t run_id, int step, size_t n)
{
    ag_buf_clear(id);
    ag_buf_z(id, "call_");
    ag_buf_int(id, run_id);
    ag_buf_char(id, '_');
    ag_buf_int(id, step);
    ag_buf_char(id, '_');
    ag_buf_int(id, (int64_t)n);
}

agent_status ag_reply_seal(struct ag_reply *r, int64_t run_id, int step, ag_buf *out_calls, agent_error *err)
{
    bool renamed = false;
    agent_status rc;

    drop_ghosts(r);
    for (size_t i = 0; i < r->call_count; i++) {
        struct ag_reply_call *c = &r->calls[i];

        if (c->name.n == 0)
            return ag_fail(err, AGENT_EPROTOCOL, 0, "tool call %zu of the answer has no name", i + 1);
        if (c->id.n == 0 || id_taken(r, i, ag_buf_view(&c->id))) {
            size_t n = i + 1;

            do /* a server may well have used our own form for an earlier call */
                put_id(&c->id, run_id, step, n++);
            while (c->id.failed == AGENT_OK && id_taken(r, i, ag_buf_view(&c->id)));
            renamed = true;
        }
        if (c->arguments.n == 0)
            ag_buf_append(&c->arguments, "{}", 2);
        if ((rc = ag_buf_status(&c->id, "id of a tool call", err)) != AGENT_OK ||
            (rc = ag_buf_status(&c->name, "name of a tool call", err)) != AGENT_OK ||
            (rc = ag_buf_status(&c->arguments, "arguments of a tool call", err)) != AGENT_OK)
            return rc;
    }
    if (r->call_count > 0 && r->stop != AG_STOP_LENGTH && r->stop != AG_STOP_REFUSAL)
        r->stop = AG_STOP_CALLS; /* (2) */

    if (renamed) /* what was kept to be sent back names the old ids */
        ag_buf_clear(&r->extra);
    if (r->extra.n == 0 && r->reasoning.n > 0) {
        ag_buf_z(&r->extra, "{\"reasoning_content\":");
        ag_buf_json_str(&r->extra, ag_buf_view(&r->reasoning));
        ag_buf_char(&r->extra, '}');
        if ((rc = ag_buf_status(&r->extra, "reasoning of the answer", err)) != AGENT_OK)
            return rc;
    }

    for (size_t i = 0; i < r->call_count; i++) {
        const struct ag_reply_call *c = &r->calls[i];

        assert(c->id.n > 0 && c->name.n > 0 && c->arguments.n > 0); /* (1) */
        ag_buf_z(out_calls, i == 0 ? "[{\"id\":" : ",{\"id\":");
        ag_buf_json_str(out_calls, ag_buf_view(&c->id));
        ag_buf_z(out_calls, ",\"name\":");
        ag_buf_json_str(out_calls, ag_buf_view(&c->name));
        ag_buf_z(out_calls, ",\"arguments\":");
        ag_buf_json_str(out_calls, ag_buf_view(&c->arguments));
        ag_buf_char(out_calls, '}');
    }
    if (r->call_count > 0)
        ag_buf_char(out_calls, ']');
    return ag_buf_status(out_calls, "tool calls of the answer", err);
}
