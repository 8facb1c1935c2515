/*
 * Reading the response cache, and the log of changes.
 *
 *     change:  … [id 41, mark] [42, mark] [43, mark] …       one row for each cached row that changed
 *                                   ▲ told up to here
 *
 * What is told is all there is where the row told last is still there with its mark (random, so that
 * a file restored from a copy is not taken for this one), the rows after it have no gap, and the
 * schema, with its triggers, is the same. No row at all is the whole story only where another engine
 * lives: its runs commit and change nothing that is cached. From anybody else it means that the log
 * was gone round, and everything is to be dropped.
 */
#include "storage/sqlite/impl.h"

static struct ag_str keep(ag_arena *a, const ag_query *q, int i, bool *ok)
{
    const void *p = sqlite3_column_blob(q->st, i);
    struct ag_str s = {p, (size_t)sqlite3_column_bytes(q->st, i)}, copy;

    if (p == NULL)
        s = AG_STR("");
    copy = ag_arena_str(a, s);
    if (copy.p == NULL)
        *ok = false;
    return copy;
}

agent_status ag_sq_cache_get(ag_reader *r, const unsigned char key[AG_CACHE_KEY_BYTES], ag_arena *a,
                             struct ag_cache_row *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct ag_cache_row found;
    bool row, ok = true;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_CACHE_READ);
    ag_query_blob(&q, key, AG_CACHE_KEY_BYTES);
    if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
        return rc;
    if (!row)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "the response cache has no such entry");
    found = (struct ag_cache_row){
        .agent_id = ag_col_int(&q, 0),
        .tokens = ag_col_known(&q, 1),
        .hits = ag_col_int(&q, 2),
        .created_at_ms = ag_col_int(&q, 3),
        .expires_at_ms = ag_col_int(&q, 4),
        .request = keep(a, &q, 5, &ok),
        .body = keep(a, &q, 6, &ok),
    };
    if (!ok)
        return ag_fail(err, AGENT_ENOMEM, 0, "read the response cache");
    *out = found;
    return AGENT_OK;
}

agent_status ag_sq_cache_totals(ag_reader *r, struct ag_cache_totals *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    bool row;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_CACHE_TOTALS);
    if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
        return rc;
    *out = (struct ag_cache_totals){
        .entries = ag_col_int(&q, 0),
        .bytes = ag_col_int(&q, 1),
        .hits = ag_col_int(&q, 2),
        .tokens_saved = ag_col_int(&q, 3),
        .limit_bytes = sqlite3_column_type(q.st, 4) == SQLITE_INTEGER ? ag_col_int(&q, 4) : AG_CACHE_LIMIT_BYTES,
    };
    return AGENT_OK;
}

/* --- changes --------------------------------------------------------------------------------------- */

static agent_status read_newest(struct ag_db *db, struct ag_changes *out, agent_error *err)
{
    bool row;
    agent_status rc;

    *out = (struct ag_changes){0};
    {
        AG_AUTO(ag_query) q = ag_query(db, AG_STMT_CHANGE_LAST);

        if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
            return rc;
        if (row) {
            out->id = ag_col_int(&q, 0);
            out->mark = ag_col_int(&q, 1);
        }
    }
    {
        AG_AUTO(ag_query) q = ag_query(db, AG_STMT_SCHEMA_VERSION);

        if ((rc = ag_query_row(&q, &row, err)) == AGENT_OK)
            out->schema_version = ag_col_int(&q, 0);
    }
    return rc;
}

agent_status ag_changes_begin(struct ag_sq_store *s, agent_error *err)
{
    return read_newest(&s->a, &s->changes, err);
}

static bool tell(const ag_query *q, ag_change_fn fn, void *ctx)
{
    static const struct {
        const char *word;
        enum ag_change_kind kind;
    } kinds[] = {
        {"version", AG_CHANGE_VERSION}, {"agents", AG_CHANGE_AGENTS},     {"memory", AG_CHANGE_MEMORY},
        {"tool", AG_CHANGE_TOOL},       {"response", AG_CHANGE_RESPONSE},
    };
    struct ag_str word = ag_col_str(q, 2);

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct ag_change change = {.kind = kinds[i].kind};

        if (!ag_str_is(word, kinds[i].word))
            continue;
        if (sqlite3_column_type(q->st, 3) == SQLITE_INTEGER)
            change.id = ag_col_int(q, 3);
        else
            change.key = (struct ag_str){sqlite3_column_blob(q->st, 3), (size_t)sqlite3_column_bytes(q->st, 3)};
        fn(ctx, &change);
        return true;
    }
    return false; /* written by hand */
}

/* Whether the row that was told last is where it was. */
static agent_status is_anchored(struct ag_db *db, const struct ag_changes *told, bool *out, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_CHANGE_MARK);
    bool row;
    agent_status rc;

    *out = false;
    ag_query_int(&q, told->id);
    if ((rc = ag_query_row(&q, &row, err)) == AGENT_OK)
        *out = row && told->id != 0 && ag_col_int(&q, 0) == told->mark;
    return rc;
}

static agent_status tell_from(struct ag_db *db, int64_t id, ag_change_fn fn, void *ctx, int64_t *out_count,
                              bool *out_whole, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_CHANGE_LIST);
    bool row;
    agent_status rc;

    *out_count = 0;
    ag_query_int(&q, id);
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row) {
        ++*out_count;
        if (ag_col_int(&q, 0) != id + *out_count || !tell(&q, fn, ctx))
            *out_whole = false;
    }
    return rc;
}

agent_status ag_sq_changes(ag_reader *r, ag_change_fn fn, void *ctx, bool *out_explained, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(r->store);
    struct ag_db *db = ag_reader_db(r);
    struct ag_changes now;
    int64_t count = 0;
    bool whole = false;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    if (sqlite3_txn_state(db->db, NULL) != SQLITE_TXN_NONE) { /* it stands on an older moment */
        *out_explained = false;
        return AGENT_OK;
    }
    {
        AG_AUTO(ag_query) begin = ag_query(db, AG_STMT_BEGIN_READ);

        if ((rc = ag_query_run(&begin, err)) != AGENT_OK)
            return rc;
    }
    if ((rc = read_newest(db, &now, err)) == AGENT_OK && now.schema_version == s->changes.schema_version &&
        (rc = is_anchored(db, &s->changes, &whole, err)) == AGENT_OK && whole)
        rc = tell_from(db, s->changes.id, fn, ctx, &count, &whole, err);
    {
        AG_AUTO(ag_query) end = ag_query(db, AG_STMT_COMMIT);

        (void)ag_query_run(&end, NULL);
    }
    if (rc != AGENT_OK)
        return rc;
    s->changes = now;
    /* Asking after owners needs their file, which is open once we are one: nobody opens it here. */
    if (count == 0 && (atomic_load(&s->owners.id) == 0 || !ag_owner_any_other(s)))
        whole = false;
    *out_explained = whole;
    return AGENT_OK;
}
