/*
 * store=memory: the whole store on plain memory, for tests, benches and throw-aways. A unit is
 * applied inside submit() and is complete when it returns; nothing outlives the store.
 *
 * It is bounded, so that a bench of millions of runs stays flat: of ended runs the newest 4096 are
 * kept, in the order they ended; an older one is forgotten with its steps, calls and stages, and
 * with its session where that has no name and no other run. A session that stays keeps at least
 * its newest 256 messages. An idempotency key is known as long as its run. Agents, their versions,
 * named sessions, memories and tools stay until they are removed; counters (v_agents.runs …)
 * count the forgotten too.
 *
 * Cost, one thread: an agent about 200 bytes and, through the public call with all its checks, some
 * 900 instructions where it says what the last one said (agent_again), else 2200; a run of one step
 * some hundreds of ns. One mutex guards all; a reader's callback runs under it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "storage/memory/ram.h"

/* Settings are for the next engine on the file: here there is none. */
static agent_status refuse_setting(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    (void)m;
    (void)unit;
    return ag_fail(err, AGENT_EINVAL, 0, "store=memory keeps no setting '" AG_STR_FMT "'", AG_STR_ARG(op->setting.name));
}

static agent_status no_settings(ag_reader *r, void (*fn)(void *ctx, struct ag_str name, int64_t value), void *ctx,
                                agent_error *err)
{
    (void)r;
    (void)fn;
    (void)ctx;
    (void)err;
    return AGENT_OK;
}

/* It is for other processes, and this store has none. */
static agent_status ignore_live(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    (void)m;
    (void)unit;
    (void)op;
    (void)err;
    return AGENT_OK;
}

/* Of the notices the newest AG_NOTICES_KEPT stay: each one pushes out one. */
static agent_status put_notice(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    const struct ag_op_notice *in = &op->notice;
    struct ag_ram_notice *notice, *oldest;
    int64_t id;

    (void)unit;
    if ((notice = ag_ram_row_new(m, &m->notices, &id)) == NULL)
        return ag_ram_nomem(err);
    *notice = (struct ag_ram_notice){.id = id, .at_ms = in->at_ms, .rss_bytes = in->rss_bytes,
                                     .limit_bytes = in->limit_bytes, .level = in->level};
    if (!ag_ram_text(m, in->kind, &notice->kind) || !ag_ram_text(m, in->text, &notice->text))
        return ag_ram_nomem(err);
    if (id > AG_NOTICES_KEPT && (oldest = ag_ram_table_at(&m->notices, id - AG_NOTICES_KEPT)) != NULL) {
        ag_ram_text_unref(m, oldest->kind);
        ag_ram_text_unref(m, oldest->text);
        ag_ram_row_dead(m, &m->notices, oldest->id);
    }
    return AGENT_OK;
}

static ag_ram_apply_fn *const apply[AG_OP_LIMIT] = {
    [AG_OP_NOTICE] = put_notice,
    [AG_OP_SETTING] = refuse_setting,
    [AG_OP_LIVE] = ignore_live,
    [AG_OP_AGENT_PUT] = ag_ram_agent_put,
    [AG_OP_AGENT_RM] = ag_ram_agent_rm_op,
    [AG_OP_SESSION_RM] = ag_ram_session_rm_op,
    [AG_OP_MEMORY_PUT] = ag_ram_memory_put,
    [AG_OP_MEMORY_RM] = ag_ram_memory_rm_op,
    [AG_OP_TOOL_PUT] = ag_ram_tool_put,
    [AG_OP_TOOL_RM] = ag_ram_tool_rm,
    [AG_OP_RUN_CREATE] = ag_ram_run_create,
    [AG_OP_RUN_CLAIM] = ag_ram_run_claim,
    [AG_OP_RUN_CANCEL] = ag_ram_run_cancel,
    [AG_OP_RUN_DECIDE] = ag_ram_run_decide,
    [AG_OP_STEP_BEGIN] = ag_ram_step_begin,
    [AG_OP_STEP_END] = ag_ram_step_end,
    [AG_OP_MESSAGE] = ag_ram_message,
    [AG_OP_CALL_INTENT] = ag_ram_call_intent,
    [AG_OP_CALL_END] = ag_ram_call_end,
    [AG_OP_STAGES] = ag_ram_stages,
    [AG_OP_JOURNAL] = ag_ram_journal,
    [AG_OP_RUN_FINISH] = ag_ram_run_finish,
    [AG_OP_CACHE_PUT] = ag_ram_cache_put,
    [AG_OP_CACHE_HITS] = ag_ram_cache_hits,
    [AG_OP_CACHE_RM] = ag_ram_cache_rm,
    [AG_OP_CACHE_LEASE] = ag_ram_cache_lease,
    [AG_OP_CACHE_RESIZE] = ag_ram_cache_resize,
    [AG_OP_CLAIM_NEXT] = ag_ram_claim_next,
};

