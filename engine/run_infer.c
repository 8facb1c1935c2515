/*
 * PREPARE, INFER, RESPOND: the request is made, sent, answered.
 *
 *      PREPARE ──► INFER ──first byte──► RESPOND ──answer──► RECLAIM
 *         ▲          │                      │ └──calls, committed as intended──► TOOL
 *         └──────────┴──── failed: step ────┘
 *                          ended, backoff, next attempt or next model of `fallback`
 *
 * (1) Nothing of an attempt is kept before its answer is complete: an interrupted stream can
 *     always be asked again. What was shown of it carries its attempt's number.
 * (2) The calls of an answer are committed with the answer itself, before any of them starts.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/response_cache.h"

enum { PHASE_START, PHASE_OUT, PHASE_BACKOFF, PHASE_COMMIT };

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MOST_MS  8000
#define AFTER_MOST_MS    INT64_C(600000)

/* --- reports of the attempt ------------------------------------------------------------------------ */

static void journal(struct agent_run *run)
{
    size_t fresh = run->reply.text.n - run->journalled;
    int64_t now;
    struct ag_run_unit *u;
    struct ag_op *op;

    if (!run->engine->durable || fresh == 0)
        return;
    now = ag_mono_ns(&run->engine->clock);
    if (run->journal_ns == 0)
        run->journal_ns = run->clock.begun_ns;
    if (fresh < AG_JOURNAL_BYTES && now - run->journal_ns < AG_JOURNAL_NS)
        return;
    if ((u = ag_run_unit_new(run)) == NULL)
        return;
    u->aside = ag_malloc(sizeof(*op) + fresh);
    if (u->aside == NULL) {
        ag_run_unit_free(u);
        return;
    }
    op = (struct ag_op *)(void *)u->aside;
    memset(op, 0, sizeof(*op));
    op->kind = AG_OP_JOURNAL;
    op->journal.run_id = run->run_id;
    op->journal.number = run->step_number;
    memcpy(u->aside + sizeof(*op), run->reply.text.p + run->journalled, fresh);
    op->journal.text = (struct ag_str){u->aside + sizeof(*op), fresh};
    ag_unit_add(&u->unit, op);
    u->unit.bytes = fresh;
    u->unit.lazy = true;
    run->journalled = run->reply.text.n;
    run->journal_ns = now;
    ag_run_submit(run, u);
}

void ag_infer_text(struct agent_run *run)
{
    struct ag_reply *r = &run->reply;

    if (r->text.n > r->text_shown) {
        agent_event e = {.type = AGENT_EVENT_TEXT, .text = r->text.p + r->text_shown,
                         .text_bytes = r->text.n - r->text_shown};

        r->text_shown = r->text.n;
        ag_tell(run, &e);
        journal(run);
    }
}

static void reported(struct agent_run *run)
{
    if (!run->stepping) /* else the step that is being taken looks by itself */
        ag_worker_ready(run->worker, run);
}

void ag_infer_first_byte(struct agent_run *run)
{
    if (run->infer->first_byte)
        return;
    run->infer->first_byte = true;
    reported(run);
}

void ag_infer_done(struct agent_run *run)
{
    run->infer->first_byte = run->infer->done = true;
    reported(run);
}

void ag_infer_failed(struct agent_run *run, const agent_error *e, bool retry, int64_t after_ms)
{
    struct ag_infer *i = run->infer;

    i->failed = true;
    i->retry = retry;
    i->after_ms = after_ms;
    i->error = ag_arena_alloc(&run->arena, sizeof(*i->error));
    if (i->error != NULL)
        *i->error = *e;
    reported(run);
}

void ag_infer_stop(struct agent_run *run)
{
    if (run->infer != NULL)
        run->infer->stop(run);
    run->infer = NULL;
}

static void drop_reply(struct agent_run *run)
{
    if (run->reply_live)
        ag_reply_drop(&run->reply);
    run->reply_live = false;
}

/* --- PREPARE ------------------------------------------------------------------------------------------ */

