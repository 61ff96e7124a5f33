/* SPDX-License-Identifier: Apache-2.0 */
/* Backward through time of all steps of one layer and direction in one launch; the weights' gradients are products afterwards. */
#include "common/cuda.h"

#include "kernels_cuda.h"
#include "recurrent_scan_cuda.h"

/*
 * Blocks and weights as forward's; what a step leaves in shared memory is d_v of all gates (two of them: one barrier a step), and the
 * gradients of h and c of a thread's unit and rows stay in its registers. For each step and row it reads (kept + 1 to 3) numbers a unit and
 * writes `gates` (gru twice), beside 2*gates*width flops a unit.
 */
template <typename T, int KIND, int R, int S, int HELD>
__global__ void __launch_bounds__(sizeof(T) == 8 ? 256 : 512, 1) scan_backward(recurrent_scan_back<T> a) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept, OWN = R > S ? R / S : 1;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c, HAS_V = recurrent_kind<KIND>::has_v;
    constexpr bool EARLY = R == 1; /* else registers would spill */
    const int32_t pitch = a.quads * S, slice = static_cast<int32_t>(threadIdx.x) % S, unit = static_cast<int32_t>(threadIdx.x) / S;
    const int32_t head = static_cast<int32_t>(blockIdx.x) % a.heads, buffer = R * G * pitch * 4;
    const int64_t block_row = static_cast<int64_t>(blockIdx.x) / a.heads * R;
    CUDA_DYNAMIC_SHARED(T, memory, 2 * buffer + a.shared * G * static_cast<int>(blockDim.x) * 4);
    CUDA_SHARED_AT(T) slots = memory + 2 * buffer;
    bool leader;
    const int first = recurrent_first_row<R, S>(slice, &leader);
    const bool real = unit < a.width;
    const int64_t column = static_cast<int64_t>(head) * a.width + (real ? unit : 0), units = a.units;

    recurrent_weights<T, G, HELD> weights;
    weights.take(a.weights, head, a.width, S, static_cast<int32_t>(threadIdx.x), a.quads, a.shared, slots);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < 2 * buffer; i += static_cast<int32_t>(blockDim.x)) memory[i] = 0;
    T p[3] = {T(0), T(0), T(0)};
    if (HAS_C && a.peephole)
        for (int k = 0; k < G - 1; k++) p[k] = a.peephole[k * units + column];

    int32_t longest = 0, length[OWN];
    for (int r = 0; r < R; r++) {
        const int32_t n = block_row + r < a.order.batch ? static_cast<int32_t>(a.order.length(block_row + r)) : 0;
        longest = n > longest ? n : longest;
    }
    T d_h[OWN], d_c[OWN];
#pragma unroll
    for (int o = 0; o < OWN; o++) {
        const int64_t b = block_row + first + o;
        const bool there = real && b < a.order.batch;
        length[o] = there ? static_cast<int32_t>(a.order.length(b)) : -1;
        d_h[o] = there && a.d_h_last ? a.d_h_last[b * units + column] : T(0);
        d_c[o] = HAS_C && there && a.d_c_last ? a.d_c_last[b * units + column] : T(0);
        for (int64_t t = length[o]; leader && there && t < a.order.steps; t++)
            for (int g = 0; g < G; g++) {
                a.d_u[((b * a.order.steps + t) * G + g) * units + column] = 0;
                if (HAS_V) a.d_v[((b * a.order.steps + t) * G + g) * units + column] = 0;
            }
    }
    __syncthreads();

    /* What forward kept of a step is on its way while the product of the one behind it is made. */
    T keep[OWN][KEPT], state[OWN], d_y[OWN];
    auto fetch = [&](int o, int32_t s) {
        if (s < 0 || s >= length[o]) return;
        const int64_t at = a.order.position(block_row + first + o, s, length[o]);
#pragma unroll
        for (int k = 0; k < KEPT; k++) keep[o][k] = a.keep[(at * KEPT + k) * units + column];
        if (KIND == KIND_GRU) state[o] = a.keep_h[at * units + column];
        if (HAS_C) state[o] = a.keep_c[at * units + column];
        if (a.d_y) d_y[o] = a.d_y[at * a.y_row + column];
    };
