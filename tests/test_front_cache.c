/* The cache around the policies: what a get may return, what stays, what goes, what it counts. */
#include <check.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/front_cache.h"

struct object {
    struct ag_value head;
    int version;
};

static int live; /* objects that were not dropped yet */
static int loads, next_version;
static agent_status load_fails;
static size_t object_bytes;
static uint64_t token;
static int64_t now_ms;
static ag_cache *cache;
static agent_error err;

static void object_drop(struct ag_value *v)
{
    live--;
    ag_free(v);
}

static struct ag_value *object_new(int version)
{
    struct object *o = ag_malloc(sizeof(*o));

    if (o == NULL)
        return NULL;
    o->head = (struct ag_value){.bytes = object_bytes, .drop = object_drop};
    atomic_init(&o->head.refs, 1);
    o->version = version;
    live++;
    return &o->head;
}

static agent_status loader(void *ctx, struct ag_value **out, agent_error *why)
{
    (void)ctx;
    loads++;
    if (load_fails != AGENT_OK)
        return ag_fail(why, load_fails, 7, "agent \"x\": the loader says no");
    *out = object_new(next_version);
    return *out == NULL ? ag_fail(why, AGENT_ENOMEM, 0, "object: out of memory") : AGENT_OK;
}

static uint64_t read_token(void *ctx)
{
    (void)ctx;
    return token;
}

static int64_t fake_unix(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static int64_t fake_mono(void *ctx)
{
    (void)ctx;
    return now_ms * 1000000;
}

static const ag_clock fake_clock = {.unix_ms = fake_unix, .mono_ns = fake_mono};

static void open_with(struct ag_cache_options o)
{
    if (o.bytes == 0)
        o.bytes = 4 << 20;
    o.change_token = read_token;
    o.clock = &fake_clock;
    ag_cache_free(cache);
    cache = NULL;
    ck_assert_msg(ag_cache_new(&o, &cache, &err) == AGENT_OK, "%s", err.text);
}

static void set_up(void)
{
    live = loads = 0;
    next_version = 1;
    load_fails = AGENT_OK;
    object_bytes = 1000;
    token = 5;
    now_ms = 1000000;
    err = (agent_error)AGENT_ERROR_INIT;
    open_with((struct ag_cache_options){0});
}

static void tear_down(void)
{
    ck_assert_ptr_null(ag_cache_check(cache));
    ag_cache_free(cache);
    cache = NULL;
    ck_assert_int_eq(live, 0);
}

/* The version that a load gives, or minus the status. */
static int load(enum ag_cache_kind kind, uint64_t key)
{
    struct ag_value *v = NULL;
    agent_status rc = ag_cache_load(cache, kind, &key, sizeof(key), loader, NULL, &v, &err);
    int version;

    if (rc != AGENT_OK)
        return (int)rc;
    version = ((struct object *)v)->version;
    ag_value_put(v);
    return version;
}

/* 0: not there. */
static int get(enum ag_cache_kind kind, uint64_t key)
{
    struct ag_value *v = ag_cache_get(cache, kind, &key, sizeof(key));
    int version = v == NULL ? 0 : ((struct object *)v)->version;

    ag_value_put(v);
    return version;
}

static bool put(uint64_t key, int version, const struct ag_cache_fill *fill)
{
    struct ag_value *v = object_new(version);
    bool kept = ag_cache_put(cache, AG_CACHE_AGENT, &key, sizeof(key), v, fill);

    ag_value_put(v);
    return kept;
}

static struct ag_cache_stats stats(void)
{
    struct ag_cache_stats s;

    ag_cache_stats(cache, &s);
    return s;
}

/* --- loads ----------------------------------------------------------------------------------- */

START_TEST(what_was_loaded_once_is_served_from_memory)
{
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    next_version = 2;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(loads, 1);
    ck_assert_uint_eq(stats().kinds[AG_CACHE_AGENT].hits, 2);
    ck_assert_uint_eq(stats().kinds[AG_CACHE_AGENT].misses, 1);
}
END_TEST

START_TEST(the_same_key_of_another_kind_is_another_object)
{
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(get(AG_CACHE_MEMORY, 7), 0);
    next_version = 2;
    ck_assert_int_eq(load(AG_CACHE_MEMORY, 7), 2);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 1);
}
END_TEST

