#include "engine/pressure.h"

#include <malloc.h>

#define LEAVE_PERCENT 5

static const struct step {
    int percent;
    const char *taken, *left;
} steps[] = {
    [AG_PRESSURE_CACHE] = {80, "the front cache shrinks", "the front cache has its size again"},
    [AG_PRESSURE_LOW] = {90, "runs of class low are not admitted", "runs of class low are admitted again"},
    [AG_PRESSURE_FULL] = {100, "new runs are refused", "new runs are admitted again"},
};

void ag_pressure_open(ag_pressure *p, const ag_log *log)
{
    *p = (ag_pressure){.log = log};
    (void)pthread_mutex_init(&p->lock, NULL);
}

void ag_pressure_close(ag_pressure *p)
{
    (void)pthread_mutex_destroy(&p->lock);
}

static int64_t percent_of(int64_t limit, int percent)
{
    return limit / 100 * percent + limit % 100 * percent / 100;
}

static int level_for(const ag_pressure *p, int level, int64_t rss)
{
    while (level < AG_PRESSURE_FULL && rss >= percent_of(p->limit_bytes, steps[level + 1].percent))
        level++;
    while (level > AG_PRESSURE_NONE && rss < percent_of(p->limit_bytes, steps[level].percent - LEAVE_PERCENT))
        level--;
    return level;
}

static void shrink(ag_pressure *p)
{
    struct ag_cache_stats stats;

    ag_cache_stats(p->cache, &stats);
    p->cache_bytes = stats.bytes;
    (void)ag_cache_resize(p->cache, stats.bytes / 4, NULL);
#ifdef __GLIBC__
    (void)malloc_trim(0); /* free chunks keep their pages: without it a smaller cache changes nothing */
#endif
}

static void tell(const ag_pressure *p, int64_t rss, const char *what)
{
    ag_log_line(p->log, AG_LOG_WARN, "pressure", "RSS %lld of %lld bytes (memory_limit): %s", (long long)rss,
                (long long)p->limit_bytes, what);
}

void ag_pressure_see(ag_pressure *p, int64_t rss)
{
    int was = atomic_load_explicit(&p->level, memory_order_relaxed), to;

    if (level_for(p, was, rss) == was || pthread_mutex_trylock(&p->lock) != 0)
        return;
    was = atomic_load_explicit(&p->level, memory_order_relaxed);
    to = level_for(p, was, rss);
    atomic_store_explicit(&p->level, to, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&p->steps, (unsigned long)(to > was ? to - was : was - to), memory_order_relaxed);
    if (p->cache != NULL && was < AG_PRESSURE_CACHE && to >= AG_PRESSURE_CACHE)
        shrink(p);
    else if (p->cache != NULL && was >= AG_PRESSURE_CACHE && to < AG_PRESSURE_CACHE)
        (void)ag_cache_resize(p->cache, p->cache_bytes, NULL);
    for (int i = was + 1; p->notices != NULL && i <= to; i++)
        ag_notice(p->notices, "pressure", i, rss, p->limit_bytes, "%s", steps[i].taken);
    for (int i = was; p->notices != NULL && i > to; i--)
        ag_notice(p->notices, "pressure", i - 1, rss, p->limit_bytes, "%s", steps[i].left);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = was + 1; i <= to; i++)
        tell(p, rss, steps[i].taken);
    for (int i = was; i > to; i--)
        tell(p, rss, steps[i].left);
}
