/* What the front cache tells of itself: estimates for other budgets, times, what a prefix removed. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/curve.h"
#include "engine/cache/front_cache.h"
#include "engine/cache/front_cache_impl.h"

static agent_error err;
static int64_t now_ns, load_takes_ns;
static uint64_t random_state;

static int64_t fake_unix(void *ctx)
{
    (void)ctx;
    return now_ns / 1000000;
}

static int64_t fake_mono(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static const ag_clock fake_clock = {.unix_ms = fake_unix, .mono_ns = fake_mono};

static void drop(struct ag_value *v)
{
    ag_free(v);
}

/* The size of an object is its key's. */
static size_t bytes_of(uint64_t key)
{
    return 200 + key * 2654435761u % 1800;
}

static agent_status loader(void *ctx, struct ag_value **out, agent_error *why)
{
    struct ag_value *v = ag_malloc(sizeof(*v));

    if (v == NULL)
        return ag_fail(why, AGENT_ENOMEM, 0, "out of memory");
    *v = (struct ag_value){.bytes = bytes_of(*(const uint64_t *)ctx), .drop = drop};
    atomic_init(&v->refs, 1);
    now_ns += load_takes_ns;
    *out = v;
    return AGENT_OK;
}

static ag_cache *open_cache(const char *policy, int64_t bytes)
{
    struct ag_cache_options o = {.bytes = bytes, .policy = policy, .clock = &fake_clock};
    ag_cache *c = NULL;

    ck_assert_msg(ag_cache_new(&o, &c, &err) == AGENT_OK, "%s", err.text);
    return c;
}

static void ask(ag_cache *c, enum ag_cache_kind kind, uint64_t key)
{
    struct ag_value *v = NULL;

    if (ag_cache_load(c, kind, &key, sizeof(key), loader, &key, &v, &err) != AGENT_OK)
        ck_abort_msg("%s", err.text); /* an assert that holds costs a system call */
    ag_value_put(v);
}

