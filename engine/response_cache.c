#include "engine/response_cache.h"

#include <jansson.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/request_key.h"

#define LEASE_AGAIN_NS INT64_C(1000000000) /* a lease is asked for again, though nothing was committed */

enum stage { STAGE_NEW, STAGE_LOOK, STAGE_LEASE, STAGE_FOREIGN, STAGE_ASK };

/* A run's own account of it; in its arena. */
struct ag_run_reuse {
    enum stage stage;
    struct ag_request_key key;
    unsigned char (*flight)[AG_CACHE_KEY_BYTES]; /* that it leads; NULL: none */
    bool leased;
    int64_t wait_until_ns, lease_again_ns;
    uint64_t seen_token;
    struct ag_str body; /* of the hit */
    struct ag_op *ops;  /* for the next unit */
};

static struct ag_run_reuse *reuse_of(struct agent_run *run)
{
    if (run->reuse == NULL)
        run->reuse = ag_arena_zalloc(&run->arena, sizeof(*run->reuse));
    return run->reuse;
}

static struct ag_op *later(struct agent_run *run, enum ag_op_kind kind)
{
    struct ag_op *op = ag_arena_zalloc(&run->arena, sizeof(*op));

    if (op != NULL) {
        op->kind = kind;
        op->next = run->reuse->ops;
        run->reuse->ops = op;
    }
    return op;
}

/* --- looking up ---------------------------------------------------------------------------------------- */

struct answer_obj {
    struct ag_value head;
    ag_arena arena;
    struct ag_cache_row row;
};

static void answer_drop(struct ag_value *v)
{
    struct answer_obj *obj = (struct answer_obj *)v;

    ag_arena_drop(&obj->arena);
    ag_free(obj);
}

struct answer_load {
    ag_reader *reader;
    const unsigned char *key;
};

static agent_status load_answer(void *ctx, struct ag_value **out, agent_error *err)
{
    const struct answer_load *load = ctx;
    struct answer_obj *obj = ag_calloc(1, sizeof(*obj));
    agent_status rc;

    if (obj == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "load answer: out of memory");
    obj->arena = AG_ARENA_INIT;
    atomic_init(&obj->head.refs, 1);
    obj->head.drop = answer_drop;
    if ((rc = ag_reader_cache_get(load->reader, load->key, &obj->arena, &obj->row, err)) != AGENT_OK) {
        answer_drop(&obj->head);
        return rc;
    }
    obj->head.bytes = sizeof(*obj) + obj->arena.held_bytes;
    *out = &obj->head;
    return AGENT_OK;
}

/* An id must be told apart from those of the conversation, so an answer whose calls have ids that
 * are in it already (a window that came round to the same request) is not used. */
static bool ids_are_new(struct ag_str body, const struct ag_model_request *q)
{
    json_auto_t *doc = json_loadb(body.p, body.n, JSON_ALLOW_NUL, NULL);
    json_t *calls = json_object_get(doc, "calls"), *call;
    size_t i;

    json_array_foreach(calls, i, call) {
        const char *id = json_string_value(json_object_get(call, "id"));
        size_t n = json_string_length(json_object_get(call, "id"));

        for (size_t m = 0; n > 0 && m < q->message_count; m++)
            if (q->messages[m].calls.n > 0 && memmem(q->messages[m].calls.p, q->messages[m].calls.n, id, n) != NULL)
                return false;
    }
    return doc != NULL;
}

/* Whether there is an answer; it is copied into the run's arena. */
static bool find(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_reuse *c = run->reuse;
    struct answer_load load = {run->worker->reader, c->key.key};
    struct ag_value *v = NULL;
    const struct ag_cache_row *row;
    int64_t now = ag_run_unix_ms(run), ttl = run->params.cache_ttl_ms;
    bool good;

    /* What goes wrong here is no reason not to ask. */
    if (ag_cache_load(run->engine->cache, AG_CACHE_RESPONSE, c->key.key, sizeof(c->key.key), load_answer, &load, &v,
                      NULL) != AGENT_OK)
        return false;
    row = &((struct answer_obj *)v)->row;
    good = ag_str_eq(row->request, c->key.parts) && /* (2) */
           (row->expires_at_ms == 0 || row->expires_at_ms > now) && (ttl <= 0 || row->created_at_ms + ttl > now) &&
           ids_are_new(row->body, q);
    if (good && (c->body = ag_arena_str(&run->arena, row->body)).p == NULL)
        good = false;
    ag_value_put(v);
    return good;
}

