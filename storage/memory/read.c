/*
 * What runs are loaded from. Rows are copied into the reader's arena under the lock, so nothing
 * that is handed out changes afterwards.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "storage/memory/ram.h"
#include "storage/window.h"

static struct ag_ram *enter(ag_reader *r)
{
    struct ag_ram *m = (struct ag_ram *)r->store;

    (void)pthread_mutex_lock(&m->lock);
    return m;
}

static agent_status leave(struct ag_ram *m, agent_status rc)
{
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

/* Copies *s into the arena in place; false: out of memory. */
static bool keep(ag_arena *a, struct ag_str *s)
{
    struct ag_str copy;

    if (s->p == NULL)
        return true;
    copy = ag_arena_str(a, *s);
    *s = copy;
    return copy.p != NULL;
}

agent_status ag_ram_read_agent(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a,
                               struct ag_agent_rec *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_version *v = NULL;
    const struct ag_ram_agent *agent = NULL;
    struct ag_agent_rec rec;

    if (version_id != 0) {
        if ((v = ag_ram_table_at(&m->versions, version_id)) == NULL)
            return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0, "agent version #%" PRId64 ": no such version",
                                    version_id));
        agent = ag_ram_table_at(&m->agents, v->agent_id);
    } else {
        if ((agent = ag_ram_agent_find(m, name)) == NULL)
            return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent",
                                    AG_STR_ARG(name)));
        version_id = agent->newest_version_id;
        v = ag_ram_table_at(&m->versions, version_id);
    }
    rec = (struct ag_agent_rec){
        .agent_id = agent->id, .version_id = version_id, .version = v->number,
        .spec = {.name = ag_ram_agent_name(agent), .provider = v->config->provider, .model = v->config->model,
                 .instructions = ag_ram_str(v->instructions), .tools = v->config->tools,
                 .options = v->config->options, .base_url = v->config->base_url, .key_env = v->config->key_env,
                 .max_steps = v->max_steps}};
    if (!keep(a, &rec.spec.name) || !keep(a, &rec.spec.provider) || !keep(a, &rec.spec.model) ||
        !keep(a, &rec.spec.instructions) || !keep(a, &rec.spec.tools) || !keep(a, &rec.spec.options) ||
        !keep(a, &rec.spec.base_url) || !keep(a, &rec.spec.key_env))
        return leave(m, ag_ram_nomem(err));
    *out = rec;
    return leave(m, AGENT_OK);
}

/* --- messages ------------------------------------------------------------------------------------ */

static struct ag_message message_view(const struct ag_ram_message *msg)
{
    struct ag_message view = {.seq = msg->seq, .run_id = msg->run_id, .role = (enum ag_role)msg->role,
                              .text = ag_ram_str(msg->text)};

    if (msg->call != NULL) {
        view.text = ag_ram_str(msg->call->result);
        view.tool_name = ag_ram_str(msg->call->tool);
        view.call_id = ag_ram_str(msg->call->call_id);
        view.tool_failed = msg->call->item.status != AG_CALL_SUCCEEDED;
    } else if (msg->role == AG_ROLE_TOOL) {
        view.tool_name = ag_ram_str(msg->tool_name);
        view.call_id = ag_ram_str(msg->call_id);
        view.tool_failed = msg->tool_failed;
    } else {
        view.calls = ag_ram_str(msg->calls);
        view.extra = ag_ram_str(msg->extra);
    }
    if (view.text.p == NULL)
        view.text = AG_STR("");
    return view;
}

/* `count` messages from `first` on. */
static agent_status messages_copy(const struct ag_ram_message *first, size_t count, ag_arena *a,
                                  struct ag_message_list *out, agent_error *err)
{
    struct ag_message *at = NULL;

