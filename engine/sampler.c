#include "engine/sampler.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/thread.h"

#define SHARE_NS 100000
#define FAN_BITS 6
#define FAN      (1u << FAN_BITS)
#define SAMPLES  4096 /* kept one by one: 41 s at 10 ms */
#define BLOCKS   4096 /* of FAN samples: 7 hours at 100 ms */
#define FIELDS   1024 /* of FAN blocks: 4 million samples */

/*
 * The series, newest overwriting oldest, with the extremes of its blocks, so that the peak of an hour
 * is found in some hundred steps:
 *
 *     samples   │ . . . . . │ . . . . . │ . . . . . │ . . .      time and RSS, 16 bytes each
 *     blocks    │     m     │     m     │     m     │   m        of 64 samples: since when, least, most
 *     fields    │           m           │           m            of 64 blocks
 *
 * Written under the sampler's lock, read without: a reader that is overtaken reads a later sample of
 * this process in the place of one of its own.
 */
struct ag_ring {
    _Atomic uint64_t count;
    struct {
        _Atomic int64_t at_ns, rss_bytes;
    } samples[SAMPLES];
    struct extremes {
        _Atomic int64_t at_ns, least, most;
    } blocks[BLOCKS], fields[FIELDS];
};

static int64_t look(const _Atomic int64_t *slot)
{
    return atomic_load_explicit(slot, memory_order_relaxed);
}

static void put(_Atomic int64_t *slot, int64_t v)
{
    atomic_store_explicit(slot, v, memory_order_relaxed);
}

static void widen(struct extremes *x, int64_t now_ns, int64_t rss, bool is_first)
{
    if (is_first)
        put(&x->at_ns, now_ns);
    if (is_first || look(&x->most) < rss)
        put(&x->most, rss);
    if (is_first || look(&x->least) > rss)
        put(&x->least, rss);
}

static void push(ag_sampler *s, int64_t now_ns, int64_t rss)
{
    struct ag_ring *r = atomic_load_explicit(&s->ring, memory_order_relaxed);
    uint64_t i;

    if (r == NULL) {
        struct ag_mem_charge was = ag_mem_charge(NULL);

        r = ag_calloc(1, sizeof(*r));
        ag_mem_charge_back(was);
        if (r == NULL)
            return;
        atomic_store_explicit(&s->ring, r, memory_order_release);
    }
    i = atomic_load_explicit(&r->count, memory_order_relaxed);
    put(&r->samples[i % SAMPLES].at_ns, now_ns);
    put(&r->samples[i % SAMPLES].rss_bytes, rss);
    widen(&r->blocks[(i >> FAN_BITS) % BLOCKS], now_ns, rss, i % FAN == 0);
    widen(&r->fields[(i >> 2 * FAN_BITS) % FIELDS], now_ns, rss, i % (FAN * FAN) == 0);
    atomic_store_explicit(&r->count, i + 1, memory_order_release);
}

uint64_t ag_sampler_mark(ag_sampler *s)
{
    struct ag_ring *r = atomic_load_explicit(&s->ring, memory_order_acquire);

    return r == NULL ? 0 : atomic_load_explicit(&r->count, memory_order_acquire);
}

int64_t ag_sampler_peak(ag_sampler *s, uint64_t mark, int *out_count)
{
    struct ag_ring *r = atomic_load_explicit(&s->ring, memory_order_acquire);
    uint64_t end = ag_sampler_mark(s), step;
    int64_t peak = -1;

    *out_count = end - mark > INT32_MAX ? INT32_MAX : (int)(end - mark);
    if (end - mark > (uint64_t)(FIELDS - 1) * FAN * FAN)
        mark = end - (uint64_t)(FIELDS - 1) * FAN * FAN; /* older ones are not known any more */
    for (uint64_t i = mark; i < end; i += step) {
        int64_t rss;

        step = 1;
        if (end - i > (uint64_t)(BLOCKS - 1) * FAN || (i % (FAN * FAN) == 0 && end - i >= FAN * FAN)) {
            step = FAN * FAN - i % (FAN * FAN);
            rss = look(&r->fields[(i >> 2 * FAN_BITS) % FIELDS].most);
        } else if (end - i > SAMPLES - FAN || (i % FAN == 0 && end - i >= FAN)) {
            step = FAN - i % FAN;
            rss = look(&r->blocks[(i >> FAN_BITS) % BLOCKS].most);
        } else {
            rss = look(&r->samples[i % SAMPLES].rss_bytes);
        }
        if (rss > peak)
            peak = rss;
    }
    return peak;
}

