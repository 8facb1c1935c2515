/*
 * agent-bench: the table of benches, and the machine they ran on.
 *
 *     agent-bench list
 *     agent-bench NAME… | all  [--json] [--quick] [--seed N] [--rounds N] [--dir DIR] [--big]
 *
 * Exit: 0 measured · 1 an answer was wrong or could not be had · 2 usage. A missed target is
 * reported and is no error.
 */
#include <agent/agent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

static const struct bench benches[] = {
    {"create_memory", "agents created in memory (store=memory): alone, with tools, with a memory of their own", "ns",
     bench_create_memory},
    {"create_durable", "agents created in a file: one thread, and 64 at once", "agents/s", bench_create_durable},
    {"run_memory", "one-step runs on offline:demo in memory, one thread, sampling off", "runs/s", bench_run_memory},
    {"run_tool_memory", "the same with one call of calc", "runs/s", bench_run_tool_memory},
    {"durable", "one-step runs in a file, FULL and NORMAL, beside bare SQLite writing the same rows", "runs/s",
     bench_durable},
    {"run_tool_durable", "runs with one call of calc in a file, beside bare SQLite", "runs/s",
     bench_run_tool_durable},
    {"durable25", "25 turns of one session on a new file, beside bare commits of the same rows", "ms",
     bench_durable25},
    {"flat", "bytes written by turn 10, 1,000 and 10,000 of one session", "bytes", bench_flat},
    {"cold", "start of agentctl list and run beside sqlite3 FILE 'select 1'", "ms", bench_cold},
    {"sampler", "runs over HTTP with memory readings off, at borders of stages, every 100, 10 and 1 ms", "runs/s",
     bench_sampler},
    {"accounts", "runs in memory with and without heap accounts", "runs/cpu-s", bench_accounts},
    {"steady", "RSS along 100,000 runs", "MB", bench_steady},
    {"peaks", "what rows of runs miss of a known spike, and of the kernel's own peak", "MB", bench_peaks},
    {"concurrency", "100 runs in flight over HTTP, no server delay, beside bare sockets and wrk", "runs/s",
     bench_concurrency},
    {"delayed", "answers after 500 ms: thousands of runs in flight", "runs/s", bench_delayed},
    {"streams", "1,000 streams of 20 chunks a second: what the engine adds to each chunk", "ms", bench_streams},
    {"inflight", "runs that wait for their answer: memory, idle CPU, cancel; plain, TLS, HTTP/2", "bytes", bench_inflight},
    {"tls", "verified new TLS connections", "runs/cpu-s", bench_tls},
    {"cold_host", "1,000 runs at once to a name nobody has resolved yet", "", bench_cold_host},
    {"isolation", "short runs as they arrive, beside long ones that hold all that they may, and without", "ms",
     bench_isolation},
    {"io", "bursts of runs that wait 100, 300 and 500 ms for a server, beside the ideal", "ms", bench_io},
    {"queue", "runs queued, claimed and finished by 1, 2 and 4 processes, beside bare SQLite", "runs/s", bench_queue},
    {"scaling", "agents and runs from 1 to 16 threads of the host: speed-up over one", "agents/s", bench_scaling},
    {"soak", "half an hour of everything at once: what grows (not of `all`)", "MB/h", bench_soak},
    {"cache_coherence", "reads through the cache while another process commits each ms; none may be stale", "ns",
     bench_cache_coherence},
    {"cache_end_to_end", "agentmix against a file through caches of 0, 100, 200, 300 MB: time, and RSS", "ms",
     bench_cache_end_to_end},
    {"cache_warm", "what loading the hottest entries at start would save", "ms", bench_cache_warm},
};

#define BENCH_COUNT (sizeof(benches) / sizeof(benches[0]))

/* --- the machine ------------------------------------------------------------------------------------ */

struct machine {
    char cpu[128], kernel[200], compiler[96], curl[160], time[32];
    long cores;
    double load;
};

static void read_cpu(char *text, size_t bytes)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512];

    (void)snprintf(text, bytes, "unknown");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        char *value = strchr(line, ':');

        if (strncmp(line, "model name", 10) == 0 && value != NULL) {
            value[strcspn(value, "\n")] = '\0';
            (void)snprintf(text, bytes, "%s", value + 2);
            break;
        }
    }
    if (f != NULL)
        (void)fclose(f);
}

