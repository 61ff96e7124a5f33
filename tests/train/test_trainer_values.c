/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients as values of a graph, alone, in loops and beside a training; what stops and changes gradients; states; random numbers where
 * something is computed again. */
#include "train/differences.h"

TestSuite(gradient_values, .init = folder_make, .fini = folder_remove);

/* ---- Gradients as values ---- */

/* What a graph with one output gives for x. */
static void outputs_of(const char *text, struct point *point, double *out, int64_t count) {
    flow_runtime *runtime;
    flow_graph *graph;
    flow_session *session;
    flow_errors *errors = NULL;
    struct flow_graph_options options = {.size = sizeof options, .precision = FLOW_F64};
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    cr_assert_eq(flow_graph_parse(runtime, in_folder("test.yaml"), text, strlen(text), &options, &errors, &graph), 0, "%s", said(errors));
    cr_assert_eq(flow_session_new(graph, NULL, &errors, &session), 0, "%s", said(errors));
    for (size_t i = 0; i < point->input_count; i++) {
        struct slot *slot = &point->inputs[i];
        struct flow_tensor tensor = flow_tensor_of(slot->values, FLOW_F64, slot->rank, slot->shape);
        cr_assert_eq(flow_session_input(session, slot->name, &tensor, &errors), 0, "%s", said(errors));
    }
    cr_assert_eq(flow_session_run(session, &errors), 0, "%s", said(errors));
    cr_assert_eq(flow_tensor_count(flow_session_output_at(session, 0)), count);
    for (int64_t k = 0; k < count; k++) out[k] = flow_tensor_real(flow_session_output_at(session, 0), k);
    flow_session_free(session);
    flow_graph_free(graph);
    flow_runtime_free(runtime);
}

static struct point some_x(void) {
    struct point point = one_input(SHAPE(2, 3));
    for (int64_t k = 0; k < 6; k++) point.inputs[0].values[k] = number_of(300 + (uint64_t)k);
    return point;
}

#define CUBIC                                                      \
    "flow: 1\nseed: 5\ninputs: {x: {dtype: f32, shape: [2, 3]}}\n" \
    "nodes:\n"                                                     \
    "  l: {op: linear, in: x, with: {units: 2}}\n"                 \
    "  h: {op: tanh, in: l}\n"                                     \
    "  part: {op: slice, in: l, with: {axis: 1, start: 1}}\n"      \
    "  sq: {op: square, in: h}\n"                                  \
    "  loss: {op: sum, in: sq}\n"                                  \
    "  cu: {op: pow, in: {a: l}, with: {value: 3}}\n"              \
    "  pc: {op: mul, in: [part, part]}\n"                          \
    "  second: {op: sum, in: pc}\n"                                \
    "  all: {op: parameters, with: {match: \"*\"}}\n"

/* d loss / d l = 2 tanh (1 - tanh^2), of a whole value, of a view, by what it does not depend on, of two losses. */
Test(gradient_values, of_a_value) {
    struct point point = some_x();
    double l[4], g[4], v[2];
    outputs_of(CUBIC "outputs: {l: l}\n", &point, l, 4);
    outputs_of(CUBIC "  g: {op: gradient, in: {loss: loss, of: l}}\noutputs: {g: g}\n", &point, g, 4);
    for (int k = 0; k < 4; k++) cr_assert_float_eq(g[k], 2 * tanh(l[k]) * (1 - tanh(l[k]) * tanh(l[k])), 1e-12);
    outputs_of(CUBIC "  g: {op: gradient, in: {loss: second, of: part}}\noutputs: {g: g}\n", &point, v, 2);
    for (int k = 0; k < 2; k++) cr_assert_float_eq(v[k], 2 * l[2 * k + 1], 1e-12);
    outputs_of(CUBIC "  g: {op: gradient, in: {loss: loss, of: part}}\noutputs: {g: g}\n", &point, v, 2);
    cr_assert(v[0] == 0 && v[1] == 0, "the loss does not go through the view");
    outputs_of(CUBIC "  a: {op: gradient, in: {loss: loss, of: l}}\n  b: {op: gradient, in: {loss: second, of: l}}\n"
                     "  g: {op: add, in: [a, b]}\noutputs: {g: g}\n",
               &point, g, 4);
    for (int k = 0; k < 4; k++) cr_assert_float_eq(g[k], 2 * tanh(l[k]) * (1 - tanh(l[k]) * tanh(l[k])) + (k % 2 ? 2 * l[k] : 0), 1e-12);
}

