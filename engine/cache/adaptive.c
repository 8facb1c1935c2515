/*
 * lruk-adaptive: LRU-K with a ghost history, a handicap for the not yet hot that adapts, and size
 * classes. The default.
 *
 *             rank 0    rank 1   …   rank 63        a rank: half an octave of bytes by reload cost
 *    cold:    [list]    [list]       [list]         fewer than K references known, by the latest
 *    hot:     [heap]    [heap]       [heap]         K known, by the K-th latest, lazily
 *
 *    victim     the largest  age / references x bytes / cost  of all tops; of a cold one times the handicap
 *    handicap   a key comes back that was evicted cold: less; one that was evicted hot: more
 *
 * Textbook LRU-2 is an infinite handicap: it evicts what was seen once before anything else, so a
 * new turn of a conversation is thrown out before its first re-read (92 % misses where LRU has
 * 30 %). With the handicap near 1 it is nearly LRU, so the ghost's hits decide how much is right. One
 * order for all sizes and both sides was better than a target in bytes for the cold side (ARC's
 * way), which lets a few large objects that were read twice keep out many small ones.
 *
 * The mode can change while it runs: every node keeps three times whatever K is. In the strict mode
 * 31 of 32 newcomers stand at the very end of the queue unless they come back sooner than the
 * next to go has been away (LIRS's comparison): a loop larger than the cache, or a scan, then leaves
 * nearly all of it alone. On pure loops that is within .01 of the optimum where LRU-2 has nothing.
 *
 * Invariants:
 *  (1) A node is cold or hot by hist[k - 1] == 0 of the mode in force, and in the containers of its rank.
 *  (2) Every hot node has an item in its rank's heap with a key that is at most its hist[k - 1].
 *  (3) The counts and the set of ranks in use are those of the nodes.
 *  (4) Every heap has room for all entries of its rank: a hit that makes one hot allocates nothing.
 */
#include "engine/cache/policy.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/cache/ghost.h"
#include "engine/cache/heap.h"

struct rank {
    struct ag_list cold;
    struct ag_heap hot;
    uint32_t entries; /* cold and hot */
};

struct adaptive {
    struct ag_policy base;
    struct ag_policy_mode mode;
    struct ag_ghost ghost;
    uint32_t cold_count, hot_count;
    float handicap;
    uint64_t used;      /* set of ranks that have entries */
    uint64_t random;
    uint32_t pending[2]; /* history of the key that is being inserted; 0: none */
    struct rank ranks[AG_RANKS];
};

static struct adaptive *of(struct ag_policy *p)
{
    return (struct adaptive *)p;
}

static struct ag_policy *create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    struct adaptive *a = ag_calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->base = (struct ag_policy){.vt = &ag_policy_adaptive, .slab = slab, .options = *o, .held_bytes = sizeof(*a)};
    a->mode = (struct ag_policy_mode){.k = (uint8_t)(o->k == 0 ? 2 : o->k > 3 ? 3 : o->k)};
    if (o->history_percent == 0)
        a->base.options.history_percent = 50;
    a->handicap = a->base.stats.handicap = 1;
    a->random = UINT64_C(0x9E3779B97F4A7C15);
    for (unsigned i = 0; i < AG_RANKS; i++)
        a->ranks[i].cold = AG_LIST_EMPTY;
    return &a->base;
}

static void destroy(struct ag_policy *p)
{
    struct adaptive *a = of(p);

    for (unsigned i = 0; i < AG_RANKS; i++)
        ag_free(a->ranks[i].hot.items);
    ag_ghost_drop(&a->ghost);
    ag_free(a);
}

static uint32_t ghost_slots(const struct adaptive *a)
{
    uint64_t slots = (uint64_t)(a->cold_count + a->hot_count + 1) * a->base.options.history_percent / 100;

    return slots < 16 ? 16 : slots > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)slots;
}

static size_t need(const struct ag_policy *p, uint8_t rank)
{
    const struct adaptive *a = (const struct adaptive *)p;

    return ag_ghost_need(&a->ghost, ghost_slots(a)) + ag_heap_need(&a->ranks[rank].hot, a->ranks[rank].entries + 1);
}

static uint32_t random_below_32(struct adaptive *a)
{
    a->random ^= a->random << 13;
    a->random ^= a->random >> 7;
    a->random ^= a->random << 17;
    return (uint32_t)(a->random >> 40) & 31;
}

