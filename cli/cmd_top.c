/*
 * agentctl top: what goes on in the file, again and again on a terminal, once in a pipe.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/rows.h"
#include "cli/signals.h"
#include "cli/top.h"

#define INTERVAL_MS 1000
#define INTERVAL_MIN_MS 100

/* --- for people ---------------------------------------------------------------------------------------------------- */

static void word_cell(struct table *t, const char *text)
{
    table_text(t, text, strlen(text));
}

static void number_cell(struct table *t, struct amount a)
{
    word_cell(t, a.text);
    t->cells[t->count - 1].is_number = true;
}

static void header(struct table *t, const char *const *names, int count)
{
    table_init(t, count);
    for (int i = 0; i < count; i++)
        word_cell(t, names[i]);
}

static struct amount since(const struct top *t, int64_t at_ms, bool is_ascii)
{
    int64_t ms = at_ms == UNKNOWN ? UNKNOWN : t->at_ms - at_ms;

    return amount_us(ms == UNKNOWN ? UNKNOWN : (ms < 0 ? 0 : ms) * 1000, is_ascii);
}

static void tell_counts(struct out *out, const struct top *t)
{
    const int64_t queued = t->queued[0] + t->queued[1] + t->queued[2];
    bool is_any = false;

    out_fmt(out, "runs      %lld running, %lld waiting for a decision, %lld queued", (long long)t->running,
            (long long)t->waiting, (long long)queued);
    if (queued > 0)
        out_fmt(out, " (high %lld, normal %lld, low %lld; %lld ready)", (long long)t->queued[0], (long long)t->queued[1],
                (long long)t->queued[2], (long long)t->ready);
    out_fmt(out, "\nended     %lld in the last minute; newest %d: %lld succeeded, %lld failed, %lld cancelled\n",
            (long long)t->last_minute, TOP_NEWEST, (long long)t->of_newest[0], (long long)t->of_newest[1],
            (long long)t->of_newest[2]);
    out_text(out, "stages    ");
    for (enum stage s = 0; s < STAGE_COUNT; s++)
        if (t->stage_runs[s] > 0) {
            out_fmt(out, "%s%s %lld", is_any ? ", " : "", s == STAGE_OTHER ? "unknown" : stage_word(s),
                    (long long)t->stage_runs[s]);
            if (t->stage_heap[s] != UNKNOWN)
                out_fmt(out, " (%s)", amount_bytes(t->stage_heap[s]).text);
            is_any = true;
        }
    out_fmt(out, "%s\ncache     %lld%s responses", is_any ? "" : "-", (long long)t->responses,
            t->responses == TOP_CACHE ? " or more" : "");
    if (t->cache_entries != UNKNOWN)
        out_fmt(out, "; in memory %lld entries, %s", (long long)t->cache_entries, amount_bytes(t->cache_bytes).text);
    if (t->cache_budget != UNKNOWN)
        out_fmt(out, " of %s", amount_bytes(t->cache_budget).text);
    if (t->cache_gets != UNKNOWN && t->cache_gets > 0 && t->cache_hits != UNKNOWN)
        out_fmt(out, ", %.1f %% hits", (double)t->cache_hits * 100 / (double)t->cache_gets);
    out_text(out, "\n");
}

/* A step that was taken and not undone, of each living owner that took one. */
static void tell_memory(struct out *out, const struct top *t, bool is_ascii)
{
    for (int i = 0; i < t->notice_count; i++) {
        const struct top_notice *n = &t->notices[i];

        out_fmt(out, "memory    owner %lld: ", (long long)n->owner_id);
        out_foreign(out, n->text, strlen(n->text));
        out_fmt(out, " (%s", since(t, n->at_ms, is_ascii).text);
        if (n->limit_bytes != UNKNOWN)
            out_fmt(out, "; limit %s", amount_bytes(n->limit_bytes).text);
        out_text(out, ")\n");
    }
}

static void tell_owners(struct out *out, const struct top *t, bool is_ascii)
{
    static const char *const names[] = {"owner", "pid", "host", "alive", "runs", "rss", "heap", "since"};
    struct table table;

    if (t->owner_count == 0)
        return;
    out_text(out, "\n");
    header(&table, names, 8);
    for (int i = 0; i < t->owner_count; i++) {
        const struct top_owner *o = &t->owners[i];

        number_cell(&table, amount_int(o->id));
        number_cell(&table, amount_int(o->pid));
        word_cell(&table, o->host);
        word_cell(&table, !o->is_known ? "-" : o->is_alive ? "yes" : "no");
        number_cell(&table, amount_int(o->runs));
        number_cell(&table, amount_bytes(o->rss_bytes));
        number_cell(&table, amount_bytes(o->heap_bytes));
        number_cell(&table, since(t, o->started_at_ms, is_ascii));
    }
    table_print(&table, out, true);
    if (t->more_owners > 0)
        out_fmt(out, "and %lld older ones\n", (long long)t->more_owners);
}

