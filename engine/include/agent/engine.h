/*
 * The engine: one open file, its workers, and what is kept in it besides runs: agents, sessions,
 * memory.
 */
#ifndef AGENT_ENGINE_H
#define AGENT_ENGINE_H

#include <agent/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

AGENT_BEGIN_DECLS

typedef struct agent_engine agent_engine;

typedef struct agent_run_id { int64_t id; } agent_run_id;         /* 0: none */
typedef struct agent_session_id { int64_t id; } agent_session_id; /* 0: none */

enum agent_open_flag {
    AGENT_OPEN_CREATE = 1,     /* make the file where it is not there (its folder must be) */
    AGENT_OPEN_INSPECT = 2,    /* read only: no owner, no migration, never a write */
    AGENT_OPEN_NETWORK_FS = 4, /* allow a network file system (journal_mode DELETE, slower) */
    AGENT_OPEN_NO_MIGRATE = 8, /* refuse an older schema (AGENT_ESCHEMA) instead of upgrading it */
};

enum agent_durability {
    AGENT_DURABILITY_POWER = 0,   /* synchronous=FULL: survives a power cut */
    AGENT_DURABILITY_PROCESS = 1, /* synchronous=NORMAL: survives kill -9, not a power cut */
};

typedef struct agent_options {
    size_t size;      /* sizeof(agent_options); AGENT_OPTIONS_INIT sets it */
    const char *path; /* the database file; copied. NULL: store=memory, nothing is kept */
    unsigned flags;   /* of agent_open_flag */
    int workers;      /* threads that drive runs; 0: none, the caller's thread does; -1: one per core */
    int durability;   /* of agent_durability */
    int64_t cache_bytes;         /* budget of the front cache; -1: default (64 MB); 0: none */
    int64_t max_active_runs;     /* started and not ended; more gets AGENT_EBUSY; 0: default */
    int64_t busy_timeout_ms;     /* how long a commit waits for another process; 0: default (5000) */
    int sample_interval_ms;      /* memory readings, 1 to 1000; 0: default (100), -1: off (figures are NULL). With
                                    workers = 0 a thread takes them only where this is set: else borders of stages alone */
    /* Log lines; may be called from any thread of the engine. NULL: silence. */
    void (*log)(void *ctx, int level, const char *module, const char *text);
    void *log_ctx;
    int log_level; /* 0 error .. 3 debug */
    /* Looks up a secret by the name of its variable (OPENAI_API_KEY); NULL: there is none. The
     * result is copied at once into memory that never reaches file, log or event. Called from any
     * thread. The library itself reads no environment. */
    const char *(*secret)(void *ctx, const char *name);
    void *secret_ctx;
    const char *const *tool_env; /* "NAME=value", NULL-terminated: all a command tool gets besides AGENT_*; copied */
    const char *ca_file;         /* PEM bundle for TLS; NULL: the system's */
    const char *proxy;           /* for HTTP requests; NULL: none */
    int64_t memory_limit_bytes;  /* RSS of this process; 0: none. At 80 % the front cache shrinks, at 90 % runs of
                                    class low wait, at 100 % new runs get AGENT_EBUDGET; undone 5 % below */
    bool sample_hwm;             /* the kernel's own peak for each stage: catches spikes between two readings, but
                                    resets VmHWM, so that what others read of it (time -v) is wrong */
    bool no_heap_accounts;       /* heap figures are NULL; saves a few ns per allocation */
    const char *proc_path;       /* where this process is described; NULL: /proc/self */
    const char *cache_policy;    /* of the front cache: lruk-adaptive, lruk, lru, fifo, s3fifo, gdsf, none; NULL: the
                                    file's setting, else the first */
    int64_t smaps_budget_us;     /* PSS, anonymous and file-backed memory are read where a run begins and ends while
                                    a reading costs no more CPU time; 0: default (1000), -1: never */
} agent_options;

