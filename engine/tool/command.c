/*
 * A command tool: the arguments go to the child's stdin, its stdout is the result.
 *
 *    ag_command ──► ag_process (argv, environment, deadline, caps)
 *                       │
 *                       ▼ its end
 *    exit 0 ───► stdout                        AG_TOOL_OK
 *    other ────► what happened, stderr, stdout AG_TOOL_FAILED, _TIMEOUT, _CANCELLED
 *
 *  (1) The environment is what the host gave and AGENT_EFFECT_ID, AGENT_RUN_ID, AGENT_CALL_ID; of
 *      those three the host's are left out, so that a child sees each once.
 *  (2) The text is valid UTF-8 without NUL, whatever the child wrote: a model and a JSON text have
 *      no use for anything else. Replacing makes it longer; it is cut to the cap after that.
 *  (3) fn comes exactly once after a start that succeeded, and the call is gone when it returns.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tool/json.h"
#include "engine/tool/tool.h"

#define AG_ARGV_MAX 1024 /* words of a command */

struct ag_command_call {
    ag_process *process;
    ag_tool_fn fn;
    void *ctx;
    int64_t timeout_ms;
    size_t max_output_bytes;
};

/* --- what the model reads -------------------------------------------------------------------- */

/* (2): appends s, at most `most` bytes of it as they will be read; *cut is set where there was more. */
static void put_text(ag_buf *b, struct ag_str s, size_t most, bool *cut)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    size_t limit = b->n + most, from = 0, i = 0;

    while (i < s.n) {
        size_t n = s.p[i] == '\0' ? 0 : ag_utf8_char(s.p + i, s.n - i);

        if (b->n + (i - from) + (n > 0 ? n : 3) > limit) {
            *cut = true;
            break;
        }
        if (n > 0) {
            i += n;
            continue;
        }
        ag_buf_append(b, s.p + from, i - from);
        ag_buf_append(b, replacement, 3);
        from = ++i;
    }
    ag_buf_append(b, s.p + from, i - from);
}

/* A cap falls where it falls: the beginning of a character at the very end is no wrong byte. */
static struct ag_str without_torn_end(struct ag_str s)
{
    size_t back = 1;

    while (back < 4 && back < s.n && ((unsigned char)s.p[s.n - back] & 0xc0) == 0x80)
        back++;
    if (back <= s.n && (unsigned char)s.p[s.n - back] >= 0xc0 && ag_utf8_char(s.p + s.n - back, back) == 0)
        s.n -= back;
    return s;
}

/* And the last bytes of stderr may begin within one. */
static struct ag_str without_torn_start(struct ag_str s)
{
    for (int i = 0; i < 3 && s.n > 0 && ((unsigned char)*s.p & 0xc0) == 0x80; i++)
        s = (struct ag_str){s.p + 1, s.n - 1};
    return s;
}

static void put_output(ag_buf *b, const struct ag_command_call *call, struct ag_str output, bool cut)
{
    put_text(b, cut ? without_torn_end(output) : output, call->max_output_bytes, &cut);
    if (cut)
        ag_buf_printf(b, "\n[cut: output was over %zu bytes]", call->max_output_bytes);
}

static struct ag_str without_newlines(struct ag_str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static const char *signal_name(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {1, "SIGHUP"},   {2, "SIGINT"},  {3, "SIGQUIT"},  {4, "SIGILL"},   {6, "SIGABRT"},  {8, "SIGFPE"},
        {9, "SIGKILL"},  {11, "SIGSEGV"}, {13, "SIGPIPE"}, {14, "SIGALRM"}, {15, "SIGTERM"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].number == number)
            return names[i].name;
    return "signal";
}

static void put_failure(ag_buf *b, const struct ag_command_call *call, const struct ag_process_end *end)
{
    struct ag_str errors = without_newlines(without_torn_start(end->errors));
    struct ag_str output = without_newlines(end->output);
    bool cut = false;

    if (end->killed)
        ag_buf_z(b, "tool was cancelled and stopped");
    else if (end->timed_out)
        ag_buf_printf(b, "tool timed out after %lld ms and was stopped", (long long)call->timeout_ms);
    else if (end->signal != 0)
        ag_buf_printf(b, "tool failed: ended by signal %d (%s)", end->signal, signal_name(end->signal));
    else
        ag_buf_printf(b, "tool failed: exit code %d", end->exit_code);
    if (errors.n > 0) {
        ag_buf_z(b, "\nstderr: ");
        put_text(b, errors, (size_t)3 * AG_TOOL_ERRORS_BYTES, &cut);
    }
    if (output.n > 0) {
        ag_buf_z(b, "\nstdout: ");
        put_output(b, call, output, end->cut);
    }
}

static void on_end(void *ctx, const struct ag_process_end *end)
{
    struct ag_command_call *call = ctx;
    /* Room for the output, the last of stderr with every byte replaced, and our own words. */
    ag_buf text = AG_BUF_INIT(call->max_output_bytes + (size_t)3 * AG_TOOL_ERRORS_BYTES + 512);
    struct ag_tool_end told = {
        .outcome = AG_TOOL_FAILED, .wall_us = end->wall_us, .child_rss_peak_bytes = end->rss_peak_bytes,
    };

    if (end->killed)
        told.outcome = AG_TOOL_CANCELLED;
    else if (end->timed_out)
        told.outcome = AG_TOOL_TIMEOUT;
    else if (end->signal == 0 && end->exit_code == 0)
        told.outcome = AG_TOOL_OK;
    if (told.outcome == AG_TOOL_OK)
        put_output(&text, call, end->output, end->cut);
    else
        put_failure(&text, call, end);
    told.text = ag_buf_view(&text);
    if (text.failed != AGENT_OK) { /* an effect that took place is still told as one that did */
        told.text = told.outcome == AG_TOOL_OK ? AG_STR("[the tool succeeded, but its output is lost: out of memory]")
                                               : AG_STR("tool failed; what it said is lost: out of memory");
    }
    call->fn(call->ctx, &told);
    ag_buf_drop(&text);
    ag_free(call);
}

