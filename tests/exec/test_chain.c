/* SPDX-License-Identifier: Apache-2.0 */
/* Small texts from end to end. */
#include "base/half.h"
#include "exec/chain.h"
#include "harness/failing.h"

Test(chain, linear_and_relu) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default,
                            "flow: 1\nname: a\n"
                            "inputs: {x: {shape: [B, 2]}}\n"
                            "nodes:\n"
                            "  h: {op: linear, in: x, with: {units: 3}}\n"
                            "  y: {op: relu, in: h}\n"
                            "outputs: {y: y, h: h}\n",
                            1));
    float w[6] = {1, 2, 3, 4, -5, -6}, b[3] = {0.5f, 0, 1}, x[4] = {1, 1, 2, -1};
    struct flow_tensor weight = chain_tensor(w, FLOW_F32, 2, 3, 2, 0), bias = chain_tensor(b, FLOW_F32, 1, 3, 0, 0);
    cr_assert_eq(model_set(c.model, "h.weight", &weight, false), 0);
    cr_assert_eq(model_set(c.model, "h.bias", &bias, true), 0);
    struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, 2, 2, 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, chain_run(&c, &in, &out));
    chain_floats(&out[1], (float[]){3.5f, 7, -10, 0.5f, 2, -3}, 6);
    chain_floats(&out[0], (float[]){3.5f, 7, 0, 0.5f, 2, 0}, 6);
    chain_close(&c);
}

Test(chain, weights_of_another_shape_name_both) {
    struct chain c;
    CHAIN_OK(&c,
             chain_open(&c, &memory_default,
                        "flow: 1\ninputs: {x: {shape: [B, 2]}}\nnodes: {y: {op: linear, in: x, with: {units: 3}}}\noutputs: {y: y}\n", 1));
    float w[6] = {0}, x[2] = {0};
    struct flow_tensor weight = chain_tensor(w, FLOW_F32, 2, 2, 3, 0), in = chain_tensor(x, FLOW_F32, 2, 1, 2, 0);
    cr_assert_eq(model_set(c.model, "y.weight", &weight, false), 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    cr_assert_eq(chain_run(&c, &in, &out), FLOW_ERROR_SHAPE);
    cr_assert_str_eq(c.report.first->text, "parameter 'y.weight': the weights hold f32 [2, 3], the graph expects f32 [3, 2]");
    chain_close(&c);
}

Test(chain, parameters_are_initialised_and_halves_widened_once) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default,
                            "flow: 1\ninputs: {x: {dtype: f16, shape: [B, 4]}}\n"
                            "nodes:\n  h: {op: linear, in: x, with: {units: 5}}\n  y: {op: tanh, in: h}\noutputs: {y: y}\n",
                            1));
    uint16_t x[8];
    for (int i = 0; i < 8; i++) x[i] = half_f32_to_f16((float)i / 8);
    struct flow_tensor in = chain_tensor(x, FLOW_F16, 2, 2, 4, 0);
    const struct flow_tensor *out;
    size_t initialised = 0;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, model_fill(c.model, c.instances[0], &c.report, &initialised));
    cr_assert_eq(initialised, 2);
    for (int run = 0; run < 3; run++) {
        CHAIN_OK(&c, chain_run(&c, &in, &out));
        cr_assert_eq(out[0].dtype, FLOW_F16);
        const struct flow_tensor *weight = model_get(c.model, "h.weight"), *bias = model_get(c.model, "h.bias");
        for (int b = 0; b < 2; b++)
            for (int u = 0; u < 5; u++) {
                double sum = half_read(bias->data, bias->dtype, u);
                for (int k = 0; k < 4; k++) sum += half_read(x, FLOW_F16, b * 4 + k) * half_read(weight->data, weight->dtype, u * 4 + k);
                cr_assert_float_eq(half_read(out[0].data, FLOW_F16, b * 5 + u), __builtin_tanh(sum), 2e-3);
            }
    }
    chain_close(&c);
}

