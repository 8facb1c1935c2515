/*
 * Output: one buffer in front of stdout, and the JSON that goes into it.
 *
 *   (1) stdout carries data only. Small outputs leave in one write, at the end.
 *   (2) A reader that has gone (EPIPE) is no error: what follows is dropped in silence. Any other
 *       failed write is kept and becomes the exit code of the process.
 *   (3) JSON text is always valid UTF-8: bytes that are not become U+FFFD.
 */
#ifndef AG_CLI_OUT_H
#define AG_CLI_OUT_H

#include <agent/row.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out {
    int fd;
    bool is_tty, has_colour;
    bool is_closed;  /* the reader has gone: (2) */
    int error;       /* errno of a failed write; 0: none */
    bool is_held;     /* nothing leaves the buffer yet */
    bool wants_comma; /* in front of the next JSON value */
    char *at;
    size_t bytes, cap;
};

void out_init(struct out *out, int fd);
void out_drop(struct out *out);
void out_flush(struct out *out);
void out_bytes(struct out *out, const char *p, size_t n);
void out_text(struct out *out, const char *s);
void out_fmt(struct out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Text of a model or a tool: on a terminal without its control characters, else as it is. */
void out_foreign(struct out *out, const char *p, size_t n);
/* Width of the terminal in columns; 0: no terminal, no limit. */
int out_columns(const struct out *out);

/* --- JSON: put_open/put_close with '{' or '[', a key before each member of an object ---------- */

void put_open(struct out *out, char bracket);
void put_close(struct out *out, char bracket);
void put_key(struct out *out, const char *key);
void put_str(struct out *out, const char *s); /* NULL: null */
void put_strn(struct out *out, const char *p, size_t n);
void put_int(struct out *out, int64_t v);
void put_unknown(struct out *out, int64_t v); /* -1 is unknown: null */
void put_real(struct out *out, double v);
void put_bool(struct out *out, bool v);
void put_null(struct out *out);
/* Text that should be JSON: compact and as it is, where it is none as a string. NULL: null. */
void put_embed(struct out *out, const char *text);
/* One column of a row (-1: there is none, null), and a whole row as an object. */
void put_cell(struct out *out, const agent_row *row, int column);
void put_row(struct out *out, const agent_row *row);
/* The members of a row, without the braces. */
void put_row_members(struct out *out, const agent_row *row);
/* Ends a line of --json or --jsonl. */
void put_line(struct out *out);

#endif
