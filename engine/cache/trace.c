/* Traces; see trace.h. */
#include "engine/cache/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/cache/hash.h"

#define RECORD_BYTES 24

void ag_trace_drop(struct ag_trace *t)
{
    ag_free(t->requests);
    *t = (struct ag_trace){0};
}

agent_status ag_trace_add(struct ag_trace *t, uint64_t key, uint32_t bytes, uint32_t time, agent_error *err)
{
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 4096 : t->room * 2;
        struct ag_trace_request *more = ag_realloc(t->requests, room * sizeof(*more));

        if (more == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "trace of %zu requests: out of memory", t->count);
        t->requests = more;
        t->room = room;
    }
    t->requests[t->count++] = (struct ag_trace_request){.key = key, .next = -1, .bytes = bytes, .time = time};
    return AGENT_OK;
}

/* Backwards, with a table of where each key comes next. */
agent_status ag_trace_link(struct ag_trace *t, agent_error *err)
{
    struct place { uint64_t key; int64_t index_plus_1; } *table;
    size_t mask = 1;

    while (mask < 2 * t->count + 2)
        mask *= 2;
    table = ag_calloc(mask, sizeof(*table));
    if (table == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "trace of %zu requests: out of memory", t->count);
    mask--;
    t->objects = 0;
    t->footprint_bytes = 0;
    for (size_t i = t->count; i-- > 0;) {
        struct ag_trace_request *q = &t->requests[i];
        size_t at = ag_hash_u64(q->key) & mask;

        while (table[at].index_plus_1 != 0 && table[at].key != q->key)
            at = (at + 1) & mask;
        q->next = table[at].index_plus_1 - 1;
        if (table[at].index_plus_1 == 0) {
            t->objects++;
            t->footprint_bytes += q->bytes;
        }
        table[at] = (struct place){q->key, (int64_t)i + 1};
    }
    ag_free(table);
    return AGENT_OK;
}

static uint64_t little(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0)
        v = v << 8 | p[bytes];
    return v;
}

static agent_status load_bin(FILE *f, struct ag_trace *t, agent_error *err)
{
    unsigned char record[RECORD_BYTES];
    size_t n;
    agent_status rc = AGENT_OK;

    while (rc == AGENT_OK && (n = fread(record, 1, sizeof(record), f)) == sizeof(record))
        rc = ag_trace_add(t, little(record + 4, 8), (uint32_t)little(record + 12, 4), (uint32_t)little(record, 4), err);
    if (rc == AGENT_OK && !ferror(f) && n != 0) {
        rc = ag_fail(err, AGENT_EINVAL, 0, "record %zu has %zu bytes, not %d", t->count + 1, n, RECORD_BYTES);
        ag_hint(err, "records are u32 time, u64 key, u32 bytes, i64 next; a text file must be named .csv");
    }
    return rc;
}

