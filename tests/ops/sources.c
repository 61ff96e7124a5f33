/* SPDX-License-Identifier: Apache-2.0 */
/* Values that come from attributes, shapes and parameters. */
#include "harness/one.h"

#include <criterion/criterion.h>
#include <math.h>

static int run(struct one *one, const char *nodes, const char *outputs, struct one_options options) {
    char text[900];
    snprintf(text, sizeof text, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 3]}}\nnodes:\n%s\noutputs: {%s, x: x}\n", nodes, outputs);
    static float x[6] = {1, 2, 3, 4, 5, 6};
    int status = one_open(one, text, options);
    if (status == 0) status = one_input(one, "x", x, FLOW_F32, 2, (int64_t[]){2, 3});
    return status == 0 ? one_run(one) : status;
}

static void gives(const char *line, int32_t dtype, int32_t rank, const int64_t *shape, const double *values) {
    char nodes[400];
    struct one one;
    snprintf(nodes, sizeof nodes, "  y: {op: %s}", line);
    cr_assert(run(&one, nodes, "y: y", one_best) == 0, "%s: %s", line, one.message);
    const struct flow_tensor *y = one_output(&one, "y");
    cr_assert(y->dtype == dtype && y->rank == rank, "%s: type %s, %d axes", line, flow_type_name(y->dtype), y->rank);
    for (int32_t i = 0; i < rank; i++) cr_assert(y->shape[i] == shape[i], "%s: axis %d has %lld", line, i, (long long)y->shape[i]);
    for (int64_t i = 0; i < flow_tensor_count(y); i++)
        cr_assert(flow_tensor_real(y, i) == values[i], "%s: element %lld is %g, expected %g", line, (long long)i, flow_tensor_real(y, i),
                  values[i]);
    one_close(&one);
}

Test(sources, constants) {
    gives("constant, with: {value: 2.5}", FLOW_F32, 0, NULL, (double[]){2.5});
    gives("constant, with: {value: [[1, 2, 3], [4, 5, 6]]}", FLOW_F32, 2, (int64_t[]){2, 3}, (double[]){1, 2, 3, 4, 5, 6});
    gives("constant, with: {value: [0.0, -.inf, .inf]}", FLOW_F32, 1, (int64_t[]){3}, (double[]){0, -INFINITY, INFINITY});
    gives("constant, with: {value: [-7, 9007199254740992], dtype: i64}", FLOW_I64, 1, (int64_t[]){2}, (double[]){-7, 9007199254740992});
    gives("constant, with: {value: [true, false], dtype: bool}", FLOW_BOOL, 1, (int64_t[]){2}, (double[]){1, 0});
    gives("constant, with: {value: false, dtype: bool, shape: [B]}", FLOW_BOOL, 1, (int64_t[]){2}, (double[]){0, 0});
    gives("constant, with: {value: 4, dtype: u8, shape: [1, B, 2]}", FLOW_U8, 3, (int64_t[]){1, 2, 2}, (double[]){4, 4, 4, 4});
    gives("constant, with: {value: 0.333251953125, dtype: f16}", FLOW_F16, 0, NULL, (double[]){0.333251953125});
    gives("constant, with: {value: []}", FLOW_F32, 1, (int64_t[]){0}, NULL);
    gives("arange, with: {count: 4}", FLOW_I64, 1, (int64_t[]){4}, (double[]){0, 1, 2, 3});
    gives("arange, with: {count: \"B*2\"}", FLOW_I64, 1, (int64_t[]){4}, (double[]){0, 1, 2, 3});
    gives("arange, in: x", FLOW_I64, 1, (int64_t[]){3}, (double[]){0, 1, 2});
    gives("arange, in: x, with: {axis: 0}", FLOW_I64, 1, (int64_t[]){2}, (double[]){0, 1});
    gives("arange, with: {count: 0}", FLOW_I64, 1, (int64_t[]){0}, NULL);
    gives("shape_of, in: x", FLOW_I64, 1, (int64_t[]){2}, (double[]){2, 3});
    gives("parameter, with: {shape: [B, 2], init: constant(0.5)}", FLOW_F32, 2, (int64_t[]){2, 2}, (double[]){0.5, 0.5, 0.5, 0.5});
    gives("parameter, with: {shape: [], init: ones}", FLOW_F32, 0, NULL, (double[]){1});
}

