/*
 * Aligned columns.
 */
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

#define GAP       2 /* columns between two cells */
#define WIDTH_MIN 2 /* a column is not cut below this: a character and the ellipsis */
#define PAD_MOST  80 /* in a pipe, where nothing is cut: one long cell does not widen every row */

void table_init(struct table *t, int columns)
{
    *t = (struct table){.columns = columns};
}

static struct cell *add(struct table *t)
{
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->cells = cli_realloc(t->cells, t->cap * sizeof(*t->cells));
    }
    t->cells[t->count] = (struct cell){0};
    return &t->cells[t->count++];
}

void table_text(struct table *t, const char *p, size_t n)
{
    struct cell *cell = add(t);

    cell->at = cli_alloc(n + 1);
    for (size_t i = 0; i < n; i++) /* a cell is one line, and no escape sequence reaches a terminal */
        cell->at[i] = (unsigned char)p[i] < 0x20 || p[i] == 0x7F ? ' ' : p[i];
    cell->at[n] = '\0';
    cell->bytes = (uint32_t)n;
    cell->width = (uint32_t)text_width(p, n);
}

void table_int(struct table *t, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", (long long)v);

    table_text(t, text, (size_t)n);
    t->cells[t->count - 1].is_number = true;
}

void table_cell(struct table *t, const agent_row *row, int column)
{
    enum agent_value_type type = column < 0 ? AGENT_VALUE_NULL : agent_row_type(row, column);
    size_t bytes = 0;
    const char *text;
    char number[40];

    switch (type) {
    case AGENT_VALUE_NULL:
        table_text(t, "", 0);
        t->cells[t->count - 1].is_number = true; /* does not turn a column of numbers into text */
        return;
    case AGENT_VALUE_INT:
        table_int(t, agent_row_int(row, column));
        return;
    case AGENT_VALUE_REAL:
        table_text(t, number, (size_t)snprintf(number, sizeof(number), "%.15g", agent_row_real(row, column)));
        t->cells[t->count - 1].is_number = true;
        return;
    case AGENT_VALUE_TEXT:
        text = agent_row_text(row, column, &bytes);
        table_text(t, text == NULL ? "" : text, bytes);
        return;
    case AGENT_VALUE_BLOB:
        (void)agent_row_text(row, column, &bytes);
        table_text(t, number, (size_t)snprintf(number, sizeof(number), "<%zu bytes>", bytes));
        return;
    }
}

/* Takes columns from the widest until the line fits. */
static void fit(size_t *width, int columns, size_t screen)
{
    for (;;) {
        size_t total = (size_t)(columns - 1) * GAP;
        int widest = 0;

        for (int c = 0; c < columns; c++) {
            total += width[c];
            if (width[c] > width[widest])
                widest = c;
        }
        if (total <= screen || width[widest] <= WIDTH_MIN)
            return;
        width[widest]--;
    }
}

static void pad(struct out *out, size_t n)
{
    static const char blanks[] = "                                ";

    for (; n > sizeof(blanks) - 1; n -= sizeof(blanks) - 1)
        out_bytes(out, blanks, sizeof(blanks) - 1);
    out_bytes(out, blanks, n);
}

/* Blanks are owed until something follows them: no line ends in one. */
static void print_cell(struct out *out, const struct cell *cell, size_t width, bool is_right, bool may_cut, size_t *owed)
{
    size_t head = cell->bytes, shown = cell->width;
    const bool is_cut = may_cut && shown > width;

    if (is_cut) {
        head = text_head(cell->at, cell->bytes, width - 1);
        shown = text_width(cell->at, head) + 1;
    }
    if (shown > width)
        width = shown;
    if (is_right)
        *owed += width - shown;
    if (shown > 0) {
        pad(out, *owed);
        *owed = 0;
        out_bytes(out, cell->at, head);
        if (is_cut)
            out_text(out, "…");
    }
    if (!is_right)
        *owed += width - shown;
}

void table_print(struct table *t, struct out *out, bool with_header)
{
    const int columns = t->columns;
    const size_t rows = columns == 0 ? 0 : t->count / (size_t)columns;
    size_t *width = cli_alloc((size_t)columns * sizeof(*width));
    bool *is_right = cli_alloc((size_t)columns * sizeof(*is_right));
    int screen = out_columns(out);

    for (int c = 0; c < columns; c++) {
        width[c] = 1;
        is_right[c] = true;
        for (size_t r = with_header ? 0 : 1; r < rows; r++) {
            const struct cell *cell = &t->cells[r * (size_t)columns + (size_t)c];

            if (cell->width > width[c])
                width[c] = screen > 0 || cell->width < PAD_MOST ? cell->width : PAD_MOST;
            if (r > 0 && !cell->is_number)
                is_right[c] = false;
        }
    }
    if (screen > 0)
        fit(width, columns, (size_t)screen);
    for (size_t r = with_header ? 0 : 1; rows > 1 && r < rows; r++) {
        size_t owed = 0;

        if (r == 0 && out->has_colour)
            out_text(out, "\033[1m");
        for (int c = 0; c < columns; c++) {
            print_cell(out, &t->cells[r * (size_t)columns + (size_t)c], width[c], is_right[c], screen > 0,
                       &owed);
            owed += GAP;
        }
        if (r == 0 && out->has_colour)
            out_text(out, "\033[0m");
        out_text(out, "\n");
    }
    free(width);
    free(is_right);
    table_drop(t);
}

void table_reverse(struct table *t)
{
    const size_t columns = (size_t)t->columns, rows = columns == 0 ? 0 : t->count / columns;

    for (size_t a = 1, b = rows; a + 1 < b; a++) {
        b--;
        for (size_t c = 0; c < columns; c++) {
            struct cell turn = t->cells[a * columns + c];

            t->cells[a * columns + c] = t->cells[b * columns + c];
            t->cells[b * columns + c] = turn;
        }
    }
}

void table_drop(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i].at);
    free(t->cells);
    *t = (struct table){.columns = t->columns};
}
