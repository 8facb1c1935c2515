#include "engine/base/utf8.h"

#include <stdint.h>

size_t ag_utf8_char(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t len;

    if (n == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    len = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
        : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

bool ag_utf8_valid(struct ag_str s, size_t *out_at)
{
    size_t i = 0;

    while (i < s.n) {
        uint64_t eight;
        size_t n;

        while (i + 8 <= s.n) { /* plain ASCII, eight bytes at a time */
            memcpy(&eight, s.p + i, 8);
            if ((eight & UINT64_C(0x8080808080808080)) != 0)
                break;
            i += 8;
        }
        if (i == s.n)
            break;
        if ((n = ag_utf8_char(s.p + i, s.n - i)) == 0) {
            if (out_at != NULL)
                *out_at = i;
            return false;
        }
        i += n;
    }
    return true;
}

size_t ag_utf8_cut(struct ag_str s, size_t max)
{
    size_t n = s.n < max ? s.n : max;

    if (n == s.n)
        return n;
    while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return n;
}
