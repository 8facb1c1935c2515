/*
 * The rules of scheduling, of the whole engine, in thousands of interleavings that can be had again.
 *
 *      seed ─► arrivals, cancels ──► engine (workers = 0, driven here) ──► jobs: answers and tools
 *                   ▲                     │ the next time it wants             │ held back, ended at
 *                   └────── fake clock ◄──┴────────────────────────────────────┘ times from the seed
 *
 * Nothing is real but the engine: its clock is ours, its pool of threads is a list of ours, its
 * random numbers begin at the seed. Time goes to whatever comes next. What happened is written down,
 * and read against the rules when all has ended:
 *
 *  (1) every run ends once, and as the file says it did;
 *  (2) never more requests are out on a model, or calls of a tool, than its limit;
 *  (3) in no stretch of time more requests begin than the bucket gives;
 *  (4) none begins between a Retry-After and its end;
 *  (5) nobody's first request goes before that of one with a better class, aged, or with the same
 *      class who came earlier: so a low run is overtaken by nobody who comes 2 x AG_GATE_AGE_NS later,
 *      but by high ones where places are kept for them;
 *  (6) turns of a session do not overlap, and go by their numbers, which go by arrival in a class;
 *  (7) a run over its time ends at that time;
 *  (8) at the end nobody is inside a gate or in line;
 *  (9) the engine wakes no oftener than things happen.
 *
 * AGENT_SIM_SEED=N runs that one alone and tells what happened; AGENT_SIM_COUNT=N more or fewer.
 */
#include <agent/agent.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/run.h"

#ifndef __has_feature
#define __has_feature(x) 0 /* clang's; gcc has macros of its own */
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define SLOW 10 /* a sanitizer looks at each step; fewer ways through them do */
#else
#define SLOW 1
#endif

#define MS       INT64_C(1000000)
#define SECOND   (1000 * MS)
#define MODELS   2
#define TOOLS    2
#define MOST     64   /* runs */
#define REQUESTS 2048 /* requests and calls */
#define HOLDS    512
#define RETRIES  2

struct sim_run {
    agent_run *handle;
    int model, class; /* class 0 high, 1 normal, 2 low */
    int session;      /* -1: its own */
    int64_t arrives_ns, cancel_ns, deadline_ns; /* 0: not */
    int64_t first_ns, end_ns; /* its first request; 0: none was made */
    int64_t id;
    int steps, ends, open_calls;
    char status[16];
    agent_status error;
};

/* A request of a model or a call of a tool. */
struct sim_job {
    struct ag_job *job;
    int64_t begin_ns, due_ns;
    int run, kind; /* kind: a model, or MODELS + a tool; -1: not known yet */
    bool done;
};

static struct {
    uint64_t seed, random;
    bool tells;
    int64_t now_ns;
    agent_engine *e;
    int64_t capacity[MODELS], per_minute[MODELS], tool_limit;
    struct sim_run runs[MOST];
    int run_count, started;
    struct sim_job jobs[REQUESTS];
    int job_count, job_now; /* job_now: being ended */
    struct {
        int model;
        int64_t from_ns, until_ns;
    } holds[HOLDS];
    int hold_count;
    int64_t slowest_ms;
    unsigned trouble; /* one in so many answers fails; 0: none */
    long own_steps, engine_steps;
} sim;

static agent_error err;

#define RULE(good, ...)                                                                                        \
    do {                                                                                                       \
        if (!(good)) {                                                                                         \
            char what_[768];                                                                                   \
            (void)snprintf(what_, sizeof(what_), __VA_ARGS__);                                                 \
            ck_abort_msg("AGENT_SIM_SEED=%llu: %s", (unsigned long long)sim.seed, what_);                      \
        }                                                                                                      \
    } while (0)

#define TELL(...)                                                                                              \
    do {                                                                                                       \
        if (sim.tells) {                                                                                       \
            printf("%9.3f  ", (double)sim.now_ns / 1e9 - 1000);                                                 \
            printf(__VA_ARGS__);                                                                               \
            printf("\n");                                                                                      \
        }                                                                                                      \
    } while (0)

static int64_t rnd(int64_t below)
{
    sim.random = sim.random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (int64_t)((sim.random >> 33) % (uint64_t)below);
}

/* --- the world around the engine --------------------------------------------------------------------- */

static int64_t fake_mono_ns(void *ctx)
{
    (void)ctx;
    return sim.now_ns;
}

