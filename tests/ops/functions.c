/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one input against long double, on every instruction set: errors in units of the last place, special values exactly. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

typedef long double real;

static real sigmoid(real x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
static real silu(real x) { return x * sigmoid(x); }
static real softplus(real x) { return fmaxl(x, 0) + log1pl(expl(-fabsl(x))); }
static real mish(real x) { return x * tanhl(softplus(x)); }
static real gelu(real x) { return 0.5L * x * erfcl(-x * sqrtl(0.5L)); }
static real gelu_tanh(real x) { return x * sigmoid(2 * sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x)); }
static real rsqrt_(real x) { return 1 / sqrtl(x); }
static real elu(real x) { return x > 0 ? x : expm1l(x); }
static real relu_squared(real x) { return x > 0 ? x * x : 0; }

static const struct function {
    const char *node;
    real (*reference)(real);
    double low, high;        /* drawn from there */
    double ulp32, ulp64;     /* largest error */
    double floor32, floor64; /* absolute error that is always allowed: tails below what the type's neighbourhood of 1 resolves */
} functions[] = {
    {"exp, in: x", expl, -103, 88.7, 1.1, 1.1, 0, 0},
    {"log, in: x", logl, 0, 1e3, 1.1, 1.1, 0, 0},
    {"sin, in: x", sinl, -9.9e4, 9.9e4, 1.6, 2.5, 0, 0},
    {"cos, in: x", cosl, -9.9e4, 9.9e4, 1.6, 2.5, 0, 0},
    {"sin, in: x", sinl, -2e7, 2e7, 1.6, 2.5, 0, 0}, /* libm */
    {"erf, in: x", erfl, -5, 5, 3, 4.5, 0, 0},
    {"tanh, in: x", tanhl, -11, 11, 2.2, 2.6, 0, 0},
    {"sigmoid, in: x", sigmoid, -80, 80, 2.5, 2.5, 0, 0},
    {"silu, in: x", silu, -80, 80, 3.2, 3.2, 0, 0},
    {"softplus, in: x", softplus, -80, 80, 2.5, 2.5, 0, 0},
    {"mish, in: x", mish, -80, 80, 4.2, 4.2, 0, 0},
    {"gelu, in: x", gelu, -9, 9, 4, 4, 8e-7, 5e-16},
    {"gelu, in: x, with: {approximate: tanh}", gelu_tanh, -9, 9, 4, 4, 6e-8, 5e-16},
    {"elu, in: x", elu, -30, 30, 1.7, 2.2, 0, 0},
    {"sqrt, in: x", sqrtl, 0, 1e6, 0.51, 0.51, 0, 0},
    {"rsqrt, in: x", rsqrt_, 1e-6, 1e6, 1.6, 1.6, 0, 0},
    {"floor, in: x", floorl, -1e4, 1e4, 0, 0, 0, 0},
    {"round, in: x", rintl, -1e4, 1e4, 0, 0, 0, 0},
    {"abs, in: x", fabsl, -1e4, 1e4, 0, 0, 0, 0},
    {"relu_squared, in: x", relu_squared, -10, 10, 0.51, 0.51, 0, 0},
};

enum { COUNT = 20011 };

static double ulps(double found, real expected, int digits, int least) {
    int exponent;
    frexpl(expected, &exponent);
    if (exponent < least || expected == 0) exponent = least;
    return (double)(fabsl((real)found - expected) / ldexpl(1, exponent - digits));
}

