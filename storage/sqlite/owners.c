/*
 * Who is alive. Every store that drives runs is an owner: a row of `owner`, and a lock on the byte
 * of <db>-owners whose offset is the row's id.
 *
 *     <db>-owners:   byte 1   byte 2   byte 3 …       an empty file; only its locks matter
 *                             held by   free: owner 3
 *                             owner 2   is dead
 *
 * The lock belongs to the open file description (F_OFD_SETLK): it ends with the process whatever
 * becomes of it, a kill included, needs no timeout, knows no reused PID, and is not lost when
 * another descriptor of the file is closed. Asking costs half a microsecond.
 *
 * Invariants: (1) the byte is locked before the row is committed; (2) only older rows are deleted,
 * so ids grow and a run's dead owner is never mistaken for a newer one; (3) the file is never
 * deleted: a lock on a deleted file is seen by nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/bytelock.h"
#include "storage/sqlite/impl.h"

#define DEAD_AT_ONCE 16

agent_status ag_owners_open(struct ag_sq_store *s, agent_error *err)
{
    if (s->owners.fd >= 0)
        return AGENT_OK;
    if (s->owners_path == NULL) /* a store that was half opened is closing */
        return ag_fail(err, AGENT_ENOMEM, 0, "file of owners");
    s->owners.fd = open(s->owners_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->owners.fd < 0) {
        int why = errno;

        (void)ag_fail(err, AGENT_ESTORAGE, why, "file '%s': %s", s->owners_path, strerror(why));
        ag_hint(err, "it stands beside the database and tells which processes are alive; make it readable and writable");
        return AGENT_ESTORAGE;
    }
    return AGENT_OK;
}

bool ag_owner_alive(struct ag_sq_store *s, int64_t id)
{
    if (id <= 0)
        return false;
    if (id == atomic_load(&s->owners.id))
        return true;
    if (ag_owners_open(s, NULL) != AGENT_OK)
        return true; /* cannot know: rather leave a run to its owner than run it twice */
    return ag_bytes_held(s->owners.fd, id, 1);
}

bool ag_owner_any_other(struct ag_sq_store *s)
{
    return ag_owners_open(s, NULL) != AGENT_OK || ag_bytes_held(s->owners.fd, 0, 0);
}

/* What tells this process apart, for people and `doctor`: nothing is decided by it. */
static int64_t start_of_this_process(void)
{
    char text[1024], *p;
    long long ticks = 0;
    ssize_t n;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if ((p = strrchr(text, ')')) == NULL)
        return 0;
    for (int field = 2; field < 22 && p != NULL; field++)
        p = strchr(p + 1, ' ');
    return p != NULL && sscanf(p, "%lld", &ticks) == 1 ? ticks : 0;
}

static void boot_id(char *text, size_t bytes)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, bytes - 1);

    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

agent_status ag_owners_dead(struct ag_sq_store *s, struct ag_db *db, int64_t *ids, int most, int *out_count,
                            agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, AG_STMT_OWNER_LIST);
    int count = 0;
    bool row;
    agent_status rc;

    while (count < most && (rc = ag_query_row(&q, &row, err)) == AGENT_OK && row)
        if (!ag_owner_alive(s, ag_col_int(&q, 0)))
            ids[count++] = ag_col_int(&q, 0);
    if (count < most && rc != AGENT_OK)
        return rc;
    *out_count = count;
    return AGENT_OK;
}

/* A new owner clears up after those before it. What a dead one had is looked for among all open runs;
 * where these are many, that waits until it pays, or until somebody works on them. */
static agent_status forget_the_dead(struct ag_sq_store *s, ag_unit *u, int64_t before)
{
    int64_t dead[DEAD_AT_ONCE];
    bool many = false;
    int count = 0;
    agent_status rc = ag_owners_dead(s, &s->a, dead, DEAD_AT_ONCE, &count, &u->error);

    while (count > 0 && dead[count - 1] >= before) /* our own: one's own lock cannot be asked for */
        count--;
    if (rc == AGENT_OK && count > 0 && count < DEAD_AT_ONCE) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUE_MANY);

        rc = ag_query_row(&q, &many, &u->error);
    }
    if (rc == AGENT_OK && count > 0 && !many)
        rc = ag_owners_reap(s, u, dead, count);
    if (rc == AGENT_OK) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_OWNER_FORGET);

        ag_query_int(&q, before);
        rc = ag_query_run(&q, &u->error);
    }
    return rc;
}

agent_status ag_owner_need(struct ag_sq_store *s, ag_unit *u, int64_t *out_id)
{
    struct utsname host;
    char boot[64];
    int64_t id = atomic_load(&s->owners.id);
    bool row;
    agent_status rc;

    if (id != 0) {
        *out_id = id;
        return AGENT_OK;
    }
    if ((rc = ag_home_settle(s, u)) != AGENT_OK || (rc = ag_owners_open(s, &u->error)) != AGENT_OK)
        return rc;
    {
        AG_AUTO(ag_query) next = ag_query(&s->a, AG_STMT_OWNER_NEXT);

        if ((rc = ag_query_row(&next, &row, &u->error)) != AGENT_OK)
            return rc;
        id = ag_col_int(&next, 0);
    }
    while (!ag_byte_lock(s->owners.fd, id, F_WRLCK)) { /* (1) */
        if (errno != EAGAIN && errno != EACCES)
            return ag_fail(&u->error, AGENT_ESTORAGE, errno, "lock byte %lld of '%s': %s", (long long)id,
                           s->owners_path, strerror(errno));
        id++; /* somebody whose row was taken away by hand, or is not committed */
    }
    if (uname(&host) != 0)
        host.nodename[0] = '\0';
    boot_id(boot, sizeof(boot));
    {
        AG_AUTO(ag_query) insert = ag_query(&s->a, AG_STMT_OWNER_INSERT);

        ag_query_int(&insert, id);
        ag_query_word(&insert, host.nodename);
        ag_query_word(&insert, boot);
        ag_query_int(&insert, (int64_t)getpid());
        ag_query_int(&insert, start_of_this_process());
        ag_query_int(&insert, u->now_ms);
        rc = ag_query_run(&insert, &u->error);
    }
    if (rc != AGENT_OK || (rc = forget_the_dead(s, u, id)) != AGENT_OK) { /* (2) */
        (void)ag_byte_lock(s->owners.fd, id, F_UNLCK);
        return rc;
    }
    atomic_store(&s->owners.id, id);
    s->owners.committed = false;
    *out_id = id;
    return AGENT_OK;
}

void ag_owner_settle(struct ag_sq_store *s, bool committed)
{
    int64_t id = atomic_load(&s->owners.id);

    if (id == 0 || s->owners.committed)
        return;
    if (committed) {
        s->owners.committed = true;
    } else { /* the row is gone with the transaction; the next batch makes another */
        (void)ag_byte_lock(s->owners.fd, id, F_UNLCK);
        atomic_store(&s->owners.id, 0);
    }
}

void ag_owner_drop(struct ag_sq_store *s)
{
    if (s->owners.fd >= 0)
        (void)close(s->owners.fd); /* and with it our lock */
    s->owners.fd = -1;
}
