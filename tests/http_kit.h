/*
 * What the suites of the HTTP client share: a loop, a client and a scripted server per test, a call
 * that is watched, and a resolver that can be held up.
 */
#ifndef TESTS_HTTP_KIT_H
#define TESTS_HTTP_KIT_H

#include <check.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "engine/base/buf.h"
#include "engine/io/http.h"
#include "tests/scripted_server.h"

extern uv_loop_t loop;
extern ag_http *http;
extern agent_error err;
extern struct scripted *server;
extern const char *const plain_headers[];
extern const struct ag_http_events events; /* their ctx is a struct watch */

/* The kit's own getaddrinfo, which libcurl finds: names that end in ".test" are 127.0.0.1; those that
 * begin with "slow" or "none" wait for may_resolve, and "none" then does not exist. */
extern atomic_int lookups; /* of names that end in ".test" */
extern sem_t may_resolve;
extern sem_t resolving;    /* posted when a look-up has begun */

/* One call, what became of it, and what its callbacks are to do. */
struct watch {
    int heads, dones, bytes_after_done;
    struct ag_http_head head;
    char content_type[100], request_id[100];
    ag_buf data;
    agent_status status;
    agent_error error;
    bool got_bytes;
    ag_http_call *call;
    /* what to do in a callback */
    size_t enough;             /* data() says false from this many bytes on; 0: never */
    bool cancel_in_head, cancel_in_data, cancel_in_done, close_in_data, close_in_done;
    struct watch *cancel_other; /* in data() */
    struct watch *start_in_data, *start_in_done;
    const struct ag_http_request *request; /* for those started so */
};

struct watch watch_new(void);

/* A POST with a key and a small body. */
struct ag_http_request request_to(const char *url);
void start(struct watch *w, const struct ag_http_request *q);
void run(void); /* the loop, until nothing is left in it */
struct watch fetch_with(const struct ag_http_request *q);
struct watch fetch(void); /* from `server` */
void new_client(const struct ag_http_options *o);
void close_client(void);
void serve(const struct scripted_answer *answers, size_t n);
void stop_server(void); /* before what it serves is freed */

#define SERVE(...) \
    serve((const struct scripted_answer[]){__VA_ARGS__}, \
          sizeof((const struct scripted_answer[]){__VA_ARGS__}) / sizeof(struct scripted_answer))

/* n letters; free the pointer. */
struct ag_str big(size_t n);
/* A port nobody listens on: bound, never listened. */
int dead_port(int *out_fd);
/* A socket that takes connections and says nothing; the url of it. */
int silent_socket(char *url, size_t room, const char *scheme);
void *must(void *p);

void set_up(void);
void tear_down(void); /* also checks that every handle is closed */
TCase *part(Suite *suite, const char *name); /* with both, and a minute for each test */

#endif