static bool make_key(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_str provider = run->host != NULL ? ag_str_of(run->host->provider.name) : ag_str_of(run->vt->name);
    struct ag_str url = q->base_url.p != NULL ? q->base_url : ag_str_of(run->host != NULL ? NULL : run->vt->base_url);
    struct ag_str account = run->params.key_env.p != NULL ? run->params.key_env : run->agent->rec.spec.key_env;
    agent_error e = AGENT_ERROR_INIT;

    if (ag_request_key(provider, url, account, q, &run->arena, &run->reuse->key, &e) == AGENT_OK)
        return true;
    ag_log_line(&run->engine->log, AG_LOG_WARN, "cache", "run=%lld %s", (long long)run->run_id, e.text);
    return false;
}

/* --- one question at a time ------------------------------------------------------------------------------ */

static enum ag_look wait_ms(struct agent_run *run, int64_t ms)
{
    ag_run_leave(run); /* (5) */
    run->retry_at_ns = run->now_ns + ms * 1000000;
    return AG_LOOK_WAIT;
}

static enum ag_look ask(struct agent_run *run)
{
    run->reuse->stage = STAGE_ASK;
    run->retry_at_ns = 0;
    return AG_LOOK_ASK;
}

static enum ag_look hit(struct agent_run *run)
{
    ag_response_let_go(run);
    run->retry_at_ns = 0;
    return AG_LOOK_HIT;
}

static enum ag_look leased(struct agent_run *run, const struct ag_model_request *q);

static enum ag_look take_lease(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_unit *u = ag_run_unit_new(run);
    struct ag_op *op = u == NULL ? NULL : ag_run_op(run, u, AG_OP_CACHE_LEASE);

    if (op == NULL) {
        ag_run_unit_free(u);
        return ask(run);
    }
    memcpy(op->cache_lease.key, run->reuse->key.key, AG_CACHE_KEY_BYTES);
    op->cache_lease.until_ms = u->unit.now_ms + AG_REUSE_WAIT_MS;
    run->reuse->stage = STAGE_LEASE;
    run->reuse->seen_token = ag_store_change_token(run->engine->store);
    run->reuse->lease_again_ns = run->now_ns + LEASE_AGAIN_NS;
    run->retry_at_ns = 0;
    if (ag_run_submit_wait(run, u))
        return leased(run, q);
    return AG_LOOK_WAIT;
}

static enum ag_look leased(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_unit *u = ag_run_unit_take(run);
    const struct ag_op_cache_lease *lease;
    bool taken, failed;

    if (u == NULL)
        return AG_LOOK_WAIT;
    lease = &u->unit.first->cache_lease;
    failed = u->unit.status != AGENT_OK; /* a run that was lost finds out with its next commit */
    taken = !failed && lease->out_taken;
    ag_run_unit_free(u);
    run->reuse->leased = taken;
    if (taken && find(run, q)) /* it came between our look and our lease */
        return hit(run);
    if (taken || failed)
        return ask(run);
    run->reuse->stage = STAGE_FOREIGN;
    return wait_ms(run, AG_REUSE_LOOK_MS);
}

/* Another process asks: its answer comes by the file, its death or failure by the lease. */
static enum ag_look look_abroad(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_reuse *c = run->reuse;

    if (run->now_ns >= c->wait_until_ns)
        return ask(run);
    if (ag_store_change_token(run->engine->store) == c->seen_token && run->now_ns < c->lease_again_ns)
        return wait_ms(run, AG_REUSE_LOOK_MS);
    if (find(run, q))
        return hit(run);
    return take_lease(run, q);
}

static enum ag_look look(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_reuse *c = run->reuse;

    if (run->params.cache == AG_REUSE_REFRESH)
        return ask(run);
    if (find(run, q))
        return hit(run);
    if (run->params.cache == AG_REUSE_READ_ONLY || run->now_ns >= c->wait_until_ns)
        return ask(run);
    if (!ag_flight_lead(&run->engine->flights, c->key.key, run->run_id))
        return wait_ms(run, 1000);
    if (c->flight == NULL && (c->flight = ag_arena_alloc(&run->arena, sizeof(*c->flight))) != NULL)
        memcpy(*c->flight, c->key.key, AG_CACHE_KEY_BYTES);
    if (c->flight == NULL) {
        ag_flight_end(&run->engine->flights, c->key.key, run->run_id, run->engine);
        return ask(run);
    }
    /* Another run's answer may have been kept, and its flight ended, since we looked. */
    if (find(run, q))
        return hit(run);
    if ((run->engine->store->vt->caps & AG_STORE_SHARED) != 0 && !c->leased)
        return take_lease(run, q);
    return ask(run);
}

