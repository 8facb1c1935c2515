/*
 *     head:     version, provider, base URL, account, model, system, memories, parameters, tools ─► hash 0
 *     message:  role, text, calls, extra, call id, tool, failed ─────────────────────────────────► hash i
 *     key:      hash of  hash 0, hash 1, …
 *
 * Invariants, cited by number:
 *  (1) Every field is framed by its length, and an absent one differs from an empty one: no two
 *      different lists of fields give the same bytes.
 *  (2) JSON is made canonical on its text: a number is never read as a double, so that two numbers
 *      that differ in the last digit differ here too. What is no JSON counts byte by byte, framed
 *      apart from what is.
 */
#include "engine/request_key.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#define DEPTH_MAX 64

/* --- canonical JSON -------------------------------------------------------------------------------- */

struct scan {
    const char *p, *end;
    ag_buf *out;
    int depth;
};

static bool value(struct scan *s);

static void blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool next_is(struct scan *s, char c)
{
    blanks(s);
    if (s->p >= s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool text(struct scan *s)
{
    const char *from = s->p;

    if (!next_is(s, '"'))
        return false;
    from = s->p - 1;
    while (s->p < s->end && *s->p != '"') {
        if ((unsigned char)*s->p < 0x20)
            return false;
        s->p += *s->p == '\\' ? 2 : 1;
    }
    if (s->p >= s->end)
        return false;
    s->p++;
    ag_buf_append(s->out, from, (size_t)(s->p - from));
    return true;
}

/* Numbers, true, false, null: whatever stands there up to a delimiter, if it can be one of them. */
static bool word(struct scan *s)
{
    const char *from = s->p;

    while (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (*s->p >= 'a' && *s->p <= 'z') || *s->p == 'E' ||
                             *s->p == '+' || *s->p == '-' || *s->p == '.'))
        s->p++;
    ag_buf_append(s->out, from, (size_t)(s->p - from));
    return s->p > from;
}

struct member {
    const char *p;
    size_t key, n; /* bytes of the key, and of all */
    size_t place;
};

/* Keys that are twice there stay in their order: which one counts is the reader's to say. */
static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->key < y->key ? x->key : y->key);

    if (order != 0)
        return order;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

/* The members were appended in their order from `at` on; this puts them in that of their keys. */
static bool sort_members(struct scan *s, size_t at, struct member *members, size_t count)
{
    size_t n = s->out->n - at;
    bool sorted = true;
    char *copy, *to;

    if (s->out->failed != AGENT_OK)
        return true;
    for (size_t i = 0; i < count; i++) /* the buffer may have moved while it grew */
        members[i].p = s->out->p + at + (size_t)(uintptr_t)members[i].p;
    for (size_t i = 1; i < count && sorted; i++)
        sorted = by_key(&members[i - 1], &members[i]) < 0;
    if (sorted)
        return true;
    if ((copy = ag_malloc(n)) == NULL)
        return false;
    qsort(members, count, sizeof(*members), by_key);
    to = copy;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *to++ = ',';
        memcpy(to, members[i].p, members[i].n);
        to += members[i].n;
    }
    memcpy(s->out->p + at, copy, n);
    ag_free(copy);
    return true;
}

static bool members(struct scan *s)
{
    struct member *list = NULL;
    size_t count = 0, room = 0, at = s->out->n;
    bool ok = true;

    do {
        struct member m = {.place = count};
        size_t from;

        if (count > 0)
            ag_buf_char(s->out, ',');
        from = s->out->n;
        if (!(ok = text(s)))
            break;
        m.key = s->out->n - from;
        ag_buf_char(s->out, ':');
        if (!(ok = next_is(s, ':') && value(s)))
            break;
        m.p = (const char *)(uintptr_t)(from - at); /* an offset until all are there */
        m.n = s->out->n - from;
        if (count == room) {
            struct member *more = ag_realloc(list, (room = room == 0 ? 8 : room * 2) * sizeof(*list));

            if (!(ok = more != NULL))
                break;
            list = more;
        }
        list[count++] = m;
    } while (next_is(s, ','));
    ok = ok && next_is(s, '}') && sort_members(s, at, list, count);
    ag_free(list);
    ag_buf_char(s->out, '}');
    return ok;
}

static bool items(struct scan *s)
{
    do {
        if (s->out->p[s->out->n - 1] != '[')
            ag_buf_char(s->out, ',');
        if (!value(s))
            return false;
    } while (next_is(s, ','));
    ag_buf_char(s->out, ']');
    return next_is(s, ']');
}

static bool value(struct scan *s)
{
    bool ok;

    blanks(s);
    if (s->p >= s->end || s->out->failed != AGENT_OK)
        return false;
    if (*s->p != '{' && *s->p != '[')
        return *s->p == '"' ? text(s) : word(s);
    if (++s->depth > DEPTH_MAX)
        return false;
    ag_buf_char(s->out, *s->p);
    if (s->out->failed != AGENT_OK)
        return false;
    if (*s->p++ == '{') {
        if ((ok = next_is(s, '}')))
            ag_buf_char(s->out, '}');
        else
            ok = members(s);
    } else {
        if ((ok = next_is(s, ']')))
            ag_buf_char(s->out, ']');
        else
            ok = items(s);
    }
    s->depth--;
    return ok;
}

