/* Making the child: pipes, look-up of the program, posix_spawn. Knows no loop. */
#ifndef AG_IO_PROCESS_SPAWN_H
#define AG_IO_PROCESS_SPAWN_H

#include <sys/types.h>

#include "engine/io/process.h"

struct ag_child {
    pid_t pid;      /* also the id of its group */
    int pidfd;      /* -1: this kernel has none */
    int in;         /* write end of its stdin, non-blocking; -1: there was no input */
    int out, err;   /* read ends, non-blocking */
};

/* On success all descriptors are the caller's and close on exec; the child has done its exec. */
agent_status ag_child_spawn(const struct ag_process_spec *spec, struct ag_child *out, agent_error *err);

#endif
