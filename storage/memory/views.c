/* The views, one table row each: their columns, what a filter may name, and how a row is told. */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "storage/memory/scan.h"

/* --- cells ------------------------------------------------------------------------------------------ */

static void put(struct ag_ram_scan *s, struct ag_cell cell)
{
    s->cells[s->count++] = cell;
}

static void put_null(struct ag_ram_scan *s)
{
    put(s, (struct ag_cell){.type = AGENT_VALUE_NULL});
}

static void put_int(struct ag_ram_scan *s, int64_t v)
{
    put(s, (struct ag_cell){.type = AGENT_VALUE_INT, .i = v, .r = (double)v});
}

static void put_known(struct ag_ram_scan *s, int64_t v) /* -1: unknown; other negative numbers are fine */
{
    if (v == -1)
        put_null(s);
    else
        put_int(s, v);
}

static void put_id(struct ag_ram_scan *s, int64_t v) /* 0: none */
{
    if (v == 0)
        put_null(s);
    else
        put_int(s, v);
}

static void put_ms(struct ag_ram_scan *s, int64_t us) /* -1: unknown */
{
    if (us < 0)
        put_null(s);
    else
        put(s, (struct ag_cell){.type = AGENT_VALUE_REAL, .i = us / 1000, .r = (double)us / 1000.0});
}

static void put_str(struct ag_ram_scan *s, struct ag_str v)
{
    if (v.p == NULL)
        put_null(s);
    else
        put(s, (struct ag_cell){.type = AGENT_VALUE_TEXT, .text = v});
}

static void put_z(struct ag_ram_scan *s, const char *z)
{
    put_str(s, ag_str_of(z));
}

static void put_text(struct ag_ram_scan *s, const struct ag_ram_text *t)
{
    put_str(s, ag_ram_str(t));
}

static void put_time(struct ag_ram_scan *s, int64_t at_ms) /* 0: none; -1: unknown */
{
    if (at_ms == 0 || at_ms == -1) {
        put_null(s);
    } else {
        char *text = s->times[s->time_count++];

        ag_iso8601(at_ms, text);
        put_z(s, text);
    }
}

/* --- what a filter lets through ------------------------------------------------------------------------- */

static bool wants_agent(const struct ag_ram_scan *s, const struct ag_ram_agent *a)
{
    return s->filter.agent == NULL || ag_str_is(ag_ram_agent_name(a), s->filter.agent);
}

static bool wants_session(const struct ag_ram_scan *s, int64_t id)
{
    return s->filter.session_id == 0 || s->filter.session_id == id;
}

static bool wants_run(const struct ag_ram_scan *s, int64_t id)
{
    return s->filter.run_id == 0 || s->filter.run_id == id;
}

static bool wants_status(const struct ag_ram_scan *s, const char *status)
{
    return s->filter.status == NULL || strcmp(s->filter.status, status) == 0;
}

static bool wants_name(const struct ag_ram_scan *s, struct ag_str name)
{
    return s->filter.name == NULL || (name.p != NULL && ag_str_is(name, s->filter.name));
}

static bool wants_since(const struct ag_ram_scan *s, int64_t at_ms)
{
    return s->filter.since_ms == 0 || at_ms >= s->filter.since_ms;
}

static int64_t only_session(const struct ag_ram_scan *s)
{
    const struct ag_ram_run *run;

    if (s->filter.session_id != 0 || s->filter.run_id == 0)
        return s->filter.session_id;
    run = ag_ram_table_at(&s->m->runs, s->filter.run_id);
    return run == NULL ? 0 : run->session->id; /* forgotten: its messages may still be there */
}

static int64_t only_run(const struct ag_ram_scan *s)
{
    return s->filter.run_id;
}

/* --- v_agents, v_agent_versions ---------------------------------------------------------------------------- */

static const char *const agent_names[] = {"id", "name", "version", "provider", "model", "instructions", "tools",
                                          "created_at", "updated_at", "sessions", "runs", "last_run_at"};

static void agents_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_agent *a = row;
    const struct ag_ram_version *v = ag_ram_table_at(&s->m->versions, a->newest_version_id);

    if (wants_agent(s, a) && wants_name(s, ag_ram_agent_name(a)) && wants_since(s, a->created_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = v});
}

