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
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/drive.h"
#include "cli/each.h"
#include "cli/signals.h"

#define JOBS_DEFAULT 4
#define JOBS_MAX 100000
#define ROOM_MORE 1024                  /* slots besides two for each job */
#define HELD_MAX (INT64_C(64) << 20)    /* bytes */
#define LOOK_MS 200                     /* a signal may come to another thread */
#define REFUSED_MAX 150                 /* looks, with nothing in flight, before a refusing engine ends the batch */
#define TOLD_MAX 50                     /* failures on stderr; the rest stands in the results alone */

struct batch;

struct slot {
    struct batch *batch;
    struct slot *next;         /* free, ready or done */
    struct slot *behind;       /* the next line of its session */
    struct slot *bucket;       /* another session's last line, in the same bucket */
    int64_t number, size;      /* of the line; its bytes */
    struct each_line line;
    uint64_t session;          /* hash of it; 0: its own */
    agent_run *run;
    bool is_done, is_failed, is_hit;
    int64_t input_tokens, output_tokens;
    char *text;                /* its result */
    size_t bytes;
};

enum stop { STOP_NOT, STOP_SIGNAL, STOP_READER, STOP_FAILURES, STOP_ERROR };

struct batch {
    struct cli *cli;
    const agent_run_request *request;
    struct each_input in;
    struct each_out out;
    struct each_key key;
    struct each_ids ids;
    struct each_bar bar;
    struct out scratch;  /* where results are formed */
    bool in_order, to_stdout, is_ended, is_input_empty;
    int64_t jobs, max_failures; /* 0: no limit */
    enum stop stop;
    agent_error why;     /* of STOP_ERROR */

    struct slot *slots, **order, **buckets; /* order: by seq, a ring; buckets: last line of each session */
    size_t room, bucket_count;
    struct slot *free, *ready, *ready_last, *done; /* done: only where there is no order */
    int64_t taken, written; /* in order: so many have a place in `order`, so many have left it */
    int64_t in_flight, ready_count, held;
    bool is_refused;     /* the engine takes no more at the moment */
    int refusals, told;

    pthread_mutex_t lock;
    struct slot *ended;  /* newest first */
    int wake[2];

    int64_t lines, succeeded, failed, hits, input_tokens, output_tokens; /* written by this process */
};

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

static void stop(struct batch *b, enum stop why, const agent_error *err)
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
            stop(b, STOP_FAILURES, NULL);
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
        stop(b, STOP_ERROR, &err);
    } else if (is_ours(b, r)) {
        stop(b, STOP_ERROR, &r->error);
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
            stop(b, STOP_ERROR, &err);
        return false;
    }
    if (rc == AGENT_ENOMEM) {
        stop(b, STOP_ERROR, &err);
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
            stop(b, STOP_ERROR, &err);
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
        stop(b, STOP_ERROR, &err);
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
        stop(b, STOP_READER, NULL);
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
    stop(b, STOP_SIGNAL, NULL);
    each_bar_clear(&b->bar);
    if (b->in_flight > 0)
        cli_note(b->cli, "stopping: %lld run%s will be finished; a second time stops at once", (long long)b->in_flight,
                 b->in_flight == 1 ? "" : "s");
}

static void work(struct batch *b)
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

/* --- the story ------------------------------------------------------------------------------------------------------- */

static void put_summary(struct batch *b, const char *file, const char *agent)
{
    static const char *const reasons[] = {NULL, "signal", "reader", "max-failures", "error"};
    struct out *out = &b->cli->out;

    put_open(out, '{');
    put_key(out, "type");
    put_str(out, "batch.end");
    put_key(out, "agent");
    put_str(out, agent);
    put_key(out, "file");
    put_str(out, file);
    put_key(out, "out");
    put_str(out, b->out.path);
    put_key(out, "lines");
    put_int(out, b->lines + b->bar.skipped);
    put_key(out, "skipped");
    put_int(out, b->bar.skipped);
    put_key(out, "succeeded");
    put_int(out, b->succeeded);
    put_key(out, "failed");
    put_int(out, b->failed);
    put_key(out, "stopped");
    put_str(out, reasons[b->stop]);
    put_key(out, "cache_hits");
    put_int(out, b->hits);
    put_key(out, "input_tokens");
    put_int(out, b->input_tokens);
    put_key(out, "output_tokens");
    put_int(out, b->output_tokens);
    put_key(out, "wall_ms");
    put_int(out, (int64_t)(each_bar_seconds(&b->bar) * 1000));
    put_close(out, '{');
    put_line(out);
}

static void tell_sum(const struct batch *b)
{
    double seconds = each_bar_seconds(&b->bar);
    char *before = b->bar.skipped == 0 ? cli_strdup("") : cli_format(", %lld were there already", (long long)b->bar.skipped);

    if (b->lines == 0 && b->stop == STOP_NOT)
        cli_note(b->cli, "nothing to do: %s", b->bar.skipped == 0 ? "there is no line" : "every line has its result");
    else
        cli_note(b->cli, "%lld line%s: %lld succeeded, %lld failed%s; %.1f s, %.*f/s", (long long)b->lines,
                 b->lines == 1 ? "" : "s", (long long)b->succeeded, (long long)b->failed, before, seconds,
                 (double)b->lines < 10 * seconds ? 1 : 0, seconds > 0 ? (double)b->lines / seconds : 0);
    free(before);
}