static bool begin_step(struct agent_run *run)
{
    struct ag_run_unit *u;
    struct ag_op *op;

    if (run->step_open)
        return true;
    u = ag_run_unit_new(run);
    if (u == NULL || (op = ag_run_op(run, u, AG_OP_STEP_BEGIN)) == NULL) {
        ag_run_unit_free(u);
        return false;
    }
    run->step_number = ++run->last_number;
    op->step_begin.run_id = run->run_id;
    op->step_begin.number = run->step_number;
    op->step_begin.attempt = run->tries > 0 ? run->tries : 1;
    op->step_begin.started_at_ms = u->unit.now_ms;
    u->unit.lazy = true;
    run->step_open = true;
    ag_run_submit(run, u);
    return true;
}

static struct ag_str system_text(struct agent_run *run)
{
    struct ag_str instructions = run->agent->rec.spec.instructions, section = run->memories->section;
    char *p;

    if (section.p == NULL)
        return instructions;
    if (instructions.n == 0)
        return section;
    if (run->system.p != NULL)
        return run->system;
    p = ag_arena_alloc(&run->arena, instructions.n + section.n + 2);
    if (p == NULL)
        return instructions;
    memcpy(p, instructions.p, instructions.n);
    memcpy(p + instructions.n, "\n\n", 2);
    memcpy(p + instructions.n + 2, section.p, section.n);
    return run->system = (struct ag_str){p, instructions.n + section.n + 2};
}

static struct ag_model_request request(struct agent_run *run)
{
    return (struct ag_model_request){
        .model = run->model, .base_url = run->base_url, .system = system_text(run),
        .memories = run->memories->section, .messages = run->messages, .message_count = run->message_count,
        .tools = run->agent->defs, .tool_count = run->agent->tool_count, .params = &run->params,
        .stream = !run->no_stream, .run_id = run->run_id, .step = run->step_number,
    };
}

static agent_status start(struct agent_run *run, bool is_hit, agent_error *err)
{
    struct ag_model_request q = request(run);

    ag_reply_init(&run->reply);
    run->reply_live = true;
    run->journalled = 0;
    run->journal_ns = 0;
    ag_response_begun(run);
    if (is_hit)
        return ag_response_replay(run, err);
    run->from_cache = false;
    if (run->host != NULL)
        return ag_hosted_start(run, &q, err);
    if (run->vt->plan != NULL)
        return ag_local_start(run, &q, err);
    return ag_remote_start(run, &q, err);
}

enum ag_next ag_step_prepare(struct agent_run *run)
{
    agent_error e = AGENT_ERROR_INIT;
    int most = run->agent->rec.spec.max_steps > 0 ? run->agent->rec.spec.max_steps
                                                     : (int)ag_limit(&run->engine->limits, AG_LIMIT_MAX_STEPS);
    bool is_hit = false;

    if (run->model_steps >= most || run->last_number >= AG_STEP_MAX) {
        (void)ag_fail(&e, AGENT_EBUDGET, 0, "the run has used its %d model steps without an answer (max_steps)", most);
        ag_hint(&e, "agentctl edit " AG_STR_FMT " --max-steps %d", AG_STR_ARG(run->agent->rec.spec.name), most * 2);
        ag_run_fail(run, AG_RUN_FAILED, &e);
        return AG_NEXT_AGAIN;
    }
    if (run->params.cache != AG_REUSE_OFF) {
        struct ag_model_request q = request(run);
        enum ag_look look = ag_response_look(run, &q);

        if (look == AG_LOOK_WAIT)
            return AG_NEXT_WAIT;
        is_hit = look == AG_LOOK_HIT;
    }
    if (!is_hit && !ag_run_enter(run, run->fallback_at == 0 ? run->agent->gate : NULL)) {
        run->retry_at_ns = 0;
        return AG_NEXT_WAIT;
    }
    /* Its permit may be older than a hold: a commit can lie between them. */
    run->retry_at_ns = !is_hit && run->gate != NULL ? ag_gate_held(run->gate, run->now_ns) : 0;
    if (run->retry_at_ns != 0)
        return AG_NEXT_WAIT;
    if (run->tries == 0)
        run->tries = 1;
    if (!begin_step(run)) {
        ag_run_failf(run, AGENT_ENOMEM, "out of memory");
        return AG_NEXT_AGAIN;
    }
    run->step_begun_ns = run->now_ns;
    if (start(run, is_hit, &e) != AGENT_OK) {
        ag_run_fail(run, AG_RUN_FAILED, &e);
        return AG_NEXT_AGAIN;
    }
    ag_run_move(run, AG_STAGE_INFER);
    return AG_NEXT_AGAIN;
}

