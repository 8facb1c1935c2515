/*
 * The tuner: which mode of the adaptive policy suits this load? Small shadow caches, one for each
 * candidate, live through a sample of the requests in proportion; the one that saves the most
 * reload time is adopted, with some inertia.
 *
 *    request ─ hash in the sample? ─► each shadow: hit or miss ─► epoch ends ─► best score ─► mode
 *
 * The sample begins with every key and halves whenever a shadow grows past its number of entries,
 * so a small cache is simulated whole and a large one by a fraction, in the same bounded memory.
 *
 * Not thread-safe: its owner has a lock for it, taken by the sampled requests only.
 */
#ifndef AG_CACHE_TUNER_H
#define AG_CACHE_TUNER_H

#include <stdatomic.h>

#include "engine/cache/policy.h"
#include "engine/cache/sim.h"

#define AG_TUNER_CANDIDATES 4

struct ag_tuner {
    struct ag_sim shadows[AG_TUNER_CANDIDATES];
    double scores[AG_TUNER_CANDIDATES];
    struct ag_policy_options options; /* of the shadows */
    bool is_idle;            /* the budget has no room for shadows: nothing is sampled, the choice stays */
    uint64_t capacity;       /* of the whole cache, in bytes of objects */
    uint32_t most_entries;   /* of a shadow before the sample halves */
    unsigned shift;          /* one key in 2^shift is sampled */
    uint32_t seen, epoch;    /* sampled requests of this epoch; of an epoch */
    unsigned chosen;         /* index of the candidate in force */
    uint64_t switches;
    atomic_uint_least64_t mask; /* a hash is sampled when hash & mask == 0; read without the lock */
    atomic_uint mode;           /* packed mode in force and its number; read without the lock */
};

extern const struct ag_policy_mode ag_tuner_modes[AG_TUNER_CANDIDATES];

/* `budget` of memory bounds the entries of a shadow; too little (ag_tuner_most_bytes): it is idle. False:
 * out of memory; nothing is held. */
bool ag_tuner_init(struct ag_tuner *t, const struct ag_policy_options *o, uint64_t capacity, uint64_t budget);
void ag_tuner_drop(struct ag_tuner *t);
/* Another capacity and budget; idle where there is no memory for it. */
void ag_tuner_resize(struct ag_tuner *t, uint64_t capacity, uint64_t budget);
/* A sampled request. */
void ag_tuner_reference(struct ag_tuner *t, uint64_t hash, uint32_t bytes, uint8_t rank, uint64_t cost_ns);
/* The most it holds with this budget, whatever comes; 0: it is idle with so little. */
size_t ag_tuner_most_bytes(uint64_t budget);
size_t ag_tuner_held_bytes(const struct ag_tuner *t);

static inline bool ag_tuner_samples(struct ag_tuner *t, uint64_t hash)
{
    return (hash >> 20 & atomic_load_explicit(&t->mask, memory_order_relaxed)) == 0;
}

/* The mode in force as a number that differs from that of any other candidate. */
static inline unsigned ag_tuner_choice(struct ag_tuner *t)
{
    return atomic_load_explicit(&t->mode, memory_order_relaxed);
}

#endif
