/*
 * A disk that fails: a VFS in front of the real one, whose k-th write or sync returns an error,
 * once or from then on. Calls are counted over all files of the process that are opened through it.
 */
#ifndef AG_TESTS_FAULT_VFS_H
#define AG_TESTS_FAULT_VFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

enum fault_kind { FAULT_NONE, FAULT_WRITE, FAULT_FULL, FAULT_SYNC };

static struct {
    enum fault_kind kind;
    int at;      /* the k-th call of its kind fails */
    bool stays;  /* and all after it */
    int calls, fired;
} fault;

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
    void *tag;          /* for a disk that is built on this one (crash_disk.c) */
};

static inline sqlite3_file *fault_real(sqlite3_file *f)
{
    return ((struct fault_file *)f)->real;
}

static inline bool fault_now(enum fault_kind a, enum fault_kind b)
{
    if (fault.kind == FAULT_NONE || (fault.kind != a && fault.kind != b))
        return false;
    fault.calls++;
    if (fault.calls != fault.at && !(fault.stays && fault.calls > fault.at))
        return false;
    fault.fired++;
    return true;
}

static inline int fault_close(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xClose(fault_real(f));
}

static inline int fault_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return fault_real(f)->pMethods->xRead(fault_real(f), p, n, at);
}

static inline int fault_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (fault_now(FAULT_WRITE, FAULT_FULL)) {
        if (fault.kind == FAULT_FULL)
            return SQLITE_FULL;
        (void)fault_real(f)->pMethods->xWrite(fault_real(f), p, n / 2, at); /* torn */
        return SQLITE_IOERR_WRITE;
    }
    return fault_real(f)->pMethods->xWrite(fault_real(f), p, n, at);
}

static inline int fault_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return fault_real(f)->pMethods->xTruncate(fault_real(f), n);
}

static inline int fault_sync(sqlite3_file *f, int flags)
{
    if (fault_now(FAULT_SYNC, FAULT_SYNC))
        return SQLITE_IOERR_FSYNC;
    return fault_real(f)->pMethods->xSync(fault_real(f), flags);
}

static inline int fault_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return fault_real(f)->pMethods->xFileSize(fault_real(f), n);
}

static inline int fault_lock(sqlite3_file *f, int how)
{
    return fault_real(f)->pMethods->xLock(fault_real(f), how);
}

static inline int fault_unlock(sqlite3_file *f, int how)
{
    return fault_real(f)->pMethods->xUnlock(fault_real(f), how);
}

static inline int fault_reserved(sqlite3_file *f, int *out)
{
    return fault_real(f)->pMethods->xCheckReservedLock(fault_real(f), out);
}

static inline int fault_control(sqlite3_file *f, int op, void *arg)
{
    return fault_real(f)->pMethods->xFileControl(fault_real(f), op, arg);
}

static inline int fault_sector(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xSectorSize(fault_real(f));
}

static inline int fault_device(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xDeviceCharacteristics(fault_real(f));
}

static inline int fault_shm_map(sqlite3_file *f, int page, int bytes, int extend, void volatile **p)
{
    return fault_real(f)->pMethods->xShmMap(fault_real(f), page, bytes, extend, p);
}

static inline int fault_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return fault_real(f)->pMethods->xShmLock(fault_real(f), at, n, flags);
}

static inline void fault_shm_barrier(sqlite3_file *f)
{
    fault_real(f)->pMethods->xShmBarrier(fault_real(f));
}

static inline int fault_shm_unmap(sqlite3_file *f, int remove)
{
    return fault_real(f)->pMethods->xShmUnmap(fault_real(f), remove);
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_device,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static sqlite3_vfs fault_vfs, *fault_under;

static inline int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    struct fault_file *file = (struct fault_file *)f;
    int rc;

    (void)vfs;
    file->base.pMethods = NULL;
    file->real = (sqlite3_file *)(file + 1);
    file->tag = NULL;
    file->real->pMethods = NULL;
    rc = fault_under->xOpen(fault_under, name, file->real, flags, out_flags);
    if (file->real->pMethods != NULL)
        file->base.pMethods = &fault_methods;
    return rc;
}

/* From here on every file is opened through it, until fault_vfs_end(). */
static inline void fault_vfs_begin(void)
{
    fault_under = sqlite3_vfs_find(NULL);
    fault_vfs = *fault_under;
    fault_vfs.pNext = NULL;
    fault_vfs.zName = "fault";
    fault_vfs.szOsFile = (int)sizeof(struct fault_file) + fault_under->szOsFile;
    fault_vfs.xOpen = fault_open;
    memset(&fault, 0, sizeof(fault));
    (void)sqlite3_vfs_register(&fault_vfs, 1);
}

static inline void fault_vfs_end(void)
{
    memset(&fault, 0, sizeof(fault));
    (void)sqlite3_vfs_unregister(&fault_vfs);
}

#endif
