/*
 * libcurl, loaded when it is first needed. Half of its cost is the libraries behind it (TLS, HTTP/2,
 * Kerberos, LDAP …): a process that never talks to the network does not map them.
 */
#ifndef AG_IO_CURL_API_H
#define AG_IO_CURL_API_H

#define CURL_DISABLE_TYPECHECK /* its macros want the functions' own names */
#include <curl/curl.h>

#include "engine/base/err.h"

struct ag_curl {
    CURLcode (*global_init)(long flags);
    CURLcode (*global_init_mem)(long flags, curl_malloc_callback m, curl_free_callback f, curl_realloc_callback r,
                                curl_strdup_callback s, curl_calloc_callback c);
    curl_version_info_data *(*version_info)(CURLversion version);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *easy);
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_pause)(CURL *easy, int bits);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_socket_action)(CURLM *multi, curl_socket_t fd, int events, int *running);
    CURLMcode (*multi_assign)(CURLM *multi, curl_socket_t fd, void *p);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    const char *(*multi_strerror)(CURLMcode code);
    CURLSH *(*share_init)(void);
    CURLSHcode (*share_setopt)(CURLSH *share, CURLSHoption option, ...);
    CURLSHcode (*share_cleanup)(CURLSH *share);
    time_t (*getdate)(const char *text, const time_t *unused);
};

/* The table, loaded and initialised at the first call in the process. Thread-safe. AGENT_ENETWORK
 * (with the package's name as hint) where there is no libcurl; asked again, the same answer. */
agent_status ag_curl_load(const struct ag_curl **out, agent_error *err);

/* From then on libcurl allocates through engine/base/mem.h, in the whole process. AGENT_EBUSY: it is
 * loaded already. */
agent_status ag_curl_memory(agent_error *err);

#endif
