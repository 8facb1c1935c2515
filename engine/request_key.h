/*
 * What a request is, as one number: two requests have the same key where a model is sent the same.
 * Order of keys and white space of JSON make no difference; everything else does, but whether the
 * answer is to be streamed.
 */
#ifndef AG_ENGINE_REQUEST_KEY_H
#define AG_ENGINE_REQUEST_KEY_H

#include "engine/base/sha256.h"
#include "engine/provider/provider.h"

struct ag_request_key {
    unsigned char key[AG_SHA256_BYTES];
    struct ag_str parts; /* hashes of the head and of each message, in the arena; the key is theirs */
};

/* `provider` and `base_url` (never absent: the provider's own where the request has none) say where
 * it goes, `key_env` by whose account. AGENT_ENOMEM; AGENT_EINVAL: libcrypto is not there. */
agent_status ag_request_key(struct ag_str provider, struct ag_str base_url, struct ag_str key_env,
                            const struct ag_model_request *q, ag_arena *a, struct ag_request_key *out,
                            agent_error *err);

/* JSON without white space and with the keys of each object in order of their bytes; numbers and texts
 * stay as they are spelled. False, and nothing appended: it is no JSON (or deeper than 64). */
bool ag_json_canonical(struct ag_str text, ag_buf *out);

#endif
