/*
 * The table of commands, in the order in which they are told. (cmd.h (1))
 */
#include "cli/commands.h"

const struct command *const cli_commands[] = {
    &cmd_create, &cmd_run, &cmd_list, &cmd_show, &cmd_edit, &cmd_rm, &cmd_logs, &cmd_cancel,
    &cmd_resume, &cmd_approve, &cmd_deny, &cmd_work, &cmd_wait, &cmd_tail,
    &cmd_tool_add, &cmd_tool_ls, &cmd_tool_show, &cmd_tool_test, &cmd_tool_rm,
    &cmd_memory_ls, &cmd_memory_set, &cmd_memory_search, &cmd_memory_rm,
    &cmd_session_ls, &cmd_session_show, &cmd_session_rm,
    &cmd_cache_stats, &cmd_cache_ls, &cmd_cache_show, &cmd_cache_rm, &cmd_cache_clear, &cmd_cache_resize,
    &cmd_cache_trace,
    &cmd_stats, &cmd_top, &cmd_bench_cache,
    &cmd_db_path, &cmd_db_check, &cmd_db_backup, &cmd_db_migrate, &cmd_sql, &cmd_doctor,
    &cmd_limits, &cmd_limits_show, &cmd_limits_set, &cmd_limits_reset,
    &cmd_help, &cmd_version, &cmd_completion,
    NULL,
};
