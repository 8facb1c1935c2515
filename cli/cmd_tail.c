/*
 * agentctl tail: what a run of any process does, as it does it, read from the file.
 *
 *     commit by anybody ──► look: new steps, calls, what was journalled, the end ──► lines
 *
 *   (1) Text on stdout is the answer, as far as it is journalled, then what is missing of the one
 *       that was committed. Of an attempt that failed nothing is taken back; the next begins on a
 *       line of its own.
 *   (2) A look tells what is new since the look before; what came and went between two looks is told
 *       by its end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/drive.h"
#include "cli/rows.h"
#include "cli/signals.h"

enum { TOLD_BEGIN = 1, TOLD_END = 2 };

struct follow {
    struct cli *cli;
    int64_t run, session;
    bool is_alone; /* the only one: its text goes to stdout as it is */
    bool is_gone;
    unsigned char *told; /* by number of step or call */
    int told_room;
    int64_t text_step;   /* whose text is being told */
    char *text;          /* of it, told */
    size_t text_bytes, text_cap;
    bool has_open_line;
};

/* --- telling -------------------------------------------------------------------------------------------- */

static void close_line(struct follow *f)
{
    if (f->has_open_line)
        out_text(&f->cli->out, "\n");
    f->has_open_line = false;
}

static void begin_event(struct follow *f, const char *type, int64_t step)
{
    struct out *out = &f->cli->out;

    put_open(out, '{');
    put_key(out, "type");
    put_str(out, type);
    put_key(out, "run");
    put_int(out, f->run);
    if (step > 0) {
        put_key(out, "step");
        put_int(out, step);
    }
}

static void put_column(struct out *out, const agent_row *row, const char *column)
{
    put_key(out, column);
    put_cell(out, row, agent_row_find(row, column));
}

static void end_event(struct follow *f)
{
    put_close(&f->cli->out, '{');
    put_line(&f->cli->out);
}

static bool is_new(struct follow *f, int64_t number, int what)
{
    if (number < 0 || number > 4095)
        return false;
    if (number >= f->told_room) {
        int room = (int)number + 64;

        f->told = cli_realloc(f->told, (size_t)room);
        memset(f->told + f->told_room, 0, (size_t)(room - f->told_room));
        f->told_room = room;
    }
    if ((f->told[number] & what) != 0)
        return false;
    f->told[number] |= (unsigned char)what;
    return true;
}

/* Of model steps only: calls have rows of their own. */
static bool tell_step(void *ctx, const agent_row *row)
{
    struct follow *f = ctx;
    size_t n, error_n;
    const char *status = row_text(row, "status", &n), *error = row_text(row, "error", &error_n);
    int64_t step = row_int(row, "step");
    size_t kind_n;
    const char *kind = row_text(row, "kind", &kind_n);
    bool is_model = kind_n == 5 && memcmp(kind, "model", 5) == 0, is_open = n == 7 && status[0] == 'r';

    if (!is_model)
        return true;
    if (is_new(f, step, TOLD_BEGIN)) {
        if (f->cli->jsonl) {
            begin_event(f, "step.start", step);
            put_column(&f->cli->out, row, "attempt");
            end_event(f);
        } else if (f->cli->is_verbose || !f->is_alone) {
            close_line(f);
            cli_note(f->cli, "run %lld: step %lld begins", (long long)f->run, (long long)step);
        }
    }
    if (is_open || !is_new(f, step, TOLD_END))
        return true;
    if (f->cli->jsonl) {
        begin_event(f, "step.end", step);
        put_column(&f->cli->out, row, "status");
        put_column(&f->cli->out, row, "wall_ms");
        put_column(&f->cli->out, row, "error");
        end_event(f);
    } else if (error_n > 0) {
        close_line(f);
        cli_note(f->cli, "run %lld: step %lld %.*s: %.*s", (long long)f->run, (long long)step, (int)n, status,
                 (int)error_n, error);
    }
    return true;
}

