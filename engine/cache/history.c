/* History control blocks; see history.h. Open addressing, removal shifts the run back. */
#include "engine/cache/history.h"

#include <string.h>

#include "engine/base/mem.h"

#define FIRST_BLOCKS 64u
#define SAMPLED      8 /* at the limit the oldest of so many neighbours goes */

void ag_history_init(struct ag_history *h, int k, bool has_last)
{
    *h = (struct ag_history){.limit = UINT32_MAX, .times = (uint8_t)(k - 1), .has_last = has_last};
    h->words = (uint8_t)(2 + h->times + has_last);
}

void ag_history_drop(struct ag_history *h)
{
    ag_free(h->blocks);
    h->blocks = NULL;
    h->count = 0;
    h->held_bytes = 0;
}

static uint32_t *block_at(const struct ag_history *h, uint32_t at)
{
    return &h->blocks[(size_t)at * h->words];
}

/* HIST(1) is never 0 in a block. */
static bool is_empty(const struct ag_history *h, uint32_t at)
{
    return block_at(h, at)[2] == 0;
}

static uint32_t last_of(const struct ag_history *h, uint32_t at)
{
    return block_at(h, at)[h->has_last ? h->words - 1 : 2];
}

static uint32_t home_of(const struct ag_history *h, uint32_t at)
{
    return block_at(h, at)[0] & h->mask;
}

static uint32_t blocks_for(const struct ag_history *h, uint32_t blocks)
{
    uint64_t room = h->blocks == NULL ? FIRST_BLOCKS : (uint64_t)h->mask + 1;

    while (room - room / 4 < blocks)
        room *= 2;
    return (uint32_t)room;
}

static bool has_room(const struct ag_history *h, uint32_t blocks)
{
    return h->times == 0 || (h->blocks != NULL && blocks_for(h, blocks) == h->mask + 1);
}

size_t ag_history_need(const struct ag_history *h, uint32_t blocks)
{
    return has_room(h, blocks) ? 0 : (size_t)blocks_for(h, blocks) * h->words * sizeof(uint32_t);
}

static void put(struct ag_history *h, const uint32_t *block)
{
    uint32_t at = block[0] & h->mask;

    while (!is_empty(h, at) && memcmp(block_at(h, at), block, 2 * sizeof(uint32_t)) != 0)
        at = (at + 1) & h->mask;
    h->count += is_empty(h, at);
    memcpy(block_at(h, at), block, h->words * sizeof(uint32_t));
}

bool ag_history_reserve(struct ag_history *h, uint32_t blocks)
{
    struct ag_history more = *h;
    uint32_t room;

    if (has_room(h, blocks))
        return true;
    room = blocks_for(h, blocks);
    more.blocks = ag_calloc(room, h->words * sizeof(uint32_t));
    if (more.blocks == NULL)
        return false;
    more.mask = room - 1;
    more.count = more.hand = 0;
    more.held_bytes = (size_t)room * h->words * sizeof(uint32_t);
    if (h->blocks != NULL)
        for (uint32_t i = 0; i <= h->mask; i++)
            if (!is_empty(h, i))
                put(&more, block_at(h, i));
    ag_free(h->blocks);
    *h = more;
    return true;
}

static void remove_at(struct ag_history *h, uint32_t hole)
{
    for (uint32_t at = (hole + 1) & h->mask; !is_empty(h, at); at = (at + 1) & h->mask)
        if (((at - home_of(h, at)) & h->mask) >= ((at - hole) & h->mask)) {
            memcpy(block_at(h, hole), block_at(h, at), h->words * sizeof(uint32_t));
            hole = at;
        }
    memset(block_at(h, hole), 0, h->words * sizeof(uint32_t));
    h->count--;
}

static void forget_an_old_one(struct ag_history *h)
{
    uint32_t oldest = UINT32_MAX;
    int seen = 0;

    while (seen < SAMPLED && seen < (int)h->count) {
        h->hand = (h->hand + 1) & h->mask;
        if (is_empty(h, h->hand))
            continue;
        if (oldest == UINT32_MAX || last_of(h, h->hand) < last_of(h, oldest))
            oldest = h->hand;
        seen++;
    }
    if (oldest != UINT32_MAX)
        remove_at(h, oldest);
}

void ag_history_add(struct ag_history *h, uint64_t hash, const uint32_t *hist, uint32_t last)
{
    uint32_t block[2 + 3 + 1] = {(uint32_t)hash, (uint32_t)(hash >> 32)};

    if (h->times == 0 || h->limit == 0 || hist[0] == 0)
        return;
    while (h->count > 0 && h->count >= h->limit)
        forget_an_old_one(h);
    if (!ag_history_reserve(h, h->count + 1))
        return;
    memcpy(&block[2], hist, h->times * sizeof(uint32_t));
    if (h->has_last)
        block[h->words - 1] = last;
    put(h, block);
}

static uint32_t find(const struct ag_history *h, uint64_t hash)
{
    const uint32_t key[2] = {(uint32_t)hash, (uint32_t)(hash >> 32)};

    if (h->blocks == NULL)
        return UINT32_MAX;
    for (uint32_t at = key[0] & h->mask; !is_empty(h, at); at = (at + 1) & h->mask)
        if (memcmp(block_at(h, at), key, sizeof(key)) == 0)
            return at;
    return UINT32_MAX;
}

bool ag_history_has(const struct ag_history *h, uint64_t hash)
{
    return find(h, hash) != UINT32_MAX;
}

bool ag_history_take(struct ag_history *h, uint64_t hash, uint32_t *hist, uint32_t *last)
{
    uint32_t at = find(h, hash);

    if (at == UINT32_MAX)
        return false;
    memcpy(hist, block_at(h, at) + 2, h->times * sizeof(uint32_t));
    *last = last_of(h, at);
    remove_at(h, at);
    return true;
}

void ag_history_purge(struct ag_history *h, uint32_t oldest)
{
    if (h->blocks == NULL)
        return;
    for (uint32_t i = 0; i <= h->mask;)
        if (!is_empty(h, i) && last_of(h, i) < oldest)
            remove_at(h, i); /* another may have moved here: look again */
        else
            i++;
}

void ag_history_rebase(struct ag_history *h, uint32_t delta)
{
    if (h->blocks == NULL)
        return;
    for (uint32_t i = 0; i <= h->mask; i++)
        for (unsigned w = 2; w < h->words; w++) {
            uint32_t *t = &block_at(h, i)[w];

            if (*t != 0)
                *t = *t > delta ? *t - delta : 1;
        }
}
