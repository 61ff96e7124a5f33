/* SPDX-License-Identifier: Apache-2.0 */
/* Values that come from shapes, attributes and counters: shape_of, constant, arange, random_uniform, random_normal. */
#include "common/cuda.h"

#include "common/cuda_half.h"
#include "common/cuda_map.h"

#include "shape/kernels_cuda.h"
#include "shape/shape.h"

#include <flow/random.h>

#include <math.h>

/* ---- shape_of, arange ---------------------------------------------------------------------------------------------- */

struct extents {
    int64_t at[FLOW_RANK_MAX];
};

static __global__ void shape_of_kernel(struct extents shape, int32_t rank, int64_t *y) { CUDA_EACH(i, rank) y[i] = shape.at[i]; }

int cuda_shape_of_forward(const struct flow_call *call) {
    const struct flow_tensor *x = &call->in[0];
    struct extents shape = {};
    for (int32_t i = 0; i < x->rank; i++) shape.at[i] = x->shape[i];
    if (x->rank == 0) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((shape_of_kernel), 1, CUDA_WARP, 0, cuda_stream(call), shape, x->rank,
                                         static_cast<int64_t *>(call->out[0].data)));
}

/* before, after: NULL, or what has been counted. */
static __global__ void __launch_bounds__(256) arange_kernel(int64_t count, const int64_t *before, int64_t *after, int64_t *y) {
    const int64_t first = before != nullptr ? *before : 0;
    CUDA_EACH(i, count) y[i] = first + i;
    if (before != nullptr && blockIdx.x == 0 && threadIdx.x == 0) *after = first + count;
}

int cuda_arange_forward(const struct flow_call *call) {
    const bool counts = call->state_count > 0 && call->state_in[0].rank >= 0;
    const int64_t count = call->out[0].shape[0];
    if (count == 0 && !counts) return FLOW_OK;
    return cuda_status(call, CUDA_LAUNCH((arange_kernel), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), count,
                                         counts ? static_cast<const int64_t *>(call->state_in[0].data) : nullptr,
                                         counts ? static_cast<int64_t *>(call->state_out[0].data) : nullptr,
                                         static_cast<int64_t *>(call->out[0].data)));
}

/* ---- constant ------------------------------------------------------------------------------------------------------ */

/* Numbers travel in the kernel's arguments. */
enum { NUMBERS = 256, CONSTANT_MOST = 64 * NUMBERS };
struct numbers {
    double at[NUMBERS];
};

static __device__ inline void constant_put(int32_t dtype, void *to, int64_t i, double value) {
    switch (dtype) {
    case FLOW_F32: static_cast<float *>(to)[i] = static_cast<float>(value); break;
    case FLOW_F64: static_cast<double *>(to)[i] = value; break;
    case FLOW_F16: static_cast<cuda_f16 *>(to)[i] = cuda_float_cast<cuda_f16, double>::of(value); break;
    case FLOW_BF16: static_cast<cuda_bf16 *>(to)[i] = cuda_float_cast<cuda_bf16, double>::of(value); break;
    case FLOW_I32: static_cast<int32_t *>(to)[i] = static_cast<int32_t>(value); break;
    case FLOW_I64: static_cast<int64_t *>(to)[i] = static_cast<int64_t>(value); break;
    default: static_cast<uint8_t *>(to)[i] = static_cast<uint8_t>(value); break;
    }
}

static __global__ void __launch_bounds__(256) constant_kernel(struct numbers n, int32_t count, int64_t begin, int32_t dtype, void *y) {
    CUDA_EACH(i, count) constant_put(dtype, y, begin + i, n.at[i]);
}
static __global__ void __launch_bounds__(256) constant_fill_kernel(double value, int64_t count, int32_t dtype, void *y) {
    CUDA_EACH(i, count) constant_put(dtype, y, i, value);
}

int cuda_constant_forward(const struct flow_call *call) {
    const struct constant_attrs *a = static_cast<const struct constant_attrs *>(call->attrs);
    const struct flow_tensor *y = &call->out[0];
    const int64_t count = cuda_count(y);
    int error = 0;
    if (count == 0) return FLOW_OK;
    if (a->shape.given || count == 1)
        return cuda_status(call, CUDA_LAUNCH((constant_fill_kernel), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                             a->value.at[0], count, y->dtype, y->data));
    for (int64_t begin = 0; begin < count && error == 0; begin += NUMBERS) {
        const int32_t some = count - begin < NUMBERS ? static_cast<int32_t>(count - begin) : static_cast<int32_t>(NUMBERS);
        struct numbers n;
        for (int32_t i = 0; i < NUMBERS; i++) n.at[i] = i < some ? a->value.at[begin + i] : 0;
        error = CUDA_LAUNCH((constant_kernel), 1, CUDA_BLOCK, 0, cuda_stream(call), n, some, begin, y->dtype, y->data);
    }
    return cuda_status(call, error);
}

