#include "engine/base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t system_unix_ms(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_mono_ns(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t ag_unix_tick_ms(const ag_clock *c)
{
    struct timespec ts;

    if (c->unix_ms != system_unix_ms)
        return ag_unix_ms(c);
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const ag_clock ag_clock_system = {system_unix_ms, system_mono_ns, NULL};

static char *digits(char *to, int value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
    return to + count;
}

void ag_iso8601(int64_t unix_ms, char *text)
{
    time_t s = (time_t)(unix_ms / 1000);
    int ms = (int)(unix_ms % 1000);
    struct tm tm;

    if (ms < 0) {
        ms += 1000;
        s--;
    }
    if (gmtime_r(&s, &tm) == NULL || tm.tm_year > 8099 || tm.tm_year < -1900) {
        (void)snprintf(text, 32, "invalid");
        return;
    }
    text = digits(text, tm.tm_year + 1900, 4);
    *text++ = '-';
    text = digits(text, tm.tm_mon + 1, 2);
    *text++ = '-';
    text = digits(text, tm.tm_mday, 2);
    *text++ = 'T';
    text = digits(text, tm.tm_hour, 2);
    *text++ = ':';
    text = digits(text, tm.tm_min, 2);
    *text++ = ':';
    text = digits(text, tm.tm_sec, 2);
    *text++ = '.';
    text = digits(text, ms, 3);
    *text++ = 'Z';
    *text = '\0';
}
