/*
 * agentctl run --each: what the command line asks of a batch, and what is told of it at its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/each_batch.h"
#include "cli/signals.h"

#define JOBS_DEFAULT 4
#define JOBS_MAX 100000

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
        batch_stop(b, STOP_ERROR, &err);
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

int each_run(struct cli *cli, const struct args *args, const agent_run_request *request)
{
    struct batch b = {.cli = cli, .request = request, .in.fd = -1, .out.fd = -1, .wake = {-1, -1}};
    int rc;

    cli->owes_run_end = false; /* its lines are results, one for each line */
    b.in_order = !args_has(args, "unordered");
    if ((rc = check(cli, args, &b)) == EXIT_OK && (rc = open_all(cli, args, &b)) == EXIT_OK) {
        b.to_stdout = cli->jsonl || (b.out.fd < 0 && !cli->json);
        batch_init(&b);
        each_bar_begin(&b.bar, !cli->is_quiet && isatty(STDERR_FILENO), b.in.bytes);
        batch_work(&b);
        rc = end(&b, args_value(args, "each"), args->at[0]);
    }
    if (cli_trace_end(cli) != EXIT_OK && rc == EXIT_OK)
        rc = EXIT_RUN_FAILED;
    agent_close(cli->engine); /* its workers know the batch */
    cli->engine = NULL;
    batch_drop(&b);
    return rc;
}
