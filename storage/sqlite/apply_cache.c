/*
 * The response cache in the file: entries under a limit of bytes, and leases.
 *
 *     rank = clock when last asked for + tokens saved by 1000 bytes x times asked for (at most 16)
 *
 *     over the limit: what has expired goes, then the lowest rank; the clock is the rank of the last
 *     one that went, so what is not asked for any more falls behind whatever it was once worth
 *
 * Invariants, cited by number:
 *  (1) After a unit with a put the entries' bytes are at most the limit: room is made in the same
 *      transaction, so a crash leaves neither more nor a half.
 *  (2) meta's cache_bytes is their sum, kept by triggers; after an edit by hand that they cannot
 *      count it is NULL, and counted here.
 */
#include "storage/sqlite/impl.h"

#define FREQUENT 16

struct book {
    int64_t limit, bytes, clock;
};

static agent_status meta_put(struct ag_sq_store *s, ag_unit *u, const char *key, int64_t value)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_META_PUT);

    ag_query_word(&q, key);
    ag_query_int(&q, value);
    return ag_query_run(&q, &u->error);
}

static agent_status book_open(struct ag_sq_store *s, ag_unit *u, struct book *out)
{
    bool row, counted;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_META);

        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        out->limit = sqlite3_column_type(q.st, 0) == SQLITE_INTEGER ? ag_col_int(&q, 0) : AG_CACHE_LIMIT_BYTES;
        counted = sqlite3_column_type(q.st, 1) == SQLITE_INTEGER;
        out->bytes = ag_col_int(&q, 1);
        out->clock = ag_col_int(&q, 2);
    }
    if (!counted) { /* (2) */
        AG_AUTO(ag_query) sum = ag_query(&s->a, AG_STMT_CACHE_SUM);

        if ((rc = ag_query_row(&sum, &row, &u->error)) != AGENT_OK)
            return rc;
        out->bytes = ag_col_int(&sum, 0);
        rc = meta_put(s, u, "cache_bytes", out->bytes);
    }
    return rc;
}

/* The next to go; *out_id 0: there is none. */
static agent_status next_out(struct ag_sq_store *s, ag_unit *u, enum ag_stmt which, int64_t *out_id,
                             int64_t *out_bytes, int64_t *out_rank)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, which);
    bool row;
    agent_status rc;

    *out_id = 0;
    if (which == AG_STMT_CACHE_EXPIRED)
        ag_query_int(&q, u->now_ms);
    if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK || !row)
        return rc;
    *out_id = ag_col_int(&q, 0);
    *out_bytes = ag_col_int(&q, 1);
    *out_rank = ag_col_int(&q, 2);
    return AGENT_OK;
}

/* Until `wanted` more fit in. */
static agent_status make_room(struct ag_sq_store *s, ag_unit *u, struct book *book, int64_t wanted,
                              int64_t *out_evicted)
{
    int64_t id, bytes, rank, clock = book->clock, count = 0;
    agent_status rc = AGENT_OK;

    while (book->bytes + wanted > book->limit) {
        bool expired = true;

        if ((rc = next_out(s, u, AG_STMT_CACHE_EXPIRED, &id, &bytes, &rank)) != AGENT_OK)
            return rc;
        if (id == 0) {
            expired = false;
            if ((rc = next_out(s, u, AG_STMT_CACHE_LOWEST, &id, &bytes, &rank)) != AGENT_OK)
                return rc;
        }
        if (id == 0)
            break;
        {
            AG_AUTO(ag_query) del = ag_query(&s->a, AG_STMT_CACHE_DELETE_ID);

            ag_query_int(&del, id);
            if ((rc = ag_query_run(&del, &u->error)) != AGENT_OK)
                return rc;
        }
        book->bytes -= bytes;
        if (!expired && rank > clock)
            clock = rank;
        count++;
    }
    if (clock != book->clock) {
        book->clock = clock;
        rc = meta_put(s, u, "cache_clock", clock);
    }
    *out_evicted = count;
    return rc;
}

static agent_status delete_key(struct ag_sq_store *s, ag_unit *u, const unsigned char *key, bool *out_was_there)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_DELETE);
    agent_status rc;

    ag_query_blob(&q, key, AG_CACHE_KEY_BYTES);
    rc = ag_query_run(&q, &u->error);
    *out_was_there = rc == AGENT_OK && sqlite3_changes64(s->a.db) > 0;
    return rc;
}

static agent_status give_back_lease(struct ag_sq_store *s, ag_unit *u, const unsigned char *key)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_LEASE_DELETE);

    ag_query_blob(&q, key, AG_CACHE_KEY_BYTES);
    ag_query_int(&q, atomic_load(&s->owners.id));
    return ag_query_run(&q, &u->error);
}

