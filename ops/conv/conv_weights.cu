/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over samples and places: gradients of weights and biases. Long sums are cut into parts whose results a second kernel adds in
 * order. */
#include "common/cuda.h"
#include "common/cuda_reduce.h"
#include "conv/conv_cuda.h"

/* k runs over samples and places, along which both operands' neighbours run. Bytes: y and x once a tile of the weights. */
template <typename T> struct weights_product {
    typedef T real;
    static const bool a_deep = true, b_deep = true;
    conv_geometry g;
    const T *x, *y;
    T *weight;
    bool add;
    int32_t image, places, taps;
    tiles_divider by_places, by_width, by_kernel, by_kernel_width;

    struct place {
        int32_t m, n, k, group;
        const T *x, *y;
    };
    typedef int32_t row;
    struct column {
        int32_t at, i, j; /* the channel; where its tap looks */
    };
    typedef int32_t a_depth;
    struct b_depth {
        int32_t at, i, j; /* the sample; the window's first element */
    };

    __device__ place open(int32_t problem) const {
        return {g.units,
                taps,
                g.batch * places,
                problem,
                x + static_cast<int64_t>(problem) * g.channels * image,
                y + static_cast<int64_t>(problem) * g.units * places};
    }
    __device__ row row_of(const place &, int32_t m) const { return m * places; }
    __device__ column column_of(const place &, int32_t n) const {
        const int32_t kernel = g.h.kernel * g.w.kernel, c = by_kernel.quotient(n), tap = n - c * kernel,
                      down = by_kernel_width.quotient(tap);
        return {c * image, down * g.h.dilation - g.h.before, (tap - down * g.w.kernel) * g.w.dilation - g.w.before};
    }
    __device__ a_depth a_depth_of(const place &, int32_t k) const {
        const int32_t sample = by_places.quotient(k);
        return sample * g.groups * g.units * places + k - sample * places;
    }
    __device__ b_depth b_depth_of(const place &, int32_t k) const {
        const int32_t sample = by_places.quotient(k), p = k - sample * places, down = by_width.quotient(p);
        return {sample * g.groups * g.channels * image, down * g.h.stride, (p - down * g.w.out) * g.w.stride};
    }
    __device__ T a(const place &p, row r, a_depth d) const { return p.y[r + d]; }
    __device__ T b(const place &p, const column &c, const b_depth &d) const {
        int32_t i = c.i + d.i, j = c.j + d.j;
        if (static_cast<uint32_t>(i) >= static_cast<uint32_t>(g.h.in) || static_cast<uint32_t>(j) >= static_cast<uint32_t>(g.w.in)) {
            if (g.mode == MODE_ZERO) return 0;
            i = conv_source(i, g.h.in, g.mode), j = conv_source(j, g.w.in, g.mode);
        }
        return p.x[c.at + d.at + i * g.w.in + j];
    }
    __device__ void put(const place &p, int32_t m, int32_t n, int32_t count, const T *value) const {
        T *to = weight + static_cast<int64_t>(p.group * g.units + m) * taps + n;
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < count) to[i] = value[i] + (add ? to[i] : T(0));
    }
};

static const int WEIGHTS_TAPS = 8;

/* Few units and channels to a group: a block a channel of a unit, WEIGHTS_TAPS of its taps and a part of the places. A thread reads its
 * places' y once and x from the caches for each tap; neighbouring threads neighbouring places. to: [splits, weights], or the weights. */
