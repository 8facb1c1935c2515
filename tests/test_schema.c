/* Arguments against their schema. The tables are in tests/data/schema (README.md there). */
#include <check.h>
#include <jansson.h>
#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tool/tool.h"

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

Suite *schema_suite(void);

static agent_error err;

static void begin(void)
{
    memset(&err, 0, sizeof(err));
}

/* --- the tables ------------------------------------------------------------------------------ */

static const char *const tables[] = {"types", "objects", "arrays", "strings", "numbers", "combined"};

static char *dump(const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

    ck_assert_ptr_nonnull(text);
    return text;
}

static agent_status test_value(const ag_schema *schema, json_t *value)
{
    json_t *arguments = json_pack("{sO}", "v", value);
    char *text = dump(arguments);
    agent_status rc;

    begin();
    rc = ag_schema_test(schema, ag_str_of(text), &err);
    free(text);
    json_decref(arguments);
    return rc;
}

static void check_row(const json_t *row)
{
    json_t *whole = json_pack("{s{sO}}", "properties", "v", json_object_get(row, "schema")), *value;
    char *text = dump(whole);
    ag_schema *schema = ag_schema_compile(ag_str_of(text), &err);
    size_t i;

    ck_assert_msg(schema != NULL, "%s: %s", text, err.text);
    json_array_foreach(json_object_get(row, "fits"), i, value)
        ck_assert_msg(test_value(schema, value) == AGENT_OK, "%s: value %zu of fits: %s", text, i, err.text);
    json_array_foreach(json_object_get(row, "fails"), i, value) {
        const char *said = json_string_value(json_array_get(value, 1));

        ck_assert_msg(said != NULL, "%s: value %zu of fails says nothing", text, i);
        ck_assert_msg(test_value(schema, json_array_get(value, 0)) == AGENT_EINVAL, "%s: value %zu of fails fits", text, i);
        ck_assert_str_eq(err.text, said);
    }
    ag_schema_free(schema);
    free(text);
    json_decref(whole);
}

START_TEST(every_row_of_the_tables_is_judged_as_it_says)
{
    char path[512];
    json_error_t wrong;
    json_t *table, *row;
    size_t i;

    (void)snprintf(path, sizeof(path), TEST_DATA "/schema/%s.json", tables[_i]);
    table = json_load_file(path, 0, &wrong);
    ck_assert_msg(table != NULL, "%s: line %d: %s", path, wrong.line, wrong.text);
    ck_assert_uint_gt(json_array_size(table), 5);
    json_array_foreach(table, i, row)
        check_row(row);
    json_decref(table);
}
END_TEST

/* --- arguments ------------------------------------------------------------------------------- */

static const struct {
    const char *arguments, *text;
} no_json[] = {
    {"", "arguments: empty, and so not JSON; {} is an object with nothing in it"},
    {"{\"city\": \"Oslo\"", "arguments: not JSON: line 1 column 15: '}' expected near end of file"},
    {"{\"city\": Oslo}", "arguments: not JSON: line 1 column 13: invalid token near 'Oslo'"},
    {"{\n \"city\": \"Oslo\",\n}", "arguments: not JSON: line 3 column 1: string or '}' expected near '}'"},
    {"{'city': 1}", "arguments: not JSON: line 1 column 2: string or '}' expected near '''"},
    {"{} {}", "arguments: not JSON: line 1 column 4: end of file expected near '{'"},
    {"{\"a\":1,\"a\":2}", "arguments: not JSON: line 1 column 10: duplicate object key near '\"a\"'"},
    {"{\"a\":\"\\u0000\"}", "arguments: not JSON: line 1 column 13: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"'"},
    {"{\"a\":\"\xff\"}", "arguments: not JSON: line 1 column 6: unable to decode byte 0xff near '\"'"},
    {"{\"a\":99999999999999999999}", "arguments: not JSON: line 1 column 25: too big integer near '99999999999999999999'"},
    {"[1]", "arguments: must be an object, is an array"},
    {"\"text\"", "arguments: must be an object, is a string"},
    {"null", "arguments: must be an object, is null"},
};

START_TEST(arguments_that_are_no_json_object_are_told_with_line_and_column)
{
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(no_json[_i].arguments), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, no_json[_i].text);
}
END_TEST

