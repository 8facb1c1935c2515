/*
 * dlopen, a table of names, curl_global_init.
 *
 * This is the one thing of ours that belongs to the process and not to an engine: a shared library
 * is mapped once for all, and curl_global_init has no per-user undo that would be safe beside a host
 * which uses libcurl itself. So it is done once, never undone, and constant afterwards: two engines
 * read the same table and still know nothing of each other.
 */
#include "engine/io/curl_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

#define LIBRARY "libcurl.so.4"

static const struct {
    const char *name;
    size_t at;
} symbols[] = {
#define ROW(field) {"curl_" #field, offsetof(struct ag_curl, field)}
    ROW(global_init), ROW(global_init_mem), ROW(version_info), ROW(easy_init), ROW(easy_cleanup), ROW(easy_setopt), ROW(easy_pause), ROW(easy_getinfo),
    ROW(easy_strerror), ROW(multi_init), ROW(multi_cleanup), ROW(multi_setopt), ROW(multi_add_handle),
    ROW(multi_remove_handle), ROW(multi_socket_action), ROW(multi_assign), ROW(multi_info_read),
    ROW(multi_strerror), ROW(share_init), ROW(share_setopt), ROW(share_cleanup), ROW(getdate),
#undef ROW
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ag_curl table; /* written under `once`, constant afterwards */
static char why[256];        /* the same; "" where the table is good */
static atomic_bool counted;  /* it is to allocate through us; set before it is loaded, or never */
static atomic_bool loaded;

static void load(void)
{
    void *library;

    atomic_store(&loaded, true);
    library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *told = dlerror();
        (void)snprintf(why, sizeof(why), "%s", told == NULL ? LIBRARY ": cannot be loaded" : told);
        return;
    }
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (symbol == NULL) {
            (void)snprintf(why, sizeof(why), LIBRARY ": has no %s", symbols[i].name);
            (void)dlclose(library);
            return;
        }
        memcpy((char *)&table + symbols[i].at, &symbol, sizeof(symbol)); /* ISO C has no cast for it */
    }
    if ((atomic_load(&counted) ? table.global_init_mem(CURL_GLOBAL_DEFAULT, ag_malloc, ag_free, ag_realloc, ag_strdup,
                                                       ag_calloc)
                               : table.global_init(CURL_GLOBAL_DEFAULT)) != CURLE_OK)
        (void)snprintf(why, sizeof(why), LIBRARY ": curl_global_init failed");
}

agent_status ag_curl_memory(agent_error *err)
{
    if (atomic_load(&loaded))
        return ag_fail(err, AGENT_EBUSY, 0, "memory hooks: libcurl is loaded already");
    atomic_store(&counted, true);
    return AGENT_OK;
}

agent_status ag_curl_load(const struct ag_curl **out, agent_error *err)
{
    (void)pthread_once(&once, load);
    if (why[0] != '\0') {
        (void)ag_fail(err, AGENT_ENETWORK, 0, "load libcurl: %s", why);
        ag_hint(err, "install libcurl 7.80 or newer (Debian, Ubuntu: apt install libcurl4)");
        return AGENT_ENETWORK;
    }
    *out = &table;
    return AGENT_OK;
}
