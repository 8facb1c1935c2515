/*
 * agentctl run: one prompt, one answer.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/agent_config.h"
#include "cli/drive.h"
#include "cli/each.h"
#include "cli/signals.h"

/* --- the prompt ---------------------------------------------------------------------------------------- */

static int read_prompt(struct cli *cli, const struct args *args, struct text *out)
{
    const char *arg = args->count > 1 ? args->at[1] : "-";
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    if (args->count > 1 && args->after_dashes <= 1) { /* after "--" a text is just that */
        out->at = cli_strdup(arg);
        out->bytes = strlen(arg);
    } else {
        if (strcmp(arg, "-") == 0 && isatty(STDIN_FILENO))
            cli_note(cli, "the prompt is read from the terminal; end it with ^D");
        rc = text_argument(arg, AGENT_INPUT_MAX, out, &err);
        if (rc == AGENT_ECANCELLED && signals_caught() != 0) {
            cli_err(&err, AGENT_ECANCELLED, 0, "cancelled before the run began");
            (void)cli_fail(cli, &err);
            return EXIT_SIGNAL + signals_caught();
        }
        if (rc == AGENT_ETOOBIG)
            cli_hint(&err, "a prompt holds %d bytes at most", AGENT_INPUT_MAX);
        if (rc != AGENT_OK)
            return cli_fail(cli, &err);
    }
    if (out->bytes == 0) {
        free(out->at);
        out->at = NULL;
        return cli_usage(cli, "agentctl run NAME 'what you want to ask'", "run: the prompt is empty");
    }
    return EXIT_OK;
}

/* --- run ---------------------------------------------------------------------------------------------------- */

static int fill_session(struct cli *cli, const struct args *args, agent_run_request *request)
{
    const char *spec = args_value(args, "session");

    request->latest_session = args_has(args, "continue");
    if (spec == NULL)
        return EXIT_OK;
    if (request->latest_session)
        return cli_usage(cli, NULL, "run: -S and -c exclude each other");
    if (*spec == '\0')
        return cli_usage(cli, NULL, "run: the name of the session is empty");
    if (*spec != '#')
        request->session_name = spec;
    else if (!cli_run_number(spec, &request->session.id))
        return cli_usage(cli, "-S '#12' is the session of that number", "run: '%s' is no number of a session", spec);
    return EXIT_OK;
}

static int fill_request(struct cli *cli, const struct args *args, agent_run_request *request, char **out_options)
{
    static const int priorities[] = {AGENT_PRIORITY_HIGH, AGENT_PRIORITY_NORMAL, AGENT_PRIORITY_LOW};
    const char *priority = args_value(args, "priority");
    const char *on_busy = args_value(args, "on-busy");
    size_t which = 1, busy = 0;
    int rc;

    if ((rc = fill_session(cli, args, request)) != EXIT_OK ||
        (rc = cli_duration(cli, args, "timeout", &request->timeout_ms)) != EXIT_OK ||
        (rc = config_options(cli, args, NULL, out_options)) != EXIT_OK)
        return rc;
    if (args_has(args, "timeout") && request->timeout_ms == 0)
        return cli_usage(cli, "for example 500ms, 10s, 2m or 1h", "--timeout: 0 leaves no time");
    if (priority != NULL)
        (void)text_is_word(priority, "high|normal|low", &which);
    if (on_busy != NULL && text_is_word(on_busy, "queue|fail", &busy))
        request->on_busy = busy == 1 ? AGENT_ON_BUSY_FAIL : AGENT_ON_BUSY_QUEUE;
    request->agent = args->at[0];
    request->priority = priorities[which];
    request->options = *out_options;
    request->no_stream = args_has(args, "no-stream");
    request->idempotency_key = args_value(args, "idempotency-key");
    return EXIT_OK;
}

