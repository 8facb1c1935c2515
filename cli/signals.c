/*
 * The only state outside of main(): a signal handler can be told nothing by an argument.
 */
#include "cli/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static volatile sig_atomic_t caught;       /* number of the first signal; 0: none */
static _Atomic(agent_run *) watched;       /* lock-free: read in the handler */
static _Atomic(agent_engine *) working;

static void on_signal(int number)
{
    agent_engine *engine = atomic_load(&working);
    agent_run *run = atomic_load(&watched);

    if (caught != 0)
        _exit(128 + number);
    caught = number;
    if (run != NULL)
        agent_run_cancel(run);
    if (engine != NULL)
        agent_work_stop(engine, false);
}

void signals_watch_work(agent_engine *engine)
{
    atomic_store(&working, engine);
    if (engine != NULL && caught != 0)
        agent_work_stop(engine, false);
}

void signals_install(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a read of the prompt ends */

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void signals_watch(agent_run *run)
{
    atomic_store(&watched, run);
    if (run != NULL && caught != 0)
        agent_run_cancel(run);
}

int signals_caught(void)
{
    return caught;
}