#define AGENT_OPTIONS_INIT { .size = sizeof(agent_options), .workers = -1, .cache_bytes = -1 }

/**
 * Opens an engine on a file.
 *
 * @retval AGENT_ENOTFOUND the file (or its folder) is not there
 * @retval AGENT_ESCHEMA   the file is of a newer version: left untouched
 * @retval AGENT_ESTORAGE  not a database, not ours, read-only, locked, damaged; detail: SQLite's code
 *
 * Blocks for file access and, on an older file, for its migration. Not for signal handlers.
 */
AGENT_API agent_status agent_open(const agent_options *options, agent_engine **out, agent_error *err);

/**
 * Closes the engine. Runs that have not ended are left in the file as they are, for the next
 * engine to resume. Blocks until the last commit is done. NULL is fine. No handle of this engine
 * may be used afterwards, but agent_run_free() of its runs must have been called before.
 */
AGENT_API void agent_close(agent_engine *engine);

/** Libraries below this one that may allocate through it, so that the heap figures of a run include
 *  what they take on its behalf. */
enum agent_memory_hook {
    AGENT_MEMORY_JSON = 1,   /* jansson: json_set_alloc_funcs() */
    AGENT_MEMORY_SQLITE = 2, /* sqlite3_config(SQLITE_CONFIG_MALLOC) */
    AGENT_MEMORY_CURL = 4,   /* curl_global_init_mem() */
};

/**
 * Hooks their allocators: a change to the whole process, the host's own use of these libraries
 * included, and so the host's to ask for. Once, before the first engine is opened and before another
 * thread runs; there is no way back.
 *
 * @param which  set of agent_memory_hook
 * @retval AGENT_EBUSY   that library is in use already; those before it in the order sqlite, curl, json are hooked
 * @retval AGENT_EINVAL  no such set, or jansson on a platform where malloc aligns for less than 16 bytes
 */
AGENT_API agent_status agent_memory_hooks(unsigned which, agent_error *err);

/* --- agents: named configurations with immutable versions ------------------------------------ */

#define AGENT_NAME_MAX 64 /* bytes; letters, digits and . _ - , not beginning with . or - */

typedef struct agent_config {
    size_t size;
    const char *model;        /* "provider:model"; NULL: "offline:demo" */
    const char *instructions; /* system prompt; NULL: none */
    const char *const *tools; /* names; NULL: all builtins */
    size_t tool_count;        /* with tools != NULL; 0: no tools at all */
    const char *options;      /* JSON object of model and engine options; NULL: {} */
    const char *base_url;     /* NULL: the provider's own */
    const char *key_env;      /* variable that holds the key; NULL: the provider's own */
    int max_steps;            /* model calls in one run; 0: default (25) */
} agent_config;

#define AGENT_CONFIG_INIT { .size = sizeof(agent_config) }

enum agent_create_mode {
    AGENT_CREATE_NEW,           /* AGENT_EEXISTS where the name is taken */
    AGENT_CREATE_IF_NOT_EXISTS, /* leaves an existing one alone */
    AGENT_CREATE_REPLACE,       /* a new version of it */
    AGENT_CREATE_EDIT,          /* as REPLACE but must exist; NULL / 0 fields keep their value, and
                                   the keys of `options` are merged into the old (null removes) */
};

/**
 * Creates an agent or a new version of one. Committed when it returns.
 *
 * @param out_version  1 for a new agent; untouched on failure; may be NULL.
 * @retval AGENT_EINVAL  bad name, unknown provider, model without provider, bad UTF-8, bad options
 * @retval AGENT_EEXISTS / AGENT_ENOTFOUND  by the mode
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_create(agent_engine *engine, const char *name, const agent_config *config,
                                    enum agent_create_mode mode, int64_t *out_version, agent_error *err);

/** An agent file that was read: JSON with name, model, instructions, tools, options, base_url,
 *  key_env, max_steps. */
typedef struct agent_config_file agent_config_file;

