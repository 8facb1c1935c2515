/*
 * A run, while this engine drives it.
 *
 *   host thread              worker
 *   agent_run_start ──post──► QUEUE ─► LOAD ─► PREPARE ─► INFER ─► RESPOND ─► RECLAIM ─► ended
 *   agent_run_wait                                ▲                   │
 *   agent_run_cancel                              └───── TOOL ◄───────┘
 *
 * Invariants, cited by number:
 *  (1) After `posted`, everything but the atomics belongs to the worker.
 *  (2) At most one unit that the run waits for is out (`waiting_unit`); any number may be out that
 *      it does not wait for, and it does not end before all of them are done (`units_out`).
 *  (3) Nothing is told to the listener about the file before the commit it speaks of (promise 2).
 *  (4) While `calls_out` > 0 the run is in TOOL, or it is ending and waits for them to be gone.
 *  (5) Every call that was committed as intended gets its result and its message in the file, on
 *      every way out (promise 11).
 */
#ifndef AG_ENGINE_RUN_H
#define AG_ENGINE_RUN_H

#include <agent/run.h>

#include "engine/account.h"
#include "engine/catalog.h"
#include "engine/worker.h"

enum ag_next { AG_NEXT_AGAIN, AG_NEXT_WAIT, AG_NEXT_DONE };

struct ag_run_unit {
    struct ag_post post;
    ag_unit unit;
    struct agent_run *run;
    struct ag_run_unit *free_next;
    char *aside; /* texts that live as long as the unit; NULL: none */
};

enum ag_call_state { AG_CALL_NEW, AG_CALL_LINE, AG_CALL_OUT, AG_CALL_HAVE, AG_CALL_STORED };

struct ag_run_call {
    struct agent_run *run;
    enum ag_call_state state;
    int number, model_step;
    const struct ag_agent_tool *tool; /* NULL: unknown to the agent */
    struct ag_str name, call_id, effect_id, arguments;
    enum agent_effect effect;
    enum ag_call_status status;
    struct ag_str result; /* in the arena once it is there */
    int64_t deadline_ns; /* of a host's callback; 0: none */
    struct ag_op *memory_op; /* remember and forget: done by the commit of the result */
    int64_t started_ns, wall_us, child_rss_peak_bytes;
    ag_command_call *command;
    struct ag_host_job *job;
    bool inside; /* its tool's gate */
    struct ag_waiter waiter;
    struct ag_post gate_post;
};

/* What was spent in the stage that the run is in. */
struct ag_stage_clock {
    int64_t begun_ns, begun_ms, commit_ns;
    int64_t rss_before, heap_before;
    uint64_t mark;                /* of the sampler's series */
    struct ag_together together;
    int64_t child_rss_peak;
    bool shared_sample;
};

struct agent_run {
    /* any thread */
    atomic_int refs;
    atomic_int cancel;
    atomic_bool ended;
    agent_engine *engine;
    struct ag_worker *worker;
    struct ag_post post; /* its start */
    agent_event_fn on_event;
    void *event_ctx;
    const struct ag_outcome *outcome; /* set before `ended` */

    /* the worker's lists */
    struct agent_run *prev, *next, *ready_next;
    bool in_ready, in_runs;
    struct ag_timer timer;

    /* the permit of the model's endpoint */
    ag_gate *gate;            /* where it stands or is inside; NULL: neither */
    bool inside;
    struct ag_waiter waiter;
    struct ag_post gate_post; /* brings the news of a permit; out while gate_out */
    bool gate_out;

    /* the machine */
    enum ag_stage stage;
    int phase; /* of the stage; 0 on entry */
    bool stepping, in_stage, created, claimed, ending, gone, no_stream, started_told, waits_outside, timed_out;
    int64_t retry_at_ns, deadline_ns;
    int64_t now_ns;          /* the clock, as last read for this run: at each drive and each border of a stage */
    int64_t unix_less_mono_ns;
    int64_t commit_began_ns; /* of the waiting unit; 0: it was done at once */
    struct ag_run_unit *waiting_unit;
    int units_out;
    agent_status unit_failed;

