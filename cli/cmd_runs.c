/*
 * agentctl resume, cancel, approve, deny: runs that are in the file already.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/drive.h"
#include "cli/rows.h"
#include "cli/signals.h"

static int run_argument(struct cli *cli, const char *arg, int64_t *out)
{
    if (cli_run_number(arg, out))
        return EXIT_OK;
    return cli_usage(cli, "agentctl list runs shows the numbers", "'%s' is no number of a run", arg);
}

/* --- resume ----------------------------------------------------------------------------------------------- */

struct open_runs {
    int64_t *ids;
    size_t count, cap;
};

static bool take_id(void *ctx, const agent_row *row)
{
    struct open_runs *open = ctx;

    if (open->count == open->cap) {
        open->cap = open->cap == 0 ? 16 : 2 * open->cap;
        open->ids = cli_realloc(open->ids, open->cap * sizeof(*open->ids));
    }
    open->ids[open->count++] = row_int(row, "id");
    return true;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static agent_status find_open(struct cli *cli, struct open_runs *open, agent_error *err)
{
    static const char *const statuses[] = {"queued", "running"};
    agent_status rc = AGENT_OK;

    for (size_t i = 0; rc == AGENT_OK && i < 2; i++) {
        agent_filter filter = AGENT_FILTER_INIT;

        filter.status = statuses[i];
        rc = agent_scan(cli->engine, AGENT_VIEW_RUNS, &filter, take_id, open, err);
    }
    if (open->count > 1) /* in the order they came: a session's earlier turn first */
        qsort(open->ids, open->count, sizeof(*open->ids), by_id);
    return rc;
}

/* The row of a run after it was driven: --all tells all of them alike, one row each. */
static const char *const run_columns[] = {"id", "agent", "session_id", "status", "output", "error", NULL};

static int tell_run(struct rows *rows, int64_t run)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;

    filter.run_id = run;
    if (agent_scan(rows->cli->engine, AGENT_VIEW_RUNS, &filter, rows_take, rows, &err) != AGENT_OK)
        return cli_fail(rows->cli, &err);
    return EXIT_OK;
}

/* One by one: a run that a living process has, or that was driven with an earlier one of its
 * session, is none of those left behind. */
static int resume_all(struct cli *cli, bool is_dry)
{
    agent_error err = AGENT_ERROR_INIT;
    struct open_runs open = {0};
    struct rows rows;
    int rc = EXIT_OK;

    if (find_open(cli, &open, &err) != AGENT_OK) {
        free(open.ids);
        return cli_fail(cli, &err);
    }
    rows_begin(&rows, cli, run_columns);
    for (size_t i = 0; i < open.count && signals_caught() == 0; i++) {
        struct drive drive;
        int one;

        if (is_dry) {
            (void)tell_run(&rows, open.ids[i]);
            continue;
        }
        drive_init(&drive, cli, NULL);
        drive.mode = DRIVE_SILENT;
        one = drive_resume(&drive, open.ids[i]);
        if (!drive.had_ended && drive.end != AGENT_EBUSY) {
            (void)tell_run(&rows, open.ids[i]);
            rc = rc == EXIT_OK ? one : rc;
        }
        drive_drop(&drive);
    }
    free(open.ids);
    rows_end(&rows);
    if (rows.count == 0)
        cli_note(cli, "no run was left behind");
    return signals_caught() != 0 && rc == EXIT_OK ? EXIT_SIGNAL + signals_caught() : rc;
}

static int drive_one(struct cli *cli, int64_t run, bool has_owner_ok, bool takes_away)
{
    struct drive drive;
    int rc;

    drive_init(&drive, cli, NULL);
    drive.has_owner_ok = has_owner_ok;
    drive.takes_away = takes_away;
    rc = drive_resume(&drive, run);
    drive_drop(&drive);
    return rc;
}

static int resume(struct cli *cli, const struct args *args)
{
    const bool is_all = args_has(args, "all"), is_dry = args_has(args, "dry-run");
    int64_t run = 0;
    int rc;

    if (is_all == (args->count > 0))
        return cli_usage(cli, "agentctl resume 12, or agentctl resume --all", "resume: name a run, or --all");
    if (is_dry && !is_all)
        return cli_usage(cli, NULL, "resume: --dry-run goes with --all");
    if (is_all && args_has(args, "force"))
        return cli_usage(cli, NULL, "resume: --force takes one run");
    if (!is_all && (rc = run_argument(cli, args->at[0], &run)) != EXIT_OK)
        return rc;
    signals_install();
    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, args)) != EXIT_OK)
        return rc;
    if (is_all) {
        cli->owes_run_end = false; /* --json is the list of runs here */
        return resume_all(cli, is_dry);
    }
    return drive_one(cli, run, false, args_has(args, "force"));
}

/* --- approve, deny ------------------------------------------------------------------------------------------- */

