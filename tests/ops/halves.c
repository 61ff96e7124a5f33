/* SPDX-License-Identifier: Apache-2.0 */
/* f16 and bf16: what is computed in them is the f32 result, rounded once; operators that move values keep every bit. */
#include "harness/one.h"

#include <criterion/criterion.h>

enum { COUNT = 6 * 8 };

/* x and z have few digits, so that they are exact in all types. */
static void values(const char *half, const char *node, bool narrow, double *out, int64_t *count) {
    static float x[COUNT], z[COUNT];
    char text[1200];
    struct one one;
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i * 11 % 23) / 4 - 2.5f, z[i] = (float)(i * 7 % 19) / 8 + 0.125f;
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {xf: {dtype: f32, shape: [8, 6]}, zf: {dtype: f32, shape: [8, 6]}}\nnodes:\n"
             "  xt: {op: cast, in: xf, with: {to: %s}}\n  zt: {op: cast, in: zf, with: {to: %s}}\n"
             "  x: {op: transpose, in: xt}\n  z: {op: transpose, in: zt}\n  y: {op: %s}\n"
             "  half: {op: cast, in: y, with: {to: %s}}\n  full: {op: cast, in: half, with: {to: f64}}\noutputs: {full: full}\n",
             narrow ? half : "f32", narrow ? half : "f32", node, half);
    cr_assert(one_open(&one, text, one_best) == 0, "%s: %s", node, one.message);
    cr_assert(one_input(&one, "xf", x, FLOW_F32, 2, (int64_t[]){8, 6}) == 0 &&
              one_input(&one, "zf", z, FLOW_F32, 2, (int64_t[]){8, 6}) == 0);
    cr_assert(one_run(&one) == 0, "%s: %s", node, one.message);
    const struct flow_tensor *y = one_output(&one, "full");
    *count = flow_tensor_count(y);
    cr_assert(*count <= 4 * COUNT);
    for (int64_t i = 0; i < *count; i++) out[i] = flow_tensor_real(y, i);
    one_close(&one);
}

Test(halves, as_f32_rounded_once) {
    static const char *const nodes[] = {
        "add, in: [x, z]",
        "sub, in: [x, z]",
        "mul, in: [x, z, x]",
        "div, in: [x, z]",
        "pow, in: [z, x]",
        "maximum, in: [x, z]",
        "add, in: x, with: {value: 0.1}",
        "pow, in: x, with: {value: 2}",
        "mod, in: [x, z]",
        "exp, in: x",
        "log, in: z",
        "sin, in: x",
        "erf, in: x",
        "gelu, in: x",
        "tanh, in: x",
        "softplus, in: x",
        "clamp, in: x, with: {min: -1, max: 1.5}",
        "glu, in: x",
        "glu, in: x, with: {axis: 0, activation: gelu}",
        "prelu, in: x, with: {count: 8}",
        "leaky_relu, in: x",
        "concat, in: [x, z], with: {axis: 0}",
        "pad, in: x, with: {axis: 1, before: 1, value: 0.3}",
        "roll, in: x, with: {axis: 0}",
        "shift, in: x",
        "repeat_interleave, in: x, with: {axis: 1, count: 3}",
        "flip, in: x, with: {axis: 0}",
        "rope, in: x",
        "sinusoid, in: x",
        "cumsum, in: x, with: {axis: 0}",
        "cumsum, in: x",
        "tril_mask, in: x",
        "reshape, in: x, with: {shape: [4, 12]}",
        "slice, in: x, with: {axis: 0, start: -1, step: -2}",
        "stop_gradient, in: x",
    };
    static double narrow[4 * COUNT], wide[4 * COUNT];
    for (int h = 0; h < 2; h++)
        for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
            const char *half = h ? "bf16" : "f16";
            int64_t count, other;
            values(half, nodes[i], true, narrow, &count), values(half, nodes[i], false, wide, &other);
            cr_assert(count == other && count > 0);
            for (int64_t k = 0; k < count; k++)
                cr_assert(narrow[k] == wide[k], "%s in %s: element %lld is %g, f32 gives %g", nodes[i], half, (long long)k, narrow[k],
                          wide[k]);
        }
}

/* Comparisons, choices and orders read the same numbers. */
Test(halves, read_by_others) {
    static const char *const nodes[] = {"lt, in: [x, z]", "eq, in: x, with: {value: 0.5}", "argmax, in: x",
                                        "argsort, in: x, with: {axis: 0}", "sign, in: x"};
    static double narrow[4 * COUNT], wide[4 * COUNT];
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        int64_t count, other;
        values("f16", nodes[i], true, narrow, &count), values("f16", nodes[i], false, wide, &other);
        cr_assert(count == other && memcmp(narrow, wide, sizeof(double) * (size_t)count) == 0, "%s", nodes[i]);
    }
}
