/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsmn on the device: a filter over time for each channel, one pass over x and y.
 *
 * Lanes are neighbouring channels, so every load and store of a warp is one line. A thread makes ROWS outputs of its channel, `dilation`
 * steps apart: the row that tap k + 1 adds to those of tap k is loaded once and serves ROWS products, from registers. With 20 taps that is
 * 40 flops and 6 loads (from L1 and shared memory) for 8 bytes an output: memory is the limit (419 G outputs/s at 3.35 TB/s want a quarter
 * of the f32 units and a third of the load units of an H100).
 */
#include "common/cuda.h"

#include "kernels_cuda.h"

#include "cuda_speech.h"
#include "fsmn.h"

static const int ROWS = 8, TAPS = 8; /* outputs of a thread; taps whose gradient a thread sums */
static const int64_t SHARED = 40 << 10;
static const int64_t UNIT = 64;        /* rows a thread takes at a time for the weights' gradient, of each phase of the dilation */
static const int64_t BLOCKS = 132 * 8; /* of that gradient, to fill an H100 */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Channels side by side in a block: a warp's, or as few as there are. */
static unsigned channels_of(int64_t units) {
    unsigned channels = 1;
    while (channels < static_cast<unsigned>(CUDA_WARP) && channels < units) channels *= 2;
    return channels;
}

/* ---- Outputs, and the input's gradient: dy filtered by the taps in reverse ---- */

/* Sequences [before + rows, units]: `before` rows of history (NULL: zeros), then `rows` of x, then zeros.
 * y[t] = skip row(t + left*dilation) + sum_k w[k] row(t + k*dilation), t < steps. */
template <typename T> struct filter {
    const T *history, *x, *weight;
    T *y;
    int64_t before, rows, units, steps, taps, left, dilation;
    int64_t phases, tiles;   /* of a sequence: tiles of ROWS rows, those of neighbouring phases side by side */
    int64_t columns, blocks; /* blocks along the channels, along a sequence's tiles */
    bool skip, turned, add;  /* turned: the last tap first */
};

/* ROWS outputs from `first` on. INSIDE: all that they read lies in x. */
template <typename T, bool STAGED, bool INSIDE>
static __device__ __forceinline__ void run_tile(const struct filter<T> &f, CUDA_SHARED_AT(const T) staged, int64_t b, int64_t d,
                                                int64_t first) {
    const int64_t step = f.dilation * f.units;
    const T *x = f.x + (b * f.rows + first - f.before) * f.units + d; /* of the row to come */
    const T *const history = f.history ? f.history + b * f.before * f.units + d : NULL;
    const T *weight = f.weight + d * f.taps + (f.turned ? f.taps - 1 : 0);
    int64_t i = first; /* its number in [before + rows] */
    auto row = [&]() -> T {
        T value = 0;
        if (INSIDE) value = *x;
        else if (i >= f.before && i - f.before < f.rows) value = *x;
        else if (i < f.before && history) value = history[i * f.units];
        x += step, i += f.dilation;
        return value;
    };
    T sum[ROWS], window[ROWS]; /* the row of tap k and output j is window[(k + j) % ROWS] */
#pragma unroll
    for (int j = 0; j < ROWS; j++) sum[j] = 0, window[j] = j < ROWS - 1 ? row() : T(0);
    const int taps = static_cast<int>(f.taps), present = f.skip ? static_cast<int>(f.left) : -1;
    for (int k0 = 0; k0 < taps; k0 += ROWS) {
#pragma unroll
        for (int c = 0; c < ROWS; c++) {
            const int k = k0 + c;
            if (k < taps) {
                window[(c + ROWS - 1) % ROWS] = row();
                const T tap = STAGED ? staged[k] : *weight;
                if (!STAGED) weight += f.turned ? -1 : 1;
                if (k == present)
#pragma unroll
                    for (int j = 0; j < ROWS; j++) sum[j] += window[(c + j) % ROWS];
#pragma unroll
                for (int j = 0; j < ROWS; j++) sum[j] += tap * window[(c + j) % ROWS];
            }
        }
    }
    T *y = f.y + (b * f.steps + first) * f.units + d;
#pragma unroll
    for (int j = 0; j < ROWS; j++, y += step)
        if (first + j * f.dilation < f.steps) *y = f.add ? *y + sum[j] : sum[j];
}

