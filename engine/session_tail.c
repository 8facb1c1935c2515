/*
 * The tail of a session: the messages that the next turn is to be sent, in one block that nobody changes.
 *
 *     turn N ends ──► [ head | message … message | their texts ] ──► front cache, by session
 *     turn N+1   ──► the last of them that fit its window, pinned; not a row of the history is read
 *
 * A window is taken from the newest message backwards, as the stores do it (storage/window.h).
 *
 * Invariants, cited by number:
 *  (1) A tail holds all that a window of its limits, or smaller ones, can want of the session up to
 *      last_seq. Where such a window ended it ends with newer messages behind it too: their number and
 *      bytes only come on top. So turns that left the window need not be kept.
 *  (2) It is used only by a run whose own first message follows last_seq: then nobody has put a message
 *      between. The run was given that number by the commit that began it.
 *  (3) Messages that are there already are changed by nobody of us. Somebody else may (sqlite3 in a
 *      shell), and every commit of others counts e->tail_epoch up before the cache calls itself current;
 *      a tail made of what was read before that is not used. Messages are not in the log of changes: to
 *      look, at each message that is written, whether it pushes an old one out costs every turn more than
 *      the rare edit is worth.
 *  (4) The first turn of a session keeps nothing: most sessions have no second one.
 */
#include "engine/session_tail.h"

#include <string.h>

#include "engine/base/mem.h"
#include "storage/window.h"

/* What reading a message again costs, for the choice of who goes. */
#define MESSAGE_COST_NS 1200

struct tail {
    struct ag_value head;
    uint64_t epoch;
    int64_t last_seq;
    struct ag_tail_limits limits;
    size_t count;
    struct ag_msg messages[];
};

static void tail_drop(struct ag_value *v)
{
    ag_free(v);
}

static size_t bytes_of(const struct ag_msg *m)
{
    return m->text.n + m->calls.n + m->extra.n;
}

/* How many of the newest messages a window takes. */
static size_t window(const struct ag_msg *messages, size_t count, struct ag_tail_limits limits)
{
    struct ag_window w = {.max_messages = limits.messages, .max_bytes = limits.bytes};

    while (w.taken < count && ag_window_fits(&w, bytes_of(&messages[count - w.taken - 1])))
        ag_window_take(&w, messages[count - w.taken - 1].role == AG_MSG_USER);
    return ag_window_count(&w);
}

/* --- use ------------------------------------------------------------------------------------------------ */

static bool is_current(const struct agent_run *run, const struct tail *t, struct ag_tail_limits limits)
{
    return t->epoch == run->tail_epoch && t->last_seq + 1 == run->input_seq &&
           limits.messages <= t->limits.messages && limits.bytes <= t->limits.bytes;
}

agent_status ag_tail_use(struct agent_run *run, struct ag_tail_limits limits, bool *out_used, agent_error *err)
{
    agent_engine *e = run->engine;
    struct ag_value *v = ag_cache_get(e->cache, AG_CACHE_TAIL, &run->session_id, sizeof(run->session_id));
    struct tail *t = (struct tail *)v;
    size_t n;

    *out_used = false;
    run->tail_limits = limits;
    /* After the get, which has followed what others did; and before anything is read from the file. */
    run->tail_epoch = atomic_load(&e->tail_epoch);
    if (t == NULL || !is_current(run, t, limits)) {
        ag_value_put(v);
        return AGENT_OK;
    }
    n = window(t->messages, t->count, limits);
    if ((run->messages = ag_arena_alloc(&run->arena, (n + 8) * sizeof(*run->messages))) == NULL) {
        ag_value_put(v);
        return ag_fail(err, AGENT_ENOMEM, 0, "load history: out of memory");
    }
    memcpy(run->messages, t->messages + t->count - n, n * sizeof(*run->messages));
    run->message_count = n;
    run->message_room = n + 8;
    run->tail = v;
    *out_used = true;
    return AGENT_OK;
}

/* --- keep ------------------------------------------------------------------------------------------------ */

static struct ag_str move(char **to, struct ag_str s)
{
    struct ag_str moved = {*to, s.n};

    if (s.p == NULL)
        return AG_STR_NONE;
    if (s.n > 0)
        memcpy(*to, s.p, s.n);
    (*to)[s.n] = '\0'; /* hosts' providers are promised it */
    *to += s.n + 1;
    return moved;
}

static struct tail *tail_make(const struct agent_run *run, const struct ag_msg *from, size_t count)
{
    size_t bytes = sizeof(struct tail) + count * sizeof(*from);
    struct tail *t;
    char *text;

    for (size_t i = 0; i < count; i++) /* with a NUL behind each of five */
        bytes += bytes_of(&from[i]) + from[i].call_id.n + from[i].tool_name.n + 5;
    if ((t = ag_malloc(bytes)) == NULL)
        return NULL;
    t->head = (struct ag_value){.bytes = ag_mem_size(t), .drop = tail_drop};
    atomic_init(&t->head.refs, 1);
    t->epoch = run->tail_epoch;
    t->last_seq = run->last_seq;
    t->limits = run->tail_limits;
    t->count = count;
    text = (char *)&t->messages[count];
    for (size_t i = 0; i < count; i++)
        t->messages[i] = (struct ag_msg){
            .role = from[i].role, .text = move(&text, from[i].text.p != NULL ? from[i].text : AG_STR("")), .calls = move(&text, from[i].calls),
            .extra = move(&text, from[i].extra), .call_id = move(&text, from[i].call_id),
            .tool_name = move(&text, from[i].tool_name), .tool_failed = from[i].tool_failed,
        };
    return t;
}

/* Whether run->messages is the file's history with all that this run put behind it, but for its answer. */
static bool is_whole(const struct agent_run *run)
{
    return run->final_status == AG_RUN_SUCCEEDED && run->input_seq > 1 && run->tail_limits.messages > 0 &&
           (int64_t)(run->message_count - run->history_count) == run->last_seq - run->input_seq;
}

void ag_tail_keep(struct agent_run *run)
{
    agent_engine *e = run->engine;
    struct ag_msg answer = {.role = AG_MSG_ASSISTANT, .text = ag_buf_view(&run->answer), .extra = run->answer_extra};
    struct ag_mem_charge was;
    struct ag_cache_fill fill;
    ag_cache_lease lease;
    struct tail *t;
    size_t n;

    if (!is_whole(run) || !ag_run_append_message(run, &answer))
        return;
    lease = ag_cache_lease_take(e->cache, AG_CACHE_TAIL, &run->session_id, sizeof(run->session_id));
    if (atomic_load(&e->tail_epoch) != run->tail_epoch)
        return; /* (3) */
    n = window(run->messages, run->message_count, run->tail_limits);
    was = ag_mem_charge(NULL); /* what the cache keeps is no run's */
    t = tail_make(run, run->messages + run->message_count - n, n);
    if (t != NULL) {
        fill = (struct ag_cache_fill){.lease = &lease, .cost_ns = (int64_t)(n + 2) * MESSAGE_COST_NS};
        (void)ag_cache_put(e->cache, AG_CACHE_TAIL, &run->session_id, sizeof(run->session_id), &t->head, &fill);
        ag_value_put(&t->head);
    }
    ag_mem_charge_back(was);
}

void ag_tail_forget(agent_engine *e)
{
    (void)atomic_fetch_add(&e->tail_epoch, 1);
}