START_TEST(without_a_schema_any_object_will_do)
{
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, AG_STR("{}"), &err), AGENT_OK);
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, AG_STR(" {\"a\":[1,{}]}\n"), &err), AGENT_OK);
    ck_assert_int_eq(ag_schema_check(AG_STR("{}"), AG_STR("{\"a\":1}"), &err), AGENT_OK);
}
END_TEST

START_TEST(what_is_wrong_at_the_top_has_no_pointer_and_the_hint_names_the_properties)
{
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"city\":{},\"unit\":{}},\"minProperties\":1}";

    ck_assert_int_eq(ag_schema_check(ag_str_of(schema), AG_STR("{}"), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments: must have at least 1 properties, has 0");
    ck_assert_str_eq(err.hint, "the arguments are an object with: city, unit");
}
END_TEST

START_TEST(a_required_argument_that_is_missing_is_named_as_in_the_header)
{
    ck_assert_int_eq(ag_schema_check(AG_STR("{\"type\":\"object\",\"required\":[\"city\"]}"), AG_STR("{}"), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments /city: is required");
}
END_TEST

START_TEST(quotes_of_the_arguments_are_cut_between_characters)
{
    static const char long_text[] = "{\"a\": "
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e}";

    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(long_text), &err), AGENT_EINVAL);
    ck_assert_msg(ag_utf8_valid(ag_str_of(err.text), NULL), "%s", err.text);
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, AG_STR("{\"a\": x\xc3}"), &err), AGENT_EINVAL);
    ck_assert_msg(ag_utf8_valid(ag_str_of(err.text), NULL), "%s", err.text);
}
END_TEST

static char *nested(const char *open, const char *middle, const char *close, int times)
{
    size_t o = strlen(open), m = strlen(middle), c = strlen(close);
    char *text = malloc((o + c) * (size_t)times + m + 1), *to = text;

    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < times; i++, to += o)
        memcpy(to, open, o);
    memcpy(to, middle, m);
    to += m;
    for (int i = 0; i < times; i++, to += c)
        memcpy(to, close, c);
    *to = '\0';
    return text;
}

START_TEST(arguments_may_be_64_deep_and_no_deeper)
{
    char *fits = nested("{\"a\":", "1", "}", 64), *deeper = nested("{\"a\":", "1", "}", 65);
    char *million = nested("[", "", "", 1000000);

    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(fits), &err), AGENT_OK);
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(deeper), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments: nested deeper than 64");
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(million), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments: nested deeper than 64");
    free(fits);
    free(deeper);
    free(million);
}
END_TEST

START_TEST(brackets_in_strings_are_not_depth)
{
    char *text = nested("[", "", "", 200), whole[512];

    (void)snprintf(whole, sizeof(whole), "{\"a\":\"\\\"%s\"}", text);
    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(whole), &err), AGENT_OK);
    free(text);
}
END_TEST

START_TEST(arguments_over_a_megabyte_are_too_big)
{
    char *text = nested(" ", "{}", "", 1 << 20);

    ck_assert_int_eq(ag_schema_check(AG_STR_NONE, ag_str_of(text), &err), AGENT_ETOOBIG);
    ck_assert_str_eq(err.text, "arguments: 1048578 bytes, at most 1048576 are allowed");
    free(text);
}
END_TEST

/* --- schemas --------------------------------------------------------------------------------- */

