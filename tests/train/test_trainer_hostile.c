/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong while training: data that are not what they should be, numbers that are none, memory that runs out. Each is said, and the
 * parameters are those of the step before. */
#include "harness/failing.h"
#include "train/trainer_test.h"

TestSuite(hostile_training, .init = folder_make, .fini = folder_remove);

/* ---- Numbers that are none ---- */

#define BROKEN                                                                                                                      \
    "flow: 1\nvars: {from: 3, dir: none}\n"                                                                                         \
    "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}, t: {dtype: i64, shape: []}}\n"                        \
    "nodes:\n"                                                                                                                      \
    "  h: {op: linear, in: x, with: {units: 8}}\n"                                                                                  \
    "  bn: {op: batch_norm, in: h}\n"                                                                                               \
    "  tf: {op: cast, in: t, with: {to: f32}}\n"                                                                                    \
    "  left: {op: sub, in: {a: tf}, with: {value: \"${from}\"}}\n"                                                                  \
    "  late: {op: neg, in: left}\n"                                                                                                 \
    "  root: {op: sqrt, in: late}\n"                                                                                                \
    "  nothing: {op: mul, in: root, with: {value: 0}}\n"                                                                            \
    "  s: {op: add, in: [bn, nothing]}\n"                                                                                           \
    "  a: {op: tanh, in: s}\n"                                                                                                      \
    "  b: {op: linear, in: a, with: {units: 2}}\n"                                                                                  \
    "  memory: {op: add, in: {b: b}, state: {a: memory.y, reset: never}}\n"                                                         \
    "  loss: {op: mse, in: {x: %s, target: y}}\n"                                                                                   \
    "outputs: {b: b, memory: memory}\n"                                                                                             \
    "data: {train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 4}, feeds: {x: x, y: y}}}\n"              \
    "train: {loss: loss, data: train, steps: 10, feeds: {step: t}, update: [{params: \"*\", optimizer: adam, with: {lr: 0.02}}],\n" \
    "  checkpoint: {dir: \"${dir}\", every: 2}}\n"

/* The square root of a number that falls below 0 at step 4 (t = 4 > 3); all parameters, running statistics too, are those after step 3. */
static void stops_at(const char *head, const char *streams) {
    struct training_run run, before;
    char text[4096], dir[128], other[128];
    snprintf(text, sizeof text, BROKEN, head);
    snprintf(other, sizeof other, "dir=%s/other", folder);
    snprintf(dir, sizeof dir, "dir=%s/runs", folder);
    cr_assert_eq(run_open(&run, text, (struct run_options){.set = {dir}, .streams = atoi(streams)}), 0, "%s", run.message);
    int status = run_on(&run, 0);
    cr_assert_eq(status, FLOW_ERROR_RANGE, "%d", status);
    cr_assert(strstr(run.message, "node 'root'") && strstr(run.message, "sqrt") && strstr(run.message, "first that is not finite"), "%s",
              run.message);
    cr_assert_eq(run_events(&run, FLOW_EVENT_STEP, NULL), 4);
    RUN(&before, text, .set = {other, "from=9"}, .steps = 4);
    same_bits(&before, &run, "after the failed step");
    cr_assert_eq(checkpoints_in("runs"), 1);
    run_close(&before), run_close(&run);
    /* What is on the disk is whole. */
    cr_assert_eq(run_open(&run, text, (struct run_options){.set = {dir, "from=9"}, .resume = true}), 0, "%s", run.message);
    cr_assert_eq(run_on(&run, 0), 0, "%s", run.message);
    run_close(&run);
}

Test(hostile_training, not_a_number) {
    put_data("d.safetensors", 16, 200);
    stops_at("b", "1");
    stops_at("memory", "1");
    stops_at("b", "2");
}

