/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/internal.h"

static bool weights_known(struct import *m, const struct node *n, size_t from, size_t to) {
    for (size_t i = from; i <= to; i++)
        if (i < n->in_count && n->in[i] && !n->in[i]->data) return refuse(m, n, "its input %zu is computed when the model runs", i);
    return true;
}

/* A weight under another shape of as many elements. */
static struct flow_tensor shaped(struct import *m, const struct value *v, int32_t rank, const int64_t *shape) {
    (void)m;
    return flow_tensor_of((void *)(uintptr_t)v->data, v->dtype, rank, shape);
}

static bool map_layer_norm(struct import *m, struct node *n) {
    struct value *x = n->in[0];
    const struct value *weight = n->in[1], *bias = n->in_count > 2 ? n->in[2] : NULL;
    int64_t axis, shape[RANK], count = 1;
    if (!axis_of(m, n, attr_int(n, "axis", -1), x->rank, &axis) || !weights_known(m, n, 1, 2)) return false;
    for (int32_t i = (int32_t)axis; i < x->rank; i++)
        if (!extent_number(&x->shape[i], &shape[i - axis]) || __builtin_mul_overflow(count, shape[i - axis], &count))
            return refuse(m, n, "the extents that it normalises are not known");
    if (weight->count != count || (bias && bias->count != count))
        return refuse(m, n, "its weights are not of the shape that it normalises");
    struct value *y = make_same(m, n, "layer_norm", x);
    int32_t axes = x->rank - (int32_t)axis;
    if (axes != 1) make_with(m, y->from, "axes: %d", axes);
    make_reals(m, y->from, "eps", attr_real(n, "epsilon", 1e-5));
    make_weight(m, y->from, "weight", shaped(m, weight, axes, shape));
    make_weight(m, y->from, "bias", bias ? shaped(m, bias, axes, shape) : tensor_zeros(m, x->dtype, axes, shape));
    give(n, 0, y);
    return true;
}

static bool channels_known(struct import *m, const struct node *n, int64_t *channels) {
    if (n->in[0]->rank < 2 || !extent_number(&n->in[0]->shape[1], channels))
        return refuse(m, n, "how many channels its input has is not known");
    return true;
}

static bool map_batch_norm(struct import *m, struct node *n) {
    static const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    int64_t channels;
    if (attr_int(n, "training_mode", 0)) return refuse(m, n, "it is in training mode");
    if (!weights_known(m, n, 1, 4) || !channels_known(m, n, &channels)) return false;
    struct value *y = make_same(m, n, "batch_norm", n->in[0]);
    make_reals(m, y->from, "eps", attr_real(n, "epsilon", 1e-5));
    for (int i = 0; i < 4; i++) {
        if (n->in[i + 1]->count != channels) return refuse(m, n, "its weights are not one for each of %lld channels", (long long)channels);
        make_weight(m, y->from, names[i], shaped(m, n->in[i + 1], 1, &channels));
    }
    give(n, 0, y);
    return true;
}

/* One number a group becomes one a channel, as opset 18 has it. */
static struct flow_tensor for_channels(struct import *m, const struct value *v, int64_t channels) {
    if (v->count == channels || v->count == 0) return shaped(m, v, 1, &channels);
    struct flow_tensor made = tensor_zeros(m, v->dtype, 1, &channels);
    for (int64_t i = 0; i < channels; i++) value_store(v->dtype, made.data, i, value_real(v, i / (channels / v->count)), 0);
    return made;
}

static bool map_group_norm(struct import *m, struct node *n) {
    bool instance = n->op[0] == 'I';
    int64_t channels, groups = attr_int(n, "num_groups", 1);
    if (!weights_known(m, n, 1, 2) || !channels_known(m, n, &channels)) return false;
    if (!instance && (groups < 1 || channels % groups != 0))
        return refuse(m, n, "%lld groups of %lld channels", (long long)groups, (long long)channels);
    struct value *y = make_same(m, n, n->word, n->in[0]);
    if (!instance) make_with(m, y->from, "groups: %lld", (long long)groups);
    make_reals(m, y->from, "eps", attr_real(n, "epsilon", 1e-5));
    for (int i = 1; i <= 2; i++) {
        if (n->in[i]->count != channels && (instance || n->in[i]->count != groups))
            return refuse(m, n, "its weights are not one for each channel");
        make_weight(m, y->from, i == 1 ? "weight" : "bias", for_channels(m, n->in[i], channels));
    }
    give(n, 0, y);
    return true;
}

static bool map_softmax(struct import *m, struct node *n) {
    int64_t axis;
    if (!axis_of(m, n, attr_int(n, "axis", -1), n->in[0]->rank, &axis)) return false;
    struct value *y = make_same(m, n, n->word, n->in[0]);
    if (axis != n->in[0]->rank - 1) make_with(m, y->from, "axis: %lld", (long long)axis);
    give(n, 0, y);
    return true;
}

static bool map_lp_norm(struct import *m, struct node *n) {
    int64_t axis;
    if (!axis_of(m, n, attr_int(n, "axis", -1), n->in[0]->rank, &axis)) return false;
    struct extent shape[RANK];
    struct value *x = n->in[0];
    for (int32_t i = 0; i < x->rank; i++) shape[i] = i == axis ? extent_of(1) : x->shape[i];
    struct made *made = make_node(m, n, "norm");
    make_in(m, made, NULL, x);
    make_with(m, made, "axes: [%lld], keep: true, p: %lld", (long long)axis, (long long)attr_int(n, "p", 2));
    give(n, 0, make_binary(m, n, "div", x, make_out(m, made, NULL, x->dtype, x->rank, shape), x->dtype));
    return true;
}

const struct map map_norm[] = {
    {"LayerNormalization", map_layer_norm, NULL, 2},
    {"BatchNormalization", map_batch_norm, NULL, 5},
    {"InstanceNormalization", map_group_norm, "instance_norm", 3},
    {"GroupNormalization", map_group_norm, "group_norm", 3},
    {"Softmax", map_softmax, "softmax", 1},
    {"LogSoftmax", map_softmax, "log_softmax", 1},
    {"LpNormalization", map_lp_norm, NULL, 1},
    {NULL, NULL, NULL, 0},
};
