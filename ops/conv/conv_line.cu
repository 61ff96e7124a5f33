/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution along lines, stride 1, dilation 1, and its gradient of x, which is the same with the kernel turned round: what
 * speech models have in every block, with kernels of 7 to 63 taps. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "conv/conv_cuda.h"

static const int LINE_TAPS = 64; /* at most */
static const int LINE_THREADS = 256, LINE_EACH = 4;

struct line_shape {
    int32_t in, out, kernel, before, mode;
    int32_t lines, groups; /* lines of all samples; line % groups is the channel */
    int32_t tiles;         /* of a line */
    bool turned, add;
};

/* WIDE threads a line, each with four neighbouring results; a block has several lines, or a part of one. What its windows see is laid out
 * in shared memory once; a thread then slides a window of 8 registers over it: two vectors of shared memory for 16 multiplications, where
 * reading each tap by itself takes 32. Bytes: x and y once. */
template <typename T, int WIDE>
static __global__ void __launch_bounds__(LINE_THREADS) line_kernel(const T *x, const T *weight, const T *bias, T *y, const line_shape s) {
    const int LINES = LINE_THREADS / WIDE, TILE = WIDE * LINE_EACH, ROW = TILE + LINE_TAPS;
    CUDA_DYNAMIC_SHARED(T, shared, LINES * (ROW + LINE_TAPS));
    const int row = static_cast<int>(threadIdx.x) / WIDE, lane = static_cast<int>(threadIdx.x) % WIDE;
    const int32_t tile = static_cast<int32_t>(blockIdx.x) % s.tiles, line = static_cast<int32_t>(blockIdx.x) / s.tiles * LINES + row;
    const int32_t first = tile * TILE, channel = line % s.groups;
    const int elements = row * ROW, taps = LINES * ROW + row * LINE_TAPS;
    const bool exists = line < s.lines;
    const T *from = x + static_cast<int64_t>(exists ? line : 0) * s.in;
    for (int i = lane; i < TILE + s.kernel - 1 && exists; i += WIDE) {
        int32_t at = first + i - s.before;
        if (static_cast<uint32_t>(at) >= static_cast<uint32_t>(s.in))
            at = first + i < s.out + s.kernel - 1 ? conv_source(at, s.in, s.mode) : -1;
        shared[elements + i] = at < 0 ? T(0) : from[at];
    }
    for (int k = lane; k < s.kernel && exists; k += WIDE)
        shared[taps + k] = weight[static_cast<int64_t>(channel) * s.kernel + (s.turned ? s.kernel - 1 - k : k)];
    __syncthreads();
    if (!exists || first + lane * LINE_EACH >= s.out) return;
    const T start = bias ? bias[channel] : T(0);
    T sum[4] = {start, start, start, start}, window[8], factor[4];
    int k = 0;
    tiles_take<T>(shared, elements + lane * LINE_EACH, window);
    for (; k + 4 <= s.kernel; k += 4) {
        tiles_take<T>(shared, elements + lane * LINE_EACH + k + 4, window + 4);
        tiles_take<T>(shared, taps + k, factor);
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[i] += factor[j] * window[i + j];
#pragma unroll
        for (int i = 0; i < 4; i++) window[i] = window[i + 4];
    }
    for (; k < s.kernel; k++) {
        const T value = shared[taps + k];
#pragma unroll
        for (int i = 0; i < 4; i++) sum[i] += value * shared[elements + lane * LINE_EACH + k + i];
    }
    T *to = y + static_cast<int64_t>(line) * s.out + first + lane * LINE_EACH;
    if (!s.add && s.out % 4 == 0) {
        tiles_store(to, sum);
        return;
    }
#pragma unroll
    for (int i = 3; i >= 0; i--)
        if (first + lane * LINE_EACH + i < s.out) to[i] = sum[i] + (s.add ? to[i] : T(0));
}

bool cuda_conv_line_fits(const struct conv_geometry *g) {
    return g->channels == 1 && g->units == 1 && g->h.in == 1 && g->h.out == 1 && g->h.kernel == 1 && g->h.before == 0 && g->h.after == 0 &&
           g->w.stride == 1 && g->w.dilation == 1 && g->w.kernel >= 4 && g->w.kernel <= LINE_TAPS && g->w.out >= 32 && g->w.in > 0;
}

template <typename T, int WIDE>
static int launch(const struct flow_call *call, line_shape s, const void *x, const void *weight, const void *bias, void *y) {
    const int lines = LINE_THREADS / WIDE, tile = WIDE * LINE_EACH;
    s.tiles = (s.out + tile - 1) / tile;
    const unsigned blocks = static_cast<unsigned>((s.lines + lines - 1) / lines) * static_cast<unsigned>(s.tiles);
    const size_t bytes = static_cast<size_t>(lines * (tile + 2 * LINE_TAPS)) * sizeof(T);
    return cuda_status(call, CUDA_LAUNCH((line_kernel<T, WIDE>), blocks, LINE_THREADS, bytes, cuda_stream(call), static_cast<const T *>(x),
                                         static_cast<const T *>(weight), static_cast<const T *>(bias), static_cast<T *>(y), s));
}

template <typename T>
static int run(const struct flow_call *call, const line_shape &s, const void *x, const void *weight, const void *bias, void *y) {
    return s.out <= 192 ? launch<T, 32>(call, s, x, weight, bias, y) : launch<T, 128>(call, s, x, weight, bias, y);
}

int cuda_conv_line(const struct flow_call *call, const struct conv_geometry *g, int32_t dtype, const void *x, const void *weight,
                   const void *bias, void *y, bool add, bool turned) {
    line_shape s = {g->w.in, g->w.out, g->w.kernel, g->w.before, g->mode, g->batch * g->groups, g->groups, 0, turned, add};
    if (turned) s.in = g->w.out, s.out = g->w.in, s.before = g->w.kernel - 1 - g->w.before, s.mode = MODE_ZERO;
    if (s.lines == 0 || s.out == 0) return FLOW_OK;
    return dtype == FLOW_F64 ? run<double>(call, s, x, weight, bias, y) : run<float>(call, s, x, weight, bias, y);
}
