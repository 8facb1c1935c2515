/*
 * Locks on bytes of a file that belong to the open file description (F_OFD_SETLK): the kernel ends them
 * with the process, whatever becomes of it, and closing another descriptor of the file takes none away.
 */
#ifndef AG_BASE_BYTELOCK_H
#define AG_BASE_BYTELOCK_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

/* type: F_RDLCK, F_WRLCK, F_UNLCK. Does not wait; false: somebody else has it (errno says why). */
static inline bool ag_byte_lock(int fd, int64_t at, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)at, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Whether somebody else holds a byte of the range; bytes 0: to the end of all files. */
static inline bool ag_bytes_held(int fd, int64_t first, int64_t bytes)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)bytes};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

#endif
