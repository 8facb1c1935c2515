/*
 * What the crash suites share: work to be interrupted, what an observer outside the file was told
 * meanwhile, and the questions that are asked of the file afterwards.
 *
 *     crash_work() ──┬─► agent.db      what the engine promises to keep
 *        killed      ├─► acks          one line per thing acknowledged: "end w1 7 succeeded"
 *                    └─► acted, idem   one line per call of a tool that acts: its effect id
 *
 *     crash_settle() brings every run to its end; crash_findings() compares.
 *
 * All of it runs in processes that a test forks (crash_spawn), for they die, and what is found is
 * told on stderr and by the exit code.
 */
#ifndef AG_TESTS_CRASH_KIT_H
#define AG_TESTS_CRASH_KIT_H

#include <agent/agent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/crash_disk.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CRASH_SCALE 8 /* a sanitizer is slow, and what is looked for is found with fewer */
#else
#define CRASH_SCALE 1
#endif

struct crash_place {
    char dir[160];
    char path[192];
};

void crash_place_make(struct crash_place *p);
void crash_place_empty(const struct crash_place *p); /* for the next trial */
void crash_place_remove(const struct crash_place *p);

/* A number from the environment: CRASH_SEED, CRASH_ALL, CRASH_ROUNDS. */
long crash_env(const char *name, long otherwise);

/* Opens an engine on the file with the model "strict", the tools look (pure), put (idempotent), act
 * and stall (effects), and the agents bob and memo. Ends the process where it cannot. */
agent_engine *crash_open(const struct crash_place *p, int workers, int durability);

/* From now on tools and model take up to so long, by chance. */
void crash_dawdle(int us);

/* One run in the foreground; the status it came to is in the file and in acks. */
void crash_run(agent_engine *e, const char *agent, const char *session, const char *key, const char *input);
void crash_enqueue(agent_engine *e, const char *agent, const char *session, const char *key, const char *input,
                   int priority);

/* The same in parts, for those who do something in between. */
agent_run_request crash_ask_for(const char *agent, const char *session, const char *key, const char *input);
agent_run *crash_start(agent_engine *e, const agent_run_request *q);
void crash_finish(agent_run *run);
void crash_drain(agent_engine *e);                             /* agent_work until idle */
void crash_resume_each(agent_engine *e, const char *status);   /* run by run */
void crash_decide_each(agent_engine *e);

/* A fixed piece of work: every kind of tool, parallel calls, turns of several sessions, the queue,
 * an answer from the cache, cancels, an approval. Done again it finishes what is missing. */
void crash_work(const struct crash_place *p, int workers, int durability);

enum { CRASH_WORK_RUNS = 18 }; /* that it makes */

/* Takes up everything that is open until nothing is; decides what waits. by_hand: run by run, as
 * `resume` does, else as `work` does. */
void crash_settle(agent_engine *e, bool by_hand);

enum crash_strictness {
    CRASH_SOUND,  /* the file is sound, and what survived is a beginning of what was acknowledged */
    CRASH_KEPT,   /* and everything that was acknowledged is there */
    CRASH_ENDED,  /* and every run has ended */
    CRASH_ENDED_ANEW, /* the same, where effects may have been forgotten */
};

/* Prints each breach; how many there are. */
int crash_findings(const struct crash_place *p, enum crash_strictness how);

/* Whether something that was acknowledged is not in the file. */
bool crash_lost(const struct crash_place *p);

/* The one number that a query gives; -1 where it gives none. */
long crash_ask(const struct crash_place *p, const char *sql);

/* Prints the rows of a query, one text each; how many there are. */
int crash_list(const struct crash_place *p, const char *sql);

/* Runs `body` in a process of its own; one that hangs ends by SIGALRM. */
pid_t crash_spawn(int (*body)(void *ctx), void *ctx);
/* How it ended: 0 well, -SIGKILL killed, else its exit code or minus its signal. */
int crash_reap(pid_t pid);

#endif
