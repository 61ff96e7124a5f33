/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reductions over any axes on CUDA: the loops of a reduce_plan for one operation.
 *
 * An operation is a struct with the members
 *   value, part, state       types: of an element; of what a thread gathers from some; of what threads and blocks join
 *   centre(result)           a number of the result that its elements are taken around
 *   begin(), take(part, x, at, centre)   a new part; one more element, `at` its place in x
 *   start(), merge(state, part), join(state, state)
 *   write(result, state)
 * Where the last axis is reduced, 2^n lanes or a block share a result and read along the axis, 16 bytes a lane where the rows allow it;
 * where it is kept, a block has a tile of adjacent results and reads rows of it. Where this leaves a device without work, elements are cut
 * into parts, whose states a second kernel joins in order. All of it depends on the shape alone.
 */
#ifndef OPS_REDUCE_REDUCE_CUDA_H
#define OPS_REDUCE_REDUCE_CUDA_H

#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "reduce/reduce.h"

/* Axes that an index runs over, the last fastest. */
struct reduce_steps {
    int32_t rank;
    int64_t extent[FLOW_RANK_MAX], stride[FLOW_RANK_MAX];
};

static __device__ inline int64_t reduce_offset(const reduce_steps &of, int64_t index) {
    int64_t offset = 0;
    for (int32_t i = of.rank - 1; i > 0; i--) {
        const int64_t next = cuda_quotient(index, of.extent[i]);
        offset += (index - next * of.extent[i]) * of.stride[i];
        index = next;
    }
    return of.rank > 0 ? offset + index * of.stride[0] : 0;
}

struct reduce_shape {
    reduce_steps walk, kept; /* segments; sets of results */
    int64_t segments, run, sets, results;
    int64_t parts;
    int lanes; /* of a result, where the last axis is reduced: up to 32, or 256 */
    int wide;  /* else 2^wide results are side by side in a block */
    bool last;
};

enum { REDUCE_THREADS = 256, REDUCE_STATE = 24 }; /* most bytes of a state */

static inline reduce_shape reduce_shape_of(const struct reduce_plan *plan) {
    reduce_shape of = {};
    of.walk.rank = plan->walk.rank, of.kept.rank = plan->kept_rank;
    for (int i = 0; i < FLOW_RANK_MAX; i++) {
        of.walk.extent[i] = plan->walk.extent[i], of.walk.stride[i] = plan->walk.stride[i];
        of.kept.extent[i] = plan->kept_extent[i], of.kept.stride[i] = plan->kept_stride[i];
    }
    of.segments = plan->walk.segments, of.run = plan->walk.run, of.sets = plan->kept, of.last = plan->last;
    of.results = of.last ? of.sets : of.sets * of.run;
    of.parts = 1;
    const int64_t enough = 528; /* blocks: four a multiprocessor of an H100 */
    if (of.last) {
        const int64_t each = of.segments * of.run;
        of.lanes = 1;
        while (of.lanes < 32 && of.lanes * 4 < each) of.lanes *= 2;
        if (each >= 4096 || (each >= 512 && of.results < 2048)) of.lanes = REDUCE_THREADS;
        if (of.lanes == REDUCE_THREADS && of.results < enough / 2 && of.results > 0) {
            of.parts = (enough + of.results - 1) / of.results;
            if (of.parts > each / 4096) of.parts = each / 4096;
        }
    } else if (of.run > 0) {
        while (of.wide < 5 && (int64_t{1} << of.wide) < of.run) of.wide++;
        while (of.wide < 8 && (int64_t{REDUCE_THREADS} >> of.wide) > of.segments && (int64_t{1} << of.wide) < of.run) of.wide++;
        const int64_t units = of.sets * ((of.run + (int64_t{1} << of.wide) - 1) >> of.wide);
        const int64_t rows = int64_t{REDUCE_THREADS} >> of.wide;
        if (units < enough / 2 && units > 0) {
            of.parts = (enough + units - 1) / units;
            if (of.parts > of.segments / (rows * 8)) of.parts = of.segments / (rows * 8);
        }
    }
    if (of.parts < 1) of.parts = 1;
    return of;
}
/* Bytes for the states of parts. */
static inline int64_t reduce_partial_bytes(const reduce_shape &of) { return of.parts > 1 ? of.results * of.parts * REDUCE_STATE : 0; }
static inline int64_t reduce_align(int64_t bytes) { return (bytes + 63) / 64 * 64; }

template <typename Op> struct reduce_join {
    using state = typename Op::state;
    const Op &op;
    __device__ state operator()(const state &a, const state &b) const { return op.join(a, b); }
};

