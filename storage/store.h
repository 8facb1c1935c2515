/*
 * The store: rows in, rows out. Typed operations in atomic units, never SQL; so one implementation
 * can group units of many runs into one commit (storage/sqlite), one can keep all in memory
 * (storage/memory), and one can pipeline them to a server later.
 *
 *      worker ──submit(unit)──► store ──commit──► unit->done(unit)     on the store's thread:
 *         ▲                                            │               hands it to the worker's
 *         └────────────── inbox ◄──────────────────────┘               inbox, nothing else
 *
 *      any thread ──► ag_reader (one per thread, or one under a lock) ──► structs in an arena
 *
 * Rules, cited by number:
 *  (1) A unit is applied whole or not at all, and `done` is called exactly once, after its commit
 *      (or its failure). Units of one submitter are applied in the order they were submitted.
 *  (2) A unit that fails touches no other unit, though they may have shared a transaction.
 *  (3) A unit with a fence is applied only while that run is `running` under this store's owner
 *      with that attempt; else it fails with AGENT_ELOST and writes nothing.
 *  (4) Texts in ops are borrowed until `done`.
 *  (5) A reader sees every unit whose `done` has been called before the read began.
 *  (6) ids: the store assigns them and writes them into the op's out_ fields before `done`.
 */
#ifndef AG_STORAGE_STORE_H
#define AG_STORAGE_STORE_H

#include <agent/row.h>
#include <agent/tool.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/str.h"

/* --- stored enums: text in the file, numbers here; append only ------------------------------- */

enum ag_role { AG_ROLE_SYSTEM = 0, AG_ROLE_USER = 1, AG_ROLE_ASSISTANT = 2, AG_ROLE_TOOL = 3 };

enum ag_run_status {
    AG_RUN_QUEUED = 0, AG_RUN_RUNNING = 1, AG_RUN_WAITING = 2,
    AG_RUN_SUCCEEDED = 3, AG_RUN_FAILED = 4, AG_RUN_CANCELLED = 5,
};

enum ag_step_status { AG_STEP_RUNNING = 0, AG_STEP_SUCCEEDED = 1, AG_STEP_FAILED = 2, AG_STEP_CANCELLED = 3 };

enum ag_call_status {
    AG_CALL_INTENDED = 0, AG_CALL_RUNNING = 1, AG_CALL_SUCCEEDED = 2, AG_CALL_FAILED = 3,
    AG_CALL_TIMEOUT = 4, AG_CALL_CANCELLED = 5, AG_CALL_DENIED = 6, AG_CALL_UNKNOWN = 7,
};

enum ag_stage {
    AG_STAGE_QUEUE = 0, AG_STAGE_LOAD = 1, AG_STAGE_PREPARE = 2, AG_STAGE_INFER = 3,
    AG_STAGE_RESPOND = 4, AG_STAGE_TOOL = 5, AG_STAGE_RECLAIM = 6, AG_STAGE_LIMIT = 7,
};

/* The stored words, from one table each in storage/names.c; -1 where the text is none of them. */
const char *ag_role_name(enum ag_role v);
const char *ag_run_status_name(enum ag_run_status v);
const char *ag_step_status_name(enum ag_step_status v);
const char *ag_call_status_name(enum ag_call_status v);
const char *ag_effect_name(enum agent_effect v);
const char *ag_stage_name(enum ag_stage v);
int ag_role_parse(struct ag_str s);
int ag_run_status_parse(struct ag_str s);
int ag_call_status_parse(struct ag_str s);
int ag_effect_parse(struct ag_str s);

#define AG_SEQ_BITS  24 /* message id = session_id << 24 | seq: one b-tree, a session's rows together */
#define AG_STEP_BITS 12 /* step, call and stage ids = run_id << 12 | number within the run */
#define AG_STEP_MAX  4000

/* --- rows ------------------------------------------------------------------------------------- */

/* What an agent is configured as. Absent strings are {NULL, 0}. */
struct ag_agent_spec {
    struct ag_str name;
    struct ag_str provider, model;
    struct ag_str instructions;
    struct ag_str tools;   /* JSON array of names; absent: all builtins */
    struct ag_str options; /* JSON object */
    struct ag_str base_url, key_env;
    int max_steps; /* 0: default */
    uint64_t tag;  /* not 0: all specs that are given this one say the same, but for the name */
};

