/*
 * Which file is meant, and the engine on it.
 *
 *     --db FILE  >  $AGENTCTL_DB  >  ./agent.db, where it is there  >  $XDG_DATA_HOME/agentctl/agent.db
 *
 *   (1) Whether the file is there is asked with stat(): no descriptor of it is ever ours (closing
 *       one would drop SQLite's locks).
 *   (2) The engine is opened without threads: a command is over before a thread has paid.
 *   (3) Keys come from the environment, else from a file that only its owner can read; neither is
 *       looked at before the engine asks for a key.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd.h"

const struct option cli_driving[] = {
    {"durability", 0, "power|process", "what an answer survives (default: power)"},
    {"workers", 0, "N", "threads that drive runs; 0: this one alone"},
    {"cache-bytes", 0, "SIZE", "memory for the front cache (64MB)"},
    {"cache-policy", 0, "lruk-adaptive|lruk|lru|fifo|s3fifo|gdsf|none", "(the first)"},
    {"cache-trace", 0, "FILE", "record the cache's requests: .csv or .bin"},
    {"sample-interval", 0, "DUR", "between two memory readings; 0: none"},
    {"memory-limit", 0, "SIZE", "refuse runs at this RSS (none)"},
    {"proxy", 0, "URL", "for requests to providers"},
    {0},
};

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value == NULL || *value == '\0' ? NULL : value;
}

/* --- the path ---------------------------------------------------------------------------------------- */

/* Below $XDG_DATA_HOME or $XDG_CONFIG_HOME, else below home. NULL: no home either. */
static char *home_path(const char *xdg, const char *below_home, const char *rest)
{
    const char *base = variable(xdg), *home = variable("HOME");

    if (base != NULL && base[0] == '/') /* the specification says that relative ones are to be ignored */
        return cli_format("%s/%s", base, rest);
    return home == NULL ? NULL : cli_format("%s/%s/%s", home, below_home, rest);
}

/* The default place is ours to make; 0700, for what is below is private. */
static void make_folders(const char *path)
{
    char *copy = cli_strdup(path);

    for (char *p = strchr(copy + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        (void)mkdir(copy, 0700); /* what fails here is told when the file is opened */
        *p = '/';
    }
    free(copy);
}

static bool has_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? cli_strdup(".") : cli_format("%.*s", (int)(slash == path ? 1 : slash - path), path);
    struct stat st;
    bool has = stat(folder, &st) == 0 && S_ISDIR(st.st_mode);

    free(folder);
    return has;
}

int cli_db_path(struct cli *cli, enum need need)
{
    agent_error err;
    struct stat st;
    bool is_default = false;

    if (cli->db_path != NULL)
        return EXIT_OK;
    if (cli->db_flag != NULL && *cli->db_flag == '\0')
        return cli_usage(cli, NULL, "--db: the name is empty");
    if (cli->db_flag != NULL && strcmp(cli->db_flag, ":memory:") == 0)
        return cli_usage(cli, NULL, "--db: agentctl keeps its state in a file");
    if (cli->db_flag != NULL) {
        cli->db_path = cli_strdup(cli->db_flag);
        cli->db_source = cli_strdup("--db");
    } else if (variable("AGENTCTL_DB") != NULL) {
        cli->db_path = cli_strdup(variable("AGENTCTL_DB"));
        cli->db_source = cli_strdup("$AGENTCTL_DB");
    } else if (stat("agent.db", &st) == 0) {
        cli->db_path = cli_strdup("agent.db");
        cli->db_source = cli_strdup("./agent.db");
    } else if ((cli->db_path = home_path("XDG_DATA_HOME", ".local/share", "agentctl/agent.db")) != NULL) {
        cli->db_source = cli_strdup("the default place: no --db, no $AGENTCTL_DB, no ./agent.db");
        is_default = true;
    } else {
        cli_err(&err, AGENT_ENOTFOUND, 0, "no database: neither --db nor $AGENTCTL_DB nor $HOME is set");
        cli_hint(&err, "agentctl --db FILE %s …", cli->command->name);
        return cli_fail(cli, &err);
    }
    if (stat(cli->db_path, &st) == 0)
        return EXIT_OK;
    if (errno == ENOENT && need == NEED_CREATE) {
        if (is_default)
            make_folders(cli->db_path);
        if (has_folder(cli->db_path))
            return EXIT_OK;
        errno = ENOENT;
    }
    if (errno == ENOENT || errno == ENOTDIR) {
        const bool is_folder = is_default || has_folder(cli->db_path);

        cli_err(&err, AGENT_ENOTFOUND, ENOENT, is_folder ? "there is no database '%s' (%s)"
                                                         : "there is no folder for the database '%s' (%s)",
                cli->db_path, cli->db_source);
        if (is_folder)
            cli_hint(&err, "agentctl --db %s create NAME makes it", cli->db_path);
        else
            cli_hint(&err, "mkdir -p \"$(dirname %s)\"", cli->db_path);
    } else {
        cli_err(&err, AGENT_ESTORAGE, errno, "database '%s' (%s): %s", cli->db_path, cli->db_source,
                strerror(errno));
    }
    return cli_fail(cli, &err);
}