/* Around the length that fits into an entry, and keys that differ in their last byte alone. */
START_TEST(keys_of_any_length_are_told_apart)
{
    static const size_t lengths[] = {0, 1, 2, 3, 4, 7, 8, 9, 11, 12, 13, 16, 17, 32, 33, 255, 256, 3000};
    unsigned char key[3000];

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
            for (int last = 0; last < (lengths[i] == 0 ? 1 : 2); last++) {
                struct ag_value *v = NULL;

                memset(key, 'k', sizeof(key));
                if (lengths[i] > 0)
                    key[lengths[i] - 1] = (unsigned char)('a' + last);
                next_version = (int)(lengths[i] * 2) + last + 1;
                ck_assert_int_eq(ag_cache_load(cache, AG_CACHE_MEMORY, key, lengths[i], loader, NULL, &v, &err), AGENT_OK);
                ck_assert_int_eq(((struct object *)v)->version, next_version);
                ag_value_put(v);
            }
    ck_assert_int_eq(loads, 35);
}
END_TEST

START_TEST(an_error_of_the_loader_is_passed_on_and_not_kept)
{
    load_fails = AGENT_ESTORAGE;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), AGENT_ESTORAGE);
    ck_assert_str_eq(err.text, "agent \"x\": the loader says no");
    ck_assert_int_eq(err.detail, 7);
    load_fails = AGENT_OK;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(loads, 2);
}
END_TEST

START_TEST(that_a_key_is_not_there_is_kept_for_as_long_as_asked_with_its_story)
{
    open_with((struct ag_cache_options){.negative_ttl_ms = 1000});
    load_fails = AGENT_ENOTFOUND;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), AGENT_ENOTFOUND);
    err = (agent_error)AGENT_ERROR_INIT;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), AGENT_ENOTFOUND);
    ck_assert_str_eq(err.text, "agent \"x\": the loader says no");
    ck_assert_int_eq(err.status, AGENT_ENOTFOUND);
    ck_assert_int_eq(loads, 1);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 0);
    ck_assert_uint_eq(stats().total.negative_hits, 2);
    load_fails = AGENT_OK;
    now_ms += 1001;
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
}
END_TEST

START_TEST(a_created_row_is_seen_at_once_where_its_absence_was_kept)
{
    uint64_t key = 7;

    open_with((struct ag_cache_options){.negative_ttl_ms = 60000});
    load_fails = AGENT_ENOTFOUND;
    ck_assert_int_eq(load(AG_CACHE_AGENT, key), AGENT_ENOTFOUND);
    load_fails = AGENT_OK;
    ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
    ck_assert_int_eq(load(AG_CACHE_AGENT, key), 1);
}
END_TEST

START_TEST(reading_through_uses_what_is_there_and_leaves_nothing_behind)
{
    uint64_t here = 1, missing = 2;
    struct ag_value *v = NULL;

    ck_assert_int_eq(load(AG_CACHE_TAIL, here), 1);
    next_version = 2;
    ck_assert_int_eq(ag_cache_read_through(cache, AG_CACHE_TAIL, &here, sizeof(here), loader, NULL, &v, &err), AGENT_OK);
    ck_assert_int_eq(((struct object *)v)->version, 1);
    ag_value_put(v);
    ck_assert_int_eq(ag_cache_read_through(cache, AG_CACHE_TAIL, &missing, sizeof(missing), loader, NULL, &v, &err), AGENT_OK);
    ck_assert_int_eq(((struct object *)v)->version, 2);
    ag_value_put(v);
    ck_assert_int_eq(get(AG_CACHE_TAIL, missing), 0);
    ck_assert_uint_eq(stats().total.entries, 1);
}
END_TEST

START_TEST(a_budget_of_nothing_passes_every_load_through)
{
    struct ag_cache_options o = {.bytes = 0};

    ag_cache_free(cache);
    ck_assert_int_eq(ag_cache_new(&o, &cache, &err), AGENT_OK);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(loads, 2);
    ck_assert_uint_eq(stats().total.entries, 0);
}
END_TEST

