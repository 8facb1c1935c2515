#include "engine/limits.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/policy.h"
#include "engine/engine.h"
#include "engine/provider/provider.h"
#include "engine/schedule.h"

#define DAY_MS   INT64_C(86400000)
#define MANY     INT64_C(1000000)
#define GIGABYTE (INT64_C(1) << 30)

static const char *const off_on[] = {"off", "on", NULL};

const struct ag_limit_def ag_limit_defs[AG_LIMIT_COUNT] = {
    [AG_LIMIT_ACTIVE_RUNS] = {"active_runs", "runs", AG_MAX_ACTIVE_RUNS, 1, 10 * MANY, "EBUSY",
                              "runs an engine holds at once; one more is refused", NULL},
    [AG_LIMIT_ENDPOINT_CONCURRENCY] = {"endpoint_concurrency", "requests", AG_ENDPOINT_CONCURRENCY, 1, MANY, "(waits)",
                                       "requests out on one model endpoint; -o max_concurrency= per agent", NULL},
    [AG_LIMIT_ENDPOINT_PER_MINUTE] = {"endpoint_per_minute", "requests/min", 0, 0, 100 * MANY, "(waits)",
                                      "requests a minute on one endpoint, 0: any; -o requests_per_minute= per agent",
                                      NULL},
    [AG_LIMIT_TOOL_CONCURRENCY] = {"tool_concurrency", "calls", AG_TOOL_CONCURRENCY, 1, MANY, "(waits)",
                                   "calls of one command or callback that are out at once", NULL},
    [AG_LIMIT_RUN_TIMEOUT_MS] = {"run_timeout_ms", "ms", AG_RUN_TIMEOUT_MS, 1, 30 * DAY_MS, "ETIMEDOUT",
                                 "a run from its start to its end; --timeout, -o timeout_ms=", NULL},
    [AG_LIMIT_MAX_STEPS] = {"max_steps", "model calls", AG_MAX_STEPS, 1, AG_MAX_STEPS_LIMIT, "EBUDGET",
                            "model calls in one run; --max-steps per agent", NULL},
    [AG_LIMIT_CONNECT_MS] = {"connect_ms", "ms", AG_CONNECT_MS, 1, DAY_MS, "ETIMEDOUT",
                             "until a provider is connected; -o connect_ms=", NULL},
    [AG_LIMIT_FIRST_BYTE_MS] = {"first_byte_ms", "ms", AG_FIRST_BYTE_MS, 1, DAY_MS, "ETIMEDOUT",
                                "until a provider's first byte; -o first_byte_ms=", NULL},
    [AG_LIMIT_IDLE_MS] = {"idle_ms", "ms", AG_IDLE_MS, 1, DAY_MS, "ETIMEDOUT",
                          "between two bytes of an answer; -o idle_ms=", NULL},
    [AG_LIMIT_TOTAL_MS] = {"total_ms", "ms", AG_TOTAL_MS, 1, DAY_MS, "ETIMEDOUT",
                           "one request, all in all; -o total_ms=", NULL},
    [AG_LIMIT_RETRIES] = {"retries", "times", AG_RETRIES, 0, 100, "EPROVIDER",
                          "a failed request is tried again so often; -o retries=", NULL},
    [AG_LIMIT_TOOL_TIMEOUT_MS] = {"tool_timeout_ms", "ms", AG_TOOL_TIMEOUT_MS, 1, DAY_MS, "(result)",
                                  "one call of a tool; --timeout of tool add", NULL},
    [AG_LIMIT_TOOL_OUTPUT_BYTES] = {"tool_output_bytes", "bytes", AG_TOOL_OUTPUT_BYTES, 1, 16 << 20, "(result)",
                                    "of a tool's output that the model reads; the rest is cut and marked", NULL},
    [AG_LIMIT_HISTORY_MESSAGES] = {"history_messages", "messages", AG_HISTORY_MESSAGES, 0, MANY, "(window)",
                                   "of a session that are sent; -o history_messages=", NULL},
    [AG_LIMIT_HISTORY_BYTES] = {"history_bytes", "bytes", AG_HISTORY_BYTES, 0, GIGABYTE, "(window)",
                                "of a session that are sent; -o history_bytes=", NULL},
    [AG_LIMIT_MEMORY_COUNT] = {"memory_count", "memories", AG_MEMORY_COUNT, 0, 100000, "(window)",
                               "newest memories that are sent with every request", NULL},
    [AG_LIMIT_MEMORY_BYTES] = {"memory_bytes", "bytes", AG_MEMORY_BYTES, 0, GIGABYTE, "(window)",
                               "of memories that are sent with every request", NULL},
    [AG_LIMIT_CACHE_BYTES] = {"cache_bytes", "bytes", AG_CACHE_BYTES, 0, 64 * GIGABYTE, "(evicts)",
                              "the front cache, everything counted; --cache-bytes", NULL},
    [AG_LIMIT_CACHE_POLICY] = {"cache_policy", "policy", 0, 0, AG_POLICIES - 1, "(evicts)",
                               "which of the front cache's entries goes next; --cache-policy", ag_policy_names},
    [AG_LIMIT_BUSY_TIMEOUT_MS] = {"busy_timeout_ms", "ms", 5000, 1, DAY_MS, "EBUSY",
                                  "a commit waits so long for a stranger's lock", NULL},
    [AG_LIMIT_RSS_BYTES] = {"memory_limit_bytes", "bytes", 0, 0, 1024 * GIGABYTE, "EBUDGET",
                            "RSS at which new runs are refused, the cache shrinks before; 0: any; --memory-limit",
                            NULL},
    [AG_LIMIT_SAMPLE_INTERVAL_MS] = {"sample_interval_ms", "ms", AG_SAMPLE_MS_DEFAULT, 1, AG_SAMPLE_MS_MOST, "(range)",
                                     "between two readings of RSS; --sample-interval", NULL},
    [AG_LIMIT_SMAPS_BUDGET_US] = {"smaps_budget_us", "us", AG_SMAPS_BUDGET_US, 0, 1000000, "(stops)",
                                  "what reading PSS may cost where a run begins and ends; 0: never", NULL},
    [AG_LIMIT_SAMPLE_HWM] = {"sample_hwm", "", 0, 0, 1, "(range)",
                             "each stage's peak is the kernel's own; what others read (time -v) is then wrong", off_on},
    [AG_LIMIT_WORK_JOBS] = {"work_jobs", "runs", AG_WORK_JOBS, 1, MANY, "(waits)",
                            "runs that work drives at once; -j", NULL},
    [AG_LIMIT_QUEUE_AGING_MS] = {"queue_aging_ms", "ms", AG_QUEUE_AGING_MS, 1, 30 * DAY_MS, "(order)",
                                 "who was queued so long counts one class higher; work --aging", NULL},
    [AG_LIMIT_QUEUED_RUNS] = {"queued_runs", "runs", AG_QUEUED_RUNS, 1, 1000 * MANY, "EBUSY",
                              "in the file's queue (run -d) that nobody drives yet; one more is refused", NULL},
    [AG_LIMIT_INPUT_BYTES] = {"input_bytes", "bytes", AGENT_INPUT_MAX, 0, 0, "ETOOBIG", "a prompt", NULL},
    [AG_LIMIT_REQUEST_BYTES] = {"request_bytes", "bytes", AG_CAP_REQUEST_BYTES, 0, 0, "ETOOBIG",
                                "the body of a request to a provider", NULL},
    [AG_LIMIT_RESPONSE_BYTES] = {"response_bytes", "bytes", AG_CAP_RESPONSE_BYTES, 0, 0, "ETOOBIG",
                                 "an answer, and one line of its stream", NULL},
    [AG_LIMIT_ARGUMENTS_BYTES] = {"arguments_bytes", "bytes", AG_CAP_ARGUMENTS_BYTES, 0, 0, "ETOOBIG",
                                  "arguments of one tool call", NULL},
    [AG_LIMIT_CALLS] = {"calls", "calls", AG_CAP_CALLS, 0, 0, "ETOOBIG", "tool calls in one answer", NULL},
    [AG_LIMIT_PARALLEL_CALLS] = {"parallel_calls", "calls", AG_PARALLEL_CALLS, 0, 0, "(waits)",
                                 "tool calls of one run that are out at once", NULL},
    [AG_LIMIT_STEPS] = {"steps", "steps", AG_STEP_MAX, 0, 0, "EBUDGET", "model steps and tool calls in one run", NULL},
    [AG_LIMIT_INSTRUCTIONS_BYTES] = {"instructions_bytes", "bytes", AG_INSTRUCTIONS_MAX, 0, 0, "ETOOBIG",
                                     "an agent's instructions", NULL},
    [AG_LIMIT_MEMORY_TEXT_BYTES] = {"memory_text_bytes", "bytes", AG_MEMORY_TEXT_MAX, 0, 0, "ETOOBIG",
                                    "one memory", NULL},
};

