/*
 * The memory store inside: the rows, and how a unit changes them so that it can be taken back.
 *
 *     agents ─► agent ─► newest version ─► older …        versions share configs and instructions
 *                 │ └──► memories (by id)
 *                 └────► sessions (latest first) ─► messages (by seq)
 *                              ├─► open runs  (by id)
 *                              └─► ended runs (by id) ─► items: model steps and tool calls (by number)
 *                                                    └─► stage blocks (one per op)
 *
 * Invariants, cited by number:
 *  (1) Everything below is guarded by ram->lock.
 *  (2) A row that was there before the unit is saved (ag_ram_save) before it is written to; a new
 *      block, row or map entry is logged by the function that makes it. So rollback is walking the
 *      log backwards, and commit is forgetting it.
 *  (3) What a unit removes can be seen no more at once, but its memory is given back at commit.
 *  (4) A run is in exactly one of its session's lists: open while it has not ended, else ended.
 *  (5) A session is in its agent's list, the one that a run was last put on first.
 */
#ifndef AG_STORAGE_MEMORY_RAM_H
#define AG_STORAGE_MEMORY_RAM_H

#include <assert.h>
#include <pthread.h>

#include "storage/memory/map.h"
#include "storage/memory/pool.h"
#include "storage/memory/table.h"
#include "storage/store.h"

#define AG_RAM_ENDED_MAX   4096 /* ended runs that are kept */
#define AG_RAM_HISTORY_MIN 256  /* messages of a session that outlive the runs they belong to */
#define AG_RAM_OP_LOG      4096 /* bytes of log that an op may use without asking */

struct ag_ram_text { /* shared by counting; {refs, n} are saved before refs changes */
    uint32_t refs;
    uint32_t n;
    char p[]; /* and a NUL */
};

/* What many agents have in common; one for all that say the same. */
struct ag_ram_config {
    uint32_t refs, hash;
    uint32_t bytes; /* of the block */
    struct ag_str provider, model, tools, options, base_url, key_env;
};

struct ag_ram_agent {
    const char *name; /* name_bytes and a NUL, a pool block */
    struct ag_ram_session *latest;
    struct ag_ram_memory *newest_memory;
    int64_t created_at_ms, last_run_at_ms; /* 0: none yet */
    int64_t runs, sessions;                /* ever made less removed; forgotten ones count */
    int64_t newest_version_id;
    uint64_t unit; /* that touched it last */
    uint32_t id, name_bytes;
};

struct ag_ram_version {
    struct ag_ram_config *config;
    struct ag_ram_text *instructions; /* interned */
    int64_t id, created_at_ms;
    int64_t older_id; /* 0: the first */
    uint32_t agent_id, number;
    int max_steps;
};

struct ag_ram_message {
    struct ag_ram_message *older, *newer;
    int64_t run_id, created_at_ms;
    struct ag_ram_call *call;  /* tool: whose result it is, while its run is kept; else NULL */
    struct ag_ram_text *text;  /* all but tool messages, and those once their run is forgotten */
    union {
        struct ag_ram_text *calls;     /* assistant; NULL: none */
        struct ag_ram_text *tool_name; /* tool, its run forgotten */
    };
    union {
        struct ag_ram_text *extra;   /* assistant; NULL: none */
        struct ag_ram_text *call_id; /* tool, its run forgotten */
    };
    uint32_t seq;
    uint8_t role;
    bool tool_failed; /* its run forgotten */
};

struct ag_ram_session {
    struct ag_ram_agent *agent;
    struct ag_ram_session *newer, *older; /* of the agent, by last use */
    struct ag_ram_text *name;             /* NULL: none; in ram->session_names */
    struct ag_ram_message *oldest_message, *newest_message;
    struct ag_ram_run *open_first, *open_last, *ended_first, *ended_last;
    int64_t id, created_at_ms, last_at_ms;
    int64_t turns, messages, input_tokens, output_tokens; /* as v_sessions tells them */
    uint64_t unit;                                        /* that touched it last */
    uint32_t last_seq, message_count;                     /* highest used; rows that are kept */
};

enum ag_ram_item_kind { AG_RAM_STEP, AG_RAM_CALL };

struct ag_ram_item { /* the head of a step or call; sorted by number */
    struct ag_ram_item *next;
    int32_t number;
    enum ag_ram_item_kind kind;
    int64_t started_at_ms, wall_us; /* -1: unknown */
    uint8_t status;                 /* of ag_step_status or ag_call_status */
    bool cached;                    /* step: answered by the cache */
};

