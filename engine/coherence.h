/* What the front cache asks about the file (front_cache.h): whether others changed it, and what. ctx: the engine. */
#ifndef AG_ENGINE_COHERENCE_H
#define AG_ENGINE_COHERENCE_H

#include "engine/cache/front_cache.h"

uint64_t ag_engine_change_token(void *engine);
bool ag_engine_explain(void *engine, uint64_t from, uint64_t to, ag_cache *cache);

#endif
