#include <agent/agent.h>

const char *agent_version(void)
{
    return AGENT_VERSION;
}
