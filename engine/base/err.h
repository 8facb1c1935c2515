/*
 * The story of a failure. A failing function starts it (ag_fail), callers put context in front
 * (ag_wrap); both return the status, so a failing branch is one `return`. `err` may be NULL
 * everywhere.
 */
#ifndef AG_BASE_ERR_H
#define AG_BASE_ERR_H

#include <agent/error.h>

/* Starts a story. `detail` is an errno, SQLite extended code or HTTP status, 0 where none applies. */
agent_status ag_fail(agent_error *err, agent_status status, int detail, const char *fmt, ...)
    AGENT_PRINTF(4, 5);
/* Puts "context: " in front of what is there. Returns `status` unchanged. */
agent_status ag_wrap(agent_error *err, agent_status status, const char *fmt, ...) AGENT_PRINTF(3, 4);
/* Sets the remedy of the story just started or wrapped. */
void ag_hint(agent_error *err, const char *fmt, ...) AGENT_PRINTF(2, 3);

/* Scoped cleanup: AG_AUTO(ag_buf) b = ... runs ag_buf_drop(&b) at scope end. */
#define AG_AUTO(type) __attribute__((cleanup(type##_drop))) type

#endif
