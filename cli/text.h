/*
 * Text as people write it on a command line: numbers, durations, words, files, and its width on a
 * terminal. Nothing here depends on a locale: text is UTF-8.
 */
#ifndef AG_CLI_TEXT_H
#define AG_CLI_TEXT_H

#include <agent/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A program that cannot get the few bytes of a command line says so and ends (exit 1). */
void *cli_alloc(size_t bytes);
void *cli_realloc(void *p, size_t bytes);
char *cli_strdup(const char *s);
char *cli_format(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* given: free() */

struct text { /* given: free(at) */
    char *at; /* NUL-terminated */
    size_t bytes;
};

/* Bytes of the first code point, 0 where it is no UTF-8; n > 0. */
size_t text_utf8(const char *p, size_t n, uint32_t *out_code);
/* Columns that a text takes on a terminal: 0 for marks that combine, 2 for wide characters. */
size_t text_width(const char *p, size_t n);
/* The longest head of a text that takes at most `width` columns; its bytes. */
size_t text_head(const char *p, size_t n, size_t width);

bool text_int(const char *s, int64_t min, int64_t max, int64_t *out);
bool text_duration(const char *s, int64_t *out_ms); /* 500ms, 10s, 2m, 1.5h, 1d; a bare number: seconds */
bool text_size(const char *s, int64_t *out_bytes);  /* 100, 64KB, 1MB, 2GB (of 1024) */
bool text_is_word(const char *s, const char *choices, size_t *out_index); /* of "high|normal|low" */

/* Reads a whole file, or stdin where path is "-"; more than max bytes is AGENT_ETOOBIG. */
agent_status text_read(const char *path, size_t max, struct text *out, agent_error *err);
/* An argument: "@FILE" is what the file holds without its last newline, "@@x" is "@x". */
agent_status text_argument(const char *arg, size_t max, struct text *out, agent_error *err);
/* Words as a shell splits them: quotes and backslashes, no expansion. Given: one free() for all. */
agent_status text_split(const char *line, char ***out_words, agent_error *err);

/* How many edits lie between two words; swapped neighbours are one. */
size_t text_distance(const char *a, const char *b);

/* Fills an error as the engine does. */
agent_status cli_err(agent_error *err, agent_status status, int detail, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void cli_hint(agent_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
