#include "engine/hosted.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/infer.h"

/*
 * Two threads hold a job: the pool's until its end was posted, the worker's until it has let go
 * and seen the end. `let_go` is the only field both touch while the work goes on.
 */
struct ag_host_job {
    struct ag_job job;
    struct ag_post post;
    struct ag_worker *worker;
    ag_account *account; /* of the run it is for, which it may outlive */
    atomic_bool let_go;
    ag_arena arena; /* of the worker before the start, of the pool thread until the end */
    ag_buf out;
    bool cut;
    agent_status status;
    agent_error error;
    int64_t begun_ns, ended_ns, after_ms; /* after_ms: as its provider asked; -1: not */
    /* a tool */
    struct agent_tool_call {
        struct ag_host_job *job;
        const char *arguments, *effect_id, *call_id;
        int64_t run_id;
        struct ag_tool_heap heap;
    } call;
    const agent_tool *tool;
    ag_tool_fn fn;
    void *ctx;
    /* a provider */
    const agent_provider *provider;
    agent_model_request request;
    struct agent_reply {
        struct ag_host_job *job;
        ag_buf pending;
    } reply;
    struct agent_run *run;
    struct ag_reply answer; /* gathered on the pool thread, moved to the run at the end */
};

static void job_free(struct ag_host_job *j)
{
    ag_account *account = j->account;

    ag_arena_drop(&j->arena);
    ag_buf_drop(&j->out);
    ag_reply_drop(&j->answer);
    ag_free(j);
    ag_account_unref(account);
}

static struct ag_host_job *job_new(struct ag_worker *w, size_t out_bytes)
{
    struct ag_host_job *j = ag_calloc(1, sizeof(*j));

    if (j == NULL)
        return NULL;
    j->worker = w;
    j->after_ms = -1;
    j->account = j->call.heap.account = ag_account_ref(ag_mem_charged());
    j->arena = AG_ARENA_INIT;
    j->out = AG_BUF_INIT(out_bytes);
    ag_reply_init(&j->answer);
    j->call.job = j->reply.job = j;
    return j;
}

static agent_status job_submit(struct ag_host_job *j, agent_error *err)
{
    struct ag_mem_charge was = ag_mem_charge(NULL); /* its threads are no run's */
    agent_engine *e = j->worker->engine;
    ag_pool *pool;
    agent_status rc;

    j->begun_ns = ag_mono_ns(&e->clock);
    if (e->take_job != NULL) {
        ag_mem_charge_back(was);
        e->take_job(e->take_job_ctx, &j->job);
        return AGENT_OK;
    }
    pool = ag_engine_pool(e);
    rc = pool == NULL ? ag_fail(err, AGENT_ENOMEM, 0, "tool pool: out of memory") : ag_pool_submit(pool, &j->job, err);
    ag_mem_charge_back(was);
    return rc;
}

void ag_host_job_let_go(struct ag_host_job *j)
{
    atomic_store(&j->let_go, true);
}

/* --- a tool ------------------------------------------------------------------------------------------ */

const char *agent_tool_call_arguments(const agent_tool_call *call) { return call->arguments; }
const char *agent_tool_call_effect_id(const agent_tool_call *call) { return call->effect_id; }
const char *agent_tool_call_id(const agent_tool_call *call) { return call->call_id; }
agent_run_id agent_tool_call_run(const agent_tool_call *call) { return (agent_run_id){call->run_id}; }
bool agent_tool_call_cancelled(const agent_tool_call *call) { return atomic_load(&call->job->let_go); }

void agent_tool_call_write(agent_tool_call *call, const char *text, size_t bytes)
{
    ag_buf *out = &call->job->out;
    struct ag_mem_charge was = ag_mem_charge_away(call->job->account);

    if (out->n + bytes > out->cap) {
        call->job->cut = true;
        bytes = out->cap - out->n;
    }
    ag_buf_append(out, text, bytes);
    ag_mem_charge_back(was);
}

