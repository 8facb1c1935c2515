/*
 * Blocks, and whose they are.
 *
 *     nobody's:  │ bytes …                     as malloc gave it: an address that 16 divides
 *     charged:   │ – │ size │ account │ bytes …   24 behind one: an address that 8 divides
 *
 * So one bit of a block's address tells whether there is a header in front of it, and a block that
 * is nobody's pays nothing, neither time nor space. The C library aligns every block of 16 bytes or
 * more for max_align_t; where that is less than 16 every block has the header. The size is kept, for
 * asking malloc for it costs twice as much as all the rest.
 *
 * An account's two sums, so that its home thread needs no atomic instruction:
 *
 *     home_bytes   written by the home thread alone
 *     away         references << 48 | bytes that other threads charged or credited (may be negative)
 *
 * ag_account_close() moves the first into the second; whoever makes it 0 frees the account.
 */
#include "engine/base/mem.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BY_ADDRESS (alignof(max_align_t) >= 16)
#define HEAD_BYTES ((size_t)(BY_ADDRESS ? 24 : 16))
#define ONE_REF    (INT64_C(1) << 48)

#ifndef __has_feature
#define __has_feature(x) 0 /* clang's; gcc has a macro of its own */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define LEAST_BYTES 1 /* it aligns small blocks too, and is to see the byte behind them */
#else
#define LEAST_BYTES 16
#endif

_Static_assert(sizeof(size_t) + sizeof(ag_account *) <= 16, "size and account stand in the header");

struct ag_account {
    _Atomic int64_t home_bytes, home_peak;
    _Atomic int64_t away, away_peak;
};

_Thread_local struct ag_mem_charge ag_mem_charge_now;

static _Thread_local struct {
    unsigned long calls, fail_at;
} self;

unsigned long ag_mem_fail_at(unsigned long nth)
{
    unsigned long had = self.calls;

    self.calls = 0;
    self.fail_at = nth;
    return had;
}

static bool refused(void)
{
    return ++self.calls == self.fail_at;
}

/* --- accounts ------------------------------------------------------------------------------------- */

static int64_t bytes_of(int64_t away)
{
    return (int64_t)((uint64_t)away << 16) >> 16; /* the sign is that of the low 48 bits */
}

static void raise_peak(_Atomic int64_t *peak, int64_t bytes)
{
    int64_t was = atomic_load_explicit(peak, memory_order_relaxed);

    while (bytes > was && !atomic_compare_exchange_weak_explicit(peak, &was, bytes, memory_order_relaxed,
                                                                 memory_order_relaxed))
        ;
}

static void add_home(ag_account *a, int64_t bytes)
{
    int64_t sum = atomic_load_explicit(&a->home_bytes, memory_order_relaxed) + bytes;

    atomic_store_explicit(&a->home_bytes, sum, memory_order_relaxed);
    if (bytes <= 0)
        return;
    sum += bytes_of(atomic_load_explicit(&a->away, memory_order_relaxed));
    if (sum > atomic_load_explicit(&a->home_peak, memory_order_relaxed))
        atomic_store_explicit(&a->home_peak, sum, memory_order_relaxed);
}

/* `amount` may carry references too. */
static void add_away(ag_account *a, int64_t amount)
{
    int64_t home = atomic_load_explicit(&a->home_bytes, memory_order_relaxed);
    int64_t sum = atomic_fetch_add_explicit(&a->away, amount, memory_order_acq_rel) + amount;

    if (sum == 0)
        free(a);
    else if (amount > 0)
        raise_peak(&a->away_peak, bytes_of(sum) + home);
}

static void add(ag_account *a, int64_t bytes)
{
    if ((uintptr_t)a == ag_mem_charge_now.to) /* and not 1 more */
        add_home(a, bytes);
    else
        add_away(a, bytes);
}

ag_account *ag_account_open(void)
{
    ag_account *a = refused() ? NULL : malloc(sizeof(*a));

    if (a == NULL)
        return NULL;
    atomic_init(&a->home_bytes, 0);
    atomic_init(&a->home_peak, 0);
    atomic_init(&a->away, ONE_REF);
    atomic_init(&a->away_peak, 0);
    return a;
}

void ag_account_close(ag_account *a)
{
    if (a != NULL)
        add_away(a, atomic_load_explicit(&a->home_bytes, memory_order_relaxed) - ONE_REF);
}

ag_account *ag_account_ref(ag_account *a)
{
    if (a != NULL)
        (void)atomic_fetch_add_explicit(&a->away, ONE_REF, memory_order_relaxed);
    return a;
}

