/*
 * agentctl work, wait: the queue that is in the file. Any process may put into it (run -d), any
 * number may work on it, and any may wait for what comes of it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/drive.h"
#include "cli/rows.h"
#include "cli/signals.h"

/* --- work --------------------------------------------------------------------------------------------- */

struct worked {
    struct cli *cli;
    pthread_mutex_t lock; /* ends are told by whichever worker has them */
    int64_t succeeded, failed, cancelled, waiting, lost;
};

static void count(struct worked *w, const agent_run_result *r)
{
    if (strcmp(r->status, "succeeded") == 0)
        w->succeeded++;
    else if (strcmp(r->status, "failed") == 0)
        w->failed++;
    else if (strcmp(r->status, "cancelled") == 0)
        w->cancelled++;
    else if (strcmp(r->status, "waiting") == 0)
        w->waiting++;
    else
        w->lost++; /* it goes on, or will, in another process */
}

static void tell_worked(void *ctx, const agent_event *ev)
{
    struct worked *w = ctx;
    const agent_run_result *r = ev->result;
    const struct cli *cli = w->cli;

    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    count(w, r);
    if (cli->jsonl)
        drive_write_result(&w->cli->out, r);
    else if (r->error.status == AGENT_OK)
        cli_note(cli, "run %lld of %s: %s after %.1f s", (long long)r->run.id, r->agent == NULL ? "?" : r->agent,
                 r->status, (double)r->wall_ms / 1000);
    else
        cli_note(cli, "run %lld of %s: %s: %s", (long long)r->run.id, r->agent == NULL ? "?" : r->agent, r->status,
                 r->error.text);
    (void)pthread_mutex_unlock(&w->lock);
}

static void put_count(struct out *out, const char *key, int64_t n)
{
    put_key(out, key);
    put_int(out, n);
}

