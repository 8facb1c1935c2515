/* One shard of the front cache; see shard.h. */
#include "engine/cache/shard.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/hash.h"

/* A shard with less than this keeps nothing: its tables alone would take it. */
#define BUDGET_MIN 16384
/* One object may take this part of its shard. */
#define SHARE_MAX 8

static bool build(struct ag_shard *s, const struct ag_policy_vt *vt, const struct ag_policy_options *o)
{
    ag_slab_init(&s->slab);
    s->doomed = AG_LIST_EMPTY;
    if (!ag_index_init(&s->index))
        return false;
    s->policy = vt->create(o, &s->slab);
    if (s->policy == NULL) {
        ag_index_drop(&s->index);
        return false;
    }
    s->hit = vt->hit;
    s->choice = 0;
    return true;
}

static void unbuild(struct ag_shard *s)
{
    if (s->policy != NULL)
        s->policy->vt->destroy(s->policy);
    s->policy = NULL;
    ag_index_drop(&s->index);
    ag_slab_drop(&s->slab);
    ag_free(s->expiry.items);
    s->expiry = (struct ag_heap){0};
    s->expiry_bytes = 0;
    s->expiring = 0;
}

static bool is_too_small(const struct ag_shard *s, int64_t budget)
{
    return budget < (s->object_bytes_only ? 1 : BUDGET_MIN);
}

bool ag_shard_init(struct ag_shard *s, const struct ag_policy_vt *vt, const struct ag_policy_options *o,
                   int64_t budget, bool object_bytes_only)
{
    memset(s, 0, sizeof(*s));
    s->budget = budget;
    s->object_bytes_only = object_bytes_only;
    s->fixed_bytes = sizeof(*s);
    s->keeps_nothing = vt->keeps_nothing || is_too_small(s, budget);
    if (!build(s, vt, o))
        return false;
    pthread_mutex_init(&s->wait_lock, NULL);
    pthread_cond_init(&s->landed, NULL);
    return true;
}

static struct ag_long_key *long_key(const struct ag_entry *e)
{
    struct ag_long_key *k;

    memcpy(&k, e->key, sizeof(k));
    return k;
}

bool ag_shard_same_long_key(const struct ag_entry *e, const unsigned char *key, size_t n)
{
    return e->key_bytes == UINT8_MAX && long_key(e)->n == n && memcmp(long_key(e)->p, key, n) == 0;
}

static size_t key_charge(size_t n)
{
    return n <= AG_KEY_INLINE ? 0 : sizeof(struct ag_long_key) + n;
}

uint64_t ag_shard_hash(const struct ag_shard *s, uint32_t id)
{
    const struct ag_entry *e = ag_slab_at(&s->slab, id);

    return e->key_bytes == UINT8_MAX ? ag_hash_bytes(long_key(e)->p, long_key(e)->n, AG_ENTRY_KIND(e))
                                     : ag_hash_bytes(e->key, e->key_bytes, AG_ENTRY_KIND(e));
}

bool ag_shard_key(const struct ag_shard *s, uint32_t id, struct ag_cache_hot *out)
{
    const struct ag_entry *e = ag_slab_at(&s->slab, id);
    bool is_long = e->key_bytes == UINT8_MAX;
    size_t n = is_long ? long_key(e)->n : e->key_bytes;

    if (n > sizeof(out->key))
        return false;
    out->kind = (enum ag_cache_kind)AG_ENTRY_KIND(e);
    out->key_bytes = n;
    out->bytes = e->node.bytes;
    memcpy(out->key, is_long ? long_key(e)->p : e->key, n);
    return true;
}

uint32_t ag_shard_rebase(struct ag_shard *s)
{
    s->policy->vt->rebase(s->policy, AG_TICK_LIMIT / 2);
    s->tick -= AG_TICK_LIMIT / 2;
    return s->tick;
}

struct ag_value *ag_shard_take(struct ag_shard *s, uint32_t id, uint64_t hash, enum ag_gone why)
{
    struct ag_entry *e = ag_slab_at(&s->slab, id);
    struct ag_value *value = e->value;
    struct ag_cache_counts *counts = &s->counts[AG_ENTRY_KIND(e)];

