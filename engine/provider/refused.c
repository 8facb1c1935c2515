/*
 * What a refusal means: whether to try again, when, and what to tell the person.
 *
 *      408 409 429 5xx 529  ── again, unless x-should-retry says no, or the quota is used up
 *      anything else        ── not again, unless x-should-retry says yes
 *
 *  1. A quota or a bill is never retried, whatever the headers say: waiting does not fill it.
 *  2. A server's wish to wait is honoured up to WAIT_MOST_MS. Where it asks for longer the request
 *     is not retried at all: to ask sooner than told makes matters worse, and a run that sleeps for
 *     an hour is better started again by whoever wants it.
 */
#include "engine/provider/wire.h"

#define WAIT_MOST_MS 600000

/* Codes that stand for a status where there is none: errors that come inside an answer. */
static const struct {
    const char *code;
    int status;
} codes[] = {
    {"rate_limit_exceeded", 429}, {"rate_limit_error", 429},   {"insufficient_quota", 429},
    {"overloaded_error", 529},    {"overloaded", 529},         {"unavailable_error", 503},
    {"service_unavailable", 503}, {"api_error", 500},          {"server_error", 500},
    {"internal_error", 500},      {"timeout_error", 504},      {"timeout", 504},
    {"billing_error", 402},       {"invalid_request_error", 400}, {"BadRequestError", 400},
    {"context_length_exceeded", 400}, {"content_filter", 400}, {"request_too_large", 413},
    {"authentication_error", 401}, {"invalid_api_key", 401},   {"permission_error", 403},
    {"not_found_error", 404},     {"model_not_found", 404},
};

static bool is(const struct ag_trouble *t, const char *code)
{
    return strcmp(t->code, code) == 0;
}

static int status_of(const struct ag_trouble *t)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (is(t, codes[i].code))
            return codes[i].status;
    return t->status != 0 ? t->status : 500; /* it had said 200: what fails then is on its side */
}

static bool too_long(int status, const struct ag_trouble *t)
{
    return status == 413 || is(t, "context_length_exceeded") ||
           (status == 400 && (strstr(t->message, "context length") != NULL ||
                              strstr(t->message, "context size") != NULL ||
                              strstr(t->message, "prompt is too long") != NULL));
}

static void remedy(const struct ag_provider_vt *vt, int status, bool quota, const struct ag_trouble *t,
                   agent_error *err)
{
    if (quota)
        ag_hint(err, "the account's quota is used up: check its plan and billing");
    else if ((status == 401 || status == 403) && vt->key_env != NULL)
        ag_hint(err, "check the key in %s (or in the variable that the agent's key_env names)", vt->key_env);
    else if (status == 404)
        ag_hint(err, "check the model's name and the base URL");
    else if (too_long(status, t))
        ag_hint(err, "lower history_messages or history_bytes, or begin a new session");
}

agent_status ag_trouble_judge(const struct ag_provider_vt *vt, int http_status, const struct ag_trouble *t,
                              const struct ag_http_head *head, struct ag_verdict *out, agent_error *err)
{
    int status = http_status != 0 ? http_status : status_of(t);
    bool quota = is(t, "insufficient_quota") || is(t, "billing_error") || is(t, "billing_not_active") || status == 402;
    bool retry = status == 408 || status == 409 || status == 429 || status >= 500;
    int64_t after_ms = head == NULL ? -1 : head->retry_after_ms;
    const char *said = t->message[0] != '\0' ? t->message : t->code[0] != '\0' ? t->code : "no message";
    agent_status rc;

    if (head != NULL && head->should_retry >= 0)
        retry = head->should_retry == 1;
    if (quota) /* (1) */
        retry = false;

    rc = status == 429 && !quota ? AGENT_ERATELIMIT : AGENT_EPROVIDER;
    if (http_status != 0)
        (void)ag_fail(err, rc, status, "%s: HTTP %d: %s", vt->name, status, said);
    else if (t->code[0] != '\0' && said != t->code)
        (void)ag_fail(err, rc, status, "%s: error inside the answer (%s): %s", vt->name, t->code, said);
    else
        (void)ag_fail(err, rc, status, "%s: error inside the answer: %s", vt->name, said);
    remedy(vt, status, quota, t, err);
    if (retry && after_ms > WAIT_MOST_MS) { /* (2) */
        retry = false;
        ag_hint(err, "the server asks to wait %lld s: try again then", (long long)(after_ms / 1000));
    }
    *out = (struct ag_verdict){.retry = retry, .after_ms = retry && after_ms >= 0 ? after_ms : -1};
    return rc;
}

agent_status ag_trouble_refused(const struct ag_provider_vt *vt, int http_status, struct ag_str body,
                                const struct ag_http_head *head, struct ag_verdict *out, agent_error *err)
{
    struct ag_trouble t;

    ag_trouble_find(body, &t);
    return ag_trouble_judge(vt, http_status, &t, head, out, err);
}
