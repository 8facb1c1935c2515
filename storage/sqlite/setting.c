/* Numbers kept under a name for every engine on this file: rows of meta, "limit:NAME". */
#include "storage/sqlite/impl.h"

agent_status ag_apply_setting(struct ag_sq_store *s, ag_unit *u, const struct ag_op_setting *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, op->remove ? AG_STMT_SETTING_DELETE : AG_STMT_SETTING_PUT);

    ag_query_str(&q, op->name);
    if (!op->remove)
        ag_query_int(&q, op->value);
    return ag_query_run(&q, &u->error);
}

agent_status ag_sq_settings(ag_reader *r, void (*fn)(void *ctx, struct ag_str name, int64_t value), void *ctx,
                            agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(ag_reader_db(r), AG_STMT_SETTING_ALL);
    bool row;
    agent_status rc;

    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row)
        fn(ctx, ag_col_str(&q, 0), ag_col_int(&q, 1));
    return rc;
}
