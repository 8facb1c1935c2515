/*
 * agentctl from inside: the table of commands, and what every command is handed.
 *
 *     argv ──► args.c ──► struct args ──► command->run() ──► exit code
 *               ▲                             │
 *        commands.c: the table                ├──► open.c   the file, the engine, the keys
 *        (help, man page and completion       ├──► out.h    data, to stdout
 *         are printed from it too)            └──► fail.c   errors, to stderr
 *
 *   (1) A command is one const entry: nothing about its options is said anywhere else.
 *   (2) A command returns an exit code and has told its error by then.
 *   (3) Reading commands open the file for inspection only and never write to it.
 */
#ifndef AG_CLI_CMD_H
#define AG_CLI_CMD_H

#include <agent/agent.h>

#include "cli/out.h"
#include "cli/text.h"

/* Scripts lean on these; the man page prints them. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_RUN_FAILED = 1, /* and what has no code of its own */
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_WAITS = 4,
    EXIT_DENIED = 5,
    EXIT_LIMIT = 6,
    EXIT_PROVIDER = 7,
    EXIT_DATABASE = 8,
    EXIT_BUSY = 9,
    EXIT_TIMEOUT = 124,
    EXIT_SIGNAL = 128, /* + its number */
};

struct option {
    const char *name; /* NULL ends a table */
    char letter;      /* 0: none */
    const char *arg;  /* NULL: a flag. "a|b|c": one of these words. Else what it is: FILE, AGENT, N … */
    const char *help;
};

/* Whether its value is one of a few words, which are checked as they are read. */
bool option_has_choices(const struct option *o);

struct cli;
struct args;

enum command_flag {
    COMMAND_LINES = 1,       /* knows --jsonl */
    COMMAND_RUNS = 2,        /* drives runs: --jsonl ends with a run.end line whatever happens */
};

struct command {
    const char *name;     /* "run", "tool add" */
    const char *synopsis; /* what follows the name, without the options */
    const char *summary;  /* one line, without a full stop */
    const char *text;     /* some more lines; NULL: none */
    const struct option *options; /* NULL: none of its own */
    const struct option *shared;  /* a table that others use too; NULL: none */
    const char *const *examples;  /* what follows "agentctl "; NULL-terminated */
    const char *complete;         /* first positional: "agent", "tool", "run", "session", "file" or words a|b */
    int min_args, max_args;       /* max -1: any number */
    unsigned flags;
    int (*run)(struct cli *cli, const struct args *args);
};

struct given {
    const struct option *option;
    const char *value; /* NULL: a flag */
};

struct args {
    const struct command *command;
    const char **at; /* positionals */
    int count;
    int after_dashes; /* index of the first one after "--"; count where there was none */
    struct given *given;
    int given_count;
};

/* What the whole process shares. Lives in main(). */
struct cli {
    struct out out;
    const struct command *command;
    bool json, jsonl, is_quiet, is_yes, is_verbose;
    int log_level; /* -1: silence */
    const char *db_flag;
    char *db_path, *db_source; /* set by cli_db_path() */
    agent_engine *engine;
    agent_cache_trace *trace; /* --cache-trace; NULL: none */
    const char *trace_path;
    int workers; /* threads of the engine that drive runs; 0: this one does */
    struct keys {
        bool is_loaded;
        char *text; /* the file, cut into NAME\0value\0; overwritten before it is freed */
        size_t bytes, cap;
        agent_error refused; /* status AGENT_OK: it was read, or there is none */
    } keys;
    agent_error last;   /* the error told last, for a run.end line */
    bool owes_run_end;  /* --json or --jsonl of a command that runs: its line has not been written yet */
};

/* --- the table, and who reads it ------------------------------------------------------------------- */

extern const struct command *const cli_commands[]; /* NULL-terminated, in the order of the help */
extern const struct option cli_globals[];          /* every command knows these */
extern const struct option cli_driving[];          /* settings of the engine, for commands that run */

/* By name ("run", "tool add"); NULL: there is none. */
const struct command *cli_command_find(const char *name);
/* Whether `word` is the first word of commands with two ("tool"). */
bool cli_is_group(const char *word);

