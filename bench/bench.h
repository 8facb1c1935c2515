/*
 * What a bench is made of. A bench measures series of samples in interleaved rounds, so that a
 * machine that slows down slows all of them down, and says beside which series of the same run one
 * is to be read.
 *
 *     bench_series ──► bench_add × rounds ──► bench_ratio(against a baseline) ──► report
 *
 *  (1) What is measured is measured in a child process of its own: its memory begins small, its
 *      threads die with it, and the next round finds nothing of the last.
 *  (2) Every answer is checked (bench_expect): a bench with a wrong answer fails, however fast.
 *  (3) A ratio is the median of the rounds' ratios; both series have a sample of each round.
 *  (4) A target that is missed is told, never an error: the machine may be the reason.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* --- what main asks for ------------------------------------------------------------------------ */

struct bench_options {
    bool json;
    bool quick;         /* smallest sizes that still mean something */
    bool big;           /* cold: a file of 1 GB instead of 100 MB */
    uint64_t seed;      /* of inputs and of the order within a round */
    int rounds;         /* 0: each bench's own */
    int minutes;        /* of soak; 0: its own */
    const char *dir;    /* where files are made; on a real disk */
    char agentctl[512]; /* the programs that cold starts; "": not found */
    char helper[512];
};

struct bench_run; /* one bench under way: options, series, notes */

struct bench {
    const char *name;
    const char *what; /* one line */
    const char *unit; /* of its first series */
    void (*run)(struct bench_run *b);
};

const struct bench_options *bench_opts(const struct bench_run *b);
/* `quick` where --quick was given, else `full`. */
long bench_size(const struct bench_run *b, long full, long quick);
int bench_rounds(const struct bench_run *b, int full); /* --rounds, else 2 with --quick, else full */

/* --- series (report.c) --------------------------------------------------------------------------- */

enum bench_better { BENCH_LESS, BENCH_MORE, BENCH_NEITHER };

struct bench_series;

/* Borrowed from the run. The name is formatted; unit is a literal. */
struct bench_series *bench_series(struct bench_run *b, enum bench_better better, const char *unit, const char *name,
                                  ...) __attribute__((format(printf, 4, 5)));
void bench_add(struct bench_series *s, double sample);
/* Reads `s` beside `base`: at least (MORE) or at most (LESS) `target` times it; 0: no target. */
void bench_ratio(struct bench_series *s, const struct bench_series *base, double target);
/* The median alone has a target, and perhaps an aim beyond it (0: none). */
void bench_goal(struct bench_series *s, double target, double aim);
double bench_median(const struct bench_series *s);
void bench_note(struct bench_run *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* (2): false fails the bench and tells why. Returns ok. */
bool bench_expect(struct bench_run *b, bool ok, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The order of `n` things within a round: another one each round, the same for the same seed. */
void bench_shuffle(struct bench_run *b, int *order, int n);

struct bench_run *bench_run_new(const struct bench *bench, const struct bench_options *o);
void bench_run_free(struct bench_run *b);
bool bench_run_ok(const struct bench_run *b);
void bench_report_text(const struct bench_run *b, FILE *out);
void bench_report_json(const struct bench_run *b, bool first, FILE *out);

/* --- meters (meter.c) ----------------------------------------------------------------------------- */

int64_t bench_now_ns(void);      /* monotonic */
double bench_cpu_s(void);        /* user and system time of this process, all threads */
int64_t bench_rss_bytes(void);   /* /proc/self/statm */
int64_t bench_heap_bytes(void);  /* mallinfo2: what malloc has given out */
int64_t bench_peak_bytes(void);  /* VmHWM */
struct bench_io {
    int64_t wchar, write_bytes; /* /proc/self/io: handed to write(), sent to the disk; -1: not to be had */
};
struct bench_io bench_io_now(void);
double bench_flush_us(const char *folder); /* median of appending 4 KB to a file there and fdatasync */
int64_t bench_file_bytes(const char *path); /* 0 where there is none */
double bench_quantile(double *samples, size_t n, double q); /* sorts them */

/* A fresh folder under options->dir, and what is in it gone again. */
bool bench_folder(struct bench_run *b, char *path, size_t bytes);
void bench_folder_remove(const char *path);

#define BENCH_WHY_MAX 512
/* Fills `out` or says why not. */
typedef bool (*bench_work)(void *arg, void *out, char *why);
/* (1): `work` in a child; its `out` comes back through a pipe. False: told as a failed expectation. */
bool bench_child(struct bench_run *b, bench_work work, void *arg, void *out, size_t bytes);
/* Runs a program, waits for it, gives what it printed (cut at `bytes`). The exit code; -1: not started. */
int bench_program(const char *const *argv, char *printed, size_t bytes);

/* --- the benches -------------------------------------------------------------------------------- */

void bench_create_memory(struct bench_run *b);
void bench_create_durable(struct bench_run *b);
void bench_run_memory(struct bench_run *b);
void bench_run_tool_memory(struct bench_run *b);
void bench_durable(struct bench_run *b);
void bench_run_tool_durable(struct bench_run *b);
void bench_durable25(struct bench_run *b);
void bench_flat(struct bench_run *b);
void bench_cold(struct bench_run *b);
void bench_sampler(struct bench_run *b);
void bench_accounts(struct bench_run *b);
void bench_steady(struct bench_run *b);
void bench_peaks(struct bench_run *b);
void bench_concurrency(struct bench_run *b);
void bench_delayed(struct bench_run *b);
void bench_streams(struct bench_run *b);
void bench_inflight(struct bench_run *b);
void bench_tls(struct bench_run *b);
void bench_cold_host(struct bench_run *b);
void bench_isolation(struct bench_run *b);
void bench_io(struct bench_run *b);
void bench_queue(struct bench_run *b);
void bench_scaling(struct bench_run *b);
void bench_soak(struct bench_run *b);
void bench_cache_coherence(struct bench_run *b);
void bench_cache_end_to_end(struct bench_run *b);
void bench_cache_warm(struct bench_run *b);

#endif
