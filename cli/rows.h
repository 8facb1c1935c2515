/*
 * Rows of a view, in the form that was asked for: a table, an array of objects, or an object a line.
 */
#ifndef AG_CLI_ROWS_H
#define AG_CLI_ROWS_H

#include "cli/cmd.h"
#include "cli/table.h"

#define ROWS_COLUMNS_MAX 12

struct rows {
    struct cli *cli;
    const char *const *columns; /* of the table, NULL-terminated; NULL: all there are */
    bool is_json, is_lines;     /* neither: a table */
    bool is_reversed;           /* rows come newest first and leave in id order */
    bool names_only;            /* one bare name a line */
    int64_t count;
    struct table table;
    int index[ROWS_COLUMNS_MAX];
    char *shape;                /* of sql: the columns change between statements */
    size_t *starts, starts_cap; /* where each row begins in the held output */
};

/* Prints in the form of the switches --json and --jsonl. */
void rows_begin(struct rows *r, struct cli *cli, const char *const *columns);
bool rows_take(void *ctx, const agent_row *row); /* an agent_row_fn */
void rows_end(struct rows *r);

/* The members of a view's rows as an array, as the value of a key: for objects that hold others. */
agent_status rows_json(struct cli *cli, const char *key, enum agent_view view, const agent_filter *filter,
                       agent_error *err);
/* "name   value" lines; rows without a value are left out. */
void fields_line(struct out *out, const char *name, const char *p, size_t n);
void fields_cell(struct out *out, const agent_row *row, const char *column, const char *name);
/* A text column of a row; "" where it is NULL. *out_bytes is set. */
const char *row_text(const agent_row *row, const char *column, size_t *out_bytes);
int64_t row_int(const agent_row *row, const char *column); /* 0 where it is NULL or not there */

#endif
