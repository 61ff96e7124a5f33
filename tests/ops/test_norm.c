/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations against their equations in double; batch_norm in training by its kernel alone. */
#include "harness/array.h"

/* Elements that share statistics: set[i] of element i. y = (x - mean) / sqrt(var + eps) w[i] + b[i]. */
static struct array standard(const struct array *x, const int64_t *set, int64_t sets, double eps) {
    struct array y = array_new(FLOW_F32, x->rank, x->shape);
    double *sum = calloc((size_t)sets * 3 + 1, sizeof *sum), *squares = sum + sets, *count = squares + sets;
    for (int64_t i = 0; i < array_count(x); i++) sum[set[i]] += x->at[i], count[set[i]]++;
    for (int64_t i = 0; i < array_count(x); i++) {
        double d = x->at[i] - sum[set[i]] / count[set[i]];
        squares[set[i]] += d * d;
    }
    for (int64_t i = 0; i < array_count(x); i++)
        y.at[i] = (x->at[i] - sum[set[i]] / count[set[i]]) / sqrt(squares[set[i]] / count[set[i]] + eps);
    free(sum);
    return y;
}

static void affine(struct array *y, const struct trial *t, int64_t inner, int64_t extent) {
    for (int64_t i = 0; t->params >= 2 && i < array_count(y); i++)
        y->at[i] = y->at[i] * t->param[0].at[i / inner % extent] + t->param[1].at[i / inner % extent];
}

static struct trial trial_of(uint64_t *state, int32_t rank, const int64_t *shape, bool params, int32_t param_rank,
                             const int64_t *param_shape) {
    struct trial t = {.inputs = 1, .params = params ? 2 : 0, .input_names = {"x"}, .param_names = {"weight", "bias"}};
    t.input[0] = array_random(state, rank, shape);
    for (int64_t i = 0; i < array_count(&t.input[0]); i++) t.input[0].at[i] += 3; /* a mean that matters */
    for (int i = 0; i < t.params; i++) t.param[i] = array_random(state, param_rank, param_shape);
    return t;
}

static const int64_t shapes[][4] = {{2, 6, 1, 1}, {3, 4, 7, 1}, {1, 12, 33, 2}, {2, 6, 1, 1500}, {1, 2, 300, 250}};
enum { SHAPES = 5 };

Test(norm, layer) {
    uint64_t state = 31;
    for (int s = 0; s < SHAPES; s++)
        for (int axes = 1; axes <= 4; axes++) {
            struct trial t = trial_of(&state, 4, shapes[s], axes % 2, axes, shapes[s] + 4 - axes);
            int64_t n = 1, *set = calloc((size_t)array_count(&t.input[0]), sizeof *set);
            for (int i = 4 - axes; i < 4; i++) n *= shapes[s][i];
            for (int64_t i = 0; i < array_count(&t.input[0]); i++) set[i] = i / n;
            snprintf(t.node, sizeof t.node, "{op: layer_norm, in: x, with: {axes: %d, eps: 0.001, affine: %s}}", axes,
                     axes % 2 ? "true" : "false");
            struct array y = standard(&t.input[0], set, array_count(&t.input[0]) / n, 1e-3);
            affine(&y, &t, 1, n);
            trial_expect(&t, &y, 3e-5);
            if (axes < 4) trial_expect_pieces(&t, &(int32_t){0}, &y, 3e-5);
            array_free(&y);
            trial_free(&t);
            free(set);
        }
}

Test(norm, groups_and_instances) {
    uint64_t state = 32;
    for (int s = 0; s < SHAPES; s++)
        for (int64_t groups = 1; groups <= shapes[s][1]; groups++) {
            if (shapes[s][1] % groups) continue;
            bool instance = groups == shapes[s][1];
            int64_t places = shapes[s][2] * shapes[s][3], channels = shapes[s][1];
            struct trial t = trial_of(&state, 4, shapes[s], groups != 2, 1, &channels);
            int64_t *set = calloc((size_t)array_count(&t.input[0]), sizeof *set);
            for (int64_t i = 0; i < array_count(&t.input[0]); i++) set[i] = i / (places * channels / groups);
            if (instance)
                snprintf(t.node, sizeof t.node, "{op: instance_norm, in: x, with: {eps: 0.001, affine: %s}}",
                         groups != 2 ? "true" : "false");
            else
                snprintf(t.node, sizeof t.node, "{op: group_norm, in: x, with: {groups: %lld, eps: 0.001, affine: %s}}", (long long)groups,
                         groups != 2 ? "true" : "false");
            struct array y = standard(&t.input[0], set, shapes[s][0] * groups, 1e-3);
            affine(&y, &t, places, channels);
            trial_expect(&t, &y, 3e-5);
            trial_expect_pieces(&t, &(int32_t){0}, &y, 3e-5);
            array_free(&y);
            trial_free(&t);
            free(set);
        }
}