/* --- keys ------------------------------------------------------------------------------------------- */

char *cli_keys_path(void)
{
    return home_path("XDG_CONFIG_HOME", ".config", "agentctl/keys");
}

/* Cuts "NAME=value" lines in place. Blank lines and those that begin with # are skipped; "export "
 * in front and quotes around the value are taken off, for people paste such lines. */
static void cut_lines(struct keys *keys, char *text, size_t bytes)
{
    size_t to = 0;

    for (char *line = text, *end = text + bytes; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *equals, *value;
        size_t n, value_n;

        if (stop == NULL)
            stop = end;
        *stop = '\0';
        while (*line == ' ' || *line == '\t')
            line++;
        if (strncmp(line, "export ", 7) == 0)
            line += 7;
        equals = *line == '#' ? NULL : strchr(line, '=');
        if (equals != NULL && equals > line) {
            n = (size_t)(equals - line);
            value = equals + 1;
            value_n = strlen(value);
            while (value_n > 0 && (value[value_n - 1] == '\r' || value[value_n - 1] == ' '))
                value_n--;
            if (value_n >= 2 && (*value == '"' || *value == '\'') && value[value_n - 1] == *value) {
                value++;
                value_n -= 2;
            }
            memmove(text + to, line, n); /* always backwards: to <= line */
            text[to + n] = '\0';
            memmove(text + to + n + 1, value, value_n);
            text[to + n + 1 + value_n] = '\0';
            to += n + value_n + 2;
        }
        line = stop + 1;
    }
    keys->bytes = to;
}

static void load_keys(struct keys *keys)
{
    char *path = cli_keys_path();
    struct text text = {0};
    struct stat st;

    keys->is_loaded = true;
    if (path == NULL || stat(path, &st) != 0) {
        free(path);
        return;
    }
    if ((st.st_mode & 077) != 0) {
        cli_err(&keys->refused, AGENT_EKEY, 0, "the keys file '%s' was not read: its mode %04o lets others read it",
                path, (unsigned)(st.st_mode & 0777));
        cli_hint(&keys->refused, "chmod 600 %s", path);
    } else if (st.st_uid != geteuid()) {
        cli_err(&keys->refused, AGENT_EKEY, 0, "the keys file '%s' was not read: it belongs to another user", path);
    } else if (text_read(path, 64u << 10, &text, &keys->refused) == AGENT_OK) {
        keys->text = text.at;
        keys->cap = text.bytes;
        cut_lines(keys, text.at, text.bytes);
    }
    free(path);
}

static const char *find_key(struct keys *keys, const char *name)
{
    if (!keys->is_loaded)
        load_keys(keys);
    for (size_t at = 0; at < keys->bytes;) {
        const char *key = keys->text + at, *value = key + strlen(key) + 1;

        if (strcmp(key, name) == 0)
            return *value == '\0' ? NULL : value;
        at += strlen(key) + strlen(value) + 2;
    }
    return NULL;
}

static const char *secret(void *ctx, const char *name)
{
    struct cli *cli = ctx;
    const char *value = variable(name);

    return value != NULL ? value : find_key(&cli->keys, name);
}

const char *cli_key_source(struct cli *cli, const char *name)
{
    if (variable(name) != NULL)
        return "environment";
    return find_key(&cli->keys, name) != NULL ? "keys file" : NULL;
}

