#include "storage/memory/table.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "storage/memory/pages.h"

#define SLABS_FROM 64 /* pages that a table has before it takes slabs */

struct ag_ram_slab { /* at the start of a huge page */
    uint32_t made, room; /* pages of the table: handed out, and how many there are */
    uint32_t live;       /* handed out and not given back */
};

static size_t page_bytes(const struct ag_ram_table *t)
{
    return sizeof(struct ag_ram_page) + AG_RAM_PAGE_ROWS * t->row_bytes;
}

static struct ag_ram_page *page_get(struct ag_ram_table *t)
{
    size_t bytes = page_bytes(t);
    struct ag_ram_slab *slab = t->slab;
    struct ag_ram_page *page;

    if (t->page_count >= SLABS_FROM && (slab == NULL || slab->made == slab->room) &&
        (slab = ag_pages_get(AG_PAGES_UNIT)) != NULL) {
        *slab = (struct ag_ram_slab){.room = (uint32_t)((AG_PAGES_UNIT - AG_RAM_SLAB_HEAD) / bytes)};
        t->slab = slab;
        t->held_bytes += AG_PAGES_UNIT;
    }
    if (t->page_count >= SLABS_FROM && slab != NULL) {
        page = (struct ag_ram_page *)(void *)((char *)slab + AG_RAM_SLAB_HEAD + slab->made++ * bytes);
        slab->live++;
    } else {
        if ((page = ag_malloc(bytes)) == NULL)
            return NULL;
        slab = NULL;
        t->held_bytes += bytes;
    }
    t->page_count++;
    page->slab = slab;
    return page;
}

static void page_put(struct ag_ram_table *t, struct ag_ram_page *page)
{
    struct ag_ram_slab *slab = page->slab;

    t->page_count--;
    if (slab == NULL) {
        ag_free(page);
        t->held_bytes -= page_bytes(t);
    } else if (--slab->live == 0) {
        if (t->slab == slab)
            t->slab = NULL;
        ag_pages_put(slab, AG_PAGES_UNIT);
        t->held_bytes -= AG_PAGES_UNIT;
    }
}

/* Gives an empty page back, unless ids are still being handed out of it. */
static void page_emptied(struct ag_ram_table *t, size_t index)
{
    struct ag_ram_page *page = t->pages[index];

    if (page == NULL || page->live > 0 || index == (size_t)(t->next_id >> AG_RAM_PAGE_SHIFT))
        return;
    t->pages[index] = NULL;
    if (t->spare == NULL)
        t->spare = page;
    else
        page_put(t, page);
}

static struct ag_ram_page *page_make(struct ag_ram_table *t, size_t index)
{
    struct ag_ram_page *page = t->spare;

    if (index >= t->page_room) {
        size_t room = t->page_room == 0 ? 16 : t->page_room * 2;
        struct ag_ram_page **pages = ag_realloc(t->pages, room * sizeof(struct ag_ram_page *));

        if (pages == NULL)
            return NULL;
        memset(pages + t->page_room, 0, (room - t->page_room) * sizeof(struct ag_ram_page *));
        t->held_bytes += (room - t->page_room) * sizeof(struct ag_ram_page *);
        t->pages = pages;
        t->page_room = room;
    }
    if (page != NULL)
        t->spare = NULL;
    else if ((page = page_get(t)) == NULL)
        return NULL;
    page->live = 0;
    memset(page->bits, 0, sizeof(page->bits));
    t->pages[index] = page;
    return page;
}

void *ag_ram_table_raw(struct ag_ram_table *t, int64_t *out_id)
{
    size_t index = (size_t)(t->next_id >> AG_RAM_PAGE_SHIFT);
    unsigned slot = (unsigned)t->next_id & (AG_RAM_PAGE_ROWS - 1);
    struct ag_ram_page *page = index < t->page_room ? t->pages[index] : NULL;

    if (page == NULL && (page = page_make(t, index)) == NULL)
        return NULL;
    page->bits[slot / 64] |= UINT64_C(1) << (slot % 64);
    page->live++;
    t->count++;
    *out_id = t->next_id++;
    return page->rows + slot * t->row_bytes;
}

void *ag_ram_table_new(struct ag_ram_table *t, int64_t *out_id)
{
    void *row = ag_ram_table_raw(t, out_id);

    return row == NULL ? NULL : memset(row, 0, t->row_bytes);
}

void ag_ram_table_hide(struct ag_ram_table *t, int64_t id)
{
    struct ag_ram_page *page = t->pages[id >> AG_RAM_PAGE_SHIFT];
    unsigned slot = (unsigned)id & (AG_RAM_PAGE_ROWS - 1);

    page->bits[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    t->count--;
}

void ag_ram_table_unhide(struct ag_ram_table *t, int64_t id)
{
    struct ag_ram_page *page = t->pages[id >> AG_RAM_PAGE_SHIFT];
    unsigned slot = (unsigned)id & (AG_RAM_PAGE_ROWS - 1);

    page->bits[slot / 64] |= UINT64_C(1) << (slot % 64);
    t->count++;
}

void ag_ram_table_release(struct ag_ram_table *t, int64_t id)
{
    size_t index = (size_t)(id >> AG_RAM_PAGE_SHIFT);

    t->pages[index]->live--;
    page_emptied(t, index);
}

void ag_ram_table_unmake(struct ag_ram_table *t, int64_t id)
{
    assert(id == t->next_id - 1);
    ag_ram_table_hide(t, id);
    t->next_id = id;
    t->pages[id >> AG_RAM_PAGE_SHIFT]->live--;
}

void ag_ram_table_drop(struct ag_ram_table *t)
{
    for (size_t i = 0; i < t->page_room; i++)
        if (t->pages[i] != NULL)
            page_put(t, t->pages[i]);
    if (t->spare != NULL)
        page_put(t, t->spare);
    ag_free(t->pages);
    *t = (struct ag_ram_table){.row_bytes = t->row_bytes, .next_id = 1};
}

int64_t ag_ram_table_after(const struct ag_ram_table *t, int64_t id)
{
    for (id++; id < t->next_id;) {
        const struct ag_ram_page *page = t->pages[id >> AG_RAM_PAGE_SHIFT];
        unsigned slot = (unsigned)id & (AG_RAM_PAGE_ROWS - 1);
        uint64_t word;

        if (page == NULL) {
            id = ((id >> AG_RAM_PAGE_SHIFT) + 1) << AG_RAM_PAGE_SHIFT;
            continue;
        }
        if ((word = page->bits[slot / 64] >> (slot % 64)) != 0)
            return id + __builtin_ctzll(word);
        id = (id | 63) + 1;
    }
    return 0;
}

int64_t ag_ram_table_before(const struct ag_ram_table *t, int64_t id)
{
    for (id--; id > 0;) {
        const struct ag_ram_page *page = t->pages[id >> AG_RAM_PAGE_SHIFT];
        unsigned slot = (unsigned)id & (AG_RAM_PAGE_ROWS - 1);
        uint64_t word;

        if (page == NULL) {
            id = ((id >> AG_RAM_PAGE_SHIFT) << AG_RAM_PAGE_SHIFT) - 1;
            continue;
        }
        if ((word = page->bits[slot / 64] << (63 - slot % 64)) != 0)
            return id - __builtin_clzll(word);
        id = (id & ~INT64_C(63)) - 1;
    }
    return 0;
}