/* The last axis is reduced: reads every element once, four packs of a thread in flight. */
template <typename Op, int V>
static __global__ void __launch_bounds__(REDUCE_THREADS, 2)
    reduce_last(Op op, const typename Op::value *x, reduce_shape of, typename Op::state *partial) {
    using state = typename Op::state;
    using pack = cuda_pack<typename Op::value, V>;
    CUDA_SHARED(state, kept, 32);
    const int lane = static_cast<int>(threadIdx.x) % of.lanes, group = static_cast<int>(threadIdx.x) / of.lanes;
    const int64_t run = of.run / V, packs = of.segments * run, each = (packs + of.parts - 1) / of.parts;
    const reduce_join<Op> join = {op};
    CUDA_EACH_ROWS(first, of.results * of.parts, REDUCE_THREADS / of.lanes) {
        const int64_t unit = first + group, result = of.parts > 1 ? unit / of.parts : unit, begin = (unit - result * of.parts) * each;
        const bool inside = result < of.results;
        const int64_t end = !inside ? begin : begin + each < packs ? begin + each : packs;
        const int64_t base = inside ? reduce_offset(of.kept, result) : 0;
        const typename Op::value centre = inside ? op.centre(result) : typename Op::value{};
        state all = op.start();
        for (int64_t i = begin + lane; i < end; i += 4 * of.lanes) {
            typename Op::part part = op.begin();
            pack loaded[4];
            int64_t at[4];
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const int64_t j = i + u * of.lanes;
                if (j >= end) continue;
                at[u] = base + j * V;
                if (of.segments > 1) {
                    const int64_t segment = cuda_quotient(j, run);
                    at[u] = base + reduce_offset(of.walk, segment) + (j - segment * run) * V;
                }
                loaded[u] = *reinterpret_cast<const pack *>(x + at[u]);
            }
#pragma unroll
            for (int u = 0; u < 4; u++) {
                if (i + u * of.lanes >= end) continue;
#pragma unroll
                for (int k = 0; k < V; k++) op.take(part, loaded[u].at[k], at[u] + k, centre);
            }
            all = op.merge(all, part);
        }
        all = of.lanes > CUDA_WARP ? cuda_block(all, op.start(), join, kept) : cuda_warp_part(all, join, of.lanes);
        if (!inside || lane > 0) continue;
        if (of.parts > 1) partial[unit] = all;
        else op.write(result, all);
    }
}

/* The last axis is kept: threads of a warp read side by side, four rows in flight; rows of a block join in shared memory. */
template <typename Op>
static __global__ void __launch_bounds__(REDUCE_THREADS, 2)
    reduce_first(Op op, const typename Op::value *x, reduce_shape of, typename Op::state *partial) {
    using state = typename Op::state;
    using value = typename Op::value;
    CUDA_SHARED(state, kept, REDUCE_THREADS);
    const int thread = static_cast<int>(threadIdx.x), width = 1 << of.wide, high = REDUCE_THREADS >> of.wide;
    const int column = thread & (width - 1), row = thread >> of.wide;
    const int64_t tiles = (of.run + width - 1) / width, each = (of.segments + of.parts - 1) / of.parts;
    CUDA_EACH_ROWS(unit, of.sets * tiles * of.parts, 1) {
        const int64_t part_index = unit % of.parts, tile = unit / of.parts, set = tile / tiles, j = tile % tiles * width + column;
        const int64_t result = set * of.run + j, base = reduce_offset(of.kept, set) + j, begin = part_index * each;
        const bool inside = j < of.run;
        const int64_t end = !inside ? begin : begin + each < of.segments ? begin + each : of.segments;
        const value centre = inside ? op.centre(result) : value{};
        state all = op.start();
        for (int64_t i = begin + row; i < end; i += 4 * high) {
            typename Op::part part = op.begin();
            value loaded[4];
            int64_t at[4];
#pragma unroll
            for (int u = 0; u < 4; u++) {
                if (i + u * high >= end) continue;
                at[u] = base + reduce_offset(of.walk, i + u * high);
                loaded[u] = x[at[u]];
            }
#pragma unroll
            for (int u = 0; u < 4; u++)
                if (i + u * high < end) op.take(part, loaded[u], at[u], centre);
            all = op.merge(all, part);
        }
        __syncthreads();
        kept[thread] = all;
        for (int half = high / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) {
                const state mine = kept[thread], other = kept[thread + half * width];
                kept[thread] = op.join(mine, other);
            }
        }
        if (!inside || row > 0) continue;
        all = kept[thread];
        if (of.parts > 1) partial[result * of.parts + part_index] = all;
        else op.write(result, all);
    }
}

