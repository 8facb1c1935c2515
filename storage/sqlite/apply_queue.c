/*
 * The queue of all sessions, and what is taken from it.
 *
 *     run.ready = 1    a queued run that nobody holds, the first open one of its session
 *                      a running run whose owner's death was seen
 *               = 2    it came with a copy of the file (home.c): only who names it gets it
 *
 *     run_queue        | ready 1, high: 7 12 30 … | normal: 3 4 … | low: 5 … |   ready 0: behind others
 *
 * Only what may be taken has ready = 1, so that taking costs what is taken, whatever waits: of a
 * session's thousand turns one is ready, and its end makes the next one so, in the same transaction.
 *
 * Invariants, cited by number:
 *  (1) ready says that a run may be tried, not that it may be had: the claim looks again, and a run
 *      that cannot be had loses its mark, for what stands before it will give it back.
 *  (2) Whatever ends a run, or lets it wait, calls ag_session_ready(); so a queued run without an
 *      owner that is the first open one of its session has the mark.
 *  (3) An owner's row is closed only with all that it had given back, in one transaction.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

#define CLASSES 3 /* high, normal, low */

static agent_status mark(struct ag_sq_store *s, ag_unit *u, enum ag_stmt stmt, int64_t run_id)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, stmt);

    ag_query_int(&q, run_id);
    return ag_query_run(&q, &u->error);
}

/* --- what becomes ready ------------------------------------------------------------------------------ */

agent_status ag_session_ready(struct ag_sq_store *s, ag_unit *u, int64_t session_id, int64_t *out_next)
{
    int64_t next = 0, owner_id = 0;
    bool any;
    agent_status rc;

    if ((rc = ag_known_queue(s, &any, &u->error)) != AGENT_OK)
        return rc;
    if (any) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_RUN_OPEN);
        int status = AG_RUN_WAITING;
        bool row;

        ag_query_int(&q, session_id);
        while (status == AG_RUN_WAITING && (rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row)
            status = ag_run_status_parse(ag_col_str(&q, 1)); /* one that waits for a decision is passed */
        if (rc != AGENT_OK)
            return rc;
        if (row && status == AG_RUN_QUEUED) {
            next = ag_col_int(&q, 0);
            owner_id = ag_col_int(&q, 2);
        }
    }
    if (next != 0 && (owner_id == 0 || !ag_owner_alive(s, owner_id)) &&
        (rc = mark(s, u, AG_STMT_RUN_READY, next)) != AGENT_OK)
        return rc;
    if (out_next != NULL)
        *out_next = next;
    return AGENT_OK;
}

/* --- dead owners --------------------------------------------------------------------------------------- */

static bool is_among(int64_t id, const int64_t *ids, int count)
{
    for (int i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static agent_status give_back(struct ag_sq_store *s, ag_unit *u, int64_t run_id)
{
    struct ag_run_row run;
    agent_status rc = ag_run_row(s, u, run_id, &run);

    if (rc != AGENT_OK || run.status == AG_RUN_WAITING)
        return rc;
    if (run.status == AG_RUN_RUNNING)
        return mark(s, u, AG_STMT_RUN_ORPHANED, run_id);
    s->known.queue = AG_QUEUE_SOME;
    if ((rc = mark(s, u, AG_STMT_RUN_REQUEUE, run_id)) != AGENT_OK) /* held, behind others of its session */
        return rc;
    return ag_session_ready(s, u, run.session_id, NULL);
}

agent_status ag_owners_reap(struct ag_sq_store *s, ag_unit *u, const int64_t *ids, int count)
{
    int64_t *runs = NULL;
    size_t run_count = 0, room = 0;
    bool row;
    agent_status rc;

    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUE_HELD);

        while ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row) {
            if (!is_among(ag_col_int(&q, 1), ids, count))
                continue;
            if (run_count == room) {
                size_t wider = room == 0 ? 64 : room * 2;
                int64_t *at = ag_realloc(runs, wider * sizeof(*at));

                if (at == NULL) {
                    rc = ag_fail(&u->error, AGENT_ENOMEM, 0, "give back the runs of dead owners");
                    break;
                }
                runs = at;
                room = wider;
            }
            runs[run_count++] = ag_col_int(&q, 0);
        }
    }
    for (size_t i = 0; i < run_count && rc == AGENT_OK; i++)
        rc = give_back(s, u, runs[i]);
    ag_free(runs);
    for (int i = 0; i < count && rc == AGENT_OK; i++) { /* (3) */
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_OWNER_END);

        ag_query_int(&q, ids[i]);
        ag_query_int(&q, u->now_ms);
        rc = ag_query_run(&q, &u->error);
    }
    return rc;
}

