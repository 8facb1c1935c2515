/* The two halves of the anthropic provider: anthropic.c sends, anthropic_reply.c listens. */
#ifndef AG_PROVIDER_ANTHROPIC_H
#define AG_PROVIDER_ANTHROPIC_H

#include "engine/provider/provider.h"

agent_status ag_anthropic_event(struct ag_stream *s, struct ag_str event, struct ag_str data, bool *done,
                                agent_error *err);
agent_status ag_anthropic_whole(struct ag_stream *s, struct ag_str body, agent_error *err);

#endif
