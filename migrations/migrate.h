/*
 * The schema's history: numbered .sql files, embedded, applied in order, one transaction each, and
 * frozen once released. `user_version` and a row of table `migration` move in that transaction.
 */
#ifndef AG_MIGRATIONS_MIGRATE_H
#define AG_MIGRATIONS_MIGRATE_H

#include <sqlite3.h>
#include <stdint.h>

#include "engine/base/err.h"

struct ag_migration {
    int number;
    const char *name;   /* of the file */
    const char *sha256; /* of its bytes, hex */
    const char *sql;
};

extern const struct ag_migration ag_migrations[]; /* [i].number is i + 1 */
extern const int ag_migration_count;

#define AG_APPLICATION_ID 0x41474e54 /* "AGNT" */

/* Looks at the file without writing: *out_version is its user_version (0: empty file).
 * AGENT_ESTORAGE: a database, but not one of ours. AGENT_ESCHEMA: newer than this library, or a
 * recorded checksum differs from ours. */
agent_status ag_migrate_look(sqlite3 *db, int *out_version, agent_error *err);

/* Brings the file to the newest schema. Each step is BEGIN IMMEDIATE … COMMIT and looks at the
 * version again inside it: another process may have been faster. Before the first step on a file
 * that already holds a schema, a copy is kept as PATH.v<N>.bak (VACUUM INTO, then quick_check). */
agent_status ag_migrate(sqlite3 *db, const char *path, int64_t now_ms, agent_error *err);
/* The same with any steps: what the tests upgrade with. */
agent_status ag_migrate_steps(sqlite3 *db, const char *path, int64_t now_ms, const struct ag_migration *steps, int count,
                              agent_error *err);

#endif
