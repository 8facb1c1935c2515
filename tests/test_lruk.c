/* LRU-K against a model that does what the 1993 paper writes, in O(n), with no structure at all. */
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cache/hash.h"
#include "engine/cache/sim.h"

#define PAGES 400

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) * n >> 31);
}

static double random_unit(void)
{
    return ((double)random_below(1u << 30) + 0.5) / (double)(1u << 30);
}

/* Times are 64-bit and never rebased; 0: no such reference. */
struct model {
    int k;
    uint64_t crp, rip, now;
    size_t capacity, residents;
    struct page {
        bool is_resident, is_known;
        uint64_t hist[AG_LRUK_MAX], last;
    } pages[PAGES];
};

static struct page *model_victim(struct model *m)
{
    struct page *best = NULL;

    for (int pass = 0; pass < 2 && best == NULL; pass++)
        for (size_t i = 0; i < PAGES; i++) {
            struct page *q = &m->pages[i];
            uint64_t hist_k = pass == 0 ? q->hist[m->k - 1] : 0, best_k;

            if (!q->is_resident || (pass == 0 && m->now - q->last <= m->crp))
                continue;
            best_k = best == NULL || pass == 1 ? 0 : best->hist[m->k - 1];
            if (best == NULL || hist_k < best_k || (hist_k == best_k && q->last < best->last))
                best = q;
        }
    return best;
}

static bool model_reference(struct model *m, size_t page)
{
    struct page *p = &m->pages[page];
    uint64_t t = ++m->now;

    if (p->is_resident) {
        if (t - p->last > m->crp) {
            uint64_t burst = p->last - p->hist[0];

            for (int i = m->k - 1; i > 0; i--)
                p->hist[i] = p->hist[i - 1] == 0 ? 0 : p->hist[i - 1] + burst;
            p->hist[0] = t;
        }
        p->last = t;
        return true;
    }
    if (m->residents == m->capacity) {
        model_victim(m)->is_resident = false;
        m->residents--;
    }
    if (p->is_known && m->rip != 0 && t - p->last > m->rip)
        p->is_known = false;
    for (int i = m->k - 1; i > 0; i--)
        p->hist[i] = p->is_known ? p->hist[i - 1] : 0;
    p->hist[0] = p->last = t;
    p->is_resident = p->is_known = true;
    m->residents++;
    return false;
}

static void model_remove(struct model *m, size_t page)
{
    struct page *p = &m->pages[page];

    if (p->is_resident) {
        m->residents--;
        *p = (struct page){0};
    }
}

static uint64_t hash_of(size_t page)
{
    return ag_hash_u64(page + 1);
}

static void same_residents(const struct model *m, const struct ag_sim *s)
{
    for (size_t i = 0; i < PAGES; i++)
        ck_assert_msg((ag_sim_find(s, hash_of(i)) != AG_NO_ENTRY) == m->pages[i].is_resident,
                      "page %zu at %" PRIu64, i, m->now);
}

/* Popular pages, a loop, and bursts of one page: what tells the policies apart. */
static size_t next_page(size_t at)
{
    uint32_t u = random_below(10);

    if (u < 5)
        return (size_t)(PAGES * pow(random_unit(), 4));
    return u < 8 ? at * 7 % PAGES : random_below(PAGES / 4);
}

static void compare_with_model(struct model *m, const struct ag_policy_options *o, uint64_t seed, uint32_t first_tick,
                               size_t references)
{
    struct ag_sim s;
    size_t burst = 0, page = 0;

    random_state = seed;
    ck_assert(ag_sim_init(&s, &ag_policy_lruk, o, m->capacity));
    s.now = first_tick;
    for (size_t i = 0; i < references; i++) {
        bool was_hit;

        if (burst == 0) {
            page = next_page(i);
            burst = random_below(8) == 0 ? 1 + random_below(4) : 1;
        }
        burst--;
        if (random_below(500) == 0) {
            ag_sim_remove(&s, hash_of(page));
            model_remove(m, page);
        }
        was_hit = ag_sim_reference(&s, hash_of(page), 1, 0);
        ck_assert_msg(was_hit == model_reference(m, page), "seed %d, K=%d CRP=%u RIP=%u: reference %zu to page %zu",
                      (int)seed, m->k, o->crp, o->rip, i, page);
        if (i % 256 == 0) {
            same_residents(m, &s);
            ck_assert_ptr_null(s.policy->vt->check(s.policy));
        }
    }
    same_residents(m, &s);
    ag_sim_drop(&s);
}

