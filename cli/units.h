/*
 * Numbers for people: bytes and times with units, the marks of an axis, and times as ISO-8601.
 * KB, MB and GB are of 1024, as everywhere in agentctl.
 */
#ifndef AG_CLI_UNITS_H
#define AG_CLI_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#define UNKNOWN INT64_MIN /* a figure that was not measured; growth may be negative, so -1 is a figure */

struct amount { /* a number in words, by value: no caller frees anything */
    char text[32];
};

struct amount amount_bytes(int64_t bytes); /* "512 B", "4.6 MB"; "-" where it is unknown */
struct amount amount_us(int64_t us, bool is_ascii); /* "9 µs", "435 ms", "2m 5s" */
struct amount amount_int(int64_t v);

/* The step between the marks of an axis that spans `range`, with about `most` of them at most; it
 * reads well: 1, 2 or 5 of a unit, and above seconds what clocks have. */
int64_t marks_us(int64_t range, int most);
/* The same for bytes, in the unit that fits `highest`: marks lie at multiples of step * unit. */
struct marks {
    double step, unit;
    int decimals;
    const char *name;
};
struct marks marks_bytes(int64_t range, int64_t highest, int most);
struct amount marks_text(const struct marks *m, double bytes); /* "0", "4.25 MB" */

/* "2026-01-31", "2026-01-31T12:30", …:05, …:05.250, with or without Z; UTC. */
bool units_time(const char *s, int64_t *out_unix_ms);
struct amount amount_time(int64_t unix_ms); /* "2026-01-31T12:30:05.250Z" */

/* Whether the terminal's locale is one of UTF-8. */
bool units_has_utf8(void);

#endif
