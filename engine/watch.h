/*
 * Whether somebody writes to a file, without opening it: the database's -wal must be opened by
 * SQLite alone. A write is told before the commit it belongs to can be seen, by as long as the disk
 * takes; so who waits looks again a few times after it (ag_echo).
 */
#ifndef AG_ENGINE_WATCH_H
#define AG_ENGINE_WATCH_H

#include <stdbool.h>

struct ag_watch {
    int fd; /* readable after a write; -1: nothing is watched */
};

#define AG_WATCH_INIT ((struct ag_watch){.fd = -1})

/* False: it cannot be watched (it is not there, or the kernel has no more to give). */
bool ag_watch_open(struct ag_watch *w, const char *path);
/* Takes what was told. False: the file is gone, nothing will be told any more. */
bool ag_watch_drain(struct ag_watch *w);
void ag_watch_close(struct ag_watch *w);

#define AG_ECHO_MOST_MS 32

/* Milliseconds to the next look after one that came `ms` after the one before; 0: it was the last. */
static inline int ag_echo(int ms)
{
    return ms == 0 ? 1 : ms < AG_ECHO_MOST_MS ? ms * 2 : 0;
}

#endif
