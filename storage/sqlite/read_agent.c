/* Reading agents, tools and memories. What is returned is copied into the caller's arena. */
#include "storage/sqlite/impl.h"

agent_status ag_reader_schema(ag_reader *r, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(r->store);

    if (s->file_version == 0)
        return AGENT_OK;
    (void)ag_fail(err, AGENT_ESCHEMA, 0, "database '%s' has schema %d, this library knows up to %d", s->path,
                  s->file_version, ag_migration_count);
    ag_hint(err, "use a newer agentctl, or read it with SQL: agentctl sql 'select …'");
    return AGENT_ESCHEMA;
}

/* A copy of a column; *ok becomes false where memory ran out. */
static struct ag_str keep(ag_arena *a, const ag_query *q, int i, bool *ok)
{
    struct ag_str s = ag_col_str(q, i), copy = ag_arena_str(a, s);

    if (s.p != NULL && copy.p == NULL)
        *ok = false;
    return copy;
}

static agent_status no_memory(agent_error *err, const char *what)
{
    return ag_fail(err, AGENT_ENOMEM, 0, "%s", what);
}

agent_status ag_sq_agent(ag_reader *r, struct ag_str name, int64_t version_id, ag_arena *a, struct ag_agent_rec *out,
                         agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct ag_agent_rec rec = {.version_id = 0};
    bool row, ok = true;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), version_id != 0 ? AG_STMT_VERSION_READ : AG_STMT_AGENT_NEWEST);
    if (version_id != 0)
        ag_query_int(&q, version_id);
    else
        ag_query_str(&q, name);
    if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
        return rc;
    if (!row) {
        if (version_id != 0)
            return ag_fail(err, AGENT_ENOTFOUND, 0, "agent version #%lld", (long long)version_id);
        (void)ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "'", AG_STR_ARG(name));
        ag_hint(err, "see which there are: agentctl list agents");
        return AGENT_ENOTFOUND;
    }
    rec.agent_id = ag_col_int(&q, 0);
    rec.version_id = ag_col_int(&q, 1);
    rec.version = ag_col_int(&q, 2);
    rec.spec = (struct ag_agent_spec){
        .provider = keep(a, &q, 3, &ok),
        .model = keep(a, &q, 4, &ok),
        .instructions = keep(a, &q, 5, &ok),
        .tools = keep(a, &q, 6, &ok),
        .options = keep(a, &q, 7, &ok),
        .base_url = keep(a, &q, 8, &ok),
        .key_env = keep(a, &q, 9, &ok),
        .max_steps = (int)ag_col_int(&q, 10),
        .name = keep(a, &q, 11, &ok),
    };
    if (!ok)
        return no_memory(err, "read agent");
    *out = rec;
    return AGENT_OK;
}

agent_status ag_sq_tool(ag_reader *r, struct ag_str name, ag_arena *a, struct ag_tool_rec *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct ag_tool_rec rec;
    int effect;
    bool row, ok = true;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_TOOL_READ);
    ag_query_str(&q, name);
    if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
        return rc;
    if (!row)
        return ag_fail(err, AGENT_ENOTFOUND, 0, "tool '" AG_STR_FMT "'", AG_STR_ARG(name));
    if ((effect = ag_effect_parse(ag_col_str(&q, 4))) < 0)
        return ag_fail(err, AGENT_ESTORAGE, 0, "tool '" AG_STR_FMT "' has an effect that is none", AG_STR_ARG(name));
    rec = (struct ag_tool_rec){
        .name = keep(a, &q, 0, &ok),
        .description = keep(a, &q, 1, &ok),
        .argv = keep(a, &q, 2, &ok),
        .schema = keep(a, &q, 3, &ok),
        .effect = (enum agent_effect)effect,
        .timeout_ms = ag_col_int(&q, 5),
        .max_output_bytes = ag_col_int(&q, 6),
    };
    if (!ok)
        return no_memory(err, "read tool");
    *out = rec;
    return AGENT_OK;
}

/* --- memories ------------------------------------------------------------------------------------- */

