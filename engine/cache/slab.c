/* The entries of one shard; see slab.h. Chunks are 4 KB and aligned to cache lines. */
#include "engine/cache/slab.h"

#include <string.h>

#include "engine/base/mem.h"

/* The heap gives 16-byte alignment; 64 more bytes let the chunk begin on a line. */
#define CHUNK_BYTES (AG_CHUNK * sizeof(struct ag_entry) + 64)

struct chunk_head {
    void *raw; /* lies in the entry before the first: the bytes that alignment skipped */
};

static struct ag_entry *chunk_new(void)
{
    unsigned char *raw = ag_malloc(CHUNK_BYTES);
    uintptr_t at;

    if (raw == NULL)
        return NULL;
    /* At least one pointer of room in front: the heap's alignment is 16. */
    at = ((uintptr_t)raw + sizeof(struct chunk_head) + 63) & ~(uintptr_t)63;
    ((struct chunk_head *)at)[-1].raw = raw;
    return (struct ag_entry *)at;
}

static void chunk_free(struct ag_entry *chunk)
{
    ag_free(((struct chunk_head *)chunk)[-1].raw);
}

void ag_slab_init(struct ag_slab *s)
{
    *s = (struct ag_slab){.free_head = AG_NO_ENTRY};
}

void ag_slab_drop(struct ag_slab *s)
{
    for (uint32_t i = 0; i < s->chunk_count; i++)
        chunk_free(s->chunks[i]);
    ag_free(s->chunks);
    ag_slab_init(s);
}

static uint32_t next_room(const struct ag_slab *s)
{
    return s->chunk_room == 0 ? 8 : s->chunk_room + s->chunk_room / 2;
}

size_t ag_slab_need(const struct ag_slab *s)
{
    if (s->free_head != AG_NO_ENTRY)
        return 0;
    return CHUNK_BYTES + (s->chunk_count == s->chunk_room ? next_room(s) * sizeof(*s->chunks) : 0);
}

uint32_t ag_slab_take(struct ag_slab *s)
{
    struct ag_entry *chunk, *e;
    uint32_t id;

    if (s->free_head == AG_NO_ENTRY) {
        if (s->chunk_count == s->chunk_room) {
            struct ag_entry **more = ag_realloc(s->chunks, next_room(s) * sizeof(*more));

            if (more == NULL)
                return AG_NO_ENTRY;
            s->held_bytes += (next_room(s) - s->chunk_room) * sizeof(*more);
            s->chunk_room = next_room(s);
            s->chunks = more;
        }
        if ((chunk = chunk_new()) == NULL)
            return AG_NO_ENTRY;
        s->chunks[s->chunk_count++] = chunk;
        s->held_bytes += CHUNK_BYTES;
        for (uint32_t i = AG_CHUNK; i-- > 0;) {
            chunk[i].node.state = AG_NODE_FREE;
            chunk[i].node.next = s->free_head;
            s->free_head = (s->chunk_count - 1) * AG_CHUNK + i;
        }
    }
    id = s->free_head;
    e = ag_slab_at(s, id);
    s->free_head = e->node.next;
    memset(e, 0, sizeof(*e));
    e->node.prev = e->node.next = AG_NO_ENTRY;
    s->used++;
    return id;
}

void ag_slab_give(struct ag_slab *s, uint32_t id)
{
    struct ag_pnode *n = ag_node_at(s, id);

    n->state = AG_NODE_FREE;
    n->next = s->free_head;
    s->free_head = id;
    s->used--;
}
