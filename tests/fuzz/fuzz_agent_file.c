/*
 * The JSON agent file with any bytes: it is read or refused; what is refused names a line, a key or
 * a type in valid UTF-8; what is read has only fields that agent_create() may be given.
 */
#include <agent/agent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static agent_engine *engine; /* the process's: opening one for each input would be all there is to see */
    agent_config_file *file = NULL;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc = agent_config_parse((const char *)bytes, n, &file, &err);

    if (rc != AGENT_OK) {
        must(file == NULL, "refused, and yet a file");
        must(err.text[0] != '\0', "refused without a word");
        return 0;
    }
    must(agent_config_file_config(file)->size == sizeof(agent_config), "a config without its size");
    if (engine == NULL) {
        agent_options o = AGENT_OPTIONS_INIT;

        o.workers = 0;
        must(agent_open(&o, &engine, &err) == AGENT_OK, "no engine");
    }
    /* Made or refused, never half made. */
    rc = agent_create(engine, "fuzzed", agent_config_file_config(file), AGENT_CREATE_REPLACE, NULL, &err);
    must(rc == AGENT_OK || err.text[0] != '\0', "refused without a word");
    agent_config_file_free(file);
    return 0;
}
