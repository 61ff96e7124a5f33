/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fbank on the device: one kernel from waves to log energies. A block takes `group` frames, of 512 samples 8, a warp each: load and mean,
 * pre-emphasis and window, transform and filters never leave shared memory. A frame of 400 samples at hop 160 reads 640 bytes, writes 320
 * and does about 15 kflop: the units are busier than memory. Backward makes the same again, goes the way back in the same buffers and
 * leaves the frames' gradients in the workspace, where a second kernel adds them up.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"

#include "cuda_fft.h"
#include "cuda_fold.h"
#include "cuda_speech.h"
#include "fbank.h"

#include <math.h>

static const int64_t FRAMES_ROOM = 32 << 20; /* bytes of frames' gradients at a time, unless one sequence has more */
#define LEAST_ENERGY 1.1920929e-7            /* 2^-23 */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* ---- Filters ---- */

struct scale {
    double low, step; /* of the mels + 2 points */
    double bin;       /* Hz */
    int bins, mels;
};

static struct scale scale_of(const struct fbank_attrs *a, int64_t size) {
    const double rate = static_cast<double>(a->rate), high = a->high > 0 ? a->high : a->high + 0.5 * rate;
    const double low = 1127.0 * log(1.0 + a->low / 700.0), top = 1127.0 * log(1.0 + high / 700.0);
    return {low, (top - low) / static_cast<double>(a->mels + 1), rate / static_cast<double>(size), static_cast<int>(size / 2),
            static_cast<int>(a->mels)};
}

/* The most bins that a filter can have: the last one is the widest. */
static int64_t bins_most(const struct scale &s) {
    const double from = 700.0 * exp((s.low + (s.mels - 1) * s.step) / 1127.0), to = 700.0 * exp((s.low + (s.mels + 1) * s.step) / 1127.0);
    const double count = floor((to - from) / s.bin) + 2;
    return count < s.bins ? static_cast<int64_t>(count) : s.bins;
}

static __device__ inline double filter_at(const struct scale &s, int m, int bin) {
    const double v = 1127.0 * log(1.0 + bin * s.bin / 700.0), left = s.low + m * s.step;
    const double up = (v - left) / s.step, down = (left + 2 * s.step - v) / s.step;
    return up < down ? up : down;
}

/* Filter m: weights[k * mels + m] of the bins first[m] .. first[m] + count[m]. Bin k: the weights of the two filters at most that are above
 * 0 there, mel[k] and mel[k] + 1. */
template <typename T> struct tables {
    cuda_complex<T> *roots;
    T *window;
    int *first, *count, *mel;
    T *weights, *low, *high;
    int most; /* bins of a filter */
};

template <typename T> static __device__ void fill_filter(const struct scale &s, const struct tables<T> &t, int m) {
    const double hertz = 700.0 * (exp((s.low + m * s.step) / 1127.0) - 1.0), guess = floor(hertz / s.bin) - 1;
    int k = guess < 0 ? 0 : guess > s.bins ? s.bins : static_cast<int>(guess), n = 0;
    while (k < s.bins && filter_at(s, m, k) <= 0 && k * s.bin <= hertz + 2 * s.bin) k++;
    t.first[m] = k;
    for (; n < t.most && k + n < s.bins; n++) {
        const double weight = filter_at(s, m, k + n);
        if (!(weight > 0)) break;
        t.weights[static_cast<int64_t>(n) * s.mels + m] = static_cast<T>(weight);
    }
    t.count[m] = n;
}

template <typename T> static __device__ void fill_bin(const struct scale &s, const struct tables<T> &t, int k) {
    const double place = (1127.0 * log(1.0 + k * s.bin / 700.0) - s.low) / s.step; /* filter m: m < place < m + 2 */
    int m = 0;
    double low = 0, high = 0;
    if (place > -1 && place < s.mels + 2) {
        m = static_cast<int>(ceil(place)) - 3;
        while (m + 1 < s.mels && (m < 0 || filter_at(s, m, k) <= 0)) m++;
        low = filter_at(s, m, k), high = m + 1 < s.mels ? filter_at(s, m + 1, k) : 0;
    }
    t.mel[k] = m, t.low[k] = static_cast<T>(low > 0 ? low : 0), t.high[k] = static_cast<T>(high > 0 ? high : 0);
}

