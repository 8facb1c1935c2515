/*
 * Options: what an agent and a run say about the engine, the request and the model.
 *
 *      base {"temperature":0.2,"retries":5}     of the agent
 *      over {"retries":0,"top_p":0.9}           of this run
 *           │ key by key; null removes
 *           ▼
 *      retries = 0                              a key of the engine: checked, into struct ag_params
 *      "temperature":0.2,"top_p":0.9            anything else: for the provider, sorted, as it is
 *
 *  1. No options, no work: a run without any pays for one assignment.
 *  2. The passthrough is canonical (sorted keys, no blanks, numbers in their shortest form): it is a
 *     part of the cache key, and the same options must give the same bytes.
 *  3. A value that could be a secret is never in an error, and a key that asks for one is refused:
 *     options are stored in the file (promise 10).
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/provider/wire.h"

#define DAY_MS       (INT64_C(24) * 3600 * 1000)
#define FALLBACK_MAX 8
#define SHOW_BYTES   40 /* of a value in an error */

enum kind { KIND_COUNT, KIND_RETRIES, KIND_BOOL, KIND_TEXT, KIND_VARIABLE, KIND_FAIL, KIND_FALLBACK, KIND_REUSE };

static const struct option {
    const char *key;
    enum kind kind;
    size_t at; /* in struct ag_params */
    int64_t min, max;
} options[] = {
    {"history_messages", KIND_COUNT, offsetof(struct ag_params, history_messages), 0, 100000},
    {"history_bytes", KIND_COUNT, offsetof(struct ag_params, history_bytes), 0, AG_CAP_REQUEST_BYTES},
    {"timeout_ms", KIND_COUNT, offsetof(struct ag_params, timeout_ms), 1, 30 * DAY_MS},
    {"connect_ms", KIND_COUNT, offsetof(struct ag_params, connect_ms), 1, DAY_MS},
    {"first_byte_ms", KIND_COUNT, offsetof(struct ag_params, first_byte_ms), 1, DAY_MS},
    {"idle_ms", KIND_COUNT, offsetof(struct ag_params, idle_ms), 1, DAY_MS},
    {"total_ms", KIND_COUNT, offsetof(struct ag_params, total_ms), 1, DAY_MS},
    {"max_concurrency", KIND_COUNT, offsetof(struct ag_params, max_concurrency), 1, 1000000},
    {"requests_per_minute", KIND_COUNT, offsetof(struct ag_params, requests_per_minute), 1, 100000000},
    {"cache", KIND_REUSE, 0, 0, 0},
    {"cache_ttl_ms", KIND_COUNT, offsetof(struct ag_params, cache_ttl_ms), 0, 36500 * DAY_MS},
    {"retries", KIND_RETRIES, offsetof(struct ag_params, retries), 0, 100},
    {"fallback", KIND_FALLBACK, 0, 0, FALLBACK_MAX},
    {"key_env", KIND_VARIABLE, offsetof(struct ag_params, key_env), 0, 0},
    {"echo_reasoning", KIND_BOOL, offsetof(struct ag_params, echo_reasoning), 0, 0},
    {"latency_ms", KIND_COUNT, offsetof(struct ag_params, latency_ms), 0, DAY_MS},
    {"chunk_ms", KIND_COUNT, offsetof(struct ag_params, chunk_ms), 0, DAY_MS},
    {"chunks", KIND_COUNT, offsetof(struct ag_params, chunks), 1, 100000},
    {"answer", KIND_TEXT, offsetof(struct ag_params, answer), 0, 0},
    {"fail", KIND_FAIL, offsetof(struct ag_params, fail), 0, 0},
};

/* Keys of the body that the engine writes itself. */
static const struct reserved {
    const char *provider, *key, *instead;
} reserved[] = {
    {NULL, "model", "the agent's model says it"},
    {NULL, "messages", "the session says it"},
    {NULL, "tools", "the agent's tools say it"},
    {NULL, "stream", "answers always stream"},
    {"openai", "stream_options", "answers always stream with their usage"},
    {"openai", "n", "a run has one answer"},
    {"openai", "functions", "the agent's tools say it"},
    {"anthropic", "system", "the agent's instructions say it"},
};

