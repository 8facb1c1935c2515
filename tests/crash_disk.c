/*
 * The disk of crash_disk.h. Writes go through to the real file, so that every connection reads what
 * it should; beside it each file has a list of what was done to it since its last sync, with the
 * bytes that stood there before.
 *
 *     at the loss:  file as it is ──undo all, last first──► as it was synced ──a part, in order──► left
 */
#include "tests/crash_disk.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fault_vfs.h"

struct change {
    struct change *next, *before;
    int64_t at, size_before;
    int n;       /* bytes written; -1: cut at `at` */
    int n_old;   /* of them there were before */
    unsigned char *fresh, *old;
};

/* One path. Never freed: the process dies. */
struct node {
    struct node *next;
    char path[512];
    struct change *first, *last;
    bool syncs_folder;      /* with its next sync: SQLite does so with a journal or -wal that it opened */
    bool is_deleted;        /* and no sync of the folder since */
    unsigned char *grave;   /* what it held then */
    int64_t grave_size;
};

static struct crash_plan plan;
static struct node *nodes;
static long calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of it; power losses only */

uint64_t crash_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

const char *crash_moment_name(enum crash_moment moment)
{
    static const char *const names[CRASH_MOMENTS] = {"before", "in the middle of", "after"};

    return names[moment];
}

long crash_disk_calls(void)
{
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

static void *need(void *p)
{
    if (p == NULL) {
        (void)fputs("crash disk: out of memory\n", stderr);
        _exit(99);
    }
    return p;
}

static struct node *node_of(const char *path)
{
    struct node *n = nodes;

    while (n != NULL && strcmp(n->path, path) != 0)
        n = n->next;
    if (n == NULL) {
        n = need(calloc(1, sizeof(*n)));
        (void)snprintf(n->path, sizeof(n->path), "%s", path);
        n->next = nodes;
        nodes = n;
    }
    return n;
}

static void forget(struct node *n)
{
    while (n->first != NULL) {
        struct change *c = n->first;

        n->first = c->next;
        free(c->fresh);
        free(c->old);
        free(c);
    }
    n->last = NULL;
}

/* --- the loss ------------------------------------------------------------------------------------- */

struct image {
    unsigned char *p;
    int64_t n, room;
};

static void resize(struct image *im, int64_t n)
{
    if (n > im->room) {
        im->room = n * 2;
        im->p = need(realloc(im->p, (size_t)im->room));
    }
    if (n > im->n)
        memset(im->p + im->n, 0, (size_t)(n - im->n));
    im->n = n;
}

static void put(struct image *im, int64_t at, const unsigned char *p, int64_t n)
{
    if (n <= 0)
        return;
    if (at + n > im->n)
        resize(im, at + n);
    memcpy(im->p + at, p, (size_t)n);
}

static bool load(const char *path, struct image *im)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return false;
    resize(im, st.st_size);
    for (int64_t at = 0; at < im->n;) {
        ssize_t got = pread(fd, im->p + at, (size_t)(im->n - at), at);

        if (got <= 0)
            _exit(98);
        at += got;
    }
    (void)close(fd);
    return true;
}

static void save(const char *path, const struct image *im)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* the same inode */

    if (fd < 0 || ftruncate(fd, im->n) != 0)
        _exit(97);
    for (int64_t at = 0; at < im->n;) {
        ssize_t put_bytes = pwrite(fd, im->p + at, (size_t)(im->n - at), at);

        if (put_bytes <= 0)
            _exit(96);
        at += put_bytes;
    }
    (void)close(fd);
}

/* How much of what was not synced is kept, and in what pieces. */
static const struct loss {
    int sector;     /* 0: whole calls */
    unsigned keep;  /* of 16 */
    bool is_ordered; /* nothing after the first that is lost */
} losses[] = {
    {512, 8, false}, {4096, 8, false}, {0, 0, false},  {512, 14, false}, {4096, 15, false},
    {512, 2, false}, {0, 8, false},    {512, 15, true}, {4096, 15, true}, {0, 14, true},
};

static void lose(struct node *n, uint64_t *seed)
{
    const struct loss *how = &losses[crash_random(seed) % (sizeof(losses) / sizeof(losses[0]))];
    struct image im = {NULL, 0, 0};
    bool goes_on = true;

    if (n->is_deleted && crash_random(seed) % 2 == 0) { /* nobody synced the folder: the old one is back */
        im = (struct image){n->grave, n->grave_size, n->grave_size};
        save(n->path, &im);
        return;
    }
    if (n->first == NULL || !load(n->path, &im))
        return;
    for (struct change *c = n->last; c != NULL; c = c->before) {
        resize(&im, c->size_before);
        put(&im, c->at, c->old, c->n_old);
    }
    for (struct change *c = n->first; c != NULL && goes_on; c = c->next) {
        int64_t piece = how->sector == 0 ? c->n : how->sector;

        if (c->n < 0) {
            if (crash_random(seed) % 16 < how->keep)
                resize(&im, c->at);
            else
                goes_on = !how->is_ordered;
            continue;
        }
        for (int64_t at = c->at, end = c->at + c->n; at < end && goes_on;) {
            int64_t to = how->sector == 0 ? end : (at / piece + 1) * piece;

            to = to < end ? to : end;
            if (crash_random(seed) % 16 < how->keep)
                put(&im, at, c->fresh + (at - c->at), to - at);
            else
                goes_on = !how->is_ordered;
            at = to;
        }
    }
    save(n->path, &im);
}