static int64_t fake_unix_ms(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000) + sim.now_ns / MS;
}

static void take_job(void *ctx, struct ag_job *job)
{
    (void)ctx;
    RULE(sim.job_count < REQUESTS, "more than %d requests", REQUESTS);
    sim.jobs[sim.job_count++] = (struct sim_job){
        .job = job, .begin_ns = sim.now_ns, .due_ns = sim.now_ns + (1 + rnd(sim.slowest_ms)) * MS, .run = -1, .kind = -1,
    };
}

static struct sim_job *job_of(int run, int kind)
{
    struct sim_job *j = &sim.jobs[sim.job_now];

    j->run = run;
    j->kind = kind;
    return j;
}

static agent_status answer(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    int model = q->model[0] - 'a', run = -1;
    struct sim_job *j;

    (void)ctx;
    for (size_t i = 0; i < q->message_count; i++) /* the newest turn's */
        if (strcmp(q->messages[i].role, "user") == 0)
            run = atoi(q->messages[i].text);
    j = job_of(run, model);
    if (sim.runs[run].first_ns == 0)
        sim.runs[run].first_ns = j->begin_ns;
    if (agent_reply_cancelled(reply))
        return AGENT_OK;
    if (sim.trouble != 0 && rnd(sim.trouble) == 0) {
        int64_t after_ms = rnd(3) == 0 ? -1 : rnd(9000);

        if (after_ms >= 0) {
            RULE(sim.hold_count < HOLDS, "more than %d holds", HOLDS);
            agent_reply_retry_after(reply, after_ms);
            sim.holds[sim.hold_count].model = model;
            sim.holds[sim.hold_count].from_ns = sim.now_ns;
            sim.holds[sim.hold_count++].until_ns = sim.now_ns + after_ms * MS;
        }
        TELL("run %d: model %c is too busy, come back after %lld ms", run, 'a' + model, (long long)after_ms);
        e->status = AGENT_ERATELIMIT;
        (void)snprintf(e->text, sizeof(e->text), "too many");
        return AGENT_ERATELIMIT;
    }
    sim.runs[run].steps++;
    if (sim.runs[run].steps < 4 && rnd(3) == 0) {
        int calls = 1 + (int)rnd(3);

        TELL("run %d: model %c calls %d tools", run, 'a' + model, calls);
        for (int i = 0; i < calls; i++) {
            char id[32], arguments[32];

            (void)snprintf(id, sizeof(id), "c%d", i);
            (void)snprintf(arguments, sizeof(arguments), "{\"run\":%d}", run);
            agent_reply_tool_call(reply, id, rnd(2) == 0 ? "t0" : "t1", arguments);
        }
        return AGENT_OK;
    }
    TELL("run %d: model %c answers", run, 'a' + model);
    agent_reply_text(reply, "done", 4);
    return AGENT_OK;
}

static agent_status call_tool(void *ctx, agent_tool_call *call, agent_error *e)
{
    int tool = *(const int *)ctx, run = atoi(strchr(agent_tool_call_arguments(call), ':') + 1);

    (void)e;
    (void)job_of(run, MODELS + tool);
    agent_tool_call_write(call, "ok", 2);
    TELL("run %d: tool t%d ends", run, tool);
    return AGENT_OK;
}

static void on_event(void *ctx, const agent_event *ev)
{
    struct sim_run *r = ctx;

    if (ev->run.id != 0)
        r->id = ev->run.id;
    if (ev->result == NULL)
        return;
    r->ends++;
    r->end_ns = sim.now_ns;
    r->error = ev->result->error.status;
    (void)snprintf(r->status, sizeof(r->status), "%s", ev->result->status);
    TELL("run %d (%lld) has ended: %s %s", (int)(r - sim.runs), (long long)r->id, r->status, ev->result->error.text);
}

/* --- one simulation ----------------------------------------------------------------------------------------- */

