/*
 * TLS of the bench server: a key and a certificate made at start, and OpenSSL on sockets that never
 * block. What it shows is trusted through a file that the client is told: the system's certificates
 * with ours behind them, so that a client that reads the file anew for each connection pays for it.
 */
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "bench/server_impl.h"

#define SYSTEM_CERTIFICATES "/etc/ssl/certs/ca-certificates.crt"

struct server_tls {
    SSL_CTX *ctx;
    bool h2;
};

static X509 *self_signed(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = cert != NULL ? X509_get_subject_name(cert) : NULL;
    X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    bool ok = name != NULL && alt != NULL && X509_set_version(cert, 2) == 1 &&
              ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -3600) != NULL &&
              X509_gmtime_adj(X509_getm_notAfter(cert), 86400) != NULL && X509_set_pubkey(cert, key) == 1 &&
              X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"agent bench", -1, -1, 0) ==
                  1 &&
              X509_set_issuer_name(cert, name) == 1 && X509_add_ext(cert, alt, -1) == 1 &&
              X509_sign(cert, key, EVP_sha256()) > 0;

    X509_EXTENSION_free(alt);
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

static bool write_ca(const char *path, X509 *cert)
{
    FILE *to = fopen(path, "we"), *from = fopen(SYSTEM_CERTIFICATES, "re");
    char text[8192];
    size_t n;
    bool ok = to != NULL;

    while (ok && from != NULL && (n = fread(text, 1, sizeof(text), from)) > 0)
        ok = fwrite(text, 1, n, to) == n;
    ok = ok && PEM_write_X509(to, cert) == 1;
    if (from != NULL)
        (void)fclose(from);
    if (to != NULL)
        ok = fclose(to) == 0 && ok;
    return ok;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_bytes, const unsigned char *in,
                  unsigned int in_bytes, void *ctx)
{
    static const unsigned char h2[] = "\x02h2\x08http/1.1", h1[] = "\x08http/1.1";
    const struct server_tls *tls = ctx;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_bytes, tls->h2 ? h2 : h1, tls->h2 ? sizeof(h2) - 1 : sizeof(h1) - 1, in,
                              in_bytes) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

struct server_tls *server_tls_new(enum server_kind kind, const char *ca_file)
{
    struct server_tls *tls = calloc(1, sizeof(*tls));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key != NULL ? self_signed(key) : NULL;
    bool ok = tls != NULL && cert != NULL && write_ca(ca_file, cert) &&
              (tls->ctx = SSL_CTX_new(TLS_server_method())) != NULL &&
              SSL_CTX_use_certificate(tls->ctx, cert) == 1 && SSL_CTX_use_PrivateKey(tls->ctx, key) == 1;

    if (ok) {
        tls->h2 = kind == SERVER_TLS_H2;
        SSL_CTX_set_alpn_select_cb(tls->ctx, choose, tls);
        (void)SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                             SSL_MODE_RELEASE_BUFFERS);
        if (kind == SERVER_TLS_FRESH) {
            (void)SSL_CTX_set_num_tickets(tls->ctx, 0);
            (void)SSL_CTX_set_options(tls->ctx, SSL_OP_NO_TICKET);
            (void)SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
        }
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    if (ok)
        return tls;
    server_tls_drop(tls);
    return NULL;
}

void server_tls_drop(struct server_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    free(tls);
}

void server_tls_accept(struct loop *l, struct conn *c)
{
    SSL *ssl = SSL_new(l->tls->ctx);

    if (ssl == NULL || SSL_set_fd(ssl, c->fd) != 1)
        _Exit(1);
    SSL_set_accept_state(ssl);
    c->tls = ssl;
}

/* What OpenSSL wants to do later is EAGAIN: on loopback a handshake's few bytes are always taken. */
static ssize_t outcome(struct conn *c, int n)
{
    int why;

    if (n > 0)
        return n;
    why = SSL_get_error(c->tls, n);
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    return -1;
}

ssize_t server_tls_send(struct conn *c, const char *text, size_t bytes)
{
    return outcome(c, SSL_write(c->tls, text, (int)bytes));
}

ssize_t server_tls_recv(struct conn *c, char *to, size_t bytes)
{
    return outcome(c, SSL_read(c->tls, to, (int)bytes));
}

bool server_tls_chose_h2(const struct conn *c)
{
    const unsigned char *name;
    unsigned bytes;

    SSL_get0_alpn_selected(c->tls, &name, &bytes);
    return bytes == 2 && memcmp(name, "h2", 2) == 0;
}

void server_tls_free(struct conn *c)
{
    if (c->tls != NULL)
        (void)SSL_shutdown(c->tls);
    SSL_free(c->tls);
}
