/*
 * A disk on which this process dies at a chosen call: killed, or with the power gone.
 *
 *     write ─┐
 *     truncate ─► the N-th call of all files: before it, in the middle of it, after it
 *     sync   ─┤        │                       │
 *     delete ─┘     SIGKILL               power loss: of what no sync covers a part is lost,
 *                   (all that was         sector by sector, then SIGKILL
 *                   written stays)
 *
 * For a process of its own: a test forks, calls crash_disk_begin() and then opens an engine.
 *
 *  (1) What was synced before the loss is there after it; of the rest any subset may be, torn at
 *      sectors, in any order. The same seed loses the same.
 *  (2) No sync reaches the real disk: a process that is killed loses nothing without it either, and
 *      a test that syncs thousands of times would wait for a disk it does not look at.
 *  (3) The -shm is left as it stands: after a power cut nobody may believe it.
 */
#ifndef AG_TESTS_CRASH_DISK_H
#define AG_TESTS_CRASH_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum crash_moment { CRASH_BEFORE, CRASH_HALF, CRASH_AFTER, CRASH_MOMENTS };

struct crash_plan {
    long at; /* the call, from 1; 0: never */
    enum crash_moment moment; /* CRASH_HALF: half of a write's bytes are written; else as before */
    bool power;
    uint64_t seed; /* what a power loss takes */
};

/* From here on every file is opened through it. */
void crash_disk_begin(const struct crash_plan *plan);
long crash_disk_calls(void);

/* splitmix64, for all that is chosen by a seed. */
uint64_t crash_random(uint64_t *state);
const char *crash_moment_name(enum crash_moment moment);

#endif
