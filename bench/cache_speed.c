/*
 * What a hit costs, as ratios in one process: beside a bare look-up in the same hash table, beside
 * LRU, beside an SQLite point read; two threads sharded beside one global mutex.
 *
 * Both a hit and a bare look-up deliver the object: its key is read from it. They are measured in two
 * ways. `after`: each begins with what the one before delivered, as a caller's do who works with
 * what he got; this is the time of one. `apart`: nothing depends on anything, and the processor runs
 * some five bare look-ups at once, which it cannot do across a lock.
 *
 *    cache_speed [-e ENTRIES] [-r ROUNDS]
 *
 * Passes are interleaved and the fastest of each counts. Every get is checked to be a hit on the
 * value of its key.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/traces.h"
#include "engine/base/mem.h"
#include "engine/cache/front_cache_impl.h"

#define GETS 1000000

struct object {
    struct ag_value head;
    uint64_t key;
    char text[200];
};

static void object_drop(struct ag_value *v)
{
    ag_free(v);
}

static struct ag_value *object_new(uint64_t key)
{
    struct object *o = ag_malloc(sizeof(*o));

    if (o == NULL)
        exit(1);
    o->head = (struct ag_value){.bytes = sizeof(*o), .drop = object_drop};
    atomic_init(&o->head.refs, 1);
    o->key = key;
    memset(o->text, 'x', sizeof(o->text));
    return &o->head;
}

static uint64_t *asked;
static size_t entries = 10000;

static ag_cache *filled(const char *policy, unsigned shards)
{
    struct ag_cache_options o = {.bytes = (int64_t)entries * 4096 + (64 << 20), .policy = policy, .shards = shards};
    agent_error err = AGENT_ERROR_INIT;
    ag_cache *c;

    if (ag_cache_new(&o, &c, &err) != AGENT_OK) {
        fprintf(stderr, "cache_speed: %s\n", err.text);
        exit(1);
    }
    for (uint64_t k = 0; k < entries; k++) {
        struct ag_value *v = object_new(k);

        if (!ag_cache_put(c, AG_CACHE_AGENT, &k, sizeof(k), v, NULL))
            exit(1);
        ag_value_put(v);
    }
    return c;
}

static double since(int64_t begun)
{
    return (double)(ag_mono_ns(&ag_clock_system) - begun) / GETS;
}

/* 0, but the compiler does not know. */
static volatile uint64_t zero;

/* Inlined with a constant is_after, or `apart` would depend on what was before too. */
#define FLAT static inline __attribute__((always_inline))

FLAT double bare(ag_cache *c, bool is_after)
{
    int64_t begun = ag_mono_ns(&ag_clock_system);
    uint64_t wrong = 0, last = 0, mask = zero;

    for (size_t i = 0; i < GETS; i++) {
        uint64_t key = is_after ? asked[i] ^ (last & mask) : asked[i];
        struct ag_probe p = ag_cache_probe(AG_CACHE_AGENT, &key, sizeof(key));
        uint32_t id = ag_shard_find(&c->shards[0], &p);

        if (id == AG_NO_ENTRY)
            exit(1);
        last = ((struct object *)ag_slab_at(&c->shards[0].slab, id)->value)->key;
        wrong += last != asked[i];
    }
    if (wrong != 0)
        exit(1);
    return since(begun);
}

FLAT double gets(ag_cache *c, pthread_mutex_t *global, bool is_after)
{
    int64_t begun = ag_mono_ns(&ag_clock_system);
    uint64_t wrong = 0, last = 0, mask = zero;

    for (size_t i = 0; i < GETS; i++) {
        uint64_t key = is_after ? asked[i] ^ (last & mask) : asked[i];
        struct ag_value *v;

        if (global != NULL)
            pthread_mutex_lock(global);
        v = ag_cache_get(c, AG_CACHE_AGENT, &key, sizeof(key));
        if (global != NULL)
            pthread_mutex_unlock(global);
        if (v == NULL)
            exit(1);
        last = ((struct object *)v)->key;
        wrong += last != asked[i];
        ag_value_put(v);
    }
    if (wrong != 0)
        exit(1);
    return since(begun);
}

static double sqlite_reads(sqlite3_stmt *st)
{
    const size_t reads = GETS / 20;
    int64_t begun = ag_mono_ns(&ag_clock_system);

    for (size_t i = 0; i < reads; i++) {
        sqlite3_bind_int64(st, 1, (sqlite3_int64)asked[i]);
        if (sqlite3_step(st) != SQLITE_ROW || sqlite3_column_bytes(st, 0) != 200)
            exit(1);
        sqlite3_reset(st);
    }
    return (double)(ag_mono_ns(&ag_clock_system) - begun) / (double)reads;
}