void *agent_tool_alloc(agent_tool_call *call, size_t bytes)
{
    return ag_tool_heap_alloc(&call->heap, bytes);
}

void *agent_tool_realloc(agent_tool_call *call, void *p, size_t bytes)
{
    return ag_tool_heap_realloc(&call->heap, p, bytes);
}

void agent_tool_free(agent_tool_call *call, void *p)
{
    ag_tool_heap_free(&call->heap, p);
}

static void tool_ended(struct ag_post *post)
{
    struct ag_host_job *j = (struct ag_host_job *)((char *)post - offsetof(struct ag_host_job, post));
    struct ag_mem_charge was = ag_mem_charge_away(j->account);

    if (!atomic_load(&j->let_go)) {
        AG_AUTO(ag_buf) text = AG_BUF_INIT(2 * j->out.cap + 4096);
        struct ag_tool_end end = {.outcome = j->status == AGENT_OK ? AG_TOOL_OK : AG_TOOL_FAILED,
                                  .wall_us = (j->ended_ns - j->begun_ns) / 1000, .child_rss_peak_bytes = -1};
        struct ag_str said = ag_buf_view(&j->out);

        if (j->status != AGENT_OK) {
            ag_buf_z(&text, "tool failed: ");
            ag_buf_z(&text, j->error.text[0] != '\0' ? j->error.text : agent_status_text(j->status));
            if (said.n > 0)
                ag_buf_char(&text, '\n');
        }
        for (size_t i = 0; i < said.n;) { /* a host's bytes may be anything; the model reads UTF-8 */
            size_t n = ag_utf8_char(said.p + i, said.n - i);

            if (n > 0 && said.p[i] != '\0')
                ag_buf_append(&text, said.p + i, n);
            else
                ag_buf_z(&text, "\xef\xbf\xbd");
            i += n > 0 ? n : 1;
        }
        if (j->cut)
            ag_buf_printf(&text, "\n[cut: output was over %zu bytes]", j->out.cap);
        end.text = ag_buf_view(&text);
        j->fn(j->ctx, &end);
    }
    ag_mem_charge_back(was);
    job_free(j);
}

static void tool_work(struct ag_job *job)
{
    struct ag_host_job *j = (struct ag_host_job *)job;

    j->status = j->tool->call(j->tool->ctx, &j->call, &j->error);
    ag_tool_heap_drop(&j->call.heap);
    j->ended_ns = ag_mono_ns(&j->worker->engine->clock);
    j->post.fn = tool_ended;
    ag_worker_post(j->worker, &j->post);
}

agent_status ag_host_tool_start(struct ag_worker *w, const struct ag_agent_tool *tool, int64_t run_id,
                                struct ag_str arguments, struct ag_str effect_id, struct ag_str call_id, ag_tool_fn fn,
                                void *ctx, struct ag_host_job **out, agent_error *err)
{
    struct ag_host_job *j = job_new(w, tool->max_output_bytes);
    agent_status rc;

    if (j == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "tool: out of memory");
    j->job.work = tool_work;
    j->tool = &tool->host->tool;
    j->fn = fn;
    j->ctx = ctx;
    j->call.run_id = run_id;
    j->call.arguments = ag_arena_z(&j->arena, arguments);
    j->call.effect_id = ag_arena_z(&j->arena, effect_id);
    j->call.call_id = ag_arena_z(&j->arena, call_id);
    if (j->call.arguments == NULL || j->call.effect_id == NULL || j->call.call_id == NULL)
        rc = ag_fail(err, AGENT_ENOMEM, 0, "tool: out of memory");
    else
        rc = job_submit(j, err);
    if (rc != AGENT_OK) {
        job_free(j);
        return rc;
    }
    *out = j;
    return AGENT_OK;
}

/* --- a provider ---------------------------------------------------------------------------------------- */

