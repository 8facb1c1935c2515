/*
 * Everything that is said about commands, from their table: --help, the man page.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"

#define OPTION_WIDTH  33 /* of the left column of a help text */
#define OPTIONS_WHOLE 12 /* of its own, beside which a command's shared options are told too */
#define LINE_WIDTH    78

static const struct section {
    const char *title;
    const char *const *names;
} sections[] = {
    {"agents and runs", (const char *const[]){"create", "run", "list", "show", "edit", "rm", "logs", "stats", "top",
                                              "cancel", NULL}},
    {"the queue, a crash", (const char *const[]){"work", "wait", "tail", "resume", "approve", "deny", NULL}},
    {"what agents have", (const char *const[]){"tool", "memory", "session", "cache", NULL}},
    {"the file, this program", (const char *const[]){"db", "sql", "limits", "doctor", "bench", "help", "version",
                                                     "completion", NULL}},
};

static const struct {
    const char *name, *summary;
} groups[] = {
    {"tool", "add, ls, show, test, rm: what agents may call"},
    {"memory", "ls, set, search, rm: what an agent remembers"},
    {"session", "ls, show, rm: conversations"},
    {"cache", "stats, ls, show, rm, clear, resize, trace: what is used again"},
    {"db", "path, check, backup, migrate"},
    {"limits", "every limit with its unit; show, set, reset"},
    {"bench", "cache: what a front cache would make of a trace"},
};

static const char *summary_of(const char *name)
{
    const struct command *command = cli_command_find(name);

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        if (strcmp(groups[i].name, name) == 0)
            return groups[i].summary;
    return command == NULL ? "" : command->summary;
}

void help_overview(struct out *out)
{
    out_text(out, "usage: agentctl [--db FILE] VERB …\n\n"
                  "An agent engine that keeps everything it knows in one SQLite file.\n");
    for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
        out_fmt(out, "\n%s\n", sections[s].title);
        for (const char *const *name = sections[s].names; *name != NULL; name++)
            out_fmt(out, "  %-11s %s\n", *name, summary_of(*name));
    }
    out_text(out, "\nThe file: --db, else $AGENTCTL_DB, else ./agent.db where it is there, else\n"
                  "$XDG_DATA_HOME/agentctl/agent.db. Every verb knows --json and --help.\n"
                  "Begin with: agentctl create demo && agentctl run demo 'Hello'\n");
}

void help_group(struct out *out, const char *group)
{
    size_t n = strlen(group);

    out_fmt(out, "usage: agentctl %s VERB …\n\n", group);
    for (const struct command *const *c = cli_commands; *c != NULL; c++)
        if (strncmp((*c)->name, group, n) == 0 && (*c)->name[n] == ' ')
            out_fmt(out, "  %-16s %s\n", (*c)->name, (*c)->summary);
    out_fmt(out, "\nagentctl %s VERB --help tells more.\n", group);
}

static void option_line(struct out *out, const struct option *o)
{
    char *left = cli_format("  %c%c%c --%s%s%s", o->letter == 0 ? ' ' : '-', o->letter == 0 ? ' ' : o->letter,
                            o->letter == 0 ? ' ' : ',', o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);

    if (strlen(left) < OPTION_WIDTH)
        out_fmt(out, "%-*s %s\n", OPTION_WIDTH, left, o->help);
    else
        out_fmt(out, "%s  %s\n", left, o->help);
    free(left);
}

static void option_table(struct out *out, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++)
        option_line(out, table);
}

/* Of a command that has many of its own only their names, so that its help fits a screen. */
static void shared_options(struct out *out, const struct command *command)
{
    size_t own = 0, column = 0;

    while (command->options != NULL && command->options[own].name != NULL)
        own++;
    if (command->shared == NULL || own <= OPTIONS_WHOLE) {
        option_table(out, command->shared);
        return;
    }
    out_text(out, "\nof the engine, told by agentctl work --help\n ");
    for (const struct option *o = command->shared; o->name != NULL; o++) {
        size_t width = strlen(o->name) + 3;

        if (column + width > LINE_WIDTH) {
            out_text(out, "\n ");
            column = 0;
        }
        out_fmt(out, " --%s", o->name);
        column += width;
    }
    out_text(out, "\n");
}

/* Pipelines name the program where it stands in them. */
static bool needs_agentctl(const char *example)
{
    return strstr(example, "| agentctl") == NULL && strstr(example, "$(agentctl") == NULL;
}

void help_command(struct out *out, const struct command *command)
{
    const bool has_options = command->options != NULL || command->shared != NULL;

    out_fmt(out, "usage: agentctl %s%s%s%s\n\n%s\n", command->name, *command->synopsis == '\0' ? "" : " ",
            command->synopsis, has_options ? " [options]" : "", command->summary);
    if (command->text != NULL)
        out_fmt(out, "\n%s\n", command->text);
    out_text(out, has_options ? "\noptions\n" : "");
    option_table(out, command->options);
    shared_options(out, command);
    out_fmt(out, "\nalso: --db FILE, --json%s, -y, -q, -v, --trace-log LEVEL\n\nexamples\n",
            (command->flags & COMMAND_LINES) != 0 ? ", --jsonl" : "");
    for (const char *const *e = command->examples; *e != NULL; e++)
        out_fmt(out, "  %s%s\n", needs_agentctl(*e) ? "agentctl " : "", *e);
}

/* --- the man page ------------------------------------------------------------------------------------------- */

