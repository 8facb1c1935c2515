/*
 * Which entry goes next: the policies of the front cache, behind one small vtable.
 *
 * A policy is pure: no lock, no I/O, no clock. It is handed the time of each reference (a tick that
 * grows by one per reference, never 0), keeps its knowledge in the nodes of its owner's slab and in
 * memory of its own, and is deterministic. One thread at a time.
 *
 *    reference of a resident   ─► hit(id, now)
 *    reference of another one  ─► victim(now), remove(id, hash, now, AG_GONE_EVICTED)  until there is room
 *                              ─► prepare(hash, rank, now): its history comes out of the ghost
 *                              ─► insert(id, now)
 *
 * Invariants:
 *  (1) hit() allocates nothing: whatever hits may need was reserved by prepare().
 *  (2) held_bytes is what the policy has on the heap, itself included; need() is the most that the
 *      next prepare() may add to it, also for a moment.
 *  (3) A key is resident or in the history, never in both.
 *  (4) victim() names a resident while there is one; it changes no order that is seen from outside.
 */
#ifndef AG_CACHE_POLICY_H
#define AG_CACHE_POLICY_H

#include "engine/base/err.h"
#include "engine/cache/slab.h"

#define AG_RANKS     64
#define AG_LRUK_MAX  4

struct ag_policy_options {
    int k;               /* 1..4, 0: 2 */
    uint32_t crp, rip;   /* in ticks: correlated reference period; retained information, 0: for ever */
    uint32_t history_percent; /* history blocks per 100 residents; 0: the policy's own; UINT32_MAX: no limit */
    bool is_sized;       /* ranks are used: what is large for its cost goes earlier */
};

/* How the adaptive policy behaves; the tuner chooses between these while it runs. */
struct ag_policy_mode {
    uint8_t k;   /* references that make an entry hot: 1 is LRU */
    bool strict; /* most first-seen entries go to the very end of the queue */
};

enum ag_gone {
    AG_GONE_EVICTED, /* its history is worth keeping */
    AG_GONE_DROPPED, /* invalidated, expired: forget it */
};

struct ag_policy_stats {
    uint64_t ghost_hits_cold, ghost_hits_hot;
    float handicap;        /* adaptive: how many times the age of an entry that is not hot counts */
    uint64_t repairs;      /* lazy heap: roots put right */
};

struct ag_policy {
    const struct ag_policy_vt *vt;
    struct ag_slab *slab;
    struct ag_policy_options options;
    size_t held_bytes;
    struct ag_policy_stats stats;
};

struct ag_policy_vt {
    const char *name;
    const char *about; /* one line for people */
    struct ag_policy *(*create)(const struct ag_policy_options *o, struct ag_slab *slab); /* NULL: out of memory */
    void (*destroy)(struct ag_policy *p);
    size_t (*need)(const struct ag_policy *p, uint8_t rank);
    bool (*prepare)(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now); /* false: out of memory */
    /* Whether the history knows a key; and what makes it known. Both NULL where there is no history. */
    bool (*knows)(const struct ag_policy *p, uint64_t hash);
    void (*note)(struct ag_policy *p, uint64_t hash, uint32_t now);
    void (*insert)(struct ag_policy *p, uint32_t id, uint32_t now);
    void (*hit)(struct ag_policy *p, uint32_t id, uint32_t now);
    uint32_t (*victim)(struct ag_policy *p, uint32_t now);
    void (*remove)(struct ag_policy *p, uint32_t id, uint64_t hash, uint32_t now, enum ag_gone why);
    void (*rebase)(struct ag_policy *p, uint32_t delta); /* all times become smaller, none below 1 */
    void (*set_mode)(struct ag_policy *p, struct ag_policy_mode mode); /* NULL where there is one way only */
    /* NULL, or which invariant is broken. Slow: for tests. */
    const char *(*check)(const struct ag_policy *p);
    bool keeps_nothing; /* nothing is ever inserted */
    bool has_plain_hits; /* with crp = 0 a hit of a node that is HOT is ag_pnode_refer(), and nothing else */
};

#define AG_POLICY_DEFAULT "lruk-adaptive"
#define AG_POLICY_HINT    "policies are lruk-adaptive, lruk, lru, fifo, s3fifo, gdsf, none"

extern const struct ag_policy_vt ag_policy_adaptive, ag_policy_lruk, ag_policy_lru, ag_policy_fifo,
    ag_policy_none, ag_policy_s3fifo, ag_policy_gdsf;

/* By name; NULL name: the default. NULL: there is none of this name. */
const struct ag_policy_vt *ag_policy_find(const char *name);
/* All, the default first; NULL ends. Files keep a policy as its place here: append only. */
const struct ag_policy_vt *const *ag_policy_all(void);
#define AG_POLICIES 7
extern const char *const ag_policy_names[AG_POLICIES + 1]; /* in that order; NULL ends */

/*
 * The rank of an object: half octaves of bytes by reload cost. Objects of one rank are worth about
 * the same per byte; between ranks the policy weighs age by this ratio.
 */
uint8_t ag_rank_of(uint64_t bytes, uint64_t cost_ns);
/* The ratio a rank stands for. */
extern const float ag_rank_weight[AG_RANKS];

/* What a reload costs where nobody measured it: one point read of SQLite. */
#define AG_COST_BASE_NS      4000
#define AG_COST_BYTES_PER_NS 4

static inline uint64_t ag_cost_default(uint64_t bytes)
{
    return AG_COST_BASE_NS + bytes / AG_COST_BYTES_PER_NS;
}

#endif
