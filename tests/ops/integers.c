/* SPDX-License-Identifier: Apache-2.0 */
/* Integer arithmetic: wraps, rounds down, refuses what has no result. And conversions between all types. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

static const char *const type_names[] = {"f32", "f16", "bf16", "f64", "i32", "i64", "u8", "bool"};

static int binary(struct one *one, const char *op, int32_t dtype, int64_t n, void *a, void *b) {
    char text[400];
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {a: {dtype: %s, shape: [N]}, b: {dtype: %s, shape: [N]}}\n"
             "nodes: {y: {op: %s, in: [a, b]}}\noutputs: {y: y}\n",
             type_names[dtype], type_names[dtype], op);
    int status = one_open(one, text, one_best);
    if (status == 0) status = one_input(one, "a", a, dtype, 1, &n);
    if (status == 0) status = one_input(one, "b", b, dtype, 1, &n);
    return status == 0 ? one_run(one) : status;
}

Test(integers, i64_rules) {
    int64_t a[] = {7, -7, 7, -7, 6, -6, INT64_MIN, INT64_MAX, INT64_MIN, 0, 5}, b[] = {3, 3, -3, -3, -3, 3, -1, -1, 1, 9, 2};
    static const struct {
        const char *op;
        int64_t expected[11];
    } rules[] = {
        {"div", {2, -3, -3, 2, -2, -2, INT64_MIN, -INT64_MAX, INT64_MIN, 0, 2}},
        {"mod", {1, 2, -2, -1, 0, 0, 0, 0, 0, 0, 1}},
        {"add", {10, -4, 4, -10, 3, -3, INT64_MAX, INT64_MAX - 1, INT64_MIN + 1, 9, 7}},
        {"sub", {4, -10, 10, -4, 9, -9, INT64_MIN + 1, INT64_MIN, INT64_MAX, -9, 3}},
        {"mul", {21, -21, -21, 21, -18, -18, INT64_MIN, -INT64_MAX, INT64_MIN, 0, 10}},
        {"minimum", {3, -7, -3, -7, -3, -6, INT64_MIN, -1, INT64_MIN, 0, 2}},
        {"maximum", {7, 3, 7, -3, 6, 3, -1, INT64_MAX, 1, 9, 5}},
    };
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        struct one one;
        cr_assert(binary(&one, rules[k].op, FLOW_I64, 11, a, b) == 0, "%s", one.message);
        const int64_t *y = one_output(&one, "y")->data;
        for (int i = 0; i < 11; i++)
            cr_assert(y[i] == rules[k].expected[i], "%s(%lld, %lld) = %lld, expected %lld", rules[k].op, (long long)a[i], (long long)b[i],
                      (long long)y[i], (long long)rules[k].expected[i]);
        one_close(&one);
    }
}

Test(integers, i32_wraps) {
    int32_t a[] = {INT32_MAX, INT32_MIN, INT32_MIN, 65536, -5}, b[] = {1, 1, -1, 65536, 2};
    struct one one;
    cr_assert(binary(&one, "add", FLOW_I32, 5, a, b) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((int32_t[]){INT32_MIN, INT32_MIN + 1, INT32_MAX, 131072, -3}), 20);
    one_close(&one);
    cr_assert(binary(&one, "mul", FLOW_I32, 5, a, b) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((int32_t[]){INT32_MAX, INT32_MIN, INT32_MIN, 0, -10}), 20);
    one_close(&one);
    cr_assert(binary(&one, "div", FLOW_I32, 5, a, b) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((int32_t[]){INT32_MAX, INT32_MIN, INT32_MIN, 1, -3}), 20);
    one_close(&one);
}

Test(integers, u8_and_pow) {
    uint8_t a[] = {250, 3, 2, 0, 255}, b[] = {10, 5, 9, 0, 255};
    struct one one;
    cr_assert(binary(&one, "add", FLOW_U8, 5, a, b) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((uint8_t[]){4, 8, 11, 0, 254}), 5);
    one_close(&one);
    cr_assert(binary(&one, "pow", FLOW_U8, 5, a, b) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((uint8_t[]){0, 243, 0, 1, 255}), 5); /* 250^10 = 2^10 125^10 = 0 modulo 256 */
    one_close(&one);
    int64_t p[] = {-3, 2, 0, 10, -1}, q[] = {3, 62, 0, 18, 1000001};
    cr_assert(binary(&one, "pow", FLOW_I64, 5, p, q) == 0, "%s", one.message);
    cr_assert_arr_eq(one_output(&one, "y")->data, ((int64_t[]){-27, INT64_C(1) << 62, 1, 1000000000000000000, -1}), 40);
    one_close(&one);
}

