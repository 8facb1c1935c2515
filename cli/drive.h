/*
 * Driving one run and telling of it: what run, resume, approve and deny share.
 */
#ifndef AG_CLI_DRIVE_H
#define AG_CLI_DRIVE_H

#include "cli/cmd.h"

enum drive_mode {
    DRIVE_TEXT,   /* the answer; on a terminal as it comes */
    DRIVE_JSON,   /* the result object */
    DRIVE_LINES,  /* each event as an object, the result object last */
    DRIVE_SILENT, /* the caller tells */
};

struct drive {
    struct cli *cli;
    enum drive_mode mode;
    char *agent; /* name, for the result object; NULL: unknown */
    agent_run_id run;
    agent_session_id session;
    int step, attempt;    /* of the text that is on the screen */
    char *shown;          /* that text */
    size_t shown_bytes, shown_cap;
    bool has_open_line;   /* the cursor stands behind text */
    bool takes_away;      /* a run that a living process has is taken away from it */
    bool has_owner_ok;    /* a run that a living process has goes on there, and that is fine */
    bool had_ended;       /* the run in the file was over before we came */
    agent_status end;     /* how it ended */
};

void drive_init(struct drive *d, struct cli *cli, const char *agent);
void drive_drop(struct drive *d);
/* For agent_run_request.on_event; ctx is the drive. */
void drive_event(void *ctx, const agent_event *event);
/* Waits for the end of a started run, tells it, frees the run. Returns the exit code. */
int drive_to_end(struct drive *d, agent_run *run);
/* The same for a run that is in the file already. */
int drive_resume(struct drive *d, int64_t run);

/* Tells the end of a run that somebody else drove: as if we had. Returns its exit code. */
int drive_tell(struct drive *d, const agent_run_result *result);
/* The key "error" and its value; null where the status is AGENT_OK. */
void drive_put_error(struct out *out, const agent_error *err);
/* The result object of a run that ended, as a line. */
void drive_write_result(struct out *out, const agent_run_result *result);
/* The result object of a run that never began; the error is cli->last. */
void drive_write_failure(struct cli *cli, int rc, const char *agent);

#endif
