#include "cli/owners.h"

#include <fcntl.h>
#include <stdlib.h>

#include "cli/text.h"

int owners_open(const char *db_path)
{
    char *full = realpath(db_path, NULL), *path = full == NULL ? NULL : cli_format("%s-owners", full);
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    free(path);
    free(full);
    return fd;
}

bool owners_ask(int fd, int64_t owner, bool *alive)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)owner, .l_len = 1};
    bool is_known = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0;

    *alive = is_known && lock.l_type != F_UNLCK;
    return is_known;
}
