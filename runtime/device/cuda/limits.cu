/* SPDX-License-Identifier: Apache-2.0 */
/* What the GPU gives at this moment, by events: multiply-adds in registers, reads of areas of growing size. */
#include "common/cuda.h"

#include "device/cuda/limits.h"

static const int THREADS = 256, ROUNDS = 4096, TRIES = 3;

/* 8 chains a thread, so that the latency of one is hidden by the others. */
static __global__ void multiply_add(float *kept, float x, int rounds) {
    float sum[8];
    for (int k = 0; k < 8; k++) sum[k] = static_cast<float>(threadIdx.x + static_cast<unsigned>(k));
    for (int r = 0; r < rounds; r++)
        for (int k = 0; k < 8; k++) sum[k] = sum[k] * x + 0.5f;
    float all = 0;
    for (int k = 0; k < 8; k++) all += sum[k];
    if (all == -1.0f) kept[0] = all; /* never: the loop is not left out */
}

static __global__ void read(float *kept, const float4 *area, int64_t count, int times) {
    float all = 0;
    for (int t = 0; t < times; t++) CUDA_EACH(i, count) {
            const float4 v = area[i];
            all += v.x + v.y + v.z + v.w;
        }
    if (all == -1.0f) kept[0] = all;
}

struct measured {
    cudaEvent_t begin, end;
    double best;
};

static int note(struct measured *m, double operations) {
    float milliseconds = 0;
    cudaError_t error = cudaEventSynchronize(m->end);
    if (error == cudaSuccess) error = cudaEventElapsedTime(&milliseconds, m->begin, m->end);
    if (error != cudaSuccess) return static_cast<int>(error);
    const double rate = milliseconds > 0 ? operations / (1e-3 * static_cast<double>(milliseconds)) : 0;
    if (rate > m->best) m->best = rate;
    return 0;
}

static int measure_flops(struct measured *m, float *area, unsigned blocks) {
    m->best = 0;
    for (int t = 0; t < TRIES; t++) {
        if (cudaEventRecord(m->begin, 0) != cudaSuccess) return -1;
        if (CUDA_LAUNCH(multiply_add, blocks, THREADS, 0, cudaStream_t(0), area, 1.0f, ROUNDS) != 0) return -1;
        if (cudaEventRecord(m->end, 0) != cudaSuccess) return -1;
        if (note(m, 16.0 * ROUNDS * static_cast<double>(blocks) * THREADS) != 0) return -1;
    }
    return 0;
}

static int measure_reads(struct measured *m, float *area, int64_t bytes, unsigned blocks) {
    const int times = bytes < (64 << 20) ? 20 : 4;
    m->best = 0;
    for (int t = 0; t < TRIES; t++) {
        if (cudaEventRecord(m->begin, 0) != cudaSuccess) return -1;
        const float4 *rows = reinterpret_cast<const float4 *>(area);
        if (CUDA_LAUNCH(read, blocks, THREADS, 0, cudaStream_t(0), area, rows, bytes / 16, times) != 0) return -1;
        if (cudaEventRecord(m->end, 0) != cudaSuccess) return -1;
        if (note(m, static_cast<double>(bytes) * times) != 0) return -1;
    }
    return 0;
}

int cuda_limits_measure(void *area, struct cuda_limits *out) {
    static const int64_t reach[CUDA_LEVELS] = {4 << 20, 16 << 20, 32 << 20, CUDA_LIMITS_AREA};
    struct measured m = {nullptr, nullptr, 0};
    cudaDeviceProp about;
    *out = {};
    int failed = cudaGetDeviceProperties(&about, 0) != cudaSuccess || cudaEventCreateWithFlags(&m.begin, cudaEventDefault) != cudaSuccess ||
                 cudaEventCreateWithFlags(&m.end, cudaEventDefault) != cudaSuccess || cudaMemset(area, 0, CUDA_LIMITS_AREA) != cudaSuccess;
    const unsigned blocks = failed ? 1 : static_cast<unsigned>(about.multiProcessorCount) * 8;
    if (!failed) failed = measure_flops(&m, static_cast<float *>(area), blocks);
    out->processors = failed ? 1 : about.multiProcessorCount;
    out->flops = m.best;
    for (int i = 0; i < CUDA_LEVELS && !failed; i++) {
        failed = measure_reads(&m, static_cast<float *>(area), reach[i], blocks);
        out->reach[i] = static_cast<double>(reach[i]), out->rate[i] = m.best;
    }
    if (m.begin) (void)cudaEventDestroy(m.begin);
    if (m.end) (void)cudaEventDestroy(m.end);
    return failed ? -1 : 0;
}
