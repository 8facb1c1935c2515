/*
 * --out: lines of results that only ever grow at the end.
 *
 *   (1) One writer: the file is locked for as long as the batch runs.
 *   (2) A line that was cut off by a crash is at the end; it is taken away before anything is added.
 *       Anything else that is no result of ours is not touched: the batch refuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/drive.h"
#include "cli/each.h"
#include "cli/signals.h"

#define LOCK_LOOKS 40 /* of 50 ms */
#define ROW_BEGINS "{\"id\":"
#define ROW_BEGINS_BYTES (sizeof(ROW_BEGINS) - 1)

/* --- what is there ------------------------------------------------------------------------------------------ */

static void mark(struct each_out *out, int64_t line)
{
    size_t at = (size_t)line / 8;

    if (at >= out->done_bytes) {
        size_t room = out->done_bytes == 0 ? 4096 : out->done_bytes;

        while (room <= at)
            room *= 2;
        out->done = cli_realloc(out->done, room);
        memset(out->done + out->done_bytes, 0, room - out->done_bytes);
        out->done_bytes = room;
    }
    out->done[at] |= (unsigned char)(1u << line % 8);
}

bool each_out_has(const struct each_out *out, int64_t line)
{
    size_t at = (size_t)line / 8;

    return at < out->done_bytes && (out->done[at] >> line % 8 & 1) != 0;
}

/* A result as each_put_result() writes it. False: it is none. */
static bool take_row(struct each_out *out, const char *text, size_t bytes)
{
    json_t *row = json_loadb(text, bytes, 0, NULL);
    const json_t *line = json_object_get(row, "line"), *run = json_object_get(row, "run");
    const char *status = json_string_value(json_object_get(row, "status"));
    const bool is_good = json_is_integer(line) && json_integer_value(line) > 0 && run != NULL && status != NULL &&
                         json_integer_value(line) < INT64_C(1) << 40;

    if (is_good) {
        mark(out, json_integer_value(line));
        out->rows++;
        out->failed += strcmp(status, "succeeded") != 0;
        if (json_is_integer(run)) {
            out->last_run = json_integer_value(run);
            out->first_run = out->first_run != 0 ? out->first_run : out->last_run;
        }
    }
    json_decref(row);
    return is_good;
}

