/*
 * Working off the queue in the file: agent_work(). Its heart lives on the first worker ("home"),
 * whichever thread runs that one.
 */
#ifndef AG_ENGINE_WORK_H
#define AG_ENGINE_WORK_H

#include <stdbool.h>

#include "engine/engine.h"

struct ag_work;

/* On home's thread, in each of its turns. True: it did something. */
bool ag_work_look(struct ag_work *work);
/* Something of ours was committed that may have made a run ready. Any thread; nothing where nobody works.
 * at_home: the caller is home's thread, which looks before it sleeps. */
void ag_work_hint(agent_engine *e, bool at_home);
/* A run that agent_work() took has left. On the run's worker. */
void ag_work_left(agent_engine *e, bool at_home);

#endif
