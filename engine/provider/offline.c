/*
 * The model that is built in: no key, no network, no surprise. It answers by rule, and says so.
 *
 *      the last message …                     the answer
 *      user, with lines "/tool NAME {json}"   one call per such line, in their order
 *      tool results                           what each of them returned
 *      user                                   turn count, that input, the inputs before it, the memories
 *
 *  1. The same request gives the same plan: nothing here knows the time, a random number or a state.
 *  2. One allocation per text, no tree, no printf: a run on this model costs what the engine costs,
 *     and benches of the engine lean on that.
 *  3. What it says about itself it was sent: it reads the messages and the memory section, so a
 *     person sees that history and memory arrive.
 */
#include "engine/base/utf8.h"
#include "engine/provider/wire.h"

#define SHOW_INPUT_BYTES  2000 /* of the last input */
#define SHOW_BEFORE_BYTES 160  /* of each input before it */
#define SHOW_BEFORE       3    /* inputs before it */
#define SHOW_RESULT_BYTES 4000 /* of one tool result */
#define SHOW_MEMORY_BYTES 2000
#define DEFAULT_CHUNKS    8    /* where chunk_ms is given and chunks is not */

/* A text that is measured first and written then, by the same code: at == NULL measures. */
struct pen {
    char *at;
    size_t n;
};

static void put(struct pen *w, struct ag_str s)
{
    if (w->at != NULL && s.n > 0)
        memcpy(w->at + w->n, s.p, s.n);
    w->n += s.n;
}

static void put_count(struct pen *w, size_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put(w, (struct ag_str){digits + at, sizeof(digits) - at});
}

/* Cut, with a mark where it was cut. */
static void put_short(struct pen *w, struct ag_str s, size_t max)
{
    if (s.n <= max) {
        put(w, s);
        return;
    }
    put(w, (struct ag_str){s.p, ag_utf8_cut(s, max)});
    put(w, AG_STR("\xe2\x80\xa6"));
}

