/*
 * A crowd on one file: processes that run, queue, work, cancel, resume and decide at random on the
 * same few sessions, while their parent kills one after the other at random instants, suspends some,
 * and puts new ones in their places. When the last has gone, everything that is open is taken up,
 * and the questions of crash_check.c are asked.
 *
 * CRASH_SEED chooses what they do and who is killed when (the instants are not repeated exactly);
 * CRASH_ROUNDS is the number of kills.
 */
#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash_kit.h"

enum { CROWD = 6, SESSIONS = 4, PHASE = 50 /* kills on one file */ };

static struct crash_place place;
static atomic_bool *is_over; /* shared: the crowd goes home */

struct member {
    pid_t pid;
    int slot, generation;
    uint64_t seed;
};

static void nap_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};

    (void)nanosleep(&t, NULL);
}

static const char *session(uint64_t *seed)
{
    static const char *const names[] = {"a", "b", "c", "d", NULL}; /* NULL: one of its own */

    return names[crash_random(seed) % (SESSIONS + 1)];
}

static const char *input(uint64_t *seed)
{
    static const char *const inputs[] = {"no tools", "look", "act", "put act", "look; act", "act act; put", "long", "command"};

    return inputs[crash_random(seed) % (sizeof(inputs) / sizeof(inputs[0]))];
}

static void give_up(agent_engine *e, const char *key, uint64_t *seed)
{
    agent_run_request q = crash_ask_for("bob", session(seed), key, input(seed));
    agent_run *run = crash_start(e, &q);

    (void)agent_run_wait(run, (int64_t)(crash_random(seed) % 4), NULL, NULL);
    agent_run_cancel(run);
    crash_finish(run);
}

static void cancel_somebody(agent_engine *e, uint64_t *seed)
{
    agent_run_id id = {1 + (int64_t)(crash_random(seed) % 64)};
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc = agent_cancel(e, id, &err);

    if (rc != AGENT_OK && rc != AGENT_EINVAL && rc != AGENT_ENOTFOUND) {
        (void)fprintf(stderr, "crash: cancel: %s\n", err.text);
        _exit(4);
    }
}

static int live(void *ctx)
{
    static const struct crash_plan sound = {.at = 0};
    struct member *m = ctx;
    uint64_t seed = m->seed;
    agent_engine *e;

    crash_disk_begin(&sound);
    e = crash_open(&place, crash_random(&seed) % 3 == 0 ? 2 : 0, AGENT_DURABILITY_POWER);
    crash_dawdle((int)(crash_random(&seed) % 3) * 4000);
    for (int i = 0; !atomic_load(is_over); i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "m%dg%dn%d", m->slot, m->generation, i);
        switch (crash_random(&seed) % 10) {
        case 0:
        case 1:
        case 2:
            crash_run(e, "bob", session(&seed), key, input(&seed));
            break;
        case 3:
        case 4:
            crash_enqueue(e, "bob", session(&seed), key, input(&seed), (int)(crash_random(&seed) % 3) - 1);
            break;
        case 5:
            crash_drain(e);
            break;
        case 6:
            give_up(e, key, &seed);
            break;
        case 7:
            cancel_somebody(e, &seed);
            break;
        case 8:
            crash_decide_each(e);
            crash_resume_each(e, crash_random(&seed) % 2 == 0 ? "running" : "queued");
            break;
        default: /* everybody asks for this one */
            (void)snprintf(key, sizeof(key), "all%d", (int)(crash_random(&seed) % 20));
            crash_run(e, "memo", NULL, key, "look");
        }
    }
    agent_close(e);
    return 0;
}

static int take_up(void *ctx)
{
    static const struct crash_plan sound = {.at = 0};
    const uint64_t *seed = ctx;
    agent_engine *e;

    crash_disk_begin(&sound);
    if (crash_findings(&place, CRASH_KEPT) != 0)
        return 1;
    e = crash_open(&place, 0, AGENT_DURABILITY_POWER);
    crash_settle(e, *seed % 2 == 0);
    agent_close(e);
    return crash_findings(&place, CRASH_ENDED) == 0 ? 0 : 1;
}

static void enter(struct member *m, uint64_t *seed)
{
    m->generation++;
    m->seed = crash_random(seed);
    m->pid = crash_spawn(live, m);
}

static void one_file(uint64_t seed, long kills)
{
    struct member crowd[CROWD];
    uint64_t dice = seed;
    int how;

    crash_place_empty(&place);
    atomic_store(is_over, false);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = (struct member){.slot = i};
        enter(&crowd[i], &dice);
    }
    for (long i = 0; i < kills; i++) {
        struct member *m = &crowd[crash_random(&dice) % CROWD];

        nap_us((long)(crash_random(&dice) % 40000) * CRASH_SCALE);
        if (crash_random(&dice) % 4 == 0) { /* asleep for a while first, whatever it holds */
            (void)kill(m->pid, SIGSTOP);
            nap_us((long)(crash_random(&dice) % 30000));
            if (crash_random(&dice) % 2 == 0) {
                (void)kill(m->pid, SIGCONT);
                continue;
            }
        }
        (void)kill(m->pid, SIGKILL);
        how = crash_reap(m->pid);
        ck_assert_msg(how == -SIGKILL, "CRASH_SEED=%llu: a process ended with %d before it was killed",
                      (unsigned long long)seed, how);
        enter(m, &dice);
    }
    atomic_store(is_over, true);
    for (int i = 0; i < CROWD; i++) {
        how = crash_reap(crowd[i].pid);
        ck_assert_msg(how == 0, "CRASH_SEED=%llu: a process that nobody killed ended with %d", (unsigned long long)seed, how);
    }
    how = crash_reap(crash_spawn(take_up, &seed));
    ck_assert_msg(how == 0, "CRASH_SEED=%llu, %ld kills: exit %d", (unsigned long long)seed, kills, how);
    ck_assert_int_gt(crash_ask(&place, "SELECT count(*) FROM run WHERE status = 'succeeded'"), kills / 2);
}

START_TEST(a_crowd_whose_members_are_killed_at_random_loses_and_repeats_nothing)
{
    uint64_t seed = (uint64_t)crash_env("CRASH_SEED", 1);
    long rounds = crash_env("CRASH_ROUNDS", 100 / CRASH_SCALE);

    for (long done = 0; done < rounds; done += PHASE)
        one_file(seed++, rounds - done < PHASE ? rounds - done : PHASE);
}
END_TEST

static void setup(void)
{
    crash_place_make(&place);
    is_over = mmap(NULL, sizeof(*is_over), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(is_over, MAP_FAILED);
}

static void teardown(void)
{
    (void)munmap(is_over, sizeof(*is_over));
    crash_place_remove(&place);
}

Suite *crash_crowd_suite(void);
Suite *crash_crowd_suite(void)
{
    Suite *suite = suite_create("crash_crowd");
    TCase *crowd = tcase_create("crowd");

    tcase_add_checked_fixture(crowd, setup, teardown);
    tcase_set_timeout(crowd, 36000);
    tcase_add_test(crowd, a_crowd_whose_members_are_killed_at_random_loses_and_repeats_nothing);
    suite_add_tcase(suite, crowd);
    return suite;
}
