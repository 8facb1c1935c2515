/*
 * Inside of the schema checker: what a schema looks like once it is read.
 *
 *    ag_schema ─► document (json_t, kept: names, enums and numbers are borrowed from it)
 *             └─► nodes, one per (sub)schema; each a list of rules; each rule one keyword
 *
 *      {"type":"object",                   node 0 ── TYPE        types = {object}
 *       "properties":{                         └─── PROPERTIES  children = {"city": node 1}
 *         "city":{"$ref":"#/$defs/c"}},       node 1 ── REF         node = node 2
 *       "$defs":{"c":{"type":"string"}}}      node 2 ── TYPE        types = {string}
 *
 * schema.c is the way in, schema_keyword.c the table of keywords and their reading, schema_ref.c
 * follows $ref, schema_pattern.c reads `pattern`, schema_test.c tests a value.
 */
#ifndef AG_TOOL_SCHEMA_H
#define AG_TOOL_SCHEMA_H

#include <jansson.h>
#include <locale.h>
#include <regex.h>

#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/tool/json.h"

#define AG_SCHEMA_BYTES  (256u << 10)
#define AG_SCHEMA_NODES  4096
#define AG_SCHEMA_CHAIN  64      /* schemas that apply to one and the same value, one through the other */
#define AG_SCHEMA_FRAMES 512     /* of the recursion when testing: chain and depth of the value together */
#define AG_SCHEMA_WORK   1000000 /* values looked at for one test; anyOf in anyOf multiplies */

#define AG_PATTERN_BYTES  512     /* of one regular expression */
#define AG_PATTERN_DEPTH  16      /* of its groups */
#define AG_PATTERN_STATES 4000    /* letters it stands for, {m,n} multiplied out: regcomp builds them all */
#define AG_PATTERN_TEXT   65536   /* of the text it is held against */

/* In the order in which a failure is told: what is more basic first. */
enum ag_keyword {
    AG_KW_ANNOTATION, AG_KW_REF, AG_KW_TYPE, AG_KW_CONST, AG_KW_ENUM,
    AG_KW_REQUIRED, AG_KW_PROPERTIES, AG_KW_PATTERN_PROPERTIES, AG_KW_ADDITIONAL, AG_KW_MIN_PROPERTIES,
    AG_KW_MAX_PROPERTIES,
    AG_KW_PREFIX_ITEMS, AG_KW_ITEMS, AG_KW_MIN_ITEMS, AG_KW_MAX_ITEMS, AG_KW_UNIQUE,
    AG_KW_MIN_LENGTH, AG_KW_MAX_LENGTH, AG_KW_PATTERN,
    AG_KW_MINIMUM, AG_KW_MAXIMUM, AG_KW_OVER, AG_KW_UNDER, AG_KW_MULTIPLE,
    AG_KW_ALL_OF, AG_KW_ANY_OF, AG_KW_ONE_OF, AG_KW_NOT, AG_KW_IF, AG_KW_THEN, AG_KW_ELSE,
    AG_KW_DEFS,
    AG_KW_LIMIT
};

struct ag_pattern {
    regex_t re;
    const char *text; /* of the document */
    struct ag_pattern *next; /* of all that the schema owns */
};

struct ag_child {
    const char *name; /* NULL in a list */
    struct ag_pattern *pattern; /* of patternProperties; else NULL */
    struct ag_node *node;
};

struct ag_rule {
    enum ag_keyword kw;
    const json_t *value;       /* of the keyword, borrowed from the document */
    struct ag_child *children; /* its subschemas; a single one for $ref, items, not … */
    size_t count;
    unsigned types;             /* of TYPE: set of 1 << enum ag_type */
    size_t bound;               /* of the counting keywords */
    struct ag_pattern *pattern; /* of PATTERN */
};

struct ag_node {
    const json_t *source;
    struct ag_node *next;  /* of all nodes */
    struct ag_rule *rules; /* ordered by kw */
    size_t count;
    bool never;            /* the schema `false` */
    int height;            /* schemas below it on the same value; -1: not known, -2: being found out */
};

enum ag_type { AG_TYPE_NULL, AG_TYPE_BOOLEAN, AG_TYPE_OBJECT, AG_TYPE_ARRAY, AG_TYPE_NUMBER, AG_TYPE_STRING,
               AG_TYPE_INTEGER, AG_TYPE_LIMIT };
extern const char *const ag_type_names[AG_TYPE_LIMIT];

struct ag_schema {
    json_t *document;
    ag_arena arena; /* nodes and rules */
    struct ag_node *root, *nodes;
    size_t node_count;
    struct ag_pattern *patterns;
    locale_t letters; /* what a character is, for the patterns: the host's locale has no say; 0: no patterns yet */
};

/* The place in a schema that is being read, for messages: a chain of names up to the root. */
struct ag_place {
    const struct ag_place *up;
    const char *name; /* NULL: `index` */
    size_t index;
};
/* "/properties/city"; cut at `room` from the left. Returns `to`. */
char *ag_place_text(const struct ag_place *place, char *to, size_t room);

/* Reads one (sub)schema and all below it into a node; *out may be shared with another reader of the
 * same value. */
agent_status ag_schema_read(struct ag_schema *s, const json_t *source, const struct ag_place *place,
                            struct ag_node **out, agent_error *err);
/* After reading: points every $ref at its node, and refuses those that go round in a circle. */
agent_status ag_schema_link(struct ag_schema *s, agent_error *err);

/* An ERE, refused where it would mean something else than its author thinks, or cost too much. */
agent_status ag_pattern_compile(struct ag_schema *s, const char *text, const struct ag_place *place,
                                struct ag_pattern **out, agent_error *err);
/* 1: matches, 0: does not, -1: out of memory */
int ag_pattern_matches(const struct ag_schema *s, const struct ag_pattern *p, const char *text);
void ag_pattern_free_all(struct ag_schema *s);

const struct ag_rule *ag_node_rule(const struct ag_node *node, enum ag_keyword kw);
agent_status ag_schema_run(const struct ag_schema *s, const json_t *value, agent_error *err);

#endif