static void tell_runs(struct out *out, const struct top *t, bool is_ascii)
{
    static const char *const names[] = {"run", "agent", "stage", "for", "owner", "input"};
    struct table table;

    if (t->run_count == 0)
        return;
    out_text(out, "\n");
    header(&table, names, 6);
    for (int i = 0; i < t->run_count; i++) {
        const struct top_run *run = &t->runs[i];

        number_cell(&table, amount_int(run->id));
        word_cell(&table, run->agent);
        word_cell(&table, run->stage == STAGE_OTHER ? "-" : stage_word(run->stage));
        number_cell(&table, since(t, run->started_at_ms, is_ascii));
        number_cell(&table, amount_int(run->owner_id));
        word_cell(&table, run->input);
    }
    table_print(&table, out, true);
    if (t->running > t->run_count)
        out_fmt(out, "and %lld more\n", (long long)(t->running - t->run_count));
}

static void tell_errors(struct out *out, const struct top *t, bool is_ascii)
{
    static const char *const names[] = {"failed", "agent", "ago", "error"};
    struct table table;

    if (t->error_count == 0)
        return;
    out_text(out, "\n");
    header(&table, names, 4);
    for (int i = 0; i < t->error_count; i++) {
        const struct top_error *e = &t->errors[i];

        number_cell(&table, amount_int(e->id));
        word_cell(&table, e->agent);
        number_cell(&table, since(t, e->ended_at_ms, is_ascii));
        word_cell(&table, e->error);
    }
    table_print(&table, out, true);
}

static void tell(struct out *out, const struct top *t)
{
    const bool is_ascii = out->is_tty && !units_has_utf8();

    tell_counts(out, t);
    tell_memory(out, t, is_ascii);
    tell_owners(out, t, is_ascii);
    tell_runs(out, t, is_ascii);
    tell_errors(out, t, is_ascii);
}

/* --- for programs -------------------------------------------------------------------------------------------------- */

static void put_known(struct out *out, const char *key, int64_t v)
{
    put_key(out, key);
    if (v == UNKNOWN)
        put_null(out);
    else
        put_int(out, v);
}

static void put_time(struct out *out, const char *key, int64_t unix_ms)
{
    put_key(out, key);
    put_str(out, unix_ms == UNKNOWN ? NULL : amount_time(unix_ms).text);
}

static void put_word(struct out *out, const char *key, const char *word)
{
    put_key(out, key);
    put_str(out, word);
}

static void put_begin(struct out *out, const char *key, char bracket)
{
    put_key(out, key);
    put_open(out, bracket);
}

static void put_stages(struct out *out, const struct top *t)
{
    put_begin(out, "stages", '{');
    for (enum stage s = 0; s < STAGE_COUNT; s++)
        if (t->stage_runs[s] > 0) {
            put_begin(out, s == STAGE_OTHER ? "unknown" : stage_word(s), '{');
            put_known(out, "runs", t->stage_runs[s]);
            put_known(out, "heap_bytes", t->stage_heap[s]);
            put_close(out, '{');
        }
    put_close(out, '{');
}