/* One immutable version of an agent, as loaded. */
struct ag_agent_rec {
    int64_t agent_id, version_id, version;
    struct ag_agent_spec spec;
};

struct ag_message {
    int64_t seq, run_id;
    enum ag_role role;
    struct ag_str text;
    struct ag_str calls;     /* assistant: JSON array of {id,name,arguments} (arguments: JSON text); else absent */
    struct ag_str extra;     /* what the provider wants back verbatim (reasoning), JSON; else absent */
    struct ag_str tool_name; /* tool */
    struct ag_str call_id;   /* tool */
    bool tool_failed;        /* tool: the call did not succeed */
};

struct ag_message_list {
    struct ag_message *at;
    size_t count;
};

struct ag_memory {
    int64_t id;
    struct ag_str scope, key, text;
};

struct ag_memory_list {
    struct ag_memory *at;
    size_t count;
};

struct ag_tool_rec {
    struct ag_str name, description;
    struct ag_str argv;   /* JSON array of strings */
    struct ag_str schema; /* JSON; absent: any object */
    enum agent_effect effect;
    int64_t timeout_ms, max_output_bytes; /* 0: default */
};

struct ag_call_rec {
    int number;    /* step number of this call within its run */
    int model_step; /* of the model step that asked for it */
    struct ag_str call_id, tool, effect_id, arguments, result;
    enum agent_effect effect;
    enum ag_call_status status;
};

/* A run as it stands in the file: what a resume needs. */
struct ag_run_rec {
    int64_t run_id, session_id, agent_id, version_id, input_seq, output_seq;
    enum ag_run_status status;
    int attempt, priority;
    int64_t queued_at_ms, started_at_ms, deadline_at_ms; /* 0: none */
    struct ag_str input, options, output; /* options: laid over the agent's for this run; absent: none */
    int64_t last_seq; /* newest message of the session */
    int last_step;    /* highest number used by a step or call */
    int64_t input_tokens, output_tokens;
    struct ag_call_rec *calls; /* of the newest model step that asked for some */
    size_t call_count;
    int error_status; /* agent_status of a failed run */
    struct ag_str error;
    int64_t queue_us, wall_us; /* -1: unknown */
    bool cache_hit;
};

/* One row of v_stage_memory. -1: unknown, stored as NULL. */
struct ag_stage_row {
    int step;
    enum ag_stage stage;
    bool shared; /* attribution: other runs were in a stage meanwhile */
    uint8_t peak_source; /* of ag_peak_source */
    uint8_t heap_includes; /* set of agent_memory_hook: whose allocations heap_… counts besides our own */
    bool shared_sample;    /* a border reading was another's, up to 100 µs old */
    int samples;
    int64_t started_at_ms, wall_us, commit_us;
    int64_t rss_before_bytes, rss_peak_bytes, rss_after_bytes;
    int64_t heap_peak_bytes, heap_net_bytes, child_rss_peak_bytes; /* net: any value; unknown where the peak is */
    bool has_smaps; /* at its end /proc/self/smaps_rollup was read, which took smaps_us of its thread */
    uint32_t smaps_us, pss_kb, anon_kb, file_kb; /* anon + file: what is resident */
};

/* RSS at a time between the borders of stages; a row of v_samples. */
struct ag_sample {
    int64_t at_ms, rss_bytes;
};

/* What heap figures include: "own", "own+json+sqlite+curl" …; a set of agent_memory_hook. */
const char *ag_heap_includes_name(unsigned includes);

enum ag_peak_source { AG_PEAK_NONE = 0, AG_PEAK_BORDERS = 1, AG_PEAK_SAMPLES = 2, AG_PEAK_HWM = 3 };
const char *ag_peak_source_name(enum ag_peak_source v); /* NULL for NONE; "borders" "samples" "hwm" */

/* --- operations --------------------------------------------------------------------------------- */

