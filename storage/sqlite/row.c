/* The rows of a statement, handed out as agent_row. */
#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

static void fill(sqlite3_stmt *st, int i, struct ag_cell *cell)
{
    *cell = (struct ag_cell){.type = AGENT_VALUE_NULL};
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        cell->type = AGENT_VALUE_INT;
        cell->i = sqlite3_column_int64(st, i);
        cell->r = (double)cell->i;
        break;
    case SQLITE_FLOAT:
        cell->type = AGENT_VALUE_REAL;
        cell->r = sqlite3_column_double(st, i);
        cell->i = cell->r >= -9.2e18 && cell->r <= 9.2e18 ? (int64_t)cell->r : 0;
        break;
    case SQLITE_TEXT:
        cell->type = AGENT_VALUE_TEXT;
        cell->text.p = (const char *)sqlite3_column_text(st, i);
        cell->text.n = (size_t)sqlite3_column_bytes(st, i);
        break;
    case SQLITE_BLOB:
        cell->type = AGENT_VALUE_BLOB;
        cell->text.p = sqlite3_column_blob(st, i);
        cell->text.n = (size_t)sqlite3_column_bytes(st, i);
        if (cell->text.p == NULL)
            cell->text.p = ""; /* an empty blob is there */
        break;
    default:
        break;
    }
}

agent_status ag_rows(struct ag_db *db, sqlite3_stmt *st, agent_row_fn fn, void *ctx, bool *out_stopped,
                     agent_error *err)
{
    int count = sqlite3_column_count(st), rc;
    struct ag_cell *cells = ag_malloc((size_t)count * sizeof(*cells));
    const char **names = ag_malloc((size_t)count * sizeof(*names));
    agent_status status = AGENT_OK;

    *out_stopped = false;
    if (cells == NULL || names == NULL) {
        ag_free(cells);
        ag_free(names);
        return ag_fail(err, AGENT_ENOMEM, 0, "read rows");
    }
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        agent_row row = {.count = count, .names = names, .values = cells};

        /* Asked for at each row: a step may prepare the statement anew, and its names go with the old one. */
        for (int i = 0; i < count; i++) {
            const char *name = sqlite3_column_name(st, i);

            names[i] = name != NULL ? name : "";
            fill(st, i, &cells[i]);
        }
        if (!fn(ctx, &row)) {
            *out_stopped = true;
            break;
        }
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = ag_db_fail(db, err);
    ag_free(cells);
    ag_free(names);
    return status;
}
