/* What an owner tells of itself: how it is doing, for `agentctl top` of other processes (one row, gone
 * with its owner), and what it did about memory (rows that stay, a bounded number of them). */
#include "storage/sqlite/impl.h"

agent_status ag_apply_live(struct ag_sq_store *s, ag_unit *u, const struct ag_op_live *op)
{
    int64_t owner = atomic_load(&s->owners.id);

    if (owner == 0) /* it has driven nothing yet: there is nothing to tell */
        return AGENT_OK;
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_LIVE_PUT);

    ag_query_int(&q, owner);
    ag_query_int(&q, op->at_ms);
    ag_query_known(&q, op->rss_bytes);
    ag_query_known(&q, op->heap_bytes);
    ag_query_int(&q, op->runs);
    ag_query_str(&q, op->stages);
    ag_query_str(&q, op->cache);
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_notice(struct ag_sq_store *s, ag_unit *u, const struct ag_op_notice *op)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_NOTICE_PUT);

    ag_query_id(&q, atomic_load(&s->owners.id));
    ag_query_int(&q, op->at_ms);
    ag_query_str(&q, op->kind);
    ag_query_known(&q, op->level);
    ag_query_known(&q, op->rss_bytes);
    ag_query_known(&q, op->limit_bytes);
    ag_query_str(&q, op->text);
    return ag_query_run(&q, &u->error);
}
