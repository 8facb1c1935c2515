/*
 * LRU-K exactly as O'Neil, O'Neil and Weikum, SIGMOD 1993.
 *
 *    HIST(p,1..K)  the K latest uncorrelated references of p; LAST(p) the latest of any kind
 *    reference, t - LAST > CRP    HIST(i) = HIST(i-1) + (LAST - HIST(1)), HIST(1) = LAST = t
 *    reference, t - LAST <= CRP   LAST = t: the same burst, no credit
 *    victim                       the smallest HIST(K) among residents with t - LAST > CRP; where several
 *                                 are unknown (fewer than K references), and on ties, the smallest LAST;
 *                                 where nobody is eligible, the smallest LAST of all
 *    history                      of pages that left: until RIP has passed since their LAST
 *
 *    young [list by LAST] ──CRP passed──► cold [list by LAST]    HIST(K) unknown
 *                                    └──► hot  [lazy heap by HIST(K)]
 *
 * The paper proposes a search tree for the hot ones. HIST(K) never becomes smaller while a page is
 * resident (with the burst's length added, HIST'(2) = LAST >= HIST(2)), so a lazy heap is exact and
 * a hit is two stores. The young list exists only with CRP > 0; it is in order of LAST, so who comes
 * out of it enters the cold list in order of LAST too.
 *
 * Invariants:
 *  (1) A node is YOUNG, COLD (HIST(K) = 0) or HOT (HIST(K) > 0); with CRP = 0 none is YOUNG.
 *  (2) Every hot node has an item in the heap with a key that is at most its HIST(K).
 *  (3) The heap has room for all residents.
 */
#include "engine/cache/policy.h"

#include "engine/base/mem.h"
#include "engine/cache/heap.h"
#include "engine/cache/history.h"

struct lruk {
    struct ag_policy base;
    int k;
    struct ag_list young, cold;
    struct ag_heap hot;
    uint32_t residents;
    struct ag_history history;
    uint32_t pending[AG_LRUK_MAX - 1]; /* HIST(1..K-1) of the page that is being inserted */
};

static struct lruk *of(struct ag_policy *p)
{
    return (struct lruk *)p;
}

static struct ag_policy *create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    struct lruk *l = ag_calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->base = (struct ag_policy){.vt = &ag_policy_lruk, .slab = slab, .options = *o, .held_bytes = sizeof(*l)};
    l->k = o->k == 0 ? 2 : o->k;
    if (o->history_percent == 0)
        l->base.options.history_percent = 100;
    l->young = l->cold = AG_LIST_EMPTY;
    ag_history_init(&l->history, l->k, o->crp > 0);
    return &l->base;
}

static void destroy(struct ag_policy *p)
{
    struct lruk *l = of(p);

    ag_free(l->hot.items);
    ag_history_drop(&l->history);
    ag_free(l);
}

static uint32_t history_limit(const struct lruk *l)
{
    uint64_t blocks;

    if (l->base.options.history_percent == UINT32_MAX)
        return UINT32_MAX;
    blocks = ((uint64_t)l->residents + 1) * l->base.options.history_percent / 100;
    return blocks < UINT32_MAX / 4 ? (uint32_t)blocks : UINT32_MAX / 4;
}

static uint32_t history_room(const struct lruk *l)
{
    return history_limit(l) == UINT32_MAX ? l->history.count + 1 : history_limit(l);
}

static size_t need(const struct ag_policy *p, uint8_t rank)
{
    const struct lruk *l = (const struct lruk *)p;

    (void)rank;
    return ag_heap_need(&l->hot, l->residents + 1) + ag_history_need(&l->history, history_room(l));
}

/* Before it grows the history drops what is too old to be used. */
static bool make_history(struct lruk *l, uint32_t now)
{
    size_t held = l->history.held_bytes;
    uint32_t rip = l->base.options.rip;
    bool ok;

    if (rip != 0 && now > rip && ag_history_need(&l->history, history_room(l)) > 0)
        ag_history_purge(&l->history, now - rip);
    ok = ag_history_reserve(&l->history, history_room(l));
    l->history.limit = history_limit(l);
    l->base.held_bytes += l->history.held_bytes - held;
    return ok;
}

