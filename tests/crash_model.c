/*
 * The two witnesses outside the file: the model, who refuses a history that an API would refuse, and
 * the tools, who write down what they are called for.
 *
 * An input is what the model does: "look put; act" calls two tools at once, then one, then answers.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash_model.h"

static const struct crash_place *place;
static atomic_int dawdle_us;

atomic_int crash_hanging, crash_stalled;
atomic_bool crash_may_hang, crash_may_stall;

void crash_die(const char *what, const agent_error *err)
{
    (void)fprintf(stderr, "crash: process %d: %s: %s\n", (int)getpid(), what, err == NULL ? "" : err->text);
    _exit(3);
}

void crash_dawdle(int us)
{
    atomic_store(&dawdle_us, us);
}

/* --- the witnesses -------------------------------------------------------------------------------- */

/* One line, whole or not at all, whenever we are killed. */
void crash_witness(const char *file, const char *format, ...)
{
    char path[256], line[512];
    va_list args;
    int fd, n;

    (void)snprintf(path, sizeof(path), "%s/%s", place->dir, file);
    va_start(args, format);
    n = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    n = n < (int)sizeof(line) - 2 ? n : (int)sizeof(line) - 2;
    line[n++] = '\n';
    if ((fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0 || write(fd, line, (size_t)n) != n)
        crash_die("cannot write down what happened", NULL);
    (void)close(fd);
}

static bool witnessed(const char *file, const char *line)
{
    char path[256], at[512];
    bool is_there = false;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", place->dir, file);
    if ((f = fopen(path, "re")) == NULL)
        return false;
    while (!is_there && fgets(at, sizeof(at), f) != NULL) {
        at[strcspn(at, "\n")] = '\0';
        is_there = strcmp(at, line) == 0;
    }
    (void)fclose(f);
    return is_there;
}

static void nap_us(int us)
{
    struct timespec t = {us / 1000000, (us % 1000000) * 1000};

    (void)nanosleep(&t, NULL);
}

/* A moment longer or shorter, so that a kill comes before, between and after. */
static void dawdle(const void *salt)
{
    uint64_t seed = (uint64_t)(uintptr_t)salt ^ (uint64_t)time(NULL);
    int most = atomic_load(&dawdle_us);

    if (most > 0)
        nap_us((int)(crash_random(&seed) % (uint64_t)most));
}

/* --- tools ------------------------------------------------------------------------------------------ */

static agent_status look(void *ctx, agent_tool_call *call, agent_error *err)
{
    (void)ctx;
    (void)err;
    agent_tool_call_write(call, "seen", 4);
    return AGENT_OK;
}

static agent_status put(void *ctx, agent_tool_call *call, agent_error *err)
{
    (void)ctx;
    (void)err;
    crash_witness("idem", "%s", agent_tool_call_effect_id(call));
    dawdle(call);
    agent_tool_call_write(call, "put", 3);
    return AGENT_OK;
}

static agent_status act(void *ctx, agent_tool_call *call, agent_error *err)
{
    (void)ctx;
    (void)err;
    dawdle(call);
    crash_witness("acted", "%s", agent_tool_call_effect_id(call));
    dawdle(err);
    agent_tool_call_write(call, "done", 4);
    return AGENT_OK;
}

/* Acts, and the first time does not come back. */
static agent_status stall(void *ctx, agent_tool_call *call, agent_error *err)
{
    bool is_again = witnessed("acted", agent_tool_call_effect_id(call));

    (void)act(ctx, call, err);
    if (is_again || !atomic_load(&crash_may_stall))
        return AGENT_OK;
    (void)atomic_fetch_add(&crash_stalled, 1);
    while (!agent_tool_call_cancelled(call))
        nap_us(1000);
    return AGENT_OK;
}

/* --- the model ----------------------------------------------------------------------------------------- */

static agent_status refuse(agent_error *err, const char *why, size_t at)
{
    crash_witness("bricked", "%s at message %zu", why, at);
    if (err != NULL) {
        err->status = AGENT_EPROVIDER;
        (void)snprintf(err->text, sizeof(err->text), "%s at message %zu", why, at);
    }
    return AGENT_EPROVIDER;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;

    for (const char *p = text; (p = strstr(p, word)) != NULL; p += strlen(word))
        count++;
    return count;
}

/* What an API would answer with 400: a call without its result right after it, a result of no call. */
static agent_status strict(const agent_model_request *q, agent_error *err)
{
    size_t i = 0;

    while (i < q->message_count && strcmp(q->messages[i].role, "system") == 0)
        i++;
    while (i < q->message_count) {
        const agent_message *m = &q->messages[i++];
        int open = m->tool_calls == NULL ? 0 : count_of(m->tool_calls, "\"id\"");

        if (strcmp(m->role, "tool") == 0)
            return refuse(err, "a result of no call", i);
        for (; open > 0; open--, i++) {
            char id[128];

            if (i >= q->message_count || strcmp(q->messages[i].role, "tool") != 0)
                return refuse(err, "a call without its result", i);
            (void)snprintf(id, sizeof(id), "\"%s\"", q->messages[i].tool_call_id);
            if (strstr(m->tool_calls, id) == NULL)
                return refuse(err, "a result of another call", i);
            for (size_t k = i + 1; k < q->message_count && strcmp(q->messages[k].role, "tool") == 0; k++)
                if (strcmp(q->messages[k].tool_call_id, q->messages[i].tool_call_id) == 0)
                    return refuse(err, "two results of a call", k);
        }
    }
    return AGENT_OK;
}

static void answer(agent_reply *reply, const char *input, const char *before)
{
    char text[600];

    (void)snprintf(text, sizeof(text), "to <%.200s> after <%.200s>", input, before);
    agent_reply_text(reply, text, strlen(text));
    if (strstr(input, "long") != NULL) /* several pieces of the journal */
        for (int i = 0; i < 40; i++) {
            char piece[257];

            memset(piece, 'a' + i % 26, 256);
            agent_reply_text(reply, piece, 256);
        }
    agent_reply_usage(reply, 7, 5);
}

static agent_status complete(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *err)
{
    static const char *const tools[] = {"look", "put", "act", "stall", "command"};
    const char *input = "", *before = "", *segment;
    char part[256];
    int round = 0, turns = 0, asked = 0;
    agent_status rc = strict(q, err);

    (void)ctx;
    if (rc != AGENT_OK)
        return rc;
    for (size_t i = 0; i < q->message_count; i++) {
        if (strcmp(q->messages[i].role, "user") == 0) {
            before = input;
            input = q->messages[i].text;
            round = 0;
            turns++;
        } else if (strcmp(q->messages[i].role, "assistant") == 0) {
            round++;
        }
    }
    if (strstr(input, "hang") != NULL && atomic_load(&crash_may_hang)) {
        (void)atomic_fetch_add(&crash_hanging, 1);
        while (!agent_reply_cancelled(reply))
            nap_us(1000);
    }
    dawdle(q);
    segment = input;
    for (int i = 0; i < round && segment != NULL; i++)
        if ((segment = strchr(segment, ';')) != NULL)
            segment++;
    if (segment == NULL || strstr(input, "no tools") != NULL) {
        answer(reply, input, before);
        return AGENT_OK;
    }
    (void)snprintf(part, sizeof(part), "%.*s", (int)strcspn(segment, ";"), segment);
    for (char *save = NULL, *word = strtok_r(part, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
            if (strcmp(word, tools[i]) == 0) {
                char id[64];

                (void)snprintf(id, sizeof(id), "t%dr%dc%d", turns, round, asked++);
                agent_reply_tool_call(reply, id, word, "{}");
            }
    if (asked == 0)
        answer(reply, input, before);
    else
        agent_reply_usage(reply, 7, 3);
    return AGENT_OK;
}

/* --- an engine ---------------------------------------------------------------------------------------- */

static void add_tool(agent_engine *e, const char *name, int effect,
                     agent_status (*call)(void *, agent_tool_call *, agent_error *))
{
    agent_tool t = AGENT_TOOL_INIT;
    agent_error err = AGENT_ERROR_INIT;

    t.name = name;
    t.description = name;
    t.effect = effect;
    t.call = call;
    if (agent_tool_register(e, &t, &err) != AGENT_OK)
        crash_die("register a tool", &err);
}

static agent_engine *just_open(int workers, int durability)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_provider p = {.size = sizeof(p), .name = "strict", .complete = complete};
    agent_error err = AGENT_ERROR_INIT;
    agent_engine *e = NULL;

    o.path = place->path;
    o.flags = AGENT_OPEN_CREATE;
    o.workers = workers;
    o.durability = durability;
    o.tool_env = env;
    o.busy_timeout_ms = 30000;
    if (agent_open(&o, &e, &err) != AGENT_OK)
        crash_die("open", &err);
    if (agent_provider_register(e, &p, &err) != AGENT_OK)
        crash_die("register a provider", &err);
    add_tool(e, "look", AGENT_EFFECT_PURE, look);
    add_tool(e, "put", AGENT_EFFECT_IDEMPOTENT, put);
    add_tool(e, "act", AGENT_EFFECT_EFFECT, act);
    add_tool(e, "stall", AGENT_EFFECT_EFFECT, stall);
    return e;
}

agent_engine *crash_open(const struct crash_place *p, int workers, int durability)
{
    static const char *const tools[] = {"look", "put", "act", "stall", "command"};
    static char script[256];
    const char *argv[] = {"sh", "-c", script, NULL};
    agent_command command = AGENT_COMMAND_INIT;
    agent_config c = AGENT_CONFIG_INIT;
    agent_error err = AGENT_ERROR_INIT;
    agent_status rc;
    agent_engine *e;

    place = p;
    e = just_open(workers, durability);
    (void)snprintf(script, sizeof(script), "echo $AGENT_EFFECT_ID >>%s/idem", p->dir);
    command.name = "command";
    command.description = "writes its effect id down";
    command.argv = argv;
    command.effect = AGENT_EFFECT_IDEMPOTENT;
    rc = agent_command_put(e, &command, false, &err);
    if (rc != AGENT_OK && rc != AGENT_EEXISTS)
        crash_die("make a tool", &err);
    c.model = "strict:m";
    c.tools = tools;
    c.tool_count = sizeof(tools) / sizeof(tools[0]);
    if (agent_create(e, "bob", &c, AGENT_CREATE_IF_NOT_EXISTS, NULL, &err) != AGENT_OK)
        crash_die("create bob", &err);
    c.options = "{\"cache\":\"on\"}";
    if (agent_create(e, "memo", &c, AGENT_CREATE_IF_NOT_EXISTS, NULL, &err) != AGENT_OK)
        crash_die("create memo", &err);
    return e;
}