agent_status ag_apply_cache_put(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_put *op)
{
    int64_t bytes = (int64_t)(op->body.n + op->request.n + op->model.n) + AG_CACHE_ENTRY_BYTES, evicted;
    int64_t worth = (op->tokens >= 0 ? op->tokens : bytes / 4) * 1000 / bytes;
    struct book book;
    bool was_there;
    agent_status rc;

    op->out_kept = false;
    if ((rc = give_back_lease(s, u, op->key)) != AGENT_OK || (rc = delete_key(s, u, op->key, &was_there)) != AGENT_OK ||
        (rc = book_open(s, u, &book)) != AGENT_OK || bytes > book.limit / AG_CACHE_BIGGEST ||
        (rc = make_room(s, u, &book, bytes, &evicted)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_INSERT);

        ag_query_blob(&q, op->key, AG_CACHE_KEY_BYTES);
        ag_query_id(&q, op->agent_id);
        ag_query_str(&q, op->model);
        ag_query_int(&q, bytes);
        ag_query_known(&q, op->tokens);
        ag_query_int(&q, book.clock + (worth > 1 ? worth : 1));
        ag_query_int(&q, u->now_ms);
        ag_query_id(&q, op->expires_at_ms);
        ag_query_blob(&q, op->request.p, op->request.n);
        ag_query_str(&q, op->body);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    op->out_kept = true;
    return AGENT_OK;
}

agent_status ag_apply_cache_hits(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_hits *op)
{
    int64_t clock = 0;
    bool row;
    agent_status rc;

    {
        AG_AUTO(ag_query) meta = ag_query(&s->a, AG_STMT_CACHE_META);

        if ((rc = ag_query_row(&meta, &row, &u->error)) != AGENT_OK)
            return rc;
        clock = ag_col_int(&meta, 2);
    }
    for (size_t i = 0; i < op->count; i++) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_HIT);

        ag_query_blob(&q, op->keys[i], AG_CACHE_KEY_BYTES);
        ag_query_int(&q, u->now_ms);
        ag_query_int(&q, clock);
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    return AGENT_OK;
}

agent_status ag_apply_cache_rm(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_rm *op)
{
    bool was_there;
    agent_status rc;

    op->out_count = 0;
    if (op->all) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_CLEAR);

        if ((rc = ag_query_run(&q, &u->error)) == AGENT_OK)
            op->out_count = sqlite3_changes64(s->a.db);
        return rc;
    }
    if (op->range) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CACHE_DELETE_RANGE);

        ag_query_blob(&q, op->key, AG_CACHE_KEY_BYTES);
        ag_query_blob(&q, op->last, AG_CACHE_KEY_BYTES);
        if ((rc = ag_query_run(&q, &u->error)) == AGENT_OK)
            op->out_count = sqlite3_changes64(s->a.db);
        return rc;
    }
    if ((rc = delete_key(s, u, op->key, &was_there)) != AGENT_OK)
        return rc;
    if (!was_there)
        return ag_fail(&u->error, AGENT_ENOTFOUND, 0, "the response cache has no such entry");
    op->out_count = 1;
    return AGENT_OK;
}

agent_status ag_apply_cache_lease(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_lease *op)
{
    int64_t owner = 0, until = 0, ours;
    bool row;
    agent_status rc;

    op->out_taken = false;
    op->out_until_ms = 0;
    if (op->release)
        return give_back_lease(s, u, op->key);
    if ((rc = ag_owner_need(s, u, &ours)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_LEASE_READ);

        ag_query_blob(&q, op->key, AG_CACHE_KEY_BYTES);
        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        if (row) {
            owner = ag_col_int(&q, 0);
            until = ag_col_int(&q, 1);
        }
    }
    if (owner != 0 && owner != ours && until > u->now_ms && ag_owner_alive(s, owner)) {
        op->out_until_ms = until;
        return AGENT_OK;
    }
    {
        AG_AUTO(ag_query) forget = ag_query(&s->a, AG_STMT_LEASE_FORGET);

        ag_query_int(&forget, u->now_ms);
        if ((rc = ag_query_run(&forget, &u->error)) != AGENT_OK)
            return rc;
    }
    {
        AG_AUTO(ag_query) put = ag_query(&s->a, AG_STMT_LEASE_PUT);

        ag_query_blob(&put, op->key, AG_CACHE_KEY_BYTES);
        ag_query_int(&put, ours);
        ag_query_int(&put, op->until_ms);
        rc = ag_query_run(&put, &u->error);
    }
    op->out_taken = rc == AGENT_OK;
    op->out_until_ms = op->until_ms;
    return rc;
}

agent_status ag_apply_cache_resize(struct ag_sq_store *s, ag_unit *u, struct ag_op_cache_resize *op)
{
    struct book book;
    agent_status rc;

    op->out_evicted = 0;
    if (op->bytes < 0)
        return ag_fail(&u->error, AGENT_EINVAL, 0, "response cache of %lld bytes", (long long)op->bytes);
    if ((rc = meta_put(s, u, "cache_limit", op->bytes)) != AGENT_OK || (rc = book_open(s, u, &book)) != AGENT_OK)
        return rc;
    return make_room(s, u, &book, 0, &op->out_evicted);
}
