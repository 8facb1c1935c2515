/*
 * posix_spawn with everything a child must not inherit taken away.
 *
 *      parent                      child
 *      in   ──── pipe ───►  0      (/dev/null where there is no input)
 *      out  ◄─── pipe ────  1
 *      err  ◄─── pipe ────  2      3 and up: closed
 *
 *  (1) No fork: the child never runs a line of ours, so threads and locks of the host do not matter.
 *  (2) Pipes, not sockets: a child may open /dev/stdin, which the kernel refuses for a socket.
 *  (3) The child's ends are numbered 3 and up before the spawn: in a host that has closed its own
 *      0, 1 or 2 they would be overwritten by each other's dup2.
 *  (4) The child begins with every signal at its default, none blocked, and in a new group.
 */
#include "engine/io/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)
#define HAVE_CLOSEFROM
#endif
#endif

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define PROGRAM_MAX  4096

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* What exec would say of this file: 0, or an errno. */
static int runnable(const char *file)
{
    struct stat st;

    if (stat(file, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EACCES;
    return access(file, X_OK) == 0 ? 0 : errno;
}

static agent_status find_program(const struct ag_process_spec *spec, char *file, agent_error *err)
{
    const char *name = spec->argv[0], *path = spec->path == NULL ? DEFAULT_PATH : spec->path;
    bool seen = false;

    if (name == NULL || name[0] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "start process: no program given");
    if (strchr(name, '/') != NULL) {
        if (strlen(name) >= PROGRAM_MAX)
            return ag_fail(err, AGENT_EINVAL, ENAMETOOLONG, "start process: path of the program is over %d bytes",
                           PROGRAM_MAX - 1);
        memcpy(file, name, strlen(name) + 1);
        return AGENT_OK; /* posix_spawn will say what is wrong with it */
    }
    for (const char *at = path;; at++) {
        size_t n = strcspn(at, ":");
        /* An empty entry would be the working directory: a tool is never taken from there by accident. */
        if (n > 0 && snprintf(file, PROGRAM_MAX, "%.*s/%s", (int)n, at, name) < PROGRAM_MAX) {
            int why = runnable(file);
            if (why == 0)
                return AGENT_OK;
            seen = seen || why == EACCES;
        }
        at += n;
        if (*at == '\0')
            break;
    }
    (void)ag_fail(err, AGENT_ENOTFOUND, seen ? EACCES : ENOENT, "start process: program '%.200s' not found in %.200s%s",
                  name, path, seen ? " (a file of that name is there, not executable)" : "");
    ag_hint(err, "give the program's full path, or install it");
    return AGENT_ENOTFOUND;
}

static agent_status spawn_failed(const char *file, int why, agent_error *err)
{
    if (why == ENOENT && access(file, F_OK) == 0) {
        (void)ag_fail(err, AGENT_ENOTFOUND, why, "start process: '%.300s': the interpreter it asks for does not exist",
                      file);
        ag_hint(err, "check the first line (#!) of the file");
        return AGENT_ENOTFOUND;
    }
    if (why == ENOENT || why == ENOTDIR) {
        (void)ag_fail(err, AGENT_ENOTFOUND, why, "start process: program '%.300s': no such file", file);
        ag_hint(err, "check the path of the program");
        return AGENT_ENOTFOUND;
    }
    (void)ag_fail(err, AGENT_EIO, why, "start process: '%.300s': %s", file, strerror(why));
    if (why == EACCES)
        ag_hint(err, "chmod +x %.200s", file);
    else if (why == ENOEXEC)
        ag_hint(err, "a script needs a first line such as #!/bin/sh");
    else if (why == E2BIG)
        ag_hint(err, "arguments and environment are too long together; give the input on stdin");
    else if (why == EAGAIN || why == ENOMEM)
        ag_hint(err, "too many processes, or too little memory: run fewer tools at once");
    return AGENT_EIO;
}

/* A pipe with `ours` non-blocking and `theirs` above stderr (3). */
static int open_pipe(int *ours, int *theirs, bool ours_writes)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    *ours = ends[ours_writes ? 1 : 0];
    *theirs = ends[ours_writes ? 0 : 1];
    if (*theirs < 3) {
        int low = *theirs, why;
        *theirs = fcntl(low, F_DUPFD_CLOEXEC, 3);
        why = errno;
        (void)close(low);
        if (*theirs < 0)
            return why;
    }
    return fcntl(*ours, F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
}

static int spawn(const char *file, const struct ag_process_spec *spec, const int theirs[3], pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    int rc;

    if ((rc = posix_spawn_file_actions_init(&actions)) != 0)
        return rc;
    if ((rc = posix_spawnattr_init(&attr)) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setpgroup(&attr, 0);
    rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (rc == 0)
        rc = theirs[0] < 0 ? posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
                           : posix_spawn_file_actions_adddup2(&actions, theirs[0], 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, theirs[1], 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, theirs[2], 2);
#ifdef HAVE_CLOSEFROM
    /* Ours all close on exec; those of the host perhaps not. */
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
    if (rc == 0) /* argv and env are not written to: the casts only undo what C cannot say */
        rc = posix_spawn(out_pid, file, &actions, &attr, (char *const *)(uintptr_t)spec->argv,
                         (char *const *)(uintptr_t)spec->env);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0); /* closes on exec by itself */
#else
    (void)pid;
    return -1;
#endif
}

agent_status ag_child_spawn(const struct ag_process_spec *spec, struct ag_child *out, agent_error *err)
{
    struct ag_child child = {.pid = -1, .pidfd = -1, .in = -1, .out = -1, .err = -1};
    int theirs[3] = {-1, -1, -1}, why = 0;
    char file[PROGRAM_MAX];
    agent_status rc;

    if ((rc = find_program(spec, file, err)) != AGENT_OK)
        return rc;
    if ((spec->input.n > 0 && (why = open_pipe(&child.in, &theirs[0], true)) != 0) ||
        (why = open_pipe(&child.out, &theirs[1], false)) != 0 ||
        (why = open_pipe(&child.err, &theirs[2], false)) != 0) {
        rc = ag_fail(err, AGENT_EIO, why, "start process: '%.300s': make pipes: %s", file, strerror(why));
        if (why == EMFILE || why == ENFILE)
            ag_hint(err, "too many open files: raise ulimit -n, or run fewer tools at once");
    } else if ((why = spawn(file, spec, theirs, &child.pid)) != 0) {
        rc = spawn_failed(file, why, err);
    }
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (rc != AGENT_OK) {
        close_fd(&child.in);
        close_fd(&child.out);
        close_fd(&child.err);
        return rc;
    }
    child.pidfd = open_pidfd(child.pid);
    *out = child;
    return AGENT_OK;
}