static int end(struct batch *b, const char *file, const char *agent)
{
    agent_error err = AGENT_ERROR_INIT;
    int rc = EXIT_OK;

    if (b->out.fd >= 0 && !b->out.is_broken && each_out_write(&b->out, NULL, 0, &err) != AGENT_OK)
        stop(b, STOP_ERROR, &err);
    if (b->cli->json && !b->cli->jsonl)
        put_summary(b, file, agent);
    tell_sum(b);
    if (b->stop == STOP_ERROR)
        rc = cli_fail_agent(b->cli, agent, &b->why);
    else if (b->stop == STOP_SIGNAL)
        rc = EXIT_SIGNAL + signals_caught();
    else if (b->stop == STOP_READER)
        rc = EXIT_SIGNAL + SIGPIPE;
    else if (b->stop == STOP_FAILURES)
        rc = EXIT_LIMIT;
    else if (b->failed > 0 || (b->lines > 0 && b->out.failed > 0))
        rc = EXIT_RUN_FAILED;
    if (b->stop == STOP_FAILURES)
        cli_note(b->cli, "stopped: %lld lines failed (--max-failures)", (long long)b->bar.failed);
    if (b->stop != STOP_NOT && b->stop != STOP_READER)
        cli_note(b->cli, b->out.fd >= 0 ? "the same command goes on with what is missing in '%s'"
                                        : "without --out a batch cannot be continued%s", b->out.fd >= 0 ? b->out.path : "");
    return rc;
}

/* --- begin and end ------------------------------------------------------------------------------------------------- */

static int check(struct cli *cli, const struct args *args, struct batch *b)
{
    int rc;

    if (args->count > 1)
        return cli_usage(cli, NULL, "run: a prompt and --each exclude each other");
    if (args_has(args, "detach") || args_has(args, "continue") || args_has(args, "idempotency-key"))
        return cli_usage(cli, NULL, "run: --each goes without -d, -c and --idempotency-key");
    b->jobs = JOBS_DEFAULT;
    if ((rc = cli_number(cli, args, "jobs", 1, JOBS_MAX, &b->jobs)) != EXIT_OK ||
        (rc = cli_number(cli, args, "max-failures", 1, INT64_MAX, &b->max_failures)) != EXIT_OK)
        return rc;
    if (args_has(args, "restart") && !args_has(args, "out"))
        return cli_usage(cli, "without --out every call begins anew", "run: --restart goes with --out");
    return EXIT_OK;
}

static int open_all(struct cli *cli, const struct args *args, struct batch *b)
{
    const char *out = args_value(args, "out");
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int rc;

    if (out != NULL && strcmp(out, "-") == 0)
        out = NULL;
    if ((rc = each_input_open(cli, args_value(args, "each"), out != NULL, &b->in)) != EXIT_OK)
        return rc;
    cli->workers = b->jobs == 1 ? 0 : b->jobs < cores || cores < 1 ? (int)b->jobs : (int)cores;
    if ((rc = cli_open(cli, NEED_CREATE, args)) != EXIT_OK || (rc = cli_check_agent(cli, args->at[0])) != EXIT_OK)
        return rc;
    if (out != NULL && ((rc = each_out_open(cli, out, &b->in, &b->out)) != EXIT_OK ||
                        (rc = each_key_settle(cli, args->at[0], &b->in, &b->out, args_has(args, "restart"), &b->key)) != EXIT_OK))
        return rc;
    if (pipe2(b->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        agent_error err;

        cli_err(&err, AGENT_EIO, errno, "pipe: %s", strerror(errno));
        return cli_fail(cli, &err);
    }
    return EXIT_OK;
}

static void make_slots(struct batch *b)
{
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

int each_run(struct cli *cli, const struct args *args, const agent_run_request *request)
{
    struct batch b = {.cli = cli, .request = request, .in.fd = -1, .out.fd = -1, .wake = {-1, -1}};
    int rc;

    cli->owes_run_end = false; /* its lines are results, one for each line */
    b.in_order = !args_has(args, "unordered");
    if ((rc = check(cli, args, &b)) == EXIT_OK && (rc = open_all(cli, args, &b)) == EXIT_OK) {
        b.to_stdout = cli->jsonl || (b.out.fd < 0 && !cli->json);
        (void)pthread_mutex_init(&b.lock, NULL);
        make_slots(&b);
        each_bar_begin(&b.bar, !cli->is_quiet && isatty(STDERR_FILENO), b.in.bytes);
        work(&b);
        rc = end(&b, args_value(args, "each"), args->at[0]);
        (void)pthread_mutex_destroy(&b.lock);
    }
    agent_close(cli->engine); /* its workers know the batch */
    cli->engine = NULL;
    for (int i = 0; i < 2; i++)
        if (b.wake[i] >= 0)
            (void)close(b.wake[i]);
    each_input_drop(&b.in);
    each_out_drop(&b.out);
    each_ids_drop(&b.ids);
    out_drop(&b.scratch);
    free(b.slots);
    free(b.order);
    free(b.buckets);
    return rc;
}