/* --- a failed attempt ----------------------------------------------------------------------------------- */

static int64_t backoff_ms(struct agent_run *run, int64_t after_ms)
{
    int64_t ms = BACKOFF_FIRST_MS;
    uint64_t random = ag_engine_random(run->engine);

    if (after_ms >= 0) /* a little later than asked, so that many do not come back at once */
        return (after_ms < AFTER_MOST_MS ? after_ms : AFTER_MOST_MS) + (int64_t)(random % 100);
    for (int i = 1; i < run->tries && ms < BACKOFF_MOST_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MOST_MS)
        ms = BACKOFF_MOST_MS;
    return ms - (int64_t)(random % (uint64_t)(ms / 4 + 1));
}

static bool next_model(struct agent_run *run)
{
    struct ag_str provider, model;

    while (run->fallback_at < run->params.fallback_count) {
        struct ag_str name = run->params.fallback[run->fallback_at++];

        if (ag_model_split(run->engine, name, &provider, &model, NULL) != AGENT_OK)
            continue; /* checked when the agent was made; a host's provider may be gone */
        run->host = ag_engine_provider(run->engine, provider);
        run->vt = run->host == NULL ? ag_provider_find(provider) : NULL;
        run->model = model;
        run->base_url = AG_STR_NONE; /* the agent's belongs to its own provider */
        /* Options are spelled as each provider wants them; offline passes nothing on. */
        if (run->vt != NULL && run->vt->plan == NULL) {
            struct ag_params params;

            if (ag_params_parse(provider, run->agent->rec.spec.options, run->options, &run->arena, &params, NULL) !=
                AGENT_OK)
                continue;
            params.fallback = run->params.fallback;
            params.fallback_count = run->params.fallback_count;
            run->params = params;
        }
        return true;
    }
    return false;
}

/* Ends the step of the failed attempt; the next one begins its own. */
static void end_failed_step(struct agent_run *run, const agent_error *e)
{
    struct ag_run_unit *u = ag_run_unit_new(run);
    struct ag_op *op = u == NULL ? NULL : ag_run_op(run, u, AG_OP_STEP_END);

    if (op == NULL) {
        ag_run_unit_free(u);
        return;
    }
    op->step_end.run_id = run->run_id;
    op->step_end.number = run->step_number;
    op->step_end.status = AG_STEP_FAILED;
    op->step_end.wall_us = (ag_mono_ns(&run->engine->clock) - run->step_begun_ns) / 1000;
    op->step_end.input_tokens = op->step_end.output_tokens = op->step_end.cached_tokens = -1;
    op->step_end.error = ag_arena_str(&run->arena, ag_str_of(e->text));
    u->unit.lazy = true;
    run->step_open = false;
    ag_run_submit(run, u);
}

static enum ag_next failed(struct agent_run *run)
{
    static const agent_error no_memory = {AGENT_ENOMEM, 0, "out of memory", ""};
    const agent_error *e = run->infer->error != NULL ? run->infer->error : &no_memory;
    int retries = run->params.retries >= 0 ? run->params.retries : (int)ag_limit(&run->engine->limits, AG_LIMIT_RETRIES);
    bool retry = run->infer->retry && run->tries <= retries;
    int64_t ms = retry ? backoff_ms(run, run->infer->after_ms) : 0;
    agent_event event = {.type = AGENT_EVENT_RETRY, .text = e->text, .text_bytes = strlen(e->text), .delay_ms = ms};

