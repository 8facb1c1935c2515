#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    agent_status status;
    bool retry;
    const char *name, *text;
} rows[] = {
#define X(name, value, retry, text) {AGENT_##name, (retry) != 0, #name, text},
    AGENT_STATUS_MAP(X)
#undef X
};

/* Status codes count down from 0 without a gap, so the row is found by its place. */
static size_t row_of(agent_status status)
{
    size_t i = (size_t)(-(int)status);
    return i < sizeof(rows) / sizeof(rows[0]) ? i : 2 /* EINVAL: not a status of ours */;
}

const char *agent_status_name(agent_status status)
{
    return rows[row_of(status)].name;
}

const char *agent_status_text(agent_status status)
{
    return rows[row_of(status)].text;
}

bool agent_status_may_retry(agent_status status)
{
    return rows[row_of(status)].retry;
}

agent_status ag_fail(agent_error *err, agent_status status, int detail, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return status;
    err->status = status;
    err->detail = detail;
    err->hint[0] = '\0';
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return status;
}

agent_status ag_wrap(agent_error *err, agent_status status, const char *fmt, ...)
{
    char front[AGENT_ERROR_TEXT_MAX];
    size_t n, have;
    va_list ap;
    int wrote;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(ap, fmt);
    wrote = vsnprintf(front, sizeof(front) - 2, fmt, ap);
    va_end(ap);
    if (wrote <= 0)
        return status;
    n = strlen(front);
    memcpy(front + n, ": ", 2);
    n += 2;
    have = strlen(err->text);
    if (n + have >= sizeof(err->text)) /* the cause outranks the context: cut the front */
        return status;
    memmove(err->text + n, err->text, have + 1);
    memcpy(err->text, front, n);
    return status;
}

void ag_hint(agent_error *err, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
    va_end(ap);
}
