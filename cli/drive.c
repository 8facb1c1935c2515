/*
 * From events to what a person or a program reads.
 *
 *   (1) What --json, --jsonl and a pipe get as answer is what was committed. On a terminal text
 *       is shown as it comes; where another answer was committed, that one follows in full.
 *   (2) The result object is written once, after the run has ended, and is the last thing written.
 *   (3) Events come on this thread, inside agent_run_wait().
 */
#include "cli/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/rows.h"
#include "cli/signals.h"

void drive_init(struct drive *d, struct cli *cli, const char *agent)
{
    *d = (struct drive){
        .cli = cli,
        .mode = cli->jsonl ? DRIVE_LINES : cli->json ? DRIVE_JSON : DRIVE_TEXT,
        .agent = agent == NULL ? NULL : cli_strdup(agent),
    };
}

void drive_drop(struct drive *d)
{
    free(d->agent);
    free(d->shown);
    *d = (struct drive){0};
}

/* --- --jsonl ------------------------------------------------------------------------------------------ */

static void write_event(struct out *out, const agent_event *ev)
{
    put_open(out, '{');
    put_key(out, "type");
    put_str(out, agent_event_name(ev->type));
    put_key(out, "run");
    put_int(out, ev->run.id);
    put_key(out, "session");
    put_int(out, ev->session.id);
    if (ev->step > 0) {
        put_key(out, "step");
        put_int(out, ev->step);
    }
    if (ev->attempt > 0) {
        put_key(out, "attempt");
        put_int(out, ev->attempt);
    }
    if (ev->tool != NULL) {
        put_key(out, "tool");
        put_str(out, ev->tool);
    }
    if (ev->call_id != NULL) {
        put_key(out, "call_id");
        put_str(out, ev->call_id);
    }
    if (ev->arguments != NULL) {
        put_key(out, "arguments");
        put_embed(out, ev->arguments);
    }
    if (ev->status != NULL) {
        put_key(out, "status");
        put_str(out, ev->status);
    }
    if (ev->text != NULL) {
        put_key(out, "text");
        put_strn(out, ev->text, ev->text_bytes);
    }
    if (ev->type == AGENT_EVENT_RETRY) {
        put_key(out, "delay_ms");
        put_int(out, ev->delay_ms);
    }
    put_close(out, '{');
    put_line(out);
    out_flush(out);
}

/* --- a terminal ----------------------------------------------------------------------------------------- */

static void close_line(struct drive *d)
{
    if (d->has_open_line) {
        out_text(&d->cli->out, "\n");
        out_flush(&d->cli->out);
    }
    d->has_open_line = false;
}

static void forget_shown(struct drive *d)
{
    d->shown_bytes = 0;
}

static void show_text(struct drive *d, const agent_event *ev)
{
    if (d->step != ev->step || d->attempt != ev->attempt) {
        close_line(d);
        forget_shown(d);
        d->step = ev->step;
        d->attempt = ev->attempt;
    }
    if (d->shown_bytes + ev->text_bytes > d->shown_cap) {
        d->shown_cap = 2 * (d->shown_bytes + ev->text_bytes);
        d->shown = cli_realloc(d->shown, d->shown_cap);
    }
    if (ev->text_bytes == 0)
        return;
    memcpy(d->shown + d->shown_bytes, ev->text, ev->text_bytes);
    d->shown_bytes += ev->text_bytes;
    out_foreign(&d->cli->out, ev->text, ev->text_bytes);
    out_flush(&d->cli->out);
    d->has_open_line = ev->text[ev->text_bytes - 1] != '\n';
}

