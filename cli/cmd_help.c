/*
 * agentctl help, version.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

static int help(struct cli *cli, const struct args *args)
{
    const struct command *command;
    char name[64];
    size_t at = 0;

    if (args_has(args, "man")) {
        help_man_page(&cli->out);
        return EXIT_OK;
    }
    if (args->count == 0) {
        help_overview(&cli->out);
        return EXIT_OK;
    }
    for (int i = 0; i < args->count; i++) {
        size_t n = strlen(args->at[i]);

        if (at + n + 2 > sizeof(name))
            return cli_usage(cli, "agentctl --help lists the verbs", "help: there is no verb '%s'", args->at[i]);
        if (i > 0)
            name[at++] = ' ';
        memcpy(name + at, args->at[i], n);
        at += n;
    }
    name[at] = '\0';
    command = cli_command_find(name);
    if (command != NULL) {
        help_command(&cli->out, command);
    } else if (args->count == 1 && cli_is_group(name)) {
        help_group(&cli->out, name);
    } else {
        struct suggest s;
        char *hint;
        int rc;

        suggest_begin(&s, name);
        for (const struct command *const *c = cli_commands; *c != NULL; c++)
            suggest_name(&s, (*c)->name);
        hint = suggest_found(&s) ? cli_format("did you mean 'agentctl help %s'?", s.best)
                                 : cli_strdup("agentctl --help lists the verbs");
        rc = cli_usage(cli, hint, "help: there is no verb '%s'", name);
        free(hint);
        return rc;
    }
    return EXIT_OK;
}

static int version(struct cli *cli, const struct args *args)
{
    (void)args;
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "agentctl");
        put_str(&cli->out, AGENT_VERSION);
        put_key(&cli->out, "libagent");
        put_str(&cli->out, agent_version());
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        out_fmt(&cli->out, "agentctl %s (libagent %s)\n", AGENT_VERSION, agent_version());
    }
    return EXIT_OK;
}

static const struct option help_options[] = {{"man", 0, NULL, "the manual page, as roff"}, {0}};
static const char *const help_examples[] = {"help run", "help tool add", NULL};
static const char *const version_examples[] = {"version --json", NULL};

const struct command cmd_help = {
    .name = "help",
    .synopsis = "[VERB]",
    .summary = "help for a verb",
    .options = help_options,
    .examples = help_examples,
    .max_args = 2,
    .run = help,
};

const struct command cmd_version = {
    .name = "version",
    .synopsis = "",
    .summary = "the version of program and library",
    .examples = version_examples,
    .run = version,
};
