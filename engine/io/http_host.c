/*
 * Names that nobody has resolved yet.
 *
 * libcurl resolves with one thread per look-up: a thousand runs that start at once against a cold
 * name would start a thousand threads. So the first call to a name goes alone (the leader); when
 * curl opens its socket the address is in the shared cache, and those that were held go.
 *
 *  (1) A host has held calls only while it has a leader, and a leader only while it is not known.
 *  (2) What the resolver answers to the leader it answers to all that were waiting then: where the
 *      name does not exist, they fail together instead of asking one after another.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/io/http_impl.h"

#define HOSTS_KEPT 64

static bool is_address(struct ag_str host)
{
    unsigned char bytes[16];
    char text[64];

    if (host.n >= sizeof(text))
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(AF_INET, text, bytes) == 1 || strchr(text, ':') != NULL;
}

/* Forgets hosts nobody uses once there are many (a tool may be pointed at anything). */
static void trim(ag_http *http)
{
    size_t kept = 0;

    for (struct http_host **at = &http->hosts; *at != NULL;) {
        struct http_host *host = *at;
        if (host->calls == 0 && ++kept > HOSTS_KEPT) {
            *at = host->next;
            ag_free(host);
        } else {
            at = &host->next;
        }
    }
}

agent_status ag_http_host_enter(ag_http_call *call, agent_error *err)
{
    ag_http *http = call->http;
    struct http_host *host;
    char name[300];
    size_t n;

    if (http->proxy != NULL)
        (void)snprintf(name, sizeof(name), "proxy");
    else if (is_address(call->parts.host))
        return AGENT_OK;
    else
        (void)snprintf(name, sizeof(name), AG_STR_FMT ":%d", AG_STR_ARG(call->parts.host), call->parts.port);
    for (host = http->hosts; host != NULL && strcmp(host->name, name) != 0; host = host->next)
        ;
    if (host == NULL) {
        trim(http);
        n = strlen(name) + 1;
        if ((host = ag_calloc(1, sizeof(*host) + n)) == NULL)
            return ag_fail(err, AGENT_ENOMEM, 0, "http request: out of memory");
        memcpy(host->name, name, n);
        host->next = http->hosts;
        http->hosts = host;
    }
    host->calls++;
    call->host = host;
    return AGENT_OK;
}

bool ag_http_host_pass(ag_http_call *call)
{
    struct http_host *host = call->host;

    if (host == NULL || (int64_t)uv_now(call->http->loop) < host->known_until_ms)
        return true;
    if (host->leader == NULL) {
        host->leader = call;
        return true;
    }
    call->state = HTTP_HELD;
    ag_http_enqueue(&host->held, call);
    return false;
}

static void let_go(ag_http *http, ag_http_call *call)
{
    call->state = HTTP_WAITING;
    ag_http_enqueue(&http->waiting, call);
}

void ag_http_host_known(ag_http_call *call)
{
    struct http_host *host = call->host;
    ag_http_call *held;

    if (host == NULL || host->leader != call)
        return;
    host->leader = NULL;
    host->known_until_ms = (int64_t)uv_now(call->http->loop) + HTTP_DNS_KNOWN_MS;
    while ((held = ag_http_pop(&host->held)) != NULL)
        let_go(call->http, held);
}

void ag_http_host_skip(ag_http_call *call)
{
    struct http_host *host = call->host;

    if (host == NULL || host->leader != call)
        return;
    host->leader = ag_http_pop(&host->held);
    if (host->leader != NULL)
        let_go(call->http, host->leader);
}

void ag_http_host_leave(ag_http_call *call, const agent_error *why)
{
    struct http_host *host = call->host;
    struct http_queue waited = {NULL, NULL};
    ag_http_call *held;

    if (host == NULL)
        return;
    call->host = NULL;
    host->calls--;
    if (host->leader != call)
        return;
    if (why == NULL) {
        call->host = host; /* for the skip alone */
        ag_http_host_skip(call);
        call->host = NULL;
        return;
    }
    host->leader = NULL;
    while ((held = ag_http_pop(&host->held)) != NULL) /* done() of one may start others: those are not meant */
        ag_http_enqueue(&waited, held);
    while ((held = ag_http_pop(&waited)) != NULL) /* (2) */
        ag_http_fail(held, why);
}

void ag_http_hosts_drop(ag_http *http)
{
    while (http->hosts != NULL) {
        struct http_host *host = http->hosts;

        assert(host->calls == 0);
        http->hosts = host->next;
        ag_free(host);
    }
}
