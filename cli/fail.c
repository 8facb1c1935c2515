/*
 * Errors and notes: what stderr is for. One line tells what is wrong, one the remedy, both in one
 * write; control characters in names people gave do not reach the terminal.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"

enum exit_code cli_exit_code(agent_status status)
{
    switch (status) {
    case AGENT_OK: return EXIT_OK;
    case AGENT_EINVAL:
    case AGENT_EEXISTS: return EXIT_USAGE;
    case AGENT_ENOTFOUND: return EXIT_NOT_FOUND;
    case AGENT_EAPPROVAL: return EXIT_WAITS;
    case AGENT_EDENIED: return EXIT_DENIED;
    case AGENT_ETOOBIG:
    case AGENT_EBUDGET: return EXIT_LIMIT;
    case AGENT_EPROTOCOL:
    case AGENT_EPROVIDER:
    case AGENT_ERATELIMIT:
    case AGENT_ENETWORK:
    case AGENT_EKEY: return EXIT_PROVIDER;
    case AGENT_ESTORAGE:
    case AGENT_ESCHEMA: return EXIT_DATABASE;
    case AGENT_EBUSY:
    case AGENT_ELOST: return EXIT_BUSY;
    case AGENT_ETIMEDOUT: return EXIT_TIMEOUT;
    case AGENT_ENOMEM:
    case AGENT_ECANCELLED: /* by a signal: the command knows which, EXIT_SIGNAL */
    case AGENT_ETOOL:
    case AGENT_EIO: return EXIT_RUN_FAILED;
    }
    return EXIT_RUN_FAILED;
}

/* Appends text without control characters; what is not UTF-8 becomes '?'. */
static size_t append(char *line, size_t at, size_t cap, const char *text)
{
    for (size_t n = strlen(text), i = 0; i < n && at + 5 < cap;) {
        size_t len = text_utf8(text + i, n - i, NULL);

        if (len > 1 && !((unsigned char)text[i] == 0xC2 && (unsigned char)text[i + 1] < 0xA0)) {
            memcpy(line + at, text + i, len);
            at += len;
        } else {
            unsigned char c = (unsigned char)text[i];

            line[at++] = c == '\n' || c == '\t' ? ' ' : (c < 0x20 || c >= 0x7F ? '?' : (char)c);
        }
        i += len == 0 ? 1 : len;
    }
    return at;
}

static void say(const char *head, const char *text, const char *hint)
{
    char line[AGENT_ERROR_TEXT_MAX + AGENT_ERROR_HINT_MAX + 512];
    size_t at = 0;

    at = append(line, at, sizeof(line) - 1, head);
    at = append(line, at, sizeof(line) - 1, text);
    line[at++] = '\n';
    if (hint != NULL && *hint != '\0') {
        at = append(line, at, sizeof(line) - 1, "hint: ");
        at = append(line, at, sizeof(line) - 1, hint);
        line[at++] = '\n';
    }
    (void)!write(STDERR_FILENO, line, at);
}

int cli_fail(struct cli *cli, const agent_error *err)
{
    const char *text = err->text[0] != '\0' ? err->text : agent_status_text(err->status);

    cli->last = *err;
    if (err->text[0] == '\0') {
        (void)snprintf(cli->last.text, sizeof(cli->last.text), "%s", text);
    } else if (err->status == AGENT_ENOTFOUND && strstr(text, "no ") == NULL && strstr(text, "No ") == NULL &&
               strstr(text, "not ") == NULL) { /* the engine names the thing; the code alone says that it is not there */
        size_t n = strlen(text);

        (void)snprintf(cli->last.text + n, sizeof(cli->last.text) - n, ": not found");
    }
    text = cli->last.text;
    out_flush(&cli->out); /* what was said before the error stands before it */
    say("agentctl: error: ", text, err->hint);
    if (err->status == AGENT_EKEY && cli->keys.refused.status != AGENT_OK)
        say("agentctl: error: ", cli->keys.refused.text, cli->keys.refused.hint);
    return cli_exit_code(err->status);
}

int cli_usage(struct cli *cli, const char *hint, const char *fmt, ...)
{
    agent_error err = {.status = AGENT_EINVAL};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    if (hint != NULL)
        cli_hint(&err, "%s", hint);
    else if (cli->command != NULL)
        cli_hint(&err, "agentctl %s --help", cli->command->name);
    else
        cli_hint(&err, "agentctl --help");
    return cli_fail(cli, &err);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
    char text[AGENT_ERROR_TEXT_MAX + 256];
    va_list ap;

    if (cli->is_quiet)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    say("agentctl: ", text, NULL);
}

/* --- names that are not there ------------------------------------------------------------------------- */

void suggest_begin(struct suggest *s, const char *wrong)
{
    *s = (struct suggest){.wrong = wrong, .distance = SIZE_MAX};
}

