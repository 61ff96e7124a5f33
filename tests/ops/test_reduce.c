/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions and softmax against loops over every element, in double. */
#include "harness/array.h"

enum { SUM, MEAN, MAX, MIN, PRODUCT, LOG_SUM_EXP, NORM, VAR, ANY, ALL };
static const char *const names[] = {"sum", "mean", "amax", "amin", "prod", "logsumexp", "norm", "var", "any", "all"};

/* Of the elements of one result. */
static double reduce(int op, const double *v, int64_t n, double p, bool unbiased) {
    double sum = 0, product = 1, most = -INFINITY, least = INFINITY, power = 0, any = 0, all = 1, apart = 0, exps = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i], product *= v[i];
        if (!(v[i] <= most)) most = v[i];
        if (!(v[i] >= least)) least = v[i];
        power = isinf(p) ? fmax(power, fabs(v[i])) : power + (p == 0 ? v[i] != 0 : pow(fabs(v[i]), p));
        any = any != 0 || v[i] != 0, all = all != 0 && v[i] != 0;
    }
    for (int64_t i = 0; i < n; i++) apart += (v[i] - sum / (double)n) * (v[i] - sum / (double)n), exps += exp(v[i] - most);
    switch (op) {
    case SUM: return sum;
    case MEAN: return sum / (double)n;
    case MAX: return most;
    case MIN: return least;
    case PRODUCT: return product;
    case LOG_SUM_EXP: return isinf(most) ? most : most + log(exps);
    case NORM: return isinf(p) || p == 0 ? power : pow(power, 1 / p);
    case VAR: return apart / (double)(n - unbiased);
    case ANY: return any;
    default: return all;
    }
}

static struct array expected(const struct array *x, int op, const bool reduced[], bool keep, double p, bool unbiased) {
    int64_t shape[FLOW_RANK_MAX], each = 1;
    int32_t rank = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        if (!reduced[i] || keep) shape[rank++] = reduced[i] ? 1 : x->shape[i];
        if (reduced[i]) each *= x->shape[i];
    }
    struct array y = array_new(x->dtype, rank, shape);
    double *v = malloc(sizeof *v * (size_t)(each + 1));
    for (int64_t k = 0; k < array_count(&y); k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < array_count(x); i++) { /* belongs to k? */
            int64_t rest = i, to = 0, scale = 1;
            for (int32_t j = x->rank - 1; j >= 0; j--) {
                if (!reduced[j]) to += rest % x->shape[j] * scale, scale *= x->shape[j];
                rest /= x->shape[j];
            }
            if (to == k) v[n++] = x->at[i];
        }
        y.at[k] = reduce(op, v, n, p, unbiased);
    }
    free(v);
    return y;
}

static void attributes(struct trial *t, int op, const bool reduced[], bool keep, double p, bool unbiased) {
    size_t at = (size_t)snprintf(t->node, sizeof t->node, "{op: %s, in: x, with: {axes: [", names[op]);
    bool first = true;
    for (int32_t i = 0; i < t->input[0].rank; i++)
        if (reduced[i]) {
            at += (size_t)snprintf(t->node + at, sizeof t->node - at, "%s%d", first ? "" : ", ", i % 2 ? i : i - t->input[0].rank);
            first = false;
        }
    at += (size_t)snprintf(t->node + at, sizeof t->node - at, "], keep: %s", keep ? "true" : "false");
    if (op == NORM && isinf(p)) at += (size_t)snprintf(t->node + at, sizeof t->node - at, ", p: .inf");
    else if (op == NORM) at += (size_t)snprintf(t->node + at, sizeof t->node - at, ", p: %g", p);
    if (op == VAR) at += (size_t)snprintf(t->node + at, sizeof t->node - at, ", unbiased: %s", unbiased ? "true" : "false");
    snprintf(t->node + at, sizeof t->node - at, "}}");
}

/* All sets of axes of one shape. */
static void every_axes(int op, int32_t dtype, int32_t rank, const int64_t *shape, uint64_t *state) {
    static const double powers[] = {2, 1, 3, 0, 2.5, INFINITY};
    for (int set = 1; set < 1 << rank; set++) {
        bool reduced[FLOW_RANK_MAX] = {false}, keep = one_below(state, 2), unbiased = one_below(state, 2);
        int64_t each = 1;
        for (int32_t i = 0; i < rank; i++)
            if (set >> i & 1) reduced[i] = true, each *= shape[i];
        if (each == 1) unbiased = false;
        double p = powers[one_below(state, 6)];
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        t.input[0] = array_random(state, rank, shape);
        t.input[0].dtype = dtype;
        for (int64_t i = 0; i < array_count(&t.input[0]); i++) {
            double *v = &t.input[0].at[i];
            if (dtype == FLOW_BOOL) *v = *v > (one_below(state, 2) ? 0.9 : -0.9);
            if (dtype == FLOW_I32 || dtype == FLOW_I64) *v = floor(*v * 5);
            if (dtype == FLOW_F32 && op == PRODUCT) *v = (double)(float)(1 + *v / 10);
        }
        attributes(&t, op, reduced, keep, p, unbiased);
        struct array y = expected(&t.input[0], op, reduced, keep, p, unbiased);
        trial_expect(&t, &y, dtype == FLOW_F32 ? 1e-5 : 0);
        for (int32_t axis = 0; axis < rank; axis++)
            if (!reduced[axis]) trial_expect_pieces(&t, &axis, &y, dtype == FLOW_F32 ? 1e-5 : 0);
        array_free(&y);
        trial_free(&t);
    }
}

