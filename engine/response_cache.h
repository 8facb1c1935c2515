/*
 * Answers that are used again: a request is looked up before it is sent, and its answer kept after.
 *
 *   PREPARE ─► key ─► look up ──hit──► replayed as an attempt of its own kind (INFER, RESPOND as ever)
 *                        │ miss
 *                        ▼
 *              somebody asks the same? ──this engine: its flight, another process: its lease──► wait,
 *                        │ nobody                                                        look up again
 *                        ▼
 *                     ask ─► answer ─► kept by the transaction that commits it
 *
 * Rules, cited by number:
 *  (1) With policy "off" nothing of this runs: the caller looks at params.cache first.
 *  (2) An answer is used for the same request only: the key is its SHA-256, and the hashes of all its
 *      parts are compared as well.
 *  (3) Kept is what is complete: no error, no refusal, nothing cut at a limit.
 *  (4) No hit costs a commit: it is counted by the run's next one.
 *  (5) Waiting for another's answer is bounded, and who waits holds no permit.
 */
#ifndef AG_ENGINE_RESPONSE_CACHE_H
#define AG_ENGINE_RESPONSE_CACHE_H

#include "engine/infer.h"

#define AG_REUSE_WAIT_MS  60000 /* for the answer of another run; a lease lasts as long */
#define AG_REUSE_LOOK_MS  100   /* how often the file is looked at while another process asks */

enum ag_look { AG_LOOK_ASK, AG_LOOK_HIT, AG_LOOK_WAIT };

/* May be called again and again until the request is sent; WAIT has something out that will make
 * the run ready. */
enum ag_look ag_response_look(struct agent_run *run, const struct ag_model_request *q);
/* After HIT: begins the replay; sets run->infer. */
agent_status ag_response_replay(struct agent_run *run, agent_error *err);
/* The request was sent, or its answer is being replayed: the next one is another. */
void ag_response_begun(struct agent_run *run);
/* A complete answer, its calls as sealed: kept by the next unit where it may be. */
void ag_response_answered(struct agent_run *run, struct ag_str calls);
/* Adds to a unit what is to be committed: the answer, a hit, a lease that is given back. */
void ag_response_ride(struct agent_run *run, struct ag_run_unit *u);
/* What the run asked for is in the file, or will not be: who waited for it goes on. */
void ag_response_let_go(struct agent_run *run);

#endif