template <typename T>
static __global__ void table_kernel(int64_t size, int64_t length, int kind, const struct scale scale, const struct tables<T> tables) {
    CUDA_EACH(n, size > scale.mels ? size : scale.mels) {
        if (n < size) tables.roots[n] = cuda_fft_root<T>(n, size);
        if (n < length) tables.window[n] = static_cast<T>(cuda_window(kind, n, length, false));
        if (n < scale.mels) fill_filter<T>(scale, tables, static_cast<int>(n));
        if (n < scale.bins && tables.mel) fill_bin<T>(scale, tables, static_cast<int>(n));
    }
}

/* ---- Memory ---- */

struct rooms {
    struct cuda_fft fft;
    struct scale scale;
    int64_t groups, batch; /* groups of frames of a sequence; sequences at a time */
    int64_t window, first, count, weights, mel, low, high, frames, memory, forward, backward;
    int most;
};

template <typename T>
static bool rooms_typed(const struct fbank_attrs *a, const struct fbank_sizes *s, int64_t batch, int64_t frames, struct rooms *r) {
    const int64_t element = sizeof(T), whole = sizeof(int), bins = s->size / 2, sequence = frames * s->length * element;
    if (!cuda_fft_of<T>(s->size, s->mels, frames, &r->fft)) return false; /* the filters' shares lie in a buffer */
    r->scale = scale_of(a, s->size);
    const int64_t most = bins_most(r->scale);
    r->most = static_cast<int>(most), r->groups = (frames + r->fft.group - 1) / r->fft.group;
    r->batch = sequence > 0 ? FRAMES_ROOM / sequence : batch;
    r->batch = r->batch < 1 ? 1 : least(r->batch, batch);
    r->window = aligned(2 * s->size * element), r->first = r->window + aligned(s->length * element);
    r->count = r->first + aligned(s->mels * whole), r->weights = r->count + aligned(s->mels * whole);
    r->memory = r->weights + aligned(most * s->mels * element);
    r->forward = r->mel = r->memory + cuda_fft_memory<T>(r->fft, r->groups * batch);
    r->low = r->mel + aligned(bins * whole), r->high = r->low + aligned(bins * element), r->frames = r->high + aligned(bins * element);
    r->backward = r->frames + aligned(r->batch * sequence);
    return true;
}

static bool rooms_of(const struct flow_infer *infer, int64_t batch, int64_t frames, struct rooms *r) {
    const struct fbank_attrs *a = static_cast<const struct fbank_attrs *>(infer->attrs);
    const struct fbank_priv *priv = static_cast<const struct fbank_priv *>(infer->priv);
    return infer->in[0].dtype == FLOW_F64 ? rooms_typed<double>(a, &priv->sizes, batch, frames, r)
                                          : rooms_typed<float>(a, &priv->sizes, batch, frames, r);
}

bool cuda_fbank_supports(const struct flow_infer *infer) {
    struct rooms r;
    return rooms_of(infer, 1, 1, &r);
}

int cuda_fbank_plan(struct flow_infer *infer) {
    struct rooms r;
    infer->packed = 0;
    if (!rooms_of(infer, infer->in[0].shape[0], infer->out[0].shape[1], &r))
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "no transform of frames of this length");
    infer->workspace = r.forward, infer->workspace_backward = r.backward;
    return FLOW_OK;
}

/* ---- Frames ---- */

