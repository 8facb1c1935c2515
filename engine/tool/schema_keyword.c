/*
 * The keywords, and how each is read: one table, one row per keyword. What a row says of the shape
 * of its value is all that the reading knows; what it means is in schema_test.c.
 *
 *  (1) A keyword that is not in the table is refused, not ignored: a schema that we let pass is one
 *      that we check whole. Annotations are in the table; "x-…" is nobody's keyword and passes.
 *  (2) Rules of a node stand in the order of enum ag_keyword, whatever the order in the text.
 */
#include <stdio.h>
#include <string.h>

#include "engine/tool/schema.h"

enum shape {
    ANYTHING, STRING_REF, TYPES, LIST_OF_VALUES, NAMES, COUNT, NUMBER, POSITIVE, BOOLEAN, ERE,
    SCHEMA, LIST_OF_SCHEMAS, NAMED_SCHEMAS, PATTERN_SCHEMAS,
};

const char *const ag_type_names[AG_TYPE_LIMIT] = {
    [AG_TYPE_NULL] = "null",     [AG_TYPE_BOOLEAN] = "boolean", [AG_TYPE_OBJECT] = "object",
    [AG_TYPE_ARRAY] = "array",   [AG_TYPE_NUMBER] = "number",   [AG_TYPE_STRING] = "string",
    [AG_TYPE_INTEGER] = "integer",
};

/* By name, for the search. */
static const struct keyword {
    const char *name;
    enum ag_keyword kw;
    enum shape shape;
} keywords[] = {
    {"$comment", AG_KW_ANNOTATION, ANYTHING},
    {"$defs", AG_KW_DEFS, NAMED_SCHEMAS},
    {"$id", AG_KW_ANNOTATION, ANYTHING},
    {"$ref", AG_KW_REF, STRING_REF},
    {"$schema", AG_KW_ANNOTATION, ANYTHING},
    {"additionalProperties", AG_KW_ADDITIONAL, SCHEMA},
    {"allOf", AG_KW_ALL_OF, LIST_OF_SCHEMAS},
    {"anyOf", AG_KW_ANY_OF, LIST_OF_SCHEMAS},
    {"const", AG_KW_CONST, ANYTHING},
    {"contentEncoding", AG_KW_ANNOTATION, ANYTHING},
    {"contentMediaType", AG_KW_ANNOTATION, ANYTHING},
    {"default", AG_KW_ANNOTATION, ANYTHING},
    {"definitions", AG_KW_DEFS, NAMED_SCHEMAS},
    {"deprecated", AG_KW_ANNOTATION, ANYTHING},
    {"description", AG_KW_ANNOTATION, ANYTHING},
    {"else", AG_KW_ELSE, SCHEMA},
    {"enum", AG_KW_ENUM, LIST_OF_VALUES},
    {"example", AG_KW_ANNOTATION, ANYTHING},
    {"examples", AG_KW_ANNOTATION, ANYTHING},
    {"exclusiveMaximum", AG_KW_UNDER, NUMBER},
    {"exclusiveMinimum", AG_KW_OVER, NUMBER},
    {"format", AG_KW_ANNOTATION, ANYTHING},
    {"if", AG_KW_IF, SCHEMA},
    {"items", AG_KW_ITEMS, SCHEMA},
    {"maxItems", AG_KW_MAX_ITEMS, COUNT},
    {"maxLength", AG_KW_MAX_LENGTH, COUNT},
    {"maxProperties", AG_KW_MAX_PROPERTIES, COUNT},
    {"maximum", AG_KW_MAXIMUM, NUMBER},
    {"minItems", AG_KW_MIN_ITEMS, COUNT},
    {"minLength", AG_KW_MIN_LENGTH, COUNT},
    {"minProperties", AG_KW_MIN_PROPERTIES, COUNT},
    {"minimum", AG_KW_MINIMUM, NUMBER},
    {"multipleOf", AG_KW_MULTIPLE, POSITIVE},
    {"not", AG_KW_NOT, SCHEMA},
    {"oneOf", AG_KW_ONE_OF, LIST_OF_SCHEMAS},
    {"pattern", AG_KW_PATTERN, ERE},
    {"patternProperties", AG_KW_PATTERN_PROPERTIES, PATTERN_SCHEMAS},
    {"prefixItems", AG_KW_PREFIX_ITEMS, LIST_OF_SCHEMAS},
    {"properties", AG_KW_PROPERTIES, NAMED_SCHEMAS},
    {"readOnly", AG_KW_ANNOTATION, ANYTHING},
    {"required", AG_KW_REQUIRED, NAMES},
    {"then", AG_KW_THEN, SCHEMA},
    {"title", AG_KW_ANNOTATION, ANYTHING},
    {"type", AG_KW_TYPE, TYPES},
    {"uniqueItems", AG_KW_UNIQUE, BOOLEAN},
    {"writeOnly", AG_KW_ANNOTATION, ANYTHING},
};

