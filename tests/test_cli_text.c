/*
 * Text of a command line: what is a duration, how words are split, how wide they stand.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

static agent_error err;

/* --- numbers with units ------------------------------------------------------------------------------ */

static const struct {
    const char *text;
    int64_t ms; /* -1: is none */
} durations[] = {
    {"500ms", 500}, {"10s", 10000}, {"2m", 120000},  {"1h", 3600000}, {"1d", 86400000}, {"1.5h", 5400000}, {"3", 3000},
    {"0", 0},       {"", -1},       {"s", -1},       {"-1s", -1},     {"1x", -1},       {"1s ", -1},       {" 1s", -1},
    {"0x10", -1},   {"nan", -1},    {"1e30h", -1},   {"inf", -1},     {"1s2", -1},
};

START_TEST(a_duration_is_a_number_and_a_unit_and_nothing_else)
{
    int64_t ms = -1;

    ck_assert_msg(text_duration(durations[_i].text, &ms) == (durations[_i].ms >= 0), "'%s'", durations[_i].text);
    ck_assert_int_eq(ms, durations[_i].ms);
}
END_TEST

START_TEST(a_size_counts_in_steps_of_1024)
{
    int64_t bytes = -1;

    ck_assert(text_size("64MB", &bytes));
    ck_assert_int_eq(bytes, 64 << 20);
    ck_assert(text_size("2k", &bytes));
    ck_assert_int_eq(bytes, 2048);
    ck_assert(text_size("7", &bytes));
    ck_assert_int_eq(bytes, 7);
    ck_assert(!text_size("7 pounds", &bytes));
    ck_assert_int_eq(bytes, 7);
}
END_TEST

START_TEST(an_integer_out_of_its_range_is_refused)
{
    int64_t v = 5;

    ck_assert(!text_int("0", 1, 10, &v));
    ck_assert(!text_int("11", 1, 10, &v));
    ck_assert(!text_int("99999999999999999999", 1, INT64_MAX, &v));
    ck_assert(!text_int("3x", 1, 10, &v));
    ck_assert(!text_int("", 0, 10, &v));
    ck_assert_int_eq(v, 5);
    ck_assert(text_int("10", 1, 10, &v));
    ck_assert_int_eq(v, 10);
}
END_TEST

START_TEST(a_word_is_found_among_choices_as_a_whole)
{
    size_t index = 9;

    ck_assert(text_is_word("low", "high|normal|low", &index));
    ck_assert_uint_eq(index, 2);
    ck_assert(!text_is_word("lo", "high|normal|low", &index));
    ck_assert(!text_is_word("high|normal", "high|normal|low", &index));
    ck_assert(!text_is_word("", "high|normal|low", &index));
}
END_TEST

/* --- words -------------------------------------------------------------------------------------------- */

static const struct {
    const char *line, *words; /* joined by | ; NULL: refused */
} splits[] = {
    {"ls -l", "ls|-l"},
    {"  a\tb\nc  ", "a|b|c"},
    {"echo 'two words'", "echo|two words"},
    {"echo \"two words\"", "echo|two words"},
    {"a'b'\"c\"d", "abcd"},
    {"a\\ b", "a b"},
    {"''", ""},
    {"x '' y", "x||y"},
    {"'a\\b'", "a\\b"},
    {"\"a\\b\\\"c\\$d\"", "a\\b\"c$d"},
    {"$HOME *.c ~", "$HOME|*.c|~"},
    {"\"it's\"", "it's"},
    {"'unclosed", NULL},
    {"\"unclosed", NULL},
    {"ends in \\", NULL},
    {"", NULL},
    {"   ", NULL},
};

START_TEST(words_are_split_as_a_shell_does_without_expansion)
{
    char **words = NULL, joined[200] = "";
    agent_status rc = text_split(splits[_i].line, &words, &err);

    if (splits[_i].words == NULL) {
        ck_assert_int_eq(rc, AGENT_EINVAL);
        ck_assert_ptr_null(words);
        return;
    }
    ck_assert_int_eq(rc, AGENT_OK);
    for (char **w = words; *w != NULL; w++) {
        strcat(joined, w == words ? "" : "|");
        strcat(joined, *w);
    }
    ck_assert_str_eq(joined, splits[_i].words);
    free(words);
}
END_TEST

