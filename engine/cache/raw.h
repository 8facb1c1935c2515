/*
 * The raw file of a recording: what caches append while somebody records their requests, before it
 * is put in order and becomes a trace (trace.h).
 *
 *     header (72 bytes) │ record │ record │ …          each record 24 bytes, from any process, in blocks
 *
 *     byte 0   write lock of whoever records, for as long as he lives: the kernel tells when he is gone
 *     byte 1   write lock of whoever appends, for one write
 *     byte 2   read lock of every cache that records into it: when none is left, all has come
 *
 * Locks are of open file descriptions (F_OFD_SETLK). Times are of CLOCK_MONOTONIC, the same for all
 * processes of a machine, so that what several wrote can be put in order.
 *
 * Invariants:
 *  (1) Under byte 1 the file holds the header and whole records: who was killed in mid write left a
 *      torn one, and the next to append cuts it off.
 *  (2) The file is never longer than max_bytes and one record for each writer.
 */
#ifndef AG_CACHE_RAW_H
#define AG_CACHE_RAW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/cache/trace.h"

enum ag_raw_what { AG_RAW_MISS, AG_RAW_HIT, AG_RAW_DROPPED };

struct ag_raw_record {
    int64_t at_ns;
    uint64_t key;   /* of DROPPED: how many requests its process could not keep */
    uint32_t bytes; /* of the value */
    uint32_t what;  /* pid << 2 | ag_raw_what */
};

#define AG_RAW_MAGIC "agtrace1"

struct ag_raw_header {
    char magic[8];
    int64_t until_ns;  /* CLOCK_MONOTONIC; nobody records after it */
    int64_t max_bytes; /* of the file */
    int64_t is_over;   /* no more is wanted; written by whoever records */
    int64_t pid;       /* of whoever records */
    char zero[32];
};

_Static_assert(sizeof(struct ag_raw_record) == 24 && sizeof(struct ag_raw_header) == 3 * 24, "whole records");

enum ag_raw_lock { AG_RAW_LIFE, AG_RAW_APPEND, AG_RAW_ATTACHED };

/* --- of whoever records ------------------------------------------------------------------------- */

/*
 * Makes the file, readable and writable by its owner alone, with the life lock. One that a dead
 * recorder left is replaced. `is_private`: without a name; only this process can write into it.
 * AGENT_EBUSY: somebody records already; AGENT_EIO.
 */
agent_status ag_raw_create(const char *path, bool is_private, int64_t until_ns, int64_t max_bytes, int *out_fd,
                           agent_error *err);
/* No more is wanted: waits until every cache has left, but not longer; false: one has not. */
bool ag_raw_finish(int fd, int64_t wait_ms);

struct ag_raw_sum {
    uint64_t requests, hits, dropped;
    unsigned processes;
    bool is_full;
};

/* Everything that has come, in the order of its time, as a trace (linked, in ms since the first). Where
 * there is no request *out stays untouched. */
agent_status ag_raw_read(int fd, struct ag_raw_sum *sum, struct ag_trace *out, agent_error *err);
/* How many records there are now; -1: the file was removed. */
int64_t ag_raw_count(int fd, bool is_private, bool *out_is_full);

/* --- of a cache ---------------------------------------------------------------------------------- */

/* A recording that wants requests; -1: there is none. */
int ag_raw_attach(const char *path);
/* Whether no more is wanted. */
bool ag_raw_is_over(int fd, bool is_private);
/* Appends `count` of them, as many as fit; how many were. Waits a little for other writers. */
unsigned ag_raw_append(int fd, const struct ag_raw_record *records, unsigned count);

int64_t ag_raw_now_ns(void);

#endif
