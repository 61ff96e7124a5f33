/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of the trainer against the same arithmetic written down again, and settings that must not change the result. */
#include "train/trainer_test.h"

TestSuite(trainer, .init = folder_make, .fini = folder_remove);

/* ---- Against arithmetic written down again ---- */

static const char line[] = "flow: 1\n"
                           "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
                           "nodes:\n"
                           "  a: {op: linear, in: x, with: {units: 2, bias: false}, init: {weight: \"uniform(-0.5, 0.5)\"}}\n"
                           "  loss: {op: mse, in: {x: a, target: y}}\n"
                           "outputs: {a: a}\n"
                           "data: {train: {source: tensors, path: d.safetensors, with: {batch: 4, keep_last: true}, feeds: {x: x, y: y}}}\n"
                           "train: {loss: loss, data: train, steps: 9, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}],\n"
                           "  schedule: {kind: linear, warmup: 3, final: 0.1}, clip_norm: 0.2}\n";

enum { ROWS = 10 };
struct line_data {
    double x[ROWS][DATA_IN], y[ROWS][DATA_OUT];
};

static void line_read(struct line_data *data) {
    flow_runtime *runtime;
    flow_errors *errors = NULL;
    flow_file *file;
    cr_assert_eq(flow_runtime_new(NULL, &errors, &runtime), 0);
    cr_assert_eq(flow_file_open(runtime, in_folder("d.safetensors"), &errors, &file), 0);
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t i = 0; i < DATA_IN; i++) data->x[r][i] = flow_tensor_real(flow_file_get(file, "x"), r * DATA_IN + i);
        for (int64_t i = 0; i < DATA_OUT; i++) data->y[r][i] = flow_tensor_real(flow_file_get(file, "y"), r * DATA_OUT + i);
    }
    flow_file_close(file);
    flow_runtime_free(runtime);
}

static double line_gradient(const struct line_data *data, int64_t begin, int64_t end, const double *w, double *g) {
    double loss = 0, count = (double)(end - begin) * DATA_OUT;
    memset(g, 0, DATA_OUT * DATA_IN * sizeof *g);
    for (int64_t r = begin; r < end; r++)
        for (int64_t o = 0; o < DATA_OUT; o++) {
            double d = -data->y[r][o];
            for (int64_t i = 0; i < DATA_IN; i++) d += w[o * DATA_IN + i] * data->x[r][i];
            loss += d * d / count;
            for (int64_t i = 0; i < DATA_IN; i++) g[o * DATA_IN + i] += 2 * d * data->x[r][i] / count;
        }
    return loss;
}

/* Batches of 4, 4 and the last 2 rows; warm-up, decay and clipping. */
Test(trainer, line_by_hand) {
    static const double rates[9] = {1.0 / 3, 2.0 / 3, 1, 1, 1 - 0.9 / 6, 1 - 1.8 / 6, 1 - 2.7 / 6, 1 - 3.6 / 6, 1 - 4.5 / 6};
    struct training_run run;
    struct line_data data;
    double w[DATA_OUT * DATA_IN], g[DATA_OUT * DATA_IN];
    put_data("d.safetensors", ROWS, 0);
    line_read(&data);
    cr_assert_eq(run_open(&run, line, (struct run_options){.precision = FLOW_F64}), 0, "%s", run.message);
    struct flow_event event;
    cr_assert_eq(run_next(&run, &event), 0);
    for (int i = 0; i < DATA_OUT * DATA_IN; i++) w[i] = run_value(&run, "a.weight", i);
    for (int t = 0; t < 9; t++) {
        int64_t begin = t % 3 * 4, end = begin + 4 < ROWS ? begin + 4 : ROWS;
        double loss = line_gradient(&data, begin, end, w, g), square = 0;
        for (int i = 0; i < DATA_OUT * DATA_IN; i++) square += g[i] * g[i];
        double norm = sqrt(square), clip = 0.2 / (norm + 1e-6) < 1 ? 0.2 / (norm + 1e-6) : 1;
        for (int i = 0; i < DATA_OUT * DATA_IN; i++) w[i] -= 0.1 * rates[t] * clip * g[i];
        cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
        cr_assert_eq(event.kind, FLOW_EVENT_STEP);
        cr_assert_eq(event.step, t + 1);
        cr_assert_eq(event.rows, end - begin);
        cr_assert_float_eq(event.loss, loss, 1e-12);
        cr_assert_float_eq(event.grad_norm, norm, 1e-12);
        cr_assert_float_eq(event.rate, rates[t], 1e-12, "%d: %g, %g", t, event.rate, rates[t]);
        for (int i = 0; i < DATA_OUT * DATA_IN; i++) cr_assert_float_eq(run_value(&run, "a.weight", i), w[i], 1e-12);
    }
    cr_assert_eq(run_next(&run, &event), 0);
    cr_assert_eq(event.kind, FLOW_EVENT_STAGE_END);
    cr_assert_eq(run_next(&run, &event), 0);
    cr_assert_eq(event.kind, FLOW_EVENT_END);
    run_close(&run);
}

