/*
 * The one door to the heap. Everything of ours allocates here, so tests can fail the n-th call and
 * the memory report can count. No function aborts: NULL means out of memory.
 *
 * Counting: a thread may say on whose account it allocates. A block that is charged remembers its
 * account; whoever frees it, on whichever thread, credits that one. A block made while no account is
 * set costs and remembers nothing.
 *
 *     was = ag_mem_charge(run's account);   from here on this thread allocates for the run
 *     … ag_malloc, ag_realloc, ag_free …
 *     ag_mem_charge_back(was);              and for whom it did before
 *
 *  (1) An account has one home thread at a time: the one that owns what it is about. It is charged
 *      there without an atomic instruction; others charge beside it (ag_mem_charge_away).
 *  (2) A block stays with the account it was made on, also when it grows.
 *  (3) An account lives until it is closed, nobody holds a reference, and its last block is freed.
 */
#ifndef AG_BASE_MEM_H
#define AG_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *ag_malloc(size_t bytes);
void *ag_calloc(size_t count, size_t bytes);
void *ag_realloc(void *p, size_t bytes);
char *ag_strdup(const char *s);                 /* NULL in, NULL out */
char *ag_memdup0(const void *p, size_t bytes);  /* copy with a NUL behind it */
void ag_free(void *p);                          /* NULL is fine */
/* Whether a block that is made for nobody is malloc's own, so that free() may have it. */
bool ag_mem_is_plain(void);
size_t ag_mem_size(const void *p);              /* of a block of ours: at least what was asked for; NULL: 0 */

/* Fault injection for tests: the n-th allocation from now fails (1 = the next), 0 = none does.
 * Per thread; returns how many allocations this thread has made since the last call. */
unsigned long ag_mem_fail_at(unsigned long nth);

/* --- accounts ------------------------------------------------------------------------------------- */

typedef struct ag_account ag_account;

ag_account *ag_account_open(void); /* NULL: out of memory */
/* By its home thread, which never charges it again. NULL is fine. */
void ag_account_close(ag_account *a);
/* Keeps it for somebody who charges it beside its home; any thread; NULL is fine. */
ag_account *ag_account_ref(ag_account *a);
void ag_account_unref(ag_account *a);

/* For whom a thread allocates: the account's address, plus 1 where its home is another thread. */
struct ag_mem_charge {
    uintptr_t to;
};
extern _Thread_local struct ag_mem_charge ag_mem_charge_now; /* for the functions below alone */

static inline void ag_mem_charge_back(struct ag_mem_charge was)
{
    ag_mem_charge_now = was;
}

/* NULL: for nobody. Gives what was before, for ag_mem_charge_back(). This thread is its home now: (1). */
static inline struct ag_mem_charge ag_mem_charge(ag_account *to)
{
    struct ag_mem_charge was = ag_mem_charge_now;

    ag_mem_charge_now.to = (uintptr_t)to;
    return was;
}

/* The same on a thread that is not its home. */
static inline struct ag_mem_charge ag_mem_charge_away(ag_account *to)
{
    struct ag_mem_charge was = ag_mem_charge_now;

    ag_mem_charge_now.to = to != NULL ? (uintptr_t)to | 1 : 0;
    return was;
}

static inline ag_account *ag_mem_charged(void) /* NULL: nobody */
{
    return (ag_account *)(ag_mem_charge_now.to & ~(uintptr_t)1);
}

/* Bytes that it holds: what was asked for in whole words of 8 bytes; NULL: 0. On its home thread. */
int64_t ag_account_bytes(const ag_account *a);
/* The most it held since ag_account_mark(), which gives what it holds now. */
int64_t ag_account_peak(const ag_account *a);
int64_t ag_account_mark(ag_account *a);
/* Charges or credits by hand what is not a block of ours: pooled objects, a host's memory. `away`: not
 * on the home thread; then the caller holds a reference. Multiples of 8. */
void ag_account_add(ag_account *a, int64_t bytes, bool away);

#endif
