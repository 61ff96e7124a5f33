/* SPDX-License-Identifier: Apache-2.0 */
/* sample: draws a class from logits. */
#include "sample.h"
#include "text.h"

#include <flow/random.h>
#include <math.h>

static const struct flow_port inputs[] = {
    {"logits", "a score for each class [..., V]", "... V", FLOW_TYPES_FLOAT, FLOW_NO_GRAD},
};
static const struct flow_port outputs[] = {
    {"y", "the class drawn [...]", "...", FLOW_TYPE(I64), FLOW_NO_GRAD},
};
static const struct flow_attr attrs[] = {
    FLOW_ATTR(struct sample_attrs, temperature, "divides the logits; 0: the largest logit, the first of equals", "1", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct sample_attrs, top_p,
              "of the classes in order of probability only the first that make up this share of those left by top_k", "1", 0, 1),
    FLOW_ATTR(struct sample_attrs, top_k, "only so many of the most probable; 0: all", "0", 0, 0x1p53),
};

static int infer(struct flow_infer *ctx) {
    const struct flow_tensor *x = &ctx->in[0];
    int32_t last = x->rank - 1;
    if (x->shape[last] < 1)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "logits has no classes, expected at least 1 on the last axis");
    if (x->shape[last] > INT32_MAX)
        return ctx->host->fail(ctx->owner, FLOW_ERROR_SHAPE, "logits has %lld classes, at most %d are possible", (long long)x->shape[last],
                               INT32_MAX);
    if (ctx->streaming) {
        if (ctx->in_axis[0] == last)
            return ctx->host->fail(ctx->owner, FLOW_ERROR_UNSUPPORTED, "along the classes a draw needs the whole sequence");
        ctx->out_axis[0] = ctx->in_axis[0];
    }
    ctx->workspace = (x->shape[last] * 12 + 63) / 64 * 64; /* probabilities f64, order i32 */
    ctx->flops = 20.0 * (double)shape_count(x);
    ctx->bytes = (double)shape_type_bytes(x->dtype) * (double)shape_count(x);
    return FLOW_OK;
}

struct row {
    const struct flow_tensor *x;
    int64_t start, count;
    double *p;      /* [count], not normalised */
    int32_t *order; /* [count] */
};

static double logit(const struct row *r, int64_t i) {
    return r->x->dtype == FLOW_F64 ? ((const double *)r->x->data)[r->start + i] : (double)((const float *)r->x->data)[r->start + i];
}

/* The largest, the first of equals; NaN never. */
static int64_t largest(const struct row *r) {
    int64_t best = 0;
    double most = -INFINITY;
    for (int64_t i = 0; i < r->count; i++)
        if (logit(r, i) > most) most = logit(r, i), best = i;
    return best;
}

static bool sooner(const struct row *r, int32_t a, int32_t b) { return r->p[a] > r->p[b] || (r->p[a] == r->p[b] && a < b); }

static void sink(const struct row *r, int64_t i, int64_t count) {
    int32_t moved = r->order[i];
    for (int64_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && sooner(r, r->order[child + 1], r->order[child])) child++;
        if (!sooner(r, r->order[child], moved)) break;
        r->order[i] = r->order[child];
    }
    r->order[i] = moved;
}

/* Takes classes off a heap, the most probable first, until there are `most` or they make up `share` of `sum`: they end up at the end of
 * `order`, the last one first. Returns how many; *kept is their sum. */
static int64_t take(const struct row *r, int64_t most, double share, double *kept) {
    int64_t taken = 0;
    *kept = 0;
    while (taken < most && (taken == 0 || *kept < share)) {
        int64_t left = r->count - taken;
        int32_t best = r->order[0];
        r->order[0] = r->order[left - 1], r->order[left - 1] = best;
        sink(r, 0, left - 1);
        *kept += r->p[best], taken++;
    }
    return taken;
}

static int64_t draw(const struct sample_attrs *a, struct row *r, double u) {
    int64_t best = largest(r);
    double most = logit(r, best), sum = 0;
    if (a->temperature == 0 || !isfinite(most)) return best;
    for (int64_t i = 0; i < r->count; i++) {
        double p = exp((logit(r, i) - most) / a->temperature);
        sum += r->p[i] = p == p ? p : 0; /* NaN has no chance */
    }
    int64_t chosen = best;
    if ((a->top_k == 0 || a->top_k >= r->count) && a->top_p >= 1) {
        double left = u * sum;
        for (int64_t i = 0; i < r->count; i++) {
            if (r->p[i] <= 0) continue;
            chosen = i;
            if ((left -= r->p[i]) < 0) break;
        }
        return chosen;
    }
    for (int64_t i = 0; i < r->count; i++) r->order[i] = (int32_t)i;
    for (int64_t i = r->count / 2; i-- > 0;) sink(r, i, r->count);
    int64_t most_classes = a->top_k > 0 && a->top_k < r->count ? a->top_k : r->count, classes;
    double kept;
    if (a->top_k > 0) { /* top_p is a share of what top_k leaves */
        classes = take(r, most_classes, INFINITY, &kept);
        double share = a->top_p >= 1 ? INFINITY : a->top_p * kept, all = kept;
        kept = 0;
        int64_t i = 0;
        while (i < classes && (i == 0 || kept < share)) kept += r->p[r->order[r->count - 1 - i]], i++;
        classes = i;
        if (kept > all) kept = all;
    } else classes = take(r, most_classes, a->top_p * sum, &kept);
    double left = u * kept;
    for (int64_t i = 0; i < classes; i++) {
        int32_t k = r->order[r->count - 1 - i];
        if (r->p[k] <= 0) break;
        chosen = k;
        if ((left -= r->p[k]) < 0) break;
    }
    return chosen;
}

static int forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    struct row row = {.x = x, .count = x->shape[x->rank - 1], .p = call->workspace};
    row.order = (int32_t *)(void *)(row.p + row.count);
    int64_t rows = shape_span(x, 0, x->rank - 1), *y = call->out[0].data;
    for (int64_t i = 0; i < rows; i++) {
        uint32_t word[4];
        flow_philox(call->seed, call->run, (uint64_t)i, word);
        row.start = i * row.count;
        y[i] = draw(call->attrs, &row, flow_uniform_f64(word[0], word[1]));
    }
    return FLOW_OK;
}

static const struct flow_kernel kernels[] = {
    {.device = FLOW_DEVICE_CPU, .types = FLOW_TYPES_REAL, .forward = forward},
};

const struct flow_operator sample_operator = {
    .size = sizeof(struct flow_operator),
    .flags = FLOW_OP_RANDOM,
    .name = "sample",
    .summary = "a class drawn from softmax(logits / temperature)",
    .equation =
        "P(y = i) = exp(logits_i / temperature) / sum_j exp(logits_j / temperature), over the classes that top_k and then top_p leave;\n"
        "temperature 0: argmax",
    .reference =
        "Holtzman et al., The curious case of neural text degeneration (2020), section 3.1 (top_p); Fan et al. (2018), section 5 (top_k)",
    .example = "y: {op: sample, in: x, with: {temperature: 0.8, top_p: 0.9}}",
    .inputs = FLOW_TABLE(inputs),
    .outputs = FLOW_TABLE(outputs),
    .params = FLOW_TABLE_EMPTY,
    .states = FLOW_TABLE_EMPTY,
    .attrs = FLOW_TABLE(attrs),
    .kernels = FLOW_TABLE(kernels),
    .attrs_size = sizeof(struct sample_attrs),
    .infer = infer,
};
