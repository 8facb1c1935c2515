/* Certificates: whom the client trusts, and that it sends nothing to whom it does not. */
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/http_kit.h"

/* --- TLS ------------------------------------------------------------------------------------------------------ */

struct tls_server {
    SSL_CTX *ctx;
    int listener, port;
    pthread_t thread;
    char ca_file[300], dir[256];
    atomic_size_t body_bytes; /* of the last request */
    atomic_int requests;
};

static X509 *self_signed(EVP_PKEY *key, const char *alt_name)
{
    X509 *cert = must(X509_new());
    X509_NAME *name = X509_get_subject_name(cert);
    X509_EXTENSION *alt = must(X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt_name));

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"agent test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_add_ext(cert, alt, -1);
    X509_EXTENSION_free(alt);
    ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
    return cert;
}

/* Reads one request (header and Content-Length), answers it, until the client goes. */
static void *serve_tls(void *arg)
{
    struct tls_server *t = arg;
    int fd;

    while ((fd = accept(t->listener, NULL, NULL)) >= 0) {
        SSL *ssl = SSL_new(t->ctx);
        size_t room = 8 << 20, have = 0;
        char *in = malloc(room + 1);

        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
            for (;;) {
                char *end, *length;
                size_t want;
                int n = SSL_read(ssl, in + have, (int)(room - have));

                if (n <= 0)
                    break;
                have += (size_t)n;
                in[have] = '\0';
                if ((end = strstr(in, "\r\n\r\n")) == NULL || (length = strstr(in, "Content-Length: ")) == NULL)
                    continue;
                want = (size_t)(end - in) + 4 + strtoul(length + 16, NULL, 10);
                if (have < want)
                    continue;
                atomic_store(&t->body_bytes, want - (size_t)(end - in) - 4);
                atomic_fetch_add(&t->requests, 1);
                have = 0;
                SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", 45);
            }
        }
        SSL_free(ssl);
        close(fd);
        free(in);
    }
    return NULL;
}

static void start_tls(struct tls_server *t, const char *alt_name)
{
    const char *tmp = getenv("TMPDIR");
    EVP_PKEY *key = must(EVP_EC_gen("P-256"));
    X509 *cert = self_signed(key, alt_name);
    FILE *f;

    memset(t, 0, sizeof(*t));
    snprintf(t->dir, sizeof(t->dir), "%s/agent-http-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    must(mkdtemp(t->dir));
    snprintf(t->ca_file, sizeof(t->ca_file), "%s/ca.pem", t->dir);
    f = must(fopen(t->ca_file, "w"));
    PEM_write_X509(f, cert);
    fclose(f);
    t->ctx = must(SSL_CTX_new(TLS_server_method()));
    ck_assert_int_eq(SSL_CTX_use_certificate(t->ctx, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(t->ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    signal(SIGPIPE, SIG_IGN); /* this server's writes, not the client's */
    t->port = dead_port(&t->listener);
    ck_assert_int_eq(listen(t->listener, 16), 0);
    ck_assert_int_eq(pthread_create(&t->thread, NULL, serve_tls, t), 0);
}

static void stop_tls(struct tls_server *t)
{
    shutdown(t->listener, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->listener);
    SSL_CTX_free(t->ctx);
    unlink(t->ca_file);
    rmdir(t->dir);
}

static struct watch fetch_tls(struct tls_server *t, const char *ca_file, size_t body_bytes)
{
    struct ag_http_options o = {.ca_file = ca_file};
    struct ag_str body = big(body_bytes);
    struct ag_http_request q;
    char url[100];
    struct watch w;

    close_client();
    new_client(&o);
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/v1", t->port);
    q = request_to(url);
    q.body = body;
    w = fetch_with(&q);
    close_client(); /* the server's thread waits for this client to go */
    run();
    new_client(NULL);
    free((char *)(uintptr_t)body.p);
    return w;
}

START_TEST(a_self_signed_certificate_is_refused)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "IP:127.0.0.1");
    w = fetch_tls(&t, NULL, 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strncmp(w.error.text, "TLS: certificate of 127.0.0.1: self", 35) == 0, "%s", w.error.text);
    ck_assert_str_ne(w.error.hint, "");
    ck_assert_int_eq(atomic_load(&t.requests), 0); /* no byte of the request, no key, has left */
    stop_tls(&t);
}
END_TEST

START_TEST(a_certificate_given_as_ca_file_is_trusted)
{
    static const size_t sizes[] = {10, 100 << 10, 3 << 20};
    struct tls_server t;

    start_tls(&t, "IP:127.0.0.1");
    for (size_t i = 0; i < 3; i++) {
        struct watch w = fetch_tls(&t, t.ca_file, sizes[i]);

        ck_assert_msg(w.status == AGENT_OK, "%s", w.error.text);
        ck_assert_str_eq(w.data.p, "secret");
        ck_assert_uint_eq(atomic_load(&t.body_bytes), sizes[i]);
        ag_buf_drop(&w.data);
    }
    stop_tls(&t);
}
END_TEST

START_TEST(a_certificate_for_another_host_is_refused)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "DNS:elsewhere.example");
    w = fetch_tls(&t, t.ca_file, 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strncmp(w.error.text, "TLS: certificate of 127.0.0.1: ", 31) == 0, "%s", w.error.text);
    ck_assert_int_eq(atomic_load(&t.requests), 0);
    stop_tls(&t);
}
END_TEST

START_TEST(a_ca_file_that_is_not_there_is_named_as_the_cause)
{
    struct tls_server t;
    struct watch w;

    start_tls(&t, "IP:127.0.0.1");
    w = fetch_tls(&t, "/nowhere/ca.pem", 10);
    ck_assert_int_eq(w.status, AGENT_ENETWORK);
    ck_assert_msg(strstr(w.error.text, "/nowhere/ca.pem") != NULL, "%s", w.error.text);
    ck_assert_str_eq(w.error.hint, "check the path given as ca_file");
    stop_tls(&t);
}
END_TEST

Suite *http_tls_suite(void);
Suite *http_tls_suite(void)
{
    Suite *suite = suite_create("http_tls");
    TCase *tc;

    tc = part(suite, "tls");
    tcase_add_test(tc, a_self_signed_certificate_is_refused);
    tcase_add_test(tc, a_certificate_given_as_ca_file_is_trusted);
    tcase_add_test(tc, a_certificate_for_another_host_is_refused);
    tcase_add_test(tc, a_ca_file_that_is_not_there_is_named_as_the_cause);
    return suite;
}
