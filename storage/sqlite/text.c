/*
 * Long texts that repeat (instructions, tool results) are stored once, under their SHA-256. The
 * hash comes from libcrypto, loaded when the first long text is written: most runs never need it.
 * Where it is missing, texts are stored in place: only the saving is lost.
 */
#include "engine/base/sha256.h"
#include "storage/sqlite/impl.h"

agent_status ag_text_put(struct ag_sq_store *s, struct ag_str text, struct ag_str *out_inline, int64_t *out_id,
                         agent_error *err)
{
    unsigned char hash[32];
    bool row;
    agent_status rc;

    *out_inline = text;
    *out_id = 0;
    if (text.p == NULL || text.n < AG_BIG_TEXT_BYTES || !ag_sha256(text, hash))
        return AGENT_OK;
    {
        AG_AUTO(ag_query) find = ag_query(&s->a, AG_STMT_TEXT_FIND);

        ag_query_blob(&find, hash, sizeof(hash));
        if ((rc = ag_query_row(&find, &row, err)) != AGENT_OK)
            return rc;
        if (row)
            *out_id = ag_col_int(&find, 0);
    }
    if (*out_id == 0) {
        AG_AUTO(ag_query) insert = ag_query(&s->a, AG_STMT_TEXT_INSERT);

        ag_query_blob(&insert, hash, sizeof(hash));
        ag_query_str(&insert, text);
        if ((rc = ag_query_run(&insert, err)) != AGENT_OK)
            return rc;
        *out_id = sqlite3_last_insert_rowid(s->a.db);
    }
    *out_inline = AG_STR_NONE;
    return AGENT_OK;
}
