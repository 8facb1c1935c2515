/* What the listener of a run is told, and the result it keeps. */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/run.h"

static const char *const names[] = {
    [AGENT_EVENT_RUN_START] = "run.start", [AGENT_EVENT_TEXT] = "text.delta", [AGENT_EVENT_RETRY] = "retry",
    [AGENT_EVENT_TOOL_START] = "tool.start", [AGENT_EVENT_TOOL_END] = "tool.end",
    [AGENT_EVENT_MESSAGE_END] = "message.end", [AGENT_EVENT_RUN_END] = "run.end",
    [AGENT_EVENT_RUN_WAITING] = "run.waiting",
};

const char *agent_event_name(enum agent_event_type type)
{
    return (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

void ag_tell(struct agent_run *run, agent_event *event)
{
    struct ag_mem_charge was;

    if (run->on_event == NULL)
        return;
    event->size = sizeof(*event);
    event->run.id = run->run_id;
    event->session.id = run->session_id;
    event->step = run->model_steps + (run->stage == AG_STAGE_INFER || run->stage == AG_STAGE_RESPOND ? 1 : 0);
    event->attempt = run->tries > 0 ? run->tries : 1;
    was = ag_mem_charge(NULL); /* what the host does there is its own */
    run->on_event(run->event_ctx, event);
    ag_mem_charge_back(was);
}

void ag_tell_start(struct agent_run *run)
{
    agent_event event = {.type = AGENT_EVENT_RUN_START};

    if (run->started_told)
        return;
    run->started_told = true;
    ag_tell(run, &event);
}

/* What a run that ended has, when there was no memory to say how. */
static const struct ag_outcome no_memory = {
    .result = {.size = sizeof(agent_run_result), .status = "failed", .output = "",
     .error = {AGENT_ENOMEM, 0, "out of memory", ""}, .input_tokens = -1, .output_tokens = -1},
    .agent = "",
};

void ag_outcome_make(struct agent_run *run, enum ag_run_status status)
{
    struct ag_outcome *o = ag_malloc(sizeof(*o));

    run->outcome = o != NULL ? o : &no_memory;
    if (o == NULL)
        return;
    o->result.size = sizeof(o->result);
    o->result.run.id = run->run_id;
    o->result.session.id = run->session_id;
    o->result.status = ag_run_status_name(status);
    o->result.output = run->answer.p != NULL ? run->answer.p : "";
    o->result.output_bytes = run->answer.p != NULL ? run->answer.n : 0;
    o->result.input_tokens = run->input_tokens;
    o->result.output_tokens = run->output_tokens;
    o->result.queue_ms = run->queue_us / 1000;
    o->result.wall_ms = run->wall_us / 1000;
    o->result.steps = run->model_steps;
    o->result.attempts = run->attempt > 0 ? run->attempt : 1;
    o->result.cache_hit = run->cache_hit;
    o->result.agent = NULL;
    if (run->agent != NULL) {
        (void)snprintf(o->agent, sizeof(o->agent), AG_STR_FMT, AG_STR_ARG(run->agent->rec.spec.name));
        o->result.agent = o->agent;
    }
    if (run->error != NULL) {
        o->result.error = *run->error;
    } else {
        o->result.error.status = AGENT_OK;
        o->result.error.detail = 0;
        o->result.error.text[0] = o->result.error.hint[0] = '\0';
    }
}

void ag_outcome_free(const struct ag_outcome *o)
{
    if (o != &no_memory)
        ag_free((void *)(uintptr_t)o);
}

void ag_tell_end(struct agent_run *run, enum agent_event_type type)
{
    agent_event event = {.type = type, .result = &run->outcome->result};

    ag_tell(run, &event);
}
