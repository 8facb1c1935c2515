/*
 * TOOL: the calls of one answer, in parallel; their results in the order of the calls.
 *
 *     intended (committed) ──► out ──► result here ──► stored ─┐
 *                                                              ├─► all: messages committed ──► PREPARE
 *                            results of the others ────────────┘
 *
 * (1) A result that comes while others are still out is committed by itself, so that a crash does
 *     not lose it; the last ones ride with the messages.
 * (2) Whatever goes wrong with a call is a result that the model reads, never a lost turn.
 * (3) remember and forget are rows: they are written by the commit that stores their result, so
 *     they happen once however often the run is taken up again.
 */
#include <stdio.h>
#include <string.h>

#include "engine/hosted.h"

enum { PHASE_START, PHASE_OUT, PHASE_COMMIT };

/* --- from the answer to calls --------------------------------------------------------------------- */

agent_status ag_run_resolve_calls(struct agent_run *run, agent_error *err)
{
    struct ag_reply *r = &run->reply;

    if (run->last_number + (int)r->call_count >= AG_STEP_MAX)
        return ag_fail(err, AGENT_EBUDGET, 0, "the run is at its limit of %d steps", AG_STEP_MAX);
    run->calls = ag_arena_zalloc(&run->arena, r->call_count * sizeof(*run->calls));
    if (run->calls == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    run->intents_stored = false;
    for (size_t i = 0; i < r->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];
        char *id;

        c->run = run;
        c->number = ++run->last_number;
        c->model_step = run->step_number;
        c->name = ag_arena_str(&run->arena, ag_buf_view(&r->calls[i].name));
        c->call_id = ag_arena_str(&run->arena, ag_buf_view(&r->calls[i].id));
        c->arguments = ag_arena_str(&run->arena, ag_buf_view(&r->calls[i].arguments));
        id = ag_arena_printf(&run->arena, "e%lld-%d-%016llx", (long long)run->run_id, c->number,
                             (unsigned long long)ag_engine_random(run->engine));
        if (c->name.p == NULL || c->call_id.p == NULL || c->arguments.p == NULL || id == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
        c->effect_id = ag_str_of(id);
        c->tool = ag_catalog_tool(run->agent, c->name);
        c->effect = c->tool != NULL ? c->tool->effect : AGENT_EFFECT_PURE;
        c->child_rss_peak_bytes = -1;
    }
    run->call_count = r->call_count;
    return AGENT_OK;
}

/* --- a call's end --------------------------------------------------------------------------------------- */

static void have_result(struct ag_run_call *c, enum ag_call_status status, struct ag_str text)
{
    struct agent_run *run = c->run;
    agent_event e = {.type = AGENT_EVENT_TOOL_END};

    ag_call_leave(c);
    c->state = AG_CALL_HAVE;
    c->status = status;
    c->result = ag_arena_str(&run->arena, text);
    if (c->result.p == NULL)
        c->result = AG_STR("out of memory for the result");
    c->deadline_ns = 0;
    c->wall_us = (ag_mono_ns(&run->engine->clock) - c->started_ns) / 1000;
    if (c->child_rss_peak_bytes > run->clock.child_rss_peak)
        run->clock.child_rss_peak = c->child_rss_peak_bytes;
    if (run->gone)
        return;
    e.tool = c->name.p;
    e.call_id = c->call_id.p;
    e.status = ag_call_status_name(status);
    e.text = c->result.p;
    e.text_bytes = c->result.n;
    ag_tell(run, &e);
}

static void failed_result(struct ag_run_call *c, const char *what, const agent_error *e)
{
    ag_arena *a = &c->run->arena;
    char *text = ag_arena_printf(a, "%s: %s%s%s", what, e->text, e->hint[0] != '\0' ? " - " : "", e->hint);

    have_result(c, AG_CALL_FAILED, ag_str_of(text != NULL ? text : what));
}

/* A process or callback ended, on the worker. */
static void on_end(void *ctx, const struct ag_tool_end *end)
{
    static const enum ag_call_status statuses[] = {
        [AG_TOOL_OK] = AG_CALL_SUCCEEDED, [AG_TOOL_FAILED] = AG_CALL_FAILED,
        [AG_TOOL_TIMEOUT] = AG_CALL_TIMEOUT, [AG_TOOL_CANCELLED] = AG_CALL_CANCELLED,
    };
    struct ag_run_call *c = ctx;
    struct agent_run *run = c->run;

    c->command = NULL;
    c->job = NULL;
    run->calls_out--;
    c->child_rss_peak_bytes = end->child_rss_peak_bytes;
    have_result(c, statuses[end->outcome], end->text);
    ag_worker_ready(run->worker, run);
}

/* --- starting a call -------------------------------------------------------------------------------------- */

static void no_such_tool(struct ag_run_call *c)
{
    const struct ag_agent_obj *agent = c->run->agent;
    AG_AUTO(ag_buf) text = AG_BUF_INIT(4096);

    ag_buf_printf(&text, "unknown tool '%.64s'; the tools are:", c->name.p);
    for (size_t i = 0; i < agent->tool_count; i++) {
        ag_buf_char(&text, ' ');
        ag_buf_str(&text, agent->tools[i].name);
    }
    if (agent->tool_count == 0)
        ag_buf_z(&text, " none");
    have_result(c, AG_CALL_FAILED, ag_buf_view(&text));
}

static void recall(struct ag_run_call *c, const struct ag_memory_args *args)
{
    struct agent_run *run = c->run;
    struct ag_memory_list list = {NULL, 0};
    AG_AUTO(ag_buf) text = AG_BUF_INIT(AG_TOOL_OUTPUT_BYTES);
    agent_error e = AGENT_ERROR_INIT;
    size_t most = args->limit > 0 && args->limit < 50 ? (size_t)args->limit : 10;
    agent_status rc;

    if (args->query.n > 0)
        rc = ag_reader_memory_search(run->worker->reader, run->agent_id, args->query, most, &run->arena, &list, &e);
    else
        rc = ag_reader_memories(run->worker->reader, run->agent_id, most, AG_MEMORY_BYTES, &run->arena, &list, &e);
    if (rc != AGENT_OK) {
        failed_result(c, "recall failed", &e);
        return;
    }
    for (size_t i = 0; i < list.count; i++) {
        if (i > 0)
            ag_buf_char(&text, '\n');
        ag_buf_str(&text, list.at[i].key);
        ag_buf_z(&text, ": ");
        ag_buf_str(&text, list.at[i].text);
    }
    if (list.count == 0)
        ag_buf_z(&text, args->query.n > 0 ? "nothing is remembered about that" : "nothing is remembered yet");
    have_result(c, AG_CALL_SUCCEEDED, ag_buf_view(&text));
}

static bool has_memory(struct agent_run *run, struct ag_str key)
{
    struct ag_memory_list list = {NULL, 0};

    if (ag_reader_memories(run->worker->reader, run->agent_id, SIZE_MAX, SIZE_MAX, &run->arena, &list, NULL) !=
        AGENT_OK)
        return true;
    for (size_t i = 0; i < list.count; i++)
        if (ag_str_eq(list.at[i].key, key))
            return true;
    return false;
}

static void memory_call(struct ag_run_call *c, enum ag_builtin_kind kind)
{
    struct agent_run *run = c->run;
    struct ag_memory_args args;
    agent_error e = AGENT_ERROR_INIT;
    char *text;

    if (ag_memory_args(c->arguments, &run->arena, &args, &e) != AGENT_OK) {
        failed_result(c, "bad arguments", &e);
        return;
    }
    if (kind == AG_BUILTIN_RECALL) {
        recall(c, &args);
        return;
    }
    if (kind == AG_BUILTIN_REMEMBER && args.text.n > AG_MEMORY_TEXT_MAX) {
        have_result(c, AG_CALL_FAILED, AG_STR("remember failed: the text is over the limit of 65536 bytes"));
        return;
    }
    if (args.key.n == 0 && kind == AG_BUILTIN_REMEMBER) {
        char *key = ag_arena_printf(&run->arena, "note-%lld-%d", (long long)run->run_id, c->number);

        args.key = ag_str_of(key);
    }
    c->memory_op = ag_arena_zalloc(&run->arena, sizeof(*c->memory_op));
    if (c->memory_op == NULL || args.key.p == NULL) {
        have_result(c, AG_CALL_FAILED, AG_STR("out of memory"));
        return;
    }
    if (kind == AG_BUILTIN_REMEMBER) {
        c->memory_op->kind = AG_OP_MEMORY_PUT;
        c->memory_op->memory_put = (struct ag_op_memory_put){
            .agent_id = run->agent_id, .key = args.key, .text = args.text, .source_run_id = run->run_id};
        text = ag_arena_printf(&run->arena, "remembered as '" AG_STR_FMT "'", AG_STR_ARG(args.key));
    } else {
        bool there = has_memory(run, args.key);

        c->memory_op->kind = AG_OP_MEMORY_RM;
        c->memory_op->memory_rm = (struct ag_op_memory_rm){
            .agent_id = run->agent_id, .key = args.key, .missing_is_fine = true};
        text = ag_arena_printf(&run->arena, there ? "forgot '" AG_STR_FMT "'" : "nothing was remembered as '" AG_STR_FMT "'",
                               AG_STR_ARG(args.key));
    }
    have_result(c, AG_CALL_SUCCEEDED, ag_str_of(text != NULL ? text : "done"));
}

static void builtin_call(struct ag_run_call *c)
{
    const struct ag_builtin *b = c->tool->builtin;
    AG_AUTO(ag_buf) out = AG_BUF_INIT(AG_TOOL_OUTPUT_BYTES);
    agent_error e = AGENT_ERROR_INIT;

    if (b->kind != AG_BUILTIN_CALC && b->kind != AG_BUILTIN_NOW) {
        memory_call(c, b->kind);
        return;
    }
    if (ag_builtin_call(b, c->arguments, &c->run->engine->clock, &out, &e) != AGENT_OK)
        failed_result(c, "tool failed", &e);
    else
        have_result(c, AG_CALL_SUCCEEDED, ag_buf_view(&out));
}

static void start_call(struct ag_run_call *c)
{
    struct agent_run *run = c->run;
    const struct ag_agent_tool *tool = c->tool;
    agent_event event = {.type = AGENT_EVENT_TOOL_START, .tool = c->name.p, .call_id = c->call_id.p,
                         .arguments = c->arguments.p};
    agent_error e = AGENT_ERROR_INIT;
    agent_status rc;

    if (tool != NULL && !ag_call_enter(c))
        return; /* in line */
    c->started_ns = ag_mono_ns(&run->engine->clock);
    ag_tell(run, &event);
    if (tool == NULL) {
        no_such_tool(c);
        return;
    }
    rc = ag_schema_test(tool->schema, c->arguments, &e);
    if (rc != AGENT_OK) {
        failed_result(c, "the call was not made, its arguments are wrong", &e);
        return;
    }
    if (tool->kind == AG_KIND_BUILTIN) {
        builtin_call(c);
        return;
    }
    c->state = AG_CALL_OUT;
    run->calls_out++;
    if (tool->kind == AG_KIND_HOST) {
        rc = ag_host_tool_start(run->worker, tool, run->run_id, c->arguments, c->effect_id, c->call_id, on_end, c,
                                &c->job, &e);
        c->deadline_ns = c->started_ns + tool->timeout_ms * 1000000;
    } else {
        struct ag_command command = {
            .name = tool->name.p, .argv = tool->argv, .timeout_ms = tool->timeout_ms,
            .max_output_bytes = tool->max_output_bytes, .arguments = c->arguments, .effect_id = c->effect_id.p,
            .call_id = c->call_id.p, .run_id = run->run_id, .env = (const char *const *)run->engine->tool_env,
        };

        rc = ag_command_start(&run->worker->loop, &command, on_end, c, &c->command, &e);
    }
    if (rc != AGENT_OK) {
        run->calls_out--;
        failed_result(c, "tool failed", &e);
    }
}

/* --- storing ------------------------------------------------------------------------------------------------- */

static bool add_end(struct agent_run *run, struct ag_run_unit *u, struct ag_run_call *c)
{
    struct ag_op *op;

    if (c->state == AG_CALL_STORED)
        return true;
    if (c->memory_op != NULL && c->status == AG_CALL_SUCCEEDED)
        ag_unit_add(&u->unit, c->memory_op);
    if ((op = ag_run_op(run, u, AG_OP_CALL_END)) == NULL)
        return false;
    op->call_end = (struct ag_op_call_end){
        .run_id = run->run_id, .number = c->number, .status = c->status, .result = c->result, .wall_us = c->wall_us,
        .child_rss_peak_bytes = c->child_rss_peak_bytes,
    };
    u->unit.bytes += c->result.n;
    c->state = AG_CALL_STORED;
    return true;
}

bool ag_calls_store(struct agent_run *run, struct ag_run_unit *u, enum ag_call_status missing, const char *why)
{
    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];
        struct ag_op *op;

        if (c->state == AG_CALL_NEW || c->state == AG_CALL_LINE || c->state == AG_CALL_OUT) {
            c->status = missing;
            c->result = ag_arena_str(&run->arena, ag_str_of(why));
            c->wall_us = c->started_ns != 0 ? (ag_mono_ns(&run->engine->clock) - c->started_ns) / 1000 : -1;
            c->state = AG_CALL_HAVE;
        }
        if (!add_end(run, u, c) || (op = ag_run_op(run, u, AG_OP_MESSAGE)) == NULL)
            return false;
        op->message = (struct ag_op_message){
            .session_id = run->session_id, .run_id = run->run_id, .seq = ++run->last_seq, .role = AG_ROLE_TOOL,
            .call_number = c->number,
        };
        run->appended++;
    }
    return true;
}