/* Threads (channels, tiles). STAGED: the block's weights lie in shared memory, channel after channel, each an odd number of words. */
template <typename T, bool STAGED, int MOST = sizeof(T) == 8 ? 2 : 4>
static __global__ void __launch_bounds__(256, MOST) filter_kernel(const struct filter<T> f) {
    CUDA_DYNAMIC_SHARED(T, weights, STAGED ? blockDim.x * static_cast<size_t>(f.taps | 1) : 0);
    const int64_t block = blockIdx.x / f.columns, b = block / f.blocks;
    const int64_t column = (blockIdx.x - block * f.columns) * blockDim.x, d = column + threadIdx.x;
    if (STAGED) {
        const int taps = static_cast<int>(f.taps), count = static_cast<int>(blockDim.x) * taps;
        for (int i = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); i < count; i += static_cast<int>(blockDim.x * blockDim.y)) {
            const int c = i / taps, k = i - c * taps;
            if (column + c < f.units) weights[c * (taps | 1) + (f.turned ? taps - 1 - k : k)] = f.weight[column * taps + i];
        }
        __syncthreads();
    }
    const int64_t tile = (block - b * f.blocks) * blockDim.y + threadIdx.y;
    if (d >= f.units || tile >= f.tiles) return;
    const int64_t q = tile / f.phases, first = q * ROWS * f.dilation + tile - q * f.phases;
    if (first >= f.steps) return;
    const int at = STAGED ? static_cast<int>(threadIdx.x) * static_cast<int>(f.taps | 1) : 0;
    if (first >= f.before && first + (ROWS + f.taps - 2) * f.dilation < f.before + f.rows)
        run_tile<T, STAGED, true>(f, weights + at, b, d, first);
    else run_tile<T, STAGED, false>(f, weights + at, b, d, first);
}

/* The rest of `f` and the launch. */
template <typename T> static int run_filter(const struct flow_call *call, int64_t batch, struct filter<T> f) {
    if (batch * f.steps * f.units == 0) return FLOW_OK;
    const unsigned channels = channels_of(f.units), rows = static_cast<unsigned>(CUDA_BLOCK) / channels;
    const int64_t each = (f.steps + f.dilation - 1) / f.dilation; /* rows of a phase */
    f.phases = least(f.dilation, f.steps), f.tiles = f.phases * ((each + ROWS - 1) / ROWS);
    f.columns = (f.units + channels - 1) / channels, f.blocks = (f.tiles + rows - 1) / rows;
    const int64_t shared = channels * (f.taps | 1) * static_cast<int64_t>(sizeof(T));
    const dim3 block(channels, rows);
    const unsigned grid = static_cast<unsigned>(f.columns * f.blocks * batch);
    if (shared <= SHARED)
        return cuda_status(call, CUDA_LAUNCH((filter_kernel<T, true>), grid, block, static_cast<size_t>(shared), cuda_stream(call), f));
    return cuda_status(call, CUDA_LAUNCH((filter_kernel<T, false>), grid, block, 0, cuda_stream(call), f));
}

template <typename T> static int forward(const struct flow_call *call) {
    const struct fsmn_attrs *a = static_cast<const struct fsmn_attrs *>(call->attrs);
    const struct fsmn_priv *priv = static_cast<const struct fsmn_priv *>(call->priv);
    const struct flow_tensor *x = &call->in[0], *y = &call->out[0];
    struct filter<T> f = {};
    f.x = static_cast<const T *>(x->data), f.weight = static_cast<const T *>(call->param[0].data), f.y = static_cast<T *>(y->data);
    if (priv->history) f.history = static_cast<const T *>(call->state_in[0].data);
    f.before = priv->before, f.rows = x->shape[1], f.units = x->shape[2], f.steps = y->shape[1];
    f.taps = a->left + a->right + 1, f.left = a->left, f.dilation = a->dilation, f.skip = a->skip;
    const int status = run_filter<T>(call, x->shape[0], f);
    if (status < 0 || !priv->history) return status;
    const struct cuda_keep keep = {call->state_in[0].data,
                                   x->data,
                                   call->state_out[0].data,
                                   x->shape[0],
                                   priv->before,
                                   x->shape[1],
                                   priv->after,
                                   f.units * static_cast<int64_t>(sizeof(T))};
    return cuda_speech_keep(call, &keep);
}