/* (3) */
static const char *const secrets[] = {"api_key", "apikey", "api-key", "x-api-key", "authorization", "token", "secret"};

static const char *const token_limits[] = {"max_tokens", "max_completion_tokens", "max_output_tokens"};

struct parse {
    struct ag_str provider;
    ag_arena *a;
    struct ag_params p;
    ag_buf pass; /* the passthrough as it grows */
    agent_error *err;
};

/* --- canonical text -------------------------------------------------------------------------------- */

/* The shortest decimal that reads back as the same number: jansson writes 0.2 as
 * 0.20000000000000001. It minds the locale, which printf of ours would not. */
static void put_real(ag_buf *out, const json_t *value)
{
    for (size_t digits = 15; digits <= 17; digits++) {
        char text[64]; /* 17 digits, sign, point, exponent */
        size_t n = json_dumpb(value, text, sizeof(text), JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_auto_t *back = n > sizeof(text) ? NULL : json_loadb(text, n, JSON_DECODE_ANY, NULL);
        bool same = back != NULL && json_equal(back, value);

        if (n == 0 || n > sizeof(text))
            out->failed = AGENT_ENOMEM;
        else if (same || digits == 17)
            ag_buf_append(out, text, n);
        if (out->failed != AGENT_OK || same)
            return;
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object in order; NULL: out of memory. An object has one array at a time. */
static const char **sorted_keys(json_t *object, ag_arena *a, size_t *out_n)
{
    const char **keys = ag_arena_alloc(a, (json_object_size(object) + 1) * sizeof(*keys)), *key;
    json_t *value;
    size_t n = 0;

    if (keys == NULL)
        return NULL;
    json_object_foreach(object, key, value)
        keys[n++] = key;
    qsort(keys, n, sizeof(*keys), by_text);
    *out_n = n;
    return keys;
}

static void put_value(ag_buf *out, json_t *value, ag_arena *a)
{
    const char **keys;
    size_t n = 0;

    if (out->failed != AGENT_OK)
        return;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        if ((keys = sorted_keys(value, a, &n)) == NULL) {
            out->failed = AGENT_ENOMEM;
            return;
        }
        ag_buf_char(out, '{');
        for (size_t i = 0; i < n; i++) {
            if (i > 0)
                ag_buf_char(out, ',');
            ag_buf_json_str(out, ag_str_of(keys[i]));
            ag_buf_char(out, ':');
            put_value(out, json_object_get(value, keys[i]), a);
        }
        ag_buf_char(out, '}');
        break;
    case JSON_ARRAY:
        ag_buf_char(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0)
                ag_buf_char(out, ',');
            put_value(out, json_array_get(value, i), a);
        }
        ag_buf_char(out, ']');
        break;
    case JSON_STRING:  ag_buf_json_str(out, ag_wire_view(value)); break;
    case JSON_INTEGER: ag_buf_int(out, json_integer_value(value)); break;
    case JSON_REAL:    put_real(out, value); break;
    case JSON_TRUE:    ag_buf_z(out, "true"); break;
    case JSON_FALSE:   ag_buf_z(out, "false"); break;
    case JSON_NULL:    ag_buf_z(out, "null"); break;
    }
}

/* --- reading --------------------------------------------------------------------------------------- */

static bool is_none(struct ag_str s)
{
    return s.n == 0 || (s.n == 2 && s.p[0] == '{' && s.p[1] == '}') || ag_wire_blank(s);
}

static json_t *load(struct ag_str text, agent_error *err)
{
    json_error_t where;
    json_t *doc;

    if (is_none(text)) {
        if ((doc = json_object()) == NULL)
            (void)ag_fail(err, AGENT_ENOMEM, 0, "options: out of memory");
        return doc;
    }
    doc = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &where);
    if (doc != NULL && json_is_object(doc))
        return doc;
    if (doc == NULL)
        (void)ag_fail(err, AGENT_EINVAL, 0, "options: line %d, column %d: %s", where.line, where.column, where.text);
    else
        (void)ag_fail(err, AGENT_EINVAL, 0, "options: a JSON array where an object is wanted");
    ag_hint(err, "options are a JSON object, as in {\"temperature\": 0.2}");
    json_decref(doc);
    return NULL;
}

