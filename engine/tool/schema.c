/* The way in: schema texts read into an ag_schema, arguments tested with it. See schema.h. */
#include "engine/tool/schema.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/tool/tool.h"

/* What a provider will send as a tool's parameters has to be a schema of objects. */
static agent_status must_be_of_objects(const json_t *document, agent_error *err)
{
    const json_t *type;

    if (!json_is_object(document))
        return ag_fail(err, AGENT_EINVAL, 0, "schema: must be an object, is %s", ag_json_type_name(document));
    type = json_object_get(document, "type");
    if (type != NULL && !(json_is_string(type) && strcmp(json_string_value(type), "object") == 0))
        return ag_fail(err, AGENT_EINVAL, 0, "schema /type: must be \"object\": the arguments of a tool are an object");
    return AGENT_OK;
}

static agent_status read_document(struct ag_schema *s, struct ag_str text, agent_error *err)
{
    static const struct ag_place top = {0};
    agent_status rc;

    if (text.n > AG_SCHEMA_BYTES)
        return ag_fail(err, AGENT_ETOOBIG, 0, "schema: %zu bytes, at most %u are allowed", text.n, AG_SCHEMA_BYTES);
    if ((rc = ag_json_read(text, "schema", &s->document, err)) != AGENT_OK ||
        (rc = must_be_of_objects(s->document, err)) != AGENT_OK ||
        (rc = ag_schema_read(s, s->document, &top, &s->root, err)) != AGENT_OK)
        return rc;
    return ag_schema_link(s, err);
}

/* Messages quote names and values, cut where the record ends; a model is told only whole characters. */
static agent_status tidy(agent_status rc, agent_error *err)
{
    if (rc != AGENT_OK && err != NULL) {
        ag_json_tidy(err->text);
        ag_json_tidy(err->hint);
    }
    return rc;
}

static agent_status open_schema(struct ag_schema *s, struct ag_str text, agent_error *err)
{
    *s = (struct ag_schema){.arena = AG_ARENA_INIT};
    return text.p == NULL ? AGENT_OK : tidy(read_document(s, text, err), err);
}

static void close_schema(struct ag_schema *s)
{
    ag_pattern_free_all(s);
    ag_arena_drop(&s->arena);
    json_decref(s->document);
}

ag_schema *ag_schema_compile(struct ag_str text, agent_error *err)
{
    struct ag_schema *s = ag_malloc(sizeof(*s));

    if (s == NULL) {
        (void)ag_fail(err, AGENT_ENOMEM, 0, "schema: out of memory");
        return NULL;
    }
    if (open_schema(s, text, err) != AGENT_OK) {
        ag_schema_free(s);
        return NULL;
    }
    return s;
}

void ag_schema_free(ag_schema *s)
{
    if (s == NULL)
        return;
    close_schema(s);
    ag_free(s);
}

agent_status ag_schema_test(const ag_schema *s, struct ag_str arguments, agent_error *err)
{
    json_auto_t *value = NULL;
    agent_status rc;

    if ((rc = ag_json_read(arguments, "arguments", &value, err)) != AGENT_OK)
        return rc;
    if (!json_is_object(value))
        return ag_fail(err, AGENT_EINVAL, 0, "arguments: must be an object, is %s", ag_json_type_name(value));
    return tidy(ag_schema_run(s, value, err), err);
}

agent_status ag_schema_check(struct ag_str schema, struct ag_str arguments, agent_error *err)
{
    struct ag_schema s;
    agent_status rc = open_schema(&s, schema, err);

    if (rc == AGENT_OK)
        rc = ag_schema_test(&s, arguments, err);
    close_schema(&s);
    return rc;
}

agent_status ag_schema_valid(struct ag_str schema, agent_error *err)
{
    struct ag_schema s;
    agent_status rc = open_schema(&s, schema, err);

    close_schema(&s);
    return rc;
}
