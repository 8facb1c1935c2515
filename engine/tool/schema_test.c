/*
 * A value against a schema that was read: one small function per keyword, found by a table.
 *
 *  (1) The first thing wrong is told, at the place in the value where it is wrong. Of alternatives
 *      (anyOf, oneOf) the one is told that got furthest into the value: most likely it was meant.
 *  (2) Under `not` and `if` nothing is told: a mismatch there is no fault.
 *  (3) Bounded: AG_SCHEMA_FRAMES of recursion, AG_SCHEMA_WORK values looked at. Then t->rc is set
 *      and every test answers false, so that nothing goes on and `not` does not make it a yes.
 *  (4) Nothing of the schema is written to: any number of threads may test with one.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/tool/schema.h"

struct story {
    int depth; /* of the place in the value; -1: none */
    char place[128];
    char what[320];
};

struct test {
    const struct ag_schema *s;
    int64_t work;    /* left */
    int frames;      /* in use */
    int muted;       /* (2): how many not and if we are under */
    agent_status rc; /* (3) */
    struct story story;
};

/* What every keyword's function is handed: its rule and node, the value, and where that is. */
struct look {
    const struct ag_node *node;
    const struct ag_rule *rule;
    const json_t *value;
    const struct ag_place *place;
};

static bool test_node(struct test *t, const struct ag_node *node, const json_t *value, const struct ag_place *place);

static int depth_of(const struct ag_place *place)
{
    int depth = 0;

    for (; place->up != NULL; place = place->up)
        depth++;
    return depth;
}

static bool complain(struct test *t, const struct ag_place *place, const char *fmt, ...) AGENT_PRINTF(3, 4);

static bool complain(struct test *t, const struct ag_place *place, const char *fmt, ...)
{
    va_list ap;

    if (t->muted > 0 || t->rc != AGENT_OK)
        return false;
    t->story.depth = depth_of(place);
    ag_place_text(place, t->story.place, sizeof(t->story.place));
    va_start(ap, fmt);
    (void)vsnprintf(t->story.what, sizeof(t->story.what), fmt, ap);
    va_end(ap);
    return false;
}

static bool give_up(struct test *t, agent_status rc)
{
    if (t->rc == AGENT_OK)
        t->rc = rc;
    return false;
}

static bool same(struct test *t, const json_t *a, const json_t *b)
{
    if (ag_json_same(a, b, &t->work))
        return true;
    return t->work < 0 ? give_up(t, AGENT_ETOOBIG) : false;
}

static bool matches(struct test *t, const struct ag_pattern *p, const char *text)
{
    int found = ag_pattern_matches(t->s, p, text);

    return found < 0 ? give_up(t, AGENT_ENOMEM) : found != 0;
}

/* --- any type -------------------------------------------------------------------------------- */

static bool is_type(const json_t *v, int type)
{
    switch ((enum ag_type)type) {
    case AG_TYPE_NULL: return json_is_null(v);
    case AG_TYPE_BOOLEAN: return json_is_boolean(v);
    case AG_TYPE_OBJECT: return json_is_object(v);
    case AG_TYPE_ARRAY: return json_is_array(v);
    case AG_TYPE_NUMBER: return json_is_number(v);
    case AG_TYPE_STRING: return json_is_string(v);
    case AG_TYPE_INTEGER:
        return json_is_integer(v) || (json_is_real(v) && json_real_value(v) == trunc(json_real_value(v)));
    case AG_TYPE_LIMIT: break;
    }
    return false;
}

static bool test_type(struct test *t, const struct look *at)
{
    char wanted[96] = "";
    size_t n = 0;

    for (int type = 0; type < AG_TYPE_LIMIT; type++)
        if ((at->rule->types & (1u << type)) != 0 && is_type(at->value, type))
            return true;
    for (int type = 0; type < AG_TYPE_LIMIT; type++)
        if ((at->rule->types & (1u << type)) != 0)
            n += (size_t)snprintf(wanted + n, sizeof(wanted) - n, "%s%s", n > 0 ? " or " : "", ag_type_names[type]);
    return complain(t, at->place, "must be of type %s, is %s", wanted, ag_json_type_name(at->value));
}

static bool test_const(struct test *t, const struct look *at)
{
    char wanted[80], is[80];

    if (same(t, at->rule->value, at->value))
        return true;
    return complain(t, at->place, "must be %s, is %s", ag_json_brief(at->rule->value, wanted, sizeof(wanted)),
                    ag_json_brief(at->value, is, sizeof(is)));
}

