/*
 * The stores against each other: one random sequence of units is applied to the memory store and
 * to one on a file. After every unit they must have said the same, after every few all views must
 * show the same. Without SQLite the memory store is its own model: it must pass its own check.
 *
 * The seed is in the message of a failure; STORE_SEED=n runs that one only, in place of the first.
 */
#include "tests/store_kit.h"

#include "engine/base/mem.h"

Suite *store_model_suite(void);

enum { UNITS = 600, RUNS_KNOWN = 12, OPS_MOST = 10, CLAIMS_MOST = 3 };

struct model {
    struct kit a, b; /* a: memory */
    bool both;
    uint64_t random;
    uint64_t seed;
    int unit;
    int64_t runs[RUNS_KNOWN];
    int journal[RUNS_KNOWN]; /* step of the run that was journalled; 0: none */
    size_t run_count;
    int64_t session; /* newest */
    struct ag_op *ops[OPS_MOST], *twins[OPS_MOST]; /* of the unit being made */
    int op_count;
    struct ag_op_run_claim claims[CLAIMS_MOST], twin_claims[CLAIMS_MOST];
};

static unsigned pick(struct model *m, unsigned below)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(m->random >> 33) % below;
}

static bool chance(struct model *m, unsigned percent)
{
    return pick(m, 100) < percent;
}

static const char *one_of(struct model *m, const char *const *words)
{
    unsigned n = 0;

    while (words[n] != NULL)
        n++;
    return words[pick(m, n)];
}

static const char *const agents[] = {"a", "b", "c", NULL};
static const char *const session_names[] = {"x", "y", NULL};
static const char *const keys[] = {"k1", "k2", "k3", NULL};
static const char *const texts[] = {"", "one", "two words", "the third text is a little longer", NULL};
static const char *const call_ids[] = {"c1", "c2", "c3", NULL};

static struct ag_op *op(struct model *m, enum ag_op_kind kind)
{
    return m->ops[m->op_count++] = kit_op_in(&m->a, kind);
}

static int64_t some_run(struct model *m)
{
    if (m->run_count == 0 || chance(m, 3))
        return 100000;
    return m->runs[pick(m, (unsigned)m->run_count)];
}

static int *journal_of(struct model *m, int64_t run_id)
{
    size_t i = 0;

    while (i + 1 < m->run_count && m->runs[i] != run_id)
        i++;
    return &m->journal[i];
}

static void agent_ops(struct model *m)
{
    struct ag_op_agent_put *put;

    if (chance(m, 12)) {
        op(m, AG_OP_AGENT_RM)->name.name = ag_str_of(one_of(m, agents));
        return;
    }
    put = &op(m, AG_OP_AGENT_PUT)->agent_put;
    put->spec = (struct ag_agent_spec){.name = ag_str_of(one_of(m, agents)), .provider = S("offline"),
                                       .model = chance(m, 50) ? S("demo") : S("other"),
                                       .max_steps = (int)pick(m, 2)};
    if (chance(m, 50))
        put->spec.instructions = ag_str_of(one_of(m, texts));
    if (chance(m, 30))
        put->spec.tools = S("[]");
    put->mode = (enum agent_create_mode)pick(m, 4);
    put->expect_version = chance(m, 20) ? (int64_t)pick(m, 4) : 0;
}

static void memory_ops(struct model *m)
{
    struct ag_op *o = op(m, chance(m, 70) ? AG_OP_MEMORY_PUT : AG_OP_MEMORY_RM);

    if (o->kind == AG_OP_MEMORY_PUT) {
        o->memory_put = (struct ag_op_memory_put){.agent_name = ag_str_of(one_of(m, agents)),
                                                  .scope = chance(m, 70) ? AG_STR_NONE : S("user"),
                                                  .key = ag_str_of(one_of(m, keys)),
                                                  .text = ag_str_of(one_of(m, texts)),
                                                  .source_run_id = (int64_t)pick(m, 3)};
    } else {
        o->memory_rm = (struct ag_op_memory_rm){.agent_name = ag_str_of(one_of(m, agents)),
                                                .key = ag_str_of(one_of(m, keys)), .missing_is_fine = chance(m, 50)};
    }
}

