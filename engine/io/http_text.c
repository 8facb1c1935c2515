/*
 * The texts of HTTP that we read ourselves: URLs (to name the host, to refuse early), header lines
 * to send (nothing may smuggle a second line in), header lines of an answer.
 */
#include <string.h>
#include <strings.h>
#include <time.h>

#include "engine/io/http_impl.h"

#define RETRY_AFTER_MAX_MS (INT64_C(7) * 24 * 3600 * 1000)

static bool starts(struct ag_str s, const char *with)
{
    size_t n = strlen(with);

    return s.n >= n && strncasecmp(s.p, with, n) == 0;
}

agent_status ag_http_url_parse(const char *url, struct http_url *out, agent_error *err)
{
    struct ag_str all = ag_str_of(url), rest;
    struct http_url parts = {.port = 0};
    size_t authority, at = 0, port_at;

    for (size_t i = 0; i < all.n; i++)
        if ((unsigned char)url[i] <= ' ' || url[i] == 0x7f)
            return ag_fail(err, AGENT_EINVAL, 0, "URL: a blank or control character at offset %zu", i);
    if (!starts(all, "http://") && !starts(all, "https://")) {
        (void)ag_fail(err, AGENT_EINVAL, 0, "URL '%.*s': only http:// and https:// are known",
                      (int)strcspn(url == NULL ? "" : url, "@?#"), url == NULL ? "" : url);
        ag_hint(err, "give a base URL such as http://127.0.0.1:11434/v1");
        return AGENT_EINVAL;
    }
    parts.tls = starts(all, "https://");
    rest = (struct ag_str){url + (parts.tls ? 8 : 7), all.n - (parts.tls ? 8 : 7)};
    authority = strcspn(rest.p, "/?#");
    for (size_t i = 0; i < authority; i++)
        if (rest.p[i] == '@')
            at = i + 1; /* user and password: never shown */
    rest.p += at;
    authority -= at;
    if (authority > 0 && rest.p[0] == '[') {
        const char *close = memchr(rest.p, ']', authority);
        if (close == NULL)
            return ag_fail(err, AGENT_EINVAL, 0, "URL: '[' without ']'");
        parts.host = (struct ag_str){rest.p + 1, (size_t)(close - rest.p) - 1};
        port_at = parts.host.n + 2;
    } else {
        const char *colon = memchr(rest.p, ':', authority);
        port_at = colon == NULL ? authority : (size_t)(colon - rest.p);
        parts.host = (struct ag_str){rest.p, port_at};
    }
    if (parts.host.n == 0 || parts.host.n > 253)
        return ag_fail(err, AGENT_EINVAL, 0, "URL: no host name of 1 to 253 bytes in it");
    if (port_at < authority) {
        if (rest.p[port_at] != ':')
            return ag_fail(err, AGENT_EINVAL, 0, "URL: ':' and a port expected after the host");
        for (size_t i = port_at + 1; i < authority; i++) {
            if (rest.p[i] < '0' || rest.p[i] > '9' || parts.port > 65535)
                return ag_fail(err, AGENT_EINVAL, 0, "URL: the port is not a number from 1 to 65535");
            parts.port = parts.port * 10 + (rest.p[i] - '0');
        }
        if (parts.port > 65535 || (parts.port == 0 && port_at + 1 < authority))
            return ag_fail(err, AGENT_EINVAL, 0, "URL: the port is not a number from 1 to 65535");
    }
    if (parts.port == 0)
        parts.port = parts.tls ? 443 : 80;
    *out = parts;
    return AGENT_OK;
}

agent_status ag_http_header_check(const char *line, agent_error *err)
{
    size_t name = strcspn(line, ":");

    if (name == 0 || line[name] == '\0')
        return ag_fail(err, AGENT_EINVAL, 0, "header: not of the form 'Name: value'"); /* its text may be a key */
    for (size_t i = 0; i < name; i++)
        if ((unsigned char)line[i] <= ' ' || (unsigned char)line[i] >= 0x7f)
            return ag_fail(err, AGENT_EINVAL, 0, "header: its name has a character that is not allowed");
    if (line[name + strcspn(line + name, "\r\n")] != '\0') {
        (void)ag_fail(err, AGENT_EINVAL, 0, "header '%.*s': its value has a line break", (int)(name > 60 ? 60 : name),
                      line);
        ag_hint(err, "a key read from a file must not bring the file's last newline");
        return AGENT_EINVAL;
    }
    return AGENT_OK;
}