/* By parameters, in the order of `parameters`: l.bias, l.weight. */
Test(gradient_values, by_parameters) {
    struct point point = some_x();
    double l[4], g[8], again[8];
    outputs_of(CUBIC "outputs: {l: l}\n", &point, l, 4);
    outputs_of(CUBIC "  g: {op: gradient, in: {loss: loss}, with: {params: \"l.*\"}}\noutputs: {g: g}\n", &point, g, 8);
    for (int o = 0; o < 2; o++) {
        double d[2] = {2 * tanh(l[o]) * (1 - tanh(l[o]) * tanh(l[o])), 2 * tanh(l[2 + o]) * (1 - tanh(l[2 + o]) * tanh(l[2 + o]))};
        cr_assert_float_eq(g[o], d[0] + d[1], 1e-12);
        for (int i = 0; i < 3; i++)
            cr_assert_float_eq(g[2 + 3 * o + i], d[0] * point.inputs[0].values[i] + d[1] * point.inputs[0].values[3 + i], 1e-12);
    }
    /* Two gradient nodes of one loss, one of them by the value between. */
    outputs_of(CUBIC "  v: {op: gradient, in: {loss: loss, of: h}}\n  m: {op: mean, in: v}\n  z: {op: mul, in: m, with: {value: 0}}\n"
                     "  p: {op: gradient, in: {loss: loss}, with: {params: \"l.*\"}}\n  g: {op: add, in: [p, z]}\noutputs: {g: g}\n",
               &point, again, 8);
    for (int k = 0; k < 8; k++) cr_assert_float_eq(again[k], g[k], 1e-14);
}

/* No gradient flows through a gradient: d (sum g x) / d x = g. */
Test(gradient_values, not_through_a_gradient) {
    struct point point = one_input(SHAPE(2, 3));
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3]}}\n"
                               "nodes:\n"
                               "  cu: {op: pow, in: {a: x}, with: {value: 4}}\n"
                               "  inner: {op: sum, in: cu}\n"
                               "  g: {op: gradient, in: {loss: inner, of: x}}\n"
                               "  gx: {op: mul, in: [g, x]}\n"
                               "  loss: {op: sum, in: gx}\n"
                               "outputs: {loss: loss}\n";
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    for (int64_t k = 0; k < 6; k++) point.inputs[0].values[k] = number_of(400 + (uint64_t)k);
    value_at(runtime, text, &point, true, true);
    for (int64_t k = 0; k < 6; k++) {
        double x = point.inputs[0].values[k];
        cr_assert_float_eq(point.inputs[0].gradient[k], 4 * x * x * x, 1e-12);
    }
    flow_runtime_free(runtime);
}

/* Inside a loop: gradient descent on (h - x)^2, three steps of 1/4: h = x (1 - (1/2)^3). */
Test(gradient_values, inside_a_loop) {
    struct point point = some_x();
    double h[6];
    outputs_of("flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3]}}\n"
               "graphs:\n"
               "  descend:\n"
               "    inputs: {h: {dtype: f32, shape: [2, 3]}, x: {dtype: f32, shape: [2, 3]}}\n"
               "    nodes:\n"
               "      d: {op: sub, in: [h, x]}\n"
               "      sq: {op: square, in: d}\n"
               "      loss: {op: sum, in: sq}\n"
               "      g: {op: gradient, in: {loss: loss, of: h}}\n"
               "      step: {op: mul, in: g, with: {value: -0.25}}\n"
               "      y: {op: add, in: [h, step]}\n"
               "    outputs: {h: y}\n"
               "nodes:\n"
               "  zero: {op: mul, in: x, with: {value: 0}}\n"
               "  it: {graph: descend, in: {h: zero, x: x}, loop: {max: 3, carry: {h: h}}}\n"
               "outputs: {h: it}\n",
               &point, h, 6);
    for (int k = 0; k < 6; k++) cr_assert_float_eq(h[k], 0.875 * point.inputs[0].values[k], 1e-12);
}

