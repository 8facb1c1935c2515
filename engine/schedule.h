/*
 * Which gates there are: one for each model endpoint and each tool of the host or the shell, made
 * when first named and kept until the engine closes.
 *
 * A run should wait for its permit before anything is loaded for it, when only its agent's name is
 * known: so the registry remembers which gate an agent's runs stood before last. It is a hint; the
 * run looks again when it has the agent.
 *
 * A worker that was told when to look at a gate again (gate.h (6)) looks at all of them then: there
 * are few, and one timer of the worker's stands for every run that waits.
 */
#ifndef AG_ENGINE_SCHEDULE_H
#define AG_ENGINE_SCHEDULE_H

#include "engine/base/str.h"
#include "engine/gate.h"

typedef struct ag_schedule ag_schedule;

#define AG_ENDPOINT_CONCURRENCY 16384 /* requests in flight on one endpoint, where the agent says nothing */
#define AG_HOSTED_CONCURRENCY   64    /* of a provider of the host, for each blocks a thread; likewise */
#define AG_TOOL_CONCURRENCY     64    /* calls of one tool that are out at once */

ag_schedule *ag_schedule_new(void); /* NULL: out of memory */
void ag_schedule_free(ag_schedule *s);
/* The gate of that name, with these limits from now on. NULL: out of memory, so there is no limit. Any thread. */
ag_gate *ag_schedule_gate(ag_schedule *s, struct ag_str name, int64_t capacity, int64_t per_minute);
/* Remembers (gate may be NULL) and tells the gate of an agent's runs. Any thread. */
void ag_schedule_learn(ag_schedule *s, struct ag_str agent, ag_gate *gate);
/* *out_known (may be NULL): whether it was told at all, be it that the agent's runs stand before none. */
ag_gate *ag_schedule_hint(ag_schedule *s, struct ag_str agent, bool *out_known);
/* Ticks every gate. Returns when to do so again; 0: nobody waits for time alone. Any thread. */
int64_t ag_schedule_tick(ag_schedule *s, int64_t now_ns);

#endif
