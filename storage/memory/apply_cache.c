/*
 * The response cache in memory: the same rules as the file's (storage/sqlite/apply_cache.c). What
 * goes first is found by looking at every entry: this store is for tests and throw-aways.
 */
#include <inttypes.h>

#include "storage/memory/ram.h"

#define FREQUENT 16
#define ROW_LOG  512 /* bytes of log that removing one entry takes */

static uint32_t hash_of(const struct ag_ram *m, const unsigned char *key)
{
    return ag_ram_name_hash(m, NULL, (struct ag_str){(const char *)key, AG_CACHE_KEY_BYTES});
}

struct ag_ram_answer *ag_ram_answer_find(struct ag_ram *m, const unsigned char *key)
{
    uint32_t hash = hash_of(m, key);
    struct ag_ram_at at;
    struct ag_ram_answer *a = ag_ram_map_first(&m->answer_keys, hash, &at);

    while (a != NULL && memcmp(a->key, key, AG_CACHE_KEY_BYTES) != 0)
        a = ag_ram_map_next(&m->answer_keys, hash, &at);
    return a;
}

bool ag_ram_answer_rm(struct ag_ram *m, struct ag_ram_answer *a)
{
    if (!ag_ram_reserve(m, ROW_LOG))
        return false;
    AG_RAM_SAVE(m, &m->answer_book);
    m->answer_book.bytes -= a->bytes;
    ag_ram_del(m, &m->answer_keys, hash_of(m, a->key), a);
    ag_ram_text_unref(m, a->model);
    ag_ram_text_unref(m, a->request);
    ag_ram_text_unref(m, a->body);
    ag_ram_row_dead(m, &m->answers, a->id);
    return true;
}

static int64_t used_at(const struct ag_ram_answer *a)
{
    return a->last_hit_at_ms != 0 ? a->last_hit_at_ms : a->created_at_ms;
}

static bool goes_before(const struct ag_ram_answer *a, const struct ag_ram_answer *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    if (used_at(a) != used_at(b))
        return used_at(a) < used_at(b);
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->id < b->id;
}

/* What has expired first, then the lowest rank. NULL: there is none. */
static struct ag_ram_answer *next_out(struct ag_ram *m, int64_t now_ms, bool *out_expired)
{
    struct ag_ram_answer *lowest = NULL, *oldest = NULL;

    for (int64_t id = 0; (id = ag_ram_table_after(&m->answers, id)) != 0;) {
        struct ag_ram_answer *a = ag_ram_table_at(&m->answers, id);

        if (a->expires_at_ms != 0 && a->expires_at_ms <= now_ms &&
            (oldest == NULL || a->expires_at_ms < oldest->expires_at_ms))
            oldest = a;
        if (lowest == NULL || goes_before(a, lowest))
            lowest = a;
    }
    *out_expired = oldest != NULL;
    return oldest != NULL ? oldest : lowest;
}

static bool make_room(struct ag_ram *m, int64_t wanted, int64_t now_ms, int64_t *out_evicted)
{
    struct ag_ram_answer *a;
    bool expired;

    *out_evicted = 0;
    while (m->answer_book.bytes + wanted > m->answer_book.limit && (a = next_out(m, now_ms, &expired)) != NULL) {
        int64_t rank = a->rank;

        if (!ag_ram_answer_rm(m, a))
            return false;
        if (!expired && rank > m->answer_book.clock)
            m->answer_book.clock = rank; /* saved by the removal */
        ++*out_evicted;
    }
    return true;
}

agent_status ag_ram_cache_put(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_cache_put *put = &op->cache_put;
    int64_t bytes = (int64_t)(put->body.n + put->request.n + put->model.n) + AG_CACHE_ENTRY_BYTES, evicted, id;
    int64_t worth = (put->tokens >= 0 ? put->tokens : bytes / 4) * 1000 / bytes;
    struct ag_ram_answer *a = ag_ram_answer_find(m, put->key);

    put->out_kept = false;
    if (a != NULL && !ag_ram_answer_rm(m, a))
        return ag_ram_nomem(err);
    if (bytes > m->answer_book.limit / AG_CACHE_BIGGEST)
        return AGENT_OK;
    if (!make_room(m, bytes, unit->now_ms, &evicted) || !ag_ram_reserve(m, AG_RAM_OP_LOG) ||
        (a = ag_ram_row_new(m, &m->answers, &id)) == NULL)
        return ag_ram_nomem(err);
    *a = (struct ag_ram_answer){
        .id = id, .agent_id = put->agent_id, .bytes = bytes, .tokens = put->tokens,
        .rank = m->answer_book.clock + (worth > 1 ? worth : 1), .created_at_ms = unit->now_ms,
        .expires_at_ms = put->expires_at_ms,
    };
    memcpy(a->key, put->key, AG_CACHE_KEY_BYTES);
    if (!ag_ram_text(m, put->model, &a->model) || !ag_ram_text(m, put->request, &a->request) ||
        !ag_ram_text(m, put->body, &a->body) || !ag_ram_put(m, &m->answer_keys, hash_of(m, a->key), a))
        return ag_ram_nomem(err);
    AG_RAM_SAVE(m, &m->answer_book);
    m->answer_book.bytes += bytes;
    put->out_kept = true;
    return AGENT_OK;
}

