/*
 * agentctl bench cache: what a front cache of some size would have made of a recorded trace.
 */
#include "cli/cmd.h"

static void tell_json(struct out *out, const agent_replay_result *r)
{
    put_open(out, '{');
    put_key(out, "policy");
    put_str(out, r->policy);
    put_key(out, "bytes");
    put_int(out, r->bytes);
    put_key(out, "requests");
    put_int(out, r->requests);
    put_key(out, "hit_ratio");
    put_real(out, r->hit_ratio);
    put_key(out, "byte_hit_ratio");
    put_real(out, r->byte_hit_ratio);
    put_key(out, "cost_hit_ratio");
    put_real(out, r->cost_hit_ratio);
    put_key(out, "belady_hit_ratio");
    put_real(out, r->belady_hit_ratio);
    put_key(out, "evictions");
    put_int(out, r->evictions);
    put_key(out, "metadata_bytes_per_entry");
    put_real(out, r->metadata_bytes_per_entry);
    put_key(out, "ns_per_request");
    put_real(out, r->ns_per_request);
    put_close(out, '{');
    put_line(out);
}

static void tell_text(struct out *out, const agent_replay_result *r)
{
    out_fmt(out, "policy                    %s\n", r->policy);
    out_fmt(out, "bytes                     %lld\n", (long long)r->bytes);
    out_fmt(out, "requests                  %lld\n", (long long)r->requests);
    out_fmt(out, "hit ratio                 %.4f\n", r->hit_ratio);
    out_fmt(out, "byte hit ratio            %.4f\n", r->byte_hit_ratio);
    out_fmt(out, "cost hit ratio            %.4f\n", r->cost_hit_ratio);
    out_fmt(out, "belady hit ratio          %.4f\n", r->belady_hit_ratio);
    out_fmt(out, "evictions                 %lld\n", (long long)r->evictions);
    out_fmt(out, "metadata bytes per entry  %.1f\n", r->metadata_bytes_per_entry);
    out_fmt(out, "ns per request            %.0f\n", r->ns_per_request);
}

static int bench_cache(struct cli *cli, const struct args *args)
{
    agent_replay_options options = AGENT_REPLAY_OPTIONS_INIT;
    agent_replay_result result = AGENT_REPLAY_RESULT_INIT;
    agent_error err = AGENT_ERROR_INIT;
    const char *bytes = args_value(args, "bytes");
    int64_t k = 0;
    int rc;

    options.trace = args_value(args, "trace");
    options.policy = args_value(args, "policy");
    if (options.trace == NULL)
        return cli_usage(cli, "for example --trace requests.csv, with lines of time,key,bytes",
                         "bench cache: --trace FILE is missing");
    if (bytes == NULL)
        return cli_usage(cli, "for example --bytes 64MB", "bench cache: --bytes N is missing");
    if (!text_size(bytes, &options.bytes))
        return cli_usage(cli, "for example 64MB, 512KB or 0", "--bytes: '%s' is no size", bytes);
    if ((rc = cli_number(cli, args, "k", 1, 4, &k)) != EXIT_OK)
        return rc;
    options.k = (int)k;
    if (agent_cache_replay(&options, &result, &err) != AGENT_OK)
        return cli_fail(cli, &err);
    if (cli->json)
        tell_json(&cli->out, &result);
    else
        tell_text(&cli->out, &result);
    return EXIT_OK;
}

static const struct option cache_options[] = {
    {"trace", 0, "FILE", ".csv or .bin, told apart by the name"},
    {"policy", 0, "lruk-adaptive|lruk|lru|fifo|s3fifo|gdsf|none", "(the first)"},
    {"bytes", 0, "N", "of objects alone: 64MB, 512KB"},
    {"k", 'k', "N", "K of lruk and lruk-adaptive, 1 to 4"},
    {0},
};

static const char *const cache_examples[] = {"bench cache --trace requests.csv --policy lru --bytes 64MB",
                                             "bench cache --trace requests.bin --bytes 64MB --json", NULL};

const struct command cmd_bench_cache = {
    .name = "bench cache",
    .synopsis = "--trace FILE --bytes N",
    .summary = "replay a trace through the front cache",
    .text = "A .csv has lines time,key,bytes; a .bin packed little-endian records of 24\n"
            "bytes: u32 time, u64 key, u32 bytes, i64 index of the key's next request or\n"
            "-1. Ratios are of 1; belady is what knowing the future would reach. What the\n"
            "cache holds besides objects is not in --bytes: it is told by entry.",
    .options = cache_options,
    .examples = cache_examples,
    .max_args = 0,
    .run = bench_cache,
};
