/*
 * What a server sent, as a tree; and the few things that every request of every provider needs.
 *
 * jansson is strict: half a surrogate pair, a byte that is no UTF-8 or an integer of 2^63 makes it
 * refuse the document. Servers written in other languages do send those (a text cut in the middle
 * of an emoji, a random 64-bit seed), so a document that fails is mended and tried once more.
 */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/provider/wire.h"

enum half { HALF_NONE, HALF_HIGH, HALF_LOW };

/* Whether "\uXXXX" at p is half of a surrogate pair. */
static enum half half_at(const char *p, const char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || (p[2] != 'd' && p[2] != 'D'))
        return HALF_NONE;
    if (p[3] == '8' || p[3] == '9' || p[3] == 'a' || p[3] == 'b' || p[3] == 'A' || p[3] == 'B')
        return HALF_HIGH;
    return (p[3] >= 'c' && p[3] <= 'f') || (p[3] >= 'C' && p[3] <= 'F') ? HALF_LOW : HALF_NONE;
}

static void mend(struct ag_str text, ag_buf *out)
{
    const char *p = text.p, *end = text.p + text.n; /* not empty: the caller saw to it */

    while (p < end) {
        const char *plain = p;
        size_t n = 1;

        while (p < end && *p != '\\' && (n = ag_utf8_char(p, (size_t)(end - p))) > 0)
            p += n;
        ag_buf_append(out, plain, (size_t)(p - plain));
        if (p == end)
            break;
        if (n == 0) {
            ag_buf_z(out, "\xef\xbf\xbd");
            p++;
        } else if (half_at(p, end) == HALF_NONE) {
            size_t take = end - p < 2 ? 1 : 2; /* an escape is two bytes: "\\" must not begin another */

            ag_buf_append(out, p, take);
            p += take;
        } else if (half_at(p, end) == HALF_HIGH && half_at(p + 6, end) == HALF_LOW) {
            ag_buf_append(out, p, 12);
            p += 12;
        } else {
            ag_buf_z(out, "\\ufffd");
            p += 6;
        }
    }
}

bool ag_wire_blank(struct ag_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > ' ')
            return false;
    return true;
}

struct ag_str ag_wire_view(const json_t *string)
{
    return json_is_string(string) ? (struct ag_str){json_string_value(string), json_string_length(string)}
                                  : AG_STR_NONE;
}

json_t *ag_wire_parse(struct ag_str text, const char *who, const char *what, agent_error *err)
{
    json_error_t where;
    json_t *doc;

    if (text.n == 0) {
        (void)ag_fail(err, AGENT_EPROTOCOL, 0, "%s: %s is empty", who, what);
        return NULL;
    }
    doc = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &where);
    if (doc == NULL) {
        AG_AUTO(ag_buf) mended = AG_BUF_INIT(4 * (size_t)AG_CAP_RESPONSE_BYTES);

        mend(text, &mended);
        if (mended.failed == AGENT_OK)
            doc = json_loadb(mended.p, mended.n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    }
    if (doc == NULL)
        (void)ag_fail(err, AGENT_EPROTOCOL, 0, "%s: %s is not JSON: line %d, column %d: %s", who, what, where.line,
                      where.column, where.text);
    return doc;
}

void ag_wire_text(ag_buf *to, const json_t *string)
{
    const char *p = json_string_value(string);
    size_t n;

    if (p == NULL)
        return;
    n = json_string_length(string);
    while (n > 0) {
        const char *nul = memchr(p, '\0', n);
        size_t plain = nul == NULL ? n : (size_t)(nul - p);

        ag_buf_append(to, p, plain);
        if (nul == NULL)
            return;
        ag_buf_z(to, "\xef\xbf\xbd");
        p += plain + 1;
        n -= plain + 1;
    }
}

static int put(const char *bytes, size_t n, void *to)
{
    ag_buf_append(to, bytes, n);
    return ((ag_buf *)to)->failed == AGENT_OK ? 0 : -1;
}

void ag_wire_dump(ag_buf *to, const json_t *value)
{
    (void)json_dump_callback(value, put, to, JSON_COMPACT | JSON_ENCODE_ANY);
}

int64_t ag_wire_count(const json_t *number, int64_t none)
{
    if (json_is_integer(number) && json_integer_value(number) >= 0)
        return json_integer_value(number);
    if (json_is_real(number) && json_real_value(number) >= 0 && json_real_value(number) < 9e15)
        return (int64_t)json_real_value(number);
    return none;
}