static int work(struct cli *cli, const struct args *args)
{
    agent_work_options options = AGENT_WORK_OPTIONS_INIT;
    struct worked worked = {.cli = cli, .lock = PTHREAD_MUTEX_INITIALIZER};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    agent_error err = AGENT_ERROR_INIT;
    int64_t concurrency = 64, aging_ms = 0;
    agent_status status;
    int rc;

    if ((rc = cli_number(cli, args, "jobs", 1, 100000, &concurrency)) != EXIT_OK ||
        (rc = cli_duration(cli, args, "aging", &aging_ms)) != EXIT_OK)
        return rc;
    signals_install();
    cli->workers = concurrency == 1 ? 0 : concurrency < cores || cores < 1 ? (int)concurrency : (int)cores;
    if ((rc = cli_open(cli, NEED_CREATE, args)) != EXIT_OK)
        return rc;
    options.concurrency = args_has(args, "jobs") ? (int)concurrency : 0;
    options.aging_ms = aging_ms;
    options.until_idle = args_has(args, "until-idle");
    options.on_event = tell_worked;
    options.ctx = &worked;
    signals_watch_work(cli->engine);
    status = agent_work(cli->engine, &options, &err);
    signals_watch_work(NULL);
    if (cli->json && !cli->jsonl) {
        put_open(&cli->out, '{');
        put_count(&cli->out, "succeeded", worked.succeeded);
        put_count(&cli->out, "failed", worked.failed);
        put_count(&cli->out, "cancelled", worked.cancelled);
        put_count(&cli->out, "waiting", worked.waiting);
        put_count(&cli->out, "lost", worked.lost);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return status == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

/* --- wait --------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_open(const agent_run_result *r)
{
    return strcmp(r->status, "queued") == 0 || strcmp(r->status, "running") == 0;
}

/* Until the run has ended, or waits for a person. *out is given. */
static int await(struct cli *cli, int64_t run, int64_t until_ms, int64_t timeout_ms, agent_run_result **out)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_status status;

    for (;;) {
        int64_t left = until_ms == 0 ? -1 : until_ms - now_ms();

        if (agent_run_read(cli->engine, (agent_run_id){run}, out, &err) != AGENT_OK)
            return err.status == AGENT_ENOTFOUND ? cli_no_run(cli, run) : cli_fail(cli, &err);
        if (!is_open(*out))
            return EXIT_OK;
        if (signals_caught() != 0) {
            agent_run_result_free(*out);
            return EXIT_SIGNAL + signals_caught();
        }
        if (until_ms != 0 && left <= 0) {
            cli_err(&err, AGENT_ETIMEDOUT, 0, "run %lld is still %s after %.1f s", (long long)run, (*out)->status,
                    (double)timeout_ms / 1000);
            if (strcmp((*out)->status, "queued") == 0)
                cli_hint(&err, "a process must work on it: agentctl work");
            agent_run_result_free(*out);
            return cli_fail(cli, &err);
        }
        agent_run_result_free(*out);
        status = agent_wait_change(cli->engine, left, &err);
        if (status != AGENT_OK && status != AGENT_ETIMEDOUT)
            return cli_fail(cli, &err);
    }
}

static int wait_for(struct cli *cli, const struct args *args)
{
    int64_t timeout_ms = 0, until_ms = 0, *runs = cli_realloc(NULL, (size_t)args->count * sizeof(*runs));
    int rc = EXIT_OK, first_bad = EXIT_OK;

    for (int i = 0; i < args->count && rc == EXIT_OK; i++)
        if (!cli_run_number(args->at[i], &runs[i]))
            rc = cli_usage(cli, "agentctl list runs shows the numbers", "'%s' is no number of a run", args->at[i]);
    if (rc == EXIT_OK && (rc = cli_duration(cli, args, "timeout", &timeout_ms)) == EXIT_OK) {
        signals_install();
        rc = cli_open(cli, NEED_READ, NULL);
    }
    if (args_has(args, "timeout"))
        until_ms = now_ms() + timeout_ms;
    for (int i = 0; i < args->count && rc == EXIT_OK; i++) {
        agent_run_result *result;
        struct drive drive;
        int one;

        if ((rc = await(cli, runs[i], until_ms, timeout_ms, &result)) != EXIT_OK)
            break;
        drive_init(&drive, cli, NULL);
        one = drive_tell(&drive, result);
        first_bad = first_bad == EXIT_OK ? one : first_bad;
        drive_drop(&drive);
        agent_run_result_free(result);
    }
    free(runs);
    return rc == EXIT_OK ? first_bad : rc;
}

/* --- table ------------------------------------------------------------------------------------------------ */

static const struct option work_options[] = {
    {"jobs", 'j', "N", "runs driven at once (64)"},
    {"until-idle", 0, NULL, "end when nothing is queued any more"},
    {"aging", 0, "DUR", "who waited so long counts a class higher (30s)"},
    {0},
};
static const struct option wait_options[] = {{"timeout", 0, "DUR", "give up after: 500ms, 10s, 2m, 1h"}, {0}};

static const char *const work_examples[] = {"work", "work -j 8 --until-idle", "work --jsonl >>runs.jsonl", NULL};
static const char *const wait_examples[] = {"wait 12", "wait $(agentctl run -d demo 'What is 17*23?')",
                                            "wait 12 13 14 --timeout 1m", NULL};

const struct command cmd_work = {
    .name = "work",
    .synopsis = "",
    .summary = "drive what is queued (run -d), and what dead processes left",
    .text = "Several may work on one file. SIGTERM or ^C takes nothing new and ends when what\n"
            "runs has ended; a second one stops at once, and the runs stay for the next. A\n"
            "line on stderr tells each run's end, --jsonl the run.end objects. Exit 0 where\n"
            "the work itself went well, whatever became of the runs.",
    .options = work_options,
    .shared = cli_driving,
    .examples = work_examples,
    .max_args = 0,
    .flags = COMMAND_LINES,
    .run = work,
};

const struct command cmd_wait = {
    .name = "wait",
    .synopsis = "RUN...",
    .summary = "wait for the end of runs and tell it, as run would have",
    .text = "Drives nothing: another process must (work, run). The exit code is that of the\n"
            "first run that did not succeed; 4 where one waits for a decision, 124 after\n"
            "--timeout.",
    .options = wait_options,
    .examples = wait_examples,
    .complete = "run",
    .min_args = 1,
    .max_args = -1,
    .flags = COMMAND_LINES,
    .run = wait_for,
};