namespace {
template <typename T> struct cut {
    struct cuda_fft fft;
    struct tables<T> tables;
    const T *tail, *x;
    int64_t held, samples, origin, hop, length;
    int64_t frames, groups, all; /* groups of a sequence, of all */
    int mels;
    bool remove_dc, power, log;
    T scale, emphasis;
    T *y;        /* [batch, frames, mels] */
    const T *dy; /* backward */
    T *dframes;  /* backward: [batch, frames, length] */
    cuda_complex<T> *memory;

    /* Sample i of [held | samples], mirrored beyond the ends as often as it takes. */
    __device__ T at(int64_t b, int64_t i) const {
        const int64_t end = held + samples;
        if (i < 0 || i >= end) {
            i %= 2 * end;
            if (i < 0) i += 2 * end;
            if (i >= end) i = 2 * end - 1 - i;
        }
        return (i < held ? tail[b * held + i] : x[b * samples + i - held]) * scale;
    }
};
} // namespace

static __device__ inline float root(float x) { return sqrtf(x); }
static __device__ inline double root(double x) { return sqrt(x); }
static __device__ inline float logarithm(float x) { return logf(x); }
static __device__ inline double logarithm(double x) { return log(x); }

/* The sum over a transform's lanes; every thread of the block comes here. */
template <typename T> static __device__ inline T lanes_sum(const struct cuda_fft &f, CUDA_SHARED_AT(T) scratch, T value) {
    const int width = f.lanes < CUDA_WARP ? f.lanes : CUDA_WARP;
    for (int step = width / 2; step; step /= 2) value += __shfl_xor_sync(CUDA_WHOLE_WARP, value, step);
    if (f.lanes <= CUDA_WARP) return value;
    const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x), warps = f.lanes / CUDA_WARP;
    const int first = static_cast<int>(threadIdx.y) * warps;
    if (thread % CUDA_WARP == 0) scratch[thread / CUDA_WARP] = value;
    __syncthreads();
    value = 0;
    for (int i = 0; i < warps; i++) value += scratch[first + i];
    __syncthreads();
    return value;
}

/* The buffer that the transform leaves free holds real numbers: `points` energies, then the filters' shares. */

/* Filter m's sum over the energies. */
template <typename T, typename R> static __device__ inline T filter_sum(const struct cut<T> &c, R e, int m) {
    const int first = c.tables.first[m], count = c.tables.count[m];
    T sum = 0;
    for (int k = 0; k < count; k++) sum += c.tables.weights[static_cast<int64_t>(k) * c.mels + m] * e[first + k];
    return sum;
}

/* Gradient of bin k's value from the filters' shares: d|X|^2 = 2 X dX, d|X| = X / |X| dX (0 at 0); the
 * inverse counts the bins between the ends twice. */
template <typename T, typename R>
static __device__ inline cuda_complex<T> bin_gradient(const struct cut<T> &c, R e, int k, const cuda_complex<T> &x) {
    const int m = c.tables.mel[k];
    const T low = c.tables.low[k], high = c.tables.high[k], size = root(x.re * x.re + x.im * x.im);
    T share = 0;
    if (low != 0) share += low * e[c.fft.points + m];
    if (high != 0) share += high * e[c.fft.points + m + 1];
    share = c.power ? share : size > 0 ? share / (2 * size) : T(0);
    share *= k == 0 ? T(2) : T(1);
    return {x.re * share, x.im * share};
}

