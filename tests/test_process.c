/* Children: what goes in and comes out, how they end, what is left behind (nothing). */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/io/process.h"

static uv_loop_t loop;
static agent_error err;
static char dir[256];
static int fds_before;

/* A child's end, kept past the callback. */
struct ended {
    int calls;
    struct ag_process_end end;
    ag_buf output, errors;
};

static void on_end(void *ctx, const struct ag_process_end *end)
{
    struct ended *e = ctx;

    e->calls++;
    e->end = *end;
    e->output = AG_BUF_INIT(64u << 20);
    e->errors = AG_BUF_INIT(64u << 20);
    ag_buf_str(&e->output, end->output);
    ag_buf_char(&e->output, '\0');
    ag_buf_str(&e->errors, end->errors);
    ag_buf_char(&e->errors, '\0');
}

static void drop(struct ended *e)
{
    ag_buf_drop(&e->output);
    ag_buf_drop(&e->errors);
}

static int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/agent-process-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    fds_before = open_fds();
}

/* Every test ends with: no descriptor more, no child, and a loop that has nothing left. */
static void tear_down(void)
{
    char command[400];

    ck_assert_int_eq(open_fds(), fds_before);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static const char *const no_env[] = {"PATH=/usr/bin:/bin", NULL};

static struct ag_process_spec shell(const char *const *argv)
{
    return (struct ag_process_spec){
        .argv = argv, .env = no_env, .timeout_ms = 60000, .max_output_bytes = 1 << 20, .max_error_bytes = 4096,
    };
}

#define SHELL(script) ((const char *const[4]){"/bin/sh", "-c", script, NULL})

static struct ended run(const struct ag_process_spec *spec)
{
    struct ended e = {0};
    ag_process *p;

    ck_assert_msg(ag_process_start(&loop, spec, on_end, &e, &p, &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(e.calls, 0); /* never from inside start */
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(e.calls, 1);
    return e;
}

static struct ended run_shell(const char *script)
{
    struct ag_process_spec spec = shell(SHELL(script));
    return run(&spec);
}

START_TEST(output_errors_and_exit_code_come_back)
{
    struct ended e = run_shell("echo out; echo err >&2; exit 7");

    ck_assert_str_eq(e.output.p, "out\n");
    ck_assert_str_eq(e.errors.p, "err\n");
    ck_assert_int_eq(e.end.exit_code, 7);
    ck_assert_int_eq(e.end.signal, 0);
    ck_assert(!e.end.timed_out && !e.end.killed && !e.end.cut);
    ck_assert_int_gt(e.end.wall_us, 0);
    drop(&e);
}
END_TEST

START_TEST(every_exit_code_is_told_as_it_is)
{
    char script[32];
    struct ended e;

    snprintf(script, sizeof(script), "exit %d", _i);
    e = run_shell(script);
    ck_assert_int_eq(e.end.exit_code, _i);
    drop(&e);
}
END_TEST

START_TEST(a_signal_is_told_as_a_signal)
{
    static const int signals[] = {SIGKILL, SIGSEGV, SIGTERM, SIGPIPE};
    char script[32];
    struct ended e;

    snprintf(script, sizeof(script), "kill -%d $$", signals[_i]);
    e = run_shell(script);
    ck_assert_int_eq(e.end.exit_code, -1);
    ck_assert_int_eq(e.end.signal, signals[_i]);
    ck_assert(!e.end.killed);
    drop(&e);
}
END_TEST

/* What we ignore or block must not be the child's: `yes` would run on for ever. */
START_TEST(the_child_begins_with_default_signals)
{
    sigset_t all, before;
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    struct ended e;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    e = run_shell("grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f 2");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, old);
    ck_assert_uint_eq(e.output.n, 35);
    ck_assert_uint_eq(strtoull(e.output.p, NULL, 16), 0);
    ck_assert_uint_eq(strtoull(e.output.p + 17, NULL, 16) & 0x7fffffff, 0); /* 32 and 33 are glibc's own */
    drop(&e);
}
END_TEST

START_TEST(input_larger_than_a_pipe_goes_through_and_comes_back)
{
    size_t n = 3 << 20;
    char *input = malloc(n);
    struct ag_process_spec spec = shell(SHELL("cat"));
    struct ended e;

    for (size_t i = 0; i < n; i++)
        input[i] = (char)('a' + i * 7 % 26);
    spec.input = (struct ag_str){input, n};
    spec.max_output_bytes = n;
    e = run(&spec);
    ck_assert_uint_eq(e.output.n, n + 1);
    ck_assert(memcmp(e.output.p, input, n) == 0);
    ck_assert(!e.end.cut);
    drop(&e);
    free(input);
}
END_TEST

/* A script may open its input by name. */
START_TEST(input_can_be_opened_as_dev_stdin)
{
    struct ag_process_spec spec = shell(SHELL("cat /dev/stdin"));
    struct ended e;

    spec.input = AG_STR("{\"a\":1}");
    e = run(&spec);
    ck_assert_str_eq(e.output.p, "{\"a\":1}");
    drop(&e);
}
END_TEST

START_TEST(without_input_stdin_is_at_its_end)
{
    struct ended e = run_shell("cat; echo done");

    ck_assert_str_eq(e.output.p, "done\n");
    drop(&e);
}
END_TEST

/* With SIGPIPE at its default, one raised in this process would end it. */
START_TEST(a_child_that_never_reads_its_input_is_no_failure)
{
    size_t n = 3 << 20;
    char *input = calloc(1, n);
    struct ag_process_spec spec = shell(SHELL("exec 0<&-; echo deaf; sleep 0.05; exit 3"));
    sigset_t pending;
    struct ended e;

    spec.input = (struct ag_str){input, n};
    e = run(&spec);
    ck_assert_str_eq(e.output.p, "deaf\n");
    ck_assert_int_eq(e.end.exit_code, 3);
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
    drop(&e);
    free(input);
}
END_TEST

START_TEST(output_over_its_cap_is_cut_and_the_child_runs_on)
{
    struct ag_process_spec spec = shell(SHELL("head -c 5000000 /dev/zero | tr '\\0' x; exit 5"));
    struct ended e;

    spec.max_output_bytes = 1000;
    e = run(&spec);
    ck_assert_uint_eq(e.output.n, 1001);
    ck_assert(e.end.cut);
    ck_assert_int_eq(e.end.exit_code, 5);
    drop(&e);
}
END_TEST

START_TEST(output_of_exactly_the_cap_is_not_cut)
{
    struct ag_process_spec spec = shell(SHELL("printf 1234567890"));
    struct ended e;

    spec.max_output_bytes = 10;
    e = run(&spec);
    ck_assert_str_eq(e.output.p, "1234567890");
    ck_assert(!e.end.cut);
    drop(&e);
}
END_TEST

START_TEST(of_stderr_the_last_bytes_are_kept)
{
    struct ag_process_spec spec = shell(SHELL("seq 1 20000 >&2"));
    struct ended e;

    spec.max_error_bytes = 12;
    e = run(&spec);
    ck_assert_str_eq(e.errors.p, "19999\n20000\n");
    drop(&e);
}
END_TEST

START_TEST(the_environment_is_exactly_what_was_given)
{
    static const char *const env[] = {"B=2", "A=one two", "EMPTY=", NULL};
    const char *const argv[] = {"env", NULL};
    struct ag_process_spec spec = shell(argv);
    struct ended e;

    setenv("AGENT_TEST_SECRET", "canary", 1);
    spec.env = env;
    e = run(&spec);
    unsetenv("AGENT_TEST_SECRET");
    ck_assert_str_eq(e.output.p, "B=2\nA=one two\nEMPTY=\n");
    drop(&e);
}
END_TEST

START_TEST(arguments_pass_unchanged)
{
    const char *const argv[] = {"/usr/bin/printf", "<%s>", "a b", "", "$HOME", "*", "\"'\\\n", NULL};
    struct ag_process_spec spec = shell(argv);
    struct ended e = run(&spec);

    ck_assert_str_eq(e.output.p, "<a b><><$HOME><*><\"'\\\n>");
    drop(&e);
}
END_TEST

/* The host may have opened a file without close-on-exec: it is not the tool's. */
START_TEST(the_child_has_three_descriptors_and_no_more)
{
    int leaky = open("/dev/null", O_RDONLY);
    struct ended e;

    ck_assert_int_ge(leaky, 0);
    e = run_shell("ls /proc/$$/fd");
    close(leaky);
    ck_assert_str_eq(e.output.p, "0\n1\n2\n");
    drop(&e);
}
END_TEST

START_TEST(a_missing_program_is_named_with_where_it_was_looked_for)
{
    const char *const argv[] = {"no-such-program-here", NULL};
    struct ag_process_spec spec = shell(argv);
    ag_process *p = NULL;

    spec.path = "/usr/bin:/bin";
    ck_assert_int_eq(ag_process_start(&loop, &spec, on_end, NULL, &p, &err), AGENT_ENOTFOUND);
    ck_assert_str_eq(err.text, "start process: program 'no-such-program-here' not found in /usr/bin:/bin");
    ck_assert_str_ne(err.hint, "");
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(a_missing_path_is_named)
{
    const char *const argv[] = {"/nowhere/program", NULL};
    struct ag_process_spec spec = shell(argv);
    ag_process *p = NULL;

    ck_assert_int_eq(ag_process_start(&loop, &spec, on_end, NULL, &p, &err), AGENT_ENOTFOUND);
    ck_assert_str_eq(err.text, "start process: program '/nowhere/program': no such file");
    ck_assert_ptr_null(p);
}
END_TEST

static void write_script(char *path, size_t room, const char *name, const char *text, int mode)
{
    int fd;

    snprintf(path, room, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

START_TEST(a_file_that_cannot_be_run_says_why_and_what_to_do)
{
    static const struct {
        const char *text;
        int mode;
        agent_status rc;
        const char *in_text, *in_hint;
    } rows[] = {
        {"#!/bin/sh\n", 0600, AGENT_EIO, "Permission denied", "chmod +x"},
        {"echo hello\n", 0700, AGENT_EIO, "Exec format error", "#!/bin/sh"},
        {"#!/nowhere/interpreter\n", 0700, AGENT_ENOTFOUND, "interpreter", "#!"},
    };
    char path[300];
    const char *const argv[] = {path, NULL};
    struct ag_process_spec spec = shell(argv);
    ag_process *p = NULL;

    write_script(path, sizeof(path), "tool", rows[_i].text, rows[_i].mode);
    ck_assert_int_eq(ag_process_start(&loop, &spec, on_end, NULL, &p, &err), rows[_i].rc);
    ck_assert_msg(strstr(err.text, rows[_i].in_text) != NULL && strstr(err.text, path) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.hint, rows[_i].in_hint) != NULL, "%s", err.hint);
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(a_program_is_looked_up_in_the_given_folders_in_order)
{
    const char *const argv[] = {"tool", NULL};
    struct ag_process_spec spec = shell(argv);
    char file[300], path[600];
    struct ended e;

    snprintf(path, sizeof(path), "%s/a", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/b", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    write_script(file, sizeof(file), "a/tool", "not to be run\n", 0600);
    write_script(file, sizeof(file), "b/tool", "#!/bin/sh\necho from b\n", 0700);
    snprintf(path, sizeof(path), "/nowhere::%s/a:%s/b", dir, dir);
    spec.path = path;
    e = run(&spec);
    ck_assert_str_eq(e.output.p, "from b\n");
    drop(&e);
}
END_TEST

/* --- time and death ------------------------------------------------------------------------------- */

/* Whether a process that wrote its number into a file is still there (a zombie is not). */
static bool lives(const char *name)
{
    char path[300], text[64] = "", state = 'X';
    FILE *f;
    int pid;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s was not written", path);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
    fclose(f);
    pid = atoi(text);
    ck_assert_int_gt(pid, 1);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if ((f = fopen(path, "r")) == NULL)
        return false;
    (void)!fscanf(f, "%*d (%*[^)]) %c", &state);
    fclose(f);
    return state != 'Z' && state != 'X';
}

/* A killed process leaves when the kernel gets to it. */
static bool dies(const char *name)
{
    for (int i = 0; i < 2000; i++) {
        if (!lives(name))
            return true;
        usleep(1000);
    }
    return false;
}

START_TEST(a_deadline_ends_three_generations)
{
    char script[1200];
    struct ag_process_spec spec;
    struct ended e;

    snprintf(script, sizeof(script),
             "cd '%s'; echo $$ > 1; sh -c 'echo $$ > 2; sh -c \"echo \\$\\$ > 3; sleep 600; true\"; true'; true", dir);
    spec = shell(SHELL(script));
    spec.timeout_ms = 300;
    e = run(&spec);
    ck_assert(e.end.timed_out);
    ck_assert(!e.end.killed);
    ck_assert_int_eq(e.end.signal, SIGTERM);
    ck_assert(dies("1") && dies("2") && dies("3"));
    drop(&e);
}
END_TEST

START_TEST(who_ignores_the_asking_is_killed_after_the_grace)
{
    char script[600];
    struct ag_process_spec spec;
    struct ended e;

    snprintf(script, sizeof(script), "trap '' TERM; cd '%s'; echo $$ > 1; while :; do sleep 0.05; done", dir);
    spec = shell(SHELL(script));
    spec.timeout_ms = 200;
    spec.grace_ms = 100;
    e = run(&spec);
    ck_assert(e.end.timed_out);
    ck_assert_int_eq(e.end.signal, SIGKILL);
    ck_assert(dies("1"));
    drop(&e);
}
END_TEST

START_TEST(the_grace_lets_a_child_say_its_last_words)
{
    struct ag_process_spec spec = shell(SHELL("trap 'echo bye; exit 9' TERM; while :; do sleep 0.02; done"));
    struct ended e;

    spec.timeout_ms = 200;
    spec.grace_ms = 20000;
    e = run(&spec);
    ck_assert(e.end.timed_out);
    ck_assert_str_eq(e.output.p, "bye\n");
    ck_assert_int_eq(e.end.exit_code, 9);
    drop(&e);
}
END_TEST

/* Ends although nothing closes the pipe; what is in the group dies with its leader. */
START_TEST(a_grandchild_that_keeps_the_pipe_is_not_waited_for)
{
    char script[600];
    struct ended e;

    snprintf(script, sizeof(script), "cd '%s'; (echo $(exec sh -c 'echo $PPID') > 1; exec sleep 600) & "
             "while [ ! -s 1 ]; do sleep 0.01; done; echo leader", dir);
    e = run_shell(script);
    ck_assert_str_eq(e.output.p, "leader\n");
    ck_assert_int_eq(e.end.exit_code, 0);
    ck_assert(!e.end.timed_out);
    ck_assert(dies("1"));
    drop(&e);
}
END_TEST

START_TEST(what_left_the_group_cannot_hold_us_either)
{
    char script[600], path[300], text[32] = "";
    struct ended e;
    FILE *f;

    snprintf(script, sizeof(script), "cd '%s'; setsid sh -c 'echo $$ > 1; exec sleep 600' & "
             "while [ ! -s 1 ]; do sleep 0.01; done; echo leader", dir);
    e = run_shell(script);
    ck_assert_str_eq(e.output.p, "leader\n");
    ck_assert(lives("1")); /* not ours any more */
    snprintf(path, sizeof(path), "%s/1", dir);
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
    fclose(f);
    kill(atoi(text), SIGKILL);
    drop(&e);
}
END_TEST

START_TEST(what_a_grandchild_writes_right_after_the_leader_still_counts)
{
    struct ended e = run_shell("(sleep 0.03; echo late) & echo early");

    ck_assert_str_eq(e.output.p, "early\nlate\n");
    drop(&e);
}
END_TEST

static void kill_it(uv_timer_t *timer)
{
    ag_process_kill(timer->data);
    uv_close((uv_handle_t *)timer, NULL);
}

static void kill_it_twice(uv_timer_t *timer)
{
    ag_process_kill(timer->data);
    kill_it(timer);
}

/* Runs `script`; calls `what` once it has written the file "ready". */
static struct ended run_and(const char *script, uv_timer_cb what)
{
    struct ag_process_spec spec = shell(SHELL(script));
    struct ended e = {0};
    uv_timer_t timer;
    char ready[300];
    ag_process *p;

    spec.grace_ms = 60000;
    snprintf(ready, sizeof(ready), "%s/ready", dir);
    ck_assert_msg(ag_process_start(&loop, &spec, on_end, &e, &p, &err) == AGENT_OK, "%s", err.text);
    while (access(ready, F_OK) != 0)
        usleep(1000);
    uv_timer_init(&loop, &timer);
    timer.data = p;
    uv_timer_start(&timer, what, 0, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(e.calls, 1);
    return e;
}

START_TEST(kill_asks_first)
{
    char script[600];
    struct ended e;

    snprintf(script, sizeof(script), "trap 'echo asked; exit 4' TERM; > '%s/ready'; while :; do sleep 0.02; done", dir);
    e = run_and(script, kill_it);
    ck_assert(e.end.killed && !e.end.timed_out);
    ck_assert_str_eq(e.output.p, "asked\n");
    ck_assert_int_eq(e.end.exit_code, 4);
    drop(&e);
}
END_TEST

START_TEST(kill_twice_does_not_ask)
{
    char script[600];
    struct ended e;

    snprintf(script, sizeof(script), "trap '' TERM; > '%s/ready'; while :; do sleep 0.02; done", dir);
    e = run_and(script, kill_it_twice);
    ck_assert(e.end.killed);
    ck_assert_int_eq(e.end.signal, SIGKILL);
    drop(&e);
}
END_TEST

static void burn(uv_timer_t *timer)
{
    uint64_t until = uv_hrtime() + 400000000u;

    while (uv_hrtime() < until)
        usleep(10000);
    uv_close((uv_handle_t *)timer, NULL);
}

/* A loop that was busy past the deadline must not call a child late that ended long before. */
START_TEST(a_busy_loop_does_not_make_a_child_late)
{
    struct ag_process_spec spec = shell(SHELL("echo quick"));
    struct ended e = {0};
    uv_timer_t timer;
    ag_process *p;

    spec.timeout_ms = 300;
    ck_assert_int_eq(ag_process_start(&loop, &spec, on_end, &e, &p, &err), AGENT_OK);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, burn, 0, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(e.calls, 1);
    ck_assert(!e.end.timed_out);
    ck_assert_int_eq(e.end.exit_code, 0);
    drop(&e);
}
END_TEST

/* --- many, and memory ------------------------------------------------------------------------------ */

START_TEST(fifty_at_once_each_get_their_own)
{
    static struct ended ends[50];
    char scripts[50][64];

    memset(ends, 0, sizeof(ends));
    for (int i = 0; i < 50; i++) {
        const char *const argv[] = {"/bin/sh", "-c", scripts[i], NULL};
        struct ag_process_spec spec = shell(argv);
        ag_process *p;

        snprintf(scripts[i], sizeof(scripts[i]), "read x; echo $x %d; exit %d", i, i);
        spec.input = AG_STR("hello\n");
        ck_assert_msg(ag_process_start(&loop, &spec, on_end, &ends[i], &p, &err) == AGENT_OK, "%s", err.text);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 50; i++) {
        char want[64];

        snprintf(want, sizeof(want), "hello %d\n", i);
        ck_assert_int_eq(ends[i].calls, 1);
        ck_assert_str_eq(ends[i].output.p, want);
        ck_assert_int_eq(ends[i].end.exit_code, i);
        drop(&ends[i]);
    }
}
END_TEST

/* Our own 200 MB must not show up as the child's: what the kernel reports for it begins there. */
START_TEST(the_memory_of_a_child_is_its_own)
{
    size_t n = 200 << 20;
    char *ours = malloc(n);
    struct ended e;

    memset(ours, 1, n);
    __asm__ volatile("" : : "r"(ours) : "memory");
    e = run_shell("sleep 0.1");
    ck_assert_int_gt(e.end.rss_peak_bytes, 0);
    ck_assert_int_lt(e.end.rss_peak_bytes, 50 << 20);
    free(ours);
    drop(&e);
}
END_TEST

START_TEST(the_memory_of_a_tree_is_summed)
{
    /* dd holds a buffer of 64 MB while it waits for its reader */
    struct ended e = run_shell("(dd if=/dev/zero bs=64M count=1 2>/dev/null | (sleep 0.5; cat)) > /dev/null");

    ck_assert_int_gt(e.end.rss_peak_bytes, 64 << 20);
    ck_assert_int_lt(e.end.rss_peak_bytes, 200 << 20);
    drop(&e);
}
END_TEST

START_TEST(without_memory_nothing_is_started)
{
    struct ag_process_spec spec = shell(SHELL("exit 0"));
    ag_process *p = NULL;

    (void)ag_mem_fail_at(1);
    ck_assert_int_eq(ag_process_start(&loop, &spec, on_end, NULL, &p, &err), AGENT_ENOMEM);
    (void)ag_mem_fail_at(0);
    ck_assert_ptr_null(p);
}
END_TEST

Suite *process_suite(void);
Suite *process_suite(void)
{
    Suite *suite = suite_create("process");
    TCase *streams = tcase_create("streams");
    TCase *program = tcase_create("program");
    TCase *death = tcase_create("death");
    TCase *many = tcase_create("many");

    tcase_add_checked_fixture(streams, set_up, tear_down);
    tcase_set_timeout(streams, 60);
    tcase_add_test(streams, output_errors_and_exit_code_come_back);
    tcase_add_loop_test(streams, every_exit_code_is_told_as_it_is, 0, 3);
    tcase_add_loop_test(streams, every_exit_code_is_told_as_it_is, 255, 256);
    tcase_add_loop_test(streams, a_signal_is_told_as_a_signal, 0, 4);
    tcase_add_test(streams, the_child_begins_with_default_signals);
    tcase_add_test(streams, input_larger_than_a_pipe_goes_through_and_comes_back);
    tcase_add_test(streams, input_can_be_opened_as_dev_stdin);
    tcase_add_test(streams, without_input_stdin_is_at_its_end);
    tcase_add_test(streams, a_child_that_never_reads_its_input_is_no_failure);
    tcase_add_test(streams, output_over_its_cap_is_cut_and_the_child_runs_on);
    tcase_add_test(streams, output_of_exactly_the_cap_is_not_cut);
    tcase_add_test(streams, of_stderr_the_last_bytes_are_kept);
    suite_add_tcase(suite, streams);

    tcase_add_checked_fixture(program, set_up, tear_down);
    tcase_set_timeout(program, 60);
    tcase_add_test(program, the_environment_is_exactly_what_was_given);
    tcase_add_test(program, arguments_pass_unchanged);
    tcase_add_test(program, the_child_has_three_descriptors_and_no_more);
    tcase_add_test(program, a_missing_program_is_named_with_where_it_was_looked_for);
    tcase_add_test(program, a_missing_path_is_named);
    tcase_add_loop_test(program, a_file_that_cannot_be_run_says_why_and_what_to_do, 0, 3);
    tcase_add_test(program, a_program_is_looked_up_in_the_given_folders_in_order);
    suite_add_tcase(suite, program);

    tcase_add_checked_fixture(death, set_up, tear_down);
    tcase_set_timeout(death, 60);
    tcase_add_test(death, a_deadline_ends_three_generations);
    tcase_add_test(death, who_ignores_the_asking_is_killed_after_the_grace);
    tcase_add_test(death, the_grace_lets_a_child_say_its_last_words);
    tcase_add_test(death, a_grandchild_that_keeps_the_pipe_is_not_waited_for);
    tcase_add_test(death, what_left_the_group_cannot_hold_us_either);
    tcase_add_test(death, what_a_grandchild_writes_right_after_the_leader_still_counts);
    tcase_add_test(death, kill_asks_first);
    tcase_add_test(death, kill_twice_does_not_ask);
    tcase_add_test(death, a_busy_loop_does_not_make_a_child_late);
    suite_add_tcase(suite, death);

    tcase_add_checked_fixture(many, set_up, tear_down);
    tcase_set_timeout(many, 60);
    tcase_add_test(many, fifty_at_once_each_get_their_own);
    tcase_add_test(many, the_memory_of_a_child_is_its_own);
    tcase_add_test(many, the_memory_of_a_tree_is_summed);
    tcase_add_test(many, without_memory_nothing_is_started);
    suite_add_tcase(suite, many);
    return suite;
}