static bool test_enum(struct test *t, const struct look *at)
{
    char wanted[180], is[80];

    for (size_t i = 0; i < json_array_size(at->rule->value); i++)
        if (same(t, json_array_get(at->rule->value, i), at->value))
            return true;
    return complain(t, at->place, "must be one of %s, is %s", ag_json_brief(at->rule->value, wanted, sizeof(wanted)),
                    ag_json_brief(at->value, is, sizeof(is)));
}

/* --- objects --------------------------------------------------------------------------------- */

static bool test_required(struct test *t, const struct look *at)
{
    if (!json_is_object(at->value))
        return true;
    for (size_t i = 0; i < json_array_size(at->rule->value); i++) {
        struct ag_place below = {.up = at->place, .name = json_string_value(json_array_get(at->rule->value, i))};

        if (json_object_get(at->value, below.name) == NULL)
            return complain(t, &below, "is required");
    }
    return true;
}

static bool test_properties(struct test *t, const struct look *at)
{
    if (!json_is_object(at->value))
        return true;
    for (size_t i = 0; i < at->rule->count; i++) {
        const struct ag_child *child = &at->rule->children[i];
        struct ag_place below = {.up = at->place, .name = child->name};
        const json_t *value = json_object_get(at->value, child->name);

        if (value != NULL && !test_node(t, child->node, value, &below))
            return false;
    }
    return true;
}

static bool test_pattern_properties(struct test *t, const struct look *at)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)at->value, name, value)
        for (size_t i = 0; i < at->rule->count; i++) {
            struct ag_place below = {.up = at->place, .name = name};

            if (matches(t, at->rule->children[i].pattern, name) &&
                !test_node(t, at->rule->children[i].node, value, &below))
                return false;
            if (t->rc != AGENT_OK)
                return false;
        }
    return true;
}

/* "a, b, c" of the names that a schema knows, as far as there is room. */
static const char *known_names(const struct ag_rule *properties, char *to, size_t room)
{
    size_t n = 0;

    to[0] = '\0';
    for (size_t i = 0; properties != NULL && i < properties->count; i++) {
        const char *name = properties->children[i].name;
        int wrote = snprintf(to + n, room - n, "%s%s", i > 0 ? ", " : "", name);

        if ((size_t)wrote >= room - n) {
            to[n] = '\0';
            break;
        }
        n += (size_t)wrote;
    }
    return n > 0 ? to : "none";
}

static bool test_additional(struct test *t, const struct look *at)
{
    const struct ag_rule *properties = ag_node_rule(at->node, AG_KW_PROPERTIES);
    const struct ag_rule *patterns = ag_node_rule(at->node, AG_KW_PATTERN_PROPERTIES);
    const struct ag_node *other = at->rule->children[0].node;
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)at->value, name, value) {
        struct ag_place below = {.up = at->place, .name = name};
        bool known = properties != NULL && json_object_get(properties->value, name) != NULL;
        char names[200];

        for (size_t i = 0; !known && patterns != NULL && i < patterns->count; i++)
            known = matches(t, patterns->children[i].pattern, name);
        if (t->rc != AGENT_OK)
            return false;
        if (known)
            continue;
        if (other->never)
            return complain(t, &below, "is not known here; known are: %s", known_names(properties, names, sizeof(names)));
        if (!test_node(t, other, value, &below))
            return false;
    }
    return true;
}

static bool test_count(struct test *t, const struct look *at)
{
    const json_t *v = at->value;
    size_t bound = at->rule->bound, n;
    const char *what;

    switch ((int)at->rule->kw) {
    case AG_KW_MIN_PROPERTIES:
    case AG_KW_MAX_PROPERTIES:
        if (!json_is_object(v))
            return true;
        n = json_object_size(v);
        what = "properties";
        break;
    case AG_KW_MIN_ITEMS:
    case AG_KW_MAX_ITEMS:
        if (!json_is_array(v))
            return true;
        n = json_array_size(v);
        what = "items";
        break;
    default:
        if (!json_is_string(v))
            return true;
        n = 0;
        for (size_t i = 0; i < json_string_length(v); i++)
            n += ((unsigned char)json_string_value(v)[i] & 0xc0) != 0x80;
        what = "characters";
    }
    if (at->rule->kw == AG_KW_MIN_PROPERTIES || at->rule->kw == AG_KW_MIN_ITEMS || at->rule->kw == AG_KW_MIN_LENGTH)
        return n >= bound || complain(t, at->place, "must have at least %zu %s, has %zu", bound, what, n);
    return n <= bound || complain(t, at->place, "must have at most %zu %s, has %zu", bound, what, n);
}

/* --- arrays ---------------------------------------------------------------------------------- */

static bool test_prefix_items(struct test *t, const struct look *at)
{
    for (size_t i = 0; i < at->rule->count && i < json_array_size(at->value); i++) {
        struct ag_place below = {.up = at->place, .index = i};

        if (!test_node(t, at->rule->children[i].node, json_array_get(at->value, i), &below))
            return false;
    }
    return true;
}

