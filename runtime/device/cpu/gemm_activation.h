/* SPDX-License-Identifier: Apache-2.0 */
/* The activations of a product's epilogue, over a tile of C that the micro-kernel has just written. f32: polynomials of our own (minimax
 * fits; errors below are those of the fit alone). f64: exp the same way, tanh and erfc from the C library. */
#include <math.h>

/* e^x: 2^n e^r with |r| <= ln 2 / 2 and e^r = 1 + r + r^2 P(r). x is held where the result, its half and its inverse are
 * normal numbers: subnormal ones are slow. */
INLINE vec exponential(vec x) {
#if GEMM_F64
    static const T p[] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.555555555083bp-5,  0x1.1111111127c2dp-7,
                          0x1.6c16c1843909ap-10, 0x1.a01a012a53ccbp-13, 0x1.a01999e20f848p-16, 0x1.71df252984541p-19,
                          0x1.28ad9b71f1156p-22, 0x1.ad800299ae7adp-26};
    const T least = -707.0, most = 708.0, rounder = 0x1.8p52, high = 0x1.62e42feep-1, low = 0x1.a39ef35793c76p-33;
    enum { TERMS = 10, MANTISSA = 52 };
#else
    static const T p[] = {0x1.fffffcp-2F, 0x1.555492p-3F, 0x1.5558f4p-5F, 0x1.123a2p-7F, 0x1.6a23c8p-10F};
    const T least = -86.0F, most = 87.0F, rounder = 0x1.8p23F, high = 0x1.63p-1F, low = -0x1.bd0106p-13F;
    enum { TERMS = 5, MANTISSA = 23 };
#endif
    x = choose(x < least, splat(least), x);
    x = choose(x > most, splat(most), x);
    vec shifted = x * (T)1.4426950408889634 + rounder, n = shifted - rounder; /* n in the low bits of `shifted` */
    vec r = x - n * high - n * low;
    vec poly = splat(p[TERMS - 1]);
#pragma GCC unroll 16
    for (int i = TERMS - 2; i >= 0; i--) poly = poly * r + p[i];
    vec power = poly * (r * r) + r + (T)1;
    return (vec)((ivec)power + ((ivec)shifted << MANTISSA));
}

INLINE vec relu(vec x) { return choose(x < (T)0, (vec){0}, x); }
INLINE vec sigmoid(vec x) { return (T)1 / ((T)1 + exponential(-x)); }
/* Where the exponential is held the product with x, however large, is 0. */
INLINE vec silu(vec x) { return choose(x < (T)(GEMM_F64 ? -708 : -87), x * (T)0, x / ((T)1 + exponential(-x))); }

#if GEMM_F64
INLINE vec hyperbolic_tangent(vec x) {
    for (int i = 0; i < LANES; i++) x[i] = tanh(x[i]);
    return x;
}
INLINE vec gelu(vec x) {
    for (int i = 0; i < LANES; i++) x[i] = 0.5 * x[i] * erfc(x[i] * -0.70710678118654752);
    return x;
}
#else
/* |x| < 0.625: x + x^3 P(x^2), relative error 7e-9; else 1 - 2 / (e^2|x| + 1) with x's sign. */
INLINE vec hyperbolic_tangent(vec x) {
    static const T p[] = {-0x1.555524p-2F, 0x1.1103f2p-3F, -0x1.b7cff2p-5F, 0x1.4f5efcp-6F, -0x1.697126p-8F};
    vec u = x * x, magnitude = absolute(x);
    vec near = x + x * u * (p[0] + u * (p[1] + u * (p[2] + u * (p[3] + u * p[4]))));
    vec far = 1.0F - 2.0F / (exponential(2.0F * choose(magnitude > 10.0F, splat(10.0F), magnitude)) + 1.0F);
    return choose(magnitude < 0.625F, near, choose(x < 0.0F, -far, far));
}
/* x Phi(x), the normal distribution as Phi(-s) = e^-Q(s) / 2 for s >= 0: no cancellation. Error 2e-10 absolute. */
INLINE vec gelu(vec x) {
    static const T q[] = {0x1.988456p-1F,  0x1.45f2ccp-2F,   0x1.29aefcp-5F,  -0x1.399652p-8F,  -0x1.4a570ap-15F,
                          0x1.d16708p-13F, -0x1.0e93b8p-14F, 0x1.59e234p-17F, -0x1.f53edcp-21F, 0x1.41749fp-25F};
    vec s = absolute(x), poly = splat(q[9]);
#pragma GCC unroll 16
    for (int i = 8; i >= 0; i--) poly = poly * s + q[i];
    vec tail = choose(s > 13.0F, (vec){0}, 0.5F * exponential(-s * poly));
    return x * choose(x < 0.0F, tail, 1.0F - tail);
}
#endif

INLINE void each(T *c, int64_t c_row, int64_t rows, int64_t columns, vec function(vec)) {
    for (int64_t i = 0; i < rows; i++, c += c_row) {
        int64_t j = 0;
        for (; j + LANES <= columns; j += LANES) store(c + j, function(load(c + j)));
        if (j < columns) store_part(c + j, function(load_part(c + j, columns - j)), columns - j);
    }
}

static void activate(T *c, int64_t c_row, int64_t rows, int64_t columns, int32_t activation) {
    switch (activation) {
    case FLOW_ACTIVATION_RELU: each(c, c_row, rows, columns, relu); break;
    case FLOW_ACTIVATION_SIGMOID: each(c, c_row, rows, columns, sigmoid); break;
    case FLOW_ACTIVATION_TANH: each(c, c_row, rows, columns, hyperbolic_tangent); break;
    case FLOW_ACTIVATION_SILU: each(c, c_row, rows, columns, silu); break;
    case FLOW_ACTIVATION_GELU: each(c, c_row, rows, columns, gelu); break;
    default: break;
    }
}

struct epilogue {
    int32_t activation;
    const T *residual, *c; /* NULL: none; both at C's first element */
};

INLINE struct epilogue epilogue_of(const struct flow_gemm *g) { return (struct epilogue){g->activation, g->residual, g->c}; }
INLINE bool epilogue_exists(const struct epilogue *e) { return e->activation || e->residual; }

/* What is done to rows x columns of C, at c, when their sums are complete. */
static void finish(const struct epilogue *e, T *c, int64_t c_row, int64_t rows, int64_t columns) {
    if (e->activation) activate(c, c_row, rows, columns, e->activation);
    if (!e->residual) return;
    const T *r = e->residual + (c - e->c);
    for (int64_t i = 0; i < rows; i++, c += c_row, r += c_row) {
        int64_t j = 0;
        for (; j + LANES <= columns; j += LANES) store(c + j, load(c + j) + load(r + j));
        if (j < columns) store_part(c + j, load_part(c + j, columns - j) + load_part(r + j, columns - j), columns - j);
    }
}
