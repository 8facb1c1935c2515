/*
 * agentctl tool add, ls, show, test, rm: what agents may call.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/rows.h"
#include "cli/show.h"

#define SCHEMA_BYTES (1u << 20)

/* --- add ----------------------------------------------------------------------------------------------- */

struct command_line {
    char **words;            /* of --exec; one free() */
    const char **positional; /* of what stands after -- */
    const char *const *argv;
};

static int read_command(struct cli *cli, const struct args *args, struct command_line *out)
{
    const char *line = args_value(args, "exec");
    agent_error err = AGENT_ERROR_INIT;

    if ((line != NULL) == (args->count > 1))
        return cli_usage(cli, "agentctl tool add NAME --exec 'CMD ARG', or NAME -- CMD ARG",
                         "tool add: give the command once, with --exec or after --");
    if (line != NULL) {
        if (text_split(line, &out->words, &err) != AGENT_OK)
            return cli_fail(cli, &err);
        out->argv = (const char *const *)out->words;
        return EXIT_OK;
    }
    out->positional = cli_alloc((size_t)args->count * sizeof(*out->positional));
    memcpy(out->positional, args->at + 1, (size_t)(args->count - 1) * sizeof(*out->positional));
    out->positional[args->count - 1] = NULL;
    out->argv = out->positional;
    return EXIT_OK;
}

static int put_tool(struct cli *cli, const struct args *args, const struct command_line *line, const char *schema)
{
    agent_command command = AGENT_COMMAND_INIT;
    agent_error err = AGENT_ERROR_INIT;
    const char *size = args_value(args, "max-output");
    size_t effect = AGENT_EFFECT_EFFECT;
    int rc;

    if (args_value(args, "effect") != NULL)
        (void)text_is_word(args_value(args, "effect"), "pure|idempotent|effect", &effect);
    command.name = args->at[0];
    command.description = args_value(args, "description");
    command.argv = line->argv;
    command.schema = schema;
    command.effect = (int)effect;
    if ((rc = cli_duration(cli, args, "timeout", &command.timeout_ms)) != EXIT_OK)
        return rc;
    if (size != NULL && !text_size(size, &command.max_output_bytes))
        return cli_usage(cli, "for example 64KB or 1MB", "--max-output: '%s' is no size", size);
    if ((rc = cli_open(cli, NEED_CREATE, NULL)) != EXIT_OK)
        return rc;
    if (agent_command_put(cli->engine, &command, args_has(args, "replace"), &err) != AGENT_OK) {
        if (err.status == AGENT_EEXISTS && err.hint[0] == '\0')
            cli_hint(&err, "--replace writes it anew");
        return cli_fail(cli, &err);
    }
    if (cli->json)
        return show_tool(cli, command.name);
    cli_note(cli, "added tool %s", command.name);
    return EXIT_OK;
}

static int add(struct cli *cli, const struct args *args)
{
    const char *schema = args_value(args, "schema");
    struct command_line line = {0};
    agent_error err = AGENT_ERROR_INIT;
    struct text text = {0};
    int rc = read_command(cli, args, &line);

    if (rc == EXIT_OK && schema != NULL && text_argument(schema, SCHEMA_BYTES, &text, &err) != AGENT_OK)
        rc = cli_fail(cli, &err);
    if (rc == EXIT_OK)
        rc = put_tool(cli, args, &line, text.at);
    free(line.words);
    free(line.positional);
    free(text.at);
    return rc;
}

/* --- ls, show, rm ------------------------------------------------------------------------------------------ */

static int ls(struct cli *cli, const struct args *args)
{
    return cli_list_of(cli, args, "tools");
}

static int show(struct cli *cli, const struct args *args)
{
    int rc = cli_open(cli, NEED_READ, NULL);

    return rc != EXIT_OK ? rc : show_tool(cli, args->at[0]);
}

static bool take_kind(void *ctx, const agent_row *row)
{
    size_t bytes;
    const char *kind = row_text(row, "kind", &bytes);

    *(char *)ctx = bytes == 0 ? '?' : kind[0];
    return true; /* a command tool may stand behind a builtin of its name */
}

