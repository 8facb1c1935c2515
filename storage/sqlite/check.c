/*
 * Is the file sound? SQLite's own checks first, then what we promise about the rows. Each row of
 * the table is one promise and a query for its breaches: no rows, no breach. One finding a line.
 */
#include <stdio.h>

#include "storage/sqlite/impl.h"

static const struct invariant {
    const char *breach; /* what is told, before the row's one text */
    const char *sql;
} invariants[] = {
    {"session's messages are not numbered 1, 2, 3 …",
     "SELECT 'session ' || (id >> 24) || ' has ' || count(*) || ' messages up to number ' || max(id & 16777215)"
     "  FROM message GROUP BY id >> 24 HAVING max(id & 16777215) <> count(*) OR min(id & 16777215) <> 1"},
    {"message without its session", "SELECT 'message ' || (id & 16777215) || ' of session ' || (id >> 24) FROM message"
                                    " WHERE id >> 24 NOT IN (SELECT s.id FROM session s)"},
    {"message without its run", "SELECT 'message ' || (id & 16777215) || ' of session ' || (id >> 24) || ', run ' || run_id"
                                " FROM message WHERE run_id NOT IN (SELECT r.id FROM run r)"},
    {"tool message without its call",
     "SELECT 'message ' || (id & 16777215) || ' of session ' || (id >> 24) FROM message"
     " WHERE role = 'tool' AND body IS NULL AND (call_id IS NULL OR call_id NOT IN (SELECT c.id FROM tool_call c))"},
    {"run without its session", "SELECT 'run ' || id || ', session ' || session_id FROM run"
                                " WHERE session_id NOT IN (SELECT s.id FROM session s)"},
    {"run without its agent version", "SELECT 'run ' || id FROM run"
                                      " WHERE agent_version_id NOT IN (SELECT v.id FROM agent_version v)"},
    {"run's status and end do not agree",
     "SELECT 'run ' || id || ' is ' || status || iif(ended_at_ms IS NULL, ' without', ' with') || ' an end' FROM run"
     " WHERE (status = 'queued' OR status = 'running' OR status = 'waiting') <> (ended_at_ms IS NULL)"},
    {"run is in the queue and cannot be taken",
     "SELECT 'run ' || id FROM run WHERE ready = 1 AND (status <> 'queued' AND status <> 'running' OR"
     " status = 'queued' AND owner_id IS NOT NULL)"},
    {"run could be taken and is not in the queue",
     "SELECT 'run ' || r.id FROM run r WHERE r.status = 'queued' AND r.owner_id IS NULL AND r.ready = 0 AND NOT EXISTS"
     " (SELECT 1 FROM run b WHERE b.session_id = r.session_id AND b.ended_at_ms IS NULL AND b.id < r.id"
     "                        AND b.status <> 'waiting')"},
    {"length of the queue is off",
     "SELECT value || ' counted, ' || (SELECT count(*) FROM run WHERE status = 'queued' AND owner_id IS NULL) || ' there'"
     "  FROM (SELECT (SELECT value FROM meta WHERE key = 'queued') AS value)"
     " WHERE value IS NOT (SELECT count(*) FROM run WHERE status = 'queued' AND owner_id IS NULL)"},
    {"running run without an owner", "SELECT 'run ' || id FROM run WHERE status = 'running' AND owner_id IS NULL"},
    {"step or call of an ended run is open",
     "SELECT 'run ' || r.id || ', step ' || (s.id & 4095) || ' is ' || s.status FROM step s JOIN run r ON r.id = s.id >> 12"
     " WHERE r.ended_at_ms IS NOT NULL AND s.status = 'running'"
     " UNION ALL SELECT 'run ' || r.id || ', call ' || c.call_id || ' is ' || c.status FROM tool_call c"
     "   JOIN run r ON r.id = c.id >> 12"
     " WHERE r.ended_at_ms IS NOT NULL AND (c.status = 'intended' OR c.status = 'running')"},
    {"step, call or stage without its run",
     "SELECT 'step ' || (id & 4095) || ' of run ' || (id >> 12) FROM step WHERE id >> 12 NOT IN (SELECT r.id FROM run r)"
     " UNION ALL SELECT 'call ' || (id & 4095) || ' of run ' || (id >> 12) FROM tool_call"
     " WHERE id >> 12 NOT IN (SELECT r.id FROM run r)"
     " UNION ALL SELECT 'stages of run ' || (id >> 12) FROM stage WHERE id >> 12 NOT IN (SELECT r.id FROM run r)"
     " UNION ALL SELECT 'samples of run ' || (id >> 12) FROM sample WHERE id >> 12 NOT IN (SELECT r.id FROM run r)"},
    {"journal of a step that does not run",
     "SELECT DISTINCT 'run ' || (j.id >> 21) || ', step ' || (j.id >> 9 & 4095) FROM journal j"
     " WHERE NOT EXISTS (SELECT 1 FROM step s WHERE s.id = j.id >> 9 AND s.status = 'running')"},
    /* Promise 11: a call without its result would brick the conversation. */
    {"call of an ended run has no tool message",
     "SELECT 'run ' || r.id || ', session ' || r.session_id || ', call ' || json_extract(j.value, '$.id')"
     "  FROM message m JOIN run r ON r.id = m.run_id CROSS JOIN json_each(iif(json_valid(m.calls), m.calls, '[]')) j"
     " WHERE m.calls IS NOT NULL AND r.ended_at_ms IS NOT NULL AND NOT EXISTS"
     " (SELECT 1 FROM message t JOIN tool_call c ON c.id = t.call_id"
     "   WHERE t.id > m.id AND t.id <= m.id | 16777215 AND t.run_id = m.run_id"
     "     AND c.call_id = json_extract(j.value, '$.id'))"},
    {"long text is not there",
     "SELECT 'call ' || (id & 4095) || ' of run ' || (id >> 12) FROM tool_call"
     " WHERE result_text_id IS NOT NULL AND result_text_id NOT IN (SELECT t.id FROM text t)"
     " UNION ALL SELECT 'agent version #' || id FROM agent_version"
     " WHERE instructions_text_id IS NOT NULL AND instructions_text_id NOT IN (SELECT t.id FROM text t)"},
    {"agent without its version", "SELECT 'agent ' || name FROM agent a WHERE NOT EXISTS"
                                  " (SELECT 1 FROM agent_version v WHERE v.id = a.version_id AND v.agent_id = a.id)"},
    {"agent's counters are off",
     "SELECT 'agent ' || a.name || ': ' || a.sessions || ' sessions, ' || a.runs || ' runs counted' FROM agent a"
     " WHERE a.sessions <> (SELECT count(*) FROM session s WHERE s.agent_id = a.id)"
     "    OR a.runs <> (SELECT count(*) FROM run r WHERE r.agent_id = a.id)"},
    {"session's counters are off",
     "SELECT 'session ' || s.id || ': ' || s.messages || ' messages, ' || s.turns || ' turns counted' FROM session s"
     " WHERE NOT EXISTS (SELECT 1 FROM run r WHERE r.session_id = s.id AND r.ended_at_ms IS NULL)"
     "   AND (s.messages <> (SELECT count(*) FROM message m WHERE m.id BETWEEN s.id << 24 AND (s.id << 24 | 16777215))"
     "     OR s.turns <> (SELECT count(*) FROM message m WHERE m.id BETWEEN s.id << 24 AND (s.id << 24 | 16777215)"
     "                       AND m.role = 'user' AND m.body IS NULL))"},
};