    if (run->infer->retry && run->infer->after_ms >= 0) /* for all runs of this endpoint */
        ag_run_hold(run, ag_run_now(run) + run->infer->after_ms * 1000000);
    ag_infer_stop(run);
    ag_run_leave(run);
    drop_reply(run);
    if (!retry && !next_model(run)) {
        run->step_note = ag_arena_str(&run->arena, ag_str_of(e->text));
        ag_run_fail(run, AG_RUN_FAILED, e);
        return AG_NEXT_AGAIN;
    }
    ag_tell(run, &event);
    end_failed_step(run, e);
    run->tries = retry ? run->tries + 1 : 1;
    run->phase = PHASE_BACKOFF;
    run->retry_at_ns = ag_mono_ns(&run->engine->clock) + ms * 1000000;
    return AG_NEXT_AGAIN;
}

static enum ag_next backoff(struct agent_run *run)
{
    if (ag_run_now(run) < run->retry_at_ns)
        return AG_NEXT_WAIT;
    run->retry_at_ns = 0;
    ag_run_move(run, AG_STAGE_PREPARE);
    return AG_NEXT_AGAIN;
}

/* --- INFER, RESPOND ---------------------------------------------------------------------------------------- */

enum ag_next ag_step_infer(struct agent_run *run)
{
    struct ag_infer *i = run->infer;

    if (run->phase == PHASE_BACKOFF)
        return backoff(run);
    run->phase = PHASE_OUT;
    if (i->poll != NULL)
        i->poll(run);
    if (i->failed)
        return failed(run);
    if (i->first_byte) {
        ag_run_move(run, AG_STAGE_RESPOND);
        return AG_NEXT_AGAIN;
    }
    return AG_NEXT_WAIT;
}

static void count_tokens(struct agent_run *run)
{
    struct ag_reply *r = &run->reply;

    run->step_in = r->input_tokens;
    run->step_out = r->output_tokens;
    run->step_cached = r->cached_tokens;
    if (r->input_tokens >= 0)
        run->input_tokens = (run->input_tokens > 0 ? run->input_tokens : 0) + r->input_tokens;
    if (r->output_tokens >= 0)
        run->output_tokens = (run->output_tokens > 0 ? run->output_tokens : 0) + r->output_tokens;
}

/* The answer asks for tools: it and what it intends are committed together. */
static enum ag_next ask_tools(struct agent_run *run, struct ag_str calls)
{
    agent_error e = AGENT_ERROR_INIT;
    struct ag_reply *r = &run->reply;
    struct ag_msg msg = {.role = AG_MSG_ASSISTANT};
    struct ag_run_unit *u;
    struct ag_op *op;

    msg.text = ag_arena_str(&run->arena, ag_buf_view(&r->text));
    msg.calls = ag_arena_str(&run->arena, calls);
    if (r->extra.n > 0)
        msg.extra = ag_arena_str(&run->arena, ag_buf_view(&r->extra));
    if (ag_run_resolve_calls(run, &e) != AGENT_OK) {
        ag_run_fail(run, AG_RUN_FAILED, &e);
        return AG_NEXT_AGAIN;
    }
    if (msg.text.p == NULL || msg.calls.p == NULL || !ag_run_append_message(run, &msg) ||
        (u = ag_run_unit_new(run)) == NULL)
        goto no_memory;
    if ((op = ag_run_op(run, u, AG_OP_STEP_END)) == NULL)
        goto no_memory_unit;
    op->step_end = (struct ag_op_step_end){
        .run_id = run->run_id, .number = run->step_number, .status = AG_STEP_SUCCEEDED,
        .wall_us = run->step_wall_us, .input_tokens = run->step_in, .output_tokens = run->step_out,
        .cached_tokens = run->step_cached, .error = run->step_note, .cached = run->from_cache,
    };
    run->step_note = AG_STR_NONE;
    if ((op = ag_run_op(run, u, AG_OP_MESSAGE)) == NULL)
        goto no_memory_unit;
    op->message = (struct ag_op_message){
        .session_id = run->session_id, .run_id = run->run_id, .seq = ++run->last_seq, .role = AG_ROLE_ASSISTANT,
        .text = msg.text, .calls = msg.calls, .extra = msg.extra,
    };
    run->appended++;
    for (size_t i = 0; i < run->call_count; i++) {
        struct ag_run_call *c = &run->calls[i];

        if ((op = ag_run_op(run, u, AG_OP_CALL_INTENT)) == NULL)
            goto no_memory_unit;
        op->call_intent = (struct ag_op_call_intent){
            .run_id = run->run_id, .number = c->number, .model_step = c->model_step, .call_id = c->call_id,
            .tool = c->name, .effect_id = c->effect_id, .arguments = c->arguments, .effect = c->effect,
            .started_at_ms = u->unit.now_ms,
        };
    }
    ag_run_add_stages(run, u);
    ag_response_ride(run, u);
    run->step_open = false;
    run->phase = PHASE_COMMIT;
    return ag_run_submit_wait(run, u) ? AG_NEXT_AGAIN : AG_NEXT_WAIT;

no_memory_unit:
    ag_run_unit_free(u);
no_memory:
    run->call_count = 0;
    ag_run_failf(run, AGENT_ENOMEM, "out of memory");
    return AG_NEXT_AGAIN;
}

