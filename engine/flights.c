/*
 * One question at a time: which requests runs of this engine are asking just now, and which runs
 * wait for the same answer. A leaf lock; who waits is woken without it.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/flights.h"
#include "engine/worker.h"

struct ag_answer_flight {
    struct ag_answer_flight *next;
    unsigned char key[AG_CACHE_KEY_BYTES];
    int64_t leader, *waiting;
    size_t count, room;
};

void ag_flights_init(struct ag_flights *f)
{
    memset(f->first, 0, sizeof(f->first));
    (void)pthread_mutex_init(&f->lock, NULL);
}

void ag_flights_drop(struct ag_flights *f)
{
    for (size_t i = 0; i < sizeof(f->first) / sizeof(f->first[0]); i++)
        while (f->first[i] != NULL) {
            struct ag_answer_flight *gone = f->first[i];

            f->first[i] = gone->next;
            ag_free(gone->waiting);
            ag_free(gone);
        }
    (void)pthread_mutex_destroy(&f->lock);
}

static struct ag_answer_flight **find(struct ag_flights *f, const unsigned char *key)
{
    struct ag_answer_flight **at = &f->first[key[0] % (sizeof(f->first) / sizeof(f->first[0]))];

    while (*at != NULL && memcmp((*at)->key, key, AG_CACHE_KEY_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

static void add_waiting(struct ag_answer_flight *flight, int64_t run_id)
{
    for (size_t i = 0; i < flight->count; i++)
        if (flight->waiting[i] == run_id)
            return;
    if (flight->count == flight->room) {
        size_t room = flight->room == 0 ? 8 : flight->room * 2;
        int64_t *more = ag_realloc(flight->waiting, room * sizeof(*more));

        if (more == NULL)
            return; /* it looks again by itself */
        flight->waiting = more;
        flight->room = room;
    }
    flight->waiting[flight->count++] = run_id;
}

bool ag_flight_lead(struct ag_flights *f, const unsigned char *key, int64_t run_id)
{
    struct ag_answer_flight **at, *flight;
    bool leads = true;

    (void)pthread_mutex_lock(&f->lock);
    at = find(f, key);
    if (*at != NULL) {
        leads = (*at)->leader == run_id;
        if (!leads)
            add_waiting(*at, run_id);
    } else if ((flight = ag_calloc(1, sizeof(*flight))) != NULL) { /* without memory for it others ask too */
        memcpy(flight->key, key, AG_CACHE_KEY_BYTES);
        flight->leader = run_id;
        *at = flight;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return leads;
}

void ag_flight_end(struct ag_flights *f, const unsigned char *key, int64_t run_id, struct agent_engine *wake)
{
    struct ag_answer_flight **at, *flight;

    (void)pthread_mutex_lock(&f->lock);
    at = find(f, key);
    flight = *at != NULL && (*at)->leader == run_id ? *at : NULL;
    if (flight != NULL)
        *at = flight->next;
    (void)pthread_mutex_unlock(&f->lock);
    if (flight == NULL)
        return;
    for (size_t i = 0; i < flight->count; i++)
        ag_worker_wake_run(wake, flight->waiting[i]);
    ag_free(flight->waiting);
    ag_free(flight);
}