static void agents_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_agent *a = ref->row;
    const struct ag_ram_version *v = ref->sub;

    put_int(s, a->id);
    put_str(s, ag_ram_agent_name(a));
    put_int(s, v->number);
    put_str(s, v->config->provider);
    put_str(s, v->config->model);
    put_text(s, v->instructions);
    put_str(s, v->config->tools);
    put_time(s, a->created_at_ms);
    put_time(s, v->created_at_ms);
    put_int(s, a->sessions);
    put_int(s, a->runs);
    put_time(s, a->last_run_at_ms);
}

static const char *const version_names[] = {"agent", "version", "provider", "model", "instructions", "tools",
                                            "options", "base_url", "max_steps", "created_at", "key_env", "id"};

static void versions_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_version *v = row;

    if (wants_agent(s, ag_ram_table_at(&s->m->agents, v->agent_id)) && wants_since(s, v->created_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .order = v->id});
}

static void versions_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_version *v = ref->row;

    put_str(s, ag_ram_agent_name(ag_ram_table_at(&s->m->agents, v->agent_id)));
    put_int(s, v->number);
    put_str(s, v->config->provider);
    put_str(s, v->config->model);
    put_text(s, v->instructions);
    put_str(s, v->config->tools);
    put_str(s, v->config->options);
    put_str(s, v->config->base_url);
    put_int(s, v->max_steps);
    put_time(s, v->created_at_ms);
    put_str(s, v->config->key_env);
    put_int(s, v->id);
}

/* --- v_sessions, v_messages -------------------------------------------------------------------------------- */

static const char *const session_names[] = {"id", "agent", "name", "created_at", "last_at", "turns", "messages",
                                            "input_tokens", "output_tokens"};

static void sessions_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_session *session = row;

    if (wants_agent(s, session->agent) && wants_name(s, ag_ram_str(session->name)) &&
        wants_since(s, session->last_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void sessions_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_session *session = ref->row;

    put_int(s, session->id);
    put_str(s, ag_ram_agent_name(session->agent));
    put_text(s, session->name);
    put_time(s, session->created_at_ms);
    put_time(s, session->last_at_ms);
    put_int(s, session->turns);
    put_int(s, session->messages);
    put_int(s, session->input_tokens);
    put_int(s, session->output_tokens);
}

static const char *const message_names[] = {"session_id", "seq", "run_id", "role", "text", "tool_name",
                                            "tool_call_id", "created_at", "calls", "id"};

static struct ag_str message_tool(const struct ag_ram_message *msg)
{
    if (msg->role != AG_ROLE_TOOL)
        return AG_STR_NONE;
    return ag_ram_str(msg->call != NULL ? msg->call->tool : msg->tool_name);
}

static void messages_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_session *session = row;

    if (!wants_agent(s, session->agent))
        return;
    for (const struct ag_ram_message *msg = session->oldest_message; msg != NULL; msg = msg->newer)
        if (wants_run(s, msg->run_id) && wants_since(s, msg->created_at_ms) && wants_name(s, message_tool(msg)))
            ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = msg});
}

static void messages_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_session *session = ref->row;
    const struct ag_ram_message *msg = ref->sub;
    bool is_tool = msg->role == AG_ROLE_TOOL;

    put_int(s, session->id);
    put_int(s, msg->seq);
    put_int(s, msg->run_id);
    put_z(s, ag_role_name((enum ag_role)msg->role));
    put_text(s, msg->call != NULL ? msg->call->result : msg->text);
    put_str(s, message_tool(msg));
    put_text(s, !is_tool ? NULL : msg->call != NULL ? msg->call->call_id : msg->call_id);
    put_time(s, msg->created_at_ms);
    put_text(s, is_tool ? NULL : msg->calls);
    put_int(s, session->id << AG_SEQ_BITS | msg->seq);
}

/* --- v_runs --------------------------------------------------------------------------------------------------- */

static const char *const run_names[] = {
    "id", "trace_id", "agent", "agent_version", "session_id", "status", "priority", "input", "output", "error",
    "attempts", "queued_at", "started_at", "ended_at", "queue_ms", "wall_ms", "input_tokens", "output_tokens",
    "cache_hit", "rss_peak_bytes", "hint", "idempotency_key"};

