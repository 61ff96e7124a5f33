/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over a window: conv forward, the gradient of a transposed convolution's input. */
#include "common/cuda.h"
#include "conv/conv_cuda.h"

/* Bytes: x once or a few times from the second cache, weights once a tile of places, y once. Flops: 2 units taps places. Of a tile,
 * weights' neighbours run along taps, the image's along places. */
template <typename T> struct places_product {
    typedef T real;
    static const bool a_deep = true, b_deep = false;
    conv_geometry g;
    const T *x, *weight, *bias;
    T *y;
    bool add, vectors; /* places in fours, aligned, not added to */
    int32_t image, places, taps;
    tiles_divider by_places, by_width, by_kernel, by_kernel_width;

    struct place {
        int32_t m, n, k, group;
        const T *x, *weight;
    };
    typedef int32_t row; /* offset of a unit's weights */
    struct column {
        int32_t at, i, j; /* the sample's image; the window's first element */
    };
    typedef int32_t a_depth;
    struct b_depth {
        int32_t at, i, j;
    };

    __device__ place open(int32_t problem) const {
        return {g.units,
                g.batch * places,
                taps,
                problem,
                x + static_cast<int64_t>(problem) * g.channels * image,
                weight + static_cast<int64_t>(problem) * g.units * taps};
    }
    __device__ row row_of(const place &, int32_t m) const { return m * taps; }
    __device__ column column_of(const place &, int32_t n) const {
        const int32_t sample = by_places.quotient(n), p = n - sample * places, down = by_width.quotient(p), across = p - down * g.w.out;
        return {sample * g.groups * g.channels * image, down * g.h.stride - g.h.before, across * g.w.stride - g.w.before};
    }
    __device__ a_depth a_depth_of(const place &, int32_t k) const { return k; }
    __device__ b_depth b_depth_of(const place &, int32_t k) const {
        const int32_t kernel = g.h.kernel * g.w.kernel, c = by_kernel.quotient(k), tap = k - c * kernel,
                      down = by_kernel_width.quotient(tap);
        return {c * image, down * g.h.dilation, (tap - down * g.w.kernel) * g.w.dilation};
    }
    __device__ T a(const place &p, row r, a_depth d) const { return p.weight[r + d]; }
    __device__ T b(const place &p, const column &c, const b_depth &d) const {
        int32_t i = c.i + d.i, j = c.j + d.j;
        if (static_cast<uint32_t>(i) >= static_cast<uint32_t>(g.h.in) || static_cast<uint32_t>(j) >= static_cast<uint32_t>(g.w.in)) {
            if (g.mode == MODE_ZERO) return 0;
            i = conv_source(i, g.h.in, g.mode), j = conv_source(j, g.w.in, g.mode);
        }
        return p.x[c.at + d.at + i * g.w.in + j];
    }
    __device__ void put(const place &p, int32_t m, int32_t n, int32_t count, const T *value) const {
        const int32_t unit = p.group * g.units + m;
        const T plus = bias ? bias[unit] : T(0);
        if (vectors && count == 4) {
            const T v[4] = {value[0] + plus, value[1] + plus, value[2] + plus, value[3] + plus};
            const int32_t sample = by_places.quotient(n);
            tiles_store(y + static_cast<int64_t>(sample * g.groups * g.units + unit) * places + n - sample * places, v);
            return;
        }
#pragma unroll
        for (int i = 3; i >= 0;
             i--) { /* from the last on: in the other order the compiler shares stores with the vector's, and splits that */
            if (i >= count) continue;
            const int32_t sample = by_places.quotient(n + i);
            T *to = y + static_cast<int64_t>(sample * g.groups * g.units + unit) * places + n + i - sample * places;
            *to = value[i] + plus + (add ? *to : T(0));
        }
    }
};

/* A group makes few units: a thread a place, UNITS of them at once, neighbouring threads neighbouring places. x is read from the caches
 * once a tap; weights are the same for a whole warp. Memory's speed is the limit up to about 9 taps of one channel. */