/* Reads argv into the cli's switches and `args`; the latter stays valid until args_drop().
 * EXIT_OK: run args->command. Where it is NULL, nothing is left to be done (help was printed). */
int args_parse(struct cli *cli, int argc, char **argv, struct args *args);
void args_drop(struct args *args);
const char *args_value(const struct args *args, const char *name); /* the last one; NULL: not given */
bool args_has(const struct args *args, const char *name);

void help_overview(struct out *out);
void help_group(struct out *out, const char *group);
void help_command(struct out *out, const struct command *command);
void help_man_page(struct out *out);

/* --- errors: fail.c ---------------------------------------------------------------------------------- */

enum exit_code cli_exit_code(agent_status status);
/* Prints the error and its hint; returns its exit code. */
int cli_fail(struct cli *cli, const agent_error *err);
/* A mistake in the command line: exit 2. hint NULL: "agentctl VERB --help". */
int cli_usage(struct cli *cli, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A line on stderr, unless --quiet. */
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The names nearest to a wrong one. Feed it names, then read the hint. */
struct suggest {
    const char *wrong;
    char best[96], known[160];
    size_t distance, known_count;
    bool is_there; /* the name itself was among them */
};
void suggest_begin(struct suggest *s, const char *wrong);
void suggest_name(struct suggest *s, const char *name);
bool suggest_found(const struct suggest *s); /* best is near enough */
/* After AGENT_ENOTFOUND: adds the remedy for a name that is not there, then fails. */
int cli_fail_agent(struct cli *cli, const char *agent, agent_error *err);
int cli_fail_tool(struct cli *cli, const char *const *tools, size_t count, agent_error *err);
int cli_fail_session(struct cli *cli, const char *agent, const char *spec, agent_error *err);
int cli_no_run(struct cli *cli, int64_t run);

/* --- the file: open.c --------------------------------------------------------------------------------- */

enum need {
    NEED_READ,   /* inspects */
    NEED_WRITE,  /* the file must be there */
    NEED_CREATE, /* makes it where its folder is there */
};

/* Settles which file is meant, and that it is there. EXIT_OK or an exit code whose error was told. */
int cli_db_path(struct cli *cli, enum need need);
/* Opens cli->engine; driving options are taken from args (NULL: none). */
int cli_open(struct cli *cli, enum need need, const struct args *args);
/* Whether the variable is set: "environment", "keys file" or NULL. Never its value. */
const char *cli_key_source(struct cli *cli, const char *name);
/* Calls fn for each name in the keys file. */
void cli_key_names(struct cli *cli, void (*fn)(void *ctx, const char *name), void *ctx);
/* --cache-trace FILE of args: from now on, until the end (or cli_close). */
int cli_trace_begin(struct cli *cli, const struct args *args);
int cli_trace_end(struct cli *cli);
char *cli_keys_path(void); /* given; NULL: no home */
void cli_close(struct cli *cli);

/* --- shared by commands --------------------------------------------------------------------------------- */

/* The number of a run: "12" or "#12". */
bool cli_run_number(const char *s, int64_t *out);
/* EXIT_OK where the destructive command may go on; else the exit code. `what` ends the sentence. */
int cli_confirm(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whether a view has a row that the filter lets through. */
agent_status cli_any(struct cli *cli, enum agent_view view, const agent_filter *filter, bool *out, agent_error *err);
/* EXIT_OK where the agent is there, else an error that names those that are. */
int cli_check_agent(struct cli *cli, const char *agent);
/* What a destructive command of one thing tells at its end. */
void cli_tell_removed(struct cli *cli, const char *kind, const char *name, bool is_dry);
/* agentctl list WORD, with the options of args. */
int cli_list_of(struct cli *cli, const struct args *args, const char *word);
/* SPEC, or AGENT SPEC, from args at index; fails with EXIT_NOT_FOUND. */
int cli_session(struct cli *cli, const struct args *args, int index, int64_t *out_session);
/* Text options "name" as a duration or a count; untouched where not given. */
int cli_duration(struct cli *cli, const struct args *args, const char *name, int64_t *out_ms);
int cli_number(struct cli *cli, const struct args *args, const char *name, int64_t min, int64_t max, int64_t *out);

#endif
