/*
 * agentctl db path, check, backup, migrate; sql: the file itself.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/rows.h"

#define SQL_BYTES (4u << 20)

/* --- db ------------------------------------------------------------------------------------------------ */

static int path(struct cli *cli, const struct args *args)
{
    int rc = cli_db_path(cli, NEED_READ);
    char *full;

    (void)args;
    if (rc != EXIT_OK)
        return rc;
    full = realpath(cli->db_path, NULL);
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "path");
        put_str(&cli->out, full == NULL ? cli->db_path : full);
        put_key(&cli->out, "from");
        put_str(&cli->out, cli->db_source);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        out_text(&cli->out, full == NULL ? cli->db_path : full);
        out_text(&cli->out, "\n");
    }
    free(full);
    return EXIT_OK;
}

static void take_finding(void *ctx, const char *text)
{
    struct cli *cli = ctx;

    if (cli->json) {
        put_str(&cli->out, text);
    } else {
        out_text(&cli->out, text);
        out_text(&cli->out, "\n");
    }
}

static int check(struct cli *cli, const struct args *args)
{
    agent_error err = AGENT_ERROR_INIT;
    agent_status status;
    int rc;

    (void)args;
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "findings");
        put_open(&cli->out, '[');
    }
    status = agent_db_check(cli->engine, take_finding, cli, &err);
    if (cli->json) {
        put_close(&cli->out, '[');
        put_key(&cli->out, "ok");
        put_bool(&cli->out, status == AGENT_OK);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else if (status == AGENT_OK) {
        out_text(&cli->out, "ok\n");
    }
    return status == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

static int backup(struct cli *cli, const struct args *args)
{
    agent_error err = AGENT_ERROR_INIT;
    int rc = cli_open(cli, NEED_READ, NULL);

    if (rc != EXIT_OK)
        return rc;
    if (agent_db_backup(cli->engine, args->at[0], &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "path");
        put_str(&cli->out, args->at[0]);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        cli_note(cli, "backed up '%s' to '%s'", cli->db_path, args->at[0]);
    }
    return EXIT_OK;
}

struct schema {
    char *version;
};

static void take_schema(void *ctx, const char *name, const char *value)
{
    struct schema *schema = ctx;

    if (strcmp(name, "schema_version") == 0 && schema->version == NULL)
        schema->version = cli_strdup(value);
}

/* Any command that writes upgrades an older file as it opens it; this one does nothing else. */
static int migrate(struct cli *cli, const struct args *args)
{
    agent_error err = AGENT_ERROR_INIT;
    struct schema schema = {0};
    int rc;

    (void)args;
    if ((rc = cli_open(cli, NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    if (agent_db_facts(cli->engine, take_schema, &schema, &err) != AGENT_OK) {
        rc = cli_fail(cli, &err);
    } else if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "schema_version");
        put_embed(&cli->out, schema.version);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        cli_note(cli, "'%s' is at schema version %s", cli->db_path, schema.version == NULL ? "?" : schema.version);
    }
    free(schema.version);
    return rc;
}

/* --- sql -------------------------------------------------------------------------------------------------- */

/* Numbers of a program's own go to programs as JSON, to people as a table. */
static int sql(struct cli *cli, const struct args *args)
{
    const char *arg = args->count > 0 ? args->at[0] : "-";
    agent_error err = AGENT_ERROR_INIT;
    struct text text;
    struct rows rows;
    int rc;

    if (args_has(args, "table") && (cli->json || cli->jsonl))
        return cli_usage(cli, NULL, "sql: --table and --json exclude each other");
    if (text_argument(arg, SQL_BYTES, &text, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (strspn(text.at, " \t\r\n;") == strlen(text.at)) {
        free(text.at);
        return cli_usage(cli, "agentctl sql 'select * from v_runs'", "sql: there is no statement");
    }
    rc = cli_open(cli, NEED_READ, NULL);
    if (rc == EXIT_OK) {
        rows_begin(&rows, cli, NULL);
        rows.is_json = cli->json || (!cli->jsonl && !cli->out.is_tty && !args_has(args, "table"));
        if (agent_sql(cli->engine, text.at, rows_take, &rows, &err) == AGENT_OK) {
            rows_end(&rows);
        } else {
            if (rows.count == 0)
                cli->out.bytes = 0;
            rc = cli_fail(cli, &err);
        }
    }
    free(text.at);
    return rc;
}

/* --- table ------------------------------------------------------------------------------------------------- */

static const struct option sql_options[] = {{"table", 0, NULL, "an aligned table also in a pipe"}, {0}};

static const char *const path_examples[] = {"db path", "cp \"$(agentctl db path)\" /mnt/usb/", NULL};
static const char *const check_examples[] = {"db check", NULL};
static const char *const backup_examples[] = {"db backup /var/backups/agent.db", NULL};
static const char *const migrate_examples[] = {"db migrate", NULL};
static const char *const sql_examples[] = {
    "sql 'select status, count(*) from v_runs group by 1'",
    "sql @report.sql | jq '.[0]'",
    "sql \"select name, sql from sqlite_schema where type = 'view'\"",
    NULL,
};

const struct command cmd_db_path = {
    .name = "db path",
    .synopsis = "",
    .summary = "print which file is used",
    .examples = path_examples,
    .run = path,
};

const struct command cmd_db_check = {
    .name = "db check",
    .synopsis = "",
    .summary = "check pages, indexes, references and our own rules",
    .text = "Prints ok, or one finding a line and answers 8.",
    .examples = check_examples,
    .run = check,
};

const struct command cmd_db_backup = {
    .name = "db backup",
    .synopsis = "FILE",
    .summary = "copy the file, consistent while runs go on",
    .text = "The copy is a working file on another machine; its unfinished runs wait there\n"
            "until resume --all. FILE must not be there yet.",
    .examples = backup_examples,
    .complete = "file",
    .min_args = 1,
    .max_args = 1,
    .run = backup,
};

const struct command cmd_db_migrate = {
    .name = "db migrate",
    .synopsis = "",
    .summary = "bring an older file to this version's schema",
    .text = "A verified copy of the file as it was is kept beside it.",
    .examples = migrate_examples,
    .run = migrate,
};

const struct command cmd_sql = {
    .name = "sql",
    .synopsis = "[SQL | @FILE | -]",
    .summary = "read the file with SQL",
    .text = "Only what reads is run. A table on a terminal, JSON in a pipe. The views are\n"
            "v_agents v_sessions v_messages v_runs v_steps v_tool_calls v_stage_memory\n"
            "v_memory v_cache v_samples v_notices; times are ISO-8601 UTC, NULL is unknown.",
    .options = sql_options,
    .examples = sql_examples,
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = sql,
};
