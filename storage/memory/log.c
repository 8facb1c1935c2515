/*
 * How a unit is taken back. Entries are pushed as the unit goes, each with a foot behind it:
 *
 *     [saved bytes][foot] [foot] [foot] [saved bytes][foot]
 *                                                          ▲ log_used; rollback walks to the left
 *
 * Commit gives back the memory of what was removed, and forgets the rest in one store.
 */
#include <assert.h>

#include "engine/base/mem.h"
#include "storage/memory/ram.h"

enum kind { SAVED, NEW_BLOCK, DEAD_BLOCK, NEW_ROW, DEAD_ROW, MAP_PUT, MAP_DEL };

struct foot {
    void *p;     /* saved bytes' place, block, table or map */
    void *ref;   /* of a map's pair */
    int64_t n;   /* bytes or id */
    uint32_t hash;
    enum kind kind;
};

bool ag_ram_reserve(struct ag_ram *m, size_t bytes)
{
    size_t room = m->log_room == 0 ? 2 * (size_t)AG_RAM_OP_LOG : m->log_room;
    char *log;

    if (m->log_room - m->log_used >= bytes)
        return true;
    while (room - m->log_used < bytes)
        room *= 2;
    if ((log = ag_realloc(m->log, room)) == NULL)
        return false;
    m->log = log;
    m->log_room = room;
    return true;
}

static void push(struct ag_ram *m, struct foot foot)
{
    assert(m->log_room - m->log_used >= sizeof(foot));
    memcpy(m->log + m->log_used, &foot, sizeof(foot));
    m->log_used += sizeof(foot);
}

void ag_ram_save(struct ag_ram *m, void *p, size_t bytes)
{
    assert(m->log_room - m->log_used >= bytes + sizeof(struct foot));
    memcpy(m->log + m->log_used, p, bytes);
    m->log_used += bytes;
    push(m, (struct foot){.p = p, .n = (int64_t)bytes, .kind = SAVED});
}

void *ag_ram_new(struct ag_ram *m, size_t bytes)
{
    void *p = ag_ram_pool_get(&m->pool, bytes);

    if (p != NULL)
        push(m, (struct foot){.p = p, .n = (int64_t)bytes, .kind = NEW_BLOCK});
    return p;
}

void ag_ram_dead(struct ag_ram *m, void *p, size_t bytes)
{
    push(m, (struct foot){.p = p, .n = (int64_t)bytes, .kind = DEAD_BLOCK});
    m->log_dead++;
}

void *ag_ram_row_new(struct ag_ram *m, struct ag_ram_table *t, int64_t *out_id)
{
    void *row = ag_ram_table_new(t, out_id);

    if (row != NULL)
        push(m, (struct foot){.p = t, .n = *out_id, .kind = NEW_ROW});
    return row;
}

void ag_ram_row_dead(struct ag_ram *m, struct ag_ram_table *t, int64_t id)
{
    ag_ram_table_hide(t, id);
    push(m, (struct foot){.p = t, .n = id, .kind = DEAD_ROW});
    m->log_dead++;
}

bool ag_ram_put(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref)
{
    if (!ag_ram_map_reserve(map))
        return false;
    ag_ram_map_put(map, hash, ref);
    push(m, (struct foot){.p = map, .ref = ref, .hash = hash, .kind = MAP_PUT});
    return true;
}

void ag_ram_del(struct ag_ram *m, struct ag_ram_map *map, uint32_t hash, void *ref)
{
    ag_ram_map_del(map, hash, ref);
    push(m, (struct foot){.p = map, .ref = ref, .hash = hash, .kind = MAP_DEL});
}

/* The newest entry, off the log; *out_saved: its bytes, still there. */
static struct foot pop(struct ag_ram *m, const char **out_saved)
{
    struct foot foot;

    m->log_used -= sizeof(foot);
    memcpy(&foot, m->log + m->log_used, sizeof(foot));
    if (foot.kind == SAVED)
        m->log_used -= (size_t)foot.n;
    *out_saved = m->log + m->log_used;
    return foot;
}

void ag_ram_commit(struct ag_ram *m)
{
    const char *saved;

    while (m->log_dead > 0) {
        struct foot foot = pop(m, &saved);

        if (foot.kind == DEAD_BLOCK)
            ag_ram_pool_put(&m->pool, foot.p, (size_t)foot.n);
        else if (foot.kind == DEAD_ROW)
            ag_ram_table_release(foot.p, foot.n);
        else
            continue;
        m->log_dead--;
    }
    m->log_used = 0;
}

void ag_ram_rollback(struct ag_ram *m)
{
    const char *saved;

    while (m->log_used > 0) {
        struct foot foot = pop(m, &saved);

        switch (foot.kind) {
        case SAVED:
            memcpy(foot.p, saved, (size_t)foot.n);
            break;
        case NEW_BLOCK:
            ag_ram_pool_put(&m->pool, foot.p, (size_t)foot.n);
            break;
        case NEW_ROW:
            ag_ram_table_unmake(foot.p, foot.n);
            break;
        case DEAD_ROW:
            ag_ram_table_unhide(foot.p, foot.n);
            break;
        case MAP_PUT:
            ag_ram_map_del(foot.p, foot.hash, foot.ref);
            break;
        case MAP_DEL:
            ag_ram_map_put(foot.p, foot.hash, foot.ref);
            break;
        case DEAD_BLOCK:
            break;
        }
    }
    m->log_dead = 0;
}
