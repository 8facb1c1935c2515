/*
 * LOAD: the agent version the run is pinned to, its memories, the window of the session's history
 * (from memory where the turn before ran here), and, where the run was begun before, how far it had come.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/session_tail.h"

static bool add_stored(struct agent_run *run, const struct ag_message *m)
{
    struct ag_msg msg = {
        .role = m->role == AG_ROLE_ASSISTANT ? AG_MSG_ASSISTANT : m->role == AG_ROLE_TOOL ? AG_MSG_TOOL : AG_MSG_USER,
        .text = m->text, .calls = m->calls, .extra = m->extra, .call_id = m->call_id, .tool_name = m->tool_name,
        .tool_failed = m->tool_failed,
    };

    return ag_run_append_message(run, &msg);
}

static agent_status add_history(struct agent_run *run, agent_error *err)
{
    struct ag_message_list list = {NULL, 0};
    const struct ag_limits *l = &run->engine->limits;
    bool is_kept;
    int64_t messages = run->params.history_messages >= 0 ? run->params.history_messages
                                                         : ag_limit(l, AG_LIMIT_HISTORY_MESSAGES);
    int64_t bytes = run->params.history_bytes >= 0 ? run->params.history_bytes : ag_limit(l, AG_LIMIT_HISTORY_BYTES);
    agent_status rc;

    if (run->input_seq <= 1 || messages == 0 || bytes == 0)
        return AGENT_OK;
    rc = ag_tail_use(run, (struct ag_tail_limits){(size_t)messages, (size_t)bytes}, &is_kept, err);
    if (rc != AGENT_OK || is_kept)
        return rc;
    rc = ag_reader_tail(run->worker->reader, run->session_id, run->input_seq,
                        (size_t)messages, (size_t)bytes, &run->arena, &list, err);
    if (rc != AGENT_OK)
        return ag_wrap(err, rc, "load history");
    for (size_t i = 0; i < list.count; i++)
        if (!add_stored(run, &list.at[i]))
            return ag_fail(err, AGENT_ENOMEM, 0, "load history: out of memory");
    return AGENT_OK;
}

/* Calls of the newest model step that are not answered by a message yet. */
static agent_status restore_calls(struct agent_run *run, const struct ag_run_rec *rec, agent_error *err)
{
    run->calls = ag_arena_zalloc(&run->arena, rec->call_count * sizeof(*run->calls));
    if (run->calls == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "resume: out of memory");
    run->call_count = rec->call_count;
    run->intents_stored = true;
    for (size_t i = 0; i < rec->call_count; i++) {
        const struct ag_call_rec *from = &rec->calls[i];
        struct ag_run_call *to = &run->calls[i];
        bool have = from->status != AG_CALL_INTENDED && from->status != AG_CALL_RUNNING;

        *to = (struct ag_run_call){
            .run = run, .state = have ? AG_CALL_STORED : AG_CALL_NEW, .number = from->number,
            .model_step = from->model_step, .tool = ag_catalog_tool(run->agent, from->tool), .name = from->tool,
            .call_id = from->call_id, .effect_id = from->effect_id, .arguments = from->arguments,
            .effect = from->effect, .status = from->status, .result = from->result, .child_rss_peak_bytes = -1,
        };
    }
    return AGENT_OK;
}

/* *to_tools: the newest answer has calls whose results the model has not been told. */
static agent_status resume(struct agent_run *run, const struct ag_run_rec *rec, bool *to_tools, agent_error *err)
{
    struct ag_message_list list = {NULL, 0};
    const struct ag_message *newest;
    agent_status rc;

    rc = ag_reader_messages(run->worker->reader, run->session_id, run->input_seq, &run->arena, &list, err);
    if (rc != AGENT_OK)
        return ag_wrap(err, rc, "resume run %lld", (long long)run->run_id);
    run->input = rec->input;
    run->priority = rec->priority;
    if (rec->last_step > run->last_number)
        run->last_number = rec->last_step;
    if (run->input_tokens < 0)
        run->input_tokens = rec->input_tokens;
    if (run->output_tokens < 0)
        run->output_tokens = rec->output_tokens;
    run->appended = (int)list.count;
    for (size_t i = 0; i < list.count; i++) {
        if (!add_stored(run, &list.at[i]))
            return ag_fail(err, AGENT_ENOMEM, 0, "resume: out of memory");
        run->last_seq = list.at[i].seq;
        if (list.at[i].role == AG_ROLE_ASSISTANT)
            run->model_steps++;
    }
    newest = list.count > 0 ? &list.at[list.count - 1] : NULL;
    *to_tools = newest != NULL && newest->role == AG_ROLE_ASSISTANT && newest->calls.n > 0 && rec->call_count > 0;
    return *to_tools ? restore_calls(run, rec, err) : AGENT_OK;
}

static agent_status load(struct agent_run *run, bool *to_tools, agent_error *err)
{
    agent_engine *e = run->engine;
    ag_reader *r = run->worker->reader;
    struct ag_run_rec rec;
    agent_status rc;

    if ((rc = ag_catalog_agent(e, r, run->version_id, &run->agent, err)) != AGENT_OK ||
        (rc = ag_catalog_memories(e, r, run->agent_id, &run->memories, err)) != AGENT_OK)
        return rc;
    if (run->resume) {
        if ((rc = ag_reader_run(r, run->run_id, &run->arena, &rec, err)) != AGENT_OK)
            return ag_wrap(err, rc, "resume run %lld", (long long)run->run_id);
        if (run->options.p == NULL) /* what the run was created with */
            run->options = rec.options;
    }
    run->params = run->agent->params;
    if (run->options.p != NULL &&
        (rc = ag_params_parse(run->agent->rec.spec.provider, run->agent->rec.spec.options, run->options, &run->arena,
                              &run->params, err)) != AGENT_OK)
        return ag_wrap(err, rc, "options");
    run->vt = run->agent->vt;
    run->host = run->agent->host;
    run->model = run->agent->rec.spec.model;
    run->base_url = run->agent->rec.spec.base_url;
    if (run->deadline_ns == 0) {
        int64_t ms = run->params.timeout_ms > 0 ? run->params.timeout_ms
                                                : ag_limit(&e->limits, AG_LIMIT_RUN_TIMEOUT_MS);

        run->deadline_ns = run->clock.begun_ns + ms * 1000000;
    }
    if ((rc = add_history(run, err)) != AGENT_OK)
        return rc;
    run->history_count = run->message_count;
    if (run->resume)
        return resume(run, &rec, to_tools, err);
    {
        struct ag_msg user = {.role = AG_MSG_USER, .text = run->input};

        if (!ag_run_append_message(run, &user))
            return ag_fail(err, AGENT_ENOMEM, 0, "load: out of memory");
    }
    return AGENT_OK;
}

enum ag_next ag_step_load(struct agent_run *run)
{
    agent_error e = AGENT_ERROR_INIT;
    bool to_tools = false;

    if (load(run, &to_tools, &e) != AGENT_OK)
        ag_run_fail(run, AG_RUN_FAILED, &e);
    else
        ag_run_move(run, to_tools ? AG_STAGE_TOOL : AG_STAGE_PREPARE);
    return AG_NEXT_AGAIN;
}