static const struct variant {
    int k;
    uint32_t crp, rip;
    size_t capacity;
} variants[] = {
    {1, 0, 0, 50},   {2, 0, 0, 50},   {3, 0, 0, 50},    {4, 0, 0, 50},   {2, 0, 0, 1},   {2, 0, 0, 390},
    {2, 3, 0, 50},   {2, 30, 0, 50},  {2, 200, 0, 50},  {1, 5, 0, 50},   {3, 5, 0, 50},  {3, 40, 0, 20},
    {4, 4, 0, 50},   {4, 60, 0, 100}, {2, 0, 100, 50},  {2, 0, 1000, 50}, {3, 0, 300, 50}, {4, 7, 500, 50},
    {2, 10, 40, 50}, {3, 2, 60, 100},
};
#define VARIANTS (int)(sizeof(variants) / sizeof(variants[0]))

START_TEST(it_does_reference_by_reference_what_the_paper_writes)
{
    const struct variant *v = &variants[_i];
    const struct ag_policy_options o = {.k = v->k, .crp = v->crp, .rip = v->rip, .history_percent = UINT32_MAX};
    struct model *m = calloc(1, sizeof(*m));
    const char *soak = getenv("AG_SOAK"); /* references per variant; millions in the soak run */

    ck_assert_ptr_nonnull(m);
    *m = (struct model){.k = v->k, .crp = v->crp, .rip = v->rip, .capacity = v->capacity};
    compare_with_model(m, &o, 1993 + (uint64_t)_i, 0, soak == NULL ? 12000 : strtoull(soak, NULL, 10));
    free(m);
}
END_TEST

START_TEST(it_goes_on_unchanged_where_the_clock_of_ticks_comes_to_its_end)
{
    const struct ag_policy_options o = {.k = 3, .crp = 4, .rip = 700, .history_percent = UINT32_MAX};
    struct model *m = calloc(1, sizeof(*m));

    ck_assert_ptr_nonnull(m);
    *m = (struct model){.k = 3, .crp = 4, .rip = 700, .capacity = 60, .now = AG_TICK_LIMIT - 3000};
    compare_with_model(m, &o, 7, AG_TICK_LIMIT - 3000, 9000);
    free(m);
}
END_TEST

START_TEST(with_k_1_it_is_lru_reference_by_reference)
{
    const struct ag_policy_options o = {.k = 1};
    struct ag_sim lruk, lru;

    ck_assert(ag_sim_init(&lruk, &ag_policy_lruk, &o, 5000));
    ck_assert(ag_sim_init(&lru, &ag_policy_lru, &o, 5000));
    random_state = 11;
    for (size_t i = 0; i < 200000; i++) {
        uint64_t hash = hash_of(next_page(i));
        uint32_t bytes = 20 + (uint32_t)(hash % 200);

        ck_assert_msg(ag_sim_reference(&lruk, hash, bytes, 0) == ag_sim_reference(&lru, hash, bytes, 0), "reference %zu", i);
    }
    ck_assert_uint_eq(lruk.evictions, lru.evictions);
    ck_assert_uint_gt(lruk.evictions, 1000);
    ag_sim_drop(&lruk);
    ag_sim_drop(&lru);
}
END_TEST