Test(integers, what_has_no_result_is_an_error) {
    int64_t a[] = {1, 2, 3, 4}, zero[] = {1, 1, 0, 0}, negative[] = {0, -1, 2, 3};
    struct one one;
    cr_assert(binary(&one, "div", FLOW_I64, 4, a, zero) == FLOW_ERROR_RANGE);
    cr_assert(strstr(one.message, "divided by 0") && strstr(one.message, "element 2"), "%s", one.message);
    one_close(&one);
    cr_assert(binary(&one, "mod", FLOW_I64, 4, a, zero) == FLOW_ERROR_RANGE, "%s", one.message);
    one_close(&one);
    cr_assert(binary(&one, "pow", FLOW_I64, 4, a, negative) == FLOW_ERROR_RANGE);
    cr_assert(strstr(one.message, "negative power") && strstr(one.message, "element 1"), "%s", one.message);
    one_close(&one);
    static const struct {
        const char *type, *op, *why;
        int32_t dtype;
    } values[] = {{"u8", "add, in: a, with: {value: 256}", "256: the input is u8", FLOW_U8},
                  {"i64", "lt, in: a, with: {value: 0.5}", "0.5: the input is i64", FLOW_I64},
                  {"i32", "add, in: a, with: {value: 2147483648}", "the input is i32", FLOW_I32},
                  {"bool", "eq, in: a, with: {value: 2}", "the input is bool", FLOW_BOOL},
                  {"u8", "clamp, in: a, with: {min: 300}", "no u8 lies within", FLOW_U8}};
    for (int i = 0; i < 5; i++) {
        char text[300];
        snprintf(text, sizeof text, "flow: 1\ninputs: {a: {dtype: %s, shape: [2]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n",
                 values[i].type, values[i].op);
        cr_assert(one_open(&one, text, one_best) == 0 && one_input(&one, "a", a, values[i].dtype, 1, (int64_t[]){2}) == 0, "%s",
                  one.message);
        cr_assert(one_run(&one) == FLOW_ERROR_RANGE, "%s", values[i].op);
        cr_assert(strstr(one.message, values[i].why), "%s: %s", values[i].op, one.message);
        one_close(&one);
    }
}

Test(integers, division_of_many_names_the_first) {
    enum { N = 100000 };
    int64_t *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    cr_assert(a && b);
    for (int i = 0; i < N; i++) a[i] = i, b[i] = i % 40000 == 39999 ? 0 : 7;
    char text[] =
        "flow: 1\ninputs: {a: {dtype: i64, shape: [N]}, b: {dtype: i64, shape: [N]}}\nnodes: {y: {op: div, in: [a, b]}}\noutputs: {y: y}\n";
    for (int threads = 1; threads <= 2; threads++) {
        struct one one;
        cr_assert(one_open(&one, text, (struct one_options){.isa = -1, .threads = threads}) == 0);
        cr_assert(one_input(&one, "a", a, FLOW_I64, 1, (int64_t[]){N}) == 0 && one_input(&one, "b", b, FLOW_I64, 1, (int64_t[]){N}) == 0);
        cr_assert(one_run(&one) == FLOW_ERROR_RANGE);
        cr_assert(strstr(one.message, "element 39999 "), "%s", one.message);
        one_close(&one);
    }
    free(a), free(b);
}