static double unit_random(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

/* Of `keys` keys, much asked ones more: the n-th about 1/n^0.8 as often as the first. */
static uint64_t next_key(uint64_t keys)
{
    return (uint64_t)((double)keys * pow(unit_random(), 5));
}

static struct ag_cache_stats stats_of(ag_cache *c)
{
    struct ag_cache_stats s;

    ag_cache_stats(c, &s);
    return s;
}

static double ratio(ag_cache *c)
{
    struct ag_cache_stats s = stats_of(c);

    return (double)s.total.hits / (double)s.total.gets;
}

static void set_up(void)
{
    now_ns = 1000000000;
    load_takes_ns = 5000;
    random_state = 1;
    err = (agent_error)AGENT_ERROR_INIT;
}

/* --- the curve ------------------------------------------------------------------------------------------- */

static const char *const policies[] = {"lruk-adaptive", "lruk", "lru", "fifo", "s3fifo", "gdsf"};
#define POLICIES (int)(sizeof(policies) / sizeof(policies[0]))

/* The same requests through caches of half, one and twice; the estimates are of the middle one. */
static void assert_estimates(const char *policy, int64_t bytes, uint64_t keys, int requests, double within)
{
    ag_cache *half = open_cache(policy, bytes / 2), *one = open_cache(policy, bytes), *twice = open_cache(policy, bytes * 2);
    struct ag_cache_stats s;

    for (int i = 0; i < requests; i++) {
        uint64_t key = next_key(keys);

        ask(half, AG_CACHE_AGENT, key);
        ask(one, AG_CACHE_AGENT, key);
        ask(twice, AG_CACHE_AGENT, key);
    }
    s = stats_of(one);
    ck_assert_msg(fabs(s.estimate_half - ratio(half)) < within, "%s: half is %.4f, estimated %.4f", policy, ratio(half), s.estimate_half);
    ck_assert_msg(fabs(s.estimate_one - ratio(one)) < within, "%s: one is %.4f, estimated %.4f", policy, ratio(one), s.estimate_one);
    ck_assert_msg(fabs(s.estimate_twice - ratio(twice)) < within, "%s: twice is %.4f, estimated %.4f", policy, ratio(twice),
                  s.estimate_twice);
    ck_assert_ptr_null(ag_cache_check(one));
    ag_cache_free(half);
    ag_cache_free(one);
    ag_cache_free(twice);
}

START_TEST(estimates_are_what_caches_of_half_and_twice_the_budget_do)
{
    assert_estimates(policies[_i], 8 << 20, 50000, 150000, 0.04);
}
END_TEST

START_TEST(few_objects_are_estimated_whole_though_the_sample_rests)
{
    ag_cache *c = open_cache("lru", 4 << 20);
    double before;

    for (int i = 0; i < 700000; i++)
        ask(c, AG_CACHE_AGENT, next_key(40));
    before = stats_of(c).estimate_one;
    ck_assert_double_gt(before, 0.99);
    ck_assert_double_eq_tol(stats_of(c).estimate_half, before, 0.0001); /* all of them fit in half of it */
    ag_cache_free(c);
}
END_TEST

START_TEST(what_was_invalidated_is_missed_in_the_estimate_too)
{
    ag_cache *c = open_cache("lru", 4 << 20);

    for (int i = 0; i < 4000; i++) {
        uint64_t key = (uint64_t)i % 20;

        ask(c, AG_CACHE_AGENT, key);
        if (i % 2 == 0)
            ag_cache_invalidate(c, AG_CACHE_AGENT, &key, sizeof(key));
    }
    ck_assert_double_lt(ratio(c), 0.51);
    ck_assert_double_eq_tol(stats_of(c).estimate_one, ratio(c), 0.001);
    ag_cache_invalidate_kind(c, AG_CACHE_MEMORY); /* others: nothing changes */
    for (int i = 0; i < 20; i++)
        ask(c, AG_CACHE_AGENT, (uint64_t)i);
    ag_cache_invalidate_kind(c, AG_CACHE_AGENT);
    for (int i = 0; i < 20; i++)
        ask(c, AG_CACHE_AGENT, (uint64_t)i);
    ck_assert_double_eq_tol(stats_of(c).estimate_one, ratio(c), 0.001);
    ag_cache_free(c);
}
END_TEST

START_TEST(another_budget_begins_the_estimate_anew)
{
    ag_cache *c = open_cache("lru", 8 << 20);

    for (int i = 0; i < 50000; i++)
        ask(c, AG_CACHE_AGENT, next_key(50000));
    ck_assert_int_eq(ag_cache_resize(c, 16 << 20, &err), AGENT_OK);
    ck_assert_double_eq(stats_of(c).estimate_one, -1);
    for (int i = 0; i < 2000; i++)
        ask(c, AG_CACHE_AGENT, 7);
    ck_assert_double_gt(stats_of(c).estimate_one, 0.8);
    ag_cache_free(c);
}
END_TEST

START_TEST(a_budget_without_room_for_shadows_has_no_estimate)
{
    ag_cache *c = open_cache("lru", 256 << 10);

    for (int i = 0; i < 1000; i++)
        ask(c, AG_CACHE_AGENT, next_key(500));
    ck_assert_double_eq(stats_of(c).estimate_one, -1);
    ck_assert_uint_eq(stats_of(c).curve_bytes, 0);
    ck_assert_ptr_null(ag_cache_check(c));
    ag_cache_free(c);
}
END_TEST

START_TEST(the_sample_gets_cheap_and_stays_small)
{
    ag_cache *c = open_cache("lru", 64 << 20);

    for (uint64_t i = 0; i < 500000; i++)
        ask(c, AG_CACHE_AGENT, i % 200000);
    ck_assert_uint_ge(c->curve.shift, 6);
    ck_assert_uint_le(c->curve.shadows[2].slab.used, c->curve.most_entries);
    ck_assert_uint_le(stats_of(c).curve_bytes, ag_curve_most_bytes(64 << 20));
    ag_cache_free(c);
}
END_TEST

START_TEST(out_of_memory_in_a_shadow_fails_no_request)
{
    for (unsigned long nth = 1; nth < 300; nth += 7) {
        ag_cache *c = open_cache("lruk-adaptive", 8 << 20);

        for (uint64_t i = 0; i < 300; i++) {
            struct ag_value *v = NULL;
            uint64_t key = i;

            (void)ag_mem_fail_at(i == 150 ? nth : 0);
            if (ag_cache_load(c, AG_CACHE_AGENT, &key, sizeof(key), loader, &key, &v, &err) == AGENT_OK)
                ag_value_put(v);
        }
        (void)ag_mem_fail_at(0);
        ck_assert_ptr_null(ag_cache_check(c));
        ag_cache_free(c);
    }
}
END_TEST

/* --- times ---------------------------------------------------------------------------------------------------- */

START_TEST(every_load_is_in_the_histogram_of_its_kind)
{
    ag_cache *c = open_cache("lru", 4 << 20);
    struct ag_cache_stats s;

    for (uint64_t i = 0; i < 5; i++)
        ask(c, AG_CACHE_AGENT, i);
    load_takes_ns = 1 << 20;
    ask(c, AG_CACHE_MEMORY, 1);
    load_takes_ns = INT64_C(1) << 50;
    ask(c, AG_CACHE_MEMORY, 2);
    load_takes_ns = 0;
    ask(c, AG_CACHE_MEMORY, 3);
    s = stats_of(c);
    ck_assert_uint_eq(s.load_times[AG_CACHE_AGENT][12], 5); /* 4096 <= 5000 < 8192 */
    ck_assert_uint_eq(s.load_times[AG_CACHE_MEMORY][20], 1);
    ck_assert_uint_eq(s.load_times[AG_CACHE_MEMORY][AG_CACHE_TIMES - 1], 1);
    ck_assert_uint_eq(s.load_times[AG_CACHE_MEMORY][0], 1);
    ag_cache_free(c);
}
END_TEST

START_TEST(one_get_in_sixty_four_is_timed)
{
    ag_cache *c = open_cache("lru", 4 << 20);
    struct ag_cache_stats s;
    uint64_t timed = 0;

    for (int i = 0; i < 6400; i++)
        ask(c, AG_CACHE_MEMORY, 1);
    s = stats_of(c);
    for (int i = 0; i < AG_CACHE_TIMES; i++)
        timed += s.hit_times[AG_CACHE_MEMORY][i];
    ck_assert_uint_ge(timed, 99);
    ck_assert_uint_le(timed, 101);
    ag_cache_free(c);
}
END_TEST

/* --- a prefix --------------------------------------------------------------------------------------------------- */

static void ask_text(ag_cache *c, enum ag_cache_kind kind, const char *key)
{
    struct ag_value *v = NULL;
    uint64_t size = 1;

    ck_assert_int_eq(ag_cache_load(c, kind, key, strlen(key), loader, &size, &v, &err), AGENT_OK);
    ag_value_put(v);
}

static bool has(ag_cache *c, enum ag_cache_kind kind, const char *key)
{
    struct ag_value *v = ag_cache_get(c, kind, key, strlen(key));

    ag_value_put(v);
    return v != NULL;
}

START_TEST(a_prefix_removes_what_begins_with_it_and_says_how_many)
{
    static const char *const keys[] = {"ab", "abc", "abd", "a", "b", "abcdefghijklmnopqrstuvwxyz", "abcdefghijklm", "xabc"};
    ag_cache *c = open_cache("lru", 64 << 20); /* several shards */

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        ask_text(c, AG_CACHE_MEMORY, keys[i]);
    ask_text(c, AG_CACHE_AGENT, "abc");
    ck_assert_uint_eq(ag_cache_invalidate_prefix(c, AG_CACHE_MEMORY, "abcx", 4), 0);
    ck_assert_uint_eq(ag_cache_invalidate_prefix(c, AG_CACHE_MEMORY, "abcdefghijklmn", 14), 1);
    ck_assert(!has(c, AG_CACHE_MEMORY, "abcdefghijklmnopqrstuvwxyz"));
    ck_assert_uint_eq(ag_cache_invalidate_prefix(c, AG_CACHE_MEMORY, "ab", 2), 4);
    ck_assert(has(c, AG_CACHE_MEMORY, "a") && has(c, AG_CACHE_MEMORY, "b") && has(c, AG_CACHE_MEMORY, "xabc"));
    ck_assert(!has(c, AG_CACHE_MEMORY, "ab") && !has(c, AG_CACHE_MEMORY, "abc"));
    ck_assert(has(c, AG_CACHE_AGENT, "abc"));
    ck_assert_uint_eq(stats_of(c).kinds[AG_CACHE_MEMORY].invalidated, 5);
    ck_assert_uint_eq(ag_cache_invalidate_prefix(c, AG_CACHE_MEMORY, "", 0), 3);
    ck_assert_ptr_null(ag_cache_check(c));
    ag_cache_free(c);
}
END_TEST

static agent_status loader_overtaken(void *ctx, struct ag_value **out, agent_error *why)
{
    static uint64_t size = 1;

    (void)ag_cache_invalidate_prefix(ctx, AG_CACHE_MEMORY, "ab", 2);
    return loader(&size, out, why);
}

START_TEST(a_load_that_began_before_its_prefix_was_removed_is_not_kept)
{
    ag_cache *c = open_cache("lru", 4 << 20);
    struct ag_value *v = NULL;

    ck_assert_int_eq(ag_cache_load(c, AG_CACHE_MEMORY, "abc", 3, loader_overtaken, c, &v, &err), AGENT_OK);
    ag_value_put(v);
    ck_assert(!has(c, AG_CACHE_MEMORY, "abc"));
    ag_cache_free(c);
}
END_TEST

Suite *cache_shadows_suite(void);
Suite *cache_shadows_suite(void)
{
    Suite *suite = suite_create("cache_shadows");
    TCase *curve = tcase_create("curve"), *times = tcase_create("times"), *prefix = tcase_create("prefix");

    tcase_add_checked_fixture(curve, set_up, NULL);
    tcase_set_timeout(curve, 120);
    tcase_add_loop_test(curve, estimates_are_what_caches_of_half_and_twice_the_budget_do, 0, POLICIES);
    tcase_add_test(curve, few_objects_are_estimated_whole_though_the_sample_rests);
    tcase_add_test(curve, what_was_invalidated_is_missed_in_the_estimate_too);
    tcase_add_test(curve, another_budget_begins_the_estimate_anew);
    tcase_add_test(curve, a_budget_without_room_for_shadows_has_no_estimate);
    tcase_add_test(curve, the_sample_gets_cheap_and_stays_small);
    tcase_add_test(curve, out_of_memory_in_a_shadow_fails_no_request);
    suite_add_tcase(suite, curve);

    tcase_add_checked_fixture(times, set_up, NULL);
    tcase_add_test(times, every_load_is_in_the_histogram_of_its_kind);
    tcase_add_test(times, one_get_in_sixty_four_is_timed);
    suite_add_tcase(suite, times);

    tcase_add_checked_fixture(prefix, set_up, NULL);
    tcase_add_test(prefix, a_prefix_removes_what_begins_with_it_and_says_how_many);
    tcase_add_test(prefix, a_load_that_began_before_its_prefix_was_removed_is_not_kept);
    suite_add_tcase(suite, prefix);
    return suite;
}