static double hit_ratio(int k, size_t buffers, size_t (*page)(size_t at))
{
    const struct ag_policy_options o = {.k = k, .history_percent = UINT32_MAX};
    const size_t warm = 100000, measured = 100000;
    struct ag_sim s;
    size_t hits = 0;

    ck_assert(ag_sim_init(&s, &ag_policy_lruk, &o, buffers));
    for (size_t i = 0; i < warm + measured; i++) {
        bool was_hit = ag_sim_reference(&s, hash_of(page(i)), 1, 0);

        hits += was_hit && i >= warm;
    }
    ag_sim_drop(&s);
    return (double)hits / (double)measured;
}

static size_t two_pools(size_t at)
{
    return at % 2 == 0 ? random_below(100) : 100 + random_below(10000);
}

static size_t zipf_80_20(size_t at)
{
    (void)at;
    return (size_t)ceil(1000 * pow(random_unit(), 1 / 0.1386));
}

static const struct row {
    size_t (*page)(size_t at);
    int k;
    size_t buffers;
    double hits;
} rows[] = {
    {two_pools, 1, 100, .219},  {two_pools, 2, 60, .286},   {two_pools, 2, 100, .456}, {two_pools, 3, 100, .492},
    {two_pools, 2, 200, .505},  {two_pools, 1, 450, .504},  {zipf_80_20, 1, 100, .637}, {zipf_80_20, 2, 40, .598},
    {zipf_80_20, 2, 100, .685}, {zipf_80_20, 3, 100, .701}, {zipf_80_20, 2, 300, .813},
};
#define ROWS (int)(sizeof(rows) / sizeof(rows[0]))

/* Steady state of the paper's tables, re-derived; bench/cache_paper has all of their rows. */
START_TEST(its_hit_ratios_are_those_of_the_papers_tables)
{
    const struct row *r = &rows[_i];
    double got;

    random_state = 42;
    got = hit_ratio(r->k, r->buffers, r->page);
    ck_assert_msg(fabs(got - r->hits) <= .01, "K=%d B=%zu: %.4f, not %.3f", r->k, r->buffers, got, r->hits);
}
END_TEST

/* Without history a new page is evicted before its second reference while the old ones, read twice
 * once upon a time, stay: the textbook form that this is not. */
START_TEST(a_limited_history_lets_it_follow_when_other_pages_become_popular)
{
    size_t hits[2] = {0};

    for (int with = 0; with < 2; with++) {
        const struct ag_policy_options o = {.k = 2, .history_percent = with ? 100 : 1}; /* 1 % of 40: none */
        struct ag_sim s;

        random_state = 5;
        ck_assert(ag_sim_init(&s, &ag_policy_lruk, &o, 40));
        for (size_t i = 0; i < 3000; i++) {
            bool is_second_phase = i >= 1000;
            bool was_hit = ag_sim_reference(&s, hash_of((is_second_phase ? 1000 : 0) + random_below(40)), 1, 0);

            hits[with] += was_hit && is_second_phase;
        }
        ck_assert_ptr_null(s.policy->vt->check(s.policy));
        ag_sim_drop(&s);
    }
    ck_assert_msg(hits[1] > 1800 && hits[0] < hits[1] - 200, "%zu with, %zu without", hits[1], hits[0]);
}
END_TEST

Suite *lruk_suite(void);

Suite *lruk_suite(void)
{
    Suite *suite = suite_create("lruk");
    TCase *model = tcase_create("model"), *tables = tcase_create("tables");

    tcase_set_timeout(model, 600);
    tcase_add_loop_test(model, it_does_reference_by_reference_what_the_paper_writes, 0, VARIANTS);
    tcase_add_test(model, it_goes_on_unchanged_where_the_clock_of_ticks_comes_to_its_end);
    tcase_add_test(model, with_k_1_it_is_lru_reference_by_reference);
    tcase_add_test(model, a_limited_history_lets_it_follow_when_other_pages_become_popular);
    suite_add_tcase(suite, model);
    tcase_set_timeout(tables, 120);
    tcase_add_loop_test(tables, its_hit_ratios_are_those_of_the_papers_tables, 0, ROWS);
    suite_add_tcase(suite, tables);
    return suite;
}
