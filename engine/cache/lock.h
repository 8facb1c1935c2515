/*
 * The lock of a shard: one word, one atomic exchange to take it, one store to give it back. What
 * happens under it is some tens of instructions, never a call-out; who finds it taken spins a
 * little, then gives the processor away, for the holder may have lost its own.
 */
#ifndef AG_CACHE_LOCK_H
#define AG_CACHE_LOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ag_lock {
    atomic_uint taken;
    unsigned contended; /* guarded by itself: how often somebody had to wait */
};

void ag_lock_wait(struct ag_lock *l); /* the slow path */

static inline void ag_lock_take(struct ag_lock *l)
{
    if (atomic_exchange_explicit(&l->taken, 1, memory_order_acquire) != 0)
        ag_lock_wait(l);
}

static inline void ag_lock_give(struct ag_lock *l)
{
    atomic_store_explicit(&l->taken, 0, memory_order_release);
}

#endif