static int decide(struct cli *cli, const struct args *args, bool approve)
{
    const char *call = args->count > 1 ? args->at[1] : NULL;
    agent_error err = AGENT_ERROR_INIT;
    int64_t run = 0;
    int rc;

    if ((rc = run_argument(cli, args->at[0], &run)) != EXIT_OK)
        return rc;
    signals_install();
    if ((rc = cli_open(cli, NEED_WRITE, args)) != EXIT_OK)
        return rc;
    if (agent_run_decide(cli->engine, (agent_run_id){run}, call, approve, args_value(args, "reason"), &err) != AGENT_OK) {
        if (err.status == AGENT_ENOTFOUND && call == NULL)
            return cli_no_run(cli, run);
        if (err.hint[0] == '\0')
            cli_hint(&err, "agentctl show run %lld lists its calls", (long long)run);
        return cli_fail(cli, &err);
    }
    return drive_one(cli, run, true, false);
}

static int approve(struct cli *cli, const struct args *args)
{
    return decide(cli, args, true);
}

static int deny(struct cli *cli, const struct args *args)
{
    return decide(cli, args, false);
}

/* --- cancel ---------------------------------------------------------------------------------------------------- */

struct status_of {
    char text[16];
};

static bool take_status(void *ctx, const agent_row *row)
{
    struct status_of *status = ctx;
    size_t bytes;
    const char *text = row_text(row, "status", &bytes);

    if (bytes < sizeof(status->text)) {
        memcpy(status->text, text, bytes);
        status->text[bytes] = '\0';
    }
    return false;
}

static int cancel(struct cli *cli, const struct args *args)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct status_of status = {""};
    int64_t run = 0;
    int rc;

    if ((rc = run_argument(cli, args->at[0], &run)) != EXIT_OK || (rc = cli_open(cli, NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    if (agent_cancel(cli->engine, (agent_run_id){run}, &err) != AGENT_OK)
        return err.status == AGENT_ENOTFOUND ? cli_no_run(cli, run) : cli_fail(cli, &err);
    filter.run_id = run;
    if (agent_scan(cli->engine, AGENT_VIEW_RUNS, &filter, take_status, &status, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "run");
        put_int(&cli->out, run);
        put_key(&cli->out, "status");
        put_str(&cli->out, status.text);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else if (strcmp(status.text, "cancelled") == 0) {
        cli_note(cli, "run %lld is cancelled", (long long)run);
    } else {
        cli_note(cli, "run %lld: the process that drives it was asked to cancel it", (long long)run);
    }
    return EXIT_OK;
}

/* --- table ------------------------------------------------------------------------------------------------------ */

static const struct option resume_options[] = {
    {"all", 0, NULL, "every run that was left behind"},
    {"dry-run", 0, NULL, "only list what --all would take up"},
    {"force", 0, NULL, "take the run from the process that has it"},
    {0},
};
static const struct option deny_options[] = {{"reason", 0, "TEXT", "told to the model and kept"}, {0}};

static const char *const resume_examples[] = {"resume 12", "resume --all", NULL};
static const char *const approve_examples[] = {"approve 12", "approve 12 call_1", NULL};
static const char *const deny_examples[] = {"deny 12", "deny 12 call_1 --reason 'the mail was sent already'", NULL};
static const char *const cancel_examples[] = {"cancel 12", NULL};

const struct command cmd_resume = {
    .name = "resume",
    .synopsis = "RUN | --all",
    .summary = "take up a run that is queued or was left behind by a crash",
    .text = "A run goes on at its first step that was not committed; no committed step runs\n"
            "again. --all takes up every such run, also of a file that was copied here, and\n"
            "tells them as a list. --force takes a run away from a living process, one that\n"
            "was suspended for example: what it still writes of the run changes nothing.",
    .options = resume_options,
    .shared = cli_driving,
    .examples = resume_examples,
    .complete = "run",
    .max_args = 1,
    .flags = COMMAND_LINES | COMMAND_RUNS,
    .run = resume,
};

const struct command cmd_approve = {
    .name = "approve",
    .synopsis = "RUN [CALL]",
    .summary = "let a call of unknown outcome be made again, and go on",
    .text = "After a crash in a tool that acts (effect), nobody knows whether it has acted.\n"
            "approve calls it again with the same AGENT_EFFECT_ID; without CALL all of the\n"
            "run's that wait. The run is then driven to its end.",
    .shared = cli_driving,
    .examples = approve_examples,
    .complete = "run",
    .min_args = 1,
    .max_args = 2,
    .flags = COMMAND_LINES | COMMAND_RUNS,
    .run = approve,
};

const struct command cmd_deny = {
    .name = "deny",
    .synopsis = "RUN [CALL]",
    .summary = "never make a call of unknown outcome again, and go on",
    .text = "The model reads that the call was denied or that its outcome is unknown, and the\n"
            "run is driven to its end. Without CALL all of the run's that wait.",
    .options = deny_options,
    .shared = cli_driving,
    .examples = deny_examples,
    .complete = "run",
    .min_args = 1,
    .max_args = 2,
    .flags = COMMAND_LINES | COMMAND_RUNS,
    .run = deny,
};

const struct command cmd_cancel = {
    .name = "cancel",
    .synopsis = "RUN",
    .summary = "cancel a run, in whichever process it runs",
    .text = "At once where nobody drives the run, else within a second.",
    .examples = cancel_examples,
    .complete = "run",
    .min_args = 1,
    .max_args = 1,
    .run = cancel,
};
