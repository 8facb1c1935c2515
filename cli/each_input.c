/*
 * The lines of --each as a stream: one buffer, whatever the size of the file.
 *
 *   (1) Never waits: a pipe with nothing in it answers WAIT, so that runs go on meanwhile.
 *   (2) A line over EACH_LINE_MAX is read past and told as what it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/each.h"
#include "cli/signals.h"

static agent_status read_failed(const struct each_input *in, agent_error *err)
{
    return cli_err(err, AGENT_EIO, errno, "read '%s': %s", in->name, strerror(errno));
}

/* --- a copy that can be read twice ----------------------------------------------------------------------- */

static int nameless_file(agent_error *err)
{
    const char *folder = getenv("TMPDIR");
    char *path = cli_format("%s/agentctl-each-XXXXXX", folder != NULL && *folder != '\0' ? folder : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        cli_err(err, AGENT_EIO, errno, "a file for standard input, '%s': %s", path, strerror(errno));
    else
        (void)unlink(path);
    free(path);
    return fd;
}

static agent_status copy(const struct each_input *in, int to, agent_error *err)
{
    char *piece = cli_alloc(64u << 10);
    agent_status rc = AGENT_OK;

    while (rc == AGENT_OK) {
        ssize_t n = read(in->fd, piece, 64u << 10);

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR && signals_caught() == 0)
            continue;
        if (n < 0)
            rc = errno == EINTR ? cli_err(err, AGENT_ECANCELLED, 0, "cancelled before the first line ran")
                                : read_failed(in, err);
        for (ssize_t at = 0; rc == AGENT_OK && at < n;) {
            ssize_t m = write(to, piece + at, (size_t)(n - at));

            if (m < 0 && errno != EINTR)
                rc = cli_err(err, AGENT_EIO, errno, "keep standard input in a file: %s", strerror(errno));
            at += m > 0 ? m : 0;
        }
    }
    free(piece);
    return rc;
}

/* --- open ------------------------------------------------------------------------------------------------- */

static void look(struct each_input *in)
{
    struct stat st;

    in->is_file = fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode);
    in->bytes = in->is_file ? st.st_size : -1;
}

static int open_failed(struct cli *cli, const char *path)
{
    agent_error err;

    if (errno == ENOENT || errno == ENOTDIR) {
        cli_err(&err, AGENT_ENOTFOUND, errno, "there is no file '%s'", path);
        cli_hint(&err, "--each takes a file with a prompt on each line, or - for standard input");
    } else {
        cli_err(&err, AGENT_EIO, errno, "read '%s': %s", path, strerror(errno));
    }
    return cli_fail(cli, &err);
}

int each_input_open(struct cli *cli, const char *path, bool again, struct each_input *out)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    struct each_input in = {.fd = -1, .name = is_stdin ? "standard input" : path};
    agent_error err = AGENT_ERROR_INIT;
    struct stat st;

    in.fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (in.fd < 0)
        return open_failed(cli, in.name);
    if (fstat(in.fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)close(in.fd);
        errno = EISDIR;
        return open_failed(cli, in.name);
    }
    look(&in);
    if (isatty(in.fd))
        cli_note(cli, "the prompts are read from the terminal, one a line; end them with ^D");
    /* Standard input may be a file that another reader has moved in: its lines are counted from there. */
    if (again && (!in.is_file || is_stdin)) {
        int copied = nameless_file(&err);

        if (copied < 0 || copy(&in, copied, &err) != AGENT_OK || lseek(copied, 0, SEEK_SET) != 0) {
            if (copied >= 0)
                (void)close(copied);
            (void)close(in.fd);
            return err.status == AGENT_ECANCELLED ? (void)cli_fail(cli, &err), EXIT_SIGNAL + signals_caught()
                                                  : cli_fail(cli, &err);
        }
        (void)close(in.fd);
        in.fd = copied;
        look(&in);
    }
    in.cap = 64u << 10;
    in.at = cli_alloc(in.cap);
    *out = in;
    return EXIT_OK;
}

void each_input_drop(struct each_input *in)
{
    if (in->at == NULL)
        return;
    (void)close(in->fd);
    free(in->at);
    *in = (struct each_input){.fd = -1};
}

/* --- lines ------------------------------------------------------------------------------------------------ */

/* More bytes behind those that are there. */
static enum each_next fill(struct each_input *in, agent_error *err)
{
    struct pollfd ready = {.fd = in->fd, .events = POLLIN};
    ssize_t n;

    if (in->from > 0) {
        memmove(in->at, in->at + in->from, in->to - in->from);
        in->to -= in->from;
        in->from = 0;
    }
    if (in->to == in->cap)
        in->at = cli_realloc(in->at, in->cap *= 2);
    if (!in->is_file && poll(&ready, 1, 0) <= 0)
        return EACH_NEXT_WAIT;
    n = read(in->fd, in->at + in->to, in->cap - in->to);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return EACH_NEXT_WAIT;
    if (n < 0) {
        (void)read_failed(in, err);
        return EACH_NEXT_FAILED;
    }
    in->is_ended = n == 0;
    in->to += (size_t)n;
    return EACH_NEXT_LINE;
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            return false;
    return true;
}

enum each_next each_input_next(struct each_input *in, const char **out_line, size_t *out_bytes, int64_t *out_size,
                               agent_error *err)
{
    size_t looked = 0;

    for (;;) {
        char *begin = in->at + in->from;
        size_t there = in->to - in->from;
        char *end = memchr(begin + looked, '\n', there - looked);
        enum each_next next;

        if (end != NULL || (in->is_ended && there > 0)) {
            size_t n = end != NULL ? (size_t)(end - begin) : there;
            const bool was_overlong = in->is_overlong;

            in->from += n + (end != NULL);
            in->number++;
            in->is_overlong = false;
            looked = 0;
            *out_size = (int64_t)(n + (end != NULL));
            if (in->number == 1 && n >= 3 && memcmp(begin, "\xEF\xBB\xBF", 3) == 0) {
                begin += 3;
                n -= 3;
            }
            if (was_overlong || n > EACH_LINE_MAX) {
                *out_line = NULL;
                *out_bytes = 0;
                return EACH_NEXT_LINE;
            }
            if (is_blank(begin, n))
                continue;
            *out_line = begin;
            *out_bytes = n;
            return EACH_NEXT_LINE;
        }
        if (in->is_ended) {
            if (!in->is_overlong)
                return EACH_NEXT_END;
            in->is_overlong = false;
            in->number++;
            *out_line = NULL;
            *out_bytes = 0;
            *out_size = 0;
            return EACH_NEXT_LINE;
        }
        looked = there;
        if (there > EACH_LINE_MAX) { /* its end is all that is still of interest */
            in->is_overlong = true;
            in->from = in->to = 0;
            looked = 0;
        }
        if ((next = fill(in, err)) != EACH_NEXT_LINE)
            return next;
    }
}