bool ag_json_canonical(struct ag_str json, ag_buf *out)
{
    struct scan s = {json.p, json.p + json.n, out, 0};
    size_t before = out->n;
    bool ok = value(&s) && out->failed == AGENT_OK;

    blanks(&s);
    if (ok && s.p == s.end)
        return true;
    if (out->failed == AGENT_OK)
        out->n = before;
    return false;
}

/* --- frames: (1) -------------------------------------------------------------------------------------- */

static void length(ag_buf *b, uint64_t n)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> (8 * i));
    ag_buf_append(b, bytes, sizeof(bytes));
}

static void field(ag_buf *b, struct ag_str s)
{
    length(b, s.p == NULL ? UINT64_MAX : s.n);
    if (s.n > 0)
        ag_buf_append(b, s.p, s.n);
}

static void number(ag_buf *b, int64_t n)
{
    length(b, (uint64_t)n);
}

static void json(ag_buf *b, struct ag_str s)
{
    AG_AUTO(ag_buf) canonical = AG_BUF_INIT(AG_CAP_REQUEST_BYTES);
    bool is_json = s.n > 0 && ag_json_canonical(s, &canonical);

    number(b, is_json);
    if (canonical.failed != AGENT_OK)
        b->failed = canonical.failed;
    field(b, is_json ? ag_buf_view(&canonical) : s);
}

/* Arguments are JSON inside a text: taken out, so that their white space makes no difference either. */
static void calls(ag_buf *b, struct ag_str s)
{
    json_auto_t *list = s.n > 0 ? json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
    json_t *call;
    size_t i;

    number(b, json_is_array(list));
    if (!json_is_array(list)) {
        field(b, s);
        return;
    }
    number(b, (int64_t)json_array_size(list));
    json_array_foreach(list, i, call) {
        static const char *const keys[] = {"id", "name", "arguments"};

        number(b, (int64_t)json_object_size(call));
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
            json_t *part = json_object_get(call, keys[k]);
            struct ag_str text_of = {json_string_value(part), json_string_length(part)};

            if (k == 2)
                json(b, text_of);
            else
                field(b, text_of);
        }
        if (json_object_size(call) != sizeof(keys) / sizeof(keys[0]))
            field(b, s); /* not of our making: what else it says counts as it stands */
    }
}

/* --- parts -------------------------------------------------------------------------------------------- */

static void head(ag_buf *b, struct ag_str provider, struct ag_str base_url, struct ag_str key_env,
                 const struct ag_model_request *q)
{
    const struct ag_params *p = q->params;

    field(b, AG_STR("agent request 1")); /* grows where what is sent for the same request changes */
    field(b, provider);
    field(b, base_url);
    field(b, key_env);
    field(b, q->model);
    field(b, q->system);
    field(b, q->memories);
    field(b, p->passthrough);
    number(b, p->echo_reasoning);
    number(b, p->latency_ms);
    number(b, p->chunk_ms);
    number(b, p->chunks);
    field(b, p->answer);
    field(b, p->fail);
    number(b, (int64_t)q->tool_count);
    for (size_t i = 0; i < q->tool_count; i++) {
        field(b, q->tools[i].name);
        field(b, q->tools[i].description);
        json(b, q->tools[i].schema);
    }
}

static void message(ag_buf *b, const struct ag_msg *m)
{
    number(b, m->role);
    field(b, m->text);
    calls(b, m->calls);
    json(b, m->extra);
    field(b, m->call_id);
    field(b, m->tool_name);
    number(b, m->tool_failed);
}

static agent_status hash_part(ag_sha256_fn hash, ag_buf *part, unsigned char *to, agent_error *err)
{
    agent_status rc = ag_buf_status(part, "request key", err);

    if (rc == AGENT_OK && hash((const unsigned char *)part->p, part->n, to) == NULL)
        rc = ag_fail(err, AGENT_EINVAL, 0, "request key: SHA-256 failed");
    ag_buf_clear(part);
    return rc;
}

agent_status ag_request_key(struct ag_str provider, struct ag_str base_url, struct ag_str key_env,
                            const struct ag_model_request *q, ag_arena *a, struct ag_request_key *out,
                            agent_error *err)
{
    AG_AUTO(ag_buf) part = AG_BUF_INIT(2 * (size_t)AG_CAP_REQUEST_BYTES);
    ag_sha256_fn hash = ag_sha256_find();
    size_t n = (q->message_count + 1) * AG_SHA256_BYTES;
    unsigned char *parts, key[AG_SHA256_BYTES];
    agent_status rc;

    if (hash == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "request key: libcrypto could not be loaded");
    if ((parts = ag_arena_alloc(a, n)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "request key: out of memory");
    head(&part, provider, base_url, key_env, q);
    rc = hash_part(hash, &part, parts, err);
    for (size_t i = 0; i < q->message_count && rc == AGENT_OK; i++) {
        message(&part, &q->messages[i]);
        rc = hash_part(hash, &part, parts + (i + 1) * AG_SHA256_BYTES, err);
    }
    if (rc != AGENT_OK)
        return rc;
    if (hash(parts, n, key) == NULL)
        return ag_fail(err, AGENT_EINVAL, 0, "request key: SHA-256 failed");
    memcpy(out->key, key, sizeof(key));
    out->parts = (struct ag_str){(const char *)parts, n};
    return AGENT_OK;
}
