/*
 * The entries of one shard: fixed records of one cache line, named by a 32-bit id, in chunks that
 * never move. Lists, heaps and the index name entries by id: half of a pointer, and no allocation
 * per entry.
 *
 *    id 0x1a3 ─► chunks[0x1a3 / 64] ─► [ 64 entries of 64 bytes ] ─► entry 0x23 of it
 *
 * A key of up to 12 bytes lies in the entry; a longer one is on the heap (struct ag_long_key).
 */
#ifndef AG_CACHE_SLAB_H
#define AG_CACHE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ag_value;

#define AG_NO_ENTRY UINT32_MAX

enum ag_node_state {
    AG_NODE_FREE,
    AG_NODE_COLD,   /* in a list of entries with fewer than K references */
    AG_NODE_HOT,    /* in a heap */
    AG_NODE_YOUNG,  /* referenced within the correlated reference period: in the list of those */
    AG_NODE_DOOMED, /* not the policy's any more: a drop hint put it first in the shard's own list */
};

/* What a policy knows of an entry. Times are ticks of the shard; 0: no such reference. */
struct ag_pnode {
    uint32_t hist[4]; /* the latest uncorrelated references, newest first */
    uint32_t last;    /* the latest reference of any kind */
    uint32_t prev, next;
    uint32_t bytes;   /* what it is charged with: set by the owner before insert */
    uint8_t rank;     /* class of bytes / reload cost: set by the owner before insert */
    uint8_t state;
    uint8_t mark;     /* scratch of the heap's clean-up, else 0 */
    uint8_t count;    /* references counted by policies that count, saturating */
};

/* One more uncorrelated reference, where none is correlated. */
static inline void ag_pnode_refer(struct ag_pnode *n, uint32_t now)
{
    uint64_t two; /* at once, or the compiler makes more of it than it is */

    memcpy(&two, &n->hist[0], sizeof(two));
    n->hist[3] = n->hist[2];
    memcpy(&n->hist[1], &two, sizeof(two));
    n->hist[0] = n->last = now;
}

#define AG_KEY_INLINE 12

struct ag_long_key {
    uint32_t n;
    unsigned char p[];
};

struct ag_entry {
    struct ag_pnode node;
    uint32_t expires; /* in units of the shard's expiry clock; 0: never */
    union {
        struct ag_value *value;
        uint64_t hash; /* in simulations, which have no values and no keys */
    };
    uint16_t credit;   /* references of the value that are taken already and not yet handed out */
    uint8_t key_bytes; /* 0..12: inline; 255: *long_key */
    uint8_t kind;      /* kind in the low bits, flags above */
    unsigned char key[AG_KEY_INLINE];
};

_Static_assert(sizeof(struct ag_entry) == 64, "an entry is one cache line");

#define AG_CHUNK_BITS 6
#define AG_CHUNK      (1u << AG_CHUNK_BITS)

struct ag_slab {
    struct ag_entry **chunks;
    uint32_t chunk_count, chunk_room;
    uint32_t free_head; /* chained by node.next */
    uint32_t used;
    size_t held_bytes;
};

void ag_slab_init(struct ag_slab *s);
void ag_slab_drop(struct ag_slab *s);
/* Bytes that the next take allocates at its peak. */
size_t ag_slab_need(const struct ag_slab *s);
uint32_t ag_slab_take(struct ag_slab *s); /* AG_NO_ENTRY: out of memory. Zeroed but for links. */
void ag_slab_give(struct ag_slab *s, uint32_t id);

static inline struct ag_entry *ag_slab_at(const struct ag_slab *s, uint32_t id)
{
    return &s->chunks[id >> AG_CHUNK_BITS][id & (AG_CHUNK - 1)];
}

static inline struct ag_pnode *ag_node_at(const struct ag_slab *s, uint32_t id)
{
    return &ag_slab_at(s, id)->node;
}

/* Ids run from 0 to this; free ones have state AG_NODE_FREE. */
static inline uint32_t ag_slab_limit(const struct ag_slab *s)
{
    return s->chunk_count * AG_CHUNK;
}

/* A doubly linked list through node.prev (towards newest) and node.next (towards oldest). */
struct ag_list {
    uint32_t newest, oldest;
};

#define AG_LIST_EMPTY ((struct ag_list){AG_NO_ENTRY, AG_NO_ENTRY})

static inline void ag_list_push_newest(const struct ag_slab *s, struct ag_list *l, uint32_t id)
{
    struct ag_pnode *n = ag_node_at(s, id);

    n->prev = AG_NO_ENTRY;
    n->next = l->newest;
    *(l->newest != AG_NO_ENTRY ? &ag_node_at(s, l->newest)->prev : &l->oldest) = id;
    l->newest = id;
}

static inline void ag_list_push_oldest(const struct ag_slab *s, struct ag_list *l, uint32_t id)
{
    struct ag_pnode *n = ag_node_at(s, id);

    n->next = AG_NO_ENTRY;
    n->prev = l->oldest;
    *(l->oldest != AG_NO_ENTRY ? &ag_node_at(s, l->oldest)->next : &l->newest) = id;
    l->oldest = id;
}

static inline void ag_list_remove(const struct ag_slab *s, struct ag_list *l, uint32_t id)
{
    struct ag_pnode *n = ag_node_at(s, id);

    *(n->prev != AG_NO_ENTRY ? &ag_node_at(s, n->prev)->next : &l->newest) = n->next;
    *(n->next != AG_NO_ENTRY ? &ag_node_at(s, n->next)->prev : &l->oldest) = n->prev;
}

#endif
