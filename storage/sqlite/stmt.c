/*
 * The texts of every statement, and the cursor that runs them. `binds` and `readonly` restate what
 * a text says: tests/test_store_sqlite.c prepares each against a fresh file and compares, so a
 * statement that does not fit the schema fails a test, not a user.
 *
 * Ranges: a session's messages are `id BETWEEN session << 24 AND session << 24 | 0xffffff`, a run's
 * steps, calls and stages `id BETWEEN run << 12 AND run << 12 | 4095`; the caller computes both ends.
 */
#include "storage/sqlite/stmt.h"

#include <assert.h>

#include "storage/sqlite/impl.h"

#define MESSAGE_COLUMNS                                                                             \
    "SELECT m.id, m.run_id, m.role,"                                                                \
    "       CASE WHEN m.body IS NOT NULL THEN m.body WHEN m.role = 'user' THEN r.input"             \
    "            ELSE coalesce(c.result, t.body) END,"                                              \
    "       m.calls, m.extra, c.tool, c.call_id, c.status"                                          \
    "  FROM message m LEFT JOIN run r ON m.body IS NULL AND m.role = 'user' AND r.id = m.run_id"    \
    "  LEFT JOIN tool_call c ON c.id = m.call_id LEFT JOIN text t ON t.id = c.result_text_id"       \
    " WHERE m.id BETWEEN ?1 AND ?2"

#define CALL_COLUMNS                                                                                \
    "SELECT c.id, c.model_step, c.call_id, c.tool, c.effect_id, c.arguments,"                       \
    "       coalesce(c.result, (SELECT t.body FROM text t WHERE t.id = c.result_text_id)), c.effect, c.status" \
    "  FROM tool_call c"

#define UNKNOWN_TEXT "the outcome of this call is unknown: it was begun before a crash and may have happened"