/* ---- Settings that do not change the result ---- */

#define NET_INPUTS                                                    \
    "flow: 1\nvars: {batch: 16, micro: 1, again: false, steps: 12}\n" \
    "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
#define NET_END                                                                                                                \
    "outputs: {b: b}\n"                                                                                                        \
    "data: {train: {source: tensors, path: d.safetensors, with: {batch: \"${batch}\", shuffle: true}, feeds: {x: x, y: y}}}\n" \
    "train: {loss: loss, data: train, steps: \"${steps}\", micro_batches: \"${micro}\",\n"                                     \
    "  update: [{params: \"*\", optimizer: adam, with: {lr: 0.01}}], clip_norm: 1}\n"

static const char plain[] = NET_INPUTS "nodes:\n"
                                       "  h: {op: linear, in: x, with: {units: 16}}\n"
                                       "  a: {op: gelu, in: h}\n"
                                       "  b: {op: linear, in: a, with: {units: 2}}\n"
                                       "  loss: {op: mse, in: {x: b, target: y}}\n" NET_END;

static const char noisy[] = NET_INPUTS "graphs:\n"
                                       "  block:\n"
                                       "    inputs: {x: {dtype: f32, shape: [B, D]}}\n"
                                       "    nodes:\n"
                                       "      n: {op: layer_norm, in: x}\n"
                                       "      u: {op: linear, in: n, with: {units: 128}}\n"
                                       "      g: {op: gelu, in: u}\n"
                                       "      o: {op: dropout, in: g, with: {p: 0.3}}\n"
                                       "      d: {op: linear, in: o, with: {units: 32}}\n"
                                       "      e: {op: tanh, in: d}\n"
                                       "      y: {op: add, in: [x, e]}\n"
                                       "    outputs: {y: y}\n"
                                       "nodes:\n"
                                       "  h: {op: linear, in: x, with: {units: 32}}\n"
                                       "  bn: {op: batch_norm, in: h}\n"
                                       "  body: {graph: block, in: bn, repeat: 3, recompute: \"${again}\"}\n"
                                       "  side: {op: linear, in: x, with: {units: 32}}\n"
                                       "  s: {op: sigmoid, in: side}\n"
                                       "  both: {op: mul, in: [body, s]}\n"
                                       "  b: {op: linear, in: both, with: {units: 2}}\n"
                                       "  loss: {op: mse, in: {x: b, target: y}}\n" NET_END;

/* The shuffle is over rows, so four batches of 4 are one of 16. */
Test(trainer, micro_batches) {
    struct training_run one, four;
    put_data("d.safetensors", 64, 3);
    RUN(&one, plain, .precision = FLOW_F64);
    RUN(&four, plain, .precision = FLOW_F64, .set = {"batch=4", "micro=4"});
    near_values(&one, &four, 1e-9, "4 x 4 and 16");
    for (size_t t = 0; t < 12; t++) {
        cr_assert_float_eq(run_event(&one, FLOW_EVENT_STEP, NULL, t)->loss, run_event(&four, FLOW_EVENT_STEP, NULL, t)->loss, 1e-9);
        cr_assert_float_eq(run_event(&one, FLOW_EVENT_STEP, NULL, t)->norm, run_event(&four, FLOW_EVENT_STEP, NULL, t)->norm, 1e-9);
    }
    run_close(&one), run_close(&four);
}

Test(trainer, recompute) {
    struct training_run kept, again;
    put_data("d.safetensors", 512, 4);
    cr_assert_eq(run_open(&kept, noisy, (struct run_options){.set = {"batch=256"}}), 0, "%s", kept.message);
    cr_assert_eq(run_open(&again, noisy, (struct run_options){.set = {"batch=256", "again=true"}}), 0, "%s", again.message);
    cr_assert_eq(run_on(&kept, 5), 0);
    cr_assert_eq(run_on(&again, 5), 0);
    same_bits(&kept, &again, "recompute");
    long long without = flow_trainer_memory(kept.trainer).arena, with = flow_trainer_memory(again.trainer).arena;
    cr_assert(with > 0 && with < without * 3 / 4, "%lld with, %lld without", with, without);
    run_close(&kept), run_close(&again);
}

