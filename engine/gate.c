#include "engine/gate.h"

#define MINUTE_NS 60e9

void ag_gate_init(ag_gate *g, int64_t capacity, int64_t per_minute)
{
    *g = (ag_gate){.capacity = capacity, .per_minute = per_minute, .age_ns = AG_GATE_AGE_NS, .tokens = -1};
    (void)pthread_mutex_init(&g->lock, NULL);
}

void ag_gate_drop(ag_gate *g)
{
    (void)pthread_mutex_destroy(&g->lock);
}

void ag_gate_set(ag_gate *g, int64_t capacity, int64_t per_minute)
{
    (void)pthread_mutex_lock(&g->lock);
    g->capacity = capacity;
    g->per_minute = per_minute;
    (void)pthread_mutex_unlock(&g->lock);
}

/* --- under the lock --------------------------------------------------------------------------------- */

static double burst(const ag_gate *g)
{
    double second = (double)g->per_minute / 60;

    return second > 1 ? second : 1;
}

static void fill_tokens(ag_gate *g, int64_t now_ns)
{
    if (g->per_minute == 0)
        return;
    if (g->tokens < 0)
        g->tokens = burst(g);
    else if (now_ns > g->tokens_at_ns)
        g->tokens += (double)(now_ns - g->tokens_at_ns) * (double)g->per_minute / MINUTE_NS;
    if (g->tokens > burst(g))
        g->tokens = burst(g);
    if (now_ns > g->tokens_at_ns)
        g->tokens_at_ns = now_ns;
}

static bool has_room(const ag_gate *g, int class)
{
    int64_t kept = class == 0 ? 0 : g->capacity / 10; /* (5) */

    return g->capacity == 0 || g->inside < g->capacity - kept;
}

/* Whether one of this class may enter now, as far as room, time and rate go. */
static bool may_enter(const ag_gate *g, int class, int64_t now_ns)
{
    return now_ns >= g->hold_until_ns && (g->per_minute == 0 || g->tokens >= 1) && has_room(g, class);
}

static void take_place(ag_gate *g)
{
    g->inside++;
    if (g->per_minute != 0)
        g->tokens -= 1;
}

static int aged_class(const ag_gate *g, const struct ag_waiter *w, int64_t now_ns)
{
    int64_t ages = (now_ns - w->since_ns) / g->age_ns;

    return ages >= w->class ? 0 : w->class - (int)ages;
}

/* Who is next: the best class after aging, of equals the one who came first. Only the heads of the
 * lines are looked at: behind a head nobody has waited longer. */
static struct ag_waiter *next_waiter(const ag_gate *g, int64_t now_ns, int *out_class)
{
    struct ag_waiter *best = NULL;
    int best_class = AG_GATE_CLASSES;

    for (int i = 0; i < AG_GATE_CLASSES; i++) {
        struct ag_waiter *w = g->first[i];
        int class;

        if (w == NULL)
            continue;
        class = aged_class(g, w, now_ns);
        if (class < best_class || (class == best_class && w->seq < best->seq)) {
            best = w;
            best_class = class;
        }
    }
    *out_class = best_class;
    return best;
}

static void unlink_waiter(ag_gate *g, struct ag_waiter *w)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        g->first[w->class] = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        g->last[w->class] = w->prev;
    w->prev = w->next = NULL;
    w->waiting = false;
    g->waiting--;
}

/* Lets in all who may; they are returned as a list by `next`, first granted first. */
static struct ag_waiter *let_in(ag_gate *g, int64_t now_ns)
{
    struct ag_waiter *list = NULL, **tail = &list, *w;
    int class;

    fill_tokens(g, now_ns);
    while ((w = next_waiter(g, now_ns, &class)) != NULL && may_enter(g, class, now_ns)) {
        unlink_waiter(g, w);
        take_place(g);
        *tail = w;
        tail = &w->next;
    }
    return list;
}

static int64_t look_again_at(const ag_gate *g, int64_t now_ns)
{
    int64_t at = 0;

    if (g->waiting == 0)
        return 0;
    if (g->hold_until_ns > now_ns)
        at = g->hold_until_ns;
    if (g->per_minute != 0 && g->tokens < 1) {
        int64_t due = now_ns + (int64_t)((1 - g->tokens) * MINUTE_NS / (double)g->per_minute) + 1;

        at = due > at ? due : at;
    }
    return at;
}

static void tell(struct ag_waiter *list)
{
    while (list != NULL) {
        struct ag_waiter *w = list;

        list = w->next;
        w->next = NULL;
        w->granted(w);
    }
}

/* --- the gate ------------------------------------------------------------------------------------------- */

bool ag_gate_enter(ag_gate *g, struct ag_waiter *w, int64_t now_ns)
{
    bool in;

    (void)pthread_mutex_lock(&g->lock);
    fill_tokens(g, now_ns);
    /* Somebody who waits goes first, unless it is only the places kept for high that are left. */
    in = may_enter(g, w->class, now_ns) && (g->waiting == 0 || (w->class == 0 && g->first[0] == NULL));
    if (in) {
        take_place(g);
    } else {
        w->since_ns = now_ns;
        w->seq = g->next_seq++;
        w->waiting = true;
        w->next = NULL;
        w->prev = g->last[w->class];
        if (w->prev != NULL)
            w->prev->next = w;
        else
            g->first[w->class] = w;
        g->last[w->class] = w;
        g->waiting++;
    }
    (void)pthread_mutex_unlock(&g->lock);
    return in;
}

void ag_gate_leave(ag_gate *g, int64_t now_ns)
{
    struct ag_waiter *list;

    (void)pthread_mutex_lock(&g->lock);
    g->inside--;
    list = g->waiting > 0 ? let_in(g, now_ns) : NULL;
    (void)pthread_mutex_unlock(&g->lock);
    tell(list);
}

bool ag_gate_cancel(ag_gate *g, struct ag_waiter *w)
{
    bool was;

    (void)pthread_mutex_lock(&g->lock);
    was = w->waiting;
    if (was)
        unlink_waiter(g, w);
    (void)pthread_mutex_unlock(&g->lock);
    return was;
}

void ag_gate_hold(ag_gate *g, int64_t until_ns)
{
    (void)pthread_mutex_lock(&g->lock);
    if (until_ns > g->hold_until_ns)
        g->hold_until_ns = until_ns;
    (void)pthread_mutex_unlock(&g->lock);
}

int64_t ag_gate_tick(ag_gate *g, int64_t now_ns)
{
    struct ag_waiter *list;
    int64_t at;

    (void)pthread_mutex_lock(&g->lock);
    list = let_in(g, now_ns);
    at = look_again_at(g, now_ns);
    (void)pthread_mutex_unlock(&g->lock);
    tell(list);
    return at;
}
