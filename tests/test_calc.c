/* calc, now and the arguments of the memory tools. Numbers in brackets: invariants of calc.c. */
#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/tool/tool.h"

static agent_error err;
static ag_buf out;

static void begin(void)
{
    memset(&err, 0, sizeof(err));
    out = AG_BUF_INIT(4096);
}

static void end(void)
{
    ag_buf_drop(&out);
}

Suite *calc_suite(void);

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *expression, *result;
} sums[] = {
    {"17*23", "391"},
    {" 1 + 2\t*\n3 ", "7"},
    {"(1+2)*3", "9"},
    {"10-4-3", "3"},
    {"100/10/2", "5"},
    {"7/2", "3.5"},
    {"1/3", "0.333333333333333"},
    {"0.1+0.2", "0.3"},
    {"2^10", "1024"},
    {"2**10", "1024"},
    {"2^3^2", "512"},
    {"-2^2", "-4"},
    {"(-2)^2", "4"},
    {"2^-1", "0.5"},
    {"2^0.5", "1.4142135623731"},
    {"--3", "3"},
    {"-+-3", "3"},
    {"2*-3", "-6"},
    {"-0", "0"},
    {"0*-5", "0"},
    {"-2.5%2.5", "0"}, /* found by the fuzzer: it was -0 */
    {"17%5", "2"},
    {"-17%5", "-2"},
    {"5.5%2", "1.5"},
    {".5+1.", "1.5"},
    {"1e3", "1000"},
    {"1.5E-3", "0.0015"},
    {"2e+2", "200"},
    {"6.02e23*2", "1.204e+24"},
    {"1e-400", "0"},
    {"17\xc3\x97" "23", "391"},
    {"9\xc3\xb7" "3", "3"},
    {"5\xe2\x88\x92" "3", "2"},
    {"\xe2\x88\x92" "3", "-3"},
    {"pi", "3.14159265358979"},
    {"PI*2", "6.28318530717959"},
    {"e", "2.71828182845905"},
    {"sqrt(16)", "4"},
    {"sqrt(2)", "1.4142135623731"},
    {"Abs(-3.5)", "3.5"},
    {"abs ( -7 )", "7"},
    {"floor(-2.5)", "-3"},
    {"ceil(-2.5)", "-2"},
    {"round(2.5)", "3"},
    {"round(-2.5)", "-3"},
    {"round(3.14159, 2)", "3.14"},
    {"round(1234, -2)", "1200"},
    {"round(5, 3)", "5"},
    {"round(1e300, 20)", "1e+300"},
    {"min(3, 1, 2)", "1"},
    {"max(3)", "3"},
    {"max(-1, -2.5)", "-1"},
    {"ln(e)", "1"},
    {"log(e^2)", "2"},
    {"log(8, 2)", "3"},
    {"log(1000, 10)", "3"},
    {"log(81, 3)", "4"},
    {"log10(1000)", "3"},
    {"exp(0)", "1"},
    {"sin(0)", "0"},
    {"cos(pi)", "-1"},
    {"round(tan(pi/4), 6)", "1"},
    {"pow(2, 8)", "256"},
    {"pow(-8, 3)", "-512"},
    {"pow(2.5, 2)", "6.25"},
    {"0^0", "1"},
    {"sqrt(3^2+4^2)", "5"},
    {"min(2, max(1, 3)) * (4 - 1)", "6"},
};

START_TEST(sums_have_the_result_of_pen_and_paper)
{
    ck_assert_msg(ag_calc(ag_str_of(sums[_i].expression), &out, &err) == AGENT_OK, "%s: %s", sums[_i].expression,
                  err.text);
    ck_assert_msg(ag_str_is(ag_buf_view(&out), sums[_i].result), "%s = %s, not %s", sums[_i].expression,
                  ag_buf_view(&out).p, sums[_i].result);
}
END_TEST