enum ag_op_kind {
    AG_OP_AGENT_PUT, AG_OP_AGENT_RM, AG_OP_SESSION_RM, AG_OP_MEMORY_PUT, AG_OP_MEMORY_RM,
    AG_OP_TOOL_PUT, AG_OP_TOOL_RM,
    AG_OP_RUN_CREATE, AG_OP_RUN_CLAIM, AG_OP_RUN_CANCEL, AG_OP_RUN_DECIDE,
    AG_OP_STEP_BEGIN, AG_OP_STEP_END, AG_OP_MESSAGE, AG_OP_CALL_INTENT, AG_OP_CALL_END,
    AG_OP_STAGES, AG_OP_JOURNAL, AG_OP_RUN_FINISH,
    AG_OP_CLAIM_NEXT,
    AG_OP_CACHE_PUT, AG_OP_CACHE_HITS, AG_OP_CACHE_RM, AG_OP_CACHE_LEASE, AG_OP_CACHE_RESIZE,
    AG_OP_SETTING,
    AG_OP_LIVE, AG_OP_NOTICE,
    AG_OP_LIMIT
};

enum ag_session_by { AG_SESSION_NEW, AG_SESSION_NAME, AG_SESSION_ID, AG_SESSION_LATEST };

/* Why a run is not ours to drive now. */
enum ag_blocked {
    AG_BLOCKED_NOT = 0,
    AG_BLOCKED_LIVE,      /* an earlier run of the session is running, or held in the queue, by a living owner */
    AG_BLOCKED_CLAIMABLE, /* an earlier run of the session is queued or orphaned: drive it first */
};

struct ag_op_agent_put {
    struct ag_agent_spec spec;
    enum agent_create_mode mode;
    int64_t expect_version; /* EDIT: fail with AGENT_EBUSY unless this is the newest; 0: any */
    int64_t out_agent_id, out_version_id, out_version;
    bool out_created, out_changed;
};

struct ag_op_name { /* AGENT_RM, TOOL_RM: AGENT_ENOTFOUND where there is none */
    struct ag_str name;
};

struct ag_op_session_rm {
    int64_t session_id;
};

struct ag_op_memory_put {
    int64_t agent_id;         /* or by name: */
    struct ag_str agent_name; /* absent where agent_id is set */
    struct ag_str scope;      /* absent: "agent" */
    struct ag_str key;        /* absent: "m<id>" */
    struct ag_str text;
    int64_t source_run_id; /* 0: by hand */
    int64_t out_id;
};

struct ag_op_memory_rm {
    int64_t agent_id;
    struct ag_str agent_name;
    struct ag_str scope, key;
    bool missing_is_fine; /* else AGENT_ENOTFOUND */
    bool out_removed;
};

struct ag_op_tool_put {
    struct ag_tool_rec tool;
    bool replace;
};

/* Creates a run; with `claim` it is claimed at once where nothing is before it in its session, else
 * it is queued but held by our owner: nobody else takes it while we live. */
struct ag_op_run_create {
    struct ag_str agent_name; /* AGENT_ENOTFOUND: "agent 'x'" */
    enum ag_session_by session_by;
    struct ag_str session_name;
    int64_t session_id;
    struct ag_str input;
    struct ag_str options; /* absent: none */
    struct ag_str idempotency_key;
    unsigned char trace_id[16];
    int priority;
    int64_t queued_at_ms, deadline_at_ms;
    bool claim;
    bool not_behind;    /* AGENT_EBUSY where it would stand behind another run of its session */
    int64_t most_queued; /* AGENT_EBUSY where it would be queued, unheld, and so many are; 0: any number */
    /* A run of this session that waits for a decision is closed as failed by this (DESIGN §6). */
    int64_t out_run_id, out_session_id, out_agent_id, out_version_id, out_input_seq;
    int out_attempt;
    bool out_claimed;  /* running under our owner; user message (out_input_seq) and step 1 are there */
    bool out_existing; /* idempotency_key: this run was there before; out_run_id is it, nothing written */
    enum ag_blocked out_blocked;
    int64_t out_blocked_by; /* run id */
    bool out_blocked_by_us; /* LIVE: this store's owner has it */
};

