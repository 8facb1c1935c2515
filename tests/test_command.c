/* Command tools, with real children. Numbers in brackets: invariants of engine/tool/command.c. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tool/tool.h"

Suite *command_suite(void);

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

static const char *const plain_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C", NULL};

static uv_loop_t loop;
static agent_error err;

/* The end as it was told; `told` counts how often. */
static struct {
    int told;
    enum ag_tool_outcome outcome;
    char *text;
    size_t bytes;
    int64_t wall_us;
} result;
static char all_told[4096]; /* the texts of all ends, one behind the other */

static void begin(void)
{
    memset(&result, 0, sizeof(result));
    memset(&err, 0, sizeof(err));
    all_told[0] = '\0';
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static void end(void)
{
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* no handle of a child is left */
    free(result.text);
}

static void on_end(void *ctx, const struct ag_tool_end *told)
{
    ck_assert_ptr_eq(ctx, &result);
    result.told++;
    result.outcome = told->outcome;
    free(result.text);
    result.text = malloc(told->text.n + 1);
    ck_assert_ptr_nonnull(result.text);
    memcpy(result.text, told->text.p, told->text.n);
    result.text[told->text.n] = '\0';
    result.bytes = told->text.n;
    result.wall_us = told->wall_us;
    if (strlen(all_told) + result.bytes < sizeof(all_told))
        (void)strcat(all_told, result.text);
    ck_assert_msg(ag_utf8_valid(told->text, NULL), "not UTF-8");
}

static struct ag_command shell(const char *script)
{
    static const char *argv[4] = {"sh", "-c", NULL, NULL};

    argv[2] = script;
    return (struct ag_command){
        .name = "t", .argv = argv, .timeout_ms = 60000, .env = plain_env, .arguments = AG_STR("{\"n\":1}"),
        .effect_id = "eff-7", .call_id = "call_9", .run_id = 12,
    };
}

static ag_command_call *start(const struct ag_command *c)
{
    ag_command_call *call = NULL;

    ck_assert_msg(ag_command_start(&loop, c, on_end, &result, &call, &err) == AGENT_OK, "%s", err.text);
    ck_assert_ptr_nonnull(call);
    return call;
}

static void run(const struct ag_command *c)
{
    (void)start(c);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(result.told, 1); /* (3) */
}

static void run_shell(const char *script)
{
    struct ag_command c = shell(script);

    run(&c);
}

/* --- in and out ------------------------------------------------------------------------------ */

START_TEST(the_arguments_come_in_on_stdin_and_stdout_is_the_result)
{
    run_shell("cat; echo; echo noise >&2");
    ck_assert_int_eq(result.outcome, AG_TOOL_OK);
    ck_assert_str_eq(result.text, "{\"n\":1}\n");
    ck_assert_int_ge(result.wall_us, 0);
}
END_TEST

START_TEST(large_arguments_arrive_whole)
{
    struct ag_command c = shell("wc -c | tr -d ' \\n'");
    char *megabyte = malloc(1000000);

    ck_assert_ptr_nonnull(megabyte);
    memset(megabyte, 'x', 1000000);
    c.arguments = (struct ag_str){megabyte, 1000000};
    run(&c);
    ck_assert_str_eq(result.text, "1000000");
    free(megabyte);
}
END_TEST

START_TEST(a_tool_that_does_not_read_its_arguments_is_no_failure)
{
    struct ag_command c = shell("echo done");
    char *megabyte = malloc(1000000);

    ck_assert_ptr_nonnull(megabyte);
    memset(megabyte, 'x', 1000000);
    c.arguments = (struct ag_str){megabyte, 1000000};
    run(&c);
    ck_assert_int_eq(result.outcome, AG_TOOL_OK);
    ck_assert_str_eq(result.text, "done\n");
    free(megabyte);
}
END_TEST

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* (1) */
START_TEST(the_environment_is_the_hosts_and_our_three_names_and_nothing_else)
{
    static const char *const argv[] = {"env", NULL};
    static const char *const env[] = {
        "PATH=/usr/bin:/bin", "HOME=/nowhere", "AGENT_RUN_ID=99", "AGENT_RUN_ID_OTHER=kept", "AGENT_EFFECT_ID=old", NULL,
    };
    static const char *const expected[] = {
        "AGENT_CALL_ID=call_9", "AGENT_EFFECT_ID=eff-7", "AGENT_RUN_ID=12", "AGENT_RUN_ID_OTHER=kept", "HOME=/nowhere",
        "PATH=/usr/bin:/bin",
    };
    struct ag_command c = shell("");
    char *lines[32], *save = NULL;
    int n = 0;

    ck_assert_int_eq(setenv("SECRET_KEY", "sk-123", 1), 0);
    c.argv = argv;
    c.env = env;
    run(&c);
    ck_assert_int_eq(result.outcome, AG_TOOL_OK);
    for (char *line = strtok_r(result.text, "\n", &save); line != NULL && n < 32; line = strtok_r(NULL, "\n", &save))
        lines[n++] = line;
    qsort(lines, (size_t)n, sizeof(lines[0]), by_text);
    ck_assert_int_eq(n, COUNT(expected));
    for (int i = 0; i < n; i++)
        ck_assert_str_eq(lines[i], expected[i]);
    ck_assert_int_eq(unsetenv("SECRET_KEY"), 0);
}
END_TEST

START_TEST(ids_that_are_not_given_are_empty)
{
    struct ag_command c = shell("echo \"[$AGENT_EFFECT_ID][$AGENT_CALL_ID][$AGENT_RUN_ID]\"");

    c.effect_id = NULL;
    c.call_id = NULL;
    c.run_id = 0;
    run(&c);
    ck_assert_str_eq(result.text, "[][][0]\n");
}
END_TEST

/* --- failures -------------------------------------------------------------------------------- */

static const struct {
    const char *script, *text;
} failures[] = {
    {"exit 3", "tool failed: exit code 3"},
    {"echo out; echo oops >&2; exit 3", "tool failed: exit code 3\nstderr: oops\nstdout: out"},
    {"printf 'a\\nb\\r\\n\\n' >&2; exit 1", "tool failed: exit code 1\nstderr: a\nb"},
    {"echo only; exit 255", "tool failed: exit code 255\nstdout: only"},
    {"kill -9 $$", "tool failed: ended by signal 9 (SIGKILL)"},
    {"echo half; kill -TERM $$", "tool failed: ended by signal 15 (SIGTERM)\nstdout: half"},
    {"printf 'e\\377' >&2; printf 'o\\0' ; exit 2",
     "tool failed: exit code 2\nstderr: e\xef\xbf\xbd\nstdout: o\xef\xbf\xbd"},
};

START_TEST(a_failure_tells_how_it_ended_and_what_was_said)
{
    run_shell(failures[_i].script);
    ck_assert_int_eq(result.outcome, AG_TOOL_FAILED);
    ck_assert_str_eq(result.text, failures[_i].text);
}
END_TEST

START_TEST(of_a_long_stderr_the_end_is_told)
{
    run_shell("i=0; while [ $i -lt 3000 ]; do echo \"line $i\"; i=$((i+1)); done >&2; exit 1");
    ck_assert_int_eq(result.outcome, AG_TOOL_FAILED);
    ck_assert_uint_le(result.bytes, AG_TOOL_ERRORS_BYTES + 64);
    ck_assert_ptr_nonnull(strstr(result.text, "line 2999"));
    ck_assert_ptr_null(strstr(result.text, "line 0\n"));
}
END_TEST

START_TEST(the_end_of_stderr_does_not_begin_within_a_character)
{
    run_shell("i=0; while [ $i -lt 2000 ]; do printf '\\342\\202\\254'; i=$((i+1)); done >&2; printf x >&2; exit 1");
    ck_assert_ptr_eq(strstr(result.text, "tool failed: exit code 1\nstderr: \xe2\x82\xac"), result.text);
    ck_assert_ptr_null(strstr(result.text, "\xef\xbf\xbd"));
}
END_TEST

START_TEST(a_program_that_is_not_there_fails_to_start_and_is_named)
{
    static const char *const argv[] = {"no-such-program-here", NULL};
    struct ag_command c = shell("");
    ag_command_call *call = NULL;

    c.argv = argv;
    ck_assert_int_eq(ag_command_start(&loop, &c, on_end, &result, &call, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_eq(strstr(err.text, "tool 't': "), err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "no-such-program-here"));
    ck_assert_ptr_nonnull(strstr(err.text, "/usr/local/bin:/usr/bin:/bin")); /* where it was looked for */
    ck_assert_ptr_null(call);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(result.told, 0);
}
END_TEST

START_TEST(the_program_is_looked_up_in_the_path_of_its_own_environment)
{
    static const char *const argv[] = {"sh", "-c", "echo found", NULL};
    static const char *const env[] = {"PATH=/nowhere", NULL};
    struct ag_command c = shell("");
    ag_command_call *call = NULL;

    c.argv = argv;
    c.env = env;
    ck_assert_int_eq(ag_command_start(&loop, &c, on_end, &result, &call, &err), AGENT_ENOTFOUND);
    c.env = NULL; /* no environment: the folders of every system */
    run(&c);
    ck_assert_str_eq(result.text, "found\n");
}
END_TEST

START_TEST(a_command_without_words_is_refused)
{
    static const char *const none[] = {NULL};
    struct ag_command c = shell("");
    ag_command_call *call = NULL;

    c.argv = none;
    ck_assert_int_eq(ag_command_start(&loop, &c, on_end, &result, &call, &err), AGENT_EINVAL);
    c.argv = NULL;
    ck_assert_int_eq(ag_command_start(&loop, &c, on_end, &result, &call, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "tool 't': no command");
}
END_TEST

/* --- time ------------------------------------------------------------------------------------ */

/* A zombie is as dead as it gets where nobody reaps orphans. */
static bool is_gone(long pid)
{
    char path[64], line[256], *state;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    if ((f = fopen(path, "r")) == NULL)
        return true;
    state = fgets(line, sizeof(line), f) == NULL ? NULL : strrchr(line, ')');
    (void)fclose(f);
    return state == NULL || state[2] == 'Z' || state[2] == 'X';
}

static void wait_until_gone(long pid)
{
    ck_assert_int_gt(pid, 1);
    while (!is_gone(pid)) /* for ever where it lives on: then the suite's limit strikes */
        (void)usleep(1000);
}

START_TEST(a_timeout_stops_the_tool_and_its_children)
{
    struct ag_command c = shell("sleep 1000 & echo $!; wait");

    c.timeout_ms = 300;
    run(&c);
    ck_assert_int_eq(result.outcome, AG_TOOL_TIMEOUT);
    ck_assert_ptr_eq(strstr(result.text, "tool timed out after 300 ms and was stopped\nstdout: "), result.text);
    wait_until_gone(strtol(strrchr(result.text, ' '), NULL, 10));
}
END_TEST

START_TEST(a_timeout_also_ends_a_tool_that_ignores_the_first_signal)
{
    struct ag_command c = shell("trap '' TERM; echo $$; while :; do sleep 1; done");

    c.timeout_ms = 100;
    run(&c);
    ck_assert_int_eq(result.outcome, AG_TOOL_TIMEOUT);
    wait_until_gone(strtol(strrchr(result.text, ' '), NULL, 10));
}
END_TEST

static void cancel_it(uv_timer_t *timer)
{
    ag_command_cancel(timer->data);
    uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(a_cancelled_tool_is_stopped_and_its_end_is_still_told)
{
    struct ag_command c = shell("sleep 1000 & echo $!; wait");
    uv_timer_t timer;

    timer.data = start(&c);
    ck_assert_int_eq(uv_timer_init(&loop, &timer), 0);
    ck_assert_int_eq(uv_timer_start(&timer, cancel_it, 200, 0), 0);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(result.told, 1);
    ck_assert_int_eq(result.outcome, AG_TOOL_CANCELLED);
    ck_assert_ptr_eq(strstr(result.text, "tool was cancelled and stopped"), result.text);
    if (strrchr(result.text, ':') != NULL) /* it may not have come to say its number */
        wait_until_gone(strtol(strrchr(result.text, ' '), NULL, 10));
}
END_TEST

/* Each end of a FIFO waits for the other: one tool after the other would hang. */
START_TEST(several_tools_run_side_by_side_on_one_loop)
{
    const char *tmp = getenv("TMPDIR");
    char folder[256], fifo[300], writes[400], reads[400];
    struct ag_command writer, reader;

    (void)snprintf(folder, sizeof(folder), "%s/agent-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    (void)snprintf(writes, sizeof(writes), "cat >'%s'", fifo);
    (void)snprintf(reads, sizeof(reads), "cat '%s'; cat >/dev/null", fifo);
    writer = shell(writes);
    (void)start(&writer);
    reader = shell(reads);
    (void)start(&reader);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    (void)unlink(fifo);
    (void)rmdir(folder);
    ck_assert_int_eq(result.told, 2);
    ck_assert_int_eq(result.outcome, AG_TOOL_OK);
    ck_assert_str_eq(all_told, "{\"n\":1}");
}
END_TEST

/* --- what the model reads -------------------------------------------------------------------- */

static const struct {
    const char *script;
    size_t cap;
    const char *text;
} outputs[] = {
    {"printf 12345", 5, "12345"},
    {"printf 123456", 5, "12345\n[cut: output was over 5 bytes]"},
    {"printf 'ab\\303\\244'", 3, "ab\n[cut: output was over 3 bytes]"},          /* ä, torn by the cap */
    {"printf 'ab\\303\\244'", 4, "ab\xc3\xa4"},
    {"printf '\\360\\237\\230\\200x'", 3, "\n[cut: output was over 3 bytes]"},      /* 😀, torn */
    {"printf 'a\\377b'", 100, "a\xef\xbf\xbd" "b"},
    {"printf 'a\\303'", 100, "a\xef\xbf\xbd"},                                     /* torn by the tool itself */
    {"printf 'a\\000b'", 100, "a\xef\xbf\xbd" "b"},
    {"printf '\\355\\240\\200'", 100, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},     /* a surrogate */
    {"printf '\\377\\377\\377\\377'", 8, "\xef\xbf\xbd\xef\xbf\xbd\n[cut: output was over 8 bytes]"}, /* (2) */
    {"printf 'a\\377'", 3, "a\n[cut: output was over 3 bytes]"},
    {"true", 100, ""},
    {"yes | head -c 1000000", 10, "y\ny\ny\ny\ny\n\n[cut: output was over 10 bytes]"},
    {"printf 123456; exit 1", 5, "tool failed: exit code 1\nstdout: 12345\n[cut: output was over 5 bytes]"},
};

START_TEST(output_is_valid_utf8_and_cut_at_the_cap_with_a_mark)
{
    struct ag_command c = shell(outputs[_i].script);

    c.max_output_bytes = outputs[_i].cap;
    run(&c);
    ck_assert_uint_eq(result.bytes, strlen(outputs[_i].text));
    ck_assert_str_eq(result.text, outputs[_i].text);
}
END_TEST

START_TEST(without_a_cap_of_its_own_a_tool_has_the_default)
{
    struct ag_command c = shell("yes | head -c 300000");

    run(&c);
    ck_assert_uint_eq(result.bytes, AG_TOOL_OUTPUT_BYTES + strlen("\n[cut: output was over 262144 bytes]"));
}
END_TEST

/* Whatever allocation fails: the start fails cleanly, or the end is told once, as it was. */
START_TEST(out_of_memory_is_told_and_never_turns_a_success_into_silence)
{
    struct ag_command c = shell("echo hi");

    for (unsigned long n = 1;; n++) {
        ag_command_call *call = NULL;
        agent_status rc;

        result.told = 0;
        (void)ag_mem_fail_at(0);
        (void)ag_mem_fail_at(n);
        rc = ag_command_start(&loop, &c, on_end, &result, &call, &err);
        ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
        ck_assert_int_eq(result.told, rc == AGENT_OK ? 1 : 0);
        if (rc == AGENT_OK)
            ck_assert_int_eq(result.outcome, AG_TOOL_OK);
        else
            ck_assert_int_eq(rc, AGENT_ENOMEM);
        if (ag_mem_fail_at(0) < n) { /* it needed fewer: none has failed */
            ck_assert_uint_gt(n, 2);
            ck_assert_str_eq(result.text, "hi\n");
            return;
        }
    }
}
END_TEST

/* --- argv ------------------------------------------------------------------------------------ */

START_TEST(argv_is_a_json_list_of_words)
{
    const char *const *argv = NULL;
    ag_arena a = AG_ARENA_INIT;

    ck_assert_int_eq(ag_argv_parse(AG_STR("[\"grep\",\"-c\",\"\",\"\\u00e4 b\"]"), &a, &argv, &err), AGENT_OK);
    ck_assert_str_eq(argv[0], "grep");
    ck_assert_str_eq(argv[1], "-c");
    ck_assert_str_eq(argv[2], "");
    ck_assert_str_eq(argv[3], "\xc3\xa4 b");
    ck_assert_ptr_null(argv[4]);
    ag_arena_drop(&a);
}
END_TEST

static const struct {
    const char *json, *text;
} no_argv[] = {
    {"[]", "argv: must be a list of 1 to 1024 strings"},
    {"\"sh\"", "argv: must be a list of 1 to 1024 strings"},
    {"{}", "argv: must be a list of 1 to 1024 strings"},
    {"[\"\"]", "argv: word 0 must be a non-empty string"},
    {"[\"a\",5]", "argv: word 1 must be a string"},
    {"[\"a\"", "argv: not JSON: line 1 column 4: ']' expected near end of file"},
    {"[\"a\\u0000b\"]", "argv: not JSON: line 1 column 11: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b\"'"},
};

START_TEST(argv_of_any_other_form_is_refused)
{
    const char *const *argv = NULL;
    ag_arena a = AG_ARENA_INIT;

    ck_assert_int_eq(ag_argv_parse(ag_str_of(no_argv[_i].json), &a, &argv, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, no_argv[_i].text);
    ck_assert_ptr_null(argv);
    ag_arena_drop(&a);
}
END_TEST

Suite *command_suite(void)
{
    Suite *suite = suite_create("command");
    TCase *io = tcase_create("in and out"), *failing = tcase_create("failures"), *time = tcase_create("time");
    TCase *text = tcase_create("text"), *words = tcase_create("argv");
    TCase *all[] = {io, failing, time, text};

    for (int i = 0; i < COUNT(all); i++) {
        tcase_add_checked_fixture(all[i], begin, end);
        tcase_set_timeout(all[i], 60);
        suite_add_tcase(suite, all[i]);
    }
    suite_add_tcase(suite, words);
    tcase_add_test(io, the_arguments_come_in_on_stdin_and_stdout_is_the_result);
    tcase_add_test(io, large_arguments_arrive_whole);
    tcase_add_test(io, a_tool_that_does_not_read_its_arguments_is_no_failure);
    tcase_add_test(io, the_environment_is_the_hosts_and_our_three_names_and_nothing_else);
    tcase_add_test(io, ids_that_are_not_given_are_empty);

    tcase_add_loop_test(failing, a_failure_tells_how_it_ended_and_what_was_said, 0, COUNT(failures));
    tcase_add_test(failing, of_a_long_stderr_the_end_is_told);
    tcase_add_test(failing, the_end_of_stderr_does_not_begin_within_a_character);
    tcase_add_test(failing, a_program_that_is_not_there_fails_to_start_and_is_named);
    tcase_add_test(failing, the_program_is_looked_up_in_the_path_of_its_own_environment);
    tcase_add_test(failing, a_command_without_words_is_refused);

    tcase_add_test(time, a_timeout_stops_the_tool_and_its_children);
    tcase_add_test(time, a_timeout_also_ends_a_tool_that_ignores_the_first_signal);
    tcase_add_test(time, a_cancelled_tool_is_stopped_and_its_end_is_still_told);
    tcase_add_test(time, several_tools_run_side_by_side_on_one_loop);

    tcase_add_loop_test(text, output_is_valid_utf8_and_cut_at_the_cap_with_a_mark, 0, COUNT(outputs));
    tcase_add_test(text, without_a_cap_of_its_own_a_tool_has_the_default);
    tcase_add_test(text, out_of_memory_is_told_and_never_turns_a_success_into_silence);

    tcase_add_loop_test(words, argv_of_any_other_form_is_refused, 0, COUNT(no_argv));
    tcase_add_test(words, argv_is_a_json_list_of_words);
    return suite;
}
