/*
 * A recorded or made trace of requests, and what the best possible policy would make of it.
 *
 * Files: `.csv` with lines `time,key,bytes` (a first line that is no request is a heading; a key
 * that is not a number is hashed), `.bin` with packed little-endian records of 24 bytes: u32 time,
 * u64 key, u32 bytes, i64 index of the key's next request or -1 (which is computed anew).
 */
#ifndef AG_CACHE_TRACE_H
#define AG_CACHE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/err.h"

struct ag_trace_request {
    uint64_t key;
    int64_t next; /* index of the next request of this key; -1: there is none */
    uint32_t bytes, time;
};

struct ag_trace {
    struct ag_trace_request *requests;
    size_t count, room;
    size_t objects;
    uint64_t footprint_bytes; /* every object once, with the size of its last request */
};

#define AG_TRACE_LINE_MAX 4096 /* bytes of a line of a .csv */

/* Reads a file. AGENT_EINVAL names the line or record that is none. Blocks for the file. */
agent_status ag_trace_load(const char *path, struct ag_trace *out, agent_error *err);
/* Appends; the trace must be linked afterwards. */
agent_status ag_trace_add(struct ag_trace *t, uint64_t key, uint32_t bytes, uint32_t time, agent_error *err);
/* Computes next, objects and footprint_bytes. */
agent_status ag_trace_link(struct ag_trace *t, agent_error *err);
void ag_trace_drop(struct ag_trace *t);
/* Which format a name stands for. AGENT_EINVAL: neither .csv nor .bin. */
agent_status ag_trace_format(const char *path, bool *out_is_csv, agent_error *err);
/* Writes a linked trace. AGENT_EIO. */
agent_status ag_trace_write(const struct ag_trace *t, FILE *f, bool is_csv, agent_error *err);

/*
 * The hits of evicting the largest (size x time to next use), which for equal sizes is Belady's
 * optimum; of `capacity` bytes of objects. What never comes again is not kept at all.
 */
agent_status ag_trace_belady(const struct ag_trace *t, uint64_t capacity, uint64_t *out_hits, agent_error *err);

#endif