/* Takes a queued or orphaned run. An orphan's open step is failed with a stage row of NULLs; its
 * pure and idempotent calls stay `intended`, its effect calls become `unknown` and the run
 * `waiting`. A fresh run gets its user message and step 1. */
struct ag_op_run_claim {
    int64_t run_id; /* AGENT_ENOTFOUND */
    bool force;     /* also from a living owner */
    enum ag_run_status out_status; /* after the claim: RUNNING = it is ours */
    int out_attempt;
    bool out_claimed;
    bool out_fresh; /* it had never been begun */
    enum ag_blocked out_blocked;
    int64_t out_blocked_by;
    bool out_blocked_by_us;
    int64_t out_session_id, out_agent_id, out_version_id, out_input_seq, out_queued_at_ms, out_deadline_at_ms;
    int out_priority;
};

/* Takes what comes next of the whole queue, at most one run of a session: runs that nobody holds and
 * that have nothing before them, and those of owners whose death was seen. The order is by class
 * (ag_queue_class), within a class by id. A run that cannot be taken for a reason of its own ends as
 * failed with that reason, and the rest goes on. */
struct ag_op_claim_next {
    struct ag_op_run_claim *claims; /* room for `most`; borrowed until done */
    int most;
    int64_t aging_ms; /* waited so long, a run counts one class higher; 0: never */
    bool reap;        /* look for dead owners first, and give back what they had */
    int out_count;    /* entries of claims; one that is not out_claimed became `waiting` */
    bool out_more;    /* `most` was reached: there may be more */
};

struct ag_op_run_cancel {
    int64_t run_id; /* AGENT_ENOTFOUND; AGENT_EINVAL where it has ended */
    bool out_ended; /* it is cancelled now; else a living owner was asked to */
    int64_t out_next_run_id; /* where it has ended: as of a finish */
};

struct ag_op_run_decide {
    int64_t run_id;
    struct ag_str call_id; /* absent: every unknown call */
    bool approve;
    struct ag_str reason;
    int out_open; /* calls that still wait */
};

struct ag_op_step_begin { /* a model step; `number` is also its place in v_steps */
    int64_t run_id;
    int number, attempt;
    int64_t started_at_ms;
};

struct ag_op_step_end {
    int64_t run_id;
    int number;
    enum ag_step_status status;
    int64_t wall_us, input_tokens, output_tokens, cached_tokens; /* -1: unknown */
    struct ag_str error; /* absent: none */
    bool cached;
};

struct ag_op_message {
    int64_t session_id, run_id, seq; /* seq: the run's holder counts, the session is its own */
    enum ag_role role;
    struct ag_str text, calls, extra;
    int call_number; /* role tool: text is the result of this call, stored there */
};

struct ag_op_call_intent {
    int64_t run_id;
    int number, model_step;
    struct ag_str call_id, tool, effect_id, arguments;
    enum agent_effect effect;
    int64_t started_at_ms;
};

struct ag_op_call_end {
    int64_t run_id;
    int number;
    enum ag_call_status status;
    struct ag_str result;
    int64_t wall_us, child_rss_peak_bytes; /* -1: unknown */
};

struct ag_op_stages {
    int64_t run_id;
    const struct ag_stage_row *rows;
    size_t count;
    const struct ag_sample *samples; /* of the run up to now, oldest first; they go with its rows */
    size_t sample_count;
};

struct ag_op_journal { /* the answer as far as it has come: appended, dropped at the step's end */
    int64_t run_id;
    int number;
    struct ag_str text;
};

struct ag_op_run_finish {
    int64_t run_id, session_id;
    enum ag_run_status status; /* also WAITING: the run stays open */
    int error_status;          /* agent_status; AGENT_OK: none */
    struct ag_str error, hint;
    int64_t output_seq; /* 0: none */
    int64_t ended_at_ms, queue_us, wall_us, rss_peak_bytes;
    int64_t input_tokens, output_tokens;
    int messages; /* appended by this run: for the session's count */
    bool cache_hit;
    int64_t out_next_run_id; /* the session's next queued run; 0: none */
};

/* --- the response cache: answers by the SHA-256 of the request that they answer -------------------- */

