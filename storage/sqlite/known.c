/*
 * What the writer knows of the file without asking it. It holds the only connection of this process
 * that writes, and the token tells under the write lock whether anybody else has committed since, so
 * what it wrote last is what stands there.
 *
 *       foreign commit, rollback, a unit undone ──► ag_known_forget(): all of it is asked for again
 *
 * Invariants, cited by number:
 *  (1) What is known was read or written in this transaction, or in one that committed with nobody
 *      between it and this one.
 *  (2) A run that is held is running under our owner with that attempt. Whatever ends it, gives it
 *      back or claims it again lets it go first.
 *  (3) Counts that wait are written before the transaction ends, before an operation that reads or
 *      corrects them, and, where units have savepoints, before the unit's ends.
 */
#include <string.h>

#include "storage/sqlite/impl.h"

void ag_known_forget_rows(struct ag_sq_store *s)
{
    struct ag_known *k = &s->known;

    k->queue = AG_QUEUE_UNKNOWN;
    k->age++; /* of the runs that are held */
    for (int i = 0; i < AG_KNOWN_AGENTS; i++)
        k->agents[i].name_bytes = 0;
}

void ag_known_forget(struct ag_sq_store *s)
{
    s->floors_known = false;
    s->known.count_count = 0;
    ag_known_forget_rows(s);
}

/* --- agents by name -------------------------------------------------------------------------------- */

static struct ag_known_agent *agent_slot(struct ag_sq_store *s, struct ag_str name)
{
    unsigned char first = (unsigned char)name.p[0], last = (unsigned char)name.p[name.n - 1];

    return &s->known.agents[(first * 7U + last + name.n) % AG_KNOWN_AGENTS];
}

bool ag_known_agent(struct ag_sq_store *s, struct ag_str name, int64_t *out_id, int64_t *out_version_id)
{
    const struct ag_known_agent *a;

    if (name.n == 0 || name.n > sizeof(a->name))
        return false;
    a = agent_slot(s, name);
    if (a->name_bytes != name.n || memcmp(a->name, name.p, name.n) != 0)
        return false;
    *out_id = a->id;
    *out_version_id = a->version_id;
    return true;
}

void ag_known_agent_put(struct ag_sq_store *s, struct ag_str name, int64_t id, int64_t version_id)
{
    struct ag_known_agent *a;

    if (name.n == 0 || name.n > sizeof(a->name))
        return;
    a = agent_slot(s, name);
    memcpy(a->name, name.p, name.n);
    a->name_bytes = name.n;
    a->id = id;
    a->version_id = version_id;
}

/* --- runs that are ours ------------------------------------------------------------------------------ */

static struct ag_known_run *run_slot(struct ag_sq_store *s, int64_t run_id)
{
    return &s->known.runs[(uint64_t)run_id % AG_KNOWN_RUNS];
}

bool ag_known_held(struct ag_sq_store *s, int64_t run_id, int attempt)
{
    const struct ag_known_run *r = run_slot(s, run_id);

    return r->run_id == run_id && r->age == s->known.age && r->attempt == attempt;
}

void ag_known_hold(struct ag_sq_store *s, int64_t run_id, int attempt, int stages)
{
    *run_slot(s, run_id) = (struct ag_known_run){run_id, s->known.age, attempt, stages};
}

void ag_known_let_go(struct ag_sq_store *s, int64_t run_id)
{
    struct ag_known_run *r = run_slot(s, run_id);

    if (r->run_id == run_id)
        r->run_id = 0;
}

int ag_known_next_stage(struct ag_sq_store *s, int64_t run_id)
{
    struct ag_known_run *r = run_slot(s, run_id);

    if (r->run_id != run_id || r->age != s->known.age || r->stages < 0 || r->stages >= AG_STEP_LAST)
        return 0;
    return ++r->stages;
}

/* --- counts of agents: a batch of runs of one agent is one update ---------------------------------------- */

agent_status ag_known_count_run(struct ag_sq_store *s, const ag_unit *u, int64_t agent_id, bool new_session,
                                int64_t session_id, agent_error *err)
{
    struct ag_known *k = &s->known;
    struct ag_known_count *c = k->counts;
    agent_status rc;

    while (c < k->counts + k->count_count && c->agent_id != agent_id)
        c++;
    if (c == k->counts + AG_KNOWN_COUNTS) {
        if ((rc = ag_known_write_counts(s, err)) != AGENT_OK)
            return rc;
        c = k->counts;
    }
    if (c == k->counts + k->count_count) {
        *c = (struct ag_known_count){.agent_id = agent_id};
        k->count_count++;
    }
    c->runs++;
    c->sessions += new_session;
    c->last_run_at_ms = u->now_ms;
    c->last_session_id = session_id;
    return AGENT_OK;
}

agent_status ag_known_write_counts(struct ag_sq_store *s, agent_error *err)
{
    struct ag_known *k = &s->known;
    agent_status rc;

    for (; k->count_count > 0; k->count_count--) {
        const struct ag_known_count *c = &k->counts[k->count_count - 1];
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_AGENT_COUNT_RUN);

        ag_query_int(&q, c->agent_id);
        ag_query_int(&q, c->runs);
        ag_query_int(&q, c->sessions);
        ag_query_int(&q, c->last_run_at_ms);
        ag_query_int(&q, c->last_session_id);
        if ((rc = ag_query_run(&q, err)) != AGENT_OK)
            return rc;
    }
    return AGENT_OK;
}

/* --- the queue ------------------------------------------------------------------------------------------- */

agent_status ag_known_queue(struct ag_sq_store *s, bool *out_any, agent_error *err)
{
    agent_status rc = AGENT_OK;

    if (s->known.queue == AG_QUEUE_UNKNOWN) {
        AG_AUTO(ag_query) q = ag_query(&s->a, AG_STMT_QUEUE_ANY_STATUS);
        bool row;

        if ((rc = ag_query_row(&q, &row, err)) != AGENT_OK)
            return rc;
        s->known.queue = row ? AG_QUEUE_SOME : AG_QUEUE_EMPTY;
    }
    *out_any = s->known.queue == AG_QUEUE_SOME;
    return rc;
}