const char *ag_wire_string(const json_t *string)
{
    const char *p = json_string_value(string);

    return p == NULL ? "" : p;
}

agent_status ag_wire_url(const char *who, struct ag_str base, const char *path, ag_arena *a, const char **out,
                         agent_error *err)
{
    const char *url;
    bool http = (base.n > 7 && memcmp(base.p, "http://", 7) == 0) ||
                (base.n > 8 && memcmp(base.p, "https://", 8) == 0);

    for (size_t i = 0; http && i < base.n; i++)
        http = (unsigned char)base.p[i] > ' ' && base.p[i] != 0x7f;
    if (!http) {
        (void)ag_fail(err, AGENT_EINVAL, 0, "%s: base URL '%.*s' is no http:// or https:// URL", who,
                      (int)ag_utf8_cut(base, 200), base.p);
        ag_hint(err, "give the part before %s, as in http://127.0.0.1:11434/v1", path);
        return AGENT_EINVAL;
    }
    while (base.n > 0 && base.p[base.n - 1] == '/')
        base.n--;
    if ((url = ag_arena_printf(a, "%.*s%s", AG_STR_ARG(base), path)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "%s: URL: out of memory", who);
    *out = url;
    return AGENT_OK;
}

void ag_wire_reserve(ag_buf *body, const struct ag_model_request *q)
{
    size_t n = q->system.n + q->params->passthrough.n;

    for (size_t i = 0; i < q->message_count; i++)
        n += q->messages[i].text.n + 32; /* the least that is written around a text */
    for (size_t i = 0; i < q->tool_count; i++)
        n += q->tools[i].description.n + q->tools[i].schema.n;
    (void)ag_buf_reserve(body, n);
}

agent_status ag_wire_header(const char *who, struct ag_header_list *headers, ag_arena *a, const char *prefix,
                            const char *value, agent_error *err)
{
    const char *line;

    for (const char *p = value; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) { /* a line break here would begin a header of its own */
            (void)ag_fail(err, AGENT_EKEY, 0, "%s: the key holds a control character", who);
            ag_hint(err, "set the key without a line break at its end");
            return AGENT_EKEY;
        }
    }
    if (headers->count + 1 >= sizeof(headers->at) / sizeof(headers->at[0]) ||
        (line = ag_arena_printf(a, "%s%s", prefix, value)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "%s: headers: out of memory", who);
    headers->at[headers->count++] = line;
    headers->at[headers->count] = NULL;
    return AGENT_OK;
}

agent_status ag_wire_json_headers(const char *who, struct ag_header_list *headers, ag_arena *a, bool is_stream,
                                  agent_error *err)
{
    agent_status rc = ag_wire_header(who, headers, a, "Content-Type: ", "application/json", err);

    if (rc != AGENT_OK)
        return rc;
    return ag_wire_header(who, headers, a, "Accept: ", is_stream ? "text/event-stream" : "application/json", err);
}

agent_status ag_wire_end(const char *who, ag_buf *body, struct ag_str passthrough, agent_error *err)
{
    char what[32];

    if (passthrough.n > 0) {
        ag_buf_char(body, ',');
        ag_buf_str(body, passthrough);
    }
    ag_buf_char(body, '}');
    (void)snprintf(what, sizeof(what), "%s: request", who);
    return ag_buf_status(body, what, err);
}

agent_status ag_wire_check(const char *who, const struct ag_reply *r, agent_error *err)
{
    agent_status rc;

    if ((rc = ag_buf_status(&r->text, "text of the answer", err)) != AGENT_OK ||
        (rc = ag_buf_status(&r->reasoning, "reasoning of the answer", err)) != AGENT_OK ||
        (rc = ag_buf_status(&r->extra, "blocks of the answer", err)) != AGENT_OK ||
        (rc = ag_buf_status(&r->wire.parts, "blocks of the answer", err)) != AGENT_OK ||
        (rc = ag_buf_status(&r->wire.opaque, "blocks of the answer", err)) != AGENT_OK)
        return ag_wrap(err, rc, "%s", who);
    for (size_t i = 0; i < r->call_count; i++)
        if ((rc = ag_buf_status(&r->calls[i].arguments, "arguments of a tool call", err)) != AGENT_OK ||
            (rc = ag_buf_status(&r->calls[i].name, "name of a tool call", err)) != AGENT_OK ||
            (rc = ag_buf_status(&r->calls[i].id, "id of a tool call", err)) != AGENT_OK)
            return ag_wrap(err, rc, "%s", who);
    return AGENT_OK;
}
