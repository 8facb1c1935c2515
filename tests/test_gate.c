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
static int64_t tick_at; /* as the gate said last */

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
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0, &tick_at));
    ck_assert(ag_gate_enter(&gate, &b.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &c.waiter, 0, &tick_at));
    ck_assert_int_eq(ag_gate_tick(&gate, SECOND), 0);
    ck_assert_int_eq(granted_count, 0);
    (void)ag_gate_leave(&gate, 1, SECOND);
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
    ck_assert(ag_gate_enter(&gate, &in.waiter, 0, &tick_at));
    for (int i = 0; i < 6; i++)
        ck_assert(!ag_gate_enter(&gate, &w[i].waiter, i, &tick_at));
    for (int i = 0; i < 6; i++)
        (void)ag_gate_leave(&gate, i == 0 ? 1 : w[order[i - 1] - 1].waiter.class, 10);
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
    ck_assert(ag_gate_enter(&gate, &in.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &low.waiter, 0, &tick_at));
    for (int i = 0; i < LOAD; i++) { /* one comes and one leaves each second, there are always some in line */
        high[i] = one(i + 1, 0);
        ck_assert(!ag_gate_enter(&gate, &high[i].waiter, i * SECOND, &tick_at));
        if (i > 3)
            (void)ag_gate_leave(&gate, i > 4 && order[i - 5] == 999 ? 2 : 0, i * SECOND);
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
        in += ag_gate_enter(&gate, &w[i].waiter, now, &tick_at);
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
    ck_assert_int_eq(ag_gate_hold(&gate, 5 * SECOND, 0), 0); /* nobody waits */
    (void)ag_gate_hold(&gate, 3 * SECOND, 0); /* a shorter one does not shorten it */
    ck_assert(!ag_gate_enter(&gate, &a.waiter, SECOND, &tick_at));
    ck_assert_int_eq(ag_gate_tick(&gate, 2 * SECOND), 5 * SECOND);
    ck_assert_int_eq(granted_count, 0);
    ck_assert_int_eq(ag_gate_tick(&gate, 5 * SECOND), 0);
    ck_assert_int_eq(granted_count, 1);
    ck_assert(ag_gate_enter(&gate, &b.waiter, 6 * SECOND, &tick_at));
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(the_last_tenth_is_kept_for_the_high_class)
{
    struct one normal[10], high = one(99, 0);

    init(10, 0);
    for (int i = 0; i < 10; i++) {
        normal[i] = one(i, 1);
        ck_assert_int_eq(ag_gate_enter(&gate, &normal[i].waiter, 0, &tick_at), i < 9);
    }
    ck_assert(ag_gate_enter(&gate, &high.waiter, 0, &tick_at));
    ag_gate_drop(&gate);
}
END_TEST

/* However long they have waited: else high ones would find every place taken by those. */
START_TEST(a_crowd_that_is_always_in_line_leaves_the_tenth_to_the_high_class)
{
    struct one crowd[20], first = one(98, 0), second = one(99, 0);

    init(10, 0);
    for (int i = 0; i < 20; i++) {
        crowd[i] = one(i, 1 + i % 2);
        ck_assert_int_eq(ag_gate_enter(&gate, &crowd[i].waiter, 0, &tick_at), i < 9);
    }
    ck_assert_int_eq(ag_gate_tick(&gate, 100 * AG_GATE_AGE_NS), 0); /* all count as high by now */
    ck_assert_int_eq(granted_count, 0);
    ck_assert(ag_gate_enter(&gate, &first.waiter, 100 * AG_GATE_AGE_NS, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &second.waiter, 100 * AG_GATE_AGE_NS, &tick_at));
    (void)ag_gate_leave(&gate, 1, 100 * AG_GATE_AGE_NS); /* a place of the crowd's goes to the crowd */
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 9);
    (void)ag_gate_leave(&gate, 0, 100 * AG_GATE_AGE_NS);
    ck_assert_int_eq(granted_count, 2);
    ck_assert_int_eq(order[1], 99);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(a_low_one_gets_a_place_that_high_ones_have_beyond_their_tenth)
{
    struct one high[12], low = one(99, 2);

    init(10, 0);
    for (int i = 0; i < 10; i++) {
        high[i] = one(i, 0);
        ck_assert(ag_gate_enter(&gate, &high[i].waiter, 0, &tick_at));
    }
    ck_assert(!ag_gate_enter(&gate, &low.waiter, 0, &tick_at));
    for (int i = 10; i < 12; i++) {
        high[i] = one(i, 0);
        ck_assert(!ag_gate_enter(&gate, &high[i].waiter, 2 * AG_GATE_AGE_NS, &tick_at));
    }
    (void)ag_gate_leave(&gate, 0, 2 * AG_GATE_AGE_NS);
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 99);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(who_gave_up_is_not_let_in)
{
    struct one a = one(1, 1), b = one(2, 1), c = one(3, 1);

    init(1, 0);
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &b.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &c.waiter, 0, &tick_at));
    ck_assert(ag_gate_cancel(&gate, &b.waiter));
    ck_assert(!ag_gate_cancel(&gate, &b.waiter));
    (void)ag_gate_leave(&gate, 1, 1);
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 3);
    ck_assert(!ag_gate_cancel(&gate, &c.waiter)); /* it is inside */
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(who_waits_behind_a_full_gate_is_told_when_a_token_comes_after_it_is_left)
{
    struct one a = one(1, 1), b = one(2, 1), c = one(3, 1);

    init(1, 60);
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &b.waiter, 0, &tick_at));
    ck_assert_int_eq(tick_at, 0); /* room is what it waits for */
    ck_assert(!ag_gate_enter(&gate, &c.waiter, 0, &tick_at));
    ck_assert_int_eq(ag_gate_leave(&gate, 1, 5 * SECOND), 0); /* there was a token for b; c waits for room again */
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_gt(ag_gate_leave(&gate, 1, 5 * SECOND + 1), 5 * SECOND + 1); /* room now, and no token */
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(ag_gate_tick(&gate, 6 * SECOND + 1), 0);
    ck_assert_int_eq(granted_count, 2);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(who_waits_is_told_of_a_hold_that_came_while_it_waited_for_room)
{
    struct one a = one(1, 1), b = one(2, 1);

    init(1, 0);
    ck_assert(ag_gate_enter(&gate, &a.waiter, 0, &tick_at));
    ck_assert(!ag_gate_enter(&gate, &b.waiter, 0, &tick_at));
    ck_assert_int_eq(ag_gate_hold(&gate, 7 * SECOND, SECOND), 0);
    ck_assert_int_eq(ag_gate_held(&gate, SECOND), 7 * SECOND);
    ck_assert_int_eq(ag_gate_leave(&gate, 1, 2 * SECOND), 7 * SECOND); /* who fails and goes lets nobody in */
    ck_assert_int_eq(granted_count, 0);
    ck_assert_int_eq(ag_gate_tick(&gate, 7 * SECOND), 0);
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(ag_gate_held(&gate, 7 * SECOND), 0);
    ag_gate_drop(&gate);
}
END_TEST