static sqlite3 *table(const char *path, sqlite3_stmt **read)
{
    sqlite3 *db;
    sqlite3_stmt *put;

    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA journal_mode = WAL; CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB); BEGIN", NULL, NULL,
                     NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO t VALUES (?1, zeroblob(200))", -1, &put, NULL) != SQLITE_OK)
        exit(1);
    for (size_t k = 0; k < entries; k++) {
        sqlite3_bind_int64(put, 1, (sqlite3_int64)k);
        sqlite3_step(put);
        sqlite3_reset(put);
    }
    sqlite3_finalize(put);
    if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT v FROM t WHERE k = ?1", -1, read, NULL) != SQLITE_OK)
        exit(1);
    return db;
}

struct worker {
    ag_cache *c;
    pthread_mutex_t *global;
    double ns;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    w->ns = gets(w->c, w->global, false);
    return NULL;
}

/* Wall time of both by all their gets. */
static double two_threads(ag_cache *c, pthread_mutex_t *global)
{
    struct worker w[2] = {{.c = c, .global = global}, {.c = c, .global = global}};
    pthread_t threads[2];
    int64_t begun = ag_mono_ns(&ag_clock_system);

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, work, &w[i]) != 0)
            exit(1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return since(begun) / 2;
}

static void least(double *best, double ns)
{
    if (*best == 0 || ns < *best)
        *best = ns;
}

int main(int argc, char **argv)
{
    static const char *const policies[] = {"lru", "lruk", "lruk-adaptive"};
    char path[] = "/tmp/cache-speed-XXXXXX", file[64], side[80];
    double bare_ns[2] = {0}, get_ns[2][3] = {{0}}, sqlite_ns = 0, mutex_ns = 0, sharded_ns = 0;
    ag_cache *caches[3], *sharded;
    pthread_mutex_t global = PTHREAD_MUTEX_INITIALIZER;
    struct bench_random r;
    sqlite3_stmt *read;
    sqlite3 *db;
    int opt, rounds = 7;

    while ((opt = getopt(argc, argv, "e:r:")) != -1)
        switch (opt) {
        case 'e': entries = strtoull(optarg, NULL, 10); break;
        case 'r': rounds = atoi(optarg); break;
        default: return 2;
        }
    asked = malloc(GETS * sizeof(*asked));
    if (asked == NULL || mkdtemp(path) == NULL)
        return 1;
    snprintf(file, sizeof(file), "%s/t.db", path);
    bench_random_seed(&r, 42);
    for (size_t i = 0; i < GETS; i++)
        asked[i] = bench_random_below(&r, entries);
    for (int i = 0; i < 3; i++)
        caches[i] = filled(policies[i], 1);
    sharded = filled("lruk-adaptive", 16);
    db = table(file, &read);
    for (int round = 0; round < rounds; round++) {
        least(&bare_ns[0], bare(caches[0], false));
        least(&bare_ns[1], bare(caches[0], true));
        for (int i = 0; i < 3; i++) {
            least(&get_ns[0][i], gets(caches[i], NULL, false));
            least(&get_ns[1][i], gets(caches[i], NULL, true));
        }
        least(&sqlite_ns, sqlite_reads(read));
        least(&mutex_ns, two_threads(caches[0], &global));
        least(&sharded_ns, two_threads(sharded, NULL));
    }
    printf("{\"entries\":%zu,\"rounds\":%d", entries, rounds);
    for (int after = 1; after >= 0; after--) {
        const char *how = after == 1 ? "after" : "apart";

        printf(",\n \"%s\":{\"bare_ns\":%.1f,\"lru_ns\":%.1f,\"lruk_ns\":%.1f,\"adaptive_ns\":%.1f,\"hit_by_bare\":%.2f,"
               "\"lruk_by_lru\":%.2f,\"adaptive_by_lru\":%.2f}",
               how, bare_ns[after], get_ns[after][0], get_ns[after][1], get_ns[after][2], get_ns[after][2] / bare_ns[after],
               get_ns[after][1] / get_ns[after][0], get_ns[after][2] / get_ns[after][0]);
    }
    printf(",\n \"sqlite_ns\":%.0f,\"sqlite_by_hit\":%.0f,\"two_threads_mutex_lru_ns\":%.1f,\"two_threads_sharded_ns\":%.1f,"
           "\"sharded_gain\":%.2f}\n",
           sqlite_ns, sqlite_ns / get_ns[0][2], mutex_ns, sharded_ns, mutex_ns / sharded_ns);
    for (int i = 0; i < 3; i++)
        ag_cache_free(caches[i]);
    ag_cache_free(sharded);
    sqlite3_finalize(read);
    sqlite3_close(db);
    free(asked);
    for (int i = 0; i < 3; i++) {
        snprintf(side, sizeof(side), "%s%s", file, (const char *const[]){"", "-wal", "-shm"}[i]);
        (void)unlink(side);
    }
    return rmdir(path) == 0 ? 0 : 1;
}