bool ag_sampler_at(ag_sampler *s, uint64_t i, int64_t *out_at_ns, int64_t *out_rss_bytes)
{
    struct ag_ring *r = atomic_load_explicit(&s->ring, memory_order_acquire);
    uint64_t end = ag_sampler_mark(s);

    if (i >= end || end - i > SAMPLES - FAN)
        return false;
    *out_at_ns = atomic_load_explicit(&r->samples[i % SAMPLES].at_ns, memory_order_relaxed);
    *out_rss_bytes = atomic_load_explicit(&r->samples[i % SAMPLES].rss_bytes, memory_order_relaxed);
    return true;
}

/* --- a run's own series ------------------------------------------------------------------------------- */

#define STRETCHES (AG_SERIES_MOST / 2)

/* One entry of the finest level that still has all of them: of a sample both extremes are itself. */
static void entry(struct ag_ring *r, uint64_t i, int bits, struct ag_point *low, struct ag_point *high)
{
    if (bits == 0) {
        *low = (struct ag_point){look(&r->samples[i % SAMPLES].at_ns), look(&r->samples[i % SAMPLES].rss_bytes)};
        *high = *low;
    } else {
        struct extremes *x = bits == FAN_BITS ? &r->blocks[i % BLOCKS] : &r->fields[i % FIELDS];

        *low = (struct ag_point){look(&x->at_ns), look(&x->least)};
        *high = (struct ag_point){low->at_ns, look(&x->most)};
    }
}

/* In the middle of a line that is level nothing is said by a point. */
static size_t drop_level(struct ag_point *points, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept >= 2 && points[kept - 1].rss_bytes == points[i].rss_bytes &&
            points[kept - 2].rss_bytes == points[i].rss_bytes)
            kept--;
        points[kept++] = points[i];
    }
    return kept;
}

size_t ag_sampler_series(ag_sampler *s, uint64_t mark, struct ag_point *out)
{
    struct ag_ring *r = atomic_load_explicit(&s->ring, memory_order_acquire);
    uint64_t end = ag_sampler_mark(s), first, last, wide;
    size_t count = 0;
    int bits = 0;

    if (mark >= end)
        return 0;
    if (end - mark > SAMPLES - FAN)
        bits = end - mark > (uint64_t)(BLOCKS - 1) * FAN ? 2 * FAN_BITS : FAN_BITS;
    first = mark >> bits;
    last = (end - 1) >> bits;
    if (bits == 2 * FAN_BITS && last - first >= FIELDS)
        first = last - FIELDS + 1;
    wide = (last - first) / STRETCHES + 1;
    if (last - first < AG_SERIES_MOST && bits == 0)
        wide = 1;
    for (uint64_t i = first; i <= last; i += wide) {
        struct ag_point low, high, l, h;

        entry(r, i, bits, &low, &high);
        for (uint64_t k = i + 1; k < i + wide && k <= last; k++) {
            entry(r, k, bits, &l, &h);
            if (l.rss_bytes < low.rss_bytes)
                low = l;
            if (h.rss_bytes > high.rss_bytes)
                high = h;
        }
        if (low.rss_bytes == high.rss_bytes) {
            out[count++] = low;
        } else {
            bool is_rise = low.at_ns <= high.at_ns;

            out[count++] = is_rise ? low : high;
            out[count++] = is_rise ? high : low;
        }
    }
    return drop_level(out, count);
}

/* --- /proc ------------------------------------------------------------------------------------------ */

static bool slurp(int fd, char *text, size_t room)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, room - 1, 0);

    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static int64_t read_statm(const ag_sampler *s)
{
    char text[96];
    const char *at = text;
    int64_t pages = 0;

    if (!slurp(s->statm, text, sizeof(text)))
        return -1;
    while (*at != '\0' && *at != ' ') /* the first number is the virtual size */
        at++;
    while (*at == ' ')
        at++;
    if (*at < '0' || *at > '9')
        return -1;
    while (*at >= '0' && *at <= '9')
        pages = pages * 10 + (*at++ - '0');
    return pages * s->page_bytes;
}

static int64_t field_bytes(const char *status, const char *name)
{
    const char *at = strstr(status, name);

    return at == NULL ? -1 : strtoll(at + strlen(name), NULL, 10) * 1024;
}

/* (4): what the kernel saw since the last time becomes a sample. Under the lock: two must not reset
 * what neither has read. */