/* The gradient of a loop in which gradients are values: they are constants to it. h = h0 + steps, h0 = 2 x: d (sum h) / d x = 2; and a
 * parameter that scales the steps gets the sum of what it scaled. */
Test(gradient_values, through_a_loop_with_gradients) {
    struct point point = one_input(SHAPE(2, 3));
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3]}}\n"
                               "graphs:\n"
                               "  descend:\n"
                               "    inputs: {h: {dtype: f32, shape: [2, 3]}}\n"
                               "    nodes:\n"
                               "      sq: {op: square, in: h}\n"
                               "      inner: {op: sum, in: sq}\n"
                               "      g: {op: gradient, in: {loss: inner, of: h}}\n"
                               "      rate: {op: parameter, with: {shape: []}}\n"
                               "      step: {op: mul, in: [g, rate]}\n"
                               "      y: {op: add, in: [h, step]}\n"
                               "    outputs: {h: y}\n"
                               "nodes:\n"
                               "  twice: {op: mul, in: x, with: {value: 2}}\n"
                               "  it: {graph: descend, in: {h: twice}, loop: {max: 3, carry: {h: h}}}\n"
                               "  loss: {op: sum, in: it}\n"
                               "outputs: {loss: loss}\n";
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    for (int64_t k = 0; k < 6; k++) point.inputs[0].values[k] = number_of(410 + (uint64_t)k);
    value_at(runtime, text, &point, true, true);
    cr_assert_eq(point.param_count, 1);
    value_at(runtime, text, &point, false, true);
    double rate = point.params[0].values[0], of_rate = 0;
    for (int64_t k = 0; k < 6; k++) {
        double h = 2 * point.inputs[0].values[k];
        cr_assert_float_eq(point.inputs[0].gradient[k], 2, 1e-12);
        for (int t = 0; t < 3; t++) of_rate += 2 * h, h += rate * 2 * h;
    }
    cr_assert_float_eq(point.params[0].gradient[0], of_rate, 1e-12, "%.17g, %.17g expected, rate %g", point.params[0].gradient[0], of_rate,
                       rate);
    flow_runtime_free(runtime);
}

/* ---- What stops and changes gradients ---- */

Test(gradient_values, stop_scale_inject) {
    struct point point = one_input(SHAPE(2, 3));
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f32, shape: [2, 3]}}\n"
                               "nodes:\n"
                               "  sq: {op: square, in: x}\n"
                               "  still: {op: stop_gradient, in: sq}\n"
                               "  twice: {op: scale_gradient, in: sq, with: {factor: -2}}\n"
                               "  three: {op: mul, in: x, with: {value: 3}}\n"
                               "  put: {op: inject_gradient, in: {x: x, g: three}}\n"
                               "  a: {op: sum, in: still}\n"
                               "  b: {op: sum, in: twice}\n"
                               "  c: {op: sum, in: put}\n"
                               "  s: {op: add, in: [a, b, c]}\n"
                               "outputs: {s: s}\n";
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    for (int64_t k = 0; k < 6; k++) point.inputs[0].values[k] = number_of(500 + (uint64_t)k);
    value_at(runtime, text, &point, true, true);
    for (int64_t k = 0; k < 6; k++) /* nothing, -2 * 2 x, 3 x */
        cr_assert_float_eq(point.inputs[0].gradient[k], -4 * point.inputs[0].values[k] + 3 * point.inputs[0].values[k], 1e-12);
    flow_runtime_free(runtime);
}