static void put_owners(struct out *out, const struct top *t)
{
    put_begin(out, "owners", '[');
    for (int i = 0; i < t->owner_count; i++) {
        const struct top_owner *o = &t->owners[i];

        put_open(out, '{');
        put_known(out, "id", o->id);
        put_known(out, "pid", o->pid);
        put_word(out, "host", o->host);
        put_key(out, "alive");
        if (o->is_known)
            put_bool(out, o->is_alive);
        else
            put_null(out);
        put_known(out, "runs", o->runs);
        put_known(out, "rss_bytes", o->rss_bytes);
        put_known(out, "heap_bytes", o->heap_bytes);
        put_time(out, "started_at", o->started_at_ms);
        put_time(out, "live_at", o->live_at_ms);
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_runs(struct out *out, const struct top *t)
{
    put_begin(out, "running", '[');
    for (int i = 0; i < t->run_count; i++) {
        put_open(out, '{');
        put_known(out, "id", t->runs[i].id);
        put_word(out, "agent", t->runs[i].agent);
        put_word(out, "stage", t->runs[i].stage == STAGE_OTHER ? NULL : stage_word(t->runs[i].stage));
        put_time(out, "started_at", t->runs[i].started_at_ms);
        put_known(out, "owner", t->runs[i].owner_id);
        put_word(out, "input", t->runs[i].input);
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_notices(struct out *out, const struct top *t)
{
    put_begin(out, "pressure", '[');
    for (int i = 0; i < t->notice_count; i++) {
        put_open(out, '{');
        put_known(out, "owner", t->notices[i].owner_id);
        put_time(out, "since", t->notices[i].at_ms);
        put_known(out, "level", t->notices[i].level);
        put_known(out, "rss_bytes", t->notices[i].rss_bytes);
        put_known(out, "limit_bytes", t->notices[i].limit_bytes);
        put_word(out, "text", t->notices[i].text);
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_errors(struct out *out, const struct top *t)
{
    put_begin(out, "errors", '[');
    for (int i = 0; i < t->error_count; i++) {
        put_open(out, '{');
        put_known(out, "id", t->errors[i].id);
        put_word(out, "agent", t->errors[i].agent);
        put_time(out, "ended_at", t->errors[i].ended_at_ms);
        put_word(out, "error", t->errors[i].error);
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_top(struct out *out, const struct top *t)
{
    put_open(out, '{');
    put_time(out, "at", t->at_ms);
    put_begin(out, "runs", '{');
    put_known(out, "running", t->running);
    put_known(out, "waiting", t->waiting);
    put_known(out, "queued", t->queued[0] + t->queued[1] + t->queued[2]);
    put_known(out, "ready", t->ready);
    put_known(out, "ended_last_minute", t->last_minute);
    put_close(out, '{');
    put_begin(out, "queue", '{');
    put_known(out, "high", t->queued[0]);
    put_known(out, "normal", t->queued[1]);
    put_known(out, "low", t->queued[2]);
    put_close(out, '{');
    put_begin(out, "newest", '{');
    put_known(out, "of", TOP_NEWEST);
    put_known(out, "succeeded", t->of_newest[0]);
    put_known(out, "failed", t->of_newest[1]);
    put_known(out, "cancelled", t->of_newest[2]);
    put_close(out, '{');
    put_stages(out, t);
    put_begin(out, "cache", '{');
    put_known(out, "responses", t->responses);
    put_known(out, "entries", t->cache_entries);
    put_known(out, "held_bytes", t->cache_bytes);
    put_known(out, "budget_bytes", t->cache_budget);
    put_known(out, "gets", t->cache_gets);
    put_known(out, "hits", t->cache_hits);
    put_close(out, '{');
    put_notices(out, t);
    put_owners(out, t);
    put_runs(out, t);
    put_errors(out, t);
    put_close(out, '{');
}

/* --- the screen ------------------------------------------------------------------------------------------------------ */

struct screen {
    bool is_on, has_keys;
    struct termios before;
};

static void screen_begin(struct screen *screen, struct out *out)
{
    struct termios raw;

    screen->is_on = true;
    screen->has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen->before) == 0;
    if (screen->has_keys) {
        raw = screen->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* q is read without Enter; ^C stays a signal */
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    out_text(out, "\033[?1049h\033[?25l"); /* the other screen, without a cursor */
}

static void screen_end(struct screen *screen, struct out *out)
{
    if (!screen->is_on)
        return;
    out_text(out, "\033[?25h\033[?1049l");
    out_flush(out);
    if (screen->has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
}

/* As many lines as the screen has; the rest of each line and of the screen is cleared, so nothing flickers. */
static void screen_show(struct out *out, const struct out *page)
{
    struct winsize size = {0};
    int lines = ioctl(out->fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row : 24;

    out_text(out, "\033[H");
    for (size_t at = 0; at < page->bytes && lines > 0; lines--) {
        const char *line = page->at + at, *end = memchr(line, '\n', page->bytes - at);
        size_t n = end == NULL ? page->bytes - at : (size_t)(end - line);

        if (text_width(line, n) > (size_t)out_columns(out) && memchr(line, '\033', n) == NULL)
            out_bytes(out, line, text_head(line, n, (size_t)out_columns(out)));
        else
            out_bytes(out, line, n);
        out_text(out, lines > 1 ? "\033[K\n" : "\033[K");
        at += n + 1;
    }
    out_text(out, "\033[J");
    out_flush(out);
}

/* Whether to go on: false after q, a signal, or when the reader has gone. */
static bool wait_for_next(const struct screen *screen, const struct out *out, int64_t interval_ms)
{
    struct timespec now, end;
    int64_t left = interval_ms;

    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    while (left > 0 && signals_caught() == 0 && !out->is_closed && out->error == 0) {
        struct pollfd key = {.fd = screen->has_keys ? STDIN_FILENO : -1, .events = POLLIN};
        char c = 0;

        if (poll(&key, 1, (int)left) > 0) {
            ssize_t n = read(STDIN_FILENO, &c, 1);

            if (n <= 0 || c == 'q' || c == 'Q')
                return false;
            if (c == ' ' || c == '\n')
                break;
        }
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        left = interval_ms - ((now.tv_sec - end.tv_sec) * 1000 + (now.tv_nsec - end.tv_nsec) / 1000000);
    }
    return signals_caught() == 0 && !out->is_closed && out->error == 0;
}

/* --- the command ------------------------------------------------------------------------------------------------------- */

static void show(struct cli *cli, const struct top *t, const struct screen *screen, int64_t round, int64_t interval_ms)
{
    struct out *out = &cli->out, page;

    if (cli->json || cli->jsonl) {
        out->wants_comma = cli->json && round > 0;
        put_top(out, t);
        if (cli->jsonl)
            put_line(out);
        return;
    }
    if (!screen->is_on) {
        out_text(out, round > 0 ? "\n" : "");
        tell(out, t);
        out_flush(out);
        return;
    }
    page = (struct out){.fd = out->fd, .is_tty = true, .has_colour = out->has_colour, .is_held = true};
    out_fmt(&page, "%.19sZ  every %s, q leaves  ", amount_time(t->at_ms).text, amount_us(interval_ms * 1000, true).text);
    out_foreign(&page, cli->db_path, strlen(cli->db_path));
    out_text(&page, "\n\n");
    tell(&page, t);
    screen_show(out, &page);
    page.fd = -1;
    out_drop(&page);
}

static int top(struct cli *cli, const struct args *args)
{
    const bool is_json = cli->json || cli->jsonl;
    int64_t interval_ms = INTERVAL_MS, rounds = cli->out.is_tty && !is_json ? INT64_MAX : 1;
    struct screen screen = {0};
    agent_error err = AGENT_ERROR_INIT;
    bool is_list;
    int rc;

    if ((rc = cli_duration(cli, args, "interval", &interval_ms)) != EXIT_OK ||
        (rc = cli_number(cli, args, "rounds", 1, INT64_MAX, &rounds)) != EXIT_OK)
        return rc;
    if (interval_ms < INTERVAL_MIN_MS || interval_ms > 86400000)
        return cli_usage(cli, NULL, "--interval: from 100ms to 1d");
    if ((rc = cli_open(cli, NEED_READ, NULL)) != EXIT_OK)
        return rc;
    signals_install();
    is_list = cli->json && rounds > 1;
    if (is_list)
        put_open(&cli->out, '[');
    if (cli->out.is_tty && !is_json && rounds > 1)
        screen_begin(&screen, &cli->out);
    for (int64_t round = 0; round < rounds; round++) {
        struct top t;

        if (round > 0 && !wait_for_next(&screen, &cli->out, interval_ms))
            break;
        if (top_read(cli, &t, &err) != AGENT_OK) {
            screen_end(&screen, &cli->out);
            return cli_fail(cli, &err);
        }
        show(cli, &t, &screen, round, interval_ms);
        top_drop(&t);
    }
    screen_end(&screen, &cli->out);
    if (is_list)
        put_close(&cli->out, '[');
    if (cli->json)
        put_line(&cli->out);
    return signals_caught() == 0 ? EXIT_OK : EXIT_SIGNAL + signals_caught();
}

static const struct option options[] = {
    {"interval", 0, "DUR", "between two looks (1s)"},
    {"rounds", 'n', "N", "so many looks (in a pipe 1)"},
    {0},
};

static const char *const examples[] = {
    "top",
    "top --interval 5s",
    "top --json | jq .queue",
    NULL,
};

const struct command cmd_top = {
    .name = "top",
    .synopsis = "",
    .summary = "what goes on: runs by stage, owners and their memory, the queue",
    .text = "Owners are the processes that drive runs. RSS is read from the process where it\n"
            "is on this host; runs by stage and heap are what owners tell once a second. - is\n"
            "unknown. On a terminal until q; in a pipe once.",
    .options = options,
    .examples = examples,
    .flags = COMMAND_LINES,
    .run = top,
};
