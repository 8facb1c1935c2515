/*
 * Reading a conversation. Texts are written once, so a message is put together here: a user's text
 * is its run's input, a tool's the result of its call (stmt.c, MESSAGE_COLUMNS).
 *
 *     tail: … u a │ u a t a │ u a t t a        from the newest backwards, until a limit
 *                 └─ begins at a user message: what is before it in the window is left out
 */
#include <stdlib.h>

#include "storage/sqlite/impl.h"
#include "storage/window.h"

struct gather {
    ag_arena *a;
    struct ag_message_list list;
    size_t room;
};

static struct ag_message *next_message(struct gather *g)
{
    if (g->list.count == g->room) {
        size_t wider = g->room == 0 ? 32 : g->room * 2;
        struct ag_message *at = ag_arena_alloc(g->a, wider * sizeof(*at));

        if (at == NULL)
            return NULL;
        if (g->list.count > 0)
            memcpy(at, g->list.at, g->list.count * sizeof(*at));
        g->list.at = at;
        g->room = wider;
    }
    return &g->list.at[g->list.count];
}

static agent_status take_message(struct gather *g, const ag_query *q, agent_error *err)
{
    struct ag_message *m = next_message(g);
    struct ag_str texts[5];
    int role = ag_role_parse(ag_col_str(q, 2));
    static const int columns[5] = {3, 4, 5, 6, 7}; /* text, calls, extra, tool, call id */

    if (role < 0)
        return ag_fail(err, AGENT_ESTORAGE, 0, "message %lld has a role that is none", (long long)ag_col_int(q, 0));
    for (int i = 0; i < 5; i++) {
        struct ag_str s = ag_col_str(q, columns[i]);

        texts[i] = ag_arena_str(g->a, s);
        if (s.p != NULL && texts[i].p == NULL)
            m = NULL;
    }
    if (m == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "read messages");
    *m = (struct ag_message){
        .seq = ag_col_int(q, 0) & AG_SEQ_MAX,
        .run_id = ag_col_int(q, 1),
        .role = (enum ag_role)role,
        .text = texts[0].p == NULL ? AG_STR("") : texts[0],
        .calls = texts[1],
        .extra = texts[2],
        .tool_name = texts[3],
        .call_id = texts[4],
        .tool_failed = role == AG_ROLE_TOOL && !ag_str_is(ag_col_str(q, 8), "succeeded"),
    };
    g->list.count++;
    return AGENT_OK;
}

agent_status ag_sq_messages(ag_reader *r, int64_t session_id, int64_t from_seq, ag_arena *a,
                            struct ag_message_list *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct gather g = {.a = a};
    bool row;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_MESSAGE_LIST);
    ag_query_int(&q, session_id << AG_SEQ_BITS | (from_seq > 0 ? from_seq : 0));
    ag_query_int(&q, session_id << AG_SEQ_BITS | AG_SEQ_MAX);
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row)
        if ((rc = take_message(&g, &q, err)) != AGENT_OK)
            return rc;
    if (rc == AGENT_OK)
        *out = g.list;
    return rc;
}

static size_t bytes_of(const ag_query *q)
{
    return (size_t)sqlite3_column_bytes(q->st, 3) + (size_t)sqlite3_column_bytes(q->st, 4) +
           (size_t)sqlite3_column_bytes(q->st, 5);
}

agent_status ag_sq_tail(ag_reader *r, int64_t session_id, int64_t before_seq, size_t max_messages, size_t max_bytes,
                        ag_arena *a, struct ag_message_list *out, agent_error *err)
{
    AG_AUTO(ag_query) q = AG_QUERY_INIT;
    struct gather g = {.a = a};
    struct ag_window w = {.max_messages = max_messages, .max_bytes = max_bytes};
    int64_t last = before_seq > 0 && before_seq <= AG_SEQ_MAX ? before_seq - 1 : AG_SEQ_MAX;
    bool row;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    q = ag_query(ag_reader_db(r), AG_STMT_MESSAGE_WALK);
    ag_query_int(&q, session_id << AG_SEQ_BITS);
    ag_query_int(&q, session_id << AG_SEQ_BITS | last);
    while ((rc = ag_query_row(&q, &row, err)) == AGENT_OK && row) {
        if (!ag_window_fits(&w, bytes_of(&q)))
            break;
        if ((rc = take_message(&g, &q, err)) != AGENT_OK)
            return rc;
        ag_window_take(&w, g.list.at[g.list.count - 1].role == AG_ROLE_USER);
    }
    if (rc != AGENT_OK)
        return rc;
    g.list.count = ag_window_count(&w);
    for (size_t i = 0, j = g.list.count; i + 1 < j; i++) { /* oldest first */
        struct ag_message m = g.list.at[i];

        g.list.at[i] = g.list.at[--j];
        g.list.at[j] = m;
    }
    *out = g.list;
    return AGENT_OK;
}

/* "#12", or a name within an agent. */
agent_status ag_sq_session_find(ag_reader *r, struct ag_str agent, struct ag_str spec, int64_t *out_id,
                                agent_error *err)
{
    struct ag_db *db = ag_reader_db(r);
    int64_t agent_id = 0, id = 0;
    bool row;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK)
        return rc;
    if (agent.n > 0) {
        AG_AUTO(ag_query) q = ag_query(db, AG_STMT_AGENT_FIND);

        ag_query_str(&q, agent);
        if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
            return rc;
        if (!row) {
            (void)ag_fail(err, AGENT_ENOTFOUND, 0, "agent '" AG_STR_FMT "'", AG_STR_ARG(agent));
            ag_hint(err, "see which there are: agentctl list agents");
            return AGENT_ENOTFOUND;
        }
        agent_id = ag_col_int(&q, 0);
    }
    if (spec.n > 1 && spec.p[0] == '#') {
        AG_AUTO(ag_query) q = ag_query(db, AG_STMT_SESSION_BY_ID);
        bool number = true;

        for (size_t i = 1; i < spec.n; i++) {
            number = number && spec.p[i] >= '0' && spec.p[i] <= '9' && i < 18;
            id = number ? id * 10 + (spec.p[i] - '0') : 0;
        }
        ag_query_int(&q, id);
        if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
            return rc;
        if (!row || (agent_id != 0 && ag_col_int(&q, 0) != agent_id))
            id = 0;
    } else {
        AG_AUTO(ag_query) q = ag_query(db, AG_STMT_SESSION_BY_NAME);

        ag_query_int(&q, agent_id);
        ag_query_str(&q, spec);
        if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
            return rc;
        id = row ? ag_col_int(&q, 0) : 0;
    }
    if (id == 0) {
        (void)ag_fail(err, AGENT_ENOTFOUND, 0, "session '" AG_STR_FMT "'%s" AG_STR_FMT "%s", AG_STR_ARG(spec),
                      agent.n > 0 ? " of agent '" : "", AG_STR_ARG(agent), agent.n > 0 ? "'" : "");
        ag_hint(err, "see which there are: agentctl list sessions");
        return AGENT_ENOTFOUND;
    }
    *out_id = id;
    return AGENT_OK;
}
