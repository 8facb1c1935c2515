/*
 * agentctl completion: what a shell needs to complete a command line, printed from the table.
 *
 * Names of agents, tools and sessions are asked of agentctl itself (list … --names); where there is
 * no file that prints nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

/* First words: verbs and groups, each once. */
static void first_words(struct out *out, const char *between)
{
    const char *last = "";
    bool is_first = true;

    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        size_t n = strcspn((*c)->name, " ");

        if (strncmp(last, (*c)->name, n) == 0 && (last[n] == ' ' || last[n] == '\0'))
            continue;
        out_text(out, is_first ? "" : between);
        out_bytes(out, (*c)->name, n);
        last = (*c)->name;
        is_first = false;
    }
}

static void second_words(struct out *out, const char *group)
{
    size_t n = strlen(group);
    bool is_first = true;

    for (const struct command *const *c = cli_commands; *c != NULL; c++)
        if (strncmp((*c)->name, group, n) == 0 && (*c)->name[n] == ' ') {
            out_fmt(out, "%s%s", is_first ? "" : " ", (*c)->name + n + 1);
            is_first = false;
        }
}

/* "a|b|c" or the name of a list; what a shell runs to get the words, or NULL. */
static const char *lister(const char *kind)
{
    if (kind == NULL)
        return NULL;
    if (strcmp(kind, "agent") == 0 || strcmp(kind, "AGENT") == 0)
        return "agents";
    if (strcmp(kind, "tool") == 0 || strcmp(kind, "TOOL") == 0)
        return "tools";
    if (strcmp(kind, "run") == 0 || strcmp(kind, "RUN") == 0)
        return "runs";
    if (strcmp(kind, "session") == 0 || strcmp(kind, "SESSION") == 0)
        return "sessions";
    return NULL;
}

static bool is_file(const char *kind)
{
    return kind != NULL && (strcmp(kind, "file") == 0 || strstr(kind, "FILE") != NULL);
}

static void words_of(struct out *out, const char *choices)
{
    for (; *choices != '\0'; choices++)
        out_bytes(out, *choices == '|' ? " " : choices, 1);
}

static void option_words(struct out *out, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++) {
        out_fmt(out, " --%s", table->name);
        if (table->letter != 0)
            out_fmt(out, " -%c", table->letter);
    }
}

static bool is_group_word(const struct command *const *c)
{
    return strchr((*c)->name, ' ') != NULL;
}

/* --- bash ------------------------------------------------------------------------------------------------- */

/* A line of "case $verb:$previous": the words an option's value may have. */
static void bash_values(struct out *out, const char *verb, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++) {
        const char *list = lister(table->arg);

        if (table->arg == NULL)
            continue;
        out_fmt(out, "    '%s:--%s'", verb, table->name);
        if (table->letter != 0)
            out_fmt(out, "|'%s:-%c'", verb, table->letter);
        if (option_has_choices(table)) {
            out_text(out, ") words='");
            words_of(out, table->arg);
            out_text(out, "' ;;\n");
        } else if (list != NULL) {
            out_fmt(out, ") words=$(_agentctl_names %s) ;;\n", list);
        } else {
            out_text(out, is_file(table->arg) ? ") files=1 ;;\n" : ") return ;;\n");
        }
    }
}

static void bash(struct out *out)
{
    out_text(out, "# bash completion of agentctl: source <(agentctl completion bash)\n"
                  "_agentctl_names() {\n"
                  "  agentctl ${db:+--db \"$db\"} list \"$1\" --names -n 200 2>/dev/null\n"
                  "}\n"
                  "_agentctl() {\n"
                  "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                  "  local verb= words= files= db= i word options=\n"
                  "  COMPREPLY=()\n"
                  "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
                  "    word=${COMP_WORDS[i]}\n"
                  "    case $word in\n"
                  "      --db) db=${COMP_WORDS[++i]} ;;\n"
                  "      -*) ;;\n"
                  "      *) case $verb in\n"
                  "           '') verb=$word ;;\n"
                  "           ");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        size_t n = strcspn((*c)->name, " ");

        if (is_group_word(c) && (c == cli_commands || strncmp(c[-1]->name, (*c)->name, n + 1) != 0)) {
            out_bytes(out, (*c)->name, n);
            out_text(out, "|");
        }
    }
    out_text(out, "--) verb=\"$verb $word\" ;;\n"
                  "         esac ;;\n"
                  "    esac\n"
                  "  done\n"
                  "  case $verb:$prev in\n"
                  "    *:--db) files=1 ;;\n"
                  "    *:--trace-log) words='error warn info debug' ;;\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        bash_values(out, (*c)->name, (*c)->options);
        bash_values(out, (*c)->name, (*c)->shared);
    }
    out_text(out, "    *) case $verb in\n    '') words='");
    first_words(out, " ");
    out_text(out, "' ;;\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        size_t n = strcspn((*c)->name, " ");

        if (is_group_word(c) && (c == cli_commands || strncmp(c[-1]->name, (*c)->name, n + 1) != 0)) {
            char *group = cli_format("%.*s", (int)n, (*c)->name);

            out_fmt(out, "    %s) words='", group);
            second_words(out, group);
            out_text(out, "' ;;\n");
            free(group);
        }
        out_fmt(out, "    '%s') options='", (*c)->name);
        option_words(out, (*c)->options);
        option_words(out, (*c)->shared);
        out_text(out, "'");
        if (lister((*c)->complete) != NULL)
            out_fmt(out, "; words=$(_agentctl_names %s)", lister((*c)->complete));
        else if (is_file((*c)->complete))
            out_text(out, "; files=1");
        else if ((*c)->complete != NULL) {
            out_text(out, "; words='");
            words_of(out, (*c)->complete);
            out_text(out, "'");
        }
        out_text(out, " ;;\n");
    }
    out_text(out, "    esac ;;\n  esac\n  if [[ $cur == -* ]]; then\n    words=\"$options");
    option_words(out, cli_globals);
    out_text(out, "\"\n  fi\n"
                  "  if [[ -n $files && $cur != -* ]]; then\n"
                  "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                  "  else\n"
                  "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                  "  fi\n"
                  "}\n"
                  "complete -o filenames -o bashdefault -F _agentctl agentctl\n");
}

