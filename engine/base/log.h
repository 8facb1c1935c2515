/*
 * The library writes nowhere by itself: the host gives a sink. One line per event, key=value, ids
 * always. Levels are decided by who must act: error = someone, warn = maybe later,
 * info = lifecycle, debug = developer. The sink may be called from any thread of the engine.
 */
#ifndef AG_BASE_LOG_H
#define AG_BASE_LOG_H

#include <agent/export.h>

enum ag_log_level { AG_LOG_ERROR, AG_LOG_WARN, AG_LOG_INFO, AG_LOG_DEBUG };

typedef struct ag_log {
    void (*sink)(void *ctx, int level, const char *module, const char *text); /* NULL: silence */
    void *ctx;
    int level; /* the most detailed level that is passed on */
} ag_log;

void ag_log_line(const ag_log *log, int level, const char *module, const char *fmt, ...)
    AGENT_PRINTF(4, 5);

#endif