template <typename T>
static __global__ void weights_direct_kernel(const weights_product<T> q, T *to, const int32_t chunks, const int32_t depth, const bool add) {
    CUDA_SHARED(T, kept, 32);
    const conv_geometry &g = q.g;
    const int32_t weights = g.groups * g.units * q.taps, kernel = g.h.kernel * g.w.kernel;
    const int32_t of_part = g.groups * g.units * g.channels * chunks;
    const int32_t part = static_cast<int32_t>(blockIdx.x) / of_part, block = static_cast<int32_t>(blockIdx.x) % of_part;
    const int32_t first = block % chunks * WEIGHTS_TAPS, channel = block / chunks % g.channels, unit = block / chunks / g.channels;
    const typename weights_product<T>::place place = q.open(unit / g.units);
    const typename weights_product<T>::row row = q.row_of(place, unit % g.units);
    typename weights_product<T>::column column[WEIGHTS_TAPS];
    T sum[WEIGHTS_TAPS];
#pragma unroll
    for (int j = 0; j < WEIGHTS_TAPS; j++) {
        column[j] = q.column_of(place, channel * kernel + (first + j < kernel ? first + j : first));
        sum[j] = 0;
    }
    const int32_t begin = part * depth, end = place.k - begin < depth ? place.k : begin + depth;
    for (int32_t k = begin + static_cast<int32_t>(threadIdx.x); k < end; k += static_cast<int32_t>(blockDim.x)) {
        const T y = q.a(place, row, q.a_depth_of(place, k));
        const typename weights_product<T>::b_depth at = q.b_depth_of(place, k);
#pragma unroll
        for (int j = 0; j < WEIGHTS_TAPS; j++) sum[j] += y * q.b(place, column[j], at);
    }
    to += static_cast<int64_t>(part) * weights + static_cast<int64_t>(unit) * q.taps + channel * kernel + first;
#pragma unroll
    for (int j = 0; j < WEIGHTS_TAPS; j++) {
        const T value = cuda_block(sum[j], 0, cuda_join_sum(), kept);
        if (threadIdx.x == 0 && first + j < kernel) to[j] = value + (add ? to[j] : T(0));
    }
}

/* A block a unit and a part of its samples' places: y once. to: [splits, units], or the biases. */
template <typename T>
static __global__ void bias_kernel(const T *y, T *to, int32_t units, int32_t places, int32_t total, int32_t depth, tiles_divider by_places,
                                   bool add) {
    CUDA_SHARED(T, kept, 32);
    const int32_t unit = static_cast<int32_t>(blockIdx.x) % units, part = static_cast<int32_t>(blockIdx.x) / units;
    const int32_t begin = part * depth, end = total - begin < depth ? total : begin + depth;
    T sum = 0;
    for (int32_t k = begin + static_cast<int32_t>(threadIdx.x); k < end; k += static_cast<int32_t>(blockDim.x)) {
        const int32_t sample = by_places.quotient(k);
        sum += y[static_cast<int64_t>(sample * units + unit) * places + k - sample * places];
    }
    sum = cuda_block(sum, 0, cuda_join_sum(), kept);
    if (threadIdx.x == 0) to[blockIdx.x] = sum + (add ? to[blockIdx.x] : T(0));
}

template <typename T> static __global__ void parts_kernel(const T *parts, T *to, int32_t splits, int64_t count, bool add) {
    CUDA_EACH(i, count) {
        T sum = 0;
        for (int32_t s = 0; s < splits; s++) sum += parts[s * count + i];
        to[i] = sum + (add ? to[i] : T(0));
    }
}

