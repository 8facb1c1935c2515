/*
 * What tells two files apart: a host that goes on with a batch asks whether its input is the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <agent/engine.h>

#include "engine/base/err.h"
#include "engine/base/sha256.h"

struct source {
    int fd, error;
    off_t at;
};

static int64_t more(void *ctx, unsigned char *buf, size_t room)
{
    struct source *source = ctx;
    ssize_t n;

    do
        n = pread(source->fd, buf, room, source->at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        source->error = errno;
    else
        source->at += n;
    return n;
}

agent_status agent_sha256_fd(int fd, char out_hex[65], agent_error *err)
{
    struct source source = {.fd = fd};
    unsigned char hash[AG_SHA256_BYTES];

    if (out_hex == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "sha256: out_hex is needed");
    if (!ag_sha256_stream(more, &source, hash)) {
        if (source.error != 0)
            return ag_fail(err, AGENT_EIO, source.error, "sha256: read: %s", strerror(source.error));
        ag_fail(err, AGENT_EIO, 0, "sha256: libcrypto cannot be loaded");
        ag_hint(err, "install OpenSSL's libcrypto (Debian: libssl3)");
        return AGENT_EIO;
    }
    for (size_t i = 0; i < sizeof(hash); i++)
        (void)snprintf(out_hex + 2 * i, 3, "%02x", hash[i]);
    return AGENT_OK;
}
