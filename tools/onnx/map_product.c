/* SPDX-License-Identifier: Apache-2.0 */
/* Products, convolutions, windows. */
#include "onnx/internal.h"

#include <math.h>

/* "encoder.layer.0.query.weight" says more than "MatMul_12". */
static const char *named_after(struct import *m, const struct node *n, const struct value *weight) {
    const char *name = weight->tensor_name, *dot = name ? strrchr(name, '.') : NULL;
    if (!dot || dot == name || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".weight_v") != 0)) return n->label;
    return store_format(&m->store, "%.*s", (int)(dot - name), name);
}

/* ---- Products ---- */

/* W [in, out] is turned to [out, in]; already [out, in] where `turned`. */
static struct value *linear(struct import *m, const struct node *n, struct value *x, const struct value *w, bool turned, double scale) {
    static const int64_t perm[2] = {1, 0};
    if (!turned) w = value_transposed(m, w, perm);
    struct made *made = make_named(m, n, "linear", named_after(m, n, w));
    make_in(m, made, NULL, x);
    make_with(m, made, "units: %lld, bias: false", (long long)w->shape[0].plus);
    struct flow_tensor weight = tensor_of(m, w);
    if (scale != 1) {
        weight = tensor_zeros(m, w->dtype, 2, weight.shape);
        for (int64_t i = 0; i < w->count; i++) value_store(w->dtype, weight.data, i, value_real(w, i) * scale, 0);
    }
    make_weight(m, made, "weight", weight);
    struct extent shape[RANK];
    for (int32_t i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = w->shape[0];
    return make_out(m, made, NULL, x->dtype, x->rank, shape);
}

static struct value *matmul(struct import *m, const struct node *n, struct value *a, struct value *b, bool turn_a, bool turn_b) {
    struct extent rows = a->shape[a->rank - (turn_a ? 1 : 2)], columns = b->shape[b->rank - (turn_b ? 2 : 1)], shape[RANK];
    struct value front_b = *b;
    int32_t rank = a->rank - 2;
    for (int32_t i = 0; i < rank; i++) shape[i] = a->shape[i];
    front_b.rank -= 2;
    if (!shape_join(shape, &rank, &front_b)) {
        refuse(m, n, "the shapes of its inputs do not go together");
        return NULL;
    }
    shape[rank++] = rows, shape[rank++] = columns;
    struct made *made = make_node(m, n, "matmul");
    make_in(m, made, NULL, a), make_in(m, made, NULL, b);
    if (turn_a) make_with(m, made, "transpose_a: true");
    if (turn_b) make_with(m, made, "transpose_b: true");
    return make_out(m, made, NULL, a->dtype, rank, shape);
}

static bool map_matmul(struct import *m, struct node *n) {
    struct value *a = n->in[0], *b = n->in[1];
    if (a->rank < 1 || b->rank < 1 || !value_is_float(a->dtype) || a->dtype != b->dtype)
        return refuse(m, n, "only products of tensors of one floating type");
    if (b->data && b->rank == 2 && !value_known(a)) {
        give(n, 0, linear(m, n, a, b, false, 1));
        return true;
    }
    struct value *left = a->rank == 1 ? make_unsqueeze(m, n, a, 0) : a, *right = b->rank == 1 ? make_unsqueeze(m, n, b, 1) : b;
    struct value *y = matmul(m, n, left, right, false, false);
    if (y && b->rank == 1) y = make_squeeze(m, n, y, y->rank - 1);
    if (y && a->rank == 1) y = make_squeeze(m, n, y, y->rank - (b->rank == 1 ? 1 : 2));
    give(n, 0, y);
    return y != NULL;
}

static bool map_gemm(struct import *m, struct node *n) {
    struct value *a = n->in[0], *b = n->in[1], *c = n->in_count > 2 ? n->in[2] : NULL, *y;
    double alpha = attr_real(n, "alpha", 1), beta = attr_real(n, "beta", 1);
    bool turn_a = attr_int(n, "transA", 0) != 0, turn_b = attr_int(n, "transB", 0) != 0;
    if (a->rank != 2 || b->rank != 2 || !value_is_float(a->dtype)) return refuse(m, n, "its inputs are no matrices of a floating type");
    if (b->data && !turn_a && !value_known(a)) {
        y = linear(m, n, a, b, turn_b, alpha);
    } else {
        y = matmul(m, n, a, b, turn_a, turn_b);
        if (y && alpha != 1) {
            y = make_same(m, n, "mul", y);
            make_reals(m, y->from, "value", alpha);
        }
    }
    if (y && c && beta != 0) {
        if (beta != 1) {
            c = make_same(m, n, "mul", c);
            make_reals(m, c->from, "value", beta);
        }
        y = make_binary(m, n, "add", y, c, y->dtype);
    }
    give(n, 0, y);
    return y != NULL;
}

static bool map_einsum(struct import *m, struct node *n) {
    /* The shape of the result: letters of the last part, with their extents. Without "->" or with "..." it is not followed here. */
    const char *equation = attr_text(m, n, "equation", ""), *arrow = strstr(equation, "->"), *at = equation;
    struct extent of_letter[128], shape[RANK];
    int32_t rank = 0;
    if (!arrow || strchr(equation, '.')) return refuse(m, n, "an equation without \"->\" or with \"...\"");
    for (int i = 0; i < 128; i++) of_letter[i] = extent_unknown;
    for (size_t i = 0; i < n->in_count; i++) {
        if (!n->in[i]) return refuse(m, n, "an input is missing");
        int32_t axis = 0;
        for (; *at && *at != ',' && at < arrow; at++) {
            if (*at == ' ') continue;
            if (*at < 'A' || *at > 'z' || axis >= n->in[i]->rank) return refuse(m, n, "its equation does not go with its inputs");
            of_letter[(unsigned char)*at] = n->in[i]->shape[axis++];
        }
        if (*at == ',') at++;
        if (axis != n->in[i]->rank) return refuse(m, n, "its equation does not go with its inputs");
    }
    for (at = arrow + 2; *at; at++) {
        if (*at == ' ') continue;
        if (*at < 'A' || *at > 'z' || rank == RANK) return refuse(m, n, "its equation is not understood");
        shape[rank++] = of_letter[(unsigned char)*at];
    }
    struct made *made = make_node(m, n, "einsum");
    for (size_t i = 0; i < n->in_count; i++) make_in(m, made, NULL, n->in[i]);
    make_with(m, made, "equation: \"%s\"", equation);
    give(n, 0, make_out(m, made, NULL, n->in[0]->dtype, rank, shape));
    return true;
}

/* ---- Windows: convolutions and pools ---- */

struct window {
    int32_t axes; /* 1 or 2 */
    int64_t kernel[2], stride[2], dilation[2], before[2], after[2];
    bool ceil;
};

static bool read_ints(struct import *m, const struct node *n, const char *name, int64_t *at, int32_t axes, int64_t low, int64_t high) {
    const int64_t *given;
    size_t count;
    if (!attr_ints(n, name, &given, &count) || count == 0) return true;
    if (count != (size_t)axes) return refuse(m, n, "%s has %zu numbers for %d axes", name, count, axes);
    for (int32_t i = 0; i < axes; i++) {
        if (given[i] < low || given[i] > high) return refuse(m, n, "%s: %lld", name, (long long)given[i]);
        at[i] = given[i];
    }
    return true;
}

/* Strides, dilations, pads; `same` is worked out where it does not depend on the extent, or the extent is known. */
static bool read_window(struct import *m, const struct node *n, const struct value *x, struct window *w) {
    enum { FAR = 1 << 24 };
    int64_t pads[4] = {0};
    w->axes = x->rank - 2;
    if (w->axes != 1 && w->axes != 2) return refuse(m, n, "its input has %d axes; 3 ([B, C, T]) and 4 ([B, C, H, W]) are covered", x->rank);
    for (int i = 0; i < 2; i++) w->stride[i] = w->dilation[i] = 1;
    if (!read_ints(m, n, "kernel_shape", w->kernel, w->axes, 1, FAR) || !read_ints(m, n, "strides", w->stride, w->axes, 1, FAR) ||
        !read_ints(m, n, "dilations", w->dilation, w->axes, 1, FAR) || !read_ints(m, n, "pads", pads, 2 * w->axes, 0, FAR))
        return false;
    const char *how = attr_text(m, n, "auto_pad", "NOTSET");
    for (int32_t i = 0; i < w->axes; i++) {
        w->before[i] = pads[i], w->after[i] = pads[i + w->axes];
        if (strncmp(how, "SAME", 4) != 0) continue;
        int64_t extent, reach = w->dilation[i] * (w->kernel[i] - 1), all = reach;
        if (w->stride[i] != 1) {
            if (!extent_number(&x->shape[2 + i], &extent))
                return refuse(m, n, "auto_pad with a stride depends on an extent that is a symbol");
            all = (extent + w->stride[i] - 1) / w->stride[i] * w->stride[i] - w->stride[i] + reach + 1 - extent;
            all = all < 0 ? 0 : all;
        }
        w->before[i] = strcmp(how, "SAME_LOWER") == 0 ? all - all / 2 : all / 2;
        w->after[i] = all - w->before[i];
    }
    return true;
}

static struct extent places(struct import *m, const struct extent *extent, const struct window *w, int32_t i) {
    struct extent more = extent_of(w->before[i] + w->after[i] - w->dilation[i] * (w->kernel[i] - 1) - 1), by = extent_of(w->stride[i]),
                  one = extent_of(1);
    more = extent_add(extent, &more, 1);
    more = extent_over(&m->store, &more, &by);
    return extent_add(&more, &one, 1);
}

static void with_ints(struct import *m, struct made *made, const char *key, const int64_t *at, int32_t axes, int64_t otherwise) {
    bool plain = true, even = true;
    for (int32_t i = 0; i < axes; i++) plain &= at[i] == otherwise, even &= at[i] == at[0];
    if (plain) return;
    if (even) make_with(m, made, "%s: %lld", key, (long long)at[0]);
    else make_ints(m, made, key, (size_t)axes, at);
}

/* Padding that the operator has no word for becomes `pad` nodes in front. */
static struct value *padded(struct import *m, const struct node *n, struct value *x, struct window *w, const char *value) {
    for (int32_t i = 0; i < w->axes; i++) {
        if (w->before[i] == 0 && w->after[i] == 0) continue;
        struct extent shape[RANK], more = extent_of(w->before[i] + w->after[i]);
        for (int32_t k = 0; k < x->rank; k++) shape[k] = x->shape[k];
        shape[2 + i] = extent_add(&shape[2 + i], &more, 1);
        struct made *made = make_node(m, n, "pad");
        make_in(m, made, NULL, x);
        make_with(m, made, "axis: %d", 2 + i);
        if (w->before[i]) make_with(m, made, "before: %lld", (long long)w->before[i]);
        if (w->after[i]) make_with(m, made, "after: %lld", (long long)w->after[i]);
        if (value) make_with(m, made, "value: %s", value);
        x = make_out(m, made, NULL, x->dtype, x->rank, shape);
        w->before[i] = w->after[i] = 0;
    }
    return x;
}

static void with_padding(struct import *m, struct made *made, const struct window *w) {
    if (w->axes == 1 && w->before[0] != w->after[0]) make_ints(m, made, "padding", 2, (int64_t[]){w->before[0], w->after[0]});
    else with_ints(m, made, "padding", w->before, w->axes, 0);
}

static bool even_padding(const struct window *w) { return w->axes == 1 || (w->before[0] == w->after[0] && w->before[1] == w->after[1]); }

static bool with_bias(struct import *m, const struct node *n, struct made *made, const struct value *bias, int64_t units) {
    if (!bias) {
        make_with(m, made, "bias: false");
        return true;
    }
    if (!bias->data || bias->count != units || bias->rank != 1) return refuse(m, n, "its bias is computed when the model runs");
    make_weight(m, made, "bias", tensor_of(m, bias));
    return true;
}

static bool map_conv(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *weight = n->in[1], *bias = n->in_count > 2 ? n->in[2] : NULL;
    struct window w = {0};
    int64_t groups = attr_int(n, "group", 1);
    if (!weight->data || weight->rank != x->rank) return refuse(m, n, "its kernel is computed when the model runs");
    for (int32_t i = 0; i < 2 && i < weight->rank - 2; i++) w.kernel[i] = weight->shape[2 + i].plus;
    if (!read_window(m, n, x, &w)) return false;
    for (int32_t i = 0; i < w.axes; i++)
        if (!extent_is(&weight->shape[2 + i], w.kernel[i])) return refuse(m, n, "kernel_shape is not its weight's");
    if (!even_padding(&w)) x = padded(m, n, x, &w, NULL);
    int64_t units = weight->shape[0].plus;
    struct made *made = make_named(m, n, w.axes == 1 ? "conv1d" : "conv2d", named_after(m, n, weight));
    struct extent shape[RANK] = {x->shape[0], weight->shape[0]};
    for (int32_t i = 0; i < w.axes; i++) shape[2 + i] = places(m, &x->shape[2 + i], &w, i);
    make_in(m, made, NULL, x);
    make_with(m, made, "units: %lld", (long long)units);
    with_ints(m, made, "kernel", w.kernel, w.axes, -1);
    with_ints(m, made, "stride", w.stride, w.axes, 1);
    with_padding(m, made, &w);
    with_ints(m, made, "dilation", w.dilation, w.axes, 1);
    if (groups != 1) make_with(m, made, "groups: %lld", (long long)groups);
    make_weight(m, made, "weight", tensor_of(m, weight));
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    return with_bias(m, n, made, bias, units);
}

static bool map_conv_transpose(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *weight = n->in[1], *bias = n->in_count > 2 ? n->in[2] : NULL;
    struct window w = {0};
    int64_t groups = attr_int(n, "group", 1), more[2] = {0};
    if (!weight->data || weight->rank != x->rank) return refuse(m, n, "its kernel is computed when the model runs");
    if (attr_find(n, "output_shape")) return refuse(m, n, "output_shape is not covered (pads and output_padding are)");
    if (strncmp(attr_text(m, n, "auto_pad", "NOTSET"), "SAME", 4) == 0) return refuse(m, n, "auto_pad is not covered (pads are)");
    for (int32_t i = 0; i < 2 && i < weight->rank - 2; i++) w.kernel[i] = weight->shape[2 + i].plus;
    if (!read_window(m, n, x, &w) || !read_ints(m, n, "output_padding", more, w.axes, 0, 1 << 24)) return false;
    if (!even_padding(&w)) return refuse(m, n, "its pads differ before and after");
    int64_t units;
    if (groups < 1 || __builtin_mul_overflow(weight->shape[1].plus, groups, &units)) return refuse(m, n, "group: %lld", (long long)groups);
    struct made *made = make_named(m, n, w.axes == 1 ? "conv_transpose1d" : "conv_transpose2d", named_after(m, n, weight));
    struct extent shape[RANK] = {x->shape[0], extent_of(units)};
    for (int32_t i = 0; i < w.axes; i++) {
        struct extent by = extent_of(w.stride[i]);
        struct extent rest = extent_of(w.dilation[i] * (w.kernel[i] - 1) + 1 - w.before[i] - w.after[i] + more[i] - w.stride[i]);
        shape[2 + i] = extent_times(&m->store, &x->shape[2 + i], &by);
        shape[2 + i] = extent_add(&shape[2 + i], &rest, 1);
    }
    make_in(m, made, NULL, x);
    make_with(m, made, "units: %lld", (long long)units);
    with_ints(m, made, "kernel", w.kernel, w.axes, -1);
    with_ints(m, made, "stride", w.stride, w.axes, 1);
    with_padding(m, made, &w);
    with_ints(m, made, "dilation", w.dilation, w.axes, 1);
    with_ints(m, made, "output_padding", more, w.axes, 0);
    if (groups != 1) make_with(m, made, "groups: %lld", (long long)groups);
    make_weight(m, made, "weight", tensor_of(m, weight));
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    return with_bias(m, n, made, bias, units);
}

static bool map_pool(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    struct window w = {0};
    bool largest = n->op[0] == 'M';
    if (!read_window(m, n, x, &w)) return false;
    if (attr_int(n, "ceil_mode", 0)) return refuse(m, n, "ceil_mode: 1 is not covered");
    for (int32_t i = 0; i < w.axes; i++)
        if (w.dilation[i] != 1) return refuse(m, n, "dilations are not covered");
    bool pads = w.before[0] || w.after[0] || w.before[1] || w.after[1];
    if (!largest && pads && !attr_int(n, "count_include_pad", 0))
        return refuse(m, n, "padding that does not count in the mean is not covered");
    bool fits = even_padding(&w);
    for (int32_t i = 0; i < w.axes; i++) fits &= w.before[i] < w.kernel[i] && w.after[i] < w.kernel[i];
    if (!fits) x = padded(m, n, x, &w, largest ? "-.inf" : NULL);
    struct made *made = make_node(m, n, store_format(&m->store, "%s_pool%dd", largest ? "max" : "avg", w.axes));
    struct extent shape[RANK] = {x->shape[0], x->shape[1]};
    for (int32_t i = 0; i < w.axes; i++) shape[2 + i] = places(m, &x->shape[2 + i], &w, i);
    make_in(m, made, NULL, x);
    with_ints(m, made, "kernel", w.kernel, w.axes, -1);
    if (w.stride[0] != w.kernel[0] || w.stride[1] != w.kernel[1]) with_ints(m, made, "stride", w.stride, w.axes, -1);
    with_padding(m, made, &w);
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    return true;
}

static bool map_global_pool(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    struct extent shape[RANK];
    int64_t axes[RANK];
    if (x->rank < 3) return refuse(m, n, "its input has %d axes", x->rank);
    for (int32_t i = 0; i < x->rank; i++) shape[i] = i < 2 ? x->shape[i] : extent_of(1), axes[i] = i;
    struct made *made = make_node(m, n, n->word);
    make_in(m, made, NULL, x);
    make_ints(m, made, "axes", (size_t)x->rank - 2, axes + 2);
    make_with(m, made, "keep: true");
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    return true;
}

/* Every element becomes `factor` ones: the scales are whole numbers, and the places are those that `upsample` reads. */
static bool map_resize(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *scales = n->in_count > 2 ? n->in[2] : NULL;
    const char *mode = attr_text(m, n, "mode", "nearest"), *places_of = attr_text(m, n, "coordinate_transformation_mode", "half_pixel");
    const char *nearest = attr_text(m, n, "nearest_mode", "round_prefer_floor");
    int64_t factor[2] = {1, 1};
    if (x->rank != 3 && x->rank != 4) return refuse(m, n, "its input has %d axes", x->rank);
    if (!scales || !scales->data || scales->count != x->rank)
        return refuse(m, n, "only scales known beforehand, one for each axis, are covered");
    bool linear_mode = strcmp(mode, "linear") == 0, is_nearest = strcmp(mode, "nearest") == 0;
    bool right = is_nearest ? (strcmp(places_of, "asymmetric") == 0 && strcmp(nearest, "floor") == 0) ||
                                  (strcmp(places_of, "half_pixel") == 0 && strncmp(nearest, "round", 5) == 0)
                            : linear_mode && (strcmp(places_of, "half_pixel") == 0 || strcmp(places_of, "pytorch_half_pixel") == 0);
    if (!right) return refuse(m, n, "mode %.20s with places %.30s and %.30s is not covered", mode, places_of, nearest);
    struct extent shape[RANK] = {x->shape[0], x->shape[1]};
    for (int32_t i = 0; i < x->rank; i++) {
        double scale = value_real(scales, i);
        if (!(scale >= 1 && scale <= 1024) || scale != floor(scale) || (i < 2 && scale != 1))
            return refuse(m, n, "a scale of %g along axis %d", scale, i);
        if (i < 2) continue;
        factor[i - 2] = (int64_t)scale;
        struct extent by = extent_of(factor[i - 2]);
        shape[i] = extent_times(&m->store, &x->shape[i], &by);
    }
    struct made *made = make_node(m, n, "upsample");
    make_in(m, made, NULL, x);
    with_ints(m, made, "factor", factor, x->rank - 2, -1);
    if (linear_mode) make_with(m, made, "mode: linear");
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    return true;
}

const struct map map_product[] = {
    {"MatMul", map_matmul, NULL, 2},
    {"Gemm", map_gemm, NULL, 2},
    {"Einsum", map_einsum, NULL, 1},
    {"Conv", map_conv, NULL, 2},
    {"ConvTranspose", map_conv_transpose, NULL, 2},
    {"MaxPool", map_pool, NULL, 1},
    {"AveragePool", map_pool, NULL, 1},
    {"GlobalAveragePool", map_global_pool, "mean", 1},
    {"GlobalMaxPool", map_global_pool, "amax", 1},
    {"Resize", map_resize, NULL, 1},
    {NULL, NULL, NULL, 0},
};
