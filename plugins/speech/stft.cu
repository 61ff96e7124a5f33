/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stft and istft on the device. A block cuts `group` neighbouring frames, transforms them in shared memory and writes their spectra
 * together, since the tensors have time as their last axis: 8 frames of 512 samples are whole sectors of 32 bytes. The inverse reads the
 * same way and leaves windowed frames in the workspace, a batch of sequences at a time that stays in the second-level cache; a second
 * kernel adds them up, each sum in the order of its frames. An stft frame of 512 at hop 160 reads 640 bytes, writes 2056 and does about 12
 * kflop: memory is the limit, shared memory (22 KB a frame) close behind.
 */
#include "common/cuda.h"

#include "kernels_cuda.h"

#include "cuda_fft.h"
#include "cuda_fold.h"
#include "cuda_speech.h"
#include "stft.h"

static const int64_t FRAMES_ROOM = 32 << 20; /* bytes of windowed frames at a time, unless one sequence has more */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Where things lie in the workspace, in bytes. */
struct rooms {
    struct cuda_fft fft;
    int64_t groups;           /* of a sequence */
    int64_t batch;            /* sequences at a time */
    int64_t window, line;     /* behind the roots; 1 / envelope */
    int64_t frames, memory;   /* windowed frames; buffers of a large transform */
    int64_t forward, inverse; /* bytes of all that cutting, adding up needs */
};

template <typename T> static bool rooms_typed(const struct stft_attrs *a, int64_t batch, int64_t frames, int64_t total, struct rooms *r) {
    const int64_t element = sizeof(T), sequence = frames * a->size * element;
    if (!cuda_fft_of<T>(a->size, 0, frames, &r->fft)) return false;
    r->groups = (frames + r->fft.group - 1) / r->fft.group;
    r->batch = sequence > 0 ? FRAMES_ROOM / sequence : batch;
    r->batch = r->batch < 1 ? 1 : least(r->batch, batch);
    r->window = aligned(2 * a->size * element), r->line = r->window + aligned(a->size * element);
    r->memory = r->line + aligned(total * element);
    r->frames = r->memory + cuda_fft_memory<T>(r->fft, r->groups * batch);
    r->forward = r->frames, r->inverse = r->frames + aligned(r->batch * sequence);
    return true;
}

/* `total`: samples of the envelope that a gradient needs. */
static bool rooms_of(int32_t dtype, const struct stft_attrs *a, int64_t batch, int64_t frames, int64_t total, struct rooms *r) {
    return dtype == FLOW_F64 ? rooms_typed<double>(a, batch, frames, total, r) : rooms_typed<float>(a, batch, frames, total, r);
}

/* ---- Tables ---- */

struct window_shape {
    int kind;
    int64_t before, length;
    bool periodic;
};

template <typename T>
static __global__ void table_kernel(int64_t size, const struct window_shape shape, cuda_complex<T> *roots, T *window) {
    CUDA_EACH(n, size) {
        roots[n] = cuda_fft_root<T>(n, size);
        const bool inside = n >= shape.before && n < shape.before + shape.length;
        window[n] = inside ? static_cast<T>(cuda_window(shape.kind, n - shape.before, shape.length, shape.periodic)) : T(0);
    }
}

template <typename T> struct tables {
    const cuda_complex<T> *roots;
    const T *window;
};

template <typename T> static int fill_tables(const struct flow_call *call, const struct rooms *r, struct tables<T> *tables) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(call->attrs);
    const int64_t length = a->length == FLOW_INT_ABSENT ? a->size : a->length;
    char *const at = static_cast<char *>(call->workspace);
    cuda_complex<T> *const roots = reinterpret_cast<cuda_complex<T> *>(at);
    T *const window = reinterpret_cast<T *>(at + r->window);
    const struct window_shape shape = {a->window, (a->size - length) / 2, length, a->periodic};
    tables->roots = roots, tables->window = window;
    return cuda_status(call, CUDA_LAUNCH((table_kernel<T>), cuda_blocks(a->size, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), a->size,
                                         shape, roots, window));
}

/* ---- Frames to spectra: stft, and the gradient of istft ---- */