static const struct {
    const char *schema, *text;
} bad[] = {
    {"", "schema: empty, and so not JSON; {} is an object with nothing in it"},
    {"{\"type\":", "schema: not JSON: line 1 column 8: unexpected token near end of file"},
    {"[]", "schema: must be an object, is an array"},
    {"true", "schema: must be an object, is a boolean"},
    {"{\"type\":\"string\"}", "schema /type: must be \"object\": the arguments of a tool are an object"},
    {"{\"type\":[\"object\",\"null\"]}", "schema /type: must be \"object\": the arguments of a tool are an object"},
    {"{\"requird\":[]}", "schema /requird: is not a keyword that can be checked here; leave it out"},
    {"{\"properties\":{\"a\":{\"dependentRequired\":{}}}}",
     "schema /properties/a/dependentRequired: is not a keyword that can be checked here; leave it out"},
    {"{\"properties\":{\"a\":{\"type\":\"strin\"}}}",
     "schema /properties/a/type: must be one of object, string, number, integer, boolean, array, null, or a list of them"},
    {"{\"properties\":{\"a\":{\"type\":[\"string\",1]}}}",
     "schema /properties/a/type: must be one of object, string, number, integer, boolean, array, null, or a list of them"},
    {"{\"properties\":{\"a\":{\"type\":[]}}}", "schema /properties/a/type: must not be an empty list: nothing could be given"},
    {"{\"properties\":[]}", "schema /properties: must be an object of schemas"},
    {"{\"properties\":{\"a\":1}}", "schema /properties/a: must be a schema: an object, true or false"},
    {"{\"required\":\"a\"}", "schema /required: must be a list of names"},
    {"{\"required\":[1]}", "schema /required: must be a list of names"},
    {"{\"enum\":[]}", "schema /enum: must be a list of values, one at least"},
    {"{\"enum\":\"a\"}", "schema /enum: must be a list of values, one at least"},
    {"{\"additionalProperties\":\"no\"}", "schema /additionalProperties: must be a schema: an object, true or false"},
    {"{\"properties\":{\"a\":{\"items\":[{}]}}}",
     "schema /properties/a/items: must be a schema; a list of one schema per place is called prefixItems"},
    {"{\"anyOf\":[]}", "schema /anyOf: must be a list of schemas, one at least"},
    {"{\"anyOf\":{}}", "schema /anyOf: must be a list of schemas, one at least"},
    {"{\"allOf\":[{},{\"oneOf\":[7]}]}", "schema /allOf/1/oneOf/0: must be a schema: an object, true or false"},
    {"{\"minProperties\":-1}", "schema /minProperties: must be an integer, 0 or more"},
    {"{\"minProperties\":1.5}", "schema /minProperties: must be an integer, 0 or more"},
    {"{\"minProperties\":1e300}", "schema /minProperties: must be an integer, 0 or more"},
    {"{\"minProperties\":-1e300}", "schema /minProperties: must be an integer, 0 or more"},
    {"{\"minProperties\":\"1\"}", "schema /minProperties: must be an integer, 0 or more"},
    {"{\"minimum\":\"1\"}", "schema /minimum: must be a number"},
    {"{\"exclusiveMinimum\":true}", "schema /exclusiveMinimum: must be a number"},
    {"{\"multipleOf\":0}", "schema /multipleOf: must be a number over 0"},
    {"{\"uniqueItems\":1}", "schema /uniqueItems: must be true or false"},
    {"{\"$ref\":7}", "schema /$ref: must be a string like #/$defs/name"},
    {"{\"$ref\":\"http://x/y\"}",
     "schema: $ref \"http://x/y\": only references into the schema itself, like #/$defs/name, can be followed"},
    {"{\"$ref\":\"#name\"}",
     "schema: $ref \"#name\": only references into the schema itself, like #/$defs/name, can be followed"},
    {"{\"$ref\":\"#/$defs/a\"}", "schema: $ref \"#/$defs/a\": there is no \"$defs\""},
    {"{\"$defs\":{\"b\":{}},\"$ref\":\"#/$defs/a\"}", "schema: $ref \"#/$defs/a\": there is no \"a\""},
    {"{\"anyOf\":[{}],\"$ref\":\"#/anyOf/1\"}", "schema: $ref \"#/anyOf/1\": there is no \"1\""},
    {"{\"anyOf\":[{}],\"$ref\":\"#/anyOf/x\"}", "schema: $ref \"#/anyOf/x\": there is no \"x\""},
    {"{\"anyOf\":[{}],\"$ref\":\"#/anyOf/\"}", "schema: $ref \"#/anyOf/\": there is no \"\""},
    {"{\"enum\":[5],\"$ref\":\"#/enum/0\"}",
     "$ref \"#/enum/0\": schema /$ref: must be a schema: an object, true or false"},
    {"{\"$ref\":\"#\"}", "schema: a $ref leads back to itself in a circle"},
    {"{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}",
     "schema: a $ref leads back to itself in a circle"},
    {"{\"not\":{\"$ref\":\"#\"}}", "schema: a $ref leads back to itself in a circle"},
    {"{\"properties\":{\"a\":{\"$id\":\"x\"}}}",
     "schema /properties/a/$id: is only possible at the top: below, it would change what # means"},
    {"{\"properties\":{\"a\":{\"pattern\":5}}}",
     "schema /properties/a/pattern: must be a string, a POSIX extended regular expression"},
};