static void tool_ops(struct model *m)
{
    struct ag_op *o;

    if (chance(m, 30)) {
        op(m, AG_OP_TOOL_RM)->name.name = ag_str_of(one_of(m, keys));
        return;
    }
    o = op(m, AG_OP_TOOL_PUT);
    o->tool_put.tool = (struct ag_tool_rec){.name = ag_str_of(one_of(m, keys)), .description = ag_str_of(one_of(m, texts)),
                                            .argv = S("[\"x\"]"), .effect = (enum agent_effect)pick(m, 3),
                                            .timeout_ms = (int64_t)pick(m, 5)};
    o->tool_put.replace = chance(m, 50);
}

static void create_ops(struct model *m)
{
    struct ag_op_run_create *create = &op(m, AG_OP_RUN_CREATE)->run_create;

    create->agent_name = ag_str_of(one_of(m, agents));
    create->session_by = (enum ag_session_by)pick(m, 4);
    create->session_name = ag_str_of(one_of(m, session_names));
    create->session_id = m->session;
    create->input = ag_str_of(one_of(m, texts));
    create->priority = (int)pick(m, 3) - 1;
    create->queued_at_ms = m->a.now - 500;
    create->claim = chance(m, 75);
    if (chance(m, 10))
        create->idempotency_key = ag_str_of(one_of(m, keys));
    if (chance(m, 20))
        create->options = S("{}");
    for (int i = 0; i < 16 && m->unit % 3 != 0; i++)
        create->trace_id[i] = (unsigned char)(m->unit + i);
}

static void begin_step(struct model *m, int64_t run_id, int number)
{
    op(m, AG_OP_STEP_BEGIN)->step_begin = (struct ag_op_step_begin){run_id, number, 1 + (int)pick(m, 2), m->a.now};
}

static void end_step(struct model *m, int64_t run_id, int number)
{
    op(m, AG_OP_STEP_END)->step_end =
        (struct ag_op_step_end){.run_id = run_id, .number = number, .status = (enum ag_step_status)(1 + pick(m, 3)),
                                .wall_us = (int64_t)pick(m, 5000) - 1, .input_tokens = (int64_t)pick(m, 50) - 1,
                                .output_tokens = (int64_t)pick(m, 50) - 1, .cached_tokens = -1,
                                .error = chance(m, 20) ? S("step failed") : AG_STR_NONE, .cached = chance(m, 20)};
}

static void stage_op(struct model *m, int64_t run_id)
{
    static const struct ag_stage_row rows[] = {
        {.step = 1, .stage = AG_STAGE_LOAD, .started_at_ms = KIT_EPOCH_MS, .wall_us = 10, .peak_source = AG_PEAK_HWM},
        {.step = 2, .stage = AG_STAGE_TOOL, .started_at_ms = KIT_EPOCH_MS, .wall_us = -1, .heap_net_bytes = -100},
    };
    static const struct ag_sample samples[] = {{KIT_EPOCH_MS, 4096}, {KIT_EPOCH_MS + 7, 8192}, {KIT_EPOCH_MS + 90, 4096}};

    op(m, AG_OP_STAGES)->stages = (struct ag_op_stages){.run_id = run_id, .rows = rows, .count = 1 + pick(m, 2),
                                                        .samples = samples, .sample_count = pick(m, 4)};
}

/* A message that asks for calls, and the intents of some of them. */
static void ask(struct model *m, const struct ag_run_rec *rec)
{
    static const char *const asked[] = {
        "[{\"id\":\"c1\",\"name\":\"t1\",\"arguments\":\"{}\"}]",
        "[{\"id\":\"c1\",\"name\":\"t1\",\"arguments\":\"{}\"},{\"id\":\"c2\",\"name\":\"t2\",\"arguments\":\"{\\\"a\\\":1}\"}]",
        NULL,
    };
    unsigned count = pick(m, 2) + 1;

    op(m, AG_OP_MESSAGE)->message =
        (struct ag_op_message){.session_id = rec->session_id, .run_id = rec->run_id, .seq = rec->last_seq + 1,
                               .role = AG_ROLE_ASSISTANT, .text = ag_str_of(one_of(m, texts)),
                               .calls = ag_str_of(asked[count - 1])};
    if (chance(m, 10))
        count = 0; /* none of them is begun: they count from the step */
    for (unsigned i = 0; i < count; i++)
        op(m, AG_OP_CALL_INTENT)->call_intent =
            (struct ag_op_call_intent){.run_id = rec->run_id, .number = rec->last_step + 1 + (int)i,
                                       .model_step = rec->last_step, .call_id = ag_str_of(call_ids[i]),
                                       .tool = i == 0 ? S("t1") : S("t2"), .effect_id = S("fx"), .arguments = S("{}"),
                                       .effect = (enum agent_effect)pick(m, 3), .started_at_ms = m->a.now};
}

