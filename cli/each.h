/*
 * run --each: one run for each line of a file, so many at once, and a line of results for each.
 *
 *     FILE ──► each_input ──► each_line ──► each.c ──► agent_run_start() … its end
 *              (a stream)     (JSON)          │                              │
 *                                             │◄─────────────────────────────┘
 *              each_key: under which keys     ├──► each_out: --out, stdout   in order, or as they end
 *              the runs are known             └──► each_bar: a person's stderr
 *
 *   (1) Nothing is held in memory but a window of lines: what is taken and not yet written.
 *   (2) A result is written after its run was committed, as one whole line at the end of --out. So
 *       what is missing there is at most behind the file, never wrong: the runs' idempotency keys
 *       bring the same runs back.
 *   (3) A key is "batch:<of agent, input and --out>:<generation>:<id or number of the line>". Without
 *       --out there are no keys: each call is a batch of its own.
 *   (4) Lines of one session are begun one after the other, in the order of the file.
 */
#ifndef AG_CLI_EACH_H
#define AG_CLI_EACH_H

#include "cli/cmd.h"

#define EACH_LINE_MAX (8u << 20) /* bytes: a prompt of AGENT_INPUT_MAX, however it is escaped */
#define EACH_ID_MAX 200          /* bytes of an id as JSON */

/* The whole of --each; the request holds what all lines share. Returns the exit code. */
int each_run(struct cli *cli, const struct args *args, const agent_run_request *request);

/* --- each_input.c: lines of a file, a pipe or a terminal ------------------------------------------------ */

struct each_input {
    int fd;
    const char *name;   /* for messages; borrowed */
    bool is_file;       /* its end is known and it can be read twice */
    bool is_ended, is_overlong;
    int64_t bytes;      /* of the whole; -1: unknown */
    int64_t number;     /* of the line that was read last, from 1 */
    char *at;
    size_t from, to, cap;
};

enum each_next { EACH_NEXT_LINE, EACH_NEXT_WAIT, EACH_NEXT_END, EACH_NEXT_FAILED };

/* Opens FILE or "-". With `again` what cannot be read twice is copied into a file without a name first. */
int each_input_open(struct cli *cli, const char *path, bool again, struct each_input *out);
void each_input_drop(struct each_input *in);
/* The next line that is not blank, without its end; borrowed until the next call. WAIT: nothing is
 * there yet, poll in->fd. *out_size is what it took of the file. */
enum each_next each_input_next(struct each_input *in, const char **out_line, size_t *out_bytes, int64_t *out_size,
                               agent_error *err);

/* --- each_line.c: what a line asks for ------------------------------------------------------------------ */

struct each_line {
    char *id;           /* as JSON text; NULL: none */
    char *session;      /* a name; NULL: none */
    int64_t session_id; /* 0: none */
    struct text prompt;
};

/* False: err says what is wrong; id is filled in where it could be read. Drop it in any case. */
bool each_line_parse(const char *text, size_t bytes, struct each_line *out, agent_error *err);
void each_line_drop(struct each_line *line);

/* Which line used an id first. Holds 64 bits of each, so that a file of millions of lines is fine. */
struct each_ids {
    struct each_seen {
        uint64_t hash; /* 0: free */
        int64_t line;
    } *at;
    size_t count, room; /* room is a power of two */
};

uint64_t each_hash(uint64_t seed, const void *p, size_t n); /* FNV-1a; seed 0 begins */
/* 0: it is new, and known from now on as `line`'s; else the line that had it first. */
int64_t each_ids_add(struct each_ids *ids, const char *id, int64_t line);
void each_ids_drop(struct each_ids *ids);

/* --- each_out.c: --out --------------------------------------------------------------------------------- */

struct each_out {
    int fd;            /* -1: there is no --out */
    char *path;        /* real */
    unsigned char *done; /* a bit for each line that has its result */
    size_t done_bytes;
    int64_t rows, failed; /* that were there */
    int64_t first_run, last_run; /* 0: none of them had a run */
    int64_t good_bytes;   /* of whole lines */
    bool is_broken;       /* a write failed: no more of them */
    bool is_cut;          /* what stood behind them is gone: with the first write */
};

/* Opens, locks and reads it. */
int each_out_open(struct cli *cli, const char *path, const struct each_input *in, struct each_out *out);
void each_out_drop(struct each_out *out);
bool each_out_has(const struct each_out *out, int64_t line);
/* What is there goes with the first write. */
void each_out_forget(struct each_out *out);
/* Appends; n 0: only cuts. */
agent_status each_out_write(struct each_out *out, const char *p, size_t n, agent_error *err);

/* One line of results into `to`. r NULL: there was no run. */
void each_put_result(struct out *to, const char *id, int64_t line, const agent_run_result *r, const agent_error *err);

/* --- each_key.c: the identity of a batch ---------------------------------------------------------------- */

struct each_key {
    char prefix[48]; /* "batch:<16 hex>:<generation>:"; "": no keys */
    int64_t generation;
};

/* Settles the key, and whether what --out holds is this batch's. restart: a generation of its own. */
int each_key_settle(struct cli *cli, const char *agent, const struct each_input *in, struct each_out *out, bool restart,
                    struct each_key *key);
/* Of a line; given. NULL: no keys. */
char *each_key_of(const struct each_key *key, const char *id, int64_t line);

/* --- each_bar.c: the bar -------------------------------------------------------------------------------- */

struct each_bar {
    bool is_on, is_shown;
    int64_t began_ns, shown_ns;
    int64_t all_bytes;   /* of the input; -1: unknown */
    int64_t done_bytes, skipped_bytes;
    int64_t done, failed, skipped; /* lines */
};

void each_bar_begin(struct each_bar *bar, bool is_on, int64_t all_bytes);
void each_bar_draw(struct each_bar *bar, bool at_once);
void each_bar_clear(struct each_bar *bar); /* before anything else is said */
double each_bar_seconds(const struct each_bar *bar);

#endif