/* `base` with `over` laid over it, without nulls. NULL with err set. */
static json_t *overlay(struct ag_str base, struct ag_str over, agent_error *err)
{
    json_t *doc = load(base, err), *value;
    json_auto_t *top = NULL;
    const char *key;
    void *next;

    if (doc == NULL || (top = load(over, err)) == NULL) {
        json_decref(doc);
        return NULL;
    }
    if (json_object_update(doc, top) != 0) {
        json_decref(doc);
        (void)ag_fail(err, AGENT_ENOMEM, 0, "options: out of memory");
        return NULL;
    }
    json_object_foreach_safe(doc, next, key, value)
        if (json_is_null(value))
            (void)json_object_del(doc, key);
    return doc;
}

/* --- one option ------------------------------------------------------------------------------------- */

/* AGENT_EINVAL: option "key": VALUE is not <wanted>. */
static agent_status unfit(struct parse *s, const char *key, json_t *value, const char *wanted)
{
    AG_AUTO(ag_buf) text = AG_BUF_INIT(1u << 20);
    struct ag_str shown;
    size_t n;

    put_value(&text, value, s->a);
    shown = ag_buf_view(&text);
    n = ag_utf8_cut(shown, SHOW_BYTES);
    return ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": %.*s%s is not %s", key, (int)n, shown.p,
                   n < shown.n ? "…" : "", wanted);
}

static agent_status keep_text(struct parse *s, struct ag_str text, void *to)
{
    struct ag_str copy = ag_arena_str(s->a, text);

    if (copy.p == NULL)
        return ag_fail(s->err, AGENT_ENOMEM, 0, "options: out of memory");
    memcpy(to, &copy, sizeof(copy));
    return AGENT_OK;
}

static agent_status take_count(struct parse *s, const struct option *o, json_t *value)
{
    int64_t n = json_integer_value(value);
    char wanted[80];

    if (!json_is_integer(value) || n < o->min || n > o->max) {
        (void)snprintf(wanted, sizeof(wanted), "a whole number from %lld to %lld", (long long)o->min,
                       (long long)o->max);
        return unfit(s, o->key, value, wanted);
    }
    if (o->kind == KIND_RETRIES)
        s->p.retries = (int)n;
    else
        memcpy((char *)&s->p + o->at, &n, sizeof(n));
    return AGENT_OK;
}

/* A name of a variable, and by no accident the key itself (3). */
static agent_status take_variable(struct parse *s, const struct option *o, json_t *value)
{
    struct ag_str name = ag_wire_view(value);
    bool fine = name.n > 0 && name.n <= 128 && !(name.p[0] >= '0' && name.p[0] <= '9');

    for (size_t i = 0; fine && i < name.n; i++)
        fine = name.p[i] == '_' || (name.p[i] >= '0' && name.p[i] <= '9') ||
               (name.p[i] >= 'A' && name.p[i] <= 'Z') || (name.p[i] >= 'a' && name.p[i] <= 'z');
    if (fine)
        return keep_text(s, name, (char *)&s->p + o->at);
    (void)ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": the value is not the name of an environment variable",
                  o->key);
    ag_hint(s->err, "name the variable that holds the key, as in \"OPENAI_API_KEY\", not the key");
    return AGENT_EINVAL;
}

