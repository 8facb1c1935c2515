/*
 * The ordinary answer of Chat Completions, read without a tree: one choice, its text, its reason,
 * the usage. That is nearly every chunk of every stream, and a tree of it costs five times more
 * than walking its text. Whatever is out of the ordinary is left to the tree (openai_reply.c): both
 * must come to the same, so what stands here may be taken out and nothing changes but the time.
 *
 *  1. The document is checked whole before anything of it is believed.
 *  2. A name with an escape in it, a value of another kind than usual, a tool call, reasoning, a
 *     refusal, an error: not ordinary.
 *  3. Of members with the same name the last one counts, as in the tree.
 */
#include "engine/provider/openai.h"
#include "engine/provider/wire.h"

#define DIGITS_MAX 15

static bool is(struct ag_str literal, const char *what)
{
    return ag_str_is(literal, what);
}

static bool escaped(struct ag_str literal)
{
    return memchr(literal.p, '\\', literal.n) != NULL;
}

/* A count; false: it is none, or a large one. */
static bool count(struct ag_str v, int64_t *out)
{
    int64_t n = 0;

    if (v.n == 0 || v.n > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (v.p[i] - '0');
    }
    *out = n;
    return true;
}

static bool usage(struct ag_str object, struct ag_openai_plain *out)
{
    struct ag_str k, v;
    int64_t own_hit = -1;
    bool ok = true;

    if (is(object, "null"))
        return true;
    for (size_t at = 0; ok && ag_scan_next(object, &at, &k, &v);) {
        ok = !escaped(k);
        if (is(k, "\"prompt_tokens\""))
            ok = count(v, &out->input_tokens);
        else if (is(k, "\"completion_tokens\""))
            ok = count(v, &out->output_tokens);
        else if (is(k, "\"prompt_cache_hit_tokens\""))
            ok = count(v, &own_hit);
        else if (is(k, "\"prompt_tokens_details\"") && !is(v, "null")) {
            struct ag_str name, value;

            out->cached_tokens = -1;
            for (size_t in = 0; ok && ag_scan_next(v, &in, &name, &value);)
                ok = !escaped(name) && (!is(name, "\"cached_tokens\"") || count(value, &out->cached_tokens));
        }
    }
    if (out->cached_tokens < 0)
        out->cached_tokens = own_hit;
    return ok && object.p[0] == '{';
}

static bool message(struct ag_str object, struct ag_openai_plain *out)
{
    static const char *const others[] = {"\"tool_calls\"", "\"function_call\"", "\"refusal\"", "\"reasoning_content\"",
                                         "\"reasoning\"", "\"reasoning_details\""};
    struct ag_str k, v;

    out->content = AG_STR_NONE;
    if (object.p[0] != '{')
        return false;
    for (size_t at = 0; ag_scan_next(object, &at, &k, &v);) {
        if (escaped(k))
            return false;
        if (is(k, "\"content\"")) {
            out->content = v;
            if (v.p[0] != '"' && !is(v, "null"))
                return false;
        }
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
            if (is(k, others[i]) && !is(v, "null") && !is(v, "[]") && !is(v, "\"\""))
                return false;
    }
    return true;
}

/* The only item of an array; false: there are more, or none. */
static bool choice(struct ag_str array, const char *what, struct ag_openai_plain *out)
{
    struct ag_str inner = {array.p + 1, array.n - 2}, k, v;
    bool has_message = false, ok = true;
    size_t at = 0;

    if (array.n < 2 || array.p[0] != '[')
        return false;
    while (inner.n > 0 && (unsigned char)inner.p[0] <= ' ')
        inner = (struct ag_str){inner.p + 1, inner.n - 1};
    if (inner.n == 0) {
        out->has_choice = false;
        return true;
    }
    if (inner.p[0] != '{')
        return false;
    out->has_choice = true;
    out->reason = AG_STR_NONE;
    while (ok && ag_scan_next(inner, &at, &k, &v)) {
        ok = !escaped(k);
        if (is(k, "\"index\"")) {
            ok = is(v, "0");
        } else if (is(k, "\"finish_reason\"")) {
            out->reason = is(v, "null") ? AG_STR_NONE : v;
            ok = is(v, "null") || (v.p[0] == '"' && !escaped(v) && !is(v, "\"error\""));
        } else if (is(k, "\"usage\"")) {
            ok = is(v, "null");
        } else if (k.n == strlen(what) + 2 && memcmp(k.p + 1, what, k.n - 2) == 0) {
            has_message = true;
            ok = message(v, out);
        }
    }
    while (at < inner.n && (unsigned char)inner.p[at] <= ' ')
        at++;
    return ok && has_message && at == inner.n;
}

bool ag_openai_plain(struct ag_str text, const char *what, struct ag_openai_plain *out)
{
    struct ag_str k, v;
    bool ok = true;

    *out = (struct ag_openai_plain){.input_tokens = -1, .output_tokens = -1, .cached_tokens = -1};
    if (!ag_scan_is_object(text)) /* (1) */
        return false;
    for (size_t at = 0; ok && ag_scan_next(text, &at, &k, &v);) {
        ok = !escaped(k); /* (2) */
        if (is(k, "\"choices\""))
            ok = choice(v, what, out);
        else if (is(k, "\"usage\""))
            ok = usage(v, out);
        else if (is(k, "\"error\""))
            ok = is(v, "null");
        else if (is(k, "\"object\""))
            ok = !is(v, "\"error\"") && !escaped(v);
    }
    return ok;
}
