/*
 * agentctl: the command line of libagent. One command a process; no thread, no locale, no state.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/drive.h"

/* A database must never get descriptor 1 or 2: what is printed would be written into it. A closed
 * one is filled with something that refuses what it is used for, so that the loss is told. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
}

/* Whoever reads --jsonl of a run waits for its last line, also where the command line is wrong:
 * so this is asked before the command line is understood. */
static bool owes_run_end(const struct cli *cli, int argc, char **argv)
{
    bool wants = false;

    if (cli->command == NULL || (cli->command->flags & COMMAND_RUNS) == 0)
        return false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        wants |= strcmp(argv[i], "--jsonl") == 0 || strcmp(argv[i], "--json") == 0;
    return wants;
}

static int finish(struct cli *cli, int rc)
{
    out_flush(&cli->out);
    if (cli->out.error != 0) {
        agent_error err;

        cli_err(&err, AGENT_EIO, cli->out.error, "write to standard output: %s", strerror(cli->out.error));
        (void)cli_fail(cli, &err);
        rc = rc == EXIT_OK ? EXIT_RUN_FAILED : rc;
    }
    out_drop(&cli->out);
    return rc;
}

int main(int argc, char **argv)
{
    struct cli cli = {.log_level = -1};
    struct args args = {0};
    int rc;

    fill_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN); /* a write answers EPIPE instead; see out.h (2) */
    out_init(&cli.out, STDOUT_FILENO);
    rc = args_parse(&cli, argc, argv, &args);
    cli.owes_run_end = owes_run_end(&cli, argc, argv);
    if (rc == EXIT_OK && args.command != NULL) {
        rc = args.command->run(&cli, &args);
        rc = cli_trace_end(&cli) != EXIT_OK && rc == EXIT_OK ? EXIT_RUN_FAILED : rc;
    }
    if (cli.owes_run_end && rc != EXIT_OK)
        drive_write_failure(&cli, rc, args.count > 0 && strcmp(cli.command->name, "run") == 0 ? args.at[0] : NULL);
    args_drop(&args);
    cli_close(&cli);
    return finish(&cli, rc);
}
