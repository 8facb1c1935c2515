/*
 * What is drawn and told of a run, on runs made up here: amounts, marks of an axis, the chart for a
 * terminal, the drawing for a browser, percentiles.
 */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stats.h"

Suite *stats_view_suite(void);

/* --- a run of the test's own -------------------------------------------------------------------------------------- */

#define MB(n) ((int64_t)(n) << 20)

static struct stats_stage stages[6000];
static struct stats_call calls[40];
static char agent[64], status[16], model[] = "offline:demo", queued_at[] = "2026-01-31T12:00:00.000Z", error[] = "";
static struct out out;

static struct stats run_of(size_t stage_count, size_t call_count)
{
    return (struct stats){
        .run = 7, .agent = agent, .status = status, .model = model, .queued_at = queued_at, .error = error,
        .queue_us = 9000, .wall_us = 100000, .rss_peak = MB(5), .stages = stages, .stage_count = stage_count,
        .calls = calls, .call_count = call_count,
    };
}

static struct stats_stage *add_stage(struct stats *s, size_t at, enum stage stage, int64_t us)
{
    stages[at] = (struct stats_stage){
        .stage = stage, .source = "borders", .step = 1, .started_at_ms = 1000, .wall_us = us, .commit_us = 0, .samples = 2,
        .rss_before = MB(4), .rss_peak = MB(5), .rss_after = MB(5), .heap_peak = 4096, .heap_net = 64, .child_peak = UNKNOWN,
        .pss = UNKNOWN, .anon = UNKNOWN, .file = UNKNOWN, .smaps_us = UNKNOWN, .sampled_most = UNKNOWN,
        .from_us = s->total_us,
    };
    s->total_us += us;
    s->sum_us[stage] += us;
    s->stage_rows[stage]++;
    return &stages[at];
}

/* Queue, infer, tool with two calls, infer, respond. */
static struct stats usual_run(void)
{
    struct stats s = run_of(5, 2);

    add_stage(&s, 0, STAGE_QUEUE, 9000);
    add_stage(&s, 1, STAGE_INFER, 40000);
    add_stage(&s, 2, STAGE_TOOL, 20000)->child_peak = MB(30);
    add_stage(&s, 3, STAGE_INFER, 30000);
    add_stage(&s, 4, STAGE_RESPOND, 10000);
    for (int i = 0; i < 2; i++)
        calls[i] = (struct stats_call){
            .tool = agent, .status = status, .step = 2 + i, .wall_us = 20000, .child_peak = i == 0 ? MB(30) : UNKNOWN,
            .from_us = 49000, .to_us = 69000, .stage = 2, .lane = i,
        };
    s.lanes = 2;
    return s;
}

static void forget_memory(struct stats *s)
{
    for (size_t i = 0; i < s->stage_count; i++) {
        stages[i].rss_before = stages[i].rss_peak = stages[i].rss_after = UNKNOWN;
        stages[i].heap_peak = stages[i].child_peak = UNKNOWN;
    }
}

static void begin(void)
{
    (void)strcpy(agent, "demo");
    (void)strcpy(status, "succeeded");
    out = (struct out){.fd = -1, .is_held = true};
}

static void end(void)
{
    out_drop(&out);
}

static const char *written(void)
{
    out_bytes(&out, "", 1);
    out.bytes--;
    return out.at;
}

