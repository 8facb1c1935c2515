/*
 * The life of a child.
 *
 *    start ──► running ──leader ends──► draining ──pipes end, or 250 ms──► kill group, reap,
 *                 │  ▲                                                     close handles ──► fn
 *      deadline,  ▼  │ grace over: SIGKILL
 *      kill()   SIGTERM
 *
 *  (1) The leader stays a zombie until its group has been killed: so its number, which is also the
 *      group's, cannot have been given to somebody else when we signal it.
 *  (2) We wait for exactly our pid, once, after we know that it has ended: nothing here blocks.
 *  (3) SIGPIPE cannot reach the process: it is blocked on this thread around the write to the
 *      child, and taken back where that write raised it. Dispositions are never touched.
 *  (4) fn is called from the last close callback: after it the loop knows nothing of this child.
 *  (5) One timer serves deadline, grace, looks at memory and the wait for the pipes.
 */
#include "engine/io/process.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/io/process_rss.h"
#include "engine/io/process_spawn.h"

#define GRACE_MS      2000
#define DRAIN_MS      250
#define READ_BYTES    16384
#define READS_MAX     16    /* of one callback: a child that floods must not starve the loop */
#define NO_PIDFD_MS   10    /* how often to ask where the kernel has no pidfd */
#define LOOK_MIN_MS   4
#define LOOK_MAX_MS   500
#define RUSAGE_SLACK_KB 1024 /* ru_maxrss lags by up to some 200 pages */

enum stream { IN, OUT, ERR, PIDFD, STREAMS };

struct ag_process {
    uv_loop_t *loop;
    ag_process_fn fn;
    void *ctx;
    pid_t pid;
    int fds[STREAMS];         /* -1: closed, or never open */
    uv_poll_t polls[STREAMS]; /* those whose bit is in `open_polls` */
    unsigned open_polls;
    uv_timer_t timer;
    int handles;              /* open handles: the polls and the timer */
    struct ag_str input;      /* what is still to be written */
    ag_buf output, errors;
    size_t max_errors;
    int64_t started_ns;
    int64_t deadline_ms, kill_ms, drain_ms, look_ms; /* loop time; INT64_MAX: not set */
    int64_t grace_ms, started_ms;
    long own_peak_kb;         /* ours at the spawn: a child's ru_maxrss begins there */
    bool leader_ended, finished;
    ag_account *account; /* of whoever started it: what it says is kept for them; NULL: nobody counts */
    struct ag_process_end end;
};

static void arm(ag_process *p);
static void advance(ag_process *p);

static int64_t mono_ns(void)
{
    return ag_mono_ns(&ag_clock_system);
}

static int64_t now_ms(const ag_process *p)
{
    return (int64_t)uv_now(p->loop);
}

/* --- the end ----------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    ag_process *p = handle->data;
    struct ag_mem_charge was;

    if (--p->handles > 0)
        return;
    was = ag_mem_charge_away(p->account);
    p->end.output = ag_buf_view(&p->output);
    p->end.errors = ag_buf_view(&p->errors);
    if (p->fn != NULL)
        p->fn(p->ctx, &p->end); /* (4) */
    ag_buf_drop(&p->output);
    ag_buf_drop(&p->errors);
    ag_mem_charge_back(was);
    ag_free(p);
}

static void close_stream(ag_process *p, enum stream s)
{
    if (p->fds[s] < 0)
        return;
    if (p->open_polls & (1u << s)) {
        p->open_polls &= ~(1u << s);
        (void)uv_poll_stop(&p->polls[s]);
        uv_close((uv_handle_t *)&p->polls[s], on_closed);
    }
    (void)close(p->fds[s]); /* after the poll is stopped: libuv must not see a number that is reused */
    p->fds[s] = -1;
}

static void signal_group(const ag_process *p, int sig)
{
    if (!p->finished) /* (1) */
        (void)kill(-p->pid, sig);
}

/* Takes the leader's status and figures. */
static void reap(ag_process *p)
{
    struct rusage usage = {0};
    int status = 0;
    pid_t got;

    do
        got = wait4(p->pid, &status, WNOHANG, &usage); /* (2): it is a zombie, so this does not wait */
    while (got < 0 && errno == EINTR);
    p->end.exit_code = -1;
    if (got != p->pid)
        return; /* a host that ignores SIGCHLD or waits for all children: the status is lost */
    if (WIFEXITED(status))
        p->end.exit_code = WEXITSTATUS(status);
    else if (WIFSIGNALED(status))
        p->end.signal = WTERMSIG(status);
    /* A child's ru_maxrss begins at our own peak, so it says something only where it is above that. */
    if (usage.ru_maxrss > p->own_peak_kb + RUSAGE_SLACK_KB &&
        (int64_t)usage.ru_maxrss * 1024 > p->end.rss_peak_bytes)
        p->end.rss_peak_bytes = (int64_t)usage.ru_maxrss * 1024;
}

static void read_stream(ag_process *p, enum stream s);

