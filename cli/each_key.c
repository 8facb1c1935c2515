/*
 * The identity of a batch, and the generations that --restart makes of it.
 *
 *     agent, SHA-256 of the input, real path of --out ──► 16 digits ──► batch:<16>:000001:<line>
 *
 *   (1) Which generation is the newest stands in the runs themselves. --restart takes the next one
 *       and leaves --out as it is until the first new result is there to be written: cut off before
 *       that, the file holds results of an older generation than the runs', which is how it is seen
 *       that a restart is to go on.
 *   (2) Results of another batch (the input was changed) are never thrown away without --restart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/each.h"
#include "cli/rows.h"

#define HEAD_BYTES 23 /* "batch:" 16 digits ":" */

struct found {
    char key[HEAD_BYTES + 8];
};

static bool take_key(void *ctx, const agent_row *row)
{
    struct found *found = ctx;
    size_t bytes;
    const char *text = row_text(row, "idempotency_key", &bytes);

    bytes = bytes < sizeof(found->key) - 1 ? bytes : sizeof(found->key) - 1;
    memcpy(found->key, text, bytes);
    found->key[bytes] = '\0';
    return true;
}

/* The generation in a key that begins with `head`; 0: it is none of this batch. */
static int64_t generation_of(const struct found *found, const char *head)
{
    if (strncmp(found->key, head, HEAD_BYTES) != 0)
        return 0;
    return strtoll(found->key + HEAD_BYTES, NULL, 10);
}

static agent_status newest(struct cli *cli, const char *head, int64_t *out, agent_error *err)
{
    char *sql = cli_format("SELECT max(idempotency_key) AS idempotency_key FROM run"
                           " WHERE idempotency_key >= '%s' AND idempotency_key < '%.*s;'",
                           head, HEAD_BYTES - 1, head);
    struct found found = {""};
    agent_status rc = agent_sql(cli->engine, sql, take_key, &found, err);

    free(sql);
    if (rc == AGENT_OK)
        *out = generation_of(&found, head);
    return rc;
}

static agent_status of_run(struct cli *cli, int64_t run, const char *head, int64_t *out, agent_error *err)
{
    agent_filter filter = AGENT_FILTER_INIT;
    struct found found = {""};
    agent_status rc;

    filter.run_id = run;
    rc = agent_scan(cli->engine, AGENT_VIEW_RUNS, &filter, take_key, &found, err);
    if (rc == AGENT_OK)
        *out = generation_of(&found, head);
    return rc;
}

/* What --out holds: of which generation, or nothing that cost anything. */
static agent_status check_rows(struct cli *cli, const char *head, struct each_out *out, int64_t most, agent_error *err)
{
    int64_t first = 0, last = 0;
    agent_status rc;

    if (out->rows == 0)
        return AGENT_OK;
    if (out->first_run == 0) { /* lines that were wrong, all of them: they are found again */
        each_out_forget(out);
        return AGENT_OK;
    }
    if ((rc = of_run(cli, out->first_run, head, &first, err)) != AGENT_OK ||
        (rc = of_run(cli, out->last_run, head, &last, err)) != AGENT_OK)
        return rc;
    if (first == 0 || first != last) {
        rc = cli_err(err, AGENT_EINVAL, 0, "'%s' holds the results of another batch: the agent, the input, the"
                     " database or the file's place is another", out->path);
        cli_hint(err, "give --out another file, or --restart to write this one anew");
        return rc;
    }
    if (first < most)
        each_out_forget(out);
    return AGENT_OK;
}

int each_key_settle(struct cli *cli, const char *agent, const struct each_input *in, struct each_out *out, bool restart,
                    struct each_key *key)
{
    agent_error err = AGENT_ERROR_INIT;
    char sha[65], head[HEAD_BYTES + 1];
    int64_t most = 0;
    uint64_t hash;
    agent_status rc;

    if ((rc = agent_sha256_fd(in->fd, sha, &err)) != AGENT_OK)
        return cli_fail(cli, &err);
    hash = each_hash(0, agent, strlen(agent) + 1);
    hash = each_hash(hash, sha, sizeof(sha));
    hash = each_hash(hash, out->path, strlen(out->path));
    (void)snprintf(head, sizeof(head), "batch:%016llx:", (unsigned long long)hash);
    rc = newest(cli, head, &most, &err);
    if (rc == AGENT_OK && restart) {
        each_out_forget(out);
        most++;
    } else if (rc == AGENT_OK) {
        rc = check_rows(cli, head, out, most, &err);
    }
    if (rc != AGENT_OK)
        return cli_fail(cli, &err);
    key->generation = most > 0 ? most : 1;
    (void)snprintf(key->prefix, sizeof(key->prefix), "%s%06lld:", head, (long long)key->generation);
    return EXIT_OK;
}

char *each_key_of(const struct each_key *key, const char *id, int64_t line)
{
    if (key->prefix[0] == '\0')
        return NULL;
    return id != NULL ? cli_format("%sid:%s", key->prefix, id) : cli_format("%sline:%lld", key->prefix, (long long)line);
}
