/*
 * Reading a command line by the table of commands.
 *
 *   (1) Options may stand before and after positionals, and the global ones before the verb too.
 *   (2) "--name=value" and "--name value", "-nvalue" and "-n value", flags together as in "-qv".
 *   (3) "--" ends the options; "-" is a positional.
 *   (4) What is unknown is an error with the nearest name, never ignored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"

const struct option cli_globals[] = {
    {"db", 0, "FILE", "the database file"},
    {"json", 0, NULL, "the result as one JSON value"},
    {"jsonl", 0, NULL, "one JSON object a line (lists, runs)"},
    {"yes", 'y', NULL, "do it without asking"},
    {"quiet", 'q', NULL, "no notes on stderr, errors only"},
    {"verbose", 'v', NULL, "more notes; the engine's log lines (info)"},
    {"trace-log", 0, "error|warn|info|debug", "the engine's log lines of this level"},
    {"help", 'h', NULL, "help for the command"},
    {0},
};

bool option_has_choices(const struct option *o)
{
    return o->arg != NULL && *o->arg >= 'a' && *o->arg <= 'z' && strchr(o->arg, '|') != NULL;
}

const struct command *cli_command_find(const char *name)
{
    for (const struct command *const *c = cli_commands; *c != NULL; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

bool cli_is_group(const char *word)
{
    size_t n = strlen(word);

    for (const struct command *const *c = cli_commands; *c != NULL; c++)
        if (strncmp((*c)->name, word, n) == 0 && (*c)->name[n] == ' ')
            return true;
    return false;
}

const char *args_value(const struct args *args, const char *name)
{
    for (int i = args->given_count; i-- > 0;)
        if (strcmp(args->given[i].option->name, name) == 0)
            return args->given[i].value;
    return NULL;
}

bool args_has(const struct args *args, const char *name)
{
    for (int i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0)
            return true;
    return false;
}

void args_drop(struct args *args)
{
    free(args->at);
    free(args->given);
    *args = (struct args){0};
}

/* --- one option ----------------------------------------------------------------------------------- */

static const struct option *find_long(const struct option *table, const char *name, size_t n)
{
    for (; table != NULL && table->name != NULL; table++)
        if (strncmp(table->name, name, n) == 0 && table->name[n] == '\0')
            return table;
    return NULL;
}

static const struct option *find_letter(const struct option *table, char letter)
{
    for (; table != NULL && table->name != NULL; table++)
        if (table->letter == letter)
            return table;
    return NULL;
}

static void suggest_options(struct suggest *s, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++)
        suggest_name(s, table->name);
}

static int unknown_option(struct cli *cli, const struct command *command, const char *word)
{
    char *hint = NULL;
    int rc;

    if (word[1] == '-') {
        struct suggest s;
        char name[64] = {0};

        memcpy(name, word + 2, strcspn(word + 2, "=") < sizeof(name) - 1 ? strcspn(word + 2, "=") : sizeof(name) - 1);
        suggest_begin(&s, name);
        if (command != NULL) {
            suggest_options(&s, command->options);
            suggest_options(&s, command->shared);
        }
        suggest_options(&s, cli_globals);
        if (suggest_found(&s))
            hint = cli_format("did you mean --%s?", s.best);
    }
    if (hint == NULL)
        hint = command == NULL ? cli_format("agentctl --help lists verbs and options")
                               : cli_format("agentctl %s --help lists its options", command->name);
    if (command == NULL)
        rc = cli_usage(cli, hint, "unknown option '%s'", word);
    else
        rc = cli_usage(cli, hint, "%s: unknown option '%s'", command->name, word);
    free(hint);
    return rc;
}

