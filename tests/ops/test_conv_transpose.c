/* SPDX-License-Identifier: Apache-2.0 */
/* Transposed convolutions, pools and resizing against plain loops. */
#include "harness/array.h"

/* height and width; one axis is a width */
struct shape {
    int axes;
    int64_t batch, channels, units, groups;
    int64_t in[2], kernel[2], stride[2], dilation[2], before[2], after[2], extra[2];
    bool bias;
};

static int64_t reach(const struct shape *s, int i) { return s->dilation[i] * (s->kernel[i] - 1) + 1; }
static int64_t places(const struct shape *s, int i) {
    return (s->in[i] - 1) * s->stride[i] + reach(s, i) - s->before[i] - s->after[i] + s->extra[i];
}

static struct array reference(const struct shape *s, const struct array *x, const struct array *w, const struct array *bias) {
    int64_t h = places(s, 0), v = places(s, 1), cg = s->channels / s->groups, ug = s->units / s->groups, taps = s->kernel[0] * s->kernel[1];
    struct array y =
        array_new(FLOW_F32, 2 + s->axes, s->axes == 2 ? (int64_t[]){s->batch, s->units, h, v} : (int64_t[]){s->batch, s->units, v});
    for (int64_t i = 0; bias && i < array_count(&y); i++) y.at[i] = bias->at[i / v / h % s->units];
    for (int64_t i = 0; i < array_count(x); i++) {
        int64_t q = i % s->in[1], p = i / s->in[1] % s->in[0], c = i / s->in[1] / s->in[0] % s->channels,
                b = i / s->in[1] / s->in[0] / s->channels;
        for (int64_t j = 0; j < ug * taps; j++) {
            int64_t u = j / taps, k = j / s->kernel[1] % s->kernel[0], l = j % s->kernel[1];
            int64_t row = p * s->stride[0] + k * s->dilation[0] - s->before[0],
                    column = q * s->stride[1] + l * s->dilation[1] - s->before[1];
            if (row < 0 || row >= h || column < 0 || column >= v) continue;
            y.at[((b * s->units + c / cg * ug + u) * h + row) * v + column] += w->at[c * ug * taps + j] * x->at[i];
        }
    }
    return y;
}

static int64_t pick(uint64_t *state, const int64_t *from, int64_t count) { return from[one_below(state, count)]; }

