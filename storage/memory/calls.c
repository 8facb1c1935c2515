/*
 * Just enough JSON for what our own providers wrote: an array of flat objects whose members are
 * strings, or values that are passed over. What is not that ends the walk.
 */
#include "storage/memory/calls.h"

static void skip_blanks(struct ag_str *s)
{
    while (s->n > 0 && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) {
        s->p++;
        s->n--;
    }
}

static bool take(struct ag_str *s, char c)
{
    skip_blanks(s);
    if (s->n == 0 || *s->p != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at p; -1: they are none. */
static int unit16(const char *p, size_t n)
{
    int v = 0;

    if (n < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int h = hex(p[i]);

        if (h < 0)
            return -1;
        v = v << 4 | h;
    }
    return v;
}

static void put_utf8(ag_buf *out, unsigned c)
{
    if (c < 0x80) {
        ag_buf_char(out, (char)c);
    } else if (c < 0x800) {
        ag_buf_char(out, (char)(0xc0 | c >> 6));
        ag_buf_char(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        ag_buf_char(out, (char)(0xe0 | c >> 12));
        ag_buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        ag_buf_char(out, (char)(0x80 | (c & 63)));
    } else {
        ag_buf_char(out, (char)(0xf0 | c >> 18));
        ag_buf_char(out, (char)(0x80 | (c >> 12 & 63)));
        ag_buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        ag_buf_char(out, (char)(0x80 | (c & 63)));
    }
}

/* What follows a backslash; its bytes are counted in *out_used. */
static bool put_escape(const char *p, size_t n, ag_buf *out, size_t *out_used)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = n == 0 || *p == '\0' ? NULL : strchr(from, *p);
    int high, low;

    *out_used = 1;
    if (known != NULL) {
        ag_buf_char(out, to[known - from]);
        return true;
    }
    if (n == 0 || *p != 'u' || (high = unit16(p + 1, n - 1)) < 0)
        return false;
    *out_used = 5;
    if (high >= 0xd800 && high < 0xdc00 && n >= 11 && p[5] == '\\' && p[6] == 'u' &&
        (low = unit16(p + 7, n - 7)) >= 0xdc00 && low < 0xe000) {
        *out_used = 11;
        put_utf8(out, 0x10000 + ((unsigned)(high - 0xd800) << 10 | (unsigned)(low - 0xdc00)));
        return true;
    }
    put_utf8(out, high >= 0xd800 && high < 0xe000 ? 0xfffd : (unsigned)high);
    return true;
}

/* A string, decoded; `out` may be NULL. */
static bool take_string(struct ag_str *s, ag_buf *out)
{
    AG_AUTO(ag_buf) nowhere = AG_BUF_INIT(1 << 24);

    if (out == NULL)
        out = &nowhere;
    if (!take(s, '"'))
        return false;
    while (s->n > 0) {
        size_t used = 0;
        char c = *s->p++;

        s->n--;
        if (c == '"')
            return out->failed == AGENT_OK;
        if (c != '\\') {
            ag_buf_char(out, c);
            continue;
        }
        if (!put_escape(s->p, s->n, out, &used))
            return false;
        s->p += used;
        s->n -= used;
    }
    return false;
}

/* Any value, as it is written; `out` may be NULL. */
static bool take_value(struct ag_str *s, ag_buf *out)
{
    struct ag_str from;
    int depth = 0;

    skip_blanks(s);
    if (s->n > 0 && *s->p == '"')
        return take_string(s, out);
    from = *s;
    while (s->n > 0) {
        char c = *s->p;

        if (c == '"') {
            if (!take_string(s, NULL))
                return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
        s->p++;
        s->n--;
    }
    if (out != NULL)
        ag_buf_append(out, from.p, from.n - s->n);
    return depth == 0 && s->n > 0;
}

bool ag_ram_asked_next(struct ag_str *json, struct ag_ram_asked *out)
{
    AG_AUTO(ag_buf) key = AG_BUF_INIT(1 << 16);

    ag_buf_clear(&out->id);
    ag_buf_clear(&out->name);
    ag_buf_clear(&out->arguments);
    if ((!take(json, '[') && !take(json, ',')) || !take(json, '{'))
        return false;
    do {
        struct ag_str k;

        ag_buf_clear(&key);
        if (!take_string(json, &key) || !take(json, ':'))
            return false;
        k = ag_buf_view(&key);
        if (!take_value(json, ag_str_is(k, "id")          ? &out->id
                              : ag_str_is(k, "name")      ? &out->name
                              : ag_str_is(k, "arguments") ? &out->arguments
                                                          : NULL))
            return false;
    } while (take(json, ','));
    return take(json, '}');
}

void ag_ram_asked_drop(struct ag_ram_asked *asked)
{
    ag_buf_drop(&asked->id);
    ag_buf_drop(&asked->name);
    ag_buf_drop(&asked->arguments);
}