#define AG_CACHE_KEY_BYTES   32
#define AG_CACHE_LIMIT_BYTES (INT64_C(256) << 20) /* of all entries, until a person says another */
#define AG_CACHE_ENTRY_BYTES 128                  /* what an entry takes besides its texts */
#define AG_CACHE_BIGGEST     8                    /* an entry over limit / 8 is not kept */

struct ag_cache_row {
    int64_t agent_id, tokens, hits, created_at_ms, expires_at_ms; /* tokens -1: unknown; expires 0: never */
    struct ag_str request; /* hashes of its parts: compared before the answer is used */
    struct ag_str body;    /* JSON */
};

/* Keeps an answer; what was under the key is replaced, and our lease of it given back. Where the
 * limit is passed what saves the fewest tokens by byte and was longest not asked for goes first; what
 * has expired before it. */
struct ag_op_cache_put {
    unsigned char key[AG_CACHE_KEY_BYTES];
    int64_t agent_id;
    struct ag_str model, request, body;
    int64_t tokens;        /* -1: unknown */
    int64_t expires_at_ms; /* 0: never */
    bool out_kept;         /* false: it is too large */
};

/* One hit for each key; those that are gone are passed over. */
struct ag_op_cache_hits {
    const unsigned char (*keys)[AG_CACHE_KEY_BYTES];
    size_t count;
};

struct ag_op_cache_rm {
    bool all;
    bool range;                            /* else: every key from `key` to `last`, as bytes; there may be none */
    unsigned char key[AG_CACHE_KEY_BYTES]; /* else; AGENT_ENOTFOUND where it is not there */
    unsigned char last[AG_CACHE_KEY_BYTES];
    int64_t out_count;
};

/* "I am asking, wait for my answer": held until a time, while its owner lives, or until the put. */
struct ag_op_cache_lease {
    unsigned char key[AG_CACHE_KEY_BYTES];
    bool release; /* give it back, where it is ours */
    int64_t until_ms;
    bool out_taken;       /* it is ours now */
    int64_t out_until_ms; /* else: of who has it */
};

struct ag_op_cache_resize {
    int64_t bytes;       /* the limit from now on; 0: nothing is kept */
    int64_t out_evicted; /* entries */
};

struct ag_cache_totals {
    int64_t entries, bytes, limit_bytes, hits, tokens_saved;
};

/* What may be cached and was changed by others (ag_reader_changes). */
enum ag_change_kind {
    AG_CHANGE_VERSION,  /* agent version `id` */
    AG_CHANGE_AGENTS,   /* any agent version: a name, a long text */
    AG_CHANGE_MEMORY,   /* memories of agent `id` */
    AG_CHANGE_TOOL,     /* some command tool */
    AG_CHANGE_RESPONSE, /* the answer under `key` */
};

struct ag_change {
    enum ag_change_kind kind;
    int64_t id;
    struct ag_str key;
};

typedef void (*ag_change_fn)(void *ctx, const struct ag_change *change);

struct ag_op_setting { /* a number kept under a name for every engine on this file */
    struct ag_str name;
    int64_t value;
    bool remove;
};

struct ag_op_live { /* how this store's owner is doing, in the place of what it said before; no owner: nothing */
    int64_t at_ms, rss_bytes, heap_bytes; /* -1: unknown */
    int64_t runs;
    struct ag_str stages, cache; /* JSON; cache absent: there is none */
};

#define AG_NOTICES_KEPT 256 /* at least; older ones go */

struct ag_op_notice { /* what an engine did about memory by itself; a row of v_notices */
    int64_t at_ms, rss_bytes, limit_bytes; /* bytes -1: unknown */
    int level;                             /* of pressure after it, 0 to 3; -1: it is of something else */
    struct ag_str kind, text;
};

