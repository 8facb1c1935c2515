/*
 * Messages to a worker from other threads: a lock-free stack that the worker takes whole and turns
 * round, so that messages of one sender arrive in their order. A message is embedded in the object
 * it is about; it may be in one inbox at a time.
 */
#ifndef AG_ENGINE_INBOX_H
#define AG_ENGINE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct ag_post {
    struct ag_post *next;
    void (*fn)(struct ag_post *post); /* on the worker's thread */
};

typedef struct ag_inbox {
    struct ag_post *_Atomic top;
} ag_inbox;

/* True: it was empty, so the worker must be woken. */
static inline bool ag_inbox_put(ag_inbox *in, struct ag_post *post)
{
    struct ag_post *top = atomic_load_explicit(&in->top, memory_order_relaxed);

    do
        post->next = top;
    while (!atomic_compare_exchange_weak_explicit(&in->top, &top, post, memory_order_release,
                                                  memory_order_relaxed));
    return top == NULL;
}

/* All messages, oldest first; NULL: none. */
static inline struct ag_post *ag_inbox_take(ag_inbox *in)
{
    struct ag_post *post, *first = NULL;

    if (atomic_load_explicit(&in->top, memory_order_relaxed) == NULL)
        return NULL;
    post = atomic_exchange_explicit(&in->top, NULL, memory_order_acquire);
    while (post != NULL) {
        struct ag_post *next = post->next;

        post->next = first;
        first = post;
        post = next;
    }
    return first;
}

#endif
