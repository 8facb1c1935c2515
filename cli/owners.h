/* Which owners of a file live: whether somebody holds the byte of each in <db>-owners. */
#ifndef AG_CLI_OWNERS_H
#define AG_CLI_OWNERS_H

#include <stdbool.h>
#include <stdint.h>

/* A descriptor to close(), -1: it cannot be asked. The file is only asked, with a descriptor of our own:
 * the locks belong to those of the owners, and closing ours takes none away. */
int owners_open(const char *db_path);
/* Whether it is known; then *alive says it, else that is false. fd may be -1. */
bool owners_ask(int fd, int64_t owner, bool *alive);

#endif
