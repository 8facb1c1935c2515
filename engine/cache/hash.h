/*
 * The hash of keys: 16 bytes a round, folded by one 64 x 64 multiplication each. All 64 bits are
 * used: the top ones choose the shard, the low ones the slot, both the ghost's fingerprint.
 */
#ifndef AG_CACHE_HASH_H
#define AG_CACHE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

__extension__ typedef unsigned __int128 ag_u128;

static inline uint64_t ag_hash_fold(uint64_t a, uint64_t b)
{
    ag_u128 product = (ag_u128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t ag_hash_u64(uint64_t x)
{
    return ag_hash_fold(x ^ UINT64_C(0x8EBC6AF09C88C6E3), UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
}

static inline uint64_t ag_hash_load(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return v;
}

static inline uint64_t ag_hash_bytes(const void *key, size_t n, uint64_t seed)
{
    const unsigned char *p = key;
    uint64_t h = seed ^ (n * UINT64_C(0x9E3779B97F4A7C15)), a, b;

    for (; n > 16; p += 16, n -= 16)
        h = ag_hash_fold(ag_hash_load(p, 8) ^ UINT64_C(0xA0761D6478BD642F) ^ h, ag_hash_load(p + 8, 8) ^ UINT64_C(0xE7037ED1A0B428DB));
    /* The last 1 to 16 bytes as two words that may overlap: no loop over bytes. */
    if (n >= 8) {
        a = ag_hash_load(p, 8);
        b = ag_hash_load(p + n - 8, 8);
    } else if (n >= 4) {
        a = ag_hash_load(p, 4);
        b = ag_hash_load(p + n - 4, 4);
    } else {
        a = n > 0 ? (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1] : 0;
        b = 0;
    }
    h = ag_hash_fold(a ^ UINT64_C(0xA0761D6478BD642F) ^ h, b ^ UINT64_C(0x8EBC6AF09C88C6E3));
    return ag_hash_fold(h ^ UINT64_C(0x589965CC75374CC3), UINT64_C(0x1D8E4E27C47D124F));
}

#endif