struct hosted {
    struct ag_infer base;
    struct ag_host_job *job; /* NULL: its end has come */
};

struct chunk {
    struct ag_post post;
    struct ag_host_job *job;
    size_t n;
    char text[];
};

static void chunk_came(struct ag_post *post)
{
    struct chunk *c = (struct chunk *)post;
    struct ag_host_job *j = c->job;
    struct ag_mem_charge was = ag_mem_charge_away(j->account);

    if (!atomic_load(&j->let_go)) {
        ag_buf_append(&j->run->reply.text, c->text, c->n);
        ag_infer_first_byte(j->run);
        ag_infer_text(j->run);
    }
    ag_mem_charge_back(was);
    ag_free(c);
}

void agent_reply_text(agent_reply *reply, const char *text, size_t bytes)
{
    struct ag_mem_charge was;
    struct chunk *c;

    if (bytes == 0)
        return;
    was = ag_mem_charge_away(reply->job->account);
    c = ag_malloc(sizeof(*c) + bytes);
    ag_mem_charge_back(was);
    if (c == NULL) {
        reply->job->answer.text.failed = AGENT_ENOMEM;
        return;
    }
    c->post.fn = chunk_came;
    c->job = reply->job; /* alive: its end is posted after this */
    c->n = bytes;
    memcpy(c->text, text, bytes);
    ag_worker_post(reply->job->worker, &c->post);
}

void agent_reply_tool_call(agent_reply *reply, const char *id, const char *name, const char *arguments)
{
    struct ag_mem_charge was = ag_mem_charge_away(reply->job->account);
    struct ag_reply_call *c = ag_reply_add_call(&reply->job->answer, -1);

    if (c != NULL) {
        if (id != NULL)
            ag_buf_z(&c->id, id);
        ag_buf_z(&c->name, name != NULL ? name : "");
        if (arguments != NULL)
            ag_buf_z(&c->arguments, arguments);
    }
    ag_mem_charge_back(was);
}

void agent_reply_usage(agent_reply *reply, int64_t input_tokens, int64_t output_tokens)
{
    reply->job->answer.input_tokens = input_tokens;
    reply->job->answer.output_tokens = output_tokens;
}

void agent_reply_retry_after(agent_reply *reply, int64_t ms)
{
    reply->job->after_ms = ms >= 0 ? ms : -1;
}

bool agent_reply_cancelled(const agent_reply *reply)
{
    return atomic_load(&reply->job->let_go);
}

static void provider_ended(struct ag_post *post)
{
    struct ag_host_job *j = (struct ag_host_job *)((char *)post - offsetof(struct ag_host_job, post));
    struct ag_mem_charge was = ag_mem_charge_away(j->account);

    if (!atomic_load(&j->let_go)) {
        struct agent_run *run = j->run;

        ((struct hosted *)run->infer)->job = NULL;
        if (j->status != AGENT_OK) {
            if (j->error.status == AGENT_OK)
                (void)ag_fail(&j->error, j->status, 0, "%s: %s", j->provider->name, agent_status_text(j->status));
            ag_infer_failed(run, &j->error, agent_status_may_retry(j->status), j->after_ms);
        } else if (j->answer.text.failed != AGENT_OK) {
            (void)ag_fail(&j->error, AGENT_ENOMEM, 0, "%s: out of memory", j->provider->name);
            ag_infer_failed(run, &j->error, false, -1);
        } else {
            ag_buf text = run->reply.text;
            size_t shown = run->reply.text_shown;

            run->reply.text = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
            ag_reply_drop(&run->reply);
            run->reply = j->answer; /* calls and usage; its text came in chunks */
            ag_buf_drop(&run->reply.text);
            run->reply.text = text;
            run->reply.text_shown = shown;
            ag_reply_init(&j->answer);
            run->reply.stop = run->reply.call_count > 0 ? AG_STOP_CALLS : AG_STOP_DONE;
            run->reply.complete = true;
            ag_infer_done(run);
        }
    }
    ag_mem_charge_back(was);
    job_free(j);
}

