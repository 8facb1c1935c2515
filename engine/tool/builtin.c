/*
 * The tools that every agent has: calc and now answer at once; remember, recall and forget are rows
 * of the file, so the engine does them and only their arguments are read here.
 */
#include <stdio.h>
#include <string.h>

#include "engine/tool/json.h"
#include "engine/tool/tool.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct ag_builtin ag_builtins[] = {
    {
        AG_BUILTIN_CALC, "calc",
        "Evaluate arithmetic exactly. Operators + - * / % ^ ( ), constants pi e, functions sqrt abs floor ceil "
        "round min max ln log log10 exp sin cos tan pow. Angles in radians; log is natural, log(x, base) is to a "
        "base; round(x, digits). Use it for every calculation.",
        "{\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\",\"minLength\":1,"
        "\"description\":\"for example 17*23 or sqrt(2)/(1+0.05)^10\"}},"
        "\"required\":[\"expression\"],\"additionalProperties\":false}",
        AGENT_EFFECT_PURE,
    },
    {
        AG_BUILTIN_NOW, "now",
        "Get the current date, time and weekday, in UTC or at an offset from it.",
        /* No pattern: the call checks it anyway, and a first pattern brings in the system's tables of letters. */
        "{\"type\":\"object\",\"properties\":{\"utc_offset\":{\"type\":\"string\","
        "\"description\":\"for example +02:00; default UTC\"}},"
        "\"additionalProperties\":false}",
        AGENT_EFFECT_PURE,
    },
    {
        AG_BUILTIN_REMEMBER, "remember",
        "Keep a fact for later conversations. With a key, what was kept under it is replaced.",
        "{\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200,"
        "\"description\":\"short name, for example user.city\"},"
        "\"text\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":65536,\"description\":\"the fact, a full "
        "sentence\"}},\"required\":[\"text\"],\"additionalProperties\":false}",
        AGENT_EFFECT_IDEMPOTENT,
    },
    {
        AG_BUILTIN_RECALL, "recall",
        "Search what was remembered, best match first. Without a query: the newest.",
        "{\"type\":\"object\",\"properties\":{\"query\":{\"type\":\"string\",\"maxLength\":1000,"
        "\"description\":\"words to look for\"},"
        "\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100,\"description\":\"most results\"}},"
        "\"additionalProperties\":false}",
        AGENT_EFFECT_PURE,
    },
    {
        AG_BUILTIN_FORGET, "forget",
        "Delete what was remembered under a key.",
        "{\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200}},"
        "\"required\":[\"key\"],\"additionalProperties\":false}",
        AGENT_EFFECT_IDEMPOTENT,
    },
};

const size_t ag_builtin_count = COUNT(ag_builtins);

const struct ag_builtin *ag_builtin_find(struct ag_str name)
{
    for (size_t i = 0; i < COUNT(ag_builtins); i++)
        if (ag_str_is(name, ag_builtins[i].name))
            return &ag_builtins[i];
    return NULL;
}

/* --- arguments ------------------------------------------------------------------------------- */

static agent_status read_object(struct ag_str arguments, json_t **out, agent_error *err)
{
    json_t *object = NULL;
    agent_status rc = ag_json_read(arguments, "arguments", &object, err);

    if (rc != AGENT_OK)
        return rc;
    if (!json_is_object(object)) {
        rc = ag_fail(err, AGENT_EINVAL, 0, "arguments: must be an object, is %s", ag_json_type_name(object));
        json_decref(object);
        return rc;
    }
    *out = object;
    return AGENT_OK;
}

static agent_status text_of(const json_t *object, const char *name, struct ag_str *out, agent_error *err)
{
    const json_t *value = json_object_get(object, name);

    *out = AG_STR_NONE;
    if (value == NULL)
        return AGENT_OK;
    if (!json_is_string(value))
        return ag_fail(err, AGENT_EINVAL, 0, "arguments /%s: must be of type string, is %s", name,
                       ag_json_type_name(value));
    *out = (struct ag_str){json_string_value(value), json_string_length(value)};
    return AGENT_OK;
}

