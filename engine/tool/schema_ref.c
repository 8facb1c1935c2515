/*
 * $ref: from "#/$defs/city" to the node of that schema.
 *
 *  (1) Only references into the schema itself are followed; nothing is fetched.
 *  (2) A chain of schemas on one and the same value ($ref, allOf, anyOf, oneOf, not, if) has at most
 *      AG_SCHEMA_CHAIN members. So a circle that eats no input is found here and not when testing;
 *      a recursive schema, whose circle goes through properties or items, is fine.
 */
#include <string.h>

#include "engine/tool/schema.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One step of the pointer, undone from its two escapings (%2F of the URI, ~1 of the pointer), into
 * `to` of at least strlen(from)+1 bytes. Returns what is behind it. */
static const char *next_name(const char *from, char *to)
{
    while (*from != '\0' && *from != '/') {
        char c = *from++;

        if (c == '%' && hex(from[0]) >= 0 && hex(from[1]) >= 0) {
            c = (char)(hex(from[0]) * 16 + hex(from[1]));
            from += 2;
        }
        if (c == '~' && (*from == '0' || *from == '1'))
            c = *from++ == '0' ? '~' : '/';
        *to++ = c;
    }
    *to = '\0';
    return from;
}

static const json_t *step(const json_t *at, const char *name)
{
    size_t index = 0;

    if (json_is_object(at))
        return json_object_get(at, name);
    if (*name == '\0' || strlen(name) > 6)
        return NULL;
    for (; *name >= '0' && *name <= '9'; name++)
        index = index * 10 + (size_t)(*name - '0');
    return *name == '\0' ? json_array_get(at, index) : NULL; /* NULL too where `at` is no array */
}

static struct ag_node *node_of(const struct ag_schema *s, const json_t *source)
{
    struct ag_node *node = s->nodes;

    while (node != NULL && node->source != source)
        node = node->next;
    return node;
}

static agent_status link_rule(struct ag_schema *s, struct ag_rule *rule, agent_error *err)
{
    const char *ref = json_string_value(rule->value), *rest;
    struct ag_place top = {0}, place = {.up = &top, .name = "$ref"};
    const json_t *at = s->document;
    struct ag_node *node;
    agent_status rc;
    char *name;

    if (ref[0] != '#' || (ref[1] != '\0' && ref[1] != '/'))
        return ag_fail(err, AGENT_EINVAL, 0, "schema: $ref \"%.100s\": only references into the schema itself, like "
                       "#/$defs/name, can be followed", ref);
    if ((name = ag_arena_alloc(&s->arena, strlen(ref) + 1)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "schema: out of memory");
    for (rest = ref + 1; *rest == '/' && at != NULL;) {
        rest = next_name(rest + 1, name);
        at = step(at, name);
    }
    if (at == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "schema: $ref \"%.100s\": there is no \"%.60s\"", ref, name);
    if ((node = node_of(s, at)) == NULL) /* somewhere that is no place for schemas: read it as one */
        if ((rc = ag_schema_read(s, at, &place, &node, err)) != AGENT_OK)
            return ag_wrap(err, rc, "$ref \"%.100s\"", ref);
    rule->children[0].node = node;
    rule->count = 1;
    return AGENT_OK;
}

static bool same_value(enum ag_keyword kw)
{
    return kw == AG_KW_REF || (kw >= AG_KW_ALL_OF && kw <= AG_KW_ELSE);
}

/* (2): the height of a node over the same value, kept so that each node is walked once. */
static agent_status measure(struct ag_node *node, int level, agent_error *err)
{
    int height = 0;
    agent_status rc;

    if (node->height == -2)
        return ag_fail(err, AGENT_EINVAL, 0, "schema: a $ref leads back to itself in a circle");
    if (level + (node->height > 0 ? node->height : 0) > AG_SCHEMA_CHAIN)
        return ag_fail(err, AGENT_EINVAL, 0, "schema: more than %d schemas apply to one value through each other",
                       AG_SCHEMA_CHAIN);
    if (node->height >= 0)
        return AGENT_OK;
    node->height = -2;
    for (size_t i = 0; i < node->count; i++) {
        const struct ag_rule *rule = &node->rules[i];

        if (!same_value(rule->kw))
            continue;
        for (size_t c = 0; c < rule->count; c++) {
            struct ag_node *below = rule->children[c].node;

            if ((rc = measure(below, level + 1, err)) != AGENT_OK)
                return rc;
            if (below->height + 1 > height)
                height = below->height + 1;
        }
    }
    node->height = height;
    return AGENT_OK;
}

agent_status ag_schema_link(struct ag_schema *s, agent_error *err)
{
    agent_status rc;
    struct ag_node *done = NULL, *from;

    /* Linking may read new nodes, which come in front: again, until there are none. */
    while ((from = s->nodes) != done) {
        for (struct ag_node *node = from; node != done; node = node->next)
            if (node->count > 0 && node->rules[0].kw == AG_KW_REF) /* the first of all keywords */
                if ((rc = link_rule(s, &node->rules[0], err)) != AGENT_OK)
                    return rc;
        done = from;
    }
    for (struct ag_node *node = s->nodes; node != NULL; node = node->next)
        if ((rc = measure(node, 0, err)) != AGENT_OK)
            return rc;
    return AGENT_OK;
}