    ag_arena arena; /* dies with the run */
    ag_account *account; /* of all that is allocated for it; its home is the worker's thread. NULL: not counted */
    struct ag_stage_clock clock;
    struct ag_stage_row *rows; /* ended stages, not yet in a transaction; in the arena */
    size_t row_count, row_room;
    int64_t rss_peak;
    uint64_t sampled_from;           /* mark of the sampler's series when it began */
    const struct ag_sample *samples; /* for its last transaction; in the arena */
    size_t sample_count;

    /* what it is */
    struct ag_op *create;  /* RUN_CREATE or RUN_CLAIM */
    bool resume, force;
    bool is_taken;   /* claimed before it was made: create holds the answer */
    bool is_of_work; /* agent_work() took it and counts it */
    int64_t run_id, session_id, agent_id, version_id, input_seq, last_seq, output_seq;
    int64_t queued_ns, queue_us, wall_us;
    int attempt; /* of the run */
    int priority;
    struct ag_str input, options;
    struct agent_run *before; /* an earlier run of the session that is driven first */
    struct agent_run *then;   /* the run that waits for this one */
    int64_t drove;            /* the run that `before` last was */

    /* loaded */
    struct ag_agent_obj *agent;
    struct ag_memories_obj *memories;
    struct ag_params params; /* with the run's own options laid over */
    struct ag_msg *messages; /* history and this turn, oldest first; in the arena */
    size_t message_count, message_room;
    size_t history_count; /* of messages: those of earlier runs */
    struct ag_value *tail; /* their texts, where they came from memory */
    uint64_t tail_epoch;
    struct ag_tail_limits { size_t messages, bytes; } tail_limits; /* 0: there is no history to ask for */
    int appended; /* messages this run put into the file */

    /* the model */
    const struct ag_provider_vt *vt;
    const struct ag_host_provider *host;
    struct ag_str model, base_url;
    size_t fallback_at;
    int model_steps, last_number, step_number, tries;
    bool step_open;
    int64_t step_begun_ns;
    struct ag_infer *infer; /* the attempt that is out; NULL: none */
    struct ag_run_reuse *reuse; /* response_cache.c's; in the arena; NULL: it was not asked */
    struct ag_str system;   /* instructions and memories, once they were put together; in the arena */
    bool from_cache;        /* the step's answer is, or will be */
    bool cache_hit;         /* some step's was */
    int64_t step_in, step_out, step_cached, step_wall_us; /* of the step that ended; -1: unknown */
    struct ag_str step_note;                              /* its error or remark; absent: none */
    size_t journalled;
    int64_t journal_ns;
    struct ag_reply reply;
    bool reply_live;
    int64_t input_tokens, output_tokens;

    /* tools */
    struct ag_run_call *calls;
    size_t call_count, calls_out;
    bool intents_stored;

    /* the end */
    enum ag_run_status final_status;
    agent_error *error; /* in the arena; NULL: none */
    ag_buf answer;
    struct ag_str answer_extra; /* in the arena; absent: none */
};

struct ag_outcome {
    agent_run_result result;
    char agent[AGENT_NAME_MAX + 1];
};

/* --- run_stage.c: the table, and the walk through it */
void ag_run_drive(struct agent_run *run);
void ag_run_move(struct agent_run *run, enum ag_stage stage);
void ag_stage_end(struct agent_run *run); /* its row goes to run->rows */
void ag_run_take_samples(struct agent_run *run); /* what the sampler read meanwhile, where that is more than a point */
int64_t ag_run_now(struct agent_run *run);    /* reads the clock */
int64_t ag_run_unix_ms(const struct agent_run *run); /* of now_ns */