static struct ag_ram *of(ag_store *s)
{
    return (struct ag_ram *)s;
}

static agent_status check_fence(struct ag_ram *m, const ag_unit *unit, agent_error *err)
{
    const struct ag_ram_run *run;

    if (unit->fence_run_id == 0)
        return AGENT_OK;
    run = ag_ram_table_at(&m->runs, unit->fence_run_id);
    if (run != NULL && run->status == AG_RUN_RUNNING && run->attempt == unit->fence_attempt)
        return AGENT_OK;
    return ag_fail(err, AGENT_ELOST, 0, "run %" PRId64 ": attempt %d does not hold it any more",
                   unit->fence_run_id, unit->fence_attempt);
}

static agent_status apply_unit(struct ag_ram *m, ag_unit *unit)
{
    agent_status rc = check_fence(m, unit, &unit->error);

    m->unit++;
    for (struct ag_op *op = unit->first; op != NULL && rc == AGENT_OK; op = op->next)
        rc = ag_ram_reserve(m, AG_RAM_OP_LOG) ? apply[op->kind](m, unit, op, &unit->error)
                                              : ag_ram_nomem(&unit->error);
    if (rc == AGENT_OK) {
        ag_ram_commit(m);
    } else {
        ag_ram_rollback(m);
        ag_ram_forget_last(m); /* may have been made by what was taken back */
    }
    if (m->ended_count > AG_RAM_ENDED_MAX)
        ag_ram_forget(m);
    return rc;
}

/* Whether somebody will ask when it was committed. Others are not timed: the clock would cost as
 * much as creating an agent. */
static bool is_of_run(const ag_unit *unit)
{
    return unit->fence_run_id != 0 || (unit->first != NULL && unit->first->kind >= AG_OP_RUN_CREATE);
}

static bool store_submit(ag_store *s, ag_unit *unit)
{
    struct ag_ram *m = of(s);

    (void)pthread_mutex_lock(&m->lock);
    unit->status = apply_unit(m, unit);
    (void)pthread_mutex_unlock(&m->lock);
    if (is_of_run(unit))
        unit->commit_ns = ag_mono_ns(m->clock);
    return true;
}

static void store_flush(ag_store *s)
{
    (void)s;
}

static uint64_t store_change_token(ag_store *s)
{
    (void)s;
    return 0;
}

static uint64_t reader_version(ag_reader *r)
{
    (void)r;
    return 0;
}

static const char *store_watch_path(ag_store *s)
{
    (void)s;
    return NULL;
}

static agent_status has_no(const char *what, agent_error *err)
{
    agent_status rc = ag_fail(err, AGENT_EINVAL, 0, "store=memory has no %s", what);

    ag_hint(err, "open a database file instead");
    return rc;
}

static agent_status store_backup(ag_store *s, const char *to, agent_error *err)
{
    (void)s;
    (void)to;
    return has_no("backup", err);
}

static agent_status store_sql(ag_reader *r, const char *sql, agent_row_fn fn, void *ctx, agent_error *err)
{
    (void)r;
    (void)sql;
    (void)fn;
    (void)ctx;
    return has_no("SQL", err);
}

static size_t held_bytes(const struct ag_ram *m)
{
    return sizeof(*m) + m->pool.held_bytes + m->log_room + m->agents.held_bytes + m->versions.held_bytes +
           m->sessions.held_bytes + m->runs.held_bytes + m->memories.held_bytes + m->tools.held_bytes +
           m->agent_names.held_bytes + m->session_names.held_bytes + m->run_keys.held_bytes +
           m->memory_keys.held_bytes + m->tool_names.held_bytes + m->configs.held_bytes + m->texts.held_bytes +
           m->answers.held_bytes + m->answer_keys.held_bytes + m->notices.held_bytes;
}