static bool whole_number(const char *p, const char *end, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (p == end)
        return false;
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - (unsigned)'0';

        if (digit > 9 || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

/* A time may have a fraction; only its whole part is kept. */
static bool parse_line(const char *line, size_t n, uint64_t *time, uint64_t *key, uint64_t *bytes)
{
    const char *end = line + n, *first = memchr(line, ',', n), *second, *point;

    if (first == NULL || (second = memchr(first + 1, ',', (size_t)(end - first - 1))) == NULL)
        return false;
    point = memchr(line, '.', (size_t)(first - line));
    if (!whole_number(line, point == NULL ? first : point, UINT64_MAX, time) ||
        !whole_number(second + 1, end, UINT32_MAX, bytes))
        return false;
    if (!whole_number(first + 1, second, UINT64_MAX, key))
        *key = ag_hash_bytes(first + 1, (size_t)(second - first - 1), 0);
    return true;
}

static agent_status load_csv(FILE *f, struct ag_trace *t, agent_error *err)
{
    char line[AG_TRACE_LINE_MAX];
    agent_status rc = AGENT_OK;

    for (size_t number = 1; rc == AGENT_OK && fgets(line, sizeof(line), f) != NULL; number++) {
        size_t n = strlen(line);
        uint64_t time, key, bytes;

        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        line[n] = '\0';
        if (n == 0)
            continue;
        if (parse_line(line, n, &time, &key, &bytes)) {
            rc = ag_trace_add(t, key, (uint32_t)bytes, (uint32_t)time, err);
        } else if (number > 1) {
            rc = ag_fail(err, AGENT_EINVAL, 0, "line %zu is not time,key,bytes: \"%.40s\"", number, line);
            ag_hint(err, "time and bytes are whole numbers, bytes below 2^32; lines are under %d bytes",
                    AG_TRACE_LINE_MAX);
        }
    }
    return rc;
}

agent_status ag_trace_format(const char *path, bool *out_is_csv, agent_error *err)
{
    const char *dot = strrchr(path, '.');
    bool is_csv = dot != NULL && strcmp(dot, ".csv") == 0;

    if (!is_csv && (dot == NULL || strcmp(dot, ".bin") != 0)) {
        (void)ag_fail(err, AGENT_EINVAL, 0, "trace '%s': its format is told by its name", path);
        ag_hint(err, "name it .csv (time,key,bytes) or .bin (packed 24-byte records)");
        return AGENT_EINVAL;
    }
    *out_is_csv = is_csv;
    return AGENT_OK;
}

static unsigned char *put_little(unsigned char *p, uint64_t v, int bytes)
{
    for (; bytes-- > 0; v >>= 8)
        *p++ = (unsigned char)v;
    return p;
}

agent_status ag_trace_write(const struct ag_trace *t, FILE *f, bool is_csv, agent_error *err)
{
    static const char heading[] = "time,key,bytes\n";
    bool good = !is_csv || fwrite(heading, sizeof(heading) - 1, 1, f) == 1;

    for (size_t i = 0; i < t->count && good; i++) {
        const struct ag_trace_request *q = &t->requests[i];
        unsigned char record[RECORD_BYTES], *p = record;

        if (is_csv) {
            char line[64];
            int n = snprintf(line, sizeof(line), "%" PRIu32 ",%" PRIu64 ",%" PRIu32 "\n", q->time, q->key, q->bytes);

            good = fwrite(line, (size_t)n, 1, f) == 1;
            continue;
        }
        p = put_little(p, q->time, 4);
        p = put_little(p, q->key, 8);
        p = put_little(p, q->bytes, 4);
        (void)put_little(p, (uint64_t)q->next, 8);
        good = fwrite(record, sizeof(record), 1, f) == 1;
    }
    if (!good || fflush(f) != 0)
        return ag_fail(err, AGENT_EIO, errno, "write of a trace: %s", strerror(errno));
    return AGENT_OK;
}

agent_status ag_trace_load(const char *path, struct ag_trace *out, agent_error *err)
{
    struct ag_trace t = {0};
    bool is_csv;
    agent_status rc;
    FILE *f;

    if ((rc = ag_trace_format(path, &is_csv, err)) != AGENT_OK)
        return rc;
    f = fopen(path, "rbe");
    if (f == NULL)
        return ag_fail(err, errno == ENOENT ? AGENT_ENOTFOUND : AGENT_EIO, errno, "trace '%s': %s", path,
                       strerror(errno));
    rc = is_csv ? load_csv(f, &t, err) : load_bin(f, &t, err);
    if (rc == AGENT_OK && ferror(f))
        rc = ag_fail(err, AGENT_EIO, errno, "read failed: %s", strerror(errno));
    (void)fclose(f);
    if (rc == AGENT_OK && t.count == 0)
        rc = ag_fail(err, AGENT_EINVAL, 0, "it has no request");
    if (rc == AGENT_OK)
        rc = ag_trace_link(&t, err);
    if (rc != AGENT_OK) {
        ag_trace_drop(&t);
        return ag_wrap(err, rc, "trace '%s'", path);
    }
    *out = t;
    return AGENT_OK;
}

/*
 * Belady. A resident is known by the index of its next request, so residency is one flag per
 * request, and no table is needed. One max-heap by next request for each size class (eighth of an
 * octave): the worst of each class is its top, and the tops are compared by size x distance.
 */
#define CLASSES 256

struct far_heap {
    struct far { int64_t next; uint32_t bytes; } *items;
    size_t count, room;
};

static unsigned class_of(uint32_t bytes)
{
    unsigned octave, eighth;

    if (bytes < 8)
        return bytes;
    octave = 31u - (unsigned)__builtin_clz(bytes);
    eighth = bytes >> (octave - 3) & 7;
    return octave * 8 + eighth;
}

static bool far_push(struct far_heap *h, struct far item)
{
    size_t at;

    if (h->count == h->room) {
        size_t room = h->room == 0 ? 64 : h->room * 2;
        struct far *more = ag_realloc(h->items, room * sizeof(*more));

        if (more == NULL)
            return false;
        h->items = more;
        h->room = room;
    }
    for (at = h->count++; at > 0 && h->items[(at - 1) / 2].next < item.next; at = (at - 1) / 2)
        h->items[at] = h->items[(at - 1) / 2];
    h->items[at] = item;
    return true;
}

static void far_pop(struct far_heap *h)
{
    struct far item = h->items[--h->count];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->items[child + 1].next > h->items[child].next)
            child++;
        if (h->items[child].next <= item.next)
            break;
        h->items[at] = h->items[child];
    }
    h->items[at] = item;
}

static void evict_worst(struct far_heap *heaps, unsigned char *is_in, size_t now, uint64_t *held)
{
    struct far_heap *worst = NULL;
    double worst_score = -1;

    for (unsigned i = 0; i < CLASSES; i++) {
        struct far_heap *h = &heaps[i];
        double score;

        while (h->count > 0 && !is_in[h->items[0].next])
            far_pop(h);
        if (h->count == 0)
            continue;
        score = (double)h->items[0].bytes * (double)(h->items[0].next - (int64_t)now);
        if (score > worst_score) {
            worst_score = score;
            worst = h;
        }
    }
    *held -= worst->items[0].bytes;
    is_in[worst->items[0].next] = 0;
    far_pop(worst);
}

agent_status ag_trace_belady(const struct ag_trace *t, uint64_t capacity, uint64_t *out_hits, agent_error *err)
{
    struct far_heap *heaps = ag_calloc(CLASSES, sizeof(*heaps));
    unsigned char *is_in = ag_calloc(t->count + 1, 1);
    uint64_t hits = 0, held = 0;
    bool ok = heaps != NULL && is_in != NULL;

    for (size_t i = 0; ok && i < t->count; i++) {
        const struct ag_trace_request *q = &t->requests[i];

        if (is_in[i]) {
            hits++;
            is_in[i] = 0;
            held -= q->bytes;
        }
        if (q->next < 0 || q->bytes > capacity || t->requests[q->next].bytes != q->bytes)
            continue;
        while (held + q->bytes > capacity)
            evict_worst(heaps, is_in, i, &held);
        ok = far_push(&heaps[class_of(q->bytes)], (struct far){q->next, q->bytes});
        is_in[q->next] = 1;
        held += q->bytes;
    }
    for (unsigned i = 0; heaps != NULL && i < CLASSES; i++)
        ag_free(heaps[i].items);
    ag_free(heaps);
    ag_free(is_in);
    if (!ok)
        return ag_fail(err, AGENT_ENOMEM, 0, "optimum of a trace of %zu requests: out of memory", t->count);
    *out_hits = hits;
    return AGENT_OK;
}
