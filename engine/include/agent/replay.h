/*
 * What a front cache would have made of a recorded trace: for choosing its size and policy before
 * an engine runs with them. Needs no engine and no file but the trace.
 *
 * A trace is a file of requests: `.csv` with lines `time,key,bytes` (a first line that is no request
 * is a heading; a key that is no number is hashed), or `.bin` with packed little-endian records of 24
 * bytes: u32 time, u64 key, u32 bytes, i64 index of the next request of that key or -1.
 */
#ifndef AGENT_REPLAY_H
#define AGENT_REPLAY_H

#include <agent/error.h>
#include <agent/export.h>
#include <stddef.h>
#include <stdint.h>

AGENT_BEGIN_DECLS

typedef struct agent_replay_options {
    size_t size;
    const char *trace;  /* path of the file; borrowed */
    const char *policy; /* lruk-adaptive (NULL), lruk, lru, fifo, s3fifo, gdsf, none */
    int64_t bytes;      /* of objects alone, so that results compare with published ones */
    int k;              /* 1 to 4, of lruk and lruk-adaptive; 0: the policy's own */
} agent_replay_options;

typedef struct agent_replay_result {
    size_t size;
    const char *policy; /* static */
    int64_t bytes, requests, hits, evictions;
    int64_t entries;         /* at the end */
    double hit_ratio;        /* of requests; all ratios are 0 to 1 */
    double byte_hit_ratio;   /* of the bytes asked for */
    double cost_hit_ratio;   /* of the time that loading every object at every request would take */
    double belady_hit_ratio; /* what knowing the future would reach; exact where all sizes are equal */
    double metadata_bytes_per_entry; /* all that is held besides objects; 0 where nothing is held */
    double ns_per_request;   /* by this machine's clock */
} agent_replay_result;

#define AGENT_REPLAY_OPTIONS_INIT { .size = sizeof(agent_replay_options) }
#define AGENT_REPLAY_RESULT_INIT { .size = sizeof(agent_replay_result) }

/**
 * Replays a trace through the real cache. Sizes are accounted, values are not stored.
 *
 * @param out  Its size must be set.
 * @retval AGENT_EINVAL     no such policy, or the file is no trace: err names the line or record
 * @retval AGENT_ENOTFOUND  there is no such file
 * @retval AGENT_EIO        it cannot be read
 * Thread-safe. Blocks for the file and some 300 ns a request; holds 32 bytes a request meanwhile.
 */
AGENT_API agent_status agent_cache_replay(const agent_replay_options *options, agent_replay_result *out,
                                          agent_error *err);

AGENT_END_DECLS
#endif
