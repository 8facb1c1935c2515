/*
 * What a shell pays for one command: agentctl from start to exit, beside sqlite3 answering
 * `select 1` from the same file, on a small file and on a large one.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"

#define MB (1024L * 1024L)
#define FILL_RUNS 4000L /* in one transaction */

struct fill {
    const char *path;
    long bytes; /* 0: the agent alone */
};

/* Whole runs with their sessions, messages of 1 KB and steps, until the file has its size. */
static const char fill_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TEMP TABLE n AS WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %ld) SELECT i FROM c;"
    "CREATE TEMP TABLE base AS SELECT coalesce(max(id), 0) AS run, (SELECT coalesce(max(id), 0) FROM session) AS session"
    "  FROM run;"
    "INSERT INTO session (id, agent_id, turns, messages, input_tokens, output_tokens, created_at_ms, last_at_ms)"
    "  SELECT base.session + i, 1, 1, 2, 256, 256, 1700000000000 + i, 1700000000000 + i FROM n, base;"
    "INSERT INTO run (id, agent_id, agent_version_id, session_id, status, priority, attempt, input, input_seq,"
    "                 output_seq, queued_at_ms, started_at_ms, ended_at_ms, queue_us, wall_us, input_tokens,"
    "                 output_tokens, cache_hit)"
    "  SELECT base.run + i, 1, 1, base.session + i, 'succeeded', 0, 1, printf('%%01000d', i), 1, 2, 1700000000000 + i,"
    "         1700000000000 + i, 1700000000001 + i, 10, 1000, 256, 256, 0 FROM n, base;"
    "INSERT INTO message (id, run_id, role, created_at_ms)"
    "  SELECT (base.session + i) << 24 | 1, base.run + i, 'user', 1700000000000 + i FROM n, base;"
    "INSERT INTO message (id, run_id, role, body, created_at_ms)"
    "  SELECT (base.session + i) << 24 | 2, base.run + i, 'assistant', printf('%%01000d', i), 1700000000001 + i"
    "  FROM n, base;"
    "INSERT INTO step (id, attempt, status, started_at_ms, wall_us, input_tokens, output_tokens)"
    "  SELECT (base.run + i) << 12 | 1, 1, 'succeeded', 1700000000000 + i, 1000, 256, 256 FROM n, base;"
    "UPDATE agent SET sessions = sessions + %ld, runs = runs + %ld WHERE id = 1;"
    "DROP TABLE n; DROP TABLE base;"
    "COMMIT;"
    "PRAGMA wal_checkpoint(TRUNCATE)";

static bool fill_work(void *arg, void *out, char *why)
{
    const struct fill *f = arg;
    struct load l = {.path = f->path};
    agent_engine *engine;
    sqlite3 *db = NULL;
    char *sql = sqlite3_mprintf(fill_sql, FILL_RUNS, FILL_RUNS, FILL_RUNS);
    bool ok = true;

    (void)out;
    if (!load_open(&l, &engine, why))
        return false;
    agent_close(engine);
    while (ok && bench_file_bytes(f->path) < f->bytes) {
        if (db == NULL)
            ok = sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
        ok = ok && sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
    }
    if (!ok)
        (void)snprintf(why, BENCH_WHY_MAX, "fill '%s': %s", f->path, db != NULL ? sqlite3_errmsg(db) : "out of memory");
    sqlite3_free(sql);
    (void)sqlite3_close(db);
    return ok;
}

/* --- the size of the program ------------------------------------------------------------------------------ */

static void measure_size(struct bench_run *b, const char *folder)
{
    struct bench_series *size = bench_series(b, BENCH_LESS, "bytes", "agentctl, stripped");
    char stripped[450], ignored[64];

    bench_goal(size, MB, 0);
    (void)snprintf(stripped, sizeof(stripped), "%s/agentctl", folder);
    if (bench_program((const char *const[]){"strip", "-o", stripped, bench_opts(b)->agentctl, NULL}, ignored,
                      sizeof(ignored)) == 0)
        bench_add(size, (double)bench_file_bytes(stripped));
    else
        bench_note(b, "strip is not there: the stripped size is not known");
}

/* --- the starts --------------------------------------------------------------------------------------------- */

enum { SQLITE, LIST, RUN, PER_FILE };
enum { FILES = 2, STARTS = FILES * PER_FILE };

struct starts {
    struct bench_series *wall[STARTS], *cpu[STARTS], *rss[STARTS];
};

