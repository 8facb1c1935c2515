/*
 * agentctl cache stats: the answers that are kept in the file, and what engines at work keep in
 * memory before it. The latter is what each of them told last, once a second, in the table `live`;
 * only those that live are shown, and how old it is stands beside it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/owners.h"
#include "cli/rows.h"
#include "cli/table.h"
#include "cli/units.h"

struct listing {
    struct cli *cli;
    int owners; /* <db>-owners; -1: it cannot be asked */
    int64_t now_ms;
    int count;
    json_t *fronts;
};

static double ratio(const json_t *counts)
{
    double gets = json_number_value(json_object_get(counts, "gets"));

    return gets > 0 ? json_number_value(json_object_get(counts, "hits")) / gets : 0;
}

static bool take_front(void *ctx, const agent_row *row)
{
    struct listing *l = ctx;
    enum { OWNER, PID, AT, RUNS, CACHE };
    size_t n;
    const char *text = agent_row_text(row, CACHE, &n);
    json_t *front, *kinds, *kind;
    const char *name;
    bool is_alive;

    if (!owners_ask(l->owners, agent_row_int(row, OWNER), &is_alive) || !is_alive || text == NULL || (front = json_loadb(text, n, 0, NULL)) == NULL)
        return true;
    (void)json_object_set_new(front, "cache", json_string("front"));
    (void)json_object_set_new(front, "pid", json_integer(agent_row_int(row, PID)));
    (void)json_object_set_new(front, "age_ms", json_integer(l->now_ms - agent_row_int(row, AT)));
    (void)json_object_set_new(front, "runs", json_integer(agent_row_int(row, RUNS)));
    (void)json_object_set_new(front, "hit_ratio", json_real(ratio(front)));
    if (json_object_get(front, "estimate") == NULL)
        (void)json_object_set_new(front, "estimate", json_null());
    kinds = json_object_get(front, "kinds");
    json_object_foreach(kinds, name, kind)
        (void)json_object_set_new(kind, "hit_ratio", json_real(ratio(kind)));
    (void)json_array_append_new(l->fronts, front);
    return true;
}

static agent_status read_fronts(struct listing *l, agent_error *err)
{
    static const char sql[] = "SELECT l.owner_id, o.pid, l.at_ms, l.runs, l.cache FROM live l JOIN owner o ON o.id = l.owner_id"
                              " ORDER BY l.owner_id";
    struct timespec now;
    agent_status rc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    l->now_ms = now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
    l->owners = owners_open(l->cli->db_path);
    l->fronts = json_array();
    rc = agent_sql(l->cli->engine, sql, take_front, l, err);
    if (l->owners >= 0)
        (void)close(l->owners);
    return rc;
}

/* --- for people ------------------------------------------------------------------------------------------------ */

