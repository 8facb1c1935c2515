/*
 * The scripted server as a program, for end-to-end tests. It ends with its parent.
 *
 *     scripted_server --port-file F (--script DIR | --chat) [options]
 *
 * --script DIR   answers from DIR/001.http, 002.http, …: the first line holds directives, the rest is
 *                the body. Directives: status N · type T · header NAME=VALUE · split N · delay MS ·
 *                piece-delay MS · chunked · close · raw · cut · reset · hang · endless · last ·
 *                when-path TEXT · when-body TEXT. Requests are written to DIR/requests/001.txt, …
 * --chat         a model by rule (scripted_chat.h), at /…/chat/completions and /…/messages;
 *                --anthropic is another name for it
 *   --key K · --delay MS · --piece-delay MS · --split N · --fail-first N · --fail-status S ·
 *   --retry-after SECONDS · --cut-first N
 * --requests DIR where requests are written (either mode)
 * --count F      a file that always holds the number of requests so far
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/scripted_chat.h"
#include "tests/scripted_server.h"

#define ANSWERS_MAX 1000

struct program {
    struct scripted_answer answers[ANSWERS_MAX];
    size_t answer_count, given;
    struct scripted_chat chat;
    bool is_chat;
    char requests[4000];
    const char *count_file, *port_file, *script;
    pthread_mutex_t lock; /* guards given and the files */
};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "scripted_server: %s: %s\n", what, errno == 0 ? "see the top of scripted_main.c" : strerror(errno));
    exit(2);
}

/* A file that is never seen half written. */
static void write_number(const char *path, long number)
{
    char tmp[4100];
    FILE *f;

    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    if ((f = fopen(tmp, "w")) == NULL || fprintf(f, "%ld\n", number) < 0 || fclose(f) != 0 || rename(tmp, path) != 0)
        die(path);
}

static void write_request(const struct program *p, const struct scripted_request *r, size_t index)
{
    char path[4200], tmp[4300];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%03zu.txt", p->requests, index + 1);
    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    if ((f = fopen(tmp, "w")) == NULL)
        die(tmp);
    fprintf(f, "%s %s\r\n%s\r\n", r->method, r->path, r->headers);
    fwrite(r->body, 1, r->body_bytes, f);
    if (fclose(f) != 0 || rename(tmp, path) != 0)
        die(path);
}

static void on_request(void *ctx, const struct scripted_request *r, size_t index, struct scripted_answer *out)
{
    struct program *p = ctx;

    pthread_mutex_lock(&p->lock);
    if (p->requests[0] != '\0')
        write_request(p, r, index);
    if (p->count_file != NULL)
        write_number(p->count_file, (long)index + 1);
    if (!p->is_chat)
        scripted_choose(p->answers, p->answer_count, &p->given, r, out);
    pthread_mutex_unlock(&p->lock);
    if (p->is_chat)
        scripted_chat_answer(&p->chat, r, index, out);
}

/* --- reading a script ------------------------------------------------------------------------------- */

static char *word(char **at)
{
    char *w = strtok_r(NULL, " \t\r", at);

    if (w == NULL) {
        errno = 0;
        die("a directive without its value");
    }
    return w;
}

static void directive(struct scripted_answer *a, const char *name, char **at)
{
    static const struct {
        const char *name;
        enum scripted_framing framing;
    } framings[] = {{"length", SCRIPTED_LENGTH}, {"chunked", SCRIPTED_CHUNKED}, {"close", SCRIPTED_CLOSE}, {"raw", SCRIPTED_RAW}};
    bool *flag = strcmp(name, "cut") == 0     ? &a->cut
                 : strcmp(name, "reset") == 0 ? &a->reset
                 : strcmp(name, "hang") == 0  ? &a->hang
                 : strcmp(name, "last") == 0  ? &a->last
                 : strcmp(name, "endless") == 0 ? &a->endless : NULL;

    if (flag != NULL) {
        *flag = true;
        return;
    }
    for (size_t i = 0; i < sizeof(framings) / sizeof(framings[0]); i++)
        if (strcmp(name, framings[i].name) == 0) {
            a->framing = framings[i].framing;
            return;
        }
    if (strcmp(name, "status") == 0) {
        a->status = atoi(word(at));
    } else if (strcmp(name, "type") == 0) {
        a->type = word(at);
    } else if (strcmp(name, "split") == 0) {
        a->split = strtoul(word(at), NULL, 10);
    } else if (strcmp(name, "delay") == 0) {
        a->delay_ms = atoi(word(at));
    } else if (strcmp(name, "piece-delay") == 0) {
        a->piece_ms = atoi(word(at));
    } else if (strcmp(name, "when-path") == 0) {
        a->when_path = word(at);
    } else if (strcmp(name, "when-body") == 0) {
        a->when_body = word(at);
    } else if (strcmp(name, "header") == 0) {
        char *line = word(at), *equals = strchr(line, '='), *all = NULL;
        if (equals == NULL || asprintf(&all, "%s%.*s: %s\r\n", a->headers == NULL ? "" : a->headers,
                                       (int)(equals - line), line, equals + 1) < 0)
            die("header NAME=VALUE");
        a->headers = all; /* lives as long as the program */
    } else {
        errno = 0;
        die(name);
    }
}

