/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers' steps on CUDA. */
#ifndef OPS_OPTIMIZER_KERNELS_CUDA_H
#define OPS_OPTIMIZER_KERNELS_CUDA_H

#include <flow/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

int cuda_sgd_step(const struct flow_update *update);
int cuda_adam_step(const struct flow_update *update);
int cuda_adamw_step(const struct flow_update *update);
int cuda_rmsprop_step(const struct flow_update *update);
int cuda_adagrad_step(const struct flow_update *update);
int cuda_none_step(const struct flow_update *update);
int cuda_average_step(const struct flow_update *update);
int cuda_assign_step(const struct flow_update *update);
int cuda_accumulate_step(const struct flow_update *update);
int64_t cuda_muon_workspace(const struct flow_update *update);
int cuda_muon_step(const struct flow_update *update);

#ifdef __cplusplus
}
#endif

#define CUDA_KERNELS_OPTIMIZER                                                                 \
    {.optimizer = "sgd", .device = FLOW_DEVICE_CUDA, .step = cuda_sgd_step},                   \
        {.optimizer = "adam", .device = FLOW_DEVICE_CUDA, .step = cuda_adam_step},             \
        {.optimizer = "adamw", .device = FLOW_DEVICE_CUDA, .step = cuda_adamw_step},           \
        {.optimizer = "rmsprop", .device = FLOW_DEVICE_CUDA, .step = cuda_rmsprop_step},       \
        {.optimizer = "adagrad", .device = FLOW_DEVICE_CUDA, .step = cuda_adagrad_step},       \
        {.optimizer = "none", .device = FLOW_DEVICE_CUDA, .step = cuda_none_step},             \
        {.optimizer = "average", .device = FLOW_DEVICE_CUDA, .step = cuda_average_step},       \
        {.optimizer = "assign", .device = FLOW_DEVICE_CUDA, .step = cuda_assign_step},         \
        {.optimizer = "accumulate", .device = FLOW_DEVICE_CUDA, .step = cuda_accumulate_step}, \
        {.optimizer = "muon", .device = FLOW_DEVICE_CUDA, .workspace = cuda_muon_workspace, .step = cuda_muon_step},

#endif
