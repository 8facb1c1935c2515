/* A view of bytes: not owned, not NUL-terminated. {NULL, 0} is the absent string; "" is {"", 0}. */
#ifndef AG_BASE_STR_H
#define AG_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct ag_str {
    const char *p;
    size_t n;
};

#define AG_STR(literal) ((struct ag_str){"" literal, sizeof(literal) - 1})
#define AG_STR_NONE     ((struct ag_str){NULL, 0})
#define AG_STR_FMT      "%.*s"
#define AG_STR_ARG(s)   (int)(s).n, (s).p

static inline struct ag_str ag_str_of(const char *z)
{
    return (struct ag_str){z, z == NULL ? 0 : strlen(z)};
}

static inline bool ag_str_eq(struct ag_str a, struct ag_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool ag_str_is(struct ag_str a, const char *z)
{
    return ag_str_eq(a, ag_str_of(z));
}

#endif
