/* The memory store's hash table beside an array: whatever grew and whatever went, nothing is lost. */
#include <check.h>
#include <stdlib.h>

#include "storage/memory/map.h"

Suite *ram_map_suite(void);

enum { THINGS = 60000, FEW = 300 };

static uint32_t hashes[THINGS];
static bool is_in[THINGS];
static char things[THINGS]; /* their addresses are the refs */

static uint32_t dice(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

static bool find(const struct ag_ram_map *map, int i)
{
    struct ag_ram_at at;
    int seen = 0;

    for (void *r = ag_ram_map_first(map, hashes[i], &at); r != NULL; r = ag_ram_map_next(map, hashes[i], &at)) {
        ck_assert_uint_eq(hashes[(char *)r - things], hashes[i]);
        seen += r == &things[i];
    }
    ck_assert_int_le(seen, 1);
    return seen == 1;
}

static void put(struct ag_ram_map *map, int i)
{
    ck_assert(ag_ram_map_reserve(map));
    ag_ram_map_put(map, hashes[i], &things[i]);
    is_in[i] = true;
}

/* Kinds of hashes: any; few different ones; all at the end of every table, so that chains go over its end. */
static uint32_t hash_of(int kind, uint64_t *state)
{
    uint32_t h = dice(state);

    return kind == 0 ? h : kind == 1 ? h % 37 * 0x9e3779b9U : h | 0xfffff000U;
}

START_TEST(what_is_put_is_found_until_it_is_taken_out_whatever_grows_meanwhile)
{
    struct ag_ram_map map = {0};
    uint64_t state = 7;
    int most = _i == 0 ? THINGS : FEW;
    size_t count = 0;

    for (int i = 0; i < most; i++) {
        hashes[i] = hash_of(_i, &state);
        is_in[i] = false;
    }
    for (int i = 0; i < most; i++) {
        int other = (int)(dice(&state) % (uint32_t)(i + 1)), gone = (int)(dice(&state) % (uint32_t)(i + 1));

        put(&map, i);
        count++;
        ck_assert_msg(find(&map, other) == is_in[other], "%d after %d", other, i);
        if (dice(&state) % 3 == 0 && is_in[gone]) {
            ag_ram_map_del(&map, hashes[gone], &things[gone]);
            is_in[gone] = false;
            count--;
        }
        ck_assert_uint_eq(map.count, count);
        if (most == FEW)
            for (int k = 0; k <= i; k++)
                ck_assert_msg(find(&map, k) == is_in[k], "%d after %d", k, i);
    }
    for (int i = 0; i < most; i++)
        ck_assert_int_eq(find(&map, i), is_in[i]);
    for (int i = 0; i < most; i++)
        if (is_in[i])
            ag_ram_map_del(&map, hashes[i], &things[i]);
    ck_assert_uint_eq(map.count, 0);
    for (int i = 0; i < most; i++)
        ck_assert(!find(&map, i));
    ag_ram_map_drop(&map);
    ck_assert_uint_eq(map.held_bytes, 0);
}
END_TEST

START_TEST(in_an_empty_table_nothing_is_found)
{
    struct ag_ram_map map = {0};
    struct ag_ram_at at;

    ck_assert_ptr_null(ag_ram_map_first(&map, 1, &at));
    ag_ram_map_drop(&map);
}
END_TEST

Suite *ram_map_suite(void)
{
    Suite *suite = suite_create("ram map");
    TCase *table = tcase_create("table");

    tcase_add_loop_test(table, what_is_put_is_found_until_it_is_taken_out_whatever_grows_meanwhile, 0, 3);
    tcase_add_test(table, in_an_empty_table_nothing_is_found);
    suite_add_tcase(suite, table);
    return suite;
}
