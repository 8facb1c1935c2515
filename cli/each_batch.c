/*
 * The batch: which lines are taken, begun, waited for and written.
 *
 *     input ──take──► slot ──┬──► ready ──begin──► in flight ──end──► done ──► written, slot free
 *                            └──► behind the line before it in its session ──► ready
 *
 *   (1) At most `jobs` runs are in flight; at most `room` slots and HELD_MAX bytes are between taken
 *       and written. In order, a slow line lets others run ahead of it so far and no further.
 *   (2) The first line that is not written yet is in flight, ready, or behind one that is: so the
 *       window always moves.
 *   (3) All of this is the main thread's but the list of ends, which workers push to.
 *   (4) Stopped, for whatever reason, it takes and begins nothing more and waits for what runs.
 */
#include "cli/each_batch.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/drive.h"
#include "cli/signals.h"

#define ROOM_MORE 1024                  /* slots besides two for each job */
#define HELD_MAX (INT64_C(64) << 20)    /* bytes */
#define LOOK_MS 200                     /* a signal may come to another thread */
#define REFUSED_MAX 150                 /* looks, with nothing in flight, before a refusing engine ends the batch */
#define TOLD_MAX 50                     /* failures on stderr; the rest stands in the results alone */

/* --- ends, from workers --------------------------------------------------------------------------------------- */

static void on_event(void *ctx, const agent_event *ev)
{
    struct slot *slot = ctx;
    struct batch *b = slot->batch;
    bool was_empty;

    if (ev->type != AGENT_EVENT_RUN_END && ev->type != AGENT_EVENT_RUN_WAITING)
        return;
    (void)pthread_mutex_lock(&b->lock);
    was_empty = b->ended == NULL;
    slot->next = b->ended;
    b->ended = slot;
    (void)pthread_mutex_unlock(&b->lock);
    if (was_empty)
        (void)!write(b->wake[1], "", 1);
}

static struct slot *take_ended(struct batch *b)
{
    struct slot *newest, *oldest = NULL;
    char some[64];

