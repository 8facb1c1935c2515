/*
 * A run's stages and calls, read and laid on a line of time.
 *
 * Stages follow each other without a gap while one process has the run, so each begins where the one
 * before it ended: that is exact to the microsecond, where started_at is to the millisecond. Only where
 * started_at says that more than PAUSE_MS lie between is there a pause (stats.h (2)).
 */
#include <stdlib.h>
#include <string.h>

#include "cli/rows.h"
#include "cli/stats.h"

#define PAUSE_MS 20 /* less is the rounding of clocks, or one that was set */

static const char *const words[STAGE_COUNT] = {
    [STAGE_QUEUE] = "queue", [STAGE_LOAD] = "load", [STAGE_PREPARE] = "prepare", [STAGE_INFER] = "infer",
    [STAGE_RESPOND] = "respond", [STAGE_TOOL] = "tool", [STAGE_RECLAIM] = "reclaim", [STAGE_OTHER] = "other",
};

const char *stage_word(enum stage stage)
{
    return words[stage];
}

enum stage stage_of(const char *word, size_t bytes)
{
    for (enum stage s = 0; s < STAGE_OTHER; s++)
        if (strlen(words[s]) == bytes && memcmp(words[s], word, bytes) == 0)
            return s;
    return STAGE_OTHER;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static int64_t known(const agent_row *row, const char *column)
{
    int at = agent_row_find(row, column);

    if (at < 0 || agent_row_type(row, at) == AGENT_VALUE_NULL)
        return UNKNOWN;
    return agent_row_int(row, at);
}

static int64_t known_ms(const agent_row *row, const char *column) /* in microseconds */
{
    int at = agent_row_find(row, column);

    if (at < 0 || agent_row_type(row, at) == AGENT_VALUE_NULL)
        return UNKNOWN;
    return (int64_t)(agent_row_real(row, at) * 1000 + 0.5);
}

static char *word_of(const agent_row *row, const char *column)
{
    size_t bytes;
    const char *text = row_text(row, column, &bytes);
    char *copy = cli_alloc(bytes + 1);

    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    return copy;
}

static int64_t time_of(const agent_row *row, const char *column)
{
    char *text = word_of(row, column);
    int64_t at = UNKNOWN;

    if (!units_time(text, &at))
        at = UNKNOWN;
    free(text);
    return at;
}

static bool take_run(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;

    s->run = row_int(row, "id");
    s->agent = word_of(row, "agent");
    s->status = word_of(row, "status");
    s->queued_at = word_of(row, "queued_at");
    s->error = word_of(row, "error");
    s->queue_us = known_ms(row, "queue_ms");
    s->wall_us = known_ms(row, "wall_ms");
    s->rss_peak = known(row, "rss_peak_bytes");
    return false;
}

static bool take_stage(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;
    struct stats_stage *to;
    size_t bytes;
    const char *text;

    if (s->stage_count == s->stage_cap) {
        s->stage_cap = s->stage_cap == 0 ? 16 : 2 * s->stage_cap;
        s->stages = cli_realloc(s->stages, s->stage_cap * sizeof(*s->stages));
    }
    to = &s->stages[s->stage_count++];
    *to = (struct stats_stage){
        .step = known(row, "step"),
        .started_at_ms = time_of(row, "started_at"),
        .wall_us = known(row, "wall_us"),
        .commit_us = known(row, "commit_us"),
        .samples = known(row, "samples"),
        .rss_before = known(row, "rss_before_bytes"),
        .rss_peak = known(row, "rss_peak_bytes"),
        .rss_after = known(row, "rss_after_bytes"),
        .heap_peak = known(row, "heap_peak_bytes"),
        .heap_net = known(row, "heap_net_bytes"),
        .child_peak = known(row, "child_rss_peak_bytes"),
        .pss = known(row, "pss_bytes"),
        .anon = known(row, "anon_bytes"),
        .file = known(row, "file_bytes"),
        .smaps_us = known(row, "smaps_us"),
        .sampled_most = UNKNOWN,
    };
    text = row_text(row, "stage", &bytes);
    to->stage = stage_of(text, bytes);
    text = row_text(row, "attribution", &bytes);
    to->is_shared = bytes == 6 && memcmp(text, "shared", 6) == 0;
    text = row_text(row, "peak_source", &bytes);
    memcpy(to->source, text, bytes < sizeof(to->source) ? bytes : sizeof(to->source) - 1);
    text = row_text(row, "heap_includes", &bytes);
    memcpy(to->includes, text, bytes < sizeof(to->includes) ? bytes : sizeof(to->includes) - 1);
    to->is_cut = to->wall_us == UNKNOWN;
    return true;
}

static bool take_sample(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;

    if (s->sample_count == s->sample_cap) {
        s->sample_cap = s->sample_cap == 0 ? 64 : 2 * s->sample_cap;
        s->samples = cli_realloc(s->samples, s->sample_cap * sizeof(*s->samples));
    }
    s->samples[s->sample_count++] = (struct stats_sample){.at_ms = time_of(row, "at"), .rss = row_int(row, "rss_bytes")};
    return true;
}

static bool take_call(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;

    if (s->call_count == s->call_cap) {
        s->call_cap = s->call_cap == 0 ? 8 : 2 * s->call_cap;
        s->calls = cli_realloc(s->calls, s->call_cap * sizeof(*s->calls));
    }
    s->calls[s->call_count++] = (struct stats_call){
        .tool = word_of(row, "tool"),
        .status = word_of(row, "status"),
        .step = known(row, "step"),
        .started_at_ms = UNKNOWN,
        .wall_us = known_ms(row, "wall_ms"),
        .child_peak = known(row, "child_rss_peak_bytes"),
    };
    return true;
}

/* v_tool_calls does not say when; v_steps does. */
static bool take_step(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;
    int64_t step = row_int(row, "step");

    for (size_t i = 0; i < s->call_count; i++)
        if (s->calls[i].step == step)
            s->calls[i].started_at_ms = time_of(row, "started_at");
    return true;
}

static bool take_model(void *ctx, const agent_row *row)
{
    struct stats *s = ctx;
    size_t provider_bytes, model_bytes;
    const char *provider = row_text(row, "provider", &provider_bytes), *model = row_text(row, "model", &model_bytes);

    free(s->model);
    s->model = cli_format("%.*s:%.*s", (int)provider_bytes, provider, (int)model_bytes, model);
    return false;
}

/* --- the line of time ------------------------------------------------------------------------------------------------ */

static void lay_stages(struct stats *s)
{
    const struct stats_stage *before = NULL; /* the last whose beginning is known */
    int64_t since_us = 0;                    /* measured time from its beginning on */

    for (size_t i = 0; i < s->stage_count; i++) {
        struct stats_stage *st = &s->stages[i];

        st->from_us = s->total_us;
        if (st->started_at_ms != UNKNOWN) {
            int64_t pause_ms = before == NULL ? 0 : st->started_at_ms - (before->started_at_ms + since_us / 1000);

            st->pause_us = pause_ms > PAUSE_MS ? pause_ms * 1000 : 0;
            before = st;
            since_us = 0;
        }
        if (st->wall_us != UNKNOWN) {
            since_us += st->wall_us;
            s->total_us += st->wall_us;
            s->sum_us[st->stage] += st->wall_us;
        }
        s->stage_rows[st->stage]++;
        s->has_shared |= st->is_shared;
        s->has_cut |= st->is_cut;
        s->has_pause |= st->pause_us > 0;
    }
}

static int64_t between(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* Each in the last stage that had begun by then; one that lies in a pause is left out. */
void stats_lay_samples(struct stats *s)
{
    size_t kept = 0, stage = 0;

    for (size_t i = 0; i < s->sample_count; i++) {
        struct stats_sample sample = s->samples[i];
        struct stats_stage *st;

        for (size_t k = stage; k < s->stage_count; k++)
            if (!s->stages[k].is_cut && s->stages[k].started_at_ms != UNKNOWN && s->stages[k].started_at_ms <= sample.at_ms)
                stage = k;
        if (stage == s->stage_count)
            break;
        st = &s->stages[stage];
        if (st->is_cut || st->started_at_ms == UNKNOWN || sample.at_ms > st->started_at_ms + st->wall_us / 1000 + 1)
            continue;
        sample.at_us = between(st->from_us + (sample.at_ms - st->started_at_ms) * 1000, st->from_us, st->from_us + st->wall_us);
        if (st->sample_count++ == 0)
            st->first_sample = kept;
        if (sample.rss > st->sampled_most)
            st->sampled_most = sample.rss;
        s->samples[kept++] = sample;
    }
    s->sample_count = kept;
}

bool stats_has_hidden_peak(const struct stats_stage *st)
{
    return st->rss_peak != UNKNOWN && st->rss_peak > st->rss_before && st->rss_peak > st->rss_after &&
           st->rss_peak > st->sampled_most;
}

/* The tool stage in which a call was begun: the last one that had begun by then. */
static const struct stats_stage *stage_of_call(const struct stats *s, const struct stats_call *call)
{
    const struct stats_stage *found = NULL;

    for (size_t i = 0; i < s->stage_count; i++) {
        const struct stats_stage *st = &s->stages[i];

        if (st->stage == STAGE_TOOL && st->wall_us != UNKNOWN && st->step <= call->step &&
            (found == NULL || st->started_at_ms <= call->started_at_ms + 1))
            found = st;
    }
    return found;
}

static void lay_calls(struct stats *s)
{
    int64_t *free_from = cli_alloc((s->call_count + 1) * sizeof(*free_from));

    for (size_t i = 0; i < s->call_count; i++) {
        struct stats_call *call = &s->calls[i];
        const struct stats_stage *st = stage_of_call(s, call);
        int lane = 0;

        if (st == NULL || call->started_at_ms == UNKNOWN) { /* begun, and its stage has not ended: not on the axis */
            call->from_us = call->to_us = UNKNOWN;
            continue;
        }
        call->stage = (size_t)(st - s->stages);
        call->from_us = between(st->from_us + (call->started_at_ms - st->started_at_ms) * 1000, st->from_us,
                                st->from_us + st->wall_us);
        call->to_us = st->from_us + st->wall_us;
        if (call->wall_us != UNKNOWN)
            call->to_us = between(call->from_us + call->wall_us, call->from_us, call->to_us);
        while (lane < s->lanes && free_from[lane] > call->from_us)
            lane++;
        call->lane = lane;
        free_from[lane] = call->to_us;
        if (lane == s->lanes)
            s->lanes++;
    }
    free(free_from);
}

/* --- both ------------------------------------------------------------------------------------------------------------- */

agent_status stats_load(struct cli *cli, int64_t run, struct stats *out, agent_error *err)
{
    struct stats s = {0};
    agent_filter filter = AGENT_FILTER_INIT;
    agent_status rc;
    char *sql;

    filter.run_id = run;
    if ((rc = agent_scan(cli->engine, AGENT_VIEW_RUNS, &filter, take_run, &s, err)) != AGENT_OK) {
        stats_drop(&s);
        return rc;
    }
    if (s.agent == NULL)
        return err->status = AGENT_ENOTFOUND;
    sql = cli_format("SELECT v.provider, v.model FROM run r JOIN agent_version v ON v.id = r.agent_version_id"
                     " WHERE r.id = %lld", (long long)run);
    if ((rc = agent_sql(cli->engine, sql, take_model, &s, err)) == AGENT_OK &&
        (rc = agent_scan(cli->engine, AGENT_VIEW_STAGE_MEMORY, &filter, take_stage, &s, err)) == AGENT_OK &&
        (rc = agent_scan(cli->engine, AGENT_VIEW_SAMPLES, &filter, take_sample, &s, err)) == AGENT_OK &&
        (rc = agent_scan(cli->engine, AGENT_VIEW_TOOL_CALLS, &filter, take_call, &s, err)) == AGENT_OK &&
        s.call_count > 0)
        rc = agent_scan(cli->engine, AGENT_VIEW_STEPS, &filter, take_step, &s, err);
    free(sql);
    if (rc != AGENT_OK) {
        stats_drop(&s);
        return rc;
    }
    lay_stages(&s);
    lay_calls(&s);
    stats_lay_samples(&s);
    *out = s;
    return AGENT_OK;
}

void stats_drop(struct stats *s)
{
    for (size_t i = 0; i < s->call_count; i++) {
        free(s->calls[i].tool);
        free(s->calls[i].status);
    }
    free(s->calls);
    free(s->samples);
    free(s->stages);
    free(s->agent);
    free(s->status);
    free(s->model);
    free(s->queued_at);
    free(s->error);
    *s = (struct stats){0};
}
