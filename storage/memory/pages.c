#include "storage/memory/pages.h"

#include <stdint.h>
#include <sys/mman.h>

static size_t whole(size_t bytes)
{
    return (bytes + AG_PAGES_UNIT - 1) & ~(AG_PAGES_UNIT - 1);
}

void *ag_pages_get(size_t bytes)
{
    size_t want = whole(bytes), before;
    char *p, *at;

    if (bytes > SIZE_MAX / 4)
        return NULL;
    p = mmap(NULL, want + AG_PAGES_UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    at = (char *)(((uintptr_t)p + AG_PAGES_UNIT - 1) & ~(uintptr_t)(AG_PAGES_UNIT - 1));
    before = (size_t)(at - p);
    if (before > 0) /* what is not aligned goes back */
        (void)munmap(p, before);
    if (before < AG_PAGES_UNIT)
        (void)munmap(at + want, AG_PAGES_UNIT - before);
    (void)madvise(at, want, MADV_HUGEPAGE); /* where there are none, small ones do */
    return at;
}

void ag_pages_put(void *p, size_t bytes)
{
    if (p != NULL)
        (void)munmap(p, whole(bytes));
}