static bool tell_call(void *ctx, const agent_row *row)
{
    struct follow *f = ctx;
    size_t n, tool_n, text_n;
    const char *status = row_text(row, "status", &n), *tool = row_text(row, "tool", &tool_n), *text;
    int64_t step = row_int(row, "step");
    bool is_out = (n == 8 && memcmp(status, "intended", n) == 0) || (n == 7 && memcmp(status, "running", n) == 0);

    if (is_new(f, step, TOLD_BEGIN)) {
        text = row_text(row, "arguments", &text_n);
        if (f->cli->jsonl) {
            begin_event(f, "tool.start", step);
            put_column(&f->cli->out, row, "tool");
            put_column(&f->cli->out, row, "call_id");
            put_key(&f->cli->out, "arguments");
            put_embed(&f->cli->out, text_n == 0 ? NULL : text);
            end_event(f);
        } else {
            close_line(f);
            cli_note(f->cli, "run %lld: %.*s is called: %.*s", (long long)f->run, (int)tool_n, tool,
                     (int)text_head(text, text_n, 100), text);
        }
    }
    if (is_out || !is_new(f, step, TOLD_END))
        return true;
    text = row_text(row, "result", &text_n);
    if (f->cli->jsonl) {
        begin_event(f, "tool.end", step);
        put_column(&f->cli->out, row, "tool");
        put_column(&f->cli->out, row, "call_id");
        put_column(&f->cli->out, row, "status");
        put_key(&f->cli->out, "text");
        put_strn(&f->cli->out, text, text_n);
        end_event(f);
    } else {
        close_line(f);
        cli_note(f->cli, "run %lld: %.*s %.*s: %.*s", (long long)f->run, (int)tool_n, tool, (int)n, status,
                 (int)text_head(text, text_n, 100), text);
    }
    return true;
}

/* --- text ------------------------------------------------------------------------------------------------- */

static void tell_text(struct follow *f, const char *text, size_t n)
{
    struct out *out = &f->cli->out;

    if (n == 0)
        return;
    if (f->cli->jsonl) {
        begin_event(f, "text.delta", f->text_step);
        put_key(out, "text");
        put_strn(out, text, n);
        end_event(f);
    } else if (f->is_alone) {
        out_foreign(out, text, n);
        f->has_open_line = text[n - 1] != '\n';
    }
    if (f->text_bytes + n > f->text_cap) {
        f->text_cap = 2 * (f->text_bytes + n);
        f->text = cli_realloc(f->text, f->text_cap);
    }
    memcpy(f->text + f->text_bytes, text, n);
    f->text_bytes += n;
}

struct journal {
    struct follow *f;
    size_t at; /* bytes of the step's journal before this row */
};

static bool take_journal(void *ctx, const agent_row *row)
{
    struct journal *j = ctx;
    struct follow *f = j->f;
    int64_t step = row_int(row, "step");
    size_t n, skip;
    const char *text = row_text(row, "text", &n);

    if (step != f->text_step) {
        close_line(f);
        f->text_step = step;
        f->text_bytes = 0;
        j->at = 0;
    }
    skip = f->text_bytes > j->at ? f->text_bytes - j->at : 0;
    j->at += n;
    if (skip < n)
        tell_text(f, text + skip, n - skip);
    return true;
}

static agent_status look_at_journal(struct follow *f, agent_error *err)
{
    struct journal j = {f, 0};
    char sql[160];

    (void)snprintf(sql, sizeof(sql),
                   "SELECT step, text FROM v_journal WHERE id BETWEEN %lld << 21 AND (%lld << 21 | 2097151) ORDER BY id",
                   (long long)f->run, (long long)f->run);
    return agent_sql(f->cli->engine, sql, take_journal, &j, err);
}

/* What of the committed answer was not told. */
static void tell_rest(struct follow *f, const agent_run_result *r)
{
    bool is_more = f->text_bytes <= r->output_bytes && memcmp(f->text == NULL ? "" : f->text, r->output, f->text_bytes) == 0;

    if (!is_more) {
        close_line(f);
        f->text_bytes = 0;
    }
    tell_text(f, r->output + f->text_bytes, r->output_bytes - f->text_bytes);
    close_line(f);
}

