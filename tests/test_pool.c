/* The pool of threads. Numbers in brackets: invariants of engine/tool/pool.c. */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/tool/tool.h"

Suite *pool_suite(void);

static agent_error err;

/* What the jobs of one test share. */
struct scene {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool gate_open;          /* guarded by lock, as all here */
    int begun, ended, at_once, most_at_once;
    int order[64];
    ag_pool *pool;
};

struct task {
    struct ag_job job; /* first: the job is the task */
    struct scene *scene;
    int number;
    bool waits;
};

static struct scene scene;

static void begin(void)
{
    memset(&scene, 0, sizeof(scene));
    (void)pthread_mutex_init(&scene.lock, NULL);
    (void)pthread_cond_init(&scene.changed, NULL);
    memset(&err, 0, sizeof(err));
}

static void end(void)
{
    (void)pthread_cond_destroy(&scene.changed);
    (void)pthread_mutex_destroy(&scene.lock);
}

static void work(struct ag_job *job)
{
    struct task *t = (struct task *)job;
    struct scene *s = t->scene;

    (void)pthread_mutex_lock(&s->lock);
    s->order[s->begun++ % 64] = t->number;
    if (++s->at_once > s->most_at_once)
        s->most_at_once = s->at_once;
    (void)pthread_cond_broadcast(&s->changed);
    while (t->waits && !s->gate_open)
        (void)pthread_cond_wait(&s->changed, &s->lock);
    s->at_once--;
    s->ended++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static struct task task(int number, bool waits)
{
    return (struct task){.job = {.work = work}, .scene = &scene, .number = number, .waits = waits};
}

static void open_gate(void)
{
    (void)pthread_mutex_lock(&scene.lock);
    scene.gate_open = true;
    (void)pthread_cond_broadcast(&scene.changed);
    (void)pthread_mutex_unlock(&scene.lock);
}

static void wait_until(const int *counter, int value)
{
    (void)pthread_mutex_lock(&scene.lock);
    while (*counter < value)
        (void)pthread_cond_wait(&scene.changed, &scene.lock);
    (void)pthread_mutex_unlock(&scene.lock);
}

static int threads_of_process(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static void submit(struct task *t)
{
    ck_assert_msg(ag_pool_submit(scene.pool, &t->job, &err) == AGENT_OK, "%s", err.text);
}

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

/* First in the suite: a thread of an earlier test would leave its stack for the next to use. */
START_TEST(where_no_thread_can_be_started_the_job_is_refused_and_not_kept)
{
#ifdef SANITIZED
    return; /* a sanitizer needs more address space than the limit leaves */
#else
    struct rlimit had, none;
    struct task t = task(1, false);
    agent_status rc;

    scene.pool = ag_pool_new(2, 10);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &had), 0);
    none = had;
    none.rlim_cur = 1 << 20; /* less than is in use: nothing more can be mapped */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    rc = ag_pool_submit(scene.pool, &t.job, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &had), 0);
    ck_assert_int_eq(rc, AGENT_EIO);
    ck_assert_str_eq(err.text, "tool pool: no thread could be started: the system's limit on threads or memory is reached");

    submit(&t); /* the same job: it is not in the queue */
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 1);
#endif
}
END_TEST

START_TEST(a_pool_without_work_has_no_thread)
{
    int before = threads_of_process();

    scene.pool = ag_pool_new(8, 8);
    ck_assert_int_eq(threads_of_process(), before);
    ag_pool_free(scene.pool);
}
END_TEST

START_TEST(one_thread_runs_the_jobs_in_the_order_they_came)
{
    struct task tasks[20];

    scene.pool = ag_pool_new(1, 20);
    for (int i = 0; i < 20; i++) {
        tasks[i] = task(i, false);
        submit(&tasks[i]);
    }
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 20);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(scene.order[i], i);
    ck_assert_int_eq(scene.most_at_once, 1);
}
END_TEST

/* (1) */
START_TEST(jobs_run_at_once_up_to_the_number_of_threads_and_never_more)
{
    struct task tasks[12];

    scene.pool = ag_pool_new(3, 12);
    for (int i = 0; i < 12; i++) {
        tasks[i] = task(i, true);
        submit(&tasks[i]);
    }
    wait_until(&scene.begun, 3); /* would hang if there were only two */
    open_gate();
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 12);
    ck_assert_int_eq(scene.most_at_once, 3);
}
END_TEST

START_TEST(a_full_queue_is_busy_and_takes_jobs_again_when_there_is_room)
{
    struct task running = task(0, true), tasks[3] = {task(1, false), task(2, false), task(3, false)};

    scene.pool = ag_pool_new(1, 2);
    submit(&running);
    wait_until(&scene.begun, 1);
    submit(&tasks[0]);
    submit(&tasks[1]);
    ck_assert_int_eq(ag_pool_submit(scene.pool, &tasks[2].job, &err), AGENT_EBUSY);
    ck_assert_str_eq(err.text, "tool pool: its queue of 2 is full");
    open_gate();
    wait_until(&scene.ended, 3);
    submit(&tasks[2]);
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 4);
}
END_TEST

START_TEST(free_runs_what_is_queued_and_waits_for_what_runs)
{
    struct task tasks[10];

    scene.pool = ag_pool_new(2, 10);
    scene.gate_open = true;
    for (int i = 0; i < 10; i++) {
        tasks[i] = task(i, true);
        submit(&tasks[i]);
    }
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 10);
}
END_TEST

/* (3) */
START_TEST(after_free_no_thread_of_the_pool_is_left)
{
    int before = threads_of_process();
    struct task tasks[4];

    scene.pool = ag_pool_new(4, 4);
    for (int i = 0; i < 4; i++) {
        tasks[i] = task(i, true);
        submit(&tasks[i]);
    }
    wait_until(&scene.begun, 4);
    ck_assert_int_eq(threads_of_process(), before + 4);
    open_gate();
    ag_pool_free(scene.pool);
    ck_assert_int_eq(threads_of_process(), before);
    ag_pool_free(NULL);
}
END_TEST

