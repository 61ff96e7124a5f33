/* SPDX-License-Identifier: Apache-2.0 */
/* The index family's kernels for CUDA. */
#ifndef OPS_INDEX_KERNELS_CUDA_H
#define OPS_INDEX_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_gather_forward(const struct flow_call *call);
int cuda_gather_backward(const struct flow_call *call);
int cuda_gather_plan(struct flow_infer *infer);
int cuda_embedding_forward(const struct flow_call *call);
int cuda_embedding_backward(const struct flow_call *call);
int cuda_embedding_plan(struct flow_infer *infer);
int cuda_scatter_add_forward(const struct flow_call *call);
int cuda_scatter_add_backward(const struct flow_call *call);
int cuda_scatter_add_plan(struct flow_infer *infer);
int cuda_take_along_forward(const struct flow_call *call);
int cuda_take_along_backward(const struct flow_call *call);
bool cuda_take_along_supports(const struct flow_infer *infer);
int cuda_one_hot_forward(const struct flow_call *call);
int cuda_tril_mask_forward(const struct flow_call *call);
int cuda_tril_mask_backward(const struct flow_call *call);
int cuda_argmax_forward(const struct flow_call *call);
int cuda_argmin_forward(const struct flow_call *call);
int cuda_topk_forward(const struct flow_call *call);
int cuda_topk_backward(const struct flow_call *call);
int cuda_topk_plan(struct flow_infer *infer);
int cuda_argsort_forward(const struct flow_call *call);
int cuda_argsort_plan(struct flow_infer *infer);
int cuda_cumsum_forward(const struct flow_call *call);
int cuda_cumsum_backward(const struct flow_call *call);
int cuda_cumsum_plan(struct flow_infer *infer);

#ifdef __cplusplus
}
#endif

#define CUDA_INDEX_NUMBERS (FLOW_TYPES_REAL | FLOW_TYPES_INTEGER)

/* clang-format off */
#define CUDA_KERNELS_INDEX \
    {.op = "gather", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_gather_forward, \
     .backward = cuda_gather_backward, .plan = cuda_gather_plan}, \
    {.op = "embedding", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_FLOAT, .forward = cuda_embedding_forward, \
     .backward = cuda_embedding_backward, .plan = cuda_embedding_plan}, \
    {.op = "scatter_add", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_scatter_add_forward, \
     .backward = cuda_scatter_add_backward, .plan = cuda_scatter_add_plan}, \
    {.op = "take_along", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .supports = cuda_take_along_supports, \
     .forward = cuda_take_along_forward, .backward = cuda_take_along_backward}, \
    {.op = "one_hot", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_REAL, .forward = cuda_one_hot_forward}, \
    {.op = "tril_mask", .device = FLOW_DEVICE_CUDA, .types = FLOW_TYPES_ANY, .forward = cuda_tril_mask_forward, \
     .backward = cuda_tril_mask_backward}, \
    {.op = "argmax", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_argmax_forward}, \
    {.op = "argmin", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_argmin_forward}, \
    {.op = "topk", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_topk_forward, \
     .backward = cuda_topk_backward, .plan = cuda_topk_plan}, \
    {.op = "argsort", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_argsort_forward, \
     .plan = cuda_argsort_plan}, \
    {.op = "cumsum", .device = FLOW_DEVICE_CUDA, .types = CUDA_INDEX_NUMBERS, .forward = cuda_cumsum_forward, \
     .backward = cuda_cumsum_backward, .plan = cuda_cumsum_plan},
/* clang-format on */

#endif
