/*
 * calc: arithmetic for a model, which is bad at it. One pass over the text, no tree.
 *
 *    sum     = product (("+" | "-") product)*
 *    product = signed (("*" | "/" | "%") signed)*
 *    signed  = ("+" | "-")* power
 *    power   = primary ("^" signed)?              so -2^2 is -4, and 2^3^2 is 2^9
 *    primary = number | constant | function "(" sum ("," sum)* ")" | "(" sum ")"
 *
 *  (1) The first failure ends it and is the one that is told: with the character it stands at
 *      (from 1) and what was expected there.
 *  (2) A value that is `exact` is the integer that pen and paper would give; it is printed with all
 *      its digits. Everything else is a double, printed with the 15 digits a double is good for, so
 *      0.1+0.2 is 0.3.
 *  (3) No infinity and no NaN goes on: what overflows or has no value is an error where it arose.
 *  (4) Depth is bounded by AG_CALC_DEPTH, length by AG_CALC_BYTES.
 *  (5) The host's locale has no say in what a decimal point is.
 */
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tool/tool.h"

#define AG_CALC_BYTES 4096 /* longer than any sum a person would write, small enough for the stack */
#define AG_CALC_DEPTH 100
#define AG_CALC_ARGS  64   /* of min and max */

static const double exact_most = 9007199254740992.0; /* 2^53: the next integer has no double */

struct value {
    double d;
    bool exact; /* (2) */
};

struct calc {
    char *begin, *at, *end; /* a copy of the expression, ours to put NULs into */
    int depth;
    agent_status rc; /* (1) */
    agent_error *err;
};

static struct value sum(struct calc *c);
static struct value signed_power(struct calc *c);

static const struct value nothing = {0, false};

/* --- failures -------------------------------------------------------------------------------- */

static struct value fail(struct calc *c, const char *place, const char *fmt, ...) AGENT_PRINTF(3, 4);

static struct value fail(struct calc *c, const char *place, const char *fmt, ...)
{
    char text[256];
    size_t character = 1;
    va_list ap;

    if (c->rc != AGENT_OK) /* (1) */
        return nothing;
    for (const char *p = c->begin; p < place; p++)
        character += ((unsigned char)*p & 0xc0) != 0x80;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->rc = ag_fail(c->err, AGENT_EINVAL, 0, "expression: character %zu: %s", character, text);
    return nothing;
}

