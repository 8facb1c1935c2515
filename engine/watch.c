/* inotify, and the host's side of waiting for other processes. */
#include "engine/watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "engine/engine.h"
#include <agent/run.h>

#define LOOK_MS 200 /* where nothing is told */

bool ag_watch_open(struct ag_watch *w, const char *path)
{
    *w = AG_WATCH_INIT;
    if (path == NULL || (w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) < 0)
        return false;
    if (inotify_add_watch(w->fd, path, IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF) >= 0)
        return true;
    ag_watch_close(w);
    return false;
}

bool ag_watch_drain(struct ag_watch *w)
{
    union {
        struct inotify_event event; /* for its alignment */
        char bytes[4096];
    } buf;
    bool is_there = true;
    ssize_t n;

    while ((n = read(w->fd, buf.bytes, sizeof(buf.bytes))) > 0)
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
            const struct inotify_event *event = (const void *)(buf.bytes + at);

            is_there = is_there && (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) == 0;
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    return is_there;
}

void ag_watch_close(struct ag_watch *w)
{
    if (w->fd >= 0)
        (void)close(w->fd);
    w->fd = -1;
}

static agent_status version_now(agent_engine *e, uint64_t *out, agent_error *err)
{
    ag_reader *r;
    agent_status rc = ag_engine_reader(e, &r, err);

    if (rc != AGENT_OK)
        return rc;
    *out = ag_reader_version(r);
    ag_engine_reader_put(e);
    return AGENT_OK;
}

agent_status agent_wait_change(agent_engine *e, int64_t timeout_ms, agent_error *err)
{
    struct ag_watch watch = AG_WATCH_INIT;
    int64_t until, left;
    uint64_t seen, version;
    int echo = 0;
    agent_status rc;

    if (e == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "wait for a change: no engine");
    until = timeout_ms < 0 ? INT64_MAX : ag_mono_ns(&e->clock) + timeout_ms * 1000000;
    seen = atomic_load(&e->seen_version);
    for (;;) {
        struct pollfd fd;
        int wait_ms;

        if ((rc = version_now(e, &version, err)) != AGENT_OK || version != seen)
            break;
        left = until == INT64_MAX ? LOOK_MS : (until - ag_mono_ns(&e->clock)) / 1000000;
        if (left <= 0) {
            rc = ag_fail(err, AGENT_ETIMEDOUT, 0, "nothing was committed within %lld ms", (long long)timeout_ms);
            break;
        }
        if (watch.fd < 0) /* after the look: what is written from here on is told */
            (void)ag_watch_open(&watch, ag_store_watch_path(e->store));
        fd = (struct pollfd){.fd = echo == 0 ? watch.fd : -1, .events = POLLIN};
        wait_ms = echo != 0 ? echo : left < LOOK_MS ? (int)left : LOOK_MS;
        if (poll(&fd, 1, wait_ms) < 0)
            break; /* a signal: the caller may want to look at something of its own */
        if (echo == 0 && (fd.revents & POLLIN) == 0) {
            if (version == 0)
                break; /* a store that counts nothing: it may have changed */
            continue;
        }
        echo = ag_echo(echo);
        if (echo == 0 || (fd.revents & POLLIN) != 0)
            if (watch.fd >= 0 && !ag_watch_drain(&watch))
                ag_watch_close(&watch);
    }
    ag_watch_close(&watch);
    if (rc == AGENT_OK)
        atomic_store(&e->seen_version, version);
    return rc;
}
