/*
 * What a run cost, read for showing: its stages on a line of time, and the calls of its tools.
 *
 *     v_runs, v_stage_memory, v_tool_calls, v_samples ──► stats_load.c ──► struct stats
 *                                                                              ├─► cmd_stats.c   the table
 *                                                                              ├─► stats_chart.c for a terminal
 *                                                                              ├─► svg.c         for a browser
 *                                                                              └─► html.c        many on a page
 *
 *   (1) A figure that was not measured is UNKNOWN and is shown as "-"; it is never drawn as 0.
 *   (2) Time on an axis is time in stages. A pause between two stages (a dead process, a decision that
 *       was waited for) is drawn as a short break and named, for an hour of it would hide the rest.
 *   (3) A figure that other runs may have a part in (attribution `shared`) is marked "~".
 */
#ifndef AG_CLI_STATS_H
#define AG_CLI_STATS_H

#include "cli/cmd.h"
#include "cli/units.h"

enum stage {
    STAGE_QUEUE, STAGE_LOAD, STAGE_PREPARE, STAGE_INFER, STAGE_RESPOND, STAGE_TOOL, STAGE_RECLAIM,
    STAGE_OTHER, /* of a later version, or not known */
    STAGE_COUNT
};

const char *stage_word(enum stage stage);
enum stage stage_of(const char *word, size_t bytes);

struct stats_stage {
    enum stage stage;
    bool is_shared, is_cut; /* cut: a crash ended it, its time is unknown */
    char source[16];        /* of the peak; "": unknown */
    char includes[32];      /* what the heap figures count: "own+json"; "": unknown */
    int64_t step, started_at_ms, wall_us, commit_us, samples;
    int64_t rss_before, rss_peak, rss_after, heap_peak, heap_net, child_peak; /* bytes */
    int64_t pss, anon, file, smaps_us; /* at its end; read where a run begins and ends */
    /* where it lies: from, and from + wall_us; and the pause in front of it */
    int64_t from_us;
    int64_t pause_us; /* 0: none */
    size_t first_sample, sample_count; /* those of stats.samples that lie in it */
    int64_t sampled_most;              /* the highest of them; UNKNOWN: there are none */
};

struct stats_sample { /* RSS between the borders of stages, of runs that were long enough */
    int64_t at_ms, rss;
    int64_t at_us; /* on the axis */
};

struct stats_call {
    char *tool, *status;
    int64_t step, started_at_ms, wall_us, child_peak;
    int64_t from_us, to_us; /* on the axis */
    size_t stage;           /* in which of the stages it lies */
    int lane;               /* calls at the same time lie in lanes of their own */
};

struct stats {
    int64_t run;
    char *agent, *status, *model, *queued_at, *error;
    int64_t queue_us, wall_us, rss_peak;
    struct stats_stage *stages;
    size_t stage_count, stage_cap;
    struct stats_call *calls;
    size_t call_count, call_cap;
    struct stats_sample *samples; /* in the order of time */
    size_t sample_count, sample_cap;
    int64_t total_us;                /* length of the axis: all stages */
    int64_t sum_us[STAGE_COUNT];     /* by stage; a stage that is not there has 0 and no row */
    size_t stage_rows[STAGE_COUNT];
    int lanes;
    bool has_shared, has_cut, has_pause;
};

/* AGENT_ENOTFOUND, without a text: there is no such run. */
agent_status stats_load(struct cli *cli, int64_t run, struct stats *out, agent_error *err);
void stats_drop(struct stats *s);
/* Where the samples lie among the stages, which have their places. */
void stats_lay_samples(struct stats *s);
/* Whether a stage had a higher RSS than its borders and samples show. */
bool stats_has_hidden_peak(const struct stats_stage *st);

/* --- a terminal: stats_chart.c -------------------------------------------------------------------------------- */

void stats_chart(struct out *out, const struct stats *s, int columns, bool is_ascii);

/* --- a browser: svg.c, html.c -------------------------------------------------------------------------------------- */

void svg_style(struct out *out); /* what every drawing refers to; once in a document */
/* is_alone: a document of its own, else a part of a page that has the style. */
void svg_run(struct out *out, const struct stats *s, bool is_alone);
void svg_text(struct out *out, const char *s); /* escaped, for XML and HTML */
/* The newest `limit` runs of an agent. EXIT_OK, or an exit code whose error was told. */
int html_page(struct cli *cli, struct out *out, int64_t agent_id, const char *agent, int64_t limit);

/* --- many runs: stats_by.c ---------------------------------------------------------------------------------------------- */

enum by { BY_STAGE, BY_AGENT, BY_MODEL, BY_TOOL };
enum figure { FIGURE_TIME, FIGURE_HEAP, FIGURE_GROWTH, FIGURE_CHILD, FIGURE_COUNT };

struct series {
    int64_t *at;
    size_t count, cap;
};

struct summary {
    int64_t count;
    struct figures {
        int64_t count, p50, p95, max; /* UNKNOWN where nothing was measured */
    } figures[FIGURE_COUNT];
};

struct groups {
    enum by by;
    struct group {
        char *name;
        int64_t count, total_us;
        struct series series[FIGURE_COUNT];
    } *at;
    size_t count, cap;
    uint32_t *slots; /* index + 1, by hash of the name */
    size_t slot_count;
    int64_t seen, shared; /* rows taken; those of them whose RSS other runs had a part in */
    bool is_cut;          /* there were more: the newest were taken */
};

struct span { /* which runs are meant */
    int64_t agent_id; /* 0: all */
    int64_t since_ms; /* 0: all */
};

agent_status groups_read(struct cli *cli, enum by by, const struct span *span, struct groups *out, agent_error *err);
struct summary groups_summary(struct group *group); /* sorts its values */
void groups_drop(struct groups *g);

#endif