#pragma unroll
    for (int o = 0; o < OWN; o++) {
        state[o] = d_y[o] = 0;
        if (EARLY) fetch(o, longest - 1);
    }
    int now = 0;
    for (int32_t s = longest - 1; s >= 0; s--, now ^= 1) {
#pragma unroll
        for (int o = 0; o < OWN; o++) {
            if (s >= length[o]) { /* the state at the end waits for its row's last step */
                if (EARLY) fetch(o, s - 1);
                continue;
            }
            const int64_t at = a.order.position(block_row + first + o, s, length[o]);
            T d_u[G], d_v[G];
            if (!EARLY) fetch(o, s);
            d_h[o] += d_y[o];
            recurrent_cell_back<T, KIND>(keep[o], state[o], state[o], p, a.peephole != nullptr, a.relu, d_h[o], d_c[o], d_u, d_v);
            if (EARLY) fetch(o, s - 1);
            if (!leader) continue;
#pragma unroll
            for (int g = 0; g < G; g++) {
                a.d_u[(at * G + g) * units + column] = d_u[g];
                if (HAS_V) a.d_v[(at * G + g) * units + column] = d_v[g];
                memory[now * buffer + ((first + o) * G + g) * pitch * 4 + unit] = d_v[g];
            }
        }
        __syncthreads();
        T acc[G][R];
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int r = 0; r < R; r++) acc[g][r] = 0;
        weights.template multiply<R, S, true>(slots, memory + now * buffer, pitch, slice, acc);
#pragma unroll
        for (int g = 1; g < G; g++)
#pragma unroll
            for (int r = 0; r < R; r++) acc[0][r] += acc[g][r];
        recurrent_gather<T, R, S>(acc[0], slice);
#pragma unroll
        for (int o = 0; o < OWN; o++) {
            if (s >= length[o]) continue;
            d_h[o] += acc[0][o];
            if (a.order.starts_anew(block_row + first + o, s, length[o])) d_h[o] = d_c[o] = 0;
        }
    }

#pragma unroll
    for (int o = 0; o < OWN; o++) {
        const int64_t at = (block_row + first + o) * units + column;
        if (length[o] < 0 || !leader) continue;
        if (a.d_h_first) a.d_h_first[at] = d_h[o] + (a.add_h ? a.d_h_first[at] : T(0));
        if (HAS_C && a.d_c_first) a.d_c_first[at] = d_c[o] + (a.add_c ? a.d_c_first[at] : T(0));
    }
}

template <typename T, int KIND, int R, int S, int HELD>
static int launch(recurrent_scan_back<T> scan, const recurrent_shape &shape, cudaStream_t stream) {
    constexpr int G = recurrent_kind<KIND>::gates;
    int64_t vectors = 2 * static_cast<int64_t>(R) * G * shape.quads * S * 4 * static_cast<int64_t>(sizeof(T)), bytes;
    scan.quads = shape.quads;
    scan.shared = cuda_recurrent_shared_quads(shape, HELD, shape.threads * G * 4 * static_cast<int64_t>(sizeof(T)), vectors, &bytes);
    int rc = cuda_recurrent_allow_shared(reinterpret_cast<const void *>(&scan_backward<T, KIND, R, S, HELD>), bytes);
    if (rc != 0) return rc;
    const int64_t blocks = (scan.order.batch + R - 1) / R * scan.heads;
    return CUDA_LAUNCH((scan_backward<T, KIND, R, S, HELD>), static_cast<unsigned>(blocks), static_cast<unsigned>(shape.threads),
                       static_cast<size_t>(bytes), stream, scan);
}

template <int KIND> static int launch_f32(const recurrent_scan_back<float> &scan, const recurrent_shape &shape, cudaStream_t stream) {
    const bool four = shape.rows == 4;
    if (shape.slices == 4)
        return four                                              ? launch < float, KIND, 4, 4,
               KIND == KIND_LSTM ? 1 : 2 > (scan, shape, stream) : launch<float, KIND, 1, 4, 3>(scan, shape, stream);
    return four ? launch<float, KIND, 2, 2, 1>(scan, shape, stream) : launch<float, KIND, 1, 2, 3>(scan, shape, stream);
}

int cuda_recurrent_scan_backward(const recurrent_scan_back<float> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream) {
    switch (kind) {
    case KIND_RNN: return launch_f32<KIND_RNN>(scan, shape, stream);
    case KIND_LSTM: return launch_f32<KIND_LSTM>(scan, shape, stream);
    case KIND_COUPLED: return launch_f32<KIND_COUPLED>(scan, shape, stream);
    default: return launch_f32<KIND_GRU>(scan, shape, stream);
    }
}

int cuda_recurrent_scan_backward(const recurrent_scan_back<double> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream) {
    switch (kind) {
    case KIND_RNN: return launch<double, KIND_RNN, 1, 1, 1>(scan, shape, stream);
    case KIND_LSTM: return launch<double, KIND_LSTM, 1, 1, 1>(scan, shape, stream);
    case KIND_COUPLED: return launch<double, KIND_COUPLED, 1, 1, 1>(scan, shape, stream);
    default: return launch<double, KIND_GRU, 1, 1, 1>(scan, shape, stream);
    }
}
