/* SPDX-License-Identifier: Apache-2.0 */
/* Forward of all steps of one layer and direction in one launch. */
#include "common/cuda.h"

#include "kernels_cuda.h"
#include "recurrent_scan_cuda.h"

/*
 * A block: R rows of the batch, one head. The state stays on the chip: h in shared memory for all to read (two of them, so that one barrier
 * a step is enough), h and c of a thread's own unit and rows in its registers.
 * For each step and row it reads gates*4 bytes and writes 4 a unit, beside 2*gates*width flops a unit, and reads the weights that neither
 * registers nor shared memory have room for. f32, H100, one row a block: of lstm's weights three quarters are in registers at 64 units and
 * the rest in shared memory, at 128 units 96 KiB and 160 KiB (as FlashRNN does, which is where the idea is from: Poeppel et al., 2024), so
 * up to there a step reads no weights from outside; at 256 units it reads 0.7 MiB of the 1 MiB from L2, a step and block. gru and rnn
 * alike, with three and one gates. What is wider takes a product and a kernel a step (cuda_recurrent_shape_of).
 */
template <typename T, int KIND, int R, int S, int HELD>
__global__ void __launch_bounds__(sizeof(T) == 8 ? 256 : 512, 1) scan_forward(recurrent_scan<T> a) {
    constexpr int G = recurrent_kind<KIND>::gates, KEPT = recurrent_kind<KIND>::kept, OWN = R > S ? R / S : 1;
    constexpr bool HAS_C = recurrent_kind<KIND>::has_c;
    const int32_t pitch = a.quads * S, slice = static_cast<int32_t>(threadIdx.x) % S, unit = static_cast<int32_t>(threadIdx.x) / S;
    const int32_t head = static_cast<int32_t>(blockIdx.x) % a.heads, buffer = R * pitch * 4;
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
    T bias[G], p[3] = {T(0), T(0), T(0)};
#pragma unroll
    for (int g = 0; g < G; g++) bias[g] = a.bias ? a.bias[g * units + column] : T(0);
    if (HAS_C && a.peephole)
        for (int k = 0; k < G - 1; k++) p[k] = a.peephole[k * units + column];
    __syncthreads();

    int32_t longest = 0, length[OWN];
    for (int r = 0; r < R; r++) {
        const int32_t n = block_row + r < a.order.batch ? static_cast<int32_t>(a.order.length(block_row + r)) : 0;
        longest = n > longest ? n : longest;
    }
    T h[OWN], c[OWN], next[OWN][G];
#pragma unroll
    for (int o = 0; o < OWN; o++) {
        const int64_t b = block_row + first + o;
        const bool there = real && b < a.order.batch;
        length[o] = there ? static_cast<int32_t>(a.order.length(b)) : -1;
        h[o] = there && a.h_first ? a.h_first[b * units + column] : T(0);
        c[o] = HAS_C && there && a.c_first ? a.c_first[b * units + column] : T(0);
        if (there && a.order.starts_anew(b, 0, length[o])) h[o] = c[o] = 0;
        if (there && leader) memory[(first + o) * pitch * 4 + unit] = h[o];
#pragma unroll
        for (int g = 0; g < G; g++) {
            next[o][g] = 0;
            if (length[o] > 0) next[o][g] = a.u[(a.order.position(b, 0, length[o]) * G + g) * units + column];
        }
    }
    __syncthreads();

    int now = 0;
    for (int32_t s = 0; s < longest; s++) {
        T u[OWN][G], acc[G][R];
#pragma unroll
        for (int o = 0; o < OWN; o++) /* the next step's are on their way while this one's product is made */
#pragma unroll
            for (int g = 0; g < G; g++) {
                u[o][g] = next[o][g];
                if (s + 1 < length[o])
                    next[o][g] = a.u[(a.order.position(block_row + first + o, s + 1, length[o]) * G + g) * units + column];
            }
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int r = 0; r < R; r++) acc[g][r] = 0;
        weights.template multiply<R, S, false>(slots, memory + now * buffer, pitch, slice, acc);
#pragma unroll
        for (int g = 0; g < G; g++) recurrent_gather<T, R, S>(acc[g], slice);
        now ^= 1;
#pragma unroll
        for (int o = 0; o < OWN; o++) {
            const int64_t b = block_row + first + o;
            if (s < length[o]) {
                const int64_t at = a.order.position(b, s, length[o]);
                T v[G], keep[KEPT];
#pragma unroll
                for (int g = 0; g < G; g++) v[g] = acc[g][o] + bias[g];
                if (a.keep_h && leader) a.keep_h[at * units + column] = h[o];
                if (HAS_C && a.keep_c && leader) a.keep_c[at * units + column] = c[o];
                recurrent_cell<T, KIND>(u[o], v, p, a.peephole != nullptr, a.relu, h[o], c[o], keep);
                if (leader) {
                    a.y[at * a.y_row + column] = h[o];
#pragma unroll
                    for (int k = 0; k < KEPT; k++)
                        if (a.keep) a.keep[(at * KEPT + k) * units + column] = keep[k];
                }
                if (a.order.starts_anew(b, s + 1, length[o])) h[o] = c[o] = 0;
            }
            if (length[o] >= 0 && leader) memory[now * buffer + (first + o) * pitch * 4 + unit] = h[o];
        }
        __syncthreads();
    }