/* --- fish --------------------------------------------------------------------------------------------------- */

/* Inside '…' fish reads backslash and quote only. */
static void fish_quoted(struct out *out, const char *s)
{
    out_text(out, "'");
    for (; *s != '\0'; s++) {
        if (*s == '\'' || *s == '\\')
            out_text(out, "\\");
        out_bytes(out, s, 1);
    }
    out_text(out, "'");
}

static void fish_condition(struct out *out, const char *name)
{
    size_t n = strcspn(name, " ");

    out_text(out, " -n '__fish_seen_subcommand_from ");
    out_bytes(out, name, n);
    if (name[n] == ' ')
        out_fmt(out, "; and __fish_seen_subcommand_from %s", name + n + 1);
    out_text(out, "'");
}

static void fish_options(struct out *out, const char *name, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++) {
        const char *list = lister(table->arg);

        out_text(out, "complete -c agentctl");
        if (name != NULL)
            fish_condition(out, name);
        out_fmt(out, " -l %s", table->name);
        if (table->letter != 0)
            out_fmt(out, " -s %c", table->letter);
        if (is_file(table->arg)) {
            out_text(out, " -r");
        } else if (list != NULL) {
            out_fmt(out, " -xa '(agentctl list %s --names -n 200 2>/dev/null)'", list);
        } else if (option_has_choices(table)) {
            out_text(out, " -xa '");
            words_of(out, table->arg);
            out_text(out, "'");
        } else if (table->arg != NULL) {
            out_text(out, " -x");
        }
        out_text(out, " -d ");
        fish_quoted(out, table->help);
        out_text(out, "\n");
    }
}

static void fish(struct out *out)
{
    out_text(out, "# fish completion of agentctl: agentctl completion fish | source\n"
                  "complete -c agentctl -f\n");
    fish_options(out, NULL, cli_globals);
    out_text(out, "set -l agentctl_verbs ");
    first_words(out, " ");
    out_text(out, "\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        const char *second = strchr((*c)->name, ' ');
        size_t n = strcspn((*c)->name, " ");

        if (second == NULL) {
            out_fmt(out, "complete -c agentctl -n \"not __fish_seen_subcommand_from $agentctl_verbs\" -a %s -d ",
                    (*c)->name);
        } else {
            if (c == cli_commands || strncmp(c[-1]->name, (*c)->name, n + 1) != 0)
                out_fmt(out, "complete -c agentctl -n \"not __fish_seen_subcommand_from $agentctl_verbs\" -a %.*s\n",
                        (int)n, (*c)->name);
            out_fmt(out, "complete -c agentctl -n '__fish_seen_subcommand_from %.*s' -a %s -d ", (int)n, (*c)->name,
                    second + 1);
        }
        fish_quoted(out, (*c)->summary);
        out_text(out, "\n");
        if ((*c)->complete != NULL) {
            out_text(out, "complete -c agentctl");
            fish_condition(out, (*c)->name);
            if (lister((*c)->complete) != NULL) {
                out_fmt(out, " -a '(agentctl list %s --names -n 200 2>/dev/null)'", lister((*c)->complete));
            } else if (is_file((*c)->complete)) {
                out_text(out, " -F");
            } else {
                out_text(out, " -a '");
                words_of(out, (*c)->complete);
                out_text(out, "'");
            }
            out_text(out, "\n");
        }
        fish_options(out, (*c)->name, (*c)->options);
        fish_options(out, (*c)->name, (*c)->shared);
    }
}

