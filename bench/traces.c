/* Request traces; see traces.h. */
#include "bench/traces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

static uint64_t rotated(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

void bench_random_seed(struct bench_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);

        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t bench_random_next(struct bench_random *r)
{
    uint64_t result = rotated(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotated(r->s[3], 45);
    return result;
}

double bench_random_unit(struct bench_random *r)
{
    return (double)(bench_random_next(r) >> 11) * 0x1p-53;
}

uint64_t bench_random_below(struct bench_random *r, uint64_t n)
{
    return (uint64_t)(bench_random_unit(r) * (double)n);
}

struct zipf {
    double *sums;
    size_t n;
};

static bool zipf_init(struct zipf *z, size_t n, double exponent)
{
    double sum = 0;

    z->n = n;
    z->sums = malloc(n * sizeof(*z->sums));
    for (size_t i = 0; i < n && z->sums != NULL; i++)
        z->sums[i] = sum += pow((double)(i + 1), -exponent);
    return z->sums != NULL;
}

static size_t zipf_draw(const struct zipf *z, struct bench_random *r)
{
    double u = bench_random_unit(r) * z->sums[z->n - 1];
    size_t low = 0, high = z->n - 1;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (z->sums[mid] > u)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    x = (x ^ x >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ x >> 33;
}

/* A number in [0, 1) that belongs to the key: sizes do not depend on the order of requests. */
static double unit_of(uint64_t key)
{
    return (double)(mixed(key ^ UINT64_C(0x5EED)) >> 11) * 0x1p-53;
}

static uint32_t pareto(double u, double shape, double low, double high)
{
    double l = pow(low, shape), h = pow(high, shape);

    return (uint32_t)pow(-(u * h - u * l - h) / (h * l), -1 / shape);
}

enum { AGENT = 1, TURN, MEMORY, RESPONSE, LOOP, OTHER };

static uint64_t key_of(int what, uint64_t n)
{
    return (uint64_t)what << 56 | n;
}

static uint32_t size_of(uint64_t key)
{
    double u = unit_of(key);

    switch ((int)(key >> 56)) {
    case AGENT: return (uint32_t)(900 + 1200 * u);
    case TURN: return (uint32_t)(150 + 2000 * u * u);
    case MEMORY: return (uint32_t)(150 + 900 * u);
    case RESPONSE: return pareto(u, 1.1, 600, 200e3);
    default: return pareto(u, 0.9, 200, 200e3);
    }
}

struct maker {
    struct ag_trace *t;
    size_t room;
    struct bench_random r;
};

static bool is_full(const struct maker *m)
{
    return m->t->count == m->room;
}

static void ask(struct maker *m, uint64_t key)
{
    if (!is_full(m))
        (void)ag_trace_add(m->t, key, size_of(key), (uint32_t)m->t->count, NULL);
}

static bool make_zipf(struct maker *m, size_t n, double exponent, size_t scan_every)
{
    struct zipf z;

    if (!zipf_init(&z, n, exponent))
        return false;
    for (size_t drawn = 0; !is_full(m);) {
        ask(m, key_of(OTHER, zipf_draw(&z, &m->r)));
        if (scan_every > 0 && ++drawn % scan_every == 0)
            for (size_t i = 0; i < n; i++)
                ask(m, key_of(OTHER, i));
    }
    free(z.sums);
    return true;
}

static bool make_loop(struct maker *m)
{
    for (size_t i = 0; !is_full(m); i++)
        ask(m, key_of(LOOP, i % 10000));
    return true;
}

static bool make_loopmix(struct maker *m)
{
    struct zipf z;

    if (!zipf_init(&z, 20000, 1.0))
        return false;
    for (size_t at = 0; !is_full(m);) {
        if (bench_random_next(&m->r) >> 63)
            ask(m, key_of(OTHER, zipf_draw(&z, &m->r)));
        else
            ask(m, key_of(LOOP, at++ % 2472));
    }
    free(z.sums);
    return true;
}

#define LIVE 400
#define MEAN_STEPS 12

struct talk {
    uint64_t agent, id;
    uint32_t turns;
    bool was_reopened;
};

/* The conversations of both `sessions` and `agentmix`; the latter reads more in each step. */
static bool make_talks(struct maker *m, size_t agents, bool is_engine)
{
    struct talk live[LIVE] = {0}, closed[64] = {0};
    struct zipf z;
    uint64_t next_id = 1, next_response = 1, drift = 0;

    if (!zipf_init(&z, agents, 1.0))
        return false;
    for (size_t step = 0; !is_full(m); step++) {
        struct talk *t = &live[bench_random_below(&m->r, LIVE)];

        if (t->id == 0) {
            struct talk *old = &closed[bench_random_below(&m->r, 64)];

            if (bench_random_unit(&m->r) < 0.03 && old->id != 0 && !old->was_reopened) {
                *t = *old;
                t->was_reopened = old->was_reopened = true;
            } else {
                *t = (struct talk){.agent = (zipf_draw(&z, &m->r) + drift) % agents, .id = next_id++};
            }
        }
        ask(m, key_of(AGENT, t->agent));
        for (int i = 0; is_engine && i < 3; i++)
            ask(m, key_of(MEMORY, t->agent * 40 + bench_random_below(&m->r, 40)));
        for (uint32_t i = t->turns > 8 ? t->turns - 8 : 0; i < t->turns; i++)
            ask(m, key_of(TURN, t->id << 16 | i));
        if (is_engine) {
            if (bench_random_next(&m->r) >> 63)
                ask(m, key_of(RESPONSE, next_response++));
            else
                ask(m, key_of(RESPONSE, UINT64_C(1) << 40 | zipf_draw(&z, &m->r)));
            if (bench_random_unit(&m->r) < 0.8)
                ask(m, key_of(AGENT, t->agent));
        }
        ask(m, key_of(TURN, t->id << 16 | t->turns++));
        ask(m, key_of(TURN, t->id << 16 | t->turns++));
        if (bench_random_unit(&m->r) < 1.0 / MEAN_STEPS) {
            closed[bench_random_below(&m->r, 64)] = *t;
            t->id = 0;
        }
        if (is_engine && step % 5000 == 4999)
            drift += 50;
        if (is_engine && step % 20000 == 19999)
            for (size_t i = 0; i < 2000; i++)
                ask(m, key_of(AGENT, i));
    }
    free(z.sums);
    return true;
}

static bool make_shift(struct maker *m)
{
    struct zipf z;

    if (!zipf_init(&z, 50000, 0.8))
        return false;
    for (size_t i = 0; !is_full(m); i++)
        ask(m, key_of(OTHER, (zipf_draw(&z, &m->r) + i / 100000 * 7919) % 50000));
    free(z.sums);
    return true;
}

static bool make_tenants(struct maker *m)
{
    struct zipf z;
    uint32_t turns[100] = {0};
    uint64_t ids[100], next_id = 100;

    if (!zipf_init(&z, 30000, 1.1))
        return false;
    for (size_t i = 0; i < 100; i++)
        ids[i] = i;
    for (size_t batch = 0; !is_full(m);) {
        double u = bench_random_unit(&m->r);

        if (u < 0.15) {
            size_t t = bench_random_below(&m->r, 100);

            for (uint32_t i = turns[t] > 12 ? turns[t] - 12 : 0; i <= turns[t]; i++)
                ask(m, key_of(TURN, ids[t] << 16 | i));
            if (++turns[t] == 30) {
                turns[t] = 0;
                ids[t] = next_id++;
            }
        } else if (u < 0.45) {
            ask(m, key_of(LOOP, batch++ % 5000));
        } else {
            ask(m, key_of(AGENT, zipf_draw(&z, &m->r)));
        }
    }
    free(z.sums);
    return true;
}

static bool make_bursts(struct maker *m)
{
    struct { uint64_t key; int left; } open[200] = {0};
    struct zipf z;
    uint64_t next = 0;

    if (!zipf_init(&z, 3000, 0.6))
        return false;
    while (!is_full(m)) {
        size_t at = bench_random_below(&m->r, 200);

        if (bench_random_unit(&m->r) < 0.3) {
            ask(m, key_of(AGENT, zipf_draw(&z, &m->r)));
            continue;
        }
        if (open[at].left == 0) {
            bool again = next > 1000 && bench_random_unit(&m->r) < 0.1;

            open[at].key = again ? bench_random_below(&m->r, next) : next++;
            open[at].left = 2 + (int)bench_random_below(&m->r, 5);
        }
        open[at].left--;
        ask(m, key_of(RESPONSE, open[at].key));
    }
    free(z.sums);
    return true;
}

const char *const bench_trace_names[] = {"zipf", "zipfscan", "sessions", "loop", "loopmix", "heavy",
                                         "agentmix", "shift", "tenants", "bursts", NULL};

static bool make(struct maker *m, const char *name)
{
    if (strcmp(name, "zipf") == 0)
        return make_zipf(m, 100000, 1.0, 0);
    if (strcmp(name, "zipfscan") == 0)
        return make_zipf(m, 100000, 1.0, 200000);
    if (strcmp(name, "sessions") == 0)
        return make_talks(m, 2000, false);
    if (strcmp(name, "loop") == 0)
        return make_loop(m);
    if (strcmp(name, "loopmix") == 0)
        return make_loopmix(m);
    if (strcmp(name, "heavy") == 0)
        return make_zipf(m, 100000, 0.9, 0);
    if (strcmp(name, "agentmix") == 0)
        return make_talks(m, 20000, true);
    if (strcmp(name, "shift") == 0)
        return make_shift(m);
    if (strcmp(name, "tenants") == 0)
        return make_tenants(m);
    if (strcmp(name, "bursts") == 0)
        return make_bursts(m);
    return false;
}

bool bench_trace_make(const char *name, uint64_t seed, size_t count, uint32_t equal_bytes, struct ag_trace *out)
{
    struct ag_trace t = {.requests = ag_malloc(count * sizeof(*t.requests)), .room = count};
    struct maker m = {.t = &t, .room = count};

    bench_random_seed(&m.r, seed);
    if (t.requests == NULL || !make(&m, name)) {
        ag_trace_drop(&t);
        return false;
    }
    for (size_t i = 0; i < t.count && equal_bytes > 0; i++)
        t.requests[i].bytes = equal_bytes;
    if (ag_trace_link(&t, NULL) != AGENT_OK) {
        ag_trace_drop(&t);
        return false;
    }
    *out = t;
    return true;
}