static void check(const struct function *f, int32_t isa, int32_t precision) {
    char text[512];
    struct one one;
    static float x32[COUNT];
    static double x64[COUNT];
    uint64_t state = 7;
    snprintf(text, sizeof text, "flow: 1\ninputs: {x: {dtype: f32, shape: [N]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n", f->node);
    cr_assert(one_open(&one, text, (struct one_options){.isa = isa, .precision = precision}) == 0, "%s", one.message);
    for (int i = 0; i < COUNT; i++) {
        double scale = i % 3 == 0 ? pow(2, one_uniform(&state, -30, 0)) : 1; /* small ones, too */
        x64[i] = one_uniform(&state, f->low, f->high) * scale;
        if (x64[i] < f->low || x64[i] > f->high) x64[i] = f->high;
        x32[i] = (float)x64[i];
    }
    bool wide = precision == FLOW_F64;
    cr_assert(one_input(&one, "x", wide ? (void *)x64 : x32, precision, 1, (int64_t[]){COUNT}) == 0, "%s", one.message);
    cr_assert(one_run(&one) == 0, "%s", one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    cr_assert(y && y->dtype == precision && y->rank == 1 && y->shape[0] == COUNT);
    for (int i = 0; i < COUNT; i++) {
        real expected = f->reference(wide ? x64[i] : (real)x32[i]);
        double found = wide ? ((double *)y->data)[i] : (double)((float *)y->data)[i];
        double error = wide ? ulps(found, expected, 53, -1021) : ulps(found, expected, 24, -125);
        bool holds = error <= (wide ? f->ulp64 : f->ulp32) || fabsl(found - expected) <= (wide ? f->floor64 : f->floor32);
        cr_assert(holds, "%s, set %d, %s: f(%.17g) = %.17g, expected %.17Lg: %g ulp", f->node, isa, wide ? "f64" : "f32",
                  wide ? x64[i] : (double)x32[i], found, expected, error);
    }
    one_close(&one);
}

Test(functions, accuracy) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        for (int32_t isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++) {
            check(&functions[i], isa, FLOW_F32);
            check(&functions[i], isa, FLOW_F64);
        }
}

/* Values at which formulas fail. NAN in `expected` means any NaN; the sign of zero counts. */
static const struct special {
    const char *node;
    double x, expected;
} specials[] = {
    {"exp, in: x", INFINITY, INFINITY},
    {"exp, in: x", -INFINITY, 0},
    {"exp, in: x", NAN, NAN},
    {"exp, in: x", 0, 1},
    {"exp, in: x", -1e30, 0},
    {"exp, in: x", 1e30, INFINITY},
    {"log, in: x", 0, -INFINITY},
    {"log, in: x", -0.0, -INFINITY},
    {"log, in: x", -1, NAN},
    {"log, in: x", INFINITY, INFINITY},
    {"log, in: x", -INFINITY, NAN},
    {"log, in: x", NAN, NAN},
    {"log, in: x", 1, 0},
    {"sin, in: x", -0.0, -0.0},
    {"sin, in: x", INFINITY, NAN},
    {"sin, in: x", NAN, NAN},
    {"cos, in: x", 0, 1},
    {"cos, in: x", -INFINITY, NAN},
    {"erf, in: x", INFINITY, 1},
    {"erf, in: x", -INFINITY, -1},
    {"erf, in: x", -0.0, -0.0},
    {"erf, in: x", NAN, NAN},
    {"tanh, in: x", INFINITY, 1},
    {"tanh, in: x", -1e30, -1},
    {"tanh, in: x", -0.0, -0.0},
    {"tanh, in: x", NAN, NAN},
    {"sigmoid, in: x", INFINITY, 1},
    {"sigmoid, in: x", -INFINITY, 0},
    {"sigmoid, in: x", 0, 0.5},
    {"sigmoid, in: x", NAN, NAN},
    {"softplus, in: x", INFINITY, INFINITY},
    {"softplus, in: x", -INFINITY, 0},
    {"softplus, in: x", NAN, NAN},
    {"relu, in: x", NAN, NAN},
    {"relu, in: x", -INFINITY, 0},
    {"sign, in: x", NAN, NAN},
    {"sign, in: x", -INFINITY, -1},
    {"sign, in: x", -0.0, -0.0},
    {"sqrt, in: x", -0.0, -0.0},
    {"sqrt, in: x", -1, NAN},
    {"rsqrt, in: x", 0, INFINITY},
    {"reciprocal, in: x", -0.0, -INFINITY},
    {"reciprocal, in: x", INFINITY, 0},
    {"round, in: x", 2.5, 2},
    {"round, in: x", -0.5, -0.0},
    {"round, in: x", 3.5, 4},
    {"floor, in: x", -0.5, -1},
    {"floor, in: x", -INFINITY, -INFINITY},
    {"gelu, in: x", INFINITY, INFINITY},
    {"gelu, in: x", -100, -0.0},
    {"silu, in: x", -1e4, -0.0},
    {"clamp, in: x, with: {min: -1, max: 2}", NAN, NAN},
    {"clamp, in: x, with: {min: -1, max: 2}", INFINITY, 2},
    {"clamp, in: x, with: {max: 2}", -INFINITY, -INFINITY},
    {"pow, in: x, with: {value: 0.5}", -INFINITY, INFINITY},
    {"pow, in: x, with: {value: 0.5}", -0.0, 0},
    {"pow, in: x, with: {value: 0}", NAN, 1},
    {"pow, in: x, with: {value: 3}", -2, -8},
    {"pow, in: x, with: {value: -1}", -0.0, -INFINITY},
    {"pow, in: x, with: {value: 5}", -INFINITY, -INFINITY},
    {"pow, in: x, with: {value: -4.5}", INFINITY, 0},
    {"pow, in: x, with: {value: 1.5}", -1, NAN},
    {"leaky_relu, in: x, with: {slope: 0.5}", -4, -2},
    {"minimum, in: x, with: {value: 1}", NAN, NAN},
    {"maximum, in: x, with: {value: 1}", NAN, NAN},
    {"mod, in: x, with: {value: -3}", 7, -2},
    {"mod, in: x, with: {value: 3}", -7, 2},
    {"mod, in: x, with: {value: 3}", -6, 0},
    {"mod, in: x, with: {value: 0}", 1, NAN},
};