static void note_tool(struct drive *d, const agent_event *ev)
{
    const bool is_end = ev->type == AGENT_EVENT_TOOL_END;
    const char *text = is_end ? ev->text : ev->arguments;
    size_t n = text == NULL ? 0 : is_end ? ev->text_bytes : strlen(text);
    size_t head = text_head(text == NULL ? "" : text, n, 100);

    if (d->cli->is_quiet || (!isatty(STDERR_FILENO) && !d->cli->is_verbose))
        return;
    close_line(d);
    cli_note(d->cli, "%s %s%s%s: %.*s%s", ev->tool == NULL ? "tool" : ev->tool, is_end ? "" : "is called",
             is_end && ev->status != NULL ? ev->status : "", is_end && ev->status == NULL ? "ended" : "", (int)head,
             text == NULL ? "" : text, head < n ? "…" : "");
}

void drive_event(void *ctx, const agent_event *ev)
{
    struct drive *d = ctx;
    const bool is_mine = d->run.id == 0 || d->run.id == ev->run.id;

    if (is_mine && ev->run.id != 0) {
        d->run = ev->run;
        d->session = ev->session;
    }
    if (d->mode == DRIVE_LINES && ev->type != AGENT_EVENT_RUN_END) /* the end: see drive_to_end() */
        write_event(&d->cli->out, ev);
    if (d->mode != DRIVE_TEXT)
        return;
    switch (ev->type) {
    case AGENT_EVENT_TEXT:
        if (d->cli->out.is_tty)
            show_text(d, ev);
        break;
    case AGENT_EVENT_RETRY:
        close_line(d);
        cli_note(d->cli, "attempt %d failed: %.*s; trying again in %.1f s%s", ev->attempt, (int)ev->text_bytes,
                 ev->text == NULL ? "" : ev->text, (double)ev->delay_ms / 1000,
                 d->shown_bytes > 0 ? " (what it said is void)" : "");
        forget_shown(d);
        break;
    case AGENT_EVENT_TOOL_START:
    case AGENT_EVENT_TOOL_END:
        note_tool(d, ev);
        break;
    case AGENT_EVENT_RUN_START:
        if (d->cli->is_verbose)
            cli_note(d->cli, "run %lld of session %lld", (long long)ev->run.id, (long long)ev->session.id);
        break;
    case AGENT_EVENT_MESSAGE_END:
    case AGENT_EVENT_RUN_END:
    case AGENT_EVENT_RUN_WAITING:
        break;
    }
}

/* --- the end --------------------------------------------------------------------------------------------- */

void drive_put_error(struct out *out, const agent_error *err)
{
    put_key(out, "error");
    if (err->status == AGENT_OK) {
        put_null(out);
        return;
    }
    put_open(out, '{');
    put_key(out, "code");
    put_str(out, agent_status_name(err->status));
    put_key(out, "detail");
    if (err->detail == 0)
        put_null(out);
    else
        put_int(out, err->detail);
    put_key(out, "message");
    put_str(out, err->text[0] != '\0' ? err->text : agent_status_text(err->status));
    put_key(out, "hint");
    put_str(out, err->hint[0] != '\0' ? err->hint : NULL);
    put_close(out, '{');
}

/* r NULL: the run never began, or its end is not known. */
static void write_result(struct out *out, const char *agent, agent_run_id run, agent_session_id session,
                         const char *status, const agent_run_result *r, const agent_error *err)
{
    const bool has_output = r != NULL && (r->output_bytes > 0 || strcmp(status, "succeeded") == 0);

    put_open(out, '{');
    put_key(out, "type");
    put_str(out, agent_event_name(AGENT_EVENT_RUN_END));
    put_key(out, "run");
    put_unknown(out, run.id == 0 ? -1 : run.id);
    put_key(out, "session");
    put_unknown(out, session.id == 0 ? -1 : session.id);
    put_key(out, "agent");
    put_str(out, agent);
    put_key(out, "status");
    put_str(out, status);
    put_key(out, "output");
    if (has_output)
        put_strn(out, r->output, r->output_bytes);
    else
        put_null(out);
    drive_put_error(out, err);
    put_key(out, "input_tokens");
    put_unknown(out, r == NULL ? -1 : r->input_tokens);
    put_key(out, "output_tokens");
    put_unknown(out, r == NULL ? -1 : r->output_tokens);
    put_key(out, "queue_ms");
    put_unknown(out, r == NULL || run.id == 0 ? -1 : r->queue_ms);
    put_key(out, "wall_ms");
    put_unknown(out, r == NULL || run.id == 0 ? -1 : r->wall_ms);
    put_key(out, "steps");
    put_unknown(out, r == NULL ? -1 : r->steps);
    put_key(out, "attempts");
    put_unknown(out, r == NULL ? -1 : r->attempts);
    put_key(out, "cache_hit");
    put_unknown(out, r == NULL ? -1 : r->cache_hit);
    put_close(out, '{');
    put_line(out);
    out_flush(out);
}