namespace {
/* Sequences [held | samples] that frames are cut from, frame 0 at `origin`; beyond them their mirror images. SPREAD: x are gradients of
 * samples [drop, drop + emitted) of sums, times one over the envelope; zeros around. */
template <typename T> struct cut {
    struct cuda_fft fft;
    struct tables<T> tables;
    const T *tail, *x, *envelope;
    int64_t held, samples, origin, hop, drop, emitted;
    int64_t frames, groups, all; /* groups of a sequence, of all */
    T *re, *im;                  /* [batch, bins, frames]; NULL: not wanted */
    bool add_re, add_im;
    cuda_complex<T> *memory;

    template <bool SPREAD> __device__ T at(int64_t b, int64_t i) const {
        if (SPREAD) return i >= drop && i < drop + emitted ? x[b * samples + i - drop] * envelope[i] : T(0);
        const int64_t end = held + samples;
        if (i < 0) i = -i;
        if (i >= end) i = 2 * (end - 1) - i;
        return i < held ? tail[b * held + i] : x[b * samples + i - held];
    }
};
} // namespace

template <typename T, bool SPREAD, typename P> static __device__ __forceinline__ void cut_blocks(const struct cut<T> &c, P buffers) {
    const struct cuda_fft &f = c.fft;
    const int lane = static_cast<int>(threadIdx.x), mine = static_cast<int>(threadIdx.y), size = f.size, bins = size / 2 + 1;
    P x = buffers + mine * f.length, y = buffers + (f.group + mine) * f.length;
    const T *const w = c.tables.window;
    for (int64_t block = blockIdx.x; block < c.all; block += gridDim.x) {
        const int64_t b = block / c.groups, t0 = (block - b * c.groups) * f.group, t = t0 + mine, first = c.origin + t * c.hop;
        for (int k = lane; k < f.points; k += f.lanes) {
            cuda_complex<T> z = {0, 0};
            if (t < c.frames) {
                if (size % 2) z.re = w[k] * c.template at<SPREAD>(b, first + k);
                else {
                    z.re = w[2 * k] * c.template at<SPREAD>(b, first + 2 * k);
                    z.im = w[2 * k + 1] * c.template at<SPREAD>(b, first + 2 * k + 1);
                }
            }
            x[cuda_fft_place<T>(k)] = z;
        }
        cuda_fft_sync(f);
        const bool other = cuda_fft_run<T, P>(f, c.tables.roots, x, y, lane);
        __syncthreads();
        P z = other ? buffers + f.group * f.length : buffers;
        for (int e = mine * f.lanes + lane; e < bins * f.group; e += CUDA_FFT_THREADS) {
            const int g = e & (f.group - 1), k = e / f.group;
            if (t0 + g >= c.frames) continue;
            cuda_complex<T> v = cuda_fft_bin<T, P>(f, c.tables.roots, z + g * f.length, k);
            const int64_t to = (b * bins + k) * c.frames + t0 + g;
            if (SPREAD) { /* the inverse counts the bins between the ends twice, and reads no imaginary part of the ends */
                const bool edge = k == 0 || 2 * k == size;
                const T scale = (edge ? T(1) : T(2)) / static_cast<T>(size);
                v.re *= scale, v.im = edge ? T(0) : v.im * scale;
            }
            if (c.re) c.re[to] = c.add_re ? c.re[to] + v.re : v.re;
            if (c.im) c.im[to] = c.add_im ? c.im[to] + v.im : v.im;
        }
        __syncthreads();
    }
}

template <typename T, bool SPREAD, bool BIG> static __global__ void __launch_bounds__(256, 2) cut_kernel(const struct cut<T> c) {
    if constexpr (BIG) cut_blocks<T, SPREAD, cuda_complex<T> *>(c, c.memory + static_cast<int64_t>(blockIdx.x) * 2 * c.fft.length);
    else {
        CUDA_DYNAMIC_SHARED(cuda_complex<T>, buffers, 2 * static_cast<size_t>(c.fft.length) * static_cast<size_t>(c.fft.group));
        cut_blocks<T, SPREAD, CUDA_SHARED_AT(cuda_complex<T>)>(c, buffers);
    }
}

template <typename T, bool SPREAD> static int run_cut(const struct flow_call *call, const struct rooms *r, int64_t batch, struct cut<T> c) {
    c.fft = r->fft, c.groups = r->groups, c.all = batch * r->groups;
    c.memory = reinterpret_cast<cuda_complex<T> *>(static_cast<char *>(call->workspace) + r->memory);
    if (c.all == 0) return FLOW_OK;
    const unsigned grid = cuda_fft_blocks<T>(c.fft, c.all);
    const dim3 block(static_cast<unsigned>(c.fft.lanes), static_cast<unsigned>(c.fft.group));
    const size_t shared = cuda_fft_shared<T>(c.fft);
    if (c.fft.big) return cuda_status(call, CUDA_LAUNCH((cut_kernel<T, SPREAD, true>), grid, block, 0, cuda_stream(call), c));
    return cuda_status(call, CUDA_LAUNCH((cut_kernel<T, SPREAD, false>), grid, block, shared, cuda_stream(call), c));
}

