/* The raw file of a recording; see raw.h. */
#include "engine/cache/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/bytelock.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#define RECORD ((off_t)sizeof(struct ag_raw_record))
#define APPEND_TRIES 200 /* of a millisecond */
#define CREATE_TRIES 5

int64_t ag_raw_now_ns(void)
{
    return ag_mono_ns(&ag_clock_system);
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* --- of whoever records -------------------------------------------------------------------------------- */

static bool is_same_file(int fd, const char *path)
{
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* AGENT_OK: it was a dead one's, and is gone. */
static agent_status remove_dead(const char *path, agent_error *err)
{
    struct ag_raw_header h = {.pid = 0};
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    agent_status rc = AGENT_OK;

    if (fd < 0)
        return errno == ENOENT ? AGENT_OK
                               : ag_fail(err, AGENT_EIO, errno, "recording '%s': %s", path, strerror(errno));
    if (pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) && memcmp(h.magic, AG_RAW_MAGIC, sizeof(h.magic)) != 0) {
        rc = ag_fail(err, AGENT_EEXISTS, 0, "'%s' is there, and is no recording", path);
    } else if (ag_bytes_held(fd, AG_RAW_LIFE, 1)) {
        rc = ag_fail(err, AGENT_EBUSY, 0, "somebody records already (process %lld)", (long long)h.pid);
        ag_hint(err, "one recording of a file at a time: wait for that one's end");
    } else if (is_same_file(fd, path) && unlink(path) != 0 && errno != ENOENT) {
        rc = ag_fail(err, AGENT_EIO, errno, "recording '%s': %s", path, strerror(errno));
    }
    (void)close(fd);
    return rc;
}

/* errno, or 0. */
static int write_header(int fd, int64_t until_ns, int64_t max_bytes)
{
    struct ag_raw_header h = {.until_ns = until_ns, .max_bytes = max_bytes, .pid = getpid()};
    ssize_t n;

    memcpy(h.magic, AG_RAW_MAGIC, sizeof(h.magic));
    n = pwrite(fd, &h, sizeof(h), 0);
    return n == (ssize_t)sizeof(h) ? 0 : n < 0 ? errno : ENOSPC;
}

agent_status ag_raw_create(const char *path, bool is_private, int64_t until_ns, int64_t max_bytes, int *out_fd,
                           agent_error *err)
{
    agent_status rc;
    int fd = -1, why = EEXIST;

    for (int i = 0; i < CREATE_TRIES && fd < 0 && why == EEXIST; i++) {
        if ((rc = remove_dead(path, err)) != AGENT_OK)
            return rc;
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        why = fd < 0 ? errno : 0;
    }
    if (fd < 0)
        return ag_fail(err, AGENT_EIO, why, "recording '%s': %s", path, strerror(why));
    /* The lock first: without it whoever sees the file takes it for a dead one's. */
    if (!ag_byte_lock(fd, AG_RAW_LIFE, F_WRLCK))
        why = errno;
    else
        why = write_header(fd, until_ns, max_bytes);
    if (why == 0 && !is_same_file(fd, path))
        why = EBUSY;
    if (why != 0 || is_private)
        (void)unlink(path);
    if (why != 0) {
        (void)close(fd);
        return ag_fail(err, why == EBUSY ? AGENT_EBUSY : AGENT_EIO, why, "recording '%s': %s", path, strerror(why));
    }
    *out_fd = fd;
    return AGENT_OK;
}

bool ag_raw_finish(int fd, int64_t wait_ms)
{
    struct ag_raw_header h;
    bool has_left;

    if (pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h)) {
        h.is_over = 1;
        (void)!pwrite(fd, &h, sizeof(h), 0);
    }
    while ((has_left = !ag_bytes_held(fd, AG_RAW_ATTACHED, 1)) == false && wait_ms-- > 0)
        nap();
    return has_left;
}

int64_t ag_raw_count(int fd, bool is_private, bool *out_is_full)
{
    struct ag_raw_header h;
    struct stat st;

    if (fstat(fd, &st) != 0 || pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || (!is_private && st.st_nlink == 0))
        return -1;
    *out_is_full = st.st_size + RECORD > h.max_bytes;
    return (int64_t)((st.st_size - (off_t)sizeof(h)) / RECORD);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct ag_raw_record *)a)->at_ns, y = ((const struct ag_raw_record *)b)->at_ns;

    return x < y ? -1 : x > y;
}

