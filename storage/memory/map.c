#include "storage/memory/map.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "storage/memory/pages.h"

#define SLOTS_FIRST    16U
#define MOVE_EVERY     8U  /* inserts: the next slots of old are moved, */
#define MOVE_SLOTS     32U /* so many; done when the half of the inserts to the next growth are */

/* --- hash ------------------------------------------------------------------------------------ */

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

static uint64_t load4(const char *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

/* Two words a round, folded by a 64x64 multiplication with odd constants (digits of pi). The last
 * words may overlap those before them: no byte is left over, and no loop runs over single bytes. */
uint64_t ag_ram_hash(uint64_t seed, struct ag_str s)
{
    static const uint64_t k0 = 0x243f6a8885a308d3u, k1 = 0x13198a2e03707345u, k2 = 0xa4093822299f31d1u;
    uint64_t h = seed ^ k0, a = 0, b = 0;
    const char *p = s.p;
    size_t n = s.n;

    for (; n > 16; p += 16, n -= 16)
        h = fold(load8(p) ^ k1, load8(p + 8) ^ h);
    if (n >= 8) {
        a = load8(p);
        b = load8(p + n - 8);
    } else if (n >= 4) {
        a = load4(p);
        b = load4(p + n - 4);
    } else if (n > 0) {
        a = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    }
    return fold(fold(a ^ k1, b ^ h) ^ k2, s.n ^ k0);
}

/* Large tables are read all over the place: huge pages save most of the misses of the TLB. Zeroed. */
static struct ag_ram_slot *slots_get(size_t count)
{
    size_t bytes = count * sizeof(struct ag_ram_slot);

    return bytes >= AG_PAGES_UNIT ? ag_pages_get(bytes) : ag_calloc(1, bytes);
}

static void slots_put(struct ag_ram_slot *slots, size_t count)
{
    size_t bytes = count * sizeof(struct ag_ram_slot);

    if (bytes >= AG_PAGES_UNIT)
        ag_pages_put(slots, bytes);
    else
        ag_free(slots);
}

/* --- slots ----------------------------------------------------------------------------------- */

/* Where a hash belongs: its upper bits, so that a table and the one twice as large have the same order. */
static uint32_t home(const struct ag_ram_half *t, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash >> t->shift);
}

static void *ref_of(struct ag_ram_slot s)
{
    return (void *)(uintptr_t)((uint64_t)s.high << 32 | s.low);
}

static bool is_free(struct ag_ram_slot s)
{
    return (s.low | s.high) == 0;
}

static void insert(struct ag_ram_half *t, struct ag_ram_slot s)
{
    uint32_t i = home(t, s.hash);

    while (!is_free(t->slots[i]))
        i = (i + 1) & t->mask;
    t->slots[i] = s;
}

/* Moves the next `count` slots, and on to where a chain ends: none is in both halves. */
static void move_some(struct ag_ram_map *map, uint32_t count)
{
    struct ag_ram_half *old = &map->old;

    for (; map->moved <= old->mask; map->moved++) {
        struct ag_ram_slot *s = &old->slots[(map->start + map->moved) & old->mask];

        if (!is_free(*s)) {
            insert(&map->now, *s);
            *s = (struct ag_ram_slot){0, 0, 0};
        } else if (count == 0) {
            return;
        }
        count -= count > 0;
    }
    slots_put(old->slots, (size_t)old->mask + 1);
    map->held_bytes -= ((size_t)old->mask + 1) * sizeof(struct ag_ram_slot);
    map->old = (struct ag_ram_half){0};
}

/* Into what is left of the old half, but not over its end to where the move began. */
static bool insert_old(struct ag_ram_map *map, struct ag_ram_slot s)
{
    struct ag_ram_half *old = &map->old;
    uint32_t i = home(old, s.hash);

    while (!is_free(old->slots[i]))
        if ((i = (i + 1) & old->mask) == (map->start & old->mask))
            return false;
    old->slots[i] = s;
    return true;
}

bool ag_ram_map_reserve(struct ag_ram_map *map)
{
    size_t room = map->now.slots == NULL ? 0 : (size_t)map->now.mask + 1;
    size_t want = room == 0 ? SLOTS_FIRST : room * 2;
    struct ag_ram_slot *slots;

    if (map->count + 1 <= room / 2)
        return true;
    if (want > (size_t)UINT32_MAX + 1 || (slots = slots_get(want)) == NULL)
        return false;
    if (map->old.slots != NULL)
        move_some(map, UINT32_MAX);
    map->held_bytes += want * sizeof(*slots);
    map->old = map->now;
    map->now = (struct ag_ram_half){slots, (uint32_t)(want - 1), 32U - (uint32_t)__builtin_ctzll(want)};
    map->moved = 0;
    map->start = 0;
    if (map->old.slots != NULL)
        while (!is_free(map->old.slots[(map->start - 1) & map->old.mask]))
            map->start++;
    return true;
}

void ag_ram_map_put(struct ag_ram_map *map, uint32_t hash, void *ref)
{
    struct ag_ram_slot s = {hash, (uint32_t)(uintptr_t)ref, (uint32_t)((uint64_t)(uintptr_t)ref >> 32)};

    map->count++;
    if (map->old.slots != NULL && map->count % MOVE_EVERY == 0)
        move_some(map, MOVE_SLOTS);
    if (ag_ram_map_in_old(map, hash)) {
        if (insert_old(map, s))
            return;
        move_some(map, UINT32_MAX);
    }
    insert(&map->now, s);
}

void ag_ram_map_del(struct ag_ram_map *map, uint32_t hash, const void *ref)
{
    struct ag_ram_half *t = ag_ram_map_in_old(map, hash) ? &map->old : &map->now;
    uint32_t hole = home(t, hash);

    while (t->slots[hole].hash != hash || ref_of(t->slots[hole]) != ref) {
        assert(!is_free(t->slots[hole]));
        hole = (hole + 1) & t->mask;
    }
    for (uint32_t i = (hole + 1) & t->mask; !is_free(t->slots[i]); i = (i + 1) & t->mask) {
        if (((i - home(t, t->slots[i].hash)) & t->mask) < ((i - hole) & t->mask))
            continue; /* it may not go in front of its home */
        t->slots[hole] = t->slots[i];
        hole = i;
    }
    t->slots[hole] = (struct ag_ram_slot){0, 0, 0};
    map->count--;
}

static void *walk(const struct ag_ram_half *t, uint32_t hash, struct ag_ram_at *at)
{
    for (; !is_free(t->slots[at->slot]); at->slot = (at->slot + 1) & t->mask)
        if (t->slots[at->slot].hash == hash)
            return ref_of(t->slots[at->slot]);
    return NULL;
}

void *ag_ram_map_first(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at)
{
    if (map->now.slots == NULL)
        return NULL;
    at->half = ag_ram_map_in_old(map, hash) ? &map->old : &map->now;
    at->slot = home(at->half, hash);
    return walk(at->half, hash, at);
}

void *ag_ram_map_next(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at)
{
    (void)map;
    at->slot = (at->slot + 1) & at->half->mask;
    return walk(at->half, hash, at);
}

void ag_ram_map_drop(struct ag_ram_map *map)
{
    slots_put(map->now.slots, (size_t)map->now.mask + 1);
    slots_put(map->old.slots, (size_t)map->old.mask + 1);
    *map = (struct ag_ram_map){0};
}
