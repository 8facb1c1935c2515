/*
 * Flags into a configuration; what the engine can check (names, models, options), it checks.
 */
#include "cli/agent_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE_BYTES (4u << 20)
#define INSTRUCTIONS_BYTES (1u << 20)

const struct option config_flags[] = {
    {"model", 'm', "PROVIDER:MODEL", "as openai:gpt-4o-mini (offline:demo)"},
    {"system", 's', "TEXT|@FILE", "the instructions"},
    {"tool", 't', "TOOL", "a tool it may use; repeat it (all builtins)"},
    {"no-tools", 0, NULL, "no tools at all"},
    {"option", 'o', "KEY=VALUE", "an option; VALUE is JSON, else a string"},
    {"file", 'f', "FILE|-", "a JSON agent file; flags go before it"},
    {"base-url", 0, "URL", "the provider's address (Ollama, vLLM …)"},
    {"key-env", 0, "VARIABLE", "the variable that holds its key"},
    {"max-steps", 0, "N", "model calls in one run (25)"},
    {0},
};

static int set_option(struct cli *cli, json_t *object, const char *pair)
{
    const char *equals = strchr(pair, '=');
    char *key;
    json_t *value;
    int rc = EXIT_OK;

    if (equals == NULL || equals == pair)
        return cli_usage(cli, "for example -o temperature=0.2", "-o: '%s' is not KEY=VALUE", pair);
    value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (value == NULL)
        value = json_string(equals + 1);
    key = cli_format("%.*s", (int)(equals - pair), pair);
    if (value == NULL || json_object_set_new(object, key, value) != 0)
        rc = cli_usage(cli, NULL, "-o: '%s' is not UTF-8", pair);
    free(key);
    return rc;
}

int config_options(struct cli *cli, const struct args *args, const char *base, char **out)
{
    const char *cache = args_value(args, "cache"); /* an option with a flag of its own */
    json_auto_t *object = NULL;
    int rc;

    if (!args_has(args, "option") && cache == NULL) {
        if (base != NULL)
            *out = cli_strdup(base);
        return EXIT_OK;
    }
    object = base == NULL ? json_object() : json_loads(base, 0, NULL);
    if (object == NULL)
        object = json_object();
    for (int i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, "option") == 0 &&
            (rc = set_option(cli, object, args->given[i].value)) != EXIT_OK)
            return rc;
    if (cache != NULL)
        (void)json_object_set_new(object, "cache", json_string(cache));
    *out = json_dumps(object, JSON_COMPACT);
    return EXIT_OK;
}

static int read_file(struct cli *cli, const char *path, struct config *out)
{
    agent_error err = AGENT_ERROR_INIT;
    struct text text;
    agent_status rc = text_read(path, CONFIG_FILE_BYTES, &text, &err);

    if (rc != AGENT_OK)
        return cli_fail(cli, &err);
    rc = agent_config_parse(text.at, text.bytes, &out->file, &err);
    free(text.at);
    if (rc != AGENT_OK) {
        agent_error named = err;

        cli_err(&named, rc, err.detail, "%s: %s", strcmp(path, "-") == 0 ? "standard input" : path, err.text);
        cli_hint(&named, "%s", err.hint);
        return cli_fail(cli, &named);
    }
    out->config = *agent_config_file_config(out->file);
    out->config.size = sizeof(agent_config);
    out->name = agent_config_file_name(out->file);
    return EXIT_OK;
}

static int read_tools(struct cli *cli, const struct args *args, struct config *out)
{
    size_t count = 0;

    if (!args_has(args, "tool") && !args_has(args, "no-tools"))
        return EXIT_OK;
    if (args_has(args, "tool") && args_has(args, "no-tools"))
        return cli_usage(cli, NULL, "-t and --no-tools exclude each other");
    out->tools = cli_alloc((size_t)(args->given_count + 1) * sizeof(*out->tools));
    for (int i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, "tool") == 0)
            out->tools[count++] = args->given[i].value;
    out->tools[count] = NULL;
    out->config.tools = out->tools;
    out->config.tool_count = count;
    return EXIT_OK;
}

int config_read(struct cli *cli, const struct args *args, struct config *out)
{
    const char *path = args_value(args, "file"), *system = args_value(args, "system");
    agent_error err = AGENT_ERROR_INIT;
    int64_t steps = 0;
    int rc;

    *out = (struct config){.config = AGENT_CONFIG_INIT};
    if (path != NULL && (rc = read_file(cli, path, out)) != EXIT_OK)
        return rc;
    if (args->count > 0)
        out->name = args->at[0];
    if (args_value(args, "model") != NULL)
        out->config.model = args_value(args, "model");
    if (args_value(args, "base-url") != NULL)
        out->config.base_url = args_value(args, "base-url");
    if (args_value(args, "key-env") != NULL)
        out->config.key_env = args_value(args, "key-env");
    if (system != NULL) {
        if (text_argument(system, INSTRUCTIONS_BYTES, &out->instructions, &err) != AGENT_OK)
            return cli_fail(cli, &err);
        if (strlen(out->instructions.at) != out->instructions.bytes)
            return cli_usage(cli, NULL, "-s: the instructions hold a NUL byte");
        out->config.instructions = out->instructions.at;
    }
    if ((rc = read_tools(cli, args, out)) != EXIT_OK ||
        (rc = config_options(cli, args, out->config.options, &out->options)) != EXIT_OK ||
        (rc = cli_number(cli, args, "max-steps", 1, 1000000, &steps)) != EXIT_OK)
        return rc;
    out->config.options = out->options;
    if (steps > 0)
        out->config.max_steps = (int)steps;
    return EXIT_OK;
}

void config_drop(struct config *c)
{
    agent_config_file_free(c->file);
    free(c->instructions.at);
    free(c->tools);
    free(c->options);
    *c = (struct config){.config = AGENT_CONFIG_INIT};
}

bool config_is_empty(const struct config *c)
{
    const agent_config *a = &c->config;

    return a->model == NULL && a->instructions == NULL && a->tools == NULL && a->options == NULL &&
           a->base_url == NULL && a->key_env == NULL && a->max_steps == 0;
}
