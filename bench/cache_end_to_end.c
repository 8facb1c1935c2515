/*
 * The trace `agentmix` against a real file, through caches of 0, 100, 200 and 300 MB: what a thousand
 * requests take, and whether the memory stays within the budget.
 *
 *     request ──► front cache ──► miss: point read from SQLite, copied to the heap ──► checked
 *
 * With --quick the trace is shorter, and the budgets by as much smaller as what it asks for.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/traces.h"
#include "engine/base/mem.h"
#include "engine/cache/front_cache.h"

#define BUDGETS 4
#define MB      (INT64_C(1) << 20)
#define FOOTPRINT_MB 511 /* of the whole trace: what --quick goes by */

struct end_to_end {
    char path[600];
    size_t requests;
    uint64_t seed;
    int64_t bytes;  /* budget */
};

struct end_to_end_result {
    double ms_per_1000;
    double hit_ratio;
    int64_t grown_bytes; /* of RSS, at its highest */
    int64_t heap_bytes;  /* grown by what malloc has given out, at the end */
    int64_t held_bytes;
};

struct built {
    uint64_t footprint_bytes;
    int64_t file_bytes;
    size_t objects;
};

struct object {
    struct ag_value head;
    uint64_t key;
    uint32_t bytes;
    unsigned char body[];
};

/* --- the file -------------------------------------------------------------------------------------------- */

static bool failed(char *why, sqlite3 *db, const char *what)
{
    (void)snprintf(why, BENCH_WHY_MAX, "%s: %.400s", what, db != NULL ? sqlite3_errmsg(db) : "out of memory");
    return false;
}

/* Its key, and then one byte of it: enough to see that it is the right one and whole. */
static void fill_body(unsigned char *p, uint64_t key, uint32_t bytes)
{
    size_t n = bytes < sizeof(key) ? bytes : sizeof(key);

    memset(p, (int)(key & 0xff), bytes);
    memcpy(p, &key, n);
}

static bool is_body(const unsigned char *p, uint64_t key, uint32_t bytes)
{
    size_t n = bytes < sizeof(key) ? bytes : sizeof(key);

    return memcmp(p, &key, n) == 0 && (bytes <= n || p[bytes - 1] == (key & 0xff));
}

static bool put_objects(sqlite3 *db, const struct ag_trace *t, char *why)
{
    static unsigned char body[1 << 20];
    sqlite3_stmt *st;

    if (sqlite3_prepare_v2(db, "INSERT INTO object VALUES (?1, ?2)", -1, &st, NULL) != SQLITE_OK)
        return failed(why, db, "insert");
    for (size_t i = 0; i < t->count; i++) {
        const struct ag_trace_request *q = &t->requests[i];

        if (q->next >= 0) /* each once, at its last request */
            continue;
        if (q->bytes > sizeof(body))
            return failed(why, NULL, "an object of more than 1 MB");
        fill_body(body, q->key, q->bytes);
        (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)q->key);
        (void)sqlite3_bind_blob(st, 2, body, (int)q->bytes, SQLITE_STATIC);
        if (sqlite3_step(st) != SQLITE_DONE || sqlite3_reset(st) != SQLITE_OK)
            return failed(why, db, "insert");
    }
    return sqlite3_finalize(st) == SQLITE_OK;
}

static bool build_work(void *arg, void *out, char *why)
{
    const struct end_to_end *w = arg;
    struct built *built = out;
    struct ag_trace t;
    sqlite3 *db = NULL;

    if (!bench_trace_make("agentmix", w->seed, w->requests, 0, &t))
        return failed(why, NULL, "trace");
    built->footprint_bytes = t.footprint_bytes;
    built->objects = t.objects;
    if (sqlite3_open(w->path, &db) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -64000;"
                         "CREATE TABLE object (key INTEGER PRIMARY KEY, body BLOB NOT NULL); BEGIN",
                     NULL, NULL, NULL) != SQLITE_OK ||
        !put_objects(db, &t, why) || sqlite3_exec(db, "COMMIT; PRAGMA journal_mode = WAL", NULL, NULL, NULL) != SQLITE_OK)
        return failed(why, db, "build the file");
    if (sqlite3_close(db) != SQLITE_OK)
        return failed(why, db, "close");
    built->file_bytes = bench_file_bytes(w->path);
    ag_trace_drop(&t);
    return true;
}

