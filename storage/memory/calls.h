/* The calls that an assistant message asks for: a JSON array of {id, name, arguments}, as providers write it. */
#ifndef AG_STORAGE_MEMORY_CALLS_H
#define AG_STORAGE_MEMORY_CALLS_H

#include "engine/base/buf.h"

struct ag_ram_asked {
    ag_buf id, name, arguments; /* decoded; empty where absent */
};

#define AG_RAM_ASKED_INIT ((struct ag_ram_asked){AG_BUF_INIT(1 << 24), AG_BUF_INIT(1 << 24), AG_BUF_INIT(1 << 24)})

/* Takes the next call off the array; false at its end, or where it is no such array. Begin with all of it. */
bool ag_ram_asked_next(struct ag_str *json, struct ag_ram_asked *out);
void ag_ram_asked_drop(struct ag_ram_asked *asked);

#endif