void ag_limits_init(struct ag_limits *l)
{
    for (int i = 0; i < AG_LIMIT_COUNT; i++)
        l->value[i] = ag_limit_defs[i].standard;
}

int ag_limit_find(struct ag_str name)
{
    for (int i = 0; i < AG_LIMIT_COUNT; i++)
        if (ag_str_is(name, ag_limit_defs[i].name))
            return i;
    return -1;
}

/* --- the host's view of it --------------------------------------------------------------------------- */

agent_status agent_limits(agent_engine *e, void (*fn)(void *ctx, const agent_limit *limit), void *ctx, agent_error *err)
{
    agent_status rc;

    if (e == NULL || fn == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "limits: engine and fn are needed");
    if (e->inspect && (rc = ag_engine_read_settings(e, err)) != AGENT_OK)
        return ag_wrap(err, rc, "limits");
    for (int i = 0; i < AG_LIMIT_COUNT; i++) {
        const struct ag_limit_def *d = &ag_limit_defs[i];
        agent_limit limit = {.size = sizeof(limit), .name = d->name, .unit = d->unit, .value = e->limits.value[i],
                             .standard = d->standard, .least = d->least, .most = d->most, .error = d->error,
                             .text = d->text, .choices = d->choices};

        fn(ctx, &limit);
    }
    return AGENT_OK;
}