struct ag_op {
    struct ag_op *next;
    enum ag_op_kind kind;
    union {
        struct ag_op_agent_put agent_put;
        struct ag_op_name name;
        struct ag_op_session_rm session_rm;
        struct ag_op_memory_put memory_put;
        struct ag_op_memory_rm memory_rm;
        struct ag_op_tool_put tool_put;
        struct ag_op_run_create run_create;
        struct ag_op_run_claim run_claim;
        struct ag_op_run_cancel run_cancel;
        struct ag_op_run_decide run_decide;
        struct ag_op_step_begin step_begin;
        struct ag_op_step_end step_end;
        struct ag_op_message message;
        struct ag_op_call_intent call_intent;
        struct ag_op_call_end call_end;
        struct ag_op_stages stages;
        struct ag_op_journal journal;
        struct ag_op_run_finish run_finish;
        struct ag_op_setting setting;
        struct ag_op_live live;
        struct ag_op_notice notice;
        struct ag_op_claim_next claim_next;
        struct ag_op_cache_put cache_put;
        struct ag_op_cache_hits cache_hits;
        struct ag_op_cache_rm cache_rm;
        struct ag_op_cache_lease cache_lease;
        struct ag_op_cache_resize cache_resize;
    };
};

/* What a run counts as in the queue: its class, one higher for each aging_ms it has waited, up to high. */
static inline int ag_queue_class(int priority, int64_t waited_ms, int64_t aging_ms)
{
    int64_t higher = aging_ms > 0 && waited_ms > 0 ? waited_ms / aging_ms : 0;

    return priority + higher >= 1 ? 1 : (int)(priority + higher);
}

/* The queue as a reader sees it. */
struct ag_queue_look {
    bool is_ready;      /* some run may be taken */
    bool has_waiting;   /* some queued run is held by nobody, be it ready or behind another */
    bool has_dead;      /* some owner died and what it had was not given back yet */
};

typedef struct ag_unit ag_unit;

struct ag_unit {
    ag_unit *next; /* the store's while submitted, then its submitter's */
    struct ag_op *first;
    struct ag_op **last;
    size_t op_count, bytes; /* weight in a batch */
    int64_t fence_run_id;   /* 0: no fence; see (3) */
    int fence_attempt;
    bool lazy;      /* journal: may wait up to 250 ms for a commit to ride on */
    int64_t now_ms; /* unix; set by the submitter, used for created/updated times */
    void (*done)(ag_unit *unit);
    void *ctx;
    agent_status status; /* set before done */
    agent_error error;   /* valid where status is not AGENT_OK */
    int64_t commit_ns;   /* monotonic time at which its commit returned */
};

/* Prepares a unit in memory of the caller's; ops are appended in the order they apply. */
void ag_unit_init(ag_unit *unit, int64_t now_ms);
/* The op lives as long as the unit: usually in the run's arena. op->kind and its fields are set. */
void ag_unit_add(ag_unit *unit, struct ag_op *op);

/* --- the store --------------------------------------------------------------------------------- */

typedef struct ag_store ag_store;
typedef struct ag_reader ag_reader;

enum ag_store_cap { AG_STORE_SQL = 1, AG_STORE_DURABLE = 2, AG_STORE_SHARED = 4 /* other processes may write */ };

struct ag_store_options {
    const char *path;
    unsigned flags; /* of agent_open_flag */
    int durability;
    int64_t busy_timeout_ms;
    bool threaded; /* own writer thread; else batches are committed inside ag_store_flush() */
    const ag_clock *clock;
    ag_log log;
};

struct agent_row {
    int count;
    const char *const *names;
    const struct ag_cell {
        enum agent_value_type type;
        int64_t i;
        double r;
        struct ag_str text;
    } *values;
};

