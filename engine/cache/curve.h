/*
 * What half and twice the memory would make of it: three caches of nothing, of half, of all and of
 * twice the capacity, live through a sample of the keys with the policy in force, and count misses.
 *
 *    request ─ hash in the sample? ─► each shadow: hit or miss, worth 2^shift requests
 *
 * How a sample that costs next to nothing stays true:
 *  (1) The sample is of keys, never of requests: of a key in it every request is seen. It begins with
 *      every key and halves where the largest shadow grows past its entries, or where it has cost
 *      enough (LEVEL requests), down to one key in 64.
 *  (2) Misses are counted and divided by the requests that really came in the same time (`found`, told
 *      by the owner): one much-asked key that happens to be in the sample, or not, changes little.
 *  (3) Where so few objects fit that a part of them says nothing, the sample is not halved but rests,
 *      and goes on after 64 times as many requests.
 *
 * Not thread-safe: its owner has a lock for it, taken by the sampled requests only.
 */
#ifndef AG_CACHE_CURVE_H
#define AG_CACHE_CURVE_H

#include <stdatomic.h>

#include "engine/cache/policy.h"
#include "engine/cache/sim.h"

#define AG_CURVE_POINTS 3 /* half, one, twice */

struct ag_curve {
    struct ag_sim shadows[AG_CURVE_POINTS];
    uint64_t misses[AG_CURVE_POINTS]; /* in requests */
    const struct ag_policy_vt *policy;
    struct ag_policy_options options;
    struct ag_policy_mode mode;
    bool has_mode, is_idle, rests;
    uint64_t capacity;
    uint32_t most_entries, seen;
    unsigned shift;
    uint64_t found, found_at; /* requests in all that the misses are of; the owner's count up to which */
    uint64_t mask;            /* a hash is sampled when hash >> 20 & mask == 0 */
};

/* `budget` of memory bounds its entries; too little, or a policy that keeps nothing: it is idle. False:
 * out of memory, and idle. */
bool ag_curve_init(struct ag_curve *c, const struct ag_policy_vt *policy, const struct ag_policy_options *o,
                   uint64_t capacity, uint64_t budget);
void ag_curve_drop(struct ag_curve *c);
/* Another capacity: begins anew, with the owner's count of now. */
void ag_curve_resize(struct ag_curve *c, uint64_t capacity, uint64_t budget, uint64_t found);
void ag_curve_set_mode(struct ag_curve *c, struct ag_policy_mode mode);

/* A sampled request. True: ag_curve_settle() is due. */
bool ag_curve_reference(struct ag_curve *c, uint64_t hash, uint8_t kind, uint32_t bytes, uint8_t rank);
/* `found`: requests in all that found something. Ends a rest where `resume`. */
void ag_curve_settle(struct ag_curve *c, uint64_t found, bool resume);
void ag_curve_remove(struct ag_curve *c, uint64_t hash);
void ag_curve_clear(struct ag_curve *c, unsigned kind, unsigned any); /* kind == any: everything */

/* Shares of misses among requests that find something, at each point. False: nothing is known. */
bool ag_curve_read(const struct ag_curve *c, double out_misses[AG_CURVE_POINTS]);
size_t ag_curve_most_bytes(uint64_t budget);
size_t ag_curve_held_bytes(const struct ag_curve *c);

#endif