Test(functions, special_values) {
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        for (int32_t isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++)
            for (int wide = 0; wide < 2; wide++) {
                const struct special *s = &specials[i];
                char text[512];
                struct one one;
                float x32[19];
                double x64[19];
                snprintf(text, sizeof text, "flow: 1\ninputs: {x: {dtype: f32, shape: [N]}}\nnodes: {y: {op: %s}}\noutputs: {y: y}\n",
                         s->node);
                cr_assert(one_open(&one, text, (struct one_options){.isa = isa, .precision = wide ? FLOW_F64 : FLOW_F32}) == 0, "%s",
                          one.message);
                for (int k = 0; k < 19; k++) x32[k] = (float)s->x, x64[k] = s->x; /* vectors and what is left of them */
                cr_assert(one_input(&one, "x", wide ? (void *)x64 : x32, wide ? FLOW_F64 : FLOW_F32, 1, (int64_t[]){19}) == 0);
                cr_assert(one_run(&one) == 0, "%s", one.message);
                for (int k = 0; k < 19; k++) {
                    double found = flow_tensor_real(one_output(&one, "y"), k);
                    bool same = isnan(s->expected) ? isnan(found) : found == s->expected && !signbit(found) == !signbit(s->expected);
                    cr_assert(same, "%s, set %d, %s, element %d: f(%g) = %g, expected %g", s->node, isa, wide ? "f64" : "f32", k, s->x,
                              found, s->expected);
                }
                one_close(&one);
            }
}

/* pow with a tensor as exponent, against libm, over signs and whole exponents. */
Test(functions, pow_of_two_tensors) {
    enum { N = 4001 };
    static float a[N], b[N];
    static const float edge[] = {0, -0.0f, 1, -1, 2, -2, 0.5f, -3, 3, INFINITY, -INFINITY, NAN, 1e-40f, 7.5f};
    enum { EDGES = sizeof edge / sizeof *edge };
    for (int32_t isa = FLOW_ISA_BASE; isa <= FLOW_ISA_AVX512; isa++) {
        struct one one;
        uint64_t state = 3;
        for (int i = 0; i < N; i++) {
            a[i] = i < EDGES * EDGES ? edge[i / EDGES] : (float)exp(one_uniform(&state, -9, 9));
            b[i] = i < EDGES * EDGES ? edge[i % EDGES] : (float)one_uniform(&state, -9, 9);
            if (i >= EDGES * EDGES && i % 4 == 0) a[i] = -a[i], b[i] = rintf(b[i]);
        }
        cr_assert(one_open(&one,
                           "flow: 1\ninputs: {a: {dtype: f32, shape: [N]}, b: {dtype: f32, shape: [N]}}\n"
                           "nodes: {y: {op: pow, in: [a, b]}}\noutputs: {y: y}\n",
                           (struct one_options){.isa = isa}) == 0,
                  "%s", one.message);
        cr_assert(one_input(&one, "a", a, FLOW_F32, 1, (int64_t[]){N}) == 0 && one_input(&one, "b", b, FLOW_F32, 1, (int64_t[]){N}) == 0);
        cr_assert(one_run(&one) == 0, "%s", one.message);
        const float *y = one_output(&one, "y")->data;
        for (int i = 0; i < N; i++) {
            double expected = pow(a[i], b[i]);
            bool same = isnan(expected)           ? isnan(y[i])
                        : (float)expected == y[i] ? !signbit(y[i]) == !signbit(expected)
                                                  : ulps(y[i], expected, 24, -125) <= 1;
            cr_assert(same, "set %d: pow(%g, %g) = %g, expected %g", isa, a[i], b[i], y[i], expected);
        }
        one_close(&one);
    }
}
