/*
 * Numbers, durations, words and files of a command line.
 */
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void *cli_realloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes == 0 ? 1 : bytes);

    if (q == NULL) {
        static const char text[] = "agentctl: error: out of memory\n";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        _exit(1);
    }
    return q;
}

void *cli_alloc(size_t bytes)
{
    return cli_realloc(NULL, bytes);
}

char *cli_strdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(cli_alloc(n), s, n);
}

char *cli_format(const char *fmt, ...)
{
    va_list ap, again;
    int n;
    char *s;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    s = cli_alloc((size_t)(n < 0 ? 0 : n) + 1);
    s[0] = '\0';
    (void)vsnprintf(s, (size_t)(n < 0 ? 0 : n) + 1, fmt, again);
    va_end(again);
    return s;
}

agent_status cli_err(agent_error *err, agent_status status, int detail, const char *fmt, ...)
{
    va_list ap;

    *err = (agent_error){.status = status, .detail = detail};
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return status;
}

void cli_hint(agent_error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
    va_end(ap);
}

/* --- numbers ----------------------------------------------------------------------------------- */

bool text_int(const char *s, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(s, &end, 10);
    if (end == s || *end != '\0' || errno != 0 || v < min || v > max || *s == ' ' || *s == '+')
        return false;
    *out = v;
    return true;
}

/* "NUMBER UNIT" times the factor of its unit; units are tried in order, "" last. */
struct unit {
    const char *name;
    double factor;
};

static bool with_unit(const char *s, const struct unit *units, int64_t *out)
{
    char *end;
    double v;

    if ((*s < '0' || *s > '9') && *s != '.')
        return false;
    errno = 0;
    v = strtod(s, &end);
    if (end == s || errno != 0 || memchr(s, 'x', (size_t)(end - s)) != NULL)
        return false;
    for (; units->name != NULL; units++)
        if (strcasecmp(end, units->name) == 0) {
            v *= units->factor;
            if (!(v >= 0 && v < 9e15))
                return false;
            *out = (int64_t)(v + 0.5);
            return true;
        }
    return false;
}

bool text_duration(const char *s, int64_t *out_ms)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000}, {"min", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {"", 1000},   {NULL, 0}};

    return with_unit(s, units, out_ms);
}

bool text_size(const char *s, int64_t *out_bytes)
{
    static const struct unit units[] = {{"kb", 1024}, {"k", 1024},       {"mb", 1048576}, {"m", 1048576},
                                        {"b", 1},     {"gb", 1073741824}, {"g", 1073741824}, {"", 1}, {NULL, 0}};

    return with_unit(s, units, out_bytes);
}

bool text_is_word(const char *s, const char *choices, size_t *out_index)
{
    size_t n = strlen(s), index = 0;

    for (const char *p = choices;; index++) {
        size_t len = strcspn(p, "|");

        if (len == n && memcmp(p, s, n) == 0) {
            if (out_index != NULL)
                *out_index = index;
            return true;
        }
        if (p[len] == '\0')
            return false;
        p += len + 1;
    }
}

/* --- files ------------------------------------------------------------------------------------- */

agent_status text_read(const char *path, size_t max, struct text *out, agent_error *err)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    size_t cap = 4096;
    struct text text = {0};
    struct stat st;

    if (fd < 0) {
        int why = errno;

        return cli_err(err, why == ENOENT || why == ENOTDIR ? AGENT_ENOTFOUND : AGENT_EIO, why, "read '%s': %s", path,
                       strerror(why));
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (!is_stdin)
            close(fd);
        return cli_err(err, AGENT_EIO, EISDIR, "read '%s': is a directory", name);
    }
    text.at = cli_alloc(cap + 1);
    for (;;) {
        ssize_t n;

        if (text.bytes == cap)
            text.at = cli_realloc(text.at, (cap *= 2) + 1);
        n = read(fd, text.at + text.bytes, cap - text.bytes);
        if (n == 0)
            break;
        if (n < 0) {
            int why = errno;

            if (!is_stdin)
                close(fd);
            free(text.at);
            if (why == EINTR)
                return cli_err(err, AGENT_ECANCELLED, why, "read '%s': interrupted", name);
            return cli_err(err, AGENT_EIO, why, "read '%s': %s", name, strerror(why));
        }
        text.bytes += (size_t)n;
        if (text.bytes > max) {
            if (!is_stdin)
                close(fd);
            free(text.at);
            return cli_err(err, AGENT_ETOOBIG, 0, "read '%s': over the limit of %zu bytes", name, max);
        }
    }
    if (!is_stdin)
        close(fd);
    text.at[text.bytes] = '\0';
    *out = text;
    return AGENT_OK;
}

agent_status text_argument(const char *arg, size_t max, struct text *out, agent_error *err)
{
    if (strcmp(arg, "-") == 0 || (arg[0] == '@' && arg[1] != '@')) {
        struct text text;
        agent_status rc = text_read(arg[0] == '@' ? arg + 1 : arg, max, &text, err);

        if (rc == AGENT_ENOTFOUND)
            cli_hint(err, "a text that begins with @ names a file; write @@ for an @ itself");
        if (rc != AGENT_OK)
            return rc;
        if (text.bytes > 0 && text.at[text.bytes - 1] == '\n')
            text.bytes--;
        if (text.bytes > 0 && text.at[text.bytes - 1] == '\r')
            text.bytes--;
        text.at[text.bytes] = '\0';
        *out = text;
        return AGENT_OK;
    }
    if (arg[0] == '@')
        arg++;
    out->at = cli_strdup(arg);
    out->bytes = strlen(arg);
    return AGENT_OK;
}
