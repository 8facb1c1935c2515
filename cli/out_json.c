/*
 * JSON text, written straight into the output buffer: what is read by the thousand (list, sql) has
 * no tree built for it.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "cli/text.h"

static void value(struct out *out)
{
    if (out->wants_comma)
        out_bytes(out, ",", 1);
    out->wants_comma = true;
}

void put_open(struct out *out, char bracket)
{
    value(out);
    out_bytes(out, &bracket, 1);
    out->wants_comma = false;
}

void put_close(struct out *out, char bracket)
{
    out_bytes(out, bracket == '{' ? "}" : "]", 1);
    out->wants_comma = true;
}

void put_key(struct out *out, const char *key)
{
    put_str(out, key);
    out_bytes(out, ":", 1);
    out->wants_comma = false;
}

void put_strn(struct out *out, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0, i = 0;

    value(out);
    out_bytes(out, "\"", 1);
    while (i < n) {
        unsigned char c = (unsigned char)p[i];
        size_t len = c < 0x80 ? 1 : text_utf8(p + i, n - i, NULL);
        char two[2] = {'\\', 0};

        if (len == 1 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
            i++;
            continue;
        }
        if (len > 1) {
            i += len;
            continue;
        }
        out_bytes(out, p + from, i - from);
        switch (c) {
        case '"': two[1] = '"'; break;
        case '\\': two[1] = '\\'; break;
        case '\n': two[1] = 'n'; break;
        case '\r': two[1] = 'r'; break;
        case '\t': two[1] = 't'; break;
        default: break;
        }
        if (len == 0) {
            out_text(out, "\xEF\xBF\xBD");
        } else if (two[1] != 0) {
            out_bytes(out, two, 2);
        } else {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

            out_bytes(out, escape, sizeof(escape));
        }
        from = ++i;
    }
    out_bytes(out, p + from, n - from);
    out_bytes(out, "\"", 1);
}

void put_str(struct out *out, const char *s)
{
    if (s == NULL)
        put_null(out);
    else
        put_strn(out, s, strlen(s));
}

void put_int(struct out *out, int64_t v)
{
    value(out);
    out_fmt(out, "%lld", (long long)v);
}

void put_unknown(struct out *out, int64_t v)
{
    if (v < 0)
        put_null(out);
    else
        put_int(out, v);
}

void put_real(struct out *out, double v)
{
    char text[40];

    if (!isfinite(v)) {
        put_null(out);
        return;
    }
    value(out);
    (void)snprintf(text, sizeof(text), "%.15g", v);
    if (strtod(text, NULL) != v)
        (void)snprintf(text, sizeof(text), "%.17g", v);
    out_text(out, text);
    if (strpbrk(text, ".e") == NULL)
        out_text(out, ".0");
}

void put_bool(struct out *out, bool v)
{
    value(out);
    out_text(out, v ? "true" : "false");
}

void put_null(struct out *out)
{
    value(out);
    out_text(out, "null");
}

void put_embed(struct out *out, const char *text)
{
    json_t *tree = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
    char *compact = tree == NULL ? NULL : json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY);

    if (compact == NULL) {
        put_str(out, text);
    } else {
        value(out);
        out_text(out, compact);
    }
    free(compact);
    json_decref(tree);
}

void put_cell(struct out *out, const agent_row *row, int column)
{
    enum agent_value_type type = column < 0 ? AGENT_VALUE_NULL : agent_row_type(row, column);
    size_t bytes = 0;
    const char *text;

    switch (type) {
    case AGENT_VALUE_NULL:
        put_null(out);
        return;
    case AGENT_VALUE_INT:
        put_int(out, agent_row_int(row, column));
        return;
    case AGENT_VALUE_REAL:
        put_real(out, agent_row_real(row, column));
        return;
    case AGENT_VALUE_TEXT:
        text = agent_row_text(row, column, &bytes);
        put_strn(out, text == NULL ? "" : text, bytes);
        return;
    case AGENT_VALUE_BLOB: /* as hexadecimal digits, for JSON has no bytes */
        text = agent_row_text(row, column, &bytes);
        value(out);
        out_bytes(out, "\"", 1);
        for (size_t i = 0; i < bytes; i++)
            out_fmt(out, "%02x", (unsigned)(unsigned char)text[i]);
        out_bytes(out, "\"", 1);
        return;
    }
}

void put_row_members(struct out *out, const agent_row *row)
{
    int count = agent_row_count(row);

    for (int i = 0; i < count; i++) {
        put_key(out, agent_row_name(row, i));
        put_cell(out, row, i);
    }
}

void put_row(struct out *out, const agent_row *row)
{
    put_open(out, '{');
    put_row_members(out, row);
    put_close(out, '{');
}

void put_line(struct out *out)
{
    out_bytes(out, "\n", 1);
    out->wants_comma = false;
}