    /* Not the last: the entry's own stays for who puts the value. */
    if (e->credit > 0)
        atomic_fetch_sub_explicit(&value->refs, e->credit, memory_order_release);
    if (e->node.state == AG_NODE_DOOMED)
        ag_list_remove(&s->slab, &s->doomed, id);
    else
        s->policy->vt->remove(s->policy, id, hash, s->tick, why);
    ag_index_remove(&s->index, hash, id);
    s->entry_bytes -= e->node.bytes;
    s->expiring -= e->expires != 0;
    counts->entries--;
    counts->entry_bytes -= e->node.bytes;
    if (e->key_bytes == UINT8_MAX)
        ag_free(long_key(e));
    ag_slab_give(&s->slab, id);
    return value;
}

void ag_shard_doom(struct ag_shard *s, uint32_t id, uint64_t hash)
{
    struct ag_pnode *n = ag_node_at(&s->slab, id);

    if (n->state == AG_NODE_DOOMED)
        return;
    s->policy->vt->remove(s->policy, id, hash, s->tick, AG_GONE_DROPPED);
    n->state = AG_NODE_DOOMED;
    ag_list_push_newest(&s->slab, &s->doomed, id);
}

void ag_shard_revive(struct ag_shard *s, uint32_t id, uint64_t hash)
{
    struct ag_pnode *n = ag_node_at(&s->slab, id);

    /* Only where that takes no memory: no room can be made for it here. */
    if (s->policy->vt->need(s->policy, n->rank) > 0 || !s->policy->vt->prepare(s->policy, hash, n->rank, s->tick))
        return;
    ag_list_remove(&s->slab, &s->doomed, id);
    memset(n->hist, 0, sizeof(n->hist));
    n->last = 0;
    n->count = 0;
    s->policy->vt->insert(s->policy, id, s->tick);
}

/* The entry that is over for the longest, or none. Dead items go. */
static uint32_t expired(struct ag_shard *s, uint32_t now)
{
    while (s->expiry.count > 0 && s->expiry.items[0].key <= now) {
        uint32_t id = s->expiry.items[0].id;
        const struct ag_entry *e = ag_slab_at(&s->slab, id);

        if (e->node.state != AG_NODE_FREE && e->expires == s->expiry.items[0].key)
            return id;
        ag_heap_pop(&s->expiry);
    }
    return AG_NO_ENTRY;
}

static struct ag_value *evict_one(struct ag_shard *s, uint32_t now)
{
    struct ag_cache_counts *counts;
    uint32_t id;

    if ((id = expired(s, now)) != AG_NO_ENTRY) {
        counts = &s->counts[AG_ENTRY_KIND(ag_slab_at(&s->slab, id))];
        counts->evictions_expired++;
    } else if ((id = s->doomed.oldest) != AG_NO_ENTRY) {
        counts = &s->counts[AG_ENTRY_KIND(ag_slab_at(&s->slab, id))];
        counts->evictions_hinted++;
    } else {
        id = s->policy->vt->victim(s->policy, s->tick);
        counts = &s->counts[AG_ENTRY_KIND(ag_slab_at(&s->slab, id))];
    }
    counts->evictions++;
    return ag_shard_take(s, id, ag_shard_hash(s, id), AG_GONE_EVICTED);
}

bool ag_shard_make_room(struct ag_shard *s, uint64_t room, uint32_t now, struct ag_graves *graves)
{
    while (ag_shard_held(s) + room > (uint64_t)s->budget && graves->count < AG_GRAVES) {
        if (s->slab.used == 0)
            return false;
        graves->values[graves->count++] = evict_one(s, now);
    }
    return true;
}

void ag_shard_set_mode(struct ag_shard *s, unsigned choice)
{
    if (s->policy->vt->set_mode != NULL)
        s->policy->vt->set_mode(s->policy, ag_tuner_modes[choice]);
    s->choice = choice;
}

