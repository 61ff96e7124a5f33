/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions against four plain loops: kernels, strides, dilations, paddings and groups of all kinds, extents from 1 on. */
#include "harness/array.h"

enum { ZERO, REFLECT, REPLICATE, CIRCULAR };
static const char *const modes[] = {"zero", "reflect", "replicate", "circular"};

/* height and width; one axis is a width */
struct shape {
    int axes, mode;
    int64_t batch, channels, units, groups;
    int64_t in[2], kernel[2], stride[2], dilation[2], before[2], after[2];
    bool bias;
    char padding[40];
};

static int64_t reach(const struct shape *s, int i) { return s->dilation[i] * (s->kernel[i] - 1) + 1; }
static int64_t places(const struct shape *s, int i) { return (s->in[i] + s->before[i] + s->after[i] - reach(s, i)) / s->stride[i] + 1; }

/* The element that padding repeats, by walking to it step by step; -1: zero. */
static int64_t source(const struct shape *s, int i, int64_t at) {
    int64_t n = s->in[i];
    if (at >= 0 && at < n) return at;
    if (s->mode == ZERO) return -1;
    if (s->mode == REPLICATE) return at < 0 ? 0 : n - 1;
    if (s->mode == CIRCULAR) return (at % n + n) % n;
    while (at < 0 || at >= n) at = at < 0 ? -at : 2 * (n - 1) - at;
    return at;
}

static struct array reference(const struct shape *s, const struct array *x, const struct array *w, const struct array *bias) {
    int64_t h = places(s, 0), v = places(s, 1), cg = s->channels / s->groups, ug = s->units / s->groups;
    struct array y =
        array_new(FLOW_F32, 2 + s->axes, s->axes == 2 ? (int64_t[]){s->batch, s->units, h, v} : (int64_t[]){s->batch, s->units, v});
    for (int64_t i = 0; i < array_count(&y); i++) {
        int64_t q = i % v, p = i / v % h, u = i / v / h % s->units, b = i / v / h / s->units;
        double sum = bias ? bias->at[u] : 0;
        for (int64_t c = 0; c < cg; c++)
            for (int64_t k = 0; k < s->kernel[0]; k++)
                for (int64_t l = 0; l < s->kernel[1]; l++) {
                    int64_t row = source(s, 0, p * s->stride[0] + k * s->dilation[0] - s->before[0]);
                    int64_t column = source(s, 1, q * s->stride[1] + l * s->dilation[1] - s->before[1]);
                    if (row < 0 || column < 0) continue;
                    sum += w->at[((u * cg + c) * s->kernel[0] + k) * s->kernel[1] + l] *
                           x->at[((b * s->channels + u / ug * cg + c) * s->in[0] + row) * s->in[1] + column];
                }
        y.at[i] = sum;
    }
    return y;
}

static struct trial trial_of(const struct shape *s, uint64_t *state) {
    struct trial t = {.inputs = 1, .params = s->bias ? 2 : 1, .input_names = {"x"}, .param_names = {"weight", "bias"}};
    int64_t cg = s->channels / s->groups;
    if (s->axes == 2)
        snprintf(
            t.node, sizeof t.node,
            "{op: conv2d, in: x, with: {units: %lld, kernel: [%lld, %lld], stride: [%lld, %lld], dilation: [%lld, %lld], groups: %lld, "
            "padding: %s, padding_mode: %s, bias: %s}}",
            (long long)s->units, (long long)s->kernel[0], (long long)s->kernel[1], (long long)s->stride[0], (long long)s->stride[1],
            (long long)s->dilation[0], (long long)s->dilation[1], (long long)s->groups, s->padding, modes[s->mode],
            s->bias ? "true" : "false");
    else
        snprintf(t.node, sizeof t.node,
                 "{op: conv1d, in: x, with: {units: %lld, kernel: %lld, stride: %lld, dilation: %lld, groups: %lld, padding: %s, "
                 "padding_mode: %s, bias: %s}}",
                 (long long)s->units, (long long)s->kernel[1], (long long)s->stride[1], (long long)s->dilation[1], (long long)s->groups,
                 s->padding, modes[s->mode], s->bias ? "true" : "false");
    int64_t x[] = {s->batch, s->channels, s->in[0], s->in[1]}, w[] = {s->units, cg, s->kernel[0], s->kernel[1]};
    if (s->axes == 1) x[2] = x[3], w[2] = w[3];
    t.input[0] = array_random(state, 2 + s->axes, x);
    t.param[0] = array_random(state, 2 + s->axes, w);
    if (s->bias) t.param[1] = array_random(state, 1, &s->units);
    return t;
}

static int64_t pick(uint64_t *state, const int64_t *from, int64_t count) { return from[one_below(state, count)]; }

