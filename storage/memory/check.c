/* What must be true between units, looked at row by row; each breach is one line. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "storage/memory/ram.h"

struct findings {
    void (*line)(void *ctx, const char *text);
    void *ctx;
    int count;
};

static void __attribute__((format(printf, 2, 3))) tell(struct findings *f, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    f->count++;
    if (f->line != NULL)
        f->line(f->ctx, text);
}

static void check_session(struct ag_ram *m, const struct ag_ram_session *s, struct findings *f)
{
    const struct ag_ram_message *before = NULL;
    uint32_t count = 0;

    for (const struct ag_ram_message *msg = s->oldest_message; msg != NULL; before = msg, msg = msg->newer) {
        count++;
        if (before != NULL && msg->seq != before->seq + 1)
            tell(f, "session #%" PRId64 ": message %" PRIu32 " follows %" PRIu32, s->id, msg->seq, before->seq);
        if (msg->older != before)
            tell(f, "session #%" PRId64 ": message %" PRIu32 " is not linked back", s->id, msg->seq);
    }
    if (s->newest_message != before || s->message_count != count)
        tell(f, "session #%" PRId64 ": %" PRIu32 " messages counted, %" PRIu32 " found", s->id, s->message_count,
             count);
    for (const struct ag_ram_run *run = s->open_first; run != NULL; run = run->next)
        if (ag_ram_has_ended(run) || ag_ram_table_at(&m->runs, run->id) != run)
            tell(f, "session #%" PRId64 ": run %" PRId64 " is not open", s->id, run->id);
    for (const struct ag_ram_run *run = s->ended_first; run != NULL; run = run->next)
        if (!ag_ram_has_ended(run) || ag_ram_table_at(&m->runs, run->id) != run)
            tell(f, "session #%" PRId64 ": run %" PRId64 " has not ended", s->id, run->id);
}

static void check_run(const struct ag_ram_run *run, struct findings *f)
{
    const struct ag_ram_run *first = run->session->open_first;
    int number = 0;

    while (first != NULL && first->status == AG_RUN_WAITING)
        first = first->next;
    if (run->is_ready && (run->status != AG_RUN_QUEUED || run->is_held))
        tell(f, "run %" PRId64 " is in the queue and cannot be taken", run->id);
    if (first == run && run->status == AG_RUN_QUEUED && !run->is_held && !run->is_ready)
        tell(f, "run %" PRId64 " could be taken and is not in the queue", run->id);

    for (const struct ag_ram_item *item = run->first; item != NULL; item = item->next) {
        if (item->number <= number)
            tell(f, "run %" PRId64 ": step %d after step %d", run->id, (int)item->number, number);
        number = item->number;
        if (!ag_ram_has_ended(run))
            continue;
        if (item->kind == AG_RAM_STEP ? item->status == AG_STEP_RUNNING : item->status <= AG_CALL_RUNNING)
            tell(f, "run %" PRId64 " has ended, its step %d has not", run->id, number);
        if (item->kind == AG_RAM_CALL && ((const struct ag_ram_call *)item)->message == NULL)
            tell(f, "run %" PRId64 " has ended, its call %d has no message", run->id, number);
    }
}

agent_status ag_ram_check(ag_store *store, void (*line)(void *, const char *), void *ctx, agent_error *err)
{
    struct ag_ram *m = (struct ag_ram *)store;
    struct findings f = {line, ctx, 0};
    int64_t ended = 0, sessions = 0;

    (void)pthread_mutex_lock(&m->lock);
    for (int64_t id = 0; (id = ag_ram_table_after(&m->sessions, id)) != 0;)
        check_session(m, ag_ram_table_at(&m->sessions, id), &f);
    for (int64_t id = 0; (id = ag_ram_table_after(&m->runs, id)) != 0;) {
        const struct ag_ram_run *run = ag_ram_table_at(&m->runs, id);

        ended += ag_ram_has_ended(run);
        check_run(run, &f);
    }
    if (ended != m->ended_count)
        tell(&f, "%" PRId64 " ended runs counted, %" PRId64 " found", m->ended_count, ended);
    for (int64_t id = 0; (id = ag_ram_table_after(&m->agents, id)) != 0;) {
        const struct ag_ram_agent *a = ag_ram_table_at(&m->agents, id);

        if (ag_ram_agent_find(m, ag_ram_agent_name(a)) != a)
            tell(&f, "agent #%" PRId64 " is not found by its name", id);
        for (const struct ag_ram_session *s = a->latest; s != NULL; s = s->older)
            sessions++;
    }
    if (sessions != m->sessions.count)
        tell(&f, "%" PRId64 " sessions counted, %" PRId64 " found", m->sessions.count, sessions);
    (void)pthread_mutex_unlock(&m->lock);
    return f.count == 0 ? AGENT_OK : ag_fail(err, AGENT_ESTORAGE, 0, "memory store: %d findings", f.count);
}