void drive_write_failure(struct cli *cli, int rc, const char *agent)
{
    agent_error err = cli->last;
    const bool is_cancelled = rc > EXIT_SIGNAL;

    cli->owes_run_end = false;
    if (err.status == AGENT_OK)
        cli_err(&err, is_cancelled ? AGENT_ECANCELLED : AGENT_EIO, 0, "%s", is_cancelled ? "cancelled" : "failed");
    write_result(&cli->out, agent, (agent_run_id){0}, (agent_session_id){0}, is_cancelled ? "cancelled" : "failed",
                 NULL, &err);
}

void drive_write_result(struct out *out, const agent_run_result *r)
{
    write_result(out, r->agent, r->run, r->session, r->status, r, &r->error);
}

static void show_answer(struct drive *d, const agent_run_result *r)
{
    struct out *out = &d->cli->out;
    const bool was_shown = d->shown_bytes == r->output_bytes && d->shown_bytes > 0 &&
                           memcmp(d->shown, r->output, r->output_bytes) == 0;

    if (!was_shown && r->output_bytes > 0) {
        close_line(d);
        out_foreign(out, r->output, r->output_bytes);
        d->has_open_line = r->output[r->output_bytes - 1] != '\n';
    }
    close_line(d);
}

/* The end of a run that we did not drive, though it was asked for: it has an owner, it waits, it was
 * over. r NULL: the engine refused at once. */
static int tell_refusal(struct drive *d, const agent_run_result *r, agent_error *err)
{
    const agent_error none = AGENT_ERROR_INIT;
    const bool is_fine = err->status == AGENT_EBUSY && d->has_owner_ok;
    const char *status = is_fine || err->status == AGENT_EBUSY ? "running"
                         : err->status == AGENT_EAPPROVAL      ? "waiting"
                                                               : "failed";
    int rc = EXIT_OK;

    if (err->status == AGENT_EAPPROVAL && err->hint[0] == '\0')
        cli_hint(err, "agentctl show run %lld; then agentctl approve %lld or agentctl deny %lld",
                 (long long)d->run.id, (long long)d->run.id, (long long)d->run.id);
    close_line(d);
    if (is_fine)
        cli_note(d->cli, "run %lld goes on in the process that has it", (long long)d->run.id);
    else if (d->mode == DRIVE_SILENT && (err->status == AGENT_EBUSY || err->status == AGENT_EAPPROVAL))
        rc = cli_exit_code(err->status); /* the row tells it */
    else
        rc = cli_fail_agent(d->cli, d->run.id == 0 ? d->agent : NULL, err);
    if (!is_fine && d->mode != DRIVE_SILENT)
        *err = d->cli->last; /* as it was told */
    if (d->mode == DRIVE_JSON || d->mode == DRIVE_LINES) {
        write_result(&d->cli->out, d->agent, d->run, d->session, status, r, is_fine ? &none : err);
        d->cli->owes_run_end = false;
    }
    return rc;
}

