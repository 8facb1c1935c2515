/*
 * One shard of the front cache: entries, index, policy and budget under one lock.
 *
 *    key ─ hash ─► index ─► entry [policy's node | expiry | value | key]
 *                              └► policy: who goes next     └► expiry heap: who is over
 *
 * Invariants (ag_shard_check):
 *  (1) held bytes = fixed + slab + index + policy + expiry heap + sum of charges + what malloc loses
 *      around them, and <= budget at every instant: room is made, and what was evicted is given back,
 *      before anything comes in.
 *  (2) Every resident is found by its key, once, and is in the policy's or the doomed list.
 *  (3) No call-out under the lock: values are put after it was given back.
 *  (4) A fill is kept only when its lease is the write counter of its bucket: whatever invalidates
 *      a key counts first, then removes.
 */
#ifndef AG_CACHE_SHARD_H
#define AG_CACHE_SHARD_H

#include <pthread.h>

#include "engine/cache/front_cache.h"
#include "engine/cache/heap.h"
#include "engine/cache/index.h"
#include "engine/cache/lock.h"
#include "engine/cache/policy.h"
#include "engine/cache/tuner.h"

#define AG_KEY_BYTES_MAX 65535
#define AG_WRITE_BUCKETS 64
#define AG_GRAVES        32  /* values evicted in one go, before the lock is given back */

/* entry.kind: kind in the low bits and */
#define AG_ENTRY_NEGATIVE 0x80u
#define AG_ENTRY_KIND(e)  ((e)->kind & 0x0Fu)

struct ag_flight;

struct ag_shard {
    struct ag_lock lock;
    uint32_t tick;
    unsigned choice;       /* the tuner's, as this shard has it */
    bool keeps_nothing;
    bool object_bytes_only;
    struct ag_slab slab;
    struct ag_index index;
    struct ag_policy *policy;
    void (*hit)(struct ag_policy *p, uint32_t id, uint32_t now); /* the policy's own, one load nearer */
    int64_t budget;
    uint64_t entry_bytes;  /* charges of all entries */
    size_t fixed_bytes;
    struct ag_list doomed;
    struct ag_heap expiry; /* by expiry; an item is dead when its entry expires at another time */
    uint32_t expiring;     /* entries that expire */
    size_t expiry_bytes;
    struct ag_flight *flights;
    float cost_ratio[AG_CACHE_KIND_LIMIT]; /* measured load time by the default cost; 0: nothing measured */
    struct ag_cache_counts counts[AG_CACHE_KIND_LIMIT];
    uint64_t writes[AG_WRITE_BUCKETS];
    pthread_mutex_t wait_lock; /* of `landed`; never with `lock` */
    pthread_cond_t landed;
} __attribute__((aligned(64)));

/* A key as the shard sees it. */
struct ag_probe {
    const unsigned char *key;
    size_t n;
    uint64_t hash;
    uint8_t kind;
};

struct ag_graves {
    struct ag_value *values[AG_GRAVES];
    unsigned count;
};

static inline void ag_graves_put(struct ag_graves *g)
{
    while (g->count > 0)
        ag_value_put(g->values[--g->count]);
}

struct ag_shard_fill {
    struct ag_value *value;
    uint64_t lease;
    bool is_negative, is_second_only;
    uint32_t expires;
    uint64_t cost_ns;  /* 0: by the kind's ratio */
};

bool ag_shard_init(struct ag_shard *s, const struct ag_policy_vt *vt, const struct ag_policy_options *o,
                   int64_t budget, bool object_bytes_only);
void ag_shard_drop(struct ag_shard *s);

/* Under the lock, all of these: */
static inline size_t ag_shard_metadata(const struct ag_shard *s)
{
    return s->fixed_bytes + s->slab.held_bytes + s->index.held_bytes + s->expiry_bytes +
           s->policy->held_bytes;
}

/*
 * What malloc takes for values besides what it says of them: 8 bytes before each, and the holes between
 * objects of many sizes that come and go, about a sixteenth of 100 MB of them. Half of that is counted, as
 * smaller and more even caches have less; the rest is within the 5 percent that RSS may be over the budget.
 */
#define AG_MALLOC_HEAD 8
#define AG_MALLOC_LOSS 32

static inline uint64_t ag_shard_loss(const struct ag_shard *s)
{
    return s->object_bytes_only ? 0 : s->entry_bytes / AG_MALLOC_LOSS + (uint64_t)s->slab.used * AG_MALLOC_HEAD;
}

static inline uint64_t ag_shard_held(const struct ag_shard *s)
{
    return s->entry_bytes + ag_shard_loss(s) + (s->object_bytes_only ? 0 : ag_shard_metadata(s));
}

static inline uint64_t *ag_shard_writes(struct ag_shard *s, uint64_t hash)
{
    return &s->writes[hash >> 8 & (AG_WRITE_BUCKETS - 1)];
}