int cuda_fsmn_forward(const struct flow_call *call) { return call->in[0].dtype == FLOW_F64 ? forward<double>(call) : forward<float>(call); }

/* ---- The weights' gradient: products of dy and x, summed over all rows ---- */

template <typename T> struct products {
    const T *x, *dy;
    T *partial; /* [chunks][taps][units] */
    int64_t rows, units, taps, left, dilation;
    int64_t unit, per, all; /* rows of a unit of work, units of a sequence, of all */
    int64_t columns, groups, chunks;
};

/* Threads (channels, units of work); blocks (columns, groups of TAPS taps, chunks). As a tile of rows: a thread's window of x moves by one
 * row and is multiplied with one row of dy, 2 loads for TAPS products. Units are shared out by their numbers, sums joined in order. */
template <typename T> static __global__ void __launch_bounds__(256, 2) products_kernel(const struct products<T> p) {
    CUDA_SHARED(T, sums, TAPS * CUDA_BLOCK);
    const int64_t rest = blockIdx.x / p.columns, chunk = rest / p.groups;
    const int64_t d = (blockIdx.x - rest * p.columns) * blockDim.x + threadIdx.x, k0 = (rest - chunk * p.groups) * TAPS;
    const int64_t step = p.dilation * p.units;
    T sum[TAPS];
#pragma unroll
    for (int j = 0; j < TAPS; j++) sum[j] = 0;
    for (int64_t u = chunk * blockDim.y + threadIdx.y; u < p.all && d < p.units; u += p.chunks * blockDim.y) {
        const int64_t b = u / p.per, from = (u - b * p.per) * p.unit, to = from + p.unit < p.rows ? from + p.unit : p.rows;
        const T *const x = p.x + b * p.rows * p.units + d, *const dy = p.dy + b * p.rows * p.units + d;
        for (int64_t phase = from; phase < to && phase < from + p.dilation; phase++) {
            const int64_t ahead = phase + (k0 - p.left) * p.dilation; /* row of x for tap k0 and the first row */
            T window[TAPS];
#pragma unroll
            for (int j = 0; j < TAPS; j++) {
                const int64_t i = ahead + j * p.dilation;
                window[j] = j < TAPS - 1 && i >= 0 && i < p.rows ? x[i * p.units] : T(0);
            }
            int64_t t = phase, i = ahead + (TAPS - 1) * p.dilation;
            const T *of_dy = dy + t * p.units, *of_x = x + i * p.units;
            while (t < to) {
#pragma unroll
                for (int c = 0; c < TAPS; c++) {
                    if (t < to) {
                        window[(c + TAPS - 1) % TAPS] = i >= 0 && i < p.rows ? *of_x : T(0);
                        const T g = *of_dy;
#pragma unroll
                        for (int j = 0; j < TAPS; j++) sum[j] += g * window[(c + j) % TAPS];
                    }
                    t += p.dilation, i += p.dilation, of_dy += step, of_x += step;
                }
            }
        }
    }
    const int lane = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x), width = static_cast<int>(blockDim.x);
#pragma unroll
    for (int j = 0; j < TAPS; j++) sums[j * CUDA_BLOCK + lane] = sum[j];
    __syncthreads();
    for (int i = lane; i < TAPS * width; i += CUDA_BLOCK) {
        const int j = i / width, c = i - j * width;
        const int64_t unit = d - threadIdx.x + c;
        if (k0 + j >= p.taps || unit >= p.units) continue;
        T all = 0;
        for (int y = 0; y < static_cast<int>(blockDim.y); y++) all += sums[j * CUDA_BLOCK + y * width + c];
        p.partial[(chunk * p.taps + k0 + j) * p.units + unit] = all;
    }
}

template <typename T> static __global__ void join_kernel(const T *partial, int64_t chunks, int64_t taps, int64_t units, T *dw, bool add) {
    CUDA_EACH(i, taps * units) {
        const int64_t k = i / units, d = i - k * units;
        T sum = 0;
        for (int64_t c = 0; c < chunks; c++) sum += partial[c * taps * units + i];
        dw[d * taps + k] = add ? dw[d * taps + k] + sum : sum;
    }
}

