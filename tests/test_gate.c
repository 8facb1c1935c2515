/*
 * The rules of a gate (engine/gate.h), on a clock that moves only when told: by hand for each rule,
 * and in thousands of random interleavings whose seed is printed when one fails.
 */
#include "engine/gate.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

struct one {
    struct ag_waiter waiter;
    int id;
};

static ag_gate gate;
static int order[4096];
static int granted_count;

static void on_granted(struct ag_waiter *w)
{
    order[granted_count++] = ((struct one *)w)->id;
}

static void init(int64_t capacity, int64_t per_minute)
{
    ag_gate_init(&gate, capacity, per_minute);
    granted_count = 0;
}

static struct one one(int id, int class)
{
    struct one o = {.waiter = {.class = class, .granted = on_granted}, .id = id};

    return o;
}

START_TEST(no_more_than_its_capacity_are_inside)
{
    struct one a = one(1, 1), b = one(2, 1), c = one(3, 1);

    init(2, 0);
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0));
    ck_assert(ag_gate_enter(&gate, &b.waiter, 0));
    ck_assert(!ag_gate_enter(&gate, &c.waiter, 0));
    ck_assert_int_eq(ag_gate_tick(&gate, SECOND), 0);
    ck_assert_int_eq(granted_count, 0);
    ag_gate_leave(&gate, SECOND);
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 3);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(a_higher_class_goes_first_and_inside_a_class_who_came_first)
{
    struct one in = one(0, 1), w[6] = {one(1, 2), one(2, 1), one(3, 1), one(4, 0), one(5, 2), one(6, 0)};
    static const int expected[] = {4, 6, 2, 3, 1, 5};

    init(1, 0);
    ck_assert(ag_gate_enter(&gate, &in.waiter, 0));
    for (int i = 0; i < 6; i++)
        ck_assert(!ag_gate_enter(&gate, &w[i].waiter, i));
    for (int i = 0; i < 6; i++)
        ag_gate_leave(&gate, 10);
    ck_assert_int_eq(granted_count, 6);
    ck_assert_mem_eq(order, expected, sizeof(expected));
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(a_low_one_gets_in_under_any_load_of_high_ones)
{
    enum { LOAD = 100 };
    struct one in = one(0, 0), low = one(999, 2), high[LOAD];
    int place = -1;

    init(1, 0);
    ck_assert(ag_gate_enter(&gate, &in.waiter, 0));
    ck_assert(!ag_gate_enter(&gate, &low.waiter, 0));
    for (int i = 0; i < LOAD; i++) { /* one comes and one leaves each second, there are always some in line */
        high[i] = one(i + 1, 0);
        ck_assert(!ag_gate_enter(&gate, &high[i].waiter, i * SECOND));
        if (i > 3)
            ag_gate_leave(&gate, i * SECOND);
    }
    for (int i = 0; i < granted_count; i++)
        if (order[i] == 999)
            place = i;
    ck_assert_int_ge(place, 0);
    ck_assert_int_le(place, 2 * AG_GATE_AGE_NS / SECOND + 1);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(a_rate_lets_in_so_many_in_a_minute)
{
    enum { N = 400 };
    static struct one w[N];
    int64_t now = 0;
    int in = 0;

    init(0, 120); /* two in a second */
    for (int i = 0; i < N; i++) {
        w[i] = one(i, 1);
        in += ag_gate_enter(&gate, &w[i].waiter, now);
    }
    ck_assert_int_eq(in, 2); /* a second's worth at once */
    while (now < 60 * SECOND) {
        int64_t at = ag_gate_tick(&gate, now);

        ck_assert_int_gt(at, now); /* it says when to look again: no busy waiting */
        now = at;
    }
    ck_assert_int_ge(granted_count + in, 119);
    ck_assert_int_le(granted_count + in, 122);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(a_hold_lets_nobody_in_before_its_time)
{
    struct one a = one(1, 0), b = one(2, 0);

    init(0, 0);
    ag_gate_hold(&gate, 5 * SECOND);
    ag_gate_hold(&gate, 3 * SECOND); /* a shorter one does not shorten it */
    ck_assert(!ag_gate_enter(&gate, &a.waiter, SECOND));
    ck_assert_int_eq(ag_gate_tick(&gate, 2 * SECOND), 5 * SECOND);
    ck_assert_int_eq(granted_count, 0);
    ck_assert_int_eq(ag_gate_tick(&gate, 5 * SECOND), 0);
    ck_assert_int_eq(granted_count, 1);
    ck_assert(ag_gate_enter(&gate, &b.waiter, 6 * SECOND));
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(the_last_tenth_is_kept_for_the_high_class)
{
    struct one normal[10], high = one(99, 0);

    init(10, 0);
    for (int i = 0; i < 10; i++) {
        normal[i] = one(i, 1);
        ck_assert_int_eq(ag_gate_enter(&gate, &normal[i].waiter, 0), i < 9);
    }
    ck_assert(ag_gate_enter(&gate, &high.waiter, 0));
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(who_gave_up_is_not_let_in)
{
    struct one a = one(1, 1), b = one(2, 1), c = one(3, 1);

    init(1, 0);
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0));
    ck_assert(!ag_gate_enter(&gate, &b.waiter, 0));
    ck_assert(!ag_gate_enter(&gate, &c.waiter, 0));
    ck_assert(ag_gate_cancel(&gate, &b.waiter));
    ck_assert(!ag_gate_cancel(&gate, &b.waiter));
    ag_gate_leave(&gate, 1);
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 3);
    ck_assert(!ag_gate_cancel(&gate, &c.waiter)); /* it is inside */
    ag_gate_drop(&gate);
}
END_TEST

/* --- random interleavings ------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* One interleaving of arrivals, departures, holds and time: the rules hold at every moment. */
static void interleave(uint64_t seed)
{
    enum { N = 120 };
    static struct one w[N];
    bool inside[N] = {false}, gone[N] = {false};
    int64_t arrived[N], now = 0, capacity, worst = 0;
    int count = 0, in = 0, told = 0;

    random_state = seed;
    capacity = rnd(4) == 0 ? 0 : 1 + rnd(12);
    init(capacity, rnd(3) == 0 ? 60 * (1 + rnd(50)) : 0);
    gate.age_ns = SECOND;
    for (int turn = 0; turn < 2000; turn++) {
        uint32_t what = rnd(10);

        now += rnd(SECOND / 20);
        if (what < 4 && count < N) {
            w[count] = one(count, (int)rnd(3));
            arrived[count] = now;
            if (ag_gate_enter(&gate, &w[count].waiter, now)) {
                inside[count] = true;
                in++;
            }
            count++;
        } else if (what < 7 && in > 0) {
            int i = (int)rnd((uint32_t)count);

            while (!inside[i])
                i = (i + 1) % count;
            inside[i] = false;
            gone[i] = true;
            in--;
            ag_gate_leave(&gate, now);
        } else if (what == 7 && count > 0) {
            int i = (int)rnd((uint32_t)count);

            if (!inside[i] && !gone[i] && ag_gate_cancel(&gate, &w[i].waiter))
                gone[i] = true;
        } else if (what == 8 && rnd(20) == 0) {
            ag_gate_hold(&gate, now + rnd(SECOND));
        }
        (void)ag_gate_tick(&gate, now);
        for (; told < granted_count; told++) {
            int i = order[told];

            ck_assert_msg(!inside[i] && !gone[i], "seed %llu: granted twice", (unsigned long long)seed);
            inside[i] = true;
            in++;
            if (now - arrived[i] > worst)
                worst = now - arrived[i];
            for (int k = 0; k < i; k++) /* (2) nobody of its class who came before still waits */
                ck_assert_msg(w[k].waiter.class != w[i].waiter.class || inside[k] || gone[k] || k == i,
                              "seed %llu: %d before %d of the same class", (unsigned long long)seed, i, k);
        }
        ck_assert_msg(capacity == 0 || in <= capacity, "seed %llu: %d inside", (unsigned long long)seed, in);
        ck_assert_msg(in == gate.inside, "seed %llu: counts differ", (unsigned long long)seed);
    }
    /* Everybody who still waits gets in once the rest leaves. */
    now += 60 * SECOND;
    for (int turn = 0; turn < 4 * N && gate.waiting > 0; turn++) {
        if (gate.inside > 0 && capacity > 0)
            ag_gate_leave(&gate, now);
        (void)ag_gate_tick(&gate, now);
        now += SECOND;
    }
    ck_assert_msg(gate.waiting == 0, "seed %llu: %lld left waiting", (unsigned long long)seed, (long long)gate.waiting);
    ag_gate_drop(&gate);
}

START_TEST(the_rules_hold_in_thousands_of_interleavings)
{
    for (uint64_t seed = 1; seed <= 3000; seed++)
        interleave(seed * 7919);
}
END_TEST

Suite *gate_suite(void);

Suite *gate_suite(void)
{
    Suite *suite = suite_create("gate");
    TCase *t = tcase_create("gate");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, no_more_than_its_capacity_are_inside);
    tcase_add_test(t, a_higher_class_goes_first_and_inside_a_class_who_came_first);
    tcase_add_test(t, a_low_one_gets_in_under_any_load_of_high_ones);
    tcase_add_test(t, a_rate_lets_in_so_many_in_a_minute);
    tcase_add_test(t, a_hold_lets_nobody_in_before_its_time);
    tcase_add_test(t, the_last_tenth_is_kept_for_the_high_class);
    tcase_add_test(t, who_gave_up_is_not_let_in);
    tcase_add_test(t, the_rules_hold_in_thousands_of_interleavings);
    suite_add_tcase(suite, t);
    return suite;
}
