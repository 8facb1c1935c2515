/*
 * Threads for what may block: the host's callbacks. A worker hands a job over and goes on.
 *
 *    submit ──► [ queue, FIFO, bounded ] ──► thread 1 … thread max
 *                                              │ 5 s without work
 *                                              ▼
 *                                            ended ──► joined by whoever comes next
 *
 *  (1) A thread is started only where there are more jobs in the queue than threads that wait, so
 *      a pool that is not used costs nothing, and a burst gets its threads at once.
 *  (2) A thread ends only with the lock held and the queue empty: no job is ever left without one.
 *  (3) Every thread is joined: the next thread that ends, the next submit or free does it. So when
 *      ag_pool_free() returns no code of ours runs any more, and the library may be unloaded.
 *  (4) Signals belong to the host: pool threads block all but those that tell of their own faults.
 *  (5) After job->work() returns the job is its maker's again; nothing here reads it.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/tool/tool.h"

#define AG_POOL_IDLE_S 5

struct thread {
    pthread_t id;
    struct ag_pool *pool;
    struct thread *next; /* of the ended; guarded by pool->lock */
};

struct ag_pool {
    pthread_mutex_t lock; /* guards all below; nothing else is locked under it, no call-outs */
    pthread_cond_t work;  /* the queue is not empty, or stopping */
    pthread_cond_t empty; /* live is 0 */
    struct ag_job *first, *last;
    size_t queued, max_queued;
    int live, idle, max_threads;
    struct thread *ended; /* not yet joined */
    bool stopping;
};

/* (3). Not under the lock: a thread that is being joined may still be on its way out of it. */
static void join(struct thread *ended)
{
    while (ended != NULL) {
        struct thread *next = ended->next;

        (void)pthread_join(ended->id, NULL);
        ag_free(ended);
        ended = next;
    }
}

static struct thread *take_ended(struct ag_pool *pool)
{
    struct thread *ended = pool->ended;

    pool->ended = NULL;
    return ended;
}

static struct ag_job *take_job(struct ag_pool *pool)
{
    struct ag_job *job = pool->first;

    pool->first = job->next;
    if (pool->first == NULL)
        pool->last = NULL;
    pool->queued--;
    return job;
}

/* Whether there is a job; false: it was idle for long enough, or the pool is stopping. */
static bool wait_for_job(struct ag_pool *pool)
{
    int64_t until = ag_mono_ns(&ag_clock_system) + AG_POOL_IDLE_S * INT64_C(1000000000);
    int rc = 0;

    pool->idle++;
    while (pool->first == NULL && !pool->stopping && rc != ETIMEDOUT)
        rc = ag_cond_wait_until(&pool->work, &pool->lock, until);
    pool->idle--;
    return pool->first != NULL;
}

static void *run_thread(void *arg)
{
    struct thread *self = arg, *ended;
    struct ag_pool *pool = self->pool;

    (void)pthread_setname_np(pthread_self(), "agent-tool");
    (void)pthread_mutex_lock(&pool->lock);
    while (wait_for_job(pool)) {
        struct ag_job *job = take_job(pool);

        (void)pthread_mutex_unlock(&pool->lock);
        job->work(job); /* (5) */
        (void)pthread_mutex_lock(&pool->lock);
    }
    assert(pool->first == NULL); /* (2) */
    ended = take_ended(pool);
    self->next = NULL;
    pool->ended = self;
    if (--pool->live == 0)
        (void)pthread_cond_broadcast(&pool->empty);
    (void)pthread_mutex_unlock(&pool->lock);
    join(ended);
    return NULL;
}

static int start_thread(struct ag_pool *pool)
{
    struct thread *t = ag_calloc(1, sizeof(*t));
    int rc;

    if (t == NULL)
        return ENOMEM;
    t->pool = pool;
    if ((rc = ag_thread_start(&t->id, run_thread, t)) != 0) { /* (4) */
        ag_free(t);
        return rc;
    }
    pool->live++;
    return 0;
}

ag_pool *ag_pool_new(int max_threads, size_t max_queued)
{
    struct ag_pool *pool = ag_calloc(1, sizeof(*pool));

    if (pool == NULL)
        return NULL;
    (void)pthread_mutex_init(&pool->lock, NULL);
    ag_cond_init(&pool->work);
    (void)pthread_cond_init(&pool->empty, NULL);
    pool->max_threads = max_threads > 0 ? max_threads : 1;
    pool->max_queued = max_queued > 0 ? max_queued : 1;
    return pool;
}

static void put_job(struct ag_pool *pool, struct ag_job *job)
{
    job->next = NULL;
    if (pool->last == NULL)
        pool->first = job;
    else
        pool->last->next = job;
    pool->last = job;
    pool->queued++;
}

agent_status ag_pool_submit(ag_pool *pool, struct ag_job *job, agent_error *err)
{
    struct thread *ended;
    agent_status rc = AGENT_OK;
    int cause = 0;

    (void)pthread_mutex_lock(&pool->lock);
    ended = take_ended(pool);
    if (pool->queued >= pool->max_queued) {
        rc = AGENT_EBUSY;
    } else {
        if (pool->queued + 1 > (size_t)pool->idle && pool->live < pool->max_threads) /* (1) */
            cause = start_thread(pool);
        if (pool->live == 0) {
            rc = AGENT_EIO;
        } else { /* a thread too few is only slower */
            put_job(pool, job);
            (void)pthread_cond_signal(&pool->work);
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    join(ended);
    if (rc == AGENT_EBUSY)
        return ag_fail(err, rc, 0, "tool pool: its queue of %zu is full", pool->max_queued);
    if (rc == AGENT_EIO)
        return ag_fail(err, rc, cause, "tool pool: no thread could be started: %s",
                       cause == EAGAIN ? "the system's limit on threads or memory is reached" : "out of memory");
    return AGENT_OK;
}

void ag_pool_free(ag_pool *pool)
{
    struct thread *ended;

    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->work);
    while (pool->live > 0)
        (void)pthread_cond_wait(&pool->empty, &pool->lock);
    ended = take_ended(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    join(ended);
    (void)pthread_cond_destroy(&pool->empty);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    ag_free(pool);
}