/* Extents of that work, from shapes alone. */
template <typename T> static struct products<T> products_of(const struct fsmn_attrs *a, const struct flow_tensor *x) {
    struct products<T> p = {};
    const int64_t channels = channels_of(x->shape[2]), threads = CUDA_BLOCK / channels;
    p.rows = x->shape[1], p.units = x->shape[2], p.taps = a->left + a->right + 1, p.left = a->left, p.dilation = a->dilation;
    p.unit = UNIT * a->dilation, p.per = (p.rows + p.unit - 1) / p.unit, p.all = x->shape[0] * p.per;
    p.columns = (p.units + channels - 1) / channels, p.groups = (p.taps + TAPS - 1) / TAPS;
    const int64_t blocks = p.columns * p.groups, wanted = blocks ? (BLOCKS + blocks - 1) / blocks : 1;
    p.chunks = least(wanted, (p.all + threads - 1) / threads);
    p.chunks = p.chunks < 1 ? 1 : p.chunks;
    return p;
}

int cuda_fsmn_plan(struct flow_infer *infer) {
    const struct products<float> p = products_of<float>(static_cast<const struct fsmn_attrs *>(infer->attrs), &infer->in[0]);
    int64_t bytes = infer->in[0].dtype == FLOW_F64 ? 8 : 4;
    infer->packed = infer->workspace = 0;
    if (__builtin_mul_overflow(p.chunks * bytes, p.taps, &bytes) || __builtin_mul_overflow(bytes, p.units, &bytes) ||
        bytes > INT64_MAX - 64)
        return infer->host->fail(infer->owner, FLOW_ERROR_MEMORY, "the weights' gradient has more bytes than 64 bits can count");
    infer->workspace_backward = (bytes + 63) / 64 * 64;
    return FLOW_OK;
}

template <typename T> static int backward(const struct flow_call *call) {
    const struct fsmn_attrs *a = static_cast<const struct fsmn_attrs *>(call->attrs);
    const struct flow_tensor *dy = &call->grad_out[0], *dx = &call->grad_in[0], *dw = &call->grad_param[0];
    const bool some = cuda_speech_count(dy) > 0, add_in = FLOW_ACCUMULATES(call->accumulate_in, 0);
    const bool add_param = FLOW_ACCUMULATES(call->accumulate_param, 0);
    int status = FLOW_OK;
    if (dx->rank >= 0 && some) {
        struct filter<T> f = {};
        f.x = static_cast<const T *>(dy->data), f.weight = static_cast<const T *>(call->param[0].data), f.y = static_cast<T *>(dx->data);
        f.before = a->right * a->dilation, f.rows = f.steps = dx->shape[1], f.units = dx->shape[2];
        f.taps = a->left + a->right + 1, f.left = a->right, f.dilation = a->dilation, f.skip = a->skip;
        f.turned = true, f.add = add_in;
        status = run_filter<T>(call, dx->shape[0], f);
    } else status = cuda_speech_zero(call, dx, add_in);
    if (status < 0) return status;
    if (dw->rank < 0 || !some) return cuda_speech_zero(call, dw, add_param);
    struct products<T> p = products_of<T>(a, dy);
    p.x = static_cast<const T *>(call->in[0].data), p.dy = static_cast<const T *>(dy->data), p.partial = static_cast<T *>(call->workspace);
    const unsigned channels = channels_of(p.units);
    const dim3 block(channels, static_cast<unsigned>(CUDA_BLOCK) / channels);
    const unsigned grid = static_cast<unsigned>(p.columns * p.groups * p.chunks);
    int error = CUDA_LAUNCH((products_kernel<T>), grid, block, 0, cuda_stream(call), p);
    if (error == 0)
        error = CUDA_LAUNCH((join_kernel<T>), cuda_blocks(p.taps * p.units, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), p.partial,
                            p.chunks, p.taps, p.units, static_cast<T *>(dw->data), add_param);
    return cuda_status(call, error);
}

int cuda_fsmn_backward(const struct flow_call *call) {
    return call->param[0].dtype == FLOW_F64 ? backward<double>(call) : backward<float>(call);
}