/* ---- In training ---- */

/* A gradient node of the training's own loss: it shares the pass, and the update is what it is without. */
Test(gradient_values, shared_with_training) {
    struct training_run plain, shared;
    char text[2048];
    static const char form[] =
        "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
        "nodes:\n"
        "  h: {op: linear, in: x, with: {units: 3}}\n"
        "  a: {op: tanh, in: h}\n"
        "  b: {op: linear, in: a, with: {units: 2}}\n"
        "  loss: {op: mse, in: {x: b, target: y}}\n"
        "  g: {op: gradient, in: {loss: loss, of: h}}\n"
        "  p: {op: gradient, in: {loss: loss}, with: {params: \"*\"}}\n"
        "  size: {op: sum, in: g}\n"
        "  sq: {op: square, in: p}\n"
        "  square: {op: sum, in: sq}\n"
        "  seen: {op: parameter, with: {shape: []}}\n"
        "  seen2: {op: parameter, with: {shape: []}}\n"
        "outputs: {b: b}\n"
        "data: {train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 4}, feeds: {x: x, y: y}}}\n"
        "train: {loss: loss, data: train, steps: 7, update: [%s{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]}\n";
    put_data("d.safetensors", 16, 600);
    snprintf(text, sizeof text, form, "{params: \"seen*\", optimizer: none}, ");
    RUN(&plain, text, .precision = FLOW_F64);
    snprintf(
        text, sizeof text, form,
        "{params: \"seen.*\", optimizer: assign, with: {value: size}}, {params: \"seen2.*\", optimizer: assign, with: {value: square}}, ");
    RUN(&shared, text, .precision = FLOW_F64);
    static const char *const names[] = {"h.weight", "h.bias", "b.weight", "b.bias"};
    for (int n = 0; n < 4; n++)
        for (int64_t k = 0; k < flow_tensor_count(run_param(&plain, names[n])); k++)
            cr_assert_float_eq(run_value(&plain, names[n], k), run_value(&shared, names[n], k), 1e-14);
    /* The gradient by h, summed, is the bias's; its square with the others is the norm that was printed. */
    double norm = run_event(&shared, FLOW_EVENT_STEP, NULL, 6)->norm;
    cr_assert_float_eq(run_value(&shared, "seen2.weight", 0), norm * norm, 1e-10, "%g %g", run_value(&shared, "seen2.weight", 0),
                       norm * norm);
    cr_assert_neq(run_value(&shared, "seen.weight", 0), 0);
    run_close(&plain), run_close(&shared);
}

/* Truncated back-propagation: what came through `state` is a constant. memory = w memory + x, loss = memory: d loss / d w is the memory
 * before, whatever it was made of. */
Test(gradient_values, truncated_at_a_state) {
    struct training_run run;
    put_data("d.safetensors", 8, 601);
    cr_assert_eq(run_open(&run,
                          "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"
                          "nodes:\n"
                          "  one: {op: mean, in: x}\n"
                          "  w: {op: parameter, with: {shape: [], init: constant(2)}}\n"
                          "  before: {op: identity, state: {x: memory.y, reset: never}}\n"
                          "  kept: {op: mul, in: [w, before]}\n"
                          "  memory: {op: add, in: [kept, one]}\n"
                          "outputs: {memory: memory}\n"
                          "data: {train: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 8}, feeds: {x: x}}}\n"
                          "train: {loss: memory, data: train, steps: 5, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.125}}]}\n",
                          (struct run_options){.precision = FLOW_F64}),
                 0, "%s", run.message);
    double x = 0, w = 2, memory = 0;
    flow_file *file;
    flow_errors *errors = NULL;
    cr_assert_eq(flow_file_open(run.runtime, in_folder("d.safetensors"), &errors, &file), 0);
    for (int64_t i = 0; i < 32; i++) x += flow_tensor_real(flow_file_get(file, "x"), i) / 32;
    flow_file_close(file);
    struct flow_event event;
    cr_assert_eq(run_next(&run, &event), 0);
    cr_assert_eq(run_value(&run, "w.weight", 0), w);
    for (int t = 0; t < 5; t++) {
        double before = memory;
        memory = w * before + x, w -= 0.125 * before;
        cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
        cr_assert_float_eq(event.loss, memory, 1e-12);
        cr_assert_float_eq(run_value(&run, "w.weight", 0), w, 1e-12);
    }
    run_close(&run);
}

