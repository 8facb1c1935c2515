#include "storage/store.h"

void ag_unit_init(ag_unit *unit, int64_t now_ms)
{
    /* Field by field: there are millions of units, and a memset of this size is a slow instruction. */
    unit->next = NULL;
    unit->first = NULL;
    unit->last = &unit->first;
    unit->op_count = unit->bytes = 0;
    unit->fence_run_id = 0;
    unit->fence_attempt = 0;
    unit->lazy = false;
    unit->now_ms = now_ms;
    unit->done = NULL;
    unit->ctx = NULL;
    unit->status = AGENT_OK;
    unit->error.status = AGENT_OK;
    unit->error.detail = 0;
    unit->error.text[0] = unit->error.hint[0] = '\0';
    unit->commit_ns = 0;
}

void ag_unit_add(ag_unit *unit, struct ag_op *op)
{
    op->next = NULL;
    *unit->last = op;
    unit->last = &op->next;
    unit->op_count++;
}
