/*
 * JSON that is already text: checked, walked and copied without a tree. A conversation is stored as
 * the text it will be sent as, and building a request from it is copying; a tree of the same costs
 * hundreds of times more.
 *
 *  1. Nothing here allocates but the buffer that a caller gives.
 *  2. Nesting is bounded by AG_SCAN_DEPTH: no input can exhaust the stack.
 */
#include "engine/base/utf8.h"
#include "engine/provider/wire.h"

struct cursor {
    const char *p, *end;
};

static bool value(struct cursor *c, int depth);

static void blank(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
}

static bool eat(struct cursor *c, char want)
{
    if (c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

static bool word(struct cursor *c, const char *want)
{
    size_t n = strlen(want);

    if ((size_t)(c->end - c->p) < n || memcmp(c->p, want, n) != 0)
        return false;
    c->p += n;
    return true;
}

/* Nothing is added to a NULL, not even zero: an absent string has no end. */
static struct cursor cursor_of(struct ag_str s, size_t at)
{
    return s.p == NULL ? (struct cursor){"", ""} : (struct cursor){s.p + at, s.p + s.n};
}

/* Four hex digits, or -1. */
static int hex4(const char *p, const char *end)
{
    int u = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char d = p[i];

        u <<= 4;
        if (d >= '0' && d <= '9')
            u |= d - '0';
        else if (d >= 'a' && d <= 'f')
            u |= d - 'a' + 10;
        else if (d >= 'A' && d <= 'F')
            u |= d - 'A' + 10;
        else
            return -1;
    }
    return u;
}

/* What stands behind "\u" as a code point, with its second half where it has one; p moves behind
 * it. -1: no hex, or half a pair (p then stands behind the half). */
static long code_point(const char **p, const char *end)
{
    int high = hex4(*p, end), low;

    if (high < 0)
        return -1;
    *p += 4;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    low = hex4(*p + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    *p += 6;
    return 0x10000 + ((long)(high - 0xd800) << 10) + (low - 0xdc00);
}

static bool string(struct cursor *c)
{
    if (!eat(c, '"'))
        return false;
    while (c->p < c->end) {
        unsigned char b = (unsigned char)*c->p++;

        if (b == '"')
            return true;
        if (b < 0x20)
            return false;
        if (b != '\\')
            continue;
        if (c->p == c->end)
            return false;
        b = (unsigned char)*c->p++;
        if (b == 'u') {
            if (code_point(&c->p, c->end) < 0)
                return false;
        } else if (b == '\0' || strchr("\"\\/bfnrt", b) == NULL) {
            return false;
        }
    }
    return false;
}

static bool digits(struct cursor *c)
{
    const char *from = c->p;

    while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
        c->p++;
    return c->p > from;
}

static bool number(struct cursor *c)
{
    (void)eat(c, '-');
    if (!eat(c, '0') && !digits(c))
        return false;
    if (eat(c, '.') && !digits(c))
        return false;
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
        c->p++;
        if (!eat(c, '+'))
            (void)eat(c, '-');
        return digits(c);
    }
    return true;
}

/* The members of an object or the items of an array, behind the opening bracket. */
static bool inside(struct cursor *c, char close, int depth)
{
    if (depth >= AG_SCAN_DEPTH) /* (2) */
        return false;
    blank(c);
    if (eat(c, close))
        return true;
    do {
        blank(c);
        if (close == '}') {
            if (!string(c))
                return false;
            blank(c);
            if (!eat(c, ':'))
                return false;
        }
        if (!value(c, depth + 1))
            return false;
        blank(c);
    } while (eat(c, ','));
    return eat(c, close);
}

static bool value(struct cursor *c, int depth)
{
    blank(c);
    if (c->p == c->end)
        return false;
    switch (*c->p) {
    case '{': c->p++; return inside(c, '}', depth);
    case '[': c->p++; return inside(c, ']', depth);
    case '"': return string(c);
    case 't': return word(c, "true");
    case 'f': return word(c, "false");
    case 'n': return word(c, "null");
    default:  return number(c);
    }
}

bool ag_scan_is_object(struct ag_str text)
{
    struct cursor c = cursor_of(text, 0);

    if (text.n == 0)
        return false;
    blank(&c);
    if (c.p == c.end || *c.p != '{' || !value(&c, 0))
        return false;
    blank(&c);
    return c.p == c.end && ag_utf8_valid(text, NULL);
}

/* The next member behind '{' or behind the last one. False: no more, or broken (*ok says which). */
static bool member(struct cursor *c, struct ag_str *out_key, struct ag_str *out_value, bool *ok)
{
    const char *from;

    blank(c);
    if (eat(c, '}'))
        return false;
    (void)eat(c, ',');
    blank(c);
    from = c->p;
    *ok = string(c);
    if (!*ok)
        return false;
    *out_key = (struct ag_str){from, (size_t)(c->p - from)};
    blank(c);
    *ok = eat(c, ':');
    if (!*ok)
        return false;
    blank(c);
    from = c->p;
    *ok = value(c, 1);
    *out_value = (struct ag_str){from, (size_t)(c->p - from)};
    return *ok;
}

static bool key_is(struct ag_str literal, const char *key)
{
    return literal.n == strlen(key) + 2 && memcmp(literal.p + 1, key, literal.n - 2) == 0;
}

bool ag_scan_member(struct ag_str object, const char *key, struct ag_str *out_raw)
{
    struct cursor c = cursor_of(object, 0);
    struct ag_str k, v;
    bool ok = true;

    if (object.n == 0)
        return false;
    blank(&c);
    if (!eat(&c, '{'))
        return false;
    while (member(&c, &k, &v, &ok)) {
        if (key_is(k, key)) {
            *out_raw = v;
            return true;
        }
    }
    return false;
}

bool ag_scan_next(struct ag_str object, size_t *at, struct ag_str *out_key, struct ag_str *out_value)
{
    struct cursor c = cursor_of(object, *at);
    bool ok = true, more;

    if (*at == 0) {
        blank(&c);
        if (!eat(&c, '{'))
            return false;
    }
    more = member(&c, out_key, out_value, &ok);
    *at = (size_t)(c.p - object.p);
    return more;
}

static void put_utf8(ag_buf *out, long u)
{
    char b[4];

    if (u <= 0) /* a NUL would end the text for every reader in C */
        u = 0xfffd;
    if (u < 0x80) {
        ag_buf_char(out, (char)u);
    } else if (u < 0x800) {
        b[0] = (char)(0xc0 | (u >> 6));
        b[1] = (char)(0x80 | (u & 63));
        ag_buf_append(out, b, 2);
    } else if (u < 0x10000) {
        b[0] = (char)(0xe0 | (u >> 12));
        b[1] = (char)(0x80 | ((u >> 6) & 63));
        b[2] = (char)(0x80 | (u & 63));
        ag_buf_append(out, b, 3);
    } else {
        b[0] = (char)(0xf0 | (u >> 18));
        b[1] = (char)(0x80 | ((u >> 12) & 63));
        b[2] = (char)(0x80 | ((u >> 6) & 63));
        b[3] = (char)(0x80 | (u & 63));
        ag_buf_append(out, b, 4);
    }
}

void ag_scan_unescape(struct ag_str literal, ag_buf *out)
{
    struct cursor c = cursor_of(literal, 0);
    const char *p = c.p, *end = c.end;

    if (p < end && *p == '"')
        p++;
    while (p < end && *p != '"') {
        const char *plain = p;

        while (p < end && *p != '"' && *p != '\\')
            p++;
        ag_buf_append(out, plain, (size_t)(p - plain));
        if (p == end || *p == '"')
            return;
        if (++p == end)
            return;
        switch (*p++) {
        case 'b': ag_buf_char(out, '\b'); break;
        case 'f': ag_buf_char(out, '\f'); break;
        case 'n': ag_buf_char(out, '\n'); break;
        case 'r': ag_buf_char(out, '\r'); break;
        case 't': ag_buf_char(out, '\t'); break;
        case 'u': put_utf8(out, code_point(&p, end)); break;
        default:  ag_buf_char(out, p[-1]); break;
        }
    }
}

int ag_scan_call(struct ag_str calls, size_t *at, struct ag_scan_call *out)
{
    struct cursor c = cursor_of(calls, *at);
    struct ag_scan_call found = {AG_STR_NONE, AG_STR_NONE, AG_STR_NONE};
    struct ag_str k, v;
    bool ok = true;

    if (calls.n == 0)
        return 0;
    blank(&c);
    if (!eat(&c, *at == 0 ? '[' : ',')) {
        if (*at == 0 || !eat(&c, ']'))
            return -1;
        blank(&c);
        return c.p == c.end ? 0 : -1;
    }
    blank(&c);
    if (*at == 0 && eat(&c, ']')) {
        blank(&c);
        return c.p == c.end ? 0 : -1;
    }
    if (!eat(&c, '{'))
        return -1;
    while (member(&c, &k, &v, &ok)) {
        if (key_is(k, "id"))
            found.id = v;
        else if (key_is(k, "name"))
            found.name = v;
        else if (key_is(k, "arguments"))
            found.arguments = v;
    }
    if (!ok || found.id.n == 0 || found.id.p[0] != '"' || found.name.n == 0 || found.name.p[0] != '"')
        return -1;
    *at = (size_t)(c.p - calls.p);
    *out = found;
    return 1;
}

void ag_scan_put_object(struct ag_str text, ag_buf *out)
{
    if (ag_scan_is_object(text)) {
        ag_buf_str(out, text);
    } else if (text.n == 0) {
        ag_buf_append(out, "{}", 2);
    } else {
        ag_buf_z(out, "{\"INVALID_JSON\":");
        ag_buf_json_str(out, text);
        ag_buf_char(out, '}');
    }
}

void ag_scan_arguments(struct ag_str raw, ag_buf *out)
{
    AG_AUTO(ag_buf) plain = AG_BUF_INIT(out->cap);

    if (raw.n == 0 || raw.p[0] != '"') {
        ag_scan_put_object(raw, out);
        return;
    }
    ag_scan_unescape(raw, &plain);
    if (plain.failed != AGENT_OK)
        out->failed = plain.failed;
    ag_scan_put_object(ag_buf_view(&plain), out);
}
