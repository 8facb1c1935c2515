/* UTF-8 as in RFC 3629: no surrogates, no overlong forms, nothing over U+10FFFF. */
#ifndef AG_BASE_UTF8_H
#define AG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/str.h"

/* Bytes of the character that `p` begins with: 1 to 4, or 0 where it is no valid character. */
size_t ag_utf8_char(const char *p, size_t n);
/* Whether all of it is valid; *out_at (may be NULL) is the offset of the first bad byte. */
bool ag_utf8_valid(struct ag_str s, size_t *out_at);
/* The longest prefix of at most `max` bytes that ends on a character's end. */
size_t ag_utf8_cut(struct ag_str s, size_t max);

#endif