START_TEST(a_schema_that_cannot_be_checked_whole_is_refused_by_name)
{
    ck_assert_int_eq(ag_schema_valid(ag_str_of(bad[_i].schema), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, bad[_i].text);
    ck_assert_ptr_null(ag_schema_compile(ag_str_of(bad[_i].schema), NULL));
    ck_assert_int_eq(ag_schema_check(ag_str_of(bad[_i].schema), AG_STR("{}"), NULL), AGENT_EINVAL);
}
END_TEST

/* Each means something else here than in ECMA's dialect, or costs too much. */
static const struct {
    const char *pattern, *why;
} patterns[] = {
    {"^\\\\d+$", "\\d is not POSIX: write [0-9], or [^0-9] for \\D"},
    {"[\\\\w-]", "a backslash in [] is a plain character in POSIX"},
    {"(?:a|b)", "(?\xe2\x80\xa6) is not POSIX"},
    {"(?=a)", "(?\xe2\x80\xa6) is not POSIX"},
    {"(a)\\\\1", "back references are not supported"},
    {"\\\\u00e4", "only \\w \\W \\s \\S \\b \\B are known"},
    {"\\\\n", "only \\w \\W \\s \\S \\b \\B are known"},
    {"(a{1,200}){1,200}", "its repetitions multiply to more than 4000 characters"},
    {"a+++++++++++++++++++++++++++", "its repetitions multiply to more than 4000 characters"}, /* found by the fuzzer */
    {"((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+", "its repetitions multiply to more than 4000 characters"},
    {"a)+++++++++++++++++++++++++++", "a \")\" without its \"(\""},
    {"a{4001}", "its repetitions multiply to more than 4000 characters"},
    {"((((((((((a{2}){2}){2}){2}){2}){2}){2}){2}){2}){20}", "its repetitions multiply to more than 4000 characters"},
    {"(((((((((((((((((a)))))))))))))))))", "its groups are nested too deeply"},
    {"[a", "pattern \"[a\": "},
    {"(a", "pattern \"(a\": "},
    {"a{2,1}", "pattern \"a{2,1}\": "},
    {"a\\\\", "Trailing backslash"},
};

START_TEST(a_pattern_that_would_mean_something_else_or_cost_too_much_is_refused)
{
    char schema[256];

    (void)snprintf(schema, sizeof(schema), "{\"properties\":{\"a\":{\"pattern\":\"%s\"}}}", patterns[_i].pattern);
    ck_assert_int_eq(ag_schema_valid(ag_str_of(schema), &err), AGENT_EINVAL);
    ck_assert_ptr_eq(strstr(err.text, "schema /properties/a/pattern: pattern \""), err.text);
    ck_assert_msg(strstr(err.text, patterns[_i].why) != NULL, "%s", err.text);

    (void)snprintf(schema, sizeof(schema), "{\"patternProperties\":{\"%s\":{}}}", patterns[_i].pattern);
    ck_assert_int_eq(ag_schema_valid(ag_str_of(schema), &err), AGENT_EINVAL);
    ck_assert_msg(strstr(err.text, patterns[_i].why) != NULL, "%s", err.text);
}
END_TEST

START_TEST(a_pattern_over_512_bytes_is_refused)
{
    char *letters = nested("a", "", "", 513), schema[1024];

    (void)snprintf(schema, sizeof(schema), "{\"properties\":{\"a\":{\"pattern\":\"%s\"}}}", letters);
    ck_assert_int_eq(ag_schema_valid(ag_str_of(schema), &err), AGENT_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "it is too long: at most 512 bytes"));
    free(letters);
}
END_TEST

