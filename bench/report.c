/*
 * Series, and how they are told: a table for people, JSON with the raw samples for programs.
 */
#include "bench/bench.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define BASES_MAX 4

struct bench_series {
    struct bench_series *next;
    char name[80];
    const char *unit;
    enum bench_better better;
    double *samples;
    size_t count, room;
    struct base {
        const struct bench_series *series;
        double target; /* 0: none */
    } bases[BASES_MAX];
    int base_count;
    double target, aim; /* 0: none */
};

struct line {
    struct line *next;
    char text[BENCH_WHY_MAX + 64];
};

struct bench_run {
    const struct bench *bench;
    const struct bench_options *options;
    struct bench_series *series, **series_end;
    struct line *notes, **notes_end;
    struct line *wrong, **wrong_end;
    uint64_t random;
};

static void *need(void *p)
{
    if (p == NULL) {
        fputs("agent-bench: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

struct bench_run *bench_run_new(const struct bench *bench, const struct bench_options *o)
{
    struct bench_run *b = need(calloc(1, sizeof(*b)));

    b->bench = bench;
    b->options = o;
    b->series_end = &b->series;
    b->notes_end = &b->notes;
    b->wrong_end = &b->wrong;
    b->random = o->seed;
    return b;
}

static void free_lines(struct line *l)
{
    while (l != NULL) {
        struct line *next = l->next;

        free(l);
        l = next;
    }
}

void bench_run_free(struct bench_run *b)
{
    if (b == NULL)
        return;
    while (b->series != NULL) {
        struct bench_series *s = b->series;

        b->series = s->next;
        free(s->samples);
        free(s);
    }
    free_lines(b->notes);
    free_lines(b->wrong);
    free(b);
}

bool bench_run_ok(const struct bench_run *b)
{
    return b->wrong == NULL;
}

const struct bench_options *bench_opts(const struct bench_run *b)
{
    return b->options;
}

long bench_size(const struct bench_run *b, long full, long quick)
{
    return b->options->quick ? quick : full;
}

int bench_rounds(const struct bench_run *b, int full)
{
    return b->options->rounds > 0 ? b->options->rounds : b->options->quick ? 2 : full;
}

struct bench_series *bench_series(struct bench_run *b, enum bench_better better, const char *unit, const char *name,
                                  ...)
{
    struct bench_series *s = need(calloc(1, sizeof(*s)));
    va_list args;

    va_start(args, name);
    (void)vsnprintf(s->name, sizeof(s->name), name, args);
    va_end(args);
    s->unit = unit;
    s->better = better;
    *b->series_end = s;
    b->series_end = &s->next;
    return s;
}

void bench_add(struct bench_series *s, double sample)
{
    if (s->count == s->room) {
        s->room = s->room != 0 ? s->room * 2 : 16;
        s->samples = need(realloc(s->samples, s->room * sizeof(*s->samples)));
    }
    s->samples[s->count++] = sample;
}

void bench_ratio(struct bench_series *s, const struct bench_series *base, double target)
{
    assert(s->base_count < BASES_MAX);
    s->bases[s->base_count++] = (struct base){base, target};
}

void bench_goal(struct bench_series *s, double target, double aim)
{
    s->target = target;
    s->aim = aim;
}

static void __attribute__((format(printf, 2, 0))) add_line(struct line ***end, const char *format, va_list args)
{
    struct line *l = need(calloc(1, sizeof(*l)));

    (void)vsnprintf(l->text, sizeof(l->text), format, args);
    **end = l;
    *end = &l->next;
}

void bench_note(struct bench_run *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add_line(&b->notes_end, format, args);
    va_end(args);
}

bool bench_expect(struct bench_run *b, bool ok, const char *format, ...)
{
    va_list args;

    if (ok)
        return true;
    va_start(args, format);
    add_line(&b->wrong_end, format, args);
    va_end(args);
    return false;
}

/* splitmix64 */
static uint64_t next_random(struct bench_run *b)
{
    uint64_t z = b->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void bench_shuffle(struct bench_run *b, int *order, int n)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int k = (int)(next_random(b) % (uint64_t)(i + 1)), swap = order[i];

        order[i] = order[k];
        order[k] = swap;
    }
}

/* --- figures ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_quantile(double *samples, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t low = (size_t)at;

    if (n == 0)
        return NAN;
    qsort(samples, n, sizeof(*samples), compare);
    return low + 1 < n ? samples[low] + (samples[low + 1] - samples[low]) * (at - (double)low) : samples[n - 1];
}

struct spread {
    double low, median, high; /* quartiles */
    double least, most;
};

static struct spread spread_of(const double *samples, size_t n)
{
    struct spread p = {NAN, NAN, NAN, NAN, NAN};
    double *copy;

    if (n == 0)
        return p;
    copy = need(malloc(n * sizeof(*copy)));
    memcpy(copy, samples, n * sizeof(*copy));
    p.median = bench_quantile(copy, n, 0.5);
    p.low = bench_quantile(copy, n, 0.25);
    p.high = bench_quantile(copy, n, 0.75);
    p.least = copy[0];
    p.most = copy[n - 1];
    free(copy);
    return p;
}

double bench_median(const struct bench_series *s)
{
    return spread_of(s->samples, s->count).median;
}

/* (3); where the rounds do not match, the ratio of the medians. */
static double ratio_of(const struct bench_series *s, const struct bench_series *base)
{
    double *ratios, r;

    if (s->count == 0 || base->count == 0)
        return NAN;
    if (s->count != base->count)
        return bench_median(s) / bench_median(base);
    ratios = need(malloc(s->count * sizeof(*ratios)));
    for (size_t i = 0; i < s->count; i++)
        ratios[i] = s->samples[i] / base->samples[i];
    r = bench_quantile(ratios, s->count, 0.5);
    free(ratios);
    return r;
}

enum verdict { MISSED, REACHED, NOT_MEASURED };

static enum verdict judge(enum bench_better better, double value, double target)
{
    if (isnan(value))
        return NOT_MEASURED;
    return (better == BENCH_LESS ? value <= target : value >= target) ? REACHED : MISSED;
}

static const char *const verdict_words[] = {"MISSED", "reached", "not measured"};
static const char *const verdict_json[] = {"false", "true", "null"};

/* --- for people ---------------------------------------------------------------------------------- */

/* Four significant digits, thousands apart from each other: 11,700 · 0.262 · 1,024,000 */
static const char *figure(double v, char *text, size_t bytes)
{
    char digits[64];
    size_t n, lead, at = 0;

    if (isnan(v))
        return "-";
    if (fabs(v) < 1000.0) {
        int places = fabs(v) >= 100.0 ? 1 : fabs(v) >= 10.0 ? 2 : 3;

        (void)snprintf(text, bytes, "%.*f", v == floor(v) ? 0 : places, v);
        return text;
    }
    (void)snprintf(digits, sizeof(digits), "%.0f", v);
    n = strlen(digits);
    lead = n % 3;
    for (size_t i = 0; i < n && at + 2 < bytes; i++) {
        if (i > 0 && i % 3 == lead)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

void bench_report_text(const struct bench_run *b, FILE *out)
{
    char t[5][64];

    fprintf(out, "\n%s: %s\n", b->bench->name, b->bench->what);
    fprintf(out, "  %-44s %14s  %-10s %22s %3s\n", "", "median", "unit", "quartiles", "n");
    for (const struct bench_series *s = b->series; s != NULL; s = s->next) {
        struct spread p = spread_of(s->samples, s->count);
        char quartiles[140];

        if (s->count == 0)
            continue;
        (void)snprintf(quartiles, sizeof(quartiles), "%s .. %s", figure(p.low, t[1], sizeof(t[1])),
                       figure(p.high, t[2], sizeof(t[2])));
        fprintf(out, "  %-44s %14s  %-10s %22s %3zu\n", s->name, figure(p.median, t[0], sizeof(t[0])), s->unit,
                s->count > 1 ? quartiles : "", s->count);
        if (s->target > 0)
            fprintf(out, "      %s %s %s: %s\n", s->better == BENCH_LESS ? "at most" : "at least",
                    figure(s->target, t[0], sizeof(t[0])), s->unit,
                    verdict_words[judge(s->better, p.median, s->target)]);
        if (s->aim > 0)
            fprintf(out, "      aim %s: %s\n", figure(s->aim, t[0], sizeof(t[0])),
                    judge(s->better, p.median, s->aim) == REACHED ? "reached" : "not yet");
        for (int i = 0; i < s->base_count; i++) {
            double r = ratio_of(s, s->bases[i].series), target = s->bases[i].target;

            if (isnan(r)) /* the baseline is not there */
                continue;
            fprintf(out, "      %.2f x %s", r, s->bases[i].series->name);
            if (target > 0)
                fprintf(out, " (%s %.2f: %s)", s->better == BENCH_LESS ? "at most" : "at least", target,
                        verdict_words[judge(s->better, r, target)]);
            fputc('\n', out);
        }
    }
    for (const struct line *l = b->notes; l != NULL; l = l->next)
        fprintf(out, "  note: %s\n", l->text);
    for (const struct line *l = b->wrong; l != NULL; l = l->next)
        fprintf(out, "  WRONG: %s\n", l->text);
    fflush(out);
}

/* --- for programs ---------------------------------------------------------------------------------- */

static void json_text(const char *s, FILE *out)
{
    fputc('"', out);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void json_number(double v, FILE *out)
{
    if (isnan(v) || isinf(v))
        fputs("null", out);
    else
        fprintf(out, "%.9g", v);
}

static void json_field(const char *name, double v, FILE *out)
{
    fprintf(out, ",\"%s\":", name);
    json_number(v, out);
}

static void json_lines(const char *name, const struct line *l, FILE *out)
{
    fprintf(out, ",\"%s\":[", name);
    for (const struct line *at = l; at != NULL; at = at->next) {
        if (at != l)
            fputc(',', out);
        json_text(at->text, out);
    }
    fputc(']', out);
}

void bench_report_json(const struct bench_run *b, bool first, FILE *out)
{
    static const char *const better[] = {"less", "more", "neither"};

    fprintf(out, "%s{\"name\":", first ? "" : ",");
    json_text(b->bench->name, out);
    fputs(",\"what\":", out);
    json_text(b->bench->what, out);
    fprintf(out, ",\"ok\":%s,\"series\":[", b->wrong == NULL ? "true" : "false");
    for (const struct bench_series *s = b->series; s != NULL; s = s->next) {
        struct spread p = spread_of(s->samples, s->count);

        fprintf(out, "%s{\"name\":", s != b->series ? "," : "");
        json_text(s->name, out);
        fprintf(out, ",\"unit\":\"%s\",\"better\":\"%s\"", s->unit, better[s->better]);
        json_field("median", p.median, out);
        json_field("quartile_low", p.low, out);
        json_field("quartile_high", p.high, out);
        json_field("least", p.least, out);
        json_field("most", p.most, out);
        if (s->target > 0) {
            json_field("target", s->target, out);
            fprintf(out, ",\"reached\":%s", verdict_json[judge(s->better, p.median, s->target)]);
        }
        if (s->aim > 0)
            json_field("aim", s->aim, out);
        fputs(",\"ratios\":[", out);
        for (int i = 0; i < s->base_count; i++) {
            double r = ratio_of(s, s->bases[i].series);

            fprintf(out, "%s{\"baseline\":", i > 0 ? "," : "");
            json_text(s->bases[i].series->name, out);
            json_field("ratio", r, out);
            if (s->bases[i].target > 0) {
                json_field("target", s->bases[i].target, out);
                fprintf(out, ",\"reached\":%s", verdict_json[judge(s->better, r, s->bases[i].target)]);
            }
            fputc('}', out);
        }
        fputs("],\"samples\":[", out);
        for (size_t i = 0; i < s->count; i++) {
            if (i > 0)
                fputc(',', out);
            json_number(s->samples[i], out);
        }
        fputs("]}", out);
    }
    fputc(']', out);
    json_lines("notes", b->notes, out);
    json_lines("wrong", b->wrong, out);
    fputs("}\n", out);
    fflush(out);
}