/* Asked in a child: a process that has loaded libcurl once stays large. */
static void read_curl(char *text, size_t bytes)
{
    int fd[2];
    ssize_t n = 0;
    pid_t pid;

    (void)snprintf(text, bytes, "not installed");
    if (pipe(fd) != 0)
        return;
    if ((pid = fork()) == 0) {
        void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
        void *symbol = lib != NULL ? dlsym(lib, "curl_version") : NULL;
        char *(*version)(void);

        if (symbol != NULL) {
            memcpy(&version, &symbol, sizeof(version));
            n = write(fd[1], version(), strlen(version()));
        }
        _exit(n < 0);
    }
    (void)close(fd[1]);
    if (pid > 0 && (n = read(fd[0], text, bytes - 1)) > 0) {
        text[n] = '\0';
        text[strcspn(text, " ")] = '\0';
    }
    (void)close(fd[0]);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

static void read_machine(struct machine *m)
{
    struct utsname u = {0};
    time_t now = time(NULL);
    struct tm utc;
    double load[1] = {0};

    (void)uname(&u);
    read_cpu(m->cpu, sizeof(m->cpu));
    (void)snprintf(m->kernel, sizeof(m->kernel), "%s %s %s", u.sysname, u.release, u.machine);
#if defined(__clang__)
    (void)snprintf(m->compiler, sizeof(m->compiler), "clang %s", __clang_version__);
#else
    (void)snprintf(m->compiler, sizeof(m->compiler), "gcc %s", __VERSION__);
#endif
    m->cores = sysconf(_SC_NPROCESSORS_ONLN);
    (void)getloadavg(load, 1);
    m->load = load[0];
    read_curl(m->curl, sizeof(m->curl));
    (void)strftime(m->time, sizeof(m->time), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
}

static void print_head(const struct bench_options *o, FILE *out)
{
    struct machine m;

    read_machine(&m);
    if (o->json) {
        fprintf(out,
                "{\"machine\":{\"cpu\":\"%s\",\"cores\":%ld,\"kernel\":\"%s\",\"load\":%.2f},\"versions\":{\"agent\":\"%s\","
                "\"compiler\":\"%s\",\"sqlite\":\"%s\",\"libcurl\":\"%s\"},\"at\":\"%s\",\"seed\":%llu,\"quick\":%s,"
                "\"benches\":[\n",
                m.cpu, m.cores, m.kernel, m.load, agent_version(), m.compiler, sqlite3_libversion(), m.curl, m.time,
                (unsigned long long)o->seed, o->quick ? "true" : "false");
    } else {
        fprintf(out, "machine: %s, %ld cores, load %.2f; %s\n", m.cpu, m.cores, m.load, m.kernel);
        fprintf(out, "versions: libagent %s, %s, SQLite %s, %s; %s, seed %llu%s\n", agent_version(), m.compiler,
                sqlite3_libversion(), m.curl, m.time, (unsigned long long)o->seed, o->quick ? ", --quick" : "");
    }
    fflush(out);
}

/* --- the command line ---------------------------------------------------------------------------------- */

static int usage(const char *problem, const char *word)
{
    if (problem != NULL)
        fprintf(stderr, "agent-bench: error: %s%s%s\n", problem, word != NULL ? ": " : "", word != NULL ? word : "");
    fputs("usage: agent-bench list\n"
          "       agent-bench NAME... | all  [--json] [--quick] [--seed N] [--rounds N] [--dir DIR] [--big]\n"
          "\n"
          "  --json      machine, versions and raw samples as one JSON value\n"
          "  --quick     small sizes, two rounds\n"
          "  --seed N    of inputs and of the order within a round (1)\n"
          "  --rounds N  how often each series is measured\n"
          "  --minutes N soak: how long (30)\n"
          "  --dir DIR   where files are made, best on a real disk ($TMPDIR, /tmp)\n"
          "  --big       cold: a file of 1 GB instead of 100 MB\n"
          "  --agentctl PATH  the agentctl that cold starts (the one of this build)\n",
          problem != NULL ? stderr : stdout);
    return problem != NULL ? 2 : 0;
}

static bool number(const char *text, long long most, long long *out)
{
    char *end;
    long long v;

    if (text == NULL || *text == '\0')
        return false;
    errno = 0;
    v = strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0 || v < 0 || v > most)
        return false;
    *out = v;
    return true;
}

/* The other programs of this build stand beside this one and a folder above it. */
static void find_programs(struct bench_options *o)
{
    char self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n <= 0)
        return;
    self[n] = '\0';
    if ((slash = strrchr(self, '/')) == NULL)
        return;
    *slash = '\0';
    (void)snprintf(o->helper, sizeof(o->helper), "%s/agent-bench-spawn", self);
    if (access(o->helper, X_OK) != 0)
        o->helper[0] = '\0';
    if (o->agentctl[0] != '\0')
        return;
    (void)snprintf(o->agentctl, sizeof(o->agentctl), "%s/../agentctl", self);
    if (access(o->agentctl, X_OK) != 0)
        o->agentctl[0] = '\0';
}