static int rm(struct cli *cli, const struct args *args)
{
    const char *name = args->at[0];
    const bool is_dry = args_has(args, "dry-run");
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char kind = 0;
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    filter.name = name;
    if (agent_scan(cli->engine, AGENT_VIEW_TOOLS, &filter, take_kind, &kind, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (kind == 0) {
        cli_err(&err, AGENT_ENOTFOUND, 0, "there is no tool '%s'", name);
        return cli_fail_tool(cli, &name, 1, &err);
    }
    if (kind == 'b')
        return cli_usage(cli, "create or edit an agent with -t to leave it out", "tool rm: '%s' is builtin", name);
    if (!is_dry) {
        if ((rc = cli_confirm(cli, "remove tool %s", name)) != EXIT_OK)
            return rc;
        if (agent_command_remove(cli->engine, name, &err) != AGENT_OK)
            return cli_fail_tool(cli, &name, 1, &err);
    }
    cli_tell_removed(cli, "tool", name, is_dry);
    return EXIT_OK;
}

/* --- test ------------------------------------------------------------------------------------------------------ */

struct trial {
    struct cli *cli;
    const char *name;
    int rc;
};

static void take_result(void *ctx, const agent_tool_result *r)
{
    struct trial *trial = ctx;
    struct out *out = &trial->cli->out;
    const bool is_fine = strcmp(r->status, "succeeded") == 0;
    agent_error err;

    if (trial->cli->json) {
        put_open(out, '{');
        put_key(out, "tool");
        put_str(out, trial->name);
        put_key(out, "status");
        put_str(out, r->status);
        put_key(out, "text");
        put_strn(out, r->text == NULL ? "" : r->text, r->text_bytes);
        put_key(out, "wall_ms");
        put_unknown(out, r->wall_ms);
        put_close(out, '{');
        put_line(out);
    } else if (is_fine) {
        out_foreign(out, r->text, r->text_bytes);
        if (r->text_bytes > 0 && r->text[r->text_bytes - 1] != '\n')
            out_text(out, "\n");
    }
    if (is_fine)
        return;
    cli_err(&err, strcmp(r->status, "timeout") == 0 ? AGENT_ETIMEDOUT : AGENT_ETOOL, 0, "tool %s: %s: %.*s",
            trial->name, r->status, (int)r->text_bytes, r->text == NULL ? "" : r->text);
    trial->rc = cli_fail(trial->cli, &err);
}

static int test(struct cli *cli, const struct args *args)
{
    struct trial trial = {.cli = cli, .name = args->at[0]};
    agent_error err = AGENT_ERROR_INIT;
    struct text arguments = {0};
    int rc;

    if (args->count > 1 && text_argument(args->at[1], SCHEMA_BYTES, &arguments, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if ((rc = cli_open(cli, NEED_WRITE, NULL)) == EXIT_OK) {
        if (agent_tool_try(cli->engine, trial.name, arguments.at == NULL ? "{}" : arguments.at, take_result, &trial,
                           &err) == AGENT_OK)
            rc = trial.rc;
        else
            rc = cli_fail_tool(cli, &trial.name, 1, &err);
    }
    free(arguments.at);
    return rc;
}

/* --- table -------------------------------------------------------------------------------------------------------- */

static const struct option add_options[] = {
    {"exec", 0, "COMMAND", "split like a shell splits words, no expansion"},
    {"description", 0, "TEXT", "what it does, for the model"},
    {"schema", 0, "JSON|@FILE", "JSON Schema of its arguments (any object)"},
    {"effect", 0, "pure|idempotent|effect", "what a second call does (effect)"},
    {"timeout", 0, "DUR", "its time (60s)"},
    {"max-output", 0, "SIZE", "its output is cut there (256KB)"},
    {"replace", 0, NULL, "write it anew where the name is taken"},
    {0},
};
static const struct option ls_options[] = {
    {"name", 0, "NAME", "of this name"},
    {"limit", 'n', "N", "the newest N"},
    {"names", 0, NULL, "names only, one a line"},
    {0},
};
static const struct option rm_options[] = {{"dry-run", 0, NULL, "only tell what would be removed"}, {0}};

static const char *const add_examples[] = {
    "tool add weather --exec 'curl -s wttr.in/?format=3' --effect pure",
    "tool add mail --schema @mail.json -- ./send-mail --now",
    NULL,
};
static const char *const ls_examples[] = {"tool ls", "tool ls --json", NULL};
static const char *const show_examples[] = {"tool show calc", NULL};
static const char *const test_examples[] = {"tool test calc '{\"expression\": \"17*23\"}'", "tool test mail @arguments.json", NULL};
static const char *const rm_examples[] = {"tool rm weather -y", NULL};

const struct command cmd_tool_add = {
    .name = "tool add",
    .synopsis = "NAME [-- CMD ARG...]",
    .summary = "make a command known as a tool",
    .text = "The command gets the arguments as JSON on stdin; what it prints is the result.\n"
            "Its environment: PATH, HOME, LANG, TMPDIR, AGENT_EFFECT_ID, AGENT_RUN_ID,\n"
            "AGENT_CALL_ID. After a crash a pure or idempotent tool is called again with the\n"
            "same AGENT_EFFECT_ID; an effect tool waits for approve or deny.",
    .options = add_options,
    .examples = add_examples,
    .min_args = 1,
    .max_args = -1,
    .run = add,
};

const struct command cmd_tool_ls = {
    .name = "tool ls",
    .synopsis = "",
    .summary = "list builtin and command tools",
    .options = ls_options,
    .examples = ls_examples,
    .flags = COMMAND_LINES,
    .run = ls,
};

const struct command cmd_tool_show = {
    .name = "tool show",
    .synopsis = "NAME",
    .summary = "show a tool with its schema",
    .examples = show_examples,
    .complete = "tool",
    .min_args = 1,
    .max_args = 1,
    .run = show,
};

const struct command cmd_tool_test = {
    .name = "tool test",
    .synopsis = "NAME [JSON | @FILE | -]",
    .summary = "call a tool by hand; nothing is recorded",
    .examples = test_examples,
    .complete = "tool",
    .min_args = 1,
    .max_args = 2,
    .run = test,
};

const struct command cmd_tool_rm = {
    .name = "tool rm",
    .synopsis = "NAME",
    .summary = "remove a command tool",
    .options = rm_options,
    .examples = rm_examples,
    .complete = "tool",
    .min_args = 1,
    .max_args = 1,
    .run = rm,
};