static void finish(ag_process *p)
{
    if (p->finished)
        return;
    signal_group(p, SIGKILL);
    reap(p);
    p->finished = true;
    read_stream(p, OUT); /* what was written before the group was killed */
    read_stream(p, ERR);
    for (int s = 0; s < STREAMS; s++)
        close_stream(p, (enum stream)s);
    (void)uv_timer_stop(&p->timer);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

/* Whether the leader is a zombie, or gone (to a host that reaps everything). */
static bool leader_has_ended(const ag_process *p)
{
    siginfo_t info = {0};
    int rc;

    do
        rc = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    while (rc != 0 && errno == EINTR);
    return rc != 0 || info.si_pid == p->pid;
}

static void leader_ended(ag_process *p)
{
    if (p->leader_ended)
        return;
    p->leader_ended = true;
    p->end.wall_us = (mono_ns() - p->started_ns) / 1000;
    close_stream(p, PIDFD);
    close_stream(p, IN);
    p->deadline_ms = p->kill_ms = p->look_ms = INT64_MAX;
    p->drain_ms = now_ms(p) + DRAIN_MS;
    if (p->end.timed_out || p->end.killed)
        signal_group(p, SIGKILL); /* nobody wants what the rest has to say */
}

/* After any change: is it over? */
static void advance(ag_process *p)
{
    if (p->finished)
        return;
    if (p->leader_ended && p->fds[OUT] < 0 && p->fds[ERR] < 0)
        finish(p);
    else
        arm(p);
}

/* --- its streams ------------------------------------------------------------------------------- */

static void keep_bytes(ag_process *p, enum stream s, const char *bytes, size_t n)
{
    ag_buf *b = s == OUT ? &p->output : &p->errors;

    if (s == OUT) {
        size_t room = b->cap - b->n;
        if (n > room) {
            n = room;
            p->end.cut = true;
        }
        ag_buf_append(b, bytes, n);
        if (b->failed != AGENT_OK)
            p->end.cut = true; /* out of memory: what is kept is whole up to here, and says it is cut */
        return;
    }
    if (n > p->max_errors) {
        bytes += n - p->max_errors;
        n = p->max_errors;
    }
    if (b->n + n > p->max_errors)
        ag_buf_consume(b, b->n + n - p->max_errors);
    ag_buf_append(b, bytes, n);
}

static void keep(ag_process *p, enum stream s, const char *bytes, size_t n)
{
    struct ag_mem_charge was = ag_mem_charge_away(p->account);

    keep_bytes(p, s, bytes, n);
    ag_mem_charge_back(was);
}

static void read_stream(ag_process *p, enum stream s)
{
    char bytes[READ_BYTES];

    if (p->fds[s] < 0)
        return;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(p->fds[s], bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_stream(p, s);
            return;
        }
        keep(p, s, bytes, (size_t)n);
        if ((size_t)n < sizeof(bytes))
            return; /* drained; level-triggered, so what comes now is told again */
    }
}

/* One write that cannot raise SIGPIPE (3). */
static ssize_t write_quietly(int fd, const char *bytes, size_t n)
{
    sigset_t pipe_only, before, pending;
    struct timespec at_once = {0, 0};
    bool was_pending;
    ssize_t rc;
    int why;

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    rc = write(fd, bytes, n);
    why = errno;
    if (rc < 0 && why == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return rc;
}

static void write_input(ag_process *p)
{
    while (p->fds[IN] >= 0) {
        ssize_t n;

        if (p->input.n == 0) {
            close_stream(p, IN);
            return;
        }
        n = write_quietly(p->fds[IN], p->input.p, p->input.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) { /* the child does not want it: its right, and no failure */
            close_stream(p, IN);
            return;
        }
        p->input.p += n;
        p->input.n -= (size_t)n;
    }
}

static void look(ag_process *p)
{
    int64_t bytes = ag_group_rss_peak(p->pid), age = now_ms(p) - p->started_ms, next = age / 4;

    if (bytes > p->end.rss_peak_bytes)
        p->end.rss_peak_bytes = bytes;
    if (next < LOOK_MIN_MS)
        next = LOOK_MIN_MS;
    if (next > LOOK_MAX_MS)
        next = LOOK_MAX_MS;
    p->look_ms = now_ms(p) + next;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    ag_process *p = poll->data;
    enum stream s = (enum stream)(poll - p->polls);

    (void)events;
    if (s == PIDFD) {
        if (leader_has_ended(p))
            leader_ended(p);
    } else if (status < 0) {
        close_stream(p, s);
    } else if (s == IN) {
        write_input(p);
    } else {
        read_stream(p, s);
    }
    advance(p);
}

/* --- time -------------------------------------------------------------------------------------- */

static void begin_kill(ag_process *p)
{
    p->deadline_ms = INT64_MAX;
    p->kill_ms = now_ms(p) + p->grace_ms;
    signal_group(p, SIGTERM);
}

static void on_timer(uv_timer_t *timer)
{
    ag_process *p = timer->data;
    int64_t now = now_ms(p);

    /* A loop that was held up may run the deadline before the poll that tells the end. */
    if ((p->fds[PIDFD] < 0 || now >= p->deadline_ms) && !p->leader_ended && leader_has_ended(p))
        leader_ended(p);
    if (p->leader_ended && now >= p->drain_ms) {
        finish(p);
        return;
    }
    if (!p->leader_ended) {
        if (now >= p->deadline_ms) {
            p->end.timed_out = true;
            begin_kill(p);
        } else if (now >= p->kill_ms) {
            p->kill_ms = INT64_MAX;
            signal_group(p, SIGKILL);
        }
        if (now >= p->look_ms)
            look(p);
    }
    advance(p);
}

static void arm(ag_process *p)
{
    int64_t now = now_ms(p), next = INT64_MAX;
    const int64_t all[] = {p->deadline_ms, p->kill_ms, p->drain_ms, p->look_ms};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i] < next)
            next = all[i];
    if (p->fds[PIDFD] < 0 && !p->leader_ended && next > now + NO_PIDFD_MS)
        next = now + NO_PIDFD_MS;
    if (next == INT64_MAX)
        (void)uv_timer_stop(&p->timer);
    else
        (void)uv_timer_start(&p->timer, on_timer, next > now ? (uint64_t)(next - now) : 0, 0);
}