/* ---- Spectra to windowed frames: istft, and the gradient of stft ---- */

namespace {
template <typename T> struct inverse {
    struct cuda_fft fft;
    struct tables<T> tables;
    const T *re, *im; /* [batch, bins, frames]; GRADIENT: NULL is zero */
    int64_t frames, groups, all;
    T *to; /* [batch, frames, size] */
    cuda_complex<T> *memory;

    /* Bin k; GRADIENT: of a transform, whose inverse counts the bins between the ends twice. */
    template <bool GRADIENT> __device__ cuda_complex<T> bin(int64_t b, int k, int64_t t) const {
        const int64_t from = (b * (fft.size / 2 + 1) + k) * frames + t;
        if (!GRADIENT) return {re[from], im[from]};
        const T share = k == 0 || 2 * k == fft.size ? T(1) : static_cast<T>(0.5);
        return {re ? share * re[from] : T(0), im ? share * im[from] : T(0)};
    }
};
} // namespace

template <typename T, bool GRADIENT, typename P>
static __device__ __forceinline__ void inverse_blocks(const struct inverse<T> &v, P buffers) {
    const struct cuda_fft &f = v.fft;
    const int lane = static_cast<int>(threadIdx.x), mine = static_cast<int>(threadIdx.y), size = f.size, points = f.points;
    const int bins = size % 2 ? points / 2 + 1 : points; /* that the loading goes through */
    const T *const w = v.tables.window;
    P x = buffers + mine * f.length, y = buffers + (f.group + mine) * f.length;
    for (int64_t block = blockIdx.x; block < v.all; block += gridDim.x) {
        const int64_t b = block / v.groups, t0 = (block - b * v.groups) * f.group, t = t0 + mine;
        for (int e = mine * f.lanes + lane; e < bins * f.group; e += CUDA_FFT_THREADS) {
            const int g = e & (f.group - 1), k = e / f.group;
            const bool there = t0 + g < v.frames;
            P z = buffers + g * f.length;
            cuda_complex<T> a = {0, 0}, c = {0, 0};
            if (there) a = v.template bin<GRADIENT>(b, k, t0 + g);
            if (size % 2 == 0) {
                if (there) c = v.template bin<GRADIENT>(b, points - k, t0 + g);
                z[cuda_fft_place<T>(k)] = cuda_fft_fold<T>(v.tables.roots, k, a, c);
            } else if (k == 0) z[0] = {T(0), a.re};
            else z[cuda_fft_place<T>(k)] = {a.im, a.re}, z[cuda_fft_place<T>(points - k)] = {-a.im, a.re};
        }
        __syncthreads();
        P z = cuda_fft_run<T, P>(f, v.tables.roots, x, y, lane) ? y : x;
        T *const to = v.to + (b * v.frames + t) * size;
        const T scale = GRADIENT ? static_cast<T>(size) : T(1); /* the inverse divides by it */
        if (t < v.frames)
            for (int n = lane; n < size; n += f.lanes) to[n] = scale * w[n] * cuda_fft_sample<T, P>(f, z, n);
        __syncthreads();
    }
}

template <typename T, bool GRADIENT, bool BIG> static __global__ void __launch_bounds__(256, 2) inverse_kernel(const struct inverse<T> v) {
    if constexpr (BIG) inverse_blocks<T, GRADIENT, cuda_complex<T> *>(v, v.memory + static_cast<int64_t>(blockIdx.x) * 2 * v.fft.length);
    else {
        CUDA_DYNAMIC_SHARED(cuda_complex<T>, buffers, 2 * static_cast<size_t>(v.fft.length) * static_cast<size_t>(v.fft.group));
        inverse_blocks<T, GRADIENT, CUDA_SHARED_AT(cuda_complex<T>)>(v, buffers);
    }
}

