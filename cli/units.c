/*
 * Numbers for people.
 */
#include "cli/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- amounts -------------------------------------------------------------------------------------------------- */

struct amount amount_bytes(int64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    struct amount a;
    double v = (double)bytes, size = bytes < 0 ? -v : v;
    size_t unit = 0;

    if (bytes == UNKNOWN) {
        (void)snprintf(a.text, sizeof(a.text), "-");
        return a;
    }
    for (; size >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++) { /* 1023.95 would print as 1024.0 */
        size /= 1024;
        v /= 1024;
    }
    (void)snprintf(a.text, sizeof(a.text), unit == 0 || size >= 99.95 ? "%.0f %s" : "%.1f %s", v, units[unit]);
    return a;
}

struct amount amount_us(int64_t us, bool is_ascii)
{
    struct amount a;
    int64_t s;

    if (us == UNKNOWN) {
        (void)snprintf(a.text, sizeof(a.text), "-");
    } else if (us < 1000) {
        (void)snprintf(a.text, sizeof(a.text), "%" PRId64 " %ss", us, is_ascii ? "u" : "µ");
    } else if (us < 9950) {
        (void)snprintf(a.text, sizeof(a.text), "%.1f ms", (double)us / 1e3);
    } else if (us < 999500) {
        (void)snprintf(a.text, sizeof(a.text), "%.0f ms", (double)us / 1e3);
    } else if (us < 9995000) {
        (void)snprintf(a.text, sizeof(a.text), "%.2f s", (double)us / 1e6);
    } else if (us < 59950000) {
        (void)snprintf(a.text, sizeof(a.text), "%.1f s", (double)us / 1e6);
    } else if ((s = (us + 500000) / 1000000) < 3600) {
        (void)snprintf(a.text, sizeof(a.text), "%" PRId64 "m %02" PRId64 "s", s / 60, s % 60);
    } else if (s < 2 * 86400) {
        (void)snprintf(a.text, sizeof(a.text), "%" PRId64 "h %02" PRId64 "m", s / 3600, s / 60 % 60);
    } else {
        (void)snprintf(a.text, sizeof(a.text), "%" PRId64 "d %02" PRId64 "h", s / 86400, s / 3600 % 24);
    }
    return a;
}

struct amount amount_int(int64_t v)
{
    struct amount a;

    (void)snprintf(a.text, sizeof(a.text), v == UNKNOWN ? "-" : "%" PRId64, v);
    return a;
}

/* --- marks of an axis -------------------------------------------------------------------------------------------- */

/* The smallest good step at or above range / most. Steps of the first unit come before those of the next. */
static int64_t first_step(int64_t range, int most, const int64_t *units, size_t count)
{
    static const int64_t steps[] = {1, 2, 5, 10, 20, 50, 100, 200, 500};
    int64_t least = range / (most < 1 ? 1 : most) + (range % (most < 1 ? 1 : most) != 0);

    for (size_t u = 0; u < count; u++)
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
            if (steps[i] * units[u] >= least)
                return steps[i] * units[u];
    return least; /* longer than 500 of the last unit */
}

int64_t marks_us(int64_t range, int most)
{
    static const int64_t small[] = {1, 1000};
    static const int64_t of_time[] = {1000000,   2000000,   5000000,    10000000,   20000000,   30000000,   60000000,
                                      120000000, 300000000, 600000000,  1200000000, 1800000000, 3600000000, 7200000000,
                                      14400000000, 43200000000, 86400000000};
    int64_t step = first_step(range, most, small, 2);

    if (step <= 500000)
        return step;
    for (size_t i = 0; i < sizeof(of_time) / sizeof(of_time[0]); i++)
        if (of_time[i] >= range / (most < 1 ? 1 : most))
            return of_time[i];
    return range / (most < 1 ? 1 : most) / 86400000000 * 86400000000 + 86400000000;
}

struct marks marks_bytes(int64_t range, int64_t highest, int most)
{
    static const char *const names[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    struct marks m = {.unit = 1};
    size_t unit = 0;
    double least;

    for (; (double)highest / m.unit >= 1024 && unit + 1 < sizeof(names) / sizeof(names[0]); unit++)
        m.unit *= 1024;
    m.name = names[unit];
    least = (double)range / m.unit / (most < 1 ? 1 : most);
    for (m.step = 1; unit > 0 && m.step > least && m.decimals < 6; m.step /= 10)
        m.decimals++;
    while (m.step < least) /* 1, 2, 5, 10, 20 … */
        if (m.step * 2 >= least)
            m.step *= 2;
        else if (m.step * 5 >= least)
            m.step *= 5;
        else
            m.step *= 10;
    while (m.decimals > 0 && fabs(m.step * pow(10, m.decimals - 1) - round(m.step * pow(10, m.decimals - 1))) < 1e-9)
        m.decimals--;
    return m;
}

struct amount marks_text(const struct marks *m, double bytes)
{
    struct amount a;

    if (fabs(bytes) < m->unit * m->step / 1000)
        (void)snprintf(a.text, sizeof(a.text), "0");
    else
        (void)snprintf(a.text, sizeof(a.text), "%.*f %s", m->decimals, bytes / m->unit, m->name);
    return a;
}

/* --- times --------------------------------------------------------------------------------------------------------- */

bool units_time(const char *s, int64_t *out_unix_ms)
{
    struct tm tm = {0};
    int used = 0, more = 0, ms = 0;
    time_t seconds;

    if (sscanf(s, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &used) != 3 || used != 10)
        return false;
    s += used;
    if (*s == 'T' || *s == ' ') {
        if (sscanf(++s, "%2d:%2d%n", &tm.tm_hour, &tm.tm_min, &used) != 2 || used != 5)
            return false;
        s += used;
        if (*s == ':') {
            if (sscanf(s, ":%2d%n", &tm.tm_sec, &used) != 1 || used != 3)
                return false;
            s += used;
        }
        if (*s == '.') {
            if (sscanf(s, ".%3d%n", &ms, &more) != 1 || more != 4)
                return false;
            s += more;
        }
    }
    if (*s == 'Z')
        s++;
    if (*s != '\0' || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_hour < 0 || tm.tm_min > 59 || tm.tm_min < 0 || tm.tm_sec > 60 || tm.tm_sec < 0 || ms < 0 || tm.tm_year < 1970)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    seconds = timegm(&tm);
    *out_unix_ms = (int64_t)seconds * 1000 + ms;
    return true;
}

struct amount amount_time(int64_t unix_ms)
{
    struct amount a = {"-"};
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    size_t n;

    if (unix_ms == UNKNOWN || gmtime_r(&seconds, &tm) == NULL)
        return a;
    n = strftime(a.text, sizeof(a.text), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(a.text + n, sizeof(a.text) - n, ".%03dZ", (int)(unix_ms % 1000));
    return a;
}

/* The first that is set and not empty decides, as in setlocale(3). */
bool units_has_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);

        if (value != NULL && *value != '\0')
            return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}
