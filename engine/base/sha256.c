/*
 * libcrypto costs a process a millisecond to load and most never need it. The handle is looked up
 * each time (a few hundred ns) and left loaded, as dlclose() of libcrypto is not safe: so there is
 * no state of ours.
 */
#include "engine/base/sha256.h"

#include <dlfcn.h>

/* Looks `count` symbols up in one libcrypto; false: none has them all. */
static bool find(const char *const *names, size_t count, void **out)
{
    static const char *const files[] = {"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"};
    size_t found = 0;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && found < count; i++) {
        void *handle = dlopen(files[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

        if (handle == NULL)
            continue;
        for (found = 0; found < count && (out[found] = dlsym(handle, names[found])) != NULL; found++)
            ;
        (void)dlclose(handle); /* the count only: RTLD_NODELETE keeps it */
    }
    return found == count;
}

ag_sha256_fn ag_sha256_find(void)
{
    static const char *const names[] = {"SHA256"};
    union {
        void *object;
        ag_sha256_fn function;
    } symbol;

    return find(names, 1, &symbol.object) ? symbol.function : NULL;
}

bool ag_sha256(struct ag_str s, unsigned char out[AG_SHA256_BYTES])
{
    ag_sha256_fn hash = ag_sha256_find();

    return hash != NULL && hash((const unsigned char *)s.p, s.n, out) != NULL;
}

bool ag_sha256_stream(ag_sha256_more more, void *ctx, unsigned char out[AG_SHA256_BYTES])
{
    static const char *const names[] = {"EVP_MD_CTX_new", "EVP_MD_CTX_free", "EVP_sha256",
                                        "EVP_DigestInit_ex", "EVP_DigestUpdate", "EVP_DigestFinal_ex"};
    union {
        void *object[6];
        struct {
            void *(*make)(void);
            void (*release)(void *md);
            const void *(*kind)(void);
            int (*init)(void *md, const void *kind, void *engine);
            int (*update)(void *md, const void *p, size_t n);
            int (*final)(void *md, unsigned char *out, unsigned *out_bytes);
        } call;
    } evp;
    unsigned char buf[16384];
    int64_t n = -1;
    bool is_good;
    void *md;

    if (!find(names, sizeof(names) / sizeof(names[0]), evp.object) || (md = evp.call.make()) == NULL)
        return false;
    is_good = evp.call.init(md, evp.call.kind(), NULL) == 1;
    while (is_good && (n = more(ctx, buf, sizeof(buf))) > 0)
        is_good = evp.call.update(md, buf, (size_t)n) == 1;
    is_good = is_good && n == 0 && evp.call.final(md, out, NULL) == 1;
    evp.call.release(md);
    return is_good;
}