static const struct bench *find_bench(const char *name)
{
    for (size_t i = 0; i < BENCH_COUNT; i++)
        if (strcmp(benches[i].name, name) == 0)
            return &benches[i];
    return NULL;
}

static int list_benches(bool json)
{
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        if (json)
            printf("%s{\"name\":\"%s\",\"what\":\"%s\",\"unit\":\"%s\"}", i == 0 ? "[" : ",", benches[i].name,
                   benches[i].what, benches[i].unit);
        else
            printf("%-18s %-9s %s\n", benches[i].name, benches[i].unit, benches[i].what);
    }
    if (json)
        puts("]");
    return 0;
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    struct bench_options o = {.seed = 1, .dir = tmp != NULL && *tmp != '\0' ? tmp : "/tmp"};
    bool chosen[BENCH_COUNT] = {false}, any = false, list = false, first = true;
    long long value;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const struct bench *bench;

        if (strcmp(word, "--json") == 0) {
            o.json = true;
        } else if (strcmp(word, "--quick") == 0) {
            o.quick = true;
        } else if (strcmp(word, "--big") == 0) {
            o.big = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return usage(NULL, NULL);
        } else if (strcmp(word, "--seed") == 0) {
            if (++i >= argc || !number(argv[i], INT64_MAX, &value))
                return usage("--seed needs a number", NULL);
            o.seed = (uint64_t)value;
        } else if (strcmp(word, "--rounds") == 0) {
            if (++i >= argc || !number(argv[i], 1000, &value) || value == 0)
                return usage("--rounds needs a number from 1 to 1000", NULL);
            o.rounds = (int)value;
        } else if (strcmp(word, "--minutes") == 0) {
            if (++i >= argc || !number(argv[i], 10000, &value) || value == 0)
                return usage("--minutes needs a number from 1 to 10000", NULL);
            o.minutes = (int)value;
        } else if (strcmp(word, "--dir") == 0) {
            if (++i >= argc)
                return usage("--dir needs a folder", NULL);
            o.dir = argv[i];
        } else if (strcmp(word, "--agentctl") == 0) {
            if (++i >= argc || strlen(argv[i]) >= sizeof(o.agentctl) || access(argv[i], X_OK) != 0)
                return usage("--agentctl needs a program", i < argc ? argv[i] : NULL);
            (void)snprintf(o.agentctl, sizeof(o.agentctl), "%s", argv[i]);
        } else if (word[0] == '-') {
            return usage("unknown flag", word);
        } else if (strcmp(word, "list") == 0) {
            list = true;
        } else if (strcmp(word, "all") == 0) {
            for (size_t k = 0; k < BENCH_COUNT; k++)
                chosen[k] |= benches[k].run != bench_soak;
            any = true;
        } else if ((bench = find_bench(word)) != NULL) {
            chosen[bench - benches] = true;
            any = true;
        } else {
            return usage("no such bench (agent-bench list names them)", word);
        }
    }
    if (list)
        return list_benches(o.json);
    if (!any)
        return usage("no bench is named", NULL);
    find_programs(&o);
    print_head(&o, stdout);
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        struct bench_run *b;

        if (!chosen[i])
            continue;
        b = bench_run_new(&benches[i], &o);
        benches[i].run(b);
        if (o.json)
            bench_report_json(b, first, stdout);
        else
            bench_report_text(b, stdout);
        failed += !bench_run_ok(b);
        first = false;
        bench_run_free(b);
    }
    if (o.json)
        puts("]}");
    return failed > 0;
}