/* The way back from the spectrum in z and the energies: leaves the frame's gradient; the frame is (b, t). Both buffers are used. */
template <typename T, typename P, typename R>
static __device__ __forceinline__ void frame_back(const struct cut<T> &c, P z, P free, R e, CUDA_SHARED_AT(T) scratch, int64_t b, int64_t t,
                                                  int lane) {
    const struct cuda_fft &f = c.fft;
    const int points = f.points, length = static_cast<int>(c.length);
    const bool there = t < c.frames;
    if (there)
        for (int m = lane; m < c.mels; m += f.lanes) {
            const T sum = c.log ? filter_sum<T, R>(c, e, m) : T(0);
            T share = c.dy[(b * c.frames + t) * c.mels + m];
            if (c.log) share = sum > static_cast<T>(LEAST_ENERGY) ? share / sum : T(0);
            e[points + m] = share;
        }
    cuda_fft_sync(f);
    for (int k = lane; there && k <= points / 2; k += f.lanes) { /* bins k and points - k make points k and points - k of the inverse */
        const int other = points - k;
        const cuda_complex<T> low = bin_gradient<T, R>(c, e, k, cuda_fft_bin<T, P>(f, c.tables.roots, z, k));
        cuda_complex<T> high = {0, 0};
        if (k > 0) high = bin_gradient<T, R>(c, e, other, cuda_fft_bin<T, P>(f, c.tables.roots, z, other));
        z[cuda_fft_place<T>(k)] = cuda_fft_fold<T>(c.tables.roots, k, low, high);
        if (k > 0 && k != other) z[cuda_fft_place<T>(other)] = cuda_fft_fold<T>(c.tables.roots, other, high, low);
    }
    cuda_fft_sync(f);
    P v = cuda_fft_run<T, P>(f, c.tables.roots, z, free, lane) ? free : z;
    auto gradient = [&](int n) -> T { /* of sample n, but for the mean */
                                      const T *const w = c.tables.window;
                                      const T own = w[n] * cuda_fft_sample<T, P>(f, v, n);
                                      T g = n + 1 < length ? own - c.emphasis * w[n + 1] * cuda_fft_sample<T, P>(f, v, n + 1) : own;
                                      return n == 0 ? g - c.emphasis * own : g;
    };
    T mean = 0;
    if (c.remove_dc) {
        T sum = 0;
        for (int n = lane; there && n < length; n += f.lanes) sum += gradient(n);
        mean = lanes_sum<T>(f, scratch, sum) / static_cast<T>(length);
    }
    const T scale = c.scale * static_cast<T>(f.size);
    if (there)
        for (int n = lane; n < length; n += f.lanes) c.dframes[(b * c.frames + t) * c.length + n] = (gradient(n) - mean) * scale;
}

/* `reals`: the same memory. */
template <typename T, bool BACK, typename P, typename R>
static __device__ __forceinline__ void cut_blocks(const struct cut<T> &c, P buffers, R reals) {
    CUDA_SHARED(T, scratch, CUDA_FFT_THREADS / CUDA_WARP);
    const struct cuda_fft &f = c.fft;
    const int lane = static_cast<int>(threadIdx.x), mine = static_cast<int>(threadIdx.y), length = static_cast<int>(c.length);
    P x = buffers + mine * f.length, y = buffers + (f.group + mine) * f.length;
    for (int64_t block = blockIdx.x; block < c.all; block += gridDim.x) {
        const int64_t b = block / c.groups, t = (block - b * c.groups) * f.group + mine, first = c.origin + t * c.hop;
        const bool there = t < c.frames;
        T mean = 0;
        if (c.remove_dc) {
            T sum = 0;
            for (int n = lane; there && n < length; n += f.lanes) sum += c.at(b, first + n);
            mean = lanes_sum<T>(f, scratch, sum) / static_cast<T>(length);
        }
        for (int k = lane; k < f.points; k += f.lanes) {
            cuda_complex<T> z = {0, 0};
            if (there && 2 * k < length) {
                const T here = c.at(b, first + 2 * k) - mean, before = k ? c.at(b, first + 2 * k - 1) - mean : here;
                z.re = c.tables.window[2 * k] * (here - c.emphasis * before);
                if (2 * k + 1 < length) z.im = c.tables.window[2 * k + 1] * (c.at(b, first + 2 * k + 1) - mean - c.emphasis * here);
            }
            x[cuda_fft_place<T>(k)] = z;
        }
        cuda_fft_sync(f);
        const bool swapped = cuda_fft_run<T, P>(f, c.tables.roots, x, y, lane);
        P z = swapped ? y : x, free = swapped ? x : y;
        R e = reals + 2 * (swapped ? mine : f.group + mine) * f.length;
        for (int k = lane; k < f.points; k += f.lanes) {
            const cuda_complex<T> v = cuda_fft_bin<T, P>(f, c.tables.roots, z, k);
            const T energy = v.re * v.re + v.im * v.im, value = c.power ? energy : root(energy);
            e[k] = value;
        }
        cuda_fft_sync(f);
        if (BACK) frame_back<T, P, R>(c, z, free, e, scratch, b, t, lane);
        else if (there)
            for (int m = lane; m < c.mels; m += f.lanes) {
                T sum = filter_sum<T, R>(c, e, m);
                if (c.log) sum = logarithm(sum > static_cast<T>(LEAST_ENERGY) || sum != sum ? sum : static_cast<T>(LEAST_ENERGY));
                c.y[(b * c.frames + t) * c.mels + m] = sum;
            }
        __syncthreads();
    }
}