struct ag_store_vt {
    const char *name;
    unsigned caps;
    void (*close)(ag_store *s);
    bool (*submit)(ag_store *s, ag_unit *unit);
    void (*flush)(ag_store *s);
    bool (*agent_again)(ag_store *s, uint64_t tag, struct ag_str name, int64_t now_ms); /* NULL: there is none */
    uint64_t (*change_token)(ag_store *s);
    agent_status (*backup)(ag_store *s, const char *to, agent_error *err);
    agent_status (*check)(ag_store *s, void (*line)(void *, const char *), void *ctx, agent_error *err);
    agent_status (*facts)(ag_store *s, void (*fact)(void *, const char *, const char *), void *ctx, agent_error *err);
    agent_status (*reader_open)(ag_store *s, ag_reader **out, agent_error *err);
    void (*reader_close)(ag_reader *r);
    agent_status (*agent)(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a, struct ag_agent_rec *out, agent_error *err);
    agent_status (*tail)(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages, size_t max_bytes, ag_arena *a, struct ag_message_list *out, agent_error *err);
    agent_status (*messages)(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a, struct ag_message_list *out, agent_error *err);
    agent_status (*memories)(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes, ag_arena *a, struct ag_memory_list *out, agent_error *err);
    agent_status (*memory_search)(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count, ag_arena *a, struct ag_memory_list *out, agent_error *err);
    agent_status (*tool)(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out, agent_error *err);
    agent_status (*run)(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out, agent_error *err);
    agent_status (*session_find)(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id, agent_error *err);
    agent_status (*cancels)(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx, agent_error *err);
    agent_status (*cache_get)(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a, struct ag_cache_row *out, agent_error *err);
    agent_status (*cache_totals)(ag_reader *r, struct ag_cache_totals *out, agent_error *err);
    agent_status (*changes)(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained, agent_error *err);
    agent_status (*queue)(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err);
    uint64_t (*version)(ag_reader *r);
    const char *(*watch_path)(ag_store *s);
    agent_status (*settings)(ag_reader *r, void (*fn)(void *ctx, struct ag_str name, int64_t value), void *ctx, agent_error *err);
    agent_status (*scan)(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx, agent_error *err);
    agent_status (*sql)(ag_reader *r, const char *sql, agent_row_fn fn, void *ctx, agent_error *err);
};

/* First member of every implementation's struct. */
struct ag_store {
    const struct ag_store_vt *vt;
};

struct ag_reader {
    ag_store *store;
};

agent_status ag_store_sqlite_open(const struct ag_store_options *o, ag_store **out, agent_error *err);
agent_status ag_store_memory_open(const struct ag_store_options *o, ag_store **out, agent_error *err);
/* From then on SQLite allocates through engine/base/mem.h, in the whole process. AGENT_EBUSY: it is in use. */
agent_status ag_store_sqlite_memory(agent_error *err);

/* Waits for what was submitted, then closes. Readers must be closed before. NULL is fine. */
static inline void ag_store_close(ag_store *s)
{
    if (s != NULL)
        s->vt->close(s);
}

/* Takes the unit until its done(). True: it is complete already and done() will not be called.
 * Any thread; the unit's status tells a refusal too. */
static inline bool ag_store_submit(ag_store *s, ag_unit *unit)
{
    return s->vt->submit(s, unit);
}

/* Commits a new agent that says what the last one put said, where that one's spec had this tag: AGENT_PUT's
 * short way. False: nothing happened, for whatever reason (it exists, another was put since, the store
 * has no short way): the unit tells. Any thread. */
static inline bool ag_store_agent_again(ag_store *s, uint64_t tag, struct ag_str name, int64_t now_ms)
{
    return tag != 0 && s->vt->agent_again != NULL && s->vt->agent_again(s, tag, name, now_ms);
}

/* Not threaded: commits what is queued, in the caller; done() is called inside. Else nothing. */
static inline void ag_store_flush(ag_store *s)
{
    s->vt->flush(s);
}

/* A number that differs after any commit that was not this store's own (another process, a sqlite3
 * shell); a few ns; any thread. Own commits the submitter knows of by done(). */
static inline uint64_t ag_store_change_token(ag_store *s)
{
    return s->vt->change_token(s);
}

/* A reader belongs to one thread at a time. What it returns lives in the arena given. */
static inline agent_status ag_store_reader_open(ag_store *s, ag_reader **out, agent_error *err)
{
    return s->vt->reader_open(s, out, err);
}

static inline void ag_reader_close(ag_reader *r)
{
    if (r != NULL)
        r->store->vt->reader_close(r);
}

/* By name (newest version), or by version_id where that is not 0. AGENT_ENOTFOUND. */
static inline agent_status ag_reader_agent(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a,
                                           struct ag_agent_rec *out, agent_error *err)
{
    return r->store->vt->agent(r, name, version_id, a, out, err);
}

/* The newest messages before before_seq, oldest first, as many as fit both limits (at least one
 * where there is any), and begun at a user message: never between a call and its result. */
