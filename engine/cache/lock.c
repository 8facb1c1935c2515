/* The lock of a shard; see lock.h. */
#include "engine/cache/lock.h"

#include <time.h>

#define SPINS  64
#define YIELDS 256

static inline void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void ag_lock_wait(struct ag_lock *l)
{
    for (unsigned tries = 0;; tries++) {
        if (tries < SPINS)
            pause_a_little();
        else if (tries < SPINS + YIELDS)
            (void)sched_yield();
        else
            (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL); /* the holder is of a lower priority */
        if (atomic_load_explicit(&l->taken, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&l->taken, 1, memory_order_acquire) == 0) {
            l->contended++;
            return;
        }
    }
}