/* --- zsh ---------------------------------------------------------------------------------------------------- */

/* Inside a '…' of _arguments: quotes are doubled by '\'', brackets and colons are escaped. */
static void zsh_quoted(struct out *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '\'')
            out_text(out, "'\\''");
        else if (*s == '[' || *s == ']' || *s == ':') {
            out_text(out, "\\");
            out_bytes(out, s, 1);
        } else
            out_bytes(out, s, 1);
    }
}

static void zsh_action(struct out *out, const char *kind)
{
    if (lister(kind) != NULL) {
        out_fmt(out, "{_agentctl_names %s}", lister(kind));
    } else if (is_file(kind)) {
        out_text(out, "_files");
    } else if (kind != NULL && *kind >= 'a' && *kind <= 'z') {
        out_text(out, "(");
        words_of(out, kind);
        out_text(out, ")");
    }
}

static void zsh_options(struct out *out, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++)
        for (int form = table->letter != 0 ? 0 : 1; form < 2; form++) {
            out_text(out, " \\\n        '*");
            if (form == 0)
                out_fmt(out, "-%c[", table->letter);
            else
                out_fmt(out, "--%s[", table->name);
            zsh_quoted(out, table->help);
            out_text(out, "]");
            if (table->arg != NULL) {
                out_text(out, ":");
                zsh_quoted(out, table->name);
                out_text(out, ":");
                zsh_action(out, table->arg);
            }
            out_text(out, "'");
        }
}

static void zsh(struct out *out)
{
    out_text(out, "#compdef agentctl\n"
                  "# zsh completion of agentctl: agentctl completion zsh > \"${fpath[1]}/_agentctl\"\n"
                  "_agentctl_names() {\n"
                  "  local -a names\n"
                  "  names=(${(f)\"$(agentctl list $1 --names -n 200 2>/dev/null)\"})\n"
                  "  compadd -a names\n"
                  "}\n"
                  "_agentctl() {\n"
                  "  local -a plain\n"
                  "  local i verb=\n"
                  "  for ((i = 2; i < CURRENT; i++)); do\n"
                  "    case ${words[i]} in\n"
                  "      --db|--trace-log) ((i++)) ;;\n"
                  "      -*) ;;\n"
                  "      *) plain+=(${words[i]}) ;;\n"
                  "    esac\n"
                  "  done\n"
                  "  case ${plain[1]} in\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        size_t n = strcspn((*c)->name, " ");

        if (is_group_word(c) && (c == cli_commands || strncmp(c[-1]->name, (*c)->name, n + 1) != 0)) {
            char *group = cli_format("%.*s", (int)n, (*c)->name);

            out_fmt(out, "    %s) if ((${#plain} < 2)); then compadd ", group);
            second_words(out, group);
            out_text(out, "; return; fi; verb=\"${plain[1]} ${plain[2]}\" ;;\n");
            free(group);
        }
    }
    out_text(out, "    '') compadd ");
    first_words(out, " ");
    out_text(out, "; return ;;\n    *) verb=${plain[1]} ;;\n  esac\n  case $verb in\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++) {
        const bool has_two = is_group_word(c);

        out_fmt(out, "    '%s') _arguments", (*c)->name);
        zsh_options(out, (*c)->options);
        zsh_options(out, (*c)->shared);
        zsh_options(out, cli_globals);
        out_fmt(out, " \\\n        '%d:: :'", 1);
        if (has_two)
            out_text(out, " '2:: :'");
        if ((*c)->complete != NULL) {
            out_fmt(out, " '%d:name:", has_two ? 3 : 2);
            zsh_action(out, (*c)->complete);
            out_text(out, "'");
        }
        out_text(out, " '*:file:_files' ;;\n");
    }
    out_text(out, "  esac\n}\n_agentctl \"$@\"\n");
}

static int completion(struct cli *cli, const struct args *args)
{
    static const struct {
        const char *name;
        void (*print)(struct out *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
        if (strcmp(args->at[0], shells[i].name) == 0) {
            shells[i].print(&cli->out);
            return EXIT_OK;
        }
    return cli_usage(cli, "it is one of bash, zsh, fish", "completion: '%s' is no shell it knows", args->at[0]);
}

static const char *const examples[] = {"completion bash > /etc/bash_completion.d/agentctl", "completion fish | source", NULL};

const struct command cmd_completion = {
    .name = "completion",
    .synopsis = "bash|zsh|fish",
    .summary = "print a shell's completion",
    .examples = examples,
    .complete = "bash|zsh|fish",
    .min_args = 1,
    .max_args = 1,
    .run = completion,
};
