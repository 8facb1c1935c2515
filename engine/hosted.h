/*
 * Work of the host's own code on the tool pool: a tool callback or a provider. A job outlives the
 * run that asked for it: a run that ends lets go of it, and what comes later is dropped.
 *
 *    worker ──submit──► pool thread: work() ──post──► worker: chunk or end
 */
#ifndef AG_ENGINE_HOSTED_H
#define AG_ENGINE_HOSTED_H

#include "engine/run.h"

struct ag_host_job;

/* Starts a host tool; the end comes to `fn` on the worker, once, unless let go of before. */
agent_status ag_host_tool_start(struct ag_worker *w, const struct ag_agent_tool *tool, int64_t run_id,
                                struct ag_str arguments, struct ag_str effect_id, struct ag_str call_id, ag_tool_fn fn,
                                void *ctx, struct ag_host_job **out, agent_error *err);
/* No call of fn after this. The callback is asked to stop (agent_tool_call_cancelled). */
void ag_host_job_let_go(struct ag_host_job *job);

#endif