static void runs_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;

    if (wants_agent(s, run->session->agent) && wants_session(s, run->session->id) &&
        wants_status(s, ag_run_status_name((enum ag_run_status)run->status)) && wants_since(s, run->queued_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void put_hex(struct ag_ram_scan *s, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    bool is_absent = true;

    for (size_t i = 0; i < n; i++)
        is_absent &= bytes[i] == 0;
    if (is_absent) {
        put_null(s);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        s->trace[2 * i] = digits[bytes[i] >> 4];
        s->trace[2 * i + 1] = digits[bytes[i] & 15];
    }
    s->trace[2 * n] = '\0';
    put_z(s, s->trace);
}

static void runs_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;

    put_int(s, run->id);
    put_hex(s, run->trace_id, sizeof(run->trace_id));
    put_str(s, ag_ram_agent_name(run->session->agent));
    put_int(s, run->version->number);
    put_int(s, run->session->id);
    put_z(s, ag_run_status_name((enum ag_run_status)run->status));
    put_int(s, run->priority);
    put_text(s, run->input);
    put_str(s, ag_ram_run_output(run));
    put_text(s, run->error);
    put_int(s, run->attempt);
    put_time(s, run->queued_at_ms);
    put_time(s, run->started_at_ms);
    put_time(s, run->ended_at_ms);
    put_ms(s, run->queue_us);
    put_ms(s, run->wall_us);
    put_known(s, run->input_tokens);
    put_known(s, run->output_tokens);
    put_known(s, run->cache_hit);
    put_known(s, run->rss_peak_bytes);
    put_text(s, run->hint);
    put_text(s, run->key);
}

/* --- v_steps, v_tool_calls -------------------------------------------------------------------------------------- */

static const char *const step_names[] = {"run_id", "step", "kind", "status", "attempt", "started_at", "ended_at",
                                         "wall_ms", "input_tokens", "output_tokens", "tool", "error",
                                         "cached_tokens", "cached", "id"};

/* A call's status in the words of steps. */
static enum ag_step_status call_as_step(enum ag_call_status status)
{
    switch (status) {
    case AG_CALL_SUCCEEDED:
        return AG_STEP_SUCCEEDED;
    case AG_CALL_CANCELLED:
        return AG_STEP_CANCELLED;
    case AG_CALL_INTENDED:
    case AG_CALL_RUNNING:
    case AG_CALL_UNKNOWN:
        return AG_STEP_RUNNING;
    case AG_CALL_FAILED:
    case AG_CALL_TIMEOUT:
    case AG_CALL_DENIED:
        break;
    }
    return AG_STEP_FAILED;
}

static const char *item_status(const struct ag_ram_item *item)
{
    return ag_step_status_name(item->kind == AG_RAM_STEP ? (enum ag_step_status)item->status
                                                         : call_as_step((enum ag_call_status)item->status));
}

static void steps_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;

    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        const struct ag_ram_text *tool = item->kind == AG_RAM_CALL ? ((const struct ag_ram_call *)item)->tool : NULL;

        if (wants_status(s, item_status(item)) && wants_name(s, ag_ram_str(tool)) &&
            wants_since(s, item->started_at_ms))
            ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = item});
    }
}

static void steps_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const struct ag_ram_item *item = ref->sub;
    bool is_model = item->kind == AG_RAM_STEP;

    put_int(s, run->id);
    put_int(s, item->number);
    put_z(s, is_model ? "model" : "tool");
    put_z(s, item_status(item));
    if (is_model)
        put_int(s, ((const struct ag_ram_step *)item)->attempt);
    else
        put_null(s);
    put_time(s, item->started_at_ms);
    put_time(s, item->wall_us < 0 ? 0 : item->started_at_ms + item->wall_us / 1000);
    put_ms(s, item->wall_us);
    if (is_model) {
        const struct ag_ram_step *step = ref->sub;

        put_known(s, step->input_tokens);
        put_known(s, step->output_tokens);
        put_null(s);
        put_text(s, step->error);
        put_known(s, step->cached_tokens);
        put_int(s, item->cached);
    } else {
        const struct ag_ram_call *call = ref->sub;
        bool is_fine = item->status == AG_CALL_SUCCEEDED || item->status == AG_CALL_INTENDED ||
                       item->status == AG_CALL_RUNNING;

        put_null(s);
        put_null(s);
        put_text(s, call->tool);
        put_text(s, is_fine ? NULL : call->result);
        put_null(s);
        put_null(s);
    }
    put_int(s, run->id << AG_STEP_BITS | item->number);
}

static const char *const call_names[] = {"run_id", "step", "call_id", "tool", "effect", "effect_id", "status",
                                         "arguments", "result", "wall_ms", "child_rss_peak_bytes", "model_step",
                                         "decision", "id"};