static int64_t read_hwm(ag_sampler *s, int64_t now_ns)
{
    char text[4096];
    int64_t peak, rss = -1;

    (void)pthread_mutex_lock(&s->lock);
    if (slurp(s->status, text, sizeof(text)) && (peak = field_bytes(text, "\nVmHWM:")) >= 0) {
        rss = field_bytes(text, "\nVmRSS:");
        (void)!pwrite(s->clear_refs, "5", 1, 0);
        push(s, now_ns, peak > rss ? peak : rss);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rss;
}

static void keep(ag_sampler *s, int64_t now_ns, int64_t rss)
{
    /* Two stores, no lock: a reader between them gets the new size with the old time and reads
     * again, or an older size that is still a true reading of this process. */
    atomic_store_explicit(&s->rss_bytes, rss, memory_order_relaxed);
    atomic_store_explicit(&s->at_ns, now_ns, memory_order_release);
    if (s->see != NULL && rss >= 0)
        s->see(s->ctx, rss);
}

static int64_t fresh(ag_sampler *s, int64_t now_ns)
{
    int64_t rss = s->hwm ? read_hwm(s, now_ns) : read_statm(s);

    keep(s, now_ns, rss);
    return rss;
}

static bool young(ag_sampler *s, int64_t now_ns, int64_t *out_age)
{
    int64_t at = atomic_load_explicit(&s->at_ns, memory_order_acquire);

    *out_age = now_ns - at;
    return at != 0 && *out_age < (s->hwm ? 1 : SHARE_NS);
}

struct ag_reading ag_sampler_read(ag_sampler *s, int64_t now_ns)
{
    int64_t age;

    if (!s->figures)
        return (struct ag_reading){-1, false};
    if (young(s, now_ns, &age)) /* age 0: the end of one stage is the beginning of the next */
        return (struct ag_reading){atomic_load_explicit(&s->rss_bytes, memory_order_relaxed), age != 0};
    return (struct ag_reading){fresh(s, now_ns), false};
}

int64_t ag_sampler_rss(ag_sampler *s, int64_t now_ns)
{
    int64_t age;

    if (s->statm < 0)
        return -1;
    return young(s, now_ns, &age) ? atomic_load_explicit(&s->rss_bytes, memory_order_relaxed) : fresh(s, now_ns);
}

/* --- smaps_rollup (6) ----------------------------------------------------------------------------------- */

#define SMAPS_SHARE   1000               /* of each border's time, one part in so many */
#define SMAPS_PAUSE_S 60
#define SMAPS_DOUBLED 6                  /* times that the pause is doubled at most: 64 minutes */

static int64_t thread_cpu_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool read_smaps(int fd, struct ag_smaps *out)
{
    char text[2048];
    int64_t began = thread_cpu_ns(), rss, pss, anon;

    if (!slurp(fd, text, sizeof(text)) || (rss = field_bytes(text, "\nRss:")) < 0 ||
        (pss = field_bytes(text, "\nPss:")) < 0 || (anon = field_bytes(text, "\nAnonymous:")) < 0)
        return false;
    *out = (struct ag_smaps){.us = (thread_cpu_ns() - began + 999) / 1000, .pss_kb = pss / 1024,
                             .anon_kb = anon / 1024, .file_kb = (rss > anon ? rss - anon : 0) / 1024};
    return true;
}

bool ag_sampler_smaps(ag_sampler *s, enum ag_border border, int64_t now_ns, struct ag_smaps *out)
{
    int64_t next = atomic_load_explicit(&s->smaps_next_ns[border], memory_order_relaxed), pause_ns;
    int over;

    if (s->smaps < 0 || s->smaps_budget_us <= 0 || !s->figures || now_ns < next ||
        !atomic_compare_exchange_strong(&s->smaps_next_ns[border], &next, now_ns + INT64_C(1000000000)))
        return false;
    if (!read_smaps(s->smaps, out))
        return false;
    out->is_over = out->us > s->smaps_budget_us;
    over = out->is_over ? atomic_fetch_add(&s->smaps_over, 1) : atomic_exchange(&s->smaps_over, 0);
    out->was_over = over > 0;
    out->pause_s = (int64_t)SMAPS_PAUSE_S << (over > SMAPS_DOUBLED ? SMAPS_DOUBLED : over);
    pause_ns = out->is_over ? out->pause_s * 1000000000 : out->us * 1000 * SMAPS_SHARE;
    atomic_store(&s->smaps_next_ns[border], now_ns + pause_ns);
    if (out->is_over)
        atomic_store(&s->smaps_next_ns[!border], now_ns + pause_ns);
    return true;
}

/* --- the thread ---------------------------------------------------------------------------------------- */

static int64_t mono_now(void) /* the kernel's, whatever clock the engine was given: it is slept by */
{
    return ag_mono_ns(&ag_clock_system);
}

/* (1). With the lock held. A stage that begins between the two looks either is seen by the second one
 * or sees that we are parked. */
static void park_while_idle(ag_sampler *s)
{
    atomic_store(&s->parked, true);
    if ((atomic_load(&s->stages) & AG_STAGES_ACTIVE) != 0)
        atomic_store(&s->parked, false);
    while (atomic_load(&s->parked) && !s->stopping)
        (void)pthread_cond_wait(&s->wake, &s->lock);
}

static void *run_thread(void *arg)
{
    ag_sampler *s = arg;
    int64_t next = mono_now() + s->interval_ns;

    (void)pthread_setname_np(pthread_self(), "agent-sampler");
    (void)pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        int64_t now, rss;

        while (!s->stopping && (now = mono_now()) < next)
            (void)ag_cond_wait_until(&s->wake, &s->lock, next);
        if (s->stopping)
            break;
        (void)atomic_fetch_add_explicit(&s->wakeups, 1, memory_order_relaxed);
        if ((atomic_load(&s->stages) & AG_STAGES_ACTIVE) == 0) {
            park_while_idle(s);
        } else {
            (void)pthread_mutex_unlock(&s->lock);
            now = ag_mono_ns(s->clock);
            rss = fresh(s, now);
            (void)pthread_mutex_lock(&s->lock);
            if (rss >= 0 && !s->hwm)
                push(s, now, rss);
        }
        now = mono_now();
        next += (now - next) / s->interval_ns * s->interval_ns + s->interval_ns;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

void ag_sampler_tick(ag_sampler *s)
{
    int64_t now = ag_mono_ns(s->clock), rss;

    if (s->wants_thread || !s->figures || now - s->ticked_ns < s->interval_ns - s->interval_ns / 8 ||
        (atomic_load(&s->stages) & AG_STAGES_ACTIVE) == 0)
        return;
    s->ticked_ns = now;
    rss = fresh(s, now);
    if (rss < 0 || s->hwm) /* with hwm the reading is a sample already */
        return;
    (void)pthread_mutex_lock(&s->lock);
    push(s, now, rss);
    (void)pthread_mutex_unlock(&s->lock);
}

void ag_sampler_wake(ag_sampler *s)
{
    (void)pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->parked)) {
        atomic_store(&s->parked, false);
        if (s->started)
            (void)pthread_cond_signal(&s->wake);
        else if (s->wants_thread)
            s->started = ag_thread_start(&s->thread, run_thread, s) == 0; /* where there is none to be had, the borders are read all the same */
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* --- open, close --------------------------------------------------------------------------------------- */

static int open_file(const char *proc, const char *name, int mode)
{
    char path[512];
    int n = snprintf(path, sizeof(path), "%s/%s", proc, name);

    return n < 0 || (size_t)n >= sizeof(path) ? -1 : open(path, mode | O_CLOEXEC);
}

void ag_sampler_open(ag_sampler *s, const struct ag_sampler_options *o)
{
    const char *proc = o->proc != NULL ? o->proc : "/proc/self";
    int interval = o->interval_ms > 0 ? o->interval_ms : AG_SAMPLE_MS_DEFAULT;

    memset(s, 0, sizeof(*s));
    s->statm = open_file(proc, "statm", O_RDONLY);
    s->smaps = open_file(proc, "smaps_rollup", O_RDONLY);
    s->status = s->clear_refs = -1;
    s->page_bytes = sysconf(_SC_PAGESIZE);
    s->interval_ns = (int64_t)interval * 1000000;
    s->clock = o->clock;
    s->figures = s->statm >= 0 && o->interval_ms >= 0;
    if (o->hwm)
        ag_sampler_hwm(s, proc);
    s->wants_thread = o->thread && s->statm >= 0;
    atomic_init(&s->rss_bytes, -1);
    atomic_init(&s->parked, s->wants_thread);
    (void)pthread_mutex_init(&s->lock, NULL);
    ag_cond_init(&s->wake);
}

void ag_sampler_interval(ag_sampler *s, int interval_ms)
{
    s->interval_ns = (int64_t)interval_ms * 1000000;
}

void ag_sampler_hwm(ag_sampler *s, const char *proc)
{
    if (s->hwm || !s->figures)
        return;
    proc = proc != NULL ? proc : "/proc/self";
    s->status = open_file(proc, "status", O_RDONLY);
    s->clear_refs = open_file(proc, "clear_refs", O_WRONLY);
    s->hwm = s->status >= 0 && s->clear_refs >= 0;
}

void ag_sampler_smaps_budget(ag_sampler *s, int64_t budget_us)
{
    s->smaps_budget_us = budget_us;
}

bool ag_sampler_smaps_now(ag_sampler *s, struct ag_smaps *out)
{
    return read_smaps(s->smaps, out);
}

void ag_sampler_watch(ag_sampler *s, void (*see)(void *ctx, int64_t rss_bytes), void *ctx)
{
    s->see = see;
    s->ctx = ctx;
}

void ag_sampler_close(ag_sampler *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->stopping = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
    if (s->started)
        (void)pthread_join(s->thread, NULL);
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    ag_free(atomic_load(&s->ring));
    if (s->statm >= 0)
        (void)close(s->statm);
    if (s->status >= 0)
        (void)close(s->status);
    if (s->clear_refs >= 0)
        (void)close(s->clear_refs);
    if (s->smaps >= 0)
        (void)close(s->smaps);
}
