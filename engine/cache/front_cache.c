/*
 * The front cache: one lock, one table, least recently used goes first.
 *
 *    get ─► change token moved? ─► drop everything
 *        ─► table ─► hit: a reference
 *                 ─► somebody loads it: wait for that one
 *                 ─► load outside the lock, keep unless invalidated meanwhile
 */
#include "engine/cache/front_cache.h"

#include <pthread.h>
#include <stdbool.h>

#include "engine/base/mem.h"

struct entry {
    struct entry *chain, *newer, *older;
    struct ag_value *value;
    uint64_t hash;
    size_t charge;
    uint32_t key_bytes;
    uint8_t kind;
    unsigned char key[];
};

/* One load that runs; waiters hold it by reference. */
struct flight {
    struct flight *next;
    struct ag_value *value;
    agent_error err;
    agent_status rc;
    int refs;
    bool done, stale;
    uint8_t kind;
    uint32_t key_bytes;
    unsigned char key[];
};

struct ag_cache {
    pthread_mutex_t lock;
    pthread_cond_t landed;
    struct entry **slots;
    size_t slot_count, entry_count;
    struct entry *newest, *oldest;
    struct flight *flights;
    int64_t bytes, held_bytes;
    uint64_t (*change_token)(void *ctx);
    void *ctx;
    uint64_t token;
};

static uint64_t hash_of(uint8_t kind, const unsigned char *p, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ kind;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

agent_status ag_cache_new(const struct ag_cache_options *o, ag_cache **out, agent_error *err)
{
    ag_cache *c = ag_calloc(1, sizeof(*c));

    if (c == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "front cache: out of memory");
    c->bytes = o->bytes;
    c->change_token = o->change_token;
    c->ctx = o->ctx;
    c->slot_count = 1024;
    c->slots = ag_calloc(c->slot_count, sizeof(*c->slots));
    if (c->slots == NULL) {
        ag_free(c);
        return ag_fail(err, AGENT_ENOMEM, 0, "front cache: out of memory");
    }
    c->held_bytes = (int64_t)(c->slot_count * sizeof(*c->slots));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->landed, NULL);
    c->token = c->change_token == NULL ? 0 : c->change_token(c->ctx);
    *out = c;
    return AGENT_OK;
}

static void unlink_age(ag_cache *c, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
}

