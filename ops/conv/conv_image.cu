/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the places that see an element: the gradient of a convolution's input, a transposed convolution forward. */
#include "common/cuda.h"
#include "conv/conv_cuda.h"

/* Elements of one remainder by the stride are seen by the same taps: each remainder (h.stride * w.stride of them) of each group is a
 * problem of its own, whose k runs over units and those taps alone, so that no product is with a zero between places. Bytes: y from the
 * caches once a tap, x once. Padding of elements: x is then the padded image, which a second kernel folds back. */
template <typename T> struct image_product {
    typedef T real;
    static const bool a_deep = true, b_deep = false;
    conv_geometry g;
    const T *y, *weight, *bias;
    T *x;
    bool add, vectors; /* neighbours by fours, aligned, not added to */
    int32_t image, places, kernel;

    struct place {
        int32_t m, n, k;
        int32_t group, i0, j0;     /* first element of the remainder */
        int32_t height, width;     /* elements of it */
        conv_taps_of down, across; /* taps of element (i0, j0), whose places are so many further for each next one */
        tiles_divider by_area, by_width, by_taps, by_across;
        const T *y, *weight;
    };
    typedef int32_t row;
    struct column {
        int32_t at, i, j; /* the sample's places; the place of the first taps */
    };
    typedef int32_t a_depth;
    struct b_depth {
        int32_t at, i, j;
    };

    static __device__ int32_t first_of(const conv_axis &axis, int32_t phase) {
        const int32_t rest = (phase - axis.before) % axis.stride;
        return rest < 0 ? rest + axis.stride : rest;
    }
    __device__ place open(int32_t problem) const {
        place p;
        const int32_t phases = g.h.stride * g.w.stride, phase = problem % phases;
        p.group = problem / phases;
        p.i0 = first_of(g.h, phase / g.w.stride), p.j0 = first_of(g.w, phase % g.w.stride);
        p.height = p.i0 < g.h.in ? (g.h.in - 1 - p.i0) / g.h.stride + 1 : 0;
        p.width = p.j0 < g.w.in ? (g.w.in - 1 - p.j0) / g.w.stride + 1 : 0;
        p.down = conv_taps_find(g.h, p.i0 + g.h.before), p.across = conv_taps_find(g.w, p.j0 + g.w.before);
        p.m = g.channels, p.n = g.batch * p.height * p.width, p.k = g.units * p.down.count * p.across.count;
        p.by_area = tiles_divider::of(p.height * p.width), p.by_width = tiles_divider::of(p.width);
        p.by_taps = tiles_divider::of(p.down.count * p.across.count), p.by_across = tiles_divider::of(p.across.count);
        p.y = y + static_cast<int64_t>(p.group) * g.units * places;
        p.weight = weight + static_cast<int64_t>(p.group) * g.units * g.channels * kernel;
        return p;
    }
    __device__ row row_of(const place &, int32_t m) const { return m * kernel; }
    __device__ column column_of(const place &p, int32_t n) const {
        const int32_t sample = p.by_area.quotient(n), at = n - sample * p.height * p.width, i = p.by_width.quotient(at),
                      j = at - i * p.width;
        return {sample * g.groups * g.units * places, p.down.place + i, p.across.place + j};
    }
    __device__ a_depth a_depth_of(const place &p, int32_t k) const {
        const int32_t unit = p.by_taps.quotient(k), tap = k - unit * p.down.count * p.across.count, i = p.by_across.quotient(tap),
                      j = tap - i * p.across.count;
        return unit * g.channels * kernel + (p.down.first + i * g.h.step) * g.w.kernel + p.across.first + j * g.w.step;
    }
    __device__ b_depth b_depth_of(const place &p, int32_t k) const {
        const int32_t unit = p.by_taps.quotient(k), tap = k - unit * p.down.count * p.across.count, i = p.by_across.quotient(tap),
                      j = tap - i * p.across.count;
        return {unit * places, i * g.h.back, j * g.w.back};
    }
    __device__ T a(const place &p, row r, a_depth d) const { return p.weight[r + d]; }
    __device__ T b(const place &p, const column &c, const b_depth &d) const {
        const int32_t i = c.i - d.i, j = c.j - d.j;
        if (static_cast<uint32_t>(i) >= static_cast<uint32_t>(g.h.out) || static_cast<uint32_t>(j) >= static_cast<uint32_t>(g.w.out))
            return 0;
        return p.y[c.at + d.at + i * g.w.out + j];
    }
    __device__ void put(const place &p, int32_t m, int32_t n, int32_t count, const T *value) const {
        const int32_t channel = p.group * g.channels + m;
        const T plus = bias ? bias[channel] : T(0);
        if (vectors && count == 4) {
            const T v[4] = {value[0] + plus, value[1] + plus, value[2] + plus, value[3] + plus};
            const int32_t sample = p.by_area.quotient(n);
            tiles_store(x + static_cast<int64_t>(sample * g.groups * g.channels + channel) * image + n - sample * image, v);
            return;
        }
#pragma unroll
        for (int l = 3; l >= 0; l--) { /* from the last on, as places_product does and for its reason */
            if (l >= count) continue;
            const int32_t sample = p.by_area.quotient(n + l), at = n + l - sample * p.height * p.width, i = p.by_width.quotient(at),
                          j = at - i * p.width;
            T *to = x + static_cast<int64_t>(sample * g.groups * g.channels + channel) * image + (p.i0 + i * g.h.stride) * g.w.in + p.j0 +
                    j * g.w.stride;
            *to = value[l] + plus + (add ? *to : T(0));
        }
    }
};