template <typename T, bool BACK, bool BIG> static __global__ void __launch_bounds__(256, 2) cut_kernel(const struct cut<T> c) {
    if constexpr (BIG) {
        cuda_complex<T> *const buffers = c.memory + static_cast<int64_t>(blockIdx.x) * 2 * c.fft.length;
        cut_blocks<T, BACK, cuda_complex<T> *, T *>(c, buffers, reinterpret_cast<T *>(buffers));
    } else {
        CUDA_DYNAMIC_SHARED(cuda_complex<T>, buffers, 2 * static_cast<size_t>(c.fft.length) * static_cast<size_t>(c.fft.group));
        cut_blocks<T, BACK, CUDA_SHARED_AT(cuda_complex<T>), CUDA_SHARED_AT(T)>(c, buffers, CUDA_SHARED_AS(T, buffers));
    }
}

template <typename T, bool BACK> static int run_cut(const struct flow_call *call, int64_t batch, struct cut<T> c) {
    c.all = batch * c.groups;
    if (c.all == 0) return FLOW_OK;
    const unsigned grid = cuda_fft_blocks<T>(c.fft, c.all);
    const dim3 block(static_cast<unsigned>(c.fft.lanes), static_cast<unsigned>(c.fft.group));
    const size_t shared = cuda_fft_shared<T>(c.fft);
    if (c.fft.big) return cuda_status(call, CUDA_LAUNCH((cut_kernel<T, BACK, true>), grid, block, 0, cuda_stream(call), c));
    return cuda_status(call, CUDA_LAUNCH((cut_kernel<T, BACK, false>), grid, block, shared, cuda_stream(call), c));
}

/* The tables and all that both ways know. */
template <typename T>
static int prepare(const struct flow_call *call, const struct rooms *r, int64_t samples, int64_t frames, bool back, struct cut<T> *c) {
    static const int windows[] = {CUDA_HANN, CUDA_HAMMING, CUDA_RECT, CUDA_POVEY}; /* hann|hamming|rect|povey */
    const struct fbank_attrs *a = static_cast<const struct fbank_attrs *>(call->attrs);
    const struct fbank_priv *priv = static_cast<const struct fbank_priv *>(call->priv);
    const struct fbank_sizes *s = &priv->sizes;
    char *const at = static_cast<char *>(call->workspace);
    struct tables<T> t = {};
    t.roots = reinterpret_cast<cuda_complex<T> *>(at), t.window = reinterpret_cast<T *>(at + r->window);
    t.first = reinterpret_cast<int *>(at + r->first), t.count = reinterpret_cast<int *>(at + r->count);
    t.weights = reinterpret_cast<T *>(at + r->weights), t.most = r->most;
    if (back) {
        t.mel = reinterpret_cast<int *>(at + r->mel);
        t.low = reinterpret_cast<T *>(at + r->low), t.high = reinterpret_cast<T *>(at + r->high);
        c->dframes = reinterpret_cast<T *>(at + r->frames);
    }
    c->fft = r->fft, c->tables = t, c->groups = r->groups, c->frames = frames, c->samples = samples;
    c->origin = priv->origin, c->hop = s->hop, c->length = s->length, c->mels = static_cast<int>(s->mels);
    c->remove_dc = a->remove_dc, c->power = a->power, c->log = a->log;
    c->scale = static_cast<T>(a->scale), c->emphasis = static_cast<T>(a->preemphasis);
    c->memory = reinterpret_cast<cuda_complex<T> *>(at + r->memory);
    const unsigned blocks = cuda_blocks(s->size > s->mels ? s->size : s->mels, CUDA_BLOCK);
    return cuda_status(call, CUDA_LAUNCH((table_kernel<T>), blocks, CUDA_BLOCK, 0, cuda_stream(call), s->size, s->length,
                                         windows[a->window], r->scale, t));
}