    if (count > 0 && (at = ag_arena_alloc(a, count * sizeof(*at))) == NULL)
        return ag_ram_nomem(err);
    for (size_t i = 0; i < count; i++, first = first->newer) {
        at[i] = message_view(first);
        if (!keep(a, &at[i].text) || !keep(a, &at[i].calls) || !keep(a, &at[i].extra) ||
            !keep(a, &at[i].tool_name) || !keep(a, &at[i].call_id))
            return ag_ram_nomem(err);
    }
    *out = (struct ag_message_list){at, count};
    return AGENT_OK;
}

agent_status ag_ram_read_tail(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages,
                              size_t max_bytes, ag_arena *a, struct ag_message_list *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_session *s = ag_ram_table_at(&m->sessions, session_id);
    const struct ag_ram_message *msg = s == NULL ? NULL : s->newest_message, *first = NULL, *oldest = NULL;
    struct ag_window w = {.max_messages = max_messages, .max_bytes = max_bytes};

    while (msg != NULL && before_seq > 0 && msg->seq >= before_seq)
        msg = msg->older;
    for (; msg != NULL; msg = msg->older) {
        struct ag_message view = message_view(msg);

        if (!ag_window_fits(&w, view.text.n + view.calls.n + view.extra.n))
            break;
        ag_window_take(&w, msg->role == AG_ROLE_USER);
        oldest = msg;
        if (msg->role == AG_ROLE_USER)
            first = msg;
    }
    return leave(m, messages_copy(first != NULL ? first : oldest, ag_window_count(&w), a, out, err));
}

agent_status ag_ram_read_messages(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a,
                                  struct ag_message_list *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_session *s = ag_ram_table_at(&m->sessions, session_id);
    const struct ag_ram_message *msg = s == NULL ? NULL : s->newest_message, *first = NULL;
    size_t count = 0;

    for (; msg != NULL && msg->seq >= from_seq; msg = msg->older) {
        first = msg;
        count++;
    }
    return leave(m, messages_copy(first, count, a, out, err));
}

/* --- memories --------------------------------------------------------------------------------------- */

static bool memory_copy(const struct ag_ram_memory *row, ag_arena *a, struct ag_memory *out)
{
    *out = (struct ag_memory){row->id, ag_ram_str(row->scope), ag_ram_str(row->key), ag_ram_str(row->text)};
    return keep(a, &out->scope) && keep(a, &out->key) && keep(a, &out->text);
}

agent_status ag_ram_read_memories(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes, ag_arena *a,
                                  struct ag_memory_list *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_agent *agent = ag_ram_table_at(&m->agents, agent_id);
    const struct ag_ram_memory *row, *first = NULL;
    struct ag_memory *at = NULL;
    size_t count = 0, bytes = 0;

    for (row = agent == NULL ? NULL : agent->newest_memory; row != NULL; row = row->older) {
        if (!ag_str_is(ag_ram_str(row->scope), "agent"))
            continue;
        bytes += row->key->n + row->text->n;
        if (count == max_count || bytes > max_bytes)
            break;
        first = row;
        count++;
    }
    if (count > 0 && (at = ag_arena_alloc(a, count * sizeof(*at))) == NULL)
        return leave(m, ag_ram_nomem(err));
    row = first;
    for (size_t i = 0; i < count; row = row->newer)
        if (ag_str_is(ag_ram_str(row->scope), "agent") && !memory_copy(row, a, &at[i++]))
            return leave(m, ag_ram_nomem(err));
    *out = (struct ag_memory_list){at, count};
    return leave(m, AGENT_OK);
}