struct image_dividers {
    tiles_divider by_image, by_width;
};

/* A group has few channels: a thread an element of the image, CHANNELS of them at once. */
template <typename T, int CHANNELS>
static __global__ void image_direct_kernel(const image_product<T> q, const image_dividers by, const int32_t blocks, const int64_t count) {
    const conv_geometry &g = q.g;
    CUDA_EACH(index, count) {
        const int32_t rest = by.by_image.quotient(static_cast<int32_t>(index)), at = static_cast<int32_t>(index) - rest * q.image;
        const int32_t sample = rest / (g.groups * blocks), group = rest / blocks % g.groups, first = rest % blocks * CHANNELS;
        const int32_t i = by.by_width.quotient(at), j = at - i * g.w.in;
        const conv_taps_of down = conv_taps_find(g.h, i + g.h.before), across = conv_taps_find(g.w, j + g.w.before);
        const T *y = q.y + static_cast<int64_t>(sample * g.groups + group) * g.units * q.places;
        const T *w = q.weight + static_cast<int64_t>(group) * g.units * g.channels * q.kernel + first * q.kernel;
        T sum[CHANNELS];
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) sum[c] = q.bias && first + c < g.channels ? q.bias[group * g.channels + first + c] : T(0);
        for (int32_t u = 0; u < g.units; u++, y += q.places, w += g.channels * q.kernel)
            for (int32_t k = 0; k < down.count; k++) {
                const int32_t row = down.place - k * g.h.back;
                if (static_cast<uint32_t>(row) >= static_cast<uint32_t>(g.h.out)) continue;
                const T *taps = w + (down.first + k * g.h.step) * g.w.kernel + across.first;
                for (int32_t l = 0; l < across.count; l++) {
                    const int32_t column = across.place - l * g.w.back;
                    if (static_cast<uint32_t>(column) >= static_cast<uint32_t>(g.w.out)) continue;
                    const T value = y[row * g.w.out + column];
#pragma unroll
                    for (int c = 0; c < CHANNELS; c++)
                        if (first + c < g.channels) sum[c] += taps[c * q.kernel + l * g.w.step] * value;
                }
            }
        T *x = q.x + (static_cast<int64_t>(sample * g.groups + group) * g.channels + first) * q.image + at;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            if (first + c < g.channels)
                x[static_cast<int64_t>(c) * q.image] = sum[c] + (q.add ? x[static_cast<int64_t>(c) * q.image] : T(0));
    }
}

/* ---- Padding with elements of the image ---- */

/* Is padded element p, not one of the image's own, a copy of element i? */
static __device__ inline bool repeats(int32_t p, int32_t i, int32_t before, int32_t in, int32_t mode) {
    return conv_source(p - before, in, mode) == i;
}

/* Sums of padded[p, q] over the copies (p, q) of one element, its own first. Elements further from the ends than the padding have none. */
struct fold_axis {
    int32_t in, before, after;
};
template <typename T>
static __global__ void fold_kernel(const T *padded, T *x, fold_axis h, fold_axis w, int32_t mode, bool add, tiles_divider by_image,
                                   tiles_divider by_width, int64_t count) {
    const int32_t width = w.before + w.in + w.after, height = h.before + h.in + h.after;
    CUDA_EACH(index, count) {
        const int32_t channel = by_image.quotient(static_cast<int32_t>(index)), at = static_cast<int32_t>(index) - channel * h.in * w.in;
        const int32_t i = by_width.quotient(at), j = at - i * w.in;
        const T *from = padded + static_cast<int64_t>(channel) * height * width;
        const int32_t above = i <= h.before || i + 1 >= h.in - h.before || i <= h.after || i + 1 >= h.in - h.after ? h.before + h.after : 0;
        const int32_t beside =
            j <= w.before || j + 1 >= w.in - w.before || j <= w.after || j + 1 >= w.in - w.after ? w.before + w.after : 0;
        T sum = 0;
        for (int32_t k = -1; k < above; k++) {
            const int32_t p = k < 0 ? i + h.before : k < h.before ? k : k + h.in;
            if (k >= 0 && !repeats(p, i, h.before, h.in, mode)) continue;
            for (int32_t l = -1; l < beside; l++) {
                const int32_t q = l < 0 ? j + w.before : l < w.before ? l : l + w.in;
                if (l >= 0 && !repeats(q, j, w.before, w.in, mode)) continue;
                sum += from[p * width + q];
            }
        }
        x[index] = sum + (add ? x[index] : T(0));
    }
}