agent_status ag_memory_args(struct ag_str arguments, ag_arena *a, struct ag_memory_args *out, agent_error *err)
{
    struct ag_memory_args args = {0};
    const struct {
        const char *name;
        struct ag_str *to;
    } texts[] = {{"key", &args.key}, {"text", &args.text}, {"query", &args.query}};
    json_auto_t *object = NULL;
    const json_t *limit;
    agent_status rc;

    if ((rc = read_object(arguments, &object, err)) != AGENT_OK)
        return rc;
    for (size_t i = 0; i < COUNT(texts); i++) {
        if ((rc = text_of(object, texts[i].name, texts[i].to, err)) != AGENT_OK)
            return rc;
        if (texts[i].to->p == NULL)
            continue;
        *texts[i].to = ag_arena_str(a, *texts[i].to);
        if (texts[i].to->p == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "arguments: out of memory");
    }
    limit = json_object_get(object, "limit");
    if (limit != NULL && !(json_is_number(limit) && json_number_value(limit) >= 1 && json_number_value(limit) <= 1e9))
        return ag_fail(err, AGENT_EINVAL, 0, "arguments /limit: must be an integer over 0");
    if (limit != NULL)
        args.limit = (int64_t)json_number_value(limit); /* 5.0 is an integer to a schema */
    *out = args;
    return AGENT_OK;
}

/* --- now ------------------------------------------------------------------------------------- */

static bool two_digits(const char *p, int *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

/* "+02:00" in minutes. Absent, "Z" and "" are UTC. */
static agent_status offset_minutes(struct ag_str text, int *out, agent_error *err)
{
    int hours, minutes;

    *out = 0;
    if (text.n == 0 || ag_str_is(text, "Z"))
        return AGENT_OK;
    if (text.n != 6 || (text.p[0] != '+' && text.p[0] != '-') || text.p[3] != ':' ||
        !two_digits(text.p + 1, &hours) || !two_digits(text.p + 4, &minutes) || hours > 14 || minutes > 59 ||
        (hours == 14 && minutes > 0))
        return ag_fail(err, AGENT_EINVAL, 0, "arguments /utc_offset: must be like +02:00, between -14:00 and +14:00");
    *out = (hours * 60 + minutes) * (text.p[0] == '-' ? -1 : 1);
    return AGENT_OK;
}

/* Day 0 of unix time was a Thursday. */
static const char *weekday(int64_t unix_ms)
{
    static const char *const days[] = {"Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"};
    int64_t day = unix_ms / 86400000 - (unix_ms % 86400000 < 0);

    return days[(day % 7 + 7) % 7];
}

static void write_now(int64_t unix_ms, int minutes, struct ag_str offset, ag_buf *out)
{
    int64_t local_ms = unix_ms + (int64_t)minutes * 60000;
    char utc[32], local[32];

    ag_iso8601(unix_ms, utc);
    if (minutes == 0) {
        ag_buf_printf(out, "%s %s", utc, weekday(unix_ms));
        return;
    }
    ag_iso8601(local_ms, local);
    local[strlen(local) - 1] = '\0'; /* the Z */
    ag_buf_printf(out, "%s" AG_STR_FMT " %s (UTC %s)", local, AG_STR_ARG(offset), weekday(local_ms), utc);
}

/* --- calls ----------------------------------------------------------------------------------- */

agent_status ag_builtin_call(const struct ag_builtin *b, struct ag_str arguments, const ag_clock *clock, ag_buf *out,
                             agent_error *err)
{
    json_auto_t *object = NULL;
    struct ag_str text;
    agent_status rc;
    int minutes;

    if ((rc = read_object(arguments, &object, err)) != AGENT_OK)
        return rc;
    switch (b->kind) {
    case AG_BUILTIN_CALC:
        if ((rc = text_of(object, "expression", &text, err)) != AGENT_OK)
            return rc;
        if (text.p == NULL)
            return ag_fail(err, AGENT_EINVAL, 0, "arguments /expression: is required");
        return ag_calc(text, out, err);
    case AG_BUILTIN_NOW:
        if ((rc = text_of(object, "utc_offset", &text, err)) != AGENT_OK ||
            (rc = offset_minutes(text, &minutes, err)) != AGENT_OK)
            return rc;
        write_now(ag_unix_ms(clock), minutes, text, out);
        return ag_buf_status(out, "result", err);
    case AG_BUILTIN_REMEMBER:
    case AG_BUILTIN_RECALL:
    case AG_BUILTIN_FORGET:
        break;
    }
    return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': needs the engine", b->name);
}