START_TEST(who_comes_at_the_very_moment_a_token_does_overtakes_nobody_who_has_aged)
{
    struct one low = one(1, 2), high = one(2, 0);

    init(0, 60);
    (void)ag_gate_hold(&gate, 2 * AG_GATE_AGE_NS, 0);
    ck_assert(!ag_gate_enter(&gate, &low.waiter, 0, &tick_at));
    ck_assert_int_eq(tick_at, 2 * AG_GATE_AGE_NS);
    ck_assert(!ag_gate_enter(&gate, &high.waiter, tick_at, &tick_at)); /* before the tick */
    ck_assert_int_eq(granted_count, 1);
    ck_assert_int_eq(order[0], 1);
    ck_assert_int_eq(ag_gate_tick(&gate, tick_at), 0); /* and it gets the next token */
    ck_assert_int_eq(granted_count, 2);
    ag_gate_drop(&gate);
}
END_TEST

/* An assertion of libcheck writes to a pipe, also where it holds. */
#define RULE(good, ...)                \
    do {                               \
        if (!(good))                   \
            ck_abort_msg(__VA_ARGS__); \
    } while (0)

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
    int count = 0, in = 0, told = 0, others;

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
            if (ag_gate_enter(&gate, &w[count].waiter, now, &tick_at)) {
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
            (void)ag_gate_leave(&gate, w[i].waiter.class, now);
        } else if (what == 7 && count > 0) {
            int i = (int)rnd((uint32_t)count);

            if (!inside[i] && !gone[i] && ag_gate_cancel(&gate, &w[i].waiter))
                gone[i] = true;
        } else if (what == 8 && rnd(20) == 0) {
            (void)ag_gate_hold(&gate, now + rnd(SECOND), now);
        }
        (void)ag_gate_tick(&gate, now);
        for (; told < granted_count; told++) {
            int i = order[told];

            RULE(!inside[i] && !gone[i], "seed %llu: granted twice", (unsigned long long)seed);
            inside[i] = true;
            in++;
            if (now - arrived[i] > worst)
                worst = now - arrived[i];
            for (int k = 0; k < i; k++) /* (2) nobody of its class who came before still waits */
                RULE(w[k].waiter.class != w[i].waiter.class || inside[k] || gone[k] || k == i,
                              "seed %llu: %d before %d of the same class", (unsigned long long)seed, i, k);
        }
        for (int i = others = 0; i < count; i++)
            others += inside[i] && w[i].waiter.class != 0;
        RULE(capacity == 0 || in <= capacity, "seed %llu: %d inside", (unsigned long long)seed, in);
        RULE(capacity == 0 || others == 0 || others <= capacity - capacity / 10, "seed %llu: %d not of class high inside",
             (unsigned long long)seed, others); /* (5) */
        RULE(in == gate.inside, "seed %llu: counts differ", (unsigned long long)seed);
    }
    /* Everybody who still waits gets in once the rest leaves. */
    now += 60 * SECOND;
    for (int turn = 0; turn < 4 * N && gate.waiting > 0; turn++) {
        if (gate.inside > 0 && capacity > 0)
            (void)ag_gate_leave(&gate, gate.high > 0 ? 0 : 1, now);
        (void)ag_gate_tick(&gate, now);
        now += SECOND;
    }
    RULE(gate.waiting == 0, "seed %llu: %lld left waiting", (unsigned long long)seed, (long long)gate.waiting);
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
    tcase_add_test(t, a_crowd_that_is_always_in_line_leaves_the_tenth_to_the_high_class);
    tcase_add_test(t, a_low_one_gets_a_place_that_high_ones_have_beyond_their_tenth);
    tcase_add_test(t, who_gave_up_is_not_let_in);
    tcase_add_test(t, who_waits_behind_a_full_gate_is_told_when_a_token_comes_after_it_is_left);
    tcase_add_test(t, who_waits_is_told_of_a_hold_that_came_while_it_waited_for_room);
    tcase_add_test(t, who_comes_at_the_very_moment_a_token_does_overtakes_nobody_who_has_aged);
    tcase_add_test(t, the_rules_hold_in_thousands_of_interleavings);
    suite_add_tcase(suite, t);
    return suite;
}
