/*
 * libcrypto costs a process a millisecond to load and most never need it. The handle is looked up
 * each time (a few hundred ns) and left loaded, as dlclose() of libcrypto is not safe: so there is
 * no state of ours.
 */
#include "engine/base/sha256.h"

#include <dlfcn.h>

ag_sha256_fn ag_sha256_find(void)
{
    static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"};
    union {
        void *object;
        ag_sha256_fn function;
    } symbol = {NULL};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && symbol.object == NULL; i++) {
        void *handle = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

        if (handle == NULL)
            continue;
        symbol.object = dlsym(handle, "SHA256");
        (void)dlclose(handle); /* the count only: RTLD_NODELETE keeps it */
    }
    return symbol.object == NULL ? NULL : symbol.function;
}

bool ag_sha256(struct ag_str s, unsigned char out[AG_SHA256_BYTES])
{
    ag_sha256_fn hash = ag_sha256_find();

    return hash != NULL && hash((const unsigned char *)s.p, s.n, out) != NULL;
}