static void calls_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;

    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next)
        if (item->kind == AG_RAM_CALL && wants_status(s, ag_call_status_name((enum ag_call_status)item->status)) &&
            wants_name(s, ag_ram_str(((const struct ag_ram_call *)item)->tool)))
            ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = item});
}

static void calls_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const struct ag_ram_call *call = ref->sub;

    put_int(s, run->id);
    put_int(s, call->item.number);
    put_text(s, call->call_id);
    put_text(s, call->tool);
    put_z(s, ag_effect_name(call->effect));
    put_text(s, call->effect_id);
    put_z(s, ag_call_status_name((enum ag_call_status)call->item.status));
    put_text(s, call->arguments);
    put_text(s, call->result);
    put_ms(s, call->item.wall_us);
    put_known(s, call->child_rss_peak_bytes);
    put_int(s, call->model_step);
    put_text(s, call->decision);
    put_int(s, run->id << AG_STEP_BITS | call->item.number);
}

/* --- v_stage_memory ------------------------------------------------------------------------------------------------ */

static const char *const stage_names[] = {
    "run_id", "step", "stage", "started_at", "wall_us", "rss_before_bytes", "rss_peak_bytes", "rss_after_bytes",
    "heap_peak_bytes", "heap_net_bytes", "child_rss_peak_bytes", "commit_us", "samples", "attribution",
    "peak_source", "heap_includes", "shared_sample", "pss_bytes", "anon_bytes", "file_bytes", "smaps_us", "id"};

static void stages_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;
    int64_t order = run->id << AG_STEP_BITS | 1;

    for (const struct ag_ram_stages *block = run->first_stages; block != NULL; block = block->next, order++)
        for (size_t i = 0; i < block->count; i++)
            if (wants_name(s, ag_str_of(ag_stage_name(block->rows[i].stage))) &&
                wants_since(s, block->rows[i].started_at_ms))
                ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = &block->rows[i], .order = order});
}

static void stages_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const struct ag_stage_row *stage = ref->sub;

    put_int(s, run->id);
    put_int(s, stage->step);
    put_z(s, ag_stage_name(stage->stage));
    put_time(s, stage->started_at_ms);
    put_known(s, stage->wall_us);
    put_known(s, stage->rss_before_bytes);
    put_known(s, stage->rss_peak_bytes);
    put_known(s, stage->rss_after_bytes);
    put_known(s, stage->heap_peak_bytes);
    if (stage->heap_peak_bytes < 0)
        put_z(s, NULL);
    else
        put_int(s, stage->heap_net_bytes);
    put_known(s, stage->child_rss_peak_bytes);
    put_known(s, stage->commit_us);
    put_known(s, stage->samples);
    put_z(s, stage->samples < 0 ? NULL : stage->shared ? "shared" : "exclusive");
    put_z(s, ag_peak_source_name((enum ag_peak_source)stage->peak_source));
    put_z(s, stage->heap_peak_bytes < 0 ? NULL : ag_heap_includes_name(stage->heap_includes));
    put_known(s, stage->rss_before_bytes < 0 && stage->rss_after_bytes < 0 ? -1 : stage->shared_sample);
    put_known(s, stage->has_smaps ? stage->pss_kb * INT64_C(1024) : -1);
    put_known(s, stage->has_smaps ? stage->anon_kb * INT64_C(1024) : -1);
    put_known(s, stage->has_smaps ? stage->file_kb * INT64_C(1024) : -1);
    put_known(s, stage->has_smaps ? (int64_t)stage->smaps_us : -1);
    put_int(s, ref->order);
}

/* --- v_samples, v_notices ------------------------------------------------------------------------------------------ */

static const char *const sample_names[] = {"run_id", "at", "rss_bytes", "id"};

static void samples_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;
    int64_t order = (run->id << AG_STEP_BITS) + 1;

    for (const struct ag_ram_stages *block = run->first_stages; block != NULL; block = block->next) {
        for (size_t i = 0; i < block->sample_count; i++)
            if (wants_since(s, block->samples[i].at_ms))
                ag_ram_ref_add(s, (struct ag_ram_ref){.row = row, .sub = &block->samples[i], .order = order});
        order += block->sample_count > 0;
    }
}

