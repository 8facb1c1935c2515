/*
 * libagent: run LLM agents whose whole state lives in one SQLite file.
 *
 * The way through this API:
 *
 *     agent_open ──► agent_create ──► agent_run_start ──► agent_run_wait ──► agent_run_free
 *                                          │ events                             agent_close
 *                                          └─► on_event(): text as it comes, tools, the end
 *
 * What every function keeps to:
 *  - It returns an agent_status; `err` is last, may be NULL and is written on failure only;
 *    `out_` parameters are untouched on failure.
 *  - Borrowed = valid for the call. Copied = you may free it afterwards. Given = yours, free it
 *    with the named function. Free and close functions accept NULL.
 *  - Strings are UTF-8. Times are unix milliseconds (_at_ms) or milliseconds (_ms).
 *  - The library never prints, exits, reads the environment, touches signals or changes
 *    process-wide settings. Two engines in one process know nothing of each other.
 *  - An engine opened with workers > 0 may be used from any thread. One opened with workers = 0
 *    does all its work inside calls made by one thread, the one that opened it; only
 *    agent_run_cancel() may be called from elsewhere.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <agent/cache.h>
#include <agent/engine.h>
#include <agent/error.h>
#include <agent/provider.h>
#include <agent/replay.h>
#include <agent/row.h>
#include <agent/run.h>
#include <agent/tool.h>

#define AGENT_VERSION_MAJOR 0
#define AGENT_VERSION_MINOR 1
#define AGENT_VERSION_PATCH 0
#define AGENT_VERSION "0.1.0"

AGENT_BEGIN_DECLS
/** The version of the library that is loaded, "MAJOR.MINOR.PATCH". Thread-safe. */
AGENT_API const char *agent_version(void);
AGENT_END_DECLS

#endif