/* In about as many ghost hits as there are entries the handicap goes through its whole range; the
 * hits of the smaller ghost side count more, as in ARC. */
#define HANDICAP_STEP 7.0f
#define HANDICAP_MIN  0.25f
#define HANDICAP_MAX  1024.0f
#define HANDICAP_STRICT 0x1p20f

static void learn(struct adaptive *a, const struct ag_ghost_slot *found)
{
    float cold = (float)a->ghost.cold + 1, hot = (float)a->ghost.hot + 1;
    float step = HANDICAP_STEP / (float)(a->cold_count + a->hot_count + 1);

    if (ag_ghost_was_hot(found)) {
        a->base.stats.ghost_hits_hot++;
        a->handicap *= 1 + step * (cold > hot ? cold / hot : 1);
    } else {
        a->base.stats.ghost_hits_cold++;
        a->handicap /= 1 + step * (hot > cold ? hot / cold : 1);
    }
    a->handicap = a->handicap < HANDICAP_MIN ? HANDICAP_MIN : a->handicap > HANDICAP_MAX ? HANDICAP_MAX : a->handicap;
    a->base.stats.handicap = a->handicap;
}

static bool prepare(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    struct adaptive *a = of(p);
    struct ag_ghost_slot found;
    size_t ghost_held = a->ghost.held_bytes;

    (void)now;
    if (!ag_heap_reserve(&a->ranks[rank].hot, a->ranks[rank].entries + 1, &p->held_bytes))
        return false;
    ag_ghost_grow(&a->ghost, ghost_slots(a));
    p->held_bytes += a->ghost.held_bytes - ghost_held;

    a->pending[0] = a->pending[1] = 0;
    if (ag_ghost_take(&a->ghost, hash, &found)) {
        a->pending[0] = found.hist[0];
        a->pending[1] = found.hist[1];
        learn(a, &found);
    }
    return true;
}

static bool knows(const struct ag_policy *p, uint64_t hash)
{
    return ag_ghost_has(&((const struct adaptive *)p)->ghost, hash);
}

static void note(struct ag_policy *p, uint64_t hash, uint32_t now)
{
    ag_ghost_add(&of(p)->ghost, hash, (uint32_t[2]){now, 0}, now, false);
}

static bool is_hot_item(const struct adaptive *a, uint8_t rank, uint32_t id)
{
    const struct ag_pnode *n = ag_node_at(a->base.slab, id);

    return n->state == AG_NODE_HOT && n->rank == rank;
}

/* Takes the dead items out of a full heap. Marks tell an entry that has two. */
static void sweep(struct adaptive *a, uint8_t rank)
{
    struct ag_heap *h = &a->ranks[rank].hot;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < h->count; i++) {
        uint32_t id = h->items[i].id;
        struct ag_pnode *n = ag_node_at(a->base.slab, id);

        if (!is_hot_item(a, rank, id) || n->mark)
            continue;
        n->mark = 1;
        h->items[kept++] = (struct ag_heap_item){n->hist[a->mode.k - 1], id};
    }
    h->count = kept;
    for (uint32_t i = 0; i < kept; i++)
        ag_node_at(a->base.slab, h->items[i].id)->mark = 0;
    ag_heap_order(h);
}

static void link_hot(struct adaptive *a, uint32_t id, struct ag_pnode *n)
{
    struct ag_heap *h = &a->ranks[n->rank].hot;

    if (h->count == h->room)
        sweep(a, n->rank);
    n->state = AG_NODE_HOT;
    ag_heap_push(h, n->hist[a->mode.k - 1], id);
    a->hot_count++;
}

/* `n->count`: it stands at the end of the queue and goes before all others. */
static void link_cold(struct adaptive *a, uint32_t id, struct ag_pnode *n)
{
    struct ag_list *l = &a->ranks[n->rank].cold;

    n->state = AG_NODE_COLD;
    (n->count > 0 ? ag_list_push_oldest : ag_list_push_newest)(a->base.slab, l, id);
    a->cold_count++;
}

static void unlink_cold(struct adaptive *a, uint32_t id, struct ag_pnode *n)
{
    ag_list_remove(a->base.slab, &a->ranks[n->rank].cold, id);
    a->cold_count--;
}