template <typename T, int UNITS>
static __global__ void places_direct_kernel(const places_product<T> q, const int32_t blocks, const int64_t count) {
    const conv_geometry &g = q.g;
    CUDA_EACH(index, count) {
        const int32_t rest = q.by_places.quotient(static_cast<int32_t>(index)), p = static_cast<int32_t>(index) - rest * q.places;
        const int32_t sample = rest / (g.groups * blocks), group = rest / blocks % g.groups, first = rest % blocks * UNITS;
        const int32_t down = q.by_width.quotient(p), i0 = down * g.h.stride - g.h.before,
                      j0 = (p - down * g.w.out) * g.w.stride - g.w.before;
        const T *x = q.x + static_cast<int64_t>(sample * g.groups + group) * g.channels * q.image;
        const T *w[UNITS];
        T sum[UNITS];
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            const int32_t unit = group * g.units + (first + u < g.units ? first + u : g.units - 1);
            w[u] = q.weight + static_cast<int64_t>(unit) * q.taps;
            sum[u] = q.bias ? q.bias[unit] : T(0);
        }
        int32_t tap = 0;
        for (int32_t c = 0; c < g.channels; c++, x += q.image)
            for (int32_t k = 0; k < g.h.kernel; k++) {
                int32_t i = i0 + k * g.h.dilation;
                if (static_cast<uint32_t>(i) >= static_cast<uint32_t>(g.h.in)) {
                    if (g.mode == MODE_ZERO) {
                        tap += g.w.kernel;
                        continue;
                    }
                    i = conv_source(i, g.h.in, g.mode);
                }
                const T *line = x + i * g.w.in;
                for (int32_t l = 0; l < g.w.kernel; l++, tap++) {
                    int32_t j = j0 + l * g.w.dilation;
                    if (static_cast<uint32_t>(j) >= static_cast<uint32_t>(g.w.in)) {
                        if (g.mode == MODE_ZERO) continue;
                        j = conv_source(j, g.w.in, g.mode);
                    }
                    const T value = line[j];
#pragma unroll
                    for (int u = 0; u < UNITS; u++) sum[u] += w[u][tap] * value;
                }
            }
        T *y = q.y + (static_cast<int64_t>(sample * g.groups + group) * g.units + first) * q.places + p;
#pragma unroll
        for (int u = 0; u < UNITS; u++)
            if (first + u < g.units)
                y[static_cast<int64_t>(u) * q.places] = sum[u] + (q.add ? y[static_cast<int64_t>(u) * q.places] : T(0));
    }
}

/* Few places (a stream's step): a warp a unit and COLUMNS places; its lanes share the taps, so that weights, all there is to read, come
 * in whole lines. */
template <typename T, int COLUMNS>
static __global__ void places_few_kernel(const places_product<T> q, const int32_t chunks, const int64_t count) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % CUDA_WARP;
    const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / CUDA_WARP);
    for (int64_t index = static_cast<int64_t>(blockIdx.x) * (blockDim.x / CUDA_WARP) + threadIdx.x / CUDA_WARP; index < count;
         index += warps) {
        const int32_t chunk = static_cast<int32_t>(index) % chunks, unit = static_cast<int32_t>(index) / chunks, group = unit / q.g.units;
        const typename places_product<T>::place place = q.open(group);
        const int32_t m = unit - group * q.g.units, n = chunk * COLUMNS;
        typename places_product<T>::column column[COLUMNS];
        T sum[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            column[j] = q.column_of(place, n + j < place.n ? n + j : n);
            sum[j] = 0;
        }
        const T *w = place.weight + q.row_of(place, m);
        for (int32_t k = lane; k < q.taps; k += CUDA_WARP) {
            const typename places_product<T>::b_depth depth = q.b_depth_of(place, k);
            const T factor = w[k];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) sum[j] += factor * q.b(place, column[j], depth);
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
            for (int step = CUDA_WARP / 2; step > 0; step /= 2) sum[j] += __shfl_xor_sync(CUDA_WHOLE_WARP, sum[j], step);
        if (lane == 0)
            for (int32_t j = 0; j < COLUMNS && n + j < place.n; j++) {
                T value[4] = {0, 0, 0, 0};
#pragma unroll
                for (int l = 0; l < COLUMNS; l++)
                    if (l == j) value[0] = sum[l];
                q.put(place, m, n + j, 1, value);
            }
    }
}

