/*
 * Runs: one turn each, a user's input on a session until the agent's answer.
 */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

#define AGENT_INPUT_MAX (1024 * 1024) /* bytes of one input */

typedef struct agent_run agent_run; /* a handle on a run that this engine drives */

typedef struct agent_run_result {
    size_t size;
    agent_run_id run;
    agent_session_id session;
    const char *status;  /* queued running waiting succeeded failed cancelled */
    const char *output;  /* the answer; "" where there is none; NUL-terminated */
    size_t output_bytes;
    agent_error error;   /* status AGENT_OK where it succeeded */
    int64_t input_tokens, output_tokens; /* -1: unknown */
    int64_t queue_ms, wall_ms;
    int steps;    /* model calls that succeeded */
    int attempts; /* times the run was begun (1, more after a crash) */
    bool cache_hit;
    const char *agent; /* its name; NULL: the run ended before its agent was known */
} agent_run_result;

enum agent_event_type {
    AGENT_EVENT_RUN_START,   /* committed: run and session ids are known */
    AGENT_EVENT_TEXT,        /* provisional text of the answer; `attempt` says of which attempt */
    AGENT_EVENT_RETRY,       /* an attempt failed, what it said is void; text: why; delay_ms */
    AGENT_EVENT_TOOL_START,  /* its intent is committed */
    AGENT_EVENT_TOOL_END,    /* text: the result as the model will read it; status */
    AGENT_EVENT_MESSAGE_END, /* committed: an assistant message (text: all of it) */
    AGENT_EVENT_RUN_END,     /* committed; always the last event of a run; result is set */
    AGENT_EVENT_RUN_WAITING, /* committed: an unknown effect waits for approve or deny; result is set; last */
};

typedef struct agent_event {
    size_t size;
    enum agent_event_type type;
    agent_run_id run;
    agent_session_id session;
    int step;             /* model step, from 1 */
    int attempt;          /* provider attempt within the step, from 1 */
    const char *text;     /* NULL: none; not NUL-terminated */
    size_t text_bytes;
    const char *tool;     /* name; NULL: none */
    const char *call_id;
    const char *arguments; /* JSON text */
    const char *status;    /* of a tool call */
    int64_t delay_ms;
    const agent_run_result *result;
} agent_event;

/** The name used in --jsonl: "run.start", "text.delta", "retry", "tool.start", "tool.end",
 *  "message.end", "run.end", "run.waiting". */
AGENT_API const char *agent_event_name(enum agent_event_type type);

/**
 * Gets the events of a run, in order, on the worker that drives it (workers = 0: the thread inside
 * agent_run_wait or agent_drive). The event is borrowed. It must not block, for the worker has
 * other runs; it may call agent_run_cancel().
 */
typedef void (*agent_event_fn)(void *ctx, const agent_event *event);

enum agent_priority { AGENT_PRIORITY_NORMAL = 0, AGENT_PRIORITY_HIGH = 1, AGENT_PRIORITY_LOW = -1 };

/* Where the session has a run that has not ended. */
enum agent_on_busy { AGENT_ON_BUSY_QUEUE = 0, AGENT_ON_BUSY_FAIL = 1 };

typedef struct agent_run_request {
    size_t size;
    const char *agent;             /* name; copied */
    const char *session_name;      /* used or created; copied; NULL: see below */
    agent_session_id session;      /* an existing one */
    bool latest_session;           /* the agent's latest, a new one where it has none */
                                   /* none of the three: a new session without a name */
    const char *input;             /* UTF-8; copied */
    size_t input_bytes;            /* 1 to AGENT_INPUT_MAX */
    int priority;                  /* of agent_priority */
    int64_t timeout_ms;            /* for the whole run; 0: the agent's or the default */
    const char *options;           /* JSON object laid over the agent's options for this run; copied */
    bool no_stream;                /* ask the provider for one answer instead of a stream */
    const char *idempotency_key;   /* a second request with it gets the first one's run; copied */
    agent_event_fn on_event;       /* NULL: none */
    void *ctx;
    int on_busy;                   /* of agent_on_busy: wait in line behind it, or AGENT_EBUSY and nothing written */
} agent_run_request;

#define AGENT_RUN_REQUEST_INIT { .size = sizeof(agent_run_request) }

/**
 * Starts a run and returns at once; nothing is acknowledged before AGENT_EVENT_RUN_START.
 *
 * @param out  Given: free with agent_run_free(). Freeing does not cancel.
 * @retval AGENT_EINVAL   no agent name, empty input, input or options not UTF-8 / not JSON
 * @retval AGENT_ETOOBIG  input over AGENT_INPUT_MAX
 * @retval AGENT_EBUSY    as many runs as the engine may hold are active; retry later
 * An unknown agent or session ends the run with AGENT_ENOTFOUND and nothing written, on_busy with AGENT_EBUSY.
 * Thread-safe; may be called from an event callback.
 */
AGENT_API agent_status agent_run_start(agent_engine *engine, const agent_run_request *request,
                                       agent_run **out, agent_error *err);

/** Takes up a run that is in the file: queued, or left behind by a dead process. Returns at once;
 *  the result's error says AGENT_ENOTFOUND, AGENT_EBUSY where a living process has it, AGENT_EINVAL
 *  where it has ended, AGENT_EAPPROVAL where it waits for a decision. */
AGENT_API agent_status agent_run_resume(agent_engine *engine, agent_run_id run, agent_event_fn on_event,
                                        void *ctx, agent_run **out, agent_error *err);