static int count_of(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* --- amounts ------------------------------------------------------------------------------------------------------------ */

static const struct {
    int64_t bytes;
    const char *text;
} byte_cases[] = {
    {0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KB"}, {-4096, "-4.0 KB"}, {MB(1) - 1, "1.0 MB"},
    {MB(99) + MB(1) / 2, "99.5 MB"}, {MB(123), "123 MB"}, {MB(2048), "2.0 GB"}, {INT64_MAX, "8.0 EB"}, {UNKNOWN, "-"},
};

START_TEST(bytes_have_a_unit_of_1024_and_an_unknown_amount_is_a_dash)
{
    ck_assert_str_eq(amount_bytes(byte_cases[_i].bytes).text, byte_cases[_i].text);
}
END_TEST

static const struct {
    int64_t us;
    const char *text;
} time_cases[] = {
    {0, "0 us"}, {999, "999 us"}, {1000, "1.0 ms"}, {9949, "9.9 ms"}, {9950, "10 ms"}, {999499, "999 ms"},
    {999500, "1.00 s"}, {9994999, "9.99 s"}, {59949999, "59.9 s"}, {59950000, "1m 00s"}, {3599499999, "59m 59s"}, {3599500000, "1h 00m"},
    {INT64_C(172800000000), "2d 00h"}, {UNKNOWN, "-"},
};

START_TEST(a_time_never_rounds_up_into_a_thousand_of_its_unit)
{
    ck_assert_str_eq(amount_us(time_cases[_i].us, true).text, time_cases[_i].text);
}
END_TEST

START_TEST(marks_of_time_are_few_and_never_none)
{
    for (int64_t range = 1; range < INT64_C(1) << 50; range = range * 7 / 5 + 1) {
        int64_t step = marks_us(range, 8);

        ck_assert_int_gt(step, 0);
        ck_assert_msg(range / step <= 8, "%lld steps of %lld", (long long)(range / step), (long long)step);
        ck_assert_msg(step <= 1 || range / step >= 1, "no mark in %lld", (long long)range);
    }
}
END_TEST

START_TEST(marks_of_bytes_are_few_and_told_apart)
{
    for (int64_t range = 1; range < INT64_C(1) << 50; range = range * 7 / 5 + 1) {
        struct marks m = marks_bytes(range, range * 2, 6);
        double step = m.step * m.unit;

        ck_assert_msg((double)range / step <= 6.01, "%.2f steps", (double)range / step);
        for (double v = (double)range; v < 2 * (double)range; v += step)
            ck_assert_str_ne(marks_text(&m, v).text, marks_text(&m, v + step).text);
    }
}
END_TEST

START_TEST(times_are_read_as_they_are_written_and_nothing_else_is)
{
    static const char *const wrong[] = {
        "", "2h", "2026", "2026-13-01", "2026-01-32", "2026-01-01T", "2026-01-01T25:00", "2026-01-01T10:00:00.5",
        "2026-01-01x", "2026-1-1",
    };
    int64_t ms = 0;

    ck_assert(units_time("2026-01-31T12:30:05.250Z", &ms));
    ck_assert_str_eq(amount_time(ms).text, "2026-01-31T12:30:05.250Z");
    ck_assert(units_time("2026-01-31", &ms));
    ck_assert_str_eq(amount_time(ms).text, "2026-01-31T00:00:00.000Z");
    ck_assert(units_time("2026-01-31 12:30", &ms));
    ck_assert_str_eq(amount_time(ms).text, "2026-01-31T12:30:00.000Z");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_msg(!units_time(wrong[i], &ms), "'%s' was read", wrong[i]);
}
END_TEST

/* --- the chart ------------------------------------------------------------------------------------------------------------ */

static size_t widest_line(const char *text)
{
    size_t widest = 0;

    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n"), width = text_width(line, n);

        widest = width > widest ? width : widest;
        line += n + (line[n] == '\n');
    }
    return widest;
}

START_TEST(the_chart_fits_the_width_that_it_is_given)
{
    struct stats s = usual_run();

    for (int columns = 60; columns <= 220; columns += 7) {
        out.bytes = 0;
        stats_chart(&out, &s, columns, columns % 2 == 0);
        ck_assert_msg(widest_line(written()) <= (size_t)columns, "wider than %d:\n%s", columns, out.at);
    }
}
END_TEST

START_TEST(where_there_is_no_utf8_the_chart_is_ascii)
{
    struct stats s = usual_run();

    stages[2].pause_us = 5000000;
    stats_chart(&out, &s, 80, true);
    for (const char *p = written(); *p != '\0'; p++)
        ck_assert_msg((unsigned char)*p < 0x80, "byte %02x in:\n%s", (unsigned char)*p, out.at);
    ck_assert(strstr(out.at, "pause of 5.00 s before tool of step 1") != NULL);
}
END_TEST

START_TEST(a_stage_has_as_many_cells_as_its_share_of_the_time)
{
    struct stats s = run_of(2, 0);
    const char *line;

    add_stage(&s, 0, STAGE_INFER, 75000);
    add_stage(&s, 1, STAGE_RESPOND, 25000);
    stats_chart(&out, &s, 129, true); /* 100 cells for time */
    line = strstr(written(), "infer");
    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq((int)strcspn(line + 9, " \n"), 75);
    line = strstr(out.at, "respond");
    ck_assert_int_eq((int)strspn(line + 9, " "), 75);
    ck_assert_int_eq((int)strspn(line + 9 + 75, "#"), 25);
}
END_TEST

/* --- samples --------------------------------------------------------------------------------------------------------------- */

static struct stats_sample samples[8];

/* Infer for 50 ms, a pause of a second, respond for 50 ms; two samples in each stage, one in the pause. */
static struct stats sampled_run(void)
{
    static const int64_t at[] = {1010, 1040, 1500, 2060, 2100}, mb[] = {6, 9, 7, 8, 4};
    struct stats s = run_of(2, 0);

    add_stage(&s, 0, STAGE_INFER, 50000)->rss_peak = MB(9);
    add_stage(&s, 1, STAGE_RESPOND, 50000)->rss_peak = MB(8);
    stages[1].started_at_ms = 2050;
    stages[1].pause_us = 1000000;
    for (int i = 0; i < 5; i++)
        samples[i] = (struct stats_sample){.at_ms = at[i], .rss = MB(mb[i])};
    s.samples = samples;
    s.sample_count = 5;
    stats_lay_samples(&s);
    return s;
}

START_TEST(a_sample_lies_in_the_stage_that_was_under_way)
{
    static const int64_t at_us[] = {10000, 40000, 60000, 100000};
    struct stats s = sampled_run();

    ck_assert_uint_eq(s.sample_count, 4); /* the one in the pause is left out */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(samples[i].at_us, at_us[i]);
    ck_assert_uint_eq(stages[0].first_sample, 0);
    ck_assert_uint_eq(stages[0].sample_count, 2);
    ck_assert_int_eq(stages[0].sampled_most, MB(9));
    ck_assert_uint_eq(stages[1].first_sample, 2);
    ck_assert_uint_eq(stages[1].sample_count, 2);
    ck_assert_int_eq(stages[1].sampled_most, MB(8));
    ck_assert(!stats_has_hidden_peak(&stages[0]));
    stages[0].rss_peak = MB(10); /* by the kernel's own peak, between two samples */
    ck_assert(stats_has_hidden_peak(&stages[0]));
}
END_TEST

START_TEST(the_chart_of_memory_goes_through_the_samples)
{
    struct stats s = sampled_run();
    const char *line;

    stages[1].pause_us = 0;
    stats_chart(&out, &s, 129, true); /* 100 cells: a millisecond each */
    line = strstr(written(), "\nrss");
    ck_assert_ptr_nonnull(line);
    line += 10;
    ck_assert_int_eq(line[0], '_');
    ck_assert_int_eq(line[39], '#'); /* 9 MB, the most there is */
    ck_assert(line[20] != line[30]);
    ck_assert_ptr_nonnull(strstr(line, "4.0 MB..9.0 MB"));
}
END_TEST

START_TEST(what_was_not_measured_has_no_line_and_no_cell)
{
    struct stats s = usual_run();

    forget_memory(&s);
    stats_chart(&out, &s, 80, true);
    ck_assert_ptr_null(strstr(written(), "rss"));
    ck_assert_ptr_null(strstr(out.at, "heap"));
    ck_assert_ptr_null(strstr(out.at, "tools"));
}
END_TEST

START_TEST(a_run_whose_stages_took_no_time_is_drawn_too)
{
    struct stats s = run_of(2, 0);

    add_stage(&s, 0, STAGE_QUEUE, 0);
    stages[1] = (struct stats_stage){
        .stage = STAGE_INFER, .is_cut = true, .step = 1, .wall_us = UNKNOWN, .rss_before = UNKNOWN, .rss_after = UNKNOWN,
        .rss_peak = UNKNOWN, .heap_peak = UNKNOWN, .child_peak = UNKNOWN,
    };
    s.stage_rows[STAGE_INFER] = 1;
    stats_chart(&out, &s, 80, true);
    ck_assert_ptr_nonnull(strstr(written(), "cut +"));
    out.bytes = 0;
    svg_run(&out, &s, true);
    ck_assert_ptr_nonnull(strstr(written(), "cut off by a crash"));
    ck_assert_ptr_null(strstr(out.at, "nan"));
    ck_assert_ptr_null(strstr(out.at, "inf\""));
}
END_TEST

/* --- the drawing ------------------------------------------------------------------------------------------------------------ */

/* Enough of XML to see that what is opened is closed, that text is escaped and that attributes are quoted. */
static const char *tag_end(const char *p)
{
    char quote = 0;

    for (; *p != '\0' && (quote != 0 || *p != '>'); p++) {
        if (quote == 0 && (*p == '"' || *p == '\''))
            quote = *p;
        else if (quote == *p)
            quote = 0;
        ck_assert_msg(*p != '<', "a tag in a tag: %.60s", p);
    }
    ck_assert_msg(*p == '>', "a tag without an end");
    return p;
}

static void is_well_formed(const char *text)
{
    char open[32][16];
    int depth = 0;

    for (const char *p = text; *p != '\0';) {
        ck_assert_msg((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t', "byte %02x", (unsigned char)*p);
        if (*p == '&') {
            ck_assert_msg(strncmp(p, "&lt;", 4) == 0 || strncmp(p, "&gt;", 4) == 0 || strncmp(p, "&amp;", 5) == 0 ||
                              strncmp(p, "&quot;", 6) == 0, "a bare &: %.20s", p);
            p++;
        } else if (strncmp(p, "<?", 2) == 0) {
            p = strstr(p, "?>") + 2;
        } else if (strncmp(p, "</", 2) == 0) {
            size_t n = strcspn(p + 2, ">");

            ck_assert_msg(depth > 0 && strlen(open[depth - 1]) == n && strncmp(open[depth - 1], p + 2, n) == 0,
                          "%.*s closes %s", (int)n, p + 2, depth > 0 ? open[depth - 1] : "nothing");
            depth--;
            p += n + 3;
        } else if (*p == '<') {
            const char *last = tag_end(p + 1);
            size_t n = strcspn(p + 1, " />");

            ck_assert_msg(isalpha((unsigned char)p[1]) && n < sizeof(open[0]), "no name of a tag: %.20s", p);
            if (last[-1] != '/') {
                ck_assert_int_lt(depth, 32);
                memcpy(open[depth], p + 1, n);
                open[depth++][n] = '\0';
            }
            p = last + 1;
        } else {
            p++;
        }
    }
    ck_assert_msg(depth == 0, "%s is not closed", depth > 0 ? open[depth - 1] : "");
}

START_TEST(the_drawing_is_well_formed_and_refers_to_nothing)
{
    struct stats s = usual_run();

    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_int_eq(count_of(out.at, "http"), 1); /* the name of the namespace */
    ck_assert_ptr_null(strstr(out.at, "href"));
    ck_assert_ptr_null(strstr(out.at, "url("));
    ck_assert_ptr_null(strstr(out.at, "<script"));
}
END_TEST

START_TEST(a_hostile_name_is_text)
{
    struct stats s = usual_run();

    (void)strcpy(agent, "<b onload=\"x\">&\x01\x1b[2J\xff]]>'");
    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_nonnull(strstr(out.at, "&lt;b onload=&quot;x&quot;&gt;&amp;"));
}
END_TEST

START_TEST(axes_have_units_and_tools_have_lines_of_their_own)
{
    struct stats s = usual_run();
    const char *text;

    svg_run(&out, &s, true);
    text = written();
    ck_assert_ptr_nonnull(strstr(text, ">20 MB<"));
    ck_assert_ptr_nonnull(strstr(text, ">20 ms<"));
    ck_assert_ptr_nonnull(strstr(text, ">time in stages<"));
    ck_assert_ptr_nonnull(strstr(text, "run 7 of demo: succeeded"));
    ck_assert_int_eq(count_of(text, "<path class=\"child\""), 1); /* of two calls one was measured */
    ck_assert_int_eq(count_of(text, "class=\"band\""), 5);
}
END_TEST

START_TEST(the_drawing_goes_through_the_samples_and_names_no_hidden_peak)
{
    struct stats s = sampled_run();
    const char *line;
    int turns = 0;

    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_null(strstr(out.at, "class=\"peak\""));
    ck_assert_ptr_nonnull(strstr(out.at, "sampled between"));
    line = strstr(out.at, "<path class=\"rss\"");
    ck_assert_ptr_nonnull(line);
    for (; *line != '>'; line++)
        turns += *line == 'L';
    ck_assert_int_eq(turns, 3); /* two samples and the end of the stage; the pause breaks the line */
}
END_TEST

START_TEST(tools_much_larger_than_the_process_do_not_press_its_line_flat)
{
    struct stats s = usual_run();

    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_nonnull(strstr(out.at, ">tools (RSS)<"));
    ck_assert_ptr_nonnull(strstr(out.at, ">5.0 MB<"));
    ck_assert_ptr_nonnull(strstr(out.at, ": 30.0 MB</title></path>"));
    out.bytes = 0;
    stages[2].child_peak = calls[0].child_peak = MB(8);
    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_null(strstr(out.at, ">tools (RSS)<"));
    ck_assert_int_eq(count_of(out.at, "<path class=\"child\""), 1);
}
END_TEST

START_TEST(shared_readings_are_drawn_apart_and_explained)
{
    struct stats s = usual_run();

    stages[3].is_shared = stages[4].is_shared = s.has_shared = true;
    svg_run(&out, &s, true);
    ck_assert_ptr_nonnull(strstr(written(), "<path class=\"rss shared\""));
    ck_assert_ptr_nonnull(strstr(out.at, "shared: other runs were in a stage"));
    ck_assert_ptr_nonnull(strstr(out.at, "RSS ~4.0 MB before"));
}
END_TEST

START_TEST(no_line_is_drawn_where_nothing_was_measured)
{
    struct stats s = usual_run();

    forget_memory(&s);
    calls[0].child_peak = UNKNOWN;
    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_null(strstr(out.at, "<path"));
    ck_assert_ptr_null(strstr(out.at, "<circle"));
    ck_assert_ptr_nonnull(strstr(out.at, ">infer<"));
}
END_TEST

START_TEST(a_run_of_thousands_of_stages_stays_a_small_file)
{
    struct stats s = run_of(6000, 0);

    for (size_t i = 0; i < 6000; i++) {
        add_stage(&s, i, (enum stage)(i % STAGE_OTHER), 100 + (int64_t)(i * 37 % 900));
        stages[i].rss_before = MB(4) + (int64_t)(i * 7919 % 100000);
        stages[i].rss_after = MB(4) + (int64_t)((i + 1) * 7919 % 100000);
    }
    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_msg(out.bytes < 1500000, "%zu bytes", out.bytes);
}
END_TEST

START_TEST(more_calls_at_a_time_than_there_is_room_for_are_counted)
{
    struct stats s = usual_run();

    for (int i = 0; i < 40; i++) {
        calls[i] = calls[0];
        calls[i].lane = i;
    }
    s.call_count = 40;
    s.lanes = 40;
    svg_run(&out, &s, true);
    is_well_formed(written());
    ck_assert_ptr_nonnull(strstr(out.at, "and 28 more at the same time"));
}
END_TEST

/* --- percentiles ------------------------------------------------------------------------------------------------------------ */

START_TEST(a_percentile_is_a_value_that_occurred)
{
    int64_t values[200], alone = 42;
    struct group group = {.count = 200};
    struct summary sum;

    for (int i = 0; i < 200; i++)
        values[i] = (i * 73 % 200 + 1) * 10; /* 10, 20 … 2000 in some order */
    group.series[FIGURE_TIME] = (struct series){.at = values, .count = 200, .cap = 200};
    group.series[FIGURE_CHILD] = (struct series){.at = &alone, .count = 1, .cap = 1};
    sum = groups_summary(&group);
    ck_assert_int_eq(sum.figures[FIGURE_TIME].p50, 1000);
    ck_assert_int_eq(sum.figures[FIGURE_TIME].p95, 1900);
    ck_assert_int_eq(sum.figures[FIGURE_TIME].max, 2000);
    ck_assert_int_eq(sum.figures[FIGURE_CHILD].p50, 42);
    ck_assert_int_eq(sum.figures[FIGURE_CHILD].p95, 42);
    ck_assert_int_eq(sum.count, 200);
    ck_assert_int_eq(sum.figures[FIGURE_HEAP].count, 0);
    ck_assert(sum.figures[FIGURE_HEAP].p50 == UNKNOWN);
}
END_TEST

Suite *stats_view_suite(void)
{
    Suite *suite = suite_create("stats_view");
    TCase *amounts = tcase_create("amounts");
    TCase *chart = tcase_create("chart");
    TCase *drawing = tcase_create("drawing");
    TCase *figures = tcase_create("figures");

    tcase_add_loop_test(amounts, bytes_have_a_unit_of_1024_and_an_unknown_amount_is_a_dash, 0,
                        (int)(sizeof(byte_cases) / sizeof(byte_cases[0])));
    tcase_add_loop_test(amounts, a_time_never_rounds_up_into_a_thousand_of_its_unit, 0,
                        (int)(sizeof(time_cases) / sizeof(time_cases[0])));
    tcase_add_test(amounts, marks_of_time_are_few_and_never_none);
    tcase_add_test(amounts, marks_of_bytes_are_few_and_told_apart);
    tcase_add_test(amounts, times_are_read_as_they_are_written_and_nothing_else_is);
    suite_add_tcase(suite, amounts);

    tcase_add_checked_fixture(chart, begin, end);
    tcase_add_test(chart, the_chart_fits_the_width_that_it_is_given);
    tcase_add_test(chart, where_there_is_no_utf8_the_chart_is_ascii);
    tcase_add_test(chart, a_stage_has_as_many_cells_as_its_share_of_the_time);
    tcase_add_test(chart, a_sample_lies_in_the_stage_that_was_under_way);
    tcase_add_test(chart, the_chart_of_memory_goes_through_the_samples);
    tcase_add_test(chart, what_was_not_measured_has_no_line_and_no_cell);
    tcase_add_test(chart, a_run_whose_stages_took_no_time_is_drawn_too);
    suite_add_tcase(suite, chart);

    tcase_add_checked_fixture(drawing, begin, end);
    tcase_set_timeout(drawing, 60);
    tcase_add_test(drawing, the_drawing_is_well_formed_and_refers_to_nothing);
    tcase_add_test(drawing, a_hostile_name_is_text);
    tcase_add_test(drawing, axes_have_units_and_tools_have_lines_of_their_own);
    tcase_add_test(drawing, the_drawing_goes_through_the_samples_and_names_no_hidden_peak);
    tcase_add_test(drawing, tools_much_larger_than_the_process_do_not_press_its_line_flat);
    tcase_add_test(drawing, shared_readings_are_drawn_apart_and_explained);
    tcase_add_test(drawing, no_line_is_drawn_where_nothing_was_measured);
    tcase_add_test(drawing, a_run_of_thousands_of_stages_stays_a_small_file);
    tcase_add_test(drawing, more_calls_at_a_time_than_there_is_room_for_are_counted);
    suite_add_tcase(suite, drawing);

    tcase_add_test(figures, a_percentile_is_a_value_that_occurred);
    suite_add_tcase(suite, figures);
    return suite;
}
