/*
 * agent-bench-spawn: starts programs, one after the other, and says what each cost.
 *
 *     agent-bench-spawn ROUNDS -- PROGRAM ARG… -- PROGRAM ARG… …
 *     ──► one line per start: number of the program, wall us, CPU us, peak RSS in KB, exit code
 *
 * It is a program of its own because the peak that wait4 tells begins at the parent's: this parent
 * has nothing but libc. The programs take turns, so that all see the same machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

#define PROGRAMS_MAX 16

static long long now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int run(int number, char **argv, posix_spawn_file_actions_t *actions)
{
    struct rusage use = {0};
    long long began = now_us(), wall;
    int status = 0;
    pid_t pid;

    if (posix_spawnp(&pid, argv[0], actions, NULL, argv, environ) != 0)
        return 1;
    while (wait4(pid, &status, 0, &use) < 0)
        if (errno != EINTR)
            return 1;
    wall = now_us() - began;
    printf("%d %lld %lld %ld %d\n", number, wall,
           (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000LL + use.ru_utime.tv_usec + use.ru_stime.tv_usec,
           use.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}

int main(int argc, char **argv)
{
    posix_spawn_file_actions_t actions;
    char **programs[PROGRAMS_MAX];
    int count = 0;
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        argv[i] = NULL;
        if (i + 1 < argc && count < PROGRAMS_MAX)
            programs[count++] = &argv[i + 1];
    }
    if (rounds <= 0 || count == 0) {
        fputs("usage: agent-bench-spawn ROUNDS -- PROGRAM ARG... [-- PROGRAM ARG...]...\n", stderr);
        return 2;
    }
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    for (long r = 0; r < rounds; r++)
        for (int p = 0; p < count; p++)
            if (run(p, programs[p], &actions) != 0) {
                fprintf(stderr, "agent-bench-spawn: '%s' cannot be started\n", programs[p][0]);
                return 1;
            }
    (void)posix_spawn_file_actions_destroy(&actions);
    return 0;
}
