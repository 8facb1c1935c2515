#include "engine/schedule.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/mem.h"

#define BUCKETS 256

struct entry {
    struct entry *next, *older; /* older: of all gates */
    struct ag_str name;
    ag_gate gate;  /* of a gate's name */
    ag_gate *hint; /* of an agent's name */
};

struct ag_schedule {
    pthread_mutex_t lock;
    struct entry *gates[BUCKETS], *agents[BUCKETS]; /* guarded by lock; entries are never removed */
    struct entry *_Atomic newest;                   /* gate; set under lock, walked without */
};

ag_schedule *ag_schedule_new(void)
{
    ag_schedule *s = ag_calloc(1, sizeof(*s));

    if (s != NULL)
        (void)pthread_mutex_init(&s->lock, NULL);
    return s;
}

void ag_schedule_free(ag_schedule *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        while (s->gates[i] != NULL) {
            struct entry *e = s->gates[i];

            s->gates[i] = e->next;
            ag_gate_drop(&e->gate);
            ag_free((void *)(uintptr_t)e->name.p);
            ag_free(e);
        }
        while (s->agents[i] != NULL) {
            struct entry *e = s->agents[i];

            s->agents[i] = e->next;
            ag_free((void *)(uintptr_t)e->name.p);
            ag_free(e);
        }
    }
    (void)pthread_mutex_destroy(&s->lock);
    ag_free(s);
}

static unsigned bucket_of(struct ag_str name)
{
    unsigned h = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619u;
    return h % BUCKETS;
}

/* Under the lock. NULL: out of memory. */
static struct entry *find(struct entry **table, struct ag_str name, bool make, bool *out_made)
{
    struct entry **at = &table[bucket_of(name)], *e;

    *out_made = false;
    for (e = *at; e != NULL; e = e->next)
        if (ag_str_eq(e->name, name))
            return e;
    if (!make || (e = ag_calloc(1, sizeof(*e))) == NULL)
        return NULL;
    e->name = (struct ag_str){ag_memdup0(name.p, name.n), name.n};
    if (e->name.p == NULL) {
        ag_free(e);
        return NULL;
    }
    e->next = *at;
    *at = e;
    *out_made = true;
    return e;
}

ag_gate *ag_schedule_gate(ag_schedule *s, struct ag_str name, int64_t capacity, int64_t per_minute)
{
    struct entry *e;
    bool made;

    (void)pthread_mutex_lock(&s->lock);
    e = find(s->gates, name, true, &made);
    if (e != NULL && made) {
        ag_gate_init(&e->gate, capacity, per_minute);
        e->older = atomic_load(&s->newest);
        atomic_store(&s->newest, e);
    } else if (e != NULL) {
        ag_gate_set(&e->gate, capacity, per_minute);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return e != NULL ? &e->gate : NULL;
}

void ag_schedule_learn(ag_schedule *s, struct ag_str agent, ag_gate *gate)
{
    struct entry *e;
    bool made;

    (void)pthread_mutex_lock(&s->lock);
    if ((e = find(s->agents, agent, true, &made)) != NULL)
        e->hint = gate;
    (void)pthread_mutex_unlock(&s->lock);
}

ag_gate *ag_schedule_hint(ag_schedule *s, struct ag_str agent, bool *out_known)
{
    struct entry *e;
    ag_gate *gate;
    bool made;

    (void)pthread_mutex_lock(&s->lock);
    e = find(s->agents, agent, false, &made);
    gate = e != NULL ? e->hint : NULL;
    (void)pthread_mutex_unlock(&s->lock);
    if (out_known != NULL)
        *out_known = e != NULL;
    return gate;
}

int64_t ag_schedule_tick(ag_schedule *s, int64_t now_ns)
{
    int64_t first = 0;

    for (struct entry *e = atomic_load(&s->newest); e != NULL; e = e->older) {
        int64_t at = ag_gate_tick(&e->gate, now_ns);

        if (at != 0 && (first == 0 || at < first))
            first = at;
    }
    return first;
}
