/*
 * The SSE parser against itself: whatever the bytes are, the events must be the same whether they
 * come in one read, one by one, or cut in two anywhere; and no event may be over the cap.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/io/sse.h"

#define CAP 256

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bool take(void *ctx, struct ag_str event, struct ag_str data)
{
    ag_buf *told = ctx;

    if (data.n > CAP || event.n > CAP)
        abort();
    ag_buf_printf(told, "%zu:", event.n);
    ag_buf_str(told, event);
    ag_buf_printf(told, "|%zu:", data.n);
    ag_buf_str(told, data);
    ag_buf_char(told, '\n');
    return true;
}

/* What the parser told, its final status behind it. `step`: bytes of a read. */
static ag_buf parse(const char *bytes, size_t n, size_t first, size_t step)
{
    ag_buf told = AG_BUF_INIT(64u << 20);
    agent_status rc = AGENT_OK;
    ag_sse sse;

    ag_sse_init(&sse, CAP, take, &told);
    for (size_t at = 0; at < n && rc == AGENT_OK;) {
        size_t take_now = at == 0 && first > 0 ? first : step;
        if (take_now > n - at)
            take_now = n - at;
        rc = ag_sse_feed(&sse, bytes + at, take_now, NULL);
        at += take_now;
    }
    if (rc == AGENT_OK)
        rc = ag_sse_end(&sse, NULL);
    ag_sse_drop(&sse);
    ag_buf_printf(&told, "= %d", (int)rc);
    return told;
}

static void compare(const ag_buf *whole, ag_buf split)
{
    if (!ag_str_eq(ag_buf_view(whole), ag_buf_view(&split))) {
        fprintf(stderr, "whole:\n%.*s\nsplit:\n%.*s\n", (int)whole->n, whole->p, (int)split.n, split.p);
        abort();
    }
    ag_buf_drop(&split);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes;
    ag_buf whole = parse(p, n, 0, n);

    compare(&whole, parse(p, n, 0, 1));
    compare(&whole, parse(p, n, 0, 3));
    if (n > 0)
        compare(&whole, parse(p, n, 1 + bytes[0] % n, n));
    ag_buf_drop(&whole);
    return 0;
}
