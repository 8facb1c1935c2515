/* The response cache and the front cache as a host sees them. */
#include <agent/cache.h>
#include <string.h>

#include "engine/cache_api.h"
#include "engine/engine.h"

const char *const ag_cache_kind_names[AG_CACHE_KIND_LIMIT] = {
    [AG_CACHE_AGENT] = "agent", [AG_CACHE_TAIL] = "tail", [AG_CACHE_MEMORY] = "memory", [AG_CACHE_RESPONSE] = "response",
};

_Static_assert(AGENT_CACHE_KINDS == AG_CACHE_KIND_LIMIT && AGENT_CACHE_TIMES == AG_CACHE_TIMES, "the host's view");

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The bounds of all keys that begin with these digits; how many digits there were, -1: it is no key. */
static int bounds_of(const char *hex, unsigned char first[AG_CACHE_KEY_BYTES], unsigned char last[AG_CACHE_KEY_BYTES])
{
    int n = 0, d;

    memset(first, 0, AG_CACHE_KEY_BYTES);
    memset(last, 0xff, AG_CACHE_KEY_BYTES);
    for (; (d = digit(hex[n])) >= 0; n++) {
        const int shift = n % 2 == 0 ? 4 : 0;

        if (n == 2 * AG_CACHE_KEY_BYTES)
            return -1;
        first[n / 2] = (unsigned char)(first[n / 2] | d << shift);
        last[n / 2] = (unsigned char)(last[n / 2] & ~((0xf ^ d) << shift));
    }
    return hex[n] == '\0' || strcmp(hex + n, "*") == 0 ? n : -1;
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
    if (key != NULL) {
        const int digits = bounds_of(key, op.cache_rm.key, op.cache_rm.last);

        op.cache_rm.range = digits > 0 && key[digits] == '*';
        if (digits != 2 * AG_CACHE_KEY_BYTES && !op.cache_rm.range) {
            (void)ag_fail(err, AGENT_EINVAL, 0, "cache: '%.80s' is no key of 64 hexadecimal digits", key);
            ag_hint(err, "agentctl cache ls shows the keys; a beginning of some is written 3f2a*");
            return AGENT_EINVAL;
        }
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

agent_status agent_cache_front(agent_engine *e, agent_front_stats *out, agent_error *err)
{
    struct ag_cache_stats s;
    agent_status rc;

    if (e == NULL || out == NULL || out->size < sizeof(*out))
        return ag_fail(err, AGENT_EINVAL, 0, "cache: engine and out (with its size) are needed");
    if ((rc = ag_engine_writable(e, "cache", err)) != AGENT_OK)
        return rc;
    ag_cache_stats(e->cache, &s);
    *out = (agent_front_stats){
        .size = out->size, .policy = s.policy, .budget_bytes = s.bytes, .held_bytes = (int64_t)s.held_bytes,
        .entries = (int64_t)s.total.entries, .gets = (int64_t)s.total.gets, .hits = (int64_t)s.total.hits,
        .loads = (int64_t)s.total.loads, .load_ns = (int64_t)s.total.load_ns,
        .invalidated = (int64_t)s.total.invalidated, .evictions = (int64_t)s.total.evictions,
        .changes_seen = (int64_t)s.changes_seen, .changes_explained = (int64_t)s.changes_explained,
        .estimate_half = s.estimate_half, .estimate_one = s.estimate_one, .estimate_twice = s.estimate_twice,
    };
    for (int i = 0; i < AGENT_CACHE_KINDS; i++) {
        const struct ag_cache_counts *c = &s.kinds[i];
        agent_front_kind *k = &out->kinds[i];

        *k = (agent_front_kind){
            .name = ag_cache_kind_names[i], .gets = (int64_t)c->gets, .hits = (int64_t)c->hits,
            .loads = (int64_t)c->loads, .load_ns = (int64_t)c->load_ns, .invalidated = (int64_t)c->invalidated,
            .evictions = (int64_t)c->evictions, .entries = (int64_t)c->entries, .bytes = (int64_t)c->entry_bytes,
        };
        memcpy(k->load_times, s.load_times[i], sizeof(k->load_times));
        memcpy(k->hit_times, s.hit_times[i], sizeof(k->hit_times));
    }
    return AGENT_OK;
}
