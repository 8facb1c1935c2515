/* A lazy min-heap; see heap.h. */
#include "engine/cache/heap.h"

#include <assert.h>

#include "engine/base/mem.h"

static uint32_t grown(const struct ag_heap *h, uint32_t entries)
{
    uint32_t room = h->room + h->room / 8, least = ag_heap_room_for(entries);

    return room > least ? room : least;
}

size_t ag_heap_need(const struct ag_heap *h, uint32_t entries)
{
    return ag_heap_room_for(entries) <= h->room ? 0 : grown(h, entries) * sizeof(*h->items);
}

bool ag_heap_reserve(struct ag_heap *h, uint32_t entries, size_t *held)
{
    struct ag_heap_item *items;
    uint32_t room;

    if (ag_heap_room_for(entries) <= h->room)
        return true;
    room = grown(h, entries);
    items = ag_realloc(h->items, room * sizeof(*items));
    if (items == NULL)
        return false;
    *held += (room - h->room) * sizeof(*items);
    h->items = items;
    h->room = room;
    return true;
}

static void sift_down(struct ag_heap *h, uint32_t at)
{
    struct ag_heap_item item = h->items[at];

    for (uint32_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->items[child + 1].key < h->items[child].key)
            child++;
        if (h->items[child].key >= item.key)
            break;
        h->items[at] = h->items[child];
    }
    h->items[at] = item;
}

void ag_heap_push(struct ag_heap *h, uint32_t key, uint32_t id)
{
    uint32_t at = h->count++;

    assert(at < h->room);
    for (uint32_t up; at > 0 && h->items[up = (at - 1) / 2].key > key; at = up)
        h->items[at] = h->items[up];
    h->items[at] = (struct ag_heap_item){key, id};
}

void ag_heap_raise_root(struct ag_heap *h, uint32_t key)
{
    h->items[0].key = key;
    sift_down(h, 0);
}

void ag_heap_pop(struct ag_heap *h)
{
    h->items[0] = h->items[--h->count];
    if (h->count > 0)
        sift_down(h, 0);
}

void ag_heap_order(struct ag_heap *h)
{
    for (uint32_t i = h->count / 2; i-- > 0;)
        sift_down(h, i);
}

void ag_heap_rebase(struct ag_heap *h, uint32_t delta)
{
    for (uint32_t i = 0; i < h->count; i++)
        h->items[i].key = h->items[i].key > delta ? h->items[i].key - delta : 0;
}

bool ag_heap_is_ordered(const struct ag_heap *h)
{
    for (uint32_t i = 1; i < h->count; i++)
        if (h->items[i].key < h->items[(i - 1) / 2].key)
            return false;
    return true;
}