struct ag_ram_step {
    struct ag_ram_item item;
    int32_t attempt;
    int64_t input_tokens, output_tokens, cached_tokens; /* -1: unknown */
    struct ag_ram_text *error;
};

struct ag_ram_call {
    struct ag_ram_item item;
    int32_t model_step;
    enum agent_effect effect;
    int64_t child_rss_peak_bytes; /* -1: unknown */
    struct ag_ram_text *call_id, *tool, *effect_id, *arguments, *result;
    struct ag_ram_text *decision; /* what a person decided, and why; NULL: nobody was asked */
    struct ag_ram_message *message; /* that tells its result; NULL: none (yet) */
};

struct ag_ram_stages {
    struct ag_ram_stages *next;
    struct ag_sample *samples; /* NULL: none; a block of its own */
    size_t sample_count;
    size_t count;
    struct ag_stage_row rows[];
};

struct ag_ram_notice {
    int64_t id, at_ms, rss_bytes, limit_bytes; /* bytes -1: unknown */
    int64_t level;                             /* -1: it has none */
    struct ag_ram_text *kind, *text;
};

struct ag_ram_run {
    int64_t id;
    uint64_t unit; /* that touched it last */
    struct ag_ram_session *session;
    struct ag_ram_version *version;
    int64_t version_id;
    struct ag_ram_run *prev, *next;             /* in one of its session's lists */
    struct ag_ram_run *ended_prev, *ended_next; /* all ended runs, in the order they ended */
    struct ag_ram_run *ready_prev, *ready_next; /* of its class, those that may be taken: queue.c */
    struct ag_ram_item *first, *last;
    struct ag_ram_stages *first_stages, *last_stages;
    struct ag_ram_text *input, *options, *key, *error, *hint;
    int64_t queued_at_ms, started_at_ms, ended_at_ms, deadline_at_ms; /* 0: none */
    int64_t queue_us, wall_us, rss_peak_bytes, input_tokens, output_tokens; /* -1: unknown */
    uint32_t input_seq, output_seq;
    int32_t attempt, priority, error_status;
    int32_t journal_step; /* that was journalled and has not ended; 0: none */
    uint8_t status;
    int8_t cache_hit; /* -1: unknown */
    bool cancel_requested;
    bool is_held; /* queued, and whoever made it waits with it in hand for its turn */
    bool is_ready; /* it is in the queue's line of its class */
    unsigned char trace_id[16];
};

struct ag_ram_memory {
    struct ag_ram_memory *older, *newer; /* of the agent, by id */
    struct ag_ram_agent *agent;
    struct ag_ram_text *scope, *key, *text;
    int64_t id, created_at_ms, updated_at_ms, source_run_id;
};

struct ag_ram_tool {
    int64_t id, created_at_ms, timeout_ms, max_output_bytes;
    struct ag_ram_text *name, *description, *argv, *schema;
    enum agent_effect effect;
};

#define AG_RAM_QUEUE_LINES 3 /* high, normal, low */

struct ag_ram_queue {
    struct ag_ram_line {
        struct ag_ram_run *first, *last;
    } lines[AG_RAM_QUEUE_LINES];
    int64_t unheld; /* queued runs that nobody holds */
};

struct ag_ram_answer { /* of the response cache */
    unsigned char key[AG_CACHE_KEY_BYTES];
    int64_t id, agent_id, bytes, tokens, rank, hits, created_at_ms, last_hit_at_ms, expires_at_ms;
    struct ag_ram_text *model, *request, *body;
};

struct ag_ram_answer_book {
    int64_t limit, bytes, clock;
};

struct ag_ram {
    ag_store store; /* first */
    pthread_mutex_t lock;
    const ag_clock *clock;
    uint64_t seed; /* of the hashes */
    struct ag_ram_pool pool;
    struct ag_ram_table agents, versions, sessions, runs, memories, tools;
    struct ag_ram_queue queue;
    struct ag_ram_map agent_names, session_names, run_keys, memory_keys, tool_names, configs, texts;
    struct ag_ram_run *ended_first, *ended_last; /* the one that ended first … last */
    int64_t ended_count, message_count, cancel_count; /* cancel_count: runs asked to end */
    struct ag_ram_config *last_config;    /* what the last agent was made of: */
    struct ag_ram_text *last_instructions; /* the next one is often the same; NULL: not known */
    uint64_t last_tag;                     /* of the spec that both came of; 0: it had none */
    int last_max_steps;
    struct ag_ram_table answers, notices;
    struct ag_ram_map answer_keys;
    struct ag_ram_answer_book answer_book;
    char *log;
    size_t log_used, log_room;
    size_t log_dead;    /* entries whose memory is given back at commit */
    uint64_t unit;      /* number of the one being applied */
    bool is_forgetting; /* no unit: what goes is gone at once, nothing is logged, nothing can fail */
};

