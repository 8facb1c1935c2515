/*
 * The tap of a front cache: while somebody records (raw.h), every request goes through a ring into
 * his file. Threads of requests never wait: what finds the ring full is counted, and told.
 *
 *     get ─► watcher ─► a slot of the ring ─► thread of the tap, every 20 ms ─► blocks at the file's end
 *
 * Who records is noticed by looking for the file beside the database, once a second while there
 * are runs; when he has gone, or wants no more, the tap closes by itself. A cache that is used by one
 * thread alone (an engine without workers) writes its ring from that thread instead.
 *
 * Invariants:
 *  (1) Between requests and the thread there is nothing but the ring: producers by ticket, one
 *      consumer. No lock, no system call, no allocation in a request.
 *  (2) The ring goes when nobody is inside: a request counts itself in before it looks whether the
 *      tap is open.
 */
#ifndef AG_CACHE_RECORDER_H
#define AG_CACHE_RECORDER_H

#include "engine/cache/front_cache.h"

struct ag_recorder;

/* `path`: where the file of a recording would be; NULL: nowhere. `is_threaded`: requests come from
 * several threads, and there may be one more. NULL: out of memory. */
struct ag_recorder *ag_recorder_new(ag_cache *cache, const char *path, bool is_threaded);
/* Writes what there is and closes. Before the cache is freed, after the last request. NULL is fine. */
void ag_recorder_close(struct ag_recorder *r);
/* After the cache was freed. NULL is fine. */
void ag_recorder_free(struct ag_recorder *r);

/* Looks whether somebody records; at most once a second it does more than compare a time. With several
 * threads any may call it, else the one of the requests. */
void ag_recorder_look(struct ag_recorder *r, int64_t mono_ns);

/* Records into a file of this process's own (ag_raw_create, private; borrowed until the release).
 * AGENT_EBUSY: the tap is open for somebody else; AGENT_ENOMEM. */
agent_status ag_recorder_own(struct ag_recorder *r, int fd, agent_error *err);
/* Everything is in the file, and the tap is closed. */
void ag_recorder_release(struct ag_recorder *r);

#endif