/* The switches of the whole program take effect here. */
static int keep(struct cli *cli, struct args *args, const struct option *o, const char *value)
{
    if (option_has_choices(o) && !text_is_word(value, o->arg, NULL)) {
        char *hint = cli_format("it is one of %s", o->arg);
        int rc = cli_usage(cli, hint, "--%s: '%s' is no value for it", o->name, value);

        free(hint);
        return rc;
    }
    if (o >= cli_globals && o < cli_globals + sizeof(cli_globals) / sizeof(cli_globals[0])) {
        size_t level = 0;

        switch (o->name[0]) {
        case 'd': cli->db_flag = value; break;
        case 'j': *(o->name[4] == 'l' ? &cli->jsonl : &cli->json) = true; break;
        case 'y': cli->is_yes = true; break;
        case 'q': cli->is_quiet = true; break;
        case 'v':
            cli->is_verbose = true;
            if (cli->log_level < 2)
                cli->log_level = 2;
            break;
        case 't':
            (void)text_is_word(value, o->arg, &level);
            cli->log_level = (int)level;
            break;
        default: break; /* help: the caller asks args_has() */
        }
    }
    args->given[args->given_count++] = (struct given){.option = o, .value = value};
    return EXIT_OK;
}

/* Reads the option at argv[*i] and moves *i to its last word. */
static int take_option(struct cli *cli, struct args *args, const struct command *command, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    const struct option *tables[] = {command == NULL ? NULL : command->options,
                                     command == NULL ? NULL : command->shared, cli_globals};
    const size_t count = sizeof(tables) / sizeof(tables[0]);
    const struct option *o = NULL;

    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        const char *value = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;

        for (size_t t = 0; o == NULL && t < count; t++)
            o = find_long(tables[t], word + 2, n);
        if (o == NULL)
            return unknown_option(cli, command, word);
        if (o->arg == NULL && value != NULL)
            return cli_usage(cli, NULL, "--%s takes no value", o->name);
        if (o->arg != NULL && value == NULL) {
            if (*i + 1 >= argc)
                return cli_usage(cli, NULL, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
            value = argv[++*i];
        }
        return keep(cli, args, o, value);
    }
    for (const char *p = word + 1; *p != '\0'; p++) {
        int rc;

        o = NULL;
        for (size_t t = 0; o == NULL && t < count; t++)
            o = find_letter(tables[t], *p);
        if (o == NULL)
            return unknown_option(cli, command, word);
        if (o->arg == NULL) {
            if ((rc = keep(cli, args, o, NULL)) != EXIT_OK)
                return rc;
            continue;
        }
        if (p[1] == '\0' && *i + 1 >= argc)
            return cli_usage(cli, NULL, "-%c needs a value: -%c %s", o->letter, o->letter, o->arg);
        return keep(cli, args, o, p[1] != '\0' ? p + 1 : argv[++*i]);
    }
    return EXIT_OK;
}

/* --- the whole line --------------------------------------------------------------------------------- */

static int unknown_verb(struct cli *cli, const char *group, const char *word)
{
    struct suggest s;
    size_t n = group == NULL ? 0 : strlen(group) + 1;
    char *hint, verb[32] = "";
    int rc;

    suggest_begin(&s, word);
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        const char *name = (*c)->name;

        if (group != NULL && (strncmp(name, group, n - 1) != 0 || name[n - 1] != ' '))
            continue;
        memset(verb, 0, sizeof(verb));
        memcpy(verb, name + n, strcspn(name + n, " "));
        suggest_name(&s, verb);
    }
    if (suggest_found(&s))
        hint = cli_format("did you mean 'agentctl %s%s%s'?", group == NULL ? "" : group, group == NULL ? "" : " ", s.best);
    else if (group != NULL)
        hint = cli_format("it is one of: %s", s.known);
    else
        hint = cli_format("agentctl --help lists the verbs");
    if (group == NULL)
        rc = cli_usage(cli, hint, "unknown verb '%s'", word);
    else
        rc = cli_usage(cli, hint, "%s: unknown verb '%s'", group, word);
    free(hint);
    return rc;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* Finds the command; *i is at its last word then. Sets *out to NULL where help was asked and given. */
