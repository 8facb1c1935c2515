/*
 * The entries of the table, each defined in the cmd_*.c of its family.
 */
#ifndef AG_CLI_COMMANDS_H
#define AG_CLI_COMMANDS_H

#include "cli/cmd.h"

extern const struct command cmd_create, cmd_run, cmd_list, cmd_show, cmd_edit, cmd_rm, cmd_logs, cmd_cancel;
extern const struct command cmd_resume, cmd_approve, cmd_deny, cmd_work, cmd_wait, cmd_tail;
extern const struct command cmd_tool_add, cmd_tool_ls, cmd_tool_show, cmd_tool_test, cmd_tool_rm;
extern const struct command cmd_memory_ls, cmd_memory_set, cmd_memory_search, cmd_memory_rm;
extern const struct command cmd_cache_stats, cmd_cache_ls, cmd_cache_show, cmd_cache_rm, cmd_cache_clear, cmd_cache_resize;
extern const struct command cmd_cache_trace;
extern const struct command cmd_session_ls, cmd_session_show, cmd_session_rm;
extern const struct command cmd_db_path, cmd_db_check, cmd_db_backup, cmd_db_migrate, cmd_sql, cmd_doctor;
extern const struct command cmd_stats, cmd_top, cmd_bench_cache;
extern const struct command cmd_limits, cmd_limits_show, cmd_limits_set, cmd_limits_reset;
extern const struct command cmd_help, cmd_version, cmd_completion;

#endif