static enum ag_next answered(struct agent_run *run)
{
    AG_AUTO(ag_buf) calls = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
    agent_error e = AGENT_ERROR_INIT;
    struct ag_reply *r = &run->reply;
    agent_status rc;

    run->step_wall_us = (ag_mono_ns(&run->engine->clock) - run->step_begun_ns) / 1000;
    ag_infer_stop(run);
    ag_run_leave(run);
    count_tokens(run);
    if ((rc = ag_reply_seal(r, run->run_id, run->step_number, &calls, &e)) != AGENT_OK ||
        (rc = ag_buf_status(&r->text, "the answer", &e)) != AGENT_OK) {
        ag_run_fail(run, AG_RUN_FAILED, &e);
        return AG_NEXT_AGAIN;
    }
    run->model_steps++;
    run->tries = 0;
    ag_response_answered(run, ag_buf_view(&calls));
    if (r->stop == AG_STOP_LENGTH)
        run->step_note = AG_STR("the answer was cut at the model's token limit");
    else if (r->stop == AG_STOP_REFUSAL)
        run->step_note = AG_STR("the model refused");
    if (r->call_count > 0)
        return ask_tools(run, ag_buf_view(&calls));
    if (r->text.n == 0 && r->stop == AG_STOP_REFUSAL) {
        ag_run_failf(run, AGENT_EPROVIDER, "the model refused to answer");
        return AG_NEXT_AGAIN;
    }
    if (r->extra.n > 0)
        run->answer_extra = ag_arena_str(&run->arena, ag_buf_view(&r->extra));
    ag_buf_drop(&run->answer);
    run->answer = r->text;
    r->text = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
    run->final_status = AG_RUN_SUCCEEDED;
    ag_run_move(run, AG_STAGE_RECLAIM);
    return AG_NEXT_AGAIN;
}

static enum ag_next committed(struct agent_run *run)
{
    struct ag_run_unit *u = ag_run_unit_take(run);
    const struct ag_msg *msg = &run->messages[run->message_count - 1];
    agent_event event = {.type = AGENT_EVENT_MESSAGE_END, .text = msg->text.p, .text_bytes = msg->text.n};
    agent_error e;
    agent_status rc;

    if (u == NULL)
        return AG_NEXT_WAIT;
    rc = u->unit.status;
    if (rc != AGENT_OK)
        e = u->unit.error;
    ag_run_unit_free(u);
    if (rc != AGENT_OK) {
        run->call_count = 0; /* nothing of it is in the file */
        run->last_seq--;
        run->appended--;
        ag_run_fail(run, AG_RUN_FAILED, &e);
        return AG_NEXT_AGAIN;
    }
    run->intents_stored = true;
    ag_response_let_go(run);
    ag_tell(run, &event);
    drop_reply(run);
    ag_run_move(run, AG_STAGE_TOOL);
    return AG_NEXT_AGAIN;
}

enum ag_next ag_step_respond(struct agent_run *run)
{
    if (run->phase == PHASE_BACKOFF)
        return backoff(run);
    if (run->phase == PHASE_COMMIT)
        return committed(run);
    if (run->infer->poll != NULL)
        run->infer->poll(run);
    if (run->infer->failed)
        return failed(run);
    return run->infer->done ? answered(run) : AG_NEXT_WAIT;
}
