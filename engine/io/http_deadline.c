/*
 * Limits of calls in flight: a heap of due times and one timer for all of them.
 *
 *    connect ──connected──► first byte ──byte──► idle ──byte──► idle …          and total, always
 *
 *  (1) A byte costs one assignment: it moves the idle limit away, and a key in the heap that is too
 *      early only means that the timer looks, finds the true time and puts the call back.
 *  (2) A change of phase may bring the due time nearer, so it moves the key.
 *  (3) A call that is found over its limit is looked at once more on the loop's next turn: where the
 *      loop was held up, the bytes may lie in the socket, and timers run before sockets.
 *  (4) The heap has room for every call before the call starts: nothing here can fail later.
 */
#include <assert.h>

#include "engine/base/mem.h"
#include "engine/io/http_impl.h"

#define HOST(call) AG_STR_ARG((call)->parts.host)

enum limit { LIMIT_NONE, LIMIT_CONNECT, LIMIT_FIRST_BYTE, LIMIT_IDLE, LIMIT_TOTAL, LIMIT_LINGER, LIMIT_FAILED };

static void on_deadline(uv_timer_t *timer);

static void nearer(int64_t *due, enum limit *which, enum limit limit, int64_t from_ms, int64_t ms)
{
    if (ms > 0 && from_ms < INT64_MAX - ms && from_ms + ms < *due) {
        *due = from_ms + ms;
        *which = limit;
    }
}

static enum limit next_limit(const ag_http_call *call, int64_t *out_due_ms)
{
    enum limit which = LIMIT_NONE;
    int64_t due = INT64_MAX;

    if (call->failed != AGENT_OK) {
        *out_due_ms = 0;
        return LIMIT_FAILED;
    }
    if (call->done_sent) {
        *out_due_ms = call->linger_until_ms;
        return LIMIT_LINGER;
    }
    if (call->got_bytes)
        nearer(&due, &which, LIMIT_IDLE, call->last_byte_at_ms, call->idle_ms);
    else if (call->connected)
        nearer(&due, &which, LIMIT_FIRST_BYTE, call->connected_at_ms, call->first_byte_ms);
    else
        nearer(&due, &which, LIMIT_CONNECT, call->started_at_ms, call->connect_ms);
    nearer(&due, &which, LIMIT_TOTAL, call->started_at_ms, call->total_ms);
    *out_due_ms = due;
    return which;
}

/* --- the heap ----------------------------------------------------------------------------------- */

static void put(ag_http *http, size_t at, ag_http_call *call)
{
    http->heap[at] = call;
    call->heap_index = at;
}

static void sift(ag_http *http, size_t at)
{
    ag_http_call *call = http->heap[at];

    while (at > 0 && http->heap[(at - 1) / 2]->due_ms > call->due_ms) {
        put(http, at, http->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < http->heap_count && http->heap[child + 1]->due_ms < http->heap[child]->due_ms)
            child++;
        if (child >= http->heap_count || http->heap[child]->due_ms >= call->due_ms)
            break;
        put(http, at, http->heap[child]);
        at = child;
    }
    put(http, at, call);
}

