/*
 * Short runs beside long ones that hold all that they may.
 *
 *     short   50 ms of the server, class high, arriving open loop ─┐          ┌─► one endpoint, PERMITS places
 *     short   a callback of 50 ms, class high ─────────────────────┤  engine  ├─► the host's callbacks
 *     crowd   streams, providers that hang, commands, callbacks: ──┘          └─► commands
 *             twice as many as there are places, classes low and normal
 *     beside  clients in processes of their own, on the same file, that do not read their events
 *
 *  (1) IDLE has no crowd; FIFO has the same crowd, but every run is of one class: then what comes first
 *      goes first, at every gate, and that is what scheduling without classes would do.
 *  (2) The short runs of a round arrive at the same times in all three.
 *  (3) A member of the crowd that ends is followed by the next one at once; none may end in a way it
 *      should not.
 *  (4) They come one after the other, and so do their ends: a crowd in step would be another bench.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/arrivals.h"
#include "bench/server.h"

#define SHORT_MS   50
#define CHUNKS     100 /* of a long stream */
#define CLIENTS    4   /* that do not read */
#define SHORTS_MAX 6000

enum phase { IDLE, BUSY, FIFO, PHASES };

static const char *const phase_names[PHASES] = {"idle", "crowd", "crowd, FIFO"};

enum kind { STREAM, HANG, COMMAND, CALLBACK, KINDS };

static const char *const kind_names[KINDS] = {"stream", "hang", "command", "callback"};

struct isolation {
    enum phase phase;
    const char *path, *agentctl;
    int port;
    int long_ms; /* a stream, a tool, a provider's patience */
    int permits; /* of the endpoint */
    int per_kind[KINDS];
    double rate, tool_rate; /* short runs a second */
    double seconds;
    uint64_t seed;
};

struct isolation_result {
    long plain, tool; /* short runs */
    double plain_ms[SHORTS_MAX], tool_ms[SHORTS_MAX];
    double late_ms;
    double begun[KINDS];  /* of the crowd, when half of the short ones have come */
    double ended;         /* of the crowd, as they should */
    double clients;       /* that hang on their output */
};

/* --- the engine and its agents ---------------------------------------------------------------------------- */

/* What the server does is the key's: so all of them stand before one endpoint, which has one name. */
static const char *secret(void *ctx, const char *name)
{
    static _Thread_local char key[64];
    long a, b;

    (void)ctx;
    if (sscanf(name, "DELAY_%ld", &a) == 1)
        (void)snprintf(key, sizeof(key), "/delay/%ld/", a);
    else if (sscanf(name, "SSE_%ld_%ld", &a, &b) == 2)
        (void)snprintf(key, sizeof(key), "/sse/%ld/%ld/", a, b);
    else
        return NULL;
    return key;
}

