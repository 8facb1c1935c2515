/*
 * Threads of the library and how they wait. Signals belong to the host: none is delivered on a thread of
 * ours, but for those that the thread's own fault raises, which a host's crash reporter wants to see.
 * Waits are by the kernel's monotonic clock: a clock that is set back is no reason to stay.
 */
#ifndef AG_BASE_THREAD_H
#define AG_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

#include "engine/base/clock.h"

/* As pthread_create(): 0, or an errno value. */
int ag_thread_start(pthread_t *out, void *(*fn)(void *), void *arg);

/* A condition for ag_cond_wait_until(); pthread_cond_destroy() ends it. */
void ag_cond_init(pthread_cond_t *cond);
/* As pthread_cond_timedwait(): 0 or ETIMEDOUT. until_ns: of ag_mono_ns(&ag_clock_system). */
int ag_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns);

#endif