/* A result while others are out: (1). */
static void store_early(struct agent_run *run)
{
    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];
        struct ag_run_unit *u;

        if (c->state != AG_CALL_HAVE || (u = ag_run_unit_new(run)) == NULL)
            continue;
        if (add_end(run, u, c))
            ag_run_submit(run, u);
        else
            ag_run_unit_free(u);
    }
}

static enum ag_next store_all(struct agent_run *run)
{
    struct ag_run_unit *u = ag_run_unit_new(run);
    struct ag_op *op;

    if (u == NULL || !ag_calls_store(run, u, AG_CALL_CANCELLED, "the call was not made") ||
        (op = ag_run_op(run, u, AG_OP_STEP_BEGIN)) == NULL) {
        ag_run_unit_free(u);
        ag_run_failf(run, AGENT_ENOMEM, "out of memory");
        return AG_NEXT_AGAIN;
    }
    run->step_number = ++run->last_number;
    run->step_open = true;
    op->step_begin = (struct ag_op_step_begin){
        .run_id = run->run_id, .number = run->step_number, .attempt = 1, .started_at_ms = u->unit.now_ms};
    ag_run_add_stages(run, u);
    run->phase = PHASE_COMMIT;
    return ag_run_submit_wait(run, u) ? AG_NEXT_AGAIN : AG_NEXT_WAIT;
}

