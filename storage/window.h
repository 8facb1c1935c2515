/*
 * The window of a conversation that a model is sent, taken from the newest message backwards: as many as
 * its limits allow, but never half of the newest turn, and never beginning within one.
 *
 *     while (there is an older one and ag_window_fits(&w, its bytes))
 *         ag_window_take(&w, whether a user wrote it);
 *     ag_window_count(&w) of those taken, the newest, are the window
 */
#ifndef AG_STORAGE_WINDOW_H
#define AG_STORAGE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

struct ag_window {
    size_t max_messages, max_bytes;
    size_t taken, bytes;
    size_t whole; /* up to the oldest user message that was taken */
};

/* False: done. Over a limit it goes on only while the newest turn has not come to its beginning. */
static inline bool ag_window_fits(struct ag_window *w, size_t bytes)
{
    w->bytes += bytes;
    return w->whole == 0 || (w->taken < w->max_messages && w->bytes <= w->max_bytes);
}

static inline void ag_window_take(struct ag_window *w, bool by_user)
{
    w->taken++;
    if (by_user)
        w->whole = w->taken;
}

/* Without any user message better what there is than nothing. */
static inline size_t ag_window_count(const struct ag_window *w)
{
    return w->whole > 0 ? w->whole : w->taken;
}

#endif
