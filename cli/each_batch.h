/*
 * The batch, as its loop and its story share it. See each_batch.c.
 */
#ifndef AG_CLI_EACH_BATCH_H
#define AG_CLI_EACH_BATCH_H

#include <pthread.h>

#include "cli/each.h"

struct slot {
    struct batch *batch;
    struct slot *next;         /* free, ready, ended or done */
    struct slot *behind;       /* the next line of its session */
    struct slot *bucket;       /* another session's last line, in the same bucket */
    int64_t number, size;      /* of the line; its bytes */
    struct each_line line;
    uint64_t session;          /* hash of it; 0: its own */
    agent_run *run;
    bool is_done, is_failed, is_hit;
    int64_t input_tokens, output_tokens;
    char *text;                /* its result */
    size_t bytes;
};

enum batch_stop { STOP_NOT, STOP_SIGNAL, STOP_READER, STOP_FAILURES, STOP_ERROR };

struct batch {
    struct cli *cli;
    const agent_run_request *request;
    struct each_input in;
    struct each_out out;
    struct each_key key;
    struct each_ids ids;
    struct each_bar bar;
    struct out scratch;  /* where results are formed */
    bool in_order, to_stdout, is_ended, is_input_empty;
    int64_t jobs, max_failures; /* 0: no limit */
    enum batch_stop stop;
    agent_error why;     /* of STOP_ERROR */

    struct slot *slots, **order, **buckets; /* order: by seq, a ring; buckets: last line of each session */
    size_t room, bucket_count;
    struct slot *free, *ready, *ready_last, *done; /* done: only where there is no order */
    int64_t taken, written; /* in order: so many have a place in `order`, so many have left it */
    int64_t in_flight, ready_count, held;
    bool is_refused;     /* the engine takes no more at the moment */
    int refusals, told;

    pthread_mutex_t lock;
    struct slot *ended;  /* newest first */
    int wake[2];

    int64_t lines, succeeded, failed, hits, input_tokens, output_tokens; /* written by this process */
};

/* Jobs, input, keys and the rest are set; begins no run. */
void batch_init(struct batch *b);
void batch_drop(struct batch *b); /* the engine is closed by then: its workers know the batch */
/* Until all is done, or it is stopped and what ran has ended. */
void batch_work(struct batch *b);
/* The first reason stays, but for an error. err NULL: it needs no words. */
void batch_stop(struct batch *b, enum batch_stop why, const agent_error *err);

#endif
