/*
 * QUEUE: the run is created (or an existing one claimed) in one commit, and waits where an earlier
 * run of its session comes first.
 *
 *      create ──► ours ──────────────────────────────► LOAD
 *         │  └──► behind a run nobody drives ──► drive that one here ──► claim again
 *         │  └──► behind a living one ──► parked: its end, another process's commit, or a second
 *         └─────► existing (same idempotency key): claimed where nobody has it, else parked until it has ended
 */
#include <string.h>

#include "engine/pressure.h"
#include "engine/run.h"

enum { PHASE_NEW, PHASE_COMMIT, PHASE_PARKED, PHASE_EXISTING, PHASE_GATE };

#define LOOK_AGAIN_NS INT64_C(1000000000) /* a dead owner makes no commit that would wake us */
#define LOOK_APART_NS INT64_C(200000)     /* where memory is short: 5,000 looks a second, however many wait */

/* By us: whichever run of ours is before it names it when it ends (ag_worker_wake_run), so that a long
 * line of turns costs nothing while it stands. What others have ends unheard where they die. */
static enum ag_next park(struct agent_run *run, bool by_us)
{
    ag_run_leave(run); /* a permit is not for waiting with */
    run->phase = PHASE_PARKED;
    run->retry_at_ns = by_us ? 0 : ag_mono_ns(&run->engine->clock) + LOOK_AGAIN_NS;
    return AG_NEXT_WAIT;
}

static enum ag_next submit(struct agent_run *run)
{
    struct ag_run_unit *u = ag_run_unit_new(run);

    if (u == NULL) {
        ag_run_failf(run, AGENT_ENOMEM, "out of memory");
        return AG_NEXT_AGAIN;
    }
    ag_unit_add(&u->unit, run->create);
    run->phase = PHASE_COMMIT;
    run->retry_at_ns = 0;
    return ag_run_submit_wait(run, u) ? AG_NEXT_AGAIN : AG_NEXT_WAIT;
}

/* Drives an earlier run of the session that nobody else drives; we go on when it has ended. */
static enum ag_next drive_before(struct agent_run *run, int64_t run_id)
{
    agent_engine *e = run->engine;
    struct agent_run *before = ag_run_new(e, run->worker);
    struct ag_mem_charge was;

    was = ag_mem_charge(before != NULL ? before->account : NULL);
    if (before != NULL)
        before->create = ag_arena_zalloc(&before->arena, sizeof(*before->create));
    ag_mem_charge_back(was);
    if (before == NULL || before->create == NULL) {
        ag_run_unref(before);
        return park(run, false);
    }
    (void)atomic_fetch_add(&e->active_runs, 1);
    before->create->kind = AG_OP_RUN_CLAIM;
    before->create->run_claim.run_id = before->run_id = run_id;
    before->resume = before->created = true;
    before->then = run;
    run->before = before;
    run->phase = PHASE_PARKED;
    ag_worker_add(run->worker, before);
    ag_worker_ready(run->worker, before);
    return AG_NEXT_WAIT;
}

static enum ag_next blocked(struct agent_run *run, enum ag_blocked why, int64_t by, bool by_us)
{
    /* The one we drove already and that still is before us gets time: somebody else may have it. */
    if (why == AG_BLOCKED_CLAIMABLE && by != run->drove && ag_worker_find(run->worker, by) == NULL) {
        run->drove = by;
        return drive_before(run, by);
    }
    run->drove = 0;
    return park(run, by_us);
}

/* From here on it is claimed again as an existing run. */
static void become_claim(struct agent_run *run)
{
    memset(run->create, 0, sizeof(*run->create));
    run->create->kind = AG_OP_RUN_CLAIM;
    run->create->run_claim.run_id = run->run_id;
    run->create->run_claim.force = run->force;
}

static enum ag_next created(struct agent_run *run)
{
    struct ag_op_run_create *c = &run->create->run_create;

    run->run_id = c->out_run_id;
    run->session_id = c->out_session_id;
    run->created = true;
    if (c->out_existing) { /* its outcome is ours; where nobody drives it, we do, with what it was asked first */
        run->created = false; /* not by us: whoever gives up here does not cancel it */
        run->input = run->options = AG_STR_NONE;
        ag_tell_start(run);
        become_claim(run);
        return submit(run);
    }
    run->agent_id = c->out_agent_id;
    run->version_id = c->out_version_id;
    run->attempt = c->out_attempt;
    if (c->out_claimed) {
        run->claimed = run->step_open = true;
        run->input_seq = run->last_seq = c->out_input_seq;
        run->last_number = run->step_number = 1;
        run->appended = 1;
        ag_tell_start(run);
        ag_run_move(run, AG_STAGE_LOAD);
        return AG_NEXT_AGAIN;
    }
    {
        enum ag_blocked why = c->out_blocked;
        int64_t by = c->out_blocked_by;
        bool by_us = c->out_blocked_by_us;

        ag_tell_start(run);
        become_claim(run);
        return blocked(run, why, by, by_us);
    }
}

static enum ag_next claimed(struct agent_run *run)
{
    struct ag_op_run_claim *c = &run->create->run_claim;
    struct ag_op_run_claim got = *c;

