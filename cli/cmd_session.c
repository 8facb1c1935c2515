/*
 * agentctl session ls, show, rm: conversations.
 */
#include <stdio.h>

#include "cli/rows.h"
#include "cli/show.h"

static int ls(struct cli *cli, const struct args *args)
{
    return cli_list_of(cli, args, "sessions");
}

static int show(struct cli *cli, const struct args *args)
{
    int64_t session = 0;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK || (rc = cli_session(cli, args, 0, &session)) != EXIT_OK)
        return rc;
    return show_session(cli, session);
}

struct content {
    int64_t turns, messages;
};

static bool take_content(void *ctx, const agent_row *row)
{
    struct content *content = ctx;

    content->turns = row_int(row, "turns");
    content->messages = row_int(row, "messages");
    return false;
}

static int rm(struct cli *cli, const struct args *args)
{
    const bool is_dry = args_has(args, "dry-run");
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct content content = {0};
    int64_t session = 0;
    char name[32];
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK ||
        (rc = cli_session(cli, args, 0, &session)) != EXIT_OK)
        return rc;
    filter.session_id = session;
    if (agent_scan(cli->engine, AGENT_VIEW_SESSIONS, &filter, take_content, &content, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    (void)snprintf(name, sizeof(name), "#%lld", (long long)session);
    if (!is_dry) {
        rc = cli_confirm(cli, "remove session %s with its turns (%lld) and messages (%lld)", name,
                         (long long)content.turns, (long long)content.messages);
        if (rc != EXIT_OK)
            return rc;
        if (agent_session_remove(cli->engine, (agent_session_id){session}, &err) != AGENT_OK) {
            if (err.status == AGENT_EBUSY && err.hint[0] == '\0')
                cli_hint(&err, "agentctl list runs --session %lld --status running shows what is live",
                         (long long)session);
            return cli_fail(cli, &err);
        }
    }
    cli_tell_removed(cli, "session", name, is_dry);
    return EXIT_OK;
}

static const struct option ls_options[] = {
    {"agent", 0, "AGENT", "of this agent"},
    {"name", 0, "NAME", "of this name"},
    {"limit", 'n', "N", "the newest N"},
    {"names", 0, NULL, "names (or numbers) only, one a line"},
    {0},
};
static const struct option rm_options[] = {{"dry-run", 0, NULL, "only tell what would be removed"}, {0}};

static const char *const ls_examples[] = {"session ls", "session ls demo -n 5", NULL};
static const char *const show_examples[] = {"session show 3", "session show demo work", NULL};
static const char *const rm_examples[] = {"session rm demo work --dry-run", "session rm '#3' -y", NULL};

const struct command cmd_session_ls = {
    .name = "session ls",
    .synopsis = "[AGENT]",
    .summary = "list sessions",
    .options = ls_options,
    .examples = ls_examples,
    .complete = "agent",
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = ls,
};

const struct command cmd_session_show = {
    .name = "session show",
    .synopsis = "[AGENT] SESSION",
    .summary = "show a session with its messages",
    .text = "SESSION is a number (12 or '#12'), or with its agent in front a name.",
    .examples = show_examples,
    .complete = "session",
    .min_args = 1,
    .max_args = 2,
    .run = show,
};

const struct command cmd_session_rm = {
    .name = "session rm",
    .synopsis = "[AGENT] SESSION",
    .summary = "remove a session with its messages and runs",
    .options = rm_options,
    .examples = rm_examples,
    .complete = "session",
    .min_args = 1,
    .max_args = 2,
    .run = rm,
};
