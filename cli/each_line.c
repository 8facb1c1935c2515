/*
 * A line of --each: {"prompt": …, "session"?: …, "id"?: …}, or a bare JSON string.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/each.h"

/* --- a line ------------------------------------------------------------------------------------------------ */

static bool take_prompt(const json_t *value, struct each_line *out, agent_error *err)
{
    size_t n = json_string_length(value);

    if (!json_is_string(value))
        return cli_err(err, AGENT_EINVAL, 0, "\"prompt\" is no string") == AGENT_OK;
    if (n == 0)
        return cli_err(err, AGENT_EINVAL, 0, "the prompt is empty") == AGENT_OK;
    if (n > AGENT_INPUT_MAX)
        return cli_err(err, AGENT_ETOOBIG, 0, "the prompt has %zu bytes; it may have %d", n, AGENT_INPUT_MAX) == AGENT_OK;
    out->prompt.at = cli_alloc(n + 1);
    memcpy(out->prompt.at, json_string_value(value), n + 1);
    out->prompt.bytes = n;
    return true;
}

static bool take_session(const json_t *value, struct each_line *out, agent_error *err)
{
    const char *name = json_string_value(value);

    if (json_is_null(value))
        return true;
    if (json_is_integer(value) && json_integer_value(value) > 0) {
        out->session_id = json_integer_value(value);
        return true;
    }
    if (name == NULL || *name == '\0')
        return cli_err(err, AGENT_EINVAL, 0, "\"session\" is neither a name nor a number") == AGENT_OK;
    if (*name != '#')
        out->session = cli_strdup(name);
    else if (!cli_run_number(name, &out->session_id))
        return cli_err(err, AGENT_EINVAL, 0, "\"session\": '%.40s' is no number of a session", name) == AGENT_OK;
    return true;
}

static bool take_id(const json_t *value, struct each_line *out, agent_error *err)
{
    if (json_is_null(value))
        return true;
    if (!json_is_string(value) && !json_is_integer(value))
        return cli_err(err, AGENT_EINVAL, 0, "\"id\" is neither a string nor a whole number") == AGENT_OK;
    out->id = json_dumps(value, JSON_ENCODE_ANY);
    if (out->id != NULL && strlen(out->id) > EACH_ID_MAX) {
        cli_err(err, AGENT_ETOOBIG, 0, "\"id\" has %zu bytes; it may have %d", strlen(out->id), EACH_ID_MAX);
        free(out->id);
        out->id = NULL;
        return false;
    }
    return true;
}

static bool take_object(json_t *object, struct each_line *out, agent_error *err)
{
    const json_t *id = json_object_get(object, "id"), *prompt = json_object_get(object, "prompt");
    const char *key;
    json_t *value;

    if (id != NULL && !take_id(id, out, err)) /* first, so that it stands in whatever is told of this line */
        return false;
    json_object_foreach(object, key, value)
        if (strcmp(key, "id") != 0 && strcmp(key, "prompt") != 0 && strcmp(key, "session") != 0)
            return cli_err(err, AGENT_EINVAL, 0, "unknown key \"%.40s\"; known are prompt, session, id", key) == AGENT_OK;
    if (prompt == NULL)
        return cli_err(err, AGENT_EINVAL, 0, "there is no \"prompt\"") == AGENT_OK;
    value = json_object_get(object, "session");
    return (value == NULL || take_session(value, out, err)) && take_prompt(prompt, out, err);
}

bool each_line_parse(const char *text, size_t bytes, struct each_line *out, agent_error *err)
{
    json_error_t why;
    json_t *tree;
    bool is_good;

    *out = (struct each_line){0};
    if (text == NULL)
        return cli_err(err, AGENT_ETOOBIG, 0, "the line has more than %u bytes", EACH_LINE_MAX) == AGENT_OK;
    tree = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (tree == NULL) {
        cli_err(err, AGENT_EINVAL, 0, "not JSON: %s (column %d)", why.text, why.column);
        return false;
    }
    if (json_is_string(tree))
        is_good = take_prompt(tree, out, err);
    else if (json_is_object(tree))
        is_good = take_object(tree, out, err);
    else
        is_good = cli_err(err, AGENT_EINVAL, 0, "neither an object with a \"prompt\" nor a string") == AGENT_OK;
    json_decref(tree);
    return is_good;
}

void each_line_drop(struct each_line *line)
{
    free(line->id);
    free(line->session);
    free(line->prompt.at);
    *line = (struct each_line){0};
}

/* --- ids that were used ------------------------------------------------------------------------------------ */

uint64_t each_hash(uint64_t seed, const void *p, size_t n)
{
    uint64_t h = seed != 0 ? seed : UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * UINT64_C(0x100000001b3);
    return h;
}

static struct each_seen *place(const struct each_ids *ids, uint64_t hash)
{
    size_t i = (size_t)(hash ^ hash >> 32) & (ids->room - 1);

    while (ids->at[i].hash != 0 && ids->at[i].hash != hash)
        i = (i + 1) & (ids->room - 1);
    return &ids->at[i];
}

static void grow(struct each_ids *ids)
{
    struct each_ids larger = {.count = ids->count, .room = ids->room == 0 ? 256 : 2 * ids->room};

    larger.at = cli_alloc(larger.room * sizeof(*larger.at));
    memset(larger.at, 0, larger.room * sizeof(*larger.at));
    for (size_t i = 0; i < ids->room; i++)
        if (ids->at[i].hash != 0)
            *place(&larger, ids->at[i].hash) = ids->at[i];
    free(ids->at);
    *ids = larger;
}

int64_t each_ids_add(struct each_ids *ids, const char *id, int64_t line)
{
    uint64_t hash = each_hash(0, id, strlen(id));
    struct each_seen *seen;

    if (hash == 0)
        hash = 1;
    if (2 * ids->count >= ids->room)
        grow(ids);
    seen = place(ids, hash);
    if (seen->hash != 0)
        return seen->line;
    *seen = (struct each_seen){hash, line};
    ids->count++;
    return 0;
}

void each_ids_drop(struct each_ids *ids)
{
    free(ids->at);
    *ids = (struct each_ids){0};
}