/* The hot entry of a rank with the smallest K-th reference, or none. */
static uint32_t oldest_hot(struct adaptive *a, uint8_t rank)
{
    struct ag_heap *h = &a->ranks[rank].hot;

    while (h->count > 0) {
        uint32_t id = h->items[0].id, key;

        if (!is_hot_item(a, rank, id)) {
            ag_heap_pop(h);
            continue;
        }
        key = ag_node_at(a->base.slab, id)->hist[a->mode.k - 1];
        if (h->items[0].key == key)
            return id;
        a->base.stats.repairs++;
        ag_heap_raise_root(h, key);
    }
    return AG_NO_ENTRY;
}

/*
 * Strict mode: a key that comes back takes a place only where the pause since it was here last is
 * shorter than the one its rival, the next to go of its rank, has made so far. In a loop no resident
 * has been away for as long as a key that comes back, though each was read twice longer ago.
 */
static bool deserves_a_place(struct adaptive *a, const struct ag_pnode *n)
{
    uint32_t rival = oldest_hot(a, n->rank);

    if (rival == AG_NO_ENTRY)
        rival = a->ranks[n->rank].cold.oldest;
    return n->hist[1] != 0 && (rival == AG_NO_ENTRY || n->hist[1] > ag_node_at(a->base.slab, rival)->hist[0]);
}

static void insert(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct adaptive *a = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    n->hist[0] = n->last = now;
    n->hist[1] = a->pending[0];
    n->hist[2] = a->pending[1];
    a->ranks[n->rank].entries++;
    a->used |= UINT64_C(1) << n->rank;
    if (a->mode.strict && !deserves_a_place(a, n) && random_below_32(a) != 0) {
        n->hist[1] = n->hist[2] = 0;
        n->count = 1;
    }
    if (n->hist[a->mode.k - 1] != 0)
        link_hot(a, id, n);
    else
        link_cold(a, id, n);
}

static void hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct adaptive *a = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    if (p->options.crp != 0 && now - n->last <= p->options.crp) {
        n->last = now;
        return;
    }
    n->last = now;
    n->hist[2] = n->hist[1];
    n->hist[1] = n->hist[0];
    n->hist[0] = now;
    if (n->state != AG_NODE_COLD)
        return;
    unlink_cold(a, id, n);
    n->count = 0;
    if (n->hist[a->mode.k - 1] != 0)
        link_hot(a, id, n);
    else
        link_cold(a, id, n);
}

/* Age by reference known: what a hot entry's K-th reference is worth beside a single one. */
static float score(const struct ag_pnode *n, uint32_t now, unsigned references)
{
    return (float)(now - n->hist[references - 1]) / (float)references * ag_rank_weight[n->rank];
}

static uint32_t victim(struct ag_policy *p, uint32_t now)
{
    struct adaptive *a = of(p);
    float handicap = a->mode.strict ? HANDICAP_STRICT : a->handicap;
    uint32_t worst = AG_NO_ENTRY;
    float worst_score = -1;

    for (uint64_t left = a->used; left != 0; left &= left - 1) {
        unsigned rank = (unsigned)__builtin_ctzll(left);
        uint32_t id = a->ranks[rank].cold.oldest;

        if (id != AG_NO_ENTRY) {
            const struct ag_pnode *n = ag_node_at(p->slab, id);
            float s = score(n, now, n->hist[1] != 0 ? 2 : 1) * handicap;

            if (n->count > 0)
                return id;
            if (s > worst_score) {
                worst_score = s;
                worst = id;
            }
        }
        if ((id = oldest_hot(a, (uint8_t)rank)) != AG_NO_ENTRY) {
            float s = score(ag_node_at(p->slab, id), now, a->mode.k);

            if (s > worst_score) {
                worst_score = s;
                worst = id;
            }
        }
    }
    return worst;
}

static void leave(struct ag_policy *p, uint32_t id, uint64_t hash, uint32_t now, enum ag_gone why)
{
    struct adaptive *a = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);
    struct rank *r = &a->ranks[n->rank];
    bool was_hot = n->state == AG_NODE_HOT;

    if (was_hot)
        a->hot_count--;
    else
        unlink_cold(a, id, n);
    n->state = AG_NODE_FREE; /* its item in the heap is dead from here on */
    if (--r->entries == 0)
        a->used &= ~(UINT64_C(1) << n->rank);
    if (why == AG_GONE_EVICTED)
        ag_ghost_add(&a->ghost, hash, n->hist, now, was_hot);
}