static void draw(struct shape *s, uint64_t *state, int axes) {
    static const int64_t kernels[] = {1, 2, 3, 4, 5, 9}, strides[] = {1, 1, 2, 3, 4}, dilations[] = {1, 1, 2, 3}, each[] = {1, 2, 3, 5};
    static const int64_t times[] = {1, 2, 5, 16, 33}, sides[] = {1, 3, 7, 12};
    do {
        *s = (struct shape){.axes = axes, .in = {1, 1}, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
        s->batch = 1 + one_below(state, 3);
        s->groups = 1 + one_below(state, 2);
        s->channels = s->groups * pick(state, each, 4);
        s->units = s->groups * pick(state, each, 4);
        s->bias = one_below(state, 2);
        for (int i = 2 - axes; i < 2; i++) {
            s->in[i] = axes == 1 ? pick(state, times, 5) : pick(state, sides, 4);
            s->kernel[i] = pick(state, kernels, 6);
            s->stride[i] = pick(state, strides, 5);
            s->dilation[i] = pick(state, dilations, 4);
            s->before[i] = one_below(state, 3);
            s->after[i] = axes == 1 ? one_below(state, 3) : s->before[i];
            s->extra[i] = s->stride[i] > 1 || s->dilation[i] > 1 ? one_below(state, 2) : 0;
        }
    } while (places(s, 0) < 0 || places(s, 1) < 0);
}

static void check(const struct shape *s, uint64_t *state) {
    struct trial t = {.inputs = 1, .params = s->bias ? 2 : 1, .input_names = {"x"}, .param_names = {"weight", "bias"}};
    size_t at = (size_t)snprintf(t.node, sizeof t.node, "{op: conv_transpose%dd, in: x, with: {units: %lld, groups: %lld, bias: %s",
                                 s->axes, (long long)s->units, (long long)s->groups, s->bias ? "true" : "false");
    const struct {
        const char *name;
        const int64_t *of;
    } lists[] = {{"kernel", s->kernel}, {"stride", s->stride}, {"dilation", s->dilation}, {"output_padding", s->extra}};
    for (int i = 0; i < 4; i++)
        if (s->axes == 2)
            at += (size_t)snprintf(t.node + at, sizeof t.node - at, ", %s: [%lld, %lld]", lists[i].name, (long long)lists[i].of[0],
                                   (long long)lists[i].of[1]);
        else at += (size_t)snprintf(t.node + at, sizeof t.node - at, ", %s: %lld", lists[i].name, (long long)lists[i].of[1]);
    snprintf(t.node + at, sizeof t.node - at, ", padding: [%lld, %lld]}}", (long long)(s->axes == 2 ? s->before[0] : s->before[1]),
             (long long)(s->axes == 2 ? s->before[1] : s->after[1]));
    int64_t x[] = {s->batch, s->channels, s->in[0], s->in[1]}, w[] = {s->channels, s->units / s->groups, s->kernel[0], s->kernel[1]};
    if (s->axes == 1) x[2] = x[3], w[2] = w[3];
    t.input[0] = array_random(state, 2 + s->axes, x);
    t.param[0] = array_random(state, 2 + s->axes, w);
    if (s->bias) t.param[1] = array_random(state, 1, &s->units);
    struct array y = reference(s, &t.input[0], &t.param[0], s->bias ? &t.param[1] : NULL);
    trial_expect(&t, &y, 1e-5);
    for (int32_t axis = 2; axis < 2 + s->axes; axis++)
        if (reach(s, axis - s->axes) >= s->stride[axis - s->axes]) trial_expect_pieces(&t, &axis, &y, 1e-5);
    array_free(&y);
    trial_free(&t);
}

Test(conv_transpose, along_time) {
    uint64_t state = 4;
    struct shape s;
    for (int i = 0; i < 60; i++) draw(&s, &state, 1), check(&s, &state);
}

Test(conv_transpose, over_images) {
    uint64_t state = 5;
    struct shape s;
    for (int i = 0; i < 30; i++) draw(&s, &state, 2), check(&s, &state);
}

/* ---- Pools ---- */

static struct array pool(const struct array *x, int axes, const int64_t *kernel, const int64_t *stride, const int64_t *padding, bool mean) {
    int64_t in[2] = {axes == 2 ? x->shape[2] : 1, x->shape[1 + axes]}, out[2], planes = x->shape[0] * x->shape[1];
    for (int i = 0; i < 2; i++) out[i] = (in[i] + 2 * padding[i] - kernel[i]) / stride[i] + 1;
    struct array y =
        array_new(FLOW_F32, 2 + axes,
                  axes == 2 ? (int64_t[]){x->shape[0], x->shape[1], out[0], out[1]} : (int64_t[]){x->shape[0], x->shape[1], out[1]});
    for (int64_t i = 0; i < planes * out[0] * out[1]; i++) {
        int64_t q = i % out[1], p = i / out[1] % out[0], c = i / out[1] / out[0];
        double result = mean ? 0 : -INFINITY;
        for (int64_t j = 0; j < kernel[0] * kernel[1]; j++) {
            int64_t row = p * stride[0] + j / kernel[1] - padding[0], column = q * stride[1] + j % kernel[1] - padding[1];
            if (row < 0 || row >= in[0] || column < 0 || column >= in[1]) continue;
            double v = x->at[(c * in[0] + row) * in[1] + column];
            result = mean ? result + v : fmax(result, v);
        }
        y.at[i] = mean ? result / (double)(kernel[0] * kernel[1]) : result;
    }
    return y;
}

Test(pool, against_plain_loops) {
    static const int64_t kernels[] = {1, 2, 3, 5}, sides[] = {5, 8, 33};
    uint64_t state = 6;
    for (int i = 0; i < 60; i++) {
        int axes = 1 + (int)one_below(&state, 2);
        bool mean = one_below(&state, 2);
        int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, padding[2] = {0, 0}, x[4] = {2, 3};
        for (int j = 2 - axes; j < 2; j++) {
            kernel[j] = pick(&state, kernels, 4);
            stride[j] = 1 + one_below(&state, 3);
            padding[j] = kernel[j] > 1 ? one_below(&state, 2) : 0;
            x[j + axes] = pick(&state, sides, 3);
        }
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        if (axes == 2)
            snprintf(t.node, sizeof t.node,
                     "{op: %s_pool2d, in: x, with: {kernel: [%lld, %lld], stride: [%lld, %lld], padding: [%lld, %lld]}}",
                     mean ? "avg" : "max", (long long)kernel[0], (long long)kernel[1], (long long)stride[0], (long long)stride[1],
                     (long long)padding[0], (long long)padding[1]);
        else
            snprintf(t.node, sizeof t.node, "{op: %s_pool1d, in: x, with: {kernel: %lld, stride: %lld, padding: %lld}}",
                     mean ? "avg" : "max", (long long)kernel[1], (long long)stride[1], (long long)padding[1]);
        t.input[0] = array_random(&state, 2 + axes, x);
        struct array y = pool(&t.input[0], axes, kernel, stride, padding, mean);
        trial_expect(&t, &y, 1e-6);
        for (int32_t axis = 2; axis < 2 + axes; axis++)
            if (mean || padding[axis - axes] == 0) trial_expect_pieces(&t, &axis, &y, 1e-6);
        array_free(&y);
        trial_free(&t);
    }
}

Test(pool, nan_is_the_largest) {
    char message[2048];
    struct trial t = {.inputs = 1, .input_names = {"x"}, .node = "{op: max_pool2d, in: x, with: {kernel: 2}}"};
    struct array y;
    t.input[0] = array_new(FLOW_F32, 4, (int64_t[]){1, 1, 2, 8});
    t.input[0].at[9] = NAN;
    cr_assert(trial_run(&t, one_best, &y, message) == 0, "%s", message);
    for (int i = 0; i < 4; i++) cr_assert(i == 0 ? isnan(y.at[i]) : y.at[i] == 0, "element %d is %g", i, y.at[i]);
    array_free(&y);
    trial_free(&t);
}

/* ---- Resizing ---- */

/* x at (i + 0.5) / factor - 0.5, clamped to [0, n - 1]. */
static double between(const double *x, int64_t step, int64_t n, int64_t factor, int64_t i, bool linear, int64_t *low, double *share) {
    double at = ((double)i + 0.5) / (double)factor - 0.5;
    at = at < 0 ? 0 : at > (double)(n - 1) ? (double)(n - 1) : at;
    *low = linear ? (int64_t)at : i / factor;
    *share = linear ? at - (double)*low : 0;
    int64_t high = *low + 1 < n ? *low + 1 : *low;
    return x ? x[*low * step] * (1 - *share) + x[high * step] * *share : 0;
}

Test(upsample, every_axis) {
    uint64_t state = 7;
    for (int i = 0; i < 24; i++) {
        bool linear = i % 2;
        int64_t h = i % 4 < 2 ? 1 : 1 + one_below(&state, 6), w = 1 + one_below(&state, 20),
                fh = h == 1 && i % 4 < 2 ? 1 : 1 + one_below(&state, 3);
        int64_t fw = 1 + one_below(&state, 4);
        int axes = i % 4 < 2 ? 1 : 2;
        struct trial t = {.inputs = 1, .input_names = {"x"}};
        if (axes == 2)
            snprintf(t.node, sizeof t.node, "{op: upsample, in: x, with: {factor: [%lld, %lld], mode: %s}}", (long long)fh, (long long)fw,
                     linear ? "linear" : "nearest");
        else
            snprintf(t.node, sizeof t.node, "{op: upsample, in: x, with: {factor: %lld, mode: %s}}", (long long)fw,
                     linear ? "linear" : "nearest");
        t.input[0] = array_random(&state, 2 + axes, axes == 2 ? (int64_t[]){2, 3, h, w} : (int64_t[]){2, 3, w});
        struct array y = array_new(FLOW_F32, 2 + axes, axes == 2 ? (int64_t[]){2, 3, h * fh, w * fw} : (int64_t[]){2, 3, w * fw});
        for (int64_t j = 0; j < array_count(&y); j++) {
            int64_t column = j % (w * fw), row = j / (w * fw) % (h * fh), low, ignored;
            double share, unused;
            const double *x = t.input[0].at + j / (w * fw) / (h * fh) * h * w;
            between(NULL, 1, h, fh, row, linear, &low, &share);
            double upper = between(x + low * w, 1, w, fw, column, linear, &ignored, &unused);
            double lower = between(x + (low + 1 < h ? low + 1 : low) * w, 1, w, fw, column, linear, &ignored, &unused);
            y.at[j] = upper * (1 - share) + lower * share;
        }
        trial_expect(&t, &y, 1e-6);
        if (!linear) trial_expect_pieces(&t, &(int32_t){1 + axes}, &y, 1e-6);
        array_free(&y);
        trial_free(&t);
    }
}