void suggest_name(struct suggest *s, const char *name)
{
    size_t distance = text_distance(s->wrong, name), used = strlen(s->known);

    /* A beginning of a name is one, however much of it is missing. */
    if (strlen(s->wrong) >= 2 && strncmp(s->wrong, name, strlen(s->wrong)) == 0 && distance > 1)
        distance = 1;
    s->is_there |= strcmp(s->wrong, name) == 0;
    if (distance < s->distance) {
        s->distance = distance;
        (void)snprintf(s->best, sizeof(s->best), "%s", name);
    }
    s->known_count++;
    if (s->known_count <= 12 && used + strlen(name) + 8 < sizeof(s->known))
        (void)snprintf(s->known + used, sizeof(s->known) - used, "%s%s", used > 0 ? ", " : "", name);
    else if (used > 3 && strcmp(s->known + used - 3, "…") != 0 && used + 6 < sizeof(s->known))
        (void)snprintf(s->known + used, sizeof(s->known) - used, ", …");
}

bool suggest_found(const struct suggest *s)
{
    size_t n = strlen(s->wrong);

    return s->known_count > 0 && s->distance <= (n <= 3 ? 1 : n <= 6 ? 2 : 3) && s->distance < n;
}

static bool take_name(void *ctx, const agent_row *row)
{
    size_t bytes;
    const char *name = agent_row_text(row, agent_row_find(row, "name"), &bytes);
    char copy[AGENT_NAME_MAX + 1];

    if (name != NULL && bytes < sizeof(copy)) {
        memcpy(copy, name, bytes);
        copy[bytes] = '\0';
        suggest_name(ctx, copy);
    }
    return true;
}

/* The hint for a name of `kind` ("agent"); the engine's own stands where the name is there. */
static void hint_name(const struct suggest *s, const char *kind, const char *make, agent_error *err)
{
    if (s->is_there)
        return;
    if (s->known_count == 0)
        cli_hint(err, "there is no %s yet; %s", kind, make);
    else if (suggest_found(s))
        cli_hint(err, "did you mean '%s'?", s->best);
    else
        cli_hint(err, "known %ss: %s", kind, s->known);
}

int cli_fail_agent(struct cli *cli, const char *agent, agent_error *err)
{
    if (err->status == AGENT_ENOTFOUND && agent != NULL && cli->engine != NULL) {
        struct suggest s;

        suggest_begin(&s, agent);
        if (agent_scan(cli->engine, AGENT_VIEW_AGENTS, NULL, take_name, &s, NULL) == AGENT_OK)
            hint_name(&s, "agent", "agentctl create NAME -m PROVIDER:MODEL makes one", err);
        if (s.is_there && err->hint[0] == '\0')
            cli_hint(err, "agentctl session ls %s lists its sessions", agent);
    }
    return cli_fail(cli, err);
}

int cli_fail_tool(struct cli *cli, const char *const *tools, size_t count, agent_error *err)
{
    if ((err->status == AGENT_ENOTFOUND || err->status == AGENT_EINVAL) && cli->engine != NULL)
        for (size_t i = 0; i < count; i++) {
            struct suggest s;

            suggest_begin(&s, tools[i]);
            if (agent_scan(cli->engine, AGENT_VIEW_TOOLS, NULL, take_name, &s, NULL) == AGENT_OK && !s.is_there &&
                strstr(err->text, tools[i]) != NULL) {
                hint_name(&s, "tool", "agentctl tool add NAME --exec COMMAND makes one", err);
                break;
            }
        }
    return cli_fail(cli, err);
}

int cli_fail_session(struct cli *cli, const char *agent, const char *spec, agent_error *err)
{
    if (err->status == AGENT_ENOTFOUND && cli->engine != NULL) {
        agent_filter filter = AGENT_FILTER_INIT;
        struct suggest s;

        filter.agent = agent;
        suggest_begin(&s, spec);
        if (agent_scan(cli->engine, AGENT_VIEW_SESSIONS, &filter, take_name, &s, NULL) == AGENT_OK &&
            s.known_count > 0 && suggest_found(&s))
            cli_hint(err, "did you mean '%s'?", s.best);
        else if (agent != NULL)
            cli_hint(err, "agentctl session ls %s lists them", agent);
        else
            cli_hint(err, "agentctl session ls lists them");
    }
    return cli_fail(cli, err);
}

int cli_no_run(struct cli *cli, int64_t run)
{
    agent_error err;

    cli_err(&err, AGENT_ENOTFOUND, 0, "there is no run %lld in '%s'", (long long)run, cli->db_path);
    cli_hint(&err, "agentctl list runs -n 10 shows the newest");
    return cli_fail(cli, &err);
}