/* run -d: its number is what the command has to say. */
static int queue_it(struct cli *cli, const agent_run_request *request)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_run_id id;

    if (agent_run_enqueue(cli->engine, request, &id, &err) != AGENT_OK)
        return cli_fail_agent(cli, request->agent, &err);
    cli->owes_run_end = false; /* it has not ended, nor begun */
    if (cli->json || cli->jsonl) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "run");
        put_int(&cli->out, id.id);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        out_fmt(&cli->out, "%lld\n", (long long)id.id);
    }
    return EXIT_OK;
}

static int run(struct cli *cli, const struct args *args)
{
    agent_run_request request = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct text prompt = {0};
    struct drive drive;
    char *options = NULL;
    agent_run *handle = NULL;
    int rc;

    signals_install();
    if (args_has(args, "each")) {
        if ((rc = fill_request(cli, args, &request, &options)) == EXIT_OK)
            rc = each_run(cli, args, &request);
        free(options);
        return rc;
    }
    drive_init(&drive, cli, args->at[0]);
    if ((rc = fill_request(cli, args, &request, &options)) == EXIT_OK &&
        (rc = read_prompt(cli, args, &prompt)) == EXIT_OK && (rc = cli_open(cli, NEED_CREATE, args)) == EXIT_OK) {
        request.input = prompt.at;
        request.input_bytes = prompt.bytes;
        request.on_event = drive_event;
        request.ctx = &drive;
        if (args_has(args, "detach"))
            rc = queue_it(cli, &request);
        else if (agent_run_start(cli->engine, &request, &handle, &err) == AGENT_OK)
            rc = drive_to_end(&drive, handle);
        else
            rc = cli_fail_agent(cli, args->at[0], &err);
    }
    free(prompt.at);
    free(options);
    drive_drop(&drive);
    return rc;
}

static const struct option options[] = {
    {"session", 'S', "SESSION", "a session: its name (made if need be) or #ID"},
    {"continue", 'c', NULL, "the agent's latest session goes on"},
    {"detach", 'd', NULL, "queue it and print its number; see work"},
    {"priority", 'p', "high|normal|low", "before or after other runs (normal)"},
    {"on-busy", 0, "queue|fail", "where the session has a run that goes on"},
    {"timeout", 0, "DUR", "the run's time: 500ms, 10s, 2m, 1h"},
    {"no-stream", 0, NULL, "one answer from the provider, no stream"},
    {"option", 'o', "KEY=VALUE", "laid over the agent's options for this run"},
    {"cache", 0, "on|off|read-only|refresh", "use and keep answers, or ask anew"},
    {"idempotency-key", 0, "KEY", "a second run with it is the first one"},
    {"each", 0, "FILE", "one run for each line of it; - is stdin"},
    {"jobs", 'j', "N", "so many of its lines at once (4)"},
    {"out", 0, "FILE", "where its results go; goes on if cut off"},
    {"unordered", 0, NULL, "its results as they come"},
    {"max-failures", 0, "N", "stop once so many lines have failed"},
    {"restart", 0, NULL, "--out begins anew, whatever is there"},
    {0},
};

static const char *const examples[] = {
    "run demo 'What is 17*23?'",
    "git diff | agentctl run reviewer -",
    "run demo --each prompts.jsonl -j 8 --out answers.jsonl",
    NULL,
};

const struct command cmd_run = {
    .name = "run",
    .synopsis = "NAME [PROMPT | @FILE | - | --each FILE]",
    .summary = "ask an agent; the answer goes to stdout",
    .text = "Without PROMPT, or with -, standard input is the prompt. Without -S or -c the\n"
            "session is a new one. A line of --each is a JSON string or {\"prompt\": …,\n"
            "\"session\"?: …, \"id\"?: …}; with --out it goes on after ^C or a crash.",
    .options = options,
    .shared = cli_driving,
    .examples = examples,
    .complete = "agent",
    .min_args = 1,
    .max_args = 2,
    .flags = COMMAND_LINES | COMMAND_RUNS,
    .run = run,
};