START_TEST(a_distance_counts_edits_and_a_swap_is_one)
{
    ck_assert_uint_eq(text_distance("list", "list"), 0);
    ck_assert_uint_eq(text_distance("lst", "list"), 1);
    ck_assert_uint_eq(text_distance("lsit", "list"), 1);
    ck_assert_uint_eq(text_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(text_distance("", "abc"), 3);
}
END_TEST

/* --- width ----------------------------------------------------------------------------------------------- */

START_TEST(wide_characters_take_two_columns_and_marks_none)
{
    ck_assert_uint_eq(text_width("abc", 3), 3);
    ck_assert_uint_eq(text_width("日本", strlen("日本")), 4);
    ck_assert_uint_eq(text_width("e\xCC\x81", 3), 1);
    ck_assert_uint_eq(text_width("ü…", strlen("ü…")), 2);
    ck_assert_uint_eq(text_width("🙂", strlen("🙂")), 2);
    ck_assert_uint_eq(text_width("\xFF\xFE", 2), 2);
}
END_TEST

START_TEST(a_head_never_cuts_a_character)
{
    const char *text = "a日b";

    ck_assert_uint_eq(text_head(text, strlen(text), 0), 0);
    ck_assert_uint_eq(text_head(text, strlen(text), 1), 1);
    ck_assert_uint_eq(text_head(text, strlen(text), 2), 1);
    ck_assert_uint_eq(text_head(text, strlen(text), 3), 4);
    ck_assert_uint_eq(text_head(text, strlen(text), 99), strlen(text));
}
END_TEST

START_TEST(what_is_no_utf8_is_seen)
{
    static const char *const bad[] = {"\xC0\x80", "\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xFF"};
    uint32_t code = 0;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_uint_eq(text_utf8(bad[i], strlen(bad[i]), &code), 0);
    ck_assert_uint_eq(text_utf8("€", strlen("€"), &code), 3);
    ck_assert_uint_eq(code, 0x20AC);
}
END_TEST

/* --- arguments -------------------------------------------------------------------------------------------- */

START_TEST(an_argument_is_itself_and_two_ats_are_one)
{
    struct text text = {0};

    ck_assert_int_eq(text_argument("plain", 100, &text, &err), AGENT_OK);
    ck_assert_str_eq(text.at, "plain");
    ck_assert_uint_eq(text.bytes, 5);
    free(text.at);
    ck_assert_int_eq(text_argument("@@home", 100, &text, &err), AGENT_OK);
    ck_assert_str_eq(text.at, "@home");
    free(text.at);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named_with_its_remedy)
{
    struct text text = {0};

    ck_assert_int_eq(text_argument("@/nowhere/at/all", 100, &text, &err), AGENT_ENOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/at/all"));
    ck_assert_ptr_nonnull(strstr(err.hint, "@@"));
    ck_assert_ptr_null(text.at);
}
END_TEST

Suite *cli_text_suite(void);
Suite *cli_text_suite(void)
{
    Suite *suite = suite_create("cli_text");
    TCase *tc = tcase_create("text");

    tcase_add_loop_test(tc, a_duration_is_a_number_and_a_unit_and_nothing_else, 0,
                        sizeof(durations) / sizeof(durations[0]));
    tcase_add_test(tc, a_size_counts_in_steps_of_1024);
    tcase_add_test(tc, an_integer_out_of_its_range_is_refused);
    tcase_add_test(tc, a_word_is_found_among_choices_as_a_whole);
    tcase_add_loop_test(tc, words_are_split_as_a_shell_does_without_expansion, 0, sizeof(splits) / sizeof(splits[0]));
    tcase_add_test(tc, a_distance_counts_edits_and_a_swap_is_one);
    tcase_add_test(tc, wide_characters_take_two_columns_and_marks_none);
    tcase_add_test(tc, a_head_never_cuts_a_character);
    tcase_add_test(tc, what_is_no_utf8_is_seen);
    tcase_add_test(tc, an_argument_is_itself_and_two_ats_are_one);
    tcase_add_test(tc, a_file_that_is_not_there_is_named_with_its_remedy);
    suite_add_tcase(suite, tc);
    return suite;
}
