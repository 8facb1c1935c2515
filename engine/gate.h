/*
 * A gate: how many may be inside at once, how many may enter in a minute, and who is next.
 * One stands before each model endpoint, one before each tool, one before the engine.
 *
 *      enter ──► room, and tokens, and nobody before us ──► inside ──► leave ──► the next one
 *         └────► waits: high │ normal │ low, first in first out inside a class
 *
 * Rules, cited by number:
 *  (1) Never more than `capacity` are inside (0: any number), and never more than `per_minute`
 *      entered per minute beyond a burst of one second's worth, at least 1 (0: no such limit).
 *  (2) Inside a class the order is that of arrival.
 *  (3) Aging: who has waited `age_ns` counts one class higher, after twice that two. So nobody
 *      waits for ever, however many of a higher class come: who has waited (class) x age_ns, a
 *      low one 2 age_ns = 20 s, is overtaken by nobody who comes later, except to the places kept
 *      for class high (5), and goes in as soon as those who came before it have.
 *  (4) A hold (Retry-After) lets nobody in before its time is over.
 *  (5) A tenth of the capacity, at least one place where there are ten, is for class high alone: what
 *      of it high ones do not use stays free. Who has waited long does not get it either, or a crowd
 *      that is always in line would have all places for itself.
 *  (6) While somebody waits for time alone (a token, the end of a hold), whoever touched the gate
 *      last was told when to call ag_gate_tick(): one timer stands for all who wait.
 *
 * The arithmetic is pure: time is given. The lock makes it callable from every worker; `granted`
 * is called under no lock, once, on the thread that made room.
 */
#ifndef AG_ENGINE_GATE_H
#define AG_ENGINE_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AG_GATE_CLASSES 3
#define AG_GATE_AGE_NS  INT64_C(10000000000)

struct ag_waiter {
    struct ag_waiter *prev, *next;
    int64_t since_ns;
    uint64_t seq;
    int class; /* 0 high, 1 normal, 2 low */
    bool waiting;
    void (*granted)(struct ag_waiter *w);
};

typedef struct ag_gate {
    pthread_mutex_t lock;
    int64_t capacity, per_minute; /* 0: no limit */
    int64_t age_ns;
    int64_t inside, waiting;
    int64_t high; /* of those inside, of class high */
    double tokens;
    int64_t tokens_at_ns, hold_until_ns;
    uint64_t next_seq;
    struct ag_waiter *first[AG_GATE_CLASSES], *last[AG_GATE_CLASSES];
} ag_gate;

void ag_gate_init(ag_gate *g, int64_t capacity, int64_t per_minute);
void ag_gate_drop(ag_gate *g);
/* Changes the limits; who waits is looked at by the next tick. */
void ag_gate_set(ag_gate *g, int64_t capacity, int64_t per_minute);
/* True: inside. False: the waiter is in line and borrowed until granted() or ag_gate_cancel(). All of
 * these may let others in. *out_at is when to tick; 0: nobody waits for time alone. */
bool ag_gate_enter(ag_gate *g, struct ag_waiter *w, int64_t now_ns, int64_t *out_at);
int64_t ag_gate_leave(ag_gate *g, int class, int64_t now_ns); /* class: as it entered */
/* True: it was still waiting and is out of the line. False: it was granted. */
bool ag_gate_cancel(ag_gate *g, struct ag_waiter *w);
int64_t ag_gate_hold(ag_gate *g, int64_t until_ns, int64_t now_ns);
/* When a hold ends; 0: there is none. For who is inside and has not asked yet. */
int64_t ag_gate_held(ag_gate *g, int64_t now_ns);
/* Lets in who may enter by now. */
int64_t ag_gate_tick(ag_gate *g, int64_t now_ns);

#endif