#pragma unroll
    for (int o = 0; o < OWN; o++) {
        const int64_t b = block_row + first + o, at = b * units + column;
        if (length[o] < 0 || !leader) continue;
        if (a.h_last) a.h_last[at] = h[o];
        if (a.h_state) a.h_state[at] = h[o];
        if (HAS_C && a.c_last) a.c_last[at] = c[o];
        if (HAS_C && a.c_state) a.c_state[at] = c[o];
        for (int64_t t = length[o]; t < a.order.steps; t++) {
            const int64_t place = b * a.order.steps + t;
            a.y[place * a.y_row + column] = 0;
            if (a.keep_h) a.keep_h[place * units + column] = 0;
            if (HAS_C && a.keep_c) a.keep_c[place * units + column] = 0;
            for (int k = 0; k < KEPT; k++)
                if (a.keep) a.keep[(place * KEPT + k) * units + column] = 0;
        }
    }
}

template <typename T, int KIND, int R, int S, int HELD>
static int launch(recurrent_scan<T> scan, const recurrent_shape &shape, cudaStream_t stream) {
    constexpr int G = recurrent_kind<KIND>::gates;
    int64_t vectors = 2 * static_cast<int64_t>(R) * shape.quads * S * 4 * static_cast<int64_t>(sizeof(T)), bytes;
    scan.quads = shape.quads;
    scan.shared = cuda_recurrent_shared_quads(shape, HELD, shape.threads * G * 4 * static_cast<int64_t>(sizeof(T)), vectors, &bytes);
    int rc = cuda_recurrent_allow_shared(reinterpret_cast<const void *>(&scan_forward<T, KIND, R, S, HELD>), bytes);
    if (rc != 0) return rc;
    const int64_t blocks = (scan.order.batch + R - 1) / R * scan.heads;
    return CUDA_LAUNCH((scan_forward<T, KIND, R, S, HELD>), static_cast<unsigned>(blocks), static_cast<unsigned>(shape.threads),
                       static_cast<size_t>(bytes), stream, scan);
}

template <int KIND> static int launch_f32(const recurrent_scan<float> &scan, const recurrent_shape &shape, cudaStream_t stream) {
    const bool four = shape.rows == 4;
    if (shape.slices == 4)
        return four ? launch<float, KIND, 4, 4, 2>(scan, shape, stream) : launch<float, KIND, 1, 4, 3>(scan, shape, stream);
    return four ? launch<float, KIND, 4, 2, 1>(scan, shape, stream) : launch<float, KIND, 1, 2, 3>(scan, shape, stream);
}

int cuda_recurrent_scan_forward(const recurrent_scan<float> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream) {
    switch (kind) {
    case KIND_RNN: return launch_f32<KIND_RNN>(scan, shape, stream);
    case KIND_LSTM: return launch_f32<KIND_LSTM>(scan, shape, stream);
    case KIND_COUPLED: return launch_f32<KIND_COUPLED>(scan, shape, stream);
    default: return launch_f32<KIND_GRU>(scan, shape, stream);
    }
}

/* f64 is for checks more than for speed: one shape. */
int cuda_recurrent_scan_forward(const recurrent_scan<double> &scan, int kind, const recurrent_shape &shape, cudaStream_t stream) {
    switch (kind) {
    case KIND_RNN: return launch<double, KIND_RNN, 1, 1, 1>(scan, shape, stream);
    case KIND_LSTM: return launch<double, KIND_LSTM, 1, 1, 1>(scan, shape, stream);
    case KIND_COUPLED: return launch<double, KIND_COUPLED, 1, 1, 1>(scan, shape, stream);
    default: return launch<double, KIND_GRU, 1, 1, 1>(scan, shape, stream);
    }
}