/* Load times are noisy: the ratio moves slowly and is rounded to a power of two, so that a rank
 * means the same for entries of different days. */
static uint64_t cost_of(const struct ag_shard *s, uint8_t kind, uint64_t bytes)
{
    uint64_t cost = ag_cost_default(bytes);
    float ratio = s->cost_ratio[kind];

    if (ratio > 0)
        for (; ratio >= 1.5f && cost < UINT64_MAX / 4; ratio /= 2)
            cost *= 2;
    for (; ratio > 0 && ratio < 0.75f && cost > 1; ratio *= 2)
        cost /= 2;
    return cost;
}

/* Dead items of the expiry heap go before it is grown. */
static void sweep_expiry(struct ag_shard *s)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < s->expiry.count; i++) {
        const struct ag_entry *e = ag_slab_at(&s->slab, s->expiry.items[i].id);

        if (e->node.state != AG_NODE_FREE && e->expires == s->expiry.items[i].key && kept < s->expiring)
            s->expiry.items[kept++] = s->expiry.items[i];
    }
    s->expiry.count = kept;
    ag_heap_order(&s->expiry);
}

static uint64_t metadata_need(const struct ag_shard *s, uint64_t charge, uint8_t rank, bool expires)
{
    if (s->object_bytes_only)
        return 0;
    return charge / AG_MALLOC_LOSS + 1 + AG_MALLOC_HEAD + ag_slab_need(&s->slab) + ag_index_need(&s->index) + s->policy->vt->need(s->policy, rank) +
           (expires ? ag_heap_need(&s->expiry, s->expiring + 1) : 0);
}

/* Room is there: nothing but memory can fail now. */
static bool insert(struct ag_shard *s, const struct ag_probe *p, const struct ag_shard_fill *fill, uint64_t charge,
                   uint8_t rank)
{
    struct ag_long_key *k = NULL;
    struct ag_entry *e;
    uint32_t id;

    if (p->n > AG_KEY_INLINE) {
        k = ag_malloc(sizeof(*k) + p->n);
        if (k == NULL)
            return false;
        k->n = (uint32_t)p->n;
        memcpy(k->p, p->key, p->n);
    }
    if (!ag_index_reserve(&s->index) ||
        (fill->expires != 0 && !ag_heap_reserve(&s->expiry, s->expiring + 1, &s->expiry_bytes)) ||
        (id = ag_slab_take(&s->slab)) == AG_NO_ENTRY) {
        ag_free(k);
        return false;
    }
    if (!s->policy->vt->prepare(s->policy, p->hash, rank, s->tick)) {
        ag_slab_give(&s->slab, id);
        ag_free(k);
        return false;
    }
    e = ag_slab_at(&s->slab, id);
    e->node.bytes = (uint32_t)charge;
    e->node.rank = rank;
    e->value = ag_value_ref(fill->value);
    e->kind = (uint8_t)(p->kind | (fill->is_negative ? AG_ENTRY_NEGATIVE : 0));
    e->expires = fill->expires;
    if (k != NULL) {
        e->key_bytes = UINT8_MAX;
        memcpy(e->key, &k, sizeof(k));
    } else {
        e->key_bytes = (uint8_t)p->n;
        memcpy(e->key, p->key, p->n);
    }
    ag_index_add(&s->index, p->hash, id);
    s->policy->vt->insert(s->policy, id, s->tick);
    if (fill->expires != 0) {
        if (s->expiry.count == s->expiry.room)
            sweep_expiry(s);
        s->expiring++;
        ag_heap_push(&s->expiry, fill->expires, id);
    }
    s->entry_bytes += charge;
    s->counts[p->kind].entries++;
    s->counts[p->kind].entry_bytes += charge;
    s->counts[p->kind].puts++;
    return true;
}

enum verdict { KEPT, NOT_KEPT, AGAIN };