/* Paddings of every kind; false where the kernel does not fit or the mode has too few elements. */
static bool padding_draw(struct shape *s, uint64_t *state) {
    int64_t kind = one_below(state, 5), a = one_below(state, 4), b = one_below(state, 3);
    if (kind == 3 && (s->stride[0] > 1 || s->stride[1] > 1)) kind = 0;
    if (kind == 4 && s->axes == 2) kind = 0;
    for (int i = 2 - s->axes; i < 2; i++) {
        int64_t total = reach(s, i) - 1;
        s->before[i] = kind == 0 ? 0 : kind == 1 ? a : kind == 2 ? (s->axes == 2 && i == 1 ? b : a) : kind == 3 ? total / 2 : total;
        s->after[i] = kind == 2 ? (s->axes == 2 && i == 0 ? a : b) : kind == 4 ? 0 : kind == 3 ? total - total / 2 : s->before[i];
        int64_t most = s->before[i] > s->after[i] ? s->before[i] : s->after[i];
        if (s->mode == REFLECT && most >= s->in[i]) return false;
        if (s->mode == CIRCULAR && most > s->in[i]) return false;
        if (s->in[i] + s->before[i] + s->after[i] < reach(s, i)) return false;
    }
    if (kind == 2) snprintf(s->padding, sizeof s->padding, "[%lld, %lld]", (long long)a, (long long)b);
    else if (kind >= 3) snprintf(s->padding, sizeof s->padding, "%s", kind == 3 ? "same" : "causal");
    else snprintf(s->padding, sizeof s->padding, "%lld", (long long)(kind == 0 ? 0 : a));
    return true;
}

static void draw(struct shape *s, uint64_t *state, int axes) {
    static const int64_t kernels[] = {1, 1, 2, 3, 4, 5, 9}, strides[] = {1, 1, 1, 2, 3, 5}, dilations[] = {1, 1, 2, 3},
                         groups[] = {1, 1, 2, 3};
    static const int64_t each[] = {1, 1, 2, 3, 5, 8, 17}, times[] = {1, 2, 5, 16, 33, 100}, sides[] = {1, 3, 7, 12, 20};
    do {
        *s = (struct shape){.axes = axes, .in = {1, 1}, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
        s->mode = one_below(state, 2) ? ZERO : (int)one_below(state, 4);
        s->batch = 1 + one_below(state, 3);
        s->groups = pick(state, groups, 4);
        s->channels = s->groups * pick(state, each, 6);
        s->units = s->groups * pick(state, each, 7);
        s->bias = one_below(state, 2);
        for (int i = 2 - axes; i < 2; i++) {
            s->in[i] = axes == 1 ? pick(state, times, 6) : pick(state, sides, 5);
            s->kernel[i] = pick(state, kernels, 7);
            s->stride[i] = pick(state, strides, 6);
            s->dilation[i] = pick(state, dilations, 4);
        }
    } while (!padding_draw(s, state));
}

static void check(const struct shape *s, uint64_t *state) {
    struct trial t = trial_of(s, state);
    struct array y = reference(s, &t.input[0], &t.param[0], s->bias ? &t.param[1] : NULL);
    trial_expect(&t, &y, 1e-5);
    bool padded = s->before[0] + s->after[0] + s->before[1] + s->after[1] > 0;
    for (int32_t axis = 2; axis < 2 + s->axes && (s->mode == ZERO || !padded); axis++) trial_expect_pieces(&t, &axis, &y, 1e-5);
    array_free(&y);
    trial_free(&t);
}

Test(conv, along_time) {
    uint64_t state = 1;
    struct shape s;
    for (int i = 0; i < 60; i++) draw(&s, &state, 1), check(&s, &state);
}

Test(conv, over_images) {
    uint64_t state = 2;
    struct shape s;
    for (int i = 0; i < 40; i++) draw(&s, &state, 2), check(&s, &state);
}

/* Long enough for several tiles and several shares of the work. */
Test(conv, long_sequences) {
    static const int64_t kernel[] = {3, 201, 16, 5, 1}, stride[] = {1, 1, 8, 2, 1}, channels[] = {24, 6, 1, 32, 48},
                         groups[] = {1, 6, 1, 2, 1};
    uint64_t state = 3;
    for (int i = 0; i < 5; i++) {
        struct shape s = {
            .axes = 1, .batch = 2, .channels = channels[i], .units = 24, .groups = groups[i], .in = {1, 5001}, .kernel = {1, kernel[i]}};
        s.stride[0] = s.dilation[0] = s.dilation[1] = 1, s.stride[1] = stride[i], s.bias = true;
        snprintf(s.padding, sizeof s.padding, "causal");
        s.before[1] = kernel[i] - 1;
        struct trial t = trial_of(&s, &state);
        struct array y = reference(&s, &t.input[0], &t.param[0], &t.param[1]);
        trial_expect(&t, &y, 1e-5);
        array_free(&y);
        trial_free(&t);
    }
}

static struct trial plain(const char *node, int32_t rank, const int64_t *shape) {
    struct trial t = {.inputs = 1, .input_names = {"x"}};
    snprintf(t.node, sizeof t.node, "%s", node);
    t.input[0] = array_new(FLOW_F32, rank, shape);
    return t;
}

Test(conv, nothing_to_slide_over) {
    static const struct {
        const char *node;
        int32_t rank;
        int64_t in[4], out[4];
    } cases[] = {
        {"{op: conv1d, in: x, with: {units: 5, kernel: 3}}", 3, {2, 4, 0}, {2, 5, 0}},
        {"{op: conv1d, in: x, with: {units: 5, kernel: 3, padding: causal}}", 3, {2, 4, 0}, {2, 5, 0}},
        {"{op: conv1d, in: x, with: {units: 5, kernel: 3}}", 3, {0, 4, 9}, {0, 5, 7}},
        {"{op: conv2d, in: x, with: {units: 5, kernel: 3, padding: 1}}", 4, {2, 4, 6, 0}, {2, 5, 6, 0}},
        {"{op: conv_transpose1d, in: x, with: {units: 5, kernel: 3}}", 3, {2, 4, 0}, {2, 5, 0}},
        {"{op: max_pool1d, in: x, with: {kernel: 2}}", 3, {2, 4, 0}, {2, 4, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[2048];
        struct trial t = plain(cases[i].node, cases[i].rank, cases[i].in);
        struct array y;
        cr_assert(trial_run(&t, one_best, &y, message) == 0, "%s: %s", t.node, message);
        for (int32_t j = 0; j < cases[i].rank; j++) cr_assert(y.shape[j] == cases[i].out[j], "%s: axis %d", t.node, j);
        array_free(&y);
        trial_free(&t);
    }
}

Test(conv, refusals_say_why) {
    static const char *const cases[][2] = {
        {"{op: conv1d, in: x, with: {units: 4, kernel: 9, dilation: 2}}",
         "a kernel of 9 (dilation 2: it spans 17) does not fit into axis 2 of x: 10"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 3, groups: 4}}", "6 channels and 4 units do not both divide into 4 groups"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 3, padding: same, stride: 2}}", "padding same needs stride 1, the stride is 2"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 3, padding: 10, padding_mode: reflect}}",
         "padding of 10 in mode reflect: axis 2 of x has 10"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: [1, 2, 3]}}", "kernel has 3 numbers: expected one, or 1"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 1000000000, dilation: 1000000000}}", "does not fit"},
        {"{op: conv_transpose1d, in: x, with: {units: 4, kernel: 3, padding: 8}}",
         "axis 2 of the result has 12 elements, cropped are 8 and 8"},
        {"{op: conv_transpose1d, in: x, with: {units: 4, kernel: 3, output_padding: 1}}",
         "output_padding 1: expected less than the stride 1"},
        {"{op: max_pool1d, in: x, with: {kernel: 2, padding: 2}}", "padding of 2 and 2: a window of 2 would see nothing else"},
        {"{op: max_pool1d, in: x, with: {kernel: 11}}", "does not fit into axis 2 of x: 10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = plain(cases[i][0], 3, (int64_t[]){2, 6, 10});
        trial_refused(&t, NULL, cases[i][1]);
        trial_free(&t);
    }
}

