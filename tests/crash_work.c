/*
 * The work of the crash suites: places, processes, runs, and taking up what is open.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash_model.h"

/* --- places and processes ----------------------------------------------------------------------- */

void crash_place_make(struct crash_place *p)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(p->dir, sizeof(p->dir), "%.100s/agent-crash.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(p->dir) == NULL)
        crash_die("mkdtemp", NULL);
    (void)snprintf(p->path, sizeof(p->path), "%s/agent.db", p->dir);
}

void crash_place_empty(const struct crash_place *p)
{
    static const char *const names[] = {"agent.db", "agent.db-wal", "agent.db-shm", "agent.db-journal", "agent.db-owners",
                                        "acks", "acted", "idem", "bricked"};
    char path[256];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
        (void)unlink(path);
    }
}

void crash_place_remove(const struct crash_place *p)
{
    crash_place_empty(p);
    (void)rmdir(p->dir);
}

long crash_env(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text == NULL || *text == '\0' ? otherwise : strtol(text, NULL, 10);
}

pid_t crash_spawn(int (*body)(void *ctx), void *ctx)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid < 0)
        crash_die("fork", NULL);
    if (pid == 0) {
        (void)signal(SIGALRM, SIG_DFL); /* not libcheck's, who kills the whole group */
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGINT, SIG_DFL);
        (void)alarm(CRASH_SCALE == 1 ? 60 : 240);
        _exit(body(ctx));
    }
    return pid;
}

