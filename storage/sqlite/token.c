/*
 * Did anybody else commit? Asked some times per run, so it must cost next to nothing: SQLite keeps a
 * counter of commits in the wal-index, which connection a has mapped anyway.
 *
 *     -shm, first header:  0 iVersion  8 iChange  12 isInit  14 page size  16 mxFrame  …   (walformat)
 *
 *     token = foreign + (iChange - known), less one while our own COMMIT may already show
 *
 * `known` is iChange as of our last look under the write lock, `foreign` the commits of others
 * counted up to there; `window` stands while our COMMIT runs. All three are one atomic word, so a
 * reader on any thread sees a consistent set; that it differs is a fact, why it differs is the
 * caller's to find out.
 *
 * Invariants, cited by number:
 *  (1) An own commit never changes the token: in the window it is subtracted, after it `known` moves
 *      by exactly one. Nobody else can commit between: we hold the write lock.
 *  (2) A foreign commit always does: it is in iChange - known, and moves to `foreign` unchanged.
 *  (3) A layout that is not the documented one is not used: the header is checked when mapped, and
 *      again after the first own commits; else PRAGMA data_version is asked, on its own connection,
 *      which counts our own commits too: more reloads than needed, never fewer.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "storage/sqlite/impl.h"

#define WAL_INDEX_VERSION 3007000u
#define WAL_INDEX_BYTES   32768
#define FALLBACK_EVERY_NS 50000000

enum { I_VERSION = 0, I_CHANGE = 2, I_FLAGS = 3 /* isInit, bigEndCksum, page size */, I_FRAMES = 4, HEADER_WORDS = 12 };

struct state {
    uint32_t known, foreign;
    bool window;
};

static uint64_t pack(struct state st)
{
    return (uint64_t)st.known << 32 | (uint64_t)(st.foreign & 0x7fffffffu) << 1 | (st.window ? 1 : 0);
}

static struct state unpack(uint64_t word)
{
    return (struct state){.known = (uint32_t)(word >> 32), .foreign = (uint32_t)(word >> 1) & 0x7fffffffu,
                          .window = (word & 1) != 0};
}

static uint32_t change_counter(const struct ag_token *t)
{
    return __atomic_load_n((const uint32_t *)&t->header[I_CHANGE], __ATOMIC_ACQUIRE);
}

/* Both copies the same, initialised, and of the layout this file was written against. A log without a
 * frame, as the last to close leaves it, has no page size yet. */
static bool header_is_known(const volatile uint32_t *h, int64_t page_bytes)
{
    const volatile unsigned char *flags = (const volatile unsigned char *)&h[I_FLAGS];
    uint16_t page;

    for (int i = 0; i < HEADER_WORDS; i++)
        if (h[i] != h[HEADER_WORDS + i])
            return false;
    page = (uint16_t)(flags[2] | flags[3] << 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    page = (uint16_t)(flags[2] << 8 | flags[3]);
#endif
    return h[I_VERSION] == WAL_INDEX_VERSION && flags[0] == 1 &&
           (page == page_bytes || (page == 1 && page_bytes == 65536) || (page == 0 && h[I_FRAMES] == 0));
}

void ag_token_init(struct ag_sq_store *s)
{
    sqlite3_file *file = NULL;
    volatile void *map = NULL;
    int64_t page_bytes = 0;

    if (s->network || ag_db_int(&s->a, "PRAGMA page_size", &page_bytes, NULL) != AGENT_OK)
        return;
    if (sqlite3_file_control(s->a.db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || file == NULL ||
        file->pMethods == NULL || file->pMethods->iVersion < 2 || file->pMethods->xShmMap == NULL)
        return;
    if (file->pMethods->xShmMap(file, 0, WAL_INDEX_BYTES, 0, &map) != SQLITE_OK || map == NULL)
        return;
    if (!header_is_known(map, page_bytes)) {
        ag_log_line(&s->o.log, AG_LOG_WARN, "store", "wal-index layout not known, asking data_version instead");
        return;
    }
    s->token.header = map;
    atomic_store(&s->token.state, pack((struct state){.known = change_counter(&s->token)}));
}

void ag_token_drop(struct ag_sq_store *s)
{
    if (s->token.fallback != NULL)
        ag_db_close(s->token.fallback);
    ag_free(s->token.fallback);
    s->token.fallback = NULL;
    s->token.header = NULL;
}

bool ag_token_begin(struct ag_sq_store *s)
{
    struct state st = unpack(atomic_load(&s->token.state));
    uint32_t others;

    if (s->token.header == NULL)
        return true;
    others = change_counter(&s->token) - st.known;
    if (others == 0)
        return false;
    st.known += others;
    st.foreign += others; /* (2): the sum stays as it was */
    atomic_store(&s->token.state, pack(st));
    return true;
}

void ag_token_window(struct ag_sq_store *s, bool open)
{
    struct state st = unpack(atomic_load(&s->token.state));

    st.window = open;
    atomic_store(&s->token.state, pack(st));
}

void ag_token_committed(struct ag_sq_store *s)
{
    struct state st = unpack(atomic_load(&s->token.state));

    if (s->token.header != NULL && change_counter(&s->token) == st.known && !atomic_load(&s->token.broken)) {
        atomic_store(&s->token.broken, true); /* we wrote, and it did not move: (3) */
        ag_log_line(&s->o.log, AG_LOG_WARN, "store", "wal-index counter does not count, asking data_version instead");
    }
    st.known++;
    st.window = false;
    atomic_store(&s->token.state, pack(st));
}

/* Not inlined: the way past it is some twenty instructions, and each get goes it. */
static __attribute__((noinline)) uint64_t ask(struct ag_sq_store *s)
{
    struct ag_token *t = &s->token;
    int64_t now = ag_mono_ns(&ag_clock_system), value = 0;
    uint64_t token;

    (void)pthread_mutex_lock(&t->lock);
    if (t->fallback == NULL && (t->fallback = ag_calloc(1, sizeof(*t->fallback))) != NULL &&
        ag_db_open(s, AG_DB_READER, t->fallback, NULL) != AGENT_OK) {
        ag_db_close(t->fallback);
        ag_free(t->fallback);
        t->fallback = NULL;
    }
    if (t->fallback == NULL) {
        t->fallback_value++; /* cannot know: everything may have changed */
    } else if (t->fallback_at_ns == 0 || now - t->fallback_at_ns >= FALLBACK_EVERY_NS) {
        if (ag_db_int(t->fallback, "PRAGMA data_version", &value, NULL) == AGENT_OK)
            t->fallback_value = (uint64_t)value;
        else
            t->fallback_value++;
        t->fallback_at_ns = now;
    }
    token = t->fallback_value;
    (void)pthread_mutex_unlock(&t->lock);
    return token;
}

uint64_t ag_token_value(struct ag_sq_store *s)
{
    const struct ag_token *t = &s->token;
    uint64_t word;
    uint32_t others;
    struct state st;

    if (t->header == NULL || atomic_load_explicit(&t->broken, memory_order_relaxed))
        return s->inspect ? 0 : ask(s);
    do {
        word = atomic_load_explicit(&t->state, memory_order_acquire);
        st = unpack(word);
        others = change_counter(t) - st.known;
    } while (atomic_load_explicit(&t->state, memory_order_acquire) != word);
    if (st.window && others > 0)
        others--; /* (1) */
    return (st.foreign + others) & 0x7fffffffu;
}
