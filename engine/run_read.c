/* A run as it stands in the file, whoever drives it. */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/run.h"

struct reading {
    agent_run_result result; /* first */
    ag_arena arena;          /* what it points to */
};

static agent_status fill(ag_reader *r, struct reading *of, int64_t run_id, agent_error *err)
{
    agent_run_result *out = &of->result;
    struct ag_agent_rec agent;
    struct ag_run_rec rec;
    agent_status rc = ag_reader_run(r, run_id, &of->arena, &rec, err);

    if (rc != AGENT_OK || (rc = ag_reader_agent(r, AG_STR_NONE, rec.version_id, &of->arena, &agent, err)) != AGENT_OK)
        return rc;
    out->run.id = run_id;
    out->session.id = rec.session_id;
    out->status = ag_run_status_name(rec.status);
    out->output = rec.output.p != NULL ? rec.output.p : "";
    out->output_bytes = rec.output.n;
    out->input_tokens = rec.input_tokens;
    out->output_tokens = rec.output_tokens;
    out->queue_ms = rec.queue_us >= 0 ? rec.queue_us / 1000 : -1;
    out->wall_ms = rec.wall_us >= 0 ? rec.wall_us / 1000 : -1;
    out->steps = -1; /* they are not counted here: v_steps has them */
    out->attempts = rec.attempt;
    out->cache_hit = rec.cache_hit;
    out->agent = agent.spec.name.p;
    out->error.status = rec.status == AG_RUN_WAITING ? AGENT_EAPPROVAL : (agent_status)rec.error_status;
    (void)snprintf(out->error.text, sizeof(out->error.text), AG_STR_FMT, AG_STR_ARG(rec.error));
    return AGENT_OK;
}

agent_status agent_run_read(agent_engine *e, agent_run_id run, agent_run_result **out, agent_error *err)
{
    struct reading *of;
    ag_reader *r;
    agent_status rc;

    if (e == NULL || out == NULL || run.id <= 0)
        return ag_fail(err, AGENT_EINVAL, 0, "read run: engine, run and out are needed");
    if ((of = ag_calloc(1, sizeof(*of))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "read run: out of memory");
    of->result.size = sizeof(of->result);
    of->arena = AG_ARENA_INIT;
    if ((rc = ag_engine_reader(e, &r, err)) == AGENT_OK) {
        rc = fill(r, of, run.id, err);
        ag_engine_reader_put(e);
    }
    if (rc != AGENT_OK) {
        agent_run_result_free(&of->result);
        return rc;
    }
    *out = &of->result;
    return AGENT_OK;
}

void agent_run_result_free(agent_run_result *result)
{
    struct reading *of = (struct reading *)(void *)result;

    if (of == NULL)
        return;
    ag_arena_drop(&of->arena);
    ag_free(of);
}
