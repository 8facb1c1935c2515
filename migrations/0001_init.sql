-- The first schema. Tables hold one row per thing, times are unix milliseconds (_at_ms), durations
-- microseconds (_us); the views below are what people and programs read. Comments inside a CREATE
-- are kept by SQLite and shown by `.schema`.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY, -- run_floor, session_floor: ids up to here were given out and are never given again; home: where the file lives;
                                     -- queued: runs in the queue that nobody holds; cache_limit, cache_bytes, cache_clock: of the response cache
    value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE migration (
    version       INTEGER PRIMARY KEY,  -- equals PRAGMA user_version after it
    name          TEXT NOT NULL,        -- file name of the step
    sha256        TEXT NOT NULL,        -- of the file's bytes
    applied_at_ms INTEGER NOT NULL,
    library       TEXT NOT NULL         -- version of libagent that applied it
) STRICT;

CREATE TABLE owner (
    id            INTEGER PRIMARY KEY,  -- its life is the lock on this byte of <db>-owners, not this row
    host          TEXT NOT NULL,
    boot_id       TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    pid_start     INTEGER NOT NULL,     -- clock ticks after boot, field 22 of /proc/PID/stat
    started_at_ms INTEGER NOT NULL,
    ended_at_ms   INTEGER               -- its death was seen then, and its runs given back; NULL: it may be alive
) STRICT;

CREATE TABLE live (
    owner_id   INTEGER PRIMARY KEY REFERENCES owner (id) ON DELETE CASCADE, -- one row a second while it has runs
    at_ms      INTEGER NOT NULL,
    rss_bytes  INTEGER,                 -- of its process
    heap_bytes INTEGER,                 -- what its runs hold
    runs       INTEGER NOT NULL,
    stages     TEXT NOT NULL,           -- JSON: {"infer": {"runs": 2, "heap_bytes": 81920}}, the stages with runs
    cache      TEXT                     -- JSON: entries, held_bytes, budget_bytes, gets, hits, policy, kinds; times are [i, count] from 2^i ns to 2^(i+1)
) STRICT;

CREATE TABLE text (
    id   INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,          -- SHA-256 of body
    body TEXT NOT NULL                  -- 1 KB or more, stored once however often it is used
) STRICT;

