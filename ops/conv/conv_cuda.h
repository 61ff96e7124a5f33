/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions on CUDA. A convolution ties an image [batch, groups * channels, h.in, w.in] to places [batch, groups * units, h.out, w.out]
 * by weights [groups * units, channels, h.kernel, w.kernel]. Three sums, each the gradient of another, serve conv1d, conv2d and their
 * transposes, forward and backward:
 *     places:  y[u, place] = sum over channels, taps of w x     convolution forward; a transpose's gradient of x
 *     image:   x[c, i] = sum over units, taps of w y            a convolution's gradient of x; transpose forward
 *     weights: w[u, c, tap] = sum over samples, places of y x   both
 * Each is a product of tiles (common/cuda_tiles.h) that finds its elements as it goes, without columns in memory; where a group has few
 * units or channels, so that tiles would stay empty, threads sum up their own results.
 */
#ifndef OPS_CONV_CONV_CUDA_H
#define OPS_CONV_CONV_CUDA_H

#include "common/cuda_tiles.h"
#include "conv/conv.h"
#include "conv/conv_transpose.h"

/* Place o sees elements o * stride + tap * dilation - before. */
struct conv_axis {
    int32_t in, out, kernel, stride, dilation, before, after;
    int32_t step, back; /* taps that see one element of x are `step` apart, their places `back` */
};

struct conv_geometry {
    int32_t batch, groups, channels, units; /* channels and units of a group */
    int32_t mode;                           /* of padding */
    struct conv_axis h, w;
};

/* False where 32 bits do not number all elements. */
bool cuda_conv_geometry(const struct conv_plan *plan, struct conv_geometry *geometry);
bool cuda_conv_transpose_geometry(const struct transpose_plan *plan, struct conv_geometry *geometry);

/* Bytes of workspace of each sum, and the sums. `bias` NULL: none; `add`: to what the result holds. Empty ones are legal. */
int64_t cuda_conv_places_bytes(const struct conv_geometry *geometry, int64_t size);
int cuda_conv_places(const struct flow_call *call, const struct conv_geometry *geometry, int32_t dtype, const void *x, const void *weight,
                     const void *bias, void *y, bool add, void *workspace);
int64_t cuda_conv_image_bytes(const struct conv_geometry *geometry, int64_t size);
int cuda_conv_image(const struct flow_call *call, const struct conv_geometry *geometry, int32_t dtype, const void *y, const void *weight,
                    const void *bias, void *x, bool add, void *workspace);
int64_t cuda_conv_weights_bytes(const struct conv_geometry *geometry, int64_t size);
int cuda_conv_weights(const struct flow_call *call, const struct conv_geometry *geometry, int32_t dtype, const void *x, const void *y,
                      void *weight, bool add, void *workspace);
/* bias[u] = sum over samples and places of y [batch, units, places] */
int64_t cuda_conv_bias_bytes(int64_t batch, int64_t units, int64_t places, int64_t size);
int cuda_conv_bias(const struct flow_call *call, int64_t batch, int64_t units, int64_t places, int32_t dtype, const void *y, void *bias,
                   bool add, void *workspace);

/* Depthwise convolutions along lines have a kernel of their own: `places`, or `image` where it is turned round. */
bool cuda_conv_line_fits(const struct conv_geometry *geometry);
int cuda_conv_line(const struct flow_call *call, const struct conv_geometry *geometry, int32_t dtype, const void *x, const void *weight,
                   const void *bias, void *y, bool add, bool turned);

/* Kept and new elements side by side, as window_stream_join: the input with its history, or NULL with *status where a launch fails. */
const void *cuda_window_join(const struct flow_call *call, const struct window_stream *stream, void *joined, int *status);

static __device__ inline int32_t conv_source(int32_t i, int32_t in, int32_t mode) {
    if (i >= 0 && i < in) return i;
    switch (mode) {
    case MODE_REFLECT: return i < 0 ? -i : 2 * (in - 1) - i;
    case MODE_REPLICATE: return i < 0 ? 0 : in - 1;
    case MODE_CIRCULAR: return i < 0 ? i + in : i - in;
    default: return -1;
    }
}

/* Which taps see padded element p (which may be negative where `before` is): first, first + step, ..., `count` of them; the place of the
 * first, each further one's `back` before it. */
struct conv_taps_of {
    int32_t first, count, place;
};
static __device__ inline conv_taps_of conv_taps_find(const conv_axis &axis, int32_t p) {
    if (axis.stride == 1) return {0, axis.kernel, p};
    int32_t phase = p % axis.stride, first = 0;
    if (phase < 0) phase += axis.stride;
    if (axis.dilation == 1) first = phase;
    else
        while (first < axis.step && static_cast<int32_t>(static_cast<int64_t>(first) * axis.dilation % axis.stride) != phase) first++;
    if (first >= axis.step || first >= axis.kernel) return {0, 0, 0};
    return {first, (axis.kernel - 1 - first) / axis.step + 1, (p - first * axis.dilation) / axis.stride};
}

#endif