static void skip_space(struct calc *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

/* "expected X, found Y", where Y is the character that is there. */
static struct value expected(struct calc *c, const char *what)
{
    size_t n = ag_utf8_char(c->at, (size_t)(c->end - c->at));

    if (c->at == c->end)
        return fail(c, c->at, "expected %s, found the end", what);
    if (n == 0 || (unsigned char)*c->at < 0x20)
        return fail(c, c->at, "expected %s, found byte 0x%02x", what, (unsigned char)*c->at);
    return fail(c, c->at, "expected %s, found \"%.*s\"", what, (int)n, c->at);
}

/* --- values ---------------------------------------------------------------------------------- */

static struct value plain(double d)
{
    return (struct value){d, d == trunc(d) && fabs(d) < exact_most};
}

/* (3): `what` is what was being done at `place`. */
static struct value checked(struct calc *c, struct value v, const char *place, const char *what)
{
    if (isnan(v.d))
        return fail(c, place, "%s has no real value", what);
    if (isinf(v.d))
        return fail(c, place, "%s is too large: over 1.8e308", what);
    return v;
}

/* Whether a+b was rounded is told by what is left over (Knuth's TwoSum). */
static struct value add(struct value a, struct value b)
{
    double r = a.d + b.d, from_b = r - a.d, rest = (a.d - (r - from_b)) + (b.d - from_b);

    return (struct value){r, a.exact && b.exact && rest == 0 && fabs(r) <= exact_most};
}

static struct value multiply(struct value a, struct value b)
{
    double r = a.d * b.d;

    return (struct value){r, a.exact && b.exact && fabs(r) <= exact_most && fma(a.d, b.d, -r) == 0};
}

static struct value divide(struct value a, struct value b)
{
    struct value r = {a.d / b.d, false};

    r.exact = a.exact && b.exact && r.d == trunc(r.d) && fma(r.d, b.d, -a.d) == 0;
    return r;
}

/* Integers by squaring, exactly; the rest, and what outgrows 2^53, by pow(). */
static struct value power_of(struct value a, struct value b)
{
    struct value r = {1, true}, square = a;

    if (a.exact && b.exact && b.d >= 0 && b.d <= 1024) {
        for (unsigned left = (unsigned)b.d; left > 0; left >>= 1) {
            if (left & 1)
                r = multiply(r, square);
            if (left > 1)
                square = multiply(square, square);
        }
        if (r.exact)
            return r;
    }
    return (struct value){pow(a.d, b.d), false};
}

/* --- functions ------------------------------------------------------------------------------- */

static struct value do_sqrt(const struct value *a, int n)
{
    (void)n;
    return plain(sqrt(a->d));
}

static struct value do_abs(const struct value *a, int n)
{
    (void)n;
    return (struct value){fabs(a->d), a->exact};
}

static struct value do_floor(const struct value *a, int n)
{
    (void)n;
    return a->exact ? *a : plain(floor(a->d));
}

static struct value do_ceil(const struct value *a, int n)
{
    (void)n;
    return a->exact ? *a : plain(ceil(a->d));
}

/* round(x), round(x, digits). Halves go away from zero. */
static struct value do_round(const struct value *a, int n)
{
    double scale, scaled;

    if (n == 1)
        return a->exact ? *a : plain(round(a->d));
    if (a[1].d != trunc(a[1].d) || fabs(a[1].d) > 300)
        return plain(NAN);
    if (a->exact && a[1].d >= 0)
        return *a;
    scale = pow(10, fabs(a[1].d));
    scaled = a[1].d < 0 ? a->d / scale : a->d * scale;
    if (!isfinite(scaled) || fabs(scaled) >= exact_most) /* it has no digits there */
        return *a;
    return plain(a[1].d < 0 ? round(scaled) * scale : round(scaled) / scale);
}

static struct value do_min(const struct value *a, int n)
{
    struct value least = a[0];

    for (int i = 1; i < n; i++)
        if (a[i].d < least.d)
            least = a[i];
    return least;
}

static struct value do_max(const struct value *a, int n)
{
    struct value most = a[0];

    for (int i = 1; i < n; i++)
        if (a[i].d > most.d)
            most = a[i];
    return most;
}

/* Of nothing there is no logarithm: C says -inf, which would be told as "too large". */
static struct value logarithm(double x, double (*f)(double))
{
    return plain(x > 0 ? f(x) : NAN);
}

static struct value do_ln(const struct value *a, int n)
{
    (void)n;
    return logarithm(a->d, log);
}

static struct value do_log10(const struct value *a, int n)
{
    (void)n;
    return logarithm(a->d, log10);
}

/* log(x) is the natural one, as in every programming language; log(x, base) is to a base. */
static struct value do_log(const struct value *a, int n)
{
    if (n == 1)
        return do_ln(a, 1);
    if (a[1].d == 10 || a[1].d == 2) /* log(1000, 10) is 3 and not 2.9999999999999996 */
        return logarithm(a->d, a[1].d == 10 ? log10 : log2);
    return a->d > 0 && a[1].d > 0 && a[1].d != 1 ? plain(log(a->d) / log(a[1].d)) : plain(NAN);
}

static struct value do_exp(const struct value *a, int n)
{
    (void)n;
    return plain(exp(a->d));
}

static struct value do_sin(const struct value *a, int n)
{
    (void)n;
    return plain(sin(a->d));
}

static struct value do_cos(const struct value *a, int n)
{
    (void)n;
    return plain(cos(a->d));
}

static struct value do_tan(const struct value *a, int n)
{
    (void)n;
    return plain(tan(a->d));
}

static struct value do_pow(const struct value *a, int n)
{
    (void)n;
    return power_of(a[0], a[1]);
}

static const struct function {
    const char *name;
    int least, most; /* arguments */
    struct value (*call)(const struct value *a, int n); /* NaN: no value */
} functions[] = {
    {"sqrt", 1, 1, do_sqrt},   {"abs", 1, 1, do_abs},     {"floor", 1, 1, do_floor},
    {"ceil", 1, 1, do_ceil},   {"round", 1, 2, do_round}, {"min", 1, AG_CALC_ARGS, do_min},
    {"max", 1, AG_CALC_ARGS, do_max}, {"ln", 1, 1, do_ln}, {"log", 1, 2, do_log},
    {"log10", 1, 1, do_log10}, {"exp", 1, 1, do_exp},     {"sin", 1, 1, do_sin},
    {"cos", 1, 1, do_cos},     {"tan", 1, 1, do_tan},     {"pow", 2, 2, do_pow},
};

static const struct {
    const char *name;
    double d;
} constants[] = {{"pi", 3.14159265358979323846}, {"e", 2.7182818284590452354}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- the grammar ----------------------------------------------------------------------------- */

static bool is_digit(struct calc *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

static struct value number(struct calc *c)
{
    char *from = c->at, kept;
    bool is_most;
    double d;

    while (is_digit(c))
        c->at++;
    if (c->at < c->end && *c->at == '.')
        c->at++;
    while (is_digit(c))
        c->at++;
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        char *back = c->at++;

        if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
        if (!is_digit(c))
            c->at = back; /* "2e" is 2 and then something else */
        while (is_digit(c))
            c->at++;
    }
    kept = *c->at; /* a NUL behind it: strtod knows hexadecimal and more that we do not */
    *c->at = '\0';
    d = strtod(from, NULL);
    is_most = strcmp(from, "9007199254740992") == 0; /* for 2^53+1 is read as the same double */
    *c->at = kept;
    if (isinf(d))
        return fail(c, from, "the number is too large: over 1.8e308");
    return is_most ? (struct value){d, true} : plain(d);
}

static bool takes(struct calc *c, const char *token)
{
    size_t n = strlen(token);

    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, token, n) != 0)
        return false;
    c->at += n;
    return true;
}