agent_status ag_http_deadline_reserve(ag_http *http, agent_error *err)
{
    size_t room = http->heap_room < 16 ? 16 : http->heap_room * 2;
    ag_http_call **heap;

    if (http->calls < http->heap_room)
        return AGENT_OK;
    if ((heap = ag_realloc(http->heap, room * sizeof(*heap))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "http request: out of memory");
    http->heap = heap;
    http->heap_room = room;
    return AGENT_OK;
}

static void arm(ag_http *http)
{
    int64_t now = (int64_t)uv_now(http->loop), due;

    if (http->heap_count == 0) {
        (void)uv_timer_stop(&http->deadline); /* an idle client does not keep its loop alive */
        http->armed_ms = INT64_MAX;
        return;
    }
    due = http->heap[0]->due_ms;
    if (due >= http->armed_ms)
        return; /* (1): it may fire early */
    http->armed_ms = due;
    (void)uv_timer_start(&http->deadline, on_deadline, due > now ? (uint64_t)(due - now) : 0, 0);
}

static void set_due(ag_http_call *call, int64_t due_ms)
{
    ag_http *http = call->http;

    if (due_ms == INT64_MAX) {
        ag_http_deadline_remove(call);
        return;
    }
    call->due_ms = due_ms;
    if (call->heap_index == SIZE_MAX) {
        assert(http->heap_count < http->heap_room); /* (4) */
        put(http, http->heap_count++, call);
    }
    sift(http, call->heap_index);
    arm(http);
}

void ag_http_deadline_update(ag_http_call *call)
{
    int64_t due;

    (void)next_limit(call, &due);
    call->looked = false;
    set_due(call, due); /* (2) */
}

void ag_http_deadline_soon(ag_http_call *call)
{
    set_due(call, 0);
}

void ag_http_deadline_remove(ag_http_call *call)
{
    ag_http *http = call->http;
    size_t at = call->heap_index;

    if (at == SIZE_MAX)
        return;
    call->heap_index = SIZE_MAX;
    if (at != --http->heap_count) {
        put(http, at, http->heap[http->heap_count]);
        sift(http, at);
    }
    arm(http);
}

/* --- time is up --------------------------------------------------------------------------------- */

static void expire(ag_http_call *call, enum limit which)
{
    agent_error why = AGENT_ERROR_INIT;

    switch (which) {
    case LIMIT_CONNECT:
        (void)ag_http_explain(call, CURLE_OPERATION_TIMEDOUT, &why);
        break;
    case LIMIT_FIRST_BYTE:
        (void)ag_fail(&why, AGENT_ETIMEDOUT, 0, AG_STR_FMT ": no answer within %lld ms (first_byte_ms)", HOST(call),
                      (long long)call->first_byte_ms);
        ag_hint(&why, "a model that thinks long needs a larger first_byte_ms");
        break;
    case LIMIT_IDLE:
        (void)ag_fail(&why, AGENT_ETIMEDOUT, 0, AG_STR_FMT ": the answer stood still for %lld ms (idle_ms)", HOST(call),
                      (long long)call->idle_ms);
        ag_hint(&why, "raise idle_ms where this server pauses that long");
        break;
    case LIMIT_TOTAL:
        (void)ag_fail(&why, AGENT_ETIMEDOUT, 0, AG_STR_FMT ": the answer was not complete within %lld ms (total_ms)",
                      HOST(call), (long long)call->total_ms);
        ag_hint(&why, "raise total_ms, or ask for a shorter answer");
        break;
    case LIMIT_FAILED:
        if (call->failed == AGENT_ENOMEM)
            (void)ag_fail(&why, AGENT_ENOMEM, 0, "http request: out of memory");
        else
            (void)ag_fail(&why, AGENT_ENETWORK, 0, AG_STR_FMT ": libcurl gave up its sockets", HOST(call));
        break;
    case LIMIT_NONE:
    case LIMIT_LINGER:
        break;
    }
    ag_http_fail(call, &why);
}

static void on_deadline(uv_timer_t *timer)
{
    ag_http *http = timer->data;
    int64_t now = (int64_t)uv_now(http->loop);

    http->armed_ms = INT64_MAX;
    http->settling = true; /* done() may close the client: not under our feet */
    while (!http->closing && http->heap_count > 0 && http->heap[0]->due_ms <= now) {
        ag_http_call *call = http->heap[0];
        int64_t due;
        enum limit which = next_limit(call, &due);

        if (due > now) { /* (1) */
            call->looked = false;
            set_due(call, due);
        } else if (!call->looked && which != LIMIT_FAILED) { /* (3) */
            call->looked = true;
            set_due(call, now + 1);
        } else {
            expire(call, which);
        }
    }
    http->settling = false;
    if (!http->closing)
        arm(http);
    ag_http_settle(http);
}
