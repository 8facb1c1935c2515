/*
 * What the providers share and nobody else sees: reading JSON text that is already there (scan.c),
 * parsing what a server sent (parse.c), and judging what it refused (refused.c, message.c).
 */
#ifndef AG_PROVIDER_WIRE_H
#define AG_PROVIDER_WIRE_H

#include <jansson.h>

#include "engine/provider/provider.h"

/* --- scan.c: JSON as text, no tree ------------------------------------------------------------- */

#define AG_SCAN_DEPTH 256

/* Whether all of `text` is one valid JSON object (RFC 8259, valid UTF-8, no lone surrogate). */
bool ag_scan_is_object(struct ag_str text);
/* The raw text of a member of an object; false where there is none or the text is broken. */
bool ag_scan_member(struct ag_str object, const char *key, struct ag_str *out_raw);
/* The next member of an object that was checked: raw, the key with its quotes. *at begins at 0 and
 * stands behind the object after the last one. */
bool ag_scan_next(struct ag_str object, size_t *at, struct ag_str *out_key, struct ag_str *out_value);
/* Appends what a string literal (with its quotes) says. What is no character becomes U+FFFD. A
 * literal that was cut is read as far as it goes. */
void ag_scan_unescape(struct ag_str literal, ag_buf *out);

struct ag_scan_call { /* raw JSON values, quotes included */
    struct ag_str id, name, arguments;
};
/* Walks an array of stored calls. *at starts as 0. 1: a call; 0: no more; -1: not such an array. */
int ag_scan_call(struct ag_str calls, size_t *at, struct ag_scan_call *out);
/* A stored call's arguments as the text of a JSON object, into an empty buffer. What is none goes
 * as {"INVALID_JSON": "<what the model wrote>"}: a server that parses it does not stumble, and the
 * model sees what it did. */
void ag_scan_arguments(struct ag_str raw, ag_buf *out);
/* The same for arguments as they are, appended. */
void ag_scan_put_object(struct ag_str text, ag_buf *out);

/* --- parse.c: JSON from a server ----------------------------------------------------------------- */

/* Whether there is nothing but white space. */
bool ag_wire_blank(struct ag_str s);
/* The bytes of a string; absent where it is none. Borrowed. */
struct ag_str ag_wire_view(const json_t *string);
/* A tree, or NULL with AGENT_EPROTOCOL "who: what: …" in err. Broken characters and huge integers
 * are mended first: a server that cuts an emoji in two costs us that emoji, not the answer. */
json_t *ag_wire_parse(struct ag_str text, const char *who, const char *what, agent_error *err);
/* Appends a string's bytes; NUL becomes U+FFFD. Anything but a string: nothing. */
void ag_wire_text(ag_buf *to, const json_t *string);
/* A JSON value as compact text. */
void ag_wire_dump(ag_buf *to, const json_t *value);
/* A count that is there and not negative, else `none`. */
int64_t ag_wire_count(const json_t *number, int64_t none);
/* "" where it is no string. Borrowed. */
const char *ag_wire_string(const json_t *string);
/* base without its trailing slashes, then path, NUL-terminated in the arena. AGENT_EINVAL where base
 * is no http(s) URL. */
agent_status ag_wire_url(const char *who, struct ag_str base, const char *path, ag_arena *a, const char **out,
                         agent_error *err);
/* Room for what the body will hold at least, so that it grows once and not a dozen times. */
void ag_wire_reserve(ag_buf *body, const struct ag_model_request *q);
/* "prefix" + value as a header line. AGENT_ENOMEM, or AGENT_EKEY where the key has control bytes. */
agent_status ag_wire_header(const char *who, struct ag_header_list *headers, ag_arena *a, const char *prefix,
                            const char *value, agent_error *err);
/* The two headers that every request has. */
agent_status ag_wire_json_headers(const char *who, struct ag_header_list *headers, ag_arena *a, bool is_stream,
                                  agent_error *err);
/* The end of the body: parameters that go as they are, the brace; whether all of it was taken. */
agent_status ag_wire_end(const char *who, ag_buf *body, struct ag_str passthrough, agent_error *err);
/* Whether all buffers of the answer took what was appended. */
agent_status ag_wire_check(const char *who, const struct ag_reply *r, agent_error *err);

/* --- message.c, refused.c: what went wrong ------------------------------------------------------- */

struct ag_trouble {
    char message[304]; /* "" none; one line */
    char code[64];     /* "insufficient_quota", "overloaded_error"; "" none */
    int status;        /* a numeric code that is an HTTP status; 0 none */
};

/* From a parsed document (borrowed) of any of the known shapes. */
void ag_trouble_read(const json_t *doc, struct ag_trouble *out);
/* From the bytes of an error body. */
void ag_trouble_find(struct ag_str body, struct ag_trouble *out);
/* Makes the error. http_status 0: the error came inside an answer, and its code says what it is. */
agent_status ag_trouble_judge(const struct ag_provider_vt *vt, int http_status, const struct ag_trouble *t,
                              const struct ag_http_head *head, struct ag_verdict *out, agent_error *err);
/* The same of an error body: `refused` of ag_provider_vt. */
agent_status ag_trouble_refused(const struct ag_provider_vt *vt, int http_status, struct ag_str body,
                                const struct ag_http_head *head, struct ag_verdict *out, agent_error *err);

#endif
