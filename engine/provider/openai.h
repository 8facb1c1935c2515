/* The two halves of the openai provider: openai.c sends, openai_reply.c listens. */
#ifndef AG_PROVIDER_OPENAI_H
#define AG_PROVIDER_OPENAI_H

#include "engine/provider/provider.h"

agent_status ag_openai_event(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done,
                             agent_error *err);
agent_status ag_openai_whole(struct ag_stream *s, struct ag_str body, agent_error *err);

/* openai_plain.c: the ordinary document, without a tree. Literals are raw, in the text. */
struct ag_openai_plain {
    bool has_choice;
    struct ag_str content, reason; /* absent or null; a string with its quotes, the reason without escapes */
    int64_t input_tokens, output_tokens, cached_tokens; /* -1: not said */
};
/* `what` holds the text: "delta" or "message". False: it is not ordinary; *out is undefined. */
bool ag_openai_plain(struct ag_str text, const char *what, struct ag_openai_plain *out);

#endif