/* Grows by doubling; what it leaves behind in the arena is at most as much again. */
static struct ag_memory *next_memory(ag_arena *a, struct ag_memory_list *list, size_t *room)
{
    if (list->count == *room) {
        size_t wider = *room == 0 ? 16 : *room * 2;
        struct ag_memory *at = ag_arena_alloc(a, wider * sizeof(*at));

        if (at == NULL)
            return NULL;
        if (list->count > 0)
            memcpy(at, list->at, list->count * sizeof(*at));
        list->at = at;
        *room = wider;
    }
    return &list->at[list->count];
}

/* Rows of id, scope, key, text, until one of the limits. */
static agent_status take_memories(ag_query *q, size_t max_count, size_t max_bytes, ag_arena *a,
                                  struct ag_memory_list *list, agent_error *err)
{
    size_t room = 0, bytes = 0;
    bool row, ok = true;
    agent_status rc = AGENT_OK;

    while (list->count < max_count && (rc = ag_query_row(q, &row, err)) == AGENT_OK && row) {
        struct ag_memory *m = next_memory(a, list, &room);

        bytes += (size_t)sqlite3_column_bytes(q->st, 2) + (size_t)sqlite3_column_bytes(q->st, 3);
        if (bytes > max_bytes)
            break;
        if (m == NULL)
            return no_memory(err, "read memories");
        *m = (struct ag_memory){.id = ag_col_int(q, 0), .scope = keep(a, q, 1, &ok), .key = keep(a, q, 2, &ok),
                                .text = keep(a, q, 3, &ok)};
        if (!ok)
            return no_memory(err, "read memories");
        list->count++;
    }
    return rc;
}

agent_status ag_sq_memories(ag_reader *r, int64_t agent_id, size_t max_count, size_t max_bytes, ag_arena *a,
                            struct ag_memory_list *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct ag_memory_list list = {NULL, 0};
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_MEMORY_NEWEST);
    ag_query_int(&q, agent_id);
    if ((rc = take_memories(&q, max_count, max_bytes, a, &list, err)) != AGENT_OK)
        return rc;
    for (size_t i = 0, j = list.count; i + 1 < j; i++) { /* newest last */
        struct ag_memory m = list.at[i];

        list.at[i] = list.at[--j];
        list.at[j] = m;
    }
    *out = list;
    return AGENT_OK;
}

agent_status ag_sq_memory_search(ag_reader *r, int64_t agent_id, struct ag_str query, size_t max_count, ag_arena *a,
                                 struct ag_memory_list *out, agent_error *err)
{
    static const char *const joints[] = {" ", " OR "}; /* all words; else some */
    struct ag_memory_list list = {NULL, 0};
    agent_status rc = ag_reader_schema(r, err);

    for (int i = 0; i < 2 && rc == AGENT_OK && list.count == 0; i++) {
        char *match = ag_fts_query(query, joints[i], a);
        AG_AUTO(ag_query) q = AG_QUERY_INIT;

        if (match == NULL)
            return no_memory(err, "search memories");
        if (match[0] == '\0')
            break; /* no word in it: nothing can match */
        q = ag_query(ag_reader_db(r), AG_STMT_MEMORY_SEARCH);
        ag_query_word(&q, match);
        ag_query_int(&q, agent_id);
        ag_query_int(&q, max_count > INT64_MAX ? INT64_MAX : (int64_t)max_count);
        rc = take_memories(&q, max_count, SIZE_MAX, a, &list, err);
    }
    if (rc == AGENT_OK)
        *out = list;
    return rc;
}

/* Every run of letters and digits (ASCII, or any byte of a longer character) is a word, quoted, so
 * no text is a syntax error. FTS5 then splits and folds it as it did the texts. */
char *ag_fts_query(struct ag_str text, const char *joint, ag_arena *a)
{
    size_t joint_bytes = strlen(joint);
    char *out = ag_arena_alloc(a, text.n * (3 + joint_bytes) + 4), *to = out;
    bool in_word = false;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool letter = c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (letter && !in_word) {
            if (to != out) {
                memcpy(to, joint, joint_bytes);
                to += joint_bytes;
            }
            *to++ = '"';
        } else if (!letter && in_word) {
            *to++ = '"';
        }
        if (letter)
            *to++ = (char)c;
        in_word = letter;
    }
    if (in_word)
        *to++ = '"';
    *to = '\0';
    return out;
}
