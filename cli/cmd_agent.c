/*
 * agentctl create, edit, rm: named configurations.
 */
#include "cli/agent_config.h"
#include "cli/rows.h"

static int put(struct cli *cli, const struct config *c, enum agent_create_mode mode)
{
    agent_error err = AGENT_ERROR_INIT;
    int64_t version = 0;

    if (agent_create(cli->engine, c->name, &c->config, mode, &version, &err) != AGENT_OK) {
        if (err.status == AGENT_EEXISTS && err.hint[0] == '\0')
            cli_hint(&err, "agentctl edit %s changes it; --replace and --if-not-exists go on", c->name);
        if (err.status == AGENT_ENOTFOUND && mode == AGENT_CREATE_EDIT)
            return cli_fail_agent(cli, c->name, &err);
        return cli_fail_tool(cli, c->config.tools, c->config.tool_count, &err);
    }
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "name");
        put_str(&cli->out, c->name);
        put_key(&cli->out, "version");
        put_int(&cli->out, version);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else if (mode == AGENT_CREATE_NEW) {
        cli_note(cli, "created agent %s (version %lld)", c->name, (long long)version);
    } else {
        cli_note(cli, "agent %s is at version %lld", c->name, (long long)version);
    }
    return EXIT_OK;
}

static int create(struct cli *cli, const struct args *args)
{
    const bool is_lenient = args_has(args, "if-not-exists"), is_replace = args_has(args, "replace");
    struct config c;
    int rc;

    if (is_lenient && is_replace)
        return cli_usage(cli, NULL, "create: --if-not-exists and --replace exclude each other");
    rc = config_read(cli, args, &c);
    if (rc == EXIT_OK && c.name == NULL)
        rc = cli_usage(cli, "usage: agentctl create NAME …, or a \"name\" in the file", "create: the name is missing");
    if (rc == EXIT_OK && (rc = cli_open(cli, NEED_CREATE, NULL)) == EXIT_OK)
        rc = put(cli, &c,
                 is_lenient ? AGENT_CREATE_IF_NOT_EXISTS : is_replace ? AGENT_CREATE_REPLACE : AGENT_CREATE_NEW);
    config_drop(&c);
    return rc;
}

static int edit(struct cli *cli, const struct args *args)
{
    struct config c;
    int rc = config_read(cli, args, &c);

    if (rc == EXIT_OK && config_is_empty(&c))
        rc = cli_usage(cli, "agentctl edit --help lists what can be changed", "edit: nothing to change is given");
    if (rc == EXIT_OK && (rc = cli_open(cli, NEED_WRITE, NULL)) == EXIT_OK)
        rc = put(cli, &c, AGENT_CREATE_EDIT);
    config_drop(&c);
    return rc;
}

/* --- rm -------------------------------------------------------------------------------------------------- */

struct content {
    int64_t agents, sessions, runs, memories;
};

static bool take_agent(void *ctx, const agent_row *row)
{
    struct content *content = ctx;

    content->agents++;
    content->sessions = row_int(row, "sessions");
    content->runs = row_int(row, "runs");
    return true;
}

static bool count_memory(void *ctx, const agent_row *row)
{
    (void)row;
    ((struct content *)ctx)->memories++;
    return true;
}

static void tell_removed(struct cli *cli, const char *name, const struct content *c, bool is_dry)
{
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "name");
        put_str(&cli->out, name);
        put_key(&cli->out, "removed");
        put_bool(&cli->out, !is_dry);
        put_key(&cli->out, "sessions");
        put_int(&cli->out, c->sessions);
        put_key(&cli->out, "runs");
        put_int(&cli->out, c->runs);
        put_key(&cli->out, "memory");
        put_int(&cli->out, c->memories);
        put_close(&cli->out, '{');
        put_line(&cli->out);
        return;
    }
    cli_note(cli, "%s agent %s: sessions %lld, runs %lld, memories %lld", is_dry ? "would remove" : "removed", name,
             (long long)c->sessions, (long long)c->runs, (long long)c->memories);
}

static int rm(struct cli *cli, const struct args *args)
{
    const char *name = args->at[0];
    const bool is_dry = args_has(args, "dry-run");
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct content content = {0};
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    filter.agent = name;
    if (agent_scan(cli->engine, AGENT_VIEW_AGENTS, &filter, take_agent, &content, &err) != AGENT_OK ||
        agent_scan(cli->engine, AGENT_VIEW_MEMORY, &filter, count_memory, &content, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (content.agents == 0) {
        cli_err(&err, AGENT_ENOTFOUND, 0, "there is no agent '%s'", name);
        return cli_fail_agent(cli, name, &err);
    }
    if (!is_dry) {
        rc = cli_confirm(cli, "remove agent %s with its sessions (%lld), runs (%lld) and memories (%lld)", name,
                         (long long)content.sessions, (long long)content.runs, (long long)content.memories);
        if (rc != EXIT_OK)
            return rc;
        if (agent_remove(cli->engine, name, &err) != AGENT_OK) {
            if (err.status == AGENT_EBUSY && err.hint[0] == '\0')
                cli_hint(&err, "agentctl list runs --agent %s --status running shows what is live", name);
            return cli_fail(cli, &err);
        }
    }
    tell_removed(cli, name, &content, is_dry);
    return EXIT_OK;
}

/* --- table --------------------------------------------------------------------------------------------- */

static const struct option create_options[] = {
    {"if-not-exists", 0, NULL, "an agent of this name is left as it is"},
    {"replace", 0, NULL, "… gets a new version"},
    {0},
};

static const struct option rm_options[] = {{"dry-run", 0, NULL, "only tell what would be removed"}, {0}};

static const char *const create_examples[] = {
    "create demo",
    "create poet -m openai:gpt-4o-mini -s 'Answer in rhyme.'",
    "create local -m openai:llama3 --base-url http://127.0.0.1:11434/v1",
    "create -f agent.json --replace",
    NULL,
};
static const char *const edit_examples[] = {"edit poet -o temperature=0.2", "edit poet -s @instructions.txt", NULL};
static const char *const rm_examples[] = {"rm demo --dry-run", "rm demo -y", NULL};

const struct command cmd_create = {
    .name = "create",
    .synopsis = "NAME",
    .summary = "make an agent",
    .text = "Without -m the model is offline:demo, which needs no key and no network.\n"
            "NAME may come from the file of -f: JSON with name, model, instructions, tools,\n"
            "options, base_url, key_env, max_steps.",
    .options = create_options,
    .shared = config_flags,
    .examples = create_examples,
    .max_args = 1,
    .run = create,
};

const struct command cmd_edit = {
    .name = "edit",
    .synopsis = "NAME",
    .summary = "change an agent: a new version of it",
    .text = "What is not given stays. -o KEY=null takes an option away. Sessions go on with\n"
            "the new version; runs that have begun keep theirs.",
    .shared = config_flags,
    .examples = edit_examples,
    .complete = "agent",
    .min_args = 1,
    .max_args = 1,
    .run = edit,
};

const struct command cmd_rm = {
    .name = "rm",
    .synopsis = "NAME",
    .summary = "remove an agent with its sessions, runs and memory",
    .options = rm_options,
    .examples = rm_examples,
    .complete = "agent",
    .min_args = 1,
    .max_args = 1,
    .run = rm,
};