template <typename T> static int forward(const struct flow_call *call) {
    const struct fbank_priv *priv = static_cast<const struct fbank_priv *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    const int64_t batch = x->shape[0], frames = call->out[0].shape[1];
    int status = FLOW_OK;
    if (batch * frames > 0) {
        struct rooms r;
        struct cut<T> c = {};
        rooms_typed<T>(static_cast<const struct fbank_attrs *>(call->attrs), &priv->sizes, batch, frames, &r);
        c.x = static_cast<const T *>(x->data), c.y = static_cast<T *>(call->out[0].data), c.held = priv->held;
        if (priv->held) c.tail = static_cast<const T *>(call->state_in[0].data);
        status = prepare<T>(call, &r, x->shape[1], frames, false, &c);
        if (status == FLOW_OK) status = run_cut<T, false>(call, batch, c);
    }
    if (status < 0 || priv->after == 0) return status;
    const struct cuda_keep keep = {
        call->state_in[0].data, x->data, call->state_out[0].data, batch, priv->held, x->shape[1], priv->after, sizeof(T)};
    return cuda_speech_keep(call, &keep);
}

int cuda_fbank_forward(const struct flow_call *call) {
    return call->in[0].dtype == FLOW_F64 ? forward<double>(call) : forward<float>(call);
}

template <typename T> static int backward(const struct flow_call *call) {
    const struct fbank_priv *priv = static_cast<const struct fbank_priv *>(call->priv);
    const struct flow_tensor *dy = &call->grad_out[0], *x = &call->in[0], *dx = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    if (dx->rank < 0) return FLOW_OK;
    if (cuda_speech_count(dy) == 0) return cuda_speech_zero(call, dx, add);
    const int64_t all = dx->shape[0], samples = dx->shape[1], frames = dy->shape[1];
    struct rooms r;
    struct cut<T> c = {};
    rooms_typed<T>(static_cast<const struct fbank_attrs *>(call->attrs), &priv->sizes, all, frames, &r);
    int status = prepare<T>(call, &r, samples, frames, true, &c);
    for (int64_t b = 0; b < all && status == FLOW_OK; b += r.batch) {
        const int64_t batch = least(r.batch, all - b);
        c.x = static_cast<const T *>(x->data) + b * samples, c.dy = static_cast<const T *>(dy->data) + b * frames * c.mels;
        status = run_cut<T, true>(call, batch, c);
        const struct cuda_speech_frames<T> fold = {
            c.dframes, static_cast<T *>(dx->data) + b *samples, batch, frames, c.length, c.hop, samples, priv->origin, 1, add
        };
        if (status == FLOW_OK) status = cuda_speech_fold<T>(call, fold);
    }
    return status;
}

int cuda_fbank_backward(const struct flow_call *call) {
    return call->grad_in[0].dtype == FLOW_F64 ? backward<double>(call) : backward<float>(call);
}