static agent_status take_fail(struct parse *s, const struct option *o, json_t *value)
{
    struct ag_str text = ag_wire_view(value);
    char digits[4];
    int64_t status = json_integer_value(value);

    if (ag_str_is(text, "cut") || (json_is_string(value) && text.n == 0))
        return keep_text(s, text, (char *)&s->p + o->at);
    if (text.n == 3 && text.p[0] >= '1' && text.p[0] <= '9' && text.p[1] >= '0' && text.p[1] <= '9' &&
        text.p[2] >= '0' && text.p[2] <= '9')
        status = (text.p[0] - '0') * 100 + (text.p[1] - '0') * 10 + (text.p[2] - '0');
    if (status < 400 || status > 599)
        return unfit(s, o->key, value, "an HTTP status from 400 to 599 or \"cut\"");
    (void)snprintf(digits, sizeof(digits), "%d", (int)status);
    return keep_text(s, ag_str_of(digits), (char *)&s->p + o->at);
}

static bool is_model(struct ag_str s)
{
    const char *colon = s.n == 0 ? NULL : memchr(s.p, ':', s.n);

    return colon != NULL && colon > s.p && colon + 1 < s.p + s.n;
}

/* One "provider:model", or an array of them. */
static agent_status take_fallback(struct parse *s, const struct option *o, json_t *value)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    struct ag_str *list;
    agent_status rc;

    if (n > (size_t)o->max)
        return ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": %zu models; at most %d", o->key, n, FALLBACK_MAX);
    if (n == 0)
        return AGENT_OK;
    if ((list = ag_arena_alloc(s->a, n * sizeof(*list))) == NULL)
        return ag_fail(s->err, AGENT_ENOMEM, 0, "options: out of memory");
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

        if (!is_model(ag_wire_view(one)))
            return unfit(s, o->key, one, "a \"provider:model\"");
        if ((rc = keep_text(s, ag_wire_view(one), &list[i])) != AGENT_OK)
            return rc;
    }
    s->p.fallback = list;
    s->p.fallback_count = n;
    return AGENT_OK;
}

static agent_status take_reuse(struct parse *s, const struct option *o, json_t *value)
{
    static const char *const words[] = {
        [AG_REUSE_OFF] = "off", [AG_REUSE_ON] = "on", [AG_REUSE_READ_ONLY] = "read-only", [AG_REUSE_REFRESH] = "refresh",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (ag_str_is(ag_wire_view(value), words[i]) && json_is_string(value)) {
            s->p.cache = (enum ag_reuse)i;
            return AGENT_OK;
        }
    return unfit(s, o->key, value, "\"off\", \"on\", \"read-only\" or \"refresh\"");
}

static agent_status take_option(struct parse *s, const struct option *o, json_t *value)
{
    bool on = json_is_true(value);

    switch (o->kind) {
    case KIND_COUNT:
    case KIND_RETRIES:
        return take_count(s, o, value);
    case KIND_BOOL:
        if (!json_is_boolean(value))
            return unfit(s, o->key, value, "true or false");
        memcpy((char *)&s->p + o->at, &on, sizeof(on));
        return AGENT_OK;
    case KIND_TEXT:
        if (!json_is_string(value))
            return unfit(s, o->key, value, "a text");
        return keep_text(s, ag_wire_view(value), (char *)&s->p + o->at);
    case KIND_VARIABLE:
        return take_variable(s, o, value);
    case KIND_FAIL:
        return take_fail(s, o, value);
    case KIND_FALLBACK:
        return take_fallback(s, o, value);
    case KIND_REUSE:
        return take_reuse(s, o, value);
    }
    return AGENT_OK;
}

static agent_status refuse(struct parse *s, const char *key)
{
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        if (strcmp(key, secrets[i]) != 0)
            continue;
        (void)ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": options are stored, and keys are not", key);
        ag_hint(s->err, "put the key into an environment variable and name it with key_env");
        return AGENT_EINVAL;
    }
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (strcmp(key, reserved[i].key) == 0 &&
            (reserved[i].provider == NULL || ag_str_is(s->provider, reserved[i].provider)))
            return ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": not to be set here: %s", key,
                           reserved[i].instead);
    if (ag_str_is(s->provider, "offline")) {
        (void)ag_fail(s->err, AGENT_EINVAL, 0, "option \"%s\": the model offline has no such option", key);
        ag_hint(s->err, "it knows latency_ms, chunk_ms, chunks, answer, fail, and the engine's history_messages, "
                        "history_bytes, timeout_ms, retries, fallback, cache …");
        return AGENT_EINVAL;
    }
    return AGENT_OK;
}

