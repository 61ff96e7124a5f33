/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of elementwise operators on CUDA: as back_run of backward.h. */
#ifndef OPS_ELEMENTWISE_BACK_H
#define OPS_ELEMENTWISE_BACK_H

#include "common/cuda_adjoint.h"

#include "elementwise/backward.h"
#include "elementwise/elementwise.h"

/* One or two functions of the arriving gradient and u, v. `v_value`: stands in for v where that is NULL. Wants cuda_fold_workspace of the
 * largest sum as workspace_backward. */
int cuda_back_run(const struct flow_call *call, const struct flow_tensor *u, const struct flow_tensor *v, double v_value,
                  const struct back *back, int32_t count, double k0, double k1);

/* Of all inputs (and parameters) that are broadcast to output 0: the workspace of their sums. [plan] */
static inline void cuda_back_room(struct flow_infer *infer, const struct flow_tensor *to) {
    const int64_t bytes = cuda_count(to) == cuda_count(&infer->out[0]) ? 0 : cuda_fold_workspace(&infer->out[0], to);
    if (bytes > infer->workspace_backward) infer->workspace_backward = bytes;
}

#endif
