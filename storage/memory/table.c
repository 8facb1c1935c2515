#include "storage/memory/table.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"

static size_t page_bytes(const struct ag_ram_table *t)
{
    return sizeof(struct ag_ram_page) + AG_RAM_PAGE_ROWS * t->row_bytes;
}

/* Gives an empty page back, unless ids are still being handed out of it. */
static void page_emptied(struct ag_ram_table *t, size_t index)
{
    struct ag_ram_page *page = t->pages[index];

    if (page == NULL || page->live > 0 || index == (size_t)(t->next_id >> AG_RAM_PAGE_SHIFT))
        return;
    t->pages[index] = NULL;
    if (t->spare == NULL) {
        t->spare = page;
        return;
    }
    ag_free(page);
    t->held_bytes -= page_bytes(t);
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
    if (page != NULL) {
        t->spare = NULL;
    } else {
        if ((page = ag_malloc(page_bytes(t))) == NULL)
            return NULL;
        t->held_bytes += page_bytes(t);
    }
    memset(page, 0, sizeof(*page));
    t->pages[index] = page;
    return page;
}

void *ag_ram_table_new(struct ag_ram_table *t, int64_t *out_id)
{
    size_t index = (size_t)(t->next_id >> AG_RAM_PAGE_SHIFT);
    unsigned slot = (unsigned)t->next_id & (AG_RAM_PAGE_ROWS - 1);
    struct ag_ram_page *page = index < t->page_room ? t->pages[index] : NULL;
    void *row;

    if (page == NULL && (page = page_make(t, index)) == NULL)
        return NULL;
    row = page->rows + slot * t->row_bytes;
    memset(row, 0, t->row_bytes);
    page->bits[slot / 64] |= UINT64_C(1) << (slot % 64);
    page->live++;
    t->count++;
    *out_id = t->next_id++;
    return row;
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
        ag_free(t->pages[i]);
    ag_free(t->spare);
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
