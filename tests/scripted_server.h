/*
 * An HTTP/1.1 server for tests: it answers what it was told to, in the pieces and with the pauses it
 * was told to, and remembers what it was sent. On 127.0.0.1, on a port the kernel chooses; a thread
 * for each connection; connections are kept alive.
 *
 *     struct scripted_answer answers[] = {{.status = 429, .headers = "Retry-After: 1\r\n"},
 *                                         {.type = "text/event-stream", .body = sse, .split = 1}};
 *     struct scripted *s = scripted_start(answers, 2);
 *     … scripted_url(s) … scripted_request(s, 0)->body …
 *     scripted_stop(s);
 */
#ifndef TESTS_SCRIPTED_SERVER_H
#define TESTS_SCRIPTED_SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum scripted_framing {
    SCRIPTED_LENGTH,  /* Content-Length */
    SCRIPTED_CHUNKED, /* each piece is a chunk */
    SCRIPTED_CLOSE,   /* neither: the body ends where the connection does */
    SCRIPTED_RAW,     /* body is all that is sent, status line included */
};

struct scripted_answer {
    int status;          /* 0: 200 */
    const char *type;    /* NULL: application/json */
    const char *headers; /* more lines, each with its \r\n; NULL: none */
    const char *body;    /* NULL: "" */
    size_t body_bytes;   /* 0: strlen(body) */
    size_t split;        /* bytes of a piece; 0: all at once */
    int delay_ms;        /* before the first byte */
    int piece_ms;        /* before each piece but the first */
    enum scripted_framing framing;
    bool cut;            /* close before the end: no last chunk; a length that is one byte too large */
    bool reset;          /* as cut, with a TCP reset */
    bool hang;           /* after the body: nothing more until the client goes */
    bool endless;        /* the body again and again until the client goes */
    bool last;           /* close the connection after this answer, and say so */
    const char *when_path, *when_body; /* a rule: for each request that contains these, out of turn */
    char *owned;         /* freed by the server after the answer; for handlers */
};

struct scripted_request {
    char *method, *path;
    char *headers;     /* all lines, each with \r\n */
    char *body;        /* NUL behind it */
    size_t body_bytes;
    int connection;    /* 1, 2, …: which connection it came on */
};

struct scripted;

/* Decides the answer of one request, on the connection's thread; index counts from 0. */
typedef void (*scripted_fn)(void *ctx, const struct scripted_request *request, size_t index,
                            struct scripted_answer *out);

/* The answer that is due: `given` counts those given by order. What scripted_start() does itself. */
void scripted_choose(const struct scripted_answer *answers, size_t n, size_t *given,
                     const struct scripted_request *request, struct scripted_answer *out);

/* Answers are given in order; the last one is repeated. Those with a rule are taken when it fits and
 * do not count in the order. The array is copied, its strings are borrowed. NULL: no socket. */
struct scripted *scripted_start(const struct scripted_answer *answers, size_t n);
struct scripted *scripted_start_fn(scripted_fn fn, void *ctx);
/* Closes all connections and waits for their threads. NULL is fine. */
void scripted_stop(struct scripted *s);

const char *scripted_url(const struct scripted *s); /* "http://127.0.0.1:PORT" */
int scripted_port(const struct scripted *s);
/* The i-th request that was read whole, NULL: not yet. Valid until scripted_stop(). */
const struct scripted_request *scripted_request(struct scripted *s, size_t i);
size_t scripted_requests(struct scripted *s);
/* Waits until n requests were read, at most ms. */
bool scripted_wait(struct scripted *s, size_t n, int ms);
int scripted_connections(struct scripted *s);      /* accepted so far */
int scripted_open_connections(struct scripted *s); /* open now */
/* Waits until at most n connections are open, at most ms. */
bool scripted_wait_closed(struct scripted *s, int n, int ms);
/* A header's value in a request, copied to `to`; false: it is not there. */
bool scripted_header(const struct scripted_request *r, const char *name, char *to, size_t room);

#endif