static void make_engine(const char *path)
{
    static int numbers[TOOLS] = {0, 1};
    static const char *const tool_names[] = {"t0", "t1"};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_provider p = {.size = sizeof(p), .name = "sim", .complete = answer};

    o.path = path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = 0;
    o.sample_interval_ms = -1;
    o.durability = AGENT_DURABILITY_PROCESS;
    ck_assert_msg(agent_open(&o, &sim.e, &err) == AGENT_OK, "%s", err.text);
    sim.e->clock = (ag_clock){fake_unix_ms, fake_mono_ns, NULL};
    atomic_store(&sim.e->random_state, sim.seed);
    sim.e->take_job = take_job;
    ck_assert_msg(agent_provider_register(sim.e, &p, &err) == AGENT_OK, "%s", err.text);
    sim.e->limits.value[AG_LIMIT_TOOL_CONCURRENCY] = sim.tool_limit;
    for (int i = 0; i < TOOLS; i++) {
        agent_tool t = AGENT_TOOL_INIT;

        t.name = tool_names[i];
        t.description = "a tool";
        t.effect = AGENT_EFFECT_PURE;
        t.timeout_ms = 3600 * 1000;
        t.call = call_tool;
        t.ctx = &numbers[i];
        ck_assert_msg(agent_tool_register(sim.e, &t, &err) == AGENT_OK, "%s", err.text);
    }
    for (int i = 0; i < MODELS; i++) {
        agent_config c = AGENT_CONFIG_INIT;
        char options[256], model[32], name[32];

        (void)snprintf(model, sizeof(model), "sim:%c", 'a' + i);
        (void)snprintf(name, sizeof(name), "agent%d", i);
        (void)snprintf(options, sizeof(options), "{\"max_concurrency\":%lld,\"requests_per_minute\":%lld,\"retries\":%d}",
                       (long long)sim.capacity[i], (long long)sim.per_minute[i], RETRIES);
        c.model = model;
        c.options = options;
        c.tools = tool_names;
        c.tool_count = TOOLS;
        ck_assert_msg(agent_create(sim.e, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
    }
}

static void plan(void)
{
    int sessions = 1 + (int)rnd(6);
    int64_t at = sim.now_ns, spread_ms = 1 + rnd(1500);

    sim.run_count = 8 + (int)rnd(MOST - 8);
    sim.tool_limit = 1 + rnd(3);
    sim.slowest_ms = 50 + rnd(4000);
    sim.trouble = rnd(3) == 0 ? 0 : 3 + (unsigned)rnd(12);
    for (int i = 0; i < MODELS; i++) {
        sim.capacity[i] = 1 + (rnd(4) == 0 ? 10 + rnd(15) : rnd(4));
        sim.per_minute[i] = rnd(2) == 0 ? 1000000 : 20 + rnd(400);
    }
    for (int i = 0; i < sim.run_count; i++) {
        struct sim_run *r = &sim.runs[i];

        at += rnd(3) == 0 ? 0 : rnd(spread_ms) * MS;
        r->arrives_ns = at;
        r->model = (int)rnd(MODELS);
        r->class = (int)rnd(3);
        r->session = rnd(2) == 0 ? -1 : (int)rnd(sessions);
        r->cancel_ns = rnd(8) == 0 ? at + rnd(20000) * MS : 0;
        r->deadline_ns = rnd(8) == 0 ? at + (1 + rnd(30000)) * MS : 0;
    }
}

static void start_run(struct sim_run *r)
{
    static const int priorities[] = {AGENT_PRIORITY_HIGH, AGENT_PRIORITY_NORMAL, AGENT_PRIORITY_LOW};
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    char input[16], session[16], agent[16];

    (void)snprintf(input, sizeof(input), "%d", (int)(r - sim.runs));
    (void)snprintf(agent, sizeof(agent), "agent%d", r->model);
    (void)snprintf(session, sizeof(session), "s%d", r->session);
    q.agent = agent;
    q.input = input;
    q.input_bytes = strlen(input);
    q.session_name = r->session >= 0 ? session : NULL;
    q.priority = priorities[r->class];
    q.timeout_ms = r->deadline_ns != 0 ? (r->deadline_ns - r->arrives_ns) / MS : 0;
    q.on_event = on_event;
    q.ctx = r;
    TELL("run %s arrives: model %c, class %d, session %d%s%s", input, 'a' + r->model, r->class, r->session,
         r->cancel_ns != 0 ? ", to be cancelled" : "", r->deadline_ns != 0 ? ", with a deadline" : "");
    ck_assert_msg(agent_run_start(sim.e, &q, &r->handle, &err) == AGENT_OK, "%s", err.text);
}

static void sooner(int64_t *at, int64_t other)
{
    if (other != 0 && (*at == 0 || other < *at))
        *at = other;
}

/* What is due by now, in an order of chance: one thing, so that the engine sees each by itself. */
static bool do_one(void)
{
    int due[REQUESTS], count = 0;

    if (sim.started < sim.run_count && sim.runs[sim.started].arrives_ns <= sim.now_ns && rnd(3) != 0) {
        start_run(&sim.runs[sim.started++]);
        return true;
    }
    for (int i = 0; i < sim.started; i++)
        if (sim.runs[i].cancel_ns != 0 && sim.runs[i].cancel_ns <= sim.now_ns) {
            sim.runs[i].cancel_ns = 0;
            if (sim.runs[i].ends == 0)
                TELL("run %d is to be cancelled", i);
            agent_run_cancel(sim.runs[i].handle);
            return true;
        }
    for (int i = 0; i < sim.job_count; i++)
        if (!sim.jobs[i].done && sim.jobs[i].due_ns <= sim.now_ns)
            due[count++] = i;
    if (count > 0) {
        sim.job_now = due[rnd(count)];
        sim.jobs[sim.job_now].done = true;
        sim.jobs[sim.job_now].job->work(sim.jobs[sim.job_now].job);
        return true;
    }
    if (sim.started < sim.run_count && sim.runs[sim.started].arrives_ns <= sim.now_ns) {
        start_run(&sim.runs[sim.started++]);
        return true;
    }
    return false;
}

static int64_t engine_time(void)
{
    const struct ag_worker *w = sim.e->workers[0];
    int64_t at = w->gates_at_ns;

    sooner(&at, w->heap_count > 0 ? w->heap[0]->at_ns : 0);
    return at;
}

static bool go_on(void)
{
    int64_t own = 0, engine = engine_time();

    if (sim.started < sim.run_count)
        sooner(&own, sim.runs[sim.started].arrives_ns);
    for (int i = 0; i < sim.started; i++)
        sooner(&own, sim.runs[i].cancel_ns);
    for (int i = 0; i < sim.job_count; i++)
        sooner(&own, sim.jobs[i].done ? 0 : sim.jobs[i].due_ns);
    if (own == 0 && engine == 0)
        return false;
    if (own != 0 && (engine == 0 || own <= engine))
        sim.own_steps++;
    else
        sim.engine_steps++;
    sooner(&own, engine);
    RULE(own >= sim.now_ns || engine == own, "time goes back");
    if (own > sim.now_ns)
        sim.now_ns = own;
    do
        RULE(agent_drive(sim.e, 0, &err) == AGENT_OK, "%s", err.text);
    while (do_one());
    RULE(agent_drive(sim.e, 0, &err) == AGENT_OK, "%s", err.text);
    return true;
}

/* --- the rules ------------------------------------------------------------------------------------------------ */

static int64_t ends_at(const struct sim_job *j) /* who is cancelled has left, though the job goes on */
{
    int64_t end = sim.runs[j->run].end_ns;

    return end < j->due_ns ? end : j->due_ns;
}

static void rule_ends(void)
{
    for (int i = 0; i < sim.run_count; i++) {
        struct sim_run *r = &sim.runs[i];
        agent_run_result *read;

        RULE(r->ends == 1, "run %d has ended %d times", i, r->ends);
        ck_assert_int_eq(agent_run_wait(r->handle, 0, NULL, &err), AGENT_OK);
        if (r->id == 0) /* it was cancelled before it was in the file */
            continue;
        ck_assert_msg(agent_run_read(sim.e, (agent_run_id){r->id}, &read, &err) == AGENT_OK, "%s", err.text);
        RULE(strcmp(read->status, r->status) == 0, "run %d was told as %s, and is %s", i, r->status, read->status);
        agent_run_result_free(read);
        RULE(r->error == AGENT_OK || r->error == AGENT_ECANCELLED || r->error == AGENT_ETIMEDOUT ||
                 r->error == AGENT_ERATELIMIT, "run %d ended with %s", i, agent_status_name(r->error));
        RULE(r->error != AGENT_ETIMEDOUT || (r->end_ns >= r->deadline_ns && r->end_ns <= r->deadline_ns + MS),
             "run %d ended %.3f s after its time", i, (double)(r->end_ns - r->deadline_ns) / 1e9); /* (7) */
        RULE(r->deadline_ns == 0 || r->end_ns <= r->deadline_ns + MS, "run %d went on over its time", i);
    }
}

static void rule_limits(void)
{
    for (int i = 0; i < sim.job_count; i++) {
        const struct sim_job *a = &sim.jobs[i];
        int64_t limit = a->kind < MODELS ? sim.capacity[a->kind] : sim.tool_limit, count = 0;

        for (int k = 0; k < sim.job_count; k++) {
            const struct sim_job *b = &sim.jobs[k];

            count += b->kind == a->kind && k <= i && (k == i || ends_at(b) > a->begin_ns);
        }
        RULE(count <= limit, "%lld at once of kind %d, whose limit is %lld", (long long)count, a->kind, (long long)limit);
    }
}

static void rule_bucket(void)
{
    for (int i = 0; i < sim.job_count; i++) {
        const struct sim_job *a = &sim.jobs[i];
        int64_t rate = a->kind < MODELS ? sim.per_minute[a->kind] : 0, count = 0;
        double burst = rate > 60 ? (double)rate / 60 : 1;

        for (int k = i; k < sim.job_count && rate > 0; k++) {
            const struct sim_job *b = &sim.jobs[k];

            if (b->kind != a->kind)
                continue;
            count++;
            RULE((double)count <= burst + (double)(b->begin_ns - a->begin_ns) * (double)rate / 60e9 + 1e-3,
                 "%lld requests in %.3f s, the limit is %lld a minute", (long long)count,
                 (double)(b->begin_ns - a->begin_ns) / 1e9, (long long)rate);
        }
    }
}

static void rule_holds(void)
{
    for (int h = 0; h < sim.hold_count; h++)
        for (int i = 0; i < sim.job_count; i++)
            RULE(sim.jobs[i].kind != sim.holds[h].model || sim.jobs[i].begin_ns <= sim.holds[h].from_ns ||
                     sim.jobs[i].begin_ns >= sim.holds[h].until_ns,
                 "run %d asks %.3f s before the end of a hold", sim.jobs[i].run,
                 (double)(sim.holds[h].until_ns - sim.jobs[i].begin_ns) / 1e9);
}

static bool is_alone(int run) /* nothing of its session can hold it up */
{
    return sim.runs[run].session < 0;
}

static int aged(const struct sim_run *r, int64_t at)
{
    int64_t ages = (at - r->arrives_ns) / AG_GATE_AGE_NS;

    return ages >= r->class ? 0 : r->class - (int)ages;
}

static void rule_order(void)
{
    for (int x = 0; x < sim.run_count; x++) {
        const struct sim_run *a = &sim.runs[x];
        int64_t at = a->first_ns;

        if (at == 0 || !is_alone(x))
            continue;
        for (int y = 0; y < sim.run_count; y++) {
            const struct sim_run *b = &sim.runs[y];

            if (y == x || b->model != a->model || !is_alone(y) || b->arrives_ns > at || (b->arrives_ns == at && y > x) ||
                (b->first_ns != 0 && b->first_ns <= at) || b->end_ns <= at)
                continue;
            if (a->class == 0 && b->class != 0 && sim.capacity[a->model] >= 10) /* to a place kept for high ones */
                continue;
            if (a->class == 0 && b->class != 0 && sim.capacity[a->model] >= 10) /* to a place that is kept for it */
                continue;
            RULE(aged(b, at) > aged(a, at) || (aged(b, at) == aged(a, at) && y > x),
                 "run %d (class %d) went before run %d (class %d), which had waited %.3f s", x, a->class, y, b->class,
                 (double)(at - b->arrives_ns) / 1e9);
        }
    }
}

static void rule_sessions(void)
{
    for (int x = 0; x < sim.run_count; x++)
        for (int y = x + 1; y < sim.run_count; y++) {
            const struct sim_run *a = &sim.runs[x], *b = &sim.runs[y];

            if (a->session < 0 || a->session != b->session || a->model != b->model || a->id == 0 || b->id == 0)
                continue;
            RULE(a->class != b->class || a->id < b->id, "run %d came after run %d, and its number is less", y, x);
            if (a->first_ns == 0 || b->first_ns == 0)
                continue;
            if (a->id > b->id) {
                const struct sim_run *t = a;

                a = b;
                b = t;
            }
            RULE(a->end_ns <= b->first_ns, "turns %d and %d of one session overlap", (int)(a - sim.runs),
                 (int)(b - sim.runs));
        }
}

static void rule_gates(void)
{
    for (int i = 0; i < MODELS + TOOLS; i++) {
        char name[32];
        ag_gate *g;

        if (i < MODELS)
            (void)snprintf(name, sizeof(name), "sim  %c", 'a' + i);
        else
            (void)snprintf(name, sizeof(name), "tool:t%d", i - MODELS);
        g = ag_schedule_gate(sim.e->schedule, ag_str_of(name), 1, 0);
        RULE(g->inside == 0 && g->waiting == 0, "%lld are inside the gate '%s', %lld wait", (long long)g->inside, name,
             (long long)g->waiting);
    }
}

static void rule_idle(void)
{
    long things = 2L * sim.run_count + 2L * sim.job_count + sim.hold_count;

    RULE(sim.engine_steps <= things, "%ld times the engine was woken by time, and %ld things happened", sim.engine_steps,
         things);
    RULE((long)sim.e->workers[0]->turns <= 8 * things, "%u steps were taken, and %ld things happened",
         sim.e->workers[0]->turns, things);
}

static void check_line(void *ctx, const char *text)
{
    (void)ctx;
    RULE(false, "%s", text);
}

static void simulate(uint64_t seed, const char *path, bool tells)
{
    memset(&sim, 0, sizeof(sim));
    sim.seed = seed;
    sim.random = seed * UINT64_C(0x9e3779b97f4a7c15);
    sim.tells = tells;
    sim.now_ns = 1000 * SECOND;
    (void)rnd(2);
    plan();
    make_engine(path);
    while (go_on())
        ;
    RULE(sim.started == sim.run_count, "%d of %d runs began", sim.started, sim.run_count);
    rule_ends();
    rule_limits();
    rule_bucket();
    rule_holds();
    rule_order();
    rule_sessions();
    rule_idle();
    rule_gates();
    if (path != NULL)
        ck_assert_msg(agent_db_check(sim.e, check_line, NULL, &err) == AGENT_OK, "%s", err.text);
    for (int i = 0; i < sim.run_count; i++)
        agent_run_free(sim.runs[i].handle);
    agent_close(sim.e);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *name, uint64_t standard)
{
    const char *text = getenv(name);

    return text == NULL ? standard : strtoull(text, NULL, 10);
}

START_TEST(the_rules_hold_in_thousands_of_interleavings)
{
    uint64_t one = number("AGENT_SIM_SEED", 0), count = number("AGENT_SIM_COUNT", 2000 / SLOW);

    if (one != 0)
        simulate(one, NULL, true);
    for (uint64_t seed = 1; seed <= count && one == 0; seed++)
        simulate(seed, NULL, false);
}
END_TEST

START_TEST(the_rules_hold_on_a_file_too)
{
    uint64_t one = number("AGENT_SIM_SEED", 0), count = number("AGENT_SIM_COUNT", 2000 / SLOW) / 30;
    const char *tmp = getenv("TMPDIR");
    char dir[128], path[160], command[256];

    (void)snprintf(dir, sizeof(dir), "%.80s/agent-sim.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (uint64_t seed = one != 0 ? one : 1; seed <= (one != 0 ? one : count); seed++) {
        (void)snprintf(path, sizeof(path), "%s/%llu.db", dir, (unsigned long long)seed);
        simulate(seed, path, one != 0);
        (void)unlink(path);
    }
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(a_seed_gives_the_same_story_each_time)
{
    struct sim_run first[MOST];

    simulate(77, NULL, false);
    memcpy(first, sim.runs, sizeof(first));
    simulate(77, NULL, false);
    for (int i = 0; i < sim.run_count; i++) {
        ck_assert_int_eq(first[i].end_ns, sim.runs[i].end_ns);
        ck_assert_int_eq(first[i].first_ns, sim.runs[i].first_ns);
        ck_assert_int_eq(first[i].id, sim.runs[i].id);
        ck_assert_str_eq(first[i].status, sim.runs[i].status);
    }
}
END_TEST

Suite *sim_suite(void);

Suite *sim_suite(void)
{
    Suite *suite = suite_create("sim");
    TCase *t = tcase_create("sim");

    tcase_set_timeout(t, 300);
    tcase_add_test(t, the_rules_hold_in_thousands_of_interleavings);
    tcase_add_test(t, the_rules_hold_on_a_file_too);
    tcase_add_test(t, a_seed_gives_the_same_story_each_time);
    suite_add_tcase(suite, t);
    return suite;
}