static enum ag_next stored(struct agent_run *run)
{
    struct ag_run_unit *u = ag_run_unit_take(run);
    agent_error e;
    agent_status rc;

    if (u == NULL)
        return AG_NEXT_WAIT;
    rc = u->unit.status;
    if (rc != AGENT_OK)
        e = u->unit.error;
    ag_run_unit_free(u);
    if (rc != AGENT_OK) { /* what the file has is intended calls: a resume decides them */
        ag_run_drop(run, AG_RUN_FAILED, &e);
        return AG_NEXT_DONE;
    }
    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];
        struct ag_msg m = {.role = AG_MSG_TOOL, .text = c->result, .call_id = c->call_id, .tool_name = c->name,
                           .tool_failed = c->status != AG_CALL_SUCCEEDED};

        if (!ag_run_append_message(run, &m)) {
            ag_run_failf(run, AGENT_ENOMEM, "out of memory");
            return AG_NEXT_AGAIN;
        }
    }
    run->call_count = 0;
    ag_run_move(run, AG_STAGE_PREPARE);
    return AG_NEXT_AGAIN;
}

/* --- the stage ---------------------------------------------------------------------------------------------------- */

/* Callbacks cannot be killed: over their time they are let go of. Returns the next time to look. */
static int64_t check_deadlines(struct agent_run *run)
{
    int64_t now = ag_mono_ns(&run->engine->clock), next = 0;

    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];

        if (c->state != AG_CALL_OUT || c->deadline_ns == 0)
            continue;
        if (now >= c->deadline_ns) {
            char *text = ag_arena_printf(&run->arena, "tool timed out after %lld ms", (long long)c->tool->timeout_ms);

            ag_host_job_let_go(c->job);
            c->job = NULL;
            run->calls_out--;
            have_result(c, AG_CALL_TIMEOUT, ag_str_of(text != NULL ? text : "tool timed out"));
        } else if (next == 0 || c->deadline_ns < next) {
            next = c->deadline_ns;
        }
    }
    return next;
}

