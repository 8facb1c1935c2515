/*
 * Server-sent events, from bytes split at any offset (WHATWG HTML "event stream" as real providers
 * send it). Lines end at LF, CR or CRLF, also where a read ends between CR and LF; a BOM is
 * skipped; comments count as life but are no events; `data` lines are joined with LF. At the end
 * of the stream a pending event without its blank line is delivered too.
 */
#ifndef AG_IO_SSE_H
#define AG_IO_SSE_H

#include "engine/base/buf.h"

/* One event; both views live until the callback returns. False stops: ag_sse_feed returns at once
 * and what follows is ignored. */
typedef bool (*ag_sse_fn)(void *ctx, struct ag_str event, struct ag_str data);

typedef struct ag_sse {
    ag_buf line, data, event;
    bool had_cr, had_bom_check, has_data, stopped;
    ag_sse_fn fn;
    void *ctx;
} ag_sse;

/* max_bytes: of one line, and of the data of one event. */
void ag_sse_init(ag_sse *sse, size_t max_bytes, ag_sse_fn fn, void *ctx);
/* AGENT_OK, AGENT_ETOOBIG or AGENT_ENOMEM; after a failure the parser is stopped. */
agent_status ag_sse_feed(ag_sse *sse, const char *bytes, size_t n, agent_error *err);
agent_status ag_sse_end(ag_sse *sse, agent_error *err);
void ag_sse_drop(ag_sse *sse);

#endif