int crash_reap(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            crash_die("waitpid", NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* --- runs ---------------------------------------------------------------------------------------------- */

static bool is_final(const char *status)
{
    return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

static void listen(void *ctx, const agent_event *ev)
{
    const char *key = ctx == NULL ? "-" : ctx;

    if (ev->type == AGENT_EVENT_RUN_START)
        crash_witness("acks", "start %s %lld", key, (long long)ev->run.id);
    if (ev->result == NULL || ev->result->run.id == 0 || !is_final(ev->result->status))
        return;
    if (ev->result->error.status == AGENT_ESTORAGE || ev->result->error.status == AGENT_EBUSY)
        crash_die("a run", &ev->result->error);
    crash_witness("acks", "end %s %lld %s", key, (long long)ev->result->run.id, ev->result->status);
}

/* Its ends are told in acks. */
agent_run_request crash_ask_for(const char *agent, const char *session, const char *key, const char *input)
{
    agent_run_request q = AGENT_RUN_REQUEST_INIT;

    q.agent = agent;
    q.session_name = session;
    q.idempotency_key = key;
    q.input = input;
    q.input_bytes = strlen(input);
    q.on_event = listen;
    q.ctx = (void *)(uintptr_t)key;
    return q;
}

agent_run *crash_start(agent_engine *e, const agent_run_request *q)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_run *run = NULL;

    if (agent_run_start(e, q, &run, &err) != AGENT_OK)
        crash_die("start", &err);
    return run;
}

void crash_finish(agent_run *run)
{
    const agent_run_result *r = NULL;
    agent_error err = AGENT_ERROR_INIT;

    if (agent_run_wait(run, -1, &r, &err) != AGENT_OK)
        crash_die("wait", &err);
    agent_run_free(run);
}

void crash_run(agent_engine *e, const char *agent, const char *session, const char *key, const char *input)
{
    agent_run_request q = crash_ask_for(agent, session, key, input);

    crash_finish(crash_start(e, &q));
}

void crash_enqueue(agent_engine *e, const char *agent, const char *session, const char *key, const char *input,
                   int priority)
{
    agent_run_request q = crash_ask_for(agent, session, key, input);
    agent_error err = AGENT_ERROR_INIT;
    agent_run_id id = {0};

    q.priority = priority;
    if (agent_run_enqueue(e, &q, &id, &err) != AGENT_OK)
        crash_die("enqueue", &err);
    crash_witness("acks", "queued %s %lld", key, (long long)id.id);
}

void crash_drain(agent_engine *e)
{
    agent_work_options o = AGENT_WORK_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;

    o.until_idle = true;
    o.on_event = listen;
    if (agent_work(e, &o, &err) != AGENT_OK)
        crash_die("work", &err);
}

/* --- taking up what is open ------------------------------------------------------------------------------ */

struct ids {
    int64_t at[256];
    int count;
};

static bool add_id(void *ctx, const agent_row *row)
{
    struct ids *ids = ctx;

    if (ids->count < (int)(sizeof(ids->at) / sizeof(ids->at[0])))
        ids->at[ids->count++] = agent_row_int(row, agent_row_find(row, "id"));
    return true;
}

static struct ids runs_that_are(agent_engine *e, const char *status)
{
    agent_filter f = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct ids ids = {.count = 0};

    f.status = status;
    if (agent_scan(e, AGENT_VIEW_RUNS, &f, add_id, &ids, &err) != AGENT_OK)
        crash_die("scan", &err);
    return ids;
}

void crash_resume_each(agent_engine *e, const char *status)
{
    struct ids ids = runs_that_are(e, status);

    for (int i = 0; i < ids.count; i++) {
        agent_error err = AGENT_ERROR_INIT;
        agent_run *run = NULL;

        if (agent_run_resume(e, (agent_run_id){ids.at[i]}, listen, NULL, &run, &err) != AGENT_OK)
            crash_die("resume", &err);
        crash_finish(run);
    }
}

/* Odd ones are approved. That they are is told before it is done: what is told too often does no harm. */
void crash_decide_each(agent_engine *e)
{
    struct ids waiting = runs_that_are(e, "waiting");

    for (int i = 0; i < waiting.count; i++) {
        bool approve = waiting.at[i] % 2 == 1;
        agent_error err = AGENT_ERROR_INIT;
        agent_status rc;

        if (approve)
            crash_witness("acks", "approve - %lld", (long long)waiting.at[i]);
        rc = agent_run_decide(e, (agent_run_id){waiting.at[i]}, NULL, approve, NULL, &err);
        if (rc != AGENT_OK && rc != AGENT_EINVAL) /* somebody else was first */
            crash_die("decide", &err);
    }
}

void crash_settle(agent_engine *e, bool by_hand)
{
    for (int round = 0; round < 50; round++) {
        if (by_hand) {
            crash_resume_each(e, "running");
            crash_resume_each(e, "queued");
        }
        crash_drain(e);
        crash_decide_each(e);
        if (runs_that_are(e, "waiting").count == 0 && runs_that_are(e, "running").count == 0 &&
            runs_that_are(e, "queued").count == 0)
            return;
    }
    crash_die("there is always something open", NULL);
}

/* --- the work ------------------------------------------------------------------------------------------------ */

static void cancel_in_mid_answer(agent_engine *e)
{
    agent_run_request q = crash_ask_for("bob", "d", "x1", "hang");
    int before = atomic_load(&crash_hanging);
    agent_run *run;

    atomic_store(&crash_may_hang, true);
    run = crash_start(e, &q);
    while (atomic_load(&crash_hanging) == before && agent_run_wait(run, 1, NULL, NULL) == AGENT_ETIMEDOUT)
        ;
    agent_run_cancel(run);
    crash_finish(run);
    atomic_store(&crash_may_hang, false);
}

static void cancel_in_the_queue(agent_engine *e)
{
    agent_run_request q = crash_ask_for("bob", "d", "x2", "look");
    agent_error err = AGENT_ERROR_INIT;
    agent_run_id id = {0};
    agent_status rc;

    if (agent_run_enqueue(e, &q, &id, &err) != AGENT_OK)
        crash_die("enqueue", &err);
    crash_witness("acks", "queued x2 %lld", (long long)id.id);
    rc = agent_cancel(e, id, &err);
    if (rc == AGENT_OK)
        crash_witness("acks", "end x2 %lld cancelled", (long long)id.id);
    else if (rc != AGENT_EINVAL)
        crash_die("cancel", &err);
}

/* An engine that is closed in the middle of an effect leaves a run that has to be decided. */
static agent_engine *leave_an_effect_open(agent_engine *e, const struct crash_place *p, int workers, int durability)
{
    agent_run_request q = crash_ask_for("bob", "p", "p1", "stall");
    int before = atomic_load(&crash_stalled);
    agent_run *run;

    atomic_store(&crash_may_stall, true);
    run = crash_start(e, &q);
    while (atomic_load(&crash_stalled) == before && agent_run_wait(run, 1, NULL, NULL) == AGENT_ETIMEDOUT)
        ;
    agent_run_free(run);
    agent_close(e);
    atomic_store(&crash_may_stall, false);
    e = crash_open(p, workers, durability);
    crash_settle(e, false);
    return e;
}

void crash_work(const struct crash_place *p, int workers, int durability)
{
    agent_engine *e = crash_open(p, workers, durability);
    agent_run *runs[3];

    crash_run(e, "bob", "a", "a1", "look act");
    crash_run(e, "bob", "a", "a2", "put act look; act put");
    for (int i = 0; i < 6; i++) {
        static const char *const inputs[] = {"act", "no tools", "look; put", "put; act", "long", "act act"};
        static const char *const keys[] = {"q1", "q2", "q3", "q4", "q5", "q6"};
        static const char *const sessions[] = {"a", "b", "b", "c", "c", NULL};

        crash_enqueue(e, "bob", sessions[i], keys[i], inputs[i], i % 3 - 1);
    }
    for (int i = 0; i < 3; i++) {
        static const char *const keys[] = {"b1", "c1", "n1"};
        static const char *const sessions[] = {"b", "c", NULL};
        static const char *const inputs[] = {"look look; act", "long", "command"};
        agent_run_request q = crash_ask_for("bob", sessions[i], keys[i], inputs[i]);

        runs[i] = crash_start(e, &q);
    }
    for (int i = 0; i < 3; i++)
        crash_finish(runs[i]);
    crash_drain(e);
    crash_run(e, "memo", NULL, "k1", "no tools, please");
    crash_run(e, "memo", NULL, "k2", "no tools, please");
    cancel_in_mid_answer(e);
    cancel_in_the_queue(e);
    crash_run(e, "bob", "d", "d1", "act");
    e = leave_an_effect_open(e, p, workers, durability);
    crash_run(e, "bob", "p", "p2", "look");
    agent_close(e);
}
