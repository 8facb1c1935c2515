/*
 * One set of trusted certificates for all TLS connections of a client.
 *
 * curl keeps one per multi handle: each shard would read the system's bundle anew, 28 ms of CPU and
 * 0.8 MB for every hundred transfers in flight. Where curl's TLS is OpenSSL 3, the set is read once
 * and given to each connection as it is made; OpenSSL counts who uses it.
 *
 *  (1) It only replaces where certificates come from: curl verifies chain and name as before, with
 *      the flags it would have set itself.
 *  (2) Whatever is missing (another TLS library, a file that cannot be read) leaves all to curl: then
 *      it costs more, and what is wrong with the file is told in curl's words.
 *  (3) Read again after a day, as curl does: a process may outlive a certificate.
 */
#include <dlfcn.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/io/http_impl.h"

#define KEEP_MS INT64_C(86400000)
#define TRUSTED_FIRST 0x8000ul /* X509_V_FLAG_… of OpenSSL 3, part of its ABI */
#define PARTIAL_CHAIN 0x80000ul

struct http_store {
    void *certificates; /* X509_STORE; NULL: left to curl */
    int64_t read_at_ms;
    void *ssl, *crypto; /* libraries that curl has loaded */
    void *(*create)(void);
    int (*load_file)(void *store, const char *path);
    int (*set_flags)(void *store, unsigned long flags);
    void (*drop)(void *store);
    void (*give)(void *ssl_ctx, void *store); /* and counts */
};

static bool find(void *library, const char *name, void *to)
{
    void *symbol = library != NULL ? dlsym(library, name) : NULL;

    memcpy(to, &symbol, sizeof(symbol)); /* ISO C has no cast for it */
    return symbol != NULL;
}

static bool look_up(struct http_store *s, const struct ag_curl *curl)
{
    const curl_version_info_data *info = curl->version_info(CURLVERSION_NOW);

    if (info->ssl_version == NULL || strncmp(info->ssl_version, "OpenSSL/3", 9) != 0)
        return false;
    s->ssl = dlopen("libssl.so.3", RTLD_NOW | RTLD_NOLOAD);
    s->crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_NOLOAD);
    return find(s->crypto, "X509_STORE_new", &s->create) && find(s->crypto, "X509_STORE_load_file", &s->load_file) &&
           find(s->crypto, "X509_STORE_set_flags", &s->set_flags) && find(s->crypto, "X509_STORE_free", &s->drop) &&
           find(s->ssl, "SSL_CTX_set1_cert_store", &s->give);
}

static void read_certificates(ag_http *http, CURL *easy)
{
    struct http_store *s = http->store;
    char *file = http->ca_file;
    void *fresh;

    s->read_at_ms = (int64_t)uv_now(http->loop);
    if (s->give == NULL || (file == NULL && (http->curl->easy_getinfo(easy, CURLINFO_CAINFO, &file) != CURLE_OK ||
                                             file == NULL)) ||
        (fresh = s->create()) == NULL)
        return;
    if (s->load_file(fresh, file) != 1 || s->set_flags(fresh, TRUSTED_FIRST | PARTIAL_CHAIN) != 1) {
        s->drop(fresh); /* (2); one that was read before is kept */
        return;
    }
    if (s->certificates != NULL)
        s->drop(s->certificates);
    s->certificates = fresh;
}

static CURLcode on_context(CURL *easy, void *ssl_ctx, void *ctx)
{
    const struct http_store *s = ((const ag_http *)ctx)->store;

    (void)easy;
    s->give(ssl_ctx, s->certificates);
    return CURLE_OK;
}

CURLcode ag_http_store_use(ag_http *http, CURL *easy)
{
    const struct ag_curl *c = http->curl;
    struct http_store *s = http->store;
    CURLcode rc;

    if (s == NULL) {
        if ((s = http->store = ag_calloc(1, sizeof(*s))) == NULL)
            return CURLE_OUT_OF_MEMORY;
        if (!look_up(s, c))
            s->give = NULL;
        read_certificates(http, easy);
    } else if ((int64_t)uv_now(http->loop) - s->read_at_ms > KEEP_MS) { /* (3) */
        read_certificates(http, easy);
    }
    if (s->certificates == NULL)
        return CURLE_OK;
    if ((rc = c->easy_setopt(easy, CURLOPT_CAINFO, (char *)NULL)) != CURLE_OK ||
        (rc = c->easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context)) != CURLE_OK)
        return rc;
    return c->easy_setopt(easy, CURLOPT_SSL_CTX_DATA, http);
}

void ag_http_store_drop(ag_http *http)
{
    struct http_store *s = http->store;

    if (s == NULL)
        return;
    if (s->certificates != NULL)
        s->drop(s->certificates);
    if (s->ssl != NULL)
        (void)dlclose(s->ssl);
    if (s->crypto != NULL)
        (void)dlclose(s->crypto);
    ag_free(s);
    http->store = NULL;
}
