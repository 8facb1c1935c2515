/*
 * Reading the process's own memory. One kept-open descriptor of /proc/self/statm, read with pread
 * (about 1 µs at any size); a reading younger than 100 µs is shared between runs.
 */
#ifndef AG_ENGINE_PROBE_H
#define AG_ENGINE_PROBE_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct ag_probe {
    int fd; /* -1: off, or no /proc */
    int64_t page_bytes;
    _Atomic int64_t at_ns; /* of the shared reading */
    _Atomic int64_t rss_bytes;
} ag_probe;

void ag_probe_open(ag_probe *p, int enabled);
void ag_probe_close(ag_probe *p);
/* Resident bytes now; -1: unknown. Any thread. */
int64_t ag_probe_rss(ag_probe *p, int64_t now_ns);

#endif