static bool folds(const conv_geometry &g) {
    return g.mode != MODE_ZERO && g.h.in > 0 && g.w.in > 0 && (g.h.before > 0 || g.w.before > 0 || g.h.after > 0 || g.w.after > 0);
}

/* The padded image in place of the image. */
static conv_geometry padded_of(conv_geometry g) {
    conv_axis *axes[2] = {&g.h, &g.w};
    for (conv_axis *axis : axes) axis->in += axis->before + axis->after, axis->before = 0, axis->after = 0;
    g.mode = MODE_ZERO;
    return g;
}

static int64_t image_count(const conv_geometry &g) { return static_cast<int64_t>(g.batch) * g.groups * g.channels * g.h.in * g.w.in; }

/* The largest of the problems. */
struct image_extents {
    int64_t m, n, k, problems;
};
static image_extents extents_of(const conv_geometry &g) {
    const conv_axis *axes[2] = {&g.h, &g.w};
    image_extents e = {g.channels, g.batch, g.units, static_cast<int64_t>(g.groups) * g.h.stride * g.w.stride};
    for (const conv_axis *axis : axes)
        e.n *= (axis->in + axis->stride - 1) / axis->stride, e.k *= (axis->kernel + axis->step - 1) / axis->step;
    return e;
}

static bool is_direct(const conv_geometry &g) {
    const image_extents e = extents_of(g);
    return g.channels <= 4 || (g.channels <= 8 && e.k <= 64) || e.problems > 4096 ||
           e.n * e.problems / g.groups > 8 * image_count(g) + 65536;
}

int64_t cuda_conv_image_bytes(const struct conv_geometry *given, int64_t size) {
    if (folds(*given)) {
        const conv_geometry padded = padded_of(*given);
        return (image_count(padded) * size + 63) / 64 * 64 + cuda_conv_image_bytes(&padded, size);
    }
    if (is_direct(*given)) return 0;
    const image_extents e = extents_of(*given);
    return tiles_bytes(size, e.m, e.n, e.k, e.problems);
}

template <typename T, int CHANNELS> static int direct_launch(const struct flow_call *call, const image_product<T> &q) {
    const conv_geometry &g = q.g;
    const int32_t blocks = (g.channels + CHANNELS - 1) / CHANNELS;
    const int64_t count = static_cast<int64_t>(g.batch) * g.groups * blocks * q.image;
    const image_dividers by = {tiles_divider::of(q.image), tiles_divider::of(g.w.in)};
    return cuda_status(call, CUDA_LAUNCH((image_direct_kernel<T, CHANNELS>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0,
                                         cuda_stream(call), q, by, blocks, count));
}

template <typename T>
static int run(const struct flow_call *call, const conv_geometry &g, const void *y, const void *weight, const void *bias, void *x, bool add,
               void *workspace) {
    if (image_count(g) == 0) return FLOW_OK;
    if (folds(g)) {
        const conv_geometry padded = padded_of(g);
        char *rest = static_cast<char *>(workspace) + (image_count(padded) * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
        const int status = run<T>(call, padded, y, weight, nullptr, workspace, false, rest);
        if (status < 0) return status;
        const fold_axis h = {g.h.in, g.h.before, g.h.after}, w = {g.w.in, g.w.before, g.w.after};
        return cuda_status(call, CUDA_LAUNCH((fold_kernel<T>), cuda_blocks(image_count(g), CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                             static_cast<const T *>(workspace), static_cast<T *>(x), h, w, g.mode, add,
                                             tiles_divider::of(g.h.in * g.w.in), tiles_divider::of(g.w.in), image_count(g)));
    }
    if (cuda_conv_line_fits(&g)) return cuda_conv_line(call, &g, sizeof(T) == 8 ? FLOW_F64 : FLOW_F32, y, weight, bias, x, add, true);
    image_product<T> q;
    q.g = g;
    q.y = static_cast<const T *>(y), q.weight = static_cast<const T *>(weight), q.bias = static_cast<const T *>(bias);
    q.x = static_cast<T *>(x), q.add = add;
    q.image = g.h.in * g.w.in, q.places = g.h.out * g.w.out, q.kernel = g.h.kernel * g.w.kernel;
    q.vectors = !add && g.h.stride == 1 && g.w.stride == 1 && q.image % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
    if (is_direct(g))
        return g.channels == 1   ? direct_launch<T, 1>(call, q)
               : g.channels == 2 ? direct_launch<T, 2>(call, q)
                                 : direct_launch<T, 4>(call, q);
    const image_extents e = extents_of(g);
    return tiles_run(call, q, e.m, e.n, e.k, e.problems, workspace);
}

int cuda_conv_image(const struct flow_call *call, const struct conv_geometry *g, int32_t dtype, const void *y, const void *weight,
                    const void *bias, void *x, bool add, void *workspace) {
    return dtype == FLOW_F64 ? run<double>(call, *g, y, weight, bias, x, add, workspace)
                             : run<float>(call, *g, y, weight, bias, x, add, workspace);
}