/* Given: ag_free(). */
static agent_status read_records(int fd, size_t *out_count, struct ag_raw_record **out, agent_error *err)
{
    struct ag_raw_record *records;
    size_t bytes, got = 0;
    struct stat st;

    if (fstat(fd, &st) != 0)
        return ag_fail(err, AGENT_EIO, errno, "recording: %s", strerror(errno));
    bytes = (size_t)(st.st_size - (off_t)sizeof(struct ag_raw_header)) / (size_t)RECORD * (size_t)RECORD;
    if ((records = ag_malloc(bytes + 1)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "recording of %zu bytes: out of memory", bytes);
    while (got < bytes) {
        ssize_t n = pread(fd, (char *)records + got, bytes - got, (off_t)(sizeof(struct ag_raw_header) + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int why = n < 0 ? errno : EIO;

            ag_free(records);
            return ag_fail(err, AGENT_EIO, why, "recording: %s", strerror(why));
        }
        got += (size_t)n;
    }
    *out_count = bytes / (size_t)RECORD;
    *out = records;
    return AGENT_OK;
}

/* The processes are few: they are looked for one by one. */
struct pids {
    uint32_t at[256];
    unsigned count;
};

static void note_pid(struct pids *p, uint32_t pid)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->at[i] == pid)
            return;
    if (p->count < sizeof(p->at) / sizeof(p->at[0]))
        p->at[p->count++] = pid;
}

agent_status ag_raw_read(int fd, struct ag_raw_sum *sum, struct ag_trace *out, agent_error *err)
{
    struct ag_raw_record *records = NULL;
    struct ag_raw_sum s = {0};
    struct pids pids = {.count = 0};
    struct ag_trace t = {0};
    int64_t first_ns = 0;
    size_t count = 0;
    agent_status rc;

    (void)ag_raw_count(fd, true, &s.is_full);
    if ((rc = read_records(fd, &count, &records, err)) != AGENT_OK)
        return rc;
    qsort(records, count, sizeof(*records), by_time);
    for (size_t i = 0; i < count && rc == AGENT_OK; i++) {
        const struct ag_raw_record *r = &records[i];

        note_pid(&pids, r->what >> 2);
        if ((r->what & 3) == AG_RAW_DROPPED) {
            s.dropped += r->key;
            continue;
        }
        if (s.requests++ == 0)
            first_ns = r->at_ns;
        s.hits += (r->what & 3) == AG_RAW_HIT;
        rc = ag_trace_add(&t, r->key, r->bytes, (uint32_t)((r->at_ns - first_ns) / 1000000), err);
    }
    ag_free(records);
    s.processes = pids.count;
    if (rc == AGENT_OK && t.count > 0)
        rc = ag_trace_link(&t, err);
    if (rc != AGENT_OK) {
        ag_trace_drop(&t);
        return rc;
    }
    *sum = s;
    if (t.count > 0)
        *out = t;
    return AGENT_OK;
}

/* --- of a cache ------------------------------------------------------------------------------------------ */

int ag_raw_attach(const char *path)
{
    struct ag_raw_header h;
    struct stat st;
    int fd;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(h))
        return -1;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    if (pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) && memcmp(h.magic, AG_RAW_MAGIC, sizeof(h.magic)) == 0 &&
        ag_byte_lock(fd, AG_RAW_ATTACHED, F_RDLCK) && !ag_raw_is_over(fd, false))
        return fd;
    (void)close(fd);
    return -1;
}

bool ag_raw_is_over(int fd, bool is_private)
{
    struct ag_raw_header h;
    struct stat st;

    if (fstat(fd, &st) != 0 || pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.is_over != 0 ||
        st.st_size + RECORD > h.max_bytes || ag_raw_now_ns() > h.until_ns)
        return true;
    return !is_private && (st.st_nlink == 0 || !ag_bytes_held(fd, AG_RAW_LIFE, 1));
}

unsigned ag_raw_append(int fd, const struct ag_raw_record *records, unsigned count)
{
    const bool is_notice = count == 1 && (records->what & 3) == AG_RAW_DROPPED; /* (2) */
    struct ag_raw_header h;
    unsigned tries = 0, done = 0;
    struct stat st;
    ssize_t n;
    off_t room;

    while (!ag_byte_lock(fd, AG_RAW_APPEND, F_WRLCK)) {
        if (++tries > APPEND_TRIES)
            return 0;
        nap();
    }
    if (fstat(fd, &st) == 0 && pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) && st.st_size >= (off_t)sizeof(h)) {
        if (st.st_size % RECORD != 0) { /* (1) */
            st.st_size -= st.st_size % RECORD;
            (void)!ftruncate(fd, st.st_size);
        }
        room = ((off_t)h.max_bytes - st.st_size) / RECORD;
        if (!is_notice && room < (off_t)count)
            count = room < 0 ? 0 : (unsigned)room;
        n = count == 0 ? 0 : pwrite(fd, records, count * sizeof(*records), st.st_size);
        if (n > 0 && n % RECORD != 0)
            (void)!ftruncate(fd, st.st_size + n / RECORD * RECORD);
        done = n > 0 ? (unsigned)(n / RECORD) : 0;
    }
    (void)ag_byte_lock(fd, AG_RAW_APPEND, F_UNLCK);
    return done;
}
