/* Which requests this engine is asking: one run leads, the others wait for its answer. Any thread. */
#ifndef AG_ENGINE_FLIGHTS_H
#define AG_ENGINE_FLIGHTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct agent_engine;

struct ag_flights {
    pthread_mutex_t lock;
    struct ag_answer_flight *first[64]; /* by the key's first byte; guarded by lock */
};

void ag_flights_init(struct ag_flights *f);
void ag_flights_drop(struct ag_flights *f);
/* True: the run asks. False: another does, and this one is woken when that is over. */
bool ag_flight_lead(struct ag_flights *f, const unsigned char *key, int64_t run_id);
/* Where the run leads: it is over, who waits is woken. */
void ag_flight_end(struct ag_flights *f, const unsigned char *key, int64_t run_id, struct agent_engine *wake);

#endif