static bool prepare(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    struct lruk *l = of(p);
    uint32_t last;

    (void)rank;
    if (!ag_heap_reserve(&l->hot, l->residents + 1, &p->held_bytes) || !make_history(l, now))
        return false;
    for (int i = 0; i < AG_LRUK_MAX - 1; i++)
        l->pending[i] = 0;
    if (ag_history_take(&l->history, hash, l->pending, &last)) {
        if (p->options.rip == 0 || now - last <= p->options.rip) {
            p->stats.ghost_hits_hot++;
            return true;
        }
        for (int i = 0; i < AG_LRUK_MAX - 1; i++)
            l->pending[i] = 0;
    }
    return true;
}

static bool knows(const struct ag_policy *p, uint64_t hash)
{
    return ag_history_has(&((const struct lruk *)p)->history, hash);
}

static void note(struct ag_policy *p, uint64_t hash, uint32_t now)
{
    struct lruk *l = of(p);
    size_t held = l->history.held_bytes;

    ag_history_add(&l->history, hash, (uint32_t[AG_LRUK_MAX]){now}, now);
    p->held_bytes += l->history.held_bytes - held;
}

static bool is_hot_item(const struct lruk *l, const struct ag_heap_item *item)
{
    return ag_node_at(l->base.slab, item->id)->state == AG_NODE_HOT;
}

static uint32_t hist_k(const struct lruk *l, uint32_t id)
{
    return ag_node_at(l->base.slab, id)->hist[l->k - 1];
}

static void sweep(struct lruk *l)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < l->hot.count; i++) {
        struct ag_pnode *n = ag_node_at(l->base.slab, l->hot.items[i].id);

        if (n->state != AG_NODE_HOT || n->mark)
            continue;
        n->mark = 1;
        l->hot.items[kept++] = (struct ag_heap_item){n->hist[l->k - 1], l->hot.items[i].id};
    }
    l->hot.count = kept;
    for (uint32_t i = 0; i < kept; i++)
        ag_node_at(l->base.slab, l->hot.items[i].id)->mark = 0;
    ag_heap_order(&l->hot);
}

/* An eligible page takes its place by what is known of it. */
static void settle(struct lruk *l, uint32_t id, struct ag_pnode *n)
{
    if (n->hist[l->k - 1] == 0) {
        n->state = AG_NODE_COLD;
        ag_list_push_newest(l->base.slab, &l->cold, id);
        return;
    }
    if (l->hot.count == l->hot.room)
        sweep(l);
    n->state = AG_NODE_HOT;
    ag_heap_push(&l->hot, n->hist[l->k - 1], id);
}

static void place(struct lruk *l, uint32_t id, struct ag_pnode *n)
{
    if (l->base.options.crp == 0) {
        settle(l, id, n);
        return;
    }
    n->state = AG_NODE_YOUNG;
    ag_list_push_newest(l->base.slab, &l->young, id);
}

static void unlink_node(struct lruk *l, uint32_t id, struct ag_pnode *n)
{
    if (n->state == AG_NODE_COLD)
        ag_list_remove(l->base.slab, &l->cold, id);
    else if (n->state == AG_NODE_YOUNG)
        ag_list_remove(l->base.slab, &l->young, id);
    n->state = AG_NODE_FREE; /* hot: its item is dead from here on */
}

static void insert(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct lruk *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    for (int i = 1; i < l->k; i++)
        n->hist[i] = l->pending[i - 1];
    n->hist[0] = n->last = now;
    l->residents++;
    place(l, id, n);
}

static void hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct lruk *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);
    uint32_t crp = p->options.crp;

    if (crp == 0 || now - n->last > crp) {
        uint32_t burst = n->last - n->hist[0];

        for (int i = l->k - 1; i > 0; i--)
            n->hist[i] = n->hist[i - 1] == 0 ? 0 : n->hist[i - 1] + burst;
        n->hist[0] = now;
    }
    n->last = now;
    if (n->state == AG_NODE_HOT && crp == 0)
        return; /* the heap finds out by itself */
    unlink_node(l, id, n);
    place(l, id, n);
}

/* Items with the root's key hang together at the top. Of those that are really that old, the one
 * with the smallest LAST. Ties exist only for K > 2 with CRP > 0. */
