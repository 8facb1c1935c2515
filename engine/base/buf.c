#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void ag_buf_drop(ag_buf *b)
{
    ag_free(b->p);
    *b = AG_BUF_INIT(b->cap);
}

void ag_buf_clear(ag_buf *b)
{
    b->n = 0;
    b->failed = AGENT_OK;
    if (b->p != NULL)
        b->p[0] = '\0';
}

char *ag_buf_take(ag_buf *b, size_t *out_bytes)
{
    char *p = b->p;

    if (b->failed != AGENT_OK)
        return NULL;
    if (out_bytes != NULL)
        *out_bytes = b->n;
    *b = AG_BUF_INIT(b->cap);
    return p;
}

char *ag_buf_reserve(ag_buf *b, size_t n)
{
    size_t want, room;
    char *p;

    if (b->failed != AGENT_OK)
        return NULL;
    if (n > b->cap || b->n > b->cap - n) {
        b->failed = AGENT_ETOOBIG;
        return NULL;
    }
    want = b->n + n + 1;
    if (want <= b->room)
        return b->p + b->n;
    room = b->room < 64 ? 64 : b->room + b->room / 2;
    if (room < want)
        room = want;
    if ((p = ag_realloc(b->p, room)) == NULL) {
        b->failed = AGENT_ENOMEM;
        return NULL;
    }
    b->p = p;
    b->room = room;
    return p + b->n;
}

void ag_buf_append(ag_buf *b, const void *p, size_t n)
{
    char *to = ag_buf_reserve(b, n);

    if (to == NULL)
        return;
    if (n > 0)
        memcpy(to, p, n);
    to[n] = '\0';
    b->n += n;
}

void ag_buf_str(ag_buf *b, struct ag_str s)
{
    ag_buf_append(b, s.p, s.n);
}

void ag_buf_z(ag_buf *b, const char *z)
{
    ag_buf_append(b, z, strlen(z));
}

void ag_buf_char(ag_buf *b, char c)
{
    ag_buf_append(b, &c, 1);
}

void ag_buf_int(ag_buf *b, int64_t value)
{
    char text[24];
    size_t at = sizeof(text);
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (value < 0)
        text[--at] = '-';
    ag_buf_append(b, text + at, sizeof(text) - at);
}

void ag_buf_printf(ag_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    int n;
    char *to;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0 && (to = ag_buf_reserve(b, (size_t)n)) != NULL) {
        (void)vsnprintf(to, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void ag_buf_json_str(ag_buf *b, struct ag_str s)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0, i = 0;

    ag_buf_char(b, '"');
    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        char esc[6] = {'\\', 'u', '0', '0', 0, 0};
        size_t esc_n = 2, eat = 1;

        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        if (c >= 0x80) {
            size_t n = ag_utf8_char(s.p + i, s.n - i);
            if (n > 0) {
                i += n;
                continue;
            }
            memcpy(esc, "\\ufffd", 6);
            esc_n = 6;
        } else if (c == '"' || c == '\\') {
            esc[1] = (char)c;
        } else if (c == '\n' || c == '\r' || c == '\t') {
            esc[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        } else {
            esc[4] = hex[c >> 4];
            esc[5] = hex[c & 15];
            esc_n = 6;
        }
        ag_buf_append(b, s.p + from, i - from);
        ag_buf_append(b, esc, esc_n);
        i += eat;
        from = i;
    }
    ag_buf_append(b, s.p + from, i - from);
    ag_buf_char(b, '"');
}

void ag_buf_consume(ag_buf *b, size_t n)
{
    if (n == 0 || b->p == NULL)
        return;
    if (n > b->n)
        n = b->n;
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

agent_status ag_buf_status(const ag_buf *b, const char *what, agent_error *err)
{
    if (b->failed == AGENT_OK)
        return AGENT_OK;
    if (b->failed == AGENT_ETOOBIG)
        return ag_fail(err, AGENT_ETOOBIG, 0, "%s: over the limit of %zu bytes", what, b->cap);
    return ag_fail(err, AGENT_ENOMEM, 0, "%s: out of memory", what);
}
