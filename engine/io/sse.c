/*
 * Bytes in, events out.
 *
 *    bytes ──► lines (LF, CR, CRLF) ──► fields ──► data + event ──blank line──► fn
 *
 * A line that lies whole in the caller's bytes is read in place; only what a read cuts through is
 * copied to `line`.
 *
 *  (1) The events do not depend on how the bytes were split: all that is remembered between two
 *      reads is the unfinished line, the event so far and whether the last byte was a CR.
 *  (2) A CR ends its line at once, so an event is never held back for the LF that may follow.
 *  (3) Nothing is decoded: a character split across reads is put together with its line.
 *  (4) `line` and `data` never hold more than max_bytes each.
 */
#include "engine/io/sse.h"

#define BOM "\xEF\xBB\xBF"

void ag_sse_init(ag_sse *sse, size_t max_bytes, ag_sse_fn fn, void *ctx)
{
    *sse = (ag_sse){
        .line = AG_BUF_INIT(max_bytes),
        .data = AG_BUF_INIT(max_bytes),
        .event = AG_BUF_INIT(max_bytes),
        .fn = fn,
        .ctx = ctx,
    };
}

void ag_sse_drop(ag_sse *sse)
{
    ag_buf_drop(&sse->line);
    ag_buf_drop(&sse->data);
    ag_buf_drop(&sse->event);
    sse->has_data = false;
    sse->stopped = true;
}

/* A blank line: the event is complete. One without any data line is none (a lone `event:`). */
static void dispatch(ag_sse *sse)
{
    if (sse->has_data && !sse->fn(sse->ctx, ag_buf_view(&sse->event), ag_buf_view(&sse->data)))
        sse->stopped = true;
    sse->has_data = false;
    ag_buf_clear(&sse->data);
    ag_buf_clear(&sse->event);
}

static void take_field(ag_sse *sse, struct ag_str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct ag_str name = line, value = AG_STR("");

    if (colon != NULL) {
        name.n = (size_t)(colon - line.p);
        value = (struct ag_str){colon + 1, line.n - name.n - 1};
        if (value.n > 0 && value.p[0] == ' ') {
            value.p++;
            value.n--;
        }
    }
    if (ag_str_is(name, "data")) {
        if (sse->has_data)
            ag_buf_char(&sse->data, '\n');
        ag_buf_str(&sse->data, value);
        sse->has_data = true;
    } else if (ag_str_is(name, "event")) {
        ag_buf_clear(&sse->event);
        ag_buf_str(&sse->event, value);
    } /* id and retry serve reconnecting, which no model endpoint offers; the rest is unknown */
}

static void take_line(ag_sse *sse, struct ag_str line)
{
    if (!sse->had_bom_check) {
        sse->had_bom_check = true;
        if (line.n >= 3 && memcmp(line.p, BOM, 3) == 0) {
            line.p += 3;
            line.n -= 3;
        }
    }
    if (line.n == 0)
        dispatch(sse);
    else if (line.p[0] != ':')
        take_field(sse, line);
}

/* Where the line that begins at p ends; NULL: not in these bytes. */
static const char *line_end(const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    const char *cr = memchr(p, '\r', lf == NULL ? n : (size_t)(lf - p));

    return cr != NULL ? cr : lf;
}

static agent_status failed(ag_sse *sse, agent_error *err)
{
    agent_status rc;

    if ((rc = ag_buf_status(&sse->line, "line", err)) == AGENT_OK &&
        (rc = ag_buf_status(&sse->data, "data of one event", err)) == AGENT_OK)
        rc = ag_buf_status(&sse->event, "name of an event", err);
    if (rc == AGENT_OK)
        return AGENT_OK;
    sse->stopped = true;
    return ag_wrap(err, rc, "event stream");
}

agent_status ag_sse_feed(ag_sse *sse, const char *bytes, size_t n, agent_error *err)
{
    const char *at = bytes, *end = bytes + n;
    agent_status rc;

    while (at < end && !sse->stopped) {
        const char *stop;
        size_t len;

        if (sse->had_cr) {
            sse->had_cr = false;
            if (*at == '\n') { /* (2): the second half of a CRLF */
                at++;
                continue;
            }
        }
        stop = line_end(at, (size_t)(end - at));
        len = (size_t)((stop == NULL ? end : stop) - at);
        if (stop == NULL || sse->line.n > 0 || len > sse->line.cap) {
            ag_buf_append(&sse->line, at, len);
            if ((rc = failed(sse, err)) != AGENT_OK) /* (4) */
                return rc;
            if (stop == NULL)
                return AGENT_OK;
            take_line(sse, ag_buf_view(&sse->line));
            ag_buf_clear(&sse->line);
        } else {
            take_line(sse, (struct ag_str){at, len});
        }
        if ((rc = failed(sse, err)) != AGENT_OK)
            return rc;
        sse->had_cr = *stop == '\r';
        at = stop + 1;
    }
    return AGENT_OK;
}

agent_status ag_sse_end(ag_sse *sse, agent_error *err)
{
    agent_status rc;

    if (sse->stopped)
        return AGENT_OK;
    if (sse->line.n > 0)
        take_line(sse, ag_buf_view(&sse->line));
    ag_buf_clear(&sse->line);
    if ((rc = failed(sse, err)) != AGENT_OK)
        return rc;
    if (sse->has_data)
        dispatch(sse);
    sse->stopped = true;
    return AGENT_OK;
}