static void samples_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const struct ag_sample *sample = ref->sub;

    put_int(s, run->id);
    put_time(s, sample->at_ms);
    put_int(s, sample->rss_bytes / 1024 * 1024);
    put_int(s, ref->order);
}

static const char *const notice_names[] = {"id", "at", "kind", "level", "rss_bytes", "limit_bytes", "text", "owner_id"};

static void notices_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_notice *notice = row;

    if (wants_name(s, ag_ram_str(notice->kind)) && wants_since(s, notice->at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void notices_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_notice *notice = ref->row;

    put_int(s, notice->id);
    put_time(s, notice->at_ms);
    put_text(s, notice->kind);
    put_known(s, notice->level);
    put_known(s, notice->rss_bytes);
    put_known(s, notice->limit_bytes);
    put_text(s, notice->text);
    put_z(s, NULL); /* of other processes there are none */
}

/* --- v_memory, v_cache, v_tools --------------------------------------------------------------------------------------- */

static const char *const memory_names[] = {"id", "agent", "scope", "key", "text", "created_at", "updated_at",
                                           "source_run_id"};

static void memory_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_memory *memory = row;

    if (wants_agent(s, memory->agent) && wants_name(s, ag_ram_str(memory->key)) &&
        (s->filter.scope == NULL || ag_str_is(ag_ram_str(memory->scope), s->filter.scope)) &&
        wants_run(s, memory->source_run_id) && wants_since(s, memory->updated_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void memory_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_memory *memory = ref->row;

    put_int(s, memory->id);
    put_str(s, ag_ram_agent_name(memory->agent));
    put_text(s, memory->scope);
    put_text(s, memory->key);
    put_text(s, memory->text);
    put_time(s, memory->created_at_ms);
    put_time(s, memory->updated_at_ms);
    put_id(s, memory->source_run_id);
}

static const char *const cache_names[] = {"key", "kind", "agent", "model", "bytes", "hits", "created_at",
                                          "last_hit_at", "expires_at", "tokens", "body", "id"};

static void answer_hex(const struct ag_ram_answer *answer, char *hex)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < AG_CACHE_KEY_BYTES; i++) {
        *hex++ = digits[answer->key[i] >> 4];
        *hex++ = digits[answer->key[i] & 15];
    }
    *hex = '\0';
}

static void answers_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_answer *answer = row;
    const struct ag_ram_agent *a = ag_ram_table_at(&s->m->agents, answer->agent_id);
    char hex[2 * AG_CACHE_KEY_BYTES + 1];

    answer_hex(answer, hex);
    if ((s->filter.agent == NULL || (a != NULL && wants_agent(s, a))) && wants_name(s, ag_str_of(hex)) &&
        wants_since(s, answer->created_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void answers_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_answer *answer = ref->row;
    const struct ag_ram_agent *a = ag_ram_table_at(&s->m->agents, answer->agent_id);
    char hex[2 * AG_CACHE_KEY_BYTES + 1];

    answer_hex(answer, hex);
    ag_buf_z(&s->text, hex);
    put_str(s, ag_buf_view(&s->text));
    put_z(s, "response");
    put_str(s, a == NULL ? AG_STR_NONE : ag_ram_agent_name(a));
    put_text(s, answer->model);
    put_int(s, answer->bytes);
    put_int(s, answer->hits);
    put_time(s, answer->created_at_ms);
    put_time(s, answer->last_hit_at_ms);
    put_time(s, answer->expires_at_ms);
    put_known(s, answer->tokens);
    put_text(s, answer->body);
    put_int(s, answer->id);
}

static const char *const tool_names[] = {"name", "kind", "description", "effect", "timeout_ms", "argv", "schema",
                                         "created_at", "max_output_bytes", "id"};

static void tools_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_tool *tool = row;

    if (wants_name(s, ag_ram_str(tool->name)) && wants_since(s, tool->created_at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = row});
}

static void tools_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_tool *tool = ref->row;

    put_text(s, tool->name);
    put_z(s, "command");
    put_text(s, tool->description);
    put_z(s, ag_effect_name(tool->effect));
    put_int(s, tool->timeout_ms);
    put_text(s, tool->argv);
    put_text(s, tool->schema);
    put_time(s, tool->created_at_ms);
    put_int(s, tool->max_output_bytes);
    put_int(s, tool->id);
}

/* --- v_log -------------------------------------------------------------------------------------------------------------- */

static const char *const log_names[] = {"run_id", "at", "kind", "text", "id"};

