/*
 * Clocks, memory, files and children: what a bench measures with.
 */
#include "bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int64_t bench_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double bench_cpu_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int64_t bench_rss_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long all = 0, resident = 0;

    if (f == NULL)
        return -1;
    if (fscanf(f, "%lld %lld", &all, &resident) != 2)
        resident = -1;
    (void)fclose(f);
    return resident >= 0 ? resident * (int64_t)sysconf(_SC_PAGESIZE) : -1;
}

int64_t bench_heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return (int64_t)(m.uordblks + m.hblkhd);
}

/* The number behind `key` in a file of /proc; -1: it is not there. */
static int64_t proc_figure(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    int64_t value = -1;
    size_t n = strlen(key);

    while (f != NULL && value < 0 && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, key, n) == 0)
            value = strtoll(line + n, NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return value;
}

int64_t bench_peak_bytes(void)
{
    int64_t kb = proc_figure("/proc/self/status", "VmHWM:");

    return kb >= 0 ? kb * 1024 : -1;
}

struct bench_io bench_io_now(void)
{
    return (struct bench_io){
        .wchar = proc_figure("/proc/self/io", "wchar:"),
        .write_bytes = proc_figure("/proc/self/io", "write_bytes:"),
    };
}

int64_t bench_file_bytes(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : 0;
}

double bench_flush_us(const char *folder)
{
    double us[21];
    char path[500];
    static const char page[4096];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/flush", folder);
    if ((fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++) {
        int64_t began_ns = bench_now_ns();

        if (write(fd, page, sizeof(page)) != (ssize_t)sizeof(page) || fdatasync(fd) != 0) {
            (void)close(fd);
            (void)unlink(path);
            return -1;
        }
        us[i] = (double)(bench_now_ns() - began_ns) / 1e3;
    }
    (void)close(fd);
    (void)unlink(path);
    return bench_quantile(us, sizeof(us) / sizeof(us[0]), 0.5);
}

/* --- folders ---------------------------------------------------------------------------------------- */

bool bench_folder(struct bench_run *b, char *path, size_t bytes)
{
    int n = snprintf(path, bytes, "%s/agent-bench-XXXXXX", bench_opts(b)->dir);

    return bench_expect(b, n > 0 && (size_t)n < bytes && mkdtemp(path) != NULL, "no folder can be made in %s: %s",
                        bench_opts(b)->dir, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void bench_folder_remove(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* --- children ----------------------------------------------------------------------------------------- */

static bool read_whole(int fd, void *to, size_t bytes)
{
    char *at = to;

    while (bytes > 0) {
        ssize_t n = read(fd, at, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

static void write_whole(int fd, const void *from, size_t bytes)
{
    const char *at = from;

    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);

        if (n <= 0)
            _exit(3);
        at += n;
        bytes -= (size_t)n;
    }
}

static void child_main(bench_work work, void *arg, size_t bytes, int fd)
{
    char why[BENCH_WHY_MAX] = "it gave no reason";
    void *out = calloc(1, bytes);
    char ok = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a bench that is stopped leaves nobody behind */
    if (out != NULL)
        ok = (char)work(arg, out, why);
    write_whole(fd, &ok, 1);
    write_whole(fd, ok ? out : why, ok ? bytes : sizeof(why));
    free(out);
    _exit(0);
}

bool bench_child(struct bench_run *b, bench_work work, void *arg, void *out, size_t bytes)
{
    char why[BENCH_WHY_MAX] = "", ok = 0;
    int pipe_fd[2], status = 0;
    bool whole;
    pid_t pid;

    (void)fflush(NULL);
    if (!bench_expect(b, pipe2(pipe_fd, O_CLOEXEC) == 0, "pipe: %s", strerror(errno)))
        return false;
    if ((pid = fork()) == 0) {
        (void)close(pipe_fd[0]);
        child_main(work, arg, bytes, pipe_fd[1]);
    }
    (void)close(pipe_fd[1]);
    whole = pid > 0 && read_whole(pipe_fd[0], &ok, 1) && read_whole(pipe_fd[0], ok ? out : why, ok ? bytes : sizeof(why));
    (void)close(pipe_fd[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!whole)
        return bench_expect(b, false, "the measuring child died (status %d)", status);
    why[sizeof(why) - 1] = '\0';
    return bench_expect(b, ok != 0, "%s", why);
}

int bench_program(const char *const *argv, char *printed, size_t bytes)
{
    posix_spawn_file_actions_t actions;
    int pipe_fd[2], status = 0, rc;
    char drain[4096];
    size_t at = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(pipe_fd, O_CLOEXEC) != 0)
        return -1;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], 1);
    rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(pipe_fd[1]);
    while (rc == 0 && ((n = read(pipe_fd[0], drain, sizeof(drain))) > 0 || (n < 0 && errno == EINTR))) {
        for (ssize_t i = 0; i < n && at + 1 < bytes; i++)
            printed[at++] = drain[i];
    }
    (void)close(pipe_fd[0]);
    if (bytes > 0)
        printed[at] = '\0';
    if (rc != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