/* --- starting -------------------------------------------------------------------------------- */

static bool is_named(const char *entry, const char *name)
{
    size_t n = strlen(name);

    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* (1) */
static const char *const *environment(const struct ag_command *c, ag_arena *a)
{
    static const char *const ours[] = {"AGENT_EFFECT_ID", "AGENT_RUN_ID", "AGENT_CALL_ID"};
    const char **env;
    size_t count = 0, n = 0;

    while (c->env != NULL && c->env[count] != NULL)
        count++;
    if ((env = ag_arena_alloc(a, (count + 4) * sizeof(*env))) == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        bool mine = false;

        for (size_t o = 0; o < sizeof(ours) / sizeof(ours[0]); o++)
            mine = mine || is_named(c->env[i], ours[o]);
        if (!mine)
            env[n++] = c->env[i];
    }
    env[n] = ag_arena_printf(a, "AGENT_EFFECT_ID=%s", c->effect_id == NULL ? "" : c->effect_id);
    env[n + 1] = ag_arena_printf(a, "AGENT_RUN_ID=%lld", (long long)c->run_id);
    env[n + 2] = ag_arena_printf(a, "AGENT_CALL_ID=%s", c->call_id == NULL ? "" : c->call_id);
    env[n + 3] = NULL;
    return env[n] == NULL || env[n + 1] == NULL || env[n + 2] == NULL ? NULL : env;
}

static const char *path_of(const char *const *env)
{
    for (; *env != NULL; env++)
        if (is_named(*env, "PATH"))
            return *env + strlen("PATH=");
    return NULL;
}

static agent_status start(uv_loop_t *loop, const struct ag_command *c, struct ag_command_call *call, ag_arena *a,
                          agent_error *err)
{
    struct ag_process_spec spec = {
        .argv = c->argv,
        .env = environment(c, a),
        .input = c->arguments,
        .timeout_ms = call->timeout_ms,
        .grace_ms = AG_TOOL_GRACE_MS,
        .max_output_bytes = call->max_output_bytes,
        .max_error_bytes = AG_TOOL_ERRORS_BYTES,
    };

    if (spec.env == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "out of memory");
    spec.path = path_of(spec.env);
    return ag_process_start(loop, &spec, on_end, call, &call->process, err);
}

agent_status ag_command_start(uv_loop_t *loop, const struct ag_command *c, ag_tool_fn fn, void *ctx,
                              ag_command_call **out, agent_error *err)
{
    struct ag_command_call *call;
    ag_arena a = AG_ARENA_INIT; /* posix_spawn has copied all of it when it returns */
    agent_status rc;

    if (c->argv == NULL || c->argv[0] == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "tool '%s': no command", c->name);
    if ((call = ag_calloc(1, sizeof(*call))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "tool '%s': out of memory", c->name);
    call->fn = fn;
    call->ctx = ctx;
    call->timeout_ms = c->timeout_ms > 0 ? c->timeout_ms : AG_TOOL_TIMEOUT_MS;
    call->max_output_bytes = c->max_output_bytes > 0 ? c->max_output_bytes : AG_TOOL_OUTPUT_BYTES;
    rc = start(loop, c, call, &a, err);
    ag_arena_drop(&a);
    if (rc != AGENT_OK) {
        ag_free(call);
        return ag_wrap(err, rc, "tool '%s'", c->name);
    }
    *out = call;
    return AGENT_OK;
}

void ag_command_cancel(ag_command_call *call)
{
    ag_process_kill(call->process);
}

/* --- argv as kept ---------------------------------------------------------------------------- */

static agent_status copy_words(const json_t *words, ag_arena *a, const char *const **out, agent_error *err)
{
    size_t n = json_array_size(words);
    const char **argv;

    if (!json_is_array(words) || n == 0 || n > AG_ARGV_MAX)
        return ag_fail(err, AGENT_EINVAL, 0, "argv: must be a list of 1 to %d strings", AG_ARGV_MAX);
    if ((argv = ag_arena_alloc(a, (n + 1) * sizeof(*argv))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "argv: out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *word = json_array_get(words, i);

        if (!json_is_string(word) || (i == 0 && json_string_length(word) == 0))
            return ag_fail(err, AGENT_EINVAL, 0, "argv: word %zu must be a %sstring", i, i == 0 ? "non-empty " : "");
        argv[i] = ag_arena_z(a, (struct ag_str){json_string_value(word), json_string_length(word)});
        if (argv[i] == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "argv: out of memory");
    }
    argv[n] = NULL;
    *out = argv;
    return AGENT_OK;
}

agent_status ag_argv_parse(struct ag_str json, ag_arena *a, const char *const **out, agent_error *err)
{
    json_auto_t *words = NULL;
    agent_status rc = ag_json_read(json, "argv", &words, err); /* refuses \u0000, so no word has a NUL in it */

    return rc != AGENT_OK ? rc : copy_words(words, a, out, err);
}