Test(chain, a_state_goes_on_from_run_to_run) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default,
                            "flow: 1\ninputs: {x: {shape: [2]}}\n"
                            "nodes:\n"
                            "  last: {op: identity, state: {x: total}, init: {x: constant(10)}}\n"
                            "  total: {op: add, in: [last, x]}\n"
                            "  again: {op: identity, state: {x: last}}\n"
                            "outputs: {total: total, last: last, again: again}\n",
                            1));
    float x[2] = {1, 2};
    struct flow_tensor in = chain_tensor(x, FLOW_F32, 1, 2, 0, 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    for (int turn = 0; turn < 2; turn++) {
        for (int run = 1; run <= 4; run++) {
            CHAIN_OK(&c, chain_run(&c, &in, &out));
            chain_floats(&out[0], (float[]){10 + (float)run, 10 + 2 * (float)run}, 2);
            chain_floats(&out[1], (float[]){9 + (float)run, 8 + 2 * (float)run}, 2);
            if (run == 1) chain_floats(&out[2], (float[]){0, 0}, 2);
            else chain_floats(&out[2], (float[]){8 + (float)run, 6 + 2 * (float)run}, 2);
        }
        context_reset(c.context);
    }
    chain_close(&c);
}

Test(chain, constants_views_and_copies) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default,
                            "flow: 1\ninputs: {x: {shape: [2, 3]}}\n"
                            "nodes:\n"
                            "  one: {op: constant, with: {value: [[1, 2, 3], [4, 5, 6]]}}\n"
                            "  turned: {op: transpose, in: one}\n"
                            "  xt: {op: transpose, in: x}\n"
                            "  sum: {op: add, in: [xt, turned]}\n"
                            "  flat: {op: reshape, in: sum, with: {shape: [6]}}\n"
                            "outputs: {flat: flat, turned: turned, xt: xt}\n",
                            1));
    float x[6] = {10, 20, 30, 40, 50, 60};
    struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, 2, 3, 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    for (int run = 0; run < 2; run++) {
        CHAIN_OK(&c, chain_run(&c, &in, &out));
        chain_floats(&out[0], (float[]){11, 44, 22, 55, 33, 66}, 6);
        chain_floats(&out[1], (float[]){1, 4, 2, 5, 3, 6}, 6);
        chain_floats(&out[2], (float[]){10, 40, 20, 50, 30, 60}, 6);
    }
    chain_close(&c);
}

/* cell: s' = s + x_t * (index + 1); collects s' along a new axis; ends when the sum of s' exceeds a limit. */
static const char *loop_text(char *text, size_t size, const char *over, const char *collect, const char *more) {
    snprintf(text, size,
             "flow: 1\ninputs: {x: {shape: [S0, S1, D]}, s: {shape: [B, D]}}\n"
             "graphs:\n"
             "  cell:\n"
             "    inputs: {x: {shape: [B, D]}, s: {shape: [B, D]}, i: {dtype: i64, shape: []}}\n"
             "    nodes:\n"
             "      k: {op: cast, in: i, with: {to: f32}}\n"
             "      k1: {op: add, in: k, with: {value: 1}}\n"
             "      step: {op: mul, in: [x, k1]}\n"
             "      next: {op: add, in: [s, step]}\n"
             "      all: {op: sum, in: next}\n"
             "      stop: {op: gt, in: all, with: {value: 100}}\n"
             "    outputs: {s: next, trace: next, stop: stop}\n"
             "nodes:\n"
             "  run: {graph: cell, in: {x: x, s: s}, loop: {over: {x: %s}, carry: {s: s}, index: i, collect: {trace: %s}%s}}\n"
             "outputs: {s: run.s, trace: run.trace, count: run.count}\n",
             over, collect, more);
    return text;
}

