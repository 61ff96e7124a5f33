/* SPDX-License-Identifier: Apache-2.0 */
/* The operator softsign on CUDA: one kernel, and the launcher that softsign.c declares. Nothing here waits for the device. */
#include <stdint.h>

#include <cuda_runtime.h>

static __global__ void softsign(const float *x, float *y, int64_t count, float scale) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) y[i] = scale * x[i] / (1 + fabsf(x[i]));
}

/* f32. 0, or the CUDA error. */
extern "C" int softsign_launch(const void *x, void *y, int64_t count, double scale, void *stream) {
    if (count == 0) return 0;
    int64_t blocks = (count + 255) / 256;
    softsign<<<(unsigned)(blocks < 4096 ? blocks : 4096), 256, 0, (cudaStream_t)stream>>>((const float *)x, (float *)y, count, (float)scale);
    return (int)cudaGetLastError();
}
