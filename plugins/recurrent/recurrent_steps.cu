/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recurrences outside the scans: what lies between the products of two steps where one block cannot hold a head, and diagonal ones, where a
 * unit needs no other. A thread has one unit of one row; adjacent threads adjacent units, so that all reads are whole lines.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"
#include "recurrent_cuda.h"

template <typename T, int KIND> struct cell_inputs {
    static const int G = recurrent_kind<KIND>::gates;
    T weight[G], bias[G], p[3];
    __device__ void take(const T *weights, const T *biases, const T *peephole, int64_t column, int64_t units) {
        for (int g = 0; g < G; g++)
            weight[g] = weights ? weights[g * units + column] : T(0), bias[g] = biases ? biases[g * units + column] : T(0);
        for (int k = 0; k < 3; k++) p[k] = peephole && k < G - 1 ? peephole[k * units + column] : T(0);
    }
};

/* ---- Step by step ---------------------------------------------------------------------------------------------------- */

template <typename T> static __global__ void step_begin(recurrent_scan<T> a, T *h, T *c) {
    CUDA_EACH(i, a.order.batch * a.units) {
        const int64_t b = i / a.units;
        const bool anew = a.order.starts_anew(b, 0, a.order.length(b));
        h[i] = a.h_first && !anew ? a.h_first[i] : T(0);
        if (c) c[i] = a.c_first && !anew ? a.c_first[i] : T(0);
    }
}

/* Reads u, v, h (lstm c) and writes y, h (c): 4*(2*gates + 3 to 5) bytes a unit, no more than the transfers between steps that the product
 * makes anyway; launches, two a step, are what it costs. */
template <typename T, int KIND> static __global__ void step_forward(recurrent_scan<T> a, int64_t s, const T *v, T *h_now, T *c_now) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c;
    const int64_t units = a.units;
    CUDA_EACH(i, a.order.batch * units) {
        const int64_t b = i / units, column = i % units, n = a.order.length(b);
        if (s >= n) continue;
        const int64_t at = a.order.position(b, s, n);
        T u[G], w[G], p[3] = {T(0), T(0), T(0)}, keep[KEPT], h = h_now[i], c = HAS_C ? c_now[i] : T(0);
        for (int g = 0; g < G; g++)
            u[g] = a.u[(at * G + g) * units + column],
            w[g] = v[(b * G + g) * units + column] + (a.bias ? a.bias[g * units + column] : T(0));
        if (HAS_C && a.peephole)
            for (int k = 0; k < G - 1; k++) p[k] = a.peephole[k * units + column];
        if (a.keep_h) a.keep_h[at * units + column] = h;
        if (HAS_C && a.keep_c) a.keep_c[at * units + column] = c;
        recurrent_cell<T, KIND>(u, w, p, a.peephole != nullptr, a.relu, h, c, keep);
        a.y[at * a.y_row + column] = h;
        for (int k = 0; a.keep && k < KEPT; k++) a.keep[(at * KEPT + k) * units + column] = keep[k];
        if (a.order.starts_anew(b, s + 1, n)) h = c = 0;
        h_now[i] = h;
        if (HAS_C) c_now[i] = c;
    }
}

/* The padding of one row and unit: zeros. */
template <typename T, int KIND>
static __device__ inline void clear_padding(const recurrent_scan<T> &a, int64_t b, int64_t column, int64_t n) {
    constexpr int KEPT = recurrent_kind<KIND>::kept;
    for (int64_t t = n; t < a.order.steps; t++) {
        const int64_t at = b * a.order.steps + t;
        a.y[at * a.y_row + column] = 0;
        if (a.keep_h) a.keep_h[at * a.units + column] = 0;
        if (recurrent_kind<KIND>::has_c && a.keep_c) a.keep_c[at * a.units + column] = 0;
        for (int k = 0; a.keep && k < KEPT; k++) a.keep[(at * KEPT + k) * a.units + column] = 0;
    }
}

template <typename T, int KIND> static __global__ void step_end(recurrent_scan<T> a, const T *h, const T *c) {
    CUDA_EACH(i, a.order.batch * a.units) {
        const int64_t b = i / a.units;
        if (a.h_last) a.h_last[i] = h[i];
        if (a.h_state) a.h_state[i] = h[i];
        if (recurrent_kind<KIND>::has_c) {
            if (a.c_last) a.c_last[i] = c[i];
            if (a.c_state) a.c_state[i] = c[i];
        }
        clear_padding<T, KIND>(a, b, i % a.units, a.order.length(b));
    }
}

/* Step s >= 0 backward: d_h holds what came through the product and the cell of the step behind; d_v is this step's, for the next product,
 * 0 where the row has no such step. After the last of them, s = -1. */
