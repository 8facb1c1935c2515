/*
 * The schema checker with any bytes: the first line is the schema, the rest the arguments.
 *
 *  - valid, compile and check are of one mind; a message is valid UTF-8;
 *  - what fits a schema does not fit {"not": schema}, and the other way round ($ref aside, whose
 *    pointers would mean something else one level down).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tool/tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(bool holds, const char *what, const agent_error *err)
{
    if (holds)
        return;
    fprintf(stderr, "%s; last message: %s\n", what, err->text);
    abort();
}

static void test_opposite(struct ag_str schema, struct ag_str arguments, agent_status rc)
{
    agent_error err = AGENT_ERROR_INIT;
    ag_buf text = AG_BUF_INIT(1u << 20);
    agent_status opposite;

    if (memmem(schema.p, schema.n, "$ref", 4) != NULL || memchr(schema.p, '\\', schema.n) != NULL)
        return;
    if (ag_schema_check(AG_STR_NONE, arguments, NULL) != AGENT_OK) /* no object: fits neither */
        return;
    ag_buf_z(&text, "{\"not\":");
    ag_buf_str(&text, schema);
    ag_buf_char(&text, '}');
    if (ag_schema_valid(ag_buf_view(&text), &err) == AGENT_OK) { /* not so: too deep now, or an $id below the top */
        opposite = ag_schema_check(ag_buf_view(&text), arguments, &err);
        must(opposite == AGENT_ETOOBIG || (opposite == AGENT_OK) == (rc != AGENT_OK), "not is no opposite", &err);
    }
    ag_buf_drop(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes, *line = n == 0 ? NULL : memchr(p, '\n', n);
    struct ag_str schema = {p, line == NULL ? n : (size_t)(line - p)};
    struct ag_str arguments = line == NULL ? AG_STR("{}") : (struct ag_str){line + 1, n - schema.n - 1};
    agent_error first = AGENT_ERROR_INIT, second = AGENT_ERROR_INIT, third = AGENT_ERROR_INIT;
    agent_status valid = ag_schema_valid(schema, &first), rc;
    ag_schema *compiled = ag_schema_compile(schema, &second);

    must((valid == AGENT_OK) == (compiled != NULL), "valid and compile disagree", &first);
    must(strcmp(first.text, second.text) == 0, "valid and compile tell it differently", &first);
    rc = ag_schema_check(schema, arguments, &third);
    if (compiled == NULL) {
        must(rc == valid && strcmp(first.text, third.text) == 0, "check and valid disagree", &third);
    } else {
        must(ag_schema_test(compiled, arguments, &second) == rc, "check and test disagree", &second);
        must(strcmp(second.text, third.text) == 0, "check and test tell it differently", &third);
        if (rc == AGENT_OK || rc == AGENT_EINVAL)
            test_opposite(schema, arguments, rc);
    }
    must(ag_utf8_valid(ag_str_of(third.text), NULL) && ag_utf8_valid(ag_str_of(third.hint), NULL), "bad UTF-8", &third);
    must((rc == AGENT_OK) == (third.text[0] == '\0'), "a failure without a word", &third);
    ag_schema_free(compiled);
    return 0;
}
