/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample on the device: a block draws for a row, from the number that the CPU draws from, so that a loop that generates never leaves the
 * device. Sums are in f64, in an order of their own: the class drawn is the CPU's unless the number lies within rounding (1e-13 of the
 * sum) of the border between two classes.
 *
 * Without top_k and top_p classes stand in their own order: each warp sums a stretch, and the one in which the border lies goes through
 * its own again. Else they stand in the order of probability, which is not made: where a sum over the most probable passes a limit is
 * searched for by the probability's bits, seven thresholds a pass, 21 passes over the row (from the second-level cache).
 */
#include "common/cuda.h"

#include "kernels_cuda.h"

#include "sample.h"

#include <flow/random.h>
#include <math.h>
#include <string.h>

static const int64_t ROWS_AT_ONCE = 264; /* blocks, each with memory for a row's probabilities */
static const int THRESHOLDS = 7, WARPS = 32;
static const uint64_t ONE = UINT64_C(0x3FF0000000000000); /* the bits of 1, the largest probability before it is normalised */

static __device__ inline uint64_t bits_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static __device__ inline double number_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Sums of N numbers over the block, the same in every thread. */
template <int N> static __device__ inline void block_sums(CUDA_SHARED_AT(double) scratch, double (&value)[N]) {
    const int warp = static_cast<int>(threadIdx.x) / CUDA_WARP, warps = static_cast<int>(blockDim.x) / CUDA_WARP;
#pragma unroll
    for (int j = 0; j < N; j++)
        for (int step = CUDA_WARP / 2; step; step /= 2) value[j] += __shfl_xor_sync(CUDA_WHOLE_WARP, value[j], step);
    __syncthreads();
    if (threadIdx.x % CUDA_WARP == 0)
#pragma unroll
        for (int j = 0; j < N; j++) scratch[j * WARPS + warp] = value[j];
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; j++) {
        value[j] = 0;
        for (int i = 0; i < warps; i++) value[j] += scratch[j * WARPS + i];
    }
}

/* The classes of a row that are at least as probable as `key`, in order of probability, and of those that are just so only the first
 * `ties`; they sum up to `sum`. */
struct kept {
    uint64_t key;
    double ties, sum;
};

/* What is beyond a key: number and sum of the classes above it, number of those at it. */
struct beyond {
    double count, sum, ties;
};

static __device__ struct beyond beyond_key(CUDA_SHARED_AT(double) scratch, const double *p, int64_t count, uint64_t key) {
    double found[3] = {0, 0, 0};
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        const uint64_t here = bits_of(p[i]);
        if (here > key) found[0] += 1, found[1] += p[i];
        if (here == key) found[2] += 1;
    }
    block_sums<3>(scratch, found);
    return {found[0], found[1], found[2]};
}

/* The largest key at which the classes that are at least so probable come to `limit` (`above`: to more): their number, or their sum. Keys
 * from `low` on; there they do. */
static __device__ uint64_t search(CUDA_SHARED_AT(double) scratch, const double *p, int64_t count, uint64_t low, double limit, bool above,
                                  bool number) {
    uint64_t high = ONE + 1;
    while (high - low > 1) {
        const uint64_t step = (high - low + THRESHOLDS) / (THRESHOLDS + 1);
        double sum[THRESHOLDS];
#pragma unroll
        for (int j = 0; j < THRESHOLDS; j++) sum[j] = 0;
        for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
            const uint64_t here = bits_of(p[i]);
            const double weight = number ? 1.0 : p[i];
#pragma unroll
            for (int j = 0; j < THRESHOLDS; j++)
                if (here >= low + static_cast<uint64_t>(j + 1) * step) sum[j] += weight;
        }
        block_sums<THRESHOLDS>(scratch, sum);
        uint64_t next_low = low, next_high = high;
#pragma unroll
        for (int j = 0; j < THRESHOLDS; j++) {
            const uint64_t threshold = low + static_cast<uint64_t>(j + 1) * step;
            if (threshold >= high) continue;
            if (above ? sum[j] > limit : sum[j] >= limit) next_low = threshold;
            else if (threshold < next_high) next_high = threshold;
        }
        low = next_low, high = next_high;
    }
    return low;
}

/* The least number of ties, 1 .. most, with which base comes to `limit` (`above`: to more), each of them adding p. */
static __device__ double ties_for(double base, double p, double limit, bool above, double most) {
    double ties = p > 0 ? ceil((limit - base) / p) : most;
    ties = ties < 1 ? 1 : ties > most ? most : ties;
    while (ties > 1 && (above ? base + (ties - 1) * p > limit : base + (ties - 1) * p >= limit)) ties--;
    while (ties < most && (above ? base + ties * p <= limit : base + ties * p < limit)) ties++;
    return ties;
}

