/*
 * A look at a process group: walk down from the leader, add up the high-water marks.
 *
 *  (1) VmHWM belongs to the address space: exec begins it anew, so what is read for a child made
 *      by posix_spawn (which returns after the exec) is the child's own and never its parent's.
 *  (2) Pages that members share are counted once for each: the sum is an upper bound of what the
 *      group holds at one time, and a lower bound of its peak between two looks.
 *  (3) A process whose parent has ended is no more found on the way down; what left the group is
 *      skipped with all below it.
 */
#include "engine/io/process_rss.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS_MAX 128 /* of one look: bounds the time that a loop gives to a fork bomb */

struct walk {
    pid_t group;
    pid_t members[MEMBERS_MAX];
    size_t count;
};

/* The beginning of a /proc file as text; false: it is gone. */
static bool slurp(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, room - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static int64_t field(const char *status, const char *name)
{
    const char *at = strstr(status, name);

    return at == NULL ? -1 : strtoll(at + strlen(name), NULL, 10);
}

static void add_children(struct walk *w, pid_t pid, const char *task)
{
    char path[64], text[4096], *at = text, *next;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid, task);
    if (!slurp(path, text, sizeof(text)))
        return;
    for (;; at = next) {
        long child = strtol(at, &next, 10);
        if (next == at)
            return;
        if (w->count < MEMBERS_MAX && getpgid((pid_t)child) == w->group)
            w->members[w->count++] = (pid_t)child;
    }
}

/* Children hang off the thread that made them, so a process of several threads has several lists. */
static void add_children_of_threads(struct walk *w, pid_t pid)
{
    char path[32];
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    if ((dir = opendir(path)) == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            add_children(w, pid, entry->d_name);
    (void)closedir(dir);
}

int64_t ag_group_rss_peak(pid_t leader)
{
    struct walk w = {.group = leader, .members = {leader}, .count = 1};
    int64_t sum_kb = -1;

    for (size_t i = 0; i < w.count; i++) {
        char path[32], task[16], status[2048];
        int64_t kb;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)w.members[i]);
        if (!slurp(path, status, sizeof(status)) || (kb = field(status, "\nVmHWM:")) < 0)
            continue;
        sum_kb = (sum_kb < 0 ? 0 : sum_kb) + kb;
        if (field(status, "\nThreads:") > 1) {
            add_children_of_threads(&w, w.members[i]);
        } else {
            (void)snprintf(task, sizeof(task), "%d", (int)w.members[i]);
            add_children(&w, w.members[i], task);
        }
    }
    return sum_kb < 0 ? -1 : sum_kb * 1024;
}