/** As agent_run_resume(), but takes the run away from a living process too, one that was suspended for
 *  example. When that one goes on, what it still wants to write of the run changes nothing, and it
 *  drops the run. An effect call it was in the middle of is unknown, as after a crash. */
AGENT_API agent_status agent_run_resume_force(agent_engine *engine, agent_run_id run, agent_event_fn on_event,
                                              void *ctx, agent_run **out, agent_error *err);

/**
 * Queues a run and drives nothing: committed when it returns. Whoever works on the file takes it.
 *
 * @param request  As for agent_run_start(); on_event and ctx are not used.
 * @param out_run  With an idempotency_key that was used before: the first request's run.
 * @retval AGENT_EINVAL, AGENT_ETOOBIG  as agent_run_start()
 * @retval AGENT_ENOTFOUND              no such agent or session
 * @retval AGENT_EBUSY                  the queue is full (limit queued_runs), or on_busy
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_run_enqueue(agent_engine *engine, const agent_run_request *request,
                                         agent_run_id *out_run, agent_error *err);

/* --- working off the queue ------------------------------------------------------------------------ */

typedef struct agent_work_options {
    size_t size;
    int concurrency;         /* runs driven at once; 0: default (64) */
    bool until_idle;         /* return when nothing is queued any more and all that was taken has ended */
    int64_t aging_ms;        /* who has waited so long counts one class higher; 0: default (30 s) */
    agent_event_fn on_event; /* of all runs, each on the worker that drives it; NULL: none */
    void *ctx;
} agent_work_options;

#define AGENT_WORK_OPTIONS_INIT { .size = sizeof(agent_work_options) }

/**
 * Takes queued runs, and those whose process died, and drives them; any number of processes may do so
 * on one file. Order: high, normal, low, each first in first out, and one running turn in a session.
 *
 * Returns after agent_work_stop(), or with until_idle. How the runs end is told by their events; a
 * run that fails is no failure of this function.
 *
 * @param options  NULL: the defaults.
 * @retval AGENT_EBUSY     this engine is at work already
 * @retval AGENT_ESTORAGE  the file gave an error; what was taken has been driven to its end
 * workers = 0: drives on the caller's thread; else blocks it.
 */
AGENT_API agent_status agent_work(agent_engine *engine, const agent_work_options *options, agent_error *err);

/**
 * Ends agent_work(): takes nothing more, and lets it return when what runs has ended. With `now` it
 * returns at once; its runs go no further once the engine is closed, and stay in the file for the next
 * that works (their events may come until then). Before agent_work(): ends the next one.
 * Thread-safe and async-signal-safe.
 */
AGENT_API void agent_work_stop(agent_engine *engine, bool now);

/**
 * Waits until somebody else has committed to the file since the last call that returned AGENT_OK; the
 * first call returns at once. May return early, on a signal for example. Costs a few wake-ups a second.
 *
 * @param timeout_ms  -1: no limit.
 * @retval AGENT_OK         look again
 * @retval AGENT_ETIMEDOUT  nothing was committed
 * For one thread of an engine at a time; an engine that only inspects may do it too.
 */
AGENT_API agent_status agent_wait_change(agent_engine *engine, int64_t timeout_ms, agent_error *err);

/** Decides an unknown or waiting call of a run (call_id NULL: all of them) and commits it; the run
 *  is then queued. Drive it with agent_run_resume(). */
AGENT_API agent_status agent_run_decide(agent_engine *engine, agent_run_id run, const char *call_id,
                                        bool approve, const char *reason, agent_error *err);

/**
 * Waits for the end of a run (RUN_END or RUN_WAITING was delivered).
 *
 * @param timeout_ms  -1: no limit. 0: ask only.
 * @param out         Borrowed from the handle, valid until agent_run_free().
 * @retval AGENT_OK         it ended; out->error tells how
 * @retval AGENT_ETIMEDOUT  not yet
 * With workers = 0 this drives every run of the engine meanwhile.
 */
AGENT_API agent_status agent_run_wait(agent_run *run, int64_t timeout_ms, const agent_run_result **out,
                                      agent_error *err);

/**
 * Reads how a run stands, whichever process drives it.
 *
 * @param out  Given: free with agent_run_result_free(). queue_ms, wall_ms and tokens are -1 while they are
 *             unknown, steps always is.
 * @retval AGENT_ENOTFOUND  no such run
 * Thread-safe (with workers). Blocks for reading.
 */
AGENT_API agent_status agent_run_read(agent_engine *engine, agent_run_id run, agent_run_result **out,
                                      agent_error *err);
AGENT_API void agent_run_result_free(agent_run_result *result);

/** Asks for the end; the run ends as `cancelled`, or as what it was already ending as.
 *  Thread-safe and async-signal-safe. */
AGENT_API void agent_run_cancel(agent_run *run);

/** Cancels by id, in whichever process it runs: at once where nobody runs it, else within a second.
 *  AGENT_EINVAL where it has ended. Committed when it returns. */
AGENT_API agent_status agent_cancel(agent_engine *engine, agent_run_id run, agent_error *err);

AGENT_API void agent_run_free(agent_run *run);

/** workers = 0 only: does what is ready, waits up to timeout_ms for more (0: does not wait). */
AGENT_API agent_status agent_drive(agent_engine *engine, int64_t timeout_ms, agent_error *err);

AGENT_END_DECLS
#endif
