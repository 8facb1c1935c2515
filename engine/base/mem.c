#include "engine/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local unsigned long calls, fail_at;

unsigned long ag_mem_fail_at(unsigned long nth)
{
    unsigned long had = calls;

    calls = 0;
    fail_at = nth;
    return had;
}

static bool refused(void)
{
    return ++calls == fail_at;
}

void *ag_malloc(size_t bytes)
{
    return refused() ? NULL : malloc(bytes > 0 ? bytes : 1);
}

void *ag_calloc(size_t count, size_t bytes)
{
    return refused() ? NULL : calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1);
}

void *ag_realloc(void *p, size_t bytes)
{
    return refused() ? NULL : realloc(p, bytes > 0 ? bytes : 1);
}

char *ag_memdup0(const void *p, size_t bytes)
{
    char *copy = ag_malloc(bytes + 1);

    if (copy == NULL)
        return NULL;
    if (bytes > 0)
        memcpy(copy, p, bytes);
    copy[bytes] = '\0';
    return copy;
}

char *ag_strdup(const char *s)
{
    return s == NULL ? NULL : ag_memdup0(s, strlen(s));
}

void ag_free(void *p)
{
    free(p);
}