agent_status ag_ram_read_memory_search(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count,
                                       ag_arena *a, struct ag_memory_list *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_agent *agent = ag_ram_table_at(&m->agents, agent_id);
    const struct ag_ram_memory *row = agent == NULL ? NULL : agent->newest_memory;
    struct ag_ram_hits hits = {0};
    struct ag_memory *at = NULL;
    agent_status rc;

    for (; row != NULL; row = row->older)
        if (!ag_ram_hits_add(&hits, row, query)) {
            ag_ram_hits_drop(&hits);
            return leave(m, ag_ram_nomem(err));
        }
    ag_ram_hits_sort(&hits);
    if (hits.count > max_count)
        hits.count = max_count;
    rc = hits.count > 0 && (at = ag_arena_alloc(a, hits.count * sizeof(*at))) == NULL ? AGENT_ENOMEM : AGENT_OK;
    for (size_t i = 0; i < hits.count && rc == AGENT_OK; i++)
        rc = memory_copy(hits.at[i].row, a, &at[i]) ? AGENT_OK : AGENT_ENOMEM;
    if (rc == AGENT_OK)
        *out = (struct ag_memory_list){at, hits.count};
    ag_ram_hits_drop(&hits);
    return leave(m, rc == AGENT_OK ? rc : ag_ram_nomem(err));
}

/* --- tools, runs, sessions ----------------------------------------------------------------------------- */

agent_status ag_ram_read_tool(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out,
                              agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_tool *tool = ag_ram_tool_find(m, name);
    struct ag_tool_rec rec;

    if (tool == NULL)
        return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0, "tool '" AG_STR_FMT "': no such tool", AG_STR_ARG(name)));
    rec = (struct ag_tool_rec){ag_ram_str(tool->name), ag_ram_str(tool->description), ag_ram_str(tool->argv),
                               ag_ram_str(tool->schema), tool->effect, tool->timeout_ms, tool->max_output_bytes};
    if (!keep(a, &rec.name) || !keep(a, &rec.description) || !keep(a, &rec.argv) || !keep(a, &rec.schema))
        return leave(m, ag_ram_nomem(err));
    *out = rec;
    return leave(m, AGENT_OK);
}

static bool call_copy(const struct ag_ram_call *call, ag_arena *a, struct ag_call_rec *out)
{
    *out = (struct ag_call_rec){
        .number = call->item.number, .model_step = call->model_step, .call_id = ag_ram_str(call->call_id),
        .tool = ag_ram_str(call->tool), .effect_id = ag_ram_str(call->effect_id),
        .arguments = ag_ram_str(call->arguments), .result = ag_ram_str(call->result), .effect = call->effect,
        .status = (enum ag_call_status)call->item.status};
    return keep(a, &out->call_id) && keep(a, &out->tool) && keep(a, &out->effect_id) && keep(a, &out->arguments) &&
           keep(a, &out->result);
}

/* The calls of the newest model step that asked for some. */
static bool calls_copy(const struct ag_ram_run *run, ag_arena *a, struct ag_run_rec *out)
{
    int newest = 0;
    size_t count = 0;

    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next)
        if (item->kind == AG_RAM_CALL && ((const struct ag_ram_call *)item)->model_step > newest)
            newest = ((const struct ag_ram_call *)item)->model_step;
    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next)
        count += item->kind == AG_RAM_CALL && ((const struct ag_ram_call *)item)->model_step == newest;
    out->calls = NULL;
    out->call_count = 0;
    if (count > 0 && (out->calls = ag_arena_alloc(a, count * sizeof(*out->calls))) == NULL)
        return false;
    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        const struct ag_ram_call *call = (const struct ag_ram_call *)item;

        if (item->kind == AG_RAM_CALL && call->model_step == newest &&
            !call_copy(call, a, &out->calls[out->call_count++]))
            return false;
    }
    return true;
}

struct ag_str ag_ram_run_output(const struct ag_ram_run *run)
{
    const struct ag_ram_message *msg = run->session->newest_message;

    if (run->output_seq == 0)
        return AG_STR_NONE;
    while (msg != NULL && msg->seq > run->output_seq)
        msg = msg->older;
    return msg == NULL || msg->seq != run->output_seq ? AG_STR_NONE : ag_ram_str(msg->text);
}

