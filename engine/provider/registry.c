/* The builtin providers by name. */
#include "engine/provider/provider.h"

static const struct ag_provider_vt *const providers[] = {
    &ag_provider_offline,
    &ag_provider_openai,
    &ag_provider_anthropic,
};

const struct ag_provider_vt *ag_provider_find(struct ag_str name)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
        if (ag_str_is(name, providers[i]->name))
            return providers[i];
    return NULL;
}

const char *ag_provider_names(void)
{
    return "offline, openai, anthropic";
}
