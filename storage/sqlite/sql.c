/*
 * SQL of the user's, which only reads. SQLite says of each statement whether it writes; what that
 * answer leaves out (ATTACH, PRAGMAs that set something, ends of transactions) the authorizer
 * refuses while the statement is compiled.
 */
#include <ctype.h>
#include <strings.h>

#include "storage/sqlite/impl.h"

/* Answers only, and those that take a name to answer about. */
static const char *const pragmas[] = {
    "application_id",   "auto_vacuum",      "cache_size",     "collation_list",   "compile_options",
    "data_version",     "database_list",    "encoding",       "foreign_key_check", "foreign_key_list",
    "foreign_keys",     "freelist_count",   "function_list",  "index_info",       "index_list",
    "index_xinfo",      "integrity_check",  "journal_mode",   "journal_size_limit", "max_page_count",
    "mmap_size",        "module_list",      "page_count",     "page_size",        "pragma_list",
    "quick_check",      "schema_version",   "synchronous",    "table_info",       "table_list",
    "table_xinfo",      "user_version",     "wal_autocheckpoint",
};
/* Of those, with an argument too: it names a table or bounds the answer, it sets nothing. */
static const char *const with_argument[] = {
    "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo", "integrity_check",
    "quick_check",       "table_info",       "table_list", "table_xinfo",
};

static bool listed(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(name, list[i]) == 0)
            return true;
    return false;
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *schema, const char *trigger)
{
    (void)ctx;
    (void)schema;
    (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return b != NULL && strcasecmp(b, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA:
        if (a == NULL)
            return SQLITE_DENY;
        return b == NULL ? (listed(a, pragmas, sizeof(pragmas) / sizeof(pragmas[0])) ? SQLITE_OK : SQLITE_DENY)
                         : (listed(a, with_argument, sizeof(with_argument) / sizeof(with_argument[0])) ? SQLITE_OK
                                                                                                      : SQLITE_DENY);
    default:
        return SQLITE_DENY;
    }
}

static agent_status not_reading(agent_error *err, const char *sql, int code)
{
    (void)ag_fail(err, AGENT_EINVAL, code, "sql: \"%.80s\" does not only read", sql);
    ag_hint(err, "here nothing is written; to change the file by hand use sqlite3 while no engine runs");
    return AGENT_EINVAL;
}

static agent_status run_one(struct ag_db *db, const char *sql, const char **out_rest, agent_row_fn fn, void *ctx,
                            bool *out_stopped, agent_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->db, sql, -1, &st, out_rest);
    agent_status status = AGENT_OK;

    if (rc == SQLITE_AUTH)
        return not_reading(err, sql, rc);
    if (rc != SQLITE_OK) {
        if ((rc & 0xff) == SQLITE_ERROR)
            return ag_fail(err, AGENT_EINVAL, rc, "sql: %s", sqlite3_errmsg(db->db));
        return ag_db_fail(db, err);
    }
    if (st == NULL)
        return AGENT_OK; /* a comment, an empty statement */
    if (sqlite3_stmt_readonly(st) == 0)
        status = not_reading(err, sql, 0);
    else
        status = ag_rows(db, st, fn, ctx, out_stopped, err);
    (void)sqlite3_finalize(st);
    return status;
}

agent_status ag_sq_sql(ag_reader *r, const char *sql, agent_row_fn fn, void *ctx, agent_error *err)
{
    struct ag_db *db = ag_reader_db(r);
    sqlite3_stmt *first = NULL;
    bool stopped = false;
    agent_status rc = AGENT_OK;

    /* The first use of a table-valued function on a connection declares its columns, which the
     * authorizer would take for a CREATE TABLE. */
    if (sqlite3_prepare_v2(db->db, "SELECT 1 FROM json_each('[]'), json_tree('[]')", -1, &first, NULL) == SQLITE_OK)
        (void)sqlite3_finalize(first);
    (void)sqlite3_set_authorizer(db->db, authorize, NULL);
    while (rc == AGENT_OK && !stopped) {
        while (isspace((unsigned char)*sql) || *sql == ';')
            sql++;
        if (*sql == '\0')
            break;
        rc = run_one(db, sql, &sql, fn, ctx, &stopped, err);
    }
    (void)sqlite3_set_authorizer(db->db, NULL, NULL);
    return rc;
}
