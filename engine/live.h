/*
 * How this engine is doing, for `agentctl top` of another process: one row a second in the table
 * `live`, while there are runs.
 *
 *     each worker's poll ──► its own runs by stage, once a second ──┐
 *     whichever poll comes first when a second is over ◄────────────┴──► one lazy unit (AG_OP_LIVE)
 *
 *  (1) The first row comes when runs have been active for a second: a one-shot process writes none.
 *  (2) One row is out at a time; while the store is slow, seconds are left out.
 *  (3) When the runs are over, an engine that wrote rows writes one more, with none.
 *  (4) What the cache tells has room for every figure at its longest: it is never cut.
 */
#ifndef AG_ENGINE_LIVE_H
#define AG_ENGINE_LIVE_H

#include "engine/worker.h"

struct ag_live;

struct ag_live *ag_live_new(agent_engine *e); /* NULL: out of memory */
void ag_live_free(struct ag_live *l);         /* after the store is closed */
/* From the poll of a worker; `waiting`: runs of it wait for something, so it will poll again. True: it is
 * to poll again in any case, for the last row is still to come. */
bool ag_live_tick(struct ag_worker *w, bool waiting);

#endif