static void add_starts(struct bench_run *b, struct starts *s, long big_mb)
{
    static const char *const names[PER_FILE] = {"sqlite3 FILE 'select 1'", "agentctl list", "agentctl run"};

    for (int i = 0; i < STARTS; i++) {
        char file[32] = "";

        if (i >= PER_FILE)
            (void)snprintf(file, sizeof(file), " (%ld MB)", big_mb);
        s->wall[i] = bench_series(b, BENCH_LESS, "ms", "%s%s", names[i % PER_FILE], file);
        s->cpu[i] = bench_series(b, BENCH_LESS, "ms", "%s%s, CPU time", names[i % PER_FILE], file);
        s->rss[i] = bench_series(b, BENCH_LESS, "KB", "%s%s, peak RSS", names[i % PER_FILE], file);
        if (i % PER_FILE != SQLITE) {
            bench_ratio(s->wall[i], s->wall[i - i % PER_FILE], i % PER_FILE == LIST ? 3 : 0);
            bench_ratio(s->cpu[i], s->cpu[i - i % PER_FILE], 0);
        }
        if (i % PER_FILE == RUN)
            bench_goal(s->rss[i], 10 * 1024, 0);
        if (i >= PER_FILE)
            bench_ratio(s->wall[i], s->wall[i - PER_FILE], 0);
    }
}

static bool read_starts(struct bench_run *b, struct starts *s, char *text)
{
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        long long wall, cpu, rss;
        int which, code;

        if (!bench_expect(b, sscanf(line, "%d %lld %lld %lld %d", &which, &wall, &cpu, &rss, &code) == 5 && which >= 0 &&
                                 which < STARTS, "agent-bench-spawn said '%.100s'", line) ||
            !bench_expect(b, code == 0, "program %d ended with %d", which, code))
            return false;
        bench_add(s->wall[which], (double)wall / 1e3);
        bench_add(s->cpu[which], (double)cpu / 1e3);
        bench_add(s->rss[which], (double)rss);
    }
    return true;
}

static bool measure_starts(struct bench_run *b, const char *small, const char *big, struct starts *s)
{
    const struct bench_options *o = bench_opts(b);
    const char *argv[64], *files[FILES] = {small, big};
    long rounds = o->rounds > 0 ? o->rounds : bench_size(b, 60, 3);
    size_t room = (size_t)rounds * STARTS * 80 + 1;
    char number[24], *text = malloc(room);
    int n = 0;
    bool ok;

    (void)snprintf(number, sizeof(number), "%ld", rounds);
    argv[n++] = o->helper;
    argv[n++] = number;
    for (int i = 0; i < FILES; i++) {
        const char *const words[] = {"--", "sqlite3", files[i], "select 1", "--", o->agentctl, "--db", files[i], "list",
                                     "--", o->agentctl, "--db", files[i], "run", "bench", "hello"};

        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
            argv[n++] = words[k];
    }
    argv[n] = NULL;
    ok = bench_expect(b, text != NULL, "out of memory") &&
         bench_expect(b, bench_program(argv, text, room) == 0, "agent-bench-spawn failed") && read_starts(b, s, text);
    free(text);
    return ok;
}

/* What they print is right, once, before they are timed. */
static bool check_output(struct bench_run *b, const char *path)
{
    const char *agentctl = bench_opts(b)->agentctl;
    char text[4096];
    int rc = bench_program((const char *const[]){"sqlite3", path, "select 1", NULL}, text, sizeof(text));

    if (!bench_expect(b, rc == 0 && strcmp(text, "1\n") == 0, "sqlite3 ended with %d and '%.80s'", rc, text))
        return false;
    rc = bench_program((const char *const[]){agentctl, "--db", path, "list", NULL}, text, sizeof(text));
    if (!bench_expect(b, rc == 0 && strstr(text, "bench") != NULL, "agentctl list ended with %d and '%.80s'", rc, text))
        return false;
    rc = bench_program((const char *const[]){agentctl, "--db", path, "run", "bench", "hello", NULL}, text, sizeof(text));
    return bench_expect(b, rc == 0 && strstr(text, "hello") != NULL, "agentctl run ended with %d and '%.80s'", rc, text);
}

void bench_cold(struct bench_run *b)
{
    const struct bench_options *o = bench_opts(b);
    long big_mb = o->big ? 1024 : bench_size(b, 100, 8);
    char folder[400], small[450], big[450], nothing;
    struct fill fill_small = {small, 0}, fill_big = {big, big_mb * MB};
    struct starts s;

    if (bench_program((const char *const[]){"sqlite3", "-version", NULL}, folder, sizeof(folder)) != 0) {
        bench_note(b, "not measured: the program sqlite3, its baseline, is not installed");
        return;
    }
    if (!bench_expect(b, o->agentctl[0] != '\0', "agentctl is not beside this program: name it with --agentctl") ||
        !bench_expect(b, o->helper[0] != '\0', "agent-bench-spawn is not beside this program") ||
        !bench_folder(b, folder, sizeof(folder)))
        return;
    (void)snprintf(small, sizeof(small), "%s/small.db", folder);
    (void)snprintf(big, sizeof(big), "%s/big.db", folder);
    add_starts(b, &s, big_mb);
    if (bench_child(b, fill_work, &fill_small, &nothing, 1) && bench_child(b, fill_work, &fill_big, &nothing, 1) &&
        check_output(b, small) && check_output(b, big) && measure_starts(b, small, big, &s)) {
        measure_size(b, folder);
        bench_note(b, "posix_spawn to wait4, taking turns; peak RSS as wait4 tells it to a parent of nothing but libc");
    }
    bench_folder_remove(folder);
}