/* --- requests --------------------------------------------------------------------------------------------- */

struct source {
    sqlite3 *db;
    sqlite3_stmt *read;
    uint64_t key;
};

static void object_drop(struct ag_value *v)
{
    ag_free(v);
}

static agent_status load_object(void *ctx, struct ag_value **out, agent_error *err)
{
    struct source *s = ctx;
    struct object *o;
    agent_status rc = AGENT_OK;
    int n;

    (void)sqlite3_bind_int64(s->read, 1, (sqlite3_int64)s->key);
    if (sqlite3_step(s->read) != SQLITE_ROW) {
        (void)sqlite3_reset(s->read);
        return ag_fail(err, AGENT_ESTORAGE, 0, "object %llu: %s", (unsigned long long)s->key, sqlite3_errmsg(s->db));
    }
    n = sqlite3_column_bytes(s->read, 0);
    if ((o = ag_malloc(sizeof(*o) + (size_t)n)) == NULL) {
        rc = ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    } else {
        o->head = (struct ag_value){.bytes = ag_mem_size(o), .drop = object_drop};
        atomic_init(&o->head.refs, 1);
        o->key = s->key;
        o->bytes = (uint32_t)n;
        memcpy(o->body, sqlite3_column_blob(s->read, 0), (size_t)n);
        *out = &o->head;
    }
    (void)sqlite3_reset(s->read);
    return rc;
}

static bool open_source(struct source *s, const char *path, char *why)
{
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(s->db, "SELECT body FROM object WHERE key = ?1", -1, &s->read, NULL) != SQLITE_OK)
        return failed(why, s->db, "open the file");
    return true;
}

static bool ask(ag_cache *c, struct source *s, const struct ag_trace_request *q, char *why)
{
    agent_error err = AGENT_ERROR_INIT;
    struct ag_value *v;
    const struct object *o;
    bool ok;

    s->key = q->key;
    if (ag_cache_load(c, AG_CACHE_RESPONSE, &q->key, sizeof(q->key), load_object, s, &v, &err) != AGENT_OK) {
        (void)snprintf(why, BENCH_WHY_MAX, "%.400s", err.text);
        return false;
    }
    o = (const struct object *)v;
    ok = o->key == q->key && o->bytes == q->bytes && is_body(o->body, q->key, q->bytes);
    if (!ok)
        (void)snprintf(why, BENCH_WHY_MAX, "a wrong object for key %llu", (unsigned long long)q->key);
    ag_value_put(v);
    return ok;
}

static bool ask_all(ag_cache *c, struct source *s, const struct ag_trace *t, struct end_to_end_result *r, char *why)
{
    int64_t heap = bench_heap_bytes(), before = bench_rss_bytes(), begun = bench_now_ns(), most = before;

    for (size_t i = 0; i < t->count; i++) {
        if (!ask(c, s, &t->requests[i], why))
            return false;
        if (i % 1000 == 0) {
            int64_t rss = bench_rss_bytes();

            most = rss > most ? rss : most;
        }
    }
    r->ms_per_1000 = (double)(bench_now_ns() - begun) / 1e6 / ((double)t->count / 1000);
    r->grown_bytes = most - before;
    r->heap_bytes = bench_heap_bytes() - heap;
    return true;
}

/* SQLite's own page cache is filled before the meter starts: it is no part of the budget. */
static bool warm(struct source *s, const struct ag_trace *t)
{
    struct ag_value *v;

    for (size_t i = 0; i < t->count && i < 20000; i++) {
        s->key = t->requests[i].key;
        if (load_object(s, &v, NULL) != AGENT_OK)
            return false;
        ag_value_put(v);
    }
    return true;
}

