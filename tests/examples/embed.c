#include <agent/agent.h>
#include <stdio.h>

int main(void)
{
    agent_options options = AGENT_OPTIONS_INIT;
    agent_config config = AGENT_CONFIG_INIT;
    agent_run_request request = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;
    const agent_run_result *result;
    agent_engine *engine;
    agent_run *run;

    options.path = "embedded.db"; /* NULL keeps nothing */
    options.flags = AGENT_OPEN_CREATE;
    config.instructions = "You are a robot's voice.";
    request.agent = "robot", request.input = "Hello", request.input_bytes = 5;
    if (agent_open(&options, &engine, &err) || agent_create(engine, "robot", &config, AGENT_CREATE_REPLACE, NULL, &err) ||
        agent_run_start(engine, &request, &run, &err) || agent_run_wait(run, -1, &result, &err))
        return fprintf(stderr, "%s\n", err.text), 1;
    puts(result->output); /* committed to the file before it is here */
    agent_run_free(run);
    agent_close(engine);
    return 0;
}
