/*
 * Rows of one size, found by their id: increasing from 1, never used twice. A row stays where it
 * is until it is gone.
 *
 *     id ──► pages[id / PER_PAGE] ──► [ live | bits | row row row … ]     NULL: all of its rows are gone
 *
 * No growth ever copies rows, and a window of ids that slides (ended runs, their sessions) keeps
 * a few pages: one that emptied is reused for the newest. A table of many pages takes them out of
 * slabs of one huge page each: the kernel makes that at once, and not at the touch of each 4 KB.
 */
#ifndef AG_STORAGE_MEMORY_TABLE_H
#define AG_STORAGE_MEMORY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AG_RAM_SLAB_HEAD  64
#define AG_RAM_PAGE_SHIFT 8
#define AG_RAM_PAGE_ROWS  (1 << AG_RAM_PAGE_SHIFT)

struct ag_ram_page {
    struct ag_ram_slab *slab;             /* it is a part of; NULL: of the heap */
    uint32_t live;                        /* rows not given back; a row in mid-removal still counts */
    uint64_t bits[AG_RAM_PAGE_ROWS / 64]; /* rows that can be seen */
    char rows[] __attribute__((aligned(16)));
};

struct ag_ram_table {
    struct ag_ram_page **pages;
    size_t page_room;
    size_t row_bytes;
    int64_t next_id; /* 1 in an empty table */
    int64_t count;   /* rows that can be seen */
    struct ag_ram_page *spare;
    struct ag_ram_slab *slab; /* the newest; NULL: none */
    size_t page_count;        /* with the spare one */
    size_t held_bytes;
};

#define AG_RAM_TABLE_INIT(type) ((struct ag_ram_table){.row_bytes = sizeof(type), .next_id = 1})

void *ag_ram_table_new(struct ag_ram_table *t, int64_t *out_id); /* zeroed; NULL: out of memory */
void *ag_ram_table_raw(struct ag_ram_table *t, int64_t *out_id); /* not zeroed */
/* Two steps, so that a removal can be taken back until it is released. */
void ag_ram_table_hide(struct ag_ram_table *t, int64_t id);
void ag_ram_table_unhide(struct ag_ram_table *t, int64_t id);
void ag_ram_table_release(struct ag_ram_table *t, int64_t id);
void ag_ram_table_unmake(struct ag_ram_table *t, int64_t id); /* of the newest row: its id is free again */
void ag_ram_table_drop(struct ag_ram_table *t);
/* The nearest row after (or before) `id`; 0: none. Begin with 0 (or next_id). */
int64_t ag_ram_table_after(const struct ag_ram_table *t, int64_t id);
int64_t ag_ram_table_before(const struct ag_ram_table *t, int64_t id);

/* NULL: no such row. */
static inline void *ag_ram_table_at(const struct ag_ram_table *t, int64_t id)
{
    const struct ag_ram_page *page;
    unsigned slot = (unsigned)id & (AG_RAM_PAGE_ROWS - 1);

    if (id <= 0 || id >= t->next_id)
        return NULL;
    page = t->pages[id >> AG_RAM_PAGE_SHIFT];
    if (page == NULL || (page->bits[slot / 64] >> (slot % 64) & 1) == 0)
        return NULL;
    return (char *)page->rows + slot * t->row_bytes;
}

#endif
