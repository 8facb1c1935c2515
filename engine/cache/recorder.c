/* The tap of a front cache; see recorder.h. */
#include "engine/cache/recorder.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/cache/raw.h"

#define RING      65536 /* slots: 2 MB while somebody records */
#define BLOCK     512   /* records of one write */
#define PAUSE_NS  20000000
#define SECOND_NS INT64_C(1000000000)

struct slot {
    atomic_uint_least64_t turn; /* the ticket that may fill it, or that and 1: it is filled */
    struct ag_raw_record record;
};

enum state {
    CLOSED,
    OPEN,
    OVER,   /* the thread has closed it and is to be joined */
    ENDING, /* somebody waits for the thread */
};

struct ag_recorder {
    ag_cache *cache;
    char *path;
    bool is_threaded;
    uint32_t pid;
    _Atomic int64_t due_ns; /* of the next look */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    enum state state; /* guarded by lock, like these */
    bool is_private, stop;
    pthread_t thread;
    int fd;           /* the thread's while the tap is open */

    atomic_bool is_open; /* (2) */
    atomic_uint inside;
    struct slot *slots;
    char apart[64];             /* each of these on a line of its own */
    atomic_uint_least64_t tail; /* the next ticket */
    atomic_uint_least64_t dropped;
    char apart_too[64];
    uint64_t head; /* the consumer's */
    struct ag_raw_record block[BLOCK];
};

/* --- requests -------------------------------------------------------------------------------------------- */

static void put(struct ag_recorder *r, const struct ag_raw_record *record)
{
    uint64_t ticket = atomic_load_explicit(&r->tail, memory_order_relaxed);

    for (;;) {
        struct slot *s = &r->slots[ticket % RING];
        uint64_t turn = atomic_load_explicit(&s->turn, memory_order_acquire);

        if (turn == ticket) {
            if (!atomic_compare_exchange_weak_explicit(&r->tail, &ticket, ticket + 1, memory_order_relaxed,
                                                       memory_order_relaxed))
                continue;
            s->record = *record;
            atomic_store_explicit(&s->turn, ticket + 1, memory_order_release);
            return;
        }
        if (turn < ticket) { /* not taken out yet since the last time round */
            atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
            return;
        }
        ticket = atomic_load_explicit(&r->tail, memory_order_relaxed);
    }
}

static void drain(struct ag_recorder *r);

static void watch(void *ctx, uint64_t key, uint32_t bytes, bool is_hit)
{
    struct ag_recorder *r = ctx;

    atomic_fetch_add(&r->inside, 1);
    if (atomic_load(&r->is_open)) {
        put(r, &(struct ag_raw_record){.at_ns = ag_raw_now_ns(), .key = key, .bytes = bytes,
                                       .what = r->pid << 2 | (is_hit ? AG_RAW_HIT : AG_RAW_MISS)});
        if (!r->is_threaded && atomic_load_explicit(&r->tail, memory_order_relaxed) - r->head > RING / 2)
            drain(r); /* this is the only thread */
    }
    atomic_fetch_sub(&r->inside, 1);
}

/* --- the consumer ------------------------------------------------------------------------------------------ */

static void write_block(struct ag_recorder *r, unsigned count)
{
    unsigned done = 0, n;

    while (done < count && (n = ag_raw_append(r->fd, r->block + done, count - done)) > 0)
        done += n;
    if (done < count)
        atomic_fetch_add_explicit(&r->dropped, count - done, memory_order_relaxed);
}

static void drain(struct ag_recorder *r)
{
    unsigned n;

    do {
        for (n = 0; n < BLOCK; n++) {
            struct slot *s = &r->slots[r->head % RING];

            if (atomic_load_explicit(&s->turn, memory_order_acquire) != r->head + 1)
                break;
            r->block[n] = s->record;
            atomic_store_explicit(&s->turn, r->head + RING, memory_order_release);
            r->head++;
        }
        write_block(r, n);
    } while (n == BLOCK);
}

static void tell_dropped(struct ag_recorder *r)
{
    uint64_t dropped = atomic_exchange(&r->dropped, 0);

    if (dropped > 0)
        (void)ag_raw_append(r->fd, &(struct ag_raw_record){.at_ns = ag_raw_now_ns(), .key = dropped,
                                                           .what = r->pid << 2 | AG_RAW_DROPPED}, 1);
}

/* (2) */
static void close_tap(struct ag_recorder *r)
{
    (void)ag_cache_watch(r->cache, NULL, NULL, NULL); /* where that fails calls go on, and find it closed */
    atomic_store(&r->is_open, false);
    while (atomic_load(&r->inside) > 0)
        (void)sched_yield();
    drain(r);
    tell_dropped(r);
    ag_free(r->slots);
    r->slots = NULL;
    if (!r->is_private)
        (void)close(r->fd); /* and with it the lock that says: there is more to come */
    r->fd = -1;
}

