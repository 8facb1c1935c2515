/*
 * A tree of processes that each hold memory: touch_tree GENERATIONS MB MS. Each takes and touches its
 * MB, starts the next generation, and ends when that has. The last one holds still for MS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int generations = argc > 3 ? atoi(argv[1]) : 0;
    size_t bytes = argc > 3 ? (size_t)atoi(argv[2]) << 20 : 0;
    long ms = argc > 3 ? atol(argv[3]) : 0;
    volatile char *p = malloc(bytes);
    char next[12];
    int status = 1;
    pid_t pid;

    if (p == NULL || generations < 1)
        return 2;
    for (size_t i = 0; i < bytes; i += 512)
        p[i] = 1;
    if (generations == 1) {
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};

        (void)nanosleep(&t, NULL);
        return 0;
    }
    (void)snprintf(next, sizeof(next), "%d", generations - 1);
    if ((pid = fork()) == 0) {
        (void)execl("/proc/self/exe", argv[0], next, argv[2], argv[3], (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
}
