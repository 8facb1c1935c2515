/*
 * `pattern`: POSIX extended regular expressions, as the C library has them.
 *
 * Schemas are mostly written for ECMA's dialect. Where both agree the pattern is used; where the
 * same letters would mean something else here, it is refused with the way to write it, for a
 * pattern that quietly matches the wrong texts is worse than none.
 *
 *  (1) No back references: with them matching may take exponential time, without them it does not.
 *  (2) The automaton is bounded before it is built: a{1,200}{1,200} is 40,000 states, and
 *      regcomp() would build them all. It also builds X+ as XX*, so a+++… doubles with each sign.
 *  (3) A character is a character, not a byte, where the system has the C.UTF-8 locale.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/tool/schema.h"

struct scan {
    const char *at;
    int depth;
    const char *wrong; /* NULL: nothing so far */
};

static size_t bounded(size_t n)
{
    return n > AG_PATTERN_STATES ? AG_PATTERN_STATES + 1 : n;
}

/* Behind "[": to behind its "]". What is not closed regcomp() will tell. */
static void scan_bracket(struct scan *s)
{
    if (*s->at == '^')
        s->at++;
    if (*s->at == ']')
        s->at++;
    while (*s->at != '\0' && *s->at != ']') {
        if (*s->at == '[' && (s->at[1] == ':' || s->at[1] == '.' || s->at[1] == '=')) {
            char close[3] = {s->at[1], ']', '\0'};
            const char *end = strstr(s->at + 2, close);

            s->at = end == NULL ? s->at + strlen(s->at) : end + 2;
            continue;
        }
        if (*s->at == '\\') { /* "[\\]" is a backslash in both dialects */
            if (s->at[1] != '\\') {
                s->wrong = "a backslash in [] is a plain character in POSIX: put \"]\" first, \"-\" last, others as they are";
                return;
            }
            s->at++;
        }
        s->at++;
    }
    if (*s->at == ']')
        s->at++;
}

/* Behind "\". */
static void scan_escape(struct scan *s)
{
    char c = *s->at;

    if (c >= '0' && c <= '9')
        s->wrong = "back references are not supported";
    else if (c == 'd' || c == 'D')
        s->wrong = "\\d is not POSIX: write [0-9], or [^0-9] for \\D";
    else if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && strchr("wWsSbB", c) == NULL)
        s->wrong = "only \\w \\W \\s \\S \\b \\B are known of backslash and letter: write the character itself";
    else if (c != '\0')
        s->at++;
}

/* Behind "{": the number of copies, 1 where it is no interval (then it is for regcomp() to judge). */
static size_t scan_interval(struct scan *s)
{
    const char *p = s->at;
    size_t least = 0, most;

    for (; *p >= '0' && *p <= '9'; p++)
        least = bounded(least * 10 + (size_t)(*p - '0'));
    most = least;
    if (*p == ',') {
        p++;
        if (*p >= '0' && *p <= '9')
            most = 0;
        for (; *p >= '0' && *p <= '9'; p++)
            most = bounded(most * 10 + (size_t)(*p - '0'));
    }
    if (*p != '}')
        return 1;
    s->at = p + 1;
    return most > least ? most : least + 1;
}

/* States up to the end or the ")" that closes this group. */
static size_t scan_group(struct scan *s)
{
    size_t total = 0, last = 0; /* last: of the atom that an interval would repeat */

    while (*s->at != '\0' && *s->at != ')' && s->wrong == NULL) {
        char c = *s->at++;

        if (c == '{' || c == '+') {
            size_t copies = c == '+' ? 2 : scan_interval(s);

            total = bounded(total + last * (copies - 1));
            last = bounded(last * copies);
            continue;
        }
        if (c == '*' || c == '?')
            continue;
        last = 1;
        if (c == '[') {
            scan_bracket(s);
        } else if (c == '\\') {
            scan_escape(s);
        } else if (c == '(') {
            if (*s->at == '?') {
                s->wrong = "(?…) is not POSIX: a plain ( ) does for grouping";
            } else if (++s->depth > AG_PATTERN_DEPTH) {
                s->wrong = "its groups are nested too deeply";
            } else {
                last = scan_group(s) + 1;
                s->depth--;
                if (*s->at == ')')
                    s->at++;
            }
        }
        total = bounded(total + last);
    }
    return total;
}

static const char *objection(const char *text)
{
    struct scan s = {.at = text};
    size_t states;

    if (strlen(text) > AG_PATTERN_BYTES)
        return "it is too long: at most 512 bytes";
    states = scan_group(&s);
    if (s.wrong == NULL && *s.at == ')')
        return "a \")\" without its \"(\": write \\) for the character";
    if (s.wrong == NULL && states > AG_PATTERN_STATES)
        return "its repetitions multiply to more than 4000 characters: use * and maxLength instead";
    return s.wrong;
}

agent_status ag_pattern_compile(struct ag_schema *s, const char *text, const struct ag_place *place,
                                struct ag_pattern **out, agent_error *err)
{
    const char *wrong = objection(text);
    struct ag_pattern *p;
    char at[160], why[160];
    locale_t hosts;
    int rc;

    ag_place_text(place, at, sizeof(at));
    if (wrong != NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "schema %s: pattern \"%.80s\": %s", at, text, wrong);
    if (s->letters == (locale_t)0 && /* (3) */
        (s->letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)) == (locale_t)0)
        s->letters = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
    if (s->letters == (locale_t)0 || (p = ag_calloc(1, sizeof(*p))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "schema: out of memory");
    hosts = uselocale(s->letters);
    rc = regcomp(&p->re, text, REG_EXTENDED | REG_NOSUB);
    (void)uselocale(hosts);
    if (rc != 0) {
        (void)regerror(rc, &p->re, why, sizeof(why));
        ag_free(p);
        return ag_fail(err, rc == REG_ESPACE ? AGENT_ENOMEM : AGENT_EINVAL, 0,
                       "schema %s: pattern \"%.80s\": %s", at, text, why);
    }
    p->text = text;
    p->next = s->patterns;
    s->patterns = p;
    *out = p;
    return AGENT_OK;
}

int ag_pattern_matches(const struct ag_schema *s, const struct ag_pattern *p, const char *text)
{
    locale_t hosts = uselocale(s->letters); /* of this thread only */
    int rc = regexec(&p->re, text, 0, NULL, 0);

    (void)uselocale(hosts);
    return rc == 0 ? 1 : rc == REG_ESPACE ? -1 : 0;
}

void ag_pattern_free_all(struct ag_schema *s)
{
    while (s->patterns != NULL) {
        struct ag_pattern *p = s->patterns;

        s->patterns = p->next;
        regfree(&p->re);
        ag_free(p);
    }
    if (s->letters != (locale_t)0)
        freelocale(s->letters);
}
