/* The cache under threads: one load for many, never an older version than was acknowledged, and
 * everything at once. Run under the thread sanitizer too. */
#include <check.h>
#include <pthread.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/cache/front_cache.h"

#define KEYS 64

struct object {
    struct ag_value head;
    uint64_t key, version;
};

static ag_cache *cache;
static atomic_int live;
/* What is in the "file", and what of it was acknowledged; versions only grow. */
static atomic_uint_least64_t committed[KEYS], acknowledged[KEYS];
static atomic_uint_least64_t token;
static atomic_bool stop;
static atomic_int stale, wrong, loads;

static void object_drop(struct ag_value *v)
{
    atomic_fetch_sub(&live, 1);
    ag_free(v);
}

static agent_status loader(void *ctx, struct ag_value **out, agent_error *err)
{
    uint64_t key = *(const uint64_t *)ctx;
    struct object *o = ag_malloc(sizeof(*o) + 100 + key * 40);

    if (o == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "object");
    o->head = (struct ag_value){.bytes = sizeof(*o) + 100 + key * 40, .drop = object_drop};
    atomic_init(&o->head.refs, 1);
    o->key = key;
    o->version = atomic_load(&committed[key % KEYS]);
    atomic_fetch_add(&live, 1);
    atomic_fetch_add(&loads, 1);
    *out = &o->head;
    return AGENT_OK;
}

static uint64_t read_token(void *ctx)
{
    (void)ctx;
    return atomic_load(&token);
}

static void open_cache(struct ag_cache_options o)
{
    agent_error err = AGENT_ERROR_INIT;

    atomic_store(&live, 0);
    atomic_store(&stop, false);
    atomic_store(&stale, 0);
    atomic_store(&wrong, 0);
    atomic_store(&loads, 0);
    atomic_store(&token, 1);
    for (int i = 0; i < KEYS; i++) {
        atomic_store(&committed[i], 1);
        atomic_store(&acknowledged[i], 1);
    }
    o.change_token = read_token;
    ck_assert_msg(ag_cache_new(&o, &cache, &err) == AGENT_OK, "%s", err.text);
}

static void close_cache(void)
{
    ck_assert_ptr_null(ag_cache_check(cache));
    ag_cache_free(cache);
    cache = NULL;
    ck_assert_int_eq(atomic_load(&live), 0);
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/* --- one load for many ------------------------------------------------------------------------- */

#define CROWD 16

static agent_status slow_loader(void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_cache_stats s;

    do { /* until all others wait for this one */
        nap();
        ag_cache_stats(cache, &s);
    } while (s.total.joined < CROWD - 1);
    return loader(ctx, out, err);
}

static agent_status slow_failure(void *ctx, struct ag_value **out, agent_error *err)
{
    struct ag_value *v = NULL;
    agent_status rc = slow_loader(ctx, &v, err);

    (void)out;
    ag_value_put(v);
    return rc != AGENT_OK ? rc : ag_fail(err, AGENT_ESTORAGE, 11, "disk on fire");
}

struct asker {
    ag_cache_loader loader;
    agent_status rc;
    agent_error err;
    struct ag_value *v;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    uint64_t key = 5;

    a->rc = ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), a->loader, &key, &a->v, &a->err);
    return NULL;
}

static void ask_together(struct asker *askers, ag_cache_loader with)
{
    pthread_t threads[CROWD];

    for (int i = 0; i < CROWD; i++) {
        askers[i] = (struct asker){.loader = with, .err = AGENT_ERROR_INIT};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
}

START_TEST(many_threads_that_miss_on_one_key_load_once_and_share_the_value)
{
    struct asker askers[CROWD];

    open_cache((struct ag_cache_options){.bytes = 4 << 20});
    ask_together(askers, slow_loader);
    ck_assert_int_eq(atomic_load(&loads), 1);
    for (int i = 0; i < CROWD; i++) {
        ck_assert_int_eq(askers[i].rc, AGENT_OK);
        ck_assert_ptr_eq(askers[i].v, askers[0].v);
        ag_value_put(askers[i].v);
    }
    close_cache();
}
END_TEST

START_TEST(all_who_waited_are_told_the_same_error)
{
    struct asker askers[CROWD];

    open_cache((struct ag_cache_options){.bytes = 4 << 20});
    ask_together(askers, slow_failure);
    ck_assert_int_eq(atomic_load(&loads), 1);
    for (int i = 0; i < CROWD; i++) {
        ck_assert_int_eq(askers[i].rc, AGENT_ESTORAGE);
        ck_assert_str_eq(askers[i].err.text, "disk on fire");
        ck_assert_int_eq(askers[i].err.detail, 11);
    }
    close_cache();
}
END_TEST

/* --- never older than acknowledged -------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

#ifndef GETS
#define GETS 40000 /* of each reader; more in the soak run */
#endif

static void *read_all_the_time(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    struct ag_value *kept = NULL;

    for (int i = 0; i < GETS; i++) {
        uint64_t key = next_random(&random) % KEYS, at_least = atomic_load(&acknowledged[key]);
        struct ag_value *v = NULL;
        agent_status rc = AGENT_OK;

        switch (next_random(&random) % 8) {
        case 0: v = ag_cache_get(cache, AG_CACHE_AGENT, &key, sizeof(key)); break;
        case 1:
            rc = ag_cache_read_through(cache, AG_CACHE_AGENT, &key, sizeof(key), loader, &key, &v, NULL);
            break;
        default: rc = ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader, &key, &v, NULL); break;
        }
        if (rc != AGENT_OK)
            atomic_fetch_add(&wrong, 1);
        if (v == NULL)
            continue;
        if (((struct object *)v)->key != key)
            atomic_fetch_add(&wrong, 1);
        if (((struct object *)v)->version < at_least)
            atomic_fetch_add(&stale, 1);
        if (i % 16 == 0) { /* some are held for long */
            ag_value_put(kept);
            kept = v;
        } else {
            ag_value_put(v);
        }
    }
    ag_value_put(kept);
    return NULL;
}

