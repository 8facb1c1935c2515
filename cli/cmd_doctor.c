/*
 * agentctl doctor: what a person would ask first when something does not work. Names of keys, never
 * their values.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/rows.h"

struct exam {
    struct cli *cli;
    int problems;
    int waiting;   /* runs that wait for a decision */
    int sqlite[3]; /* version of the library; all 0: unknown */
};

static void fact(void *ctx, const char *name, const char *value)
{
    struct exam *exam = ctx;
    struct out *out = &exam->cli->out;

    if (exam->cli->json) {
        put_key(out, name);
        put_str(out, value);
    } else {
        out_fmt(out, "%-26s %s\n", name, value == NULL ? "unknown" : value);
    }
    if (value != NULL && strcmp(name, "runs_waiting") == 0)
        exam->waiting = (int)strtol(value, NULL, 10);
    if (value != NULL && strcmp(name, "sqlite_version") == 0 &&
        sscanf(value, "%d.%d.%d", &exam->sqlite[0], &exam->sqlite[1], &exam->sqlite[2]) != 3)
        memset(exam->sqlite, 0, sizeof(exam->sqlite));
}

struct advice {
    char *lines[8];
    bool is_problem[8];
    size_t count;
};

static void advise(struct exam *exam, struct advice *a, bool is_problem, char *line)
{
    exam->problems += is_problem;
    if (a->count == sizeof(a->lines) / sizeof(a->lines[0])) {
        free(line);
        return;
    }
    a->is_problem[a->count] = is_problem;
    a->lines[a->count++] = line;
}

static void tell_advice(struct exam *exam, struct advice *a)
{
    struct out *out = &exam->cli->out;

    if (exam->cli->json) {
        put_key(out, "advice");
        put_open(out, '[');
        for (size_t i = 0; i < a->count; i++)
            put_str(out, a->lines[i]);
        put_close(out, '[');
        put_key(out, "ok");
        put_bool(out, exam->problems == 0);
    } else {
        for (size_t i = 0; i < a->count; i++)
            out_fmt(out, "%s %s\n", a->is_problem[i] ? "problem:" : "advice:", a->lines[i]);
        out_text(out, exam->problems == 0 ? "all is well\n" : "");
    }
    for (size_t i = 0; i < a->count; i++)
        free(a->lines[i]);
}

/* --- keys -------------------------------------------------------------------------------------------------- */

static void key_name(void *ctx, const char *name)
{
    struct exam *exam = ctx;
    char *label;

    if (strcmp(name, "OPENAI_API_KEY") == 0 || strcmp(name, "ANTHROPIC_API_KEY") == 0)
        return;
    label = cli_format("key %s", name);
    fact(exam, label, cli_key_source(exam->cli, name));
    free(label);
}

static void examine_keys(struct exam *exam, struct advice *a)
{
    static const char *const names[] = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"};
    char *path = cli_keys_path();
    struct stat st;

    for (size_t i = 0; i < 2; i++) {
        char *label = cli_format("key %s", names[i]);
        const char *source = cli_key_source(exam->cli, names[i]);

        fact(exam, label, source == NULL ? "not set" : source);
        free(label);
    }
    cli_key_names(exam->cli, key_name, exam);
    fact(exam, "keys file", path == NULL ? "unknown: no home" : stat(path, &st) == 0 ? path : "none");
    if (exam->cli->keys.refused.status != AGENT_OK)
        advise(exam, a, true, cli_format("%s; %s", exam->cli->keys.refused.text, exam->cli->keys.refused.hint));
    free(path);
}

/* --- the file ------------------------------------------------------------------------------------------------ */

static void finding(void *ctx, const char *text)
{
    (void)text;
    ++*(int *)ctx;
}

/* "WAL-reset": SQLite 3.7.0 to 3.51.2 can lose commits where a checkpoint of one connection meets one
 * of another. Our own writers take care; a stranger's shell does not know. */