agent_status ag_ram_cache_hits(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_cache_hits *hits = &op->cache_hits;

    for (size_t i = 0; i < hits->count; i++) {
        struct ag_ram_answer *a = ag_ram_answer_find(m, hits->keys[i]);
        int64_t worth;

        if (a == NULL)
            continue;
        if (!ag_ram_reserve(m, ROW_LOG))
            return ag_ram_nomem(err);
        AG_RAM_SAVE(m, a);
        worth = (a->tokens >= 0 ? a->tokens : a->bytes / 4) * 1000 / a->bytes;
        a->rank = m->answer_book.clock +
                  (worth > 1 ? worth : 1) * (a->hits + 2 < FREQUENT ? a->hits + 2 : FREQUENT);
        a->hits++;
        if (unit->now_ms > a->last_hit_at_ms)
            a->last_hit_at_ms = unit->now_ms;
    }
    return AGENT_OK;
}

agent_status ag_ram_cache_rm(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    struct ag_op_cache_rm *rm = &op->cache_rm;
    struct ag_ram_answer *a;

    (void)unit;
    rm->out_count = 0;
    if (rm->all) {
        for (int64_t id = 0; (id = ag_ram_table_after(&m->answers, id)) != 0; rm->out_count++)
            if (!ag_ram_answer_rm(m, ag_ram_table_at(&m->answers, id)))
                return ag_ram_nomem(err);
        return AGENT_OK;
    }
    if (rm->range) {
        for (int64_t id = 0; (id = ag_ram_table_after(&m->answers, id)) != 0;) {
            a = ag_ram_table_at(&m->answers, id);
            if (memcmp(a->key, rm->key, sizeof(rm->key)) < 0 || memcmp(a->key, rm->last, sizeof(rm->last)) > 0)
                continue;
            if (!ag_ram_answer_rm(m, a))
                return ag_ram_nomem(err);
            rm->out_count++;
        }
        return AGENT_OK;
    }
    if ((a = ag_ram_answer_find(m, rm->key)) == NULL)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "the response cache has no such entry");
    if (!ag_ram_answer_rm(m, a))
        return ag_ram_nomem(err);
    rm->out_count = 1;
    return AGENT_OK;
}

/* There is one owner, and a lease is always its own. */
agent_status ag_ram_cache_lease(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    (void)m;
    (void)unit;
    (void)err;
    op->cache_lease.out_taken = !op->cache_lease.release;
    op->cache_lease.out_until_ms = op->cache_lease.release ? 0 : op->cache_lease.until_ms;
    return AGENT_OK;
}

agent_status ag_ram_cache_resize(struct ag_ram *m, ag_unit *unit, struct ag_op *op, agent_error *err)
{
    op->cache_resize.out_evicted = 0;
    if (op->cache_resize.bytes < 0)
        return ag_fail(err, AGENT_EINVAL, 0, "response cache of %" PRId64 " bytes", op->cache_resize.bytes);
    AG_RAM_SAVE(m, &m->answer_book);
    m->answer_book.limit = op->cache_resize.bytes;
    return make_room(m, 0, unit->now_ms, &op->cache_resize.out_evicted) ? AGENT_OK : ag_ram_nomem(err);
}

agent_status ag_ram_read_cache_get(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a,
                                   struct ag_cache_row *out, agent_error *err)
{
    struct ag_ram *m = (struct ag_ram *)r->store;
    const struct ag_ram_answer *found;
    struct ag_cache_row row;

    (void)pthread_mutex_lock(&m->lock);
    if ((found = ag_ram_answer_find(m, key)) == NULL) {
        (void)pthread_mutex_unlock(&m->lock);
        return ag_fail(err, AGENT_ENOTFOUND, 0, "the response cache has no such entry");
    }
    row = (struct ag_cache_row){
        .agent_id = found->agent_id, .tokens = found->tokens, .hits = found->hits,
        .created_at_ms = found->created_at_ms, .expires_at_ms = found->expires_at_ms,
        .request = ag_arena_str(a, ag_ram_str(found->request)), .body = ag_arena_str(a, ag_ram_str(found->body)),
    };
    (void)pthread_mutex_unlock(&m->lock);
    if (row.request.p == NULL || row.body.p == NULL)
        return ag_ram_nomem(err);
    *out = row;
    return AGENT_OK;
}

agent_status ag_ram_read_cache_totals(ag_reader *r, struct ag_cache_totals *out, agent_error *err)
{
    struct ag_ram *m = (struct ag_ram *)r->store;
    struct ag_cache_totals totals = {0};

    (void)err;
    (void)pthread_mutex_lock(&m->lock);
    totals.limit_bytes = m->answer_book.limit;
    totals.bytes = m->answer_book.bytes;
    totals.entries = m->answers.count;
    for (int64_t id = 0; (id = ag_ram_table_after(&m->answers, id)) != 0;) {
        const struct ag_ram_answer *a = ag_ram_table_at(&m->answers, id);

        totals.hits += a->hits;
        totals.tokens_saved += a->tokens > 0 ? a->tokens * a->hits : 0;
    }
    (void)pthread_mutex_unlock(&m->lock);
    *out = totals;
    return AGENT_OK;
}

/* Nobody else writes here. */
agent_status ag_ram_read_changes(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained, agent_error *err)
{
    (void)r;
    (void)fn;
    (void)ctx;
    (void)err;
    *out_explained = true;
    return AGENT_OK;
}