/* The loss is finite and its gradient is not. */
Test(hostile_training, infinite_gradient) {
    struct training_run run;
    put_data("d.safetensors", 16, 201);
    int status = run_whole(&run,
                           "flow: 1\ninputs: {x: {dtype: f32, shape: [B, 4]}}\n"
                           "nodes:\n"
                           "  p: {op: parameter, with: {shape: [4], init: zeros}}\n"
                           "  z: {op: mul, in: [x, p]}\n"
                           "  r: {op: sqrt, in: z}\n"
                           "  sq: {op: square, in: z}\n"
                           "  q: {op: add, in: [r, sq]}\n"
                           "  loss: {op: mean, in: q}\n"
                           "outputs: {loss: loss}\n"
                           "data: {train: {source: tensors, path: d.safetensors, with: {tensors: x, batch: 4}, feeds: {x: x}}}\n"
                           "train: {loss: loss, data: train, steps: 2, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]}\n",
                           (struct run_options){0});
    cr_assert_eq(status, FLOW_ERROR_RANGE);
    cr_assert(strstr(run.message, "parameter 'p.weight' is not finite") && strstr(run.message, "node 'r'"), "%s", run.message);
    for (int i = 0; i < 4; i++) cr_assert_eq(run_value(&run, "p.weight", i), 0);
    run_close(&run);
}

/* ---- Data ---- */

#define LABELS                                                                                       \
    "flow: 1\n"                                                                                      \
    "inputs: {x: {dtype: f32, shape: [B, 4]}, label: {dtype: i64, shape: [B]}}\n"                    \
    "nodes:\n"                                                                                       \
    "  a: {op: linear, in: x, with: {units: %d}}\n"                                                  \
    "  loss: {op: cross_entropy, in: {logits: a, target: label}}\n"                                  \
    "outputs: {a: a}\n"                                                                              \
    "data: {train: {source: tensors, path: %s, with: {batch: 4%s}, feeds: {x: %s, label: label}}}\n" \
    "train: {loss: loss, data: train, steps: 8, update: [{params: \"*\", optimizer: sgd, with: {lr: 0.1}}]}\n"

static void refused(int units, const char *path, const char *more, const char *feed, const char *said, const char *and) {
    struct training_run run;
    char text[4096];
    snprintf(text, sizeof text, LABELS, units, path, more, feed);
    int status = run_whole(&run, text, (struct run_options){0});
    cr_assert_lt(status, 0, "%s is not refused", path);
    cr_assert(strstr(run.message, said) && strstr(run.message, and), "%s: %s", path, run.message);
    run_close(&run);
}

Test(hostile_training, data) {
    put_data("d.safetensors", 16, 202);
    put_data("empty.safetensors", 0, 0);
    put_data("three.safetensors", 3, 0);
    put_text("odd.safetensors", "no tensors");
    refused(2, "d.safetensors", "", "x", "loss", "2"); /* a label 2 of 2 classes */
    refused(3, "missing.safetensors", "", "x", "missing.safetensors", "");
    refused(3, "odd.safetensors", "", "x", "odd.safetensors", "");
    refused(3, "empty.safetensors", "", "x", "train", "");
    refused(3, "three.safetensors", "", "x", "train", ""); /* not one batch of 4 */
    refused(3, "d.safetensors", "", "z", "'z'", "");
    refused(3, "d.safetensors", "", "y", "y", ""); /* [B, 2] for [B, 4] */
    refused(3, "d.safetensors", ", tensors: \"x nothing\"", "x", "nothing", "");
    struct training_run run;
    char text[4096];
    snprintf(text, sizeof text, LABELS, 3, "three.safetensors", ", keep_last: true", "x");
    RUN(&run, text, 0);
    run_close(&run);
}

Test(hostile_training, inputs) {
    struct training_run run;
    struct flow_event event;
    put_data("d.safetensors", 16, 203);
    char text[4096];
    snprintf(text, sizeof text, LABELS, 3, "d.safetensors", "", "x");
    cr_assert_eq(run_open(&run, text, (struct run_options){0}), 0);
    float x[4] = {0};
    struct flow_tensor value = flow_tensor_of(x, FLOW_F32, 2, (int64_t[]){1, 4});
    int status = flow_trainer_input(run.trainer, "labels", &value, &run.errors);
    cr_assert_eq(run_note(&run, status), FLOW_ERROR_USAGE);
    cr_assert(strstr(run.message, "'label'"), "%s", run.message);
    cr_assert_eq(run_next(&run, &event), 0);
    cr_assert_eq(run_note(&run, flow_trainer_input(run.trainer, "x", &value, &run.errors)), FLOW_ERROR_USAGE);
    run_close(&run);
}

/* ---- Memory ---- */