template <typename T, bool GRADIENT>
static int run_inverse(const struct flow_call *call, const struct rooms *r, int64_t batch, struct inverse<T> v) {
    v.fft = r->fft, v.groups = r->groups, v.all = batch * r->groups;
    v.memory = reinterpret_cast<cuda_complex<T> *>(static_cast<char *>(call->workspace) + r->memory);
    v.to = reinterpret_cast<T *>(static_cast<char *>(call->workspace) + r->frames);
    if (v.all == 0) return FLOW_OK;
    const unsigned grid = cuda_fft_blocks<T>(v.fft, v.all);
    const dim3 block(static_cast<unsigned>(v.fft.lanes), static_cast<unsigned>(v.fft.group));
    const size_t shared = cuda_fft_shared<T>(v.fft);
    if (v.fft.big) return cuda_status(call, CUDA_LAUNCH((inverse_kernel<T, GRADIENT, true>), grid, block, 0, cuda_stream(call), v));
    return cuda_status(call, CUDA_LAUNCH((inverse_kernel<T, GRADIENT, false>), grid, block, shared, cuda_stream(call), v));
}

/* ---- stft ---- */

bool cuda_stft_supports(const struct flow_infer *infer) {
    struct rooms r;
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(infer->attrs);
    return rooms_of(infer->in[0].dtype, a, 1, 1, 0, &r);
}

int cuda_stft_plan(struct flow_infer *infer) {
    struct rooms r;
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(infer->attrs);
    infer->packed = 0;
    if (!rooms_of(infer->in[0].dtype, a, infer->in[0].shape[0], infer->out[0].shape[2], 0, &r))
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "no transform of %lld samples", static_cast<long long>(a->size));
    infer->workspace = r.forward, infer->workspace_backward = r.inverse;
    return FLOW_OK;
}

template <typename T> static int stft_forward(const struct flow_call *call) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(call->attrs);
    const struct stft_priv *priv = static_cast<const struct stft_priv *>(call->priv);
    const struct flow_tensor *x = &call->in[0];
    struct rooms r;
    struct cut<T> c = {};
    int status = FLOW_OK;
    c.frames = call->out[0].shape[2], c.hop = a->hop, c.held = priv->held, c.samples = x->shape[1];
    c.origin = priv->tail ? priv->lead : a->center ? -(a->size / 2) : 0;
    c.x = static_cast<const T *>(x->data), c.tail = priv->held ? static_cast<const T *>(call->state_in[0].data) : NULL;
    c.re = static_cast<T *>(call->out[0].data), c.im = static_cast<T *>(call->out[1].data);
    if (x->shape[0] * c.frames > 0) {
        rooms_typed<T>(a, x->shape[0], c.frames, 0, &r);
        status = fill_tables<T>(call, &r, &c.tables);
        if (status == FLOW_OK) status = run_cut<T, false>(call, &r, x->shape[0], c);
    }
    if (status < 0 || priv->after == 0) return status;
    const struct cuda_keep keep = {
        call->state_in[0].data, x->data, call->state_out[0].data, x->shape[0], priv->held, x->shape[1], priv->after, sizeof(T)};
    return cuda_speech_keep(call, &keep);
}

int cuda_stft_forward(const struct flow_call *call) {
    return call->in[0].dtype == FLOW_F64 ? stft_forward<double>(call) : stft_forward<float>(call);
}

/* The transposed transform of each frame, times the window, added up; what was mirrored is folded back. */
template <typename T> static int stft_backward(const struct flow_call *call) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(call->attrs);
    const struct stft_priv *priv = static_cast<const struct stft_priv *>(call->priv);
    const struct flow_tensor *re = &call->grad_out[0], *im = &call->grad_out[1], *dx = &call->grad_in[0];
    const bool add = FLOW_ACCUMULATES(call->accumulate_in, 0);
    struct rooms r;
    struct inverse<T> v = {};
    if (dx->rank < 0) return FLOW_OK;
    if (priv->reach == 0 || (re->rank < 0 && im->rank < 0)) return cuda_speech_zero(call, dx, add);
    v.frames = (priv->reach - a->size) / a->hop + 1;
    rooms_typed<T>(a, dx->shape[0], v.frames, 0, &r);
    int status = fill_tables<T>(call, &r, &v.tables);
    for (int64_t b = 0; b < dx->shape[0] && status == FLOW_OK; b += r.batch) {
        const int64_t batch = least(r.batch, dx->shape[0] - b), row = b * (a->size / 2 + 1) * v.frames;
        v.re = re->rank < 0 ? NULL : static_cast<const T *>(re->data) + row;
        v.im = im->rank < 0 ? NULL : static_cast<const T *>(im->data) + row;
        status = run_inverse<T, true>(call, &r, batch, v);
        const struct cuda_speech_frames<T> fold = {
            reinterpret_cast<const T *>(static_cast<char *>(call->workspace) + r.frames), static_cast<T *>(dx->data) + b * dx->shape[1],
                batch, v.frames, a->size, a->hop, dx->shape[1], a->center ? -(a->size / 2) : 0, 0, add
        };
        if (status == FLOW_OK) status = cuda_speech_fold<T>(call, fold);
    }
    return status;
}