/* --- an answer's header -------------------------------------------------------------------------- */

static bool is_header(struct ag_str line, const char *name, struct ag_str *out_value)
{
    size_t n = strlen(name);

    if (line.n <= n || line.p[n] != ':' || strncasecmp(line.p, name, n) != 0)
        return false;
    *out_value = (struct ag_str){line.p + n + 1, line.n - n - 1};
    while (out_value->n > 0 && (out_value->p[0] == ' ' || out_value->p[0] == '\t')) {
        out_value->p++;
        out_value->n--;
    }
    while (out_value->n > 0 && (out_value->p[out_value->n - 1] == ' ' || out_value->p[out_value->n - 1] == '\t'))
        out_value->n--;
    return true;
}

static void keep(struct ag_str value, char *to, size_t room)
{
    size_t n = value.n < room ? value.n : room - 1;

    memcpy(to, value.p, n);
    to[n] = '\0';
}

/* "12", "0.5" times `scale`, in ms; -1: not a number. By hand: strtod follows the locale. */
static int64_t decimal_ms(const char *text, int64_t scale)
{
    int64_t whole = 0, part = 0, unit = scale * 1000;
    const char *p = text;

    while (*p >= '0' && *p <= '9') {
        if (whole < RETRY_AFTER_MAX_MS)
            whole = whole * 10 + (*p - '0');
        p++;
    }
    if (p == text && *p != '.')
        return -1;
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++) {
            unit /= 10;
            part += unit * (*p - '0');
        }
    if (*p != '\0' || (p == text + 1 && *text == '.'))
        return -1;
    if (whole >= RETRY_AFTER_MAX_MS / scale)
        return RETRY_AFTER_MAX_MS;
    return whole * scale + (part + 999) / 1000; /* rounded up: never sooner than asked for */
}

void ag_http_header_take(ag_http_call *call, struct ag_str line)
{
    struct ag_http_head *head = &call->head;
    struct ag_str value;
    char text[64];

    if (starts(line, "HTTP/")) { /* also after a 1xx: what came before does not count */
        const char *space = memchr(line.p, ' ', line.n);
        *head = (struct ag_http_head){.retry_after_ms = -1, .should_retry = -1};
        call->content_type[0] = call->request_id[0] = call->retry_after[0] = '\0';
        call->date_s = 0;
        if (space != NULL && (size_t)(space - line.p) + 4 <= line.n)
            for (int i = 1; i <= 3; i++)
                head->status = head->status * 10 + (space[i] >= '0' && space[i] <= '9' ? space[i] - '0' : 0);
    } else if (is_header(line, "content-type", &value)) {
        keep(value, call->content_type, sizeof(call->content_type));
    } else if (is_header(line, "x-request-id", &value) || is_header(line, "request-id", &value)) {
        keep(value, call->request_id, sizeof(call->request_id));
    } else if (is_header(line, "retry-after-ms", &value)) {
        keep(value, text, sizeof(text));
        head->retry_after_ms = decimal_ms(text, 1);
    } else if (is_header(line, "retry-after", &value)) {
        keep(value, call->retry_after, sizeof(call->retry_after));
    } else if (is_header(line, "date", &value)) {
        keep(value, text, sizeof(text));
        call->date_s = (int64_t)call->http->curl->getdate(text, NULL);
    } else if (is_header(line, "x-should-retry", &value)) {
        keep(value, text, sizeof(text));
        head->should_retry = strcasecmp(text, "true") == 0 ? 1 : strcasecmp(text, "false") == 0 ? 0 : -1;
    }
}

int64_t ag_http_retry_after(const ag_http_call *call)
{
    int64_t ms = call->head.retry_after_ms, until, now;

    if (ms >= 0 || call->retry_after[0] == '\0')
        return ms;
    if ((ms = decimal_ms(call->retry_after, 1000)) >= 0)
        return ms;
    until = (int64_t)call->http->curl->getdate(call->retry_after, NULL);
    if (until < 0)
        return -1;
    now = call->date_s > 0 ? call->date_s : (int64_t)time(NULL); /* its clock and ours need not agree */
    if (until <= now)
        return 0;
    return until - now > RETRY_AFTER_MAX_MS / 1000 ? RETRY_AFTER_MAX_MS : (until - now) * 1000;
}
