#include "engine/probe.h"

#include <fcntl.h>
#include <unistd.h>

#define SHARE_NS 100000

void ag_probe_open(ag_probe *p, int enabled)
{
    p->fd = enabled ? open("/proc/self/statm", O_RDONLY | O_CLOEXEC) : -1;
    p->page_bytes = sysconf(_SC_PAGESIZE);
    atomic_init(&p->at_ns, 0);
    atomic_init(&p->rss_bytes, -1);
}

void ag_probe_close(ag_probe *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
}

int64_t ag_probe_rss(ag_probe *p, int64_t now_ns)
{
    char text[96];
    int64_t pages = 0;
    const char *at = text;
    ssize_t n;

    if (p->fd < 0)
        return -1;
    if (now_ns - atomic_load_explicit(&p->at_ns, memory_order_acquire) < SHARE_NS)
        return atomic_load_explicit(&p->rss_bytes, memory_order_relaxed);
    n = pread(p->fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    while (*at != '\0' && *at != ' ') /* the first number is the virtual size */
        at++;
    while (*at == ' ')
        at++;
    while (*at >= '0' && *at <= '9')
        pages = pages * 10 + (*at++ - '0');
    /* Two stores, no lock: a reader between them gets the new size with the old time and reads
     * again, or an older size that is still a true reading of this process. */
    atomic_store_explicit(&p->rss_bytes, pages * p->page_bytes, memory_order_relaxed);
    atomic_store_explicit(&p->at_ns, now_ns, memory_order_release);
    return pages * p->page_bytes;
}