static inline agent_status ag_reader_tail(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages,
                                          size_t max_bytes, ag_arena *a, struct ag_message_list *out, agent_error *err)
{
    return r->store->vt->tail(r, session_id, before_seq, max_messages, max_bytes, a, out, err);
}

/* All messages from from_seq on. */
static inline agent_status ag_reader_messages(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a,
                                              struct ag_message_list *out, agent_error *err)
{
    return r->store->vt->messages(r, session_id, from_seq, a, out, err);
}

/* The agent's memories of scope "agent", newest last, the newest that fit both limits. */
static inline agent_status ag_reader_memories(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes,
                                              ag_arena *a, struct ag_memory_list *out, agent_error *err)
{
    return r->store->vt->memories(r, agent_id, max_count, max_bytes, a, out, err);
}

/* Full text, best first. Any text is a valid query: its words are looked for, all must be there;
 * where none matches all, those that match some. */
static inline agent_status ag_reader_memory_search(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count,
                                                   ag_arena *a, struct ag_memory_list *out, agent_error *err)
{
    return r->store->vt->memory_search(r, agent_id, query, max_count, a, out, err);
}

static inline agent_status ag_reader_tool(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out,
                                          agent_error *err)
{
    return r->store->vt->tool(r, name, a, out, err);
}

static inline agent_status ag_reader_run(ag_reader *r, int64_t run_id, ag_arena *a, struct ag_run_rec *out,
                                         agent_error *err)
{
    return r->store->vt->run(r, run_id, a, out, err);
}

static inline agent_status ag_reader_session_find(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id,
                                                  agent_error *err)
{
    return r->store->vt->session_find(r, agent, spec, out_id, err);
}

/* Runs of this store's owner that somebody asked to cancel. */
static inline agent_status ag_reader_cancels(ag_reader *r, void (*fn)(void *ctx, int64_t run_id), void *ctx,
                                             agent_error *err)
{
    return r->store->vt->cancels(r, fn, ctx, err);
}

/* AGENT_ENOTFOUND. Whether it has expired is the caller's to see. */
static inline agent_status ag_reader_cache_get(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a,
                                               struct ag_cache_row *out, agent_error *err)
{
    return r->store->vt->cache_get(r, key, a, out, err);
}

static inline agent_status ag_reader_cache_totals(ag_reader *r, struct ag_cache_totals *out, agent_error *err)
{
    return r->store->vt->cache_totals(r, out, err);
}

/* What was committed since the last call (the first one: since the store was opened) to tables that
 * are cached, told row by row. *out_explained false: that is not all, or it is not known: everything
 * may have changed. One caller at a time for the whole store, whichever the reader. */
static inline agent_status ag_reader_changes(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained,
                                             agent_error *err)
{
    return r->store->vt->changes(r, fn, ctx, out_explained, err);
}

/* What there is to be taken; some microseconds. Deaths are looked for where asked: a system call per owner. */
static inline agent_status ag_reader_queue(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err)
{
    return r->store->vt->queue(r, deaths_too, out, err);
}

/* A number that differs after a commit of another connection; 0: the store is nobody else's. */
static inline uint64_t ag_reader_version(ag_reader *r)
{
    return r->store->vt->version(r);
}

/* A file that is written to (and must not be opened) shortly before any commit shows; NULL: none. */
static inline const char *ag_store_watch_path(ag_store *s)
{
    return s->vt->watch_path(s);
}

/* Every setting that is kept. */
static inline agent_status ag_reader_settings(ag_reader *r, void (*fn)(void *ctx, struct ag_str name, int64_t value),
                                              void *ctx, agent_error *err)
{
    return r->store->vt->settings(r, fn, ctx, err);
}

static inline agent_status ag_reader_scan(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn,
                                          void *ctx, agent_error *err)
{
    return r->store->vt->scan(r, view, f, fn, ctx, err);
}

static inline agent_status ag_reader_sql(ag_reader *r, const char *sql, agent_row_fn fn, void *ctx, agent_error *err)
{
    return r->store->vt->sql(r, sql, fn, ctx, err);
}

#endif
