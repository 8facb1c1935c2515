/*
 * A crash at every call of the disk in turn: a process does a fixed piece of work and is killed
 * before, in the middle of, or after its N-th write, sync, cut or delete. A fresh process finds what
 * was acknowledged, takes up what is open, does the work again (each run has a key, so nothing
 * happens twice) and asks the questions of crash_check.c.
 *
 * How many points are tried: a sample of CRASH_ROUNDS, chosen by CRASH_SEED; all of them with
 * CRASH_ALL=1 (`make soak`). CRASH_AT=N and CRASH_MOMENT=0..2 repeat one.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/crash_kit.h"

static const struct setup {
    const char *name;
    int workers, durability;
    int sample; /* points tried where not all are */
} setups[] = {
    {"host's thread, durability power", 0, AGENT_DURABILITY_POWER, 40},
    {"host's thread, durability process", 0, AGENT_DURABILITY_PROCESS, 16},
    {"two workers, durability power", 2, AGENT_DURABILITY_POWER, 20},
};
enum { SETUPS = sizeof(setups) / sizeof(setups[0]) };

struct trial {
    const struct setup *setup;
    struct crash_plan plan;
    bool settles_first; /* else the work is just done again, over what was left */
    bool by_hand;
    long *calls;        /* shared with the child */
};

static struct crash_place place;

static int work(void *ctx)
{
    const struct trial *t = ctx;

    crash_disk_begin(&t->plan);
    crash_work(&place, t->setup->workers, t->setup->durability);
    *t->calls = crash_disk_calls();
    return 0;
}

static int take_up(void *ctx)
{
    static const struct crash_plan sound = {.at = 0};
    const struct trial *t = ctx;
    char acks[256];
    int found = 0;
    agent_engine *e;

    crash_disk_begin(&sound);
    (void)snprintf(acks, sizeof(acks), "%s/acks", place.dir);
    if (access(acks, F_OK) == 0) /* else nothing was promised, there may be no file */
        found += crash_findings(&place, CRASH_KEPT);
    if (t->settles_first) {
        e = crash_open(&place, t->setup->workers, t->setup->durability);
        crash_settle(e, t->by_hand);
        agent_close(e);
        found += crash_findings(&place, CRASH_ENDED);
    }
    crash_work(&place, t->setup->workers, t->setup->durability);
    e = crash_open(&place, t->setup->workers, t->setup->durability);
    crash_settle(e, t->by_hand);
    agent_close(e);
    found += crash_findings(&place, CRASH_ENDED);
    if (crash_ask(&place, "SELECT count(*) FROM run") != CRASH_WORK_RUNS) {
        (void)fprintf(stderr, "    %ld runs\n", crash_ask(&place, "SELECT count(*) FROM run"));
        found++;
    }
    /* All but the cancelled ones, and those whose effect was not known when their session went on. */
    found += crash_list(&place, "SELECT 'run ' || id || ', ' || idempotency_key || ' is ' || status || ': ' || error"
                                "  FROM run WHERE status <> 'succeeded' AND idempotency_key NOT LIKE 'x%'"
                                "   AND error NOT LIKE 'closed by the session''s next turn%'");
    return found == 0 ? 0 : 1;
}

/* Whether it died. */
static bool try(struct trial *t, uint64_t seed)
{
    int how;

    crash_place_empty(&place);
    t->settles_first = seed % 2 == 0;
    t->by_hand = seed / 2 % 2 == 0;
    how = crash_reap(crash_spawn(work, t));
    ck_assert_msg(how == 0 || how == -SIGKILL, "%s: the work ended with %d before the crash %s call %ld", t->setup->name,
                  how, crash_moment_name(t->plan.moment), t->plan.at);
    if (how == 0 && t->plan.at > 0)
        return false;
    how = crash_reap(crash_spawn(take_up, t));
    ck_assert_msg(how == 0, "%s: after a crash %s call %ld: exit %d; CRASH_AT=%ld CRASH_MOMENT=%d repeats it, %s%s",
                  t->setup->name, crash_moment_name(t->plan.moment), t->plan.at, how, t->plan.at, (int)t->plan.moment,
                  t->settles_first ? "settled first" : "done again", t->by_hand ? " by hand" : "");
    return true;
}

START_TEST(a_crash_at_any_call_of_the_disk_loses_and_repeats_nothing)
{
    struct trial t = {.setup = &setups[_i]};
    uint64_t seed = (uint64_t)crash_env("CRASH_SEED", 1) + (uint64_t)_i;
    long at = crash_env("CRASH_AT", 0), died = 0, tried = 0;

    t.calls = mmap(NULL, sizeof(*t.calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(t.calls, MAP_FAILED);
    (void)try(&t, 0); /* without a crash: the work is sound, and so long */
    ck_assert_int_gt(*t.calls, 100);
    if (at != 0) {
        t.plan = (struct crash_plan){.at = at, .moment = (enum crash_moment)(crash_env("CRASH_MOMENT", 0) % CRASH_MOMENTS)};
        for (uint64_t i = 0; i < 4; i++)
            (void)try(&t, i);
        return;
    }
    if (crash_env("CRASH_ALL", 0) != 0) {
        for (long n = 1, alive = 0; alive < CRASH_MOMENTS; n++) {
            alive = 0;
            for (int m = 0; m < CRASH_MOMENTS; m++, tried++) {
                bool has_died;

                t.plan = (struct crash_plan){.at = n, .moment = (enum crash_moment)m};
                has_died = try(&t, crash_random(&seed));
                alive += !has_died;
                died += has_died;
            }
        }
    } else {
        long sample = crash_env("CRASH_ROUNDS", setups[_i].sample) / CRASH_SCALE;

        for (; tried < sample; tried++) {
            t.plan.at = 1 + (long)(crash_random(&seed) % (uint64_t)*t.calls);
            t.plan.moment = (enum crash_moment)(crash_random(&seed) % CRASH_MOMENTS);
            died += try(&t, crash_random(&seed));
        }
    }
    ck_assert_int_gt(died * 10, tried * 8); /* the number of calls differs a little from time to time */
    (void)munmap(t.calls, sizeof(*t.calls));
}
END_TEST

static void setup(void)
{
    crash_place_make(&place);
}

static void teardown(void)
{
    crash_place_remove(&place);
}

Suite *crash_points_suite(void);
Suite *crash_points_suite(void)
{
    Suite *suite = suite_create("crash_points");
    TCase *points = tcase_create("points");

    tcase_add_checked_fixture(points, setup, teardown);
    tcase_set_timeout(points, 36000);
    tcase_add_loop_test(points, a_crash_at_any_call_of_the_disk_loses_and_repeats_nothing, 0, SETUPS);
    suite_add_tcase(suite, points);
    return suite;
}
