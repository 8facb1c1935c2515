/* SHA-256 from the system's libcrypto, which is loaded when it is first wanted and never linked. */
#ifndef AG_BASE_SHA256_H
#define AG_BASE_SHA256_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/str.h"

#define AG_SHA256_BYTES 32

/* Hashes `bytes` bytes into out; NULL: it could not. */
typedef unsigned char *(*ag_sha256_fn)(const unsigned char *data, size_t bytes, unsigned char *out);

/* For many hashes in a row. NULL: libcrypto is not there. Thread-safe. */
ag_sha256_fn ag_sha256_find(void);
/* One hash. False: libcrypto is not there. */
bool ag_sha256(struct ag_str s, unsigned char out[AG_SHA256_BYTES]);

/* The next piece: bytes put into buf, 0 at the end, -1 to give up. */
typedef int64_t (*ag_sha256_more)(void *ctx, unsigned char *buf, size_t room);

/* Hash of what comes in pieces. False: libcrypto is not there, or `more` gave up. */
bool ag_sha256_stream(ag_sha256_more more, void *ctx, unsigned char out[AG_SHA256_BYTES]);

#endif