template <typename T, int KIND>
static __global__ void step_backward(recurrent_scan_back<T> a, int64_t s, T *d_h_now, T *d_c_now, T *d_v_now) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c, HAS_V = recurrent_kind<KIND>::has_v;
    const int64_t units = a.units;
    CUDA_EACH(i, a.order.batch * units) {
        const int64_t b = i / units, column = i % units, n = a.order.length(b);
        const bool last = s == n - 1, anew = !last && a.order.starts_anew(b, s + 1, n);
        T d_h = last ? (a.d_h_last ? a.d_h_last[i] : T(0)) : anew ? T(0) : d_h_now[i];
        T d_c = !HAS_C ? T(0) : last ? (a.d_c_last ? a.d_c_last[i] : T(0)) : anew ? T(0) : d_c_now[i];
        if (s < 0) {
            if (a.d_h_first) a.d_h_first[i] = d_h + (a.add_h ? a.d_h_first[i] : T(0));
            if (HAS_C && a.d_c_first) a.d_c_first[i] = d_c + (a.add_c ? a.d_c_first[i] : T(0));
            continue;
        }
        T d_u[G], d_v[G];
        for (int g = 0; g < G; g++) d_u[g] = d_v[g] = 0;
        const int64_t at = s < n ? a.order.position(b, s, n) : b * a.order.steps + s; /* behind its steps: that of the padding */
        if (s < n) {
            T keep[KEPT], p[3] = {T(0), T(0), T(0)}, h = KIND == KIND_GRU ? a.keep_h[at * units + column] : T(0),
                          c = HAS_C ? a.keep_c[at * units + column] : T(0);
            for (int k = 0; k < KEPT; k++) keep[k] = a.keep[(at * KEPT + k) * units + column];
            if (HAS_C && a.peephole)
                for (int k = 0; k < G - 1; k++) p[k] = a.peephole[k * units + column];
            if (a.d_y) d_h += a.d_y[at * a.y_row + column];
            recurrent_cell_back<T, KIND>(keep, h, c, p, a.peephole != nullptr, a.relu, d_h, d_c, d_u, d_v);
            d_h_now[i] = d_h;
            if (HAS_C) d_c_now[i] = d_c;
        } else d_h_now[i] = 0;
        for (int g = 0; g < G; g++) {
            a.d_u[(at * G + g) * units + column] = d_u[g];
            if (HAS_V) a.d_v[(at * G + g) * units + column] = d_v[g];
            d_v_now[(b * G + g) * units + column] = d_v[g];
        }
    }
}

/* ---- Diagonal ------------------------------------------------------------------------------------------------------- */

/* All steps of one unit of one row, its state in registers: reads `gates` and writes 1 (backward: kept + 2, and gates) numbers a step. */
template <typename T, int KIND> static __global__ void diagonal_forward(recurrent_scan<T> a) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c;
    const int64_t units = a.units;
    CUDA_EACH(i, a.order.batch * units) {
        const int64_t b = i / units, column = i % units, n = a.order.length(b);
        cell_inputs<T, KIND> in;
        in.take(a.weights, a.bias, a.peephole, column, units);
        T h = a.h_first ? a.h_first[i] : T(0), c = HAS_C && a.c_first ? a.c_first[i] : T(0), next[G];
        for (int g = 0; g < G; g++) next[g] = n > 0 ? a.u[(a.order.position(b, 0, n) * G + g) * units + column] : T(0);
        for (int64_t s = 0; s < n; s++) {
            const int64_t at = a.order.position(b, s, n);
            T u[G], v[G], keep[KEPT];
            if (a.order.starts_anew(b, s, n)) h = c = 0;
            for (int g = 0; g < G; g++) {
                u[g] = next[g], v[g] = in.weight[g] * h + in.bias[g];
                if (s + 1 < n) next[g] = a.u[(a.order.position(b, s + 1, n) * G + g) * units + column];
            }
            if (a.keep_h) a.keep_h[at * units + column] = h;
            if (HAS_C && a.keep_c) a.keep_c[at * units + column] = c;
            recurrent_cell<T, KIND>(u, v, in.p, a.peephole != nullptr, a.relu, h, c, keep);
            a.y[at * a.y_row + column] = h;
            for (int k = 0; a.keep && k < KEPT; k++) a.keep[(at * KEPT + k) * units + column] = keep[k];
        }
        if (a.h_last) a.h_last[i] = h;
        if (a.h_state) a.h_state[i] = h;
        if (HAS_C && a.c_last) a.c_last[i] = c;
        if (HAS_C && a.c_state) a.c_state[i] = c;
        clear_padding<T, KIND>(a, b, column, n);
    }
}

