/*
 * agentctl limits: every limit with its unit, its default and what going over it gives; limits set
 * and reset keep one in the file, for every engine opened on it from then on.
 */
#include <stdio.h>
#include <string.h>

#include "cli/rows.h"

struct listing {
    struct cli *cli;
    struct table table;
    const char *only; /* NULL: all */
    int count;
};

static void put_value(struct out *out, const agent_limit *limit, int64_t value)
{
    if (limit->choices != NULL)
        put_str(out, limit->choices[value]);
    else
        put_int(out, value);
}

static void table_value(struct table *t, const agent_limit *limit, int64_t value)
{
    if (limit->choices != NULL)
        table_text(t, limit->choices[value], strlen(limit->choices[value]));
    else
        table_int(t, value);
}

static void print_json(struct listing *l, const agent_limit *limit)
{
    struct out *out = &l->cli->out;

    put_open(out, '{');
    put_key(out, "name");
    put_str(out, limit->name);
    put_key(out, "value");
    put_value(out, limit, limit->value);
    put_key(out, "unit");
    put_str(out, limit->unit);
    put_key(out, "default");
    put_value(out, limit, limit->standard);
    put_key(out, "min");
    limit->most > 0 && limit->choices == NULL ? put_int(out, limit->least) : put_null(out);
    put_key(out, "max");
    limit->most > 0 && limit->choices == NULL ? put_int(out, limit->most) : put_null(out);
    put_key(out, "error");
    put_str(out, limit->error);
    put_key(out, "text");
    put_str(out, limit->text);
    put_close(out, '{');
    if (l->cli->jsonl)
        put_line(out);
}

static void take(void *ctx, const agent_limit *limit)
{
    struct listing *l = ctx;

    if (l->only != NULL && strcmp(l->only, limit->name) != 0)
        return;
    l->count++;
    if (l->cli->json || l->cli->jsonl) {
        print_json(l, limit);
        return;
    }
    table_text(&l->table, limit->name, strlen(limit->name));
    table_value(&l->table, limit, limit->value);
    table_text(&l->table, limit->unit, strlen(limit->unit));
    table_value(&l->table, limit, limit->standard);
    table_text(&l->table, limit->error, strlen(limit->error));
    table_text(&l->table, limit->most > 0 ? "yes" : "no", limit->most > 0 ? 3 : 2);
    table_text(&l->table, limit->text, strlen(limit->text));
}

static int limits(struct cli *cli, const struct args *args)
{
    static const char *const header[] = {"limit", "value", "unit", "default", "over it", "settable", "what"};
    struct listing l = {.cli = cli, .only = args->count > 0 ? args->at[0] : NULL};
    agent_error err = AGENT_ERROR_INIT;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    table_init(&l.table, 7);
    for (int i = 0; i < 7; i++)
        table_text(&l.table, header[i], strlen(header[i]));
    if (cli->json && !cli->jsonl)
        put_open(&cli->out, '[');
    if (agent_limits(cli->engine, take, &l, &err) != AGENT_OK) {
        table_drop(&l.table);
        return cli_fail(cli, &err);
    }
    if (cli->json && !cli->jsonl) {
        put_close(&cli->out, '[');
        put_line(&cli->out);
    } else if (!cli->jsonl) {
        table_print(&l.table, &cli->out, true);
    }
    table_drop(&l.table);
    if (l.count == 0) {
        err.status = AGENT_ENOTFOUND;
        (void)snprintf(err.text, sizeof(err.text), "no limit '%.60s'", l.only);
        (void)snprintf(err.hint, sizeof(err.hint), "agentctl limits shows all");
        return cli_fail(cli, &err);
    }
    return EXIT_OK;
}

static int change(struct cli *cli, const char *name, const int64_t *value, const char *word)
{
    agent_error err = AGENT_ERROR_INIT;

    if (agent_limit_set(cli->engine, name, value, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (value == NULL)
        cli_note(cli, "limit %s has its default again", name);
    else if (word != NULL)
        cli_note(cli, "limit %s is %s", name, word);
    else
        cli_note(cli, "limit %s is %lld", name, (long long)*value);
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, "name");
        put_str(&cli->out, name);
        put_key(&cli->out, "value");
        if (value == NULL)
            put_null(&cli->out);
        else if (word != NULL)
            put_str(&cli->out, word);
        else
            put_int(&cli->out, *value);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    }
    return EXIT_OK;
}