bool ag_shard_same_long_key(const struct ag_entry *e, const unsigned char *key, size_t n);

static inline uint32_t ag_shard_find(const struct ag_shard *s, const struct ag_probe *p)
{
    uint32_t at = ag_index_first(&s->index, p->hash), id;

    while ((id = ag_index_next(&s->index, p->hash, &at)) != AG_NO_ENTRY) {
        const struct ag_entry *e = ag_slab_at(&s->slab, id);

        if (AG_ENTRY_KIND(e) != p->kind)
            continue;
        if (p->n == sizeof(uint64_t) /* ids: the most of them, compared without a call */
                ? e->key_bytes == sizeof(uint64_t) && memcmp(e->key, p->key, sizeof(uint64_t)) == 0
                : p->n <= AG_KEY_INLINE ? e->key_bytes == p->n && memcmp(e->key, p->key, p->n) == 0
                                        : ag_shard_same_long_key(e, p->key, p->n))
            return id;
    }
    return AG_NO_ENTRY;
}

/*
 * A reference for a reader. The entry takes many at once and hands them out from its own line: the
 * value's line is touched, by an atomic instruction that waits for it, once in so many hits.
 */
#define AG_CREDIT 256

static inline struct ag_value *ag_shard_pin(struct ag_entry *e)
{
    if (e->credit == 0) {
        atomic_fetch_add_explicit(&e->value->refs, AG_CREDIT, memory_order_relaxed);
        e->credit = AG_CREDIT;
    }
    e->credit--;
    return e->value;
}

/* The same for keys that are ids, where the entry is no negative one; the entry itself. */
static inline struct ag_entry *ag_shard_find_id(const struct ag_shard *s, uint64_t hash, uint64_t key, uint8_t kind)
{
    const struct ag_slot *slots = s->index.slots;
    uint32_t mask = s->index.mask, at = (uint32_t)hash & mask;

    for (;; at = (at + 1) & mask) {
        struct ag_entry *e;

        if (slots[at].id_plus_1 == 0)
            return NULL;
        if (slots[at].hash != (uint32_t)hash)
            continue;
        e = ag_slab_at(&s->slab, slots[at].id_plus_1 - 1);
        if (e->kind == kind && e->key_bytes == sizeof(key) && memcmp(e->key, &key, sizeof(key)) == 0)
            return e;
    }
}

/* Whether a hit of it is ag_pnode_refer() and a credit, and nothing else, where the policy has such. */
static inline bool ag_shard_is_plain(const struct ag_shard *s, const struct ag_entry *e)
{
    return e->node.state == AG_NODE_HOT && e->expires == 0 && e->credit > 0 && s->tick < AG_TICK_LIMIT - 1;
}

/* The next tick; rebases all times when they come to their end. */
uint32_t ag_shard_rebase(struct ag_shard *s);

static inline uint32_t ag_shard_tick(struct ag_shard *s)
{
    return ++s->tick < AG_TICK_LIMIT ? s->tick : ag_shard_rebase(s);
}

/* A hit that is no plain one: the entry was hinted to go. */
void ag_shard_revive(struct ag_shard *s, uint32_t id, uint64_t hash);
/* Takes an entry out and hands its value over. */
struct ag_value *ag_shard_take(struct ag_shard *s, uint32_t id, uint64_t hash, enum ag_gone why);
void ag_shard_doom(struct ag_shard *s, uint32_t id, uint64_t hash);
/* The hash of an entry's key, for those that come from a list. */
uint64_t ag_shard_hash(const struct ag_shard *s, uint32_t id);
/* Copies the key and size of an entry; false: the key is too long for it. */
bool ag_shard_key(const struct ag_shard *s, uint32_t id, struct ag_cache_hot *out);
/* Evicts until `room` more bytes fit or the graves are full; false: there is nobody left to evict. */
bool ag_shard_make_room(struct ag_shard *s, uint64_t room, uint32_t now, struct ag_graves *graves);
void ag_shard_set_mode(struct ag_shard *s, unsigned choice);

/* Takes and gives back the lock itself. Whether it was kept. `now`: of the expiry clock. */
bool ag_shard_fill(struct ag_shard *s, const struct ag_probe *p, const struct ag_shard_fill *fill, uint32_t now,
                   unsigned choice);
/* Removes all entries of a kind (AG_CACHE_KIND_LIMIT: of all) whose key begins with a prefix (NULL: any),
 * and counts as a write of everything. Returns how many there were. */
uint64_t ag_shard_clear(struct ag_shard *s, unsigned kind, const unsigned char *prefix, size_t n);
/* Another budget. Structures that would take too much of a smaller one are made anew. */
void ag_shard_resize(struct ag_shard *s, int64_t budget, uint32_t now);

const char *ag_shard_check(struct ag_shard *s);

#endif