/* --- looking ------------------------------------------------------------------------------------------------ */

static agent_status look(struct follow *f, agent_run_result **out, agent_error *err)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_status rc;

    filter.run_id = f->run;
    if ((rc = agent_run_read(f->cli->engine, (agent_run_id){f->run}, out, err)) != AGENT_OK)
        return rc; /* first: what it says has ended is told whole by what is read after it */
    if ((rc = agent_scan(f->cli->engine, AGENT_VIEW_STEPS, &filter, tell_step, f, err)) == AGENT_OK &&
        (rc = agent_scan(f->cli->engine, AGENT_VIEW_TOOL_CALLS, &filter, tell_call, f, err)) == AGENT_OK)
        rc = look_at_journal(f, err);
    out_flush(&f->cli->out);
    if (rc != AGENT_OK)
        agent_run_result_free(*out);
    return rc;
}

static bool has_left(const agent_run_result *r)
{
    return strcmp(r->status, "queued") != 0 && strcmp(r->status, "running") != 0;
}

static void tell_end(struct follow *f, const agent_run_result *r)
{
    f->is_gone = true;
    if (strcmp(r->status, "succeeded") == 0)
        tell_rest(f, r);
    close_line(f);
    if (f->cli->jsonl)
        drive_write_result(&f->cli->out, r);
    else if (!f->is_alone)
        cli_note(f->cli, "run %lld of %s: %s%s%s", (long long)f->run, r->agent == NULL ? "?" : r->agent, r->status,
                 r->error.text[0] != '\0' ? ": " : "", r->error.text);
    out_flush(&f->cli->out);
}

static void follow_drop(struct follow *f)
{
    free(f->told);
    free(f->text);
}

static agent_status pause_for_change(struct cli *cli, agent_error *err)
{
    const struct timespec nap = {0, 20000000}; /* a busy file is looked at fifty times a second at most */
    agent_status rc = agent_wait_change(cli->engine, -1, err);

    (void)nanosleep(&nap, NULL);
    return rc;
}

static int tail_one(struct cli *cli, int64_t run)
{
    struct follow f = {.cli = cli, .run = run, .is_alone = true};
    agent_error err = AGENT_ERROR_INIT;
    int rc = EXIT_OK;

    while (!f.is_gone && signals_caught() == 0) {
        agent_run_result *r;

        if (look(&f, &r, &err) != AGENT_OK) {
            rc = err.status == AGENT_ENOTFOUND ? cli_no_run(cli, run) : cli_fail(cli, &err);
            break;
        }
        if (has_left(r)) {
            tell_end(&f, r);
            rc = cli_exit_code(r->error.status);
            if (r->error.status != AGENT_OK && !cli->jsonl)
                (void)cli_fail(cli, &r->error);
        }
        agent_run_result_free(r);
        if (!f.is_gone && pause_for_change(cli, &err) != AGENT_OK) {
            rc = cli_fail(cli, &err);
            break;
        }
    }
    follow_drop(&f);
    return signals_caught() != 0 ? EXIT_SIGNAL + signals_caught() : rc;
}

/* --- all of them --------------------------------------------------------------------------------------------- */

struct all {
    struct cli *cli;
    struct follow *at;
    size_t count, cap;
    int64_t last; /* highest number seen; -1: the first look */
};

static struct follow *follow_of(struct all *all, int64_t run)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].run == run)
            return &all->at[i];
    if (all->count == all->cap) {
        all->cap = all->cap == 0 ? 16 : 2 * all->cap;
        all->at = cli_realloc(all->at, all->cap * sizeof(*all->at));
    }
    all->at[all->count] = (struct follow){.cli = all->cli, .run = run};
    return &all->at[all->count++];
}

static bool take_running(void *ctx, const agent_row *row)
{
    (void)follow_of(ctx, row_int(row, "id"));
    return true;
}

