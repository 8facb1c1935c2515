/*
 * The policies that are lists, to compare with: lru and fifo (one list), s3fifo (two and a ghost),
 * and none, which keeps nothing.
 *
 *    s3fifo:  new ─► small (a tenth) ──read again──► main ──read again──► main
 *                        └─ once only ─► ghost ──comes back──► main
 */
#include "engine/cache/policy.h"

#include "engine/base/mem.h"
#include "engine/cache/ghost.h"

struct lists {
    struct ag_policy base;
    struct ag_list small, main; /* lru, fifo: all is in main */
    uint64_t small_bytes, main_bytes;
    uint32_t residents;
    struct ag_ghost ghost;
    bool is_known; /* the key that is being inserted was in the ghost */
};

static struct lists *of(struct ag_policy *p)
{
    return (struct lists *)p;
}

static struct ag_policy *create(const struct ag_policy_vt *vt, const struct ag_policy_options *o, struct ag_slab *slab)
{
    struct lists *l = ag_calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->base = (struct ag_policy){.vt = vt, .slab = slab, .options = *o, .held_bytes = sizeof(*l)};
    l->small = l->main = AG_LIST_EMPTY;
    return &l->base;
}

static struct ag_policy *lru_create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    return create(&ag_policy_lru, o, slab);
}

static struct ag_policy *fifo_create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    return create(&ag_policy_fifo, o, slab);
}

static struct ag_policy *none_create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    return create(&ag_policy_none, o, slab);
}

static struct ag_policy *s3fifo_create(const struct ag_policy_options *o, struct ag_slab *slab)
{
    return create(&ag_policy_s3fifo, o, slab);
}

static void destroy(struct ag_policy *p)
{
    ag_ghost_drop(&of(p)->ghost);
    ag_free(p);
}

static size_t need_nothing(const struct ag_policy *p, uint8_t rank)
{
    (void)p, (void)rank;
    return 0;
}

static bool prepare_always(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    (void)p, (void)hash, (void)rank, (void)now;
    return true;
}

static bool prepare_never(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    (void)p, (void)hash, (void)rank, (void)now;
    return false;
}

static void insert(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct lists *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    n->last = now;
    n->state = AG_NODE_HOT;
    ag_list_push_newest(p->slab, &l->main, id);
    l->main_bytes += n->bytes;
    l->residents++;
}

static void lru_hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct lists *l = of(p);

    ag_node_at(p->slab, id)->last = now;
    ag_list_remove(p->slab, &l->main, id);
    ag_list_push_newest(p->slab, &l->main, id);
}

static void fifo_hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    ag_node_at(p->slab, id)->last = now;
}

static uint32_t oldest(struct ag_policy *p, uint32_t now)
{
    (void)now;
    return of(p)->main.oldest;
}

static void leave(struct ag_policy *p, uint32_t id, uint64_t hash, uint32_t now, enum ag_gone why)
{
    struct lists *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    if (n->state == AG_NODE_COLD) {
        ag_list_remove(p->slab, &l->small, id);
        l->small_bytes -= n->bytes;
        if (why == AG_GONE_EVICTED)
            ag_ghost_add(&l->ghost, hash, (uint32_t[2]){now, 0}, now, false);
    } else {
        ag_list_remove(p->slab, &l->main, id);
        l->main_bytes -= n->bytes;
    }
    n->state = AG_NODE_FREE;
    l->residents--;
}

static void rebase(struct ag_policy *p, uint32_t delta)
{
    for (uint32_t id = 0; id < ag_slab_limit(p->slab); id++) {
        struct ag_pnode *n = ag_node_at(p->slab, id);

        n->last = n->last > delta ? n->last - delta : 1;
    }
    ag_ghost_rebase(&of(p)->ghost, delta);
}

static size_t s3fifo_need(const struct ag_policy *p, uint8_t rank)
{
    const struct lists *l = (const struct lists *)p;

    (void)rank;
    return ag_ghost_need(&l->ghost, l->residents + 1);
}

static bool s3fifo_prepare(struct ag_policy *p, uint64_t hash, uint8_t rank, uint32_t now)
{
    struct lists *l = of(p);
    struct ag_ghost_slot found;
    size_t held = l->ghost.held_bytes;

    (void)rank, (void)now;
    ag_ghost_grow(&l->ghost, l->residents + 1);
    p->held_bytes += l->ghost.held_bytes - held;
    l->is_known = ag_ghost_take(&l->ghost, hash, &found);
    p->stats.ghost_hits_cold += l->is_known;
    return true;
}

static bool s3fifo_knows(const struct ag_policy *p, uint64_t hash)
{
    return ag_ghost_has(&((const struct lists *)p)->ghost, hash);
}

