/*
 * The views of the file, made of rows in memory: the same columns, names and types as the SQL in
 * migrations/ gives.
 *
 *     table row ──expand──► refs, oldest first, of what the filter lets through ──fill──► cells
 */
#ifndef AG_STORAGE_MEMORY_SCAN_H
#define AG_STORAGE_MEMORY_SCAN_H

#include "engine/base/buf.h"
#include "storage/memory/ram.h"

#define AG_RAM_CELLS_MAX 24

struct ag_ram_ref { /* one row of a view */
    const void *row, *sub; /* the table's row, and what of it */
    int64_t at_ms, order;  /* of a line of the log */
    int what;
};

struct ag_ram_refs {
    struct ag_ram_ref *at;
    size_t count, room;
};

struct ag_ram_scan {
    struct ag_ram *m;
    const struct ag_ram_view *view;
    agent_filter filter;
    agent_row_fn fn;
    void *ctx;
    struct ag_ram_refs refs; /* of the table row at hand */
    bool out_of_memory;
    struct ag_cell cells[AG_RAM_CELLS_MAX]; /* of the row at hand */
    int count;
    char times[8][32]; /* texts of times in them */
    int time_count;
    char trace[33];
    ag_buf text; /* a text that was made for it */
};

/* The fields of a filter that a view has a column for. */
enum ag_ram_by {
    AG_RAM_BY_AGENT = 1, AG_RAM_BY_SESSION = 2, AG_RAM_BY_RUN = 4, AG_RAM_BY_STATUS = 8, AG_RAM_BY_NAME = 16,
    AG_RAM_BY_SCOPE = 32, AG_RAM_BY_SEARCH = 64, AG_RAM_BY_SINCE = 128,
};

struct ag_ram_view {
    const char *name;
    const char *const *names; /* of the columns */
    int count;
    unsigned by;      /* of ag_ram_by */
    size_t table;     /* offset in struct ag_ram; 0: no rows */
    int64_t (*only)(const struct ag_ram_scan *s); /* the one table row that is asked for; 0: all; NULL: always all */
    void (*expand)(struct ag_ram_scan *s, const void *row);
    void (*fill)(struct ag_ram_scan *s, const struct ag_ram_ref *ref);
};

extern const struct ag_ram_view ag_ram_views[AGENT_VIEW_LIMIT];

/* For expand. */
void ag_ram_ref_add(struct ag_ram_scan *s, struct ag_ram_ref ref);

#endif