template <typename T, int KIND> static __global__ void diagonal_backward(recurrent_scan_back<T> a) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c, HAS_V = recurrent_kind<KIND>::has_v;
    const int64_t units = a.units;
    CUDA_EACH(i, a.order.batch * units) {
        const int64_t b = i / units, column = i % units, n = a.order.length(b);
        cell_inputs<T, KIND> in;
        in.take(a.weights, nullptr, a.peephole, column, units);
        T d_h = a.d_h_last ? a.d_h_last[i] : T(0), d_c = HAS_C && a.d_c_last ? a.d_c_last[i] : T(0);
        for (int64_t t = n; t < a.order.steps; t++)
            for (int g = 0; g < G; g++) {
                a.d_u[((b * a.order.steps + t) * G + g) * units + column] = 0;
                if (HAS_V) a.d_v[((b * a.order.steps + t) * G + g) * units + column] = 0;
            }
        for (int64_t s = n - 1; s >= 0; s--) {
            const int64_t at = a.order.position(b, s, n);
            T keep[KEPT], d_u[G], d_v[G], h = KIND == KIND_GRU ? a.keep_h[at * units + column] : T(0),
                                          c = HAS_C ? a.keep_c[at * units + column] : T(0);
            for (int k = 0; k < KEPT; k++) keep[k] = a.keep[(at * KEPT + k) * units + column];
            if (a.d_y) d_h += a.d_y[at * a.y_row + column];
            recurrent_cell_back<T, KIND>(keep, h, c, in.p, a.peephole != nullptr, a.relu, d_h, d_c, d_u, d_v);
            for (int g = 0; g < G; g++) {
                a.d_u[(at * G + g) * units + column] = d_u[g];
                if (HAS_V) a.d_v[(at * G + g) * units + column] = d_v[g];
                d_h += in.weight[g] * d_v[g];
            }
            if (a.order.starts_anew(b, s, n)) d_h = d_c = 0;
        }
        if (a.d_h_first) a.d_h_first[i] = d_h + (a.add_h ? a.d_h_first[i] : T(0));
        if (HAS_C && a.d_c_first) a.d_c_first[i] = d_c + (a.add_c ? a.d_c_first[i] : T(0));
    }
}

/* ---- Launches ------------------------------------------------------------------------------------------------------- */

#define LAUNCH_KIND(kernel, count, ...)                                                                                                   \
    switch (kind) {                                                                                                                       \
    case KIND_RNN: return CUDA_LAUNCH((kernel<T, KIND_RNN>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, __VA_ARGS__);         \
    case KIND_LSTM: return CUDA_LAUNCH((kernel<T, KIND_LSTM>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, __VA_ARGS__);       \
    case KIND_COUPLED: return CUDA_LAUNCH((kernel<T, KIND_COUPLED>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, __VA_ARGS__); \
    default: return CUDA_LAUNCH((kernel<T, KIND_GRU>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, stream, __VA_ARGS__);               \
    }

template <typename T> int cuda_recurrent_step_begin(const recurrent_scan<T> &scan, T *h, T *c, cudaStream_t stream) {
    return CUDA_LAUNCH((step_begin<T>), cuda_blocks(scan.order.batch * scan.units, CUDA_BLOCK), CUDA_BLOCK, 0, stream, scan, h, c);
}
template <typename T>
int cuda_recurrent_step_one(const recurrent_scan<T> &scan, int kind, int64_t s, const T *v, T *h, T *c, cudaStream_t stream) {
    LAUNCH_KIND(step_forward, scan.order.batch * scan.units, scan, s, v, h, c)
}
template <typename T> int cuda_recurrent_step_end(const recurrent_scan<T> &scan, int kind, const T *h, const T *c, cudaStream_t stream) {
    LAUNCH_KIND(step_end, scan.order.batch * scan.units, scan, h, c)
}
template <typename T>
int cuda_recurrent_step_back(const recurrent_scan_back<T> &scan, int kind, int64_t s, T *d_h, T *d_c, T *d_v, cudaStream_t stream) {
    LAUNCH_KIND(step_backward, scan.order.batch * scan.units, scan, s, d_h, d_c, d_v)
}
template <typename T> int cuda_recurrent_diagonal(const recurrent_scan<T> &scan, int kind, cudaStream_t stream) {
    LAUNCH_KIND(diagonal_forward, scan.order.batch * scan.units, scan)
}
template <typename T>
int cuda_recurrent_diagonal_back(const recurrent_scan_back<T> &scan, int kind,
                                 cudaStream_t stream){LAUNCH_KIND(diagonal_backward, scan.order.batch *scan.units, scan)}

#define INSTANCES(T)                                                                                                     \
    template int cuda_recurrent_step_begin<T>(const recurrent_scan<T> &, T *, T *, cudaStream_t);                        \
    template int cuda_recurrent_step_one<T>(const recurrent_scan<T> &, int, int64_t, const T *, T *, T *, cudaStream_t); \
    template int cuda_recurrent_step_end<T>(const recurrent_scan<T> &, int, const T *, const T *, cudaStream_t);         \
    template int cuda_recurrent_step_back<T>(const recurrent_scan_back<T> &, int, int64_t, T *, T *, T *, cudaStream_t); \
    template int cuda_recurrent_diagonal<T>(const recurrent_scan<T> &, int, cudaStream_t);                               \
    template int cuda_recurrent_diagonal_back<T>(const recurrent_scan_back<T> &, int, cudaStream_t);
INSTANCES(float) INSTANCES(double)