static enum verdict try_fill(struct ag_shard *s, const struct ag_probe *p, const struct ag_shard_fill *fill,
                             uint64_t charge, uint32_t now, struct ag_graves *graves)
{
    struct ag_cache_counts *counts = &s->counts[p->kind];
    uint64_t cost = fill->cost_ns > 0 ? fill->cost_ns : cost_of(s, p->kind, fill->value->bytes), need;
    uint8_t rank = ag_rank_of(charge, cost);
    uint32_t id;

    if (fill->lease != *ag_shard_writes(s, p->hash)) {
        counts->refused++;
        return NOT_KEPT;
    }
    if (s->keeps_nothing || charge > (uint64_t)s->budget / (s->object_bytes_only ? 1 : SHARE_MAX) ||
        charge > UINT32_MAX || p->n > AG_KEY_BYTES_MAX) {
        counts->bypassed++;
        return NOT_KEPT;
    }
    id = ag_shard_find(s, p);
    need = charge + metadata_need(s, charge, rank, fill->expires != 0);
    /* As long as nobody has to go for it the first request is good enough. */
    if (id == AG_NO_ENTRY && fill->is_second_only && ag_shard_held(s) + need > (uint64_t)s->budget &&
        s->policy->vt->knows != NULL && !s->policy->vt->knows(s->policy, p->hash)) {
        s->policy->vt->note(s->policy, p->hash, s->tick);
        counts->bypassed++;
        return NOT_KEPT;
    }
    if (id != AG_NO_ENTRY)
        graves->values[graves->count++] = ag_shard_take(s, id, p->hash, AG_GONE_EVICTED);
    if (!ag_shard_make_room(s, need, now, graves) && graves->count == 0) {
        counts->bypassed++;
        return NOT_KEPT;
    }
    if (graves->count > 0)
        return AGAIN; /* (1): they are given back first */
    return insert(s, p, fill, charge, rank) ? KEPT : NOT_KEPT;
}

bool ag_shard_fill(struct ag_shard *s, const struct ag_probe *p, const struct ag_shard_fill *fill, uint32_t now,
                   unsigned choice)
{
    uint64_t charge = fill->value->bytes + (s->object_bytes_only ? 0 : key_charge(p->n));
    struct ag_graves graves = {.count = 0};
    enum verdict v;

    do {
        ag_lock_take(&s->lock);
        if (choice != s->choice)
            ag_shard_set_mode(s, choice);
        v = try_fill(s, p, fill, charge, now, &graves);
        ag_lock_give(&s->lock);
        ag_graves_put(&graves);
    } while (v == AGAIN);
    return v == KEPT;
}

static bool begins_with(const struct ag_entry *e, const unsigned char *prefix, size_t n)
{
    const struct ag_long_key *l;

    if (n == 0)
        return true;
    if (e->key_bytes <= AG_KEY_INLINE)
        return e->key_bytes >= n && memcmp(e->key, prefix, n) == 0;
    l = long_key(e);
    return l->n >= n && memcmp(l->p, prefix, n) == 0;
}

uint64_t ag_shard_clear(struct ag_shard *s, unsigned kind, const unsigned char *prefix, size_t n)
{
    struct ag_graves graves = {.count = 0};
    uint64_t count = 0;
    uint32_t id = 0;

    ag_lock_take(&s->lock);
    for (unsigned i = 0; i < AG_WRITE_BUCKETS; i++)
        s->writes[i]++;
    for (; id < ag_slab_limit(&s->slab); id++) {
        const struct ag_entry *e = ag_slab_at(&s->slab, id);

        if (e->node.state == AG_NODE_FREE || (kind != AG_CACHE_KIND_LIMIT && AG_ENTRY_KIND(e) != kind) ||
            !begins_with(e, prefix, n))
            continue;
        count++;
        s->counts[AG_ENTRY_KIND(e)].invalidated++;
        graves.values[graves.count++] = ag_shard_take(s, id, ag_shard_hash(s, id), AG_GONE_DROPPED);
        if (graves.count == AG_GRAVES) {
            ag_lock_give(&s->lock);
            ag_graves_put(&graves);
            ag_lock_take(&s->lock);
        }
    }
    ag_lock_give(&s->lock);
    ag_graves_put(&graves);
    return count;
}

