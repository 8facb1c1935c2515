/*
 * An agent's configuration from a command line: what create, edit and run share.
 */
#ifndef AG_CLI_CONFIG_H
#define AG_CLI_CONFIG_H

#include "cli/cmd.h"

/* The -o KEY=VALUE of a command line as the text of a JSON object, over `base` (an object's text;
 * NULL: none). *out stays NULL where neither is there. Given: free(). */
int config_options(struct cli *cli, const struct args *args, const char *base, char **out);

struct config {
    agent_config config;
    const char *name; /* of the agent */
    agent_config_file *file;
    struct text instructions;
    const char **tools;
    char *options;
};

/* Reads -f and lays the other flags over it. Drop it also after a failure. */
int config_read(struct cli *cli, const struct args *args, struct config *out);
void config_drop(struct config *c);
/* Whether anything is said at all. */
bool config_is_empty(const struct config *c);

extern const struct option config_flags[]; /* of create and edit */

#endif