int cuda_stft_backward(const struct flow_call *call) {
    return call->grad_in[0].dtype == FLOW_F64 ? stft_backward<double>(call) : stft_backward<float>(call);
}

/* ---- istft ---- */

/* Sums of frames: what is held first, then the frames in their order. Samples [drop, drop + emitted) of `total` go to y, divided by the
 * envelope; those from `last` on to the state; y is filled up with zeros. */
template <typename T> struct sum {
    const T *frames, *window, *tail, *envelope;
    T *y, *tail_out, *envelope_out;
    int64_t batch, count, size, hop, held, offset, total, last, drop, emitted, samples, kept;
    int64_t extent; /* samples of a sequence to go through */
};

/* Reads size/hop values a sample, all but the first from the caches; writes one. */
template <typename T> static __global__ void sum_kernel(const struct sum<T> s) {
    CUDA_EACH(i, s.batch * s.extent) {
        const int64_t b = i / s.extent, p = i - b * s.extent;
        T value = 0, envelope = 0;
        if (p < s.held) value = s.tail[b * s.held + p], envelope = s.envelope[p];
        if (p < s.total)
            for (int64_t t = p - s.size < s.offset ? 0 : (p - s.size - s.offset) / s.hop + 1; t < s.count; t++) {
                const int64_t n = p - s.offset - t * s.hop;
                if (n < 0) break;
                value += s.frames[(b * s.count + t) * s.size + n], envelope += s.window[n] * s.window[n];
            }
        const int64_t q = p - s.drop;
        if (q >= 0 && q < s.samples) s.y[b * s.samples + q] = q < s.emitted ? value / (envelope + static_cast<T>(1e-8)) : T(0);
        if (p >= s.last && p < s.total && s.tail_out) {
            s.tail_out[b * s.kept + p - s.last] = value;
            s.envelope_out[p - s.last] = envelope; /* the same for every sequence */
        }
    }
}

bool cuda_istft_supports(const struct flow_infer *infer) { return cuda_stft_supports(infer); }

int cuda_istft_plan(struct flow_infer *infer) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(infer->attrs);
    const struct istft_priv *priv = static_cast<const struct istft_priv *>(infer->priv);
    const int64_t batch = infer->in[0].shape[0], frames = infer->in[0].shape[2];
    struct rooms r, back;
    infer->packed = 0;
    if (!rooms_of(infer->in[0].dtype, a, batch, frames, 0, &r) ||
        !rooms_of(infer->in[0].dtype, a, batch, frames, priv->overlap.total, &back))
        return infer->host->fail(infer->owner, FLOW_ERROR_UNSUPPORTED, "no transform of %lld samples", static_cast<long long>(a->size));
    infer->workspace = r.inverse, infer->workspace_backward = back.forward;
    return FLOW_OK;
}

static int64_t emitted_of(const struct stft_attrs *a, const struct overlap *o, int64_t samples) {
    const int64_t there = (a->samples > 0 ? o->total : o->final) - o->drop; /* with `samples` the end is not dropped */
    return there < 0 ? 0 : least(samples, there);
}

