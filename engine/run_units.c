/*
 * Units of a run: built on the worker, committed by the store, back through the worker's inbox.
 * A few are kept for the next run, so that a run on a memory store allocates none.
 */
#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/run.h"

#define KEEP_UNITS 64
#define UNIT_BYTES ((int64_t)sizeof(struct ag_run_unit))

struct ag_run_unit *ag_run_unit_new(struct agent_run *run)
{
    struct ag_worker *w = run->worker;
    struct ag_run_unit *u = w->free_units;

    if (u != NULL) {
        w->free_units = u->free_next;
        w->free_unit_count--;
    } else {
        struct ag_mem_charge was = ag_mem_charge(NULL); /* it is the worker's, and on loan */

        u = ag_malloc(sizeof(*u));
        ag_mem_charge_back(was);
        if (u == NULL)
            return NULL;
    }
    ag_account_add(run->account, UNIT_BYTES, false);
    u->run = run;
    u->aside = NULL;
    ag_unit_init(&u->unit, ag_run_unix_ms(run));
    if (run->claimed) {
        u->unit.fence_run_id = run->run_id;
        u->unit.fence_attempt = run->attempt;
    }
    return u;
}

void ag_run_unit_free(struct ag_run_unit *u)
{
    struct ag_worker *w;

    if (u == NULL)
        return;
    w = u->run->worker;
    ag_account_add(u->run->account, -UNIT_BYTES, false);
    ag_free(u->aside);
    if (w->free_unit_count >= KEEP_UNITS) {
        ag_free(u);
        return;
    }
    u->free_next = w->free_units;
    w->free_units = u;
    w->free_unit_count++;
}

struct ag_op *ag_run_op(struct agent_run *run, struct ag_run_unit *u, enum ag_op_kind kind)
{
    struct ag_op *op = ag_arena_zalloc(&run->arena, sizeof(*op));

    if (op == NULL)
        return NULL;
    op->kind = kind;
    ag_unit_add(&u->unit, op);
    return op;
}

void ag_run_add_stages(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_op *op;

    if (run->row_count == 0 || (op = ag_run_op(run, u, AG_OP_STAGES)) == NULL)
        return;
    op->stages.run_id = run->run_id;
    op->stages.rows = run->rows;
    op->stages.count = run->row_count;
    op->stages.samples = run->samples;
    op->stages.sample_count = run->sample_count;
    run->rows = NULL; /* the unit's now; the arena keeps them */
    run->row_count = run->row_room = 0;
}

static void on_done_here(struct ag_post *post)
{
    struct ag_run_unit *u = (struct ag_run_unit *)((char *)post - offsetof(struct ag_run_unit, post));
    struct agent_run *run = u->run;

    run->units_out--;
    if (u->unit.status == AGENT_OK)
        ag_engine_committed(run->engine, &u->unit);
    if (run->waiting_unit == u) {
        u->unit.done = NULL; /* marks it as back */
    } else {
        if (u->unit.status != AGENT_OK && run->unit_failed == AGENT_OK)
            run->unit_failed = u->unit.status;
        ag_run_unit_free(u);
    }
    ag_run_drive(run);
}

/* On the store's thread. */
static void on_done(ag_unit *unit)
{
    struct ag_run_unit *u = (struct ag_run_unit *)((char *)unit - offsetof(struct ag_run_unit, unit));

    ag_worker_post(u->run->worker, &u->post);
}

static bool submit(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_mem_charge was = ag_mem_charge(NULL); /* what a store keeps is the store's */
    bool is_done;

    u->post.fn = on_done_here;
    u->unit.done = on_done;
    run->units_out++;
    is_done = ag_store_submit(run->engine->store, &u->unit);
    ag_mem_charge_back(was);
    if (!is_done)
        return false;
    run->units_out--;
    u->unit.done = NULL;
    if (u->unit.status == AGENT_OK)
        ag_engine_committed(run->engine, &u->unit);
    return true;
}

bool ag_run_submit_wait(struct agent_run *run, struct ag_run_unit *u)
{
    assert(run->waiting_unit == NULL); /* run.h (2) */
    run->waiting_unit = u;
    if (submit(run, u)) {
        run->commit_began_ns = 0;
        return true;
    }
    run->commit_began_ns = ag_mono_ns(&run->engine->clock);
    return false;
}

struct ag_run_unit *ag_run_unit_take(struct agent_run *run)
{
    struct ag_run_unit *u = run->waiting_unit;

    if (u == NULL || u->unit.done != NULL)
        return NULL;
    run->waiting_unit = NULL;
    if (run->commit_began_ns != 0)
        run->clock.commit_ns += ag_run_now(run) - run->commit_began_ns;
    return u;
}

void ag_run_submit(struct agent_run *run, struct ag_run_unit *u)
{
    if (!submit(run, u))
        return;
    if (u->unit.status != AGENT_OK && run->unit_failed == AGENT_OK)
        run->unit_failed = u->unit.status;
    ag_run_unit_free(u);
}