/* The loss of the first step at w, and how far it moves w at a rate of 1: its gradient there. */
static double first_step(const char *text, double w, double *gradient) {
    struct training_run run;
    char set[64];
    snprintf(set, sizeof set, "w=%.17g", w);
    cr_assert_eq(run_whole(&run, text, (struct run_options){.precision = FLOW_F64, .set = {set}}), 0, "%s", run.message);
    *gradient = w - run_value(&run, "w.weight", 0);
    double loss = run_event(&run, FLOW_EVENT_STEP, NULL, 0)->loss;
    run_close(&run);
    return loss;
}

/* What is computed again for backward draws what it drew: dropout in the body of a loop, in a segment, in a loop in a segment, in a loop in
 * a loop. */
Test(gradient_values, random_where_it_is_computed_again) {
    static const char form[] = "flow: 1\nvars: {w: 1}\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"
                               "graphs:\n"
                               "  step:\n"
                               "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                               "    nodes:\n"
                               "      d: {op: dropout, in: h, with: {p: 0.4}}\n"
                               "      r: {op: random_normal, with: {shape: [4]}}\n"
                               "      n: {op: add, in: [d, r]}\n"
                               "      y: {op: sin, in: n}\n"
                               "    outputs: {h: y}\n"
                               "  twice:\n"
                               "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                               "    nodes: {in: {graph: step, in: {h: h}, loop: {max: 3, carry: {h: h}}}}\n"
                               "    outputs: {h: in}\n"
                               "  segment:\n"
                               "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                               "    nodes: {in: {graph: step, in: {h: h}%s}}\n"
                               "    outputs: {h: in}\n"
                               "nodes:\n"
                               "  w: {op: parameter, with: {shape: [], init: \"constant(${w})\"}}\n"
                               "  wx: {op: mul, in: [x, w]}\n"
                               "  body: {graph: %s, in: {h: wx}%s}\n"
                               "  sq: {op: square, in: body}\n"
                               "  loss: {op: mean, in: sq}\n"
                               "outputs: {loss: loss}\n"
                               "data: {train: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 8}, feeds: {x: x}}}\n"
                               "train: {loss: loss, data: train, steps: 1, update: [{params: \"*\", optimizer: sgd, with: {lr: 1}}]}\n";
    static const struct {
        const char *inside, *graph, *how;
    } cases[] = {{"", "step", ""},
                 {"", "step", ", loop: {max: 4, carry: {h: h}}"},
                 {"", "step", ", repeat: 2, recompute: true"},
                 {", loop: {max: 3, carry: {h: h}}", "segment", ", recompute: true"},
                 {"", "twice", ", loop: {max: 2, carry: {h: h}}"}};
    put_data("d.safetensors", 8, 602);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char text[4096];
        snprintf(text, sizeof text, form, cases[c].inside, cases[c].graph, cases[c].how);
        double gradient, unused, h = 1e-5;
        first_step(text, 0.7, &gradient);
        double expected = (first_step(text, 0.7 + h, &unused) - first_step(text, 0.7 - h, &unused)) / (2 * h);
        cr_assert(fabs(expected) > 1e-6, "case %zu", c);
        cr_assert_float_eq(gradient, expected, 1e-8, "case %zu: %.10g, differences give %.10g", c, gradient, expected);
    }
}
