/*
 * Rows for people: aligned columns. On a terminal no line is wider than the screen (long cells end
 * in an ellipsis); in a pipe nothing is cut.
 */
#ifndef AG_CLI_TABLE_H
#define AG_CLI_TABLE_H

#include "cli/out.h"

struct table {
    int columns;
    size_t count, cap; /* of cells; the first row is the header */
    struct cell {
        char *at;
        uint32_t bytes, width;
        bool is_number;
    } *cells;
};

void table_init(struct table *t, int columns);
/* Cells come row by row, from the header on. Control characters become spaces. */
void table_text(struct table *t, const char *p, size_t n);
void table_int(struct table *t, int64_t v);
void table_cell(struct table *t, const agent_row *row, int column); /* column -1 or NULL value: empty */
/* Writes what has come and empties the table. Without a row nothing is written. Cells are cut to fit a
 * terminal; in a pipe they are whole. */
void table_print(struct table *t, struct out *out, bool with_header);
/* The same from the last row to the first. */
void table_reverse(struct table *t);
void table_drop(struct table *t);

#endif