/* roff reads a backslash and a leading dot or quote as its own; a plain - would become a hyphen. */
static void roff(struct out *out, const char *s)
{
    for (bool is_start = true; *s != '\0'; s++) {
        if (is_start && (*s == '.' || *s == '\'' || strncmp(s, "…", 3) == 0))
            out_text(out, "\\&");
        if (*s == '\\')
            out_text(out, "\\e");
        else if (*s == '-')
            out_text(out, "\\-");
        else if (*s == '\'')
            out_text(out, "\\(aq");
        else if (strncmp(s, "…", 3) == 0) { /* roff is ASCII */
            out_text(out, "...");
            s += 2;
        } else
            out_bytes(out, s, 1);
        is_start = *s == '\n';
    }
}

static void roff_options(struct out *out, const struct option *table)
{
    for (; table != NULL && table->name != NULL; table++) {
        out_text(out, ".TP\n");
        if (table->letter != 0)
            out_fmt(out, "\\fB\\-%c\\fR, ", table->letter);
        out_text(out, "\\fB\\-\\-");
        roff(out, table->name);
        out_text(out, "\\fR");
        if (table->arg != NULL) {
            out_text(out, " \\fI");
            roff(out, table->arg);
            out_text(out, "\\fR");
        }
        out_text(out, "\n");
        roff(out, table->help);
        out_text(out, "\n");
    }
}

static void roff_command(struct out *out, const struct command *command)
{
    out_text(out, ".SS ");
    roff(out, command->name);
    out_text(out, " ");
    roff(out, command->synopsis);
    out_text(out, "\n");
    roff(out, command->summary);
    out_text(out, ".\n");
    if (command->text != NULL) {
        out_text(out, ".PP\n");
        roff(out, command->text);
        out_text(out, "\n");
    }
    roff_options(out, command->options);
    roff_options(out, command->shared);
    out_text(out, ".PP\n.EX\n");
    for (const char *const *e = command->examples; *e != NULL; e++) {
        roff(out, needs_agentctl(*e) ? "agentctl " : "");
        roff(out, *e);
        out_text(out, "\n");
    }
    out_text(out, ".EE\n");
}

void help_man_page(struct out *out)
{
    static const struct {
        const char *code, *meaning;
    } codes[] = {
        {"0", "it went well"},
        {"1", "the run failed, or what has no code of its own"},
        {"2", "a mistake in the command line or in what it names"},
        {"3", "not found: the file, an agent, a session, a run, a tool"},
        {"4", "the run waits for approve or deny"},
        {"5", "denied, or the answer to a question was no"},
        {"6", "a limit or budget is reached"},
        {"7", "provider or network, also: there is no key"},
        {"8", "database"},
        {"9", "busy: try again later"},
        {"124", "the time is up"},
        {"130, 143", "cancelled by ^C, by SIGTERM"},
    };

    out_text(out, ".TH AGENTCTL 1 \"\" \"agentctl " AGENT_VERSION "\" \"User Commands\"\n"
                  ".SH NAME\nagentctl \\- run LLM agents whose whole state lives in one SQLite file\n"
                  ".SH SYNOPSIS\n.B agentctl\n[\\fB\\-\\-db\\fR \\fIFILE\\fR] \\fIVERB\\fR ...\n"
                  ".SH DESCRIPTION\n"
                  "Agents, sessions, messages, memory, runs, steps and tool calls are rows of one file. "
                  "Standard output carries the answer or the data and nothing else; notes and errors go to "
                  "standard error. Options may stand before and after other words; "
                  "\\fB\\-\\-\\fR ends them.\n"
                  ".PP\nThe file is \\fB\\-\\-db\\fR, else \\fB$AGENTCTL_DB\\fR, else \\fI./agent.db\\fR where it is "
                  "there, else \\fI$XDG_DATA_HOME/agentctl/agent.db\\fR. It is created by create, run, tool add and "
                  "memory set; every other verb answers 3 where it is not there.\n"
                  ".PP\nA text argument that begins with @ names a file; @@ stands for an @ itself; \\- is standard "
                  "input. Durations are 500ms, 10s, 2m, 1h, 1d; sizes 100, 64KB, 1MB, 2GB.\n"
                  ".SH OPTIONS OF EVERY VERB\n");
    roff_options(out, cli_globals);
    out_text(out, ".SH VERBS\n");
    for (const struct command *const *c = cli_commands; *c != NULL; c++)
        roff_command(out, *c);
    out_text(out, ".SH OUTPUT OF RUN\n"
                  "\\fB\\-\\-jsonl\\fR writes an object for each event: run.start, text.delta, retry, tool.start, "
                  "tool.end, message.end, run.waiting and, always as the last line, run.end, which \\fB\\-\\-json\\fR "
                  "writes alone. Text of a text.delta is provisional and carries the number of its attempt; run.end "
                  "comes after the commit. What is unknown is null.\n"
                  ".SH KEYS\n"
                  "A provider's key is read from \\fBOPENAI_API_KEY\\fR or \\fBANTHROPIC_API_KEY\\fR (or the variable "
                  "that the agent names), else from \\fI$XDG_CONFIG_HOME/agentctl/keys\\fR: lines NAME=value, mode "
                  "0600. No key reaches the file, a tool or a log line.\n"
                  ".SH ENVIRONMENT\n"
                  ".TP\n\\fBAGENTCTL_DB\\fR\nThe database file.\n"
                  ".TP\n\\fBSSL_CERT_FILE\\fR\nCertificates for TLS.\n"
                  ".TP\n\\fBNO_COLOR\\fR\nNo colour on a terminal.\n"
                  ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        out_fmt(out, ".TP\n.B %s\n", codes[i].code);
        roff(out, codes[i].meaning);
        out_text(out, "\n");
    }
}