agent_status agent_limit_set(agent_engine *e, const char *name, const int64_t *value, agent_error *err)
{
    struct ag_op op;
    ag_unit unit;
    int i;
    agent_status rc;

    if (e == NULL || name == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "limits: engine and name are needed");
    if ((rc = ag_engine_writable(e, "limits", err)) != AGENT_OK)
        return rc;
    if ((i = ag_limit_find(ag_str_of(name))) < 0) {
        ag_fail(err, AGENT_ENOTFOUND, 0, "no limit '%.60s'", name);
        ag_hint(err, "agentctl limits shows all");
        return AGENT_ENOTFOUND;
    }
    if (ag_limit_defs[i].most == 0)
        return ag_fail(err, AGENT_EINVAL, 0, "limit '%s' is fixed", name);
    if (value != NULL && (*value < ag_limit_defs[i].least || *value > ag_limit_defs[i].most))
        return ag_fail(err, AGENT_EINVAL, 0, "limit '%s': %lld is not within %lld and %lld %s", name, (long long)*value,
                       (long long)ag_limit_defs[i].least, (long long)ag_limit_defs[i].most, ag_limit_defs[i].unit);
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_SETTING;
    op.setting.name = ag_str_of(name);
    op.setting.remove = value == NULL;
    op.setting.value = value != NULL ? *value : 0;
    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, &op);
    if ((rc = ag_engine_apply(e, &unit, err)) != AGENT_OK)
        return ag_wrap(err, rc, "limits");
    e->limits.value[i] = value != NULL ? *value : ag_limit_defs[i].standard;
    return AGENT_OK;
}
