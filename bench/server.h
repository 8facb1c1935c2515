/*
 * A model provider on loopback, as fast as one epoll thread can be, in a process of its own.
 *
 *     /json/…              one answer at once
 *     /delay/MS/…          the same after MS milliseconds
 *     /close/…             one answer at once, and the connection ends
 *     /hold/…              the same once the board says `released`
 *     /sse/COUNT/MS/…      COUNT chunks, MS apart; the text of each is "@NANOSECONDS ", the
 *                          monotonic time at which it was sent
 *     /fail/STATUS/…       that status and an error
 *     /key/…               what of these the request's key says: "Authorization: Bearer /delay/50/"
 *
 * Bodies have the shapes of OpenAI's Chat Completions. What a request asks for is not read, but for
 * "mark=N" in a body. Plain, under TLS as HTTP/1.1, or as HTTP/2 of 100 streams a connection (no
 * /sse, /fail and /key there).
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "bench/bench.h"

#define SERVER_ANSWER "Paris is the capital of France."

#define SERVER_MARKS 8192

/* Shared with the server's process. */
struct server_board {
    atomic_long waiting;  /* requests to /hold that are here and unanswered */
    atomic_long accepted; /* connections so far */
    atomic_bool released;
    _Atomic int64_t closed_ns[SERVER_MARKS]; /* when the held request of that mark was dropped; monotonic */
};

struct server {
    pid_t pid;
    int port;
    struct server_board *board;
};

enum server_kind { SERVER_PLAIN, SERVER_TLS, SERVER_TLS_FRESH /* no session is resumed */, SERVER_TLS_H2 };

/* Listens on 127.0.0.1 when it returns. Its end is the parent's, or server_stop(). */
bool server_start(struct bench_run *b, struct server *s);
/* The same under TLS, for the name "localhost". Writes `ca_file`: the system's certificates, where there
 * are any, and the one the server shows. */
bool server_start_tls(struct bench_run *b, struct server *s, enum server_kind kind, const char *ca_file);
bool server_has_h2(void); /* this program was built with libnghttp2 */
void server_stop(struct server *s);

/* Bare sockets: `connections` of them each send the same request again and again. */
struct sockets {
    int port, connections;
    long requests;
};
struct sockets_result {
    double wall_s, cpu_s;
    long answers;
};
bool sockets_drive(const struct sockets *w, struct sockets_result *out, char *why);

#endif
