/* SPDX-License-Identifier: Apache-2.0 */
/* Optimisers and sources under trial: what they say of themselves; an optimiser trains a small network the same on any number of threads.
 */
#include "flowrun/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 512, STEPS = 4, ROWS = 16, WIDTH = 40, UNITS = 96 };

static bool empty(const char *text) { return !text || !*text; }

static void begin(struct teller *teller, const char *check) {
    fprintf(teller->out, "B%s\n", check);
    fflush(teller->out);
    teller->failed = false;
}

static void check_words(struct teller *teller, const char *summary, const char *equation, const char *example,
                        const struct flow_attrs *attrs) {
    begin(teller, "documentation");
    if (empty(summary)) tell(teller, TELL_FAILS, "without a word about its summary");
    if (equation && empty(equation)) tell(teller, TELL_FAILS, "without a word about its equation");
    if (empty(example)) tell(teller, TELL_FAILS, "without an example");
    for (uint32_t i = 0; i < attrs->count; i++)
        if (empty(attrs->at[i].summary)) tell(teller, TELL_FAILS, "without a word about attribute '%s'", attrs->at[i].name);
    tell(teller, TELL_HOLDS, "it and every attribute have their line");
}

/* ---- An optimiser ---- */

/* The example's entry, for all parameters of a network of one matrix. */
static int graph_of(flow_runtime *runtime, const char *example, flow_graph **graph, flow_errors **errors) {
    static const char form[] =
        "flow: 1\nseed: 3\ninputs: {x: {dtype: f32, shape: [%d, %d]}}\n"
        "nodes:\n  body: {op: linear, in: x, with: {units: %d, bias: false}}\n  y: {op: tanh, in: body}\n"
        "  far: {op: sub, in: y, with: {value: 0.5}}\n  square: {op: square, in: far}\n  loss: {op: mean, in: square}\n"
        "outputs: {loss: loss}\ntrain:\n  loss: loss\n  steps: %d\n  update:\n    - {params: \"*\", %s\n";
    const char *rest = strstr(example, "optimizer:");
    char text[2048];
    if (!rest || snprintf(text, sizeof text, form, ROWS, WIDTH, UNITS, STEPS, rest) >= (int)sizeof text) return FLOW_ERROR_PLUGIN;
    return flow_graph_parse(runtime, "example", text, strlen(text), NULL, errors, graph);
}

static int train(flow_graph *graph, float *weights, double *first, double *last, flow_errors **errors) {
    static const int64_t shape[] = {ROWS, WIDTH};
    float x[ROWS * WIDTH];
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)sin(0.7 * i);
    const struct flow_tensor input = flow_tensor_of(x, FLOW_F32, 2, shape);
    struct flow_event event = {.size = sizeof event};
    flow_trainer *trainer = NULL;
    int rc = flow_trainer_new(graph, NULL, errors, &trainer), steps = 0;
    if (rc == 0) rc = flow_trainer_input(trainer, "x", &input, errors);
    while (rc == 0 && event.kind != FLOW_EVENT_END) {
        rc = flow_trainer_next(trainer, &event, errors);
        if (rc == 0 && event.kind == FLOW_EVENT_STEP) *(steps++ ? last : first) = event.loss;
    }
    const char *name;
    const struct flow_tensor *made = rc == 0 ? flow_trainer_parameter(trainer, 0, &name) : NULL;
    for (int64_t i = 0; made && i < WIDTH * UNITS; i++) weights[i] = (float)flow_tensor_real(made, i);
    flow_trainer_free(trainer);
    return rc;
}

static bool train_on(struct trial *trial, const char *example, int32_t threads, float *weights, double *first, double *last) {
    flow_runtime *runtime = NULL;
    flow_graph *graph = NULL;
    flow_errors *errors = NULL;
    char why[WHY] = "";
    tell_trial(trial->teller, "%d steps on %d threads", STEPS, threads);
    int rc = trial_runtime(trial, threads, &runtime, why, sizeof why);
    if (rc == 0) {
        rc = graph_of(runtime, example, &graph, &errors);
        if (rc == 0) rc = train(graph, weights, first, last, &errors);
        if (rc < 0) errors_text(errors, rc, why, sizeof why);
    }
    flow_graph_free(graph);
    flow_runtime_free(runtime);
    if (rc < 0) tell(trial->teller, TELL_FAILS, "on %d threads: %s", threads, why);
    return rc == 0;
}

static void check_training(struct trial *trial, const struct flow_optimizer *optimizer) {
    static const int32_t threads[] = {1, 1, 2, 3, 7};
    float *one = calloc(2 * WIDTH * UNITS, sizeof *one), *other = one + WIDTH * UNITS;
    double first = NAN, last = NAN;
    bool good = one != NULL;
    begin(trial->teller, "training");
    if (optimizer->flags & (FLOW_OPTIMIZER_NO_GRADIENT | FLOW_OPTIMIZER_VALUE | FLOW_OPTIMIZER_OF)) {
        tell(trial->teller, TELL_NOTHING, "it follows no loss, or takes values of a graph");
        good = false;
    }
    for (size_t k = 0; good && k < sizeof threads / sizeof *threads; k++) {
        good = train_on(trial, optimizer->example, threads[k], k ? other : one, &first, &last);
        for (int64_t i = 0; good && i < WIDTH * UNITS; i++) {
            bool finite = isfinite((k ? other : one)[i]);
            good = finite && (k == 0 || one[i] == other[i]);
            if (!finite) tell(trial->teller, TELL_FAILS, "element %lld of a parameter is not finite after %d steps", (long long)i, STEPS);
            else if (!good)
                tell(trial->teller, TELL_FAILS, "%d threads against one: element %lld of a parameter is %.9g and %.9g", threads[k],
                     (long long)i, (double)one[i], (double)other[i]);
        }
    }
    if (good && !(last < first)) tell(trial->teller, TELL_FAILS, "the loss went from %.6g to %.6g in %d steps", first, last, STEPS);
    else if (good) tell(trial->teller, TELL_HOLDS, "loss %.4g to %.4g; 1, 2, 3 and 7 threads give the same bytes", first, last);
    free(one);
}

void try_optimizer(struct trial *trial, const char *name) {
    struct flow_optimizer_info about;
    flow_errors *errors = NULL;
    char why[WHY];
    int rc = flow_runtime_optimizer(trial->runtime, name, &errors, &about);
    if (rc < 0) {
        begin(trial->teller, "documentation");
        errors_text(errors, rc, why, sizeof why);
        tell(trial->teller, TELL_FAILS, "%s", why);
        return;
    }
    const struct flow_optimizer *optimizer = about.optimizer;
    check_words(trial->teller, optimizer->summary, optimizer->equation ? optimizer->equation : "", optimizer->example, &optimizer->attrs);
    if (!empty(optimizer->example)) check_training(trial, optimizer);
}

/* A source needs its files: they are not at hand here. */
void try_source(struct trial *trial, const char *name) {
    struct flow_source_info about;
    flow_errors *errors = NULL;
    char why[WHY];
    int rc = flow_runtime_source(trial->runtime, name, &errors, &about);
    if (rc < 0) {
        begin(trial->teller, "documentation");
        errors_text(errors, rc, why, sizeof why);
        tell(trial->teller, TELL_FAILS, "%s", why);
        return;
    }
    check_words(trial->teller, about.source->summary, NULL, about.source->example, &about.source->attrs);
}
