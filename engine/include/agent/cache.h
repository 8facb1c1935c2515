/*
 * The response cache: answers kept in the file and used again for exactly the same request. What of
 * it a run uses says its option "cache": "off" (the default), "on", "read-only" (nothing is kept) or
 * "refresh" (asked anew, and kept), and "cache_ttl_ms". Its entries are the rows of AGENT_VIEW_CACHE.
 */
#ifndef AGENT_CACHE_H
#define AGENT_CACHE_H

#include <agent/engine.h>

AGENT_BEGIN_DECLS

typedef struct agent_cache_stats {
    size_t size;
    int64_t entries, bytes;
    int64_t limit_bytes;  /* entries beyond it go: first those that save the fewest tokens by byte */
    int64_t hits;         /* of the entries that are there */
    int64_t tokens_saved; /* by those hits, as far as providers told their tokens */
} agent_cache_stats;

#define AGENT_CACHE_STATS_INIT { .size = sizeof(agent_cache_stats) }

/** Sums over the entries. Thread-safe (with workers). Blocks for reading. */
AGENT_API agent_status agent_cache_sums(agent_engine *engine, agent_cache_stats *out, agent_error *err);

/**
 * Removes one entry, or all of them.
 *
 * @param key        64 hexadecimal digits as in the view; NULL: all entries.
 * @param out_count  How many were removed; may be NULL.
 * @retval AGENT_EINVAL    key is no key
 * @retval AGENT_ENOTFOUND there is no such entry
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_cache_remove(agent_engine *engine, const char *key, int64_t *out_count,
                                          agent_error *err);

/**
 * Sets the limit of all entries (256 MB until then), for this file and whoever opens it, and removes
 * what is too much. 0: nothing is kept any more.
 *
 * @param out_removed  May be NULL.
 * Thread-safe. Blocks for one commit.
 */
AGENT_API agent_status agent_cache_resize(agent_engine *engine, int64_t bytes, int64_t *out_removed,
                                          agent_error *err);

AGENT_END_DECLS
#endif