static int tell_end(struct drive *d, const agent_run_result *r)
{
    struct cli *cli = d->cli;
    const bool is_fine = strcmp(r->status, "succeeded") == 0;
    agent_error err = r->error;
    int rc = is_fine ? EXIT_OK : cli_exit_code(err.status);

    d->end = err.status;
    if (strcmp(r->status, "waiting") == 0) {
        if (err.status == AGENT_OK)
            cli_err(&err, AGENT_EAPPROVAL, 0, "run %lld waits: the outcome of a tool call is unknown",
                    (long long)r->run.id);
        err.status = d->end = AGENT_EAPPROVAL;
        return tell_refusal(d, r, &err);
    }
    if (err.status == AGENT_EBUSY && d->has_owner_ok)
        return tell_refusal(d, r, &err);
    if (!is_fine && err.status == AGENT_OK)
        cli_err(&err, AGENT_ECANCELLED, 0, "the run ended as %s", r->status);
    if (!is_fine && rc == EXIT_OK)
        rc = EXIT_RUN_FAILED;
    if (strcmp(r->status, "cancelled") == 0 && signals_caught() != 0)
        rc = EXIT_SIGNAL + signals_caught();
    if (d->mode == DRIVE_TEXT && is_fine)
        show_answer(d, r);
    else if (d->mode == DRIVE_TEXT)
        close_line(d);
    if (!is_fine && d->mode != DRIVE_SILENT) {
        (void)cli_fail_agent(cli, r->run.id == 0 ? d->agent : NULL, &err);
        err = cli->last; /* as it was told */
    }
    if (d->mode == DRIVE_JSON || d->mode == DRIVE_LINES) {
        write_result(&cli->out, d->agent, r->run, r->session, r->status, r, &err);
        cli->owes_run_end = false;
    }
    return rc;
}

int drive_tell(struct drive *d, const agent_run_result *result)
{
    d->run = result->run;
    d->session = result->session;
    if (d->agent == NULL && result->agent != NULL)
        d->agent = cli_strdup(result->agent);
    return tell_end(d, result);
}

int drive_to_end(struct drive *d, agent_run *run)
{
    const agent_run_result *result = NULL;
    agent_error err = AGENT_ERROR_INIT;
    agent_status status;
    int rc;

    signals_watch(run);
    do
        status = agent_run_wait(run, -1, &result, &err);
    while (status == AGENT_ETIMEDOUT);
    signals_watch(NULL);
    if (status == AGENT_OK) {
        rc = tell_end(d, result);
    } else {
        d->end = status;
        rc = tell_refusal(d, NULL, &err);
    }
    agent_run_free(run);
    return rc;
}

/* --- a run that is in the file ------------------------------------------------------------------------------ */

static bool take_agent(void *ctx, const agent_row *row)
{
    size_t bytes;
    const char *agent = agent_row_text(row, agent_row_find(row, "agent"), &bytes);
    size_t status_bytes;
    const char *status = row_text(row, "status", &status_bytes);
    struct drive *d = ctx;

    d->had_ended = status_bytes > 0 && strchr("sfc", status[0]) != NULL; /* succeeded failed cancelled */
    if (agent != NULL && d->agent == NULL)
        d->agent = cli_format("%.*s", (int)bytes, agent);
    d->session.id = agent_row_int(row, agent_row_find(row, "session_id"));
    d->run.id = agent_row_int(row, agent_row_find(row, "id"));
    return false;
}

int drive_resume(struct drive *d, int64_t run)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_run *handle = NULL;

    filter.run_id = run;
    if (agent_scan(d->cli->engine, AGENT_VIEW_RUNS, &filter, take_agent, d, &err) != AGENT_OK)
        return tell_refusal(d, NULL, &err);
    if (d->run.id == 0)
        return cli_no_run(d->cli, run);
    if (d->had_ended) {
        cli_err(&err, AGENT_EINVAL, 0, "run %lld has ended", (long long)run);
        cli_hint(&err, "agentctl show run %lld", (long long)run);
        return tell_refusal(d, NULL, &err);
    }
    if ((d->takes_away ? agent_run_resume_force : agent_run_resume)(d->cli->engine, (agent_run_id){run}, drive_event, d,
                                                                    &handle, &err) != AGENT_OK) {
        d->end = err.status;
        return tell_refusal(d, NULL, &err);
    }
    return drive_to_end(d, handle);
}
