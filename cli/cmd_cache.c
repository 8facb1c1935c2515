/*
 * agentctl cache ls, show, rm, clear, resize: the answers that are used again.
 */
#include <string.h>

#include "cli/rows.h"

#define KEY_DIGITS 64

static int ls(struct cli *cli, const struct args *args)
{
    return cli_list_of(cli, args, "cache");
}

/* --- one entry, by its key or the beginning of it --------------------------------------------------- */

struct found {
    const char *prefix;
    size_t bytes;
    int count;
    bool is_all; /* every key that begins with it is meant */
    char key[KEY_DIGITS + 1];
};

static bool take_key(void *ctx, const agent_row *row)
{
    struct found *f = ctx;
    size_t bytes;
    const char *key = row_text(row, "key", &bytes);

    if (bytes == KEY_DIGITS && strncmp(key, f->prefix, f->bytes) == 0 && f->count++ == 0) {
        memcpy(f->key, key, KEY_DIGITS);
        f->key[KEY_DIGITS] = '\0';
    }
    return f->count < 2;
}

static bool count_key(void *ctx, const agent_row *row)
{
    struct found *f = ctx;
    size_t bytes;
    const char *key = row_text(row, "key", &bytes);

    f->count += bytes == KEY_DIGITS && strncmp(key, f->prefix, f->bytes) == 0;
    return true;
}

