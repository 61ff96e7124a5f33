/* SPDX-License-Identifier: Apache-2.0 */
/* einsum on CUDA: the walk of einsum_walk.h, pairs by the host's product where few calls do it, else by sums of ours. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "common/extent.h"
#include "product/einsum_walk.h"
#include "product/kernels_cuda.h"
#include "product/strided_cuda.h"

static const int64_t EINSUM_CALLS = 4; /* products of the host's for one pair */

static int32_t axes_of(const struct contraction *con, letters set, const struct view *a, const struct view *b, const struct view *c,
                       strided_axis *axes) {
    int32_t count = 0;
    for (uint32_t i = 0; i < con->plan->letters; i++)
        if (letter_in(set, i))
            axes[count++] = {con->extent[i],       a->stride[i],         b->stride[i],        c->stride[i],
                             letter_in(a->set, i), letter_in(b->set, i), letter_in(c->set, i)};
    return count;
}

static int loops(const struct contraction *con, letters live, const struct view *a, const struct view *b, const struct view *c) {
    strided_axis axes[EINSUM_LETTERS];
    const int32_t count = axes_of(con, live, a, b, c, axes);
    return cuda_strided_sum(con->call, con->dtype, axes, count, a->data, b->data, c->data, false, con->call->workspace);
}

static int zero(const struct contraction *con, void *data, int64_t count) {
    return cuda_status(con->call, static_cast<int>(cudaMemsetAsync(data, 0, static_cast<size_t>(count * shape_type_bytes(con->dtype)),
                                                                   cuda_stream(con->call))));
}

static int add(const struct contraction *con, const struct flow_tensor *tensor, bool adds, const struct view *to, const struct view *from) {
    strided_axis axes[EINSUM_LETTERS];
    struct view one;
    view_one(&one);
    const int status = cuda_zero(con->call, tensor, adds);
    if (status < 0 || set_count(con, to->set) == 0) return status;
    const int32_t count = axes_of(con, to->set, from, &one, to, axes);
    return cuda_strided_sum(con->call, con->dtype, axes, count, from->data, nullptr, to->data, true, con->call->workspace);
}

static struct contraction contraction_of(const struct flow_call *call, const void *plan, int32_t dtype) {
    struct contraction con;
    memset(&con, 0, sizeof con);
    con.call = call, con.plan = static_cast<const struct einsum_plan *>(plan), con.dtype = dtype;
    con.products = EINSUM_CALLS, con.loops = loops, con.zero = zero, con.add = add;
    con.used = STRIDED_SCRATCH; /* at the workspace's start */
    return con;
}

int cuda_einsum_plan(struct flow_infer *infer) {
    const int32_t dtype = extent_wide(infer->out[0].dtype);
    struct contraction con = contraction_of(nullptr, infer->priv, dtype);
    int status = walk_forward(&con, infer->in, &infer->out[0]);
    infer->workspace = con.used, infer->workspace_backward = 0;
    for (uint32_t i = 0; infer->differentiated && i < infer->in_count && status >= 0; i++) {
        con = contraction_of(nullptr, infer->priv, dtype);
        status = walk_gradient(&con, i, infer->in, &infer->out[0], &infer->in[i], true);
        if (con.used > infer->workspace_backward) infer->workspace_backward = con.used;
    }
    if (status >= 0) return FLOW_OK;
    return infer->host->fail(infer->owner, FLOW_ERROR_SHAPE, "the products on the way to the result are too large");
}

int cuda_einsum_forward(const struct flow_call *call) {
    struct contraction con = contraction_of(call, call->priv, call->out[0].dtype);
    return walk_forward(&con, call->in, call->out);
}

int cuda_einsum_backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0];
    int status = FLOW_OK;
    if (!shape_exists(dy)) return cuda_zero_all(call);
    for (uint32_t i = 0; i < call->in_count && status >= 0; i++) {
        if (!shape_exists(&call->grad_in[i])) continue;
        struct contraction con = contraction_of(call, call->priv, dy->dtype);
        status = walk_gradient(&con, i, call->in, dy, &call->grad_in[i], FLOW_ACCUMULATES(call->accumulate_in, i) != 0);
    }
    return status;
}
