/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cuda.h"

#include "cuda/kernels.h"

/* ---- Right ones ---- */

static __device__ float warp_sum(float x) {
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(CUDA_WHOLE_WARP, x, d);
    return x;
}

static __global__ void reduce(float *out) {
    CUDA_SHARED(float, part, 8);
    const float sum = warp_sum(static_cast<float>(threadIdx.x));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        float all = 0;
        for (int i = 0; i < 8; i++) all += part[i];
        out[0] = all, out[1] = 1;
    }
}

/* 32 x 32 through shared memory, in steps with a barrier in the loop. */
static __global__ void transpose(float *out) {
    CUDA_DYNAMIC_SHARED(float, tile, 32 * 33);
    for (unsigned step = 0; step < 3; step++) {
        for (unsigned i = threadIdx.y; i < 32; i += blockDim.y)
            tile[i * 33 + threadIdx.x] = static_cast<float>(i * 32 + threadIdx.x + step);
        __syncthreads();
        for (unsigned i = threadIdx.y; i < 32; i += blockDim.y) out[i * 32 + threadIdx.x] = tile[threadIdx.x * 33 + i];
        __syncthreads();
    }
}

/* Lanes of one warp hand values on, ordered by __syncwarp alone. */
static __global__ void within_warp(float *out) {
    CUDA_SHARED(float, line, 64);
    const unsigned warp = threadIdx.x / 32 * 32, lane = threadIdx.x % 32;
    line[warp + lane] = static_cast<float>(lane);
    __syncwarp();
    const float next = line[warp + (lane + 1) % 32];
    __syncwarp();
    line[warp + lane] = next;
    __syncwarp();
    if (threadIdx.x < 2) out[threadIdx.x] = line[warp + (lane + 1) % 32];
}

static __global__ void votes(float *out) {
    const unsigned lane = threadIdx.x % 32, even = __ballot_sync(CUDA_WHOLE_WARP, lane % 2 == 0);
    const unsigned same = __match_any_sync(CUDA_WHOLE_WARP, static_cast<int>(lane / 4));
    const int counted = __syncthreads_count(threadIdx.x % 3 == 0), any = __syncthreads_or(threadIdx.x == 5),
              all = __syncthreads_and(threadIdx.x != 5);
    if (lane % 2 == 0) { /* half a warp meets */
        const int up = __shfl_up_sync(0x55555555u, static_cast<int>(lane), 2);
        if (lane >= 2 && up != static_cast<int>(lane) - 2) out[1] = -1;
    }
    const int total = static_cast<int>(__reduce_add_sync(CUDA_WHOLE_WARP, lane));
    if (threadIdx.x == 6) {
        out[0] = even == 0x55555555u && same == 0xF0u && total == 496 ? 1.0f : 0.0f;
        out[1] = static_cast<float>(counted * 100 + any * 10 + all);
    }
}

/* Integers in shared and global memory, added by many. */
static __global__ void histogram(float *out, unsigned *bins) {
    CUDA_SHARED(unsigned, local, 16);
    if (threadIdx.x < 16) local[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&local[threadIdx.x % 16], 1u);
    atomicMax(local + 3, 7u);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(bins + threadIdx.x, static_cast<unsigned>(local[threadIdx.x]));
    (void)out;
}
static __global__ void as_floats(float *out, const unsigned *bins) {
    if (threadIdx.x < 16) out[threadIdx.x] = static_cast<float>(bins[threadIdx.x]);
}

/* The last warp has 8 lanes; whole warps leave early. */
static __global__ void partial(float *out) {
    if (threadIdx.x >= 64) {
        const int sum = static_cast<int>(__popc(__ballot_sync(CUDA_WHOLE_WARP, 1)));
        if (threadIdx.x == 64) out[0] = static_cast<float>(sum);
        return;
    }
    if (threadIdx.x < 32) return;
    const float below = __shfl_down_sync(CUDA_WHOLE_WARP, static_cast<float>(threadIdx.x), 1);
    if (threadIdx.x == 40) out[1] = below;
}

struct pair {
    float low, high;
};
static __global__ void structures(float *out) {
    CUDA_DYNAMIC_SHARED(float, bytes, 512);
    const CUDA_SHARED_AT(float4) quads = CUDA_SHARED_AS(float4, bytes);
    const CUDA_SHARED_AT(pair) pairs = CUDA_SHARED_AS(pair, bytes + 256);
    if (threadIdx.x < 64) quads[threadIdx.x] = make_float4(static_cast<float>(threadIdx.x), 1, 2, 3);
    pairs[threadIdx.x] = pair{static_cast<float>(threadIdx.x), 5};
    __syncthreads();
    if (threadIdx.x == 0) out[0] = quads[7].x + quads[7].w, out[1] = pairs[100].low + pairs[1].high;
}

