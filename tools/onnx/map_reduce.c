/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/internal.h"

static bool axes_read(struct import *m, const struct node *n, int32_t rank, int64_t *axes, int64_t *count) {
    const int64_t *given;
    size_t many;
    *count = 0;
    if (n->in_count > 1 && n->in[1]) {
        if (!value_list(n->in[1], axes, RANK, count)) return refuse(m, n, "its axes are computed when the model runs");
    } else if (attr_ints(n, "axes", &given, &many)) {
        if (many > RANK) return refuse(m, n, "more than %d axes", RANK);
        for (*count = 0; *count < (int64_t)many; ++*count) axes[*count] = given[*count];
    }
    for (int64_t i = 0; i < *count; i++)
        if (!axis_of(m, n, axes[i], rank, &axes[i])) return false;
    return true;
}

static struct value *reduced(struct import *m, const struct node *n, const char *op, struct value *x, const int64_t *axes, int64_t count,
                             bool keep) {
    struct extent shape[RANK];
    int32_t rank = 0;
    uint32_t gone = 0;
    for (int64_t i = 0; i < count; i++) gone |= 1u << axes[i];
    if (count == 0) gone = (1u << x->rank) - 1;
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(gone >> i & 1)) shape[rank++] = x->shape[i];
        else if (keep) shape[rank++] = extent_of(1);
    }
    struct made *made = make_node(m, n, op);
    make_in(m, made, NULL, x);
    if (count) make_ints(m, made, "axes", (size_t)count, axes);
    if (keep) make_with(m, made, "keep: true");
    return make_out(m, made, NULL, x->dtype, rank, shape);
}

static bool map_reduce_axes(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axes[RANK], count;
    bool keep = attr_int(n, "keepdims", 1) != 0;
    if (!axes_read(m, n, x->rank, axes, &count)) return false;
    if (count == 0 && attr_int(n, "noop_with_empty_axes", 0)) return give(n, 0, x), true;
    if (strcmp(n->op, "ReduceSumSquare") == 0) x = make_same(m, n, "square", x);
    struct value *y = reduced(m, n, n->word, x, axes, count, keep);
    if (strcmp(n->op, "ReduceL1") == 0) make_with(m, y->from, "p: 1");
    if (strcmp(n->op, "ReduceLogSum") == 0) y = make_same(m, n, "log", y);
    give(n, 0, y);
    return true;
}

static bool map_arg(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axis;
    struct extent shape[RANK];
    if (!axis_of(m, n, attr_int(n, "axis", 0), x->rank, &axis)) return false;
    if (attr_int(n, "select_last_index", 0)) return refuse(m, n, "the last of equals is asked for; here it is the first");
    for (int32_t i = 0; i < x->rank - 1; i++) shape[i] = x->shape[i < axis ? i : i + 1];
    struct made *made = make_node(m, n, n->word);
    make_in(m, made, NULL, x);
    make_with(m, made, "axis: %lld", (long long)axis);
    struct value *y = make_out(m, made, NULL, FLOW_I64, x->rank - 1, shape);
    give(n, 0, attr_int(n, "keepdims", 1) ? make_unsqueeze(m, n, y, axis) : y);
    return true;
}

static bool map_cumsum(struct import *m, struct node *n) {
    double given;
    int64_t axis;
    if (!value_one(n->in[1], &given)) return refuse(m, n, "its axis is computed when the model runs");
    if (!axis_of(m, n, (int64_t)given, n->in[0]->rank, &axis)) return false;
    struct value *y = make_same(m, n, "cumsum", n->in[0]);
    make_with(m, y->from, "axis: %lld", (long long)axis);
    if (attr_int(n, "exclusive", 0)) make_with(m, y->from, "exclusive: true");
    if (attr_int(n, "reverse", 0)) make_with(m, y->from, "reverse: true");
    give(n, 0, y);
    return true;
}

static bool map_topk(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    int64_t axis, k, one;
    struct extent shape[RANK];
    if (!value_list(n->in[1], &k, 1, &one) || one != 1) return refuse(m, n, "how many is computed when the model runs");
    if (!axis_of(m, n, attr_int(n, "axis", -1), x->rank, &axis)) return false;
    for (int32_t i = 0; i < x->rank; i++) shape[i] = i == axis ? extent_of(k) : x->shape[i];
    struct made *made = make_node(m, n, "topk");
    make_in(m, made, NULL, x);
    make_with(m, made, "k: %lld, axis: %lld", (long long)k, (long long)axis);
    if (!attr_int(n, "largest", 1)) make_with(m, made, "largest: false");
    give(n, 0, make_out(m, made, NULL, x->dtype, x->rank, shape));
    give(n, 1, make_out(m, made, "indices", FLOW_I64, x->rank, shape));
    return true;
}

const struct map map_reduce[] = {
    {"ReduceMean", map_reduce_axes, "mean", 1},
    {"ReduceSum", map_reduce_axes, "sum", 1},
    {"ReduceMax", map_reduce_axes, "amax", 1},
    {"ReduceMin", map_reduce_axes, "amin", 1},
    {"ReduceProd", map_reduce_axes, "prod", 1},
    {"ReduceL1", map_reduce_axes, "norm", 1},
    {"ReduceL2", map_reduce_axes, "norm", 1},
    {"ReduceLogSumExp", map_reduce_axes, "logsumexp", 1},
    {"ReduceLogSum", map_reduce_axes, "sum", 1},
    {"ReduceSumSquare", map_reduce_axes, "sum", 1},
    {"ArgMax", map_arg, "argmax", 1},
    {"ArgMin", map_arg, "argmin", 1},
    {"CumSum", map_cumsum, NULL, 2},
    {"TopK", map_topk, NULL, 2},
    {NULL, NULL, NULL, 0},
};
