/* SPDX-License-Identifier: Apache-2.0 */
#include "elementwise/chain.h"

#include "common/adjoint.h"

#include <string.h>

enum { BLOCK = 256 };

/* Block by block: the inputs, what the first k + 1 of them give, and their gradients, each [inputs, BLOCK]; then the sums of those that
 * were broadcast, in f64. */
struct chain {
    double *x, *before, *grad, *sums;
};

static struct chain chain_of(void *workspace, uint32_t inputs) {
    double *at = workspace;
    int64_t rows = (int64_t)inputs * BLOCK;
    return (struct chain){at, at + rows, at + 2 * rows, at + 3 * rows};
}

int64_t chain_workspace(const struct flow_tensor *in, uint32_t inputs, const struct flow_tensor *y) {
    int64_t count = 3 * (int64_t)inputs * BLOCK;
    for (uint32_t k = 0; k < inputs; k++)
        if (shape_count(&in[k]) != shape_count(y)) count += shape_count(&in[k]);
    return count * (int64_t)sizeof(double);
}

/* Where elements [begin, begin + n) of y, row-major, lie in a tensor that broadcasts to it. */
static void offsets(const struct flow_tensor *y, const struct flow_tensor *t, int64_t begin, int64_t n, int64_t *at) {
    int64_t index[FLOW_RANK_MAX], stride[FLOW_RANK_MAX], offset = 0;
    for (int64_t rest = begin, axis = y->rank - 1; axis >= 0; axis--) {
        int64_t own = axis - (y->rank - t->rank);
        index[axis] = rest % y->shape[axis], rest /= y->shape[axis];
        stride[axis] = own >= 0 && t->shape[own] != 1 ? t->strides[own] : 0;
        offset += index[axis] * stride[axis];
    }
    for (int64_t i = 0; i < n; i++) {
        at[i] = offset;
        for (int32_t axis = y->rank - 1; axis >= 0; axis--) {
            offset += stride[axis];
            if (++index[axis] < y->shape[axis]) break;
            offset -= stride[axis] * index[axis], index[axis] = 0;
        }
    }
}

static double read_one(const struct flow_tensor *t, int64_t at) {
    return t->dtype == FLOW_F64 ? ((const double *)t->data)[at] : (double)((const float *)t->data)[at];
}

static void write_one(const struct flow_tensor *t, int64_t at, double v, bool add) {
    if (t->dtype == FLOW_F64) ((double *)t->data)[at] = add ? ((double *)t->data)[at] + v : v;
    else ((float *)t->data)[at] = add ? ((float *)t->data)[at] + (float)v : (float)v;
}

/* The share of a pair's first (second: of q, p). */
static double share(int32_t op, double g, double p, double q) {
    if (op == BINARY_MUL) return g * q;
    if (p == q) return 0.5 * g;
    return (op == BINARY_MINIMUM ? p < q : p > q) ? g : 0;
}

static double both(int32_t op, double p, double q) {
    if (op == BINARY_MUL) return p * q;
    return p != p || (op == BINARY_MINIMUM ? p < q : p > q) ? p : q;
}

/* The gradients of a block, from the last input to the first. */
static void block_back(const struct flow_call *call, const struct chain *c, int32_t op, uint32_t inputs, int64_t begin, int64_t n) {
    int64_t at[BLOCK];
    const struct flow_tensor *y = &call->grad_out[0];
    double g[BLOCK];
    for (uint32_t k = 0; k < inputs; k++) {
        double *x = c->x + k * BLOCK, *before = c->before + k * BLOCK;
        offsets(y, &call->in[k], begin, n, at);
        for (int64_t i = 0; i < n; i++) x[i] = read_one(&call->in[k], at[i]);
        for (int64_t i = 0; i < n; i++) before[i] = k == 0 ? x[i] : both(op, before[i - BLOCK], x[i]);
    }
    for (int64_t i = 0; i < n; i++) g[i] = read_one(y, begin + i);
    for (uint32_t k = inputs - 1; k > 0; k--) {
        const double *x = c->x + k * BLOCK, *before = c->before + (k - 1) * BLOCK;
        double *grad = c->grad + k * BLOCK;
        for (int64_t i = 0; i < n; i++) grad[i] = share(op, g[i], x[i], before[i]), g[i] = share(op, g[i], before[i], x[i]);
    }
    memcpy(c->grad, g, (size_t)n * sizeof *g);
}

int chain_backward(const struct flow_call *call, int32_t op, uint32_t inputs) {
    const struct flow_tensor *y = &call->grad_out[0];
    struct chain c = chain_of(call->workspace, inputs);
    int64_t count = y->rank < 0 ? 0 : shape_count(y), room = 0;
    for (uint32_t k = 0; k < inputs; k++) {
        if (y->rank < 0) adjoint_zero(call, &call->grad_in[k], FLOW_ACCUMULATES(call->accumulate_in, k));
        else if (shape_count(&call->in[k]) != count) room += shape_count(&call->in[k]);
    }
    if (y->rank < 0) return FLOW_OK;
    memset(c.sums, 0, (size_t)room * sizeof(double));
    for (int64_t begin = 0; begin < count; begin += BLOCK) {
        int64_t n = count - begin < BLOCK ? count - begin : BLOCK, at[BLOCK];
        double *sums = c.sums;
        block_back(call, &c, op, inputs, begin, n);
        for (uint32_t k = 0; k < inputs; k++) {
            const struct flow_tensor *to = &call->grad_in[k];
            const double *grad = c.grad + k * BLOCK;
            bool summed = shape_count(&call->in[k]) != count, add = FLOW_ACCUMULATES(call->accumulate_in, k);
            if (to->rank >= 0 && summed) {
                offsets(y, to, begin, n, at);
                for (int64_t i = 0; i < n; i++) sums[at[i]] += grad[i];
            } else if (to->rank >= 0) {
                for (int64_t i = 0; i < n; i++) write_one(to, begin + i, grad[i], add);
            }
            if (summed) sums += shape_count(&call->in[k]);
        }
    }
    const double *sums = c.sums;
    for (uint32_t k = 0; k < inputs; k++) {
        const struct flow_tensor *to = &call->grad_in[k];
        int64_t own = shape_count(&call->in[k]);
        if (own == count) continue;
        for (int64_t i = 0; to->rank >= 0 && i < own; i++) write_one(to, i, sums[i], FLOW_ACCUMULATES(call->accumulate_in, k));
        sums += own;
    }
    return FLOW_OK;
}
