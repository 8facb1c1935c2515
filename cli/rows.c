/*
 * Rows out. A JSON array has one object a line, so that it can be read by eye and by line too.
 */
#include "cli/rows.h"

#include <stdlib.h>
#include <string.h>

void rows_begin(struct rows *r, struct cli *cli, const char *const *columns)
{
    *r = (struct rows){.cli = cli, .columns = columns, .is_json = cli->json, .is_lines = cli->jsonl};
}

/* --- tables -------------------------------------------------------------------------------------------- */

static int column_count(const struct rows *r, const agent_row *row)
{
    int n = 0;

    if (r->columns == NULL)
        return agent_row_count(row);
    while (r->columns[n] != NULL)
        n++;
    return n;
}

static void begin_table(struct rows *r, const agent_row *row)
{
    int count = column_count(r, row);

    table_init(&r->table, count);
    for (int i = 0; i < count; i++) {
        const char *name = r->columns == NULL ? agent_row_name(row, i) : r->columns[i];

        if (r->columns != NULL && i < ROWS_COLUMNS_MAX)
            r->index[i] = agent_row_find(row, name);
        table_text(&r->table, name, strlen(name));
    }
}

/* The names of a row's columns in one string: what tells two result sets of sql apart. */
static char *shape_of(const agent_row *row)
{
    size_t bytes = 1;
    char *shape, *to;

    for (int i = 0; i < agent_row_count(row); i++)
        bytes += strlen(agent_row_name(row, i)) + 1;
    to = shape = cli_alloc(bytes);
    for (int i = 0; i < agent_row_count(row); i++) {
        size_t n = strlen(agent_row_name(row, i));

        memcpy(to, agent_row_name(row, i), n);
        to[n] = '\n';
        to += n + 1;
    }
    *to = '\0';
    return shape;
}

static void take_table(struct rows *r, const agent_row *row)
{
    int count = column_count(r, row);

    if (r->count == 0) {
        begin_table(r, row);
        if (r->columns == NULL)
            r->shape = shape_of(row);
    } else if (r->columns == NULL) {
        char *shape = shape_of(row);

        if (strcmp(shape, r->shape) != 0) {
            table_print(&r->table, &r->cli->out, true);
            out_text(&r->cli->out, "\n");
            begin_table(r, row);
        }
        free(r->shape);
        r->shape = shape;
    }
    for (int i = 0; i < count; i++)
        table_cell(&r->table, row, r->columns == NULL ? i : r->index[i]);
}

/* --- lines ------------------------------------------------------------------------------------------------ */

static void put_name(struct out *out, const agent_row *row)
{
    size_t bytes;
    const char *name = row_text(row, "name", &bytes);

    if (bytes > 0)
        out_bytes(out, name, bytes);
    else
        out_fmt(out, "%lld", (long long)row_int(row, agent_row_find(row, "id") >= 0 ? "id" : "run_id"));
}

/* A name, an object of its own or one of an array. Rows that come newest first are held back. */
static void take_line(struct rows *r, const agent_row *row)
{
    struct out *out = &r->cli->out;

    if (r->is_reversed) {
        out->is_held = true;
        if ((size_t)r->count == r->starts_cap) {
            r->starts_cap = r->starts_cap == 0 ? 64 : 2 * r->starts_cap;
            r->starts = cli_realloc(r->starts, r->starts_cap * sizeof(*r->starts));
        }
        r->starts[r->count] = out->bytes;
    } else if (r->is_json) {
        out_text(out, r->count == 0 ? "[\n" : ",\n");
    }
    out->wants_comma = false;
    if (r->names_only)
        put_name(out, row);
    else
        put_row(out, row);
    if (!r->is_json && !r->is_reversed)
        put_line(out);
}

static void print_reversed(struct rows *r)
{
    struct out *out = &r->cli->out;
    struct out held = *out;

    out->at = NULL;
    out->bytes = out->cap = 0;
    out->is_held = false;
    for (int64_t i = r->count; i-- > 0;) {
        size_t end = i + 1 < r->count ? r->starts[i + 1] : held.bytes;

        if (r->is_json)
            out_text(out, i + 1 == r->count ? "[\n" : ",\n");
        out_bytes(out, held.at + r->starts[i], end - r->starts[i]);
        if (!r->is_json)
            out_text(out, "\n");
    }
    free(held.at);
}

/* --- both ------------------------------------------------------------------------------------------------- */

static bool is_table(const struct rows *r)
{
    return !r->is_json && !r->is_lines && !r->names_only;
}

bool rows_take(void *ctx, const agent_row *row)
{
    struct rows *r = ctx;

    if (is_table(r))
        take_table(r, row);
    else
        take_line(r, row);
    r->count++;
    return !r->cli->out.is_closed && r->cli->out.error == 0;
}

void rows_end(struct rows *r)
{
    struct out *out = &r->cli->out;

    if (is_table(r)) {
        if (r->is_reversed)
            table_reverse(&r->table);
        if (r->count > 0)
            table_print(&r->table, out, true);
    } else if (r->is_reversed && r->count > 0) {
        print_reversed(r);
    }
    if (r->is_json)
        out_text(out, r->count == 0 ? "[]\n" : "\n]\n");
    out->wants_comma = false;
    table_drop(&r->table);
    free(r->shape);
    free(r->starts);
    r->shape = NULL;
    r->starts = NULL;
}

static bool take_object(void *ctx, const agent_row *row)
{
    put_row(ctx, row);
    return true;
}

agent_status rows_json(struct cli *cli, const char *key, enum agent_view view, const agent_filter *filter,
                       agent_error *err)
{
    agent_status rc;

    put_key(&cli->out, key);
    put_open(&cli->out, '[');
    rc = agent_scan(cli->engine, view, filter, take_object, &cli->out, err);
    put_close(&cli->out, '[');
    return rc;
}

/* --- fields ------------------------------------------------------------------------------------------------ */

const char *row_text(const agent_row *row, const char *column, size_t *out_bytes)
{
    int at = agent_row_find(row, column);
    const char *text = at < 0 ? NULL : agent_row_text(row, at, out_bytes);

    if (text != NULL)
        return text;
    *out_bytes = 0;
    return "";
}

int64_t row_int(const agent_row *row, const char *column)
{
    int at = agent_row_find(row, column);

    return at < 0 ? 0 : agent_row_int(row, at);
}

void fields_line(struct out *out, const char *name, const char *p, size_t n)
{
    const bool is_long = memchr(p, '\n', n) != NULL;

    if (is_long) { /* texts of several lines begin on their own */
        out_fmt(out, "%s:\n", name);
        out_foreign(out, p, n);
        out_text(out, p[n - 1] == '\n' ? "" : "\n");
        return;
    }
    out_fmt(out, "%-14s ", name);
    out_foreign(out, p, n);
    out_text(out, "\n");
}

void fields_cell(struct out *out, const agent_row *row, const char *column, const char *name)
{
    int at = agent_row_find(row, column);
    enum agent_value_type type = at < 0 ? AGENT_VALUE_NULL : agent_row_type(row, at);
    size_t bytes;
    const char *text;

    if (type == AGENT_VALUE_NULL)
        return;
    if (type == AGENT_VALUE_INT) {
        out_fmt(out, "%-14s %lld\n", name, (long long)agent_row_int(row, at));
    } else if (type == AGENT_VALUE_REAL) {
        out_fmt(out, "%-14s %.15g\n", name, agent_row_real(row, at));
    } else if ((text = agent_row_text(row, at, &bytes)) != NULL && bytes > 0) {
        fields_line(out, name, text, bytes);
    }
}