/* (2): 2^53 is 9007199254740992; what is over it is told as rounded, never with wrong last digits. */
static const struct {
    const char *expression, *result;
} exact[] = {
    {"2^53", "9007199254740992"},
    {"-2^53", "-9007199254740992"},
    {"9007199254740992", "9007199254740992"},
    {"9007199254740993", "9.00719925474099e+15"},
    {"2^53+1", "9.00719925474099e+15"},
    {"2^53-1", "9007199254740991"},
    {"2^52+2^52", "9007199254740992"},
    {"2^54", "1.8014398509482e+16"},
    {"2^53+1-1", "9.00719925474099e+15"},
    {"94906265*94906265", "9007199136250225"},
    {"3*3002399751580331", "9.00719925474099e+15"}, /* 2^53+1, which a double rounds to 2^53 */
    {"999999999999999*9", "8999999999999991"},
    {"3^33", "5559060566555523"},
    {"3^34", "1.66771816996666e+16"},
    {"111111111*11111111", "1234567887654321"},
    {"9007199254740991/3", "3.00239975158033e+15"}, /* does not divide: 2/3 are left */
    {"9007199254740990/3", "3002399751580330"},
    {"9007199254740991%10", "1"},
    {"round(8999999999999999)", "8999999999999999"},
    {"abs(-9007199254740992)", "9007199254740992"},
};

START_TEST(integers_are_exact_up_to_two_to_the_53)
{
    ck_assert_msg(ag_calc(ag_str_of(exact[_i].expression), &out, &err) == AGENT_OK, "%s", err.text);
    ck_assert_msg(ag_str_is(ag_buf_view(&out), exact[_i].result), "%s = %s, not %s", exact[_i].expression,
                  ag_buf_view(&out).p, exact[_i].result);
}
END_TEST

static const struct {
    const char *expression, *text;
} wrong[] = {
    {"", "expression: is empty; expected something like 17*23"},
    {"  ", "expression: character 3: expected a number, a function or \"(\", found the end"},
    {"2+", "expression: character 3: expected a number, a function or \"(\", found the end"},
    {"2+)", "expression: character 3: expected a number, a function or \"(\", found \")\""},
    {"(2+3", "expression: character 5: expected an operator or \")\", found the end"},
    {"2 3", "expression: character 3: expected an operator, found \"3\""},
    {"2(3)", "expression: character 2: expected an operator, found \"(\""},
    {"2)", "expression: character 2: expected an operator, found \")\""},
    {"0x10", "expression: character 2: expected an operator, found \"x\""},
    {"2e", "expression: character 2: expected an operator, found \"e\""},
    {"1,000", "expression: character 2: a comma stands only between the arguments of a function: write 1000, not 1,000"},
    {"15%", "expression: character 4: expected a number, a function or \"(\", found the end"},
    {"1..2", "expression: character 3: expected an operator, found \".\""},
    {".", "expression: character 1: expected a number, a function or \"(\", found \".\""},
    {"5\xe2\x82\xac", "expression: character 2: expected an operator, found \"\xe2\x82\xac\""},
    {"\xc3\x97\xc3\x97", "expression: character 1: expected a number, a function or \"(\", found \"\xc3\x97\""},
    {"2\xc3\x97\xc3\x97", "expression: character 3: expected a number, a function or \"(\", found \"\xc3\x97\""},
    {"1+\xff", "expression: character 3: expected a number, a function or \"(\", found byte 0xff"},
    {"inf", "expression: character 1: \"inf\" is not known: there are pi, e, sqrt, abs, floor, ceil, round, min, "
            "max, ln, log, log10, exp, sin, cos, tan, pow"},
    {"1/0", "expression: character 2: division by zero"},
    {"5 % (3-3)", "expression: character 3: division by zero"},
    {"0^-1", "expression: character 2: division by zero"},
    {"1e308*10", "expression: character 6: the product is too large: over 1.8e308"},
    {"1e308+1e308", "expression: character 6: the sum is too large: over 1.8e308"},
    {"1/1e-320", "expression: character 2: the quotient is too large: over 1.8e308"},
    {"10^400", "expression: character 3: the power is too large: over 1.8e308"},
    {"1e400", "expression: character 1: the number is too large: over 1.8e308"},
    {"2*exp(1000)", "expression: character 3: exp is too large: over 1.8e308"},
    {"sqrt(-1)", "expression: character 1: sqrt has no real value"},
    {"1+ln(0)", "expression: character 3: ln has no real value"},
    {"log(5, 1)", "expression: character 1: log has no real value"},
    {"(-8)^(1/3)", "expression: character 5: the power has no real value"},
    {"round(2, 0.5)", "expression: character 1: round has no real value"},
    {"sqrt", "expression: character 5: expected \"(\" after the function's name, found the end"},
    {"sqrt()", "expression: character 6: expected a number, a function or \"(\", found \")\""},
    {"sqrt(1,2)", "expression: character 8: sqrt takes 1 argument"},
    {"round(1,2,3)", "expression: character 11: round takes at most 2 arguments"},
    {"pow(2)", "expression: character 1: pow takes 2 arguments"},
    {"max(1 2)", "expression: character 7: expected \",\" or \")\", found \"2\""},
};

