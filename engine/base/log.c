#include "engine/base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

void ag_log_line(const ag_log *log, int level, const char *module, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (log == NULL || log->sink == NULL || level > log->level)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log->sink(log->ctx, level, module, text);
}
