/*
 * calc with any bytes: it ends, it says something valid, and a result is a number that calc itself
 * reads as the same number again. (Between 10^15 and 2^53 a rounded result shows 15 of 16 digits
 * and so reads as its neighbour; those are left out.)
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tool/tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(bool holds, const char *what, struct ag_str expression)
{
    if (holds)
        return;
    fprintf(stderr, "%s: " AG_STR_FMT "\n", what, AG_STR_ARG(expression));
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct ag_str expression = {(const char *)bytes, n};
    ag_buf out = AG_BUF_INIT(64), again = AG_BUF_INIT(64);
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc = ag_calc(expression, &out, &err);

    if (rc == AGENT_OK) {
        must(out.n > 0 && strspn(out.p, "0123456789.e+-") == out.n, "not a number", expression);
        must(ag_calc(ag_buf_view(&out), &again, &err) == AGENT_OK, "does not read its own result", expression);
        must(strstr(out.p, "e+15") != NULL || ag_str_eq(ag_buf_view(&out), ag_buf_view(&again)),
             "reads its own result as another number", expression);
    } else {
        must(rc == AGENT_EINVAL && out.n == 0, "fails with a result", expression);
        must(err.text[0] != '\0' && ag_utf8_valid(ag_str_of(err.text), NULL), "a bad message", expression);
    }
    ag_buf_drop(&again);
    ag_buf_drop(&out);
    return 0;
}