template <typename T> static int istft_forward(const struct flow_call *call) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(call->attrs);
    const struct istft_priv *priv = static_cast<const struct istft_priv *>(call->priv);
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *re = &call->in[0], *y = &call->out[0];
    const int64_t frames = re->shape[2], bins = re->shape[1];
    struct rooms r;
    struct inverse<T> v = {};
    struct sum<T> s = {};
    rooms_typed<T>(a, re->shape[0], frames, 0, &r);
    int status = fill_tables<T>(call, &r, &v.tables);
    s.frames = reinterpret_cast<const T *>(static_cast<char *>(call->workspace) + r.frames), s.window = v.tables.window;
    s.count = frames, s.size = a->size, s.hop = a->hop, s.held = priv->held, s.offset = o->offset, s.total = o->total;
    s.last = o->final, s.drop = o->drop, s.samples = y->shape[1], s.emitted = emitted_of(a, o, s.samples), s.kept = o->held;
    s.extent = s.total > s.drop + s.samples ? s.total : s.drop + s.samples;
    if (priv->held) s.envelope = static_cast<const T *>(call->state_in[1].data);
    const bool keeps = priv->streams && o->held > 0;
    if (keeps) s.envelope_out = static_cast<T *>(call->state_out[1].data);
    v.frames = frames;
    for (int64_t b = 0; b < re->shape[0] && status == FLOW_OK && s.extent > 0; b += r.batch) {
        s.batch = least(r.batch, re->shape[0] - b);
        v.re = static_cast<const T *>(re->data) + b * bins * frames, v.im = static_cast<const T *>(call->in[1].data) + b * bins * frames;
        s.y = static_cast<T *>(y->data) + b * s.samples;
        if (priv->held) s.tail = static_cast<const T *>(call->state_in[0].data) + b * s.held;
        if (keeps) s.tail_out = static_cast<T *>(call->state_out[0].data) + b * s.kept;
        status = run_inverse<T, false>(call, &r, s.batch, v);
        if (status == FLOW_OK)
            status = cuda_status(
                call, CUDA_LAUNCH((sum_kernel<T>), cuda_blocks(s.batch * s.extent, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call), s));
    }
    if (status == FLOW_OK && priv->streams) status = cuda_speech_clear(call, call->state_out[2].data, o->phase);
    return status;
}

int cuda_istft_forward(const struct flow_call *call) {
    return call->in[0].dtype == FLOW_F64 ? istft_forward<double>(call) : istft_forward<float>(call);
}

/* 1 / (the sum of squared windows + 1e-8) */
template <typename T>
static __global__ void envelope_kernel(const T *window, int64_t size, int64_t hop, int64_t frames, int64_t total, T *envelope) {
    CUDA_EACH(p, total) {
        T sum = 0;
        for (int64_t t = p < size ? 0 : (p - size) / hop + 1; t < frames && t * hop <= p; t++) {
            const T w = window[p - t * hop];
            sum += w * w;
        }
        envelope[p] = 1 / (sum + static_cast<T>(1e-8));
    }
}

/* y's gradient, divided by the envelope, cut into frames and transformed. */
template <typename T> static int istft_backward(const struct flow_call *call) {
    const struct stft_attrs *a = static_cast<const struct stft_attrs *>(call->attrs);
    const struct istft_priv *priv = static_cast<const struct istft_priv *>(call->priv);
    const struct overlap *o = &priv->overlap;
    const struct flow_tensor *dy = &call->grad_out[0], *dre = &call->grad_in[0], *dim = &call->grad_in[1];
    const struct flow_tensor *one = dre->rank >= 0 ? dre : dim;
    struct rooms r;
    struct cut<T> c = {};
    c.add_re = FLOW_ACCUMULATES(call->accumulate_in, 0), c.add_im = FLOW_ACCUMULATES(call->accumulate_in, 1);
    if (one->rank < 0) return FLOW_OK;
    if (cuda_speech_count(dy) == 0 || o->total == 0 || cuda_speech_count(one) == 0) {
        const int status = cuda_speech_zero(call, dre, c.add_re);
        return status < 0 ? status : cuda_speech_zero(call, dim, c.add_im);
    }
    c.frames = one->shape[2], c.hop = a->hop, c.samples = dy->shape[1], c.drop = o->drop, c.emitted = emitted_of(a, o, c.samples);
    rooms_typed<T>(a, one->shape[0], c.frames, o->total, &r);
    T *const envelope = reinterpret_cast<T *>(static_cast<char *>(call->workspace) + r.line);
    c.x = static_cast<const T *>(dy->data), c.envelope = envelope;
    c.re = dre->rank >= 0 ? static_cast<T *>(dre->data) : NULL, c.im = dim->rank >= 0 ? static_cast<T *>(dim->data) : NULL;
    int status = fill_tables<T>(call, &r, &c.tables);
    if (status == FLOW_OK)
        status = cuda_status(call, CUDA_LAUNCH((envelope_kernel<T>), cuda_blocks(o->total, CUDA_BLOCK), CUDA_BLOCK, 0, cuda_stream(call),
                                               c.tables.window, a->size, a->hop, c.frames, o->total, envelope));
    return status < 0 ? status : run_cut<T, true>(call, &r, one->shape[0], c);
}

int cuda_istft_backward(const struct flow_call *call) {
    return call->grad_out[0].dtype == FLOW_F64 ? istft_backward<double>(call) : istft_backward<float>(call);
}