static void link_age(ag_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static struct entry **find(ag_cache *c, uint64_t hash, uint8_t kind, const void *key, size_t n)
{
    struct entry **at = &c->slots[hash & (c->slot_count - 1)];

    while (*at != NULL && ((*at)->hash != hash || (*at)->kind != kind || (*at)->key_bytes != n ||
                           memcmp((*at)->key, key, n) != 0))
        at = &(*at)->chain;
    return at;
}

static void remove_entry(ag_cache *c, struct entry **at)
{
    struct entry *e = *at;

    *at = e->chain;
    unlink_age(c, e);
    c->entry_count--;
    c->held_bytes -= (int64_t)e->charge;
    ag_value_put(e->value);
    ag_free(e);
}

static void drop_all(ag_cache *c)
{
    for (size_t i = 0; i < c->slot_count; i++)
        while (c->slots[i] != NULL)
            remove_entry(c, &c->slots[i]);
    for (struct flight *f = c->flights; f != NULL; f = f->next)
        f->stale = true;
}

static void follow_changes(ag_cache *c)
{
    uint64_t now;

    if (c->change_token == NULL || (now = c->change_token(c->ctx)) == c->token)
        return;
    c->token = now;
    drop_all(c);
}

void ag_cache_free(ag_cache *c)
{
    if (c == NULL)
        return;
    drop_all(c);
    pthread_cond_destroy(&c->landed);
    pthread_mutex_destroy(&c->lock);
    ag_free(c->slots);
    ag_free(c);
}

struct ag_value *ag_cache_get(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct ag_value *v = NULL;
    struct entry *e;

    pthread_mutex_lock(&c->lock);
    follow_changes(c);
    e = *find(c, hash_of((uint8_t)kind, key, key_bytes), (uint8_t)kind, key, key_bytes);
    if (e != NULL) {
        unlink_age(c, e);
        link_age(c, e);
        v = ag_value_ref(e->value);
    }
    pthread_mutex_unlock(&c->lock);
    return v;
}

static void grow(ag_cache *c)
{
    size_t count = c->slot_count * 2;
    struct entry **slots = ag_calloc(count, sizeof(*slots));

    if (slots == NULL)
        return;
    for (size_t i = 0; i < c->slot_count; i++)
        for (struct entry *e = c->slots[i], *next; e != NULL; e = next) {
            next = e->chain;
            e->chain = slots[e->hash & (count - 1)];
            slots[e->hash & (count - 1)] = e;
        }
    ag_free(c->slots);
    c->slots = slots;
    c->held_bytes += (int64_t)((count - c->slot_count) * sizeof(*slots));
    c->slot_count = count;
}

static void keep(ag_cache *c, uint8_t kind, const void *key, size_t n, struct ag_value *value)
{
    uint64_t hash = hash_of(kind, key, n);
    size_t charge = sizeof(struct entry) + n + value->bytes + 32;
    struct entry **at, *e;

    if ((int64_t)charge > c->bytes / 8)
        return;
    at = find(c, hash, kind, key, n);
    if (*at != NULL)
        remove_entry(c, at);
    while (c->oldest != NULL && c->held_bytes + (int64_t)charge > c->bytes)
        remove_entry(c, find(c, c->oldest->hash, c->oldest->kind, c->oldest->key, c->oldest->key_bytes));
    if (c->held_bytes + (int64_t)charge > c->bytes || (e = ag_malloc(sizeof(*e) + n)) == NULL)
        return;
    if (c->entry_count >= c->slot_count)
        grow(c);
    e->value = ag_value_ref(value);
    e->hash = hash;
    e->charge = charge;
    e->kind = kind;
    e->key_bytes = (uint32_t)n;
    memcpy(e->key, key, n);
    e->chain = c->slots[hash & (c->slot_count - 1)];
    c->slots[hash & (c->slot_count - 1)] = e;
    link_age(c, e);
    c->entry_count++;
    c->held_bytes += (int64_t)charge;
}

static void put_flight(struct flight *f)
{
    if (--f->refs > 0)
        return;
    ag_value_put(f->value);
    ag_free(f);
}

static struct flight *find_flight(ag_cache *c, uint8_t kind, const void *key, size_t n)
{
    struct flight *f = c->flights;

    while (f != NULL && (f->stale || f->kind != kind || f->key_bytes != n || memcmp(f->key, key, n) != 0))
        f = f->next;
    return f;
}

agent_status ag_cache_load(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes,
                           ag_cache_loader loader, void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_value *v = ag_cache_get(c, kind, key, key_bytes);
    agent_error why = AGENT_ERROR_INIT;
    agent_status rc;
    struct flight *f;

    if (v != NULL) {
        *out = v;
        return AGENT_OK;
    }
    pthread_mutex_lock(&c->lock);
    f = find_flight(c, (uint8_t)kind, key, key_bytes);
    if (f != NULL) {
        f->refs++;
        while (!f->done)
            pthread_cond_wait(&c->landed, &c->lock);
        rc = f->rc;
        if (rc == AGENT_OK)
            *out = ag_value_ref(f->value);
        else if (err != NULL)
            *err = f->err;
        put_flight(f);
        pthread_mutex_unlock(&c->lock);
        return rc;
    }
    f = ag_calloc(1, sizeof(*f) + key_bytes);
    if (f == NULL) {
        pthread_mutex_unlock(&c->lock);
        return loader(ctx, out, err);
    }
    f->refs = 1;
    f->kind = (uint8_t)kind;
    f->key_bytes = (uint32_t)key_bytes;
    memcpy(f->key, key, key_bytes);
    f->next = c->flights;
    c->flights = f;
    pthread_mutex_unlock(&c->lock);

    rc = loader(ctx, &v, &why);

    pthread_mutex_lock(&c->lock);
    follow_changes(c);
    for (struct flight **at = &c->flights; *at != NULL; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    f->done = true;
    f->rc = rc;
    f->err = why;
    if (rc == AGENT_OK) {
        f->value = v;
        *out = ag_value_ref(v);
        if (!f->stale)
            keep(c, (uint8_t)kind, key, key_bytes, v);
    } else if (err != NULL)
        *err = why;
    pthread_cond_broadcast(&c->landed);
    put_flight(f);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void ag_cache_invalidate(ag_cache *c, enum ag_cache_kind kind, const void *key, size_t key_bytes)
{
    struct entry **at;
    struct flight *f;

    pthread_mutex_lock(&c->lock);
    at = find(c, hash_of((uint8_t)kind, key, key_bytes), (uint8_t)kind, key, key_bytes);
    if (*at != NULL)
        remove_entry(c, at);
    while ((f = find_flight(c, (uint8_t)kind, key, key_bytes)) != NULL)
        f->stale = true;
    pthread_mutex_unlock(&c->lock);
}

void ag_cache_invalidate_kind(ag_cache *c, enum ag_cache_kind kind)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->slot_count; i++)
        for (struct entry **at = &c->slots[i]; *at != NULL;) {
            if ((*at)->kind == (uint8_t)kind)
                remove_entry(c, at);
            else
                at = &(*at)->chain;
        }
    for (struct flight *f = c->flights; f != NULL; f = f->next)
        if (f->kind == (uint8_t)kind)
            f->stale = true;
    pthread_mutex_unlock(&c->lock);
}