static void s3fifo_note(struct ag_policy *p, uint64_t hash, uint32_t now)
{
    ag_ghost_add(&of(p)->ghost, hash, (uint32_t[2]){now, 0}, now, false);
}

static void s3fifo_insert(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct lists *l = of(p);
    struct ag_pnode *n = ag_node_at(p->slab, id);

    if (l->is_known) {
        insert(p, id, now);
        return;
    }
    n->last = now;
    n->state = AG_NODE_COLD;
    ag_list_push_newest(p->slab, &l->small, id);
    l->small_bytes += n->bytes;
    l->residents++;
}

static void s3fifo_hit(struct ag_policy *p, uint32_t id, uint32_t now)
{
    struct ag_pnode *n = ag_node_at(p->slab, id);

    n->last = now;
    if (n->count < 3)
        n->count++;
}

static uint32_t s3fifo_victim(struct ag_policy *p, uint32_t now)
{
    struct lists *l = of(p);
    uint32_t id;

    (void)now;
    for (;;) {
        if (l->small.oldest != AG_NO_ENTRY &&
            (l->small_bytes * 10 >= l->small_bytes + l->main_bytes || l->main.oldest == AG_NO_ENTRY)) {
            struct ag_pnode *n = ag_node_at(p->slab, id = l->small.oldest);

            if (n->count == 0)
                return id;
            n->count = 0;
            n->state = AG_NODE_HOT;
            ag_list_remove(p->slab, &l->small, id);
            ag_list_push_newest(p->slab, &l->main, id);
            l->small_bytes -= n->bytes;
            l->main_bytes += n->bytes;
        } else if (l->main.oldest != AG_NO_ENTRY) {
            struct ag_pnode *n = ag_node_at(p->slab, id = l->main.oldest);

            if (n->count == 0)
                return id;
            n->count--;
            ag_list_remove(p->slab, &l->main, id);
            ag_list_push_newest(p->slab, &l->main, id);
        } else {
            return AG_NO_ENTRY;
        }
    }
}

static const char *check_list(const struct ag_policy *p, const struct ag_list *list, uint8_t state, uint32_t *count,
                              uint64_t *bytes)
{
    uint32_t before = AG_NO_ENTRY;

    for (uint32_t id = list->newest; id != AG_NO_ENTRY; before = id, id = ag_node_at(p->slab, id)->next) {
        const struct ag_pnode *n = ag_node_at(p->slab, id);

        if (n->prev != before || n->state != state)
            return "a list is broken";
        ++*count;
        *bytes += n->bytes;
    }
    return list->oldest == before ? NULL : "a list does not end at its oldest";
}

static const char *check(const struct ag_policy *p)
{
    const struct lists *l = (const struct lists *)p;
    uint32_t count = 0;
    uint64_t small_bytes = 0, main_bytes = 0;
    const char *broken = check_list(p, &l->small, AG_NODE_COLD, &count, &small_bytes);

    if (broken == NULL)
        broken = check_list(p, &l->main, AG_NODE_HOT, &count, &main_bytes);
    if (broken == NULL && (count != l->residents || small_bytes != l->small_bytes || main_bytes != l->main_bytes))
        broken = "the sums are wrong";
    return broken;
}

const struct ag_policy_vt ag_policy_lru = {
    .name = "lru", .about = "least recently used goes first",
    .create = lru_create, .destroy = destroy, .need = need_nothing, .prepare = prepare_always,
    .insert = insert, .hit = lru_hit, .victim = oldest, .remove = leave, .rebase = rebase, .check = check,
};

const struct ag_policy_vt ag_policy_fifo = {
    .name = "fifo", .about = "first in goes first",
    .create = fifo_create, .destroy = destroy, .need = need_nothing, .prepare = prepare_always,
    .insert = insert, .hit = fifo_hit, .victim = oldest, .remove = leave, .rebase = rebase, .check = check,
};

const struct ag_policy_vt ag_policy_s3fifo = {
    .name = "s3fifo", .about = "a small queue for what is new, a main queue, a ghost",
    .create = s3fifo_create, .destroy = destroy, .need = s3fifo_need, .prepare = s3fifo_prepare,
    .knows = s3fifo_knows, .note = s3fifo_note,
    .insert = s3fifo_insert, .hit = s3fifo_hit, .victim = s3fifo_victim, .remove = leave, .rebase = rebase,
    .check = check,
};

const struct ag_policy_vt ag_policy_none = {
    .name = "none", .about = "keeps nothing",
    .create = none_create, .destroy = destroy, .need = need_nothing, .prepare = prepare_never,
    .insert = insert, .hit = fifo_hit, .victim = oldest, .remove = leave, .rebase = rebase, .check = check,
    .keeps_nothing = true,
};
