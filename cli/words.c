/*
 * Words: splitting them, how alike they are, and how wide they stand on a terminal.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

/* --- splitting ---------------------------------------------------------------------------------- */

/* One allocation: the table of pointers in front, the words behind it, so that one free() is enough.
 * n bytes hold at most n / 2 + 1 words. */
agent_status text_split(const char *line, char ***out_words, agent_error *err)
{
    size_t n = strlen(line), count = 0;
    char **words = cli_alloc((n / 2 + 2) * sizeof(*words) + n + 2);
    char *to = (char *)(words + n / 2 + 2);
    bool in_word = false;
    char quote = 0;

    for (const char *p = line; *p != '\0'; p++) {
        if (quote == 0 && (*p == ' ' || *p == '\t' || *p == '\n')) {
            if (in_word)
                *to++ = '\0';
            in_word = false;
            continue;
        }
        if (!in_word) {
            words[count++] = to;
            in_word = true;
        }
        if (quote == 0 && (*p == '\'' || *p == '"')) {
            quote = *p;
        } else if (quote != 0 && *p == quote) {
            quote = 0;
        } else if (*p == '\\' && quote != '\'') {
            if (p[1] == '\0') {
                free(words);
                return cli_err(err, AGENT_EINVAL, 0, "split '%s': ends in a backslash", line);
            }
            /* Inside double quotes a backslash is itself, but before " \ $ ` */
            if (quote == '"' && strchr("\"\\$`", p[1]) == NULL)
                *to++ = '\\';
            *to++ = *++p;
        } else {
            *to++ = *p;
        }
    }
    if (quote != 0) {
        free(words);
        return cli_err(err, AGENT_EINVAL, 0, "split '%s': the quote %c is not closed", line, quote);
    }
    *to = '\0';
    words[count] = NULL;
    if (count == 0) {
        free(words);
        return cli_err(err, AGENT_EINVAL, 0, "the command is empty");
    }
    *out_words = words;
    return AGENT_OK;
}

/* --- likeness ----------------------------------------------------------------------------------- */

#define DISTANCE_MAX 64 /* longer words are not compared */

size_t text_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t rows[3][DISTANCE_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    if (na > DISTANCE_MAX || nb > DISTANCE_MAX)
        return DISTANCE_MAX;
    memset(rows, 0, sizeof(rows));
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *turn = before;

        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = last;
        last = now;
        now = turn;
    }
    return last[nb];
}

/* --- UTF-8 and width ------------------------------------------------------------------------------ */

size_t text_utf8(const char *s, size_t n, uint32_t *out_code)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t len;
    uint32_t code, least;

    if (p[0] < 0x80) {
        len = 1, code = p[0], least = 0;
    } else if (p[0] >= 0xC2 && p[0] < 0xE0) {
        len = 2, code = p[0] & 0x1Fu, least = 0x80;
    } else if (p[0] >= 0xE0 && p[0] < 0xF0) {
        len = 3, code = p[0] & 0x0Fu, least = 0x800;
    } else if (p[0] >= 0xF0 && p[0] < 0xF5) {
        len = 4, code = p[0] & 0x07u, least = 0x10000;
    } else {
        return 0;
    }
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3Fu);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return 0;
    if (out_code != NULL)
        *out_code = code;
    return len;
}

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t code, const struct range *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (code >= r[i].first && code <= r[i].last)
            return true;
    return false;
}

/* Blocks, not characters: a table row that is off by one column is no harm, a 40 KB table is. */
static size_t code_width(uint32_t code)
{
    static const struct range none[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},
                                        {0x64B, 0x65F},   {0x93C, 0x93C},   {0x941, 0x948},   {0xE31, 0xE31},
                                        {0xE34, 0xE3A},   {0xE47, 0xE4E},   {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},
                                        {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2064}, {0x20D0, 0x20FF},
                                        {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0x1F3FB, 0x1F3FF},
                                        {0xE0100, 0xE01EF}};
    static const struct range wide[] = {{0x1100, 0x115F}, {0x231A, 0x231B}, {0x23E9, 0x23EC},   {0x25FD, 0x25FE},
                                        {0x2614, 0x2615}, {0x2648, 0x2653}, {0x26AA, 0x26AB},   {0x26BD, 0x26BE},
                                        {0x2705, 0x2705}, {0x270A, 0x270B}, {0x2728, 0x2728},   {0x274C, 0x274C},
                                        {0x2753, 0x2755}, {0x2757, 0x2757}, {0x2795, 0x2797},   {0x2B1B, 0x2B1C},
                                        {0x2E80, 0x303E}, {0x3041, 0x33FF}, {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},
                                        {0xA000, 0xA4CF}, {0xA960, 0xA97F}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                                        {0xFE30, 0xFE6F}, {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F},
                                        {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD}};

    if (code < 0x300)
        return 1;
    if (is_in(code, none, sizeof(none) / sizeof(none[0])))
        return 0;
    return is_in(code, wide, sizeof(wide) / sizeof(wide[0])) ? 2 : 1;
}

size_t text_width(const char *p, size_t n)
{
    size_t width = 0;

    for (size_t i = 0; i < n;) {
        uint32_t code = 0;
        size_t len = text_utf8(p + i, n - i, &code);

        width += len == 0 ? 1 : code_width(code);
        i += len == 0 ? 1 : len;
    }
    return width;
}

size_t text_head(const char *p, size_t n, size_t width)
{
    size_t i = 0;

    while (i < n) {
        uint32_t code = 0;
        size_t len = text_utf8(p + i, n - i, &code);
        size_t columns = len == 0 ? 1 : code_width(code);

        if (columns > width)
            break;
        width -= columns;
        i += len == 0 ? 1 : len;
    }
    return i;
}