void ag_shard_drop(struct ag_shard *s)
{
    (void)ag_shard_clear(s, AG_CACHE_KIND_LIMIT, NULL, 0);
    unbuild(s);
    pthread_cond_destroy(&s->landed);
    pthread_mutex_destroy(&s->wait_lock);
}

/* Tables never become smaller by themselves. Where they would take more than a quarter of a smaller
 * budget, the shard begins anew; on no memory it stays as it is. */
static void rebuild(struct ag_shard *s)
{
    struct ag_shard fresh = {.object_bytes_only = s->object_bytes_only};
    struct ag_policy_options o = s->policy->options;
    unsigned choice = s->choice;

    assert(s->slab.used == 0);
    if (!build(&fresh, s->policy->vt, &o))
        return;
    unbuild(s);
    s->slab = fresh.slab;
    s->index = fresh.index;
    s->policy = fresh.policy;
    s->policy->slab = &s->slab;
    s->doomed = AG_LIST_EMPTY;
    ag_shard_set_mode(s, choice);
}

void ag_shard_resize(struct ag_shard *s, int64_t budget, uint32_t now)
{
    struct ag_graves graves;
    bool is_anew;

    ag_lock_take(&s->lock);
    s->budget = budget;
    s->keeps_nothing = s->policy->vt->keeps_nothing || is_too_small(s, budget);
    is_anew = !s->object_bytes_only && ag_shard_metadata(s) - s->fixed_bytes > (uint64_t)budget / 4;
    do {
        graves.count = 0;
        if (is_anew || s->keeps_nothing)
            while (s->slab.used > 0 && graves.count < AG_GRAVES)
                graves.values[graves.count++] = evict_one(s, now);
        else
            (void)ag_shard_make_room(s, 0, now, &graves);
        if (graves.count > 0) {
            ag_lock_give(&s->lock);
            ag_graves_put(&graves);
            ag_lock_take(&s->lock);
            graves.count = 1; /* somebody may have come in: look again */
        } else if (is_anew && s->slab.used == 0) {
            rebuild(s);
        }
    } while (graves.count > 0);
    ag_lock_give(&s->lock);
}

const char *ag_shard_check(struct ag_shard *s)
{
    uint64_t bytes = 0;
    uint32_t used = 0, doomed = 0, expiring = 0;
    const char *broken = s->policy->vt->check(s->policy);

    for (uint32_t id = 0; id < ag_slab_limit(&s->slab) && broken == NULL; id++) {
        const struct ag_entry *e = ag_slab_at(&s->slab, id);
        uint32_t at, found;
        uint64_t hash;

        if (e->node.state == AG_NODE_FREE)
            continue;
        used++;
        bytes += e->node.bytes;
        doomed += e->node.state == AG_NODE_DOOMED;
        expiring += e->expires != 0;
        hash = ag_shard_hash(s, id);
        for (at = ag_index_first(&s->index, hash); (found = ag_index_next(&s->index, hash, &at)) != id;)
            if (found == AG_NO_ENTRY)
                return "(2) a resident is not in the index";
        if (e->node.state != AG_NODE_DOOMED && s->policy->vt->knows != NULL &&
            s->policy->vt->knows(s->policy, hash))
            return "a resident is also in the history";
    }
    for (uint32_t id = s->doomed.newest; id != AG_NO_ENTRY && broken == NULL; id = ag_node_at(&s->slab, id)->next)
        if (ag_node_at(&s->slab, id)->state != AG_NODE_DOOMED || doomed-- == 0)
            return "the doomed list is broken";
    if (broken != NULL)
        return broken;
    if (doomed != 0)
        return "a doomed entry is in no list";
    if (used != s->slab.used || used != s->index.count)
        return "(2) slab, index and entries differ in number";
    if (bytes != s->entry_bytes || expiring != s->expiring)
        return "(1) the charges are not the sum of the entries";
    if (!s->keeps_nothing && ag_shard_held(s) > (uint64_t)s->budget)
        return "(1) over budget";
    return NULL;
}