static int64_t number(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

/* The time below which this share of the counts lies: the end of its bucket. */
static void cell_time(struct table *t, const json_t *times, double share)
{
    json_int_t all = 0, seen = 0;
    char text[32] = "";
    json_t *pair;
    size_t i;

    json_array_foreach(times, i, pair)
        all += json_integer_value(json_array_get(pair, 1));
    json_array_foreach(times, i, pair) {
        seen += json_integer_value(json_array_get(pair, 1));
        if ((double)seen >= share * (double)all) {
            double ns = 2.0 * (double)(INT64_C(1) << (json_integer_value(json_array_get(pair, 0)) & 63));

            (void)snprintf(text, sizeof(text), ns < 1e3 ? "%.0f ns" : ns < 1e6 ? "%.0f us" : ns < 1e9 ? "%.0f ms" : "%.0f s",
                           ns / (ns < 1e3 ? 1 : ns < 1e6 ? 1e3 : ns < 1e9 ? 1e6 : 1e9));
            break;
        }
    }
    table_text(t, text, strlen(text));
}

static void print_kinds(struct out *out, json_t *kinds)
{
    static const char *const header[] = {"kind", "gets", "hits", "hit ratio", "loads", "invalidated", "entries", "bytes",
                                         "hit p50 <", "load p50 <", "load p99 <"};
    const int columns = (int)(sizeof(header) / sizeof(header[0]));
    struct table t;
    const char *name;
    json_t *kind;
    char text[32];

    table_init(&t, columns);
    for (int i = 0; i < columns; i++)
        table_text(&t, header[i], strlen(header[i]));
    json_object_foreach(kinds, name, kind) {
        table_text(&t, name, strlen(name));
        table_int(&t, number(kind, "gets"));
        table_int(&t, number(kind, "hits"));
        (void)snprintf(text, sizeof(text), "%.4f", ratio(kind));
        table_text(&t, text, strlen(text));
        table_int(&t, number(kind, "loads"));
        table_int(&t, number(kind, "invalidated"));
        table_int(&t, number(kind, "entries"));
        table_int(&t, number(kind, "bytes"));
        cell_time(&t, json_object_get(kind, "hit_times"), 0.5);
        cell_time(&t, json_object_get(kind, "load_times"), 0.5);
        cell_time(&t, json_object_get(kind, "load_times"), 0.99);
    }
    table_print(&t, out, true);
    table_drop(&t);
}

static void print_front(struct out *out, json_t *front)
{
    const json_t *estimate = json_object_get(front, "estimate");

    out_fmt(out, "\nfront cache of process %lld, as of %.1f s ago\n", (long long)number(front, "pid"),
            (double)number(front, "age_ms") / 1000);
    out_fmt(out, "policy        %s\nheld          %s of %s\nentries       %lld\nhit ratio     %.4f of %lld gets\n",
            json_string_value(json_object_get(front, "policy")), amount_bytes(number(front, "held_bytes")).text,
            amount_bytes(number(front, "budget_bytes")).text, (long long)number(front, "entries"), ratio(front),
            (long long)number(front, "gets"));
    if (json_is_object(estimate))
        out_fmt(out, "estimated     %.4f with half the memory, %.4f with all, %.4f with twice\n",
                json_number_value(json_object_get(estimate, "half")), json_number_value(json_object_get(estimate, "one")),
                json_number_value(json_object_get(estimate, "twice")));
    else
        out_text(out, "estimated     not known for another size\n");
    print_kinds(out, json_object_get(front, "kinds"));
}

static void print_text(struct cli *cli, const agent_cache_stats *s, json_t *fronts)
{
    json_t *front;
    size_t i;

    out_fmt(&cli->out, "entries       %lld\nbytes         %lld\nlimit bytes   %lld\nhits          %lld\ntokens saved  %lld\n",
            (long long)s->entries, (long long)s->bytes, (long long)s->limit_bytes, (long long)s->hits,
            (long long)s->tokens_saved);
    json_array_foreach(fronts, i, front)
        print_front(&cli->out, front);
    if (json_array_size(fronts) == 0)
        cli_note(cli, "no engine at work tells of its front cache (one does once it has worked for a second)");
}

/* --- for programs ----------------------------------------------------------------------------------------------- */

static void put_response(struct out *out, const agent_cache_stats *s)
{
    put_key(out, "entries");
    put_int(out, s->entries);
    put_key(out, "bytes");
    put_int(out, s->bytes);
    put_key(out, "limit_bytes");
    put_int(out, s->limit_bytes);
    put_key(out, "hits");
    put_int(out, s->hits);
    put_key(out, "tokens_saved");
    put_int(out, s->tokens_saved);
}

static void put_front(struct out *out, const json_t *front)
{
    char *text = json_dumps(front, JSON_COMPACT | JSON_REAL_PRECISION(6));

    put_embed(out, text);
    free(text);
}

static void print_json(struct cli *cli, const agent_cache_stats *s, json_t *fronts)
{
    struct out *out = &cli->out;
    json_t *front;
    size_t i;

    put_open(out, '{');
    if (cli->jsonl) {
        put_key(out, "cache");
        put_str(out, "response");
    }
    put_response(out, s);
    if (!cli->jsonl) {
        put_key(out, "front");
        put_open(out, '[');
        json_array_foreach(fronts, i, front)
            put_front(out, front);
        put_close(out, '[');
    }
    put_close(out, '{');
    put_line(out);
    json_array_foreach(fronts, i, front) {
        if (!cli->jsonl)
            break;
        put_front(out, front);
        put_line(out);
    }
}

static int stats(struct cli *cli, const struct args *args)
{
    agent_cache_stats s = AGENT_CACHE_STATS_INIT;
    agent_error err = AGENT_ERROR_INIT;
    struct listing l = {.cli = cli};
    int rc = cli_open(cli, NEED_READ, NULL);

    (void)args;
    if (rc != EXIT_OK)
        return rc;
    if (agent_cache_sums(cli->engine, &s, &err) != AGENT_OK || read_fronts(&l, &err) != AGENT_OK) {
        json_decref(l.fronts);
        return cli_fail(cli, &err);
    }
    if (cli->json || cli->jsonl)
        print_json(cli, &s, l.fronts);
    else
        print_text(cli, &s, l.fronts);
    json_decref(l.fronts);
    return EXIT_OK;
}

static const char *const examples[] = {"cache stats", "cache stats --json", NULL};

const struct command cmd_cache_stats = {
    .name = "cache stats",
    .synopsis = "",
    .summary = "what the caches hold and have saved",
    .text = "First the answers in the file: an agent whose option cache is on (create -o\n"
            "cache=on, or run --cache on) answers exactly the same request from there,\n"
            "without asking its model. Then what each engine at work keeps in memory, as it\n"
            "told once a second: hits, loads and their times by kind (from histograms of\n"
            "powers of two), and what its hit ratio would be with half and twice the memory,\n"
            "estimated from a sample of the keys. bench cache tells more, from a trace.",
    .examples = examples,
    .flags = COMMAND_LINES,
    .run = stats,
};
