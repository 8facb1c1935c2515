/*
 * agentctl list: rows of the views. What stands on a terminal is a choice of columns; --json has all.
 */
#include <string.h>
#include <time.h>

#include "cli/rows.h"

#define COLUMNS(...) (const char *const[]){__VA_ARGS__, NULL}

static const struct list {
    const char *word;
    enum agent_view view;
    const char *const *columns;
} lists[] = {
    {"agents", AGENT_VIEW_AGENTS, COLUMNS("id", "name", "version", "provider", "model", "sessions", "runs", "last_run_at")},
    {"sessions", AGENT_VIEW_SESSIONS,
     COLUMNS("id", "agent", "name", "turns", "messages", "input_tokens", "output_tokens", "last_at")},
    {"runs", AGENT_VIEW_RUNS,
     COLUMNS("id", "agent", "session_id", "status", "queued_at", "wall_ms", "input", "output", "error")},
    {"tools", AGENT_VIEW_TOOLS, COLUMNS("name", "kind", "effect", "timeout_ms", "description")},
    {"memory", AGENT_VIEW_MEMORY, COLUMNS("id", "agent", "scope", "key", "text", "updated_at")},
    {"cache", AGENT_VIEW_CACHE, COLUMNS("key", "kind", "agent", "model", "bytes", "hits", "last_hit_at", "expires_at")},
    {"messages", AGENT_VIEW_MESSAGES, COLUMNS("session_id", "seq", "run_id", "role", "tool_name", "text")},
    {"steps", AGENT_VIEW_STEPS, COLUMNS("run_id", "step", "kind", "status", "attempt", "wall_ms", "tool", "error")},
    {"calls", AGENT_VIEW_TOOL_CALLS,
     COLUMNS("run_id", "step", "tool", "effect", "status", "wall_ms", "arguments", "result")},
    {"stages", AGENT_VIEW_STAGE_MEMORY,
     COLUMNS("run_id", "step", "stage", "wall_us", "commit_us", "rss_peak_bytes", "heap_peak_bytes", "attribution")},
    {"versions", AGENT_VIEW_VERSIONS, COLUMNS("agent", "version", "provider", "model", "tools", "options", "created_at")},
};

static int fill_filter(struct cli *cli, const struct args *args, const char *agent, agent_filter *filter)
{
    const char *session = args_value(args, "session"), *run = args_value(args, "run");
    agent_error err = AGENT_ERROR_INIT;
    agent_session_id found = {0};
    int64_t since = -1;
    int rc;

    filter->agent = agent;
    filter->status = args_value(args, "status");
    filter->name = args_value(args, "name");
    filter->scope = args_value(args, "scope");
    if ((rc = cli_number(cli, args, "limit", 1, INT64_MAX, &filter->limit)) != EXIT_OK ||
        (rc = cli_duration(cli, args, "since", &since)) != EXIT_OK)
        return rc;
    filter->newest_first = filter->limit > 0;
    if (since >= 0)
        filter->since_ms = (int64_t)time(NULL) * 1000 - since;
    if (run != NULL && !cli_run_number(run, &filter->run_id))
        return cli_usage(cli, NULL, "--run: '%s' is no number of a run", run);
    if (session != NULL && !cli_run_number(session, &filter->session_id)) {
        if (filter->agent == NULL)
            return cli_usage(cli, "--agent NAME says whose session it is", "--session: '%s' is no number", session);
        if (agent_session_find(cli->engine, filter->agent, session, &found, &err) != AGENT_OK)
            return cli_fail_session(cli, filter->agent, session, &err);
        filter->session_id = found.id;
    }
    return EXIT_OK;
}

static int list_view(struct cli *cli, const struct args *args, const struct list *list, const char *agent)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct rows rows;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK || (rc = fill_filter(cli, args, agent, &filter)) != EXIT_OK)
        return rc;
    rows_begin(&rows, cli, list->columns);
    rows.names_only = args_has(args, "names");
    rows.is_json &= !rows.names_only;
    rows.is_reversed = filter.newest_first;
    if (agent_scan(cli->engine, list->view, &filter, rows_take, &rows, &err) != AGENT_OK) {
        if (err.status == AGENT_EINVAL && err.hint[0] == '\0')
            cli_hint(&err, "this filter is not for %s", list->word);
        return cli_fail(cli, &err);
    }
    /* An empty list may be one because a name is wrong: that is worth an error. */
    if (rows.count == 0 && filter.agent != NULL && (rc = cli_check_agent(cli, filter.agent)) != EXIT_OK)
        return rc;
    rows_end(&rows);
    return EXIT_OK;
}

static int list(struct cli *cli, const struct args *args)
{
    const char *word = args->count > 0 ? args->at[0] : "agents";
    struct suggest s;

    suggest_begin(&s, word);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (strcmp(word, lists[i].word) == 0)
            return list_view(cli, args, &lists[i], args_value(args, "agent"));
        suggest_name(&s, lists[i].word);
    }
    if (suggest_found(&s)) {
        char hint[128];

        memcpy(hint, "did you mean ", 13);
        memcpy(hint + 13, s.best, strlen(s.best) + 1);
        return cli_usage(cli, hint, "list: there is no list of '%s'", word);
    }
    return cli_usage(cli, s.known, "list: there is no list of '%s'", word);
}

/* tool ls, session ls, memory ls are the same lists under the name of their noun; a word after it is
 * the agent. */
int cli_list_of(struct cli *cli, const struct args *args, const char *word)
{
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (strcmp(word, lists[i].word) == 0)
            return list_view(cli, args, &lists[i], args->count > 0 ? args->at[0] : args_value(args, "agent"));
    return EXIT_USAGE;
}

static const struct option options[] = {
    {"agent", 0, "AGENT", "of this agent"},
    {"session", 0, "SESSION", "of this session: a number (or a name)"},
    {"run", 0, "RUN", "of this run"},
    {"status", 0, "STATUS", "as running, waiting, failed"},
    {"name", 0, "NAME", "of this name (tool, session, key)"},
    {"scope", 0, "SCOPE", "of this scope (memory)"},
    {"since", 0, "DUR", "not older than this: 30m, 2h, 1d"},
    {"limit", 'n', "N", "the newest N"},
    {"names", 0, NULL, "names (or numbers) only, one a line"},
    {0},
};

static const char *const examples[] = {
    "list",
    "list runs --agent demo --status failed -n 10",
    "list sessions --json | jq '.[].name'",
    NULL,
};

const struct command cmd_list = {
    .name = "list",
    .synopsis = "[agents|sessions|runs|tools|memory|cache]",
    .summary = "list what is kept (agents, where no word is given)",
    .text = "More lists: messages, steps, calls, stages, versions. Rows are in id order;\n"
            "--json has every column of the view, on a terminal there are the chief ones.",
    .options = options,
    .examples = examples,
    .complete = "agents|sessions|runs|tools|memory|cache|messages|steps|calls|stages|versions",
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = list,
};
