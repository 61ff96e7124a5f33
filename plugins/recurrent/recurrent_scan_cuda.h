/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The product inside a scan, which forward and backward share. A block has R rows of the batch and one head; S adjacent threads serve one
 * unit, each with every S-th quad of its weights. HELD quads of each gate are in registers, the next ones in shared memory (a place for
 * each thread, so without conflicts), the rest come from L2 each step, 16 bytes a thread, adjacent.
 */
#ifndef PLUGINS_RECURRENT_SCAN_CUDA_H
#define PLUGINS_RECURRENT_SCAN_CUDA_H

#include "recurrent_cuda.h"

template <typename T> struct alignas(16) recurrent_quad { T x[4]; };

/* acc[g][r] += sum over one quad; forward all gates see the same vector, backward each gate has its own. */
template <typename T, int G, int R, bool BACK>
static __device__ inline void recurrent_quad_product(const recurrent_quad<T> *w, CUDA_SHARED_AT(T) from, int32_t pitch, int32_t quad,
                                                     T (&acc)[G][R]) {
#pragma unroll
    for (int r = 0; r < R; r++) {
        if (!BACK) {
            T x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = from[4 * (r * pitch + quad) + i];
#pragma unroll
            for (int g = 0; g < G; g++)
#pragma unroll
                for (int i = 0; i < 4; i++) acc[g][r] += w[g].x[i] * x[i];
        } else {
#pragma unroll
            for (int g = 0; g < G; g++)
#pragma unroll
                for (int i = 0; i < 4; i++) acc[g][r] += w[g].x[i] * from[4 * ((r * G + g) * pitch + quad) + i];
        }
    }
}

/* Sums of the S threads of a unit: afterwards this thread has those of rows first .. first + OWN, in acc[0 .. OWN). */
template <typename T, int R, int S> static __device__ inline void recurrent_gather(T (&acc)[R], int slice) {
    int left = R;
#pragma unroll
    for (int m = S / 2; m > 0; m /= 2) {
        const bool upper = (slice & m) != 0;
        if (left > 1) {
            left /= 2;
#pragma unroll
            for (int i = 0; i < R / 2; i++) {
                if (i >= left) break;
                T mine = upper ? acc[i + left] : acc[i], other = upper ? acc[i] : acc[i + left];
                acc[i] = mine + __shfl_xor_sync(CUDA_WHOLE_WARP, other, m);
            }
        } else acc[0] += __shfl_xor_sync(CUDA_WHOLE_WARP, acc[0], m);
    }
}
/* The first of the rows that this thread has then, and whether it is the one that writes them. */
template <int R, int S> static __device__ inline int recurrent_first_row(int slice, bool *leader) {
    int left = R, first = 0;
    *leader = true;
#pragma unroll
    for (int m = S / 2; m > 0; m /= 2) {
        const bool upper = (slice & m) != 0;
        if (left > 1) left /= 2, first += upper ? left : 0;
        else if (upper) *leader = false;
    }
    return first;
}

/* A thread's weights. */
template <typename T, int G, int HELD> struct recurrent_weights {
    recurrent_quad<T> held[HELD][G];
    const recurrent_quad<T> *at; /* quad q of gate g: at[(g * quads + q) * threads] */
    int64_t threads;             /* units of the head times slices */
    int32_t quads, shared;
    bool real;

    /* Those of thread `thread` of the head's; shared ones are put down at slots[((q * G + g) * blockDim + threadIdx) * 4]. */
    __device__ void take(const T *weights, int32_t head, int32_t width, int32_t slices, int32_t thread, int32_t all, int32_t in_shared,
                         CUDA_SHARED_AT(T) slots) {
        threads = static_cast<int64_t>(width) * slices, quads = all, shared = in_shared, real = thread < threads;
        at = reinterpret_cast<const recurrent_quad<T> *>(weights) + head * G * quads * threads + (real ? thread : 0);
#pragma unroll
        for (int q = 0; q < HELD; q++)
#pragma unroll
            for (int g = 0; g < G; g++)
                if (q < quads && real) held[q][g] = at[(static_cast<int64_t>(g) * quads + q) * threads];
                else held[q][g] = {{T(0), T(0), T(0), T(0)}};
        for (int32_t q = 0; q < shared; q++)
            for (int g = 0; g < G; g++) {
                recurrent_quad<T> w = {{T(0), T(0), T(0), T(0)}};
                if (real) w = at[(static_cast<int64_t>(g) * quads + HELD + q) * threads];
                const int slot = ((q * G + g) * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * 4;
#pragma unroll
                for (int i = 0; i < 4; i++) slots[slot + i] = w.x[i];
            }
    }
    template <int R, int S, bool BACK>
    __device__ void multiply(CUDA_SHARED_AT(T) slots, CUDA_SHARED_AT(T) from, int32_t pitch, int slice, T (&acc)[G][R]) const {
#pragma unroll
        for (int q = 0; q < HELD; q++)
            if (q < quads) recurrent_quad_product<T, G, R, BACK>(held[q], from, pitch, q * S + slice, acc);
#pragma unroll 1
        for (int32_t q = 0; q < shared; q++) {
            recurrent_quad<T> w[G];
#pragma unroll
            for (int g = 0; g < G; g++) {
                const int slot = ((q * G + g) * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * 4;
#pragma unroll
                for (int i = 0; i < 4; i++) w[g].x[i] = slots[slot + i];
            }
            recurrent_quad_product<T, G, R, BACK>(w, from, pitch, (HELD + q) * S + slice, acc);
        }
#pragma unroll 1 /* 16 warps with four loads each on their way fill the latency of L2; more would spill */
        for (int32_t q = HELD + shared; q < quads; q++) {
            recurrent_quad<T> w[G];
#pragma unroll
            for (int g = 0; g < G; g++) w[g] = at[(static_cast<int64_t>(g) * quads + q) * threads];
            recurrent_quad_product<T, G, R, BACK>(w, from, pitch, q * S + slice, acc);
        }
    }
};

#endif