/* How many begin with what stands before the star. */
static int find_all(struct cli *cli, const char *prefix, struct found *f)
{
    agent_error err = AGENT_ERROR_INIT;

    f->is_all = true;
    f->bytes--;
    if (f->bytes < 1 || f->bytes > KEY_DIGITS || strspn(prefix, "0123456789abcdef") != f->bytes)
        return cli_usage(cli, "3f2a* is all that begin with 3f2a; cache clear removes everything",
                         "cache: '%s' is no beginning of a key", prefix);
    if (agent_scan(cli->engine, AGENT_VIEW_CACHE, NULL, count_key, f, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return EXIT_OK;
}

static int find(struct cli *cli, const char *prefix, struct found *f)
{
    agent_error err = AGENT_ERROR_INIT;

    *f = (struct found){.prefix = prefix, .bytes = strlen(prefix)};
    if (f->bytes > 0 && prefix[f->bytes - 1] == '*')
        return find_all(cli, prefix, f);
    if (f->bytes < 4 || f->bytes > KEY_DIGITS || strspn(prefix, "0123456789abcdef") != f->bytes)
        return cli_usage(cli, "agentctl cache ls shows the keys", "cache: '%s' is no key, nor the first 4 digits of one or more",
                         prefix);
    if (agent_scan(cli->engine, AGENT_VIEW_CACHE, NULL, take_key, f, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (f->count == 1)
        return EXIT_OK;
    if (f->count > 1)
        return cli_usage(cli, "give more of its digits", "cache: more than one key begins with %s", prefix);
    cli_err(&err, AGENT_ENOTFOUND, 0, "the response cache has no entry %s", prefix);
    cli_hint(&err, "agentctl cache ls lists them");
    return cli_fail(cli, &err);
}

static bool put_entry(void *ctx, const agent_row *row)
{
    static const char *const fields[][2] = {
        {"key", "key"},           {"agent", "agent"},           {"model", "model"},           {"bytes", "bytes"},
        {"tokens", "tokens"},     {"hits", "hits"},             {"created_at", "created at"}, {"last_hit_at", "last hit at"},
        {"expires_at", "expires at"}, {"body", "answer"},
    };
    struct cli *cli = ctx;

    if (cli->json) {
        put_row(&cli->out, row);
        put_line(&cli->out);
        return true;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        fields_cell(&cli->out, row, fields[i][0], fields[i][1]);
    return true;
}

static int show(struct cli *cli, const struct args *args)
{
    agent_filter filter = AGENT_FILTER_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct found f;
    int rc;

    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK || (rc = find(cli, args->at[0], &f)) != EXIT_OK)
        return rc;
    if (f.is_all)
        return cli_usage(cli, "agentctl cache ls lists them", "cache show: one key, not '%s'", args->at[0]);
    filter.name = f.key;
    if (agent_scan(cli->engine, AGENT_VIEW_CACHE, &filter, put_entry, cli, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return EXIT_OK;
}

/* --- some, and all of them ----------------------------------------------------------------------------------- */

static int tell_count(struct cli *cli, const char *key, int64_t count, const char *what)
{
    if (cli->json) {
        put_open(&cli->out, '{');
        put_key(&cli->out, key);
        put_int(&cli->out, count);
        put_close(&cli->out, '{');
        put_line(&cli->out);
    } else {
        cli_note(cli, "%s %lld answers", what, (long long)count);
    }
    return EXIT_OK;
}

static int rm_all(struct cli *cli, const char *keys, const struct found *f, bool is_dry)
{
    agent_error err = AGENT_ERROR_INIT;
    int64_t count = 0;
    int rc;

    if (is_dry)
        return tell_count(cli, "would_remove", f->count, "would remove");
    if (f->count > 0 && (rc = cli_confirm(cli, "remove %d answers from the cache", f->count)) != EXIT_OK)
        return rc;
    if (agent_cache_remove(cli->engine, keys, &count, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return tell_count(cli, "removed", count, "removed");
}

static int rm(struct cli *cli, const struct args *args)
{
    const bool is_dry = args_has(args, "dry-run");
    agent_error err = AGENT_ERROR_INIT;
    struct found f;
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK ||
        (rc = find(cli, args->at[0], &f)) != EXIT_OK)
        return rc;
    if (f.is_all)
        return rm_all(cli, args->at[0], &f, is_dry);
    if (!is_dry) {
        if ((rc = cli_confirm(cli, "remove the answer %.12s from the cache", f.key)) != EXIT_OK)
            return rc;
        if (agent_cache_remove(cli->engine, f.key, NULL, &err) != AGENT_OK)
            return cli_fail(cli, &err);
    }
    cli_tell_removed(cli, "answer", f.key, is_dry);
    return EXIT_OK;
}

static int clear(struct cli *cli, const struct args *args)
{
    const bool is_dry = args_has(args, "dry-run");
    agent_cache_stats s = AGENT_CACHE_STATS_INIT;
    agent_error err = AGENT_ERROR_INIT;
    int64_t count = 0;
    int rc;

    if ((rc = cli_open(cli, is_dry ? NEED_READ : NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    if (is_dry) {
        if (agent_cache_sums(cli->engine, &s, &err) != AGENT_OK)
            return cli_fail(cli, &err);
        return tell_count(cli, "would_remove", s.entries, "would remove");
    }
    if ((rc = cli_confirm(cli, "remove every answer from the cache")) != EXIT_OK)
        return rc;
    if (agent_cache_remove(cli->engine, NULL, &count, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return tell_count(cli, "removed", count, "removed");
}

static int resize(struct cli *cli, const struct args *args)
{
    agent_error err = AGENT_ERROR_INIT;
    int64_t bytes, count = 0;
    int rc;

    if (!text_size(args->at[0], &bytes))
        return cli_usage(cli, "for example 256MB, 64KB or 0", "cache resize: '%s' is no size", args->at[0]);
    if ((rc = cli_open(cli, NEED_WRITE, NULL)) != EXIT_OK)
        return rc;
    if (agent_cache_resize(cli->engine, bytes, &count, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    return tell_count(cli, "removed", count, "removed");
}

static const struct option ls_options[] = {
    {"agent", 0, "AGENT", "of this agent"},
    {"limit", 'n', "N", "the newest N"},
    {0},
};
static const struct option dry_options[] = {{"dry-run", 0, NULL, "only tell what would be removed"}, {0}};

static const char *const ls_examples[] = {"cache ls demo", "cache ls --json", NULL};
static const char *const show_examples[] = {"cache show 3f2a91c0", NULL};
static const char *const rm_examples[] = {"cache rm 3f2a91c0 -y", "cache rm '3f2a*' --dry-run", NULL};
static const char *const clear_examples[] = {"cache clear -y", NULL};
static const char *const resize_examples[] = {"cache resize 64MB", NULL};

const struct command cmd_cache_ls = {
    .name = "cache ls",
    .synopsis = "[AGENT]",
    .summary = "list the answers that are kept",
    .options = ls_options,
    .examples = ls_examples,
    .complete = "agent",
    .max_args = 1,
    .flags = COMMAND_LINES,
    .run = ls,
};

const struct command cmd_cache_show = {
    .name = "cache show",
    .synopsis = "KEY",
    .summary = "show an answer that is kept",
    .text = "KEY is a key of cache ls, or as much of its beginning as tells it apart.",
    .examples = show_examples,
    .min_args = 1,
    .max_args = 1,
    .run = show,
};

const struct command cmd_cache_rm = {
    .name = "cache rm",
    .synopsis = "KEY | 'PREFIX*'",
    .summary = "remove an answer: it is asked for anew",
    .text = "With a star all answers whose keys begin with PREFIX, and how many they were.",
    .options = dry_options,
    .examples = rm_examples,
    .min_args = 1,
    .max_args = 1,
    .run = rm,
};

const struct command cmd_cache_clear = {
    .name = "cache clear",
    .synopsis = "",
    .summary = "remove every answer",
    .options = dry_options,
    .examples = clear_examples,
    .run = clear,
};

const struct command cmd_cache_resize = {
    .name = "cache resize",
    .synopsis = "SIZE",
    .summary = "limit what all answers together may take (256MB)",
    .text = "The limit is kept in the file. What is too much is removed, first the answers\n"
            "that save the fewest tokens by byte and were longest not asked for.",
    .examples = resize_examples,
    .min_args = 1,
    .max_args = 1,
    .run = resize,
};
