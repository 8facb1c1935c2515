/*
 * What a host says of an agent, checked: agent_config in, ag_agent_spec out.
 *
 * Hosts often make many agents of one configuration. The last one that was checked is remembered by a
 * tag: saying the same again costs a comparison, and the store keeps what it says once.
 */
#ifndef AG_ENGINE_AGENT_SPEC_H
#define AG_ENGINE_AGENT_SPEC_H

#include <agent/engine.h>
#include <stdatomic.h>

#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "storage/store.h"

struct ag_spec_memo { /* zeroed: empty */
    atomic_bool busy; /* guards the rest: tried, never waited for */
    bool is_set;
    uint64_t tag; /* of config; another one for each that is kept, so that nothing is ever taken for it */
    agent_config config;
    ag_arena arena; /* its texts */
};

/* Not over `most` bytes and UTF-8; `what` names it. */
agent_status ag_text_check(const char *what, struct ag_str s, size_t most, agent_error *err);

/* What the host gave, over what there was (old; NULL: a new agent). Texts are borrowed from c, old and a. */
agent_status ag_agent_spec_fill(agent_engine *e, const agent_config *c, const struct ag_agent_rec *old, ag_arena *a,
                                struct ag_agent_spec *out, agent_error *err);

/* The tag of c, where c is what the last new agent was checked for, and still holds; else 0. */
uint64_t ag_spec_memo_tag(struct ag_spec_memo *m, const agent_config *c);
void ag_spec_memo_drop(struct ag_spec_memo *m);

#endif