Test(trainer, threads_and_streams) {
    struct training_run one, other;
    put_data("d.safetensors", 512, 5);
    RUN(&one, noisy, .set = {"batch=256"});
    for (int k = 1; k < 4; k++) {
        RUN(&other, noisy, .set = {"batch=256"}, .threads = 1 + k % 2, .streams = 1 + k / 2);
        same_bits(&one, &other, k == 1 ? "2 threads" : k == 2 ? "2 streams" : "2 threads, 2 streams");
        run_close(&other);
    }
    run_close(&one);
}

Test(trainer, single_and_double) {
    struct training_run f32, f64;
    put_data("d.safetensors", 64, 6);
    RUN(&f32, plain, 0);
    RUN(&f64, plain, .precision = FLOW_F64);
    cr_assert_eq(run_param(&f32, "h.weight")->dtype, FLOW_F32);
    cr_assert_eq(run_param(&f64, "h.weight")->dtype, FLOW_F64);
    near_values(&f32, &f64, 1e-4, "f32 and f64");
    run_close(&f32), run_close(&f64);
}

/* The loss falls: what is trained is trained on what it is meant to be. */
Test(trainer, learns) {
    struct training_run run;
    put_data("d.safetensors", 256, 7);
    RUN(&run, plain, .set = {"steps=400"});
    double first = run_event(&run, FLOW_EVENT_STEP, NULL, 0)->loss, last = run_event(&run, FLOW_EVENT_STEP, NULL, 399)->loss;
    cr_assert_lt(last, 0.2 * first, "%g to %g", first, last);
    run_close(&run);
}

/* ---- Groups ---- */

#define PAIR_NODES                                                                        \
    "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n" \
    "nodes:\n"                                                                            \
    "  a: {op: linear, in: x, with: {units: 2}}\n"                                        \
    "  c: {op: linear, in: x, with: {units: 2}}\n"                                        \
    "  e: {op: linear, in: x, with: {units: 2}}\n"                                        \
    "  s: {op: add, in: [a, c]}\n"                                                        \
    "  first: {op: mse, in: {x: s, target: y}}\n"                                         \
    "  second: {op: l1, in: {x: s, target: y}}\n"                                         \
    "  top: {op: mean, in: x, with: {axes: [0]}}\n"                                       \
    "  four: {op: reshape, in: top, with: {shape: [1, 4]}}\n"                             \
    "  pull: {op: expand, in: four, with: {shape: [2, 4]}}\n"                             \
    "outputs: {s: s, pull: pull}\n"                                                       \
    "data: {train: {source: tensors, path: d.safetensors, with: {batch: 8}, feeds: {x: x, y: y}}}\n"

static const char *pair(char *room, size_t size, const char *train) {
    snprintf(room, size, "%s%s\n", PAIR_NODES, train);
    return room;
}

/* `a` follows one loss and `c` another: each is what it is where that loss is the only one and the other stands still for one step. */
Test(trainer, losses_of_their_own) {
    struct training_run both, a, c;
    char text[4096];
    put_data("d.safetensors", 8, 8);
    RUN(&both,
        pair(text, sizeof text,
             "train: {loss: first, data: train, steps: 1, update: [{params: \"a.*\", optimizer: sgd, with: {lr: 0.1}},"
             "{params: \"c.*\", optimizer: sgd, loss: second, clip_norm: 0.05, with: {lr: 0.1}}]}"),
        .precision = FLOW_F64);
    RUN(&a,
        pair(text, sizeof text,
             "train: {loss: first, data: train, steps: 1, update: [{params: \"a.*\", optimizer: sgd, with: {lr: 0.1}}]}"),
        .precision = FLOW_F64);
    RUN(&c,
        pair(text, sizeof text,
             "train: {loss: second, data: train, steps: 1, clip_norm: 0.05, update: [{params: \"c.*\", optimizer: sgd, "
             "with: {lr: 0.1}}]}"),
        .precision = FLOW_F64);
    double moved = 0;
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(run_value(&both, "a.weight", i), run_value(&a, "a.weight", i));
        cr_assert_float_eq(run_value(&both, "c.weight", i), run_value(&c, "c.weight", i), 1e-15);
        cr_assert_eq(run_value(&both, "e.weight", i), run_value(&a, "e.weight", i)); /* frozen */
        moved += fabs(run_value(&both, "c.weight", i) - run_value(&a, "c.weight", i));
    }
    cr_assert(moved > 0 && moved < 0.1 * 0.05 * 8);
    run_close(&both), run_close(&a), run_close(&c);
}