static void run_loop(const char *over, const char *collect, const char *more, bool until) {
    char text[2048];
    struct chain c;
    int64_t axis = over[0] - '0', stack = collect[0] - '0';
    CHAIN_OK(&c, chain_open(&c, &memory_default, loop_text(text, sizeof text, over, collect, more), 1));
    enum { T = 5, B = 2, D = 3 };
    float x[T * B * D], s[B * D] = {1, 2, 3, 4, 5, 6}, trace[T * B * D] = {0}, carried[B * D];
    for (int i = 0; i < T * B * D; i++) x[i] = (float)(i % 7) - 1;
    struct flow_tensor in[2] = {chain_tensor(x, FLOW_F32, 3, axis == 0 ? T : B, axis == 0 ? B : T, D),
                                chain_tensor(s, FLOW_F32, 2, B, D, 0)};
    memcpy(carried, s, sizeof s);
    int64_t made = 0;
    for (int t = 0; t < T; t++) {
        float sum = 0;
        for (int b = 0; b < B; b++)
            for (int d = 0; d < D; d++) {
                float step = x[(axis == 0 ? (t * B + b) * D : (b * T + t) * D) + d] * (float)(t + 1);
                carried[b * D + d] += step;
                int at = stack == 0 ? (t * B + b) * D + d : stack == 1 ? (b * T + t) * D + d : (b * D + d) * T + t;
                trace[at] = carried[b * D + d];
                sum += carried[b * D + d];
            }
        made++;
        if (until && sum > 100) break;
    }
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, in, false));
    for (int run = 0; run < 3; run++) {
        CHAIN_OK(&c, chain_run(&c, in, &out));
        chain_floats(&out[0], carried, B * D);
        chain_floats(&out[1], trace, T * B * D);
        cr_assert_eq(*(int64_t *)out[2].data, made);
    }
    if (until) cr_assert_lt(made, (int64_t)T, "the case must end early");
    chain_close(&c);
}

Test(chain, loops) {
    run_loop("0", "0", "", false);
    run_loop("1", "0", "", false);
    run_loop("0", "1", "", false);
    run_loop("1", "2", "", false);
    run_loop("0", "0", ", until: stop", true);
    run_loop("1", "1", ", until: stop", true);
}

/* Pieces of any sizes must give what the whole gives. */
static void stream_in_pieces(const char *text, const int *sizes, int count, int features, int32_t dtype) {
    enum { MOST = 128 };
    static double x[MOST * 4], whole[MOST * 16], pieces[MOST * 16]; /* raw elements of any type */
    int64_t total = 0, got = 0, width = 0, rows, size = dtype_bytes(dtype);
    for (int i = 0; i < count; i++) total += sizes[i];
    for (int i = 0; i < MOST * 4; i++) half_write(x, dtype, i, (double)((i * 37) % 23) / 8 - 1);
    struct chain c;
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    struct flow_tensor in = chain_tensor(x, dtype, 3, 1, total, features);
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, chain_run(&c, &in, &out));
    rows = out[0].shape[1], width = out[0].shape[2];
    memcpy(whole, out[0].data, (size_t)(rows * width * size));
    chain_close(&c);
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    c.stream = "T";
    for (int i = 0, from = 0; i < count; from += sizes[i++]) {
        in = chain_tensor((char *)x + from * features * size, dtype, 3, 1, sizes[i], features);
        CHAIN_OK(&c, chain_plan(&c, &in, i == count - 1));
        CHAIN_OK(&c, chain_run(&c, &in, &out));
        int64_t n = out[0].shape[1] * width;
        cr_assert_leq(got + n, rows * width);
        if (n) memcpy((char *)pieces + got * size, out[0].data, (size_t)(n * size));
        got += n;
    }
    cr_assert_eq(got, rows * width, "%d rows of %d", (int)(got / width), (int)rows);
    double most = dtype == FLOW_F32 ? 1e-5 : 1e-2; /* a state is rounded to 16 bits between pieces */
    for (int64_t i = 0; i < got; i++) cr_assert_float_eq(half_read(pieces, dtype, i), half_read(whole, dtype, i), most, "[%d]", (int)i);
    chain_close(&c);
}