void cli_key_names(struct cli *cli, void (*fn)(void *ctx, const char *name), void *ctx)
{
    (void)find_key(&cli->keys, "");
    for (size_t at = 0; at < cli->keys.bytes;) {
        const char *key = cli->keys.text + at;

        fn(ctx, key);
        at += strlen(key) + 1;
        at += strlen(cli->keys.text + at) + 1;
    }
}

/* --- the engine --------------------------------------------------------------------------------------- */

static void log_line(void *ctx, int level, const char *module, const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[1024];
    int n = snprintf(line, sizeof(line), "agentctl: %s: %s: %s\n", names[level < 0 || level > 3 ? 3 : level], module, text);

    (void)ctx;
    if (n >= (int)sizeof(line)) {
        n = (int)sizeof(line) - 1;
        line[n - 1] = '\n';
    }
    (void)!write(STDERR_FILENO, line, (size_t)n);
}

/* What a tool's environment has besides AGENT_*: no keys, nothing of the shell's. */
static const char **tool_env(char *lines[5])
{
    static const char *const names[] = {"PATH", "HOME", "LANG", "TMPDIR"};
    size_t n = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (variable(names[i]) != NULL)
            lines[n++] = cli_format("%s=%s", names[i], variable(names[i]));
    lines[n] = NULL;
    return (const char **)lines;
}

int cli_open(struct cli *cli, enum need need, const struct args *args)
{
    agent_options options = AGENT_OPTIONS_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char *env[5] = {NULL};
    agent_status status;
    int64_t interval = -1, workers = cli->workers;
    int rc;

    if ((rc = cli_db_path(cli, need)) != EXIT_OK)
        return rc;
    options.path = cli->db_path;
    options.flags = need == NEED_READ ? AGENT_OPEN_INSPECT : need == NEED_CREATE ? AGENT_OPEN_CREATE : 0u;
    options.workers = cli->workers;
    options.secret = secret;
    options.secret_ctx = cli;
    if (cli->log_level >= 0) {
        options.log = log_line;
        options.log_level = cli->log_level;
    }
    if (args != NULL) {
        const char *durability = args_value(args, "durability"), *size = args_value(args, "cache-bytes");
        const char *limit = args_value(args, "memory-limit");

        if (durability != NULL && strcmp(durability, "process") == 0)
            options.durability = AGENT_DURABILITY_PROCESS;
        if (size != NULL && !text_size(size, &options.cache_bytes))
            return cli_usage(cli, "for example 64MB, 512KB or 0", "--cache-bytes: '%s' is no size", size);
        if (limit != NULL && (!text_size(limit, &options.memory_limit_bytes) || options.memory_limit_bytes == 0))
            return cli_usage(cli, "for example 512MB", "--memory-limit: '%s' is no size", limit);
        if ((rc = cli_duration(cli, args, "sample-interval", &interval)) != EXIT_OK ||
            (rc = cli_number(cli, args, "workers", 0, 256, &workers)) != EXIT_OK)
            return rc;
        options.workers = (int)workers;
        options.cache_policy = args_value(args, "cache-policy");
        if (interval >= 0)
            options.sample_interval_ms = interval == 0 ? -1 : interval > INT_MAX ? INT_MAX : (int)interval;
        options.proxy = args_value(args, "proxy");
        /* What runs make SQLite, jansson and libcurl take is counted; this process is ours to change. */
        (void)agent_memory_hooks(AGENT_MEMORY_JSON | AGENT_MEMORY_SQLITE | AGENT_MEMORY_CURL, NULL);
    }
    options.ca_file = variable("SSL_CERT_FILE");
    options.tool_env = tool_env(env);
    status = agent_open(&options, &cli->engine, &err);
    for (size_t i = 0; env[i] != NULL; i++)
        free(env[i]);
    if (status != AGENT_OK)
        return cli_fail(cli, &err);
    return args == NULL ? EXIT_OK : cli_trace_begin(cli, args);
}

void cli_close(struct cli *cli)
{
    (void)cli_trace_end(cli);
    agent_close(cli->engine);
    cli->engine = NULL;
    if (cli->keys.text != NULL)
        explicit_bzero(cli->keys.text, cli->keys.cap);
    free(cli->keys.text);
    cli->keys = (struct keys){0};
    free(cli->db_path);
    free(cli->db_source);
    cli->db_path = cli->db_source = NULL;
}