bool cuda_constant_supports(const struct flow_infer *infer) {
    const struct constant_attrs *a = static_cast<const struct constant_attrs *>(infer->attrs);
    return a->value.count <= CONSTANT_MOST;
}

/* ---- random_uniform, random_normal --------------------------------------------------------------------------------- */

struct draw {
    uint64_t key;
    struct cuda_run_number run;
    double first, second;
};

/* A thread draws a block of the counter's: four f32 or two f64, some 100 operations; every element is written once. */
static __global__ void __launch_bounds__(256) uniform_f32_kernel(struct draw d, int64_t count, float *y) {
    const uint64_t run = d.run.number();
    const float low = static_cast<float>(d.first), high = static_cast<float>(d.second), range = static_cast<float>(d.second - d.first);
    CUDA_EACH(block, (count + 3) / 4) {
        uint32_t word[4];
        flow_philox(d.key, run, static_cast<uint64_t>(block), word);
        for (int j = 0; j < 4 && 4 * block + j < count; j++) {
            const float u = __fadd_rn(low, __fmul_rn(range, flow_uniform_f32(word[j])));
            /* Rounding may reach the end that does not belong to the range. */
            y[4 * block + j] = d.second - d.first > 0 && u >= high ? nextafterf(high, -INFINITY) : u;
        }
    }
}
static __global__ void __launch_bounds__(256) uniform_f64_kernel(struct draw d, int64_t count, double *y) {
    const uint64_t run = d.run.number();
    CUDA_EACH(block, (count + 1) / 2) {
        uint32_t word[4];
        flow_philox(d.key, run, static_cast<uint64_t>(block), word);
        for (int j = 0; j < 2 && 2 * block + j < count; j++)
            y[2 * block + j] = d.first + (d.second - d.first) * flow_uniform_f64(word[2 * j], word[2 * j + 1]);
    }
}

/* Pairs by Box and Muller from two uniforms of 53 bits, the first in (0, 1]: some 300 operations in f64 a pair. */
template <typename T> static __global__ void __launch_bounds__(256) normal_kernel(struct draw d, int64_t count, T *y) {
    const uint64_t run = d.run.number();
    CUDA_EACH(block, (count + 1) / 2) {
        uint32_t word[4];
        flow_philox(d.key, run, static_cast<uint64_t>(block), word);
        const double radius = sqrt(-2 * log(1 - flow_uniform_f64(word[0], word[1])));
        const double angle = 2 * 3.14159265358979323846 * flow_uniform_f64(word[2], word[3]);
        y[2 * block] = static_cast<T>(d.first + d.second * (radius * cos(angle)));
        if (2 * block + 1 < count) y[2 * block + 1] = static_cast<T>(d.first + d.second * (radius * sin(angle)));
    }
}

static struct draw draw_of(const struct flow_call *call) {
    const struct random_attrs *a = static_cast<const struct random_attrs *>(call->attrs);
    const uint64_t key = a->seed == FLOW_INT_ABSENT ? call->seed : flow_key(static_cast<uint64_t>(a->seed), "random");
    return {key, cuda_run(call), a->first, a->second};
}

int cuda_random_uniform_forward(const struct flow_call *call) {
    const struct flow_tensor *y = &call->out[0];
    const int64_t count = cuda_count(y);
    if (count == 0) return FLOW_OK;
    if (y->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((uniform_f64_kernel), cuda_blocks((count + 1) / 2, CUDA_BLOCK), CUDA_BLOCK, 0,
                                             cuda_stream(call), draw_of(call), count, static_cast<double *>(y->data)));
    return cuda_status(call, CUDA_LAUNCH((uniform_f32_kernel), cuda_blocks((count + 3) / 4, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         draw_of(call), count, static_cast<float *>(y->data)));
}

int cuda_random_normal_forward(const struct flow_call *call) {
    const struct flow_tensor *y = &call->out[0];
    const int64_t count = cuda_count(y);
    if (count == 0) return FLOW_OK;
    const unsigned grid = cuda_blocks((count + 1) / 2, CUDA_BLOCK);
    if (y->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((normal_kernel<double>), grid, CUDA_BLOCK, 0, cuda_stream(call), draw_of(call), count,
                                             static_cast<double *>(y->data)));
    return cuda_status(call, CUDA_LAUNCH((normal_kernel<float>), grid, CUDA_BLOCK, 0, cuda_stream(call), draw_of(call), count,
                                         static_cast<float *>(y->data)));
}
