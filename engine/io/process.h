/*
 * A child process on a libuv loop: posix_spawn into a process group of its own, bytes to its
 * stdin, its stdout collected up to a cap, a deadline (SIGTERM to the group, then SIGKILL).
 *
 * Its end is seen through a pidfd polled by the loop: no signal handler, no SIGCHLD, no wait for
 * children that are not ours (promise 12). "The tree" is the process group: what left it by
 * setsid() is not ours any more. All calls and callbacks on the loop's thread.
 */
#ifndef AG_IO_PROCESS_H
#define AG_IO_PROCESS_H

#include <stdint.h>
#include <uv.h>

#include "engine/base/buf.h"

typedef struct ag_process ag_process;

struct ag_process_spec {
    const char *const *argv; /* NULL-terminated; argv[0] with a '/' is a path, else looked up in `path` */
    const char *const *env;  /* NULL-terminated "NAME=value": all of its environment */
    const char *path;        /* ':'-separated folders for the look-up; NULL: /usr/local/bin:/usr/bin:/bin */
    struct ag_str input;     /* borrowed until done() */
    int64_t timeout_ms;      /* 0: none */
    int64_t grace_ms;        /* between SIGTERM and SIGKILL; 0: 2000 */
    size_t max_output_bytes; /* of stdout; what is over is read and dropped */
    size_t max_error_bytes;  /* the last bytes of stderr that are kept */
};

struct ag_process_end {
    int exit_code;   /* -1 where a signal ended it */
    int signal;      /* 0 where it exited; both -1 and 0: the host reaps all children, so it is not known */
    bool timed_out, killed, cut; /* killed: by ag_process_kill(); cut: stdout went over its cap */
    struct ag_str output, errors; /* borrowed */
    int64_t wall_us;
    int64_t rss_peak_bytes; /* largest sum seen of the group's VmHWM while it ran, or the kernel's figure for one
                               member where it is larger and surely not inherited from us; -1: neither was to be had */
};

/* Called once, when the process has ended, its pipes are at their end (or 250 ms after its end,
 * where a grandchild keeps them open) and the group was killed. The handle is gone after it. */
typedef void (*ag_process_fn)(void *ctx, const struct ag_process_end *end);

/* AGENT_ENOTFOUND: no such program (names it and where it was looked for). AGENT_EIO: spawn failed. */
agent_status ag_process_start(uv_loop_t *loop, const struct ag_process_spec *spec, ag_process_fn fn, void *ctx,
                              ag_process **out, agent_error *err);
/* SIGTERM now, SIGKILL after the grace time; done() still comes. Twice: SIGKILL at once. */
void ag_process_kill(ag_process *p);

#endif
