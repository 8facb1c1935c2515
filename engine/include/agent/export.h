#ifndef AGENT_EXPORT_H
#define AGENT_EXPORT_H

#if defined(__GNUC__) || defined(__clang__)
#define AGENT_API __attribute__((visibility("default")))
#define AGENT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define AGENT_API
#define AGENT_PRINTF(fmt, first)
#endif

#ifdef __cplusplus
#define AGENT_BEGIN_DECLS extern "C" {
#define AGENT_END_DECLS }
#else
#define AGENT_BEGIN_DECLS
#define AGENT_END_DECLS
#endif

#endif
