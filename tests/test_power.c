/*
 * Power loss at any call of the disk: what no sync covers is lost in part, torn at sectors, in any
 * order (crash_disk.c). With durability power everything acknowledged is there afterwards; with
 * durability process the file is sound and holds a beginning of what was acknowledged, in order.
 *
 * CRASH_SEED chooses the points and the losses; CRASH_ROUNDS how many; CRASH_AT=N with
 * CRASH_MOMENT=0..2 repeats one, with the seed that was printed.
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
    int workers, durability, rounds;
} setups[] = {
    {"durability power", 0, AGENT_DURABILITY_POWER, 30},
    {"durability power, two workers", 2, AGENT_DURABILITY_POWER, 16},
    {"durability process", 0, AGENT_DURABILITY_PROCESS, 30},
};
enum { SETUPS = sizeof(setups) / sizeof(setups[0]) };

struct trial {
    const struct setup *setup;
    struct crash_plan plan;
    bool by_hand;
    long *calls, *lost; /* shared with the child: calls of a whole work; trials in which an acknowledgement was lost */
};

static struct crash_place place;

static int work(void *ctx)
{
    const struct trial *t = ctx;

    crash_disk_begin(&t->plan);
    crash_work(&place, t->setup->workers, t->setup->durability);
    if (t->plan.at == 0)
        *t->calls = crash_disk_calls();
    return 0;
}

static void forget(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", place.dir, name);
    (void)unlink(path);
}

/* After the loss, in a fresh process: the next boot. */
static int take_up(void *ctx)
{
    static const struct crash_plan sound = {.at = 0};
    const struct trial *t = ctx;
    bool is_kept = t->setup->durability == AGENT_DURABILITY_POWER;
    char acks[256];
    int found = 0;
    agent_engine *e;

    crash_disk_begin(&sound);
    if (t->plan.seed % 4 == 0)
        forget("agent.db-owners"); /* it holds nothing, and was never synced */
    (void)snprintf(acks, sizeof(acks), "%s/acks", place.dir);
    if (access(acks, F_OK) == 0)
        found += crash_findings(&place, is_kept ? CRASH_KEPT : CRASH_SOUND);
    if (!is_kept) { /* numbers of runs that were lost are given again: what was told of them is void */
        *t->lost += access(acks, F_OK) == 0 && crash_lost(&place);
        forget("acks");
    }
    e = crash_open(&place, t->setup->workers, t->setup->durability);
    crash_settle(e, t->by_hand);
    agent_close(e);
    crash_work(&place, t->setup->workers, t->setup->durability);
    found += crash_findings(&place, is_kept ? CRASH_ENDED : CRASH_ENDED_ANEW);
    if (crash_ask(&place, "SELECT count(*) FROM run") != CRASH_WORK_RUNS) {
        (void)fprintf(stderr, "    %ld runs\n", crash_ask(&place, "SELECT count(*) FROM run"));
        found++;
    }
    return found == 0 ? 0 : 1;
}

static bool try(struct trial *t)
{
    int how;

    crash_place_empty(&place);
    t->by_hand = t->plan.seed % 2 == 0;
    how = crash_reap(crash_spawn(work, t));
    ck_assert_msg(how == 0 || how == -SIGKILL, "%s: the work ended with %d before the loss %s call %ld, CRASH_SEED=%llu",
                  t->setup->name, how, crash_moment_name(t->plan.moment), t->plan.at, (unsigned long long)t->plan.seed);
    if (how == 0 && t->plan.at > 0)
        return false;
    how = crash_reap(crash_spawn(take_up, t));
    ck_assert_msg(how == 0, "%s: after a loss %s call %ld: exit %d; CRASH_AT=%ld CRASH_MOMENT=%d CRASH_SEED=%llu repeats it",
                  t->setup->name, crash_moment_name(t->plan.moment), t->plan.at, how, t->plan.at, (int)t->plan.moment,
                  (unsigned long long)t->plan.seed);
    return true;
}

START_TEST(a_power_loss_at_any_call_of_the_disk_keeps_what_was_promised)
{
    struct trial t = {.setup = &setups[_i]};
    uint64_t seed = (uint64_t)crash_env("CRASH_SEED", 1);
    long rounds = crash_env("CRASH_ROUNDS", setups[_i].rounds) / CRASH_SCALE, at = crash_env("CRASH_AT", 0), died = 0;
    long *shared = mmap(NULL, 2 * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(shared, MAP_FAILED);
    t.calls = &shared[0];
    t.lost = &shared[1];
    t.plan.power = true;
    t.plan.seed = seed;
    (void)try(&t);
    ck_assert_int_gt(*t.calls, 100);
    if (at != 0) {
        t.plan.at = at;
        t.plan.moment = (enum crash_moment)(crash_env("CRASH_MOMENT", 0) % CRASH_MOMENTS);
        (void)try(&t);
        return;
    }
    *t.lost = 0;
    for (long i = 0; i < rounds; i++) {
        t.plan.at = 1 + (long)(crash_random(&seed) % (uint64_t)*t.calls);
        t.plan.moment = (enum crash_moment)(crash_random(&seed) % CRASH_MOMENTS);
        t.plan.seed = crash_random(&seed) % 1000000000;
        died += try(&t);
    }
    ck_assert_int_gt(died * 10, rounds * 8);
    if (setups[_i].durability == AGENT_DURABILITY_PROCESS) /* else the losses lost nothing, and this proves nothing */
        ck_assert_int_gt(*t.lost, 0);
    (void)munmap(shared, 2 * sizeof(long));
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

Suite *power_suite(void);
Suite *power_suite(void)
{
    Suite *suite = suite_create("power");
    TCase *losses = tcase_create("losses");

    tcase_add_checked_fixture(losses, setup, teardown);
    tcase_set_timeout(losses, 36000);
    tcase_add_loop_test(losses, a_power_loss_at_any_call_of_the_disk_keeps_what_was_promised, 0, SETUPS);
    suite_add_tcase(suite, losses);
    return suite;
}