struct finding {
    void (*line)(void *ctx, const char *text);
    void *ctx;
    int count;
};

static void found(struct finding *f, const char *what, const char *where)
{
    char text[1024];

    (void)snprintf(text, sizeof(text), "%s: %s", what, where);
    f->count++;
    f->line(f->ctx, text);
}

/* Each row's first column is a finding, but for the one word that says there is none. */
static agent_status collect(struct ag_db *db, const char *sql, const char *what, const char *none, struct finding *f,
                            agent_error *err)
{
    sqlite3_stmt *st = NULL;
    agent_status rc = AGENT_OK;
    int step;

    if (sqlite3_prepare_v2(db->db, sql, -1, &st, NULL) != SQLITE_OK)
        return ag_db_fail(db, err);
    while ((step = sqlite3_step(st)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);

        if (text == NULL || none == NULL || strcmp(text, none) != 0)
            found(f, what, text == NULL ? "?" : text);
    }
    if (step != SQLITE_DONE)
        rc = ag_db_fail(db, err);
    (void)sqlite3_finalize(st);
    return rc;
}

static agent_status check_all(struct ag_db *db, struct finding *f, agent_error *err)
{
    agent_status rc = collect(db, "PRAGMA integrity_check(100)", "damaged", "ok", f, err);

    if (rc == AGENT_OK && f->count > 0)
        return AGENT_OK; /* rows of damaged pages say nothing */
    if (rc == AGENT_OK)
        rc = collect(db, "SELECT \"table\" || ' row ' || rowid || ' points to no row of ' || parent"
                         "  FROM pragma_foreign_key_check", "foreign key", NULL, f, err);
    for (size_t i = 0; i < sizeof(invariants) / sizeof(invariants[0]) && rc == AGENT_OK; i++)
        rc = collect(db, invariants[i].sql, invariants[i].breach, NULL, f, err);
    return rc;
}

agent_status ag_sq_check(ag_store *base, void (*line)(void *, const char *), void *ctx, agent_error *err)
{
    struct ag_sq_store *s = ag_sq(base);
    struct finding f = {line, ctx, 0};
    struct ag_db db;
    agent_status rc;

    if (s->file_version != 0) {
        (void)ag_fail(err, AGENT_ESCHEMA, 0, "database '%s' has schema %d, this library knows up to %d", s->path,
                      s->file_version, ag_migration_count);
        ag_hint(err, "check it with the release that wrote it");
        return AGENT_ESCHEMA;
    }
    if ((rc = ag_db_open(s, AG_DB_READER, &db, err)) == AGENT_OK && /* all of it at one moment */
        (rc = ag_db_exec(&db, "BEGIN", err)) == AGENT_OK)
        rc = check_all(&db, &f, err);
    ag_db_close(&db);
    if (rc != AGENT_OK && (err == NULL || (err->detail & 0xff) != SQLITE_CORRUPT))
        return ag_wrap(err, rc, "check");
    if (rc != AGENT_OK)
        found(&f, "damaged", err->text);
    if (f.count == 0)
        return AGENT_OK;
    (void)ag_fail(err, AGENT_ESTORAGE, 0, "database '%s': %d findings", s->path, f.count);
    ag_hint(err, "keep the file as it is and restore a backup, or report how it came to this");
    return AGENT_ESTORAGE;
}
