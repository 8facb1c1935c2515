/* What the suites about runs share: the operations in short, and runs that wait for a decision. */
#ifndef TEST_STORE_RUNS_KIT_H
#define TEST_STORE_RUNS_KIT_H

#include "tests/store_kit.h"

__attribute__((unused)) static const enum agent_effect one_effect[] = {AGENT_EFFECT_EFFECT};
__attribute__((unused)) static const enum agent_effect one_pure[] = {AGENT_EFFECT_PURE};
__attribute__((unused)) static const enum agent_effect mixed[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_PURE, AGENT_EFFECT_IDEMPOTENT};

#define UNKNOWN "the outcome of this call is unknown: it was begun before a crash and may have happened"

static inline struct ag_op_run_claim *claim(int64_t run_id, bool force)
{
    struct ag_op_run_claim *op = &kit_add(AG_OP_RUN_CLAIM)->run_claim;

    op->run_id = run_id;
    op->force = force;
    kit_ok();
    return op;
}

static inline struct ag_op_run_cancel *cancel(int64_t run_id)
{
    struct ag_op_run_cancel *op = &kit_add(AG_OP_RUN_CANCEL)->run_cancel;

    op->run_id = run_id;
    kit_ok();
    return op;
}

static inline struct ag_op_run_decide *decide(int64_t run_id, const char *call_id, bool approve)
{
    struct ag_op_run_decide *op = &kit_add(AG_OP_RUN_DECIDE)->run_decide;

    op->run_id = run_id;
    op->call_id = ag_str_of(call_id);
    op->approve = approve;
    return op;
}

/* A run that waits for a decision on its calls. */
static inline struct ag_op_run_create *waiting_run(const char *agent, const char *session, int count,
                                            const enum agent_effect *effects)
{
    struct ag_op_run_create *run = kit_calling(agent, session, count, effects);
    struct ag_op_run_claim *taken = claim(run->out_run_id, true);

    ck_assert_int_eq(taken->out_status, AG_RUN_WAITING);
    ck_assert(!taken->out_claimed);
    return run;
}

#define EACH(test) tcase_add_loop_test(tests, test, 0, KIT_LAST)

#endif