START_TEST(a_text_over_64_kb_is_not_held_against_a_pattern)
{
    char *letters = nested("a", "", "", 65537);
    ag_buf b = AG_BUF_INIT(1 << 20);

    ag_buf_printf(&b, "{\"a\":\"%s\"}", letters);
    ck_assert_int_eq(ag_schema_check(AG_STR("{\"properties\":{\"a\":{\"pattern\":\"^a*$\"}}}"), ag_buf_view(&b), &err),
                     AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments /a: is too long for a text that has to match a pattern: over 65536 bytes");
    ag_buf_clear(&b);
    ag_buf_printf(&b, "{\"a\":\"%s\"}", letters + 1);
    ck_assert_int_eq(ag_schema_check(AG_STR("{\"properties\":{\"a\":{\"pattern\":\"^a*$\"}}}"), ag_buf_view(&b), &err),
                     AGENT_OK);
    ag_buf_drop(&b);
    free(letters);
}
END_TEST

START_TEST(patterns_do_not_depend_on_the_hosts_locale)
{
    static const char schema[] = "{\"properties\":{\"a\":{\"pattern\":\"^.$\"}}}";
    ag_schema *s;

    ck_assert_ptr_nonnull(setlocale(LC_ALL, "C"));
    s = ag_schema_compile(ag_str_of(schema), &err);
    ck_assert_int_eq(ag_schema_test(s, AG_STR("{\"a\":\"\xc3\xa4\"}"), &err), AGENT_OK);
    (void)setlocale(LC_ALL, "C.UTF-8");
    ck_assert_int_eq(ag_schema_test(s, AG_STR("{\"a\":\"\xc3\xa4\"}"), &err), AGENT_OK);
    ck_assert_int_eq(ag_schema_test(s, AG_STR("{\"a\":\"ae\"}"), &err), AGENT_EINVAL);
    (void)setlocale(LC_ALL, "C");
    ag_schema_free(s);
}
END_TEST

START_TEST(a_schema_may_be_as_deep_as_its_json_and_no_deeper)
{
    char *fits = nested("{\"not\":", "{}", "}", 60), *deeper = nested("{\"not\":", "{}", "}", 65);

    ck_assert_msg(ag_schema_valid(ag_str_of(fits), &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(ag_schema_valid(ag_str_of(deeper), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "schema: nested deeper than 64");
    free(fits);
    free(deeper);
}
END_TEST

/* a → b → c … each by $ref: nothing nests in the text. */
static char *chain(int links)
{
    ag_buf b = AG_BUF_INIT(1 << 20);

    ag_buf_z(&b, "{\"$defs\":{");
    for (int i = 0; i < links; i++)
        ag_buf_printf(&b, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
    ag_buf_printf(&b, "\"d%d\":{\"required\":[\"x\"]}},\"$ref\":\"#/$defs/d0\"}", links);
    return ag_buf_take(&b, NULL);
}

START_TEST(a_chain_of_references_has_a_bound)
{
    char *fits = chain(62), *longer = chain(2000);

    ck_assert_msg(ag_schema_check(ag_str_of(fits), AG_STR("{\"x\":1}"), &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(ag_schema_check(ag_str_of(fits), AG_STR("{}"), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "arguments /x: is required");
    ck_assert_int_eq(ag_schema_valid(ag_str_of(longer), &err), AGENT_EINVAL);
    ck_assert_str_eq(err.text, "schema: more than 64 schemas apply to one value through each other");
    ag_free(fits);
    ag_free(longer);
}
END_TEST

START_TEST(a_schema_of_too_many_parts_is_refused)
{
    char *text = nested("{},", "{}", "", 4096);
    ag_buf b = AG_BUF_INIT(1 << 20);

    ag_buf_printf(&b, "{\"anyOf\":[%s]}", text);
    ck_assert_int_eq(ag_schema_valid(ag_buf_view(&b), &err), AGENT_ETOOBIG);
    ck_assert_str_eq(err.text, "schema: more than 4096 schemas in one");
    ag_buf_drop(&b);
    free(text);
}
END_TEST

/* Two ways at each of 30 levels: 2^30 tests, if nobody counted. */
START_TEST(a_schema_that_would_take_for_ever_is_given_up_and_not_taken_for_a_yes)
{
    ag_buf b = AG_BUF_INIT(1 << 20);

    ag_buf_z(&b, "{\"$defs\":{");
    for (int i = 0; i < 30; i++)
        ag_buf_printf(&b, "\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i, i + 1, i + 1);
    ag_buf_z(&b, "\"d30\":true},\"not\":{\"$ref\":\"#/$defs/d0\"}}");
    ck_assert_int_eq(ag_schema_check(ag_buf_view(&b), AG_STR("{}"), &err), AGENT_ETOOBIG);
    ck_assert_str_eq(err.text, "arguments: too much to check: over 1000000 steps or 512 levels");
    ag_buf_drop(&b);
}
END_TEST

START_TEST(unique_items_of_a_long_list_are_bounded_too)
{
    ag_buf b = AG_BUF_INIT(1 << 20);

    ag_buf_z(&b, "{\"a\":[0");
    for (int i = 1; i < 20000; i++)
        ag_buf_printf(&b, ",%d", i);
    ag_buf_z(&b, "]}");
    ck_assert_int_eq(ag_schema_check(AG_STR("{\"properties\":{\"a\":{\"uniqueItems\":true}}}"), ag_buf_view(&b), &err),
                     AGENT_ETOOBIG);
    ag_buf_drop(&b);
}
END_TEST

START_TEST(a_recursive_schema_reaches_as_deep_as_the_arguments)
{
    static const char schema[] = "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"allOf\":[{\"$ref\":\"#/$defs/m\"}]},"
        "\"m\":{\"type\":\"object\",\"properties\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"const\":1}]}}}}}";
    char *ones = nested("{\"a\":", "1", "}", 64), *twos = nested("{\"a\":", "2", "}", 64);

    ck_assert_msg(ag_schema_check(ag_str_of(schema), ag_str_of(ones), &err) == AGENT_OK, "%s", err.text);
    ck_assert_int_eq(ag_schema_check(ag_str_of(schema), ag_str_of(twos), &err), AGENT_EINVAL);
    ck_assert_ptr_eq(strstr(err.text, "arguments /a: fits none of 2 alternatives"), err.text);
    ck_assert_msg(ag_utf8_valid(ag_str_of(err.text), NULL), "%s", err.text);
    free(ones);
    free(twos);
}
END_TEST

/* --- memory ---------------------------------------------------------------------------------- */

START_TEST(out_of_memory_is_told_and_leaks_nothing)
{
    static const char schema[] = "{\"properties\":{\"a\":{\"pattern\":\"^a\"},\"b\":{\"$ref\":\"#/$defs/c\"}},"
        "\"patternProperties\":{\"^x\":{\"enum\":[1]}},\"$defs\":{\"c\":{\"anyOf\":[{\"type\":\"string\"}]}}}";
    unsigned long n = 0;
    agent_status rc;

    do {
        (void)ag_mem_fail_at(++n);
        rc = ag_schema_check(ag_str_of(schema), AG_STR("{\"a\":\"abc\"}"), &err);
        (void)ag_mem_fail_at(0);
        ck_assert_msg(rc == AGENT_OK || rc == AGENT_ENOMEM, "allocation %lu: %s", n, err.text);
    } while (rc != AGENT_OK);
    ck_assert_uint_gt(n, 2);

    n = 0;
    for (ag_schema *s = NULL; s == NULL;) {
        (void)ag_mem_fail_at(++n);
        s = ag_schema_compile(ag_str_of(schema), &err);
        (void)ag_mem_fail_at(0);
        ck_assert(s != NULL || err.status == AGENT_ENOMEM);
        ag_schema_free(s);
    }
    ck_assert_uint_gt(n, 3);
}
END_TEST

static void *test_often(void *arg)
{
    intptr_t wrong = 0;

    for (int i = 0; i < 300; i++) {
        agent_error mine = AGENT_ERROR_INIT;

        wrong += ag_schema_test(arg, AG_STR("{\"a\":\"abc\",\"b\":{\"b\":{\"a\":\"x\"}}}"), &mine) != AGENT_EINVAL;
        wrong += strcmp(mine.text, "arguments /b/b/a: must match the pattern ^a, is \"x\"") != 0;
        wrong += ag_schema_test(arg, AG_STR("{\"a\":\"abc\",\"e\":[1.0]}"), &mine) != AGENT_OK;
    }
    return (void *)wrong;
}

START_TEST(one_schema_serves_many_threads_at_once)
{
    static const char schema[] = "{\"$defs\":{\"n\":{\"properties\":{\"a\":{\"pattern\":\"^a\"},\"b\":{\"$ref\":\"#/$defs/n\"},"
        "\"e\":{\"enum\":[[1],2]}}}},\"$ref\":\"#/$defs/n\"}";
    ag_schema *s = ag_schema_compile(ag_str_of(schema), &err);
    pthread_t threads[4];

    ck_assert_msg(s != NULL, "%s", err.text);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, test_often, s), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong = s;

        ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
        ck_assert_ptr_null(wrong);
    }
    ag_schema_free(s);
}
END_TEST

START_TEST(free_accepts_nothing)
{
    ag_schema_free(NULL);
}
END_TEST

Suite *schema_suite(void)
{
    Suite *suite = suite_create("schema");
    TCase *table = tcase_create("tables"), *arguments = tcase_create("arguments"), *schemas = tcase_create("schemas");

    tcase_add_loop_test(table, every_row_of_the_tables_is_judged_as_it_says, 0, COUNT(tables));
    suite_add_tcase(suite, table);

    tcase_add_checked_fixture(arguments, begin, NULL);
    tcase_add_loop_test(arguments, arguments_that_are_no_json_object_are_told_with_line_and_column, 0, COUNT(no_json));
    tcase_add_test(arguments, without_a_schema_any_object_will_do);
    tcase_add_test(arguments, what_is_wrong_at_the_top_has_no_pointer_and_the_hint_names_the_properties);
    tcase_add_test(arguments, a_required_argument_that_is_missing_is_named_as_in_the_header);
    tcase_add_test(arguments, quotes_of_the_arguments_are_cut_between_characters);
    tcase_add_test(arguments, arguments_may_be_64_deep_and_no_deeper);
    tcase_add_test(arguments, brackets_in_strings_are_not_depth);
    tcase_add_test(arguments, arguments_over_a_megabyte_are_too_big);
    suite_add_tcase(suite, arguments);

    tcase_add_checked_fixture(schemas, begin, NULL);
    tcase_add_loop_test(schemas, a_schema_that_cannot_be_checked_whole_is_refused_by_name, 0, COUNT(bad));
    tcase_add_loop_test(schemas, a_pattern_that_would_mean_something_else_or_cost_too_much_is_refused, 0, COUNT(patterns));
    tcase_add_test(schemas, a_pattern_over_512_bytes_is_refused);
    tcase_add_test(schemas, a_text_over_64_kb_is_not_held_against_a_pattern);
    tcase_add_test(schemas, patterns_do_not_depend_on_the_hosts_locale);
    tcase_add_test(schemas, a_schema_may_be_as_deep_as_its_json_and_no_deeper);
    tcase_add_test(schemas, a_chain_of_references_has_a_bound);
    tcase_add_test(schemas, a_schema_of_too_many_parts_is_refused);
    tcase_add_test(schemas, a_schema_that_would_take_for_ever_is_given_up_and_not_taken_for_a_yes);
    tcase_add_test(schemas, unique_items_of_a_long_list_are_bounded_too);
    tcase_add_test(schemas, a_recursive_schema_reaches_as_deep_as_the_arguments);
    tcase_add_test(schemas, out_of_memory_is_told_and_leaks_nothing);
    tcase_add_test(schemas, one_schema_serves_many_threads_at_once);
    tcase_add_test(schemas, free_accepts_nothing);
    suite_add_tcase(suite, schemas);
    return suite;
}
