/*
 * What a server says about its own failure, in one line. The shapes that are out there:
 *
 *      {"error": {"message", "type", "code"}}          OpenAI and most that copy it (code: text or number)
 *      {"type": "error", "error": {"type", "message"}} Anthropic
 *      [{"error": {...}}]                              Gemini's compatible door
 *      {"error": "text"}                               Ollama, small servers
 *      {"object": "error", "message", "code"}          vLLM
 *      {"detail": "text"} or {"detail": [{"msg"}]}     FastAPI
 *      {"message": "text"}, {"errors": [{"message"}]}  gateways
 *      a page of HTML, a line of text                  proxies
 *
 *  1. What comes out is one line of valid UTF-8 with nothing that looks like a key in it: error
 *     texts are stored and shown, and some servers repeat the key they refuse.
 */
#include <stdio.h>

#include "engine/base/utf8.h"
#include "engine/provider/wire.h"

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '*' || c == '.';
}

/* Bytes of a word at p that looks like a key, 0 where there is none: "sk-…", or what follows "Bearer ". */
static size_t key_at(const char *p, const char *from, const char *end)
{
    size_t n = 0;

    if (p > from && is_word(p[-1]))
        return 0;
    while (p + n < end && is_word(p[n]))
        n++;
    if (n >= 8 && (memcmp(p, "sk-", 3) == 0 || memcmp(p, "sk_", 3) == 0 || memcmp(p, "gsk_", 4) == 0))
        return n;
    if (n >= 8 && p - from >= 7 && memcmp(p - 7, "Bearer ", 7) == 0)
        return n;
    return 0;
}

/* (1). Runs of blanks and control characters become one space. */
static void one_line(struct ag_str in, char *out, size_t out_bytes)
{
    size_t n = 0;
    bool space = false;
    const char *end;

    out[0] = '\0';
    if (in.n == 0)
        return;
    end = in.p + in.n;
    for (const char *p = in.p; p < end;) {
        size_t take = ag_utf8_char(p, (size_t)(end - p)), key;
        const char *put = p;
        size_t put_n = take;

        if (take == 1 && ((unsigned char)*p <= ' ' || *p == 0x7f)) {
            space = n > 0;
            p++;
            continue;
        }
        if (take == 0) {
            put = "\xef\xbf\xbd";
            put_n = 3;
            take = 1;
        } else if ((key = key_at(p, in.p, end)) > 0) {
            put = "***";
            put_n = 3;
            take = key;
        }
        if (n + (space ? 1 : 0) + put_n >= out_bytes)
            break;
        if (space)
            out[n++] = ' ';
        space = false;
        memcpy(out + n, put, put_n);
        n += put_n;
        p += take;
    }
    out[n] = '\0';
}

static const json_t *first_of(const json_t *maybe_array)
{
    return json_is_array(maybe_array) ? json_array_get(maybe_array, 0) : maybe_array;
}

void ag_trouble_read(const json_t *doc, struct ag_trouble *out)
{
    const json_t *top = first_of(doc), *e, *code, *type, *text;
    int64_t number;

    *out = (struct ag_trouble){.status = 0};
    e = json_object_get(top, "error");
    if (e == NULL || json_is_null(e))
        e = first_of(json_object_get(top, "errors"));
    if (e == NULL || json_is_null(e))
        e = top;

    text = json_is_string(e) ? e : json_object_get(e, "message");
    if (!json_is_string(text))
        text = first_of(json_object_get(e, "detail"));
    if (json_is_object(text))
        text = json_object_get(text, "msg");
    if (!json_is_string(text))
        text = json_object_get(top, "message");
    one_line(ag_wire_view(text), out->message, sizeof(out->message));

    code = json_object_get(json_is_object(e) ? e : top, "code");
    type = json_object_get(json_is_object(e) ? e : top, "type");
    number = ag_wire_count(code, 0);
    if (number >= 400 && number <= 599)
        out->status = (int)number;
    if (json_is_string(code) && json_string_length(code) > 0)
        one_line(ag_wire_view(code), out->code, sizeof(out->code));
    else if (json_is_string(type) && json_string_length(type) > 0)
        one_line(ag_wire_view(type), out->code, sizeof(out->code));
    else if (number > 0)
        (void)snprintf(out->code, sizeof(out->code), "%lld", (long long)number);
}

static bool starts(struct ag_str s, const char *lower)
{
    size_t n = strlen(lower);

    if (s.n < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]) != lower[i])
            return false;
    return true;
}

/* The first line of a page that says something: tags out, <style> and <script> with what they hold. */
static void plain_line(struct ag_str body, char *out, size_t out_bytes)
{
    char line[512];
    size_t n = 0;
    const char *p = body.p == NULL ? "" : body.p, *end = p + body.n;

    while (p < end) {
        struct ag_str rest = {p, (size_t)(end - p)};
        bool is_tag = rest.n > 1 && *p == '<' &&
                      (p[1] == '/' || p[1] == '!' || p[1] == '?' || (p[1] | 32) >= 'a') && (p[1] | 32) <= 'z';

        if (is_tag) {
            const char *closing = starts(rest, "<style") ? "</style" : starts(rest, "<script") ? "</script" : NULL;

            if (closing != NULL)
                while (p < end && !starts((struct ag_str){p, (size_t)(end - p)}, closing))
                    p++;
            while (p < end && *p != '>')
                p++;
            p += p < end;
            if (n > 0) /* a tag ends a line: <title>502 Bad Gateway</title><h1>… */
                break;
        } else if ((*p == '\n' || *p == '\r') && n > 0) {
            break;
        } else {
            if (n < sizeof(line) && !(n == 0 && (unsigned char)*p <= ' '))
                line[n++] = *p;
            p++;
        }
    }
    one_line((struct ag_str){line, n}, out, out_bytes);
}

void ag_trouble_find(struct ag_str body, struct ag_trouble *out)
{
    json_auto_t *doc = NULL;

    *out = (struct ag_trouble){.status = 0};
    while (body.n > 0 && (unsigned char)body.p[0] <= ' ') {
        body.p++;
        body.n--;
    }
    if (body.n > 0 && (body.p[0] == '{' || body.p[0] == '[')) {
        AG_AUTO(ag_buf) text = AG_BUF_INIT(AG_CAP_RESPONSE_BYTES);
        const char *at;

        if ((doc = ag_wire_parse(body, "", "", NULL)) != NULL) {
            ag_trouble_read(doc, out);
            return;
        }
        /* Cut at some limit on its way here: the message is still to be had. */
        if ((at = memmem(body.p, body.n, "\"message\"", 9)) != NULL) {
            const char *end = body.p + body.n;

            for (at += 9; at < end && (*at == ' ' || *at == ':'); at++)
                ;
            if (at < end && *at == '"') {
                ag_scan_unescape((struct ag_str){at, (size_t)(end - at)}, &text);
                one_line(ag_buf_view(&text), out->message, sizeof(out->message));
                return;
            }
        }
    }
    plain_line(body, out->message, sizeof(out->message));
}

void ag_provider_message(struct ag_str body, char *out, size_t out_bytes, char *code, size_t code_bytes)
{
    struct ag_trouble t;

    ag_trouble_find(body, &t);
    if (out_bytes > 0)
        (void)snprintf(out, out_bytes, "%.*s",
                       (int)ag_utf8_cut(ag_str_of(t.message), out_bytes - 1 < 300 ? out_bytes - 1 : 300), t.message);
    if (code_bytes > 0)
        (void)snprintf(code, code_bytes, "%.*s", (int)ag_utf8_cut(ag_str_of(t.code), code_bytes - 1), t.code);
}