Test(conv, what_does_not_stream) {
    static const struct {
        const char *node;
        int32_t axis;
        const char *words;
    } cases[] = {
        {"{op: conv1d, in: x, with: {units: 4, kernel: 3}}", 1, "the sum over channels (axis 1) needs the whole sequence"},
        {"{op: conv1d, in: x, with: {units: 4, kernel: 3, padding: 1, padding_mode: reflect}}", 2, "needs the whole sequence"},
        {"{op: conv_transpose1d, in: x, with: {units: 4, kernel: 2, stride: 3}}", 2,
         "a kernel that spans less than the stride does not stream"},
        {"{op: max_pool1d, in: x, with: {kernel: 2, padding: 1}}", 2, "needs the whole sequence"},
        {"{op: global_avg_pool, in: x}", 2, "the mean over axis 2 needs the whole sequence"},
        {"{op: upsample, in: x, with: {factor: 2, mode: linear}}", 2, "needs the whole sequence"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial t = plain(cases[i].node, 3, (int64_t[]){2, 6, 10});
        trial_refused(&t, &cases[i].axis, cases[i].words);
        trial_free(&t);
    }
}

/* Fewer places than a vector has lanes: taps that are a stride apart must not be taken for neighbours. */
Test(conv, few_places) {
    uint64_t state = 3;
    for (int64_t kernel = 2; kernel <= 7; kernel++)
        for (int64_t stride = 1; stride <= 4; stride++)
            for (int64_t out = 1; out <= 3; out++) {
                struct shape s = {.axes = 1, .batch = 1, .channels = 1, .units = 2, .groups = 1};
                for (int i = 0; i < 2; i++) s.in[i] = s.kernel[i] = s.stride[i] = s.dilation[i] = 1;
                s.kernel[1] = kernel, s.stride[1] = stride, s.in[1] = kernel + (out - 1) * stride;
                snprintf(s.padding, sizeof s.padding, "0");
                check(&s, &state);
            }
}
