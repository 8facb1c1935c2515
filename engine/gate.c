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

/* (5): for who came as this class, whatever counts as by now. */
static bool has_room(const ag_gate *g, int class)
{
    int64_t kept = g->capacity / 10, unused = class == 0 || g->high >= kept ? 0 : kept - g->high;

    return g->capacity == 0 || g->inside + unused < g->capacity;
}

/* Whether one of this class may enter now, as far as room, time and rate go. */
static bool may_enter(const ag_gate *g, int class, int64_t now_ns)
{
    return now_ns >= g->hold_until_ns && (g->per_minute == 0 || g->tokens >= 1) && has_room(g, class);
}

static void take_place(ag_gate *g, int class)
{
    g->inside++;
    g->high += class == 0;
    if (g->per_minute != 0)
        g->tokens -= 1;
}

static int aged_class(const ag_gate *g, const struct ag_waiter *w, int64_t now_ns)
{
    int64_t ages = (now_ns - w->since_ns) / g->age_ns;

    return ages >= w->class ? 0 : w->class - (int)ages;
}

/* Who is next of those for whom there is a place: the best class after aging, of equals the one who
 * came first. Only the heads of the lines are looked at: behind a head nobody has waited longer. */
static struct ag_waiter *next_waiter(const ag_gate *g, int64_t now_ns)
{
    struct ag_waiter *best = NULL;
    int best_class = AG_GATE_CLASSES;

    for (int i = 0; i < AG_GATE_CLASSES; i++) {
        struct ag_waiter *w = g->first[i];
        int class;

        if (w == NULL || !has_room(g, i))
            continue;
        class = aged_class(g, w, now_ns);
        if (class < best_class || (class == best_class && w->seq < best->seq)) {
            best = w;
            best_class = class;
        }
    }
    return best;
}

static void join_line(ag_gate *g, struct ag_waiter *w, int64_t now_ns)
{
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

    fill_tokens(g, now_ns);
    while ((w = next_waiter(g, now_ns)) != NULL && may_enter(g, w->class, now_ns)) {
        unlink_waiter(g, w);
        take_place(g, w->class);
        *tail = w;
        tail = &w->next;
    }
    return list;
}

static int64_t look_again_at(const ag_gate *g, int64_t now_ns)
{
    int64_t at = 0;

    if (next_waiter(g, now_ns) == NULL) /* there is no place: who leaves looks */
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

/* Who finds nobody waiting goes in where it may; else it goes to its place in line, and who may go in by
 * now does, which may be itself: nobody overtakes by coming at the right moment. */
bool ag_gate_enter(ag_gate *g, struct ag_waiter *w, int64_t now_ns, int64_t *out_at)
{
    struct ag_waiter *list = NULL, **at;
    bool in;

    *out_at = 0;
    (void)pthread_mutex_lock(&g->lock);
    fill_tokens(g, now_ns);
    in = g->waiting == 0 && may_enter(g, w->class, now_ns);
    if (in) {
        take_place(g, w->class);
    } else {
        join_line(g, w, now_ns);
        list = let_in(g, now_ns);
        for (at = &list; *at != NULL && *at != w; at = &(*at)->next)
            ;
        if ((in = *at == w)) {
            *at = w->next;
            w->next = NULL;
        }
        *out_at = look_again_at(g, now_ns);
    }
    (void)pthread_mutex_unlock(&g->lock);
    tell(list);
    return in;
}

int64_t ag_gate_leave(ag_gate *g, int class, int64_t now_ns)
{
    struct ag_waiter *list = NULL;
    int64_t at = 0;

    (void)pthread_mutex_lock(&g->lock);
    g->inside--;
    g->high -= class == 0;
    if (g->waiting > 0) {
        list = let_in(g, now_ns);
        at = look_again_at(g, now_ns);
    }
    (void)pthread_mutex_unlock(&g->lock);
    tell(list);
    return at;
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

int64_t ag_gate_hold(ag_gate *g, int64_t until_ns, int64_t now_ns)
{
    int64_t at;

    (void)pthread_mutex_lock(&g->lock);
    if (until_ns > g->hold_until_ns)
        g->hold_until_ns = until_ns;
    at = look_again_at(g, now_ns);
    (void)pthread_mutex_unlock(&g->lock);
    return at;
}

int64_t ag_gate_held(ag_gate *g, int64_t now_ns)
{
    int64_t until;

    (void)pthread_mutex_lock(&g->lock);
    until = g->hold_until_ns > now_ns ? g->hold_until_ns : 0;
    (void)pthread_mutex_unlock(&g->lock);
    return until;
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