static void rebase(struct ag_policy *p, uint32_t delta)
{
    struct adaptive *a = of(p);

    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        for (unsigned i = 0; i < 3; i++)
            if (n->hist[i] != 0)
                n->hist[i] = n->hist[i] > delta ? n->hist[i] - delta : 1;
        n->last = n->last > delta ? n->last - delta : 1;
    }
    for (unsigned i = 0; i < AG_RANKS; i++)
        ag_heap_rebase(&a->ranks[i].hot, delta);
    ag_ghost_rebase(&a->ghost, delta);
}

/* Sorts everybody anew. The heaps, which have room for all, sort the cold ones first. */
static void set_mode(struct ag_policy *p, struct ag_policy_mode mode)
{
    struct adaptive *a = of(p);

    bool same_k = mode.k == a->mode.k;

    assert(mode.k >= 1 && mode.k <= 3);
    a->mode = mode;
    if (same_k)
        return;
    for (unsigned i = 0; i < AG_RANKS; i++) {
        a->ranks[i].cold = AG_LIST_EMPTY;
        a->ranks[i].hot.count = 0;
    }
    a->cold_count = a->hot_count = 0;
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        if ((n->state == AG_NODE_COLD || n->state == AG_NODE_HOT) && n->hist[mode.k - 1] == 0)
            ag_heap_push(&a->ranks[n->rank].hot, n->hist[0], id);
    }
    for (unsigned i = 0; i < AG_RANKS; i++)
        for (struct ag_heap *h = &a->ranks[i].hot; h->count > 0; ag_heap_pop(h)) {
            ag_node_at(p->slab, h->items[0].id)->count = 0;
            link_cold(a, h->items[0].id, ag_node_at(p->slab, h->items[0].id));
        }
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        if ((n->state == AG_NODE_COLD || n->state == AG_NODE_HOT) && n->hist[mode.k - 1] != 0)
            link_hot(a, id, n);
    }
}

static const char *check_rank(const struct adaptive *a, uint8_t rank, uint32_t *cold)
{
    const struct rank *r = &a->ranks[rank];
    uint32_t before = AG_NO_ENTRY;

    for (uint32_t id = r->cold.newest; id != AG_NO_ENTRY; before = id, id = ag_node_at(a->base.slab, id)->next) {
        const struct ag_pnode *n = ag_node_at(a->base.slab, id);

        if (n->state != AG_NODE_COLD || n->rank != rank || n->prev != before)
            return "a cold list is broken";
        ++*cold;
    }
    if (r->cold.oldest != before)
        return "a cold list does not end at its oldest";
    if (!ag_heap_is_ordered(&r->hot))
        return "a heap is not ordered";
    if ((a->used >> rank & 1) != (r->entries > 0))
        return "(3) the set of ranks in use is wrong";
    if (r->hot.room < r->entries)
        return "(4) a heap has no room for all of its rank";
    for (uint32_t i = 0; i < r->hot.count; i++)
        if (is_hot_item(a, rank, r->hot.items[i].id)) {
            struct ag_pnode *n = ag_node_at(a->base.slab, r->hot.items[i].id);

            if (r->hot.items[i].key <= n->hist[a->mode.k - 1])
                n->mark = 1;
        }
    return NULL;
}

static const char *check(const struct ag_policy *p)
{
    const struct adaptive *a = (const struct adaptive *)p;
    uint32_t cold = 0, hot = 0;
    const char *broken = NULL;

    for (unsigned i = 0; i < AG_RANKS && broken == NULL; i++)
        broken = check_rank(a, (uint8_t)i, &cold);
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);
        bool is_listed = n->mark != 0;

        n->mark = 0;
        if (n->state == AG_NODE_HOT) {
            hot++;
            if (!is_listed)
                broken = "(2) a hot entry has no item that bounds it";
        }
        if ((n->state == AG_NODE_HOT || n->state == AG_NODE_COLD) &&
            (n->state == AG_NODE_HOT) != (n->hist[a->mode.k - 1] != 0))
            broken = "(1) an entry is on the wrong side";
    }
    if (broken == NULL && (cold != a->cold_count || hot != a->hot_count))
        broken = "(3) the counts are wrong";
    return broken;
}

const struct ag_policy_vt ag_policy_adaptive = {
    .name = "lruk-adaptive",
    .about = "LRU-K with ghost history, adaptive handicap and size classes; chooses its K while it runs",
    .create = create,
    .destroy = destroy,
    .need = need,
    .prepare = prepare,
    .knows = knows,
    .note = note,
    .insert = insert,
    .hit = hit,
    .victim = victim,
    .remove = leave,
    .rebase = rebase,
    .set_mode = set_mode,
    .check = check,
    .has_plain_hits = true,
};