/* Where no group clips for itself, the norm is of all together. */
Test(trainer, clip_of_all) {
    struct training_run one, two;
    char text[4096];
    put_data("d.safetensors", 8, 9);
    RUN(&one,
        pair(text, sizeof text,
             "train: {loss: first, data: train, steps: 3, clip_norm: 0.1, update: [{params: \"*\", optimizer: sgd, with: "
             "{lr: 0.1}}]}"),
        .precision = FLOW_F64);
    RUN(&two,
        pair(text, sizeof text,
             "train: {loss: first, data: train, steps: 3, clip_norm: 0.1, update: [{params: \"a.*\", optimizer: sgd, with: "
             "{lr: 0.1}}, {params: \"*\", optimizer: sgd, with: {lr: 0.1}}]}"),
        .precision = FLOW_F64);
    near_values(&one, &two, 1e-15, "one group and two");
    cr_assert_float_eq(run_event(&one, FLOW_EVENT_STEP, NULL, 1)->norm, run_event(&two, FLOW_EVENT_STEP, NULL, 1)->norm, 1e-14);
    run_close(&one), run_close(&two);
}

/* every: 3: steps 0, 3, 6 of 8, so three updates; the group that follows acts once 3 and 6 have been made. */
Test(trainer, every) {
    struct training_run run;
    char text[4096];
    put_data("d.safetensors", 8, 10);
    cr_assert_eq(
        run_open(&run,
                 pair(text, sizeof text,
                      "train: {loss: first, data: train, steps: 8, update: [{params: \"a.*\", optimizer: sgd, every: 3, with: {lr: "
                      "0.1}}, {params: \"c.*\", optimizer: sgd, with: {lr: 0.1}}, {params: \"e.*\", optimizer: average, every: 3, "
                      "with: {of: \"c.*\", rate: 1}}]}"),
                 (struct run_options){0}),
        0, "%s", run.message);
    struct flow_event event;
    cr_assert_eq(run_next(&run, &event), 0);
    double last = run_value(&run, "a.weight", 0), follows = run_value(&run, "e.weight", 0);
    for (int t = 0; t < 8; t++) {
        cr_assert_eq(run_next(&run, &event), 0);
        cr_assert_eq(event.kind, FLOW_EVENT_STEP);
        bool moved = run_value(&run, "a.weight", 0) != last, followed = run_value(&run, "e.weight", 0) != follows;
        cr_assert_eq(moved, t % 3 == 0, "step %d", t);
        cr_assert_eq(followed, t % 3 == 2, "step %d", t);
        if (followed) cr_assert_eq(run_value(&run, "e.weight", 0), run_value(&run, "c.weight", 0));
        last = run_value(&run, "a.weight", 0), follows = run_value(&run, "e.weight", 0);
    }
    run_close(&run);
}

Test(trainer, without_a_gradient) {
    struct training_run run;
    char text[4096];
    put_data("d.safetensors", 8, 11);
    cr_assert_eq(
        run_open(&run,
                 pair(text, sizeof text,
                      "train: {loss: first, data: train, steps: 2, update: [{params: \"a.weight\", optimizer: assign, with: {value: "
                      "pull, rate: 0.5}}, {params: \"c.weight\", optimizer: accumulate, with: {value: pull}}, {params: e.weight, "
                      "optimizer: average, with: {of: a.weight, rate: 0.25}}, {params: \"*\", optimizer: none}]}"),
                 (struct run_options){.precision = FLOW_F64}),
        0, "%s", run.message);
    struct flow_event event;
    cr_assert_eq(run_next(&run, &event), 0);
    double x[4] = {0}, a[8], c[8], e[8];
    flow_file *file;
    flow_errors *errors = NULL;
    cr_assert_eq(flow_file_open(run.runtime, in_folder("d.safetensors"), &errors, &file), 0);
    for (int r = 0; r < 8; r++)
        for (int i = 0; i < 4; i++) x[i] += flow_tensor_real(flow_file_get(file, "x"), r * 4 + i) / 8;
    flow_file_close(file);
    for (int i = 0; i < 8; i++)
        a[i] = run_value(&run, "a.weight", i), c[i] = run_value(&run, "c.weight", i), e[i] = run_value(&run, "e.weight", i);
    double bias = run_value(&run, "a.bias", 0);
    cr_assert_eq(run_on(&run, 0), 0, "%s", run.message);
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < 8; i++) {
            a[i] += 0.5 * (x[i % 4] - a[i]), c[i] += x[i % 4];
            e[i] += 0.25 * (a[i] - e[i]); /* follows what `a` is after its update */
        }
    for (int i = 0; i < 8; i++) {
        cr_assert_float_eq(run_value(&run, "a.weight", i), a[i], 1e-14);
        cr_assert_float_eq(run_value(&run, "c.weight", i), c[i], 1e-14);
        cr_assert_float_eq(run_value(&run, "e.weight", i), e[i], 1e-14);
    }
    cr_assert_eq(run_value(&run, "a.bias", 0), bias);
    run_close(&run);
}