enum line { LINE_QUEUED, LINE_STARTED, LINE_ITEM_STARTED, LINE_ITEM_ENDED, LINE_ENDED };

static int by_time(const void *a, const void *b)
{
    const struct ag_ram_ref *x = a, *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->what - y->what;
}

static void line_add(struct ag_ram_scan *s, const struct ag_ram_run *run, const struct ag_ram_item *item,
                     enum line what, int64_t at_ms)
{
    int64_t number = item != NULL ? item->number : what == LINE_ENDED ? (1 << AG_STEP_BITS) - 1 : 0;

    if (wants_since(s, at_ms))
        ag_ram_ref_add(s, (struct ag_ram_ref){.row = run, .sub = item, .at_ms = at_ms,
                                              .order = run->id << AG_STEP_BITS | number, .what = (int)what});
}

static void log_expand(struct ag_ram_scan *s, const void *row)
{
    const struct ag_ram_run *run = row;

    line_add(s, run, NULL, LINE_QUEUED, run->queued_at_ms);
    if (run->started_at_ms != 0)
        line_add(s, run, NULL, LINE_STARTED, run->started_at_ms);
    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        bool is_open = item->kind == AG_RAM_STEP
                           ? item->status == AG_STEP_RUNNING
                           : item->status == AG_CALL_INTENDED || item->status == AG_CALL_RUNNING;

        line_add(s, run, item, LINE_ITEM_STARTED, item->started_at_ms);
        if (!is_open)
            line_add(s, run, item, LINE_ITEM_ENDED,
                     item->started_at_ms + (item->wall_us < 0 ? 0 : item->wall_us / 1000));
    }
    if (ag_ram_has_ended(run))
        line_add(s, run, NULL, LINE_ENDED, run->ended_at_ms);
    if (s->refs.count > 1)
        qsort(s->refs.at, s->refs.count, sizeof(s->refs.at[0]), by_time);
}

static void say_after(ag_buf *text, int64_t wall_us)
{
    if (wall_us >= 0) /* rounded half up, as the file's view does */
        ag_buf_printf(text, " after %" PRId64 ".%d ms", (wall_us + 50) / 1000, (int)((wall_us + 50) / 100 % 10));
}

static void say_item(ag_buf *text, const struct ag_ram_item *item, bool ended)
{
    const struct ag_ram_step *step = (const struct ag_ram_step *)item;
    const struct ag_ram_call *call = (const struct ag_ram_call *)item;
    bool is_model = item->kind == AG_RAM_STEP;

    if (is_model)
        ag_buf_printf(text, "step %d attempt %d", (int)item->number, (int)step->attempt);
    else
        ag_buf_printf(text, "tool %s %s", call->tool->p, call->call_id->p);
    if (!ended) {
        ag_buf_z(text, " started");
        return;
    }
    ag_buf_char(text, ' ');
    ag_buf_z(text, is_model ? ag_step_status_name((enum ag_step_status)item->status)
                            : ag_call_status_name((enum ag_call_status)item->status));
    say_after(text, item->wall_us);
    if (is_model && item->cached)
        ag_buf_z(text, ", from the response cache");
    if (is_model && step->error != NULL) {
        ag_buf_z(text, ": ");
        ag_buf_str(text, ag_ram_str(step->error));
    }
    if (!is_model && call->decision != NULL) {
        ag_buf_z(text, ", ");
        ag_buf_str(text, ag_ram_str(call->decision));
    }
}

static const char *say_line(ag_buf *text, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const struct ag_ram_item *item = ref->sub;

    switch ((enum line)ref->what) {
    case LINE_QUEUED:
        ag_buf_printf(text, "queued, %s priority", run->priority == 1 ? "high" : run->priority == 0 ? "normal" : "low");
        return "queued";
    case LINE_STARTED:
        ag_buf_z(text, "started");
        if (run->attempt > 1)
            ag_buf_printf(text, ", taken up %d times since", (int)run->attempt - 1);
        return "started";
    case LINE_ITEM_STARTED:
    case LINE_ITEM_ENDED:
        say_item(text, item, ref->what == LINE_ITEM_ENDED);
        return item->kind == AG_RAM_STEP ? "step" : "tool";
    case LINE_ENDED:
        ag_buf_z(text, ag_run_status_name((enum ag_run_status)run->status));
        say_after(text, run->wall_us);
        if (run->error != NULL) {
            ag_buf_z(text, ": ");
            ag_buf_str(text, ag_ram_str(run->error));
        }
        break;
    }
    return "ended";
}

