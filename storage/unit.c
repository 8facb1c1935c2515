#include "storage/store.h"

#include <string.h>

void ag_unit_init(ag_unit *unit, int64_t now_ms)
{
    memset(unit, 0, offsetof(ag_unit, error));
    unit->last = &unit->first;
    unit->now_ms = now_ms;
    unit->commit_ns = 0;
}

void ag_unit_add(ag_unit *unit, struct ag_op *op)
{
    op->next = NULL;
    *unit->last = op;
    unit->last = &op->next;
    unit->op_count++;
}
