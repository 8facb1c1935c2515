/*
 * A model provider on loopback, as fast as one epoll thread can be, in a process of its own.
 *
 *     /json/…              one answer at once
 *     /delay/MS/…          the same after MS milliseconds
 *     /sse/COUNT/MS/…      COUNT chunks, MS apart; the text of each is "@NANOSECONDS ", the
 *                          monotonic time at which it was sent
 *
 * Bodies have the shapes of OpenAI's Chat Completions. What a request asks for is not read.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <sys/types.h>

#include "bench/bench.h"

#define SERVER_ANSWER "Paris is the capital of France."

struct server {
    pid_t pid;
    int port;
};

/* Listens on 127.0.0.1 when it returns. Its end is the parent's, or server_stop(). */
bool server_start(struct bench_run *b, struct server *s);
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
