/* The memory of a process group, as /proc tells it. */
#ifndef AG_IO_PROCESS_RSS_H
#define AG_IO_PROCESS_RSS_H

#include <stdint.h>
#include <sys/types.h>

/* The sum of VmHWM over the leader and those of its descendants that are in its group, in bytes;
 * -1 where none could be read (the leader is a zombie, /proc is not there). Never blocks. */
int64_t ag_group_rss_peak(pid_t leader);

#endif
