/*
 * SHA-256 from the system's libcrypto, without linking it: it costs a process a millisecond to load
 * and most never need it. The handle is looked up each time (a few hundred ns beside a text of 1 KB
 * and more) and left loaded, as dlclose() of libcrypto is not safe: so there is no state of ours.
 */
#include <dlfcn.h>

#include "storage/sqlite/impl.h"

typedef unsigned char *(*sha256_fn)(const unsigned char *data, size_t bytes, unsigned char *out);

bool ag_sha256(struct ag_str s, unsigned char out[32])
{
    static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"};
    union {
        void *object;
        sha256_fn function;
    } symbol = {NULL};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && symbol.object == NULL; i++) {
        void *handle = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

        if (handle == NULL)
            continue;
        symbol.object = dlsym(handle, "SHA256");
        (void)dlclose(handle); /* the count only: RTLD_NODELETE keeps it */
    }
    return symbol.object != NULL && symbol.function((const unsigned char *)s.p, s.n, out) != NULL;
}
