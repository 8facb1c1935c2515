/*
 * The queue of all sessions. What may be taken stands in one of three lists, by class, in the order
 * of ids; what is behind another run of its session stands in none, and comes in when its turn has.
 *
 *     high    7 ─ 12 ─ 30        taken: the head whose class, with what it has waited, is highest
 *     normal  3 ─ 4              comes in: at the end nearly always, for ids grow
 *     low     5
 *
 * Invariants, cited by number:
 *  (1) A run is in a list only while it is queued, not held, and the first open one of its session
 *      but for those that wait for a decision.
 *  (2) queue.unheld counts the queued runs that nobody holds, in a list or not.
 */
#include "storage/memory/ram.h"

#define QUEUE_LOG 2048 /* bytes of log that one change takes at most */

static struct ag_ram_line *line_of(struct ag_ram *m, const struct ag_ram_run *run)
{
    return &m->queue.lines[1 - run->priority];
}

static bool is_unheld(const struct ag_ram_run *run)
{
    return run->status == AG_RUN_QUEUED && !run->is_held;
}

bool ag_ram_queue_enter(struct ag_ram *m, struct ag_ram_run *run)
{
    if (!is_unheld(run))
        return true;
    if (!ag_ram_reserve(m, QUEUE_LOG))
        return false;
    AG_RAM_SAVE(m, &m->queue);
    m->queue.unheld++;
    return true;
}

bool ag_ram_queue_leave(struct ag_ram *m, struct ag_ram_run *run)
{
    struct ag_ram_line *line = line_of(m, run);

    if (!is_unheld(run))
        return true;
    if (!ag_ram_reserve(m, QUEUE_LOG))
        return false;
    AG_RAM_SAVE(m, &m->queue);
    m->queue.unheld--;
    if (!run->is_ready)
        return true;
    AG_RAM_TOUCH(m, run);
    if (run->ready_prev != NULL) {
        AG_RAM_TOUCH(m, run->ready_prev);
        run->ready_prev->ready_next = run->ready_next;
    } else {
        line->first = run->ready_next;
    }
    if (run->ready_next != NULL) {
        AG_RAM_TOUCH(m, run->ready_next);
        run->ready_next->ready_prev = run->ready_prev;
    } else {
        line->last = run->ready_prev;
    }
    run->ready_prev = run->ready_next = NULL;
    run->is_ready = false;
    return true;
}

/* The run of the line that `run` comes after; NULL: it is the first. Looked for from both ends. */
static struct ag_ram_run *place_of(const struct ag_ram_line *line, const struct ag_ram_run *run)
{
    struct ag_ram_run *low = line->first, *high = line->last;

    if (low == NULL || low->id > run->id)
        return NULL;
    for (;;) {
        if (high->id < run->id)
            return high;
        if (low->ready_next == NULL || low->ready_next->id > run->id)
            return low;
        low = low->ready_next;
        high = high->ready_prev;
    }
}

static bool make_ready(struct ag_ram *m, struct ag_ram_run *run)
{
    struct ag_ram_line *line = line_of(m, run);
    struct ag_ram_run *before = place_of(line, run);

    if (!ag_ram_reserve(m, QUEUE_LOG))
        return false;
    AG_RAM_SAVE(m, &m->queue);
    AG_RAM_TOUCH(m, run);
    run->is_ready = true;
    run->ready_prev = before;
    run->ready_next = before == NULL ? line->first : before->ready_next;
    if (before != NULL) {
        AG_RAM_TOUCH(m, before);
        before->ready_next = run;
    } else {
        line->first = run;
    }
    if (run->ready_next != NULL) {
        AG_RAM_TOUCH(m, run->ready_next);
        run->ready_next->ready_prev = run;
    } else {
        line->last = run;
    }
    return true;
}

bool ag_ram_session_ready(struct ag_ram *m, struct ag_ram_session *s, int64_t *out_next)
{
    struct ag_ram_run *run = s->open_first;

    while (run != NULL && run->status == AG_RUN_WAITING)
        run = run->next;
    if (run != NULL && run->status != AG_RUN_QUEUED)
        run = NULL;
    if (run != NULL && !run->is_held && !run->is_ready && !make_ready(m, run))
        return false;
    if (out_next != NULL)
        *out_next = run == NULL ? 0 : run->id;
    return true;
}

/* --- taking ------------------------------------------------------------------------------------ */

static struct ag_ram_run *first_of(const struct ag_ram *m, int64_t now_ms, int64_t aging_ms)
{
    struct ag_ram_run *first = NULL;
    int first_class = 0;

    for (int i = 0; i < AG_RAM_QUEUE_LINES; i++) {
        struct ag_ram_run *run = m->queue.lines[i].first;
        int class;

        if (run == NULL)
            continue;
        class = ag_queue_class(run->priority, now_ms - run->queued_at_ms, aging_ms);
        if (first == NULL || class > first_class || (class == first_class && run->id < first->id)) {
            first = run;
            first_class = class;
        }
    }
    return first;
}

/* One that can never be claimed would be tried for ever, and hold up what comes with it. */
static agent_status end_unclaimable(struct ag_ram *m, struct ag_ram_run *run, size_t log_used, int64_t now_ms,
                                    agent_error *err)
{
    agent_error why = *err;

    ag_ram_rollback_to(m, log_used);
    if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
        return ag_ram_nomem(err);
    AG_RAM_TOUCH(m, run);
    AG_RAM_TOUCH(m, run->session);
    return ag_ram_run_close(m, run, AG_RUN_FAILED, why.status, ag_str_of(why.text), now_ms, err);
}

agent_status ag_ram_claim_next(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_claim_next *next = &op->claim_next;
    struct ag_ram_run *run;
    int tried = 0;

    next->out_count = 0;
    while (tried < next->most && (run = first_of(m, unit->now_ms, next->aging_ms)) != NULL) {
        struct ag_op claim = {.kind = AG_OP_RUN_CLAIM, .run_claim = {.run_id = run->id}};
        size_t log_used = m->log_used;
        agent_status rc;

        tried++;
        if (!ag_ram_reserve(m, AG_RAM_OP_LOG))
            return ag_ram_nomem(err);
        m->unit++; /* rows are saved again from here: so this claim can be taken back alone */
        if ((rc = ag_ram_run_claim(m, unit, &claim, err)) == AGENT_ENOMEM)
            return rc;
        if (rc != AGENT_OK) {
            if ((rc = end_unclaimable(m, run, log_used, unit->now_ms, err)) != AGENT_OK)
                return rc;
        } else if (claim.run_claim.out_claimed) {
            next->claims[next->out_count++] = claim.run_claim;
        } else if (!ag_ram_queue_leave(m, run) || !ag_ram_queue_enter(m, run)) { /* what is before it brings it back */
            return ag_ram_nomem(err);
        }
    }
    next->out_more = tried > 0 && tried == next->most;
    return AGENT_OK;
}