static void read_answer(const char *path, struct scripted_answer *a)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL, *end, *at = NULL;
    struct stat st;
    size_t n;

    if (f == NULL || fstat(fileno(f), &st) != 0 || (text = malloc((size_t)st.st_size + 1)) == NULL)
        die(path);
    n = fread(text, 1, (size_t)st.st_size, f);
    text[n] = '\0';
    fclose(f);
    *a = (struct scripted_answer){0};
    if ((end = memchr(text, '\n', n)) != NULL) {
        *end = '\0';
        a->body = end + 1;
        a->body_bytes = n - (size_t)(end + 1 - text);
    }
    for (char *name = strtok_r(text, " \t\r", &at); name != NULL; name = strtok_r(NULL, " \t\r", &at))
        directive(a, name, &at);
}

static int is_answer(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > 5 && strcmp(entry->d_name + n - 5, ".http") == 0;
}

static void read_script(struct program *p)
{
    struct dirent **names;
    int n = scandir(p->script, &names, is_answer, alphasort);

    if (n <= 0)
        die(p->script);
    for (int i = 0; i < n && i < ANSWERS_MAX; i++) {
        char path[4500];

        snprintf(path, sizeof(path), "%s/%s", p->script, names[i]->d_name);
        read_answer(path, &p->answers[p->answer_count++]);
        free(names[i]);
    }
    free(names);
    if (p->requests[0] == '\0')
        snprintf(p->requests, sizeof(p->requests), "%.3900s/requests", p->script);
}

int main(int argc, char **argv)
{
    static struct program p = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct scripted *server;
    char *line = NULL;

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test script that dies leaves no server behind */
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(name, "--chat") == 0 || strcmp(name, "--anthropic") == 0) {
            p.is_chat = true;
            continue;
        }
        errno = 0;
        if (value == NULL)
            die(name);
        i++;
        if (strcmp(name, "--port-file") == 0)
            p.port_file = value;
        else if (strcmp(name, "--script") == 0)
            p.script = value;
        else if (strcmp(name, "--requests") == 0)
            snprintf(p.requests, sizeof(p.requests), "%s", value);
        else if (strcmp(name, "--count") == 0)
            p.count_file = value;
        else if (strcmp(name, "--key") == 0)
            p.chat.key = value;
        else if (strcmp(name, "--delay") == 0)
            p.chat.delay_ms = atoi(value);
        else if (strcmp(name, "--piece-delay") == 0)
            p.chat.piece_ms = atoi(value);
        else if (strcmp(name, "--split") == 0)
            p.chat.split = strtoul(value, NULL, 10);
        else if (strcmp(name, "--fail-first") == 0)
            p.chat.fail_first = strtoul(value, NULL, 10);
        else if (strcmp(name, "--fail-status") == 0)
            p.chat.fail_status = atoi(value);
        else if (strcmp(name, "--cut-first") == 0)
            p.chat.cut_first = strtoul(value, NULL, 10);
        else if (strcmp(name, "--retry-after") == 0 && asprintf(&line, "Retry-After: %s\r\n", value) > 0)
            p.chat.retry_after = line;
        else
            die(name);
    }
    errno = 0;
    if (p.port_file == NULL || p.is_chat == (p.script != NULL))
        die("--port-file F and one of --script DIR, --chat");
    if (p.script != NULL)
        read_script(&p);
    if (p.requests[0] != '\0' && mkdir(p.requests, 0700) != 0 && errno != EEXIST)
        die(p.requests);
    if (p.count_file != NULL)
        write_number(p.count_file, 0);
    if ((server = scripted_start_fn(on_request, &p)) == NULL)
        die("listen on 127.0.0.1");
    printf("%s\n", scripted_url(server));
    fflush(stdout);
    write_number(p.port_file, scripted_port(server));
    for (;;)
        pause(); /* SIGTERM or SIGINT ends it */
}