/* ---- cast -------------------------------------------------------------------------------------------------------- */

/* The value that `x` has as a `dtype`: what storing gives, by the rules of the operator's page. */
static double stored(int32_t dtype, double x) {
    switch (dtype) {
    case FLOW_F32: return (float)x;
    case FLOW_I32: return isnan(x) ? 0 : x <= -0x1p31 ? -0x1p31 : x >= 0x1p31 ? 0x1p31 - 1 : trunc(x);
    case FLOW_I64: return isnan(x) ? 0 : x <= -0x1p63 ? -0x1p63 : x >= 0x1p63 ? 0x1p63 : trunc(x);
    case FLOW_U8: return isnan(x) || x <= 0 ? 0 : x >= 255 ? 255 : trunc(x);
    case FLOW_BOOL: return x != 0;
    default: return x;
    }
}
static bool is_integer(int32_t dtype) { return dtype == FLOW_I32 || dtype == FLOW_I64 || dtype == FLOW_U8 || dtype == FLOW_BOOL; }

static int cast(struct one *one, int32_t from, int32_t to, int64_t n, void *x, int32_t isa) {
    char text[300];
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {x: {dtype: %s, shape: [N]}}\nnodes: {y: {op: cast, in: x, with: {to: %s}}}\noutputs: {y: y}\n",
             type_names[from], type_names[to]);
    int status = one_open(one, text, (struct one_options){.isa = isa});
    if (status == 0) status = one_input(one, "x", x, from, 1, &n);
    return status == 0 ? one_run(one) : status;
}

/* Every f16 to f32 and back, and to f64, is itself. */
Test(cast, halves_survive) {
    static uint16_t x[65536];
    for (int isa = 0; isa < 3; isa++)
        for (int32_t half = FLOW_F16; half <= FLOW_BF16; half++)
            for (int i = 0; i < 2; i++) {
                int32_t wide = i ? FLOW_F64 : FLOW_F32;
                struct one up, down;
                for (int k = 0; k < 65536; k++) x[k] = (uint16_t)k;
                cr_assert(cast(&up, half, wide, 65536, x, isa) == 0, "%s", up.message);
                const struct flow_tensor *y = one_output(&up, "y");
                cr_assert(cast(&down, wide, half, 65536, y->data, isa) == 0, "%s", down.message);
                const uint16_t *back = one_output(&down, "y")->data;
                for (int k = 0; k < 65536; k++) {
                    double value = flow_tensor_real(y, k);
                    int magnitude = k & 0x7FFF, digits = half == FLOW_F16 ? 10 : 7, bias = half == FLOW_F16 ? 15 : 127;
                    int exponent = magnitude >> digits, fraction = magnitude & ((1 << digits) - 1);
                    double expected = exponent == (half == FLOW_F16 ? 31 : 255) ? (fraction ? NAN : INFINITY)
                                      : exponent == 0                           ? ldexp(fraction, 1 - bias - digits)
                                                                                : ldexp(fraction + (1 << digits), exponent - bias - digits);
                    if (k & 0x8000) expected = -expected;
                    cr_assert(isnan(expected) ? isnan(value) : value == expected, "%s %04x is %g, expected %g", type_names[half], k, value,
                              expected);
                    cr_assert(isnan(expected) ? (back[k] & 0x7FFF) > (half == FLOW_F16 ? 0x7C00 : 0x7F80) : back[k] == k,
                              "%s %04x comes back as %04x", type_names[half], k, back[k]);
                }
                one_close(&up), one_close(&down);
            }
}