Test(reduce, floats_over_all_axes) {
    uint64_t state = 21;
    for (int op = SUM; op <= VAR; op++) {
        every_axes(op, FLOW_F32, 3, (int64_t[]){3, 7, 5}, &state);
        every_axes(op, FLOW_F32, 2, (int64_t[]){70, 33}, &state);
        every_axes(op, FLOW_F32, 4, (int64_t[]){2, 1, 3, 9}, &state);
    }
}

Test(reduce, integers_and_truth) {
    uint64_t state = 22;
    for (int op = SUM; op <= PRODUCT; op++)
        if (op != MEAN) {
            every_axes(op, FLOW_I32, 3, (int64_t[]){3, 7, 2}, &state);
            every_axes(op, FLOW_I64, 3, (int64_t[]){2, 3, 5}, &state);
        }
    every_axes(ANY, FLOW_BOOL, 3, (int64_t[]){3, 7, 5}, &state);
    every_axes(ALL, FLOW_BOOL, 3, (int64_t[]){3, 7, 5}, &state);
}

static double of(const char *node, int32_t dtype, int64_t n, const double *values, double rest, char message[2048]) {
    struct trial t = {.inputs = 1, .input_names = {"x"}};
    struct array y;
    snprintf(t.node, sizeof t.node, "%s", node);
    t.input[0] = array_new(dtype, 1, &n);
    for (int64_t i = 0; i < n; i++) t.input[0].at[i] = values && i < 4 ? values[i] : rest;
    int status = trial_run(&t, one_best, &y, message);
    double result = status == 0 ? y.at[0] : NAN;
    array_free(&y);
    trial_free(&t);
    return result;
}

Test(reduce, of_nothing) {
    char message[2048];
    cr_assert(of("{op: sum, in: x}", FLOW_F32, 0, NULL, 0, message) == 0);
    cr_assert(of("{op: prod, in: x}", FLOW_F32, 0, NULL, 0, message) == 1);
    cr_assert(of("{op: norm, in: x}", FLOW_F32, 0, NULL, 0, message) == 0);
    cr_assert(of("{op: logsumexp, in: x}", FLOW_F32, 0, NULL, 0, message) == -INFINITY);
    cr_assert(of("{op: any, in: x}", FLOW_BOOL, 0, NULL, 0, message) == 0);
    cr_assert(of("{op: all, in: x}", FLOW_BOOL, 0, NULL, 0, message) == 1);
    static const char *const refused[] = {"mean", "amax", "amin", "var", "softmax", "log_softmax"};
    for (int i = 0; i < 6; i++) {
        char node[64];
        snprintf(node, sizeof node, "{op: %s, in: x}", refused[i]);
        cr_assert(isnan(of(node, FLOW_F32, 0, NULL, 0, message)) && strstr(message, "axis 0 of x is empty"), "%s: %s", node, message);
    }
}

/* What f32 loses when it is summed in order: 3e6 times 0.1 would give 299,000 or so. */
Test(reduce, long_sums_are_exact) {
    char message[2048];
    double sum = of("{op: sum, in: x}", FLOW_F32, 3000000, NULL, 0.1, message), exact = 3e6 * (double)0.1f;
    cr_assert(fabs(sum - exact) < 1e-6 * exact, "%.9g, expected %.9g", sum, exact);
    double mean = of("{op: mean, in: x}", FLOW_F32, 3000001, NULL, 0.1, message);
    cr_assert(fabs(mean - (double)0.1f) < 3e-8, "%.9g", mean);
    double var = of("{op: var, in: x}", FLOW_F32, 100000, (double[]){1e4, 1e4, 1e4, 1e4}, 1e4, message);
    cr_assert(var == 0, "%.9g", var);
}