static bool ask_work(void *arg, void *out, char *why)
{
    const struct end_to_end *w = arg;
    struct end_to_end_result *r = out;
    struct ag_cache_options o = {.bytes = w->bytes};
    agent_error err = AGENT_ERROR_INIT;
    struct source s = {0};
    struct ag_cache_stats stats;
    struct ag_trace t;
    ag_cache *c;

    if (!bench_trace_make("agentmix", w->seed, w->requests, 0, &t))
        return failed(why, NULL, "trace");
    if (!open_source(&s, w->path, why))
        return false;
    if (!warm(&s, &t))
        return failed(why, s.db, "first reads");
    if (ag_cache_new(&o, &c, &err) != AGENT_OK) {
        (void)snprintf(why, BENCH_WHY_MAX, "%.400s", err.text);
        return false;
    }
    if (!ask_all(c, &s, &t, r, why))
        return false;
    ag_cache_stats(c, &stats);
    r->hit_ratio = (double)stats.total.hits / (double)t.count;
    r->held_bytes = (int64_t)stats.held_bytes;
    if (r->held_bytes > w->bytes && w->bytes > 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "%lld bytes are held of %lld", (long long)r->held_bytes, (long long)w->bytes);
        return false;
    }
    ag_cache_free(c);
    (void)sqlite3_finalize(s.read);
    (void)sqlite3_close(s.db);
    ag_trace_drop(&t);
    return true;
}

/* --- the bench ------------------------------------------------------------------------------------------------ */

static void measure(struct bench_run *b, struct end_to_end *w, const struct built *built)
{
    static const int budgets_mb[BUDGETS] = {0, 100, 200, 300};
    struct bench_series *time[BUDGETS], *hits[BUDGETS], *memory[BUDGETS] = {NULL}, *heap[BUDGETS] = {NULL};

    for (int i = 0; i < BUDGETS; i++) {
        time[i] = bench_series(b, BENCH_LESS, "ms", "1,000 requests, %d MB", budgets_mb[i]);
        hits[i] = bench_series(b, BENCH_NEITHER, "hits", "hits by requests, %d MB", budgets_mb[i]);
        if (i == 0)
            continue;
        bench_ratio(time[i], time[0], 0);
        memory[i] = bench_series(b, BENCH_LESS, "budgets", "growth of RSS by budget, %d MB", budgets_mb[i]);
        bench_goal(memory[i], 1.05, 0);
        heap[i] = bench_series(b, BENCH_LESS, "budgets", "growth of the heap by budget, %d MB", budgets_mb[i]);
    }
    for (int round = bench_rounds(b, 2); round > 0; round--) {
        int order[BUDGETS];

        bench_shuffle(b, order, BUDGETS);
        for (int i = 0; i < BUDGETS; i++) {
            struct end_to_end_result r;
            int k = order[i];

            w->bytes = budgets_mb[k] * MB;
            if (bench_opts(b)->quick)
                w->bytes = (int64_t)((double)w->bytes * (double)built->footprint_bytes / (double)(FOOTPRINT_MB * MB));
            if (!bench_child(b, ask_work, w, &r, sizeof(r)))
                return;
            bench_add(time[k], r.ms_per_1000);
            bench_add(hits[k], r.hit_ratio);
            if (memory[k] == NULL)
                continue;
            bench_add(memory[k], (double)r.grown_bytes / (double)w->bytes);
            bench_add(heap[k], (double)r.heap_bytes / (double)w->bytes);
        }
    }
    bench_note(b, "%zu requests of agentmix for %zu objects of %.0f MB, in a file of %.0f MB that the kernel holds",
               w->requests, built->objects, (double)built->footprint_bytes / (double)MB,
               (double)built->file_bytes / (double)MB);
    if (bench_opts(b)->quick)
        bench_note(b, "--quick: budgets are of %.0f MB what they are of %d", (double)built->footprint_bytes / (double)MB,
                   FOOTPRINT_MB);
}

void bench_cache_end_to_end(struct bench_run *b)
{
    struct end_to_end w = {.requests = (size_t)bench_size(b, 2000000, 50000), .seed = bench_opts(b)->seed + 41};
    struct built built;
    char folder[512];

    if (!bench_folder(b, folder, sizeof(folder)))
        return;
    (void)snprintf(w.path, sizeof(w.path), "%s/objects.db", folder);
    if (bench_child(b, build_work, &w, &built, sizeof(built)))
        measure(b, &w, &built);
    bench_folder_remove(folder);
}