static void least_recent_tie(const struct lruk *l, uint32_t at, uint32_t key, uint32_t *best)
{
    uint32_t id;

    if (at >= l->hot.count || l->hot.items[at].key != key)
        return;
    id = l->hot.items[at].id;
    if (is_hot_item(l, &l->hot.items[at]) && hist_k(l, id) == key &&
        ag_node_at(l->base.slab, id)->last < ag_node_at(l->base.slab, *best)->last)
        *best = id;
    least_recent_tie(l, 2 * at + 1, key, best);
    least_recent_tie(l, 2 * at + 2, key, best);
}

static uint32_t victim(struct ag_policy *p, uint32_t now)
{
    struct lruk *l = of(p);
    uint32_t id;

    while ((id = l->young.oldest) != AG_NO_ENTRY && now - ag_node_at(p->slab, id)->last > p->options.crp) {
        unlink_node(l, id, ag_node_at(p->slab, id));
        settle(l, id, ag_node_at(p->slab, id));
    }
    if (l->cold.oldest != AG_NO_ENTRY)
        return l->cold.oldest;
    while (l->hot.count > 0) {
        id = l->hot.items[0].id;
        if (!is_hot_item(l, &l->hot.items[0])) {
            ag_heap_pop(&l->hot);
        } else if (l->hot.items[0].key != hist_k(l, id)) {
            p->stats.repairs++;
            ag_heap_raise_root(&l->hot, hist_k(l, id));
        } else {
            if (p->options.crp > 0 && l->k > 2)
                least_recent_tie(l, 0, l->hot.items[0].key, &id);
            return id;
        }
    }
    return l->young.oldest;
}

static void leave(struct ag_policy *p, uint32_t id, uint64_t hash, uint32_t now, enum ag_gone why)
{
    struct lruk *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    (void)now;
    unlink_node(l, id, n);
    l->residents--;
    if (why == AG_GONE_EVICTED) {
        size_t held = l->history.held_bytes;

        ag_history_add(&l->history, hash, n->hist, n->last);
        p->held_bytes += l->history.held_bytes - held;
    }
}

static void rebase(struct ag_policy *p, uint32_t delta)
{
    struct lruk *l = of(p);

    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        for (int i = 0; i < AG_LRUK_MAX; i++)
            if (n->hist[i] != 0)
                n->hist[i] = n->hist[i] > delta ? n->hist[i] - delta : 1;
        n->last = n->last > delta ? n->last - delta : 1;
    }
    ag_heap_rebase(&l->hot, delta);
    ag_history_rebase(&l->history, delta);
}

static const char *check(const struct ag_policy *p)
{
    const struct lruk *l = (const struct lruk *)p;
    uint32_t seen = 0;
    const char *broken = NULL;

    if (!ag_heap_is_ordered(&l->hot))
        return "the heap is not ordered";
    if (l->hot.room < l->residents)
        return "(3) the heap has no room for all";
    for (uint32_t i = 0; i < l->hot.count; i++)
        if (is_hot_item(l, &l->hot.items[i]) && l->hot.items[i].key <= hist_k(l, l->hot.items[i].id))
            ag_node_at(p->slab, l->hot.items[i].id)->mark = 1;
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        if (n->state == AG_NODE_HOT && !n->mark)
            broken = "(2) a hot entry has no item that bounds it";
        if ((n->state == AG_NODE_HOT && n->hist[l->k - 1] == 0) || (n->state == AG_NODE_COLD && n->hist[l->k - 1] != 0) ||
            (n->state == AG_NODE_YOUNG && p->options.crp == 0))
            broken = "(1) an entry is in the wrong place";
        n->mark = 0;
        seen += n->state == AG_NODE_HOT || n->state == AG_NODE_COLD || n->state == AG_NODE_YOUNG;
    }
    if (broken == NULL && seen != l->residents)
        broken = "the count of residents is wrong";
    return broken;
}

const struct ag_policy_vt ag_policy_lruk = {
    .name = "lruk",
    .about = "LRU-K as published in 1993, with the history of evicted keys",
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
    .check = check,
    .has_plain_hits = true,
};