static void log_fill(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    const struct ag_ram_run *run = ref->row;
    const char *kind = say_line(&s->text, ref);

    put_int(s, run->id);
    put_time(s, ref->at_ms);
    put_z(s, kind);
    put_str(s, ag_buf_view(&s->text));
    put_int(s, ref->order);
}

/* --- the table ------------------------------------------------------------------------------------------------------------ */

#define COLUMNS(names) names, (int)(sizeof(names) / sizeof((names)[0]))
#define BY(field)      AG_RAM_BY_##field

const struct ag_ram_view ag_ram_views[AGENT_VIEW_LIMIT] = {
    [AGENT_VIEW_AGENTS] = {"v_agents", COLUMNS(agent_names), BY(AGENT) | BY(NAME) | BY(SINCE),
                           offsetof(struct ag_ram, agents), NULL, agents_expand, agents_fill},
    [AGENT_VIEW_SESSIONS] = {"v_sessions", COLUMNS(session_names), BY(AGENT) | BY(SESSION) | BY(NAME) | BY(SINCE),
                             offsetof(struct ag_ram, sessions), only_session, sessions_expand, sessions_fill},
    [AGENT_VIEW_MESSAGES] = {"v_messages", COLUMNS(message_names), BY(SESSION) | BY(RUN) | BY(NAME) | BY(SINCE),
                             offsetof(struct ag_ram, sessions), only_session, messages_expand, messages_fill},
    [AGENT_VIEW_RUNS] = {"v_runs", COLUMNS(run_names), BY(AGENT) | BY(SESSION) | BY(RUN) | BY(STATUS) | BY(SINCE),
                         offsetof(struct ag_ram, runs), only_run, runs_expand, runs_fill},
    [AGENT_VIEW_STEPS] = {"v_steps", COLUMNS(step_names), BY(RUN) | BY(STATUS) | BY(NAME) | BY(SINCE),
                          offsetof(struct ag_ram, runs), only_run, steps_expand, steps_fill},
    [AGENT_VIEW_TOOL_CALLS] = {"v_tool_calls", COLUMNS(call_names), BY(RUN) | BY(STATUS) | BY(NAME),
                               offsetof(struct ag_ram, runs), only_run, calls_expand, calls_fill},
    [AGENT_VIEW_STAGE_MEMORY] = {"v_stage_memory", COLUMNS(stage_names), BY(RUN) | BY(NAME) | BY(SINCE),
                                 offsetof(struct ag_ram, runs), only_run, stages_expand, stages_fill},
    [AGENT_VIEW_MEMORY] = {"v_memory", COLUMNS(memory_names),
                           BY(AGENT) | BY(NAME) | BY(SCOPE) | BY(SEARCH) | BY(RUN) | BY(SINCE),
                           offsetof(struct ag_ram, memories), NULL, memory_expand, memory_fill},
    [AGENT_VIEW_CACHE] = {"v_cache", COLUMNS(cache_names), BY(AGENT) | BY(NAME) | BY(SINCE),
                          offsetof(struct ag_ram, answers), NULL, answers_expand, answers_fill},
    [AGENT_VIEW_TOOLS] = {"v_tools", COLUMNS(tool_names), BY(NAME) | BY(SINCE), offsetof(struct ag_ram, tools), NULL,
                          tools_expand, tools_fill},
    [AGENT_VIEW_LOG] = {"v_log", COLUMNS(log_names), BY(RUN) | BY(SINCE), offsetof(struct ag_ram, runs), only_run,
                        log_expand, log_fill},
    [AGENT_VIEW_VERSIONS] = {"v_agent_versions", COLUMNS(version_names), BY(AGENT) | BY(SINCE),
                             offsetof(struct ag_ram, versions), NULL, versions_expand, versions_fill},
    [AGENT_VIEW_SAMPLES] = {"v_samples", COLUMNS(sample_names), BY(RUN) | BY(SINCE), offsetof(struct ag_ram, runs), only_run,
                            samples_expand, samples_fill},
    [AGENT_VIEW_NOTICES] = {"v_notices", COLUMNS(notice_names), BY(NAME) | BY(SINCE), offsetof(struct ag_ram, notices), NULL,
                            notices_expand, notices_fill},
};