static void finish(struct model *m, const struct ag_run_rec *rec)
{
    static const enum ag_run_status statuses[] = {AG_RUN_SUCCEEDED, AG_RUN_FAILED, AG_RUN_CANCELLED};
    struct ag_op_run_finish *f;
    /* An engine says "succeeded" only when every step and call has ended: so do we, of plain runs. */
    enum ag_run_status status = statuses[rec->last_step > 1 ? 1 + pick(m, 2) : pick(m, 3)];

    if (*journal_of(m, rec->run_id) != 0) /* it ends what it journalled, too */
        end_step(m, rec->run_id, *journal_of(m, rec->run_id));
    else if (status == AG_RUN_SUCCEEDED || chance(m, 50))
        end_step(m, rec->run_id, rec->last_step);
    f = &op(m, AG_OP_RUN_FINISH)->run_finish;
    *f = (struct ag_op_run_finish){.run_id = rec->run_id, .session_id = rec->session_id,
                                   .status = status, .ended_at_ms = m->a.now, .queue_us = 5,
                                   .wall_us = (int64_t)pick(m, 9000) - 1, .rss_peak_bytes = -1,
                                   .input_tokens = (int64_t)pick(m, 100) - 1, .output_tokens = (int64_t)pick(m, 100) - 1,
                                   .cache_hit = chance(m, 20)};
    if (f->status == AG_RUN_FAILED) {
        f->error_status = AGENT_EPROVIDER;
        f->error = S("it failed");
        f->hint = S("try again");
    }
}

/* What the driver of a run does next: as an engine would, or wrong. */
static void drive_ops(struct model *m)
{
    struct ag_run_rec rec;
    int64_t id = some_run(m);

    if (ag_reader_run(m->a.reader, id, &m->a.arena, &rec, NULL) != AGENT_OK)
        return;
    m->a.unit.fence_run_id = chance(m, 90) ? id : 0;
    m->a.unit.fence_attempt = chance(m, 95) ? rec.attempt : rec.attempt - 1;
    if (m->a.unit.fence_run_id == 0 && rec.status != AG_RUN_RUNNING)
        return; /* unfenced, it would write into what has ended */
    switch (pick(m, 5)) {
    case 0:
        begin_step(m, id, rec.last_step > 1 || chance(m, 95) ? rec.last_step + 1 : 1);
        if (chance(m, 50) && *journal_of(m, id) == 0) {
            *journal_of(m, id) = rec.last_step + 1;
            op(m, AG_OP_JOURNAL)->journal = (struct ag_op_journal){id, rec.last_step + 1, S("half ")};
        }
        break;
    case 1:
        end_step(m, id, rec.last_step);
        ask(m, &rec);
        break;
    case 2:
        for (size_t i = 0; i < rec.call_count && i < 3; i++) {
            if (rec.calls[i].status != AG_CALL_INTENDED)
                continue;
            op(m, AG_OP_CALL_END)->call_end =
                (struct ag_op_call_end){.run_id = id, .number = rec.calls[i].number,
                                        .status = (enum ag_call_status)(AG_CALL_SUCCEEDED + pick(m, 3)),
                                        .result = ag_str_of(one_of(m, texts)), .wall_us = (int64_t)pick(m, 100) - 1,
                                        .child_rss_peak_bytes = -1};
            if (chance(m, 70))
                op(m, AG_OP_MESSAGE)->message =
                    (struct ag_op_message){.session_id = rec.session_id, .run_id = id, .seq = ++rec.last_seq,
                                           .role = AG_ROLE_TOOL, .call_number = rec.calls[i].number};
        }
        stage_op(m, id);
        break;
    default:
        op(m, AG_OP_MESSAGE)->message =
            (struct ag_op_message){.session_id = rec.session_id, .run_id = id, .seq = rec.last_seq + 1,
                                   .role = AG_ROLE_ASSISTANT, .text = ag_str_of(one_of(m, texts))};
        stage_op(m, id);
        finish(m, &rec);
        if (chance(m, 70))
            m->ops[m->op_count - 1]->run_finish.output_seq = rec.last_seq + 1;
        break;
    }
}

