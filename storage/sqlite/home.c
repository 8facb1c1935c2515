/*
 * Where the file lives. A copy of it (a backup restored elsewhere, a file sent to somebody) brings
 * the runs that were open when it was made; what those would do, the original does too, or has done.
 * So in a copy they are put aside, until somebody asks for them by their number (resume, resume --all).
 *
 *     meta.home = "inode machine-id"      ours?     nothing to do
 *                                         none?     a new file: it is written down
 *                                         another?  open runs: ready = 2; then it is written down
 *
 * The device is not in it: its number may be another after the next boot, and a run that is not
 * resumed after a power cut is worse than a copy that is taken for the original because its inode,
 * on another file system of the same machine, has the same number.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/sqlite/impl.h"

static void machine_id(char *text, size_t bytes)
{
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, bytes - 1);

    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static agent_status write_down(struct ag_sq_store *s, ag_unit *u, const char *home)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_HOME_PUT);

    ag_query_word(&q, home);
    return ag_query_run(&q, &u->error);
}

agent_status ag_home_settle(struct ag_sq_store *s, ag_unit *u)
{
    char machine[64], home[96];
    bool is_new, is_ours;
    struct stat st;
    agent_status rc;

    if (s->home_known || stat(s->file, &st) != 0)
        return AGENT_OK;
    machine_id(machine, sizeof(machine));
    (void)snprintf(home, sizeof(home), "%llu %s", (unsigned long long)st.st_ino, machine);
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_HOME);
        bool row;

        if ((rc = ag_query_row(&q, &row, &u->error)) != AGENT_OK)
            return rc;
        is_new = !row;
        is_ours = row && ag_str_is(ag_col_str(&q, 0), home);
    }
    if (is_ours) { /* not before it is committed: what is written below may be rolled back */
        s->home_known = true;
        return AGENT_OK;
    }
    if (!is_new) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_PUT_ASIDE);
        int64_t before = sqlite3_total_changes64(s->a.db);

        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
        ag_log_line(&s->o.log, AG_LOG_WARN, "store", "database '%s' is a copy: %lld open runs wait for resume", s->path,
                    (long long)(sqlite3_total_changes64(s->a.db) - before));
    }
    return write_down(s, u, home);
}
