#include "storage/memory/map.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"

#define SLOTS_FIRST    16U
#define MOVES_A_INSERT 4U /* 2 would do to be done before the next growth */
#define GONE           UINT32_MAX /* both halves: removed from old, its chain goes on */

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

/* --- slots ----------------------------------------------------------------------------------- */

static void *ref_of(struct ag_ram_slot s)
{
    return (void *)(uintptr_t)((uint64_t)s.high << 32 | s.low);
}

static bool is_free(struct ag_ram_slot s)
{
    return (s.low | s.high) == 0;
}

static bool is_gone(struct ag_ram_slot s)
{
    return s.low == GONE && s.high == GONE;
}

static void insert(struct ag_ram_map *map, struct ag_ram_slot s)
{
    uint32_t i = s.hash & map->mask;

    while (!is_free(map->slots[i]))
        i = (i + 1) & map->mask;
    map->slots[i] = s;
}

static void move_some(struct ag_ram_map *map, uint32_t count)
{
    while (count-- > 0 && map->moved <= map->old_mask) {
        struct ag_ram_slot s = map->old[map->moved++];

        if (!is_free(s) && !is_gone(s))
            insert(map, s);
    }
    if (map->moved > map->old_mask) {
        ag_free(map->old);
        map->held_bytes -= ((size_t)map->old_mask + 1) * sizeof(struct ag_ram_slot);
        map->old = NULL;
    }
}

bool ag_ram_map_reserve(struct ag_ram_map *map)
{
    size_t room = map->slots == NULL ? 0 : (size_t)map->mask + 1;
    size_t want = room == 0 ? SLOTS_FIRST : room * 2;
    struct ag_ram_slot *slots;

    if (map->count + 1 <= room / 4 * 3)
        return true;
    if (want > (size_t)UINT32_MAX + 1 || (slots = ag_calloc(want, sizeof(*slots))) == NULL)
        return false;
    if (map->old != NULL)
        move_some(map, UINT32_MAX);
    map->held_bytes += want * sizeof(*slots);
    map->old = map->slots;
    map->old_mask = map->mask;
    map->moved = 0;
    map->slots = slots;
    map->mask = (uint32_t)(want - 1);
    return true;
}

void ag_ram_map_put(struct ag_ram_map *map, uint32_t hash, void *ref)
{
    uint64_t v = (uint64_t)(uintptr_t)ref;

    if (map->old != NULL)
        move_some(map, MOVES_A_INSERT);
    insert(map, (struct ag_ram_slot){hash, (uint32_t)v, (uint32_t)(v >> 32)});
    map->count++;
}

/* The slot of a pair in one of the two tables; UINT64_MAX: not in this one. */
static uint64_t find(const struct ag_ram_slot *slots, uint32_t mask, uint32_t hash, const void *ref)
{
    for (uint32_t i = hash & mask; !is_free(slots[i]); i = (i + 1) & mask)
        if (slots[i].hash == hash && ref_of(slots[i]) == ref)
            return i;
    return UINT64_MAX;
}

void ag_ram_map_del(struct ag_ram_map *map, uint32_t hash, const void *ref)
{
    uint64_t found = find(map->slots, map->mask, hash, ref);
    uint32_t hole, i;

    map->count--;
    if (found == UINT64_MAX) {
        found = map->old == NULL ? UINT64_MAX : find(map->old, map->old_mask, hash, ref);
        assert(found != UINT64_MAX && found >= map->moved);
        map->old[found].low = map->old[found].high = GONE;
        return;
    }
    hole = (uint32_t)found;
    for (i = (hole + 1) & map->mask; !is_free(map->slots[i]); i = (i + 1) & map->mask) {
        uint32_t home = map->slots[i].hash & map->mask;

        if (((i - home) & map->mask) < ((i - hole) & map->mask))
            continue; /* it may not go in front of its home */
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct ag_ram_slot){0, 0, 0};
}

static void *walk(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at)
{
    if (!at->in_old) {
        for (; !is_free(map->slots[at->slot]); at->slot = (at->slot + 1) & map->mask)
            if (map->slots[at->slot].hash == hash)
                return ref_of(map->slots[at->slot]);
        if (map->old == NULL)
            return NULL;
        at->in_old = true;
        at->slot = hash & map->old_mask;
    }
    for (; !is_free(map->old[at->slot]); at->slot = (at->slot + 1) & map->old_mask)
        if (at->slot >= map->moved && map->old[at->slot].hash == hash && !is_gone(map->old[at->slot]))
            return ref_of(map->old[at->slot]);
    return NULL;
}

void *ag_ram_map_first(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at)
{
    if (map->slots == NULL)
        return NULL;
    *at = (struct ag_ram_at){hash & map->mask, false};
    return walk(map, hash, at);
}

void *ag_ram_map_next(const struct ag_ram_map *map, uint32_t hash, struct ag_ram_at *at)
{
    at->slot = (at->slot + 1) & (at->in_old ? map->old_mask : map->mask);
    return walk(map, hash, at);
}

void ag_ram_map_drop(struct ag_ram_map *map)
{
    ag_free(map->slots);
    ag_free(map->old);
    *map = (struct ag_ram_map){0};
}