static agent_status read_rows(struct each_out *out, agent_error *err)
{
    FILE *file = fdopen(fcntl(out->fd, F_DUPFD_CLOEXEC, 3), "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int64_t number = 0;
    agent_status rc = AGENT_OK;

    if (file == NULL)
        return cli_err(err, AGENT_EIO, errno, "read '%s': %s", out->path, strerror(errno));
    (void)fseek(file, 0, SEEK_SET);
    while (rc == AGENT_OK && (n = getline(&line, &cap, file)) > 0) {
        bool is_last;
        int c;

        if (line[n - 1] != '\n')
            break; /* torn */
        number++;
        if (take_row(out, line, (size_t)n)) {
            out->good_bytes += n;
            continue;
        }
        is_last = (c = getc(file)) == EOF;
        if (is_last && number > 1)
            break; /* after a power cut a line may be there with other bytes in it */
        rc = cli_err(err, AGENT_EINVAL, 0, "'%s' is no file of results: its line %lld is none", out->path,
                     (long long)number);
        cli_hint(err, "give --out a file that is not there yet");
    }
    if (rc == AGENT_OK && ferror(file))
        rc = cli_err(err, AGENT_EIO, errno, "read '%s': %s", out->path, strerror(errno));
    if (rc == AGENT_OK && number == 0 && n > 0 && strncmp(line, ROW_BEGINS, (size_t)n < ROW_BEGINS_BYTES ? (size_t)n : ROW_BEGINS_BYTES) != 0) {
        rc = cli_err(err, AGENT_EINVAL, 0, "'%s' is no file of results", out->path);
        cli_hint(err, "give --out a file that is not there yet");
    }
    free(line);
    (void)fclose(file);
    return rc;
}

/* --- open ---------------------------------------------------------------------------------------------------- */

static int refuse_file(struct cli *cli, const char *path, const char *why, const char *hint)
{
    agent_error err;

    cli_err(&err, AGENT_EINVAL, 0, "--out '%s' %s", path, why);
    cli_hint(&err, "%s", hint);
    return cli_fail(cli, &err);
}

/* A process that was killed just now may still be on its way out: it is given a moment. */
static bool lock_file(int fd)
{
    for (int looks = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; looks++) {
        if (looks == LOCK_LOOKS || (errno != EWOULDBLOCK && errno != EINTR) || signals_caught() != 0)
            return false;
        (void)poll(NULL, 0, 50);
    }
    return true;
}

int each_out_open(struct cli *cli, const char *path, const struct each_input *in, struct each_out *out)
{
    agent_error err = AGENT_ERROR_INIT;
    struct stat st, of_input;

    /* Not to be made first and then refused: what is there and is no file is looked at before. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse_file(cli, path, "is no regular file", "without --out the results go to standard output");
    out->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out->fd < 0) {
        cli_err(&err, errno == ENOENT ? AGENT_ENOTFOUND : AGENT_EIO, errno,
                errno == ENOENT ? "there is no folder for --out '%s'" : "--out '%s' cannot be opened for writing", path);
        if (errno == ENOENT)
            cli_hint(&err, "mkdir -p \"$(dirname %s)\"", path);
        else
            cli_hint(&err, "%s", strerror(errno));
        return cli_fail(cli, &err);
    }
    if (fstat(out->fd, &st) == 0 && fstat(in->fd, &of_input) == 0 && st.st_dev == of_input.st_dev &&
        st.st_ino == of_input.st_ino)
        return refuse_file(cli, path, "is the input itself", "give --out another file");
    if ((out->path = realpath(path, NULL)) == NULL)
        out->path = cli_strdup(path);
    if (!lock_file(out->fd)) {
        cli_err(&err, AGENT_EBUSY, errno, "another agentctl is writing '%s'", out->path);
        cli_hint(&err, "wait until it has ended, or give --out another file");
        return cli_fail(cli, &err);
    }
    return read_rows(out, &err) == AGENT_OK ? EXIT_OK : cli_fail(cli, &err);
}

void each_out_drop(struct each_out *out)
{
    if (out->fd >= 0)
        (void)close(out->fd);
    free(out->path);
    free(out->done);
    *out = (struct each_out){.fd = -1};
}

void each_out_forget(struct each_out *out)
{
    free(out->done);
    out->done = NULL;
    out->done_bytes = 0;
    out->rows = out->failed = out->first_run = out->last_run = out->good_bytes = 0;
}

/* --- writing -------------------------------------------------------------------------------------------------- */

agent_status each_out_write(struct each_out *out, const char *p, size_t n, agent_error *err)
{
    const int64_t whole = out->good_bytes;

    if (!out->is_cut && ftruncate(out->fd, out->good_bytes) != 0)
        return cli_err(err, AGENT_EIO, errno, "cut '%s': %s", out->path, strerror(errno));
    out->is_cut = true;
    while (n > 0) {
        ssize_t m = write(out->fd, p, n);

        if (m < 0 && errno == EINTR)
            continue;
        if (m < 0) {
            cli_err(err, AGENT_EIO, errno, "write '%s': %s", out->path, strerror(errno));
            out->is_broken = true; /* nothing may come behind half a line */
            (void)!ftruncate(out->fd, whole);
            cli_hint(err, "make room, then the same command goes on with what is missing");
            return err->status;
        }
        p += m;
        n -= (size_t)m;
        out->good_bytes += m;
    }
    return AGENT_OK;
}

void each_put_result(struct out *to, const char *id, int64_t line, const agent_run_result *r, const agent_error *err)
{
    const char *status = r == NULL ? "failed" : r->status;
    const bool has_run = r != NULL && r->run.id != 0;

    put_open(to, '{');
    put_key(to, "id");
    put_embed(to, id);
    put_key(to, "line");
    put_int(to, line);
    put_key(to, "run");
    put_unknown(to, has_run ? r->run.id : -1);
    put_key(to, "session");
    put_unknown(to, has_run && r->session.id != 0 ? r->session.id : -1);
    put_key(to, "status");
    put_str(to, status);
    put_key(to, "output");
    if (has_run && (r->output_bytes > 0 || strcmp(status, "succeeded") == 0))
        put_strn(to, r->output, r->output_bytes);
    else
        put_null(to);
    drive_put_error(to, err);
    put_key(to, "input_tokens");
    put_unknown(to, has_run ? r->input_tokens : -1);
    put_key(to, "output_tokens");
    put_unknown(to, has_run ? r->output_tokens : -1);
    put_key(to, "wall_ms");
    put_unknown(to, has_run ? r->wall_ms : -1);
    put_key(to, "cache_hit");
    put_unknown(to, has_run ? r->cache_hit : -1);
    put_close(to, '{');
    put_line(to);
}