Test(norm, scales_of_rows) {
    static const char *const nodes[] = {"{op: rms_norm, in: x}",
                                        "{op: rms_norm, in: x, with: {affine: false, eps: 0.5}}",
                                        "{op: scale_norm, in: x}",
                                        "{op: l2_normalize, in: x}",
                                        "{op: l2_normalize, in: x, with: {axis: 1}}",
                                        "{op: l2_normalize, in: x, with: {axis: 0, eps: 100}}"};
    uint64_t state = 33;
    for (int s = 0; s < SHAPES; s++)
        for (int k = 0; k < 6; k++) {
            int64_t one = 1, last = shapes[s][3];
            struct trial t = trial_of(&state, 4, shapes[s], k == 0 || k == 2, 1, k == 0 ? &last : &one);
            if (t.params) array_free(&t.param[1]), t.params = 1;
            snprintf(t.node, sizeof t.node, "%s", nodes[k]);
            struct array y = array_new(FLOW_F32, 4, shapes[s]);
            int32_t axis = k == 4 ? 1 : k == 5 ? 0 : 3;
            int64_t inner = 1, n = shapes[s][axis];
            for (int32_t i = axis + 1; i < 4; i++) inner *= shapes[s][i];
            for (int64_t i = 0; i < array_count(&y); i++) {
                double sum = 0, scale;
                for (int64_t j = 0; j < n; j++) {
                    double v = t.input[0].at[i / inner / n * n * inner + j * inner + i % inner];
                    sum += v * v;
                }
                if (k < 2) scale = 1 / sqrt(sum / (double)n + (k ? 0.5 : 1e-6));
                else if (k == 2) scale = 1 / fmax(sqrt(sum / (double)n), 1e-5);
                else scale = 1 / fmax(sqrt(sum), k == 5 ? 100 : 1e-12);
                y.at[i] = t.input[0].at[i] * scale * (k == 0 ? t.param[0].at[i % last] : k == 2 ? t.param[0].at[0] : 1);
            }
            trial_expect(&t, &y, 1e-5);
            trial_expect_pieces(&t, &(int32_t){axis == 0 ? 1 : 0}, &y, 1e-5);
            array_free(&y);
            trial_free(&t);
        }
}

Test(norm, batch_with_running_statistics) {
    uint64_t state = 34;
    for (int s = 0; s < SHAPES; s++)
        for (int rank = 2; rank <= 4; rank += 2) {
            int64_t channels = shapes[s][1], places = rank == 2 ? 1 : shapes[s][2] * shapes[s][3];
            struct trial t = trial_of(&state, rank, shapes[s], true, 1, &channels);
            t.params = 4, t.param_names[2] = "running_mean", t.param_names[3] = "running_var";
            t.param[2] = array_random(&state, 1, &channels), t.param[3] = array_random(&state, 1, &channels);
            for (int64_t i = 0; i < channels; i++) t.param[3].at[i] = fabs(t.param[3].at[i]) + 0.25;
            snprintf(t.node, sizeof t.node, "{op: batch_norm, in: x}");
            struct array y = array_new(FLOW_F32, rank, shapes[s]);
            for (int64_t i = 0; i < array_count(&y); i++) {
                int64_t c = i / places % channels;
                y.at[i] = (t.input[0].at[i] - t.param[2].at[c]) / sqrt(t.param[3].at[c] + 1e-5);
            }
            affine(&y, &t, places, channels);
            trial_expect(&t, &y, 1e-5);
            trial_expect_pieces(&t, &(int32_t){0}, &y, 1e-5);
            if (rank == 4) trial_expect_pieces(&t, &(int32_t){2}, &y, 1e-5);
            array_free(&y);
            trial_free(&t);
        }
}

/* ---- batch_norm in training ---- */

struct declared {
    uint32_t count;
    int64_t shape[4];
    char name[4][16];
};
static int declare(struct flow_infer *infer, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, const char *init,
                   uint32_t flags, uint32_t *index) {
    struct declared *d = infer->owner;
    (void)dtype, (void)init, (void)flags;
    cr_assert(rank == 1 && d->count < 4);
    d->shape[d->count] = shape[0];
    snprintf(d->name[d->count], 16, "%s", name);
    *index = d->count++;
    return 0;
}
static void serial(const struct flow_call *call, int64_t count, int64_t grain, void (*body)(void *context, int64_t begin, int64_t end),
                   void *context) {
    (void)call;
    for (int64_t i = 0; i < count; i += grain) body(context, i, i + grain < count ? i + grain : count);
}

struct batch_attrs { /* as the operator has them */
    double eps, momentum;
    bool affine;
};