START_TEST(what_is_wrong_is_told_with_its_place_and_nothing_is_written)
{
    ag_buf_z(&out, "before");
    ck_assert_int_eq(ag_calc(ag_str_of(wrong[_i].expression), &out, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, wrong[_i].text);
    ck_assert_str_eq(out.p, "before");
}
END_TEST

static agent_status calc_repeated(const char *unit, int times, const char *rest)
{
    static char text[8192];
    size_t n = strlen(unit), r = strlen(rest);

    ck_assert_uint_lt(n * (size_t)times + r, sizeof(text));
    for (int i = 0; i < times; i++)
        memcpy(text + n * (size_t)i, unit, n);
    memcpy(text + n * (size_t)times, rest, r + 1);
    return ag_calc(ag_str_of(text), &out, &err);
}

/* (4): every way to nest: groups, functions, powers. Signs and long sums do not nest. */
START_TEST(depth_and_length_are_bounded)
{
    ck_assert_int_eq(calc_repeated("(", 200, "1"), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "expression: character 101: nested deeper than 100");
    ck_assert_int_eq(calc_repeated("sqrt(", 200, "1"), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "nested deeper than 100"));
    ck_assert_int_eq(calc_repeated("1^", 200, "1"), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "nested deeper than 100"));
    ck_assert_int_eq(calc_repeated("1+", 2048, "1"), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "expression: 4097 bytes, at most 4096 are allowed");

    ck_assert_msg(calc_repeated("1+", 2000, "1") == AGENT_OK, "%s", err.text);
    ck_assert_str_eq(out.p, "2001");
    ag_buf_clear(&out);
    ck_assert_msg(calc_repeated("-", 4001, "1") == AGENT_OK, "%s", err.text);
    ck_assert_str_eq(out.p, "-1");
}
END_TEST