/* Each row of a weight's gradient less its mean; biases as they are. */
Test(trainer, centralize) {
    struct training_run centred, as_is;
    char text[4096];
    double before[8];
    put_data("d.safetensors", 8, 12);
    cr_assert_eq(run_open(&centred,
                          pair(text, sizeof text,
                               "train: {loss: first, data: train, steps: 1, update: [{params: \"*\", optimizer: sgd, centralize: true, "
                               "with: {lr: 0.1}}]}"),
                          (struct run_options){.precision = FLOW_F64}),
                 0, "%s", centred.message);
    struct flow_event event;
    cr_assert_eq(run_next(&centred, &event), 0);
    for (int i = 0; i < 8; i++) before[i] = run_value(&centred, "a.weight", i);
    cr_assert_eq(run_on(&centred, 0), 0);
    RUN(&as_is,
        pair(text, sizeof text, "train: {loss: first, data: train, steps: 1, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]}"),
        .precision = FLOW_F64);
    for (int r = 0; r < 2; r++) {
        double mean = 0;
        for (int i = 0; i < 4; i++) mean += (before[r * 4 + i] - run_value(&as_is, "a.weight", r * 4 + i)) / 4;
        for (int i = 0; i < 4; i++) {
            double g = before[r * 4 + i] - run_value(&as_is, "a.weight", r * 4 + i) - mean;
            cr_assert_float_eq(before[r * 4 + i] - run_value(&centred, "a.weight", r * 4 + i), g, 1e-14);
        }
        cr_assert_eq(run_value(&centred, "a.bias", r), run_value(&as_is, "a.bias", r));
    }
    run_close(&centred), run_close(&as_is);
}

/* ---- What the trainer feeds ---- */

Test(trainer, step_and_progress) {
    struct training_run run;
    put_data("d.safetensors", 8, 13);
    RUN(&run, "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}, t: {dtype: i64, shape: []}, u: {dtype: f32, shape: []}}\n"
              "nodes:\n"
              "  p: {op: parameter, with: {shape: [1], init: zeros}}\n"
              "  tf: {op: cast, in: t, with: {to: f32}}\n"
              "  hundred: {op: mul, in: u, with: {value: 100}}\n"
              "  sum: {op: add, in: [tf, hundred]}\n"
              "  loss: {op: add, in: [sum, p]}\n"
              "outputs: {loss: loss}\n"
              "data: {train: {source: tensors, path: d.safetensors, with: {batch: 4}, feeds: {x: x}}}\n"
              "train: {loss: loss, data: train, steps: 5, feeds: {step: t, progress: u}, update: [{params: p.weight, optimizer: sgd, with: "
              "{lr: 0}}],\n"
              "  validate: {data: train, every: 2, metrics: {sum: sum}}}\n");
    for (size_t t = 0; t < 5; t++) cr_assert_float_eq(run_event(&run, FLOW_EVENT_STEP, NULL, t)->loss, (double)t + 20.0 * (double)t, 1e-4);
    cr_assert_float_eq(run_metric(run_event(&run, FLOW_EVENT_VALIDATION, NULL, 0), "sum", 0), 42, 1e-4); /* 2 made of 5 */
    run_close(&run);
}

/* A budget of time ends at a step's border. */
Test(trainer, seconds) {
    struct training_run run;
    char text[4096];
    put_data("d.safetensors", 64, 14);
    pair(text, sizeof text,
         "train: {loss: first, data: train, seconds: 0.2, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.001}}]}");
    cr_assert_eq(run_open(&run, text, (struct run_options){0}), 0, "%s", run.message);
    struct flow_event event;
    int64_t steps = 0, ends = 0;
    do {
        cr_assert_eq(run_next(&run, &event), 0, "%s", run.message);
        steps += event.kind == FLOW_EVENT_STEP, ends += event.kind == FLOW_EVENT_STAGE_END;
    } while (event.kind != FLOW_EVENT_END);
    cr_assert(steps > 3 && ends == 1);
    cr_assert(event.seconds > 0.19 && event.seconds < 5, "%g s", event.seconds);
    run_close(&run);
}