static agent_status reap(struct ag_sq_store *s, ag_unit *u)
{
    enum { AT_ONCE = 64 };
    int64_t dead[AT_ONCE];
    int count = 0;
    agent_status rc = ag_owners_dead(s, &s->a, dead, AT_ONCE, &count, &u->error);

    return rc == AGENT_OK && count > 0 ? ag_owners_reap(s, u, dead, count) : rc;
}

/* --- taking -------------------------------------------------------------------------------------------- */

/* What is ready of one class, in order. */
struct line {
    struct {
        int64_t id, queued_at_ms;
    } *at;
    int count, next, priority;
};

static agent_status read_line(struct ag_sq_store *s, ag_unit *u, int most, struct line *line)
{
    AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUE_CLASS);
    bool row;
    agent_status rc;

    ag_query_int(&q, line->priority);
    ag_query_int(&q, most);
    while ((rc = ag_query_row(&q, &row, &u->error)) == AGENT_OK && row) {
        line->at[line->count].id = ag_col_int(&q, 0);
        line->at[line->count++].queued_at_ms = ag_col_int(&q, 1);
    }
    return rc;
}

/* The line whose head is next: the highest class, within it the oldest. NULL: all are empty. */
static struct line *first_of(struct line *lines, int64_t now_ms, int64_t aging_ms)
{
    struct line *first = NULL;
    int first_class = 0;

    for (struct line *line = lines; line < lines + CLASSES; line++) {
        int class;

        if (line->next == line->count)
            continue;
        class = ag_queue_class(line->priority, now_ms - line->at[line->next].queued_at_ms, aging_ms);
        if (first == NULL || class > first_class ||
            (class == first_class && line->at[line->next].id < first->at[first->next].id)) {
            first = line;
            first_class = class;
        }
    }
    return first;
}

/* A failure of the store's; anything else is the run's own. */
static bool is_of_store(struct ag_sq_store *s, agent_status rc)
{
    return rc == AGENT_ESTORAGE || rc == AGENT_ENOMEM || rc == AGENT_EIO || rc == AGENT_EBUSY ||
           sqlite3_get_autocommit(s->a.db) != 0;
}

/* One that can never be claimed would be tried for ever, and hold up what comes with it. */
static agent_status end_unclaimable(struct ag_sq_store *s, ag_unit *u, int64_t run_id, const agent_error *why)
{
    struct ag_run_row run;
    agent_status rc = ag_run_row(s, u, run_id, &run);

    return rc == AGENT_OK ? ag_run_close(s, u, &run, AG_RUN_FAILED, why->status, why->text) : rc;
}