static bool has_wal_reset(const int v[3])
{
    if (v[0] != 3)
        return false;
    return v[1] < 51 || (v[1] == 51 && v[2] < 3);
}

static bool take_notice(void *ctx, const agent_row *row)
{
    size_t at_bytes, kind_bytes, bytes;
    const char *at = row_text(row, "at", &at_bytes), *kind = row_text(row, "kind", &kind_bytes);
    const char *text = row_text(row, "text", &bytes);

    *(char **)ctx = cli_format("%.*s %.*s: %.*s", (int)at_bytes, at, (int)kind_bytes, kind, (int)bytes, text);
    return false;
}

/* What the last engine that did something about memory did: agentctl stats has all of it. */
static agent_status examine_memory(struct exam *exam, agent_error *err)
{
    agent_filter filter = AGENT_FILTER_INIT;
    char *text = NULL;
    agent_status rc;

    filter.newest_first = true;
    filter.limit = 1;
    rc = agent_scan(exam->cli->engine, AGENT_VIEW_NOTICES, &filter, take_notice, &text, err);
    if (rc == AGENT_OK && text != NULL)
        fact(exam, "last memory notice", text);
    free(text);
    return rc;
}

static int examine_file(struct exam *exam, struct advice *a)
{
    struct cli *cli = exam->cli;
    agent_error err = AGENT_ERROR_INIT;
    struct stat st;
    int rc, findings = 0;

    if ((rc = cli_db_path(cli, NEED_READ)) != EXIT_OK)
        return rc;
    fact(exam, "database", cli->db_path);
    fact(exam, "database from", cli->db_source);
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    if (agent_db_facts(cli->engine, fact, exam, &err) != AGENT_OK || examine_memory(exam, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (agent_db_check(cli->engine, finding, &findings, &err) != AGENT_OK)
        advise(exam, a, true,
               findings > 0 ? cli_format("the check has %d findings: agentctl db check", findings)
                            : cli_format("%s", err.text));
    if (stat(cli->db_path, &st) == 0 && (st.st_mode & 077) != 0)
        advise(exam, a, true,
               cli_format("others may read '%s' (mode %04o): chmod 600 it", cli->db_path, (unsigned)(st.st_mode & 0777)));
    if (exam->waiting > 0)
        advise(exam, a, false, cli_format("%d runs wait for a decision: agentctl list runs --status waiting", exam->waiting));
    if (has_wal_reset(exam->sqlite))
        advise(exam, a, false,
               cli_format("SQLite %d.%d.%d has the WAL-reset bug (fixed in 3.51.3): agentctl checkpoints under its write "
                          "lock; look into the file with agentctl sql or sqlite3 -readonly",
                          exam->sqlite[0], exam->sqlite[1], exam->sqlite[2]));
    return EXIT_OK;
}

static int doctor(struct cli *cli, const struct args *args)
{
    struct exam exam = {.cli = cli};
    struct advice advice = {0};
    int rc;

    (void)args;
    if (cli->json)
        put_open(&cli->out, '{');
    fact(&exam, "agentctl", AGENT_VERSION);
    fact(&exam, "libagent", agent_version());
    fact(&exam, "HOME", getenv("HOME"));
    examine_keys(&exam, &advice);
    rc = examine_file(&exam, &advice);
    if (rc != EXIT_OK)
        exam.problems++;
    tell_advice(&exam, &advice);
    if (cli->json) {
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return rc != EXIT_OK ? rc : exam.problems > 0 ? EXIT_RUN_FAILED : EXIT_OK;
}

static const char *const examples[] = {"doctor", "doctor --json", NULL};

const struct command cmd_doctor = {
    .name = "doctor",
    .synopsis = "",
    .summary = "versions, the file, keys: what is there and what is wrong",
    .text = "Answers 0, or 1 where something is wrong.",
    .examples = examples,
    .run = doctor,
};