/** Parses `json`; an error names line and column. Given: free with agent_config_file_free(). */
AGENT_API agent_status agent_config_parse(const char *json, size_t bytes, agent_config_file **out,
                                          agent_error *err);
/** Borrowed from the file, NULL fields where the file says nothing. */
AGENT_API const agent_config *agent_config_file_config(const agent_config_file *file);
AGENT_API const char *agent_config_file_name(const agent_config_file *file); /* NULL: none given */
AGENT_API void agent_config_file_free(agent_config_file *file);

/** Removes an agent with its sessions, runs and memory. AGENT_EBUSY while one of its runs is live. */
AGENT_API agent_status agent_remove(agent_engine *engine, const char *name, agent_error *err);

/* --- sessions and memory ----------------------------------------------------------------------- */

/** Finds a session: `spec` is a name or "#ID". AGENT_ENOTFOUND where there is none. */
AGENT_API agent_status agent_session_find(agent_engine *engine, const char *agent, const char *spec,
                                          agent_session_id *out, agent_error *err);
/** Removes a session with its messages and runs. AGENT_EBUSY while one of its runs is live. */
AGENT_API agent_status agent_session_remove(agent_engine *engine, agent_session_id session, agent_error *err);

/** Writes one memory of an agent; a second call with the same key replaces the text. key NULL: a new one. */
AGENT_API agent_status agent_memory_set(agent_engine *engine, const char *agent, const char *scope,
                                        const char *key, const char *text, int64_t *out_id, agent_error *err);
AGENT_API agent_status agent_memory_remove(agent_engine *engine, const char *agent, const char *scope,
                                           const char *key, agent_error *err);

/* --- limits --------------------------------------------------------------------------------------- */

typedef struct agent_limit {
    size_t size;
    const char *name, *unit;
    int64_t value;          /* in force in this engine, where host and agent say nothing else */
    int64_t standard;       /* its default */
    int64_t least, most;    /* what it may be set to; most 0: it is fixed */
    const char *error;      /* what going over it gives: a status, or what happens */
    const char *text;
    const char *const *choices; /* what its values 0, 1, 2 … are called; NULL: it is a number */
} agent_limit;

/** Calls `fn` for every limit. Thread-safe. */
AGENT_API agent_status agent_limits(agent_engine *engine, void (*fn)(void *ctx, const agent_limit *limit), void *ctx,
                                    agent_error *err);
/** Keeps a limit in the file, for every engine opened on it from now on; value NULL: the default again.
 *  AGENT_ENOTFOUND, AGENT_EINVAL (fixed, or out of range). Commits. Before the engine's first run. */
AGENT_API agent_status agent_limit_set(agent_engine *engine, const char *name, const int64_t *value, agent_error *err);

/* --- the file ----------------------------------------------------------------------------------- */

/** Copies the file, consistent while runs go on. AGENT_EEXISTS where `to` is there. */
AGENT_API agent_status agent_db_backup(agent_engine *engine, const char *to, agent_error *err);
/** Checks pages, indexes, foreign keys and our own invariants; `line` gets one finding per call.
 *  AGENT_ESTORAGE where something was found. */
AGENT_API agent_status agent_db_check(agent_engine *engine, void (*line)(void *ctx, const char *text),
                                      void *ctx, agent_error *err);
/** SHA-256 of all that a file holds, as 64 hexadecimal digits and a NUL. Its position stays where it is.
 *  AGENT_EIO where it cannot be read by position (a pipe) or libcrypto is not there. Blocks for reading. */
AGENT_API agent_status agent_sha256_fd(int fd, char out_hex[65], agent_error *err);

/** Facts about file, store and libraries as "name", "value" rows for `doctor` and `db path`. */
AGENT_API agent_status agent_db_facts(agent_engine *engine,
                                      void (*fact)(void *ctx, const char *name, const char *value),
                                      void *ctx, agent_error *err);

AGENT_END_DECLS
#endif
