/*
 * A cache of nothing: keys are hashes, objects are sizes, one policy decides. What the tuner's
 * shadows are, and what policies are tested and compared with.
 */
#ifndef AG_CACHE_SIM_H
#define AG_CACHE_SIM_H

#include "engine/cache/index.h"
#include "engine/cache/policy.h"

struct ag_sim {
    struct ag_slab slab;
    struct ag_index index;
    struct ag_policy *policy;
    uint64_t capacity, bytes; /* of objects alone */
    uint32_t now;
    uint64_t evictions;
};

bool ag_sim_init(struct ag_sim *s, const struct ag_policy_vt *vt, const struct ag_policy_options *o, uint64_t capacity);
void ag_sim_drop(struct ag_sim *s);
/* One reference; true: a hit. What does not fit, or has no memory, is not kept. */
bool ag_sim_reference(struct ag_sim *s, uint64_t hash, uint32_t bytes, uint8_t rank);
void ag_sim_remove(struct ag_sim *s, uint64_t hash); /* if it is there */
void ag_sim_resize(struct ag_sim *s, uint64_t capacity);
uint32_t ag_sim_find(const struct ag_sim *s, uint64_t hash); /* AG_NO_ENTRY: not resident */
size_t ag_sim_held_bytes(const struct ag_sim *s);

/* Ticks stay below this: owners rebase by half of it. */
#define AG_TICK_LIMIT (UINT32_C(1) << 31)

#endif