static void *run_thread(void *ctx)
{
    struct ag_recorder *r = ctx;
    bool is_over = false;

    (void)pthread_setname_np(pthread_self(), "agent-trace");
    (void)pthread_mutex_lock(&r->lock);
    while (!r->stop && !is_over) {
        uint64_t waiting = atomic_load_explicit(&r->tail, memory_order_relaxed) - r->head;

        if (waiting < RING / 8)
            (void)ag_cond_wait_until(&r->wake, &r->lock, ag_raw_now_ns() + PAUSE_NS);
        (void)pthread_mutex_unlock(&r->lock);
        drain(r);
        is_over = ag_raw_is_over(r->fd, r->is_private);
        (void)pthread_mutex_lock(&r->lock);
    }
    (void)pthread_mutex_unlock(&r->lock);
    close_tap(r);
    (void)pthread_mutex_lock(&r->lock);
    if (r->state == OPEN)
        r->state = OVER;
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Under the lock; takes the descriptor unless it is private. */
static agent_status open_tap(struct ag_recorder *r, int fd, bool is_private, agent_error *err)
{
    struct ag_mem_charge was = ag_mem_charge(NULL);
    agent_status rc = AGENT_OK;

    r->slots = ag_malloc(RING * sizeof(*r->slots));
    for (uint64_t i = 0; r->slots != NULL && i < RING; i++)
        atomic_init(&r->slots[i].turn, i);
    r->fd = fd;
    r->is_private = is_private;
    r->stop = false;
    r->head = 0;
    atomic_store(&r->tail, 0);
    atomic_store(&r->dropped, 0);
    if (r->slots == NULL)
        rc = ag_fail(err, AGENT_ENOMEM, 0, "record requests: out of memory");
    else if ((rc = ag_cache_watch(r->cache, watch, r, err)) == AGENT_OK)
        atomic_store(&r->is_open, true);
    if (rc == AGENT_OK && r->is_threaded && ag_thread_start(&r->thread, run_thread, r) != 0)
        rc = ag_fail(err, AGENT_ENOMEM, 0, "record requests: no thread");
    if (rc == AGENT_OK)
        r->state = OPEN;
    else if (r->slots != NULL)
        close_tap(r);
    else if (!is_private)
        (void)close(fd);
    ag_mem_charge_back(was);
    return rc;
}

/* Under the lock. The tap is closed when it returns, unless somebody else is closing it. */
static void end(struct ag_recorder *r)
{
    if (r->state == CLOSED || r->state == ENDING)
        return;
    r->state = ENDING;
    if (r->is_threaded) {
        r->stop = true;
        (void)pthread_cond_signal(&r->wake);
        (void)pthread_mutex_unlock(&r->lock);
        (void)pthread_join(r->thread, NULL);
        (void)pthread_mutex_lock(&r->lock);
    } else {
        close_tap(r);
    }
    r->state = CLOSED;
}

/* --- its owner ------------------------------------------------------------------------------------------------ */

struct ag_recorder *ag_recorder_new(ag_cache *cache, const char *path, bool is_threaded)
{
    struct ag_recorder *r = ag_calloc(1, sizeof(*r));

    if (r == NULL || (path != NULL && (r->path = ag_strdup(path)) == NULL)) {
        ag_free(r);
        return NULL;
    }
    r->cache = cache;
    r->is_threaded = is_threaded;
    r->pid = (uint32_t)getpid();
    r->fd = -1;
    (void)pthread_mutex_init(&r->lock, NULL);
    ag_cond_init(&r->wake);
    return r;
}

void ag_recorder_close(struct ag_recorder *r)
{
    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    end(r);
    (void)pthread_mutex_unlock(&r->lock);
}

void ag_recorder_free(struct ag_recorder *r)
{
    if (r == NULL)
        return;
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    ag_free(r->path);
    ag_free(r);
}

void ag_recorder_look(struct ag_recorder *r, int64_t mono_ns)
{
    int64_t due = atomic_load_explicit(&r->due_ns, memory_order_relaxed);
    int fd;

    if (r->path == NULL || mono_ns < due || !atomic_compare_exchange_strong(&r->due_ns, &due, mono_ns + SECOND_NS) ||
        pthread_mutex_trylock(&r->lock) != 0)
        return;
    if (r->state == OPEN && !r->is_threaded) {
        drain(r);
        if (!r->is_private && ag_raw_is_over(r->fd, false))
            end(r);
        else
            atomic_store(&r->due_ns, mono_ns + SECOND_NS / 10); /* whoever records waits for its end */
    } else if (r->state == OVER && !r->is_private) { /* its own is released by whoever began it */
        end(r);
    }
    if (r->state == CLOSED && (fd = ag_raw_attach(r->path)) >= 0)
        (void)open_tap(r, fd, false, NULL); /* out of memory: the recording goes without us */
    (void)pthread_mutex_unlock(&r->lock);
}

agent_status ag_recorder_own(struct ag_recorder *r, int fd, agent_error *err)
{
    agent_status rc;

    (void)pthread_mutex_lock(&r->lock);
    if (r->state == OVER && !r->is_private)
        end(r);
    if (r->state == CLOSED) {
        rc = open_tap(r, fd, true, err);
    } else {
        rc = ag_fail(err, AGENT_EBUSY, 0, "record requests: another recording of this engine is under way");
        ag_hint(err, "wait for its end: agentctl cache trace, or --cache-trace");
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

void ag_recorder_release(struct ag_recorder *r)
{
    (void)pthread_mutex_lock(&r->lock);
    if (r->is_private)
        end(r);
    r->is_private = false;
    (void)pthread_mutex_unlock(&r->lock);
}
