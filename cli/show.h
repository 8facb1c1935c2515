/*
 * Showing one thing: for show, and for tool show and session show. The engine is open.
 */
#ifndef AG_CLI_SHOW_H
#define AG_CLI_SHOW_H

#include "cli/cmd.h"

int show_agent(struct cli *cli, const char *name);
int show_run(struct cli *cli, int64_t run);
int show_session(struct cli *cli, int64_t session);
int show_tool(struct cli *cli, const char *name);

#endif
