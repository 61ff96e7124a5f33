/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of whole graphs in f64 against central differences: loops of all kinds, segments that are computed again, gradients as values,
 * all parameters as one vector, what stops and changes gradients. */
#include "train/trainer_test.h"

TestSuite(graph_gradients, .init = folder_make, .fini = folder_remove);

enum { INPUTS_MOST = 4, PARAMS_MOST = 16, VALUES_MOST = 512 };

struct slot {
    const char *name;
    int32_t rank;
    int64_t shape[4];
    double values[64], gradient[64];
};

struct point {
    struct slot inputs[INPUTS_MOST], params[PARAMS_MOST];
    size_t input_count, param_count;
    char names[PARAMS_MOST][64];
};

static int64_t slot_count(const struct slot *slot) {
    int64_t count = 1;
    for (int32_t a = 0; a < slot->rank; a++) count *= slot->shape[a];
    return count;
}

static const char *said(flow_errors *errors) {
    static char text[2048];
    int at = 0;
    text[0] = 0;
    for (int32_t i = 0; i < flow_errors_count(errors) && at < 1800; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%.400s\n", flow_errors_get(errors, i).text);
    return text;
}

/* The sum of the graph's outputs at the point (their gradient too, when wanted). */
static double value_at(flow_runtime *runtime, const char *text, struct point *point, bool first, bool gradients) {
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    flow_session *session = NULL;
    struct flow_graph_options options = {.size = sizeof options, .precision = FLOW_F64, .weights = ""};
    struct flow_session_options about = {.size = sizeof about, .gradients = gradients};
    int status = flow_graph_parse(runtime, in_folder("test.yaml"), text, strlen(text), &options, &errors, &graph);
    cr_assert_eq(status, 0, "%s", said(errors));
    for (size_t p = 0; p < point->param_count && !first; p++) {
        struct slot *slot = &point->params[p];
        struct flow_tensor tensor = flow_tensor_of(slot->values, FLOW_F64, slot->rank, slot->shape);
        cr_assert_eq(flow_graph_set(graph, slot->name, &tensor, &errors), 0, "%s", said(errors));
    }
    status = flow_session_new(graph, &about, &errors, &session);
    cr_assert_eq(status, 0, "%s", said(errors));
    for (size_t i = 0; i < point->input_count; i++) {
        struct slot *slot = &point->inputs[i];
        struct flow_tensor tensor = flow_tensor_of(slot->values, FLOW_F64, slot->rank, slot->shape);
        cr_assert_eq(flow_session_input(session, slot->name, &tensor, &errors), 0, "%s", said(errors));
    }
    status = flow_session_run(session, &errors);
    cr_assert_eq(status, 0, "%s", said(errors));
    double sum = 0;
    for (size_t o = 0; o < flow_graph_outputs(graph); o++) {
        const struct flow_tensor *out = flow_session_output_at(session, o);
        cr_assert_eq(flow_tensor_count(out), 1, "outputs are losses here");
        sum += flow_tensor_real(out, 0);
    }
    const char *name;
    const struct flow_tensor *found;
    size_t seen = 0;
    for (size_t g = 0; gradients && flow_session_gradient(session, g, &name, &found); g++, seen++) {
        struct slot *slot = NULL;
        for (size_t i = 0; i < point->input_count; i++)
            if (strncmp(name, "in.", 3) == 0 && strcmp(name + 3, point->inputs[i].name) == 0) slot = &point->inputs[i];
        for (size_t p = 0; p < point->param_count; p++)
            if (strncmp(name, "param.", 6) == 0 && strcmp(name + 6, point->params[p].name) == 0) slot = &point->params[p];
        if (!slot) { /* a parameter met for the first time */
            cr_assert(first && strncmp(name, "param.", 6) == 0 && point->param_count < PARAMS_MOST && flow_tensor_count(found) <= 64, "%s",
                      name);
            slot = &point->params[point->param_count];
            snprintf(point->names[point->param_count], sizeof point->names[0], "%s", name + 6);
            slot->name = point->names[point->param_count++];
            slot->rank = found->rank;
            memcpy(slot->shape, found->shape, sizeof slot->shape);
            for (int64_t k = 0; k < flow_tensor_count(found); k++)
                slot->values[k] = 0.6 * number_of((uint64_t)(1000 * point->param_count) + (uint64_t)k);
        }
        cr_assert_eq(flow_tensor_count(found), slot_count(slot), "%s", name);
        for (int64_t k = 0; k < flow_tensor_count(found); k++) slot->gradient[k] = flow_tensor_real(found, k);
    }
    flow_session_free(session);
    flow_graph_free(graph);
    return sum;
}

static void look_at(flow_runtime *runtime, const char *text, struct point *point, struct slot *slot, double tolerance) {
    const double h = 1e-5;
    for (int64_t k = 0; k < slot_count(slot); k++) {
        double kept = slot->values[k], around[2];
        for (int side = 0; side < 2; side++) {
            slot->values[k] = kept + (side ? h : -h);
            around[side] = value_at(runtime, text, point, false, false);
        }
        slot->values[k] = kept;
        double expected = (around[1] - around[0]) / (2 * h);
        cr_assert_float_eq(slot->gradient[k], expected, tolerance * (1 + fabs(expected)), "'%s'[%lld]: %.10g, differences give %.10g",
                           slot->name, (long long)k, slot->gradient[k], expected);
    }
}

/* Every input and parameter, once with other values than the initial ones. Returns the sum of |gradients|. */
static double differences(const char *text, struct point *point) {
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = BUILD_DIR "/plugins"};
    cr_assert_eq(flow_runtime_new(&options, &errors, &runtime), 0);
    for (size_t i = 0; i < point->input_count; i++)
        for (int64_t k = 0; k < slot_count(&point->inputs[i]); k++) point->inputs[i].values[k] = 0.8 * number_of(77 * i + (uint64_t)k + 5);
    value_at(runtime, text, point, true, true);
    value_at(runtime, text, point, false, true);
    double sum = 0;
    for (size_t i = 0; i < point->input_count; i++) look_at(runtime, text, point, &point->inputs[i], 1e-7);
    for (size_t p = 0; p < point->param_count; p++) look_at(runtime, text, point, &point->params[p], 1e-7);
    for (size_t i = 0; i < point->input_count; i++)
        for (int64_t k = 0; k < slot_count(&point->inputs[i]); k++) sum += fabs(point->inputs[i].gradient[k]);
    for (size_t p = 0; p < point->param_count; p++)
        for (int64_t k = 0; k < slot_count(&point->params[p]); k++) sum += fabs(point->params[p].gradient[k]);
    flow_runtime_free(runtime);
    return sum;
}

static struct point one_input(int32_t rank, const int64_t *shape) {
    struct point point = {.input_count = 1};
    point.inputs[0] = (struct slot){.name = "x", .rank = rank};
    memcpy(point.inputs[0].shape, shape, (size_t)rank * sizeof *shape);
    return point;
}
#define SHAPE(...) \
    (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }

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
Test(graph_gradients, of_a_value) {
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
Test(graph_gradients, by_parameters) {
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
Test(graph_gradients, not_through_a_gradient) {
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
Test(graph_gradients, inside_a_loop) {
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
Test(graph_gradients, through_a_loop_with_gradients) {
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

Test(graph_gradients, stop_scale_inject) {
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
Test(graph_gradients, shared_with_training) {
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
Test(graph_gradients, truncated_at_a_state) {
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
Test(graph_gradients, random_where_it_is_computed_again) {
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
