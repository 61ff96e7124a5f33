/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What train/update.h does to the gradients of a group, for gradients in the device's memory. All is queued on `stream` (a cudaStream_t);
 * nothing waits. Results are 0 or a cudaError_t.
 *
 * As on the CPU: cuda_train_prepare, then the caller copies *sum to the host (those of several groups together), then
 * update_clip and the optimiser's step; with noise after clipping cuda_train_prepare once more.
 */
#ifndef FLOW_DEVICE_CUDA_TRAIN_H
#define FLOW_DEVICE_CUDA_TRAIN_H

#include "device/training.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the device's memory that a pass over these gradients needs, 64-byte aligned. */
int64_t cuda_train_workspace(uint32_t count, const struct flow_tensor *grad);

/* update_prepare: pass->workspace and *sum are the device's memory, pass->call is not read. pass->noise->key is the host's memory. */
int cuda_train_prepare(void *stream, const struct update_pass *pass, struct update_sum *sum);

/* The parts of it. Gradients of rank -1 are passed over. */
int cuda_train_centre(void *stream, uint32_t count, const struct flow_tensor *grad);
int cuda_train_scale(void *stream, uint32_t count, const struct flow_tensor *grad, double scale, void *workspace, struct update_sum *sum);
int cuda_train_noise(void *stream, uint32_t count, const struct flow_tensor *grad, double scale, const struct update_noise *noise,
                     void *workspace, struct update_sum *sum);

/* Micro-batches: sum[i] += grad[i], contiguous; passed over where either is of rank -1. */
int cuda_train_add(void *stream, uint32_t count, const struct flow_tensor *sum, const struct flow_tensor *grad);

#ifdef __cplusplus
}
#endif

#endif
