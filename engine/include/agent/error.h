/*
 * Status codes, and the record that tells the story of a failure.
 *
 * A code is a different thing to *do*; the text is for the person. Codes are stable: they are
 * never renumbered, only appended. The third column says whether the same call may succeed when
 * it is made again later.
 */
#ifndef AGENT_ERROR_H
#define AGENT_ERROR_H

#include <agent/export.h>
#include <stdbool.h>

AGENT_BEGIN_DECLS

/*  name         value  retry  text                                          */
#define AGENT_STATUS_MAP(X)                                                     \
    X(OK,            0, 0, "success")                                           \
    X(ENOMEM,       -1, 0, "out of memory")                                     \
    X(EINVAL,       -2, 0, "invalid argument")                                  \
    X(ENOTFOUND,    -3, 0, "not found")                                         \
    X(EBUSY,        -4, 1, "resource busy")                                     \
    X(ECANCELLED,   -5, 0, "cancelled")                                         \
    X(ETIMEDOUT,    -6, 1, "timed out")                                         \
    X(ETOOBIG,      -7, 0, "limit exceeded")                                    \
    X(ESTORAGE,     -8, 0, "storage failure")                                   \
    X(ESCHEMA,      -9, 0, "schema version not supported")                      \
    X(EPROTOCOL,   -10, 0, "malformed data from peer")                          \
    X(EPROVIDER,   -11, 0, "provider rejected the request")                     \
    X(ERATELIMIT,  -12, 1, "provider rate limit")                               \
    X(ETOOL,       -13, 0, "tool failed")                                       \
    X(EAPPROVAL,   -14, 0, "waits for a decision")                              \
    X(EDENIED,     -15, 0, "denied")                                            \
    X(EBUDGET,     -16, 0, "limit or budget reached")                           \
    X(EEXISTS,     -17, 0, "exists already")                                    \
    X(ENETWORK,    -18, 1, "network failure")                                   \
    X(EKEY,        -19, 0, "no key for the provider")                           \
    X(ELOST,       -20, 0, "the run was taken over by another process")         \
    X(EIO,         -21, 0, "input or output failed")

typedef enum agent_status {
#define X(name, value, retry, text) AGENT_##name = value,
    AGENT_STATUS_MAP(X)
#undef X
} agent_status;

#define AGENT_ERROR_TEXT_MAX 512 /* bytes, terminating NUL included */
#define AGENT_ERROR_HINT_MAX 256 /* bytes, terminating NUL included */

/** Owned by the caller; written on failure only. Zero it, or use AGENT_ERROR_INIT. */
typedef struct agent_error {
    agent_status status;
    int detail;                      /* errno, SQLite extended code or HTTP status; 0: none applies */
    char text[AGENT_ERROR_TEXT_MAX]; /* outermost first: "open: read header: not a database" */
    char hint[AGENT_ERROR_HINT_MAX]; /* the remedy, where there is one; else "" */
} agent_error;

#define AGENT_ERROR_INIT { AGENT_OK, 0, "", "" }

/** The code's stable name ("EBUSY"), never NULL. Thread-safe. */
AGENT_API const char *agent_status_name(agent_status status);
/** One line for a person, never NULL. Thread-safe. */
AGENT_API const char *agent_status_text(agent_status status);
/** Whether the same call may succeed later. Thread-safe. */
AGENT_API bool agent_status_may_retry(agent_status status);

AGENT_END_DECLS
#endif