static void control_ops(struct model *m)
{
    struct ag_op_run_decide *decide;

    if (chance(m, 25)) {
        op(m, AG_OP_CLAIM_NEXT)->claim_next =
            (struct ag_op_claim_next){.claims = m->claims, .most = (int)pick(m, CLAIMS_MOST + 1),
                                      .aging_ms = chance(m, 50) ? 3000 : 0, .reap = chance(m, 50)};
        return;
    }
    switch (pick(m, 4)) {
    case 0:
    case 1:
        op(m, AG_OP_RUN_CLAIM)->run_claim = (struct ag_op_run_claim){.run_id = some_run(m), .force = chance(m, 50)};
        break;
    case 2:
        op(m, AG_OP_RUN_CANCEL)->run_cancel.run_id = some_run(m);
        break;
    default:
        decide = &op(m, AG_OP_RUN_DECIDE)->run_decide;
        decide->run_id = some_run(m);
        decide->approve = chance(m, 50);
        if (chance(m, 50))
            decide->call_id = ag_str_of(one_of(m, call_ids));
        if (chance(m, 50))
            decide->reason = S("because");
        break;
    }
    if (chance(m, 5))
        op(m, AG_OP_SESSION_RM)->session_rm.session_id = m->session;
}

#define SAME(field) \
    ck_assert_msg(a->field == b->field, "seed %" PRIu64 " unit %d: " #field " is %lld and %lld", m->seed, m->unit, \
                  (long long)a->field, (long long)b->field)

static void same_claims(struct model *m, const struct ag_op_run_claim *a, const struct ag_op_run_claim *b)
{
    SAME(out_status);
    SAME(out_attempt);
    SAME(out_claimed);
    SAME(out_fresh);
    SAME(out_blocked);
    SAME(out_blocked_by);
    SAME(out_blocked_by_us);
    SAME(out_session_id);
    SAME(out_input_seq);
    SAME(out_queued_at_ms);
    SAME(out_deadline_at_ms);
    SAME(out_priority);
}

/* What the ops of a unit told. Ids of agents, versions and memories may differ after a removal. */
static void same_outs(struct model *m, int i)
{
    if (m->ops[i]->kind == AG_OP_AGENT_PUT) {
        const struct ag_op_agent_put *a = &m->ops[i]->agent_put, *b = &m->twins[i]->agent_put;
        SAME(out_version);
        SAME(out_created);
        SAME(out_changed);
    } else if (m->ops[i]->kind == AG_OP_RUN_CREATE) {
        const struct ag_op_run_create *a = &m->ops[i]->run_create, *b = &m->twins[i]->run_create;
        SAME(out_run_id);
        SAME(out_session_id);
        SAME(out_input_seq);
        SAME(out_attempt);
        SAME(out_claimed);
        SAME(out_existing);
        SAME(out_blocked);
        SAME(out_blocked_by);
        SAME(out_blocked_by_us);
    } else if (m->ops[i]->kind == AG_OP_RUN_CLAIM) {
        same_claims(m, &m->ops[i]->run_claim, &m->twins[i]->run_claim);
    } else if (m->ops[i]->kind == AG_OP_CLAIM_NEXT) {
        const struct ag_op_claim_next *a = &m->ops[i]->claim_next, *b = &m->twins[i]->claim_next;
        SAME(out_count);
        SAME(out_more);
        for (int k = 0; k < a->out_count; k++) {
            ck_assert_int_eq(a->claims[k].run_id, b->claims[k].run_id);
            same_claims(m, &a->claims[k], &b->claims[k]);
        }
    } else if (m->ops[i]->kind == AG_OP_RUN_CANCEL) {
        const struct ag_op_run_cancel *a = &m->ops[i]->run_cancel, *b = &m->twins[i]->run_cancel;
        SAME(out_ended);
    } else if (m->ops[i]->kind == AG_OP_RUN_DECIDE) {
        const struct ag_op_run_decide *a = &m->ops[i]->run_decide, *b = &m->twins[i]->run_decide;
        SAME(out_open);
    } else if (m->ops[i]->kind == AG_OP_RUN_FINISH) {
        const struct ag_op_run_finish *a = &m->ops[i]->run_finish, *b = &m->twins[i]->run_finish;
        SAME(out_next_run_id);
    }
}

static void learn(struct model *m, const struct ag_op *o)
{
    size_t at;

    if (o->kind != AG_OP_RUN_CREATE)
        return;
    m->session = o->run_create.out_session_id;
    if (o->run_create.out_existing)
        return;
    at = m->run_count < RUNS_KNOWN ? m->run_count++ : pick(m, RUNS_KNOWN);
    m->runs[at] = o->run_create.out_run_id;
    m->journal[at] = 0;
}

