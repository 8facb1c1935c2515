/* Names of what the front cache holds, as hosts and the table `live` have them. */
#ifndef AG_ENGINE_CACHE_API_H
#define AG_ENGINE_CACHE_API_H

#include "engine/cache/front_cache.h"

extern const char *const ag_cache_kind_names[AG_CACHE_KIND_LIMIT];

#endif