void ag_calls_stop(struct agent_run *run)
{
    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];

        if (c->state == AG_CALL_LINE)
            ag_call_leave(c);
        if (c->state != AG_CALL_OUT)
            continue;
        if (c->command != NULL) {
            ag_command_cancel(c->command); /* its end comes by on_end() */
        } else if (c->job != NULL) {
            ag_host_job_let_go(c->job);
            c->job = NULL;
            run->calls_out--;
            have_result(c, AG_CALL_CANCELLED, AG_STR("the call was cancelled; it may have had its effect"));
        }
    }
}

enum ag_next ag_step_tool(struct agent_run *run)
{
    bool waiting = false;

    if (run->phase == PHASE_COMMIT)
        return stored(run);
    run->phase = PHASE_OUT;
    run->retry_at_ns = 0;
    for (size_t i = 0; i < run->call_count; i++) {
        if (run->calls[i].state == AG_CALL_NEW) {
            if (run->calls_out < AG_PARALLEL_CALLS)
                start_call(&run->calls[i]);
            else
                waiting = true;
        }
    }
    if (run->calls_out == 0 && !waiting)
        return store_all(run);
    store_early(run);
    run->retry_at_ns = check_deadlines(run);
    return run->calls_out == 0 ? AG_NEXT_AGAIN : AG_NEXT_WAIT;
}
