/*
 * The one door to the heap. Everything of ours allocates here, so tests can fail the n-th call and
 * the memory report can count. No function aborts: NULL means out of memory.
 */
#ifndef AG_BASE_MEM_H
#define AG_BASE_MEM_H

#include <stddef.h>

void *ag_malloc(size_t bytes);
void *ag_calloc(size_t count, size_t bytes);
void *ag_realloc(void *p, size_t bytes);
char *ag_strdup(const char *s);                 /* NULL in, NULL out */
char *ag_memdup0(const void *p, size_t bytes);  /* copy with a NUL behind it */
void ag_free(void *p);                          /* NULL is fine */

/* Fault injection for tests: the n-th allocation from now fails (1 = the next), 0 = none does.
 * Per thread; returns how many allocations this thread has made since the last call. */
unsigned long ag_mem_fail_at(unsigned long nth);

#endif