START_TEST(a_zero_byte_is_no_end_of_the_expression)
{
    ck_assert_int_eq(ag_calc((struct ag_str){"1\0+1", 4}, &out, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "expression: character 2: expected an operator, found byte 0x00");
}
END_TEST

/* (5): a host that set a German locale for its own texts must not get 3 for 3.5. */
START_TEST(the_decimal_point_is_a_point_in_every_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8"};

    for (int i = 0; i < COUNT(names); i++)
        if (setlocale(LC_ALL, names[i]) != NULL)
            break;
    ck_assert_int_eq(ag_calc(AG_STR("3.5*2.5"), &out, &err), AGENT_OK);
    (void)setlocale(LC_ALL, "C");
    ck_assert_str_eq(out.p, "8.75");
}
END_TEST

START_TEST(the_callers_locale_is_given_back)
{
    locale_t mine = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(mine);

    ck_assert_int_eq(ag_calc(AG_STR("1+1"), &out, &err), AGENT_OK);
    ck_assert(uselocale((locale_t)0) == mine);
    ck_assert_int_eq(ag_calc(AG_STR("1+"), &out, &err), AGENT_EINVAL);
    ck_assert(uselocale(before) == mine);
    freelocale(mine);
}
END_TEST

/* --- builtins -------------------------------------------------------------------------------- */

static int64_t given_ms;

static int64_t unix_ms(void *ctx)
{
    return *(int64_t *)ctx;
}

static const ag_clock fixed_clock = {.unix_ms = unix_ms, .ctx = &given_ms};

static const struct {
    int64_t ms;
    const char *arguments, *result;
} times[] = {
    {0, "{}", "1970-01-01T00:00:00.000Z Thursday"},
    {1767323045678, "{}", "2026-01-02T03:04:05.678Z Friday"},
    {1767323045678, "{\"utc_offset\":\"+00:00\"}", "2026-01-02T03:04:05.678Z Friday"},
    {1767323045678, "{\"utc_offset\":\"Z\"}", "2026-01-02T03:04:05.678Z Friday"},
    {1767323045678, "{\"utc_offset\":\"+02:00\"}", "2026-01-02T05:04:05.678+02:00 Friday (UTC 2026-01-02T03:04:05.678Z)"},
    {1767323045678, "{\"utc_offset\":\"-03:30\"}", "2026-01-01T23:34:05.678-03:30 Thursday (UTC 2026-01-02T03:04:05.678Z)"},
    {1709164800000, "{\"utc_offset\":\"+14:00\"}", "2024-02-29T14:00:00.000+14:00 Thursday (UTC 2024-02-29T00:00:00.000Z)"},
    {-1, "{}", "1969-12-31T23:59:59.999Z Wednesday"},
};

START_TEST(now_tells_time_and_weekday_in_utc_or_at_an_offset)
{
    given_ms = times[_i].ms;
    ck_assert_msg(ag_builtin_call(ag_builtin_find(AG_STR("now")), ag_str_of(times[_i].arguments), &fixed_clock, &out,
                                  &err) == AGENT_OK, "%s", err.text);
    ck_assert_str_eq(out.p, times[_i].result);
}
END_TEST

START_TEST(now_refuses_offsets_that_no_place_on_earth_has)
{
    static const char *const offsets[] = {"+15:00", "+14:01", "-02:60", "02:00", "+2:00", "+02-00", "CEST", "+0a:00"};

    for (int i = 0; i < COUNT(offsets); i++) {
        char arguments[64];

        (void)snprintf(arguments, sizeof(arguments), "{\"utc_offset\":\"%s\"}", offsets[i]);
        ck_assert_int_eq(ag_builtin_call(ag_builtin_find(AG_STR("now")), ag_str_of(arguments), &fixed_clock, &out, &err),
                         AGENT_EINVAL);
        ck_assert_str_eq(err.text, "arguments /utc_offset: must be like +02:00, between -14:00 and +14:00");
    }
    ck_assert_uint_eq(out.n, 0);
}
END_TEST

START_TEST(calc_is_called_with_its_arguments_as_json)
{
    const struct ag_builtin *calc = ag_builtin_find(AG_STR("calc"));

    ck_assert_int_eq(ag_builtin_call(calc, AG_STR("{\"expression\":\"17\\u002a23\"}"), &fixed_clock, &out, &err), AGENT_OK);
    ck_assert_str_eq(out.p, "391");
    ck_assert_int_eq(ag_builtin_call(calc, AG_STR("{}"), &fixed_clock, &out, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments /expression: is required");
    ck_assert_int_eq(ag_builtin_call(calc, AG_STR("{\"expression\":17}"), &fixed_clock, &out, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments /expression: must be of type string, is an integer");
    ck_assert_int_eq(ag_builtin_call(calc, AG_STR("[1]"), &fixed_clock, &out, &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments: must be an object, is an array");
}
END_TEST

START_TEST(a_result_over_the_buffers_cap_is_an_error)
{
    ag_buf small = AG_BUF_INIT(2);

    ck_assert_int_eq(ag_calc(AG_STR("17*23"), &small, &err), AGENT_ETOOBIG);
    ag_buf_drop(&small);
}
END_TEST

START_TEST(every_builtin_has_a_schema_that_can_be_checked_and_is_found_by_name)
{
    const struct ag_builtin *b = &ag_builtins[_i];

    ck_assert_msg(ag_schema_valid(ag_str_of(b->schema), &err) == AGENT_OK, "%s: %s", b->name, err.text);
    ck_assert_ptr_eq(ag_builtin_find(ag_str_of(b->name)), b);
    ck_assert_uint_gt(strlen(b->description), 20);
    ck_assert_int_eq(ag_schema_check(ag_str_of(b->schema), AG_STR("{\"unheard_of\":1}"), &err), AGENT_EINVAL);
}
END_TEST

START_TEST(there_are_five_builtins_and_no_others)
{
    ck_assert_uint_eq(ag_builtin_count, 5);
    ck_assert_ptr_null(ag_builtin_find(AG_STR("")));
    ck_assert_ptr_null(ag_builtin_find(AG_STR("cal")));
    ck_assert_ptr_null(ag_builtin_find(AG_STR("calc2")));
}
END_TEST

START_TEST(memory_tools_are_not_called_here_but_by_the_engine)
{
    ck_assert_int_eq(ag_builtin_call(ag_builtin_find(AG_STR("remember")), AG_STR("{\"text\":\"x\"}"), &fixed_clock, &out,
                                     &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "tool 'remember': needs the engine");
}
END_TEST

START_TEST(arguments_of_the_memory_tools_are_copied_and_absent_ones_stay_absent)
{
    ag_arena a = AG_ARENA_INIT;
    struct ag_memory_args args;
    char text[] = "{\"key\":\"user.city\",\"text\":\"lives in K\\u00f6ln\"}";

    ck_assert_int_eq(ag_memory_args(ag_str_of(text), &a, &args, &err), AGENT_OK);
    memset(text, 'x', sizeof(text));
    ck_assert(ag_str_is(args.key, "user.city"));
    ck_assert(ag_str_is(args.text, "lives in K\xc3\xb6ln"));
    ck_assert_ptr_null(args.query.p);
    ck_assert_int_eq(args.limit, 0);

    ck_assert_int_eq(ag_memory_args(AG_STR("{\"query\":\"\",\"limit\":7.0}"), &a, &args, &err), AGENT_OK);
    ck_assert_ptr_nonnull(args.query.p);
    ck_assert_uint_eq(args.query.n, 0);
    ck_assert_int_eq(args.limit, 7);
    ag_arena_drop(&a);
}
END_TEST

START_TEST(arguments_of_the_memory_tools_that_are_wrong_leave_the_result_alone)
{
    static const struct {
        const char *arguments, *text;
    } rows[] = {
        {"{\"key\":1}", "arguments /key: must be of type string, is an integer"},
        {"{\"limit\":\"5\"}", "arguments /limit: must be an integer over 0"},
        {"{\"limit\":0}", "arguments /limit: must be an integer over 0"},
        {"{\"limit\":1e300}", "arguments /limit: must be an integer over 0"},
        {"[]", "arguments: must be an object, is an array"},
    };
    ag_arena a = AG_ARENA_INIT;
    struct ag_memory_args args = {.limit = 42};

    for (int i = 0; i < COUNT(rows); i++) {
        ck_assert_int_eq(ag_memory_args(ag_str_of(rows[i].arguments), &a, &args, &err), AGENT_EINVAL);
        ck_assert_str_eq(err.text, rows[i].text);
        ck_assert_int_eq(args.limit, 42);
    }
    ag_arena_drop(&a);
}
END_TEST

Suite *calc_suite(void)
{
    Suite *suite = suite_create("calc");
    TCase *calc = tcase_create("calc"), *builtins = tcase_create("builtins");

    tcase_add_checked_fixture(calc, begin, end);
    tcase_add_loop_test(calc, sums_have_the_result_of_pen_and_paper, 0, COUNT(sums));
    tcase_add_loop_test(calc, integers_are_exact_up_to_two_to_the_53, 0, COUNT(exact));
    tcase_add_loop_test(calc, what_is_wrong_is_told_with_its_place_and_nothing_is_written, 0, COUNT(wrong));
    tcase_add_test(calc, depth_and_length_are_bounded);
    tcase_add_test(calc, a_zero_byte_is_no_end_of_the_expression);
    tcase_add_test(calc, the_decimal_point_is_a_point_in_every_locale);
    tcase_add_test(calc, the_callers_locale_is_given_back);
    suite_add_tcase(suite, calc);

    tcase_add_checked_fixture(builtins, begin, end);
    tcase_add_loop_test(builtins, now_tells_time_and_weekday_in_utc_or_at_an_offset, 0, COUNT(times));
    tcase_add_test(builtins, now_refuses_offsets_that_no_place_on_earth_has);
    tcase_add_test(builtins, calc_is_called_with_its_arguments_as_json);
    tcase_add_test(builtins, a_result_over_the_buffers_cap_is_an_error);
    tcase_add_loop_test(builtins, every_builtin_has_a_schema_that_can_be_checked_and_is_found_by_name, 0, 5);
    tcase_add_test(builtins, there_are_five_builtins_and_no_others);
    tcase_add_test(builtins, memory_tools_are_not_called_here_but_by_the_engine);
    tcase_add_test(builtins, arguments_of_the_memory_tools_are_copied_and_absent_ones_stay_absent);
    tcase_add_test(builtins, arguments_of_the_memory_tools_that_are_wrong_leave_the_result_alone);
    suite_add_tcase(suite, builtins);
    return suite;
}