/* ---- Faulty ones ---- */

static __global__ void leaves(float *out) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    out[0] = 1;
}
static __global__ void leaves_late(float *out) {
    __syncthreads();
    if (threadIdx.x < 63) __syncthreads();
    out[0] = 1;
}
static __global__ void divergent(float *out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        out[0] = 1;
        __syncthreads();
    }
}
static __global__ void never(float *out) {
    if (threadIdx.x < 32) __syncthreads();
    else (void)__shfl_sync(CUDA_WHOLE_WARP, 1.0f, 0);
    if (threadIdx.x >= 32) __syncthreads();
    out[0] = 1;
}
static __global__ void missing_barrier(float *out) {
    CUDA_SHARED(float, part, 64);
    part[threadIdx.x] = static_cast<float>(threadIdx.x);
    out[threadIdx.x] = part[63 - threadIdx.x];
}
/* The next step's writes overtake this step's reads: the barrier at the loop's end is missing. */
static __global__ void missing_second_barrier(float *out) {
    CUDA_SHARED(float, part, 64);
    for (int step = 0; step < 2; step++) {
        part[threadIdx.x] = static_cast<float>(step);
        __syncthreads();
        out[threadIdx.x] = part[(threadIdx.x + 32) % 64];
    }
}
static __global__ void missing_warp_sync(float *out) {
    CUDA_SHARED(float, line, 32);
    line[threadIdx.x] = 1;
    out[threadIdx.x] = line[(threadIdx.x + 1) % 32];
}
/* __syncwarp orders lanes of one warp, not two warps. */
static __global__ void warp_sync_between_warps(float *out) {
    CUDA_SHARED(float, line, 64);
    line[threadIdx.x] = 1;
    __syncwarp();
    out[threadIdx.x] = line[(threadIdx.x + 32) % 64];
}
static __global__ void atomic_and_plain(float *out) {
    CUDA_SHARED(int, sum, 1);
    if (threadIdx.x == 0) sum[0] = 0;
    atomicAdd(&sum[0], 1);
    out[0] = 1;
}
static __global__ void above(float *out) {
    CUDA_SHARED(float, part, 64);
    part[threadIdx.x + 1] = out[0];
}
static __global__ void below(float *out) {
    CUDA_DYNAMIC_SHARED(float, part, 64);
    out[0] = part[static_cast<int>(threadIdx.x) - 1];
}
static __global__ void too_much(float *out) {
    CUDA_DYNAMIC_SHARED(float, part, 65);
    part[0] = out[0];
}
static __global__ void lane_missing(float *out) {
    if (threadIdx.x != 7) out[0] = __shfl_xor_sync(CUDA_WHOLE_WARP, 1.0f, 1);
}
static __global__ void lane_ended(float *out) {
    if (threadIdx.x == 7) return;
    out[0] = __shfl_xor_sync(CUDA_WHOLE_WARP, 1.0f, 1);
}
static __global__ void not_named(float *out) { out[0] = __shfl_sync(0x0000FFFFu, 1.0f, 0); }
static __global__ void two_kinds(float *out) {
    if (threadIdx.x < 16) out[0] = __shfl_sync(CUDA_WHOLE_WARP, 1.0f, 0);
    else out[0] = static_cast<float>(__any_sync(CUDA_WHOLE_WARP, 1));
}
static __global__ void masks_overlap(float *out) { out[0] = __shfl_sync(threadIdx.x < 16 ? 0x0001FFFFu : 0xFFFF0000u, 1.0f, 16); }

static __global__ void unwritten(float *out) {
    CUDA_SHARED(float, fixed, 4);
    CUDA_DYNAMIC_SHARED(float, given, 4);
    out[0] = fixed[1], out[1] = given[2];
    fixed[1] = given[2] = 1;
}

#define LAUNCH(name, block, shared) \
    static int launch_##name(float *out, cudaStream_t stream) { return CUDA_LAUNCH(name, 2, block, shared, stream, out); }
LAUNCH(reduce, 256, 0)
LAUNCH(transpose, dim3(32, 8), 32 * 33 * 4)
LAUNCH(within_warp, 64, 0)
LAUNCH(votes, 96, 0)
LAUNCH(partial, 72, 0)
LAUNCH(structures, 128, 2048)
LAUNCH(leaves, 64, 0)
LAUNCH(leaves_late, 64, 0)
LAUNCH(divergent, 64, 0)
LAUNCH(never, 64, 0)
LAUNCH(missing_barrier, 64, 0)
LAUNCH(missing_second_barrier, 64, 0)
LAUNCH(missing_warp_sync, 32, 0)
LAUNCH(warp_sync_between_warps, 64, 0)
LAUNCH(atomic_and_plain, 64, 0)
LAUNCH(above, 64, 0)
LAUNCH(below, 64, 256)
LAUNCH(too_much, 64, 256)
LAUNCH(lane_missing, 64, 0)
LAUNCH(lane_ended, 64, 0)
LAUNCH(not_named, 64, 0)
LAUNCH(two_kinds, 64, 0)
LAUNCH(masks_overlap, 32, 0)
#undef LAUNCH

