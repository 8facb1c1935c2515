/*
 * agentctl cache trace: what engines at work ask of their front caches, recorded for bench cache;
 * and --cache-trace of the commands that run, which records their own process.
 */
#include <time.h>

#include "cli/cmd.h"
#include "cli/signals.h"

#define LOOK_NS 100000000

static void put_result(struct cli *cli, const char *path, const agent_cache_trace_result *r)
{
    struct out *out = &cli->out;

    put_open(out, '{');
    put_key(out, "trace");
    put_str(out, path);
    put_key(out, "requests");
    put_int(out, r->requests);
    put_key(out, "hits");
    put_int(out, r->hits);
    put_key(out, "hit_ratio");
    put_real(out, (double)r->hits / (double)r->requests);
    put_key(out, "dropped");
    put_int(out, r->dropped);
    put_key(out, "processes");
    put_int(out, r->processes);
    put_key(out, "is_full");
    put_bool(out, r->is_full);
    put_key(out, "is_late");
    put_bool(out, r->is_late);
    put_close(out, '{');
    put_line(out);
}

static void tell_result(const struct cli *cli, const char *path, const agent_cache_trace_result *r)
{
    cli_note(cli, "%s: %lld requests of %lld process%s, %.2f %% of them hits", path, (long long)r->requests,
             (long long)r->processes, r->processes == 1 ? "" : "es", 100 * (double)r->hits / (double)r->requests);
    if (r->dropped > 0)
        cli_note(cli, "%lld more came too fast to be written", (long long)r->dropped);
    if (r->is_full)
        cli_note(cli, "the limit of bytes was reached: what came then is not in it");
    if (r->is_late)
        cli_note(cli, "an engine did not answer at the end: its last requests may be missing");
}

/* --- agentctl cache trace ------------------------------------------------------------------------------------ */

/* Until its time is over, it is full, or a signal comes. */
static agent_status await_end(agent_cache_trace *trace, int64_t for_ms, agent_error *err)
{
    agent_cache_trace_result r = AGENT_CACHE_TRACE_RESULT_INIT;
    struct timespec began, now;
    agent_status rc = AGENT_OK;

    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    while (signals_caught() == 0 && rc == AGENT_OK && !r.is_full) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (for_ms > 0 && (now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000 >= for_ms)
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        rc = agent_cache_trace_look(trace, &r, err);
    }
    return rc;
}

static int trace(struct cli *cli, const struct args *args)
{
    agent_cache_trace_options options = AGENT_CACHE_TRACE_OPTIONS_INIT;
    agent_cache_trace_result result = AGENT_CACHE_TRACE_RESULT_INIT;
    const char *bytes = args_value(args, "max-bytes");
    agent_error err = AGENT_ERROR_INIT;
    agent_cache_trace *t;
    agent_status status;
    int rc;

    options.path = args->at[0];
    if ((rc = cli_duration(cli, args, "for", &options.for_ms)) != EXIT_OK)
        return rc;
    if (args_has(args, "for") && options.for_ms == 0)
        return cli_usage(cli, "for example 30s, 10m or 1h", "--for: 0 leaves no time");
    if (bytes != NULL && (!text_size(bytes, &options.max_bytes) || options.max_bytes == 0))
        return cli_usage(cli, "for example 64MB, of 24 bytes a request", "--max-bytes: '%s' is no size", bytes);
    signals_install();
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    if (agent_cache_trace_start(cli->engine, &options, &t, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (options.for_ms == 0)
        cli_note(cli, "recording the requests of engines at work on '%s'; ^C ends it", cli->db_path);
    status = await_end(t, options.for_ms, &err);
    if (status != AGENT_OK)
        (void)agent_cache_trace_stop(t, NULL, NULL);
    else
        status = agent_cache_trace_stop(t, &result, &err);
    if (status != AGENT_OK)
        return cli_fail(cli, &err);
    tell_result(cli, options.path, &result);
    if (cli->json)
        put_result(cli, options.path, &result);
    return EXIT_OK;
}

/* --- --cache-trace ----------------------------------------------------------------------------------------------- */

int cli_trace_begin(struct cli *cli, const struct args *args)
{
    agent_cache_trace_options options = AGENT_CACHE_TRACE_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;

    options.path = cli->trace_path = args_value(args, "cache-trace");
    options.own_only = true;
    if (options.path != NULL && agent_cache_trace_start(cli->engine, &options, &cli->trace, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return EXIT_OK;
}

int cli_trace_end(struct cli *cli)
{
    agent_cache_trace_result result = AGENT_CACHE_TRACE_RESULT_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_cache_trace *t = cli->trace;

    if (t == NULL)
        return EXIT_OK;
    cli->trace = NULL;
    if (agent_cache_trace_stop(t, &result, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    tell_result(cli, cli->trace_path, &result);
    return EXIT_OK;
}

static const struct option options[] = {
    {"for", 0, "DUR", "end after: 30s, 10m, 1h (until ^C)"},
    {"max-bytes", 0, "SIZE", "record no more, at 24 bytes a request (64MB)"},
    {0},
};

static const char *const examples[] = {"cache trace requests.bin --for 10m", "cache trace requests.csv --max-bytes 1GB",
                                       "bench cache --trace requests.bin --bytes 32MB", NULL};

const struct command cmd_cache_trace = {
    .name = "cache trace",
    .synopsis = "FILE",
    .summary = "record what engines at work ask of their caches",
    .text = "FILE is .csv or .bin, for bench cache. All processes that work on the database\n"
            "are heard, from a second after the beginning on, new ones at once; no request\n"
            "waits for it. Meanwhile FILE.db-trace stands beside the database FILE.db. Only\n"
            "requests that find something are recorded. --cache-trace of run and work\n"
            "records one process, from its beginning to its end.",
    .options = options,
    .examples = examples,
    .complete = "file",
    .min_args = 1,
    .max_args = 1,
    .run = trace,
};
