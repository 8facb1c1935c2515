/*
 * ^C and SIGTERM while a run is driven: the first asks for its end, which is then recorded and told
 * as any end is; the second leaves at once.
 */
#ifndef AG_CLI_SIGNALS_H
#define AG_CLI_SIGNALS_H

#include <agent/run.h>

void signals_install(void);
/* The run that a signal cancels; NULL: none. One that was caught before cancels it now. */
void signals_watch(agent_run *run);
/* The engine at work that a signal lets run dry, instead of a run; NULL: none. */
void signals_watch_work(agent_engine *engine);
int signals_caught(void); /* the first one's number; 0: none */

#endif