/* The same request as before is asked again (a retry), or another one (the next model). */
static void begin(struct agent_run *run)
{
    struct ag_run_reuse *c = run->reuse;

    c->stage = STAGE_LOOK;
    c->wait_until_ns = run->now_ns + AG_REUSE_WAIT_MS * INT64_C(1000000);
    if (c->flight != NULL && memcmp(*c->flight, c->key.key, AG_CACHE_KEY_BYTES) != 0)
        ag_response_let_go(run);
}

enum ag_look ag_response_look(struct agent_run *run, const struct ag_model_request *q)
{
    struct ag_run_reuse *c = reuse_of(run);

    if (c == NULL)
        return AG_LOOK_ASK;
    if (c->stage == STAGE_NEW) {
        if (!make_key(run, q)) {
            memset(&c->key, 0, sizeof(c->key));
            return ask(run);
        }
        begin(run);
    }
    switch (c->stage) {
    case STAGE_LEASE:
        return leased(run, q);
    case STAGE_FOREIGN:
        return look_abroad(run, q);
    case STAGE_ASK:
        return AG_LOOK_ASK;
    case STAGE_NEW:
    case STAGE_LOOK:
        break;
    }
    return look(run, q);
}

void ag_response_begun(struct agent_run *run)
{
    if (run->reuse != NULL)
        run->reuse->stage = STAGE_NEW;
}

void ag_response_let_go(struct agent_run *run)
{
    struct ag_run_reuse *c = run->reuse;

    if (c == NULL)
        return;
    if (c->leased) { /* the put gives it back too; where there is none, this does */
        struct ag_op *op = c->flight == NULL ? NULL : later(run, AG_OP_CACHE_LEASE);

        if (op != NULL) {
            memcpy(op->cache_lease.key, *c->flight, AG_CACHE_KEY_BYTES);
            op->cache_lease.release = true;
        }
        c->leased = false;
    }
    if (c->flight != NULL)
        ag_flight_end(&run->engine->flights, *c->flight, run->run_id, run->engine);
    c->flight = NULL;
}

/* --- keeping ---------------------------------------------------------------------------------------------- */

static const char *stop_name(enum ag_stop stop)
{
    return stop == AG_STOP_CALLS ? "calls" : "done";
}

/* (3) A text that is not UTF-8 would come back as another one. */
static bool may_be_kept(const struct agent_run *run, struct ag_str calls)
{
    const struct ag_reply *r = &run->reply;

    return run->params.cache != AG_REUSE_READ_ONLY && run->reuse->key.parts.p != NULL && !run->from_cache &&
           r->complete && (r->stop == AG_STOP_DONE || r->stop == AG_STOP_CALLS) &&
           (r->stop == AG_STOP_CALLS) == (calls.n > 0) && (r->text.n > 0 || calls.n > 0) &&
           ag_utf8_valid(ag_buf_view(&r->text), NULL) && ag_utf8_valid(ag_buf_view(&r->extra), NULL);
}

static struct ag_str make_body(struct agent_run *run, struct ag_str calls)
{
    AG_AUTO(ag_buf) body = AG_BUF_INIT(4 * (size_t)AG_CAP_RESPONSE_BYTES);
    const struct ag_reply *r = &run->reply;

    ag_buf_z(&body, "{\"text\":");
    ag_buf_json_str(&body, ag_buf_view(&r->text));
    ag_buf_z(&body, ",\"calls\":");
    ag_buf_str(&body, calls.n > 0 ? calls : AG_STR("[]"));
    if (r->extra.n > 0) { /* as a text: it goes back to its provider to the byte */
        ag_buf_z(&body, ",\"extra\":");
        ag_buf_json_str(&body, ag_buf_view(&r->extra));
    }
    ag_buf_printf(&body, ",\"stop\":\"%s\"", stop_name(r->stop));
    if (r->input_tokens >= 0)
        ag_buf_printf(&body, ",\"input_tokens\":%lld", (long long)r->input_tokens);
    if (r->cached_tokens >= 0)
        ag_buf_printf(&body, ",\"cached_tokens\":%lld", (long long)r->cached_tokens);
    if (r->output_tokens >= 0)
        ag_buf_printf(&body, ",\"output_tokens\":%lld", (long long)r->output_tokens);
    ag_buf_char(&body, '}');
    return body.failed == AGENT_OK ? ag_arena_str(&run->arena, ag_buf_view(&body)) : AG_STR_NONE;
}