Test(chain, streams_in_pieces) {
    static const int one[] = {17}, even[] = {4, 4, 4, 4}, uneven[] = {1, 5, 0, 2, 7, 1, 1, 0, 9, 3, 0};
    static const char shifts[] = "flow: 1\ninputs: {x: {shape: [B, T, 3]}}\n"
                                 "nodes:\n  a: {op: shift, in: x, with: {by: 2}}\n  b: {op: relu, in: a}\n  y: {op: add, in: [b, x]}\n"
                                 "outputs: {y: y}\n";
    static const char convolution[] = "flow: 1\nseed: 3\ninputs: {x: {shape: [B, T, 3]}}\n"
                                      "nodes:\n  t: {op: transpose, in: x}\n"
                                      "  a: {op: conv1d, in: t, with: {units: 4, kernel: 5, padding: causal}}\n"
                                      "  b: {op: transpose, in: a}\n  y: {op: tanh, in: b}\noutputs: {y: y}\n";
    static const char delayed[] = "flow: 1\nseed: 3\ninputs: {x: {shape: [B, T, 3]}}\n"
                                  "nodes:\n  t: {op: transpose, in: x}\n"
                                  "  a: {op: conv1d, in: t, with: {units: 3, kernel: 5, padding: same}}\n"
                                  "  b: {op: transpose, in: a}\n  y: {op: add, in: [b, x]}\noutputs: {y: y}\n";
    const char *texts[] = {shifts, convolution, delayed};
    for (int t = 0; t < 3; t++) {
        stream_in_pieces(texts[t], one, 1, 3, FLOW_F32);
        stream_in_pieces(texts[t], even, 4, 3, FLOW_F32);
        stream_in_pieces(texts[t], uneven, 11, 3, FLOW_F32);
    }
}

/* States that stay in place, and caches that grow past the room they begin with. */
Test(chain, states_in_place_and_appended) {
    static const int small[] = {1, 2, 0, 5, 1, 1, 3}, growing[] = {7, 9, 9, 1, 9, 20, 1, 9, 1, 30, 3};
    static const char attention[] =
        "flow: 1\nseed: 4\ninputs: {x: {dtype: %s, shape: [B, T, 4]}}\n"
        "nodes:\n  y: {op: attention, in: {q: x, k: x, v: x}, with: {heads: 2, causal: true}}\noutputs: {y: y}\n";
    static const char recurrent[] = "flow: 1\nseed: 4\ninputs: {x: {dtype: %s, shape: [B, T, 4]}}\n"
                                    "nodes:\n  y: {op: lstm, in: x, with: {units: 4}}\noutputs: {y: y}\n";
    const char *texts[] = {attention, recurrent}, *types[] = {"f32", "f16", "bf16"};
    const int32_t dtypes[] = {FLOW_F32, FLOW_F16, FLOW_BF16};
    for (int t = 0; t < 2; t++)
        for (int d = 0; d < 3; d++) {
            char text[512];
            snprintf(text, sizeof text, texts[t], types[d]);
            stream_in_pieces(text, small, 7, 4, dtypes[d]);
            stream_in_pieces(text, growing, 11, 4, dtypes[d]);
        }
}

Test(chain, an_extent_known_after_the_run) {
    struct chain c;
    static const char both[] = "flow: 1\ninputs: {score: {shape: [T]}}\n"
                               "nodes:\n  s: {op: vad_segments, in: score}\n%s"
                               "outputs: {s: %s, again: s}\n";
    char text[512];
    snprintf(text, sizeof text, both, "", "s");
    float score[100];
    for (int i = 0; i < 100; i++) score[i] = i > 30 && i < 80 ? 0.0f : 1.0f;
    struct flow_tensor in = chain_tensor(score, FLOW_F32, 1, 100, 0, 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    for (int run = 0; run < 2; run++) {
        if (run == 0) CHAIN_OK(&c, chain_plan(&c, &in, false));
        CHAIN_OK(&c, chain_run(&c, &in, &out));
        cr_assert_eq(out[0].shape[0], 1, "one segment, got %d", (int)out[0].shape[0]);
        cr_assert_eq(out[1].shape[0], 1);
        cr_assert_eq(((int64_t *)out[0].data)[0], ((int64_t *)out[1].data)[0]);
        for (int i = 0; i < 100; i++) score[i] = i < 50 ? 0.0f : 1.0f;
    }
    chain_close(&c);
    snprintf(text, sizeof text, both, "  n: {op: add, in: s, with: {value: 1}}\n", "n");
    CHAIN_OK(&c, chain_open(&c, &memory_default, text, 1));
    cr_assert_eq(chain_plan(&c, &in, false), FLOW_ERROR_UNSUPPORTED);
    cr_assert_not_null(strstr(c.report.first->text, "is known after the run only"));
    chain_close(&c);
}

Test(chain, double_precision) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default, "flow: 1\ninputs: {x: {shape: [N]}}\nnodes: {y: {op: exp, in: x}}\noutputs: {y: y}\n", 1));
    c.precision = FLOW_F64;
    double x[3] = {0, 1, -2};
    struct flow_tensor in = chain_tensor(x, FLOW_F64, 1, 3, 0, 0);
    const struct flow_tensor *out;
    CHAIN_OK(&c, chain_plan(&c, &in, false));
    CHAIN_OK(&c, chain_run(&c, &in, &out));
    for (int i = 0; i < 3; i++) cr_assert_float_eq(((double *)out[0].data)[i], __builtin_exp(x[i]), 1e-14);
    chain_close(&c);
}