/* --- the log: log.c ------------------------------------------------------------------------ */

enum ag_ram_log_kind { AG_RAM_SAVED, AG_RAM_NEW_BLOCK, AG_RAM_DEAD_BLOCK, AG_RAM_NEW_ROW, AG_RAM_DEAD_ROW,
                       AG_RAM_MAP_PUT, AG_RAM_MAP_DEL };

struct ag_ram_foot {
    void *p;   /* saved bytes' place, block, table or map */
    void *ref; /* of a map's pair */
    int64_t n; /* bytes, id or hash */
    enum ag_ram_log_kind kind;
};

bool ag_ram_log_grow(struct ag_ram *m, size_t bytes);

/* Room for `bytes` more of log; each entry takes 32 and what it saves. */
static inline bool ag_ram_reserve(struct ag_ram *m, size_t bytes)
{
    return m->is_forgetting || m->log_room - m->log_used >= bytes || ag_ram_log_grow(m, bytes);
}

/* An entry at the log's end, its fields set one by one: a copied struct would be read back wider
 * than it was written, which stalls. */
static inline void ag_ram_push(struct ag_ram *m, enum ag_ram_log_kind kind, void *p, int64_t n)
{
    struct ag_ram_foot *foot = (struct ag_ram_foot *)(void *)(m->log + m->log_used);

    assert(m->log_room - m->log_used >= sizeof(*foot));
    foot->p = p;
    foot->n = n;
    foot->kind = kind;
    m->log_used += sizeof(*foot);
}

/* The bytes at p (a multiple of 8) as they are now. After reserve. Inline: most sizes are constants. */
static inline void ag_ram_save(struct ag_ram *m, void *p, size_t bytes)
{
    if (m->is_forgetting)
        return;
    assert(bytes % 8 == 0 && m->log_room - m->log_used >= bytes + sizeof(struct ag_ram_foot));
    memcpy(m->log + m->log_used, p, bytes);
    m->log_used += bytes;
    ag_ram_push(m, AG_RAM_SAVED, p, (int64_t)bytes);
}

/* A pool block, not zeroed; NULL: out of memory. */
static inline void *ag_ram_new(struct ag_ram *m, size_t bytes)
{
    void *p = ag_ram_pool_get(&m->pool, bytes);

    if (p != NULL)
        ag_ram_push(m, AG_RAM_NEW_BLOCK, p, (int64_t)bytes);
    return p;
}

/* Given back at commit; its bytes are not to be touched any more. */
static inline void ag_ram_dead(struct ag_ram *m, void *p, size_t bytes)
{
    if (m->is_forgetting) {
        ag_ram_pool_put(&m->pool, p, bytes);
        return;
    }
    ag_ram_push(m, AG_RAM_DEAD_BLOCK, p, (int64_t)bytes);
    m->log_dead++;
}

void *ag_ram_row_new(struct ag_ram *m, struct ag_ram_table *t, int64_t *out_id);
void ag_ram_row_dead(struct ag_ram *m, struct ag_ram_table *t, int64_t id);
bool ag_ram_put(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref); /* false: out of memory */
void ag_ram_del(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref);
void ag_ram_commit(struct ag_ram *m);
void ag_ram_rollback(struct ag_ram *m);
void ag_ram_rollback_to(struct ag_ram *m, size_t log_used);

#define AG_RAM_SAVE(m, row) ag_ram_save(m, row, sizeof(*(row)))
/* The same of a row with a `unit` field, unless this unit made or saved it already. */
#define AG_RAM_TOUCH(m, row)                                                                        \
    do {                                                                                            \
        if ((row)->unit != (m)->unit) {                                                             \
            ag_ram_save(m, row, sizeof(*(row)));                                                    \
            (row)->unit = (m)->unit;                                                                \
        }                                                                                           \
    } while (0)

/* --- texts: text.c --------------------------------------------------------------------------- */