static struct value call(struct calc *c, const struct function *f, const char *place)
{
    struct value args[AG_CALC_ARGS], r;
    int n = 0;

    if (!takes(c, "("))
        return expected(c, "\"(\" after the function's name");
    do {
        if (n == f->most)
            return fail(c, c->at, "%s takes %s%d argument%s", f->name, f->least < f->most ? "at most " : "", f->most,
                        f->most == 1 ? "" : "s");
        args[n++] = sum(c);
        if (c->rc != AGENT_OK)
            return nothing;
    } while (takes(c, ","));
    if (!takes(c, ")"))
        return expected(c, "\",\" or \")\"");
    if (n < f->least)
        return fail(c, place, "%s takes %d arguments", f->name, f->least);
    r = f->call(args, n);
    return checked(c, r, place, f->name);
}

static struct value name(struct calc *c)
{
    char *from = c->at;
    char text[16];
    size_t n = 0;

    while (c->at < c->end && (isalnum((unsigned char)*c->at) || *c->at == '_')) {
        if (n < sizeof(text) - 1)
            text[n++] = (char)tolower((unsigned char)*c->at);
        c->at++;
    }
    text[n] = '\0';
    for (size_t i = 0; i < COUNT(constants); i++)
        if (strcmp(text, constants[i].name) == 0)
            return (struct value){constants[i].d, false};
    for (size_t i = 0; i < COUNT(functions); i++)
        if (strcmp(text, functions[i].name) == 0)
            return call(c, &functions[i], from);
    return fail(c, from, "\"%s\" is not known: there are pi, e, sqrt, abs, floor, ceil, round, min, max, ln, log, "
                "log10, exp, sin, cos, tan, pow", text);
}

static struct value primary(struct calc *c)
{
    static const char what[] = "a number, a function or \"(\"";
    struct value v;

    skip_space(c);
    if (is_digit(c) || (c->at + 1 < c->end && *c->at == '.' && isdigit((unsigned char)c->at[1])))
        return number(c);
    if (c->at < c->end && isalpha((unsigned char)*c->at))
        return name(c);
    if (!takes(c, "("))
        return expected(c, what);
    v = sum(c);
    if (c->rc == AGENT_OK && !takes(c, ")"))
        return expected(c, "an operator or \")\"");
    return v;
}

static struct value power(struct calc *c)
{
    struct value v = primary(c);
    const char *place;

    skip_space(c);
    place = c->at;
    if (c->rc != AGENT_OK || !(takes(c, "**") || takes(c, "^"))) /* "**" is how half of all languages write it */
        return v;
    struct value by = signed_power(c);
    if (c->rc != AGENT_OK)
        return nothing;
    if (v.d == 0 && by.d < 0)
        return fail(c, place, "division by zero");
    return checked(c, power_of(v, by), place, "the power");
}