CREATE TABLE agent (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    version_id      INTEGER,            -- the newest agent_version
    sessions        INTEGER NOT NULL DEFAULT 0,
    runs            INTEGER NOT NULL DEFAULT 0,
    last_run_at_ms  INTEGER,
    last_session_id INTEGER,            -- the session a run was last put on
    created_at_ms   INTEGER NOT NULL,
    updated_at_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE agent_version (
    id                   INTEGER PRIMARY KEY,
    agent_id             INTEGER NOT NULL REFERENCES agent (id),
    version              INTEGER NOT NULL,  -- 1, 2, 3 within the agent; a version never changes
    provider             TEXT NOT NULL,
    model                TEXT NOT NULL,     -- without the provider
    instructions         TEXT,
    instructions_text_id INTEGER, -- instead of instructions where they are long
    tools                TEXT,              -- JSON array of names; NULL: all builtins
    options              TEXT,              -- JSON object
    base_url             TEXT,
    key_env              TEXT,              -- name of the variable that holds the key, never a key
    max_steps            INTEGER NOT NULL,  -- 0: default
    created_at_ms        INTEGER NOT NULL,
    UNIQUE (agent_id, version)
) STRICT;

CREATE TABLE session (
    id            INTEGER PRIMARY KEY,
    agent_id      INTEGER NOT NULL REFERENCES agent (id),
    name          TEXT,                     -- NULL: it has none
    turns         INTEGER NOT NULL DEFAULT 0,
    messages      INTEGER NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    last_at_ms    INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX session_name ON session (agent_id, name) WHERE name IS NOT NULL;

CREATE TABLE message (
    id            INTEGER PRIMARY KEY,      -- session_id << 24 | seq: a session's rows lie together
    run_id        INTEGER NOT NULL,
    role          TEXT NOT NULL CHECK (role = 'system' OR role = 'user' OR role = 'assistant' OR role = 'tool'),
    body          TEXT,                     -- NULL: a user's text is run.input, a tool's is tool_call.result
    calls         TEXT,                     -- assistant: JSON array of {id, name, arguments}
    extra         TEXT,                     -- what the provider wants back as it was, JSON
    call_id       INTEGER,                  -- tool: tool_call.id
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
    id               INTEGER PRIMARY KEY,
    agent_id         INTEGER NOT NULL,
    agent_version_id INTEGER NOT NULL,
    session_id       INTEGER NOT NULL,
    status           TEXT NOT NULL CHECK (status = 'succeeded' OR status = 'running' OR status = 'queued' OR
                                          status = 'failed' OR status = 'cancelled' OR status = 'waiting'),
    priority         INTEGER NOT NULL,      -- 1 high, 0 normal, -1 low
    owner_id         INTEGER,               -- who drives it, while it is running
    attempt          INTEGER NOT NULL,      -- 0: never begun; grows with every owner that takes it up
    input            TEXT NOT NULL,
    options          TEXT,                  -- JSON laid over the agent's
    input_seq        INTEGER,               -- its user message; NULL: never begun
    output_seq       INTEGER,               -- its answer
    trace_id         BLOB,
    idempotency_key  TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    ready            INTEGER NOT NULL DEFAULT 0, -- 1: to be taken by whoever works: nothing of its session is before it, nobody has it; 2: came with a copy, waits for resume
    error_status     INTEGER,               -- agent_status of a failed run
    error            TEXT,
    hint             TEXT,
    queued_at_ms     INTEGER NOT NULL,
    started_at_ms    INTEGER,               -- of the first attempt
    ended_at_ms      INTEGER,               -- NULL: open
    deadline_at_ms   INTEGER,
    queue_us         INTEGER,
    wall_us          INTEGER,
    input_tokens     INTEGER,
    output_tokens    INTEGER,
    cache_hit        INTEGER,
    rss_peak_bytes   INTEGER
) STRICT;
CREATE INDEX run_open ON run (session_id, id, owner_id, ended_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX run_unbegun ON run (session_id) WHERE input_seq IS NULL;
CREATE INDEX run_queue ON run (ready, priority) WHERE status = 'queued' OR ready = 1;
CREATE INDEX run_cancel ON run (owner_id) WHERE cancel_requested = 1 AND ended_at_ms IS NULL;
CREATE INDEX run_unhappy ON run (status) WHERE status = 'failed' OR status = 'cancelled';
CREATE UNIQUE INDEX run_idempotency_key ON run (idempotency_key) WHERE idempotency_key IS NOT NULL;
-- How long the queue is, so that nobody counts it: its limit is looked at by every run that is queued. Who queues one
-- adds 1; what comes and goes later sets `ready`, which the end of a run, the commonest update, does not.
INSERT INTO meta (key, value) VALUES ('queued', 0);
CREATE TRIGGER queued_update AFTER UPDATE OF ready ON run
    WHEN (old.status = 'queued' AND old.owner_id IS NULL) <> (new.status = 'queued' AND new.owner_id IS NULL) BEGIN
    UPDATE meta SET value = value + iif(new.status = 'queued' AND new.owner_id IS NULL, 1, -1) WHERE key = 'queued';
END;
CREATE TRIGGER queued_delete AFTER DELETE ON run WHEN old.status = 'queued' AND old.owner_id IS NULL BEGIN
    UPDATE meta SET value = value - 1 WHERE key = 'queued';
END;

CREATE TABLE step (
    id            INTEGER PRIMARY KEY,      -- run_id << 12 | number, one count with tool_call
    attempt       INTEGER NOT NULL,         -- of the model call, from 1
    status        TEXT NOT NULL CHECK (status = 'running' OR status = 'succeeded' OR status = 'failed' OR
                                       status = 'cancelled'),
    started_at_ms INTEGER NOT NULL,
    wall_us       INTEGER,
    input_tokens  INTEGER,
    output_tokens INTEGER,
    cached_tokens INTEGER,                  -- of input_tokens, as the provider tells
    error         TEXT,
    cached        INTEGER NOT NULL DEFAULT 0 -- 1: answered from the response cache
) STRICT;

CREATE TABLE tool_call (
    id                   INTEGER PRIMARY KEY, -- run_id << 12 | number
    model_step           INTEGER NOT NULL,    -- number of the step that asked for it
    call_id              TEXT NOT NULL,       -- the model's name for it
    tool                 TEXT NOT NULL,
    effect               TEXT NOT NULL CHECK (effect = 'pure' OR effect = 'idempotent' OR effect = 'effect'),
    effect_id            TEXT,                -- handed to the tool, the same in every repetition
    status               TEXT NOT NULL CHECK (status = 'succeeded' OR status = 'intended' OR status = 'running' OR
                                              status = 'failed' OR status = 'timeout' OR status = 'cancelled' OR
                                              status = 'denied' OR status = 'unknown'),
    arguments            TEXT,
    result               TEXT,
    result_text_id       INTEGER, -- instead of result where it is long
    started_at_ms        INTEGER NOT NULL,
    wall_us              INTEGER,
    child_rss_peak_bytes INTEGER,
    decision             TEXT                 -- what a person decided about an unknown outcome, and why
) STRICT;
CREATE INDEX tool_call_text ON tool_call (result_text_id) WHERE result_text_id IS NOT NULL;

CREATE TABLE stage (
    id   INTEGER PRIMARY KEY,                 -- run_id << 12 | n, one row per commit
    rows TEXT NOT NULL                        -- JSON array of arrays; v_stage_memory names the places
) STRICT;

CREATE TABLE sample (                         -- RSS while a run was under way, of runs longer than the interval of sampling
    id     INTEGER PRIMARY KEY,               -- run_id << 12 | n, one row for each process that took the run up
    at_ms  INTEGER NOT NULL,                  -- of the first
    series TEXT NOT NULL                      -- JSON: [[ms after at_ms, KB], ...]; what lies on a line with its neighbours is left out
) STRICT;

CREATE TABLE notice (                         -- what engines did about memory by themselves
    id          INTEGER PRIMARY KEY,
    owner_id    INTEGER,                      -- NULL: it had driven nothing yet
    at_ms       INTEGER NOT NULL,
    kind        TEXT NOT NULL,                -- pressure, smaps
    level       INTEGER,                      -- of pressure after it: 1 the cache is smaller, 2 low runs wait, 3 runs are refused; NULL: of something else
    rss_bytes   INTEGER,
    limit_bytes INTEGER,
    text        TEXT NOT NULL
) STRICT;
CREATE TRIGGER notice_bound AFTER INSERT ON notice WHEN new.id % 64 = 0 BEGIN
    DELETE FROM notice WHERE id <= new.id - 256;
END;

CREATE TABLE journal (
    id   INTEGER PRIMARY KEY,                 -- (run_id << 12 | step) << 9 | chunk
    text TEXT NOT NULL                        -- of an answer that is not complete; gone once it is
) STRICT;

CREATE TABLE memory (
    id            INTEGER PRIMARY KEY,
    agent_id      INTEGER NOT NULL REFERENCES agent (id),
    scope         TEXT NOT NULL,
    key           TEXT NOT NULL,
    text          TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    source_run_id INTEGER,                    -- NULL: written by hand
    UNIQUE (agent_id, scope, key)
) STRICT;
CREATE INDEX memory_recent ON memory (agent_id, scope);

-- Full text over memory. Triggers keep it, so that rows edited by hand are found too. A REPLACE pushes
-- rows out without a word to the delete trigger: what it may push out is noted before, and taken out of
-- the index after, where it is gone. A note on a row that stayed (OR IGNORE, ON CONFLICT) does nothing.
CREATE VIRTUAL TABLE memory_fts USING fts5 (key, text, content = 'memory', content_rowid = 'id');
CREATE TABLE memory_pushed (
    id   INTEGER PRIMARY KEY,                 -- of memory, with its words as the index has them
    key  TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TRIGGER memory_fts_push BEFORE INSERT ON memory WHEN EXISTS (SELECT 1 FROM memory m WHERE m.id = new.id) OR
    EXISTS (SELECT 1 FROM memory m WHERE m.agent_id = new.agent_id AND m.scope = new.scope AND m.key = new.key) BEGIN
    DELETE FROM memory_pushed;
    INSERT INTO memory_pushed (id, key, text) SELECT m.id, m.key, m.text FROM memory m
     WHERE m.id = new.id OR (m.agent_id = new.agent_id AND m.scope = new.scope AND m.key = new.key);
END;
CREATE TRIGGER memory_fts_push_update BEFORE UPDATE OF id, agent_id, scope, key ON memory BEGIN
    DELETE FROM memory_pushed;
    INSERT INTO memory_pushed (id, key, text) SELECT m.id, m.key, m.text FROM memory m
     WHERE m.id <> old.id AND (m.id = new.id OR (m.agent_id = new.agent_id AND m.scope = new.scope AND m.key = new.key));
END;
CREATE TRIGGER memory_fts_insert AFTER INSERT ON memory BEGIN
    INSERT INTO memory_fts (memory_fts, rowid, key, text) SELECT 'delete', p.id, p.key, p.text FROM memory_pushed p
     WHERE NOT EXISTS (SELECT 1 FROM memory m WHERE m.id = p.id AND m.id <> new.id);
    DELETE FROM memory_pushed;
    INSERT INTO memory_fts (rowid, key, text) VALUES (new.id, new.key, new.text);
END;
CREATE TRIGGER memory_fts_delete AFTER DELETE ON memory BEGIN
    DELETE FROM memory_pushed WHERE id = old.id;
    INSERT INTO memory_fts (memory_fts, rowid, key, text) VALUES ('delete', old.id, old.key, old.text);
END;
CREATE TRIGGER memory_fts_update AFTER UPDATE ON memory BEGIN
    INSERT INTO memory_fts (memory_fts, rowid, key, text) SELECT 'delete', p.id, p.key, p.text FROM memory_pushed p
     WHERE p.id <> old.id AND NOT EXISTS (SELECT 1 FROM memory m WHERE m.id = p.id AND m.id <> new.id);
    DELETE FROM memory_pushed;
    INSERT INTO memory_fts (memory_fts, rowid, key, text) VALUES ('delete', old.id, old.key, old.text);
    INSERT INTO memory_fts (rowid, key, text) VALUES (new.id, new.key, new.text);
END;

CREATE TABLE tool (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    description      TEXT NOT NULL,
    argv             TEXT NOT NULL,           -- JSON array of strings; no shell
    schema           TEXT,                    -- JSON Schema of the arguments; NULL: any object
    effect           TEXT NOT NULL CHECK (effect = 'pure' OR effect = 'idempotent' OR effect = 'effect'),
    timeout_ms       INTEGER NOT NULL,        -- 0: default
    max_output_bytes INTEGER NOT NULL,        -- 0: default
    created_at_ms    INTEGER NOT NULL,
    updated_at_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE cache (
    id             INTEGER PRIMARY KEY,
    key            BLOB NOT NULL UNIQUE,      -- SHA-256 of the request as it is sent
    kind           TEXT NOT NULL,
    agent_id       INTEGER,
    model          TEXT,
    bytes          INTEGER NOT NULL,          -- of the entry: what the limit counts
    tokens         INTEGER,                   -- of the answer and its request: what a hit saves; NULL: unknown
    rank           INTEGER NOT NULL,          -- meta's cache_clock when last asked for, and what it is worth; the lowest goes first
    hits           INTEGER NOT NULL DEFAULT 0,
    created_at_ms  INTEGER NOT NULL,
    last_hit_at_ms INTEGER,
    expires_at_ms  INTEGER,                   -- NULL: never
    request        BLOB NOT NULL,             -- SHA-256 of the head and of each message of the request
    body           TEXT NOT NULL              -- the answer, JSON
) STRICT;
CREATE INDEX cache_rank ON cache (rank, coalesce(last_hit_at_ms, created_at_ms), bytes);
CREATE INDEX cache_expires ON cache (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

CREATE TABLE cache_lease (                    -- who is asking just now, so that others wait for the answer
    key      BLOB NOT NULL PRIMARY KEY,
    owner_id INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What changed of what engines keep in memory, so that one that runs drops the changed row and not
-- all of them, also when a row is edited by hand. Without these rows it drops everything. A REPLACE
-- pushes rows out without a word to a delete trigger, so the triggers look before it happens.
CREATE TABLE change (
    id   INTEGER PRIMARY KEY,                 -- no gaps; at least the last 4096 are kept
    mark INTEGER NOT NULL DEFAULT (random()), -- tells it from the row of that id in a copy of the file
    kind TEXT NOT NULL,
    key  ANY
) STRICT;
INSERT INTO change (kind) VALUES ('made');
CREATE TRIGGER change_bound AFTER INSERT ON change WHEN new.id % 64 = 0 BEGIN
    DELETE FROM change WHERE id <= new.id - 4096;
END;

CREATE TRIGGER change_version_insert BEFORE INSERT ON agent_version WHEN EXISTS (SELECT 1 FROM agent_version v WHERE v.id = new.id) OR
    EXISTS (SELECT 1 FROM agent_version v WHERE v.agent_id = new.agent_id AND v.version = new.version) BEGIN
    INSERT INTO change (kind, key) SELECT 'version', v.id FROM agent_version v
     WHERE v.id = new.id OR (v.agent_id = new.agent_id AND v.version = new.version);
END;
CREATE TRIGGER change_version_update BEFORE UPDATE ON agent_version BEGIN
    INSERT INTO change (kind, key) SELECT 'version', v.id FROM agent_version v
     WHERE v.id = old.id OR v.id = new.id OR (v.agent_id = new.agent_id AND v.version = new.version);
END;
CREATE TRIGGER change_version_delete AFTER DELETE ON agent_version BEGIN
    INSERT INTO change (kind, key) VALUES ('version', old.id);
END;

CREATE TRIGGER change_agent_insert BEFORE INSERT ON agent WHEN EXISTS (SELECT 1 FROM agent a WHERE a.id = new.id) OR
    EXISTS (SELECT 1 FROM agent a WHERE a.name = new.name) BEGIN
    INSERT INTO change (kind) VALUES ('agents');
END;
CREATE TRIGGER change_agent_update BEFORE UPDATE OF id, name ON agent BEGIN -- its counters change with every run
    INSERT INTO change (kind) VALUES ('agents');
END;
CREATE TRIGGER change_agent_delete AFTER DELETE ON agent BEGIN
    INSERT INTO change (kind) VALUES ('agents');
END;

CREATE TRIGGER change_text_insert BEFORE INSERT ON text WHEN EXISTS (SELECT 1 FROM text t WHERE t.id = new.id) OR
    EXISTS (SELECT 1 FROM text t WHERE t.hash = new.hash) BEGIN
    INSERT INTO change (kind) VALUES ('agents');
END;
CREATE TRIGGER change_text_update BEFORE UPDATE ON text BEGIN
    INSERT INTO change (kind) VALUES ('agents');
END;
CREATE TRIGGER change_text_delete AFTER DELETE ON text BEGIN
    INSERT INTO change (kind) VALUES ('agents');
END;

CREATE TRIGGER change_memory_before BEFORE INSERT ON memory WHEN EXISTS (SELECT 1 FROM memory m
    WHERE m.id = new.id AND m.agent_id <> new.agent_id) BEGIN
    INSERT INTO change (kind, key) SELECT 'memory', m.agent_id FROM memory m WHERE m.id = new.id;
END;
CREATE TRIGGER change_memory_insert AFTER INSERT ON memory BEGIN
    INSERT INTO change (kind, key) VALUES ('memory', new.agent_id);
END;
CREATE TRIGGER change_memory_update AFTER UPDATE ON memory BEGIN
    INSERT INTO change (kind, key) VALUES ('memory', old.agent_id);
END;
CREATE TRIGGER change_memory_move BEFORE UPDATE OF id, agent_id ON memory BEGIN
    INSERT INTO change (kind, key) VALUES ('memory', new.agent_id);
    INSERT INTO change (kind, key) SELECT 'memory', m.agent_id FROM memory m WHERE m.id = new.id AND m.id <> old.id;
END;
CREATE TRIGGER change_memory_delete AFTER DELETE ON memory BEGIN
    INSERT INTO change (kind, key) VALUES ('memory', old.agent_id);
END;

CREATE TRIGGER change_tool_insert BEFORE INSERT ON tool BEGIN
    INSERT INTO change (kind, key) VALUES ('tool', new.name);
END;
CREATE TRIGGER change_tool_update BEFORE UPDATE ON tool BEGIN
    INSERT INTO change (kind, key) VALUES ('tool', old.name);
END;
CREATE TRIGGER change_tool_delete AFTER DELETE ON tool BEGIN
    INSERT INTO change (kind, key) VALUES ('tool', old.name);
END;

-- The same for answers, and their bytes in sum (meta's cache_bytes; NULL: to be counted anew).
CREATE TRIGGER change_cache_before BEFORE INSERT ON cache WHEN EXISTS (SELECT 1 FROM cache c WHERE c.id = new.id) OR
    EXISTS (SELECT 1 FROM cache c WHERE c.key = new.key) BEGIN
    INSERT INTO change (kind, key) SELECT 'response', c.key FROM cache c WHERE c.id = new.id OR c.key = new.key;
    UPDATE meta SET value = NULL WHERE key = 'cache_bytes';
END;
CREATE TRIGGER change_cache_insert AFTER INSERT ON cache BEGIN
    UPDATE meta SET value = value + new.bytes WHERE key = 'cache_bytes';
END;
CREATE TRIGGER change_cache_update BEFORE UPDATE OF id, key, kind, bytes, created_at_ms, expires_at_ms, request, body ON cache BEGIN
    INSERT INTO change (kind, key) SELECT 'response', c.key FROM cache c
     WHERE c.id = old.id OR c.id = new.id OR c.key = new.key;
    UPDATE meta SET value = NULL WHERE key = 'cache_bytes';
END;
CREATE TRIGGER change_cache_delete AFTER DELETE ON cache BEGIN
    INSERT INTO change (kind, key) VALUES ('response', old.key);
    UPDATE meta SET value = value - old.bytes WHERE key = 'cache_bytes';
END;

-- The views are the contract: columns are added at the end, never renamed. Times are ISO-8601 UTC,
-- NULL is unknown, rows are in id order. Where there is a last column `id`, ranges of it are fast:
-- id BETWEEN run_id << 12 AND run_id << 12 | 4095 (messages: session_id << 24 | seq).

CREATE VIEW v_agents AS
SELECT a.id, a.name, v.version, v.provider, v.model,
       coalesce(v.instructions, (SELECT t.body FROM text t WHERE t.id = v.instructions_text_id)) AS instructions,
       v.tools,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
       a.sessions, a.runs,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.last_run_at_ms / 1000.0, 'unixepoch') AS last_run_at
  FROM agent a LEFT JOIN agent_version v ON v.id = a.version_id;

CREATE VIEW v_agent_versions AS
SELECT (SELECT a.name FROM agent a WHERE a.id = v.agent_id) AS agent, v.version, v.provider, v.model,
       coalesce(v.instructions, (SELECT t.body FROM text t WHERE t.id = v.instructions_text_id)) AS instructions,
       v.tools, v.options, v.base_url, v.max_steps,
       strftime('%Y-%m-%dT%H:%M:%fZ', v.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       v.key_env, v.id
  FROM agent_version v;

CREATE VIEW v_sessions AS
SELECT s.id, (SELECT a.name FROM agent a WHERE a.id = s.agent_id) AS agent, s.name,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.last_at_ms / 1000.0, 'unixepoch') AS last_at,
       s.turns, s.messages, s.input_tokens, s.output_tokens
  FROM session s;

CREATE VIEW v_messages AS
SELECT m.id >> 24 AS session_id, m.id & 16777215 AS seq, m.run_id, m.role,
       CASE WHEN m.body IS NOT NULL THEN m.body
            WHEN m.role = 'user' THEN (SELECT r.input FROM run r WHERE r.id = m.run_id)
            WHEN m.role = 'tool' THEN coalesce(c.result, (SELECT t.body FROM text t WHERE t.id = c.result_text_id))
       END AS text,
       c.tool AS tool_name, c.call_id AS tool_call_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       m.calls, m.id
  FROM message m LEFT JOIN tool_call c ON c.id = m.call_id;

CREATE VIEW v_runs AS
SELECT r.id, CASE WHEN r.trace_id IS NOT NULL THEN lower(hex(r.trace_id)) END AS trace_id,
       (SELECT a.name FROM agent a WHERE a.id = r.agent_id) AS agent,
       (SELECT v.version FROM agent_version v WHERE v.id = r.agent_version_id) AS agent_version,
       r.session_id, r.status, r.priority, r.input,
       (SELECT m.body FROM message m WHERE m.id = (r.session_id << 24) + r.output_seq) AS output,
       r.error, r.attempt AS attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.queued_at_ms / 1000.0, 'unixepoch') AS queued_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.ended_at_ms / 1000.0, 'unixepoch') AS ended_at,
       r.queue_us / 1000.0 AS queue_ms, r.wall_us / 1000.0 AS wall_ms,
       r.input_tokens, r.output_tokens, r.cache_hit, r.rss_peak_bytes,
       r.hint, r.idempotency_key
  FROM run r;

CREATE VIEW v_steps AS
SELECT s.id >> 12 AS run_id, s.id & 4095 AS step, 'model' AS kind, s.status, s.attempt,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.started_at_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', (s.started_at_ms + s.wall_us / 1000) / 1000.0, 'unixepoch') AS ended_at,
       s.wall_us / 1000.0 AS wall_ms, s.input_tokens, s.output_tokens, NULL AS tool, s.error,
       s.cached_tokens, s.cached, s.id AS id
  FROM step s
UNION ALL
SELECT c.id >> 12, c.id & 4095, 'tool',
       CASE c.status WHEN 'succeeded' THEN 'succeeded' WHEN 'cancelled' THEN 'cancelled'
                     WHEN 'intended' THEN 'running' WHEN 'running' THEN 'running' WHEN 'unknown' THEN 'running'
                     ELSE 'failed' END,
       NULL,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.started_at_ms / 1000.0, 'unixepoch'),
       strftime('%Y-%m-%dT%H:%M:%fZ', (c.started_at_ms + c.wall_us / 1000) / 1000.0, 'unixepoch'),
       c.wall_us / 1000.0, NULL, NULL, c.tool,
       CASE WHEN c.status = 'succeeded' OR c.status = 'intended' OR c.status = 'running' THEN NULL
            ELSE coalesce(c.result, (SELECT t.body FROM text t WHERE t.id = c.result_text_id)) END,
       NULL, NULL, c.id
  FROM tool_call c
 ORDER BY id;

CREATE VIEW v_tool_calls AS
SELECT c.id >> 12 AS run_id, c.id & 4095 AS step, c.call_id, c.tool, c.effect, c.effect_id, c.status, c.arguments,
       coalesce(c.result, (SELECT t.body FROM text t WHERE t.id = c.result_text_id)) AS result,
       c.wall_us / 1000.0 AS wall_ms, c.child_rss_peak_bytes, c.model_step, c.decision, c.id
  FROM tool_call c;

CREATE VIEW v_stage_memory AS -- json_each alone, for json_extract is refused in views under trusted_schema=OFF before 3.41
SELECT s.id >> 12 AS run_id,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 0) AS step,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 1) AS stage,
       strftime('%Y-%m-%dT%H:%M:%fZ', (SELECT k.value FROM json_each(j.value) k WHERE k.key = 2) / 1000.0, 'unixepoch') AS started_at,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 3) AS wall_us,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 4) AS rss_before_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 5) AS rss_peak_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 6) AS rss_after_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 7) AS heap_peak_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 8) AS heap_net_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 9) AS child_rss_peak_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 10) AS commit_us,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 11) AS samples,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 12) AS attribution,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 13) AS peak_source,
       (SELECT 'own' || iif(k.value & 1, '+json', '') || iif(k.value & 2, '+sqlite', '') || iif(k.value & 4, '+curl', '')
          FROM json_each(j.value) k WHERE k.key = 14 AND k.value IS NOT NULL) AS heap_includes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 15) AS shared_sample,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 16) AS pss_bytes, -- 16 to 19 are there where they were read
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 17) AS anon_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 18) AS file_bytes,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 19) AS smaps_us,
       s.id
  FROM stage s CROSS JOIN json_each(s.rows) j;