START_TEST(an_unknown_policy_and_broken_limits_are_refused_and_say_why)
{
    static const struct { struct ag_cache_options o; const char *text; } cases[] = {
        {{.bytes = 1 << 20, .policy = "mru"}, "front cache: no policy \"mru\""},
        {{.bytes = -1}, "front cache: a budget of -1 bytes"},
        {{.bytes = 1 << 20, .k = 5}, "front cache: K = 5 is not in 1..4"},
        {{.bytes = 1 << 20, .history_percent = 1001}, "front cache: a history of 1001 percent is over 1000"},
        {{.bytes = 1 << 20, .shards = 3}, "front cache: 3 shards: not a power of two up to 64"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ag_cache *none = NULL;

        ck_assert_int_eq(ag_cache_new(&cases[i].o, &none, &err), AGENT_EINVAL);
        ck_assert_str_eq(err.text, cases[i].text);
        ck_assert_ptr_null(none);
    }
}
END_TEST

/* --- changes --------------------------------------------------------------------------------- */

START_TEST(what_was_invalidated_is_loaded_anew_and_its_neighbours_stay)
{
    uint64_t key = 7;

    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 8), 1);
    next_version = 2;
    ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 2);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 8), 1);
}
END_TEST

START_TEST(a_kind_goes_as_a_whole_and_others_stay)
{
    for (uint64_t key = 0; key < 300; key++) {
        ck_assert_int_eq(load(AG_CACHE_AGENT, key), 1);
        ck_assert_int_eq(load(AG_CACHE_MEMORY, key), 1);
    }
    ag_cache_invalidate_kind(cache, AG_CACHE_AGENT);
    ck_assert_uint_eq(stats().kinds[AG_CACHE_AGENT].entries, 0);
    ck_assert_uint_eq(stats().kinds[AG_CACHE_MEMORY].entries, 300);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 0);
    ck_assert_int_eq(get(AG_CACHE_MEMORY, 7), 1);
}
END_TEST

static agent_status loader_overtaken(void *ctx, struct ag_value **out, agent_error *why)
{
    agent_status rc = loader(NULL, out, why); /* reads the old version, then the commit comes */

    ag_cache_invalidate(cache, AG_CACHE_AGENT, ctx, sizeof(uint64_t));
    next_version = 2;
    return rc;
}

START_TEST(a_load_that_a_commit_overtook_is_given_out_but_not_kept)
{
    uint64_t key = 7;
    struct ag_value *v = NULL;

    ck_assert_int_eq(ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader_overtaken, &key, &v, &err), AGENT_OK);
    ck_assert_int_eq(((struct object *)v)->version, 1);
    ag_value_put(v);
    ck_assert_int_eq(load(AG_CACHE_AGENT, key), 2);
    ck_assert_uint_eq(stats().total.refused, 1);
}
END_TEST

static agent_status loader_with_a_later_load_inside(void *ctx, struct ag_value **out, agent_error *why)
{
    agent_status rc = loader(NULL, out, why);
    uint64_t key = *(uint64_t *)ctx;

    ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
    next_version = 2;
    ck_assert_int_eq(load(AG_CACHE_AGENT, key), 2); /* would wait for ever if it joined */
    return rc;
}

START_TEST(a_load_after_a_commit_joins_no_load_from_before_it)
{
    uint64_t key = 7;
    struct ag_value *v = NULL;

    ck_assert_int_eq(ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader_with_a_later_load_inside, &key, &v, &err),
                     AGENT_OK);
    ag_value_put(v);
    ck_assert_int_eq(get(AG_CACHE_AGENT, key), 2); /* the later one, not the one that came back last */
}
END_TEST

START_TEST(a_commit_of_somebody_else_empties_the_cache_where_nobody_explains_it)
{
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 1);
    token++;
    next_version = 2;
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 0);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 2);
    ck_assert_int_eq(load(AG_CACHE_AGENT, 7), 2);
    ck_assert_uint_eq(stats().changes_seen, 1);
}
END_TEST

static bool explain_key_7(void *ctx, uint64_t from, uint64_t to, ag_cache *c)
{
    uint64_t key = 7;

    (void)ctx;
    ck_assert_uint_lt(from, to);
    if (to >= 100)
        return false;
    ag_cache_invalidate(c, AG_CACHE_AGENT, &key, sizeof(key));
    return true;
}