static struct ag_str trim(struct ag_str s)
{
    while (s.n > 0 && (unsigned char)s.p[0] <= ' ') {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s;
}

/* The next line of *rest, trimmed; false at the end. */
static bool next_line(struct ag_str *rest, struct ag_str *out)
{
    const char *nl;
    size_t n;

    if (rest->n == 0)
        return false;
    nl = memchr(rest->p, '\n', rest->n);
    n = nl == NULL ? rest->n : (size_t)(nl - rest->p);
    *out = trim((struct ag_str){rest->p, n});
    n += nl != NULL;
    rest->p += n;
    rest->n -= n;
    return true;
}

/* "/tool NAME {json}" */
static bool asks_for_tool(struct ag_str line, struct ag_plan_call *out)
{
    size_t n = 0;

    if (line.n < 7 || memcmp(line.p, "/tool", 5) != 0 || (line.p[5] != ' ' && line.p[5] != '\t'))
        return false;
    line = trim((struct ag_str){line.p + 5, line.n - 5});
    while (n < line.n && (unsigned char)line.p[n] > ' ' && line.p[n] != '{')
        n++;
    if (n == 0)
        return false;
    out->name = (struct ag_str){line.p, n};
    out->arguments = trim((struct ag_str){line.p + n, line.n - n});
    if (out->arguments.n == 0)
        out->arguments = AG_STR("{}");
    return true;
}

static agent_status plan_calls(struct ag_str input, ag_arena *a, struct ag_plan *out, agent_error *err)
{
    struct ag_str rest = input, line;
    struct ag_plan_call call, *calls;
    size_t count = 0, i = 0;

    if (input.n < 7 || memmem(input.p, input.n, "/tool", 5) == NULL)
        return AGENT_OK;
    while (next_line(&rest, &line))
        count += asks_for_tool(line, &call);
    if (count == 0)
        return AGENT_OK;
    if (count > AG_CAP_CALLS)
        return ag_fail(err, AGENT_EINVAL, 0, "offline: %zu /tool lines in one input; at most %d", count, AG_CAP_CALLS);
    if ((calls = ag_arena_alloc(a, count * sizeof(*calls))) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "offline: plan: out of memory");
    for (rest = input; next_line(&rest, &line);)
        if (asks_for_tool(line, &call))
            calls[i++] = call;
    out->calls = calls;
    out->call_count = count;
    return AGENT_OK;
}

static void tell_name(struct pen *w, const struct ag_model_request *q)
{
    put(w, AG_STR("[offline:"));
    put(w, q->model);
    put(w, AG_STR("] "));
}

static void tell_results(struct pen *w, const struct ag_model_request *q)
{
    size_t from = q->message_count;

    while (from > 0 && q->messages[from - 1].role == AG_MSG_TOOL)
        from--;
    tell_name(w, q);
    for (size_t i = from; i < q->message_count; i++) {
        const struct ag_msg *m = &q->messages[i];

        if (i > from)
            put(w, AG_STR("\n"));
        put(w, m->tool_name.n > 0 ? m->tool_name : AG_STR("tool"));
        put(w, m->tool_failed ? AG_STR(" failed: ") : AG_STR(" returned: "));
        put_short(w, trim(m->text), SHOW_RESULT_BYTES);
    }
}

/* The memory section on one line: without its heading and list marks. */
static void tell_memories(struct pen *w, struct ag_str section)
{
    struct ag_str rest = section, line;
    size_t told = 0, start = w->n;

    while (next_line(&rest, &line)) {
        bool item = line.n > 2 && (line.p[0] == '-' || line.p[0] == '*') && line.p[1] == ' ';

        if (item)
            line = trim((struct ag_str){line.p + 2, line.n - 2});
        if (line.n == 0 || (!item && (line.p[0] == '#' || line.p[0] == '<' || line.p[line.n - 1] == ':')))
            continue;
        if (w->n - start >= SHOW_MEMORY_BYTES)
            break;
        put(w, told++ == 0 ? AG_STR(" Memory: ") : AG_STR("; "));
        put_short(w, line, SHOW_MEMORY_BYTES - (w->n - start < SHOW_MEMORY_BYTES ? w->n - start : 0));
    }
}

static void tell_turn(struct pen *w, const struct ag_model_request *q)
{
    size_t turns = 0, before = 0;
    struct ag_str input = AG_STR("");
    size_t last = q->message_count;

    for (size_t i = 0; i < q->message_count; i++) {
        if (q->messages[i].role == AG_MSG_USER) {
            turns++;
            last = i;
        }
    }
    if (last < q->message_count)
        input = trim(q->messages[last].text);
    tell_name(w, q);
    put(w, AG_STR("turn "));
    put_count(w, turns);
    put(w, AG_STR(". You said: "));
    put_short(w, input, SHOW_INPUT_BYTES);
    if (input.n == 0 || memchr(".!?", input.p[input.n - 1], 3) == NULL)
        put(w, AG_STR("."));
    for (size_t i = last; i-- > 0 && before < SHOW_BEFORE;) {
        if (q->messages[i].role != AG_MSG_USER)
            continue;
        put(w, before++ == 0 ? AG_STR(" Before that: ") : AG_STR(" | "));
        put_short(w, trim(q->messages[i].text), SHOW_BEFORE_BYTES);
    }
    if (before > 0)
        put(w, AG_STR("."));
    if (q->memories.n > 0)
        tell_memories(w, q->memories);
}

static agent_status plan_text(const struct ag_model_request *q, ag_arena *a, struct ag_plan *out, agent_error *err)
{
    bool results = q->message_count > 0 && q->messages[q->message_count - 1].role == AG_MSG_TOOL;
    void (*tell)(struct pen *, const struct ag_model_request *) = results ? tell_results : tell_turn;
    struct pen w = {NULL, 0};

    if (q->params->answer.p != NULL) {
        out->text = q->params->answer;
        return AGENT_OK;
    }
    tell(&w, q);
    if ((w.at = ag_arena_alloc(a, w.n + 1)) == NULL)
        return ag_fail(err, AGENT_ENOMEM, 0, "offline: answer: out of memory");
    w.n = 0;
    tell(&w, q);
    w.at[w.n] = '\0';
    out->text = (struct ag_str){w.at, w.n};
    return AGENT_OK;
}

/* Four bytes to a token, as a rule of thumb has it for English. */
static int64_t tokens(size_t bytes)
{
    return bytes < 4 ? 1 : (int64_t)((bytes + 3) / 4);
}

static void count_tokens(const struct ag_model_request *q, struct ag_plan *out)
{
    size_t in = q->system.n, said = out->text.n;

    for (size_t i = 0; i < q->message_count; i++)
        in += q->messages[i].text.n + q->messages[i].calls.n;
    for (size_t i = 0; i < out->call_count; i++)
        said += out->calls[i].name.n + out->calls[i].arguments.n;
    out->input_tokens = tokens(in);
    out->output_tokens = tokens(said);
}

static agent_status plan(const struct ag_model_request *q, ag_arena *a, struct ag_plan *out, agent_error *err)
{
    const struct ag_params *o = q->params;
    struct ag_plan p = {.latency_ms = o->latency_ms, .chunk_ms = o->chunk_ms, .text = AG_STR_NONE};
    agent_status rc;

    if (ag_str_is(o->fail, "cut"))
        p.cut = true;
    else
        for (size_t i = 0; i < o->fail.n; i++) /* digits only: params.c saw to it */
            p.fail_status = 10 * p.fail_status + (o->fail.p[i] - '0');

    if (q->message_count > 0 && q->messages[q->message_count - 1].role == AG_MSG_USER &&
        (rc = plan_calls(q->messages[q->message_count - 1].text, a, &p, err)) != AGENT_OK)
        return rc;
    if (p.call_count == 0) {
        if ((rc = plan_text(q, a, &p, err)) != AGENT_OK)
            return rc;
        p.chunks = o->chunks > 0 ? (size_t)o->chunks : o->chunk_ms > 0 ? DEFAULT_CHUNKS : 1;
        if (p.chunks > p.text.n)
            p.chunks = p.text.n > 0 ? p.text.n : 1;
    }
    count_tokens(q, &p);
    *out = p;
    return AGENT_OK;
}

static agent_status refused(const struct ag_provider_vt *vt, int http_status, struct ag_str body,
                            const struct ag_http_head *head, struct ag_verdict *out, agent_error *err)
{
    struct ag_trouble t = {.message = "asked for by the option fail"};

    if (body.n > 0)
        ag_trouble_find(body, &t);
    return ag_trouble_judge(vt, http_status, &t, head, out, err);
}

const struct ag_provider_vt ag_provider_offline = {
    .name = "offline",
    .refused = refused,
    .plan = plan,
};
