/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of whole graphs in f64 against central differences: loops of all kinds, segments that are computed again, all parameters as one
 * vector. */
#include "train/differences.h"

TestSuite(graph_gradients, .init = folder_make, .fini = folder_remove);

/* ---- Loops ---- */

#define CELL                                                                         \
    "graphs:\n"                                                                      \
    "  cell:\n"                                                                      \
    "    inputs: {x: {dtype: f32, shape: [B, 3]}, h: {dtype: f32, shape: [B, 2]}}\n" \
    "    nodes:\n"                                                                   \
    "      a: {op: linear, in: x, with: {units: 2}}\n"                               \
    "      b: {op: linear, in: h, with: {units: 2, bias: false}}\n"                  \
    "      s: {op: add, in: [a, b]}\n"                                               \
    "      n: {op: tanh, in: s}\n"                                                   \
    "      two: {op: square, in: n}\n"                                               \
    "    outputs: {h: n, all: two}\n"

Test(graph_gradients, over_an_axis) {
    struct point point = one_input(SHAPE(2, 4, 3));
    point.inputs[1] = (struct slot){.name = "h0", .rank = 2, .shape = {2, 2}};
    point.input_count = 2;
    differences("flow: 1\ninputs: {x: {dtype: f32, shape: [2, 4, 3]}, h0: {dtype: f32, shape: [2, 2]}}\n" CELL "nodes:\n"
                "  c: {graph: cell, in: {x: x, h: h0}, loop: {over: {x: 1}, carry: {h: h}, collect: {all: 1}}}\n"
                "  last: {op: mean, in: c.h}\n"
                "  cube: {op: pow, in: {a: c.all}, with: {value: 1.5}}\n"
                "  sums: {op: sum, in: cube}\n"
                "outputs: {last: last, sums: sums}\n",
                &point);
}

/* A sequence without elements: what is carried goes through as it is. And one where only what is collected is used. */
Test(graph_gradients, loops_of_few_uses) {
    static const char form[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [2, %d, 3]}, h0: {dtype: f32, shape: [2, 2]}}\n" CELL "nodes:\n"
                               "  c: {graph: cell, in: {x: x, h: h0}, loop: {over: {x: 1}, carry: {h: h}, collect: {all: 1}}}\n"
                               "  sq: {op: square, in: c.%s}\n"
                               "  loss: {op: sum, in: sq}\n"
                               "outputs: {loss: loss}\n";
    for (int k = 0; k < 4; k++) {
        int extent = k % 2 ? 3 : 0;
        const char *used = k < 2 ? "h" : "all";
        char text[2048];
        struct point point = one_input(SHAPE(2, extent, 3));
        point.inputs[1] = (struct slot){.name = "h0", .rank = 2, .shape = {2, 2}};
        point.input_count = 2;
        snprintf(text, sizeof text, form, extent, used);
        double sum = differences(text, &point);
        cr_assert(k == 2 ? sum == 0 : sum > 0.01, "%d of '%s': %g", extent, used, sum);
    }
}

Test(graph_gradients, until) {
    struct point point = one_input(SHAPE(3, 4));
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}}\n"
                               "graphs:\n"
                               "  step:\n"
                               "    inputs: {x: {dtype: f32, shape: [B, 4]}, i: {dtype: i64, shape: []}}\n"
                               "    nodes:\n"
                               "      w: {op: linear, in: x, with: {units: 4}}\n"
                               "      f: {op: cast, in: i, with: {to: %s}}\n"
                               "      d: {op: mul, in: [w, f]}\n"
                               "      y: {op: sin, in: d}\n"
                               "      stop: {op: ge, in: f, with: {value: 2.5}}\n"
                               "      sum: {op: sum, in: y, with: {axes: [-1]}}\n"
                               "    outputs: {y: y, stop: stop, sum: sum}\n"
                               "nodes:\n"
                               "  it: {graph: step, in: {x: x}, loop: {max: 9, until: stop, carry: {x: y}, index: i, collect: {sum: 0}}}\n"
                               "  far: {op: square, in: it.sum}\n"
                               "  loss: {op: mean, in: far}\n"
                               "  end: {op: mean, in: it.y}\n"
                               "outputs: {loss: loss, end: end}\n";
    char made[2048];
    snprintf(made, sizeof made, text, "f32");
    cr_assert(differences(made, &point) > 0.01);
}