/* A copy with one reference; an absent string is NULL. False: out of memory (or 4 GB). */
bool ag_ram_text(struct ag_ram *m, struct ag_str s, struct ag_ram_text **out);
/* The one copy of what was interned before. */
bool ag_ram_intern(struct ag_ram *m, struct ag_str s, struct ag_ram_text **out);
struct ag_ram_text *ag_ram_text_ref(struct ag_ram *m, struct ag_ram_text *t);
void ag_ram_text_unref(struct ag_ram *m, struct ag_ram_text *t);     /* NULL is fine */
void ag_ram_intern_unref(struct ag_ram *m, struct ag_ram_text *t);   /* NULL is fine */
/* As the store's agent_again: apply_agent.c. */
bool ag_ram_agent_again(ag_store *s, uint64_t tag, struct ag_str name, int64_t now_ms);
/* What the last agent was made of may be gone. */
static inline void ag_ram_forget_last(struct ag_ram *m)
{
    m->last_config = NULL;
    m->last_instructions = NULL;
    m->last_tag = 0;
}
struct ag_ram_config *ag_ram_config(struct ag_ram *m, const struct ag_agent_spec *spec);
void ag_ram_config_unref(struct ag_ram *m, struct ag_ram_config *c);

static inline struct ag_str ag_ram_str(const struct ag_ram_text *t)
{
    return t == NULL ? AG_STR_NONE : (struct ag_str){t->p, t->n};
}

static inline struct ag_str ag_ram_agent_name(const struct ag_ram_agent *a)
{
    return (struct ag_str){a->name, a->name_bytes};
}

/* --- finding ------------------------------------------------------------------------------------- */

struct ag_ram_agent *ag_ram_agent_find(struct ag_ram *m, struct ag_str name);
struct ag_ram_agent *ag_ram_agent_hashed(struct ag_ram *m, uint32_t hash, struct ag_str name); /* of its name */
struct ag_ram_session *ag_ram_session_named(struct ag_ram *m, const struct ag_ram_agent *a, struct ag_str name);
struct ag_ram_run *ag_ram_run_keyed(struct ag_ram *m, struct ag_str key);
struct ag_ram_memory *ag_ram_memory_find(struct ag_ram *m, const struct ag_ram_agent *a, struct ag_str scope,
                                         struct ag_str key);
struct ag_ram_tool *ag_ram_tool_find(struct ag_ram *m, struct ag_str name);
struct ag_ram_answer *ag_ram_answer_find(struct ag_ram *m, const unsigned char *key);
struct ag_ram_item *ag_ram_item_find(const struct ag_ram_run *run, int number, enum ag_ram_item_kind kind);

static inline bool ag_ram_has_ended(const struct ag_ram_run *run)
{
    return run->status >= AG_RUN_SUCCEEDED;
}

/* The hash of a name within something (0: within nothing). */
static inline uint32_t ag_ram_name_hash(const struct ag_ram *m, const void *within, struct ag_str name)
{
    return ag_ram_hash32(ag_ram_hash(m->seed + (uint64_t)(uintptr_t)within, name));
}

/* --- parts of ops ---------------------------------------------------------------------------------- */

agent_status ag_ram_nomem(agent_error *err);
agent_status ag_ram_no_run(agent_error *err, int64_t id);
/* Appends a message to its session and tells its counters nothing. */
agent_status ag_ram_message_add(struct ag_ram *m, struct ag_ram_session *s, const struct ag_ram_message *row,
                                struct ag_ram_message **out, agent_error *err);
/* A message of a tool call's result, from the call. */
agent_status ag_ram_result_add(struct ag_ram *m, struct ag_ram_run *run, struct ag_ram_call *call, uint32_t seq,
                               int64_t now_ms, agent_error *err);
/* Sorted in by its number; AGENT_EEXISTS. */
agent_status ag_ram_item_add(struct ag_ram *m, struct ag_ram_run *run, struct ag_ram_item *item, agent_error *err);
agent_status ag_ram_call_add(struct ag_ram *m, struct ag_ram_run *run, const struct ag_op_call_intent *in,
                             struct ag_ram_call **out, agent_error *err);
/* What its steps used, as far as they know; -1: none does. */
void ag_ram_run_tokens(const struct ag_ram_run *run, int64_t *out_input, int64_t *out_output);
/* Ends a run that nobody drives: what is open is answered. The row and its session are saved. */
agent_status ag_ram_run_close(struct ag_ram *m, struct ag_ram_run *run, enum ag_run_status status,
                              agent_status error_status, struct ag_str why, int64_t now_ms, agent_error *err);
