/*
 * What goes on in a file right now, read for showing: cli/top_read.c reads it, cli/cmd_top.c shows it.
 *
 *   (1) Nothing is read whole that grows with the age of the file: open runs through the partial index
 *       on them, ended ones from the newest backward, a fixed number of them.
 *   (2) Who is alive says the kernel (the lock on the owner's byte), not a row's age. Memory of a
 *       process is read from its own /proc file where it runs on this host, else its row in `live`.
 *   (3) What is not known is UNKNOWN, shown as "-".
 */
#ifndef AG_CLI_TOP_H
#define AG_CLI_TOP_H

#include "cli/stats.h"

#define TOP_OWNERS   256  /* the newest; the dead that have nothing are left out */
#define TOP_RUNS     20   /* that are running, the longest first */
#define TOP_ERRORS   5
#define TOP_NOTICES  5
#define TOP_NEWEST   1000 /* ended runs are counted among so many */
#define TOP_STAGED   2000 /* so many running runs are looked up for their stage, where owners do not tell of all */
#define TOP_CACHE    100000 /* responses are counted up to so many */

struct top_owner {
    int64_t id, pid, pid_start, started_at_ms, runs, rss_bytes, heap_bytes;
    char host[65], boot_id[40];
    bool is_alive, is_here, is_known; /* here: on this host, since this boot; known: whether it is alive */
    int64_t live_at_ms; /* of its row in `live`; UNKNOWN: none */
};

struct top_run {
    int64_t id, owner_id, started_at_ms;
    char *agent, *input;
    enum stage stage; /* STAGE_OTHER: not known */
};

struct top_error {
    int64_t id, ended_at_ms;
    char *agent, *error;
};

struct top_notice { /* the newest step of memory pressure of a living owner */
    int64_t owner_id, at_ms, level, rss_bytes, limit_bytes;
    char *text;
};

struct top {
    int64_t at_ms;
    int64_t queued[3], ready; /* by class: high, normal, low; of them nothing stands in the way of so many */
    int64_t running, waiting, newest_run;
    int64_t of_newest[3], last_minute; /* succeeded, failed, cancelled among the TOP_NEWEST newest */
    struct top_owner owners[TOP_OWNERS];
    int owner_count;
    int64_t more_owners;
    struct top_run runs[TOP_RUNS];
    int run_count;
    struct top_error errors[TOP_ERRORS];
    int error_count;
    struct top_notice notices[TOP_NOTICES];
    int notice_count;
    int64_t stage_runs[STAGE_COUNT], stage_heap[STAGE_COUNT]; /* STAGE_OTHER: not known of */
    int64_t responses, cache_entries, cache_bytes, cache_budget, cache_gets, cache_hits;
};

agent_status top_read(struct cli *cli, struct top *out, agent_error *err);
void top_drop(struct top *t);

#endif