static bool fail(char *why, const char *what, const agent_error *err)
{
    (void)snprintf(why, BENCH_WHY_MAX, "%s: %.400s", what, err->text);
    return false;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

/* ctx: milliseconds. */
static agent_status callback(void *ctx, agent_tool_call *call, agent_error *err)
{
    int64_t until_ns = bench_now_ns() + (int64_t)*(const int *)ctx * 1000000;

    (void)err;
    for (int64_t left_ns; (left_ns = until_ns - bench_now_ns()) > 0 && !agent_tool_call_cancelled(call);)
        sleep_ms(left_ns > 100000000 ? 100 : (long)(left_ns / 1000000 + 1));
    agent_tool_call_write(call, "slept", 5);
    return AGENT_OK;
}

static bool make_agent(agent_engine *engine, const struct isolation *w, const char *name, const char *key, const char *tool,
                       char *why)
{
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char url[80], options[160];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/key", w->port);
    if (strcmp(name, kind_names[HANG]) == 0)
        (void)snprintf(options, sizeof(options), "{\"max_concurrency\":%d,\"first_byte_ms\":%d,\"retries\":0}",
                       w->permits, w->long_ms);
    else
        (void)snprintf(options, sizeof(options), "{\"max_concurrency\":%d}", w->permits);
    c.tools = &tool;
    c.tool_count = tool != NULL;
    if (key != NULL) {
        c.model = "openai:bench-1";
        c.base_url = url;
        c.key_env = key;
        c.options = options;
    }
    return agent_create(engine, name, &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK || fail(why, name, &err);
}

static bool make_engine(const struct isolation *w, agent_engine **out, char *why)
{
    static const int short_ms = SHORT_MS;
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_tool slow = AGENT_TOOL_INIT, quick = AGENT_TOOL_INIT;
    agent_command command = AGENT_COMMAND_INIT;
    agent_error err = AGENT_ERROR_INIT;
    char seconds[32], stream[40], delay[40];

    o.path = w->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = 2;
    o.secret = secret;
    o.tool_env = env;
    if (agent_open(&o, out, &err) != AGENT_OK)
        return fail(why, "open the engine", &err);
    slow.name = "slow";
    quick.name = "quick";
    slow.call = quick.call = callback;
    slow.ctx = (void *)(uintptr_t)&w->long_ms;
    quick.ctx = (void *)(uintptr_t)&short_ms;
    (void)snprintf(seconds, sizeof(seconds), "%.1f", w->long_ms / 1000.0);
    command.name = "sleep";
    command.argv = (const char *const[]){"sleep", seconds, NULL};
    if (agent_tool_register(*out, &slow, &err) != AGENT_OK || agent_tool_register(*out, &quick, &err) != AGENT_OK ||
        agent_command_put(*out, &command, false, &err) != AGENT_OK)
        return fail(why, "make tools", &err);
    (void)snprintf(stream, sizeof(stream), "SSE_%d_%d", CHUNKS, w->long_ms / CHUNKS);
    (void)snprintf(delay, sizeof(delay), "DELAY_%d", SHORT_MS);
    return make_agent(*out, w, "short", delay, NULL, why) && make_agent(*out, w, "stream", stream, NULL, why) &&
           make_agent(*out, w, "hang", "DELAY_86400000", NULL, why) &&
           make_agent(*out, w, "command", NULL, "sleep", why) &&
           make_agent(*out, w, "callback", NULL, "slow", why) && make_agent(*out, w, "quick", NULL, "quick", why);
}

/* --- the crowd ------------------------------------------------------------------------------------------------ */

struct member {
    struct crowd *crowd;
    enum kind kind;
    int priority;
    pthread_mutex_t lock;    /* the handles */
    agent_run *run, *before; /* before: its last event has been given; freed when the next one's has */
    bool is_begun;           /* of its worker */
};

struct crowd {
    const struct isolation *work;
    agent_engine *engine;
    struct member *members;
    int count;
    atomic_bool stopping;
    atomic_int begun[KINDS];
    atomic_long ended;
    pthread_mutex_t lock;
    char why[BENCH_WHY_MAX]; /* lock */
};

static void complain(struct crowd *c, const char *kind, const char *what)
{
    (void)pthread_mutex_lock(&c->lock);
    if (c->why[0] == '\0')
        (void)snprintf(c->why, sizeof(c->why), "a long %s: %.400s", kind, what);
    (void)pthread_mutex_unlock(&c->lock);
}

static void start_member(struct member *m);

static void set_begun(struct member *m, bool begun)
{
    if (m->is_begun != begun)
        (void)atomic_fetch_add(&m->crowd->begun[m->kind], begun ? 1 : -1);
    m->is_begun = begun;
}

static void on_event(void *ctx, const agent_event *e)
{
    struct member *m = ctx;
    struct crowd *c = m->crowd;
    const agent_run_result *r = e->result;

    if (e->type == AGENT_EVENT_TEXT && m->kind == STREAM)
        set_begun(m, true);
    if (e->type == AGENT_EVENT_TOOL_START)
        set_begun(m, true);
    if (e->type == AGENT_EVENT_TOOL_END)
        set_begun(m, false);
    if (e->type != AGENT_EVENT_RUN_END)
        return;
    set_begun(m, false);
    if (atomic_load(&c->stopping))
        return;
    if (m->kind == HANG ? r->error.status != AGENT_ETIMEDOUT : strcmp(r->status, "succeeded") != 0)
        complain(c, kind_names[m->kind], r->error.text[0] != '\0' ? r->error.text : r->status);
    (void)atomic_fetch_add(&c->ended, 1);
    start_member(m);
}

static void start_member(struct member *m)
{
    static const char *const inputs[KINDS] = {"Talk.", "Are you there?", "/tool sleep {}", "/tool slow {}"};
    agent_run_request q = AGENT_RUN_REQUEST_INIT;
    agent_error err = AGENT_ERROR_INIT;

    q.agent = kind_names[m->kind];
    q.input = inputs[m->kind];
    q.input_bytes = strlen(q.input);
    q.priority = m->priority;
    q.on_event = on_event;
    q.ctx = m;
    (void)pthread_mutex_lock(&m->lock); /* its first events wait for this too */
    agent_run_free(m->before);
    m->before = m->run;
    m->run = NULL;
    if (!atomic_load(&m->crowd->stopping) && agent_run_start(m->crowd->engine, &q, &m->run, &err) != AGENT_OK)
        complain(m->crowd, kind_names[m->kind], err.text);
    (void)pthread_mutex_unlock(&m->lock);
}

static bool crowd_start(struct crowd *c)
{
    int n = 0, most = 1;

    for (int k = 0; k < KINDS; k++) {
        c->count += c->work->per_kind[k];
        most = c->work->per_kind[k] > most ? c->work->per_kind[k] : most;
    }
    if ((c->members = calloc((size_t)c->count, sizeof(*c->members))) == NULL)
        return false;
    (void)pthread_mutex_init(&c->lock, NULL);
    for (int i = 0; n < c->count; i++) { /* one of each kind in turn: streams and hanging ones share the places */
        sleep_ms(c->work->long_ms / most); /* (4) */
        for (int k = 0; k < KINDS; k++) {
            struct member *m = &c->members[n];

            if (i >= c->work->per_kind[k])
                continue;
            n++;
            m->crowd = c;
            m->kind = (enum kind)k;
            m->priority = c->work->phase == FIFO || i % 2 == 0 ? AGENT_PRIORITY_NORMAL : AGENT_PRIORITY_LOW;
            (void)pthread_mutex_init(&m->lock, NULL);
            start_member(m);
        }
    }
    return true;
}

static bool crowd_stop(struct crowd *c, char *why)
{
    bool ok = true;

    atomic_store(&c->stopping, true);
    for (int i = 0; i < c->count; i++) {
        struct member *m = &c->members[i];

        (void)pthread_mutex_lock(&m->lock);
        if (m->run != NULL)
            agent_run_cancel(m->run);
        (void)pthread_mutex_unlock(&m->lock);
    }
    for (int i = 0; i < c->count && ok; i++) {
        struct member *m = &c->members[i];
        agent_error err = AGENT_ERROR_INIT;
        const agent_run_result *r;

        if (m->run != NULL)
            ok = agent_run_wait(m->run, 60000, &r, &err) == AGENT_OK || fail(why, "cancel a long run", &err);
        agent_run_free(m->run);
        agent_run_free(m->before);
    }
    if (ok && c->why[0] != '\0') {
        (void)snprintf(why, BENCH_WHY_MAX, "%s", c->why);
        ok = false;
    }
    free(c->members);
    return ok;
}

/* --- clients that do not read ------------------------------------------------------------------------------------ */

struct client {
    pid_t pid;
    int fd; /* nobody reads it */
};

static bool client_start(const struct isolation *w, struct client *c)
{
    const char *const argv[] = {w->agentctl, "--db", w->path, "run", "stream", "Talk.", "--jsonl", NULL};
    char key[80];
    char *const env[] = {(char[]){"PATH=/usr/local/bin:/usr/bin:/bin"}, key, NULL};
    posix_spawn_file_actions_t actions;
    int fd[2], rc;

    (void)snprintf(key, sizeof(key), "SSE_%d_%d=/sse/1000000/10/", CHUNKS, w->long_ms / CHUNKS);
    if (pipe2(fd, O_CLOEXEC) != 0)
        return false;
    (void)fcntl(fd[1], F_SETPIPE_SZ, 4096);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, fd[1], 1);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    rc = posix_spawn(&c->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(fd[1]);
    c->fd = fd[0];
    return rc == 0;
}

/* Whether it lives and its pipe is full, or as good as. */
static bool client_is_stuck(const struct client *c)
{
    int bytes = 0;

    return waitpid(c->pid, NULL, WNOHANG) == 0 && ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 2048;
}

static void client_stop(struct client *c)
{
    (void)kill(c->pid, SIGKILL);
    (void)waitpid(c->pid, NULL, 0);
    (void)close(c->fd);
}

/* --- one phase ------------------------------------------------------------------------------------------------------ */

struct flow {
    struct arrivals arrivals;
    struct arrivals_result result;
    double *ms;
    char why[BENCH_WHY_MAX];
    bool ok;
};

static void *flow_thread(void *arg)
{
    struct flow *f = arg;

    f->ok = arrivals_drive(&f->arrivals, f->ms, &f->result, f->why);
    return NULL;
}

/* Short runs of both sorts at once; `out` gets what the crowd was meanwhile. */
static bool drive_short(agent_engine *engine, const struct isolation *w, const struct crowd *c,
                        const struct client *clients, struct isolation_result *out, char *why)
{
    static int64_t plain_at[SHORTS_MAX], tool_at[SHORTS_MAX];
    int64_t patience_ns = (int64_t)w->long_ms * 20 * 1000000;
    struct flow plain = {.ms = out->plain_ms}, tool = {.ms = out->tool_ms};
    pthread_t threads[2];

    out->plain = (long)(w->rate * w->seconds);
    out->tool = (long)(w->tool_rate * w->seconds);
    arrivals_poisson(plain_at, out->plain, w->rate, w->seed);
    arrivals_poisson(tool_at, out->tool, w->tool_rate, w->seed + 1);
    plain.arrivals = (struct arrivals){
        .engine = engine, .agent = "short", .input = "What is the capital of France?", .expect = SERVER_ANSWER,
        .priority = w->phase == FIFO ? AGENT_PRIORITY_NORMAL : AGENT_PRIORITY_HIGH, .no_stream = true,
        .at_ns = plain_at, .count = out->plain, .patience_ns = patience_ns,
    };
    tool.arrivals = plain.arrivals;
    tool.arrivals.agent = "quick";
    tool.arrivals.input = "/tool quick {}";
    tool.arrivals.expect = "slept";
    tool.arrivals.at_ns = tool_at;
    tool.arrivals.count = out->tool;
    if (pthread_create(&threads[0], NULL, flow_thread, &plain) != 0 ||
        pthread_create(&threads[1], NULL, flow_thread, &tool) != 0) {
        (void)snprintf(why, BENCH_WHY_MAX, "no thread can be started");
        return false;
    }
    sleep_ms((long)(w->seconds * 500));
    for (int k = 0; k < KINDS; k++)
        out->begun[k] = atomic_load(&c->begun[k]);
    for (int i = 0; i < CLIENTS && w->phase != IDLE && w->agentctl[0] != '\0'; i++)
        out->clients += client_is_stuck(&clients[i]);
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    out->late_ms = plain.result.late_ms;
    if (plain.ok && tool.ok)
        return true;
    (void)snprintf(why, BENCH_WHY_MAX, "short runs, %s: %.400s", phase_names[w->phase], plain.ok ? tool.why : plain.why);
    return false;
}

static bool phase_work(void *arg, void *out, char *why)
{
    const struct isolation *w = arg;
    struct isolation_result *r = out;
    struct crowd crowd = {.work = w};
    struct client clients[CLIENTS];
    double ignored[1];
    static const int64_t now = 0;
    struct arrivals warm = {.agent = "short", .input = "Warm up.", .expect = SERVER_ANSWER, .no_stream = true,
                            .at_ns = &now, .count = 1, .patience_ns = INT64_C(10000000000)};
    struct arrivals_result warmed;
    bool ok, crowded = w->phase != IDLE, with_clients = crowded && w->agentctl[0] != '\0';

    if (!make_engine(w, &crowd.engine, why))
        return false;
    warm.engine = crowd.engine;
    if (!arrivals_drive(&warm, ignored, &warmed, why))
        return false;
    for (int i = 0; with_clients && i < CLIENTS; i++)
        if (!client_start(w, &clients[i])) {
            (void)snprintf(why, BENCH_WHY_MAX, "%s cannot be started", w->agentctl);
            return false;
        }
    if (crowded && !crowd_start(&crowd))
        return false;
    ok = drive_short(crowd.engine, w, &crowd, clients, r, why);
    for (int i = 0; with_clients && i < CLIENTS; i++)
        client_stop(&clients[i]);
    if (!ok)
        return false;
    r->ended = (double)atomic_load(&crowd.ended);
    if (crowded && !crowd_stop(&crowd, why))
        return false;
    agent_close(crowd.engine);
    return true;
}

/* --- all phases -------------------------------------------------------------------------------------------------------- */

struct sort {
    struct bench_series *all, *p50, *p99, *p999;
};

static void add_sort(struct sort *s, double *ms, long count)
{
    for (long i = 0; i < count; i++)
        bench_add(s->all, ms[i]);
    bench_add(s->p50, bench_quantile(ms, (size_t)count, 0.5));
    bench_add(s->p99, bench_quantile(ms, (size_t)count, 0.99));
    bench_add(s->p999, bench_quantile(ms, (size_t)count, 0.999));
}

static bool measure_phase(struct bench_run *b, struct isolation w, struct isolation_result *out)
{
    char folder[400], path[450];
    bool ok;

    if (!bench_folder(b, folder, sizeof(folder)))
        return false;
    (void)snprintf(path, sizeof(path), "%s/bench.db", folder);
    w.path = path;
    ok = bench_child(b, phase_work, &w, out, sizeof(*out));
    bench_folder_remove(folder);
    return ok;
}

void bench_isolation(struct bench_run *b)
{
    static const char *const sort_names[2] = {"short", "short callback"};
    static struct isolation_result r;
    struct bench_series *late, *begun[KINDS], *ended, *clients;
    struct sort sorts[2][PHASES];
    struct isolation w = {
        .agentctl = bench_opts(b)->agentctl,
        .long_ms = (int)bench_size(b, 10000, 1000),
        .permits = (int)bench_size(b, 400, 200),
        .rate = (double)bench_size(b, 200, 60),
        .tool_rate = (double)bench_size(b, 40, 20),
        .seconds = (double)bench_size(b, 25, 2),
    };
    struct server server;

    w.per_kind[STREAM] = w.per_kind[HANG] = w.permits;
    w.per_kind[COMMAND] = w.per_kind[CALLBACK] = (int)bench_size(b, 128, 80);
    for (int s = 0; s < 2; s++) {
        for (int p = 0; p < PHASES; p++) {
            struct sort *at = &sorts[s][p];

            at->p50 = bench_series(b, BENCH_LESS, "ms", "%s, %s: p50", sort_names[s], phase_names[p]);
            at->p99 = bench_series(b, BENCH_LESS, "ms", "%s, %s: p99", sort_names[s], phase_names[p]);
            at->p999 = bench_series(b, BENCH_LESS, "ms", "%s, %s: p99.9", sort_names[s], phase_names[p]);
            if (p != IDLE) {
                bench_ratio(at->p99, sorts[s][IDLE].p99, p == BUSY ? 1.2 : 0);
                bench_ratio(at->p50, sorts[s][IDLE].p50, 0);
            }
        }
    }
    for (int s = 0; s < 2; s++)
        for (int p = 0; p < PHASES; p++)
            sorts[s][p].all = bench_series(b, BENCH_NEITHER, "ms", "%s, %s: every run", sort_names[s], phase_names[p]);
    for (int k = 0; k < KINDS; k++)
        begun[k] = bench_series(b, BENCH_NEITHER, "runs", "the crowd: %s under way", kind_names[k]);
    ended = bench_series(b, BENCH_NEITHER, "runs", "the crowd: ended, others followed");
    clients = bench_series(b, BENCH_NEITHER, "processes", "clients that hang on their output");
    late = bench_series(b, BENCH_LESS, "ms", "late starts of the load itself, p99");
    if (!server_start(b, &server))
        return;
    w.port = server.port;
    for (int round = bench_rounds(b, 3); round > 0; round--) {
        int order[PHASES];

        bench_shuffle(b, order, PHASES);
        w.seed = bench_opts(b)->seed * 1000 + (uint64_t)round;
        for (int i = 0; i < PHASES; i++) {
            w.phase = (enum phase)order[i];
            if (!measure_phase(b, w, &r)) {
                server_stop(&server);
                return;
            }
            add_sort(&sorts[0][w.phase], r.plain_ms, r.plain);
            add_sort(&sorts[1][w.phase], r.tool_ms, r.tool);
            bench_add(late, r.late_ms);
            for (int k = 0; k < KINDS && w.phase == BUSY; k++)
                if (k != HANG) /* of a request that hangs nothing is seen */
                    bench_add(begun[k], r.begun[k]);
            if (w.phase == BUSY) {
                bench_add(ended, r.ended);
                bench_add(clients, r.clients);
            }
        }
    }
    server_stop(&server);
    bench_note(b, "in a file, FULL, 2 workers; %.0f and %.0f short runs a second for %.0f s, times from their arrival; "
                  "%d ms is the server's or the callback's", w.rate, w.tool_rate, w.seconds, SHORT_MS);
    bench_note(b, "the crowd: %d streams and %d hanging requests for %d places of the same endpoint, %d commands and %d "
                  "callbacks, %d s each; half of class normal, half low", w.per_kind[STREAM], w.per_kind[HANG], w.permits,
               w.per_kind[COMMAND], w.per_kind[CALLBACK], w.long_ms / 1000);
    if (w.agentctl[0] == '\0')
        bench_note(b, "agentctl is not there: no clients that do not read");
}
