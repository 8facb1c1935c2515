/*
 * GreedyDual-Size-Frequency: the smallest of  L + references x cost / bytes  goes, and L becomes
 * what it was. The strongest of the known policies on objects of mixed sizes that has no history;
 * to compare with.
 *
 * The priority is a double in the node (hist[0..1]); the lazy heap orders by the bits of its float,
 * rounded down, which are in the order of the numbers as all are positive. When L has become large
 * it is subtracted from everybody, so that small differences are not rounded away.
 */
#include "engine/cache/policy.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/heap.h"

#define L_LIMIT 10000.0 /* in units of the first entry's worth */

struct gdsf {
    struct ag_policy base;
    struct ag_heap heap;
    uint32_t residents;
    double level; /* L */
    double unit;  /* makes the first entry worth 1 */
};

static struct gdsf *of(struct ag_policy *p)
{
    return (struct gdsf *)p;
}

static struct ag_policy *create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    struct gdsf *g = ag_calloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->base = (struct ag_policy){.vt = &ag_policy_gdsf, .slab = slab, .options = *o, .held_bytes = sizeof(*g)};
    return &g->base;
}

static void destroy(struct ag_policy *p)
{
    ag_free(of(p)->heap.items);
    ag_free(p);
}

static size_t need(const struct ag_policy *p, uint8_t rank)
{
    const struct gdsf *g = (const struct gdsf *)p;

    (void)rank;
    return ag_heap_need(&g->heap, g->residents + 1);
}

static bool prepare(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    (void)hash, (void)rank, (void)now;
    return ag_heap_reserve(&of(p)->heap, of(p)->residents + 1, &p->held_bytes);
}

static double priority(const struct ag_pnode *n)
{
    double h;

    memcpy(&h, n->hist, sizeof(h));
    return h;
}

static uint32_t key_of(const struct ag_pnode *n)
{
    double h = priority(n);
    float f = (float)h;
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return (double)f > h && bits > 0 ? bits - 1 : bits;
}

static void set_priority(struct gdsf *g, struct ag_pnode *n)
{
    double h = g->level + n->count * g->unit / (double)ag_rank_weight[n->rank];

    memcpy(n->hist, &h, sizeof(h));
}

static void rebuild(struct gdsf *g)
{
    g->heap.count = 0;
    for (uint32_t id = 0; id < ag_slab_limit(g->base.slab); id++) {
        const struct ag_pnode *n = ag_node_at(g->base.slab, id);

        if (n->state == AG_NODE_HOT)
            g->heap.items[g->heap.count++] = (struct ag_heap_item){key_of(n), id};
    }
    ag_heap_order(&g->heap);
}

static void insert(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct gdsf *g = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    if (g->unit <= 0)
        g->unit = (double)ag_rank_weight[n->rank];
    n->last = now;
    n->count = 1;
    set_priority(g, n);
    if (g->heap.count == g->heap.room)
        rebuild(g);
    n->state = AG_NODE_HOT;
    ag_heap_push(&g->heap, key_of(n), id);
    g->residents++;
}

static void hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct ag_pnode *n = ag_node_at(p->slab, id);

    n->last = now;
    if (n->count < UINT8_MAX)
        n->count++;
    set_priority(of(p), n);
}

static void lower_all(struct gdsf *g)
{
    for (uint32_t id = 0; id < ag_slab_limit(g->base.slab); id++) {
        struct ag_pnode *n = ag_node_at(g->base.slab, id);
        double h = priority(n) - g->level;

        if (n->state == AG_NODE_HOT)
            memcpy(n->hist, &h, sizeof(h));
    }
    g->level = 0;
    rebuild(g);
}

static uint32_t victim(struct ag_policy *p, uint32_t now)
{
    struct gdsf *g = of(p);

    (void)now;
    if (g->level > L_LIMIT)
        lower_all(g);
    while (g->heap.count > 0) {
        uint32_t id = g->heap.items[0].id;
        const struct ag_pnode *n = ag_node_at(p->slab, id);

        if (n->state != AG_NODE_HOT) {
            ag_heap_pop(&g->heap);
        } else if (g->heap.items[0].key != key_of(n)) {
            p->stats.repairs++;
            ag_heap_raise_root(&g->heap, key_of(n));
        } else {
            return id;
        }
    }
    return AG_NO_ENTRY;
}

static void leave(struct ag_policy *p, uint32_t id, uint64_t hash, uint32_t now, enum ag_gone why)
{
    struct gdsf *g = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    (void)hash, (void)now;
    if (why == AG_GONE_EVICTED && priority(n) > g->level)
        g->level = priority(n);
    n->state = AG_NODE_FREE;
    g->residents--;
}

static void rebase(struct ag_policy *p, uint32_t delta)
{
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        n->last = n->last > delta ? n->last - delta : 1;
    }
}

static const char *check(const struct ag_policy *p)
{
    const struct gdsf *g = (const struct gdsf *)p;
    uint32_t seen = 0;
    const char *broken = NULL;

    if (!ag_heap_is_ordered(&g->heap))
        return "the heap is not ordered";
    for (uint32_t i = 0; i < g->heap.count; i++) {
        struct ag_pnode *n = ag_node_at(p->slab, g->heap.items[i].id);

        if (n->state == AG_NODE_HOT && g->heap.items[i].key <= key_of(n))
            n->mark = 1;
    }
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        if (n->state == AG_NODE_HOT && !n->mark)
            broken = "an entry has no item that bounds it";
        n->mark = 0;
        seen += n->state == AG_NODE_HOT;
    }
    return broken == NULL && seen != g->residents ? "the count of residents is wrong" : broken;
}

const struct ag_policy_vt ag_policy_gdsf = {
    .name = "gdsf", .about = "references by size and cost, with aging",
    .create = create, .destroy = destroy, .need = need, .prepare = prepare, .insert = insert, .hit = hit,
    .victim = victim, .remove = leave, .rebase = rebase, .check = check,
};
