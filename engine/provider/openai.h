/* The two halves of the openai provider: openai.c sends, openai_reply.c listens. */
#ifndef AG_PROVIDER_OPENAI_H
#define AG_PROVIDER_OPENAI_H

#include "engine/provider/provider.h"

agent_status ag_openai_event(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done,
                             agent_error *err);
agent_status ag_openai_whole(struct ag_stream *s, struct ag_str body, agent_error *err);

#endif