static void refused(const char *line, const char *why) {
    char nodes[400];
    struct one one;
    snprintf(nodes, sizeof nodes, "  y: {op: %s}", line);
    cr_assert(run(&one, nodes, "y: y", one_best) < 0, "%s", line);
    cr_assert(strstr(one.message, why), "%s: %s", line, one.message);
    one_close(&one);
}

Test(sources, refusals) {
    refused("constant, with: {value: 0.5, dtype: i32}", "0.5 (number 0) is no value of i32");
    refused("constant, with: {value: [0, 1, 2], dtype: bool}", "2 (number 2) is no value of bool");
    refused("constant, with: {value: [1, -1], dtype: u8}", "-1 (number 1)");
    refused("constant, with: {value: [1, 2], shape: [2]}", "shape repeats a single number");
    refused("constant, with: {value: 1, shape: [-1]}", "extents are at least 0");
    refused("constant, with: {value: 1, shape: [4611686018427387904, 4]}", "too large");
    refused("arange", "one of count and like");
    refused("arange, in: x, with: {count: 2}", "one of count and like");
    refused("arange, with: {count: -1}", "at least 0");
    refused("parameter", "shape is missing");
}

/* A tied parameter takes its shape from what it is tied to, and reads the same numbers. */
Test(sources, tied_parameters) {
    struct one one;
    cr_assert(run(&one,
                  "  l: {op: linear, in: x, with: {units: 5}}\n  w: {op: parameter, tie: {weight: l.weight}}\n"
                  "  t: {op: transpose, in: w}\n  m: {op: matmul, in: [x, t]}\n  y: {op: sub, in: [l, m]}",
                  "y: y, w: w", one_best) == 0,
              "%s", one.message);
    const struct flow_tensor *w = one_output(&one, "w"), *y = one_output(&one, "y");
    cr_assert(w->rank == 2 && w->shape[0] == 5 && w->shape[1] == 3 && y->shape[1] == 5);
    double sum = 0;
    for (int i = 0; i < 15; i++) sum += fabs(flow_tensor_real(w, i));
    cr_assert(sum > 0.5);
    for (int i = 0; i < 5; i++) cr_assert(fabs(flow_tensor_real(y, i) - flow_tensor_real(y, i + 5)) < 1e-5, "what is left is the bias");
    one_close(&one);
}

/* Positions far out: angles are formed in f64, so that f32 stays exact to its last places. */
Test(sources, positions) {
    for (int style = 0; style < 2; style++)
        for (int far = 0; far < 3; far++) {
            char nodes[200];
            struct one one;
            double offset = far == 0 ? 0 : far == 1 ? 1000003 : 1e9;
            snprintf(nodes, sizeof nodes,
                     "  e: {op: constant, with: {value: 1, shape: [B, 6]}}\n"
                     "  y: {op: sinusoid, in: e, with: {style: %s, offset: %.0f, base: 50}}",
                     style ? "interleaved" : "concat", offset);
            cr_assert(run(&one, nodes, "y: y", one_best) == 0, "%s", one.message);
            for (int t = 0; t < 2; t++)
                for (int i = 0; i < 3; i++) {
                    double angle = (t + offset) * pow(50, -i / 3.0);
                    double s = flow_tensor_real(one_output(&one, "y"), t * 6 + (style ? 2 * i : i));
                    double c = flow_tensor_real(one_output(&one, "y"), t * 6 + (style ? 2 * i + 1 : 3 + i));
                    cr_assert(fabs(s - sin(angle)) < 2e-7 && fabs(c - cos(angle)) < 2e-7, "position %g, pair %d: %g %g", t + offset, i, s,
                              c);
                }
            one_close(&one);
        }
}