CREATE VIEW v_samples AS -- RSS of the process between the borders of a run's stages
SELECT s.id >> 12 AS run_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', (s.at_ms + (SELECT k.value FROM json_each(j.value) k WHERE k.key = 0)) / 1000.0, 'unixepoch') AS at,
       (SELECT k.value FROM json_each(j.value) k WHERE k.key = 1) * 1024 AS rss_bytes,
       s.id
  FROM sample s CROSS JOIN json_each(s.series) j;

CREATE VIEW v_notices AS
SELECT n.id, strftime('%Y-%m-%dT%H:%M:%fZ', n.at_ms / 1000.0, 'unixepoch') AS at, n.kind, n.level, n.rss_bytes, n.limit_bytes,
       n.text, n.owner_id
  FROM notice n;

CREATE VIEW v_journal AS -- what has come of answers that are not complete yet, in order
SELECT j.id >> 21 AS run_id, (j.id >> 9) & 4095 AS step, j.text, j.id
  FROM journal j;

CREATE VIEW v_memory AS
SELECT m.id, (SELECT a.name FROM agent a WHERE a.id = m.agent_id) AS agent, m.scope, m.key, m.text,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
       m.source_run_id
  FROM memory m;

CREATE VIEW v_cache AS
SELECT lower(hex(c.key)) AS key, c.kind, (SELECT a.name FROM agent a WHERE a.id = c.agent_id) AS agent, c.model,
       c.bytes, c.hits,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.last_hit_at_ms / 1000.0, 'unixepoch') AS last_hit_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.expires_at_ms / 1000.0, 'unixepoch') AS expires_at,
       c.tokens, c.body, c.id
  FROM cache c;

