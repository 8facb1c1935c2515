/* Walks a view: which rows, in which order, how many. Views themselves are in views.c. */
#include "storage/memory/scan.h"

#include <stddef.h>

#include "engine/base/mem.h"

#define TEXT_CAP_BYTES ((size_t)16 << 20) /* of one made text: a line of the log with an error in it */

void ag_ram_ref_add(struct ag_ram_scan *s, struct ag_ram_ref ref)
{
    struct ag_ram_refs *refs = &s->refs;

    if (refs->count == refs->room) {
        size_t room = refs->room == 0 ? 16 : refs->room * 2;
        struct ag_ram_ref *at = ag_realloc(refs->at, room * sizeof(*at));

        if (at == NULL) {
            s->out_of_memory = true;
            return;
        }
        refs->at = at;
        refs->room = room;
    }
    refs->at[refs->count++] = ref;
}

static bool emit(struct ag_ram_scan *s, const struct ag_ram_ref *ref)
{
    agent_row row = {.count = s->view->count, .names = s->view->names, .values = s->cells};

    s->count = s->time_count = 0;
    ag_buf_clear(&s->text);
    s->view->fill(s, ref);
    if (s->text.failed != AGENT_OK) {
        s->out_of_memory = true;
        return false;
    }
    return s->fn(s->ctx, &row);
}

static void expand(struct ag_ram_scan *s, const struct ag_ram_table *t, int64_t id)
{
    s->refs.count = 0;
    s->view->expand(s, ag_ram_table_at(t, id));
}

/* Rows in id order, or against it, at most filter.limit of them. */
static void walk_table(struct ag_ram_scan *s, const struct ag_ram_table *t, int64_t only)
{
    bool down = s->filter.newest_first;
    int64_t left = s->filter.limit > 0 ? s->filter.limit : INT64_MAX;
    int64_t id = only != 0 ? only : down ? ag_ram_table_before(t, t->next_id) : ag_ram_table_after(t, 0);

    while (id != 0 && !s->out_of_memory) {
        expand(s, t, id);
        for (size_t i = 0; i < s->refs.count && !s->out_of_memory; i++)
            if (left-- == 0 || !emit(s, &s->refs.at[down ? s->refs.count - 1 - i : i]))
                return;
        id = only != 0 ? 0 : down ? ag_ram_table_before(t, id) : ag_ram_table_after(t, id);
    }
}

/* Memories by how well they match. */
static void walk_hits(struct ag_ram_scan *s)
{
    struct ag_ram_hits hits = {0};
    int64_t left = s->filter.limit > 0 ? s->filter.limit : INT64_MAX;

    for (int64_t id = 0; (id = ag_ram_table_after(&s->m->memories, id)) != 0;) {
        expand(s, &s->m->memories, id);
        if (s->refs.count > 0 &&
            !ag_ram_hits_add(&hits, s->refs.at[0].row, ag_str_of(s->filter.search)))
            s->out_of_memory = true;
    }
    ag_ram_hits_sort(&hits);
    for (size_t i = 0; i < hits.count && left-- > 0 && !s->out_of_memory; i++) {
        struct ag_ram_ref ref = {.row = hits.at[i].row};

        if (!emit(s, &ref))
            break;
    }
    ag_ram_hits_drop(&hits);
}

static const char *refused(const struct ag_ram_view *view, const agent_filter *f)
{
    const struct {
        bool asked;
        unsigned by;
        const char *field;
    } fields[] = {
        {f->agent != NULL, AG_RAM_BY_AGENT, "agent"},    {f->session_id != 0, AG_RAM_BY_SESSION, "session"},
        {f->run_id != 0, AG_RAM_BY_RUN, "run"},          {f->status != NULL, AG_RAM_BY_STATUS, "status"},
        {f->name != NULL, AG_RAM_BY_NAME, "name"},       {f->scope != NULL, AG_RAM_BY_SCOPE, "scope"},
        {f->search != NULL, AG_RAM_BY_SEARCH, "search"}, {f->since_ms != 0, AG_RAM_BY_SINCE, "since"},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i].asked && (view->by & fields[i].by) == 0)
            return fields[i].field;
    return NULL;
}

static void walk(struct ag_ram_scan *s)
{
    const struct ag_ram_table *t = (const struct ag_ram_table *)(const void *)((const char *)s->m + s->view->table);
    int64_t only = s->view->only == NULL ? 0 : s->view->only(s);

    if (only != 0 && ag_ram_table_at(t, only) == NULL)
        return;
    if (s->filter.search != NULL)
        walk_hits(s);
    else
        walk_table(s, t, only);
}

agent_status ag_ram_scan(ag_reader *r, enum agent_view view, const agent_filter *f, agent_row_fn fn, void *ctx,
                         agent_error *err)
{
    struct ag_ram *m = (struct ag_ram *)r->store;
    struct ag_ram_scan s = {.m = m, .fn = fn, .ctx = ctx, .text = AG_BUF_INIT(TEXT_CAP_BYTES)};
    const char *field;

    if ((unsigned)view >= AGENT_VIEW_LIMIT)
        return ag_fail(err, AGENT_EINVAL, 0, "scan: no view %d", (int)view);
    s.view = &ag_ram_views[view];
    if (f != NULL)
        s.filter = *f;
    if ((field = refused(s.view, &s.filter)) != NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "%s has no column to filter by %s", s.view->name, field);
    if (s.view->table == 0)
        return AGENT_OK;
    (void)pthread_mutex_lock(&m->lock);
    walk(&s);
    (void)pthread_mutex_unlock(&m->lock);
    ag_free(s.refs.at);
    ag_buf_drop(&s.text);
    return s.out_of_memory ? ag_ram_nomem(err) : AGENT_OK;
}