const struct ag_stmt_def ag_stmt_defs[AG_STMT_COUNT] = {
    /* --- transactions --- */
    [AG_STMT_BEGIN_WRITE] = {"BEGIN IMMEDIATE", 0, false},
    [AG_STMT_BEGIN_READ] = {"BEGIN", 0, true},
    [AG_STMT_COMMIT] = {"COMMIT", 0, true},
    [AG_STMT_ROLLBACK] = {"ROLLBACK", 0, true},
    [AG_STMT_SAVEPOINT] = {"SAVEPOINT unit", 0, true},
    [AG_STMT_SAVEPOINT_UNDO] = {"ROLLBACK TO unit", 0, true},
    [AG_STMT_SAVEPOINT_END] = {"RELEASE unit", 0, true},

    /* --- meta: ids that are never given twice --- */
    [AG_STMT_FLOORS] = {"SELECT key, value FROM meta WHERE key = 'run_floor' OR key = 'session_floor'", 0, true},
    [AG_STMT_FLOOR_PUT] = {"INSERT INTO meta (key, value) VALUES (?1, ?2)"
                           " ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)", 2, false},

    /* --- owner --- */
    [AG_STMT_OWNER_NEXT] = {"SELECT coalesce(max(id), 0) + 1 FROM owner", 0, true},
    [AG_STMT_OWNER_INSERT] = {"INSERT INTO owner (id, host, boot_id, pid, pid_start, started_at_ms)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)", 6, false},
    [AG_STMT_OWNER_LIST] = {"SELECT id FROM owner WHERE ended_at_ms IS NULL", 0, true},
    [AG_STMT_OWNER_END] = {"UPDATE owner SET ended_at_ms = ?2 WHERE id = ?1", 2, false},
    [AG_STMT_OWNER_FORGET] = {"DELETE FROM owner WHERE id < ?1 AND ended_at_ms IS NOT NULL", 1, false},

    /* --- text --- */
    [AG_STMT_TEXT_INSERT] = {"INSERT INTO text (hash, body) VALUES (?1, ?2)", 2, false},
    [AG_STMT_TEXT_FIND] = {"SELECT id FROM text WHERE hash = ?1", 1, true},
    [AG_STMT_TEXT_DELETE_OF_CALLS] = {
        "DELETE FROM text WHERE id IN"
        " (SELECT c.result_text_id FROM tool_call c WHERE c.id BETWEEN ?1 AND ?2 AND c.result_text_id IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM tool_call c WHERE c.result_text_id = text.id AND c.result_text_id IS NOT NULL"
        "                    AND c.id NOT BETWEEN ?1 AND ?2)"
        " AND NOT EXISTS (SELECT 1 FROM agent_version v WHERE v.instructions_text_id = text.id)", 2, false},
    [AG_STMT_TEXT_DELETE_OF_AGENT] = {
        "DELETE FROM text WHERE id IN"
        " (SELECT v.instructions_text_id FROM agent_version v WHERE v.agent_id = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM agent_version v WHERE v.instructions_text_id = text.id AND v.agent_id <> ?1)"
        " AND NOT EXISTS (SELECT 1 FROM tool_call c WHERE c.result_text_id = text.id AND c.result_text_id IS NOT NULL)",
        1, false},

    /* --- agent --- */
    [AG_STMT_AGENT_FIND] = {"SELECT id, version_id FROM agent WHERE name = ?1", 1, true},
    [AG_STMT_AGENT_BY_ID] = {"SELECT id, name FROM agent WHERE id = ?1", 1, true},
    [AG_STMT_AGENT_INSERT] = {"INSERT INTO agent (name, created_at_ms, updated_at_ms) VALUES (?1, ?2, ?2)", 2, false},
    [AG_STMT_AGENT_NEWEST] = {
        "SELECT a.id, v.id, v.version, v.provider, v.model, coalesce(v.instructions, t.body), v.tools, v.options,"
        "       v.base_url, v.key_env, v.max_steps, a.name"
        "  FROM agent a JOIN agent_version v ON v.id = a.version_id LEFT JOIN text t ON t.id = v.instructions_text_id"
        " WHERE a.name = ?1", 1, true},
    [AG_STMT_AGENT_SET_VERSION] = {"UPDATE agent SET version_id = ?2, updated_at_ms = ?3 WHERE id = ?1", 3, false},
    [AG_STMT_AGENT_COUNT_RUN] = {"UPDATE agent SET runs = runs + ?2, sessions = sessions + ?3, last_run_at_ms = ?4,"
                                 " last_session_id = ?5 WHERE id = ?1", 5, false},
    [AG_STMT_AGENT_UNCOUNT] = {
        "UPDATE agent SET runs = runs - ?2, sessions = sessions - 1, last_session_id ="
        " CASE WHEN last_session_id = ?3 THEN (SELECT s.id FROM session s WHERE s.agent_id = ?1 AND s.id <> ?3"
        "                                       ORDER BY s.last_at_ms DESC, s.id DESC LIMIT 1)"
        "      ELSE last_session_id END WHERE id = ?1", 3, false},
    [AG_STMT_AGENT_DELETE] = {"DELETE FROM agent WHERE id = ?1", 1, false},
    [AG_STMT_VERSION_INSERT] = {
        "INSERT INTO agent_version (agent_id, version, provider, model, instructions, instructions_text_id, tools,"
        " options, base_url, key_env, max_steps, created_at_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)", 12, false},
    [AG_STMT_VERSION_READ] = {
        "SELECT a.id, v.id, v.version, v.provider, v.model, coalesce(v.instructions, t.body), v.tools, v.options,"
        "       v.base_url, v.key_env, v.max_steps, a.name"
        "  FROM agent_version v JOIN agent a ON a.id = v.agent_id LEFT JOIN text t ON t.id = v.instructions_text_id"
        " WHERE v.id = ?1", 1, true},
    [AG_STMT_VERSION_DELETE_OF_AGENT] = {"DELETE FROM agent_version WHERE agent_id = ?1", 1, false},

    /* --- session --- */
    [AG_STMT_SESSION_INSERT] = {
        "INSERT INTO session (id, agent_id, name, created_at_ms, last_at_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?4)", 4, false},
    [AG_STMT_SESSION_BY_NAME] = {"SELECT id FROM session WHERE agent_id = ?1 AND name = ?2 AND name IS NOT NULL", 2,
                                 true},
    [AG_STMT_SESSION_BY_ID] = {"SELECT agent_id FROM session WHERE id = ?1", 1, true},
    [AG_STMT_SESSION_LATEST] = {"SELECT last_session_id FROM agent WHERE id = ?1", 1, true},
    /* A session's numbers have no gap, so its newest number is its count, whoever appended. */
    [AG_STMT_SESSION_FINISH] = {
        "UPDATE session SET turns = turns + ?2, input_tokens = input_tokens + ?3, output_tokens = output_tokens + ?4,"
        " last_at_ms = max(last_at_ms, ?5), messages = coalesce((SELECT max(m.id) - ?6 FROM message m"
        " WHERE m.id BETWEEN ?6 AND ?6 + 16777215), 0) WHERE id = ?1", 6, false},
    [AG_STMT_SESSION_FINISH_AT] = {
        "UPDATE session SET turns = turns + ?2, input_tokens = input_tokens + ?3, output_tokens = output_tokens + ?4,"
        " last_at_ms = max(last_at_ms, ?5), messages = max(messages, ?6) WHERE id = ?1", 6, false},
    [AG_STMT_SESSION_DELETE] = {"DELETE FROM session WHERE id = ?1", 1, false},
    [AG_STMT_SESSION_DELETE_OF_AGENT] = {"DELETE FROM session WHERE agent_id = ?1", 1, false},
    [AG_STMT_SESSION_LAST_SEQ] = {"SELECT max(id) FROM message WHERE id BETWEEN ?1 AND ?2", 2, true},

    /* --- message --- */
    [AG_STMT_MESSAGE_INSERT] = {"INSERT INTO message (id, run_id, role, body, calls, extra, call_id, created_at_ms)"
                                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", 8, false},
    [AG_STMT_MESSAGE_WALK] = {MESSAGE_COLUMNS " ORDER BY m.id DESC", 2, true},
    [AG_STMT_MESSAGE_LIST] = {MESSAGE_COLUMNS " ORDER BY m.id", 2, true},
    [AG_STMT_MESSAGE_DELETE_RANGE] = {"DELETE FROM message WHERE id BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_MESSAGE_DELETE_OF_AGENT] = {
        "DELETE FROM message WHERE id IN (SELECT m.id FROM session s JOIN message m"
        " ON m.id BETWEEN s.id << 24 AND s.id << 24 | 16777215 WHERE s.agent_id = ?1)", 1, false},
    /* Calls of a run's newest asking message that have no answer behind it. */
    [AG_STMT_MESSAGE_NEWEST_CALLS] = {
        "SELECT j.value FROM (SELECT id, CASE WHEN json_valid(calls) THEN calls ELSE '[]' END AS calls FROM message"
        "                      WHERE id BETWEEN ?1 AND ?2 AND run_id = ?3 AND calls IS NOT NULL"
        "                      ORDER BY id DESC LIMIT 1) m CROSS JOIN json_each(m.calls) j"
        " WHERE j.type = 'object' AND json_extract(j.value, '$.id') IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM message t JOIN tool_call c ON c.id = t.call_id WHERE t.id > m.id AND t.id <= ?2"
        "     AND c.call_id = json_extract(j.value, '$.id'))", 3, true},

    /* --- run --- */
    [AG_STMT_RUN_INSERT] = {
        "INSERT INTO run (id, agent_id, agent_version_id, session_id, status, priority, owner_id, attempt, input,"
        " options, input_seq, trace_id, idempotency_key, queued_at_ms, started_at_ms, deadline_at_ms, ready)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)", 17, false},
    [AG_STMT_RUN_BY_KEY] = {"SELECT id, session_id, agent_id, agent_version_id, input_seq, attempt FROM run"
                            " WHERE idempotency_key = ?1 AND idempotency_key IS NOT NULL", 1, true},
    [AG_STMT_RUN_OPEN] = {"SELECT id, status, owner_id, ready FROM run WHERE session_id = ?1 AND ended_at_ms IS NULL"
                          " ORDER BY id", 1, true},
    [AG_STMT_RUN_READ] = {
        "SELECT agent_id, agent_version_id, session_id, status, owner_id, attempt, priority, input_seq, queued_at_ms,"
        " started_at_ms, deadline_at_ms, ended_at_ms FROM run WHERE id = ?1", 1, true},
    [AG_STMT_RUN_CLAIM] = {"UPDATE run SET status = ?2, owner_id = ?3, attempt = ?4, input_seq = ?5,"
                           " started_at_ms = coalesce(started_at_ms, ?6), cancel_requested = 0, ready = 0"
                           " WHERE id = ?1", 6, false},
    [AG_STMT_RUN_FENCE] = {"SELECT 1 FROM run WHERE id = ?1 AND status = 'running' AND owner_id = ?2 AND attempt = ?3",
                           3, true},
    [AG_STMT_RUN_FINISH] = {
        "UPDATE run SET status = ?2, owner_id = NULL, error_status = ?3, error = ?4, hint = ?5, output_seq = ?6,"
        " ended_at_ms = ?7, queue_us = ?8, wall_us = ?9, rss_peak_bytes = ?10, input_tokens = ?11,"
        " output_tokens = ?12, cache_hit = ?13 WHERE id = ?1 AND ended_at_ms IS NULL", 13, false},
    [AG_STMT_RUN_CLOSE] = {
        "UPDATE run SET status = ?2, owner_id = NULL, ready = 0, error_status = ?3, error = ?4, ended_at_ms = ?5,"
        " queue_us = coalesce(queue_us, (coalesce(started_at_ms, ?5) - queued_at_ms) * 1000),"
        " wall_us = (?5 - started_at_ms) * 1000,"
        " input_tokens = (SELECT sum(t.input_tokens) FROM step t WHERE t.id BETWEEN ?6 AND ?7),"
        " output_tokens = (SELECT sum(t.output_tokens) FROM step t WHERE t.id BETWEEN ?6 AND ?7)"
        " WHERE id = ?1 RETURNING input_tokens, output_tokens", 7, false},
    /* The terms of run_queue stand here letter for letter, or the index is not used. */
    [AG_STMT_QUEUE_CLASS] = {"SELECT id, queued_at_ms FROM run WHERE ready = 1 AND priority = ?1 ORDER BY id LIMIT ?2",
                             2, true},
    [AG_STMT_QUEUE_ANY] = {"SELECT 1 FROM run WHERE ready = 1 LIMIT 1", 0, true},
    [AG_STMT_QUEUE_UNHELD] = {"SELECT 1 FROM run WHERE status = 'queued' AND owner_id IS NULL AND ready < 2"
                              " LIMIT 1", 0, true},
    [AG_STMT_QUEUE_ANY_STATUS] = {"SELECT 1 FROM run WHERE status = 'queued' LIMIT 1", 0, true},
    [AG_STMT_QUEUED] = {"SELECT value FROM meta WHERE key = 'queued'", 0, true},
    [AG_STMT_QUEUED_ONE] = {"UPDATE meta SET value = value + 1 WHERE key = 'queued'", 0, false},
    [AG_STMT_QUEUE_MANY] = {"SELECT 1 FROM run WHERE ended_at_ms IS NULL LIMIT 1 OFFSET 1000", 0, true},
    [AG_STMT_QUEUE_HELD] = {"SELECT id, owner_id FROM run INDEXED BY run_open"
                            " WHERE ended_at_ms IS NULL AND owner_id IS NOT NULL", 0, true},
    [AG_STMT_RUN_READY] = {"UPDATE run SET ready = 1, owner_id = NULL WHERE id = ?1 AND ready = 0", 1, false},
    [AG_STMT_RUN_UNREADY] = {"UPDATE run SET ready = 0 WHERE id = ?1 AND ready = 1", 1, false},
    [AG_STMT_RUN_ORPHANED] = {"UPDATE run SET ready = 1 WHERE id = ?1 AND status = 'running' AND ready = 0", 1, false},
    [AG_STMT_CLAIM_SAVE] = {"SAVEPOINT claim", 0, true},
    [AG_STMT_CLAIM_UNDO] = {"ROLLBACK TO claim", 0, true},
    [AG_STMT_CLAIM_KEEP] = {"RELEASE claim", 0, true},
    [AG_STMT_DATA_VERSION] = {"PRAGMA data_version", 0, true},
    [AG_STMT_HOME] = {"SELECT value FROM meta WHERE key = 'home'", 0, true},
    [AG_STMT_HOME_PUT] = {"INSERT INTO meta (key, value) VALUES ('home', ?1)"
                          " ON CONFLICT (key) DO UPDATE SET value = excluded.value", 1, false},
    [AG_STMT_RUN_PUT_ASIDE] = {"UPDATE run SET ready = 2 WHERE ended_at_ms IS NULL AND status <> 'waiting'", 0, false},
    [AG_STMT_RUN_ASK_CANCEL] = {"UPDATE run SET cancel_requested = 1 WHERE id = ?1", 1, false},
    [AG_STMT_RUN_REQUEUE] = {"UPDATE run SET status = 'queued', owner_id = NULL, ready = ready WHERE id = ?1", 1, false},
    [AG_STMT_RUN_CANCELS] = {"SELECT id FROM run WHERE owner_id = ?1 AND cancel_requested = 1 AND ended_at_ms IS NULL",
                             1, true},
    [AG_STMT_RUN_LIVE_OF_AGENT] = {"SELECT id, owner_id FROM run WHERE agent_id = ?1 AND ended_at_ms IS NULL"
                                   " AND owner_id IS NOT NULL", 1, true},
    [AG_STMT_RUN_OF_AGENT] = {"SELECT id FROM run WHERE agent_id = ?1", 1, true},
    [AG_STMT_RUN_OF_SESSION] = {
        "SELECT run_id FROM message WHERE id BETWEEN ?1 AND ?2"
        " UNION SELECT id FROM run WHERE session_id = ?3 AND input_seq IS NULL", 3, true},
    [AG_STMT_RUN_DELETE] = {"DELETE FROM run WHERE id = ?1", 1, false},
    [AG_STMT_RUN_DELETE_OF_AGENT] = {"DELETE FROM run WHERE agent_id = ?1", 1, false},
    [AG_STMT_RUN_FULL] = {
        "SELECT r.session_id, r.agent_id, r.agent_version_id, r.input_seq, r.output_seq, r.status, r.attempt,"
        "       r.priority, r.queued_at_ms, r.started_at_ms, r.deadline_at_ms, r.input, r.options, m.body,"
        "       r.input_tokens, r.output_tokens, r.error_status, r.error, r.queue_us, r.wall_us, r.cache_hit"
        "  FROM run r LEFT JOIN message m ON m.id = (r.session_id << 24) + r.output_seq WHERE r.id = ?1", 1, true},
    [AG_STMT_MAX_IDS] = {"SELECT coalesce((SELECT max(id) FROM run), 0), coalesce((SELECT max(id) FROM session), 0)",
                         0, true},

    /* --- step --- */
    [AG_STMT_STEP_BEGIN] = {"INSERT INTO step (id, attempt, status, started_at_ms) VALUES (?1, ?2, 'running', ?3)", 3,
                            false},
    [AG_STMT_STEP_END] = {"UPDATE step SET status = ?2, wall_us = ?3, input_tokens = ?4, output_tokens = ?5,"
                          " cached_tokens = ?6, error = ?7, cached = ?8 WHERE id = ?1 AND status = 'running'", 8,
                          false},
    [AG_STMT_STEP_OPEN] = {"SELECT id, started_at_ms FROM step WHERE id BETWEEN ?1 AND ?2 AND status = 'running'", 2,
                           true},
    [AG_STMT_STEP_CUT] = {"UPDATE step SET status = ?3, error = ?4 WHERE id BETWEEN ?1 AND ?2 AND status = 'running'",
                          4, false},
    [AG_STMT_STEP_TOKENS] = {"SELECT sum(input_tokens), sum(output_tokens) FROM step WHERE id BETWEEN ?1 AND ?2", 2,
                             true},
    [AG_STMT_STEP_DELETE_RANGE] = {"DELETE FROM step WHERE id BETWEEN ?1 AND ?2", 2, false},

    /* --- tool_call --- */
    [AG_STMT_CALL_INTENT] = {
        "INSERT INTO tool_call (id, model_step, call_id, tool, effect, effect_id, status, arguments, started_at_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'intended', ?7, ?8)", 8, false},
    [AG_STMT_CALL_END] = {"UPDATE tool_call SET status = ?2, result = ?3, result_text_id = ?4, wall_us = ?5,"
                          " child_rss_peak_bytes = ?6 WHERE id = ?1", 6, false},
    [AG_STMT_CALL_SET_RESULT] = {"UPDATE tool_call SET result = ?2, result_text_id = ?3 WHERE id = ?1"
                                 " AND result IS NULL AND result_text_id IS NULL", 3, false},
    [AG_STMT_CALL_ORPHANED] = {"UPDATE tool_call SET status = 'unknown' WHERE id BETWEEN ?1 AND ?2"
                               " AND effect = 'effect' AND (status = 'intended' OR status = 'running')", 2, false},
    [AG_STMT_CALL_REOPENED] = {"UPDATE tool_call SET status = 'intended' WHERE id BETWEEN ?1 AND ?2"
                               " AND status = 'running'", 2, false},
    [AG_STMT_CALL_UNKNOWN] = {"SELECT count(*) FROM tool_call WHERE id BETWEEN ?1 AND ?2 AND status = 'unknown'", 2,
                              true},
    [AG_STMT_CALL_DECIDE] = {"UPDATE tool_call SET status = ?4, result = ?5, decision = ?6"
                             " WHERE id BETWEEN ?1 AND ?2 AND status = 'unknown' AND (?3 IS NULL OR call_id = ?3)", 6,
                             false},
    /* Calls of a run without a message; open ones get a result below. */
    [AG_STMT_CALL_UNANSWERED] = {
        "SELECT c.id FROM tool_call c WHERE c.id BETWEEN ?1 AND ?2 AND c.id NOT IN"
        " (SELECT m.call_id FROM message m WHERE m.id BETWEEN ?3 AND ?4 AND m.call_id IS NOT NULL) ORDER BY c.id", 4,
        true},
    [AG_STMT_CALL_CLOSE] = {
        "UPDATE tool_call SET result = CASE WHEN result IS NOT NULL OR result_text_id IS NOT NULL THEN result"
        "     WHEN effect = 'effect' THEN '" UNKNOWN_TEXT "'"
        "     ELSE 'this call was not made: ' || ?3 END,"
        " status = CASE WHEN effect = 'effect' THEN 'unknown' ELSE 'cancelled' END"
        " WHERE id BETWEEN ?1 AND ?2 AND (status = 'intended' OR status = 'running' OR status = 'unknown')", 3, false},
    [AG_STMT_CALL_OF_STEP] = {
        CALL_COLUMNS " WHERE c.id BETWEEN ?1 AND ?2 AND c.model_step ="
        " (SELECT max(n.model_step) FROM tool_call n WHERE n.id BETWEEN ?1 AND ?2) ORDER BY c.id", 2, true},
    [AG_STMT_CALL_NEVER_BEGUN] = {
        "INSERT INTO tool_call (id, model_step, call_id, tool, effect, status, arguments, result, started_at_ms)"
        " VALUES (?1, ?2, json_extract(?3, '$.id'), coalesce(json_extract(?3, '$.name'), ''), 'pure', 'cancelled',"
        "         json_extract(?3, '$.arguments'), 'this call was not made: ' || ?4, ?5)", 5, false},
    [AG_STMT_CALL_OPEN] = {"SELECT 1 FROM tool_call WHERE id BETWEEN ?1 AND ?2"
                           " AND (status = 'intended' OR status = 'running') LIMIT 1", 2, true},
    [AG_STMT_CALL_DELETE_RANGE] = {"DELETE FROM tool_call WHERE id BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_CALL_LAST] = {"SELECT max(coalesce((SELECT max(s.id) FROM step s WHERE s.id BETWEEN ?1 AND ?2), ?1),"
                           " coalesce((SELECT max(c.id) FROM tool_call c WHERE c.id BETWEEN ?1 AND ?2), ?1))", 2, true},

    /* --- stage, journal --- */
    /* VALUES and not SELECT: what is selected from the table it goes to passes through a copy. */
    [AG_STMT_STAGE_APPEND] = {"INSERT INTO stage (id, rows) VALUES"
                              " ((SELECT coalesce(max(id), ?1) + 1 FROM stage WHERE id BETWEEN ?1 AND ?2), ?3)", 3,
                              false},
    [AG_STMT_STAGE_INSERT] = {"INSERT INTO stage (id, rows) VALUES (?1, ?2)", 2, false},
    [AG_STMT_STAGE_DELETE_RANGE] = {"DELETE FROM stage WHERE id BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_SAMPLE_APPEND] = {"INSERT INTO sample (id, at_ms, series) VALUES"
                               " ((SELECT coalesce(max(id), ?1) + 1 FROM sample WHERE id BETWEEN ?1 AND ?2), ?3, ?4)", 4,
                               false},
    [AG_STMT_SAMPLE_DELETE_RANGE] = {"DELETE FROM sample WHERE id BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_JOURNAL_APPEND] = {
        "INSERT INTO journal (id, text) VALUES"
        " ((SELECT min(coalesce(max(id) + 1, ?1), ?2) FROM journal WHERE id BETWEEN ?1 AND ?2), ?3)"
        " ON CONFLICT (id) DO UPDATE SET text = text || excluded.text", 3, false},
    [AG_STMT_JOURNAL_DELETE_RANGE] = {"DELETE FROM journal WHERE id BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_JOURNAL_ANY] = {"SELECT 1 FROM journal WHERE id BETWEEN ?1 AND ?2 LIMIT 1", 2, true},

    /* --- memory --- */
    [AG_STMT_MEMORY_PUT] = {
        "INSERT INTO memory (id, agent_id, scope, key, text, created_at_ms, updated_at_ms, source_run_id)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT (agent_id, scope, key) DO UPDATE"
        " SET text = excluded.text, updated_at_ms = excluded.updated_at_ms, source_run_id = excluded.source_run_id"
        " RETURNING id", 7, false},
    [AG_STMT_MEMORY_NEXT] = {"SELECT coalesce(max(id), 0) + 1 FROM memory", 0, true},
    [AG_STMT_MEMORY_KEY_TAKEN] = {"SELECT 1 FROM memory WHERE agent_id = ?1 AND scope = ?2 AND key = ?3", 3, true},
    [AG_STMT_MEMORY_DELETE] = {"DELETE FROM memory WHERE agent_id = ?1 AND scope = ?2 AND key = ?3", 3, false},
    [AG_STMT_MEMORY_DELETE_OF_AGENT] = {"DELETE FROM memory WHERE agent_id = ?1", 1, false},
    [AG_STMT_MEMORY_NEWEST] = {"SELECT id, scope, key, text FROM memory WHERE agent_id = ?1 AND scope = 'agent'"
                               " ORDER BY id DESC", 1, true},
    [AG_STMT_MEMORY_SEARCH] = {
        "SELECT m.id, m.scope, m.key, m.text FROM memory_fts f JOIN memory m ON m.id = f.rowid"
        " WHERE memory_fts MATCH ?1 AND m.agent_id = ?2 ORDER BY f.rank, m.id DESC LIMIT ?3", 3, true},

    /* --- tool, cache --- */
    [AG_STMT_TOOL_INSERT] = {
        "INSERT INTO tool (name, description, argv, schema, effect, timeout_ms, max_output_bytes, created_at_ms,"
        " updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT (name) DO NOTHING", 8, false},
    [AG_STMT_TOOL_PUT] = {
        "INSERT INTO tool (name, description, argv, schema, effect, timeout_ms, max_output_bytes, created_at_ms,"
        " updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT (name) DO UPDATE SET"
        " description = excluded.description, argv = excluded.argv, schema = excluded.schema, effect = excluded.effect,"
        " timeout_ms = excluded.timeout_ms, max_output_bytes = excluded.max_output_bytes,"
        " updated_at_ms = excluded.updated_at_ms", 8, false},
    [AG_STMT_TOOL_DELETE] = {"DELETE FROM tool WHERE name = ?1", 1, false},
    [AG_STMT_TOOL_READ] = {"SELECT name, description, argv, schema, effect, timeout_ms, max_output_bytes FROM tool"
                           " WHERE name = ?1", 1, true},
    [AG_STMT_CACHE_DELETE_OF_AGENT] = {"DELETE FROM cache WHERE agent_id = ?1", 1, false},

    /* --- the response cache --- */
    [AG_STMT_LIVE_PUT] = {
        "INSERT INTO live (owner_id, at_ms, rss_bytes, heap_bytes, runs, stages, cache) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        " ON CONFLICT (owner_id) DO UPDATE SET at_ms = excluded.at_ms, rss_bytes = excluded.rss_bytes,"
        " heap_bytes = excluded.heap_bytes, runs = excluded.runs, stages = excluded.stages, cache = excluded.cache", 7,
        false},
    [AG_STMT_NOTICE_PUT] = {"INSERT INTO notice (owner_id, at_ms, kind, level, rss_bytes, limit_bytes, text)"
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", 7, false},
    [AG_STMT_SETTING_PUT] = {"INSERT INTO meta (key, value) VALUES ('limit:' || ?1, ?2)"
                             " ON CONFLICT (key) DO UPDATE SET value = excluded.value", 2, false},
    [AG_STMT_SETTING_DELETE] = {"DELETE FROM meta WHERE key = 'limit:' || ?1", 1, false},
    [AG_STMT_SETTING_ALL] = {"SELECT substr(key, 7), value FROM meta WHERE key >= 'limit:' AND key < 'limit;'", 0, true},
    [AG_STMT_CACHE_META] = {"SELECT (SELECT value FROM meta WHERE key = 'cache_limit'),"
                            " (SELECT value FROM meta WHERE key = 'cache_bytes'),"
                            " (SELECT value FROM meta WHERE key = 'cache_clock')", 0, true},
    [AG_STMT_CACHE_META_PUT] = {"INSERT INTO meta (key, value) VALUES (?1, ?2)"
                                " ON CONFLICT (key) DO UPDATE SET value = excluded.value", 2, false},
    [AG_STMT_CACHE_SUM] = {"SELECT coalesce(sum(bytes), 0) FROM cache", 0, true},
    [AG_STMT_CACHE_INSERT] = {
        "INSERT INTO cache (key, kind, agent_id, model, bytes, tokens, rank, created_at_ms, expires_at_ms, request, body)"
        " VALUES (?1, 'response', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", 10, false},
    [AG_STMT_CACHE_DELETE] = {"DELETE FROM cache WHERE key = ?1", 1, false},
    [AG_STMT_CACHE_DELETE_RANGE] = {"DELETE FROM cache WHERE key BETWEEN ?1 AND ?2", 2, false},
    [AG_STMT_CACHE_DELETE_ID] = {"DELETE FROM cache WHERE id = ?1", 1, false},
    [AG_STMT_CACHE_CLEAR] = {"DELETE FROM cache", 0, false},
    [AG_STMT_CACHE_EXPIRED] = {"SELECT id, bytes, rank FROM cache WHERE expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT 1",
                               1, true},
    [AG_STMT_CACHE_LOWEST] = {"SELECT id, bytes, rank FROM cache"
                              " ORDER BY rank, coalesce(last_hit_at_ms, created_at_ms), bytes LIMIT 1", 0, true},
    [AG_STMT_CACHE_HIT] = {
        "UPDATE cache SET hits = hits + 1, last_hit_at_ms = max(coalesce(last_hit_at_ms, 0), ?2), rank = ?3"
        " + max(1, coalesce(tokens, bytes / 4) * 1000 / bytes) * min(hits + 2, 16) WHERE key = ?1", 3, false},
    [AG_STMT_CACHE_READ] = {"SELECT agent_id, tokens, hits, created_at_ms, expires_at_ms, request, body FROM cache"
                            " WHERE key = ?1 AND kind = 'response'", 1, true},
    [AG_STMT_CACHE_TOTALS] = {
        "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(hits), 0), coalesce(sum(tokens * hits), 0),"
        " (SELECT value FROM meta WHERE key = 'cache_limit') FROM cache", 0, true},
    [AG_STMT_LEASE_READ] = {"SELECT owner_id, until_ms FROM cache_lease WHERE key = ?1", 1, true},
    [AG_STMT_LEASE_PUT] = {"INSERT INTO cache_lease (key, owner_id, until_ms) VALUES (?1, ?2, ?3) ON CONFLICT (key)"
                           " DO UPDATE SET owner_id = excluded.owner_id, until_ms = excluded.until_ms", 3, false},
    [AG_STMT_LEASE_DELETE] = {"DELETE FROM cache_lease WHERE key = ?1 AND owner_id = ?2", 2, false},
    [AG_STMT_LEASE_FORGET] = {"DELETE FROM cache_lease WHERE until_ms <= ?1", 1, false},

    /* --- the log of changes --- */
    [AG_STMT_CHANGE_MARK] = {"SELECT mark FROM change WHERE id = ?1", 1, true},
    [AG_STMT_CHANGE_LIST] = {"SELECT id, mark, kind, key FROM change WHERE id > ?1 ORDER BY id", 1, true},
    [AG_STMT_CHANGE_LAST] = {"SELECT id, mark FROM change ORDER BY id DESC LIMIT 1", 0, true},
    [AG_STMT_SCHEMA_VERSION] = {"PRAGMA schema_version", 0, true},
};

ag_query ag_query_of(struct ag_db *db, enum ag_stmt id)
{
    sqlite3_stmt **slot = &db->stmts[id];
    ag_query q = {.db = db, .id = id};

    if (*slot == NULL)
        q.rc = sqlite3_prepare_v3(db->db, ag_stmt_defs[id].sql, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
    q.st = *slot;
    assert(q.st == NULL || !sqlite3_stmt_busy(q.st)); /* the last user dropped it */
    return q;
}

void ag_query_drop(ag_query *q)
{
    if (q->st != NULL)
        (void)sqlite3_reset(q->st);
    q->st = NULL;
}

static void bound(ag_query *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void ag_query_int(ag_query *q, int64_t value)
{
    if (q->st != NULL)
        bound(q, sqlite3_bind_int64(q->st, ++q->bound, value));
}

static void bind_null(ag_query *q)
{
    if (q->st != NULL)
        bound(q, sqlite3_bind_null(q->st, ++q->bound));
}

void ag_query_id(ag_query *q, int64_t value)
{
    if (value == 0)
        bind_null(q);
    else
        ag_query_int(q, value);
}

void ag_query_known(ag_query *q, int64_t value)
{
    if (value == -1)
        bind_null(q);
    else
        ag_query_int(q, value);
}

void ag_query_str(ag_query *q, struct ag_str s)
{
    if (s.p == NULL)
        bind_null(q);
    else if (q->st != NULL)
        bound(q, sqlite3_bind_text64(q->st, ++q->bound, s.p, s.n, SQLITE_STATIC, SQLITE_UTF8));
}

void ag_query_word(ag_query *q, const char *word)
{
    ag_query_str(q, ag_str_of(word));
}

void ag_query_blob(ag_query *q, const void *p, size_t n)
{
    if (q->st != NULL)
        bound(q, sqlite3_bind_blob64(q->st, ++q->bound, p, n, SQLITE_STATIC));
}

agent_status ag_query_row(ag_query *q, bool *out_row, agent_error *err)
{
    int rc = q->rc;

    *out_row = false;
    if (rc != SQLITE_OK)
        return ag_db_fail_code(q->db, rc, sqlite3_errmsg(q->db->db), err);
    assert(q->bound == ag_stmt_defs[q->id].binds);
    rc = sqlite3_step(q->st);
    if (rc == SQLITE_ROW) {
        *out_row = true;
        return AGENT_OK;
    }
    return rc == SQLITE_DONE ? AGENT_OK : ag_db_fail(q->db, err);
}

agent_status ag_query_run(ag_query *q, agent_error *err)
{
    agent_status rc;
    bool row = false;

    do
        rc = ag_query_row(q, &row, err);
    while (rc == AGENT_OK && row);
    return rc;
}

struct ag_str ag_col_str(const ag_query *q, int i)
{
    const char *p = (const char *)sqlite3_column_text(q->st, i);

    if (p == NULL)
        return AG_STR_NONE;
    return (struct ag_str){p, (size_t)sqlite3_column_bytes(q->st, i)};
}

int64_t ag_col_known(const ag_query *q, int i)
{
    return sqlite3_column_type(q->st, i) == SQLITE_NULL ? -1 : sqlite3_column_int64(q->st, i);
}