/* The class that is number `which` (from 1) of those at `key`, in their order; -1: there are not so many. Tile by tile. */
static __device__ int64_t find_tie(CUDA_SHARED_AT(double) scratch, const double *p, int64_t count, uint64_t key, double which) {
    const int warp = static_cast<int>(threadIdx.x) / CUDA_WARP, lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    const int warps = static_cast<int>(blockDim.x) / CUDA_WARP;
    double before = 0;
    int64_t found = -1;
    for (int64_t tile = 0; tile < count; tile += blockDim.x) {
        const int64_t i = tile + threadIdx.x;
        const bool tie = i < count && bits_of(p[i]) == key;
        const uint32_t ballot = __ballot_sync(CUDA_WHOLE_WARP, tie);
        __syncthreads();
        if (lane == 0) scratch[warp] = __popc(ballot);
        __syncthreads();
        double mine = before;
        for (int w = 0; w < warps; w++) {
            if (w < warp) mine += scratch[w];
            before += scratch[w];
        }
        if (tie && mine + __popc(ballot & ((1u << lane) - 1u)) + 1 == which) found = i;
    }
    double answer[1] = {static_cast<double>(found + 1)}; /* one thread's at most is not 0 */
    block_sums<1>(scratch, answer);
    return static_cast<int64_t>(answer[0]) - 1;
}

static __device__ int64_t draw_ordered(CUDA_SHARED_AT(double) scratch, const double *p, int64_t count, double sum, int64_t top_k,
                                       double top_p, double u, int64_t best) {
    struct kept kept = {0, static_cast<double>(count), sum};
    if (top_k > 0 && top_k < count) {
        kept.key = search(scratch, p, count, 0, static_cast<double>(top_k), false, true);
        const struct beyond b = beyond_key(scratch, p, count, kept.key);
        kept.ties = static_cast<double>(top_k) - b.count;
        kept.sum = b.sum + kept.ties * number_of(kept.key);
    }
    if (top_p < 1) { /* a share of what top_k leaves */
        const double all = kept.sum, share = top_p * all;
        const uint64_t key = search(scratch, p, count, kept.key, share, false, false);
        const struct beyond b = beyond_key(scratch, p, count, key);
        const double most = key == kept.key && kept.ties < b.ties ? kept.ties : b.ties, at = number_of(key);
        kept.ties = ties_for(b.sum, at, share, false, most < 1 ? 1 : most);
        kept.key = key, kept.sum = b.sum + kept.ties * at;
        if (kept.sum > all) kept.sum = all;
    }
    const double limit = u * kept.sum;
    const uint64_t key = search(scratch, p, count, kept.key > 0 ? kept.key : 1, limit, true, false);
    const struct beyond b = beyond_key(scratch, p, count, key);
    const double most = key == kept.key && kept.ties < b.ties ? kept.ties : b.ties;
    const int64_t found = find_tie(scratch, p, count, key, ties_for(b.sum, number_of(key), limit, true, most < 1 ? 1 : most));
    return found < 0 ? best : found;
}

/* In the classes' own order: the first at which the sum passes u of the whole. The warps' stretches follow each other. */
static __device__ int64_t draw_plain(CUDA_SHARED_AT(double) scratch, const double *p, int64_t count, double u, int64_t best) {
    const int warp = static_cast<int>(threadIdx.x) / CUDA_WARP, lane = static_cast<int>(threadIdx.x) % CUDA_WARP;
    const int warps = static_cast<int>(blockDim.x) / CUDA_WARP;
    const int64_t each = (count + warps - 1) / warps, from = warp * each, to = from + each < count ? from + each : count;
    double mine = 0;
    for (int64_t i = from + lane; i < to; i += CUDA_WARP) mine += p[i];
    for (int step = CUDA_WARP / 2; step; step /= 2) mine += __shfl_xor_sync(CUDA_WHOLE_WARP, mine, step);
    __syncthreads();
    if (lane == 0) scratch[warp] = mine;
    __syncthreads();
    double sum = 0, before = 0;
    int chosen = -1, last = -1; /* the warp in which the border lies; the last one with any chance */
    for (int w = 0; w < warps; w++) sum += scratch[w];
    const double limit = u * sum;
    for (int w = 0; w < warps; w++) {
        const double next = before + scratch[w];
        if (scratch[w] > 0) last = w;
        if (next > limit) {
            chosen = w;
            break;
        }
        before = next;
    }
    if (chosen < 0 && last >= 0) chosen = last, before = limit; /* by rounding: its last class with a chance */
    int64_t found = -1;
    if (warp == chosen) {
        int64_t any = -1;
        for (int64_t i = from; i < to && found < 0; i += CUDA_WARP) {
            const double here = i + lane < to ? p[i + lane] : 0;
            double up = here;
            for (int step = 1; step < CUDA_WARP; step *= 2) {
                const double other = __shfl_up_sync(CUDA_WHOLE_WARP, up, static_cast<unsigned>(step));
                if (lane >= step) up += other;
            }
            const uint32_t chance = __ballot_sync(CUDA_WHOLE_WARP, here > 0);
            const uint32_t passed = __ballot_sync(CUDA_WHOLE_WARP, here > 0 && before + up > limit);
            if (passed) found = i + __ffs(static_cast<int>(passed)) - 1;
            if (chance) any = i + 31 - __clz(static_cast<int>(chance));
            before += __shfl_sync(CUDA_WHOLE_WARP, up, CUDA_WARP - 1);
        }
        if (found < 0) found = any;
    }
    __syncthreads();
    if (warp == chosen && lane == 0) scratch[0] = static_cast<double>(found);
    __syncthreads();
    return chosen < 0 || scratch[0] < 0 ? best : static_cast<int64_t>(scratch[0]);
}