static int launch_histogram(float *out, cudaStream_t stream) {
    unsigned *bins = reinterpret_cast<unsigned *>(out + 1024);
    (void)cudaMemsetAsync(bins, 0, 64, stream);
    const int error = CUDA_LAUNCH(histogram, 2, 160, 0, stream, out, bins);
    return error ? error : CUDA_LAUNCH(as_floats, 1, 32, 0, stream, out, bins);
}

const struct kernel_case kernel_cases[] = {
    {"reduce", launch_reduce, nullptr, false, 32640, 1},
    {"transpose", launch_transpose, nullptr, false, 2, 34},
    {"within_warp", launch_within_warp, nullptr, false, 2, 3},
    {"votes", launch_votes, nullptr, false, 1, 3210},
    {"histogram", launch_histogram, nullptr, false, 20, 20},
    {"partial", launch_partial, nullptr, false, 8, 41},
    {"structures", launch_structures, nullptr, false, 10, 105},
    {"leaves", launch_leaves, "ended while 3 threads wait at the barrier of kernels.cu", false, 0, 0},
    {"leaves_late", launch_leaves_late, "waits at the barrier of kernels.cu", false, 0, 0},
    {"divergent", launch_divergent, "while 32 threads wait at that of kernels.cu", false, 0, 0},
    {"never", launch_never, "while 32 threads wait at that of kernels.cu", false, 0, 0},
    {"missing_barrier", launch_missing_barrier, "a race: writes part[32], which thread 31 reads", true, 0, 0},
    {"missing_second_barrier", launch_missing_second_barrier, "a race: ", true, 0, 0},
    {"missing_warp_sync", launch_missing_warp_sync, "a race: ", true, 0, 0},
    {"warp_sync_between_warps", launch_warp_sync_between_warps, "a race: ", true, 0, 0},
    {"atomic_and_plain", launch_atomic_and_plain, "a race: changes sum[0], which thread 0", true, 0, 0},
    {"above", launch_above, "part[64] is outside its 64 elements", false, 0, 0},
    {"below", launch_below, "part[-1] is outside its 64 elements", false, 0, 0},
    {"too_much", launch_too_much, "part has 260 bytes of dynamic shared memory, the launch gives 256", false, 0, 0},
    {"lane_missing", launch_lane_missing, "__shfl_xor_sync", false, 0, 0},
    {"lane_ended", launch_lane_ended, "waits for lane 7, which has ended", false, 0, 0},
    {"not_named", launch_not_named, "not its own (16)", false, 0, 0},
    {"two_kinds", launch_two_kinds, "thread 16 waits in __any_sync (lanes FFFFFFFF)", false, 0, 0},
    {"masks_overlap", launch_masks_overlap, "waits in __shfl_sync (lanes 0001FFFF)", false, 0, 0},
};
const int kernel_case_count = static_cast<int>(sizeof kernel_cases / sizeof kernel_cases[0]);

int kernel_unwritten(float *out, cudaStream_t stream) { return CUDA_LAUNCH(unwritten, 2, 1, 16, stream, out); }

/* ---- For streams ---- */

static __global__ void add(const float *x, float *y, int count, float more) { CUDA_EACH(i, count) y[i] = x[i] + more; }
static __global__ void append(const float *x, float *y, int count) { CUDA_EACH(i, count) y[i] = 10 * y[i] + x[i]; }
static __global__ void note_order(int *order, int *counter) {
    if (threadIdx.x == 0) order[blockIdx.x] = atomicAdd(counter, 1);
}
static __global__ void shaped(int unused) { (void)unused; }

int kernel_add(const float *x, float *y, int count, float more, cudaStream_t stream) {
    return CUDA_LAUNCH(add, cuda_blocks(count, 64), 64, 0, stream, x, y, count, more);
}
int kernel_append(const float *x, float *y, int count, cudaStream_t stream) {
    return CUDA_LAUNCH(append, cuda_blocks(count, 64), 64, 0, stream, x, y, count);
}
int kernel_order(int *order, int *counter, int blocks, cudaStream_t stream) {
    return CUDA_LAUNCH(note_order, static_cast<unsigned>(blocks), 32, 0, stream, order, counter);
}
int kernel_shaped(unsigned grid, unsigned block, unsigned shared, cudaStream_t stream) {
    return CUDA_LAUNCH(shaped, grid, block, shared, stream, 0);
}
void kernel_allow_shared(int bytes) { (void)cudaFuncSetAttribute(shaped, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes); }