static void keep(struct agent_run *run, struct ag_str calls)
{
    const struct ag_reply *r = &run->reply;
    struct ag_str body = make_body(run, calls);
    struct ag_op *op = body.p == NULL ? NULL : later(run, AG_OP_CACHE_PUT);

    if (op == NULL)
        return;
    op->cache_put.agent_id = run->agent->rec.agent_id;
    op->cache_put.model = run->model;
    op->cache_put.request = run->reuse->key.parts;
    op->cache_put.body = body;
    op->cache_put.tokens = r->input_tokens < 0 && r->output_tokens < 0
                               ? -1
                               : (r->input_tokens > 0 ? r->input_tokens : 0) + (r->output_tokens > 0 ? r->output_tokens : 0);
    op->cache_put.expires_at_ms = run->params.cache_ttl_ms > 0 ? ag_run_unix_ms(run) + run->params.cache_ttl_ms : 0;
    memcpy(op->cache_put.key, run->reuse->key.key, AG_CACHE_KEY_BYTES);
}

void ag_response_answered(struct agent_run *run, struct ag_str calls)
{
    if (run->reuse == NULL)
        return;
    if (may_be_kept(run, calls))
        keep(run, calls); /* who waits goes on when it is committed */
    else
        ag_response_let_go(run);
}

void ag_response_ride(struct agent_run *run, struct ag_run_unit *u)
{
    struct ag_run_reuse *c = run->reuse;

    if (c == NULL)
        return;
    if (run->ending && run->final_status != AG_RUN_SUCCEEDED) {
        struct ag_op *op;

        for (struct ag_op **at = &c->ops; *at != NULL;) /* what became of its answer is no success */
            if ((*at)->kind == AG_OP_CACHE_PUT)
                *at = (*at)->next;
            else
                at = &(*at)->next;
        op = c->leased && c->flight != NULL ? later(run, AG_OP_CACHE_LEASE) : NULL;

        if (op != NULL) {
            memcpy(op->cache_lease.key, *c->flight, AG_CACHE_KEY_BYTES);
            op->cache_lease.release = true;
        }
    }
    while (c->ops != NULL) {
        struct ag_op *op = c->ops;

        c->ops = op->next;
        if (op->kind == AG_OP_CACHE_PUT) {
            u->unit.bytes += op->cache_put.body.n;
            c->leased = false; /* given back by it */
        }
        ag_unit_add(&u->unit, op);
    }
}

/* --- replaying ---------------------------------------------------------------------------------------------- */

static void take_text(ag_buf *to, const json_t *doc, const char *key)
{
    const json_t *text = json_object_get(doc, key);

    if (json_is_string(text))
        ag_buf_append(to, json_string_value(text), json_string_length(text));
}

static void replay(struct agent_run *run)
{
    struct ag_reply *r = &run->reply;
    json_auto_t *doc = json_loadb(run->reuse->body.p, run->reuse->body.n, JSON_ALLOW_NUL, NULL);
    json_t *call, *calls = json_object_get(doc, "calls");
    size_t i;

    if (run->infer->done)
        return;
    json_array_foreach(calls, i, call) {
        struct ag_reply_call *to = ag_reply_add_call(r, (int)i);

        if (to == NULL)
            break; /* seal() tells: out of memory */
        take_text(&to->id, call, "id");
        take_text(&to->name, call, "name");
        take_text(&to->arguments, call, "arguments");
    }
    take_text(&r->extra, doc, "extra");
    take_text(&r->text, doc, "text");
    run->journalled = r->text.n; /* it is in the file already */
    if (r->text.n > 0)
        ag_infer_text(run);
    r->input_tokens = r->output_tokens = r->cached_tokens = 0; /* nobody was asked */
    r->stop = r->call_count > 0 ? AG_STOP_CALLS : AG_STOP_DONE;
    r->complete = true;
    ag_infer_done(run);
}

static void stop(struct agent_run *run)
{
    (void)run; /* all of it is in the run's arena */
}

agent_status ag_response_replay(struct agent_run *run, agent_error *err)
{
    struct ag_infer *infer = ag_arena_zalloc(&run->arena, sizeof(*infer));
    struct ag_op *op = later(run, AG_OP_CACHE_HITS);
    unsigned char(*key)[AG_CACHE_KEY_BYTES] = ag_arena_alloc(&run->arena, sizeof(*key));

    if (infer == NULL || op == NULL || key == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "replay an answer: out of memory");
    memcpy(*key, run->reuse->key.key, AG_CACHE_KEY_BYTES);
    op->cache_hits.keys = (const unsigned char(*)[AG_CACHE_KEY_BYTES])key;
    op->cache_hits.count = 1;
    infer->poll = replay;
    infer->stop = stop;
    run->infer = infer;
    run->from_cache = run->cache_hit = true;
    return AGENT_OK;
}