/* Commits first, then tells the cache, then acknowledges. */
static void *write_own(void *arg)
{
    uint64_t random = 99;

    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t key = next_random(&random) % KEYS, version = atomic_fetch_add(&committed[key], 1) + 1;

        ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
        atomic_store(&acknowledged[key], version);
    }
    return NULL;
}

/* Another process: nobody tells the cache, but the token moves with the commit. */
static void *write_foreign(void *arg)
{
    uint64_t random = 77;

    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t key = next_random(&random) % KEYS, version = atomic_fetch_add(&committed[key], 1) + 1;

        atomic_fetch_add(&token, 1);
        atomic_store(&acknowledged[key], version);
        nap();
    }
    return NULL;
}

static void *disturb(void *arg)
{
    uint64_t random = 55;

    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t key = next_random(&random) % KEYS;
        struct ag_cache_stats s;
        struct ag_cache_hot hot[8];

        switch (next_random(&random) % 6) {
        case 0: (void)ag_cache_resize(cache, 100000 + (int64_t)(next_random(&random) % 3000000), NULL); break;
        case 1: ag_cache_drop_hint(cache, AG_CACHE_AGENT, &key, sizeof(key)); break;
        case 2: ag_cache_stats(cache, &s); break;
        case 3: (void)ag_cache_hottest(cache, hot, 8); break;
        case 4: ag_cache_invalidate_kind(cache, AG_CACHE_AGENT); break;
        default: {
            ag_cache_lease lease = ag_cache_lease_take(cache, AG_CACHE_AGENT, &key, sizeof(key));
            struct ag_value *v = NULL;

            if (loader(&key, &v, NULL) == AGENT_OK)
                (void)ag_cache_put(cache, AG_CACHE_AGENT, &key, sizeof(key), v, &(struct ag_cache_fill){.lease = &lease});
            ag_value_put(v);
        }
        }
        nap();
    }
    return NULL;
}

static const char *const policies[] = {"lruk-adaptive", "lruk", "lru", "s3fifo", "gdsf", "none"};
#define POLICIES (int)(sizeof(policies) / sizeof(policies[0]))

START_TEST(no_reader_ever_sees_an_older_version_than_was_acknowledged)
{
    void *(*const others[])(void *) = {write_own, write_foreign, disturb};
    pthread_t readers[3], rest[3];

    open_cache((struct ag_cache_options){.bytes = 2 << 20, .policy = policies[_i], .shards = _i % 2 == 0 ? 4 : 1});
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&rest[i], NULL, others[i], NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_all_the_time, (void *)(uintptr_t)(i + 1)), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(readers[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(rest[i], NULL);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    ck_assert_int_eq(atomic_load(&stale), 0);
    close_cache();
}
END_TEST

Suite *cache_threads_suite(void);

Suite *cache_threads_suite(void)
{
    Suite *suite = suite_create("cache_threads");
    TCase *once = tcase_create("once"), *fresh = tcase_create("fresh");

    tcase_set_timeout(once, 60);
    tcase_add_test(once, many_threads_that_miss_on_one_key_load_once_and_share_the_value);
    tcase_add_test(once, all_who_waited_are_told_the_same_error);
    suite_add_tcase(suite, once);
    tcase_set_timeout(fresh, 300);
    tcase_add_loop_test(fresh, no_reader_ever_sees_an_older_version_than_was_acknowledged, 0, POLICIES);
    suite_add_tcase(suite, fresh);
    return suite;
}
