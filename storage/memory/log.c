/*
 * How a unit is taken back. Entries are pushed as the unit goes, each with a foot behind it:
 *
 *     [saved bytes][foot] [foot] [foot] [saved bytes][foot]
 *                                                          ▲ log_used; rollback walks to the left
 *
 * Commit gives back the memory of what was removed, and forgets the rest in one store.
 */
#include "engine/base/mem.h"
#include "storage/memory/ram.h"

bool ag_ram_log_grow(struct ag_ram *m, size_t bytes)
{
    size_t room = m->log_room == 0 ? 2 * (size_t)AG_RAM_OP_LOG : m->log_room;
    char *log;

    while (room - m->log_used < bytes)
        room *= 2;
    if ((log = ag_realloc(m->log, room)) == NULL)
        return false;
    m->log = log;
    m->log_room = room;
    return true;
}

void *ag_ram_row_new(struct ag_ram *m, struct ag_ram_table *t, int64_t *out_id)
{
    void *row = ag_ram_table_new(t, out_id);

    if (row != NULL)
        ag_ram_push(m, AG_RAM_NEW_ROW, t, *out_id);
    return row;
}

void ag_ram_row_dead(struct ag_ram *m, struct ag_ram_table *t, int64_t id)
{
    ag_ram_table_hide(t, id);
    if (m->is_forgetting) {
        ag_ram_table_release(t, id);
        return;
    }
    ag_ram_push(m, AG_RAM_DEAD_ROW, t, id);
    m->log_dead++;
}

static void push_pair(struct ag_ram *m, enum ag_ram_log_kind kind, struct ag_ram_map *map, uint32_t hash, void *ref)
{
    ag_ram_push(m, kind, map, hash);
    ((struct ag_ram_foot *)(void *)(m->log + m->log_used))[-1].ref = ref;
}

bool ag_ram_put(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref)
{
    if (!ag_ram_map_reserve(map))
        return false;
    ag_ram_map_put(map, hash, ref);
    push_pair(m, AG_RAM_MAP_PUT, map, hash, ref);
    return true;
}

void ag_ram_del(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref)
{
    ag_ram_map_del(map, hash, ref);
    if (!m->is_forgetting)
        push_pair(m, AG_RAM_MAP_DEL, map, hash, ref);
}

/* The newest entry, off the log; *out_saved: its bytes, still there. */
static struct ag_ram_foot pop(struct ag_ram *m, const char **out_saved)
{
    struct ag_ram_foot foot;

    m->log_used -= sizeof(foot);
    memcpy(&foot, m->log + m->log_used, sizeof(foot));
    if (foot.kind == AG_RAM_SAVED)
        m->log_used -= (size_t)foot.n;
    *out_saved = m->log + m->log_used;
    return foot;
}

void ag_ram_commit(struct ag_ram *m)
{
    const char *saved;

    while (m->log_dead > 0) {
        struct ag_ram_foot foot = pop(m, &saved);

        if (foot.kind == AG_RAM_DEAD_BLOCK)
            ag_ram_pool_put(&m->pool, foot.p, (size_t)foot.n);
        else if (foot.kind == AG_RAM_DEAD_ROW)
            ag_ram_table_release(foot.p, foot.n);
        else
            continue;
        m->log_dead--;
    }
    m->log_used = 0;
}

void ag_ram_rollback(struct ag_ram *m)
{
    ag_ram_rollback_to(m, 0);
}

void ag_ram_rollback_to(struct ag_ram *m, size_t log_used)
{
    const char *saved;

    while (m->log_used > log_used) {
        struct ag_ram_foot foot = pop(m, &saved);

        switch (foot.kind) {
        case AG_RAM_SAVED:
            memcpy(foot.p, saved, (size_t)foot.n);
            break;
        case AG_RAM_NEW_BLOCK:
            ag_ram_pool_put(&m->pool, foot.p, (size_t)foot.n);
            break;
        case AG_RAM_NEW_ROW:
            ag_ram_table_unmake(foot.p, foot.n);
            break;
        case AG_RAM_DEAD_ROW:
            ag_ram_table_unhide(foot.p, foot.n);
            m->log_dead--;
            break;
        case AG_RAM_MAP_PUT:
            ag_ram_map_del(foot.p, (uint32_t)foot.n, foot.ref);
            break;
        case AG_RAM_MAP_DEL:
            ag_ram_map_put(foot.p, (uint32_t)foot.n, foot.ref);
            break;
        case AG_RAM_DEAD_BLOCK:
            m->log_dead--;
            break;
        }
    }
}