static agent_status store_facts(ag_store *s, void (*fact)(void *, const char *, const char *), void *ctx,
                                agent_error *err)
{
    enum { FACTS = 9 };
    struct ag_ram *m = of(s);
    struct {
        const char *name;
        int64_t value;
    } facts[FACTS];
    char text[24];

    (void)err;
    (void)pthread_mutex_lock(&m->lock);
    facts[0].name = "agents", facts[0].value = m->agents.count;
    facts[1].name = "sessions", facts[1].value = m->sessions.count;
    facts[2].name = "messages", facts[2].value = m->message_count;
    facts[3].name = "runs", facts[3].value = m->runs.count;
    facts[4].name = "ended_runs", facts[4].value = m->ended_count;
    facts[5].name = "ended_runs_kept", facts[5].value = AG_RAM_ENDED_MAX;
    facts[6].name = "memories", facts[6].value = m->memories.count;
    facts[7].name = "tools", facts[7].value = m->tools.count;
    facts[8].name = "held_bytes", facts[8].value = (int64_t)held_bytes(m);
    (void)pthread_mutex_unlock(&m->lock);
    fact(ctx, "store", "memory");
    for (int i = 0; i < FACTS; i++) {
        (void)snprintf(text, sizeof(text), "%" PRId64, facts[i].value);
        fact(ctx, facts[i].name, text);
    }
    return AGENT_OK;
}

static agent_status store_reader_open(ag_store *s, ag_reader **out, agent_error *err)
{
    ag_reader *r = ag_malloc(sizeof(*r));

    if (r == NULL)
        return ag_ram_nomem(err);
    r->store = s;
    *out = r;
    return AGENT_OK;
}

static void store_reader_close(ag_reader *r)
{
    ag_free(r);
}

static void store_close(ag_store *s)
{
    struct ag_ram *m = of(s);
    struct ag_ram_table *tables[] = {&m->agents, &m->versions, &m->sessions, &m->runs, &m->memories, &m->tools,
                                     &m->answers, &m->notices};
    struct ag_ram_map *maps[] = {&m->agent_names, &m->session_names, &m->run_keys, &m->memory_keys,
                                 &m->tool_names,  &m->configs,       &m->texts,    &m->answer_keys};

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        ag_ram_table_drop(tables[i]);
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        ag_ram_map_drop(maps[i]);
    ag_ram_pool_drop(&m->pool);
    ag_free(m->log);
    (void)pthread_mutex_destroy(&m->lock);
    ag_free(m);
}

static const struct ag_store_vt vtable = {
    .name = "memory",
    .caps = 0,
    .close = store_close,
    .submit = store_submit,
    .agent_again = ag_ram_agent_again,
    .flush = store_flush,
    .change_token = store_change_token,
    .backup = store_backup,
    .check = ag_ram_check,
    .facts = store_facts,
    .reader_open = store_reader_open,
    .reader_close = store_reader_close,
    .agent = ag_ram_read_agent,
    .tail = ag_ram_read_tail,
    .messages = ag_ram_read_messages,
    .memories = ag_ram_read_memories,
    .memory_search = ag_ram_read_memory_search,
    .tool = ag_ram_read_tool,
    .run = ag_ram_read_run,
    .session_find = ag_ram_read_session_find,
    .cancels = ag_ram_read_cancels,
    .cache_get = ag_ram_read_cache_get,
    .cache_totals = ag_ram_read_cache_totals,
    .changes = ag_ram_read_changes,
    .settings = no_settings,
    .queue = ag_ram_read_queue,
    .version = reader_version,
    .watch_path = store_watch_path,
    .scan = ag_ram_scan,
    .sql = store_sql,
};

agent_status ag_store_memory_open(const struct ag_store_options *o, ag_store **out, agent_error *err)
{
    struct ag_ram *m = ag_calloc(1, sizeof(*m));

    if (m == NULL)
        return ag_wrap(err, ag_ram_nomem(err), "open");
    m->store.vt = &vtable;
    m->clock = o == NULL || o->clock == NULL ? &ag_clock_system : o->clock;
    /* Names come from outside: which of them collide differs from store to store. */
    m->seed = ag_ram_hash((uint64_t)(uintptr_t)m, AG_STR("seed")) ^ (uint64_t)ag_mono_ns(&ag_clock_system);
    m->agents = AG_RAM_TABLE_INIT(struct ag_ram_agent);
    m->versions = AG_RAM_TABLE_INIT(struct ag_ram_version);
    m->sessions = AG_RAM_TABLE_INIT(struct ag_ram_session);
    m->runs = AG_RAM_TABLE_INIT(struct ag_ram_run);
    m->memories = AG_RAM_TABLE_INIT(struct ag_ram_memory);
    m->tools = AG_RAM_TABLE_INIT(struct ag_ram_tool);
    m->answers = AG_RAM_TABLE_INIT(struct ag_ram_answer);
    m->notices = AG_RAM_TABLE_INIT(struct ag_ram_notice);
    m->answer_book.limit = AG_CACHE_LIMIT_BYTES;
    (void)pthread_mutex_init(&m->lock, NULL);
    *out = &m->store;
    return AGENT_OK;
}