static void provider_work(struct ag_job *job)
{
    struct ag_host_job *j = (struct ag_host_job *)job;

    j->status = j->provider->complete(j->provider->ctx, &j->request, &j->reply, &j->error);
    j->ended_ns = ag_mono_ns(&j->worker->engine->clock);
    j->post.fn = provider_ended;
    ag_worker_post(j->worker, &j->post);
}

static void stop(struct agent_run *run)
{
    struct hosted *h = (struct hosted *)run->infer;

    if (h->job != NULL)
        ag_host_job_let_go(h->job);
    run->infer = NULL; /* the rest is in the run's arena */
}

/* The request as the host sees it: all copied into the job, for the run may end before it. */
static agent_status copy_request(struct ag_host_job *j, const struct ag_model_request *q, agent_error *err)
{
    static const char *const roles[] = {[AG_MSG_USER] = "user", [AG_MSG_ASSISTANT] = "assistant",
                                        [AG_MSG_TOOL] = "tool"};
    AG_AUTO(ag_buf) tools = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
    agent_message *m = ag_arena_zalloc(&j->arena, (q->message_count + 1) * sizeof(*m));
    size_t n = 0;

    if (m == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    if (q->system.n > 0)
        m[n++] = (agent_message){.role = "system", .text = ag_arena_z(&j->arena, q->system), .text_bytes = q->system.n};
    for (size_t i = 0; i < q->message_count; i++) {
        const struct ag_msg *from = &q->messages[i];

        m[n++] = (agent_message){
            .role = roles[from->role], .text = ag_arena_z(&j->arena, from->text), .text_bytes = from->text.n,
            .tool_calls = from->calls.n > 0 ? ag_arena_z(&j->arena, from->calls) : NULL,
            .tool_call_id = from->call_id.n > 0 ? ag_arena_z(&j->arena, from->call_id) : NULL,
            .tool_name = from->tool_name.n > 0 ? ag_arena_z(&j->arena, from->tool_name) : NULL,
        };
    }
    ag_buf_char(&tools, '[');
    for (size_t i = 0; i < q->tool_count; i++) {
        ag_buf_z(&tools, i > 0 ? ",{\"name\":" : "{\"name\":");
        ag_buf_json_str(&tools, q->tools[i].name);
        ag_buf_z(&tools, ",\"description\":");
        ag_buf_json_str(&tools, q->tools[i].description);
        ag_buf_z(&tools, ",\"parameters\":");
        ag_buf_str(&tools, q->tools[i].schema);
        ag_buf_char(&tools, '}');
    }
    ag_buf_char(&tools, ']');
    j->request = (agent_model_request){
        .size = sizeof(j->request), .model = ag_arena_z(&j->arena, q->model), .messages = m, .message_count = n,
        .tools = ag_arena_z(&j->arena, ag_buf_view(&tools)),
        .options = ag_arena_printf(&j->arena, "{" AG_STR_FMT "}", AG_STR_ARG(q->params->passthrough)),
    };
    for (size_t i = 0; i < n; i++)
        if (m[i].text == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    if (j->request.model == NULL || j->request.tools == NULL || j->request.options == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    return AGENT_OK;
}

agent_status ag_hosted_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err)
{
    struct hosted *h = ag_arena_zalloc(&run->arena, sizeof(*h));
    struct ag_host_job *j = h == NULL ? NULL : job_new(run->worker, 0);
    agent_status rc;

    if (j == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    j->run = run;
    j->provider = &run->host->provider;
    j->job.work = provider_work;
    if ((rc = copy_request(j, q, err)) != AGENT_OK || (rc = job_submit(j, err)) != AGENT_OK) {
        job_free(j);
        return rc;
    }
    h->job = j;
    h->base.stop = stop;
    run->infer = &h->base;
    return AGENT_OK;
}