void ag_account_unref(ag_account *a)
{
    if (a != NULL)
        add_away(a, -ONE_REF);
}

int64_t ag_account_bytes(const ag_account *a)
{
    if (a == NULL)
        return 0;
    return atomic_load_explicit(&a->home_bytes, memory_order_relaxed) +
           bytes_of(atomic_load_explicit(&a->away, memory_order_relaxed));
}

int64_t ag_account_peak(const ag_account *a)
{
    int64_t home, away;

    if (a == NULL)
        return 0;
    home = atomic_load_explicit(&a->home_peak, memory_order_relaxed);
    away = atomic_load_explicit(&a->away_peak, memory_order_relaxed);
    return home > away ? home : away;
}

int64_t ag_account_mark(ag_account *a)
{
    int64_t now = ag_account_bytes(a);

    if (a == NULL)
        return 0;
    atomic_store_explicit(&a->home_peak, now, memory_order_relaxed);
    atomic_store_explicit(&a->away_peak, now, memory_order_relaxed);
    return now;
}

void ag_account_add(ag_account *a, int64_t bytes, bool away)
{
    if (a == NULL)
        return;
    if (away)
        add_away(a, bytes);
    else
        add_home(a, bytes);
}

/* --- blocks --------------------------------------------------------------------------------------- */

struct head {
    size_t bytes; /* as asked for */
    ag_account *account;
};

static bool has_head(const void *p)
{
    return !BY_ADDRESS || ((uintptr_t)p & 8) != 0;
}

static struct head *head_of(const void *p)
{
    return (struct head *)(uintptr_t)p - 1;
}

static char *base_of(const void *p)
{
    return (char *)(uintptr_t)p - HEAD_BYTES;
}

static size_t at_least(size_t bytes)
{
    return bytes < LEAST_BYTES ? LEAST_BYTES : bytes;
}

/* What a block counts for. Never 0, for an account must not end while a block names it; and whole
 * words, so that no sum is -1, which means unknown in the rows. */
static int64_t weight(size_t bytes)
{
    return (int64_t)((bytes > 0 ? bytes + 7 : 8) & ~(size_t)7);
}

/* With its header; base NULL: out of memory. */
static void *take(char *base, size_t bytes, ag_account *a)
{
    if (base == NULL)
        return NULL;
    base += HEAD_BYTES;
    *head_of(base) = (struct head){bytes, a};
    if (a != NULL)
        add(a, weight(bytes));
    return base;
}

void *ag_malloc(size_t bytes)
{
    ag_account *a = ag_mem_charged();

    if (refused())
        return NULL;
    if (a == NULL && BY_ADDRESS)
        return malloc(at_least(bytes));
    return bytes > PTRDIFF_MAX - HEAD_BYTES ? NULL : take(malloc(bytes + HEAD_BYTES), bytes, a);
}

void *ag_calloc(size_t count, size_t bytes)
{
    ag_account *a = ag_mem_charged();

    if (refused() || (bytes > 0 && count > (PTRDIFF_MAX - HEAD_BYTES) / bytes))
        return NULL;
    if (a == NULL && BY_ADDRESS)
        return calloc(1, at_least(count * bytes));
    return take(calloc(1, count * bytes + HEAD_BYTES), count * bytes, a);
}

void *ag_realloc(void *p, size_t bytes)
{
    struct head h;
    char *base;

    if (p == NULL)
        return ag_malloc(bytes);
    if (refused())
        return NULL;
    if (!has_head(p))
        return realloc(p, at_least(bytes));
    h = *head_of(p);
    if (bytes > PTRDIFF_MAX - HEAD_BYTES || (base = realloc(base_of(p), bytes + HEAD_BYTES)) == NULL)
        return NULL;
    p = base + HEAD_BYTES;
    head_of(p)->bytes = bytes;
    if (h.account != NULL)
        add(h.account, weight(bytes) - weight(h.bytes));
    return p;
}

void ag_free(void *p)
{
    struct head h;

    if (p == NULL)
        return;
    if (!has_head(p)) {
        free(p);
        return;
    }
    h = *head_of(p);
    free(base_of(p));
    if (h.account != NULL)
        add(h.account, -weight(h.bytes));
}

bool ag_mem_is_plain(void)
{
    return BY_ADDRESS;
}

size_t ag_mem_size(const void *p)
{
    if (p == NULL)
        return 0;
    return has_head(p) ? head_of(p)->bytes : malloc_usable_size((void *)(uintptr_t)p);
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