START_TEST(a_commit_that_is_explained_costs_only_what_it_changed)
{
    open_with((struct ag_cache_options){.explain = explain_key_7});
    load(AG_CACHE_AGENT, 7);
    load(AG_CACHE_AGENT, 8);
    token++;
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 0);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 8), 1);
    token = 100;
    ck_assert_int_eq(get(AG_CACHE_AGENT, 8), 0);
    ck_assert_uint_eq(stats().changes_seen, 2);
    ck_assert_uint_eq(stats().changes_explained, 1);
}
END_TEST

static agent_status loader_overtaken_by_token(void *ctx, struct ag_value **out, agent_error *why)
{
    agent_status rc = loader(NULL, out, why);

    (void)ctx;
    token++;
    next_version = 2;
    ck_assert_int_eq(get(AG_CACHE_AGENT, 99), 0); /* somebody looks, and the cache takes note of the commit */
    return rc;
}

START_TEST(a_load_that_a_foreign_commit_overtook_is_not_kept)
{
    uint64_t key = 7;
    struct ag_value *v = NULL;

    ck_assert_int_eq(ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader_overtaken_by_token, NULL, &v, &err), AGENT_OK);
    ag_value_put(v);
    ck_assert_int_eq(load(AG_CACHE_AGENT, key), 2);
}
END_TEST

START_TEST(a_fill_with_an_old_lease_is_refused)
{
    uint64_t key = 7;
    ag_cache_lease lease = ag_cache_lease_take(cache, AG_CACHE_AGENT, &key, sizeof(key));

    ck_assert(put(key, 1, &(struct ag_cache_fill){.lease = &lease}));
    ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
    ck_assert(!put(key, 1, &(struct ag_cache_fill){.lease = &lease}));
    ck_assert_int_eq(get(AG_CACHE_AGENT, key), 0);
}
END_TEST

START_TEST(a_put_replaces_what_was_there_even_where_the_new_value_is_too_large_to_keep)
{
    ck_assert(put(7, 1, NULL));
    ck_assert(put(7, 2, NULL));
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 2);
    ck_assert_uint_eq(stats().total.entries, 1);
    object_bytes = 4 << 20;
    ck_assert(!put(7, 3, NULL));
    ck_assert_int_eq(get(AG_CACHE_AGENT, 7), 0);
    ck_assert_uint_eq(stats().total.bypassed, 1);
}
END_TEST

/* --- what stays and what goes ------------------------------------------------------------------ */

START_TEST(a_value_outlives_its_entry_and_the_cache_while_somebody_holds_it)
{
    uint64_t key = 7;
    struct ag_value *v = NULL;

    ck_assert_int_eq(ag_cache_load(cache, AG_CACHE_AGENT, &key, sizeof(key), loader, NULL, &v, &err), AGENT_OK);
    for (int i = 0; i < 5000; i++) /* more than one entry hands out at once */
        ag_value_put(ag_cache_get(cache, AG_CACHE_AGENT, &key, sizeof(key)));
    ag_cache_invalidate(cache, AG_CACHE_AGENT, &key, sizeof(key));
    ck_assert_int_eq(live, 1);
    ag_cache_free(cache);
    cache = NULL;
    ck_assert_int_eq(((struct object *)v)->version, 1);
    ag_value_put(v);
    ck_assert_int_eq(live, 0);
    open_with((struct ag_cache_options){0});
}
END_TEST

START_TEST(a_lifetime_ends_when_it_was_said_to_and_not_later)
{
    open_with((struct ag_cache_options){.ttl_ms = {[AG_CACHE_RESPONSE] = 10000}});
    for (uint64_t key = 0; key < 50; key++) {
        load(AG_CACHE_RESPONSE, key);
        load(AG_CACHE_AGENT, key);
    }
    now_ms += 8900;
    for (uint64_t key = 0; key < 50; key++)
        ck_assert_int_eq(get(AG_CACHE_RESPONSE, key), 1);
    now_ms += 1100;
    for (uint64_t key = 0; key < 50; key++) {
        ck_assert_int_eq(get(AG_CACHE_RESPONSE, key), 0);
        ck_assert_int_eq(get(AG_CACHE_AGENT, key), 1);
    }
    ck_assert_uint_eq(stats().total.expired, 50);
}
END_TEST