agent_status ag_ram_read_run(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out, agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_run *run = ag_ram_table_at(&m->runs, run_id);
    struct ag_run_rec rec;

    if (run == NULL)
        return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0, "run %" PRId64 ": no such run", run_id));
    rec = (struct ag_run_rec){
        .run_id = run->id, .session_id = run->session->id, .agent_id = run->session->agent->id,
        .version_id = run->version_id, .input_seq = run->input_seq, .output_seq = run->output_seq,
        .status = (enum ag_run_status)run->status, .attempt = run->attempt, .priority = run->priority,
        .queued_at_ms = run->queued_at_ms, .started_at_ms = run->started_at_ms,
        .deadline_at_ms = run->deadline_at_ms, .input = ag_ram_str(run->input), .options = ag_ram_str(run->options),
        .output = ag_ram_run_output(run), .last_seq = run->session->last_seq,
        .last_step = run->last == NULL ? 0 : run->last->number, .input_tokens = run->input_tokens,
        .output_tokens = run->output_tokens, .error_status = run->error_status, .error = ag_ram_str(run->error),
        .queue_us = run->queue_us, .wall_us = run->wall_us,
        .cache_hit = run->cache_hit == 1};
    if (!ag_ram_has_ended(run))
        ag_ram_run_tokens(run, &rec.input_tokens, &rec.output_tokens);
    if (!keep(a, &rec.input) || !keep(a, &rec.options) || !keep(a, &rec.output) || !keep(a, &rec.error) ||
        !calls_copy(run, a, &rec))
        return leave(m, ag_ram_nomem(err));
    *out = rec;
    return leave(m, AGENT_OK);
}

/* "#12" is 12; else 0. */
static int64_t id_of(struct ag_str spec)
{
    int64_t id = 0;

    if (spec.n < 2 || spec.n > 19 || spec.p[0] != '#')
        return 0;
    for (size_t i = 1; i < spec.n; i++) {
        if (spec.p[i] < '0' || spec.p[i] > '9')
            return 0;
        id = id * 10 + (spec.p[i] - '0');
    }
    return id;
}

agent_status ag_ram_read_session_find(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id,
                                      agent_error *err)
{
    struct ag_ram *m = enter(r);
    const struct ag_ram_agent *a = agent.n == 0 ? NULL : ag_ram_agent_find(m, agent);
    const struct ag_ram_session *s = NULL;

    if (a == NULL && agent.n > 0)
        return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "': no such agent",
                                AG_STR_ARG(agent)));
    if (spec.n > 0 && spec.p[0] == '#')
        s = ag_ram_table_at(&m->sessions, id_of(spec));
    else if (a != NULL)
        s = ag_ram_session_named(m, a, spec);
    if (s == NULL || (a != NULL && s->agent != a))
        return leave(m, ag_fail(err, AGENT_ENOTFOUND, 0,
                                "session '" AG_STR_FMT "' of agent '" AG_STR_FMT "': no such session",
                                AG_STR_ARG(spec), AG_STR_ARG(agent)));
    *out_id = s->id;
    return leave(m, AGENT_OK);
}

agent_status ag_ram_read_cancels(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx, agent_error *err)
{
    struct ag_ram *m = enter(r);
    int64_t left = m->cancel_count;

    (void)err;
    for (int64_t id = 0; left > 0 && (id = ag_ram_table_after(&m->runs, id)) != 0;) {
        const struct ag_ram_run *run = ag_ram_table_at(&m->runs, id);

        if (!run->cancel_requested)
            continue;
        left--;
        fn(ctx, id);
    }
    return leave(m, AGENT_OK);
}

agent_status ag_ram_read_queue(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err)
{
    struct ag_ram *m = enter(r);

    (void)deaths_too; /* the only owner is this store */
    (void)err;
    *out = (struct ag_queue_look){.has_waiting = m->queue.unheld > 0};
    for (int i = 0; i < AG_RAM_QUEUE_LINES; i++)
        out->is_ready |= m->queue.lines[i].first != NULL;
    return leave(m, AGENT_OK);
}