CREATE VIEW v_tools AS -- the command tools; the builtin ones are in the library, not in the file
SELECT t.name, 'command' AS kind, t.description, t.effect, t.timeout_ms, t.argv, t.schema,
       strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       t.max_output_bytes, t.id
  FROM tool t;

CREATE VIEW v_log AS -- what became of a run, line by line; select it by run_id
SELECT run_id, strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at, kind, text, id FROM (
    SELECT r.id AS run_id, r.queued_at_ms AS at_ms, 'queued' AS kind,
           'queued, ' || CASE r.priority WHEN 1 THEN 'high' WHEN 0 THEN 'normal' ELSE 'low' END || ' priority' AS text,
           r.id << 12 AS id, 0 AS phase
      FROM run r
    UNION ALL
    SELECT r.id, r.started_at_ms, 'started', 'started' || iif(r.attempt > 1, ', taken up ' || (r.attempt - 1) || ' times since', ''),
           r.id << 12, 1
      FROM run r WHERE r.started_at_ms IS NOT NULL
    UNION ALL
    SELECT s.id >> 12, s.started_at_ms, 'step', 'step ' || (s.id & 4095) || ' attempt ' || s.attempt || ' started', s.id, 2
      FROM step s
    UNION ALL
    SELECT s.id >> 12, s.started_at_ms + coalesce(s.wall_us, 0) / 1000, 'step',
           'step ' || (s.id & 4095) || ' attempt ' || s.attempt || ' ' || s.status ||
           iif(s.wall_us IS NULL, '', printf(' after %.1f ms', s.wall_us / 1000.0)) ||
           iif(s.cached = 1, ', from the response cache', '') || coalesce(': ' || s.error, ''), s.id, 3
      FROM step s WHERE s.status <> 'running'
    UNION ALL
    SELECT c.id >> 12, c.started_at_ms, 'tool', 'tool ' || c.tool || ' ' || c.call_id || ' started', c.id, 2
      FROM tool_call c
    UNION ALL
    SELECT c.id >> 12, c.started_at_ms + coalesce(c.wall_us, 0) / 1000, 'tool',
           'tool ' || c.tool || ' ' || c.call_id || ' ' || c.status ||
           iif(c.wall_us IS NULL, '', printf(' after %.1f ms', c.wall_us / 1000.0)) || coalesce(', ' || c.decision, ''), c.id, 3
      FROM tool_call c WHERE c.status <> 'intended' AND c.status <> 'running'
    UNION ALL
    SELECT r.id, r.ended_at_ms, 'ended',
           r.status || iif(r.wall_us IS NULL, '', printf(' after %.1f ms', r.wall_us / 1000.0)) || coalesce(': ' || r.error, ''),
           r.id << 12 | 4095, 4
      FROM run r WHERE r.ended_at_ms IS NOT NULL)
 ORDER BY run_id, at_ms, id, phase;