Test(reduce, extremes) {
    char message[2048];
    cr_assert(isnan(of("{op: amax, in: x}", FLOW_F32, 40, (double[]){1, NAN, 3, 4}, 0, message)));
    cr_assert(isnan(of("{op: amin, in: x}", FLOW_F32, 40, (double[]){1, -NAN, 3, 4}, 0, message)));
    cr_assert(of("{op: amax, in: x}", FLOW_F32, 40, (double[]){-1, -INFINITY, -3, -4}, -9, message) == -1);
    cr_assert(of("{op: amin, in: x}", FLOW_F32, 40, (double[]){-1, INFINITY, -3, -4}, 9, message) == -4);
    double norm = of("{op: norm, in: x}", FLOW_F32, 4, (double[]){3e30, 4e30, 0, 0}, 0, message);
    cr_assert(fabs(norm - 5e30) < 1e25, "%g", norm);
    norm = of("{op: norm, in: x}", FLOW_F32, 4, (double[]){3e-30, 4e-30, 0, 0}, 0, message);
    cr_assert(fabs(norm - 5e-30) < 1e-35, "%g", norm);
    cr_assert(fabs(of("{op: logsumexp, in: x}", FLOW_F32, 4, (double[]){1000, 1000, -1000, 0}, 0, message) - 1000.6931) < 1e-3);
    cr_assert(of("{op: logsumexp, in: x}", FLOW_F32, 4, (double[]){-INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0, message) == -INFINITY);
    cr_assert(of("{op: sum, in: x}", FLOW_I32, 3, (double[]){2147483647, 1, 0}, 0, message) == -2147483648.0);
}

Test(reduce, refusals_say_why) {
    static const char *const cases[][2] = {
        {"{op: sum, in: x, with: {axes: [2]}}", "axis 2: the input has 2 axes"},
        {"{op: sum, in: x, with: {axes: [1, -1]}}", "axis 1 is named twice"},
        {"{op: softmax, in: x, with: {axis: -3}}", "axis -3: the input has 2 axes"},
    };
    struct trial t = {.inputs = 1, .input_names = {"x"}};
    t.input[0] = array_new(FLOW_F32, 2, (int64_t[]){5, 6});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(t.node, sizeof t.node, "%s", cases[i][0]);
        trial_refused(&t, NULL, cases[i][1]);
    }
    static const char *const streams[][2] = {
        {"{op: mean, in: x, with: {axes: [1]}}", "the mean over axis 1 needs the whole sequence"},
        {"{op: amax, in: x}", "the largest over axis 1 needs the whole sequence"},
        {"{op: softmax, in: x}", "the softmax over axis 1 needs the whole sequence"},
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        snprintf(t.node, sizeof t.node, "%s", streams[i][0]);
        trial_refused(&t, &(int32_t){1}, streams[i][1]);
    }
    trial_free(&t);
}

/* ---- softmax ---- */

static struct array softmax(const struct array *x, int32_t axis, bool log_) {
    struct array y = array_new(FLOW_F32, x->rank, x->shape);
    int64_t inner = 1, n = x->shape[axis];
    for (int32_t i = axis + 1; i < x->rank; i++) inner *= x->shape[i];
    for (int64_t i = 0; i < array_count(x); i++) {
        int64_t start = i / inner / n * n * inner + i % inner;
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) most = fmax(most, x->at[start + j * inner]);
        for (int64_t j = 0; j < n; j++) sum += isinf(most) ? 0 : exp(x->at[start + j * inner] - most);
        y.at[i] = log_ ? (sum == 0 ? -INFINITY : x->at[i] - most - log(sum)) : sum == 0 ? 0 : exp(x->at[i] - most) / sum;
    }
    return y;
}

Test(softmax, along_every_axis) {
    static const int64_t shapes[][3] = {{3, 7, 5}, {2, 300, 3}, {1, 1, 1}, {4, 2, 1100}};
    uint64_t state = 23;
    for (size_t i = 0; i < 4; i++)
        for (int32_t axis = 0; axis < 3; axis++)
            for (int log_ = 0; log_ < 2; log_++) {
                struct trial t = {.inputs = 1, .input_names = {"x"}};
                snprintf(t.node, sizeof t.node, "{op: %s, in: x, with: {axis: %d}}", log_ ? "log_softmax" : "softmax", axis);
                t.input[0] = array_random(&state, 3, shapes[i]);
                for (int64_t j = 0; j < array_count(&t.input[0]); j++) {
                    t.input[0].at[j] *= axis == 0 ? 1 : 30;
                    if (j % 7 == 3 || j < shapes[i][2]) t.input[0].at[j] = -INFINITY;
                }
                struct array y = softmax(&t.input[0], axis, log_);
                trial_expect(&t, &y, 1e-5);
                for (int32_t other = 0; other < 3; other++)
                    if (other != axis) trial_expect_pieces(&t, &other, &y, 1e-5);
                array_free(&y);
                trial_free(&t);
            }
}