/* To the nearest, ties to even, in one rounding from f64: around every midpoint between neighbours. */
Test(cast, rounding_to_halves) {
    enum { N = 60000 };
    static double x[N];
    static uint16_t expected[N];
    for (int32_t half = FLOW_F16; half <= FLOW_BF16; half++)
        for (int isa = 0; isa < 3; isa++) {
            int top = half == FLOW_F16 ? 0x7BFF : 0x7F7F, count = 0;
            int digits = half == FLOW_F16 ? 10 : 7, bias = half == FLOW_F16 ? 15 : 127;
            for (int k = 0; k < top && count + 3 <= N; k += half == FLOW_F16 ? 2 : 3) {
                double ends[2];
                for (int e = 0; e < 2; e++) {
                    int exponent = (k + e) >> digits, fraction = (k + e) & ((1 << digits) - 1);
                    ends[e] =
                        exponent == 0 ? ldexp(fraction, 1 - bias - digits) : ldexp(fraction + (1 << digits), exponent - bias - digits);
                }
                double middle = (ends[0] + ends[1]) / 2;
                x[count] = middle, expected[count++] = (uint16_t)(k & 1 ? k + 1 : k);
                x[count] = nextafter(middle, 0), expected[count++] = (uint16_t)k;
                x[count] = -nextafter(middle, INFINITY), expected[count++] = (uint16_t)((k + 1) | 0x8000);
            }
            struct one one;
            cr_assert(cast(&one, FLOW_F64, half, count, x, isa) == 0, "%s", one.message);
            const uint16_t *y = one_output(&one, "y")->data;
            for (int i = 0; i < count; i++)
                cr_assert(y[i] == expected[i], "%s of %.17g is %04x, expected %04x", type_names[half], x[i], y[i], expected[i]);
            one_close(&one);
        }
}

Test(cast, all_pairs) {
    static const double values[] = {0,   -0.0, 1,      -1,   0.5,     -0.5, 1.5,   -1.5,         2.5,          127,
                                    128, 255,  256,    -256, 65535.9, 1e6,  -1e6,  2147483520.0, 2147483648.0, -2147483648.0,
                                    4e9, -4e9, 9.2e18, 1e19, -1e19,   1e30, -1e30, INFINITY,     -INFINITY,    NAN};
    enum { N = sizeof values / sizeof *values };
    static const int32_t types[] = {FLOW_F32, FLOW_F64, FLOW_I32, FLOW_I64, FLOW_U8, FLOW_BOOL};
    for (int isa = 0; isa < 3; isa++)
        for (int p = 0; p < 6; p++)
            for (int q = 0; q < 6; q++) {
                if (p == q) continue;
                int32_t from = types[p], to = types[q];
                double buffer[N], held[N];
                for (int i = 0; i < N; i++) {
                    double v = held[i] = stored(from, values[i]);
                    if (from == FLOW_F32) ((float *)buffer)[i] = (float)v;
                    else if (from == FLOW_F64) buffer[i] = v;
                    else if (from == FLOW_I32) ((int32_t *)buffer)[i] = (int32_t)v;
                    else if (from == FLOW_I64) ((int64_t *)buffer)[i] = v >= 0x1p63 ? INT64_MAX : (int64_t)v;
                    else ((uint8_t *)buffer)[i] = (uint8_t)v;
                }
                struct one one;
                cr_assert(cast(&one, from, to, N, buffer, isa) == 0, "%s", one.message);
                for (int i = 0; i < N; i++) {
                    double found = flow_tensor_real(one_output(&one, "y"), i), expected = stored(to, held[i]);
                    if (is_integer(from) && is_integer(to) && to != FLOW_BOOL) { /* the low bits */
                        int64_t v = from == FLOW_I32   ? ((int32_t *)buffer)[i]
                                    : from == FLOW_I64 ? ((int64_t *)buffer)[i]
                                                       : ((uint8_t *)buffer)[i];
                        expected = to == FLOW_I32 ? (double)(int32_t)(uint32_t)(uint64_t)v : to == FLOW_U8 ? (double)(uint8_t)v : (double)v;
                    }
                    cr_assert(isnan(expected) ? isnan(found) : found == expected, "set %d: %s %g to %s gives %g, expected %g", isa,
                              type_names[from], held[i], type_names[to], found, expected);
                }
                one_close(&one);
            }
}