START_TEST(what_is_over_goes_first_then_what_was_hinted_then_the_policys_choice)
{
    uint64_t hinted = 3;

    open_with((struct ag_cache_options){.bytes = 200000, .policy = "lru"});
    object_bytes = 10000;
    for (uint64_t key = 0; key < 10; key++)
        ck_assert(put(key, 1, key == 5 ? &(struct ag_cache_fill){.ttl_ms = 1000} : NULL));
    ag_cache_drop_hint(cache, AG_CACHE_AGENT, &hinted, sizeof(hinted));
    now_ms += 2000;
    for (uint64_t key = 10; stats().total.evictions < 1; key++)
        ck_assert(put(key, 1, NULL));
    ck_assert_uint_eq(stats().total.evictions_expired, 1);
    for (uint64_t key = 100; stats().total.evictions < 2; key++)
        ck_assert(put(key, 1, NULL));
    ck_assert_uint_eq(stats().total.evictions_hinted, 1);
    ck_assert_int_eq(get(AG_CACHE_AGENT, hinted), 0);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 0), 1);
}
END_TEST

START_TEST(a_hinted_entry_that_is_asked_for_again_is_one_of_many_again)
{
    uint64_t key = 3;

    open_with((struct ag_cache_options){.bytes = 200000, .policy = "lru"});
    object_bytes = 10000;
    for (uint64_t k = 0; k < 10; k++)
        ck_assert(put(k, 1, NULL));
    ag_cache_drop_hint(cache, AG_CACHE_AGENT, &key, sizeof(key));
    ck_assert_int_eq(get(AG_CACHE_AGENT, key), 1);
    for (uint64_t k = 100; stats().total.evictions < 2; k++)
        ck_assert(put(k, 1, NULL));
    ck_assert_int_eq(get(AG_CACHE_AGENT, key), 1);
    ck_assert_uint_eq(stats().total.evictions_hinted, 0);
}
END_TEST

START_TEST(a_kind_of_second_requests_is_kept_when_asked_for_again_once_the_budget_is_used)
{
    uint64_t key = 0;

    open_with((struct ag_cache_options){.bytes = 500000, .second_request = 1u << AG_CACHE_RESPONSE});
    for (load(AG_CACHE_RESPONSE, key); get(AG_CACHE_RESPONSE, key) == 1; load(AG_CACHE_RESPONSE, key))
        ck_assert_uint_lt(++key, 1000); /* while there is room: why not */
    ck_assert_uint_gt(key, 200);
    ck_assert_uint_eq(stats().total.evictions, 0);
    load(AG_CACHE_RESPONSE, key);
    ck_assert_int_eq(get(AG_CACHE_RESPONSE, key), 1);
    loads = 0;
    load(AG_CACHE_RESPONSE, key);
    ck_assert_int_eq(loads, 0);
}
END_TEST

START_TEST(hot_entries_are_named_with_the_latest_first)
{
    struct ag_cache_hot hot[4];

    for (uint64_t key = 0; key < 20; key++)
        load(AG_CACHE_AGENT, key);
    load(AG_CACHE_AGENT, 4);
    ck_assert_uint_eq(ag_cache_hottest(cache, hot, 4), 4);
    ck_assert_int_eq(hot[0].kind, AG_CACHE_AGENT);
    ck_assert_uint_eq(hot[0].key_bytes, sizeof(uint64_t));
    ck_assert_mem_eq(hot[0].key, &(uint64_t){4}, sizeof(uint64_t));
    ck_assert_mem_eq(hot[1].key, &(uint64_t){19}, sizeof(uint64_t));
}
END_TEST

static uint64_t watched, watched_hits;

static void watch(void *ctx, uint64_t key, uint32_t bytes, bool is_hit)
{
    (void)ctx, (void)key;
    watched++;
    watched_hits += is_hit;
    ck_assert_uint_eq(bytes, 1000);
}

START_TEST(a_watcher_is_told_of_every_request_while_it_is_set)
{
    watched = watched_hits = 0;
    ck_assert_int_eq(ag_cache_watch(cache, watch, NULL, &err), AGENT_OK);
    for (uint64_t key = 0; key < 10; key++)
        load(AG_CACHE_AGENT, key % 5);
    ck_assert_int_eq(ag_cache_watch(cache, NULL, NULL, &err), AGENT_OK);
    load(AG_CACHE_AGENT, 1);
    ck_assert_uint_eq(watched, 10);
    ck_assert_uint_eq(watched_hits, 5);
}
END_TEST

/* --- the budget ---------------------------------------------------------------------------------- */

