/* SPDX-License-Identifier: Apache-2.0 */
/* matmul on CUDA: the host's products; where several batch axes would make many small ones of it, one sum of ours. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "product/kernels_cuda.h"
#include "product/matmul.h"
#include "product/strided_cuda.h"

static const int64_t MATMUL_CALLS = 4; /* products that are made without thinking */

static int run(const struct flow_call *call, struct matmul_product *p) {
    matmul_simplify(p);
    int64_t calls = 1, longest = 1;
    for (int32_t i = 0; i < p->rank; i++) {
        calls *= p->extent[i];
        if (p->c.batch[i] != 0 && p->extent[i] > longest) longest = p->extent[i];
    }
    calls /= longest;
    const double work = static_cast<double>(p->m) * static_cast<double>(p->n) * static_cast<double>(p->k) * static_cast<double>(longest);
    if (calls <= MATMUL_CALLS || work >= 1 << 27 || p->m == 0 || p->n == 0 || p->k == 0) return matmul_run(call, p);
    strided_axis axes[3 + FLOW_RANK_MAX] = {
        {p->m, p->a.row, 0, p->c.row, true, false, true},
        {p->n, 0, p->b.col, 1, false, true, true},
        {p->k, p->a.col, p->b.row, 0, true, true, false},
    };
    for (int32_t i = 0; i < p->rank; i++)
        axes[3 + i] = {p->extent[i],       p->a.batch[i],      p->b.batch[i],     p->c.batch[i],
                       p->a.batch[i] != 0, p->b.batch[i] != 0, p->c.batch[i] != 0};
    return cuda_strided_sum(call, p->dtype, axes, 3 + p->rank, p->a.data, p->b.data, p->c.data, p->adds, call->workspace);
}

int cuda_matmul_plan(struct flow_infer *infer) {
    const bool batch = infer->out[0].rank > 2;
    infer->workspace = batch ? STRIDED_SCRATCH : 0;
    infer->workspace_backward = batch && infer->differentiated ? STRIDED_SCRATCH : 0;
    return FLOW_OK;
}

int cuda_matmul_forward(const struct flow_call *call) { return matmul_forward(call, run); }

int cuda_matmul_backward(const struct flow_call *call) {
    const struct flow_tensor *dy = &call->grad_out[0];
    return !shape_exists(dy) || shape_count(dy) == 0 ? cuda_zero_all(call) : matmul_gradients(call, run);
}