    become_claim(run);
    run->session_id = got.out_session_id;
    run->agent_id = got.out_agent_id;
    run->version_id = got.out_version_id;
    if (got.out_deadline_at_ms != 0 && run->deadline_ns == 0)
        run->deadline_ns = ag_mono_ns(&run->engine->clock) +
                           (got.out_deadline_at_ms - ag_unix_ms(&run->engine->clock)) * 1000000;
    if (got.out_status == AG_RUN_WAITING && !got.out_claimed) {
        agent_error e = AGENT_ERROR_INIT;

        run->claimed = false;
        (void)ag_fail(&e, AGENT_EAPPROVAL, 0, "run %lld waits for a decision: the outcome of a tool call is unknown",
                      (long long)run->run_id);
        ag_hint(&e, "agentctl approve %lld (calls it again) or agentctl deny %lld", (long long)run->run_id,
                (long long)run->run_id);
        ag_run_drop(run, AG_RUN_WAITING, &e);
        return AG_NEXT_DONE;
    }
    if (!got.out_claimed && got.out_status >= AG_RUN_SUCCEEDED) {
        agent_error e = AGENT_ERROR_INIT;

        if (!run->resume) { /* ours, but somebody else drove it meanwhile: its outcome is our answer */
            run->phase = PHASE_EXISTING;
            return AG_NEXT_AGAIN;
        }
        (void)ag_fail(&e, AGENT_EINVAL, 0, "run %lld has ended: %s", (long long)run->run_id,
                      ag_run_status_name(got.out_status));
        ag_run_drop(run, got.out_status, &e);
        return AG_NEXT_DONE;
    }
    if (!got.out_claimed && run->resume && got.out_blocked == AG_BLOCKED_LIVE && got.out_blocked_by == run->run_id) {
        agent_error e = AGENT_ERROR_INIT;

        (void)ag_fail(&e, AGENT_EBUSY, 0, "run %lld is being run by a living process", (long long)run->run_id);
        ag_run_drop(run, AG_RUN_RUNNING, &e);
        return AG_NEXT_DONE;
    }
    if (!got.out_claimed)
        return blocked(run, got.out_blocked, got.out_blocked_by, got.out_blocked_by_us);
    run->claimed = run->created = true;
    run->attempt = got.out_attempt;
    run->input_seq = run->last_seq = got.out_input_seq;
    if (got.out_fresh) {
        run->step_open = true;
        run->last_number = run->step_number = 1;
        run->appended = 1;
    }
    run->resume = !got.out_fresh || run->input.p == NULL;
    ag_tell_start(run);
    ag_run_move(run, AG_STAGE_LOAD);
    return AG_NEXT_AGAIN;
}

/* A run that another request made: its outcome is ours once it has one. */
static enum ag_next existing(struct agent_run *run)
{
    struct ag_run_rec rec;
    agent_error e = AGENT_ERROR_INIT;
    agent_status rc;

    ag_tell_start(run);
    rc = ag_reader_run(run->worker->reader, run->run_id, &run->arena, &rec, &e);
    if (rc != AGENT_OK) {
        ag_run_drop(run, AG_RUN_FAILED, &e);
        return AG_NEXT_DONE;
    }
    if (rec.status == AG_RUN_QUEUED || rec.status == AG_RUN_RUNNING) {
        run->retry_at_ns = ag_mono_ns(&run->engine->clock) + LOOK_AGAIN_NS / 10;
        return AG_NEXT_WAIT;
    }
    run->session_id = rec.session_id;
    run->input_tokens = rec.input_tokens;
    run->output_tokens = rec.output_tokens;
    run->attempt = rec.attempt;
    run->cache_hit = rec.cache_hit;
    run->queue_us = rec.queue_us > 0 ? rec.queue_us : 0;
    run->wall_us = rec.wall_us > 0 ? rec.wall_us : 0;
    ag_buf_str(&run->answer, rec.output);
    if (rec.status != AG_RUN_SUCCEEDED)
        (void)ag_fail(&e, rec.error_status != 0 ? (agent_status)rec.error_status : AGENT_EPROVIDER, 0, AG_STR_FMT,
                      AG_STR_ARG(rec.error));
    ag_run_drop(run, rec.status, rec.status == AG_RUN_SUCCEEDED ? NULL : &e);
    return AG_NEXT_DONE;
}

enum ag_next ag_step_queue(struct agent_run *run)
{
    struct ag_run_unit *u;
    agent_status rc;

    switch (run->phase) {
    case PHASE_NEW:
        if (run->is_taken) {
            run->is_taken = false;
            return claimed(run);
        }
        /* fall through */
    case PHASE_GATE: { /* nothing is in the file yet, nothing is loaded: a run that waits here is small */
        ag_gate *gate = run->create->kind == AG_OP_RUN_CREATE && !run->create->run_create.not_behind
                            ? ag_schedule_hint(run->engine->schedule, run->create->run_create.agent_name, NULL)
                            : NULL; /* one that will not wait behind others hears so at once */

        if (run->priority < 0 && ag_pressure_level(run->engine) >= AG_PRESSURE_LOW) {
            run->phase = PHASE_GATE; /* memory is short: low runs wait until it is not */
            run->retry_at_ns = run->now_ns + LOOK_AGAIN_NS / 5 + LOOK_APART_NS * atomic_load(&run->engine->active_runs);
            return AG_NEXT_WAIT;
        }
        if (run->phase == PHASE_GATE && run->gate_out)
            gate = run->gate;
        if (!ag_run_enter(run, gate)) {
            run->phase = PHASE_GATE;
            run->retry_at_ns = 0;
            return AG_NEXT_WAIT;
        }
        return submit(run);
    }
    case PHASE_PARKED:
        if (run->before != NULL)
            return AG_NEXT_WAIT;
        return submit(run);
    case PHASE_EXISTING:
        return existing(run);
    default:
        break;
    }
    if ((u = ag_run_unit_take(run)) == NULL)
        return AG_NEXT_WAIT;
    rc = u->unit.status;
    if (rc != AGENT_OK) {
        agent_error e = u->unit.error;

        ag_run_unit_free(u);
        ag_run_drop(run, AG_RUN_FAILED, &e);
        return AG_NEXT_DONE;
    }
    ag_run_unit_free(u);
    return run->create->kind == AG_OP_RUN_CREATE ? created(run) : claimed(run);
}