static agent_status take(struct ag_sq_store *s, ag_unit *u, int64_t run_id, struct ag_op_claim_next *op)
{
    struct ag_op_run_claim *claim = &op->claims[op->out_count];
    agent_error why;
    agent_status rc;

    memset(claim, 0, sizeof(*claim));
    claim->run_id = run_id;
    {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CLAIM_SAVE);

        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK)
            return rc;
    }
    if ((rc = ag_apply_run_claim(s, u, claim)) != AGENT_OK) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CLAIM_UNDO);

        if (is_of_store(s, rc))
            return rc;
        why = u->error;
        ag_known_forget_rows(s); /* what it read and wrote is taken back */
        if ((rc = ag_query_run(&q, &u->error)) != AGENT_OK || (rc = end_unclaimable(s, u, run_id, &why)) != AGENT_OK)
            return rc;
    } else if (claim->out_claimed || claim->out_status == AG_RUN_WAITING) {
        op->out_count++;
    } else {
        rc = mark(s, u, AG_STMT_RUN_UNREADY, run_id); /* (1) */
    }
    if (rc == AGENT_OK) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_CLAIM_KEEP);

        rc = ag_query_run(&q, &u->error);
    }
    return rc;
}

agent_status ag_apply_claim_next(struct ag_sq_store *s, ag_unit *u, struct ag_op_claim_next *op)
{
    struct line lines[CLASSES] = {{.priority = 1}, {.priority = 0}, {.priority = -1}}, *line;
    size_t room = op->most > 0 ? (size_t)op->most : 0;
    int64_t owner_id;
    int tried = 0;
    agent_status rc = AGENT_OK;

    op->out_count = 0;
    op->out_more = false;
    if ((rc = ag_home_settle(s, u)) != AGENT_OK)
        return rc;
    if (op->reap && (rc = reap(s, u)) != AGENT_OK)
        return rc;
    if (room == 0)
        return AGENT_OK;
    lines[0].at = ag_malloc(CLASSES * room * sizeof(*lines[0].at));
    if (lines[0].at == NULL)
        return ag_fail(&u->error, AGENT_ENOMEM, 0, "take runs from the queue");
    lines[1].at = lines[0].at + room;
    lines[2].at = lines[1].at + room;
    for (int i = 0; i < CLASSES && rc == AGENT_OK; i++)
        rc = read_line(s, u, op->most, &lines[i]);
    if (rc == AGENT_OK && first_of(lines, 0, 0) != NULL)
        rc = ag_owner_need(s, u, &owner_id); /* not within a savepoint that may be undone */
    while (rc == AGENT_OK && tried < op->most && (line = first_of(lines, u->now_ms, op->aging_ms)) != NULL) {
        rc = take(s, u, line->at[line->next++].id, op);
        tried++;
    }
    op->out_more = tried == op->most;
    ag_free(lines[0].at);
    return rc;
}

/* --- looking ------------------------------------------------------------------------------------------- */

static agent_status any_row(struct ag_db *db, enum ag_stmt stmt, bool *out, agent_error *err)
{
    AG_AUTO(ag_query) q = ag_query(db, stmt);

    return ag_query_row(&q, out, err);
}

agent_status ag_sq_queue(ag_reader *r, bool deaths_too, struct ag_queue_look *out, agent_error *err)
{
    struct ag_db *db = ag_reader_db(r);
    struct ag_queue_look look = {.is_ready = false};
    int64_t dead;
    int count = 0;
    agent_status rc = ag_reader_schema(r, err);

    if (rc != AGENT_OK || (rc = any_row(db, AG_STMT_QUEUE_ANY, &look.is_ready, err)) != AGENT_OK ||
        (rc = any_row(db, AG_STMT_QUEUE_UNHELD, &look.has_waiting, err)) != AGENT_OK ||
        (deaths_too && (rc = ag_owners_dead(ag_sq(r->store), db, &dead, 1, &count, err)) != AGENT_OK))
        return rc;
    look.has_dead = count > 0;
    *out = look;
    return AGENT_OK;
}

uint64_t ag_sq_version(ag_reader *r)
{
    AG_AUTO(ag_query) q = ag_query(ag_reader_db(r), AG_STMT_DATA_VERSION);
    bool row;

    return ag_query_row(&q, &row, NULL) == AGENT_OK && row ? (uint64_t)ag_col_int(&q, 0) : 0;
}
