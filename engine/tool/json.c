#include "engine/tool/json.h"

#include <math.h>
#include <string.h>

#include "engine/base/utf8.h"

/* jansson's own limit (2048) is a matter of its stack; ours is one of whoever walks the value. */
static bool too_deep(struct ag_str text)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > AG_JSON_DEPTH)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

void ag_json_tidy(char *text)
{
    struct ag_str s = ag_str_of(text);
    size_t bad;

    while (!ag_utf8_valid(s, &bad))
        text[bad] = '?';
}

agent_status ag_json_read(struct ag_str text, const char *what, json_t **out, agent_error *err)
{
    json_error_t told;
    json_t *value;

    if (text.n > AG_JSON_BYTES)
        return ag_fail(err, AGENT_ETOOBIG, 0, "%s: %zu bytes, at most %u are allowed", what, text.n, AG_JSON_BYTES);
    if (too_deep(text))
        return ag_fail(err, AGENT_EINVAL, 0, "%s: nested deeper than %d", what, AG_JSON_DEPTH);
    value = json_loadb(text.n == 0 ? "" : text.p, text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &told);
    if (value == NULL) {
        if (json_error_code(&told) == json_error_out_of_memory)
            return ag_fail(err, AGENT_ENOMEM, 0, "%s: out of memory", what);
        if (text.n == 0)
            return ag_fail(err, AGENT_EINVAL, 0, "%s: empty, and so not JSON; {} is an object with nothing in it", what);
        ag_json_tidy(told.text); /* it quotes the text, cut anywhere */
        return ag_fail(err, AGENT_EINVAL, 0, "%s: not JSON: line %d column %d: %s", what, told.line, told.column,
                       told.text);
    }
    *out = value;
    return AGENT_OK;
}

const char *ag_json_type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

int ag_json_compare(const json_t *a, const json_t *b)
{
    const json_t *whole, *real;
    double d, floor_d;
    json_int_t i;
    int order;

    if (json_is_integer(a) && json_is_integer(b))
        return (json_integer_value(a) > json_integer_value(b)) - (json_integer_value(a) < json_integer_value(b));
    if (json_is_real(a) && json_is_real(b))
        return (json_real_value(a) > json_real_value(b)) - (json_real_value(a) < json_real_value(b));
    whole = json_is_integer(a) ? a : b;
    real = whole == a ? b : a;
    i = json_integer_value(whole);
    d = json_real_value(real);
    floor_d = floor(d);
    if (d >= 9223372036854775808.0) /* 2^63: over every integer there is */
        order = -1;
    else if (d < -9223372036854775808.0)
        order = 1;
    else if ((json_int_t)floor_d != i)
        order = i < (json_int_t)floor_d ? -1 : 1;
    else
        order = d > floor_d ? -1 : 0;
    return whole == a ? order : -order;
}

bool ag_json_same(const json_t *a, const json_t *b, int64_t *work)
{
    const char *key;
    json_t *value;
    size_t i;

    if (--*work < 0)
        return false;
    if (json_is_number(a) && json_is_number(b))
        return ag_json_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    switch (json_typeof(a)) {
    case JSON_OBJECT:
        if (json_object_size(a) != json_object_size(b))
            return false;
        json_object_foreach((json_t *)a, key, value) { /* only reads, though jansson's cursor is not const */
            const json_t *other = json_object_get(b, key);

            if (other == NULL || !ag_json_same(value, other, work))
                return false;
        }
        return true;
    case JSON_ARRAY:
        if (json_array_size(a) != json_array_size(b))
            return false;
        for (i = 0; i < json_array_size(a); i++)
            if (!ag_json_same(json_array_get(a, i), json_array_get(b, i), work))
                return false;
        return true;
    case JSON_STRING:
        return json_string_length(a) == json_string_length(b) &&
            memcmp(json_string_value(a), json_string_value(b), json_string_length(a)) == 0;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        break;
    }
    return true;
}

struct brief {
    char *to;
    size_t n, room;
    bool cut;
};

/* Stops jansson as soon as there is enough: a value may be a megabyte. */
static int gather(const char *p, size_t n, void *ctx)
{
    struct brief *b = ctx;
    size_t left = b->room - b->n, take = n < left ? n : left;

    memcpy(b->to + b->n, p, take);
    b->n += take;
    b->cut = take < n;
    return b->cut ? -1 : 0;
}

char *ag_json_brief(const json_t *value, char *to, size_t room)
{
    static const char more[] = "\xe2\x80\xa6"; /* … */
    struct brief b = {.to = to, .room = room - sizeof(more)};

    if (json_dump_callback(value, gather, &b, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) != 0 && !b.cut) {
        memcpy(to, "?", 2);
        return to;
    }
    if (b.cut) {
        while (b.n > 0 && !ag_utf8_valid((struct ag_str){to, b.n}, NULL))
            b.n--;
        memcpy(to + b.n, more, sizeof(more) - 1);
        b.n += sizeof(more) - 1;
    }
    to[b.n] = '\0';
    return to;
}