/* From the open list to the ended ones, with `status`. */
void ag_ram_run_end(struct ag_ram *m, struct ag_ram_run *run, enum ag_run_status status, int64_t ended_at_ms);
/* The queue (queue.c); false: no room in the log. A run that became queued, or is about to be it no more. */
bool ag_ram_queue_enter(struct ag_ram *m, struct ag_ram_run *run);
bool ag_ram_queue_leave(struct ag_ram *m, struct ag_ram_run *run);
/* The session's first open run may be taken from now on, where it is queued and nobody holds it. *out_next,
 * which may be NULL: that run, held or not; 0: it is not queued. */
bool ag_ram_session_ready(struct ag_ram *m, struct ag_ram_session *s, int64_t *out_next);
/* To the front of its agent's list: a run was put on it. */
void ag_ram_session_first(struct ag_ram *m, struct ag_ram_session *s);

/* --- forgetting: forget.c ------------------------------------------------------------------------ */

/* Each removes a row with all that hangs off it; false: no room in the log. */
bool ag_ram_run_rm(struct ag_ram *m, struct ag_ram_run *run);
bool ag_ram_session_rm(struct ag_ram *m, struct ag_ram_session *s);
bool ag_ram_agent_rm(struct ag_ram *m, struct ag_ram_agent *a);
bool ag_ram_memory_rm(struct ag_ram *m, struct ag_ram_memory *memory);
bool ag_ram_answer_rm(struct ag_ram *m, struct ag_ram_answer *answer);
/* Forgets ended runs beyond AG_RAM_ENDED_MAX; between units, and never fails. */
void ag_ram_forget(struct ag_ram *m);

/* --- ops and readers ------------------------------------------------------------------------------------ */

typedef agent_status ag_ram_apply_fn(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err);

ag_ram_apply_fn ag_ram_agent_put, ag_ram_agent_rm_op, ag_ram_session_rm_op, ag_ram_memory_put, ag_ram_memory_rm_op,
    ag_ram_tool_put, ag_ram_tool_rm, ag_ram_run_create, ag_ram_run_claim, ag_ram_run_cancel, ag_ram_run_decide,
    ag_ram_step_begin, ag_ram_step_end, ag_ram_message, ag_ram_call_intent, ag_ram_call_end, ag_ram_stages,
    ag_ram_journal, ag_ram_run_finish, ag_ram_claim_next;

ag_ram_apply_fn ag_ram_cache_put, ag_ram_cache_hits, ag_ram_cache_rm, ag_ram_cache_lease, ag_ram_cache_resize;

agent_status ag_ram_read_cache_get(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a,
                                   struct ag_cache_row *out, agent_error *err);
agent_status ag_ram_read_cache_totals(ag_reader *r, struct ag_cache_totals *out, agent_error *err);
agent_status ag_ram_read_changes(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained, agent_error *err);
agent_status ag_ram_read_agent(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a,
                               struct ag_agent_rec *out, agent_error *err);
agent_status ag_ram_read_tail(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages,
                              size_t max_bytes, ag_arena *a, struct ag_message_list *out, agent_error *err);
agent_status ag_ram_read_messages(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a,
                                  struct ag_message_list *out, agent_error *err);
agent_status ag_ram_read_memories(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes, ag_arena *a,
                                  struct ag_memory_list *out, agent_error *err);
agent_status ag_ram_read_memory_search(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count,
                                       ag_arena *a, struct ag_memory_list *out, agent_error *err);
agent_status ag_ram_read_tool(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out,
                              agent_error *err);
agent_status ag_ram_read_run(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out, agent_error *err);
agent_status ag_ram_read_session_find(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id,
                                      agent_error *err);
agent_status ag_ram_read_cancels(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx, agent_error *err);
agent_status ag_ram_read_queue(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err);
agent_status ag_ram_scan(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx,
                         agent_error *err);

agent_status ag_ram_check(ag_store *s, void (*line)(void *, const char *), void *ctx, agent_error *err);

/* The text of the run's answer; absent where there is none. */
struct ag_str ag_ram_run_output(const struct ag_ram_run *run);

/* --- searching memory: search.c ---------------------------------------------------------------------------- */

struct ag_ram_hits { /* zeroed to begin with */
    struct ag_ram_hit {
        const struct ag_ram_memory *row;
        double score;
        bool has_all;
    } *at;
    size_t count, room;
    bool any_has_all;
};

bool ag_ram_hits_add(struct ag_ram_hits *hits, const struct ag_ram_memory *row, struct ag_str query); /* if it matches */
void ag_ram_hits_sort(struct ag_ram_hits *hits); /* best first; without those that have some words where one has all */
void ag_ram_hits_drop(struct ag_ram_hits *hits);

#endif