/* --- run_units.c: units of a run */
struct ag_run_unit *ag_run_unit_new(struct agent_run *run); /* NULL: out of memory; fenced where claimed */
struct ag_op *ag_run_op(struct agent_run *run, struct ag_run_unit *u, enum ag_op_kind kind); /* NULL: out of memory */
void ag_run_add_stages(struct agent_run *run, struct ag_run_unit *u);
/* Submits a unit that the run waits for. True: it is done already. */
bool ag_run_submit_wait(struct agent_run *run, struct ag_run_unit *u);
void ag_run_submit(struct agent_run *run, struct ag_run_unit *u);
void ag_run_unit_free(struct ag_run_unit *u);
/* Takes the waited-for unit when it is done; NULL: still out, or none. Its status is the caller's to read. */
struct ag_run_unit *ag_run_unit_take(struct agent_run *run);

/* --- run_gate.c: permits. True: inside. False: it waits, and will be made ready. */
bool ag_run_enter(struct agent_run *run, ag_gate *gate);
void ag_run_leave(struct agent_run *run);                /* out of the line, or out of the gate; nothing where neither */
void ag_run_hold(struct agent_run *run, int64_t until_ns); /* nobody enters the gate it is in before that time */
bool ag_call_enter(struct ag_run_call *c);
void ag_call_leave(struct ag_run_call *c);

/* --- the steps */
enum ag_next ag_step_queue(struct agent_run *run);   /* run_queue.c */
enum ag_next ag_step_load(struct agent_run *run);    /* run_load.c */
enum ag_next ag_step_prepare(struct agent_run *run); /* run_infer.c */
enum ag_next ag_step_infer(struct agent_run *run);
enum ag_next ag_step_respond(struct agent_run *run);
enum ag_next ag_step_tool(struct agent_run *run);    /* run_tools.c */
enum ag_next ag_step_reclaim(struct agent_run *run); /* run_end.c */

/* --- run_end.c */
/* Begins the end: out with what runs, then RECLAIM. `e` may be NULL for success. Idempotent: the first wins. */
void ag_run_fail(struct agent_run *run, enum ag_run_status status, const agent_error *e);
void ag_run_failf(struct agent_run *run, agent_status status, const char *fmt, ...) AGENT_PRINTF(3, 4);
/* Ends without a word in the file: never created, lost, or out of memory. */
void ag_run_drop(struct agent_run *run, enum ag_run_status status, const agent_error *e);
void ag_run_finish(struct agent_run *run); /* committed: tells, and lets go */
/* A run that is gone is freed once nothing of it is out; called wherever something came back. */
void ag_run_settle(struct agent_run *run);

/* --- run_infer.c */
void ag_infer_stop(struct agent_run *run); /* cancels and frees what is out */
/* What the attempt that is out reports, on the worker, from inside its start or later. */
void ag_infer_first_byte(struct agent_run *run);
void ag_infer_text(struct agent_run *run); /* reply.text grew */
void ag_infer_done(struct agent_run *run);
void ag_infer_failed(struct agent_run *run, const agent_error *e, bool retry, int64_t after_ms);

/* --- run_tools.c */
agent_status ag_run_resolve_calls(struct agent_run *run, agent_error *err); /* reply.calls to run->calls */
void ag_calls_stop(struct agent_run *run);
/* Adds results, and messages of all calls, to a unit: what is not there is `why`. */
bool ag_calls_store(struct agent_run *run, struct ag_run_unit *u, enum ag_call_status missing, const char *why);

/* --- run_events.c */
void ag_tell(struct agent_run *run, agent_event *event); /* fills run and session */
void ag_tell_start(struct agent_run *run);
void ag_tell_end(struct agent_run *run, enum agent_event_type type);
void ag_outcome_make(struct agent_run *run, enum ag_run_status status);
void ag_outcome_free(const struct ag_outcome *o);

/* --- run_api.c */
struct agent_run *ag_run_new(agent_engine *e, struct ag_worker *w);
/* One that is to be created, its texts copied into it, as of that time. NULL: out of memory. */
struct agent_run *ag_run_of_request(agent_engine *e, struct ag_worker *w, const struct ag_op_run_create *create,
                                    int64_t timeout_ms, int64_t queued_ns);
void ag_run_unref(struct agent_run *run);
bool ag_run_append_message(struct agent_run *run, const struct ag_msg *m); /* false: out of memory */

#endif