struct newer {
    struct all *all;
    int64_t newest;
};

/* Newest first, down to those known. One that is still queued is followed once it runs. */
static bool take_newer(void *ctx, const agent_row *row)
{
    struct newer *newer = ctx;
    int64_t id = row_int(row, "id");
    size_t n;
    const char *status = row_text(row, "status", &n);

    if (newer->newest == 0)
        newer->newest = id;
    if (newer->all->last < 0 || id <= newer->all->last)
        return false;
    if (n > 0 && status[0] != 'q')
        (void)follow_of(newer->all, id);
    return true;
}

static agent_status find(struct all *all, agent_error *err)
{
    agent_filter filter = AGENT_FILTER_INIT;
    struct newer newer = {all, 0};
    agent_status rc;

    filter.newest_first = true;
    if ((rc = agent_scan(all->cli->engine, AGENT_VIEW_RUNS, &filter, take_newer, &newer, err)) != AGENT_OK)
        return rc;
    all->last = newer.newest > all->last ? newer.newest : all->last < 0 ? 0 : all->last;
    filter = (agent_filter)AGENT_FILTER_INIT;
    filter.status = "running";
    return agent_scan(all->cli->engine, AGENT_VIEW_RUNS, &filter, take_running, all, err);
}

static agent_status look_at_all(struct all *all, agent_error *err)
{
    size_t kept = 0;
    agent_status rc = find(all, err);

    for (size_t i = 0; i < all->count && rc == AGENT_OK; i++) {
        agent_run_result *r;

        rc = look(&all->at[i], &r, err);
        if (rc == AGENT_ENOTFOUND) { /* it was removed */
            all->at[i].is_gone = true;
            rc = AGENT_OK;
        } else if (rc == AGENT_OK) {
            if (has_left(r))
                tell_end(&all->at[i], r);
            agent_run_result_free(r);
        }
    }
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].is_gone)
            follow_drop(&all->at[i]);
        else
            all->at[kept++] = all->at[i];
    all->count = kept;
    return rc;
}

static int tail_all(struct cli *cli)
{
    struct all all = {.cli = cli, .last = -1};
    agent_error err = AGENT_ERROR_INIT;
    agent_status status = AGENT_OK;

    while (signals_caught() == 0 && !cli->out.is_closed && (status = look_at_all(&all, &err)) == AGENT_OK)
        if ((status = pause_for_change(cli, &err)) != AGENT_OK)
            break;
    for (size_t i = 0; i < all.count; i++)
        follow_drop(&all.at[i]);
    free(all.at);
    return status == AGENT_OK ? EXIT_OK : cli_fail(cli, &err); /* ^C is how it ends */
}

static int tail(struct cli *cli, const struct args *args)
{
    bool is_all = args_has(args, "all");
    int64_t run = 0;
    int rc;

    if (is_all == (args->count > 0))
        return cli_usage(cli, "agentctl tail 12, or agentctl tail --all", "tail: name a run, or --all");
    if (!is_all && !cli_run_number(args->at[0], &run))
        return cli_usage(cli, "agentctl list runs shows the numbers", "'%s' is no number of a run", args->at[0]);
    if (cli->json && !cli->jsonl)
        return cli_usage(cli, "agentctl tail RUN --jsonl", "tail: it tells as it goes, a line for each event");
    signals_install();
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    return is_all ? tail_all(cli) : tail_one(cli, run);
}

static const struct option options[] = {{"all", 0, NULL, "every run, until ^C"}, {0}};
static const char *const examples[] = {"tail 12", "tail --all --jsonl", NULL};

const struct command cmd_tail = {
    .name = "tail",
    .synopsis = "RUN | --all",
    .summary = "follow a run of any process: its text, its steps, its calls",
    .text = "The answer goes to stdout as far as it has come, steps and calls to stderr;\n"
            "--jsonl has all of it, an object a line, a run.end last. Ends with the run, with\n"
            "the exit code of it.",
    .options = options,
    .examples = examples,
    .complete = "run",
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = tail,
};