static struct value signed_power(struct calc *c)
{
    bool negative = false;
    struct value v;

    for (;;) {
        if (takes(c, "-") || takes(c, "\xe2\x88\x92")) /* U+2212, the sign that typographers use */
            negative = !negative;
        else if (!takes(c, "+"))
            break;
    }
    if (++c->depth > AG_CALC_DEPTH) /* (4): every way down comes through here */
        return fail(c, c->at, "nested deeper than %d", AG_CALC_DEPTH);
    v = power(c);
    c->depth--;
    if (negative)
        v.d = -v.d;
    return v;
}

static struct value product(struct calc *c)
{
    struct value v = signed_power(c);

    while (c->rc == AGENT_OK) {
        const char *place;
        struct value by;
        char op;

        skip_space(c);
        place = c->at;
        if (takes(c, "*") || takes(c, "\xc3\x97") /* × */)
            op = '*';
        else if (takes(c, "/") || takes(c, "\xc3\xb7") /* ÷ */)
            op = '/';
        else if (takes(c, "%"))
            op = '%';
        else
            break;
        by = signed_power(c);
        if (c->rc != AGENT_OK)
            break;
        if (op != '*' && by.d == 0)
            return fail(c, place, "division by zero");
        v = op == '*' ? multiply(v, by) : op == '/' ? divide(v, by)
            : (struct value){fmod(v.d, by.d), v.exact && by.exact};
        v = checked(c, v, place, op == '*' ? "the product" : op == '/' ? "the quotient" : "the remainder");
    }
    return v;
}

static struct value sum(struct calc *c)
{
    struct value v = product(c);

    while (c->rc == AGENT_OK) {
        const char *place;
        bool minus;
        struct value by;

        skip_space(c);
        place = c->at;
        minus = takes(c, "-") || takes(c, "\xe2\x88\x92");
        if (!minus && !takes(c, "+"))
            break;
        by = product(c);
        if (c->rc != AGENT_OK)
            break;
        if (minus)
            by.d = -by.d;
        v = checked(c, add(v, by), place, "the sum");
    }
    return v;
}

/* --- the way in ------------------------------------------------------------------------------ */

static void write_value(struct value v, ag_buf *out)
{
    char text[40];

    if (v.exact || v.d == 0) {
        ag_buf_int(out, (int64_t)v.d); /* also makes -0 a 0 */
        return;
    }
    (void)snprintf(text, sizeof(text), "%.15g", v.d);
    ag_buf_z(out, text);
}

static agent_status calculate(struct ag_str expression, ag_buf *out, agent_error *err)
{
    char text[AG_CALC_BYTES + 1];
    struct calc c = {.begin = text, .at = text, .end = text + expression.n, .err = err};
    struct value v;

    memcpy(text, expression.p, expression.n);
    text[expression.n] = '\0';
    v = sum(&c);
    skip_space(&c);
    if (c.rc == AGENT_OK && c.at < c.end) {
        if (*c.at == ',')
            (void)fail(&c, c.at, "a comma stands only between the arguments of a function: write 1000, not 1,000");
        else
            (void)expected(&c, "an operator");
    }
    if (c.rc != AGENT_OK)
        return c.rc;
    write_value(v, out);
    return ag_buf_status(out, "result", err);
}

agent_status ag_calc(struct ag_str expression, ag_buf *out, agent_error *err)
{
    locale_t ours, hosts;
    agent_status rc;

    if (expression.n == 0)
        return ag_fail(err, AGENT_EINVAL, 0, "expression: is empty; expected something like 17*23");
    if (expression.n > AG_CALC_BYTES)
        return ag_fail(err, AGENT_EINVAL, 0, "expression: %zu bytes, at most %d are allowed", expression.n, AG_CALC_BYTES);
    if ((ours = newlocale(LC_ALL_MASK, "C", (locale_t)0)) == (locale_t)0)
        return ag_fail(err, AGENT_ENOMEM, 0, "expression: out of memory");
    hosts = uselocale(ours); /* (5); of this thread only */
    rc = calculate(expression, out, err);
    (void)uselocale(hosts);
    freelocale(ours);
    return rc;
}
