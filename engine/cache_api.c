/* The response cache as a host sees it. */
#include <agent/cache.h>
#include <string.h>

#include "engine/engine.h"

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool key_of(const char *hex, unsigned char key[AG_CACHE_KEY_BYTES])
{
    size_t i;

    for (i = 0; i < AG_CACHE_KEY_BYTES; i++) {
        int high = digit(hex[2 * i]), low = high < 0 ? -1 : digit(hex[2 * i + 1]);

        if (low < 0)
            return false;
        key[i] = (unsigned char)(high << 4 | low);
    }
    return hex[2 * i] == '\0';
}

agent_status agent_cache_sums(agent_engine *e, agent_cache_stats *out, agent_error *err)
{
    struct ag_cache_totals totals;
    ag_reader *r;
    agent_status rc;

    if (e == NULL || out == NULL || out->size < sizeof(*out))
        return ag_fail(err, AGENT_EINVAL, 0, "cache: engine and out (with its size) are needed");
    if ((rc = ag_engine_reader(e, &r, err)) != AGENT_OK)
        return rc;
    rc = ag_reader_cache_totals(r, &totals, err);
    ag_engine_reader_put(e);
    if (rc != AGENT_OK)
        return ag_wrap(err, rc, "cache");
    out->entries = totals.entries;
    out->bytes = totals.bytes;
    out->limit_bytes = totals.limit_bytes;
    out->hits = totals.hits;
    out->tokens_saved = totals.tokens_saved;
    return AGENT_OK;
}

static agent_status apply(agent_engine *e, struct ag_op *op, agent_error *err)
{
    ag_unit unit;
    agent_status rc;

    ag_unit_init(&unit, ag_unix_ms(&e->clock));
    ag_unit_add(&unit, op);
    rc = ag_engine_apply(e, &unit, err);
    return rc == AGENT_OK ? rc : ag_wrap(err, rc, "cache");
}

agent_status agent_cache_remove(agent_engine *e, const char *key, int64_t *out_count, agent_error *err)
{
    struct ag_op op;
    agent_status rc;

    if (e == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "cache: an engine is needed");
    if ((rc = ag_engine_writable(e, "cache", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_CACHE_RM;
    op.cache_rm.all = key == NULL;
    if (key != NULL && !key_of(key, op.cache_rm.key)) {
        (void)ag_fail(err, AGENT_EINVAL, 0, "cache: '%.80s' is no key of 64 hexadecimal digits", key);
        ag_hint(err, "agentctl cache ls shows the keys");
        return AGENT_EINVAL;
    }
    if ((rc = apply(e, &op, err)) == AGENT_OK && out_count != NULL)
        *out_count = op.cache_rm.out_count;
    return rc;
}

agent_status agent_cache_resize(agent_engine *e, int64_t bytes, int64_t *out_removed, agent_error *err)
{
    struct ag_op op;
    agent_status rc;

    if (e == NULL || bytes < 0)
        return ag_fail(err, AGENT_EINVAL, 0, "cache: an engine and a limit of 0 bytes or more are needed");
    if ((rc = ag_engine_writable(e, "cache", err)) != AGENT_OK)
        return rc;
    memset(&op, 0, sizeof(op));
    op.kind = AG_OP_CACHE_RESIZE;
    op.cache_resize.bytes = bytes;
    if ((rc = apply(e, &op, err)) == AGENT_OK && out_removed != NULL)
        *out_removed = op.cache_resize.out_evicted;
    return rc;
}