static bool test_items(struct test *t, const struct look *at)
{
    const struct ag_rule *prefix = ag_node_rule(at->node, AG_KW_PREFIX_ITEMS);

    for (size_t i = prefix == NULL ? 0 : prefix->count; i < json_array_size(at->value); i++) {
        struct ag_place below = {.up = at->place, .index = i};

        if (!test_node(t, at->rule->children[0].node, json_array_get(at->value, i), &below))
            return false;
    }
    return true;
}

static bool test_unique(struct test *t, const struct look *at)
{
    if (!json_is_true(at->rule->value))
        return true;
    for (size_t i = 1; i < json_array_size(at->value); i++)
        for (size_t j = 0; j < i; j++) {
            struct ag_place below = {.up = at->place, .index = i};

            if (same(t, json_array_get(at->value, i), json_array_get(at->value, j)))
                return complain(t, &below, "is the same as item %zu, and each may be there once", j);
            if (t->rc != AGENT_OK)
                return false;
        }
    return true;
}

/* --- strings and numbers --------------------------------------------------------------------- */

static bool test_pattern(struct test *t, const struct look *at)
{
    char is[80];

    if (!json_is_string(at->value))
        return true;
    if (json_string_length(at->value) > AG_PATTERN_TEXT)
        return complain(t, at->place, "is too long for a text that has to match a pattern: over %d bytes",
                        AG_PATTERN_TEXT);
    if (matches(t, at->rule->pattern, json_string_value(at->value)))
        return true;
    return complain(t, at->place, "must match the pattern %.120s, is %s", at->rule->pattern->text,
                    ag_json_brief(at->value, is, sizeof(is)));
}

static bool test_bound(struct test *t, const struct look *at)
{
    char bound[48], is[48];
    const char *words;
    bool fits;
    int order;

    if (!json_is_number(at->value))
        return true;
    order = ag_json_compare(at->value, at->rule->value);
    switch ((int)at->rule->kw) {
    case AG_KW_MINIMUM: fits = order >= 0, words = "at least"; break;
    case AG_KW_MAXIMUM: fits = order <= 0, words = "at most"; break;
    case AG_KW_OVER: fits = order > 0, words = "more than"; break;
    default: fits = order < 0, words = "less than";
    }
    return fits || complain(t, at->place, "must be %s %s, is %s", words,
                            ag_json_brief(at->rule->value, bound, sizeof(bound)),
                            ag_json_brief(at->value, is, sizeof(is)));
}

/* 0.3 is a multiple of 0.1 to everyone but a double, so there is a little slack between reals. */
static bool is_multiple(const json_t *v, const json_t *of)
{
    double times;

    if (json_is_integer(v) && json_is_integer(of))
        return json_integer_value(v) % json_integer_value(of) == 0;
    times = json_number_value(v) / json_number_value(of);
    return isfinite(times) && fabs(times - round(times)) <= fmax(1e-9, fabs(times) * 4e-16);
}

static bool test_multiple(struct test *t, const struct look *at)
{
    char of[48], is[48];

    if (!json_is_number(at->value) || is_multiple(at->value, at->rule->value))
        return true;
    return complain(t, at->place, "must be a multiple of %s, is %s", ag_json_brief(at->rule->value, of, sizeof(of)),
                    ag_json_brief(at->value, is, sizeof(is)));
}

/* --- schemas of schemas ---------------------------------------------------------------------- */

static bool test_all(struct test *t, const struct look *at) /* $ref is an allOf of one */
{
    for (size_t i = 0; i < at->rule->count; i++)
        if (!test_node(t, at->rule->children[i].node, at->value, at->place))
            return false;
    return true;
}

static bool test_any(struct test *t, const struct look *at)
{
    struct story nearest = {.depth = -1};

    for (size_t i = 0; i < at->rule->count; i++) {
        t->story.depth = -1;
        if (test_node(t, at->rule->children[i].node, at->value, at->place))
            return true;
        if (t->rc != AGENT_OK)
            return false;
        if (t->story.depth > nearest.depth) /* (1) */
            nearest = t->story;
    }
    if (nearest.depth == depth_of(at->place))
        nearest.place[0] = '\0'; /* it is the place that is told anyway */
    return complain(t, at->place, "fits none of %zu alternatives; the nearest%s%s: %.200s", at->rule->count,
                    nearest.place[0] == '\0' ? "" : " says of ", nearest.place, nearest.what);
}

