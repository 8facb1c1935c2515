/*
 * How a transfer ended, in words: what was being done, with which host, and why it failed. Never the
 * URL (it may hold a key) nor anything that was sent.
 */
#include <string.h>

#include "engine/io/http_impl.h"

static const char *reason(const ag_http_call *call, CURLcode code)
{
    static const char known[] = "SSL certificate problem: ";
    const char *text = call->curl_error;

    if (text[0] == '\0')
        return call->http->curl->easy_strerror(code);
    return strncmp(text, known, sizeof(known) - 1) == 0 ? text + sizeof(known) - 1 : text;
}

static agent_status not_connected(const ag_http_call *call, CURLcode code, agent_error *err)
{
    long os = 0;

    (void)call->http->curl->easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os);
    (void)ag_fail(err, AGENT_ENETWORK, (int)os, "connect to " AG_STR_FMT ":%d: %s", AG_STR_ARG(call->parts.host),
                  call->parts.port, os != 0 ? strerror((int)os) : reason(call, code));
    ag_hint(err, "is a server running there? check the base URL%s", call->http->proxy != NULL ? " and the proxy" : "");
    return AGENT_ENETWORK;
}

static agent_status tls_failed(const ag_http_call *call, CURLcode code, agent_error *err)
{
    const char *what = code == CURLE_PEER_FAILED_VERIFICATION ? "certificate of " : "";

    (void)ag_fail(err, AGENT_ENETWORK, 0, "TLS: %s" AG_STR_FMT ": %s", what, AG_STR_ARG(call->parts.host),
                  reason(call, code));
    if (code == CURLE_SSL_CACERT_BADFILE)
        ag_hint(err, call->http->ca_file == NULL ? "install the package ca-certificates"
                                                 : "check the path given as ca_file");
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        ag_hint(err, "where you trust this server, give the certificate that signed it as ca_file");
    else
        ag_hint(err, "is it https that this port speaks?");
    return AGENT_ENETWORK;
}

static agent_status broken(const ag_http_call *call, const char *why, agent_error *err)
{
    return ag_fail(err, AGENT_ENETWORK, 0, AG_STR_FMT ": the connection broke %s: %s", AG_STR_ARG(call->parts.host),
                   call->head_sent ? "in the middle of the answer" : "before the answer", why);
}

agent_status ag_http_explain(const ag_http_call *call, CURLcode code, agent_error *err)
{
    struct ag_str host = call->parts.host;

    if (call->header_too_big) {
        (void)ag_fail(err, AGENT_EPROTOCOL, 0, AG_STR_FMT ": the header of the answer is over %u bytes",
                      AG_STR_ARG(host), HTTP_HEADER_MAX);
        return AGENT_EPROTOCOL;
    }
    switch ((int)code) { /* few of a hundred codes can happen here; the last branch has the others */
    case CURLE_OK:
        /* curl takes a connection that closes in the middle of the header for a short answer */
        return call->head_sent ? AGENT_OK : broken(call, "its header is not complete", err);
    case CURLE_URL_MALFORMAT:
        return ag_fail(err, AGENT_EINVAL, 0, "URL: %s", reason(call, code));
    case CURLE_OUT_OF_MEMORY:
        return ag_fail(err, AGENT_ENOMEM, 0, AG_STR_FMT ": libcurl is out of memory", AG_STR_ARG(host));
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        (void)ag_fail(err, AGENT_ENETWORK, 0, "resolve " AG_STR_FMT ": %s", AG_STR_ARG(host), reason(call, code));
        ag_hint(err, "check the name in the base URL, and the network");
        return AGENT_ENETWORK;
    case CURLE_COULDNT_CONNECT:
        return not_connected(call, code, err);
    case CURLE_OPERATION_TIMEDOUT: /* its only limit is our connect_ms; see http_curl.c */
        (void)ag_fail(err, AGENT_ETIMEDOUT, 0, "connect to " AG_STR_FMT ":%d: not connected within %lld ms "
                      "(connect_ms)", AG_STR_ARG(host), call->parts.port, (long long)call->connect_ms);
        ag_hint(err, "check the base URL and the network, or raise connect_ms");
        return AGENT_ETIMEDOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return tls_failed(call, code, err);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: bytes without a header */
    case CURLE_BAD_CONTENT_ENCODING:
        (void)ag_fail(err, AGENT_EPROTOCOL, 0, AG_STR_FMT ": this is not HTTP: %s", AG_STR_ARG(host),
                      reason(call, code));
        ag_hint(err, "is this the address of a model server? check the base URL");
        return AGENT_EPROTOCOL;
    default:
        return broken(call, reason(call, code), err);
    }
}