template <typename T>
static int parts_run(const struct flow_call *call, const void *parts, int32_t splits, int64_t count, void *to, bool add) {
    return cuda_status(call, CUDA_LAUNCH((parts_kernel<T>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         static_cast<const T *>(parts), static_cast<T *>(to), splits, count, add));
}

/* Parts of `total` terms for `sums` blocks: enough blocks for the device, and terms for a block. */
struct parts_cut {
    int32_t splits, depth;
};
static parts_cut parts_of(int64_t sums, int64_t total) {
    int64_t splits = sums > 0 && sums < 8 * 132 ? 8 * 132 / sums : 1, most = total / (4 * CUDA_BLOCK);
    splits = splits > most ? most : splits;
    splits = splits < 1 ? 1 : splits;
    parts_cut cut = {1, static_cast<int32_t>((total + splits - 1) / splits)};
    if (cut.depth > 0) cut.splits = static_cast<int32_t>((total + cut.depth - 1) / cut.depth);
    return cut;
}

static int64_t kernel_of(const conv_geometry &g) { return static_cast<int64_t>(g.h.kernel) * g.w.kernel; }
static int64_t weights_of(const conv_geometry &g) { return static_cast<int64_t>(g.groups) * g.units * g.channels * kernel_of(g); }
static int64_t terms_of(const conv_geometry &g) { return static_cast<int64_t>(g.batch) * g.h.out * g.w.out; }
static int64_t chunks_of(const conv_geometry &g) { return (kernel_of(g) + WEIGHTS_TAPS - 1) / WEIGHTS_TAPS; }
static bool is_direct(const conv_geometry &g) {
    return static_cast<int64_t>(g.units) * g.channels <= 16 || g.units < 4 || g.channels * kernel_of(g) < 4;
}
static parts_cut direct_cut(const conv_geometry &g) {
    return parts_of(static_cast<int64_t>(g.groups) * g.units * g.channels * chunks_of(g), terms_of(g));
}

int64_t cuda_conv_weights_bytes(const struct conv_geometry *g, int64_t size) {
    if (!is_direct(*g)) return tiles_bytes(size, g->units, g->channels * kernel_of(*g), terms_of(*g), g->groups);
    const parts_cut cut = direct_cut(*g);
    return cut.splits == 1 ? 0 : (cut.splits * weights_of(*g) * size + 63) / 64 * 64;
}

template <typename T>
static int run(const struct flow_call *call, const conv_geometry &g, const void *x, const void *y, void *weight, bool add,
               void *workspace) {
    if (weights_of(g) == 0) return FLOW_OK;
    weights_product<T> q;
    q.g = g;
    q.x = static_cast<const T *>(x), q.y = static_cast<const T *>(y);
    q.weight = static_cast<T *>(weight), q.add = add;
    q.image = g.h.in * g.w.in, q.places = g.h.out * g.w.out, q.taps = g.channels * g.h.kernel * g.w.kernel;
    q.by_places = tiles_divider::of(q.places), q.by_width = tiles_divider::of(g.w.out);
    q.by_kernel = tiles_divider::of(g.h.kernel * g.w.kernel), q.by_kernel_width = tiles_divider::of(g.w.kernel);
    if (!is_direct(g)) return tiles_run(call, q, g.units, q.taps, terms_of(g), g.groups, workspace);
    const parts_cut cut = direct_cut(g);
    const int64_t chunks = chunks_of(g), blocks = static_cast<int64_t>(g.groups) * g.units * g.channels * chunks * cut.splits;
    T *to = cut.splits == 1 ? q.weight : static_cast<T *>(workspace);
    const int status =
        cuda_status(call, CUDA_LAUNCH((weights_direct_kernel<T>), static_cast<unsigned>(blocks), CUDA_BLOCK, 0, cuda_stream(call), q, to,
                                      static_cast<int32_t>(chunks), cut.depth, add && cut.splits == 1));
    return status < 0 || cut.splits == 1 ? status : parts_run<T>(call, workspace, cut.splits, weights_of(g), weight, add);
}

int cuda_conv_weights(const struct flow_call *call, const struct conv_geometry *g, int32_t dtype, const void *x, const void *y,
                      void *weight, bool add, void *workspace) {
    return dtype == FLOW_F64 ? run<double>(call, *g, x, y, weight, add, workspace) : run<float>(call, *g, x, y, weight, add, workspace);
}

int64_t cuda_conv_bias_bytes(int64_t batch, int64_t units, int64_t places, int64_t size) {
    const parts_cut cut = parts_of(units, batch * places);
    return cut.splits == 1 ? 0 : (cut.splits * units * size + 63) / 64 * 64;
}

template <typename T>
static int bias_run(const struct flow_call *call, int64_t batch, int64_t units, int64_t places, const void *y, void *bias, bool add,
                    void *workspace) {
    const parts_cut cut = parts_of(units, batch * places);
    T *to = static_cast<T *>(cut.splits == 1 ? bias : workspace);
    const int status = cuda_status(call, CUDA_LAUNCH((bias_kernel<T>), static_cast<unsigned>(units * cut.splits), CUDA_BLOCK, 0,
                                                     cuda_stream(call), static_cast<const T *>(y), to, static_cast<int32_t>(units),
                                                     static_cast<int32_t>(places), static_cast<int32_t>(batch * places), cut.depth,
                                                     tiles_divider::of(static_cast<int32_t>(places)), add && cut.splits == 1));
    return status < 0 || cut.splits == 1 ? status : parts_run<T>(call, workspace, cut.splits, units, bias, add);
}

int cuda_conv_bias(const struct flow_call *call, int64_t batch, int64_t units, int64_t places, int32_t dtype, const void *y, void *bias,
                   bool add, void *workspace) {
    return dtype == FLOW_F64 ? bias_run<double>(call, batch, units, places, y, bias, add, workspace)
                             : bias_run<float>(call, batch, units, places, y, bias, add, workspace);
}