struct draws {
    int64_t rows, count, top_k;
    double temperature, top_p;
    uint64_t seed;
    struct cuda_run_number run;
};

template <typename T>
static __global__ void __launch_bounds__(1024) sample_kernel(const struct draws d, const T *logits, double *memory, int64_t *y) {
    CUDA_SHARED(double, scratch, THRESHOLDS *WARPS);
    CUDA_SHARED(int64_t, places, WARPS);
    double *const p = memory + blockIdx.x * d.count;
    const int warp = static_cast<int>(threadIdx.x) / CUDA_WARP, warps = static_cast<int>(blockDim.x) / CUDA_WARP;
    for (int64_t row = blockIdx.x; row < d.rows; row += gridDim.x) {
        const T *const x = logits + row * d.count;
        /* the largest, the first of equals; NaN never */
        double most = -INFINITY;
        int64_t best = 0;
        for (int64_t i = threadIdx.x; i < d.count; i += blockDim.x)
            if (static_cast<double>(x[i]) > most) most = static_cast<double>(x[i]), best = i;
        for (int step = CUDA_WARP / 2; step; step /= 2) {
            const double other = __shfl_xor_sync(CUDA_WHOLE_WARP, most, step);
            const int64_t place = __shfl_xor_sync(CUDA_WHOLE_WARP, best, step);
            if (other > most || (other == most && place < best)) most = other, best = place;
        }
        __syncthreads();
        if (threadIdx.x % CUDA_WARP == 0) scratch[warp] = most, places[warp] = best;
        __syncthreads();
        most = scratch[0], best = places[0];
        for (int w = 1; w < warps; w++) {
            const double other = scratch[w];
            const int64_t place = places[w];
            if (other > most || (other == most && place < best)) most = other, best = place;
        }
        __syncthreads();
        int64_t chosen = best;
        if (d.temperature != 0 && most - most == 0) {
            double sum[1] = {0};
            for (int64_t i = threadIdx.x; i < d.count; i += blockDim.x) {
                const double chance = exp((static_cast<double>(x[i]) - most) / d.temperature);
                p[i] = chance == chance ? chance : 0; /* NaN has no chance */
                sum[0] += p[i];
            }
            block_sums<1>(scratch, sum);
            __syncthreads(); /* of p, too */
            uint32_t word[4];
            flow_philox(d.seed, d.run.number(), static_cast<uint64_t>(row), word);
            const double u = flow_uniform_f64(word[0], word[1]);
            if ((d.top_k == 0 || d.top_k >= d.count) && d.top_p >= 1) chosen = draw_plain(scratch, p, d.count, u, best);
            else chosen = draw_ordered(scratch, p, d.count, sum[0], d.top_k, d.top_p, u, best);
        }
        if (threadIdx.x == 0) y[row] = chosen;
        __syncthreads();
    }
}

static int64_t rows_of(const struct flow_tensor *x) {
    int64_t rows = 1;
    for (int32_t a = 0; a < x->rank - 1; a++) rows *= x->shape[a];
    return rows;
}

int cuda_sample_plan(struct flow_infer *infer) {
    const struct flow_tensor *x = &infer->in[0];
    const int64_t rows = rows_of(x), blocks = rows < ROWS_AT_ONCE ? rows : ROWS_AT_ONCE;
    infer->workspace = (blocks * x->shape[x->rank - 1] * static_cast<int64_t>(sizeof(double)) + 63) / 64 * 64;
    return FLOW_OK;
}

int cuda_sample_forward(const struct flow_call *call) {
    const struct sample_attrs *a = static_cast<const struct sample_attrs *>(call->attrs);
    const struct flow_tensor *x = &call->in[0];
    const struct draws d = {rows_of(x), x->shape[x->rank - 1], a->top_k, a->temperature, a->top_p, call->seed, cuda_run(call)};
    if (d.rows == 0) return FLOW_OK;
    const unsigned grid = static_cast<unsigned>(d.rows < ROWS_AT_ONCE ? d.rows : ROWS_AT_ONCE);
    unsigned block = 64;
    while (block < 1024 && block * 4 < d.count) block *= 2;
    double *const memory = static_cast<double *>(call->workspace);
    int64_t *const y = static_cast<int64_t *>(call->out[0].data);
    if (x->dtype == FLOW_F64)
        return cuda_status(call, CUDA_LAUNCH((sample_kernel<double>), grid, block, 0, cuda_stream(call), d,
                                             static_cast<const double *>(x->data), memory, y));
    return cuda_status(
        call, CUDA_LAUNCH((sample_kernel<float>), grid, block, 0, cuda_stream(call), d, static_cast<const float *>(x->data), memory, y));
}

/* Called where the result is empty; else it is a view. */
int cuda_last_forward(const struct flow_call *) { return FLOW_OK; }