static int find_command(struct cli *cli, struct args *args, int argc, char **argv, int *i, const struct command **out)
{
    static const struct { const char *from, *to; } aliases[] = {
        {"tool list", "tool ls"}, {"memory list", "memory ls"}, {"session list", "session ls"}, {"ls", "list"},
    };
    const char *group = NULL;

    *out = NULL;
    for (; *i < argc; ++*i) {
        const char *word = argv[*i];
        char name[64];
        int rc;

        if (strcmp(word, "--version") == 0 && group == NULL) {
            *out = cli_command_find("version");
            return EXIT_OK;
        }
        if (is_option(word)) {
            if (strcmp(word, "--") == 0)
                return cli_usage(cli, "agentctl --help lists the verbs", "there is no verb before '--'");
            if ((rc = take_option(cli, args, NULL, argc, argv, i)) != EXIT_OK)
                return rc;
            continue;
        }
        if (group == NULL && cli_is_group(word)) {
            group = word;
            continue;
        }
        if (strlen(word) + (group == NULL ? 0 : strlen(group)) + 2 > sizeof(name))
            return unknown_verb(cli, group, word);
        (void)snprintf(name, sizeof(name), "%s%s%s", group == NULL ? "" : group, group == NULL ? "" : " ", word);
        *out = cli_command_find(name);
        for (size_t a = 0; *out == NULL && a < sizeof(aliases) / sizeof(aliases[0]); a++)
            if (strcmp(name, aliases[a].from) == 0)
                *out = cli_command_find(aliases[a].to);
        return *out == NULL ? unknown_verb(cli, group, word) : EXIT_OK;
    }
    if (args_has(args, "help")) {
        if (group != NULL)
            help_group(&cli->out, group);
        else
            help_overview(&cli->out);
        return EXIT_OK;
    }
    if (group != NULL && (*out = cli_command_find(group)) != NULL) /* a verb by itself too: limits */
        return EXIT_OK;
    if (group != NULL) {
        char *hint = cli_format("agentctl %s --help lists them", group);
        int rc = cli_usage(cli, hint, "%s: a second word is missing", group);

        free(hint);
        return rc;
    }
    return cli_usage(cli, "agentctl --help lists the verbs", "no verb given");
}

static int check_counts(struct cli *cli, const struct args *args)
{
    const struct command *command = args->command;
    char *hint;
    int rc;

    if (args->count >= command->min_args && (command->max_args < 0 || args->count <= command->max_args))
        return EXIT_OK;
    hint = cli_format("usage: agentctl %s %s", command->name, command->synopsis);
    if (args->count < command->min_args)
        rc = cli_usage(cli, hint, "%s: an argument is missing", command->name);
    else
        rc = cli_usage(cli, hint, "%s: '%s' is one argument too many (quote a text with blanks)", command->name,
                       args->at[command->max_args]);
    free(hint);
    return rc;
}

int args_parse(struct cli *cli, int argc, char **argv, struct args *args)
{
    bool is_options = true;
    size_t letters = 1;
    int i = 1, rc;

    args->at = cli_alloc((size_t)argc * sizeof(*args->at));
    for (int a = 0; a < argc; a++) /* "-qqqq" holds more options than words */
        letters += strlen(argv[a]) + 1;
    args->given = cli_alloc(letters * sizeof(*args->given));
    if ((rc = find_command(cli, args, argc, argv, &i, &args->command)) != EXIT_OK || args->command == NULL)
        return rc;
    cli->command = args->command;
    args->after_dashes = -1;
    for (i++; i < argc; i++) {
        if (is_options && strcmp(argv[i], "--") == 0) {
            is_options = false;
            args->after_dashes = args->count;
        } else if (is_options && is_option(argv[i])) {
            if ((rc = take_option(cli, args, args->command, argc, argv, &i)) != EXIT_OK)
                return rc;
        } else {
            args->at[args->count++] = argv[i];
        }
    }
    if (args->after_dashes < 0)
        args->after_dashes = args->count;
    if (args_has(args, "help")) {
        help_command(&cli->out, args->command);
        args->command = NULL;
        return EXIT_OK;
    }
    if (cli->json && cli->jsonl)
        return cli_usage(cli, NULL, "--json and --jsonl exclude each other");
    if (cli->jsonl && (args->command->flags & COMMAND_LINES) == 0)
        return cli_usage(cli, "use --json", "%s: --jsonl is for lists and runs", args->command->name);
    return check_counts(cli, args);
}