Test(chain, plans_of_other_sizes_take_turns) {
    struct chain c;
    CHAIN_OK(&c, chain_open(&c, &memory_default,
                            "flow: 1\ninputs: {x: {shape: [N, 2]}}\n"
                            "nodes:\n  a: {op: transpose, in: x}\n  b: {op: mul, in: [a, a]}\n  y: {op: sum, in: b, with: {axes: [1]}}\n"
                            "outputs: {y: y}\n",
                            1));
    float x[200];
    for (int i = 0; i < 200; i++) x[i] = (float)(i % 5);
    for (int n = 1; n <= 9; n++) {
        struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, n * n, 2, 0);
        CHAIN_OK(&c, chain_plan(&c, &in, false));
    }
    for (int turn = 0; turn < 40; turn++) {
        int n = 1 + turn * 4 % 9;
        struct flow_tensor in = chain_tensor(x, FLOW_F32, 2, n * n, 2, 0);
        const struct flow_tensor *out;
        float sums[2] = {0};
        for (int i = 0; i < n * n * 2; i++) sums[i % 2] += x[i] * x[i];
        CHAIN_OK(&c, context_bind(c.context, c.plans[n - 1], &c.report));
        CHAIN_OK(&c, context_run(c.context, &in, &c.report, &out));
        chain_floats(&out[0], sums, 2);
    }
    chain_close(&c);
}

Test(chain, every_failing_allocation_is_survived) {
    static const char text[] = "flow: 1\ninputs: {x: {dtype: f16, shape: [B, T, 3]}}\n"
                               "graphs:\n  cell:\n    inputs: {x: {dtype: f16, shape: [B, D]}, s: {dtype: f16, shape: [B, D]}}\n"
                               "    nodes:\n      h: {op: linear, in: x, with: {units: 3}}\n      n: {op: add, in: [h, s]}\n"
                               "    outputs: {s: n, all: n}\n"
                               "nodes:\n"
                               "  start: {op: constant, with: {value: [[0, 0, 0], [1, 1, 1]], dtype: f16}}\n"
                               "  run: {graph: cell, in: {x: x, s: start}, loop: {over: {x: 1}, carry: {s: s}, collect: {all: 1}}}\n"
                               "  was: {op: identity, state: {x: sum}}\n"
                               "  sum: {op: add, in: [was, run.s]}\n"
                               "outputs: {all: run.all, sum: sum}\n";
    uint16_t x[2 * 4 * 3] = {0};
    struct flow_tensor in = chain_tensor(x, FLOW_F16, 3, 2, 4, 3);
    for (long n = 1;; n++) {
        struct failing failing = FAILING_INIT;
        struct allocator from = failing_allocator(&failing);
        struct chain c;
        const struct flow_tensor *out = NULL;
        CHAIN_OK(&c, chain_open(&c, &from, text, 1));
        CHAIN_OK(&c, chain_infer(&c, &in, false));
        long before = failing.requests;
        failing.fail_at = before + n;
        int code = chain_plan_last(&c);
        for (int run = 0; run < 2 && code == 0; run++) code = chain_run(&c, &in, &out);
        bool done = code == 0 && failing.requests < before + n;
        if (code != 0 && code != FLOW_ERROR_MEMORY) chain_show(&c);
        cr_assert(code == 0 || code == FLOW_ERROR_MEMORY, "request %ld gave %d", n, code);
        chain_close(&c);
        cr_assert_eq(failing.blocks, 0, "request %ld", n);
        cr_assert_not(failing.wrong_size, "request %ld", n);
        if (done) break;
    }
}