/* A warp joins the parts of a result. */
template <typename Op>
static __global__ void __launch_bounds__(REDUCE_THREADS, 2)
    reduce_parts(Op op, const typename Op::state *partial, int64_t results, int64_t parts) {
    const int lane = static_cast<int>(threadIdx.x) % CUDA_WARP, group = static_cast<int>(threadIdx.x) / CUDA_WARP;
    CUDA_EACH_ROWS(first, results, REDUCE_THREADS / CUDA_WARP) {
        const int64_t result = first + group;
        typename Op::state all = op.start();
        for (int64_t i = lane; result < results && i < parts; i += CUDA_WARP) all = op.join(all, partial[result * parts + i]);
        all = cuda_warp(all, reduce_join<Op>{op});
        if (result < results && lane == 0) op.write(result, all);
    }
}

static inline unsigned reduce_grid(int64_t blocks) { return static_cast<unsigned>(blocks < 0x7FFFFFFF ? blocks : 0x7FFFFFFF); }

/* All results of `op` over x. workspace: reduce_partial_bytes. Returns a cudaError_t. */
template <typename Op> static int reduce_launch(const struct flow_call *call, const Op &op, const reduce_shape &of, void *workspace) {
    using value = typename Op::value;
    static_assert(sizeof(typename Op::state) <= REDUCE_STATE, "a state is larger than what the plan asks for");
    const value *x = static_cast<const value *>(call->in[0].data);
    typename Op::state *partial = static_cast<typename Op::state *>(workspace);
    cudaStream_t stream = cuda_stream(call);
    int error;
    if (of.results == 0) return 0;
    if (of.last) {
        const int64_t groups = REDUCE_THREADS / of.lanes;
        const unsigned blocks = reduce_grid((of.results * of.parts + groups - 1) / groups);
        if (cuda_whole<value>(of.run, x))
            error = CUDA_LAUNCH((reduce_last<Op, cuda_pack_size<value>>), blocks, REDUCE_THREADS, 0, stream, op, x, of, partial);
        else error = CUDA_LAUNCH((reduce_last<Op, 1>), blocks, REDUCE_THREADS, 0, stream, op, x, of, partial);
    } else {
        const int64_t width = int64_t{1} << of.wide, units = of.sets * ((of.run + width - 1) / width) * of.parts;
        error = CUDA_LAUNCH((reduce_first<Op>), reduce_grid(units), REDUCE_THREADS, 0, stream, op, x, of, partial);
    }
    if (error != 0 || of.parts == 1) return error;
    return CUDA_LAUNCH((reduce_parts<Op>), reduce_grid((of.results + 7) / 8), REDUCE_THREADS, 0, stream, op,
                       static_cast<const typename Op::state *>(partial), of.results, of.parts);
}

/* ---- Sums, of which forward and backward have need ---- */

enum reduce_term { TERM_SELF, TERM_ABS, TERM_DEVIATION, TERM_NONZERO };

/* Up to 16 terms are added in T, these sums in double. y = sum / by. */
template <typename T, reduce_term TERM> struct reduce_total {
    using value = T;
    using part = T;
    using state = double;
    T *y;
    const T *centres;
    double by;
    __device__ T centre(int64_t result) const { return TERM == TERM_DEVIATION ? centres[result] : T(0); }
    __device__ part begin() const { return 0; }
    __device__ void take(part &sum, T x, int64_t, T c) const {
        if (TERM == TERM_SELF) sum += x;
        else if (TERM == TERM_ABS) sum += cuda_magnitude(x);
        else if (TERM == TERM_DEVIATION) sum += (x - c) * (x - c);
        else sum += x != 0 ? T(1) : T(0);
    }
    __device__ state start() const { return 0; }
    __device__ state merge(state sum, part more) const { return sum + static_cast<double>(more); }
    __device__ state join(state a, state b) const { return a + b; }
    __device__ void write(int64_t result, state sum) const { y[result] = static_cast<T>(sum / by); }
};

template <typename T>
static inline int reduce_mean_launch(const struct flow_call *call, const reduce_shape &of, T *means, void *workspace) {
    const double count = static_cast<double>(of.segments) * (of.last ? static_cast<double>(of.run) : 1);
    return reduce_launch(call, reduce_total<T, TERM_SELF>{means, NULL, count}, of, workspace);
}

#endif
