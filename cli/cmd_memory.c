/*
 * agentctl memory ls, set, search, rm: what an agent remembers between its sessions.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/rows.h"

#define MEMORY_BYTES (1u << 20)

static int ls(struct cli *cli, const struct args *args)
{
    return cli_list_of(cli, args, "memory");
}

static int set(struct cli *cli, const struct args *args)
{
    const char *agent = args->at[0], *key = args->count > 2 ? args->at[1] : NULL;
    agent_error err = AGENT_ERROR_INIT;
    struct text text;
    int64_t id = 0;
    int rc;

    if (text_argument(args->at[args->count - 1], MEMORY_BYTES, &text, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (text.bytes == 0 || strlen(text.at) != text.bytes) {
        rc = cli_usage(cli, NULL, "memory set: the text %s", text.bytes == 0 ? "is empty" : "holds a NUL byte");
        free(text.at);
        return rc;
    }
    if ((rc = cli_open(cli, NEED_CREATE, NULL)) == EXIT_OK &&
        agent_memory_set(cli->engine, agent, args_value(args, "scope"), key, text.at, &id, &err) != AGENT_OK)
        rc = cli_fail_agent(cli, agent, &err);
    free(text.at);
    if (rc != EXIT_OK)
        return rc;
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "id");
        put_int(&cli->out, id);
        put_key(&cli->out, "agent");
        put_str(&cli->out, agent);
        put_key(&cli->out, "key");
        put_str(&cli->out, key);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        cli_note(cli, "%s remembers %s (memory %lld)", agent, key == NULL ? "it" : key, (long long)id);
    }
    return EXIT_OK;
}

static int find(struct cli *cli, const struct args *args)
{
    static const char *const columns[] = {"id", "scope", "key", "text", "updated_at", NULL};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct rows rows;
    int rc;

    filter.agent = args->at[0];
    filter.search = args->at[1];
    filter.scope = args_value(args, "scope");
    filter.limit = 20;
    if ((rc = cli_number(cli, args, "limit", 1, INT64_MAX, &filter.limit)) != EXIT_OK ||
        (rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    rows_begin(&rows, cli, columns);
    if (agent_scan(cli->engine, AGENT_VIEW_MEMORY, &filter, rows_take, &rows, &err) != AGENT_OK)
        return cli_fail_agent(cli, filter.agent, &err);
    rc = rows.count == 0 ? cli_check_agent(cli, filter.agent) : EXIT_OK;
    if (rc == EXIT_OK)
        rows_end(&rows);
    return rc;
}

static int rm(struct cli *cli, const struct args *args)
{
    const char *agent = args->at[0], *key = args->at[1], *scope = args_value(args, "scope");
    const bool is_dry = args_has(args, "dry-run");
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    bool is_there = false;
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    filter.agent = agent;
    filter.name = key;
    filter.scope = scope;
    if (cli_any(cli, AGENT_VIEW_MEMORY, &filter, &is_there, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (!is_there) {
        if ((rc = cli_check_agent(cli, agent)) != EXIT_OK)
            return rc;
        cli_err(&err, AGENT_ENOTFOUND, 0, "agent '%s' has no memory '%s'", agent, key);
        cli_hint(&err, "agentctl memory ls %s lists them", agent);
        return cli_fail(cli, &err);
    }
    if (!is_dry) {
        if ((rc = cli_confirm(cli, "remove memory %s of agent %s", key, agent)) != EXIT_OK)
            return rc;
        if (agent_memory_remove(cli->engine, agent, scope, key, &err) != AGENT_OK)
            return cli_fail(cli, &err);
    }
    cli_tell_removed(cli, "memory", key, is_dry);
    return EXIT_OK;
}

static const struct option ls_options[] = {
    {"agent", 0, "AGENT", "of this agent"},
    {"scope", 0, "SCOPE", "of this scope"},
    {"name", 0, "KEY", "of this key"},
    {"limit", 'n', "N", "the newest N"},
    {0},
};
static const struct option set_options[] = {{"scope", 0, "SCOPE", "where it belongs (agent)"}, {0}};
static const struct option search_options[] = {
    {"scope", 0, "SCOPE", "of this scope"},
    {"limit", 'n', "N", "the best N (20)"},
    {0},
};
static const struct option rm_options[] = {
    {"scope", 0, "SCOPE", "of this scope (agent)"},
    {"dry-run", 0, NULL, "only tell what would be removed"},
    {0},
};

static const char *const ls_examples[] = {"memory ls demo", "memory ls demo --json", NULL};
static const char *const set_examples[] = {"memory set demo colour 'Her favourite colour is blue'", "memory set demo style @style.txt", NULL};
static const char *const search_examples[] = {"memory search demo colour", NULL};
static const char *const rm_examples[] = {"memory rm demo colour -y", NULL};

const struct command cmd_memory_ls = {
    .name = "memory ls",
    .synopsis = "[AGENT]",
    .summary = "list memories",
    .options = ls_options,
    .examples = ls_examples,
    .complete = "agent",
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = ls,
};

const struct command cmd_memory_set = {
    .name = "memory set",
    .synopsis = "AGENT [KEY] TEXT|@FILE|-",
    .summary = "let an agent remember a text",
    .text = "A second call with the same KEY replaces the text; without KEY it gets one.",
    .options = set_options,
    .examples = set_examples,
    .complete = "agent",
    .min_args = 2,
    .max_args = 3,
    .run = set,
};

const struct command cmd_memory_search = {
    .name = "memory search",
    .synopsis = "AGENT QUERY",
    .summary = "search the memories of an agent, best first",
    .options = search_options,
    .examples = search_examples,
    .complete = "agent",
    .min_args = 2,
    .max_args = 2,
    .flags = COMMAND_LINES,
    .run = find,
};

const struct command cmd_memory_rm = {
    .name = "memory rm",
    .synopsis = "AGENT KEY",
    .summary = "let an agent forget",
    .options = rm_options,
    .examples = rm_examples,
    .complete = "agent",
    .min_args = 2,
    .max_args = 2,
    .run = rm,
};
