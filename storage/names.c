/* The words that stand in the file, one table per enum: numbers here are never renumbered. */
#include "storage/store.h"

#define TABLE(name) static const char *const name[]
TABLE(roles) = {[AG_ROLE_SYSTEM] = "system", [AG_ROLE_USER] = "user", [AG_ROLE_ASSISTANT] = "assistant",
                [AG_ROLE_TOOL] = "tool"};
TABLE(run_statuses) = {[AG_RUN_QUEUED] = "queued", [AG_RUN_RUNNING] = "running", [AG_RUN_WAITING] = "waiting",
                       [AG_RUN_SUCCEEDED] = "succeeded", [AG_RUN_FAILED] = "failed",
                       [AG_RUN_CANCELLED] = "cancelled"};
TABLE(step_statuses) = {[AG_STEP_RUNNING] = "running", [AG_STEP_SUCCEEDED] = "succeeded",
                        [AG_STEP_FAILED] = "failed", [AG_STEP_CANCELLED] = "cancelled"};
TABLE(call_statuses) = {[AG_CALL_INTENDED] = "intended", [AG_CALL_RUNNING] = "running",
                        [AG_CALL_SUCCEEDED] = "succeeded", [AG_CALL_FAILED] = "failed",
                        [AG_CALL_TIMEOUT] = "timeout", [AG_CALL_CANCELLED] = "cancelled",
                        [AG_CALL_DENIED] = "denied", [AG_CALL_UNKNOWN] = "unknown"};
TABLE(effects) = {[AGENT_EFFECT_PURE] = "pure", [AGENT_EFFECT_IDEMPOTENT] = "idempotent",
                  [AGENT_EFFECT_EFFECT] = "effect"};
TABLE(stages) = {[AG_STAGE_QUEUE] = "queue", [AG_STAGE_LOAD] = "load", [AG_STAGE_PREPARE] = "prepare",
                 [AG_STAGE_INFER] = "infer", [AG_STAGE_RESPOND] = "respond", [AG_STAGE_TOOL] = "tool",
                 [AG_STAGE_RECLAIM] = "reclaim"};
TABLE(peak_sources) = {[AG_PEAK_NONE] = NULL, [AG_PEAK_BORDERS] = "borders", [AG_PEAK_SAMPLES] = "samples",
                       [AG_PEAK_HWM] = "hwm"};
TABLE(heap_includes) = {"own", "own+json", "own+sqlite", "own+json+sqlite", "own+curl", "own+json+curl",
                        "own+sqlite+curl", "own+json+sqlite+curl"};

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static int parse(const char *const *table, int count, struct ag_str s)
{
    for (int i = 0; i < count; i++)
        if (ag_str_is(s, table[i]))
            return i;
    return -1;
}

const char *ag_role_name(enum ag_role v) { return roles[v]; }
const char *ag_run_status_name(enum ag_run_status v) { return run_statuses[v]; }
const char *ag_step_status_name(enum ag_step_status v) { return step_statuses[v]; }
const char *ag_call_status_name(enum ag_call_status v) { return call_statuses[v]; }
const char *ag_effect_name(enum agent_effect v) { return effects[v]; }
const char *ag_stage_name(enum ag_stage v) { return stages[v]; }
const char *ag_peak_source_name(enum ag_peak_source v) { return peak_sources[v]; }
const char *ag_heap_includes_name(unsigned includes) { return heap_includes[includes & 7u]; }
int ag_role_parse(struct ag_str s) { return parse(roles, COUNT(roles), s); }
int ag_run_status_parse(struct ag_str s) { return parse(run_statuses, COUNT(run_statuses), s); }
int ag_call_status_parse(struct ag_str s) { return parse(call_statuses, COUNT(call_statuses), s); }
int ag_effect_parse(struct ag_str s) { return parse(effects, COUNT(effects), s); }
