/*
 * agentctl show and logs: one thing, all of it.
 */
#include "cli/show.h"

#include <stdlib.h>
#include <string.h>

#include "cli/rows.h"

#define COLUMNS(...) (const char *const[]){__VA_ARGS__, NULL}

/* How one row is told, and what is told with it. */
struct told {
    struct cli *cli;
    const struct field {
        const char *column, *name;
    } *fields;
    int64_t count;
};

static bool tell_row(void *ctx, const agent_row *row)
{
    struct told *told = ctx;
    struct out *out = &told->cli->out;

    told->count++;
    if (told->cli->json)
        put_row_members(out, row);
    else
        for (const struct field *f = told->fields; f->column != NULL; f++)
            fields_cell(out, row, f->column, f->name);
    return false;
}

/* The row of a view that the filter names; EXIT_NOT_FOUND is left to the caller (count stays 0). */
static agent_status tell(struct told *told, enum agent_view view, const agent_filter *filter, agent_error *err)
{
    return agent_scan(told->cli->engine, view, filter, tell_row, told, err);
}

/* A table of a view under a heading; nothing where it is empty. */
static agent_status tell_table(struct cli *cli, const char *heading, enum agent_view view, const agent_filter *filter,
                               const char *const *columns, agent_error *err)
{
    struct rows rows;
    agent_status rc;

    rows_begin(&rows, cli, columns);
    rc = agent_scan(cli->engine, view, filter, rows_take, &rows, err);
    if (rc == AGENT_OK && rows.count > 0)
        out_fmt(&cli->out, "\n%s\n", heading);
    rows_end(&rows);
    return rc;
}

/* --- agent ----------------------------------------------------------------------------------------------- */

static const struct field agent_fields[] = {
    {"name", "name"},         {"version", "version"},       {"provider", "provider"}, {"model", "model"},
    {"tools", "tools"},       {"sessions", "sessions"},     {"runs", "runs"},         {"created_at", "created"},
    {"updated_at", "updated"}, {"last_run_at", "last run"}, {NULL, NULL},
};
static const struct field version_fields[] = {
    {"options", "options"}, {"base_url", "base url"}, {"key_env", "key variable"}, {"max_steps", "max steps"},
    {"instructions", "instructions"}, {NULL, NULL},
};

static void put_text_column(struct out *out, const agent_row *row, const char *column, const char *key, bool is_json)
{
    size_t bytes;
    const char *text = row_text(row, column, &bytes);
    char *copy = cli_format("%.*s", (int)bytes, text);

    if (bytes > 0) { /* what is not said is left out, as in a file that people write */
        put_key(out, key);
        if (is_json)
            put_embed(out, copy);
        else
            put_strn(out, text, bytes);
    }
    free(copy);
}

/* The newest version in the form that create -f reads. */
static bool tell_config(void *ctx, const agent_row *row)
{
    struct told *told = ctx;
    struct out *out = &told->cli->out;
    size_t provider_bytes, model_bytes;
    const char *provider = row_text(row, "provider", &provider_bytes), *model = row_text(row, "model", &model_bytes);
    char *full;

    if (!told->cli->json) {
        for (const struct field *f = told->fields; f->column != NULL; f++)
            fields_cell(out, row, f->column, f->name);
        return false;
    }
    full = cli_format("%.*s:%.*s", (int)provider_bytes, provider, (int)model_bytes, model);
    put_key(out, "config");
    put_open(out, '{');
    put_text_column(out, row, "agent", "name", false);
    put_key(out, "model");
    put_str(out, full);
    put_text_column(out, row, "instructions", "instructions", false);
    put_text_column(out, row, "tools", "tools", true);
    put_text_column(out, row, "options", "options", true);
    put_text_column(out, row, "base_url", "base_url", false);
    put_text_column(out, row, "key_env", "key_env", false);
    if (row_int(row, "max_steps") > 0) {
        put_key(out, "max_steps");
        put_int(out, row_int(row, "max_steps"));
    }
    put_close(out, '{');
    free(full);
    return false;
}