static void die(void)
{
    if (plan.power) {
        uint64_t seed = plan.seed;

        for (struct node *n = nodes; n != NULL; n = n->next)
            lose(n, &seed);
    }
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* --- the calls ------------------------------------------------------------------------------------- */

/* Counts a call; dies where it is the one and dies before it. The answer: whether it is the one. */
static bool counted(bool is_write)
{
    bool is_it = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == plan.at;

    if (is_it && (plan.moment == CRASH_BEFORE || (plan.moment == CRASH_HALF && !is_write)))
        die();
    return is_it;
}

static void enter(void)
{
    if (plan.power)
        (void)pthread_mutex_lock(&lock);
}

static void leave(bool dies)
{
    if (dies)
        die();
    if (plan.power)
        (void)pthread_mutex_unlock(&lock);
}

static void note(sqlite3_file *f, const void *p, int n, int64_t at)
{
    struct node *node = ((struct fault_file *)f)->tag;
    sqlite3_int64 size = 0;
    struct change *c;

    if (!plan.power || node == NULL)
        return;
    c = need(calloc(1, sizeof(*c)));
    (void)fault_size(f, &size);
    c->at = at;
    c->n = n;
    c->size_before = size;
    c->n_old = (int)(n >= 0 && at + n < size ? n : size > at ? size - at : 0);
    c->old = need(malloc((size_t)c->n_old + 1));
    if (c->n_old > 0 && fault_read(f, c->old, c->n_old, at) != SQLITE_OK)
        _exit(95);
    if (n >= 0) {
        c->fresh = need(malloc((size_t)n + 1));
        memcpy(c->fresh, p, (size_t)n);
    }
    c->before = node->last;
    *(node->last == NULL ? &node->first : &node->last->next) = c;
    node->last = c;
}

static int crash_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    bool is_it;
    int rc;

    enter();
    is_it = counted(true);
    if (is_it && plan.moment == CRASH_HALF)
        n /= 2;
    note(f, p, n, at);
    rc = fault_real(f)->pMethods->xWrite(fault_real(f), p, n, at);
    leave(is_it);
    return rc;
}

static int crash_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    sqlite3_int64 size = 0;
    bool is_it;
    int rc;

    enter();
    is_it = counted(false);
    (void)fault_size(f, &size);
    if (n < size)
        note(f, NULL, -1, n);
    rc = fault_real(f)->pMethods->xTruncate(fault_real(f), n);
    leave(is_it);
    return rc;
}

static void folder_synced(void)
{
    for (struct node *n = nodes; n != NULL; n = n->next)
        n->is_deleted = false;
}

static int crash_sync(sqlite3_file *f, int flags)
{
    struct node *node = ((struct fault_file *)f)->tag;
    bool is_it;

    (void)flags;
    enter();
    is_it = counted(false);
    if (plan.power && node != NULL) {
        forget(node);
        if (node->syncs_folder)
            folder_synced();
        node->syncs_folder = false;
    }
    leave(is_it);
    return SQLITE_OK;
}

static int crash_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    bool is_it;
    int rc;

    (void)vfs;
    enter();
    is_it = counted(false);
    if (plan.power) {
        struct node *node = node_of(name);
        struct image im = {NULL, 0, 0};

        if (load(name, &im)) {
            for (struct change *c = node->last; c != NULL; c = c->before) { /* what was not synced is gone */
                resize(&im, c->size_before);
                put(&im, c->at, c->old, c->n_old);
            }
            free(node->grave);
            node->grave = im.p;
            node->grave_size = im.n;
            node->is_deleted = true;
        }
        forget(node);
        if (sync_folder)
            folder_synced();
    }
    rc = fault_under->xDelete(fault_under, name, 0);
    leave(is_it);
    return rc;
}

static sqlite3_io_methods crash_methods;

static int crash_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    int rc = fault_open(vfs, name, f, flags, out_flags);

    if (f->pMethods == NULL)
        return rc;
    f->pMethods = &crash_methods;
    if (plan.power && name != NULL) {
        struct node *node;

        (void)pthread_mutex_lock(&lock);
        ((struct fault_file *)f)->tag = node = node_of(name);
        if ((flags & SQLITE_OPEN_CREATE) != 0 && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) != 0)
            node->syncs_folder = true;
        (void)pthread_mutex_unlock(&lock);
    }
    return rc;
}

void crash_disk_begin(const struct crash_plan *p)
{
    plan = *p;
    calls = 0;
    fault_vfs_begin();
    crash_methods = fault_methods;
    crash_methods.xWrite = crash_write;
    crash_methods.xTruncate = crash_truncate;
    crash_methods.xSync = crash_sync;
    fault_vfs.xOpen = crash_open;
    fault_vfs.xDelete = crash_delete;
}