static bool test_one(struct test *t, const struct look *at)
{
    size_t found = 0;

    if (!test_any(t, at))
        return false;
    t->muted++;
    for (size_t i = 0; i < at->rule->count; i++)
        found += test_node(t, at->rule->children[i].node, at->value, at->place);
    t->muted--;
    if (t->rc != AGENT_OK)
        return false;
    return found == 1 || complain(t, at->place, "fits %zu of %zu alternatives, and only one may fit", found,
                                  at->rule->count);
}

static bool quietly(struct test *t, const struct look *at)
{
    bool fits;

    t->muted++; /* (2) */
    fits = test_node(t, at->rule->children[0].node, at->value, at->place);
    t->muted--;
    return fits;
}

static bool test_not(struct test *t, const struct look *at)
{
    if (quietly(t, at))
        return complain(t, at->place, "fits the schema under \"not\", and must not");
    return t->rc == AGENT_OK;
}

static bool test_if(struct test *t, const struct look *at)
{
    const struct ag_rule *then = ag_node_rule(at->node, quietly(t, at) ? AG_KW_THEN : AG_KW_ELSE);

    if (t->rc != AGENT_OK)
        return false;
    return then == NULL || test_node(t, then->children[0].node, at->value, at->place);
}

/* NULL: nothing to test by itself. */
static bool (*const tests[AG_KW_LIMIT])(struct test *t, const struct look *at) = {
    [AG_KW_REF] = test_all,
    [AG_KW_TYPE] = test_type,
    [AG_KW_CONST] = test_const,
    [AG_KW_ENUM] = test_enum,
    [AG_KW_REQUIRED] = test_required,
    [AG_KW_PROPERTIES] = test_properties,
    [AG_KW_PATTERN_PROPERTIES] = test_pattern_properties,
    [AG_KW_ADDITIONAL] = test_additional,
    [AG_KW_MIN_PROPERTIES] = test_count,
    [AG_KW_MAX_PROPERTIES] = test_count,
    [AG_KW_PREFIX_ITEMS] = test_prefix_items,
    [AG_KW_ITEMS] = test_items,
    [AG_KW_MIN_ITEMS] = test_count,
    [AG_KW_MAX_ITEMS] = test_count,
    [AG_KW_UNIQUE] = test_unique,
    [AG_KW_MIN_LENGTH] = test_count,
    [AG_KW_MAX_LENGTH] = test_count,
    [AG_KW_PATTERN] = test_pattern,
    [AG_KW_MINIMUM] = test_bound,
    [AG_KW_MAXIMUM] = test_bound,
    [AG_KW_OVER] = test_bound,
    [AG_KW_UNDER] = test_bound,
    [AG_KW_MULTIPLE] = test_multiple,
    [AG_KW_ALL_OF] = test_all,
    [AG_KW_ANY_OF] = test_any,
    [AG_KW_ONE_OF] = test_one,
    [AG_KW_NOT] = test_not,
    [AG_KW_IF] = test_if,
};

static bool test_node(struct test *t, const struct ag_node *node, const json_t *value, const struct ag_place *place)
{
    bool fits = true;

    if (t->rc != AGENT_OK)
        return false;
    if (--t->work < 0 || t->frames == AG_SCHEMA_FRAMES) /* (3) */
        return give_up(t, AGENT_ETOOBIG);
    if (node->never)
        return complain(t, place, "is not allowed");
    t->frames++;
    for (size_t i = 0; fits && i < node->count; i++) {
        const struct ag_rule *rule = &node->rules[i];
        struct look at = {node, rule, value, place};

        if (tests[rule->kw] != NULL)
            fits = tests[rule->kw](t, &at);
    }
    t->frames--;
    return fits;
}

agent_status ag_schema_run(const struct ag_schema *s, const json_t *value, agent_error *err)
{
    static const struct ag_place top = {0};
    struct test t = {.s = s, .work = AG_SCHEMA_WORK, .rc = AGENT_OK};
    char names[AGENT_ERROR_HINT_MAX - 40];

    if (s->root == NULL || test_node(&t, s->root, value, &top))
        return AGENT_OK;
    if (t.rc == AGENT_ENOMEM)
        return ag_fail(err, AGENT_ENOMEM, 0, "arguments: out of memory");
    if (t.rc != AGENT_OK)
        return ag_fail(err, t.rc, 0, "arguments: too much to check: over %d steps or %d levels", AG_SCHEMA_WORK,
                       AG_SCHEMA_FRAMES);
    (void)ag_fail(err, AGENT_EINVAL, 0, "arguments%s%s: %s", t.story.place[0] == '\0' ? "" : " ", t.story.place,
                  t.story.what);
    if (ag_node_rule(s->root, AG_KW_PROPERTIES) != NULL)
        ag_hint(err, "the arguments are an object with: %s",
                known_names(ag_node_rule(s->root, AG_KW_PROPERTIES), names, sizeof(names)));
    return AGENT_EINVAL;
}