/* Which duplicate numbers fail with, each store says in its own words. */
static bool same_status(agent_status a, agent_status b)
{
    return a == b || (a == AGENT_EEXISTS && b == AGENT_ESTORAGE);
}

static void commit(struct model *m)
{
    agent_error ea = AGENT_ERROR_INIT, eb = AGENT_ERROR_INIT;
    agent_status a, b;
    int64_t fence_run = m->a.unit.fence_run_id;
    int fence_attempt = m->a.unit.fence_attempt;

    for (int i = 0; i < m->op_count && m->both; i++) {
        struct ag_op copy = *m->ops[i];

        m->twins[i] = kit_op_in(&m->b, copy.kind);
        copy.next = m->twins[i]->next;
        *m->twins[i] = copy;
        if (copy.kind == AG_OP_CLAIM_NEXT)
            m->twins[i]->claim_next.claims = m->twin_claims;
    }
    a = kit_commit_in(&m->a, &ea);
    if (m->both) {
        m->b.unit.fence_run_id = fence_run;
        m->b.unit.fence_attempt = fence_attempt;
        b = kit_commit_in(&m->b, &eb);
        ck_assert_msg(same_status(a, b), "seed %" PRIu64 " unit %d, first op %d: %s (%s) and %s (%s)", m->seed, m->unit,
                      m->op_count > 0 ? (int)m->ops[0]->kind : -1, agent_status_name(a), ea.text, agent_status_name(b),
                      eb.text);
    }
    for (int i = 0; i < m->op_count && a == AGENT_OK; i++) {
        if (m->both)
            same_outs(m, i);
        learn(m, m->ops[i]);
    }
    m->op_count = 0;
}

static const char *const columns[AGENT_VIEW_LIMIT] = {
    [AGENT_VIEW_AGENTS] = "name version provider model instructions tools created_at updated_at sessions runs last_run_at",
    [AGENT_VIEW_MEMORY] = "agent scope key text created_at updated_at source_run_id",
    [AGENT_VIEW_TOOLS] = "name kind description effect timeout_ms argv schema created_at",
    [AGENT_VIEW_VERSIONS] = "agent version provider model instructions tools options base_url max_steps created_at",
};

static void same_views(struct model *m)
{
    struct ag_queue_look x, y;

    ck_assert_int_eq(ag_reader_queue(m->a.reader, true, &x, NULL), AGENT_OK);
    ck_assert_int_eq(ag_reader_queue(m->b.reader, true, &y, NULL), AGENT_OK);
    ck_assert_msg(x.is_ready == y.is_ready && x.has_waiting == y.has_waiting && !x.has_dead && !y.has_dead,
                  "seed %" PRIu64 " unit %d: ready %d and %d, waiting %d and %d", m->seed, m->unit, x.is_ready, y.is_ready,
                  x.has_waiting, y.has_waiting);
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++) {
        const char *a = kit_rows_in(&m->a, (enum agent_view)v, NULL, columns[v]);
        const char *b = kit_rows_in(&m->b, (enum agent_view)v, NULL, columns[v]);
        size_t at = 0;

        while (a[at] != '\0' && a[at] == b[at])
            at++;
        while (at > 0 && a[at - 1] != '\n')
            at--;
        ck_assert_msg(strcmp(a, b) == 0, "seed %" PRIu64 " unit %d view %d:\n%.*s\nand\n%.*s", m->seed, m->unit, v,
                      (int)strcspn(a + at, "\n"), a + at, (int)strcspn(b + at, "\n"), b + at);
    }
}

static void check_line(void *ctx, const char *text)
{
    (void)snprintf(ctx, 200, "%s", text);
}

