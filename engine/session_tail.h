/*
 * What was said last in a session, as the next turn of it needs it: kept by the turn that ends.
 */
#ifndef AG_ENGINE_SESSION_TAIL_H
#define AG_ENGINE_SESSION_TAIL_H

#include "engine/run.h"

/* The run's history from memory, into run->messages; *out_used false: it is to be read from the file. */
agent_status ag_tail_use(struct agent_run *run, struct ag_tail_limits limits, bool *out_used, agent_error *err);

/* After the commit that ends the run: keeps what it was sent and what it added. */
void ag_tail_keep(struct agent_run *run);

/* Messages were changed by somebody else: all that is kept is void. Any thread. */
void ag_tail_forget(agent_engine *e);

#endif
