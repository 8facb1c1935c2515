/*
 * What several commands ask of their arguments.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"

bool cli_run_number(const char *s, int64_t *out)
{
    return text_int(*s == '#' ? s + 1 : s, 1, INT64_MAX, out);
}

int cli_duration(struct cli *cli, const struct args *args, const char *name, int64_t *out_ms)
{
    const char *value = args_value(args, name);

    if (value != NULL && !text_duration(value, out_ms))
        return cli_usage(cli, "for example 500ms, 10s, 2m or 1h", "--%s: '%s' is no duration", name, value);
    return EXIT_OK;
}

int cli_number(struct cli *cli, const struct args *args, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *value = args_value(args, name);

    if (value != NULL && !text_int(value, min, max, out))
        return cli_usage(cli, NULL, "--%s: '%s' is no whole number of %lld or more", name, value, (long long)min);
    return EXIT_OK;
}

int cli_confirm(struct cli *cli, const char *fmt, ...)
{
    agent_error err;
    char what[AGENT_ERROR_TEXT_MAX - 64], answer[16] = "";
    va_list ap;

    if (cli->is_yes)
        return EXIT_OK;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        cli_err(&err, AGENT_EINVAL, 0, "this would %s; without a terminal to ask it needs -y", what);
        cli_hint(&err, "--dry-run shows what would be done, -y does it");
        return cli_fail(cli, &err);
    }
    fprintf(stderr, "%s? [y/N] ", what);
    if (fgets(answer, sizeof(answer), stdin) != NULL &&
        (strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 || strcmp(answer, "yes\n") == 0))
        return EXIT_OK;
    cli_err(&err, AGENT_EDENIED, 0, "nothing was done: the answer was not y");
    return cli_fail(cli, &err);
}

void cli_tell_removed(struct cli *cli, const char *kind, const char *name, bool is_dry)
{
    if (!cli->json) {
        cli_note(cli, "%s %s %s", is_dry ? "would remove" : "removed", kind, name);
        return;
    }
    put_open(&cli->out, '{');
    put_key(&cli->out, kind);
    put_str(&cli->out, name);
    put_key(&cli->out, "removed");
    put_bool(&cli->out, !is_dry);
    put_close(&cli->out, '{');
    put_line(&cli->out);
}

static bool seen(void *ctx, const agent_row *row)
{
    (void)row;
    *(bool *)ctx = true;
    return false;
}

agent_status cli_any(struct cli *cli, enum agent_view view, const agent_filter *filter, bool *out, agent_error *err)
{
    bool is_there = false;
    agent_status rc = agent_scan(cli->engine, view, filter, seen, &is_there, err);

    if (rc == AGENT_OK)
        *out = is_there;
    return rc;
}

int cli_check_agent(struct cli *cli, const char *agent)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    bool is_there = false;

    filter.agent = agent;
    if (cli_any(cli, AGENT_VIEW_AGENTS, &filter, &is_there, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (is_there)
        return EXIT_OK;
    cli_err(&err, AGENT_ENOTFOUND, 0, "there is no agent '%s'", agent);
    return cli_fail_agent(cli, agent, &err);
}

static bool take_id(void *ctx, const agent_row *row)
{
    *(int64_t *)ctx = agent_row_int(row, agent_row_find(row, "id"));
    return false;
}

int cli_session(struct cli *cli, const struct args *args, int index, int64_t *out_session)
{
    const bool has_agent = args->count > index + 1;
    const char *agent = has_agent ? args->at[index] : args_value(args, "agent");
    const char *spec = args->at[index + has_agent];
    agent_error err = AGENT_ERROR_INIT;
    agent_session_id session = {0};
    agent_status rc;

    if (agent == NULL) {
        agent_filter filter = AGENT_FILTER_INIT;

        if (!cli_run_number(spec, &filter.session_id))
            return cli_usage(cli, "a name needs its agent in front: AGENT SESSION; a number (#12) stands alone",
                             "'%s' is no number of a session", spec);
        rc = agent_scan(cli->engine, AGENT_VIEW_SESSIONS, &filter, take_id, &session.id, &err);
        if (rc == AGENT_OK && session.id == 0)
            cli_err(&err, AGENT_ENOTFOUND, 0, "there is no session #%lld", (long long)filter.session_id);
    } else {
        rc = agent_session_find(cli->engine, agent, spec, &session, &err);
    }
    if (rc == AGENT_OK && session.id == 0)
        rc = err.status;
    if (rc != AGENT_OK)
        return rc == AGENT_ENOTFOUND ? cli_fail_session(cli, agent, spec, &err) : cli_fail(cli, &err);
    *out_session = session.id;
    return EXIT_OK;
}