START_TEST(the_same_units_leave_the_same_rows_in_both_stores)
{
    const char *seed = getenv("STORE_SEED");
    static struct model m;
    char line[200] = "";

    m = (struct model){.both = KIT_LAST > 1, .seed = (uint64_t)_i + 1};
    if (seed != NULL && _i == 0)
        m.seed = strtoull(seed, NULL, 10);
    m.random = m.seed * 77777;
    kit_open_in(&m.a, KIT_MEMORY);
    if (m.both)
        kit_open_in(&m.b, KIT_SQLITE);
    for (m.unit = 0; m.unit < UNITS; m.unit++) {
        unsigned what = m.unit < 4 ? 0 : pick(&m, 20);

        if (what < 2)
            agent_ops(&m);
        else if (what < 4)
            memory_ops(&m);
        else if (what < 5)
            tool_ops(&m);
        else if (what < 9)
            create_ops(&m);
        else if (what < 17)
            drive_ops(&m);
        else
            control_ops(&m);
        if (chance(&m, 4)) /* takes the whole unit down */
            op(&m, AG_OP_TOOL_RM)->name.name = S("missing");
        commit(&m);
        if (m.both && m.unit % 20 == 19)
            same_views(&m);
    }
    ck_assert_msg(m.a.store->vt->check(m.a.store, check_line, line, NULL) == AGENT_OK, "seed %" PRIu64 ": %s", m.seed,
                  line);
    ck_assert_uint_gt(strlen(kit_rows_in(&m.a, AGENT_VIEW_RUNS, NULL, NULL)), 1000); /* it was not all refused */
    if (m.both) {
        same_views(&m);
        ck_assert_msg(m.b.store->vt->check(m.b.store, check_line, line, NULL) == AGENT_OK, "seed %" PRIu64 ": %s",
                      m.seed, line);
        kit_close_in(&m.b);
    }
    kit_close_in(&m.a);
}
END_TEST

/* Allocation n fails, then n + 1 …: the unit fails as a whole or not at all, and nothing is lost. */
START_TEST(a_unit_that_runs_out_of_memory_leaves_nothing)
{
    static const enum agent_effect effects[] = {AGENT_EFFECT_EFFECT, AGENT_EFFECT_PURE};
    char *before[AGENT_VIEW_LIMIT];
    struct ag_op_run_create *run;
    agent_status rc = AGENT_ENOMEM;
    int failures = 0;

    kit_open(KIT_MEMORY);
    (void)kit_agent("bob");
    run = kit_calling("bob", "s", 2, effects);
    (void)kit_finish(run, AG_RUN_WAITING);
    kit_ok();
    for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
        before[v] = ag_arena_z(&kit.arena, ag_str_of(kit_rows((enum agent_view)v, NULL, NULL)));
    for (unsigned long nth = 1; rc != AGENT_OK; nth++) {
        ck_assert_uint_lt(nth, 500);
        for (int i = 0; i < 40; i++) { /* more than one page and one growth of a table */
            char name[16];

            (void)snprintf(name, sizeof(name), "n%d", i);
            kit_agent_in(&kit, ag_arena_z(&kit.arena, ag_str_of(name)))->spec.instructions =
                kit_long(9000 + (size_t)i, (unsigned)i);
        }
        kit_create("bob", "s", "closes the one that waits")->idempotency_key = S("key");
        kit_add(AG_OP_AGENT_RM)->name.name = S("n7");
        kit_add(AG_OP_TOOL_PUT)->tool_put.tool = (struct ag_tool_rec){.name = S("t"), .description = kit_long(9000, 1)};
        kit_add(AG_OP_MEMORY_PUT)->memory_put =
            (struct ag_op_memory_put){.agent_name = S("bob"), .text = kit_long(9000, 2)};
        (void)ag_mem_fail_at(nth);
        kit.unit.status = AGENT_EIO;
        (void)ag_store_submit(kit.store, &kit.unit);
        (void)ag_mem_fail_at(0);
        rc = kit.unit.status;
        kit_next(&kit);
        if (rc == AGENT_OK)
            break;
        failures++;
        ck_assert_int_eq(rc, AGENT_ENOMEM);
        for (int v = 0; v < AGENT_VIEW_LIMIT; v++)
            ck_assert_str_eq(kit_rows((enum agent_view)v, NULL, NULL), before[v]);
        ck_assert_int_eq(kit.store->vt->check(kit.store, NULL, NULL, &err), AGENT_OK);
    }
    ck_assert_int_gt(failures, 40);
    kit_is(RUNS, "input status", "call|failed\ncloses the one that waits|running\n");
    ck_assert_int_eq(kit.store->vt->check(kit.store, NULL, NULL, &err), AGENT_OK);
    kit_close();
}
END_TEST

Suite *store_model_suite(void)
{
    Suite *suite = suite_create("store model");
    TCase *tests = tcase_create("model");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_same_units_leave_the_same_rows_in_both_stores, 0, 12);
    tcase_add_test(tests, a_unit_that_runs_out_of_memory_leaves_nothing);
    suite_add_tcase(suite, tests);
    return suite;
}
