/*
 * The buffer in front of stdout.
 */
#include "cli/out.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/text.h"

#define FLUSH_BYTES (64u << 10) /* long lists leave in pieces of this size */

void out_init(struct out *out, int fd)
{
    *out = (struct out){.fd = fd, .is_tty = isatty(fd) != 0};
    if (out->is_tty) {
        const char *term = getenv("TERM");
        const char *none = getenv("NO_COLOR");

        out->has_colour = (none == NULL || *none == '\0') && term != NULL && strcmp(term, "dumb") != 0;
    }
}

void out_drop(struct out *out)
{
    free(out->at);
    *out = (struct out){.fd = -1};
}

void out_flush(struct out *out)
{
    const char *p = out->at;
    size_t left = out->bytes;

    while (left > 0 && !out->is_closed && out->error == 0) {
        ssize_t n = write(out->fd, p, left);

        if (n >= 0) {
            p += n;
            left -= (size_t)n;
        } else if (errno == EPIPE) {
            out->is_closed = true;
        } else if (errno == EAGAIN) { /* a pipe that somebody made non-blocking */
            struct pollfd ready = {.fd = out->fd, .events = POLLOUT};

            (void)poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            out->error = errno;
        }
    }
    out->bytes = 0;
}

void out_bytes(struct out *out, const char *p, size_t n)
{
    if (out->is_closed || out->error != 0 || n == 0)
        return;
    if (out->bytes + n > FLUSH_BYTES && !out->is_held)
        out_flush(out);
    if (out->bytes + n > out->cap) {
        out->cap = 2 * (out->bytes + n) > 4096 ? 2 * (out->bytes + n) : 4096;
        out->at = cli_realloc(out->at, out->cap);
    }
    memcpy(out->at + out->bytes, p, n);
    out->bytes += n;
}

void out_text(struct out *out, const char *s)
{
    out_bytes(out, s, strlen(s));
}

void out_fmt(struct out *out, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n < sizeof(small)) {
        out_bytes(out, small, (size_t)n);
    } else {
        char *large = cli_alloc((size_t)n + 1);

        va_start(ap, fmt);
        (void)vsnprintf(large, (size_t)n + 1, fmt, ap);
        va_end(ap);
        out_bytes(out, large, (size_t)n);
        free(large);
    }
}

void out_foreign(struct out *out, const char *p, size_t n)
{
    size_t from = 0;

    if (!out->is_tty) {
        out_bytes(out, p, n);
        return;
    }
    /* An escape sequence in an answer must not move the cursor or set the title. C1 controls come
     * as 0xC2 0x80..0x9F. */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bool is_c1 = c == 0xC2 && i + 1 < n && (unsigned char)p[i + 1] >= 0x80 && (unsigned char)p[i + 1] < 0xA0;

        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F || is_c1) {
            out_bytes(out, p + from, i - from);
            i += is_c1 ? 1 : 0;
            from = i + 1;
        }
    }
    out_bytes(out, p + from, n - from);
}

int out_columns(const struct out *out)
{
    struct winsize size = {0};

    if (!out->is_tty)
        return 0;
    return ioctl(out->fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}
