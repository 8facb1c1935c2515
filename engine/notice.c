#include "engine/notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

void ag_notices_open(struct ag_notices *n, const ag_clock *clock)
{
    memset(n, 0, sizeof(*n));
    n->clock = clock;
    (void)pthread_mutex_init(&n->lock, NULL);
}

void ag_notices_close(struct ag_notices *n)
{
    (void)pthread_mutex_destroy(&n->lock);
}

void ag_notice(struct ag_notices *n, const char *kind, int level, int64_t rss_bytes, int64_t limit_bytes, const char *fmt, ...)
{
    struct ag_notice *notice;
    va_list args;

    (void)pthread_mutex_lock(&n->lock);
    if (n->count == AG_NOTICES_WAITING) { /* (2) */
        n->count--;
        memmove(n->waiting, n->waiting + 1, (size_t)n->count * sizeof(n->waiting[0]));
    }
    notice = &n->waiting[n->count++];
    notice->at_ms = ag_unix_ms(n->clock);
    notice->rss_bytes = rss_bytes;
    notice->limit_bytes = limit_bytes;
    notice->level = level;
    notice->kind = kind;
    va_start(args, fmt);
    (void)vsnprintf(notice->text, sizeof(notice->text), fmt, args);
    va_end(args);
    atomic_store_explicit(&n->any, true, memory_order_relaxed);
    (void)pthread_mutex_unlock(&n->lock);
}

/* On the store's thread. One that failed is not missed: the log has it. */
static void on_done(ag_unit *unit)
{
    struct ag_notices *n = unit->ctx;

    atomic_store(&n->out, false);
}

void ag_notices_submit(struct ag_notices *n)
{
    struct ag_mem_charge was;
    int count;

    if (n->store == NULL || atomic_exchange(&n->out, true))
        return;
    (void)pthread_mutex_lock(&n->lock);
    count = n->count;
    memcpy(n->going, n->waiting, (size_t)count * sizeof(n->going[0]));
    n->count = 0;
    atomic_store_explicit(&n->any, false, memory_order_relaxed);
    (void)pthread_mutex_unlock(&n->lock);
    if (count == 0) {
        atomic_store(&n->out, false);
        return;
    }
    ag_unit_init(&n->unit, ag_unix_ms(n->clock));
    for (int i = 0; i < count; i++) {
        const struct ag_notice *from = &n->going[i];

        memset(&n->ops[i], 0, sizeof(n->ops[i]));
        n->ops[i].kind = AG_OP_NOTICE;
        n->ops[i].notice = (struct ag_op_notice){
            .at_ms = from->at_ms, .rss_bytes = from->rss_bytes, .limit_bytes = from->limit_bytes, .level = from->level,
            .kind = ag_str_of(from->kind), .text = ag_str_of(from->text)};
        ag_unit_add(&n->unit, &n->ops[i]);
    }
    n->unit.lazy = true;
    n->unit.done = on_done;
    n->unit.ctx = n;
    was = ag_mem_charge(NULL); /* what a store keeps is the store's, whichever run's turn it is */
    if (ag_store_submit(n->store, &n->unit))
        atomic_store(&n->out, false);
    ag_mem_charge_back(was);
}