Test(graph_gradients, loop_in_a_loop) {
    struct point point = one_input(SHAPE(2, 3, 3));
    cr_assert(differences("flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3, 3]}}\n"
                          "graphs:\n"
                          "  inner:\n"
                          "    inputs: {h: {dtype: f32, shape: [B, 3]}, g: {dtype: f32, shape: [B, 3]}}\n"
                          "    nodes:\n"
                          "      l: {op: linear, in: h, with: {units: 3}}\n"
                          "      m: {op: mul, in: [l, g]}\n"
                          "      y: {op: tanh, in: m}\n"
                          "    outputs: {h: y}\n"
                          "  outer:\n"
                          "    inputs: {x: {dtype: f32, shape: [B, 3]}, h: {dtype: f32, shape: [B, 3]}}\n"
                          "    nodes:\n"
                          "      in: {graph: inner, in: {h: h, g: x}, loop: {max: 3, carry: {h: h}}}\n"
                          "      y: {op: add, in: [in, x]}\n"
                          "    outputs: {h: y}\n"
                          "nodes:\n"
                          "  zero: {op: mean, in: x, with: {axes: [1]}}\n"
                          "  out: {graph: outer, in: {x: x, h: zero}, loop: {over: {x: 1}, carry: {h: h}}}\n"
                          "  sq: {op: square, in: out}\n"
                          "  loss: {op: mean, in: sq}\n"
                          "outputs: {loss: loss}\n",
                          &point) > 0.01);
}

/* ---- Segments that are computed again ---- */

Test(graph_gradients, recompute) {
    struct point point = one_input(SHAPE(3, 4));
    cr_assert(differences("flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}}\n"
                          "graphs:\n"
                          "  step:\n"
                          "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                          "    nodes:\n"
                          "      l: {op: linear, in: h, with: {units: 4}}\n"
                          "      y: {op: tanh, in: l}\n"
                          "    outputs: {h: y}\n"
                          "  block:\n"
                          "    inputs: {x: {dtype: f32, shape: [B, 4]}}\n"
                          "    nodes:\n"
                          "      n: {op: layer_norm, in: x}\n"
                          "      u: {op: linear, in: n, with: {units: 5}}\n"
                          "      a: {op: gelu, in: u}\n"
                          "      d: {op: linear, in: a, with: {units: 4}}\n"
                          "      s: {op: transpose, in: d, with: {perm: [1, 0]}}\n"
                          "      t: {op: transpose, in: s, with: {perm: [1, 0]}}\n"
                          "      in: {graph: step, in: {h: t}, loop: {max: 3, carry: {h: h}}}\n"
                          "      y: {op: add, in: [in, x]}\n"
                          "    outputs: {y: y}\n"
                          "nodes:\n"
                          "  b: {graph: block, in: x, repeat: 2, recompute: true}\n"
                          "  sq: {op: square, in: b}\n"
                          "  loss: {op: mean, in: sq}\n"
                          "outputs: {loss: loss}\n",
                          &point) > 0.01);
}

/* ---- All parameters as one vector ---- */

Test(graph_gradients, parameters) {
    struct point point = one_input(SHAPE(3, 4));
    cr_assert(differences("flow: 1\ninputs: {x: {dtype: f32, shape: [3, 4]}}\n"
                          "nodes:\n"
                          "  net_a: {op: linear, in: x, with: {units: 3}}\n"
                          "  net_b: {op: linear, in: net_a, with: {units: 2}}\n"
                          "  other: {op: linear, in: x, with: {units: 2}}\n"
                          "  all: {op: parameters, with: {match: \"net_*\"}}\n"
                          "  curve: {op: sin, in: all}\n"
                          "  weight: {op: mul, in: [curve, all]}\n"
                          "  far: {op: sum, in: weight}\n"
                          "  s: {op: mul, in: [net_b, other]}\n"
                          "  loss: {op: mean, in: s}\n"
                          "outputs: {loss: loss, far: far}\n",
                          &point) > 0.01);
}
