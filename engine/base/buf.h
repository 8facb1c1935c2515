/*
 * A growable byte buffer that cannot be made without a cap, and is sticky on failure: append
 * freely, ask ag_buf_status() once. After a failure appends do nothing and the bytes stay as they
 * were before the append that failed. `p` is always NUL-terminated once something was appended.
 */
#ifndef AG_BASE_BUF_H
#define AG_BASE_BUF_H

#include <stdint.h>

#include "engine/base/err.h"
#include "engine/base/str.h"

typedef struct ag_buf {
    char *p;
    size_t n;             /* bytes in use, without the NUL */
    size_t room;          /* bytes allocated */
    size_t cap;           /* most bytes in use that are allowed */
    agent_status failed;  /* AGENT_OK, AGENT_ENOMEM or AGENT_ETOOBIG */
} ag_buf;

#define AG_BUF_INIT(cap_bytes) ((ag_buf){.cap = (cap_bytes)})

void ag_buf_drop(ag_buf *b);  /* frees; the buffer is empty and usable again */
void ag_buf_clear(ag_buf *b); /* empties, keeps the memory, forgets a failure */
char *ag_buf_take(ag_buf *b, size_t *out_bytes); /* given, free with ag_free; NULL on failure or nothing */
void ag_buf_append(ag_buf *b, const void *p, size_t n);
void ag_buf_str(ag_buf *b, struct ag_str s);
void ag_buf_z(ag_buf *b, const char *z);
void ag_buf_char(ag_buf *b, char c);
void ag_buf_int(ag_buf *b, int64_t value);
void ag_buf_printf(ag_buf *b, const char *fmt, ...) AGENT_PRINTF(2, 3);
/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void ag_buf_json_str(ag_buf *b, struct ag_str s);
/* Removes `n` bytes from the front. */
void ag_buf_consume(ag_buf *b, size_t n);
/* Makes room for n more bytes; NULL on failure. Commit with b->n += used. */
char *ag_buf_reserve(ag_buf *b, size_t n);

static inline struct ag_str ag_buf_view(const ag_buf *b)
{
    return (struct ag_str){b->p == NULL ? "" : b->p, b->n};
}
/* AGENT_OK, or the failure told as "what: over the limit of N bytes" / "out of memory". */
agent_status ag_buf_status(const ag_buf *b, const char *what, agent_error *err);

#endif
