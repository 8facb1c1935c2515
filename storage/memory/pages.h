/*
 * Large pieces of memory straight from the kernel, in huge pages where it has them: a store that
 * grows by hundreds of bytes a row spends more time in page faults of 4 KB than in its own work.
 */
#ifndef AG_STORAGE_MEMORY_PAGES_H
#define AG_STORAGE_MEMORY_PAGES_H

#include <stddef.h>

#define AG_PAGES_UNIT ((size_t)2 << 20)

/* `bytes` is rounded up to AG_PAGES_UNIT; zeroed. NULL: out of memory. */
void *ag_pages_get(size_t bytes);
void ag_pages_put(void *p, size_t bytes); /* with the same bytes */

#endif