static const char *const policies[] = {"lruk-adaptive", "lruk", "lru", "fifo", "s3fifo", "gdsf"};
#define POLICIES (int)(sizeof(policies) / sizeof(policies[0]))

static void assert_within(int64_t bytes)
{
    ck_assert_msg(stats().held_bytes <= (uint64_t)bytes, "%llu held of %lld", (unsigned long long)stats().held_bytes,
                  (long long)bytes);
}

START_TEST(the_budget_counts_everything_and_holds_after_every_step)
{
    const int64_t bytes = 3 << 20;
    unsigned random = 1;

    open_with((struct ag_cache_options){.bytes = bytes, .policy = policies[_i], .negative_ttl_ms = 3000,
                                        .ttl_ms = {[AG_CACHE_MEMORY] = 5000}});
    for (int step = 0; step < 60000; step++) {
        uint64_t key;

        random = random * 1103515245 + 12345;
        key = (random >> 16) % (step % 2 == 0 ? 100 : 9000);
        object_bytes = 40 + (key * 2654435761u >> 7) % (key % 50 == 0 ? 30000 : 400);
        load_fails = key % 97 == 0 ? AGENT_ENOTFOUND : AGENT_OK;
        (void)load((enum ag_cache_kind)(key % AG_CACHE_KIND_LIMIT), key);
        if (random % 31 == 0)
            ag_cache_invalidate(cache, (enum ag_cache_kind)(key % AG_CACHE_KIND_LIMIT), &key, sizeof(key));
        if (random % 37 == 0)
            ag_cache_drop_hint(cache, (enum ag_cache_kind)(key % AG_CACHE_KIND_LIMIT), &key, sizeof(key));
        now_ms += random % 3;
        assert_within(bytes);
        if (step % 5000 == 0)
            ck_assert_ptr_null(ag_cache_check(cache));
    }
    ck_assert_uint_gt(stats().total.evictions, 1000);
    ck_assert_uint_gt(stats().held_bytes, (uint64_t)bytes * 8 / 10);
    load_fails = AGENT_OK;
}
END_TEST

START_TEST(another_budget_holds_when_resize_returns)
{
    static const int64_t sizes[] = {1 << 20, 8 << 20, 300000, 0, 2 << 20, 100000, 64 << 20};

    open_with((struct ag_cache_options){.bytes = 4 << 20, .policy = policies[_i]});
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint64_t key = 0; key < 8000; key++)
            load(AG_CACHE_AGENT, key);
        ck_assert_int_eq(ag_cache_resize(cache, sizes[i], &err), AGENT_OK);
        ck_assert_ptr_null(ag_cache_check(cache));
        if (sizes[i] >= 1 << 20)
            assert_within(sizes[i]);
        else if (sizes[i] > 0)
            ck_assert_uint_le(stats().entry_bytes, (uint64_t)sizes[i]);
        else
            ck_assert_uint_eq(stats().total.entries, 0);
    }
    load(AG_CACHE_AGENT, 1);
    ck_assert_int_eq(get(AG_CACHE_AGENT, 1), 1);
    ck_assert_int_eq(ag_cache_resize(cache, -1, &err), AGENT_EINVAL);
}
END_TEST

START_TEST(where_memory_is_out_a_load_still_answers_or_says_so_and_nothing_is_lost)
{
    open_with((struct ag_cache_options){.bytes = 2 << 20, .policy = policies[_i], .negative_ttl_ms = 1000});
    (void)ag_mem_fail_at(0);
    for (unsigned long nth = 1; nth < 30; nth++)
        for (uint64_t key = 0; key < 150; key++) {
            int version;

            load_fails = key % 50 == 49 ? AGENT_ENOTFOUND : AGENT_OK;
            (void)ag_mem_fail_at(nth);
            version = load(AG_CACHE_AGENT, nth * 1000 + key);
            (void)ag_mem_fail_at(0);
            ck_assert_msg(version == 1 || version == AGENT_ENOMEM || version == AGENT_ENOTFOUND, "%d", version);
            if (key == 149)
                ck_assert_ptr_null(ag_cache_check(cache));
        }
    load_fails = AGENT_OK;
}
END_TEST

