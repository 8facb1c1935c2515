/*
 * JSON as tools need it: read with our limits, compared and told as JSON Schema and a model need it.
 */
#ifndef AG_TOOL_JSON_H
#define AG_TOOL_JSON_H

#include <jansson.h>

#include "engine/base/err.h"
#include "engine/base/str.h"

#define AG_JSON_BYTES (1u << 20) /* of a schema or of arguments */
#define AG_JSON_DEPTH 64

/* Reads a whole text; duplicate keys are refused, for who reads it next might take the other one.
 * AGENT_EINVAL names line and column in `what`. *out is given: json_decref(). */
agent_status ag_json_read(struct ag_str text, const char *what, json_t **out, agent_error *err);

/* What was cut or quoted in the middle of a character: its bytes become '?'. */
void ag_json_tidy(char *text);

/* The type in words with an article: "an object". */
const char *ag_json_type_name(const json_t *value);

/* Equal as JSON Schema means it: 1 and 1.0 are the same number. Takes one from *work for each
 * pair of values it looks at; false when there is none left. */
bool ag_json_same(const json_t *a, const json_t *b, int64_t *work);

/* Compares two numbers: -1, 0, 1. Integers are never rounded to a double. */
int ag_json_compare(const json_t *a, const json_t *b);

/* The value as JSON, cut with "…" at `room` bytes, NUL included (at least 8). Returns `to`. */
char *ag_json_brief(const json_t *value, char *to, size_t room);

#endif
