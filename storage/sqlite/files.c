/*
 * The file before SQLite sees it: is it there, is it a file, may it be written, on what file system
 * does it lie. Only stat() and its like: (2) of impl.h forbids open().
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

/* WAL needs memory shared by all who have the file open; these cannot give it between machines. */
static const struct {
    long magic;
    const char *name;
} network_file_systems[] = {
    {0x6969, "NFS"},         {0x517b, "SMB"},         {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"},
    {0x01021997, "9p"},      {0x65735546, "FUSE"},    {0x00c36400, "Ceph"}, {0x5346414f, "AFS"},
    {0x73757245, "Coda"},    {0x564c, "NCP"},         {0x0bd00bd0, "Lustre"},
};

const char *ag_network_fs_name(long magic)
{
    for (size_t i = 0; i < sizeof(network_file_systems) / sizeof(network_file_systems[0]); i++)
        if (network_file_systems[i].magic == magic)
            return network_file_systems[i].name;
    return NULL;
}

/* The folder of a path, as a string to free; NULL: out of memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return ag_strdup(".");
    return slash == path ? ag_strdup("/") : ag_memdup0(path, (size_t)(slash - path));
}

static agent_status look_at_folder(struct ag_sq_store *s, const char *folder, agent_error *err)
{
    struct stat st;
    struct statfs fs;
    const char *network;

    if (stat(folder, &st) != 0) {
        int why = errno;

        (void)ag_fail(err, AGENT_ENOTFOUND, why, "database '%s': its folder '%s': %s", s->path, folder, strerror(why));
        ag_hint(err, "make the folder first: mkdir -p '%s'", folder);
        return AGENT_ENOTFOUND;
    }
    if (!S_ISDIR(st.st_mode))
        return ag_fail(err, AGENT_ENOTFOUND, ENOTDIR, "database '%s': '%s' is not a folder", s->path, folder);
    if (statfs(folder, &fs) == 0 && (network = ag_network_fs_name((long)fs.f_type)) != NULL) {
        if ((s->o.flags & AGENT_OPEN_NETWORK_FS) == 0 && !s->inspect) {
            (void)ag_fail(err, AGENT_ESTORAGE, 0, "database '%s' is on a network file system (%s): WAL does not work there",
                          s->path, network);
            ag_hint(err, "keep the file on a local disk, or allow it (slower, journal_mode=DELETE) with the option for network file systems");
            return AGENT_ESTORAGE;
        }
        s->network = true;
    }
    return AGENT_OK;
}

agent_status ag_file_look(struct ag_sq_store *s, bool *out_exists, agent_error *err)
{
    char *folder = folder_of(s->path);
    struct stat st;
    agent_status rc;

    if (folder == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "open '%s'", s->path);
    rc = look_at_folder(s, folder, err);
    if (rc != AGENT_OK)
        goto out;
    if (stat(s->path, &st) != 0) {
        int why = errno;

        if (why == ENOENT && (s->o.flags & AGENT_OPEN_CREATE) != 0 && !s->inspect) {
            if (access(folder, W_OK) != 0) {
                why = errno;
                rc = ag_fail(err, AGENT_ESTORAGE, why, "database '%s' cannot be made: folder '%s': %s", s->path, folder,
                             strerror(why));
                ag_hint(err, "check the permissions of the folder, or name another file with --db");
                goto out;
            }
            *out_exists = false;
            goto out;
        }
        rc = ag_fail(err, why == ENOENT ? AGENT_ENOTFOUND : AGENT_ESTORAGE, why, "database '%s': %s", s->path,
                     strerror(why));
        if (why == ENOENT)
            ag_hint(err, "name the file with --db, or make it: agentctl --db '%s' create NAME", s->path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = ag_fail(err, AGENT_ESTORAGE, S_ISDIR(st.st_mode) ? EISDIR : 0, "database '%s' is %s, not a file", s->path,
                     S_ISDIR(st.st_mode) ? "a folder" : "something");
        ag_hint(err, "name a file with --db");
        goto out;
    }
    if (access(s->path, R_OK) != 0 || (!s->inspect && access(s->path, W_OK) != 0)) {
        int why = errno;

        rc = ag_fail(err, AGENT_ESTORAGE, why, "database '%s' is not %s: %s", s->path,
                     access(s->path, R_OK) != 0 ? "readable" : "writable", strerror(why));
        ag_hint(err, "check the file's permissions: chmod u+rw '%s'", s->path);
        goto out;
    }
    if (access(folder, W_OK) != 0) {
        char wal[4096];
        int why = errno;

        if (!s->inspect) {
            rc = ag_fail(err, AGENT_ESTORAGE, why, "database '%s': its folder '%s' is not writable: %s", s->path, folder,
                         strerror(why));
            ag_hint(err, "SQLite keeps -wal and -shm beside the file: chmod u+w '%s'", folder);
            goto out;
        }
        /* No -wal: nobody has the file open for writing, so it may be read as it lies there. */
        (void)snprintf(wal, sizeof(wal), "%s-wal", s->path);
        s->immutable = access(wal, F_OK) != 0;
    }
    *out_exists = true;
out:
    ag_free(folder);
    return rc;
}

static void escape(ag_buf *b, const char *path)
{
    for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++)
        if (isalnum(*p) || strchr("/._-", *p) != NULL)
            ag_buf_char(b, (char)*p);
        else
            ag_buf_printf(b, "%%%02X", *p);
}

char *ag_file_uri(const char *path, const char *parameter, const char *value)
{
    ag_buf b = AG_BUF_INIT(65536);
    char *uri;
    size_t n;

    ag_buf_z(&b, "file:");
    escape(&b, path);
    ag_buf_printf(&b, "?%s=", parameter);
    escape(&b, value);
    uri = ag_buf_take(&b, &n);
    ag_buf_drop(&b);
    return uri;
}