static long resident(void) {
    long pages = 0, all;
    FILE *file = fopen("/proc/self/statm", "r");
    cr_assert(file && fscanf(file, "%ld %ld", &all, &pages) == 2);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static const char long_run[] =
    "flow: 1\nvars: {steps: 10000, dir: none}\n"
    "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
    "nodes:\n"
    "  h: {op: linear, in: x, with: {units: 16}}\n"
    "  bn: {op: batch_norm, in: h}\n"
    "  d: {op: dropout, in: bn, with: {p: 0.2}}\n"
    "  b: {op: linear, in: d, with: {units: 2}}\n"
    "  total: {op: mean, in: b}\n"
    "  seen: {op: add, in: {b: total}, state: {a: seen.y}}\n"
    "  loss: {op: mse, in: {x: b, target: y}}\n"
    "outputs: {b: b, seen: seen}\n"
    "data:\n"
    "  train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 16, shuffle: true, keep_last: true}, feeds: {x: x, y: "
    "y}}\n"
    "  valid: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 50}, feeds: {x: x, y: y}}\n"
    "train: {loss: loss, data: train, steps: \"${steps}\", update: [{params: \"*\", optimizer: adam, with: {lr: 0.001}}], clip_norm: 1,\n"
    "  validate: {data: valid, every: 50, metrics: {loss: loss}}, checkpoint: {dir: \"${dir}\", every: 50, keep: 2}}\n";

Test(hostile_training, ten_thousand_steps) {
    struct training_run run;
    char dir[128];
    put_data("d.safetensors", 250, 204);
    snprintf(dir, sizeof dir, "dir=%s/runs", folder);
    cr_assert_eq(run_open(&run, long_run, (struct run_options){.set = {dir}}), 0, "%s", run.message);
    run.count = EVENTS_MOST; /* the test itself remembers nothing */
    cr_assert_eq(run_on(&run, 100), 0, "%s", run.message);
    long before = resident();
    cr_assert_eq(run_on(&run, 0), 0, "%s", run.message);
    long after = resident();
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* they hold back what was freed */
    cr_assert_leq(after - before, 256 << 10, "%ld bytes more after 10,000 steps", after - before);
#endif
    cr_assert(before > 0 && after > 0);
    run_close(&run);
}

/* Each request for memory fails once: an error, no crash, nothing left. `text` is trained whole and resumed; of many requests every one at
 * the start and some of the others. */
static void fail_each_request(const char *text) {
    struct failing failing = FAILING_INIT;
    struct training_run run;
    char dir[128];
    snprintf(dir, sizeof dir, "dir=%s/runs", folder);
    struct run_options options = {.set = {dir}, .resize = failing_resize, .context = &failing};
    cr_assert_eq(run_whole(&run, text, options), 0, "%s", run.message);
    run_close(&run);
    cr_assert(failing.blocks == 0 && !failing.wrong_size, "%ld blocks are left", failing.blocks);
    long requests = failing.requests, told = 0;
    for (long at = 1; at <= requests; at += at > 100 ? 1 + requests / 1000 : 1) {
        failing.requests = 0, failing.fail_at = at;
        options.resume = at % 3 == 0;
        int status = run_whole(&run, text, options);
        cr_assert(status == 0 || status == FLOW_ERROR_MEMORY, "request %ld: %d %s", at, status, run.message);
        told += status == FLOW_ERROR_MEMORY;
        run_close(&run);
        cr_assert(failing.blocks == 0 && !failing.wrong_size, "request %ld of %ld: %ld blocks are left", at, requests, failing.blocks);
    }
    cr_assert_gt(told, 100);
}

Test(hostile_training, every_allocation_fails) {
    static const char text[] =
        "flow: 1\nvars: {dir: none}\n"
        "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
        "graphs:\n"
        "  most:\n"
        "    inputs: {v: {dtype: f32, shape: [N, 2]}}\n"
        "    nodes: {m: {op: amax, in: v}}\n"
        "    outputs: {m: m}\n"
        "nodes:\n"
        "  h: {op: linear, in: x, with: {units: 3}}\n"
        "  bn: {op: batch_norm, in: h}\n"
        "  d: {op: dropout, in: bn, with: {p: 0.2}}\n"
        "  b: {op: linear, in: d, with: {units: 2}}\n"
        "  total: {op: mean, in: b}\n"
        "  seen: {op: add, in: {b: total}, state: {a: seen.y}}\n"
        "  loss: {op: mse, in: {x: b, target: y}}\n"
        "  far: {op: l1, in: {x: b, target: y}}\n"
        "outputs: {b: b, seen: seen}\n"
        "data:\n"
        "  train: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 4, shuffle: true, keep_last: true}, feeds: {x: x, "
        "y: y}}\n"
        "  valid: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 5}, feeds: {x: x, y: y}}\n"
        "train:\n"
        "  stages:\n"
        "    - {name: one, loss: loss, data: train, steps: 3, micro_batches: 2, update: [{params: \"h.*\", optimizer: sgd, loss: far, "
        "with: {lr: 0.1}},\n"
        "       {params: \"*\", optimizer: adam, with: {lr: 0.01}}], checkpoint: {dir: \"${dir}\", every: 2}}\n"
        "    - {name: two, loss: loss, data: train, steps: 2, reset: [\"b.*\"], copy: [{from: h.bias, to: h.bias}], keep_state: true,\n"
        "       update: [{params: \"*\", optimizer: adam, with: {lr: 0.01}}], noise: {eta: 0.01}, samples: {file: s.safetensors, every: "
        "1},\n"
        "       validate: {data: valid, every: 1, metrics: {loss: loss, most: {graph: most, in: {v: b}}}}, early_stop: {metric: "
        "valid.loss, best: min, "
        "patience: 5, restore: true}}\n";
    put_data("d.safetensors", 10, 205);
    fail_each_request(text);
}

Test(hostile_training, every_allocation_of_a_source_fails) {
    put_data("d.safetensors", 10, 206);
    put_text("own.yaml", "flow: 1\nnodes:\n"
                         "  z: {op: random_normal, with: {shape: [8, 4]}}\n"
                         "  x: {op: add, in: {b: z}, state: {a: x.y}}\n"
                         "  y: {op: linear, in: x, with: {units: 2}}\n"
                         "outputs: {x: x, y: y}\n");
    fail_each_request("flow: 1\nvars: {dir: none, task: 0}\n"
                      "inputs: {x: {dtype: f32, shape: [B, 4]}, y: {dtype: f32, shape: [B, 2]}}\n"
                      "graphs:\n"
                      "  step:\n"
                      "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                      "    nodes:\n"
                      "      l: {op: linear, in: h, with: {units: 4}}\n"
                      "      sq: {op: square, in: l}\n"
                      "      inner: {op: sum, in: sq}\n"
                      "      g: {op: gradient, in: {loss: inner, of: l}}\n"
                      "      s: {op: add, in: [g, h]}\n"
                      "      y: {op: tanh, in: s}\n"
                      "    outputs: {h: y}\n"
                      "  block:\n"
                      "    inputs: {h: {dtype: f32, shape: [B, 4]}}\n"
                      "    nodes: {in: {graph: step, in: {h: h}, loop: {max: 2, carry: {h: h}}}}\n"
                      "    outputs: {h: in}\n"
                      "nodes:\n"
                      "  body: {graph: block, in: {h: x}, repeat: 2, recompute: true}\n"
                      "  \"b${task}\": {op: linear, in: body, with: {units: 2}}\n"
                      "  all: {op: parameters, with: {match: \"body*\"}}\n"
                      "  size: {op: mean, in: all}\n"
                      "  loss: {op: mse, in: {x: \"b${task}\", target: y}}\n"
                      "outputs: {body: body}\n"
                      "data:\n"
                      "  own: {source: graph, path: own.yaml, feeds: {x: x, y: y}, reuse: {epochs: 2, batch: 4}}\n"
                      "  valid: {source: tensors, path: d.safetensors, with: {tensors: \"x y\", batch: 5}, feeds: {x: x, y: y}}\n"
                      "train: {stages: [{name: learn, foreach: {task: 2}, loss: {loss: 1, size: 0.1}, data: own, steps: 3,\n"
                      "  update: [{params: \"*.weight\", optimizer: muon, with: {lr: 0.01}}, {params: \"*\", optimizer: sgd, with: {lr: "
                      "0.01}}], validate: {foreach: {task: 2}, data: valid, at: end, metrics: {loss: loss}},\n"
                      "  checkpoint: {dir: \"${dir}/${task}\", every: 2}}]}\n");
}
