/*
 * Every limit of the engine in one table: its unit, its default, what it may be set to, and the
 * error that names it. A value is the file's (agentctl limits set), or else the default; what the
 * host gives in agent_options, or an agent in its options, goes before both.
 */
#ifndef AG_ENGINE_LIMITS_H
#define AG_ENGINE_LIMITS_H

#include <agent/engine.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/str.h"

enum ag_limit_id {
    AG_LIMIT_ACTIVE_RUNS, AG_LIMIT_ENDPOINT_CONCURRENCY, AG_LIMIT_ENDPOINT_PER_MINUTE, AG_LIMIT_TOOL_CONCURRENCY,
    AG_LIMIT_RUN_TIMEOUT_MS, AG_LIMIT_MAX_STEPS, AG_LIMIT_CONNECT_MS, AG_LIMIT_FIRST_BYTE_MS, AG_LIMIT_IDLE_MS,
    AG_LIMIT_TOTAL_MS, AG_LIMIT_RETRIES, AG_LIMIT_TOOL_TIMEOUT_MS, AG_LIMIT_TOOL_OUTPUT_BYTES,
    AG_LIMIT_HISTORY_MESSAGES, AG_LIMIT_HISTORY_BYTES, AG_LIMIT_MEMORY_COUNT, AG_LIMIT_MEMORY_BYTES,
    AG_LIMIT_CACHE_BYTES, AG_LIMIT_BUSY_TIMEOUT_MS, AG_LIMIT_RSS_BYTES, AG_LIMIT_SAMPLE_INTERVAL_MS,
    AG_LIMIT_WORK_JOBS, AG_LIMIT_QUEUE_AGING_MS, AG_LIMIT_QUEUED_RUNS, AG_LIMIT_CACHE_POLICY,
    AG_LIMIT_SMAPS_BUDGET_US, AG_LIMIT_SAMPLE_HWM,
    /* from here on not to be set */
    AG_LIMIT_INPUT_BYTES, AG_LIMIT_REQUEST_BYTES, AG_LIMIT_RESPONSE_BYTES, AG_LIMIT_ARGUMENTS_BYTES, AG_LIMIT_CALLS,
    AG_LIMIT_PARALLEL_CALLS, AG_LIMIT_STEPS, AG_LIMIT_INSTRUCTIONS_BYTES, AG_LIMIT_MEMORY_TEXT_BYTES,
    AG_LIMIT_COUNT
};

struct ag_limit_def {
    const char *name, *unit;
    int64_t standard, least, most; /* most 0: not to be set */
    const char *error;             /* what going over it gives */
    const char *text;
    const char *const *choices;    /* names of 0 to most; NULL: a number */
};

extern const struct ag_limit_def ag_limit_defs[AG_LIMIT_COUNT];

struct ag_limits {
    int64_t value[AG_LIMIT_COUNT];
};

void ag_limits_init(struct ag_limits *l);
int ag_limit_find(struct ag_str name); /* -1: there is none */

static inline int64_t ag_limit(const struct ag_limits *l, enum ag_limit_id id)
{
    return l->value[id];
}

#endif