static void resubmit(struct ag_job *job)
{
    struct task *t = (struct task *)job;

    if (t->number-- > 0)
        ck_assert_int_eq(ag_pool_submit(t->scene->pool, &t->job, NULL), AGENT_OK);
    else
        work(job);
}

START_TEST(a_job_may_submit_itself_again_even_while_the_pool_is_freed)
{
    struct task t = task(1000, false);

    t.job.work = resubmit;
    scene.pool = ag_pool_new(2, 2);
    submit(&t);
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 1);
}
END_TEST

static void work_and_vanish(struct ag_job *job)
{
    work(job);
    free(job); /* (5): under a sanitizer a pool that looks again is caught */
}

START_TEST(a_job_may_free_itself)
{
    scene.pool = ag_pool_new(2, 100);
    for (int i = 0; i < 50; i++) {
        struct task *t = malloc(sizeof(*t));

        ck_assert_ptr_nonnull(t);
        *t = task(i, false);
        t->job.work = work_and_vanish;
        submit(t);
    }
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 50);
}
END_TEST

static sigset_t seen;

static void look_at_signals(struct ag_job *job)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, &seen);
    work(job);
}

/* (4) */
START_TEST(signals_stay_with_the_hosts_threads)
{
    struct task t = task(1, false);
    sigset_t before, after;

    t.job.work = look_at_signals;
    (void)sigemptyset(&before);
    (void)sigaddset(&before, SIGUSR2);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    scene.pool = ag_pool_new(1, 1);
    submit(&t);
    ag_pool_free(scene.pool);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_int_eq(sigismember(&after, SIGUSR2), 1);
    ck_assert_int_eq(sigismember(&after, SIGPIPE), 0);
    ck_assert_int_eq(sigismember(&seen, SIGPIPE), 1);
    ck_assert_int_eq(sigismember(&seen, SIGTERM), 1);
    ck_assert_int_eq(sigismember(&seen, SIGCHLD), 1);
    ck_assert_int_eq(sigismember(&seen, SIGUSR1), 1);
    ck_assert_int_eq(sigismember(&seen, SIGSEGV), 0);
    (void)sigemptyset(&before);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}
END_TEST

static void *submit_many(void *arg)
{
    struct task *tasks = arg;

    for (int i = 0; i < 500; i++)
        while (ag_pool_submit(scene.pool, &tasks[i].job, NULL) == AGENT_EBUSY)
            (void)sched_yield();
    return NULL;
}

START_TEST(many_threads_may_submit_at_once_and_no_job_is_lost_or_run_twice)
{
    static struct task tasks[4][500];
    pthread_t threads[4];

    scene.pool = ag_pool_new(3, 16);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 500; j++)
            tasks[i][j] = task(j, false);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, submit_many, tasks[i]), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    ag_pool_free(scene.pool);
    ck_assert_int_eq(scene.ended, 2000);
    ck_assert_int_le(scene.most_at_once, 3);
}
END_TEST

START_TEST(idle_threads_end_by_themselves_and_come_back_for_the_next_job)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    struct task first[3] = {task(0, true), task(1, true), task(2, true)}, second = task(3, false);
    int before = threads_of_process();

    scene.pool = ag_pool_new(3, 4);
    for (int i = 0; i < 3; i++)
        submit(&first[i]);
    wait_until(&scene.begun, 3);
    open_gate();
    while (threads_of_process() > before) /* for ever where they do not end: then the suite's limit strikes */
        (void)nanosleep(&pause, NULL);
    submit(&second);
    wait_until(&scene.ended, 4);
    ag_pool_free(scene.pool);
}
END_TEST

START_TEST(out_of_memory_gives_no_pool)
{
    (void)ag_mem_fail_at(1);
    ck_assert_ptr_null(ag_pool_new(1, 1));
    (void)ag_mem_fail_at(0);
}
END_TEST

Suite *pool_suite(void)
{
    Suite *suite = suite_create("pool");
    TCase *pool = tcase_create("pool"), *idle = tcase_create("idle");

    tcase_add_checked_fixture(pool, begin, end);
    tcase_set_timeout(pool, 60);
    tcase_add_test(pool, where_no_thread_can_be_started_the_job_is_refused_and_not_kept);
    tcase_add_test(pool, a_pool_without_work_has_no_thread);
    tcase_add_test(pool, one_thread_runs_the_jobs_in_the_order_they_came);
    tcase_add_test(pool, jobs_run_at_once_up_to_the_number_of_threads_and_never_more);
    tcase_add_test(pool, a_full_queue_is_busy_and_takes_jobs_again_when_there_is_room);
    tcase_add_test(pool, free_runs_what_is_queued_and_waits_for_what_runs);
    tcase_add_test(pool, after_free_no_thread_of_the_pool_is_left);
    tcase_add_test(pool, a_job_may_submit_itself_again_even_while_the_pool_is_freed);
    tcase_add_test(pool, a_job_may_free_itself);
    tcase_add_test(pool, signals_stay_with_the_hosts_threads);
    tcase_add_test(pool, many_threads_may_submit_at_once_and_no_job_is_lost_or_run_twice);
    tcase_add_test(pool, out_of_memory_gives_no_pool);
    suite_add_tcase(suite, pool);

    tcase_add_checked_fixture(idle, begin, end);
    tcase_set_timeout(idle, 60);
    tcase_add_test(idle, idle_threads_end_by_themselves_and_come_back_for_the_next_job);
    suite_add_tcase(suite, idle);
    return suite;
}