static const struct keyword *find(const char *name)
{
    size_t low = 0, high = sizeof(keywords) / sizeof(keywords[0]);

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, keywords[mid].name);

        if (order == 0)
            return &keywords[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

char *ag_place_text(const struct ag_place *place, char *to, size_t room)
{
    size_t at = room - 1;

    to[at] = '\0';
    for (; place != NULL && (place->up != NULL || place->name != NULL); place = place->up) {
        char number[24];
        const char *name = place->name;
        size_t n;

        if (name == NULL) {
            (void)snprintf(number, sizeof(number), "%zu", place->index);
            name = number;
        }
        n = strlen(name);
        if (n + 1 > at) { /* the end says more than the beginning */
            memmove(to, to + at, room - at);
            return to;
        }
        memcpy(to + (at -= n), name, n);
        to[--at] = '/';
    }
    memmove(to, to + at, room - at);
    return to;
}

static agent_status refuse(const struct ag_place *place, agent_error *err, const char *what)
{
    char at[160];

    return ag_fail(err, AGENT_EINVAL, 0, "schema %s: %s", ag_place_text(place, at, sizeof(at)), what);
}

static agent_status no_memory(agent_error *err)
{
    return ag_fail(err, AGENT_ENOMEM, 0, "schema: out of memory");
}

/* --- one keyword ----------------------------------------------------------------------------- */

static agent_status read_type(const json_t *name, unsigned *types, const struct ag_place *place, agent_error *err)
{
    static const char wanted[] = "must be one of object, string, number, integer, boolean, array, null, or a list of them";

    if (!json_is_string(name))
        return refuse(place, err, wanted);
    for (int t = 0; t < AG_TYPE_LIMIT; t++)
        if (strcmp(json_string_value(name), ag_type_names[t]) == 0) {
            *types |= 1u << t;
            return AGENT_OK;
        }
    return refuse(place, err, wanted);
}

static agent_status read_types(struct ag_rule *rule, const struct ag_place *place, agent_error *err)
{
    agent_status rc;
    size_t i;

    if (!json_is_array(rule->value))
        return read_type(rule->value, &rule->types, place, err);
    if (json_array_size(rule->value) == 0)
        return refuse(place, err, "must not be an empty list: nothing could be given");
    for (i = 0; i < json_array_size(rule->value); i++)
        if ((rc = read_type(json_array_get(rule->value, i), &rule->types, place, err)) != AGENT_OK)
            return rc;
    return AGENT_OK;
}

static agent_status read_count(struct ag_rule *rule, const struct ag_place *place, agent_error *err)
{
    const json_t *v = rule->value;
    json_int_t n = json_integer_value(v);

    if (json_is_real(v) && json_real_value(v) >= 0 && json_real_value(v) < 1e15) /* 2.0 is an integer too */
        n = (json_int_t)json_real_value(v);
    if (!json_is_number(v) || n < 0 || (json_is_real(v) && json_real_value(v) != (double)n))
        return refuse(place, err, "must be an integer, 0 or more");
    rule->bound = (size_t)n;
    return AGENT_OK;
}

static agent_status read_names(struct ag_rule *rule, const struct ag_place *place, agent_error *err)
{
    if (!json_is_array(rule->value))
        return refuse(place, err, "must be a list of names");
    for (size_t i = 0; i < json_array_size(rule->value); i++)
        if (!json_is_string(json_array_get(rule->value, i)))
            return refuse(place, err, "must be a list of names");
    return AGENT_OK;
}

static agent_status room_for(struct ag_schema *s, struct ag_rule *rule, size_t count, agent_error *err)
{
    rule->children = ag_arena_zalloc(&s->arena, (count > 0 ? count : 1) * sizeof(*rule->children));
    return rule->children == NULL ? no_memory(err) : AGENT_OK;
}

static agent_status read_single(struct ag_schema *s, struct ag_rule *rule, const struct ag_place *place,
                                agent_error *err)
{
    agent_status rc;

    if (rule->kw == AG_KW_ITEMS && json_is_array(rule->value))
        return refuse(place, err, "must be a schema; a list of one schema per place is called prefixItems");
    if ((rc = room_for(s, rule, 1, err)) != AGENT_OK)
        return rc;
    rule->count = 1;
    return ag_schema_read(s, rule->value, place, &rule->children[0].node, err);
}

static agent_status read_list(struct ag_schema *s, struct ag_rule *rule, const struct ag_place *place,
                              agent_error *err)
{
    agent_status rc;
    size_t i, n = json_array_size(rule->value);

    if (n == 0) /* also what is no array */
        return refuse(place, err, "must be a list of schemas, one at least");
    if ((rc = room_for(s, rule, n, err)) != AGENT_OK)
        return rc;
    for (i = 0; i < n; i++) {
        struct ag_place below = {.up = place, .index = i};

        if ((rc = ag_schema_read(s, json_array_get(rule->value, i), &below, &rule->children[i].node, err)) != AGENT_OK)
            return rc;
    }
    rule->count = n;
    return AGENT_OK;
}

static agent_status read_named(struct ag_schema *s, struct ag_rule *rule, const struct ag_place *place,
                               bool names_are_patterns, agent_error *err)
{
    const char *name;
    json_t *value;
    agent_status rc;

    if (!json_is_object(rule->value))
        return refuse(place, err, "must be an object of schemas");
    if ((rc = room_for(s, rule, json_object_size(rule->value), err)) != AGENT_OK)
        return rc;
    json_object_foreach((json_t *)rule->value, name, value) {
        struct ag_place below = {.up = place, .name = name};
        struct ag_child *child = &rule->children[rule->count++];

        child->name = name;
        if (names_are_patterns && (rc = ag_pattern_compile(s, name, &below, &child->pattern, err)) != AGENT_OK)
            return rc;
        if ((rc = ag_schema_read(s, value, &below, &child->node, err)) != AGENT_OK)
            return rc;
    }
    return AGENT_OK;
}

static agent_status read_rule(struct ag_schema *s, const struct keyword *k, struct ag_rule *rule,
                              const struct ag_place *place, agent_error *err)
{
    const json_t *v = rule->value;

    switch (k->shape) {
    case ANYTHING:
        return AGENT_OK;
    case STRING_REF:
        if (!json_is_string(v))
            return refuse(place, err, "must be a string like #/$defs/name");
        return room_for(s, rule, 1, err); /* its node: ag_schema_link() */
    case TYPES:
        return read_types(rule, place, err);
    case LIST_OF_VALUES:
        return json_array_size(v) > 0 ? AGENT_OK : refuse(place, err, "must be a list of values, one at least");
    case NAMES:
        return read_names(rule, place, err);
    case COUNT:
        return read_count(rule, place, err);
    case NUMBER:
        return json_is_number(v) ? AGENT_OK : refuse(place, err, "must be a number");
    case POSITIVE:
        return json_is_number(v) && json_number_value(v) > 0 ? AGENT_OK : refuse(place, err, "must be a number over 0");
    case BOOLEAN:
        return json_is_boolean(v) ? AGENT_OK : refuse(place, err, "must be true or false");
    case ERE:
        return json_is_string(v) ? ag_pattern_compile(s, json_string_value(v), place, &rule->pattern, err)
                                 : refuse(place, err, "must be a string, a POSIX extended regular expression");
    case SCHEMA:
        return read_single(s, rule, place, err);
    case LIST_OF_SCHEMAS:
        return read_list(s, rule, place, err);
    case NAMED_SCHEMAS:
        return read_named(s, rule, place, false, err);
    case PATTERN_SCHEMAS:
        return read_named(s, rule, place, true, err);
    }
    return AGENT_OK;
}

/* --- one schema ------------------------------------------------------------------------------ */

static agent_status add_node(struct ag_schema *s, const json_t *source, struct ag_node **out, agent_error *err)
{
    struct ag_node *node;

    if (s->node_count == AG_SCHEMA_NODES)
        return ag_fail(err, AGENT_ETOOBIG, 0, "schema: more than %d schemas in one", AG_SCHEMA_NODES);
    if ((node = ag_arena_zalloc(&s->arena, sizeof(*node))) == NULL)
        return no_memory(err);
    s->node_count++;
    node->source = source;
    node->height = -1;
    node->next = s->nodes;
    s->nodes = node;
    *out = node;
    return AGENT_OK;
}

/* (2): insertion, for a node has a handful of rules. */
static void put_in_order(struct ag_rule *rules, size_t count, struct ag_rule rule)
{
    size_t i = count;

    while (i > 0 && rules[i - 1].kw > rule.kw) {
        rules[i] = rules[i - 1];
        i--;
    }
    rules[i] = rule;
}

agent_status ag_schema_read(struct ag_schema *s, const json_t *source, const struct ag_place *place,
                            struct ag_node **out, agent_error *err)
{
    struct ag_node *node = NULL;
    struct ag_rule *rules;
    const char *name;
    json_t *value;
    agent_status rc;

    if (!json_is_object(source) && !json_is_boolean(source))
        return refuse(place, err, "must be a schema: an object, true or false");
    if ((rc = add_node(s, source, &node, err)) != AGENT_OK)
        return rc;
    node->never = json_is_false(source);
    rules = ag_arena_alloc(&s->arena, (json_object_size(source) + 1) * sizeof(*rules));
    if (rules == NULL)
        return no_memory(err);
    node->rules = rules;
    json_object_foreach((json_t *)source, name, value) {
        struct ag_place below = {.up = place, .name = name};
        const struct keyword *k = find(name);
        struct ag_rule rule = {.value = value};

        if (strncmp(name, "x-", 2) == 0)
            continue;
        if (k == NULL) /* (1) */
            return refuse(&below, err, "is not a keyword that can be checked here; leave it out");
        if (k->kw == AG_KW_ANNOTATION) {
            if (strcmp(name, "$id") == 0 && place->up != NULL)
                return refuse(&below, err, "is only possible at the top: below, it would change what # means");
            continue;
        }
        rule.kw = k->kw;
        if ((rc = read_rule(s, k, &rule, &below, err)) != AGENT_OK)
            return rc;
        put_in_order(rules, node->count++, rule);
    }
    *out = node;
    return AGENT_OK;
}

const struct ag_rule *ag_node_rule(const struct ag_node *node, enum ag_keyword kw)
{
    for (size_t i = 0; i < node->count && node->rules[i].kw <= kw; i++)
        if (node->rules[i].kw == kw)
            return &node->rules[i];
    return NULL;
}