/* --- the two verbs ----------------------------------------------------------------------------- */

static int watch(ag_process *p, enum stream s)
{
    int rc;

    if (p->fds[s] < 0)
        return 0;
    if ((rc = uv_poll_init(p->loop, &p->polls[s], p->fds[s])) != 0)
        return rc;
    p->polls[s].data = p;
    p->open_polls |= 1u << s;
    p->handles++;
    return uv_poll_start(&p->polls[s], s == IN ? UV_WRITABLE : UV_READABLE, on_poll);
}

agent_status ag_process_start(uv_loop_t *loop, const struct ag_process_spec *spec, ag_process_fn fn, void *ctx,
                              ag_process **out, agent_error *err)
{
    ag_process *p = ag_calloc(1, sizeof(*p));
    struct ag_child child;
    struct rusage own = {0};
    agent_status rc;
    int uv = 0;

    if (p == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "start process: out of memory");
    (void)getrusage(RUSAGE_SELF, &own);
    p->started_ns = mono_ns();
    if ((rc = ag_child_spawn(spec, &child, err)) != AGENT_OK) {
        ag_free(p);
        return rc;
    }
    uv_update_time(loop); /* the spawn took its time, and so perhaps did the caller */
    p->loop = loop;
    p->fn = fn;
    p->ctx = ctx;
    p->pid = child.pid;
    p->account = ag_mem_charged(); /* this handle is a block of it, so it lives as long */
    p->fds[IN] = child.in;
    p->fds[OUT] = child.out;
    p->fds[ERR] = child.err;
    p->fds[PIDFD] = child.pidfd;
    p->input = spec->input;
    p->output = AG_BUF_INIT(spec->max_output_bytes);
    p->errors = AG_BUF_INIT(spec->max_error_bytes);
    p->max_errors = spec->max_error_bytes;
    p->own_peak_kb = own.ru_maxrss;
    p->started_ms = now_ms(p);
    p->grace_ms = spec->grace_ms > 0 ? spec->grace_ms : GRACE_MS;
    p->deadline_ms = spec->timeout_ms > 0 ? p->started_ms + spec->timeout_ms : INT64_MAX;
    p->kill_ms = p->drain_ms = INT64_MAX;
    p->end.rss_peak_bytes = -1;

    (void)uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    p->handles = 1;
    for (int s = 0; s < STREAMS && uv == 0; s++)
        uv = watch(p, (enum stream)s);
    if (uv != 0) { /* the loop cannot take it: end the child, call nobody */
        p->fn = NULL;
        signal_group(p, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
        p->pid = 0;
        p->finished = true;
        for (int s = 0; s < STREAMS; s++)
            close_stream(p, (enum stream)s);
        uv_close((uv_handle_t *)&p->timer, on_closed);
        return ag_fail(err, AGENT_EIO, uv, "start process: watch the child: %s", uv_strerror(uv));
    }
    look(p);
    write_input(p); /* most inputs fit in the pipe: no trip through the loop */
    arm(p);
    *out = p;
    return AGENT_OK;
}

void ag_process_kill(ag_process *p)
{
    bool again = p->end.killed;

    if (p->finished)
        return;
    uv_update_time(p->loop);
    if (p->leader_ended) { /* only pipes that a grandchild holds are left: do not wait for them */
        p->drain_ms = now_ms(p);
        arm(p);
        return;
    }
    p->end.killed = true;
    if (again || p->kill_ms != INT64_MAX) {
        if (again)
            signal_group(p, SIGKILL);
        return;
    }
    begin_kill(p);
    arm(p);
}
