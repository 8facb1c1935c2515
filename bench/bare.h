/*
 * Bare SQLite as the baseline: the rows that the engine left in its file are written again into an
 * empty file of the same schema, with prepared statements, by one thread that does nothing else.
 *
 *     engine's file ──read──► rows in memory ──units in batches──► BEGIN IMMEDIATE … COMMIT
 *
 * A unit is what the engine hands its store at once: a run without tools has two (created and
 * claimed; answered and finished), a call of a tool puts two between. Statements are the plainest
 * that have the same effect: inserts as the rows were at that time, updates of what changed. A run that
 * was queued has three: queued, claimed, finished.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include "bench/bench.h"

struct bare {
    const char *from; /* the engine's file, closed */
    const char *to;   /* a file that an engine has made and closed, with the agent and no run */
    bool normal;      /* synchronous=NORMAL instead of FULL */
    double batch;     /* units in a commit, on average; 0: the units of one run */
    int in_flight;    /* how many runs' first units come before their last */
    long most;        /* stops after so many runs, and then compares nothing; 0: all */
    bool queued;      /* runs without tools, queued by one and claimed by another */
    int part, parts;  /* of `parts` processes that write at once this is number `part`, and compares nothing; 0: all */
    void (*ready)(void *ctx); /* NULL, or called when the rows are in memory; the clock starts when it returns */
    void *ctx;
};

struct bare_result {
    double wall_s, cpu_s;
    long runs, units, commits;
};

/* Writes, and compares both files: as many rows and as many bytes in every table of a run. */
bool bare_write(const struct bare *w, struct bare_result *out, char *why);
bool bare_compare(const char *from, const char *to, char *why);

/* Counts commits of others: a connection that looks at the header of the wal-index. */
struct watch {
    struct sqlite3 *db;
    volatile const unsigned char *header;
    uint32_t commits, frames; /* as last seen */
};

bool watch_open(struct watch *w, const char *path, char *why);
void watch_close(struct watch *w);
uint32_t watch_commits(struct watch *w); /* since it was asked last */
uint32_t watch_frames(struct watch *w);  /* pages put into the WAL; ask at least once between two restarts of it */

#endif