    while (read(b->wake[0], some, sizeof(some)) > 0)
        ;
    (void)pthread_mutex_lock(&b->lock);
    newest = b->ended;
    b->ended = NULL;
    (void)pthread_mutex_unlock(&b->lock);
    while (newest != NULL) {
        struct slot *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* --- slots ------------------------------------------------------------------------------------------------------ */

static struct slot *slot_take(struct batch *b)
{
    struct slot *slot = b->free;

    b->free = slot->next;
    *slot = (struct slot){.batch = b};
    if (b->in_order)
        b->order[(size_t)b->taken++ % b->room] = slot;
    return slot;
}

static void slot_free(struct batch *b, struct slot *slot)
{
    b->held -= (int64_t)(slot->line.prompt.bytes + slot->bytes);
    each_line_drop(&slot->line);
    free(slot->text);
    slot->text = NULL;
    slot->next = b->free;
    b->free = slot;
}

static void make_ready(struct batch *b, struct slot *slot)
{
    slot->next = NULL;
    if (b->ready == NULL)
        b->ready = slot;
    else
        b->ready_last->next = slot;
    b->ready_last = slot;
    b->ready_count++;
}

/* --- sessions: invariant 4 of each.h ------------------------------------------------------------------------------ */

static uint64_t session_of(const struct batch *b, const struct each_line *line)
{
    const char *name = line->session;
    int64_t id = line->session_id;
    uint64_t hash;

    if (name == NULL && id == 0) {
        name = b->request->session_name;
        id = b->request->session.id;
    }
    if (name == NULL && id == 0)
        return 0;
    hash = name != NULL ? each_hash(0, name, strlen(name)) : each_hash(1, &id, sizeof(id));
    return hash != 0 ? hash : 1;
}

static struct slot **last_of(struct batch *b, uint64_t session)
{
    struct slot **at = &b->buckets[(size_t)(session ^ session >> 32) & (b->bucket_count - 1)];

    while (*at != NULL && (*at)->session != session)
        at = &(*at)->bucket;
    return at;
}

/* Two sessions of one hash are begun one after the other too: slower, not wrong. */
static void line_up(struct batch *b, struct slot *slot)
{
    struct slot **last;

    slot->session = session_of(b, &slot->line);
    if (slot->session == 0) {
        make_ready(b, slot);
        return;
    }
    last = last_of(b, slot->session);
    slot->bucket = *last == NULL ? NULL : (*last)->bucket;
    if (*last == NULL)
        make_ready(b, slot);
    else
        (*last)->behind = slot;
    *last = slot;
}

static void leave_line(struct batch *b, struct slot *slot)
{
    if (slot->session == 0)
        return;
    if (slot->behind != NULL) {
        make_ready(b, slot->behind);
    } else {
        struct slot **last = last_of(b, slot->session);

        *last = slot->bucket;
    }
}

/* --- the end of a line --------------------------------------------------------------------------------------------- */

static void say(struct batch *b, int64_t line, const char *text)
{
    if (b->told++ > TOLD_MAX)
        return;
    each_bar_clear(&b->bar);
    if (b->told > TOLD_MAX)
        cli_note(b->cli, "further failures are told in the results only");
    else
        cli_note(b->cli, "%s:%lld: %s", b->in.name, (long long)line, text);
}

void batch_stop(struct batch *b, enum batch_stop why, const agent_error *err)
{
    if (b->stop == STOP_ERROR || (b->stop != STOP_NOT && why != STOP_ERROR))
        return;
    b->stop = why;
    if (err != NULL)
        b->why = *err;
}

static void finish(struct batch *b, struct slot *slot, const agent_run_result *r, const agent_error *err)
{
    struct out *to = &b->scratch;

    to->bytes = 0;
    each_put_result(to, slot->line.id, slot->number, r, err);
    slot->text = cli_alloc(to->bytes);
    memcpy(slot->text, to->at, slot->bytes = to->bytes);
    b->held += (int64_t)slot->bytes;
    slot->is_done = true;
    slot->is_failed = err->status != AGENT_OK;
    if (!b->in_order) {
        slot->next = b->done;
        b->done = slot;
    }
    if (r != NULL) {
        slot->is_hit = r->cache_hit;
        slot->input_tokens = r->input_tokens > 0 ? r->input_tokens : 0;
        slot->output_tokens = r->output_tokens > 0 ? r->output_tokens : 0;
    }
    b->bar.done++;
    b->bar.done_bytes += slot->size;
    if (slot->is_failed) {
        b->bar.failed++;
        say(b, slot->number, err->text[0] != '\0' ? err->text : agent_status_text(err->status));
        if (b->max_failures > 0 && b->bar.failed >= b->max_failures)
            batch_stop(b, STOP_FAILURES, NULL);
    }
}

static bool take_status(void *ctx, const agent_row *row)
{
    size_t bytes;
    const char *status = agent_row_text(row, agent_row_find(row, "status"), &bytes);

    *(bool *)ctx = status != NULL && bytes > 0 && strchr("sfc", status[0]) != NULL; /* succeeded failed cancelled */
    return false;
}

/* Whether an error is the file's or the machine's, and so says nothing about this line. */
static bool is_ours(struct batch *b, const agent_run_result *r)
{
    agent_filter filter = AGENT_FILTER_INIT;
    bool has_ended = false;

    if (r->error.status != AGENT_ESTORAGE && r->error.status != AGENT_EBUSY && r->error.status != AGENT_ENOMEM &&
        r->error.status != AGENT_ELOST && r->error.status != AGENT_ESCHEMA)
        return false;
    filter.run_id = r->run.id;
    return r->run.id == 0 ||
           agent_scan(b->cli->engine, AGENT_VIEW_RUNS, &filter, take_status, &has_ended, NULL) != AGENT_OK || !has_ended;
}

/* A run has ended: its result is taken, and the next of its session may begin. */
static void collect(struct batch *b, struct slot *slot)
{
    const agent_run_result *r = NULL;
    agent_error err = AGENT_ERROR_INIT;
    agent_run *run = slot->run;

    b->in_flight--;
    b->is_refused = false;
    b->refusals = 0;
    slot->run = NULL;
    if (agent_run_wait(run, -1, &r, &err) != AGENT_OK) {
        batch_stop(b, STOP_ERROR, &err);
    } else if (is_ours(b, r)) {
        batch_stop(b, STOP_ERROR, &r->error);
    } else {
        err = r->error;
        if (strcmp(r->status, "waiting") == 0 && err.status == AGENT_OK)
            cli_err(&err, AGENT_EAPPROVAL, 0, "run %lld waits: the outcome of a tool call is unknown", (long long)r->run.id);
        else if (strcmp(r->status, "succeeded") != 0 && err.status == AGENT_OK)
            cli_err(&err, AGENT_ECANCELLED, 0, "the run ended as %s", r->status);
        finish(b, slot, r, &err);
    }
    agent_run_free(run);
    leave_line(b, slot);
}

/* --- begin --------------------------------------------------------------------------------------------------------- */

/* False: the engine takes no more now. */
static bool begin(struct batch *b, struct slot *slot)
{
    agent_run_request request = *b->request;
    char *key = each_key_of(&b->key, slot->line.id, slot->number);
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    request.input = slot->line.prompt.at;
    request.input_bytes = slot->line.prompt.bytes;
    if (slot->line.session != NULL || slot->line.session_id != 0) {
        request.session_name = slot->line.session;
        request.session.id = slot->line.session_id;
    }
    request.idempotency_key = key;
    request.on_event = on_event;
    request.ctx = slot;
    rc = agent_run_start(b->cli->engine, &request, &slot->run, &err);
    free(key);
    if (rc == AGENT_OK) {
        b->in_flight++;
        return true;
    }
    if (rc == AGENT_EBUSY || rc == AGENT_EBUDGET) {
        b->is_refused = true;
        if (b->in_flight == 0 && ++b->refusals > REFUSED_MAX)
            batch_stop(b, STOP_ERROR, &err);
        return false;
    }
    if (rc == AGENT_ENOMEM) {
        batch_stop(b, STOP_ERROR, &err);
        return false;
    }
    finish(b, slot, NULL, &err);
    leave_line(b, slot);
    return true;
}

static void begin_ready(struct batch *b)
{
    while (b->stop == STOP_NOT && b->ready != NULL && b->in_flight < b->jobs && !b->is_refused) {
        struct slot *slot = b->ready, *next = slot->next;

        b->ready = next;
        b->ready_count--;
        if (!begin(b, slot)) {
            slot->next = b->ready;
            b->ready_last = b->ready == NULL ? slot : b->ready_last;
            b->ready = slot;
            b->ready_count++;
        }
    }
}

/* --- take ---------------------------------------------------------------------------------------------------------- */

static bool can_take(const struct batch *b)
{
    return b->stop == STOP_NOT && !b->is_ended && b->free != NULL && b->held < HELD_MAX &&
           b->in_flight + b->ready_count < b->jobs;
}

/* One line of the input. */
static void take_line(struct batch *b, const char *text, size_t bytes, int64_t size)
{
    agent_error err = AGENT_ERROR_INIT;
    struct each_line line;
    bool is_good = each_line_parse(text, bytes, &line, &err);
    int64_t before = line.id != NULL ? each_ids_add(&b->ids, line.id, b->in.number) : 0;
    struct slot *slot;

    if (each_out_has(&b->out, b->in.number)) { /* its id counts all the same */
        b->bar.skipped++;
        b->bar.skipped_bytes += size;
        each_line_drop(&line);
        return;
    }
    if (is_good && before != 0) {
        cli_err(&err, AGENT_EEXISTS, 0, "the id %s is line %lld's already", line.id, (long long)before);
        is_good = false;
    }
    slot = slot_take(b);
    slot->number = b->in.number;
    slot->size = size;
    slot->line = line;
    b->held += (int64_t)line.prompt.bytes;
    if (is_good)
        line_up(b, slot);
    else
        finish(b, slot, NULL, &err);
}

static void take_lines(struct batch *b)
{
    b->is_input_empty = false;
    while (can_take(b) && signals_caught() == 0) {
        agent_error err = AGENT_ERROR_INIT;
        const char *text;
        size_t bytes;
        int64_t size;

        switch (each_input_next(&b->in, &text, &bytes, &size, &err)) {
        case EACH_NEXT_LINE:
            take_line(b, text, bytes, size);
            each_bar_draw(&b->bar, false);
            break;
        case EACH_NEXT_WAIT:
            b->is_input_empty = true;
            return;
        case EACH_NEXT_END:
            b->is_ended = true;
            return;
        case EACH_NEXT_FAILED:
            batch_stop(b, STOP_ERROR, &err);
            return;
        }
    }
}

/* --- write --------------------------------------------------------------------------------------------------------- */

static void write_slot(struct batch *b, struct slot *slot)
{
    agent_error err = AGENT_ERROR_INIT;

    if (b->out.is_broken)
        return;
    if (b->out.fd >= 0 && each_out_write(&b->out, slot->text, slot->bytes, &err) != AGENT_OK) {
        batch_stop(b, STOP_ERROR, &err);
        return;
    }
    if (b->to_stdout) {
        if (b->cli->out.is_tty)
            each_bar_clear(&b->bar);
        out_bytes(&b->cli->out, slot->text, slot->bytes);
    }
    b->lines++;
    b->succeeded += !slot->is_failed;
    b->failed += slot->is_failed;
    b->hits += slot->is_hit;
    b->input_tokens += slot->input_tokens;
    b->output_tokens += slot->output_tokens;
}


static void write_and_free(struct batch *b, struct slot *slot)
{
    write_slot(b, slot);
    slot_free(b, slot);
}

static void write_done(struct batch *b)
{
    struct slot *slot;

    while (b->written < b->taken && (slot = b->order[(size_t)b->written % b->room])->is_done) {
        write_and_free(b, slot);
        b->written++;
    }
    while ((slot = b->done) != NULL) {
        b->done = slot->next;
        write_and_free(b, slot);
    }
    out_flush(&b->cli->out);
    if (b->cli->out.is_closed && b->to_stdout && b->out.fd < 0)
        batch_stop(b, STOP_READER, NULL);
}

/* Stopped, some results may stand behind lines that were not begun. With --out they are left to the
 * next call, which has them at once and in order; on stdout there is no next call. */
static void write_rest(struct batch *b)
{
    for (; b->written < b->taken; b->written++) {
        struct slot *slot = b->order[(size_t)b->written % b->room];

        if (slot->is_done && b->out.fd < 0)
            write_slot(b, slot);
        slot_free(b, slot);
    }
    if (!b->in_order) /* what was taken and not begun */
        for (size_t i = 0; i < b->room; i++) {
            each_line_drop(&b->slots[i].line);
            free(b->slots[i].text);
        }
    out_flush(&b->cli->out);
}

/* --- the loop -------------------------------------------------------------------------------------------------------- */

static void wait_a_little(struct batch *b)
{
    struct pollfd fds[2] = {{.fd = b->wake[0], .events = POLLIN}, {.fd = b->in.fd, .events = POLLIN}};
    const bool wants_input = b->is_input_empty && can_take(b);

    if (b->jobs == 1 && b->in_flight > 0)
        (void)agent_drive(b->cli->engine, LOOK_MS, NULL);
    else
        (void)poll(fds, wants_input ? 2 : 1, LOOK_MS);
    if (b->in_flight == 0)
        b->is_refused = false; /* once more */
}

static void notice_signal(struct batch *b)
{
    if (signals_caught() == 0 || b->stop != STOP_NOT)
        return;
    batch_stop(b, STOP_SIGNAL, NULL);
    each_bar_clear(&b->bar);
    if (b->in_flight > 0)
        cli_note(b->cli, "stopping: %lld run%s will be finished; a second time stops at once", (long long)b->in_flight,
                 b->in_flight == 1 ? "" : "s");
}

void batch_work(struct batch *b)
{
    for (;;) {
        struct slot *slot, *next;

        notice_signal(b);
        take_lines(b);
        begin_ready(b);
        for (slot = take_ended(b); slot != NULL; slot = next) {
            next = slot->next;
            collect(b, slot);
        }
        write_done(b);
        each_bar_draw(&b->bar, false);
        if (b->in_flight == 0 && (b->stop != STOP_NOT || (b->is_ended && b->ready == NULL)))
            break;
        if (b->stop == STOP_NOT && !b->is_refused && b->ready != NULL && b->in_flight < b->jobs)
            continue;
        if (!can_take(b) || b->is_input_empty)
            wait_a_little(b);
    }
    write_rest(b);
    each_bar_clear(&b->bar);
}

/* --- init, drop ---------------------------------------------------------------------------------------------------- */

void batch_init(struct batch *b)
{
    (void)pthread_mutex_init(&b->lock, NULL);
    b->room = (size_t)b->jobs * 2 + ROOM_MORE;
    for (b->bucket_count = 1024; b->bucket_count < b->room;)
        b->bucket_count *= 2;
    b->slots = cli_alloc(b->room * sizeof(*b->slots));
    b->order = cli_alloc(b->room * sizeof(*b->order));
    b->buckets = cli_alloc(b->bucket_count * sizeof(struct slot *));
    memset(b->slots, 0, b->room * sizeof(*b->slots));
    memset(b->buckets, 0, b->bucket_count * sizeof(struct slot *));
    for (size_t i = b->room; i > 0; i--) {
        b->slots[i - 1].next = b->free;
        b->free = &b->slots[i - 1];
    }
    out_init(&b->scratch, -1);
    b->scratch.is_held = true;
}

void batch_drop(struct batch *b)
{
    if (b->slots != NULL)
        (void)pthread_mutex_destroy(&b->lock);
    for (int i = 0; i < 2; i++)
        if (b->wake[i] >= 0)
            (void)close(b->wake[i]);
    each_input_drop(&b->in);
    each_out_drop(&b->out);
    each_ids_drop(&b->ids);
    out_drop(&b->scratch);
    free(b->slots);
    free(b->order);
    free(b->buckets);
}
