/*
 * Tools, as the engine sees them: what is builtin, checking arguments, running a command, and the
 * pool of threads for the host's callbacks.
 */
#ifndef AG_TOOL_TOOL_H
#define AG_TOOL_TOOL_H

#include <agent/tool.h>
#include <uv.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/io/process.h"

#define AG_TOOL_TIMEOUT_MS     60000
#define AG_TOOL_OUTPUT_BYTES   (256u << 10)
#define AG_TOOL_ERRORS_BYTES   4096
#define AG_TOOL_GRACE_MS       2000
#define AG_TOOL_NAME_MAX       64

/* --- builtin --------------------------------------------------------------------------------- */

enum ag_builtin_kind {
    AG_BUILTIN_CALC, AG_BUILTIN_NOW,                              /* a value, at once */
    AG_BUILTIN_REMEMBER, AG_BUILTIN_RECALL, AG_BUILTIN_FORGET,    /* the engine does them: they are rows */
};

struct ag_builtin {
    enum ag_builtin_kind kind;
    const char *name, *description, *schema;
    enum agent_effect effect;
};

/* In the order they are offered to a model. */
extern const struct ag_builtin ag_builtins[];
extern const size_t ag_builtin_count;
const struct ag_builtin *ag_builtin_find(struct ag_str name); /* NULL: none */

/* calc: + - * / % ^ ( ) unary minus, pi, e, and functions; AGENT_EINVAL names the place and what was
 * expected. Integers stay exact while they fit in 2^53. The result is appended to out; on failure
 * nothing is. */
agent_status ag_calc(struct ag_str expression, ag_buf *out, agent_error *err);
/* calc and now: arguments (a checked JSON object) in, text out. */
agent_status ag_builtin_call(const struct ag_builtin *b, struct ag_str arguments, const ag_clock *clock, ag_buf *out,
                             agent_error *err);

/* Arguments of the memory tools, read from checked JSON; absent where not given. */
struct ag_memory_args {
    struct ag_str key, text, query;
    int64_t limit; /* 0: not given */
};
agent_status ag_memory_args(struct ag_str arguments, ag_arena *a, struct ag_memory_args *out, agent_error *err);

/* --- arguments against their schema -------------------------------------------------------------- */

/* JSON Schema: type, enum, const, properties, required, additionalProperties, patternProperties, items,
 * prefixItems, min/maxItems, uniqueItems, min/maxProperties, min/maxLength, pattern (POSIX ERE),
 * minimum … multipleOf, allOf, anyOf, oneOf, not, if/then/else, local $ref; annotations are ignored.
 * Depth at most 64. AGENT_EINVAL: the text names the place as a JSON pointer and what is wrong, so
 * that a model can mend its call: "arguments /city: is required". `schema` absent: any object. */
agent_status ag_schema_check(struct ag_str schema, struct ag_str arguments, agent_error *err);
/* Whether a schema is one that we can check: an object schema; names what is unknown or malformed. */
agent_status ag_schema_valid(struct ag_str schema, agent_error *err);

/* A schema read once and used often: ag_schema_check() reads it anew each time. Given: free with
 * ag_schema_free(). NULL: what ag_schema_valid() would say is in err. It never changes afterwards,
 * so any number of threads may test with it at once. An absent schema is any object. */
typedef struct ag_schema ag_schema;
ag_schema *ag_schema_compile(struct ag_str schema, agent_error *err);
agent_status ag_schema_test(const ag_schema *schema, struct ag_str arguments, agent_error *err);
void ag_schema_free(ag_schema *schema); /* NULL is fine */

/* --- how a call ended ------------------------------------------------------------------------------ */

enum ag_tool_outcome { AG_TOOL_OK, AG_TOOL_FAILED, AG_TOOL_TIMEOUT, AG_TOOL_CANCELLED };

struct ag_tool_end {
    enum ag_tool_outcome outcome;
    struct ag_str text; /* what the model reads; valid UTF-8; borrowed */
    int64_t wall_us, child_rss_peak_bytes; /* -1: unknown */
};

typedef void (*ag_tool_fn)(void *ctx, const struct ag_tool_end *end);

/* --- command tools --------------------------------------------------------------------------------- */

struct ag_command {
    const char *name;
    const char *const *argv;
    int64_t timeout_ms;       /* 0: default */
    size_t max_output_bytes;  /* 0: default */
    struct ag_str arguments;  /* to stdin; borrowed until fn */
    const char *effect_id, *call_id;
    int64_t run_id;
    const char *const *env; /* the host's NAME=value; AGENT_EFFECT_ID, AGENT_RUN_ID, AGENT_CALL_ID are added */
};

typedef struct ag_command_call ag_command_call;

/* On the loop's thread. Exit 0: its stdout (made valid UTF-8, cut at the cap with a mark) is the
 * result. Any other end becomes a failed or timed-out result that tells exit code or signal, the
 * last of stderr and what stdout held. On failure to start fn is not called. */
agent_status ag_command_start(uv_loop_t *loop, const struct ag_command *c, ag_tool_fn fn, void *ctx,
                              ag_command_call **out, agent_error *err);
void ag_command_cancel(ag_command_call *call); /* fn still comes, with AG_TOOL_CANCELLED */

/* argv as kept: a JSON array of strings. The result is in the arena, NULL-terminated. */
agent_status ag_argv_parse(struct ag_str json, ag_arena *a, const char *const **out, agent_error *err);

/* --- the pool: threads for what may block --------------------------------------------------------- */

/* Threads are started when there is work, up to max_threads, and end after 5 idle seconds. */
typedef struct ag_pool ag_pool;

struct ag_job {
    struct ag_job *next;
    void (*work)(struct ag_job *job); /* on a pool thread; afterwards the pool does not touch the job */
};

ag_pool *ag_pool_new(int max_threads, size_t max_queued); /* NULL: out of memory */
/* AGENT_EBUSY: the queue is full. AGENT_EIO: no thread could be started. */
agent_status ag_pool_submit(ag_pool *pool, struct ag_job *job, agent_error *err);
void ag_pool_free(ag_pool *pool); /* waits for running jobs; queued ones are run too. NULL is fine */

#endif