/* Anything that is not ours. Anthropic knows one name for the limit of an answer; the others' names
 * for it are meant the same. */
static agent_status pass_through(struct parse *s, json_t *doc, const char *key, json_t *value)
{
    const char *name = key;
    agent_status rc = refuse(s, key);

    if (rc != AGENT_OK)
        return rc;
    for (size_t i = 0; i < sizeof(token_limits) / sizeof(token_limits[0]); i++) {
        if (strcmp(key, token_limits[i]) != 0)
            continue;
        if (ag_str_is(s->provider, "anthropic") && i > 0) {
            if (s->p.has_max_tokens || json_object_get(doc, token_limits[0]) != NULL)
                return AGENT_OK; /* said already */
            name = token_limits[0];
        }
        s->p.has_max_tokens = true;
    }
    if (s->pass.n > 0)
        ag_buf_char(&s->pass, ',');
    ag_buf_json_str(&s->pass, ag_str_of(name));
    ag_buf_char(&s->pass, ':');
    put_value(&s->pass, value, s->a);
    return AGENT_OK;
}

static agent_status take_all(struct parse *s, json_t *doc)
{
    size_t n = 0;
    const char **keys = sorted_keys(doc, s->a, &n);
    agent_status rc = AGENT_OK;

    if (keys == NULL)
        return ag_fail(s->err, AGENT_ENOMEM, 0, "options: out of memory");
    for (size_t i = 0; i < n && rc == AGENT_OK; i++) {
        json_t *value = json_object_get(doc, keys[i]);
        const struct option *o = NULL;

        for (size_t k = 0; o == NULL && k < sizeof(options) / sizeof(options[0]); k++)
            if (strcmp(keys[i], options[k].key) == 0)
                o = &options[k];
        rc = o != NULL ? take_option(s, o, value) : pass_through(s, doc, keys[i], value);
    }
    if (rc == AGENT_OK)
        rc = ag_buf_status(&s->pass, "options", s->err);
    return rc == AGENT_OK ? keep_text(s, ag_buf_view(&s->pass), &s->p.passthrough) : rc;
}

agent_status ag_params_parse(struct ag_str provider, struct ag_str base, struct ag_str over, ag_arena *a,
                             struct ag_params *out, agent_error *err)
{
    static const struct ag_params none = {
        .history_messages = -1, .history_bytes = -1, .timeout_ms = -1,
        .connect_ms = -1, .first_byte_ms = -1, .idle_ms = -1, .total_ms = -1,
        .retries = -1, .passthrough = {"", 0},
    };
    struct parse s = {.provider = provider, .a = a, .p = none, .err = err};
    json_auto_t *doc = NULL;
    agent_status rc;

    if (is_none(base) && is_none(over)) { /* (1) */
        *out = none;
        return AGENT_OK;
    }
    if ((doc = overlay(base, over, err)) == NULL)
        return err != NULL ? err->status : AGENT_EINVAL;
    s.pass = AG_BUF_INIT(AG_CAP_ARGUMENTS_BYTES);
    rc = take_all(&s, doc);
    ag_buf_drop(&s.pass);
    if (rc == AGENT_OK)
        *out = s.p;
    return rc;
}

agent_status ag_params_merge(struct ag_str old, struct ag_str over, ag_arena *a, struct ag_str *out, agent_error *err)
{
    AG_AUTO(ag_buf) text = AG_BUF_INIT(AG_CAP_ARGUMENTS_BYTES);
    json_auto_t *doc = overlay(old, over, err);
    struct ag_str copy;
    agent_status rc;

    if (doc == NULL)
        return err != NULL ? err->status : AGENT_EINVAL;
    put_value(&text, doc, a);
    if ((rc = ag_buf_status(&text, "options", err)) != AGENT_OK)
        return rc;
    if ((copy = ag_arena_str(a, ag_buf_view(&text))).p == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "options: out of memory");
    *out = copy;
    return AGENT_OK;
}