int show_agent(struct cli *cli, const char *name)
{
    struct told told = {.cli = cli, .fields = agent_fields};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    filter.agent = name;
    if (cli->json)
        put_open(&cli->out, '{');
    rc = tell(&told, AGENT_VIEW_AGENTS, &filter, &err);
    if (rc == AGENT_OK && told.count == 0) {
        cli->out.bytes = 0; /* the brace */
        cli_err(&err, AGENT_ENOTFOUND, 0, "there is no agent '%s'", name);
        return cli_fail_agent(cli, name, &err);
    }
    filter.limit = 1;
    filter.newest_first = true;
    told.fields = version_fields;
    if (rc == AGENT_OK)
        rc = agent_scan(cli->engine, AGENT_VIEW_VERSIONS, &filter, tell_config, &told, &err);
    if (rc != AGENT_OK) {
        cli->out.bytes = 0;
        return cli_fail(cli, &err);
    }
    if (cli->json) {
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return EXIT_OK;
}

/* --- run --------------------------------------------------------------------------------------------------- */

static const struct field run_fields[] = {
    {"id", "run"},           {"trace_id", "trace"},        {"agent", "agent"},         {"agent_version", "version"},
    {"session_id", "session"}, {"status", "status"},       {"priority", "priority"},   {"attempts", "attempts"},
    {"queued_at", "queued"}, {"started_at", "started"},    {"ended_at", "ended"},      {"queue_ms", "queue ms"},
    {"wall_ms", "wall ms"},  {"input_tokens", "input tokens"}, {"output_tokens", "output tokens"},
    {"cache_hit", "cache hit"}, {"rss_peak_bytes", "rss peak bytes"}, {"input", "input"}, {"output", "output"},
    {"error", "error"},      {NULL, NULL},
};

int show_run(struct cli *cli, int64_t run)
{
    struct told told = {.cli = cli, .fields = run_fields};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    filter.run_id = run;
    if (cli->json)
        put_open(&cli->out, '{');
    rc = tell(&told, AGENT_VIEW_RUNS, &filter, &err);
    if (rc == AGENT_OK && told.count == 0) {
        cli->out.bytes = 0;
        return cli_no_run(cli, run);
    }
    if (rc == AGENT_OK && cli->json) {
        if ((rc = rows_json(cli, "steps", AGENT_VIEW_STEPS, &filter, &err)) == AGENT_OK &&
            (rc = rows_json(cli, "tool_calls", AGENT_VIEW_TOOL_CALLS, &filter, &err)) == AGENT_OK)
            rc = rows_json(cli, "stages", AGENT_VIEW_STAGE_MEMORY, &filter, &err);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else if (rc == AGENT_OK) {
        if ((rc = tell_table(cli, "steps", AGENT_VIEW_STEPS, &filter,
                             COLUMNS("step", "kind", "status", "attempt", "wall_ms", "input_tokens", "output_tokens",
                                     "tool", "error"),
                             &err)) == AGENT_OK)
            rc = tell_table(cli, "tool calls", AGENT_VIEW_TOOL_CALLS, &filter,
                            COLUMNS("call_id", "tool", "effect", "status", "wall_ms", "arguments", "result"), &err);
        if (rc == AGENT_OK)
            rc = tell_table(cli, "stages", AGENT_VIEW_STAGE_MEMORY, &filter,
                            COLUMNS("step", "stage", "wall_us", "commit_us", "rss_peak_bytes", "heap_peak_bytes"), &err);
    }
    return rc == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

/* --- session -------------------------------------------------------------------------------------------------- */

static const struct field session_fields[] = {
    {"id", "session"}, {"agent", "agent"}, {"name", "name"}, {"created_at", "created"}, {"last_at", "last"},
    {"turns", "turns"}, {"messages", "messages"}, {"input_tokens", "input tokens"}, {"output_tokens", "output tokens"},
    {NULL, NULL},
};

static bool tell_message(void *ctx, const agent_row *row)
{
    struct out *out = ctx;
    size_t role_bytes, tool_bytes, bytes;
    const char *role = row_text(row, "role", &role_bytes), *tool = row_text(row, "tool_name", &tool_bytes);
    const char *text = row_text(row, "text", &bytes);

    out_fmt(out, "\n[%lld] %.*s%s%.*s\n", (long long)row_int(row, "seq"), (int)role_bytes, role,
            tool_bytes > 0 ? " " : "", (int)tool_bytes, tool);
    out_foreign(out, text, bytes);
    if (bytes > 0 && text[bytes - 1] != '\n')
        out_text(out, "\n");
    return !out->is_closed;
}

int show_session(struct cli *cli, int64_t session)
{
    struct told told = {.cli = cli, .fields = session_fields};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;

    filter.session_id = session;
    if (cli->json)
        put_open(&cli->out, '{');
    rc = tell(&told, AGENT_VIEW_SESSIONS, &filter, &err);
    if (rc == AGENT_OK && cli->json) {
        rc = rows_json(cli, "transcript", AGENT_VIEW_MESSAGES, &filter, &err);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else if (rc == AGENT_OK) {
        rc = agent_scan(cli->engine, AGENT_VIEW_MESSAGES, &filter, tell_message, &cli->out, &err);
    }
    return rc == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

/* --- tool ------------------------------------------------------------------------------------------------------ */

static const struct field tool_fields[] = {
    {"name", "name"},       {"kind", "kind"}, {"effect", "effect"}, {"timeout_ms", "timeout ms"},
    {"argv", "command"},    {"created_at", "created"}, {"description", "description"}, {"schema", "schema"},
    {NULL, NULL},
};

int show_tool(struct cli *cli, const char *name)
{
    struct told told = {.cli = cli, .fields = tool_fields};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;

    filter.name = name;
    if (cli->json)
        put_open(&cli->out, '{');
    if (tell(&told, AGENT_VIEW_TOOLS, &filter, &err) != AGENT_OK) {
        cli->out.bytes = 0;
        return cli_fail(cli, &err);
    }
    if (told.count == 0) {
        cli->out.bytes = 0;
        cli_err(&err, AGENT_ENOTFOUND, 0, "there is no tool '%s'", name);
        return cli_fail_tool(cli, &name, 1, &err);
    }
    if (cli->json) {
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return EXIT_OK;
}

/* --- show ------------------------------------------------------------------------------------------------------- */

static int show(struct cli *cli, const struct args *args)
{
    const char *first = args->at[0];
    int64_t number = 0;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    if (args->count == 1)
        return cli_run_number(first, &number) ? show_run(cli, number) : show_agent(cli, first);
    if (strcmp(first, "session") == 0)
        return (rc = cli_session(cli, args, 1, &number)) != EXIT_OK ? rc : show_session(cli, number);
    if (args->count > 2)
        return cli_usage(cli, "usage: agentctl show AGENT | RUN | run RUN | session [AGENT] SESSION | tool NAME",
                         "show: '%s' is one argument too many", args->at[2]);
    if (strcmp(first, "agent") == 0)
        return show_agent(cli, args->at[1]);
    if (strcmp(first, "tool") == 0)
        return show_tool(cli, args->at[1]);
    if (strcmp(first, "run") == 0 && cli_run_number(args->at[1], &number))
        return show_run(cli, number);
    if (strcmp(first, "run") == 0)
        return cli_usage(cli, "agentctl list runs shows the numbers", "'%s' is no number of a run", args->at[1]);
    return cli_usage(cli, "it is one of agent, run, session, tool", "show: '%s' is nothing that can be shown", first);
}

/* --- logs --------------------------------------------------------------------------------------------------------- */

static bool tell_line(void *ctx, const agent_row *row)
{
    struct out *out = ctx;
    size_t at_bytes, kind_bytes, bytes;
    const char *at = row_text(row, "at", &at_bytes), *kind = row_text(row, "kind", &kind_bytes);
    const char *text = row_text(row, "text", &bytes);

    out_fmt(out, "%-24.*s  %-8.*s  ", (int)at_bytes, at, (int)kind_bytes, kind);
    out_foreign(out, text, bytes);
    out_text(out, "\n");
    return !out->is_closed;
}

static int logs(struct cli *cli, const struct args *args)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    bool is_there = false;
    agent_status status;
    int rc;

    if (!cli_run_number(args->at[0], &filter.run_id))
        return cli_usage(cli, "agentctl list runs shows the numbers", "'%s' is no number of a run", args->at[0]);
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    status = cli_any(cli, AGENT_VIEW_RUNS, &filter, &is_there, &err);
    if (status == AGENT_OK && !is_there)
        return cli_no_run(cli, filter.run_id);
    if (status == AGENT_OK && (cli->json || cli->jsonl)) {
        struct rows rows;

        rows_begin(&rows, cli, NULL);
        status = agent_scan(cli->engine, AGENT_VIEW_LOG, &filter, rows_take, &rows, &err);
        rows_end(&rows);
    } else if (status == AGENT_OK) {
        status = agent_scan(cli->engine, AGENT_VIEW_LOG, &filter, tell_line, &cli->out, &err);
    }
    return status == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

static const char *const show_examples[] = {"show demo", "show run 12", "show session '#3'", "show demo --json | jq .config", NULL};
static const char *const logs_examples[] = {"logs 12", "logs 12 --jsonl", NULL};

const struct command cmd_show = {
    .name = "show",
    .synopsis = "AGENT | RUN | run RUN | session [AGENT] SESSION | tool NAME",
    .summary = "show an agent, a run, a session or a tool",
    .text = "A bare number is a run, another word an agent. --json of an agent has its\n"
            "configuration in the form that create -f reads.",
    .examples = show_examples,
    .complete = "agent",
    .min_args = 1,
    .max_args = 3,
    .run = show,
};

const struct command cmd_logs = {
    .name = "logs",
    .synopsis = "RUN",
    .summary = "the story of a run, line by line",
    .examples = logs_examples,
    .complete = "run",
    .min_args = 1,
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = logs,
};