Test(norm, batch_of_a_training_step) {
    struct flow_operator_info info;
    struct flow_runtime *runtime;
    struct flow_errors *errors = NULL;
    cr_assert(flow_runtime_new(&(struct flow_runtime_options){.size = sizeof(struct flow_runtime_options)}, &errors, &runtime) == 0);
    cr_assert(flow_runtime_operator(runtime, "batch_norm", &errors, &info) == 0);
    for (int places = 1; places <= 5; places += 4) {
        float x[4 * 3 * 5], y[4 * 3 * 5], param[4][3] = {{1, 2, 3}, {0, 1, 0}, {10, 10, 10}, {1, 1, 1}};
        int64_t priv[64] = {0}, workspace[64];
        struct batch_attrs attrs = {1e-5, 0.25, true};
        struct declared declared = {0};
        struct flow_host host = {.size = sizeof host, .param = declare, .parallel_for = serial};
        struct flow_tensor in = flow_tensor_of(x, FLOW_F32, 3, (int64_t[]){4, 3, places}),
                           out = flow_tensor_of(y, FLOW_F32, 3, (int64_t[]){4, 3, places}), params[4];
        struct flow_infer infer = {.size = sizeof infer,
                                   .phase = FLOW_PHASE_TRAINING,
                                   .host = &host,
                                   .owner = &declared,
                                   .attrs = &attrs,
                                   .priv = priv,
                                   .in_count = 1,
                                   .out_count = 1,
                                   .in = &in,
                                   .out = &out};
        for (int i = 0; i < 12 * places; i++) x[i] = (float)(i * 7 % 11) / 3;
        cr_assert(info.op->priv_size <= sizeof priv && info.op->attrs_size == sizeof attrs);
        cr_assert(info.op->infer(&infer) == 0 && infer.workspace <= (int64_t)sizeof workspace && declared.count == 4);
        cr_assert(strcmp(declared.name[0], "weight") == 0 && strcmp(declared.name[3], "running_var") == 0);
        for (int i = 0; i < 4; i++) params[i] = flow_tensor_of(param[i], FLOW_F32, 1, (int64_t[]){3});
        struct flow_call call = {.size = sizeof call,
                                 .phase = FLOW_PHASE_TRAINING,
                                 .host = &host,
                                 .attrs = &attrs,
                                 .priv = priv,
                                 .in = &in,
                                 .out = &out,
                                 .param = params,
                                 .workspace = workspace,
                                 .in_count = 1,
                                 .out_count = 1,
                                 .param_count = 4};
        cr_assert(info.kernels[0].forward(&call) == 0);
        for (int c = 0; c < 3; c++) {
            double sum = 0, squares = 0, n = 4 * places;
            for (int i = 0; i < 4 * places; i++) sum += (double)x[(i / places * 3 + c) * places + i % places];
            for (int i = 0; i < 4 * places; i++) squares += pow((double)x[(i / places * 3 + c) * places + i % places] - sum / n, 2);
            cr_assert(fabs((double)param[2][c] - (7.5 + 0.25 * sum / n)) < 1e-5, "running mean %g", (double)param[2][c]);
            cr_assert(fabs((double)param[3][c] - (0.75 + 0.25 * squares / (n - 1))) < 1e-5, "running variance %g", (double)param[3][c]);
            for (int i = 0; i < 4 * places; i++) {
                int64_t at = (i / places * 3 + c) * places + i % places;
                double expected = ((double)x[at] - sum / n) / sqrt(squares / n + 1e-5) * (c + 1) + (c == 1);
                cr_assert(fabs((double)y[at] - expected) < 1e-5, "channel %d element %d: %g, expected %g", c, i, (double)y[at], expected);
            }
        }
    }
    flow_runtime_free(runtime);
}

Test(norm, refusals_say_why) {
    static const struct {
        const char *node;
        int32_t axis;
        const char *words;
    } cases[] = {
        {"{op: layer_norm, in: x}", 2, "the mean over axis 2 needs the whole sequence"},
        {"{op: group_norm, in: x, with: {groups: 1}}", 2, "the mean over axis 2 needs the whole sequence"},
        {"{op: batch_norm, in: x}", 1, "the mean over axis 1 needs the whole sequence"},
        {"{op: l2_normalize, in: x, with: {axis: 1}}", 1, "the norm over axis 1 needs the whole sequence"},
        {"{op: group_norm, in: x, with: {groups: 4}}", -1, "x has 6 channels, they do not divide into 4 groups"},
        {"{op: layer_norm, in: x, with: {axes: 4}}", -1, "the last 4 axes of a tensor with 3 axes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        snprintf(t.node, sizeof t.node, "%s", cases[i].node);
        t.input[0] = array_new(FLOW_F32, 3, (int64_t[]){2, 6, 5});
        trial_refused(&t, cases[i].axis < 0 ? NULL : &cases[i].axis, cases[i].words);
        trial_free(&t);
    }
}
