/*
 * What the files of the bench server share.
 *
 *    server.c      sockets, the heap of what is due, HTTP/1.1, the answers
 *    server_tls.c  a certificate, handshakes, records
 *    server_h2.c   HTTP/2 on such a connection, through libnghttp2 where it is there
 */
#ifndef BENCH_SERVER_IMPL_H
#define BENCH_SERVER_IMPL_H

#include "bench/server.h"

#define SERVER_HEAD_MAX 4096
#define NOT_QUEUED      SIZE_MAX

struct server_tls; /* the context */
struct server_h2;  /* the HTTP/2 of one connection */

/* A connection; or one request of an HTTP/2 connection, then `of` says which. */
struct conn {
    int fd;
    size_t head_bytes, body_left;
    bool in_body, last;
    long chunks;     /* of a stream still to come; -1: one answer */
    int64_t gap_ns;
    int64_t due_ns;
    size_t place;    /* in the heap; NOT_QUEUED */
    bool held;
    struct conn *held_prev, *held_next;
    long mark;       /* -1: none */
    void *tls;       /* SSL; NULL: plain */
    bool asked_h2;   /* the handshake's choice was looked at */
    struct server_h2 *h2;
    struct conn *of;
    int32_t stream;
    struct conn *stream_prev, *stream_next; /* requests of the same connection */
    char *out;       /* what the socket did not take yet */
    size_t out_bytes;
    char *head;      /* of SERVER_HEAD_MAX; a request of HTTP/2: its path */
};

struct loop {
    int epoll, listener;
    struct server_board *board;
    struct server_tls *tls; /* NULL: plain */
    struct conn *held;
    struct conn **heap;
    size_t count, room;
};

extern const char server_body[];
size_t server_body_bytes(void);

/* server.c */
struct conn *server_conn_new(void);
void server_drop(struct loop *l, struct conn *c);
/* False, of these and of what eats: the connection is gone. */
bool server_put(struct loop *l, struct conn *c, const char *text, size_t bytes);
bool server_begin(struct loop *l, struct conn *c, const char *path);
void server_mark(struct conn *c, const char *text, size_t bytes);
void server_gone(struct loop *l, struct conn *c);

/* server_tls.c; send and recv as the system's, with errno */
struct server_tls *server_tls_new(enum server_kind kind, const char *ca_file); /* NULL: it could not be made */
void server_tls_drop(struct server_tls *tls);
void server_tls_accept(struct loop *l, struct conn *c);
ssize_t server_tls_send(struct conn *c, const char *text, size_t bytes);
ssize_t server_tls_recv(struct conn *c, char *to, size_t bytes);
bool server_tls_chose_h2(const struct conn *c);
void server_tls_free(struct conn *c);

/* server_h2.c */
bool server_h2_chosen(struct loop *l, struct conn *c); /* makes its state at the first look */
bool server_h2_eat(struct loop *l, struct conn *c, const char *in, size_t bytes);
bool server_h2_answer(struct loop *l, struct conn *request);
void server_h2_free(struct loop *l, struct conn *c);

#endif
