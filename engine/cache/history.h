/*
 * The history control blocks of exact LRU-K: what is known of keys that are not resident. Found by
 * the whole 64-bit hash; nothing is forgotten but by the retained information period or by a limit.
 *
 *    block = { hash, LAST (only with a correlated reference period), HIST(1..K-1) }   12 bytes at K = 2
 *
 * HIST(K) itself is not kept: the reference that brings the page back pushes it out.
 */
#ifndef AG_CACHE_HISTORY_H
#define AG_CACHE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ag_history {
    uint32_t *blocks;
    uint32_t mask;   /* blocks - 1 */
    uint32_t count;
    uint32_t limit;  /* UINT32_MAX: none */
    uint32_t hand;   /* where the search for the oldest goes on */
    uint8_t words;   /* of a block */
    uint8_t times;   /* HISTs in a block: K - 1 */
    bool has_last;
    size_t held_bytes;
};

void ag_history_init(struct ag_history *h, int k, bool has_last);
void ag_history_drop(struct ag_history *h);
/* Bytes that room for `blocks` takes at its peak. */
size_t ag_history_need(const struct ag_history *h, uint32_t blocks);
bool ag_history_reserve(struct ag_history *h, uint32_t blocks);
/* Keeps hist[0..K-2] and last. At the limit the oldest of a few goes; without room nothing is kept. */
void ag_history_add(struct ag_history *h, uint64_t hash, const uint32_t *hist, uint32_t last);
/* Takes a block out. hist gets K - 1 times. */
bool ag_history_take(struct ag_history *h, uint64_t hash, uint32_t *hist, uint32_t *last);
bool ag_history_has(const struct ag_history *h, uint64_t hash);
/* Forgets the blocks whose LAST is before `oldest`. */
void ag_history_purge(struct ag_history *h, uint32_t oldest);
void ag_history_rebase(struct ag_history *h, uint32_t delta);

#endif