struct words {
    const char *name, *const *choices;
};

static void find_words(void *ctx, const agent_limit *limit)
{
    struct words *w = ctx;

    if (strcmp(limit->name, w->name) == 0)
        w->choices = limit->choices;
}

static int set_word(struct cli *cli, const struct words *w, const char *text)
{
    char hint[AGENT_ERROR_HINT_MAX] = "it is one of";
    size_t n = strlen(hint);

    for (int64_t i = 0; w->choices[i] != NULL; i++) {
        if (strcmp(w->choices[i], text) == 0)
            return change(cli, w->name, &i, text);
        n += (size_t)snprintf(hint + n, n < sizeof(hint) ? sizeof(hint) - n : 0, " %s", w->choices[i]);
    }
    return cli_usage(cli, hint, "limits set: '%s' is no value for %s", text, w->name);
}

static int set(struct cli *cli, const struct args *args)
{
    const char *name = args->at[0], *text = args->at[1];
    struct words words = {.name = name};
    size_t n = strlen(name);
    int64_t value = 0;
    bool good;
    int rc;

    if ((rc = cli_open(cli, NEED_CREATE, NULL)) != EXIT_OK)
        return rc;
    if (agent_limits(cli->engine, find_words, &words, NULL) == AGENT_OK && words.choices != NULL)
        return set_word(cli, &words, text);
    if (n > 3 && strcmp(name + n - 3, "_ms") == 0 && strspn(text, "0123456789") != strlen(text))
        good = text_duration(text, &value);
    else if (n > 6 && strcmp(name + n - 6, "_bytes") == 0)
        good = text_size(text, &value);
    else
        good = text_int(text, 0, INT64_MAX, &value);
    if (!good)
        return cli_usage(cli, NULL, "limits set: '%s' is no value for %s", text, name);
    return change(cli, name, &value, NULL);
}

static int reset(struct cli *cli, const struct args *args)
{
    int rc = cli_open(cli, NEED_CREATE, NULL);

    return rc != EXIT_OK ? rc : change(cli, args->at[0], NULL, NULL);
}

static const char *const limits_examples[] = {"limits", "limits --json", "limits show retries", NULL};
static const char *const show_examples[] = {"limits show retries", "limits show first_byte_ms --json", NULL};
static const char *const set_examples[] = {"limits set retries 5", "limits set first_byte_ms 5m",
                                           "limits set cache_bytes 256MB", "limits set cache_policy lru", NULL};
static const char *const reset_examples[] = {"limits reset retries", NULL};

const struct command cmd_limits = {
    .name = "limits",
    .synopsis = "",
    .summary = "show every limit: value, unit, default, and what going over it gives",
    .text = "Flags and an agent's options go before what is set here. \"over it\" is a status, or in\n"
            "brackets what happens: the run waits, the result is cut or failed, the window slides.",
    .examples = limits_examples,
    .flags = COMMAND_LINES,
    .run = limits,
};

const struct command cmd_limits_show = {
    .name = "limits show",
    .synopsis = "NAME",
    .summary = "show one limit",
    .examples = show_examples,
    .min_args = 1,
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = limits,
};

const struct command cmd_limits_set = {
    .name = "limits set",
    .synopsis = "NAME VALUE",
    .summary = "keep a limit in the file",
    .text = "For every engine that opens the file from now on. VALUE may have a unit: 30s, 64KB.",
    .examples = set_examples,
    .min_args = 2,
    .max_args = 2,
    .run = set,
};

const struct command cmd_limits_reset = {
    .name = "limits reset",
    .synopsis = "NAME",
    .summary = "give a limit its default again",
    .examples = reset_examples,
    .min_args = 1,
    .max_args = 1,
    .run = reset,
};