enum { PLACES_TILES, PLACES_DIRECT, PLACES_FEW };

static int way_of(const conv_geometry &g) {
    const int64_t n = static_cast<int64_t>(g.batch) * g.h.out * g.w.out;
    const int64_t taps = static_cast<int64_t>(g.channels) * g.h.kernel * g.w.kernel;
    if (n <= 16 && taps >= 32) return PLACES_FEW;
    if (g.units <= 8 && (g.units <= 4 || taps <= 64)) return PLACES_DIRECT;
    return PLACES_TILES;
}

int64_t cuda_conv_places_bytes(const struct conv_geometry *g, int64_t size) {
    if (way_of(*g) != PLACES_TILES || cuda_conv_line_fits(g)) return 0;
    return tiles_bytes(size, g->units, static_cast<int64_t>(g->batch) * g->h.out * g->w.out,
                       static_cast<int64_t>(g->channels) * g->h.kernel * g->w.kernel, g->groups);
}

template <typename T, int UNITS> static int direct_launch(const struct flow_call *call, const places_product<T> &q) {
    const int32_t blocks = (q.g.units + UNITS - 1) / UNITS;
    const int64_t count = static_cast<int64_t>(q.g.batch) * q.g.groups * blocks * q.places;
    return cuda_status(call, CUDA_LAUNCH((places_direct_kernel<T, UNITS>), cuda_blocks(count, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                         q, blocks, count));
}

template <typename T, int COLUMNS> static int few_launch(const struct flow_call *call, const places_product<T> &q) {
    const int32_t chunks = (q.g.batch * q.places + COLUMNS - 1) / COLUMNS;
    const int64_t count = static_cast<int64_t>(q.g.groups) * q.g.units * chunks;
    return cuda_status(call, CUDA_LAUNCH((places_few_kernel<T, COLUMNS>), cuda_blocks(count * CUDA_WARP, CUDA_BLOCK), CUDA_BLOCK, 0,
                                         cuda_stream(call), q, chunks, count));
}

template <typename T>
static int run(const struct flow_call *call, const conv_geometry &g, const void *x, const void *weight, const void *bias, void *y, bool add,
               void *workspace) {
    places_product<T> q;
    q.g = g;
    q.x = static_cast<const T *>(x), q.weight = static_cast<const T *>(weight), q.bias = static_cast<const T *>(bias);
    q.y = static_cast<T *>(y), q.add = add;
    q.image = g.h.in * g.w.in, q.places = g.h.out * g.w.out, q.taps = g.channels * g.h.kernel * g.w.kernel;
    if (g.batch == 0 || q.places == 0) return FLOW_OK;
    q.vectors = !add && q.places % 4 == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
    q.by_places = tiles_divider::of(q.places), q.by_width = tiles_divider::of(g.w.out);
    q.by_kernel = tiles_divider::of(g.h.kernel * g.w.kernel), q.by_kernel_width = tiles_divider::of(g.w.kernel);
    switch (way_of(g)) {
    case PLACES_FEW: return g.batch * q.places == 1 ? few_launch<T, 1>(call, q) : few_launch<T, 4>(call, q);
    case PLACES_DIRECT:
        return g.units == 1 ? direct_launch<T, 1>(call, q) : g.units <= 2 ? direct_launch<T, 2>(call, q) : direct_launch<T, 4>(call, q);
    default: return tiles_run(call, q, g.units, static_cast<int64_t>(g.batch) * q.places, q.taps, g.groups, workspace);
    }
}

int cuda_conv_places(const struct flow_call *call, const struct conv_geometry *g, int32_t dtype, const void *x, const void *weight,
                     const void *bias, void *y, bool add, void *workspace) {
    if (cuda_conv_line_fits(g)) return cuda_conv_line(call, g, dtype, x, weight, bias, y, add, false);
    return dtype == FLOW_F64 ? run<double>(call, *g, x, weight, bias, y, add, workspace)
                             : run<float>(call, *g, x, weight, bias, y, add, workspace);
}