START_TEST(a_cache_that_cannot_be_made_says_so_and_leaves_nothing)
{
    struct ag_cache_options o = {.bytes = 64 << 20, .policy = policies[_i]};
    agent_status rc = AGENT_ENOMEM;

    for (unsigned long nth = 1; rc != AGENT_OK; nth++) {
        ag_cache *c = NULL;

        ck_assert_uint_lt(nth, 200);
        (void)ag_mem_fail_at(nth);
        rc = ag_cache_new(&o, &c, &err);
        (void)ag_mem_fail_at(0);
        ck_assert(rc == AGENT_OK || rc == AGENT_ENOMEM);
        ck_assert((c != NULL) == (rc == AGENT_OK));
        ag_cache_free(c);
    }
}
END_TEST

Suite *front_cache_suite(void);

Suite *front_cache_suite(void)
{
    Suite *suite = suite_create("front_cache");
    TCase *loading = tcase_create("loads"), *changes = tcase_create("changes"), *stay = tcase_create("stay"),
          *budget = tcase_create("budget");

    tcase_add_checked_fixture(loading, set_up, tear_down);
    tcase_add_test(loading, what_was_loaded_once_is_served_from_memory);
    tcase_add_test(loading, the_same_key_of_another_kind_is_another_object);
    tcase_add_test(loading, keys_of_any_length_are_told_apart);
    tcase_add_test(loading, an_error_of_the_loader_is_passed_on_and_not_kept);
    tcase_add_test(loading, that_a_key_is_not_there_is_kept_for_as_long_as_asked_with_its_story);
    tcase_add_test(loading, a_created_row_is_seen_at_once_where_its_absence_was_kept);
    tcase_add_test(loading, reading_through_uses_what_is_there_and_leaves_nothing_behind);
    tcase_add_test(loading, a_budget_of_nothing_passes_every_load_through);
    tcase_add_test(loading, an_unknown_policy_and_broken_limits_are_refused_and_say_why);
    suite_add_tcase(suite, loading);

    tcase_add_checked_fixture(changes, set_up, tear_down);
    tcase_add_test(changes, what_was_invalidated_is_loaded_anew_and_its_neighbours_stay);
    tcase_add_test(changes, a_kind_goes_as_a_whole_and_others_stay);
    tcase_add_test(changes, a_load_that_a_commit_overtook_is_given_out_but_not_kept);
    tcase_add_test(changes, a_load_after_a_commit_joins_no_load_from_before_it);
    tcase_add_test(changes, a_commit_of_somebody_else_empties_the_cache_where_nobody_explains_it);
    tcase_add_test(changes, a_commit_that_is_explained_costs_only_what_it_changed);
    tcase_add_test(changes, a_load_that_a_foreign_commit_overtook_is_not_kept);
    tcase_add_test(changes, a_fill_with_an_old_lease_is_refused);
    tcase_add_test(changes, a_put_replaces_what_was_there_even_where_the_new_value_is_too_large_to_keep);
    suite_add_tcase(suite, changes);

    tcase_add_checked_fixture(stay, set_up, tear_down);
    tcase_add_test(stay, a_value_outlives_its_entry_and_the_cache_while_somebody_holds_it);
    tcase_add_test(stay, a_lifetime_ends_when_it_was_said_to_and_not_later);
    tcase_add_test(stay, what_is_over_goes_first_then_what_was_hinted_then_the_policys_choice);
    tcase_add_test(stay, a_hinted_entry_that_is_asked_for_again_is_one_of_many_again);
    tcase_add_test(stay, a_kind_of_second_requests_is_kept_when_asked_for_again_once_the_budget_is_used);
    tcase_add_test(stay, hot_entries_are_named_with_the_latest_first);
    tcase_add_test(stay, a_watcher_is_told_of_every_request_while_it_is_set);
    suite_add_tcase(suite, stay);

    tcase_add_checked_fixture(budget, set_up, tear_down);
    tcase_set_timeout(budget, 120);
    tcase_add_loop_test(budget, the_budget_counts_everything_and_holds_after_every_step, 0, POLICIES);
    tcase_add_loop_test(budget, another_budget_holds_when_resize_returns, 0, POLICIES);
    tcase_add_loop_test(budget, where_memory_is_out_a_load_still_answers_or_says_so_and_nothing_is_lost, 0, POLICIES);
    tcase_add_loop_test(budget, a_cache_that_cannot_be_made_says_so_and_leaves_nothing, 0, POLICIES);
    suite_add_tcase(suite, budget);
    return suite;
}
